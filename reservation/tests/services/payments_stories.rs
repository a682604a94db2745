//! Whole programs whose cards are at localstripe: a hold that is let go after seven days, a card that is declined at the
//! capture, a card that is asked at the reconfirmation, a refund that fails later. Each ends with its ledger and
//! localstripe's own books saying the same.

use std::sync::Arc;

use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use slotcast_reservation::{
    domain::{
        effects::{Account, LedgerKind, PaymentState},
        member::{Card, CardQuestion, Member},
        refusal::Refusal,
        reservation::{Reservation, Settlement, State},
        words::{Amount, MemberNumber},
    },
    service::Idempotency,
};
use slotcast_reservation_testing::service::*;

use crate::localstripe::{LocalStripe, WEBHOOK_SECRET, kept};

const ONE: MemberNumber = MemberNumber(1);
const GOOD: &str = "4242424242424242";
/// It can be kept, and every charge of it is declined.
const NO_MONEY: &str = "4000000000000341";
/// Its company asks at every payment while the member is there.
const ASKS: &str = "4000000000003220";

/// A world that takes money over localstripe, where member 1 has a card.
async fn world(provider: &LocalStripe, card: Card) -> World {
    let world = World::new().await.paid_over(Arc::new(provider.stripe()));
    give(&world, card).await;
    world
}

/// Member 1 registers another card.
async fn give(world: &World, card: Card) {
    let mut tx = world.store.begin().await.unwrap();
    let member = tx.lock_member(ONE).await.unwrap().unwrap();
    let version = member.version + 1;
    tx.put_member(&Member { card: Some(card), version, ..member }).await.unwrap();
    tx.commit().await.unwrap();
}

/// What Stripe tells by its webhook, signed.
async fn tell(world: &World, event: &str, kind: &str, object: Value) {
    let body = json!({ "id": event, "type": kind, "data": { "object": object } }).to_string();
    let seconds = world.clock.now().as_micros() / 1_000_000;
    let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(WEBHOOK_SECRET.as_bytes()).unwrap();
    mac.update(format!("{seconds}.{body}").as_bytes());
    let signature: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    world.service.notice(&format!("t={seconds},v1={signature}"), body.as_bytes()).await.unwrap();
}

fn read(provider: &LocalStripe, path: &str) -> Value {
    serde_json::from_str(&provider.ask("GET", path, "")).unwrap()
}

/// The PaymentIntent that the first hold of a program has now.
async fn intent(world: &World, program: &Reservation) -> String {
    let rows = world.reads().await.payments_of(program.number).await.unwrap();
    rows[0].reference.clone().unwrap()
}

/// Stripe lets the hold go, and says so twice.
async fn let_go(world: &World, provider: &LocalStripe, program: &Reservation) {
    let intent = intent(world, program).await;
    provider.post(&format!("/v1/payment_intents/{intent}/cancel"), "");
    for event in ["evt_gone", "evt_gone_again"] {
        tell(
            world,
            event,
            "payment_intent.canceled",
            read(provider, &format!("/v1/payment_intents/{intent}")),
        )
        .await;
    }
}

/// The program is on air for all of its window, and its charge is worked.
async fn broadcast(world: &World, program: &Reservation) {
    world.clock.set(program.window.start());
    world.turn().await;
    world.broadcast(program.number, program.window.end().saturating_add(6 * SECOND), 1).await;
    world.service.do_due().await.unwrap();
    world.service.do_due().await.unwrap();
    assert_eq!(world.found(program.number).await.state, State::Finished(Settlement::Charged));
    world.work().await;
}

/// What localstripe collected for the program, less what it gave back, is the cash; nobody owes or holds anything.
async fn check_books(world: &World, provider: &LocalStripe, program: &Reservation, cash: i64) {
    let rows = world.reads().await.payments_of(program.number).await.unwrap();
    let mut intents: Vec<_> =
        rows.iter().filter_map(|row| row.reference.clone()).filter(|name| name.starts_with("pi_")).collect();
    intents.sort();
    intents.dedup();
    let taken: i64 = intents
        .iter()
        .map(|intent| read(provider, &format!("/v1/payment_intents/{intent}")))
        .filter(|intent| intent["status"] == "succeeded")
        .map(|intent| intent["amount"].as_i64().unwrap())
        .sum();
    assert_eq!(taken, 2000, "collected once: {intents:?}");
    assert_eq!(world.balance(Account::Cash).await, cash);
    assert_eq!(world.balance(Account::Revenue).await, -cash);
    for account in [Account::Receivable(ONE), Account::MemberHolds(ONE), Account::Holds] {
        assert_eq!(world.balance(account).await, 0, "{account:?}");
    }
}

#[tokio::test]
async fn a_hold_that_is_let_go_after_seven_days_is_held_again_and_taken() {
    let Some(provider) = LocalStripe::start() else { return };
    let world = world(&provider, provider.card(GOOD).await).await;
    let program = world.confirmed("2026-12-12T00:00:00Z", 1).await;
    let first = intent(&world, &program).await;
    world.clock.pass(7 * 24 * HOUR);
    let_go(&world, &provider, &program).await;
    world.work().await;
    assert_eq!(intent(&world, &program).await, first, "not yet");
    world.clock.set(wall("2026-12-11T00:00:00Z"));
    world.work().await;
    let second = intent(&world, &program).await;
    assert_ne!(second, first);
    assert_eq!(read(&provider, &format!("/v1/payment_intents/{second}"))["status"], "requires_capture");
    broadcast(&world, &program).await;
    check_books(&world, &provider, &program, 2000).await;
}

#[tokio::test]
async fn a_card_that_is_declined_at_the_capture_is_told_listed_and_another_one_pays() {
    let Some(provider) = LocalStripe::start() else { return };
    let world = world(&provider, provider.card(GOOD).await).await;
    let program = world.confirmed("2026-12-02T00:00:00Z", 1).await;
    give(&world, provider.card(NO_MONEY).await).await;
    world.clock.set(program.window.start());
    // The hold goes while the program is on air: it is charged anew after it.
    let_go(&world, &provider, &program).await;
    broadcast(&world, &program).await;
    assert_eq!(world.balance(Account::Receivable(ONE)).await, 2000, "owed");
    let operator = world.actor(4).await;
    let declined = world.service.payments(&operator, PaymentState::Declined, ALL).await.unwrap();
    let [payment] = &declined.items[..] else { panic!("{declined:?}") };
    assert!(payment.error.as_deref().is_some_and(|why| why.contains("declined")), "{payment:?}");
    assert_eq!(world.post.keys("card-needed-").len(), 1);
    let actor = world.actor(1).await;
    let again = refusal(world.service.pay(&actor, program.number).await);
    assert!(matches!(again, Refusal::PaymentDeclined { .. }), "{again:?}");
    give(&world, provider.card(GOOD).await).await;
    world.service.pay(&actor, program.number).await.unwrap();
    check_books(&world, &provider, &program, 2000).await;
    world.work().await;
    let nothing = world.service.payments(&operator, PaymentState::Declined, ALL).await.unwrap();
    assert_eq!(nothing.item_count, 0);
}

/// What the member does in the browser.
fn answer(provider: &LocalStripe, question: &CardQuestion, success: bool) {
    let form = format!("client_secret={}&success={success}", question.client_secret);
    provider.post(&format!("/v1/payment_intents/{}/_authenticate", question.reference), &form);
}

async fn asked(world: &World, registered: &Reservation) -> CardQuestion {
    match refusal(world.reconfirm(registered).await) {
        Refusal::CardQuestion(question) => question,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_card_that_is_asked_at_the_reconfirmation_confirms_once_it_is_answered() {
    let Some(provider) = LocalStripe::start() else { return };
    let question = provider.question(ASKS).await;
    let path = format!("/v1/setup_intents/{}/confirm", question.reference);
    provider.post(&path, &format!("client_secret={}", question.client_secret));
    let card = kept(provider.check(5, &question.reference).await);
    let world = world(&provider, card).await;
    let registered = world.registered("2026-12-02T00:00:00Z", 1).await;
    let badly = asked(&world, &registered).await;
    answer(&provider, &badly, false);
    let refused = refusal(world.reconfirm(&registered).await);
    assert!(matches!(refused, Refusal::PaymentDeclined { .. }), "{refused:?}");
    let well = asked(&world, &registered).await;
    assert_ne!(well.reference, badly.reference);
    assert_eq!(asked(&world, &registered).await, well, "the same question until it is answered");
    assert_eq!(world.found(registered.number).await.state, State::Registered);
    answer(&provider, &well, true);
    let program = world.reconfirm(&registered).await.unwrap();
    broadcast(&world, &program).await;
    check_books(&world, &provider, &program, 2000).await;
}

#[tokio::test]
async fn a_refund_that_fails_later_leaves_the_money_in_the_books() {
    let Some(provider) = LocalStripe::start() else { return };
    let world = world(&provider, provider.card(GOOD).await).await;
    let program = world.confirmed("2026-12-02T00:00:00Z", 1).await;
    broadcast(&world, &program).await;
    let operator = world.actor(4).await;
    let refund = |key: &str| {
        let key = Some(Idempotency { key: key.to_owned(), request_hash: [0; 32] });
        world.service.refund(&operator, program.number, Some(Amount::new(500).unwrap()), "it froze", key)
    };
    refund("one").await.unwrap();
    world.work().await;
    check_books(&world, &provider, &program, 1500).await;
    let listed = read(&provider, &format!("/v1/refunds?payment_intent={}", intent(&world, &program).await));
    let mut failed = listed["data"][0].clone();
    failed["status"] = "failed".into();
    failed["failure_reason"] = "expired_or_canceled_card".into();
    world.clock.pass(3 * 24 * HOUR);
    for event in ["evt_1", "evt_2"] {
        tell(&world, event, "refund.failed", failed.clone()).await;
    }
    check_books(&world, &provider, &program, 2000).await;
    let shown = refund("one").await.unwrap();
    assert_eq!((shown.left.minor(), shown.refunds[0].state), (2000, PaymentState::Declined));
    assert!(shown.refunds[0].error.as_deref().unwrap().contains("expired_or_canceled_card"), "{shown:?}");
    let ledger = world.reads().await.ledger_of(program.number).await.unwrap();
    assert_eq!(ledger.iter().filter(|entry| entry.kind == LedgerKind::RefundFailed).count(), 1);
}
