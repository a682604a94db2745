//! What the PostgreSQL store promises without a server: it keeps the password to itself, and knows what is no address of one.

use std::{sync::Arc, time::Duration};

use slotcast_core::time::WallTime;
use slotcast_reservation::{
    store::{self, Store, Stored, postgres::alone::Alone},
    vault::Vault,
};
use slotcast_reservation_testing::clock::HandClock;

async fn open(address: &str) -> Stored<Arc<dyn Store>> {
    store::open(address, Vault::new(&[7; 32]), HandClock::at(WallTime::from_micros(0)).clock()).await
}

#[tokio::test]
async fn no_error_shows_the_password() {
    let addresses = [
        "postgres://slotcast:s3cr3t@127.0.0.1:1/slotcast",
        "postgres://slotcast:s3cr3t@127.0.0.1:99999/slotcast",
        "postgres://slotcast:s3cr3t@[/slotcast",
        "postgres://slotcast:s3cr3t@127.0.0.1:1/slotcast?sslmode=s3cr3t",
        "postgres://slotcast:1/s3cr3t@127.0.0.1:1/slotcast",
        "postgres://slotcast:1?s3cr3t@127.0.0.1:1/slotcast",
        "postgres://slotcast:1#s3cr3t@127.0.0.1:1/slotcast",
        "postgres://slotcast:1@s3cr3t@127.0.0.1:1/slotcast",
        "mysql://slotcast:s3cr3t@127.0.0.1/slotcast",
        "s3cr3t://",
    ];
    for address in addresses {
        let error = open(address).await.unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(!text.contains("s3cr3t"), "{text}");
        assert!(text.contains("PostgreSQL at 127.0.0.1:") || text.contains("expected"), "{text}");
    }
}

#[tokio::test]
async fn what_is_no_postgresql_has_no_server_to_be_alone_on() {
    let clock = HandClock::at(WallTime::from_micros(0)).clock();
    assert!(Alone::take("slotcast.db", Duration::ZERO, &clock).await.unwrap().is_none());
}
