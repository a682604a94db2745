//! The gate of one program: its seats, its end, and why it was closed.
//!
//! Owns: [`Gate`], shared by every worker and kept over reloads, and [`Seat`], the place of one viewer session.
//! Not here: which program is on air (`timetable`), whether a password is right (`viewer`).
//! Invariant: a dropped [`Seat`] is given back exactly once; a closed gate seats nobody; a moved end and a cut-off at the
//! old end cannot cross, whichever comes first.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use parking_lot::Mutex;
use slotcast_core::{time::WallTime, words::Seats};

use crate::{
    limits::CLOCK_SET_BACK_MIN,
    reason::Reason,
    seats::{Generation, SeatWord},
};

/// Why a gate was closed. The first reason stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The window's end came.
    Ended,
    /// The broadcaster or the operator ended the program early.
    Stopped,
    /// The program is not in the timetable any more.
    Withdrawn,
}

/// What stands between a program and its viewers. Cheap to ask: each question is one or two atomic loads. Only closing
/// and moving the end, a few times in a program's life, take a lock.
///
/// ```
/// use std::sync::Arc;
///
/// use slotcast_admission::{Gate, Reason};
/// use slotcast_core::{time::WallTime, words::Seats};
///
/// let end: WallTime = "2026-11-22T11:00:00Z".parse().unwrap();
/// let gate = Arc::new(Gate::new(Seats::new(1).unwrap(), end));
/// let seat = gate.enter().unwrap();
/// assert_eq!(gate.enter().unwrap_err(), Reason::SeatsTaken { seats: 1 });
/// // Dropping a seat gives it back.
/// drop(seat);
/// let seat = gate.enter().unwrap();
/// // At the end nothing more leaves, and seats that are still taken hold nothing.
/// assert!(!gate.lets_through(end) && gate.close_if_over(end));
/// assert!(!seat.holds());
/// assert_eq!(gate.enter().unwrap_err(), Reason::ProgramEnded);
/// ```
#[derive(Debug)]
pub struct Gate {
    word: SeatWord,
    end: AtomicI64,
    /// Why it was closed. Closing and moving the end hold it, so that they come one after the other.
    cut: Mutex<Option<Cut>>,
}

impl Gate {
    /// An open, empty gate.
    pub fn new(seats: Seats, end: WallTime) -> Self {
        Self { word: SeatWord::new(seats), end: AtomicI64::new(end.as_micros()), cut: Mutex::new(None) }
    }

    /// Takes a seat for one session, or says why there is none. Never more than the seats, whatever the concurrency.
    pub fn enter(self: &Arc<Self>) -> Result<Seat, Reason> {
        let generation = self.word.enter().map_err(|reason| self.cut().map_or(reason, Reason::from))?;
        Ok(Seat { gate: Arc::clone(self), generation })
    }

    /// How many seats are taken.
    pub fn viewers(&self) -> u32 {
        self.word.load().count()
    }

    /// How many seats there are.
    pub fn seats(&self) -> u32 {
        self.word.load().limit()
    }

    /// Whether anyone may enter. One load; for the check before each send use [`Seat::holds`].
    pub fn is_open(&self) -> bool {
        self.word.load().is_open()
    }

    /// Which opening of the gate this is: seats of another one count no more.
    pub fn generation(&self) -> Generation {
        self.word.load().generation()
    }

    /// Whether media may flow at `at`: open, and the end has not come.
    pub fn lets_through(&self, at: WallTime) -> bool {
        self.is_open() && at < self.end()
    }

    /// The first moment at which no media may leave.
    pub fn end(&self) -> WallTime {
        WallTime::from_micros(self.end.load(Ordering::Acquire))
    }

    /// Moves the end. Workers see it at their next check.
    ///
    /// A gate that was closed because its end had come opens again for a later one: empty, in the next generation,
    /// so that seats of before are worth nothing. One that was stopped or withdrawn stays closed.
    pub fn set_end(&self, end: WallTime) {
        let mut cut = self.cut.lock();
        let was = self.end.swap(end.as_micros(), Ordering::AcqRel);
        if was < end.as_micros() {
            self.reopen_ended(&mut cut);
        }
    }

    /// Opens again if it was closed because its end had come, and the end lies ahead after all: the clock had been set
    /// forward and was set back. Seats of before are worth nothing. Returns whether it opened.
    ///
    /// An end that lies ahead by less than a second ([`CLOCK_SET_BACK_MIN`]) is no such case: threads read the clock at
    /// different moments of their turns.
    pub fn reopen_if_early(&self, at: WallTime) -> bool {
        if self.is_open() {
            return false;
        }
        let mut cut = self.cut.lock();
        self.end().since(at) >= CLOCK_SET_BACK_MIN && self.reopen_ended(&mut cut)
    }

    fn reopen_ended(&self, cut: &mut Option<Cut>) -> bool {
        let had_ended = cut.take_if(|cut| *cut == Cut::Ended).is_some();
        had_ended && self.word.reopen()
    }

    /// Changes the number of seats at once. Nobody is sent away when it shrinks.
    pub fn resize(&self, seats: Seats) {
        self.word.resize(seats);
    }

    /// Closes and remembers why: every worker stops before its next send. Returns whether it was open until now; the caller that sees `true` is the one that
    /// reports the cut-off.
    pub fn close_as(&self, cut: Cut) -> bool {
        self.close_locked(&mut self.cut.lock(), cut)
    }

    /// Closes as [`Cut::Ended`] if the end has come at `at`. Returns whether this closed it. The end is looked at
    /// anew under the lock: an extension that is published at this moment is not cut off by a check that was made
    /// before it.
    pub fn close_if_over(&self, at: WallTime) -> bool {
        let mut cut = self.cut.lock();
        self.end() <= at && self.close_locked(&mut cut, Cut::Ended)
    }

    fn close_locked(&self, stands: &mut Option<Cut>, cut: Cut) -> bool {
        stands.get_or_insert(cut);
        self.word.close()
    }

    /// Why it is closed; `None` while it is open.
    pub fn cut(&self) -> Option<Cut> {
        if self.is_open() { None } else { *self.cut.lock() }
    }
}

/// One viewer session's place. Dropping it gives it back; one of an older generation has nothing to give back.
#[derive(Debug)]
#[must_use = "a dropped seat is given back at once"]
pub struct Seat {
    gate: Arc<Gate>,
    generation: Generation,
}

impl Seat {
    /// Whether this seat still counts: the gate is open, in the generation that gave the seat. One load; the check
    /// before each send.
    pub fn holds(&self) -> bool {
        let word = self.gate.word.load();
        word.is_open() && word.generation() == self.generation
    }

    /// The gate that gave it.
    pub fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.gate.word.leave(self.generation);
    }
}
