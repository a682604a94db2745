//! Compares this machine's clock with NTP servers (SNTP, RFC 4330): windows open and close by this machine's clock.
//!
//! Owns: [`ClockWatch`], which asks the servers, and what it last found.
//! Not here: setting the clock and judging servers; the machine's own NTP client does both.
//! Invariant: asking is bounded in time and number. An answer during which the clock stepped does not count; a step after
//! an answer is allowed for, because the monotonic clock does not take part in it.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use rsntp::{AsyncSntpClient, Config, KissCode, ProtocolError, SynchronizationError};
use slotcast_core::time::{Clock, Now};
use slotcast_net::clock::STEP_MIN;
use slotcast_reservation::streaming::ClockCheck;
use tokio::{net::lookup_host, task::JoinSet, time};

/// From one round of questions to the next.
const EVERY: Duration = Duration::from_secs(256);
/// First wait while no server has answered (RFC 5905 §7.2, MINPOLL); doubled after each further round, up to [`EVERY`].
const AGAIN_FIRST: Duration = Duration::from_secs(16);
/// How long an answer may take, with looking up the name.
const ANSWER_MAX: Duration = Duration::from_secs(3);
/// An answer that is older than this does not count any more.
const STALE_AFTER: Duration = Duration::from_secs(4 * 256);
/// Beyond this the clock is off.
const OFF_FROM_MICROS: u64 = 500_000;

/// Watches this machine's clock.
#[derive(Debug)]
pub struct ClockWatch {
    clock: Opaque,
    answer_max: Duration,
    known: Mutex<Known>,
}

/// A clock has no `Debug`.
struct Opaque(Clock);

impl std::fmt::Debug for Opaque {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock")
    }
}

#[derive(Debug)]
struct Known {
    /// `HOST:PORT`. A server that wants to be left alone is taken out.
    servers: Vec<String>,
    /// The median of the last round that had answers, in microseconds: the servers' time minus ours.
    offset: Option<(Now, i64)>,
    told: Verdict,
}

/// What the log was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Nothing,
    Unknown,
    Off,
    Right,
}

/// Why a server gave no time.
#[derive(Debug)]
enum NoAnswer {
    /// A kiss-o'-death (RFC 5905 §7.4).
    LeaveAlone(String),
    Failed(String),
}

impl ClockWatch {
    /// Asks no server yet. `servers`: `HOST:PORT` each; without any, the clock is not checked.
    pub fn new(servers: Vec<String>, clock: Clock) -> Self {
        let known = Mutex::new(Known { servers, offset: None, told: Verdict::Nothing });
        Self { clock: Opaque(clock), answer_max: ANSWER_MAX, known }
    }

    /// With another patience than 3 s: for tests.
    pub fn with_patience(self, answer_max: Duration) -> Self {
        Self { answer_max, ..self }
    }

    /// What is known at this moment, at once. `None`: no servers are configured.
    pub fn check(&self) -> Option<ClockCheck> {
        let known = self.known.lock();
        let is_asked = !known.servers.is_empty() || known.told != Verdict::Nothing;
        is_asked.then(|| known.check((self.clock.0)()))
    }

    /// Asks the servers, all at the same time, and tells the log where the clock became off or right again.
    pub async fn ask_once(&self) {
        let mut asking = JoinSet::new();
        for server in self.known.lock().servers.clone() {
            let (clock, answer_max) = (Arc::clone(&self.clock.0), self.answer_max);
            asking.spawn(async move {
                let began = clock();
                let said = ask(&server, answer_max).await;
                (server, began, clock(), said)
            });
        }
        let mut answers = Vec::new();
        while let Some(asked) = asking.join_next().await {
            match asked {
                Ok((_, began, at, Ok(offset)))
                    if stepped(began, at).unsigned_abs() < STEP_MIN.as_micros() as u64 =>
                {
                    answers.push((at, offset));
                }
                Ok((server, .., Ok(_))) => tracing::debug!(server, "the clock stepped while it answered"),
                Ok((server, .., Err(NoAnswer::Failed(why)))) => {
                    tracing::debug!(server, why, "an NTP server gave no time");
                }
                Ok((server, .., Err(NoAnswer::LeaveAlone(code)))) => {
                    tracing::warn!(
                        server,
                        code,
                        "an NTP server asks to be left alone: it is not asked again"
                    );
                    self.known.lock().servers.retain(|known| *known != server);
                }
                Err(error) => tracing::error!(%error, "asking an NTP server ended"),
            }
        }
        let now = (self.clock.0)();
        let offsets = answers.into_iter().map(|(at, offset)| offset.saturating_sub(stepped(at, now)));
        let mut known = self.known.lock();
        if let Some(offset) = median(offsets.collect()) {
            known.offset = Some((now, offset));
        }
        known.tell(now);
    }

    /// Asks the servers again and again, for as long as it is polled; ends at once where there are none.
    pub async fn run(&self) {
        let mut again = AGAIN_FIRST;
        while !self.known.lock().servers.is_empty() {
            self.ask_once().await;
            let is_known = self.check().is_some_and(|check| check.offset_micros.is_some());
            time::sleep(if is_known { EVERY } else { again }).await;
            again = if is_known { AGAIN_FIRST } else { again.saturating_mul(2).min(EVERY) };
        }
    }
}

impl Known {
    fn check(&self, now: Now) -> ClockCheck {
        let fresh = self.offset.filter(|(at, _)| now.mono.saturating_duration_since(at.mono) <= STALE_AFTER);
        let offset_micros = fresh.map(|(at, offset)| offset.saturating_sub(stepped(at, now)));
        let is_off = offset_micros.is_some_and(|offset| offset.unsigned_abs() > OFF_FROM_MICROS);
        ClockCheck { offset_micros, is_off }
    }

    /// Tells the log each change once. That all is well from the start on is no news.
    fn tell(&mut self, now: Now) {
        let check = self.check(now);
        let verdict = match check.offset_micros {
            None => Verdict::Unknown,
            Some(_) if check.is_off => Verdict::Off,
            Some(_) => Verdict::Right,
        };
        let before = std::mem::replace(&mut self.told, verdict);
        let offset_ms = check.offset_micros.map(|micros| micros / 1_000);
        match verdict {
            _ if verdict == before => {}
            Verdict::Unknown => {
                tracing::warn!("no NTP server answers: whether the clock is right is not known");
            }
            Verdict::Off => tracing::warn!(
                offset_ms,
                "the clock of this machine is off; windows open and close by it: check its NTP client"
            ),
            Verdict::Right if before != Verdict::Nothing => {
                tracing::info!(offset_ms, "NTP servers say that the clock of this machine is right");
            }
            Verdict::Right | Verdict::Nothing => {}
        }
    }
}

/// Asks `server`, within `answer_max`. Returns its time minus ours, in microseconds.
async fn ask(server: &str, answer_max: Duration) -> Result<i64, NoAnswer> {
    let failed = |error: &dyn std::fmt::Display| NoAnswer::Failed(error.to_string());
    let exchange = async {
        let address = lookup_host(server).await.map_err(|error| failed(&error))?.next();
        let address = address.ok_or_else(|| failed(&"its name has no address"))?;
        let from: SocketAddr = match address {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let client = AsyncSntpClient::with_config(Config::default().bind_address(from).timeout(answer_max));
        let result = client.synchronize(address).await.map_err(|error| match error {
            SynchronizationError::ProtocolError(ProtocolError::KissODeath(code)) => {
                let is_passing =
                    matches!(code, KissCode::AssociationNotYetSynchronized | KissCode::StepChange);
                let code = code.to_string().trim().to_owned();
                if is_passing { NoAnswer::Failed(code) } else { NoAnswer::LeaveAlone(code) }
            }
            other => failed(&other),
        })?;
        let (offset, round_trip) =
            (result.clock_offset().as_secs_f64(), result.round_trip_delay().as_secs_f64());
        // Both clocks are read to some microseconds; on one machine the way can come out below zero.
        if !offset.is_finite() || !(-0.001..=answer_max.as_secs_f64()).contains(&round_trip) {
            return Err(failed(&"its answer contradicts itself"));
        }
        // `as` holds at the ends; fractions of a microsecond do not matter.
        Ok((offset * 1e6) as i64)
    };
    let in_time = time::timeout(answer_max, exchange).await;
    in_time.unwrap_or_else(|_| Err(NoAnswer::Failed(format!("no answer within {answer_max:?}"))))
}

/// How far the wall clock moved against the monotonic one, in microseconds; positive: it was set forward.
fn stepped(from: Now, to: Now) -> i64 {
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
    use std::time::Instant;

    use slotcast_core::time::WallTime;

    use super::*;

    fn start() -> Now {
        Now { mono: Instant::now(), wall: WallTime::from_micros(1_000_000_000_000) }
    }

    /// Time passes, on both clocks; the wall clock is set by `step_ms` besides.
    fn later(now: Now, passes: Duration, step_ms: i64) -> Now {
        let wall = now.wall.saturating_add(passes).as_micros() + step_ms * 1_000;
        Now { mono: now.mono + passes, wall: WallTime::from_micros(wall) }
    }

    fn known(at: Now, offset_ms: i64) -> Known {
        Known { servers: Vec::new(), offset: Some((at, offset_ms * 1_000)), told: Verdict::Nothing }
    }

    #[test]
    fn one_liar_among_three_does_not_count() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![7]), Some(7));
        assert_eq!(median(vec![1, 3]), Some(2));
        assert_eq!(median(vec![-5, 3_600_000_000, 4]), Some(4));
        assert_eq!(median(vec![i64::MAX, i64::MAX]), Some(i64::MAX));
    }

    #[test]
    fn from_half_a_second_on_the_clock_is_off() {
        let now = start();
        for (offset_ms, is_off) in [(500, false), (501, true), (-20, false), (-700, true)] {
            assert_eq!(known(now, offset_ms).check(now).is_off, is_off, "{offset_ms}");
        }
    }

    #[test]
    fn a_step_after_an_answer_is_allowed_for_at_once() {
        let begin = start();
        let known = known(begin, 10);
        let set_forward = later(begin, Duration::from_secs(60), 2_000);
        assert_eq!(known.check(set_forward), ClockCheck { offset_micros: Some(-1_990_000), is_off: true });
        let set_back = later(set_forward, Duration::from_secs(60), -2_000);
        assert_eq!(known.check(set_back).offset_micros, Some(10_000));
    }

    #[test]
    fn an_old_answer_does_not_count() {
        let begin = start();
        let known = known(begin, 3_000);
        assert!(known.check(later(begin, STALE_AFTER, 0)).is_off, "lost answers do no harm");
        let too_old = later(begin, STALE_AFTER + Duration::from_secs(1), 0);
        assert_eq!(known.check(too_old), ClockCheck { offset_micros: None, is_off: false });
    }
}
