//! A viewer who holds a seat, whatever it speaks.
//!
//! Owns: what belongs to the viewer rather than to its door or its audience: seat, pace, slowness, and why it goes.
//! Invariant: dropping a viewer gives its seat back; a [`Key`] is never given twice.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use slotcast_admission::{Reason, Seat};
use slotcast_core::{
    bucket::TokenBucket,
    media::TRACKS_MAX,
    table::Key as Id,
    time::Clock,
    words::{BitRate, ChannelName, ProgramId},
};

use crate::{
    limits,
    stats::{FanoutStats, Protocol},
};

/// Names a viewer for as long as the server runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key(pub(crate) u64);

/// One viewer.
pub(crate) struct Viewer {
    pub(crate) program: ProgramId,
    pub(crate) seat: Seat,
    pub(crate) protocol: Protocol,
    pub(crate) peer: SocketAddr,
    /// Its connection at its door.
    pub(crate) connection: Id,
    /// How much of the log it may be given at once; kept over pauses, so that playing anew earns nothing.
    pub(crate) pace: TokenBucket,
    pub(crate) slowness: Slowness,
    /// Set once it is to be told goodbye.
    pub(crate) farewell: Option<Arc<Farewell>>,
    /// Set once its connection broke.
    pub(crate) is_broken: bool,
}

/// All viewers of a worker.
pub(crate) type Viewers = HashMap<Key, Viewer>;

/// What viewers who are ended together are told: made once for all of them.
pub(crate) struct Farewell {
    pub(crate) reason: Reason,
    /// By track, the last RTCP: sender report, description and BYE; `None` for one that has sent nothing.
    pub(crate) goodbyes: [Option<Vec<u8>>; TRACKS_MAX],
    /// Of a program that is over.
    pub(crate) _account: Option<Account>,
}

/// Notes when the last viewer of an ended program is told and closed: when the last one drops it.
pub(crate) struct Account {
    pub(crate) ended_at: Instant,
    pub(crate) channel: ChannelName,
    pub(crate) stats: Arc<FanoutStats>,
    pub(crate) clock: Clock,
}

impl Drop for Account {
    fn drop(&mut self) {
        let delay = (self.clock)().mono.saturating_duration_since(self.ended_at);
        self.stats.all_closed(delay);
        tracing::info!(
            channel = %self.channel,
            delay_ms = delay.as_millis() as u64,
            "all viewers are told and closed"
        );
    }
}

/// 4 times the bandwidth class, with a first burst.
pub(crate) fn join_pace(class: BitRate, now: Instant) -> TokenBucket {
    let rate = BitRate::new(class.bits_per_second().saturating_mul(limits::JOIN_SPEED)).unwrap_or(class);
    let burst =
        Duration::from_micros(limits::JOIN_BURST_BYTES * 8_000_000 / rate.bits_per_second().max(1) + 1);
    TokenBucket::new(rate, burst, now)
}

/// The jumps of a slow viewer.
#[derive(Default)]
pub(crate) struct Slowness {
    jumps: [Option<Instant>; limits::SKIPS_MAX],
}

impl Slowness {
    /// Notes a jump; `true` when it was one too many.
    pub(crate) fn jumped(&mut self, now: Instant) -> bool {
        self.jumps.rotate_right(1);
        self.jumps[0] = Some(now);
        self.jumps
            .iter()
            .all(|jump| jump.is_some_and(|at| now.saturating_duration_since(at) < limits::SKIP_WINDOW))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_jumps_within_the_window_are_too_many() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut slowness = Slowness::default();
        assert!(!slowness.jumped(at(0)));
        assert!(!slowness.jumped(at(10)));
        assert!(!slowness.jumped(at(31)), "the first is out of the window");
        assert!(slowness.jumped(at(35)));
    }
}
