//! Today's live, with its filters; and what the operator recommends.

use std::collections::BTreeSet;

use askama::Template;
use axum::http::Uri;
use slotcast_reservation::service::Listing;

use crate::{
    form::Form,
    markup::typed,
    page::{Answer, Frame, Part},
    program::Shown,
    visit::Visit,
};

#[derive(Template)]
#[template(path = "today.html")]
pub(crate) struct TodayPage {
    pub(crate) f: Frame,
    pub(crate) day: String,
    pub(crate) genres: Vec<String>,
    pub(crate) genre: String,
    pub(crate) text: String,
    pub(crate) special: Vec<Shown>,
    pub(crate) private: Vec<Shown>,
    /// Programs of today, whatever the filters.
    pub(crate) all: usize,
}

impl TodayPage {
    fn is_filtered(&self) -> bool {
        !self.genre.is_empty() || !self.text.is_empty()
    }

    fn found(&self) -> usize {
        self.special.len() + self.private.len()
    }
}

pub(super) async fn today(visit: Visit, uri: Uri) -> Answer {
    let query = Form::parse(uri.query().unwrap_or_default().as_bytes());
    let f = Frame::new(&visit, Part::Today);
    let listings = visit.web().service().today(visit.actor()).await?;
    let (genre, text) = (typed(&query.text("genre")), typed(&query.text("text")));
    let genres: BTreeSet<_> = listings.iter().map(|listing| typed(&listing.genre)).collect();
    let genres = genres.into_iter().filter(|genre| !genre.is_empty()).collect();
    let wanted = text.to_lowercase();
    let is_wanted = |listing: &&Listing| {
        (genre.is_empty() || typed(&listing.genre) == genre) && speaks_of(listing, &wanted)
    };
    let shown = listings.iter().filter(is_wanted).map(|listing| Shown::of(listing, &f));
    let (special, private) = shown.partition(|program| program.is_special);
    let day = f.written.day(f.written.date_at(f.now()));
    let page = TodayPage { f, day, genres, genre, text, special, private, all: listings.len() };
    page.f.page(&page)
}

/// Whether one of a program's texts holds `wanted`, which is in small letters.
fn speaks_of(listing: &Listing, wanted: &str) -> bool {
    wanted.is_empty()
        || [&listing.title, &listing.outline, &listing.details, &listing.broadcaster, &listing.genre]
            .iter()
            .any(|text| text.to_lowercase().contains(wanted))
}

#[derive(Template)]
#[template(path = "pickup.html")]
pub(crate) struct PickupPage {
    pub(crate) f: Frame,
    pub(crate) pickups: Vec<(String, Shown)>,
}

pub(super) async fn pickup(visit: Visit) -> Answer {
    let f = Frame::new(&visit, Part::Pickup);
    let pickups = visit.web().service().pickups(visit.actor()).await?;
    let pickups = pickups.iter().map(|pick| (typed(&pick.note), Shown::of(&pick.program, &f))).collect();
    let page = PickupPage { f, pickups };
    page.f.page(&page)
}
