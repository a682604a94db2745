//! Which path a viewer's connection has proven itself for, so that it need not prove it again at once.
//!
//! Holds: only a digest that met a challenge counts. A program that asks for nothing grants nothing, whatever the
//! request brought: its channel may carry one that asks a moment later. A grant lives no longer than a nonce.

use std::time::Instant;

use crate::{
    auth::{Credentials, NONCE_LIFETIME},
    url::Target,
};

/// What a parked request brought.
#[derive(Clone, Debug, Default)]
pub(super) struct Proof {
    pub(super) path: String,
    /// A challenge in answer to it means that it was wrong, not missing.
    pub(super) is_present: bool,
}

impl Proof {
    pub(super) fn of(credentials: &Credentials, target: &Target) -> Self {
        Self { path: target.path.clone(), is_present: credentials.is_present() }
    }
}

/// The last challenge and the last grant of a connection.
#[derive(Debug, Default)]
pub(super) struct Grants {
    challenged: Option<String>,
    granted: Option<(String, Instant)>,
}

impl Grants {
    pub(super) fn on_challenge(&mut self, path: &str) {
        self.challenged = Some(path.to_owned());
        self.granted = None;
    }

    pub(super) fn on_yes(&mut self, now: Instant, proof: &Proof) {
        if proof.is_present && self.challenged.as_ref() == Some(&proof.path) {
            self.granted = Some((proof.path.clone(), now + NONCE_LIFETIME));
        }
    }

    pub(super) fn holds(&self, now: Instant, path: &str) -> bool {
        self.granted.as_ref().is_some_and(|(granted, until)| granted == path && now < *until)
    }
}
