//! A program as pages show it: on cards, in lists, on its own page.
//!
//! Owns: [`Shown`], [`Door`]: what the templates need of a listing, with every typed text made harmless.

use slotcast_core::{
    time::WallTime,
    words::{OpenLevel, Window},
};
use slotcast_reservation::{
    domain::reservation::{ProgramKind, State},
    service::{self, Listing},
};

use crate::{
    art,
    markup::{Markup, typed},
    page::Frame,
    written::in_fours,
};

/// Whether one may come in now, and why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// On air, and a seat is free.
    Open,
    /// On air, every seat is taken.
    Full,
    /// Its window has begun, and nothing is sent yet, or nothing any more.
    Silent,
    /// Its window comes.
    Before,
    /// Its window is over, or it was cancelled.
    Over,
}

impl Door {
    pub(crate) fn of(listing: &Listing, now: WallTime) -> Self {
        let is_over = matches!(listing.state, State::Cancelled(_) | State::Finished(_));
        if is_over || listing.window.end() <= now {
            Self::Over
        } else if listing.door == service::Door::Open {
            Self::Open
        } else if listing.is_on_air {
            Self::Full
        } else if listing.window.contains(now) {
            Self::Silent
        } else {
            Self::Before
        }
    }

    pub(crate) const fn is_open(self) -> bool {
        matches!(self, Self::Open)
    }

    pub(crate) const fn is_on_air(self) -> bool {
        matches!(self, Self::Open | Self::Full)
    }

    pub(crate) const fn is_before(self) -> bool {
        matches!(self, Self::Before)
    }

    pub(crate) const fn is_over(self) -> bool {
        matches!(self, Self::Over)
    }
}

/// A program as a template shows it.
#[derive(Clone)]
pub(crate) struct Shown {
    pub(crate) number: i64,
    pub(crate) title: String,
    pub(crate) broadcaster: String,
    pub(crate) genre: String,
    pub(crate) outline: String,
    pub(crate) details: String,
    pub(crate) email: Option<String>,
    pub(crate) web: Option<String>,
    pub(crate) is_special: bool,
    pub(crate) needs_password: bool,
    pub(crate) is_secret: bool,
    pub(crate) is_for_members: bool,
    pub(crate) channel: u16,
    pub(crate) door: Door,
    pub(crate) window: Window,
    pub(crate) span: Markup,
    pub(crate) when: Markup,
    pub(crate) seats: u32,
    pub(crate) taken: u32,
    /// Until the end, in whole minutes, at least one; while it is on air.
    pub(crate) minutes_left: u64,
    pub(crate) watch_url: String,
    /// Whether there is a picture of what is on air.
    pub(crate) has_still: bool,
}

impl Shown {
    pub(crate) fn of(listing: &Listing, f: &Frame) -> Self {
        let now = f.now();
        let seats = listing.seats.count();
        let is_public = listing.open_level == OpenLevel::Public;
        Self {
            number: listing.number.0,
            title: typed(&listing.title),
            broadcaster: typed(&listing.broadcaster),
            genre: typed(&listing.genre),
            outline: typed(&listing.outline),
            details: typed(&listing.details),
            email: listing.email.as_ref().map(|email| typed(email.as_str())),
            web: listing.web.as_deref().filter(|web| is_web(web)).map(typed),
            is_special: listing.kind == ProgramKind::Special,
            needs_password: !is_public,
            is_secret: listing.open_level == OpenLevel::Secret,
            is_for_members: listing.is_for_members && is_public,
            channel: listing.channel.0,
            door: Door::of(listing, now),
            window: listing.window,
            span: f.written.span(listing.window),
            when: f.written.window(listing.window),
            seats,
            taken: listing.viewers.min(seats),
            minutes_left: listing.window.end().since(now).as_secs().div_ceil(60).max(1),
            watch_url: listing.watch_url.clone(),
            has_still: listing.is_on_air && f.has_still(listing.number),
        }
    }

    /// `1234 5678 9012 3456`.
    pub(crate) fn fours(&self) -> String {
        in_fours(self.number)
    }

    pub(crate) fn picture(&self) -> Markup {
        art::picture(self.number)
    }

    pub(crate) const fn hue(&self) -> i64 {
        art::hue(self.number)
    }

    /// `42 min left`, `1 h 52 min left`.
    pub(crate) fn time_left(&self, f: &Frame) -> String {
        match (self.minutes_left / 60, self.minutes_left % 60) {
            (0, minutes) => f.w().with("minutes-left", "n", minutes),
            (hours, 0) => f.w().with("hours-left", "n", hours),
            (hours, minutes) => f.w().with_two("hours-minutes-left", "h", hours, "m", minutes),
        }
    }
}

/// Only what a browser opens as a page: never a script's address.
fn is_web(address: &str) -> bool {
    address.starts_with("https://") || address.starts_with("http://")
}
