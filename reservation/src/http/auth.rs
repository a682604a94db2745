//! Who asks, as the handlers of the API take it.
//!
//! Owns: [`Caller`], [`MaybeCaller`], [`Client`].
//! Not here: cookies, tokens and origins (`edge`), what a session or token covers (`service::actor`).
//! Invariant: a request with a cookie changes nothing without `X-CSRF-Token`; a bearer token goes before a cookie.

use std::net::IpAddr;

use axum::{extract::FromRequestParts, http::request::Parts};

use super::{Api, problem::Problem};
use crate::{
    domain::{member::Scope, refusal::Refusal},
    edge::{BrowserSession, is_safe},
    service::Actor,
};

/// A member who asks.
pub(super) struct Caller {
    /// Who.
    pub(super) actor: Actor,
    session: Option<BrowserSession>,
}

impl Caller {
    /// The session; refused where a token asks.
    pub(super) fn session(&self) -> Result<&BrowserSession, Refusal> {
        self.session.as_ref().ok_or(Refusal::Scope(Scope::Account))
    }
}

/// A member who asks, or anybody.
pub(super) struct MaybeCaller(pub(super) Option<Actor>);

/// From which address the request came.
pub(super) struct Client(pub(super) IpAddr);

impl FromRequestParts<Api> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        if let Some(actor) = api.edge().token(&parts.headers).await? {
            return Ok(Self { actor, session: None });
        }
        let session = api.edge().session(&parts.headers).await?.ok_or(Refusal::NotLoggedIn)?;
        if !is_safe(&parts.method) {
            session.check_csrf(parts.headers.get("x-csrf-token").and_then(|value| value.to_str().ok()))?;
        }
        Ok(Self { actor: session.actor, session: Some(session) })
    }
}

impl FromRequestParts<Api> for MaybeCaller {
    type Rejection = Problem;

    /// A wrong token is told; a cookie that has expired is as none, so that public pages stay readable.
    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        if let Some(actor) = api.edge().token(&parts.headers).await? {
            return Ok(Self(Some(actor)));
        }
        match api.edge().session(&parts.headers).await {
            Err(crate::service::ServiceError::Refused(_)) => Ok(Self(None)),
            session => Ok(Self(session?.map(|session| session.actor))),
        }
    }
}

impl FromRequestParts<Api> for Client {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        Ok(Self(api.edge().client(&parts.extensions, &parts.headers)))
    }
}
