//! Reservations: booking, the steps that follow, the settings file, and what the broadcaster sees.

use axum::{
    Json,
    extract::State,
    http::{HeaderValue, header},
    response::IntoResponse,
};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Api,
    auth::{Caller, Client},
    extract::{Body, IdempotencyKey, IfMatch, MaybeIfMatch, Path, Query},
    problem::Answer,
    reservation::{made, shown},
    wire::{NumberPath, PageQuery, time_of},
};
use crate::{
    domain::{
        refusal::{FieldProblem, Refusal},
        reservation::State as Stage,
        words::ReservationNumber,
    },
    service::{DraftInput, List, ProgramEditInput, ReservationView, Seal},
    store::ReservationFilter,
};

/// The addresses of this room.
pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default()
        .routes(routes!(reservations, book))
        .routes(routes!(reservation, change))
        .routes(routes!(accept_terms))
        .routes(routes!(reissue_id))
        .routes(routes!(reconfirm))
        .routes(routes!(pay))
        .routes(routes!(settings))
        .routes(routes!(cancel))
        .routes(routes!(extend))
        .routes(routes!(end))
}

/// Which reservations.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ReservationsQuery {
    /// Only in this state.
    #[param(inline)]
    state: Option<Stage>,
    /// Only those whose window ends after this.
    #[param(format = DateTime, max_length = 64)]
    from: Option<String>,
    /// Only those whose window begins before this.
    #[param(format = DateTime, max_length = 64)]
    to: Option<String>,
    /// From 1.
    #[param(minimum = 1, maximum = 1_000_000, default = 1, example = 1)]
    page: Option<u32>,
    /// Items of a page.
    #[param(minimum = 1, maximum = 200, default = 50, example = 50)]
    per_page: Option<u32>,
}

/// My reservations
///
/// Newest start first.
#[utoipa::path(get, path = "/reservations", tag = "Reservations", operation_id = "reservations",
    params(ReservationsQuery),
    responses((status = 200, description = "The member's own.", body = List<ReservationView>)),
    extensions(("x-slotcast" = json!({ "scope": "read" }))))]
async fn reservations(
    State(api): State<Api>,
    caller: Caller,
    Query(query): Query<ReservationsQuery>,
) -> Answer {
    let from = query.from.as_deref().map(|text| time_of("from", text)).transpose()?;
    let to = query.to.as_deref().map(|text| time_of("to", text)).transpose()?;
    let (first, last) = super::wire::time_ends();
    let between = (from.is_some() || to.is_some()).then(|| (from.unwrap_or(first), to.unwrap_or(last)));
    let filter = ReservationFilter {
        member: Some(caller.actor.member),
        between,
        states: query.state.into_iter().collect(),
        newest_first: true,
        ..Default::default()
    };
    let page = PageQuery::new(query.page, query.per_page);
    Ok(Json(api.service().reservations(&caller.actor, filter, page.page()).await?).into_response())
}

/// Book
///
/// Takes the window's slots for the member until the terms are accepted. Next: accept the terms before `hold_until`.
#[utoipa::path(post, path = "/reservations", tag = "Reservations", operation_id = "book",
    request_body = DraftInput,
    responses((status = 201, description = "Held for the member.", body = ReservationView,
        headers(("Location" = String, description = "Where it is."), ("ETag" = String, description = "Its version.")))),
    extensions(("x-slotcast" = json!({ "scope": "book", "headers": ["idempotency-key"],
        "problems": ["not-premium", "email-unverified", "not-found", "no-payment-method", "not-on-slots", "too-long", "in-the-past",
            "too-far-ahead", "slot-taken", "month-limit", "channel-retired", "amount-too-large", "too-many"] }))))]
async fn book(
    State(api): State<Api>,
    caller: Caller,
    Client(client): Client,
    key: IdempotencyKey,
    body: Body<DraftInput>,
) -> Answer {
    let draft = body.value.draft(api.service().rules())?;
    let reservation = api.service().book(&caller.actor, draft, key.of(body.hash), client).await?;
    Ok(made(&api, reservation))
}

const fn number_of(path: &NumberPath) -> ReservationNumber {
    ReservationNumber(path.number)
}

/// One reservation
#[utoipa::path(get, path = "/reservations/{number}", tag = "Reservations", operation_id = "reservation",
    params(NumberPath),
    responses((status = 200, description = "As it is now.", body = ReservationView,
        headers(("ETag" = String, description = "Its version.")))),
    extensions(("x-slotcast" = json!({ "scope": "read" }))))]
async fn reservation(State(api): State<Api>, caller: Caller, Path(path): Path<NumberPath>) -> Answer {
    let reservation = api.service().reservation(&caller.actor, number_of(&path)).await?;
    Ok(shown(&api, reservation))
}

/// Change the program
///
/// Title, genre, outline, details, open level, password, friends, what is shown; what is left out stays. Friends are
/// mailed what changed. Channel and window cannot be changed: cancel and book again.
#[utoipa::path(patch, path = "/reservations/{number}", tag = "Reservations", operation_id = "change",
    params(NumberPath), request_body = ProgramEditInput,
    responses((status = 200, description = "As it is from now on.", body = ReservationView,
        headers(("ETag" = String, description = "Its version.")))),
    extensions(("x-slotcast" = json!({ "scope": "book-read", "headers": ["if-match"], "problems": ["wrong-state"] }))))]
async fn change(
    State(api): State<Api>,
    caller: Caller,
    Path(path): Path<NumberPath>,
    if_match: IfMatch,
    body: Body<ProgramEditInput>,
) -> Answer {
    let edit = body.value.edit()?;
    let current = api.service().reservation(&caller.actor, number_of(&path)).await?;
    let version = if_match.version(current.version)?;
    let changed = api.service().change(&caller.actor, current.number, Some(version), edit).await?;
    Ok(shown(&api, changed))
}

/// What was read.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct AcceptQuery {
    /// SHA-256 of the terms that the member has read, as `GET /terms` gives it: where others count by now, nothing is
    /// accepted.
    #[param(pattern = "^[0-9a-f]{64}$", min_length = 64, max_length = 64)]
    terms: Option<String>,
}

/// Accept the terms
///
/// The reservation ID goes out by mail. Next: reconfirm before `reconfirm_until`.
#[utoipa::path(post, path = "/reservations/{number}/accept-terms", tag = "Reservations",
    operation_id = "accept_terms", params(NumberPath, AcceptQuery),
    responses((status = 200, description = "Registered.", body = ReservationView,
        headers(("ETag" = String, description = "Its version.")))),
    extensions(("x-slotcast" = json!({ "scope": "book", "problems": ["hold-expired", "terms-changed", "wrong-state"] }))))]
async fn accept_terms(
    State(api): State<Api>,
    caller: Caller,
    Path(path): Path<NumberPath>,
    Query(query): Query<AcceptQuery>,
) -> Answer {
    if let Some(read) = &query.terms {
        api.service().check_terms(read)?;
    }
    let reservation = api.service().accept_terms(&caller.actor, number_of(&path)).await?;
    Ok(shown(&api, reservation))
}

/// Have the reservation ID mailed anew
///
/// It is another one; the one before it opens nothing any more.
#[utoipa::path(post, path = "/reservations/{number}/reissue-id", tag = "Reservations",
    operation_id = "reissue_id", params(NumberPath),
    responses((status = 200, description = "Mailed.", body = ReservationView,
        headers(("ETag" = String, description = "Its version.")))),
    extensions(("x-slotcast" = json!({ "scope": "book", "problems": ["wrong-state", "too-many"] }))))]
async fn reissue_id(State(api): State<Api>, caller: Caller, Path(path): Path<NumberPath>) -> Answer {
    let reservation = api.service().reissue_id(&caller.actor, number_of(&path)).await?;
    Ok(shown(&api, reservation))
}

/// The member's second yes.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Reconfirmation, example = json!({ "reservation_id": "7r9kq-2mxw8-tzb4n-vc31d-ha6ey0" }))]
struct ReconfirmBody {
    /// From the mail; case, dashes and spaces do not count.
    #[schema(min_length = 1, max_length = 104)]
    reservation_id: String,
    /// The age recipient (`age1…`) of the terminal, to which settings files are encrypted from now on.
    #[schema(pattern = "@recipient", min_length = 1, max_length = 100)]
    terminal_key: Option<String>,
}

/// Reconfirm
///
/// The amount is authorised, the accounting flag turns yes, friends are invited, the settings file can be fetched.
#[utoipa::path(post, path = "/reservations/{number}/reconfirm", tag = "Reservations",
    operation_id = "reconfirm", params(NumberPath), request_body = ReconfirmBody,
    responses((status = 200, description = "Confirmed.", body = ReservationView,
        headers(("ETag" = String, description = "Its version.")))),
    extensions(("x-slotcast" = json!({ "scope": "book",
        "problems": ["wrong-reservation-id", "reconfirmation-late", "wrong-state", "no-payment-method",
            "amount-too-large", "payment-declined", "card-question", "payment-unavailable", "too-many"] }))))]
async fn reconfirm(
    State(api): State<Api>,
    caller: Caller,
    Path(path): Path<NumberPath>,
    body: Body<ReconfirmBody>,
) -> Answer {
    let body = body.value;
    let reservation = api
        .service()
        .reconfirm(&caller.actor, number_of(&path), &body.reservation_id, body.terminal_key)
        .await?;
    Ok(shown(&api, reservation))
}

/// Pay
///
/// What the member's card was declined for: the amount of a program to come that has to be held again, or what a program
/// cost. It is asked for with the card that the member has now (`PUT /me/premium` gives another), and the card's company
/// may ask first. Where nothing is to be paid, the answer is the reservation as it is.
#[utoipa::path(post, path = "/reservations/{number}/pay", tag = "Reservations",
    operation_id = "pay", params(NumberPath),
    responses((status = 200, description = "Nothing is left to pay.", body = ReservationView,
        headers(("ETag" = String, description = "Its version.")))),
    extensions(("x-slotcast" = json!({ "scope": "book",
        "problems": ["payment-declined", "card-question", "payment-unavailable", "too-many"] }))))]
async fn pay(State(api): State<Api>, caller: Caller, Path(path): Path<NumberPath>) -> Answer {
    let reservation = api.service().pay(&caller.actor, number_of(&path)).await?;
    Ok(shown(&api, reservation))
}

/// How a settings file is handed over.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = SealKind)]
enum SealKind {
    /// As JSON, protected by the connection alone.
    Plain,
    /// Encrypted to an age recipient.
    TerminalKey,
    /// Encrypted by a passphrase.
    Passphrase,
}

/// Which settings file is wanted.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SettingsRequest, example = json!({
    "reservation_id": "7r9kq-2mxw8-tzb4n-vc31d-ha6ey0", "seal": "passphrase",
    "passphrase": "correct horse battery staple",
}))]
struct SettingsBody {
    /// From the mail; case, dashes and spaces do not count.
    #[schema(min_length = 1, max_length = 104)]
    reservation_id: String,
    /// How it is handed over. Left out: by what is given with it, else for the key of the member's terminal where one is
    /// registered, else `plain`.
    seal: Option<SealKind>,
    /// With `terminal_key`: the age recipient; the member's registered one where it is left out.
    #[schema(pattern = "@recipient", min_length = 1, max_length = 100)]
    recipient: Option<String>,
    /// With `passphrase`: 12 to 200 characters.
    #[schema(pattern = "@password", min_length = 12, max_length = 200)]
    passphrase: Option<String>,
}

/// Fetch the settings file
///
/// All that the broadcaster's program needs: `plain` as JSON, else armored age (`age -d` opens it). Confirmed
/// reservations have one.
#[utoipa::path(post, path = "/reservations/{number}/settings", tag = "Reservations",
    operation_id = "settings", params(NumberPath), request_body = SettingsBody,
    responses((status = 200, description = "The file.", content(
        (serde_json::Value = "application/json"), (String = "application/octet-stream")))),
    extensions(("x-slotcast" = json!({ "scope": "broadcast",
        "problems": ["wrong-reservation-id", "wrong-state", "too-many"] }))))]
async fn settings(
    State(api): State<Api>,
    caller: Caller,
    Path(path): Path<NumberPath>,
    body: Body<SettingsBody>,
) -> Answer {
    let body = body.value;
    let (actor, number) = (&caller.actor, number_of(&path));
    let kind = match body.seal {
        Some(kind) => kind,
        None if body.passphrase.is_some() => SealKind::Passphrase,
        None if body.recipient.is_some() => SealKind::TerminalKey,
        None if api.service().me(actor).await?.terminal_key.is_some() => SealKind::TerminalKey,
        None => SealKind::Plain,
    };
    // What would be left aside was meant to protect the file.
    let seal = match (kind, body.recipient, body.passphrase) {
        (SealKind::Plain, None, None) => {
            let file = api.service().settings_plain(actor, number, &body.reservation_id).await?;
            return Ok(Json(file).into_response());
        }
        (SealKind::TerminalKey, recipient, None) => Seal::Recipient(recipient),
        (SealKind::Passphrase, None, Some(passphrase)) => Seal::Passphrase(passphrase),
        (SealKind::Passphrase, None, None) => {
            return Err(
                Refusal::from(FieldProblem::new("passphrase", "12 to 200 characters", "12~200文字")).into()
            );
        }
        (SealKind::Plain | SealKind::TerminalKey, _, Some(_)) => {
            return Err(Refusal::from(FieldProblem::new(
                "passphrase",
                "nothing, unless `seal` is `passphrase`",
                "`seal` が `passphrase` のときだけ指定",
            ))
            .into());
        }
        (SealKind::Plain | SealKind::Passphrase, Some(_), _) => {
            return Err(Refusal::from(FieldProblem::new(
                "recipient",
                "nothing, unless `seal` is `terminal_key`",
                "`seal` が `terminal_key` のときだけ指定",
            ))
            .into());
        }
    };
    let file = api.service().settings_file(actor, number, &body.reservation_id, seal).await?;
    let disposition = HeaderValue::from_str(&format!("attachment; filename=\"{}\"", file.name))
        .map_err(|_| Refusal::Internal)?;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
        (header::CONTENT_DISPOSITION, disposition),
    ];
    Ok((headers, file.bytes).into_response())
}

/// Cancel
///
/// Free before the reconfirmation, charged after it. Friends are mailed.
#[utoipa::path(post, path = "/reservations/{number}/cancel", tag = "Reservations",
    operation_id = "cancel", params(NumberPath),
    responses((status = 200, description = "Cancelled.", body = ReservationView,
        headers(("ETag" = String, description = "Its version.")))),
    extensions(("x-slotcast" = json!({ "scope": "book", "headers": ["maybe-if-match"],
        "problems": ["wrong-state"] }))))]
async fn cancel(
    State(api): State<Api>,
    caller: Caller,
    Path(path): Path<NumberPath>,
    if_match: MaybeIfMatch,
) -> Answer {
    let number = number_of(&path);
    let version = match if_match.0 {
        Some(if_match) => {
            let current = api.service().reservation(&caller.actor, number).await?;
            Some(if_match.version(current.version)?)
        }
        None => None,
    };
    let reservation = api.service().cancel(&caller.actor, number, version).await?;
    Ok(shown(&api, reservation))
}

/// How much longer.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ExtensionRequest, example = json!({ "slots": 1 }))]
struct ExtendBody {
    /// Slots that are added at the end.
    #[schema(minimum = 1, maximum = 1000)]
    slots: u32,
}

/// Extend
///
/// From 10 minutes before the end, where the next slots are free. Charged like any slot.
#[utoipa::path(post, path = "/reservations/{number}/extend", tag = "On air",
    operation_id = "extend", params(NumberPath), request_body = ExtendBody,
    responses((status = 200, description = "Longer.", body = ReservationView,
        headers(("ETag" = String, description = "Its version.")))),
    extensions(("x-slotcast" = json!({ "scope": "broadcast", "headers": ["idempotency-key"],
        "problems": ["wrong-state", "extension-early", "slot-taken", "too-long", "not-on-slots", "month-limit",
            "no-payment-method", "amount-too-large", "payment-declined", "card-question", "payment-unavailable"] }))))]
async fn extend(
    State(api): State<Api>,
    caller: Caller,
    Path(path): Path<NumberPath>,
    key: IdempotencyKey,
    body: Body<ExtendBody>,
) -> Answer {
    let idempotency = key.of(body.hash);
    let reservation =
        api.service().extend(&caller.actor, number_of(&path), body.value.slots, idempotency).await?;
    Ok(shown(&api, reservation))
}

/// End early
///
/// Viewers are cut at once. It is charged in full; where an operator ends somebody else's, it is cancelled and costs nothing.
#[utoipa::path(post, path = "/reservations/{number}/end", tag = "On air",
    operation_id = "end", params(NumberPath),
    responses((status = 200, description = "Over.", body = ReservationView,
        headers(("ETag" = String, description = "Its version.")))),
    extensions(("x-slotcast" = json!({ "scope": "broadcast", "problems": ["wrong-state"] }))))]
async fn end(State(api): State<Api>, caller: Caller, Path(path): Path<NumberPath>) -> Answer {
    let reservation = api.service().end_early(&caller.actor, number_of(&path)).await?;
    Ok(shown(&api, reservation))
}
