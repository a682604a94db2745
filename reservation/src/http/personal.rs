//! A member's own data as one document, and the end of an account.

use axum::{Json, extract::State, http::StatusCode, response::IntoResponse};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Api,
    auth::Caller,
    extract::{Body, Path},
    live::LedgerBody,
    members::{MemberBody, TokenBody},
    problem::Answer,
    reservation::ReservationBody,
    wire::{NumberPath, hex},
};
use crate::domain::words::MemberNumber;

/// The addresses of this room.
pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default().routes(routes!(own_data)).routes(routes!(erase_me)).routes(routes!(erase_member))
}

/// All that is kept of a member.
#[derive(Serialize, ToSchema)]
#[schema(as = OwnData)]
struct OwnDataBody {
    member: MemberBody,
    tokens: Vec<TokenBody>,
    /// Newest start first; of more than 10,000 the newest.
    reservations: Vec<OwnReservationBody>,
}

/// A reservation with what belongs to it.
#[derive(Serialize, ToSchema)]
#[schema(as = OwnReservation)]
struct OwnReservationBody {
    reservation: ReservationBody,
    ledger: Vec<LedgerBody>,
    accepted_terms: Option<AcceptedTermsBody>,
}

/// Terms that were accepted.
#[derive(Serialize, ToSchema)]
#[schema(as = AcceptedTerms)]
struct AcceptedTermsBody {
    #[schema(format = DateTime)]
    at: String,
    /// SHA-256 of the text, in hexadecimal.
    sha256: String,
    text: String,
}

/// My data as a document
///
/// All that is kept of the member: own data, tokens without their secrets, reservations with their money and the terms
/// that were accepted.
#[utoipa::path(get, path = "/me/export", tag = "My account", operation_id = "own_data",
    responses((status = 200, description = "Everything.", body = OwnDataBody)),
    extensions(("x-slotcast" = json!({ "scope": "account" }))))]
async fn own_data(State(api): State<Api>, caller: Caller) -> Answer {
    let data = api.service().own_data(&caller.actor).await?;
    let reservations = data.reservations.iter().map(|(reservation, ledger, terms)| OwnReservationBody {
        reservation: ReservationBody::of(&api, reservation),
        ledger: ledger.iter().map(|entry| LedgerBody::of(&api, entry)).collect(),
        accepted_terms: terms.as_ref().map(|terms| AcceptedTermsBody {
            at: terms.at.to_string(),
            sha256: hex(&terms.hash),
            text: terms.text.to_string(),
        }),
    });
    let body = OwnDataBody {
        member: MemberBody::from(&data.member),
        tokens: data.tokens.iter().map(TokenBody::from).collect(),
        reservations: reservations.collect(),
    };
    Ok(Json(body).into_response())
}

/// The password, once more.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Erasure, example = json!({ "password": "a long pass phrase" }))]
struct ErasureBody {
    #[schema(min_length = 1, max_length = 1024)]
    password: String,
}

/// Erase my account
///
/// For good: own data, log-ins, tokens, mails and the texts of programs go; records of money stay, without the person.
#[utoipa::path(post, path = "/me/erasure", tag = "My account", operation_id = "erase_me",
    request_body = ErasureBody,
    responses((status = 204, description = "Erased.")),
    extensions(("x-slotcast" = json!({ "scope": "account",
        "problems": ["wrong-log-in", "own-rights", "account-open", "stale", "too-many"] }))))]
async fn erase_me(State(api): State<Api>, caller: Caller, body: Body<ErasureBody>) -> Answer {
    api.service().erase_me(&caller.actor, &body.value.password).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Erase a member
///
/// As at the member's own wish. What is billed by invoice is the operator's to collect before.
#[utoipa::path(post, path = "/operator/members/{number}/erasure", tag = "Operator", operation_id = "erase_member",
    params(NumberPath),
    responses((status = 204, description = "Erased.")),
    extensions(("x-slotcast" = json!({ "scope": "moderate", "problems": ["own-rights", "account-open", "stale"] }))))]
async fn erase_member(State(api): State<Api>, caller: Caller, Path(path): Path<NumberPath>) -> Answer {
    api.service().erase_member(&caller.actor, MemberNumber(path.number)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
