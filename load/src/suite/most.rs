//! The most viewers on one core, and what a second core brings.
//!
//! Owns: the search. A count holds when nothing is lost and 99 of 100 packets are there within [`P99_MS_MAX`].

use std::io;

use rustix::process::{Resource, getrlimit};

use super::{
    bench::{BUSY, Bench, Key, Paced, median},
    report::{Goal, Row, number},
    stage::{LONG, Setup, Stage},
};
use crate::{paced::Transport, round::Measured};

const SHARE_PERCENT: Goal = Goal::AtLeast(85.0);
const WORKERS: Goal = Goal::AtLeast(1.7);
const P99_MS_MAX: f64 = 100.0;
/// The search ends when it knows the count to one part in so many.
const PRECISION: u32 = 24;
/// Seconds of one look at a count, at most.
const LOOK_SECONDS_MAX: u64 = 3;
/// Most receivers that the tool takes.
const RECEIVERS_MAX: u32 = 10_000;
/// Open files of the tool for each, and besides.
const FILES_EACH: u64 = 4;
const SPARE_FILES: u64 = 256;
/// Seconds that a viewer takes to connect to the server, about.
const CONNECT_SECONDS: f64 = 0.0015;

/// What a search found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Found {
    /// The most that held; 0: nothing did.
    holds: u32,
    /// Whether more was asked for and did not hold.
    bounded: bool,
}

/// The largest count for which `holds`, to [`PRECISION`]. A count that does not hold gets a second chance, as whatever
/// else the machine does would speak against it.
///
/// - `from`: looked at first.
/// - `to`: the most that is looked at.
fn search(from: u32, to: u32, mut holds: impl FnMut(u32) -> io::Result<bool>) -> io::Result<Found> {
    let (mut good, mut bad, mut next) = (0, None, from.min(to));
    loop {
        match holds(next)? || holds(next)? {
            true => good = next,
            false => bad = Some(next),
        }
        next = match bad {
            None if good >= to => return Ok(Found { holds: good, bounded: false }),
            None => good.saturating_mul(2).min(to),
            Some(bad) if good == 0 && bad > 1 => bad / 2,
            Some(bad) if good == 0 || bad - good <= (good / PRECISION).max(1) => {
                return Ok(Found { holds: good, bounded: true });
            }
            Some(bad) => good + (bad - good) / 2,
        };
    }
}

/// What the looks at one side found.
#[derive(Debug, Default)]
struct Looks {
    /// By count: whether it held, and the share of its core that the tool's receiving thread used.
    all: Vec<(u32, bool, f64)>,
    /// What was wrong at the smallest count that did not hold.
    why: Option<(u32, String)>,
}

impl Looks {
    /// Whether it holds.
    fn keep(&mut self, count: u32, turns: &[Measured], wrong: &[String]) -> bool {
        let well =
            |turn: &Measured| turn.packets > 0 && turn.lost == 0 && turn.latency(|ms| ms.p99) <= P99_MS_MAX;
        let good = wrong.is_empty() && !turns.is_empty() && turns.iter().all(well);
        let busy = turns.iter().map(|turn| turn.receiver_share).fold(0.0, f64::max);
        self.all.push((count, good, busy));
        if !good && self.why.as_ref().is_none_or(|(bound, _)| count <= *bound) {
            let late = || format!("p99 {} ms", number(median(turns, |turn| turn.latency(|ms| ms.p99))));
            self.why = Some((count, wrong.first().cloned().unwrap_or_else(late)));
        }
        good
    }

    /// Where the tool was at its own limit: at the count that was found, or at the one that bounds the search.
    fn busy(&self, side: &str) -> Option<String> {
        let held = self.all.iter().filter(|(_, good, _)| *good).map(|(count, ..)| *count).max();
        let bound = self.why.as_ref().map(|(count, _)| *count);
        let counts = |count: u32| Some(count) == held || Some(count) == bound;
        let busiest = self.all.iter().filter(|(count, ..)| counts(*count));
        let (count, _, busy) = busiest.max_by(|(.., one), (.., other)| one.total_cmp(other))?;
        (*busy > BUSY).then(|| {
            let percent = 100.0 * busy;
            format!("{side}: with {count} viewers the tool's receiving thread used {percent:.0} % of its core: it limits too")
        })
    }
}

/// Seconds that [`most`] takes, about.
pub(super) fn most_seconds(bench: &Bench) -> f64 {
    2.0 * (raw_seconds(bench) + served_seconds(bench))
}

/// How many counts are looked at, about, and the seconds of one side's turn in a look.
fn looks(bench: &Bench) -> (f64, f64) {
    let (from, to) = bench.counts.most;
    let looks = 1.0 + (f64::from(to) / f64::from(from)).log2() + f64::from(PRECISION.min(from)).log2();
    (looks, bench.counts.warm_up.as_secs_f64() + bench.seconds.min(LOOK_SECONDS_MAX) as f64)
}

/// ... of the raw loop's search; about half of the later counts are looked at twice.
fn raw_seconds(bench: &Bench) -> f64 {
    let (looks, turn) = looks(bench);
    1.5 * looks * (turn + 1.0)
}

/// ... of the server's, which begins at what the raw loop carries; its viewers connect one after the other.
fn served_seconds(bench: &Bench) -> f64 {
    let (looks, turn) = looks(bench);
    let connect = 0.5 * f64::from(bench.counts.most.1) * CONNECT_SECONDS;
    looks * (2.0 * turn + 1.0 + connect)
}

/// The most viewers of the raw loop and of the server.
pub(super) fn most(bench: &mut Bench) -> io::Result<()> {
    for transport in Transport::ALL {
        let (from, asked) = bench.counts.most;
        let to = asked.min(receivers_max());
        bench.progress.begin(&format!("{transport}: the most viewers of the raw loop"), raw_seconds(bench));
        let (mut raw_looks, mut looks) = (Looks::default(), Looks::default());
        let raw = search(from, to, |count| {
            let paced = look_at(bench, transport, count, None)?;
            Ok(raw_looks.keep(count, &paced.raw, &paced.wrong))
        })?;
        bench.progress.begin(&format!("{transport}: the most viewers of the server"), served_seconds(bench));
        let stage = bench.stage(&bench.setup(1))?;
        // What the tool itself cannot do is an error, and no answer.
        let served = search(raw.holds.max(1), raw.holds.max(1), |count| {
            let paced = look_at(bench, transport, count, Some(&stage))?;
            Ok(looks.keep(count, &paced.served, &paced.wrong))
        })?;
        drop(stage);
        bench.progress.end();
        for row in most_rows(transport, (raw, to), served, (&raw_looks, &looks)) {
            bench.add(row);
        }
    }
    Ok(())
}

fn most_rows(
    transport: Transport,
    (raw, to): (Found, u32),
    served: Found,
    (raw_looks, looks): (&Looks, &Looks),
) -> [Row; 2] {
    let what = format!("{transport}: most viewers on one core, of raw's");
    let row = Row::new(format!("most-{}", transport.name()), what, Some(SHARE_PERCENT), "%");
    let row = row.values([100.0 * f64::from(served.holds) / f64::from(raw.holds)]).note(format!(
        "{} viewers, raw {}: no loss and p99 within {P99_MS_MAX:.0} ms, found to one part in {PRECISION}",
        served.holds, raw.holds
    ));
    let bound = looks.why.as_ref().map(|(count, why)| format!("{count} did not hold: {why}"));
    let all = (served.holds == raw.holds)
        .then(|| "the server carries what raw does; it is not tried with more".to_owned());
    let short = (!raw.bounded)
        .then(|| format!("the raw loop carried all that were asked for ({to}): the search is cut short"));
    let row = row.notes(bound).notes(all).notes(short);
    let row = row.notes(raw_looks.busy("raw loop")).notes(looks.busy("server"));
    let name = format!("most-{}-viewers", transport.name());
    let viewers = Row::new(name, format!("{transport}: most viewers on one core"), None, "");
    [row, viewers.values([f64::from(served.holds)])]
}

/// As many as there are open files for: one of the raw loop's receiver, or two over TCP, three of the server's viewer.
fn receivers_max() -> u32 {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let receivers = files.saturating_sub(SPARE_FILES) / FILES_EACH;
    u32::try_from(receivers).unwrap_or(u32::MAX).clamp(1, RECEIVERS_MAX)
}

fn look_at(bench: &Bench, transport: Transport, viewers: u32, stage: Option<&Stage>) -> io::Result<Paced> {
    bench.limit(Key::one(transport, viewers), (1, bench.seconds.min(LOOK_SECONDS_MAX)), stage)
}

/// Two sending threads over one, where there are cores for them; else what one core shows.
pub(super) fn workers(bench: &mut Bench, cores: usize) -> io::Result<()> {
    let row = Row::new("workers", "UDP: two workers over one, CPU-bound", Some(WORKERS), "x");
    if !bench.is_own() {
        bench.add(row.note("only with a server that the suite starts itself"));
        return Ok(());
    }
    let second = (0..cores).find(|core| *core != bench.server_core && *core != bench.tool_core);
    let row = match second {
        Some(second) => {
            let viewers = (bench.counts.most.0 * 8).min(receivers_max());
            let one = with_workers(bench, 1, vec![bench.server_core], viewers)?;
            let two = with_workers(bench, 2, vec![bench.server_core, second], viewers)?;
            let rate = |paced: &Paced| median(&paced.served, |turn| turn.packets_per_second);
            let cores = |paced: &Paced| median(&paced.served, |turn| turn.core_share);
            let row = row.values([rate(&two) / rate(&one)]).note(format!(
                "{viewers} viewers: {} packets/s with one ({:.2} cores), {} with two ({:.2} cores)",
                number(rate(&one)),
                cores(&one),
                number(rate(&two)),
                cores(&two)
            ));
            [one, two].iter().fold(row, |row, paced| bench.of_paced(row, paced))
        }
        None => {
            let viewers = bench.counts.ratio[1];
            let one = with_workers(bench, 1, vec![bench.server_core], viewers)?;
            let two = with_workers(bench, 2, vec![bench.server_core], viewers)?;
            let cpu = |paced: &Paced| number(median(&paced.served, |turn| turn.cpu_us_per_packet));
            row.note(format!("not measurable here: it takes three cores, and this machine has {cores}")).note(
                format!(
                    "on one core, {viewers} viewers: {} µs per packet with one worker, {} with two",
                    cpu(&one),
                    cpu(&two)
                ),
            )
        }
    };
    bench.add(row);
    Ok(())
}

fn with_workers(bench: &Bench, workers: u32, cores: Vec<usize>, viewers: u32) -> io::Result<Paced> {
    let key = Key::one(Transport::Udp, viewers);
    let what = format!("UDP, {viewers} viewers, {workers} workers on {} cores", cores.len());
    bench.progress.begin(&what, bench.paced_seconds(key));
    let stage = bench.stage(&Setup { workers, cores, window: LONG, ..bench.setup(1) })?;
    let paced = bench.limit(key, (bench.rounds, bench.seconds), Some(&stage))?;
    bench.progress.end();
    Ok(paced)
}

#[cfg(test)]
mod tests {
    use slotcast_tools::histogram::Percentiles;

    use super::*;

    #[track_caller]
    fn check(from: u32, to: u32, carries: u32, expected: Found) {
        let mut looks = 0;
        let found = search(from, to, |count| {
            looks += 1;
            assert!(looks < 60 && count <= to && count > 0, "{count}");
            Ok(count <= carries)
        });
        assert_eq!(found.unwrap(), expected);
    }

    #[test]
    fn the_search_goes_up_and_down_and_ends() {
        check(1000, 10_000, 20_000, Found { holds: 10_000, bounded: false });
        check(1000, 10_000, 1, Found { holds: 1, bounded: true });
        check(1000, 10_000, 0, Found { holds: 0, bounded: true });
        check(4, 8, 8, Found { holds: 8, bounded: false });
        check(4000, 4000, 4000, Found { holds: 4000, bounded: false });
    }

    #[test]
    fn what_is_found_is_near_and_held() {
        for carries in [37u32, 999, 1000, 1001, 4711, 9999] {
            let found = search(1000, 10_000, |count| Ok(count <= carries)).unwrap();
            assert!(found.bounded && found.holds <= carries, "{found:?}");
            assert!(carries - found.holds <= carries / PRECISION + 1, "{carries}: {found:?}");
        }
    }

    fn turn(lost: u64, p99: f64, receiver_share: f64) -> Measured {
        let latency_ms = Some(Percentiles { count: 5, p50: 1.0, p90: 1.0, p99, p999: p99, max: p99 });
        Measured { packets: 5, lost, latency_ms, receiver_share, ..Measured::default() }
    }

    #[test]
    fn loss_and_late_packets_do_not_hold() {
        let keeps = |turns: &[Measured], wrong: &[String]| Looks::default().keep(1, turns, wrong);
        let well = turn(0, 100.0, 0.0);
        assert!(keeps(std::slice::from_ref(&well), &[]));
        assert!(!keeps(&[], &[]) && !keeps(&[Measured::default()], &[]));
        assert!(!keeps(&[well.clone(), turn(1, 1.0, 0.0)], &[]) && !keeps(&[turn(0, 101.0, 0.0)], &[]));
        assert!(!keeps(&[well], &["the server refused".to_owned()]));
    }

    #[test]
    fn the_tools_own_limit_is_asked_at_the_count_that_bounds_the_search() {
        let mut looks = Looks::default();
        assert!(!looks.keep(4000, &[turn(9, 1.0, 0.99)], &["lost 9".to_owned()]));
        assert!(!looks.keep(2000, &[turn(0, 150.0, 0.95)], &[]));
        assert!(looks.keep(1000, &[turn(0, 1.0, 0.5)], &[]));
        let busy = looks.busy("server").unwrap();
        assert!(busy.contains("with 2000 viewers") && busy.contains("95 %"), "{busy}");
        let found = |holds| Found { holds, bounded: true };
        let [row, _] =
            most_rows(Transport::Udp, (found(2000), 10_000), found(1000), (&Looks::default(), &looks));
        assert!(
            row.to_string().contains("2000 did not hold: p99 150 ms") && row.to_string().contains(&busy),
            "{row}"
        );
        let mut quiet = Looks::default();
        assert!(quiet.keep(1000, &[turn(0, 1.0, 0.5)], &[]) && quiet.busy("server").is_none());
    }

    #[test]
    fn what_the_tool_cannot_do_is_no_count_of_viewers() {
        let error = search(1000, 1000, |_| Err(io::Error::other("no sockets are left"))).unwrap_err();
        assert_eq!(error.to_string(), "no sockets are left");
    }
}
