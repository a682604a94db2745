//! Members, log-ins, tokens, operators, and what strangers may see.

use std::{net::IpAddr, time::Duration};

use futures_util::future::join_all;
use slotcast_core::words::{ChannelNumber, OpenLevel, Seats, Toll};
use slotcast_reservation::{
    domain::{
        effects::Account,
        member::{Contact, Member, MemberKind},
        refusal::{Refusal, Thing},
        reservation::{ProgramKind, ProgramPassword},
        words::{Language, MemberNumber, ReservationNumber},
    },
    limits::Budgets,
    service::{
        ChannelEdit, Door, MemberEdit, NewOperator, OperatorEdit, Premium, Registration, Scope, Scopes,
        ServiceError,
    },
    store::{Pickup, ReservationFilter},
};
use slotcast_reservation_testing::{log_ins, service::*};

fn address() -> IpAddr {
    "192.0.2.7".parse().unwrap()
}

fn registration() -> Registration {
    Registration {
        user_id: "Taro".to_owned(),
        name: "山田太郎".to_owned(),
        reading: "Yamada Taro".to_owned(),
        email: "taro@example.com".to_owned(),
        password: "correct horse".to_owned(),
        premium: Some(Premium {
            address: "1-1 Example".to_owned(),
            phone: "03-1234-5678".to_owned(),
            card_token: "pm_good".to_owned(),
            ..Premium::default()
        }),
        ..Registration::default()
    }
}

fn fields(refusal: Refusal) -> Vec<String> {
    let Refusal::Invalid(problems) = refusal else { panic!("{refusal:?}") };
    problems.into_iter().map(|problem| problem.field.into_owned()).collect()
}

#[tokio::test]
async fn a_member_registers_logs_in_and_changes_the_password() {
    let world = World::new().await;
    let service = &world.service;
    let member = service.register(registration(), address()).await.unwrap();
    assert_eq!((member.kind, member.user_id.as_str()), (MemberKind::Premium, "taro"));
    assert!(!format!("{member:?}").contains("correct"));
    world.work().await;
    assert_eq!(world.post.keys("welcome-").len(), 1);

    let wrong = refusal(service.log_in("taro", "correct house", address()).await);
    assert_eq!(wrong, Refusal::WrongLogIn);
    let nobody = refusal(service.log_in("nobody", "correct horse", address()).await);
    assert_eq!(nobody, Refusal::WrongLogIn, "which of the two was wrong is not told");
    let session = service.log_in("TARO", "correct horse", address()).await.unwrap();
    let second = service.log_in("taro", "correct horse", address()).await.unwrap();
    assert!(!format!("{session:?}").contains(&session.token));
    let actor = service.actor_of_session(&session.token).await.unwrap();
    assert_eq!(actor.member, member.number);
    assert_eq!(service.csrf_of_session(&session.token), session.csrf);
    assert_ne!(service.csrf_of_session(&session.token), second.csrf);

    let token = service.make_token(&actor, "obs", Scopes::NONE.with(Scope::Broadcast), HOUR).await.unwrap();
    let old = service.change_password(&actor, "wrong horse", "battery staple").await;
    assert_eq!(refusal(old), Refusal::WrongLogIn);
    service.change_password(&actor, "correct horse", "battery staple").await.unwrap();
    service.actor_of_session(&session.token).await.unwrap();
    assert_eq!(refusal(service.actor_of_session(&second.token).await), Refusal::NotLoggedIn);
    assert_eq!(refusal(service.actor_of_token(&token.secret).await), Refusal::NotLoggedIn);
    assert_eq!(refusal(service.log_in("taro", "correct horse", address()).await), Refusal::WrongLogIn);
    service.log_out(&session.token).await.unwrap();
    assert_eq!(refusal(service.actor_of_session(&session.token).await), Refusal::NotLoggedIn);
}

#[tokio::test]
async fn every_item_that_is_missing_is_named_at_once_and_nothing_is_kept_of_a_refused_card() {
    let world = World::new().await;
    let register = |registration| world.service.register(registration, address());
    let empty = Registration { premium: Some(Premium::default()), ..Registration::default() };
    let named = fields(refusal(register(empty).await));
    assert_eq!(
        named,
        ["user_id", "email", "name", "reading", "password", "premium.address", "premium.phone"]
    );
    let number = Premium { card_token: "4242424242424242".to_owned(), ..registration().premium.unwrap() };
    let numbered = Registration { premium: Some(number), ..registration() };
    assert_eq!(fields(refusal(register(numbered).await)), ["premium.card_token"]);
    let same = Registration { password: "taro@example.com".to_owned(), ..registration() };
    assert_eq!(fields(refusal(register(same).await)), ["password"]);
    let card = |token: &str| {
        let premium = Premium { card_token: token.to_owned(), ..registration().premium.unwrap() };
        Registration { premium: Some(premium), ..registration() }
    };
    assert!(matches!(refusal(register(card("pm_declined")).await), Refusal::PaymentDeclined { .. }));
    assert_eq!(refusal(register(card("pm_down")).await), Refusal::PaymentUnavailable);
    let taken = Registration { user_id: "member1".to_owned(), ..registration() };
    assert_eq!(refusal(register(taken).await), Refusal::UserIdTaken);
    let taken = Registration { email: "Member1@Example.com".to_owned(), ..registration() };
    assert_eq!(refusal(register(taken).await), Refusal::EmailTaken);
    let operator = world.actor(4).await;
    assert_eq!(world.service.members(&operator, ALL).await.unwrap().item_count, 4);
}

#[tokio::test]
async fn items_are_named_as_the_request_that_they_stand_in_names_them() {
    let world = World::new().await;
    let (service, actor) = (&world.service, world.actor(1).await);
    let nothing = service.upgrade(&actor, Premium::default()).await;
    assert_eq!(fields(refusal(nothing)), ["address", "phone"]);
    let contact = Contact { address: String::new(), phone: "none".to_owned(), mobile: None, fax: None };
    let edit = |contact: Contact| MemberEdit { contact: Some(contact), ..MemberEdit::default() };
    let wrong = service.edit_me(&actor, None, edit(contact.clone()), address()).await;
    assert_eq!(fields(refusal(wrong)), ["contact.address", "contact.phone"]);

    let general = OperatorEdit { kind: Some(MemberKind::General), ..OperatorEdit::default() };
    service.edit_member(&world.actor(4).await, actor.member, None, general).await.unwrap();
    let right = Contact { address: "1-1 Example".to_owned(), phone: "03-1234-5678".to_owned(), ..contact };
    let refused = service.edit_me(&actor, None, edit(right), address()).await;
    assert_eq!(refusal(refused), Refusal::NotPremium, "it was left aside in silence before");
}

#[tokio::test]
async fn a_program_is_listed_when_it_is_reconfirmed_unless_the_operator_says_otherwise() {
    let world = World::new().await;
    let listing = world.service_by(|rules| rules.list_unconfirmed = false);
    let registered = world.registered("2026-12-01T14:00:00Z", 1).await;
    let (number, owner, operator) = (registered.number, world.actor(1).await, world.actor(4).await);
    let pickup = || Pickup { reservation: number, note: String::new(), position: 1 };
    assert_eq!(world.service.today(None).await.unwrap().len(), 1);
    assert_eq!(listing.today(None).await.unwrap(), []);
    assert_eq!(refusal(listing.program(None, number).await), Refusal::NotFound(Thing::Program));
    assert_eq!(listing.program(Some(&owner), number).await.unwrap().number, number);
    let early = refusal(listing.put_pickup(&operator, pickup()).await);
    assert_eq!(early, Refusal::NotFound(Thing::Program));
    assert!(!listing.guide_calendar(None, 2026, 12).await.unwrap().contains("BEGIN:VEVENT"));

    world.reconfirm(&registered).await.unwrap();
    listing.put_pickup(&operator, pickup()).await.unwrap();
    assert_eq!(listing.today(None).await.unwrap().len(), 1);
    assert_eq!(listing.pickups(None).await.unwrap().len(), 1);
    listing.program(None, number).await.unwrap();
}

#[tokio::test]
async fn a_general_member_becomes_premium_with_a_card_and_may_book_then() {
    let world = World::new().await;
    let (service, actor, operator) = (&world.service, world.actor(1).await, world.actor(4).await);
    let general = OperatorEdit { kind: Some(MemberKind::General), ..OperatorEdit::default() };
    service.edit_member(&operator, actor.member, None, general).await.unwrap();
    assert_eq!(refusal(world.book("2026-12-02T00:00:00Z", 1).await), Refusal::NotPremium);
    let premium = |token: &str| Premium { card_token: token.to_owned(), ..registration().premium.unwrap() };
    for _ in 0..2 {
        let declined = refusal(service.upgrade(&actor, premium("pm_declined")).await);
        assert!(matches!(declined, Refusal::PaymentDeclined { .. }), "{declined:?}");
    }
    let upgraded = service.upgrade(&actor, premium("pm_good")).await.unwrap();
    assert_eq!(upgraded.card.unwrap().token, "pm_good");
    world.book("2026-12-02T00:00:00Z", 1).await.unwrap();
    let many = refusal(service.upgrade(&actor, premium("pm_another")).await);
    assert!(matches!(many, Refusal::TooMany { .. }), "{many:?}");
}

#[tokio::test]
async fn guessing_a_password_is_slowed_down_for_that_user_id_alone() {
    let world = World::new().await;
    let log_in = |user_id: &'static str| world.service.log_in(user_id, "guess guess", address());
    for _ in 0..3 {
        assert_eq!(refusal(log_in("nobody").await), Refusal::WrongLogIn);
    }
    assert!(matches!(refusal(log_in("nobody").await), Refusal::TooMany { retry_after: 1..=30 }));
    assert_eq!(refusal(log_in("somebody").await), Refusal::WrongLogIn);
    // A stepped clock helps nobody; time that passes does.
    world.clock.step(3600);
    assert!(matches!(refusal(log_in("nobody").await), Refusal::TooMany { .. }));
    world.clock.pass(30 * SECOND);
    assert_eq!(refusal(log_in("nobody").await), Refusal::WrongLogIn);
}

#[tokio::test]
async fn guesses_at_one_moment_count_like_any_others() {
    let world = World::new().await;
    let guesses =
        (0..20_u8).map(|host| world.service.log_in("nobody", "guess guess", IpAddr::from([192, 0, 2, host])));
    let refused: Vec<_> = join_all(guesses).await.into_iter().map(refusal).collect();
    let looked_at = refused.iter().filter(|refused| **refused == Refusal::WrongLogIn).count();
    assert_eq!(looked_at, 3, "{refused:?}");
}

#[tokio::test]
async fn a_log_in_that_is_overtaken_begins_no_session() {
    log_ins::a_log_in_that_is_overtaken_begins_no_session(World::new().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_log_in_by_the_old_password_outlives_its_change() {
    log_ins::no_log_in_by_the_old_password_outlives_its_change(World::new().await).await;
}

#[tokio::test]
async fn right_passwords_use_no_guess_up() {
    let world = World::new().await;
    world.service.register(registration(), address()).await.unwrap();
    for host in 0..5_u8 {
        let client = IpAddr::from([192, 0, 2, host]);
        world.service.log_in("taro", "correct horse", client).await.unwrap();
    }
}

#[tokio::test]
async fn whose_address_it_is_cannot_be_asked_often_by_changing_ones_own() {
    let world = World::new().await;
    world.service.register(registration(), address()).await.unwrap();
    let session = world.service.log_in("taro", "correct horse", address()).await.unwrap();
    let actor = world.service.actor_of_session(&session.token).await.unwrap();
    let change = |email: &str| MemberEdit {
        email: Some(email.to_owned()),
        password: Some("correct horse".to_owned()),
        ..MemberEdit::default()
    };
    for _ in 0..Budgets::default().verification.burst {
        let taken = world.service.edit_me(&actor, None, change("member2@example.com"), address()).await;
        assert_eq!(refusal(taken), Refusal::EmailTaken);
    }
    let many = world.service.edit_me(&actor, None, change("member3@example.com"), address()).await;
    assert!(matches!(refusal(many), Refusal::TooMany { .. }));
    // All else may be changed, and so may what stays as it is.
    let name = MemberEdit { name: Some("Taro".to_owned()), ..change("taro@example.com") };
    world.service.edit_me(&actor, None, name, address()).await.unwrap();
}

#[tokio::test]
async fn a_token_does_what_its_scopes_say_and_nothing_else() {
    let world = World::new().await;
    let service = &world.service;
    let actor = world.actor(1).await;
    let scopes = Scopes::NONE.with(Scope::Read);
    let token = service.make_token(&actor, "reader", scopes, HOUR).await.unwrap();
    assert_eq!(
        refusal(service.make_token(&actor, "reader", scopes, HOUR).await),
        Refusal::Exists(Thing::Token)
    );
    let operate = Scopes::NONE.with(Scope::Ledger);
    assert_eq!(refusal(service.make_token(&actor, "op", operate, HOUR).await), Refusal::NotOperator);
    let reader = service.actor_of_token(&token.secret).await.unwrap();
    service.reservations(&reader, ReservationFilter::default(), ALL).await.unwrap();
    let booking = service.book(&reader, draft(1, "2026-12-02T00:00:00Z", 1), None, address()).await;
    assert_eq!(refusal(booking), Refusal::Scope(Scope::Book));
    let edit = service.edit_me(&reader, None, MemberEdit::default(), address()).await;
    assert_eq!(refusal(edit), Refusal::Scope(Scope::Account));
    assert_eq!(
        refusal(service.make_token(&reader, "more", scopes, HOUR).await),
        Refusal::Scope(Scope::Account)
    );
    world.clock.pass(HOUR);
    assert_eq!(refusal(service.actor_of_token(&token.secret).await), Refusal::NotLoggedIn);
    // An operator's token for reading reads the operator's own.
    let held = world.book("2026-12-02T00:00:00Z", 1).await.unwrap();
    let token = service.make_token(&world.actor(4).await, "reader", scopes, HOUR).await.unwrap();
    let reader = service.actor_of_token(&token.secret).await.unwrap();
    assert_eq!(
        refusal(service.reservation(&reader, held.number).await),
        Refusal::NotFound(Thing::Reservation)
    );
    service.reservation(&world.actor(4).await, held.number).await.unwrap();
    assert_eq!(refusal(service.members(&reader, ALL).await), Refusal::Scope(Scope::Moderate));
    assert_eq!(refusal(service.members(&actor, ALL).await), Refusal::NotOperator);
}

#[tokio::test]
async fn a_member_who_is_shut_out_is_out_at_once() {
    let world = World::new().await;
    let (service, operator, actor) = (&world.service, world.actor(4).await, world.actor(1).await);
    let block = OperatorEdit { is_blocked: Some(true), ..OperatorEdit::default() };
    service.edit_member(&operator, actor.member, None, block).await.unwrap();
    let out = service.actor_of_session("session 1").await;
    assert_eq!(refusal(out), Refusal::NotLoggedIn);
    let own = service.edit_member(&operator, operator.member, None, block).await;
    assert_eq!(refusal(own), Refusal::OwnRights);
    let stale = service.edit_member(&operator, actor.member, Some(1), OperatorEdit::default()).await;
    assert_eq!(refusal(stale), Refusal::Stale { version: 2 });
}

#[tokio::test]
async fn the_own_data_is_edited_against_a_version() {
    let world = World::new().await;
    let actor = world.actor(1).await;
    let edit = MemberEdit { name: Some(" New Name ".to_owned()), web: Some(None), ..MemberEdit::default() };
    let edited = world.service.edit_me(&actor, Some(1), edit, address()).await.unwrap();
    assert_eq!((edited.name.as_str(), edited.web.as_ref(), edited.version), ("New Name", None, 2));
    let edit = MemberEdit {
        name: Some(String::new()),
        email: Some("x".to_owned()),
        web: Some(Some("javascript:alert(1)".to_owned())),
        terminal_key: Some(Some("AGE-SECRET-KEY-1".to_owned())),
        ..MemberEdit::default()
    };
    let named = fields(refusal(world.service.edit_me(&actor, None, edit, address()).await));
    assert_eq!(named, ["name", "email", "web", "terminal_key"]);
}

#[tokio::test]
async fn secret_programs_are_listed_nowhere() {
    let world = World::new().await;
    let (service, actor) = (&world.service, world.actor(1).await);
    let book = |start: &'static str, open_level, password: Option<&str>| {
        let mut draft = draft(1, start, 1);
        draft.program.open_level = open_level;
        draft.program.password = password.map(|password| ProgramPassword(password.to_owned()));
        draft.program.title = format!("{open_level:?}, commas; and\nlines").replace('\n', " ");
        let (service, actor) = (world.service.clone(), actor);
        async move {
            let held = service.book(&actor, draft, None, address()).await.unwrap();
            service.accept_terms(&actor, held.number).await.unwrap().number
        }
    };
    let public = book("2026-12-01T14:00:00Z", OpenLevel::Public, None).await;
    let locked = book("2026-12-01T14:10:00Z", OpenLevel::Password, Some("sesame")).await;
    let secret = book("2026-12-01T14:20:00Z", OpenLevel::Secret, Some("sesame")).await;
    let held = world.book("2026-12-01T14:30:00Z", 1).await.unwrap().number;

    let numbers = |listings: &[slotcast_reservation::service::Listing]| {
        listings.iter().map(|listing| listing.number).collect::<Vec<ReservationNumber>>()
    };
    let today = service.today(None).await.unwrap();
    assert_eq!(numbers(&today), [public, locked]);
    assert!(
        today
            .iter()
            .all(|listing| listing.door == Door::Close && listing.web.is_some() && listing.email.is_none())
    );
    let date = jiff::civil::date(2026, 12, 1);
    assert_eq!(numbers(&service.guide_day(None, date, None).await.unwrap()), [public, locked]);
    let month = service.guide_month(None, (2026, 12), None).await.unwrap();
    assert_eq!((month.len(), numbers(&month[0].programs)), (31, vec![public, locked]));
    let calendar = service.guide_calendar(None, 2026, 12).await.unwrap();
    assert!(calendar.contains(&format!("UID:reservation-{public}@example.com")), "{calendar}");
    assert!(!calendar.contains(&secret.to_string()) && !calendar.contains("sesame"));
    assert!(calendar.contains(r"commas\; and lines"), "{calendar}");
    for hidden in [secret, held] {
        assert_eq!(refusal(service.program(None, hidden).await), Refusal::NotFound(Thing::Program));
        let stranger = world.actor(2).await;
        assert_eq!(
            refusal(service.program(Some(&stranger), hidden).await),
            Refusal::NotFound(Thing::Program)
        );
        service.program(Some(&actor), hidden).await.unwrap();
        service.program(Some(&world.actor(4).await), hidden).await.unwrap();
    }
    let pickup = |reservation, position| Pickup { reservation, note: "See it".to_owned(), position };
    let operator = world.actor(4).await;
    service.put_pickup(&operator, pickup(locked, 1)).await.unwrap();
    service.put_pickup(&operator, pickup(public, 2)).await.unwrap();
    let refused = service.put_pickup(&operator, pickup(secret, 0)).await;
    assert_eq!(refusal(refused), Refusal::NotFound(Thing::Program));
    let picked = service.pickups(None).await.unwrap();
    assert_eq!(picked.iter().map(|picked| picked.program.number).collect::<Vec<_>>(), [locked, public]);
    service.end_pickup(&operator, public).await.unwrap();
    assert_eq!(service.pickups(None).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_program_is_open_while_media_goes_out_and_a_seat_is_free() {
    let world = World::new().await;
    let confirmed = world.confirmed("2026-12-01T12:00:00Z", 1).await;
    world.turn().await;
    let open = |viewers| {
        world.streaming.send(confirmed.number, viewers);
        async { world.service.program(None, confirmed.number).await.unwrap().door == Door::Open }
    };
    let listing = world.service.program(None, confirmed.number).await.unwrap();
    assert_eq!(listing.door, Door::Close, "no link yet");
    assert!(open(4).await);
    assert!(!open(5).await, "no seat");
    world.clock.pass(10 * MINUTE);
    assert!(!open(1).await, "over");
}

#[tokio::test]
async fn a_price_that_cannot_be_charged_is_refused_and_an_old_one_is_named() {
    let world = World::new().await;
    let (service, operator) = (&world.service, world.actor(4).await);
    *world.payments.least.lock() = 2500;
    let channel = |number: u16, toll| ChannelEdit {
        number: ChannelNumber(number),
        name: format!("channel{number}").parse().unwrap(),
        seats: Seats::new(10).unwrap(),
        class: "2Mbit/s".parse().unwrap(),
        toll: Toll(toll),
        gather: None,
    };
    let said = |refused: Refusal| match refused {
        Refusal::Invalid(problems) => {
            (problems[0].field.to_string(), problems[0].expected.of(Language::English).to_owned())
        }
        other => panic!("{other:?}"),
    };
    let expected = ("toll".to_owned(), "set 2500 or more".to_owned());
    assert_eq!(said(refusal(service.put_channel(&operator, channel(1, 2000), Some(1)).await)), expected);
    assert_eq!(said(refusal(service.put_channel(&operator, channel(9, 2499), None).await)), expected);
    assert_eq!(said(refusal(service.add_channels(vec![channel(9, 2499)]).await)), expected);
    service.put_channel(&operator, channel(9, 2500), None).await.unwrap();
    // Channels 1 to 3 are from before: 2,000 a slot, the last one nothing.
    let old = service.unchargeable().await.unwrap();
    let numbers: Vec<_> = old.iter().map(|(ChannelNumber(number), _)| *number).collect();
    assert_eq!(numbers, [1, 2, 3]);
}

#[tokio::test]
async fn operators_price_channels_and_book_without_toll() {
    let world = World::new().await;
    let (service, operator) = (&world.service, world.actor(4).await);
    let channel = |number: u16, toll| ChannelEdit {
        number: ChannelNumber(number),
        name: format!("channel{number}").parse().unwrap(),
        seats: Seats::new(10).unwrap(),
        class: "2Mbit/s".parse().unwrap(),
        toll: Toll(toll),
        gather: None,
    };
    let exists = service.put_channel(&operator, channel(1, 9), None).await;
    assert_eq!(refusal(exists), Refusal::Exists(Thing::Channel));
    assert_eq!(service.put_channel(&operator, channel(1, 9), Some(1)).await.unwrap().version, 2);
    let again = service.put_channel(&operator, channel(1, 9), Some(1)).await.unwrap();
    assert_eq!(again.version, 2, "it is as was asked already");
    let stale = service.put_channel(&operator, channel(1, 10), Some(1)).await;
    assert_eq!(refusal(stale), Refusal::Stale { version: 2 });
    service.put_channel(&operator, channel(9, 9), None).await.unwrap();
    let gather = |ms| ChannelEdit { gather: Some(Duration::from_millis(ms)), ..channel(9, 9) };
    let too_long = service.put_channel(&operator, gather(101), Some(1)).await;
    assert_eq!(fields(refusal(too_long)), ["gather_ms"]);
    let put = service.put_channel(&operator, gather(0), Some(1)).await.unwrap();
    assert_eq!(put.gather, Duration::ZERO);
    let kept = service.put_channel(&operator, channel(9, 9), Some(2)).await.unwrap();
    assert_eq!(kept.gather, Duration::ZERO, "what the edit leaves out stays");
    service.retire_channel(&operator, ChannelNumber(9), None).await.unwrap();
    // As the server does at each start: what the operator has changed since stays changed.
    let added = service.add_channels(vec![channel(9, 9), channel(8, 1), channel(1, 10)]).await;
    assert_eq!(added.unwrap(), 1);
    let known = service.channels().await.unwrap();
    assert_eq!(known.len(), 4, "what is retired stays so");
    assert_eq!(known.iter().find(|channel| channel.number.0 == 1).unwrap().toll, Toll(9));
    let retired = world.book_as(1, 9, "2026-12-02T00:00:00Z", 1).await;
    assert_eq!(refusal(retired), Refusal::ChannelRetired(ChannelNumber(9)));

    let special = service.book_special(&operator, draft(1, "2026-12-02T00:00:00Z", 6), None).await.unwrap();
    assert_eq!((special.kind, special.toll), (ProgramKind::Special, Toll(0)));
    world.book_as(1, 2, "2026-12-02T00:00:00Z", 1).await.unwrap();
    world.turn().await;
    assert_eq!(world.streaming.scheduled(), [special.number]);
    assert!(world.streaming.schedule.lock().channels.iter().all(|channel| channel.number.0 != 9));
    assert_eq!(service.viewers(&operator, special.number).await.unwrap(), []);
    let no_link = service.kick_link(&operator, special.number, "test").await;
    assert_eq!(refusal(no_link), Refusal::NotFound(Thing::Link));
    service.kick_viewer(&operator, special.number, 1, "a reason").await.unwrap();
    let unsaid = service.kick_viewer(&operator, special.number, 1, " ").await;
    assert_eq!(fields(refusal(unsaid)), ["reason"]);
}

/// The test's runtime has one thread: a question that kept it would keep the word from being sent.
#[tokio::test]
async fn a_question_who_watches_keeps_nobody_else_waiting() {
    let world = World::new().await;
    let (service, operator) = (&world.service, world.actor(4).await);
    let number = ReservationNumber(1);
    let slow = || {
        let (word, heard) = std::sync::mpsc::channel();
        *world.streaming.slow.lock() = Some(heard);
        word
    };
    let word = slow();
    let (viewers, sent) = tokio::join!(service.viewers(&operator, number), async move { word.send(()) });
    assert_eq!((viewers.unwrap(), sent), (vec![], Ok(())));
    let word = slow();
    let kick = service.kick_viewer(&operator, number, 1, "a reason");
    let (kicked, sent) = tokio::join!(kick, async move { word.send(()) });
    kicked.unwrap();
    assert_eq!(sent, Ok(()));
}

#[tokio::test]
async fn a_blocked_member_is_not_on_air_until_the_block_ends() {
    let world = World::new().await;
    let operator = world.actor(4).await;
    let confirmed = world.confirmed("2026-12-02T00:00:00Z", 1).await;
    world.turn().await;
    assert_eq!(world.streaming.scheduled(), [confirmed.number]);
    for (is_blocked, scheduled) in [(true, vec![]), (false, vec![confirmed.number])] {
        let edit = OperatorEdit { is_blocked: Some(is_blocked), ..OperatorEdit::default() };
        world.service.edit_member(&operator, confirmed.member, None, edit).await.unwrap();
        world.turn().await;
        assert_eq!(world.streaming.scheduled(), scheduled);
    }
}

#[tokio::test]
async fn nobody_is_made_premium_who_could_not_pay() {
    let world = World::new().await;
    let operator = world.actor(4).await;
    let mut tx = world.store.begin().await.unwrap();
    let member = tx.lock_member(MemberNumber(1)).await.unwrap().unwrap();
    let (version, kind) = (member.version + 1, MemberKind::General);
    tx.put_member(&Member { card: None, kind, version, ..member }).await.unwrap();
    tx.commit().await.unwrap();
    let edit = |kind| OperatorEdit { kind: Some(kind), ..OperatorEdit::default() };
    let premium =
        world.service.edit_member(&operator, MemberNumber(1), None, edit(MemberKind::Premium)).await;
    assert_eq!(refusal(premium), Refusal::NoPaymentMethod);
}

#[tokio::test]
async fn a_channel_keeps_its_name_while_programs_are_booked() {
    let world = World::new().await;
    let (service, operator) = (&world.service, world.actor(4).await);
    let found = service.channels().await.unwrap().remove(0);
    let named = |name: &str| ChannelEdit {
        number: found.number,
        name: name.parse().unwrap(),
        seats: found.seats,
        class: found.class,
        toll: found.toll,
        gather: None,
    };
    let booked = world.book_as(1, found.number.0, "2026-12-02T00:00:00Z", 1).await.unwrap();
    let put = |name, version| service.put_channel(&operator, named(name), Some(version));
    let kept = Refusal::ChannelNameInUse { name: found.name.clone() };
    assert_eq!(refusal(put("other", 1).await), kept);
    assert_eq!(put(found.name.as_str(), 1).await.unwrap().version, 1, "nothing changes");
    world.clock.set(booked.window.end().saturating_sub(MICRO));
    assert_eq!(refusal(put("other", 1).await), kept, "until the end of its window");
    world.clock.set(booked.window.end());
    put("other", 1).await.unwrap();
}

#[tokio::test]
async fn no_more_seats_are_sold_than_the_uplink_carries() {
    let world = World::new().await;
    let (service, operator) = (&world.service, world.actor(4).await);
    let edit = |number: u16, seats| ChannelEdit {
        number: ChannelNumber(number),
        name: format!("channel{number}").parse().unwrap(),
        seats: Seats::new(seats).unwrap(),
        class: "10Mbit/s".parse().unwrap(),
        toll: Toll(1),
        gather: None,
    };
    let put = |number, seats, version| service.put_channel(&operator, edit(number, seats), version);
    let beyond = |seats_max| Refusal::UplinkSold { uplink: "1Gbit/s".parse().unwrap(), seats_max };
    assert_eq!(refusal(put(9, 100, None).await), beyond(99));
    let together = refusal(service.add_channels(vec![edit(8, 1), edit(9, 99)]).await);
    assert_eq!(together, beyond(98));
    assert!(service.channels().await.unwrap().iter().all(|channel| channel.number.0 < 8), "all or none");
    put(9, 50, None).await.unwrap();
    assert_eq!(refusal(put(9, 100, Some(1)).await), beyond(99));
    put(9, 40, Some(1)).await.unwrap();

    // What is booked keeps its seats, though the channel is smaller or retired.
    let booked = world.book_as(1, 9, "2026-12-02T00:00:00Z", 1).await.unwrap();
    put(9, 1, Some(2)).await.unwrap();
    assert_eq!(refusal(put(8, 70, None).await), beyond(59));
    service.retire_channel(&operator, ChannelNumber(9), None).await.unwrap();
    assert_eq!(refusal(put(8, 70, None).await), beyond(59));
    world.clock.set(booked.window.end());
    put(8, 70, None).await.unwrap();
}

#[tokio::test]
async fn the_ledger_is_exported_whole() {
    let world = World::new().await;
    let confirmed = world.confirmed("2026-12-02T00:00:00Z", 1).await;
    let operator = world.actor(4).await;
    let (from, to) = (wall("2026-12-01T00:00:00Z"), wall("2026-12-02T00:00:00Z"));
    let (csv, _) = world.service.ledger_csv(&operator, (from, to), None).await.unwrap();
    let rows: Vec<_> = csv.split_terminator("\r\n").collect();
    let number = confirmed.number;
    let row = format!(
        "2026-12-01T12:00:00Z,authorised-authorise-{number}-1,authorised,{number},member_holds:1,holds,2000,JPY"
    );
    assert_eq!(rows, ["at,key,kind,reservation,debit,credit,amount_minor,currency", &row]);
    assert_eq!(world.balance(Account::MemberHolds(MemberNumber(1))).await, 2000);
    let (rest, next) = world.service.ledger_csv(&operator, (from, to), Some(i64::MAX - 1)).await.unwrap();
    assert_eq!((rest.as_str(), next), ("", None), "no names of columns again");
    let nobody = world.service.ledger_csv(&world.actor(1).await, (from, to), None).await;
    assert!(matches!(nobody, Err(ServiceError::Refused(Refusal::NotOperator))));
}

#[tokio::test]
async fn the_first_operator_is_made_on_the_command_line() {
    let world = World::new().await;
    let operator = |password: &str, replace| NewOperator {
        user_id: "root1".to_owned(),
        name: "Operator".to_owned(),
        email: "root1@example.com".to_owned(),
        password: password.to_owned(),
        replace,
    };
    let create = |operator| world.service.create_operator(operator);
    assert_eq!(fields(refusal(create(operator("short", false)).await)), ["password"]);
    let made = create(operator("long enough", false)).await.unwrap();
    assert!(made.member.is_operator && made.member.is_email_verified && made.before.is_none());
    assert_eq!(refusal(create(operator("another one", false)).await), Refusal::Exists(Thing::Member));
    let again = create(operator("another one", true)).await.unwrap();
    assert_eq!((again.member.number, again.member.version), (made.member.number, 2));
    let session = world.service.log_in("root1", "another one", address()).await.unwrap();
    let actor = world.service.actor_of_session(&session.token).await.unwrap();
    world.service.members(&actor, ALL).await.unwrap();
}

#[tokio::test]
async fn an_operator_does_not_take_over_a_strangers_name_and_address() {
    let world = World::new().await;
    let stranger = Registration { user_id: "ops".to_owned(), premium: None, ..registration() };
    world.service.register(stranger, address()).await.unwrap();
    let theirs = world.service.log_in("ops", "correct horse", address()).await.unwrap();
    let operator = |replace| NewOperator {
        user_id: "ops".to_owned(),
        name: "Operator".to_owned(),
        email: "ops@example.com".to_owned(),
        password: "battery staple".to_owned(),
        replace,
    };
    let refused = world.service.create_operator(operator(false)).await;
    assert_eq!(refusal(refused), Refusal::Exists(Thing::Member));
    assert!(!world.service.actor_of_session(&theirs.token).await.unwrap().is_operator);
    let made = world.service.create_operator(operator(true)).await.unwrap();
    let named = (made.member.name.as_str(), made.member.email.as_str());
    assert_eq!(named, ("Operator", "ops@example.com"));
    assert_eq!(made.before.unwrap().email.as_str(), "taro@example.com");
    assert_eq!(refusal(world.service.actor_of_session(&theirs.token).await), Refusal::NotLoggedIn);
}

#[tokio::test]
async fn strangers_who_guess_lock_no_member_out() {
    let world = World::new().await;
    world.service.register(registration(), address()).await.unwrap();
    let session = world.service.log_in("taro", "correct horse", address()).await.unwrap();
    // Started anew, the server has only its database to know members' networks by.
    let service = world.another_service();
    for host in 0..20_u8 {
        let _ = service.log_in("taro", "guess guess", IpAddr::from([198, 51, 100, host])).await;
    }
    let elsewhere = service.log_in("taro", "correct horse", IpAddr::from([203, 0, 113, 1])).await;
    assert!(matches!(refusal(elsewhere), Refusal::TooMany { .. }));
    service.log_in("taro", "correct horse", address()).await.unwrap();
    let actor = service.actor_of_session(&session.token).await.unwrap();
    service.change_password(&actor, "correct horse", "battery staple").await.unwrap();
}

#[tokio::test]
async fn names_that_cannot_be_seen_and_passwords_that_are_guessed_first_are_refused() {
    let world = World::new().await;
    let register = |registration| world.service.register(registration, address());
    let unseen = Registration {
        name: "\u{200b}\u{3164}".to_owned(),
        reading: "\u{2800}".to_owned(),
        password: "password123".to_owned(),
        ..registration()
    };
    assert_eq!(fields(refusal(register(unseen).await)), ["name", "reading", "password"]);
}

#[tokio::test]
async fn the_providers_time_stands_beside_the_askers() {
    let world = World::new().await;
    let time = world.service.time(Some(wall("2026-12-01T12:00:01.5Z")));
    assert_eq!((time.now, time.offset_ms), (world.clock.now(), Some(1500)));
    assert_eq!(world.service.time(None).offset_ms, None);
}
