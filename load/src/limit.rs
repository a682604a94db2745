//! `slotcast load limit`: what this machine's kernel can do, and how far a server is from it.
//!
//! Owns: the order of rounds, the table, the JSON, what is wrong with a server.
//! Invariant: raw loop and server take turns within each round; a ratio is made of one round's two values. What the
//! server does wrong is in the report; what the tool cannot do is an error without one.

use std::{fs, io, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};
use slotcast_core::words::BitRate;

use super::{
    paced::Transport,
    peer::PeerError,
    push::BIT_RATE_MAX,
    round::{self, Load, Measured, Server},
};
use crate::cpu::ProcessUse;
use slotcast_net::process::pin;
use slotcast_tools::{
    histogram::Percentiles,
    shape::Shape,
    target::{ReachPolicy, Target},
};

/// A packet that comes so late, in milliseconds, says that the server stood still ...
const STALL_MS: f64 = 1000.0;
/// ... unless the raw loop's were late by more than this share of it: then the machine did.
const STALL_SHARE: f64 = 0.5;

/// What `--help` teaches.
pub(super) const EXAMPLES: &str = "\
Examples:
  slotcast load limit                                   5 rounds of 5 s, UDP and TCP, 200 and 500 receivers
  slotcast load limit --receivers 200 --pid PID \\
      --watch rtsp://127.0.0.1:8554/channel{number} \\
      --publish rtsp://live:RESERVATION-ID@127.0.0.1:8555/channel{number}
                                                        a server beside it; keep the server to --send-core (taskset)

The exit code is 1 when a line begins with WRONG: the server refused, lost packets, sent them twice or stood still.";

/// What `slotcast load limit` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Receivers per channel, one run for each
    #[arg(long, value_delimiter = ',', default_value = "200,500", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    receivers: Vec<u32>,
    /// Channels
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    channels: u32,
    /// How media leaves
    #[arg(long, value_enum, value_delimiter = ',', default_value = "udp,tcp")]
    transport: Vec<Transport>,
    /// Seconds measured in each round
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// Rounds
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Milliseconds before anything is measured
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(0..=60_000))]
    warm_up: u64,
    /// Of the video, as 2Mbit/s; a server that is measured must sell more than that
    #[arg(long, value_name = "RATE", default_value = "2Mbit/s")]
    bit_rate: BitRate,
    /// Audio packets per second beside the video
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=200))]
    audio: u32,
    /// Core of the sending loop; a server that is measured must be kept to it too
    #[arg(long, default_value_t = 0)]
    send_core: usize,
    /// Core of everything else
    #[arg(long, default_value_t = 1)]
    tool_core: usize,
    /// Measure a server beside the raw loop: where viewers watch, e.g. rtsp://127.0.0.1:8554/channel{number}
    #[arg(long, value_name = "URL", requires_all = ["publish", "pid"])]
    watch: Option<String>,
    /// ... where its streams are published, e.g. rtsp://live:RESERVATION-ID@127.0.0.1:8555/channel{number}
    #[arg(long, value_name = "URL", requires = "watch")]
    publish: Option<String>,
    /// ... its process
    #[arg(long, requires = "watch")]
    pid: Option<u32>,
    /// ... and what the names of its sending threads begin with; all of its threads where this is empty
    #[arg(long, value_name = "PREFIX", default_value = "worker-", requires = "watch")]
    worker_threads: String,
    /// Write everything to this file too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Who sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The bare sending loop.
    Raw,
    /// The server.
    Server,
}

/// One line of the table.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// How media left.
    pub transport: Transport,
    /// Who sent it.
    pub side: Side,
    /// From 1.
    pub round: u32,
    /// Streams.
    pub channels: u32,
    /// Of each stream.
    pub receivers: u32,
    /// What came of it.
    #[serde(flatten)]
    pub measured: Measured,
}

/// How a server stands to the raw loop.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Comparison {
    /// How media left.
    pub transport: Transport,
    /// Streams.
    pub channels: u32,
    /// Of each stream.
    pub receivers: u32,
    /// Its sending threads' CPU time per packet over the raw loop's.
    pub workers: Spread,
    /// Its whole process's.
    pub process: Spread,
    /// Its latency over the raw loop's.
    pub latency_p50: Spread,
    /// See above.
    pub latency_p99: Spread,
}

/// Of all rounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Half of the rounds had less.
    pub median: f64,
    /// Of the round that had the least.
    pub least: f64,
    /// Of the round that had the most.
    pub most: f64,
}

impl Spread {
    pub(super) fn of(mut values: Vec<f64>) -> Self {
        values.retain(|value| value.is_finite());
        values.sort_by(f64::total_cmp);
        let at = |place: usize| values.get(place).copied().unwrap_or(0.0);
        let (half, count) = (values.len() / 2, values.len());
        let median =
            if count.is_multiple_of(2) && count > 0 { (at(half - 1) + at(half)) / 2.0 } else { at(half) };
        Self { median, least: at(0), most: at(count.saturating_sub(1)) }
    }
}

/// All of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// Its release.
    pub kernel: String,
    /// Of each stream.
    pub shape: Shape,
    /// Measured in each round.
    pub seconds: u64,
    /// Raw loop and server, round by round.
    pub rows: Vec<Row>,
    /// Server over raw loop, by transport and receivers.
    pub comparisons: Vec<Comparison>,
    /// What the server did that must not be; the exit code is 1 when there is any.
    pub wrong: Vec<String>,
}

/// Runs what `args` say; the table goes to standard output as it grows.
///
/// # Errors
/// Sockets or cores are missing, the file cannot be written; the server did what must not be.
pub fn run(args: &Args) -> io::Result<()> {
    // Inherited by every thread that does not choose for itself.
    pin(args.tool_core)?;
    let bit_rate = args.bit_rate.bits_per_second();
    if bit_rate > BIT_RATE_MAX {
        return Err(invalid("the highest bit rate of a stream is 1Gbit/s"));
    }
    let shape = Shape { bit_rate, audio_per_second: args.audio, ..Shape::default() };
    let server = server(args)?;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned();
    let mut report = Report { kernel, shape, seconds: args.seconds, ..Report::default() };
    println!("{HEADER}");
    match measure(args, shape, server.as_ref(), &mut report) {
        Ok(()) => {}
        Err(PeerError::Server(why)) => report.wrong.push(why),
        Err(PeerError::Tool(error)) => return Err(error),
    }
    report.wrong.iter().for_each(|wrong| println!("WRONG  {wrong}"));
    if let Some(file) = &args.json {
        fs::write(file, serde_json::to_string_pretty(&report).map_err(io::Error::other)?)?;
    }
    match report.wrong.as_slice() {
        [] => Ok(()),
        wrong => Err(io::Error::other(wrong.join("; "))),
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what.to_owned())
}

fn server(args: &Args) -> io::Result<Option<Server>> {
    let (Some(watch), Some(publish), Some(pid)) = (&args.watch, &args.publish, args.pid) else {
        return Ok(None);
    };
    let targets = |url: &str| {
        if args.channels > 1 && !Target::has_number(url) {
            return Err(invalid("several channels need {number} in the URL"));
        }
        Target::parse_all(url, args.channels, ReachPolicy::Loopback)
            .map_err(|error| invalid(&format!("{error}; measuring stays on this machine")))
    };
    let worker_threads = args.worker_threads.clone();
    expect_threads(pid, &worker_threads)?;
    Ok(Some(Server { watch: targets(watch)?, publish: targets(publish)?, pid, worker_threads }))
}

/// Errors: there is no such process, or none of its threads has such a name: their CPU time would be 0.
fn expect_threads(pid: u32, prefix: &str) -> io::Result<()> {
    let threads = ProcessUse::of(pid)?;
    match threads.threads_since(&ProcessUse::default(), prefix).next() {
        Some(_) => Ok(()),
        None => Err(invalid(&format!(
            "no thread of process {pid} has a name that begins with {prefix:?}: see --worker-threads"
        ))),
    }
}

fn measure(args: &Args, shape: Shape, server: Option<&Server>, report: &mut Report) -> Result<(), PeerError> {
    for &transport in &args.transport {
        for &receivers in &args.receivers {
            let load = Load {
                shape,
                transport,
                channels: args.channels as usize,
                receivers: receivers as usize,
                warm_up: Duration::from_millis(args.warm_up),
                time: Duration::from_secs(args.seconds),
                send_core: args.send_core,
                tool_core: args.tool_core,
            };
            rounds(args, &load, server, report)?;
        }
    }
    Ok(())
}

fn rounds(args: &Args, load: &Load, server: Option<&Server>, report: &mut Report) -> Result<(), PeerError> {
    let (channels, receivers, transport) = (args.channels, load.receivers as u32, load.transport);
    let (mut all_raw, mut all_served) = (Vec::new(), Vec::new());
    for round in 1..=args.rounds {
        let mut row = |side, measured: &Measured| {
            let measured = measured.clone();
            add(report, Row { transport, side, round, channels, receivers, measured });
        };
        let (raw, served) = round::run(load, server)?;
        row(Side::Raw, &raw);
        if let Some(served) = served {
            row(Side::Server, &served);
            let named = |wrong| format!("{transport}, {channels} x {receivers}, round {round}: {wrong}");
            report.wrong.extend(wrong(&raw, &served).into_iter().map(named));
            all_raw.push(raw);
            all_served.push(served);
        }
    }
    if !all_served.is_empty() {
        let comparison = compare(transport, (channels, receivers), &all_raw, &all_served);
        print_comparison(&comparison);
        report.comparisons.push(comparison);
    }
    Ok(())
}

/// - `raw`, `served`: round by round.
pub(super) fn compare(
    transport: Transport,
    (channels, receivers): (u32, u32),
    raw: &[Measured],
    served: &[Measured],
) -> Comparison {
    let ratio = |of: fn(&Measured) -> f64| {
        Spread::of(raw.iter().zip(served).map(|(raw, served)| of(served) / of(raw)).collect())
    };
    Comparison {
        transport,
        channels,
        receivers,
        workers: ratio(|m| m.cpu_us_per_packet),
        process: ratio(|m| m.process_cpu_us_per_packet),
        latency_p50: ratio(|m| m.latency(|ms| ms.p50)),
        latency_p99: ratio(|m| m.latency(|ms| ms.p99)),
    }
}

/// What must not be, of one round.
pub(super) fn wrong(raw: &Measured, served: &Measured) -> Vec<String> {
    let mut wrong = Vec::new();
    let lost = served.lost.saturating_sub(served.udp_drops.unwrap_or(0));
    if lost > 0 {
        wrong.push(format!("lost: {lost} of {} packets", served.packets + served.lost));
    }
    if served.duplicates > 0 {
        wrong.push(format!("duplicates: {} packets came twice", served.duplicates));
    }
    let [late, raw_late] = [served, raw].map(|side| side.latency(|ms| ms.max));
    let machine_stood_still = raw_late >= STALL_SHARE * late;
    if late >= STALL_MS && !machine_stood_still {
        wrong.push(format!(
            "stalled: a packet came {late:.0} ms after it was due, the raw loop's within {raw_late:.0} ms"
        ));
    }
    wrong
}

const HEADER: &str = "loop        round  channels x receivers  packets/s   Mbit/s  cpu us/packet  (process)  core  calls/frame    lost  twice  \
                      p50 ms  p90 ms  p99 ms  p99.9 ms   max ms";

fn add(report: &mut Report, row: Row) {
    let m = &row.measured;
    let side = if row.side == Side::Raw { "raw" } else { "server" };
    let ms = |of: fn(&Percentiles) -> f64| m.latency(of);
    println!(
        "{:<11} {:>5}  {:>8} x {:<9}  {:>9.0}  {:>7.0}  {:>13.3}  {:>9.3}  {:>4.2}  {:>11}  {:>6}  {:>5}  {:>6.2}  {:>6.2}  \
         {:>6.2}  {:>8.2}  {:>7.2}",
        format!("{} {side}", row.transport.name()),
        row.round,
        row.channels,
        row.receivers,
        m.packets_per_second,
        m.mbit_per_second,
        m.cpu_us_per_packet,
        m.process_cpu_us_per_packet,
        m.core_share,
        m.calls_per_frame.map_or_else(|| "-".to_owned(), |calls| format!("{calls:.3}")),
        m.lost,
        m.duplicates,
        ms(|ms| ms.p50),
        ms(|ms| ms.p90),
        ms(|ms| ms.p99),
        ms(|ms| ms.p999),
        ms(|ms| ms.max),
    );
    report.rows.push(row);
}

fn print_comparison(comparison: &Comparison) {
    let text = |spread: &Spread| format!("{:.2} ({:.2} to {:.2})", spread.median, spread.least, spread.most);
    println!(
        "{} {} x {}: server over raw, median (least to most): workers {}, process {}, latency p50 {}, p99 {}",
        comparison.transport,
        comparison.channels,
        comparison.receivers,
        text(&comparison.workers),
        text(&comparison.process),
        text(&comparison.latency_p50),
        text(&comparison.latency_p99),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(values: &[f64], median: f64, least: f64, most: f64) {
        assert_eq!(Spread::of(values.to_vec()), Spread { median, least, most });
    }

    #[test]
    fn the_spread_of_few_and_many_rounds() {
        check(&[], 0.0, 0.0, 0.0);
        check(&[2.0], 2.0, 2.0, 2.0);
        check(&[3.0, 1.0], 2.0, 1.0, 3.0);
        check(&[5.0, 1.0, 2.0, f64::NAN], 2.0, 1.0, 5.0);
    }

    #[test]
    fn a_prefix_that_no_thread_has_is_refused() {
        let own = std::process::id();
        assert!(expect_threads(own, "").is_ok());
        let error = expect_threads(own, "no-such-").unwrap_err().to_string();
        assert!(error.contains("--worker-threads"), "{error}");
        assert!(expect_threads(u32::MAX, "").is_err());
    }

    #[test]
    fn what_a_server_does_wrong_is_called_by_its_name() {
        let ms = |max| Some(Percentiles { count: 1, p50: 1.0, p90: 1.0, p99: 1.0, p999: 1.0, max });
        let well = Measured { packets: 999, latency_ms: ms(12.0), ..Measured::default() };
        let check = |raw: &Measured, served: Measured, expected: &[&str]| {
            let got = wrong(raw, &served);
            assert_eq!(got.len(), expected.len(), "{got:?}");
            assert!(got.iter().zip(expected).all(|(got, part)| got.contains(part)), "{got:?}");
        };
        check(&well, well.clone(), &[]);
        check(&well, Measured { lost: 1, ..well.clone() }, &["lost: 1 of 1000 packets"]);
        check(&well, Measured { lost: 1, udp_drops: Some(1), ..well.clone() }, &[]);
        check(&well, Measured { duplicates: 7, ..well.clone() }, &["duplicates: 7 packets came twice"]);
        let stalled = Measured { latency_ms: ms(1500.0), ..well.clone() };
        check(&well, stalled.clone(), &["stalled: a packet came 1500 ms"]);
        check(&Measured { latency_ms: ms(900.0), ..well }, stalled, &[]);
    }

    #[test]
    fn a_report_is_read_as_it_was_written_and_not_without_one_of_its_figures() {
        let mut report = Report::default();
        let measured = Measured { cpu_us_per_packet: 0.5, ..Measured::default() };
        let (transport, side) = (Transport::Udp, Side::Raw);
        add(&mut report, Row { transport, side, round: 1, channels: 1, receivers: 2, measured });
        let mut json = serde_json::to_value(&report).unwrap();
        assert_eq!(
            (&json["rows"][0]["cpu_us_per_packet"], &json["shape"]["packet_bytes"]),
            (&0.5.into(), &1200.into())
        );
        let read: Report = serde_json::from_value(json.clone()).unwrap();
        assert_eq!((read.rows[0].side, read.rows[0].receivers), (Side::Raw, 2));
        json["rows"][0].as_object_mut().unwrap().remove("cpu_us_per_packet");
        let missing = serde_json::from_value::<Report>(json).unwrap_err().to_string();
        assert!(missing.contains("cpu_us_per_packet"), "{missing}");
    }
}
