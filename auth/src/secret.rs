//! A password that is compared without telling how much of it was right, and never shown.
//!
//! Owns: [`Secret`]. Invariant: no `Debug`, no `Display` and no log line can show the text.

use std::fmt;

use crate::hash::{is_same, of_shown, sha256};

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
        of_shown(shown).is_some_and(|hash| self.has_hash(&hash))
    }

    /// Whether `hash` is the secret's SHA-256.
    pub(crate) fn has_hash(&self, hash: &[u8; 32]) -> bool {
        is_same(&self.hash, hash)
    }

    /// The text itself, for the digest check and for showing it to those who may see it.
    pub fn expose(&self) -> &str {
        &self.text
    }
}

/// Constant time, as [`Secret::matches`].
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.has_hash(&other.hash)
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
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
