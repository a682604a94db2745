//! What a decision changes, as values: the store writes them in the transaction in which the decision was made.
//!
//! Owns: [`Effects`] and what it is made of: mails to send, money to move, ledger entries.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};
use slotcast_core::time::WallTime;
use utoipa::ToSchema;

use super::{
    event::{Event, EventKind},
    proof::ProofKind,
    reservation::Reservation,
    words::{Amount, Email, MemberNumber, ReservationNumber},
};

/// Everything that one decision about one reservation changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effects {
    /// The reservation as it is from now on; its `version` is the one after this write.
    pub reservation: Reservation,
    /// What happens to slots.
    pub slots: SlotChange,
    /// Mails to send once the transaction stands.
    pub mails: Vec<MailRequest>,
    /// Money to move once the transaction stands.
    pub payments: Vec<PaymentRequest>,
    /// What the ledger says of it. Each sums to zero.
    pub ledger: Vec<LedgerTransaction>,
    /// What others are told of it once the transaction stands; what the ledger's entries say is told beside.
    pub events: Vec<Event>,
    /// The terms that the member accepts with it.
    pub terms: Option<AcceptedTerms>,
}

/// Terms that a member accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptedTerms {
    /// SHA-256 of the text.
    pub hash: [u8; 32],
    /// All of it.
    pub text: Arc<str>,
    /// When the member did.
    pub at: WallTime,
}

impl Effects {
    /// Only the reservation changes.
    pub const fn of(reservation: Reservation) -> Self {
        Self {
            reservation,
            slots: SlotChange::Keep,
            mails: Vec::new(),
            payments: Vec::new(),
            ledger: Vec::new(),
            events: Vec::new(),
            terms: None,
        }
    }

    /// These, which are told as that.
    #[must_use]
    pub fn told(mut self, kind: EventKind, at: WallTime) -> Self {
        self.events.push(Event::of_decision(kind, &self.reservation, at));
        self
    }
}

/// What happens to the rows of (channel, slot).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlotChange {
    /// Nothing.
    Keep,
    /// A new reservation takes these, by their starts, ascending; any that is taken refuses the whole.
    Take(Vec<WallTime>),
    /// All that the reservation holds and that start at or after this are free again.
    FreeFrom(WallTime),
}

/// Why somebody is written to. The text is made when it is sent, from the reservation as it is then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MailKind {
    /// To a new member.
    Welcome,
    /// To the member: the reservation ID, and until when to reconfirm.
    ReservationId,
    /// To the member: reconfirm soon.
    ReconfirmReminder,
    /// To the member: confirmed; where the settings file is.
    Confirmed,
    /// To a friend: when, what, where to watch, the password where one is needed.
    Invitation,
    /// To a friend: what changed.
    Changed,
    /// To a friend or the member: it will not be.
    Cancelled,
    /// To the member: the window is longer now.
    Extended,
    /// To the member: charged or waived, with the number of viewers.
    Settled,
    /// To the member: so much was given back.
    Refunded,
    /// To an address that a member gave: a code that shows that it arrived.
    VerifyEmail,
    /// To the member: a code by which a forgotten password is replaced.
    NewPassword,
    /// To the member: the password was replaced that way.
    PasswordChanged,
    /// To the address that a member had: it is another one from now on, or once that is verified.
    EmailChanged,
    /// To the member: a card is needed, or another one.
    CardNeeded,
}

impl MailKind {
    /// All there are.
    pub const ALL: [Self; 15] = [
        Self::Welcome,
        Self::ReservationId,
        Self::ReconfirmReminder,
        Self::Confirmed,
        Self::Invitation,
        Self::Changed,
        Self::Cancelled,
        Self::Extended,
        Self::Settled,
        Self::Refunded,
        Self::VerifyEmail,
        Self::NewPassword,
        Self::PasswordChanged,
        Self::EmailChanged,
        Self::CardNeeded,
    ];

    /// The name in the database.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Welcome => "welcome",
            Self::ReservationId => "reservation_id",
            Self::ReconfirmReminder => "reconfirm_reminder",
            Self::Confirmed => "confirmed",
            Self::Invitation => "invitation",
            Self::Changed => "changed",
            Self::Cancelled => "cancelled",
            Self::Extended => "extended",
            Self::Settled => "settled",
            Self::Refunded => "refunded",
            Self::VerifyEmail => "verify_email",
            Self::NewPassword => "new_password",
            Self::PasswordChanged => "password_changed",
            Self::EmailChanged => "email_changed",
            Self::CardNeeded => "card_needed",
        }
    }

    /// The kind of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether it is about a member alone, not about a reservation.
    pub const fn is_about_member(self) -> bool {
        matches!(
            self,
            Self::Welcome
                | Self::VerifyEmail
                | Self::NewPassword
                | Self::PasswordChanged
                | Self::EmailChanged
        )
    }

    /// Whether it goes to the address that it was written for, whatever address the member has by then.
    pub const fn keeps_address(self) -> bool {
        matches!(self, Self::VerifyEmail | Self::NewPassword | Self::EmailChanged)
    }

    /// The kind of the code that the mail holds.
    pub const fn proof(self) -> Option<ProofKind> {
        match self {
            Self::VerifyEmail => Some(ProofKind::Email),
            Self::NewPassword => Some(ProofKind::Password),
            _ => None,
        }
    }
}

/// For whom a mail is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    /// The member whose mail it is. These go before those to friends.
    Member,
    /// Somebody whom the member invited.
    Friend,
}

/// One mail to send: a job of the outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailRequest {
    /// Unique: the same key is never written twice; it makes the Message-ID, by which a receiver knows a repeat.
    /// At most 200 of `a-z 0-9 - .`.
    pub key: String,
    /// Why.
    pub kind: MailKind,
    /// For whom.
    pub whom: Whom,
    /// The address when it was asked for. A mail to the member goes to the address that the member has when it is sent.
    pub to: Email,
    /// Whose mail it is (whose language, whose name).
    pub member: MemberNumber,
    /// About which reservation; `None` for what is about the member alone.
    pub reservation: Option<ReservationNumber>,
    /// `calendar_sequence` at that moment.
    pub calendar_sequence: u32,
    /// What changed, one line each, already in the member's words ("Title: A → B"); never a password.
    pub changes: Vec<String>,
}

impl MailRequest {
    /// Whether it goes to a friend, not to the member.
    pub fn is_to_friend(&self) -> bool {
        self.whom == Whom::Friend
    }
}

/// What to do with money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PaymentKind {
    /// Hold the amount on the card.
    Authorise,
    /// Take what was held (or charge anew where the hold has lapsed).
    Capture,
    /// Let go of what was held.
    Release,
    /// Give back what a capture brought, or a part of it.
    Refund,
}

impl PaymentKind {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::Authorise, Self::Capture, Self::Release, Self::Refund];

    /// The name in the database.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Authorise => "authorise",
            Self::Capture => "capture",
            Self::Release => "release",
            Self::Refund => "refund",
        }
    }

    /// The kind of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// How a movement of money stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PaymentState {
    /// To be done, or not known to be done.
    Waiting,
    /// Done.
    Done,
    /// Declined for good.
    Declined,
}

impl PaymentState {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::Waiting, Self::Done, Self::Declined];

    /// The name in API and database.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Done => "done",
            Self::Declined => "declined",
        }
    }

    /// The state of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// One movement of money: a row of the payments outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaymentRequest {
    /// Unique, and the provider's idempotency key: repeated, it has no second effect. At most 200 of `a-z 0-9 - .`.
    pub key: String,
    /// What to do.
    pub kind: PaymentKind,
    /// For which reservation.
    pub reservation: ReservationNumber,
    /// Whose card.
    pub member: MemberNumber,
    /// How much.
    pub amount: Amount,
    /// The key of what it is about: of the hold that a capture or a release ends, of the capture that a refund gives
    /// back of. `None`: of an authorisation.
    pub of: Option<String>,
    /// Of refunds: what others had given back of that capture, in the provider's own books, when this one was asked
    /// for; as far as that was certain.
    pub elsewhere: Amount,
    /// Why, in an operator's words: of refunds alone. 1 to 200 characters on one line.
    pub reason: Option<String>,
    /// Of refunds alone: who asked, and under which key. What was asked for as that is never asked for again.
    pub asked_as: Option<String>,
}

/// An account of the ledger. `MemberHolds` and `Holds` are memorandum accounts: what was authorised, not yet owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Account {
    /// Authorised amounts of one member.
    MemberHolds(MemberNumber),
    /// The other side of all holds.
    Holds,
    /// What one member owes.
    Receivable(MemberNumber),
    /// What was earned.
    Revenue,
    /// What the payment provider has collected.
    Cash,
}

/// As in API and export.
impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MemberHolds(member) => write!(f, "member_holds:{member}"),
            Self::Holds => f.write_str("holds"),
            Self::Receivable(member) => write!(f, "receivable:{member}"),
            Self::Revenue => f.write_str("revenue"),
            Self::Cash => f.write_str("cash"),
        }
    }
}

/// Why the ledger moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LedgerKind {
    /// Authorised at reconfirmation.
    Authorised,
    /// A hold ended: charged, waived or cancelled.
    Released,
    /// Owed from now on.
    Charged,
    /// The payment provider has collected it.
    Collected,
    /// Given back by the operator, or taken off a bill.
    Refunded,
    /// A refund did not reach the member: the payment provider has it again.
    RefundFailed,
    /// The member's bank took back what was collected.
    Disputed,
    /// The bank gave back what it had taken.
    DisputeWon,
}

impl LedgerKind {
    /// All there are.
    pub const ALL: [Self; 8] = [
        Self::Authorised,
        Self::Released,
        Self::Charged,
        Self::Collected,
        Self::Refunded,
        Self::RefundFailed,
        Self::Disputed,
        Self::DisputeWon,
    ];

    /// The name in API, export and database.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Authorised => "authorised",
            Self::Released => "released",
            Self::Charged => "charged",
            Self::Collected => "collected",
            Self::Refunded => "refunded",
            Self::RefundFailed => "refund_failed",
            Self::Disputed => "disputed",
            Self::DisputeWon => "dispute_won",
        }
    }

    /// The kind of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// One entry pair of the ledger: `amount` goes to `debit` and comes from `credit`. Append-only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerTransaction {
    /// Unique: the same key is never posted twice. At most 200 of `a-z 0-9 - .`, but that disputes are named as the
    /// provider does.
    pub key: String,
    /// Why.
    pub kind: LedgerKind,
    /// The key of the payment that it follows from: a hold, a capture, or the refund that failed. Where a refund failed
    /// that was made in the provider's own books alone, the capture.
    pub of: String,
    /// For which reservation.
    pub reservation: ReservationNumber,
    /// When.
    pub at: WallTime,
    /// Receives.
    pub debit: Account,
    /// Gives.
    pub credit: Account,
    /// How much; never zero.
    pub amount: Amount,
}
