//! What a broadcaster sees: the state on air, how a program ran, the page of one's own.

use axum::{Json, extract::State, response::IntoResponse};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Api,
    auth::Caller,
    extract::{Path, Query},
    problem::Answer,
    wire::{NumberPath, PageQuery},
};
use crate::{
    domain::words::ReservationNumber,
    service::{BroadcastStatus, History, MyChannel},
};

/// The addresses of this room.
pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default().routes(routes!(status)).routes(routes!(history)).routes(routes!(my_channel))
}

/// The state on air
///
/// On-air state, elapsed and remaining time, bit rate, viewers within a second, and whether an extension is offered.
#[utoipa::path(get, path = "/reservations/{number}/status", tag = "On air", operation_id = "status",
    params(NumberPath),
    responses((status = 200, description = "As of now.", body = BroadcastStatus)),
    extensions(("x-slotcast" = json!({ "scope": "broadcast" }))))]
async fn status(State(api): State<Api>, caller: Caller, Path(path): Path<NumberPath>) -> Answer {
    let status = api.service().status(&caller.actor, ReservationNumber(path.number)).await?;
    Ok(Json(status).into_response())
}

/// How a program ran
///
/// Viewers over time, how long the server ran normally, and what the ledger says. `page` is of the samples.
#[utoipa::path(get, path = "/reservations/{number}/history", tag = "On air", operation_id = "history",
    params(NumberPath, PageQuery),
    responses((status = 200, description = "So far.", body = History)),
    extensions(("x-slotcast" = json!({ "scope": "read" }))))]
async fn history(
    State(api): State<Api>,
    caller: Caller,
    Path(path): Path<NumberPath>,
    Query(query): Query<PageQuery>,
) -> Answer {
    let number = ReservationNumber(path.number);
    let history = api.service().history(&caller.actor, number, query.page()).await?;
    Ok(Json(history).into_response())
}

/// My channel
///
/// Reservations and their state, past programs with their numbers of viewers, the member's own data.
#[utoipa::path(get, path = "/me/channel", tag = "My account", operation_id = "my_channel",
    responses((status = 200, description = "As of now.", body = MyChannel)),
    extensions(("x-slotcast" = json!({ "scope": "read" }))))]
async fn my_channel(State(api): State<Api>, caller: Caller) -> Answer {
    Ok(Json(api.service().my_channel(&caller.actor).await?).into_response())
}
