//! Codes that came by mail: a forgotten password, an address to verify.

use axum::{extract::State, http::StatusCode, response::IntoResponse};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Api,
    auth::{Caller, Client},
    extract::Body,
    members::shown,
    problem::Answer,
};
use crate::domain::member::Member;

/// The addresses of this room.
pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default()
        .routes(routes!(forgot_password))
        .routes(routes!(replace_password))
        .routes(routes!(ask_verification))
        .routes(routes!(verify_email))
}

/// Who has forgotten the password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ForgottenPassword, example = json!({ "who": "taro@example.com" }))]
struct ForgottenBody {
    /// User ID or e-mail address.
    #[schema(min_length = 1, max_length = 254)]
    who: String,
}

/// I forgot my password
///
/// Mails a code, valid for 30 minutes and once, with which `PUT /password` sets another. The answer is the same whether
/// there is such a member or not; of several requests in a row only the first few are mailed.
#[utoipa::path(post, path = "/forgotten-password", tag = "Members", operation_id = "forgot_password",
    request_body = ForgottenBody,
    responses((status = 202, description = "If there is such a member, a mail is on its way.")),
    extensions(("x-slotcast" = json!({ "problems": ["too-many"] }))))]
async fn forgot_password(
    State(api): State<Api>,
    Client(client): Client,
    body: Body<ForgottenBody>,
) -> Answer {
    api.service().forgot_password(&body.value.who, client).await?;
    Ok(StatusCode::ACCEPTED.into_response())
}

/// A code and the new password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PasswordByCode, example = json!({
    "code": "7r9kq-2mxw8-tzb4n-vc31d-ha6ey0", "new_password": "an even longer pass phrase",
}))]
struct ReplaceBody {
    /// From the mail; case, dashes and spaces do not count.
    #[schema(min_length = 1, max_length = 100)]
    code: String,
    /// 10 to 128 characters.
    #[schema(pattern = "@password", min_length = 10, max_length = 128)]
    new_password: String,
}

/// Set a forgotten password anew
///
/// Ends all sessions and tokens. Log in with the new password then.
#[utoipa::path(put, path = "/password", tag = "Members", operation_id = "replace_password",
    request_body = ReplaceBody,
    responses((status = 204, description = "Set.")),
    extensions(("x-slotcast" = json!({ "problems": ["wrong-code", "blocked", "too-many"] }))))]
async fn replace_password(State(api): State<Api>, Client(client): Client, body: Body<ReplaceBody>) -> Answer {
    let ReplaceBody { code, new_password } = body.value;
    api.service().replace_password(&code, &new_password, client).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Mail the code for my address again
///
/// To the address that waits to be verified; nothing is mailed where none does.
#[utoipa::path(post, path = "/me/verification", tag = "My account", operation_id = "ask_verification",
    responses((status = 202, description = "A mail is on its way, if an address waits.")),
    extensions(("x-slotcast" = json!({ "scope": "account", "problems": ["too-many"] }))))]
async fn ask_verification(State(api): State<Api>, caller: Caller) -> Answer {
    api.service().ask_verification(&caller.actor).await?;
    Ok(StatusCode::ACCEPTED.into_response())
}

/// A code.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Verification, example = json!({ "code": "7r9kq-2mxw8-tzb4n-vc31d-ha6ey0" }))]
struct VerifyBody {
    /// From the mail; case, dashes and spaces do not count.
    #[schema(min_length = 1, max_length = 100)]
    code: String,
}

/// Verify an address
///
/// By the code that was mailed to it. A member's new address counts from then on. No log-in is needed: the mail may be
/// read on another device.
#[utoipa::path(post, path = "/verification", tag = "Members", operation_id = "verify_email",
    request_body = VerifyBody,
    responses((status = 200, description = "Verified.", body = Member,
        headers(("ETag" = String, description = "Its version.")))),
    extensions(("x-slotcast" = json!({ "problems": ["wrong-code", "email-taken", "too-many"] }))))]
async fn verify_email(State(api): State<Api>, Client(client): Client, body: Body<VerifyBody>) -> Answer {
    Ok(shown(&api.service().verify_email(&body.value.code, client).await?))
}
