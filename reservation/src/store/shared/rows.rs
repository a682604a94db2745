//! Rows as the domain's values.
//!
//! Refuses: what no version of this program has written, naming the column.

use std::time::Duration;

use slotcast_core::{
    time::WallTime,
    words::{BitRate, ChannelNumber, Seats, Toll, Window},
};
use sqlx::{ColumnIndex, Decode, Row as _, Type};

use super::{
    super::super::{
        ApiToken, DueAt, KeptAnswer, OutboxDepth, Payment, Pickup, Run, ScheduleChange, Session, TakenSlot,
        Units, ViewerSample, names,
    },
    Db, Row, StoreError, Stored, Vault,
};
use crate::domain::{
    effects::{AcceptedTerms, LedgerKind, LedgerTransaction, PaymentKind, PaymentRequest, PaymentState},
    member::{Card, Contact, Member, PasswordHash},
    proof::{Proof, ProofKind},
    reservation::{ProgramDetails, ProgramPassword, Reservation, ReservationIdHash, SoldChannel, State},
    words::{Amount, Email, Language, MemberNumber, ReservationNumber},
};

/// The value of a column, by its name or position.
pub(super) fn at<'r, T>(row: &'r Row, column: impl ColumnIndex<Row>) -> Stored<T>
where
    T: Decode<'r, Db> + Type<Db>,
{
    row.try_get(column).map_err(|error| StoreError::Broken(error.to_string()))
}

fn time(row: &Row, column: &'static str) -> Stored<WallTime> {
    at(row, column).map(WallTime::from_micros)
}

pub(super) fn optional_time(row: &Row, column: &'static str) -> Stored<Option<WallTime>> {
    Ok(at::<Option<i64>>(row, column)?.map(WallTime::from_micros))
}

/// A number in a narrower type.
pub(super) fn narrow<T: TryFrom<i64>>(row: &Row, column: &'static str) -> Stored<T> {
    known(column, T::try_from(at(row, column)?).ok())
}

/// A text read as one of a type's names.
pub(super) fn named<T>(row: &Row, column: &'static str, read: impl Fn(&str) -> Option<T>) -> Stored<T> {
    known(column, read(at(row, column)?))
}

fn known<T>(column: &'static str, value: Option<T>) -> Stored<T> {
    value.ok_or_else(|| StoreError::Broken(format!("column {column} holds what cannot be")))
}

fn hash(row: &Row, column: &'static str) -> Stored<[u8; 32]> {
    known(column, at::<&[u8]>(row, column)?.try_into().ok())
}

fn texts(row: &Row, column: &'static str) -> Stored<Vec<String>> {
    named(row, column, |text| serde_json::from_str(text).ok())
}

pub(super) fn member(row: &Row) -> Stored<Member> {
    let contact = match (at(row, "contact_address")?, at(row, "contact_phone")?) {
        (Some(address), Some(phone)) => {
            Some(Contact { address, phone, mobile: at(row, "contact_mobile")?, fax: at(row, "contact_fax")? })
        }
        _ => None,
    };
    Ok(Member {
        number: MemberNumber(at(row, "number")?),
        user_id: named(row, "user_id", |text| text.parse().ok())?,
        name: at(row, "name")?,
        reading: at(row, "reading")?,
        email: named(row, "email", |text| text.parse().ok())?,
        is_email_verified: at(row, "is_email_verified")?,
        new_email: match at::<Option<&str>>(row, "new_email")? {
            Some(text) => Some(known("new_email", text.parse().ok())?),
            None => None,
        },
        email_public: at(row, "email_public")?,
        web: at(row, "web")?,
        language: named(row, "language", Language::from_tag)?,
        kind: named(row, "kind", names::member_kind)?,
        is_operator: at(row, "is_operator")?,
        is_blocked: at(row, "is_blocked")?,
        password_hash: PasswordHash(at(row, "password_hash")?),
        contact,
        card: card(row)?,
        terminal_key: at(row, "terminal_key")?,
        registered_at: time(row, "registered_at")?,
        version: at(row, "version")?,
    })
}

fn card(row: &Row) -> Stored<Option<Card>> {
    let parts = (at(row, "card_token")?, at(row, "card_brand")?, at(row, "card_last_four")?);
    let (Some(token), Some(brand), Some(last_four)) = parts else {
        return Ok(None);
    };
    let has_expiry = at::<Option<i64>>(row, "card_expires_year")?.is_some();
    let expires = if has_expiry {
        Some((narrow(row, "card_expires_year")?, narrow(row, "card_expires_month")?))
    } else {
        None
    };
    Ok(Some(Card { token, brand, last_four, expires }))
}

pub(super) fn session(row: &Row) -> Stored<Session> {
    Ok(Session {
        token_hash: hash(row, "token_hash")?,
        member: MemberNumber(at(row, "member")?),
        csrf_hash: hash(row, "csrf_hash")?,
        created_at: time(row, "created_at")?,
        expires_at: time(row, "expires_at")?,
    })
}

pub(super) fn proof(row: &Row) -> Stored<Proof> {
    Ok(Proof {
        member: MemberNumber(at(row, "member")?),
        kind: named(row, "kind", ProofKind::from_name)?,
        serial: at(row, "serial")?,
        code_hash: hash(row, "code_hash")?,
        email: named(row, "email", |text| text.parse().ok())?,
        expires_at: time(row, "expires_at")?,
    })
}

pub(super) fn accepted_terms(row: &Row) -> Stored<AcceptedTerms> {
    Ok(AcceptedTerms {
        hash: hash(row, "hash")?,
        text: at::<String>(row, "text")?.into(),
        at: time(row, "accepted_at")?,
    })
}

pub(super) fn api_token(row: &Row) -> Stored<ApiToken> {
    Ok(ApiToken {
        token_hash: hash(row, "token_hash")?,
        member: MemberNumber(at(row, "member")?),
        name: at(row, "name")?,
        scopes: at(row, "scopes")?,
        created_at: time(row, "created_at")?,
        expires_at: time(row, "expires_at")?,
    })
}

fn seats(row: &Row) -> Stored<Seats> {
    known("seats", Seats::new(narrow(row, "seats")?).ok())
}

fn class(row: &Row) -> Stored<BitRate> {
    known("class", BitRate::new(narrow(row, "class")?).ok())
}

pub(super) fn channel(row: &Row) -> Stored<SoldChannel> {
    Ok(SoldChannel {
        number: ChannelNumber(narrow(row, "number")?),
        name: named(row, "name", |text| text.parse().ok())?,
        seats: seats(row)?,
        class: class(row)?,
        toll: Toll(narrow(row, "toll")?),
        gather: Duration::from_millis(narrow(row, "gather_ms")?),
        is_retired: at(row, "is_retired")?,
        version: at(row, "version")?,
    })
}

/// What a viewers' password is sealed for.
pub(super) fn password_place(number: ReservationNumber) -> String {
    format!("program password of {number}")
}

fn program(row: &Row, number: ReservationNumber, vault: &Vault) -> Stored<ProgramDetails> {
    let password = match at::<Option<&[u8]>>(row, "sealed_password")? {
        Some(sealed) => {
            let opened = vault.open(&password_place(number), sealed);
            Some(ProgramPassword(opened.map_err(|error| StoreError::Broken(error.to_string()))?))
        }
        None => None,
    };
    let friends = texts(row, "friends")?.iter().map(|text| text.parse::<Email>().ok()).collect();
    Ok(ProgramDetails {
        title: at(row, "title")?,
        genre: at(row, "genre")?,
        outline: at(row, "outline")?,
        details: at(row, "details")?,
        open_level: named(row, "open_level", names::open_level)?,
        password,
        show_email: at(row, "show_email")?,
        show_web: at(row, "show_web")?,
        friends: known("friends", friends)?,
    })
}

pub(super) fn reservation(row: &Row, vault: &Vault) -> Stored<Reservation> {
    let number = ReservationNumber(at(row, "number")?);
    let window = Window::new(time(row, "window_start")?, time(row, "window_end")?);
    let id_hash = match at::<Option<&[u8]>>(row, "id_hash")? {
        Some(bytes) => Some(ReservationIdHash(known("id_hash", bytes.try_into().ok())?)),
        None => None,
    };
    Ok(Reservation {
        number,
        member: MemberNumber(at(row, "member")?),
        kind: named(row, "kind", names::program_kind)?,
        channel: ChannelNumber(narrow(row, "channel")?),
        window: known("window_end", window.ok())?,
        seats: seats(row)?,
        class: class(row)?,
        toll: Toll(narrow(row, "toll")?),
        state: named(row, "state", State::from_name)?,
        program: program(row, number, vault)?,
        booked_at: time(row, "booked_at")?,
        hold_until: time(row, "hold_until")?,
        reconfirm_until: time(row, "reconfirm_until")?,
        terms_accepted_at: optional_time(row, "terms_accepted_at")?,
        confirmed_at: optional_time(row, "confirmed_at")?,
        over_at: optional_time(row, "over_at")?,
        id_hash,
        id_issue: narrow(row, "id_issue")?,
        is_reminded: at(row, "is_reminded")?,
        calendar_sequence: narrow(row, "calendar_sequence")?,
        version: at(row, "version")?,
    })
}

pub(super) fn due(row: &Row) -> Stored<DueAt> {
    Ok((time(row, "due_at")?, ReservationNumber(at(row, "number")?)))
}

pub(super) fn taken_count(row: &Row) -> Stored<(ChannelNumber, u32)> {
    Ok((ChannelNumber(narrow(row, "channel")?), narrow(row, "count")?))
}

pub(super) fn announced_tag(row: &Row) -> Stored<[i64; 5]> {
    let mut tag = [0; 5];
    for (part, name) in tag.iter_mut().zip(["count", "versions", "numbers", "members", "channels"]) {
        *part = at(row, name)?;
    }
    Ok(tag)
}

pub(super) fn number(row: &Row) -> Stored<ReservationNumber> {
    Ok(ReservationNumber(at(row, "number")?))
}

pub(super) fn schedule_change(row: &Row) -> Stored<ScheduleChange> {
    Ok(match (at(row, "program")?, at(row, "member")?) {
        (Some(program), _) => ScheduleChange::Program(ReservationNumber(program)),
        (None, Some(member)) => ScheduleChange::ProgramsOf(MemberNumber(member)),
        (None, None) => ScheduleChange::Channels,
    })
}

pub(super) fn promised(row: &Row) -> Stored<(ChannelNumber, Seats, BitRate)> {
    Ok((ChannelNumber(narrow(row, "channel")?), seats(row)?, class(row)?))
}

pub(super) fn taken_slot(row: &Row) -> Stored<TakenSlot> {
    Ok(TakenSlot {
        channel: ChannelNumber(narrow(row, "channel")?),
        start: time(row, "start")?,
        reservation: ReservationNumber(at(row, "reservation")?),
    })
}

/// A channel and its starts, joined by commas.
pub(super) fn taken_starts(row: &Row, starts: &mut Vec<(ChannelNumber, WallTime)>) -> Stored<()> {
    let channel = ChannelNumber(narrow(row, "channel")?);
    for start in at::<&str>(row, "starts")?.split(',') {
        let start =
            start.parse().map_err(|_| StoreError::Broken("slots.start is not readable".to_owned()))?;
        starts.push((channel, WallTime::from_micros(start)));
    }
    Ok(())
}

fn amount(row: &Row, column: &'static str) -> Stored<Amount> {
    known(column, Amount::new(at(row, column)?).ok())
}

pub(super) fn payment(row: &Row) -> Stored<Payment> {
    Ok(Payment {
        request: PaymentRequest {
            key: at(row, "key")?,
            kind: named(row, "kind", PaymentKind::from_name)?,
            reservation: ReservationNumber(at(row, "reservation")?),
            member: MemberNumber(at(row, "member")?),
            amount: amount(row, "amount")?,
            of: at(row, "of_key")?,
            elsewhere: amount(row, "elsewhere")?,
            reason: at(row, "reason")?,
            asked_as: at(row, "asked_as")?,
        },
        state: named(row, "state", PaymentState::from_name)?,
        reference: at(row, "reference")?,
        error: at(row, "error")?,
        attempt: narrow(row, "attempt")?,
        tries: narrow(row, "tries")?,
        next_at: time(row, "next_at")?,
        created_at: time(row, "created_at")?,
    })
}

pub(super) fn ledger_transaction(row: &Row) -> Stored<LedgerTransaction> {
    let account = |name, member| known(name, names::account(at(row, name)?, at(row, member)?));
    Ok(LedgerTransaction {
        key: at(row, "key")?,
        kind: named(row, "kind", LedgerKind::from_name)?,
        of: at(row, "of_key")?,
        reservation: ReservationNumber(at(row, "reservation")?),
        at: time(row, "at")?,
        debit: account("debit", "debit_member")?,
        credit: account("credit", "credit_member")?,
        amount: amount(row, "amount")?,
    })
}

pub(super) fn run(row: &Row) -> Stored<Run> {
    Ok(Run {
        normal_ms: narrow(row, "normal_ms")?,
        media_ms: narrow(row, "media_ms")?,
        viewers_peak: narrow(row, "viewers_peak")?,
        viewer_ms: narrow(row, "viewer_ms")?,
    })
}

pub(super) fn sample(row: &Row) -> Stored<ViewerSample> {
    Ok(ViewerSample { at: time(row, "at")?, viewers: narrow(row, "viewers")? })
}

pub(super) fn pickup(row: &Row) -> Stored<Pickup> {
    Ok(Pickup {
        reservation: ReservationNumber(at(row, "reservation")?),
        note: at(row, "note")?,
        position: narrow(row, "position")?,
    })
}

pub(super) fn kept_answer(row: &Row) -> Stored<KeptAnswer> {
    Ok(KeptAnswer { request_hash: hash(row, "request_hash")?, made: at(row, "made")? })
}

pub(super) fn units(row: &Row) -> Stored<Units> {
    let currency = at::<String>(row, "currency")?;
    let wrong = |column: &str| StoreError::Broken(format!("server.{column} is not readable"));
    Ok(Units {
        slot: Duration::from_micros(u64::try_from(at::<i64>(row, "slot")?).map_err(|_| wrong("slot"))?),
        currency: currency.parse().map_err(|_| wrong("currency"))?,
    })
}

pub(super) fn outbox_depth(row: &Row) -> Stored<OutboxDepth> {
    Ok(OutboxDepth {
        mails: narrow(row, "mails")?,
        payments: narrow(row, "payments")?,
        webhooks: narrow(row, "webhooks")?,
        oldest: optional_time(row, "oldest")?,
    })
}
