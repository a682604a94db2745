//! Channels, their free and taken times, what a window costs, the terms, the provider's time.

use axum::{
    Json,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use slotcast_core::words::{ChannelNumber, Window};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Api,
    auth::MaybeCaller,
    extract::{Path, Query},
    problem::{Answer, etag},
    wire::{
        ChannelDatePath, ChannelPath, DatePath, ListBody, MonthPath, WindowBody, ZoneQuery, date_of, hex,
        month_of, time_of, window_of, zone_of,
    },
};
use crate::{
    domain::{reservation::SoldChannel, words::Language},
    service::{ChannelDay, Day},
};

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

/// One sellable line of the server.
#[derive(Serialize, ToSchema)]
#[schema(as = Channel, example = json!({
    "number": 1, "name": "channel1", "seats": 5, "bandwidth_class": 28800, "toll": 1000, "currency": "JPY",
    "slot_seconds": 600, "gather_ms": 20, "is_retired": false, "version": 1,
}))]
pub(super) struct ChannelBody {
    number: u16,
    /// Under which it is found in addresses.
    name: String,
    /// How many viewers at once.
    seats: u32,
    /// The bit rate that it may carry, in bits per second.
    bandwidth_class: u64,
    /// The price of one slot, in minor units.
    toll: u64,
    /// ISO 4217.
    currency: String,
    /// Length of a slot.
    slot_seconds: u64,
    /// How long sound may wait for the next picture, so that one send carries both; in milliseconds.
    gather_ms: u64,
    /// Not sold any more.
    is_retired: bool,
    /// Counts edits: what `ETag` and `If-Match` are about.
    version: i64,
}

impl ChannelBody {
    /// As it is sold by this server.
    pub(super) fn of(api: &Api, channel: &SoldChannel) -> Self {
        let rules = api.service().rules();
        Self {
            number: channel.number.0,
            name: channel.name.to_string(),
            seats: channel.seats.count(),
            bandwidth_class: channel.class.bits_per_second(),
            toll: channel.toll.0,
            currency: rules.currency.to_string(),
            slot_seconds: rules.slot.as_secs(),
            gather_ms: u64::try_from(channel.gather.as_millis()).unwrap_or(u64::MAX),
            is_retired: channel.is_retired,
            version: channel.version,
        }
    }

    /// With its version as entity tag.
    pub(super) fn shown(api: &Api, channel: &SoldChannel) -> Response {
        ([(header::ETAG, etag(channel.version))], Json(Self::of(api, channel))).into_response()
    }
}

/// Channels
///
/// Every channel that is sold, by number.
#[utoipa::path(get, path = "/channels", tag = "Channels", operation_id = "channels",
    responses((status = 200, description = "By number.", body = ListBody<ChannelBody>)))]
async fn channels(State(api): State<Api>) -> Answer {
    let channels = api.service().channels().await?;
    let items = channels.iter().map(|channel| ChannelBody::of(&api, channel)).collect();
    Ok(Json(ListBody::whole(items)).into_response())
}

/// One channel
#[utoipa::path(get, path = "/channels/{number}", tag = "Channels", operation_id = "channel",
    params(ChannelPath),
    responses((status = 200, description = "Sold or retired.", body = ChannelBody,
        headers(("ETag" = String, description = "Its version.")))))]
async fn channel(State(api): State<Api>, Path(path): Path<ChannelPath>) -> Answer {
    Ok(ChannelBody::shown(&api, &api.service().channel(ChannelNumber(path.number)).await?))
}

/// One day of one channel.
#[derive(Serialize, ToSchema)]
#[schema(as = ChannelDay)]
struct ChannelDayBody {
    channel: ChannelBody,
    /// What may be booked now; slots that touch are joined.
    free: Vec<WindowBody>,
    /// What somebody has; slots that touch are joined.
    taken: Vec<WindowBody>,
}

impl ChannelDayBody {
    fn of(api: &Api, day: &ChannelDay) -> Self {
        let windows = |windows: &[Window]| windows.iter().map(|window| (*window).into()).collect();
        Self {
            channel: ChannelBody::of(api, &day.channel),
            free: windows(&day.free),
            taken: windows(&day.taken),
        }
    }
}

/// One day of all channels.
#[derive(Serialize, ToSchema)]
#[schema(as = Day)]
struct DayBody {
    #[schema(format = Date)]
    date: String,
    /// Its first moment.
    #[schema(format = DateTime)]
    from: String,
    /// The next day's first moment: 23, 24 or 25 hours later.
    #[schema(format = DateTime)]
    to: String,
    channels: Vec<ChannelDayBody>,
}

impl DayBody {
    fn of(api: &Api, day: &Day) -> Self {
        Self {
            date: day.date.to_string(),
            from: day.from.to_string(),
            to: day.to.to_string(),
            channels: day.channels.iter().map(|channel| ChannelDayBody::of(api, channel)).collect(),
        }
    }
}

/// A day of one channel
#[utoipa::path(get, path = "/channels/{number}/days/{date}", tag = "Channels", operation_id = "channel_day",
    params(ChannelDatePath, ZoneQuery),
    responses((status = 200, description = "Its free and taken times.", body = DayBody)))]
async fn channel_day(
    State(api): State<Api>,
    Path(path): Path<ChannelDatePath>,
    Query(query): Query<ZoneQuery>,
) -> Answer {
    let (date, zone) = (date_of(&path.date)?, zone_of(query.zone.as_deref())?);
    let day = api.service().day(date, zone, Some(ChannelNumber(path.number))).await?;
    Ok(Json(DayBody::of(&api, &day)).into_response())
}

/// A day of all channels
#[utoipa::path(get, path = "/days/{date}", tag = "Channels", operation_id = "day",
    params(DatePath, ZoneQuery),
    responses((status = 200, description = "Free and taken times.", body = DayBody)))]
async fn day(State(api): State<Api>, Path(path): Path<DatePath>, Query(query): Query<ZoneQuery>) -> Answer {
    let day = api.service().day(date_of(&path.date)?, zone_of(query.zone.as_deref())?, None).await?;
    Ok(Json(DayBody::of(&api, &day)).into_response())
}

/// How full a channel is on one day.
#[derive(Serialize, ToSchema)]
#[schema(as = ChannelMonthDay)]
struct ChannelMonthDayBody {
    /// The channel's number.
    channel: u16,
    /// Slots that may be booked now.
    free: u32,
    /// Slots that somebody has.
    taken: u32,
}

/// One day of a month.
#[derive(Serialize, ToSchema)]
#[schema(as = MonthDay)]
struct MonthDayBody {
    #[schema(format = Date)]
    date: String,
    channels: Vec<ChannelMonthDayBody>,
}

/// One month of all channels.
#[derive(Serialize, ToSchema)]
#[schema(as = Month)]
struct MonthBody {
    #[schema(format = DateTime)]
    from: String,
    /// The next month's first moment.
    #[schema(format = DateTime)]
    to: String,
    days: Vec<MonthDayBody>,
}

/// A month of all channels
#[utoipa::path(get, path = "/months/{month}", tag = "Channels", operation_id = "month",
    params(MonthPath, ZoneQuery),
    responses((status = 200, description = "How full each day is.", body = MonthBody)))]
async fn month(
    State(api): State<Api>,
    Path(path): Path<MonthPath>,
    Query(query): Query<ZoneQuery>,
) -> Answer {
    let (year, month) = month_of(&path.month)?;
    let month = api.service().month(year, month, zone_of(query.zone.as_deref())?).await?;
    let channels = |channels: &[crate::service::ChannelMonthDay]| {
        let show = |day: &crate::service::ChannelMonthDay| ChannelMonthDayBody {
            channel: day.channel.0,
            free: day.free,
            taken: day.taken,
        };
        channels.iter().map(show).collect()
    };
    let days = month.days.iter();
    let body = MonthBody {
        from: month.from.to_string(),
        to: month.to.to_string(),
        days: days
            .map(|day| MonthDayBody { date: day.date.to_string(), channels: channels(&day.channels) })
            .collect(),
    };
    Ok(Json(body).into_response())
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

/// Why a window cannot be booked.
#[derive(Serialize, ToSchema)]
#[schema(as = Reason)]
struct ReasonBody {
    /// Last part of the problem's `type`.
    code: String,
    detail: String,
    /// What to do next.
    next: String,
}

/// What a window would cost.
#[derive(Serialize, ToSchema)]
#[schema(as = Quote)]
struct QuoteBody {
    channel: ChannelBody,
    window: WindowBody,
    /// Slots of the window.
    slots: u32,
    /// For one, in minor units.
    toll: u64,
    /// For all, in minor units.
    total: i64,
    /// ISO 4217.
    currency: String,
    /// Whether whoever asks could book it now.
    is_bookable: bool,
    /// Why not, all at once.
    reasons: Vec<ReasonBody>,
}

/// What a window would cost
///
/// The total before anything is accepted, and whether it could be booked now. Logged in, the member's month's limit is
/// looked at, too.
#[utoipa::path(get, path = "/quote", tag = "Channels", operation_id = "quote",
    params(QuoteQuery),
    responses((status = 200, description = "The total.", body = QuoteBody)),
    extensions(("x-slotcast" = json!({ "scope": "maybe",
        "problems": ["not-found", "not-on-slots", "too-long", "amount-too-large"] }))))]
async fn quote(
    State(api): State<Api>,
    MaybeCaller(actor): MaybeCaller,
    Query(query): Query<QuoteQuery>,
) -> Answer {
    let (start, end) = (time_of("start", &query.start)?, time_of("end", &query.end)?);
    let window = window_of(start, end, api.service().rules().slot.as_secs())?;
    let answer = api.service().quote(actor.as_ref(), ChannelNumber(query.channel), window).await?;
    let reasons: Vec<_> = answer
        .reasons
        .iter()
        .map(|reason| ReasonBody {
            code: reason.kind().code.to_owned(),
            detail: reason.detail(Language::English),
            next: reason.next(Language::English).to_owned(),
        })
        .collect();
    let body = QuoteBody {
        channel: ChannelBody::of(&api, &answer.channel),
        window: answer.window.into(),
        slots: answer.quote.slots,
        toll: answer.quote.toll.0,
        total: answer.quote.total.minor(),
        currency: api.service().rules().currency.to_string(),
        is_bookable: reasons.is_empty(),
        reasons,
    };
    Ok(Json(body).into_response())
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

/// The provider's time beside the asker's.
#[derive(Serialize, ToSchema)]
#[schema(as = Time)]
struct TimeBody {
    /// The provider's.
    #[schema(format = DateTime)]
    now: String,
    /// IANA name of the provider's time zone.
    zone: Option<String>,
    /// The asker's minus the provider's, in milliseconds, where the asker sent one.
    offset_ms: Option<i64>,
    /// What NTP servers say of the provider's clock; `null`: none are configured.
    clock: Option<ClockBody>,
}

/// The provider's clock beside its NTP servers
#[derive(Serialize, ToSchema)]
#[schema(as = ClockCheck)]
struct ClockBody {
    /// The median of the servers' times minus the provider's, in milliseconds; `null`: no server answers.
    offset_ms: Option<i64>,
    /// Whether that is more than windows can bear.
    is_off: bool,
}

/// The provider's time
///
/// Windows open and close by it.
#[utoipa::path(get, path = "/time", tag = "Channels", operation_id = "time",
    params(TimeQuery),
    responses((status = 200, description = "Now.", body = TimeBody)))]
async fn time(State(api): State<Api>, Query(query): Query<TimeQuery>) -> Answer {
    let theirs = query.client_time.map(|text| time_of("client_time", &text)).transpose()?;
    let time = api.service().time(theirs);
    let body = TimeBody {
        now: time.now.to_string(),
        zone: api.service().rules().zone.iana_name().map(str::to_owned),
        offset_ms: time.offset_ms,
        clock: time.check.map(|check| ClockBody {
            offset_ms: check.offset_micros.map(|micros| micros / 1000),
            is_off: check.is_off,
        }),
    };
    Ok(Json(body).into_response())
}
