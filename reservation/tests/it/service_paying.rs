//! Cards that say no, holds that the payment company lets go, and money that is owed: who is told, what can be done, and
//! that the books are right in the end.

use slotcast_reservation::{
    domain::{
        effects::{Account, LedgerKind, PaymentKind},
        member::{Card, Member},
        refusal::{Refusal, Thing},
        reservation::{CancelledBy, Reservation, Settlement, State},
        words::{Amount, MemberNumber},
    },
    payments::{Notice, Noticed, invoice::BRAND},
    store::{Payment, PaymentState},
};
use slotcast_reservation_testing::service::*;

const ONE: MemberNumber = MemberNumber(1);
/// Of every program here; the day before it begins, and the moment until which another card may be given.
const START: &str = "2026-12-12T00:00:00Z";
const DAY_BEFORE: &str = "2026-12-11T00:00:00Z";
const CARD_UNTIL: &str = "2026-12-11T18:00:00Z";

fn amount(minor: i64) -> Amount {
    Amount::new(minor).unwrap()
}

async fn tell(
    world: &World,
    event: &str,
    reference: &str,
    key: Option<&str>,
    what: Noticed,
) -> Option<Refusal> {
    let (reference, key) = (reference.to_owned(), key.map(str::to_owned));
    *world.payments.notice.lock() = Some(Notice { event: event.to_owned(), reference, key, what });
    world.service.notice("right", b"{}").await.err().map(|error| refusal::<()>(Err(error)))
}

/// Confirmed, and eight days later the provider lets the hold go.
async fn let_go(world: &World) -> Reservation {
    let confirmed = world.confirmed(START, 1).await;
    world.clock.pass(8 * 24 * HOUR);
    let reference = format!("pi_authorise-{}-1", confirmed.number);
    for event in ["evt_gone", "evt_gone", "evt_gone_again"] {
        assert_eq!(tell(world, event, &reference, None, Noticed::HoldGone).await, None);
    }
    world.work().await;
    confirmed
}

async fn rows(world: &World, program: &Reservation) -> Vec<Payment> {
    world.reads().await.payments_of(program.number).await.unwrap()
}

async fn row(world: &World, key: &str) -> Payment {
    world.reads().await.payment(key).await.unwrap().expect(key)
}

/// The keys of what the provider did, oldest first.
fn done(world: &World, kind: PaymentKind) -> Vec<String> {
    world.payments.done.lock().iter().filter(|(_, it, _)| *it == kind).map(|(key, ..)| key.clone()).collect()
}

/// The program is on air for all of its window, and its charge is decided and worked.
async fn broadcast(world: &World, program: &Reservation) {
    world.clock.set(program.window.start());
    world.turn().await;
    world.broadcast(program.number, program.window.end().saturating_add(6 * SECOND), 1).await;
    world.service.do_due().await.unwrap();
    world.service.do_due().await.unwrap();
    assert_eq!(world.found(program.number).await.state, State::Finished(Settlement::Charged));
    world.work().await;
}

/// Cash is what was captured, and nobody owes or holds anything any more.
async fn check_books(world: &World) {
    let cash = world.balance(Account::Cash).await;
    assert_eq!(cash, world.payments.sum(PaymentKind::Capture));
    assert_eq!(world.balance(Account::Revenue).await, -cash);
    for account in [Account::Receivable(ONE), Account::MemberHolds(ONE), Account::Holds] {
        assert_eq!(world.balance(account).await, 0, "{account:?}");
    }
}

async fn pay(world: &World, program: &Reservation) -> slotcast_reservation::service::Answer<Reservation> {
    world.service.pay(&world.actor(1).await, program.number).await
}

#[tokio::test]
async fn a_hold_that_was_let_go_is_asked_for_again_a_day_before_the_start_and_taken_once() {
    let world = World::new().await;
    let program = let_go(&world).await;
    let (first, again) =
        (format!("authorise-{}-1", program.number), format!("renew-1-authorise-{}-1", program.number));
    assert_eq!(rows(&world, &program).await.len(), 2, "asked for again once, however often it is told");
    assert_eq!(row(&world, &again).await.next_at, wall(DAY_BEFORE));
    assert_eq!(
        world.reads().await.outbox_depth().await.unwrap().payments,
        0,
        "what is planned waits for nothing"
    );
    world.clock.set(wall(DAY_BEFORE).saturating_sub(SECOND));
    world.turn().await;
    assert_eq!(done(&world, PaymentKind::Authorise), std::slice::from_ref(&first), "not before");
    world.clock.set(wall(DAY_BEFORE));
    world.turn().await;
    assert_eq!(done(&world, PaymentKind::Authorise), [first.clone(), again.clone()]);
    assert_eq!(row(&world, &first).await.reference.unwrap(), format!("pi_{again}"), "what is taken later");
    assert_eq!(world.balance(Account::MemberHolds(ONE)).await, 2000);
    broadcast(&world, &program).await;
    assert_eq!(world.payments.count(PaymentKind::Capture), 1);
    assert_eq!(world.payments.count(PaymentKind::Release), 0);
    assert_eq!(world.post.keys("card-needed-"), [""; 0]);
    check_books(&world).await;
}

#[tokio::test]
async fn a_hold_that_is_let_go_twice_is_asked_for_twice() {
    let world = World::new().await;
    let program = let_go(&world).await;
    world.clock.set(wall(DAY_BEFORE));
    world.work().await;
    let renewed = format!("pi_renew-1-authorise-{}-1", program.number);
    assert_eq!(tell(&world, "evt_2", &renewed, None, Noticed::HoldGone).await, None);
    world.work().await;
    assert_eq!(world.payments.count(PaymentKind::Authorise), 3, "at once: the day before has begun");
    broadcast(&world, &program).await;
    check_books(&world).await;
}

#[tokio::test]
async fn a_member_whose_card_says_no_is_told_at_once_and_pays_with_another() {
    let world = World::new().await;
    let program = let_go(&world).await;
    let again = format!("renew-1-authorise-{}-1", program.number);
    world.payments.be(Mood::Declines);
    world.clock.set(wall(DAY_BEFORE));
    world.work().await;
    let asked = row(&world, &again).await;
    assert_eq!((asked.state, asked.attempt, asked.next_at), (PaymentState::Waiting, 2, wall(CARD_UNTIL)));
    assert_eq!(world.post.keys("card-needed-"), [format!("card-needed-{again}")]);
    let mail = world.post.text("card-needed-");
    assert!(mail.contains("cancelled, and costs nothing"), "{mail}");
    assert_eq!(
        refusal(pay(&world, &program).await),
        Refusal::PaymentDeclined { reason: "insufficient funds".to_owned() }
    );
    world.work().await;
    assert_eq!(world.found(program.number).await.state, State::Confirmed);
    // The company of the other card asks the member first.
    world.payments.be(Mood::Asks);
    assert!(matches!(refusal(pay(&world, &program).await), Refusal::CardQuestion(_)));
    world.payments.be(Mood::Well);
    assert_eq!(pay(&world, &program).await.unwrap().state, State::Confirmed);
    assert_eq!(pay(&world, &program).await.unwrap().state, State::Confirmed, "nothing is left to pay");
    assert_eq!(done(&world, PaymentKind::Authorise)[1..], [format!("{again}.3")]);
    world.clock.set(wall(CARD_UNTIL));
    world.turn().await;
    broadcast(&world, &program).await;
    assert_eq!(world.payments.count(PaymentKind::Authorise), 2);
    assert_eq!(world.post.keys("card-needed-").len(), 1, "told once");
    check_books(&world).await;
}

#[tokio::test]
async fn a_member_who_gives_no_other_card_in_time_loses_the_program_and_pays_nothing() {
    for tries_once_more in [false, true] {
        let world = World::new().await;
        let program = let_go(&world).await;
        world.payments.be(Mood::Declines);
        world.clock.set(wall(DAY_BEFORE));
        world.work().await;
        if tries_once_more {
            world.clock.pass(HOUR);
            assert!(matches!(refusal(pay(&world, &program).await), Refusal::PaymentDeclined { .. }));
        }
        world.clock.set(wall(CARD_UNTIL).saturating_sub(SECOND));
        world.work().await;
        assert_eq!(world.found(program.number).await.state, State::Confirmed, "there is a second left");
        world.clock.set(wall(CARD_UNTIL));
        world.work().await;
        let gone = world.found(program.number).await;
        assert_eq!(gone.state, State::Cancelled(CancelledBy::NotReconfirmed));
        world.payments.be(Mood::Well);
        world.clock.pass(HOUR);
        world.turn().await;
        assert_eq!(world.payments.count(PaymentKind::Capture), 0);
        let mail = world.post.text("cancelled-");
        let mails = world.post.sent.lock().clone();
        let to_member =
            mails.iter().find(|(key, text)| key.starts_with("cancelled-") && text.contains("member1@"));
        let to_member = &to_member.expect("the member is told").1;
        assert!(
            to_member.contains("no other was given in time") && to_member.contains("Nothing is charged"),
            "{mail}"
        );
        assert_eq!(world.post.keys("cancelled-").len(), 2, "the member and the friend");
        check_books(&world).await;
        world.book_as(2, 1, START, 1).await.unwrap();
        assert!(
            matches!(pay(&world, &program).await, Ok(found) if found.state == gone.state),
            "nothing to pay"
        );
    }
}

#[tokio::test]
async fn a_program_whose_card_could_not_be_asked_in_time_goes_on_and_is_charged_after_it() {
    let world = World::new().await;
    let program = let_go(&world).await;
    // The server was away until an hour after the moment at which it would have been cancelled.
    world.clock.set(wall(CARD_UNTIL).saturating_add(HOUR));
    world.payments.be(Mood::Declines);
    world.turn().await;
    assert_eq!(world.found(program.number).await.state, State::Confirmed);
    assert!(world.post.text("card-needed-").contains("goes on the air all the same"));
    world.payments.be(Mood::Well);
    broadcast(&world, &program).await;
    assert_eq!(done(&world, PaymentKind::Capture), [format!("capture-authorise-{}-1", program.number)]);
    check_books(&world).await;
}

#[tokio::test]
async fn a_hold_of_a_program_that_is_over_or_cancelled_is_not_asked_for_again() {
    let world = World::new().await;
    let program = world.confirmed(START, 1).await;
    world.service.cancel(&world.actor(4).await, program.number, None).await.unwrap();
    world.work().await;
    let reference = format!("pi_authorise-{}-1", program.number);
    assert_eq!(tell(&world, "evt_1", &reference, None, Noticed::HoldGone).await, None);
    assert_eq!(rows(&world, &program).await.len(), 2, "the hold, and its end");
    // Cancelled between the provider's word and the day before.
    let other = world.confirmed(START, 1).await;
    let reference = format!("pi_authorise-{}-1", other.number);
    assert_eq!(tell(&world, "evt_2", &reference, None, Noticed::HoldGone).await, None);
    world.service.cancel(&world.actor(4).await, other.number, None).await.unwrap();
    world.clock.set(wall(DAY_BEFORE));
    world.turn().await;
    assert_eq!(world.payments.count(PaymentKind::Authorise), 2, "no third hold on a card");
    assert_eq!(world.post.keys("card-needed-"), [""; 0]);
    check_books(&world).await;
}

/// Charged, and the card said no.
async fn declined(world: &World) -> Reservation {
    let program = world.confirmed("2026-12-02T00:00:00Z", 1).await;
    world.clock.set(program.window.start());
    world.turn().await;
    world.broadcast(program.number, program.window.end().saturating_add(6 * SECOND), 1).await;
    world.payments.be(Mood::Declines);
    world.service.do_due().await.unwrap();
    world.service.do_due().await.unwrap();
    world.work().await;
    program
}

#[tokio::test]
async fn a_declined_charge_is_told_listed_and_tried_again() {
    let world = World::new().await;
    let program = declined(&world).await;
    let key = format!("capture-authorise-{}-1", program.number);
    let operator = world.actor(4).await;
    let listed = || world.service.payments(&operator, PaymentState::Declined, ALL);
    let open = listed().await.unwrap();
    assert_eq!((open.item_count, open.items[0].key.as_str()), (1, key.as_str()));
    assert_eq!(world.post.keys("card-needed-"), [format!("card-needed-{key}")]);
    assert!(world.post.text("card-needed-").contains("declined for what this program costs"));
    let member = world.actor(1).await;
    assert_eq!(
        refusal(world.service.payments(&member, PaymentState::Declined, ALL).await),
        Refusal::NotOperator
    );
    assert_eq!(refusal(world.service.retry_payment(&member, &key).await), Refusal::NotOperator);
    let unknown = world.service.retry_payment(&operator, "capture-1").await;
    assert_eq!(refusal(unknown), Refusal::NotFound(Thing::Payment));

    let retried = world.service.retry_payment(&operator, &key).await.unwrap();
    assert_eq!((retried.state, retried.attempt), (PaymentState::Waiting, 2));
    assert_eq!(world.service.retry_payment(&operator, &key).await.unwrap(), retried, "asked for once");
    world.work().await;
    assert_eq!(listed().await.unwrap().item_count, 1, "no again");
    assert_eq!(world.balance(Account::Receivable(ONE)).await, 2000, "still owed");
    assert_eq!(world.post.keys("card-needed-").len(), 1, "the member is told once");
    world.payments.be(Mood::Well);
    world.service.retry_payment(&operator, &key).await.unwrap();
    world.work().await;
    assert_eq!(done(&world, PaymentKind::Capture), [format!("{key}.3")]);
    assert_eq!(listed().await.unwrap().item_count, 0);
    assert_eq!(world.service.retry_payment(&operator, &key).await.unwrap().state, PaymentState::Done);
    check_books(&world).await;
}

#[tokio::test]
async fn a_member_pays_what_the_card_was_declined_for_and_is_asked_for_it() {
    let world = World::new().await;
    let program = declined(&world).await;
    let key = format!("capture-authorise-{}-1", program.number);
    let stranger = world.service.pay(&world.actor(2).await, program.number).await;
    assert_eq!(refusal(stranger), Refusal::NotFound(Thing::Reservation));
    world.payments.be(Mood::Asks);
    let Refusal::CardQuestion(question) = refusal(pay(&world, &program).await) else { panic!("not asked") };
    assert_eq!(question.reference, format!("pi_{key}.2"));
    // An operator's list shows nothing to try again while the member is asked.
    assert_eq!(row(&world, &key).await.state, PaymentState::Waiting);
    world.clock.pass(5 * MINUTE);
    world.work().await;
    world.payments.be(Mood::FailsAfter);
    assert_eq!(refusal(pay(&world, &program).await), Refusal::PaymentUnavailable);
    world.payments.be(Mood::Well);
    pay(&world, &program).await.unwrap();
    assert_eq!(done(&world, PaymentKind::Capture), [format!("{key}.2")], "taken once");
    assert_eq!(world.payments.begun.lock().last().unwrap().as_deref(), Some(question.reference.as_str()));
    world.clock.pass(HOUR);
    world.work().await;
    check_books(&world).await;
}

#[tokio::test]
async fn two_who_pay_at_once_pay_once() {
    let world = World::new().await;
    let program = declined(&world).await;
    world.payments.be(Mood::Well);
    let (other, operator, actor) = (world.another_service(), world.actor(4).await, world.actor(1).await);
    let key = format!("capture-authorise-{}-1", program.number);
    let (a, b, c) = tokio::join!(
        world.service.pay(&actor, program.number),
        other.pay(&actor, program.number),
        other.retry_payment(&operator, &key)
    );
    a.unwrap();
    b.unwrap();
    c.unwrap();
    world.clock.pass(HOUR);
    world.work().await;
    assert_eq!(world.payments.count(PaymentKind::Capture), 1);
    check_books(&world).await;
}

#[tokio::test]
async fn a_notice_that_comes_before_our_answer_is_not_dropped_but_asked_to_come_again() {
    let world = World::new().await;
    let program = declined(&world).await;
    let key = format!("capture-authorise-{}-1", program.number);
    world.payments.be(Mood::FailsBefore);
    world.service.retry_payment(&world.actor(4).await, &key).await.unwrap();
    // Charged anew: a PaymentIntent that nobody here has heard of.
    let provider_key = format!("{key}.2.anew");
    let told = |event: &'static str| {
        tell(&world, event, "pi_new", Some(&provider_key), Noticed::Collected(amount(2000)))
    };
    assert_eq!(told("evt_1").await, Some(Refusal::PaymentUnavailable));
    assert_eq!(world.balance(Account::Cash).await, 0);
    world.payments.be(Mood::Well);
    world.work().await;
    assert_eq!(told("evt_1").await, None, "the same event again");
    assert_eq!(tell(&world, "evt_2", "pi_of_another", None, Noticed::HoldGone).await, None, "not ours");
    assert_eq!(tell(&world, "evt_3", "pi_of_another", Some("authorise-7-1"), Noticed::HoldGone).await, None);
    check_books(&world).await;
}

#[tokio::test]
async fn a_dispute_takes_the_money_out_of_the_books_and_brings_it_back_when_it_is_won() {
    let world = World::new().await;
    let program = world.confirmed("2026-12-02T00:00:00Z", 1).await;
    broadcast(&world, &program).await;
    let reference = format!("pi_authorise-{}-1", program.number);
    let disputed = |is_won| Noticed::Disputed { dispute: "dp_1".to_owned(), amount: amount(2000), is_won };
    for event in ["evt_1", "evt_1", "evt_2"] {
        assert_eq!(tell(&world, event, &reference, None, disputed(false)).await, None);
    }
    assert_eq!(world.balance(Account::Cash).await, 0);
    assert_eq!(world.balance(Account::Receivable(ONE)).await, 2000, "owed again");
    for event in ["evt_3", "evt_4"] {
        assert_eq!(tell(&world, event, &reference, None, disputed(true)).await, None);
    }
    check_books(&world).await;
    let ledger = world.reads().await.ledger_of(program.number).await.unwrap();
    let kinds: Vec<_> = ledger.iter().rev().take(2).map(|entry| entry.kind).collect();
    assert_eq!(kinds, [LedgerKind::DisputeWon, LedgerKind::Disputed]);
}

/// Members were billed until now: what member 1 has registered is no card.
async fn was_billed(world: &World) {
    let mut tx = world.store.begin().await.unwrap();
    let member = tx.lock_member(ONE).await.unwrap().unwrap();
    let card =
        Card { token: String::new(), brand: BRAND.to_owned(), last_four: String::new(), expires: None };
    let version = member.version + 1;
    tx.put_member(&Member { card: Some(card), version, ..member }).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn who_was_billed_until_now_learns_before_the_reconfirmation_that_a_card_is_needed() {
    let world = World::new().await;
    let registered = world.registered("2026-12-10T00:00:00Z", 1).await;
    was_billed(&world).await;
    assert_eq!(refusal(world.book("2026-12-11T00:00:00Z", 1).await), Refusal::NoPaymentMethod);
    world.clock.set(registered.reconfirm_until.saturating_sub(24 * HOUR));
    world.turn().await;
    assert_eq!(world.post.keys("reconfirm-reminder-").len(), 1);
    assert!(world.post.text("card-needed-").contains("before you reconfirm"));
    assert_eq!(refusal(world.reconfirm(&registered).await), Refusal::NoPaymentMethod);
    // Where members are billed, it is a payment method as before.
    *world.payments.is_billing.lock() = true;
    world.reconfirm(&registered).await.unwrap();
}
