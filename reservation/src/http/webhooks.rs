//! Where operators have events sent to.

use axum::{Json, extract::State, http::StatusCode, response::IntoResponse};
use serde::{Deserialize, Serialize};
use slotcast_core::time::WallTime;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Api,
    auth::Caller,
    extract::{Body, IdempotencyKey, Path, Query},
    problem::Answer,
    wire::{NumberPath, PageQuery},
};
use crate::{
    domain::event::EventKind,
    service::{List, MadeWebhook, WebhookEdit},
    store::{Delivery, Webhook},
};

/// The addresses of this room.
pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default()
        .routes(routes!(webhooks, add_webhook))
        .routes(routes!(edit_webhook, end_webhook))
        .routes(routes!(renew_webhook_secret))
        .routes(routes!(test_webhook))
        .routes(routes!(deliveries))
        .routes(routes!(replay))
}

/// Where events are sent to.
#[derive(Serialize, ToSchema)]
#[schema(as = Webhook)]
struct WebhookBody {
    /// Names it.
    number: i64,
    url: String,
    note: String,
    /// Only these events; empty: all.
    events: Vec<EventKind>,
    /// Whether anything is sent there.
    is_on: bool,
    /// Why it was switched off, where its receiver asked for that.
    off_reason: Option<String>,
    created_at: WallTime,
    /// The secret before the newest signs as well until then.
    old_secret_until: Option<WallTime>,
    /// `whsec_…`, shown this once: by it the receiver tells that events are from here.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

impl From<Webhook> for WebhookBody {
    fn from(webhook: Webhook) -> Self {
        Self {
            number: webhook.id,
            url: webhook.url,
            note: webhook.note,
            events: webhook.kinds,
            is_on: webhook.is_on,
            off_reason: webhook.off_reason,
            created_at: webhook.created_at,
            old_secret_until: webhook.old_until,
            secret: None,
        }
    }
}

impl From<MadeWebhook> for WebhookBody {
    fn from(made: MadeWebhook) -> Self {
        Self { secret: Some(made.secret), ..made.webhook.into() }
    }
}

/// A new webhook.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = WebhookDraft, example = json!({ "url": "https://example.com/slotcast", "events": ["booked", "cancelled"] }))]
struct DraftBody {
    /// A public HTTPS address, or one in a network that `[webhooks] allow` lists.
    #[schema(min_length = 1, max_length = 1000, pattern = "^https?://[!-~]+$")]
    url: String,
    /// What you call it, on one line.
    #[serde(default)]
    #[schema(pattern = "@line", max_length = 200)]
    note: String,
    /// Only these events; empty or left out: all.
    #[serde(default)]
    #[schema(max_items = 20)]
    events: Vec<EventKind>,
}

/// What is changed of a webhook; what is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = WebhookEdit, example = json!({ "is_on": false }))]
struct EditBody {
    /// A public HTTPS address, or one in a network that `[webhooks] allow` lists.
    #[schema(min_length = 1, max_length = 1000, pattern = "^https?://[!-~]+$")]
    url: Option<String>,
    /// What you call it, on one line.
    #[schema(pattern = "@line", max_length = 200)]
    note: Option<String>,
    /// Only these events; empty: all.
    #[schema(max_items = 20)]
    events: Option<Vec<EventKind>>,
    /// Whether anything is sent there; what waited is sent once it is on.
    is_on: Option<bool>,
}

/// An event that was sent, or is to be.
#[derive(Serialize, ToSchema)]
#[schema(as = Delivery)]
struct DeliveryBody {
    /// The event's ID: `webhook-id`.
    event: String,
    #[serde(rename = "type")]
    kind: String,
    state: DeliveryStateBody,
    /// How often it was tried.
    tries: u32,
    created_at: WallTime,
    /// It is tried then at the earliest.
    next_at: Option<WallTime>,
    /// When the receiver took it.
    done_at: Option<WallTime>,
    /// What went wrong last.
    error: Option<String>,
}

/// How far a delivery has come.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = DeliveryState)]
enum DeliveryStateBody {
    /// It is tried, and tried again.
    Waiting,
    /// The receiver took it.
    Done,
    /// Nobody tries it again.
    GivenUp,
}

impl From<Delivery> for DeliveryBody {
    fn from(delivery: Delivery) -> Self {
        let Delivery { event, kind, created_at, tries, next_at, done_at, error } = delivery;
        let state = match (next_at, done_at) {
            (_, Some(_)) => DeliveryStateBody::Done,
            (Some(_), None) => DeliveryStateBody::Waiting,
            (None, None) => DeliveryStateBody::GivenUp,
        };
        Self { event, kind, state, tries, created_at, next_at, done_at, error }
    }
}

/// An event that was sent to a webhook.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct DeliveryPath {
    /// The webhook's number.
    #[param(minimum = 1, maximum = 9_007_199_254_740_991_i64)]
    number: i64,
    /// The event's ID.
    #[param(pattern = "^[a-z0-9-]+$", min_length = 1, max_length = 200, example = "booked-1-1")]
    event: String,
}

/// An event that is on its way.
#[derive(Serialize, ToSchema)]
#[schema(as = SentEvent)]
struct SentBody {
    /// The event's ID: `webhook-id`.
    event: String,
}

/// Webhooks
///
/// Oldest first.
#[utoipa::path(get, path = "/operator/webhooks", tag = "Operator", operation_id = "webhooks",
    responses((status = 200, description = "All of them.", body = List<WebhookBody>)),
    extensions(("x-slotcast" = json!({ "scope": "moderate" }))))]
async fn webhooks(State(api): State<Api>, caller: Caller) -> Answer {
    let webhooks = api.service().webhooks(&caller.actor).await?;
    Ok(Json(List::whole(webhooks.into_iter().map(WebhookBody::from).collect())).into_response())
}

/// Have events sent
///
/// By the Standard Webhooks scheme: each is POSTed as JSON with `webhook-id`, `webhook-timestamp` and
/// `webhook-signature`, in order for each program, until it is answered with 2xx, for three days. 410 switches the
/// webhook off.
#[utoipa::path(post, path = "/operator/webhooks", tag = "Operator", operation_id = "add_webhook",
    request_body = DraftBody,
    responses((status = 201, description = "From now on. Keep the secret.", body = WebhookBody)),
    extensions(("x-slotcast" = json!({ "scope": "moderate", "headers": ["idempotency-key"], "problems": ["not-found"] }))))]
async fn add_webhook(
    State(api): State<Api>,
    caller: Caller,
    key: IdempotencyKey,
    body: Body<DraftBody>,
) -> Answer {
    let DraftBody { url, note, events } = body.value;
    let edit = WebhookEdit { url: Some(url), note: Some(note), kinds: Some(events), is_on: None };
    let made = api.service().add_webhook(&caller.actor, edit, key.of(body.hash)).await?;
    Ok((StatusCode::CREATED, Json(WebhookBody::from(made))).into_response())
}

/// Change a webhook
#[utoipa::path(patch, path = "/operator/webhooks/{number}", tag = "Operator", operation_id = "edit_webhook",
    params(NumberPath), request_body = EditBody,
    responses((status = 200, description = "As it is from now on.", body = WebhookBody)),
    extensions(("x-slotcast" = json!({ "scope": "moderate" }))))]
async fn edit_webhook(
    State(api): State<Api>,
    caller: Caller,
    Path(path): Path<NumberPath>,
    body: Body<EditBody>,
) -> Answer {
    let EditBody { url, note, events, is_on } = body.value;
    let edit = WebhookEdit { url, note, kinds: events, is_on };
    let webhook = api.service().edit_webhook(&caller.actor, path.number, edit).await?;
    Ok(Json(WebhookBody::from(webhook)).into_response())
}

/// End a webhook
///
/// What waits to be sent there is not sent.
#[utoipa::path(delete, path = "/operator/webhooks/{number}", tag = "Operator", operation_id = "end_webhook",
    params(NumberPath),
    responses((status = 204, description = "It is gone.")),
    extensions(("x-slotcast" = json!({ "scope": "moderate" }))))]
async fn end_webhook(State(api): State<Api>, caller: Caller, Path(path): Path<NumberPath>) -> Answer {
    api.service().end_webhook(&caller.actor, path.number).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Another secret for a webhook
///
/// The one before signs as well for a day: both signatures come in `webhook-signature`.
#[utoipa::path(post, path = "/operator/webhooks/{number}/secret", tag = "Operator",
    operation_id = "renew_webhook_secret", params(NumberPath),
    responses((status = 200, description = "With the new secret.", body = WebhookBody)),
    extensions(("x-slotcast" = json!({ "scope": "moderate" }))))]
async fn renew_webhook_secret(
    State(api): State<Api>,
    caller: Caller,
    Path(path): Path<NumberPath>,
) -> Answer {
    let made = api.service().renew_webhook_secret(&caller.actor, path.number).await?;
    Ok(Json(WebhookBody::from(made)).into_response())
}

/// Try a webhook
///
/// Sends it an event of the type `test`.
#[utoipa::path(post, path = "/operator/webhooks/{number}/test", tag = "Operator", operation_id = "test_webhook",
    params(NumberPath),
    responses((status = 202, description = "It is on its way.", body = SentBody)),
    extensions(("x-slotcast" = json!({ "scope": "moderate" }))))]
async fn test_webhook(State(api): State<Api>, caller: Caller, Path(path): Path<NumberPath>) -> Answer {
    let event = api.service().test_webhook(&caller.actor, path.number).await?;
    Ok((StatusCode::ACCEPTED, Json(SentBody { event })).into_response())
}

/// What was sent to a webhook
///
/// Newest first.
#[utoipa::path(get, path = "/operator/webhooks/{number}/deliveries", tag = "Operator",
    operation_id = "deliveries", params(NumberPath, PageQuery),
    responses((status = 200, description = "And what is to be sent.", body = List<DeliveryBody>)),
    extensions(("x-slotcast" = json!({ "scope": "moderate" }))))]
async fn deliveries(
    State(api): State<Api>,
    caller: Caller,
    Path(path): Path<NumberPath>,
    Query(query): Query<PageQuery>,
) -> Answer {
    let found = api.service().deliveries(&caller.actor, path.number, query.page()).await?;
    Ok(Json(List::page(found, query.page(), DeliveryBody::from)).into_response())
}

/// Send an event once more
///
/// Under the same ID.
#[utoipa::path(post, path = "/operator/webhooks/{number}/deliveries/{event}/replay", tag = "Operator",
    operation_id = "replay", params(DeliveryPath),
    responses((status = 202, description = "It is on its way.")),
    extensions(("x-slotcast" = json!({ "scope": "moderate" }))))]
async fn replay(State(api): State<Api>, caller: Caller, Path(path): Path<DeliveryPath>) -> Answer {
    api.service().replay(&caller.actor, path.number, &path.event).await?;
    Ok(StatusCode::ACCEPTED.into_response())
}
