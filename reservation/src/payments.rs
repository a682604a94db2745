//! Taking money: the border to the company that does it, and the two ways there are.
//!
//! Owns: [`Payments`]. Not here: what is owed and why (`domain`), retrying (`service`).
//! Invariant: no card number ever passes here, only tokens that the provider gave to the member's browser.

pub mod invoice;
pub mod stripe;

use std::fmt;

use async_trait::async_trait;

use crate::domain::{
    member::{Card, CardQuestion},
    words::{Amount, Currency, Email, MemberNumber, ReservationNumber},
};

/// A payment method that a member wants to register.
#[derive(Clone, PartialEq, Eq)]
pub struct NewCard {
    /// What the provider's own form gave: for Stripe a PaymentMethod ID (`pm_…`), or the
    /// [`reference`](CardQuestion::reference) of a question that the member has answered. Ignored by `invoice`.
    pub token: String,
    /// Whose.
    pub member: MemberNumber,
    /// For the provider's receipts.
    pub email: Email,
    /// As the member writes it.
    pub name: String,
}

impl fmt::Debug for NewCard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NewCard(member {})", self.member)
    }
}

/// What checking a card came to, where it was not declined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CardCheck {
    /// It can be charged later; what may be stored of it.
    Kept(Card),
    /// The card company wants to ask the member first. Nothing is to be stored: once the question is answered, the card
    /// is checked again with its reference as [`NewCard::token`].
    Ask(CardQuestion),
}

/// A payment, as the provider is asked for it.
#[derive(Clone, Debug)]
pub struct Charge {
    /// The provider's idempotency key: repeated, the same answer and no second effect.
    pub key: String,
    /// For which reservation; shown in the provider's books.
    pub reservation: ReservationNumber,
    /// Whose card.
    pub member: MemberNumber,
    /// The card.
    pub card: Card,
    /// How much; never zero.
    pub amount: Amount,
    /// In what.
    pub currency: Currency,
    /// Whether the member waits for the answer, and can answer what the card's company asks.
    pub is_present: bool,
    /// The [`reference`](CardQuestion::reference) of the question that this very payment led to before.
    pub begun: Option<String>,
}

/// What the provider did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// The provider's name for it: a later capture or release refers to it.
    pub reference: String,
    /// Whether money has reached the operator by this: a capture over a provider, never over `invoice`.
    pub is_collected: bool,
}

/// Why it was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PaymentError {
    /// Declined, for good: asking again under the same key changes nothing. The text is for the member.
    Declined(String),
    /// The card's company wants to ask the member, who is there. Nothing is moved yet: once the question is answered,
    /// the same payment is asked for again, with the question's reference as [`Charge::begun`].
    Asks(CardQuestion),
    /// Not reached, slow, or failing: ask again with the same key. The text is for the log.
    Unavailable(String),
    /// A refund that was taken on failed afterwards: the provider has the money again. The text is for the operator.
    CameBack(String),
    /// The provider refuses our request itself: a wrong key, a wrong setting. The text is for the operator.
    Misconfigured(String),
}

impl fmt::Display for PaymentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Declined(why) => write!(f, "declined: {why}"),
            Self::Asks(question) => write!(f, "the card's company asks the member ({})", question.reference),
            Self::CameBack(why) => write!(f, "the refund came back: {why}"),
            Self::Unavailable(why) => write!(f, "the payment provider cannot be asked now: {why}"),
            Self::Misconfigured(why) => {
                write!(f, "the payment provider refuses our requests: {why}; check the [payments] settings")
            }
        }
    }
}

impl std::error::Error for PaymentError {}

/// What a provider tells by itself (a webhook), checked and understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The provider's name of the event: the same event comes more than once.
    pub event: String,
    /// Of the hold or charge: what [`Moved::reference`] was, or will be where the answer has not come yet.
    pub reference: String,
    /// The key that it was asked for under, where that is told.
    pub key: Option<String>,
    /// What happened.
    pub what: Noticed,
}

/// What a provider tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Noticed {
    /// The hold has lapsed or was cancelled there.
    HoldGone,
    /// The money was collected.
    Collected(Amount),
    /// So much in all was given back.
    Refunded(Amount),
    /// A refund that was told of as done did not reach the member.
    RefundFailed(FailedRefund),
    /// The member's bank took back a part or all of what was collected; or has given it back.
    Disputed {
        /// The provider's name of it.
        dispute: String,
        /// How much.
        amount: Amount,
        /// Whether it is given back.
        is_won: bool,
    },
    /// A charge failed afterwards; the text is for the operator.
    Failed(String),
}

/// A refund that the provider took on, and that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedRefund {
    /// The provider's name of the refund: what [`Moved::reference`] was of one of ours.
    pub refund: String,
    /// The key that it was asked for under; `None`: it was made in the provider's own books.
    pub key: Option<String>,
    /// How much.
    pub amount: Amount,
    /// For the operator.
    pub why: String,
}

/// A way to take money.
#[async_trait]
pub trait Payments: Send + Sync + fmt::Debug {
    /// Checks the card with the provider and keeps it there for later.
    async fn check_card(&self, card: &NewCard) -> Result<CardCheck, PaymentError>;
    /// Whether that card was kept by this provider: another one's cannot be charged.
    fn knows(&self, card: &Card) -> bool;
    /// Whether so much can be charged. Errors: what to set instead, for the operator.
    fn check_amount(&self, amount: Amount, currency: Currency) -> Result<(), String>;
    /// Holds the amount on the card.
    async fn authorise(&self, charge: &Charge) -> Result<Moved, PaymentError>;
    /// Takes the amount: what `hold`, an earlier [`Moved::reference`], holds of it, or anew where that has lapsed.
    async fn capture(&self, charge: &Charge, hold: &str) -> Result<Moved, PaymentError>;
    /// Lets go of what `hold` holds; `key` as in [`Charge::key`].
    async fn release(&self, key: &str, hold: &str) -> Result<Moved, PaymentError>;
    /// Gives back what a capture brought, or a part of it; `reference` as [`Moved::reference`] of that capture.
    async fn refund(&self, key: &str, reference: &str, amount: Amount) -> Result<Moved, PaymentError>;
    /// Checks the signature of a webhook and reads it. `Ok(None)`: genuine, and of no interest.
    ///
    /// - `signature`: the provider's header; `now_seconds`: seconds since 1970, against replays.
    fn read_notice(
        &self,
        signature: &str,
        body: &[u8],
        now_seconds: i64,
    ) -> Result<Option<Notice>, PaymentError>;
}
