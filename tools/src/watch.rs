//! Many viewers in a few threads: they play, count, and report.
//!
//! Owns: who comes when and over what; what each viewer saw: packets, losses, refusals, BYE, the close.
//! Not here: decoding. Bounded: in viewers, in threads, and by the time of [`CrowdConfig::patience`].

mod crowd;
mod frames;
mod sequence;
mod viewer;

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use slotcast_rtsp::client::ClientCredentials;

use self::crowd::{Crowd, CrowdReport, Plan};
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

/// What viewers of any channels do.
#[derive(Clone, Debug)]
pub struct CrowdConfig {
    /// What is watched; viewers take turns.
    pub targets: Vec<Target>,
    /// How many in all, at most [`VIEWERS_MAX`].
    pub viewers: usize,
    /// How many of them over UDP, of each target the same share; the others over TCP.
    pub udp_viewers: usize,
    /// Viewers who connect per second.
    pub per_second: u32,
    /// Over so many threads, at most [`THREADS_MAX`].
    pub threads: usize,
    /// After this time the viewers leave by themselves.
    pub patience: Duration,
}

impl From<&WatchConfig> for CrowdConfig {
    fn from(config: &WatchConfig) -> Self {
        let target = Target {
            server: config.server,
            url: format!("rtsp://{}/{}", config.server, config.channel),
            credentials: config.password.clone().map(viewer_credentials),
        };
        Self {
            targets: vec![target],
            viewers: config.viewers,
            udp_viewers: config.udp_viewers,
            per_second: config.per_second,
            threads: config.threads,
            patience: config.patience,
        }
    }
}

/// What a viewer shows who was told a password only.
pub fn viewer_credentials(password: String) -> ClientCredentials {
    ClientCredentials { user: USER.to_owned(), password }
}

/// How a viewer's session came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It left by itself.
    Left,
    /// The server ended it while it played.
    Ended,
    /// The server said no.
    Refused {
        /// RTSP status.
        status: u16,
        /// In the server's words.
        reason: String,
    },
    /// It did not work.
    Failed(String),
}

/// What one viewer saw.
#[derive(Clone, Debug)]
pub struct ViewerReport {
    /// Over UDP, or TCP.
    pub udp: bool,
    /// How it came out.
    pub outcome: Outcome,
    /// RTP packets.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packets missing between the first, as RTP-Info named it, and the last.
    pub lost: u64,
    /// From PLAY's answer to the first packet.
    pub joined_in: Option<Duration>,
    /// When the last RTP packet was read.
    pub last_media: Option<Instant>,
    /// When a BYE was read on any track.
    pub told: Option<Instant>,
    /// When the server closed the connection.
    pub closed: Option<Instant>,
}

impl ViewerReport {
    const fn new(udp: bool, outcome: Outcome) -> Self {
        Self {
            udp,
            outcome,
            packets: 0,
            bytes: 0,
            lost: 0,
            joined_in: None,
            last_media: None,
            told: None,
            closed: None,
        }
    }
}

/// What one viewer saw, for measuring.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Index of what it watched.
    pub target: usize,
    /// The session in all.
    pub report: ViewerReport,
    /// Packets that came after a later one.
    pub reordered: u64,
    /// Packets that had come already.
    pub duplicates: u64,
    /// From sending PLAY to the first packet.
    pub first_packet_in: Option<Duration>,
    /// From sending PLAY to the first packet of a key frame of the video.
    pub first_key_in: Option<Duration>,
    /// Whether PLAY was answered with 200.
    pub played: bool,
    /// The server's reason in a BYE.
    pub goodbye: Option<String>,
    /// Packets that were sent in the window of [`Watch::measure_from`]; unstamped ones: that came in it.
    pub measured_packets: u64,
    /// Their bytes.
    pub measured_bytes: u64,
}

impl Seen {
    const fn new(target: usize, report: ViewerReport) -> Self {
        Self {
            target,
            report,
            reordered: 0,
            duplicates: 0,
            first_packet_in: None,
            first_key_in: None,
            played: false,
            goodbye: None,
            measured_packets: 0,
            measured_bytes: 0,
        }
    }
}

/// What all viewers together have seen so far.
#[derive(Debug)]
pub struct WatchProgress {
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
}

impl Default for WatchProgress {
    fn default() -> Self {
        let number = AtomicU64::new;
        Self {
            playing: number(0),
            refused: number(0),
            gone: number(0),
            packets: number(0),
            from: number(u64::MAX),
            to: number(u64::MAX),
        }
    }
}

/// What came of a watch.
#[derive(Debug, Default)]
pub struct WatchReport {
    /// Each viewer.
    pub viewers: Vec<Seen>,
    /// From a packet's stamp to the moment at which its viewer had it in hand; TCP viewers, UDP viewers.
    pub latency: [Histogram; 2],
    /// Datagrams that the kernel dropped because the viewers read too slowly: our loss, not the server's. `None`: the
    /// kernel does not tell.
    pub udp_drops: Option<u64>,
}

/// Viewers at work.
pub struct Watch {
    threads: Vec<JoinHandle<io::Result<CrowdReport>>>,
    progress: Arc<WatchProgress>,
    stop: Arc<AtomicBool>,
}

impl Watch {
    /// Sends the viewers out.
    ///
    /// # Errors
    /// There is nothing to watch, or a thread or its poll cannot be made.
    pub fn start(config: impl Into<CrowdConfig>) -> io::Result<Self> {
        let mut config = config.into();
        if config.targets.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "there is nothing to watch"));
        }
        config.viewers = config.viewers.min(VIEWERS_MAX);
        let (progress, stop) = (Arc::<WatchProgress>::default(), Arc::<AtomicBool>::default());
        let threads = config.threads.clamp(1, THREADS_MAX);
        let mut plans: Vec<Vec<Plan>> = (0..threads).map(|_| Vec::new()).collect();
        let started = Instant::now();
        for viewer in 0..config.viewers {
            let after = viewer as f64 / f64::from(config.per_second.max(1));
            plans[viewer / 2 % threads].push(Plan {
                udp: is_udp(viewer, config.viewers, config.udp_viewers, config.targets.len()),
                target: viewer % config.targets.len(),
                at: started + Duration::from_secs_f64(after),
            });
        }
        let threads = plans.into_iter().enumerate().map(|(number, plans)| {
            let crowd = Crowd::new(&config, plans, Arc::clone(&progress), Arc::clone(&stop))?;
            std::thread::Builder::new().name(format!("{THREAD}{number}")).spawn(move || crowd.run())
        });
        Ok(Self { threads: threads.collect::<io::Result<_>>()?, progress, stop })
    }

    /// What they have seen so far.
    pub fn progress(&self) -> &WatchProgress {
        &self.progress
    }

    /// Measures packets stamped from `nanos` on (`load::shape::monotonic_nanos`).
    pub fn measure_from(&self, nanos: u64) {
        self.progress.from.store(nanos, Ordering::Release);
    }

    /// Measures packets stamped before `nanos`.
    pub fn measure_to(&self, nanos: u64) {
        self.progress.to.store(nanos, Ordering::Release);
    }

    /// Whether all have left.
    pub fn is_over(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// Lets those who still watch leave.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Waits until all have left, and tells what each saw.
    pub fn join(self) -> io::Result<Vec<ViewerReport>> {
        Ok(self.finish()?.viewers.into_iter().map(|seen| seen.report).collect())
    }

    /// Waits until all have left, and tells what was measured.
    pub fn finish(self) -> io::Result<WatchReport> {
        let mut report = WatchReport { udp_drops: Some(0), ..WatchReport::default() };
        for thread in self.threads {
            let own = thread.join().map_err(|_| io::Error::other("a watching thread panicked"))??;
            report.viewers.extend(own.viewers);
            report.latency.iter_mut().zip(&own.latency).for_each(|(all, own)| all.merge(own));
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
