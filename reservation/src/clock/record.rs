//! What the servers said, and what follows from it. No I/O.
//!
//! Owns: [`Record`]: the last answer of each server, when each may be asked again, and what the log was told.
//! Invariant: every time is an argument.

use std::time::{Duration, Instant};

use slotcast_core::time::{Now, WallTime};

use super::{
    ClockRules, ClockStatus, ServerStatus,
    ask::{Answer, NoAnswer},
};

/// From this on the clock stepped while a server answered, and the answer does not count; as in the watch over steps.
const STEP_MIN: Duration = Duration::from_millis(100);
/// After so many rounds without a newer answer, an answer does not count any more.
const STALE_ROUNDS: u32 = 4;
/// A server that asks to be left alone is asked every so many rounds, at the rarest.
const PAUSE_ROUNDS_MAX: u32 = 64;

/// What the log is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It became off.
    Off { offset_micros: i64 },
    /// It was off and is right.
    Right { offset_micros: i64 },
    /// Nobody answers.
    Unknown,
    /// Somebody answers again, and it is right.
    Known { offset_micros: i64 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Nothing,
    Right,
    Off,
    Unknown,
}

#[derive(Debug)]
struct Server {
    name: String,
    asked_at: Option<WallTime>,
    answer: Option<(Now, Answer)>,
    error: Option<String>,
    /// Not to be asked before; doubles with each kiss-o'-death.
    paused_until: Option<Instant>,
    pause_rounds: u32,
}

#[derive(Debug)]
pub(super) struct Record {
    every: Duration,
    off_from: Duration,
    servers: Vec<Server>,
    told: Told,
}

impl Record {
    pub(super) fn new(rules: &ClockRules) -> Self {
        let server = |name: String| Server {
            name,
            asked_at: None,
            answer: None,
            error: None,
            paused_until: None,
            pause_rounds: 1,
        };
        Self {
            every: rules.every,
            off_from: rules.off_from,
            servers: rules.servers.iter().map(|name| server(name.to_string())).collect(),
            told: Told::Nothing,
        }
    }

    /// Whom to ask now, as indices.
    pub(super) fn due(&self, now: Now) -> Vec<usize> {
        let is_due = |server: &Server| server.paused_until.is_none_or(|until| until <= now.mono);
        (0..self.servers.len()).filter(|&at| is_due(&self.servers[at])).collect()
    }

    /// Server `at` was asked at `began`, and by `now` there is this.
    pub(super) fn on_answer(&mut self, at: usize, began: Now, now: Now, said: Result<Answer, NoAnswer>) {
        let Some(server) = self.servers.get_mut(at) else { return };
        server.asked_at = Some(began.wall);
        let said = match said {
            Ok(_) if stepped_micros(began, now).unsigned_abs() >= STEP_MIN.as_micros() as u64 => {
                Err(NoAnswer::because("the clock here stepped meanwhile"))
            }
            said => said,
        };
        match said {
            Ok(answer) => {
                (server.answer, server.error) = (Some((now, answer)), None);
                (server.paused_until, server.pause_rounds) = (None, 1);
            }
            Err(NoAnswer { why, leave_alone }) => {
                server.error = Some(why);
                if leave_alone {
                    server.pause_rounds = (server.pause_rounds * 2).min(PAUSE_ROUNDS_MAX);
                    server.paused_until =
                        now.mono.checked_add(self.every.saturating_mul(server.pause_rounds));
                }
            }
        }
    }

    pub(super) fn status(&self, now: Now) -> ClockStatus {
        let stale = self.every.saturating_mul(STALE_ROUNDS);
        let servers: Vec<_> = self.servers.iter().map(|server| server.status(now, stale)).collect();
        let offset_micros = median(servers.iter().filter_map(|server| server.offset_micros).collect());
        let limit = u64::try_from(self.off_from.as_micros()).unwrap_or(u64::MAX);
        let is_off = offset_micros.is_some_and(|offset| offset.unsigned_abs() > limit);
        ClockStatus { servers, offset_micros, is_off, off_from_micros: limit }
    }

    /// What the log does not know yet; each change once.
    pub(super) fn take_change(&mut self, now: Now) -> Option<Change> {
        if self.servers.is_empty() {
            return None;
        }
        let status = self.status(now);
        let (told, change) = match (status.offset_micros, status.is_off) {
            (None, _) => (Told::Unknown, Change::Unknown),
            (Some(offset_micros), true) => (Told::Off, Change::Off { offset_micros }),
            (Some(offset_micros), false) if self.told == Told::Off => {
                (Told::Right, Change::Right { offset_micros })
            }
            (Some(offset_micros), false) => (Told::Right, Change::Known { offset_micros }),
        };
        let before = std::mem::replace(&mut self.told, told);
        // That all is well from the start on is no news.
        (before != told && (before, told) != (Told::Nothing, Told::Right)).then_some(change)
    }
}

impl Server {
    fn status(&self, now: Now, stale: Duration) -> ServerStatus {
        let fresh = self.answer.filter(|(at, _)| now.mono.saturating_duration_since(at.mono) <= stale);
        ServerStatus {
            server: self.name.clone(),
            asked_at: self.asked_at,
            offset_micros: fresh
                .map(|(at, answer)| answer.offset_micros.saturating_sub(stepped_micros(at, now))),
            round_trip_micros: fresh.map(|(_, answer)| answer.round_trip_micros),
            error: self.error.clone(),
        }
    }
}

/// How far the wall clock moved against the monotonic one; positive: it was set forward.
fn stepped_micros(from: Now, to: Now) -> i64 {
    let waited = i64::try_from(to.mono.saturating_duration_since(from.mono).as_micros()).unwrap_or(i64::MAX);
    to.wall.as_micros().saturating_sub(from.wall.as_micros()).saturating_sub(waited)
}

/// The middle one; of an even number the mean of the two in the middle. `None` of none.
fn median(mut values: Vec<i64>) -> Option<i64> {
    values.sort_unstable();
    let (&high, &low) = (values.get(values.len() / 2)?, values.get(values.len().checked_sub(1)? / 2)?);
    Some(low.midpoint(high))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUND: Duration = Duration::from_secs(256);

    fn start() -> Now {
        #[expect(clippy::disallowed_methods, reason = "a test has no edge that reads the clock for it")]
        let mono = Instant::now();
        Now { mono, wall: WallTime::from_micros(1_000_000_000_000) }
    }

    /// Time passes, on both clocks; the wall clock is set by `step_ms` besides.
    fn later(now: Now, passes: Duration, step_ms: i64) -> Now {
        let wall = now.wall.saturating_add(passes).as_micros() + step_ms * 1_000;
        Now { mono: now.mono + passes, wall: WallTime::from_micros(wall) }
    }

    fn record(servers: usize) -> Record {
        let servers = (0..servers).map(|at| format!("192.0.2.{at}").parse().unwrap()).collect();
        Record::new(&ClockRules { servers, ..ClockRules::default() })
    }

    fn answer(offset_ms: i64) -> Result<Answer, NoAnswer> {
        Ok(Answer { offset_micros: offset_ms * 1_000, round_trip_micros: 20_000 })
    }

    #[track_caller]
    fn check_median(values: &[i64], expected: Option<i64>) {
        assert_eq!(median(values.to_vec()), expected);
    }

    #[test]
    fn one_liar_among_three_does_not_count() {
        check_median(&[], None);
        check_median(&[7], Some(7));
        check_median(&[1, 3], Some(2));
        check_median(&[-5, 3_600_000_000, 4], Some(4));
        check_median(&[i64::MAX, i64::MAX], Some(i64::MAX));
    }

    #[test]
    fn being_off_and_being_right_again_are_told_once_each() {
        let (mut record, now) = (record(1), start());
        let mut tell = |offset_ms| {
            record.on_answer(0, now, now, answer(offset_ms));
            (record.status(now).is_off, record.take_change(now))
        };
        assert_eq!(tell(500), (false, None));
        assert_eq!(tell(501), (true, Some(Change::Off { offset_micros: 501_000 })));
        assert_eq!(tell(600), (true, None));
        assert_eq!(tell(-20), (false, Some(Change::Right { offset_micros: -20_000 })));
        assert_eq!(tell(20), (false, None));
        assert_eq!(tell(-700), (true, Some(Change::Off { offset_micros: -700_000 })));
    }

    #[test]
    fn a_step_after_an_answer_is_allowed_for_at_once() {
        let (mut record, now) = (record(1), start());
        record.on_answer(0, now, now, answer(10));
        let now = later(now, Duration::from_secs(60), 2_000);
        assert_eq!(record.status(now).offset_micros, Some(-1_990_000));
        assert!(record.status(now).is_off);
        let now = later(now, Duration::from_secs(60), -2_000);
        assert_eq!(record.status(now).offset_micros, Some(10_000));
    }

    #[test]
    fn an_answer_during_which_the_clock_stepped_does_not_count() {
        for step_ms in [100, -100] {
            let (mut record, now) = (record(1), start());
            record.on_answer(0, now, later(now, Duration::from_millis(20), step_ms), answer(0));
            let status = record.status(now);
            assert_eq!(status.offset_micros, None);
            assert!(status.servers[0].error.as_deref().unwrap().contains("stepped"), "{status:?}");
        }
    }

    #[test]
    fn old_answers_do_not_count_and_silence_is_told() {
        let (mut record, now) = (record(2), start());
        record.on_answer(0, now, now, answer(1));
        assert_eq!(record.take_change(now), None);
        let silent = || Err(NoAnswer::because("no answer"));
        record.on_answer(1, now, now, silent());
        let now = later(now, ROUND * 4, 0);
        record.on_answer(0, now, now, silent());
        assert_eq!(record.status(now).offset_micros, Some(1_000), "one lost answer does no harm");
        let now = later(now, Duration::from_secs(1), 0);
        assert_eq!(record.status(now).offset_micros, None);
        assert!(!record.status(now).is_off, "not known is not off");
        assert_eq!(record.take_change(now), Some(Change::Unknown));
        assert_eq!(record.take_change(now), None);
        record.on_answer(0, now, now, answer(2));
        assert_eq!(record.take_change(now), Some(Change::Known { offset_micros: 2_000 }));
    }

    #[test]
    fn who_asks_to_be_left_alone_is_asked_less_and_less() {
        let (mut record, mut now) = (record(2), start());
        for rounds in [2, 4, 8, 16, 32, 64, 64] {
            assert_eq!(record.due(now), [0, 1]);
            record.on_answer(0, now, now, Err(NoAnswer { why: String::new(), leave_alone: true }));
            assert_eq!(record.due(later(now, ROUND * rounds - Duration::from_secs(1), 0)), [1]);
            now = later(now, ROUND * rounds, 0);
        }
        record.on_answer(0, now, now, answer(0));
        assert_eq!(record.due(now), [0, 1]);
    }
}
