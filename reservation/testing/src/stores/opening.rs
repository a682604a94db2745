//! Opening a database, and values at the ends of their ranges.

use std::{sync::Arc, time::Duration};

use slotcast_core::{time::WallTime, words::Window};
use slotcast_reservation::{
    domain::{
        effects::{Effects, MailKind, MailRequest},
        member::Member,
        reservation::{Reservation, State},
        words::{MemberNumber, ReservationNumber},
    },
    store::{self, Job, JobKind, KeptAnswer, ReservationFilter, Units},
    vault::Vault,
};

use crate::stores::{
    ALL, World, booking, broken, channel, mail, mail_of, member, patiently, raw_at, reservation, slot, vault,
};

pub async fn another_key_is_refused(world: Arc<World>) {
    let why = broken(world.open_again(Vault::new(&[8; 32])).await);
    assert!(why.contains("put back the secret.key"), "{why}");
    assert!(!why.contains("only-for-tests"), "{why}");
    world.open_again(vault()).await.unwrap();
}

pub async fn a_newer_schema_is_refused(world: Arc<World>) {
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
        VALUES (9999, 'later', TRUE, 'x', 1)";
    world.raw(newer).await.unwrap();
    let why = broken(world.open_again(vault()).await);
    assert!(why.contains("version 9999") && why.contains("newer slotcast"), "{why}");
}

/// What the first version wrote, whose migrations were counted in a table of their own.
const OF_THE_FIRST_VERSION: [&str; 6] = [
    "INSERT INTO members VALUES (1, 'user0001', 'Member 1', 'member', 'Member1@example.com', 'member1@example.com',
        FALSE, NULL, 'en', 'general', FALSE, FALSE, '$argon2id$v=19$…', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
        NULL, NULL, 540000000000, 1)",
    "INSERT INTO channels VALUES (1, 'channel1', 100, 2000000, 500, FALSE, 1)",
    "INSERT INTO reservations VALUES (1, 1, 'private', 1, 600000000000, 600600000000, 100, 2000000, 500, 'confirmed',
        'Program 1', '', '', '', 'public', NULL, FALSE, FALSE, '[]', 570000000000, 570600000000, 600000000000, NULL,
        NULL, NULL, NULL, 0, FALSE, 0, 1)",
    "INSERT INTO payments (key, kind, reservation, member, amount, reason, state, tries, next_at, created_at) VALUES
        ('authorise-1-1', 'authorise', 1, 1, 500, NULL, 'done', 1, 1, 1),
        ('capture-authorise-1-1', 'capture', 1, 1, 500, NULL, 'done', 1, 1, 1),
        ('release-authorise-1-until-7-2', 'release', 1, 1, 500, NULL, 'waiting', 3, 600000000000, 1),
        ('refund-2-after-30-capture-authorise-1-1', 'refund', 1, 1, 70, 'it froze', 'declined', 1, 1, 1)",
    "INSERT INTO ledger (key, kind, reservation, at, debit, debit_member, credit, credit_member, amount) VALUES
        ('authorised-authorise-1-1', 'authorised', 1, 1, 'member_holds', 1, 'holds', NULL, 500),
        ('released-authorise-1-1', 'released', 1, 1, 'holds', NULL, 'member_holds', 1, 500),
        ('charged-authorise-1-1', 'charged', 1, 1, 'receivable', 1, 'revenue', NULL, 500),
        ('collected-capture-authorise-1-1', 'collected', 1, 1, 'cash', NULL, 'receivable', 1, 500),
        ('refunded-capture-authorise-1-1-130', 'refunded', 1, 1, 'revenue', NULL, 'cash', NULL, 130),
        ('failed-refund-2-after-30-capture-authorise-1-1', 'refund_failed', 1, 1, 'cash', NULL, 'revenue', NULL, 70),
        ('failed-elsewhere-0-capture-authorise-1-1', 'refund_failed', 1, 1, 'cash', NULL, 'revenue', NULL, 10)",
    "INSERT INTO mails (key, kind, recipient, member, reservation, calendar_sequence, changes, created_at, tries, next_at,
        sent_at) VALUES
        ('welcome-1', 'welcome', 'member1@example.com', 1, NULL, 0, '[]', 1, 1, NULL, 5),
        ('cancelled-1-2', 'cancelled', 'Member1@example.com', 1, 1, 0, '[]', 1, 1, 5, NULL),
        ('invitation-1-2-x', 'invitation', 'friend@example.com', 1, 1, 3,
            '[\"Title: A → B\",\"\\\"quoted\\\"\\n\\\\\"]', 1, 4, 5, NULL)",
];

pub async fn a_database_of_the_first_version_is_taken_over(world: Arc<World>) {
    let place = world.of_the_first_version(&OF_THE_FIRST_VERSION).await;
    let open = || store::open(&place, vault(), world.clock.clock());
    open().await.unwrap().close().await;
    let newer = open().await.unwrap();
    let mut reads = newer.read().await.unwrap();
    assert_eq!(reads.channels().await.unwrap(), [channel(1)]);
    let found = reads.reservation(ReservationNumber(1)).await.unwrap();
    assert_eq!(found, Some(Reservation { state: State::Confirmed, ..reservation(1, 1000, 1) }));
    let payments = reads.payments_of(ReservationNumber(1)).await.unwrap();
    let of: Vec<_> = payments
        .iter()
        .map(|payment| (payment.request.of.as_deref(), payment.request.elsewhere.minor()))
        .collect();
    let capture = Some("capture-authorise-1-1");
    assert_eq!(
        of,
        [(None, 0), (Some("authorise-1-1"), 0), (Some("authorise-1-until-7-2"), 0), (capture, 30)]
    );
    let ledger = reads.ledger_of(ReservationNumber(1)).await.unwrap();
    let of: Vec<_> = ledger.iter().map(|entry| entry.of.as_str()).collect();
    let (hold, capture) = ("authorise-1-1", "capture-authorise-1-1");
    let refund = "refund-2-after-30-capture-authorise-1-1";
    assert_eq!(of, [hold, hold, hold, capture, capture, refund, capture]);
    drop(reads);
    for sql in [
        "UPDATE channels SET gather_ms = 101 WHERE number = 1",
        "UPDATE channels SET gather_ms = -1 WHERE number = 1",
    ] {
        assert!(raw_at(&place, sql).await.is_err(), "{sql}");
    }
    let mut tx = newer.begin().await.unwrap();
    let mut taken = async |kind| -> Vec<Job> { tx.take_jobs(kind, slot(1000), slot(1001), 9).await.unwrap() };
    let to_member: Vec<_> = taken(JobKind::MemberMail).await.into_iter().map(mail_of).collect();
    assert_eq!(to_member.len(), 1, "one was sent");
    assert_eq!((to_member[0].key.as_str(), to_member[0].kind), ("cancelled-1-2", MailKind::Cancelled));
    let mut to_friend = taken(JobKind::FriendMail).await;
    assert_eq!(to_friend[0].tries, 4);
    let invitation = mail_of(to_friend.swap_remove(0));
    assert_eq!(invitation, MailRequest { kind: MailKind::Invitation, ..mail("invitation-1-2-x", Some(1)) });
    let money = taken(JobKind::Payment).await;
    assert_eq!((money[0].key.as_str(), money[0].tries), ("release-authorise-1-until-7-2", 3));
}

pub async fn opening_again_keeps_everything(world: Arc<World>) {
    world.with_members(1).await;
    world.write(&booking(reservation(1, 1000, 1))).await.unwrap();
    let second = world.open_again(vault()).await.unwrap();
    assert!(second.read().await.unwrap().reservation(ReservationNumber(1)).await.unwrap().is_some());
    // Two programs over one database: each sees what the other did.
    let mut tx = second.begin().await.unwrap();
    tx.write(&booking(reservation(2, 1001, 1))).await.unwrap();
    tx.commit().await.unwrap();
    second.close().await;
    assert!(world.reservation(2).await.is_some());
    assert!(second.begin().await.is_err(), "closed");
}

pub async fn many_open_it_at_once(world: Arc<World>) {
    world.raw("DELETE FROM server").await.unwrap();
    let opening: Vec<_> = (0..8)
        .map(|_| {
            let world = Arc::clone(&world);
            tokio::spawn(async move { patiently(|| world.open_again(vault())).await.map(drop) })
        })
        .collect();
    for opened in opening {
        opened.await.unwrap().unwrap();
    }
}

pub async fn texts_are_kept_as_they_are(world: Arc<World>) {
    world.with_members(1).await;
    let texts = [
        "'; DROP TABLE members; --",
        "\" OR \"\"=\"",
        "$1 ?1 :name @x %s {}",
        "\\'; SELECT pg_sleep(9); --",
        "e\u{301} é 👩‍👩‍👧‍👦 \u{feff}\u{200b}",
        "\u{1}\u{7f}\u{10ffff}",
        " leading and trailing ",
        "",
    ];
    for (number, text) in (1..).zip(texts) {
        let mut wanted = reservation(number, 1000 + number, 1);
        wanted.program.title = text.to_owned();
        wanted.program.details = text.repeat(3);
        let mut effects = booking(wanted.clone());
        effects.mails = vec![mail(&format!("mail.{number}"), Some(number))];
        effects.mails[0].changes = vec![text.to_owned()];
        world.write(&effects).await.unwrap();
        assert_eq!(world.reservation(number).await, Some(wanted));
        let mut tx = world.store.begin().await.unwrap();
        let answer = KeptAnswer { request_hash: [1; 32], made: text.to_owned() };
        tx.keep_answer(text, text, &answer, slot(1000)).await.unwrap();
        assert_eq!(tx.kept_answer(text, text).await.unwrap(), Some(answer));
        assert!(!tx.end_api_token(MemberNumber(1), text).await.unwrap());
        assert_eq!(tx.payment(text).await.unwrap(), None);
        tx.commit().await.unwrap();
    }
    let mut tx = world.store.begin().await.unwrap();
    let taken = tx.take_jobs(JobKind::FriendMail, slot(1000), slot(1001), 100).await.unwrap();
    let found: Vec<String> = taken.into_iter().map(|job| mail_of(job).changes.swap_remove(0)).collect();
    assert_eq!(found, texts);
}

pub async fn what_is_booked_in_stays(world: Arc<World>) {
    world.with_members(1).await;
    let units = |minutes: u64, currency: &str| Units {
        slot: Duration::from_secs(minutes * 60),
        currency: currency.parse().unwrap(),
    };
    let sell_in = async |units| {
        let mut tx = world.store.begin().await.unwrap();
        let now = tx.sell_in(units).await.unwrap();
        tx.commit().await.unwrap();
        now
    };
    for asked in [units(10, "JPY"), units(15, "JPY"), units(15, "USD")] {
        assert_eq!(sell_in(asked).await, asked, "nothing is booked");
    }
    world.write(&booking(reservation(1, 1000, 1))).await.unwrap();
    for asked in [units(15, "USD"), units(10, "USD"), units(15, "JPY")] {
        assert_eq!(sell_in(asked).await, units(15, "USD"));
    }
}

pub async fn presence_is_noted(world: Arc<World>) {
    let note = async |node, at| {
        let mut tx = world.store.begin().await.unwrap();
        let last = tx.note_presence(node, at).await.unwrap();
        tx.commit().await.unwrap();
        last
    };
    assert_eq!(note("a", slot(1)).await, None);
    assert_eq!(note("a", slot(3)).await, Some(slot(1)));
    assert_eq!(note("b", slot(4)).await, Some(slot(3)), "another node was there");
    assert_eq!(note("a", slot(2)).await, Some(slot(4)));
    assert_eq!(note("b", slot(1)).await, Some(slot(4)), "its clock was set back");
    assert_eq!(note("a", slot(5)).await, Some(slot(2)));
}

pub async fn a_nul_is_refused(world: Arc<World>) {
    world.with_members(1).await;
    let mut wanted = reservation(1, 1000, 1);
    wanted.program.details = "a\0b".to_owned();
    let why = broken(world.write(&booking(wanted)).await);
    assert!(why.contains("NUL"), "{why}");
    let mut tx = world.store.begin().await.unwrap();
    let named = Member { name: "\0".to_owned(), ..member(2) };
    assert!(broken(tx.add_member(&named).await).contains("NUL"));
    assert!(broken(tx.payment("\0").await).contains("NUL"));
}

pub async fn the_ends_of_time_are_kept(world: Arc<World>) {
    world.with_members(1).await;
    let (first, last) = (WallTime::from_micros(i64::MIN), WallTime::from_micros(i64::MAX));
    let (earliest, latest) = (WallTime::from_micros(-(1 << 61)), WallTime::from_micros(1 << 61));
    let wanted = Reservation {
        window: Window::new(earliest, latest).unwrap(),
        booked_at: first,
        hold_until: last,
        reconfirm_until: last,
        over_at: Some(first),
        version: 1,
        ..reservation(1, 1000, 1)
    };
    world.write(&Effects::of(wanted.clone())).await.unwrap();
    let longer = Reservation { window: Window::new(first, latest).unwrap(), ..reservation(2, 1000, 1) };
    broken(world.write(&Effects::of(longer)).await);
    let mut tx = world.store.begin().await.unwrap();
    assert_eq!(tx.reservation(ReservationNumber(1)).await.unwrap(), Some(wanted));
    let filter = ReservationFilter { between: Some((first, last)), ..ReservationFilter::default() };
    assert_eq!(tx.reservations(&filter, ALL).await.unwrap().count, 1);
    assert_eq!(tx.ledger(first, last, ALL).await.unwrap().count, 0);
    let answer = KeptAnswer { request_hash: [0; 32], made: String::new() };
    tx.keep_answer("s", "k", &answer, first).await.unwrap();
    assert!(tx.first_seen("e", first).await.unwrap());
    tx.commit().await.unwrap();
}
