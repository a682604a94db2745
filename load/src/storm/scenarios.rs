//! The storms themselves.
//!
//! Holds: each is bounded in clients and time. Beside each a control viewer over UDP and one over TCP watch, from
//! [`Args::before`] on before it begins; they take two of the seats.

use std::{
    io,
    time::{Duration, Instant},
};

use slotcast_core::time::WallTime;

use super::{
    Args,
    crowd::{Crowd, Harvest, Setup},
    idle,
    report::{Ending, Kind, StormReport},
    seen::Seen,
    viewer::{Leave, Plan, Reading},
};
use slotcast_net::{clock, clock::monotonic_nanos};
use slotcast_tools::histogram::{Histogram, Percentiles};

/// Seats of the control viewers.
pub(super) const CONTROLS: usize = 2;
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
struct Outcome {
    seen: Vec<Seen>,
    late: Histogram,
    kinds: Vec<Kind>,
    ending: Option<End>,
    wrong: Vec<String>,
    notes: Vec<String>,
}

impl Outcome {
    fn of((seen, late): Harvest) -> Self {
        Self { seen, late, ..Self::default() }
    }
}

/// When the window ends, if that is known, on both clocks of this machine.
#[derive(Clone, Copy)]
struct End(Option<(Instant, u64)>);

/// Thousands ask for few seats at the same moment.
pub(super) fn plays(args: &Args, setup: &Setup) -> io::Result<StormReport> {
    let clients = args.clients as usize;
    beside_controls("plays", args, setup, || {
        let setup = Setup { hold: true, patience: args.patience(), ..setup.clone() };
        let crowd = Crowd::start(&setup, &arriving(args, clients), args.threads())?;
        let orders = crowd.orders();
        let ready = || counted(&orders.described) + counted(&orders.answered) >= clients;
        let arrival = Duration::from_secs_f64(clients as f64 / f64::from(args.connect_rate));
        let all_ready = wait(arrival + ANSWER_MAX, ready);
        crowd.release_in(RELEASE_IN);
        let all_answered = wait(ANSWER_MAX, || counted(&orders.answered) >= clients);
        std::thread::sleep(WATCH);
        let answered = counted(&orders.answered);
        let mut outcome = Outcome::of(crowd.finish()?);
        if !all_ready || !all_answered {
            outcome.notes.push(format!("of {clients} clients only {answered} were answered in time"));
        }
        outcome.notes.extend(unfilled(args, clients, &outcome.seen));
        Ok(outcome)
    })
}

/// Viewers come and go.
pub(super) fn churn(args: &Args, setup: &Setup) -> io::Result<StormReport> {
    beside_controls("churn", args, setup, || {
        let mut outcome = Outcome::of(come_and_go(args, setup, args.joins, args.seconds)?);
        let expected = f64::from(args.joins) * args.stay.max(1) as f64 / 1e3;
        let refused = outcome.seen.iter().filter(|seen| seen.refused.is_some()).count();
        if refused > 0 && expected < 0.8 * (args.seats as usize).saturating_sub(CONTROLS) as f64 {
            outcome
                .notes
                .push(format!("{refused} were refused though only about {expected:.0} watch at once"));
        }
        Ok(outcome)
    })
}

/// Viewers over TCP who read nothing, or little.
pub(super) fn stalled(args: &Args, setup: &Setup) -> io::Result<StormReport> {
    beside_controls("stalled", args, setup, || {
        let kind = |count, reading| std::iter::repeat_n(Plan { reading, ..Plan::new(false) }, count as usize);
        let free = (args.seats as usize).saturating_sub(CONTROLS);
        let nothing = kind(args.stalled, Reading::Nothing);
        let plans: Vec<Plan> =
            nothing.chain(kind(args.slow, Reading::Trickle(args.trickle))).take(free).collect();
        let hold = Duration::from_secs(args.hold);
        let setup = Setup { patience: args.patience(), ..setup.clone() };
        let mut all: Vec<(Crowd, &'static str, usize)> = Vec::new();
        for (what, is_slow) in [("read nothing", false), ("read a trickle", true)] {
            let own: Vec<Plan> =
                plans.iter().copied().filter(|p| (p.reading != Reading::Nothing) == is_slow).collect();
            all.push((Crowd::start(&setup, &own, 1)?, what, own.len()));
        }
        let answered = || all.iter().all(|(crowd, _, count)| counted(&crowd.orders().answered) >= *count);
        wait(ANSWER_MAX, answered);
        wait(hold, || all.iter().all(|(crowd, ..)| crowd.is_over()));
        let mut outcome = Outcome::default();
        for (crowd, what, count) in all {
            let (mut seen, late) = crowd.finish()?;
            let closed = || seen.iter().filter_map(|s| Some(s.closed?.saturating_duration_since(s.playing?)));
            let kind = Kind {
                what: what.to_owned(),
                count,
                closed_by_server: closed().count(),
                closed_after_ms: Percentiles::of_durations(closed()),
            };
            outcome.kinds.push(kind);
            // What they lose is their own doing.
            seen.iter_mut().for_each(|seen| seen.lost = 0);
            outcome.seen.append(&mut seen);
            outcome.late.merge(&late);
        }
        Ok(outcome)
    })
}

/// Connections that say nothing, or half a request, while others come and go.
pub(super) fn idle(args: &Args, setup: &Setup) -> io::Result<StormReport> {
    beside_controls("idle", args, setup, || {
        let (silent, half) = (args.idle as usize, args.half as usize);
        let (rate, server, hold) = (args.connect_rate, setup.server, Duration::from_secs(args.hold));
        let holding = std::thread::Builder::new()
            .name("storm-idle".to_owned())
            .spawn(move || idle::hold(server, (silent, half), rate, hold))?;
        let newcomers = come_and_go(args, setup, NEWCOMERS, args.hold);
        let held = holding.join().map_err(|_| io::Error::other("a thread of clients ended in a defect"))?;
        let (kinds, unopened) = held?;
        let mut outcome = Outcome::of(newcomers?);
        outcome.kinds.extend(kinds);
        if unopened > 0 {
            outcome.notes.push(format!("{unopened} connections could not be opened"));
        }
        let shut_out = outcome.seen.iter().filter(|seen| seen.playing.is_none()).count();
        if shut_out > 0 {
            outcome.notes.push(format!("{shut_out} newcomers did not get in beside the idle connections"));
        }
        Ok(outcome)
    })
}

/// The window ends while every seat is taken.
pub(super) fn cutoff(args: &Args, setup: &Setup, end: Option<WallTime>) -> io::Result<StormReport> {
    let end = End(end.map(|end| {
        let ahead = end.since(clock::system()().wall);
        let nanos = u64::try_from(ahead.as_nanos()).unwrap_or(u64::MAX / 2);
        (Instant::now() + ahead, monotonic_nanos().saturating_add(nanos))
    }));
    beside_controls("cutoff", args, setup, || {
        let until = end.0.map_or_else(
            || args.patience(),
            |(at, _)| {
                at.saturating_duration_since(Instant::now()).saturating_add(AFTER_END).min(args.patience())
            },
        );
        let clients = (args.seats as usize).saturating_sub(CONTROLS);
        let setup = Setup { patience: until, ..setup.clone() };
        let crowd = Crowd::start(&setup, &arriving(args, clients), args.threads())?;
        wait(until + AFTER_END, || crowd.is_over());
        let mut outcome = Outcome::of(crowd.finish()?);
        outcome.notes.extend(unfilled(args, clients, &outcome.seen));
        outcome.ending = Some(end);
        Ok(outcome)
    })
}

/// Lets `storm` happen beside two control viewers.
fn beside_controls(
    scenario: &'static str,
    args: &Args,
    setup: &Setup,
    storm: impl FnOnce() -> io::Result<Outcome>,
) -> io::Result<StormReport> {
    let started = Instant::now();
    let plans = [true, false].map(|udp| Plan { control: true, ..Plan::new(udp) });
    let own = Setup { patience: args.patience() + 2 * ANSWER_MAX, hold: false, ..setup.clone() };
    let controls = Crowd::start(&own, &plans, 1)?;
    wait(CONTROL_MAX, || counted(&controls.orders().answered) >= CONTROLS);
    // What is behind them when they join is no measure of the stream.
    std::thread::sleep(CAUGHT_UP);
    controls.enter_phase(0);
    std::thread::sleep(Duration::from_secs(args.before));
    controls.enter_phase(1);
    let mut outcome = storm()?;
    let (control_seen, control_late) = controls.finish()?;
    outcome.late.merge(&control_late);
    if let Some(out) = control_seen.iter().find(|seen| seen.playing.is_none()) {
        let why = out.refused.as_ref().map(|refused| format!("{} {}", refused.status, refused.reason));
        let why = why.or_else(|| out.failed.clone()).unwrap_or_default();
        return Err(io::Error::other(format!("the control viewers cannot watch: {why}")));
    }
    let mut report = StormReport {
        scenario: scenario.to_owned(),
        seats: args.seats as usize,
        kinds: outcome.kinds,
        tool_late_ms: Percentiles::of(&outcome.late),
        wrong: outcome.wrong,
        notes: outcome.notes,
        ..StormReport::default()
    };
    report.judge(&outcome.seen, &control_seen);
    match outcome.ending {
        Some(end) => {
            let all: Vec<&Seen> = outcome.seen.iter().chain(&control_seen).collect();
            judge_ending(&mut report, end, &all, GRACE + outcome.late.max());
        }
        None => {
            let ended = control_seen.iter().filter(|seen| seen.closed.is_some()).count();
            if ended > 0 {
                report.wrong.push(format!("{ended} control viewers were ended by the server"));
            }
        }
    }
    report.seconds = started.elapsed().as_secs_f64();
    Ok(report)
}

/// - `grace`: what is read so long after the end may have been sent before it.
fn judge_ending(report: &mut StormReport, end: End, all: &[&Seen], grace: Duration) {
    let watching: Vec<&Seen> = all.iter().copied().filter(|seen| seen.playing.is_some()).collect();
    let goodbyes = watching.iter().flat_map(|seen| [seen.told, seen.closed]).flatten();
    let known = end.0.map(|(at, stamp)| (at, Some(stamp)));
    let Some((at, stamp)) = known.or_else(|| goodbyes.min().map(|at| (at, None))) else {
        report.wrong.push("the end did not come".to_owned());
        return;
    };
    let slack = u64::try_from(CLOCK_SLACK.as_nanos()).unwrap_or(0);
    let is_after = |seen: &&&Seen| {
        let sent_after = stamp.zip(seen.last_stamp).is_some_and(|(end, sent)| sent > end + slack);
        sent_after || seen.last_packet.is_some_and(|last| last > at + grace)
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
        told: watching.iter().filter(|seen| seen.told.is_some()).count(),
        closed: watching.iter().filter(|seen| seen.closed.is_some()).count(),
        last_media_ms_least: watching.iter().filter_map(|seen| seen.last_packet).min().map(millis),
        last_media_ms_most: most(&|seen| seen.last_packet),
        told_ms_most: most(&|seen| seen.told),
        closed_ms_most: most(&|seen| seen.closed),
        media_after_end: Some(watching.iter().filter(is_after).count()),
        media_after_bye: watching.iter().map(|seen| seen.after_bye).sum(),
    };
    if ending.media_after_end.is_some_and(|count| count > 0) || ending.media_after_bye > 0 {
        report.wrong.push("media after the end".to_owned());
    }
    if ending.closed < ending.watching {
        report.notes.push(format!("{} were not closed", ending.watching - ending.closed));
    }
    if let Some(last) = ending.closed_ms_most.filter(|ms| *ms > CLOSED_MAX.as_secs_f64() * 1e3) {
        report.notes.push(format!("the last was closed {last:.0} ms after the end"));
    }
    if ending.told < ending.watching {
        report.notes.push(format!("{} saw no BYE", ending.watching - ending.told));
    }
    report.ending = Some(ending);
}

/// Joins `rate` per second for `seconds`, each for [`Args::stay`]; every fourth leaves without a word.
fn come_and_go(args: &Args, setup: &Setup, rate: u32, seconds: u64) -> io::Result<Harvest> {
    let stay = Duration::from_millis(args.stay);
    let plans: Vec<Plan> = (0..u64::from(rate) * seconds)
        .map(|number| Plan {
            at: Duration::from_nanos(number * 1_000_000_000 / u64::from(rate.max(1))),
            stay: Some(stay),
            leave: if number % 4 == 3 { Leave::Abrupt } else { Leave::Teardown },
            ..Plan::new(is_udp(args, number as usize))
        })
        .collect();
    let time = Duration::from_secs(seconds) + stay + ANSWER_MAX;
    let crowd = Crowd::start(&Setup { patience: time, ..setup.clone() }, &plans, args.threads())?;
    wait(time, || crowd.is_over());
    crowd.finish()
}

/// So many who connect one after the other and stay.
fn arriving(args: &Args, clients: usize) -> Vec<Plan> {
    (0..clients)
        .map(|number| Plan {
            at: Duration::from_secs_f64(number as f64 / f64::from(args.connect_rate)),
            ..Plan::new(is_udp(args, number))
        })
        .collect()
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

fn counted(counter: &std::sync::atomic::AtomicUsize) -> usize {
    counter.load(std::sync::atomic::Ordering::Relaxed)
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
