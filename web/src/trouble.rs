//! The page of a refusal: what happened, and what to do next, from the one table of refusals.

use askama::Template;
use axum::http::StatusCode;
use slotcast_reservation::domain::{refusal::Refusal, words::Language};

use crate::{
    markup::typed,
    page::{Answer, Frame, Part},
    visit::Visit,
};

/// A refusal in words.
pub(crate) struct Trouble {
    pub(crate) title: &'static str,
    pub(crate) detail: String,
    pub(crate) next: &'static str,
    pub(crate) status: u16,
}

impl Trouble {
    pub(crate) fn of(refusal: &Refusal, language: Language) -> Self {
        let kind = refusal.kind();
        Self {
            title: kind.title(language),
            detail: typed(&refusal.detail(language)),
            next: refusal.next(language),
            status: kind.status,
        }
    }
}

#[derive(Template)]
#[template(path = "trouble.html")]
pub(crate) struct TroublePage {
    pub(crate) f: Frame,
    pub(crate) trouble: Trouble,
}

/// That refusal as a page, with its status.
pub(crate) fn page(visit: &Visit, refusal: &Refusal) -> Answer {
    let trouble = Trouble::of(refusal, visit.language());
    let status = StatusCode::from_u16(trouble.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let page = TroublePage { f: Frame::new(visit, Part::Other), trouble };
    page.f.page_as(status, &page)
}
