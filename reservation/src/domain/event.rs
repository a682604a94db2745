//! What happens to programs, as it is told to others: pages that are open, the operator's webhooks.
//!
//! Owns: [`Event`], its name and its words. Not here: who may see which (`hub`), how it is sent (`service`).
//! Invariant: an event keeps its ID however often it is told, and is told in the order in which it was written.

use serde::{Deserialize, Serialize};
use slotcast_core::{
    time::WallTime,
    words::{ChannelNumber, OpenLevel, Window},
};
use strum::{Display, EnumIter, EnumString, IntoEnumIterator as _};
use utoipa::ToSchema;

use super::{
    effects::{LedgerKind, LedgerTransaction},
    reservation::{CancelledBy, Reservation, State},
    words::{Amount, MemberNumber, ReservationNumber},
};

/// What happened.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Display,
    EnumIter,
    EnumString,
    Serialize,
    Deserialize,
    ToSchema,
)]
#[strum(serialize_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// A member took slots, or the operator booked a special program.
    Booked,
    /// It will be on air.
    Reconfirmed,
    /// It will not be, or was stopped; `reason`: by whom.
    Cancelled,
    /// It begins within five minutes.
    Starting,
    /// Its window has begun.
    Started,
    /// Its window ends within five minutes.
    Ending,
    /// It is over.
    Ended,
    /// The broadcaster's link came up.
    LinkUp,
    /// The link ended; `reason`: a fixed word, as in the log.
    LinkDown,
    /// The link ended because it brought more than the bandwidth class allows.
    ClassExceeded,
    /// The member owes `amount`.
    Charged,
    /// `amount` was given back, or taken off the bill.
    Refunded,
    /// The operator tries out a webhook.
    Test,
}

impl EventKind {
    /// Those that happen to programs.
    pub fn of_programs() -> impl Iterator<Item = Self> {
        Self::iter().filter(|kind| *kind != Self::Test)
    }

    /// Whether the public may know of it: not of links that break, nor of money.
    const fn is_for_public(self) -> bool {
        matches!(
            self,
            Self::Booked
                | Self::Reconfirmed
                | Self::Cancelled
                | Self::Starting
                | Self::Started
                | Self::Ending
                | Self::Ended
        )
    }
}

/// Something that happened to one program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Event {
    /// The same each time that it is told; at most 200 of `a-z 0-9 -`.
    pub id: String,
    /// What happened.
    #[serde(rename = "type")]
    pub kind: EventKind,
    /// When it happened.
    pub timestamp: WallTime,
    /// To which program.
    pub data: EventData,
    /// Whether it is one of a program that is announced, and of a kind for everybody.
    #[serde(skip)]
    pub is_public: bool,
}

/// The program as it was then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct EventData {
    /// Names the program and its reservation.
    #[schema(value_type = i64)]
    pub number: ReservationNumber,
    /// Whose it is; not told to the public.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    pub member: Option<MemberNumber>,
    /// On which channel.
    pub channel: ChannelNumber,
    /// When it is on air.
    pub window: Window,
    /// Its title.
    pub title: String,
    /// Who may watch.
    pub open_level: OpenLevel,
    /// Of `cancelled`: `member`, `operator`, `not_reconfirmed` or `terms_not_accepted`; of `link_down` and
    /// `class_exceeded`: why the link ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Of `charged` and `refunded`: how much, in minor units.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    pub amount: Option<Amount>,
}

impl Event {
    /// Of a program as it is after it.
    ///
    /// - `name`: tells it from others of its kind and program; of `a-z 0-9 -`.
    pub fn new(kind: EventKind, reservation: &Reservation, name: &str, at: WallTime) -> Self {
        let level = reservation.program.open_level;
        let is_announced = reservation.confirmed_at.is_some() && level != OpenLevel::Secret;
        let id = format!("{kind}-{}-{name}", reservation.number).replace('_', "-");
        let data = EventData {
            number: reservation.number,
            member: Some(reservation.member),
            channel: reservation.channel,
            window: reservation.window,
            title: reservation.program.title.clone(),
            open_level: level,
            reason: None,
            amount: None,
        };
        Self { id, kind, timestamp: at, data, is_public: is_announced && kind.is_for_public() }
    }

    /// Of a decision about a reservation: its version names it.
    pub fn of_decision(kind: EventKind, after: &Reservation, at: WallTime) -> Self {
        let mut event = Self::new(kind, after, &after.version.to_string(), at);
        event.data.reason = match after.state {
            State::Cancelled(by) => Some(reason(by).to_owned()),
            _ => None,
        };
        event
    }

    /// What an entry of the ledger is told as; `None`: nobody is told of it.
    pub fn of_entry(entry: &LedgerTransaction, reservation: &Reservation) -> Option<Self> {
        let kind = EventKind::of_ledger(entry.kind)?;
        let mut event = Self::new(kind, reservation, "", entry.at);
        event.id.clone_from(&entry.key);
        event.data.amount = Some(entry.amount);
        Some(event)
    }

    /// As the public may see it.
    #[must_use]
    pub fn for_public(&self) -> Self {
        Self { data: EventData { member: None, amount: None, ..self.data.clone() }, ..self.clone() }
    }
}

impl EventKind {
    /// As what such entries of the ledger are told.
    pub const fn of_ledger(kind: LedgerKind) -> Option<Self> {
        match kind {
            LedgerKind::Charged => Some(Self::Charged),
            LedgerKind::Refunded => Some(Self::Refunded),
            _ => None,
        }
    }
}

const fn reason(by: CancelledBy) -> &'static str {
    match by {
        CancelledBy::Member => "member",
        CancelledBy::NotReconfirmed => "not_reconfirmed",
        CancelledBy::TermsNotAccepted => "terms_not_accepted",
        CancelledBy::Operator => "operator",
    }
}
