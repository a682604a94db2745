//! What all measurements share: the counts, the server, the paced runs, the rows so far.
//!
//! Owns: paced runs (`load limit`, raw loop and server in turns), each done once and kept for all rows made of it.
//! Invariant: what `load limit` calls wrong is in each of these rows.

use std::{
    io,
    time::{Duration, Instant},
};

use super::{
    fairness::Fairness,
    progress::Progress,
    report::{Point, QUANTILES, Quantiles, Row, spread},
    stage::{LONG, Setup, Stage},
    tool::{Tool, Tools},
};
use crate::{
    limit::{self, Comparison, Side, Spread},
    paced::Transport,
    round::Measured,
};
use slotcast_tools::{histogram::Percentiles, target::Target};

/// Seats of each channel of our own server.
const SEATS: u32 = 12_000;
/// Seconds of a paced round besides its turns and warm-ups: what is on its way.
const AROUND_TURNS: f64 = 0.5;
/// Seconds that each viewer takes to connect to the raw loop and to the server.
const CONNECT: f64 = 0.001;
/// The tools' receiving thread is busier than this share of its core: it may be what limits.
pub(super) const BUSY: f64 = 0.85;
/// Below this the server is cheaper than the raw loop by more than noise ...
const BEATEN: f64 = 0.97;
/// ... where at least so many watch.
const MANY: u32 = 100;
/// How long a stream may take to come on air.
const ON_AIR_MAX: Duration = Duration::from_secs(10);
/// It is on air when more than its first key frame has come.
const ON_AIR_PACKETS: f64 = 40.0;
/// ... on a server that we cannot ask.
const ON_AIR_GUESS: Duration = Duration::from_secs(2);

/// How many of what.
#[derive(Clone, Debug)]
pub(super) struct Counts {
    pub(super) ratio: [u32; 2],
    pub(super) latency: u32,
    pub(super) scale: &'static [u32],
    /// Channels, viewers of each.
    pub(super) channels: (u32, u32),
    pub(super) audio: u32,
    /// Viewers there already, joins a second.
    pub(super) join: (u32, u32),
    /// Where the search begins and ends.
    pub(super) most: (u32, u32),
    pub(super) memory: [u32; 2],
    pub(super) stalled: [u32; 2],
    pub(super) cutoff: u32,
    /// Clients, seats.
    pub(super) plays: (u32, u32),
    pub(super) enters: u64,
    /// Viewers who are watched closely, those beside them, those who join at once, and those few beside a crowd.
    pub(super) fairness: Fairness,
    /// Viewers with sound and without.
    pub(super) sound: u32,
    /// Before each turn of a paced run.
    pub(super) warm_up: Duration,
}

impl Counts {
    pub(super) const FULL: Self = Self {
        ratio: [200, 500],
        latency: 500,
        scale: &[10, 50, 200, 500, 1000, 2000],
        channels: (100, 4),
        audio: 200,
        join: (500, 100),
        most: (1000, 10_000),
        memory: [200, 1000],
        stalled: [50, 250],
        cutoff: 1000,
        plays: (2000, 50),
        enters: 10_000_000,
        fairness: Fairness { watched: 300, crowd: 1500, rush: 2000, few: 20 },
        sound: 500,
        warm_up: Duration::from_secs(2),
    };
    pub(super) const QUICK: Self = Self {
        ratio: [2, 5],
        latency: 5,
        scale: &[2, 5],
        channels: (3, 2),
        audio: 2,
        join: (5, 20),
        most: (4, 8),
        memory: [5, 25],
        stalled: [3, 13],
        cutoff: 10,
        plays: (40, 8),
        enters: 200_000,
        fairness: Fairness { watched: 6, crowd: 20, rush: 40, few: 4 },
        sound: 3,
        warm_up: Duration::from_millis(200),
    };
}

/// One paced run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) transport: Transport,
    pub(super) channels: u32,
    /// Of each channel.
    pub(super) viewers: u32,
    /// Packets a second.
    pub(super) audio: u32,
    /// Of the video, in kbit/s.
    pub(super) kilobits: u64,
}

/// What streams usually have, in kbit/s.
const KILOBITS: u64 = 2_000;

impl Key {
    pub(super) const fn one(transport: Transport, viewers: u32) -> Self {
        Self { transport, channels: 1, viewers, audio: 0, kilobits: KILOBITS }
    }

    fn what(self) -> String {
        let channels =
            if self.channels > 1 { format!("{} channels, ", self.channels) } else { String::new() };
        let audio = if self.audio > 0 { ", with sound" } else { "" };
        let rate =
            if self.kilobits == KILOBITS { String::new() } else { format!(" of {} kbit/s", self.kilobits) };
        let viewers =
            if self.viewers == 1 { "1 viewer".to_owned() } else { format!("{} viewers", self.viewers) };
        format!("{}, {channels}{viewers}{rate}{audio}: raw loop and server", self.transport)
    }
}

/// What came of a paced run.
#[derive(Clone, Debug)]
pub(super) struct Paced {
    pub(super) key: Key,
    /// `None`: the raw loop ran alone.
    pub(super) over_raw: Option<Comparison>,
    pub(super) raw: Vec<Measured>,
    pub(super) served: Vec<Measured>,
    /// What must not be.
    pub(super) wrong: Vec<String>,
    /// Send calls of our own server for each frame of each viewer.
    pub(super) calls_per_frame: Option<f64>,
}

/// Of all rounds.
pub(super) fn rounds(turns: &[Measured], of: impl Fn(&Measured) -> f64) -> Option<Spread> {
    spread(turns.iter().map(of))
}

/// The median of all rounds; not a number without any.
pub(super) fn median(turns: &[Measured], of: impl Fn(&Measured) -> f64) -> f64 {
    rounds(turns, of).map_or(f64::NAN, |spread| spread.median)
}

impl Paced {
    fn new(key: Key, report: limit::Report) -> Self {
        let of = |side| {
            let rows = report.rows.iter().filter(|row| row.side == side);
            rows.map(|row| row.measured.clone()).collect()
        };
        let (raw, served) = (of(Side::Raw), of(Side::Server));
        let over_raw = report.comparisons.first().copied();
        Self { key, over_raw, raw, served, wrong: report.wrong, calls_per_frame: None }
    }

    /// What makes its figures less certain.
    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let sum = |turns: &[Measured], of: fn(&Measured) -> u64| turns.iter().map(of).sum::<u64>();
        let (raw, own) =
            (sum(&self.raw, |turn| turn.lost), sum(&self.served, |turn| turn.udp_drops.unwrap_or(0)));
        if raw + own > 0 {
            notes.push(format!(
                "packets were lost: {raw} of the raw loop, {own} of the server at the tool's sockets"
            ));
        }
        let busy = median(&self.served, |turn| turn.receiver_share);
        if busy > BUSY {
            let percent = 100.0 * busy;
            notes.push(format!("the tool's receiving thread used {percent:.0} % of its core: it limits too"));
        }
        notes
    }

    /// Where the server is cheaper than what does less.
    fn beaten(&self, cpu: Option<Spread>) -> Option<String> {
        let many = self.key.channels * self.key.viewers >= MANY;
        let beaten = many && cpu.is_some_and(|cpu| cpu.median < BEATEN && cpu.most < 1.0);
        beaten.then(|| "the server is cheaper than the raw loop: the raw loop is wrong".to_owned())
    }
}

/// The bandwidth class in which such a stream fits with its sound, its key frames not held back for long; in kbit/s.
const fn class_for(kilobits: u64) -> u64 {
    kilobits + kilobits / 2
}

/// A server that runs already.
#[derive(Clone, Debug)]
pub(super) struct Other {
    /// Where viewers watch; `{number}` stands for the channel's.
    pub(super) watch: String,
    /// Where streams are published, likewise.
    pub(super) publish: String,
    pub(super) pid: Option<u32>,
    /// What the names of its sending threads begin with, where that was said.
    pub(super) worker_threads: Option<String>,
}

/// The suite at work.
pub(super) struct Bench {
    pub(super) tools: Tools,
    pub(super) progress: Progress,
    pub(super) counts: Counts,
    pub(super) rounds: u32,
    pub(super) seconds: u64,
    pub(super) server_core: usize,
    pub(super) tool_core: usize,
    /// How long sound may wait on our own server, in milliseconds; `None`: as long as it does by itself.
    pub(super) gather: Option<u32>,
    /// `None`: the server is ours.
    pub(super) other: Option<Other>,
    pub(super) rows: Vec<Row>,
    pub(super) paced: Vec<Paced>,
}

impl Bench {
    /// Shows a row, and keeps it.
    pub(super) fn add(&mut self, row: Row) {
        self.progress.print(&row.to_string());
        self.rows.push(row);
    }

    /// Whether the server is ours.
    pub(super) const fn is_own(&self) -> bool {
        self.other.is_none()
    }

    /// What our own server usually has.
    pub(super) fn setup(&self, channels: u32) -> Setup {
        let cores = vec![self.server_core];
        let (kilobits, gather) = (class_for(KILOBITS), self.gather);
        Setup { channels, seats: SEATS, kilobits, gather, workers: 1, cores, window: LONG }
    }

    /// A server of our own, or the one that is there.
    ///
    /// # Errors
    /// Ours does not start.
    pub(super) fn stage(&self, setup: &Setup) -> io::Result<Stage> {
        match &self.other {
            Some(other) => Ok(Stage::other(other.watch.clone(), other.publish.clone(), other.pid)),
            None => Stage::start(&self.tools, setup),
        }
    }

    /// Looks as a tool at work does.
    pub(super) fn look(&self) -> impl FnMut() -> io::Result<()> + use<'_> {
        || {
            self.progress.show();
            Ok(())
        }
    }

    /// Waits, and ends early only when the user wants it.
    ///
    /// # Errors
    /// The user has ended the suite.
    pub(super) fn pause(&self, time: Duration) -> io::Result<()> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.tools.go_on()?;
            self.progress.show();
            std::thread::sleep(
                Duration::from_millis(20).min(until.saturating_duration_since(Instant::now())),
            );
        }
        Ok(())
    }

    /// A broadcaster on the first channel, on air.
    ///
    /// # Errors
    /// It was refused, or nothing of it came on.
    pub(super) fn broadcaster(&self, stage: &Stage, seconds: u64) -> io::Result<Tool> {
        self.broadcaster_on(stage, 1, seconds)
    }

    /// The same on the channel of this number, which had no broadcaster yet.
    ///
    /// # Errors
    /// See [`broadcaster`](Self::broadcaster).
    pub(super) fn broadcaster_on(&self, stage: &Stage, number: u32, seconds: u64) -> io::Result<Tool> {
        let url = Target::numbered(&stage.publish, number);
        let arguments = [url, "--seconds".to_owned(), seconds.to_string()];
        let mut push = self.tools.start("push", &arguments, Duration::from_secs(seconds + 30))?;
        let until = Instant::now() + if self.is_own() { ON_AIR_MAX } else { ON_AIR_GUESS };
        let packets = format!("slotcast_ingest_packets_total{{channel=\"channel{number}\"}}");
        loop {
            if let Some(why) = push.has_failed() {
                return Err(io::Error::other(why));
            }
            match self.is_own() {
                // A channel that never had a broadcaster is not in the metric.
                true if stage.metric(&packets).unwrap_or(0.0) >= ON_AIR_PACKETS => return Ok(push),
                true if Instant::now() > until => {
                    return Err(io::Error::other("the stream did not come on air"));
                }
                false if Instant::now() > until => return Ok(push),
                _ => self.pause(Duration::from_millis(50))?,
            }
        }
    }

    /// Seconds of a paced run, about.
    pub(super) fn paced_seconds(&self, key: Key) -> f64 {
        self.limit_seconds(key, self.rounds, self.seconds)
    }

    fn limit_seconds(&self, key: Key, rounds: u32, seconds: u64) -> f64 {
        let viewers = f64::from(key.channels) * f64::from(key.viewers);
        let turns = 2.0 * (seconds as f64 + self.counts.warm_up.as_secs_f64());
        f64::from(rounds) * (turns + AROUND_TURNS + viewers * CONNECT) + 0.5
    }

    /// Runs `load limit`; without `stage` the raw loop alone.
    ///
    /// # Errors
    /// Those of the tool.
    pub(super) fn limit(
        &self,
        key: Key,
        (rounds, seconds): (u32, u64),
        stage: Option<&Stage>,
    ) -> io::Result<Paced> {
        let mut arguments = Vec::new();
        let mut say = |name: &str, value: String| arguments.extend([name.to_owned(), value]);
        say("--transport", key.transport.name().to_owned());
        say("--channels", key.channels.to_string());
        say("--receivers", key.viewers.to_string());
        say("--audio", key.audio.to_string());
        say("--bit-rate", format!("{}kbit/s", key.kilobits));
        say("--rounds", rounds.to_string());
        say("--seconds", seconds.to_string());
        say("--warm-up", self.counts.warm_up.as_millis().to_string());
        say("--send-core", self.server_core.to_string());
        say("--tool-core", self.tool_core.to_string());
        if let Some(stage) = stage {
            say("--watch", stage.watch.clone());
            say("--publish", stage.publish.clone());
            // Where nobody said which process it is, our own takes its place, and its CPU time is not looked at.
            say("--pid", stage.pid.unwrap_or_else(std::process::id).to_string());
            if let Some(other) = &self.other {
                // Where nobody said which threads send, the whole process counts.
                say("--worker-threads", other.worker_threads.clone().unwrap_or_default());
            }
        }
        let at_most = Duration::from_secs_f64(3.0 * self.limit_seconds(key, rounds, seconds) + 120.0);
        let tool = self.tools.start("limit", &arguments, at_most)?;
        Ok(Paced::new(key, tool.report(&self.tools, &mut self.look())?))
    }

    /// A paced run beside a fresh server, or what is known of it from before.
    ///
    /// # Errors
    /// The server does not start, or the tool breaks down.
    pub(super) fn paced(&mut self, key: Key) -> io::Result<Paced> {
        if let Some(known) = self.paced.iter().find(|paced| paced.key == key) {
            return Ok(known.clone());
        }
        self.progress.begin(&key.what(), self.paced_seconds(key));
        let setup = Setup { kilobits: class_for(key.kilobits), ..self.setup(key.channels) };
        let stage = self.stage(&setup)?;
        let mut paced = self.limit(key, (self.rounds, self.seconds), Some(&stage))?;
        if paced.over_raw.is_none() {
            return Err(io::Error::other(format!("no round came to its end: {}", paced.wrong.join("; "))));
        }
        if self.is_own() {
            let frames = stage.metric("slotcast_viewer_frames_total")?;
            let calls = stage.metric("slotcast_send_calls_total")?;
            paced.calls_per_frame = Some(calls / frames);
        }
        drop(stage);
        self.progress.end();
        self.paced.push(paced.clone());
        Ok(paced)
    }

    /// Whose CPU time counts: the sending threads' where they are known, else that of the whole process. `None`: nobody
    /// said which process the server is.
    fn cpu<T>(&self, workers: T, process: T) -> Option<T> {
        match &self.other {
            None => Some(workers),
            Some(Other { pid: Some(_), worker_threads: Some(_), .. }) => Some(workers),
            Some(Other { pid: Some(_), .. }) => Some(process),
            Some(Other { pid: None, .. }) => None,
        }
    }

    /// CPU time over the raw loop's; see [`cpu`](Self::cpu).
    pub(super) fn cpu_ratio(&self, paced: &Paced) -> Option<Spread> {
        paced.over_raw.and_then(|over_raw| self.cpu(over_raw.workers, over_raw.process))
    }

    /// CPU time per packet of one turn; see [`cpu`](Self::cpu).
    pub(super) fn cpu_us(&self, turn: &Measured) -> f64 {
        self.cpu(turn.cpu_us_per_packet, turn.process_cpu_us_per_packet).unwrap_or(f64::NAN)
    }

    /// A row that is made of a paced run, with what is wrong with that and what makes it less certain.
    pub(super) fn of_paced(&self, row: Row, paced: &Paced) -> Row {
        row.wrong(paced.wrong.clone()).notes(paced.notes())
    }

    /// The same for CPU time.
    pub(super) fn of_paced_cpu(&self, row: Row, paced: &Paced) -> Row {
        let cpu = self.cpu_ratio(paced);
        let unknown =
            cpu.is_none().then(|| "CPU time: say with --pid which process the server is".to_owned());
        self.of_paced(row, paced).notes(paced.beaten(cpu)).notes(unknown)
    }

    /// For the plots: the runs with one channel and without sound.
    pub(super) fn points(&self) -> Vec<Point> {
        let is_plain = |key: Key| key == Key::one(key.transport, key.viewers);
        let plain = self.paced.iter().filter(|paced| is_plain(paced.key));
        plain
            .flat_map(|paced| {
                [(true, &paced.raw), (false, &paced.served)].map(|side| self.point(paced, side))
            })
            .collect()
    }

    fn point(&self, paced: &Paced, (raw, turns): (bool, &Vec<Measured>)) -> Point {
        let quantiles: [fn(&Percentiles) -> f64; QUANTILES.len()] =
            [|ms| ms.p50, |ms| ms.p90, |ms| ms.p99, |ms| ms.p999, |ms| ms.max];
        let latency_ms: Quantiles = quantiles.map(|of| median(turns, |turn| turn.latency(of)));
        let known = raw || self.cpu_ratio(paced).is_some();
        let cpu = |of: &dyn Fn(&Measured) -> f64| rounds(turns, of).filter(|_| known);
        Point {
            transport: paced.key.transport,
            raw,
            viewers: paced.key.viewers,
            cpu_us_per_packet: cpu(&|turn| if raw { turn.cpu_us_per_packet } else { self.cpu_us(turn) }),
            process_cpu_us_per_packet: cpu(&|turn| turn.process_cpu_us_per_packet),
            latency_ms,
            ratio: if raw { None } else { self.cpu_ratio(paced) },
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::limit::Row as Line;

    /// With the counts of a quick run and a server of its own.
    pub(in crate::suite) fn bench() -> Bench {
        Bench {
            tools: Tools::new(Arc::default(), None, false).unwrap(),
            progress: Progress::new(0.0),
            counts: Counts::QUICK,
            rounds: 2,
            seconds: 1,
            server_core: 0,
            tool_core: 0,
            gather: None,
            other: None,
            rows: Vec::new(),
            paced: Vec::new(),
        }
    }

    /// What two rounds of `key` would be, the second with what `fault` does to the server's.
    pub(in crate::suite) fn paced(key: Key, fault: &dyn Fn(&mut Measured)) -> Paced {
        let raw = Measured {
            packets: 1000,
            packets_per_second: 1000.0,
            cpu_us_per_packet: 1.0,
            process_cpu_us_per_packet: 1.0,
            calls_per_frame: Some(1.0),
            latency_ms: ms(0.1),
            ..Measured::default()
        };
        let mut served = raw.clone();
        fault(&mut served);
        let (raw, served) = ([raw.clone(), raw.clone()], [raw, served]);
        let comparison = limit::compare(key.transport, (key.channels, key.viewers), &raw, &served);
        let wrong = raw.iter().zip(&served).flat_map(|(raw, served)| limit::wrong(raw, served)).collect();
        let lines = [(Side::Raw, raw), (Side::Server, served)];
        let rows = lines.map(|(side, turns)| turns.map(|measured| line(side, measured)));
        let report = limit::Report {
            rows: rows.into_iter().flatten().collect(),
            comparisons: vec![comparison],
            wrong,
            ..limit::Report::default()
        };
        Paced { calls_per_frame: Some(1.0), ..Paced::new(key, report) }
    }

    fn line(side: Side, measured: Measured) -> Line {
        Line { transport: Transport::Udp, side, round: 1, channels: 1, receivers: 200, measured }
    }

    fn ms(p50: f64) -> Option<Percentiles> {
        Some(Percentiles { count: 1, p50, p90: p50, p99: p50, p999: p50, max: p50 })
    }

    #[test]
    fn a_report_of_the_limit_tool_is_parted_into_raw_loop_and_server() {
        let busy = |turn: &mut Measured| (turn.udp_drops, turn.receiver_share) = (Some(2), 1.8);
        let paced = paced(Key::one(Transport::Udp, 200), &busy);
        assert_eq!((paced.raw.len(), paced.served.len()), (2, 2));
        assert!((median(&paced.raw, |turn| turn.latency(|ms| ms.p50)) - 0.1).abs() < f64::EPSILON);
        assert!(median(&[], |turn| turn.core_share).is_nan());
        let notes = paced.notes();
        assert!(notes[0].contains("2 of the server at the tool's") && notes[1].contains("90 %"), "{notes:?}");
        let cpu = Spread { median: 0.9, least: 0.8, most: 0.95 };
        assert!(paced.beaten(Some(cpu)).is_some());
        assert_eq!(paced.beaten(Some(Spread { most: 1.1, ..cpu })), None, "not in each round");
    }
}
