//! Many viewers in a few threads: they play, count, and report.
//!
//! Owns: who comes when and over what, how much each reads and how it leaves, the orders that all follow.
//! Not here: decoding; what is concluded from the counts.
//! Invariant: bounded in viewers, in threads, and by the time of [`CrowdConfig::patience`].

mod crowd;
pub(crate) mod frames;
mod seen;
mod sequence;
mod viewer;

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use slotcast_rtsp::client::ClientCredentials;

use self::crowd::{Crowd, CrowdReport};
pub use self::seen::{Outcome, PHASES, Phase, Recorder, Seen, ViewerReport, most_at_once};
pub use self::sequence::Sequence;
use crate::{histogram::Histogram, target::Target};

/// Most viewers of one watch.
pub const VIEWERS_MAX: usize = 20_000;
/// Most threads of one watch.
pub const THREADS_MAX: usize = 64;
/// What the names of the threads begin with.
pub const THREAD: &str = "watch-";
/// The user name that goes with a password: servers that ask for one take any.
const USER: &str = "viewer";
/// A viewer's patience with one response, unless it is told otherwise.
const RESPONSE_MAX: Duration = Duration::from_secs(20);
/// Tracks that UDP viewers hold ports ready for, unless they are told otherwise.
const UDP_TRACKS: usize = 2;

/// What viewers of one channel do.
#[derive(Clone, Debug)]
pub struct WatchConfig {
    /// Where RTSP is.
    pub server: SocketAddr,
    /// Path and query behind the address, e.g. `channel4`.
    pub channel: String,
    /// How many, at most [`VIEWERS_MAX`].
    pub viewers: usize,
    /// How many of them over UDP; the others over TCP.
    pub udp_viewers: usize,
    /// The program's password; any user name goes with it.
    pub password: Option<String>,
    /// Viewers who connect per second.
    pub per_second: u32,
    /// Over so many threads.
    pub threads: usize,
    /// After this time the viewers leave by themselves.
    pub patience: Duration,
}

/// How much a viewer reads once it plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Whatever comes.
    All,
    /// Nothing; over TCP only.
    Nothing,
    /// So many bytes per second; over TCP only.
    Trickle(u32),
}

/// How a viewer leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// It sends TEARDOWN.
    Teardown,
    /// It closes its connection and says nothing.
    Abrupt,
}

/// What a viewer is to do.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// When it connects, from the start of its crowd.
    pub at: Duration,
    /// Index of what it watches.
    pub target: usize,
    /// Over UDP, or TCP.
    pub udp: bool,
    /// How much it reads.
    pub reading: Reading,
    /// From PLAY's answer to its leaving; `None`: until all are told to.
    pub stay: Option<Duration>,
    /// How it leaves.
    pub leave: Leave,
    /// Whether it measures by phase; see [`Watch::enter_phase`].
    pub control: bool,
}

impl Plan {
    /// Connects at once to the first target, reads all, and stays.
    pub const fn new(udp: bool) -> Self {
        Self {
            at: Duration::ZERO,
            target: 0,
            udp,
            reading: Reading::All,
            stay: None,
            leave: Leave::Teardown,
            control: false,
        }
    }

    /// `viewers` who come `per_second`, take turns at `targets` targets, and stay.
    ///
    /// - `udp_viewers`: how many of them watch over UDP, of each target the same share; the others over TCP.
    pub fn arriving(viewers: usize, udp_viewers: usize, per_second: u32, targets: usize) -> Vec<Self> {
        let targets = targets.max(1);
        let plan = |viewer| Self {
            at: Duration::from_secs_f64(viewer as f64 / f64::from(per_second.max(1))),
            target: viewer % targets,
            ..Self::new(is_udp(viewer, viewers, udp_viewers, targets))
        };
        (0..viewers).map(plan).collect()
    }
}

/// What viewers of any channels do.
#[derive(Clone, Debug)]
pub struct CrowdConfig {
    /// What is watched.
    pub targets: Vec<Target>,
    /// Each viewer, in the order in which they come; the first [`VIEWERS_MAX`] count.
    pub plans: Vec<Plan>,
    /// Over so many threads, at most [`THREADS_MAX`].
    pub threads: usize,
    /// After this time the viewers leave by themselves.
    pub patience: Duration,
    /// Tracks that UDP viewers hold ports ready for.
    pub udp_tracks: usize,
    /// How long one response may take.
    pub response: Duration,
    /// Whether all wait after DESCRIBE for [`Watch::release_in`]. Those who are refused then listen on: nothing may come.
    pub hold: bool,
}

impl CrowdConfig {
    /// These viewers in one thread, who wait for nobody.
    pub fn new(targets: Vec<Target>, plans: Vec<Plan>, patience: Duration) -> Self {
        let (udp_tracks, response) = (UDP_TRACKS, RESPONSE_MAX);
        Self { targets, plans, threads: 1, patience, udp_tracks, response, hold: false }
    }
}

impl From<&WatchConfig> for CrowdConfig {
    fn from(config: &WatchConfig) -> Self {
        let target = Target {
            server: config.server,
            url: format!("rtsp://{}/{}", config.server, config.channel),
            credentials: config.password.clone().map(viewer_credentials),
        };
        let plans = Plan::arriving(config.viewers, config.udp_viewers, config.per_second, 1);
        Self { threads: config.threads, ..Self::new(vec![target], plans, config.patience) }
    }
}

/// What a viewer shows who was told a password only.
pub fn viewer_credentials(password: String) -> ClientCredentials {
    ClientCredentials { user: USER.to_owned(), password }
}

/// What all viewers together have seen so far.
#[derive(Debug)]
pub struct WatchProgress {
    /// Have a description.
    pub described: AtomicU64,
    /// Playing now.
    pub playing: AtomicU64,
    /// Refused so far.
    pub refused: AtomicU64,
    /// Playing no more, for whatever reason, or never.
    pub gone: AtomicU64,
    /// RTP packets so far.
    pub packets: AtomicU64,
    /// Stamps that are measured: from here ...
    from: AtomicU64,
    /// ... to here.
    to: AtomicU64,
    /// In which phase control viewers count; at first in none.
    phase: AtomicUsize,
    /// The common moment, in nanoseconds after the start; 0: not known yet.
    release: AtomicU64,
    stop: AtomicBool,
    started: Instant,
}

impl WatchProgress {
    fn new() -> Self {
        let number = AtomicU64::new;
        Self {
            described: number(0),
            playing: number(0),
            refused: number(0),
            gone: number(0),
            packets: number(0),
            from: number(u64::MAX),
            to: number(u64::MAX),
            phase: AtomicUsize::new(PHASES),
            release: number(0),
            stop: AtomicBool::new(false),
            started: Instant::now(),
        }
    }

    /// Viewers who play, or whose session is over.
    pub fn answered(&self) -> u64 {
        self.playing.load(Ordering::Relaxed) + self.gone.load(Ordering::Relaxed)
    }
}

/// What came of a watch.
#[derive(Debug, Default)]
pub struct WatchReport {
    /// Each viewer.
    pub viewers: Vec<Seen>,
    /// From a packet's stamp to the moment at which its viewer had it in hand; TCP viewers, UDP viewers.
    pub latency: [Histogram; 2],
    /// How late the threads came to look at their clocks.
    pub late: Histogram,
    /// Datagrams that the kernel dropped because the viewers read too slowly: our loss, not the server's. `None`: the
    /// kernel does not tell.
    pub udp_drops: Option<u64>,
}

/// Viewers at work.
pub struct Watch {
    threads: Vec<JoinHandle<io::Result<CrowdReport>>>,
    progress: Arc<WatchProgress>,
}

impl Watch {
    /// Sends the viewers out.
    ///
    /// # Errors
    /// There is nothing to watch, or a thread or its poll cannot be made.
    pub fn start(config: impl Into<CrowdConfig>) -> io::Result<Self> {
        let config = config.into();
        if config.targets.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "there is nothing to watch"));
        }
        let progress = Arc::new(WatchProgress::new());
        let threads = config.threads.clamp(1, THREADS_MAX);
        let mut plans: Vec<Vec<Plan>> = (0..threads).map(|_| Vec::new()).collect();
        for (viewer, plan) in config.plans.iter().take(VIEWERS_MAX).enumerate() {
            // Two by two, so that each thread has viewers of both transports.
            plans[viewer / 2 % threads].push(*plan);
        }
        let threads = plans.into_iter().enumerate().map(|(number, plans)| {
            let crowd = Crowd::new(&config, plans, Arc::clone(&progress))?;
            std::thread::Builder::new().name(format!("{THREAD}{number}")).spawn(move || crowd.run())
        });
        Ok(Self { threads: threads.collect::<io::Result<_>>()?, progress })
    }

    /// What they have seen so far.
    pub fn progress(&self) -> &WatchProgress {
        &self.progress
    }

    /// Measures packets stamped from `nanos` on (`slotcast_net::clock::monotonic_nanos`).
    pub fn measure_from(&self, nanos: u64) {
        self.progress.from.store(nanos, Ordering::Release);
    }

    /// Measures packets stamped before `nanos`.
    pub fn measure_to(&self, nanos: u64) {
        self.progress.to.store(nanos, Ordering::Release);
    }

    /// Control viewers count in this phase from now on.
    pub fn enter_phase(&self, phase: usize) {
        self.progress.phase.store(phase, Ordering::Relaxed);
    }

    /// All who wait since their DESCRIBE go on, in this time from now.
    pub fn release_in(&self, wait: Duration) {
        let at = (self.progress.started.elapsed() + wait).as_nanos();
        self.progress.release.store(u64::try_from(at).unwrap_or(u64::MAX).max(1), Ordering::Relaxed);
    }

    /// Whether all have left.
    pub fn is_over(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// Lets those who still watch leave.
    pub fn stop(&self) {
        self.progress.stop.store(true, Ordering::Relaxed);
    }

    /// Waits until all have left, and tells what each saw.
    ///
    /// # Errors
    /// A thread's poll failed.
    pub fn join(self) -> io::Result<Vec<ViewerReport>> {
        Ok(self.finish()?.viewers.into_iter().map(|seen| seen.report).collect())
    }

    /// Waits until all have left, and tells what was measured.
    ///
    /// # Errors
    /// A thread's poll failed.
    pub fn finish(self) -> io::Result<WatchReport> {
        let mut report = WatchReport { udp_drops: Some(0), ..WatchReport::default() };
        for thread in self.threads {
            let own = thread.join().map_err(|_| io::Error::other("a watching thread panicked"))??;
            report.viewers.extend(own.viewers);
            report.latency.iter_mut().zip(&own.latency).for_each(|(all, own)| all.merge(own));
            report.late.merge(&own.late);
            report.udp_drops = report.udp_drops.zip(own.udp_drops).map(|(all, own)| all + own);
        }
        Ok(report)
    }
}

/// Spreads `udp` UDP viewers evenly among `all`, and so among the viewers of each target, who take turns.
const fn is_udp(viewer: usize, all: usize, udp: usize, targets: usize) -> bool {
    let (target, own) = (viewer % targets, viewer / targets);
    let more = all % targets;
    let before = target * (all / targets) + if target < more { target } else { more };
    let place = before + own;
    (place + 1) * udp / all > place * udp / all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transports_are_spread_evenly() {
        let udp = |all, udp| (0..all).map(|viewer| is_udp(viewer, all, udp, 1)).collect::<Vec<_>>();
        assert_eq!(udp(4, 2), [false, true, false, true]);
        assert_eq!(udp(3, 0), [false; 3]);
        assert_eq!(udp(3, 3), [true; 3]);
        assert_eq!(udp(60, 30).iter().filter(|udp| **udp).count(), 30);
    }

    #[test]
    fn each_target_has_its_share_of_both_transports() {
        for (all, targets) in [(40, 4), (41, 4), (7, 3), (2, 5)] {
            let udp: Vec<usize> = (0..all)
                .filter(|&viewer| is_udp(viewer, all, all / 2, targets))
                .map(|v| v % targets)
                .collect();
            assert_eq!(udp.len(), all / 2);
            for target in 0..targets {
                let own = (0..all).filter(|viewer| viewer % targets == target).count();
                let over_udp = udp.iter().filter(|&&of| of == target).count();
                assert!(over_udp.abs_diff(own / 2) <= 1, "{all} on {targets}: {over_udp} of {own}");
            }
        }
    }
}
