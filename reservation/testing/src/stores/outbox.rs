//! Jobs that wait: mails and payments.

use std::{collections::BTreeSet, sync::Arc};

use slotcast_reservation::{
    domain::{
        effects::{Effects, MailKind, MailRequest, PaymentKind, Whom},
        words::{MemberNumber, ReservationNumber},
    },
    store::{Conflict, Job, JobEnd, JobKind, OutboxDepth, Payment, PaymentState, Task},
};

use crate::stores::{
    World, booking, conflict, mail, mail_of, next, patiently, payment, posted, reservation, slot,
};

async fn take_kind(world: &World, kind: JobKind, now: i64, until: i64, limit: u32) -> Vec<Job> {
    let mut tx = world.store.begin().await.unwrap();
    let taken = tx.take_jobs(kind, slot(now), slot(until), limit).await.unwrap();
    tx.commit().await.unwrap();
    taken
}

async fn take(world: &World, now: i64, until: i64, limit: u32) -> Vec<Job> {
    take_kind(world, JobKind::FriendMail, now, until, limit).await
}

async fn add(world: &World, mails: &[MailRequest]) {
    let mut tx = world.store.begin().await.unwrap();
    tx.add_mails(mails, slot(1000)).await.unwrap();
    tx.commit().await.unwrap();
}

fn keys(jobs: &[Job]) -> Vec<&str> {
    jobs.iter().map(|job| job.key.as_str()).collect()
}

pub async fn mails_keep_every_field(world: Arc<World>) {
    world.with_members(1).await;
    world.clock.set(slot(1001));
    let mails: Vec<MailRequest> = MailKind::ALL
        .into_iter()
        .map(|kind| {
            // Mails to one friend about one program follow one another.
            let to = format!("{}@example.com", kind.name()).parse().unwrap();
            MailRequest { kind, to, ..mail(&format!("mail.{}", kind.name()), Some(1)) }
        })
        .collect();
    let effects = Effects { mails: mails.clone(), ..booking(reservation(1, 1010, 1)) };
    world.write(&effects).await.unwrap();
    let welcome = MailRequest { whom: Whom::Member, changes: Vec::new(), ..mail("welcome", None) };
    let mut tx = world.store.begin().await.unwrap();
    tx.add_mails(std::slice::from_ref(&welcome), slot(1000)).await.unwrap();
    tx.commit().await.unwrap();
    let depth = world.store.read().await.unwrap().outbox_depth().await.unwrap();
    assert_eq!(
        depth,
        OutboxDepth { mails: mails.len() as u32 + 1, payments: 0, webhooks: 0, oldest: Some(slot(1000)) }
    );
    // The change was gathered for some minutes.
    let taken = take(&world, 1002, 1003, 100).await;
    assert_eq!(taken[0].created_at, slot(1001));
    assert_eq!(taken.into_iter().map(mail_of).collect::<Vec<_>>(), mails);
    let mut taken = take_kind(&world, JobKind::MemberMail, 1001, 1002, 100).await;
    assert_eq!((taken.len(), taken[0].created_at), (1, slot(1000)));
    assert_eq!(mail_of(taken.remove(0)), welcome);
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

pub async fn a_leased_job_is_given_to_nobody_else(world: Arc<World>) {
    world.with_members(1).await;
    add(&world, &[mail("a", None), mail("b", None), mail("c", None)]).await;
    assert_eq!(keys(&take(&world, 999, 1002, 9).await), [""; 0], "not before its time");
    assert_eq!(keys(&take(&world, 1000, 1002, 2).await), ["a", "b"]);
    assert_eq!(keys(&take(&world, 1001, 1003, 9).await), ["c"]);
    assert_eq!(keys(&take(&world, 1001, 1003, 9).await), [""; 0]);
    let again = take(&world, 1002, 1004, 9).await;
    assert_eq!(keys(&again), ["a", "b"], "the lease is over");
    assert_eq!(again[0].tries, 1);
}

pub async fn jobs_are_tried_again_or_given_up(world: Arc<World>) {
    world.with_members(1).await;
    add(&world, &[mail("a", None), mail("b", None), mail("c", None)]).await;
    assert_eq!(take(&world, 1000, 1001, 9).await.len(), 3);
    let mut tx = world.store.begin().await.unwrap();
    let again = |text: &str, at| JobEnd::Again(text.to_owned(), slot(at));
    for (key, end) in [
        ("a", JobEnd::Done),
        ("b", again("451 later\0 '; --", 1005)),
        ("c", JobEnd::GivenUp("550 no such user".to_owned())),
        ("a", again("a late answer", 1000)),
    ] {
        tx.end_job(key, &end, slot(1000)).await.unwrap();
    }
    tx.commit().await.unwrap();
    let depth = world.store.read().await.unwrap().outbox_depth().await.unwrap();
    assert_eq!((depth.mails, depth.oldest), (1, Some(slot(1000))));
    assert_eq!(keys(&take(&world, 1004, 1010, 9).await), [""; 0]);
    let again = take(&world, 1005, 1010, 9).await;
    assert_eq!((keys(&again), again[0].tries), (vec!["b"], 1));
}

pub async fn members_take_turns(world: Arc<World>) {
    world.with_members(3).await;
    let of = |member: i64, key: String| MailRequest { member: MemberNumber(member), ..mail(&key, None) };
    let flood: Vec<_> = (0..200).map(|n| of(1, format!("flood.{n}"))).collect();
    add(&world, &flood).await;
    assert_eq!(keys(&take(&world, 1000, 1009, 2).await), ["flood.0", "flood.1"]);
    add(&world, &[of(2, "second.0".to_owned()), of(2, "second.1".to_owned()), of(3, "third.0".to_owned())])
        .await;
    let taken = take(&world, 1000, 1009, 6).await;
    // Theirs begin where the flood is now.
    assert_eq!(keys(&taken), ["flood.2", "second.0", "third.0", "flood.3", "second.1", "flood.4"]);
}

pub async fn what_fails_for_ever_keeps_nothing_waiting(world: Arc<World>) {
    world.with_members(1).await;
    let failing: Vec<_> = (0..150).map(|n| mail(&format!("failing.{n}"), None)).collect();
    add(&world, &failing).await;
    for now in 1000..1003 {
        let taken = take(&world, now, now + 1, 200).await;
        assert_eq!(taken.len(), 150);
        let mut tx = world.store.begin().await.unwrap();
        for job in taken {
            tx.end_job(&job.key, &JobEnd::Again("no".to_owned(), slot(now + 1)), slot(now)).await.unwrap();
        }
        tx.commit().await.unwrap();
    }
    add(&world, &[mail("fresh", None)]).await;
    assert_eq!(keys(&take(&world, 1003, 1004, 1).await), ["fresh"]);
}

pub async fn a_job_that_nobody_can_read_is_given_up(world: Arc<World>) {
    world.with_members(1).await;
    add(&world, &[mail("a", None), mail("b", None)]).await;
    world.raw("UPDATE jobs SET payload = 'x' WHERE key = 'a'").await.unwrap();
    assert_eq!(keys(&take(&world, 1000, 1001, 9).await), ["b"]);
    assert_eq!(world.store.read().await.unwrap().outbox_depth().await.unwrap().mails, 1);
}

pub async fn a_payment_is_a_job_until_it_is_settled(world: Arc<World>) {
    world.with_members(1).await;
    world.clock.set(slot(1000));
    let payments =
        vec![payment("hold", PaymentKind::Authorise, 1, 5), payment("capture", PaymentKind::Capture, 1, 5)];
    world.write(&Effects { payments, ..booking(reservation(1, 1010, 1)) }).await.unwrap();
    let take = async |now, until| take_kind(&world, JobKind::Payment, now, until, 9).await;
    assert_eq!(take(999, 1002).await, []);
    let taken = take(1000, 1002).await;
    assert_eq!((keys(&taken), &taken[0].task), (vec!["hold", "capture"], &Task::Payment));
    assert_eq!(take(1001, 1003).await, []);
    let mut tx = world.store.begin().await.unwrap();
    let row = tx.payment("hold").await.unwrap().unwrap();
    let done = Payment { state: PaymentState::Done, ..row };
    tx.settle_payment(&done, &[posted("post", 1, 5)]).await.unwrap();
    let row = tx.payment("capture").await.unwrap().unwrap();
    let declined = Payment { state: PaymentState::Declined, error: Some("no money".to_owned()), ..row };
    tx.settle_payment(&declined, &[]).await.unwrap();
    assert_eq!(tx.outbox_depth().await.unwrap(), OutboxDepth::default());
    // It is asked for again.
    let again = Payment { state: PaymentState::Waiting, next_at: slot(1004), ..declined };
    tx.settle_payment(&again, &[]).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(take(1003, 1005).await, []);
    let taken = take(1004, 1006).await;
    assert_eq!((keys(&taken), taken[0].tries), (vec!["capture"], 0));
    let mut tx = world.store.begin().await.unwrap();
    tx.settle_payment(&Payment { next_at: slot(1005), ..again }, &[]).await.unwrap();
    let depth = tx.outbox_depth().await.unwrap();
    assert_eq!((depth.mails, depth.payments), (0, 1));
    tx.commit().await.unwrap();
    assert_eq!(take(1005, 1006).await[0].tries, 1, "its lease ended with the note");
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
                        let mails = tx.take_jobs(JobKind::FriendMail, slot(1000), slot(1001), 7).await?;
                        let payments = tx.take_jobs(JobKind::Payment, slot(1000), slot(1001), 7).await?;
                        tx.commit().await?;
                        Ok((mails, payments))
                    });
                    let (mails, payments) = taking.await.unwrap();
                    if mails.is_empty() && payments.is_empty() {
                        return keys;
                    }
                    keys.extend(mails.into_iter().chain(payments).map(|job| job.key));
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
