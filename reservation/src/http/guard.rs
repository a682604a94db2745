//! What holds for every request and answer: lengths, formats, origins, headers that keep browsers careful; a fault of
//! ours is answered like any other.
//!
//! Owns: the layer around all addresses, the answers to unknown addresses and methods.

use std::panic::AssertUnwindSafe;

use axum::{
    extract::{Request, State},
    http::{HeaderName, HeaderValue, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures_util::FutureExt as _;

use super::{Api, problem::Problem};
use crate::domain::refusal::Refusal;

/// Bytes of path and query.
const URL_BYTES_MAX: usize = 2048;

/// Nothing may be loaded, framed or run from an answer of the API.
const POLICY_DATA: &str = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
/// The documentation has its style inside, and nothing else.
const POLICY_DOCS: &str = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// Goes around every address.
pub(super) async fn guard(State(api): State<Api>, request: Request, next: Next) -> Response {
    let is_docs = request.uri().path().ends_with("/docs");
    let mut response = match check(&api, &request) {
        Ok(()) => answered(next.run(request)).await,
        Err(problem) => problem.into_response(),
    };
    let headers = response.headers_mut();
    let policy = if is_docs { POLICY_DOCS } else { POLICY_DATA };
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if api.edge().is_secure() {
        let year = HeaderValue::from_static("max-age=31536000");
        headers.insert(header::STRICT_TRANSPORT_SECURITY, year);
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// The answer, also where a handler panics: what it had begun with the store is rolled back.
async fn answered(work: impl Future<Output = Response>) -> Response {
    // Nothing that the handler held is seen afterwards; what it shares is behind locks that are whole at any time.
    AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|_| {
        tracing::error!("a request failed by a fault of this program: please report what stands above");
        Problem(Refusal::Internal).into_response()
    })
}

fn check(api: &Api, request: &Request) -> Result<(), Problem> {
    let length = request.uri().path_and_query().map_or(0, |text| text.as_str().len());
    if length > URL_BYTES_MAX {
        return Err(Refusal::UrlTooLong { bytes_max: URL_BYTES_MAX }.into());
    }
    Ok(api.edge().check_origin(request.method(), request.headers())?)
}

/// The answer where no address fits.
pub(super) async fn unknown_address() -> Problem {
    Problem(Refusal::NoSuchAddress(Vec::new()))
}

/// The answer where the address does not know the method; the router adds `Allow`.
pub(super) async fn unknown_method() -> Problem {
    Problem(Refusal::MethodNotAllowed)
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;

    use super::*;

    #[tokio::test]
    async fn a_handler_that_panics_is_answered() {
        let response = answered(async { panic!("on purpose") }).await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
    }
}
