//! Reservations: a window of a channel, what is broadcast in it, and how far the sale has come.
//!
//! Owns: [`Reservation`], [`ProgramDetails`], [`State`], [`SoldChannel`].
//! Not here: the rules by which states follow each other (`rules`).

use std::{fmt, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use slotcast_core::{
    time::WallTime,
    words::{BitRate, ChannelName, ChannelNumber, OpenLevel, Seats, Toll, Window},
};

use utoipa::{
    PartialSchema, ToSchema,
    openapi::{Object, RefOr, Schema, Type},
};

use super::{
    refusal::{Command, Refusal},
    words::{Email, MemberNumber, ReservationNumber},
};

/// One sellable line of the server, as the operator prices it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SoldChannel {
    /// Under which it is sold.
    pub number: ChannelNumber,
    /// Under which it is found in addresses; unique.
    pub name: ChannelName,
    /// How many viewers at once.
    pub seats: Seats,
    /// The bit rate that it may carry.
    pub class: BitRate,
    /// The price of one slot.
    pub toll: Toll,
    /// How long sound may wait for the next picture, so that one send carries both; zero: not at all. At most
    /// [`GATHER_MAX`](crate::limits::GATHER_MAX), in whole milliseconds.
    pub gather: Duration,
    /// Not sold any more; what is reserved stays.
    pub is_retired: bool,
    /// Counts edits, from 1.
    pub version: i64,
}

/// Whose program it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProgramKind {
    /// A member's, paid for.
    Private,
    /// The operator's own or a company's: no toll, no limit.
    Special,
}

/// A viewers' password, 1 to 64 printable ASCII characters without space; not shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct ProgramPassword(pub String);

impl fmt::Debug for ProgramPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProgramPassword(…)")
    }
}

/// What is broadcast, in the member's words, as its owner sees it. May be changed at any time before the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Program)]
pub struct ProgramDetails {
    /// 1 to 80 characters.
    pub title: String,
    /// 0 to 40 characters.
    pub genre: String,
    /// 0 to 20 characters.
    pub outline: String,
    /// 0 to 200 characters.
    pub details: String,
    /// Who may watch.
    pub open_level: OpenLevel,
    /// Present unless `open_level` is public. In plain in memory, since digest authentication needs it; the store
    /// keeps it sealed.
    pub password: Option<ProgramPassword>,
    /// Whether the program's page shows the member's e-mail address.
    pub show_email: bool,
    /// Whether it shows the member's web address.
    pub show_web: bool,
    /// Who is mailed at reconfirmation and when something changes; at most 50, each once.
    pub friends: Vec<Email>,
}

/// Who cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CancelledBy {
    /// The member.
    Member,
    /// Nobody reconfirmed in time.
    NotReconfirmed,
    /// The terms were not accepted in time.
    TermsNotAccepted,
    /// The operator.
    Operator,
}

/// What became of the money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Settlement {
    /// The program is over, the charge is not decided yet.
    Open,
    /// Charged: the server ran normally.
    Charged,
    /// Waived: the server did not run normally.
    Waived,
}

/// How far a reservation has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// The slots are taken; the terms are not accepted yet.
    Held,
    /// Terms accepted, reservation ID mailed; waits for the reconfirmation.
    Registered,
    /// Reconfirmed: accounting flag yes.
    Confirmed,
    /// Confirmed, and inside the window.
    OnAir,
    /// The window is over.
    Finished(Settlement),
    /// Will not be, or was stopped. The slots from the cancellation on are free.
    Cancelled(CancelledBy),
}

impl State {
    /// The name in API and database.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Registered => "registered",
            Self::Confirmed => "confirmed",
            Self::OnAir => "on_air",
            Self::Finished(Settlement::Open) => "finished",
            Self::Finished(Settlement::Charged) => "finished_charged",
            Self::Finished(Settlement::Waived) => "finished_waived",
            Self::Cancelled(CancelledBy::Member) => "cancelled_member",
            Self::Cancelled(CancelledBy::NotReconfirmed) => "cancelled_not_reconfirmed",
            Self::Cancelled(CancelledBy::TermsNotAccepted) => "cancelled_terms_not_accepted",
            Self::Cancelled(CancelledBy::Operator) => "cancelled_operator",
        }
    }

    /// All there are.
    pub const ALL: [Self; 11] = [
        Self::Held,
        Self::Registered,
        Self::Confirmed,
        Self::OnAir,
        Self::Finished(Settlement::Open),
        Self::Finished(Settlement::Charged),
        Self::Finished(Settlement::Waived),
        Self::Cancelled(CancelledBy::Member),
        Self::Cancelled(CancelledBy::NotReconfirmed),
        Self::Cancelled(CancelledBy::TermsNotAccepted),
        Self::Cancelled(CancelledBy::Operator),
    ];

    /// The state of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Whether its slots are taken.
    pub const fn holds_slots(self) -> bool {
        !matches!(self, Self::Cancelled(_))
    }

    /// The accounting flag.
    pub const fn is_accounted(self) -> bool {
        matches!(self, Self::Confirmed | Self::OnAir | Self::Finished(_))
    }
}

/// By its name.
impl Serialize for State {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for State {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::from_name(&name).ok_or_else(|| D::Error::custom("no state of that name"))
    }
}

impl PartialSchema for State {
    fn schema() -> RefOr<Schema> {
        let description = "How far a reservation has come. `registered`: the terms are accepted, it waits for the \
            reconfirmation; `finished`: over, the charge is not decided yet; `finished_waived`: the server did not run \
            normally, nothing is charged.";
        Object::builder()
            .schema_type(Type::String)
            .enum_values(Some(Self::ALL.map(Self::name)))
            .description(Some(description))
            .into()
    }
}

impl ToSchema for State {}

/// SHA-256 of a reservation ID: all that is stored of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ReservationIdHash(pub [u8; 32]);

impl fmt::Debug for ReservationIdHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReservationIdHash(…)")
    }
}

/// One reservation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// Names it, and its program.
    pub number: ReservationNumber,
    /// Whose.
    pub member: MemberNumber,
    /// Whose kind of program.
    pub kind: ProgramKind,
    /// On which line.
    pub channel: ChannelNumber,
    /// `[start, end)`, whole slots.
    pub window: Window,
    /// As booked: a channel that is changed later does not change what was sold.
    pub seats: Seats,
    /// As booked.
    pub class: BitRate,
    /// As booked, for one slot; zero for special programs.
    pub toll: Toll,
    /// How far it has come.
    pub state: State,
    /// What is broadcast.
    pub program: ProgramDetails,
    /// When it was booked.
    pub booked_at: WallTime,
    /// A held one is cancelled at this moment.
    pub hold_until: WallTime,
    /// A registered one is cancelled at this moment.
    pub reconfirm_until: WallTime,
    /// When the terms were accepted.
    pub terms_accepted_at: Option<WallTime>,
    /// When it was reconfirmed.
    pub confirmed_at: Option<WallTime>,
    /// When it was over: cancelled, ended early by the broadcaster, or at its window's end.
    pub over_at: Option<WallTime>,
    /// Set once the terms are accepted.
    pub id_hash: Option<ReservationIdHash>,
    /// Which reservation ID is the valid one, from 1; 0: none was made yet. A lost ID is replaced by the next.
    pub id_issue: u32,
    /// Whether the reminder of the reconfirmation went out.
    pub is_reminded: bool,
    /// How often calendars were told something new (RFC 5545 SEQUENCE).
    pub calendar_sequence: u32,
    /// Counts edits, from 1: what ETag and `If-Match` are about.
    pub version: i64,
}

impl Reservation {
    /// The same, one version on.
    pub(super) fn next(&self) -> Self {
        Self { version: self.version + 1, ..self.clone() }
    }

    /// That it is not in a state for `command`.
    pub(super) const fn refuses(&self, command: Command) -> Refusal {
        Refusal::WrongState { command, state: self.state }
    }
}
