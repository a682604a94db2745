//! Money by hand: what operators give back, list and have tried again.

use axum::{Json, extract::State, http::StatusCode, response::IntoResponse};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Api,
    auth::Caller,
    extract::{Body, IdempotencyKey, Path, Query},
    problem::Answer,
    wire::{ListBody, NumberPath, PageQuery},
};
use crate::{
    domain::{
        refusal::{FieldProblem, Refusal},
        words::{Amount, ReservationNumber},
    },
    service::Refunds,
    store::{Payment, PaymentState},
};

/// The addresses of this room.
pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default()
        .routes(routes!(refund))
        .routes(routes!(refunds))
        .routes(routes!(payments))
        .routes(routes!(retry))
}

/// How much is given back, and why.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RefundRequest, example = json!({ "amount": 500, "reason": "the picture froze for half of it" }))]
struct RefundWishBody {
    /// In minor units; all that is left where it is left out.
    #[schema(minimum = 1, maximum = 1_000_000_000_000_000_i64)]
    amount: Option<i64>,
    /// On one line; it is logged and kept with the payment.
    #[schema(pattern = "@text", min_length = 1, max_length = 200)]
    reason: String,
}

/// One movement of money back to the member.
#[derive(Serialize, ToSchema)]
#[schema(as = Refund)]
struct RefundBody {
    /// Unique.
    key: String,
    /// In minor units.
    amount: i64,
    /// `waiting`: it is tried until it is known to be done; `done`; `declined`: for good.
    state: String,
    /// As the operator wrote it.
    reason: String,
    /// Why it was declined, or why the last try failed.
    error: Option<String>,
    /// How often it was tried.
    tries: u32,
    #[schema(format = DateTime)]
    asked_at: String,
}

impl From<&Payment> for RefundBody {
    fn from(payment: &Payment) -> Self {
        let request = &payment.request;
        Self {
            key: request.key.clone(),
            amount: request.amount.minor(),
            state: payment.state.name().to_owned(),
            reason: request.reason.clone().unwrap_or_default(),
            error: payment.error.clone(),
            tries: payment.tries,
            asked_at: payment.created_at.to_string(),
        }
    }
}

/// What is given back of a reservation.
#[derive(Serialize, ToSchema)]
#[schema(as = Refunds)]
struct RefundsBody {
    /// The reservation's number.
    reservation: i64,
    /// What can still be given back, in minor units.
    left: i64,
    /// ISO 4217.
    currency: String,
    /// All that were ever asked for, oldest first: one for each capture that money goes back of.
    refunds: Vec<RefundBody>,
}

impl RefundsBody {
    /// In the server's currency.
    fn of(api: &Api, refunds: &Refunds) -> Self {
        Self {
            reservation: refunds.reservation.0,
            left: refunds.left.minor(),
            currency: api.service().rules().currency.to_string(),
            refunds: refunds.asked.iter().map(RefundBody::from).collect(),
        }
    }
}

/// Give money back
///
/// What was collected goes back to the card, what was billed is taken off the bill. Both happen a moment later and then
/// stand in the ledger as `refunded`. Repeated with the same `Idempotency-Key`, however late, it is one refund.
#[utoipa::path(post, path = "/operator/reservations/{number}/refund", tag = "Operator", operation_id = "refund",
    params(NumberPath), request_body = RefundWishBody,
    responses((status = 202, description = "Asked for.", body = RefundsBody)),
    extensions(("x-slotcast" = json!({ "scope": "ledger", "headers": ["needed-idempotency-key"],
        "problems": ["nothing-to-refund", "refund-too-large"] }))))]
async fn refund(
    State(api): State<Api>,
    caller: Caller,
    Path(path): Path<NumberPath>,
    key: IdempotencyKey,
    body: Body<RefundWishBody>,
) -> Answer {
    let (number, idempotency) = (ReservationNumber(path.number), key.of(body.hash));
    let amount = body.value.amount.map(Amount::new).transpose();
    let amount = amount.map_err(|_| {
        Refusal::from(FieldProblem::new("amount", "1 to 10^15 minor units", "最小単位で1から10^15"))
    })?;
    let refunds =
        api.service().refund(&caller.actor, number, amount, &body.value.reason, idempotency).await?;
    Ok((StatusCode::ACCEPTED, Json(RefundsBody::of(&api, &refunds))).into_response())
}

/// What was given back
///
/// Of one reservation: what was ever asked for, how it went, and what is left.
#[utoipa::path(get, path = "/operator/reservations/{number}/refunds", tag = "Operator", operation_id = "refunds",
    params(NumberPath),
    responses((status = 200, description = "As of now.", body = RefundsBody)),
    extensions(("x-slotcast" = json!({ "scope": "ledger" }))))]
async fn refunds(State(api): State<Api>, caller: Caller, Path(path): Path<NumberPath>) -> Answer {
    let refunds = api.service().refunds(&caller.actor, ReservationNumber(path.number)).await?;
    Ok(Json(RefundsBody::of(&api, &refunds)).into_response())
}

/// One movement of money.
#[derive(Serialize, ToSchema)]
#[schema(as = Payment)]
struct PaymentBody {
    /// Unique.
    key: String,
    /// `authorise`: hold the amount; `capture`: take it; `release`: let go of it; `refund`: give it back.
    kind: String,
    /// The reservation's number.
    reservation: i64,
    /// Whose card or bill: the member's number.
    member: i64,
    /// In minor units.
    amount: i64,
    /// ISO 4217.
    currency: String,
    /// `waiting`, `done` or `declined`.
    state: String,
    /// Why it was declined, or why the last try failed.
    error: Option<String>,
    /// One more after each time that it was declined and asked for again.
    attempt: u32,
    /// How often it was tried.
    tries: u32,
    #[schema(format = DateTime)]
    asked_at: String,
}

impl PaymentBody {
    /// In the server's currency.
    fn of(api: &Api, payment: &Payment) -> Self {
        let request = &payment.request;
        Self {
            key: request.key.clone(),
            kind: request.kind.name().to_owned(),
            reservation: request.reservation.0,
            member: request.member.0,
            amount: request.amount.minor(),
            currency: api.service().rules().currency.to_string(),
            state: payment.state.name().to_owned(),
            error: payment.error.clone(),
            attempt: payment.attempt,
            tries: payment.tries,
            asked_at: payment.created_at.to_string(),
        }
    }
}

/// How payments stand.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = PaymentState)]
enum PaymentStateBody {
    Waiting,
    Done,
    Declined,
}

/// Which payments.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct PaymentsQuery {
    /// Only in this state.
    #[param(inline)]
    state: PaymentStateBody,
    /// From 1.
    #[param(minimum = 1, maximum = 1_000_000, default = 1)]
    page: Option<u32>,
    /// Items of a page.
    #[param(minimum = 1, maximum = 200, default = 50)]
    per_page: Option<u32>,
}

/// Payments
///
/// In one state, oldest first. Those that were declined and are captures (`kind`) can be tried again.
#[utoipa::path(get, path = "/operator/payments", tag = "Operator", operation_id = "payments",
    params(PaymentsQuery),
    responses((status = 200, description = "Oldest first.", body = ListBody<PaymentBody>)),
    extensions(("x-slotcast" = json!({ "scope": "ledger" }))))]
async fn payments(State(api): State<Api>, caller: Caller, Query(query): Query<PaymentsQuery>) -> Answer {
    let state = match query.state {
        PaymentStateBody::Waiting => PaymentState::Waiting,
        PaymentStateBody::Done => PaymentState::Done,
        PaymentStateBody::Declined => PaymentState::Declined,
    };
    let page = PageQuery::new(query.page, query.per_page);
    let listed = api.service().payments(&caller.actor, state, page.page()).await?;
    Ok(Json(ListBody::page(&listed, &page, |payment| PaymentBody::of(&api, payment))).into_response())
}

/// A payment.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct PaymentPath {
    /// As it is listed.
    #[param(
        min_length = 1,
        max_length = 200,
        pattern = "^[a-z0-9.-]+$",
        example = "capture-authorise-1234567890123456-1"
    )]
    key: String,
}

/// Try a charge again
///
/// With the card that the member has now. What is not declined is shown as it is.
#[utoipa::path(post, path = "/operator/payments/{key}/retry", tag = "Operator", operation_id = "retry_payment",
    params(PaymentPath),
    responses((status = 202, description = "It is tried again.", body = PaymentBody)),
    extensions(("x-slotcast" = json!({ "scope": "ledger", "problems": ["no-charge"] }))))]
async fn retry(State(api): State<Api>, caller: Caller, Path(path): Path<PaymentPath>) -> Answer {
    let payment = api.service().retry_payment(&caller.actor, &path.key).await?;
    Ok((StatusCode::ACCEPTED, Json(PaymentBody::of(&api, &payment))).into_response())
}
