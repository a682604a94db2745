//! An RTSP address with what it takes to use it.
//!
//! Refuses: other schemes, and other machines than this one where the caller does not allow them.
//! Invariant: neither the password nor the query, which may hold a token, appears in `Debug`.

use std::{
    fmt, io,
    net::{SocketAddr, ToSocketAddrs},
};

use slotcast_rtsp::client::ClientCredentials;

/// RFC 2326 §3.2.
const DEFAULT_PORT: u16 = 554;

/// Where a channel's number goes. The help names the first: clap takes the second for a line break.
const PLACES: [&str; 2] = ["{number}", "{n}"];

/// How far an address may lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReachPolicy {
    /// To this machine.
    Loopback,
    /// To any.
    Anywhere,
}

/// Where a stream is, or goes.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    /// Where the host of the address is.
    pub server: SocketAddr,
    /// `rtsp://host:port/path`, with a query where there is one, without user and password.
    pub url: String,
    /// User and password of the address.
    pub credentials: Option<ClientCredentials>,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("server", &self.server).finish_non_exhaustive()
    }
}

/// Why a text is no address that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TargetError {
    /// Not `rtsp://host[:port]/path`.
    Form,
    /// The host, or its port, has no address.
    Host(String),
    /// Not this machine.
    Remote(SocketAddr),
}

impl fmt::Display for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form => f.write_str("expected an address like rtsp://127.0.0.1:8554/channel1"),
            Self::Host(host) => write!(f, "{host} has no address"),
            Self::Remote(address) => {
                write!(
                    f,
                    "{} is not this machine: add --allow-remote if you are allowed to load-test it",
                    address.ip()
                )
            }
        }
    }
}

impl std::error::Error for TargetError {}

impl From<TargetError> for io::Error {
    fn from(error: TargetError) -> Self {
        Self::new(io::ErrorKind::InvalidInput, error)
    }
}

impl Target {
    /// Reads `rtsp://[user:password@]host[:port]/path` and looks the host up.
    ///
    /// # Errors
    /// See [`TargetError`].
    pub fn parse(text: &str, reach: ReachPolicy) -> Result<Self, TargetError> {
        let rest = text.strip_prefix("rtsp://").ok_or(TargetError::Form)?;
        let (authority, path) = rest.split_once('/').ok_or(TargetError::Form)?;
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        let is_odd = |c: char| c.is_whitespace() || c.is_control();
        if host.is_empty() || text.contains(is_odd) {
            return Err(TargetError::Form);
        }
        let credentials = user.map(|text| {
            let (user, password) = text.split_once(':').unwrap_or((text, ""));
            ClientCredentials { user: user.to_owned(), password: password.to_owned() }
        });
        // A port follows the last colon, unless that belongs to an address in brackets.
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']'));
        let host = if has_port { host.to_owned() } else { format!("{host}:{DEFAULT_PORT}") };
        let server = host.to_socket_addrs().ok().and_then(|mut found| found.next());
        let server = server.ok_or_else(|| TargetError::Host(host.clone()))?;
        if reach == ReachPolicy::Loopback && !server.ip().to_canonical().is_loopback() {
            return Err(TargetError::Remote(server));
        }
        Ok(Self { server, url: format!("rtsp://{host}/{path}"), credentials })
    }

    /// Reads an address in which `{number}`, or `{n}` for short, stands for the numbers from 1 to `channels`; one that
    /// has none is one target.
    ///
    /// # Errors
    /// See [`TargetError`].
    pub fn parse_all(text: &str, channels: u32, reach: ReachPolicy) -> Result<Vec<Self>, TargetError> {
        let channels = if Self::has_number(text) { channels } else { 1 };
        (1..=channels).map(|number| Self::parse(&Self::numbered(text, number), reach)).collect()
    }

    /// An address with a channel's number where it has a place for it.
    pub fn numbered(text: &str, number: u32) -> String {
        let number = number.to_string();
        PLACES.iter().fold(text.to_owned(), |text, place| text.replace(place, &number))
    }

    /// Whether an address has a place for a channel's number.
    pub fn has_number(text: &str) -> bool {
        PLACES.iter().any(|place| text.contains(place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_with_and_without_port_and_credentials() {
        let target =
            Target::parse("rtsp://live:a:b@127.0.0.1:8555/channel4?x=y", ReachPolicy::Loopback).unwrap();
        assert_eq!(target.url, "rtsp://127.0.0.1:8555/channel4?x=y");
        assert_eq!(target.server, SocketAddr::from(([127, 0, 0, 1], 8555)));
        let credentials = target.credentials.clone().unwrap();
        assert_eq!((credentials.user.as_str(), credentials.password.as_str()), ("live", "a:b"));
        assert!(!format!("{target:?}").contains("channel4"));
        let target = Target::parse("rtsp://[::1]/x", ReachPolicy::Loopback).unwrap();
        assert_eq!((target.url.as_str(), target.server.port()), ("rtsp://[::1]:554/x", 554));
    }

    #[test]
    fn the_channels_number_is_filled_in() {
        let urls = |text, count| {
            let targets = Target::parse_all(text, count, ReachPolicy::Loopback).unwrap();
            targets.into_iter().map(|target| target.url).collect::<Vec<_>>()
        };
        assert_eq!(urls("rtsp://127.0.0.1:1/c{n}", 2), ["rtsp://127.0.0.1:1/c1", "rtsp://127.0.0.1:1/c2"]);
        assert_eq!(urls("rtsp://127.0.0.1:1/c{number}", 1), ["rtsp://127.0.0.1:1/c1"]);
        assert_eq!(urls("rtsp://127.0.0.1:1/c", 2), ["rtsp://127.0.0.1:1/c"]);
    }

    #[test]
    fn other_machines_only_where_allowed() {
        let parse = |reach| Target::parse("rtsp://192.0.2.1:8554/x", reach);
        assert!(matches!(parse(ReachPolicy::Loopback), Err(TargetError::Remote(_))));
        assert!(parse(ReachPolicy::Anywhere).is_ok());
        for text in ["http://127.0.0.1/x", "rtsp://127.0.0.1", "rtsp:///x", "", "rtsp://127.0.0.1/a b"] {
            assert_eq!(Target::parse(text, ReachPolicy::Anywhere), Err(TargetError::Form), "{text}");
        }
        assert!(matches!(
            Target::parse("rtsp://127.0.0.1:99999/x", ReachPolicy::Anywhere),
            Err(TargetError::Host(_))
        ));
    }
}
