//! A password that is compared without telling how much of it was right, and never shown.
//!
//! Owns: [`Secret`]. Holds: no `Debug`, no `Display` and no log line can show the text.

use std::fmt;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::limits::SECRET_BYTES_MAX;

/// A program's password. Kept in plain in memory, since digest authentication needs it.
#[derive(Clone)]
pub struct Secret {
    text: Box<str>,
    hash: [u8; 32],
}

impl Secret {
    /// Wraps `text`.
    pub fn new(text: String) -> Self {
        let hash = sha256(&text);
        Self { text: text.into(), hash }
    }

    /// Whether `shown` is the secret: both are hashed, and the hashes compared in constant time.
    pub fn matches(&self, shown: &str) -> bool {
        hash_matches(&self.hash, shown)
    }

    /// The text itself, for the digest check alone.
    pub fn expose(&self) -> &str {
        &self.text
    }
}

/// Constant time, as [`Secret::matches`].
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.hash.ct_eq(&other.hash).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

pub(crate) fn sha256(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

/// Whether `shown` hashes to `hash`; a text beyond the bound is wrong without being hashed.
pub(crate) fn hash_matches(hash: &[u8; 32], shown: &str) -> bool {
    shown.len() <= SECRET_BYTES_MAX && bool::from(sha256(shown).ct_eq(hash))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_text_matches() {
        let secret = Secret::new("hunter2".to_owned());
        assert!(secret.matches("hunter2"));
        for wrong in ["", "hunter", "hunter22", "Hunter2", &"x".repeat(5_000)] {
            assert!(!secret.matches(wrong), "{wrong}");
        }
    }

    #[test]
    fn debug_shows_nothing() {
        assert!(!format!("{:?}", Secret::new("hunter2".to_owned())).contains("hunter"));
    }
}
