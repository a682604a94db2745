//! Memory per viewer: of the server's process, and what waits in the kernel on its connections.
//!
//! Owns: two counts of viewers after each other on one fresh server; the slope between them is what each costs.
//! Invariant: the largest reading counts, so what comes and goes with each frame is in it. Of the kernel only the data
//! counts, not its own bookkeeping, which no file in `/proc` tells by connection.

use std::{io, time::Duration};

use procfs::net::TcpState;

use super::{
    bench::Bench,
    crowds::OWN_ONLY,
    report::{Goal, Row, number, spread},
    stage::Stage,
    tool::ToolReport,
};
use crate::{cpu::resident_bytes, storm::StormReport, view::ViewReport};

const UDP_KIB: Goal = Goal::AtMost(4.0);
const TCP_KIB: Goal = Goal::AtMost(8.0);
const STALLED_KIB: Goal = Goal::AtMost(160.0);
const KIB: f64 = 1024.0;
/// Rounds, at most: each begins with a fresh server.
const ROUNDS_MAX: u32 = 3;
/// How long those who read nothing stay: less than a server waits before it gives them up.
const HOLD_SECONDS: u64 = 6;
const WATCH_SECONDS: u64 = 3;
const RAMP: u32 = 500;
/// Seconds of one count, about.
const COUNT_SECONDS: f64 = 7.5;

/// Who watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Udp,
    Tcp,
    Stalled,
}

/// At one moment, in bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Reading {
    process: u64,
    kernel: u64,
}

/// For each viewer, in KiB.
#[derive(Clone, Copy, Debug)]
struct Each {
    process: f64,
    kernel: f64,
}

fn rounds(bench: &Bench) -> u32 {
    bench.rounds.min(ROUNDS_MAX)
}

/// Seconds that this takes, about.
pub(super) fn seconds(bench: &Bench) -> f64 {
    3.0 * f64::from(rounds(bench)) * 2.0 * COUNT_SECONDS
}

/// What each viewer takes, by kind.
pub(super) fn memory(bench: &mut Bench) -> io::Result<()> {
    let kinds = [
        (Kind::Udp, "memory-udp", "UDP viewer: memory of the server", UDP_KIB),
        (Kind::Tcp, "memory-tcp", "TCP viewer: memory of the server", TCP_KIB),
        (Kind::Stalled, "memory-tcp-stalled", "TCP viewer who reads nothing: with what waits", STALLED_KIB),
    ];
    for (kind, name, what, goal) in kinds {
        let row = Row::new(name, what, Some(goal), "KiB");
        if !bench.is_own() {
            bench.add(row.note(OWN_ONLY));
            continue;
        }
        let counts = if kind == Kind::Stalled { bench.counts.stalled } else { bench.counts.memory };
        let (mut all, mut wrong) = (Vec::new(), Vec::new());
        for round in 1..=rounds(bench) {
            let what = format!("{what}, round {round} of {}", rounds(bench));
            bench.progress.begin(&what, 2.0 * COUNT_SECONDS);
            all.push(slope(bench, kind, counts, &mut wrong)?);
        }
        bench.progress.end();
        let median =
            |of: fn(&Each) -> f64| spread(all.iter().map(of)).map_or(f64::NAN, |spread| spread.median);
        let kernel = median(|each| each.kernel).max(0.0);
        let row = match kind {
            Kind::Stalled => row.values(all.iter().map(|each| each.process + each.kernel)).note(format!(
                "{} KiB of the process, {} KiB of data in the kernel",
                number(median(|each| each.process)),
                number(kernel)
            )),
            Kind::Udp | Kind::Tcp => row.values(all.iter().map(|each| each.process)).note(format!(
                "besides, {} KiB of data waits in the kernel on its connection",
                number(kernel)
            )),
        };
        bench.add(
            row.wrong(wrong)
                .note(format!("slope from {} to {} viewers of a fresh server", counts[0], counts[1])),
        );
    }
    Ok(())
}

/// What each viewer between the two counts takes.
fn slope(bench: &Bench, kind: Kind, counts: [u32; 2], wrong: &mut Vec<String>) -> io::Result<Each> {
    let stage = bench.stage(&bench.setup(1))?;
    let mut push = bench.broadcaster(&stage, 180)?;
    let few = read(bench, &stage, (kind, counts[0]), wrong)?;
    let many = read(bench, &stage, (kind, counts[1]), wrong)?;
    push.expect_at_work()?;
    let more = f64::from(counts[1] - counts[0]) * KIB;
    let each = |few: u64, many: u64| (many as f64 - few as f64) / more;
    Ok(Each { process: each(few.process, many.process), kernel: each(few.kernel, many.kernel) })
}

/// The largest reading while `count` are connected.
///
/// - `wrong`: takes what the tool calls so.
fn read(
    bench: &Bench,
    stage: &Stage,
    (kind, count): (Kind, u32),
    wrong: &mut Vec<String>,
) -> io::Result<Reading> {
    let (tool, arguments) = crowd(bench, stage, kind, count);
    let at_most = Duration::from_secs(u64::from(count / RAMP) + 90);
    let (port, pid) = (stage.viewers().map_or(0, |viewers| viewers.port()), stage.pid.unwrap_or_default());
    let mut largest: Option<Reading> = None;
    let mut seen = 0;
    let mut look = || {
        bench.progress.show();
        let (connections, waiting) = connections(port)?;
        seen = seen.max(connections);
        if connections >= u64::from(count) {
            let process = resident_bytes(pid)
                .ok_or_else(|| io::Error::other("the server's memory cannot be read: did it end?"))?;
            let largest = largest.get_or_insert_default();
            largest.process = largest.process.max(process);
            largest.kernel = largest.kernel.max(waiting);
        }
        Ok(())
    };
    let tool = bench.tools.start(tool, &arguments, at_most)?;
    let said = match kind {
        Kind::Udp | Kind::Tcp => tool.report::<ViewReport>(&bench.tools, &mut look)?.wrong(),
        Kind::Stalled => tool.report::<Vec<StormReport>>(&bench.tools, &mut look)?.wrong(),
    };
    wrong.extend(said);
    largest
        .ok_or_else(|| io::Error::other(format!("of {count} viewers at most {seen} were connected at once")))
}

fn crowd(bench: &Bench, stage: &Stage, kind: Kind, count: u32) -> (&'static str, Vec<String>) {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let (url, core) = (stage.first(), bench.tool_core.to_string());
    let [ramp, seconds, hold] =
        [RAMP.into(), WATCH_SECONDS, HOLD_SECONDS].map(|number: u64| number.to_string());
    let many = count.to_string();
    let udp_percent = if kind == Kind::Udp { "100" } else { "0" };
    match kind {
        Kind::Udp | Kind::Tcp => {
            let watch =
                ["--udp-percent", udp_percent, "--ramp", &ramp, "--seconds", &seconds, "--core", &core];
            ("view", [words(&[&url, "--viewers", &many]), words(&watch)].concat())
        }
        Kind::Stalled => {
            let stall = ["--stalled", &many, "--slow", "0", "--hold", &hold, "--before", "1"];
            ("storm", [words(&["stalled", "--url", &url, "--seats", "100000"]), words(&stall)].concat())
        }
    }
}

/// Established connections over IPv4 whose own port is `port`, and the bytes that wait on them to be acknowledged or read.
///
/// # Errors
/// `/proc/net/tcp` cannot be read.
fn connections(port: u16) -> io::Result<(u64, u64)> {
    let all = procfs::net::tcp().map_err(io::Error::other)?;
    let own = all.iter().filter(|one| one.local_address.port() == port && one.state == TcpState::Established);
    Ok(own.fold((0, 0), |(count, bytes), one| {
        (count + 1, bytes + u64::from(one.tx_queue) + u64::from(one.rx_queue))
    }))
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        net::{TcpListener, TcpStream},
    };

    use super::*;

    #[test]
    fn what_nobody_reads_is_seen_in_the_kernel() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connect = || {
            let theirs = TcpStream::connect(address).unwrap();
            (listener.accept().unwrap().0, theirs)
        };
        let pairs = [connect(), connect()];
        assert_eq!(connections(address.port()).unwrap(), (2, 0));
        pairs[0].0.set_nonblocking(true).unwrap();
        let mut filled = 0;
        while let Ok(count @ 1..) = (&pairs[0].0).write(&[0; 4096]) {
            filled += count;
            assert!(filled < 1 << 30);
        }
        let (count, waiting) = connections(address.port()).unwrap();
        assert!(count == 2 && waiting > 4096, "{count}, {waiting}");
    }
}
