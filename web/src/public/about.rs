//! What one can do here, what it costs, how to watch and to broadcast; and the terms.

use askama::Template;

use crate::{
    markup::typed,
    page::{Answer, Frame, Part},
    visit::Visit,
};

/// A channel as it is sold.
pub(crate) struct Line {
    pub(crate) number: u16,
    pub(crate) seats: u32,
    pub(crate) rate: String,
    pub(crate) toll: String,
    /// For an hour; `None` where an hour is no whole number of slots.
    pub(crate) hour: Option<String>,
}

#[derive(Template)]
#[template(path = "about.html")]
pub(crate) struct AboutPage {
    pub(crate) f: Frame,
    pub(crate) lines: Vec<Line>,
    pub(crate) slot_minutes: u64,
    pub(crate) reconfirm_hours: u64,
    pub(crate) connect_minutes: u64,
    /// Whether premium members can register on these pages.
    pub(crate) is_billing: bool,
}

pub(super) async fn about(visit: Visit) -> Answer {
    let f = Frame::new(&visit, Part::About);
    let service = visit.web().service();
    let rules = service.rules();
    let slots_an_hour = match rules.slot.as_secs() {
        0 => None,
        slot => (3600 % slot == 0).then_some(3600 / slot),
    };
    let lines = service.channels().await?;
    let lines = lines
        .iter()
        .map(|channel| Line {
            number: channel.number.0,
            seats: channel.seats.count(),
            rate: f.written.rate(channel.class),
            toll: f.written.money(channel.toll.0),
            hour: slots_an_hour
                .and_then(|slots| channel.toll.0.checked_mul(slots))
                .map(|hour| f.written.money(hour)),
        })
        .collect();
    let page = AboutPage {
        lines,
        slot_minutes: rules.slot.as_secs().div_ceil(60),
        reconfirm_hours: rules.reconfirm_before.as_secs() / 3600,
        connect_minutes: rules.margins.before.as_secs() / 60,
        is_billing: service.is_billing(),
        f,
    };
    page.f.page(&page)
}

#[derive(Template)]
#[template(path = "terms.html")]
pub(crate) struct TermsPage {
    pub(crate) f: Frame,
    /// Paragraphs of the operator's text.
    pub(crate) paragraphs: Vec<String>,
}

pub(super) async fn terms(visit: Visit) -> Answer {
    let f = Frame::new(&visit, Part::Other);
    let text = &visit.web().service().settings().terms;
    let page = TermsPage { f, paragraphs: paragraphs(text) };
    page.f.page(&page)
}

/// What stands between empty lines.
pub(crate) fn paragraphs(text: &str) -> Vec<String> {
    let paragraphs = text.split("\n\n").map(|paragraph| typed(paragraph.trim()));
    paragraphs.filter(|paragraph| !paragraph.is_empty()).collect()
}
