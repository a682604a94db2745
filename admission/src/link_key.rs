//! What is kept of a reservation ID: enough to check it, too little to show it.
//!
//! Owns: [`LinkKey`], and which ways of typing an ID are the same. Invariant: the ID itself is not kept, and no `Debug`
//! shows what was derived from it.

use std::fmt;

use slotcast_rtsp::auth::{Credential, LINK_USER, ha1_md5, ha1_sha256};

use crate::{
    limits::SECRET_BYTES_MAX,
    secret::{hash_matches, sha256},
};

/// The derived values of one reservation ID.
#[derive(Clone, PartialEq, Eq)]
pub struct LinkKey {
    /// Of the ID as [`normalised`] writes it.
    sha256: [u8; 32],
    /// A digest is made of the ID as it was typed: as it was given out, or in capital letters.
    as_given: Ha1,
    in_capitals: Ha1,
}

#[derive(Clone, PartialEq, Eq)]
struct Ha1 {
    md5: [u8; 16],
    sha256: [u8; 32],
}

impl LinkKey {
    /// Derives the values; `id` is not kept.
    pub fn from_reservation_id(id: &str) -> Self {
        Self {
            sha256: sha256(&normalised(id)),
            as_given: Ha1::of(id),
            in_capitals: Ha1::of(&id.to_ascii_uppercase()),
        }
    }

    /// Whether `token` (`?token=` in the address) is the reservation ID, however it was typed; constant time over the
    /// hash.
    pub fn matches_token(&self, token: &str) -> bool {
        token.len() <= SECRET_BYTES_MAX && hash_matches(&self.sha256, &normalised(token))
    }

    /// What a digest is checked against: one of these has to be right.
    pub fn credentials(&self) -> [Credential<'_>; 2] {
        [&self.as_given, &self.in_capitals].map(|ha1| Credential::Ha1 {
            user: LINK_USER,
            md5: &ha1.md5,
            sha256: &ha1.sha256,
        })
    }
}

impl Ha1 {
    fn of(id: &str) -> Self {
        Self { md5: ha1_md5(LINK_USER, id), sha256: ha1_sha256(LINK_USER, id) }
    }
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
