//! A database that is down, a key that is not the database's, and several processes over one database.

use std::sync::atomic::Ordering::SeqCst;

use slotcast_reservation::{
    domain::{
        effects::Effects,
        reservation::{CancelledBy, Reservation, Settlement, State},
        words::ReservationNumber,
    },
    service::ServiceError,
    vault::Vault,
};
use slotcast_reservation_testing::{race::race, service::*};

#[tokio::test]
async fn a_store_that_is_down_touches_no_running_program_and_loses_nothing_that_was_seen() {
    let world = World::new().await;
    let confirmed = world.confirmed("2026-12-02T00:00:00Z", 1).await;
    world.clock.set(wall("2026-12-02T00:00:00Z"));
    world.turn().await;
    let actor = world.actor(1).await;
    world.is_down.store(true, SeqCst);
    for second in 0..599 {
        world.clock.pass(SECOND);
        world.streaming.send(confirmed.number, 1 + second / 300);
        assert!(matches!(world.service.observe().await, Err(ServiceError::Store(_))));
        assert!(world.service.publish().await.is_err());
    }
    assert_eq!(world.streaming.scheduled(), [confirmed.number], "the last schedule stays");
    let wanted = draft(2, "2026-12-03T00:00:00Z", 1);
    let refused = world.service.book(&actor, wanted, None, "192.0.2.1".parse().unwrap()).await;
    assert!(matches!(refused, Err(ServiceError::Store(_))), "503, not a refusal");
    world.is_down.store(false, SeqCst);
    world.broadcast(confirmed.number, wall("2026-12-02T00:10:06Z"), 2).await;
    world.turn().await;
    world.turn().await;
    assert_eq!(world.found(confirmed.number).await.state, State::Finished(Settlement::Charged));
    let history = world.service.history(&world.actor(1).await, confirmed.number, ALL).await.unwrap();
    assert_eq!(history.run.normal_ms, 600_000);
    let viewers: Vec<_> = history.samples.items.iter().map(|sample| sample.viewers).collect();
    assert_eq!(viewers, [1, 2, 0]);
}

#[tokio::test]
async fn deadlines_that_pass_while_nobody_is_there_move_on() {
    let world = World::new().await;
    let missed = world.registered("2026-12-02T00:00:00Z", 1).await;
    let soon = world.registered("2026-12-02T02:00:00Z", 1).await;
    let later = world.registered("2026-12-02T03:00:00Z", 1).await;
    assert_eq!(missed.reconfirm_until, wall("2026-12-01T18:00:00Z"));
    world.clock.set(wall("2026-12-01T17:40:00Z"));
    let lapsed = world.book_as(2, 2, "2026-12-02T00:00:00Z", 1).await.unwrap();
    world.clock.set(wall("2026-12-01T17:50:00Z"));
    let held = world.book_as(2, 2, "2026-12-02T01:00:00Z", 1).await.unwrap();
    world.turn().await;
    world.clock.set(wall("2026-12-01T17:56:00Z"));
    assert_eq!(world.service.note_presence(true).await.unwrap(), 0, "never noted before");

    world.clock.set(wall("2026-12-01T19:55:00Z"));
    assert_eq!(world.service.note_presence(true).await.unwrap(), 3);
    assert_eq!(
        world.found(held.number).await.hold_until,
        wall("2026-12-01T20:10:00Z"),
        "as long again as a hold"
    );
    // It ran out at 18:00, after four minutes of absence: four minutes before the absence is over, and a grace.
    assert_eq!(world.found(missed.number).await.reconfirm_until, wall("2026-12-01T20:05:00Z"));
    // It would have run out at 20:00, before anybody had time to act.
    assert_eq!(world.found(soon.number).await.reconfirm_until, wall("2026-12-01T21:59:00Z"));
    assert_eq!(world.found(later.number).await, later);
    world.turn().await;
    assert_eq!(world.found(lapsed.number).await.state, State::Cancelled(CancelledBy::TermsNotAccepted));
    let reminded = world.found(missed.number).await;
    assert!(reminded.is_reminded && reminded.state == State::Registered, "{reminded:?}");
    assert_eq!(world.post.keys(&format!("reconfirm-reminder-{}-", missed.number)).len(), 1);
    assert_eq!(world.reconfirm(&reminded).await.unwrap().state, State::Confirmed);
}

#[tokio::test]
async fn rows_that_cannot_be_read_keep_no_other_from_what_is_due() {
    let world = World::new().await;
    let readable = world.registered("2026-12-02T12:00:00Z", 1).await;
    let mut tx = world.store.begin().await.unwrap();
    // More than are looked at together, and all due before.
    for number in 1..=150 {
        let reconfirm_until = readable.reconfirm_until.saturating_sub(HOUR);
        let number = ReservationNumber(number);
        let other = Reservation { number, reconfirm_until, version: 1, ..readable.clone() };
        tx.write(&Effects::of(other)).await.unwrap();
    }
    tx.commit().await.unwrap();
    world.raw("UPDATE reservations SET friends = '[\"no address\"]' WHERE number <= 150").await;
    world.clock.set(readable.reconfirm_until.saturating_sub(30 * MINUTE));
    world.service.note_presence(true).await.unwrap();
    world.clock.set(readable.reconfirm_until.saturating_add(10 * MINUTE));
    assert_eq!(world.service.note_presence(true).await.unwrap(), 1, "moved on behind those");
    assert_eq!(world.service.do_due().await.unwrap(), 1, "its reminder");
    world.clock.set(world.found(readable.number).await.reconfirm_until);
    assert_eq!(world.service.do_due().await.unwrap(), 1);
    assert_eq!(world.found(readable.number).await.state, State::Cancelled(CancelledBy::NotReconfirmed));
    // The list of the day, and the schedule.
    let actor = world.actor(1).await;
    world.service.my_channel(&actor).await.unwrap();
    world.service.publish().await.unwrap();
}

#[tokio::test]
async fn programs_come_on_the_schedule_a_day_before_they_begin() {
    let world = World::new().await;
    let near = world.confirmed("2026-12-02T11:00:00Z", 1).await;
    let far = world.confirmed("2026-12-03T00:00:00Z", 1).await;
    world.service.publish().await.unwrap();
    assert_eq!(world.streaming.scheduled(), [near.number]);
    world.clock.set(wall("2026-12-02T00:00:00Z"));
    world.service.publish().await.unwrap();
    assert_eq!(world.streaming.scheduled(), [near.number, far.number]);
}

#[tokio::test]
async fn a_moment_without_a_server_moves_no_deadline() {
    let world = World::new().await;
    let registered = world.registered("2026-12-02T00:00:00Z", 1).await;
    world.clock.set(wall("2026-12-01T17:59:30Z"));
    world.service.note_presence(true).await.unwrap();
    world.clock.set(wall("2026-12-01T18:00:29Z"));
    assert_eq!(world.service.note_presence(true).await.unwrap(), 0, "less than a minute");
    world.clock.set(wall("2026-12-01T18:05:00Z"));
    assert_eq!(world.service.note_presence(false).await.unwrap(), 0, "it was there, only its clock was set");
    world.turn().await;
    assert_eq!(world.found(registered.number).await.state, State::Cancelled(CancelledBy::NotReconfirmed));
}

#[tokio::test]
async fn no_deadline_moves_past_the_end_of_its_window() {
    let world = World::new().await;
    world.clock.set(wall("2026-12-01T23:45:00Z"));
    let (near, past) = (world.registered("2026-12-02T00:00:00Z", 1).await, wall("2026-12-02T00:10:00Z"));
    world.service.note_presence(true).await.unwrap();
    world.clock.set(wall("2026-12-02T00:05:00Z"));
    assert_eq!(world.service.note_presence(true).await.unwrap(), 1);
    assert_eq!(world.found(near.number).await.reconfirm_until, past);
    world.clock.set(past);
    assert_eq!(world.service.note_presence(true).await.unwrap(), 0);
    world.turn().await;
    assert_eq!(world.found(near.number).await.state, State::Cancelled(CancelledBy::NotReconfirmed));
}

#[tokio::test]
async fn a_program_of_another_key_is_left_out_and_the_others_go_on() {
    let world = World::new().await;
    let confirmed = world.confirmed("2026-12-02T00:00:00Z", 1).await;
    let operator = world.actor(4).await;
    let other = world.service_with(Vault::new(&[8; 32]));
    let theirs = other.book_special(&operator, draft(2, "2026-12-02T00:00:00Z", 1), None).await.unwrap();
    world.service.publish().await.unwrap();
    assert_eq!(world.streaming.scheduled(), [confirmed.number]);
    assert_eq!(world.service.stats().programs_without_key, 1);
    assert!(world.service.send_mails().await.is_err(), "its mail waits for the right key");
    other.publish().await.unwrap();
    assert_eq!(world.streaming.scheduled(), [theirs.number]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_processes_at_once_do_each_thing_once_on_sqlite() {
    race(World::new().await).await;
}
