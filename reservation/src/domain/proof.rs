//! Codes that are mailed: who has one shows that mail to an address arrives.
//!
//! Owns: [`Proof`], what is kept of a code, and the rules about its life.
//! Not here: the code itself, which is derived from the server's key (`vault`).

use std::time::Duration;

use slotcast_core::time::WallTime;

use super::words::{Email, MemberNumber};

/// What a code is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProofKind {
    /// The address is the member's: before the first reservation, and when it changes.
    Email,
    /// The member forgot the password and may set another.
    Password,
}

impl ProofKind {
    /// All there are.
    pub const ALL: [Self; 2] = [Self::Email, Self::Password];

    /// The name in the database.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Password => "password",
        }
    }

    /// The kind of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// How long a code is valid.
    pub const fn life(self) -> Duration {
        match self {
            Self::Email => Duration::from_secs(24 * 3600),
            Self::Password => Duration::from_secs(30 * 60),
        }
    }
}

/// What is kept of a code that was mailed. Of each kind, a member has one at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// Whose it is; 0: nobody's.
    pub member: MemberNumber,
    /// What it is for.
    pub kind: ProofKind,
    /// Makes the code another one each time.
    pub serial: i64,
    /// SHA-256 of the code.
    pub code_hash: [u8; 32],
    /// The address that the code was mailed to, and that it proves.
    pub email: Email,
    /// Not valid from then on.
    pub expires_at: WallTime,
}

impl Proof {
    /// Whether the same code is mailed again to `email`, rather than another one: a link that was mailed before goes on
    /// being valid, and the member has at least a third of its life left.
    pub fn serves_again(&self, email: &Email, now: WallTime) -> bool {
        self.email == *email && self.expires_at.since(now) >= self.kind.life() / 3
    }
}
