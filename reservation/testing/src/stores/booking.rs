//! Channels, reservations and their slots.

use std::{sync::Arc, time::Duration};

use slotcast_core::{
    time::WallTime,
    words::{BitRate, ChannelNumber, OpenLevel, Seats, Toll},
};
use slotcast_reservation::{
    domain::{
        effects::{Effects, SlotChange},
        member::Member,
        reservation::{
            CancelledBy, ProgramDetails, ProgramKind, ProgramPassword, Reservation, ReservationIdHash,
            Settlement, SoldChannel, State,
        },
        words::{MemberNumber, ReservationNumber},
    },
    limits::GATHER_MAX,
    store::{
        Conflict, Due, DueAt, Page, Pickup, ReservationFilter, Run, ScheduleChange, Scheduled, StoreError,
        TakenSlot, ViewerSample, WallSpan,
    },
};

use crate::stores::{
    ALL, World, booking, broken, channel, conflict, mail, member, next, payment, posted, reservation, slot,
};

pub async fn channels_keep_price_and_version(world: Arc<World>) {
    world.with_members(1).await;
    let largest = SoldChannel {
        name: format!("A.b_c-{}", "x".repeat(58)).parse().unwrap(),
        seats: Seats::new(Seats::MAX).unwrap(),
        class: BitRate::new(1_000_000_000_000).unwrap(),
        toll: Toll(i64::MAX as u64),
        gather: GATHER_MAX,
        is_retired: true,
        ..channel(u16::MAX)
    };
    let edited = SoldChannel { toll: Toll(0), gather: Duration::ZERO, version: 2, ..channel(2) };
    let mut tx = world.store.begin().await.unwrap();
    tx.put_channel(&largest).await.unwrap();
    tx.put_channel(&edited).await.unwrap();
    tx.commit().await.unwrap();
    let channels = world.store.read().await.unwrap().channels().await.unwrap();
    assert_eq!(channels, [channel(1), edited, largest]);

    for (changed, expected) in [
        (channel(1), Conflict::Channel),
        (SoldChannel { name: channel(1).name, ..channel(3) }, Conflict::Channel),
        (SoldChannel { name: channel(1).name, version: 3, ..channel(2) }, Conflict::Channel),
        (SoldChannel { version: 2, ..channel(2) }, Conflict::Version(2)),
        (SoldChannel { version: 2, ..channel(3) }, Conflict::Version(0)),
    ] {
        let mut tx = world.store.begin().await.unwrap();
        assert_eq!(conflict(tx.put_channel(&changed).await), expected, "{changed:?}");
    }
}

fn in_full(number: i64) -> Reservation {
    Reservation {
        kind: ProgramKind::Special,
        channel: ChannelNumber(2),
        seats: Seats::new(Seats::MAX).unwrap(),
        toll: Toll(0),
        state: State::Finished(Settlement::Waived),
        program: ProgramDetails {
            title: "配信 🎥 'x'); DROP TABLE slots; --".to_owned(),
            genre: "音楽".to_owned(),
            outline: "\u{202e}right to left".to_owned(),
            details: "a\r\nb\tc\\ \"%_".to_owned(),
            open_level: OpenLevel::Secret,
            password: Some(ProgramPassword("open-sesame".to_owned())),
            show_email: true,
            show_web: true,
            friends: (0..50).map(|n| format!("Friend{n}@example.com").parse().unwrap()).collect(),
        },
        terms_accepted_at: Some(slot(951)),
        confirmed_at: Some(slot(952)),
        over_at: Some(slot(953)),
        id_hash: Some(ReservationIdHash([0xa5; 32])),
        id_issue: u32::MAX,
        is_reminded: true,
        calendar_sequence: u32::MAX,
        ..reservation(number, 2000, 3)
    }
}

pub async fn reservations_keep_every_field(world: Arc<World>) {
    world.with_members(1).await;
    let both = [reservation(1, 1000, 1), in_full(9_007_199_254_740_991)];
    for reservation in &both {
        world.write(&Effects::of(reservation.clone())).await.unwrap();
        assert_eq!(world.reservation(reservation.number.0).await.as_ref(), Some(reservation));
    }
    let edited = Reservation { version: 2, number: ReservationNumber(1), ..in_full(1) };
    world.write(&Effects::of(edited.clone())).await.unwrap();
    assert_eq!(world.reservation(1).await, Some(edited.clone()));
    let mut tx = world.store.begin().await.unwrap();
    assert_eq!(tx.lock_reservation(ReservationNumber(1)).await.unwrap(), Some(edited));
    assert_eq!(tx.lock_reservation(ReservationNumber(5)).await.unwrap(), None);
    drop(tx);
    for (version, state) in (3..).zip(State::ALL) {
        let changed = Reservation { version, state, ..in_full(1) };
        world.write(&Effects::of(changed.clone())).await.unwrap();
        assert_eq!(world.reservation(1).await, Some(changed));
    }
}

pub async fn a_viewers_password_is_sealed(world: Arc<World>) {
    world.with_members(1).await;
    world.write(&Effects::of(in_full(1))).await.unwrap();
    let sql = "UPDATE reservations SET title = title WHERE length(sealed_password) = 24 + 11 + 16";
    assert_eq!(world.raw(sql).await.unwrap(), 1, "nonce, text and tag");
    world.raw("UPDATE reservations SET number = 2").await.unwrap();
    let error = world.store.read().await.unwrap().reservation(ReservationNumber(2)).await.unwrap_err();
    assert!(error.to_string().contains("secret.key"), "{error}");
}

pub async fn taken_slots_refuse_the_whole_write(world: Arc<World>) {
    world.with_members(1).await;
    world.write(&booking(reservation(1, 1002, 2))).await.unwrap();
    let mut effects = booking(reservation(2, 1000, 6));
    effects.mails.push(mail("mail", Some(2)));
    effects.payments.push(payment("pay", slotcast_reservation::domain::effects::PaymentKind::Capture, 2, 1));
    effects.ledger.push(posted("post", 2, 1));
    let taken = Conflict::Slots(vec![slot(1002), slot(1003)]);
    assert_eq!(conflict(world.write(&effects).await), taken);
    assert_eq!(world.reservation(2).await, None);
    let mut reads = world.store.read().await.unwrap();
    let slots = reads.taken_slots(ChannelNumber(1), slot(0), slot(9999)).await.unwrap();
    let held = |n| TakenSlot { channel: ChannelNumber(1), start: slot(n), reservation: ReservationNumber(1) };
    assert_eq!(slots, [held(1002), held(1003)]);
    assert_eq!(
        reads.taken_starts(None, slot(0), slot(9999)).await.unwrap().len(),
        2,
        "nor on another channel"
    );
    assert_eq!(reads.outbox_depth().await.unwrap().mails, 0);
    drop(reads);
    let elsewhere = Reservation { channel: ChannelNumber(2), ..reservation(2, 1000, 6) };
    world.write(&booking(elsewhere)).await.unwrap();
    world.write(&booking(reservation(3, 1004, 1))).await.unwrap();
    world.write(&booking(reservation(4, 1001, 1))).await.unwrap();
}

pub async fn freed_slots_can_be_taken_again(world: Arc<World>) {
    world.with_members(1).await;
    let first = reservation(1, 1000, 4);
    world.write(&booking(first.clone())).await.unwrap();
    let cancelled = next(&first, State::Cancelled(CancelledBy::Member));
    let effects = Effects { slots: SlotChange::FreeFrom(slot(1001)), ..Effects::of(cancelled) };
    world.write(&effects).await.unwrap();
    assert_eq!(
        conflict(world.write(&booking(reservation(2, 1000, 4))).await),
        Conflict::Slots(vec![slot(1000)]),
        "what was used stays used"
    );
    world.write(&booking(reservation(2, 1001, 3))).await.unwrap();
    let mut reads = world.store.read().await.unwrap();
    let slots = reads.taken_slots(ChannelNumber(1), slot(1001), slot(1003)).await.unwrap();
    let starts: Vec<WallTime> = slots.iter().map(|slot| slot.start).collect();
    assert_eq!(starts, [slot(1001), slot(1002)]);
    assert_eq!(reads.taken_slots(ChannelNumber(2), slot(0), slot(9999)).await.unwrap(), []);
    for channel in [None, Some(ChannelNumber(1))] {
        let mut starts = reads.taken_starts(channel, slot(1001), slot(1003)).await.unwrap();
        starts.sort_unstable();
        assert_eq!(starts, [1001, 1002].map(|at| (ChannelNumber(1), slot(at))));
    }
    assert_eq!(reads.taken_starts(Some(ChannelNumber(2)), slot(0), slot(9999)).await.unwrap(), []);
    assert_eq!(reads.taken_starts(None, slot(2000), slot(9999)).await.unwrap(), []);
}

pub async fn a_thousand_slots_are_one_booking(world: Arc<World>) {
    world.with_members(1).await;
    world.write(&booking(reservation(1, 10_000, 9000))).await.unwrap();
    let mut reads = world.store.read().await.unwrap();
    assert_eq!(reads.slots_of(MemberNumber(1), slot(0), slot(99_999)).await.unwrap(), 9000);
    drop(reads);
    let Conflict::Slots(taken) = conflict(world.write(&booking(reservation(2, 18_998, 9000))).await) else {
        panic!("slots")
    };
    assert_eq!(taken, [slot(18_998), slot(18_999)]);
}

/// Who held a slot may free it between the insert that fails and the question who holds it. A trigger that skips the
/// insert makes the same state each time.
pub async fn a_slot_that_nobody_holds_is_never_called_taken(world: Arc<World>) {
    world.with_members(1).await;
    let (skip, end): (&[_], _) = if world.place.starts_with("sqlite:") {
        let skip = "CREATE TRIGGER skip BEFORE INSERT ON slots BEGIN SELECT RAISE(IGNORE); END";
        (&[skip], "DROP TRIGGER skip")
    } else {
        let skip = "CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'";
        let on = "CREATE TRIGGER skip BEFORE INSERT ON slots FOR EACH ROW EXECUTE FUNCTION skip()";
        (&[skip, on], "DROP TRIGGER skip ON slots")
    };
    for sql in skip {
        world.raw(sql).await.unwrap();
    }
    let wanted = booking(reservation(1, 1000, 2));
    let mut tx = world.store.begin().await.unwrap();
    let answer = tx.write(&wanted).await;
    assert!(matches!(answer, Err(StoreError::Retry(_))), "{answer:?}");
    assert!(tx.commit().await.is_err(), "half a booking was committed");
    world.raw(end).await.unwrap();
    world.write(&wanted).await.unwrap();
    assert_eq!(world.reservation(1).await.map(|there| there.number), Some(wanted.reservation.number));
}

pub async fn an_edit_of_an_older_reservation_is_refused(world: Arc<World>) {
    world.with_members(1).await;
    world.write(&booking(reservation(1, 1000, 1))).await.unwrap();
    let with_version = |number, version| Reservation { version, ..reservation(number, 1000, 1) };
    for (changed, there) in [(with_version(1, 1), 1), (with_version(1, 3), 1), (with_version(2, 2), 0)] {
        assert_eq!(conflict(world.write(&Effects::of(changed)).await), Conflict::Version(there));
    }
    world.write(&Effects::of(with_version(1, 2))).await.unwrap();
    assert_eq!(world.reservation(1).await.unwrap().version, 2);
}

pub async fn lists_follow_the_filter(world: Arc<World>) {
    world.with_members(2).await;
    let other = Reservation { member: MemberNumber(2), ..reservation(2, 1004, 4) };
    let elsewhere = Reservation { channel: ChannelNumber(2), ..reservation(3, 1000, 2) };
    let secret =
        Reservation { channel: ChannelNumber(2), window: reservation(0, 1010, 2).window, ..in_full(4) };
    let over = Reservation { state: State::Cancelled(CancelledBy::Member), ..reservation(5, 1010, 1) };
    for reservation in [&reservation(1, 1000, 4), &other, &elsewhere, &secret, &over] {
        world.write(&Effects::of(reservation.clone())).await.unwrap();
    }
    let all = ReservationFilter::default;
    for (filter, expected) in [
        (all(), vec![1, 3, 2, 4, 5]),
        (ReservationFilter { newest_first: true, ..all() }, vec![5, 4, 2, 3, 1]),
        (ReservationFilter { member: Some(MemberNumber(2)), ..all() }, vec![2]),
        (ReservationFilter { channel: Some(ChannelNumber(2)), ..all() }, vec![3, 4]),
        (ReservationFilter { between: Some((slot(1002), slot(1005))), ..all() }, vec![1, 2]),
        (ReservationFilter { between: Some((slot(1004), slot(1010))), ..all() }, vec![2]),
        (ReservationFilter { between: Some((slot(1007), slot(1008))), ..all() }, vec![2]),
        (ReservationFilter { between: Some((slot(1008), slot(1010))), ..all() }, vec![]),
        (ReservationFilter { states: vec![State::Held], ..all() }, vec![1, 3, 2]),
        (ReservationFilter { states: vec![over.state, secret.state], ..all() }, vec![4, 5]),
        (ReservationFilter { listed_only: true, ..all() }, vec![1, 3, 2, 5]),
        (
            ReservationFilter {
                member: Some(MemberNumber(1)),
                channel: Some(ChannelNumber(1)),
                between: Some((slot(0), slot(9999))),
                states: vec![State::Held],
                listed_only: true,
                newest_first: true,
            },
            vec![1],
        ),
    ] {
        let mut reads = world.store.read().await.unwrap();
        let found = reads.reservations(&filter, ALL).await.unwrap();
        let numbers: Vec<i64> = found.items.iter().map(|found| found.number.0).collect();
        assert_eq!(numbers, expected, "{filter:?}");
        assert_eq!(found.count as usize, expected.len());
        for (offset, limit) in [(1, 1), (0, 1), (1, 99), (99, 99)] {
            let page = reads.reservations(&filter, Page { offset, limit }).await.unwrap();
            let items: Vec<_> = found.items.iter().skip(offset as usize).take(limit as usize).collect();
            assert_eq!((page.items.iter().collect::<Vec<_>>(), page.count), (items, found.count));
        }
    }
}

pub async fn what_is_due_comes_oldest_first(world: Arc<World>) {
    world.with_members(1).await;
    let of = |number, state| Reservation { state, ..reservation(number, 1000 + number, 2) };
    let held = |number, until| Reservation { hold_until: slot(until), ..of(number, State::Held) };
    let registered =
        |number, until| Reservation { reconfirm_until: slot(until), ..of(number, State::Registered) };
    for reservation in [
        held(1, 1010),
        held(2, 1009),
        held(3, 1011),
        registered(4, 1010),
        registered(5, 1012),
        Reservation { is_reminded: true, ..registered(6, 1012) },
        registered(7, 1013),
        of(8, State::Confirmed),
        of(9, State::OnAir),
        of(10, State::Confirmed),
        of(11, State::Confirmed),
        of(12, State::Finished(Settlement::Open)),
        of(13, State::Finished(Settlement::Charged)),
        of(14, State::Cancelled(CancelledBy::Operator)),
    ] {
        world.write(&Effects::of(reservation)).await.unwrap();
    }
    let span = WallSpan(2 * crate::stores::SLOT);
    for (what, expected) in [
        (Due::HoldExpired, vec![2, 1]),
        (Due::ReconfirmationOverdue, vec![4]),
        (Due::ReminderDue, vec![5]),
        (Due::Started, vec![8, 10]),
        (Due::Ended, vec![8]),
        (Due::Unsettled, vec![12]),
    ] {
        let mut reads = world.store.read().await.unwrap();
        let numbers = |found: &[DueAt]| found.iter().map(|(_, number)| number.0).collect::<Vec<_>>();
        let all = reads.due(what, slot(1010), span, None, 100).await.unwrap();
        assert_eq!(numbers(&all), expected, "{what:?}");
        let first = reads.due(what, slot(1010), span, None, 1).await.unwrap();
        assert_eq!(numbers(&first), expected[..1], "{what:?}");
        let rest = reads.due(what, slot(1010), span, Some(first[0]), 100).await.unwrap();
        assert_eq!(rest, all[1..], "{what:?}");
        assert_eq!(reads.due(what, slot(1010), span, None, 0).await.unwrap(), []);
    }
    let mut reads = world.store.read().await.unwrap();
    for (after, before, expected) in [(1011, 1012, &[10, 11][..]), (1011, 1011, &[10]), (1013, 2000, &[])] {
        let scheduled = reads.scheduled(Scheduled::All, slot(after), slot(before)).await.unwrap();
        let numbers: Vec<i64> = scheduled.iter().map(|found| found.number.0).collect();
        assert_eq!(numbers, expected);
    }
}

pub async fn the_schedule_has_a_revision(world: Arc<World>) {
    world.with_members(1).await;
    let revision = async || world.store.read().await.unwrap().schedule_revision().await.unwrap();
    let mut before = revision().await;
    let mut latest = reservation(1, 1000, 2);
    world.write(&booking(latest.clone())).await.unwrap();
    for (state, touches) in [
        (State::Held, false),
        (State::Registered, false),
        (State::Confirmed, true),
        (State::OnAir, true),
        (State::Cancelled(CancelledBy::Member), true),
    ] {
        latest = next(&latest, state);
        world.write(&Effects::of(latest.clone())).await.unwrap();
        let after = revision().await;
        assert_eq!(after > before, touches, "{state:?}");
        before = after;
    }
    let mut tx = world.store.begin().await.unwrap();
    tx.put_channel(&SoldChannel { version: 2, ..channel(1) }).await.unwrap();
    drop(tx);
    assert_eq!(revision().await, before, "nothing was committed");
    let mut tx = world.store.begin().await.unwrap();
    tx.put_channel(&SoldChannel { version: 2, ..channel(1) }).await.unwrap();
    tx.commit().await.unwrap();
    assert!(revision().await > before);
}

pub async fn what_changed_the_schedule_is_told_by_revisions(world: Arc<World>) {
    world.with_members(2).await;
    let revision = async || world.store.read().await.unwrap().schedule_revision().await.unwrap();
    let since = async |revision| world.store.read().await.unwrap().schedule_changes(revision).await.unwrap();
    let begin = revision().await;
    assert_eq!(since(begin).await, Some(vec![]));
    let confirmed = Reservation { state: State::Confirmed, ..reservation(1, 1000, 2) };
    world.write(&booking(confirmed.clone())).await.unwrap();
    world.write(&Effects::of(next(&confirmed, State::OnAir))).await.unwrap();
    let middle = revision().await;
    let program = ScheduleChange::Program(confirmed.number);
    assert_eq!((since(begin).await, since(middle).await), (Some(vec![program]), Some(vec![])));
    let mut tx = world.store.begin().await.unwrap();
    let plain = Member { version: 2, name: "Hanako".to_owned(), ..member(1) };
    tx.put_member(&plain).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(since(middle).await, Some(vec![]), "a name is no matter of the schedule");
    let mut tx = world.store.begin().await.unwrap();
    tx.put_member(&Member { version: 2, is_blocked: true, ..member(2) }).await.unwrap();
    tx.put_channel(&SoldChannel { version: 2, ..channel(1) }).await.unwrap();
    tx.commit().await.unwrap();
    let mut last = since(middle).await.unwrap();
    last.sort_unstable();
    assert_eq!(last, [ScheduleChange::Channels, ScheduleChange::ProgramsOf(MemberNumber(2))]);
    assert_eq!(revision().await, middle + 1, "one transaction is one revision");
    world.raw("DELETE FROM schedule_changes WHERE revision = 3").await.unwrap();
    assert_eq!((since(begin).await, since(revision().await).await), (None, Some(vec![])));
    let mut reads = world.store.read().await.unwrap();
    let theirs = reads.programs_of(MemberNumber(1), slot(1001), slot(1002)).await.unwrap();
    assert_eq!(theirs, [confirmed.number]);
    assert_eq!(reads.programs_of(MemberNumber(1), slot(1002), slot(2000)).await.unwrap(), []);
    for which in [Scheduled::From(slot(1000)), Scheduled::Programs(&[confirmed.number, ReservationNumber(7)])]
    {
        let found = reads.scheduled(which, slot(1000), slot(2000)).await.unwrap();
        assert_eq!(
            found.iter().map(|found| found.number).collect::<Vec<_>>(),
            [confirmed.number],
            "{which:?}"
        );
    }
    for which in [Scheduled::From(slot(1001)), Scheduled::Programs(&[])] {
        assert_eq!(reads.scheduled(which, slot(1000), slot(2000)).await.unwrap(), [], "{which:?}");
    }
}

pub async fn only_private_slots_count_for_the_month(world: Arc<World>) {
    world.with_members(2).await;
    let special = Reservation { kind: ProgramKind::Special, ..reservation(2, 1010, 5) };
    let other = Reservation { member: MemberNumber(2), ..reservation(3, 1020, 5) };
    for reservation in [reservation(1, 1000, 5), special, other] {
        world.write(&booking(reservation)).await.unwrap();
    }
    let mut reads = world.store.read().await.unwrap();
    assert_eq!(reads.slots_of(MemberNumber(1), slot(0), slot(9999)).await.unwrap(), 5);
    assert_eq!(reads.slots_of(MemberNumber(1), slot(1001), slot(1004)).await.unwrap(), 3);
    assert_eq!(reads.slots_of(MemberNumber(2), slot(0), slot(9999)).await.unwrap(), 5);
    assert_eq!(reads.slots_of(MemberNumber(3), slot(0), slot(9999)).await.unwrap(), 0);
}

pub async fn runs_count_once_and_samples_stay_apart(world: Arc<World>) {
    world.with_members(1).await;
    for number in 1..=2 {
        world.write(&Effects::of(reservation(number, 1000, 1))).await.unwrap();
    }
    let sample = |at, viewers| ViewerSample { at: slot(at), viewers };
    let run = Run { normal_ms: 10, media_ms: 9, viewers_peak: 7, viewer_ms: i64::MAX as u64 / 2 };
    let smaller = Run { normal_ms: 5, viewers_peak: 3, viewer_ms: 1, ..run };
    let (one, two) = (ReservationNumber(1), ReservationNumber(2));
    let mut tx = world.store.begin().await.unwrap();
    tx.put_runs("a", 1, &[(two, run), (one, run)]).await.unwrap();
    // Written again, as where the answer to a commit was lost; an older sum that comes late changes nothing.
    tx.put_runs("a", 1, &[(one, run)]).await.unwrap();
    tx.put_runs("a", 1, &[(one, smaller)]).await.unwrap();
    // Another start of that process, and another node.
    tx.put_runs("a", 2, &[(one, smaller)]).await.unwrap();
    tx.put_runs("b", 1, &[(one, smaller)]).await.unwrap();
    tx.add_samples(&[(one, sample(1001, 7)), (one, sample(1000, 3)), (one, sample(1001, 5))]).await.unwrap();
    tx.commit().await.unwrap();
    let mut reads = world.store.read().await.unwrap();
    let sum = Run { normal_ms: 20, media_ms: 27, viewers_peak: 7, viewer_ms: run.viewer_ms + 2 };
    assert_eq!(reads.run(one).await.unwrap(), sum);
    assert_eq!(reads.run(two).await.unwrap(), run);
    assert_eq!(reads.run(ReservationNumber(3)).await.unwrap(), Run::default());
    assert_eq!(reads.samples(one, ALL).await.unwrap().items, [sample(1000, 3), sample(1001, 5)]);
    let second = reads.samples(one, Page { offset: 1, limit: 5 }).await.unwrap();
    assert_eq!((second.items, second.count), (vec![sample(1001, 5)], 2));
    drop(reads);
    let mut tx = world.store.begin().await.unwrap();
    tx.put_runs("a", 1, &[(ReservationNumber(3), run)]).await.unwrap_err();
}

pub async fn a_row_that_cannot_be_read_is_left_out_alone(world: Arc<World>) {
    world.with_members(1).await;
    for number in 1..=3 {
        let confirmed = Reservation { state: State::Confirmed, ..reservation(number, 1000 + number, 1) };
        world.write(&Effects::of(confirmed)).await.unwrap();
    }
    world.raw("UPDATE reservations SET friends = '[\"no address\"]' WHERE number = 2").await.unwrap();
    let mut reads = world.store.read().await.unwrap();
    let listed = reads.reservations(&ReservationFilter::default(), ALL).await.unwrap();
    let scheduled = reads.scheduled(Scheduled::All, slot(0), slot(2000)).await.unwrap();
    for found in [listed.items, scheduled] {
        assert_eq!(found.iter().map(|found| found.number.0).collect::<Vec<_>>(), [1, 3]);
    }
    let due = reads.due(Due::Started, slot(2000), WallSpan(0), None, 9).await.unwrap();
    assert_eq!(due.iter().map(|(_, number)| number.0).collect::<Vec<_>>(), [1, 2, 3]);
    broken(reads.reservation(ReservationNumber(2)).await);
}

pub async fn what_was_promised_is_told_once_for_each_kind(world: Arc<World>) {
    world.with_members(1).await;
    for number in 1..=5 {
        world.write(&booking(reservation(number, 1000 + number, 1))).await.unwrap();
    }
    let larger = Reservation { seats: Seats::new(900).unwrap(), ..reservation(6, 1006, 1) };
    world.write(&booking(larger.clone())).await.unwrap();
    let over = Reservation {
        state: State::Cancelled(CancelledBy::Member),
        channel: ChannelNumber(2),
        ..reservation(7, 1007, 1)
    };
    world.write(&Effects::of(over)).await.unwrap();
    let promised = async |after| world.store.read().await.unwrap().promised(slot(after)).await.unwrap();
    assert_eq!(promised(1002).await, [], "no channel offers less than was booked");
    let smaller = SoldChannel { version: 2, seats: Seats::new(50).unwrap(), ..channel(1) };
    let retired = SoldChannel { version: 2, is_retired: true, ..channel(2) };
    let mut tx = world.store.begin().await.unwrap();
    for channel in [&smaller, &retired] {
        tx.put_channel(channel).await.unwrap();
    }
    tx.commit().await.unwrap();
    let mut reads = world.store.read().await.unwrap();
    let mut promised = reads.promised(slot(1002)).await.unwrap();
    promised.sort();
    let small = reservation(1, 1000, 1);
    assert_eq!(
        promised,
        [(small.channel, small.seats, small.class), (larger.channel, larger.seats, larger.class)]
    );
    assert_eq!(reads.promised(slot(1006)).await.unwrap().len(), 1);
}

pub async fn what_is_announced_bears_a_tag_that_each_change_changes(world: Arc<World>) {
    world.with_members(2).await;
    let listed = |number, first, state| Reservation { state, ..reservation(number, first, 2) };
    let secret = ProgramDetails {
        open_level: OpenLevel::Secret,
        password: Some(ProgramPassword("hidden".to_owned())),
        ..reservation(4, 0, 1).program
    };
    let closed = ProgramDetails { open_level: OpenLevel::Password, ..secret.clone() };
    for shown in [
        listed(1, 1000, State::Held),
        listed(2, 1002, State::Registered),
        Reservation { member: MemberNumber(2), program: closed, ..listed(3, 1004, State::Confirmed) },
        Reservation { program: secret, ..listed(4, 1006, State::Confirmed) },
        listed(5, 1008, State::Finished(Settlement::Charged)),
        listed(6, 1010, State::Cancelled(CancelledBy::Member)),
    ] {
        world.write(&booking(shown)).await.unwrap();
    }
    let numbers = async |from, to, with_public| {
        let mut reads = world.store.read().await.unwrap();
        let found = reads.announced(slot(from), slot(to), with_public).await.unwrap();
        found.iter().map(|found| found.number.0).collect::<Vec<_>>()
    };
    assert_eq!(numbers(1000, 1020, true).await, [2, 3, 5]);
    assert_eq!((numbers(1003, 1005, true).await, numbers(1000, 1020, false).await), (vec![2, 3], vec![3]));
    let tag = async |from, to| {
        let mut reads = world.store.read().await.unwrap();
        reads.announced_tag(slot(from), slot(to), true).await.unwrap()
    };
    let mut before = (tag(1000, 1020).await, tag(1008, 1010).await);
    assert_eq!(before, (tag(1000, 1020).await, tag(1008, 1010).await));
    let second = listed(2, 1002, State::Registered);
    world.write(&Effects::of(next(&second, State::Registered))).await.unwrap();
    assert_ne!(before.0, tag(1000, 1020).await, "a program was changed");
    assert_eq!(before.1, tag(1008, 1010).await, "in another span");
    before.0 = tag(1000, 1020).await;
    let mut tx = world.store.begin().await.unwrap();
    tx.put_member(&Member { version: 2, name: "Hanako".to_owned(), ..member(2) }).await.unwrap();
    tx.commit().await.unwrap();
    assert_ne!(before.0, tag(1000, 1020).await, "a broadcaster's name");
    assert_eq!(before.1, tag(1008, 1010).await);
    let mut reads = world.store.read().await.unwrap();
    let mut members = reads.members_in(&[MemberNumber(2), MemberNumber(1), MemberNumber(9)]).await.unwrap();
    members.sort_by_key(|member| member.number);
    assert_eq!(members.iter().map(|member| member.number.0).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(reads.members_in(&[]).await.unwrap(), []);
}

pub async fn taken_slots_are_counted_by_channel_and_their_changes_noticed(world: Arc<World>) {
    world.with_members(1).await;
    let begin = world.store.changes();
    let first = reservation(1, 1000, 5);
    world.write(&booking(first.clone())).await.unwrap();
    world
        .write(&booking(Reservation { channel: ChannelNumber(2), ..reservation(2, 1003, 2) }))
        .await
        .unwrap();
    let taken = world.store.changes();
    assert_eq!(taken, begin + 2);
    world.write(&Effects::of(next(&first, State::Registered))).await.unwrap();
    assert_eq!(world.store.changes(), taken, "its slots are what they were");
    let mut reads = world.store.read().await.unwrap();
    let mut counts = reads.taken_counts(slot(1001), slot(1004)).await.unwrap();
    counts.sort_unstable();
    assert_eq!(counts, [(ChannelNumber(1), 3), (ChannelNumber(2), 1)]);
    assert_eq!(reads.taken_counts(slot(1005), slot(1005)).await.unwrap(), []);
    drop(reads);
    let cancelled = next(&next(&first, State::Registered), State::Cancelled(CancelledBy::Member));
    let freed = Effects { slots: SlotChange::FreeFrom(slot(0)), ..Effects::of(cancelled) };
    world.write(&freed).await.unwrap();
    assert_eq!(world.store.changes(), taken + 1);
}

pub async fn pickups_come_by_position(world: Arc<World>) {
    world.with_members(1).await;
    let pickup = |number, position: i32| Pickup {
        reservation: ReservationNumber(number),
        note: format!("note {position} é"),
        position,
    };
    let mut tx = world.store.begin().await.unwrap();
    for (number, position) in [(1, i32::MAX), (2, 5), (3, i32::MIN), (2, -5)] {
        if tx.reservation(ReservationNumber(number)).await.unwrap().is_none() {
            tx.write(&Effects::of(reservation(number, 1000, 1))).await.unwrap();
        }
        tx.put_pickup(&pickup(number, position)).await.unwrap();
    }
    assert_eq!(tx.pickups().await.unwrap(), [pickup(3, i32::MIN), pickup(2, -5), pickup(1, i32::MAX)]);
    assert!(tx.end_pickup(ReservationNumber(2)).await.unwrap());
    assert!(!tx.end_pickup(ReservationNumber(2)).await.unwrap());
    tx.commit().await.unwrap();
}
