//! `slotcast load suite`: the standard set of figures, with a table, a JSON file and a page.
//!
//! Owns: what can be typed, the order of the measurements, what is written at the end.
//! Not here: measuring. The other load tools do that as children on the tools' core; a server of our own is a child on
//! its core.
//! Invariant: whatever happens, interrupt included, the children are ended and what was measured until then is written.

mod admission;
mod bench;
mod bulk;
mod crowds;
mod fairness;
mod figures;
mod html;
mod memory;
mod most;
mod pipeline;
mod plot;
mod progress;
mod report;
mod sound;
mod stage;
mod tool;
mod turns;

use std::{
    fs,
    io::{self, Write},
    path::PathBuf,
    time::Instant,
};

use slotcast_net::process::raise_open_files;

use self::{
    bench::{Bench, Counts, Key, Other},
    progress::Progress,
    report::{HEADER, Report, Row, Standing},
    tool::Tools,
};
use crate::{interrupt, paced::Transport};
use slotcast_net::clock;
use slotcast_net::process::pin;
use slotcast_tools::target::{ReachPolicy, Target, TargetError};

/// What `--help` teaches.
pub(super) const EXAMPLES: &str = "\
Examples:
  slotcast load suite --html suite.html --json suite.json
                                        everything, against a server that it starts itself on core 0
  slotcast load suite --list            what there is, and how long it takes
  slotcast load suite --only ratio,latency --rounds 9
  slotcast load suite --only fairness,sound --binary OLD/slotcast
                                        the same of another version of the server: in turn with this one they compare
  slotcast load suite --quick           does it work at all? Small counts; the figures mean nothing
  slotcast load suite --server rtsp://127.0.0.1:8554/live{number} --pid PID
                                        another server, published to at the same address; keep it to --server-core yourself (taskset -a -c -p 0 PID)

The exit code is 0 when everything could be measured, also where goals were missed; --strict makes those count.";

/// Open files that are asked for: the search for the most viewers takes four for each.
const OPEN_FILES: u64 = 65_536;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Measurement {
    /// Seats taken and given back per second
    Admission,
    /// CPU time per packet over the raw loop's, 200 and 500 viewers
    Ratio,
    /// Added latency over the raw loop's, 500 viewers
    Latency,
    /// Send calls per viewer and frame
    Calls,
    /// One viewer of an idle server: added latency
    Idle,
    /// CPU time per packet over the raw loop's, 10 to 2,000 viewers
    Scale,
    /// 100 channels of 4 viewers
    Channels,
    /// With 47 packets of sound a second
    Audio,
    /// Viewers per core by bit rate and transport, with and without sound
    Size,
    /// The most viewers on one core, raw loop and server
    Most,
    /// 100 joins a second onto 500 viewers
    Join,
    /// Memory per viewer: UDP, TCP, TCP that reads nothing
    Memory,
    /// Two sending threads over one
    Workers,
    /// Thousands ask for few seats at once
    Seats,
    /// The window's end with 1,000 viewers
    Cutoff,
    /// What 300 viewers notice of what happens to 1,500 others on their worker
    Fairness,
    /// What sound costs 500 TCP viewers, and how late it is
    Sound,
}

const ALL: [Measurement; 17] = [
    Measurement::Admission,
    Measurement::Ratio,
    Measurement::Latency,
    Measurement::Calls,
    Measurement::Idle,
    Measurement::Scale,
    Measurement::Channels,
    Measurement::Audio,
    Measurement::Size,
    Measurement::Most,
    Measurement::Join,
    Measurement::Memory,
    Measurement::Workers,
    Measurement::Seats,
    Measurement::Cutoff,
    Measurement::Fairness,
    Measurement::Sound,
];

/// What `slotcast load suite` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Only these, separated by commas
    #[arg(long, value_enum, value_delimiter = ',', value_name = "NAME")]
    only: Vec<Measurement>,
    /// Rounds of each figure
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Seconds of each turn
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// Few viewers, one round, one second: to see that it works
    #[arg(long, conflicts_with_all = ["rounds", "seconds", "strict"])]
    quick: bool,
    /// List the measurements and how long they take, and measure nothing
    #[arg(long)]
    list: bool,
    /// Exit code 1 when a goal is missed too
    #[arg(long)]
    strict: bool,
    /// Start this executable as the server, such as an older version; the tools stay this one
    #[arg(long, value_name = "PATH", conflicts_with = "server")]
    binary: Option<PathBuf>,
    /// How long sound may wait for a picture, in milliseconds, on each channel; unset: the server's own default
    #[arg(long, value_name = "MS", conflicts_with = "server", value_parser = clap::value_parser!(u32).range(0..=1_000))]
    gather: Option<u32>,
    /// Measure this server instead of one of our own: where viewers watch; {number} counts channels from 1
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// ... where its streams are published, if that is another address
    #[arg(long, value_name = "URL", requires = "server")]
    publish: Option<String>,
    /// ... and its process, for its CPU time
    #[arg(long, requires = "server")]
    pid: Option<u32>,
    /// ... and what the names of its sending threads begin with: then their CPU time counts, not the whole process's
    #[arg(long, value_name = "PREFIX", requires = "pid")]
    worker_threads: Option<String>,
    /// Core of the server, and of the raw loop
    #[arg(long, default_value_t = 0)]
    server_core: usize,
    /// Core of everything else; 1 where there is one
    #[arg(long)]
    tool_core: Option<usize>,
    /// Allow a server on another machine; load only what you may load
    #[arg(long, requires = "server")]
    allow_remote: bool,
    /// Write everything to this file too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a page with tables and plots to this file too
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// Runs what `args` say; the table goes to standard output as it grows.
///
/// # Errors
/// Something could not be measured, with `--strict` also a missed goal; a file cannot be written; interrupted.
pub fn run(args: &Args) -> io::Result<()> {
    let chosen: Vec<Measurement> =
        ALL.into_iter().filter(|one| args.only.is_empty() || args.only.contains(one)).collect();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let remote = is_remote(args)?;
    let mut bench = bench(args, cores, &chosen)?;
    if args.list {
        return list(&bench, &chosen);
    }
    // Inherited by the tools.
    pin(bench.tool_core)?;
    raise_open_files(Some(OPEN_FILES));
    let (begun, mut report) = (Instant::now(), heading(args, cores));
    if report.is_busy() && !args.quick {
        let load = report.load_before;
        say(
            &mut io::stderr(),
            &format!(
                "slotcast load: the machine is not quiet (load average {load}), and so will the figures be"
            ),
        );
    }
    say(&mut io::stdout(), HEADER);
    for one in chosen {
        if bench.tools.is_interrupted() {
            break;
        }
        measure(&mut bench, one, cores, remote);
    }
    report.interrupted = bench.tools.is_interrupted();
    report.took_seconds = begun.elapsed().as_secs_f64();
    report.points = bench.points();
    report.rows = std::mem::take(&mut bench.rows);
    // The children's files go before anything else can fail.
    drop(bench);
    say(&mut io::stdout(), &format!("{} figures: {}", report.rows.len(), report.summary()));
    write(args, &report)?;
    verdict(args, &report)
}

/// A reader that has gone is no reason to end.
fn say(out: &mut impl Write, line: &str) {
    drop(writeln!(out, "{line}"));
}

fn bench(args: &Args, cores: usize, chosen: &[Measurement]) -> io::Result<Bench> {
    let other = args.server.clone().map(|watch| Other {
        publish: args.publish.clone().unwrap_or_else(|| watch.clone()),
        watch,
        pid: args.pid,
        worker_threads: args.worker_threads.clone(),
    });
    let mut bench = Bench {
        tools: Tools::new(interrupt::flag()?, args.binary.clone(), args.allow_remote)?,
        progress: Progress::new(0.0),
        counts: if args.quick { Counts::QUICK } else { Counts::FULL },
        rounds: if args.quick { 1 } else { args.rounds },
        seconds: if args.quick { 1 } else { args.seconds },
        server_core: args.server_core,
        tool_core: args.tool_core.unwrap_or_else(|| usize::from(cores > 1)),
        gather: args.gather,
        other,
        rows: Vec::new(),
        paced: Vec::new(),
    };
    let mut known = Vec::new();
    let total = chosen.iter().map(|one| seconds(&bench, *one, &mut known)).sum();
    bench.progress = Progress::new(total);
    Ok(bench)
}

/// Whether the server is on another machine.
fn is_remote(args: &Args) -> io::Result<bool> {
    let mut remote = false;
    for url in args.server.iter().chain(&args.publish) {
        match Target::parse(&Target::numbered(url, 1), ReachPolicy::Loopback) {
            Ok(_) => {}
            Err(TargetError::Remote(_)) if args.allow_remote => remote = true,
            Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidInput, error.to_string())),
        }
    }
    Ok(remote)
}

fn measure(bench: &mut Bench, one: Measurement, cores: usize, remote: bool) {
    if remote && !matches!(one, Measurement::Join) {
        let why = "a server on another machine has no raw loop beside it: only join is measured";
        bench.add(Row::new(name(one), about(one), None, "").note(why));
        return;
    }
    let done = match one {
        Measurement::Ratio => figures::ratio(bench),
        Measurement::Latency => figures::latency(bench),
        Measurement::Calls => figures::calls(bench),
        Measurement::Idle => figures::idle(bench),
        Measurement::Scale => figures::scale(bench),
        Measurement::Channels => figures::channels(bench),
        Measurement::Audio => figures::audio(bench),
        Measurement::Size => figures::size(bench),
        Measurement::Most => most::most(bench),
        Measurement::Join => crowds::join(bench),
        Measurement::Memory => memory::memory(bench),
        Measurement::Workers => most::workers(bench, cores),
        Measurement::Seats => crowds::seats(bench),
        Measurement::Cutoff => crowds::cutoff(bench),
        Measurement::Admission => admission::admission(bench),
        Measurement::Fairness => fairness::fairness(bench),
        Measurement::Sound => sound::sound(bench),
    };
    bench.progress.end();
    match done {
        Err(error) if !bench.tools.is_interrupted() => {
            bench.add(Row::new(name(one), about(one), None, "").failed(error.to_string()));
        }
        _ => {}
    }
}

/// Seconds that a measurement takes, about.
///
/// - `known`: paced runs that are done by then; those of this one are added.
fn seconds(bench: &Bench, one: Measurement, known: &mut Vec<Key>) -> f64 {
    let counts = &bench.counts;
    let keys = |viewers: &[u32], channels: u32, audio: u32| -> Vec<Key> {
        let of = |transport| {
            viewers.iter().map(move |&viewers| Key { channels, audio, ..Key::one(transport, viewers) })
        };
        Transport::ALL.into_iter().flat_map(of).collect()
    };
    let paced = match one {
        Measurement::Ratio => keys(&counts.ratio, 1, 0),
        Measurement::Latency | Measurement::Calls => keys(&[counts.latency], 1, 0),
        Measurement::Idle => keys(&[1], 1, 0),
        Measurement::Scale => keys(counts.scale, 1, 0),
        Measurement::Channels => keys(&[counts.channels.1], counts.channels.0, 0),
        Measurement::Audio => keys(&[counts.audio], 1, 47),
        Measurement::Size => {
            let of = |transport| {
                figures::size_streams().map(move |(kilobits, audio)| Key {
                    kilobits,
                    audio,
                    ..Key::one(transport, counts.audio)
                })
            };
            Transport::ALL.into_iter().flat_map(of).collect()
        }
        Measurement::Most => return most::most_seconds(bench),
        Measurement::Join => return crowds::join_seconds(bench),
        Measurement::Memory => return memory::seconds(bench),
        Measurement::Workers => return 2.0 * bench.paced_seconds(Key::one(Transport::Udp, counts.ratio[1])),
        Measurement::Seats => return crowds::seats_seconds(bench),
        Measurement::Cutoff => return crowds::cutoff_seconds(bench),
        Measurement::Admission => return 5.0,
        Measurement::Fairness => return fairness::seconds(bench),
        Measurement::Sound => sound::keys(bench).to_vec(),
    };
    let new: Vec<Key> = paced.into_iter().filter(|key| !known.contains(key)).collect();
    known.extend(&new);
    // A sum of nothing would be a negative zero.
    new.into_iter().map(|key| bench.paced_seconds(key)).fold(0.0, |sum, seconds| sum + seconds)
}

/// As it is typed.
fn name(one: Measurement) -> String {
    clap::ValueEnum::to_possible_value(&one).map(|value| value.get_name().to_owned()).unwrap_or_default()
}

/// As the help says it.
fn about(one: Measurement) -> String {
    let value = clap::ValueEnum::to_possible_value(&one);
    value.and_then(|value| Some(value.get_help()?.to_string())).unwrap_or_default()
}

fn list(bench: &Bench, chosen: &[Measurement]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let (mut known, mut total) = (Vec::new(), 0.0);
    for &one in chosen {
        let seconds = seconds(bench, one, &mut known);
        total += seconds;
        writeln!(out, "{:<10} {seconds:>5.0} s    {}", name(one), about(one))?;
    }
    let minutes = (total / 60.0).ceil();
    writeln!(out, "{:<10} {minutes:>5.0} min  (what several share is measured once)", "all")
}

fn heading(args: &Args, cores: usize) -> Report {
    let line = |file: &str| fs::read_to_string(file).unwrap_or_default();
    let processors = line("/proc/cpuinfo");
    let model = processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let server = match &args.server {
        // Neither credentials nor a query, which may hold a token.
        Some(url) => {
            let target = Target::parse(url, ReachPolicy::Anywhere);
            let url = target.map_or_else(|_| "another server".to_owned(), |target| target.url);
            url.split('?').next().unwrap_or_default().to_owned()
        }
        None => {
            let server = match &args.binary {
                Some(binary) => binary.display().to_string(),
                None => format!("slotcast {}", env!("CARGO_PKG_VERSION")),
            };
            format!("{server}, one worker on core {}", args.server_core)
        }
    };
    Report {
        version: env!("CARGO_PKG_VERSION"),
        date: clock::system()().wall.to_string(),
        kernel: line("/proc/sys/kernel/osrelease").trim().to_owned(),
        processor: model.map_or("unknown", |(_, name)| name).to_owned(),
        cores,
        load_before: line("/proc/loadavg")
            .split(' ')
            .next()
            .and_then(|load| load.parse().ok())
            .unwrap_or(0.0),
        server,
        rounds: if args.quick { 1 } else { args.rounds },
        seconds: if args.quick { 1 } else { args.seconds },
        quick: args.quick,
        ..Report::default()
    }
}

fn write(args: &Args, report: &Report) -> io::Result<()> {
    let named = |file: &PathBuf, error: io::Error| {
        io::Error::new(error.kind(), format!("{} cannot be written: {error}", file.display()))
    };
    if let Some(file) = &args.json {
        let json = serde_json::to_string_pretty(report).map_err(io::Error::other)?;
        fs::write(file, json).map_err(|error| named(file, error))?;
    }
    if let Some(file) = &args.html {
        fs::write(file, html::page(report)?).map_err(|error| named(file, error))?;
    }
    Ok(())
}

fn verdict(args: &Args, report: &Report) -> io::Result<()> {
    let (failed, missed) = (report.count(Standing::Failed), report.count(Standing::Missed));
    match () {
        () if report.interrupted => Err(io::Error::other("interrupted")),
        () if failed > 0 => Err(io::Error::other(format!("{failed} measurements broke down: see above"))),
        () if args.strict && missed > 0 => Err(io::Error::other(format!("{missed} goals were missed"))),
        () => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use clap::{Parser, ValueEnum};

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    #[track_caller]
    fn parse(words: &[&str]) -> Args {
        Line::try_parse_from([&["suite"], words].concat()).unwrap().args
    }

    #[test]
    fn every_measurement_has_its_place_a_name_and_a_help() {
        assert_eq!(ALL.as_slice(), Measurement::value_variants());
        for one in ALL {
            assert!(!name(one).is_empty() && !about(one).is_empty(), "{one:?}");
        }
        assert_eq!(parse(&["--only", "cutoff,ratio"]).only, [Measurement::Cutoff, Measurement::Ratio]);
    }

    #[test]
    fn paced_runs_count_once_in_the_time() {
        let bench = bench(&parse(&[]), 2, &[]).unwrap();
        let mut known = Vec::new();
        let ratio = seconds(&bench, Measurement::Ratio, &mut known);
        assert!(ratio > 4.0 * 5.0 * 10.0, "{ratio}");
        assert_eq!(known.len(), 4);
        assert!(seconds(&bench, Measurement::Latency, &mut known).abs() < f64::EPSILON);
        assert!(seconds(&bench, Measurement::Scale, &mut known) > 2.0 * ratio - 60.0);
        assert!(ALL.iter().all(|one| seconds(&bench, *one, &mut Vec::new()) > 0.0));
    }

    #[test]
    fn other_machines_only_where_allowed() {
        assert!(!is_remote(&parse(&[])).unwrap());
        assert!(!is_remote(&parse(&["--server", "rtsp://127.0.0.1:1/live{number}"])).unwrap());
        assert!(is_remote(&parse(&["--server", "rtsp://192.0.2.1:1/x"])).is_err());
        assert!(is_remote(&parse(&["--server", "rtsp://192.0.2.1:1/x", "--allow-remote"])).unwrap());
        assert!(is_remote(&parse(&["--server", "http://127.0.0.1/x"])).is_err());
    }

    #[test]
    fn the_heading_holds_no_secret() {
        let heading =
            heading(&parse(&["--server", "rtsp://a:geheim@127.0.0.1:1/live{number}?token=geheim"]), 2);
        assert_eq!(heading.server, "rtsp://127.0.0.1:1/live{number}");
    }

    #[test]
    fn missed_goals_count_only_where_asked() {
        let row = || Row::new("x", "X", Some(report::Goal::AtMost(1.0)), "").values([2.0]);
        let missed = Report { rows: vec![row()], ..Report::default() };
        assert!(verdict(&parse(&[]), &missed).is_ok());
        assert!(verdict(&parse(&["--strict"]), &missed).is_err());
        let failed = Report { rows: vec![row().failed("x")], ..Report::default() };
        assert!(verdict(&parse(&[]), &failed).is_err());
    }
}
