//! One table of named timers: every deadline of a machine stands in it, and there is one next deadline.
//!
//! Invariant: a timer that is not set is `None`, never a far-away date; a timer that fired is not set.

use std::{marker::PhantomData, time::Instant};

/// The names of a machine's timers.
pub trait TimerName: Copy + 'static {
    /// All of them, each at the place that [`index`](Self::index) gives.
    const ALL: &'static [Self];

    /// Its place in [`ALL`](Self::ALL).
    fn index(self) -> usize;
}

/// `N` timers named by `T`; `N` is `T::ALL.len()`.
#[derive(Clone, Debug)]
pub struct Timers<T, const N: usize> {
    deadlines: [Option<Instant>; N],
    names: PhantomData<T>,
}

impl<T: TimerName, const N: usize> Default for Timers<T, N> {
    fn default() -> Self {
        const { assert!(N == T::ALL.len(), "as many places as names") };
        Self { deadlines: [None; N], names: PhantomData }
    }
}

impl<T: TimerName, const N: usize> Timers<T, N> {
    /// Lets `timer` fire at `deadline`, in place of what was set.
    pub fn set(&mut self, timer: T, deadline: Instant) {
        self.deadlines[timer.index()] = Some(deadline);
    }

    /// Lets `timer` not fire.
    pub fn clear(&mut self, timer: T) {
        self.deadlines[timer.index()] = None;
    }

    /// When `timer` fires; `None` when it is not set.
    pub fn deadline(&self, timer: T) -> Option<Instant> {
        self.deadlines[timer.index()]
    }

    /// The earliest deadline of all; `None` when nothing is set.
    pub fn next(&self) -> Option<Instant> {
        self.deadlines.iter().flatten().min().copied()
    }

    /// Takes one timer whose deadline is `now` or earlier; call until `None`.
    pub fn pop_expired(&mut self, now: Instant) -> Option<T> {
        let timer = T::ALL.iter().find(|t| self.deadlines[t.index()].is_some_and(|at| at <= now))?;
        self.deadlines[timer.index()] = None;
        Some(*timer)
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

    impl TimerName for Name {
        const ALL: &'static [Self] = &[Self::Idle, Self::Close];

        fn index(self) -> usize {
            self as usize
        }
    }

    #[test]
    fn fires_once_and_in_time() {
        let start = Instant::now();
        let mut timers = Timers::<Name, 2>::default();
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
