//! What came of a measurement: sums over viewers, and how they are shown.
//!
//! Not here: what the viewers themselves and the server's process used (`uses`).
//! Invariant: what is this tool's own fault is not called wrong.

use std::{
    collections::BTreeMap,
    fmt,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::{
    ViewConfig,
    uses::{ServerUse, ToolUse},
};
use slotcast_tools::{
    histogram::{Histogram, Percentiles},
    watch::{Outcome, Seen, WatchReport, most_at_once},
};

/// A packet that takes longer has met a stall.
const STALL_MS: f64 = 1000.0;
/// Characters of a reason that are shown.
const REASON_CHARS_MAX: usize = 120;

/// Viewers who were refused alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// RTSP status.
    pub status: u16,
    /// How many.
    pub count: u64,
    /// In the server's words.
    pub reason: String,
}

/// Viewers who ended alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// How many.
    pub count: u64,
    /// Why.
    pub why: String,
}

/// Viewers of one transport, or all.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Group {
    /// They tried.
    pub viewers: u64,
    /// PLAY was answered with 200.
    pub connected: u64,
    /// The server said no.
    pub refused: Vec<Refused>,
    /// Ended by the server while they watched, or failed.
    pub dropped: Vec<Count>,
    /// RTP packets sent in the window that came.
    pub packets: u64,
    /// Per second.
    pub packets_per_second: f64,
    /// Of RTP packets.
    pub mbit_per_second: f64,
    /// From the first packet to the last, by sequence number, window or not.
    pub lost: u64,
    /// Likewise: came after a later one.
    pub reordered: u64,
    /// Likewise: came twice.
    pub duplicates: u64,
    /// Packets behind the server's BYE, on one connection.
    pub after_goodbye: u64,
    /// From the moment at which a packet was to be sent to the viewer's hand; counts stamped packets only.
    pub latency_ms: Option<Percentiles>,
    /// From sending PLAY to the first packet.
    pub first_packet_ms: Option<Percentiles>,
    /// From sending PLAY to the first packet of a key frame.
    pub first_key_ms: Option<Percentiles>,
    /// Packets of the viewer, among those connected, that got the fewest in the window.
    pub least_packets: u64,
    /// ... and the most.
    pub most_packets: u64,
}

impl Group {
    fn new(viewers: &[&Seen], latency: &Histogram, window: Duration) -> Self {
        let inside: Vec<&&Seen> = viewers.iter().filter(|seen| seen.playing.is_some()).collect();
        let sum = |of: fn(&Seen) -> u64| inside.iter().map(|seen| of(seen)).sum::<u64>();
        let (packets, bytes) = (sum(|seen| seen.measured_packets), sum(|seen| seen.measured_bytes));
        let measured = || inside.iter().map(|seen| seen.measured_packets);
        Self {
            viewers: viewers.len() as u64,
            connected: inside.len() as u64,
            refused: refused(viewers),
            dropped: dropped(viewers),
            packets,
            packets_per_second: packets as f64 / window.as_secs_f64(),
            mbit_per_second: bytes as f64 * 8e-6 / window.as_secs_f64(),
            lost: sum(|seen| seen.report.lost),
            reordered: sum(|seen| seen.reordered),
            duplicates: sum(|seen| seen.duplicates),
            after_goodbye: sum(|seen| seen.after_bye),
            latency_ms: Percentiles::of(latency),
            first_packet_ms: Percentiles::of_durations(
                inside.iter().filter_map(|seen| seen.first_packet_in()),
            ),
            first_key_ms: Percentiles::of_durations(inside.iter().filter_map(|seen| seen.first_key_in())),
            least_packets: measured().min().unwrap_or(0),
            most_packets: measured().max().unwrap_or(0),
        }
    }
}

fn most_playing(seen: &WatchReport, targets: usize) -> u64 {
    let now = Instant::now();
    let of = |target| seen.viewers.iter().filter(move |seen| seen.target == target);
    let most = (0..targets).map(|target| most_at_once(of(target).filter_map(|seen| seen.played(now))));
    most.max().unwrap_or(0) as u64
}

fn refused(viewers: &[&Seen]) -> Vec<Refused> {
    let mut by_status: BTreeMap<u16, Refused> = BTreeMap::new();
    for seen in viewers.iter().filter(|seen| seen.playing.is_none()) {
        if let Outcome::Refused { status, reason } = &seen.report.outcome {
            let first = || Refused { status: *status, count: 0, reason: plain(reason) };
            by_status.entry(*status).or_insert_with(first).count += 1;
        }
    }
    by_status.into_values().collect()
}

fn dropped(viewers: &[&Seen]) -> Vec<Count> {
    let mut by_why: BTreeMap<String, u64> = BTreeMap::new();
    for seen in viewers {
        let why = match &seen.report.outcome {
            Outcome::Left if seen.playing.is_some() => continue,
            Outcome::Left => "did not get to play before the end".to_owned(),
            Outcome::Refused { .. } if seen.playing.is_none() => continue,
            Outcome::Refused { status, reason } => format!("{status} while watching: {}", plain(reason)),
            Outcome::Ended => match &seen.goodbye {
                Some(reason) => format!("ended by the server: {}", plain(reason)),
                None => "the server closed the connection".to_owned(),
            },
            Outcome::Failed(why) => plain(why),
        };
        *by_why.entry(why).or_default() += 1;
    }
    by_why.into_iter().map(|(why, count)| Count { count, why }).collect()
}

/// A peer's words on one line.
fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(REASON_CHARS_MAX).collect()
}

/// All of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ViewReport {
    /// Length of the window.
    pub seconds: f64,
    /// Until the last viewer played or was gone.
    pub joined_seconds: f64,
    /// URLs watched.
    pub urls: u64,
    /// Everybody.
    pub all: Group,
    /// Where there were both.
    pub udp: Option<Group>,
    /// See above.
    pub tcp: Option<Group>,
    /// The viewers themselves.
    pub tool: ToolUse,
    /// The server's process, where it was named.
    pub server: Option<ServerUse>,
    /// Most viewers at one time, of the URL that had the most.
    pub most_playing: u64,
    /// What no server may do, by its name; the exit code is 1 when there is any: `lost`, `duplicates`, `media after the end`, `over the seats`, `stalled`.
    pub wrong: Vec<String>,
}

impl ViewReport {
    pub(super) fn new(
        seen: &WatchReport,
        config: &ViewConfig,
        window: Duration,
        joined_in: Duration,
    ) -> Self {
        let of = |udp| seen.viewers.iter().filter(move |seen| seen.report.udp == udp).collect::<Vec<_>>();
        let (tcp, udp) = (of(false), of(true));
        let [tcp_latency, udp_latency] = &seen.latency;
        let mut latency = tcp_latency.clone();
        latency.merge(udp_latency);
        let both = !tcp.is_empty() && !udp.is_empty();
        Self {
            seconds: window.as_secs_f64(),
            joined_seconds: joined_in.as_secs_f64(),
            urls: config.crowd.targets.len() as u64,
            all: Group::new(&seen.viewers.iter().collect::<Vec<_>>(), &latency, window),
            udp: both.then(|| Group::new(&udp, udp_latency, window)),
            tcp: both.then(|| Group::new(&tcp, tcp_latency, window)),
            tool: ToolUse::default(),
            server: None,
            most_playing: most_playing(seen, config.crowd.targets.len()),
            wrong: Vec::new(),
        }
        .judged(seen, config.seats)
    }

    /// With what is wrong. What this tool's own sockets dropped is no fault of a server.
    fn judged(mut self, seen: &WatchReport, seats: Option<u32>) -> Self {
        let lost = |udp| {
            seen.viewers
                .iter()
                .filter(|seen| seen.report.udp == udp)
                .map(|seen| seen.report.lost)
                .sum::<u64>()
        };
        let lost = lost(false) + if seen.udp_drops == Some(0) { lost(true) } else { 0 };
        let all = &self.all;
        let mut wrong = |is: bool, what: String| self.wrong.extend(is.then_some(what));
        wrong(lost > 0, format!("lost: {lost} packets"));
        wrong(all.duplicates > 0, format!("duplicates: {} packets came twice", all.duplicates));
        wrong(
            all.after_goodbye > 0,
            format!("media after the end: {} packets behind a BYE", all.after_goodbye),
        );
        if let Some(seats) = seats.map(u64::from) {
            let most = self.most_playing;
            wrong(most > seats, format!("over the seats: {most} viewers at one time, for {seats} seats"));
        }
        let longest = all.latency_ms.map_or(0.0, |latency| latency.max);
        wrong(longest > STALL_MS, format!("stalled: a packet took {longest:.0} ms"));
        self
    }

    /// The groups that are shown, each with its name.
    fn groups(&self) -> impl Iterator<Item = (&'static str, &Group)> {
        let all = std::iter::once(("all", &self.all));
        all.chain(self.udp.iter().map(|group| ("udp", group)))
            .chain(self.tcp.iter().map(|group| ("tcp", group)))
    }
}

impl fmt::Display for ViewReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} viewers of {} URLs; joined after {:.1} s, measured for {:.1} s\n",
            self.all.viewers, self.urls, self.joined_seconds, self.seconds
        )?;
        writeln!(
            f,
            "      connected  refused  dropped   packets/s    Mbit/s    lost  reordered  twice  least to most packets"
        )?;
        for (name, group) in self.groups() {
            writeln!(
                f,
                "{name:<4}  {:>9}  {:>7}  {:>7}  {:>10.0}  {:>8.1}  {:>6}  {:>9}  {:>5}  {} to {}",
                group.connected,
                group.refused.iter().map(|refused| refused.count).sum::<u64>(),
                group.dropped.iter().map(|dropped| dropped.count).sum::<u64>(),
                group.packets_per_second,
                group.mbit_per_second,
                group.lost,
                group.reordered,
                group.duplicates,
                group.least_packets,
                group.most_packets,
            )?;
        }
        writeln!(f, "\n{:<24}     count     p50     p90     p99   p99.9      max", "milliseconds")?;
        for (name, group) in self.groups() {
            write_times(f, name, "latency", &group.latency_ms)?;
            write_times(f, name, "PLAY to first packet", &group.first_packet_ms)?;
            write_times(f, name, "PLAY to key frame", &group.first_key_ms)?;
        }
        writeln!(f)?;
        for refused in &self.all.refused {
            writeln!(f, "refused  {} x {} {}", refused.count, refused.status, refused.reason)?;
        }
        for dropped in &self.all.dropped {
            writeln!(f, "dropped  {} x {}", dropped.count, dropped.why)?;
        }
        write!(f, "{}", self.tool)?;
        self.server.iter().try_for_each(|server| write!(f, "{server}"))?;
        self.wrong.iter().try_for_each(|wrong| writeln!(f, "WRONG    {wrong}"))
    }
}

fn write_times(
    f: &mut fmt::Formatter<'_>,
    group: &str,
    what: &str,
    times: &Option<Percentiles>,
) -> fmt::Result {
    let Some(times) = times else { return writeln!(f, "{group:<4}{what:<20}         -") };
    writeln!(
        f,
        "{group:<4}{what:<20}  {:>8}  {:>6.2}  {:>6.2}  {:>6.2}  {:>6.2}  {:>7.2}",
        times.count, times.p50, times.p90, times.p99, times.p999, times.max
    )
}
