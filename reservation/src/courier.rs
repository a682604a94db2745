//! Taking events to where an operator's webhooks want them, over HTTP.
//!
//! Owns: [`Courier`], [`HttpCourier`], which addresses may be reached.
//! Not here: what is sent and signed, and when it is tried again (`service::webhooks`).
//! Invariant: an address is checked after its name was resolved, and what was checked is connected to; no redirect is
//! followed; nothing of an answer but its status is read.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
    vec,
};

use async_trait::async_trait;
use http_body_util::Full;
use hyper::{
    Request, Uri,
    body::Bytes,
    header::{CONTENT_TYPE, USER_AGENT},
};
use hyper_util::client::legacy::connect::dns::Name;
use ipnet::IpNet;
use tokio::{net::lookup_host, time::timeout};
use tower_service::Service;

use crate::https::{Https, is_host};

/// One event on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parcel {
    /// To where.
    pub url: String,
    /// The event's ID (`webhook-id`).
    pub id: String,
    /// Seconds since 1970 (`webhook-timestamp`).
    pub seconds: i64,
    /// One signature for each secret, with a space between them (`webhook-signature`).
    pub signatures: String,
    /// JSON.
    pub body: String,
}

/// Takes events to their receivers.
#[async_trait]
pub trait Courier: Send + Sync {
    /// Whether an address may be asked at all, as far as its text says. Errors: what is wrong with it, after "the address".
    fn check(&self, url: &str) -> Result<(), &'static str>;
    /// Takes one there, in bounded time. Returns the status of the answer. Errors: there was none; a text for the operator.
    async fn deliver(&self, parcel: &Parcel) -> Result<u16, String>;
}

/// Over HTTPS; over plain HTTP to networks that the operator lists.
pub struct HttpCourier {
    /// `Err`: this machine has no root certificates, and says so to whoever needs them.
    secure: Result<Https<Resolver>, String>,
    plain: Https<Resolver>,
    allow: Vec<IpNet>,
    wait_max: Duration,
}

impl HttpCourier {
    /// - `allow`: networks that may be reached though they are not public, and over plain HTTP.
    /// - `wait_max`: for one whole delivery.
    ///
    /// Errors: TLS cannot be set up at all; a text for the operator.
    pub fn new(allow: Vec<IpNet>, wait_max: Duration) -> Result<Self, String> {
        let resolver = |is_plain| Resolver { allow: allow.clone(), is_plain };
        let secure = Https::with(true, resolver(false));
        Ok(Self { secure, plain: Https::with(false, resolver(true))?, allow, wait_max })
    }

    async fn ask(&self, parcel: &Parcel) -> Result<u16, String> {
        let uri = checked(&parcel.url).map_err(|what| format!("the address {what}"))?;
        let is_plain = uri.scheme_str() == Some("http");
        // What is no name is not resolved.
        if let Some(address) = literal(&uri)
            && !may_reach(address, &self.allow, is_plain)
        {
            return Err(refused(&address.to_string(), is_plain));
        }
        let request = Request::post(uri)
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("slotcast/", env!("CARGO_PKG_VERSION")))
            .header("webhook-id", &parcel.id)
            .header("webhook-timestamp", parcel.seconds)
            .header("webhook-signature", &parcel.signatures)
            .body(Full::from(Bytes::from(parcel.body.clone())))
            .map_err(|error| error.to_string())?;
        let https = if is_plain { Ok(&self.plain) } else { self.secure.as_ref() };
        https.map_err(Clone::clone)?.status(request).await
    }
}

#[async_trait]
impl Courier for HttpCourier {
    fn check(&self, url: &str) -> Result<(), &'static str> {
        let uri = checked(url)?;
        let is_plain = uri.scheme_str() == Some("http");
        match literal(&uri) {
            Some(address) if !may_reach(address, &self.allow, is_plain) => {
                Err("is one that webhooks may not reach")
            }
            None if is_plain && self.allow.is_empty() => Err("is not HTTPS"),
            _ => Ok(()),
        }
    }

    async fn deliver(&self, parcel: &Parcel) -> Result<u16, String> {
        let answered = timeout(self.wait_max, self.ask(parcel)).await;
        answered.unwrap_or_else(|_| Err(format!("no answer within {:?}", self.wait_max)))
    }
}

fn refused(what: &str, is_plain: bool) -> String {
    let why = if is_plain { "plain HTTP is for" } else { "it is not public, and not in" };
    format!("{what} may not be reached: {why} networks that [webhooks] allow lists")
}

/// Errors: what is wrong with the address, after "the address".
fn checked(url: &str) -> Result<Uri, &'static str> {
    let uri: Uri = url.parse().map_err(|_| "is none")?;
    let has_user = uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
    match (uri.scheme_str(), uri.host()) {
        (Some("https" | "http"), Some(_)) if has_user => Err("has a user"),
        (Some("https" | "http"), Some(host)) if is_host(host) => Ok(uri),
        (Some("https" | "http"), Some(_)) => Err("has no host that can be there"),
        _ => Err("is neither HTTPS nor HTTP"),
    }
}

/// The host, where it is an IP address.
fn literal(uri: &Uri) -> Option<IpAddr> {
    uri.host()?.trim_matches(['[', ']']).parse().ok()
}

/// Networks that are not reached over the internet, or that lead into others (RFC 6890 and its registries).
const NOT_PUBLIC_V4: [&str; 15] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
];
/// Of IPv6, what is public lies in this …
const PUBLIC_V6: &str = "2000::/3";
/// … but for these, some of which hold an address of IPv4.
const NOT_PUBLIC_V6: [&str; 4] = ["2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"];

fn is_in(address: IpAddr, networks: &[&str]) -> bool {
    networks.iter().any(|network| network.parse::<IpNet>().is_ok_and(|network| network.contains(&address)))
}

/// Whether anybody on the internet reaches it.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => !is_in(address, &NOT_PUBLIC_V4),
        IpAddr::V6(_) => is_in(address, &[PUBLIC_V6]) && !is_in(address, &NOT_PUBLIC_V6),
    }
}

fn may_reach(address: IpAddr, allow: &[IpNet], is_plain: bool) -> bool {
    let address = address.to_canonical();
    allow.iter().any(|network| network.contains(&address)) || (!is_plain && is_public(address))
}

/// Resolves names, and leaves out what may not be reached: the connector connects to what comes out of here.
#[derive(Clone)]
struct Resolver {
    allow: Vec<IpNet>,
    is_plain: bool,
}

impl Service<Name> for Resolver {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let Self { allow, is_plain } = self.clone();
        Box::pin(async move {
            let found = lookup_host((name.as_str(), 0)).await?;
            let found: Vec<_> = found.filter(|found| may_reach(found.ip(), &allow, is_plain)).collect();
            if found.is_empty() {
                return Err(io::Error::other(refused(name.as_str(), is_plain)));
            }
            Ok(found.into_iter())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(address: &str, expected: bool) {
        assert_eq!(may_reach(address.parse().unwrap(), &[], false), expected, "{address}");
    }

    #[test]
    fn only_public_addresses_are_reached() {
        for public in ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "::ffff:8.8.8.8", "172.32.0.1"] {
            check(public, true);
        }
        for other in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "127.9.9.9",
            "169.254.169.254",
            "172.31.255.255",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "2002:7f00:1::",
            "2001::1",
            "2001:db8::1",
            "100::1",
        ] {
            check(other, false);
        }
    }

    #[test]
    fn networks_that_are_listed_are_reached_over_plain_http_too() {
        let allow = ["127.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        for (address, is_plain, expected) in [
            ("127.0.0.1", true, true),
            ("::ffff:127.0.0.1", true, true),
            ("fd12::1", false, true),
            ("10.0.0.1", false, false),
            ("8.8.8.8", true, false),
            ("8.8.8.8", false, true),
        ] {
            assert_eq!(may_reach(address.parse().unwrap(), &allow, is_plain), expected, "{address}");
        }
    }

    #[test]
    fn addresses_are_checked_before_anything_is_asked() {
        let courier = |allow| HttpCourier::new(allow, Duration::from_secs(1)).unwrap();
        let (strict, lax) = (courier(Vec::new()), courier(vec!["127.0.0.0/8".parse().unwrap()]));
        for good in ["https://example.com/hook", "https://example.com:8443/a?b=c", "https://8.8.8.8/"] {
            assert_eq!(strict.check(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "/hook",
            "example.com",
            "ftp://example.com/",
            "http://example.com/",
            "https://",
            "https://user@example.com/",
            "https://[]/",
            "https://[v1.a]/",
            "https://[::1/",
            "https://a[b]/",
            "https://a..b/",
            "https://a%5Bb/",
            "https://127.0.0.1/",
            "https://[::1]/",
            "https://[::ffff:10.0.0.1]/",
            "http://127.0.0.1/",
        ] {
            assert!(strict.check(bad).is_err(), "{bad}");
        }
        assert_eq!(lax.check("http://127.0.0.1:8000/hook"), Ok(()));
        assert!(lax.check("http://8.8.8.8/").is_err() && lax.check("https://10.0.0.1/").is_err());
    }

    #[tokio::test]
    async fn a_name_that_leads_to_this_machine_is_refused_after_it_was_resolved() {
        let courier = HttpCourier::new(Vec::new(), Duration::from_secs(20)).unwrap();
        assert_eq!(courier.check("https://localhost:1/"), Ok(()), "only resolving tells");
        let parcel = Parcel {
            url: "https://localhost:1/".to_owned(),
            id: "booked-1-1".to_owned(),
            seconds: 0,
            signatures: "v1,".to_owned(),
            body: "{}".to_owned(),
        };
        let error = courier.deliver(&parcel).await.unwrap_err();
        assert!(error.contains("localhost may not be reached"), "{error}");
    }
}
