//! How long threads that could run had to wait for a core.
//!
//! Owns: the second number of `/proc/PID/task/TID/schedstat`. On a busy machine it is in every latency, and neither
//! the server's nor the viewers' fault.

use std::{collections::BTreeMap, fs};

/// Of some threads of a process, by thread ID, in nanoseconds since each began.
#[derive(Clone, Debug, Default)]
pub(super) struct Queueing(BTreeMap<u32, u64>);

impl Queueing {
    /// Of the threads of `pid` whose name begins with `prefix`. What cannot be read is left out.
    pub(super) fn of(pid: u32, prefix: &str) -> Self {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        let read = tasks.filter_map(|task| {
            let text = |file| fs::read_to_string(task.path().join(file)).ok();
            let id = task.file_name().to_str()?.parse().ok()?;
            text("comm")?.starts_with(prefix).then_some(())?;
            Some((id, waited(&text("schedstat")?)?))
        });
        Self(read.collect())
    }

    /// The sum since `earlier`.
    pub(super) fn nanos_since(&self, earlier: &Self) -> u64 {
        let spent = |(id, now): (&u32, &u64)| now.saturating_sub(earlier.0.get(id).copied().unwrap_or(0));
        self.0.iter().map(spent).sum()
    }
}

fn waited(schedstat: &str) -> Option<u64> {
    schedstat.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_number_counts_and_only_since_then() {
        assert_eq!((waited("123 456 7\n"), waited("123"), waited("")), (Some(456), None, None));
        let (before, after) = (Queueing([(1, 10)].into()), Queueing([(1, 15), (2, 7)].into()));
        assert_eq!((after.nanos_since(&before), before.nanos_since(&after)), (12, 0));
        assert!(!Queueing::of(std::process::id(), "").0.is_empty());
        assert!(Queueing::of(std::process::id(), "no thread").0.is_empty());
    }
}
