//! What the demo promised, and whether it held: each promise with its number.

use std::{
    fmt,
    time::{Duration, Instant},
};

use slotcast_fanout::CutoffStats;

use super::sale::Settled;
use slotcast_tools::watch::{Outcome, ViewerReport};

/// After the end, media may still be read for so long from the queues of the kernel between.
const READ_AFTER_END_MAX: Duration = Duration::from_millis(100);
/// After the end, everybody is told and closed within this.
const CLOSED_MAX: Duration = Duration::from_secs(1);

/// What was seen from the server's side.
#[derive(Debug)]
pub(super) struct Seen {
    /// The program's seats.
    pub(super) seats: u32,
    /// Most seats that were taken at once.
    pub(super) viewers_most: u32,
    /// The end on the monotonic clock, once it came.
    pub(super) end: Option<Instant>,
    /// Packets that had been sent when the end was seen.
    pub(super) sent_at_end: Option<u64>,
}

impl Seen {
    pub(super) const fn new(seats: u32) -> Self {
        Self { seats, viewers_most: 0, end: None, sent_at_end: None }
    }
}

struct Check {
    held: bool,
    promise: String,
    found: String,
}

/// All promises.
pub(super) struct Verdict {
    checks: Vec<Check>,
    delivered: u64,
    bytes: u64,
    cutoffs: CutoffStats,
    viewers_most: u32,
}

impl Verdict {
    /// - `sent`: packets that the server had sent when all was over.
    pub(super) fn new(reports: &[ViewerReport], seen: &Seen, sent: u64, cutoffs: CutoffStats) -> Self {
        let inside: Vec<&ViewerReport> = reports.iter().filter(|report| report.packets > 0).collect();
        let mut checks = vec![seats_filled(reports, &inside, seen), refused(reports, &inside)];
        let lost: u64 = inside.iter().map(|report| report.lost).sum();
        checks.push(Check {
            held: lost == 0 && !inside.is_empty(),
            promise: "those inside lose nothing".to_owned(),
            found: format!("{lost} packets lost"),
        });
        checks.extend(seen.end.map(|end| nothing_after(&inside, end, seen, sent)));
        checks.extend(seen.end.map(|end| told_and_closed(&inside, end)));
        checks.push(Check {
            held: seen.end.is_some() && cutoffs.count > 0,
            promise: "the window's end closes the gate".to_owned(),
            found: format!("{:.1} ms after the end", millis(cutoffs.gate_delay.1)),
        });
        Self {
            checks,
            delivered: inside.iter().map(|report| report.packets).sum(),
            bytes: inside.iter().map(|report| report.bytes).sum(),
            cutoffs,
            viewers_most: seen.viewers_most,
        }
    }

    /// With what became of the money.
    #[must_use]
    pub(super) fn with_charge(mut self, settled: &Settled) -> Self {
        self.checks.push(Check {
            held: settled.is_charged,
            promise: "the program is charged, since the server ran normally".to_owned(),
            found: settled.found.clone(),
        });
        let most = settled.viewers_peak;
        self.checks.push(Check {
            held: most == self.viewers_most,
            promise: "its history has the number of viewers".to_owned(),
            found: format!("at most {most} at once"),
        });
        self
    }

    /// Whether all held.
    pub(super) fn held(&self) -> bool {
        self.checks.iter().all(|check| check.held)
    }
}

fn seats_filled(reports: &[ViewerReport], inside: &[&ViewerReport], seen: &Seen) -> Check {
    let expected = reports.len().min(seen.seats as usize);
    let udp = inside.iter().filter(|report| report.udp).count();
    Check {
        held: inside.len() == expected && seen.viewers_most as usize == expected,
        promise: format!("{expected} of {} viewers on {} seats", reports.len(), seen.seats),
        found: format!(
            "{} watched ({udp} UDP, {} TCP), at most {} at once",
            inside.len(),
            inside.len() - udp,
            seen.viewers_most
        ),
    }
}

fn refused(reports: &[ViewerReport], inside: &[&ViewerReport]) -> Check {
    let mut reason_given = None;
    let mut others = Vec::new();
    let refused =
        reports.iter().filter(|report| report.packets == 0).filter(|report| match &report.outcome {
            Outcome::Refused { status: 453, reason } => {
                reason_given = Some(reason.clone());
                true
            }
            other => {
                others.push(format!("{other:?}"));
                false
            }
        });
    let count = refused.count();
    let reason = reason_given.map_or_else(String::new, |reason| format!(": {reason}"));
    let others = others.first().map_or_else(String::new, |other| format!("; also {other}"));
    Check {
        held: count == reports.len() - inside.len(),
        promise: "the others are refused with the reason".to_owned(),
        found: format!("{count} got 453{reason}{others}"),
    }
}

fn nothing_after(inside: &[&ViewerReport], end: Instant, seen: &Seen, sent: u64) -> Check {
    let last = inside.iter().filter_map(|report| report.last_media).max();
    let late = last.map_or(Duration::ZERO, |at| at.saturating_duration_since(end));
    let early = inside.iter().filter_map(|report| report.last_media).min();
    let early = early.map_or(Duration::MAX, |at| end.saturating_duration_since(at));
    let after = sent - seen.sent_at_end.unwrap_or(0).min(sent);
    Check {
        held: after == 0 && late <= READ_AFTER_END_MAX,
        promise: "no media after the end".to_owned(),
        found: format!(
            "{after} packets sent after it; viewers read their last {:.1} ms before to {:.1} ms after it",
            millis(early),
            millis(late)
        ),
    }
}

fn told_and_closed(inside: &[&ViewerReport], end: Instant) -> Check {
    let told = inside.iter().filter(|report| report.told.is_some()).count();
    let closed: Option<Vec<Duration>> =
        inside.iter().map(|report| Some(report.closed?.saturating_duration_since(end))).collect();
    let slowest = closed.and_then(|delays| delays.into_iter().max());
    Check {
        held: told == inside.len() && slowest.is_some_and(|delay| delay <= CLOSED_MAX),
        promise: "everybody is told (BYE) and closed within a second".to_owned(),
        found: format!(
            "{told} of {} told, {}",
            inside.len(),
            slowest.map_or_else(
                || "not all closed".to_owned(),
                |at| format!("the last closed after {:.1} ms", millis(at))
            )
        ),
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Summary")?;
        writeln!(f, "  delivered    {} packets, {:.1} kB", self.delivered, self.bytes as f64 / 1000.0)?;
        writeln!(
            f,
            "  cut-off      gate closed {:.1} ms, last viewer closed {:.1} ms after the end",
            millis(self.cutoffs.gate_delay.1),
            millis(self.cutoffs.closed_delay.1)
        )?;
        for check in &self.checks {
            let mark = if check.held { "held    " } else { "NOT HELD" };
            writeln!(f, "  {mark}     {}: {}", check.promise, check.found)?;
        }
        let held = self.checks.iter().filter(|check| check.held).count();
        writeln!(f, "{held} of {} promises held", self.checks.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn viewer(packets: u64, outcome: Outcome, end: Instant) -> ViewerReport {
        ViewerReport {
            udp: false,
            outcome,
            packets,
            bytes: 100 * packets,
            lost: 0,
            joined_in: None,
            last_media: (packets > 0).then(|| end - Duration::from_millis(10)),
            told: Some(end),
            closed: Some(end + Duration::from_millis(20)),
        }
    }

    fn full_house() -> (Vec<ViewerReport>, Seen, CutoffStats) {
        let end = Instant::now() + Duration::from_secs(5);
        let refused = Outcome::Refused { status: 453, reason: "full".to_owned() };
        let reports =
            vec![viewer(9, Outcome::Ended, end), viewer(9, Outcome::Ended, end), viewer(0, refused, end)];
        let seen = Seen { seats: 2, viewers_most: 2, end: Some(end), sent_at_end: Some(18) };
        (reports, seen, CutoffStats { count: 1, ..CutoffStats::default() })
    }

    /// Whether all promises hold after `spoil`.
    fn held(spoil: impl FnOnce(&mut Vec<ViewerReport>, &mut Seen)) -> bool {
        let (mut reports, mut seen, cutoffs) = full_house();
        spoil(&mut reports, &mut seen);
        Verdict::new(&reports, &seen, 18, cutoffs).held()
    }

    #[test]
    fn each_broken_promise_is_noticed() {
        let late = Duration::from_secs(2);
        assert!(held(|_, _| ()));
        assert!(!held(|reports, _| reports[0].lost = 1));
        assert!(!held(|reports, _| reports[0].told = None));
        assert!(!held(|reports, _| reports[0].closed = None));
        assert!(!held(|reports, seen| reports[0].closed = seen.end.map(|end| end + late)));
        assert!(!held(|reports, seen| reports[0].last_media = seen.end.map(|end| end + late)));
        assert!(!held(|reports, _| reports[2].outcome = Outcome::Failed(String::new())));
        assert!(!held(|reports, _| reports[2].packets = 1), "one over the seats");
        assert!(!held(|_, seen| seen.viewers_most = 3));
        assert!(!held(|_, seen| seen.sent_at_end = Some(17)));
        assert!(!held(|_, seen| seen.end = None));
    }
}
