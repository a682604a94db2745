//! What decisions do to money: requests to the payment provider, and the ledger beside them.

use slotcast_core::time::WallTime;

use crate::domain::effects::{Account, Effects, LedgerKind, LedgerTransaction, PaymentKind, PaymentRequest};

/// The ledger's side of an authorisation.
pub(super) fn authorised(request: &PaymentRequest, now: WallTime) -> LedgerTransaction {
    LedgerTransaction {
        key: format!("authorised-{}", request.key),
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
    let (name, kind) =
        if is_charged { ("capture", PaymentKind::Capture) } else { ("release", PaymentKind::Release) };
    effects.payments.push(PaymentRequest { key: format!("{name}-{}", hold.key), kind, ..hold.clone() });
}

/// The hold's key of a capture or release.
pub fn hold_key(key: &str) -> Option<&str> {
    key.strip_prefix("capture-").or_else(|| key.strip_prefix("release-"))
}

/// The ledger's side of money that has reached the operator.
pub fn collected(request: &PaymentRequest, now: WallTime) -> LedgerTransaction {
    LedgerTransaction {
        key: format!("collected-{}", request.key),
        kind: LedgerKind::Collected,
        reservation: request.reservation,
        at: now,
        debit: Account::Cash,
        credit: Account::Receivable(request.member),
        amount: request.amount,
    }
}
