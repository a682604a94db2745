//! Budgets of wrong passwords and reservation IDs, per address and per program.
//!
//! Owns: [`Guesses`], two tables of a fixed size with sliding counts.
//! Refuses: an address over its budget, before anything that it shows is looked at.
//! Invariant: memory does not grow with guessers; nobody's guesses lock out the right password from an address that has
//! not guessed. A program under attack from many addresses leaves each of them [`STRAINED_PER_ADDRESS`] guesses.

use std::{
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use slotcast_core::address::party;

use crate::limits::{FAR_LOOKS_MAX, FAR_LOOKS_TIME, GUESS_ADDRESS_SETS, GUESS_TARGET_SETS, GUESS_WAYS};

/// What each address keeps of its budget at a program that is over its own: one typing error.
pub const STRAINED_PER_ADDRESS: u32 = 2;

/// Wrong guesses of one address within the window after which its connection is closed each time.
pub const CLOSE_AFTER: u32 = 3;

const DELAY_MIN: Duration = Duration::from_millis(200);
const DELAY_SPREAD_MS: u64 = 800;

/// How many wrong guesses count, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuessLimits {
    /// Of one address.
    pub per_address: u32,
    /// At one program, from anywhere.
    pub per_target: u32,
    /// How far back a guess counts.
    pub window: Duration,
}

impl Default for GuessLimits {
    fn default() -> Self {
        Self { per_address: 10, per_target: 100, window: Duration::from_secs(60) }
    }
}

/// What follows a wrong guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongGuess {
    /// How many wrong guesses of this address count now, this one included.
    pub count: u32,
    /// Answer no sooner than this: at random, so that the answer's time tells nothing.
    pub delay: Duration,
}

/// What is guessed at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GuessTarget<'a> {
    /// The password of the program on a channel.
    Viewing(&'a str),
    /// A reservation ID, for a channel that may not exist.
    Sending(&'a str),
}

/// Who guessed wrong lately. Shared by every worker; touched only where a program is protected.
pub struct Guesses {
    limits: GuessLimits,
    hasher: RandomState,
    tables: Mutex<Tables>,
}

struct Tables {
    addresses: Table,
    targets: Table,
    delays_drawn: u64,
    /// When the present span of far looks began, and how many there were in it.
    far_looks: Option<(Instant, u32)>,
}

impl Guesses {
    /// Empty, with these limits.
    pub fn new(limits: GuessLimits) -> Self {
        let tables = Tables {
            addresses: Table::new(GUESS_ADDRESS_SETS),
            targets: Table::new(GUESS_TARGET_SETS),
            delays_drawn: 0,
            far_looks: None,
        };
        Self { limits, hasher: RandomState::new(), tables: Mutex::new(tables) }
    }

    /// Whether `address` is refused for `target` whatever it shows: its budget is spent.
    pub fn is_spent(&self, now: Instant, address: IpAddr, target: GuessTarget<'_>) -> bool {
        let (address, target) = self.keys(address, target);
        let tables = self.tables.lock();
        let strained = tables.targets.count(target, now, self.limits.window) >= self.limits.per_target;
        let per_address = self.limits.per_address;
        let budget = if strained { per_address.min(STRAINED_PER_ADDRESS) } else { per_address };
        tables.addresses.count(address, now, self.limits.window) >= budget
    }

    /// Counts a wrong guess and says what follows.
    pub fn wrong(&self, now: Instant, address: IpAddr, target: GuessTarget<'_>) -> WrongGuess {
        let (address, target) = self.keys(address, target);
        let mut tables = self.tables.lock();
        tables.targets.add(target, now, self.limits.window);
        let count = tables.addresses.add(address, now, self.limits.window);
        WrongGuess { count, delay: self.draw_delay(&mut tables) }
    }

    /// Whether one more proof may be compared with the IDs of programs far and near, which costs the ingest side most.
    pub fn may_look_far(&self, now: Instant) -> bool {
        let far_looks = &mut self.tables.lock().far_looks;
        let is_present = |began: &(Instant, u32)| now.saturating_duration_since(began.0) < FAR_LOOKS_TIME;
        let (began, looks) = far_looks.filter(is_present).unwrap_or((now, 0));
        *far_looks = Some((began, looks.saturating_add(1)));
        looks < FAR_LOOKS_MAX
    }

    /// A random delay for an answer that tells of a guess.
    pub fn delay(&self) -> Duration {
        self.draw_delay(&mut self.tables.lock())
    }

    fn draw_delay(&self, tables: &mut Tables) -> Duration {
        tables.delays_drawn = tables.delays_drawn.wrapping_add(1);
        DELAY_MIN + Duration::from_millis(self.hasher.hash_one(tables.delays_drawn) % DELAY_SPREAD_MS)
    }

    fn keys(&self, address: IpAddr, target: GuessTarget<'_>) -> (u64, u64) {
        (self.hasher.hash_one(party(address)), self.hasher.hash_one(target))
    }
}

impl Default for Guesses {
    fn default() -> Self {
        Self::new(GuessLimits::default())
    }
}

/// A count over a sliding window: this half and the one before, the older weighed by how much of it still counts.
#[derive(Clone, Copy)]
struct Entry {
    key: u64,
    began: Instant,
    before: u32,
    current: u32,
}

impl Entry {
    /// The entry as it stands at `now`, moved on by whole windows.
    fn at(self, now: Instant, window: Duration) -> Self {
        let age = now.saturating_duration_since(self.began);
        if age < window {
            self
        } else if age < window * 2 {
            Self { began: self.began + window, before: self.current, current: 0, ..self }
        } else {
            Self { began: now, before: 0, current: 0, ..self }
        }
    }

    /// Guesses that count at `now`; the older window's share is rounded up, so it never counts too little.
    fn count(self, now: Instant, window: Duration) -> u32 {
        let entry = self.at(now, window);
        let left = window.saturating_sub(now.saturating_duration_since(entry.began)).as_micros();
        let older = (u128::from(entry.before) * left).div_ceil(window.as_micros().max(1));
        entry.current.saturating_add(u32::try_from(older).unwrap_or(u32::MAX))
    }
}

/// A set-associative table: a key lives in one of [`GUESS_WAYS`] places, and the entry that counts least gives way.
struct Table {
    sets: Vec<[Option<Entry>; GUESS_WAYS]>,
}

impl Table {
    fn new(sets: usize) -> Self {
        Self { sets: vec![[None; GUESS_WAYS]; sets] }
    }

    fn set_of(&self, key: u64) -> usize {
        (key % self.sets.len() as u64) as usize
    }

    fn count(&self, key: u64, now: Instant, window: Duration) -> u32 {
        let set = self.sets.get(self.set_of(key)).into_iter().flatten().flatten();
        set.filter(|entry| entry.key == key).map(|entry| entry.count(now, window)).sum()
    }

    fn add(&mut self, key: u64, now: Instant, window: Duration) -> u32 {
        let set_of = self.set_of(key);
        let Some(set) = self.sets.get_mut(set_of) else { return 0 };
        let fresh = Entry { key, began: now, before: 0, current: 0 };
        let weight = |way: &Option<Entry>| match way {
            Some(entry) if entry.key == key => (0, 0),
            None => (1, 0),
            Some(entry) => (2, entry.count(now, window)),
        };
        let Some(way) = set.iter_mut().min_by_key(|way| weight(way)) else { return 0 };
        let mut entry = way.filter(|entry| entry.key == key).unwrap_or(fresh).at(now, window);
        entry.current = entry.current.saturating_add(1);
        *way = Some(entry);
        entry.count(now, window)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOOR: GuessTarget<'static> = GuessTarget::Viewing("channel4");
    const OTHER_DOOR: GuessTarget<'static> = GuessTarget::Viewing("channel5");
    const LIMITS: GuessLimits =
        GuessLimits { per_address: 3, per_target: 20, window: Duration::from_secs(60) };

    fn start() -> Instant {
        #[expect(clippy::disallowed_methods, reason = "a test has no edge that reads the clock for it")]
        Instant::now()
    }

    fn ip(n: u32) -> IpAddr {
        IpAddr::V4((0x0a00_0000 + n).into())
    }

    #[test]
    fn an_address_over_its_budget_is_spent_everywhere_and_others_are_free() {
        let (guesses, now) = (Guesses::new(LIMITS), start());
        for count in 1..=3 {
            assert!(!guesses.is_spent(now, ip(1), DOOR));
            assert_eq!(guesses.wrong(now, ip(1), DOOR).count, count);
        }
        assert!(guesses.is_spent(now, ip(1), DOOR));
        assert!(guesses.is_spent(now, ip(1), OTHER_DOOR));
        assert!(!guesses.is_spent(now, ip(2), DOOR));
    }

    #[test]
    fn guesses_are_forgotten_after_two_windows_at_most() {
        let (guesses, now) = (Guesses::new(LIMITS), start());
        for _ in 0..3 {
            guesses.wrong(now, ip(1), DOOR);
        }
        let at = |seconds| guesses.is_spent(now + Duration::from_secs(seconds), ip(1), DOOR);
        assert!(at(59));
        assert!(!at(119));
        assert_eq!(guesses.wrong(now + Duration::from_secs(119), ip(1), DOOR).count, 2);
        assert_eq!(guesses.wrong(now + Duration::from_secs(600), ip(1), DOOR).count, 1);
    }

    #[test]
    fn a_program_under_attack_still_takes_the_right_password_from_elsewhere() {
        let (guesses, now) = (Guesses::new(LIMITS), start());
        for n in 0..20 {
            guesses.wrong(now, ip(n), DOOR);
        }
        assert!(!guesses.is_spent(now, ip(500), DOOR));
        guesses.wrong(now, ip(500), DOOR);
        assert!(!guesses.is_spent(now, ip(500), DOOR), "one typing error");
        guesses.wrong(now, ip(500), DOOR);
        assert!(guesses.is_spent(now, ip(500), DOOR));
        assert!(!guesses.is_spent(now, ip(500), OTHER_DOOR));
    }

    #[test]
    fn a_flood_of_addresses_neither_grows_the_table_nor_frees_the_worst() {
        let (guesses, now) = (Guesses::new(LIMITS), start());
        for _ in 0..3 {
            guesses.wrong(now, ip(0), DOOR);
        }
        for n in 1..100_000 {
            guesses.wrong(now, ip(n), DOOR);
        }
        assert_eq!(guesses.tables.lock().addresses.sets.len(), GUESS_ADDRESS_SETS);
        assert!(guesses.is_spent(now, ip(0), OTHER_DOOR));
    }

    #[test]
    fn delays_are_between_a_fifth_of_a_second_and_one() {
        let guesses = Guesses::default();
        let drawn: Vec<_> = (0..100).map(|_| guesses.delay()).collect();
        assert!(drawn.iter().all(|delay| (200..1_000).contains(&delay.as_millis())));
        assert!(drawn.iter().any(|delay| *delay != drawn[0]));
    }
}
