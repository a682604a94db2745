//! The settings file: what a broadcaster's terminal needs for one reservation, and how it is sealed for it.
//!
//! [`mod@file`] is the format, [`make`] fills it in, [`plan`] and [`commands`] write the ready-made lines, [`shell`] quotes
//! them, `seal` encrypts and opens. The page for people is `docs/settings-file.md`.
//! Invariant: nothing secret is shown by `Debug` or by an error; what is written is always read again.

pub mod commands;
pub mod file;
pub mod make;
pub mod plan;
#[cfg(feature = "seal")]
pub mod seal;
pub mod shell;

pub use file::{SettingsError, SettingsFile};
pub use make::{Provider, Reserved};

/// The name of the sealed file of the reservation with this number.
pub fn file_name(number: i64) -> String {
    format!("slotcast-{number}.json.age")
}
