//! A letter becomes a mail.

use std::time::{Duration, SystemTime};

use lettre::{
    Address, Message,
    address::Envelope,
    message::{
        MultiPart, SinglePart,
        header::{ContentTransferEncoding, ContentType, Date, HeaderName, HeaderValue},
    },
};
use sha2::{Digest, Sha256};
use slotcast_core::{time::WallTime, words::OpenLevel};

use super::{
    Letter, MailError, MailSettings, Program,
    calendar::{self, Method},
    header::{mailbox_field, text_field},
    is_key,
    template::{self, Template, Values, phrase},
    text::{address, lines, moment, money, one_line, thousands},
};
use crate::domain::{
    effects::MailKind,
    reservation::{CancelledBy, Settlement, State},
    words::{Email, Language},
};

/// The mail of `letter`.
///
/// - `now`: for `Date` and the calendar entry's stamp. The same letter at the same `now` is the same mail, byte by
///   byte; at another `now` only these two differ.
///
/// Errors: something that this kind of mail needs is missing, or a time or an address cannot be written. Trying
/// again would change nothing.
pub fn render(letter: &Letter, settings: &MailSettings, now: WallTime) -> Result<Message, MailError> {
    if !is_key(&letter.request.key) {
        return Err(MailError::Key);
    }
    let (template, values) = match (&letter.program, letter.request.kind) {
        (_, MailKind::Welcome) => (template::WELCOME, common_values(letter, settings)),
        (None, _) => return Err(MailError::Missing("a reservation")),
        (Some(program), _) => (template_of(letter, program)?, program_values(letter, program, settings)?),
    };
    let (subject, text) = template.fill(letter.language, &values).ok_or(MailError::Form)?;
    let entry = match &letter.program {
        Some(program) => Method::of(letter, program)
            .map(|method| Ok((method, calendar::entry(letter, program, settings, method, now)?)))
            .transpose()?,
        None => None,
    };
    compose(letter, settings, &subject, text, entry, now)
}

fn template_of(letter: &Letter, program: &Program) -> Result<Template, MailError> {
    Ok(match (letter.request.kind, letter.is_to_member) {
        (MailKind::Welcome, _) => template::WELCOME,
        (MailKind::ReservationId, _) => template::RESERVATION_ID,
        (MailKind::ReconfirmReminder, _) => template::RECONFIRM_REMINDER,
        (MailKind::Confirmed, _) => template::CONFIRMED,
        (MailKind::Invitation, _) => template::INVITATION,
        (MailKind::Changed, _) => template::CHANGED,
        (MailKind::Extended, true) => template::EXTENDED,
        (MailKind::Extended, false) => template::EXTENDED_FRIEND,
        // The program will be: only this friend is not invited any more, even where it is the member.
        (MailKind::Cancelled, _) if program.state.holds_slots() => template::WITHDRAWN,
        (MailKind::Cancelled, true) => template::CANCELLED,
        (MailKind::Cancelled, false) => template::CANCELLED_FRIEND,
        (MailKind::Settled, _) => match program.state {
            State::Finished(Settlement::Charged) => template::CHARGED,
            State::Finished(Settlement::Waived) => template::WAIVED,
            _ => return Err(MailError::Missing("a reservation that was charged or waived")),
        },
        (MailKind::Refunded, _) if program.given_back.is_none() => {
            return Err(MailError::Missing("a refund"));
        }
        (MailKind::Refunded, _) => template::REFUNDED,
    })
}

fn common_values(letter: &Letter, settings: &MailSettings) -> Values {
    let mut values = Values::default();
    values.set("name", or_dash(one_line(&letter.name)));
    values.set("provider", or_dash(one_line(&settings.provider)));
    values.set("pages", address(&settings.public_url));
    values
}

fn program_values(letter: &Letter, program: &Program, settings: &MailSettings) -> Result<Values, MailError> {
    let (language, zone, kind) = (letter.language, &settings.zone, letter.request.kind);
    let mut values = common_values(letter, settings);
    values.set("number", program.number.to_string());
    values.set("channel", format!("{} ({})", program.channel, program.channel_name));
    values.set("title", or_dash(one_line(&program.title)));
    values.set("genre", one_line(&program.genre));
    values.set("outline", one_line(&program.outline));
    values.set("details", lines(&program.details));
    values.set("open_level", phrase(language, open_level(program.open_level)));
    values.set("seats", thousands(i64::from(program.seats.count())));
    values.set("start", moment(program.window.start(), zone, language)?);
    values.set("end", moment(program.window.end(), zone, language)?);
    values.set("watch", address(&program.watch_url));
    values.set("total", money(program.total, program.currency, language));
    values.set("viewers", program.viewers_peak.map_or_else(String::new, |n| thousands(i64::from(n))));
    values.set("changes", lines(&letter.request.changes.join("\n")));
    values.set("password", password(kind, program));
    values.set(
        "reconfirm_until",
        match program.state {
            State::Registered => moment(program.reconfirm_until, zone, language)?,
            _ => String::new(),
        },
    );
    values.set("reason", phrase(language, reason(program.state)));
    values.set("cost", cost(letter, program));
    if let Some(given_back) = &program.given_back {
        values.set("refund", money(given_back.amount, program.currency, language));
        let way = if given_back.is_to_card { "to_card" } else { "off_bill" };
        values.set("refund_way", phrase(language, way));
    }
    values.set(
        "reservation_id",
        match (kind, &program.reservation_id) {
            (MailKind::ReservationId, Some(id)) => id.expose().to_owned(),
            (MailKind::ReservationId, None) => return Err(MailError::Missing("a reservation ID")),
            _ => String::new(),
        },
    );
    Ok(values)
}

/// Only for friends who are asked to watch, and only where one is asked for.
fn password(kind: MailKind, program: &Program) -> String {
    match (kind, program.open_level, &program.password) {
        (
            MailKind::Invitation | MailKind::Changed,
            OpenLevel::Password | OpenLevel::Secret,
            Some(password),
        ) => one_line(&password.0),
        _ => String::new(),
    }
}

const fn open_level(level: OpenLevel) -> &'static str {
    match level {
        OpenLevel::Public => "public",
        OpenLevel::Password => "password",
        OpenLevel::Secret => "secret",
    }
}

const fn reason(state: State) -> &'static str {
    match state {
        State::Cancelled(CancelledBy::NotReconfirmed) => "by_not_reconfirmed",
        State::Cancelled(CancelledBy::TermsNotAccepted) => "by_terms_not_accepted",
        State::Cancelled(CancelledBy::Operator) => "by_operator",
        _ => "by_member",
    }
}

/// What the member owes for a cancellation, as a sentence.
fn cost(letter: &Letter, program: &Program) -> String {
    let total = money(program.total, program.currency, letter.language);
    let is_owed =
        program.was_confirmed && !program.is_waived && program.state == State::Cancelled(CancelledBy::Member);
    if is_owed && !total.is_empty() {
        phrase(letter.language, "owed").replace("{total}", &total)
    } else {
        phrase(letter.language, "free").to_owned()
    }
}

fn or_dash(text: String) -> String {
    if text.is_empty() { "-".to_owned() } else { text }
}

fn compose(
    letter: &Letter,
    settings: &MailSettings,
    subject: &str,
    text: String,
    entry: Option<(Method, String)>,
    now: WallTime,
) -> Result<Message, MailError> {
    let key = &letter.request.key;
    let to_name = if letter.is_to_member { letter.name.as_str() } else { "" };
    let envelope =
        Envelope::new(Some(mail_address(&settings.from)?), vec![mail_address(&letter.request.to)?]);
    let builder = Message::builder()
        .envelope(envelope.map_err(|_| MailError::Address)?)
        .raw_header(mailbox_field("From", &settings.provider, &settings.from))
        .raw_header(mailbox_field("To", to_name, &letter.request.to))
        .raw_header(text_field("Subject", subject))
        .header(Date::new(date(now)))
        .raw_header(ascii("Message-ID", message_id(key, settings)))
        .raw_header(ascii("Auto-Submitted", "auto-generated".to_owned()))
        .raw_header(ascii("Content-Language", letter.language.tag().to_owned()));
    // Never as it is: no line of a part may look like the boundary.
    let encoding = match letter.language {
        Language::English => ContentTransferEncoding::QuotedPrintable,
        Language::Japanese => ContentTransferEncoding::Base64,
    };
    let plain = SinglePart::builder().content_type(ContentType::TEXT_PLAIN).header(encoding).body(text);
    let message = match entry {
        None => builder.singlepart(plain),
        Some((method, entry)) => {
            let kind = format!("text/calendar; charset=utf-8; method={}", method.name());
            let kind = ContentType::parse(&kind).map_err(|_| MailError::Form)?;
            let entry =
                SinglePart::builder().content_type(kind).header(ContentTransferEncoding::Base64).body(entry);
            let parts = MultiPart::alternative().boundary(boundary(key));
            builder.multipart(parts.singlepart(plain).singlepart(entry))
        }
    };
    message.map_err(|_| MailError::Form)
}

/// Of the key, so that receivers know a repeat. A long one stands on a line of its own.
fn message_id(key: &str, settings: &MailSettings) -> String {
    let id = format!("<{key}@{}>", calendar::domain(&settings.from));
    if id.len() > 64 { format!("\r\n {id}") } else { id }
}

/// Of the key, so that a repeat is the same mail; base 64 and quoted-printable never have `=_`.
fn boundary(key: &str) -> String {
    let digest = Sha256::digest(key.as_bytes());
    let letters: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("=_{letters}")
}

/// A field of which every letter is ours.
fn ascii(name: &'static str, value: String) -> HeaderValue {
    HeaderValue::dangerous_new_pre_encoded(HeaderName::new_from_ascii_str(name), value.clone(), value)
}

fn mail_address(email: &Email) -> Result<Address, MailError> {
    email.as_str().parse().map_err(|_| MailError::Address)
}

/// Held within 1970 to 9999, which is what the field can say.
fn date(now: WallTime) -> SystemTime {
    const LAST_S: i64 = 253_402_300_799;
    let seconds = now.as_micros().div_euclid(1_000_000).clamp(0, LAST_S);
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.unsigned_abs())
}
