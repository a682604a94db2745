//! What pages get of the edge: sessions begun and ended without JSON, forms that only our own pages can post.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use slotcast_core::words::OpenLevel;
use slotcast_reservation::{
    domain::{refusal::Refusal, words::Language},
    edge::{Edge, EdgeSettings},
    service::{DraftInput, FriendInput, ProgramInput, Registration, ServiceError, WindowInput},
};
use slotcast_reservation_testing::service::*;

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let pair = |(name, value): &(&'static str, &str)| {
        (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
    };
    pairs.iter().map(pair).collect()
}

async fn edge_and_member() -> (World, Edge) {
    let world = World::new().await;
    let registration = Registration {
        user_id: "taro".to_owned(),
        name: "Taro".to_owned(),
        reading: "Taro".to_owned(),
        email: "taro@example.com".to_owned(),
        password: "correct horse".to_owned(),
        ..Registration::default()
    };
    world.service.register(registration, client()).await.unwrap();
    let settings = EdgeSettings { base_url: "https://cast.example".to_owned(), trusted_proxies: Vec::new() };
    let edge = Edge::new(world.service.clone(), settings);
    (world, edge)
}

fn client() -> IpAddr {
    "192.0.2.7".parse().unwrap()
}

#[tokio::test]
async fn a_page_begins_and_ends_a_session() {
    let (_world, edge) = edge_and_member().await;
    let wrong = edge.log_in("taro", "wrong horse", client()).await;
    assert!(matches!(wrong, Err(ServiceError::Refused(Refusal::WrongLogIn))), "{wrong:?}");
    let (logged_in, cookie) = edge.log_in("taro", "correct horse", client()).await.unwrap();
    assert!(cookie.is_sensitive());
    let pair = cookie.to_str().unwrap().split(';').next().unwrap().to_owned();
    let with_cookie = headers(&[("cookie", &format!("lang=ja; {pair}"))]);
    let session = edge.session(&with_cookie).await.unwrap().unwrap();
    assert_eq!(session.actor.member, logged_in.member.number);
    assert_eq!(session.csrf_token(), logged_in.csrf);
    assert!(edge.token(&with_cookie).await.unwrap().is_none());
    assert!(edge.session(&HeaderMap::new()).await.unwrap().is_none());

    let away = edge.log_out(&session).await.unwrap();
    assert!(away.to_str().unwrap().contains("=; Path=/; Max-Age=0;"), "{away:?}");
    assert!(edge.session(&with_cookie).await.unwrap().is_none());
}

#[test]
fn all_that_is_wrong_with_a_draft_is_named_at_once() {
    let window = WindowInput { start: "tomorrow".to_owned(), end: "2026-12-02T00:10:00Z".to_owned() };
    let friends = ["hanako@example.com", "nobody", "HANAKO@example.com"];
    let program = ProgramInput {
        title: String::new(),
        genre: "Music".to_owned(),
        outline: String::new(),
        details: "Haydn\r\nand Ravel".to_owned(),
        open_level: OpenLevel::Password,
        password: None,
        show_email: false,
        show_web: false,
        friends: friends.map(|friend| FriendInput(friend.to_owned())).to_vec(),
    };
    let draft = DraftInput { channel: 1, window, program };
    let Err(Refusal::Invalid(wrong)) = draft.draft(&rules()) else { panic!("it is wrong") };
    let names: Vec<_> = wrong.iter().map(|problem| problem.field.as_ref()).collect();
    assert_eq!(names, ["window.start", "program.friends[1]", "program.title", "program.password"]);
    assert!(wrong.iter().all(|problem| !problem.expected.of(Language::Japanese).is_empty()));

    let mut right = draft;
    right.window.start = "2026-12-02T00:00:00Z".to_owned();
    right.program.title = "Evening concert".to_owned();
    right.program.password = Some("sesame".to_owned());
    right.program.friends.remove(1);
    let right = right.draft(&rules()).unwrap();
    assert_eq!(right.program.friends.len(), 1, "each once; case does not count");
}

#[tokio::test]
async fn forms_are_taken_from_our_own_pages_alone() {
    let (_world, edge) = edge_and_member().await;
    let (logged_in, cookie) = edge.log_in("taro", "correct horse", client()).await.unwrap();
    let with_cookie = headers(&[("cookie", cookie.to_str().unwrap().split(';').next().unwrap())]);
    let session = edge.session(&with_cookie).await.unwrap();
    let session = session.as_ref();
    let right = Some(logged_in.csrf.as_str());
    let ours = headers(&[("origin", "https://cast.example")]);
    let silent = HeaderMap::new();
    let foreign = headers(&[("origin", "https://evil.example")]);
    let cross = headers(&[("sec-fetch-site", "cross-site")]);

    assert_eq!(edge.check_form(&ours, session, right), Ok(()));
    assert_eq!(edge.check_form(&silent, session, right), Ok(()));
    assert_eq!(edge.check_form(&ours, None, None), Ok(()));
    for (headers, session, given) in [
        (&ours, session, None),
        (&ours, session, Some("")),
        (&ours, session, Some("guessed")),
        (&foreign, session, right),
        (&cross, session, right),
        (&foreign, None, None),
        (&cross, None, None),
        // A form without a session has no proof but the browser's word.
        (&silent, None, None),
    ] {
        assert_eq!(edge.check_form(headers, session, given), Err(Refusal::Csrf), "{headers:?} {given:?}");
    }
}
