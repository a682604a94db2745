//! The pages: what viewers, members and operators see in a browser.
//!
//! Owns: [`router`]: every address outside `/api`, the templates, the style, the words in English and Japanese.
//! Not here: deciding (`slotcast-reservation`'s service), who asks (its `edge`), listening (the server).
//! Invariant: a page works without script; what somebody typed is escaped by the template engine; no style or script
//! stands inside a page, and the policy that goes with it lets none run.

mod account;
mod art;
mod assets;
mod form;
mod guard;
mod look;
mod markup;
mod my;
mod page;
#[cfg(any(debug_assertions, test))]
mod parts;
mod program;
mod public;
#[cfg(any(debug_assertions, test))]
mod samples;
mod trouble;
mod visit;
mod words;
mod written;

use std::sync::Arc;

use axum::{
    Router, middleware,
    routing::{get, post},
};
use slotcast_reservation::{
    domain::{refusal::Refusal, words::Language},
    edge::Edge,
    service::Service,
};

use self::{page::Fail, words::Words};

/// What every page can reach.
#[derive(Clone)]
pub(crate) struct Web(Arc<Inner>);

struct Inner {
    edge: Edge,
    english: Words,
    japanese: Words,
}

impl Web {
    fn new(edge: Edge) -> Self {
        let (english, japanese) = (Words::of(Language::English), Words::of(Language::Japanese));
        Self(Arc::new(Inner { edge, english, japanese }))
    }

    pub(crate) fn edge(&self) -> &Edge {
        &self.0.edge
    }

    pub(crate) fn service(&self) -> &Service {
        self.0.edge.service()
    }

    pub(crate) fn words(&self, language: Language) -> &Words {
        match language {
            Language::English => &self.0.english,
            Language::Japanese => &self.0.japanese,
        }
    }
}

/// All pages, to be merged with the API's router and served with
/// [`into_make_service_with_connect_info`](Router::into_make_service_with_connect_info) of a `SocketAddr`.
pub fn router(edge: Edge) -> Router {
    let web = Web::new(edge);
    let pages = Router::new()
        .merge(public::routes())
        .merge(account::routes())
        .merge(my::routes())
        .route("/look", post(look::choose))
        .route("/static/{name}", get(assets::file));
    #[cfg(debug_assertions)]
    let pages = pages.merge(parts::routes());
    pages
        .fallback(|| async { Fail(Refusal::NoSuchAddress(Vec::new())) })
        .method_not_allowed_fallback(|| async { Fail(Refusal::MethodNotAllowed) })
        .layer(middleware::from_fn_with_state(web.clone(), guard::guard))
        .with_state(web)
}
