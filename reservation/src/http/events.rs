//! What happens to programs, pushed while it happens: a `text/event-stream` (WHATWG HTML, 9.2).
//!
//! Not here: who may see what, and what is pushed (`hub`).

use std::convert::Infallible;

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::IntoResponse,
};
use futures_util::stream;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Api,
    auth::{Client, MaybeCaller},
    extract::Query,
    problem::Answer,
};
use crate::{
    domain::{event::Event, words::ReservationNumber},
    hub::Subscription,
    service::{EventFilter, LiveFigures},
};

/// The addresses of this room.
pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default().routes(routes!(events))
}

/// Of which programs.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = EventsOf)]
enum OfBody {
    /// Those of today, in the provider's time zone.
    Today,
    /// One's own.
    Mine,
}

/// What is to be heard; left out: everything that one may see.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct EventsQuery {
    /// Only of this program.
    #[param(minimum = 1, maximum = 9_007_199_254_740_991_i64)]
    program: Option<i64>,
    /// Only of these programs.
    #[param(inline)]
    of: Option<OfBody>,
}

/// What one message holds: by the name of its event.
#[derive(ToSchema)]
#[schema(as = EventMessage)]
#[expect(dead_code, reason = "for the document")]
enum MessageBody {
    /// Named by its `type`.
    Event(Event),
    /// Named `live`.
    Live(LiveFigures),
}

/// Hear what happens
///
/// A `text/event-stream` (WHATWG HTML, 9.2). What happened comes once, as an event that is named by its `type`: `booked`,
/// `reconfirmed`, `cancelled`, `starting`, `started`, `ending`, `ended`; of one's own programs, and to operators, also
/// `link_up`, `link_down`, `class_exceeded`, `charged`, `refunded`. How programs run now comes as `live`, for each at
/// once, then when it changes, at most once a second, and only the newest. `reset`: events were missed; read anew what
/// is shown. A comment comes every 30 s where nothing else does. Anybody hears of programs that are listed; members hear
/// of their own as well, operators of all. `Last-Event-ID` resumes.
#[utoipa::path(get, path = "/events", tag = "Programs", operation_id = "events",
    params(EventsQuery,
        ("Last-Event-ID" = Option<String>, Header, description = "The ID of the last event that was heard.")),
    responses((status = 200, description = "Messages without end.", body = MessageBody,
        content_type = "text/event-stream")),
    extensions(("x-slotcast" = json!({ "scope": "maybe", "problems": ["too-many"] }))))]
async fn events(
    State(api): State<Api>,
    MaybeCaller(actor): MaybeCaller,
    Client(client): Client,
    headers: HeaderMap,
    Query(query): Query<EventsQuery>,
) -> Answer {
    let filter = EventFilter {
        program: query.program.map(ReservationNumber),
        today: query.of == Some(OfBody::Today),
        mine: query.of == Some(OfBody::Mine),
    };
    let after = headers.get("last-event-id").and_then(|value| value.to_str().ok());
    let heard = api.service().events(actor.as_ref(), filter, after, client)?;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        // Else nginx would keep it until there is a page full.
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    Ok((headers, body(heard)).into_response())
}

/// The stream as it is sent; dropped, the subscription ends.
fn body(heard: Subscription) -> Body {
    Body::from_stream(stream::unfold(heard, |mut heard| async move {
        Some((Ok::<Bytes, Infallible>(heard.next().await), heard))
    }))
}
