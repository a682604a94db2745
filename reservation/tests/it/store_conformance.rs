//! What every store must do, asked of SQLite: each case is a test over a database in a file.

use slotcast_reservation_testing::stores::{self, World};

macro_rules! tests {
    ($($room:ident: $($case:ident)+;)+) => {$($(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            stores::$room::$case(World::in_a_file().await).await;
        }
    )+)+};
}

slotcast_reservation_testing::store_cases!(tests);
