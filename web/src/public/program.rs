//! A program's page, its entry for a calendar, and the list that opens it in a player.

use askama::Template;
use axum::{
    extract::Path,
    http::{HeaderValue, Uri, header},
    response::{IntoResponse, Response},
};
use icalendar::{Calendar, Component, Event};
use slotcast_reservation::{
    domain::{
        refusal::{Refusal, Thing},
        words::ReservationNumber,
    },
    mail::event_uid,
    service::Listing,
};

use crate::{
    art,
    form::Form,
    markup::Markup,
    page::{Answer, Fail, Frame, Part, see_other},
    program::Shown,
    visit::Visit,
    written::number_of,
};

#[derive(Template)]
#[template(path = "program.html")]
pub(crate) struct ProgramPage {
    pub(crate) f: Frame,
    pub(crate) p: Shown,
    pub(crate) qr: Markup,
}

async fn listing(visit: &Visit, number: &str) -> Result<Listing, Fail> {
    let number = number_of(number).ok_or(Refusal::NotFound(Thing::Program))?;
    Ok(visit.web().service().program(visit.actor(), ReservationNumber(number)).await?)
}

/// `GET /programs?number=…`: leads to the program whose number somebody typed, in whatever way.
pub(super) async fn find(uri: Uri) -> Answer {
    let query = Form::parse(uri.query().unwrap_or_default().as_bytes());
    let number = query.get("number").and_then(number_of).ok_or(Refusal::NotFound(Thing::Program))?;
    Ok(see_other(&format!("/programs/{number}")))
}

pub(super) async fn program(visit: Visit, Path(number): Path<String>) -> Answer {
    let listing = listing(&visit, &number).await?;
    let f = Frame::new(&visit, Part::Today);
    let p = Shown::of(&listing, &f);
    let qr = art::qr(&format!("{}/programs/{}", f.base_url(), p.number));
    let page = ProgramPage { f, p, qr };
    page.f.page(&page)
}

/// One event (RFC 5545), known by the same name as in mails, so that calendars do not show it twice.
pub(super) async fn calendar(visit: Visit, Path(number): Path<String>) -> Answer {
    let listing = listing(&visit, &number).await?;
    let provider = &visit.web().service().settings().provider;
    let stamp = |at: slotcast_core::time::WallTime| {
        let at = jiff::Timestamp::from_microsecond(at.as_micros()).unwrap_or_default();
        at.strftime("%Y%m%dT%H%M%SZ").to_string()
    };
    let mut event = Event::new();
    event
        .uid(&event_uid(listing.number, &provider.from))
        .summary(&listing.title)
        .description(&[listing.outline.as_str(), listing.details.as_str()].join("\n"))
        .url(&format!("{}/programs/{}", provider.base_url, listing.number))
        .add_property("DTSTAMP", stamp(visit.now()))
        .add_property("DTSTART", stamp(listing.window.start()))
        .add_property("DTEND", stamp(listing.window.end()));
    let text = Calendar::new().name(&provider.name).push(event.done()).done().to_string();
    Ok(download("text/calendar; charset=utf-8", &format!("program-{}.ics", listing.number), text))
}

/// What VLC and other players open by a click: an extended M3U list with the one address in it.
pub(super) async fn playlist(visit: Visit, Path(number): Path<String>) -> Answer {
    let listing = listing(&visit, &number).await?;
    let title: String = listing.title.chars().filter(|letter| !letter.is_control()).collect();
    let text = format!("#EXTM3U\n#EXTINF:-1,{title}\n{}\n", listing.watch_url);
    Ok(download("audio/x-mpegurl; charset=utf-8", &format!("program-{}.m3u", listing.number), text))
}

fn download(media_type: &'static str, name: &str, text: String) -> Response {
    let disposition = format!("attachment; filename=\"{name}\"");
    let disposition = HeaderValue::from_str(&disposition).unwrap_or(HeaderValue::from_static("attachment"));
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(media_type)),
        (header::CONTENT_DISPOSITION, disposition),
    ];
    (headers, text).into_response()
}
