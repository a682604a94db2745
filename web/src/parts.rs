//! `/operator/parts`, in development builds: all parts of the look at once, and every refusal in both languages.

use askama::Template;
use axum::{
    Router,
    extract::Path,
    response::{Html, IntoResponse as _},
    routing::get,
};
use slotcast_reservation::domain::{
    refusal::{KINDS, Kind, Refusal},
    words::Language,
};

use crate::{
    Web,
    form::Form,
    page::{Answer, Frame, Part},
    program::Shown,
    samples::{Typed, listings, pages, wrong_form},
    trouble::Trouble,
    visit::Visit,
};

#[derive(Template)]
#[template(path = "parts.html")]
struct PartsPage {
    f: Frame,
    programs: Vec<Shown>,
    form: Form,
    trouble: Trouble,
    refusals: &'static [Kind],
    /// Names of all templates, in order.
    templates: Vec<&'static str>,
}

pub(crate) fn routes() -> Router<Web> {
    Router::new().route("/operator/parts", get(parts)).route("/operator/parts/{at}", get(page))
}

async fn parts(visit: Visit) -> Answer {
    let f = Frame::new(&visit, Part::Other);
    let programs = listings(&Typed::usual(), visit.now());
    let programs = programs.iter().map(|listing| Shown::of(listing, &f)).collect();
    let refusal = Refusal::TooMany { retry_after: 30 };
    let page = PartsPage {
        programs,
        form: wrong_form("Hanako"),
        trouble: Trouble::of(&refusal, visit.language()),
        refusals: KINDS,
        templates: pages(&visit, &Typed::usual()).iter().map(|(name, _)| *name).collect(),
        f,
    };
    page.f.page(&page)
}

/// Title and next step in both languages.
fn said(kind: &Kind) -> [[&'static str; 2]; 2] {
    [Language::English, Language::Japanese].map(|language| [kind.title(language), kind.next(language)])
}

/// `/operator/parts/7`: the template of that place in the list, with made-up content.
async fn page(visit: Visit, Path(at): Path<usize>) -> Answer {
    let mut pages = pages(&visit, &Typed::usual());
    if at >= pages.len() {
        return Err(Refusal::NoSuchAddress(Vec::new()).into());
    }
    let text = pages.swap_remove(at).1.map_err(|_| Refusal::Internal)?;
    Ok(Html(text).into_response())
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use axum::http::{HeaderMap, header};
    use slotcast_reservation::edge::{Edge, EdgeSettings};
    use slotcast_reservation_testing::http::Server;

    use super::*;

    async fn visit(server: &Server, language: &'static str) -> Visit {
        let settings =
            EdgeSettings { base_url: "https://cast.example".to_owned(), trusted_proxies: Vec::new() };
        let web = Web::new(Edge::new(server.service.clone(), settings));
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_LANGUAGE, language.parse().unwrap());
        Visit::of(&web, headers, IpAddr::from([127, 0, 0, 1]), "/today?text=x".to_owned()).await
    }

    #[tokio::test]
    async fn nothing_that_somebody_typed_gets_into_a_page_unescaped() {
        let server = Server::start().await;
        let script = "\"><script>alert(1)</script><img src=x onerror=alert(1)> ' ` {{ 7*7 }}";
        let turned = "\u{202e}txet\u{2066}\u{200f}\u{2028}\u{7}\u{85}";
        let long = "W".repeat(10_000);
        for language in ["en", "ja"] {
            let visit = visit(&server, language).await;
            for hostile in [script, turned, &long] {
                for (name, text) in pages(&visit, &Typed::all(hostile)) {
                    let text = text.unwrap();
                    for raw in ["<script>", "<img", "onerror=alert(1)>"] {
                        assert!(!text.contains(raw), "{name} lets {raw} through");
                    }
                    let turns = |letter: char| {
                        matches!(letter, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
                            || (letter.is_control() && letter != '\n')
                    };
                    assert!(!text.contains(turns), "{name} lets text be turned");
                    assert!(!text.contains(" style=") && !text.contains("javascript:"), "{name}");
                    assert_eq!(text.matches("<script").count(), 1, "{name} has a script of its own inside");
                }
            }
        }
    }

    #[tokio::test]
    async fn pages_are_whole_in_both_languages_and_show_no_key_of_a_word() {
        let server = Server::start().await;
        for (language, tag) in [("en", "<html lang=\"en\""), ("ja", "<html lang=\"ja\"")] {
            let visit = visit(&server, language).await;
            for (name, text) in pages(&visit, &Typed::usual()) {
                let text = text.unwrap();
                assert!(text.contains(tag), "{name}");
                assert_eq!(text.matches("<h1").count(), 1, "{name} has one heading of the first level");
                assert!(
                    text.contains("Evening concert") || !matches!(name, "top" | "today" | "guide_day"),
                    "{name}"
                );
            }
        }
    }
}
