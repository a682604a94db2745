//! Giving money back: how much can be, of which capture, and what the ledger says of it.
//!
//! Owns: [`refund`], the keys of refunds and of their ledger entries. Not here: who asks, and who carries it out.
//! Invariant: of one capture the ledger never says more was given back than was. Our own refunds and the provider's word
//! both speak of the amount in all; only what the ledger lacks up to it is posted, under a key with that amount. A
//! refund that fails later stays in that amount, so that it only grows; an entry of its own takes it back.

use slotcast_core::time::WallTime;

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
    /// Given back by others (in the provider's own books), as far as that is certain; what failed later included.
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
        let is_it = |entry: &&LedgerTransaction| is_of(entry, LedgerKind::Collected, &capture.key);
        self.ledger.iter().find(is_it).map(|entry| entry.amount.minor())
    }

    fn refunds_of(
        &self,
        capture: &PaymentRequest,
    ) -> impl Iterator<Item = &'a (PaymentRequest, PaymentState)> {
        self.payments.iter().filter(|(request, _)| is_refund_of(request, capture))
    }

    /// Whether the provider took that refund on, whatever became of it.
    fn was_done(&self, refund: &PaymentRequest, state: PaymentState) -> bool {
        state == PaymentState::Done || self.has_failed(refund)
    }

    /// How much of `capture` refunds of ours took, what failed later included.
    fn done_of(&self, capture: &'a PaymentRequest) -> i64 {
        let done = self.refunds_of(capture).filter(|(request, state)| self.was_done(request, *state));
        done.map(|(request, _)| request.amount.minor()).sum()
    }

    fn has_failed(&self, refund: &PaymentRequest) -> bool {
        self.ledger.iter().any(|entry| is_of(entry, LedgerKind::RefundFailed, &refund.key))
    }

    /// What the ledger says came back of what was given back of `capture`.
    fn failed(&self, capture: &PaymentRequest) -> i64 {
        let ours: i64 = self
            .refunds_of(capture)
            .map(|(request, _)| sum(self.ledger, LedgerKind::RefundFailed, &request.key))
            .sum();
        ours + others_failed(self.ledger, capture)
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
        let (mut waiting, mut known, mut asked) = (0, others_failed(self.ledger, capture), 0);
        for (request, state) in self.refunds_of(capture) {
            asked += 1;
            known = known.max(request.elsewhere.minor());
            if *state == PaymentState::Waiting {
                waiting += request.amount.minor();
            }
        }
        let posted = posted(self.ledger, capture);
        let gone = (posted - self.failed(capture)).max(0);
        let brought = self.collected(capture).unwrap_or_else(|| capture.amount.minor());
        Share {
            capture,
            left: (brought - gone - waiting).max(0),
            // What waits may be done there already and told of: only what is beyond it is surely another's.
            elsewhere: known.max(posted - self.done_of(capture) - waiting),
            asked,
        }
    }
}

/// Gives back `amount` of what the reservation cost, the oldest capture first; `None`: all that is left.
///
/// - `reason`: one line, 1 to 200 characters.
/// - `asked_as`: who asked, and under which key.
/// - Refused: `Invalid` (nothing), `NothingToRefund`, `RefundTooLarge`.
pub fn refund(
    reservation: &Reservation,
    money: Money<'_>,
    amount: Option<Amount>,
    reason: &str,
    asked_as: &str,
) -> Result<Effects, Refusal> {
    if amount == Some(Amount::ZERO) {
        let expected = "1 minor unit or more".to_owned();
        return Err(FieldProblem::new("amount", expected.clone(), expected).into());
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
    let mut effects = Effects::of(reservation.next());
    let mut rest = wanted.minor();
    for share in money.shares() {
        let minor = share.left.min(rest);
        if minor > 0 {
            rest -= minor;
            effects.payments.push(PaymentRequest {
                key: format!("refund-{}-{}", share.asked + 1, share.capture.key),
                kind: PaymentKind::Refund,
                amount: amount_of(minor),
                of: Some(share.capture.key.clone()),
                elsewhere: amount_of(share.elsewhere),
                reason: Some(reason.to_owned()),
                asked_as: Some(asked_as.to_owned()),
                ..share.capture.clone()
            });
        }
    }
    Ok(effects)
}

fn is_refund_of(request: &PaymentRequest, capture: &PaymentRequest) -> bool {
    request.kind == PaymentKind::Refund && request.of.as_ref() == Some(&capture.key)
}

fn is_of(entry: &LedgerTransaction, kind: LedgerKind, key: &str) -> bool {
    entry.kind == kind && entry.of == key
}

/// Of the entries of one kind that follow from the payment of that key.
fn sum(ledger: &[LedgerTransaction], kind: LedgerKind, key: &str) -> i64 {
    ledger.iter().filter(|entry| is_of(entry, kind, key)).map(|entry| entry.amount.minor()).sum()
}

/// The ledger's side of a refund that was just done. `None`: the provider's word came first, and all is posted.
pub fn given_back(refund: &PaymentRequest, money: Money<'_>, now: WallTime) -> Option<LedgerTransaction> {
    let (capture, _) = money.payments.iter().find(|(request, _)| is_refund_of(refund, request))?;
    let (mut ours, mut others) = (0, others_failed(money.ledger, capture));
    for (request, state) in money.refunds_of(capture) {
        if money.was_done(request, *state) || request.key == refund.key {
            ours += request.amount.minor();
            others = others.max(request.elsewhere.minor());
        }
    }
    let from = if money.is_collected(capture) { Account::Cash } else { Account::Receivable(capture.member) };
    refunded(capture, amount_of(ours + others), from, money.ledger, now)
}

/// The ledger's side of a refund of ours that the provider took on and that failed. Nothing where that is posted.
pub fn came_back(refund: &PaymentRequest, money: Money<'_>, now: WallTime) -> Vec<LedgerTransaction> {
    if money.has_failed(refund) {
        return Vec::new();
    }
    let back = back_in_cash(format!("failed-{}", refund.key), refund, refund.amount, now);
    // Where our own answer was lost, it was not even posted as given back.
    given_back(refund, money, now).into_iter().chain([back]).collect()
}

/// The same for a refund that was made in the provider's own books; where it was not told of before, it is posted first.
pub fn came_back_elsewhere(
    capture: &PaymentRequest,
    amount: Amount,
    money: Money<'_>,
    now: WallTime,
) -> Vec<LedgerTransaction> {
    let before = others_failed(money.ledger, capture);
    let in_all = money.done_of(capture) + before + amount.minor();
    let key = format!("failed-elsewhere-{before}-{}", capture.key);
    let back = back_in_cash(key, capture, amount, now);
    refunded(capture, amount_of(in_all), Account::Cash, money.ledger, now).into_iter().chain([back]).collect()
}

fn back_in_cash(key: String, of: &PaymentRequest, amount: Amount, now: WallTime) -> LedgerTransaction {
    LedgerTransaction {
        key,
        of: of.key.clone(),
        kind: LedgerKind::RefundFailed,
        reservation: of.reservation,
        at: now,
        debit: Account::Cash,
        credit: Account::Revenue,
        amount,
    }
}

/// Whether the provider's word agrees with the ledger. After a refund has failed its amount in all may count that one
/// or not, and it is taken for the smaller; where it agrees in neither way, an operator must compare.
pub fn agrees(capture: &PaymentRequest, in_all: Amount, money: Money<'_>) -> bool {
    let (posted, failed) = (posted(money.ledger, capture), money.failed(capture));
    failed == 0 || in_all.minor() == posted || in_all.minor() == posted - failed
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
        key: format!("refunded-{}-{}", capture.key, in_all.minor()),
        of: capture.key.clone(),
        kind: LedgerKind::Refunded,
        reservation: capture.reservation,
        at: now,
        debit: Account::Revenue,
        credit: from,
        amount: amount.filter(|amount| *amount > Amount::ZERO)?,
    })
}

/// What the ledger says was given back of `capture`.
fn posted(ledger: &[LedgerTransaction], capture: &PaymentRequest) -> i64 {
    sum(ledger, LedgerKind::Refunded, &capture.key)
}

/// What the ledger says came back of refunds of `capture` that were made in the provider's own books alone.
fn others_failed(ledger: &[LedgerTransaction], capture: &PaymentRequest) -> i64 {
    sum(ledger, LedgerKind::RefundFailed, &capture.key)
}

fn amount_of(minor: i64) -> Amount {
    Amount::new(minor.clamp(0, Amount::MAX)).unwrap_or(Amount::ZERO)
}
