//! A member's own data as one document, and the end of an account.

use axum::{Json, extract::State, http::StatusCode, response::IntoResponse};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Api,
    auth::Caller,
    extract::{Body, Path},
    problem::Answer,
    wire::NumberPath,
};
use crate::{domain::words::MemberNumber, service::OwnData};

/// The addresses of this room.
pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default().routes(routes!(own_data)).routes(routes!(erase_me)).routes(routes!(erase_member))
}

/// My data as a document
///
/// All that is kept of the member: own data, tokens without their secrets, reservations with their money and the terms
/// that were accepted.
#[utoipa::path(get, path = "/me/export", tag = "My account", operation_id = "own_data",
    responses((status = 200, description = "Everything.", body = OwnData)),
    extensions(("x-slotcast" = json!({ "scope": "account" }))))]
async fn own_data(State(api): State<Api>, caller: Caller) -> Answer {
    Ok(Json(api.service().own_data(&caller.actor).await?).into_response())
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
