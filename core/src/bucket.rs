//! A token bucket: at most a rate, with a burst (RFC 2697's committed bucket, without marking).
//!
//! Owns: the fill level and its arithmetic, exact in integers.

use std::time::{Duration, Instant};

use crate::words::BitRate;

/// Lets through `rate`, and up to `burst` worth of it at once. Starts full.
#[derive(Clone, Copy, Debug)]
pub struct TokenBucket {
    bits_per_second: i128,
    /// Millionths of a bit, so that microseconds of rate add up without rounding. Below zero: taken in advance.
    level: i128,
    level_max: i128,
    filled_at: Instant,
}

impl TokenBucket {
    /// A full bucket that holds what `rate` carries in `burst`.
    pub fn new(rate: BitRate, burst: Duration, now: Instant) -> Self {
        let bits_per_second = i128::from(rate.bits_per_second());
        let level_max = bits_per_second * micros(burst);
        Self { bits_per_second, level: level_max, level_max, filled_at: now }
    }

    fn fill(&mut self, now: Instant) {
        let elapsed = micros(now.saturating_duration_since(self.filled_at));
        if elapsed > 0 {
            self.level = (self.level + self.bits_per_second * elapsed).min(self.level_max);
            self.filled_at = now;
        }
    }

    /// Takes `bytes` if they are there; else takes nothing and returns `false`.
    pub fn try_take(&mut self, now: Instant, bytes: u64) -> bool {
        self.fill(now);
        let wanted = i128::from(bytes) * 8_000_000;
        let there = self.level >= wanted;
        if there {
            self.level -= wanted;
        }
        there
    }

    /// Takes `bytes` whether they are there or not; what was not is waited for before anything else is there.
    pub fn take(&mut self, now: Instant, bytes: u64) {
        self.fill(now);
        self.level -= i128::from(bytes) * 8_000_000;
    }

    /// Whole bytes that could be taken at `now`.
    pub fn available(&mut self, now: Instant) -> u64 {
        self.fill(now);
        u64::try_from(self.level.max(0) / 8_000_000).unwrap_or(u64::MAX)
    }
}

/// At most some ten thousand years: sums and products stay far inside their type.
fn micros(time: Duration) -> i128 {
    time.as_micros().min(1_000_000_000_000).cast_signed()
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests take any instant to count from")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bucket(text: &str, burst_ms: u64, now: Instant) -> TokenBucket {
        TokenBucket::new(text.parse().unwrap(), Duration::from_millis(burst_ms), now)
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let start = Instant::now();
        let mut bucket = bucket("64kbit/s", 1000, start);
        assert!(bucket.try_take(start, 8_000));
        assert!(!bucket.try_take(start, 1));
        assert!(bucket.try_take(start + Duration::from_millis(100), 800));
        assert_eq!(bucket.available(start + Duration::from_secs(60)), 8_000);
    }

    #[test]
    fn what_is_taken_in_advance_is_waited_for() {
        let start = Instant::now();
        let mut bucket = bucket("64kbit/s", 1000, start);
        bucket.take(start, 12_000);
        assert_eq!((bucket.available(start), bucket.try_take(start, 0)), (0, false));
        assert_eq!(bucket.available(start + Duration::from_millis(600)), 800);
    }

    proptest! {
        #[test]
        fn never_more_than_rate_and_burst(takes in proptest::collection::vec((0u64..5_000, 0u64..20_000), 1..200)) {
            let start = Instant::now();
            let mut bucket = bucket("2Mbit/s", 100, start);
            let (mut now, mut taken) = (start, 0);
            for (bytes, wait_us) in takes {
                now += Duration::from_micros(wait_us);
                taken += if bucket.try_take(now, bytes) { bytes } else { 0 };
                let rate: BitRate = "2Mbit/s".parse().unwrap();
                prop_assert!(taken <= rate.bytes_in(now - start + Duration::from_millis(100)) + 1);
            }
        }
    }
}
