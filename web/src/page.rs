//! What all pages have in common: the frame around them, how they are answered, how a refusal leaves a handler.
//!
//! Owns: [`Frame`] (what the base template needs), [`Frame::page`], [`Fail`].
//! Invariant: every page has an ETag of its content, and is sent only where it has changed.

use askama::Template;
use axum::{
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use sha2::{Digest, Sha256};
use slotcast_core::time::WallTime;
use slotcast_reservation::{
    domain::{refusal::Refusal, words::ReservationNumber},
    service::ServiceError,
};

use crate::{
    Web, assets,
    markup::{Markup, typed},
    visit::{Theme, Visit},
    words::Words,
    written::Written,
};

/// A refusal on its way to the page that shows it; `guard` writes that.
#[derive(Clone, Debug)]
pub(crate) struct Fail(pub(crate) Refusal);

impl From<Refusal> for Fail {
    fn from(refusal: Refusal) -> Self {
        Self(refusal)
    }
}

impl From<ServiceError> for Fail {
    fn from(error: ServiceError) -> Self {
        Self(error.into())
    }
}

/// What handlers come back as.
pub(crate) type Answer = Result<Response, Fail>;

/// Marks an answer that is to become the page of that refusal.
#[derive(Clone)]
pub(crate) struct Refused(pub(crate) Refusal);

impl IntoResponse for Fail {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.kind().status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = status.into_response();
        response.extensions_mut().insert(Refused(self.0));
        response
    }
}

/// Which part of the site a page belongs to, for the navigation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Today,
    Guide,
    Pickup,
    About,
    LogIn,
    Register,
    Mine,
    Other,
}

/// The frame around a page, and what its words and dates are written with.
pub(crate) struct Frame {
    web: Web,
    visit: Visit,
    part: Part,
    pub(crate) written: Written,
}

impl Frame {
    pub(crate) fn new(visit: &Visit, part: Part) -> Self {
        let web = visit.web().clone();
        let rules = web.service().rules();
        let written = Written::new(visit.language(), rules.zone.clone(), rules.currency);
        Self { web, visit: visit.clone(), part, written }
    }

    /// The words of the visitor's language.
    pub(crate) fn w(&self) -> &Words {
        self.web.words(self.visit.language())
    }

    pub(crate) fn now(&self) -> WallTime {
        self.visit.now()
    }

    /// The provider's name.
    pub(crate) fn provider(&self) -> &str {
        &self.web.service().settings().provider.name
    }

    /// Where browsers find this server.
    pub(crate) fn base_url(&self) -> &str {
        &self.web.edge().settings().base_url
    }

    pub(crate) fn asset(&self, name: &str) -> &'static str {
        assets::address(name)
    }

    /// Whether there is a picture of what is on air in the program.
    pub(crate) fn has_still(&self, number: ReservationNumber) -> bool {
        self.web.service().has_still(number)
    }

    /// For `aria-current` in the navigation.
    pub(crate) fn is_in(&self, part: Part) -> bool {
        self.part == part
    }

    pub(crate) fn themes(&self) -> [Theme; 3] {
        Theme::ALL
    }

    pub(crate) fn theme(&self) -> Theme {
        self.visit.theme()
    }

    /// The name of who is logged in.
    pub(crate) fn member(&self) -> Option<String> {
        self.visit.member().map(|member| typed(&member.name))
    }

    /// For the hidden field of forms; empty where nobody is logged in.
    pub(crate) fn csrf(&self) -> &str {
        self.visit.session().map_or("", |session| session.csrf_token())
    }

    /// Where this page is, to come back to.
    pub(crate) fn here(&self) -> &str {
        self.visit.address()
    }

    /// The provider's time, to the minute.
    pub(crate) fn clock(&self) -> Markup {
        self.written.time(self.now())
    }

    /// The provider's zone as the clock names it.
    pub(crate) fn zone(&self) -> String {
        self.written.zone_at(self.now())
    }

    /// The provider's zone by its own name.
    pub(crate) fn zone_name(&self) -> String {
        self.written.zone_name(self.now())
    }

    /// What a field of a form is called, for the list of what is wrong.
    pub(crate) fn field<'a>(&'a self, name: &'a str) -> &'a str {
        let w = self.w();
        match name {
            "name" => w.t("name"),
            "reading" => w.t("reading"),
            "email" => w.t("email"),
            "web" => w.t("web"),
            "user_id" => w.t("user-id"),
            "password" => w.t("password"),
            "password_again" => w.t("password-again"),
            "new_password" => w.t("new-password"),
            "code" => w.t("code"),
            "reservation_id" => w.t("reservation-id"),
            "who" => w.t("who"),
            "premium.address" => w.t("postal"),
            "premium.phone" => w.t("phone"),
            "premium.mobile" => w.t("mobile"),
            "premium.fax" => w.t("fax"),
            other => other,
        }
    }

    /// The answer with that page in it, or 304 where the visitor has it already (RFC 9110 §13.1.2).
    pub(crate) fn page(&self, template: &impl Template) -> Answer {
        self.page_as(StatusCode::OK, template)
    }

    /// The same with another status.
    pub(crate) fn page_as(&self, status: StatusCode, template: &impl Template) -> Answer {
        let text = template.render().map_err(|error| {
            tracing::error!(%error, "a page could not be written");
            Refusal::Internal
        })?;
        Ok(answer(status, self.visit.headers(), text))
    }
}

fn answer(status: StatusCode, asked: &HeaderMap, text: String) -> Response {
    let hash = Sha256::digest(text.as_bytes());
    let tag: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let tag = format!("\"{tag}\"");
    let has_it = status == StatusCode::OK && knows(asked, &tag);
    let headers = [
        (header::ETAG, HeaderValue::from_str(&tag).unwrap_or(HeaderValue::from_static("\"\""))),
        (header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache")),
        (header::VARY, HeaderValue::from_static("Accept-Language, Cookie")),
    ];
    if has_it {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    let html = [(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"))];
    (status, headers, html, text).into_response()
}

fn knows(asked: &HeaderMap, tag: &str) -> bool {
    asked
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|known| matches!(known.trim().trim_start_matches("W/"), known if known == tag || known == "*"))
}

/// After a post: the browser asks for that page by GET.
pub(crate) fn see_other(to: &str) -> Response {
    let to = HeaderValue::from_str(to).unwrap_or(HeaderValue::from_static("/"));
    (StatusCode::SEE_OTHER, [(header::LOCATION, to)]).into_response()
}

/// An address on this site that a form or query named; the top page where it is none.
pub(crate) fn local(address: Option<&str>) -> &str {
    let is_local = |address: &&str| {
        let rest = address.strip_prefix('/');
        rest.is_some_and(|rest| !rest.starts_with(['/', '\\']))
            && address.len() <= 1024
            && address.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
    };
    address.filter(is_local).unwrap_or("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_led_off_the_site() {
        for (given, to) in [
            (Some("/my?x=1"), "/my?x=1"),
            (None, "/"),
            (Some("//evil.example"), "/"),
            (Some("/\\evil.example"), "/"),
            (Some("https://evil.example"), "/"),
            (Some("/a\r\nSet-Cookie: x"), "/"),
            (Some("/a\t/b"), "/"),
        ] {
            assert_eq!(local(given), to, "{given:?}");
        }
    }
}
