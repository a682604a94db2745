//! The bandwidth class on ingest: what is over it is dropped and counted, and for too long closes the link.
//!
//! Owns: [`ClassMeter`], a token bucket of the class's rate and a burst, and the spell of being over it.
//! Invariant: what passed in any span of time is at most the class's rate over it plus the burst.
//!
//! A spell begins with a drop and lasts as long as no whole second ([`CLASS_PAUSE`]) goes by without another. So one
//! big key frame is no spell worth a name, and an encoder that is steadily over cannot hide between its drops.

use std::time::{Duration, Instant};

use slotcast_core::{bucket::TokenBucket, words::BitRate};

use crate::{
    limits::{CLASS_EXCEEDED_MAX, CLASS_PAUSE},
    reason::Reason,
};

/// What to do with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MeterVerdict {
    /// Pass it on.
    Pass,
    /// Drop it; it is counted.
    Drop,
    /// Drop it and close the link: the spell has lasted as long as it may. Said from then on while the spell lasts.
    Close,
}

#[derive(Clone, Copy, Debug)]
struct Spell {
    began: Instant,
    last_drop: Instant,
}

/// One program's meter. Kept over a broadcaster's reconnection, so that a new link brings no new burst.
#[derive(Debug)]
pub struct ClassMeter {
    class: BitRate,
    burst: Duration,
    bucket: TokenBucket,
    spell: Option<Spell>,
}

impl ClassMeter {
    /// A meter with a full burst.
    ///
    /// - `burst`: what may come at once, as time of the class's rate.
    pub fn new(class: BitRate, burst: Duration, now: Instant) -> Self {
        Self { class, burst, bucket: TokenBucket::new(class, burst, now), spell: None }
    }

    /// Decides about one packet of `bytes`. Constant time; on the packet path.
    pub fn take(&mut self, now: Instant, bytes: usize) -> MeterVerdict {
        if self.bucket.try_take(now, bytes as u64) {
            return MeterVerdict::Pass;
        }
        let runs = |spell: &Spell| now.saturating_duration_since(spell.last_drop) < CLASS_PAUSE;
        let began = self.spell.filter(runs).map_or(now, |spell| spell.began);
        self.spell = Some(Spell { began, last_drop: now });
        let lasts = now.saturating_duration_since(began);
        if lasts >= CLASS_EXCEEDED_MAX { MeterVerdict::Close } else { MeterVerdict::Drop }
    }

    /// What the broadcaster is told when the link is closed.
    pub const fn reason(&self) -> Reason {
        Reason::ClassExceeded { class: self.class }
    }

    /// Holds to another class from `now` on, with that class's burst. The same class changes nothing.
    pub fn set_class(&mut self, class: BitRate, now: Instant) {
        if class != self.class {
            self.class = class;
            self.bucket = TokenBucket::new(class, self.burst, now);
            self.spell = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: usize = 800; // 100 ms of 64 kbit/s

    fn start() -> Instant {
        #[expect(clippy::disallowed_methods, reason = "a test has no edge that reads the clock for it")]
        Instant::now()
    }

    fn meter(start: Instant) -> ClassMeter {
        let class = "64kbit/s".parse().unwrap();
        ClassMeter::new(class, Duration::from_secs(1), start)
    }

    /// Sends a packet every `every_ms` until `until_s` and says when it was first told to close.
    fn closes_at(meter: &mut ClassMeter, start: Instant, every_ms: u64, until_s: u64) -> Option<Duration> {
        (0..until_s * 1000)
            .step_by(every_ms as usize)
            .map(Duration::from_millis)
            .find(|at| meter.take(start + *at, PACKET) == MeterVerdict::Close)
    }

    #[test]
    fn a_stream_at_the_class_passes_whole() {
        let start = start();
        let mut meter = meter(start);
        let mut sent = (0..6_000).map(|n| meter.take(start + Duration::from_millis(100 * n), PACKET));
        assert!(sent.all(|verdict| verdict == MeterVerdict::Pass));
    }

    #[test]
    fn over_the_class_is_dropped_and_counted() {
        let start = start();
        let mut meter = meter(start);
        let verdicts: Vec<_> = (0..12).map(|_| meter.take(start, PACKET)).collect();
        assert_eq!(verdicts.iter().filter(|v| **v == MeterVerdict::Pass).count(), 10);
        assert_eq!(verdicts[10..], [MeterVerdict::Drop; 2]);
    }

    #[test]
    fn ten_seconds_over_the_class_close_the_link() {
        let start = start();
        let mut meter = meter(start);
        let closed = closes_at(&mut meter, start, 50, 60).unwrap();
        // The burst of 1 s lasts 1 s at twice the class; then the spell begins.
        assert!((10_500..12_500).contains(&closed.as_millis()), "{closed:?}");
        assert!(meter.reason().text().contains("64kbit/s"));
    }

    #[test]
    fn a_second_without_drops_ends_the_spell() {
        let start = start();
        let mut meter = meter(start);
        assert_eq!(closes_at(&mut meter, start, 50, 9), None);
        let later = start + Duration::from_secs(11);
        assert_eq!(closes_at(&mut meter, later, 50, 9), None);
    }

    #[test]
    fn a_little_over_the_class_does_not_hide() {
        let start = start();
        let mut meter = meter(start);
        assert!(closes_at(&mut meter, start, 80, 120).is_some());
    }

    #[test]
    fn another_class_counts_at_once() {
        let start = start();
        let mut meter = meter(start);
        while meter.take(start, PACKET) == MeterVerdict::Pass {}
        meter.set_class("2Mbit/s".parse().unwrap(), start);
        assert_eq!(meter.take(start, PACKET), MeterVerdict::Pass);
    }
}
