//! Codes that are mailed: a forgotten password, an address that is to be verified.

use std::{net::IpAddr, time::Duration};

use slotcast_reservation::{
    domain::{proof::ProofKind, refusal::Refusal},
    limits::Budgets,
    service::{Actor, MemberEdit, NewOperator, Premium, Registration, Scope, Scopes, Service},
};
use slotcast_reservation_testing::service::*;

const PASSWORD: &str = "correct horse";
const ANOTHER: &str = "battery staple";

fn here() -> IpAddr {
    "192.0.2.7".parse().unwrap()
}

async fn registered(service: &Service) -> Actor {
    let registration = Registration {
        user_id: "taro".to_owned(),
        name: "Taro".to_owned(),
        reading: "Taro".to_owned(),
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
    logged_in(service, PASSWORD).await
}

async fn logged_in(service: &Service, password: &str) -> Actor {
    let session = service.log_in("taro", password, here()).await.unwrap();
    service.actor_of_session(&session.token).await.unwrap()
}

/// The code in the newest mail whose key begins so.
fn code_of(world: &World, begin: &str) -> String {
    let text = world.post.text(begin);
    let link = text.split("?code=3D").nth(1).or_else(|| text.split("?code=").nth(1)).expect("a link");
    let code: String = link.chars().take(30).collect();
    assert!(text.contains(&format!("\r\n  {code}\r\n")), "the code stands alone too: {text}");
    code
}

fn edit(email: &str, password: Option<&str>) -> MemberEdit {
    MemberEdit {
        email: Some(email.to_owned()),
        password: password.map(str::to_owned),
        ..MemberEdit::default()
    }
}

#[tokio::test]
async fn a_forgotten_password_is_replaced_by_a_code_that_is_used_once() {
    let world = World::new().await;
    let service = &world.service;
    let actor = registered(service).await;
    let token = service.make_token(&actor, "obs", Scopes::NONE.with(Scope::Read), HOUR).await.unwrap();
    let session = service.log_in("taro", PASSWORD, here()).await.unwrap();
    service.forgot_password(" Taro@Example.com ", here()).await.unwrap();
    world.work().await;
    let code = code_of(&world, "new-password-");

    let trivial = refusal(service.replace_password(&code, "password123", here()).await);
    assert!(matches!(trivial, Refusal::Invalid(_)), "the code is not used up by it: {trivial:?}");
    let typed = code.to_uppercase().replace('-', " ");
    service.replace_password(&typed, ANOTHER, here()).await.unwrap();
    assert_eq!(refusal(service.replace_password(&code, ANOTHER, here()).await), Refusal::WrongCode);
    assert_eq!(refusal(service.actor_of_session(&session.token).await), Refusal::NotLoggedIn);
    assert_eq!(refusal(service.actor_of_token(&token.secret).await), Refusal::NotLoggedIn);
    assert_eq!(refusal(service.log_in("taro", PASSWORD, here()).await), Refusal::WrongLogIn);
    let actor = logged_in(service, ANOTHER).await;
    assert!(service.me(&actor).await.unwrap().is_email_verified, "the mail arrived");
    world.work().await;
    assert_eq!(world.post.keys("password-changed-").len(), 1);
}

#[tokio::test]
async fn a_code_is_too_old_after_half_an_hour_and_no_other_code_does() {
    let world = World::new().await;
    let service = &world.service;
    let actor = registered(service).await;
    service.forgot_password("taro", here()).await.unwrap();
    world.work().await;
    let code = code_of(&world, "new-password-");
    // Asked again soon, the mail holds the same code: the link in the first mail stays valid.
    world.clock.pass(5 * MINUTE);
    service.forgot_password("taro", here()).await.unwrap();
    world.work().await;
    assert_eq!(code_of(&world, "new-password-"), code);
    assert_eq!(world.post.keys("new-password-").len(), 2);
    let other = world.vault.proof_code(ProofKind::Password, actor.member, 1);
    for wrong in ["", "nonsense", other.expose()] {
        assert_eq!(refusal(service.replace_password(wrong, ANOTHER, here()).await), Refusal::WrongCode);
    }
    assert_eq!(refusal(service.verify_email(&code, here()).await), Refusal::WrongCode);
    world.clock.pass(25 * MINUTE);
    assert_eq!(refusal(service.replace_password(&code, ANOTHER, here()).await), Refusal::WrongCode);
    logged_in(service, PASSWORD).await;
}

#[tokio::test]
async fn whoever_asks_for_a_password_learns_nothing_and_floods_nobody() {
    let world = World::new().await;
    let service = &world.service;
    registered(service).await;
    let burst = Budgets::default().forgotten_member.burst as usize;
    for _ in 0..2 * burst {
        service.forgot_password("taro", here()).await.unwrap();
        service.forgot_password("nobody@example.com", here()).await.unwrap();
        service.forgot_password("not a name", here()).await.unwrap();
    }
    world.work().await;
    assert_eq!(world.post.keys("new-password-").len(), burst);
    let narrow = world
        .service_with_budgets(|budgets| budgets.forgotten_address = Budgets::default().forgotten_address);
    for _ in 0..Budgets::default().forgotten_address.burst {
        narrow.forgot_password("nobody", here()).await.unwrap();
    }
    let many = refusal(narrow.forgot_password("nobody", here()).await);
    assert!(matches!(many, Refusal::TooMany { .. }), "{many:?}");
}

#[tokio::test]
async fn a_code_of_a_changed_password_or_address_opens_nothing() {
    let world = World::new().await;
    let service = &world.service;
    let actor = registered(service).await;
    service.forgot_password("taro", here()).await.unwrap();
    world.work().await;
    let code = code_of(&world, "new-password-");
    service.change_password(&actor, PASSWORD, ANOTHER).await.unwrap();
    assert_eq!(refusal(service.replace_password(&code, PASSWORD, here()).await), Refusal::WrongCode);
    service.forgot_password("taro", here()).await.unwrap();
    world.work().await;
    let code = code_of(&world, "new-password-");
    service.edit_me(&actor, None, edit("new@example.com", Some(ANOTHER)), here()).await.unwrap();
    assert_eq!(refusal(service.replace_password(&code, PASSWORD, here()).await), Refusal::WrongCode);
}

#[tokio::test]
async fn another_address_asks_for_the_password_and_the_old_one_is_told() {
    let world = World::new().await;
    let service = &world.service;
    let actor = registered(service).await;
    let refused = refusal(service.edit_me(&actor, None, edit("new@example.com", None), here()).await);
    assert!(matches!(&refused, Refusal::Invalid(wrong) if wrong[0].field == "password"), "{refused:?}");
    let wrong = edit("new@example.com", Some("wrong horse"));
    for _ in 0..3 {
        assert_eq!(refusal(service.edit_me(&actor, None, wrong.clone(), here()).await), Refusal::WrongLogIn);
    }
    let many = refusal(service.edit_me(&actor, None, wrong, here()).await);
    assert!(matches!(many, Refusal::TooMany { .. }), "{many:?}");
    world.clock.pass(30 * SECOND);
    let right = edit("new@example.com", Some(PASSWORD));
    let after = service.edit_me(&actor, None, right, here()).await.unwrap();
    assert_eq!((after.email.as_str(), after.new_email), ("new@example.com", None));
    world.work().await;
    let told = world.post.text("email-changed-");
    assert!(told.contains("taro@example.com") && told.contains("new@example.com"), "{told}");
}

#[tokio::test]
async fn where_addresses_are_verified_a_member_books_only_then() {
    let world = World::new().await;
    let service = world.service_by(|rules| rules.verify_email = true);
    let actor = registered(&service).await;
    let book = |start: &'static str| service.book(&actor, draft(1, start, 1), None, here());
    assert_eq!(refusal(book("2026-12-02T00:00:00Z").await), Refusal::EmailUnverified);
    let window = draft(1, "2026-12-02T00:00:00Z", 1).window;
    let quote = service.quote(Some(&actor), slotcast_core::words::ChannelNumber(1), window).await.unwrap();
    assert!(quote.reasons.contains(&Refusal::EmailUnverified), "{quote:?}");
    world.work().await;
    let first = code_of(&world, "verify-email-");
    service.ask_verification(&actor).await.unwrap();
    world.work().await;
    assert_eq!(
        (code_of(&world, "verify-email-"), world.post.keys("verify-email-").len()),
        (first.clone(), 2)
    );
    let member = service.verify_email(&first, here()).await.unwrap();
    assert!(member.is_email_verified);
    book("2026-12-02T00:00:00Z").await.unwrap();
    assert_eq!(refusal(service.verify_email(&first, here()).await), Refusal::WrongCode);
    // Nothing waits any more.
    service.ask_verification(&actor).await.unwrap();
    world.work().await;
    assert_eq!(world.post.keys("verify-email-").len(), 2);
}

#[tokio::test]
async fn a_new_address_counts_once_it_is_verified() {
    let world = World::new().await;
    let service = world.service_by(|rules| rules.verify_email = true);
    let actor = registered(&service).await;
    world.work().await;
    let change = |email: &'static str| service.edit_me(&actor, None, edit(email, Some(PASSWORD)), here());
    let old_code = code_of(&world, "verify-email-");
    let waits = change("new@example.com").await.unwrap();
    assert_eq!(
        (waits.email.as_str(), waits.new_email.unwrap().as_str()),
        ("taro@example.com", "new@example.com")
    );
    world.work().await;
    assert!(world.post.text("email-changed-").contains("To: Taro <taro@example.com>"));
    assert!(world.post.text("verify-email-").contains("new@example.com"));
    assert_eq!(refusal(service.verify_email(&old_code, here()).await), Refusal::WrongCode);
    // Back to the old one: the code to the new one is worth nothing.
    let code = code_of(&world, "verify-email-");
    let back = change("taro@example.com").await.unwrap();
    assert_eq!(back.new_email, None);
    assert_eq!(refusal(service.verify_email(&code, here()).await), Refusal::WrongCode);
    change("new@example.com").await.unwrap();
    world.work().await;
    let code = code_of(&world, "verify-email-");
    // Who registers with it meanwhile has it.
    let theirs = NewOperator {
        user_id: "other".to_owned(),
        name: "Other".to_owned(),
        email: "New@example.com".to_owned(),
        password: PASSWORD.to_owned(),
        replace: false,
    };
    service.create_operator(theirs).await.unwrap();
    assert_eq!(refusal(service.verify_email(&code, here()).await), Refusal::EmailTaken);
    world.clock.pass(Duration::from_secs(1200));
    change("newer@example.com").await.unwrap();
    world.work().await;
    let after = service.verify_email(&code_of(&world, "verify-email-"), here()).await.unwrap();
    assert_eq!((after.email.as_str(), after.new_email), ("newer@example.com", None));
    assert!(after.is_email_verified);
}
