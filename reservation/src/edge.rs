//! The border to HTTP that the API and the pages share: who asks, from where, and whether a page of ours sent it.
//!
//! Owns: [`Edge`], the session's cookie, bearer tokens, the proof against forged requests, client addresses behind
//! trusted proxies. Budgets by client address are the service's: it takes the address of [`Edge::client`].
//! Not here: what a session or token covers (`service::actor`), how a refusal looks (`http`, pages).
//! Invariant: it reads no body and writes no answer; every refusal is a [`Refusal`].

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use axum::{
    extract::ConnectInfo,
    http::{Extensions, HeaderMap, HeaderValue, Method, header},
};
use ipnet::IpNet;
use subtle::ConstantTimeEq;

use crate::{
    domain::refusal::Refusal,
    service::{Actor, Answer, LoggedIn, Service, ServiceError},
};

/// Bytes of a cookie or token that are looked at.
const TOKEN_BYTES_MAX: usize = 256;

/// What the edge must know beside the service's own settings.
#[derive(Clone, Debug)]
pub struct EdgeSettings {
    /// Where browsers find this server: scheme, host and port, without a slash at the end. With `https://` the session's
    /// cookie is for TLS alone.
    pub base_url: String,
    /// Networks of the proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
}

/// The service as HTTP reaches it; a handle that is cheap to clone.
#[derive(Clone)]
pub struct Edge(Arc<Inner>);

struct Inner {
    service: Service,
    settings: EdgeSettings,
    origin: String,
}

/// A browser's session: its cookie came with the request and is valid.
pub struct BrowserSession {
    /// Who.
    pub actor: Actor,
    token: String,
    csrf_token: String,
}

impl BrowserSession {
    /// For `X-CSRF-Token`, and for the hidden field of forms.
    pub fn csrf_token(&self) -> &str {
        &self.csrf_token
    }

    /// Refuses (`Csrf`) a request that changes something and does not show this session's CSRF token.
    ///
    /// - `given`: what the header or the form's field said.
    pub fn check_csrf(&self, given: Option<&str>) -> Result<(), Refusal> {
        let is_right: bool = self.csrf_token.as_bytes().ct_eq(given.unwrap_or_default().as_bytes()).into();
        if is_right { Ok(()) } else { Err(Refusal::Csrf) }
    }
}

impl Edge {
    /// Before that service.
    pub fn new(service: Service, settings: EdgeSettings) -> Self {
        let origin = origin_of(&settings.base_url);
        Self(Arc::new(Inner { service, settings, origin }))
    }

    /// What can be asked.
    pub fn service(&self) -> &Service {
        &self.0.service
    }

    /// What the operator set.
    pub fn settings(&self) -> &EdgeSettings {
        &self.0.settings
    }

    /// Scheme, host and port, as browsers write them into `Origin`.
    pub fn origin(&self) -> &str {
        &self.0.origin
    }

    /// Whether browsers come by TLS.
    pub fn is_secure(&self) -> bool {
        self.0.origin.starts_with("https://")
    }

    /// The session cookie's name. `__Host-` binds it to this host and to TLS; browsers refuse it without TLS.
    pub fn cookie_name(&self) -> &'static str {
        if self.is_secure() { "__Host-slotcast" } else { "slotcast" }
    }

    /// From which address a request came: the connection's, or the last hop that a trusted proxy wrote.
    pub fn client(&self, extensions: &Extensions, headers: &HeaderMap) -> IpAddr {
        let peer = extensions.get::<ConnectInfo<SocketAddr>>();
        let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(peer)| peer.ip());
        client_address(peer.to_canonical(), headers, &self.0.settings)
    }

    /// Refuses (`Csrf`) a request that changes something and that a browser sent from a page that is not ours. Requests
    /// with a bearer token are let through: no foreign page can add one.
    pub fn check_origin(&self, method: &Method, headers: &HeaderMap) -> Result<(), Refusal> {
        if is_safe(method) || headers.contains_key(header::AUTHORIZATION) {
            return Ok(());
        }
        if is_from(headers, &self.0.origin).unwrap_or(true) { Ok(()) } else { Err(Refusal::Csrf) }
    }

    /// Refuses (`Csrf`) the post of a form that is not known to come from a page of ours: with a session, the form's
    /// field must hold its CSRF token; without one (registering, logging in), the browser must say where the form was.
    ///
    /// - `given`: what the form's field said.
    pub fn check_form(
        &self,
        headers: &HeaderMap,
        session: Option<&BrowserSession>,
        given: Option<&str>,
    ) -> Result<(), Refusal> {
        let is_ours = is_from(headers, &self.0.origin);
        match session {
            _ if is_ours == Some(false) => Err(Refusal::Csrf),
            Some(session) => session.check_csrf(given),
            None => is_ours.map(|_| ()).ok_or(Refusal::Csrf),
        }
    }

    /// The session whose cookie came. `None`: no cookie, or one that is not valid any more.
    ///
    /// Refused: `Blocked`.
    pub async fn session(&self, headers: &HeaderMap) -> Answer<Option<BrowserSession>> {
        let Some(token) = cookie(headers, self.cookie_name()) else { return Ok(None) };
        let token = token.to_owned();
        match self.0.service.actor_of_session(&token).await {
            Ok(actor) => {
                let csrf_token = self.0.service.csrf_of_session(&token);
                Ok(Some(BrowserSession { actor, token, csrf_token }))
            }
            Err(ServiceError::Refused(Refusal::NotLoggedIn)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Who the bearer token of `Authorization` stands for. `None`: there is no such header.
    ///
    /// Refused: `NotLoggedIn` for a token that is not valid, `Blocked`.
    pub async fn token(&self, headers: &HeaderMap) -> Answer<Option<Actor>> {
        if !headers.contains_key(header::AUTHORIZATION) {
            return Ok(None);
        }
        let token = bearer(headers).ok_or(Refusal::NotLoggedIn)?;
        self.0.service.actor_of_token(token).await.map(Some)
    }

    /// Begins a session. Beside it comes its `Set-Cookie`. Refused as [`Service::log_in`].
    pub async fn log_in(
        &self,
        user_id: &str,
        password: &str,
        client: IpAddr,
    ) -> Answer<(LoggedIn, HeaderValue)> {
        let logged_in = self.0.service.log_in(user_id, password, client).await?;
        let seconds = logged_in.expires_at.since(self.0.service.now()).as_secs();
        let cookie = self.set_cookie(&logged_in.token, seconds)?;
        Ok((logged_in, cookie))
    }

    /// Ends a session. What comes back is the `Set-Cookie` that takes the cookie away.
    pub async fn log_out(&self, session: &BrowserSession) -> Answer<HeaderValue> {
        self.0.service.log_out(&session.token).await?;
        Ok(self.set_cookie("", 0)?)
    }

    fn set_cookie(&self, token: &str, seconds: u64) -> Result<HeaderValue, Refusal> {
        let secure = if self.is_secure() { "; Secure" } else { "" };
        let name = self.cookie_name();
        let text = format!("{name}={token}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}");
        let mut value = HeaderValue::from_str(&text).map_err(|_| Refusal::Internal)?;
        value.set_sensitive(true);
        Ok(value)
    }
}

/// Whether a method changes nothing (RFC 9110 §9.2.1).
pub const fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE)
}

/// The cookie of that name; empty ones and those beyond 256 bytes are as none.
pub fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(key, value)| *key == name && (1..=TOKEN_BYTES_MAX).contains(&value.len()))
        .map(|(_, value)| value)
}

/// Whether the browser says that a page of `origin` sent the request. `None`: it does not say (it is no browser, or one of
/// before 2020). A page that tells nobody its address (`Referrer-Policy: no-referrer`) posts forms with `Origin: null`:
/// then `Sec-Fetch-Site` alone decides.
fn is_from(headers: &HeaderMap, origin: &str) -> Option<bool> {
    let sites: Vec<_> = headers.get_all("sec-fetch-site").iter().map(HeaderValue::as_bytes).collect();
    let is_same_site = sites.iter().all(|site| matches!(*site, b"same-origin" | b"none"));
    let is_ours = |from: &HeaderValue| {
        from.as_bytes() == origin.as_bytes() || (from == "null" && !sites.is_empty() && is_same_site)
    };
    let mut origins = headers.get_all(header::ORIGIN).iter().peekable();
    if sites.is_empty() && origins.peek().is_none() {
        return None;
    }
    Some(is_same_site && origins.all(is_ours))
}

/// Scheme, host and port of an address, in lower case, a default port left out: as browsers write `Origin`.
fn origin_of(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let origin = format!("{scheme}://{host}").to_ascii_lowercase();
    let default = if origin.starts_with("https://") { ":443" } else { ":80" };
    origin.strip_suffix(default).map(str::to_owned).unwrap_or(origin)
}

/// The connection's address, or the last hop that a trusted proxy wrote into `X-Forwarded-For`.
fn client_address(peer: IpAddr, headers: &HeaderMap, settings: &EdgeSettings) -> IpAddr {
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

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let text = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = text.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && (1..=TOKEN_BYTES_MAX).contains(&token.len())).then_some(token)
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
    fn origins_are_written_as_browsers_do() {
        for (url, origin) in [
            ("https://Cast.Example", "https://cast.example"),
            ("https://cast.example:443/x", "https://cast.example"),
            ("http://localhost:8080", "http://localhost:8080"),
            ("http://localhost:80/", "http://localhost"),
            ("http://[::1]:8080", "http://[::1]:8080"),
        ] {
            assert_eq!(origin_of(url), origin);
        }
    }

    #[test]
    fn only_trusted_proxies_tell_the_address() {
        let settings = EdgeSettings {
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
    fn other_pages_are_told_from_ours() {
        let check = |pairs: &[(&'static str, &'static str)], from: Option<bool>| {
            assert_eq!(is_from(&headers(pairs), "https://cast.example"), from, "{pairs:?}");
        };
        let (ours, same) = (("origin", "https://cast.example"), ("sec-fetch-site", "same-origin"));
        check(&[], None);
        check(&[ours], Some(true));
        check(&[ours, same], Some(true));
        check(&[same], Some(true));
        check(&[("origin", "null"), same], Some(true));
        for bad in
            ["https://evil.example", "null", "http://cast.example", "https://cast.example.evil.example"]
        {
            check(&[("origin", bad)], Some(false));
        }
        check(&[("origin", "https://evil.example"), same], Some(false));
        check(&[("origin", "null"), ("sec-fetch-site", "cross-site")], Some(false));
        check(&[ours, ("sec-fetch-site", "same-site")], Some(false));
        check(&[same, ("sec-fetch-site", "cross-site")], Some(false));
    }

    #[test]
    fn cookies_and_tokens_are_found_among_others() {
        let found = headers(&[("cookie", "a=1; slotcast=abc"), ("cookie", "b=2")]);
        assert_eq!(cookie(&found, "slotcast"), Some("abc"));
        assert_eq!(cookie(&found, "lotcast"), None);
        assert_eq!(cookie(&headers(&[("cookie", "slotcast=")]), "slotcast"), None);
        assert_eq!(bearer(&headers(&[("authorization", "bearer abc")])), Some("abc"));
        assert_eq!(bearer(&headers(&[("authorization", "Basic abc")])), None);
    }
}
