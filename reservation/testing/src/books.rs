//! Members, operators, time and a moody payment company at random: in the end the books are right.

use std::{collections::BTreeMap, ops::RangeInclusive};

use crate::service::*;
use slotcast_core::time::WallTime;
use slotcast_reservation::{
    domain::{
        effects::{Account, PaymentKind},
        reservation::{Reservation, Settlement, State},
        words::{Amount, MemberNumber, ReservationNumber},
    },
    service::{Answer, Idempotency, ServiceError},
    store::ReservationFilter,
};

/// Steps of one run.
const STEPS: u32 = 120;

/// A small generator (splitmix64), so that a seed says everything.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

/// Refusals are part of the game; anything else is not.
#[track_caller]
fn fair<T: std::fmt::Debug>(answer: Answer<T>) {
    assert!(matches!(answer, Ok(_) | Err(ServiceError::Refused(_))), "{answer:?}");
}

async fn all(world: &World) -> Vec<Reservation> {
    world.reads().await.reservations(&ReservationFilter::default(), ALL).await.unwrap().items
}

async fn step(world: &World, dice: &mut Dice) {
    let moods = [Mood::Well, Mood::Well, Mood::Well, Mood::FailsBefore, Mood::FailsAfter, Mood::Declines];
    // Charges are never declined here: those are the operator's to settle.
    world.payments.be(moods[dice.roll(6) as usize]);
    let mut known = all(world).await;
    // Now and then somebody asks for what is over.
    if dice.roll(4) > 0 {
        known.retain(|it| !matches!(it.state, State::Finished(_) | State::Cancelled(_)));
    }
    let some = (!known.is_empty()).then(|| known[dice.roll(known.len() as u64) as usize].clone());
    match (dice.roll(13), some) {
        (0..=2, _) | (_, None) => {
            let start = 600_000_000 * (world.clock.now().as_micros() / 600_000_000 + dice.roll(9) as i64);
            let start = WallTime::from_micros(start).to_string();
            let (member, channel) = (1 + dice.roll(3) as i64, 1 + dice.roll(2) as u16);
            fair(world.book_as(member, channel, &start, 1 + dice.roll(3) as u32).await);
        }
        (3..=4, Some(it)) => {
            let actor = world.actor(it.member.0).await;
            fair(world.service.accept_terms(&actor, it.number).await);
        }
        (5..=6, Some(it)) => fair(world.reconfirm(&it).await),
        (7, Some(it)) => {
            let actor = world.actor(it.member.0).await;
            fair(world.service.extend(&actor, it.number, 1, None).await);
        }
        (8, Some(it)) if dice.roll(3) == 0 => {
            let who = if dice.roll(2) == 0 { it.member.0 } else { 4 };
            fair(world.service.cancel(&world.actor(who).await, it.number, None).await);
        }
        (9, Some(it)) if dice.roll(3) == 0 => {
            let actor = world.actor(it.member.0).await;
            fair(world.service.end_early(&actor, it.number).await);
        }
        (11, _) => give_back(world, dice).await,
        (10, _) if dice.roll(5) == 0 => world.clock.step(if dice.roll(2) == 0 { 3600 } else { -3600 }),
        _ => pass(world, dice).await,
    }
}

/// The operator gives back some or all of what somebody was charged with.
async fn give_back(world: &World, dice: &mut Dice) {
    let mut known = all(world).await;
    known.retain(|it| it.state == State::Finished(Settlement::Charged));
    if !known.is_empty() {
        let number = known[dice.roll(known.len() as u64) as usize].number;
        let part = Amount::new(1 + dice.roll(3000) as i64).unwrap();
        let amount = (dice.roll(4) > 0).then_some(part);
        let key = Some(Idempotency { key: dice.roll(u64::MAX).to_string(), request_hash: [0; 32] });
        fair(world.service.refund(&world.actor(4).await, number, amount, "it froze", key).await);
    }
}

/// Time passes, in which what is due is done, and money moves in whatever mood but declining.
async fn pass(world: &World, dice: &mut Dice) {
    if *world.payments.mood.lock() == Mood::Declines {
        world.payments.be(Mood::FailsAfter);
    }
    for _ in 0..1 + dice.roll(4) {
        world.clock.pass(MINUTE * (1 + dice.roll(4) as u32));
        world.service.observe().await.unwrap();
        world.service.do_due().await.unwrap();
        world.service.move_due_money().await.unwrap();
        world.service.publish().await.unwrap();
    }
}

async fn end(world: &World) {
    world.payments.be(Mood::Well);
    for _ in 0..40 {
        world.clock.pass(HOUR);
        world.turn().await;
    }
}

async fn check(world: &World, seed: u64) {
    let known = all(world).await;
    let is_over = |it: &Reservation| matches!(it.state, State::Finished(_) | State::Cancelled(_));
    assert!(known.iter().all(is_over), "seed {seed}");
    let done = world.payments.done.lock().clone();
    let held: Vec<_> = done.iter().filter(|(_, kind, _)| *kind == PaymentKind::Authorise).collect();
    let mut ends = BTreeMap::new();
    let is_end = |kind| matches!(kind, PaymentKind::Capture | PaymentKind::Release);
    for (key, ..) in done.iter().filter(|(_, kind, _)| is_end(*kind)) {
        let hold = key.split_once('-').unwrap().1;
        assert_eq!(ends.insert(hold.to_owned(), key.clone()), None, "seed {seed}: a hold ended twice");
    }
    for (key, ..) in &held {
        assert!(ends.contains_key(key), "seed {seed}: {key} was neither taken nor let go");
    }
    let mut sum = world.balance(Account::Holds).await;
    for member in (1..=3).map(MemberNumber) {
        assert_eq!(world.balance(Account::MemberHolds(member)).await, 0, "seed {seed}");
        assert_eq!(world.balance(Account::Receivable(member)).await, 0, "seed {seed}");
    }
    let cash = world.balance(Account::Cash).await;
    sum += cash + world.balance(Account::Revenue).await;
    assert_eq!(sum, 0, "seed {seed}: double entry");
    let kept = world.payments.sum(PaymentKind::Capture) - world.payments.sum(PaymentKind::Refund);
    assert_eq!(cash, kept, "seed {seed}");
    let mut keys = world.post.keys("");
    let sent = keys.len();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), sent, "seed {seed}: each mail once");
    check_slots(&known, seed);
}

/// Of those that were ever confirmed and not cancelled, no two share a moment of a channel.
fn check_slots(known: &[Reservation], seed: u64) {
    let ran: Vec<_> = known.iter().filter(|it| matches!(it.state, State::Finished(_))).collect();
    let number = |it: &Reservation| -> ReservationNumber { it.number };
    for (at, one) in ran.iter().enumerate() {
        for other in &ran[at + 1..] {
            let clash = one.channel == other.channel && one.window.overlaps(other.window);
            assert!(!clash, "seed {seed}: {} and {}", number(one), number(other));
        }
    }
}

/// Plays one game for each seed. Each hold ends once, each mail is sent once, and the books are right in the end.
///
/// Panics too where fewer than one game in three had a refund, or one in two a charge: such games test nothing.
pub async fn play(seeds: RangeInclusive<u64>) {
    let games = seeds.clone().count();
    let (mut captures, mut refunds) = (0, 0);
    for seed in seeds {
        let mut rules = rules();
        rules.reconfirm_before = 20 * MINUTE;
        // So that about half of them are charged.
        rules.normal_share_min = 5;
        let world = World::with(rules, wall("2026-12-01T12:00:00Z")).await;
        let mut dice = Dice(seed);
        for _ in 0..STEPS {
            step(&world, &mut dice).await;
        }
        end(&world).await;
        check(&world, seed).await;
        captures += world.payments.count(PaymentKind::Capture);
        refunds += world.payments.count(PaymentKind::Refund);
    }
    assert!(captures >= games / 2, "only {captures} were charged in {games} games");
    assert!(refunds >= games / 3, "only {refunds} refunds in {games} games");
}
