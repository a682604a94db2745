//! Whether media of a program may leave now.
//!
//! Owns: the question that is asked before every send, and the count of sends that came too late all the same.
//! Invariant: within 2 s of the end the clock is read before each send; otherwise one load says whether the gate is open.

use slotcast_admission::{Gate, seats::Generation};
use slotcast_core::time::{Clock, Now};

use crate::{limits, stats::WorkerStats};

/// Answers before each send whether media may still leave.
pub(crate) struct Guard<'a> {
    gate: &'a Gate,
    generation: Generation,
    clock: &'a Clock,
    near: bool,
}

impl<'a> Guard<'a> {
    /// - `generation`: of the gate's opening by which the viewers came in.
    pub(crate) fn new(gate: &'a Gate, generation: Generation, clock: &'a Clock, now: Now) -> Self {
        Self { gate, generation, clock, near: gate.end().since(now.wall) < limits::END_IS_NEAR }
    }

    /// Asked before every send of media.
    pub(crate) fn may_send(&self) -> bool {
        let is_open =
            if self.near { self.gate.lets_through((self.clock)().wall) } else { self.gate.is_open() };
        is_open && self.gate.generation() == self.generation
    }

    /// Told after every send of media: counts one that returned later after the end than a call takes.
    pub(crate) fn sent(&self, stats: &WorkerStats) {
        if self.near && (self.clock)().wall.since(self.gate.end()) > limits::LATE_SEND {
            stats.late_sends.add(1);
        }
    }
}
