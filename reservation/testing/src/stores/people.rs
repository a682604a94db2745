//! Members, sessions, tokens.

use std::sync::Arc;

use slotcast_reservation::{
    domain::{
        member::{Card, Contact, Member, MemberKind},
        proof::{Proof, ProofKind},
        words::{Language, MemberNumber},
    },
    store::{ApiToken, Conflict, Page, Session},
};

use crate::stores::{ALL, World, conflict, member, slot};

fn premium(number: i64) -> Member {
    Member {
        name: "山田 太郎 'Tarō' \"; DROP TABLE members; --".to_owned(),
        reading: "Yamada Tarō".to_owned(),
        is_email_verified: true,
        new_email: Some("new@example.com".parse().unwrap()),
        email_public: true,
        web: Some("https://example.com/~taro".to_owned()),
        language: Language::Japanese,
        kind: MemberKind::Premium,
        is_operator: true,
        is_blocked: true,
        contact: Some(Contact {
            address: "1-2-3 Chiyoda\nTokyo".to_owned(),
            phone: "+81 3 1234 5678".to_owned(),
            mobile: Some("090".to_owned()),
            fax: None,
        }),
        card: Some(Card {
            token: "pm_1".to_owned(),
            brand: "visa".to_owned(),
            last_four: "4242".to_owned(),
            expires: Some((2030, 12)),
        }),
        terminal_key: Some("age1xyz".to_owned()),
        ..member(number)
    }
}

pub async fn members_keep_every_field(world: Arc<World>) {
    let invoiced = Card {
        token: "invoice".to_owned(),
        brand: "invoice".to_owned(),
        last_four: String::new(),
        expires: None,
    };
    let members = [
        member(1),
        premium(2),
        Member { card: Some(invoiced), ..premium(3) },
        Member { contact: None, card: None, ..premium(9_007_199_254_740_991) },
    ];
    let mut tx = world.store.begin().await.unwrap();
    for member in &members {
        tx.add_member(member).await.unwrap();
    }
    tx.commit().await.unwrap();
    let mut reads = world.store.read().await.unwrap();
    for member in &members {
        assert_eq!(reads.member(member.number).await.unwrap().as_ref(), Some(member));
        assert_eq!(reads.member_by_user_id(&member.user_id).await.unwrap().as_ref(), Some(member));
        let other_case = member.email.as_str().to_uppercase().parse().unwrap();
        assert_eq!(reads.member_by_email(&other_case).await.unwrap().as_ref(), Some(member));
    }
    assert_eq!(reads.member(MemberNumber(4)).await.unwrap(), None);
    assert_eq!(reads.member_by_user_id(&"nobody".parse().unwrap()).await.unwrap(), None);
    assert_eq!(reads.member_by_email(&"no@example.com".parse().unwrap()).await.unwrap(), None);
}

pub async fn user_ids_and_addresses_are_unique(world: Arc<World>) {
    world.with_members(2).await;
    let cases = [
        (Member { user_id: member(1).user_id, ..member(3) }, Conflict::UserId),
        (Member { email: "MEMBER1@EXAMPLE.COM".parse().unwrap(), ..member(3) }, Conflict::Email),
        (Member { user_id: member(1).user_id, version: 2, ..member(2) }, Conflict::UserId),
        (Member { email: "MEMBER1@EXAMPLE.COM".parse().unwrap(), version: 2, ..member(2) }, Conflict::Email),
    ];
    for (changed, expected) in cases {
        let mut tx = world.store.begin().await.unwrap();
        let done =
            if changed.version == 1 { tx.add_member(&changed).await } else { tx.put_member(&changed).await };
        assert_eq!(conflict(done), expected);
    }
    let mut tx = world.store.begin().await.unwrap();
    let own = Member { email: "MEMBER2@EXAMPLE.COM".parse().unwrap(), version: 2, ..member(2) };
    tx.put_member(&own).await.unwrap();
    tx.commit().await.unwrap();
}

pub async fn an_edit_of_an_older_member_is_refused(world: Arc<World>) {
    world.with_members(1).await;
    for (member, there) in [
        (Member { version: 3, ..premium(1) }, 1),
        (Member { version: 1, ..premium(1) }, 1),
        (Member { version: 2, ..premium(8) }, 0),
    ] {
        let mut tx = world.store.begin().await.unwrap();
        assert_eq!(conflict(tx.put_member(&member).await), Conflict::Version(there));
    }
    let edited = Member { version: 2, ..premium(1) };
    let mut tx = world.store.begin().await.unwrap();
    assert_eq!(tx.lock_member(MemberNumber(1)).await.unwrap(), Some(member(1)));
    assert_eq!(tx.lock_member(MemberNumber(8)).await.unwrap(), None);
    tx.put_member(&edited).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(world.store.read().await.unwrap().member(MemberNumber(1)).await.unwrap(), Some(edited));
}

pub async fn members_are_listed_by_user_id(world: Arc<World>) {
    let mut tx = world.store.begin().await.unwrap();
    for (number, user_id) in [(1, "b-b"), (2, "bbb"), (3, "b_b"), (4, "0bb"), (5, "b.b")] {
        tx.add_member(&Member { user_id: user_id.parse().unwrap(), ..member(number) }).await.unwrap();
    }
    tx.commit().await.unwrap();
    let mut reads = world.store.read().await.unwrap();
    let all = reads.members(ALL).await.unwrap();
    let ids: Vec<&str> = all.items.iter().map(|member| member.user_id.as_str()).collect();
    assert_eq!(ids, ["0bb", "b-b", "b.b", "b_b", "bbb"]);
    let some = reads.members(Page { offset: 1, limit: 2 }).await.unwrap();
    assert_eq!((some.items.as_slice(), some.count), (&all.items[1..3], 5));
    assert_eq!(reads.members(Page { offset: 9, limit: 2 }).await.unwrap().items, []);
}

fn session(token: u8, member: i64, expires_at: i64) -> Session {
    Session {
        token_hash: [token; 32],
        member: MemberNumber(member),
        csrf_hash: [token + 100; 32],
        created_at: slot(1000),
        expires_at: slot(expires_at),
    }
}

fn token(token: u8, member: i64, name: &str) -> ApiToken {
    ApiToken {
        token_hash: [token; 32],
        member: MemberNumber(member),
        name: name.to_owned(),
        scopes: "read book".to_owned(),
        created_at: slot(1000 + i64::from(token)),
        expires_at: slot(2000),
    }
}

pub async fn sessions_end_by_time_and_by_hand(world: Arc<World>) {
    world.with_members(1).await;
    let mut tx = world.store.begin().await.unwrap();
    for session in [session(1, 1, 1010), session(2, 1, 1020)] {
        tx.add_session(&session).await.unwrap();
    }
    assert_eq!(tx.session(&[1; 32], slot(1009)).await.unwrap(), Some(session(1, 1, 1010)));
    assert_eq!(tx.session(&[1; 32], slot(1010)).await.unwrap(), None, "it ends at that moment");
    assert_eq!(tx.session(&[9; 32], slot(1000)).await.unwrap(), None);
    tx.end_session(&[2; 32]).await.unwrap();
    tx.end_session(&[2; 32]).await.unwrap();
    assert_eq!(tx.session(&[2; 32], slot(1000)).await.unwrap(), None);
    tx.add_session(&Session { created_at: slot(1010), ..session(3, 1, 1030) }).await.unwrap();
    assert_eq!(tx.session(&[1; 32], slot(1000)).await.unwrap(), None, "what has expired is forgotten");
    tx.commit().await.unwrap();
    let mut tx = world.store.begin().await.unwrap();
    tx.add_session(&session(4, 77, 1010)).await.unwrap_err();
}

pub async fn a_new_password_ends_other_sessions_and_tokens(world: Arc<World>) {
    world.with_members(2).await;
    let mut tx = world.store.begin().await.unwrap();
    for session in [session(1, 1, 1010), session(2, 1, 1010), session(3, 2, 1010)] {
        tx.add_session(&session).await.unwrap();
    }
    tx.add_api_token(&token(1, 1, "laptop")).await.unwrap();
    tx.add_api_token(&token(2, 2, "laptop")).await.unwrap();
    tx.end_sessions(MemberNumber(1), Some(&[2; 32]), false).await.unwrap();
    let mut left = Vec::new();
    for number in 1..=3 {
        left.push(tx.session(&[number; 32], slot(1000)).await.unwrap().is_some());
    }
    assert_eq!(left, [false, true, true]);
    assert_eq!(tx.api_tokens(MemberNumber(1)).await.unwrap().len(), 1);
    tx.end_sessions(MemberNumber(1), None, true).await.unwrap();
    assert_eq!(tx.session(&[2; 32], slot(1000)).await.unwrap(), None);
    assert!(tx.session(&[3; 32], slot(1000)).await.unwrap().is_some(), "another member's stays");
    assert_eq!(tx.api_tokens(MemberNumber(1)).await.unwrap(), []);
    assert_eq!(tx.api_tokens(MemberNumber(2)).await.unwrap().len(), 1);
    tx.commit().await.unwrap();
}

pub async fn tokens_have_names_and_an_end(world: Arc<World>) {
    world.with_members(2).await;
    let mut tx = world.store.begin().await.unwrap();
    tx.add_api_token(&token(2, 1, "second")).await.unwrap();
    tx.add_api_token(&token(1, 1, "first")).await.unwrap();
    tx.add_api_token(&token(3, 2, "first")).await.unwrap();
    assert_eq!(tx.api_token(&[1; 32], slot(1999)).await.unwrap(), Some(token(1, 1, "first")));
    assert_eq!(tx.api_token(&[1; 32], slot(2000)).await.unwrap(), None);
    assert_eq!(
        tx.api_tokens(MemberNumber(1)).await.unwrap(),
        [token(1, 1, "first"), token(2, 1, "second")],
        "oldest first"
    );
    assert!(!tx.end_api_token(MemberNumber(2), "second").await.unwrap());
    assert!(tx.end_api_token(MemberNumber(1), "second").await.unwrap());
    assert_eq!(tx.api_token(&[2; 32], slot(1000)).await.unwrap(), None);
    tx.commit().await.unwrap();
    let mut tx = world.store.begin().await.unwrap();
    assert_eq!(conflict(tx.add_api_token(&token(9, 1, "first")).await), Conflict::Key);
}

fn proof(member: i64, kind: ProofKind, code: u8, expires_at: i64) -> Proof {
    Proof {
        member: MemberNumber(member),
        kind,
        serial: i64::MAX - i64::from(code),
        code_hash: [code; 32],
        email: "Some@example.com".parse().unwrap(),
        expires_at: slot(expires_at),
    }
}

pub async fn a_member_has_one_proof_of_each_kind(world: Arc<World>) {
    world.with_members(1).await;
    let nobodys = proof(0, ProofKind::Password, 9, 1010);
    let mut tx = world.store.begin().await.unwrap();
    for proof in [
        &proof(1, ProofKind::Email, 1, 1010),
        &proof(1, ProofKind::Password, 2, 1020),
        &proof(1, ProofKind::Email, 3, 1030),
        &nobodys,
    ] {
        tx.put_proof(proof, slot(1000)).await.unwrap();
    }
    tx.commit().await.unwrap();
    let mut tx = world.store.begin().await.unwrap();
    assert_eq!(tx.proof(&[1; 32]).await.unwrap(), None, "it was replaced");
    let email = Some(proof(1, ProofKind::Email, 3, 1030));
    assert_eq!(tx.proof(&[3; 32]).await.unwrap(), email);
    assert_eq!(tx.proof_of(MemberNumber(1), ProofKind::Email).await.unwrap(), email);
    assert_eq!(tx.proof_of(MemberNumber(0), ProofKind::Password).await.unwrap(), Some(nobodys));
    tx.end_proof(MemberNumber(1), ProofKind::Email).await.unwrap();
    assert_eq!(tx.proof(&[3; 32]).await.unwrap(), None);
    // Those that are over go with the next one.
    tx.put_proof(&proof(1, ProofKind::Email, 4, 1040), slot(1020)).await.unwrap();
    assert_eq!(tx.proof(&[2; 32]).await.unwrap(), None);
    assert_eq!(tx.proof(&[9; 32]).await.unwrap(), None);
    tx.commit().await.unwrap();
}

pub async fn the_newest_networks_of_a_member_are_remembered(world: Arc<World>) {
    world.with_members(2).await;
    let mut tx = world.store.begin().await.unwrap();
    for at in 0..25_u8 {
        tx.put_home(MemberNumber(1), &[at; 32], slot(1000 + i64::from(at))).await.unwrap();
        // The first stays the newest.
        tx.put_home(MemberNumber(1), &[0; 32], slot(1000 + i64::from(at))).await.unwrap();
    }
    tx.commit().await.unwrap();
    let mut reads = world.store.read().await.unwrap();
    let mut is_home = async |member, at: u8| reads.is_home(MemberNumber(member), &[at; 32]).await.unwrap();
    assert!(is_home(1, 0).await && is_home(1, 24).await && is_home(1, 6).await);
    assert!(!is_home(1, 1).await, "it is the oldest");
    assert!(!is_home(2, 0).await);
}
