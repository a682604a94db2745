//! Lines: how many links may be open at once, in all and per address.
//!
//! Owns: [`Lines`] and [`Line`], the place of one connection. Make two: a short-lived one for those who have shown
//! nothing yet, and one for those who have, so that the first never fill the second.
//! Refuses: one too many, at once, without waiting.
//! Invariant: a dropped [`Line`] is free again; the table never holds more addresses than there are lines.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use parking_lot::Mutex;
use slotcast_core::address::party;

use crate::reason::Reason;

#[derive(Debug)]
struct Open {
    lines_max: u32,
    total: u32,
    by_party: HashMap<IpAddr, u32>,
}

/// A counted pool of lines.
#[derive(Debug)]
pub struct Lines {
    per_address_max: u32,
    open: Mutex<Open>,
}

impl Lines {
    /// At most `lines_max` at once, and `per_address_max` of one address.
    pub fn new(lines_max: u32, per_address_max: u32) -> Arc<Self> {
        let open = Open { lines_max, total: 0, by_party: HashMap::new() };
        Arc::new(Self { per_address_max, open: Mutex::new(open) })
    }

    /// Makes them at least so many; returns whether that is more than there were.
    pub fn raise_to(&self, lines: u32) -> bool {
        let mut open = self.open.lock();
        let is_more = lines > open.lines_max;
        open.lines_max = open.lines_max.max(lines);
        is_more
    }

    /// Takes a line for a connection from `address`; [`Reason::LinesTaken`], [`Reason::LinesPerAddress`]: there is none.
    pub fn open(self: &Arc<Self>, address: IpAddr) -> Result<Line, Reason> {
        self.open_in_place_of(address, None)
    }

    /// The same as if `older` were free already: the caller drops it right after, and keeps it where this is refused.
    pub fn open_in_place_of(self: &Arc<Self>, address: IpAddr, older: Option<&Line>) -> Result<Line, Reason> {
        let party = party(address);
        let mut open = self.open.lock();
        if open.total - u32::from(older.is_some()).min(open.total) >= open.lines_max {
            return Err(Reason::LinesTaken);
        }
        let held = open.by_party.get(&party).copied().unwrap_or(0);
        let is_freed = older.is_some_and(|older| older.party == party);
        if held - u32::from(is_freed).min(held) >= self.per_address_max {
            return Err(Reason::LinesPerAddress);
        }
        open.by_party.insert(party, held + 1);
        open.total += 1;
        Ok(Line { lines: Arc::clone(self), party })
    }

    /// How many are taken.
    pub fn count(&self) -> u32 {
        self.open.lock().total
    }

    /// How many there are.
    pub fn lines(&self) -> u32 {
        self.open.lock().lines_max
    }

    fn close(&self, party: IpAddr) {
        let mut open = self.open.lock();
        open.total = open.total.saturating_sub(1);
        if let Some(held) = open.by_party.get_mut(&party) {
            *held = held.saturating_sub(1);
            if *held == 0 {
                open.by_party.remove(&party);
            }
        }
    }
}

/// One connection's line; dropping it frees it.
#[derive(Debug)]
#[must_use = "a dropped line is free at once"]
pub struct Line {
    lines: Arc<Lines>,
    party: IpAddr,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.lines.close(self.party);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn one_line_too_many_is_refused_and_a_dropped_one_is_free() {
        let lines = Lines::new(2, 2);
        let first = lines.open(ip("10.0.0.1")).unwrap();
        let _second = lines.open(ip("10.0.0.2")).unwrap();
        assert_eq!(lines.open(ip("10.0.0.3")).unwrap_err(), Reason::LinesTaken);
        drop(first);
        assert!(lines.open(ip("10.0.0.3")).is_ok());
        assert_eq!(lines.count(), 1);
    }

    #[test]
    fn one_address_cannot_take_every_line() {
        let lines = Lines::new(10, 2);
        let _held = [lines.open(ip("10.0.0.1")).unwrap(), lines.open(ip("::ffff:10.0.0.1")).unwrap()];
        assert_eq!(lines.open(ip("10.0.0.1")).unwrap_err(), Reason::LinesPerAddress);
        assert!(lines.open(ip("10.0.0.2")).is_ok());
    }

    #[test]
    fn an_ipv6_network_counts_as_one_address() {
        let lines = Lines::new(10, 1);
        let _held = lines.open(ip("2001:db8::1")).unwrap();
        assert_eq!(lines.open(ip("2001:db8::2")).unwrap_err(), Reason::LinesPerAddress);
        assert!(lines.open(ip("2001:db8:0:1::1")).is_ok());
    }

    #[test]
    fn lines_are_raised_while_they_are_taken_and_never_lowered() {
        let lines = Lines::new(1, 3);
        let _first = lines.open(ip("10.0.0.1")).unwrap();
        assert!(lines.open(ip("10.0.0.2")).is_err());
        assert!(lines.raise_to(2));
        let _second = lines.open(ip("10.0.0.2")).unwrap();
        assert_eq!(lines.open(ip("10.0.0.3")).unwrap_err(), Reason::LinesTaken);
        assert!(!lines.raise_to(2) && !lines.raise_to(0));
        assert_eq!(lines.lines(), 2);
    }

    #[test]
    fn closed_lines_leave_nothing_behind() {
        let lines = Lines::new(100, 100);
        let held: Vec<_> = (0..100u8).map(|n| lines.open(IpAddr::from([10, 0, 0, n])).unwrap()).collect();
        drop(held);
        assert_eq!(lines.count(), 0);
        assert!(lines.open.lock().by_party.is_empty());
    }
}
