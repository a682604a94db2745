//! CPU time of threads, of this process or of another.
//!
//! Owns: reading `/proc/PID/task/TID/{comm,schedstat,status}`.
//! Holds: raw loops and servers are measured by the same instrument. It counts in nanoseconds; of a thread that runs
//! at the moment of reading, up to one tick (4 ms at 250 Hz) is missing.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

/// A tool's turns on a core that others want too: short, so that what is measured is not the tool's own waiting.
const TURN: Duration = Duration::from_micros(100);

/// Gives short turns to this thread and those that it starts, where the kernel has them.
pub fn take_short_turns() {
    // Without them, what is measured on a busy machine is a little worse than it is.
    let _ = slotcast_net::sys::set_turn(TURN);
}

/// What one thread has used since it began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ThreadUse {
    /// Its name, at most 15 characters.
    pub name: String,
    /// CPU time.
    pub nanos: u64,
    /// How often it waited for something.
    pub waits: u64,
    /// How often it was interrupted to let others run.
    pub preemptions: u64,
}

impl ThreadUse {
    /// Adds what `other` used.
    pub fn add(&mut self, other: &Self) {
        self.nanos += other.nanos;
        self.waits += other.waits;
        self.preemptions += other.preemptions;
    }
}

/// The threads of a process at one moment, by thread ID.
#[derive(Clone, Debug, Default)]
pub struct ProcessUse(BTreeMap<u32, ThreadUse>);

impl ProcessUse {
    /// The process `pid` now. A thread that ends meanwhile is left out.
    ///
    /// # Errors
    /// There is no such process, or it belongs to somebody else.
    pub fn of(pid: u32) -> io::Result<Self> {
        let tasks = PathBuf::from(format!("/proc/{pid}/task"));
        let mut threads = BTreeMap::new();
        for task in fs::read_dir(tasks)? {
            let task = task?;
            let id = task.file_name().to_str().and_then(|name| name.parse().ok());
            if let (Some(id), Some(thread)) = (id, read(&task.path())) {
                threads.insert(id, thread);
            }
        }
        Ok(Self(threads))
    }

    /// This process now.
    pub fn own() -> io::Result<Self> {
        Self::of(std::process::id())
    }

    /// What was used since `earlier` by all threads whose name begins with `prefix`, in sum; an empty one: by all.
    pub fn since(&self, earlier: &Self, prefix: &str) -> ThreadUse {
        let mut sum = ThreadUse { name: prefix.to_owned(), ..ThreadUse::default() };
        for (id, now) in self.0.iter().filter(|(_, thread)| thread.name.starts_with(prefix)) {
            let before = earlier.0.get(id).cloned().unwrap_or_default();
            sum.nanos += now.nanos.saturating_sub(before.nanos);
            sum.waits += now.waits.saturating_sub(before.waits);
            sum.preemptions += now.preemptions.saturating_sub(before.preemptions);
        }
        sum
    }
}

/// Resident memory of a process in bytes; `None` when it cannot be read.
pub fn resident_bytes(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    Some(field(&status, "VmRSS:")? * 1024)
}

fn read(task: &Path) -> Option<ThreadUse> {
    let text = |file| fs::read_to_string(task.join(file)).ok();
    let status = text("status")?;
    Some(ThreadUse {
        name: text("comm")?.trim_end().to_owned(),
        nanos: run_time(&text("schedstat")?)?,
        waits: field(&status, "voluntary_ctxt_switches:")?,
        preemptions: field(&status, "nonvoluntary_ctxt_switches:")?,
    })
}

/// The first number of `schedstat`: time on a core in nanoseconds.
fn run_time(schedstat: &str) -> Option<u64> {
    schedstat.split_ascii_whitespace().next()?.parse().ok()
}

fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn the_kernels_lines_are_read() {
        assert_eq!(run_time("1234567 89 10\n"), Some(1_234_567));
        assert_eq!(run_time(""), None);
        let status =
            "Name:\tx\nVmRSS:\t    1234 kB\nvoluntary_ctxt_switches:\t5\nnonvoluntary_ctxt_switches:\t6\n";
        assert_eq!(field(status, "VmRSS:"), Some(1234));
        assert_eq!(field(status, "voluntary_ctxt_switches:"), Some(5));
        assert_eq!(field(status, "nonvoluntary_ctxt_switches:"), Some(6));
        assert_eq!(field(status, "VmSwap:"), None);
    }

    #[test]
    fn a_thread_that_works_is_seen_by_its_name() {
        let before = ProcessUse::own().unwrap();
        let (done, wait) = mpsc::channel();
        let (stop, stopped) = mpsc::channel::<()>();
        let thread = std::thread::Builder::new().name("cpu-test-busy".to_owned());
        let thread = thread
            .spawn(move || {
                let sum = (0..30_000_000u64).fold(0u64, |sum, n| std::hint::black_box(sum ^ n));
                done.send(sum).unwrap();
                let _ = stopped.recv();
            })
            .unwrap();
        wait.recv().unwrap();
        // What it used counts once it waits for us.
        let busy = || ProcessUse::own().unwrap().since(&before, "cpu-test-busy");
        while busy().nanos == 0 {
            std::thread::yield_now();
        }
        assert!(ProcessUse::own().unwrap().since(&before, "").nanos >= busy().nanos);
        assert_eq!(
            ProcessUse::own().unwrap().since(&before, "cpu-test-none"),
            ThreadUse { name: "cpu-test-none".to_owned(), ..ThreadUse::default() }
        );
        drop(stop);
        thread.join().unwrap();
        assert!(resident_bytes(std::process::id()).is_some_and(|bytes| bytes > 1 << 20));
        assert!(ProcessUse::of(u32::MAX).is_err());
    }
}
