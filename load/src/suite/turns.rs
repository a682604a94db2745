//! How long the server's sending threads worked at one go, as its metrics tell it.
//!
//! Owns: reading the histograms, and the difference of two readings.
//! Invariant: what happened before the first reading does not count, so one server can be looked at span by span.

/// The server's metric of the time that a turn had a core.
pub(super) const CPU: &str = "slotcast_turn_cpu_seconds";
/// The server's metric of the time from a turn's begin to its end; what it waited for a core is in it.
pub(super) const WALL: &str = "slotcast_turn_seconds";
/// A turn that takes longer keeps others waiting for too long; in milliseconds.
pub(super) const TURN_MS_MAX: f64 = 5.0;

/// The histogram at one moment: upper bounds in seconds, and how many turns took no longer; infinite: all.
pub(super) type Buckets = Vec<(f64, f64)>;

/// The turns of a span of time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Turns {
    pub(super) count: u64,
    /// How many took longer than [`TURN_MS_MAX`].
    pub(super) over: u64,
    /// Upper bound of the longest one's bucket, in milliseconds; infinite: it is in the last bucket.
    pub(super) longest_ms: f64,
}

/// Reads a histogram, summed over workers; empty where the server has none of that name.
pub(super) fn buckets(page: &str, name: &str) -> Buckets {
    let mut all = Buckets::new();
    let samples = page.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix("_bucket{"));
    for sample in samples {
        let bound =
            sample.split_once("le=\"").and_then(|(_, rest)| rest.split_once('"')?.0.parse::<f64>().ok());
        let count = sample.rsplit(' ').next().and_then(|count| count.parse::<f64>().ok());
        let Some((bound, count)) = bound.zip(count) else { continue };
        match all.iter_mut().find(|(known, _)| known.total_cmp(&bound).is_eq()) {
            Some((_, sum)) => *sum += count,
            None => all.push((bound, count)),
        }
    }
    all.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    all
}

/// The turns between two readings; `None`: there were none, or the server does not tell.
pub(super) fn turns(before: &Buckets, after: &Buckets) -> Option<Turns> {
    let earlier = |bound: f64| {
        let same = before.iter().find(|(known, _)| known.total_cmp(&bound).is_eq());
        same.map_or(0.0, |(_, count)| *count)
    };
    let (mut below, mut turns) = (0.0, Turns { count: 0, over: 0, longest_ms: 0.0 });
    for &(bound, count) in after {
        let up_to = count - earlier(bound);
        let own = (up_to - below).max(0.0) as u64;
        below = up_to;
        if own > 0 {
            turns.longest_ms = 1e3 * bound;
            turns.over += if turns.longest_ms > TURN_MS_MAX { own } else { 0 };
        }
        turns.count += own;
    }
    (turns.count > 0).then_some(turns)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of two workers, by how many turns took at most 1, 5 and 20 ms, and in all.
    fn page(counts: [[u64; 4]; 2]) -> String {
        let mut page = String::from("# TYPE slotcast_turn_seconds histogram\n");
        for (worker, counts) in counts.iter().enumerate() {
            for (bound, count) in ["0.001", "0.005", "0.02", "+Inf"].iter().zip(counts) {
                page +=
                    &format!("slotcast_turn_seconds_bucket{{le=\"{bound}\",worker=\"{worker}\"}} {count}\n");
            }
            page += &format!("slotcast_turn_seconds_sum{{worker=\"{worker}\"}} 0.5\n");
        }
        page
    }

    #[track_caller]
    fn check(after: [[u64; 4]; 2], expected: Option<(u64, u64, f64)>) {
        let before = buckets(&page([[10, 11, 12, 13], [0; 4]]), WALL);
        let found = turns(&before, &buckets(&page(after), WALL));
        assert_eq!(found.map(|turns| (turns.count, turns.over, turns.longest_ms)), expected);
    }

    #[test]
    fn only_turns_of_the_span_count_and_the_longest_is_the_highest_bucket_that_grew() {
        check([[10, 11, 12, 13], [0; 4]], None);
        check([[15, 16, 17, 18], [0; 4]], Some((5, 0, 1.0)));
        check([[15, 18, 19, 20], [1, 1, 1, 1]], Some((8, 0, 5.0)));
        check([[15, 18, 19, 20], [1, 1, 3, 3]], Some((10, 2, 20.0)));
        check([[10, 11, 12, 14], [0; 4]], Some((1, 1, f64::INFINITY)));
        assert!(buckets(&page([[1; 4]; 2]), CPU).is_empty(), "another metric");
    }

    #[test]
    fn a_server_without_the_metric_tells_nothing() {
        let none = buckets("slotcast_send_calls_total 7\n# EOF\n", WALL);
        assert!(none.is_empty() && turns(&none, &none).is_none());
    }
}
