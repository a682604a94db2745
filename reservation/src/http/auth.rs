//! Who asks, and from where: session cookies, bearer tokens, the proof against forged requests, client addresses.
//!
//! Owns: [`Caller`], [`MaybeCaller`], [`Client`], the cookie's text.
//! Not here: what a session or token covers (`service::actor`).
//! Invariant: a request with a cookie changes nothing without `X-CSRF-Token`; a bearer token goes before a cookie.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::{
    extract::{ConnectInfo, FromRequestParts},
    http::{HeaderMap, HeaderValue, Method, header, request::Parts},
};

use super::{Api, HttpSettings, problem::Problem};
use crate::{domain::refusal::Refusal, service::Actor};

/// Bytes of a cookie or token that are looked at.
const TOKEN_BYTES_MAX: usize = 256;

/// A member who asks.
pub(super) struct Caller {
    /// Who.
    pub(super) actor: Actor,
    /// The session's token, where it is a session.
    pub(super) session: Option<String>,
}

/// A member who asks, or anybody.
pub(super) struct MaybeCaller(pub(super) Option<Actor>);

/// From which address the request came.
pub(super) struct Client(pub(super) IpAddr);

impl FromRequestParts<Api> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        if parts.headers.contains_key(header::AUTHORIZATION) {
            let token = bearer(&parts.headers).ok_or(Refusal::NotLoggedIn)?;
            let actor = api.service().actor_of_token(token).await?;
            return Ok(Self { actor, session: None });
        }
        let token = session_token(&parts.headers, api.cookie_name()).ok_or(Refusal::NotLoggedIn)?;
        let csrf = parts.headers.get("x-csrf-token").and_then(|value| value.to_str().ok());
        let csrf = if is_safe(&parts.method) { None } else { Some(csrf.unwrap_or_default()) };
        let actor = api.service().actor_of_session(token, csrf).await?;
        Ok(Self { actor, session: Some(token.to_owned()) })
    }
}

impl FromRequestParts<Api> for MaybeCaller {
    type Rejection = Problem;

    /// A wrong token is told; a cookie that has expired is as none, so that public pages stay readable.
    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        if parts.headers.contains_key(header::AUTHORIZATION) {
            let caller = Caller::from_request_parts(parts, api).await?;
            return Ok(Self(Some(caller.actor)));
        }
        let Some(token) = session_token(&parts.headers, api.cookie_name()) else { return Ok(Self(None)) };
        match api.service().actor_of_session(token, None).await {
            Ok(actor) => Ok(Self(Some(actor))),
            Err(crate::service::ServiceError::Refused(_)) => Ok(Self(None)),
            Err(error) => Err(error.into()),
        }
    }
}

impl FromRequestParts<Api> for Client {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(peer)| peer.ip());
        Ok(Self(client_address(peer.to_canonical(), &parts.headers, api.settings())))
    }
}

/// The connection's address, or the last hop that a trusted proxy wrote into `X-Forwarded-For`.
fn client_address(peer: IpAddr, headers: &HeaderMap, settings: &HttpSettings) -> IpAddr {
    if !settings.trusted_proxies.iter().any(|network| network.contains(&peer)) {
        return peer;
    }
    let last = headers.get_all("x-forwarded-for").iter().next_back().and_then(|value| value.to_str().ok());
    let hop = last.and_then(|list| list.rsplit(',').next()).map(str::trim);
    hop.and_then(hop_address).map_or(peer, |hop| hop.to_canonical())
}

/// An address as proxies write it: also with a port, or in brackets.
fn hop_address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok().or_else(|| text.parse().ok().map(|address: SocketAddr| address.ip()))
}

/// Whether a method changes nothing (RFC 9110 §9.2.1).
pub(super) const fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE)
}

/// Refuses a request that changes something and that a browser sent from a page that is not ours. Requests with a
/// bearer token are let through: no foreign page can add one.
pub(super) fn check_origin(method: &Method, headers: &HeaderMap, origin: &str) -> Result<(), Problem> {
    if is_safe(method) || headers.contains_key(header::AUTHORIZATION) {
        return Ok(());
    }
    let is_foreign = headers.get_all(header::ORIGIN).iter().any(|from| from.as_bytes() != origin.as_bytes());
    let is_cross = headers
        .get_all("sec-fetch-site")
        .iter()
        .any(|site| !matches!(site.as_bytes(), b"same-origin" | b"none"));
    if is_foreign || is_cross {
        return Err(Refusal::Csrf.into());
    }
    Ok(())
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let text = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = text.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && (1..=TOKEN_BYTES_MAX).contains(&token.len())).then_some(token)
}

/// The session's token in the cookie of that name.
fn session_token<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(key, value)| *key == name && (1..=TOKEN_BYTES_MAX).contains(&value.len()))
        .map(|(_, value)| value)
}

/// The `Set-Cookie` of a session; zero seconds end it.
pub(super) fn set_cookie(name: &str, token: &str, is_secure: bool, seconds: u64) -> Option<HeaderValue> {
    let secure = if is_secure { "; Secure" } else { "" };
    let text = format!("{name}={token}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}");
    let mut value = HeaderValue::from_str(&text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn only_trusted_proxies_tell_the_address() {
        let settings = HttpSettings {
            base_url: "http://localhost".into(),
            trusted_proxies: vec!["10.0.0.0/24".parse().unwrap()],
        };
        let client = |peer: &str, headers: &HeaderMap| {
            client_address(peer.parse().unwrap(), headers, &settings).to_string()
        };
        let forged = headers(&[("x-forwarded-for", "1.2.3.4, 5.6.7.8")]);
        assert_eq!(client("9.9.9.9", &forged), "9.9.9.9");
        assert_eq!(client("10.0.0.1", &forged), "5.6.7.8");
        assert_eq!(client("10.0.1.1", &forged), "10.0.1.1");
        assert_eq!(client("10.0.0.1", &headers(&[("x-forwarded-for", "nonsense")])), "10.0.0.1");
        for (text, address) in [
            ("203.0.113.1:5555", "203.0.113.1"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:5555", "2001:db8::1"),
        ] {
            assert_eq!(client("10.0.0.9", &headers(&[("x-forwarded-for", text)])), address);
        }
        assert_eq!(
            client("10.0.0.1", &headers(&[("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "2.2.2.2")])),
            "2.2.2.2"
        );
    }

    #[test]
    fn other_pages_change_nothing() {
        let check = |method: Method, pairs: &[(&'static str, &'static str)]| {
            check_origin(&method, &headers(pairs), "https://cast.example").is_ok()
        };
        assert!(check(Method::POST, &[]));
        assert!(check(
            Method::POST,
            &[("origin", "https://cast.example"), ("sec-fetch-site", "same-origin")]
        ));
        assert!(check(Method::GET, &[("origin", "https://evil.example")]));
        for bad in
            ["https://evil.example", "null", "http://cast.example", "https://cast.example.evil.example"]
        {
            assert!(!check(Method::POST, &[("origin", bad)]), "{bad}");
        }
        assert!(!check(Method::DELETE, &[("sec-fetch-site", "same-site")]));
        assert!(check(Method::POST, &[("origin", "https://evil.example"), ("authorization", "Bearer x")]));
    }

    #[test]
    fn cookies_and_tokens_are_found_among_others() {
        let found = headers(&[("cookie", "a=1; slotcast=abc"), ("cookie", "b=2")]);
        assert_eq!(session_token(&found, "slotcast"), Some("abc"));
        assert_eq!(session_token(&found, "lotcast"), None);
        assert_eq!(session_token(&headers(&[("cookie", "slotcast=")]), "slotcast"), None);
        assert_eq!(bearer(&headers(&[("authorization", "bearer abc")])), Some("abc"));
        assert_eq!(bearer(&headers(&[("authorization", "Basic abc")])), None);
    }
}
