//! What is kept for a while only.

use std::sync::Arc;

use slotcast_reservation::{
    domain::{
        effects::{Effects, MailRequest},
        proof::{Proof, ProofKind},
        words::{MemberNumber, ReservationNumber},
    },
    store::{ApiToken, JobEnd, JobKind, KeptAnswer, Session, Stale, ViewerSample},
};

use crate::stores::{ALL, World, booking, mail, reservation, slot};

/// Takes away all of one kind that is before that slot, two rows at a time; returns how many in each part.
async fn remove(world: &World, what: Stale, before: i64) -> Vec<u64> {
    let mut parts = Vec::new();
    loop {
        let mut tx = world.store.begin().await.unwrap();
        let removed = tx.remove_stale(what, slot(before), 2).await.unwrap();
        tx.commit().await.unwrap();
        assert!(removed <= 2, "{what:?}: {removed}");
        if removed == 0 {
            return parts;
        }
        parts.push(removed);
    }
}

pub async fn what_is_old_enough_is_taken_away_in_parts(world: Arc<World>) {
    world.with_members(1).await;
    world.write(&booking(reservation(1, 1000, 5))).await.unwrap();
    let (one, member) = (ReservationNumber(1), MemberNumber(1));
    let mut tx = world.store.begin().await.unwrap();
    let samples: Vec<_> = (1000..1005).map(|at| (one, ViewerSample { at: slot(at), viewers: 1 })).collect();
    tx.add_samples(&samples).await.unwrap();
    for n in 0..3_u8 {
        let (created_at, expires_at) = (slot(900), slot(1001 + i64::from(n)));
        let session = Session { token_hash: [n; 32], member, csrf_hash: [9; 32], created_at, expires_at };
        tx.add_session(&session).await.unwrap();
        let (name, scopes) = (format!("token {n}"), "read".to_owned());
        tx.add_api_token(&ApiToken { token_hash: [n; 32], member, name, scopes, created_at, expires_at })
            .await
            .unwrap();
        let answer = KeptAnswer { request_hash: [n; 32], made: "1".to_owned() };
        tx.keep_answer("1", &n.to_string(), &answer, expires_at).await.unwrap();
        assert!(tx.first_seen(&n.to_string(), expires_at).await.unwrap());
    }
    for (kind, expires_at) in ProofKind::ALL.into_iter().zip([1001, 1003]) {
        let email = "some@example.com".parse().unwrap();
        let (serial, code_hash, expires_at) = (expires_at, [expires_at as u8; 32], slot(expires_at));
        tx.put_proof(&Proof { member, kind, serial, code_hash, email, expires_at }, slot(900)).await.unwrap();
    }
    tx.commit().await.unwrap();
    for (what, parts) in [
        (Stale::Samples, &[2, 1][..]),
        (Stale::Slots, &[2, 1]),
        (Stale::Sessions, &[2]),
        (Stale::Tokens, &[2]),
        (Stale::Answers, &[2]),
        (Stale::Events, &[2]),
        (Stale::Proofs, &[1]),
        (Stale::Mails, &[]),
    ] {
        assert_eq!(remove(&world, what, 1003).await, parts, "{what:?}");
    }
    let mut reads = world.store.read().await.unwrap();
    assert_eq!(reads.samples(one, ALL).await.unwrap().items.len(), 2);
    assert_eq!(reads.taken_starts(None, slot(0), slot(9999)).await.unwrap().len(), 2);
    assert_eq!(reads.api_tokens(member).await.unwrap().len(), 1);
}

pub async fn mails_are_kept_while_they_wait_and_while_their_program_is_not_over(world: Arc<World>) {
    world.with_members(1).await;
    let to =
        |key: &str, friend: &str, number| MailRequest { to: friend.parse().unwrap(), ..mail(key, number) };
    let mails = vec![
        to("over", "over@example.com", Some(1)),
        to("waits", "waits@example.com", Some(1)),
        to("to come", "to-come@example.com", Some(2)),
    ];
    world.write(&Effects { mails, ..booking(reservation(1, 1000, 1)) }).await.unwrap();
    world.write(&booking(reservation(2, 5000, 1))).await.unwrap();
    let mut tx = world.store.begin().await.unwrap();
    let taken = tx.take_jobs(JobKind::FriendMail, slot(1001), slot(1002), 9).await.unwrap();
    assert_eq!(taken.len(), 3);
    for key in ["over", "to come"] {
        tx.end_job(key, &JobEnd::Done, slot(1001)).await.unwrap();
    }
    tx.end_job("waits", &JobEnd::Again("451 later".to_owned(), slot(1003)), slot(1001)).await.unwrap();
    tx.commit().await.unwrap();
    assert!(remove(&world, Stale::Mails, 1000).await.is_empty(), "asked for at slot 1000");
    assert_eq!(remove(&world, Stale::Mails, 3000).await, [1]);
    let told = async |number, friend: &str| {
        let mut reads = world.store.read().await.unwrap();
        reads.told_last(ReservationNumber(number), &friend.parse().unwrap()).await.unwrap()
    };
    assert!(told(1, "over@example.com").await.is_none() && told(2, "to-come@example.com").await.is_some());
    assert_eq!(world.store.read().await.unwrap().outbox_depth().await.unwrap().mails, 1);
    assert_eq!(remove(&world, Stale::Mails, 6000).await, [1], "its program is over as well");
}
