//! What the service answers, as people and programs see it: the JSON of the API, and what pages show.
//!
//! Owns: the views of what is kept in another shape (channels, reservations, money, tokens), lists, how texts are
//! written. What is shown as it is kept derives `Serialize` where it stands (`domain::member`, `streaming`).
//! Invariant: no view holds a secret that its reader may not see; money stands beside its currency, times are RFC 3339.

use std::{fmt::Display, time::Duration};

use serde::{Serialize, Serializer};
use slotcast_core::{
    time::WallTime,
    words::{BitRate, ChannelName, ChannelNumber, Seats, Toll, Window},
};
use utoipa::ToSchema;

use super::{Scope, Scopes, Service};
use crate::{
    domain::{
        effects::{AcceptedTerms, Account, LedgerKind, LedgerTransaction, PaymentKind, PaymentState},
        refusal::Refusal,
        reservation::{ProgramDetails, ProgramKind, Reservation, SoldChannel, State},
        words::{Amount, Currency, Language, MemberNumber, ReservationNumber},
    },
    store::{ApiToken, Listed, Page, Payment},
};

/// A part of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct List<T> {
    /// Items of the whole list.
    pub item_count: u32,
    /// Pages of the whole list.
    pub page_count: u32,
    /// Items of this page.
    pub items: Vec<T>,
}

impl<T> List<T> {
    /// Of a list that was read page by page.
    pub fn page<S>(listed: Listed<S>, page: Page, show: impl FnMut(S) -> T) -> Self {
        let page_count = listed.count.div_ceil(page.limit.max(1));
        Self { item_count: listed.count, page_count, items: listed.items.into_iter().map(show).collect() }
    }

    /// Of a list that is always given as a whole.
    pub fn whole(items: Vec<T>) -> Self {
        let item_count = u32::try_from(items.len()).unwrap_or(u32::MAX);
        Self { item_count, page_count: item_count.min(1), items }
    }
}

/// One sellable line of the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Channel, example = json!({
    "number": 1, "name": "channel1", "seats": 5, "bandwidth_class": 28800, "toll": 1000, "currency": "JPY",
    "slot_seconds": 600, "gather_ms": 20, "is_retired": false, "version": 1,
}))]
pub struct ChannelView {
    /// Under which it is sold.
    pub number: ChannelNumber,
    /// Under which it is found in addresses.
    pub name: ChannelName,
    /// How many viewers at once.
    pub seats: Seats,
    /// The bit rate that it may carry, in bits per second.
    pub bandwidth_class: BitRate,
    /// The price of one slot, in minor units.
    pub toll: Toll,
    /// ISO 4217.
    pub currency: Currency,
    /// Length of a slot.
    pub slot_seconds: u64,
    /// How long sound may wait for the next picture, so that one send carries both; in milliseconds.
    pub gather_ms: u64,
    /// Not sold any more.
    pub is_retired: bool,
    /// Counts edits: what `ETag` and `If-Match` are about.
    pub version: i64,
}

/// What the member does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct NextStep {
    /// E.g. `accept-terms`: last part of the address below the reservation.
    #[schema(value_type = String)]
    pub step: &'static str,
    /// Afterwards it is too late.
    pub until: WallTime,
}

/// A reservation, as its owner sees it. Its ID is not shown: it comes by mail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Reservation)]
pub struct ReservationView {
    /// Names it, and its program.
    pub number: ReservationNumber,
    /// Whose.
    pub member: MemberNumber,
    /// Whose kind of program.
    pub kind: ProgramKind,
    /// The channel's number.
    pub channel: ChannelNumber,
    /// When it is on air.
    pub window: Window,
    /// When a link is accepted.
    pub connect: Window,
    /// How many viewers at once, as booked.
    pub seats: Seats,
    /// In bits per second, as booked.
    pub bandwidth_class: BitRate,
    /// For one slot, in minor units, as booked.
    pub toll: Toll,
    /// For all slots, in minor units.
    pub total: Amount,
    /// ISO 4217.
    pub currency: Currency,
    /// How far it has come.
    pub state: State,
    /// The accounting flag: yes once reconfirmed.
    pub is_accounted: bool,
    /// What is broadcast.
    pub program: ProgramDetails,
    /// What the member does next; `null`: nothing.
    pub next: Option<NextStep>,
    /// When it was booked.
    pub booked_at: WallTime,
    /// The terms must be accepted before.
    pub hold_until: WallTime,
    /// It must be reconfirmed before; known once the terms are accepted.
    pub reconfirm_until: Option<WallTime>,
    /// When the terms were accepted.
    pub terms_accepted_at: Option<WallTime>,
    /// When it was reconfirmed.
    pub confirmed_at: Option<WallTime>,
    /// When it was cancelled, ended early, or was over.
    pub over_at: Option<WallTime>,
    /// Counts edits: what `ETag` and `If-Match` are about.
    pub version: i64,
}

/// One entry pair of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = LedgerEntry)]
pub struct LedgerView {
    /// Unique.
    pub key: String,
    /// Why.
    pub kind: LedgerKind,
    /// The reservation's number.
    pub reservation: ReservationNumber,
    /// When.
    pub at: WallTime,
    /// The account that receives: `holds`, `revenue`, `cash`, `member_holds:N`, `receivable:N`.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String)]
    pub debit: Account,
    /// The account that gives.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String)]
    pub credit: Account,
    /// In minor units.
    pub amount: Amount,
    /// ISO 4217.
    pub currency: Currency,
}

/// One movement of money.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Payment)]
pub struct PaymentView {
    /// Unique.
    pub key: String,
    /// `authorise`: hold the amount; `capture`: take it; `release`: let go of it; `refund`: give it back.
    pub kind: PaymentKind,
    /// The reservation's number.
    pub reservation: ReservationNumber,
    /// Whose card or bill.
    pub member: MemberNumber,
    /// In minor units.
    pub amount: Amount,
    /// ISO 4217.
    pub currency: Currency,
    /// `waiting`: it is tried until it is known to be done; `done`; `declined`: for good.
    pub state: PaymentState,
    /// Why it was declined, or why the last try failed.
    pub error: Option<String>,
    /// Of a refund, why, as the operator wrote it.
    pub reason: Option<String>,
    /// One more after each time that it was declined and asked for again.
    pub attempt: u32,
    /// How often it was tried.
    pub tries: u32,
    /// When it was asked for.
    pub asked_at: WallTime,
}

/// A token as it is listed; its secret was shown once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Token)]
pub struct TokenView {
    /// What the member calls it.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// When it was made.
    pub created_at: WallTime,
    /// Not valid from then on.
    pub expires_at: WallTime,
}

impl From<&ApiToken> for TokenView {
    fn from(token: &ApiToken) -> Self {
        let scopes = Scopes::of_token(&token.scopes).unwrap_or(Scopes::NONE);
        Self {
            name: token.name.clone(),
            scopes: scopes.of_a_token().collect(),
            created_at: token.created_at,
            expires_at: token.expires_at,
        }
    }
}

/// Terms that were accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = AcceptedTerms)]
pub struct TermsView {
    /// When.
    pub at: WallTime,
    /// SHA-256 of the text, in hexadecimal.
    pub sha256: String,
    /// All of it.
    pub text: String,
}

impl From<AcceptedTerms> for TermsView {
    fn from(terms: AcceptedTerms) -> Self {
        Self { at: terms.at, sha256: hex(&terms.hash), text: terms.text.to_string() }
    }
}

/// Why something cannot be done now, in English.
#[derive(Serialize, ToSchema)]
pub struct Reason {
    /// Last part of the problem's `type`.
    code: &'static str,
    detail: String,
    /// What to do next.
    next: &'static str,
}

impl From<&Refusal> for Reason {
    fn from(refusal: &Refusal) -> Self {
        Self {
            code: refusal.kind().code,
            detail: refusal.detail(Language::English),
            next: refusal.next(Language::English),
        }
    }
}

impl Service {
    /// A channel, as it is sold by this server.
    pub fn channel_view(&self, channel: &SoldChannel) -> ChannelView {
        let rules = self.rules();
        ChannelView {
            number: channel.number,
            name: channel.name.clone(),
            seats: channel.seats,
            bandwidth_class: channel.class,
            toll: channel.toll,
            currency: rules.currency,
            slot_seconds: rules.slot.as_secs(),
            gather_ms: u64::try_from(channel.gather.as_millis()).unwrap_or(u64::MAX),
            is_retired: channel.is_retired,
            version: channel.version,
        }
    }

    /// A reservation, as its owner sees it.
    pub fn reservation_view(&self, reservation: Reservation) -> ReservationView {
        let (rules, window) = (self.rules(), reservation.window);
        let next = match reservation.state {
            State::Held => Some(("accept-terms", reservation.hold_until)),
            State::Registered => Some(("reconfirm", reservation.reconfirm_until)),
            State::Confirmed => Some(("settings", window.end())),
            _ => None,
        };
        ReservationView {
            number: reservation.number,
            member: reservation.member,
            kind: reservation.kind,
            channel: reservation.channel,
            window,
            connect: window.widened(rules.margins),
            seats: reservation.seats,
            bandwidth_class: reservation.class,
            toll: reservation.toll,
            total: self.total(&reservation),
            currency: rules.currency,
            state: reservation.state,
            is_accounted: reservation.state.is_accounted(),
            next: next.map(|(step, until)| NextStep { step, until }),
            booked_at: reservation.booked_at,
            hold_until: reservation.hold_until,
            reconfirm_until: reservation.terms_accepted_at.map(|_| reservation.reconfirm_until),
            terms_accepted_at: reservation.terms_accepted_at,
            confirmed_at: reservation.confirmed_at,
            over_at: reservation.over_at,
            version: reservation.version,
            program: reservation.program,
        }
    }

    pub(super) fn ledger_view(&self, entry: LedgerTransaction) -> LedgerView {
        LedgerView {
            key: entry.key,
            kind: entry.kind,
            reservation: entry.reservation,
            at: entry.at,
            debit: entry.debit,
            credit: entry.credit,
            amount: entry.amount,
            currency: self.rules().currency,
        }
    }

    /// A movement of money, as operators see it.
    pub fn payment_view(&self, payment: Payment) -> PaymentView {
        let request = payment.request;
        PaymentView {
            key: request.key,
            kind: request.kind,
            reservation: request.reservation,
            member: request.member,
            amount: request.amount,
            currency: self.rules().currency,
            state: payment.state,
            error: payment.error,
            reason: request.reason,
            attempt: payment.attempt,
            tries: payment.tries,
            asked_at: payment.created_at,
        }
    }
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// As it is written for people.
pub(super) fn text<S: Serializer>(value: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// In whole seconds.
pub(super) fn seconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(time.as_secs())
}

pub(super) fn reasons<S: Serializer>(refusals: &[Refusal], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(refusals.iter().map(Reason::from))
}
