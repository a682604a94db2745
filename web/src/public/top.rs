//! The top page: what this is, what is on air now, what comes next.

use askama::Template;

use crate::{
    markup::typed,
    page::{Answer, Frame, Part},
    program::Shown,
    visit::Visit,
};

/// Programs of each list.
const CARDS_MAX: usize = 9;
const NEXT_MAX: usize = 8;
const PICKUPS_MAX: usize = 3;

#[derive(Template)]
#[template(path = "top.html")]
pub(crate) struct TopPage {
    pub(crate) f: Frame,
    pub(crate) on_air: Vec<Shown>,
    /// How many are on air; the list may be shorter.
    pub(crate) on_air_count: usize,
    pub(crate) next: Vec<Shown>,
    pub(crate) pickups: Vec<(String, Shown)>,
}

pub(super) async fn top(visit: Visit) -> Answer {
    let service = visit.web().service();
    let f = Frame::new(&visit, Part::Other);
    let today = service.today(visit.actor()).await?;
    let pickups = service.pickups(visit.actor()).await?;
    let shown: Vec<_> = today.iter().map(|listing| Shown::of(listing, &f)).collect();
    let (mut on_air, mut next) = (Vec::new(), Vec::new());
    for program in shown {
        if program.door.is_on_air() {
            on_air.push(program);
        } else if !program.door.is_over() {
            next.push(program);
        }
    }
    next.sort_by_key(|program| program.window.start());
    let on_air_count = on_air.len();
    on_air.truncate(CARDS_MAX);
    next.truncate(NEXT_MAX);
    let pickups = pickups.iter().take(PICKUPS_MAX);
    let pickups = pickups.map(|pick| (typed(&pick.note), Shown::of(&pick.program, &f))).collect();
    let page = TopPage { f, on_air, on_air_count, next, pickups };
    page.f.page(&page)
}
