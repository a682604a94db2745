//! Requests and responses of RTSP 1.0 as values, and how they are written.
//!
//! Owns: [`Headers`], [`Request`], [`Response`], and [`Decoder`] (in `decoder`), which makes them from bytes.
//! Refuses: to write a header that would become two, whatever it is given.
//! Not here: what a header means (`headers`, `auth`), what a method does (`server`, `client`).
//! Invariant: what is written here is read back as the same value.
//!
//! Messages are read by a strict little parser of our own: it takes lines as they arrive, so that every bound is
//! checked before the bytes behind it are kept, and it knows where in the stream of bytes an error lies.

mod decoder;

use std::fmt::Write as _;

use bytes::{BufMut, Bytes, BytesMut};

use crate::status::{Refused, Status};

pub use decoder::{Decoder, Item, MessageError, MessageErrorKind, Phase};

/// The one version spoken here.
pub const VERSION: &str = "RTSP/1.0";

/// A message's headers in the order in which they came.
///
/// Names compare without case. Neither names nor values hold a line end or any other control character but a tab.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    entries: Vec<(String, String)>,
}

impl Headers {
    /// None.
    pub const fn new() -> Self {
        Self { entries: Vec::new() }
    }

    /// The first value of `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Every value of `name`, in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.entries.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// All values of a header that is a list, joined by commas; `None` where it is absent.
    ///
    /// RFC 2326 §12 by way of RFC 2068 §4.2: several headers of one name are one list.
    pub fn joined(&self, name: &str) -> Option<String> {
        let mut values = self.all(name);
        let first = values.next()?.to_owned();
        Some(values.fold(first, |list, value| list + "," + value))
    }

    /// Adds one more. Control characters in `value` become spaces, so that it stays one line; characters that a
    /// name cannot have are left out of `name`, and a header without a name is not added.
    pub fn push(&mut self, name: &str, value: impl AsRef<str>) {
        let name: String = name.chars().filter(|c| is_token_char(*c)).collect();
        if !name.is_empty() {
            self.entries.push((name, one_line(value.as_ref())));
        }
    }

    /// The same, to be chained.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl AsRef<str>) -> Self {
        self.push(name, value);
        self
    }

    /// Adds all of `more`.
    pub(crate) fn extend(&mut self, more: Self) {
        self.entries.extend(more.entries);
    }

    /// Names and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries.iter().map(|(n, v)| (n.as_str(), v.as_str()))
    }

    /// Folds one more line onto the last value (RFC 2068 §4.2); `false` where there is none.
    fn fold(&mut self, more: &str) -> bool {
        let Some((_, value)) = self.entries.last_mut() else { return false };
        // An empty line adds nothing, not even the space: what is read is what would be written.
        if !value.is_empty() && !more.is_empty() {
            value.push(' ');
        }
        value.push_str(more);
        true
    }

    /// A message of these headers.
    fn write(&self, start_line: &[&str], body: &Bytes) -> Bytes {
        let mut out = BytesMut::new();
        put_all(&mut out, start_line);
        for (name, value) in self.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("Content-Length")) {
            put_all(&mut out, &[name, ": ", value, "\r\n"]);
        }
        if !body.is_empty() {
            put_all(&mut out, &["Content-Length: ", &body.len().to_string(), "\r\n"]);
        }
        out.put_slice(b"\r\n");
        out.put_slice(body);
        out.freeze()
    }
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its method as it came: names are case-sensitive.
    pub method: String,
    /// The address as it came: `*`, a path, or an absolute `rtsp://` address. Not checked; see [`crate::url`].
    pub url: String,
    /// Its headers.
    pub headers: Headers,
    /// Its body; empty where there is none.
    pub body: Bytes,
}

impl Request {
    /// A request without headers or body.
    pub fn new(method: &str, url: &str) -> Self {
        Self { method: method.to_owned(), url: url.to_owned(), headers: Headers::new(), body: Bytes::new() }
    }

    /// The text of `CSeq` as it came, to be echoed. `None` where it is missing or empty: answer 400 and close.
    pub fn cseq(&self) -> Option<&str> {
        self.headers.get("CSeq").filter(|cseq| !cseq.is_empty())
    }

    /// The request as bytes, with `Content-Length` where there is a body.
    ///
    /// Spaces and control characters of the address are written as `%XX`; those of the method are left out.
    pub fn to_bytes(&self) -> Bytes {
        let method: String = self.method.chars().filter(|c| is_token_char(*c)).collect();
        let mut url = String::with_capacity(self.url.len());
        for c in self.url.chars() {
            if c.is_control() || c.is_whitespace() {
                let mut utf8 = [0; 4];
                for byte in c.encode_utf8(&mut utf8).bytes() {
                    write!(url, "%{byte:02X}").unwrap_or_default();
                }
            } else {
                url.push(c);
            }
        }
        self.headers.write(&[&method, " ", &url, " ", VERSION, "\r\n"], &self.body)
    }
}

/// A response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Its code.
    pub status: Status,
    /// What a person may read; one line.
    pub reason: String,
    /// Its headers.
    pub headers: Headers,
    /// Its body; empty where there is none.
    pub body: Bytes,
}

impl Response {
    /// A response with the standard's reason, without headers or body.
    pub fn new(status: Status) -> Self {
        Self { status, reason: status.reason().to_owned(), headers: Headers::new(), body: Bytes::new() }
    }

    /// The same with another header.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push(name, value);
        self
    }

    /// The same with these words in place of the standard's, unless there are none.
    pub(crate) fn because(mut self, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        if !reason.trim().is_empty() {
            self.reason = reason;
        }
        self
    }

    /// The text of `CSeq` as it came.
    pub fn cseq(&self) -> Option<&str> {
        self.headers.get("CSeq").filter(|cseq| !cseq.is_empty())
    }

    /// The response as bytes, with `Content-Length` where there is a body. Control characters of the reason become spaces.
    pub fn to_bytes(&self) -> Bytes {
        let code = self.status.code().to_string();
        self.headers.write(&[VERSION, " ", &code, " ", &one_line(&self.reason), "\r\n"], &self.body)
    }
}

impl From<Refused> for Response {
    fn from(refused: Refused) -> Self {
        Self::new(refused.status).because(refused.reason)
    }
}

/// The four bytes in front of a `$` frame (RFC 2326 §10.12).
pub fn frame_header(channel: u8, length: u16) -> [u8; 4] {
    let [high, low] = length.to_be_bytes();
    [b'$', channel, high, low]
}

fn put_all(out: &mut BytesMut, parts: &[&str]) {
    for part in parts {
        out.put_slice(part.as_bytes());
    }
}

/// `text` on one line: control characters become spaces, outer white space goes.
fn one_line(text: &str) -> String {
    let spaced: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    spaced.trim_matches([' ', '\t']).to_owned()
}

/// What a method's or header's name is made of (RFC 2068 §2.2 `token`).
fn is_token_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_compare_without_case_and_lists_are_joined() {
        let headers = Headers::new().with("Transport", "a").with("CSeq", "1").with("TRANSPORT", "b");
        assert_eq!(headers.get("cseq"), Some("1"));
        assert_eq!(headers.joined("transport").as_deref(), Some("a,b"));
        assert_eq!(headers.joined("Range"), None);
    }

    #[test]
    fn a_value_with_line_ends_stays_one_header() {
        let mut response = Response::new(Status::FORBIDDEN);
        response.reason = "no\r\nSet-Cookie: a".to_owned();
        response.headers.push("X", "a\r\nY: b\0");
        response.headers.push("Z: \r\n", "c");
        response.headers.push("\r\n", "gone");
        let text = response.to_bytes();
        assert_eq!(text, "RTSP/1.0 403 no  Set-Cookie: a\r\nX: a  Y: b\r\nZ: c\r\n\r\n");
    }

    #[test]
    fn an_address_with_line_ends_stays_one_line() {
        let request = Request::new("OPTIONS", "rtsp://h/a b\r\nX: y");
        assert_eq!(request.to_bytes(), "OPTIONS rtsp://h/a%20b%0D%0AX:%20y RTSP/1.0\r\n\r\n");
    }

    #[test]
    fn the_length_is_that_of_the_body_whatever_the_headers_say() {
        let mut response = Response::new(Status::OK);
        response.headers.push("content-length", "7000");
        response.body = Bytes::from_static(b"v=0");
        assert_eq!(response.to_bytes(), "RTSP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nv=0");
    }

    #[test]
    fn a_frame_header_is_big_endian() {
        assert_eq!(frame_header(3, 0x0102), [b'$', 3, 1, 2]);
    }
}
