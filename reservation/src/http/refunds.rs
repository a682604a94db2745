//! Money by hand: what operators give back, list and have tried again.

use axum::{Json, extract::State, http::StatusCode, response::IntoResponse};
use serde::Deserialize;
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
    domain::{
        refusal::{FieldProblem, Refusal},
        words::{Amount, ReservationNumber},
    },
    service::{List, PaymentView, Refunds},
    store::PaymentState,
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

/// Give money back
///
/// What was collected goes back to the card, what was billed is taken off the bill. Both happen a moment later and then
/// stand in the ledger as `refunded`. Repeated with the same `Idempotency-Key`, however late, it is one refund.
#[utoipa::path(post, path = "/operator/reservations/{number}/refund", tag = "Operator", operation_id = "refund",
    params(NumberPath), request_body = RefundWishBody,
    responses((status = 202, description = "Asked for.", body = Refunds)),
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
    Ok((StatusCode::ACCEPTED, Json(refunds)).into_response())
}

/// What was given back
///
/// Of one reservation: what was ever asked for, how it went, and what is left.
#[utoipa::path(get, path = "/operator/reservations/{number}/refunds", tag = "Operator", operation_id = "refunds",
    params(NumberPath),
    responses((status = 200, description = "As of now.", body = Refunds)),
    extensions(("x-slotcast" = json!({ "scope": "ledger" }))))]
async fn refunds(State(api): State<Api>, caller: Caller, Path(path): Path<NumberPath>) -> Answer {
    let refunds = api.service().refunds(&caller.actor, ReservationNumber(path.number)).await?;
    Ok(Json(refunds).into_response())
}

/// Which payments.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct PaymentsQuery {
    /// Only in this state.
    #[param(inline)]
    state: PaymentState,
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
    responses((status = 200, description = "Oldest first.", body = List<PaymentView>)),
    extensions(("x-slotcast" = json!({ "scope": "ledger" }))))]
async fn payments(State(api): State<Api>, caller: Caller, Query(query): Query<PaymentsQuery>) -> Answer {
    let page = PageQuery::new(query.page, query.per_page);
    Ok(Json(api.service().payments(&caller.actor, query.state, page.page()).await?).into_response())
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
    responses((status = 202, description = "It is tried again.", body = PaymentView)),
    extensions(("x-slotcast" = json!({ "scope": "ledger", "problems": ["no-charge"] }))))]
async fn retry(State(api): State<Api>, caller: Caller, Path(path): Path<PaymentPath>) -> Answer {
    let payment = api.service().retry_payment(&caller.actor, &path.key).await?;
    Ok((StatusCode::ACCEPTED, Json(payment)).into_response())
}
