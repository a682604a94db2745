//! Who is written to, how often, and how it stops.

use std::time::Duration;

use slotcast_reservation::{
    domain::{
        member::Member,
        refusal::Refusal,
        reservation::Reservation,
        words::{Email, ReservationNumber},
    },
    limits::{CHANGES_GATHERED_FOR, DAY, FRIEND_MAILS_PER_DAY, MAILS_TO_FRIEND_PER_DAY},
    service::ProgramEdit,
};
use slotcast_reservation_testing::service::{World, draft, friend, refusal};

/// The mails that went to `address`: their keys' first words, in order.
fn kinds_to(world: &World, address: &str) -> Vec<String> {
    let sent = world.post.sent.lock();
    let to = sent.iter().filter(|(_, text)| text.contains(&format!("To: {address}\r\n")));
    to.map(|(key, _)| key.split('-').next().unwrap().to_owned()).collect()
}

/// The last mail whose key begins so, without the line ends that its encoding adds.
fn text(world: &World, begin: &str) -> String {
    world.post.text(begin).replace("=\r\n", "")
}

async fn change(world: &World, number: ReservationNumber, edit: ProgramEdit) {
    world.service.change(&world.actor(1).await, number, None, edit).await.unwrap();
}

fn titled(title: &str) -> ProgramEdit {
    ProgramEdit { title: Some(title.to_owned()), ..ProgramEdit::default() }
}

fn with_friends(friends: Vec<Email>) -> ProgramEdit {
    ProgramEdit { friends: Some(friends), ..ProgramEdit::default() }
}

/// Confirmed, and all mails of it sent.
async fn told(world: &World) -> Reservation {
    let confirmed = world.confirmed("2026-12-02T00:00:00Z", 1).await;
    world.work().await;
    confirmed
}

#[tokio::test]
async fn a_cancellation_is_never_refused_for_want_of_mails() {
    let world = World::new().await;
    let actor = world.actor(1).await;
    let confirmed = world.confirmed("2026-12-02T00:00:00Z", 1).await;
    world
        .raw(
            "INSERT INTO jobs (kind, key, member, turn, payload, created_at, tries, done_at)
            WITH RECURSIVE all_of(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM all_of WHERE i < 200)
            SELECT 'friend_mail', 'used-' || i, 1, 0, '', (SELECT booked_at FROM reservations), 1, 1 FROM all_of",
        )
        .await;
    let edit = ProgramEdit {
        friends: Some(vec![friend(), "b@example.com".parse().unwrap()]),
        ..ProgramEdit::default()
    };
    let refused = refusal(world.service.change(&actor, confirmed.number, None, edit).await);
    assert!(matches!(refused, Refusal::TooMany { .. }), "the day's mails are used up: {refused:?}");
    world.service.cancel(&actor, confirmed.number, None).await.unwrap();
}

#[tokio::test]
async fn changes_within_minutes_are_one_mail() {
    let world = World::new().await;
    let confirmed = told(&world).await;
    for title in ["The lake", "The river", "The pond"] {
        change(&world, confirmed.number, titled(title)).await;
        world.clock.pass(Duration::from_secs(30));
        world.work().await;
    }
    assert_eq!(world.post.keys("changed-").len(), 0, "gathered");
    world.clock.pass(CHANGES_GATHERED_FOR);
    world.work().await;
    assert_eq!(world.post.keys("changed-").len(), 1);
    let said = text(&world, "changed-");
    assert!(said.contains("SEQUENCE:3") || said.contains("The pond"), "{said}");
    for title in
        ["The sea =E2=86=92 The lake", "The lake =E2=86=92 The river", "The river =E2=86=92 The pond"]
    {
        assert!(said.contains(title), "{title}: {said}");
    }
    // What comes later is a mail of its own.
    change(&world, confirmed.number, titled("The well")).await;
    world.clock.pass(CHANGES_GATHERED_FOR);
    world.work().await;
    assert_eq!(world.post.keys("changed-").len(), 2);
}

#[tokio::test]
async fn nothing_is_called_off_that_a_friend_was_never_told_of() {
    let world = World::new().await;
    let actor = world.actor(1).await;
    // Confirmed and cancelled within a second, before any mail went out.
    let confirmed = world.confirmed("2026-12-02T00:00:00Z", 1).await;
    world.service.cancel(&actor, confirmed.number, None).await.unwrap();
    world.work().await;
    assert_eq!(kinds_to(&world, "friend@example.org"), [""; 0]);
    assert_eq!(world.post.keys("cancelled-").len(), 1, "the member is told");

    // A list that was corrected at once: who was on it by mistake for a moment hears nothing.
    let confirmed = told(&world).await;
    let mistake = with_friends(vec![friend(), "mistake@example.org".parse().unwrap()]);
    change(&world, confirmed.number, mistake).await;
    change(&world, confirmed.number, with_friends(vec![friend()])).await;
    world.work().await;
    assert_eq!(kinds_to(&world, "mistake@example.org"), [""; 0]);

    // Who was invited hears of the end, once.
    world.service.cancel(&actor, confirmed.number, None).await.unwrap();
    world.work().await;
    assert_eq!(kinds_to(&world, "friend@example.org"), ["invitation", "cancelled"]);
}

#[tokio::test]
async fn an_invitation_on_its_way_is_followed_by_what_came_after_it() {
    let world = World::new().await;
    let confirmed = world.confirmed("2026-12-02T00:00:00Z", 1).await;
    // The mail server cannot take any of them yet.
    *world.post.failures_left.lock() = 3;
    world.work().await;
    assert_eq!(kinds_to(&world, "friend@example.org"), [""; 0]);
    change(&world, confirmed.number, titled("The lake")).await;
    world.clock.pass(Duration::from_secs(600));
    world.work().await;
    world.work().await;
    assert_eq!(kinds_to(&world, "friend@example.org"), ["invitation", "changed"]);
}

#[tokio::test]
async fn a_member_on_the_own_list_is_told_as_member_alone() {
    let world = World::new().await;
    let actor = world.actor(1).await;
    let mut wish = draft(1, "2026-12-02T00:00:00Z", 1);
    wish.program.friends = vec!["MEMBER1@example.com".parse().unwrap(), friend()];
    let held = world.service.book(&actor, wish, None, "192.0.2.1".parse().unwrap()).await.unwrap();
    let registered = world.service.accept_terms(&actor, held.number).await.unwrap();
    let confirmed = world.reconfirm(&registered).await.unwrap();
    world.work().await;
    change(&world, confirmed.number, titled("The lake")).await;
    world.clock.pass(CHANGES_GATHERED_FOR);
    world.work().await;
    let sent = world.post.sent.lock();
    let mine = sent.iter().filter(|(_, text)| text.to_lowercase().contains("<member1@example.com>\r\n"));
    let with_entry: Vec<_> =
        mine.filter(|(_, text)| text.contains("text/calendar")).map(|(key, _)| key).collect();
    assert_eq!(with_entry.len(), 1, "{with_entry:?}");
    assert!(!sent.iter().any(|(key, text)| key.starts_with("invitation-") && text.contains("MEMBER1@")));
}

#[tokio::test]
async fn a_member_has_a_budget_of_mails_to_friends_that_outlives_the_server() {
    let world = World::new().await;
    let actor = world.actor(1).await;
    let confirmed = told(&world).await;
    let list = |round: u32| {
        with_friends((0..50).map(|at| format!("f{round}-{at}@example.org").parse().unwrap()).collect())
    };
    let mut refused = None;
    for round in 0..10 {
        let service = world.another_service();
        if let Err(error) = service.change(&actor, confirmed.number, None, list(round)).await {
            refused = Some(refusal::<Reservation>(Err(error)));
            break;
        }
    }
    assert!(matches!(refused, Some(Refusal::TooMany { .. })), "{refused:?}");
    world.work().await;
    let to_friends = |world: &World| {
        let sent = world.post.sent.lock();
        sent.iter().filter(|(_, text)| text.contains("@example.org\r\n")).count() as u32
    };
    assert!(to_friends(&world) <= FRIEND_MAILS_PER_DAY, "{}", to_friends(&world));
    // The program can be changed all the same where nobody is told, and mails again after a day.
    world.clock.pass(DAY + Duration::from_secs(1));
    let _ = world.service.change(&actor, confirmed.number, None, list(99)).await;
    let still = refusal(world.service.change(&actor, ReservationNumber(1), None, list(100)).await);
    assert!(matches!(still, Refusal::NotFound(_)), "{still:?}");
}

#[tokio::test]
async fn a_reservation_id_is_not_sent_again_without_end() {
    let world = World::new().await;
    let actor = world.actor(1).await;
    let registered = world.registered("2026-12-02T00:00:00Z", 1).await;
    let mut issued = 0;
    let refused = loop {
        match world.service.reissue_id(&actor, registered.number).await {
            Ok(_) if issued < 100 => issued += 1,
            other => break refusal(other),
        }
    };
    assert!(matches!(refused, Refusal::TooMany { .. }), "{refused:?}");
    let last = world.found(registered.number).await;
    world.reconfirm(&last).await.unwrap();
    world.clock.pass(DAY / 4);
    assert!(matches!(
        refusal(world.service.reissue_id(&actor, registered.number).await),
        Refusal::TooMany { .. }
    ));
}

#[tokio::test]
async fn a_reissued_id_says_that_the_settings_file_must_be_fetched_again() {
    let world = World::new().await;
    let actor = world.actor(1).await;
    let registered = world.registered("2026-12-02T00:00:00Z", 1).await;
    world.work().await;
    assert!(!text(&world, "reservation-id-").contains("no longer valid"));
    world.service.reissue_id(&actor, registered.number).await.unwrap();
    world.work().await;
    let before = text(&world, "reservation-id-");
    assert!(before.contains("no longer valid") && !before.contains("Settings files"), "{before}");
    let registered = world.found(registered.number).await;
    world.reconfirm(&registered).await.unwrap();
    world.service.reissue_id(&actor, registered.number).await.unwrap();
    world.work().await;
    let after = text(&world, "reservation-id-");
    assert!(after.contains("Settings files that you have are not valid either"), "{after}");
}

#[tokio::test]
async fn who_wants_no_mails_as_a_friend_gets_none_from_anybody() {
    let world = World::new().await;
    let confirmed = told(&world).await;
    let said = text(&world, "invitation-");
    assert!(said.contains("List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"), "{said}");
    let token = said.split("/api/v1/mail-stops/").nth(1).unwrap().split('>').next().unwrap().to_owned();
    for bad in ["", ".", "x.y", &token[1..], &format!("{token}x"), &"x".repeat(9_000)] {
        assert!(matches!(refusal(world.service.stop_mails(bad).await), Refusal::NotFound(_)), "{bad}");
    }
    assert_eq!(world.service.stop_mails(&token).await.unwrap(), friend());
    assert_eq!(world.service.stop_mails(&token).await.unwrap(), friend(), "as often as one likes");
    change(&world, confirmed.number, titled("The lake")).await;
    change(&world, confirmed.number, with_friends(vec!["FRIEND@example.org".parse().unwrap()])).await;
    world.clock.pass(CHANGES_GATHERED_FOR);
    world.work().await;
    let other = world.book_as(2, 2, "2026-12-02T00:00:00Z", 1).await.unwrap();
    let other = world.service.accept_terms(&world.actor(2).await, other.number).await.unwrap();
    world.reconfirm(&other).await.unwrap();
    world.work().await;
    assert_eq!(kinds_to(&world, "friend@example.org"), ["invitation"]);
    assert_eq!(kinds_to(&world, "FRIEND@example.org"), [""; 0]);
    world.service.cancel(&world.actor(1).await, confirmed.number, None).await.unwrap();
    world.work().await;
    assert_eq!(kinds_to(&world, "friend@example.org"), ["invitation"], "nothing at all");
    assert_eq!(world.post.keys("cancelled-").len(), 1, "members get their own mails");
}

#[tokio::test]
async fn one_address_gets_only_so_many_mails_a_day_as_a_friend() {
    let world = World::new().await;
    let confirmed = told(&world).await;
    for _ in 0..MAILS_TO_FRIEND_PER_DAY {
        change(&world, confirmed.number, with_friends(Vec::new())).await;
        world.work().await;
        change(&world, confirmed.number, with_friends(vec![friend()])).await;
        world.work().await;
    }
    let got = kinds_to(&world, "friend@example.org");
    assert!(got.len() as u32 <= MAILS_TO_FRIEND_PER_DAY + 1, "{got:?}");
    assert_eq!(got.last().map(String::as_str), Some("cancelled"), "{got:?}");
}

#[tokio::test]
async fn a_waiting_mail_follows_its_member_to_another_address() {
    let world = World::new().await;
    let actor = world.actor(1).await;
    let confirmed = told(&world).await;
    world.service.cancel(&actor, confirmed.number, None).await.unwrap();
    let mut tx = world.store.begin().await.unwrap();
    let member = tx.lock_member(actor.member).await.unwrap().unwrap();
    let email = "moved@example.com".parse().unwrap();
    tx.put_member(&Member { email, version: member.version + 1, ..member }).await.unwrap();
    tx.commit().await.unwrap();
    world.work().await;
    let sent = world.post.sent.lock();
    let cancelled: Vec<_> = sent.iter().filter(|(key, _)| key.starts_with("cancelled-")).collect();
    let (_, mine) =
        cancelled.iter().find(|(_, text)| text.contains("<moved@example.com>")).expect("to the member");
    assert!(mine.contains("its price is charged: JPY 2,000"), "{mine}");
    assert!(cancelled.iter().all(|(_, text)| !text.contains("member1@example.com")), "{cancelled:?}");
}

#[tokio::test]
async fn what_is_charged_after_an_early_end_names_that_end() {
    let world = World::new().await;
    let actor = world.actor(1).await;
    let confirmed = world.confirmed("2026-12-02T00:00:00Z", 3).await;
    world.clock.set(confirmed.window.start());
    world.turn().await;
    world
        .broadcast(confirmed.number, confirmed.window.start().saturating_add(Duration::from_secs(600)), 1)
        .await;
    world.service.end_early(&actor, confirmed.number).await.unwrap();
    world.clock.pass(Duration::from_secs(60));
    world.turn().await;
    // In Tokyo it is nine hours later.
    assert!(
        text(&world, "settled-").contains("To: Wednesday, 2 December 2026, 09:10"),
        "{}",
        text(&world, "settled-")
    );
}
