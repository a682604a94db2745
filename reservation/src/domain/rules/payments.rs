//! What decisions do to money: requests to the payment provider, and the ledger beside them.

use slotcast_core::time::WallTime;

use crate::domain::effects::{Account, Effects, LedgerKind, LedgerTransaction, PaymentKind, PaymentRequest};
use crate::domain::words::Amount;

/// The ledger's side of an authorisation.
pub(super) fn authorised(request: &PaymentRequest, now: WallTime) -> LedgerTransaction {
    LedgerTransaction {
        key: format!("authorised-{}", request.key),
        of: request.key.clone(),
        kind: LedgerKind::Authorised,
        reservation: request.reservation,
        at: now,
        debit: Account::MemberHolds(request.member),
        credit: Account::Holds,
        amount: request.amount,
    }
}

/// Ends a hold: taken where `is_charged`, else let go.
pub(super) fn released(effects: &mut Effects, hold: &PaymentRequest, is_charged: bool, now: WallTime) {
    let entry = |name: &str, kind, debit, credit| LedgerTransaction {
        key: format!("{name}-{}", hold.key),
        of: hold.key.clone(),
        kind,
        reservation: hold.reservation,
        at: now,
        debit,
        credit,
        amount: hold.amount,
    };
    let holds = Account::MemberHolds(hold.member);
    effects.ledger.push(entry("released", LedgerKind::Released, Account::Holds, holds));
    if is_charged {
        let receivable = Account::Receivable(hold.member);
        effects.ledger.push(entry("charged", LedgerKind::Charged, receivable, Account::Revenue));
    }
    effects.payments.push(if is_charged {
        ends("capture", PaymentKind::Capture, hold)
    } else {
        release(hold)
    });
}

/// Lets go of a hold.
pub fn release(hold: &PaymentRequest) -> PaymentRequest {
    ends("release", PaymentKind::Release, hold)
}

fn ends(name: &str, kind: PaymentKind, hold: &PaymentRequest) -> PaymentRequest {
    let (key, of) = (format!("{name}-{}", hold.key), Some(hold.key.clone()));
    PaymentRequest { key, kind, of, ..hold.clone() }
}

/// The ledger's side of money that has reached the operator.
pub fn collected(request: &PaymentRequest, now: WallTime) -> LedgerTransaction {
    LedgerTransaction {
        key: format!("collected-{}", request.key),
        of: request.key.clone(),
        kind: LedgerKind::Collected,
        reservation: request.reservation,
        at: now,
        debit: Account::Cash,
        credit: Account::Receivable(request.member),
        amount: request.amount,
    }
}

/// The ledger's side of a dispute: the bank took `amount` of what `capture` brought, and the member owes it again; or gave
/// it back.
///
/// - `dispute`: the provider's name of it.
pub fn dispute(
    capture: &PaymentRequest,
    dispute: &str,
    amount: Amount,
    is_won: bool,
    now: WallTime,
) -> LedgerTransaction {
    let (cash, owed) = (Account::Cash, Account::Receivable(capture.member));
    let (name, kind, debit, credit) = if is_won {
        ("dispute-won", LedgerKind::DisputeWon, cash, owed)
    } else {
        ("disputed", LedgerKind::Disputed, owed, cash)
    };
    LedgerTransaction {
        key: format!("{name}-{dispute}"),
        kind,
        of: capture.key.clone(),
        reservation: capture.reservation,
        at: now,
        debit,
        credit,
        amount,
    }
}
