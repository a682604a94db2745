//! The settings file: what the member's terminal needs, sealed for it.

use std::fmt;

use super::{Actor, Answer, Service, error::unready};
use crate::{domain::words::ReservationNumber, settings::SettingsFile};

/// For whom a settings file is sealed.
#[derive(Clone)]
pub enum Seal {
    /// For an age recipient (`age1…`); `None`: the one that the member registered.
    Recipient(Option<String>),
    /// For whoever knows this, 12 characters or more.
    Passphrase(String),
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Recipient(_) => "Recipient",
            Self::Passphrase(_) => "Passphrase",
        })
    }
}

/// A sealed settings file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedFile {
    /// A name for it: letters, digits, `-` and `.`.
    pub name: String,
    /// Armored age.
    pub bytes: Vec<u8>,
}

impl Service {
    /// The settings file, sealed. Confirmed reservations have one, until their connect window is over.
    pub async fn settings_file(
        &self,
        actor: &Actor,
        number: ReservationNumber,
        typed_id: &str,
        seal: Seal,
    ) -> Answer<SealedFile> {
        let _ = (actor, number, typed_id, seal);
        unready()
    }

    /// The same as values, for a page or a program that asked over TLS.
    pub async fn settings_plain(
        &self,
        actor: &Actor,
        number: ReservationNumber,
        typed_id: &str,
    ) -> Answer<SettingsFile> {
        let _ = (actor, number, typed_id);
        unready()
    }
}
