//! The border to whatever hands mails on.

use std::fmt;

use async_trait::async_trait;
use lettre::Message;

/// Why a mail was not handed on. The texts are for the operator and hold no full address and no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PostError {
    /// Worth another try, see [`retry`](super::retry).
    Temporary(String),
    /// Refused for good.
    Permanent(String),
}

impl fmt::Display for PostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Temporary(text) => write!(f, "not sent yet: {text}"),
            Self::Permanent(text) => write!(f, "refused: {text}"),
        }
    }
}

impl std::error::Error for PostError {}

/// Hands mails on.
#[async_trait]
pub trait Post: Send + Sync {
    /// Hands on one mail, in bounded time.
    ///
    /// - `key`: the outbox's. A mail that is handed on again under its key is a repeat, not a second mail.
    async fn send(&self, message: &Message, key: &str) -> Result<(), PostError>;
}
