//! The schedule goes to the streaming side by what differs.

use slotcast_core::words::{ChannelNumber, Seats};
use slotcast_reservation::service::{ChannelEdit, OperatorEdit, ProgramEdit};
use slotcast_reservation_testing::{service::*, stock};

/// What the streaming side was told since the last look: whether as a whole, how many programs, how many that are gone.
fn told(world: &World) -> Vec<(bool, usize, usize)> {
    std::mem::take(&mut world.streaming.told.lock())
}

#[tokio::test]
async fn only_what_changed_is_handed_over() {
    let world = World::new().await;
    let (actor, operator) = (world.actor(1).await, world.actor(4).await);
    let first = world.confirmed("2026-12-02T00:00:00Z", 1).await;
    let second = world.confirmed("2026-12-02T01:00:00Z", 1).await;
    world.service.publish().await.unwrap();
    assert_eq!(told(&world), [(true, 2, 0)]);
    assert!(!world.service.publish().await.unwrap(), "nothing is new");
    let edit = ProgramEdit { title: Some("The lake".to_owned()), ..ProgramEdit::default() };
    world.service.change(&actor, first.number, None, edit).await.unwrap();
    assert!(world.service.publish().await.unwrap());
    assert_eq!(told(&world), [(false, 1, 0)]);
    let is_blocked = |is| OperatorEdit { is_blocked: Some(is), ..OperatorEdit::default() };
    world.service.edit_member(&operator, first.member, None, is_blocked(true)).await.unwrap();
    world.service.publish().await.unwrap();
    world.service.edit_member(&operator, first.member, None, is_blocked(false)).await.unwrap();
    world.service.publish().await.unwrap();
    assert_eq!(told(&world), [(false, 0, 2), (false, 2, 0)]);
    world.service.cancel(&actor, second.number, None).await.unwrap();
    world.service.publish().await.unwrap();
    assert_eq!((told(&world), world.streaming.scheduled()), (vec![(false, 0, 1)], vec![first.number]));
    // What ran to its end stays until nobody can connect to it any more.
    world.clock.set(wall("2026-12-02T00:00:00Z"));
    world.turn().await;
    world.clock.set(wall("2026-12-02T00:10:00Z"));
    world.turn().await;
    assert_eq!(world.streaming.scheduled(), [first.number]);
    world.clock.set(wall("2026-12-02T01:00:00Z"));
    world.turn().await;
    assert_eq!((world.streaming.scheduled(), told(&world).pop()), (vec![], Some((false, 0, 1))));
}

#[tokio::test]
async fn only_the_next_day_of_a_large_stock_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("slotcast.db").display().to_string();
    stock::only_the_next_day_of_a_large_stock_is_read(&place).await;
}

#[tokio::test]
async fn a_members_edits_of_the_own_data_are_no_matter_of_the_schedule() {
    let world = World::new().await;
    world.confirmed("2026-12-02T00:00:00Z", 1).await;
    world.service.publish().await.unwrap();
    let (actor, client) = (world.actor(1).await, "192.0.2.1".parse().unwrap());
    let edit =
        slotcast_reservation::service::MemberEdit { name: Some("Hanako".to_owned()), ..Default::default() };
    world.service.edit_me(&actor, None, edit, client).await.unwrap();
    assert!(!world.service.publish().await.unwrap());
}

#[tokio::test]
async fn who_was_away_longer_than_changes_are_kept_reads_it_all() {
    let world = World::new().await;
    world.confirmed("2026-12-02T00:00:00Z", 1).await;
    world.service.publish().await.unwrap();
    world.confirmed("2026-12-02T01:00:00Z", 1).await;
    world
        .raw("DELETE FROM schedule_changes WHERE revision = (SELECT max(revision) FROM schedule_changes)")
        .await;
    world.service.publish().await.unwrap();
    assert_eq!(told(&world), [(true, 1, 0), (true, 2, 0)]);
    // So does who finds its clock set.
    world.clock.step(3600);
    world.service.publish().await.unwrap();
    assert_eq!(told(&world), [(true, 2, 0)]);
}

#[tokio::test]
async fn a_refused_schedule_is_tried_again_as_a_whole_when_it_changes_or_a_minute_later() {
    let world = World::new().await;
    let first = world.confirmed("2026-12-02T00:00:00Z", 1).await;
    *world.streaming.refuses.lock() = true;
    assert!(world.service.publish().await.is_err());
    assert!(!world.service.publish().await.unwrap(), "it would be refused again");
    world.clock.pass(MINUTE);
    assert!(world.service.publish().await.is_err());
    let second = world.confirmed("2026-12-02T01:00:00Z", 1).await;
    *world.streaming.refuses.lock() = false;
    world.service.publish().await.unwrap();
    assert_eq!(told(&world), [(true, 2, 0)]);
    assert_eq!(world.streaming.scheduled(), [first.number, second.number]);
}

#[tokio::test]
async fn a_channel_keeps_what_its_programs_were_promised_while_they_are_on_the_schedule() {
    let world = World::new().await;
    let operator = world.actor(4).await;
    let confirmed = world.confirmed("2026-12-02T00:00:00Z", 1).await;
    let sold = world.service.channel(confirmed.channel).await.unwrap();
    let less = ChannelEdit {
        number: sold.number,
        name: sold.name.clone(),
        seats: Seats::new(1).unwrap(),
        class: "9.6kbit/s".parse().unwrap(),
        toll: sold.toll,
        gather: None,
    };
    let of = |number: ChannelNumber| {
        let schedule = world.streaming.schedule.lock();
        schedule.channels.iter().find(|channel| channel.number == number).map(|its| (its.seats, its.class))
    };
    world.service.publish().await.unwrap();
    world.service.put_channel(&operator, less.clone(), Some(sold.version)).await.unwrap();
    world.service.publish().await.unwrap();
    assert_eq!(of(sold.number), Some((confirmed.seats, confirmed.class)));
    world.service.retire_channel(&operator, sold.number, None).await.unwrap();
    world.service.publish().await.unwrap();
    assert_eq!(of(sold.number), Some((confirmed.seats, confirmed.class)), "retired, with a program left");
    world.service.cancel(&world.actor(1).await, confirmed.number, None).await.unwrap();
    world.service.publish().await.unwrap();
    assert_eq!(of(sold.number), None);
}
