//! The HTTP API under `/api/v1`: how what `service` can do is asked for, and how the answer looks.
//!
//! Owns: [`router`]. Each address stands in the room of its subject; `problem` is the one table of refusals, `openapi`
//! the document, `docs` its readable form.
//! Not here: listening, TLS, header timeouts (the server's), deciding (`service`).
//! Invariant: what is documented is what is checked; every refusal is an RFC 9457 problem; no secret stands in an address.

#![expect(unused_qualifications, reason = "utoipa's macros write whole paths")]

mod auth;
mod channels;
mod docs;
mod events;
mod extract;
mod guard;
mod live;
mod mail_stops;
mod members;
mod openapi;
mod operator;
mod personal;
mod problem;
mod programs;
mod proofs;
mod refunds;
mod reservation;
mod reservations;
mod shape;
mod webhooks;
mod wire;

use std::sync::Arc;

use axum::{
    Json, Router,
    body::Bytes,
    extract::State,
    http::{HeaderValue, header},
    middleware,
    response::{Html, IntoResponse},
    routing::any,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use self::{
    extract::Path,
    problem::{Answer, PROBLEMS},
    shape::Shapes,
};
use crate::{
    domain::{
        refusal::{KINDS, Refusal},
        words::Language,
    },
    edge::Edge,
    service::Service,
};

/// Under which everything stands.
const BASE: &str = "/api/v1";

/// What every handler can reach.
#[derive(Clone)]
struct Api(Arc<Inner>);

struct Inner {
    edge: Edge,
    shapes: Shapes,
    document: Bytes,
    docs: String,
}

impl Api {
    fn edge(&self) -> &Edge {
        &self.0.edge
    }

    fn service(&self) -> &Service {
        self.0.edge.service()
    }

    fn shapes(&self) -> &Shapes {
        &self.0.shapes
    }
}

/// All addresses under `/api/v1`, ready to be served with
/// [`into_make_service_with_connect_info`](Router::into_make_service_with_connect_info) of a `SocketAddr`.
pub fn router(edge: Edge) -> Router {
    let (routes, openapi) = OpenApiRouter::default().nest(BASE, routes()).split_for_parts();
    let document = openapi::document(&openapi, edge.origin(), edge.cookie_name());
    let shapes = Shapes::of(&document).unwrap_or_else(|error| {
        // Nothing fits no shapes: every body is refused rather than let through unchecked.
        tracing::error!(%error, "the API's document has a pattern that cannot be used");
        Shapes::default()
    });
    let docs = docs::page(&document);
    let document = Bytes::from(document.to_string());
    let for_friends = mail_stops::routes(edge.service().clone());
    let api = Api(Arc::new(Inner { edge, shapes, document, docs }));
    routes
        .route(BASE, any(guard::unknown_address))
        .route(&format!("{BASE}/{{*rest}}"), any(guard::unknown_address))
        .method_not_allowed_fallback(guard::unknown_method)
        .layer(middleware::from_fn_with_state(api.clone(), guard::guard))
        .with_state(api)
        .merge(for_friends)
}

fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default()
        .merge(members::routes())
        .merge(proofs::routes())
        .merge(personal::routes())
        .merge(channels::routes())
        .merge(reservations::routes())
        .merge(live::routes())
        .merge(events::routes())
        .merge(programs::routes())
        .merge(operator::routes())
        .merge(refunds::routes())
        .merge(webhooks::routes())
        .routes(routes!(document))
        .routes(routes!(documentation))
        .routes(routes!(problem_kind))
}

/// This document
///
/// OpenAPI 3.1.
#[utoipa::path(get, path = "/openapi.json", tag = "About", operation_id = "openapi",
    responses((status = 200, description = "The document.", body = serde_json::Value)))]
async fn document(State(api): State<Api>) -> impl IntoResponse {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    (headers, api.0.document.clone())
}

/// The same for people
#[utoipa::path(get, path = "/docs", tag = "About", operation_id = "docs",
    responses((status = 200, description = "A page.", body = String, content_type = "text/html")))]
async fn documentation(State(api): State<Api>) -> impl IntoResponse {
    ([(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"))], Html(api.0.docs.clone()))
}

/// A kind of problem by its code.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct ProblemPath {
    /// Last part of the problem's `type`.
    #[param(pattern = "@code", min_length = 1, max_length = 40, example = "slot-taken")]
    code: String,
}

/// A kind of problem, explained.
#[derive(Serialize, ToSchema)]
#[schema(as = ProblemKind)]
struct ProblemKindBody {
    #[serde(rename = "type")]
    #[schema(format = "uri-reference")]
    kind: String,
    /// What it is.
    title: String,
    /// The HTTP status that it comes with.
    status: u16,
    /// What to do next.
    next: String,
}

/// A kind of problem
///
/// What the `type` of a problem leads to.
#[utoipa::path(get, path = "/problems/{code}", tag = "About", operation_id = "problem_kind",
    params(ProblemPath),
    responses((status = 200, description = "Explained.", body = ProblemKindBody)))]
async fn problem_kind(Path(path): Path<ProblemPath>) -> Answer {
    let kind = KINDS.iter().find(|kind| kind.code == path.code);
    let kind = kind.ok_or_else(|| Refusal::NoSuchAddress(Vec::new()))?;
    let body = ProblemKindBody {
        kind: format!("{PROBLEMS}/{}", kind.code),
        title: kind.title(Language::English).to_owned(),
        status: kind.status,
        next: kind.next(Language::English).to_owned(),
    };
    Ok(Json(body).into_response())
}
