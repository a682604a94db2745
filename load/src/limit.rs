//! `slotcast load limit`: what this machine's kernel can do, and how far a server is from it.
//!
//! Owns: the order of rounds, the table, the JSON.
//! Holds: raw loop and server take turns within each round; a ratio is made of one round's two values.

use std::{
    fs, io,
    path::PathBuf,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use slotcast_core::words::BitRate;

use super::{
    paced::{THREAD, Transport},
    push::BIT_RATE_MAX,
    receivers::Receivers,
    round::{self, Latency, Load, Measured, Server},
    saturated::{CALLS, Saturated, on_core},
};
use crate::cpu::ProcessUse;
use slotcast_net::process::pin;
use slotcast_tools::shape::Shape;

/// Receivers of a saturated loop: enough that their sockets do not all fit the first-level cache.
const SATURATED_RECEIVERS: usize = 50;

/// Which loops run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Loops {
    /// As fast as the kernel takes it.
    Saturated,
    /// At the server's pace.
    Paced,
}

/// What `slotcast load limit` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Only these loops
    #[arg(long, value_enum)]
    only: Option<Loops>,
    /// Receivers per channel of the paced loops, one run for each
    #[arg(long, value_delimiter = ',', default_value = "200,500", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    receivers: Vec<u32>,
    /// Channels of the paced loops
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
    /// Of the video of the paced loops, as 2Mbit/s; a server that is measured must sell more than that
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
    /// Measure a server beside the paced loops: where viewers watch, e.g. rtsp://127.0.0.1:8554/channel{number}
    #[arg(long, value_name = "URL", requires_all = ["publish", "pid"])]
    watch: Option<String>,
    /// ... where its streams are published, e.g. rtsp://live:RESERVATION-ID@127.0.0.1:8555/channel{number}
    #[arg(long, value_name = "URL", requires = "watch")]
    publish: Option<String>,
    /// ... and its process
    #[arg(long, requires = "watch")]
    pid: Option<u32>,
    /// Write everything to this file too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// One line of the table.
#[derive(Clone, Debug, Serialize)]
struct Row {
    what: String,
    round: u32,
    channels: u32,
    receivers: u32,
    #[serde(flatten)]
    measured: Measured,
}

/// How a server stands to the raw loop.
#[derive(Clone, Debug, Serialize)]
struct Comparison {
    transport: Transport,
    channels: u32,
    receivers: u32,
    /// Its sending threads' CPU time per packet over the raw loop's.
    workers: Spread,
    /// Its whole process's.
    process: Spread,
    latency_p50: Spread,
    latency_p99: Spread,
}

/// Of all rounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) least: f64,
    pub(super) most: f64,
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

#[derive(Debug, Default, Serialize)]
struct Report {
    kernel: String,
    shape: Shape,
    seconds: u64,
    rows: Vec<Row>,
    comparisons: Vec<Comparison>,
}

/// Runs what `args` say; the table goes to standard output as it grows.
///
/// # Errors
/// Sockets or cores are missing, a server cannot be measured, the file cannot be written.
pub fn run(args: &Args) -> io::Result<()> {
    // Inherited by every thread that does not choose for itself.
    pin(args.tool_core)?;
    let bit_rate = args.bit_rate.bits_per_second();
    if bit_rate > BIT_RATE_MAX {
        let why = "the highest bit rate of a stream is 1Gbit/s";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    let shape = Shape { bit_rate, audio_per_second: args.audio, ..Shape::default() };
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned();
    let mut report = Report { kernel, shape, seconds: args.seconds, ..Report::default() };
    println!("{HEADER}");
    if args.only != Some(Loops::Paced) {
        saturated(args, &mut report)?;
    }
    if args.only != Some(Loops::Saturated) {
        paced(args, shape, &mut report)?;
    }
    if let Some(file) = &args.json {
        fs::write(file, serde_json::to_string_pretty(&report).map_err(io::Error::other)?)?;
    }
    Ok(())
}

fn saturated(args: &Args, report: &mut Report) -> io::Result<()> {
    for round in 1..=args.rounds {
        for call in CALLS {
            let (mut sender, sockets) = Saturated::new(call, SATURATED_RECEIVERS)?;
            let receivers = Receivers::start(sockets, args.tool_core)?;
            receivers.begin();
            let time = Duration::from_secs(args.seconds);
            let (done, nanos) = on_core(args.send_core, move || {
                let before = ProcessUse::own()?;
                let done = sender.run(time)?;
                Ok((done, ProcessUse::own()?.since(&before, THREAD).nanos))
            })?;
            let settled = Instant::now() + Duration::from_millis(500);
            while receivers.packets() < done.packets && Instant::now() < settled {
                std::thread::sleep(Duration::from_millis(5));
            }
            let received = receivers.finish()?;
            let seconds = done.time.as_secs_f64();
            // What was sent too fast for its receivers bought nothing.
            let cpu = nanos as f64 / 1e3 / received.packets.max(1) as f64;
            let measured = Measured {
                packets: received.packets,
                lost: (done.packets + done.refused).saturating_sub(received.packets),
                packets_per_second: received.packets as f64 / seconds,
                mbit_per_second: received.bytes as f64 * 8e-6 / seconds,
                cpu_us_per_packet: cpu,
                process_cpu_us_per_packet: cpu,
                core_share: nanos as f64 / 1e9 / seconds,
                calls: Some(done.calls),
                latency: Latency::of(&received),
                least: received.least,
                most: received.most,
                ..Measured::default()
            };
            let receivers = SATURATED_RECEIVERS as u32;
            add(report, Row { what: call.to_string(), round, channels: 1, receivers, measured });
        }
    }
    Ok(())
}

fn paced(args: &Args, shape: Shape, report: &mut Report) -> io::Result<()> {
    let server = match (&args.watch, &args.publish, args.pid) {
        (Some(watch), Some(publish), Some(pid)) => {
            Some(Server { watch: watch.clone(), publish: publish.clone(), pid })
        }
        _ => None,
    };
    for &transport in &args.transport {
        for &receivers in &args.receivers {
            let load = Load {
                shape,
                transport,
                channels: args.channels as usize,
                receivers: receivers as usize,
                time: Duration::from_secs(args.seconds),
                send_core: args.send_core,
                tool_core: args.tool_core,
            };
            rounds(args, &load, server.as_ref(), report)?;
        }
    }
    Ok(())
}

fn rounds(args: &Args, load: &Load, server: Option<&Server>, report: &mut Report) -> io::Result<()> {
    let (channels, receivers) = (args.channels, load.receivers as u32);
    let name = match load.transport {
        Transport::Udp => "udp",
        Transport::Tcp => "tcp",
    };
    let mut pairs = Vec::new();
    for round in 1..=args.rounds {
        let mut row = |what: &str, measured: &Measured| {
            let (what, measured) = (format!("{name} {what}"), measured.clone());
            add(report, Row { what, round, channels, receivers, measured });
        };
        let (raw, served) = round::run(load, server)?;
        row("paced", &raw);
        if let Some(served) = served {
            row("server", &served);
            pairs.push((raw, served));
        }
    }
    if pairs.is_empty() {
        return Ok(());
    }
    let ratio = |of: fn(&Measured) -> f64| {
        Spread::of(pairs.iter().map(|(raw, served)| of(served) / of(raw)).collect())
    };
    let comparison = Comparison {
        transport: load.transport,
        channels,
        receivers,
        workers: ratio(|m| m.cpu_us_per_packet),
        process: ratio(|m| m.process_cpu_us_per_packet),
        latency_p50: ratio(|m| m.latency.p50),
        latency_p99: ratio(|m| m.latency.p99),
    };
    print_comparison(name, &comparison);
    report.comparisons.push(comparison);
    Ok(())
}

const HEADER: &str = "loop            round  channels x receivers  packets/s   Mbit/s  cpu us/packet  (process)  core  calls/frame    lost  \
                      p50 ms  p90 ms  p99 ms  p99.9 ms   max ms";

fn add(report: &mut Report, row: Row) {
    let m = &row.measured;
    println!(
        "{:<15} {:>5}  {:>8} x {:<9}  {:>9.0}  {:>7.0}  {:>13.3}  {:>9.3}  {:>4.2}  {:>11}  {:>6}  {:>6.2}  {:>6.2}  \
         {:>6.2}  {:>8.2}  {:>7.2}",
        row.what,
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
        m.latency.p50,
        m.latency.p90,
        m.latency.p99,
        m.latency.p999,
        m.latency.max,
    );
    report.rows.push(row);
}

fn print_comparison(name: &str, comparison: &Comparison) {
    let text = |spread: &Spread| format!("{:.2} ({:.2} to {:.2})", spread.median, spread.least, spread.most);
    println!(
        "{name} {} x {}: server over raw, median (least to most): workers {}, process {}, latency p50 {}, p99 {}",
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
    fn a_report_is_one_json_object() {
        let mut report = Report::default();
        add(
            &mut report,
            Row {
                what: "udp paced".to_owned(),
                round: 1,
                channels: 1,
                receivers: 2,
                measured: Measured { cpu_us_per_packet: 0.5, ..Measured::default() },
            },
        );
        let json: serde_json::Value = serde_json::from_str(&serde_json::to_string(&report).unwrap()).unwrap();
        assert_eq!(json["rows"][0]["cpu_us_per_packet"], 0.5);
        assert_eq!(json["shape"]["packet_bytes"], 1200);
    }
}
