//! The seat word: generation, open bit, limit and count of one program in one atomic number.
//!
//! Owns: the pure transitions ([`Word`]) and the compare-and-swap around them ([`SeatWord`]).
//! Refuses: entering when closed, when full, and leaving for a generation that is over.
//! Invariant: a count grows only while it is below the limit; a seat is given back at most once, to the generation that
//! gave it. The whole state is in the one word, so a swap that succeeds has seen everything.
//!
//! Under `--cfg loom` the tests walk every interleaving and memory order of the same code (docs/development.md has the command).

#[cfg(loom)]
use loom::sync::atomic::{AtomicU64, Ordering};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicU64, Ordering};

use slotcast_core::words::Seats;

use crate::{limits::GENERATION_BITS, reason::Reason};

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

    /// One more seat taken; [`Reason::ProgramEnded`] where it is closed, [`Reason::SeatsTaken`] where it is full.
    pub fn enter(self) -> Result<Self, Reason> {
        if !self.is_open() {
            Err(Reason::ProgramEnded)
        } else if self.count() >= self.limit() {
            Err(Reason::SeatsTaken { seats: self.limit() })
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
#[derive(Debug)]
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
    pub fn enter(&self) -> Result<Generation, Reason> {
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

#[cfg(all(test, not(loom)))]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn seats(count: u32) -> Seats {
        Seats::new(count).unwrap()
    }

    /// What one thread of the model does, in order.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    enum Act {
        Enter,
        Leave,
        Close,
        Reopen,
        Resize(u32),
    }

    /// A thread between two steps: each act is a load and then a swap that may fail and load anew.
    #[derive(Clone, Debug, PartialEq, Eq, Hash)]
    struct Thread {
        acts: Vec<Act>,
        done: usize,
        seen: Option<Word>,
        held: Option<u32>,
    }

    #[derive(Clone, Debug, PartialEq, Eq, Hash)]
    struct State {
        word: Word,
        threads: Vec<Thread>,
        full_answers: u32,
    }

    /// Seats of the word's own generation that are held: what the count must be.
    fn held(state: &State) -> u32 {
        let now = state.word.generation().0;
        state.threads.iter().filter(|thread| thread.held == Some(now)).count() as u32
    }

    /// One atomic step of one thread, exactly as `SeatWord::update` takes it.
    fn step(state: &State, index: usize) -> Option<State> {
        let mut next = state.clone();
        let thread = &mut next.threads[index];
        let act = *thread.acts.get(thread.done)?;
        let Some(seen) = thread.seen else {
            thread.seen = Some(state.word);
            return Some(next);
        };
        let wanted = match act {
            Act::Enter => seen.enter().ok(),
            Act::Leave => thread.held.and_then(|held| seen.leave(Generation(held))),
            Act::Close => seen.is_open().then(|| seen.close()),
            Act::Reopen => (!seen.is_open()).then(|| seen.reopen()),
            Act::Resize(count) => Some(seen.resize(seats(count))),
        };
        match wanted {
            Some(_) if state.word != seen => thread.seen = Some(state.word),
            Some(word) => {
                match act {
                    Act::Enter => thread.held = Some(word.generation().0),
                    Act::Leave => thread.held = None,
                    _ => {}
                }
                (thread.seen, thread.done) = (None, thread.done + 1);
                next.word = word;
            }
            None => {
                next.full_answers += u32::from(act == Act::Enter && seen.is_open());
                if act == Act::Leave {
                    thread.held = None;
                }
                (thread.seen, thread.done) = (None, thread.done + 1);
            }
        }
        Some(next)
    }

    /// Walks every interleaving; `check` sees every state, and gets told whether all threads are through.
    fn every_interleaving(seats_now: u32, threads: &[&[Act]], mut check: impl FnMut(&State, bool)) -> usize {
        let threads = threads
            .iter()
            .map(|acts| Thread { acts: acts.to_vec(), done: 0, seen: None, held: None })
            .collect();
        let first = State { word: Word::new(seats(seats_now)), threads, full_answers: 0 };
        let mut met = HashSet::from([first.clone()]);
        let mut open = vec![first];
        while let Some(state) = open.pop() {
            let following: Vec<_> =
                (0..state.threads.len()).filter_map(|index| step(&state, index)).collect();
            assert_eq!(state.word.count(), held(&state), "a seat was lost or made up: {state:?}");
            check(&state, following.is_empty());
            for next in following {
                if met.insert(next.clone()) {
                    open.push(next);
                }
            }
            assert!(met.len() < 5_000_000, "the model is too large to walk");
        }
        met.len()
    }

    const COME_AND_GO: &[Act] = &[Act::Enter, Act::Leave];

    #[test]
    fn no_interleaving_seats_one_too_many() {
        let states = every_interleaving(2, &[COME_AND_GO; 4], |state, through| {
            assert!(held(state) <= 2, "{state:?}");
            assert!(!through || state.word.count() == 0, "{state:?}");
        });
        assert!(states > 1_000, "only {states} states");
    }

    #[test]
    fn no_interleaving_refuses_while_a_seat_is_free_for_good() {
        let stay: &[Act] = &[Act::Enter];
        every_interleaving(2, &[stay; 3], |state, through| {
            assert!(!through || (held(state) == 2 && state.full_answers == 1), "{state:?}");
        });
    }

    #[test]
    fn no_interleaving_of_close_and_reopen_loses_or_doubles_a_seat() {
        let operator: &[Act] = &[Act::Close, Act::Reopen, Act::Close, Act::Reopen];
        every_interleaving(1, &[COME_AND_GO, COME_AND_GO, operator], |state, through| {
            assert!(held(state) <= 1, "{state:?}");
            assert!(!through || (state.word.is_open() && state.word.count() == 0), "{state:?}");
        });
    }

    #[test]
    fn no_interleaving_of_a_resize_seats_beyond_the_larger_number() {
        let operator: &[Act] = &[Act::Resize(1), Act::Resize(2)];
        every_interleaving(2, &[COME_AND_GO, COME_AND_GO, COME_AND_GO, operator], |state, through| {
            assert!(held(state) <= 2, "{state:?}");
            assert!(!through || state.word.limit() == 2, "{state:?}");
        });
    }

    #[test]
    fn a_closed_word_seats_nobody_and_takes_seats_back() {
        let word = SeatWord::new(seats(1));
        let generation = word.enter().unwrap();
        assert_eq!(word.enter(), Err(Reason::SeatsTaken { seats: 1 }));
        assert!(word.close() && !word.close());
        assert_eq!(word.enter(), Err(Reason::ProgramEnded));
        word.leave(generation);
        assert_eq!(word.load().count(), 0);
    }

    #[test]
    fn the_largest_number_of_seats_fits_beside_the_last_generation() {
        let mut word = Word(u64::MAX).close();
        assert_eq!((word.count(), word.limit()), (Seats::MAX, Seats::MAX));
        word = word.reopen();
        assert_eq!((word.generation(), word.count(), word.limit()), (Generation(0), 0, Seats::MAX));
        assert!(word.is_open());
    }

    #[derive(Clone, Copy, Debug)]
    enum Op {
        Enter,
        Leave(usize),
        Resize(u32),
        Close,
        Reopen,
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            6 => Just(Op::Enter),
            5 => (0usize..32).prop_map(Op::Leave),
            1 => (1u32..12).prop_map(Op::Resize),
            1 => Just(Op::Close),
            1 => Just(Op::Reopen),
        ]
    }

    proptest! {
        #[test]
        fn behaves_like_a_list_of_guests(first in 1u32..12, ops in proptest::collection::vec(op(), 0..200)) {
            let word = SeatWord::new(seats(first));
            let (mut limit, mut open, mut opened) = (first, true, 0);
            let mut guests: Vec<(Generation, u32)> = Vec::new();
            for op in ops {
                let present = guests.iter().filter(|(_, of)| *of == opened).count() as u32;
                match op {
                    Op::Enter => match word.enter() {
                        Ok(generation) => {
                            prop_assert!(open && present < limit);
                            guests.push((generation, opened));
                        }
                        Err(Reason::ProgramEnded) => prop_assert!(!open),
                        Err(reason) => {
                            prop_assert_eq!(reason, Reason::SeatsTaken { seats: limit });
                            prop_assert!(present >= limit);
                        }
                    },
                    Op::Leave(at) if at < guests.len() => word.leave(guests.swap_remove(at).0),
                    Op::Leave(_) => {}
                    Op::Resize(count) => {
                        word.resize(seats(count));
                        limit = count;
                    }
                    Op::Close => open &= !word.close(),
                    Op::Reopen => {
                        let reopened = word.reopen();
                        prop_assert_eq!(reopened, !open);
                        opened += u32::from(reopened);
                        open = true;
                    }
                }
                let present = guests.iter().filter(|(_, of)| *of == opened).count() as u32;
                let now = word.load();
                prop_assert_eq!((now.count(), now.limit(), now.is_open()), (present, limit, open));
            }
        }
    }
}

#[cfg(all(test, loom))]
mod tests {
    use loom::{sync::Arc, thread};

    use super::*;

    fn word(seats: u32) -> Arc<SeatWord> {
        Arc::new(SeatWord::new(Seats::new(seats).unwrap()))
    }

    #[test]
    fn three_viewers_on_two_seats() {
        loom::model(|| {
            let word = word(2);
            let others: Vec<_> = (0..2)
                .map(|_| {
                    let word = Arc::clone(&word);
                    thread::spawn(move || word.enter())
                })
                .collect();
            let mut answers = vec![word.enter()];
            answers.extend(others.into_iter().map(|other| other.join().unwrap()));
            assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 2);
            assert_eq!(word.load().count(), 2);
        });
    }

    #[test]
    fn leaving_while_the_gate_closes_and_reopens() {
        loom::model(|| {
            let word = word(1);
            let old = word.enter().unwrap();
            let leaver = {
                let word = Arc::clone(&word);
                thread::spawn(move || word.leave(old))
            };
            let closer = {
                let word = Arc::clone(&word);
                thread::spawn(move || (word.close(), word.reopen()))
            };
            leaver.join().unwrap();
            assert_eq!(closer.join().unwrap(), (true, true));
            assert_eq!((word.load().count(), word.load().is_open()), (0, true));
            assert!(word.enter().is_ok());
        });
    }
}
