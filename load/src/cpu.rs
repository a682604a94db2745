//! CPU time, waiting and memory of a process, this one or another.
//!
//! Owns: what is read of `/proc/PID` (by the crate `procfs`), and the differences between two readings.
//! Invariant: raw loops and servers are measured by the same instrument. It counts in nanoseconds; of a thread that runs
//! at the moment of reading, up to one tick (4 ms at 250 Hz) is missing. A kernel that does not tell is an error, never
//! a zero.

use std::{collections::BTreeMap, io, path::Path, time::Duration};

use procfs::{
    ProcError, ProcResult,
    process::{Process, Task},
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
    /// Time that it could have run and had no core: on a busy machine it is in every latency, and nobody's fault.
    pub queued_nanos: u64,
    /// How often it waited for something.
    pub waits: u64,
    /// How often it was interrupted to let others run.
    pub preemptions: u64,
}

impl ThreadUse {
    /// Adds what `other` used.
    pub fn add(&mut self, other: &Self) {
        self.nanos += other.nanos;
        self.queued_nanos += other.queued_nanos;
        self.waits += other.waits;
        self.preemptions += other.preemptions;
    }
}

/// The threads of a process at one moment, by thread ID.
#[derive(Clone, Debug, Default)]
pub struct ProcessUse(BTreeMap<i32, ThreadUse>);

impl ProcessUse {
    /// The process `pid` now. A thread that ends meanwhile is left out.
    ///
    /// # Errors
    /// There is no such process, it belongs to somebody else, or the kernel keeps no scheduler statistics.
    pub fn of(pid: u32) -> io::Result<Self> {
        let mut threads = BTreeMap::new();
        for task in process(pid)?.tasks().map_err(io::Error::other)? {
            let task = match task {
                Ok(task) => task,
                Err(ProcError::NotFound(_)) => continue,
                Err(error) => return Err(io::Error::other(error)),
            };
            match read(&task) {
                Ok(thread) => drop(threads.insert(task.tid, thread)),
                Err(ProcError::NotFound(_)) if !has(pid, task.tid) => {}
                Err(error) => return Err(io::Error::other(error)),
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
        self.threads_since(earlier, prefix).for_each(|thread| sum.add(&thread));
        sum
    }

    /// What each thread whose name begins with `prefix` used since `earlier`.
    pub fn threads_since(&self, earlier: &Self, prefix: &str) -> impl Iterator<Item = ThreadUse> {
        self.0.iter().filter(move |(_, thread)| thread.name.starts_with(prefix)).map(|(id, now)| {
            let before = earlier.0.get(id).cloned().unwrap_or_default();
            ThreadUse {
                name: now.name.clone(),
                nanos: now.nanos.saturating_sub(before.nanos),
                queued_nanos: now.queued_nanos.saturating_sub(before.queued_nanos),
                waits: now.waits.saturating_sub(before.waits),
                preemptions: now.preemptions.saturating_sub(before.preemptions),
            }
        })
    }
}

/// Resident memory of a process in bytes; `None` when it cannot be read.
pub fn resident_bytes(pid: u32) -> Option<u64> {
    Some(process(pid).ok()?.status().ok()?.vmrss? * 1024)
}

fn process(pid: u32) -> io::Result<Process> {
    let pid = i32::try_from(pid).map_err(|_| io::Error::from(io::ErrorKind::NotFound))?;
    Process::new(pid).map_err(|error| match error {
        ProcError::NotFound(_) => {
            io::Error::new(io::ErrorKind::NotFound, format!("there is no process {pid}"))
        }
        error => io::Error::other(error),
    })
}

/// Whether the thread still runs: then a file of its that is missing is one that the kernel does not have.
fn has(pid: u32, thread: i32) -> bool {
    Path::new(&format!("/proc/{pid}/task/{thread}")).exists()
}

fn read(task: &Task) -> ProcResult<ThreadUse> {
    let (status, times) = (task.status()?, task.schedstat()?);
    Ok(ThreadUse {
        name: status.name,
        nanos: times.sum_exec_runtime,
        queued_nanos: times.run_delay,
        waits: status.voluntary_ctxt_switches.unwrap_or(0),
        preemptions: status.nonvoluntary_ctxt_switches.unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Instant};

    use super::*;

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
        let deadline = Instant::now() + Duration::from_secs(10);
        while busy().nanos == 0 {
            assert!(Instant::now() < deadline, "no CPU time was counted");
            std::thread::yield_now();
        }
        let now = ProcessUse::own().unwrap();
        assert!(now.since(&before, "").nanos >= busy().nanos);
        assert_eq!(now.threads_since(&before, "cpu-test-busy").count(), 1);
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
