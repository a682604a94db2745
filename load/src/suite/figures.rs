//! The figures that are made of paced runs: CPU time and latency over the raw loop's.

use std::io;

use super::{
    bench::{BOTH, Bench, Key, Paced, lower, median, rounds, upper},
    report::{Goal, Row, number},
};
use crate::limit::Spread;

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
const SOUND_PER_SECOND: u32 = 47;
/// What of a core is given away: the rest is for the moments.
const CORE_PERCENT: u32 = 70;

/// CPU time per packet over the raw loop's at the usual counts.
pub(super) fn ratio(bench: &mut Bench) -> io::Result<()> {
    for transport in BOTH {
        for viewers in bench.counts.ratio {
            let paced = bench.paced(Key::one(transport, viewers))?;
            let name = format!("ratio-{}-{viewers}", lower(transport));
            let what = format!("{}, {viewers} viewers: CPU per packet over raw", upper(transport));
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
        bench.add(row.value(Some(paced.over_raw.process)));
    }
}

fn cpu_row(bench: &Bench, name: String, what: String, goal: Option<Goal>, paced: &Paced) -> Row {
    let row = Row::new(name, what, goal, "x").value(bench.cpu_ratio(paced));
    let own = |of: fn(&super::bench::Turn) -> f64| (median(&paced.served, of), median(&paced.raw, of));
    let (served, raw) = match bench.is_own() {
        true => own(|turn| turn.cpu_us_per_packet),
        false => own(|turn| turn.process_cpu_us_per_packet),
    };
    let row = match row.value {
        Some(_) => row.note(format!("{} µs per packet, raw {}", number(served), number(raw))),
        None => row,
    };
    row.notes(bench.notes(paced))
}

/// Added latency over the raw loop's.
pub(super) fn latency(bench: &mut Bench) -> io::Result<()> {
    for transport in BOTH {
        let paced = bench.paced(Key::one(transport, bench.counts.latency))?;
        let mut add = |at: &str, over_raw: Spread, served: f64, raw: f64| {
            let name = format!("latency-{}-{at}", lower(transport));
            let what = format!("{}, {} viewers: latency {at} over raw", upper(transport), paced.key.viewers);
            let row = Row::new(name, what, Some(LATENCY), "x").value(Some(over_raw));
            bench.add(row.note(format!("{} ms, raw {} ms", number(served), number(raw))));
        };
        let both = |of: fn(&super::bench::Turn) -> f64| (median(&paced.served, of), median(&paced.raw, of));
        let (served, raw) = both(|turn| turn.latency.p50);
        add("p50", paced.over_raw.latency_p50, served, raw);
        let (served, raw) = both(|turn| turn.latency.p99);
        add("p99", paced.over_raw.latency_p99, served, raw);
    }
    Ok(())
}

/// One viewer of a server that has nothing else to do.
pub(super) fn idle(bench: &mut Bench) -> io::Result<()> {
    for transport in BOTH {
        let paced = bench.paced(Key::one(transport, 1))?;
        let mut add = |at: &str, goal, of: fn(&super::bench::Turn) -> f64| {
            let name = format!("idle-{}-{at}", lower(transport));
            let row =
                Row::new(name, format!("{}, one viewer: latency {at}", upper(transport)), Some(goal), "ms");
            let row = row.value(rounds(&paced.served, of));
            bench.add(row.note(format!("raw {} ms", number(median(&paced.raw, of)))));
        };
        add("p50", IDLE_P50_MS, |turn| turn.latency.p50);
        add("p99", IDLE_P99_MS, |turn| turn.latency.p99);
    }
    Ok(())
}

/// Send calls for each frame of each viewer, over those that its packets' runs need.
pub(super) fn calls(bench: &mut Bench) -> io::Result<()> {
    for transport in BOTH {
        let name = format!("calls-{}", lower(transport));
        let what = format!("{}: send calls per viewer and frame, over raw", upper(transport));
        let row = Row::new(name, what, Some(CALLS), "x");
        if !bench.is_own() {
            bench.add(row.note("only a server that the suite starts itself is asked for its calls"));
            continue;
        }
        let paced = bench.paced(Key::one(transport, bench.counts.latency))?;
        let served = paced.calls_per_frame.unwrap_or(f64::NAN);
        let raw = median(&paced.raw, |turn| turn.calls_per_frame.unwrap_or(f64::NAN));
        let row = row.values([served / raw]);
        bench.add(
            row.note(format!("{served:.3} calls a frame; by the runs of its packets raw needs {raw:.3}")),
        );
    }
    Ok(())
}

/// Few and many viewers: the worst of all counts is judged.
pub(super) fn scale(bench: &mut Bench) -> io::Result<()> {
    for transport in BOTH {
        let mut all = Vec::new();
        for &viewers in bench.counts.scale {
            let paced = bench.paced(Key::one(transport, viewers))?;
            all.push((viewers, bench.cpu_ratio(&paced), bench.notes(&paced)));
        }
        let (from, to) =
            (all.first().map_or(0, |(count, ..)| *count), all.last().map_or(0, |(count, ..)| *count));
        let what = format!("{}, {from} to {to} viewers: CPU over raw, the worst", upper(transport));
        let known = || all.iter().filter_map(|(count, cpu, _)| Some((*count, (*cpu)?)));
        let worst = known().max_by(|(_, one), (_, other)| one.median.total_cmp(&other.median));
        let row = Row::new(format!("scale-{}", lower(transport)), what, Some(SCALE), "x");
        let mut row = row.value(worst.map(|(_, cpu)| cpu));
        let each: Vec<String> = known().map(|(count, cpu)| format!("{count}: {:.2}", cpu.median)).collect();
        if !each.is_empty() {
            row = row.note(format!("by viewers {}", each.join(", ")));
        }
        let noted = all.into_iter().flat_map(|(count, _, notes)| {
            notes.into_iter().map(move |note| format!("{count} viewers: {note}"))
        });
        bench.add(row.notes(noted));
    }
    Ok(())
}

/// Many channels with few viewers each.
pub(super) fn channels(bench: &mut Bench) -> io::Result<()> {
    let (channels, viewers) = bench.counts.channels;
    for transport in BOTH {
        let paced = bench.paced(Key { channels, ..Key::one(transport, viewers) })?;
        let what = format!("{}, {channels} channels of {viewers}: CPU per packet over raw", upper(transport));
        let name = format!("channels-{}", lower(transport));
        add_cpu(bench, name, what, Some(CHANNELS), &paced);
    }
    Ok(())
}

/// With sound beside the video.
pub(super) fn audio(bench: &mut Bench) -> io::Result<()> {
    let viewers = bench.counts.audio;
    for transport in BOTH {
        let paced = bench.paced(Key { audio: SOUND_PER_SECOND, ..Key::one(transport, viewers) })?;
        let what = format!("{}, {viewers} viewers, sound: CPU per packet over raw", upper(transport));
        let row = cpu_row(bench, format!("audio-{}", lower(transport)), what, None, &paced);
        let at = |of: fn(&super::bench::Turn) -> f64| number(median(&paced.served, of));
        let latency = format!("latency p50 {} ms, p99 {} ms", at(|t| t.latency.p50), at(|t| t.latency.p99));
        bench.add(row.note(latency));
    }
    Ok(())
}

/// How many viewers a core carries, by bit rate and transport: what an operator sizes a machine by.
pub(super) fn size(bench: &mut Bench) -> io::Result<()> {
    let viewers = bench.counts.audio;
    for transport in BOTH {
        for (kilobits, audio) in size_streams() {
            let paced = bench.paced(Key { kilobits, audio, ..Key::one(transport, viewers) })?;
            let sound = if audio > 0 { " and sound" } else { "" };
            let name =
                format!("size-{}-{kilobits}{}", lower(transport), if audio > 0 { "-sound" } else { "" });
            let what = format!(
                "{}, {kilobits} kbit/s{sound}: viewers on {CORE_PERCENT} % of a core",
                upper(transport)
            );
            // Of a whole second, all threads of the server.
            let each = |turn: &super::bench::Turn| {
                turn.process_cpu_us_per_packet * turn.packets_per_second / f64::from(viewers)
            };
            let carried = |turn: &super::bench::Turn| 1e4 * f64::from(CORE_PERCENT) / each(turn);
            let known = bench.cpu_ratio(&paced).is_some();
            let row =
                Row::new(name, what, None, "viewers").value(rounds(&paced.served, carried).filter(|_| known));
            let cost = number(median(&paced.served, each));
            bench.add(row.note(format!("{cost} µs of CPU a second for each of {viewers}")));
        }
    }
    Ok(())
}

/// The streams of [`size`]: kbit/s, packets of sound a second.
pub(super) fn size_streams() -> impl Iterator<Item = (u64, u32)> {
    let silent = [500, 2_000, 8_000].map(|kilobits| (kilobits, 0));
    silent.into_iter().chain([(2_000, SOUND_PER_SECOND)])
}
