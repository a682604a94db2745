//! What holds for every request and answer: lengths, formats, origins, headers that keep browsers careful; a fault of
//! ours is answered like any other.
//!
//! Owns: the layer around all addresses, the answers to unknown addresses and methods.

use std::panic::AssertUnwindSafe;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures_util::FutureExt as _;

use super::{
    Api,
    auth::check_origin,
    problem::{self, Problem},
};

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
    if api.is_secure() {
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
        Problem::new(problem::INTERNAL, "The operator finds the reason in the log.").into_response()
    })
}

fn check(api: &Api, request: &Request) -> Result<(), Problem> {
    let length = request.uri().path_and_query().map_or(0, |text| text.as_str().len());
    if length > URL_BYTES_MAX {
        return Err(Problem::new(problem::URL_TOO_LONG, format!("It has {length} bytes.")));
    }
    check_origin(request.method(), request.headers(), api.origin())?;
    check_accept(request.uri().path(), request.headers())
}

/// What an address can give when all is well.
fn produced(path: &str) -> &'static [&'static str] {
    match path.rsplit('/').next().unwrap_or_default() {
        "guide.ics" => &["text/calendar"],
        "ledger.csv" => &["text/csv"],
        "docs" => &["text/html"],
        _ => &["application/json"],
    }
}

fn check_accept(path: &str, headers: &HeaderMap) -> Result<(), Problem> {
    let mut wanted = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(range)
        .peekable();
    if wanted.peek().is_none() {
        return Ok(());
    }
    let given = produced(path);
    let is_right = wanted.any(|range| {
        given.iter().chain(&["application/problem+json"]).any(|given| {
            let group = given.split('/').next().unwrap_or_default();
            range == "*/*" || range == *given || range.strip_suffix("/*") == Some(group)
        })
    });
    if is_right {
        return Ok(());
    }
    let text = format!("Here is {}.", given.join(" or "));
    Err(Problem::new(problem::NOT_ACCEPTABLE, text).with("available", given.to_vec()))
}

/// The media range of one entry of `Accept` (RFC 9110 §12.5.1), in lower case; `None` where it is unwanted (`q=0`).
fn range(entry: &str) -> Option<String> {
    let mut parts = entry.split(';').map(str::trim);
    let range = parts.next().filter(|range| range.contains('/'))?;
    let is_unwanted = parts.filter_map(|part| part.split_once('=')).any(|(name, value)| {
        name.trim().eq_ignore_ascii_case("q") && value.trim().parse::<f32>().is_ok_and(|q| q <= 0.0)
    });
    (!is_unwanted).then(|| range.to_ascii_lowercase())
}

/// The answer where no address fits.
pub(super) async fn unknown_address() -> Problem {
    Problem::new(problem::NOT_FOUND, "No address of the API looks like this; GET /api/v1/docs lists them.")
}

/// The answer where the address does not know the method; the router adds `Allow`.
pub(super) async fn unknown_method(method: Method) -> Problem {
    let method: String = method.as_str().chars().take(32).collect();
    Problem::new(problem::METHOD_NOT_ALLOWED, format!("{method} is not known here."))
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;

    use super::*;

    #[track_caller]
    fn check(path: &str, accept: &'static str, is_right: bool) {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
        assert_eq!(check_accept(path, &headers).is_ok(), is_right, "{path} {accept}");
    }

    #[tokio::test]
    async fn a_handler_that_panics_is_answered() {
        let response = answered(async { panic!("on purpose") }).await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
    }

    #[test]
    fn formats_are_agreed_on_before_anything_is_done() {
        check("/api/v1/me", "application/json", true);
        check("/api/v1/me", "text/html, application/json;q=0.5", true);
        check("/api/v1/me", "Application/*", true);
        check("/api/v1/me", "*/*;q=0.1", true);
        check("/api/v1/me", "application/problem+json", true);
        check("/api/v1/me", "text/html", false);
        check("/api/v1/me", "application/json;q=0, text/html", false);
        check("/api/v1/guide.ics", "text/calendar", true);
        check("/api/v1/guide.ics", "application/json", false);
        check("/api/v1/docs", "text/html,application/xhtml+xml", true);
    }
}
