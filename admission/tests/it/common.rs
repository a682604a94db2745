//! Channels, programs, proofs and a clock to decide about.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use slotcast_admission::{Channel, Decision, LinkKey, ProgramSpec, Reason, Timetable};
use slotcast_auth::{Credential, Proof, Verdict};
use slotcast_core::{
    time::{Now, WallTime},
    words::{BitRate, ChannelNumber, OpenLevel, ProgramId, Seats, Toll, Window},
};

/// Minute `n` of the test's day, 2026-11-22.
pub(crate) fn minute(n: i64) -> WallTime {
    WallTime::from_micros((1_795_305_600 + n * 60) * 1_000_000)
}

pub(crate) fn now(at_minute: i64) -> Now {
    #[expect(clippy::disallowed_methods, reason = "a test has no edge that reads the clock for it")]
    let mono = Instant::now();
    Now { mono, wall: minute(at_minute) }
}

pub(crate) fn later(now: Now, seconds: u64) -> Now {
    Now { mono: now.mono + Duration::from_secs(seconds), ..now }
}

pub(crate) fn ip(n: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, n])
}

pub(crate) fn seats(count: u32) -> Seats {
    Seats::new(count).unwrap()
}

/// Ten seats, 64 kbit/s.
pub(crate) fn channel(number: u16) -> Channel {
    Channel {
        number: ChannelNumber(number),
        name: format!("channel{number}").parse().unwrap(),
        seats: seats(10),
        class: BitRate::new(64_000).unwrap(),
        toll: Toll(0),
        gather: Duration::ZERO,
    }
}

/// Public, with the reservation ID `ID-{id}`, connectable five minutes either side.
pub(crate) fn spec(id: u64, channel: u16, from: i64, to: i64) -> ProgramSpec {
    ProgramSpec {
        id: ProgramId(id),
        channel: ChannelNumber(channel),
        window: Window::new(minute(from), minute(to)).unwrap(),
        connect: Window::new(minute(from - 5), minute(to + 5)).unwrap(),
        seats: None,
        class: None,
        title: format!("show {id}"),
        open_level: OpenLevel::Public,
        password: None,
        link_key: LinkKey::from_reservation_id(&format!("ID-{id}")),
    }
}

/// A timetable with channel 1 and 2.
pub(crate) fn published(programs: Vec<ProgramSpec>) -> Timetable {
    let timetable = Timetable::new();
    republish(&timetable, programs);
    timetable
}

pub(crate) fn republish(timetable: &Timetable, programs: Vec<ProgramSpec>) {
    timetable.publish(vec![channel(1), channel(2)], programs).unwrap();
}

/// Why not; `None` when admitted.
pub(crate) fn why_not<T>(decision: &Decision<T>) -> Option<Reason> {
    decision.as_ref().err().map(|refusal| refusal.reason)
}

/// What a request shows, without digest around it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shown {
    Nothing,
    Stale,
    Text(&'static str),
}

impl Proof for Shown {
    fn verify(&self, _now: Instant, credential: &Credential<'_>) -> Verdict {
        let text = match self {
            Self::Nothing => return Verdict::Missing,
            Self::Stale => return Verdict::Stale,
            Self::Text(text) => *text,
        };
        let right = match credential {
            Credential::Password(password) => password.matches(text),
            Credential::Link(key) => key.matches_token(text),
        };
        if right { Verdict::Granted } else { Verdict::Wrong }
    }
}
