//! A reservation as it is booked, changed and shown.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use slotcast_core::words::{ChannelNumber, OpenLevel};
use utoipa::ToSchema;

use super::{
    Api,
    problem::{Answer, etag},
    wire::WindowBody,
};
use crate::{
    domain::{
        refusal::{FieldProblem, Refusal},
        reservation::{ProgramDetails, ProgramPassword, Reservation},
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
    open_level: OpenLevel,
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
            open_level: program.open_level,
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
    open_level: Option<OpenLevel>,
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
            open_level: self.open_level,
            password: self.password.map(ProgramPassword),
            show_email: self.show_email,
            show_web: self.show_web,
            friends: self.friends.as_deref().map(friends).transpose()?,
        })
    }
}

/// A reservation with its version as entity tag.
pub(super) fn shown(api: &Api, reservation: Reservation) -> Response {
    let view = api.service().reservation_view(reservation);
    ([(header::ETAG, etag(view.version))], Json(view)).into_response()
}

/// The same for one that was just made: where it is.
pub(super) fn made(api: &Api, reservation: Reservation) -> Response {
    let place = format!("/api/v1/reservations/{}", reservation.number);
    let place = HeaderValue::from_str(&place).ok().map(|place| (header::LOCATION, place));
    let mut response = (StatusCode::CREATED, shown(api, reservation)).into_response();
    response.headers_mut().extend(place);
    response
}
