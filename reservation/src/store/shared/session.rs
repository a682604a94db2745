//! One transaction under way, the same text for both databases: compiled once as a part of each.
//!
//! Owns: [`Work`], how a statement is run and when a transaction has failed.
//! Not here: what differs (`super`: `Db`, `of_database`, the clauses that lock rows).
//! Invariant: a transaction in which a statement failed, or was not seen to end, is never committed.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use slotcast_core::time::{Clock, WallTime};
use sqlx::{Executor, Transaction};

use super::{
    super::{Conflict, ScheduleChange, StoreError, Stored},
    CHANNELS_LOCK, Db, of_database,
};
use crate::{domain::event::Event, hub::Hub, vault::Vault};

macro_rules! member_columns {
    () => {
        "user_id, name, reading, email, email_folded, email_public, web, language, kind, is_operator, is_blocked, \
         password_hash, contact_address, contact_phone, contact_mobile, contact_fax, card_token, card_brand, \
         card_last_four, card_expires_year, card_expires_month, terminal_key, registered_at, is_email_verified, new_email, version"
    };
}
macro_rules! reservation_columns {
    () => {
        "member, kind, channel, window_start, window_end, seats, class, toll, state, title, genre, outline, \
         details, open_level, sealed_password, show_email, show_web, friends, booked_at, hold_until, \
         reconfirm_until, terms_accepted_at, confirmed_at, over_at, id_hash, id_issue, is_reminded, \
         calendar_sequence, version"
    };
}
macro_rules! channel_columns {
    () => {
        "name, seats, class, toll, gather_ms, is_retired, version"
    };
}
macro_rules! payment_columns {
    () => {
        "key, kind, reservation, member, amount, of_key, elsewhere, reason, asked_as, state, reference, error, attempt, \
         next_at, created_at"
    };
}
macro_rules! ledger_columns {
    () => {
        "key, kind, of_key, reservation, at, debit, debit_member, credit, credit_member, amount"
    };
}

mod jobs;
mod reads;
mod rows;
mod schema;
mod stale;
mod webhooks;
mod writes;

pub(super) use schema::make_ready;

/// Revisions of the schedule whose changes are kept. Who knows an older one only reads the whole schedule.
const REVISIONS_KEPT: i64 = 10_000;
/// Older ones are taken away once in so many.
const REVISIONS_FORGOTTEN_EVERY: i64 = 256;

type Row = <Db as sqlx::Database>::Row;
type Arguments = <Db as sqlx::Database>::Arguments;
type Query<'q> = sqlx::query::Query<'q, Db, Arguments>;
type Builder = sqlx::QueryBuilder<Db>;

/// What the transactions of one store know together.
#[derive(Clone)]
pub(super) struct Shared(Arc<Known>);

struct Known {
    /// Reservations that could not be read, so that the log names each once.
    unreadable: Mutex<BTreeSet<i64>>,
    /// See [`Store::changes`](super::super::Store::changes).
    changes: AtomicU64,
    hub: Arc<Hub>,
}

impl Shared {
    pub(super) fn new(now: WallTime) -> Self {
        let hub = Hub::new(now);
        Self(Arc::new(Known { unreadable: Mutex::default(), changes: AtomicU64::default(), hub }))
    }

    pub(super) fn hub(&self) -> &Arc<Hub> {
        &self.0.hub
    }

    pub(super) fn changes(&self) -> u64 {
        self.0.changes.load(Ordering::Acquire)
    }
}

/// Counts a change when the commit that brings it is over, whatever became of it.
struct Counted<'a>(Option<&'a Known>);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        if let Some(known) = self.0 {
            known.changes.fetch_add(1, Ordering::AcqRel);
        }
    }
}

/// One transaction. Dropped, it is rolled back.
pub(super) struct Work {
    transaction: Transaction<'static, Db>,
    vault: Vault,
    clock: Clock,
    shared: Shared,
    /// A statement failed, or its future was dropped before the end: PostgreSQL would answer COMMIT with a rollback
    /// and no error, SQLite would keep the half.
    failed: bool,
    /// Slots are taken or given back, or channels change.
    changes_slots: bool,
    /// What is told once it stands.
    told: Untold,
    /// What of the schedule changes with this transaction. Written last of all: the row is one for everybody.
    schedule: BTreeSet<ScheduleChange>,
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Work").field("failed", &self.failed).finish_non_exhaustive()
    }
}

impl Work {
    pub(super) fn new(
        transaction: Transaction<'static, Db>,
        vault: Vault,
        clock: Clock,
        shared: Shared,
    ) -> Self {
        let told = Untold { hub: Arc::clone(&shared.0.hub), events: Vec::new(), is_asked: false };
        Self {
            transaction,
            vault,
            clock,
            shared,
            failed: false,
            changes_slots: false,
            told,
            schedule: BTreeSet::new(),
        }
    }

    fn now(&self) -> WallTime {
        (self.clock)().wall
    }

    /// Runs one statement. Returns how many rows it changed.
    async fn run(&mut self, query: Query<'_>) -> Stored<u64> {
        self.enter()?;
        let done = (&mut *self.transaction).execute(query).await.map_err(fault)?;
        self.failed = false;
        Ok(done.rows_affected())
    }

    async fn rows(&mut self, query: Query<'_>) -> Stored<Vec<Row>> {
        self.enter()?;
        let rows = (&mut *self.transaction).fetch_all(query).await.map_err(fault)?;
        self.failed = false;
        Ok(rows)
    }

    async fn row(&mut self, query: Query<'_>) -> Stored<Option<Row>> {
        self.enter()?;
        let row = (&mut *self.transaction).fetch_optional(query).await.map_err(fault)?;
        self.failed = false;
        Ok(row)
    }

    /// Of a statement that always returns one row with one number.
    async fn number(&mut self, query: Query<'_>) -> Stored<i64> {
        let row = self.row(query).await?;
        row.map_or_else(|| Err(StoreError::Broken("a row is missing".to_owned())), |row| rows::at(&row, 0))
    }

    async fn count(&mut self, query: Query<'_>) -> Stored<u32> {
        Ok(u32::try_from(self.number(query).await?).unwrap_or(u32::MAX))
    }

    /// Refuses what was asked: the transaction cannot be committed any more.
    fn refuse<T>(&mut self, conflict: Conflict) -> Stored<T> {
        self.failed = true;
        Err(StoreError::Conflict(conflict))
    }

    fn again<T>(&mut self, why: &str) -> Stored<T> {
        self.failed = true;
        Err(StoreError::Retry(why.to_owned()))
    }

    fn broken<T>(&mut self, why: String) -> Stored<T> {
        self.failed = true;
        Err(StoreError::Broken(why))
    }

    /// From here until `failed` is cleared again, a drop leaves it set.
    fn enter(&mut self) -> Stored<()> {
        if self.failed {
            let text = "something in this transaction failed before: begin another";
            return Err(StoreError::Broken(text.to_owned()));
        }
        self.failed = true;
        Ok(())
    }

    async fn finish(mut self) -> Stored<()> {
        if !self.schedule.is_empty() {
            self.write_schedule_changes().await?;
        }
        self.enter()?;
        self.told.is_asked = true;
        let shared = self.shared.clone();
        let counted = Counted(self.changes_slots.then_some(&*shared.0));
        let committed = self.transaction.commit().await.map_err(fault);
        // Whoever is told reads what is so now.
        drop(counted);
        committed?;
        self.told.tell();
        Ok(())
    }

    /// One revision for all of them: those of one transaction are seen together.
    async fn write_schedule_changes(&mut self) -> Stored<()> {
        let sql = "UPDATE server SET schedule_revision = schedule_revision + 1 RETURNING schedule_revision";
        let revision = self.number(sqlx::query(sql)).await?;
        for change in std::mem::take(&mut self.schedule) {
            let (program, member) = match change {
                ScheduleChange::Channels => (None, None),
                ScheduleChange::Program(program) => (Some(program.0), None),
                ScheduleChange::ProgramsOf(member) => (None, Some(member.0)),
            };
            let sql = "INSERT INTO schedule_changes (revision, program, member) VALUES ($1, $2, $3)";
            self.run(sqlx::query(sql).bind(revision).bind(program).bind(member)).await?;
        }
        if revision % REVISIONS_FORGOTTEN_EVERY == 0 {
            let sql = "DELETE FROM schedule_changes WHERE revision <= $1";
            self.run(sqlx::query(sql).bind(revision - REVISIONS_KEPT)).await?;
        }
        Ok(())
    }
}

/// Events of a transaction that is not known to stand.
struct Untold {
    hub: Arc<Hub>,
    events: Vec<Event>,
    /// The database was asked to make them stand.
    is_asked: bool,
}

impl Untold {
    fn tell(&mut self) {
        self.hub.tell(&std::mem::take(&mut self.events));
    }
}

/// Where the answer to the commit was lost, or nobody waited for it.
impl Drop for Untold {
    fn drop(&mut self) {
        if self.is_asked && !self.events.is_empty() {
            self.hub.lose();
        }
    }
}

/// What an error of the driver means to those above.
pub(super) fn fault(error: sqlx::Error) -> StoreError {
    match error {
        sqlx::Error::Database(error) => of_database(&*error),
        sqlx::Error::PoolTimedOut => StoreError::Retry("too many transactions wait for it".to_owned()),
        sqlx::Error::PoolClosed => StoreError::Broken("it was closed".to_owned()),
        sqlx::Error::Io(error) => StoreError::Retry(format!("connection lost: {error}")),
        sqlx::Error::WorkerCrashed => StoreError::Retry("its connection broke".to_owned()),
        other => StoreError::Broken(other.to_string()),
    }
}
