//! The outbox: jobs that wait, are leased, and are over.
//!
//! Invariant: one job of a kind is worked by one process at a time while its lease lasts; each member's first waiting
//! job of a kind comes before any member's second.

use serde::{Deserialize, Serialize};
use slotcast_core::time::WallTime;

use super::{
    super::super::{Job, JobEnd, JobKind, Payment, StoreError, Task, names},
    Row, Stored, Work, rows,
};
use crate::domain::{
    effects::{MailKind, MailRequest, Whom},
    words::{MemberNumber, ReservationNumber},
};

/// The turn is the one after the member's last that waits; and no earlier than those that are served now, so that a
/// long queue is not overtaken for ever.
const ADD_JOB: &str = concat!(
    "INSERT INTO jobs (kind, key, member, payload, created_at, next_at, tries, turn)
    VALUES ($1, $2, $3, $4, $5, $6, 0, ",
    larger!(),
    "(coalesce((SELECT min(turn) FROM jobs WHERE kind = $1 AND tries = 0 AND next_at IS NOT NULL), 0),
      coalesce((SELECT max(turn) + 1 FROM jobs WHERE kind = $1 AND member = $3 AND next_at IS NOT NULL), 0)))
    ON CONFLICT (key) DO NOTHING"
);
const TAKE_JOBS: &str = concat!(
    "WITH due AS MATERIALIZED (SELECT position FROM jobs
        WHERE kind = $1 AND next_at IS NOT NULL AND next_at <= $2 AND (leased_until IS NULL OR leased_until <= $2)
        ORDER BY tries, turn, position LIMIT $4",
    for_taking!(),
    ") UPDATE jobs SET leased_until = $3, tries = tries + 1 WHERE position IN (SELECT position FROM due)
    RETURNING position, key, member, turn, payload, created_at, tries - 1 AS tries"
);

/// A mail as it is kept.
#[derive(Serialize, Deserialize)]
struct KeptMail {
    kind: String,
    to: String,
    reservation: Option<i64>,
    calendar_sequence: u32,
    changes: Vec<String>,
}

/// The kind and payload of a mail's job.
pub(super) fn of_mail(mail: &MailRequest) -> Stored<(JobKind, String)> {
    let kept = KeptMail {
        kind: mail.kind.name().to_owned(),
        to: mail.to.as_str().to_owned(),
        reservation: mail.reservation.map(|reservation| reservation.0),
        calendar_sequence: mail.calendar_sequence,
        changes: mail.changes.clone(),
    };
    let kind = match mail.whom {
        Whom::Member => JobKind::MemberMail,
        Whom::Friend => JobKind::FriendMail,
    };
    let payload = serde_json::to_string(&kept).map_err(|error| StoreError::Broken(error.to_string()))?;
    Ok((kind, payload))
}

fn mail(row: &Row, key: &str, whom: Whom) -> Option<MailRequest> {
    let kept: KeptMail = serde_json::from_str(rows::at(row, "payload").ok()?).ok()?;
    Some(MailRequest {
        key: key.to_owned(),
        kind: MailKind::from_name(&kept.kind)?,
        whom,
        to: kept.to.parse().ok()?,
        member: MemberNumber(rows::at(row, "member").ok()?),
        reservation: kept.reservation.map(ReservationNumber),
        calendar_sequence: kept.calendar_sequence,
        changes: kept.changes,
    })
}

/// Where it comes among those taken with it, its key, and what it is; the last is `None` where it cannot be read.
type Taken = ((i64, i64, i64), String, Option<Job>);

fn job(row: &Row, kind: JobKind) -> Stored<Taken> {
    let key: String = rows::at(row, "key")?;
    let task = match kind {
        JobKind::MemberMail => mail(row, &key, Whom::Member).map(Task::Mail),
        JobKind::FriendMail => mail(row, &key, Whom::Friend).map(Task::Mail),
        JobKind::Payment => Some(Task::Payment),
    };
    let tries = rows::at::<i64>(row, "tries")?;
    let created_at = WallTime::from_micros(rows::at(row, "created_at")?);
    let place = (tries, rows::at(row, "turn")?, rows::at(row, "position")?);
    let tries = u32::try_from(tries).unwrap_or(u32::MAX);
    Ok((place, key.clone(), task.map(|task| Job { key, task, tries, created_at })))
}

impl Work {
    /// `false`: one of that key is there already.
    pub(super) async fn write_job(
        &mut self,
        kind: JobKind,
        key: &str,
        member: MemberNumber,
        payload: &str,
        now: WallTime,
        next_at: WallTime,
    ) -> Stored<bool> {
        let query = sqlx::query(ADD_JOB)
            .bind(kind.name())
            .bind(names::text(key)?)
            .bind(member.0)
            .bind(payload)
            .bind(now.as_micros())
            .bind(next_at.as_micros());
        Ok(self.run(query).await? == 1)
    }

    /// The payment's job waits until the payment's `next_at`; it is there again where it was over.
    pub(super) async fn wait_for_payment(&mut self, payment: &Payment) -> Stored<()> {
        let sql = "UPDATE jobs SET next_at = $2, leased_until = NULL, error = $3 WHERE key = $1";
        let query = sqlx::query(sql)
            .bind(names::text(&payment.request.key)?)
            .bind(payment.next_at.as_micros())
            .bind(names::optional_text(payment.error.as_deref())?);
        if self.run(query).await? == 0 {
            let (request, now) = (&payment.request, self.now());
            self.write_job(JobKind::Payment, &request.key, request.member, "", now, payment.next_at).await?;
        }
        Ok(())
    }

    pub(super) async fn lease_jobs(
        &mut self,
        kind: JobKind,
        now: WallTime,
        leased_until: WallTime,
        limit: u32,
    ) -> Stored<Vec<Job>> {
        let query = sqlx::query(TAKE_JOBS)
            .bind(kind.name())
            .bind(now.as_micros())
            .bind(leased_until.as_micros())
            .bind(i64::from(limit));
        let rows = self.rows(query).await?;
        let mut taken = rows.iter().map(|row| job(row, kind)).collect::<Stored<Vec<_>>>()?;
        taken.sort_unstable_by_key(|(place, ..)| *place);
        let mut jobs = Vec::with_capacity(taken.len());
        for (_, key, job) in taken {
            match job {
                Some(job) => jobs.push(job),
                None => {
                    tracing::error!(job = key, "given up: this program cannot read it");
                    self.note_job(&key, &JobEnd::GivenUp("not readable".to_owned()), now).await?;
                }
            }
        }
        Ok(jobs)
    }

    pub(super) async fn note_job(&mut self, key: &str, end: &JobEnd, now: WallTime) -> Stored<()> {
        let (done_at, error, next_at) = match end {
            JobEnd::Done => (Some(now), None, None),
            JobEnd::GivenUp(error) => (None, Some(error), None),
            JobEnd::Again(error, next_at) => (None, Some(error), Some(*next_at)),
        };
        let sql = "UPDATE jobs SET done_at = $2, error = $3, next_at = $4, leased_until = NULL
            WHERE key = $1 AND done_at IS NULL";
        // The text is a server's: whatever is in it must not keep the job from being tried again.
        let error = error.map(|error| error.replace('\0', " "));
        let query = sqlx::query(sql)
            .bind(names::text(key)?)
            .bind(done_at.map(WallTime::as_micros))
            .bind(error)
            .bind(next_at.map(WallTime::as_micros));
        self.run(query).await.map(drop)
    }
}
