//! The most viewers on one core, and what a second core brings.
//!
//! Owns: the search. A count holds when nothing is lost and 99 of 100 packets are there within [`P99_MS_MAX`].

use std::io;

use rustix::process::{Resource, getrlimit};

use super::{
    bench::{BOTH, Bench, Key, Paced, Turn, lower, median, upper},
    report::{Goal, Row, number},
    stage::{LONG, Setup, Stage},
};
use crate::paced::Transport;

const SHARE_PERCENT: Goal = Goal::AtLeast(85.0);
const WORKERS: Goal = Goal::AtLeast(1.7);
const P99_MS_MAX: f64 = 100.0;
/// The search ends when it knows the count to one part in so many.
const PRECISION: u32 = 24;
/// Seconds of one look at a count, at most.
const LOOK_SECONDS_MAX: u64 = 3;
/// The tools' receiving thread was busier than this: it may be what limited.
const BUSY: f64 = 0.85;
/// Most receivers that the tool takes.
const RECEIVERS_MAX: u32 = 10_000;
/// Open files of the tool for each, and besides.
const FILES_EACH: u64 = 4;
const SPARE_FILES: u64 = 256;
/// Seconds of a look besides its turns, about.
const AROUND_SECONDS: f64 = 8.0;

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

fn is_good(turns: &[Turn]) -> bool {
    let well = |turn: &Turn| turn.packets > 0 && turn.lost == 0 && turn.latency.p99 <= P99_MS_MAX;
    !turns.is_empty() && turns.iter().all(well)
}

/// Seconds that [`most`] takes, about.
pub(super) fn most_seconds(bench: &Bench) -> f64 {
    2.0 * 2.0 * search_seconds(bench)
}

/// ... one of its searches.
fn search_seconds(bench: &Bench) -> f64 {
    let (from, to) = bench.counts.most;
    let looks = 1.0 + (f64::from(to) / f64::from(from)).log2() + f64::from(PRECISION.min(from)).log2();
    // About half of the later ones are looked at twice.
    1.5 * looks * (bench.seconds.min(LOOK_SECONDS_MAX) as f64 + AROUND_SECONDS)
}

/// The most viewers of the raw loop and of the server.
pub(super) fn most(bench: &mut Bench) -> io::Result<()> {
    for transport in BOTH {
        let name = upper(transport);
        let (from, asked) = bench.counts.most;
        let to = asked.min(receivers_max());
        bench.progress.begin(&format!("{name}: the most viewers of the raw loop"), search_seconds(bench));
        let (mut raw_busy, mut busy) = (0.0, 0.0);
        let raw = search(from, to, |count| {
            let paced = look_at(bench, transport, count, None)?;
            Ok(keep(&paced.raw, &mut raw_busy))
        })?;
        bench.progress.begin(&format!("{name}: the most viewers of the server"), search_seconds(bench));
        let stage = bench.stage(&bench.setup(1))?;
        let served = search(raw.holds.max(1), raw.holds.max(1), |count| {
            // A server that refuses or loses viewers does not carry them.
            let paced = look_at(bench, transport, count, Some(&stage));
            bench.tools.go_on()?;
            Ok(paced.is_ok_and(|paced| keep(&paced.served, &mut busy)))
        })?;
        drop(stage);
        bench.progress.end();
        let percent = 100.0 * f64::from(served.holds) / f64::from(raw.holds);
        let row = Row::new(
            format!("most-{}", lower(transport)),
            format!("{name}: most viewers on one core, of raw's"),
            Some(SHARE_PERCENT),
            "%",
        );
        let mut row = row.values([percent]);
        row = row.note(format!(
            "{} viewers, raw {}: no loss and p99 within {P99_MS_MAX:.0} ms, found to one part in {PRECISION}",
            served.holds, raw.holds
        ));
        if served.holds == raw.holds {
            row = row.note("the server carries what raw does; it is not tried with more");
        }
        if !raw.bounded {
            row = row.note(format!(
                "the raw loop carried all that were asked for ({to}): the search is cut short"
            ));
        }
        if busy.max(raw_busy) > BUSY {
            let busy = 100.0 * busy.max(raw_busy);
            row =
                row.note(format!("the tool's receiving thread used {busy:.0} % of its core: it limits too"));
        }
        let name = format!("most-{}-viewers", lower(transport));
        let viewers = Row::new(name, format!("{}: most viewers on one core", upper(transport)), None, "");
        bench.add(row);
        bench.add(viewers.values([f64::from(served.holds)]));
    }
    Ok(())
}

/// As many as there are open files for: one of the raw loop's receiver, or two over TCP, three of the server's viewer.
fn receivers_max() -> u32 {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let receivers = files.saturating_sub(SPARE_FILES) / FILES_EACH;
    u32::try_from(receivers).unwrap_or(u32::MAX).clamp(1, RECEIVERS_MAX)
}

/// Whether it holds; then the share of its core that the receiving thread used is kept.
fn keep(turns: &[Turn], busy: &mut f64) -> bool {
    let good = is_good(turns);
    if good {
        *busy = f64::max(*busy, median(turns, |turn| turn.receiver_share));
    }
    good
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
            let busy = median(&two.served, |turn| turn.receiver_share);
            let limited =
                (busy > BUSY).then(|| format!("the receiving thread used {:.0} % of its core", 100.0 * busy));
            row.notes(limited)
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

    #[test]
    fn loss_and_late_packets_do_not_hold() {
        let well = Turn { packets: 5, ..Turn::default() };
        assert!(is_good(std::slice::from_ref(&well)) && !is_good(&[]) && !is_good(&[Turn::default()]));
        assert!(!is_good(&[well.clone(), Turn { lost: 1, ..well.clone() }]));
        let mut late = well;
        late.latency.p99 = 101.0;
        assert!(!is_good(&[late]));
    }
}
