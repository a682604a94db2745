//! Hashes of texts, and the one place that compares secrets.

use md5::Md5;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::limits::SECRET_BYTES_MAX;

/// A digest's hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Algorithm {
    /// What every client speaks.
    Md5,
    /// What those should speak that can.
    Sha256,
}

impl Algorithm {
    /// By its name in a header; absent is MD5. `None` for others, `-sess` among them.
    pub(crate) fn parse(name: Option<&str>) -> Option<Self> {
        match name {
            None => Some(Self::Md5),
            Some(name) if name.eq_ignore_ascii_case("MD5") => Some(Self::Md5),
            Some(name) if name.eq_ignore_ascii_case("SHA-256") => Some(Self::Sha256),
            Some(_) => None,
        }
    }

    /// The hash of `parts` with colons between, in lower-case hexadecimal digits.
    pub(crate) fn of(self, parts: &[&str]) -> String {
        let text = parts.join(":");
        match self {
            Self::Md5 => hex(&Md5::digest(text)),
            Self::Sha256 => hex(&sha256(&text)),
        }
    }
}

/// The SHA-256 of `text`.
pub(crate) fn sha256(text: &str) -> [u8; 32] {
    Sha256::digest(text).into()
}

/// The SHA-256 of a secret that a peer shows; `None` where it is too long to be one.
pub(crate) fn of_shown(text: &str) -> Option<[u8; 32]> {
    (text.len() <= SECRET_BYTES_MAX).then(|| sha256(text))
}

/// Whether both are the same. Takes as long for those that differ early as for those that differ late.
pub(crate) fn is_same(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

/// As lower-case hexadecimal digits, two a byte.
pub fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
}
