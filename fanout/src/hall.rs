//! The hall: one program on one worker.
//!
//! Owns: the program's log, the opening of its gate by which its viewers came in, and its audience.
//! Not here: the order in which halls are served (`halls`), how media leaves (`audience`), what viewers speak (the doors).
//! Invariant: a hall stands as long as its gate is open in the opening that it began with; its log is handed out for sending
//! together with its guard.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use slotcast_admission::{Program, Reason, seats::Generation};
use slotcast_core::{
    log::ChannelLog,
    media::TRACKS_MAX,
    rtcp,
    rtp::RtpPacket,
    time::{Clock, Now},
    words::ProgramId,
};

use crate::{guard::Guard, limits};

/// One opening of a program's gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Opening {
    pub(crate) program: ProgramId,
    generation: Generation,
}

/// One program on one worker.
pub(crate) struct Hall<A> {
    pub(crate) program: Arc<Program>,
    pub(crate) log: ChannelLog,
    pub(crate) audience: A,
    generation: Generation,
    /// When the first chunk came.
    began_at: Instant,
    /// When the last chunk came.
    pub(crate) chunk_at: Instant,
    /// Whether it stands in the queue of halls with media on its way to those at the head of the log.
    pub(crate) is_ready: bool,
    /// When its viewers who read at their own pace are served next.
    pub(crate) behind_at: Option<Instant>,
}

impl<A: Default> Hall<A> {
    pub(crate) fn new(program: Arc<Program>, now: Instant) -> Self {
        Self {
            generation: program.gate.generation(),
            program,
            log: ChannelLog::default(),
            audience: A::default(),
            began_at: now,
            chunk_at: now,
            is_ready: false,
            behind_at: None,
        }
    }
}

impl<A> Hall<A> {
    /// By which its viewers came in.
    pub(crate) fn opening(&self) -> Opening {
        Opening { program: self.program.id, generation: self.generation }
    }

    /// Whether its media may leave.
    pub(crate) fn guard<'a>(&'a self, clock: &'a Clock, now: Now) -> Guard<'a> {
        Guard::new(&self.program.gate, self.generation, clock, now)
    }

    /// The same with what it lets out, and to whom.
    pub(crate) fn parts<'a>(
        &'a mut self,
        clock: &'a Clock,
        now: Now,
    ) -> (Guard<'a>, &'a ChannelLog, &'a mut A) {
        let guard = Guard::new(&self.program.gate, self.generation, clock, now);
        (guard, &self.log, &mut self.audience)
    }

    /// Whether the program's time is over, or somebody closed its gate, though it may have been opened again since.
    pub(crate) fn is_over(&self, now: Now) -> bool {
        !self.program.gate.lets_through(now.wall) || !self.is_same_opening()
    }

    /// Whether the gate was not closed and opened again since the viewers here came in.
    pub(crate) fn is_same_opening(&self) -> bool {
        self.program.gate.generation() == self.generation
    }

    /// Takes over what a reload has changed; a program with a gate of its own is another one.
    pub(crate) fn refresh(&mut self, program: Arc<Program>) {
        if Arc::ptr_eq(&self.program.gate, &program.gate) {
            self.program = program;
        }
    }

    /// Whether PLAY need not wait for tracks that have sent nothing yet.
    pub(crate) fn is_settled(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.began_at) > limits::SILENT_TRACK_MAX
    }

    /// Whether new viewers can be offered the stream: its broadcaster has sent lately.
    pub(crate) fn is_fresh(&self, now: Instant) -> bool {
        self.log.stream().is_some() && self.silence(now) < limits::STREAM_SILENT_MAX
    }

    /// How long its broadcaster has sent nothing.
    pub(crate) fn silence(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.chunk_at)
    }

    /// The last RTCP of each track: sender report, description and BYE (RFC 3550 §6.1, §6.6); `None` for a track that
    /// sent nothing lately.
    pub(crate) fn goodbyes(&self, reason: Reason) -> [Option<Vec<u8>>; TRACKS_MAX] {
        let text = reason.text();
        std::array::from_fn(|track| {
            let track = track as u8;
            let last = RtpPacket::parse(self.log.last_packet(track)?)?;
            Some(rtcp::goodbye(self.log.last_report(track), last.ssrc(), &text))
        })
    }
}
