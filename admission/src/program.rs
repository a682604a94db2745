//! Channels and programs as the media side sees them, and the border to whoever knows the schedule.
//!
//! Owns: [`Channel`], [`Program`], [`ProgramSpec`] and the trait [`Programs`].
//! Not here: keeping them (`timetable`), deciding by them (`viewer`, `link`).

use std::{sync::Arc, time::Duration};

use slotcast_auth::{LinkKey, Secret};
use slotcast_core::{
    time::WallTime,
    words::{BitRate, ChannelName, ChannelNumber, OpenLevel, ProgramId, Seats, Toll, Window},
};

use crate::gate::Gate;

/// One sellable line of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    /// Under which it is sold.
    pub number: ChannelNumber,
    /// Under which it is found in addresses.
    pub name: ChannelName,
    /// How many viewers it may serve at once.
    pub seats: Seats,
    /// The bit rate that it may carry.
    pub class: BitRate,
    /// The price of one slot.
    pub toll: Toll,
    /// How long sound may wait for the next picture, so that one send carries both; zero: not at all.
    pub gather: Duration,
}

/// What is published of one program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramSpec {
    /// Stable over publishes: the gate and its viewers are kept by it.
    pub id: ProgramId,
    /// Where it runs; must be one of the published channels.
    pub channel: ChannelNumber,
    /// When it is on air.
    pub window: Window,
    /// When its link is accepted; must cover `window`.
    pub connect: Window,
    /// `None`: the channel's. More than the channel's count as the channel's.
    pub seats: Option<Seats>,
    /// `None`: the channel's. More than the channel's counts as the channel's.
    pub class: Option<BitRate>,
    /// For people.
    pub title: String,
    /// Who may watch.
    pub open_level: OpenLevel,
    /// Needed unless `open_level` is public.
    pub password: Option<Secret>,
    /// What opens the link.
    pub link_key: LinkKey,
}

/// One program of a snapshot. Immutable but for its gate; a later publish makes a new value around the same gate.
#[derive(Clone, Debug)]
pub struct Program {
    /// Stable over publishes.
    pub id: ProgramId,
    /// Where it runs.
    pub channel: Arc<Channel>,
    /// When it is on air.
    pub window: Window,
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
    /// Present unless `open_level` is public.
    pub password: Option<Secret>,
    /// What opens the link.
    pub link_key: LinkKey,
    /// Seats, end and cut-off, shared over publishes.
    pub gate: Arc<Gate>,
}

impl Program {
    /// Whether viewers may watch at `at`: inside the window, before the gate's end, gate open.
    pub fn is_on_air(&self, at: WallTime) -> bool {
        self.window.start() <= at && self.gate.lets_through(at)
    }

    /// The password that viewers must show; `None` when anyone may watch.
    pub fn protection(&self) -> Option<&Secret> {
        match self.open_level {
            OpenLevel::Public => None,
            OpenLevel::Password | OpenLevel::Secret => self.password.as_ref(),
        }
    }
}

/// The border to whoever knows the schedule. Answers come from memory, at once, and never wait.
pub trait Programs: Send + Sync {
    /// The channel of that name in addresses.
    fn channel(&self, name: &str) -> Option<Arc<Channel>>;
    /// The program that viewers of the channel may watch at `at`. `None` also when its gate is closed.
    fn on_air(&self, name: &str, at: WallTime) -> Option<Arc<Program>>;
    /// The programs of the channel whose connect window holds `at`, by start: two when they are back to back.
    fn connectable(&self, name: &str, at: WallTime) -> Vec<Arc<Program>>;
    /// The programs, by start, whose reservation ID has this hash ([`LinkKey::hash`]): one as a rule.
    fn of_link(&self, hash: &[u8; 32]) -> Vec<Arc<Program>>;
    /// The program as it is published now; `None` once it was removed.
    fn program(&self, id: ProgramId) -> Option<Arc<Program>>;
    /// Every channel, by number.
    fn channels(&self) -> Vec<Arc<Channel>>;
    /// Every program, by start.
    fn programs(&self) -> Vec<Arc<Program>>;
    /// The programs of all channels that start nearest to `at`, by start: at most `count` that have started, and as
    /// many that have not.
    fn nearest(&self, at: WallTime, count: usize) -> Vec<Arc<Program>> {
        nearest(&self.programs(), at, count)
    }
}

/// As [`Programs::nearest`]; `by_start` is sorted.
pub(crate) fn nearest(by_start: &[Arc<Program>], at: WallTime, count: usize) -> Vec<Arc<Program>> {
    let started = by_start.partition_point(|program| program.window.start() <= at);
    let from = started.saturating_sub(count);
    let to = started.saturating_add(count).min(by_start.len());
    by_start.get(from..to).unwrap_or_default().to_vec()
}
