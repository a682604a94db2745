//! `slotcast demo`: the whole of slotcast on one machine, with nothing but this binary.
//!
//! Owns: the order of the show: server, booking, broadcaster, viewers, end, charge, summary.
//! Not here: how the server, the publisher and the viewers work; what the summary checks (`verdict`).
//! Invariant: it ends at the end of its window. With viewers of its own, the exit code is 0 only if every promise was
//! checked and held, 1 if one did not hold, and 130 if Ctrl-C kept some from being checked.

mod sale;
mod stage;
mod verdict;

use std::{
    error::Error,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use slotcast_core::time::{Clock, Now, WallTime};
use slotcast_fanout::Protocol;
use slotcast_rtsp::headers::transport::LowerTransport;

use crate::demo::{
    sale::Settled,
    stage::Stage,
    verdict::{Counted, End, Seen, Verdict},
};
use slotcast_media::clip::Clip;
use slotcast_net::clock;
use slotcast_tools::{
    progress::Progress,
    publish::{PublishConfig, PublishError, PublishReport, publish},
    watch::{VIEWERS_MAX, Watch, WatchConfig},
};

/// How long the broadcaster may take until its media flows.
const ON_AIR_MAX: Duration = Duration::from_secs(15);
/// How often the line of the moment is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// After the end, how long the viewers may take before the demo gives up on them.
const AFTER_END: Duration = Duration::from_secs(3);
/// How soon after the end the server's packets are counted: what was on its way at the end is out by then.
const COUNT_AFTER: Duration = Duration::from_millis(10);
/// The exit code after Ctrl-C, as shells have it.
const INTERRUPTED: u8 = 130;
/// Own viewers arrive at this pace.
const VIEWERS_PER_SECOND: u32 = 200;

/// What can be typed after `slotcast demo`.
#[derive(Clone, Debug, clap::Args)]
pub struct DemoArgs {
    /// How long the program lasts
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(3..=86_400))]
    pub seconds: u64,
    /// Start this many viewers, half over UDP and half over TCP, and check every promise at the end
    #[arg(long, value_name = "COUNT", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=VIEWERS_MAX as i64))]
    pub viewers: u32,
    /// The channel of the classic table that is on air: 3 to 7 (the clip needs 64 kbit/s)
    #[arg(long, value_name = "NUMBER", default_value_t = 4, value_parser = clap::value_parser!(u16).range(3..=7))]
    pub channel: u16,
    /// Push the clip over UDP instead of TCP
    #[arg(long)]
    pub udp: bool,
}

/// Runs the demo until its window ends or Ctrl-C.
///
/// Errors: what kept it from starting, or from going on.
pub fn run(args: &DemoArgs) -> Result<ExitCode, Box<dyn Error>> {
    let clock = clock::system();
    let interrupted = on_interrupt()?;
    let clip = Clip::bundled()?;
    let stage = Stage::open(args, Arc::clone(&clock))?;
    let publisher = Publisher::start(clip, args, &stage)?;
    wait_on_air(&stage, &publisher, &interrupted)?;
    stage.introduce(args);
    let watch = match args.viewers {
        0 => None,
        count => Some(Watch::start(&watch_config(args, &stage, count as usize))?),
    };
    let seen = play(&stage, watch.as_ref(), &clock, &interrupted);
    publisher.stop();
    let watched = watch.map(|watch| {
        watch.stop();
        watch.finish()
    });
    let pushed = publisher.join();
    let (sent, cutoffs) = (stage.packets_sent(), stage.fanout_stats().cutoffs());
    let settled = seen.end.is_some().then(|| stage.settled()).transpose();
    stage.close();
    pushed.map_err(|error| format!("the broadcaster failed: {error}"))?;
    let settled = settled?;
    let Some(watched) = watched.transpose()? else { return Ok(alone(settled.as_ref())) };
    let reports = watched.viewers.into_iter().map(|viewer| viewer.report).collect();
    let counted = Counted { reports, udp_drops: watched.udp_drops, sent, cutoffs };
    let verdict = Verdict::new(&counted, &seen, settled.as_ref());
    print!("\n{verdict}");
    Ok(match (verdict.held(), seen.end) {
        (false, _) => ExitCode::FAILURE,
        (true, Some(_)) => ExitCode::SUCCESS,
        (true, None) => ExitCode::from(INTERRUPTED),
    })
}

/// The last words of a demo without viewers of its own. `None`: it was interrupted.
fn alone(settled: Option<&Settled>) -> ExitCode {
    let Some(settled) = settled else {
        println!("\nInterrupted before the window's end: nothing was charged.");
        return ExitCode::SUCCESS;
    };
    println!("\nThe window is over. Charged: {}.", settled.found);
    println!("Add --viewers 60 to start viewers as well and to check every promise.");
    if settled.is_charged { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// 128 random bits in hexadecimal.
fn random_hex() -> Result<String, Box<dyn Error>> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| format!("no random numbers from the kernel: {error}"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Turns true at Ctrl-C; a second one ends the process at once.
fn on_interrupt() -> Result<Arc<AtomicBool>, Box<dyn Error>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&interrupted);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    std::thread::Builder::new().name("interrupt".to_owned()).spawn(move || {
        runtime.block_on(async {
            while tokio::signal::ctrl_c().await.is_ok() {
                if flag.swap(true, Ordering::Relaxed) {
                    std::process::exit(INTERRUPTED.into());
                }
            }
        });
    })?;
    Ok(interrupted)
}

/// The clip on its way through the real link side.
struct Publisher {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<PublishReport, PublishError>>,
}

impl Publisher {
    /// Errors: the settings file does not say where to connect.
    fn start(clip: Clip, args: &DemoArgs, stage: &Stage) -> Result<Self, Box<dyn Error>> {
        let stop = Arc::new(AtomicBool::new(false));
        let config = PublishConfig {
            server: stage.links()?,
            channel: stage.channel().to_owned(),
            reservation_id: stage.reservation_id().to_owned(),
            transport: if args.udp { LowerTransport::Udp } else { LowerTransport::Tcp },
            duration: None,
        };
        let flag = Arc::clone(&stop);
        let thread = std::thread::spawn(move || publish(&clip, &config, &flag));
        Ok(Self { stop, thread })
    }

    fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    fn join(self) -> Result<PublishReport, Box<dyn Error>> {
        match self.thread.join() {
            Ok(report) => Ok(report?),
            Err(_) => Err("its thread panicked".into()),
        }
    }
}

/// Returns when media flows, or when Ctrl-C was pressed.
fn wait_on_air(stage: &Stage, publisher: &Publisher, interrupted: &AtomicBool) -> Result<(), Box<dyn Error>> {
    let deadline = Instant::now() + ON_AIR_MAX;
    while stage.fanout_stats().sum(|worker| &worker.chunks) == 0 && !interrupted.load(Ordering::Relaxed) {
        if publisher.thread.is_finished() || Instant::now() >= deadline {
            return Err("the broadcaster's media did not reach the viewers' side; see the log above".into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

fn watch_config(args: &DemoArgs, stage: &Stage, viewers: usize) -> WatchConfig {
    WatchConfig {
        server: stage.viewers(),
        channel: stage.channel().to_owned(),
        viewers,
        udp_viewers: viewers / 2,
        password: None,
        per_second: VIEWERS_PER_SECOND,
        threads: 1,
        patience: Duration::from_secs(args.seconds) + AFTER_END,
    }
}

/// Shows the moment until the window is over and the viewers are gone; returns what was seen from here.
fn play(stage: &Stage, watch: Option<&Watch>, clock: &Clock, interrupted: &AtomicBool) -> Seen {
    let mut seen = Seen { seats: stage.seats(), viewers_most: 0, end: None };
    let mut screen = Screen::default();
    let mut shown_bytes = (clock().mono, stage.bytes_in());
    let mut rate = 0;
    loop {
        let now = clock();
        let left = stage.end().since(now.wall);
        if interrupted.load(Ordering::Relaxed) {
            return seen;
        }
        seen.viewers_most = seen.viewers_most.max(stage.seats_taken());
        if left.is_zero() {
            let since = now.wall.since(stage.end());
            if since >= COUNT_AFTER {
                seen.end.get_or_insert_with(|| End {
                    at: end_on_monotonic(stage.end(), now),
                    sent: stage.packets_sent(),
                    counted_after: clock().wall.since(stage.end()),
                });
            }
            let gone = watch.is_none_or(Watch::is_over) && since > Duration::from_secs(1);
            if gone || since > AFTER_END {
                return seen;
            }
        }
        let elapsed = now.mono.saturating_duration_since(shown_bytes.0);
        if elapsed >= Duration::from_secs(1) {
            let bytes = stage.bytes_in();
            rate = (bytes - shown_bytes.1) * 8 * 1000 / elapsed.as_millis().max(1) as u64;
            shown_bytes = (now.mono, bytes);
        }
        screen.show(moment(stage, watch, left, rate));
        std::thread::sleep(if seen.end.is_some() { LOOK } else { LOOK.min(left + COUNT_AFTER) });
    }
}

/// The program's end on the monotonic clock.
fn end_on_monotonic(end: WallTime, now: Now) -> Instant {
    now.mono.checked_sub(now.wall.since(end)).unwrap_or(now.mono)
}

fn moment(stage: &Stage, watch: Option<&Watch>, left: Duration, bits_per_second: u64) -> String {
    let viewers = stage.fanout_stats().viewers();
    let over =
        |wanted| viewers.iter().filter(|((_, p), _)| *p == wanted).map(|(_, count)| count).sum::<u32>();
    let refused = watch.map_or_else(String::new, |watch| {
        format!("  refused {}", watch.progress().refused.load(Ordering::Relaxed))
    });
    let state = if left.is_zero() { "over  " } else { "on air" };
    format!(
        "{state}  left {:02}:{:02}  seats {}  viewers {} ({} UDP, {} TCP){refused}  {:.1} kbit/s",
        left.as_secs() / 60,
        left.as_secs() % 60,
        stage.seats(),
        stage.seats_taken(),
        over(Protocol::Udp),
        over(Protocol::Tcp),
        bits_per_second as f64 / 1000.0,
    )
}

/// The line of the moment: rewritten on a terminal, elsewhere printed once a second.
#[derive(Default)]
struct Screen {
    progress: Progress,
    printed: Option<Instant>,
}

impl Screen {
    fn show(&mut self, line: String) {
        if self.progress.is_shown() {
            self.progress.set(line);
        } else if self.printed.is_none_or(|at| at.elapsed() >= Duration::from_secs(1)) {
            println!("{line}");
            self.printed = Some(Instant::now());
        }
    }
}
