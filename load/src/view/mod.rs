//! `slotcast load view`: many viewers of any RTSP server, and what each of them got.
//!
//! Owns: what can be typed, the order of a measurement: viewers join, a warm-up, the window, a second for what is on
//! its way, the end.
//! Not here: the viewers (`tools::watch`), the sums and the table (`report`).
//! Invariant: it ends by itself; latency counts from the moment at which a packet was to be sent, so a server that makes
//! its broadcaster wait cannot hide it.

mod report;
mod uses;

use std::{
    fs, io,
    io::Write,
    path::PathBuf,
    sync::atomic::Ordering,
    thread,
    time::{Duration, Instant},
};

use slotcast_net::process::raise_open_files;

pub use self::report::{Count, Group, Refused, ViewReport};
pub use self::uses::{ServerUse, ToolUse};
use crate::cpu::{ProcessUse, ThreadUse, resident_bytes, take_short_turns};
use slotcast_net::{clock::monotonic_nanos, process::pin};
use slotcast_tools::{
    progress::Progress,
    target::{ReachPolicy, Target},
    watch::{CrowdConfig, Plan, THREAD, THREADS_MAX, VIEWERS_MAX, Watch, viewer_credentials},
};

/// What `--help` teaches.
pub(super) const EXAMPLES: &str = "\
Examples:
  slotcast load view rtsp://127.0.0.1:8554/channel4 --viewers 200
                                        200 UDP viewers, ten seconds; publish with `slotcast load push` before
  slotcast load view rtsp://127.0.0.1:8554/channel4 -n 500 --udp-percent 0 --ramp 200 --pid PID
                                        over TCP, and what the server's process used for each packet
  slotcast load view rtsp://127.0.0.1:8554/channel{number} --channels 100 -n 400 --udp-percent 50
                                        a hundred channels with two UDP and two TCP viewers each
  slotcast load view URL --password SECRET --threads 2 --json report.json

How to read it:
  lost        holes in the RTP sequence numbers; compare with the datagrams dropped at the viewers' own sockets, which
              are this tool's fault
  latency     from the time at which a packet was to be sent until its viewer had it in hand; only `slotcast load push`
              on the same machine stamps packets
  WRONG       what no server may do: lost, duplicates, media after the end (behind a BYE), over the seats (with
              --seats), stalled (a packet took more than a second); the exit code is 1
  least to most   packets of the worst and the best served viewer in the window; equal is fair";
/// How long the last viewer who comes may take to play.
const JOIN_MAX: Duration = Duration::from_secs(20);
/// How long what is on its way at the end of the window may take.
const SETTLE: Duration = Duration::from_secs(1);
/// How often the viewers are looked at.
const LOOK: Duration = Duration::from_millis(20);
/// The viewers give up by themselves so long after they should have been told to leave.
const SPARE: Duration = Duration::from_secs(10);

/// What `slotcast load view` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// What to watch: rtsp://[USER:PASSWORD@]HOST[:PORT]/PATH; viewers take turns; {number} counts from 1 to --channels
    #[arg(value_name = "URL", required = true)]
    urls: Vec<String>,
    /// What {number} in a URL counts to
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    channels: u32,
    /// Viewers, over all URLs
    #[arg(long, short = 'n', default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=VIEWERS_MAX as i64))]
    viewers: u32,
    /// Per cent of the viewers who watch over UDP; the others watch over TCP
    #[arg(long, value_name = "PERCENT", default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=100))]
    udp_percent: u32,
    /// Seats of each URL: more viewers at one time are wrong
    #[arg(long)]
    seats: Option<u32>,
    /// Viewers who join per second
    #[arg(long, value_name = "PER-SECOND", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    ramp: u32,
    /// Seconds between the last viewer's join and the window
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(0..=60))]
    warm_up: u64,
    /// Seconds that are measured
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
    /// The program's password, for URLs without one
    #[arg(long)]
    password: Option<String>,
    /// Threads of the viewers
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=THREADS_MAX as i64))]
    threads: u32,
    /// Keep the viewers to this core
    #[arg(long)]
    core: Option<usize>,
    /// The server's process, on this machine: adds its CPU time, context switches and memory
    #[arg(long)]
    pid: Option<u32>,
    /// What the names of the server's sending threads begin with
    #[arg(long, value_name = "PREFIX", default_value = "worker-", requires = "pid")]
    worker_threads: String,
    /// Allow URLs of other machines; load only what you may load
    #[arg(long)]
    allow_remote: bool,
    /// Write the report to this file too, or to standard output instead of the table (-)
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// A measurement.
#[derive(Clone, Debug)]
pub struct ViewConfig {
    /// Who watches what.
    pub crowd: CrowdConfig,
    /// From the last join to the window.
    pub warm_up: Duration,
    /// What is measured.
    pub window: Duration,
    /// The server's process, and what the names of its sending threads begin with.
    pub server: Option<(u32, String)>,
    /// Seats of each target: more viewers at one time are wrong.
    pub seats: Option<u32>,
}

impl ViewConfig {
    /// The viewers' own patience, so that they leave even if nobody tells them.
    fn patience(viewers: usize, per_second: u32, warm_up: Duration, window: Duration) -> Duration {
        let ramp = Duration::from_secs_f64(viewers as f64 / f64::from(per_second.max(1)));
        ramp + JOIN_MAX + warm_up + window + SETTLE + SPARE
    }

    /// `viewers` of `targets`, `udp_viewers` of them over UDP, 100 a second, over one thread.
    pub fn new(targets: Vec<Target>, viewers: usize, udp_viewers: usize, window: Duration) -> Self {
        let (per_second, warm_up) = (100, Duration::from_secs(2));
        let patience = Self::patience(viewers, per_second, warm_up, window);
        let plans = Plan::arriving(viewers, udp_viewers, per_second, targets.len());
        let crowd = CrowdConfig::new(targets, plans, patience);
        Self { crowd, warm_up, window, server: None, seats: None }
    }
}

impl Args {
    fn config(&self) -> io::Result<ViewConfig> {
        let reach = if self.allow_remote { ReachPolicy::Anywhere } else { ReachPolicy::Loopback };
        let mut targets = Vec::new();
        for url in &self.urls {
            targets.extend(Target::parse_all(url, self.channels, reach)?);
        }
        for target in targets.iter_mut().filter(|target| target.credentials.is_none()) {
            target.credentials = self.password.clone().map(viewer_credentials);
        }
        let udp = self.viewers * self.udp_percent / 100;
        let (warm_up, window) = (Duration::from_secs(self.warm_up), Duration::from_secs(self.seconds));
        let mut config = ViewConfig::new(targets, self.viewers as usize, udp as usize, window);
        config.warm_up = warm_up;
        let viewers = self.viewers as usize;
        config.crowd.plans = Plan::arriving(viewers, udp as usize, self.ramp, config.crowd.targets.len());
        config.crowd.threads = self.threads as usize;
        config.crowd.patience = ViewConfig::patience(viewers, self.ramp, warm_up, window);
        config.seats = self.seats;
        config.server = self.pid.map(|pid| (pid, self.worker_threads.clone()));
        Ok(config)
    }
}

/// Runs what `args` say.
///
/// # Errors
/// A URL, core or process that is not there; nobody could connect; something that must not be was seen; the file cannot be
/// written.
pub fn run(args: &Args) -> io::Result<()> {
    let config = args.config()?;
    take_short_turns();
    if let Some(core) = args.core {
        // Inherited by every thread from here on.
        pin(core)?;
    }
    raise_open_files(None);
    let report = measure(&config)?;
    let json = serde_json::to_string_pretty(&report).map_err(io::Error::other)?;
    match &args.json {
        Some(file) if file.as_os_str() == "-" => writeln!(io::stdout().lock(), "{json}")?,
        file => {
            write!(io::stdout().lock(), "{report}")?;
            if let Some(file) = file {
                fs::write(file, json)?;
            }
        }
    }
    match report.all.connected {
        0 => Err(io::Error::other("no viewer could watch: see the reasons above")),
        _ if !report.wrong.is_empty() => Err(io::Error::other(report.wrong.join("; "))),
        _ => Ok(()),
    }
}

/// Sends the viewers out, waits for the window, and tells what they saw.
///
/// # Errors
/// There is nothing to watch, threads cannot be made, or the server's process cannot be looked at.
pub fn measure(config: &ViewConfig) -> io::Result<ViewReport> {
    let pid = config.server.as_ref().map(|(pid, _)| *pid);
    let server_use = || pid.map(ProcessUse::of).transpose();
    server_use().map_err(|error| {
        let process = pid.unwrap_or_default();
        io::Error::new(error.kind(), format!("process {process} cannot be looked at: {error}"))
    })?;
    let resident_before = pid.and_then(resident_bytes);
    let watch = Watch::start(config.crowd.clone())?;
    let joined_in = joined(&watch, config);
    wait(&watch, config.warm_up, "warm-up");
    let (own_before, server_before) = (ProcessUse::own().ok(), server_use()?);
    let (from, playing) = (monotonic_nanos(), watch.progress().playing.load(Ordering::Relaxed));
    watch.measure_from(from);
    wait(&watch, config.window, "measuring");
    let to = monotonic_nanos();
    watch.measure_to(to);
    let resident_after = pid.and_then(resident_bytes);
    // What a server that is gone by now has used, nobody knows; a zombie has no memory any more.
    let server_after = resident_after.and_then(|_| server_use().ok().flatten());
    let own_after = ProcessUse::own().ok();
    wait(&watch, SETTLE, "settling");
    watch.stop();
    let seen = watch.finish()?;
    let window = Duration::from_nanos(to - from);
    let mut report = ViewReport::new(&seen, config, window, joined_in);
    report.tool = ToolUse::new(&spent(&own_before, &own_after, THREAD), window, seen.udp_drops);
    if let Some((_, prefix)) = &config.server {
        let resident = (resident_before, resident_after);
        let [workers, all] = [prefix, ""].map(|prefix| spent(&server_before, &server_after, prefix));
        report.server = Some(ServerUse::new((&workers, &all), report.all.packets, window, resident, playing));
    }
    Ok(report)
}

/// What each thread whose name begins with `prefix` used; nothing where one of both times is not known.
fn spent(before: &Option<ProcessUse>, after: &Option<ProcessUse>, prefix: &str) -> Vec<ThreadUse> {
    let both = before.as_ref().zip(after.as_ref());
    both.map(|(before, after)| after.threads_since(before, prefix).collect()).unwrap_or_default()
}

/// Waits until each viewer plays or is gone; returns how long that took.
fn joined(watch: &Watch, config: &ViewConfig) -> Duration {
    let (start, all) = (Instant::now(), config.crowd.plans.len().min(VIEWERS_MAX) as u64);
    let ramp = config.crowd.plans.last().map_or(Duration::ZERO, |plan| plan.at);
    let settled = || watch.progress().answered() >= all;
    let screen = Progress::default();
    while !settled() && !watch.is_over() && start.elapsed() < ramp + JOIN_MAX {
        show(&screen, watch, "joining", (ramp + JOIN_MAX).saturating_sub(start.elapsed()));
        thread::sleep(LOOK);
    }
    start.elapsed()
}

/// Waits for `time`, or until everybody has left.
fn wait(watch: &Watch, time: Duration, what: &str) {
    let end = Instant::now() + time;
    let screen = Progress::default();
    while !watch.is_over() {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        show(&screen, watch, what, left);
        thread::sleep(left.min(LOOK));
    }
}

fn show(screen: &Progress, watch: &Watch, what: &str, left: Duration) {
    let progress = watch.progress();
    screen.set(format!(
        "{what}: {} playing, {} gone ({} refused), {} packets, at most {} s left",
        progress.playing.load(Ordering::Relaxed),
        progress.gone.load(Ordering::Relaxed),
        progress.refused.load(Ordering::Relaxed),
        progress.packets.load(Ordering::Relaxed),
        left.as_secs() + 1,
    ));
}
