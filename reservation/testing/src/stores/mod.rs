//! What every store must do: cases that each get a [`World`], an empty database of either kind, and values to fill it with.

pub mod booking;
pub mod money;
pub mod opening;
pub mod outbox;
pub mod people;
pub mod races;
pub mod retention;
pub mod webhooks;

use std::{path::Path, sync::Arc};

use async_trait::async_trait;
use slotcast_reservation::{
    domain::{
        effects::{Effects, MailRequest},
        reservation::Reservation,
        words::ReservationNumber,
    },
    hub::Hub,
    store::{self, Job, Page, Reads, Store, StoreError, Stored, Task, Tx},
    vault::Vault,
};
use tempfile::TempDir;

use crate::clock::HandClock;
pub use crate::values::*;

/// Calls `$each!` with all cases, by their room.
#[macro_export]
macro_rules! store_cases {
    ($each:ident) => {
        $each! {
            people:
                members_keep_every_field
                user_ids_and_addresses_are_unique
                an_edit_of_an_older_member_is_refused
                members_are_listed_by_user_id
                sessions_end_by_time_and_by_hand
                a_new_password_ends_other_sessions_and_tokens
                tokens_have_names_and_an_end
                a_member_has_one_proof_of_each_kind
                the_newest_networks_of_a_member_are_remembered;
            booking:
                channels_keep_price_and_version
                reservations_keep_every_field
                a_viewers_password_is_sealed
                taken_slots_refuse_the_whole_write
                freed_slots_can_be_taken_again
                a_thousand_slots_are_one_booking
                a_slot_that_nobody_holds_is_never_called_taken
                an_edit_of_an_older_reservation_is_refused
                lists_follow_the_filter
                what_is_due_comes_oldest_first
                the_schedule_has_a_revision
                what_changed_the_schedule_is_told_by_revisions
                only_private_slots_count_for_the_month
                runs_count_once_and_samples_stay_apart
                a_row_that_cannot_be_read_is_left_out_alone
                what_was_promised_is_told_once_for_each_kind
                what_is_announced_bears_a_tag_that_each_change_changes
                taken_slots_are_counted_by_channel_and_their_changes_noticed
                pickups_come_by_position;
            money:
                payments_keep_every_field
                a_settlement_is_written_once
                the_ledger_lists_and_balances
                the_ledger_is_append_only
                the_largest_amounts_add_up
                answers_are_kept_for_a_day
                events_are_seen_once;
            outbox:
                mails_keep_every_field
                a_key_that_exists_refuses_the_whole_write
                a_leased_job_is_given_to_nobody_else
                jobs_are_tried_again_or_given_up
                members_take_turns
                what_fails_for_ever_keeps_nothing_waiting
                a_job_that_nobody_can_read_is_given_up
                a_payment_is_a_job_until_it_is_settled
                many_takers_never_get_the_same;
            retention:
                what_is_old_enough_is_taken_away_in_parts
                mails_are_kept_while_they_wait_and_while_their_program_is_not_over;
            webhooks:
                webhooks_keep_every_field
                events_go_to_those_who_want_them
                one_webhook_that_hangs_keeps_its_own_places
                the_same_event_is_sent_once_and_again_where_it_is_wished
                events_stand_and_fall_with_what_caused_them;
            races:
                sixty_four_bookers_share_no_slot
                the_month_limit_holds_among_bookers_at_once
                a_dropped_transaction_leaves_nothing
                a_failed_transaction_is_never_committed
                a_cancelled_booking_is_whole_or_nothing
                a_reader_sees_one_moment
                a_reader_waits_for_no_writer
                revisions_grow_with_every_writer;
            opening:
                another_key_is_refused
                a_newer_schema_is_refused
                a_database_of_the_first_version_is_taken_over
                opening_again_keeps_everything
                many_open_it_at_once
                texts_are_kept_as_they_are
                what_is_booked_in_stays
                presence_is_noted
                a_nul_is_refused
                the_ends_of_time_are_kept;
        }
    };
}

/// The mail that a job is about.
pub fn mail_of(job: Job) -> MailRequest {
    let Task::Mail(request) = job.task else { panic!("{} is no mail", job.key) };
    request
}

/// More than any list of these tests.
pub const ALL: Page = Page { offset: 0, limit: 100_000 };

/// Tries of one who is put off.
const TRIES_MAX: u32 = 100;

/// A database, and the clock of its store.
pub struct World {
    pub place: String,
    pub store: Arc<dyn Store>,
    pub clock: HandClock,
    _directory: Option<TempDir>,
}

pub fn vault() -> Vault {
    Vault::new(&[7; 32])
}

impl World {
    pub async fn in_a_file() -> Arc<Self> {
        let directory = tempfile::tempdir().unwrap();
        let place = format!("sqlite:{}", directory.path().join("slotcast.db").display());
        Self::open(place, Some(directory)).await
    }

    pub async fn at(place: String) -> Arc<Self> {
        Self::open(place, None).await
    }

    async fn open(place: String, directory: Option<TempDir>) -> Arc<Self> {
        let clock = HandClock::at(slot(1000));
        let store = Arc::new(Patient(store::open(&place, vault(), clock.clock()).await.unwrap()));
        Arc::new(Self { place, store, clock, _directory: directory })
    }

    /// A second store over the same database.
    pub async fn open_again(&self, vault: Vault) -> Stored<Arc<dyn Store>> {
        store::open(&self.place, vault, self.clock.clock()).await
    }

    /// A database as the first version left it, in this one's place or beside it, with these rows; returns where.
    pub async fn of_the_first_version(&self, rows: &[&'static str]) -> String {
        let count =
            "CREATE TABLE schema_versions (version BIGINT NOT NULL PRIMARY KEY, applied_at BIGINT NOT NULL);
            INSERT INTO schema_versions VALUES (1, 1)";
        if let Some(path) = self.place.strip_prefix("sqlite:") {
            let place = format!("{path}.first");
            let pool = sqlx::SqlitePool::connect(&format!("sqlite:{place}?mode=rwc")).await.unwrap();
            let first = include_str!("../../../migrations/sqlite/0001_first.sql");
            for sql in [first, count].iter().chain(rows) {
                sqlx::raw_sql(*sql).execute(&pool).await.unwrap();
            }
            pool.close().await;
            format!("sqlite:{place}")
        } else {
            self.store.close().await;
            let pool = sqlx::PgPool::connect(&self.place).await.unwrap();
            let first = include_str!("../../../migrations/postgres/0001_first.sql");
            let empty = "DO $$ DECLARE ours TEXT := current_schema(); BEGIN
                EXECUTE format('DROP SCHEMA %I CASCADE', ours); EXECUTE format('CREATE SCHEMA %I', ours);
            END $$";
            for sql in [empty, first, count].iter().chain(rows) {
                sqlx::raw_sql(*sql).execute(&pool).await.unwrap();
            }
            pool.close().await;
            self.place.clone()
        }
    }

    /// Runs a statement past the store.
    pub async fn raw(&self, sql: &'static str) -> Result<u64, sqlx::Error> {
        raw_at(&self.place, sql).await
    }

    /// Members 1 to `members`, channels 1 and 2.
    pub async fn with_members(self: &Arc<Self>, members: i64) -> &Arc<Self> {
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
    pub async fn write(&self, effects: &Effects) -> Stored<()> {
        patiently(|| async {
            let mut tx = self.store.begin().await?;
            tx.write(effects).await?;
            tx.commit().await
        })
        .await
    }

    pub async fn reservation(&self, number: i64) -> Option<Reservation> {
        self.store.read().await.unwrap().reservation(ReservationNumber(number)).await.unwrap()
    }
}

/// Runs a statement on the database at `place`, past any store.
pub async fn raw_at(place: &str, sql: &'static str) -> Result<u64, sqlx::Error> {
    if let Some(path) = place.strip_prefix("sqlite:") {
        let pool = sqlx::SqlitePool::connect(path).await?;
        let done = sqlx::query(sql).execute(&pool).await.map(|done| done.rows_affected());
        pool.close().await;
        done
    } else {
        let pool = sqlx::PgPool::connect(place).await?;
        let done = sqlx::query(sql).execute(&pool).await.map(|done| done.rows_affected());
        pool.close().await;
        done
    }
}

/// Does it again while the database says so: a busy machine is not what these tests are about.
pub async fn patiently<T, F>(mut what: impl FnMut() -> F) -> Stored<T>
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

    fn changes(&self) -> u64 {
        self.0.changes()
    }

    fn hub(&self) -> &Arc<Hub> {
        self.0.hub()
    }

    async fn close(&self) {
        self.0.close().await;
    }
}

#[track_caller]
pub fn conflict<T: std::fmt::Debug>(done: Stored<T>) -> store::Conflict {
    match done {
        Err(StoreError::Conflict(conflict)) => conflict,
        other => panic!("expected a conflict, got {other:?}"),
    }
}

#[track_caller]
pub fn broken<T: std::fmt::Debug>(done: Stored<T>) -> String {
    match done {
        Err(StoreError::Broken(why)) => why,
        other => panic!("expected a refusal, got {other:?}"),
    }
}
