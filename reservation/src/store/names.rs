//! Names in the database of what has none elsewhere, and what both databases' errors mean.
//!
//! Owns: open levels, kinds and accounts as text; checks before a value is written.
//! Refuses: a text with NUL, which PostgreSQL cannot hold; a number that 64 signed bits cannot.

use slotcast_core::words::OpenLevel;

use super::{Conflict, StoreError, Stored};
use crate::domain::{
    effects::Account,
    member::MemberKind,
    reservation::{CancelledBy, ProgramKind, Settlement, State},
    words::MemberNumber,
};

pub(super) const fn open_level_name(level: OpenLevel) -> &'static str {
    match level {
        OpenLevel::Public => "public",
        OpenLevel::Password => "password",
        OpenLevel::Secret => "secret",
    }
}

pub(super) fn open_level(name: &str) -> Option<OpenLevel> {
    [OpenLevel::Public, OpenLevel::Password, OpenLevel::Secret]
        .into_iter()
        .find(|level| open_level_name(*level) == name)
}

pub(super) const fn program_kind_name(kind: ProgramKind) -> &'static str {
    match kind {
        ProgramKind::Private => "private",
        ProgramKind::Special => "special",
    }
}

pub(super) fn program_kind(name: &str) -> Option<ProgramKind> {
    [ProgramKind::Private, ProgramKind::Special].into_iter().find(|kind| program_kind_name(*kind) == name)
}

pub(super) const fn member_kind_name(kind: MemberKind) -> &'static str {
    match kind {
        MemberKind::General => "general",
        MemberKind::Premium => "premium",
    }
}

pub(super) fn member_kind(name: &str) -> Option<MemberKind> {
    [MemberKind::General, MemberKind::Premium].into_iter().find(|kind| member_kind_name(*kind) == name)
}

/// An account as two columns: its name, and whose it is.
pub(super) const fn account_columns(account: Account) -> (&'static str, Option<i64>) {
    match account {
        Account::MemberHolds(member) => ("member_holds", Some(member.0)),
        Account::Holds => ("holds", None),
        Account::Receivable(member) => ("receivable", Some(member.0)),
        Account::Revenue => ("revenue", None),
        Account::Cash => ("cash", None),
    }
}

pub(super) fn account(name: &str, member: Option<i64>) -> Option<Account> {
    match (name, member.map(MemberNumber)) {
        ("member_holds", Some(member)) => Some(Account::MemberHolds(member)),
        ("holds", None) => Some(Account::Holds),
        ("receivable", Some(member)) => Some(Account::Receivable(member)),
        ("revenue", None) => Some(Account::Revenue),
        ("cash", None) => Some(Account::Cash),
        _ => None,
    }
}

/// Whether a reservation that comes to this state changes the schedule. Those that were never confirmed do not,
/// nor does deciding the charge of one that is over.
pub(super) const fn touches_schedule(state: State) -> bool {
    match state {
        State::Held
        | State::Registered
        | State::Finished(Settlement::Charged | Settlement::Waived)
        | State::Cancelled(CancelledBy::NotReconfirmed | CancelledBy::TermsNotAccepted) => false,
        State::Confirmed
        | State::OnAir
        | State::Finished(Settlement::Open)
        | State::Cancelled(CancelledBy::Member | CancelledBy::Operator) => true,
    }
}

/// What a broken uniqueness means. `place`: PostgreSQL's name of the constraint, or SQLite's of the columns; both
/// hold the names of table and column.
pub(super) fn conflict_at(place: &str) -> Conflict {
    if place.contains("members") && place.contains("user_id") {
        Conflict::UserId
    } else if place.contains("members") && place.contains("email_folded") {
        Conflict::Email
    } else if place.contains("channels") {
        Conflict::Channel
    } else {
        Conflict::Key
    }
}

/// A text that both databases can hold.
pub(super) fn text(text: &str) -> Stored<&str> {
    if text.contains('\0') {
        return Err(StoreError::Broken(
            "a text holds a NUL character: refuse it where it comes in".to_owned(),
        ));
    }
    Ok(text)
}

/// As [`text`], where there may be none.
pub(super) fn optional_text(optional: Option<&str>) -> Stored<Option<&str>> {
    optional.map(text).transpose()
}

/// A number that both databases can hold.
pub(super) fn signed(number: u64) -> Stored<i64> {
    i64::try_from(number)
        .map_err(|_| StoreError::Broken(format!("{number} is above 2^63 - 1, the most kept")))
}

/// As it is compared: addresses are ASCII.
pub(super) fn folded(address: &str) -> String {
    address.to_ascii_lowercase()
}
