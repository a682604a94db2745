//! Joins beside many viewers, the cut-off with everybody watching, more clients than seats.
//!
//! Owns: which tools run at the same time, and the rows that are made of their reports. The tools themselves are
//! `load view`, `load storm` and `load push`.
//! Invariant: what a tool calls wrong is in each row that is made of its report.

use std::{io, time::Duration};

use super::{
    bench::Bench,
    report::{Goal, Row, number, spread},
    stage::{Setup, Stage},
    tool::{Tool, ToolReport},
};
use crate::{storm::StormReport, view::ViewReport};
use slotcast_tools::histogram::Percentiles;

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
/// What the product promises is asked of our own server.
const STRICT: &str = "--strict";
const VIEWERS: &str = "viewers were there";
/// Seats of the two viewers that each storm brings along.
const CONTROLS: u32 = 2;

fn arguments(text: &[(&str, String)]) -> Vec<String> {
    text.iter().flat_map(|(name, value)| [(*name).to_owned(), value.clone()]).collect()
}

/// Seconds that [`join`] takes, about.
pub(super) fn join_seconds(bench: &Bench) -> f64 {
    f64::from(bench.rounds) * join_round(bench) + 2.0
}

fn join_round(bench: &Bench) -> f64 {
    let gather = f64::from(bench.counts.join.0) / f64::from(RAMP);
    2.0 * (gather + 2.0 + bench.seconds as f64 + 1.0) + 1.0
}

/// What the tools saw in one round of joins.
struct Joins {
    /// Those who watch, without joins.
    quiet: ViewReport,
    /// ... while others join.
    busy: ViewReport,
    storm: StormReport,
}

/// Joins onto many viewers: how soon each sees a key frame, and what the others notice.
pub(super) fn join(bench: &mut Bench) -> io::Result<()> {
    let (viewers, joins) = bench.counts.join;
    let mut rounds = Vec::new();
    let stage = bench.stage(&bench.setup(1))?;
    let on_air = (join_seconds(bench) * 1.5) as u64 + 60;
    let mut push = bench.broadcaster(&stage, on_air)?;
    for round in 1..=bench.rounds {
        let what =
            format!("{joins} joins a second onto {viewers} viewers, round {round} of {}", bench.rounds);
        bench.progress.begin(&what, join_round(bench));
        let quiet = watching(bench, &stage, viewers)?.report(&bench.tools, &mut bench.look())?;
        let others = watching(bench, &stage, viewers)?;
        let storm = churn(bench, &stage, joins)?;
        let busy = others.report(&bench.tools, &mut bench.look())?;
        rounds.push(Joins { quiet, busy, storm: only(storm.report(&bench.tools, &mut bench.look())?)? });
        push.expect_at_work()?;
    }
    bench.progress.end();
    drop((push, stage));
    join_rows(&rounds, (viewers, joins)).into_iter().for_each(|row| bench.add(row));
    Ok(())
}

fn join_rows(rounds: &[Joins], (viewers, joins): (u32, u32)) -> [Row; 2] {
    let key = Row::new(
        "join-key",
        format!("{joins} joins/s onto {viewers}: PLAY to a key frame, p99"),
        Some(JOIN_MS),
        "ms",
    );
    let others =
        Row::new("join-others", "... and the others' p99 latency, over that without", Some(MOVED), "x");
    let quiet_p99 = || rounds.iter().map(|round| p99(round.quiet.all.latency_ms));
    let busy_p99 = || rounds.iter().map(|round| p99(round.busy.all.latency_ms));
    let median =
        |values: &mut dyn Iterator<Item = f64>| number(spread(values).map_or(f64::NAN, |of| of.median));
    let ms = format!("{} ms, without {} ms", median(&mut busy_p99()), median(&mut quiet_p99()));
    let rows = [
        key.values(rounds.iter().map(|round| p99(round.storm.play_to_key_ms))),
        others.values(busy_p99().zip(quiet_p99()).map(|(busy, quiet)| busy / quiet)).note(ms),
    ];
    rows.map(|row| {
        rounds.iter().zip(1..).fold(row, |row, (round, number)| {
            let Joins { quiet, busy, storm } = round;
            let said = [quiet.wrong(), busy.wrong(), storm.wrong.clone()].concat();
            let row = row.wrong(in_round(number, said));
            [quiet, busy]
                .iter()
                .fold(row, |row, view| row.there(view.all.connected, viewers.into(), VIEWERS))
                .there(storm.played as u64, storm.clients as u64, "who joined played")
                .there(
                    storm.play_to_key_ms.map_or(0, |ms| ms.count),
                    storm.played as u64,
                    "who played saw a key frame",
                )
        })
    })
}

/// The 99th percentile in milliseconds; not a number where nothing was counted.
fn p99(of: Option<Percentiles>) -> f64 {
    of.map_or(f64::NAN, |ms| ms.p99)
}

fn in_round(round: u32, said: Vec<String>) -> impl Iterator<Item = String> {
    said.into_iter().map(move |what| format!("round {round}: {what}"))
}

/// The report of one storm.
fn only(reports: Vec<StormReport>) -> io::Result<StormReport> {
    let [report] = <[StormReport; 1]>::try_from(reports).map_err(|reports| {
        io::Error::other(format!("load storm wrote {} reports, not one", reports.len()))
    })?;
    Ok(report)
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

/// Rounds of those measurements that need a server of their own each.
fn storm_rounds(bench: &Bench) -> u32 {
    bench.rounds.min(STORM_ROUNDS_MAX)
}

/// Seconds that [`cutoff`] takes, about.
pub(super) fn cutoff_seconds(bench: &Bench) -> f64 {
    f64::from(storm_rounds(bench)) * (window(bench).as_secs_f64() + 1.0)
}

fn window(bench: &Bench) -> Duration {
    if bench.counts.cutoff < RAMP { QUICK_WINDOW } else { WINDOW }
}

/// The end of the window while every seat is taken.
pub(super) fn cutoff(bench: &mut Bench) -> io::Result<()> {
    let seats = bench.counts.cutoff;
    let mut rounds = Vec::new();
    for round in 1..=own_rounds(bench) {
        let what = format!("the cut-off of {seats} viewers, round {round} of {}", storm_rounds(bench));
        bench.progress.begin(&what, window(bench).as_secs_f64() + 1.0);
        let stage = bench.stage(&Setup { seats, window: window(bench), ..bench.setup(1) })?;
        let mut push = bench.broadcaster(&stage, 60)?;
        let mut storm = vec!["cutoff".to_owned(), STRICT.to_owned()];
        storm.extend(arguments(&[
            ("--url", stage.first()),
            ("--seats", seats.to_string()),
            ("--connect-rate", RAMP.to_string()),
            ("--before", "1".to_owned()),
            ("--patience", "60".to_owned()),
            ("--end", stage.end.map(|end| end.to_string()).unwrap_or_default()),
        ]));
        let storm = bench.tools.start("storm", &storm, Duration::from_secs(120))?;
        rounds.push(only(storm.report(&bench.tools, &mut bench.look())?)?);
        push.expect_at_work()?;
    }
    bench.progress.end();
    cutoff_rows(&rounds, seats).into_iter().for_each(|row| bench.add(row));
    Ok(())
}

/// - `rounds`: none where the server is not ours.
fn cutoff_rows(rounds: &[StormReport], seats: u32) -> [Row; 2] {
    let media = Row::new(
        "cutoff-media",
        format!("{seats} viewers: those who get media after the end"),
        Some(Goal::Never),
        "",
    );
    let closed =
        Row::new("cutoff-closed", "... and the last one is closed, after the end", Some(CLOSED_MS), "ms");
    let endings = || rounds.iter().filter_map(|report| report.ending.as_ref());
    let after = endings().filter_map(|end| Some(end.media_after_end? as f64 + end.media_after_bye as f64));
    let rows = [media.values(after), closed.values(endings().filter_map(|end| end.closed_ms_most))];
    rows.map(|row| {
        let row = if rounds.is_empty() { row.note(OWN_ONLY) } else { row };
        rounds.iter().zip(1..).fold(row, |row, (report, round)| {
            let row = row.wrong(in_round(round, report.wrong.clone()));
            let Some(end) = &report.ending else {
                return row.wrong([format!("round {round}: the end was not seen")]);
            };
            let late = end.media_after_end.is_none();
            let late = late.then(|| format!("round {round}: the tool was too late itself to judge"));
            let open = (end.closed < end.watching)
                .then(|| format!("round {round}: of {} viewers {} were closed", end.watching, end.closed));
            row.notes(late).wrong(open).there(end.watching as u64, seats.into(), VIEWERS)
        })
    })
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
    let mut rounds = Vec::new();
    for round in 1..=own_rounds(bench) {
        let what = format!("{clients} clients for {seats} seats, round {round} of {}", storm_rounds(bench));
        bench.progress.begin(&what, seats_seconds(bench) / f64::from(storm_rounds(bench)));
        let stage = bench.stage(&Setup { seats, ..bench.setup(1) })?;
        let mut push = bench.broadcaster(&stage, 180)?;
        let mut storm = vec!["plays".to_owned(), STRICT.to_owned()];
        storm.extend(arguments(&[
            ("--url", stage.first()),
            ("--seats", seats.to_string()),
            ("--clients", clients.to_string()),
            ("--connect-rate", RAMP.to_string()),
            ("--before", "1".to_owned()),
        ]));
        let storm = bench.tools.start("storm", &storm, Duration::from_secs(180))?;
        rounds.push(only(storm.report(&bench.tools, &mut bench.look())?)?);
        push.expect_at_work()?;
    }
    bench.progress.end();
    seats_rows(&rounds, (clients, seats)).into_iter().for_each(|row| bench.add(row));
    Ok(())
}

/// - `rounds`: none where the server is not ours.
fn seats_rows(rounds: &[StormReport], (clients, seats): (u32, u32)) -> [Row; 2] {
    let what = format!("{clients} clients, {seats} seats: over-admitted");
    let over = Row::new("seats-over", what, Some(Goal::Never), "");
    let refusal = Row::new("seats-refusal", "... and the refusal, p99", None, "ms");
    let rows = [
        over.values(rounds.iter().map(|report| report.over_admitted as f64)),
        refusal.values(rounds.iter().map(|report| p99(report.refusal_ms))),
    ];
    rows.map(|row| {
        let row = if rounds.is_empty() { row.note(OWN_ONLY) } else { row };
        rounds.iter().zip(1..).fold(row, |row, (report, round)| {
            let free = u64::from(seats - CONTROLS).saturating_sub(report.played as u64);
            let free = (free > 0).then(|| format!("round {round}: {free} seats stayed free"));
            let failed: usize = report.failed.values().sum();
            let answered = report.clients.saturating_sub(failed) as u64;
            row.wrong(in_round(round, report.wrong.clone())).wrong(free).there(
                answered,
                clients.into(),
                "clients were answered",
            )
        })
    })
}

/// How many rounds there are of what only a server of our own can be asked.
fn own_rounds(bench: &Bench) -> u32 {
    if bench.is_own() { storm_rounds(bench) } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        storm::Ending,
        suite::report::{Report, Standing},
        view::Group,
    };

    /// Each row says `named` as wrong, in the table, the JSON and on the page, and is missed.
    #[track_caller]
    fn check_named(rows: [Row; 2], named: &str) {
        for row in rows {
            assert_eq!(row.standing, Standing::Missed, "{row}");
            assert!(row.to_string().contains("WRONG: ") && row.to_string().contains(named), "{row}");
            let report = Report { rows: vec![row], ..Report::default() };
            let json = serde_json::to_value(&report).unwrap()["rows"][0]["wrong"].to_string();
            assert!(json.contains(named), "{json}");
            let page = crate::suite::html::page(&report).unwrap();
            assert!(page.contains(named) && page.contains("class=\"wrong\""), "{page}");
        }
    }

    #[track_caller]
    fn check_held(rows: [Row; 2]) {
        for row in rows {
            assert!([Standing::Held, Standing::Reported].contains(&row.standing), "{row}");
            assert!(row.wrong.is_empty() && row.value.is_some(), "{row}");
        }
    }

    fn ms(p99: f64) -> Option<Percentiles> {
        Some(Percentiles { count: 1, p50: 1.0, p90: 1.0, p99, p999: p99, max: p99 })
    }

    fn wrong(what: &str) -> Vec<String> {
        vec![what.to_owned()]
    }

    fn joins() -> Joins {
        let all = Group { connected: 500, latency_ms: ms(5.0), ..Group::default() };
        let view = ViewReport { all, ..ViewReport::default() };
        let play_to_key_ms = ms(2.0).map(|ms| Percentiles { count: 100, ..ms });
        let storm = StormReport { clients: 100, played: 100, play_to_key_ms, ..StormReport::default() };
        Joins { quiet: view.clone(), busy: view, storm }
    }

    #[test]
    fn what_is_wrong_beside_the_joins_is_in_both_rows() {
        let rows = |round| join_rows(&[joins(), round], (500, 100));
        check_held(rows(joins()));
        let mut few = joins();
        few.busy.all.connected = 494;
        check_named(rows(few), "only 494 of 500 viewers were there");
        let mut shut_out = joins();
        shut_out.storm.played = 90;
        check_named(rows(shut_out), "only 90 of 100 who joined played");
        let mut blind = joins();
        blind.storm.play_to_key_ms = None;
        check_named(rows(blind), "only 0 of 100 who played saw a key frame");
        let mut lost = joins();
        lost.busy.wrong = wrong("lost: 7 packets");
        check_named(rows(lost), "round 2: lost: 7 packets");
        let mut twice = joins();
        twice.quiet.wrong = wrong("duplicates: 3 packets came twice");
        check_named(rows(twice), "round 2: duplicates: 3 packets came twice");
        let mut storm = joins();
        storm.storm.wrong = wrong("the UDP control viewer lost 7 packets");
        check_named(rows(storm), "round 2: the UDP control viewer lost 7 packets");
    }

    #[test]
    fn a_cut_off_is_judged_by_its_worst_round_and_only_with_all_viewers() {
        let well = |ending: Ending| StormReport { ending: Some(ending), ..StormReport::default() };
        let ending = || Ending {
            watching: 1000,
            told: 1000,
            closed: 1000,
            closed_ms_most: Some(45.0),
            media_after_end: Some(0),
            ..Ending::default()
        };
        let rows = |last: StormReport| cutoff_rows(&[well(ending()), well(ending()), last], 1000);
        check_held(rows(well(ending())));
        let [media, closed] =
            rows(well(Ending { media_after_end: Some(5), closed_ms_most: Some(1500.0), ..ending() }));
        assert_eq!([media.standing, closed.standing], [Standing::Missed; 2], "{media}\n{closed}");
        assert_eq!(media.measured(), "0 (0 to 5)");
        let nobody = well(Ending { watching: 2, closed: 2, ..ending() });
        check_named(rows(nobody), "only 2 of 1000 viewers were there");
        check_named(rows(well(Ending { closed: 998, ..ending() })), "of 1000 viewers 998 were closed");
        check_named(rows(StormReport::default()), "round 3: the end was not seen");
        let after = StormReport { wrong: wrong("media after the end"), ..well(ending()) };
        check_named(rows(after), "round 3: media after the end");
        let [media, _] = rows(well(Ending { media_after_end: None, ..ending() }));
        assert!(media.notes[0].contains("too late itself"), "{media}");
    }

    #[test]
    fn one_viewer_above_the_seats_in_one_round_is_missed() {
        let well =
            || StormReport { clients: 2000, played: 48, refusal_ms: ms(49.0), ..StormReport::default() };
        let rows = |last: StormReport| seats_rows(&[well(), well(), last], (2000, 50));
        check_held(rows(well()));
        let over = StormReport { over_admitted: 1, ..well() };
        assert_eq!(rows(over.clone())[0].standing, Standing::Missed);
        check_named(
            rows(StormReport { wrong: wrong("1 viewers above the seats"), ..over }),
            "above the seats",
        );
        check_named(rows(StormReport { played: 40, ..well() }), "8 seats stayed free");
        let failed = [("no answer".to_owned(), 30)].into();
        check_named(rows(StormReport { failed, ..well() }), "only 1970 of 2000 clients were answered");
    }

    #[test]
    fn what_only_our_own_server_can_be_asked_says_so() {
        for row in cutoff_rows(&[], 1000).into_iter().chain(seats_rows(&[], (2000, 50))) {
            assert_eq!((row.standing, row.notes[0].as_str()), (Standing::NotMeasured, OWN_ONLY));
        }
    }
}
