//! What holds for every page: lengths, origins, headers that keep browsers careful; a refusal becomes a page, and so does a fault
//! of ours.

use std::panic::AssertUnwindSafe;

use axum::{
    extract::{Request, State},
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures_util::FutureExt as _;
use slotcast_reservation::domain::refusal::Refusal;

use crate::{
    Web,
    page::{Fail, Refused, see_other},
    trouble,
    visit::Visit,
};

/// Bytes of path and query.
const URL_BYTES_MAX: usize = 2048;

/// Only what pages are made of: our style, our modules, our pictures, forms to us.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
    form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Goes around every page.
pub(crate) async fn guard(State(web): State<Web>, mut request: Request, next: Next) -> Response {
    let headers = request.headers().clone();
    let client = web.edge().client(request.extensions(), &headers);
    let address = request.uri().path_and_query().map_or("/", |text| text.as_str()).to_owned();
    let visit = Visit::of(&web, headers, client, address).await;
    let method = request.method().clone();
    request.extensions_mut().insert(visit.clone());
    let mut response = match check(&web, &request) {
        Ok(()) => answered(next.run(request)).await,
        Err(refusal) => Fail(refusal).into_response(),
    };
    if let Some(Refused(refusal)) = response.extensions_mut().remove::<Refused>() {
        let allow = response.headers_mut().remove(header::ALLOW);
        response = shown(&visit, &method, &refusal);
        response.headers_mut().extend(allow.map(|allow| (header::ALLOW, allow)));
    }
    careful(&web, &mut response);
    response
}

fn check(web: &Web, request: &Request) -> Result<(), Refusal> {
    let length = request.uri().path_and_query().map_or(0, |text| text.as_str().len());
    if length > URL_BYTES_MAX {
        return Err(Refusal::UrlTooLong { bytes_max: URL_BYTES_MAX });
    }
    web.edge().check_origin(request.method(), request.headers())
}

/// The answer, also where a handler panics: what it had begun with the store is rolled back.
async fn answered(work: impl Future<Output = Response>) -> Response {
    // Nothing that the handler held is seen afterwards; what it shares is behind locks that are whole at any time.
    AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|_| {
        tracing::error!("a page failed by a fault of this program: please report what stands above");
        Fail(Refusal::Internal).into_response()
    })
}

/// A visitor who only has to log in is led there, and comes back afterwards; every other refusal is a page.
fn shown(visit: &Visit, method: &Method, refusal: &Refusal) -> Response {
    if matches!(refusal, Refusal::NotLoggedIn) && method == Method::GET {
        let next: String = form_urlencoded::byte_serialize(visit.address().as_bytes()).collect();
        return see_other(&format!("/login?next={next}"));
    }
    let page = trouble::page(visit, refusal);
    let mut response = page.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response());
    if let Some(seconds) = refusal.retry_after() {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

fn careful(web: &Web, response: &mut Response) {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("permissions-policy"), "camera=(), microphone=(), geolocation=()"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if web.edge().is_secure() {
        let year = HeaderValue::from_static("max-age=31536000");
        headers.insert(header::STRICT_TRANSPORT_SECURITY, year);
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}
