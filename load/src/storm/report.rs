//! What a storm did: the table, the JSON, and what is wrong.

use std::{
    collections::BTreeMap,
    fmt,
    time::{Duration, Instant},
};

use serde::Serialize;

use super::seen::{Seen, most_at_once, nanos};
use slotcast_tools::histogram::Histogram;

/// Durations, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Percentiles {
    pub(super) count: u64,
    pub(super) p50: f64,
    pub(super) p90: f64,
    pub(super) p99: f64,
    pub(super) max: f64,
}

impl Percentiles {
    pub(super) fn of(histogram: &Histogram) -> Self {
        let millis = |duration: Duration| duration.as_secs_f64() * 1e3;
        Self {
            count: histogram.count(),
            p50: millis(histogram.quantile(0.5)),
            p90: millis(histogram.quantile(0.9)),
            p99: millis(histogram.quantile(0.99)),
            max: millis(histogram.max()),
        }
    }

    pub(super) fn from(durations: impl Iterator<Item = Duration>) -> Self {
        let mut histogram = Histogram::default();
        durations.for_each(|duration| histogram.record(nanos(duration)));
        Self::of(&histogram)
    }
}

impl fmt::Display for Percentiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { count, p50, p90, p99, max } = self;
        write!(f, "p50 {p50:.2}  p90 {p90:.2}  p99 {p99:.2}  max {max:.2} ms  ({count})")
    }
}

/// What a control viewer saw, before the storm or during it.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct ControlPhase {
    pub(super) packets: u64,
    pub(super) lost: u64,
    /// From the stamp; without count where the stream carries none.
    pub(super) latency_ms: Percentiles,
    /// From one frame to the next.
    pub(super) gap_ms: Percentiles,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Control {
    pub(super) transport: &'static str,
    pub(super) before: ControlPhase,
    pub(super) during: ControlPhase,
}

/// How connections that are no viewers came out.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Kind {
    pub(super) what: &'static str,
    pub(super) count: usize,
    pub(super) closed_by_server: usize,
    /// From the moment at which they fell silent.
    pub(super) closed_after_ms: Percentiles,
}

/// How the end of the window came out.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Ending {
    /// Whether the end was given, or taken to be the first BYE or close.
    pub(super) end_is_known: bool,
    pub(super) watching: usize,
    pub(super) told: usize,
    pub(super) closed: usize,
    /// Against the end; negative: before it.
    pub(super) last_media_ms_least: f64,
    pub(super) last_media_ms_most: f64,
    pub(super) told_ms_most: f64,
    pub(super) closed_ms_most: f64,
    /// Viewers who got packets that were sent after the end, or read later than the grace allows.
    pub(super) media_after_end: usize,
    /// RTP behind a BYE on one connection.
    pub(super) media_after_bye: u64,
}

/// One storm.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Report {
    pub(super) scenario: &'static str,
    pub(super) seconds: f64,
    pub(super) seats: usize,
    pub(super) clients: usize,
    /// PLAY was answered 200.
    pub(super) played: usize,
    pub(super) refused: BTreeMap<String, usize>,
    pub(super) failed: BTreeMap<String, usize>,
    pub(super) ended_by_server: usize,
    /// At one moment, control viewers included.
    pub(super) most_playing: usize,
    pub(super) most_receiving: usize,
    /// Above the seats; must be 0.
    pub(super) over_admitted: usize,
    /// Packets that came to clients who were refused; must be 0.
    pub(super) packets_without_seat: u64,
    /// From the first request for a seat to the last.
    pub(super) asked_within_ms: f64,
    pub(super) refusal_ms: Percentiles,
    pub(super) play_answer_ms: Percentiles,
    pub(super) play_to_packet_ms: Percentiles,
    pub(super) play_to_key_ms: Percentiles,
    /// By the clients who read everything.
    pub(super) lost: u64,
    pub(super) kinds: Vec<Kind>,
    pub(super) ending: Option<Ending>,
    pub(super) controls: Vec<Control>,
    /// How late this tool's threads came to look at their clocks.
    pub(super) tool_late_ms: Percentiles,
    /// What must not be; the exit code is 1 when there is any.
    pub(super) wrong: Vec<String>,
    /// What is worth a look.
    pub(super) notes: Vec<String>,
}

impl Report {
    /// Takes in what the clients saw, and judges it.
    pub(super) fn judge(&mut self, crowd: &[Seen], controls: &[Seen]) {
        let now = Instant::now();
        let all = || crowd.iter().chain(controls);
        self.clients = crowd.len();
        self.played = crowd.iter().filter(|seen| seen.playing.is_some()).count();
        self.most_playing = most_at_once(all().filter_map(|seen| seen.played(now)));
        self.most_receiving = most_at_once(all().filter_map(Seen::received));
        self.over_admitted = self.most_playing.max(self.most_receiving).saturating_sub(self.seats);
        self.packets_without_seat = crowd.iter().map(|seen| seen.without_seat).sum();
        self.lost = crowd.iter().map(|seen| seen.lost).sum();
        let has_ended = |seen: &&Seen| seen.playing.is_some() && seen.closed.is_some();
        self.ended_by_server = crowd.iter().filter(has_ended).count();
        for refused in crowd.iter().filter_map(|seen| seen.refused.as_ref()) {
            let what = format!("{} {} {}", refused.method, refused.status, refused.reason);
            *self.refused.entry(what).or_default() += 1;
        }
        for failed in crowd.iter().filter_map(|seen| seen.failed.clone()) {
            *self.failed.entry(failed).or_default() += 1;
        }
        self.time(crowd);
        self.controls.extend(controls.iter().filter_map(control));
        if self.over_admitted > 0 {
            self.wrong.push(format!("{} viewers above the seats", self.over_admitted));
        }
        if self.packets_without_seat > 0 {
            self.wrong.push(format!("{} packets to clients who were refused", self.packets_without_seat));
        }
        for control in &self.controls {
            let lost = control.before.lost + control.during.lost;
            if lost > 0 {
                self.wrong.push(format!("the {} control viewer lost {lost} packets", control.transport));
            }
            if control.during.packets == 0 {
                self.wrong.push(format!("the {} control viewer got nothing", control.transport));
            }
        }
    }

    fn time(&mut self, crowd: &[Seen]) {
        let spread = |from: Option<Instant>, to: Option<Instant>| Some(to?.saturating_duration_since(from?));
        let asked = || crowd.iter().filter_map(|seen| seen.asked);
        let within = spread(asked().min(), asked().max()).unwrap_or_default();
        self.asked_within_ms = within.as_secs_f64() * 1e3;
        let times = |of: &dyn Fn(&Seen) -> Option<Duration>| Percentiles::from(crowd.iter().filter_map(of));
        self.refusal_ms = times(&|seen| {
            let asked = if seen.refused.as_ref()?.method == "PLAY" { seen.play_asked } else { seen.asked };
            spread(asked, seen.refused.as_ref().map(|refused| refused.at))
        });
        self.play_answer_ms = times(&|seen| spread(seen.play_asked, seen.playing));
        self.play_to_packet_ms = times(&|seen| spread(seen.play_asked, seen.first_packet));
        self.play_to_key_ms = times(&|seen| spread(seen.play_asked, seen.first_key));
    }

    /// Whether nothing is wrong.
    pub(super) const fn is_well(&self) -> bool {
        self.wrong.is_empty()
    }
}

fn control(seen: &Seen) -> Option<Control> {
    let recorder = seen.control.as_ref()?;
    let [before, during] = recorder.phases.each_ref().map(|phase| ControlPhase {
        packets: phase.packets,
        lost: phase.lost,
        latency_ms: Percentiles::of(&phase.latency),
        gap_ms: Percentiles::of(&phase.gaps),
    });
    Some(Control { transport: if seen.udp { "UDP" } else { "TCP" }, before, during })
}

impl fmt::Display for ControlPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} packets, {} lost, ", self.packets, self.lost)?;
        let (name, times) = match self.latency_ms.count {
            0 => ("frame gap", &self.gap_ms),
            _ => ("latency", &self.latency_ms),
        };
        write!(f, "{name} {times}; longest gap {:.1} ms", self.gap_ms.max)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} ({:.1} s)", self.scenario, self.seconds)?;
        let refused: usize = self.refused.values().sum();
        let failed: usize = self.failed.values().sum();
        writeln!(
            f,
            "  clients           {}: {} played, {refused} refused, {failed} failed, {} ended by the server",
            self.clients, self.played, self.ended_by_server
        )?;
        writeln!(
            f,
            "  seats             {}: most at once {} playing, {} receiving; over-admitted {}",
            self.seats, self.most_playing, self.most_receiving, self.over_admitted
        )?;
        for (what, count) in self.refused.iter().chain(&self.failed) {
            writeln!(f, "  {count:>8} x        {what}")?;
        }
        if self.refusal_ms.count > 0 {
            writeln!(f, "  asked within      {:.1} ms", self.asked_within_ms)?;
        }
        for (what, times) in [
            ("refusal", &self.refusal_ms),
            ("PLAY answered", &self.play_answer_ms),
            ("to first packet", &self.play_to_packet_ms),
            ("to key frame", &self.play_to_key_ms),
        ] {
            if times.count > 0 {
                writeln!(f, "  {what:<16}  {times}")?;
            }
        }
        writeln!(f, "  lost by clients   {}", self.lost)?;
        for kind in &self.kinds {
            let Kind { what, count, closed_by_server, closed_after_ms } = kind;
            writeln!(f, "  {what:<16}  {count}, {closed_by_server} closed by the server: {closed_after_ms}")?;
        }
        if let Some(ending) = &self.ending {
            ending.fmt(f)?;
        }
        for Control { transport, before, during } in &self.controls {
            writeln!(f, "  control {transport} before {before}")?;
            writeln!(f, "  control {transport} during {during}")?;
        }
        writeln!(f, "  tool's own delay  {}", self.tool_late_ms)?;
        self.notes.iter().try_for_each(|note| writeln!(f, "  note              {note}"))?;
        self.wrong.iter().try_for_each(|wrong| writeln!(f, "  WRONG             {wrong}"))
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let against = if self.end_is_known { "the end" } else { "the first goodbye" };
        writeln!(
            f,
            "  ending            {} watched, {} were told (BYE), {} closed; against {against}: last media {:.1} to {:.1} ms, \
             told by {:.1} ms, closed by {:.1} ms",
            self.watching,
            self.told,
            self.closed,
            self.last_media_ms_least,
            self.last_media_ms_most,
            self.told_ms_most,
            self.closed_ms_most
        )?;
        writeln!(
            f,
            "  after the end     media to {} viewers; {} packets after a BYE",
            self.media_after_end, self.media_after_bye
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_viewers_than_seats_are_wrong_and_media_without_one_too() {
        let now = Instant::now();
        let viewer = Seen { playing: Some(now - Duration::from_secs(1)), ..Seen::default() };
        let mut report = Report { seats: 1, ..Report::default() };
        report.judge(std::slice::from_ref(&viewer), &[]);
        assert!(report.is_well() && report.most_playing == 1, "{report}");
        let stray = Seen { without_seat: 3, ..Seen::default() };
        let mut report = Report { seats: 1, ..Report::default() };
        report.judge(&[viewer.clone(), viewer, stray], &[]);
        assert_eq!((report.over_admitted, report.packets_without_seat, report.wrong.len()), (1, 3, 2));
    }
}
