//! Mails and payments that wait.

use std::{collections::BTreeSet, sync::Arc};

use slotcast_reservation::{
    domain::{
        effects::{Effects, MailKind, MailRequest, PaymentKind},
        words::ReservationNumber,
    },
    store::{Conflict, OutboxDepth, PaymentState, WaitingMail},
};

use crate::stores::{
    World, booking, broken, conflict, mail, next, patiently, payment, posted, reservation, slot,
};

async fn take(world: &World, now: i64, until: i64, limit: u32) -> Vec<WaitingMail> {
    let mut tx = world.store.begin().await.unwrap();
    let taken = tx.take_mails(slot(now), slot(until), limit).await.unwrap();
    tx.commit().await.unwrap();
    taken
}

fn keys(mails: &[WaitingMail]) -> Vec<&str> {
    mails.iter().map(|mail| mail.request.key.as_str()).collect()
}

pub async fn mails_keep_every_field(world: Arc<World>) {
    world.with_members(1).await;
    world.clock.set(slot(1001));
    let mails: Vec<MailRequest> = MailKind::ALL
        .into_iter()
        .map(|kind| MailRequest { kind, ..mail(&format!("mail.{}", kind.name()), Some(1)) })
        .collect();
    let effects = Effects { mails: mails.clone(), ..booking(reservation(1, 1010, 1)) };
    world.write(&effects).await.unwrap();
    let welcome = MailRequest { changes: Vec::new(), ..mail("welcome", None) };
    let mut tx = world.store.begin().await.unwrap();
    tx.add_mails(std::slice::from_ref(&welcome), slot(1000)).await.unwrap();
    tx.commit().await.unwrap();
    let depth = world.store.read().await.unwrap().outbox_depth().await.unwrap();
    assert_eq!(depth, OutboxDepth { mails: mails.len() as u32 + 1, payments: 0, oldest: Some(slot(1000)) });
    let taken = take(&world, 1001, 1002, 100).await;
    let requests: Vec<&MailRequest> = taken.iter().map(|mail| &mail.request).collect();
    assert_eq!(requests, mails.iter().chain([&welcome]).collect::<Vec<_>>());
    assert_eq!(taken[0].created_at, slot(1001));
    assert_eq!(taken.last().unwrap().created_at, slot(1000));
}

pub async fn a_key_that_exists_refuses_the_whole_write(world: Arc<World>) {
    world.with_members(1).await;
    let first = reservation(1, 1000, 1);
    let effects = Effects {
        mails: vec![mail("mail", Some(1))],
        payments: vec![payment("pay", PaymentKind::Capture, 1, 5)],
        ledger: vec![posted("post", 1, 5)],
        ..booking(first.clone())
    };
    world.write(&effects).await.unwrap();
    let edited = Effects::of(next(&first, first.state));
    for effects in [
        Effects { mails: vec![mail("other", Some(1)), mail("mail", Some(1))], ..edited.clone() },
        Effects { payments: vec![payment("pay", PaymentKind::Capture, 1, 5)], ..edited.clone() },
        Effects { ledger: vec![posted("other", 1, 5), posted("post", 1, 5)], ..edited.clone() },
        Effects { ledger: vec![posted("twice", 1, 5), posted("twice", 1, 5)], ..edited },
    ] {
        assert_eq!(conflict(world.write(&effects).await), Conflict::Key);
    }
    assert_eq!(world.reservation(1).await, Some(first));
    let mut reads = world.store.read().await.unwrap();
    assert_eq!(reads.ledger_of(ReservationNumber(1)).await.unwrap().len(), 1);
    assert_eq!(reads.outbox_depth().await.unwrap().mails, 1);
}

pub async fn a_leased_mail_is_given_to_nobody_else(world: Arc<World>) {
    world.with_members(1).await;
    let mut tx = world.store.begin().await.unwrap();
    tx.add_mails(&[mail("a", None), mail("b", None), mail("c", None)], slot(1000)).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(keys(&take(&world, 999, 1002, 9).await), [""; 0], "not before its time");
    assert_eq!(keys(&take(&world, 1000, 1002, 2).await), ["a", "b"]);
    assert_eq!(keys(&take(&world, 1001, 1003, 9).await), ["c"]);
    assert_eq!(keys(&take(&world, 1001, 1003, 9).await), [""; 0]);
    let again = take(&world, 1002, 1004, 9).await;
    assert_eq!(keys(&again), ["a", "b"], "the lease is over");
    assert_eq!(again[0].tries, 1);
}

pub async fn mails_are_tried_again_or_given_up(world: Arc<World>) {
    world.with_members(1).await;
    let mut tx = world.store.begin().await.unwrap();
    tx.add_mails(&[mail("a", None), mail("b", None), mail("c", None)], slot(1000)).await.unwrap();
    assert_eq!(tx.take_mails(slot(1000), slot(1001), 9).await.unwrap().len(), 3);
    tx.mail_sent("a", slot(1000)).await.unwrap();
    tx.mail_failed("b", "451 later\0 '; --", Some(slot(1005))).await.unwrap();
    tx.mail_failed("c", "550 no such user", None).await.unwrap();
    tx.mail_failed("a", "a late answer", Some(slot(1000))).await.unwrap();
    tx.commit().await.unwrap();
    let depth = world.store.read().await.unwrap().outbox_depth().await.unwrap();
    assert_eq!((depth.mails, depth.oldest), (1, Some(slot(1000))));
    assert_eq!(keys(&take(&world, 1004, 1010, 9).await), [""; 0]);
    let again = take(&world, 1005, 1010, 9).await;
    assert_eq!((keys(&again), again[0].tries), (vec!["b"], 1));
    let mut tx = world.store.begin().await.unwrap();
    assert!(broken(tx.mail_sent("none", slot(1000)).await).contains("none"));
}

pub async fn payments_are_taken_by_kind(world: Arc<World>) {
    world.with_members(1).await;
    world.clock.set(slot(1000));
    let payments = vec![
        payment("hold", PaymentKind::Authorise, 1, 5),
        payment("capture", PaymentKind::Capture, 1, 5),
        payment("release", PaymentKind::Release, 1, 5),
        payment("refund", PaymentKind::Refund, 1, 5),
    ];
    world.write(&Effects { payments, ..booking(reservation(1, 1010, 1)) }).await.unwrap();
    let outgoing = [PaymentKind::Capture, PaymentKind::Release];
    let mut tx = world.store.begin().await.unwrap();
    assert_eq!(tx.take_payments(slot(1000), slot(1002), &[], 9).await.unwrap(), []);
    assert_eq!(tx.take_payments(slot(999), slot(1002), &outgoing, 9).await.unwrap(), []);
    let mut taken = tx.take_payments(slot(1000), slot(1002), &outgoing, 9).await.unwrap();
    let keys: Vec<&str> = taken.iter().map(|payment| payment.request.key.as_str()).collect();
    assert_eq!((keys, taken[0].tries, taken[0].next_at), (vec!["capture", "release"], 0, slot(1002)));
    assert_eq!(tx.take_payments(slot(1001), slot(1003), &outgoing, 9).await.unwrap(), []);
    taken[0].state = PaymentState::Done;
    tx.settle_payment(&taken[0], &[posted("post", 1, 5)]).await.unwrap();
    let left = tx.take_payments(slot(1002), slot(1004), &outgoing, 9).await.unwrap();
    assert_eq!((left.len(), left[0].tries), (1, 1), "done ones are not taken again");
    assert_eq!(tx.payment("capture").await.unwrap().unwrap().tries, 1, "the try at the taking counts");
    let depth = tx.outbox_depth().await.unwrap();
    assert_eq!((depth.payments, depth.oldest), (3, Some(slot(1000))));
    tx.commit().await.unwrap();
}

pub async fn many_takers_never_get_the_same(world: Arc<World>) {
    const MAILS: usize = 120;
    world.with_members(1).await;
    let mails: Vec<MailRequest> = (0..MAILS).map(|n| mail(&format!("mail.{n}"), None)).collect();
    let payments = (0..MAILS).map(|n| payment(&format!("pay.{n}"), PaymentKind::Capture, 1, 5)).collect();
    world.clock.set(slot(1000));
    world.write(&Effects { mails, payments, ..booking(reservation(1, 1010, 1)) }).await.unwrap();
    let takers: Vec<_> = (0..8)
        .map(|_| {
            let world = Arc::clone(&world);
            tokio::spawn(async move {
                let mut keys = Vec::new();
                loop {
                    let taking = patiently(|| async {
                        let mut tx = world.store.begin().await?;
                        let mails = tx.take_mails(slot(1000), slot(1001), 7).await?;
                        let kinds = [PaymentKind::Capture];
                        let payments = tx.take_payments(slot(1000), slot(1001), &kinds, 7).await?;
                        tx.commit().await?;
                        Ok((mails, payments))
                    });
                    let (mails, payments) = taking.await.unwrap();
                    if mails.is_empty() && payments.is_empty() {
                        return keys;
                    }
                    keys.extend(mails.into_iter().map(|mail| mail.request.key));
                    keys.extend(payments.into_iter().map(|payment| payment.request.key));
                }
            })
        })
        .collect();
    let mut all = Vec::new();
    for taker in takers {
        all.extend(taker.await.unwrap());
    }
    assert_eq!(all.len(), 2 * MAILS);
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 2 * MAILS, "nothing was given twice");
}
