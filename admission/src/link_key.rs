//! What is kept of a reservation ID: enough to check it, too little to show it.
//!
//! Owns: [`LinkKey`]. Holds: the ID itself is not kept, and no `Debug` shows what was derived from it.

use std::fmt;

use slotcast_rtsp::auth::{Credential, LINK_USER, ha1_md5, ha1_sha256};

use crate::secret::{hash_matches, sha256};

/// The derived values of one reservation ID.
#[derive(Clone, PartialEq, Eq)]
pub struct LinkKey {
    sha256: [u8; 32],
    ha1_md5: [u8; 16],
    ha1_sha256: [u8; 32],
}

impl LinkKey {
    /// Derives the values; `id` is not kept.
    pub fn from_reservation_id(id: &str) -> Self {
        Self { sha256: sha256(id), ha1_md5: ha1_md5(LINK_USER, id), ha1_sha256: ha1_sha256(LINK_USER, id) }
    }

    /// Whether `token` (`?token=` in the address) is the reservation ID; constant time over the hash.
    pub fn matches_token(&self, token: &str) -> bool {
        hash_matches(&self.sha256, token)
    }

    /// What a digest is checked against.
    pub fn credential(&self) -> Credential<'_> {
        Credential::Ha1 { user: LINK_USER, md5: &self.ha1_md5, sha256: &self.ha1_sha256 }
    }
}

impl fmt::Debug for LinkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkKey(…)")
    }
}
