//! What a storm did: the table, the JSON, and what is wrong.

use std::{
    collections::BTreeMap,
    fmt,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use slotcast_tools::{
    histogram::Percentiles,
    transport::Transport,
    watch::{Outcome, Seen, most_at_once},
};

/// A control viewer that gets nothing for so much longer than before the storm has seen a stall.
const STALL_MS: f64 = 1000.0;

/// Why lost packets are not judged.
const OWN_DROPS: &str = "this tool's own sockets dropped some";
const DROPS_UNKNOWN: &str = "the kernel does not tell what this tool's own sockets dropped";

/// What a control viewer saw, before the storm or during it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ControlPhase {
    /// RTP packets.
    pub packets: u64,
    /// Missing, by sequence number.
    pub lost: u64,
    /// From the stamp; `None`: no packet carried one.
    pub latency_ms: Option<Percentiles>,
    /// From one frame to the next; `None`: there was one frame at most.
    pub gap_ms: Option<Percentiles>,
}

/// A control viewer: it watches like any other while the storm goes on beside it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Control {
    /// How its media travels.
    pub transport: Transport,
    /// Before the storm.
    pub before: ControlPhase,
    /// While it lasted.
    pub during: ControlPhase,
}

/// How connections that are no usual viewers came out.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Kind {
    /// What they say or read.
    pub what: String,
    /// How many there were.
    pub count: usize,
    /// How many of them the server closed.
    pub closed_by_server: usize,
    /// From the moment at which they fell silent; `None`: none was closed.
    pub closed_after_ms: Option<Percentiles>,
}

/// How the end of the window came out.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Ending {
    /// Whether the end was given, or taken to be the first BYE or close.
    pub end_is_known: bool,
    /// Viewers who played, control viewers included.
    pub watching: usize,
    /// Of these, those who got a BYE.
    pub told: usize,
    /// Of these, those whose connection the server closed.
    pub closed: usize,
    /// When the viewer that got none first had its last packet, against the end; negative: before it. `None`: nobody
    /// got any.
    pub last_media_ms_least: Option<f64>,
    /// When the last packet of all came, likewise.
    pub last_media_ms_most: Option<f64>,
    /// When the last BYE came; `None`: nobody was told.
    pub told_ms_most: Option<f64>,
    /// When the last connection was closed; `None`: none was.
    pub closed_ms_most: Option<f64>,
    /// Viewers who got packets that were sent after the end, or read later than the grace allows; `None`: this tool
    /// was too late itself to judge.
    pub media_after_end: Option<usize>,
    /// RTP packets behind a BYE on one connection.
    pub media_after_bye: u64,
}

/// One storm.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct StormReport {
    /// Its name on the command line.
    pub scenario: String,
    /// How long it took, the control viewers' time before it included.
    pub seconds: f64,
    /// Whether all that the product promises counts as wrong where it is not kept.
    pub strict: bool,
    /// Seats of the channel, as the command line says.
    pub seats: usize,
    /// Clients of the crowd; control viewers are not among them.
    pub clients: usize,
    /// Clients whose PLAY was answered with 200.
    pub played: usize,
    /// Clients who were refused, by method, status and reason.
    pub refused: BTreeMap<String, usize>,
    /// Clients who failed otherwise, by reason.
    pub failed: BTreeMap<String, usize>,
    /// Clients whom the server ended while they played.
    pub ended_by_server: usize,
    /// Most who played at one moment, control viewers included.
    pub most_playing: usize,
    /// Most who received media at one moment, control viewers included.
    pub most_receiving: usize,
    /// Above the seats; must be 0.
    pub over_admitted: usize,
    /// Packets that came to clients who were refused; must be 0.
    pub packets_without_seat: u64,
    /// From the first request for a seat to the last; `None`: nobody asked.
    pub asked_within_ms: Option<f64>,
    /// From the request to its refusal.
    pub refusal_ms: Option<Percentiles>,
    /// From PLAY to its answer with 200.
    pub play_answer_ms: Option<Percentiles>,
    /// From PLAY to the first packet.
    pub play_to_packet_ms: Option<Percentiles>,
    /// From PLAY to the first packet of a key frame.
    pub play_to_key_ms: Option<Percentiles>,
    /// Packets that the clients who read everything missed.
    pub lost: u64,
    /// Packets that came to clients twice.
    pub duplicates: u64,
    /// Datagrams that the kernel dropped at this tool's own sockets; `None`: the kernel does not tell.
    pub udp_drops: Option<u64>,
    /// Connections that are no usual viewers.
    pub kinds: Vec<Kind>,
    /// How the window's end came out, where the storm saw it.
    pub ending: Option<Ending>,
    /// The control viewers.
    pub controls: Vec<Control>,
    /// How late this tool's threads came to look at their clocks.
    pub tool_late_ms: Option<Percentiles>,
    /// What must not be; the exit code is 1 when there is any.
    pub wrong: Vec<String>,
    /// What is worth a look.
    pub notes: Vec<String>,
}

impl StormReport {
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
        self.lost = crowd.iter().map(|seen| seen.report.lost).sum();
        self.duplicates = crowd.iter().map(|seen| seen.duplicates).sum();
        let has_ended = |seen: &&Seen| seen.playing.is_some() && seen.report.closed.is_some();
        self.ended_by_server = crowd.iter().filter(has_ended).count();
        for seen in crowd {
            match (&seen.report.outcome, seen.refused) {
                (Outcome::Refused { status, reason }, Some((method, _))) => {
                    *self.refused.entry(format!("{method} {status} {reason}")).or_default() += 1;
                }
                (Outcome::Failed(why), _) => *self.failed.entry(why.clone()).or_default() += 1,
                _ => {}
            }
        }
        self.time(crowd);
        if self.over_admitted > 0 {
            self.wrong.push(format!("over the seats: {} viewers too many", self.over_admitted));
        }
        if self.packets_without_seat > 0 {
            self.wrong.push(format!("{} packets to clients who were refused", self.packets_without_seat));
        }
        let failed: usize = self.failed.values().sum();
        if failed > 0 {
            self.promise(format!("{failed} clients failed"));
        }
        match (self.lost, self.udp_drops) {
            (0, _) => {}
            (lost, Some(0)) => self.promise(format!("lost: {lost} packets of the clients")),
            (lost, drops) => self.notes.push(format!(
                "the clients lost {lost} packets, not judged: {}",
                if drops.is_some() { OWN_DROPS } else { DROPS_UNKNOWN }
            )),
        }
        if self.duplicates > 0 {
            self.promise(format!("duplicates: {} packets came twice to clients", self.duplicates));
        }
        for seen in controls {
            self.judge_control(seen);
        }
    }

    fn judge_control(&mut self, seen: &Seen) {
        let Some(control) = control(seen) else { return };
        let transport = control.transport;
        let lost = control.before.lost + control.during.lost;
        let own = transport == Transport::Udp && self.udp_drops != Some(0);
        match lost {
            0 => {}
            _ if own => self.notes.push(format!(
                "the {transport} control viewer lost {lost} packets, not judged: {}",
                if self.udp_drops.is_some() { OWN_DROPS } else { DROPS_UNKNOWN }
            )),
            _ => self.wrong.push(format!("lost: {lost} packets of the {transport} control viewer")),
        }
        if seen.duplicates > 0 {
            let twice = seen.duplicates;
            self.wrong
                .push(format!("duplicates: {twice} packets came twice to the {transport} control viewer"));
        }
        if control.during.packets == 0 {
            self.wrong.push(format!("the {transport} control viewer got nothing"));
        }
        let longest = |phase: &ControlPhase| phase.gap_ms.map_or(0.0, |gap| gap.max);
        let (before, during) = (longest(&control.before), longest(&control.during));
        if during > before + STALL_MS {
            self.promise(format!("stalled: the {transport} control viewer got nothing for {during:.0} ms"));
        }
        self.controls.push(control);
    }

    /// Something is not as the product promises it: wrong only where the promises are asked for.
    pub(super) fn promise(&mut self, broken: String) {
        if self.strict { self.wrong.push(broken) } else { self.notes.push(broken) }
    }

    fn time(&mut self, crowd: &[Seen]) {
        let spread = |from: Option<Instant>, to: Option<Instant>| Some(to?.saturating_duration_since(from?));
        let asked = || crowd.iter().filter_map(|seen| seen.asked);
        self.asked_within_ms = spread(asked().min(), asked().max()).map(|within| within.as_secs_f64() * 1e3);
        let times =
            |of: &dyn Fn(&Seen) -> Option<Duration>| Percentiles::of_durations(crowd.iter().filter_map(of));
        self.refusal_ms = times(&|seen| {
            let (method, at) = seen.refused?;
            spread(if method == "PLAY" { seen.play_asked } else { seen.asked }, Some(at))
        });
        self.play_answer_ms = times(&|seen| spread(seen.play_asked, seen.playing));
        self.play_to_packet_ms = times(&Seen::first_packet_in);
        self.play_to_key_ms = times(&Seen::first_key_in);
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
    let transport = if seen.report.udp { Transport::Udp } else { Transport::Tcp };
    Some(Control { transport, before, during })
}

impl fmt::Display for ControlPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} packets, {} lost, ", self.packets, self.lost)?;
        if let Some(latency) = &self.latency_ms {
            write!(f, "latency {latency}, ")?;
        }
        match &self.gap_ms {
            Some(gap) => write!(f, "frame gap {gap}"),
            None => f.write_str("no frame gap was seen"),
        }
    }
}

impl fmt::Display for StormReport {
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
        if let (Some(_), Some(within)) = (&self.refusal_ms, self.asked_within_ms) {
            writeln!(f, "  asked within      {within:.1} ms")?;
        }
        for (what, times) in [
            ("refusal", &self.refusal_ms),
            ("PLAY answered", &self.play_answer_ms),
            ("to first packet", &self.play_to_packet_ms),
            ("to key frame", &self.play_to_key_ms),
        ] {
            if let Some(times) = times {
                writeln!(f, "  {what:<16}  {times}")?;
            }
        }
        let drops = self.udp_drops.map_or_else(|| "?".to_owned(), |drops| drops.to_string());
        writeln!(
            f,
            "  packets           {} lost by clients, {} came twice; {drops} datagrams dropped at this tool's sockets",
            self.lost, self.duplicates
        )?;
        for kind in &self.kinds {
            let Kind { what, count, closed_by_server, closed_after_ms } = kind;
            write!(f, "  {what:<16}  {count}, {closed_by_server} closed by the server")?;
            match closed_after_ms {
                Some(after) => writeln!(f, ": {after}")?,
                None => writeln!(f)?,
            }
        }
        if let Some(ending) = &self.ending {
            ending.fmt(f)?;
        }
        for Control { transport, before, during } in &self.controls {
            writeln!(f, "  control {transport} before {before}")?;
            writeln!(f, "  control {transport} during {during}")?;
        }
        if let Some(late) = &self.tool_late_ms {
            writeln!(f, "  tool's own delay  {late}")?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "  note              {note}"))?;
        self.wrong.iter().try_for_each(|wrong| writeln!(f, "  WRONG             {wrong}"))
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let against = if self.end_is_known { "the end" } else { "the first goodbye" };
        let at = |ms: Option<f64>| ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1} ms"));
        writeln!(
            f,
            "  ending            {} watched, {} were told (BYE), {} closed; against {against}: last media {} to {}, \
             told by {}, closed by {}",
            self.watching,
            self.told,
            self.closed,
            at(self.last_media_ms_least),
            at(self.last_media_ms_most),
            at(self.told_ms_most),
            at(self.closed_ms_most)
        )?;
        match self.media_after_end {
            Some(count) => write!(f, "  after the end     media to {count} viewers")?,
            None => write!(f, "  after the end     media not judged: this tool was too late itself")?,
        }
        writeln!(f, "; {} packets after a BYE", self.media_after_bye)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_viewers_than_seats_are_wrong_and_media_without_one_too() {
        let now = Instant::now();
        let nobody = Seen::new(0, false, Outcome::Left);
        let viewer = Seen { playing: Some(now - Duration::from_secs(1)), ..nobody.clone() };
        let mut report = StormReport { seats: 1, ..StormReport::default() };
        report.judge(std::slice::from_ref(&viewer), &[]);
        assert!(report.is_well() && report.most_playing == 1, "{report}");
        let stray = Seen { without_seat: 3, ..nobody };
        let mut report = StormReport { seats: 1, ..StormReport::default() };
        report.judge(&[viewer.clone(), viewer, stray], &[]);
        assert_eq!((report.over_admitted, report.packets_without_seat, report.wrong.len()), (1, 3, 2));
    }

    #[test]
    fn a_broken_promise_is_wrong_only_where_promises_are_asked_for() {
        let failed = Seen::new(0, false, Outcome::Failed("no answer to SETUP".to_owned()));
        for (strict, wrong, notes) in [(false, 0, 1), (true, 1, 0)] {
            let mut report = StormReport { strict, seats: 1, ..StormReport::default() };
            report.judge(std::slice::from_ref(&failed), &[]);
            assert_eq!((report.wrong.len(), report.notes.len()), (wrong, notes), "{report}");
        }
    }
}
