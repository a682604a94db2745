//! Webhooks, and events on their way to them.

use std::sync::Arc;

use slotcast_reservation::{
    domain::{
        effects::{Effects, LedgerKind, LedgerTransaction},
        event::{Event, EventKind},
        reservation::State,
    },
    limits::DELIVERIES_AT_ONCE,
    store::{Delivery, Job, JobEnd, JobKind, OutboxDepth, Task, Webhook},
};

use crate::stores::{ALL, World, booking, conflict, next, posted, reservation, slot};

fn webhook(id: i64) -> Webhook {
    Webhook {
        id,
        url: format!("https://example.com/{id}"),
        note: "Ours".to_owned(),
        kinds: Vec::new(),
        is_on: true,
        off_reason: None,
        issue: 1,
        old_until: None,
        created_at: slot(id),
    }
}

async fn put(world: &World, webhook: &Webhook) {
    let mut tx = world.store.begin().await.unwrap();
    tx.put_webhook(webhook).await.unwrap();
    tx.commit().await.unwrap();
}

/// Books `number`, on slots of its own, and tells of it so often.
async fn happen(world: &World, number: i64, kinds: &[EventKind]) {
    let mut effects = booking(reservation(number, 1010 + number, 1));
    for (name, kind) in kinds.iter().enumerate() {
        effects.events.push(Event::new(*kind, &effects.reservation, &name.to_string(), slot(1)));
    }
    world.write(&effects).await.unwrap();
}

async fn take(world: &World, now: i64, limit: u32) -> Vec<Job> {
    let mut tx = world.store.begin().await.unwrap();
    let taken = tx.take_jobs(JobKind::Webhook, slot(now), slot(now + 1), limit).await.unwrap();
    tx.commit().await.unwrap();
    taken
}

async fn end(world: &World, job: &Job, end: &JobEnd, now: i64) {
    let mut tx = world.store.begin().await.unwrap();
    tx.end_job(&job.key, end, slot(now)).await.unwrap();
    tx.commit().await.unwrap();
}

/// To which webhooks, and which events.
fn sent(jobs: &[Job]) -> Vec<(i64, String)> {
    let read = |job: &Job| match &job.task {
        Task::Webhook { webhook, event, .. } => (*webhook, event.clone()),
        other => panic!("{other:?}"),
    };
    jobs.iter().map(read).collect()
}

async fn deliveries(world: &World, webhook: i64) -> Vec<Delivery> {
    world.store.read().await.unwrap().deliveries(webhook, ALL).await.unwrap().items
}

pub async fn webhooks_keep_every_field(world: Arc<World>) {
    let first = webhook(1);
    let second = Webhook {
        kinds: vec![EventKind::LinkUp, EventKind::Booked],
        is_on: false,
        off_reason: Some("410".to_owned()),
        issue: 3,
        old_until: Some(slot(9)),
        ..webhook(2)
    };
    put(&world, &second).await;
    put(&world, &first).await;
    let all = world.store.read().await.unwrap().webhooks().await.unwrap();
    assert_eq!(all, [first.clone(), second]);
    let changed = Webhook { note: String::new(), url: "https://example.org/".to_owned(), ..webhook(2) };
    put(&world, &changed).await;
    assert_eq!(world.store.read().await.unwrap().webhooks().await.unwrap(), [first, changed]);
}

pub async fn events_go_to_those_who_want_them(world: Arc<World>) {
    world.with_members(1).await;
    world.clock.set(slot(1000));
    put(&world, &webhook(1)).await;
    put(&world, &Webhook { kinds: vec![EventKind::LinkUp], ..webhook(2) }).await;
    put(&world, &Webhook { is_on: false, ..webhook(3) }).await;
    happen(&world, 7, &[EventKind::Booked, EventKind::LinkUp]).await;
    let depth = world.store.read().await.unwrap().outbox_depth().await.unwrap();
    assert_eq!(depth, OutboxDepth { webhooks: 3, ..OutboxDepth::default() });
    let taken = take(&world, 1000, 9).await;
    assert_eq!(sent(&taken), [(1, "booked-7-0".to_owned()), (2, "link-up-7-1".to_owned())]);
    let Task::Webhook { body, .. } = &taken[0].task else { panic!("{taken:?}") };
    let told: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!((&told["type"], &told["data"]["number"]), (&"booked".into(), &7.into()));
    // The second of the program follows the first.
    assert_eq!(take(&world, 1000, 9).await, []);
    end(&world, &taken[0], &JobEnd::Again("500".to_owned(), slot(1003)), 1001).await;
    let others = take(&world, 1002, 9).await;
    assert_eq!(sent(&others), [(2, "link-up-7-1".to_owned())], "its lease is over");
    end(&world, &others[0], &JobEnd::Done, 1002).await;
    let again = take(&world, 1003, 9).await;
    assert_eq!((sent(&again), again[0].tries), (vec![(1, "booked-7-0".to_owned())], 1));
    end(&world, &again[0], &JobEnd::Done, 1003).await;
    assert_eq!(sent(&take(&world, 1003, 9).await)[0], (1, "link-up-7-1".to_owned()));
    let kinds: Vec<_> =
        deliveries(&world, 1).await.into_iter().map(|sent| (sent.kind, sent.tries, sent.done_at)).collect();
    assert_eq!(kinds, [("link_up".to_owned(), 1, None), ("booked".to_owned(), 2, Some(slot(1003)))]);
}

pub async fn one_webhook_that_hangs_keeps_its_own_places(world: Arc<World>) {
    world.with_members(1).await;
    world.clock.set(slot(1000));
    put(&world, &webhook(1)).await;
    for number in 1..=5 {
        happen(&world, number, &[EventKind::Booked]).await;
    }
    assert_eq!(take(&world, 1000, 99).await.len() as u32, DELIVERIES_AT_ONCE);
    put(&world, &webhook(2)).await;
    happen(&world, 6, &[EventKind::Booked]).await;
    assert_eq!(sent(&take(&world, 1000, 99).await), [(2, "booked-6-0".to_owned())]);
    assert_eq!(take(&world, 1000, 99).await, []);
    assert_eq!(take(&world, 1001, 1).await.len(), 1, "no more than asked for");
}

pub async fn the_same_event_is_sent_once_and_again_where_it_is_wished(world: Arc<World>) {
    world.with_members(1).await;
    world.clock.set(slot(1000));
    put(&world, &webhook(1)).await;
    happen(&world, 7, &[EventKind::Booked]).await;
    let event = Event::new(EventKind::Booked, &reservation(7, 1017, 1), "0", slot(1));
    let mut tx = world.store.begin().await.unwrap();
    tx.add_events(std::slice::from_ref(&event)).await.unwrap();
    tx.add_delivery(1, &event, slot(1000)).await.unwrap();
    tx.add_delivery(9, &event, slot(1000)).await.unwrap();
    tx.commit().await.unwrap();
    let taken = take(&world, 1000, 9).await;
    assert_eq!((taken.len(), deliveries(&world, 1).await.len()), (1, 1));
    end(&world, &taken[0], &JobEnd::GivenUp("500".to_owned()), 1001).await;
    assert_eq!(deliveries(&world, 1).await[0].error, Some("500".to_owned()));
    let replay = async |webhook, event: &'static str| {
        let mut tx = world.store.begin().await.unwrap();
        let was_there = tx.replay(webhook, event, slot(1002)).await.unwrap();
        tx.commit().await.unwrap();
        was_there
    };
    assert!(!replay(1, "booked-8-0").await && !replay(9, "booked-7-0").await);
    assert!(replay(1, "booked-7-0").await);
    let again = take(&world, 1002, 9).await;
    assert_eq!((sent(&again), again[0].tries), (sent(&taken), 0));
    assert!(replay(1, "booked-7-0").await, "it is on its way");
    assert_eq!(take(&world, 1002, 9).await, []);
    let mut tx = world.store.begin().await.unwrap();
    assert!(tx.end_webhook(1).await.unwrap() && !tx.end_webhook(1).await.unwrap());
    tx.commit().await.unwrap();
    assert_eq!(deliveries(&world, 1).await, []);
}

pub async fn events_stand_and_fall_with_what_caused_them(world: Arc<World>) {
    world.with_members(1).await;
    put(&world, &webhook(1)).await;
    happen(&world, 7, &[EventKind::Booked]).await;
    let taken = reservation(8, 1017, 1);
    let mut refused = booking(taken.clone());
    refused.events.push(Event::new(EventKind::Booked, &taken, "0", slot(1)));
    conflict(world.write(&refused).await);
    assert_eq!(deliveries(&world, 1).await.len(), 1);
    // What the ledger says is told as well, but for holds.
    let edited = next(&world.reservation(7).await.unwrap(), State::Confirmed);
    let hold = LedgerTransaction { kind: LedgerKind::Authorised, ..posted("authorised-7", 7, 5) };
    let ledger = vec![hold, posted("charged-7", 7, 5)];
    world.write(&Effects { ledger, ..Effects::of(edited) }).await.unwrap();
    let told: Vec<_> = deliveries(&world, 1).await.into_iter().map(|sent| (sent.kind, sent.event)).collect();
    let expected = [("charged", "charged-7"), ("booked", "booked-7-0")];
    assert_eq!(told, expected.map(|(kind, event)| (kind.to_owned(), event.to_owned())));
}
