//! Giving money back: once at the provider and once in the ledger, wherever something fails in between.

use std::sync::atomic::{AtomicU64, Ordering};

use slotcast_reservation::{
    domain::{
        effects::{Account, LedgerKind, PaymentKind},
        member::Member,
        refusal::{Refusal, Thing},
        reservation::{Reservation, Settlement, State},
        words::{Amount, MemberNumber, ReservationNumber},
    },
    payments::{FailedRefund, Notice, Noticed},
    service::{Answer, Idempotency, Refunds},
    store::PaymentState,
};
use slotcast_reservation_testing::service::*;

const ONE: MemberNumber = MemberNumber(1);
const REASON: &str = "the picture froze";

fn amount(minor: i64) -> Amount {
    Amount::new(minor).unwrap()
}

/// A program of member 1 that ran and is over, charged with 2000; whether that is collected, the caller decides.
async fn charged(world: &World) -> Reservation {
    let confirmed = world.confirmed("2026-12-02T00:00:00Z", 1).await;
    world.clock.set(wall("2026-12-02T00:00:00Z"));
    world.turn().await;
    world.broadcast(confirmed.number, wall("2026-12-02T00:10:06Z"), 1).await;
    world.service.do_due().await.unwrap();
    world.service.do_due().await.unwrap();
    let found = world.found(confirmed.number).await;
    assert_eq!(found.state, State::Finished(Settlement::Charged));
    found
}

/// The same, and the money is there.
async fn collected(world: &World) -> Reservation {
    let program = charged(world).await;
    world.work().await;
    assert_eq!(world.balance(Account::Cash).await, 2000);
    program
}

async fn refund(world: &World, program: &Reservation, minor: Option<i64>) -> Answer<Refunds> {
    let operator = world.actor(4).await;
    world.service.refund(&operator, program.number, minor.map(amount), REASON, fresh_key()).await
}

/// A key that nobody asked with before.
fn fresh_key() -> Option<Idempotency> {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let key = format!("key-{}", LAST.fetch_add(1, Ordering::Relaxed));
    Some(Idempotency { key, request_hash: [0; 32] })
}

/// The provider tells how much of the program's money was given back in all.
async fn tell(world: &World, program: &Reservation, event: &str, in_all: i64) {
    notice(world, program, event, Noticed::Refunded(amount(in_all))).await;
}

/// The provider tells that a refund failed; `key`: of ours.
async fn tell_failed(world: &World, program: &Reservation, event: &str, key: Option<&str>, minor: i64) {
    let refund = key.map_or_else(|| "re_elsewhere".to_owned(), |key| format!("re_{key}"));
    let (key, why) = (key.map(str::to_owned), "lost_or_stolen_card".to_owned());
    let failed = FailedRefund { refund, key, amount: amount(minor), why };
    notice(world, program, event, Noticed::RefundFailed(failed)).await;
}

async fn notice(world: &World, program: &Reservation, event: &str, what: Noticed) {
    let reference = format!("pi_authorise-{}-1", program.number);
    *world.payments.notice.lock() = Some(Notice { event: event.to_owned(), reference, key: None, what });
    world.service.notice("right", b"{}").await.unwrap();
}

/// What the ledger says was given back, entry by entry.
async fn posted(world: &World, program: &Reservation) -> Vec<i64> {
    let ledger = world.reads().await.ledger_of(program.number).await.unwrap();
    let refunded = ledger.iter().filter(|entry| entry.kind == LedgerKind::Refunded);
    refunded.map(|entry| entry.amount.minor()).collect()
}

/// The ledger says what the provider did, and every account is in balance.
async fn check_books(world: &World) {
    let cash = world.balance(Account::Cash).await;
    let moved = world.payments.sum(PaymentKind::Capture) - world.payments.sum(PaymentKind::Refund);
    assert_eq!(cash, moved);
    assert_eq!(world.balance(Account::Revenue).await, -cash);
    assert_eq!(world.balance(Account::Receivable(ONE)).await, 0);
}

#[tokio::test]
async fn a_refund_is_asked_for_carried_out_and_posted() {
    let world = World::new().await;
    let program = collected(&world).await;
    let asked = refund(&world, &program, Some(500)).await.unwrap();
    assert_eq!((asked.left, asked.refunds.len()), (amount(1500), 1));
    assert_eq!(asked.refunds[0].state, PaymentState::Waiting);
    assert_eq!(asked.refunds[0].reason.as_deref(), Some(REASON));
    assert_eq!(posted(&world, &program).await, [0; 0], "posted when it is done, not before");
    world.work().await;
    assert_eq!(posted(&world, &program).await, [500]);
    check_books(&world).await;
    let rest = refund(&world, &program, None).await.unwrap();
    assert_eq!((rest.left, rest.refunds[0].state), (Amount::ZERO, PaymentState::Done));
    assert_eq!(rest.refunds[1].amount, amount(1500));
    world.work().await;
    assert_eq!(posted(&world, &program).await, [500, 1500]);
    check_books(&world).await;
    let (collecting, refunding) = (Amount::ZERO, Amount::ZERO);
    let refused = refusal(refund(&world, &program, None).await);
    assert_eq!(refused, Refusal::NothingToRefund { collecting, refunding });
    assert_eq!(world.found(program.number).await.state, program.state, "it stays charged");
}

#[tokio::test]
async fn a_refund_that_fails_before_or_after_its_effect_is_made_once() {
    for mood in [Mood::FailsBefore, Mood::FailsAfter] {
        let world = World::new().await;
        let program = collected(&world).await;
        refund(&world, &program, Some(500)).await.unwrap();
        world.payments.be(mood);
        assert_eq!(world.service.move_due_money().await.unwrap(), 1);
        assert_eq!(world.service.move_due_money().await.unwrap(), 0, "not at once again");
        assert_eq!(posted(&world, &program).await, [0; 0], "not known to be done");
        let left = Refusal::RefundTooLarge { left: amount(1500) };
        assert_eq!(
            refusal(refund(&world, &program, Some(1501)).await),
            left,
            "what waits is not there twice"
        );
        world.clock.pass(MINUTE);
        world.work().await;
        world.payments.be(Mood::Well);
        world.clock.pass(MINUTE);
        world.work().await;
        assert_eq!(world.payments.count(PaymentKind::Refund), 1, "{mood:?}");
        assert_eq!(posted(&world, &program).await, [500]);
        check_books(&world).await;
    }
}

#[tokio::test]
async fn the_providers_own_word_about_our_refund_posts_nothing_twice() {
    let world = World::new().await;
    let program = collected(&world).await;
    refund(&world, &program, Some(500)).await.unwrap();
    world.work().await;
    tell(&world, &program, "evt_1", 500).await;
    assert_eq!(posted(&world, &program).await, [500], "our answer first");

    refund(&world, &program, Some(300)).await.unwrap();
    world.payments.be(Mood::FailsAfter);
    world.work().await;
    tell(&world, &program, "evt_2", 800).await;
    assert_eq!(posted(&world, &program).await, [500, 300], "its word first");
    world.payments.be(Mood::Well);
    world.clock.pass(HOUR);
    world.work().await;
    assert_eq!(posted(&world, &program).await, [500, 300]);
    check_books(&world).await;
    let listed = world.reads().await.payments_of(program.number).await.unwrap();
    assert!(listed.iter().all(|payment| payment.state == PaymentState::Done), "{listed:?}");
}

#[tokio::test]
async fn a_refund_that_fails_days_later_is_shown_and_can_be_asked_for_again() {
    let world = World::new().await;
    let program = collected(&world).await;
    let asked = refund(&world, &program, Some(500)).await.unwrap();
    world.work().await;
    let key = asked.refunds[0].key.clone();
    world.clock.pass(HOUR);
    for event in ["evt_1", "evt_1", "evt_2"] {
        tell_failed(&world, &program, event, Some(&key), 500).await;
    }
    assert_eq!(world.balance(Account::Cash).await, 2000);
    assert_eq!(world.balance(Account::Revenue).await, -2000);
    assert_eq!(world.service.stats().payments_declined, 1, "an operator hears of it once");
    let again = refund(&world, &program, None).await.unwrap();
    assert_eq!((again.left, again.refunds[0].state), (Amount::ZERO, PaymentState::Declined));
    let error = again.refunds[0].error.as_deref().unwrap();
    assert!(error.contains("came back") && error.contains("lost_or_stolen_card"), "{error}");
    world.work().await;
    assert_eq!(posted(&world, &program).await, [500, 2000]);
    tell(&world, &program, "evt_3", 2000).await;
    assert_eq!(world.balance(Account::Cash).await, 0);
    let (from, to) = (wall("2026-12-01T00:00:00Z"), wall("2026-12-03T00:00:00Z"));
    let (csv, _) = world.service.ledger_csv(&world.actor(4).await, (from, to), None).await.unwrap();
    let number = program.number;
    assert!(csv.contains(&format!("failed-{key},refund_failed,{number},cash,revenue,500,JPY")), "{csv}");
}

#[tokio::test]
async fn a_refund_that_fails_before_our_answer_comes_leaves_the_books_as_they_were() {
    for is_told_by_itself in [true, false] {
        let world = World::new().await;
        let program = collected(&world).await;
        let asked = refund(&world, &program, Some(500)).await.unwrap();
        let key = asked.refunds[0].key.clone();
        world.payments.be(Mood::FailsAfter);
        world.work().await;
        tell(&world, &program, "evt_1", 500).await;
        if is_told_by_itself {
            tell_failed(&world, &program, "evt_2", Some(&key), 500).await;
        }
        world.payments.came_back.lock().push(key.clone());
        world.payments.be(Mood::Well);
        world.clock.pass(HOUR);
        world.work().await;
        tell_failed(&world, &program, "evt_3", Some(&key), 500).await;
        assert_eq!(world.balance(Account::Cash).await, 2000, "{is_told_by_itself}");
        assert_eq!(posted(&world, &program).await, [500]);
        let shown = refund(&world, &program, None).await.unwrap();
        assert_eq!(shown.refunds[0].state, PaymentState::Declined);
        assert_eq!(shown.refunds[1].amount, amount(2000));
        assert_eq!(world.service.stats().payments_declined, 1, "an operator hears of it once");
        assert_eq!(world.post.keys("refunded-"), [""; 0], "nobody was promised anything");
    }
}

#[tokio::test]
async fn a_refund_in_the_providers_own_books_that_fails_is_taken_back_once() {
    let world = World::new().await;
    let program = collected(&world).await;
    tell(&world, &program, "evt_1", 400).await;
    for event in ["evt_2", "evt_3"] {
        tell_failed(&world, &program, event, None, 400).await;
    }
    assert_eq!(world.balance(Account::Cash).await, 2000);
    assert_eq!(refund(&world, &program, None).await.unwrap().refunds[0].amount, amount(2000));
    world.work().await;
    assert_eq!(world.balance(Account::Cash).await, 0);
}

#[tokio::test]
async fn the_member_is_told_of_a_refund_once_and_where_it_goes() {
    for is_billing in [false, true] {
        let world = World::new().await;
        *world.payments.is_billing.lock() = is_billing;
        let program = charged(&world).await;
        world.work().await;
        let asked = refund(&world, &program, Some(1500)).await.unwrap();
        world.payments.be(Mood::FailsAfter);
        world.work().await;
        world.payments.be(Mood::Well);
        world.clock.pass(HOUR);
        world.work().await;
        assert_eq!(world.post.keys("refunded-"), [format!("refunded-{}", asked.refunds[0].key)]);
        let mail = world.post.text("refunded-");
        let way = if is_billing { "taken off your bill" } else { "the card that was charged" };
        assert!(mail.contains("1,500") && mail.contains(way) && !mail.contains(REASON), "{mail}");
    }
}

#[tokio::test]
async fn refunds_in_the_providers_own_books_and_ours_add_up() {
    let world = World::new().await;
    let program = collected(&world).await;
    tell(&world, &program, "evt_1", 400).await;
    let asked = refund(&world, &program, None).await.unwrap();
    assert_eq!(asked.refunds[0].amount, amount(1600));
    world.work().await;
    tell(&world, &program, "evt_2", 2000).await;
    assert_eq!(posted(&world, &program).await, [400, 1600]);
    assert_eq!(world.balance(Account::Cash).await, 0);
    assert_eq!(world.balance(Account::Revenue).await, 0);
}

#[tokio::test]
async fn a_declined_refund_is_counted_and_shown_and_can_be_asked_for_again() {
    let world = World::new().await;
    let program = collected(&world).await;
    let key = Idempotency { key: "one".to_owned(), request_hash: [1; 32] };
    let operator = world.actor(4).await;
    let ask = || world.service.refund(&operator, program.number, None, REASON, Some(key.clone()));
    assert_eq!(ask().await.unwrap().left, Amount::ZERO);
    world.payments.be(Mood::Declines);
    world.work().await;
    assert_eq!(world.service.stats().payments_declined, 1);
    let shown = ask().await.unwrap();
    assert_eq!((shown.left, shown.refunds.len()), (amount(2000), 1), "the same request, asked for once");
    assert_eq!(shown.refunds[0].state, PaymentState::Declined);
    assert!(shown.refunds[0].error.as_deref().unwrap().contains("insufficient funds"), "{shown:?}");
    world.payments.be(Mood::Well);
    refund(&world, &program, None).await.unwrap();
    world.work().await;
    assert_eq!(posted(&world, &program).await, [2000]);
    check_books(&world).await;
}

#[tokio::test]
async fn what_was_billed_is_taken_off_the_bill_and_nobody_is_asked() {
    let world = World::new().await;
    *world.payments.is_billing.lock() = true;
    let program = charged(&world).await;
    world.work().await;
    assert_eq!(world.balance(Account::Receivable(ONE)).await, 2000);
    refund(&world, &program, Some(700)).await.unwrap();
    world.payments.be(Mood::FailsBefore);
    world.work().await;
    assert_eq!(world.payments.count(PaymentKind::Refund), 0);
    assert_eq!(world.balance(Account::Receivable(ONE)).await, 1300);
    assert_eq!(world.balance(Account::Revenue).await, -1300);
    assert_eq!(world.balance(Account::Cash).await, 0);
    let (from, to) = (wall("2026-12-01T00:00:00Z"), wall("2026-12-03T00:00:00Z"));
    let (csv, _) = world.service.ledger_csv(&world.actor(4).await, (from, to), None).await.unwrap();
    let number = program.number;
    let line =
        format!("refunded-capture-authorise-{number}-1-700,refunded,{number},revenue,receivable:1,700,JPY");
    assert!(csv.contains(&line), "{csv}");
    let too_much = refusal(refund(&world, &program, Some(1301)).await);
    assert_eq!(too_much, Refusal::RefundTooLarge { left: amount(1300) });
}

#[tokio::test]
async fn nothing_is_given_back_of_what_is_not_taken_yet() {
    let world = World::new().await;
    let program = charged(&world).await;
    let refused = |collecting| Refusal::NothingToRefund { collecting, refunding: Amount::ZERO };
    assert_eq!(refusal(refund(&world, &program, None).await), refused(amount(2000)));
    world.payments.be(Mood::Declines);
    world.work().await;
    assert_eq!(refusal(refund(&world, &program, None).await), refused(Amount::ZERO), "still owed");
    let registered = world.registered("2026-12-03T00:00:00Z", 1).await;
    assert_eq!(refusal(refund(&world, &registered, Some(1)).await), refused(Amount::ZERO));
}

#[tokio::test]
async fn a_member_whose_card_is_gone_gets_the_money_back_all_the_same() {
    let world = World::new().await;
    let program = collected(&world).await;
    let mut tx = world.store.begin().await.unwrap();
    let member = tx.lock_member(ONE).await.unwrap().unwrap();
    let version = member.version + 1;
    tx.put_member(&Member { card: None, version, ..member }).await.unwrap();
    tx.commit().await.unwrap();
    refund(&world, &program, None).await.unwrap();
    world.work().await;
    assert_eq!(posted(&world, &program).await, [2000]);
}

#[tokio::test]
async fn only_operators_give_back_and_each_request_once() {
    let world = World::new().await;
    let program = collected(&world).await;
    let (operator, member) = (world.actor(4).await, world.actor(1).await);
    let service = &world.service;
    let by_member = service.refund(&member, program.number, None, REASON, fresh_key()).await;
    assert_eq!(refusal(by_member), Refusal::NotOperator);
    for reason in ["", " ", "two\nlines", &"x".repeat(201)] {
        let unclear = refusal(service.refund(&operator, program.number, None, reason, fresh_key()).await);
        assert!(matches!(unclear, Refusal::Invalid(fields) if fields[0].field == "reason"), "{reason:?}");
    }
    let without = refusal(service.refund(&operator, program.number, None, REASON, None).await);
    assert!(matches!(without, Refusal::BadRequest { .. }));
    let key = || Some(Idempotency { key: "one".to_owned(), request_hash: [0; 32] });
    let ask = |minor, reason| service.refund(&operator, program.number, Some(amount(minor)), reason, key());
    let first = ask(500, REASON).await.unwrap();
    assert_eq!(ask(500, REASON).await.unwrap(), first);
    assert_eq!(refusal(ask(501, REASON).await), Refusal::KeyReused);
    assert_eq!(refusal(ask(500, "another reason").await), Refusal::KeyReused);
    let other = world.confirmed("2026-12-03T00:00:00Z", 1).await;
    let elsewhere = service.refund(&operator, other.number, Some(amount(500)), REASON, key()).await;
    assert_eq!(refusal(elsewhere), Refusal::KeyReused);
    let nobodys = service.refund(&operator, ReservationNumber(7), None, REASON, fresh_key()).await;
    assert_eq!(refusal(nobodys), Refusal::NotFound(Thing::Reservation));
}

#[tokio::test]
async fn a_refund_that_is_read_or_sent_again_on_the_third_day_is_one_refund() {
    let world = World::new().await;
    let program = collected(&world).await;
    let operator = world.actor(4).await;
    let key = || Some(Idempotency { key: "one".to_owned(), request_hash: [1; 32] });
    let ask = || world.service.refund(&operator, program.number, Some(amount(500)), REASON, key());
    ask().await.unwrap();
    world.work().await;
    for day in 1..=3 {
        world.clock.pass(24 * HOUR);
        // Whoever books keeps an answer, and those of the day before are forgotten.
        let draft = draft(2, &format!("2026-12-1{day}T00:00:00Z"), 1);
        let booking = Some(Idempotency { key: format!("day {day}"), request_hash: [day; 32] });
        world
            .service
            .book(&world.actor(2).await, draft, booking, "192.0.2.1".parse().unwrap())
            .await
            .unwrap();
        let read = world.service.refunds(&operator, program.number).await.unwrap();
        let again = ask().await.unwrap();
        assert_eq!(read, again);
        assert_eq!((again.left, again.refunds.len()), (amount(1500), 1));
        assert_eq!(again.refunds[0].state, PaymentState::Done);
        world.work().await;
    }
    assert_eq!(posted(&world, &program).await, [500]);
    assert_eq!(world.payments.count(PaymentKind::Refund), 1);
    check_books(&world).await;
    let member = world.actor(1).await;
    assert_eq!(refusal(world.service.refunds(&member, program.number).await), Refusal::NotOperator);
}

#[tokio::test]
async fn two_operators_at_once_give_back_no_more_than_there_is() {
    let world = World::new().await;
    let program = collected(&world).await;
    let (operator, other) = (world.actor(4).await, world.another_service());
    let (number, wish) = (program.number, Some(amount(1200)));
    let (a, b) = tokio::join!(
        world.service.refund(&operator, number, wish, REASON, fresh_key()),
        other.refund(&operator, number, wish, REASON, fresh_key())
    );
    let refused: Vec<_> = [a, b].into_iter().filter(Result::is_err).map(refusal).collect();
    assert_eq!(refused, [Refusal::RefundTooLarge { left: amount(800) }]);
    world.work().await;
    assert_eq!(posted(&world, &program).await, [1200]);
    check_books(&world).await;
}
