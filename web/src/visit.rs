//! Who asks for a page, in which language, in which light.
//!
//! Owns: [`Visit`], made once for each request by `guard`, and taken by handlers as an argument.
//! Invariant: it is private to its request; nothing of it goes into an answer that others may get.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, request::Parts},
};
use slotcast_core::time::WallTime;
use slotcast_reservation::{
    domain::{member::Member, refusal::Refusal, words::Language},
    edge::{self, BrowserSession},
    service::Actor,
};

use crate::{Web, page::Fail, words};

/// Holds the language that somebody chose.
pub(crate) const LANGUAGE_COOKIE: &str = "lang";
/// Holds the light that somebody chose.
pub(crate) const THEME_COOKIE: &str = "theme";

/// The light of a page, as the visitor chose it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Theme {
    /// As the device is set.
    #[default]
    Auto,
    Light,
    Dark,
}

impl Theme {
    pub(crate) const ALL: [Self; 3] = [Self::Auto, Self::Light, Self::Dark];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }

    pub(crate) fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|theme| theme.name() == name)
    }
}

/// One request of one visitor. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Visit(Arc<Inner>);

struct Inner {
    web: Web,
    language: Language,
    theme: Theme,
    session: Option<BrowserSession>,
    member: Option<Member>,
    /// Why a session that came along does not count.
    refused: Option<Refusal>,
    client: IpAddr,
    headers: HeaderMap,
    /// Path and query as they were asked for.
    address: String,
    now: WallTime,
}

impl Visit {
    /// Looks at what came with a request. A session that does not count any more leaves a visitor whom nobody knows.
    ///
    /// - `address`: path and query.
    pub(crate) async fn of(web: &Web, headers: HeaderMap, client: IpAddr, address: String) -> Self {
        let (mut session, mut member, mut refused) = (None, None, None);
        match web.edge().session(&headers).await {
            Ok(found) => session = found,
            Err(error) => refused = Some(error.into()),
        }
        if let Some(found) = &session {
            match web.service().me(&found.actor).await {
                Ok(found) => member = Some(found),
                Err(error) => (session, refused) = (None, Some(error.into())),
            }
        }
        let chosen = edge::cookie(&headers, LANGUAGE_COOKIE).and_then(words::of_tag);
        let theirs = member.as_ref().map(|member| member.language);
        let language = chosen.or(theirs).unwrap_or_else(|| words::accepted(&headers));
        let theme = edge::cookie(&headers, THEME_COOKIE).and_then(Theme::of).unwrap_or_default();
        let now = web.service().now();
        Self(Arc::new(Inner {
            web: web.clone(),
            language,
            theme,
            session,
            member,
            refused,
            client,
            headers,
            address,
            now,
        }))
    }

    pub(crate) fn web(&self) -> &Web {
        &self.0.web
    }

    pub(crate) fn language(&self) -> Language {
        self.0.language
    }

    pub(crate) fn theme(&self) -> Theme {
        self.0.theme
    }

    pub(crate) fn session(&self) -> Option<&BrowserSession> {
        self.0.session.as_ref()
    }

    pub(crate) fn member(&self) -> Option<&Member> {
        self.0.member.as_ref()
    }

    /// Who asks; `None`: nobody whom we know.
    pub(crate) fn actor(&self) -> Option<&Actor> {
        self.0.session.as_ref().map(|session| &session.actor)
    }

    /// The member who must be logged in for this. Refused: `NotLoggedIn`, `Blocked`.
    pub(crate) fn need_member(&self) -> Result<(&Actor, &Member), Refusal> {
        match (&self.0.session, &self.0.member) {
            (Some(session), Some(member)) => Ok((&session.actor, member)),
            _ => Err(self.0.refused.clone().unwrap_or(Refusal::NotLoggedIn)),
        }
    }

    pub(crate) fn client(&self) -> IpAddr {
        self.0.client
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.0.headers
    }

    pub(crate) fn address(&self) -> &str {
        &self.0.address
    }

    pub(crate) fn now(&self) -> WallTime {
        self.0.now
    }

    /// Refuses (`Csrf`) a form that a page of ours did not send.
    pub(crate) fn check_form(&self, csrf: Option<&str>) -> Result<(), Refusal> {
        self.0.web.edge().check_form(&self.0.headers, self.session(), csrf)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Visit {
    type Rejection = Fail;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Fail> {
        Ok(parts.extensions.get::<Self>().cloned().ok_or(Refusal::Internal)?)
    }
}
