//! Mail to members and friends: its text, its calendar entry, and how it is handed on.
//!
//! Owns: [`Letter`] and [`render`], which make a mail of a row of the outbox; [`Post`] with [`Folder`] and [`Smtp`],
//! which hand it on; [`retry`], when to try again.
//! Not here: the outbox (`store`), who is written to and why (`domain::rules`).
//! Invariant: what people wrote never becomes a header, a second line of a header or a line of a calendar entry. The same
//! row of the outbox always has the same Message-ID.

mod calendar;
mod folder;
mod letter;
mod post;
mod render;
pub mod retry;
mod smtp;
mod template;
mod text;

use std::fmt;

pub use calendar::event_uid;
pub use folder::Folder;
pub use letter::{GivenBack, Letter, MailSettings, MailedCode, Program};
pub use post::{Post, PostError};
pub use render::render;
pub use smtp::{Smtp, SmtpSettings};

/// Why a mail cannot be made. Trying again would change nothing: something is wrong with what it was to be made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MailError {
    /// This kind of mail needs it.
    Missing(&'static str),
    /// The key is not 1 to 200 of `a-z 0-9 - .`.
    Key,
    /// An address that mail cannot be sent to or from.
    Address,
    /// A time outside the years 1 to 9999.
    Time,
    /// The parts do not make a mail or a calendar entry.
    Form,
}

impl fmt::Display for MailError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(what) => write!(f, "this kind of mail needs {what}"),
            Self::Key => f.write_str("expected a key of 1 to 200 of a-z, 0-9, '-' and '.'"),
            Self::Address => f.write_str("expected an address that mail can be sent to"),
            Self::Time => f.write_str("expected a time in the years 1 to 9999"),
            Self::Form => f.write_str("the parts do not make a mail"),
        }
    }
}

impl std::error::Error for MailError {}

/// Whether `key` may be part of a Message-ID and a file's name: 1 to 200 of `a-z 0-9 - .`, not beginning with a dot.
fn is_key(key: &str) -> bool {
    (1..=200).contains(&key.len())
        && !key.starts_with('.')
        && key.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.'))
}
