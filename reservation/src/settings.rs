//! The settings file: what a broadcaster's terminal needs for one reservation, and how it is sealed for it.
//!
//! [`mod@file`] is the format, [`make`] fills it in, [`plan`] and [`commands`] write the ready-made lines, [`shell`] quotes
//! them, `seal` encrypts. The page for people is `docs/settings-file.md`.
//! Invariant: nothing secret is shown by `Debug` or by an error; what is written is always read again.

pub mod commands;
pub mod file;
pub mod make;
pub mod plan;
#[cfg(feature = "server")]
pub mod seal;
pub mod shell;

pub use file::{SettingsError, SettingsFile};
pub use make::Provider;

use crate::domain::words::ReservationNumber;

/// Under which name the sealed file is handed over.
pub fn file_name(number: ReservationNumber) -> String {
    format!("slotcast-{number}.json.age")
}
