//! Several processes over one database, of any kind: each thing is done once.

use std::sync::Arc;

use slotcast_reservation::{
    domain::{
        effects::{Account, PaymentKind},
        refusal::Refusal,
        reservation::State,
        words::MemberNumber,
    },
    service::{Idempotency, Service},
};

use crate::service::*;

const ONE: MemberNumber = MemberNumber(1);

/// Three services over the world's store book, reconfirm and settle the same hours at once.
pub async fn race(world: World) {
    let world = Arc::new(world);
    let services: Vec<_> = (0..3).map(|_| world.another_service()).collect();
    // Everybody wants the same hours.
    let mut bookings = tokio::task::JoinSet::new();
    for (at, service) in services.iter().cycle().take(24).enumerate() {
        let (service, member, hour) = (service.clone(), at as i64 % 3 + 1, at / 6);
        let actor = world.actor(member).await;
        bookings.spawn(async move {
            let draft = draft(1, &format!("2026-12-02T0{hour}:00:00Z"), 1 + at as u32 % 3);
            service.book(&actor, draft, None, "192.0.2.1".parse().unwrap()).await
        });
    }
    let mut won = Vec::new();
    while let Some(booked) = bookings.join_next().await {
        match booked.unwrap() {
            Ok(reservation) => won.push(reservation),
            Err(error) => {
                let refused = refusal::<()>(Err(error));
                assert!(matches!(refused, Refusal::SlotTaken { .. }), "{refused:?}");
            }
        }
    }
    assert_eq!(won.len(), 4, "one for each hour");
    one_slot(&world, &services).await;
    one_key(&world, &services).await;
    // Each is reconfirmed by all at once.
    for held in &won {
        let actor = world.actor(held.member.0).await;
        let registered = services[0].accept_terms(&actor, held.number).await.unwrap();
        let id = world.id(&registered);
        let all = tokio::join!(
            services[0].reconfirm(&actor, held.number, &id, None),
            services[1].reconfirm(&actor, held.number, &id, None),
            services[2].reconfirm(&actor, held.number, &id, None)
        );
        for answer in [all.0, all.1, all.2] {
            assert_eq!(answer.unwrap().state, State::Confirmed);
        }
    }
    all_turn(&services).await;
    world.clock.set(wall("2026-12-02T05:00:00Z"));
    all_turn(&services).await;
    assert_eq!(world.payments.count(PaymentKind::Authorise), 4);
    assert_eq!(world.payments.count(PaymentKind::Release), 4);
    for number in 1..=3 {
        assert_eq!(world.balance(Account::MemberHolds(MemberNumber(number))).await, 0);
    }
    let mut keys = world.post.keys("");
    let sent = keys.len();
    keys.sort();
    keys.dedup();
    assert_eq!((keys.len(), sent), (16, 16), "ID, confirmed, invitation, settled for each; each once");
    assert_eq!(world.balance(Account::Receivable(ONE)).await, 0);
}

/// Fifty clients want one slot: one has it, the others are told so, and nothing is left of theirs.
async fn one_slot(world: &World, services: &[Service]) {
    let mut clients = tokio::task::JoinSet::new();
    for (at, service) in services.iter().cycle().take(50).enumerate() {
        let (service, actor) = (service.clone(), world.actor(at as i64 % 3 + 1).await);
        clients.spawn(async move {
            let draft = draft(2, "2026-12-02T06:00:00Z", 1);
            (actor, service.book(&actor, draft, None, "192.0.2.1".parse().unwrap()).await)
        });
    }
    let (mut won, mut lost) = (Vec::new(), 0);
    for (actor, booked) in clients.join_all().await {
        match booked {
            Ok(reservation) => won.push((actor, reservation)),
            Err(error) => {
                let refused = refusal::<()>(Err(error));
                assert!(
                    matches!(&refused, Refusal::SlotTaken { taken, .. } if taken.len() == 1),
                    "{refused:?}"
                );
                lost += 1;
            }
        }
    }
    let [(winner, held)] = &won[..] else { panic!("{} have it", won.len()) };
    assert_eq!(lost, 49);
    let window = held.window;
    let taken = world.reads().await.taken_slots(held.channel, window.start(), window.end()).await.unwrap();
    assert_eq!(taken.iter().map(|slot| slot.reservation).collect::<Vec<_>>(), [held.number]);
    services[0].cancel(winner, held.number, None).await.unwrap();
}

/// The same request comes to all at once: it books once, and every answer is that booking.
async fn one_key(world: &World, services: &[Service]) {
    let actor = world.actor(1).await;
    for round in 0..5 {
        let mut repeats = tokio::task::JoinSet::new();
        for service in services {
            let service = service.clone();
            repeats.spawn(async move {
                let key = Idempotency { key: format!("round {round}"), request_hash: [round; 32] };
                let draft = draft(2, &format!("2026-12-02T0{round}:00:00Z"), 1);
                service.book(&actor, draft, Some(key), "192.0.2.1".parse().unwrap()).await.unwrap().number
            });
        }
        let made = repeats.join_all().await;
        assert!(made.iter().all(|number| *number == made[0]), "{made:?}");
        services[0].cancel(&actor, made[0], None).await.unwrap();
    }
}

/// All do what is due at once, until nothing is.
async fn all_turn(services: &[Service]) {
    for _ in 0..50 {
        let mut turns = tokio::task::JoinSet::new();
        for service in services {
            let service = service.clone();
            turns.spawn(async move {
                let done = service.do_due().await.unwrap();
                done + service.send_mails().await.unwrap() + service.move_due_money().await.unwrap()
            });
        }
        let done: u32 = turns.join_all().await.into_iter().sum();
        if done == 0 {
            return;
        }
    }
    panic!("no end");
}
