//! Why a command was refused: a value that names the reason and the next step.
//!
//! Owns: [`Refusal`], its code, HTTP status and text, each declared once.
//! Invariant: no text shows a secret.

use slotcast_core::{
    time::WallTime,
    words::{BitRate, ChannelName, ChannelNumber},
};

use super::{member::CardQuestion, words::Amount};

/// One thing that is wrong with what was filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldProblem {
    /// Name of the field, as in the API: `program.title`.
    pub field: &'static str,
    /// What would be right: "expected 1 to 80 characters".
    pub expected: String,
}

/// Why a command was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// Items are missing or wrong; each is named, all at once.
    Invalid(Vec<FieldProblem>),
    /// Nobody by that user ID, or another password: which of the two is not told.
    WrongLogIn,
    /// The member is shut out by the operator.
    Blocked,
    /// The request carries no valid session or token.
    NotLoggedIn,
    /// The token's scopes do not cover this.
    Scope(&'static str),
    /// A request with a session cookie lacks the right `X-CSRF-Token`.
    Csrf,
    /// Only a premium member may.
    NotPremium,
    /// Only an operator may.
    NotOperator,
    /// Too many attempts; try again after so many seconds.
    TooMany {
        /// Seconds.
        retry_after: u64,
    },
    /// That user ID is taken.
    UserIdTaken,
    /// That address belongs to a member.
    EmailTaken,
    /// Not there, or not the asker's to see.
    NotFound(&'static str),
    /// The channel is not sold any more.
    ChannelRetired(ChannelNumber),
    /// The window does not begin and end on slots.
    NotOnSlots {
        /// Length of a slot in seconds.
        slot_seconds: u64,
    },
    /// More slots at once than are sold at once.
    TooLong {
        /// The most.
        slots_max: u32,
    },
    /// The window's first slot is over already.
    InThePast,
    /// The window lies further ahead than is sold.
    TooFarAhead {
        /// It must end by then.
        until: WallTime,
    },
    /// Somebody has a slot of the window.
    SlotTaken {
        /// On which channel.
        channel: ChannelNumber,
        /// The starts of the slots that are taken, ascending, as far as known.
        taken: Vec<WallTime>,
    },
    /// The member's slots of that month would be more than the limit.
    MonthLimit {
        /// The most.
        slots_max: u32,
        /// Used already.
        used: u32,
        /// Asked for.
        asked: u32,
    },
    /// The program is not in a state for this.
    WrongState {
        /// What was asked: `accept_terms`, `reconfirm`, …
        command: &'static str,
        /// The state that it is in.
        state: &'static str,
    },
    /// The terms were not accepted until then: the reservation was cancelled, its slots are free.
    HoldExpired {
        /// When it was over.
        until: WallTime,
    },
    /// Not reconfirmed until then: the reservation was cancelled, its slots are free.
    ReconfirmationLate {
        /// When it was over.
        until: WallTime,
    },
    /// That is not the reservation ID of this reservation.
    WrongReservationId,
    /// An extension is offered only from this moment on.
    ExtensionEarly {
        /// From then.
        from: WallTime,
    },
    /// What cannot be changed was to be changed: channel or window. Cancel and book again.
    NotChangeable(&'static str),
    /// The payment provider declined.
    PaymentDeclined {
        /// What the provider says, for the member.
        reason: String,
    },
    /// The card's company wants to ask the member first.
    CardQuestion(CardQuestion),
    /// The card's company wants to ask whoever registers, which it can do once there is a member.
    RegisterFirst,
    /// The payment provider cannot be reached, or is slow; nothing was charged.
    PaymentUnavailable,
    /// The member has no payment method.
    NoPaymentMethod,
    /// Nothing can be given back: nothing was taken, or all of it is given back or on its way.
    NothingToRefund {
        /// Charged and not collected yet.
        collecting: Amount,
        /// Asked to be given back already, and not known to be.
        refunding: Amount,
    },
    /// More was to be given back than can be.
    RefundTooLarge {
        /// What can be.
        left: Amount,
    },
    /// The amount is beyond what can be booked.
    AmountTooLarge {
        /// The largest.
        max: Amount,
    },
    /// Somebody else changed it since it was read.
    Stale {
        /// The version now.
        version: i64,
    },
    /// The same `Idempotency-Key` came with another request.
    KeyReused,
    /// What is there already: a channel's number or name.
    Exists(&'static str),
    /// It is used by something else and cannot go.
    InUse(&'static str),
    /// All channels together would send more than the uplink carries.
    UplinkSold {
        /// What this machine can send.
        uplink: BitRate,
        /// Seats that fit at the rate that was asked for.
        seats_max: u64,
    },
    /// Programs are booked on the channel, and its name stands in the addresses that were mailed for them.
    ChannelNameInUse {
        /// The name as it is.
        name: ChannelName,
    },
}
