//! How long things took: counts by duration, with percentiles.
//!
//! Owns: the buckets. Each octave is cut into 64, so a percentile is at most 1.6 % above the true value.
//! Holds: the size is fixed; recording neither allocates nor fails.

use std::time::Duration;

/// Buckets per octave, as a power of two.
const PRECISION: u32 = 6;
/// Longer than 2^40 ns (18 minutes) counts as that long.
const OCTAVES: u32 = 40;

/// Durations by length.
#[derive(Clone, Debug)]
pub struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        let buckets = bucket(1 << OCTAVES) + 1;
        Self { buckets: vec![0; buckets], count: 0, max: 0 }
    }
}

/// The bucket that `nanos` falls into: exact below 2^6, from there on 64 per octave.
fn bucket(nanos: u64) -> usize {
    let shift = nanos.checked_ilog2().map_or(0, |log| log.saturating_sub(PRECISION));
    ((shift as usize) << PRECISION) + (nanos >> shift) as usize
}

/// The largest value of a bucket.
const fn upper(bucket: usize) -> u64 {
    let shift = (bucket >> PRECISION).saturating_sub(1);
    let base = (bucket - (shift << PRECISION)) as u64;
    ((base + 1) << shift) - 1
}

impl Histogram {
    /// Counts one duration.
    pub fn record(&mut self, nanos: u64) {
        self.max = self.max.max(nanos);
        self.count += 1;
        let last = self.buckets.len() - 1;
        self.buckets[bucket(nanos).min(last)] += 1;
    }

    /// Adds all that `other` counted.
    pub fn merge(&mut self, other: &Self) {
        self.buckets.iter_mut().zip(&other.buckets).for_each(|(ours, theirs)| *ours += theirs);
        self.count += other.count;
        self.max = self.max.max(other.max);
    }

    /// How many were counted.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The longest, exactly.
    pub const fn max(&self) -> Duration {
        Duration::from_nanos(self.max)
    }

    /// The duration that the share `quantile` (0 to 1) of all does not exceed; zero when nothing was counted.
    pub fn quantile(&self, quantile: f64) -> Duration {
        let rank = ((self.count as f64 * quantile).ceil() as u64).max(1);
        let mut seen = 0;
        for (place, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Duration::from_nanos(upper(place).min(self.max));
            }
        }
        Duration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bucket_holds_its_values_within_the_precision() {
        for octave in 0..=OCTAVES {
            for nanos in [(1u64 << octave) - 1, 1 << octave, (1 << octave) + (1 << octave) / 3] {
                let upper = upper(bucket(nanos));
                assert!(upper >= nanos && (upper - nanos) as f64 <= nanos as f64 / 64.0, "{nanos} {upper}");
                assert_eq!(bucket(upper), bucket(nanos));
                assert_eq!(bucket(upper + 1), bucket(nanos) + 1);
            }
        }
    }

    #[test]
    fn percentiles_of_a_known_series() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), Duration::ZERO);
        (1..=1000u64).for_each(|n| histogram.record(n * 1000));
        for (quantile, micros) in [(0.5, 500.0), (0.99, 990.0), (1.0, 1000.0), (0.0, 1.0)] {
            let got = histogram.quantile(quantile).as_nanos() as f64 / 1000.0;
            assert!((micros..=micros * 1.016).contains(&got), "{quantile}: {got}");
        }
        assert_eq!((histogram.count(), histogram.max()), (1000, Duration::from_millis(1)));
    }

    #[test]
    fn merged_is_as_if_recorded_together() {
        let (mut one, mut other) = (Histogram::default(), Histogram::default());
        one.record(5);
        other.record(u64::MAX);
        one.merge(&other);
        assert_eq!((one.count(), one.max().as_nanos()), (2, u128::from(u64::MAX)));
        assert_eq!(one.quantile(0.5), Duration::from_nanos(5));
    }
}
