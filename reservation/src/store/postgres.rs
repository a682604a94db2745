//! The store in a PostgreSQL database, version 12 or newer.
//!
//! Owns: how it is reached, what its errors mean, which rows are locked.
//! Not here: that only one server works on it (`alone`); copies; PostgreSQL has its own tools.
//! Invariant: the password in the URL is in no error and no log; writing sees what others committed (READ COMMITTED, with
//! row locks), reading sees one moment (REPEATABLE READ).

pub mod alone;

use std::{fmt, path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use slotcast_core::time::Clock;
use sqlx::{
    Connection as _, Executor as _,
    error::DatabaseError,
    pool::PoolOptions,
    postgres::{PgConnectOptions, PgConnection, PgPool},
};

use super::{Reads, Store, StoreError, Stored, Tx, names};
use crate::{hub::Hub, vault::Vault};

/// Weak enough that others can still refer to the row, strong enough that one waits for the other.
macro_rules! for_change {
    () => {
        " FOR NO KEY UPDATE"
    };
}
/// Others may hold the row as well, and nobody changes it.
macro_rules! for_holding {
    () => {
        " FOR SHARE"
    };
}
/// Rows that somebody else takes at this moment are left to them.
macro_rules! for_taking {
    () => {
        " FOR UPDATE SKIP LOCKED"
    };
}
/// The function that gives the larger of two values.
macro_rules! larger {
    () => {
        "greatest"
    };
}

#[path = "shared/session.rs"]
#[expect(clippy::duplicate_mod, reason = "the same statements, compiled for each database")]
mod session;

use session::{Shared, Work, fault};

pub(super) type Db = sqlx::Postgres;

/// A migration that landed is never edited: databases keep its checksum.
const MIGRATIONS: &[(&str, &str)] = &[
    ("first", include_str!("../../migrations/postgres/0001_first.sql")),
    ("gather", include_str!("../../migrations/postgres/0002_gather.sql")),
    ("money keys", include_str!("../../migrations/postgres/0003_money_keys.sql")),
    ("paying", include_str!("../../migrations/postgres/0004_paying.sql")),
    ("jobs", include_str!("../../migrations/postgres/0005_jobs.sql")),
    ("friends", include_str!("../../migrations/postgres/0006_friends.sql")),
    ("nodes", include_str!("../../migrations/postgres/0007_nodes.sql")),
    ("proofs", include_str!("../../migrations/postgres/0008_proofs.sql")),
    ("terms", include_str!("../../migrations/postgres/0009_terms.sql")),
    ("schedule", include_str!("../../migrations/postgres/0010_schedule.sql")),
    ("size", include_str!("../../migrations/postgres/0011_size.sql")),
    ("retention", include_str!("../../migrations/postgres/0012_retention.sql")),
    ("webhooks", include_str!("../../migrations/postgres/0013_webhooks.sql")),
];
/// Whether the first versions' own count of migrations is there.
const OLD_VERSIONS: &str =
    "SELECT count(*) FROM pg_tables WHERE schemaname = current_schema() AND tablename = 'schema_versions'";
const CONNECTIONS_MAX: u32 = 16;
/// Waiting for a connection of ours.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// For each connection. A transaction that is asleep would keep locks: its connection is ended. `synchronous_commit`
/// may be stronger than `on`, but what is confirmed must be on the disk.
const SETTINGS: &str = "SELECT set_config('statement_timeout', '10s', false),
    set_config('lock_timeout', '5s', false),
    set_config('idle_in_transaction_session_timeout', '30s', false),
    set_config('synchronous_commit', CASE current_setting('synchronous_commit')
        WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, false)";
/// Any number, the same for everybody: two that start at once make the schema one after the other.
const SCHEMA_LOCK: &str = "SELECT pg_advisory_xact_lock(5173194062718)";

/// Any number, the same for everybody: who decides about all channels follows one another, before the first row of theirs too.
const CHANNELS_LOCK: Option<&str> = Some("SELECT pg_advisory_xact_lock(5173194062719)");

/// One database.
pub struct PostgresStore {
    pool: PgPool,
    /// Host and database, without user and password.
    place: String,
    vault: Vault,
    clock: Clock,
    shared: Shared,
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore").field("place", &self.place).finish_non_exhaustive()
    }
}

impl PostgresStore {
    /// Connects to `postgres://user:password@host:port/database`, and brings the database to the newest schema.
    ///
    /// - `clock`: when mails and payments were asked for.
    /// - Errors: it cannot be reached, is newer than this program, or belongs to another vault.
    pub async fn connect(url: &str, vault: Vault, clock: Clock) -> Stored<Self> {
        let Some(options) = options(url) else {
            let text = "expected a database address like postgres://user:password@host:5432/name, with @ / ? # in \
                        user and password written as %40 %2F %3F %23";
            return Err(StoreError::Broken(text.to_owned()));
        };
        let place = place_of(&options);
        let options = options.application_name("slotcast");
        make_ready(&options, &vault).await.map_err(|error| at(&place, error))?;
        let pool = PoolOptions::<Db>::new()
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(WAIT_MAX)
            .after_connect(|connection, _| {
                Box::pin(async move { connection.execute(SETTINGS).await.map(drop) })
            })
            .connect_lazy_with(options);
        Ok(Self { pool, place, vault, shared: Shared::new(clock().wall), clock })
    }
}

/// Host and database, without user and password.
fn place_of(options: &PgConnectOptions) -> String {
    format!(
        "PostgreSQL at {}:{}, database {}",
        options.get_host(),
        options.get_port(),
        options.get_database().unwrap_or_else(|| options.get_username())
    )
}

/// `None`: not an address. The parser's own error is left out, since it may hold parts of the password; and so is an
/// address whose password, not encoded, would be read as host, port or name of the database.
fn options(url: &str) -> Option<PgConnectOptions> {
    let (_, rest) = url.split_once("://")?;
    let user_part = rest.rsplit_once('@').map_or("", |(user_part, _)| user_part);
    if user_part.contains(['/', '?', '#', '@']) {
        return None;
    }
    url.parse().ok()
}

/// The error with where it was.
fn at(place: &str, error: StoreError) -> StoreError {
    match error {
        StoreError::Retry(why) => StoreError::Retry(format!("{place}: {why}")),
        StoreError::Broken(why) => StoreError::Broken(format!("{place}: {why}")),
        other => other,
    }
}

/// Over a connection of its own: the pool would say only that time was up, not why.
async fn make_ready(options: &PgConnectOptions, vault: &Vault) -> Stored<()> {
    let connecting = tokio::time::timeout(WAIT_MAX, PgConnection::connect_with(options));
    let Ok(connected) = connecting.await else {
        return Err(StoreError::Retry("no answer".to_owned()));
    };
    let mut connection = connected.map_err(fault)?;
    let mut transaction = connection.begin().await.map_err(fault)?;
    let sql = "SELECT current_setting('server_encoding')";
    let encoding: String = sqlx::query_scalar(sql).fetch_one(&mut *transaction).await.map_err(fault)?;
    if encoding != "UTF8" {
        let text = format!("its encoding is {encoding}: make one with ENCODING 'UTF8' TEMPLATE template0");
        return Err(StoreError::Broken(text));
    }
    transaction.execute(SCHEMA_LOCK).await.map_err(fault)?;
    session::make_ready(&mut transaction, vault).await?;
    transaction.commit().await.map_err(fault)?;
    connection.close().await.map_err(fault)
}

/// What PostgreSQL's error means, by its SQLSTATE (PostgreSQL documentation, appendix A). Its detail, which can hold
/// values, is left out.
fn of_database(error: &dyn DatabaseError) -> StoreError {
    let code = error.code().unwrap_or_default();
    let text = format!("{} (PostgreSQL {code})", error.message());
    match &*code {
        "23505" => StoreError::Conflict(names::conflict_at(error.constraint().unwrap_or_default())),
        // Serialisation, deadlock, lock timeout, statement timeout, asleep too long, too many connections.
        "40001" | "40P01" | "55P03" | "57014" | "25P03" | "53300" => StoreError::Retry(text),
        // Shut down, crashed, starting up; a standby that was promoted elsewhere.
        "57P01" | "57P02" | "57P03" | "25006" => StoreError::Retry(text),
        code if code.starts_with("08") => StoreError::Retry(text),
        _ => StoreError::Broken(text),
    }
}

#[async_trait]
impl Store for PostgresStore {
    async fn read(&self) -> Stored<Box<dyn Reads + '_>> {
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
        let transaction = self.pool.begin_with(begin).await.map_err(fault)?;
        Ok(Box::new(Work::new(transaction, self.vault.clone(), self.clock.clone(), self.shared.clone())))
    }

    async fn begin(&self) -> Stored<Box<dyn Tx + '_>> {
        let begin = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";
        let transaction = self.pool.begin_with(begin).await.map_err(fault)?;
        Ok(Box::new(Work::new(transaction, self.vault.clone(), self.clock.clone(), self.shared.clone())))
    }

    async fn back_up(&self, _to: &Path) -> Stored<()> {
        let text = "copies of a PostgreSQL database are made by PostgreSQL: use pg_dump";
        Err(StoreError::Broken(text.to_owned()))
    }

    fn changes(&self) -> u64 {
        self.shared.changes()
    }

    fn hub(&self) -> &Arc<Hub> {
        self.shared.hub()
    }

    async fn close(&self) {
        self.pool.close().await;
    }
}
