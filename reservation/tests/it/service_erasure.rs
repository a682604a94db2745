//! Which terms were accepted, what is kept of a member, and what is left of one who goes.

use std::net::IpAddr;

use slotcast_reservation::{
    domain::{
        effects::Account,
        refusal::{Refusal, Thing},
        words::MemberNumber,
    },
    service::{Actor, OperatorEdit, Premium, Registration, Scope, Scopes, Service},
};
use slotcast_reservation_testing::service::*;

const PASSWORD: &str = "correct horse";

fn here() -> IpAddr {
    "192.0.2.7".parse().unwrap()
}

async fn registered(service: &Service) -> Actor {
    let registration = Registration {
        user_id: "taro".to_owned(),
        name: "Yamada Taro".to_owned(),
        reading: "Yamada Taro".to_owned(),
        email: "taro@example.com".to_owned(),
        password: PASSWORD.to_owned(),
        premium: Some(Premium {
            address: "1-1 Example".to_owned(),
            phone: "03-1234-5678".to_owned(),
            card_token: "pm_good".to_owned(),
            ..Premium::default()
        }),
        ..Registration::default()
    };
    service.register(registration, here()).await.unwrap();
    let session = service.log_in("taro", PASSWORD, here()).await.unwrap();
    service.actor_of_session(&session.token).await.unwrap()
}

#[tokio::test]
async fn the_terms_that_were_accepted_are_kept_though_others_are_in_force_by_now() {
    let world = World::new().await;
    let actor = world.actor(1).await;
    let first = world.registered("2026-12-02T00:00:00Z", 1).await;
    let later = world.service_with_terms("Be kinder.");
    let second = later.book(&actor, draft(1, "2026-12-02T01:00:00Z", 1), None, here()).await.unwrap();
    later.accept_terms(&actor, second.number).await.unwrap();
    // Asked again, the first stays what it was.
    later.accept_terms(&actor, first.number).await.unwrap();
    let data = later.own_data(&actor).await.unwrap();
    let terms: Vec<_> = data
        .reservations
        .iter()
        .map(|own| (own.reservation.number, own.accepted_terms.clone().unwrap()))
        .collect();
    assert_eq!(terms.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [second.number, first.number]);
    let [(_, kinder), (_, kind)] = &terms[..] else { panic!("{terms:?}") };
    let hex = |hash: [u8; 32]| hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!((&*kind.text, &kind.sha256), ("Be kind.", &hex(hash("Be kind."))));
    assert_eq!((&*kinder.text, &kinder.sha256), ("Be kinder.", &hex(later.terms_hash())));
    assert_eq!(kind.at, world.clock.now());
}

#[tokio::test]
async fn who_goes_leaves_the_records_of_money_and_nothing_else() {
    let world = World::new().await;
    let service = &world.service;
    let actor = registered(service).await;
    let token = service.make_token(&actor, "obs", Scopes::NONE.with(Scope::Read), HOUR).await.unwrap();
    let mut draft = draft(1, "2026-12-02T00:00:00Z", 1);
    draft.program.details = "Taro plays".to_owned();
    let held = service.book(&actor, draft, None, here()).await.unwrap();
    let open = Refusal::AccountOpen { reservations: 1, owes: false };
    assert_eq!(refusal(service.erase_me(&actor, PASSWORD).await), open);
    let registered = service.accept_terms(&actor, held.number).await.unwrap();
    service.reconfirm(&actor, held.number, &world.id(&registered), None).await.unwrap();
    service.cancel(&actor, held.number, None).await.unwrap();
    // The price of what was cancelled late is on its way.
    let owes = Refusal::AccountOpen { reservations: 0, owes: true };
    assert_eq!(refusal(service.erase_me(&actor, PASSWORD).await), owes);
    world.work().await;
    let ledger = world.reads().await.ledger_of(held.number).await.unwrap();
    let cash = world.balance(Account::Cash).await;
    assert!(ledger.len() > 2 && cash > 0, "{ledger:?}");
    service.forgot_password("taro", here()).await.unwrap();

    assert_eq!(refusal(service.erase_me(&actor, "wrong horse").await), Refusal::WrongLogIn);
    service.erase_me(&actor, PASSWORD).await.unwrap();
    world.work().await;
    assert!(world.post.keys("new-password-").is_empty(), "a mail that waited went too");
    assert_eq!(refusal(service.actor_of_token(&token.secret).await), Refusal::NotLoggedIn);
    assert_eq!(refusal(service.log_in("taro", PASSWORD, here()).await), Refusal::WrongLogIn);
    let gone = format!("erased-{}", actor.member);
    assert_eq!(refusal(service.log_in(&gone, PASSWORD, here()).await), Refusal::WrongLogIn);
    let left = world.reads().await.member(actor.member).await.unwrap().unwrap();
    assert!(left.contact.is_none() && left.card.is_none() && left.is_blocked, "{left:?}");
    assert_eq!((left.name.as_str(), left.user_id.as_str()), ("-", gone.as_str()));
    let program = world.found(held.number).await.program;
    assert_eq!((program.title.as_str(), program.details.as_str(), program.friends.len()), ("-", "", 0));
    assert_eq!(world.reads().await.ledger_of(held.number).await.unwrap(), ledger);
    assert_eq!(world.balance(Account::Cash).await, cash);
    // Name and address are free again.
    registered_again(service).await;
}

async fn registered_again(service: &Service) {
    let again = registered(service).await;
    assert!(service.own_data(&again).await.unwrap().reservations.is_empty());
}

#[tokio::test]
async fn an_operator_erases_members_and_no_operator() {
    let world = World::new().await;
    let service = &world.service;
    let actor = registered(service).await;
    let operator = world.actor(4).await;
    assert_eq!(refusal(service.erase_member(&actor, MemberNumber(1)).await), Refusal::NotOperator);
    assert_eq!(refusal(service.erase_member(&operator, MemberNumber(4)).await), Refusal::OwnRights);
    let unknown = service.erase_member(&operator, MemberNumber(99)).await;
    assert_eq!(refusal(unknown), Refusal::NotFound(Thing::Member));
    service.erase_member(&operator, actor.member).await.unwrap();
    assert_eq!(refusal(service.log_in("taro", PASSWORD, here()).await), Refusal::WrongLogIn);
    // Who is let in again by mistake is still nobody.
    let unblock = OperatorEdit { is_blocked: Some(false), ..OperatorEdit::default() };
    service.edit_member(&operator, actor.member, None, unblock).await.unwrap();
    let gone = format!("erased-{}", actor.member);
    assert_eq!(refusal(service.log_in(&gone, PASSWORD, here()).await), Refusal::WrongLogIn);
}
