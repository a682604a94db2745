//! Pages for everybody: the top, today's live, the guide, a program, what is recommended, what it costs, the terms.

mod about;
mod guide;
mod program;
mod today;
mod top;

use axum::{Router, routing::get};

use crate::Web;

#[cfg(any(debug_assertions, test))]
pub(crate) use self::{
    about::{AboutPage, Line, TermsPage, paragraphs},
    guide::{Cell, DayPage, MonthPage, Row},
    program::ProgramPage,
    today::{PickupPage, TodayPage},
    top::TopPage,
};

pub(crate) fn routes() -> Router<Web> {
    Router::new()
        .route("/", get(top::top))
        .route("/about", get(about::about))
        .route("/terms", get(about::terms))
        .route("/today", get(today::today))
        .route("/pickup", get(today::pickup))
        .route("/guide", get(guide::this_month))
        .route("/guide/{when}", get(guide::guide))
        .route("/programs", get(program::find))
        .route("/programs/{number}", get(program::program))
        .route("/programs/{number}/calendar.ics", get(program::calendar))
        .route("/programs/{number}/watch.m3u", get(program::playlist))
}
