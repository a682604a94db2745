//! What is kept for a while only goes; money and how programs ran stay.

use slotcast_reservation::{
    domain::{
        effects::PaymentKind,
        reservation::{Settlement, State},
    },
    limits::TOKENS_MAX,
    service::Scopes,
};
use slotcast_reservation_testing::service::*;

const DAY: std::time::Duration = std::time::Duration::from_secs(24 * 3600);

#[tokio::test]
async fn a_year_later_mails_samples_and_slots_are_gone_and_money_is_not() {
    let world = World::new().await;
    let actor = world.actor(1).await;
    let confirmed = world.confirmed("2026-12-02T00:00:00Z", 1).await;
    world.clock.set(wall("2026-12-02T00:00:00Z"));
    world.turn().await;
    world.broadcast(confirmed.number, wall("2026-12-02T00:10:06Z"), 2).await;
    world.turn().await;
    world.turn().await;
    assert_eq!(world.found(confirmed.number).await.state, State::Finished(Settlement::Charged));
    let kept = async || {
        let mut reads = world.reads().await;
        let ledger = reads.ledger_of(confirmed.number).await.unwrap();
        (
            ledger,
            reads.payments_of(confirmed.number).await.unwrap(),
            reads.run(confirmed.number).await.unwrap(),
        )
    };
    let before = kept().await;
    assert!(before.0.len() >= 3 && before.1.iter().any(|row| row.request.kind == PaymentKind::Capture));
    let samples = world.service.history(&actor, confirmed.number, ALL).await.unwrap().samples;
    assert!(!samples.items.is_empty());
    assert_eq!(world.service.remove_stale().await.unwrap(), 0, "all of it is young");
    world.clock.pass(400 * DAY);
    let mut removed = 0;
    loop {
        match world.service.remove_stale().await.unwrap() {
            0 => break,
            some => removed += some,
        }
    }
    assert!(removed >= 1 + samples.items.len() as u64 + 3, "a slot, the samples, mails: {removed}");
    assert_eq!(kept().await, before);
    assert!(world.service.history(&actor, confirmed.number, ALL).await.unwrap().samples.items.is_empty());
    let mut reads = world.reads().await;
    let (from, to) = (wall("2026-12-01T00:00:00Z"), wall("2026-12-03T00:00:00Z"));
    assert_eq!(reads.taken_starts(None, from, to).await.unwrap(), []);
}

#[tokio::test]
async fn tokens_that_have_expired_take_no_place() {
    let world = World::new().await;
    let actor = world.actor(1).await;
    let make = async |name: String| {
        world.service.make_token(&actor, &name, Scopes::of_token("read").unwrap(), DAY).await
    };
    for n in 0..TOKENS_MAX {
        make(format!("token {n}")).await.unwrap();
    }
    assert!(make("one more".to_owned()).await.is_err());
    world.clock.pass(DAY);
    make("one more".to_owned()).await.unwrap();
    assert_eq!(
        world.service.tokens(&actor).await.unwrap().len(),
        TOKENS_MAX + 1,
        "they can be seen for a week"
    );
    world.clock.pass(7 * DAY + SECOND);
    assert_eq!(world.service.remove_stale().await.unwrap(), TOKENS_MAX as u64);
}
