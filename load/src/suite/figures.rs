//! The figures that are made of paced runs: CPU time and latency over the raw loop's.
//!
//! Invariant: each row says what is wrong with the runs that it is made of, and what makes it less certain.

use std::io;

use super::{
    bench::{Bench, Key, Paced, median, rounds},
    report::{Goal, Row, number},
};
use crate::{
    limit::{Comparison, Spread},
    paced::Transport,
    round::Measured,
};
use slotcast_tools::histogram::Percentiles;

const RATIO: Goal = Goal::AtMost(1.2);
const LATENCY: Goal = Goal::AtMost(1.3);
/// CPU time over the raw loop's that is still good at every count of viewers.
pub(super) const SCALE_MAX: f64 = 1.25;
const SCALE: Goal = Goal::AtMost(SCALE_MAX);
const CHANNELS: Goal = Goal::AtMost(1.3);
const CALLS: Goal = Goal::AtMost(1.05);
const IDLE_P50_MS: Goal = Goal::AtMost(0.3);
const IDLE_P99_MS: Goal = Goal::AtMost(1.0);
/// Packets a second.
pub(super) const SOUND_PER_SECOND: u32 = 47;
/// What of a core is given away: the rest is for the moments.
const CORE_PERCENT: u32 = 70;

/// CPU time per packet over the raw loop's at the usual counts.
pub(super) fn ratio(bench: &mut Bench) -> io::Result<()> {
    for transport in Transport::ALL {
        for viewers in bench.counts.ratio {
            let paced = bench.paced(Key::one(transport, viewers))?;
            let name = format!("ratio-{}-{viewers}", transport.name());
            let what = format!("{transport}, {viewers} viewers: CPU per packet over raw");
            add_cpu(bench, name, what, Some(RATIO), &paced);
        }
    }
    Ok(())
}

/// CPU time over the raw loop's: of the sending threads, and of a server of ours in all.
fn add_cpu(bench: &mut Bench, name: String, what: String, goal: Option<Goal>, paced: &Paced) {
    let row = cpu_row(bench, name.clone(), what.clone(), goal, paced);
    bench.add(row);
    if bench.is_own() {
        let row = Row::new(format!("{name}-process"), format!("{what}, whole process"), goal, "x");
        bench.add(bench.of_paced(row.value(paced.over_raw.map(|over_raw| over_raw.process)), paced));
    }
}

fn cpu_row(bench: &Bench, name: String, what: String, goal: Option<Goal>, paced: &Paced) -> Row {
    let row = Row::new(name, what, goal, "x").value(bench.cpu_ratio(paced));
    let cost = |turns: &[Measured]| number(median(turns, |turn| bench.cpu_us(turn)));
    let cost = row.value.map(|_| format!("{} µs per packet, raw {}", cost(&paced.served), cost(&paced.raw)));
    bench.of_paced_cpu(row.notes(cost), paced)
}

/// Added latency over the raw loop's.
pub(super) fn latency(bench: &mut Bench) -> io::Result<()> {
    for transport in Transport::ALL {
        let paced = bench.paced(Key::one(transport, bench.counts.latency))?;
        let mut add = |at: &str, over_raw: fn(Comparison) -> Spread, of: fn(&Percentiles) -> f64| {
            let name = format!("latency-{}-{at}", transport.name());
            let what = format!("{transport}, {} viewers: latency {at} over raw", paced.key.viewers);
            let row = Row::new(name, what, Some(LATENCY), "x").value(paced.over_raw.map(over_raw));
            let ms = |turns: &[Measured]| number(median(turns, |turn| turn.latency(of)));
            let ms = format!("{} ms, raw {} ms", ms(&paced.served), ms(&paced.raw));
            bench.add(bench.of_paced(row.note(ms), &paced));
        };
        add("p50", |over_raw| over_raw.latency_p50, |ms| ms.p50);
        add("p99", |over_raw| over_raw.latency_p99, |ms| ms.p99);
    }
    Ok(())
}

/// One viewer of a server that has nothing else to do.
pub(super) fn idle(bench: &mut Bench) -> io::Result<()> {
    for transport in Transport::ALL {
        let paced = bench.paced(Key::one(transport, 1))?;
        let mut add = |at: &str, goal, of: fn(&Percentiles) -> f64| {
            let name = format!("idle-{}-{at}", transport.name());
            let what = format!("{transport}, one viewer: latency {at}");
            let row = Row::new(name, what, Some(goal), "ms");
            let row = row.value(rounds(&paced.served, |turn| turn.latency(of)));
            let raw = median(&paced.raw, |turn| turn.latency(of));
            let late = |turn: &Measured| turn.fed_late_ms.as_ref().map_or(f64::NAN, of);
            let late = median(&paced.served, late);
            let note = format!("raw {} ms; published {} ms after it was due", number(raw), number(late));
            bench.add(bench.of_paced(row.note(note), &paced));
        };
        add("p50", IDLE_P50_MS, |ms| ms.p50);
        add("p99", IDLE_P99_MS, |ms| ms.p99);
    }
    Ok(())
}

/// Send calls for each frame of each viewer, over those that its packets' runs need.
pub(super) fn calls(bench: &mut Bench) -> io::Result<()> {
    for transport in Transport::ALL {
        let name = format!("calls-{}", transport.name());
        let what = format!("{transport}: send calls per viewer and frame, over raw");
        let row = Row::new(name, what, Some(CALLS), "x");
        if !bench.is_own() {
            bench.add(row.note("only a server that the suite starts itself is asked for its calls"));
            continue;
        }
        let paced = bench.paced(Key::one(transport, bench.counts.latency))?;
        let served = paced.calls_per_frame.unwrap_or(f64::NAN);
        let raw = median(&paced.raw, |turn| turn.calls_per_frame.unwrap_or(f64::NAN));
        let row = row.values([served / raw]);
        let row =
            row.note(format!("{served:.3} calls a frame; by the runs of its packets raw needs {raw:.3}"));
        bench.add(bench.of_paced(row, &paced));
    }
    Ok(())
}

/// Few and many viewers: the worst of all counts is judged.
pub(super) fn scale(bench: &mut Bench) -> io::Result<()> {
    for transport in Transport::ALL {
        let mut all = Vec::new();
        for &viewers in bench.counts.scale {
            let paced = bench.paced(Key::one(transport, viewers))?;
            all.push((viewers, bench.cpu_ratio(&paced), paced));
        }
        let (from, to) =
            (all.first().map_or(0, |(count, ..)| *count), all.last().map_or(0, |(count, ..)| *count));
        let what = format!("{transport}, {from} to {to} viewers: CPU over raw, the worst");
        let known = || all.iter().filter_map(|(count, cpu, _)| Some((*count, (*cpu)?)));
        let worst = known().max_by(|(_, one), (_, other)| one.median.total_cmp(&other.median));
        let row = Row::new(format!("scale-{}", transport.name()), what, Some(SCALE), "x");
        let row = row.value(worst.map(|(_, cpu)| cpu));
        let each: Vec<String> = known().map(|(count, cpu)| format!("{count}: {:.2}", cpu.median)).collect();
        let row = row.notes((!each.is_empty()).then(|| format!("by viewers {}", each.join(", "))));
        // What is said of a run names its count.
        let said = all.iter().fold(row, |row, (count, _, paced)| {
            let own = bench.of_paced_cpu(Row::new("", "", None, ""), paced);
            row.wrong(own.wrong).notes(own.notes.into_iter().map(|note| format!("{count} viewers: {note}")))
        });
        bench.add(said);
    }
    Ok(())
}

/// Many channels with few viewers each.
pub(super) fn channels(bench: &mut Bench) -> io::Result<()> {
    let (channels, viewers) = bench.counts.channels;
    for transport in Transport::ALL {
        let paced = bench.paced(Key { channels, ..Key::one(transport, viewers) })?;
        let what = format!("{transport}, {channels} channels of {viewers}: CPU per packet over raw");
        let name = format!("channels-{}", transport.name());
        add_cpu(bench, name, what, Some(CHANNELS), &paced);
    }
    Ok(())
}

/// With sound beside the video.
pub(super) fn audio(bench: &mut Bench) -> io::Result<()> {
    let viewers = bench.counts.audio;
    for transport in Transport::ALL {
        let paced = bench.paced(Key { audio: SOUND_PER_SECOND, ..Key::one(transport, viewers) })?;
        let what = format!("{transport}, {viewers} viewers, sound: CPU per packet over raw");
        let row = cpu_row(bench, format!("audio-{}", transport.name()), what, None, &paced);
        let at = |of: fn(&Percentiles) -> f64| number(median(&paced.served, |turn| turn.latency(of)));
        let latency = format!("latency p50 {} ms, p99 {} ms", at(|ms| ms.p50), at(|ms| ms.p99));
        bench.add(row.note(latency));
    }
    Ok(())
}

/// How many viewers a core carries, by bit rate and transport: what an operator sizes a machine by.
pub(super) fn size(bench: &mut Bench) -> io::Result<()> {
    let viewers = bench.counts.audio;
    for transport in Transport::ALL {
        for (kilobits, audio) in size_streams() {
            let paced = bench.paced(Key { kilobits, audio, ..Key::one(transport, viewers) })?;
            let (sound, short) = if audio > 0 { (" and sound", "-sound") } else { ("", "") };
            let name = format!("size-{}-{kilobits}{short}", transport.name());
            let what =
                format!("{transport}, {kilobits} kbit/s{sound}: viewers on {CORE_PERCENT} % of a core");
            // Of a whole second, all threads of the server.
            let each = |turn: &Measured| {
                turn.process_cpu_us_per_packet * turn.packets_per_second / f64::from(viewers)
            };
            let carried = |turn: &Measured| 1e4 * f64::from(CORE_PERCENT) / each(turn);
            let known = bench.cpu_ratio(&paced).is_some();
            let row = Row::new(name, what, None, "viewers");
            let row = row.value(rounds(&paced.served, carried).filter(|_| known));
            let cost = number(median(&paced.served, each));
            let row = row.note(format!("{cost} µs of CPU a second for each of {viewers}"));
            bench.add(bench.of_paced(row, &paced));
        }
    }
    Ok(())
}

/// The streams of [`size`]: kbit/s, packets of sound a second.
pub(super) fn size_streams() -> impl Iterator<Item = (u64, u32)> {
    let silent = [500, 2_000, 8_000].map(|kilobits| (kilobits, 0));
    silent.into_iter().chain([(2_000, SOUND_PER_SECOND)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::{
        bench::tests::{bench, paced},
        report::Standing,
    };

    /// All figures of paced runs, of runs in whose second round the server had `fault`.
    fn all(fault: &dyn Fn(&mut Measured)) -> Vec<Row> {
        let mut bench = bench();
        let counts = bench.counts.clone();
        for transport in Transport::ALL {
            let one = |viewers| Key::one(transport, viewers);
            let viewers = counts.ratio.iter().chain(counts.scale).chain([&counts.latency, &1]);
            let plain = viewers.map(|&viewers| one(viewers));
            let channels = Key { channels: counts.channels.0, ..one(counts.channels.1) };
            let sizes = size_streams().map(|(kilobits, audio)| Key { kilobits, audio, ..one(counts.audio) });
            let keys = plain.chain([channels]).chain(sizes);
            bench.paced.extend(keys.map(|key| paced(key, fault)));
        }
        for measure in [ratio, latency, idle, calls, scale, channels, audio, size] {
            measure(&mut bench).unwrap();
        }
        bench.rows
    }

    #[track_caller]
    fn check_named(fault: &dyn Fn(&mut Measured), named: &str) {
        let rows = all(fault);
        assert_eq!(rows.len(), 34, "of eight figures");
        for row in rows {
            assert_eq!(row.standing, Standing::Missed, "{row}");
            assert!(row.wrong.iter().any(|wrong| wrong.contains(named)), "{row}");
        }
    }

    #[test]
    fn a_server_that_loses_repeats_or_stands_still_in_one_round_holds_no_figure() {
        check_named(&|turn| (turn.packets, turn.lost) = (999, 1), "lost: 1 of 1000 packets");
        check_named(&|turn| turn.duplicates = 7, "duplicates: 7 packets came twice");
        let stall = |turn: &mut Measured| {
            turn.latency_ms = turn.latency_ms.map(|ms| Percentiles { max: 1500.0, ..ms });
        };
        check_named(&stall, "stalled: a packet came 1500 ms after it was due");
    }

    #[test]
    fn a_server_that_does_well_holds_all_of_them_and_what_is_the_tools_is_noted_at_each() {
        let well = all(&|_| {});
        assert!(well.iter().all(|row| [Standing::Held, Standing::Reported].contains(&row.standing)));
        assert!(well.iter().all(|row| row.wrong.is_empty() && row.value.is_some()));
        for row in all(&|turn| (turn.lost, turn.udp_drops, turn.receiver_share) = (3, Some(3), 2.0)) {
            assert!([Standing::Held, Standing::Reported].contains(&row.standing), "{row}");
            let notes = row.notes.join("; ");
            assert!(notes.contains("3 of the server at the tool's sockets"), "{row}");
            assert!(notes.contains("it limits too"), "{row}");
        }
    }
}
