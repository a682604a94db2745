//! Where operators have events sent to, by the Standard Webhooks scheme: signed, repeated until they are taken.
//!
//! Not here: how a delivery reaches its receiver (`courier`), which jobs there are (`store`).
//! Invariant: an event keeps its ID over all tries and replays, so that its receiver can tell a repeat; secrets are derived
//! from the server's key, and nothing of them is in the database.

use serde_json::Value;
use slotcast_core::words::{ChannelNumber, OpenLevel, Window};

use super::{
    Actor, Answer, Idempotency, Scope, Service, ServiceError,
    collecting::wait_after,
    facts::{keep, kept_number},
    random,
    retry::retry,
};
use crate::{
    courier::Parcel,
    domain::{
        event::{Event, EventData, EventKind},
        refusal::{FieldProblem, Refusal, Thing},
        words::ReservationNumber,
    },
    limits::{DELIVERY_GIVEN_UP_AFTER, ERROR_CHARS_MAX, OLD_SECRET_SIGNS_FOR, WEBHOOKS_MAX},
    store::{Delivery, Job, JobEnd, Listed, Page, Reads, Webhook},
};

/// What an operator sets of a webhook; `None`: stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebhookEdit {
    /// Where events are sent to.
    pub url: Option<String>,
    /// What the operator calls it; 0 to 200 characters on one line.
    pub note: Option<String>,
    /// Only these events; empty: all.
    pub kinds: Option<Vec<EventKind>>,
    /// Whether anything is sent there.
    pub is_on: Option<bool>,
}

/// A webhook with its secret, which is shown this once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MadeWebhook {
    /// The webhook.
    pub webhook: Webhook,
    /// `whsec_…`
    pub secret: String,
}

impl Service {
    /// All webhooks, oldest first.
    pub async fn webhooks(&self, actor: &Actor) -> Answer<Vec<Webhook>> {
        actor.need(Scope::Moderate)?;
        Ok(self.0.store.read().await?.webhooks().await?)
    }

    /// Adds a webhook. Repeated with the same key, it is there once, and the secret is shown again.
    ///
    /// Refused: `Invalid` (an address that may not be reached, or too many), `KeyReused`, `NotFound` (made with that key and ended
    /// since).
    pub async fn add_webhook(
        &self,
        actor: &Actor,
        edit: WebhookEdit,
        idempotency: Option<Idempotency>,
    ) -> Answer<MadeWebhook> {
        actor.need(Scope::Moderate)?;
        let id = ReservationNumber::from_random(random::bits()?).0;
        let webhook = retry(|| self.add_webhook_once(actor, id, &edit, idempotency.as_ref())).await?;
        tracing::info!(webhook = webhook.id, url = %host_of(&webhook.url), by = %actor.member, "a webhook is there");
        Ok(self.with_secret(webhook))
    }

    async fn add_webhook_once(
        &self,
        actor: &Actor,
        id: i64,
        edit: &WebhookEdit,
        idempotency: Option<&Idempotency>,
    ) -> Answer<Webhook> {
        let now = self.now();
        let mut tx = self.0.store.begin().await?;
        // The same request at the same moment waits here, and finds what the other one made.
        tx.lock_member(actor.member).await?;
        if let Some(made) = kept_number(tx.as_mut(), actor, idempotency).await? {
            // It may have been ended since; nobody who repeats the request wants another one.
            return webhook_of(tx.as_mut(), made).await;
        }
        let webhooks = tx.webhooks().await?;
        if let Some(found) = webhooks.iter().find(|webhook| webhook.id == id) {
            return Ok(found.clone());
        }
        if webhooks.len() >= WEBHOOKS_MAX as usize {
            let (english, japanese) =
                ("at most 16 webhooks: end one first", "Webhookは16個まで(先に1つ削除してください)");
            return Err(Refusal::from(FieldProblem::new("url", english, japanese)).into());
        }
        let webhook = Webhook {
            id,
            url: String::new(),
            note: String::new(),
            kinds: Vec::new(),
            is_on: true,
            off_reason: None,
            issue: 1,
            old_until: None,
            created_at: now,
        };
        let webhook = self.edited(webhook, edit)?;
        tx.put_webhook(&webhook).await?;
        keep(tx.as_mut(), actor, idempotency, id, now).await?;
        tx.commit().await?;
        Ok(webhook)
    }

    fn edited(&self, webhook: Webhook, edit: &WebhookEdit) -> Answer<Webhook> {
        let url = edit.url.clone().unwrap_or(webhook.url);
        if let Err(what) = self.0.courier.check(&url) {
            let english = format!("a public HTTPS address, or one that [webhooks] allow lists (this {what})");
            let japanese = "公開されたHTTPSのアドレス、または設定の[webhooks] allowにあるもの";
            return Err(Refusal::from(FieldProblem::new("url", english, japanese)).into());
        }
        let is_on = edit.is_on.unwrap_or(webhook.is_on);
        let (note, kinds) = (edit.note.clone().unwrap_or(webhook.note), edit.kinds.clone());
        let off_reason = webhook.off_reason.filter(|_| !is_on);
        Ok(Webhook { url, note, kinds: kinds.unwrap_or(webhook.kinds), is_on, off_reason, ..webhook })
    }

    /// Changes a webhook. What waited while it was off is sent once it is on.
    pub async fn edit_webhook(&self, actor: &Actor, id: i64, edit: WebhookEdit) -> Answer<Webhook> {
        actor.need(Scope::Moderate)?;
        let webhook = self.change_webhook(id, &|webhook| self.edited(webhook, &edit)).await?;
        self.committed();
        Ok(webhook)
    }

    /// Gives a webhook another secret; the one before signs as well for a day.
    pub async fn renew_webhook_secret(&self, actor: &Actor, id: i64) -> Answer<MadeWebhook> {
        actor.need(Scope::Moderate)?;
        let found = webhook_of(self.0.store.read().await?.as_mut(), id).await?;
        let issue = found.issue.saturating_add(1);
        let renew = |webhook: Webhook| {
            // A try before, whose commit's answer was lost, made it.
            if webhook.issue >= issue {
                return Ok(webhook);
            }
            let old_until = Some(self.now().saturating_add(OLD_SECRET_SIGNS_FOR));
            Ok(Webhook { issue, old_until, ..webhook })
        };
        Ok(self.with_secret(self.change_webhook(id, &renew).await?))
    }

    async fn change_webhook(
        &self,
        id: i64,
        change: &(dyn Fn(Webhook) -> Answer<Webhook> + Send + Sync),
    ) -> Answer<Webhook> {
        retry(|| async {
            let mut tx = self.0.store.begin().await?;
            let webhook = change(webhook_of(tx.as_mut(), id).await?)?;
            tx.put_webhook(&webhook).await?;
            tx.commit().await?;
            Ok(webhook)
        })
        .await
    }

    /// Takes a webhook away with what waits for it. Done already: nothing.
    pub async fn end_webhook(&self, actor: &Actor, id: i64) -> Answer<()> {
        actor.need(Scope::Moderate)?;
        retry(|| async {
            let mut tx = self.0.store.begin().await?;
            tx.end_webhook(id).await?;
            Ok(tx.commit().await?)
        })
        .await
    }

    /// What was sent to a webhook and is to be, newest first.
    pub async fn deliveries(&self, actor: &Actor, id: i64, page: Page) -> Answer<Listed<Delivery>> {
        actor.need(Scope::Moderate)?;
        let mut reads = self.0.store.read().await?;
        webhook_of(reads.as_mut(), id).await?;
        Ok(reads.deliveries(id, page).await?)
    }

    /// Sends an event once more, under the same ID. Refused: `NotFound`.
    pub async fn replay(&self, actor: &Actor, id: i64, event: &str) -> Answer<()> {
        actor.need(Scope::Moderate)?;
        retry(|| async {
            let mut tx = self.0.store.begin().await?;
            webhook_of(tx.as_mut(), id).await?;
            if !tx.replay(id, event, self.now()).await? {
                return Err(Refusal::NotFound(Thing::Delivery).into());
            }
            Ok(tx.commit().await?)
        })
        .await?;
        self.committed();
        Ok(())
    }

    /// Sends an event that is none, to see whether it arrives. Returns its ID.
    pub async fn test_webhook(&self, actor: &Actor, id: i64) -> Answer<String> {
        actor.need(Scope::Moderate)?;
        let event = self.test_event()?;
        retry(|| async {
            let mut tx = self.0.store.begin().await?;
            webhook_of(tx.as_mut(), id).await?;
            tx.add_delivery(id, &event, self.now()).await?;
            Ok(tx.commit().await?)
        })
        .await?;
        self.committed();
        Ok(event.id)
    }

    fn test_event(&self) -> Answer<Event> {
        let now = self.now();
        let window = Window::new(now, now.saturating_add(self.rules().slot));
        let data = EventData {
            number: ReservationNumber(0),
            member: None,
            channel: ChannelNumber(0),
            window: window.map_err(|error| ServiceError::Internal(error.to_string()))?,
            title: "A test".to_owned(),
            open_level: OpenLevel::Public,
            reason: None,
            amount: None,
        };
        let id = format!("test-{}", random::bits()?);
        Ok(Event { id, kind: EventKind::Test, timestamp: now, data, is_public: false })
    }

    fn with_secret(&self, webhook: Webhook) -> MadeWebhook {
        let secret = self.0.vault.webhook_secret(webhook.id, webhook.issue).expose();
        MadeWebhook { webhook, secret }
    }

    /// Sends one event to its webhook.
    pub(super) async fn deliver(&self, id: i64, event: &str, body: &str, job: &Job) -> Answer<JobEnd> {
        let found = webhook_of(self.0.store.read().await?.as_mut(), id).await;
        let webhook = match found {
            Ok(webhook) if webhook.is_on => webhook,
            Ok(_) => return Ok(JobEnd::Again("the webhook is off".to_owned(), self.now())),
            Err(ServiceError::Refused(_)) => return Ok(JobEnd::GivenUp("the webhook is gone".to_owned())),
            Err(error) => return Err(error),
        };
        let parcel = self.parcel(&webhook, event, body);
        let error = match self.0.courier.deliver(&parcel).await {
            Ok(200..=299) => return Ok(JobEnd::Done),
            Ok(410) => {
                self.switch_off(id).await?;
                return Ok(JobEnd::GivenUp("answered 410: the webhook is off".to_owned()));
            }
            Ok(status @ 300..=399) => format!("answered {status}: redirects are not followed"),
            Ok(status) => format!("answered {status}"),
            Err(error) => error,
        };
        let error: String = error.chars().take(ERROR_CHARS_MAX).collect();
        tracing::warn!(webhook = id, event, error, "an event was not taken");
        let now = self.now();
        if now.since(job.created_at) >= DELIVERY_GIVEN_UP_AFTER {
            return Ok(JobEnd::GivenUp(error));
        }
        Ok(JobEnd::Again(error, now.saturating_add(wait_after(job.tries.saturating_add(1)))))
    }

    fn parcel(&self, webhook: &Webhook, event: &str, body: &str) -> Parcel {
        let (now, currency) = (self.now(), self.rules().currency.as_str());
        let body = with_currency(body, currency);
        let seconds = now.as_micros().div_euclid(1_000_000);
        let old = webhook.old_until.filter(|until| now < *until).map(|_| webhook.issue - 1);
        let issues = std::iter::once(webhook.issue).chain(old);
        let signed = issues
            .map(|issue| self.0.vault.webhook_secret(webhook.id, issue).signature(event, seconds, &body));
        let signatures = signed.collect::<Vec<_>>().join(" ");
        Parcel { url: webhook.url.clone(), id: event.to_owned(), seconds, signatures, body }
    }

    /// Its receiver said that it wants nothing any more.
    async fn switch_off(&self, id: i64) -> Answer<()> {
        let off = |webhook| {
            let off_reason = Some("the receiver answered 410 Gone".to_owned());
            Ok(Webhook { is_on: false, off_reason, ..webhook })
        };
        self.change_webhook(id, &off).await?;
        tracing::warn!(webhook = id, "its receiver answered 410: the webhook is off");
        Ok(())
    }
}

async fn webhook_of(reads: &mut (dyn Reads + '_), id: i64) -> Answer<Webhook> {
    let found = reads.webhooks().await?.into_iter().find(|webhook| webhook.id == id);
    Ok(found.ok_or(Refusal::NotFound(Thing::Webhook))?)
}

/// The event as it is sent: amounts say in what they are.
fn with_currency(body: &str, currency: &str) -> String {
    let Ok(mut event) = serde_json::from_str::<Value>(body) else { return body.to_owned() };
    if event["data"]["amount"].is_number() {
        event["data"]["currency"] = currency.into();
    }
    event.to_string()
}

/// For the log: what follows may be a secret.
fn host_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or_default()
}
