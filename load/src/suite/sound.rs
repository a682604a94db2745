//! What sound beside the pictures costs over TCP, and how late it comes.
//!
//! Owns: the rows that are made of two paced runs, one with sound and one without.
//! Invariant: pictures are compared with pictures: the latency of each track is counted apart.

use std::io;

use super::{
    bench::{Bench, Key, Paced, median, rounds},
    figures::SOUND_PER_SECOND,
    report::{Goal, Row, number},
};
use crate::{limit::Spread, paced::Transport, round::Measured};
use slotcast_tools::histogram::Percentiles;

const COST: Goal = Goal::AtMost(1.35);
const MOVED: Goal = Goal::AtMost(1.1);
const LATER_MS: Goal = Goal::AtMost(25.0);

/// The runs: without sound and with it.
pub(super) const fn keys(bench: &Bench) -> [Key; 2] {
    let silent = Key::one(Transport::Tcp, bench.counts.sound);
    [silent, Key { audio: SOUND_PER_SECOND, ..silent }]
}

/// CPU time and latency with sound over those without.
pub(super) fn sound(bench: &mut Bench) -> io::Result<()> {
    let [silent, sounding] = keys(bench);
    let (silent, sounding) = (bench.paced(silent)?, bench.paced(sounding)?);
    for row in rows(bench, &silent, &sounding) {
        let gather = bench.gather.map(|ms| format!("sound may wait for a picture for {ms} ms"));
        bench.add(row.notes(gather));
    }
    Ok(())
}

fn rows(bench: &Bench, silent: &Paced, sounding: &Paced) -> [Row; 4] {
    let viewers = silent.key.viewers;
    let said = |row: Row| bench.of_paced(bench.of_paced(row, silent), sounding);
    let cost = Row::new(
        "sound-cpu",
        format!("TCP, {viewers} viewers: CPU of each, with sound over without"),
        Some(COST),
        "x",
    );
    let both = |of: &dyn Fn(&Measured) -> f64| [silent, sounding].map(|paced| rounds(&paced.served, of));
    let each = both(&|turn| turn.process_cpu_us_per_packet * turn.packets_per_second / f64::from(viewers));
    let known = bench.cpu_ratio(silent).is_some();
    let micros = each.map(|each| each.map_or(f64::NAN, |each| each.median)).map(number);
    let raw = [silent, sounding]
        .map(|paced| median(&paced.raw, |turn| turn.process_cpu_us_per_packet * turn.packets_per_second));
    let note = format!(
        "{} µs of CPU a second for each with sound, {} without; the raw loop, which sends each by itself, {}x",
        micros[1],
        micros[0],
        number(raw[1] / raw[0])
    );
    let cost = cost.value(over(each).filter(|_| known)).notes(known.then_some(note));
    let picture = |at: &str, of: fn(&Percentiles) -> f64| {
        let of = move |turn: &Measured| turn.picture_ms.as_ref().map_or(f64::NAN, of);
        let ms = both(&of);
        let row = Row::new(
            format!("sound-picture-{at}"),
            format!("... and the picture's latency {at}, with sound over without"),
            Some(MOVED),
            "x",
        );
        let shown = ms.map(|ms| ms.map_or(f64::NAN, |ms| ms.median)).map(number);
        row.value(over(ms)).note(format!("{} ms with sound, {} ms without", shown[1], shown[0]))
    };
    let p99 = |ms: &Option<Percentiles>| ms.map_or(f64::NAN, |ms| ms.p99);
    let later = Row::new("sound-later", "... and the sound's p99 after the picture's", Some(LATER_MS), "ms");
    let later = later.value(rounds(&sounding.served, |turn| p99(&turn.sound_ms) - p99(&turn.picture_ms)));
    let at = |of: fn(&Percentiles) -> f64| {
        number(median(&sounding.served, |turn| turn.sound_ms.as_ref().map_or(f64::NAN, of)))
    };
    let later = later.note(format!("sound p50 {} ms, p99 {} ms", at(|ms| ms.p50), at(|ms| ms.p99)));
    [cost, picture("p50", |ms| ms.p50), picture("p99", |ms| ms.p99), later].map(said)
}

/// Medians of two measurements, the second over the first, with the least and the most that their rounds allow.
fn over([without, with]: [Option<Spread>; 2]) -> Option<Spread> {
    let (without, with) = (without?, with?);
    Some(Spread {
        median: with.median / without.median,
        least: with.least / without.most,
        most: with.most / without.least,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::{
        bench::tests::{bench, paced},
        report::Standing,
    };

    fn ms(p99: f64) -> Option<Percentiles> {
        Some(Percentiles { count: 1, p50: 1.0, p90: 1.0, p99, p999: p99, max: p99 })
    }

    fn run(bench: &Bench, cpu: f64, picture: f64, sound: Option<f64>) -> Paced {
        let [silent, sounding] = keys(bench);
        let mut paced = paced(if sound.is_some() { sounding } else { silent }, &|_| {});
        for turn in &mut paced.served {
            turn.process_cpu_us_per_packet = cpu;
            (turn.picture_ms, turn.sound_ms) = (ms(picture), sound.and_then(ms));
        }
        paced
    }

    #[test]
    fn cost_and_latency_are_compared_track_by_track() {
        let bench = bench();
        let without = run(&bench, 1.0, 4.0, None);
        let standings = |rows: [Row; 4]| rows.map(|row| row.standing);
        let well = rows(&bench, &without, &run(&bench, 1.3, 4.0, Some(20.0)));
        let values = well.each_ref().map(|row| row.value.unwrap().median);
        assert_eq!(values, [1.3, 1.0, 1.0, 16.0]);
        assert_eq!(standings(well), [Standing::Held; 4]);
        let dear = rows(&bench, &without, &run(&bench, 2.0, 4.0, Some(20.0)));
        assert_eq!(standings(dear), [Standing::Missed, Standing::Held, Standing::Held, Standing::Held]);
        // The picture itself waits for its sound: the sound is no later than it, and the picture is.
        let late = rows(&bench, &without, &run(&bench, 1.3, 24.0, Some(26.0)));
        assert_eq!(standings(late), [Standing::Held, Standing::Held, Standing::Missed, Standing::Held]);
        let waits = rows(&bench, &without, &run(&bench, 1.3, 4.0, Some(40.0)));
        assert_eq!(standings(waits), [Standing::Held, Standing::Held, Standing::Held, Standing::Missed]);
    }
}
