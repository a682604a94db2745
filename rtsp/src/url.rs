//! Request addresses: which channel is meant, and which track of it.
//!
//! Owns: the forms in which clients write a track's address, the token in the query, the base that controls are
//! relative to.
//! Refuses: other schemes than RTSP's, addresses without a path's shape.
//! Invariant: a name is decoded once and is a [`ChannelName`] or empty; nothing here is ever a file's path. Neither
//! the query nor user information appears in `Debug`.

use std::fmt;

use slotcast_core::words::ChannelName;

use crate::{
    limits,
    status::{Refused, Status},
};

const MALFORMED: Refused = Refused::bad_request("malformed address");
const NOT_RTSP: Refused = Refused::bad_request("the address does not begin with rtsp:// or rtsps://");
const BAD_HOST: Refused = Refused::bad_request("malformed host or port in the address");
pub(crate) const TOO_LONG: Refused =
    Refused { status: Status::REQUEST_URI_TOO_LARGE, reason: "the address is longer than 2048 bytes" };

/// A channel, and perhaps one of its tracks, as a request names them.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    /// The channel's name, decoded once. Empty where the address names none or one that cannot exist: no channel
    /// is called that, so looking it up ends in 404.
    pub path: String,
    /// What follows `?`, as it came, without a track.
    pub query: Option<String>,
    /// What follows the channel as it came, e.g. `trackID=0` or `media/video1`: to be compared with the SDP's control lines.
    /// `None` for the whole stream.
    pub track: Option<String>,
    /// The address without track, user information and trailing slash, with its query: what relative controls
    /// stand on.
    pub base: String,
    token: Option<String>,
}

impl Target {
    /// Reads an absolute address or a path.
    ///
    /// The track may stand behind the path (`/ch/trackID=0`), behind the query (`/ch?q/trackID=0`, as ffmpeg
    /// writes it), or between them (`/ch/stream=0?q`, as GStreamer does); slashes too many are ignored.
    ///
    /// # Errors
    /// No address that a request may have.
    pub fn parse(url: &str) -> Result<Self, Refused> {
        if url.len() > limits::URL_BYTES_MAX {
            return Err(TOO_LONG);
        }
        if url.is_empty() || url.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(MALFORMED);
        }
        let (prefix, rest) = split_authority(url)?;
        let rest = rest.split('#').next().unwrap_or_default();
        let (path, query) = rest.split_once('?').map_or((rest, None), |(path, query)| (path, Some(query)));
        let (query, track_of_query) = query.map_or((None, None), |query| {
            let (query, track) = split_query_track(query);
            (Some(query), track)
        });
        let mut segments = path.trim_start_matches('/').splitn(2, '/');
        let name = segments.next().unwrap_or_default();
        let track = segments.next().map(|track| track.trim_matches('/')).filter(|track| !track.is_empty());
        let decoded = decode(name).filter(|name| ChannelName::is_valid(name));
        let mut base = format!("{prefix}/{name}");
        if let Some(query) = query {
            base.push('?');
            base.push_str(query);
        }
        Ok(Self {
            path: decoded.unwrap_or_default(),
            token: query.and_then(token),
            query: query.map(str::to_owned),
            track: track.or(track_of_query).map(str::to_owned),
            base,
        })
    }

    /// The secret in `?token=SECRET`, decoded: accepted in place of a digest.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// The channel's name as its own type; `None` where [`path`](Self::path) is empty.
    pub fn channel(&self) -> Option<ChannelName> {
        self.path.parse().ok()
    }

    /// The address that `a=control:` lines of a description are made of: clients lose the query of a relative one. `None`: they
    /// are relative, and Content-Base carries the address.
    pub fn control_base(&self) -> Option<&str> {
        self.query.as_ref().map(|_| self.base.as_str())
    }

    /// For the Content-Base header of DESCRIBE: the base with a slash behind its path.
    pub fn content_base(&self) -> String {
        match self.base.split_once('?') {
            Some((path, query)) => format!("{path}/?{query}"),
            None => format!("{}/", self.base),
        }
    }
}

/// Without the query, which may hold a secret.
impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("path", &self.path)
            .field("track", &self.track)
            .field("has_query", &self.query.is_some())
            .finish_non_exhaustive()
    }
}

/// The address of a track: `control` itself where it is absolute, `base` where it is empty or `*`, else behind
/// the path of `base`, whose query is kept.
pub fn resolve(base: &str, control: &str) -> String {
    let control = control.trim();
    if control.contains("://") {
        return control.to_owned();
    }
    if control.is_empty() || control == "*" {
        return base.to_owned();
    }
    let (path, query) = base.split_once('?').map_or((base, None), |(path, query)| (path, Some(query)));
    let path = path.strip_suffix('/').unwrap_or(path);
    let control = control.strip_prefix('/').unwrap_or(control);
    match query {
        Some(query) => format!("{path}/{control}?{query}"),
        None => format!("{path}/{control}"),
    }
}

/// Scheme and host as they came but without user information, and what follows them.
fn split_authority(url: &str) -> Result<(String, &str), Refused> {
    if url.starts_with('/') {
        return Ok((String::new(), url));
    }
    let (scheme, rest) = url.split_once("://").ok_or(NOT_RTSP)?;
    if !scheme.eq_ignore_ascii_case("rtsp") && !scheme.eq_ignore_ascii_case("rtsps") {
        return Err(NOT_RTSP);
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    check_host(host)?;
    Ok((format!("{scheme}://{host}"), rest))
}

fn check_host(host: &str) -> Result<(), Refused> {
    let (name, port) = match host.strip_prefix('[') {
        Some(v6) => {
            let (address, behind) = v6.split_once(']').ok_or(BAD_HOST)?;
            // A zone (`%eth0`) says which interface, for link-local addresses.
            let bare = address.split('%').next().unwrap_or_default();
            bare.parse::<std::net::Ipv6Addr>().map_err(|_| BAD_HOST)?;
            (address, if behind.is_empty() { None } else { Some(behind.strip_prefix(':').ok_or(BAD_HOST)?) })
        }
        None => host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port))),
    };
    let is_port = |port: &str| {
        port.bytes().all(|b| b.is_ascii_digit()) && (port.is_empty() || port.parse::<u16>().is_ok())
    };
    if name.is_empty() || name.contains(['\\', '"', '<', '>']) || !port.is_none_or(is_port) {
        return Err(BAD_HOST);
    }
    Ok(())
}

/// Takes a track off a query's end: only the forms with a number, since a token may hold a slash.
fn split_query_track(query: &str) -> (&str, Option<&str>) {
    let query = query.strip_suffix('/').unwrap_or(query);
    match query.rsplit_once('/') {
        Some((before, track)) if track_index(track).is_some() => {
            (before.strip_suffix('/').unwrap_or(before), Some(track))
        }
        _ => (query, None),
    }
}

/// The number in `trackID=`, `streamid=`, `stream=` or `track=`; `None` in any other text.
pub fn track_index(text: &str) -> Option<u8> {
    let (name, number) = text.split_once('=')?;
    let known = ["trackID", "streamid", "stream", "track"].iter().any(|word| word.eq_ignore_ascii_case(name));
    if known && number.bytes().all(|b| b.is_ascii_digit()) { number.parse().ok() } else { None }
}

fn token(query: &str) -> Option<String> {
    let value = query.split('&').find_map(|pair| pair.strip_prefix("token="))?;
    decode(value).filter(|value| !value.is_empty())
}

/// `%XX` once; `None` where it is broken or the bytes are not UTF-8.
pub(crate) fn decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let byte = if byte == b'%' {
            let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            digit(bytes.next()?)? * 16 + digit(bytes.next()?)?
        } else {
            byte
        };
        out.push(byte);
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(url: &str, path: &str, track: Option<(&str, Option<u8>)>, base: &str) {
        let target = Target::parse(url).unwrap();
        let named = target.track.as_ref().map(|track| (track.as_str(), track_index(track)));
        assert_eq!((target.path.as_str(), named, target.base.as_str()), (path, track, base), "{url}");
    }

    #[test]
    fn strict() {
        check("rtsp://h/ch", "ch", None, "rtsp://h/ch");
        check("rtsp://h:8554/ch/trackID=0", "ch", Some(("trackID=0", Some(0))), "rtsp://h:8554/ch");
        check(
            "rtsps://[::1]:8322/ch/streamid=1",
            "ch",
            Some(("streamid=1", Some(1))),
            "rtsps://[::1]:8322/ch",
        );
        check("/ch/stream=3", "ch", Some(("stream=3", Some(3))), "/ch");
        check("/ch/video", "ch", Some(("video", None)), "/ch");
    }

    #[test]
    fn tolerated() {
        check("RTSP://h/ch/", "ch", None, "RTSP://h/ch");
        check("rtsp://h/ch/?q=1", "ch", None, "rtsp://h/ch?q=1");
        check("rtsp://h/ch?q=1", "ch", None, "rtsp://h/ch?q=1");
        check("rtsp://h/ch?q=1/", "ch", None, "rtsp://h/ch?q=1");
        check("rtsp://h/ch?q=1/trackID=2", "ch", Some(("trackID=2", Some(2))), "rtsp://h/ch?q=1");
        check("rtsp://h/ch?q=1/trackID=2/", "ch", Some(("trackID=2", Some(2))), "rtsp://h/ch?q=1");
        check("rtsp://h/ch/?q=1/trackID=2", "ch", Some(("trackID=2", Some(2))), "rtsp://h/ch?q=1");
        check("rtsp://h/ch/stream=0?q=1", "ch", Some(("stream=0", Some(0))), "rtsp://h/ch?q=1");
        check("rtsp://h/ch//trackID=0/", "ch", Some(("trackID=0", Some(0))), "rtsp://h/ch");
        check("rtsp://user:pa%40ss@h/ch", "ch", None, "rtsp://h/ch");
        check("rtsp://u:p@[fe80::1%25eth0]/ch", "ch", None, "rtsp://[fe80::1%25eth0]/ch");
        check("rtsp://h/%63h", "ch", None, "rtsp://h/%63h");
        check("rtsp://h/ch#part", "ch", None, "rtsp://h/ch");
        check("rtsp://h/ch?token=a/b", "ch", None, "rtsp://h/ch?token=a/b");
        check("/ch/media/video1/", "ch", Some(("media/video1", None)), "/ch");
        check("/ch/trackID=256", "ch", Some(("trackID=256", None)), "/ch");
    }

    #[test]
    fn addresses_that_name_nothing_are_no_errors() {
        for url in [
            "/",
            "rtsp://h",
            "rtsp://h/",
            "rtsp://h?q",
            "/..",
            "/../etc/passwd",
            "/%2e%2e",
            "/a%2fb",
            "/%00",
            "/%",
            "/%zz",
            "/%2",
            "/a%252e",
            "/ä",
            "/%ff",
            "//",
        ] {
            assert_eq!(Target::parse(url).unwrap().path, "", "{url}");
        }
        assert_eq!(Target::parse(&format!("/{}", "x".repeat(65))).unwrap().path, "");
    }

    #[test]
    fn bad() {
        for (url, error) in [
            ("", MALFORMED),
            ("/a b", MALFORMED),
            ("/a\0", MALFORMED),
            ("*", NOT_RTSP),
            ("ch", NOT_RTSP),
            ("trackID=0", NOT_RTSP),
            ("http://h/ch", NOT_RTSP),
            ("file:///etc/passwd", NOT_RTSP),
            ("rtsp:/h/ch", NOT_RTSP),
            ("rtsp:///ch", BAD_HOST),
            ("rtsp://h:99999/ch", BAD_HOST),
            ("rtsp://h:-1/ch", BAD_HOST),
            ("rtsp://[::1/ch", BAD_HOST),
            ("rtsp://[x]/ch", BAD_HOST),
            ("rtsp://[::1]x/ch", BAD_HOST),
        ] {
            assert_eq!(Target::parse(url), Err(error), "{url}");
        }
        assert_eq!(Target::parse(&"/".repeat(limits::URL_BYTES_MAX + 1)), Err(TOO_LONG));
    }

    #[test]
    fn the_token_is_decoded_once_and_never_shown() {
        let target = Target::parse("rtsp://h/ch?a=b&token=x%2By%2525&c/trackID=0").unwrap();
        assert_eq!(target.token(), Some("x+y%25"));
        assert!(!format!("{target:?}").contains("x%2B"));
        for none in ["/ch", "/ch?", "/ch?token", "/ch?token=", "/ch?xtoken=a", "/ch?token=%"] {
            assert_eq!(Target::parse(none).unwrap().token(), None, "{none}");
        }
    }

    #[test]
    fn controls_are_absolute_where_a_query_would_be_lost() {
        let plain = Target::parse("rtsp://h/ch/").unwrap();
        assert_eq!((plain.control_base(), plain.content_base()), (None, "rtsp://h/ch/".to_owned()));
        let query = Target::parse("rtsp://h/ch?q").unwrap();
        assert_eq!(query.control_base(), Some("rtsp://h/ch?q"));
        assert_eq!(query.content_base(), "rtsp://h/ch/?q");
        assert_eq!(Target::parse(&query.content_base()).unwrap().base, query.base);
    }

    #[test]
    fn controls_resolve_against_their_base() {
        for (base, control, resolved) in [
            ("rtsp://h/ch", "trackID=0", "rtsp://h/ch/trackID=0"),
            ("rtsp://h/ch/", "/trackID=0", "rtsp://h/ch/trackID=0"),
            ("rtsp://h/ch/?q", "trackID=0", "rtsp://h/ch/trackID=0?q"),
            ("rtsp://h/ch/", "rtsp://g/x", "rtsp://g/x"),
            ("rtsp://h/ch/", "*", "rtsp://h/ch/"),
            ("rtsp://h/ch", "", "rtsp://h/ch"),
        ] {
            assert_eq!(resolve(base, control), resolved);
        }
    }
}
