//! The storms themselves.
//!
//! Invariant: each is bounded in clients and time. Beside each a control viewer over UDP and one over TCP watch, from
//! [`Args::before`] on before it begins; they take two of the seats.

use std::{
    io,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use slotcast_core::time::WallTime;
use slotcast_net::{clock, clock::monotonic_nanos};
use slotcast_tools::{
    histogram::{Histogram, Percentiles},
    target::Target,
    watch::{CrowdConfig, Leave, Outcome, Plan, Reading, Seen, Watch, WatchReport},
};

use super::{
    Args, idle,
    report::{Ending, Kind, StormReport},
};

/// Seats of the control viewers.
pub(super) const CONTROLS: usize = 2;
/// A client's patience with one response: longer than a server lets PLAY wait.
const RESPONSE_MAX: Duration = Duration::from_secs(60);
/// How long control viewers may take to play.
const CONTROL_MAX: Duration = Duration::from_secs(15);
/// From a control viewer's start until it is surely at the head of the stream.
const CAUGHT_UP: Duration = Duration::from_millis(1500);
/// How long all may take to be answered.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// From the decision to the common moment, so that every thread knows of it.
const RELEASE_IN: Duration = Duration::from_millis(100);
/// How long those who were admitted watch, so that all of them get media at one time.
const WATCH: Duration = Duration::from_secs(3);
/// What was sent before the end may be read so much later, and later still by as much as our own threads were late.
const GRACE: Duration = Duration::from_millis(250);
/// Where our own threads were later than this, nobody can say what was read too late.
const LATE_MAX: Duration = Duration::from_millis(250);
/// What two readings of clocks may differ.
const CLOCK_SLACK: Duration = Duration::from_millis(2);
/// How long after the end all must be closed.
const CLOSED_MAX: Duration = Duration::from_secs(1);
/// How long after the end we still look.
const AFTER_END: Duration = Duration::from_secs(3);
/// Newcomers per second beside idle connections.
const NEWCOMERS: u32 = 5;
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What came of the storm, beside the control viewers.
#[derive(Default)]
struct Storm {
    seen: Vec<Seen>,
    late: Histogram,
    udp_drops: Option<u64>,
    kinds: Vec<Kind>,
    ending: Option<End>,
    /// What the product promises, and was not so.
    broken: Vec<String>,
    notes: Vec<String>,
}

impl From<WatchReport> for Storm {
    fn from(report: WatchReport) -> Self {
        Self { seen: report.viewers, late: report.late, udp_drops: report.udp_drops, ..Self::default() }
    }
}

/// When the window ends, if that is known, on both clocks of this machine.
#[derive(Clone, Copy)]
struct End(Option<(Instant, u64)>);

/// Thousands ask for few seats at the same moment.
pub(super) fn plays(args: &Args, target: &Target) -> io::Result<StormReport> {
    let clients = args.clients as usize;
    beside_controls("plays", args, target, || {
        let config = CrowdConfig { hold: true, ..crowd(args, target, arriving(args, clients)) };
        let watch = Watch::start(config)?;
        let described = || watch.progress().described.load(Ordering::Relaxed);
        let ready = || (described() + watch.progress().answered()) as usize >= clients;
        let arrival = Duration::from_secs_f64(clients as f64 / f64::from(args.connect_rate));
        let all_ready = wait(arrival + ANSWER_MAX, ready);
        watch.release_in(RELEASE_IN);
        let all_answered = wait(ANSWER_MAX, || answered(&watch) >= clients);
        std::thread::sleep(WATCH);
        let answered = answered(&watch);
        let mut storm = Storm::from(finish(watch)?);
        if !all_ready || !all_answered {
            storm.broken.push(format!("of {clients} clients only {answered} were answered in time"));
        }
        storm.broken.extend(unfilled(args, clients, &storm.seen));
        Ok(storm)
    })
}

/// Viewers come and go.
pub(super) fn churn(args: &Args, target: &Target) -> io::Result<StormReport> {
    beside_controls("churn", args, target, || {
        let mut storm = Storm::from(come_and_go(args, target, args.joins, args.seconds)?);
        let expected = f64::from(args.joins) * args.stay.max(1) as f64 / 1e3;
        let refused = storm.seen.iter().filter(|seen| seen.refused.is_some()).count();
        if refused > 0 && expected < 0.8 * (args.seats as usize).saturating_sub(CONTROLS) as f64 {
            storm.notes.push(format!("{refused} were refused though only about {expected:.0} watch at once"));
        }
        Ok(storm)
    })
}

/// Viewers over TCP who read nothing, or little.
pub(super) fn stalled(args: &Args, target: &Target) -> io::Result<StormReport> {
    beside_controls("stalled", args, target, || {
        let free = (args.seats as usize).saturating_sub(CONTROLS);
        let nothing = (args.stalled as usize).min(free);
        let slow = (args.slow as usize).min(free - nothing);
        let kinds = [
            ("read nothing", nothing, Reading::Nothing),
            ("read a trickle", slow, Reading::Trickle(args.trickle)),
        ];
        let mut watches = Vec::new();
        for (what, count, reading) in kinds {
            let plans = vec![Plan { reading, ..Plan::new(false) }; count];
            let config = CrowdConfig { threads: 1, ..crowd(args, target, plans) };
            watches.push((Watch::start(config)?, what, count));
        }
        wait(ANSWER_MAX, || watches.iter().all(|(watch, _, count)| answered(watch) >= *count));
        wait(Duration::from_secs(args.hold), || watches.iter().all(|(watch, ..)| watch.is_over()));
        let mut storm = Storm { udp_drops: Some(0), ..Storm::default() };
        for (watch, what, count) in watches {
            let mut report = finish(watch)?;
            let closed = report
                .viewers
                .iter()
                .filter_map(|seen| Some(seen.report.closed?.saturating_duration_since(seen.playing?)));
            let closed: Vec<Duration> = closed.collect();
            storm.kinds.push(Kind {
                what: what.to_owned(),
                count,
                closed_by_server: closed.len(),
                closed_after_ms: Percentiles::of_durations(closed),
            });
            // What they lose is their own doing.
            report.viewers.iter_mut().for_each(|seen| seen.report.lost = 0);
            storm.seen.append(&mut report.viewers);
            storm.late.merge(&report.late);
        }
        Ok(storm)
    })
}

/// Connections that say nothing, or half a request, while others come and go.
pub(super) fn idle(args: &Args, target: &Target) -> io::Result<StormReport> {
    beside_controls("idle", args, target, || {
        let (silent, half) = (args.idle as usize, args.half as usize);
        let (rate, server, hold) = (args.connect_rate, target.server, Duration::from_secs(args.hold));
        let holding = std::thread::Builder::new()
            .name("storm-idle".to_owned())
            .spawn(move || idle::hold(server, (silent, half), rate, hold))?;
        let newcomers = come_and_go(args, target, NEWCOMERS, args.hold);
        let held = holding.join().map_err(|_| io::Error::other("a thread of clients ended in a defect"))?;
        let (kinds, unopened) = held?;
        let mut storm = Storm::from(newcomers?);
        storm.kinds.extend(kinds);
        if unopened > 0 {
            storm.notes.push(format!("{unopened} connections could not be opened"));
        }
        let shut_out = storm.seen.iter().filter(|seen| seen.playing.is_none()).count();
        if shut_out > 0 {
            storm.broken.push(format!("{shut_out} newcomers did not get in beside the idle connections"));
        }
        Ok(storm)
    })
}

/// The window ends while every seat is taken.
pub(super) fn cutoff(args: &Args, target: &Target) -> io::Result<StormReport> {
    let end = End(args.end.map(|end| {
        let ahead = WallTime::since(end, clock::system()().wall);
        let nanos = u64::try_from(ahead.as_nanos()).unwrap_or(u64::MAX / 2);
        (Instant::now() + ahead, monotonic_nanos().saturating_add(nanos))
    }));
    beside_controls("cutoff", args, target, || {
        let ahead = end.0.map(|(at, _)| at.saturating_duration_since(Instant::now()));
        let until = ahead.map_or_else(|| args.patience(), |ahead| ahead.saturating_add(AFTER_END));
        let until = until.min(args.patience());
        let clients = (args.seats as usize).saturating_sub(CONTROLS);
        let config = CrowdConfig { patience: until, ..crowd(args, target, arriving(args, clients)) };
        let watch = Watch::start(config)?;
        wait(until + AFTER_END, || watch.is_over());
        let mut storm = Storm::from(finish(watch)?);
        storm.broken.extend(unfilled(args, clients, &storm.seen));
        storm.ending = Some(end);
        Ok(storm)
    })
}

/// Lets `storm` happen beside two control viewers.
fn beside_controls(
    scenario: &'static str,
    args: &Args,
    target: &Target,
    storm: impl FnOnce() -> io::Result<Storm>,
) -> io::Result<StormReport> {
    let started = Instant::now();
    let plans = [true, false].map(|udp| Plan { control: true, ..Plan::new(udp) });
    let patience = args.patience() + 2 * ANSWER_MAX;
    let controls = Watch::start(CrowdConfig { patience, threads: 1, ..crowd(args, target, plans.to_vec()) })?;
    wait(CONTROL_MAX, || answered(&controls) >= CONTROLS);
    // What is behind them when they join is no measure of the stream.
    std::thread::sleep(CAUGHT_UP);
    controls.enter_phase(0);
    std::thread::sleep(Duration::from_secs(args.before));
    controls.enter_phase(1);
    let mut storm = storm()?;
    let controls = finish(controls)?;
    storm.late.merge(&controls.late);
    if let Some(out) = controls.viewers.iter().find(|seen| seen.playing.is_none()) {
        let why = match &out.report.outcome {
            Outcome::Refused { status, reason } => format!("{status} {reason}"),
            Outcome::Failed(why) => why.clone(),
            Outcome::Left | Outcome::Ended => "they were not answered in time".to_owned(),
        };
        return Err(io::Error::other(format!("the control viewers cannot watch: {why}")));
    }
    let mut report = StormReport {
        scenario: scenario.to_owned(),
        strict: args.strict,
        seats: args.seats as usize,
        kinds: storm.kinds,
        tool_late_ms: Percentiles::of(&storm.late),
        udp_drops: storm.udp_drops.zip(controls.udp_drops).map(|(storm, controls)| storm + controls),
        notes: storm.notes,
        ..StormReport::default()
    };
    storm.broken.into_iter().for_each(|broken| report.promise(broken));
    report.judge(&storm.seen, &controls.viewers);
    match storm.ending {
        Some(end) => {
            let all: Vec<&Seen> = storm.seen.iter().chain(&controls.viewers).collect();
            judge_ending(&mut report, end, &all, storm.late.max());
        }
        None => {
            let ended = controls.viewers.iter().filter(|seen| seen.report.closed.is_some()).count();
            if ended > 0 {
                report.wrong.push(format!("{ended} control viewers were ended by the server"));
            }
        }
    }
    report.seconds = started.elapsed().as_secs_f64();
    Ok(report)
}

/// - `late`: how late our own threads were. What is read so much later than the grace allows may have been sent before
///   the end.
fn judge_ending(report: &mut StormReport, end: End, all: &[&Seen], late: Duration) {
    let watching: Vec<&Seen> = all.iter().copied().filter(|seen| seen.playing.is_some()).collect();
    let goodbyes = watching.iter().flat_map(|seen| [seen.report.told, seen.report.closed]).flatten();
    let known = end.0.map(|(at, stamp)| (at, Some(stamp)));
    let Some((at, stamp)) = known.or_else(|| goodbyes.min().map(|at| (at, None))) else {
        report.wrong.push("the end did not come".to_owned());
        return;
    };
    let millis = |moment: Instant| {
        let after = moment.saturating_duration_since(at).as_secs_f64();
        (after - at.saturating_duration_since(moment).as_secs_f64()) * 1e3
    };
    let most =
        |of: &dyn Fn(&Seen) -> Option<Instant>| watching.iter().filter_map(|seen| of(seen)).max().map(millis);
    let ending = Ending {
        end_is_known: end.0.is_some(),
        watching: watching.len(),
        told: watching.iter().filter(|seen| seen.report.told.is_some()).count(),
        closed: watching.iter().filter(|seen| seen.report.closed.is_some()).count(),
        last_media_ms_least: watching.iter().filter_map(|seen| seen.report.last_media).min().map(millis),
        last_media_ms_most: most(&|seen| seen.report.last_media),
        told_ms_most: most(&|seen| seen.report.told),
        closed_ms_most: most(&|seen| seen.report.closed),
        media_after_end: media_after_end(&watching, at, stamp, late),
        media_after_bye: watching.iter().map(|seen| seen.after_bye).sum(),
    };
    match ending.media_after_end {
        // The tool's own failure, not the server's: no promise is broken by it.
        None => report.notes.push(format!(
            "media after the end was not judged: this tool was {:.0} ms late itself",
            late.as_secs_f64() * 1e3
        )),
        Some(0) if ending.media_after_bye == 0 => {}
        Some(viewers) => report.wrong.push(format!(
            "media after the end: to {viewers} viewers, and {} packets behind a BYE",
            ending.media_after_bye
        )),
    }
    if ending.media_after_end.is_none() && ending.media_after_bye > 0 {
        report.wrong.push(format!("media after the end: {} packets behind a BYE", ending.media_after_bye));
    }
    if ending.closed < ending.watching {
        report.promise(format!("{} were not closed", ending.watching - ending.closed));
    }
    if let Some(last) = ending.closed_ms_most.filter(|ms| *ms > (CLOSED_MAX + late).as_secs_f64() * 1e3) {
        report.promise(format!("the last was closed {last:.0} ms after the end"));
    }
    if ending.told < ending.watching {
        report.promise(format!("{} saw no BYE", ending.watching - ending.told));
    }
    report.ending = Some(ending);
}

/// Viewers who got what was sent after the end, or read so late that it must have been; `None`: this tool was too late
/// itself to tell, and not all packets say when they were sent.
fn media_after_end(watching: &[&Seen], at: Instant, stamp: Option<u64>, late: Duration) -> Option<usize> {
    let slack = u64::try_from(CLOCK_SLACK.as_nanos()).unwrap_or(0);
    let sent_after = |seen: &Seen| stamp.zip(seen.last_stamp).map(|(end, sent)| sent > end + slack);
    let read_after = |seen: &Seen| seen.report.last_media.is_some_and(|last| last > at + GRACE + late);
    if late <= LATE_MAX {
        let is_after = |seen: &&&Seen| sent_after(seen) == Some(true) || read_after(seen);
        return Some(watching.iter().filter(is_after).count());
    }
    let of_stamps: Option<Vec<bool>> = watching.iter().map(|seen| sent_after(seen)).collect();
    of_stamps.map(|after| after.into_iter().filter(|after| *after).count())
}

/// Joins `rate` per second for `seconds`, each for [`Args::stay`]; every fourth leaves without a word.
fn come_and_go(args: &Args, target: &Target, rate: u32, seconds: u64) -> io::Result<WatchReport> {
    let stay = Duration::from_millis(args.stay);
    let plans: Vec<Plan> = (0..u64::from(rate) * seconds)
        .map(|number| Plan {
            at: Duration::from_nanos(number * 1_000_000_000 / u64::from(rate.max(1))),
            stay: Some(stay),
            leave: if number % 4 == 3 { Leave::Abrupt } else { Leave::Teardown },
            ..Plan::new(is_udp(args, number as usize))
        })
        .collect();
    let patience = Duration::from_secs(seconds) + stay + ANSWER_MAX;
    let watch = Watch::start(CrowdConfig { patience, ..crowd(args, target, plans) })?;
    wait(patience, || watch.is_over());
    finish(watch)
}

/// These clients, over as many threads and with as much patience as `args` say.
fn crowd(args: &Args, target: &Target, plans: Vec<Plan>) -> CrowdConfig {
    let config = CrowdConfig::new(vec![target.clone()], plans, args.patience());
    let (threads, udp_tracks) = (usize::from(args.threads), usize::from(args.tracks));
    CrowdConfig { threads, udp_tracks, response: RESPONSE_MAX, ..config }
}

/// So many who connect one after the other and stay.
fn arriving(args: &Args, clients: usize) -> Vec<Plan> {
    let udp = clients * args.udp_percent as usize / 100;
    Plan::arriving(clients, udp, args.connect_rate, 1)
}

/// Spreads the UDP viewers evenly.
const fn is_udp(args: &Args, number: usize) -> bool {
    let share = args.udp_percent as usize;
    (number + 1) * share / 100 > number * share / 100
}

/// Seats that stayed free though more clients asked for them.
fn unfilled(args: &Args, clients: usize, seen: &[Seen]) -> Option<String> {
    let expected = (args.seats as usize).saturating_sub(CONTROLS).min(clients);
    let played = seen.iter().filter(|seen| seen.playing.is_some()).count();
    (played < expected).then(|| format!("{} seats stayed free", expected - played))
}

fn answered(watch: &Watch) -> usize {
    watch.progress().answered() as usize
}

fn finish(watch: Watch) -> io::Result<WatchReport> {
    watch.stop();
    watch.finish()
}

/// Whether `done` came true within `at_most`.
fn wait(at_most: Duration, mut done: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + at_most;
    loop {
        match done() {
            true => return true,
            false if Instant::now() >= until => return false,
            false => std::thread::sleep(LOOK_EVERY),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const END_STAMP: u64 = 1_000_000_000;

    /// A viewer who got its last packet `read_ms` after the end, and what was stamped `sent_ms` after it.
    fn viewer(at: Instant, read_ms: u64, sent_ms: Option<u64>) -> Seen {
        let mut seen = Seen::new(0, false, Outcome::Ended);
        seen.playing = at.checked_sub(Duration::from_secs(1));
        seen.report.last_media = Some(at + Duration::from_millis(read_ms));
        seen.last_stamp = sent_ms.map(|ms| END_STAMP + ms * 1_000_000);
        seen
    }

    #[test]
    fn a_late_tool_judges_by_stamps_or_not_at_all() {
        let at = Instant::now();
        let judge = |seen: Seen, late_ms| {
            media_after_end(&[&seen], at, Some(END_STAMP), Duration::from_millis(late_ms))
        };
        assert_eq!(judge(viewer(at, 200, None), 0), Some(0));
        assert_eq!(judge(viewer(at, 300, None), 0), Some(1));
        // Its own lateness widens the grace, but not without limit.
        assert_eq!(judge(viewer(at, 300, None), 100), Some(0));
        assert_eq!(judge(viewer(at, 5_000, None), 10_000), None);
        assert_eq!(judge(viewer(at, 5_000, Some(0)), 10_000), Some(0));
        assert_eq!(judge(viewer(at, 5_000, Some(10)), 10_000), Some(1));
    }

    #[test]
    fn an_end_without_bye_and_with_late_closes_is_wrong_where_promises_are_asked_for() {
        let at = Instant::now();
        let mut late = viewer(at, 0, None);
        late.report.closed = Some(at + Duration::from_millis(1500));
        let open = viewer(at, 0, None);
        for strict in [false, true] {
            let mut report = StormReport { strict, ..StormReport::default() };
            judge_ending(&mut report, End(Some((at, END_STAMP))), &[&late, &open], Duration::ZERO);
            let broken = if strict { &report.wrong } else { &report.notes };
            // One is not closed, one too late, and nobody saw a BYE.
            assert_eq!((broken.len(), report.is_well()), (3, !strict), "{report}");
        }
    }
}
