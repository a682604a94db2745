//! What this process may take of the machine: open files, cores.

use std::io;

use rustix::{
    io::fcntl_dupfd_cloexec,
    process::{Resource, Rlimit, getrlimit, setrlimit},
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};

/// The kernel's table of open files is made for so many at once: a mebibyte of it.
const FILES_AT_ONCE: u64 = 1 << 17;

/// Raises the limit of open files as far as this process may, or to `enough` if that is more and allowed.
///
/// Their table gets its size at once. The kernel doubles a table that is full, and lets the thread that opens the next file wait
/// meanwhile until every core has passed a quiet point (10 to 20 ms): a media thread, when viewers come.
///
/// Returns the limit afterwards; `None`: no limit.
pub fn raise_open_files(enough: Option<u64>) -> Option<u64> {
    let limit = raised_open_files(enough);
    let most = limit.map_or(FILES_AT_ONCE, |limit| limit.min(FILES_AT_ONCE));
    // The table keeps its size when the highest file is closed again. Without it, everything works, and waits at times.
    let _highest = fcntl_dupfd_cloexec(io::stdin(), most.saturating_sub(1) as i32);
    limit
}

fn raised_open_files(enough: Option<u64>) -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let short = limit.maximum.is_some_and(|most| enough.is_some_and(|enough| most < enough));
    if short && setrlimit(Resource::Nofile, Rlimit { current: enough, maximum: enough }).is_ok() {
        return enough;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    }
}

/// Keeps the calling thread to `core`.
///
/// # Errors
/// There is no such core, or this process may not use it.
pub fn pin(core: usize) -> io::Result<()> {
    if core >= CpuSet::MAX_CPU {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("there is no core {core}")));
    }
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set)
        .map_err(|error| io::Error::new(io::Error::from(error).kind(), format!("core {core}: {error}")))
}

/// Keeps the calling thread to the `nth` of the cores that this process may use, counted round.
///
/// # Errors
/// Of the kernel.
pub fn pin_to_nth(nth: usize) -> io::Result<()> {
    let allowed = sched_getaffinity(None)?;
    let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect();
    match cores.get(nth % cores.len().max(1)) {
        Some(core) => pin(*core),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_keeps_to_the_cores_that_the_process_may_use() {
        let allowed = sched_getaffinity(None).unwrap();
        let last = (0..CpuSet::MAX_CPU).rfind(|core| allowed.is_set(*core)).unwrap();
        // In a thread of its own, which alone is kept to the core.
        let kept = std::thread::spawn(move || {
            pin(last).unwrap();
            pin_to_nth(0).unwrap();
            let now = sched_getaffinity(None).unwrap();
            (0..CpuSet::MAX_CPU).filter(|core| now.is_set(*core)).collect::<Vec<_>>()
        });
        assert_eq!(kept.join().unwrap(), [last], "core 0 is not the first one that it may use");
    }

    #[test]
    fn the_limit_of_open_files_is_raised_to_what_is_allowed() {
        let raised = raise_open_files(None);
        let limit = getrlimit(Resource::Nofile);
        assert_eq!((limit.current, limit.maximum), (raised, raised));
        assert_eq!(raise_open_files(Some(1)), raised, "nothing is lowered");
    }

    #[test]
    fn no_thread_waits_for_a_larger_table_of_open_files() {
        let limit = raise_open_files(None).unwrap_or(u64::MAX);
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let size = status.lines().find_map(|line| line.strip_prefix("FDSize:")).unwrap();
        assert!(size.trim().parse::<u64>().unwrap() >= limit.min(FILES_AT_ONCE), "{size} of {limit}");
    }

    #[test]
    fn a_core_that_is_not_there_is_an_error() {
        assert!(pin(usize::MAX).is_err());
        assert!(pin(CpuSet::MAX_CPU - 1).is_err());
    }
}
