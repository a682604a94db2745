//! The outbox: jobs that wait, are leased, and are over.
//!
//! Invariant: one job of a kind is worked by one process at a time while its lease lasts; each member's first waiting
//! job of a kind comes before any member's second.

use serde::{Deserialize, Serialize};
use slotcast_core::time::WallTime;

use super::{
    super::super::{Job, JobEnd, JobKind, Payment, StoreError, Task, names},
    Row, Stored, Work, rows, webhooks,
};
use crate::{
    domain::{
        effects::{MailKind, MailRequest, Whom},
        words::{MemberNumber, ReservationNumber},
    },
    limits::{CHANGES_GATHERED_FOR, CHANGES_MAX},
};

/// The turn is the one after the member's last that waits; and no earlier than those that are served now, so that a
/// long queue is not overtaken for ever.
const ADD_JOB: &str = concat!(
    "INSERT INTO jobs (kind, key, member, payload, created_at, next_at, label, about, recipient, tries, turn)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0, ",
    larger!(),
    "(coalesce((SELECT min(turn) FROM jobs WHERE kind = $1 AND tries = 0 AND next_at IS NOT NULL), 0),
      coalesce((SELECT max(turn) + 1 FROM jobs WHERE kind = $1 AND member = $3 AND next_at IS NOT NULL), 0)))
    ON CONFLICT (key) DO NOTHING"
);
macro_rules! take_jobs {
    ($only:literal) => {
        concat!(
    "WITH due AS MATERIALIZED (SELECT position FROM jobs
        WHERE kind = $1", $only, " AND next_at IS NOT NULL AND next_at <= $2 AND (leased_until IS NULL OR leased_until <= $2)
        AND (recipient IS NULL OR NOT EXISTS (SELECT 1 FROM jobs AS earlier WHERE earlier.about = jobs.about
            AND earlier.recipient = jobs.recipient AND earlier.position < jobs.position
            AND earlier.next_at IS NOT NULL))
        ORDER BY tries, turn, position LIMIT $4",
    for_taking!(),
    ") UPDATE jobs SET leased_until = $3, tries = tries + 1 WHERE position IN (SELECT position FROM due)
    RETURNING position, key, member, turn, payload, recipient, created_at, tries - 1 AS tries"
        )
    };
}
const TAKE_JOBS: &str = take_jobs!("");
const TAKE_DELIVERIES: &str = take_jobs!(" AND recipient = $5");

/// A change that its friend has not been told of; once it was taken, it is not added to any more.
const WAITING_CHANGE: &str = "SELECT position, key, payload FROM jobs WHERE about = $1 AND recipient = $2
    AND label = 'changed' AND tries = 0 AND next_at IS NOT NULL";
const ADD_CHANGES: &str =
    "UPDATE jobs SET payload = $2 WHERE position = $1 AND tries = 0 AND next_at IS NOT NULL";
/// What waits only to be gathered goes first where something else is to follow it.
const END_GATHERING: &str =
    "UPDATE jobs SET next_at = $3 WHERE about = $1 AND recipient = $2 AND label = 'changed'
    AND tries = 0 AND next_at > $3";

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
fn of_mail(mail: &MailRequest) -> Stored<(JobKind, String)> {
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
        JobKind::Webhook => webhooks::task(row, &key),
    };
    let tries = rows::at::<i64>(row, "tries")?;
    let created_at = WallTime::from_micros(rows::at(row, "created_at")?);
    let place = (tries, rows::at(row, "turn")?, rows::at(row, "position")?);
    let tries = u32::try_from(tries).unwrap_or(u32::MAX);
    Ok((place, key.clone(), task.map(|task| Job { key, task, tries, created_at })))
}

impl Work {
    /// - `mail`: with its payload, where it is one.
    ///
    /// `false`: one of that key is there already.
    pub(super) async fn write_job(
        &mut self,
        kind: JobKind,
        key: &str,
        member: MemberNumber,
        mail: Option<(&MailRequest, &str)>,
        now: WallTime,
        next_at: WallTime,
    ) -> Stored<bool> {
        let (mail, payload) = mail.map_or((None, ""), |(mail, payload)| (Some(mail), payload));
        let to_friend = mail.filter(|mail| mail.is_to_friend());
        let query = sqlx::query(ADD_JOB)
            .bind(kind.name())
            .bind(names::text(key)?)
            .bind(member.0)
            .bind(payload)
            .bind(now.as_micros())
            .bind(next_at.as_micros())
            .bind(mail.map(|mail| mail.kind.name()))
            .bind(to_friend.and_then(|mail| mail.reservation).map(|number| number.0))
            .bind(to_friend.map(|mail| mail.to.as_str().to_owned()));
        Ok(self.run(query).await? == 1)
    }

    /// `false`: one of that key is there already. A change is told a friend together with those that follow it soon.
    pub(super) async fn write_mail(&mut self, mail: &MailRequest, now: WallTime) -> Stored<bool> {
        let is_change = mail.is_to_friend() && mail.kind == MailKind::Changed;
        if is_change && self.gather(mail).await? {
            return Ok(true);
        }
        if mail.is_to_friend() && !is_change {
            let query = sqlx::query(END_GATHERING).bind(mail.reservation.map(|number| number.0));
            self.run(query.bind(mail.to.as_str()).bind(now.as_micros())).await?;
        }
        let next_at = if is_change { now.saturating_add(CHANGES_GATHERED_FOR) } else { now };
        let (kind, payload) = of_mail(mail)?;
        self.write_job(kind, &mail.key, mail.member, Some((mail, &payload)), now, next_at).await
    }

    /// Adds a change to the mail that already waits for the same friend and program. `false`: none does.
    async fn gather(&mut self, later: &MailRequest) -> Stored<bool> {
        let query = sqlx::query(WAITING_CHANGE).bind(later.reservation.map(|number| number.0));
        let found = self.rows(query.bind(later.to.as_str())).await?;
        let Some(row) = found.first() else { return Ok(false) };
        let Ok(mut kept) = serde_json::from_str::<KeptMail>(rows::at(row, "payload")?) else {
            return Ok(false);
        };
        kept.changes.extend(later.changes.iter().cloned());
        // The latest say what is so now.
        kept.changes.drain(..kept.changes.len().saturating_sub(CHANGES_MAX));
        kept.calendar_sequence = later.calendar_sequence;
        let payload = serde_json::to_string(&kept).map_err(|error| StoreError::Broken(error.to_string()))?;
        let query = sqlx::query(ADD_CHANGES).bind(rows::at::<i64>(row, "position")?).bind(payload);
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
            self.write_job(JobKind::Payment, &request.key, request.member, None, now, payment.next_at)
                .await?;
        }
        Ok(())
    }

    /// - `only`: those for that recipient.
    pub(super) async fn lease_jobs(
        &mut self,
        kind: JobKind,
        only: Option<&str>,
        now: WallTime,
        leased_until: WallTime,
        limit: u32,
    ) -> Stored<Vec<Job>> {
        let mut query = sqlx::query(if only.is_some() { TAKE_DELIVERIES } else { TAKE_JOBS })
            .bind(kind.name())
            .bind(now.as_micros())
            .bind(leased_until.as_micros())
            .bind(i64::from(limit));
        if let Some(recipient) = only {
            query = query.bind(recipient);
        }
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
