//! What a request shows for itself, as far as a decision looks at it.
//!
//! Owns: [`Proof`], so that decisions are taken, and tested, without a connection around them.
//! Not here: digest and nonces (`slotcast_rtsp::auth`).

use std::time::Instant;

use slotcast_rtsp::auth::{Credential, Credentials, Verdict};

/// Something that can be compared to a password or an ID without showing either.
pub trait Proof {
    /// How what was shown compares to `credential` at `now`.
    fn verify(&self, now: Instant, credential: &Credential<'_>) -> Verdict;
}

impl Proof for Credentials {
    fn verify(&self, now: Instant, credential: &Credential<'_>) -> Verdict {
        Self::verify(self, now, credential)
    }
}
