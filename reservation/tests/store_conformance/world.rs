//! An empty database, and values to fill it with.

use std::{path::Path, sync::Arc};

use async_trait::async_trait;
use slotcast_reservation::{
    domain::{effects::Effects, reservation::Reservation, words::ReservationNumber},
    store::{self, Page, Reads, Store, StoreError, Stored, Tx},
    vault::Vault,
};
use tempfile::TempDir;

use crate::support::clock::HandClock;
pub(crate) use crate::support::values::*;

/// More than any list of these tests.
pub(crate) const ALL: Page = Page { offset: 0, limit: 100_000 };

/// Tries of one who is put off.
const TRIES_MAX: u32 = 100;

/// A database, and the clock of its store.
pub(crate) struct World {
    pub(crate) place: String,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: HandClock,
    _directory: Option<TempDir>,
}

pub(crate) fn vault() -> Vault {
    Vault::new(&[7; 32])
}

impl World {
    pub(crate) async fn in_a_file() -> Arc<Self> {
        let directory = tempfile::tempdir().unwrap();
        let place = format!("sqlite:{}", directory.path().join("slotcast.db").display());
        Self::open(place, Some(directory)).await
    }

    pub(crate) async fn at(place: String) -> Arc<Self> {
        Self::open(place, None).await
    }

    async fn open(place: String, directory: Option<TempDir>) -> Arc<Self> {
        let clock = HandClock::at(slot(1000));
        let store = Arc::new(Patient(store::open(&place, vault(), clock.clock()).await.unwrap()));
        Arc::new(Self { place, store, clock, _directory: directory })
    }

    /// A second store over the same database.
    pub(crate) async fn open_again(&self, vault: Vault) -> Stored<Arc<dyn Store>> {
        store::open(&self.place, vault, self.clock.clock()).await
    }

    /// Runs a statement past the store.
    pub(crate) async fn raw(&self, sql: &'static str) -> Result<u64, sqlx::Error> {
        if let Some(path) = self.place.strip_prefix("sqlite:") {
            let pool = sqlx::SqlitePool::connect(path).await?;
            let done = sqlx::query(sql).execute(&pool).await.map(|done| done.rows_affected());
            pool.close().await;
            done
        } else {
            let pool = sqlx::PgPool::connect(&self.place).await?;
            let done = sqlx::query(sql).execute(&pool).await.map(|done| done.rows_affected());
            pool.close().await;
            done
        }
    }

    /// Members 1 to `members`, channels 1 and 2.
    pub(crate) async fn with_members(self: &Arc<Self>, members: i64) -> &Arc<Self> {
        let mut tx = self.store.begin().await.unwrap();
        for number in 1..=members {
            tx.add_member(&member(number)).await.unwrap();
        }
        for number in 1..=2 {
            tx.put_channel(&channel(number)).await.unwrap();
        }
        tx.commit().await.unwrap();
        self
    }

    /// Writes in a transaction of its own, as a service does: again when the database says so.
    pub(crate) async fn write(&self, effects: &Effects) -> Stored<()> {
        patiently(|| async {
            let mut tx = self.store.begin().await?;
            tx.write(effects).await?;
            tx.commit().await
        })
        .await
    }

    pub(crate) async fn reservation(&self, number: i64) -> Option<Reservation> {
        self.store.read().await.unwrap().reservation(ReservationNumber(number)).await.unwrap()
    }
}

/// Does it again while the database says so: a busy machine is not what these tests are about.
pub(crate) async fn patiently<T, F>(mut what: impl FnMut() -> F) -> Stored<T>
where
    F: Future<Output = Stored<T>>,
{
    for _ in 0..TRIES_MAX {
        match what().await {
            Err(StoreError::Retry(why)) => println!("again: {why}"),
            done => return done,
        }
    }
    what().await
}

/// A store that waits longer for a connection.
#[derive(Debug)]
struct Patient(Arc<dyn Store>);

#[async_trait]
impl Store for Patient {
    async fn read(&self) -> Stored<Box<dyn Reads + '_>> {
        patiently(|| self.0.read()).await
    }

    async fn begin(&self) -> Stored<Box<dyn Tx + '_>> {
        patiently(|| self.0.begin()).await
    }

    async fn back_up(&self, to: &Path) -> Stored<()> {
        self.0.back_up(to).await
    }

    async fn close(&self) {
        self.0.close().await;
    }
}

#[track_caller]
pub(crate) fn conflict<T: std::fmt::Debug>(done: Stored<T>) -> store::Conflict {
    match done {
        Err(StoreError::Conflict(conflict)) => conflict,
        other => panic!("expected a conflict, got {other:?}"),
    }
}

#[track_caller]
pub(crate) fn broken<T: std::fmt::Debug>(done: Stored<T>) -> String {
    match done {
        Err(StoreError::Broken(why)) => why,
        other => panic!("expected a refusal, got {other:?}"),
    }
}
