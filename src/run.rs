//! `slotcast serve` as a process: signals, the start line, the end.
//!
//! Owns: what SIGHUP, SIGTERM and SIGINT do, the limit of open files, the line that says what this machine can do.
//! Not here: the server itself (`serve`).

use std::{io, path::Path, time::Duration};

use slotcast_net::process::raise_open_files;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{Instant, sleep_until},
};

use crate::{
    config::{Config, Environment, Problems},
    serve::Server,
};
use slotcast_net::clock;

/// How often a draining server looks whether everybody has gone.
const IDLE_LOOK_EVERY: Duration = Duration::from_millis(100);

/// How long an idle server still waits while draining, for counters that follow within 100 ms.
const IDLE_LOOKS: u32 = 3;

/// Runs `config`, read from `file`, until it is told to stop.
///
/// Errors: the server could not start.
pub(crate) fn run(config: Config, file: &Path) -> io::Result<()> {
    let files = raise_open_files(None);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // Before the start, so that no signal finds nobody.
        let mut signals = Signals::new()?;
        let drain = config.server.drain;
        let server = Server::start(config, clock::system())?;
        log_start(&server, files);
        while let Asked::Reload = signals.next().await {
            reload(&server, file);
        }
        drained(&server, drain, &mut signals).await;
        let in_time = server.shutdown();
        tracing::info!(in_time, "stopped");
        Ok(())
    })
}

enum Asked {
    Reload,
    Stop,
}

struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.hangup.recv() => Asked::Reload,
            _ = self.terminate.recv() => Asked::Stop,
            _ = self.interrupt.recv() => Asked::Stop,
        }
    }
}

/// Returns when everybody has gone, when `deadline` is over, or when the operator asks a second time.
async fn drained(server: &Server, deadline: Duration, signals: &mut Signals) {
    server.drain();
    tracing::info!(
        deadline_s = deadline.as_secs_f64(),
        "draining: new viewers are refused, the others go on"
    );
    let until = Instant::now() + deadline;
    let mut idle = 0;
    while idle < IDLE_LOOKS && Instant::now() < until {
        let next = (Instant::now() + IDLE_LOOK_EVERY).min(until);
        tokio::select! {
            () = sleep_until(next) => idle = if server.is_idle() { idle + 1 } else { 0 },
            asked = signals.next() => match asked {
                Asked::Stop => {
                    tracing::info!("told a second time: ending at once");
                    return;
                }
                Asked::Reload => tracing::info!("draining: the configuration is not read again"),
            },
        }
    }
}

fn reload(server: &Server, file: &Path) {
    let checked = match Config::load(file, &Environment::of_process()) {
        Ok(checked) => checked,
        Err(problems) => {
            server.reload_refused();
            log_problems(&problems);
            tracing::error!(file = %file.display(), "the configuration is wrong: the old one stays");
            return;
        }
    };
    log_problems(&checked.warnings);
    match server.reload(checked.config) {
        Ok(changes) => tracing::info!(
            added = changes.added.len(),
            changed = changes.changed.len(),
            removed = changes.removed.len(),
            "the configuration was read again"
        ),
        Err(error) => tracing::error!(%error, "the configuration does not fit together: the old one stays"),
    }
}

/// One line each, as `check-config` would print them.
pub(crate) fn log_problems(problems: &Problems) {
    for line in problems.lines() {
        tracing::warn!("{line}");
    }
}

/// What this kernel and device can do, and where the server is.
fn log_start(server: &Server, files: Option<u64>) {
    let system = |name: &str| {
        let text = std::fs::read_to_string(Path::new("/proc/sys").join(name)).unwrap_or_default();
        if text.is_empty() { "unknown".to_owned() } else { text.trim().to_owned() }
    };
    let ports = |pairs: &[[u16; 2]]| {
        let pairs: Vec<_> = pairs.iter().map(|[rtp, rtcp]| format!("{rtp}-{rtcp}")).collect();
        if pairs.is_empty() { "off".to_owned() } else { pairs.join(",") }
    };
    let addresses = server.addresses();
    let links: Vec<_> = addresses.links.iter().map(ToString::to_string).collect();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        kernel = system("kernel/osrelease"),
        gso = server.fanout_stats().segmentation_in_use(),
        workers = server.fanout_stats().workers().len(),
        pinned = server.is_pinned(),
        cores = std::thread::available_parallelism().map_or(1, usize::from),
        send_buffer_bytes_max = system("net/core/wmem_max"),
        receive_buffer_bytes_max = system("net/core/rmem_max"),
        open_files_max = files,
        viewers = %addresses.viewers,
        viewers_rtp = ports(&addresses.viewers_rtp),
        links = links.join(","),
        links_rtp = ports(addresses.links_rtp.as_slice()),
        http = addresses.http.map(tracing::field::display),
        metrics = addresses.metrics.map(tracing::field::display),
        channels = server.programs().channels().len(),
        programs = server.programs().programs().len(),
        "slotcast runs"
    );
}
