//! What goes over the border between the desk and those who bring media.
//!
//! Owns: [`Pass`], the right of one link to bring one program; what becomes of its packets ([`Fate`]); what the desk has to
//! tell links ([`ToLink`]).
//! Invariant: a dropped pass comes back to the desk, which gives its line and its program free.

use std::sync::Arc;

use parking_lot::Mutex;
use slotcast_admission::{Program, Reason};
use slotcast_core::{
    rtcp,
    rtp::Ssrc,
    time::WallTime,
    words::{ChannelName, ProgramId},
};

/// Names one pass, also after it is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PassId(pub(crate) u64);

/// Passes that were dropped and that the desk has not looked at yet.
pub(crate) type Returned = Arc<Mutex<Vec<(ProgramId, PassId)>>>;

/// The right to bring one program. Dropping it gives its line back; the desk takes note at its next call.
pub struct Pass {
    pub(crate) id: PassId,
    pub(crate) program: Arc<Program>,
    pub(crate) on_air_at: Option<WallTime>,
    pub(crate) receiver: Ssrc,
    pub(crate) returned: Returned,
}

impl Pass {
    /// Under which [`ToLink`] speaks of it.
    pub const fn id(&self) -> PassId {
        self.id
    }

    /// The program that it is for.
    pub fn program(&self) -> ProgramId {
        self.program.id
    }

    /// The program's channel.
    pub fn channel(&self) -> &ChannelName {
        &self.program.channel.name
    }

    /// The start, if it lay ahead when the pass was given: media is taken and held back until then.
    pub const fn on_air_at(&self) -> Option<WallTime> {
        self.on_air_at
    }

    /// An RTCP compound that tells the broadcaster that nobody listens any more, and why (RFC 3550 §6.6).
    pub fn goodbye(&self, reason: &str) -> Vec<u8> {
        rtcp::goodbye(None, self.receiver, reason)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.returned.lock().push((self.program.id, self.id));
    }
}

/// What becomes of a packet, and of the link that brought it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is the program's, published or held back: a sign of life.
    Taken,
    /// It is dropped and counted; the link goes on.
    Dropped,
    /// It is dropped, and the link is to be closed for this.
    Close(Reason),
}

/// What a link is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToLink {
    /// Send these RTCP compounds to the broadcaster, each on the way of its track. Best effort.
    Reports {
        /// Whose.
        pass: PassId,
        /// Index of the track, and the compound.
        reports: Vec<(u8, Vec<u8>)>,
    },
    /// Close it. Its pass is worth nothing any more.
    End {
        /// Whose.
        pass: PassId,
        /// For the broadcaster and the log.
        reason: Reason,
    },
}
