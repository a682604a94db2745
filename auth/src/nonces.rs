//! The server's challenges, and the nonces that one connection was challenged with.

use std::time::{Duration, Instant};

use crate::{hash::hex, limits};

/// The realm of every challenge.
pub const REALM: &str = "slotcast";

/// How long a nonce may be used after it was issued; then the proof is stale.
pub const NONCE_LIFETIME: Duration = Duration::from_secs(60);

/// The nonces of one connection: at most [`limits::NONCES_MAX`]; each lives [`NONCE_LIFETIME`].
#[derive(Clone, Default)]
pub struct Nonces {
    issued: Vec<(String, Instant)>,
}

impl Nonces {
    /// A fresh one, written as hexadecimal digits.
    ///
    /// - `random`: never given before to any connection, and not to be guessed.
    pub fn issue(&mut self, now: Instant, random: [u8; 16]) -> String {
        if self.issued.len() >= limits::NONCES_MAX {
            self.issued.remove(0);
        }
        let nonce = hex(&random);
        self.issued.push((nonce.clone(), now));
        nonce
    }

    /// When a proof made with `nonce` becomes stale; `None`: it is none of these.
    pub(crate) fn stale_at(&self, nonce: &str) -> Option<Instant> {
        let found = self.issued.iter().find(|(issued, _)| issued == nonce);
        found.map(|(_, at)| *at + NONCE_LIFETIME)
    }
}

/// The values of the WWW-Authenticate headers of a 401, in the order in which they must stand.
///
/// SHA-256 first and MD5 last, since ffmpeg, GStreamer and live555 take the last one that says Digest; the MD5
/// challenge names no algorithm and has realm, nonce and stale in the order that live555 reads.
///
/// - `basic`: whether Basic is offered too: only inside TLS.
pub fn challenges(nonce: &str, stale: bool, basic: bool) -> Vec<String> {
    let stale = if stale { ", stale=true" } else { "" };
    let digest = format!("Digest realm=\"{REALM}\", nonce=\"{nonce}\"{stale}");
    let mut challenges = vec![format!("{digest}, algorithm=SHA-256")];
    if basic {
        challenges.push(format!("Basic realm=\"{REALM}\""));
    }
    challenges.push(digest);
    challenges
}
