//! Members: registering, logging in and out, the own data, tokens.

use std::time::Duration;

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use slotcast_core::time::WallTime;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Api,
    auth::{Caller, Client},
    extract::{Body, IfMatch, Path},
    problem::{Answer, etag},
};
use crate::{
    domain::member::Member,
    service::{List, LoggedIn, MemberEdit, NewToken, Premium, Registration, Scope, Scopes, TokenView},
};

/// The addresses of this room.
pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default()
        .routes(routes!(register))
        .routes(routes!(session, log_in, log_out))
        .routes(routes!(me, edit_me))
        .routes(routes!(change_password))
        .routes(routes!(upgrade))
        .routes(routes!(put_terminal_key, end_terminal_key))
        .routes(routes!(tokens, make_token))
        .routes(routes!(end_token))
}

/// A member with its version as entity tag.
pub(super) fn shown(member: &Member) -> Response {
    ([(header::ETAG, etag(member.version))], Json(member)).into_response()
}

/// Register
///
/// A general member may watch; with `premium` the member may also reserve. Every item that is missing or wrong is
/// named, all at once. Where the card company wants to ask whoever owns the card (3-D Secure), nothing is registered
/// and 402 `register-first` says so: register without `premium`, then use `PUT /me/premium`.
#[utoipa::path(post, path = "/members", tag = "Members", operation_id = "register",
    request_body = Registration,
    responses((status = 201, description = "Registered: log in now.", body = Member)),
    extensions(("x-slotcast" = json!({ "problems":
        ["user-id-taken", "email-taken", "payment-declined", "register-first", "payment-unavailable",
         "too-many"] }))))]
async fn register(State(api): State<Api>, Client(client): Client, body: Body<Registration>) -> Answer {
    let member = api.service().register(body.value, client).await?;
    Ok((StatusCode::CREATED, shown(&member)).into_response())
}

/// User ID and password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = LogIn, example = json!({ "user_id": "taro", "password": "a long pass phrase" }))]
struct LogInBody {
    /// Case does not count.
    #[schema(min_length = 1, max_length = 254)]
    user_id: String,
    #[schema(min_length = 1, max_length = 1024)]
    password: String,
}

/// A log-in; its cookie came with the answer.
#[derive(Serialize, ToSchema)]
#[schema(as = Session)]
struct SessionBody {
    /// For `X-CSRF-Token` of requests that change something and show the cookie.
    csrf_token: String,
    expires_at: WallTime,
    member: Member,
}

/// Log in
///
/// Sets the session cookie. An unknown user ID and a wrong password get the same answer.
#[utoipa::path(post, path = "/session", tag = "Members", operation_id = "log_in",
    request_body = LogInBody,
    responses((status = 200, description = "Logged in.", body = SessionBody,
        headers(("Set-Cookie" = String, description = "The session, HttpOnly and SameSite=Lax.")))),
    extensions(("x-slotcast" = json!({ "problems": ["wrong-log-in", "blocked", "too-many"] }))))]
async fn log_in(State(api): State<Api>, Client(client): Client, body: Body<LogInBody>) -> Answer {
    let body = body.value;
    let (LoggedIn { csrf, member, expires_at, .. }, cookie) =
        api.edge().log_in(&body.user_id, &body.password, client).await?;
    let session = SessionBody { csrf_token: csrf, expires_at, member };
    Ok(([(header::SET_COOKIE, cookie)], Json(session)).into_response())
}

/// Log out
///
/// Ends the session of the cookie.
#[utoipa::path(delete, path = "/session", tag = "Members", operation_id = "log_out",
    responses((status = 204, description = "Logged out.",
        headers(("Set-Cookie" = String, description = "Takes the cookie away.")))),
    extensions(("x-slotcast" = json!({ "scope": "account" }))))]
async fn log_out(State(api): State<Api>, caller: Caller) -> Answer {
    let cookie = api.edge().log_out(caller.session()?).await?;
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response())
}

/// A session that is under way.
#[derive(Serialize, ToSchema)]
#[schema(as = OpenSession)]
struct OpenSessionBody {
    /// For `X-CSRF-Token`.
    csrf_token: String,
    member: Member,
}

/// My session
///
/// For a page that was loaded anew: who is logged in, and the CSRF token of the session.
#[utoipa::path(get, path = "/session", tag = "Members", operation_id = "session",
    responses((status = 200, description = "Logged in.", body = OpenSessionBody)),
    extensions(("x-slotcast" = json!({ "scope": "account" }))))]
async fn session(State(api): State<Api>, caller: Caller) -> Answer {
    let csrf_token = caller.session()?.csrf_token().to_owned();
    let member = api.service().me(&caller.actor).await?;
    Ok(Json(OpenSessionBody { csrf_token, member }).into_response())
}

/// My data
#[utoipa::path(get, path = "/me", tag = "My account", operation_id = "me",
    responses((status = 200, description = "The member's own data.", body = Member,
        headers(("ETag" = String, description = "Its version.")))),
    extensions(("x-slotcast" = json!({ "scope": "read" }))))]
async fn me(State(api): State<Api>, caller: Caller) -> Answer {
    Ok(shown(&api.service().me(&caller.actor).await?))
}

/// Change my data
#[utoipa::path(patch, path = "/me", tag = "My account", operation_id = "edit_me",
    request_body = MemberEdit,
    responses((status = 200, description = "As it is from now on.", body = Member,
        headers(("ETag" = String, description = "Its version.")))),
    extensions(("x-slotcast" = json!({ "scope": "account", "headers": ["if-match"],
        "problems": ["wrong-log-in", "email-taken", "not-premium", "too-many"] }))))]
async fn edit_me(
    State(api): State<Api>,
    caller: Caller,
    Client(client): Client,
    if_match: IfMatch,
    body: Body<MemberEdit>,
) -> Answer {
    let current = api.service().me(&caller.actor).await?;
    let version = if_match.version(current.version)?;
    Ok(shown(&api.service().edit_me(&caller.actor, Some(version), body.value, client).await?))
}

/// The old password and the new one.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PasswordChange, example = json!({
    "old_password": "a long pass phrase", "new_password": "an even longer pass phrase",
}))]
struct PasswordBody {
    #[schema(min_length = 1, max_length = 1024)]
    old_password: String,
    /// 10 to 128 characters.
    #[schema(pattern = "@password", min_length = 10, max_length = 128)]
    new_password: String,
}

/// Change my password
///
/// Ends every other session and all tokens.
#[utoipa::path(put, path = "/me/password", tag = "My account", operation_id = "change_password",
    request_body = PasswordBody,
    responses((status = 204, description = "Changed.")),
    extensions(("x-slotcast" = json!({ "scope": "account", "problems": ["wrong-log-in", "too-many"] }))))]
async fn change_password(State(api): State<Api>, caller: Caller, body: Body<PasswordBody>) -> Answer {
    let body = body.value;
    api.service().change_password(&caller.actor, &body.old_password, &body.new_password).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Become a premium member
///
/// Or replace a premium member's contact and card. The card is checked first. Where the card company wants to ask the
/// member (3-D Secure), nothing is changed, and 402 `card-question` holds `setup_intent` and `client_secret`: the
/// payment company's form (with Stripe `stripe.handleNextAction({clientSecret})`) asks, then the same request comes
/// again with `setup_intent` as `card_token`. While it is not answered, the answer is the same problem.
#[utoipa::path(put, path = "/me/premium", tag = "My account", operation_id = "upgrade",
    request_body = Premium,
    responses((status = 200, description = "As the member is from now on.", body = Member,
        headers(("ETag" = String, description = "Its version.")))),
    extensions(("x-slotcast" = json!({ "scope": "account",
        "problems": ["payment-declined", "card-question", "payment-unavailable", "too-many"] }))))]
async fn upgrade(State(api): State<Api>, caller: Caller, body: Body<Premium>) -> Answer {
    Ok(shown(&api.service().upgrade(&caller.actor, body.value).await?))
}

/// The key of a terminal.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TerminalKey, example = json!({
    "recipient": "age1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq4ulm5v",
}))]
struct TerminalKeyBody {
    /// An age recipient, `age1…`, as `age-keygen` prints it.
    #[schema(min_length = 1, max_length = 100)]
    recipient: String,
}

/// Register my terminal's key
///
/// Settings files are encrypted to it from now on.
#[utoipa::path(put, path = "/me/terminal-key", tag = "My account", operation_id = "put_terminal_key",
    request_body = TerminalKeyBody,
    responses((status = 200, description = "As the member is from now on.", body = Member,
        headers(("ETag" = String, description = "Its version.")))),
    extensions(("x-slotcast" = json!({ "scope": "account" }))))]
async fn put_terminal_key(
    State(api): State<Api>,
    caller: Caller,
    Client(client): Client,
    body: Body<TerminalKeyBody>,
) -> Answer {
    let edit = MemberEdit { terminal_key: Some(Some(body.value.recipient)), ..Default::default() };
    Ok(shown(&api.service().edit_me(&caller.actor, None, edit, client).await?))
}

/// Forget my terminal's key
#[utoipa::path(delete, path = "/me/terminal-key", tag = "My account", operation_id = "end_terminal_key",
    responses((status = 204, description = "Forgotten.")),
    extensions(("x-slotcast" = json!({ "scope": "account" }))))]
async fn end_terminal_key(State(api): State<Api>, caller: Caller, Client(client): Client) -> Answer {
    let edit = MemberEdit { terminal_key: Some(None), ..Default::default() };
    api.service().edit_me(&caller.actor, None, edit, client).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// My tokens
#[utoipa::path(get, path = "/me/tokens", tag = "My account", operation_id = "tokens",
    responses((status = 200, description = "Oldest first.", body = List<TokenView>)),
    extensions(("x-slotcast" = json!({ "scope": "account" }))))]
async fn tokens(State(api): State<Api>, caller: Caller) -> Answer {
    let tokens = api.service().tokens(&caller.actor).await?;
    Ok(Json(List::whole(tokens)).into_response())
}

/// A token to make.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TokenRequest, example = json!({ "name": "studio", "scopes": ["read", "broadcast"], "days": 90 }))]
struct TokenRequestBody {
    /// What the member calls it, on one line; unlike the member's other tokens.
    #[schema(pattern = "@text", min_length = 1, max_length = 100)]
    name: String,
    #[schema(min_items = 1, max_items = 6)]
    scopes: Vec<Scope>,
    /// How long it is valid.
    #[schema(minimum = 1, maximum = 365)]
    days: u32,
}

/// Make a token
///
/// For a program. It covers the scopes that are asked for, never the account itself.
#[utoipa::path(post, path = "/me/tokens", tag = "My account", operation_id = "make_token",
    request_body = TokenRequestBody,
    responses((status = 201, description = "Made. The secret is shown this once.", body = NewToken)),
    extensions(("x-slotcast" = json!({ "scope": "account", "problems": ["exists", "too-many-tokens", "not-operator"] }))))]
async fn make_token(State(api): State<Api>, caller: Caller, body: Body<TokenRequestBody>) -> Answer {
    let body = body.value;
    let scopes = body.scopes.iter().fold(Scopes::NONE, |scopes, scope| scopes.with(*scope));
    let life = Duration::from_secs(u64::from(body.days) * 86_400);
    let made = api.service().make_token(&caller.actor, &body.name, scopes, life).await?;
    Ok((StatusCode::CREATED, Json(made)).into_response())
}

/// A token by its name.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct TokenPath {
    /// What the member calls it.
    #[param(pattern = "@text", min_length = 1, max_length = 100, example = "studio")]
    name: String,
}

/// Take a token away
#[utoipa::path(delete, path = "/me/tokens/{name}", tag = "My account", operation_id = "end_token",
    params(TokenPath),
    responses((status = 204, description = "It opens nothing any more.")),
    extensions(("x-slotcast" = json!({ "scope": "account" }))))]
async fn end_token(State(api): State<Api>, caller: Caller, Path(path): Path<TokenPath>) -> Answer {
    api.service().end_token(&caller.actor, &path.name).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
