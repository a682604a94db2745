//! The calendar entry of a program, as a scheduling message (RFC 5545, RFC 5546).
//!
//! The entry keeps its UID for the program's whole life and counts `SEQUENCE`, so that a later mail updates it and a
//! cancellation takes it out.
//! Invariant: no password and no reservation ID is ever in it: calendars are shared and synchronised.

use icalendar::{Calendar, Component, Event, EventLike, Parameter, Property};
use slotcast_core::{time::WallTime, words::OpenLevel};

use super::{
    Letter, MailError, MailSettings, Program,
    text::{address, lines, one_line, timestamp},
};
use crate::domain::{
    effects::MailKind,
    words::{Email, ReservationNumber},
};

/// What the entry is to do in the receiver's calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    /// Come in, or be brought up to date.
    Request,
    /// Go: there is no program.
    Cancel,
    /// Go from this calendar: the program will be, the receiver is not invited any more.
    Uninvite,
}

impl Method {
    /// What a letter's kind asks for. `None`: it has no entry.
    pub(super) fn of(letter: &Letter, program: &Program) -> Option<Self> {
        match letter.request.kind {
            MailKind::Confirmed | MailKind::Invitation | MailKind::Changed | MailKind::Extended => {
                Some(Self::Request)
            }
            // What was never confirmed is in no calendar.
            MailKind::Cancelled if !program.was_confirmed => None,
            MailKind::Cancelled if program.state.holds_slots() => Some(Self::Uninvite),
            MailKind::Cancelled => Some(Self::Cancel),
            MailKind::Welcome
            | MailKind::ReservationId
            | MailKind::ReconfirmReminder
            | MailKind::Settled
            | MailKind::Refunded
            | MailKind::CardNeeded
            | MailKind::VerifyEmail
            | MailKind::NewPassword
            | MailKind::PasswordChanged
            | MailKind::EmailChanged => None,
        }
    }

    /// As written in `METHOD` and in the part's type.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Request => "REQUEST",
            Self::Cancel | Self::Uninvite => "CANCEL",
        }
    }
}

/// The entry as text, with CRLF.
pub(super) fn entry(
    letter: &Letter,
    program: &Program,
    settings: &MailSettings,
    method: Method,
    now: WallTime,
) -> Result<String, MailError> {
    let mut event = Event::new();
    event
        .uid(&event_uid(program.number, &settings.from))
        .sequence(letter.request.calendar_sequence)
        .add_property("DTSTAMP", utc(now)?)
        .add_property("DTSTART", utc(program.window.start())?)
        .add_property("DTEND", utc(program.window.end())?)
        .summary(&one_line(&program.title))
        .url(&address(&program.watch_url))
        .location(&address(&program.watch_url))
        .append_property(organizer(settings))
        .append_multi_property(attendee(letter));
    let about = [one_line(&program.outline), lines(&program.details)];
    let about: Vec<_> = about.into_iter().filter(|text| !text.is_empty()).collect();
    if !about.is_empty() {
        event.description(&about.join("\n\n"));
    }
    if program.open_level == OpenLevel::Secret {
        event.class(icalendar::Class::Private);
    }
    // Who is only uninvited must not read that it is cancelled (RFC 5546 §3.2.5).
    match method {
        Method::Request => event.add_property("STATUS", "CONFIRMED"),
        Method::Cancel => event.add_property("STATUS", "CANCELLED"),
        Method::Uninvite => &mut event,
    };
    let mut calendar = Calendar::empty();
    calendar
        .append_property(("VERSION", "2.0"))
        .append_property(("PRODID", "-//slotcast//reservations//EN"))
        .append_property(("CALSCALE", "GREGORIAN"))
        .append_property(("METHOD", method.name()))
        .push(event.done());
    // `to_string` would panic where this fails.
    let mut text = String::new();
    std::fmt::write(&mut text, format_args!("{calendar}")).map_err(|_| MailError::Form)?;
    Ok(text)
}

/// What calendars know a program by, wherever they read of it.
///
/// - `from`: the provider's address.
pub fn event_uid(number: ReservationNumber, from: &Email) -> String {
    format!("reservation-{number}@{}", domain(from))
}

/// The domain of the provider's address: part of names that must stay the same.
pub(super) fn domain(from: &Email) -> &str {
    from.as_str().rsplit('@').next().unwrap_or("localhost")
}

fn organizer(settings: &MailSettings) -> Property {
    Property::new("ORGANIZER", mailto(&settings.from))
        .append_parameter(Parameter::new("CN", &parameter(&settings.provider)))
        .done()
}

fn attendee(letter: &Letter) -> Property {
    // The member has agreed already; nobody need answer, a program needs no list of guests.
    let status = if letter.request.is_to_friend() { "NEEDS-ACTION" } else { "ACCEPTED" };
    Property::new("ATTENDEE", mailto(&letter.request.to))
        .append_parameter(Parameter::new("PARTSTAT", status))
        .append_parameter(Parameter::new("RSVP", "FALSE"))
        .done()
}

/// Letters that mean something else in an address of this kind are escaped (RFC 6068 §2).
fn mailto(address: &Email) -> String {
    let mut text = "mailto:".to_owned();
    for letter in address.as_str().chars() {
        match letter {
            'a'..='z'
            | 'A'..='Z'
            | '0'..='9'
            | '@'
            | '.'
            | '-'
            | '_'
            | '~'
            | '+'
            | '!'
            | '$'
            | '*'
            | '\'' => {
                text.push(letter);
            }
            other => text.push_str(&format!("%{:02X}", u32::from(other))),
        }
    }
    text
}

/// A parameter has no way to write a double quote (RFC 5545 §3.2), and `^` begins an escape (RFC 6868).
fn parameter(text: &str) -> String {
    one_line(&text.replace(['"', '^'], ""))
}

/// `20261122T100000Z`
fn utc(time: WallTime) -> Result<String, MailError> {
    Ok(timestamp(time)?.strftime("%Y%m%dT%H%M%SZ").to_string())
}
