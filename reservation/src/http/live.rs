//! What a broadcaster sees: the state on air, how a program ran, the page of one's own.

use axum::{Json, extract::State, response::IntoResponse};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Api,
    auth::Caller,
    channels::ChannelBody,
    extract::{Path, Query},
    members::MemberBody,
    problem::Answer,
    reservation::ReservationBody,
    wire::{ListBody, NumberPath, PageQuery, StateBody, WindowBody},
};
use crate::{
    domain::{
        effects::{Account, LedgerTransaction},
        words::ReservationNumber,
    },
    service::{BroadcastStatus, ExtensionOffer},
    store::Run,
    streaming::{Link, LinkEnd, Track, TrackState},
};

/// The addresses of this room.
pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default().routes(routes!(status)).routes(routes!(history)).routes(routes!(my_channel))
}

/// What the broadcaster's link does.
#[derive(Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Link)]
enum LinkBody {
    /// Nobody sends.
    Absent,
    /// Connected, media held back outside the window.
    Held,
    /// Media goes to the viewers.
    OnAir,
}

/// Width and height.
#[derive(Serialize, ToSchema)]
#[schema(as = Picture)]
struct PictureBody {
    width: u16,
    height: u16,
}

/// What comes on one track.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = TrackState)]
enum TrackStateBody {
    /// It was offered and never set up; viewers are not told of it.
    NotSetUp,
    /// Nothing has come on it for long; viewers are not told of it.
    Silent,
    /// Viewers are told of it.
    Sent,
}

/// One track of the link.
#[derive(Serialize, ToSchema)]
#[schema(as = LinkTrack)]
struct TrackBody {
    /// `video`, `audio` or `application`.
    kind: &'static str,
    state: TrackStateBody,
}

impl From<Track> for TrackBody {
    fn from(track: Track) -> Self {
        let state = match track.state {
            TrackState::NotSetUp => TrackStateBody::NotSetUp,
            TrackState::Silent => TrackStateBody::Silent,
            TrackState::Sent => TrackStateBody::Sent,
        };
        Self { kind: track.kind, state }
    }
}

/// Why a link ended.
#[derive(Serialize, ToSchema)]
#[schema(as = LinkEnd)]
struct LinkEndBody {
    #[schema(format = DateTime)]
    at: String,
    /// A fixed word, such as `peer_closed`, `class_exceeded`, `taken_over` or `kicked`.
    reason: &'static str,
    /// The side that would have to do something: `broadcaster`, `network`, `operator` or `nobody`.
    fault: &'static str,
    /// What happened and what to do next.
    text: String,
}

impl From<LinkEnd> for LinkEndBody {
    fn from(end: LinkEnd) -> Self {
        Self { at: end.at.to_string(), reason: end.reason, fault: end.fault, text: end.text }
    }
}

/// Whether the window can be made longer.
#[derive(Serialize, ToSchema)]
#[schema(as = ExtensionOffer)]
struct ExtensionBody {
    /// Whether it can be had now.
    is_offered: bool,
    /// Slots at most, while it is offered.
    slots_max: Option<u32>,
    /// For one slot, in minor units.
    toll: Option<i64>,
    /// It is offered from then on, if the next slot is still free.
    #[schema(format = DateTime)]
    from: Option<String>,
    /// It is offered until then.
    #[schema(format = DateTime)]
    until: Option<String>,
}

impl From<ExtensionOffer> for ExtensionBody {
    fn from(offer: ExtensionOffer) -> Self {
        let nothing = Self { is_offered: false, slots_max: None, toll: None, from: None, until: None };
        match offer {
            ExtensionOffer::Offered { slots_max, toll, until } => Self {
                is_offered: true,
                slots_max: Some(slots_max),
                toll: Some(toll.minor()),
                until: Some(until.to_string()),
                ..nothing
            },
            ExtensionOffer::Later { from } => Self { from: Some(from.to_string()), ..nothing },
            ExtensionOffer::NotPossible => nothing,
        }
    }
}

/// What the broadcaster sees.
#[derive(Serialize, ToSchema)]
#[schema(as = BroadcastStatus)]
struct StatusBody {
    number: i64,
    state: StateBody,
    link: LinkBody,
    /// Why the last link ended; `null` where none has.
    last_end: Option<LinkEndBody>,
    /// Whether media goes to viewers.
    is_on_air: bool,
    /// The provider's time.
    #[schema(format = DateTime)]
    now: String,
    /// Of the window, how much is over.
    elapsed_seconds: u64,
    /// Of the window, how much is left.
    remaining_seconds: u64,
    window: WindowBody,
    /// When the link is accepted.
    connect: WindowBody,
    /// What the stream told last; `null` where it did not, and for other codecs than H.264 and H.265.
    picture: Option<PictureBody>,
    /// Of the link, in the order in which the encoder offered them; empty before the first link.
    tracks: Vec<TrackBody>,
    /// Tracks that were offered beside these and cannot be taken.
    left_out: u8,
    /// What came in during the last second, in bits per second.
    bit_rate: u64,
    title: String,
    watch_url: String,
    /// The ingest server.
    server: String,
    channel: ChannelBody,
    /// Viewers now.
    viewers: u32,
    /// How many there may be.
    seats: u32,
    extension: ExtensionBody,
}

impl StatusBody {
    fn of(api: &Api, status: BroadcastStatus) -> Self {
        Self {
            number: status.number.0,
            state: status.state.into(),
            link: match status.link {
                Link::Absent => LinkBody::Absent,
                Link::Held => LinkBody::Held,
                Link::OnAir => LinkBody::OnAir,
            },
            last_end: status.last_end.map(LinkEndBody::from),
            is_on_air: status.is_on_air,
            now: status.now.to_string(),
            elapsed_seconds: status.elapsed.as_secs(),
            remaining_seconds: status.remaining.as_secs(),
            window: status.window.into(),
            connect: status.connect.into(),
            picture: status.picture.map(|(width, height)| PictureBody { width, height }),
            tracks: status.tracks.into_iter().map(TrackBody::from).collect(),
            left_out: status.left_out,
            bit_rate: status.bit_rate,
            title: status.title,
            watch_url: status.watch_url,
            server: status.server,
            channel: ChannelBody::of(api, &status.channel),
            viewers: status.viewers,
            seats: status.seats.count(),
            extension: status.extension.into(),
        }
    }
}

/// The state on air
///
/// On-air state, elapsed and remaining time, bit rate, viewers within a second, and whether an extension is offered.
#[utoipa::path(get, path = "/reservations/{number}/status", tag = "On air", operation_id = "status",
    params(NumberPath),
    responses((status = 200, description = "As of now.", body = StatusBody)),
    extensions(("x-slotcast" = json!({ "scope": "broadcast" }))))]
async fn status(State(api): State<Api>, caller: Caller, Path(path): Path<NumberPath>) -> Answer {
    let status = api.service().status(&caller.actor, ReservationNumber(path.number)).await?;
    Ok(Json(StatusBody::of(&api, status)).into_response())
}

/// How a program ran, in sums.
#[derive(Serialize, ToSchema)]
#[schema(as = Run)]
struct RunBody {
    /// Of the window, the milliseconds in which the server was seen to run normally.
    normal_ms: u64,
    /// Of the window, the milliseconds in which media was forwarded.
    media_ms: u64,
    /// Most viewers at once.
    viewers_peak: u32,
    /// Viewers times milliseconds.
    viewer_ms: u64,
}

impl From<&Run> for RunBody {
    fn from(run: &Run) -> Self {
        Self {
            normal_ms: run.normal_ms,
            media_ms: run.media_ms,
            viewers_peak: run.viewers_peak,
            viewer_ms: run.viewer_ms,
        }
    }
}

/// The number of viewers from a moment on.
#[derive(Serialize, ToSchema)]
#[schema(as = ViewerSample)]
struct SampleBody {
    #[schema(format = DateTime)]
    at: String,
    viewers: u32,
}

/// One entry pair of the ledger.
#[derive(Serialize, ToSchema)]
#[schema(as = LedgerEntry)]
pub(super) struct LedgerBody {
    /// Unique.
    key: String,
    /// `authorised`, `released`, `charged`, `collected`, `refunded`.
    kind: String,
    /// The reservation's number.
    reservation: i64,
    #[schema(format = DateTime)]
    at: String,
    /// The account that receives: `holds`, `revenue`, `cash`, `member_holds:N`, `receivable:N`.
    debit: String,
    /// The account that gives.
    credit: String,
    /// In minor units.
    amount: i64,
    /// ISO 4217.
    currency: String,
}

impl LedgerBody {
    /// In the server's currency.
    pub(super) fn of(api: &Api, entry: &LedgerTransaction) -> Self {
        Self {
            key: entry.key.clone(),
            kind: entry.kind.name().to_owned(),
            reservation: entry.reservation.0,
            at: entry.at.to_string(),
            debit: account(entry.debit),
            credit: account(entry.credit),
            amount: entry.amount.minor(),
            currency: api.service().rules().currency.to_string(),
        }
    }
}

fn account(account: Account) -> String {
    match account {
        Account::MemberHolds(member) => format!("member_holds:{member}"),
        Account::Holds => "holds".to_owned(),
        Account::Receivable(member) => format!("receivable:{member}"),
        Account::Revenue => "revenue".to_owned(),
        Account::Cash => "cash".to_owned(),
    }
}

/// How a program ran.
#[derive(Serialize, ToSchema)]
#[schema(as = History)]
struct HistoryBody {
    reservation: ReservationBody,
    run: RunBody,
    /// Viewers on average over the window, in thousandths.
    viewers_average_milli: u64,
    /// The numbers of viewers, oldest first.
    samples: ListBody<SampleBody>,
    /// What was posted for it.
    ledger: Vec<LedgerBody>,
}

/// How a program ran
///
/// Viewers over time, how long the server ran normally, and what the ledger says. `page` is of the samples.
#[utoipa::path(get, path = "/reservations/{number}/history", tag = "On air", operation_id = "history",
    params(NumberPath, PageQuery),
    responses((status = 200, description = "So far.", body = HistoryBody)),
    extensions(("x-slotcast" = json!({ "scope": "read" }))))]
async fn history(
    State(api): State<Api>,
    caller: Caller,
    Path(path): Path<NumberPath>,
    Query(query): Query<PageQuery>,
) -> Answer {
    let number = ReservationNumber(path.number);
    let history = api.service().history(&caller.actor, number, query.page()).await?;
    let samples = ListBody::page(&history.samples, &query, |sample| SampleBody {
        at: sample.at.to_string(),
        viewers: sample.viewers,
    });
    let body = HistoryBody {
        reservation: ReservationBody::of(&api, &history.reservation),
        run: RunBody::from(&history.run),
        viewers_average_milli: history.viewers_average_milli,
        samples,
        ledger: history.ledger.iter().map(|entry| LedgerBody::of(&api, entry)).collect(),
    };
    Ok(Json(body).into_response())
}

/// A program that is over.
#[derive(Serialize, ToSchema)]
#[schema(as = PastProgram)]
struct PastBody {
    reservation: ReservationBody,
    run: RunBody,
}

/// A member's page.
#[derive(Serialize, ToSchema)]
#[schema(as = MyChannel)]
struct MyChannelBody {
    member: MemberBody,
    /// Held, registered, confirmed and on air, by start; at most 100.
    open: Vec<ReservationBody>,
    /// Finished, newest first; at most 50.
    past: Vec<PastBody>,
    /// Cancelled, newest first; at most 50.
    cancelled: Vec<ReservationBody>,
    /// Slots of this month that are used.
    slots_used: u32,
    /// Slots of one month at most.
    slots_max: u32,
}

/// My channel
///
/// Reservations and their state, past programs with their numbers of viewers, the member's own data.
#[utoipa::path(get, path = "/me/channel", tag = "My account", operation_id = "my_channel",
    responses((status = 200, description = "As of now.", body = MyChannelBody)),
    extensions(("x-slotcast" = json!({ "scope": "read", "problems": ["not-premium"] }))))]
async fn my_channel(State(api): State<Api>, caller: Caller) -> Answer {
    let mine = api.service().my_channel(&caller.actor).await?;
    let show = |reservation: &_| ReservationBody::of(&api, reservation);
    let body = MyChannelBody {
        member: MemberBody::from(&mine.member),
        open: mine.open.iter().map(show).collect(),
        past: mine
            .past
            .iter()
            .map(|past| PastBody { reservation: show(&past.reservation), run: RunBody::from(&past.run) })
            .collect(),
        cancelled: mine.cancelled.iter().map(show).collect(),
        slots_used: mine.slots_used,
        slots_max: mine.slots_max,
    };
    Ok(Json(body).into_response())
}
