//! Reservations over their whole life, over a real SQLite file and a world made of memory.

use slotcast_core::words::OpenLevel;
use slotcast_reservation::{
    domain::{
        effects::{Account, PaymentKind},
        refusal::{self, Refusal, Thing},
        reservation::{CancelledBy, ProgramPassword, Settlement, State},
        words::MemberNumber,
    },
    limits::CHANGES_GATHERED_FOR,
    service::{ExtensionOffer, Idempotency, ProgramEdit, Seal},
    streaming::StoppedBy,
};
use slotcast_reservation_testing::service::*;

const ONE: MemberNumber = MemberNumber(1);

#[tokio::test]
async fn a_whole_life_from_booking_to_the_charge() {
    let world = World::new().await;
    let held = world.book("2026-12-02T00:00:00Z", 2).await.unwrap();
    assert_eq!(held.state, State::Held);
    let actor = world.actor(1).await;
    let registered = world.service.accept_terms(&actor, held.number).await.unwrap();
    world.turn().await;
    let id = world.id(&registered);
    assert!(world.post.text("reservation-id-").contains(&id), "the ID is mailed");
    assert!(world.streaming.scheduled().is_empty(), "not confirmed: not broadcast");

    let typed = id.to_uppercase();
    let confirmed = world.service.reconfirm(&actor, held.number, &typed, None).await.unwrap();
    assert_eq!(confirmed.state, State::Confirmed);
    assert_eq!(world.balance(Account::MemberHolds(ONE)).await, 4000);
    world.turn().await;
    assert_eq!(world.streaming.scheduled(), [held.number]);
    assert_eq!(world.post.keys("invitation-").len(), 1);
    let file = world.service.settings_plain(&actor, held.number, &id).await.unwrap();
    assert_eq!(file.reservation.window, confirmed.window);

    world.clock.set(wall("2026-12-02T00:00:00Z"));
    world.turn().await;
    assert_eq!(world.found(held.number).await.state, State::OnAir);
    world.broadcast(held.number, wall("2026-12-02T00:20:01Z"), 3).await;
    world.turn().await;
    assert_eq!(world.found(held.number).await.state, State::Finished(Settlement::Open));
    assert_eq!(world.streaming.scheduled(), [held.number], "its link stays until the connect window is over");
    world.clock.pass(5 * SECOND);
    world.turn().await;
    assert_eq!(world.found(held.number).await.state, State::Finished(Settlement::Charged));
    assert_eq!(world.payments.sum(PaymentKind::Capture), 4000);
    assert_eq!(world.balance(Account::Cash).await, 4000);
    assert_eq!(world.balance(Account::Revenue).await, -4000);
    for account in [Account::MemberHolds(ONE), Account::Holds, Account::Receivable(ONE)] {
        assert_eq!(world.balance(account).await, 0, "{account:?}");
    }
    assert!(world.post.text("settled-").contains('3'), "the number of viewers is told");

    let history = world.service.history(&actor, held.number, ALL).await.unwrap();
    assert_eq!(history.run.viewers_peak, 3);
    assert_eq!(history.viewers_average_milli, 3000);
    assert_eq!(history.run.normal_ms, 20 * 60 * 1000);
    let mine = world.service.my_channel(&actor).await.unwrap();
    assert_eq!((mine.open.len(), mine.past.len(), mine.slots_used), (0, 1, 2));
    world.clock.pass(10 * MINUTE);
    world.turn().await;
    assert!(world.streaming.scheduled().is_empty());
}

#[tokio::test]
async fn reconfirmation_is_taken_a_microsecond_before_it_is_late_and_not_at_the_moment() {
    let world = World::new().await;
    let (first, second) = (
        world.registered("2026-12-03T00:00:00Z", 1).await,
        world.registered("2026-12-03T00:10:00Z", 1).await,
    );
    let until = wall("2026-12-02T18:00:00Z");
    assert_eq!(first.reconfirm_until, until);
    world.clock.set(until.saturating_sub(MICRO));
    assert_eq!(world.reconfirm(&first).await.unwrap().state, State::Confirmed);
    world.clock.set(second.reconfirm_until);
    // The timekeeper has not come yet.
    let late = refusal(world.reconfirm(&second).await);
    assert_eq!(late, Refusal::ReconfirmationLate { until: second.reconfirm_until });
    world.turn().await;
    assert_eq!(world.found(second.number).await.state, State::Cancelled(CancelledBy::NotReconfirmed));
    let late = refusal(world.reconfirm(&second).await);
    assert_eq!(late, Refusal::ReconfirmationLate { until: second.reconfirm_until });
    assert_eq!(world.payments.done.lock().len(), 1, "nothing was authorised for the late one");
    assert_eq!(world.post.keys("cancelled-").len(), 1);
}

#[tokio::test]
async fn slots_are_free_at_the_instant_though_nobody_has_looked() {
    let world = World::new().await;
    let held = world.book("2026-12-03T00:00:00Z", 3).await.unwrap();
    let taken = refusal(world.book_as(2, 1, "2026-12-03T00:10:00Z", 1).await);
    let Refusal::SlotTaken { taken, .. } = taken else { panic!("{taken:?}") };
    assert_eq!(taken, [wall("2026-12-03T00:10:00Z")]);
    world.clock.set(held.hold_until.saturating_sub(MICRO));
    assert!(matches!(
        refusal(world.book_as(2, 1, "2026-12-03T00:10:00Z", 1).await),
        Refusal::SlotTaken { .. }
    ));
    world.clock.set(held.hold_until);
    let second = world.book_as(2, 1, "2026-12-03T00:10:00Z", 1).await.unwrap();
    assert_eq!(world.found(held.number).await.state, State::Cancelled(CancelledBy::TermsNotAccepted));
    let (actor, operator) = (world.actor(1).await, world.actor(4).await);
    let late = refusal(world.service.accept_terms(&actor, held.number).await);
    assert_eq!(late, Refusal::HoldExpired { until: held.hold_until });

    // The same for what was not reconfirmed.
    let for_somebody_else = refusal(world.service.accept_terms(&operator, second.number).await);
    assert_eq!(
        for_somebody_else,
        Refusal::NotFound(Thing::Reservation),
        "terms are the member's own to accept"
    );
    let actor = world.actor(2).await;
    let registered = world.service.accept_terms(&actor, second.number).await.unwrap();
    world.clock.set(registered.reconfirm_until);
    world.book("2026-12-03T00:10:00Z", 1).await.unwrap();
    assert_eq!(world.found(second.number).await.state, State::Cancelled(CancelledBy::NotReconfirmed));
}

#[tokio::test]
async fn a_hold_that_runs_out_while_its_slot_runs_frees_that_slot() {
    let world = World::new().await;
    world.book("2026-12-01T12:00:00Z", 6).await.unwrap();
    world.clock.pass(16 * MINUTE);
    world.book_as(2, 1, "2026-12-01T12:10:00Z", 1).await.unwrap();
}

#[tokio::test]
async fn the_months_limit_counts_by_the_providers_calendar_and_frees_what_is_cancelled() {
    let world = World::new().await;
    // January begins in Tokyo at 15:00 UTC of the last of December.
    world.book("2026-12-31T12:00:00Z", 18).await.unwrap();
    let last = world.book("2026-12-30T12:00:00Z", 18).await.unwrap();
    let over = refusal(world.book("2026-12-31T11:50:00Z", 1).await);
    assert_eq!(over, Refusal::MonthLimit { slots_max: 36, used: 36, asked: 1 });
    let over = refusal(world.book("2026-12-31T14:50:00Z", 2).await);
    assert!(matches!(over, Refusal::SlotTaken { .. }), "{over:?}");
    // Half in one month, half in the other.
    world.book("2026-12-31T15:00:00Z", 1).await.unwrap();
    let actor = world.actor(1).await;
    let quote = world.service.quote(Some(&actor), last.channel, last.window).await.unwrap();
    assert_eq!(quote.total.minor(), 36_000);
    assert!(matches!(quote.reasons[..], [Refusal::SlotTaken { .. }, Refusal::MonthLimit { used: 36, .. }]));
    world.service.cancel(&actor, last.number, None).await.unwrap();
    world.book("2026-12-31T11:50:00Z", 1).await.unwrap();
}

#[tokio::test]
async fn the_months_limit_follows_daylight_saving() {
    let mut rules = rules();
    rules.zone = jiff::tz::TimeZone::get("Europe/Berlin").unwrap();
    rules.month_slots_max = 2;
    let world = World::with(rules, wall("2026-10-20T00:00:00Z")).await;
    // November begins in Berlin at 23:00 UTC, an hour later than October did.
    world.book("2026-10-31T22:40:00Z", 2).await.unwrap();
    assert!(matches!(refusal(world.book("2026-10-31T22:30:00Z", 1).await), Refusal::MonthLimit { .. }));
    world.book("2026-10-31T23:00:00Z", 2).await.unwrap();
    // The day on which clocks go back has 25 hours.
    let day = world.service.day(jiff::civil::date(2026, 10, 25), None, None).await.unwrap();
    assert_eq!(day.to.since(day.from), 25 * HOUR);
    assert_eq!(day.channels[0].free.len(), 1);
    let month = world.service.month(2026, 10, None).await.unwrap();
    assert_eq!(month.days.len(), 31);
    assert_eq!(month.days[24].channels[0].free, 25 * 6);
    assert_eq!(month.days[30].channels[0].taken, 2);
}

#[tokio::test]
async fn an_extension_is_offered_ten_minutes_before_the_end_and_paid_like_any_slot() {
    let world = World::new().await;
    let confirmed = world.confirmed("2026-12-02T00:00:00Z", 1).await;
    let actor = world.actor(1).await;
    world.clock.set(wall("2026-12-01T23:59:59Z"));
    let status = world.service.status(&actor, confirmed.number).await.unwrap();
    let later = ExtensionOffer { from: Some(wall("2026-12-02T00:00:00Z")), ..ExtensionOffer::default() };
    assert_eq!(status.extension, later);
    let early = refusal(world.service.extend(&actor, confirmed.number, 1, None).await);
    assert_eq!(early, Refusal::ExtensionEarly { from: wall("2026-12-02T00:00:00Z") });

    world.clock.set(wall("2026-12-02T00:05:00Z"));
    world.turn().await;
    world.book_as(2, 1, "2026-12-02T00:40:00Z", 1).await.unwrap();
    let status = world.service.status(&actor, confirmed.number).await.unwrap();
    assert_eq!((status.extension.is_offered, status.extension.slots_max), (true, Some(3)), "{status:?}");
    assert!(matches!(
        refusal(world.service.extend(&actor, confirmed.number, 4, None).await),
        Refusal::SlotTaken { .. }
    ));
    let key = Some(Idempotency { key: "extend".to_owned(), request_hash: [1; 32] });
    let extended = world.service.extend(&actor, confirmed.number, 2, key.clone()).await.unwrap();
    assert_eq!(extended.window.end(), wall("2026-12-02T00:30:00Z"));
    let again = world.service.extend(&actor, confirmed.number, 2, key).await.unwrap();
    assert_eq!(again, extended, "the same key, the same extension");
    assert_eq!(world.payments.sum(PaymentKind::Authorise), 2000 + 4000);
    world.turn().await;
    assert_eq!(world.streaming.schedule.lock().programs[0].window, extended.window);
    assert_eq!(world.balance(Account::MemberHolds(ONE)).await, 6000);
}

#[tokio::test]
async fn an_extension_counts_for_the_months_limit_like_any_slot() {
    let mut rules = rules();
    rules.month_slots_max = 3;
    let world = World::with(rules, wall("2026-12-01T12:00:00Z")).await;
    let actor = world.actor(1).await;
    let confirmed = world.confirmed("2026-12-01T12:00:00Z", 1).await;
    world.clock.set(wall("2026-12-01T12:05:00Z"));
    let status = world.service.status(&actor, confirmed.number).await.unwrap();
    assert_eq!((status.extension.is_offered, status.extension.slots_max), (true, Some(2)), "{status:?}");
    let over = refusal(world.service.extend(&actor, confirmed.number, 3, None).await);
    assert_eq!(over, Refusal::MonthLimit { slots_max: 3, used: 1, asked: 3 });
    world.service.extend(&actor, confirmed.number, 2, None).await.unwrap();
    let status = world.service.status(&actor, confirmed.number).await.unwrap();
    assert_eq!(status.extension, ExtensionOffer::default());
}

#[tokio::test]
async fn what_a_cancellation_costs() {
    let world = World::new().await;
    let actor = world.actor(1).await;
    let operator = world.actor(4).await;
    // Before the reconfirmation: nothing.
    let registered = world.registered("2026-12-02T00:00:00Z", 1).await;
    world.service.cancel(&actor, registered.number, None).await.unwrap();
    world.turn().await;
    assert!(world.payments.done.lock().is_empty());
    // After it: all.
    let confirmed = world.confirmed("2026-12-02T00:00:00Z", 1).await;
    world.work().await;
    let gone = world.service.cancel(&actor, confirmed.number, None).await.unwrap();
    assert_eq!(gone.state, State::Cancelled(CancelledBy::Member));
    assert_eq!(world.service.cancel(&actor, confirmed.number, None).await.unwrap(), gone, "once is enough");
    world.turn().await;
    assert_eq!(world.payments.sum(PaymentKind::Capture), 2000);
    assert_eq!(world.post.keys("cancelled-").len(), 3, "the member twice, the friend once");
    // By the operator: nothing.
    let confirmed = world.confirmed("2026-12-02T00:00:00Z", 1).await;
    let gone = world.service.cancel(&operator, confirmed.number, None).await.unwrap();
    assert_eq!(gone.state, State::Cancelled(CancelledBy::Operator), "whichever way it is asked");
    world.service.operator_cancel(&operator, confirmed.number, None).await.unwrap();
    world.turn().await;
    assert_eq!(world.payments.sum(PaymentKind::Capture), 2000);
    assert_eq!(world.payments.sum(PaymentKind::Release), 2000);
    assert_eq!(world.balance(Account::MemberHolds(ONE)).await, 0);
    assert_eq!(world.balance(Account::Cash).await, 2000);
    assert!(world.streaming.scheduled().is_empty());
    // The slots are free again.
    world.book("2026-12-02T00:00:00Z", 1).await.unwrap();
    // Of others: not there.
    let other = world.actor(2).await;
    let refused = refusal(world.service.cancel(&other, confirmed.number, None).await);
    assert_eq!(refused, Refusal::NotFound(Thing::Reservation));
}

#[tokio::test]
async fn cancelling_on_air_costs_what_ending_costs() {
    for (runs, taken) in [(true, 2000), (false, 0)] {
        let world = World::new().await;
        let confirmed = world.confirmed("2026-12-02T00:00:00Z", 1).await;
        world.clock.set(wall("2026-12-02T00:00:00Z"));
        world.turn().await;
        *world.streaming.is_broken.lock() = !runs;
        world.broadcast(confirmed.number, wall("2026-12-02T00:05:00Z"), 1).await;
        let gone = world.service.cancel(&world.actor(1).await, confirmed.number, None).await.unwrap();
        assert_eq!(gone.state, State::Cancelled(CancelledBy::Member));
        world.turn().await;
        assert_eq!(world.payments.sum(PaymentKind::Capture), taken);
        assert_eq!(world.payments.sum(PaymentKind::Release), 2000 - taken);
        assert_eq!(world.balance(Account::Receivable(ONE)).await, 0);
        assert_eq!(world.balance(Account::MemberHolds(ONE)).await, 0);
        let mails = world.post.sent.lock();
        let said =
            |text: &str| mails.iter().any(|(key, mail)| key.starts_with("cancelled-") && mail.contains(text));
        assert_eq!(said("Nothing is charged"), !runs);
        assert_eq!(said("its price is charged"), runs);
    }
}

#[tokio::test]
async fn nothing_is_owed_where_the_server_did_not_run_normally() {
    let world = World::new().await;
    let confirmed = world.confirmed("2026-12-02T00:00:00Z", 1).await;
    world.clock.set(wall("2026-12-02T00:00:00Z"));
    world.turn().await;
    world.broadcast(confirmed.number, wall("2026-12-02T00:09:00Z"), 1).await;
    *world.streaming.is_broken.lock() = true;
    world.broadcast(confirmed.number, wall("2026-12-02T00:10:10Z"), 1).await;
    world.turn().await;
    world.turn().await;
    assert_eq!(world.found(confirmed.number).await.state, State::Finished(Settlement::Waived));
    assert_eq!(world.payments.sum(PaymentKind::Release), 2000);
    assert_eq!(world.payments.sum(PaymentKind::Capture), 0);
    for account in [Account::MemberHolds(ONE), Account::Receivable(ONE), Account::Revenue, Account::Cash] {
        assert_eq!(world.balance(account).await, 0, "{account:?}");
    }
}

#[tokio::test]
async fn ending_early_is_charged_in_full_and_cuts_at_once() {
    let world = World::new().await;
    let confirmed = world.confirmed("2026-12-02T00:00:00Z", 2).await;
    let actor = world.actor(1).await;
    world.clock.set(wall("2026-12-02T00:00:00Z"));
    world.turn().await;
    world.broadcast(confirmed.number, wall("2026-12-02T00:05:00Z"), 1).await;
    let over = world.service.end_early(&actor, confirmed.number).await.unwrap();
    assert_eq!(over.over_at, Some(wall("2026-12-02T00:05:00Z")));
    world.turn().await;
    assert!(world.streaming.scheduled().is_empty());
    let stopped = [(confirmed.number, StoppedBy::Member, wall("2026-12-02T00:05:00Z"))];
    assert_eq!(world.streaming.stopped(), stopped, "whoever watched or sent is told who ended it");
    world.clock.pass(5 * SECOND);
    world.turn().await;
    assert_eq!(world.found(confirmed.number).await.state, State::Finished(Settlement::Charged));
    assert_eq!(world.payments.sum(PaymentKind::Capture), 4000);
}

#[tokio::test]
async fn a_cancelled_program_that_was_on_air_is_stopped_and_its_next_slot_can_be_sold() {
    let world = World::new().await;
    let first = world.confirmed("2026-12-02T00:00:00Z", 3).await;
    world.clock.set(wall("2026-12-02T00:04:00Z"));
    world.turn().await;
    world.service.cancel(&world.actor(1).await, first.number, None).await.unwrap();
    world.turn().await;
    let stopped = [(first.number, StoppedBy::Member, wall("2026-12-02T00:04:00Z"))];
    assert_eq!((world.streaming.scheduled(), world.streaming.stopped()), (vec![], stopped.to_vec()));
    // Slot 00:10 is free again; whoever has it runs beside the one that was stopped, never at the same time.
    let second = world.confirmed("2026-12-02T00:10:00Z", 1).await;
    world.turn().await;
    assert_eq!(world.streaming.scheduled(), [second.number]);
    let windows: Vec<_> =
        world.streaming.schedule.lock().programs.iter().map(|program| program.window).collect();
    assert!(windows.len() == 2 && !windows[0].overlaps(windows[1]), "{windows:?}");
    // Once nobody can connect to it any more it is forgotten.
    world.clock.set(wall("2026-12-02T00:36:00Z"));
    world.turn().await;
    assert_eq!(world.streaming.stopped(), []);
}

#[tokio::test]
async fn a_program_that_is_cancelled_before_its_start_is_not_scheduled() {
    let world = World::new().await;
    let confirmed = world.confirmed("2026-12-02T00:00:00Z", 1).await;
    world.clock.set(wall("2026-12-01T23:58:00Z"));
    world.turn().await;
    assert_eq!(world.streaming.scheduled(), [confirmed.number]);
    world.service.cancel(&world.actor(1).await, confirmed.number, None).await.unwrap();
    world.turn().await;
    assert!(world.streaming.schedule.lock().programs.is_empty());
    world.clock.set(wall("2026-12-02T00:02:00Z"));
    world.turn().await;
    assert!(world.streaming.schedule.lock().programs.is_empty());
}

/// The server is looked at on whole seconds; what lies before and after the looks is nobody's fault.
#[tokio::test]
async fn a_program_that_is_ended_after_seconds_is_charged_but_not_where_the_server_was_away() {
    for (seen, end, settlement) in
        [(2, "2026-12-02T00:00:03.9Z", Settlement::Charged), (0, "2026-12-02T00:00:09Z", Settlement::Waived)]
    {
        let world = World::new().await;
        let confirmed = world.confirmed("2026-12-02T00:00:00Z", 2).await;
        let actor = world.actor(1).await;
        world.clock.set(wall("2026-12-02T00:00:00.4Z"));
        world.turn().await;
        world.broadcast(confirmed.number, world.clock.now().saturating_add(seen * SECOND), 1).await;
        world.clock.set(wall(end));
        world.service.end_early(&actor, confirmed.number).await.unwrap();
        world.turn().await;
        world.clock.pass(5 * SECOND);
        world.turn().await;
        assert_eq!(world.found(confirmed.number).await.state, State::Finished(settlement), "{seen} s seen");
    }
}

#[tokio::test]
async fn an_operator_never_spends_a_members_money() {
    let world = World::new().await;
    let confirmed = world.confirmed("2026-12-02T00:00:00Z", 1).await;
    let operator = world.actor(4).await;
    world.clock.set(wall("2026-12-02T00:00:00Z"));
    world.turn().await;
    world.broadcast(confirmed.number, wall("2026-12-02T00:05:00Z"), 1).await;
    let extended = world.service.extend(&operator, confirmed.number, 1, None).await;
    assert_eq!(refusal(extended), Refusal::NotFound(Thing::Reservation));
    let over = world.service.end_early(&operator, confirmed.number).await.unwrap();
    assert_eq!(over.state, State::Cancelled(CancelledBy::Operator));
    world.turn().await;
    assert!(world.streaming.scheduled().is_empty());
    let stopped = [(confirmed.number, StoppedBy::Operator, wall("2026-12-02T00:05:00Z"))];
    assert_eq!(world.streaming.stopped(), stopped);
    world.clock.pass(5 * SECOND);
    world.turn().await;
    assert_eq!(world.payments.sum(PaymentKind::Release), 2000);
    assert_eq!(world.payments.sum(PaymentKind::Capture), 0);
    // Nor what is over already.
    let again = refusal(world.service.end_early(&operator, confirmed.number).await);
    assert!(matches!(again, Refusal::WrongState { .. }), "{again:?}");
}

#[tokio::test]
async fn the_same_key_books_once_and_another_request_under_it_is_refused() {
    let world = World::new().await;
    let actor = world.actor(1).await;
    let address = "192.0.2.1".parse().unwrap();
    let book = |hash: u8, start: &'static str| {
        let key = Idempotency { key: "one".to_owned(), request_hash: [hash; 32] };
        world.service.book(&actor, draft(1, start, 1), Some(key), address)
    };
    let (first, again) = tokio::join!(book(1, "2026-12-02T00:00:00Z"), book(1, "2026-12-02T00:00:00Z"));
    let first = first.unwrap();
    assert_eq!(again.unwrap().number, first.number);
    world.service.accept_terms(&actor, first.number).await.unwrap();
    let later = book(1, "2026-12-02T00:00:00Z").await.unwrap();
    assert_eq!((later.number, later.state), (first.number, State::Registered), "as it is now");
    assert_eq!(refusal(book(2, "2026-12-02T01:00:00Z").await), Refusal::KeyReused);
    // Somebody else's key is another one.
    let other = world.actor(2).await;
    let key = Idempotency { key: "one".to_owned(), request_hash: [3; 32] };
    let theirs = world.service.book(&other, draft(2, "2026-12-02T00:00:00Z", 1), Some(key), address).await;
    assert_ne!(theirs.unwrap().number, first.number);
}

#[tokio::test]
async fn of_many_who_want_the_same_slots_one_gets_them() {
    let world = World::new().await;
    let mut wins = 0;
    for round in 0..5 {
        let start = format!("2026-12-02T0{round}:00:00Z");
        let (a, b, c) = tokio::join!(
            world.book_as(1, 1, &start, 2),
            world.book_as(2, 1, &start, 2),
            world.book_as(3, 1, &start, 1)
        );
        for answer in [a, b, c] {
            match answer {
                Ok(_) => wins += 1,
                Err(error) => {
                    let refused = refusal::<()>(Err(error));
                    assert!(matches!(refused, Refusal::SlotTaken { .. }), "{refused:?}");
                }
            }
        }
    }
    assert_eq!(wins, 5);
}

#[tokio::test]
async fn a_clock_that_steps_an_hour_makes_nothing_twice() {
    let world = World::new().await;
    let confirmed = world.confirmed("2026-12-02T00:00:00Z", 12).await;
    world.clock.set(wall("2026-12-02T00:00:00Z"));
    world.turn().await;
    world.broadcast(confirmed.number, wall("2026-12-02T00:30:00Z"), 1).await;
    // Back by an hour: before the start, and on air all the same.
    world.clock.step(-3600);
    world.turn().await;
    assert_eq!(world.found(confirmed.number).await.state, State::OnAir);
    assert_eq!(world.streaming.scheduled(), [confirmed.number]);
    let status = world.service.status(&world.actor(1).await, confirmed.number).await.unwrap();
    assert!(!status.is_on_air && status.elapsed.is_zero());
    // On by two hours, and back to what is right.
    world.clock.step(7200);
    world.turn().await;
    world.clock.step(-3600);
    world.turn().await;
    world.broadcast(confirmed.number, wall("2026-12-02T02:00:10Z"), 1).await;
    world.turn().await;
    let charged = world.found(confirmed.number).await;
    assert_eq!(charged.state, State::Finished(Settlement::Charged), "{charged:?}");
    assert_eq!(world.payments.sum(PaymentKind::Capture), 24_000);
    let mails = world.post.sent.lock();
    let mut keys: Vec<_> = mails.iter().map(|(key, _)| key).collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), mails.len(), "each mail once");
}

#[tokio::test]
async fn friends_are_told_what_changed_and_the_streaming_side_has_it() {
    let world = World::new().await;
    let actor = world.actor(1).await;
    let confirmed = world.confirmed("2026-12-02T00:00:00Z", 1).await;
    world.turn().await;
    let edit = ProgramEdit {
        title: Some("The lake".to_owned()),
        open_level: Some(OpenLevel::Password),
        password: Some(ProgramPassword("sesame".to_owned())),
        ..ProgramEdit::default()
    };
    let stale = world.service.change(&actor, confirmed.number, Some(1), edit.clone()).await;
    assert_eq!(refusal(stale), Refusal::Stale { version: confirmed.version });
    let changed =
        world.service.change(&actor, confirmed.number, Some(confirmed.version), edit).await.unwrap();
    world.clock.pass(CHANGES_GATHERED_FOR);
    world.turn().await;
    assert_eq!(world.post.keys("changed-").len(), 1);
    assert_eq!(world.streaming.schedule.lock().programs[0].password, changed.program.password);
    let public = ProgramEdit { open_level: Some(OpenLevel::Public), ..ProgramEdit::default() };
    let public = world.service.change(&actor, confirmed.number, None, public).await.unwrap();
    assert_eq!(public.program.password, None);
}

#[tokio::test]
async fn settings_need_the_reservation_id_and_open_with_the_terminals_key() {
    let world = World::new().await;
    let actor = world.actor(1).await;
    let registered = world.registered("2026-12-02T00:00:00Z", 1).await;
    let early =
        refusal(world.service.settings_plain(&actor, registered.number, &world.id(&registered)).await);
    assert!(matches!(early, Refusal::WrongState { command: refusal::Command::Settings, .. }));
    let key = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
    let id = world.id(&registered);
    let wrong = world.service.reconfirm(&actor, registered.number, &id, Some("age1".to_owned())).await;
    assert!(matches!(refusal(wrong), Refusal::Invalid(_)));
    world.service.reconfirm(&actor, registered.number, &id, Some(key.to_owned())).await.unwrap();
    let sealed =
        world.service.settings_file(&actor, registered.number, &id, Seal::Recipient(None)).await.unwrap();
    assert!(sealed.bytes.starts_with(b"-----BEGIN AGE ENCRYPTED FILE-----"));
    let short = Seal::Passphrase("short".to_owned());
    let short = refusal(world.service.settings_file(&actor, registered.number, &id, short).await);
    assert!(matches!(short, Refusal::Invalid(_)));

    // A lost ID is replaced: the old one opens nothing any more.
    let reissued = world.service.reissue_id(&actor, registered.number).await.unwrap();
    let old = refusal(world.service.settings_plain(&actor, registered.number, &id).await);
    assert_eq!(old, Refusal::WrongReservationId);
    world.service.settings_plain(&actor, registered.number, &world.id(&reissued)).await.unwrap();
    world.turn().await;
    assert_eq!(
        world.streaming.schedule.lock().programs[0].reservation_id.expose(),
        world.id(&reissued),
        "the link takes the new one"
    );
    for _ in 0..2 {
        let _ = world.service.settings_plain(&actor, registered.number, &id).await;
    }
    let guessing = refusal(world.service.settings_plain(&actor, registered.number, &id).await);
    assert!(matches!(guessing, Refusal::TooMany { .. }), "{guessing:?}");
}

#[tokio::test]
async fn what_is_booked_stays_as_booked_when_the_rules_become_narrower() {
    let world = World::new().await;
    let actor = world.actor(1).await;
    let held = world.book("2026-12-02T00:00:00Z", 3).await.unwrap();
    let registered = world.service.accept_terms(&actor, held.number).await.unwrap();
    let friends = registered.program.friends.len();
    assert!(friends > 0);
    let narrow = world.service_by(|rules| (rules.slots_max, rules.friends_max) = (1, 0));
    assert_eq!(narrow.total(&registered).minor(), 6000);
    let edit = ProgramEdit { title: Some("Another title".to_owned()), ..ProgramEdit::default() };
    let edited = narrow.change(&actor, registered.number, None, edit).await.unwrap();
    assert_eq!((edited.program.title.as_str(), edited.program.friends.len()), ("Another title", friends));
    let id = world.id(&edited);
    let confirmed = narrow.reconfirm(&actor, edited.number, &id, None).await.unwrap();
    assert_eq!(confirmed.state, State::Confirmed);
    narrow.send_mails().await.unwrap();
    narrow.cancel(&actor, confirmed.number, None).await.unwrap();
    world.work().await;
    narrow.send_mails().await.unwrap();
    assert_eq!(world.balance(Account::Cash).await, 6000);
    let sent = world.post.sent.lock();
    let told = |what: &str| {
        sent.iter().filter(|(key, text)| key.starts_with("cancelled-") && text.contains(what)).count()
    };
    assert_eq!((told("To: friend"), told("6,000"), told("Nothing is charged")), (1, 1, 0), "{sent:?}");
}

#[tokio::test]
async fn a_program_without_toll_needs_no_money() {
    let world = World::new().await;
    let actor = world.actor(1).await;
    let held = world.book_as(1, 3, "2026-12-02T00:00:00Z", 1).await.unwrap();
    let registered = world.service.accept_terms(&actor, held.number).await.unwrap();
    world.reconfirm(&registered).await.unwrap();
    assert_eq!(*world.payments.asked.lock(), 0);
}
