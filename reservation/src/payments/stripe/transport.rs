//! HTTP to Stripe's API: one question, one answer.
//!
//! Owns: addresses, headers, limits of an answer. Not here: what is asked (`stripe`), how long a whole movement may
//! take (`stripe`), what a refusal means (`answers`).
//! Invariant: the secret key is in one header only, never in an error; redirects are never followed; plain HTTP only to
//! this machine.

use std::{error::Error, fmt, net::IpAddr, sync::Arc, time::Duration};

use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request, Uri,
    body::Bytes,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT},
};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{ClientConfig, RootCertStore};
use serde::de::DeserializeOwned;

use super::{
    answers::{ErrorAnswer, ErrorBody, Refusal, tidy},
    form::Form,
};

/// Longest answer that is read: a list of a hundred PaymentIntents is about a quarter of it.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// How long connecting may take; the whole has its own limit.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection is kept for the next question: less than servers do, so that none is asked that is closing.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// The version whose shapes `answers` reads; an account's own default may be any other.
const API_VERSION: &str = "2024-06-20";

/// A question.
#[derive(Clone, Copy)]
pub(super) enum Ask<'a> {
    /// To read: `form` stands in the address.
    Read(&'a Form),
    /// To do. With a key, repeated, it is done once (for at least 24 hours).
    Do {
        /// The body.
        form: &'a Form,
        /// The `Idempotency-Key`.
        key: Option<&'a str>,
    },
}

/// A client of one base address.
pub(super) struct Transport {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    base: String,
    secret_key: String,
    authorization: HeaderValue,
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").field("base", &self.base).finish_non_exhaustive()
    }
}

impl Transport {
    /// Errors: a base address that is none, is plain HTTP to elsewhere, a key that cannot be one, or no root
    /// certificates; a text for the operator.
    pub(super) fn new(base_url: &str, secret_key: &str) -> Result<Self, String> {
        let is_key = (secret_key.starts_with("sk_") || secret_key.starts_with("rk_"))
            && secret_key.len() > 8
            && secret_key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !is_key {
            return Err("the secret key is none: expected sk_… or rk_…".to_owned());
        }
        let (base, is_tls) = checked_base(base_url)?;
        let mut authorization = HeaderValue::from_str(&format!("Bearer {secret_key}"))
            .map_err(|_| "the secret key is none".to_owned())?;
        authorization.set_sensitive(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .build(connector(is_tls)?);
        Ok(Self { client, base, secret_key: secret_key.to_owned(), authorization })
    }

    /// Asks `path` (`/v1/…`) and reads the answer.
    pub(super) async fn ask<T: DeserializeOwned>(&self, path: &str, ask: Ask<'_>) -> Result<T, Refusal> {
        let request = self.request(path, ask).map_err(|error| Refusal::NoAnswer(error.to_string()))?;
        let answer = self
            .client
            .request(request)
            .await
            .map_err(|error| Refusal::NoAnswer(tidy(&format!("not reached: {}", chain(&error)))))?;
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX)
            .collect()
            .await
            .map_err(|error| Refusal::NoAnswer(tidy(&format!("its answer broke off: {}", chain(&*error)))))?
            .to_bytes();
        if status == 200 {
            return serde_json::from_slice(&body)
                .map_err(|error| Refusal::NoAnswer(tidy(&format!("its answer is not readable: {error}"))));
        }
        let mut error = serde_json::from_slice(&body)
            .map_or_else(|_| ErrorBody::default(), |answer: ErrorAnswer| answer.error);
        // Whoever answers at a wrong base address may repeat what it was sent.
        error.message = error.message.map(|text| text.replace(&self.secret_key, "…"));
        Err(Refusal::Answered(status, error))
    }

    fn request(&self, path: &str, ask: Ask<'_>) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
        let builder = Request::builder()
            .header(AUTHORIZATION, self.authorization.clone())
            .header(USER_AGENT, concat!("slotcast/", env!("CARGO_PKG_VERSION")))
            .header("Stripe-Version", API_VERSION);
        match ask {
            Ask::Read(form) if form.as_str().is_empty() => {
                builder.uri(format!("{}{path}", self.base)).body(Full::default())
            }
            Ask::Read(form) => {
                builder.uri(format!("{}{path}?{}", self.base, form.as_str())).body(Full::default())
            }
            Ask::Do { form, key } => {
                let builder = builder
                    .method(Method::POST)
                    .uri(format!("{}{path}", self.base))
                    .header(CONTENT_TYPE, "application/x-www-form-urlencoded");
                let builder = match key {
                    Some(key) => builder.header("Idempotency-Key", key),
                    None => builder,
                };
                builder.body(Full::from(form.as_str().to_owned()))
            }
        }
    }
}

/// The base without a slash at its end, and whether it is TLS.
fn checked_base(base_url: &str) -> Result<(String, bool), String> {
    let wrong = |what: &str| format!("the base address {what}: expected one like https://api.stripe.com");
    let uri: Uri = base_url.parse().map_err(|_| wrong("is none"))?;
    let host = uri.host().ok_or_else(|| wrong("has no host"))?;
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) || uri.query().is_some() {
        return Err(wrong("has more than host and path"));
    }
    let is_here = host == "localhost"
        || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    let is_tls = match uri.scheme_str() {
        Some("https") => true,
        Some("http") if is_here => false,
        Some("http") => return Err(wrong("is plain HTTP to another machine")),
        _ => return Err(wrong("is neither HTTP nor HTTPS")),
    };
    Ok((base_url.trim_end_matches('/').to_owned(), is_tls))
}

fn connector(is_tls: bool) -> Result<HttpsConnector<HttpConnector>, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_connect_timeout(Some(CONNECT_TIMEOUT));
    if is_tls {
        let builder = HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(provider)
            .map_err(|error| format!("no root certificates: {error}"))?;
        return Ok(builder.https_only().enable_http1().wrap_connector(http));
    }
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    Ok(HttpsConnectorBuilder::new()
        .with_tls_config(config)
        .https_or_http()
        .enable_http1()
        .wrap_connector(http))
}

/// An error with what it comes from, at most four deep.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    for _ in 0..4 {
        let Some(error) = source else { break };
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_stays_on_this_machine() {
        for (good, base, is_tls) in [
            ("https://api.stripe.com", "https://api.stripe.com", true),
            ("https://proxy.example.com/stripe/", "https://proxy.example.com/stripe", true),
            ("http://127.0.0.1:8420", "http://127.0.0.1:8420", false),
            ("http://[::1]:8420/", "http://[::1]:8420", false),
            ("http://localhost:8420", "http://localhost:8420", false),
        ] {
            assert_eq!(checked_base(good), Ok((base.to_owned(), is_tls)), "{good}");
        }
        for bad in [
            "",
            "/v1",
            "api.stripe.com",
            "http://api.stripe.com",
            "http://192.168.0.1",
            "http://localhost.example.com",
            "http://127.0.0.1@example.com",
            "https://user@api.stripe.com",
            "https://api.stripe.com/?x=1",
            "ftp://127.0.0.1",
        ] {
            assert!(checked_base(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn keys_that_cannot_be_keys_are_refused_without_being_told() {
        for bad in ["", "sk_", "pk_test_123456789", "sk_test_1234\r\nX: y", "sk_test_キー"] {
            let error = Transport::new("http://127.0.0.1:1", bad).unwrap_err();
            assert!(bad.len() < 4 || !error.contains(bad), "{error}");
        }
        let transport = Transport::new("http://127.0.0.1:1", "sk_test_abcdef123").unwrap();
        assert!(!format!("{transport:?}").contains("abcdef"), "{transport:?}");
    }
}
