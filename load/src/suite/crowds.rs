//! Joins beside many viewers, the cut-off with everybody watching, more clients than seats.
//!
//! Owns: which tools run at the same time, and what of their reports counts. The tools themselves are `load view`,
//! `load storm` and `load push`.

use std::{io, time::Duration};

use serde_json::Value;

use super::{
    bench::Bench,
    report::{Goal, Row, number},
    stage::{Setup, Stage},
    tool::Tool,
};

const JOIN_MS: Goal = Goal::AtMost(20.0);
const MOVED: Goal = Goal::AtMost(1.1);
const CLOSED_MS: Goal = Goal::EachAtMost(1000.0);
/// How long who joins stays: long enough for a key frame, so short that few more watch than before.
const STAY_MS: u64 = 250;
/// From the start of a storm to its crowd: its own viewers join and watch for a second.
const STORM_LEAD: u64 = 3;
/// Viewers per second while they gather.
const RAMP: u32 = 500;
/// Rounds of a storm, at most: each begins with a server of its own.
const STORM_ROUNDS_MAX: u32 = 3;
/// From the start of a server to the end of its program, where the end is looked at.
const WINDOW: Duration = Duration::from_secs(20);
const QUICK_WINDOW: Duration = Duration::from_secs(9);
/// Seats of the two viewers that each storm brings along.
const CONTROLS: u32 = 2;

/// A number of a report; not one where there is none.
fn at(report: &Value, place: &str) -> f64 {
    report.pointer(place).and_then(Value::as_f64).unwrap_or(f64::NAN)
}

fn arguments(text: &[(&str, String)]) -> Vec<String> {
    text.iter().flat_map(|(name, value)| [(*name).to_owned(), value.clone()]).collect()
}

/// Seconds that [`join`] takes, about.
pub(super) fn join_seconds(bench: &Bench) -> f64 {
    f64::from(bench.rounds) * join_round(bench) + 5.0
}

fn join_round(bench: &Bench) -> f64 {
    let gather = f64::from(bench.counts.join.0) / f64::from(RAMP);
    2.0 * (gather + 2.0 + bench.seconds as f64 + 1.0) + 4.0
}

/// Joins onto many viewers: how soon each sees a key frame, and what the others notice.
pub(super) fn join(bench: &mut Bench) -> io::Result<()> {
    let (viewers, joins) = bench.counts.join;
    let (mut key, mut moved, mut notes) = (Vec::new(), Vec::new(), Vec::new());
    let (mut quiet_p99, mut busy_p99) = (Vec::new(), Vec::new());
    let stage = bench.stage(&bench.setup(1))?;
    let on_air = (join_seconds(bench) * 1.5) as u64 + 60;
    let push = bench.broadcaster(&stage, on_air)?;
    for round in 1..=bench.rounds {
        let what =
            format!("{joins} joins a second onto {viewers} viewers, round {round} of {}", bench.rounds);
        bench.progress.begin(&what, join_round(bench));
        let quiet: Value = watching(bench, &stage, viewers)?.report(&bench.tools, &mut bench.look())?;
        let others = watching(bench, &stage, viewers)?;
        let storm = churn(bench, &stage, joins)?;
        let busy: Value = others.report(&bench.tools, &mut bench.look())?;
        let storm: Value = storm.report(&bench.tools, &mut bench.look())?;
        let p99 = "/all/latency_ms/p99";
        quiet_p99.push(at(&quiet, p99));
        busy_p99.push(at(&busy, p99));
        moved.push(at(&busy, p99) / at(&quiet, p99));
        key.push(at(&storm, "/0/play_to_key_ms/p99"));
        notes.extend(join_notes(&quiet, &busy, &storm, viewers, round));
    }
    bench.progress.end();
    drop((push, stage));
    let row = Row::new(
        "join-key",
        format!("{joins} joins/s onto {viewers}: PLAY to a key frame, p99"),
        Some(JOIN_MS),
        "ms",
    );
    bench.add(row.values(key).notes(notes));
    let of = |values: Vec<f64>| super::report::spread(values).map_or(f64::NAN, |spread| spread.median);
    let row = Row::new("join-others", "... and the others' p99 latency, over that without", Some(MOVED), "x");
    let ms = format!("{} ms, without {} ms", number(of(busy_p99)), number(of(quiet_p99)));
    bench.add(row.values(moved).note(ms));
    Ok(())
}

fn watching(bench: &Bench, stage: &Stage, viewers: u32) -> io::Result<Tool> {
    let mut view = vec![stage.first()];
    view.extend(arguments(&[
        ("--viewers", viewers.to_string()),
        ("--udp-percent", "50".to_owned()),
        ("--ramp", RAMP.to_string()),
        ("--seconds", bench.seconds.to_string()),
        ("--core", bench.tool_core.to_string()),
    ]));
    let at_most = Duration::from_secs(u64::from(viewers / RAMP) + bench.seconds + 60);
    bench.tools.start("view", &view, at_most)
}

fn churn(bench: &Bench, stage: &Stage, joins: u32) -> io::Result<Tool> {
    let mut storm = vec!["churn".to_owned()];
    storm.extend(arguments(&[
        ("--url", stage.first()),
        ("--seats", "100000".to_owned()),
        ("--joins", joins.to_string()),
        ("--seconds", (bench.seconds + 1).to_string()),
        ("--stay", STAY_MS.to_string()),
        ("--before", "1".to_owned()),
    ]));
    bench.tools.start("storm", &storm, Duration::from_secs(bench.seconds + 90))
}

fn join_notes(quiet: &Value, busy: &Value, storm: &Value, viewers: u32, round: u32) -> Vec<String> {
    let mut notes = Vec::new();
    let mut say = |what: String| notes.push(format!("round {round}: {what}"));
    for report in [quiet, busy] {
        let (connected, lost) = (at(report, "/all/connected"), at(report, "/all/lost"));
        if connected < f64::from(viewers) {
            say(format!("only {connected} of {viewers} viewers were there"));
        }
        if lost > 0.0 {
            say(format!("{lost} packets were lost, {} at the tool's sockets", at(report, "/tool/udp_drops")));
        }
    }
    let (clients, played) = (at(storm, "/0/clients"), at(storm, "/0/played"));
    if played < clients {
        say(format!("of {clients} who joined only {played} played"));
    }
    notes
}

/// Rounds of those measurements that need a server of their own each.
fn storm_rounds(bench: &Bench) -> u32 {
    bench.rounds.min(STORM_ROUNDS_MAX)
}

/// Seconds that [`cutoff`] takes, about.
pub(super) fn cutoff_seconds(bench: &Bench) -> f64 {
    f64::from(storm_rounds(bench)) * (window(bench).as_secs_f64() + 5.0)
}

fn window(bench: &Bench) -> Duration {
    if bench.counts.cutoff < RAMP { QUICK_WINDOW } else { WINDOW }
}

/// The end of the window while every seat is taken.
pub(super) fn cutoff(bench: &mut Bench) -> io::Result<()> {
    let seats = bench.counts.cutoff;
    let media = Row::new(
        "cutoff-media",
        format!("{seats} viewers: those who get media after the end"),
        Some(Goal::Never),
        "",
    );
    let closed =
        Row::new("cutoff-closed", "... and the last one is closed, after the end", Some(CLOSED_MS), "ms");
    if !bench.is_own() {
        bench.add(media.note(OWN_ONLY));
        bench.add(closed.note(OWN_ONLY));
        return Ok(());
    }
    let (mut after, mut closed_ms) = (Vec::new(), Vec::new());
    let (mut there, mut wrong) = (Vec::new(), Vec::new());
    for round in 1..=storm_rounds(bench) {
        let what = format!("the cut-off of {seats} viewers, round {round} of {}", storm_rounds(bench));
        bench.progress.begin(&what, window(bench).as_secs_f64() + 5.0);
        let stage = bench.stage(&Setup { seats, window: window(bench), ..bench.setup(1) })?;
        let push = bench.broadcaster(&stage, 60)?;
        let mut storm = vec!["cutoff".to_owned()];
        storm.extend(arguments(&[
            ("--url", stage.first()),
            ("--seats", seats.to_string()),
            ("--connect-rate", RAMP.to_string()),
            ("--before", "1".to_owned()),
            ("--patience", "60".to_owned()),
            ("--end", stage.end.map(|end| end.to_string()).unwrap_or_default()),
        ]));
        let storm = bench.tools.start("storm", &storm, Duration::from_secs(120))?;
        let report: Value = storm.report(&bench.tools, &mut bench.look())?;
        drop(push);
        after.push(at(&report, "/0/ending/media_after_end") + at(&report, "/0/ending/media_after_bye"));
        closed_ms.push(at(&report, "/0/ending/closed_ms_most"));
        let count = |place| at(&report, place);
        let (watching, closed) = (count("/0/ending/watching"), count("/0/ending/closed"));
        there.push(watching as u64);
        if closed < watching {
            wrong.push(format!("round {round}: of {watching} viewers {closed} were closed"));
        }
    }
    bench.progress.end();
    let counted = |row: Row| there.iter().fold(row, |row, there| row.viewers(*there, seats.into()));
    bench.add(counted(media.values(after)));
    let closed = counted(closed.values(closed_ms));
    bench.add(closed.wrong(wrong));
    Ok(())
}

/// Why a figure is not there.
pub(super) const OWN_ONLY: &str = "only with a server that the suite starts itself";

/// Seconds that [`seats`] takes, about.
pub(super) fn seats_seconds(bench: &Bench) -> f64 {
    let gather = f64::from(bench.counts.plays.0) / f64::from(RAMP);
    f64::from(storm_rounds(bench)) * (gather + STORM_LEAD as f64 + 6.0)
}

/// Many clients ask for few seats at one moment.
pub(super) fn seats(bench: &mut Bench) -> io::Result<()> {
    let (clients, seats) = bench.counts.plays;
    let over = Row::new(
        "seats-over",
        format!("{clients} clients, {seats} seats: over-admitted"),
        Some(Goal::Never),
        "",
    );
    let refusal = Row::new("seats-refusal", "... and the refusal, p99", None, "ms");
    if !bench.is_own() {
        bench.add(over.note(OWN_ONLY));
        bench.add(refusal.note(OWN_ONLY));
        return Ok(());
    }
    let (mut over_admitted, mut refusal_ms, mut wrong) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=storm_rounds(bench) {
        let what = format!("{clients} clients for {seats} seats, round {round} of {}", storm_rounds(bench));
        bench.progress.begin(&what, seats_seconds(bench) / f64::from(storm_rounds(bench)));
        let stage = bench.stage(&Setup { seats, ..bench.setup(1) })?;
        let push = bench.broadcaster(&stage, 180)?;
        let mut storm = vec!["plays".to_owned()];
        storm.extend(arguments(&[
            ("--url", stage.first()),
            ("--seats", seats.to_string()),
            ("--clients", clients.to_string()),
            ("--connect-rate", RAMP.to_string()),
            ("--before", "1".to_owned()),
        ]));
        let storm = bench.tools.start("storm", &storm, Duration::from_secs(180))?;
        let report: Value = storm.report(&bench.tools, &mut bench.look())?;
        drop(push);
        over_admitted.push(at(&report, "/0/over_admitted"));
        refusal_ms.push(at(&report, "/0/refusal_ms/p99"));
        let free = f64::from(seats - CONTROLS) - at(&report, "/0/played");
        if free > 0.0 {
            wrong.push(format!("round {round}: {free} seats stayed free"));
        }
        let without = at(&report, "/0/packets_without_seat");
        if without > 0.0 {
            wrong.push(format!("round {round}: {without} packets to clients who were refused"));
        }
    }
    bench.progress.end();
    let over = over.values(over_admitted);
    bench.add(over.wrong(wrong));
    bench.add(refusal.values(refusal_ms));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_wrong_beside_the_joins_is_noted() {
        let view = |connected, lost| serde_json::json!({"all": {"connected": connected, "lost": lost}, "tool": {"udp_drops": 3}});
        let storm = |played| serde_json::json!([{"clients": 10, "played": played}]);
        assert!(join_notes(&view(5, 0), &view(5, 0), &storm(10), 5, 1).is_empty());
        let notes = join_notes(&view(4, 0), &view(5, 7), &storm(9), 5, 2);
        assert_eq!(notes.len(), 3, "{notes:?}");
        assert!(notes.iter().all(|note| note.starts_with("round 2: ")));
        assert!(notes[1].contains("7 packets") && notes[1].contains("3 at the tool's"));
    }

    #[test]
    fn a_number_that_is_not_there_is_none() {
        let report = serde_json::json!([{"a": {"b": 2}}]);
        assert!((at(&report, "/0/a/b") - 2.0).abs() < f64::EPSILON);
        assert!(at(&report, "/0/a/c").is_nan() && at(&report, "/1").is_nan());
    }
}
