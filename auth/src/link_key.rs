//! What is kept of a reservation ID: enough to check it, too little to show it.
//!
//! Owns: [`LinkKey`], and which ways of typing an ID are the same. Invariant: the ID itself is not kept, and no `Debug`
//! shows what was derived from it.

use std::fmt;

use md5::{Digest as _, Md5};

use crate::{
    hash::{Algorithm, hex, is_same, sha256},
    limits::SECRET_BYTES_MAX,
    nonces::REALM,
};

/// The user name that goes with a reservation ID.
pub const LINK_USER: &str = "live";

/// The derived values of one reservation ID.
#[derive(Clone, PartialEq, Eq)]
pub struct LinkKey {
    /// Of the ID as [`normalised`] writes it.
    hash: [u8; 32],
    /// A digest is made of the ID as it was typed: as it was given out, or in capital letters.
    typed: [Ha1; 2],
}

/// A digest's HA1, `live:slotcast:ID`, by algorithm.
#[derive(Clone, PartialEq, Eq)]
struct Ha1 {
    md5: [u8; 16],
    sha256: [u8; 32],
}

impl LinkKey {
    /// Derives the values; `id` is not kept.
    pub fn from_reservation_id(id: &str) -> Self {
        Self { hash: sha256(&normalised(id)), typed: [Ha1::of(id), Ha1::of(&id.to_ascii_uppercase())] }
    }

    /// Whether `token` is the reservation ID, however it was typed; constant time over the hash.
    pub fn matches_token(&self, token: &str) -> bool {
        hash_of_token(token).is_some_and(|hash| self.has_hash(&hash))
    }

    /// What the ID is found by: the SHA-256 of the ID, whose letters are in one case, without dashes and spaces.
    pub const fn hash(&self) -> &[u8; 32] {
        &self.hash
    }

    pub(crate) fn has_hash(&self, hash: &[u8; 32]) -> bool {
        is_same(&self.hash, hash)
    }

    /// HA1 (hexadecimal digits) for each way in which the ID may have been typed.
    pub(crate) fn ha1(&self, algorithm: Algorithm) -> [String; 2] {
        let [as_given, in_capitals] = &self.typed;
        [as_given, in_capitals].map(|ha1| match algorithm {
            Algorithm::Md5 => hex(&ha1.md5),
            Algorithm::Sha256 => hex(&ha1.sha256),
        })
    }
}

impl Ha1 {
    fn of(id: &str) -> Self {
        let text = [LINK_USER, REALM, id].join(":");
        Self { md5: Md5::digest(&text).into(), sha256: sha256(&text) }
    }
}

/// As [`LinkKey::hash`], of what a peer shows; `None` where it is too long to be an ID.
pub(crate) fn hash_of_token(token: &str) -> Option<[u8; 32]> {
    (token.len() <= SECRET_BYTES_MAX).then(|| sha256(&normalised(token)))
}

/// An ID as it is compared: case, dashes and spaces do not count, `o` is 0, `i` and `l` are 1.
fn normalised(id: &str) -> String {
    let letters = id.chars().filter(|c| !matches!(c, '-' | ' '));
    let letter = |c: char| match c.to_ascii_lowercase() {
        'o' => '0',
        'i' | 'l' => '1',
        other => other,
    };
    letters.map(letter).collect()
}

impl fmt::Debug for LinkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_taken_however_it_was_typed() {
        let key = LinkKey::from_reservation_id("7r9kq-2mxw8-tzb4n-vc31d-ha6ey0");
        for typed in [
            "7r9kq-2mxw8-tzb4n-vc31d-ha6ey0",
            "7R9KQ-2MXW8-TZB4N-VC31D-HA6EY0",
            "7R9kq 2mxw8 tzb4n vc31d ha6ey0",
            "7r9kq2mxw8tzb4nvc3ldha6eyO",
        ] {
            assert!(key.matches_token(typed), "{typed}");
        }
        for wrong in
            ["", "7r9kq-2mxw8-tzb4n-vc31d-ha6ey", "7r9kq-2mxw8-tzb4n-vc31d-ha6ey1", &"7".repeat(5_000)]
        {
            assert!(!key.matches_token(wrong), "{wrong}");
        }
    }
}
