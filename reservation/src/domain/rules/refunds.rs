//! Giving money back: how much can be, of which capture, and what the ledger says of it.
//!
//! Owns: [`refund`], the keys of refunds and of their ledger entries. Not here: who asks, and who carries it out.
//! Holds: of one capture the ledger never says more was given back than was. Our own refunds and the provider's word
//! both speak of the amount in all; only what the ledger lacks up to it is posted, under a key with that amount.

use slotcast_core::time::WallTime;

use super::booking::next;
use crate::domain::{
    effects::{Account, Effects, LedgerKind, LedgerTransaction, PaymentKind, PaymentRequest, PaymentState},
    refusal::{FieldProblem, Refusal},
    reservation::Reservation,
    words::Amount,
};

/// What is known of one reservation's money.
#[derive(Clone, Copy, Debug)]
pub struct Money<'a> {
    /// What was asked of the payment provider, oldest first, and how it stands.
    pub payments: &'a [(PaymentRequest, PaymentState)],
    /// What was posted, in that order.
    pub ledger: &'a [LedgerTransaction],
}

/// What one capture that was done leaves to be given back. In minor units.
struct Share<'a> {
    capture: &'a PaymentRequest,
    left: i64,
    /// Given back by others (in the provider's own books), as far as that is certain.
    elsewhere: i64,
    /// Refunds that were ever asked for, declined ones too.
    asked: usize,
}

impl<'a> Money<'a> {
    /// What can still be given back.
    pub fn left(&self) -> Amount {
        amount_of(self.shares().iter().map(|share| share.left).sum())
    }

    /// Whether a provider collected what `capture` is about; else it was billed.
    pub fn is_collected(&self, capture: &PaymentRequest) -> bool {
        self.collected(capture).is_some()
    }

    fn collected(&self, capture: &PaymentRequest) -> Option<i64> {
        let key = super::collected(capture, WallTime::from_micros(0)).key;
        self.ledger.iter().find(|entry| entry.key == key).map(|entry| entry.amount.minor())
    }

    fn refunds_of(
        &self,
        capture: &'a PaymentRequest,
    ) -> impl Iterator<Item = &'a (PaymentRequest, PaymentState)> {
        self.payments.iter().filter(|(request, _)| capture_key(&request.key) == Some(capture.key.as_str()))
    }

    fn in_state(&self, kind: PaymentKind, wanted: PaymentState) -> impl Iterator<Item = &'a PaymentRequest> {
        self.payments
            .iter()
            .filter(move |(request, state)| request.kind == kind && *state == wanted)
            .map(|(request, _)| request)
    }

    fn shares(&self) -> Vec<Share<'a>> {
        self.in_state(PaymentKind::Capture, PaymentState::Done).map(|capture| self.share(capture)).collect()
    }

    fn share(&self, capture: &'a PaymentRequest) -> Share<'a> {
        let (mut waiting, mut done, mut known, mut asked) = (0, 0, 0, 0);
        for (request, state) in self.refunds_of(capture) {
            asked += 1;
            known = known.max(elsewhere(&request.key));
            match state {
                PaymentState::Waiting => waiting += request.amount.minor(),
                PaymentState::Done => done += request.amount.minor(),
                PaymentState::Declined => {}
            }
        }
        let posted = posted(self.ledger, capture);
        let brought = self.collected(capture).unwrap_or_else(|| capture.amount.minor());
        Share {
            capture,
            left: (brought - posted - waiting).max(0),
            // What waits may be done there already and told of: only what is beyond it is surely another's.
            elsewhere: known.max(posted - done - waiting),
            asked,
        }
    }
}

/// Gives back `amount` of what the reservation cost, the oldest capture first; `None`: all that is left.
///
/// - `reason`: one line, 1 to 200 characters.
/// - Refused: `Invalid` (nothing), `NothingToRefund`, `RefundTooLarge`.
pub fn refund(
    reservation: &Reservation,
    money: Money<'_>,
    amount: Option<Amount>,
    reason: &str,
) -> Result<Effects, Refusal> {
    if amount == Some(Amount::ZERO) {
        let expected = "1 minor unit or more".to_owned();
        return Err(Refusal::Invalid(vec![FieldProblem { field: "amount", expected }]));
    }
    let left = money.left();
    if left == Amount::ZERO {
        let sum = |kind| -> i64 {
            money.in_state(kind, PaymentState::Waiting).map(|request| request.amount.minor()).sum()
        };
        return Err(Refusal::NothingToRefund {
            collecting: amount_of(sum(PaymentKind::Capture)),
            refunding: amount_of(sum(PaymentKind::Refund)),
        });
    }
    let wanted = amount.unwrap_or(left);
    if wanted > left {
        return Err(Refusal::RefundTooLarge { left });
    }
    let mut effects = Effects::of(next(reservation));
    let mut rest = wanted.minor();
    for share in money.shares() {
        let minor = share.left.min(rest);
        if minor > 0 {
            rest -= minor;
            effects.payments.push(PaymentRequest {
                key: format!("refund-{}-after-{}-{}", share.asked + 1, share.elsewhere, share.capture.key),
                kind: PaymentKind::Refund,
                amount: amount_of(minor),
                reason: Some(reason.to_owned()),
                ..share.capture.clone()
            });
        }
    }
    Ok(effects)
}

/// The capture's key of a refund.
pub fn capture_key(key: &str) -> Option<&str> {
    parts(key).map(|(_, capture)| capture)
}

/// What others had given back when this refund was asked for.
fn elsewhere(key: &str) -> i64 {
    parts(key).map_or(0, |(elsewhere, _)| elsewhere)
}

fn parts(key: &str) -> Option<(i64, &str)> {
    let (_, rest) = key.strip_prefix("refund-")?.split_once("-after-")?;
    let (elsewhere, capture) = rest.split_once('-')?;
    Some((elsewhere.parse().ok()?, capture))
}

/// The ledger's side of a refund that was just done. `None`: the provider's word came first, and all is posted.
pub fn given_back(refund: &PaymentRequest, money: Money<'_>, now: WallTime) -> Option<LedgerTransaction> {
    let key = capture_key(&refund.key)?;
    let (capture, _) = money.payments.iter().find(|(request, _)| request.key == key)?;
    let (mut ours, mut others) = (0, 0);
    for (request, state) in money.refunds_of(capture) {
        if *state == PaymentState::Done || request.key == refund.key {
            ours += request.amount.minor();
            others = others.max(elsewhere(&request.key));
        }
    }
    let from = if money.is_collected(capture) { Account::Cash } else { Account::Receivable(capture.member) };
    refunded(capture, amount_of(ours + others), from, money.ledger, now)
}

/// The ledger's side of money that was given back: it was not earned, and it is not there or not owed any more.
///
/// - `in_all`: with all that was given back of `capture` before.
/// - `from`: where it is gone from: `Cash`, or the member's `Receivable` for what was billed.
/// - Returns `None` where that much is posted.
pub fn refunded(
    capture: &PaymentRequest,
    in_all: Amount,
    from: Account,
    ledger: &[LedgerTransaction],
    now: WallTime,
) -> Option<LedgerTransaction> {
    let amount = Amount::new(in_all.minor() - posted(ledger, capture)).ok();
    Some(LedgerTransaction {
        key: format!("{}{}", entry_key(capture), in_all.minor()),
        kind: LedgerKind::Refunded,
        reservation: capture.reservation,
        at: now,
        debit: Account::Revenue,
        credit: from,
        amount: amount.filter(|amount| *amount > Amount::ZERO)?,
    })
}

/// What the keys of all entries about what was given back of `capture` begin with.
fn entry_key(capture: &PaymentRequest) -> String {
    format!("refunded-{}-", capture.key)
}

/// What the ledger says was given back of `capture`.
fn posted(ledger: &[LedgerTransaction], capture: &PaymentRequest) -> i64 {
    let begin = entry_key(capture);
    let is_one =
        |entry: &&LedgerTransaction| entry.kind == LedgerKind::Refunded && entry.key.starts_with(&begin);
    ledger.iter().filter(is_one).map(|entry| entry.amount.minor()).sum()
}

fn amount_of(minor: i64) -> Amount {
    Amount::new(minor.clamp(0, Amount::MAX)).unwrap_or(Amount::ZERO)
}
