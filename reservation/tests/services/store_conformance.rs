//! What every store must do, asked of PostgreSQL: one test runs all cases, on one server.

use std::{pin::Pin, sync::Arc};

use slotcast_reservation_testing::stores::{self, World};
use slotcast_testing::postgres;
use tokio::{sync::Semaphore, time::Instant};

type Case = fn(Arc<World>) -> Pin<Box<dyn Future<Output = ()> + Send>>;

macro_rules! list {
    ($($room:ident: $($case:ident)+;)+) => {
        const CASES: &[(&str, Case)] =
            &[$($((stringify!($case), |world| Box::pin(stores::$room::$case(world))),)+)+];
    };
}

slotcast_reservation_testing::store_cases!(list);

/// Cases that run at once on the one server.
const AT_ONCE_MAX: usize = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_case_holds_on_postgresql() {
    let Some(server) = postgres::shared() else { return };
    let places = Arc::new(Semaphore::new(AT_ONCE_MAX));
    let running: Vec<_> = CASES
        .iter()
        .map(|(name, case)| {
            let (address, places) = (server.new_schema(), Arc::clone(&places));
            let running = tokio::spawn(async move {
                let _place = places.acquire().await.unwrap();
                let begun = Instant::now();
                case(World::at(address).await).await;
                println!("{name}: {:?}", begun.elapsed());
            });
            (name, running)
        })
        .collect();
    let mut failed = Vec::new();
    for (name, running) in running {
        if running.await.is_err() {
            failed.push(*name);
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
}
