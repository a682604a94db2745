//! Members: registering, logging in and out, the own data, tokens.

use std::time::Duration;

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Api,
    auth::{Caller, Client},
    extract::{Body, IfMatch, Path},
    problem::{Answer, etag},
    wire::ListBody,
};
use crate::{
    domain::{
        member::{self, Member, MemberKind},
        words::Language,
    },
    service::{self, LoggedIn, Scope, Scopes},
    store::ApiToken,
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

/// In which mails and pages speak to a member (BCP 47).
#[derive(Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[schema(as = Language)]
enum LanguageBody {
    /// English.
    #[default]
    #[serde(rename = "en")]
    English,
    /// Japanese.
    #[serde(rename = "ja")]
    Japanese,
}

impl From<LanguageBody> for Language {
    fn from(language: LanguageBody) -> Self {
        match language {
            LanguageBody::English => Self::English,
            LanguageBody::Japanese => Self::Japanese,
        }
    }
}

impl From<Language> for LanguageBody {
    fn from(language: Language) -> Self {
        match language {
            Language::English => Self::English,
            Language::Japanese => Self::Japanese,
        }
    }
}

/// What a new member fills in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Registration, example = json!({
    "user_id": "taro",
    "name": "山田 太郎",
    "reading": "Yamada Taro",
    "email": "taro@example.com",
    "email_public": false,
    "password": "a long pass phrase",
    "language": "ja",
    "premium": { "address": "1-1 Chiyoda, Tokyo", "phone": "+81 3 0000 0000", "card_token": "pm_card_visa" },
}))]
struct RegistrationBody {
    /// Letters, digits, '.', '_' or '-', beginning with a letter or digit; case does not count.
    #[schema(pattern = "@user-id", min_length = 3, max_length = 32)]
    user_id: String,
    /// As the person writes it, on one line.
    #[schema(pattern = "@text", min_length = 1, max_length = 100)]
    name: String,
    /// Its reading, e.g. romanised, on one line.
    #[schema(pattern = "@text", min_length = 1, max_length = 100)]
    reading: String,
    /// An e-mail address like name@example.com.
    #[schema(pattern = "@email", min_length = 3, max_length = 254)]
    email: String,
    /// Whether others may see the address.
    #[serde(default)]
    email_public: bool,
    /// 10 to 128 characters.
    #[schema(pattern = "@password", min_length = 10, max_length = 128)]
    password: String,
    /// In which mails are written.
    #[serde(default)]
    language: LanguageBody,
    /// The member's own page, beginning with `http://` or `https://`.
    #[schema(pattern = "@web", max_length = 200)]
    web: Option<String>,
    /// Present where a premium member is registered: then the card is checked before anything is kept.
    premium: Option<PremiumBody>,
}

/// What a premium member fills in besides.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Premium, example = json!({
    "address": "1-1 Chiyoda, Tokyo", "phone": "+81 3 0000 0000", "card_token": "pm_card_visa",
}))]
struct PremiumBody {
    /// Postal address, on one line.
    #[schema(pattern = "@text", min_length = 1, max_length = 300)]
    address: String,
    /// Telephone: digits, with '+', '-', '(', ')', '.', or spaces between.
    #[schema(pattern = "@phone", min_length = 3, max_length = 40)]
    phone: String,
    /// Mobile telephone.
    #[schema(pattern = "@phone", min_length = 3, max_length = 40)]
    mobile: Option<String>,
    /// Facsimile.
    #[schema(pattern = "@phone", min_length = 3, max_length = 40)]
    fax: Option<String>,
    /// What the payment company's own form gave for the card (for Stripe `pm_…`), or `setup_intent` of a question that
    /// was answered (`seti_…`): letters, digits, '_' or '-'. Never a card number. Where the operator bills, it may be
    /// left out.
    #[serde(default)]
    #[schema(pattern = "@card-token", max_length = 255)]
    card_token: String,
}

impl From<PremiumBody> for service::Premium {
    fn from(body: PremiumBody) -> Self {
        Self {
            address: body.address,
            phone: body.phone,
            mobile: body.mobile,
            fax: body.fax,
            card_token: body.card_token,
        }
    }
}

/// What a member may do.
#[derive(Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = MemberKind)]
pub(super) enum MemberKindBody {
    /// May watch what is open to members.
    General,
    /// May also reserve.
    Premium,
}

/// Where a premium member can be reached.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Contact)]
struct ContactBody {
    /// Postal address, on one line.
    #[schema(pattern = "@text", min_length = 1, max_length = 300)]
    address: String,
    /// Telephone.
    #[schema(pattern = "@phone", min_length = 3, max_length = 40)]
    phone: String,
    /// Mobile telephone.
    #[schema(pattern = "@phone", min_length = 3, max_length = 40)]
    mobile: Option<String>,
    /// Facsimile.
    #[schema(pattern = "@phone", min_length = 3, max_length = 40)]
    fax: Option<String>,
}

/// What is kept of a payment card.
#[derive(Serialize, ToSchema)]
#[schema(as = Card)]
struct CardBody {
    /// E.g. `visa`; `invoice` where the operator bills.
    brand: String,
    /// Its last four digits; empty for an invoice.
    last_four: String,
    /// Year and month of its expiry.
    #[schema(pattern = "@month")]
    expires: Option<String>,
}

/// A registered person.
#[derive(Serialize, ToSchema)]
#[schema(as = Member)]
pub(super) struct MemberBody {
    number: i64,
    user_id: String,
    name: String,
    reading: String,
    email: String,
    /// Whether mail to `email` was shown to arrive.
    is_email_verified: bool,
    /// Takes the place of `email` once mail to it was shown to arrive.
    new_email: Option<String>,
    email_public: bool,
    web: Option<String>,
    language: LanguageBody,
    kind: MemberKindBody,
    is_operator: bool,
    is_blocked: bool,
    contact: Option<ContactBody>,
    card: Option<CardBody>,
    /// The age recipient of the terminal for which settings files are encrypted.
    terminal_key: Option<String>,
    #[schema(format = DateTime)]
    registered_at: String,
    /// Counts edits: what `ETag` and `If-Match` are about.
    version: i64,
}

impl From<&Member> for MemberBody {
    fn from(member: &Member) -> Self {
        Self {
            number: member.number.0,
            user_id: member.user_id.to_string(),
            name: member.name.clone(),
            reading: member.reading.clone(),
            email: member.email.to_string(),
            is_email_verified: member.is_email_verified,
            new_email: member.new_email.as_ref().map(ToString::to_string),
            email_public: member.email_public,
            web: member.web.clone(),
            language: member.language.into(),
            kind: match member.kind {
                MemberKind::General => MemberKindBody::General,
                MemberKind::Premium => MemberKindBody::Premium,
            },
            is_operator: member.is_operator,
            is_blocked: member.is_blocked,
            contact: member.contact.as_ref().map(|contact| ContactBody {
                address: contact.address.clone(),
                phone: contact.phone.clone(),
                mobile: contact.mobile.clone(),
                fax: contact.fax.clone(),
            }),
            card: member.card.as_ref().map(|card| CardBody {
                brand: card.brand.clone(),
                last_four: card.last_four.clone(),
                expires: card.expires.map(|(year, month)| format!("{year:04}-{month:02}")),
            }),
            terminal_key: member.terminal_key.clone(),
            registered_at: member.registered_at.to_string(),
            version: member.version,
        }
    }
}

/// A member with its version as entity tag.
pub(super) fn shown(member: &Member) -> Response {
    ([(header::ETAG, etag(member.version))], Json(MemberBody::from(member))).into_response()
}

/// Register
///
/// A general member may watch; with `premium` the member may also reserve. Every item that is missing or wrong is
/// named, all at once. Where the card company wants to ask whoever owns the card (3-D Secure), nothing is registered
/// and 402 `register-first` says so: register without `premium`, then use `PUT /me/premium`.
#[utoipa::path(post, path = "/members", tag = "Members", operation_id = "register",
    request_body = RegistrationBody,
    responses((status = 201, description = "Registered: log in now.", body = MemberBody)),
    extensions(("x-slotcast" = json!({ "problems":
        ["user-id-taken", "email-taken", "payment-declined", "register-first", "payment-unavailable",
         "too-many"] }))))]
async fn register(State(api): State<Api>, Client(client): Client, body: Body<RegistrationBody>) -> Answer {
    let body = body.value;
    let registration = service::Registration {
        user_id: body.user_id,
        name: body.name,
        reading: body.reading,
        email: body.email,
        email_public: body.email_public,
        password: body.password,
        language: body.language.into(),
        web: body.web,
        premium: body.premium.map(Into::into),
    };
    let member = api.service().register(registration, client).await?;
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
    #[schema(format = DateTime)]
    expires_at: String,
    member: MemberBody,
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
    let session = SessionBody {
        csrf_token: csrf,
        expires_at: expires_at.to_string(),
        member: MemberBody::from(&member),
    };
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
    member: MemberBody,
}

/// My session
///
/// For a page that was loaded anew: who is logged in, and the CSRF token of the session.
#[utoipa::path(get, path = "/session", tag = "Members", operation_id = "session",
    responses((status = 200, description = "Logged in.", body = OpenSessionBody)),
    extensions(("x-slotcast" = json!({ "scope": "account" }))))]
async fn session(State(api): State<Api>, caller: Caller) -> Answer {
    let csrf_token = caller.session()?.csrf_token().to_owned();
    let member = MemberBody::from(&api.service().me(&caller.actor).await?);
    Ok(Json(OpenSessionBody { csrf_token, member }).into_response())
}

/// My data
#[utoipa::path(get, path = "/me", tag = "My account", operation_id = "me",
    responses((status = 200, description = "The member's own data.", body = MemberBody,
        headers(("ETag" = String, description = "Its version.")))),
    extensions(("x-slotcast" = json!({ "scope": "read" }))))]
async fn me(State(api): State<Api>, caller: Caller) -> Answer {
    Ok(shown(&api.service().me(&caller.actor).await?))
}

/// What a member changes; what is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = MemberEdit, example = json!({ "email_public": true, "web": "https://example.com/taro" }))]
struct MemberEditBody {
    /// As the person writes it, on one line.
    #[schema(pattern = "@text", min_length = 1, max_length = 100)]
    name: Option<String>,
    /// Its reading, on one line.
    #[schema(pattern = "@text", min_length = 1, max_length = 100)]
    reading: Option<String>,
    /// An e-mail address like name@example.com. Another one needs `password`; where addresses are verified, it waits as
    /// `new_email` for the code that is mailed to it.
    #[schema(pattern = "@email", min_length = 3, max_length = 254)]
    email: Option<String>,
    /// The member's password, beside another `email`.
    #[schema(min_length = 1, max_length = 1024)]
    password: Option<String>,
    email_public: Option<bool>,
    /// The member's own page, beginning with `http://` or `https://`; `null`: none any more.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, pattern = "@web", max_length = 200)]
    web: Option<Option<String>>,
    language: Option<LanguageBody>,
    /// Of a premium member.
    contact: Option<ContactBody>,
}

/// Tells `null` from what was left out.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::<String>::deserialize(deserializer).map(Some)
}

/// Change my data
#[utoipa::path(patch, path = "/me", tag = "My account", operation_id = "edit_me",
    request_body = MemberEditBody,
    responses((status = 200, description = "As it is from now on.", body = MemberBody,
        headers(("ETag" = String, description = "Its version.")))),
    extensions(("x-slotcast" = json!({ "scope": "account", "headers": ["if-match"],
        "problems": ["wrong-log-in", "email-taken", "not-premium", "too-many"] }))))]
async fn edit_me(
    State(api): State<Api>,
    caller: Caller,
    Client(client): Client,
    if_match: IfMatch,
    body: Body<MemberEditBody>,
) -> Answer {
    let body = body.value;
    let current = api.service().me(&caller.actor).await?;
    let version = if_match.version(current.version)?;
    let edit = service::MemberEdit {
        name: body.name,
        reading: body.reading,
        email: body.email,
        password: body.password,
        email_public: body.email_public,
        web: body.web,
        language: body.language.map(Into::into),
        contact: body.contact.map(|contact| member::Contact {
            address: contact.address,
            phone: contact.phone,
            mobile: contact.mobile,
            fax: contact.fax,
        }),
        terminal_key: None,
    };
    Ok(shown(&api.service().edit_me(&caller.actor, Some(version), edit, client).await?))
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
    request_body = PremiumBody,
    responses((status = 200, description = "As the member is from now on.", body = MemberBody,
        headers(("ETag" = String, description = "Its version.")))),
    extensions(("x-slotcast" = json!({ "scope": "account",
        "problems": ["payment-declined", "card-question", "payment-unavailable", "too-many"] }))))]
async fn upgrade(State(api): State<Api>, caller: Caller, body: Body<PremiumBody>) -> Answer {
    Ok(shown(&api.service().upgrade(&caller.actor, body.value.into()).await?))
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
    responses((status = 200, description = "As the member is from now on.", body = MemberBody,
        headers(("ETag" = String, description = "Its version.")))),
    extensions(("x-slotcast" = json!({ "scope": "account" }))))]
async fn put_terminal_key(
    State(api): State<Api>,
    caller: Caller,
    Client(client): Client,
    body: Body<TerminalKeyBody>,
) -> Answer {
    let edit = service::MemberEdit { terminal_key: Some(Some(body.value.recipient)), ..Default::default() };
    Ok(shown(&api.service().edit_me(&caller.actor, None, edit, client).await?))
}

/// Forget my terminal's key
#[utoipa::path(delete, path = "/me/terminal-key", tag = "My account", operation_id = "end_terminal_key",
    responses((status = 204, description = "Forgotten.")),
    extensions(("x-slotcast" = json!({ "scope": "account" }))))]
async fn end_terminal_key(State(api): State<Api>, caller: Caller, Client(client): Client) -> Answer {
    let edit = service::MemberEdit { terminal_key: Some(None), ..Default::default() };
    api.service().edit_me(&caller.actor, None, edit, client).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// A token as it is listed.
#[derive(Serialize, ToSchema)]
#[schema(as = Token)]
pub(super) struct TokenBody {
    name: String,
    scopes: Vec<Scope>,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    expires_at: String,
}

impl From<&ApiToken> for TokenBody {
    fn from(token: &ApiToken) -> Self {
        let scopes = Scopes::of_token(&token.scopes).unwrap_or(Scopes::NONE);
        Self {
            name: token.name.clone(),
            scopes: scopes.of_a_token().collect(),
            created_at: token.created_at.to_string(),
            expires_at: token.expires_at.to_string(),
        }
    }
}

/// My tokens
#[utoipa::path(get, path = "/me/tokens", tag = "My account", operation_id = "tokens",
    responses((status = 200, description = "Oldest first.", body = ListBody<TokenBody>)),
    extensions(("x-slotcast" = json!({ "scope": "account" }))))]
async fn tokens(State(api): State<Api>, caller: Caller) -> Answer {
    let tokens = api.service().tokens(&caller.actor).await?;
    Ok(Json(ListBody::whole(tokens.iter().map(TokenBody::from).collect())).into_response())
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

/// A token that was just made.
#[derive(Serialize, ToSchema)]
#[schema(as = NewToken)]
struct NewTokenBody {
    /// For `Authorization: Bearer …`; shown this once.
    secret: String,
    token: TokenBody,
}

/// Make a token
///
/// For a program. It covers the scopes that are asked for, never the account itself.
#[utoipa::path(post, path = "/me/tokens", tag = "My account", operation_id = "make_token",
    request_body = TokenRequestBody,
    responses((status = 201, description = "Made. The secret is shown this once.", body = NewTokenBody)),
    extensions(("x-slotcast" = json!({ "scope": "account", "problems": ["exists", "too-many-tokens", "not-operator"] }))))]
async fn make_token(State(api): State<Api>, caller: Caller, body: Body<TokenRequestBody>) -> Answer {
    let body = body.value;
    let scopes = body.scopes.iter().fold(Scopes::NONE, |scopes, scope| scopes.with(*scope));
    let life = Duration::from_secs(u64::from(body.days) * 86_400);
    let made = api.service().make_token(&caller.actor, &body.name, scopes, life).await?;
    let token = NewTokenBody { secret: made.secret, token: TokenBody::from(&made.token) };
    Ok((StatusCode::CREATED, Json(token)).into_response())
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
