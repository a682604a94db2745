//! What only the PostgreSQL store promises: it comes back after the server, and keeps the password to itself.

use std::{sync::Arc, time::Duration};

use slotcast_core::{time::WallTime, words::ChannelNumber};
use slotcast_reservation::{
    domain::{
        reservation::SoldChannel,
        words::{MemberNumber, ReservationNumber},
    },
    store::{self, Store, StoreError, Stored, postgres::alone::Alone},
    vault::Vault,
};
use slotcast_reservation_testing::{clock::HandClock, stock, values};
use slotcast_testing::postgres;

/// Tries until the server is there again.
const TRIES_MAX: u32 = 100;

async fn open(address: &str) -> Stored<Arc<dyn Store>> {
    store::open(address, Vault::new(&[7; 32]), HandClock::at(WallTime::from_micros(0)).clock()).await
}

async fn book(store: &dyn Store, number: i64) -> Stored<()> {
    let mut tx = store.begin().await?;
    tx.write(&values::booking(values::reservation(number, 3 * number, 3))).await?;
    tx.commit().await
}

async fn fill(store: &dyn Store) {
    let mut tx = store.begin().await.unwrap();
    tx.add_member(&values::member(1)).await.unwrap();
    tx.put_channel(&values::channel(1)).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn only_the_next_day_of_a_large_stock_is_read() {
    let Some(server) = postgres::shared() else { return };
    stock::only_the_next_day_of_a_large_stock_is_read(&server.new_database()).await;
}

/// Waits until somebody waits for a lock in the database at `place`.
async fn somebody_waits(place: &str) {
    let pool = sqlx::PgPool::connect(place).await.unwrap();
    let sql = "SELECT count(*) FROM pg_locks WHERE NOT granted";
    for _ in 0..TRIES_MAX {
        if sqlx::query_scalar::<_, i64>(sql).fetch_one(&pool).await.unwrap() > 0 {
            pool.close().await;
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("nobody waits");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_decides_about_channels_waits_for_others_who_do_and_for_who_books() {
    let Some(server) = postgres::shared() else { return };
    let place = server.new_database();
    let store = open(&place).await.unwrap();
    fill(&*store).await;
    // Two operators: the second sees what the first has added.
    let mut first = store.begin().await.unwrap();
    assert_eq!(first.lock_channels().await.unwrap().len(), 1);
    first.put_channel(&values::channel(2)).await.unwrap();
    let second = Arc::clone(&store);
    let second = tokio::spawn(async move { second.begin().await?.lock_channels().await });
    somebody_waits(&place).await;
    first.commit().await.unwrap();
    assert_eq!(second.await.unwrap().unwrap().len(), 2);
    // Two who book do not wait for each other; an operator waits for both, and one who books then for the operator.
    let [mut one, mut two] = [store.begin().await.unwrap(), store.begin().await.unwrap()];
    for tx in [&mut one, &mut two] {
        assert!(tx.hold_channel(ChannelNumber(1)).await.unwrap().is_some());
    }
    let operator = Arc::clone(&store);
    let operator = tokio::spawn(async move {
        let mut tx = operator.begin().await?;
        tx.lock_channels().await?;
        tx.put_channel(&SoldChannel { version: 2, is_retired: true, ..values::channel(1) }).await?;
        tx.commit().await
    });
    somebody_waits(&place).await;
    one.commit().await.unwrap();
    two.commit().await.unwrap();
    operator.await.unwrap().unwrap();
    let mut late = store.begin().await.unwrap();
    assert!(late.hold_channel(ChannelNumber(1)).await.unwrap().unwrap().is_retired);
}

#[tokio::test]
async fn a_crash_of_the_server_loses_nothing_that_was_confirmed() {
    let Some(mut server) = postgres::start() else { return };
    let store = open(&server.new_database()).await.unwrap();
    fill(&*store).await;
    for number in 1..=10 {
        book(&*store, number).await.unwrap();
    }
    let mut open_one = store.begin().await.unwrap();
    open_one.write(&values::booking(values::reservation(11, 900, 3))).await.unwrap();
    server.crash();
    let Err(StoreError::Retry(_)) = open_one.commit().await else { panic!("its connection is gone") };
    let mut tries = 0;
    while let Err(error) = book(&*store, 12).await {
        assert!(matches!(error, StoreError::Retry(_)), "{error:?}");
        tries += 1;
        assert!(tries < TRIES_MAX, "{error}");
    }
    let mut reads = store.read().await.unwrap();
    for number in (1..=10).chain([12]) {
        assert!(reads.reservation(ReservationNumber(number)).await.unwrap().is_some(), "{number}");
    }
    assert_eq!(reads.reservation(ReservationNumber(11)).await.unwrap(), None);
}

#[tokio::test]
async fn a_lock_that_is_held_too_long_puts_us_off() {
    let Some(server) = postgres::shared() else { return };
    let store = open(&server.new_schema()).await.unwrap();
    fill(&*store).await;
    let mut first = store.begin().await.unwrap();
    first.lock_member(MemberNumber(1)).await.unwrap();
    let mut second = store.begin().await.unwrap();
    let Err(StoreError::Retry(why)) = second.lock_member(MemberNumber(1)).await else {
        panic!("it is locked")
    };
    assert!(why.contains("lock timeout"), "{why}");
    first.commit().await.unwrap();
}

#[tokio::test]
async fn two_that_wait_for_each_other_are_told_apart() {
    let Some(server) = postgres::shared() else { return };
    let store = open(&server.new_schema()).await.unwrap();
    fill(&*store).await;
    book(&*store, 1).await.unwrap();
    book(&*store, 2).await.unwrap();
    let (one, two) = (ReservationNumber(1), ReservationNumber(2));
    let (mut first, mut second) = (store.begin().await.unwrap(), store.begin().await.unwrap());
    first.lock_reservation(one).await.unwrap();
    second.lock_reservation(two).await.unwrap();
    let (crossed, other) = tokio::join!(
        async {
            let done = first.lock_reservation(two).await;
            drop(first);
            done
        },
        async {
            let done = second.lock_reservation(one).await;
            drop(second);
            done
        }
    );
    let retried = [&crossed, &other].iter().filter(|done| matches!(done, Err(StoreError::Retry(_)))).count();
    assert_eq!(retried, 1, "{crossed:?} {other:?}");
}

#[tokio::test]
async fn copies_are_left_to_postgresql() {
    let Some(server) = postgres::shared() else { return };
    let store = open(&server.new_schema()).await.unwrap();
    let error = store.back_up(std::path::Path::new("copy.db")).await.unwrap_err().to_string();
    assert!(error.contains("pg_dump"), "{error}");
}

#[tokio::test]
async fn another_encoding_is_refused() {
    let Some(server) = postgres::shared() else { return };
    server.ask("postgres", "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0");
    let error = open(&server.address("latin", postgres::PASSWORD)).await.unwrap_err().to_string();
    assert!(error.contains("LATIN1") && error.contains("UTF8"), "{error}");
}

#[tokio::test]
async fn a_second_server_is_refused_until_the_first_has_gone() {
    let Some(server) = postgres::shared() else { return };
    let (address, clock) = (server.new_schema(), HandClock::at(WallTime::from_micros(0)).clock());
    let now = Duration::ZERO;
    let first = Alone::take(&address, now, &clock).await.unwrap().unwrap();
    let refused = Alone::take(&address, now, &clock).await.unwrap_err().to_string();
    assert!(refused.contains("another server works there: stop it first"), "{refused}");
    assert!(!refused.contains(postgres::PASSWORD), "{refused}");
    // Another schema is another's; a tool that only reads comes in.
    assert!(Alone::take(&server.new_schema(), now, &clock).await.unwrap().is_some());
    open(&address).await.unwrap();
    // The hand clock stands: who has patience waits for as long as it takes.
    let patience = Duration::from_secs(30);
    let second = tokio::join!(Alone::take(&address, patience, &clock), async { drop(first) }).0;
    assert!(second.unwrap().is_some());
}

#[tokio::test]
async fn a_server_that_lost_its_connection_takes_the_database_again() {
    let Some(server) = postgres::shared() else { return };
    let (address, clock) = (server.new_database(), HandClock::at(WallTime::from_micros(0)).clock());
    let name = address.rsplit('/').next().unwrap();
    let _alone = Alone::take(&address, Duration::ZERO, &clock).await.unwrap();
    let holder = format!(
        "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND database = \
         (SELECT oid FROM pg_database WHERE datname = '{name}')"
    );
    let before = server.ask("postgres", &holder);
    assert!(!before.is_empty());
    server.ask("postgres", &format!("SELECT pg_terminate_backend({before})"));
    let again = async {
        loop {
            let now = server.ask("postgres", &holder);
            if !now.is_empty() && now != before {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), again).await.unwrap();
}

#[tokio::test]
async fn no_error_of_a_server_shows_the_password() {
    let Some(server) = postgres::shared() else { return };
    for address in [server.address("postgres", "s3cr3t"), server.address("none", "s3cr3t")] {
        let error = open(&address).await.unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(!text.contains("s3cr3t") && text.contains("PostgreSQL at 127.0.0.1:"), "{text}");
    }
    let store = open(&server.new_schema()).await.unwrap();
    assert!(!format!("{store:?}").contains("only-for-tests"), "{store:?}");
}
