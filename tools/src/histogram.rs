//! How long things took: counts by duration, and their percentiles.
//!
//! Owns: the range and the precision of all latency figures. A percentile is at most 0.8 % above the true value.
//! Invariant: the size is fixed; recording neither allocates nor fails.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

/// Longer than 2^40 ns (18 minutes) counts as that long.
const NANOS_MAX: u64 = 1 << 40;
/// Significant decimal digits: 128 buckets and more per octave, 35 KiB in all.
const DIGITS: u8 = 2;

/// Durations by length.
#[derive(Clone, Debug)]
pub struct Histogram(hdrhistogram::Histogram<u64>);

impl Default for Histogram {
    fn default() -> Self {
        let empty = hdrhistogram::Histogram::new_with_bounds(1, NANOS_MAX, DIGITS);
        Self(empty.expect("the bounds rise, and the digits are at most 5"))
    }
}

impl Histogram {
    /// Counts one duration.
    pub fn record(&mut self, nanos: u64) {
        self.0.saturating_record(nanos);
    }

    /// Counts one duration.
    pub fn record_duration(&mut self, duration: Duration) {
        self.record(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Adds all that `other` counted.
    pub fn merge(&mut self, other: &Self) {
        self.0.add(&other.0).expect("all histograms have the same bounds");
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The longest.
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.0.max())
    }

    /// The duration that the share `quantile` (0 to 1) of all does not exceed; zero when nothing was counted.
    pub fn quantile(&self, quantile: f64) -> Duration {
        Duration::from_nanos(self.0.value_at_quantile(quantile))
    }
}

impl FromIterator<Duration> for Histogram {
    fn from_iter<I: IntoIterator<Item = Duration>>(durations: I) -> Self {
        let mut histogram = Self::default();
        durations.into_iter().for_each(|duration| histogram.record_duration(duration));
        histogram
    }
}

/// Of durations, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Percentiles {
    /// How many were counted, 1 or more.
    pub count: u64,
    /// Half were at most as long.
    pub p50: f64,
    /// 90 % were at most as long.
    pub p90: f64,
    /// 99 % were at most as long.
    pub p99: f64,
    /// 99.9 % were at most as long.
    pub p999: f64,
    /// The longest.
    pub max: f64,
}

impl Percentiles {
    /// Those of `histogram`; `None` when it has counted nothing.
    pub fn of(histogram: &Histogram) -> Option<Self> {
        let millis = |time: Duration| time.as_secs_f64() * 1e3;
        let at = |quantile| millis(histogram.quantile(quantile));
        (histogram.count() > 0).then(|| Self {
            count: histogram.count(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: millis(histogram.max()),
        })
    }

    /// Those of `durations`; `None` when there are none.
    pub fn of_durations(durations: impl IntoIterator<Item = Duration>) -> Option<Self> {
        Self::of(&durations.into_iter().collect())
    }
}

impl fmt::Display for Percentiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { count, p50, p90, p99, p999, max } = self;
        write!(f, "p50 {p50:.2}  p90 {p90:.2}  p99 {p99:.2}  p99.9 {p999:.2}  max {max:.2} ms  ({count})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_a_known_series() {
        let mut histogram = Histogram::default();
        assert_eq!((histogram.quantile(0.5), Percentiles::of(&histogram)), (Duration::ZERO, None));
        (1..=1000u64).for_each(|n| histogram.record(n * 1000));
        for (quantile, micros) in [(0.5, 500.0), (0.99, 990.0), (1.0, 1000.0), (0.0, 1.0)] {
            let got = histogram.quantile(quantile).as_nanos() as f64 / 1000.0;
            assert!((micros..=micros * 1.008).contains(&got), "{quantile}: {got}");
        }
        let all = Percentiles::of(&histogram).unwrap();
        assert_eq!(all.count, 1000);
        assert!((1.0..=1.008).contains(&all.max) && all.p50 < all.p90 && all.p999 <= all.max, "{all}");
    }

    #[test]
    fn merged_is_as_if_recorded_together_and_the_longest_is_bounded() {
        let (mut one, mut other) = (Histogram::default(), Histogram::default());
        one.record(5);
        other.record(u64::MAX);
        one.merge(&other);
        assert_eq!((one.count(), one.quantile(0.5)), (2, Duration::from_nanos(5)));
        let most = one.max().as_nanos();
        assert!((1 << 40..1 << 41).contains(&most), "{most}");
    }
}
