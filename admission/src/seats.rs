//! The seat word: generation, open bit, limit and count of one program in one atomic number.
//!
//! Owns: the pure transitions ([`Word`]) and the compare-and-swap around them ([`SeatWord`]).
//! Refuses: entering when closed, when full, and leaving for a generation that is over.
//! Holds: a count grows only while it is below the limit; a seat is given back at most once, to the generation that
//! gave it. The whole state is in the one word, so a swap that succeeds has seen everything.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p slotcast-admission --release seats` runs the same code under loom.

#[cfg(loom)]
use loom::sync::atomic::{AtomicU64, Ordering};
use std::fmt;
#[cfg(not(loom))]
use std::sync::atomic::{AtomicU64, Ordering};

use slotcast_core::words::Seats;

use crate::limits::GENERATION_BITS;

/// Why nobody could be seated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeatRefusal {
    /// The program is over or was withdrawn.
    Closed,
    /// Every seat is taken.
    Full {
        /// How many there are.
        seats: u32,
    },
}

impl fmt::Display for SeatRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the program is over"),
            Self::Full { seats } => write!(f, "all {seats} seats are taken"),
        }
    }
}

impl std::error::Error for SeatRefusal {}

const FIELD_BITS: u32 = 20;
const FIELD_MASK: u64 = (1 << FIELD_BITS) - 1;
const LIMIT_SHIFT: u32 = FIELD_BITS;
const OPEN_BIT: u64 = 1 << (2 * FIELD_BITS);
const GENERATION_SHIFT: u32 = 2 * FIELD_BITS + 1;
const GENERATION_MASK: u64 = (1 << GENERATION_BITS) - 1;

const _: () = assert!(GENERATION_SHIFT + GENERATION_BITS == u64::BITS);
const _: () = assert!(Seats::MAX as u64 <= FIELD_MASK);

/// Which opening of a gate a seat belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generation(u32);

/// One value of the seat word; every change is a pure step from one value to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Word(u64);

impl Word {
    /// Open, empty, in the first generation.
    pub fn new(seats: Seats) -> Self {
        Self(OPEN_BIT | u64::from(seats.count()) << LIMIT_SHIFT)
    }

    /// How many seats are taken.
    pub const fn count(self) -> u32 {
        (self.0 & FIELD_MASK) as u32
    }

    /// How many seats there are.
    pub const fn limit(self) -> u32 {
        (self.0 >> LIMIT_SHIFT & FIELD_MASK) as u32
    }

    /// Whether viewers may enter and be served.
    pub const fn is_open(self) -> bool {
        self.0 & OPEN_BIT != 0
    }

    /// Which opening this is.
    pub const fn generation(self) -> Generation {
        Generation((self.0 >> GENERATION_SHIFT) as u32)
    }

    /// One more seat taken.
    pub fn enter(self) -> Result<Self, SeatRefusal> {
        if !self.is_open() {
            Err(SeatRefusal::Closed)
        } else if self.count() >= self.limit() {
            Err(SeatRefusal::Full { seats: self.limit() })
        } else {
            Ok(Self(self.0 + 1))
        }
    }

    /// One seat of `generation` given back; `None` when that generation is over. Closed makes no difference.
    pub fn leave(self, generation: Generation) -> Option<Self> {
        (self.generation() == generation && self.count() > 0).then(|| Self(self.0 - 1))
    }

    /// Another number of seats. Nobody is sent away: below the count, only newcomers are refused until enough left.
    pub fn resize(self, seats: Seats) -> Self {
        Self(self.0 & !(FIELD_MASK << LIMIT_SHIFT) | u64::from(seats.count()) << LIMIT_SHIFT)
    }

    /// Nobody enters, and nobody is served any more.
    pub fn close(self) -> Self {
        Self(self.0 & !OPEN_BIT)
    }

    /// Open and empty, in the next generation: seats of before are worth nothing. An open word stays as it is.
    pub fn reopen(self) -> Self {
        if self.is_open() {
            return self;
        }
        let next = (self.0 >> GENERATION_SHIFT).wrapping_add(1) & GENERATION_MASK;
        Self(next << GENERATION_SHIFT | OPEN_BIT | self.0 & FIELD_MASK << LIMIT_SHIFT)
    }
}

/// The seat word as threads share it.
pub struct SeatWord(AtomicU64);

impl SeatWord {
    /// Open and empty, with `seats` seats.
    pub fn new(seats: Seats) -> Self {
        Self(AtomicU64::new(Word::new(seats).0))
    }

    /// The word as it is now: one load.
    pub fn load(&self) -> Word {
        Word(self.0.load(Ordering::Acquire))
    }

    /// Takes a seat, or says why not. Tries again only when another thread got its own change in, so some thread
    /// always moves on, and at most as many succeed as there are seats.
    pub fn enter(&self) -> Result<Generation, SeatRefusal> {
        self.update(Word::enter).map(|word| word.generation())
    }

    /// Gives a seat of `generation` back; does nothing when that generation is over.
    pub fn leave(&self, generation: Generation) {
        let _over = self.update(|word| word.leave(generation).ok_or(()));
    }

    /// Changes the number of seats at once.
    pub fn resize(&self, seats: Seats) {
        let _always = self.update(|word| Ok::<_, ()>(word.resize(seats)));
    }

    /// Closes. Returns whether it was open.
    pub fn close(&self) -> bool {
        let was_open = |word: Word| if word.is_open() { Ok(word.close()) } else { Err(()) };
        self.update(was_open).is_ok()
    }

    /// Opens again, empty, in the next generation. Returns whether it was closed.
    pub fn reopen(&self) -> bool {
        let was_closed = |word: Word| if word.is_open() { Err(()) } else { Ok(word.reopen()) };
        self.update(was_closed).is_ok()
    }

    fn update<E>(&self, step: impl Fn(Word) -> Result<Word, E>) -> Result<Word, E> {
        let mut seen = self.0.load(Ordering::Acquire);
        loop {
            let next = step(Word(seen))?;
            match self.0.compare_exchange(seen, next.0, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Ok(next),
                Err(now) => seen = now,
            }
        }
    }
}

impl fmt::Debug for SeatWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = self.load();
        write!(f, "{}/{} seats, ", word.count(), word.limit())?;
        f.write_str(if word.is_open() { "open" } else { "closed" })
    }
}
