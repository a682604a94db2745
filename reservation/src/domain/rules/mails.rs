//! Who is written to, under which key, and what is said of a change.

use sha2::{Digest, Sha256};
use slotcast_core::words::OpenLevel;

use crate::domain::{
    effects::{MailKind, MailRequest, PaymentRequest, Whom},
    member::Member,
    reservation::{ProgramDetails, Reservation},
    words::{Email, Language},
};

/// A mail to the member whose reservation it is. The reservation's version makes the key one of its kind.
pub(super) fn to_member(kind: MailKind, member: &Member, reservation: &Reservation) -> MailRequest {
    MailRequest {
        key: format!("{}-{}-{}", label(kind), reservation.number, reservation.version),
        kind,
        whom: Whom::Member,
        to: member.email.clone(),
        member: member.number,
        reservation: Some(reservation.number),
        calendar_sequence: reservation.calendar_sequence,
        changes: Vec::new(),
    }
}

/// A mail to a new member.
pub fn welcome(member: &Member) -> MailRequest {
    about_member(MailKind::Welcome, member, &member.email, &member.number.to_string())
}

/// A mail that is about a member alone. `name` makes the key one of its kind.
pub fn about_member(kind: MailKind, member: &Member, to: &Email, name: &str) -> MailRequest {
    MailRequest {
        key: format!("{}-{name}", label(kind)),
        kind,
        whom: Whom::Member,
        to: to.clone(),
        member: member.number,
        reservation: None,
        calendar_sequence: 0,
        changes: Vec::new(),
    }
}

/// What the keys of mails about cards begin with; the payment's own key follows.
const CARD_MAIL: &str = "card-needed-";

/// A mail to a member who needs a card, or another one, because of `payment`, a key.
pub fn card_mail(member: &Member, reservation: &Reservation, payment: &str) -> MailRequest {
    let key = format!("{CARD_MAIL}{payment}");
    MailRequest { key, ..to_member(MailKind::CardNeeded, member, reservation) }
}

/// The key of the payment that a mail about a card is about. `None`: it is about the reconfirmation.
pub fn payment_of_mail(key: &str) -> Option<&str> {
    let rest = key.strip_prefix(CARD_MAIL)?;
    // Else it is a reservation's number and version.
    rest.starts_with(|first: char| first.is_ascii_lowercase()).then_some(rest)
}

/// What the keys of mails about refunds begin with; the refund's own key follows.
const REFUND_MAIL: &str = "refunded-";

/// A mail to a member who gets money back. Its refund is found by [`refund_of_mail`].
pub fn refund_mail(refund: &PaymentRequest, member: &Member) -> MailRequest {
    MailRequest {
        key: format!("{REFUND_MAIL}{}", refund.key),
        kind: MailKind::Refunded,
        whom: Whom::Member,
        to: member.email.clone(),
        member: member.number,
        reservation: Some(refund.reservation),
        calendar_sequence: 0,
        changes: Vec::new(),
    }
}

/// The key of the refund that a mail is about.
pub fn refund_of_mail(key: &str) -> Option<&str> {
    key.strip_prefix(REFUND_MAIL)
}

/// The friends, without the member: who is on the own list is told as member, and has one calendar entry.
pub(super) fn others<'a>(friends: &'a [Email], member: &'a Member) -> impl Iterator<Item = &'a Email> + 'a {
    friends.iter().filter(|friend| !is_same(friend, &member.email))
}

/// Whether mail to both comes to the same person: case does not count.
pub(super) fn is_same(one: &Email, other: &Email) -> bool {
    one.as_str().eq_ignore_ascii_case(other.as_str())
}

pub(super) fn to_friends<'a>(
    kind: MailKind,
    member: &'a Member,
    reservation: &'a Reservation,
) -> impl Iterator<Item = MailRequest> + 'a {
    others(&reservation.program.friends, member)
        .map(move |friend| friend_mail(kind, friend, reservation, &[]))
}

pub(super) fn friend_mail(
    kind: MailKind,
    friend: &Email,
    reservation: &Reservation,
    changes: &[String],
) -> MailRequest {
    let who = Sha256::digest(friend.as_str().to_lowercase().as_bytes());
    let who: String = who.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    MailRequest {
        key: format!("{}-{}-{}-{who}", label(kind), reservation.number, reservation.version),
        kind,
        whom: Whom::Friend,
        to: friend.clone(),
        member: reservation.member,
        reservation: Some(reservation.number),
        calendar_sequence: reservation.calendar_sequence,
        changes: changes.to_vec(),
    }
}

fn label(kind: MailKind) -> String {
    kind.name().replace('_', "-")
}

/// One line for each thing that changed and that friends may know.
pub(super) fn changed_lines(old: &ProgramDetails, new: &ProgramDetails, language: Language) -> Vec<String> {
    let name = |english: &'static str, japanese: &'static str| match language {
        Language::English => english,
        Language::Japanese => japanese,
    };
    let mut lines = Vec::new();
    let mut text = |name: &str, old: &str, new: &str| {
        if old != new {
            lines.push(format!("{name}: {old} → {new}"));
        }
    };
    text(name("Title", "題名"), &old.title, &new.title);
    text(name("Genre", "ジャンル"), &old.genre, &new.genre);
    text(name("Outline", "概要"), &old.outline, &new.outline);
    text(name("Details", "詳細"), &old.details, &new.details);
    let level = |level| match level {
        OpenLevel::Public => name("public", "公開"),
        OpenLevel::Password => name("password", "パスワード制"),
        OpenLevel::Secret => name("secret", "非公開"),
    };
    text(name("Open level", "公開範囲"), level(old.open_level), level(new.open_level));
    if old.password != new.password && new.password.is_some() {
        lines.push(name("Password: changed, see below", "パスワード: 変更されました(下記参照)").to_owned());
    }
    lines
}
