//! What the demo promised, and whether it held: each promise with its number.

use std::{
    fmt,
    time::{Duration, Instant},
};

use slotcast_fanout::CutoffStats;

use super::sale::Settled;
use slotcast_tools::watch::{Outcome, ViewerReport};

/// Media may still be read so long after the end: it was in a queue of the kernel, and the reader may be late.
const READ_AFTER_END_MAX: Duration = Duration::from_millis(500);
/// Everybody is told and closed so soon after the end.
const CLOSED_MAX: Duration = Duration::from_secs(1);
/// The gate closes so soon after the end, as the server measures it. It takes some milliseconds; the rest is room for a
/// machine that is busy with something else.
const GATE_DELAY_MAX: Duration = Duration::from_secs(1);
/// What an interrupted demo has not seen.
const NEED_THE_END: &str = "no media after the end, BYE and close, the gate, the charge, the history";

/// What was seen from the server's side.
#[derive(Debug)]
pub(super) struct Seen {
    /// The program's seats.
    pub(super) seats: u32,
    /// Most seats that were taken at once.
    pub(super) viewers_most: u32,
    /// The window's end; `None`: the demo was interrupted before it.
    pub(super) end: Option<End>,
}

/// The window's end, and what had been sent soon after it.
#[derive(Debug)]
pub(super) struct End {
    /// On the monotonic clock.
    pub(super) at: Instant,
    /// How long after the end `sent` was read.
    pub(super) counted_after: Duration,
    /// Packets that the server had sent by then.
    pub(super) sent: u64,
}

/// What the viewers and the server report when all is over.
pub(super) struct Counted {
    /// Each viewer.
    pub(super) reports: Vec<ViewerReport>,
    /// Datagrams that the viewers' own sockets dropped: the demo's loss, not the server's. `None`: the kernel does not say.
    pub(super) udp_drops: Option<u64>,
    /// Packets that the server has sent.
    pub(super) sent: u64,
    /// The server's own measure of the cut-off.
    pub(super) cutoffs: CutoffStats,
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
    is_interrupted: bool,
}

impl Verdict {
    /// - `settled`: what became of the money; `None` where the demo was interrupted.
    pub(super) fn new(counted: &Counted, seen: &Seen, settled: Option<&Settled>) -> Self {
        let inside: Vec<&ViewerReport> = counted.reports.iter().filter(|report| report.packets > 0).collect();
        let mut checks = vec![seats(&counted.reports, &inside, seen)];
        checks.extend(refused(&counted.reports, seen));
        // An early Ctrl-C may come before anybody has got media.
        if seen.end.is_some() || !inside.is_empty() {
            checks.push(nothing_lost(&inside, counted.udp_drops));
        }
        if let Some(end) = &seen.end {
            checks.push(nothing_after(&inside, end, counted.sent));
            checks.push(told_and_closed(&inside, end));
            checks.push(gate_closed(&counted.cutoffs));
        }
        checks.extend(settled.into_iter().flat_map(|settled| charged(settled, seen)));
        Self {
            checks,
            delivered: inside.iter().map(|report| report.packets).sum(),
            bytes: inside.iter().map(|report| report.bytes).sum(),
            is_interrupted: seen.end.is_none(),
        }
    }

    /// Whether all that could be checked held.
    pub(super) fn held(&self) -> bool {
        self.checks.iter().all(|check| check.held)
    }
}

fn seats(reports: &[ViewerReport], inside: &[&ViewerReport], seen: &Seen) -> Check {
    let expected = reports.len().min(seen.seats as usize);
    let udp = inside.iter().filter(|report| report.udp).count();
    let failed = reports.iter().find(|report| matches!(report.outcome, Outcome::Failed(_)));
    let failed =
        failed.map_or_else(String::new, |report| format!("; one was not served: {:?}", report.outcome));
    let found = format!(
        "{} watched ({udp} UDP, {} TCP), at most {} at once{failed}",
        inside.len(),
        inside.len() - udp,
        seen.viewers_most
    );
    if seen.end.is_none() {
        // Some may not have arrived yet.
        let held = seen.viewers_most <= seen.seats && failed.is_empty();
        return Check { held, promise: format!("never more viewers than {} seats", seen.seats), found };
    }
    Check {
        held: inside.len() == expected && seen.viewers_most as usize == expected && failed.is_empty(),
        promise: format!("{expected} of {} viewers on {} seats", reports.len(), seen.seats),
        found,
    }
}

/// `None` where nobody had to be refused.
fn refused(reports: &[ViewerReport], seen: &Seen) -> Option<Check> {
    let over = reports.len().saturating_sub(seen.seats as usize);
    let reasons: Vec<&str> = reports
        .iter()
        .filter_map(|report| match &report.outcome {
            Outcome::Refused { status: 453, reason } => Some(reason.trim()),
            _ => None,
        })
        .collect();
    let other = reports
        .iter()
        .find(|report| matches!(&report.outcome, Outcome::Refused { status, .. } if *status != 453));
    if over == 0 && reasons.is_empty() && other.is_none() {
        return None;
    }
    let other = other.map_or_else(String::new, |report| format!("; also {:?}", report.outcome));
    let is_explained = reasons.iter().all(|reason| !reason.is_empty());
    let all_came = reasons.len() == over || (seen.end.is_none() && reasons.len() <= over);
    Some(Check {
        held: all_came && is_explained && other.is_empty(),
        promise: "the others are refused with the reason".to_owned(),
        found: format!("{} got 453: {}{other}", reasons.len(), reasons.first().unwrap_or(&"no reason")),
    })
}

fn nothing_lost(inside: &[&ViewerReport], udp_drops: Option<u64>) -> Check {
    let lost: u64 = inside.iter().map(|report| report.lost).sum();
    let own = match udp_drops {
        None | Some(0) => String::new(),
        Some(drops) => format!("; the viewers' own sockets dropped {drops}, which is the demo's fault"),
    };
    Check {
        held: lost <= udp_drops.unwrap_or(0) && !inside.is_empty(),
        promise: "those inside lose nothing".to_owned(),
        found: format!("{lost} packets lost{own}"),
    }
}

fn nothing_after(inside: &[&ViewerReport], end: &End, sent: u64) -> Check {
    let reads = || inside.iter().filter_map(|report| report.last_media);
    let late = reads().max().map_or(Duration::ZERO, |at| at.saturating_duration_since(end.at));
    let sent_late = sent.saturating_sub(end.sent);
    let last = match reads().max() {
        None => "nobody read media".to_owned(),
        Some(at) if at > end.at => format!("the last was read {:.1} ms after it", millis(late)),
        Some(at) => format!("the last was read {:.1} ms before it", millis(end.at - at)),
    };
    Check {
        held: sent_late == 0 && late <= READ_AFTER_END_MAX && end.counted_after <= READ_AFTER_END_MAX,
        promise: "no media after the end".to_owned(),
        found: format!(
            "{sent_late} packets sent later than {:.1} ms after it; {last}",
            millis(end.counted_after)
        ),
    }
}

fn told_and_closed(inside: &[&ViewerReport], end: &End) -> Check {
    let told = inside.iter().filter(|report| report.told.is_some()).count();
    let closed: Option<Vec<Duration>> =
        inside.iter().map(|report| Some(report.closed?.saturating_duration_since(end.at))).collect();
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

fn gate_closed(cutoffs: &CutoffStats) -> Check {
    let delay = cutoffs.gate_delay.1;
    Check {
        held: cutoffs.count > 0 && delay <= GATE_DELAY_MAX,
        promise: "the window's end closes the gate within a second".to_owned(),
        found: if cutoffs.count == 0 {
            "the server closed none".to_owned()
        } else {
            format!("{:.1} ms after it, by the server's own measure", millis(delay))
        },
    }
}

fn charged(settled: &Settled, seen: &Seen) -> [Check; 2] {
    let most = settled.viewers_peak;
    [
        Check {
            held: settled.is_charged,
            promise: "the program is charged, since the server ran normally".to_owned(),
            found: settled.found.clone(),
        },
        Check {
            held: most == seen.viewers_most,
            promise: "its history has the number of viewers".to_owned(),
            found: format!("at most {most} at once"),
        },
    ]
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Summary")?;
        writeln!(f, "  delivered    {} packets, {:.1} kB", self.delivered, self.bytes as f64 / 1000.0)?;
        for check in &self.checks {
            let mark = if check.held { "held    " } else { "NOT HELD" };
            writeln!(f, "  {mark}     {}: {}", check.promise, check.found)?;
        }
        if self.is_interrupted {
            writeln!(f, "  not checked  interrupted before the end: {NEED_THE_END}")?;
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

    fn full() -> Outcome {
        Outcome::Refused { status: 453, reason: "full".to_owned() }
    }

    /// Three viewers on two seats, a whole window, a charge.
    struct Show {
        counted: Counted,
        seen: Seen,
        settled: Option<Settled>,
        end: Instant,
    }

    impl Show {
        fn new() -> Self {
            let end = Instant::now() + Duration::from_secs(5);
            let reports =
                vec![viewer(9, Outcome::Ended, end), viewer(9, Outcome::Ended, end), viewer(0, full(), end)];
            let cutoffs = CutoffStats { count: 1, ..CutoffStats::default() };
            let noticed = End { at: end, counted_after: Duration::from_millis(10), sent: 18 };
            Self {
                counted: Counted { reports, udp_drops: Some(0), sent: 18, cutoffs },
                seen: Seen { seats: 2, viewers_most: 2, end: Some(noticed) },
                settled: Some(Settled { is_charged: true, found: "84 JPY".to_owned(), viewers_peak: 2 }),
                end,
            }
        }

        fn verdict(&self) -> Verdict {
            Verdict::new(&self.counted, &self.seen, self.settled.as_ref())
        }
    }

    /// After `spoil`, exactly the promise that begins with `promise` is not held.
    #[track_caller]
    fn broken(promise: &str, spoil: impl FnOnce(&mut Show)) {
        let mut show = Show::new();
        spoil(&mut show);
        let verdict = show.verdict();
        let broken: Vec<_> = verdict.checks.iter().filter(|check| !check.held).collect();
        assert!(broken.len() == 1 && broken[0].promise.starts_with(promise), "{verdict}");
        assert!(!verdict.held() && verdict.to_string().contains("NOT HELD"), "{verdict}");
    }

    #[test]
    fn a_good_show_holds_all_eight_promises() {
        let verdict = Show::new().verdict();
        assert!(verdict.held() && verdict.to_string().ends_with("8 of 8 promises held\n"), "{verdict}");
    }

    #[test]
    fn seats_that_stay_empty_or_hold_too_many_are_noticed() {
        broken("2 of 3 viewers on 2 seats", |show| show.counted.reports[0].packets = 0);
        broken("2 of 3 viewers on 2 seats", |show| show.counted.reports[2].packets = 1);
        broken("2 of 3 viewers on 2 seats", |show| {
            show.seen.viewers_most = 3;
            show.settled.as_mut().unwrap().viewers_peak = 3;
        });
        broken("2 of 2 viewers on 2 seats", |show| {
            show.counted.reports.pop();
            show.counted.reports[1].outcome = Outcome::Failed("no answer".to_owned());
        });
    }

    #[test]
    fn a_refusal_needs_453_and_a_reason() {
        broken("the others are refused", |show| show.counted.reports[2].outcome = Outcome::Left);
        for (status, reason) in [(404, "full"), (453, ""), (453, " ")] {
            broken("the others are refused", |show| {
                show.counted.reports[2].outcome = Outcome::Refused { status, reason: reason.to_owned() };
            });
        }
    }

    #[test]
    fn refusals_are_left_out_where_nobody_had_to_be_refused() {
        let mut show = Show::new();
        show.counted.reports.pop();
        let verdict = show.verdict();
        assert!(verdict.held() && !verdict.to_string().contains("refused"), "{verdict}");
        show.counted.reports[1].outcome = full();
        assert!(!show.verdict().held(), "refused below the seats");
    }

    #[test]
    fn losses_are_noticed_and_the_viewers_own_are_not_the_servers() {
        broken("those inside lose nothing", |show| show.counted.reports[0].lost = 1);
        let mut show = Show::new();
        (show.counted.reports[0].lost, show.counted.udp_drops) = (1, Some(1));
        assert!(show.verdict().held(), "{}", show.verdict());
    }

    #[test]
    fn media_after_the_end_is_noticed() {
        broken("no media after the end", |show| show.counted.sent = 19);
        broken("no media after the end", |show| {
            show.counted.reports[0].last_media = Some(show.end + Duration::from_secs(1));
        });
        broken("no media after the end", |show| {
            show.seen.end.as_mut().unwrap().counted_after = Duration::from_secs(1);
        });
    }

    #[test]
    fn viewers_who_are_not_told_or_closed_in_time_are_noticed() {
        broken("everybody is told", |show| show.counted.reports[0].told = None);
        broken("everybody is told", |show| show.counted.reports[0].closed = None);
        broken("everybody is told", |show| {
            show.counted.reports[0].closed = Some(show.end + Duration::from_secs(2));
        });
    }

    #[test]
    fn a_gate_that_stays_open_or_closes_late_is_noticed() {
        broken("the window's end closes the gate", |show| show.counted.cutoffs.count = 0);
        broken("the window's end closes the gate", |show| {
            show.counted.cutoffs.gate_delay.1 = Duration::from_millis(1_001);
        });
    }

    #[test]
    fn a_missing_charge_and_a_wrong_history_are_noticed() {
        broken("the program is charged", |show| show.settled.as_mut().unwrap().is_charged = false);
        broken("its history", |show| show.settled.as_mut().unwrap().viewers_peak = 1);
    }

    #[test]
    fn an_interrupted_show_says_what_it_could_not_check() {
        let mut show = Show::new();
        (show.seen.end, show.settled) = (None, None);
        show.counted.reports[2].outcome = Outcome::Left;
        let verdict = show.verdict();
        assert!(verdict.held() && verdict.to_string().contains("not checked  interrupted"), "{verdict}");
        show.counted.reports[0].lost = 1;
        assert!(!show.verdict().held());
        show.counted.reports.iter_mut().for_each(|report| report.packets = 0);
        assert!(show.verdict().held(), "nobody had got media yet: {}", show.verdict());
        show.seen.viewers_most = 3;
        assert!(!show.verdict().held());
    }
}
