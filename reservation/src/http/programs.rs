//! What anybody may see: today's live, the program guide, a program's page, what the operator recommends.
//!
//! Invariant: secret programs appear in none of it but for their owner and operators.

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Api,
    auth::{Caller, MaybeCaller},
    extract::{Path, Query},
    problem::Answer,
    wire::{NumberPath, date_of, month_of, zone_of},
};
use crate::{
    domain::{refusal::Refusal, words::ReservationNumber},
    service::{GuideDay, GuidePart, List, Listing, PickedProgram},
};

/// The addresses of this room.
pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default()
        .routes(routes!(today))
        .routes(routes!(guide))
        .routes(routes!(guide_calendar))
        .routes(routes!(feed))
        .routes(routes!(program))
        .routes(routes!(pickups))
}

/// Today's live
///
/// Special programs first, then private ones, each by start; today is the provider's.
#[utoipa::path(get, path = "/today", tag = "Programs", operation_id = "today",
    responses((status = 200, description = "As of now.", body = List<Listing>)),
    extensions(("x-slotcast" = json!({ "scope": "maybe" }))))]
async fn today(State(api): State<Api>, MaybeCaller(actor): MaybeCaller) -> Answer {
    Ok(Json(List::whole(api.service().today(actor.as_ref()).await?)).into_response())
}

/// Which part of the guide.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct GuideQuery {
    /// One day; not with `month`.
    #[param(format = Date, max_length = 10, example = "2026-11-25")]
    day: Option<String>,
    /// One month; this one where neither is given.
    #[param(pattern = "@month", min_length = 7, max_length = 7)]
    month: Option<String>,
    /// IANA time zone whose days are meant; the provider's where it is left out.
    #[param(example = "Europe/Berlin")]
    zone: Option<String>,
}

/// The program guide
///
/// A month's programs by day, or those of one day. With `If-None-Match` it is sent only where it has changed.
#[utoipa::path(get, path = "/guide", tag = "Programs", operation_id = "guide",
    params(GuideQuery),
    responses(
        (status = 200, description = "Days, each with its programs by start.", body = List<GuideDay>,
            headers(("ETag" = String, description = "Of this content."))),
        (status = 304, description = "Not changed.")),
    extensions(("x-slotcast" = json!({ "scope": "maybe", "problems": ["no-such-address"] }))))]
async fn guide(
    State(api): State<Api>,
    MaybeCaller(actor): MaybeCaller,
    headers: HeaderMap,
    Query(query): Query<GuideQuery>,
) -> Answer {
    let zone = zone_of(query.zone.as_deref())?;
    let part = match (query.day, query.month) {
        (Some(day), _) => GuidePart::Day(date_of(&day)?),
        (None, Some(month)) => GuidePart::Month(month_of(&month)?),
        (None, None) => GuidePart::Month(this_month(&api)),
    };
    // Before anything is listed: most who ask again have it already.
    let tag = api.service().guide_tag(actor.as_ref(), part, zone.clone()).await?;
    if let Some(unchanged) = unchanged(&headers, &tag) {
        return Ok(unchanged);
    }
    let days = match part {
        GuidePart::Day(date) => {
            let programs = api.service().guide_day(actor.as_ref(), date, zone).await?;
            vec![GuideDay { date, programs }]
        }
        GuidePart::Month(month) => api.service().guide_month(actor.as_ref(), month, zone).await?,
    };
    let body = List::whole(days);
    let text = serde_json::to_string(&body).map_err(|_| Refusal::Internal)?;
    Ok(tagged(&tag, "application/json", text))
}

/// The provider's month.
fn this_month(api: &Api) -> (i16, i8) {
    let now = jiff::Timestamp::from_microsecond(api.service().now().as_micros()).unwrap_or_default();
    let today = now.to_zoned(api.service().rules().zone.clone()).date();
    (today.year(), today.month())
}

/// The whole text, or 304 where the asker has it already.
fn conditional(headers: &HeaderMap, media_type: &'static str, text: String) -> Response {
    let hash = Sha256::digest(text.as_bytes());
    let tag: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    unchanged(headers, &tag).unwrap_or_else(|| tagged(&tag, media_type, text))
}

/// 304 where the asker has what bears that tag already (RFC 9110 §13.1.2).
fn unchanged(headers: &HeaderMap, tag: &str) -> Option<Response> {
    let quoted = format!("\"{tag}\"");
    let has_it = headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(
            |known| matches!(known.trim().trim_start_matches("W/"), known if known == quoted || known == "*"),
        );
    has_it.then(|| (StatusCode::NOT_MODIFIED, tag_headers(tag)).into_response())
}

fn tag_headers(tag: &str) -> [(HeaderName, HeaderValue); 3] {
    let tag = HeaderValue::try_from(format!("\"{tag}\"")).unwrap_or(HeaderValue::from_static("\"\""));
    [
        (header::ETAG, tag),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (header::VARY, HeaderValue::from_static("Accept")),
    ]
}

fn tagged(tag: &str, media_type: &'static str, text: String) -> Response {
    (tag_headers(tag), [(header::CONTENT_TYPE, HeaderValue::from_static(media_type))], text).into_response()
}

/// Which month.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct CalendarQuery {
    /// This one where it is left out.
    #[param(pattern = "@month", min_length = 7, max_length = 7, example = "2026-11")]
    month: Option<String>,
    /// What opens it as a member sees it, from `GET /me/feed`.
    #[param(pattern = "@feed", max_length = 64)]
    feed: Option<String>,
}

/// The program guide as a calendar
///
/// iCalendar (RFC 5545): a calendar program can subscribe to it.
#[utoipa::path(get, path = "/guide.ics", tag = "Programs", operation_id = "guide_calendar",
    params(CalendarQuery),
    responses(
        (status = 200, description = "One event for each program.", body = String, content_type = "text/calendar",
            headers(("ETag" = String, description = "Of this content."))),
        (status = 304, description = "Not changed.")),
    extensions(("x-slotcast" = json!({ "problems": ["not-found", "no-such-address"] }))))]
async fn guide_calendar(
    State(api): State<Api>,
    headers: HeaderMap,
    Query(query): Query<CalendarQuery>,
) -> Answer {
    let (year, month) = match query.month {
        Some(month) => month_of(&month)?,
        None => this_month(&api),
    };
    let text = api.service().guide_calendar(query.feed.as_deref(), year, month).await?;
    Ok(conditional(&headers, "text/calendar; charset=utf-8", text))
}

/// Where a calendar program finds the guide as this member sees it.
#[derive(Serialize, ToSchema)]
#[schema(as = Feed)]
struct FeedBody {
    /// Whoever knows it sees what members see: keep it to yourself. A change of the password ends it.
    address: String,
}

/// My calendar's address
///
/// Calendar programs cannot log in: where public programs are for members only, they find the guide there.
#[utoipa::path(get, path = "/me/feed", tag = "My account", operation_id = "feed",
    responses((status = 200, description = "The address.", body = FeedBody)),
    extensions(("x-slotcast" = json!({ "scope": "read" }))))]
async fn feed(State(api): State<Api>, caller: Caller) -> Answer {
    let feed = api.service().calendar_feed(&caller.actor).await?;
    let address = format!("{}/api/v1/guide.ics?feed={feed}", api.edge().settings().base_url);
    Ok(Json(FeedBody { address }).into_response())
}

/// A program's page
///
/// With OPEN or CLOSE as of now.
#[utoipa::path(get, path = "/programs/{number}", tag = "Programs", operation_id = "program",
    params(NumberPath),
    responses((status = 200, description = "As of now.", body = Listing)),
    extensions(("x-slotcast" = json!({ "scope": "maybe" }))))]
async fn program(
    State(api): State<Api>,
    MaybeCaller(actor): MaybeCaller,
    Path(path): Path<NumberPath>,
) -> Answer {
    let listing = api.service().program(actor.as_ref(), ReservationNumber(path.number)).await?;
    Ok(Json(listing).into_response())
}

/// Program pickup
///
/// What the operator recommends, by position.
#[utoipa::path(get, path = "/pickups", tag = "Programs", operation_id = "pickups",
    responses((status = 200, description = "By position.", body = List<PickedProgram>)),
    extensions(("x-slotcast" = json!({ "scope": "maybe" }))))]
async fn pickups(State(api): State<Api>, MaybeCaller(actor): MaybeCaller) -> Answer {
    let pickups = api.service().pickups(actor.as_ref()).await?;
    Ok(Json(List::whole(pickups)).into_response())
}
