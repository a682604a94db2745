//! Many at once, and those who leave in the middle.

use std::{collections::BTreeMap, future::poll_fn, pin::pin, sync::Arc, task::Poll};

use slotcast_core::words::ChannelNumber;
use slotcast_reservation::{
    domain::{
        reservation::{Reservation, State},
        words::{MemberNumber, ReservationNumber},
    },
    store::{Conflict, Scheduled, StoreError},
};

use crate::stores::{World, booking, broken, channel, conflict, mail, member, patiently, reservation, slot};

const BOOKERS: i64 = 64;

pub async fn sixty_four_bookers_share_no_slot(world: Arc<World>) {
    world.with_members(1).await;
    let bookers: Vec<_> = (1..=BOOKERS)
        .map(|number| {
            let world = Arc::clone(&world);
            // Windows of 5 slots that begin at 16 places: each slot is wanted by about 20.
            let wanted = reservation(number, 1000 + number * 7 % 16, 5);
            tokio::spawn(async move {
                let done = world.write(&booking(wanted.clone())).await;
                (wanted, done)
            })
        })
        .collect();
    let mut expected = BTreeMap::new();
    for booker in bookers {
        let (wanted, done) = booker.await.unwrap();
        match done {
            Ok(()) => {
                for n in 0..5 {
                    let start = slot(wanted.window.start().as_micros() / crate::stores::SLOT + n);
                    assert_eq!(expected.insert(start, wanted.number), None, "{start} was sold twice");
                }
            }
            Err(StoreError::Conflict(Conflict::Slots(taken))) => {
                assert!(!taken.is_empty() && taken.iter().all(|start| wanted.window.contains(*start)));
                assert_eq!(world.reservation(wanted.number.0).await, None);
            }
            other => panic!("{other:?}"),
        }
    }
    let mut reads = world.store.read().await.unwrap();
    let slots = reads.taken_slots(ChannelNumber(1), slot(0), slot(9999)).await.unwrap();
    let found: BTreeMap<_, _> = slots.iter().map(|slot| (slot.start, slot.reservation)).collect();
    assert_eq!(found, expected);
    let everywhere = reads.taken_starts(None, slot(0), slot(9999)).await.unwrap();
    assert_eq!(everywhere.len(), expected.len());
    assert!(!expected.is_empty());
}

pub async fn the_month_limit_holds_among_bookers_at_once(world: Arc<World>) {
    const LIMIT: u32 = 10;
    world.with_members(1).await;
    let bookers: Vec<_> = (1..=BOOKERS)
        .map(|number| {
            let world = Arc::clone(&world);
            tokio::spawn(async move {
                patiently(|| async {
                    let mut tx = world.store.begin().await?;
                    tx.lock_member(MemberNumber(1)).await?;
                    if tx.slots_of(MemberNumber(1), slot(0), slot(99_999)).await? >= LIMIT {
                        return Ok(false);
                    }
                    tx.write(&booking(reservation(number, 1000 + number, 1))).await?;
                    tx.commit().await.map(|()| true)
                })
                .await
            })
        })
        .collect();
    let mut booked = 0;
    for booker in bookers {
        booked += u32::from(booker.await.unwrap().unwrap());
    }
    assert_eq!(booked, LIMIT);
    let slots = world.store.read().await.unwrap().slots_of(MemberNumber(1), slot(0), slot(99_999)).await;
    assert_eq!(slots.unwrap(), LIMIT);
}

pub async fn a_dropped_transaction_leaves_nothing(world: Arc<World>) {
    world.with_members(1).await;
    for _ in 0..20 {
        patiently(|| async {
            let mut tx = world.store.begin().await?;
            tx.write(&booking(reservation(1, 1000, 3))).await?;
            tx.add_member(&member(2)).await?;
            tx.add_mails(&[mail("a", None)], slot(1000)).await
        })
        .await
        .unwrap();
        let mut reads = world.store.read().await.unwrap();
        assert_eq!(reads.reservation(ReservationNumber(1)).await.unwrap(), None);
        assert_eq!(reads.taken_starts(None, slot(0), slot(9999)).await.unwrap(), []);
        assert_eq!(reads.outbox_depth().await.unwrap().mails, 0);
    }
    world.write(&booking(reservation(1, 1000, 3))).await.unwrap();
}

pub async fn a_failed_transaction_is_never_committed(world: Arc<World>) {
    world.with_members(1).await;
    world.write(&booking(reservation(1, 1000, 1))).await.unwrap();
    let mut tx = world.store.begin().await.unwrap();
    tx.add_member(&member(2)).await.unwrap();
    assert_eq!(conflict(tx.add_member(&member(1)).await), Conflict::Key);
    broken(tx.member(MemberNumber(1)).await);
    broken(tx.commit().await);
    let mut tx = world.store.begin().await.unwrap();
    tx.add_member(&member(2)).await.unwrap();
    conflict(tx.write(&booking(reservation(2, 1000, 1))).await);
    broken(tx.commit().await);
    assert_eq!(world.store.read().await.unwrap().member(MemberNumber(2)).await.unwrap(), None);
}

/// Drops the future after it was polled `polls` times. `None`: it was dropped before its end.
async fn cancelled_after<T>(polls: u32, future: impl Future<Output = T>) -> Option<T> {
    let (mut future, mut left) = (pin!(future), polls);
    poll_fn(move |context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        future.as_mut().poll(context).map(Some)
    })
    .await
}

pub async fn a_cancelled_booking_is_whole_or_nothing(world: Arc<World>) {
    world.with_members(1).await;
    let (mut whole, mut nothing) = (0, 0);
    for number in 1..=80 {
        let wanted = Reservation { state: State::Confirmed, ..reservation(number, 1000 + 3 * number, 3) };
        let mut effects = booking(wanted);
        effects.mails = vec![mail(&format!("mail.{number}"), Some(number))];
        let done = cancelled_after(number as u32, world.write(&effects)).await;
        let mut reads = world.store.read().await.unwrap();
        let there = reads.reservation(ReservationNumber(number)).await.unwrap().is_some();
        drop(reads);
        if let Some(done) = done {
            done.unwrap();
            assert!(there, "{number} was confirmed");
        }
        if there {
            whole += 1
        } else {
            nothing += 1
        }
        // Whoever comes next finds nothing left of it.
        let other = reservation(1000 + number, 5000 + number, 1);
        world.write(&booking(other)).await.unwrap();
    }
    assert!(whole > 0 && nothing > 0, "{whole} whole, {nothing} nothing");
    let mut reads = world.store.read().await.unwrap();
    let slots = reads.taken_starts(None, slot(0), slot(5000)).await.unwrap();
    let mails = reads.outbox_depth().await.unwrap().mails as usize;
    let stored = reads.scheduled(Scheduled::All, slot(0), slot(1_000_000)).await.unwrap().len();
    assert_eq!((slots.len(), mails), (3 * stored, stored), "each has all its slots and its mail");
}

pub async fn a_reader_sees_one_moment(world: Arc<World>) {
    world.with_members(1).await;
    let mut reads = world.store.read().await.unwrap();
    assert_eq!(reads.reservation(ReservationNumber(1)).await.unwrap(), None);
    world.write(&booking(reservation(1, 1000, 1))).await.unwrap();
    assert_eq!(reads.reservation(ReservationNumber(1)).await.unwrap(), None);
    assert_eq!(reads.taken_starts(None, slot(0), slot(9999)).await.unwrap(), []);
    drop(reads);
    assert!(world.reservation(1).await.is_some());
}

pub async fn a_reader_waits_for_no_writer(world: Arc<World>) {
    world.with_members(1).await;
    let mut tx = world.store.begin().await.unwrap();
    tx.lock_member(MemberNumber(1)).await.unwrap();
    tx.write(&booking(reservation(1, 1000, 1))).await.unwrap();
    let mut reads = world.store.read().await.unwrap();
    assert!(reads.member(MemberNumber(1)).await.unwrap().is_some());
    assert_eq!(reads.reservation(ReservationNumber(1)).await.unwrap(), None);
    drop(reads);
    assert!(tx.reservation(ReservationNumber(1)).await.unwrap().is_some(), "the writer sees its own");
    tx.commit().await.unwrap();
}

pub async fn revisions_grow_with_every_writer(world: Arc<World>) {
    world.with_members(1).await;
    let before = world.store.read().await.unwrap().schedule_revision().await.unwrap();
    let writers: Vec<_> = (10..42)
        .map(|number| {
            let world = Arc::clone(&world);
            tokio::spawn(async move {
                patiently(|| async {
                    let mut tx = world.store.begin().await?;
                    tx.put_channel(&channel(number)).await?;
                    tx.commit().await
                })
                .await
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap().unwrap();
    }
    let after = world.store.read().await.unwrap().schedule_revision().await.unwrap();
    assert_eq!(after, before + 32);
}
