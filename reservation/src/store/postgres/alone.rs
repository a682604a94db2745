//! One server works on one PostgreSQL database.
//!
//! Owns: [`Alone`], an advisory lock that lives as long as one connection, which is made anew when it is lost.
//! Not here: SQLite, whose data directory is locked by a file; tools that only read or write a few rows, which may
//! come beside a server.
//! Invariant: a second server is refused before it has changed anything, schema included; one that was killed is waited
//! for, and never longer than its successor is told to.

use std::{fmt, time::Duration};

use slotcast_core::time::Clock;
use sqlx::{
    Connection as _, Executor as _,
    postgres::{PgConnectOptions, PgConnection},
};
use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::{StoreError, Stored, at, fault, options, place_of};

/// From one attempt to the next, while another has it.
const TRY_EVERY: Duration = Duration::from_millis(500);
/// How often the connection is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// So many refusals in a row are another server's: our own lost connection is gone from the database by then.
const REFUSALS_TELL: u32 = 4;
/// Until the database answers.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// What PostgreSQL shows of the connection.
const NAME: &str = "slotcast server";
/// The database ends the lock of a machine that has vanished without a word after about 15 s.
const SETTINGS: &str = "SELECT set_config('tcp_keepalives_idle', '5', false),
    set_config('tcp_keepalives_interval', '5', false), set_config('tcp_keepalives_count', '2', false)";
/// Any number, the same for everybody; one lock for each schema of a database.
const LOCK: &str = "SELECT pg_try_advisory_lock(51731940, hashtext(coalesce(current_schema(), '')))";

/// Why the database is not ours.
#[derive(Debug)]
#[non_exhaustive]
pub enum AloneError {
    /// Another server works there: where, without the password.
    Taken(String),
    /// It could not be asked.
    Store(StoreError),
}

impl fmt::Display for AloneError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Taken(place) => write!(
                f,
                "{place}: another server works there: stop it first, or give this one a database of its own (SELECT * \
                 FROM pg_stat_activity WHERE application_name = '{NAME}' shows where it runs)"
            ),
            Self::Store(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for AloneError {}

/// No other server works on the database until this is dropped.
#[derive(Debug)]
pub struct Alone {
    keeping: JoinHandle<()>,
}

impl Drop for Alone {
    fn drop(&mut self) {
        self.keeping.abort();
    }
}

impl Alone {
    /// Takes the database that `url` names for this server; must be called inside a runtime.
    ///
    /// - `patience`: how long a server that is there may take to end, as one that was killed a moment ago does.
    /// - Returns `None` where `url` is no address of a PostgreSQL database.
    /// - Errors: another server works there; it cannot be reached. Both name the place without its password.
    pub async fn take(url: &str, patience: Duration, clock: &Clock) -> Result<Option<Self>, AloneError> {
        let is_postgres = url.starts_with("postgres://") || url.starts_with("postgresql://");
        let Some(options) = options(url).filter(|_| is_postgres) else { return Ok(None) };
        let place = place_of(&options);
        let until = clock().mono + patience;
        let mut has_told = false;
        let held = loop {
            match take_once(&options).await.map_err(|error| AloneError::Store(at(&place, error)))? {
                Some(held) => break held,
                None if clock().mono >= until => return Err(AloneError::Taken(place)),
                None => {}
            }
            if !has_told {
                has_told = true;
                let seconds = patience.as_secs();
                tracing::info!(
                    "{place}: another server works there, or did a moment ago: waiting up to {seconds} s"
                );
            }
            sleep(TRY_EVERY).await;
        };
        Ok(Some(Self { keeping: tokio::spawn(keep(options, place, held)) }))
    }
}

/// `None`: another has it.
async fn take_once(options: &PgConnectOptions) -> Stored<Option<PgConnection>> {
    let options = options.clone().application_name(NAME);
    let taking = async {
        let mut connection = PgConnection::connect_with(&options).await?;
        connection.execute(SETTINGS).await?;
        let is_ours: bool = sqlx::query_scalar(LOCK).fetch_one(&mut connection).await?;
        if is_ours {
            return Ok(Some(connection));
        }
        connection.close().await.map(|()| None)
    };
    match timeout(ANSWER_MAX, taking).await {
        Ok(taken) => taken.map_err(fault),
        Err(_) => Err(StoreError::Retry("no answer".to_owned())),
    }
}

/// Holds on to the lock. A connection that was lost is made anew; where another server has come in between, the log
/// tells: a running broadcast goes on whatever becomes of the database.
async fn keep(options: PgConnectOptions, place: String, held: PgConnection) {
    let mut held = Some(held);
    let mut refusals = 0_u32;
    loop {
        sleep(LOOK_EVERY).await;
        if let Some(connection) = &mut held
            && matches!(timeout(ANSWER_MAX, connection.ping()).await, Ok(Ok(())))
        {
            continue;
        }
        drop(held.take());
        match take_once(&options).await {
            Ok(Some(connection)) => {
                refusals = 0;
                held = Some(connection);
            }
            Ok(None) => {
                refusals = refusals.saturating_add(1);
                if refusals == REFUSALS_TELL {
                    tracing::error!(
                        "{place}: while it could not be reached another server began to work there: stop one of the two"
                    );
                }
            }
            // The database is away, which everybody notices who asks it.
            Err(_) => {}
        }
    }
}
