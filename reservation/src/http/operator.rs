//! What operators do: channels, special programs, the pickup, members, viewers and links, the ledger; and the payment
//! company's notices.

use std::time::Duration;

use axum::{
    Json,
    body::Body as RawBody,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::IntoResponse,
};
use futures_util::{StreamExt as _, future::ready, stream};
use serde::Deserialize;
use slotcast_core::{
    time::WallTime,
    words::{BitRate, ChannelNumber, Seats, Toll},
};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Api,
    auth::Caller,
    channels,
    extract::{Body, IdempotencyKey, IfMatch, MaybeIfMatch, Path, Query, RawBytes},
    members::shown,
    problem::{Answer, Problem},
    reservation,
    wire::{ChannelPath, NumberPath, PageQuery, time_of},
};
use crate::{
    domain::{
        member::{Member, MemberKind},
        refusal::{FieldProblem, Refusal, Thing},
        reservation::State as Stage,
        words::{MemberNumber, ReservationNumber},
    },
    service::{
        ChannelEdit, ChannelView, DraftInput, LedgerView, List, OperatorEdit, ReservationView, ServiceError,
    },
    store::{Pickup, ReservationFilter},
    streaming::Viewer,
};

/// The addresses of this room.
pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default()
        .routes(routes!(put_channel))
        .routes(routes!(retire_channel))
        .routes(routes!(book_special))
        .routes(routes!(put_pickup, end_pickup))
        .routes(routes!(members))
        .routes(routes!(member, edit_member))
        .routes(routes!(all_reservations))
        .routes(routes!(operator_cancel))
        .routes(routes!(viewers))
        .routes(routes!(kick_viewer))
        .routes(routes!(kick_link))
        .routes(routes!(ledger))
        .routes(routes!(ledger_csv))
        .routes(routes!(webhook))
}

/// A channel as the operator wants it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ChannelEdit, example = json!({
    "name": "channel1", "seats": 5, "bandwidth_class": 28800, "toll": 1000, "gather_ms": 20,
}))]
struct ChannelEditBody {
    /// Under which it is found in addresses; unique: letters, digits, '.', '_' or '-'.
    #[schema(pattern = "@channel-name", min_length = 1, max_length = 64)]
    name: String,
    /// How many viewers at once.
    #[schema(minimum = 1, maximum = 1_048_575)]
    seats: u32,
    /// The bit rate that it may carry, in bits per second.
    #[schema(minimum = 1, maximum = 1_000_000_000_000_i64)]
    bandwidth_class: u64,
    /// The price of one slot, in minor units.
    #[schema(minimum = 0, maximum = 1_000_000_000_000_000_i64)]
    toll: u64,
    /// How long sound may wait for the next picture, so that one send carries both; in milliseconds, 0: not at all. Left
    /// out, it stays as it is; a new channel has 20.
    #[schema(minimum = 0, maximum = 100)]
    gather_ms: Option<u64>,
}

impl ChannelEditBody {
    fn edit(&self, number: ChannelNumber) -> Answer<ChannelEdit> {
        Ok(ChannelEdit {
            number,
            name: self.name.parse().map_err(|_| field("name", "1 to 64 letters, digits, '.', '_' or '-'"))?,
            seats: Seats::new(self.seats).map_err(|_| field("seats", "1 to 1048575"))?,
            class: BitRate::new(self.bandwidth_class).map_err(|_| field("bandwidth_class", "1 to 10^12"))?,
            toll: Toll(self.toll),
            gather: self.gather_ms.map(Duration::from_millis),
        })
    }
}

fn field(name: &'static str, expected: &'static str) -> Problem {
    Refusal::from(FieldProblem::new(name, expected, expected)).into()
}

/// Add or change a channel
///
/// A number that is not there yet is added; one that is there is changed and needs `If-Match`. What is reserved stays
/// as booked.
#[utoipa::path(put, path = "/operator/channels/{number}", tag = "Operator", operation_id = "put_channel",
    params(ChannelPath), request_body = ChannelEditBody,
    responses(
        (status = 200, description = "Changed.", body = ChannelView,
            headers(("ETag" = String, description = "Its version."))),
        (status = 201, description = "Added.", body = ChannelView,
            headers(("ETag" = String, description = "Its version.")))),
    extensions(("x-slotcast" = json!({ "scope": "sell", "headers": ["maybe-if-match"],
        "problems": ["exists", "uplink-sold", "channel-name-in-use", "if-match-required"] }))))]
async fn put_channel(
    State(api): State<Api>,
    caller: Caller,
    Path(path): Path<ChannelPath>,
    if_match: MaybeIfMatch,
    body: Body<ChannelEditBody>,
) -> Answer {
    let number = ChannelNumber(path.number);
    let edit = body.value.edit(number)?;
    let (version, status) = match api.service().channel(number).await {
        Ok(current) => {
            let if_match = if_match.0.ok_or(Refusal::NoIfMatch)?;
            (Some(if_match.version(current.version)?), StatusCode::OK)
        }
        Err(ServiceError::Refused(Refusal::NotFound(_))) if if_match.0.is_some() => {
            return Err(Refusal::Stale { version: 0 }.into());
        }
        Err(ServiceError::Refused(Refusal::NotFound(_))) => (None, StatusCode::CREATED),
        Err(error) => return Err(error.into()),
    };
    let channel = api.service().put_channel(&caller.actor, edit, version).await?;
    Ok((status, channels::shown(&api.service().channel_view(&channel))).into_response())
}

/// Sell a channel no more
///
/// What is reserved on it stays.
#[utoipa::path(post, path = "/operator/channels/{number}/retire", tag = "Operator",
    operation_id = "retire_channel", params(ChannelPath),
    responses((status = 200, description = "Not sold any more.", body = ChannelView,
        headers(("ETag" = String, description = "Its version.")))),
    extensions(("x-slotcast" = json!({ "scope": "sell", "headers": ["maybe-if-match"] }))))]
async fn retire_channel(
    State(api): State<Api>,
    caller: Caller,
    Path(path): Path<ChannelPath>,
    if_match: MaybeIfMatch,
) -> Answer {
    let number = ChannelNumber(path.number);
    let version = match if_match.0 {
        Some(if_match) => Some(if_match.version(api.service().channel(number).await?.version)?),
        None => None,
    };
    let channel = api.service().retire_channel(&caller.actor, number, version).await?;
    Ok(channels::shown(&api.service().channel_view(&channel)))
}

/// Book a special program
///
/// The operator's own or a company's: confirmed at once, without toll, limit or terms.
#[utoipa::path(post, path = "/operator/programs", tag = "Operator", operation_id = "book_special",
    request_body = DraftInput,
    responses((status = 201, description = "Confirmed.", body = ReservationView,
        headers(("Location" = String, description = "Where it is."), ("ETag" = String, description = "Its version.")))),
    extensions(("x-slotcast" = json!({ "scope": "sell", "headers": ["idempotency-key"],
        "problems": ["not-found", "not-on-slots", "too-long", "in-the-past", "too-far-ahead", "slot-taken",
            "channel-retired"] }))))]
async fn book_special(
    State(api): State<Api>,
    caller: Caller,
    key: IdempotencyKey,
    body: Body<DraftInput>,
) -> Answer {
    let draft = body.value.draft(api.service().rules())?;
    let reservation = api.service().book_special(&caller.actor, draft, key.of(body.hash)).await?;
    Ok(reservation::made(&api, reservation))
}

/// Why a program is recommended.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Pickup, example = json!({ "note": "Not to be missed.", "position": 1 }))]
struct PickupEditBody {
    /// In the operator's words, on one line.
    #[serde(default)]
    #[schema(pattern = "@line", max_length = 200)]
    note: String,
    /// Lower ones come first.
    #[schema(minimum = 0, maximum = 1000)]
    position: i32,
}

/// Recommend a program
#[utoipa::path(put, path = "/operator/pickups/{number}", tag = "Operator", operation_id = "put_pickup",
    params(NumberPath), request_body = PickupEditBody,
    responses((status = 204, description = "Recommended.")),
    extensions(("x-slotcast" = json!({ "scope": "sell" }))))]
async fn put_pickup(
    State(api): State<Api>,
    caller: Caller,
    Path(path): Path<NumberPath>,
    body: Body<PickupEditBody>,
) -> Answer {
    let body = body.value;
    let reservation = ReservationNumber(path.number);
    let pickup = Pickup { reservation, note: body.note, position: body.position };
    api.service().put_pickup(&caller.actor, pickup).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Recommend it no more
#[utoipa::path(delete, path = "/operator/pickups/{number}", tag = "Operator", operation_id = "end_pickup",
    params(NumberPath),
    responses((status = 204, description = "Not recommended any more.")),
    extensions(("x-slotcast" = json!({ "scope": "sell" }))))]
async fn end_pickup(State(api): State<Api>, caller: Caller, Path(path): Path<NumberPath>) -> Answer {
    api.service().end_pickup(&caller.actor, ReservationNumber(path.number)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Members
///
/// By user ID.
#[utoipa::path(get, path = "/operator/members", tag = "Operator", operation_id = "members",
    params(PageQuery),
    responses((status = 200, description = "By user ID.", body = List<Member>)),
    extensions(("x-slotcast" = json!({ "scope": "moderate" }))))]
async fn members(State(api): State<Api>, caller: Caller, Query(query): Query<PageQuery>) -> Answer {
    Ok(Json(api.service().members(&caller.actor, query.page()).await?).into_response())
}

/// One member
#[utoipa::path(get, path = "/operator/members/{number}", tag = "Operator", operation_id = "member",
    params(NumberPath),
    responses((status = 200, description = "The member.", body = Member,
        headers(("ETag" = String, description = "Its version.")))),
    extensions(("x-slotcast" = json!({ "scope": "moderate" }))))]
async fn member(State(api): State<Api>, caller: Caller, Path(path): Path<NumberPath>) -> Answer {
    Ok(shown(&api.service().member(&caller.actor, MemberNumber(path.number)).await?))
}

/// What an operator changes of a member; what is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = OperatorEdit, example = json!({ "is_blocked": true }))]
struct OperatorEditBody {
    kind: Option<MemberKind>,
    /// Whether it runs the server.
    is_operator: Option<bool>,
    /// Whether it is shut out: its sessions and tokens end.
    is_blocked: Option<bool>,
}

/// Change a member
#[utoipa::path(patch, path = "/operator/members/{number}", tag = "Operator", operation_id = "edit_member",
    params(NumberPath), request_body = OperatorEditBody,
    responses((status = 200, description = "As the member is from now on.", body = Member,
        headers(("ETag" = String, description = "Its version.")))),
    extensions(("x-slotcast" = json!({ "scope": "moderate", "headers": ["if-match"],
        "problems": ["own-rights", "no-payment-method"] }))))]
async fn edit_member(
    State(api): State<Api>,
    caller: Caller,
    Path(path): Path<NumberPath>,
    if_match: IfMatch,
    body: Body<OperatorEditBody>,
) -> Answer {
    let number = MemberNumber(path.number);
    let current = api.service().member(&caller.actor, number).await?;
    let version = if_match.version(current.version)?;
    let edit = OperatorEdit {
        kind: body.value.kind,
        is_operator: body.value.is_operator,
        is_blocked: body.value.is_blocked,
    };
    Ok(shown(&api.service().edit_member(&caller.actor, number, Some(version), edit).await?))
}

/// Which reservations of all members.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct AllReservationsQuery {
    /// Only this member's.
    #[param(minimum = 1, maximum = 9_007_199_254_740_991_i64)]
    member: Option<i64>,
    /// Only on this channel.
    #[param(minimum = 0, maximum = 65535)]
    channel: Option<u16>,
    /// Only in this state.
    #[param(inline)]
    state: Option<Stage>,
    /// From 1.
    #[param(minimum = 1, maximum = 1_000_000, default = 1)]
    page: Option<u32>,
    /// Items of a page.
    #[param(minimum = 1, maximum = 200, default = 50)]
    per_page: Option<u32>,
}

/// All reservations
///
/// Newest start first.
#[utoipa::path(get, path = "/operator/reservations", tag = "Operator", operation_id = "all_reservations",
    params(AllReservationsQuery),
    responses((status = 200, description = "Of all members.", body = List<ReservationView>)),
    extensions(("x-slotcast" = json!({ "scope": "any-operator" }))))]
async fn all_reservations(
    State(api): State<Api>,
    caller: Caller,
    Query(query): Query<AllReservationsQuery>,
) -> Answer {
    let filter = ReservationFilter {
        member: query.member.map(MemberNumber),
        channel: query.channel.map(ChannelNumber),
        states: query.state.into_iter().collect(),
        newest_first: true,
        ..Default::default()
    };
    let page = PageQuery::new(query.page, query.per_page);
    Ok(Json(api.service().all_reservations(&caller.actor, filter, page.page()).await?).into_response())
}

/// Cancel anybody's reservation
///
/// Nobody owes anything. The member and invited friends are mailed.
#[utoipa::path(post, path = "/operator/reservations/{number}/cancel", tag = "Operator",
    operation_id = "operator_cancel", params(NumberPath),
    responses((status = 200, description = "Cancelled.", body = ReservationView,
        headers(("ETag" = String, description = "Its version.")))),
    extensions(("x-slotcast" = json!({ "scope": "moderate", "headers": ["maybe-if-match"],
        "problems": ["wrong-state"] }))))]
async fn operator_cancel(
    State(api): State<Api>,
    caller: Caller,
    Path(path): Path<NumberPath>,
    if_match: MaybeIfMatch,
) -> Answer {
    let number = ReservationNumber(path.number);
    let version = match if_match.0 {
        Some(if_match) => {
            let current = api.service().reservation(&caller.actor, number).await?;
            Some(if_match.version(current.version)?)
        }
        None => None,
    };
    let reservation = api.service().operator_cancel(&caller.actor, number, version).await?;
    Ok(reservation::shown(&api, reservation))
}

/// Who watches
#[utoipa::path(get, path = "/operator/programs/{number}/viewers", tag = "Operator", operation_id = "viewers",
    params(NumberPath),
    responses((status = 200, description = "As of now.", body = List<Viewer>)),
    extensions(("x-slotcast" = json!({ "scope": "moderate" }))))]
async fn viewers(State(api): State<Api>, caller: Caller, Path(path): Path<NumberPath>) -> Answer {
    let viewers = api.service().viewers(&caller.actor, ReservationNumber(path.number)).await?;
    Ok(Json(List::whole(viewers)).into_response())
}

/// A viewer of a program.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct ViewerPath {
    /// The program's number.
    #[param(minimum = 1, maximum = 9_007_199_254_740_991_i64)]
    number: i64,
    /// The viewer's, as it is listed.
    #[param(pattern = "@digits", min_length = 1, max_length = 20)]
    id: String,
}

/// Why somebody is sent away.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Kick, example = json!({ "reason": "asked by the broadcaster" }))]
struct KickBody {
    /// On one line; it is told where the protocol can, and logged.
    #[schema(pattern = "@text", min_length = 1, max_length = 200)]
    reason: String,
}

/// Send a viewer away
#[utoipa::path(post, path = "/operator/programs/{number}/viewers/{id}/kick", tag = "Operator",
    operation_id = "kick_viewer", params(ViewerPath), request_body = KickBody,
    responses((status = 204, description = "Its session is over.")),
    extensions(("x-slotcast" = json!({ "scope": "moderate" }))))]
async fn kick_viewer(
    State(api): State<Api>,
    caller: Caller,
    Path(path): Path<ViewerPath>,
    body: Body<KickBody>,
) -> Answer {
    let viewer = path.id.parse().map_err(|_| Refusal::NotFound(Thing::Viewer))?;
    let number = ReservationNumber(path.number);
    api.service().kick_viewer(&caller.actor, number, viewer, &body.value.reason).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Close a program's link
///
/// The broadcaster may connect again.
#[utoipa::path(post, path = "/operator/programs/{number}/link/kick", tag = "Operator",
    operation_id = "kick_link", params(NumberPath), request_body = KickBody,
    responses((status = 204, description = "Closed.")),
    extensions(("x-slotcast" = json!({ "scope": "moderate" }))))]
async fn kick_link(
    State(api): State<Api>,
    caller: Caller,
    Path(path): Path<NumberPath>,
    body: Body<KickBody>,
) -> Answer {
    let number = ReservationNumber(path.number);
    api.service().kick_link(&caller.actor, number, &body.value.reason).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Which part of the ledger.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct LedgerQuery {
    /// First moment; the beginning where it is left out.
    #[param(format = DateTime, max_length = 64, example = "2026-11-01T00:00:00Z")]
    from: Option<String>,
    /// First moment that is not meant; the end where it is left out.
    #[param(format = DateTime, max_length = 64, example = "2026-12-01T00:00:00Z")]
    to: Option<String>,
    /// From 1.
    #[param(minimum = 1, maximum = 1_000_000, default = 1)]
    page: Option<u32>,
    /// Items of a page.
    #[param(minimum = 1, maximum = 200, default = 50)]
    per_page: Option<u32>,
}

/// Which part of the ledger, all at once.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ExportQuery {
    /// First moment; the beginning where it is left out.
    #[param(format = DateTime, max_length = 64, example = "2026-11-01T00:00:00Z")]
    from: Option<String>,
    /// First moment that is not meant; the end where it is left out.
    #[param(format = DateTime, max_length = 64, example = "2026-12-01T00:00:00Z")]
    to: Option<String>,
}

fn span(from: Option<&str>, to: Option<&str>) -> Answer<(WallTime, WallTime)> {
    let (first, last) = super::wire::time_ends();
    let from = from.map(|text| time_of("from", text)).transpose()?;
    let to = to.map(|text| time_of("to", text)).transpose()?;
    Ok((from.unwrap_or(first), to.unwrap_or(last)))
}

/// The ledger
///
/// In the order of posting.
#[utoipa::path(get, path = "/operator/ledger", tag = "Operator", operation_id = "ledger",
    params(LedgerQuery),
    responses((status = 200, description = "In the order of posting.", body = List<LedgerView>)),
    extensions(("x-slotcast" = json!({ "scope": "ledger" }))))]
async fn ledger(State(api): State<Api>, caller: Caller, Query(query): Query<LedgerQuery>) -> Answer {
    let (from, to) = span(query.from.as_deref(), query.to.as_deref())?;
    let page = PageQuery::new(query.page, query.per_page);
    Ok(Json(api.service().ledger(&caller.actor, from, to, page.page()).await?).into_response())
}

/// The ledger as CSV
///
/// RFC 4180, amounts in minor units beside their currency.
#[utoipa::path(get, path = "/operator/ledger.csv", tag = "Operator", operation_id = "ledger_csv",
    params(ExportQuery),
    responses((status = 200, description = "All of it.", body = String, content_type = "text/csv")),
    extensions(("x-slotcast" = json!({ "scope": "ledger" }))))]
async fn ledger_csv(State(api): State<Api>, caller: Caller, Query(query): Query<ExportQuery>) -> Answer {
    let (actor, span) = (caller.actor, span(query.from.as_deref(), query.to.as_deref())?);
    let (first, after) = api.service().ledger_csv(&actor, span, None).await?;
    // The rest is read as it is taken: however long the ledger is, a part of it is held at a time.
    let rest = stream::try_unfold(after, move |after| {
        let service = api.service().clone();
        async move {
            let Some(after) = after else { return Ok::<_, ServiceError>(None) };
            Ok(Some(service.ledger_csv(&actor, span, Some(after)).await?))
        }
    });
    let body = RawBody::from_stream(stream::once(ready(Ok(first))).chain(rest));
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8; header=present")),
        (header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment; filename=\"ledger.csv\"")),
    ];
    Ok((headers, body).into_response())
}

/// Hear the payment company
///
/// Its webhook: signed by it (`Stripe-Signature`), repeated by it until it is answered.
#[utoipa::path(post, path = "/payments/webhook", tag = "Payments", operation_id = "webhook",
    params(("Stripe-Signature" = Option<String>, Header, description = "The company's signature of the body.")),
    request_body(content = serde_json::Value, content_type = "application/json"),
    responses((status = 204, description = "Heard.")),
    extensions(("x-slotcast" = json!({ "raw": true,
        "problems": ["not-found", "payment-unavailable"] }))))]
async fn webhook(State(api): State<Api>, headers: HeaderMap, body: RawBytes) -> Answer {
    let signature = headers.get("stripe-signature").and_then(|value| value.to_str().ok());
    api.service().notice(signature.unwrap_or_default(), &body.0).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
