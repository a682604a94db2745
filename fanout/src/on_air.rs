//! One program on one worker: its log, its audience, and who is catching up.
//!
//! Owns: which viewers get a chunk at once, which read the log at their own pace, and who waits for a first packet.
//! Holds: before every send the gate is asked; near the end the clock is read too, so nothing leaves after it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use slotcast_admission::{Gate, Program, seats::Generation};
use slotcast_core::{
    log::{ChannelLog, LogLimits},
    packet::FRAME_HEADER_BYTES,
    rtcp,
    time::{Clock, Now},
};

use crate::{
    limits,
    shape::{ShapeId, Shapes},
    udp::UdpAudience,
};

/// One program on one worker.
pub(crate) struct OnAir {
    pub(crate) program: Arc<Program>,
    pub(crate) log: ChannelLog,
    pub(crate) shapes: Shapes,
    /// UDP viewers at the head of the log.
    pub(crate) udp: UdpAudience,
    /// TCP viewers at the head of the log.
    pub(crate) tcp: Vec<LiveTcp>,
    /// Viewers who read the log at their own pace.
    pub(crate) behind: Vec<usize>,
    /// Viewers whose PLAY waits for the first packets, and until when.
    pub(crate) parked: Vec<(usize, Instant)>,
    /// The opening of the gate that its viewers came in by.
    generation: Generation,
    /// When the first chunk came.
    began_at: Instant,
    /// When the last chunk came.
    pub(crate) chunk_at: Instant,
    /// Set when the gate closed: who is still to be told.
    pub(crate) ending: Option<Ending>,
}

/// A TCP viewer at the head of the log: all that a frame's pass touches of it, beside its socket. Nothing waits to be
/// written to it; where something does, it stands among those who are behind.
pub(crate) struct LiveTcp {
    pub(crate) viewer: usize,
    pub(crate) shape: ShapeId,
    /// When its socket last took a chunk.
    pub(crate) took_at: Instant,
}

/// The end of a program on one worker.
pub(crate) struct Ending {
    /// The moment that counts as the end, on the monotonic clock.
    pub(crate) at: Instant,
    /// Viewers who are still to be told.
    pub(crate) untold: Vec<usize>,
    /// Viewers who are told but not closed.
    pub(crate) unclosed: Vec<usize>,
}

impl OnAir {
    pub(crate) fn new(program: Arc<Program>, now: Instant) -> Self {
        Self {
            generation: program.gate.generation(),
            began_at: now,
            program,
            log: ChannelLog::new(LogLimits::default()),
            shapes: Shapes::default(),
            udp: UdpAudience::default(),
            tcp: Vec::new(),
            behind: Vec::new(),
            parked: Vec::new(),
            chunk_at: now,
            ending: None,
        }
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
        self.ending.is_none()
            && self.log.stream().is_some()
            && now.saturating_duration_since(self.chunk_at) < limits::STREAM_SILENT_MAX
    }

    /// Takes a viewer out of every list.
    pub(crate) fn remove(&mut self, viewer: usize) {
        self.udp.leave(viewer);
        self.tcp.retain(|live| live.viewer != viewer);
        self.behind.retain(|&key| key != viewer);
        self.parked.retain(|&(key, _)| key != viewer);
    }

    /// The last RTCP of one track: sender report, description and BYE (RFC 3550 §6.1, §6.6); `None` for a track that
    /// sent nothing lately.
    pub(crate) fn goodbye(&self, track: u8, reason: &str) -> Option<Vec<u8>> {
        let last = slotcast_core::rtp::RtpPacket::parse(self.log.last_packet(track)?).ok()?;
        let mut packet = Vec::new();
        rtcp::write_goodbye(&mut packet, self.log.last_report(track), last.ssrc(), rtcp::CNAME, reason);
        Some(packet)
    }
}

/// Puts the interleaved header in front of `packet` (RFC 2326 §10.12).
pub(crate) fn interleaved(channel: u8, packet: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(FRAME_HEADER_BYTES + packet.len());
    frame.extend([b'$', channel]);
    frame.extend((packet.len() as u16).to_be_bytes());
    frame.extend(packet);
    frame
}

/// Answers before each send whether media may still leave.
pub(crate) struct Guard<'a> {
    gate: &'a Gate,
    clock: &'a Clock,
    near: bool,
}

impl<'a> Guard<'a> {
    pub(crate) fn new(gate: &'a Gate, clock: &'a Clock, now: Now) -> Self {
        Self { gate, clock, near: gate.end().since(now.wall) < limits::END_IS_NEAR }
    }

    /// One load; within 2 s of the end also the clock.
    pub(crate) fn may_send(&self) -> bool {
        if self.near { self.gate.lets_through((self.clock)().wall) } else { self.gate.is_open() }
    }
}

/// How long until the program's end, by wall time; zero when it is over.
pub(crate) fn until_end(program: &Program, now: Now) -> Duration {
    program.gate.end().since(now.wall)
}
