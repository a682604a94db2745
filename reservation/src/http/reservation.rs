//! A reservation as it is booked, changed and shown.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use slotcast_core::words::ChannelNumber;
use utoipa::ToSchema;

use super::{
    Api,
    problem::{Answer, etag},
    wire::{KindBody, OpenLevelBody, StateBody, WindowBody},
};
use crate::{
    domain::{
        refusal::{FieldProblem, Refusal},
        reservation::{ProgramDetails, ProgramPassword, Reservation, State},
        rules::Draft,
        words::Email,
    },
    service::ProgramEdit,
};

/// What is broadcast.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ProgramDraft)]
pub(super) struct ProgramBody {
    /// On one line.
    #[schema(pattern = "@text", min_length = 1, max_length = 80)]
    title: String,
    /// On one line.
    #[serde(default)]
    #[schema(pattern = "@line", max_length = 40)]
    genre: String,
    /// On one line.
    #[serde(default)]
    #[schema(pattern = "@line", max_length = 20)]
    outline: String,
    /// May have several lines.
    #[serde(default)]
    #[schema(pattern = "@lines", max_length = 200)]
    details: String,
    open_level: OpenLevelBody,
    /// For viewers, unless the program is public: letters, digits or signs of ASCII, without spaces.
    #[schema(pattern = "@viewers-password", min_length = 1, max_length = 64)]
    password: Option<String>,
    /// Whether the program's page shows the member's e-mail address.
    #[serde(default)]
    show_email: bool,
    /// Whether it shows the member's web address.
    #[serde(default)]
    show_web: bool,
    /// Who is mailed when it is confirmed and when something changes.
    #[serde(default)]
    #[schema(max_items = 50)]
    friends: Vec<FriendBody>,
}

/// The e-mail address of a friend, like name@example.com.
#[derive(Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(as = FriendAddress, pattern = "@email", min_length = 3, max_length = 254)]
pub(super) struct FriendBody(String);

/// What a member wants to book.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Draft, example = json!({
    "channel": 1,
    "window": { "start": "2026-11-25T10:00:00Z", "end": "2026-11-25T10:30:00Z" },
    "program": {
        "title": "Evening concert", "genre": "Music", "outline": "Strings at seven", "details": "Haydn and Ravel.",
        "open_level": "password", "password": "sesame", "friends": ["hanako@example.com"],
    },
}))]
pub(super) struct DraftBody {
    /// The channel's number.
    #[schema(minimum = 0, maximum = 65535)]
    channel: u16,
    window: WindowBody,
    program: ProgramBody,
}

impl DraftBody {
    /// As the domain's word.
    pub(super) fn draft(&self, api: &Api) -> Answer<Draft> {
        let window = self.window.window("window", api.service().rules().slot.as_secs())?;
        let program = &self.program;
        let details = ProgramDetails {
            title: program.title.clone(),
            genre: program.genre.clone(),
            outline: program.outline.clone(),
            details: program.details.clone(),
            open_level: program.open_level.into(),
            password: program.password.clone().map(ProgramPassword),
            show_email: program.show_email,
            show_web: program.show_web,
            friends: friends(&program.friends)?,
        };
        Ok(Draft { channel: ChannelNumber(self.channel), window, program: details })
    }
}

/// Each address once; case does not count.
fn friends(list: &[FriendBody]) -> Answer<Vec<Email>> {
    let mut friends: Vec<Email> = Vec::new();
    for (at, FriendBody(text)) in list.iter().enumerate() {
        let friend: Email = text.parse().map_err(|_| {
            let field = format!("program.friends[{at}]");
            Refusal::from(FieldProblem::new(
                field,
                "an address like name@example.com",
                "name@example.com のような宛先",
            ))
        })?;
        if !friends.iter().any(|known| known.as_str().eq_ignore_ascii_case(friend.as_str())) {
            friends.push(friend);
        }
    }
    Ok(friends)
}

/// What a member changes of a program; what is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ProgramEdit, example = json!({ "title": "Late concert", "open_level": "public" }))]
pub(super) struct ProgramEditBody {
    /// On one line.
    #[schema(pattern = "@text", min_length = 1, max_length = 80)]
    title: Option<String>,
    /// On one line.
    #[schema(pattern = "@line", max_length = 40)]
    genre: Option<String>,
    /// On one line.
    #[schema(pattern = "@line", max_length = 20)]
    outline: Option<String>,
    /// May have several lines.
    #[schema(pattern = "@lines", max_length = 200)]
    details: Option<String>,
    open_level: Option<OpenLevelBody>,
    /// For viewers, unless the program is public: letters, digits or signs of ASCII, without spaces. A program that
    /// becomes public loses its password by itself.
    #[schema(pattern = "@viewers-password", min_length = 1, max_length = 64)]
    password: Option<String>,
    show_email: Option<bool>,
    show_web: Option<bool>,
    /// All of them from now on.
    #[schema(max_items = 50)]
    friends: Option<Vec<FriendBody>>,
}

impl ProgramEditBody {
    /// As the service's word.
    pub(super) fn edit(self) -> Answer<ProgramEdit> {
        Ok(ProgramEdit {
            title: self.title,
            genre: self.genre,
            outline: self.outline,
            details: self.details,
            open_level: self.open_level.map(Into::into),
            password: self.password.map(ProgramPassword),
            show_email: self.show_email,
            show_web: self.show_web,
            friends: self.friends.as_deref().map(friends).transpose()?,
        })
    }
}

/// What is broadcast, as its owner sees it.
#[derive(Serialize, ToSchema)]
#[schema(as = Program)]
struct ProgramShown {
    title: String,
    genre: String,
    outline: String,
    details: String,
    open_level: OpenLevelBody,
    /// The viewers' password.
    password: Option<String>,
    show_email: bool,
    show_web: bool,
    friends: Vec<String>,
}

impl From<&ProgramDetails> for ProgramShown {
    fn from(program: &ProgramDetails) -> Self {
        Self {
            title: program.title.clone(),
            genre: program.genre.clone(),
            outline: program.outline.clone(),
            details: program.details.clone(),
            open_level: program.open_level.into(),
            password: program.password.as_ref().map(|password| password.0.clone()),
            show_email: program.show_email,
            show_web: program.show_web,
            friends: program.friends.iter().map(ToString::to_string).collect(),
        }
    }
}

/// What the member does next.
#[derive(Serialize, ToSchema)]
#[schema(as = NextStep)]
struct NextStep {
    /// E.g. `accept-terms`: last part of the address below the reservation.
    step: String,
    /// Afterwards it is too late.
    #[schema(format = DateTime)]
    until: String,
}

/// A reservation, as its owner sees it. Its ID is not shown: it comes by mail.
#[derive(Serialize, ToSchema)]
#[schema(as = Reservation)]
pub(super) struct ReservationBody {
    number: i64,
    member: i64,
    kind: KindBody,
    /// The channel's number.
    channel: u16,
    window: WindowBody,
    /// When a link is accepted.
    connect: WindowBody,
    seats: u32,
    /// In bits per second.
    bandwidth_class: u64,
    /// For one slot, in minor units, as booked.
    toll: u64,
    /// For all slots, in minor units.
    total: i64,
    /// ISO 4217.
    currency: String,
    state: StateBody,
    /// The accounting flag: yes once reconfirmed.
    is_accounted: bool,
    program: ProgramShown,
    next: Option<NextStep>,
    #[schema(format = DateTime)]
    booked_at: String,
    /// The terms must be accepted before.
    #[schema(format = DateTime)]
    hold_until: String,
    /// It must be reconfirmed before; known once the terms are accepted.
    #[schema(format = DateTime)]
    reconfirm_until: Option<String>,
    #[schema(format = DateTime)]
    terms_accepted_at: Option<String>,
    #[schema(format = DateTime)]
    confirmed_at: Option<String>,
    /// When it was cancelled, ended early, or was over.
    #[schema(format = DateTime)]
    over_at: Option<String>,
    /// Counts edits: what `ETag` and `If-Match` are about.
    version: i64,
}

impl ReservationBody {
    /// As it is now.
    pub(super) fn of(api: &Api, reservation: &Reservation) -> Self {
        let rules = api.service().rules();
        let window = reservation.window;
        let text = |time: &Option<slotcast_core::time::WallTime>| time.map(|time| time.to_string());
        let next = match reservation.state {
            State::Held => Some(("accept-terms", reservation.hold_until)),
            State::Registered => Some(("reconfirm", reservation.reconfirm_until)),
            State::Confirmed => Some(("settings", window.end())),
            _ => None,
        };
        Self {
            number: reservation.number.0,
            member: reservation.member.0,
            kind: reservation.kind.into(),
            channel: reservation.channel.0,
            window: window.into(),
            connect: window.widened(rules.margins).into(),
            seats: reservation.seats.count(),
            bandwidth_class: reservation.class.bits_per_second(),
            toll: reservation.toll.0,
            total: api.service().total(reservation).minor(),
            currency: rules.currency.to_string(),
            state: reservation.state.into(),
            is_accounted: reservation.state.is_accounted(),
            program: ProgramShown::from(&reservation.program),
            next: next.map(|(step, until)| NextStep { step: step.to_owned(), until: until.to_string() }),
            booked_at: reservation.booked_at.to_string(),
            hold_until: reservation.hold_until.to_string(),
            reconfirm_until: reservation.terms_accepted_at.map(|_| reservation.reconfirm_until.to_string()),
            terms_accepted_at: text(&reservation.terms_accepted_at),
            confirmed_at: text(&reservation.confirmed_at),
            over_at: text(&reservation.over_at),
            version: reservation.version,
        }
    }

    /// With its version as entity tag.
    pub(super) fn shown(api: &Api, reservation: &Reservation) -> Response {
        ([(header::ETAG, etag(reservation.version))], Json(Self::of(api, reservation))).into_response()
    }

    /// The same for one that was just made: where it is.
    pub(super) fn made(api: &Api, reservation: &Reservation) -> Response {
        let place = format!("/api/v1/reservations/{}", reservation.number);
        let place = HeaderValue::from_str(&place).ok().map(|place| (header::LOCATION, place));
        let mut response = (StatusCode::CREATED, Self::shown(api, reservation)).into_response();
        response.headers_mut().extend(place);
        response
    }
}
