//! Money and mail, where things go wrong in between: each effect once, nothing lost.

use std::sync::Arc;

use slotcast_core::words::OpenLevel;
use slotcast_reservation::{
    domain::{
        effects::{Account, LedgerKind, PaymentKind},
        refusal::{self, Refusal, Thing},
        reservation::{CancelledBy, ProgramPassword, Reservation, Settlement, State},
        words::{Amount, MemberNumber, ReservationNumber},
    },
    payments::{Notice, Noticed},
    service::{ProgramEdit, Service},
    store::PaymentState,
};
use slotcast_reservation_testing::service::*;
use tokio::sync::watch;

const ONE: MemberNumber = MemberNumber(1);

/// Every account is what the movements that were done say, and all of them together are nought.
async fn check_books(world: &World) {
    let accounts = [
        Account::MemberHolds(ONE),
        Account::Holds,
        Account::Receivable(ONE),
        Account::Revenue,
        Account::Cash,
    ];
    let mut sum = 0;
    for account in accounts {
        sum += world.balance(account).await;
    }
    assert_eq!(sum, 0, "double entry");
    assert_eq!(world.balance(Account::Cash).await, world.payments.sum(PaymentKind::Capture));
}

async fn state_of(world: &World, key: &str) -> PaymentState {
    world.reads().await.payment(key).await.unwrap().expect(key).state
}

/// A program that ran and is over; its charge is decided, and waits in the outbox.
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

#[tokio::test]
async fn a_charge_that_fails_before_or_after_its_effect_is_made_once() {
    for mood in [Mood::FailsBefore, Mood::FailsAfter] {
        let world = World::new().await;
        let program = charged(&world).await;
        world.payments.be(mood);
        assert_eq!(world.service.move_due_money().await.unwrap(), 1);
        assert_eq!(world.service.move_due_money().await.unwrap(), 0, "not at once again");
        assert_eq!(world.balance(Account::Receivable(ONE)).await, 2000, "owed, not collected");
        world.clock.pass(MINUTE);
        world.work().await;
        world.payments.be(Mood::Well);
        world.clock.pass(MINUTE);
        world.work().await;
        assert_eq!(world.payments.count(PaymentKind::Capture), 1, "{mood:?}");
        assert_eq!(world.payments.sum(PaymentKind::Capture), 2000);
        let key = format!("capture-authorise-{}-1", program.number);
        assert_eq!(state_of(&world, &key).await, PaymentState::Done);
        check_books(&world).await;
        assert_eq!(world.service.stats().payments_failed, 2);
    }
}

#[tokio::test]
async fn a_capture_that_is_declined_waits_for_the_operator() {
    let world = World::new().await;
    charged(&world).await;
    world.payments.be(Mood::Declines);
    world.work().await;
    world.clock.pass(24 * HOUR);
    world.payments.be(Mood::Well);
    world.work().await;
    assert_eq!(world.payments.count(PaymentKind::Capture), 0);
    assert_eq!(world.service.stats().payments_declined, 1);
    assert_eq!(world.balance(Account::Receivable(ONE)).await, 2000, "still owed");
}

#[tokio::test]
async fn a_declined_reconfirmation_can_be_tried_again_with_another_card() {
    let world = World::new().await;
    let registered = world.registered("2026-12-02T00:00:00Z", 1).await;
    world.payments.be(Mood::Declines);
    let declined = refusal(world.reconfirm(&registered).await);
    assert_eq!(declined, Refusal::PaymentDeclined { reason: "insufficient funds".to_owned() });
    assert_eq!(world.found(registered.number).await.state, State::Registered);
    world.payments.be(Mood::Well);
    world.reconfirm(&registered).await.unwrap();
    let keys: Vec<_> = world.payments.done.lock().iter().map(|(key, ..)| key.clone()).collect();
    assert_eq!(keys, [format!("authorise-{}-2", registered.number)]);
}

#[tokio::test]
async fn a_member_whose_card_asks_at_the_reconfirmation_answers_and_reconfirms_once_more() {
    let world = World::new().await;
    let registered = world.registered("2026-12-02T00:00:00Z", 1).await;
    let key = format!("authorise-{}-1", registered.number);
    world.payments.be(Mood::Asks);
    for _ in 0..2 {
        let Refusal::CardQuestion(question) = refusal(world.reconfirm(&registered).await) else {
            panic!("nobody is asked");
        };
        assert_eq!(question.reference, format!("pi_{key}"));
    }
    // The member takes ten minutes, in which nobody calls it off.
    world.clock.pass(10 * MINUTE);
    world.work().await;
    assert_eq!(state_of(&world, &key).await, PaymentState::Waiting);
    world.payments.be(Mood::Well);
    assert_eq!(world.reconfirm(&registered).await.unwrap().state, State::Confirmed);
    assert_eq!(*world.payments.begun.lock(), [None, Some(format!("pi_{key}")), Some(format!("pi_{key}"))]);
    world.clock.pass(HOUR);
    world.work().await;
    assert_eq!(world.payments.done.lock().len(), 1, "one hold, and it stands");
    check_books(&world).await;
}

#[tokio::test]
async fn a_question_that_nobody_answers_is_called_off_and_asked_anew() {
    let world = World::new().await;
    let registered = world.registered("2026-12-02T00:00:00Z", 1).await;
    world.payments.be(Mood::Asks);
    assert!(matches!(refusal(world.reconfirm(&registered).await), Refusal::CardQuestion(_)));
    world.clock.pass(16 * MINUTE);
    world.work().await;
    let key = |attempt| format!("authorise-{}-{attempt}", registered.number);
    assert_eq!(state_of(&world, &key(1)).await, PaymentState::Declined);
    world.payments.be(Mood::Well);
    world.reconfirm(&registered).await.unwrap();
    assert_eq!(world.payments.done.lock()[0].0, key(2));
    check_books(&world).await;
}

#[tokio::test]
async fn a_reconfirmation_whose_answer_was_lost_is_repeated_with_one_effect() {
    let world = World::new().await;
    let registered = world.registered("2026-12-02T00:00:00Z", 1).await;
    world.payments.be(Mood::FailsAfter);
    assert_eq!(refusal(world.reconfirm(&registered).await), Refusal::PaymentUnavailable);
    world.payments.be(Mood::Well);
    world.reconfirm(&registered).await.unwrap();
    assert_eq!(world.reconfirm(&registered).await.unwrap().state, State::Confirmed, "once more does no harm");
    world.clock.pass(10 * MINUTE);
    world.turn().await;
    assert_eq!(world.payments.done.lock().len(), 1);
    assert_eq!(world.balance(Account::MemberHolds(ONE)).await, 2000);
}

#[tokio::test]
async fn a_hold_that_nobody_came_back_for_is_let_go() {
    for mood in [Mood::FailsBefore, Mood::FailsAfter] {
        let world = World::new().await;
        let registered = world.registered("2026-12-02T00:00:00Z", 1).await;
        world.payments.be(mood);
        assert_eq!(refusal(world.reconfirm(&registered).await), Refusal::PaymentUnavailable);
        world.payments.be(Mood::Well);
        world.clock.pass(2 * MINUTE);
        assert_eq!(world.service.move_due_money().await.unwrap(), 0, "the member may still come back");
        world.clock.pass(2 * MINUTE);
        world.work().await;
        assert_eq!(world.payments.count(PaymentKind::Authorise), 1);
        assert_eq!(world.payments.count(PaymentKind::Release), 1, "{mood:?}");
        assert_eq!(world.found(registered.number).await.state, State::Registered);
        check_books(&world).await;
        // The member comes back after all: a new hold.
        world.reconfirm(&registered).await.unwrap();
        assert_eq!(world.payments.count(PaymentKind::Authorise), 2);
        check_books(&world).await;
    }
}

#[tokio::test]
async fn a_reservation_that_ends_while_the_provider_is_asked_keeps_no_hold() {
    let world = Arc::new(World::new().await);
    let cancelled = world.registered("2026-12-03T00:00:00Z", 1).await;
    let gate = world.payments.close();
    let asking = tokio::spawn({
        let (world, cancelled) = (Arc::clone(&world), cancelled.clone());
        async move { world.reconfirm(&cancelled).await }
    });
    gate.entered.notified().await;
    world.service.cancel(&world.actor(1).await, cancelled.number, None).await.unwrap();
    gate.go.notify_one();
    let refused = refusal(asking.await.unwrap());
    assert!(
        matches!(refused, Refusal::WrongState { command: refusal::Command::Reconfirm, .. }),
        "{refused:?}"
    );

    let late = world.registered("2026-12-03T00:00:00Z", 1).await;
    let asking = tokio::spawn({
        let (world, late) = (Arc::clone(&world), late.clone());
        async move { world.reconfirm(&late).await }
    });
    gate.entered.notified().await;
    world.clock.set(late.reconfirm_until);
    gate.go.notify_one();
    let refused = refusal(asking.await.unwrap());
    assert_eq!(refused, Refusal::ReconfirmationLate { until: late.reconfirm_until });
    *world.payments.gate.lock() = None;
    world.turn().await;
    assert_eq!(world.found(cancelled.number).await.state, State::Cancelled(CancelledBy::Member));
    assert_eq!(world.found(late.number).await.state, State::Cancelled(CancelledBy::NotReconfirmed));
    assert_eq!(world.payments.count(PaymentKind::Release), 2);
    check_books(&world).await;
    assert_eq!(world.balance(Account::MemberHolds(ONE)).await, 0);
}

#[tokio::test]
async fn two_reconfirmations_at_once_have_one_effect() {
    let world = World::new().await;
    let registered = world.registered("2026-12-02T00:00:00Z", 1).await;
    let other = world.another_service();
    let actor = world.actor(1).await;
    let id = world.id(&registered);
    let (a, b, c) = tokio::join!(
        world.service.reconfirm(&actor, registered.number, &id, None),
        other.reconfirm(&actor, registered.number, &id, None),
        world.service.reconfirm(&actor, registered.number, &id, None)
    );
    for answer in [a, b, c] {
        assert_eq!(answer.unwrap().state, State::Confirmed);
    }
    world.turn().await;
    assert_eq!(world.payments.done.lock().len(), 1);
    assert_eq!(world.balance(Account::MemberHolds(ONE)).await, 2000);
    assert_eq!(world.post.keys("confirmed-").len(), 1);
    assert_eq!(world.post.keys("invitation-").len(), 1);
}

#[tokio::test]
async fn whoever_asks_may_leave_and_what_was_begun_is_ended() {
    let world = Arc::new(World::new().await);
    let registered = world.registered("2026-12-02T00:00:00Z", 1).await;
    let gate = world.payments.close();
    let asking = tokio::spawn({
        let (world, registered) = (Arc::clone(&world), registered.clone());
        async move { world.reconfirm(&registered).await }
    });
    gate.entered.notified().await;
    asking.abort();
    assert!(asking.await.unwrap_err().is_cancelled());
    gate.go.notify_one();
    let deadline = tokio::time::Instant::now() + 30 * SECOND;
    while world.found(registered.number).await.state != State::Confirmed {
        assert!(tokio::time::Instant::now() < deadline, "never confirmed");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn two_services_on_one_store_send_each_mail_once_and_do_each_thing_once() {
    let world = World::new().await;
    let other = world.another_service();
    for hour in 0..6 {
        world.confirmed(&format!("2026-12-02T0{hour}:00:00Z"), 1).await;
    }
    let both = |a: Service, b: Service| async move {
        for _ in 0..20 {
            let (x, y) = tokio::join!(a.send_mails(), b.send_mails());
            let (v, w) = tokio::join!(a.move_due_money(), b.move_due_money());
            if x.unwrap() + y.unwrap() + v.unwrap() + w.unwrap() == 0 {
                return;
            }
        }
        panic!("no end");
    };
    both(world.service.clone(), other.clone()).await;
    // ID, confirmed, invitation for each.
    let sent = world.post.keys("");
    assert_eq!(sent.len(), 18, "{sent:?}");
    world.clock.set(wall("2026-12-02T07:00:00Z"));
    let (a, b) = tokio::join!(world.service.do_due(), other.do_due());
    let (c, d) = tokio::join!(world.service.do_due(), other.do_due());
    assert_eq!(a.unwrap() + b.unwrap() + c.unwrap() + d.unwrap(), 12, "six ends, six decisions");
    both(world.service.clone(), other).await;
    assert_eq!(world.payments.count(PaymentKind::Release), 6, "nobody saw the server run");
    let mut sent = world.post.keys("");
    assert_eq!(sent.len(), 24);
    sent.sort();
    sent.dedup();
    assert_eq!(sent.len(), 24, "each once");
    check_books(&world).await;
}

#[tokio::test]
async fn mails_that_could_not_be_sent_are_tried_again() {
    let world = World::new().await;
    world.registered("2026-12-02T00:00:00Z", 1).await;
    *world.post.failures_left.lock() = 1;
    world.work().await;
    assert!(world.post.keys("").is_empty());
    world.clock.pass(2 * MINUTE);
    world.work().await;
    assert_eq!(world.post.keys("reservation-id-").len(), 1);
    assert_eq!((world.service.stats().mails_sent, world.service.stats().mails_failed), (1, 1));
}

#[tokio::test]
async fn a_reminder_goes_out_once_and_not_to_whom_needs_none() {
    let world = World::new().await;
    let far = world.registered("2026-12-10T00:00:00Z", 1).await;
    let near = world.registered("2026-12-02T00:00:00Z", 1).await;
    world.turn().await;
    assert!(world.post.keys("reconfirm-reminder-").is_empty(), "it was said a moment ago: {near:?}");
    world.clock.set(far.reconfirm_until.saturating_sub(24 * HOUR));
    world.turn().await;
    world.turn().await;
    assert_eq!(world.post.keys("reconfirm-reminder-").len(), 1);
}

#[tokio::test]
async fn the_providers_own_word_settles_and_refunds_once() {
    let world = World::new().await;
    let program = charged(&world).await;
    let reference = format!("pi_authorise-{}-1", program.number);
    let tell = |event: &str, what| {
        let (event, reference) = (event.to_owned(), reference.clone());
        *world.payments.notice.lock() = Some(Notice { event, reference, key: None, what });
        world.service.notice("right", b"{}")
    };
    let amount = |minor| Amount::new(minor).unwrap();
    world.payments.be(Mood::FailsAfter);
    world.work().await;
    tell("evt_1", Noticed::Collected(amount(2000))).await.unwrap();
    tell("evt_1", Noticed::Collected(amount(2000))).await.unwrap();
    world.payments.be(Mood::Well);
    world.clock.pass(HOUR);
    world.work().await;
    assert_eq!(world.balance(Account::Cash).await, 2000);
    assert_eq!(world.balance(Account::Receivable(ONE)).await, 0);
    tell("evt_2", Noticed::Refunded(amount(500))).await.unwrap();
    tell("evt_2", Noticed::Refunded(amount(500))).await.unwrap();
    tell("evt_3", Noticed::Refunded(amount(2000))).await.unwrap();
    tell("evt_4", Noticed::HoldGone).await.unwrap();
    assert_eq!(world.balance(Account::Cash).await, 0);
    assert_eq!(world.balance(Account::Revenue).await, 0);
    let ledger = world.reads().await.ledger_of(program.number).await.unwrap();
    let refunds = ledger.iter().filter(|entry| entry.kind == LedgerKind::Refunded);
    assert_eq!(refunds.map(|entry| entry.amount.minor()).collect::<Vec<_>>(), [500, 1500]);
    assert_eq!(refusal(world.service.notice("wrong", b"{}").await), Refusal::NotFound(Thing::Notice));
}

#[tokio::test]
async fn an_extension_that_comes_too_late_for_its_slot_lets_its_hold_go() {
    let world = Arc::new(World::new().await);
    let confirmed = world.confirmed("2026-12-02T00:00:00Z", 1).await;
    world.clock.set(wall("2026-12-02T00:05:00Z"));
    world.turn().await;
    let gate = world.payments.close();
    let asking = tokio::spawn({
        let (world, number) = (Arc::clone(&world), confirmed.number);
        async move { world.service.extend(&world.actor(1).await, number, 1, None).await }
    });
    gate.entered.notified().await;
    world.book_as(2, 1, "2026-12-02T00:10:00Z", 1).await.unwrap();
    gate.go.notify_one();
    assert!(matches!(refusal(asking.await.unwrap()), Refusal::SlotTaken { .. }));
    *world.payments.gate.lock() = None;
    world.work().await;
    assert_eq!(world.payments.count(PaymentKind::Release), 1);
    assert_eq!(world.balance(Account::MemberHolds(ONE)).await, 2000, "that of the program itself");
}

#[tokio::test]
async fn the_tasks_do_it_all_by_themselves_and_stop_when_told() {
    let world = World::new().await;
    let (stop, stopped) = watch::channel(false);
    let tasks = tokio::spawn(world.service.clone().run(stopped));
    let confirmed = world.confirmed("2026-12-02T00:00:00Z", 1).await;
    let deadline = tokio::time::Instant::now() + 30 * SECOND;
    let wait = |what: &'static str, is_so: Box<dyn Fn() -> bool>| async move {
        while !is_so() {
            assert!(tokio::time::Instant::now() < deadline, "{what}");
            tokio::time::sleep(SECOND / 100).await;
        }
    };
    let streaming = Arc::clone(&world.streaming);
    wait("never published", Box::new(move || streaming.scheduled() == [confirmed.number])).await;
    let post = Arc::clone(&world.post);
    wait("never mailed", Box::new(move || post.keys("").len() == 3)).await;
    world.clock.set(wall("2026-12-02T00:10:06Z"));
    let payments = Arc::clone(&world.payments);
    wait("never settled", Box::new(move || payments.count(PaymentKind::Release) == 1)).await;
    stop.send(true).unwrap();
    tokio::time::timeout(30 * SECOND, tasks).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_mail_that_hangs_keeps_no_other_mail_and_no_money_waiting() {
    let world = World::new().await;
    let first = world.registered("2026-12-02T00:00:00Z", 1).await;
    *world.post.hangs.lock() = Some(format!("reservation-id-{}", first.number));
    let (_stop, stopped) = watch::channel(false);
    let tasks = tokio::spawn(world.service.clone().run(stopped));
    let deadline = tokio::time::Instant::now() + 15 * SECOND;
    let wait = async |what: &str, is_so: &dyn Fn() -> bool| {
        while !is_so() {
            assert!(tokio::time::Instant::now() < deadline, "{what}");
            tokio::time::sleep(SECOND / 100).await;
        }
    };
    world.reconfirm(&first).await.unwrap();
    for hour in 1..8 {
        world.confirmed(&format!("2026-12-02T{hour:02}:00:00Z"), 1).await;
    }
    let post = &world.post;
    wait("all but one", &|| post.keys("reservation-id-").len() == 7 && post.keys("confirmed-").len() == 8)
        .await;
    tasks.abort();
}

async fn change_of(world: &World, number: ReservationNumber, edit: ProgramEdit) {
    world.service.change(&world.actor(1).await, number, None, edit).await.unwrap();
}

#[tokio::test]
async fn who_is_a_friend_no_more_is_not_told_the_next_password_by_a_mail_that_waited() {
    let world = World::new().await;
    let confirmed = world.confirmed("2026-12-01T18:00:00Z", 1).await;
    let change = |edit| change_of(&world, confirmed.number, edit);
    change(ProgramEdit { title: Some("The lake".to_owned()), ..ProgramEdit::default() }).await;
    let (open_level, friends) = (Some(OpenLevel::Secret), Some(Vec::new()));
    let password = Some(ProgramPassword("after-you-left".to_owned()));
    change(ProgramEdit { open_level, password, friends, ..ProgramEdit::default() }).await;
    world.work().await;
    let sent = world.post.sent.lock();
    assert!(sent.iter().any(|(key, _)| key.starts_with("confirmed-")));
    let to_friend: Vec<_> = sent.iter().filter(|(_, text)| text.contains("friend@example.org")).collect();
    let kinds: Vec<_> = to_friend.iter().map(|(key, _)| key.split('-').next().unwrap()).collect();
    assert_eq!(kinds, [""; 0], "{to_friend:#?}");
}
