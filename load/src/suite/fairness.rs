//! Fairness on one worker: what a few viewers notice while something happens to many others beside them.
//!
//! Owns: the cases, the order of a round, the rows that are made of it. Those who are watched measure
//! (`slotcast_tools::watch`); the others cost the machine little (`bulk`).
//! Invariant: each round has a server of its own with one worker. The same viewers are measured before and while it
//! happens, so only what happens differs. A broadcaster who was late, a tool or a worker that waited for its core is
//! told in the row.

use std::{
    fmt, io, thread,
    time::{Duration, Instant},
};

use slotcast_tools::{
    histogram::{Histogram, Percentiles},
    target::{ReachPolicy, Target},
    watch::{self, CrowdConfig, PHASES, Plan, Watch, WatchReport},
};

use super::{
    bench::Bench,
    bulk::{Bulk, Crowd},
    crowds::OWN_ONLY,
    pipeline::Pipeline,
    report::{Goal, Row, number},
    stage::{Stage, sum},
    tool::Tool,
    turns::{Buckets, CPU, TURN_MS_MAX, Turns, WALL, buckets, turns},
};
use crate::{
    cpu::{ProcessUse, take_short_turns},
    paced::Transport,
    push::PushReport,
};

const MOVED_MS: Goal = Goal::AtMost(5.0);
const TURN_MS: Goal = Goal::EachAtMost(TURN_MS_MAX);
/// Rounds, at most: each case begins with a server of its own in each.
const ROUNDS_MAX: u32 = 3;
/// Viewers per second while they gather: those who are watched, the others.
const WATCHED_RAMP: u32 = 300;
const CROWD_RAMP: u32 = 750;
/// What happens at one moment is looked at for so long after it.
const MOMENT: Duration = Duration::from_secs(2);
/// How long a crowd may take to come, or to be ended.
const CROWD_MAX: Duration = Duration::from_secs(20);
/// The longest that a round may be on air.
const ON_AIR_SECONDS: u64 = 180;
const LOOK: Duration = Duration::from_millis(20);
/// Of [`watch::PHASES`]: alone, and while it happens.
const QUIET: usize = 0;
const DURING: usize = 1;
/// In none of them.
const UNCOUNTED: usize = PHASES;
/// The server's sending threads.
const WORKERS: &str = "worker-";
const LATE_SENDS: &str = "slotcast_late_sends_total";

/// How many of whom.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fairness {
    /// Who are watched closely.
    pub(super) watched: u32,
    /// Those beside them.
    pub(super) crowd: u32,
    /// Those who join within a second.
    pub(super) rush: u32,
    /// Who are watched beside a crowd of the other transport.
    pub(super) few: u32,
}

/// Those beside: how many, on which channel, over what, how many come a second.
type Others = (u32, u32, Transport, u32);

/// What happens to the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    /// They watch another channel, which is on air all the time.
    OtherChannel,
    /// Their broadcaster comes back with another description: all are ended at once.
    ChangedStream,
    /// All join another channel within a second.
    Join,
    /// One connection asks for ever new channel numbers.
    Pipelined,
    /// They watch the same channel over UDP; who is watched watches over TCP.
    UdpCrowd,
    /// The other way round.
    TcpCrowd,
}

impl Case {
    const ALL: [Self; 6] = [
        Self::OtherChannel,
        Self::ChangedStream,
        Self::Join,
        Self::Pipelined,
        Self::UdpCrowd,
        Self::TcpCrowd,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::OtherChannel => "other-channel",
            Self::ChangedStream => "changed-stream",
            Self::Join => "join",
            Self::Pipelined => "pipelined",
            Self::UdpCrowd => "udp-crowd",
            Self::TcpCrowd => "tcp-crowd",
        }
    }

    /// Those who are watched: how many, and the per cent over UDP.
    const fn watched(self, counts: Fairness) -> (u32, u32) {
        match self {
            Self::UdpCrowd => (counts.few, 0),
            Self::TcpCrowd => (counts.few, 100),
            _ => (counts.watched, 50),
        }
    }

    /// `None`: there are none.
    const fn others(self, counts: Fairness) -> Option<Others> {
        match self {
            Self::OtherChannel | Self::ChangedStream => Some((counts.crowd, 2, Transport::Udp, CROWD_RAMP)),
            Self::Join => Some((counts.rush, 2, Transport::Udp, counts.rush)),
            Self::Pipelined => None,
            Self::UdpCrowd => Some((counts.crowd, 1, Transport::Udp, CROWD_RAMP)),
            Self::TcpCrowd => Some((counts.crowd, 1, Transport::Tcp, CROWD_RAMP)),
        }
    }

    fn what(self, counts: Fairness) -> String {
        let (watched, crowd) = (self.watched(counts).0, counts.crowd);
        match self {
            Self::OtherChannel => format!("{watched} viewers, {crowd} on another channel"),
            Self::ChangedStream => format!("{watched} viewers, {crowd} ended by a changed stream"),
            Self::Join => format!("{watched} viewers, {} join in a second", counts.rush),
            Self::Pipelined => format!("{watched} viewers, one pipelines SETUP/PLAY/PAUSE"),
            Self::UdpCrowd => format!("{watched} TCP viewers, {crowd} over UDP beside"),
            Self::TcpCrowd => format!("{watched} UDP viewers, {crowd} over TCP beside"),
        }
    }

    /// Whether it happens at one moment; else it goes on.
    const fn is_moment(self) -> bool {
        matches!(self, Self::ChangedStream | Self::Join)
    }
}

/// What a thread had of its core.
#[derive(Clone, Copy, Debug)]
struct Share {
    used_percent: f64,
    /// It could have run and had none.
    waited_percent: f64,
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "used {:.0} % of its core and waited for it {:.1} % of the time",
            self.used_percent, self.waited_percent
        )
    }
}

/// What came of one round.
#[derive(Debug, Default)]
struct Outcome {
    /// Latency of those who are watched, before and while it happens.
    latency: [Option<Percentiles>; 2],
    /// Packets that they missed, but for what the kernel dropped at their own sockets.
    lost: u64,
    udp_drops: Option<u64>,
    /// Of those who are watched, how many got media in both phases.
    there: u64,
    /// Of the others, to how many it happened, of how many.
    happened: Option<(u64, u64)>,
    /// The worker's turns before and while it happens.
    turns: [Worked; 2],
    late_sends: Option<f64>,
    /// How late the broadcaster of those who are watched was itself, in all its time.
    pushed_late: Option<Percentiles>,
    /// The server's worker and the viewers' thread while it happened.
    used: Option<[Share; 2]>,
    /// What there is to say of it.
    said: Option<String>,
}

/// A worker's turns from begin to end, and by the time that they had a core.
#[derive(Clone, Copy, Debug, Default)]
struct Worked {
    wall: Option<Turns>,
    cpu: Option<Turns>,
}

impl Outcome {
    /// How much later 99 of 100 packets were while it happened.
    fn moved_ms(&self) -> f64 {
        let [quiet, during] = self.latency.map(|ms| ms.map_or(f64::NAN, |ms| ms.p99));
        during - quiet
    }

    fn longest_turn_ms(&self) -> f64 {
        self.turns[DURING].wall.map_or(f64::NAN, |turns| turns.longest_ms)
    }

    /// A turn so long that there is no figure for it.
    fn endless(&self) -> Option<String> {
        let is_endless = self.turns[DURING].wall.is_some_and(|turns| turns.longest_ms.is_infinite());
        is_endless.then(|| "a turn of the worker took longer than the server's histogram tells".to_owned())
    }

    /// What makes its figures less certain.
    fn notes(&self) -> Vec<String> {
        let mut notes = vec![latencies(self)];
        notes.extend(self.said.clone());
        if let Some(late) = self.pushed_late {
            let [p99, most] = [late.p99, late.max].map(number);
            notes.push(format!("the broadcaster itself was late: p99 {p99} ms, most {most} ms"));
        }
        if let Some([worker, tool]) = self.used {
            notes.push(format!("meanwhile the worker {worker}; the viewers' tool {tool}"));
        }
        if let Some(drops) = self.udp_drops.filter(|drops| *drops > 0) {
            notes.push(format!("{drops} datagrams were dropped at the tool's own sockets"));
        }
        notes
    }
}

/// Seconds that [`fairness`] takes, about.
pub(super) fn seconds(bench: &Bench) -> f64 {
    f64::from(rounds(bench)) * Case::ALL.map(|case| round_seconds(bench, case)).into_iter().sum::<f64>()
}

fn rounds(bench: &Bench) -> u32 {
    bench.rounds.min(ROUNDS_MAX)
}

fn round_seconds(bench: &Bench, case: Case) -> f64 {
    let counts = bench.counts.fairness;
    let gather = |count: u32, ramp: u32| f64::from(count) / f64::from(ramp);
    let others = case.others(counts).map_or(0.0, |(count, _, _, ramp)| gather(count, ramp));
    let joined = gather(case.watched(counts).0, WATCHED_RAMP) + others;
    joined + 2.0 * bench.counts.warm_up.as_secs_f64() + 2.0 * bench.seconds as f64 + 3.0
}

/// What a few viewers notice of what happens to many beside them.
pub(super) fn fairness(bench: &mut Bench) -> io::Result<()> {
    let mut late_sends = Vec::new();
    for case in Case::ALL {
        let what = case.what(bench.counts.fairness);
        let mut outcomes = Vec::new();
        for number in 1..=if bench.is_own() { rounds(bench) } else { 0 } {
            let said = format!("{what}, round {number} of {}", rounds(bench));
            bench.progress.begin(&said, round_seconds(bench, case));
            outcomes.push(round(bench, case)?);
        }
        bench.progress.end();
        late_sends.extend(outcomes.iter().filter_map(|outcome| outcome.late_sends));
        rows(case, &what, &outcomes, bench.counts.fairness).into_iter().for_each(|row| bench.add(row));
    }
    let row = Row::new("fair-late-sends", "sends after a program's gate had closed", Some(Goal::Never), "");
    let row = row.values(late_sends);
    bench.add(if bench.is_own() { row } else { row.note(OWN_ONLY) });
    Ok(())
}

/// - `outcomes`: none where the server is not ours.
fn rows(case: Case, what: &str, outcomes: &[Outcome], counts: Fairness) -> [Row; 3] {
    let name = format!("fair-{}", case.name());
    let moved = Row::new(name.clone(), format!("{what}: p99 moves by"), Some(MOVED_MS), "ms");
    let lost = Row::new(format!("{name}-lost"), "... and packets that they miss", Some(Goal::Never), "");
    let turn = Row::new(format!("{name}-turn"), "... and the longest turn, at most", Some(TURN_MS), "ms");
    let moved = moved.values(outcomes.iter().map(Outcome::moved_ms));
    let moved = outcomes.iter().zip(1..).fold(moved, |row, (outcome, round): (_, u32)| {
        row.notes(outcome.notes().into_iter().map(|note| format!("round {round}: {note}")))
    });
    let rows = [
        moved,
        lost.values(outcomes.iter().map(|outcome| outcome.lost as f64)),
        turn.values(outcomes.iter().map(Outcome::longest_turn_ms))
            .wrong(outcomes.iter().filter_map(Outcome::endless))
            .notes(outcomes.iter().map(told_turns)),
    ];
    rows.map(|row| {
        let row = if outcomes.is_empty() { row.note(OWN_ONLY) } else { row };
        outcomes.iter().fold(row, |row, outcome| {
            let row = row.there(outcome.there, case.watched(counts).0.into(), "viewers got media throughout");
            match outcome.happened {
                Some((happened, asked)) => row.there(happened, asked, "others had it happen to them"),
                None => row,
            }
        })
    })
}

fn latencies(outcome: &Outcome) -> String {
    let [quiet, during] = outcome.latency.map(|ms| match ms {
        Some(ms) => {
            let [p50, p99, most] = [ms.p50, ms.p99, ms.max].map(number);
            format!("p50 {p50}, p99 {p99}, most {most} ms")
        }
        None => "nothing came".to_owned(),
    });
    format!("quiet {quiet}; during {during}")
}

fn told_turns(outcome: &Outcome) -> String {
    let told = |turns: Option<Turns>| match turns {
        Some(Turns { count, over, longest_ms }) => {
            format!(
                "{over} of {count} longer than {TURN_MS_MAX} ms, the longest at most {} ms",
                number(longest_ms)
            )
        }
        None => "the server does not tell".to_owned(),
    };
    let [quiet, during] =
        outcome.turns.map(|worked| format!("{}; CPU of a turn: {}", told(worked.wall), told(worked.cpu)));
    format!("turns, quiet: {quiet}; during: {during}")
}

/// One round of a case: a server, its broadcasters, those who are watched, and what happens beside them.
fn round(bench: &Bench, case: Case) -> io::Result<Outcome> {
    let stage = bench.stage(&bench.setup(2))?;
    let push = bench.broadcaster(&stage, ON_AIR_SECONDS)?;
    let others = case.others(bench.counts.fairness);
    let mut second = match others {
        Some((_, number @ 2.., ..)) => Some(bench.broadcaster_on(&stage, number, ON_AIR_SECONDS)?),
        _ => None,
    };
    let watched = Watched::start(bench, &stage, case.watched(bench.counts.fairness))?;
    bench.pause(bench.counts.warm_up)?;
    let mut outcome = Outcome::default();
    let span = Span::begin(&stage, &watched, QUIET)?;
    bench.pause(Duration::from_secs(bench.seconds))?;
    (outcome.turns[QUIET], _) = span.end()?;
    let mut crowd = match others {
        Some(others) if case != Case::Join => Some(gather(bench, &stage, others)?),
        _ => None,
    };
    let span = Span::begin(&stage, &watched, DURING)?;
    let mut pipeline = None;
    match case {
        Case::ChangedStream => {
            drop(second.take());
            second = Some(come_back(bench, &stage)?);
            wait(bench, CROWD_MAX, || crowd.as_ref().is_none_or(|crowd| crowd.ended() >= crowd.played()))?;
        }
        Case::Join => crowd = others.map(|others| start(&stage, others)).transpose()?,
        Case::Pipelined => pipeline = Some(pipelined(&stage)?),
        Case::OtherChannel | Case::UdpCrowd | Case::TcpCrowd => {}
    }
    let steady = Duration::from_secs(bench.seconds);
    bench.pause(if case.is_moment() { MOMENT.min(steady) } else { steady })?;
    (outcome.turns[DURING], outcome.used) = span.end()?;
    if case == Case::Join {
        wait(bench, CROWD_MAX, || crowd.as_ref().is_none_or(Bulk::is_answered))?;
    }
    outcome.said = pipeline.as_ref().map(|pipeline| {
        let (rounds, connections) = pipeline.asked();
        format!("{rounds} rounds of SETUP, PLAY and PAUSE on {connections} connections")
    });
    outcome.happened = crowd.as_ref().map(|crowd| match case {
        Case::ChangedStream => (crowd.ended(), crowd.viewers()),
        _ => (crowd.played() - crowd.ended(), crowd.viewers()),
    });
    drop(pipeline);
    crowd.map_or(Ok(()), Bulk::finish)?;
    outcome.late_sends = sum(&stage.metrics()?, LATE_SENDS);
    outcome.take(&watched.finish()?);
    outcome.pushed_late = push.stop::<PushReport>(&bench.tools)?.late_ms;
    drop(second);
    Ok(outcome)
}

/// Those who are watched closely.
struct Watched {
    watch: Watch,
}

impl Watched {
    /// Sends them to the first channel, and waits until they play.
    fn start(bench: &Bench, stage: &Stage, (viewers, udp_percent): (u32, u32)) -> io::Result<Self> {
        let target = Target::parse(&stage.first(), ReachPolicy::Loopback)?;
        let (all, udp) = (viewers as usize, (viewers * udp_percent / 100) as usize);
        let arriving = Plan::arriving(all, udp, WATCHED_RAMP, 1);
        let plans = arriving.into_iter().map(|plan| Plan { control: true, ..plan }).collect();
        let config = CrowdConfig {
            udp_tracks: 1,
            ..CrowdConfig::new(vec![target], plans, Duration::from_secs(ON_AIR_SECONDS))
        };
        // The viewers' threads inherit short turns; whatever else this one starts shall not.
        let watch = thread::scope(|scope| {
            let started = scope.spawn(|| {
                take_short_turns();
                Watch::start(config)
            });
            started.join().map_err(|_| io::Error::other("the viewers' threads did not start"))?
        })?;
        let watched = Self { watch };
        wait(bench, CROWD_MAX, || watched.watch.progress().answered() >= u64::from(viewers))?;
        Ok(watched)
    }

    fn finish(self) -> io::Result<WatchReport> {
        self.watch.stop();
        self.watch.finish()
    }
}

impl Outcome {
    /// With what those who were watched saw.
    fn take(&mut self, report: &WatchReport) {
        let mut latency = [const { None::<Histogram> }; PHASES];
        for seen in &report.viewers {
            let Some(control) = &seen.control else { continue };
            for (all, own) in latency.iter_mut().zip(&control.phases) {
                all.get_or_insert_default().merge(&own.latency);
            }
            // What the kernel dropped at the tool's own sockets is nobody else's loss.
            if !seen.report.udp || report.udp_drops == Some(0) {
                self.lost += control.phases.iter().map(|phase| phase.lost).sum::<u64>();
            }
            self.there += u64::from(control.phases.iter().all(|phase| phase.packets > 0));
        }
        self.latency = latency.map(|histogram| Percentiles::of(&histogram?));
        self.udp_drops = report.udp_drops;
    }
}

/// A span of time in which those who are watched count.
struct Span<'a> {
    stage: &'a Stage,
    watched: &'a Watched,
    turns: [Buckets; 2],
    used: Option<[ProcessUse; 2]>,
    begun: Instant,
}

impl<'a> Span<'a> {
    fn begin(stage: &'a Stage, watched: &'a Watched, phase: usize) -> io::Result<Self> {
        let (turns, used) = (histograms(stage)?, used(stage));
        watched.watch.enter_phase(phase);
        Ok(Self { stage, watched, turns, used, begun: Instant::now() })
    }

    /// The worker's turns meanwhile, and what it and the viewers' thread had of their cores.
    fn end(self) -> io::Result<(Worked, Option<[Share; 2]>)> {
        self.watched.watch.enter_phase(UNCOUNTED);
        let percent = |nanos: u64| nanos as f64 / 1e7 / self.begun.elapsed().as_secs_f64();
        let shares = self.used.zip(used(self.stage)).map(|([server, tool], [server_now, tool_now])| {
            let both = [server_now.since(&server, WORKERS), tool_now.since(&tool, watch::THREAD)];
            both.map(|thread| Share {
                used_percent: percent(thread.nanos),
                waited_percent: percent(thread.queued_nanos),
            })
        });
        let now = histograms(self.stage)?;
        let [wall, cpu] = [0, 1].map(|of| turns(&self.turns[of], &now[of]));
        Ok((Worked { wall, cpu }, shares))
    }
}

/// From begin to end, and of CPU time.
fn histograms(stage: &Stage) -> io::Result<[Buckets; 2]> {
    let page = stage.metrics()?;
    Ok([WALL, CPU].map(|name| buckets(&page, name)))
}

/// What the server and this process have used.
fn used(stage: &Stage) -> Option<[ProcessUse; 2]> {
    Some([ProcessUse::of(stage.pid?).ok()?, ProcessUse::own().ok()?])
}

/// Lets the others come.
fn start(stage: &Stage, (viewers, number, transport, per_second): Others) -> io::Result<Bulk> {
    let target = Target::parse(&Target::numbered(&stage.watch, number), ReachPolicy::Loopback)?;
    Bulk::start(Crowd { server: target.server, url: target.url, transport, viewers, per_second })
}

/// ... and waits until they are there and at the head of the stream.
fn gather(bench: &Bench, stage: &Stage, others: Others) -> io::Result<Bulk> {
    let crowd = start(stage, others)?;
    wait(bench, CROWD_MAX, || crowd.is_answered())?;
    bench.pause(bench.counts.warm_up)?;
    Ok(crowd)
}

fn pipelined(stage: &Stage) -> io::Result<Pipeline> {
    let target = Target::parse(&stage.first(), ReachPolicy::Loopback)?;
    Pipeline::start(target.server, target.url)
}

/// The second channel's broadcaster returns, now with sound.
fn come_back(bench: &Bench, stage: &Stage) -> io::Result<Tool> {
    let words = ["--seconds", &ON_AIR_SECONDS.to_string(), "--audio", "47"].map(str::to_owned);
    let arguments = [&[Target::numbered(&stage.publish, 2)], words.as_slice()].concat();
    bench.tools.start("push", &arguments, Duration::from_secs(ON_AIR_SECONDS + 30))
}

/// Waits for `done`, at most so long: who is missing then is missing in the row.
fn wait(bench: &Bench, at_most: Duration, done: impl Fn() -> bool) -> io::Result<()> {
    let until = Instant::now() + at_most;
    while !done() && Instant::now() < until {
        bench.pause(LOOK)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::{bench::Counts, report::Standing};

    const COUNTS: Fairness = Counts::FULL.fairness;

    fn ms(p99: f64) -> Option<Percentiles> {
        Some(Percentiles { count: 1, p50: 1.0, p90: 1.0, p99, p999: p99, max: p99 })
    }

    fn well() -> Outcome {
        let turns = |longest_ms| Some(Turns { count: 100, over: 0, longest_ms });
        let worked = Worked { wall: turns(5.0), cpu: turns(2.0) };
        Outcome {
            latency: [ms(4.0), ms(8.5)],
            udp_drops: Some(0),
            there: 300,
            happened: Some((1500, 1500)),
            turns: [worked; 2],
            late_sends: Some(0.0),
            ..Outcome::default()
        }
    }

    /// How the rows of two rounds stand, of which the second is `last`: p99, packets missed, longest turn.
    #[track_caller]
    fn check(last: Outcome, expected: [Standing; 3]) {
        let rows = rows(Case::OtherChannel, "X", &[well(), last], COUNTS);
        assert_eq!(rows.each_ref().map(|row| row.standing), expected, "{rows:?}");
    }

    #[test]
    fn each_figure_is_judged_by_itself_and_the_worst_round_by_what_must_never_be() {
        use Standing::{Held, Missed};
        check(well(), [Held; 3]);
        check(Outcome { latency: [ms(4.0), ms(12.5)], ..well() }, [Missed, Held, Held]);
        check(Outcome { lost: 1, ..well() }, [Held, Missed, Held]);
        let turn = |longest_ms| {
            let worked = Worked { wall: Some(Turns { count: 9, over: 1, longest_ms }), cpu: None };
            Outcome { turns: [Worked::default(), worked], ..well() }
        };
        check(turn(10.0), [Held, Held, Missed]);
        check(turn(f64::INFINITY), [Held, Held, Missed]);
    }

    #[test]
    fn a_round_in_which_viewers_were_missing_or_it_did_not_happen_holds_nothing() {
        check(Outcome { there: 290, ..well() }, [Standing::Missed; 3]);
        check(Outcome { happened: Some((700, 1500)), ..well() }, [Standing::Missed; 3]);
    }

    #[test]
    fn a_broadcaster_who_was_late_is_told_beside_the_figure() {
        let late = Outcome { pushed_late: ms(7.5), ..well() };
        let [moved, ..] = rows(Case::OtherChannel, "X", &[late], COUNTS);
        assert!(
            moved.to_string().contains("round 1: the broadcaster itself was late: p99 7.50 ms"),
            "{moved}"
        );
    }

    #[test]
    fn what_only_our_own_server_can_be_asked_says_so() {
        for case in Case::ALL {
            for row in rows(case, &case.what(COUNTS), &[], COUNTS) {
                assert_eq!((row.standing, row.notes[0].as_str()), (Standing::NotMeasured, OWN_ONLY), "{row}");
            }
        }
    }
}
