//! What clients asked and were answered at the same time, and whether a single seller could have answered so.
//!
//! Owns: the log's entries, [`Checker`]. Invariant: each answer is judged by what was possible between its question and
//! its arrival; times are of one monotonic clock.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    time::Instant,
};

/// What was asked.
#[derive(Clone, Debug)]
pub enum Call {
    /// Slots by their index, those from the start to before the end.
    Book {
        channel: u16,
        slots: Range<i64>,
        key: Option<String>,
    },
    Cancel {
        number: i64,
    },
}

/// What was answered.
#[derive(Clone, Debug)]
pub enum Outcome {
    Booked {
        number: i64,
    },
    Cancelled,
    SlotTaken {
        slots: BTreeSet<i64>,
    },
    MonthLimit {
        slots_max: i64,
        used: i64,
        asked: i64,
    },
    /// Anything else, as text: never right here.
    Other(String),
    /// Nobody knows.
    Unanswered,
}

/// One question with its answer.
#[derive(Clone, Debug)]
pub struct Entry {
    pub member: usize,
    pub asked_at: Instant,
    pub answered_at: Instant,
    pub call: Call,
    pub outcome: Outcome,
}

/// A reservation, between the moments at which it can have and must have held its slots.
#[derive(Debug)]
struct Hold {
    member: usize,
    channel: u16,
    slots: Range<i64>,
    earliest: Instant,
    surely_from: Instant,
    /// `None`: to the end.
    surely_until: Option<Instant>,
    latest: Option<Instant>,
}

impl Hold {
    fn can(&self, at: Instant) -> bool {
        self.earliest <= at && self.latest.is_none_or(|latest| at <= latest)
    }

    fn must(&self, at: Instant) -> bool {
        self.surely_from <= at && self.surely_until.is_none_or(|until| at <= until)
    }

    const fn count(&self) -> i64 {
        self.slots.end - self.slots.start
    }
}

/// Judges a whole history.
pub struct Checker<'h> {
    history: &'h [Entry],
    month_slots_max: i64,
    holds: BTreeMap<i64, Hold>,
    wrong: Vec<String>,
}

impl<'h> Checker<'h> {
    /// - `month_slots_max`: all slots of the history lie in one month.
    pub fn new(history: &'h [Entry], month_slots_max: i64) -> Self {
        let mut this = Self { history, month_slots_max, holds: BTreeMap::new(), wrong: Vec::new() };
        this.collect();
        this
    }

    /// The reservations that were answered, with whether their end was, and may have been, asked for.
    pub fn reservations(&self) -> BTreeMap<i64, (usize, bool)> {
        let told = self.holds.iter().filter(|(number, _)| **number > 0);
        told.map(|(number, hold)| (*number, (hold.member, hold.latest.is_some()))).collect()
    }

    /// All that is wrong, in words.
    pub fn check(mut self) -> Vec<String> {
        self.check_keys();
        self.check_twice();
        for entry in self.history {
            match (&entry.call, &entry.outcome) {
                (Call::Book { channel, slots, .. }, Outcome::SlotTaken { slots: named }) => {
                    self.check_taken(entry, *channel, slots, named);
                }
                (Call::Book { slots, .. }, Outcome::MonthLimit { slots_max, used, asked }) => {
                    let is_said_right =
                        *slots_max == self.month_slots_max && *asked == slots.end - slots.start;
                    if !is_said_right || used + asked <= *slots_max {
                        self.wrong.push(format!("a limit that was not reached: {entry:?}"));
                    }
                    self.check_used(entry, *used);
                }
                (Call::Book { .. }, Outcome::Booked { .. }) | (Call::Cancel { .. }, Outcome::Cancelled) => {}
                (_, Outcome::Unanswered) => {}
                _ => self.wrong.push(format!("an answer that does not fit: {entry:?}")),
            }
        }
        self.check_limits();
        self.wrong
    }

    fn collect(&mut self) {
        for entry in self.history {
            let (Call::Book { channel, slots, .. }, Outcome::Booked { number }) =
                (&entry.call, &entry.outcome)
            else {
                continue;
            };
            let hold = self.holds.entry(*number).or_insert_with(|| Hold {
                member: entry.member,
                channel: *channel,
                slots: slots.clone(),
                earliest: entry.asked_at,
                surely_from: entry.answered_at,
                surely_until: None,
                latest: None,
            });
            hold.earliest = hold.earliest.min(entry.asked_at);
            hold.surely_from = hold.surely_from.min(entry.answered_at);
            if (hold.member, hold.channel, &hold.slots) != (entry.member, *channel, slots) {
                self.wrong.push(format!("a reservation of another question: {entry:?}"));
            }
        }
        for (index, entry) in self.history.iter().enumerate() {
            let (Call::Book { channel, slots, .. }, Outcome::Unanswered) = (&entry.call, &entry.outcome)
            else {
                continue;
            };
            // It may have been booked, and surely never was: these two moments are in the wrong order.
            let hold = Hold {
                member: entry.member,
                channel: *channel,
                slots: slots.clone(),
                earliest: entry.asked_at,
                surely_from: entry.answered_at,
                surely_until: Some(entry.asked_at),
                latest: None,
            };
            self.holds.insert(-1 - i64::try_from(index).unwrap(), hold);
        }
        for entry in self.history {
            let Call::Cancel { number } = &entry.call else { continue };
            let Some(hold) = self.holds.get_mut(number) else {
                self.wrong.push(format!("cancelled what was never booked: {entry:?}"));
                continue;
            };
            hold.surely_until = Some(hold.surely_until.map_or(entry.asked_at, |at| at.min(entry.asked_at)));
            if matches!(entry.outcome, Outcome::Cancelled) {
                hold.latest = Some(hold.latest.map_or(entry.answered_at, |at| at.min(entry.answered_at)));
            }
        }
    }

    /// One key, one reservation.
    fn check_keys(&mut self) {
        let mut made: BTreeMap<&str, i64> = BTreeMap::new();
        for entry in self.history {
            let (Call::Book { key: Some(key), .. }, Outcome::Booked { number }) =
                (&entry.call, &entry.outcome)
            else {
                continue;
            };
            let first = *made.entry(key).or_insert(*number);
            if first != *number {
                self.wrong.push(format!("the key {key} made {first} and {number}"));
            }
        }
    }

    fn check_twice(&mut self) {
        let all: Vec<_> = self.holds.iter().collect();
        for (at, (number, hold)) in all.iter().enumerate() {
            for (other_number, other) in &all[at + 1..] {
                let share = hold.channel == other.channel
                    && hold.slots.start < other.slots.end
                    && other.slots.start < hold.slots.end;
                let from = hold.surely_from.max(other.surely_from);
                if share && hold.must(from) && other.must(from) {
                    self.wrong.push(format!("a slot twice: {number} {hold:?} and {other_number} {other:?}"));
                }
            }
        }
    }

    /// The moments between question and answer at which anything can have begun.
    fn moments(&self, entry: &Entry) -> Vec<Instant> {
        let between = entry.asked_at..=entry.answered_at;
        let begun =
            self.holds.values().flat_map(|hold| [Some(hold.earliest), hold.surely_until, hold.latest]);
        let begun = begun.flatten().filter(|at| between.contains(at));
        begun.chain([entry.asked_at, entry.answered_at]).collect()
    }

    fn check_taken(&mut self, entry: &Entry, channel: u16, slots: &Range<i64>, named: &BTreeSet<i64>) {
        let is_inside = !named.is_empty() && named.iter().all(|slot| slots.contains(slot));
        let here: Vec<_> = self.holds.values().filter(|hold| hold.channel == channel).collect();
        let has = |slot: i64, is: &dyn Fn(&Hold) -> bool| {
            here.iter().any(|hold| hold.slots.contains(&slot) && is(hold))
        };
        let could = self.moments(entry).into_iter().any(|at| {
            let all_named = named.iter().all(|slot| has(*slot, &|hold| hold.can(at)));
            let none_missing =
                slots.clone().all(|slot| named.contains(&slot) || !has(slot, &|hold| hold.must(at)));
            all_named && none_missing
        });
        if !is_inside || !could {
            self.wrong.push(format!("slots that were not taken like this: {entry:?}"));
        }
    }

    fn check_used(&mut self, entry: &Entry, used: i64) {
        let own: Vec<_> = self.holds.values().filter(|hold| hold.member == entry.member).collect();
        let sum = |is: &dyn Fn(&Hold) -> bool| -> i64 {
            own.iter().filter(|hold| is(hold)).map(|hold| hold.count()).sum()
        };
        let could = self
            .moments(entry)
            .into_iter()
            .any(|at| (sum(&|hold| hold.must(at))..=sum(&|hold| hold.can(at))).contains(&used));
        if !could {
            self.wrong.push(format!("a member who never had {used} slots: {entry:?}"));
        }
    }

    /// Nobody surely has more than is allowed.
    fn check_limits(&mut self) {
        let begins: Vec<_> = self.holds.values().map(|hold| (hold.member, hold.surely_from)).collect();
        for (member, at) in begins {
            let own = self.holds.values().filter(|hold| hold.member == member && hold.must(at));
            let slots: i64 = own.map(Hold::count).sum();
            if slots > self.month_slots_max {
                self.wrong.push(format!("member {member} had {slots} slots at once"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A history by hand: (from, to, call, outcome), times in milliseconds; all of member 0.
    #[track_caller]
    fn check(history: Vec<(u64, u64, Call, Outcome)>, faults: usize) {
        let zero = Instant::now();
        let at = |ms| zero + Duration::from_millis(ms);
        let entries = history.into_iter().map(|(from, to, call, outcome)| Entry {
            member: 0,
            asked_at: at(from),
            answered_at: at(to),
            call,
            outcome,
        });
        let entries: Vec<_> = entries.collect();
        let wrong = Checker::new(&entries, 4).check();
        assert_eq!(wrong.len(), faults, "{wrong:?}");
    }

    fn asked(slots: Range<i64>) -> Call {
        Call::Book { channel: 1, slots, key: None }
    }

    fn taken(slots: &[i64]) -> Outcome {
        Outcome::SlotTaken { slots: slots.iter().copied().collect() }
    }

    fn limit(used: i64, asked: i64) -> Outcome {
        Outcome::MonthLimit { slots_max: 4, used, asked }
    }

    #[test]
    fn the_checker_sees_a_slot_sold_twice() {
        let booked = |number| Outcome::Booked { number };
        check(vec![(0, 1, asked(0..2), booked(1)), (5, 6, asked(1..2), booked(2))], 1);
        check(vec![(0, 1, asked(0..2), booked(1)), (0, 6, asked(2..3), booked(2))], 0);
        // Sold again after it was given back, perhaps while that was asked for.
        let back = (4, 7, Call::Cancel { number: 1 }, Outcome::Cancelled);
        check(vec![(0, 1, asked(0..2), booked(1)), back.clone(), (5, 6, asked(1..2), booked(2))], 0);
        check(vec![(0, 1, asked(0..2), booked(1)), back, (2, 3, asked(1..2), booked(2))], 1);
    }

    #[test]
    fn the_checker_sees_a_refusal_without_a_cause() {
        let booked = |number| Outcome::Booked { number };
        let one = (10, 20, asked(0..2), booked(1));
        check(vec![one.clone(), (12, 14, asked(1..3), taken(&[1]))], 0);
        check(vec![one.clone(), (2, 4, asked(1..3), taken(&[1]))], 1);
        check(vec![one.clone(), (22, 24, asked(1..3), taken(&[2]))], 1);
        check(vec![one.clone(), (22, 24, asked(0..3), taken(&[0]))], 1);
        check(vec![one.clone(), (22, 24, asked(4..7), limit(2, 3))], 0);
        check(vec![one.clone(), (22, 24, asked(4..6), limit(2, 2))], 1);
        check(vec![one.clone(), (2, 4, asked(4..7), limit(2, 3))], 1);
        let back = (30, 40, Call::Cancel { number: 1 }, Outcome::Cancelled);
        check(vec![one.clone(), back.clone(), (32, 34, asked(0..1), taken(&[0]))], 0);
        check(vec![one, back, (42, 44, asked(0..1), taken(&[0]))], 1);
    }

    #[test]
    fn the_checker_sees_a_limit_passed_and_a_key_used_twice() {
        let booked = |number| Outcome::Booked { number };
        check(vec![(0, 1, asked(0..3), booked(1)), (2, 3, asked(3..5), booked(2))], 1);
        let keyed = |slots| Call::Book { channel: 1, slots, key: Some("key".to_owned()) };
        check(vec![(0, 1, keyed(0..1), booked(1)), (0, 1, keyed(0..1), booked(1))], 0);
        check(vec![(0, 1, keyed(0..1), booked(1)), (2, 3, keyed(1..2), booked(2))], 1);
        check(vec![(0, 1, asked(0..1), Outcome::Other("500".to_owned()))], 1);
    }
}
