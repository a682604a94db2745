//! The store in one SQLite file.
//!
//! Owns: how the file is opened, what its errors mean, the copy while running.
//! Invariant: one connection writes, in `BEGIN IMMEDIATE` with a synced write-ahead log; others only read. The file and
//! its log can be read by their owner alone.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use slotcast_core::time::Clock;
use sqlx::{
    Connection as _,
    error::DatabaseError,
    pool::PoolOptions,
    sqlite::{
        SqliteAutoVacuum, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool,
        SqliteSynchronous,
    },
};

use super::{Reads, Store, StoreError, Stored, Tx, names};
use crate::{hub::Hub, vault::Vault};

/// Rows need no lock where there is one writer.
macro_rules! for_change {
    () => {
        ""
    };
}
/// See [`for_change`].
macro_rules! for_holding {
    () => {
        ""
    };
}
/// See [`for_change`].
macro_rules! for_taking {
    () => {
        ""
    };
}
/// The function that gives the larger of two values.
macro_rules! larger {
    () => {
        "max"
    };
}

#[path = "shared/session.rs"]
mod session;

use session::{Shared, Work, fault};

pub(super) type Db = sqlx::Sqlite;

/// A migration that landed is never edited: databases keep its checksum.
const MIGRATIONS: &[(&str, &str)] = &[
    ("first", include_str!("../../migrations/sqlite/0001_first.sql")),
    ("gather", include_str!("../../migrations/sqlite/0002_gather.sql")),
    ("money keys", include_str!("../../migrations/sqlite/0003_money_keys.sql")),
    ("paying", include_str!("../../migrations/sqlite/0004_paying.sql")),
    ("jobs", include_str!("../../migrations/sqlite/0005_jobs.sql")),
    ("friends", include_str!("../../migrations/sqlite/0006_friends.sql")),
    ("nodes", include_str!("../../migrations/sqlite/0007_nodes.sql")),
    ("proofs", include_str!("../../migrations/sqlite/0008_proofs.sql")),
    ("terms", include_str!("../../migrations/sqlite/0009_terms.sql")),
    ("schedule", include_str!("../../migrations/sqlite/0010_schedule.sql")),
    ("size", include_str!("../../migrations/sqlite/0011_size.sql")),
    ("retention", include_str!("../../migrations/sqlite/0012_retention.sql")),
    ("webhooks", include_str!("../../migrations/sqlite/0013_webhooks.sql")),
];
/// Whether the first versions' own count of migrations is there.
const OLD_VERSIONS: &str = "SELECT count(*) FROM sqlite_master WHERE name = 'schema_versions'";
/// One writer needs none.
const CHANNELS_LOCK: Option<&str> = None;
/// Connections that read. More than the machine has cores: on a busy one each question waits for its thread to be
/// scheduled, not for the file.
const READERS_MAX: u32 = 16;
/// Waiting for a connection, or for another program that writes.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// The log is cut back to this after a checkpoint.
const LOG_BYTES_KEPT: &str = "67108864";

/// One file.
pub struct SqliteStore {
    path: PathBuf,
    writer: SqlitePool,
    readers: SqlitePool,
    vault: Vault,
    clock: Clock,
    shared: Shared,
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").field("path", &self.path).finish_non_exhaustive()
    }
}

impl SqliteStore {
    /// Opens the file, or makes it, and brings it to the newest schema.
    ///
    /// - `clock`: when mails and payments were asked for.
    /// - Errors: it cannot be opened, is no database, is newer than this program, or belongs to another vault.
    pub async fn open(path: &Path, vault: Vault, clock: Clock) -> Stored<Self> {
        make_private(path).map_err(|error| at_path(path, &error.to_string()))?;
        Self::open_with(options(path), path, vault, clock).await
    }

    async fn open_with(
        options: SqliteConnectOptions,
        path: &Path,
        vault: Vault,
        clock: Clock,
    ) -> Stored<Self> {
        let writer = PoolOptions::<Db>::new()
            .max_connections(1)
            .test_before_acquire(false)
            .acquire_timeout(WAIT_MAX)
            .idle_timeout(None)
            .max_lifetime(None)
            .before_acquire(|connection, _| {
                // After a full disk SQLite may have rolled back by itself, and the driver still counts a
                // transaction: such a connection is replaced.
                let is_free = !connection.is_in_transaction();
                Box::pin(async move { Ok(is_free) })
            })
            .connect_lazy_with(options.clone());
        let readers = PoolOptions::<Db>::new()
            .max_connections(READERS_MAX)
            .test_before_acquire(false)
            .acquire_timeout(WAIT_MAX)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_lazy_with(options.pragma("query_only", "ON"));
        let store =
            Self { path: path.to_owned(), writer, readers, vault, shared: Shared::new(clock().wall), clock };
        store.make_ready().await.map_err(|error| match error {
            StoreError::Retry(why) | StoreError::Broken(why) => at_path(path, &why),
            other => other,
        })?;
        Ok(store)
    }

    async fn make_ready(&self) -> Stored<()> {
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(fault)?;
        session::make_ready(&mut transaction, &self.vault).await?;
        transaction.commit().await.map_err(fault)
    }
}

fn at_path(path: &Path, why: &str) -> StoreError {
    StoreError::Broken(format!("{}: {why}", path.display()))
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(WAIT_MAX)
        .auto_vacuum(SqliteAutoVacuum::None)
        .pragma("journal_size_limit", LOG_BYTES_KEPT)
        .pragma("trusted_schema", "OFF")
}

/// Makes an empty file that its owner alone can read, if there is none. Its log gets the same mode from SQLite.
fn make_private(path: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => {
            file.sync_all()?;
            sync_directory(path)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

fn sync_directory(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or_else(|| Path::new(".")))?.sync_all()
}

/// What SQLite's error means; its text names tables and columns, never values.
fn of_database(error: &dyn DatabaseError) -> StoreError {
    if error.is_unique_violation() {
        return StoreError::Conflict(names::conflict_at(error.message()));
    }
    let code = error.code().and_then(|code| code.parse::<i32>().ok()).unwrap_or_default();
    match code & 0xff {
        5 | 6 => StoreError::Retry(error.message().to_owned()),
        13 => StoreError::Broken("the disk is full: make room, nothing was lost".to_owned()),
        _ => StoreError::Broken(format!("{} (SQLite {code})", error.message())),
    }
}

/// A copy under way: taken away unless it came to its end.
struct Copying<'p> {
    path: &'p Path,
    is_whole: bool,
}

impl Drop for Copying<'_> {
    fn drop(&mut self) {
        if !self.is_whole {
            let _ = fs::remove_file(self.path);
        }
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn read(&self) -> Stored<Box<dyn Reads + '_>> {
        let transaction = self.readers.begin_with("BEGIN DEFERRED").await.map_err(fault)?;
        Ok(Box::new(Work::new(transaction, self.vault.clone(), self.clock.clone(), self.shared.clone())))
    }

    async fn begin(&self) -> Stored<Box<dyn Tx + '_>> {
        let transaction = self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(fault)?;
        Ok(Box::new(Work::new(transaction, self.vault.clone(), self.clock.clone(), self.shared.clone())))
    }

    async fn back_up(&self, to: &Path) -> Stored<()> {
        let failed = |error: io::Error| at_path(to, &error.to_string());
        let Some(name) = to.to_str() else {
            return Err(at_path(to, "the name is not UTF-8"));
        };
        // SQLite takes an empty file for a new one; made here, nobody else can ever read it.
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to).map_err(failed)?;
        let mut copying = Copying { path: to, is_whole: false };
        let mut connection = SqliteConnection::connect_with(&options(&self.path)).await.map_err(fault)?;
        sqlx::query::<Db>("VACUUM INTO $1").bind(name).execute(&mut connection).await.map_err(fault)?;
        connection.close().await.map_err(fault)?;
        let place = to.to_owned();
        let synced =
            tokio::task::spawn_blocking(move || file.sync_all().and_then(|()| sync_directory(&place)));
        synced.await.map_err(io::Error::other).and_then(|done| done).map_err(failed)?;
        copying.is_whole = true;
        Ok(())
    }

    fn changes(&self) -> u64 {
        self.shared.changes()
    }

    fn hub(&self) -> &Arc<Hub> {
        self.shared.hub()
    }

    async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use slotcast_core::time::{Now, WallTime};

    use super::*;
    use crate::store::KeptAnswer;

    /// Writes a row of some kilobytes.
    async fn grow(store: &SqliteStore, number: u32) -> Stored<()> {
        let answer = KeptAnswer { request_hash: [0; 32], made: "x".repeat(3000) };
        let mut tx = store.begin().await?;
        tx.keep_answer("grow", &number.to_string(), &answer, WallTime::from_micros(0)).await?;
        tx.commit().await
    }

    fn standing() -> Clock {
        Arc::new(|| Now { mono: tokio::time::Instant::now().into_std(), wall: WallTime::from_micros(0) })
    }

    #[tokio::test]
    async fn another_program_that_writes_puts_us_off_and_no_more() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("slotcast.db");
        let short = options(&path).busy_timeout(Duration::from_millis(20)).create_if_missing(true);
        let store = SqliteStore::open_with(short, &path, Vault::new(&[7; 32]), standing()).await.unwrap();
        let other = SqlitePool::connect(path.to_str().unwrap()).await.unwrap();
        let held = other.begin_with("BEGIN IMMEDIATE").await.unwrap();
        let Err(StoreError::Retry(why)) = store.begin().await.map(drop) else { panic!("it is locked") };
        assert!(why.contains("locked"), "{why}");
        let mut reads = store.read().await.unwrap();
        assert_eq!(reads.outbox_depth().await.unwrap().mails, 0, "reading goes on");
        drop(reads);
        held.rollback().await.unwrap();
        grow(&store, 1).await.unwrap();
    }

    #[tokio::test]
    async fn a_full_disk_refuses_and_leaves_the_store_usable() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("slotcast.db");
        let (vault, pages_max) = (Vault::new(&[7; 32]), "120");
        let small = options(&path).pragma("max_page_count", pages_max);
        let store =
            SqliteStore::open_with(small.create_if_missing(true), &path, vault, standing()).await.unwrap();
        let (mut kept, mut full) = (0, 0);
        for number in 0..1000 {
            match grow(&store, number).await {
                Ok(()) => kept = number + 1,
                Err(StoreError::Broken(why)) => {
                    assert!(why.contains("disk is full"), "{why}");
                    full += 1;
                }
                other => panic!("{other:?}"),
            }
            if full == 5 {
                break;
            }
        }
        assert!(kept > 0 && full == 5, "{kept} kept, {full} refused");
        let mut tx = store.begin().await.unwrap();
        let last = tx.kept_answer("grow", &(kept - 1).to_string()).await.unwrap();
        assert!(last.is_some() && tx.kept_answer("grow", &kept.to_string()).await.unwrap().is_none());
    }
}
