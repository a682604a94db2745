//! A start without the database that the configuration names.

use std::time::Duration;

use slotcast_testing::bookings::site::{Site, Wishes};

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
fn a_database_that_is_not_there_is_said_and_nothing_panics() {
    let mut site = quiet_site(None);
    site.change("data = ", "database = \"postgres://nobody:nothing@127.0.0.1:1/nowhere\"\ndata = ");
    site.launch();
    let ended = site.wait(Duration::from_secs(60));
    let text = ended.text();
    assert_eq!(ended.status.code(), Some(1), "{text}");
    assert!(text.contains("database") && !text.contains("panicked") && !text.contains("nothing"), "{text}");
}
