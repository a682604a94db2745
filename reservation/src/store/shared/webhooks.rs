//! Webhooks, and events on their way to them: jobs of the outbox.
//!
//! Invariant: an event is sent to a webhook under one key, once; those of one program go one after the other; each webhook
//! has places of its own, so that one that hangs keeps no other waiting.

use slotcast_core::time::WallTime;

use super::{
    super::super::{Delivery, Job, JobKind, Listed, Page, StoreError, Task, Webhook, names},
    Row, Stored, Work, rows,
};
use crate::{domain::event::Event, limits::DELIVERIES_AT_ONCE};

const COLUMNS: &str = "SELECT id, url, note, kinds, is_on, off_reason, issue, old_until, created_at
    FROM webhooks ORDER BY created_at, id";
const PUT: &str =
    "INSERT INTO webhooks (id, url, note, kinds, is_on, off_reason, issue, old_until, created_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (id) DO UPDATE SET url = excluded.url,
    note = excluded.note, kinds = excluded.kinds, is_on = excluded.is_on, off_reason = excluded.off_reason,
    issue = excluded.issue, old_until = excluded.old_until";
/// To all that want such an event, or to one alone.
const ADD_DELIVERY: &str =
    "INSERT INTO jobs (kind, key, member, payload, created_at, next_at, label, about, recipient, tries, turn)
    SELECT 'webhook', 'webhook-' || id || '-' || CAST($1 AS TEXT), CAST($2 AS BIGINT), CAST($3 AS TEXT), $4, $4,
        CAST($5 AS TEXT), $6, 'webhook-' || id, 0, 0
    FROM webhooks WHERE CASE WHEN $7 = 0 THEN is_on AND (kinds = '' OR kinds LIKE '% ' || CAST($5 AS TEXT) || ' %')
        ELSE id = $7 END
    ORDER BY id ON CONFLICT (key) DO NOTHING";
/// Those that are on, and how many of their deliveries are under way.
const BUSY: &str = "SELECT id, (SELECT count(*) FROM jobs WHERE recipient = 'webhook-' || id
        AND next_at IS NOT NULL AND leased_until > $1) AS busy
    FROM webhooks WHERE is_on ORDER BY id";
const DELIVERIES: &str = "SELECT key, label, created_at, tries, next_at, done_at, error FROM jobs
    WHERE kind = 'webhook' AND recipient = $1 ORDER BY position DESC LIMIT $2 OFFSET $3";
const REPLAY: &str =
    "UPDATE jobs SET created_at = $2, next_at = $2, tries = 0, leased_until = NULL, done_at = NULL,
    error = NULL WHERE key = $1 AND (leased_until IS NULL OR leased_until <= $2)";

fn recipient(webhook: i64) -> String {
    format!("webhook-{webhook}")
}

fn key(webhook: i64, event: &str) -> String {
    format!("webhook-{webhook}-{event}")
}

/// The event in a delivery's key.
fn event_of(key: &str) -> &str {
    key.splitn(3, '-').nth(2).unwrap_or_default()
}

/// `None`: it cannot be read.
pub(super) fn task(row: &Row, key: &str) -> Option<Task> {
    let recipient: String = rows::at(row, "recipient").ok()?;
    let webhook = recipient.strip_prefix("webhook-")?.parse().ok()?;
    Some(Task::Webhook { webhook, event: event_of(key).to_owned(), body: rows::at(row, "payload").ok()? })
}

fn webhook(row: &Row) -> Stored<Webhook> {
    let kinds: String = rows::at(row, "kinds")?;
    Ok(Webhook {
        id: rows::at(row, "id")?,
        url: rows::at(row, "url")?,
        note: rows::at(row, "note")?,
        // A newer program's are left out.
        kinds: kinds.split_ascii_whitespace().filter_map(|kind| kind.parse().ok()).collect(),
        is_on: rows::at(row, "is_on")?,
        off_reason: rows::at(row, "off_reason")?,
        issue: rows::at::<i64>(row, "issue")?.try_into().unwrap_or(1),
        old_until: rows::at::<Option<i64>>(row, "old_until")?.map(WallTime::from_micros),
        created_at: WallTime::from_micros(rows::at(row, "created_at")?),
    })
}

fn delivery(row: &Row) -> Stored<Delivery> {
    let time = |name| Ok::<_, StoreError>(rows::at::<Option<i64>>(row, name)?.map(WallTime::from_micros));
    Ok(Delivery {
        event: event_of(&rows::at::<String>(row, "key")?).to_owned(),
        kind: rows::at(row, "label")?,
        created_at: WallTime::from_micros(rows::at(row, "created_at")?),
        tries: rows::at::<i64>(row, "tries")?.try_into().unwrap_or(u32::MAX),
        next_at: time("next_at")?,
        done_at: time("done_at")?,
        error: rows::at(row, "error")?,
    })
}

impl Work {
    pub(super) async fn all_webhooks(&mut self) -> Stored<Vec<Webhook>> {
        self.rows(sqlx::query(COLUMNS)).await?.iter().map(webhook).collect()
    }

    pub(super) async fn write_webhook(&mut self, webhook: &Webhook) -> Stored<()> {
        let kinds: String = webhook.kinds.iter().map(|kind| format!(" {kind} ")).collect();
        let query = sqlx::query(PUT)
            .bind(webhook.id)
            .bind(names::text(&webhook.url)?)
            .bind(names::text(&webhook.note)?)
            .bind(kinds)
            .bind(webhook.is_on)
            .bind(names::optional_text(webhook.off_reason.as_deref())?)
            .bind(i64::from(webhook.issue))
            .bind(webhook.old_until.map(WallTime::as_micros))
            .bind(webhook.created_at.as_micros());
        self.run(query).await.map(drop)
    }

    pub(super) async fn take_webhook_away(&mut self, id: i64) -> Stored<bool> {
        let sql = "DELETE FROM jobs WHERE kind = 'webhook' AND recipient = $1";
        self.run(sqlx::query(sql).bind(recipient(id))).await?;
        Ok(self.run(sqlx::query("DELETE FROM webhooks WHERE id = $1").bind(id)).await? > 0)
    }

    /// - `only`: to this webhook alone, whatever it wants.
    pub(super) async fn write_delivery(
        &mut self,
        only: Option<i64>,
        event: &Event,
        now: WallTime,
    ) -> Stored<()> {
        let payload = serde_json::to_string(event).map_err(|error| StoreError::Broken(error.to_string()))?;
        let query = sqlx::query(ADD_DELIVERY)
            .bind(names::text(&event.id)?)
            .bind(event.data.member.map(|member| member.0))
            .bind(names::text(&payload)?)
            .bind(now.as_micros())
            .bind(event.kind.to_string())
            .bind(event.data.number.0)
            .bind(only.unwrap_or_default());
        self.run(query).await.map(drop)
    }

    pub(super) async fn lease_deliveries(
        &mut self,
        now: WallTime,
        leased_until: WallTime,
        limit: u32,
    ) -> Stored<Vec<Job>> {
        let mut jobs = Vec::new();
        for row in self.rows(sqlx::query(BUSY).bind(now.as_micros())).await? {
            let busy: i64 = rows::at(&row, "busy")?;
            let free = DELIVERIES_AT_ONCE.saturating_sub(u32::try_from(busy).unwrap_or(u32::MAX));
            let free = free.min(limit.saturating_sub(jobs.len() as u32));
            if free > 0 {
                let only = recipient(rows::at(&row, "id")?);
                jobs.extend(self.lease_jobs(JobKind::Webhook, Some(&only), now, leased_until, free).await?);
            }
        }
        Ok(jobs)
    }

    pub(super) async fn deliveries_to(&mut self, webhook: i64, page: Page) -> Stored<Listed<Delivery>> {
        let sql = "SELECT count(*) AS count FROM jobs WHERE kind = 'webhook' AND recipient = $1";
        let count = self.count(sqlx::query(sql).bind(recipient(webhook))).await?;
        let query = sqlx::query(DELIVERIES)
            .bind(recipient(webhook))
            .bind(i64::from(page.limit))
            .bind(i64::from(page.offset));
        let rows = self.rows(query).await?;
        Ok(Listed { items: rows.iter().map(delivery).collect::<Stored<_>>()?, count })
    }

    /// One that is under way is on its way again already.
    pub(super) async fn send_again(&mut self, webhook: i64, event: &str, now: WallTime) -> Stored<bool> {
        let key = key(webhook, event);
        let query = sqlx::query(REPLAY).bind(names::text(&key)?).bind(now.as_micros());
        if self.run(query).await? > 0 {
            return Ok(true);
        }
        let sql = "SELECT count(*) FROM jobs WHERE key = $1";
        Ok(self.count(sqlx::query(sql).bind(names::text(&key)?)).await? > 0)
    }
}
