//! How many bookings a second a store makes durable, with many clients at once.
//!
//! `store_speed PLACE [CLIENTS] [SECONDS]`: PLACE is an empty database, as the configuration names it; 64 clients,
//! 10 seconds. Each booking locks the member, counts its month and takes three slots, with one mail.

use std::{
    env,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use slotcast_core::time::{Clock, Now, WallTime};
use slotcast_reservation::{
    domain::words::MemberNumber,
    store::{self, Store, StoreError, Stored},
    vault::Vault,
};
use slotcast_reservation_testing::values;
use tokio::time::Instant;

async fn book(store: &dyn Store, member: i64, number: i64) -> Stored<()> {
    let mut tx = store.begin().await?;
    tx.lock_member(MemberNumber(member)).await?;
    tx.slots_of(MemberNumber(member), values::slot(3 * number), values::slot(3 * number + 4000)).await?;
    let mut reservation = values::reservation(number, 3 * number, 3);
    reservation.member = MemberNumber(member);
    let mut effects = values::booking(reservation);
    effects.mails = vec![values::mail(&format!("mail.{number}"), Some(number))];
    tx.write(&effects).await?;
    tx.commit().await
}

/// Books until `end`. Returns how often it was put off, and how long each booking took.
async fn client(
    store: Arc<dyn Store>,
    member: i64,
    next: Arc<AtomicI64>,
    end: Instant,
) -> (u32, Vec<Duration>) {
    let (mut put_off, mut took) = (0, Vec::new());
    while Instant::now() < end {
        let (number, begun) = (next.fetch_add(1, Ordering::Relaxed), Instant::now());
        match book(&*store, member, number).await {
            Ok(()) => took.push(begun.elapsed()),
            Err(StoreError::Retry(_)) => put_off += 1,
            Err(error) => panic!("{error}"),
        }
    }
    (put_off, took)
}

async fn measure(place: &str, clients: i64, seconds: u64) -> Stored<()> {
    let clock: Clock = Arc::new(|| Now { mono: Instant::now().into_std(), wall: WallTime::from_micros(0) });
    let store = store::open(place, Vault::new(&[7; 32]), clock).await?;
    let mut tx = store.begin().await?;
    for number in 1..=clients {
        tx.add_member(&values::member(number)).await?;
    }
    tx.put_channel(&values::channel(1)).await?;
    tx.commit().await?;
    let (next, begun) = (Arc::new(AtomicI64::new(1)), Instant::now());
    let end = begun + Duration::from_secs(seconds);
    let running: Vec<_> = (1..=clients)
        .map(|member| tokio::spawn(client(Arc::clone(&store), member, Arc::clone(&next), end)))
        .collect();
    let (mut put_off, mut took) = (0, Vec::new());
    for client in running {
        let (some, times) = client.await.map_err(|error| StoreError::Broken(error.to_string()))?;
        put_off += some;
        took.extend(times);
    }
    let elapsed = begun.elapsed();
    took.sort_unstable();
    let at = |share: usize| took.get(took.len() * share / 100).copied().unwrap_or_default();
    println!(
        "{} bookings in {elapsed:.1?}: {:.0} a second; half within {:.1?}, 99 % within {:.1?}; {put_off} put off",
        took.len(),
        took.len() as f64 / elapsed.as_secs_f64(),
        at(50),
        at(99)
    );
    store.close().await;
    Ok(())
}

#[tokio::main]
async fn main() -> Stored<()> {
    let mut arguments = env::args().skip(1);
    let Some(place) = arguments.next() else {
        eprintln!("store_speed PLACE [CLIENTS] [SECONDS]");
        return Ok(());
    };
    let mut number = |default| arguments.next().and_then(|text| text.parse().ok()).unwrap_or(default);
    let (clients, seconds) = (number(64), number(10));
    measure(&place, clients as i64, seconds).await
}
