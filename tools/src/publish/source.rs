//! What a publisher sends: packets, each with the time at which it is due.

use std::{
    num::NonZeroU32,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use slotcast_core::{
    rtcp::{NtpTime, SenderInfo},
    rtp::ticks_in,
};
use slotcast_media::{
    clip::{Clip, Play, TimedUnit},
    packetize::{Packetizer, sdp},
};

use super::{PublishError, origin};

/// The packets of one stream, in the order of their times.
pub trait Source: Send {
    /// What is announced.
    fn sdp(&self) -> String;

    /// How many tracks it has.
    fn tracks(&self) -> usize;

    /// When the next packets are due, from the start; `None`: there are no more.
    fn next_at(&self) -> Option<Duration>;

    /// Appends the packets that are due next to `out`; returns the index of their track.
    ///
    /// - `due`: when they should leave.
    fn take(&mut self, due: Instant, out: &mut Vec<Bytes>) -> usize;

    /// Whether what is late is sent all the same, with the time at which it was due. Otherwise a source that is late by more
    /// than a second goes on from there, as an encoder does; see
    /// [`PublishReport::skipped_for`](super::PublishReport::skipped_for).
    fn catches_up(&self) -> bool {
        false
    }

    /// What the sender report of each track says at `ntp`, which is `elapsed` after the start.
    fn sender_infos(&self, ntp: NtpTime, elapsed: Duration) -> Vec<SenderInfo>;
}

/// A clip, round and round.
pub struct ClipSource {
    sdp: String,
    packetizers: Vec<Packetizer>,
    clock_rates: Vec<NonZeroU32>,
    play: Play,
    next: Option<TimedUnit>,
}

impl ClipSource {
    /// From the clip's start.
    ///
    /// # Errors
    /// The kernel gives no random numbers.
    pub fn new(clip: &Clip) -> Result<Self, PublishError> {
        let tracks = clip.tracks().iter().enumerate();
        let packetizers = tracks
            .map(|(index, track)| Ok(Packetizer::new(track.format.clone(), index, origin()?)))
            .collect::<Result<_, PublishError>>()?;
        let mut play = Arc::new(clip.clone()).play();
        Ok(Self {
            sdp: sdp(clip, "slotcast clip"),
            packetizers,
            clock_rates: clip.tracks().iter().map(|track| track.clock_rate).collect(),
            next: play.next(),
            play,
        })
    }
}

impl Source for ClipSource {
    fn sdp(&self) -> String {
        self.sdp.clone()
    }

    fn tracks(&self) -> usize {
        self.packetizers.len()
    }

    fn next_at(&self) -> Option<Duration> {
        self.next.as_ref().map(|unit| unit.at)
    }

    fn take(&mut self, _: Instant, out: &mut Vec<Bytes>) -> usize {
        let Some(unit) = self.next.take() else { return 0 };
        self.next = self.play.next();
        if let Some(packetizer) = self.packetizers.get_mut(unit.track) {
            packetizer.packetize(&unit, out);
        }
        unit.track
    }

    fn sender_infos(&self, ntp: NtpTime, elapsed: Duration) -> Vec<SenderInfo> {
        let tracks = self.packetizers.iter().zip(&self.clock_rates);
        tracks.map(|(packetizer, rate)| packetizer.sender_info(ntp, ticks_in(elapsed, *rate))).collect()
    }
}
