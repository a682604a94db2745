//! The border to the streaming side: what this side publishes to it, and asks of it.
//!
//! Owns: [`Scheduled`], [`Streaming`].
//! Invariant: the streaming side never waits for this one.

use std::{collections::BTreeMap, fmt::Display, net::SocketAddr};

use serde::{Serialize, Serializer};
use slotcast_core::{
    time::WallTime,
    words::{BitRate, ChannelNumber, OpenLevel, Seats, Window},
};
use utoipa::ToSchema;

use crate::{
    domain::{
        reservation::{ProgramPassword, SoldChannel},
        words::{MemberNumber, ReservationNumber},
    },
    stream_health::StreamHealth,
    vault::ReservationId,
};

/// Who ended a program before its window was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoppedBy {
    /// Whose program it is.
    Member,
    /// The operator.
    Operator,
}

/// One confirmed program, as the streaming side must know it.
#[derive(Clone, Debug)]
pub struct Scheduled {
    /// Names it.
    pub number: ReservationNumber,
    /// Whose it is.
    pub member: MemberNumber,
    /// On which channel.
    pub channel: ChannelNumber,
    /// When it is on air; until it was stopped, if it was.
    pub window: Window,
    /// Set where it was ended before its time: viewers, broadcaster and log are told who did.
    pub stopped: Option<StoppedBy>,
    /// When its link is accepted.
    pub connect: Window,
    /// How many viewers at once.
    pub seats: Seats,
    /// The bit rate that it may carry.
    pub class: BitRate,
    /// For people.
    pub title: String,
    /// Who may watch.
    pub open_level: OpenLevel,
    /// Present unless public.
    pub password: Option<ProgramPassword>,
    /// What opens the link.
    pub reservation_id: ReservationId,
}

/// What the streaming side must know: first as a whole, then what changed of it.
///
/// Programs are those of the next hours that are confirmed, on air or over, and whose connect window is not over.
#[derive(Clone, Debug, Default)]
pub struct Schedule {
    /// Every channel that is sold, and retired ones with programs left; with the seats and the class that their programs
    /// were promised.
    pub channels: Vec<SoldChannel>,
    /// Programs that are new or may have changed; of a whole schedule, every one.
    pub programs: Vec<Scheduled>,
    /// Programs that are gone.
    pub gone: Vec<ReservationNumber>,
    /// Whether programs that it does not name are gone as well.
    pub is_whole: bool,
}

/// What a broadcaster's link does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Link {
    /// Nobody sends.
    Absent,
    /// Connected, media held back outside the window.
    Held,
    /// Media goes to the viewers.
    OnAir,
}

/// What comes on one track of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TrackState {
    /// It was offered and never set up; viewers are not told of it.
    NotSetUp,
    /// Nothing has come on it for long; viewers are not told of it.
    Silent,
    /// Viewers are told of it.
    Sent,
}

/// One track of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = LinkTrack)]
pub struct Track {
    /// `video`, `audio` or `application`.
    pub kind: &'static str,
    /// What comes on it.
    pub state: TrackState,
}

/// Why a broadcaster's link ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct LinkEnd {
    /// When it did.
    pub at: WallTime,
    /// A fixed word, as in the log: such as `peer_closed`, `class_exceeded`, `taken_over` or `kicked`.
    pub reason: &'static str,
    /// The side that would have to do something: `broadcaster`, `network`, `operator` or `nobody`.
    pub fault: &'static str,
    /// What happened and what to do next.
    pub text: String,
}

/// One program as it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Live {
    /// What its link does.
    pub link: Link,
    /// Since when.
    pub since: WallTime,
    /// What came in during the last second, in bits per second.
    pub bit_rate: u64,
    /// Viewers now.
    pub viewers: u32,
    /// Packets that went on to the viewers' side since the link's source began.
    pub packets: u64,
    /// Width and height, where the stream told them (H.264 and H.265).
    pub picture: Option<(u16, u16)>,
    /// Its tracks, in the order in which the encoder offered them.
    pub tracks: Vec<Track>,
    /// Tracks that were offered beside these and cannot be taken.
    pub left_out: u8,
    /// What its stream is like; `None`: no link, or not measured yet.
    pub health: Option<StreamHealth>,
    /// Why its last link ended; `None`: none has.
    pub last_end: Option<LinkEnd>,
}

impl Live {
    /// A program without a link and without viewers.
    pub const fn absent(since: WallTime) -> Self {
        Self {
            link: Link::Absent,
            since,
            bit_rate: 0,
            viewers: 0,
            packets: 0,
            picture: None,
            tracks: Vec::new(),
            left_out: 0,
            health: None,
            last_end: None,
        }
    }
}

/// One viewer, for an operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Viewer {
    /// Names it to whoever sends it away: a decimal number.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String, pattern = "@digits")]
    pub id: u64,
    /// From where, with the port.
    #[schema(value_type = String)]
    pub address: SocketAddr,
    /// `udp` or `tcp`.
    pub protocol: &'static str,
}

/// What NTP servers say of the machine's clock, by which windows open and close.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ClockCheck {
    /// The servers' time minus ours (in the API: whole milliseconds); `null`: no server answers.
    #[serde(rename = "offset_ms", serialize_with = "millis")]
    pub offset_micros: Option<i64>,
    /// Whether that is more than windows can bear.
    pub is_off: bool,
}

fn text<S: Serializer>(value: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

fn millis<S: Serializer>(micros: &Option<i64>, serializer: S) -> Result<S::Ok, S::Error> {
    micros.map(|micros| micros / 1000).serialize(serializer)
}

/// What this side asks of the streaming side. Answers come from memory, at once, but for the two that say otherwise.
pub trait Streaming: Send + Sync {
    /// Takes over the schedule, or what changed of it. Errors: what does not fit together, for the log; nothing was
    /// changed then.
    fn publish(&self, schedule: &Schedule) -> Result<(), String>;
    /// Whether its threads run and take viewers and links: what "the server ran normally" means at this moment.
    fn is_normal(&self) -> bool;
    /// How its clock compares with others'; `None`: nobody is asked.
    fn clock(&self) -> Option<ClockCheck> {
        None
    }
    /// Programs that have or had a link, or have viewers.
    fn live(&self) -> BTreeMap<ReservationNumber, Live>;
    /// Whether there is a picture of what is on air in `program`, at `/programs/NUMBER/still.jpg`.
    fn has_still(&self, _program: ReservationNumber) -> bool {
        false
    }
    /// Who watches `program`. Waits for the threads that send, a second at most: not for a thread that serves others.
    fn viewers(&self, program: ReservationNumber) -> Vec<Viewer>;
    /// Ends one viewer's session. `false`: not there. Waits as [`viewers`](Self::viewers) does.
    fn kick_viewer(&self, program: ReservationNumber, viewer: u64, reason: &str) -> bool;
    /// Closes the program's link; the broadcaster may connect again. `false`: there was none.
    fn kick_link(&self, program: ReservationNumber, reason: &str) -> bool;
}
