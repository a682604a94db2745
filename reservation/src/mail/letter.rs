//! What a mail is made of: one row of the outbox, and what the store knows about it at the time of sending.

use jiff::tz::TimeZone;
use slotcast_core::{
    time::WallTime,
    words::{ChannelName, ChannelNumber, OpenLevel, Seats, Window},
};

use crate::{
    domain::{
        effects::MailRequest,
        member::Member,
        reservation::{ProgramPassword, Reservation, SoldChannel, State},
        rules,
        words::{Amount, Currency, Email, Language, ReservationNumber},
    },
    vault::{ProofCode, ReservationId},
};

/// Whose mails they are; the same for all.
#[derive(Clone, Debug)]
pub struct MailSettings {
    /// The sender's address, and the organiser's in calendar entries. Its domain is part of Message-IDs and of
    /// calendar entries' names: changed, calendars no longer know older entries.
    pub from: Email,
    /// How the provider calls itself.
    pub provider: String,
    /// Where the pages are, e.g. `https://live.example.com/`.
    pub public_url: String,
    /// In which times are shown.
    pub zone: TimeZone,
}

/// What one mail is made of.
#[derive(Clone, Debug)]
pub struct Letter {
    /// The row of the outbox.
    pub request: MailRequest,
    /// The member's name: who is written to, or who invites.
    pub name: String,
    /// The member's language; friends are written to in it too.
    pub language: Language,
    /// Where a friend says that no more such mails are wanted; needed for friends.
    pub stop_url: Option<String>,
    /// What it is about; `None` for what is about the member alone.
    pub program: Option<Program>,
    /// Needed for kinds that have a [`proof`](crate::domain::effects::MailKind::proof).
    pub code: Option<MailedCode>,
}

/// A code that the reader gives back.
#[derive(Clone, Debug)]
pub struct MailedCode {
    /// The code.
    pub code: ProofCode,
    /// Not valid from then on.
    pub until: WallTime,
}

/// What mails say of a reservation.
#[derive(Clone, Debug)]
pub struct Program {
    /// Names it.
    pub number: ReservationNumber,
    /// The channel's number.
    pub channel: ChannelNumber,
    /// The channel's name.
    pub channel_name: ChannelName,
    /// When.
    pub window: Window,
    /// When it ended, where that was before the window's end.
    pub ended_early: Option<WallTime>,
    /// In the member's words.
    pub title: String,
    /// In the member's words.
    pub genre: String,
    /// In the member's words.
    pub outline: String,
    /// In the member's words; may have several lines.
    pub details: String,
    /// Who may watch.
    pub open_level: OpenLevel,
    /// How many may watch at once.
    pub seats: Seats,
    /// Told to friends in invitations and changes, unless the program is public.
    pub password: Option<ProgramPassword>,
    /// How far it has come: tells why it was cancelled, and whether it was charged.
    pub state: State,
    /// Whether it was ever confirmed: only then calendars hold it, and a cancellation costs something.
    pub was_confirmed: bool,
    /// Whether a cancellation by the member costs nothing although it was confirmed.
    pub is_waived: bool,
    /// Until when the member may give another card, where the one there is was declined.
    pub card_until: WallTime,
    /// Whether its reservation ID replaces one that was sent before.
    pub is_reissued: bool,
    /// Said while it waits for the reconfirmation.
    pub reconfirm_until: WallTime,
    /// Needed for [`MailKind::ReservationId`](crate::domain::effects::MailKind::ReservationId), and said nowhere else.
    pub reservation_id: Option<ReservationId>,
    /// Toll × slots.
    pub total: Amount,
    /// Of `total`.
    pub currency: Currency,
    /// How many watched at once, at most; said when it is settled. `None`: not known.
    pub viewers_peak: Option<u32>,
    /// Needed for [`MailKind::Refunded`](crate::domain::effects::MailKind::Refunded).
    pub given_back: Option<GivenBack>,
    /// Where to watch, e.g. `rtsp://live.example.com:554/channel1`.
    pub watch_url: String,
}

/// What was given back of what a program cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GivenBack {
    /// How much, in [`Program::currency`].
    pub amount: Amount,
    /// Whether it goes to the card that was charged; else it is taken off the member's bill.
    pub is_to_card: bool,
}

impl Letter {
    /// Of a row of the outbox and its member.
    ///
    /// - `program`: from [`Program::of`]; `None` for what is about the member alone. `code` is `None`: set it where the
    ///   kind needs it.
    /// - `stop_url`: as in [`Letter::stop_url`].
    ///
    /// What is for the member goes to the address that the member has by now, but for what is about an address.
    pub fn new(
        mut request: MailRequest,
        member: &Member,
        program: Option<Program>,
        stop_url: Option<String>,
    ) -> Self {
        if !request.is_to_friend() && !request.kind.keeps_address() {
            request.to = member.email.clone();
        }
        let (name, language) = (member.name.clone(), member.language);
        Self { name, language, request, stop_url, program, code: None }
    }
}

impl Program {
    /// Of a reservation as it is now. `reservation_id`, `viewers_peak` and `given_back` are `None`: set them where
    /// the kind needs them.
    ///
    /// - `channel`: its channel.
    /// - `total`: what it costs in all, in `currency`.
    /// - `watch_url`: the viewers' address of the channel.
    pub fn of(
        reservation: &Reservation,
        channel: &SoldChannel,
        total: Amount,
        currency: Currency,
        watch_url: String,
    ) -> Self {
        let program = &reservation.program;
        Self {
            number: reservation.number,
            channel: reservation.channel,
            channel_name: channel.name.clone(),
            window: reservation.window,
            ended_early: reservation
                .over_at
                .filter(|over_at| reservation.window.contains(*over_at))
                .filter(|_| matches!(reservation.state, State::Finished(_))),
            title: program.title.clone(),
            genre: program.genre.clone(),
            outline: program.outline.clone(),
            details: program.details.clone(),
            open_level: program.open_level,
            seats: reservation.seats,
            password: program.password.clone(),
            state: reservation.state,
            was_confirmed: reservation.confirmed_at.is_some(),
            is_waived: false,
            card_until: rules::card_until(reservation),
            is_reissued: reservation.id_issue > 1,
            reconfirm_until: reservation.reconfirm_until,
            reservation_id: None,
            total,
            currency,
            viewers_peak: None,
            given_back: None,
            watch_url,
        }
    }
}
