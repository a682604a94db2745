//! Asking others over HTTPS: the payment company, and whoever an operator's webhooks go to.
//!
//! Owns: connecting, certificates, the limits of an answer. Not here: what is asked, how long a whole exchange may take.
//! Invariant: redirects are never followed; plain HTTP goes to this machine only.

use std::{
    error::Error,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, Uri, body::Bytes};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{
        Client,
        connect::{
            HttpConnector,
            dns::{GaiResolver, Name},
        },
    },
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{ClientConfig, RootCertStore};
use tower_service::Service;

/// How long connecting may take; the whole has its own limit.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection is kept for the next question: less than servers do, so that none is asked that is closing.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// A client; connections are kept for a while.
pub(crate) struct Https<R = GaiResolver>(Client<HttpsConnector<HttpConnector<R>>, Full<Bytes>>);

impl Https {
    /// - `is_tls`: as [`checked`] says of the address. Errors: no root certificates; a text for the operator.
    pub(crate) fn new(is_tls: bool) -> Result<Self, String> {
        Self::with(is_tls, GaiResolver::new())
    }
}

impl<R, F> Https<R>
where
    R: Service<Name, Response: Iterator<Item = SocketAddr>, Error: Error + Send + Sync, Future = F>,
    R: Clone + Send + Sync + 'static,
    F: Future + Send,
{
    /// As [`new`](Https::new).
    ///
    /// - `resolver`: names are connected to where it says.
    pub(crate) fn with(is_tls: bool, resolver: R) -> Result<Self, String> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut http = HttpConnector::new_with_resolver(resolver);
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let builder = if is_tls {
            HttpsConnectorBuilder::new()
                .with_provider_and_native_roots(provider)
                .map_err(|error| format!("no root certificates: {error}"))?
                .https_only()
        } else {
            let config = ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .map_err(|error| error.to_string())?
                .with_root_certificates(RootCertStore::empty())
                .with_no_client_auth();
            HttpsConnectorBuilder::new().with_tls_config(config).https_or_http()
        };
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .build(builder.enable_http1().wrap_connector(http));
        Ok(Self(client))
    }

    /// Asks, and returns the status of the answer; the rest is not read, and the connection ends. Errors: no answer came; a
    /// text for the log.
    pub(crate) async fn status(&self, request: Request<Full<Bytes>>) -> Result<u16, String> {
        let answer = self.0.request(request).await;
        let answer = answer.map_err(|error| format!("not reached: {}", chain(&error)))?;
        Ok(answer.status().as_u16())
    }

    /// Asks, and reads at most `body_max` bytes of the answer. Errors: no whole answer came; a text for the log.
    pub(crate) async fn ask(
        &self,
        request: Request<Full<Bytes>>,
        body_max: usize,
    ) -> Result<(u16, Bytes), String> {
        let answer = self.0.request(request).await;
        let answer = answer.map_err(|error| format!("not reached: {}", chain(&error)))?;
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), body_max).collect().await;
        let body = body.map_err(|error| format!("its answer broke off: {}", chain(&*error)))?;
        Ok((status, body.to_bytes()))
    }
}

/// An address without a slash at its end, and whether it is TLS. Errors: what is wrong with it, after "the address".
pub(crate) fn checked(address: &str) -> Result<(String, bool), &'static str> {
    let uri: Uri = address.parse().map_err(|_| "is none")?;
    let host = uri.host().filter(|host| is_host(host)).ok_or("has no host that can be there")?;
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) || uri.query().is_some() {
        return Err("has more than host and path");
    }
    let is_here = host == "localhost"
        || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    let is_tls = match uri.scheme_str() {
        Some("https") => true,
        Some("http") if is_here => false,
        Some("http") => return Err("is plain HTTP to another machine"),
        _ => return Err("is neither HTTP nor HTTPS"),
    };
    Ok((address.trim_end_matches('/').to_owned(), is_tls))
}

/// Whether a URI's host is an IP address (that of IPv6 in brackets) or may be a name of DNS (RFC 1123 2.1). The parser of URIs
/// takes more.
pub(crate) fn is_host(host: &str) -> bool {
    match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').is_some_and(|address| address.parse::<Ipv6Addr>().is_ok()),
        None => {
            let is_label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(is_of_name);
            host.len() <= 253 && host.trim_end_matches('.').split('.').all(is_label)
        }
    }
}

const fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

/// An error with what it comes from, at most four deep.
fn chain(error: &dyn Error) -> String {
    let sources = std::iter::successors(error.source(), |error| (*error).source());
    sources.take(4).fold(error.to_string(), |text, error| format!("{text}: {error}"))
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
            assert_eq!(checked(good), Ok((base.to_owned(), is_tls)), "{good}");
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
            assert!(checked(bad).is_err(), "{bad}");
        }
    }
}
