//! What the viewers themselves and the server's process used in the window.
//!
//! Invariant: what the tool itself lost or used stands beside what is said of the server; what nobody knows is absent.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::cpu::ThreadUse;

/// Share of a core from which on the tool's own threads may have added to the latency.
const BUSY: f64 = 0.8;
/// Share of the time from which on waiting for a core shows in the latency.
const QUEUED: f64 = 0.02;

/// What the viewers themselves used and lost.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ToolUse {
    /// CPU time of their threads in the window, in cores; `None`: the kernel does not tell.
    pub cores: Option<f64>,
    /// Share of a core that the busiest of their threads used, 0 to 1.
    pub busiest_thread: Option<f64>,
    /// Datagrams that the kernel dropped because they read too slowly; `None`: the kernel does not tell.
    pub udp_drops: Option<u64>,
    /// Time that their threads could have run and had no core, in sum over the window's time.
    pub queued_share: Option<f64>,
}

impl ToolUse {
    /// - `threads`: what each of the viewers' threads used in the window; none where the kernel does not tell.
    pub(super) fn new(threads: &[ThreadUse], window: Duration, udp_drops: Option<u64>) -> Self {
        let share = |nanos: u64| nanos as f64 / 1e9 / window.as_secs_f64();
        let sum = sum(threads);
        Self {
            cores: sum.as_ref().map(|sum| share(sum.nanos)),
            busiest_thread: threads.iter().map(|thread| thread.nanos).max().map(share),
            udp_drops,
            queued_share: sum.as_ref().map(|sum| share(sum.queued_nanos)),
        }
    }
}

/// `None` where there is no thread.
fn sum(threads: &[ThreadUse]) -> Option<ThreadUse> {
    let mut sum = threads.first()?.clone();
    threads[1..].iter().for_each(|thread| sum.add(thread));
    Some(sum)
}

/// What the server used in the window. What nobody knows is `None`: its process ended, its kernel does not tell, no
/// thread has such a name, or nothing was delivered.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ServerUse {
    /// CPU time of its sending threads per delivered packet.
    pub workers_us_per_packet: Option<f64>,
    /// CPU time of the whole process per delivered packet.
    pub process_us_per_packet: Option<f64>,
    /// CPU time of the whole process, in cores.
    pub cores: Option<f64>,
    /// Time that its sending threads could have run and had no core, in sum over the window's time.
    pub workers_queued_share: Option<f64>,
    /// How often its threads waited.
    pub waits_per_second: Option<f64>,
    /// How often they were interrupted.
    pub preemptions_per_second: Option<f64>,
    /// Resident memory before the first viewer came.
    pub resident_before: Option<u64>,
    /// Resident memory at the end of the window.
    pub resident_after: Option<u64>,
    /// Growth by each viewer who watched.
    pub resident_per_viewer: Option<u64>,
}

impl ServerUse {
    /// - `workers`, `all`: what each sending thread and each thread at all used in the window; none where nobody knows.
    /// - `playing`: viewers who share the growth of its memory.
    pub(super) fn new(
        (workers, all): (&[ThreadUse], &[ThreadUse]),
        packets: u64,
        window: Duration,
        (resident_before, resident_after): (Option<u64>, Option<u64>),
        playing: u64,
    ) -> Self {
        let (workers, all) = (sum(workers), sum(all));
        let per_packet = |spent: &Option<ThreadUse>| {
            spent.as_ref().filter(|_| packets > 0).map(|spent| spent.nanos as f64 / 1e3 / packets as f64)
        };
        let per_second = |of: fn(&ThreadUse) -> u64| Some(of(all.as_ref()?) as f64 / window.as_secs_f64());
        let growth = resident_before.zip(resident_after).filter(|_| playing > 0);
        Self {
            workers_us_per_packet: per_packet(&workers),
            process_us_per_packet: per_packet(&all),
            cores: per_second(|spent| spent.nanos).map(|nanos| nanos / 1e9),
            workers_queued_share: workers
                .as_ref()
                .map(|spent| spent.queued_nanos as f64 / 1e9 / window.as_secs_f64()),
            waits_per_second: per_second(|spent| spent.waits),
            preemptions_per_second: per_second(|spent| spent.preemptions),
            resident_before,
            resident_after,
            resident_per_viewer: growth.map(|(before, after)| after.saturating_sub(before) / playing),
        }
    }
}

impl fmt::Display for ToolUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "viewers  {} cores, the busiest thread {} of one; had to wait for a core {} of the time; {} datagrams \
             dropped at their sockets",
            known(self.cores, 2),
            percent(self.busiest_thread),
            percent(self.queued_share),
            self.udp_drops.map_or_else(|| "?".to_owned(), |drops| drops.to_string())
        )?;
        if self.udp_drops.is_some_and(|drops| drops > 0) {
            writeln!(f, "         so many of the lost packets are the tool's: use more --threads")?;
        }
        if self.busiest_thread.is_some_and(|share| share > BUSY) {
            writeln!(
                f,
                "         a thread that is near a whole core adds to the latency: use more --threads"
            )?;
        }
        if self.queued_share.is_some_and(|share| share > QUEUED) {
            writeln!(f, "         the machine is busy with other things: some of the latency is theirs")?;
        }
        if self.cores.is_none() || self.udp_drops.is_none() {
            writeln!(
                f,
                "         ? is not known: the viewers had left before the window's end, or the kernel does not tell"
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for ServerUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "server   {} us of workers, {} us of the process per delivered packet; {} cores, workers had to wait for \
             one {} of the time; {} waits, {} preemptions a second",
            known(self.workers_us_per_packet, 3),
            known(self.process_us_per_packet, 3),
            known(self.cores, 2),
            percent(self.workers_queued_share),
            known(self.waits_per_second, 0),
            known(self.preemptions_per_second, 0)
        )?;
        if self.cores.is_none() {
            writeln!(f, "         its process ended before the window did: what it used is not known")?;
        } else if self.workers_queued_share.is_none() {
            writeln!(f, "         no thread of it has such a name: see --worker-threads")?;
        }
        if let (Some(before), Some(after), Some(each)) =
            (self.resident_before, self.resident_after, self.resident_per_viewer)
        {
            writeln!(
                f,
                "         {:.1} MiB resident before the viewers, {:.1} MiB with them: {:.1} KiB each",
                before as f64 / 1048576.0,
                after as f64 / 1048576.0,
                each as f64 / 1024.0
            )?;
        }
        Ok(())
    }
}

/// A figure, or a question mark for one that is not known.
fn known(figure: Option<f64>, digits: usize) -> String {
    figure.map_or_else(|| "?".to_owned(), |figure| format!("{figure:.digits$}"))
}

/// A share as a percentage, likewise.
fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "?".to_owned(), |share| format!("{:.1} %", 100.0 * share))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(1);

    fn threads(shares: &[f64]) -> Vec<ThreadUse> {
        let thread = |share: &f64| ThreadUse { nanos: (share * 1e9) as u64, ..ThreadUse::default() };
        shares.iter().map(thread).collect()
    }

    #[test]
    fn what_nobody_knows_is_absent_and_said() {
        let gone = ServerUse::new((&[], &[]), 100, WINDOW, (Some(1 << 20), None), 5);
        assert_eq!((gone.workers_us_per_packet, gone.cores, gone.resident_per_viewer), (None, None, None));
        assert!(
            gone.to_string().contains("? us of workers") && gone.to_string().contains("its process ended")
        );
        let unnamed = ServerUse::new((&[], &threads(&[0.5])), 100, WINDOW, (None, None), 5);
        assert_eq!((unnamed.cores, unnamed.process_us_per_packet), (Some(0.5), Some(5000.0)));
        assert!(unnamed.to_string().contains("--worker-threads"), "{unnamed}");
        let silent = ServerUse::new((&threads(&[0.5]), &threads(&[0.5])), 0, WINDOW, (None, None), 0);
        assert_eq!((silent.workers_us_per_packet, silent.cores), (None, Some(0.5)));
        let unknown = ToolUse::new(&[], WINDOW, None).to_string();
        assert!(unknown.contains("? datagrams") && unknown.contains("? is not known"), "{unknown}");
    }

    #[test]
    fn the_busiest_thread_warns_and_not_the_sum_of_all() {
        let warns =
            |shares: &[f64]| ToolUse::new(&threads(shares), WINDOW, Some(0)).to_string().contains("adds to");
        assert!(!warns(&[0.25; 4]));
        assert!(warns(&[0.05, 0.95]));
    }
}
