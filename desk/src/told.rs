//! What viewers are told of a stream: its description, with the parameter sets that came in band, and the tracks that they can
//! get.
//!
//! Owns: the description as it was offered and as it was completed, and which tracks send.
//! Invariant: a track that cannot come, or on which nothing has come for long, is not described; if that is all, all are.

use std::time::{Duration, Instant};

use slotcast_core::media::{Description, TRACKS_MAX, Track};
use slotcast_media::{decoders, keyframe::ParameterSets};

use crate::{
    limits,
    stats::{TrackState, TrackStatus},
};

/// The state of one stream's description.
pub(crate) struct Told {
    offered: Description,
    /// The same with the parameter sets that came in band.
    completed: Description,
    /// By track: whether the present link may send on it.
    is_sent: [bool; TRACKS_MAX],
    /// By track: whether viewers are told of it.
    is_told: [bool; TRACKS_MAX],
    /// By track: when the present link has last sent on it.
    heard: [Option<Instant>; TRACKS_MAX],
    /// When the present link began.
    since: Instant,
}

impl Told {
    /// Of a stream that no link brings yet.
    pub(crate) fn new(now: Instant, offered: Description) -> Self {
        Self {
            completed: offered.clone(),
            offered,
            is_sent: [true; TRACKS_MAX],
            is_told: [true; TRACKS_MAX],
            heard: [None; TRACKS_MAX],
            since: now,
        }
    }

    /// A link begins that may send on the tracks that `is_sent` says.
    pub(crate) fn begin(&mut self, now: Instant, is_sent: [bool; TRACKS_MAX]) {
        (self.is_sent, self.is_told) = (is_sent, is_sent);
        self.heard = [None; TRACKS_MAX];
        self.since = now;
    }

    /// Whether decoders go on with what is `offered` now: as it was offered before, or as it came in band.
    pub(crate) fn goes_on_with(&self, offered: &Description) -> bool {
        [&self.offered, &self.completed].into_iter().any(|before| decoders::decodes_alike(before, offered))
    }

    /// Something else is offered.
    pub(crate) fn offer(&mut self, offered: Description) {
        self.completed = offered.clone();
        self.offered = offered;
    }

    /// Puts parameter sets into the description; returns whether that changed it.
    pub(crate) fn complete(&mut self, track: u8, sets: &ParameterSets) -> bool {
        let completed = decoders::with_parameter_sets(&self.completed, usize::from(track), sets);
        completed.map(|completed| self.completed = completed).is_some()
    }

    /// Something came on `track`; returns whether viewers are told of it only from now on. On the packet path.
    pub(crate) fn hear(&mut self, now: Instant, track: u8) -> bool {
        let at = usize::from(track);
        if let Some(heard) = self.heard.get_mut(at) {
            *heard = Some(now);
        }
        self.is_told.get_mut(at).is_some_and(|is_told| !std::mem::replace(is_told, true))
    }

    /// Forgets tracks on which nothing has come for long, while something came on another; returns whether that changed
    /// anything.
    pub(crate) fn forget_silent(&mut self, now: Instant) -> bool {
        let is_within = |at: Instant, time: Duration| now.saturating_duration_since(at) < time;
        if is_within(self.since, limits::SILENT_TRACK_TOLD_MAX) {
            return false;
        }
        let is_heard =
            |at: Option<Instant>| at.is_some_and(|at| is_within(at, limits::STOPPED_TRACK_TOLD_MAX));
        let heard = self.heard.map(is_heard);
        let changes = heard.contains(&true) && self.is_told != heard;
        if changes {
            self.is_told = heard;
        }
        changes
    }

    /// Whether viewers are told of `track`.
    pub(crate) fn is_told(&self, track: usize) -> bool {
        self.is_told.get(track).is_some_and(|is_told| *is_told)
    }

    /// Whether something came on `track` since then.
    pub(crate) fn is_heard_since(&self, track: usize, since: Instant) -> bool {
        self.heard.get(track).copied().flatten().is_some_and(|at| at >= since)
    }

    /// For viewers who come from now on.
    pub(crate) fn description(&self) -> Description {
        let mut description = self.completed.clone();
        if self.is_told.contains(&true) {
            let untold = description.media.iter_mut().zip(self.is_told).filter(|(_, is_told)| !is_told);
            untold.for_each(|(media, _)| media.clear());
        }
        description
    }

    /// For the broadcaster.
    pub(crate) fn status(&self, tracks: &[Track]) -> Vec<TrackStatus> {
        let state = |(is_sent, is_told)| match (is_sent, is_told) {
            (false, false) => TrackState::NotSetUp,
            (true, false) => TrackState::Silent,
            (_, true) => TrackState::Sent,
        };
        let states = self.is_sent.into_iter().zip(self.is_told).map(state);
        tracks.iter().zip(states).map(|(track, state)| TrackStatus { kind: track.kind, state }).collect()
    }
}
