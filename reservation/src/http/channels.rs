//! Channels, their free and taken times, what a window costs, the terms, the provider's time.

use axum::{
    Json,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use slotcast_core::words::ChannelNumber;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Api,
    auth::MaybeCaller,
    extract::{Path, Query},
    problem::{Answer, etag},
    wire::{
        ChannelDatePath, ChannelPath, DatePath, MonthPath, ZoneQuery, date_of, month_of, time_of, zone_of,
    },
};
use crate::service::{ChannelView, Day, List, Month, ProviderTime, QuoteAnswer, hex, inputs};

/// The addresses of this room.
pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default()
        .routes(routes!(channels))
        .routes(routes!(channel))
        .routes(routes!(channel_day))
        .routes(routes!(day))
        .routes(routes!(month))
        .routes(routes!(quote))
        .routes(routes!(terms))
        .routes(routes!(time))
}

/// A channel with its version as entity tag.
pub(super) fn shown(channel: &ChannelView) -> Response {
    ([(header::ETAG, etag(channel.version))], Json(channel)).into_response()
}

/// Channels
///
/// Every channel that is sold, by number.
#[utoipa::path(get, path = "/channels", tag = "Channels", operation_id = "channels",
    responses((status = 200, description = "By number.", body = List<ChannelView>)))]
async fn channels(State(api): State<Api>) -> Answer {
    let channels = api.service().channels().await?;
    let items = channels.iter().map(|channel| api.service().channel_view(channel)).collect();
    Ok(Json(List::whole(items)).into_response())
}

/// One channel
#[utoipa::path(get, path = "/channels/{number}", tag = "Channels", operation_id = "channel",
    params(ChannelPath),
    responses((status = 200, description = "Sold or retired.", body = ChannelView,
        headers(("ETag" = String, description = "Its version.")))))]
async fn channel(State(api): State<Api>, Path(path): Path<ChannelPath>) -> Answer {
    let channel = api.service().channel(ChannelNumber(path.number)).await?;
    Ok(shown(&api.service().channel_view(&channel)))
}

/// A day of one channel
#[utoipa::path(get, path = "/channels/{number}/days/{date}", tag = "Channels", operation_id = "channel_day",
    params(ChannelDatePath, ZoneQuery),
    responses((status = 200, description = "Its free and taken times.", body = Day)))]
async fn channel_day(
    State(api): State<Api>,
    Path(path): Path<ChannelDatePath>,
    Query(query): Query<ZoneQuery>,
) -> Answer {
    let (date, zone) = (date_of(&path.date)?, zone_of(query.zone.as_deref())?);
    let day = api.service().day(date, zone, Some(ChannelNumber(path.number))).await?;
    Ok(Json(day).into_response())
}

/// A day of all channels
#[utoipa::path(get, path = "/days/{date}", tag = "Channels", operation_id = "day",
    params(DatePath, ZoneQuery),
    responses((status = 200, description = "Free and taken times.", body = Day)))]
async fn day(State(api): State<Api>, Path(path): Path<DatePath>, Query(query): Query<ZoneQuery>) -> Answer {
    let day = api.service().day(date_of(&path.date)?, zone_of(query.zone.as_deref())?, None).await?;
    Ok(Json(day).into_response())
}

/// A month of all channels
#[utoipa::path(get, path = "/months/{month}", tag = "Channels", operation_id = "month",
    params(MonthPath, ZoneQuery),
    responses((status = 200, description = "How full each day is.", body = Month)))]
async fn month(
    State(api): State<Api>,
    Path(path): Path<MonthPath>,
    Query(query): Query<ZoneQuery>,
) -> Answer {
    let (year, month) = month_of(&path.month)?;
    let month = api.service().month(year, month, zone_of(query.zone.as_deref())?).await?;
    Ok(Json(month).into_response())
}

/// A channel and a window.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct QuoteQuery {
    /// The channel's number.
    #[param(minimum = 0, maximum = 65535, example = 1)]
    channel: u16,
    /// First moment of the window; a whole slot.
    #[param(format = DateTime, max_length = 64, example = "2026-11-25T10:00:00Z")]
    start: String,
    /// First moment after the window.
    #[param(format = DateTime, max_length = 64, example = "2026-11-25T10:30:00Z")]
    end: String,
}

/// What a window would cost
///
/// The total before anything is accepted, and whether it could be booked now. Logged in, the member's month's limit is
/// looked at, too.
#[utoipa::path(get, path = "/quote", tag = "Channels", operation_id = "quote",
    params(QuoteQuery),
    responses((status = 200, description = "The total.", body = QuoteAnswer)),
    extensions(("x-slotcast" = json!({ "scope": "maybe",
        "problems": ["not-found", "not-on-slots", "too-long", "amount-too-large"] }))))]
async fn quote(
    State(api): State<Api>,
    MaybeCaller(actor): MaybeCaller,
    Query(query): Query<QuoteQuery>,
) -> Answer {
    let (start, end) = (time_of("start", &query.start)?, time_of("end", &query.end)?);
    let window = inputs::window(start, end, api.service().rules())?;
    let answer = api.service().quote(actor.as_ref(), ChannelNumber(query.channel), window).await?;
    Ok(Json(answer).into_response())
}

/// What a member agrees to.
#[derive(Serialize, ToSchema)]
#[schema(as = Terms)]
struct TermsBody {
    text: String,
    /// SHA-256 of the text, in hexadecimal: kept with each reservation that they were accepted for.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    sha256: String,
}

/// The terms
///
/// What a member agrees to with each reservation.
#[utoipa::path(get, path = "/terms", tag = "Channels", operation_id = "terms",
    responses((status = 200, description = "The text.", body = TermsBody)))]
async fn terms(State(api): State<Api>) -> Answer {
    let (text, sha256) = (api.service().settings().terms.clone(), hex(&api.service().terms_hash()));
    Ok(Json(TermsBody { text, sha256 }).into_response())
}

/// The asker's clock.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct TimeQuery {
    /// What it says.
    #[param(format = DateTime, max_length = 64, example = "2026-11-25T10:00:00.250Z")]
    client_time: Option<String>,
}

/// The provider's time
///
/// Windows open and close by it.
#[utoipa::path(get, path = "/time", tag = "Channels", operation_id = "time",
    params(TimeQuery),
    responses((status = 200, description = "Now.", body = ProviderTime)))]
async fn time(State(api): State<Api>, Query(query): Query<TimeQuery>) -> Answer {
    let theirs = query.client_time.map(|text| time_of("client_time", &text)).transpose()?;
    Ok(Json(api.service().time(theirs)).into_response())
}
