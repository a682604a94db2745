//! Payments, the ledger, and what must happen once.

use std::sync::Arc;

use slotcast_reservation::{
    domain::{
        effects::{Account, Effects, LedgerKind, LedgerTransaction, PaymentKind},
        words::{Amount, MemberNumber, ReservationNumber},
    },
    store::{Conflict, KeptAnswer, Page, Payment, PaymentState},
};

use crate::stores::{ALL, World, booking, broken, conflict, payment, posted, reservation, slot};

async fn booked(world: &Arc<World>) {
    world.with_members(2).await;
    world.write(&booking(reservation(1, 1000, 2))).await.unwrap();
}

fn waiting(key: &str, kind: PaymentKind) -> Payment {
    Payment {
        request: payment(key, kind, 1, Amount::MAX),
        state: PaymentState::Waiting,
        reference: None,
        error: None,
        attempt: 1,
        tries: 0,
        next_at: slot(1001),
        created_at: slot(1000),
    }
}

pub async fn payments_keep_every_field(world: Arc<World>) {
    booked(&world).await;
    let hold = waiting("hold.1", PaymentKind::Authorise);
    let mut refund = waiting("refund.1", PaymentKind::Refund);
    refund.request.of = Some("capture.1".to_owned());
    refund.request.elsewhere = Amount::new(30).unwrap();
    refund.request.reason = Some("it froze; ' \" — 画面停止".to_owned());
    refund.request.asked_as = Some("1 key".to_owned());
    let mut tx = world.store.begin().await.unwrap();
    for payment in [&hold, &refund, &hold] {
        tx.add_payment(&payment.request, slot(1000), slot(1001)).await.unwrap();
    }
    let other = payment("hold.1", PaymentKind::Release, 1, 5);
    tx.add_payment(&other, slot(1005), slot(1005)).await.unwrap();
    assert_eq!(tx.payment("hold.1").await.unwrap(), Some(hold.clone()), "the first of a key stays");
    let held = Payment {
        state: PaymentState::Done,
        reference: Some("pi_1".to_owned()),
        tries: 2,
        next_at: slot(1002),
        ..hold
    };
    let declined = Payment {
        state: PaymentState::Declined,
        reference: Some("pi_1".to_owned()),
        error: Some("no money; ' \" — 残高不足".to_owned()),
        attempt: 3,
        tries: 1,
        ..refund
    };
    for payment in [&held, &declined] {
        tx.settle_payment(payment, &[]).await.unwrap();
    }
    tx.commit().await.unwrap();
    let mut reads = world.store.read().await.unwrap();
    assert_eq!(reads.payments_of(ReservationNumber(1)).await.unwrap(), [held.clone(), declined.clone()]);
    let listed = reads.payments(PaymentState::Declined, ALL).await.unwrap();
    assert_eq!((listed.items, listed.count), (vec![declined.clone()], 1));
    let beyond = reads.payments(PaymentState::Declined, Page { offset: 1, limit: 1 }).await.unwrap();
    assert_eq!((beyond.items.len(), beyond.count), (0, 1));
    assert_eq!(reads.payments_asked_as("1 key").await.unwrap(), [declined]);
    assert_eq!(reads.payments_asked_as("1 KEY").await.unwrap(), []);
    assert_eq!(reads.payment_by_reference("pi_1").await.unwrap(), Some(held), "the first");
    assert_eq!(reads.payment_by_reference("pi_2").await.unwrap(), None);
    assert_eq!(reads.payment("none").await.unwrap(), None);
}

pub async fn a_settlement_is_written_once(world: Arc<World>) {
    booked(&world).await;
    let asked = waiting("capture.1", PaymentKind::Capture);
    let done = Payment { state: PaymentState::Done, tries: 1, ..asked.clone() };
    let mut tx = world.store.begin().await.unwrap();
    tx.add_payment(&asked.request, slot(1000), slot(1001)).await.unwrap();
    tx.settle_payment(&done, &[posted("post.1", 1, 5), posted("post.2", 1, 6)]).await.unwrap();
    tx.commit().await.unwrap();
    let mut tx = world.store.begin().await.unwrap();
    let again = tx.settle_payment(&asked, &[posted("post.3", 1, 5), posted("post.2", 1, 6)]).await;
    assert_eq!(conflict(again), Conflict::Key);
    drop(tx);
    let mut reads = world.store.read().await.unwrap();
    assert_eq!(reads.ledger_of(ReservationNumber(1)).await.unwrap().len(), 2);
    assert_eq!(reads.payment("capture.1").await.unwrap(), Some(done));
    drop(reads);
    let mut tx = world.store.begin().await.unwrap();
    let unknown = waiting("capture.2", PaymentKind::Capture);
    assert!(broken(tx.settle_payment(&unknown, &[]).await).contains("capture.2"));
}

pub async fn the_ledger_lists_and_balances(world: Arc<World>) {
    booked(&world).await;
    let (first, second) = (MemberNumber(1), MemberNumber(2));
    let moves = [
        (LedgerKind::Authorised, Account::MemberHolds(first), Account::Holds, 500, 1000),
        (LedgerKind::Released, Account::Holds, Account::MemberHolds(first), 500, 1003),
        (LedgerKind::Charged, Account::Receivable(first), Account::Revenue, 300, 1003),
        (LedgerKind::Collected, Account::Cash, Account::Receivable(first), 300, 1001),
        (LedgerKind::Charged, Account::Receivable(second), Account::Revenue, 40, 1002),
        (LedgerKind::Refunded, Account::Revenue, Account::Cash, 100, 1004),
        (LedgerKind::RefundFailed, Account::Cash, Account::Revenue, 30, 1004),
        (LedgerKind::Disputed, Account::Receivable(first), Account::Cash, 7, 1004),
        (LedgerKind::DisputeWon, Account::Cash, Account::Receivable(first), 7, 1004),
    ];
    let ledger: Vec<LedgerTransaction> = moves
        .iter()
        .enumerate()
        .map(|(place, &(kind, debit, credit, minor, at))| LedgerTransaction {
            kind,
            debit,
            credit,
            at: slot(at),
            ..posted(&format!("post.{place}"), 1, minor)
        })
        .collect();
    let latest = reservation(1, 1000, 2);
    let edited = slotcast_reservation::domain::reservation::Reservation { version: 2, ..latest };
    world.write(&Effects { ledger: ledger.clone(), ..Effects::of(edited) }).await.unwrap();
    let mut reads = world.store.read().await.unwrap();
    assert_eq!(reads.ledger_of(ReservationNumber(1)).await.unwrap(), ledger, "in the order of posting");
    assert_eq!(reads.ledger_of(ReservationNumber(2)).await.unwrap(), []);
    let listed = reads.ledger(slot(1001), slot(1004), ALL).await.unwrap();
    assert_eq!((listed.items.as_slice(), listed.count), (&ledger[1..5], 4));
    let listed = reads.ledger(slot(1001), slot(1004), Page { offset: 1, limit: 2 }).await.unwrap();
    assert_eq!((listed.items.as_slice(), listed.count), (&ledger[2..4], 4));
    let (mut after, mut parts) = (i64::MIN, Vec::new());
    for _ in 0..4 {
        let part = reads.ledger_after(slot(1001), slot(1004), after, 3).await.unwrap();
        after = part.last().map_or(after, |(position, _)| *position);
        parts.push(part.into_iter().map(|(_, entry)| entry).collect::<Vec<_>>());
    }
    assert_eq!(parts, [ledger[1..4].to_vec(), ledger[4..5].to_vec(), Vec::new(), Vec::new()]);
    for (account, expected) in [
        (Account::MemberHolds(first), 0),
        (Account::MemberHolds(second), 0),
        (Account::Holds, 0),
        (Account::Receivable(first), 0),
        (Account::Receivable(second), 40),
        (Account::Revenue, -270),
        (Account::Cash, 230),
    ] {
        assert_eq!(reads.balance(account).await.unwrap(), expected, "{account:?}");
    }
}

pub async fn the_ledger_is_append_only(world: Arc<World>) {
    booked(&world).await;
    let effects = Effects { ledger: vec![posted("post.1", 2, 5)], ..booking(reservation(2, 1010, 1)) };
    world.write(&effects).await.unwrap();
    for sql in ["UPDATE ledger SET amount = 1", "DELETE FROM ledger"] {
        let error = world.raw(sql).await.unwrap_err();
        assert!(error.to_string().contains("append-only"), "{sql}: {error}");
    }
    for sql in [
        "INSERT INTO ledger (key, kind, reservation, at, debit, credit, amount)
         VALUES ('k', 'charged', 2, 1, 'holds', 'cash', 0)",
        "INSERT INTO ledger (key, kind, reservation, at, debit, credit, amount)
         VALUES ('k', 'charged', 2, 1, 'receivable', 'cash', 1)",
        "INSERT INTO ledger (key, kind, reservation, at, debit, credit, amount)
         VALUES ('k', 'charged', 77, 1, 'holds', 'cash', 1)",
    ] {
        world.raw(sql).await.unwrap_err();
    }
    let sum = world.store.read().await.unwrap().balance(Account::Revenue).await.unwrap();
    assert_eq!(sum, -5);
}

pub async fn the_largest_amounts_add_up(world: Arc<World>) {
    booked(&world).await;
    let ledger = (0..1000).map(|n| posted(&format!("post.{n}"), 2, Amount::MAX)).collect();
    world.write(&Effects { ledger, ..booking(reservation(2, 1010, 1)) }).await.unwrap();
    let mut reads = world.store.read().await.unwrap();
    assert_eq!(reads.balance(Account::Receivable(MemberNumber(1))).await.unwrap(), 1000 * Amount::MAX);
    assert_eq!(reads.balance(Account::Revenue).await.unwrap(), -1000 * Amount::MAX);
}

pub async fn answers_are_kept_for_a_day(world: Arc<World>) {
    let answer = |n: u8| KeptAnswer { request_hash: [n; 32], made: n.to_string() };
    let keep = async |scope: &'static str, key: &'static str, n: u8, at| {
        let mut tx = world.store.begin().await.unwrap();
        tx.keep_answer(scope, key, &answer(n), slot(at)).await?;
        tx.commit().await
    };
    keep("member 1", "k", 1, 1000).await.unwrap();
    keep("member 2", "k", 2, 1001).await.unwrap();
    assert_eq!(conflict(keep("member 1", "k", 3, 1144).await), Conflict::Key, "24 hours: still kept");
    let kept = async |scope| world.store.read().await.unwrap().kept_answer(scope, "k").await.unwrap();
    assert_eq!(kept("member 1").await, Some(answer(1)));
    keep("member 1", "k", 4, 1145).await.unwrap();
    assert_eq!(kept("member 1").await, Some(answer(4)));
    assert_eq!(kept("member 2").await, Some(answer(2)));
    assert_eq!(kept("member 3").await, None);
}

pub async fn events_are_seen_once(world: Arc<World>) {
    let mut tx = world.store.begin().await.unwrap();
    assert!(tx.first_seen("evt_1", slot(1000)).await.unwrap());
    assert!(!tx.first_seen("evt_1", slot(1000)).await.unwrap());
    assert!(tx.first_seen("evt_2", slot(1000)).await.unwrap());
    tx.commit().await.unwrap();
    let mut tx = world.store.begin().await.unwrap();
    assert!(!tx.first_seen("evt_2", slot(1000 + 6 * 24 * 30)).await.unwrap());
}
