//! A reservation as it is shown.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use super::{Api, problem::etag};
use crate::domain::reservation::Reservation;

/// A reservation with its version as entity tag.
pub(super) fn shown(api: &Api, reservation: Reservation) -> Response {
    let view = api.service().reservation_view(reservation);
    ([(header::ETAG, etag(view.version))], Json(view)).into_response()
}

/// The same for one that was just made: where it is.
pub(super) fn made(api: &Api, reservation: Reservation) -> Response {
    let place = format!("/api/v1/reservations/{}", reservation.number);
    let place = HeaderValue::from_str(&place).ok().map(|place| (header::LOCATION, place));
    let mut response = (StatusCode::CREATED, shown(api, reservation)).into_response();
    response.headers_mut().extend(place);
    response
}
