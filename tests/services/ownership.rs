//! One database, one server: who holds it, and until when.

use std::time::Duration;

use slotcast_net::clock;
use slotcast_reservation::store::postgres::alone::Alone;
use slotcast_testing::{
    bookings::site::{Site, Wishes},
    postgres,
};

/// A site at which nobody books.
fn quiet_site(database: Option<String>) -> Site {
    Site::make(&Wishes {
        database,
        slot: "10m",
        channels: 1,
        seats: 5,
        rate: "64kbit/s",
        reservations: String::new(),
        tables: String::new(),
    })
}

#[test]
fn a_server_has_its_postgresql_database_to_itself_until_it_is_killed() {
    let Some(server) = postgres::shared() else { return };
    let database = server.new_database();
    let mut site = quiet_site(Some(database.clone()));
    site.start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let take = |patience| {
        let taken = runtime.block_on(Alone::take(&database, patience, &clock::system()));
        taken.map(|alone| assert!(alone.is_some())).map_err(|error| error.to_string())
    };
    let refused = take(Duration::ZERO).unwrap_err();
    assert!(refused.contains("another server works there"), "{refused}");
    site.kill();
    assert_eq!(take(Duration::from_secs(30)), Ok(()));
}
