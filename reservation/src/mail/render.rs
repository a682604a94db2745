//! A letter becomes a mail.

use std::time::{Duration, SystemTime};

use lettre::{
    Address, Message,
    address::Envelope,
    message::{
        Mailbox, MultiPart, SinglePart,
        header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue},
    },
};
use minijinja::Value;
use sha2::{Digest, Sha256};
use slotcast_core::{time::WallTime, words::OpenLevel};

use super::{
    Letter, MailError, MailSettings, Program,
    calendar::{self, Method},
    is_key,
    template::{self, Values},
    text::{address, header_line, lines, moment, money, one_line, thousands},
};
use crate::domain::{
    effects::MailKind,
    proof::ProofKind,
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
    let (name, values) = match (&letter.program, letter.request.kind) {
        (_, kind) if kind.is_about_member() => (kind.name(), member_values(letter, settings)?),
        (None, _) => return Err(MailError::Missing("a reservation")),
        (Some(program), _) => {
            (template_of(letter, program)?, program_values(letter, program, settings, now)?)
        }
    };
    let (subject, text) = template::fill(name, letter.language, &values).ok_or(MailError::Form)?;
    let entry = match &letter.program {
        Some(program) => Method::of(letter, program)
            .map(|method| Ok((method, calendar::entry(letter, program, settings, method, now)?)))
            .transpose()?,
        None => None,
    };
    compose(letter, settings, &subject, text, entry, now)
}

/// The name of the text.
fn template_of(letter: &Letter, program: &Program) -> Result<&'static str, MailError> {
    Ok(match (letter.request.kind, !letter.request.is_to_friend()) {
        (
            MailKind::Welcome
            | MailKind::VerifyEmail
            | MailKind::NewPassword
            | MailKind::PasswordChanged
            | MailKind::EmailChanged,
            _,
        ) => letter.request.kind.name(),
        (MailKind::ReservationId, _) => "reservation_id",
        (MailKind::ReconfirmReminder, _) => "reconfirm_reminder",
        (MailKind::Confirmed, _) => "confirmed",
        (MailKind::Invitation, _) => "invitation",
        (MailKind::Changed, _) => "changed",
        (MailKind::Extended, true) => "extended",
        (MailKind::Extended, false) => "extended_friend",
        // The program will be: only this friend is not invited any more.
        (MailKind::Cancelled, _) if program.state.holds_slots() => "withdrawn",
        (MailKind::Cancelled, true) => "cancelled",
        (MailKind::Cancelled, false) => "cancelled_friend",
        (MailKind::Settled, _) => match program.state {
            State::Finished(Settlement::Charged) => "charged",
            State::Finished(Settlement::Waived) => "waived",
            _ => return Err(MailError::Missing("a reservation that was charged or waived")),
        },
        (MailKind::Refunded, _) if program.given_back.is_none() => {
            return Err(MailError::Missing("a refund"));
        }
        (MailKind::Refunded, _) => "refunded",
        (MailKind::CardNeeded, _) => "card_needed",
    })
}

fn common_values(letter: &Letter, settings: &MailSettings) -> Values {
    Values::from([
        ("name", or_dash(one_line(&letter.name)).into()),
        ("provider", or_dash(one_line(&settings.provider)).into()),
        ("pages", address(&settings.public_url).into()),
        ("stop", letter.stop_url.as_deref().map_or_else(String::new, address).into()),
    ])
}

/// Of mails that are about the member alone.
fn member_values(letter: &Letter, settings: &MailSettings) -> Result<Values, MailError> {
    let mut values = common_values(letter, settings);
    let kind = letter.request.kind;
    if let Some(proof) = kind.proof() {
        let mailed = letter.code.as_ref().ok_or(MailError::Missing("a code"))?;
        let page = match proof {
            ProofKind::Email => "verify",
            ProofKind::Password => "password",
        };
        let (pages, code) = (settings.public_url.trim_end_matches('/'), mailed.code.expose());
        values.extend([
            ("code", Value::from(code)),
            ("link", address(&format!("{pages}/{page}?code={code}")).into()),
            ("until", moment(mailed.until, &settings.zone, letter.language)?.into()),
        ]);
    }
    if kind == MailKind::EmailChanged {
        let new = letter.request.changes.first().ok_or(MailError::Missing("the new address"))?;
        values.insert("address", or_dash(one_line(new)).into());
    }
    Ok(values)
}

fn program_values(
    letter: &Letter,
    program: &Program,
    settings: &MailSettings,
    now: WallTime,
) -> Result<Values, MailError> {
    let (language, zone, kind) = (letter.language, &settings.zone, letter.request.kind);
    let moment = |time| moment(time, zone, language);
    let money = |amount| money(amount, program.currency, language);
    let reconfirm_until = match program.state {
        State::Registered => moment(program.reconfirm_until)?,
        _ => String::new(),
    };
    let reservation_id = match (kind, &program.reservation_id) {
        (MailKind::ReservationId, Some(id)) => id.expose(),
        (MailKind::ReservationId, None) => return Err(MailError::Missing("a reservation ID")),
        _ => "",
    };
    let is_owed =
        program.was_confirmed && !program.is_waived && program.state == State::Cancelled(CancelledBy::Member);
    let mut values = common_values(letter, settings);
    values.extend([
        ("number", Value::from(program.number.to_string())),
        ("channel", format!("{} ({})", program.channel, program.channel_name).into()),
        ("title", or_dash(one_line(&program.title)).into()),
        ("genre", one_line(&program.genre).into()),
        ("outline", one_line(&program.outline).into()),
        ("details", lines(&program.details).into()),
        ("open_level", open_level(program.open_level).into()),
        ("seats", thousands(i64::from(program.seats.count())).into()),
        ("start", moment(program.window.start())?.into()),
        ("end", moment(program.ended_early.unwrap_or_else(|| program.window.end()))?.into()),
        ("watch", address(&program.watch_url).into()),
        ("total", money(program.total).into()),
        ("viewers", program.viewers_peak.map_or_else(String::new, |n| thousands(i64::from(n))).into()),
        ("changes", lines(&letter.request.changes.join("\n")).into()),
        ("password", password(kind, program).into()),
        ("reconfirm_until", reconfirm_until.into()),
        ("reason", reason(program).into()),
        ("need", need(program, now).into()),
        ("card_until", moment(program.card_until)?.into()),
        ("is_owed", is_owed.into()),
        ("is_reissued", program.is_reissued.into()),
        ("is_confirmed", program.was_confirmed.into()),
        ("reservation_id", reservation_id.into()),
    ]);
    if let Some(given_back) = &program.given_back {
        values.insert("refund", money(given_back.amount).into());
        values.insert("is_to_card", given_back.is_to_card.into());
    }
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

/// Who cancelled, as the texts tell it.
const fn reason(program: &Program) -> &'static str {
    match program.state {
        State::Cancelled(CancelledBy::NotReconfirmed) if program.was_confirmed => "no_card",
        State::Cancelled(CancelledBy::NotReconfirmed) => "not_reconfirmed",
        State::Cancelled(CancelledBy::TermsNotAccepted) => "terms_not_accepted",
        State::Cancelled(CancelledBy::Operator) => "operator",
        _ => "member",
    }
}

/// What a card is needed for, as the texts tell it.
fn need(program: &Program, now: WallTime) -> &'static str {
    match program.state {
        State::Held | State::Registered => "reconfirm",
        State::Confirmed if now < program.card_until => "in_time",
        State::Confirmed | State::OnAir => "soon",
        State::Finished(_) | State::Cancelled(_) => "owed",
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
    let to_name = if letter.request.is_to_friend() { "" } else { letter.name.as_str() };
    let from = mailbox(&settings.provider, &settings.from)?;
    let to = mailbox(to_name, &letter.request.to)?;
    let envelope = Envelope::new(Some(from.email.clone()), vec![to.email.clone()]);
    let builder = Message::builder()
        .envelope(envelope.map_err(|_| MailError::Address)?)
        .from(from)
        .to(to)
        .subject(header_line(subject))
        .date(date(now))
        .message_id(Some(format!("<{key}@{}>", calendar::domain(&settings.from))))
        .raw_header(ascii("Auto-Submitted", "auto-generated"))
        .raw_header(ascii("Content-Language", letter.language.tag()));
    let builder = match &letter.stop_url {
        // One click of the reader's own button is enough (RFC 8058).
        Some(url) if letter.request.is_to_friend() => builder
            .raw_header(ascii("List-Unsubscribe", &format!("<{}>", address(url))))
            .raw_header(ascii("List-Unsubscribe-Post", "List-Unsubscribe=One-Click")),
        _ if letter.request.is_to_friend() => return Err(MailError::Missing("a way to stop such mails")),
        _ => builder,
    };
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

/// Of the key, so that a repeat is the same mail; base 64 and quoted-printable never have `=_`.
fn boundary(key: &str) -> String {
    let digest = Sha256::digest(key.as_bytes());
    let letters: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("=_{letters}")
}

/// A field of which every letter is ours.
fn ascii(name: &'static str, value: &str) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value.to_owned())
}

/// Characters of a name in front of an address.
const NAME_CHARS_MAX: usize = 200;

/// An address, with a name in front where there is one.
fn mailbox(name: &str, address: &Email) -> Result<Mailbox, MailError> {
    let address: Address = address.as_str().parse().map_err(|_| MailError::Address)?;
    // Names of members are shorter; a header's line must not get too long, whatever has to be escaped in it.
    let name: String = header_line(name).chars().take(NAME_CHARS_MAX).collect();
    let name = name.trim_end();
    Ok(Mailbox::new((!name.is_empty()).then(|| name.to_owned()), address))
}

/// Held within 1970 to 9999, which is what the field can say.
fn date(now: WallTime) -> SystemTime {
    const LAST_S: i64 = 253_402_300_799;
    let seconds = now.as_micros().div_euclid(1_000_000).clamp(0, LAST_S);
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.unsigned_abs())
}
