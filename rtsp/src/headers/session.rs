//! The Session header (RFC 2326 §12.37): `ID` or `ID;timeout=60`.
//!
//! Refuses: an id that is empty, too long, or not visible ASCII. Ids of others are compared, never interpreted.

use std::{fmt, time::Duration};

use crate::limits;

/// A session's id, and how long it lives without a sign of life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionHeader {
    /// As it came, or as the server made it.
    pub id: String,
    /// Whole seconds. Servers say it, clients do not.
    pub timeout: Option<Duration>,
}

impl SessionHeader {
    /// Reads the header; a timeout that is no number counts as not given.
    ///
    /// `None`: no usable id. A server answers 454.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let id = parts.next().filter(|id| {
            (1..=limits::SESSION_ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic())
        })?;
        let timeouts = parts.filter_map(|part| part.split_once('='));
        let mut timeouts = timeouts.filter(|(name, _)| name.trim().eq_ignore_ascii_case("timeout"));
        let seconds = timeouts.find_map(|(_, value)| value.trim().parse::<u32>().ok());
        Some(Self { id: id.to_owned(), timeout: seconds.map(|seconds| Duration::from_secs(seconds.into())) })
    }
}

/// Without spaces: some clients take them for part of the id.
impl fmt::Display for SessionHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)?;
        match self.timeout {
            Some(timeout) => write!(f, ";timeout={}", timeout.as_secs()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, id: &str, seconds: Option<u64>, canonical: &str) {
        let header = SessionHeader::parse(text).unwrap();
        assert_eq!((header.id.as_str(), header.timeout.map(|t| t.as_secs())), (id, seconds));
        assert_eq!(header.to_string(), canonical);
    }

    #[test]
    fn strict() {
        check("abc", "abc", None, "abc");
        check("abc;timeout=60", "abc", Some(60), "abc;timeout=60");
    }

    #[test]
    fn tolerated() {
        check(" abc ; Timeout = 30 ;x=y", "abc", Some(30), "abc;timeout=30");
        check("a-b$c;timeout=soon", "a-b$c", None, "a-b$c");
        check("abc;timeout=-1", "abc", None, "abc");
        check("abc;", "abc", None, "abc");
    }

    #[test]
    fn bad() {
        for text in ["", ";timeout=60", "a b", "ä", &"x".repeat(limits::SESSION_ID_BYTES_MAX + 1)] {
            assert_eq!(SessionHeader::parse(text), None, "{text}");
        }
    }
}
