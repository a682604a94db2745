//! The one session of a connection: its id, its state and its tracks.
//!
//! Invariant: at most one per connection; all its tracks share one lower transport; no two tracks share a port or channel.
//! Dropping a session gives its client ports back.

use std::time::Instant;

use super::{ports::Claim, table::State};
use crate::headers::{
    session::SessionHeader,
    transport::{LowerTransport, TrackTransport},
};

/// What one SETUP fixed.
pub struct TrackSetup {
    /// Index of the track in the stream.
    pub track: u8,
    /// Where its packets go, or come from.
    pub transport: TrackTransport,
    /// The SETUP request's URL as sent: what `RTP-Info` names the track by.
    pub url: String,
    /// Keeps the client's UDP ports from other sessions at its address.
    pub(super) _claim: Option<Claim>,
}

/// One session.
pub struct Session {
    /// 128 random bits as 32 hexadecimal digits.
    pub(super) id: String,
    /// Ready, playing or recording.
    pub(super) state: State,
    pub(super) path: String,
    pub(super) lower: LowerTransport,
    pub(super) stream_tracks: u8,
    pub(super) tracks: Vec<TrackSetup>,
    /// When it must have started; `None` once it has.
    pub(super) start_by: Option<Instant>,
}

impl Session {
    /// Whether a `Session` header means this one.
    pub(super) fn is_named_by(&self, header: &str) -> bool {
        SessionHeader::parse(header).is_some_and(|header| header.id == self.id)
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What is set up, in the order of SETUP; at least one.
    pub fn tracks(&self) -> &[TrackSetup] {
        &self.tracks
    }
}
