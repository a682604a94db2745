//! The one place that reads the clocks, and the watch over the wall clock.
//!
//! Owns: [`system`], [`thread_cpu`], and [`StepWatch`], which notices when wall time moves against the monotonic clock.
//! Not here: what a step means for windows; the rooms read both clocks each turn.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use slotcast_core::time::{Clock, Now, WallTime};

/// From this on a step is noticed and told; what NTP slews is far below it.
pub const STEP_MIN: Duration = Duration::from_millis(100);

/// How often the wall clock is looked at.
pub const WATCH_EVERY: Duration = Duration::from_millis(90);

/// The machine's clocks.
pub fn system() -> Clock {
    std::sync::Arc::new(|| Now { mono: Instant::now(), wall: wall_now() })
}

/// A machine set before 1970 reads as 1970.
fn wall_now() -> WallTime {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime::from_micros(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX))
}

/// The monotonic clock in nanoseconds, comparable between the processes of one machine.
pub fn monotonic_nanos() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// How long the calling thread has had a core so far.
pub fn thread_cpu() -> Duration {
    let used = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(used.tv_sec as u64, used.tv_nsec as u32)
}

/// Compares the two clocks from one look to the next.
#[derive(Debug)]
pub struct StepWatch {
    last: Now,
}

/// How far the wall clock moved against the monotonic one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The wall clock was set forward.
    Forward(Duration),
    /// The wall clock was set back.
    Back(Duration),
}

impl StepWatch {
    /// Begins at `now`.
    pub fn new(now: Now) -> Self {
        Self { last: now }
    }

    /// The step since the last look; `None` when there was none of [`STEP_MIN`] or more.
    pub fn look(&mut self, now: Now) -> Option<Step> {
        let waited = now.mono.saturating_duration_since(self.last.mono);
        let expected = self.last.wall.saturating_add(waited);
        self.last = now;
        let (ahead, behind) = (now.wall.since(expected), expected.since(now.wall));
        if ahead >= STEP_MIN {
            Some(Step::Forward(ahead))
        } else if behind >= STEP_MIN {
            Some(Step::Back(behind))
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(mono_ms: u64, wall_ms: i64, expected: Option<Step>) {
        let start = Now { mono: Instant::now(), wall: WallTime::from_micros(1_000_000_000) };
        let mut watch = StepWatch::new(start);
        let now = Now {
            mono: start.mono + Duration::from_millis(mono_ms),
            wall: WallTime::from_micros(1_000_000_000 + wall_ms * 1_000),
        };
        assert_eq!(watch.look(now), expected);
        assert_eq!(watch.look(now), None, "a step is told once");
    }

    #[test]
    fn a_step_is_told_with_its_size_and_direction() {
        check(50, 50, None);
        check(50, 149, None);
        check(50, 150, Some(Step::Forward(Duration::from_millis(100))));
        check(50, -3_600_000, Some(Step::Back(Duration::from_millis(3_600_050))));
        check(5_000, 5_000, None);
        check(5_000, 4_900, Some(Step::Back(Duration::from_millis(100))));
    }
}
