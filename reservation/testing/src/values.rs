//! Small values of every kind, to be changed where a test cares.

use slotcast_core::{
    time::WallTime,
    words::{BitRate, ChannelNumber, OpenLevel, Seats, Toll, Window},
};
use slotcast_reservation::domain::{
    effects::{
        Account, Effects, LedgerKind, LedgerTransaction, MailKind, MailRequest, PaymentKind, PaymentRequest,
        SlotChange, Whom,
    },
    member::{Member, MemberKind, PasswordHash},
    reservation::{ProgramDetails, ProgramKind, Reservation, SoldChannel, State},
    words::{Amount, Language, MemberNumber, ReservationNumber},
};
use slotcast_reservation::limits::GATHER_USUAL;

/// Ten minutes.
pub const SLOT: i64 = 600_000_000;

/// The start of the n-th slot since 1970.
pub fn slot(n: i64) -> WallTime {
    WallTime::from_micros(n * SLOT)
}

pub fn member(number: i64) -> Member {
    Member {
        number: MemberNumber(number),
        user_id: format!("user{number:04}").parse().unwrap(),
        name: format!("Member {number}"),
        reading: "member".to_owned(),
        email: format!("Member{number}@example.com").parse().unwrap(),
        is_email_verified: false,
        new_email: None,
        email_public: false,
        web: None,
        language: Language::English,
        kind: MemberKind::General,
        is_operator: false,
        is_blocked: false,
        password_hash: PasswordHash("$argon2id$v=19$…".to_owned()),
        contact: None,
        card: None,
        terminal_key: None,
        registered_at: slot(900),
        version: 1,
    }
}

pub fn channel(number: u16) -> SoldChannel {
    SoldChannel {
        number: ChannelNumber(number),
        name: format!("channel{number}").parse().unwrap(),
        seats: Seats::new(100).unwrap(),
        class: BitRate::new(2_000_000).unwrap(),
        toll: Toll(500),
        gather: GATHER_USUAL,
        is_retired: false,
        version: 1,
    }
}

/// A held reservation of member 1 on channel 1, over `slots` slots from the `first` on.
pub fn reservation(number: i64, first: i64, slots: i64) -> Reservation {
    Reservation {
        number: ReservationNumber(number),
        member: MemberNumber(1),
        kind: ProgramKind::Private,
        channel: ChannelNumber(1),
        window: Window::new(slot(first), slot(first + slots)).unwrap(),
        seats: Seats::new(100).unwrap(),
        class: BitRate::new(2_000_000).unwrap(),
        toll: Toll(500),
        state: State::Held,
        program: ProgramDetails {
            title: format!("Program {number}"),
            genre: String::new(),
            outline: String::new(),
            details: String::new(),
            open_level: OpenLevel::Public,
            password: None,
            show_email: false,
            show_web: false,
            friends: Vec::new(),
        },
        booked_at: slot(950),
        hold_until: slot(951),
        reconfirm_until: slot(first),
        terms_accepted_at: None,
        confirmed_at: None,
        over_at: None,
        id_hash: None,
        id_issue: 0,
        is_reminded: false,
        calendar_sequence: 0,
        version: 1,
    }
}

/// Books it: every slot of the window is taken.
pub fn booking(reservation: Reservation) -> Effects {
    let window = reservation.window;
    let count = (window.end().as_micros() - window.start().as_micros()) / SLOT;
    let first = window.start().as_micros() / SLOT;
    let starts = (first..first + count).map(slot).collect();
    Effects { slots: SlotChange::Take(starts), ..Effects::of(reservation) }
}

/// The next version of a reservation, in that state.
pub fn next(reservation: &Reservation, state: State) -> Reservation {
    Reservation { state, version: reservation.version + 1, ..reservation.clone() }
}

pub fn mail(key: &str, reservation: Option<i64>) -> MailRequest {
    MailRequest {
        key: key.to_owned(),
        kind: MailKind::Confirmed,
        whom: Whom::Friend,
        to: "friend@example.com".parse().unwrap(),
        member: MemberNumber(1),
        reservation: reservation.map(ReservationNumber),
        calendar_sequence: 3,
        changes: vec!["Title: A → B".to_owned(), "\"quoted\"\n\\".to_owned()],
    }
}

pub fn payment(key: &str, kind: PaymentKind, reservation: i64, minor: i64) -> PaymentRequest {
    PaymentRequest {
        key: key.to_owned(),
        kind,
        reservation: ReservationNumber(reservation),
        member: MemberNumber(1),
        amount: Amount::new(minor).unwrap(),
        of: None,
        elsewhere: Amount::ZERO,
        reason: None,
        asked_as: None,
    }
}

pub fn posted(key: &str, reservation: i64, minor: i64) -> LedgerTransaction {
    LedgerTransaction {
        key: key.to_owned(),
        of: "authorise-1-1".to_owned(),
        kind: LedgerKind::Charged,
        reservation: ReservationNumber(reservation),
        at: slot(1000),
        debit: Account::Receivable(MemberNumber(1)),
        credit: Account::Revenue,
        amount: Amount::new(minor).unwrap(),
    }
}
