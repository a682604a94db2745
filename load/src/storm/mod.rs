//! `slotcast load storm`: crowds that press on a server's admission, and what a viewer beside them notices.
//!
//! Owns: what can be asked for, the order of storms, the exit code.
//! Not here: the clients (`slotcast_tools::watch`), viewers that measure throughput (`load view`).
//! Invariant: bounded in time and count; on loopback unless told otherwise. What is reported of the server is seen by its
//! clients; they share the machine with it, and say how late they were themselves.

mod idle;
mod report;
mod scenarios;

use std::{fs, io, path::PathBuf, time::Duration};

pub use report::{Control, ControlPhase, Ending, Kind, StormReport};
use slotcast_core::time::WallTime;
use slotcast_net::process::raise_open_files;

use slotcast_tools::target::{ReachPolicy, Target};

/// Which storm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Scenario {
    /// Thousands ask for few seats at the same moment
    Plays,
    /// Viewers come and go
    Churn,
    /// Viewers over TCP who read nothing, or little
    Stalled,
    /// Connections that say nothing, or half a request
    Idle,
    /// The window ends while every seat is taken (with --end or --until-end)
    Cutoff,
    /// One after the other; the last only with --end or --until-end
    All,
}

/// What `slotcast load storm` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Which storm
    #[arg(value_enum)]
    scenario: Scenario,
    /// What is watched: rtsp://[USER:PASSWORD@]HOST[:PORT]/CHANNEL
    #[arg(long)]
    url: String,
    /// Seats of the channel, of which two go to the control viewers
    #[arg(long, value_parser = clap::value_parser!(u32).range(3..=100_000))]
    seats: u32,
    /// Clients who ask at the same moment
    #[arg(help_heading = "plays: everybody asks at once", long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    clients: u32,
    /// Per cent of the viewers who watch over UDP
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(0..=100))]
    udp_percent: u32,
    /// Tracks of the stream; UDP viewers hold two ports ready for each
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=4))]
    tracks: u8,
    /// Threads of clients
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=16))]
    threads: u8,
    /// Connections per second while a crowd gathers
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connect_rate: u32,
    /// Joins per second
    #[arg(help_heading = "churn: viewers come and go", long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    joins: u32,
    /// How many seconds it lasts
    #[arg(help_heading = "churn: viewers come and go", long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// How many milliseconds each stays
    #[arg(help_heading = "churn: viewers come and go", long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    stay: u64,
    /// Viewers who read nothing
    #[arg(help_heading = "stalled: viewers who do not read", long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    stalled: u32,
    /// Viewers who read a trickle
    #[arg(help_heading = "stalled: viewers who do not read", long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    slow: u32,
    /// Bytes per second of that trickle
    #[arg(help_heading = "stalled: viewers who do not read", long, default_value_t = 4000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    trickle: u32,
    /// Connections that say nothing
    #[arg(help_heading = "idle: connections that say nothing", long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    idle: u32,
    /// Connections that say half a request
    #[arg(help_heading = "idle: connections that say nothing", long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    half: u32,
    /// Seconds that they are held, also those of idle
    #[arg(help_heading = "stalled: viewers who do not read", long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=600))]
    hold: u64,
    /// When the window ends, e.g. 2026-11-22T10:30:00Z, by this machine's clock
    #[arg(help_heading = "cutoff: the end of the window", long, value_name = "TIME")]
    end: Option<WallTime>,
    /// The window ends soon; its end is seen when it comes
    #[arg(help_heading = "cutoff: the end of the window", long, conflicts_with = "end")]
    until_end: bool,
    /// Let everything count that the product promises: all seats taken, at the end a BYE to everybody and every connection
    /// closed within a second, no failed client, no stall
    #[arg(long)]
    strict: bool,
    /// Seconds after which a storm gives up
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u64).range(10..=3_600))]
    patience: u64,
    /// Seconds that the control viewers watch before each storm
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=60))]
    before: u64,
    /// Write everything to this file too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Let other machines than this one be loaded: only with their operator's consent
    #[arg(long)]
    allow_remote: bool,
}

impl Args {
    fn patience(&self) -> Duration {
        Duration::from_secs(self.patience)
    }

    const fn has_end(&self) -> bool {
        self.end.is_some() || self.until_end
    }
}

/// Runs what `args` say; the table goes to standard output as it grows.
///
/// # Errors
/// The server cannot be used, something that must not be was seen, or the file cannot be written.
pub fn run(args: &Args) -> io::Result<()> {
    let reach = if args.allow_remote { ReachPolicy::Anywhere } else { ReachPolicy::Loopback };
    let target = Target::parse(&args.url, reach)?;
    raise_open_files(None);
    let scenarios = match args.scenario {
        Scenario::All => {
            let mut all = vec![Scenario::Plays, Scenario::Churn, Scenario::Stalled, Scenario::Idle];
            all.extend(args.has_end().then_some(Scenario::Cutoff));
            all
        }
        Scenario::Cutoff if !args.has_end() => {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "cutoff wants --end or --until-end"));
        }
        one => vec![one],
    };
    let mut reports: Vec<StormReport> = Vec::new();
    for (number, scenario) in (1..).zip(&scenarios) {
        println!("{number} of {}", scenarios.len());
        let report = match scenario {
            Scenario::Plays => scenarios::plays(args, &target),
            Scenario::Churn => scenarios::churn(args, &target),
            Scenario::Stalled => scenarios::stalled(args, &target),
            Scenario::Idle => scenarios::idle(args, &target),
            Scenario::Cutoff | Scenario::All => scenarios::cutoff(args, &target),
        }?;
        println!("{report}");
        reports.push(report);
        if let Some(file) = &args.json {
            fs::write(file, serde_json::to_vec_pretty(&reports).map_err(io::Error::other)?)?;
        }
    }
    let wrong = reports.iter().filter(|report| !report.is_well()).count();
    if wrong > 0 {
        return Err(io::Error::other(format!("{wrong} of {} storms saw what must not be", reports.len())));
    }
    let unjudged = |report: &&StormReport| {
        report.strict && report.ending.as_ref().is_some_and(|ending| ending.media_after_end.is_none())
    };
    if reports.iter().any(|report| unjudged(&report)) {
        return Err(io::Error::other(
            "the end could not be judged, since this tool was late itself; use a quieter machine",
        ));
    }
    Ok(())
}
