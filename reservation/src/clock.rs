//! The provider's time and its check against others' clocks (NTP).
//!
//! Owns: [`ClockWatch`], which asks the configured servers, and [`ClockStatus`], what came of it.
//! Not here: setting the clock (the machine's own NTP client does), what a step means for windows (the rooms that
//! keep them read both clocks each turn).
//! Invariant: asking is bounded in time and number; an answer during which the clock stepped does not count; a step after
//! an answer is allowed for, since the monotonic clock does not take part in it.

mod ask;
mod record;

use std::{fmt, str::FromStr, time::Duration};

use parking_lot::Mutex;
use serde::Serialize;
use slotcast_core::time::{Clock, WallTime};

use record::{Change, Record};

/// Most servers that are asked.
pub const SERVERS_MAX: usize = 8;
/// The port of RFC 5905.
const NTP_PORT: u16 = 123;

/// First wait while nobody has answered: what RFC 5905 has as the shortest between two questions (§7.2, MINPOLL).
const AGAIN_FIRST: Duration = Duration::from_secs(16);

/// An NTP server: `time.example.com`, `192.0.2.1:1123`, `[2001:db8::1]:123`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NtpServer {
    host: String,
    port: u16,
}

/// Why a text is no NTP server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NtpServerError {
    got: String,
}

impl fmt::Display for NtpServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected an NTP server like time.example.com or 192.0.2.1:123, got {:?}", self.got)
    }
}

impl std::error::Error for NtpServerError {}

impl FromStr for NtpServer {
    type Err = NtpServerError;

    fn from_str(text: &str) -> Result<Self, NtpServerError> {
        let error = || NtpServerError { got: text.to_owned() };
        let of = |host: &str, port: &str| {
            let port = port.parse().ok().filter(|port| *port != 0)?;
            Some(Self { host: host.to_owned(), port })
        };
        if let Some((host, rest)) = text.strip_prefix('[').and_then(|text| text.split_once(']')) {
            host.parse::<std::net::Ipv6Addr>().map_err(|_| error())?;
            let port = if rest.is_empty() { ":123" } else { rest };
            return port.strip_prefix(':').and_then(|port| of(host, port)).ok_or_else(error);
        }
        let server = match text.split_once(':') {
            Some((host, port)) => of(host, port),
            None => Some(Self { host: text.to_owned(), port: NTP_PORT }),
        };
        let is_host = |host: &str| {
            (1..=253).contains(&host.len())
                && host.starts_with(|c: char| c.is_ascii_alphanumeric())
                && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'))
        };
        server.filter(|server| is_host(&server.host)).ok_or_else(error)
    }
}

impl fmt::Display for NtpServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Whom to ask, how often, and what is still right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClockRules {
    /// Asked all at once; those beyond [`SERVERS_MAX`] are not asked. None: the clock is not checked.
    pub servers: Vec<NtpServer>,
    /// From one round to the next; while nobody has answered, sooner.
    pub every: Duration,
    /// How long an answer may take, with looking up the name.
    pub timeout: Duration,
    /// From more than this on the clock is off.
    pub off_from: Duration,
}

impl Default for ClockRules {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            every: Duration::from_secs(256),
            timeout: Duration::from_secs(3),
            off_from: Duration::from_millis(500),
        }
    }
}

/// What is known of one server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServerStatus {
    /// Which, as configured.
    pub server: String,
    /// When it was last asked, by the clock here; `None`: not yet.
    #[serde(serialize_with = "as_text")]
    pub asked_at: Option<WallTime>,
    /// Its time minus the time here, in microseconds, steps since then allowed for: positive where the clock here is
    /// behind. `None`: no answer yet, or none for a long time.
    pub offset_micros: Option<i64>,
    /// How long that answer was on its way, in microseconds; the offset is right to half of it.
    pub round_trip_micros: Option<u64>,
    /// Why the last asking failed; `None`: it did not.
    pub error: Option<String>,
}

/// What is known of the provider's time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClockStatus {
    /// One for each server, in their order.
    pub servers: Vec<ServerStatus>,
    /// The median of the servers' offsets, in microseconds; `None`: nobody answers, so nothing is known.
    pub offset_micros: Option<i64>,
    /// Whether the offset is beyond `off_from`.
    pub is_off: bool,
    /// The limit, in microseconds.
    pub off_from_micros: u64,
}

fn as_text<S: serde::Serializer>(time: &Option<WallTime>, to: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => to.collect_str(time),
        None => to.serialize_none(),
    }
}

/// Watches the provider's time.
pub struct ClockWatch {
    rules: ClockRules,
    clock: Clock,
    record: Mutex<Record>,
}

impl fmt::Debug for ClockWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClockWatch").field("rules", &self.rules).finish_non_exhaustive()
    }
}

impl ClockWatch {
    /// Asks nobody yet. `clock` must be the machine's own where its status is to mean anything.
    pub fn new(mut rules: ClockRules, clock: Clock) -> Self {
        rules.servers.truncate(SERVERS_MAX);
        let record = Mutex::new(Record::new(&rules));
        Self { rules, clock, record }
    }

    /// What is known at this moment. Never waits for a server.
    pub fn status(&self) -> ClockStatus {
        self.record.lock().status((self.clock)())
    }

    /// Asks the servers once, all at the same time, and tells the log where the clock became off or right again.
    ///
    /// Servers that asked to be left alone (RFC 5905 §7.4, kiss-o'-death) are left out for a while. Ends after
    /// `timeout` at the latest. Dropped on its way, it loses the answers that have not come.
    pub async fn ask_once(&self) {
        let due = self.record.lock().due((self.clock)());
        let asking = due.into_iter().map(|at| async move {
            let server = &self.rules.servers[at];
            let began = (self.clock)();
            let answer = ask::ask(server, self.rules.timeout).await;
            self.record.lock().on_answer(at, began, (self.clock)(), answer);
        });
        join_all(asking).await;
        let now = (self.clock)();
        let change = self.record.lock().take_change(now);
        let Some(change) = change else { return };
        match change {
            Change::Off { offset_micros } => tracing::warn!(
                offset_ms = offset_micros / 1_000,
                limit_ms = self.rules.off_from.as_millis() as u64,
                "the clock of this machine is off; windows open and close by it: check its NTP client"
            ),
            Change::Right { offset_micros } => {
                tracing::info!(offset_ms = offset_micros / 1_000, "the clock of this machine is right again");
            }
            Change::Unknown => {
                tracing::warn!("no NTP server answers: whether the clock is right is not known")
            }
            Change::Known { offset_micros } => {
                tracing::info!(
                    offset_ms = offset_micros / 1_000,
                    "an NTP server answers: the clock is right"
                );
            }
        }
    }

    /// Asks the servers again and again, for as long as it is polled; at once where there are none.
    pub async fn run(&self) {
        if self.rules.servers.is_empty() {
            return;
        }
        // Never busy, whatever is configured.
        let every = self.rules.every.max(Duration::from_secs(1));
        let mut again = AGAIN_FIRST;
        loop {
            self.ask_once().await;
            let is_known = self.status().offset_micros.is_some();
            tokio::time::sleep(if is_known { every } else { every.min(again) }).await;
            again = if is_known { AGAIN_FIRST } else { again.saturating_mul(2).min(every) };
        }
    }
}

/// Polls all of them on this task until each is done.
async fn join_all<F: Future<Output = ()>>(futures: impl Iterator<Item = F>) {
    let mut running: Vec<_> = futures.map(Box::pin).collect();
    std::future::poll_fn(|context| {
        running.retain_mut(|future| future.as_mut().poll(context).is_pending());
        if running.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, shown: Option<&str>) {
        let server = text.parse::<NtpServer>().ok();
        assert_eq!(server.map(|server| server.to_string()).as_deref(), shown, "{text}");
    }

    #[test]
    fn servers_strict_and_bad() {
        check("time.example.com", Some("time.example.com:123"));
        check("192.0.2.1:1123", Some("192.0.2.1:1123"));
        check("[2001:db8::1]", Some("[2001:db8::1]:123"));
        check("[2001:db8::1]:1123", Some("[2001:db8::1]:1123"));
        for bad in
            ["", ":123", "host:", "host:0", "host:65536", "2001:db8::1", "[host]:1", "[::1]x", "a b", "-a"]
        {
            check(bad, None);
        }
    }
}
