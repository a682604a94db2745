//! One table of named timers: every deadline of a machine stands in it, and there is one next deadline.
//!
//! Invariant: a timer that is not set is `None`, never a far-away date; a timer that fired is not set.

use std::time::Instant;

/// The timers that are set, each with its name.
#[derive(Clone, Debug)]
pub struct Timers<T>(Vec<(T, Instant)>);

impl<T> Default for Timers<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Copy + PartialEq> Timers<T> {
    /// Lets `timer` fire at `deadline`, in place of what was set.
    pub fn set(&mut self, timer: T, deadline: Instant) {
        match self.0.iter_mut().find(|(set, _)| *set == timer) {
            Some((_, before)) => *before = deadline,
            None => self.0.push((timer, deadline)),
        }
    }

    /// Lets `timer` not fire.
    pub fn clear(&mut self, timer: T) {
        self.0.retain(|(set, _)| *set != timer);
    }

    /// When `timer` fires; `None` when it is not set.
    pub fn deadline(&self, timer: T) -> Option<Instant> {
        self.0.iter().find(|(set, _)| *set == timer).map(|(_, deadline)| *deadline)
    }

    /// The earliest deadline of all; `None` when nothing is set.
    pub fn next(&self) -> Option<Instant> {
        self.0.iter().map(|(_, deadline)| *deadline).min()
    }

    /// Takes the timer of the earliest deadline that is `now` or earlier; call until `None`.
    pub fn pop_expired(&mut self, now: Instant) -> Option<T> {
        let earliest = self.0.iter().min_by_key(|(_, deadline)| *deadline);
        let (timer, _) = *earliest.filter(|(_, deadline)| *deadline <= now)?;
        self.clear(timer);
        Some(timer)
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests take any instant to count from")]
mod tests {
    use std::time::Duration;

    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Name {
        Idle,
        Close,
    }

    #[test]
    fn fires_once_and_in_time() {
        let start = Instant::now();
        let mut timers = Timers::<Name>::default();
        assert_eq!(timers.next(), None);
        timers.set(Name::Close, start + Duration::from_secs(2));
        timers.set(Name::Idle, start + Duration::from_secs(1));
        assert_eq!(timers.next(), Some(start + Duration::from_secs(1)));
        assert_eq!(timers.pop_expired(start), None);
        assert_eq!(timers.pop_expired(start + Duration::from_secs(3)), Some(Name::Idle));
        assert_eq!(timers.pop_expired(start + Duration::from_secs(3)), Some(Name::Close));
        assert_eq!(timers.pop_expired(start + Duration::from_secs(3)), None);
        timers.set(Name::Idle, start);
        timers.clear(Name::Idle);
        assert_eq!((timers.next(), timers.deadline(Name::Idle)), (None, None));
    }
}
