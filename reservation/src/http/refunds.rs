//! Giving money back, by operators.

use axum::{Json, extract::State, http::StatusCode, response::IntoResponse};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Api,
    auth::Caller,
    extract::{Body, IdempotencyKey, Path},
    problem::{Answer, Problem},
    wire::NumberPath,
};
use crate::{
    domain::words::{Amount, ReservationNumber},
    service::Refunds,
    store::Payment,
};

/// The addresses of this room.
pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default().routes(routes!(refund))
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
/// stand in the ledger as `refunded`; repeated with the same `Idempotency-Key`, this shows how they went.
#[utoipa::path(post, path = "/operator/reservations/{number}/refund", tag = "Operator", operation_id = "refund",
    params(NumberPath), request_body = RefundWishBody,
    responses((status = 202, description = "Asked for.", body = RefundsBody)),
    extensions(("x-slotcast" = json!({ "scope": "operate", "headers": ["idempotency-key"],
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
    let amount = amount.map_err(|_| Problem::field("amount", "1 to 10^15 minor units"))?;
    let refunds =
        api.service().refund(&caller.actor, number, amount, &body.value.reason, idempotency).await?;
    Ok((StatusCode::ACCEPTED, Json(RefundsBody::of(&api, &refunds))).into_response())
}
