//! What people type and programs send, before it is a booking: read, with all that is wrong named at once.
//!
//! Owns: [`DraftInput`], [`ProgramEditInput`], with their schema; times as they are written.
//! Not here: what a program may say (`domain::rules`), what members type of themselves (`service::members`).

use jiff::{Timestamp, civil::DateTime};
use serde::Deserialize;
use slotcast_core::{
    time::WallTime,
    words::{ChannelNumber, OpenLevel, Window},
};
use utoipa::ToSchema;

use super::ProgramEdit;
use crate::domain::{
    refusal::{FieldProblem, Refusal},
    reservation::{ProgramDetails, ProgramPassword},
    rules::{Draft, Rules, program_problems},
    words::Email,
};

/// A span of time, its end not included.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = WindowRequest, example = json!({ "start": "2026-11-25T10:00:00Z", "end": "2026-11-25T10:30:00Z" }))]
pub struct WindowInput {
    /// First moment inside; a whole slot.
    #[schema(format = DateTime, max_length = 64)]
    pub start: String,
    /// First moment after.
    #[schema(format = DateTime, max_length = 64)]
    pub end: String,
}

/// What is broadcast.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ProgramDraft)]
pub struct ProgramInput {
    /// On one line.
    #[schema(pattern = "@text", min_length = 1, max_length = 80)]
    pub title: String,
    /// On one line.
    #[serde(default)]
    #[schema(pattern = "@line", max_length = 40)]
    pub genre: String,
    /// On one line.
    #[serde(default)]
    #[schema(pattern = "@line", max_length = 20)]
    pub outline: String,
    /// May have several lines.
    #[serde(default)]
    #[schema(pattern = "@lines", max_length = 200)]
    pub details: String,
    /// Who may watch.
    pub open_level: OpenLevel,
    /// For viewers, unless the program is public: letters, digits or signs of ASCII, without spaces.
    #[schema(pattern = "@viewers-password", min_length = 1, max_length = 64)]
    pub password: Option<String>,
    /// Whether the program's page shows the member's e-mail address.
    #[serde(default)]
    pub show_email: bool,
    /// Whether it shows the member's web address.
    #[serde(default)]
    pub show_web: bool,
    /// Who is mailed when it is confirmed and when something changes.
    #[serde(default)]
    #[schema(max_items = 50)]
    pub friends: Vec<FriendInput>,
}

/// The e-mail address of a friend, like name@example.com.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(as = FriendAddress, pattern = "@email", min_length = 3, max_length = 254)]
pub struct FriendInput(pub String);

/// What a member wants to book.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Draft, example = json!({
    "channel": 1,
    "window": { "start": "2026-11-25T10:00:00Z", "end": "2026-11-25T10:30:00Z" },
    "program": {
        "title": "Evening concert", "genre": "Music", "outline": "Strings at seven", "details": "Haydn and Ravel.",
        "open_level": "password", "password": "sesame", "friends": ["hanako@example.com"],
    },
}))]
pub struct DraftInput {
    /// The channel's number.
    #[schema(minimum = 0, maximum = 65535)]
    pub channel: u16,
    /// Whole slots.
    pub window: WindowInput,
    /// What is broadcast.
    pub program: ProgramInput,
}

impl DraftInput {
    /// As the rules take it.
    ///
    /// Refused: `Invalid` with each item that is wrong; `NotOnSlots` where the window ends before it begins.
    pub fn draft(&self, rules: &Rules) -> Result<Draft, Refusal> {
        let mut wrong = Vec::new();
        let start = time(&mut wrong, "window.start", &self.window.start);
        let end = time(&mut wrong, "window.end", &self.window.end);
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
            friends: friends(&mut wrong, &program.friends),
        };
        wrong.extend(program_problems(&details, rules.friends_max));
        let (Some(start), Some(end), true) = (start, end, wrong.is_empty()) else {
            return Err(Refusal::Invalid(wrong));
        };
        let window = window(start, end, rules)?;
        Ok(Draft { channel: ChannelNumber(self.channel), window, program: details })
    }
}

/// The window between two times.
///
/// Refused: `NotOnSlots` where it ends before it begins.
pub(crate) fn window(start: WallTime, end: WallTime, rules: &Rules) -> Result<Window, Refusal> {
    Window::new(start, end).map_err(|_| Refusal::NotOnSlots { slot_seconds: rules.slot.as_secs() })
}

/// Each address once; case does not count.
fn friends(wrong: &mut Vec<FieldProblem>, list: &[FriendInput]) -> Vec<Email> {
    let mut friends: Vec<Email> = Vec::new();
    for (at, FriendInput(text)) in list.iter().enumerate() {
        let Ok(friend) = text.parse::<Email>() else {
            let field = format!("program.friends[{at}]");
            let (english, japanese) = ("an address like name@example.com", "name@example.com のような宛先");
            wrong.push(FieldProblem::new(field, english, japanese));
            continue;
        };
        if !friends.iter().any(|known| known.as_str().eq_ignore_ascii_case(friend.as_str())) {
            friends.push(friend);
        }
    }
    friends
}

/// Reads RFC 3339. What no clock of ours can show is brought to the nearest time that it can.
pub(crate) fn time(wrong: &mut Vec<FieldProblem>, field: &'static str, text: &str) -> Option<WallTime> {
    if let Ok(time) = text.parse() {
        return Some(time);
    }
    // Only the offset can have moved it out of range: the civil part is then right by itself.
    let civil = text.get(..19).and_then(|civil| civil.parse::<DateTime>().ok());
    let nearest = civil.map(|civil| if civil.year() > 0 { Timestamp::MAX } else { Timestamp::MIN });
    let nearest = nearest.filter(|_| text.get(..4).is_some_and(|year| matches!(year, "9999" | "0000")));
    if nearest.is_none() {
        let (english, japanese) = ("a time like 2026-11-22T10:00:00Z", "2026-11-22T10:00:00Z のような時刻");
        wrong.push(FieldProblem::new(field, english, japanese));
    }
    nearest.map(|time| WallTime::from_micros(time.as_microsecond()))
}

/// What a member changes of a program; what is left out stays.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ProgramEdit, example = json!({ "title": "Late concert", "open_level": "public" }))]
pub struct ProgramEditInput {
    /// On one line.
    #[schema(pattern = "@text", min_length = 1, max_length = 80)]
    pub title: Option<String>,
    /// On one line.
    #[schema(pattern = "@line", max_length = 40)]
    pub genre: Option<String>,
    /// On one line.
    #[schema(pattern = "@line", max_length = 20)]
    pub outline: Option<String>,
    /// May have several lines.
    #[schema(pattern = "@lines", max_length = 200)]
    pub details: Option<String>,
    /// Who may watch.
    pub open_level: Option<OpenLevel>,
    /// For viewers, unless the program is public: letters, digits or signs of ASCII, without spaces. A program that
    /// becomes public loses its password by itself.
    #[schema(pattern = "@viewers-password", min_length = 1, max_length = 64)]
    pub password: Option<String>,
    /// Whether the program's page shows the member's e-mail address.
    pub show_email: Option<bool>,
    /// Whether it shows the member's web address.
    pub show_web: Option<bool>,
    /// All of them from now on.
    #[schema(max_items = 50)]
    pub friends: Option<Vec<FriendInput>>,
}

impl ProgramEditInput {
    /// As the service takes it.
    ///
    /// Refused: `Invalid` with each friend whose address is wrong.
    pub fn edit(self) -> Result<ProgramEdit, Refusal> {
        let mut wrong = Vec::new();
        let friends = self.friends.map(|list| friends(&mut wrong, &list));
        if !wrong.is_empty() {
            return Err(Refusal::Invalid(wrong));
        }
        Ok(ProgramEdit {
            title: self.title,
            genre: self.genre,
            outline: self.outline,
            details: self.details,
            open_level: self.open_level,
            password: self.password.map(ProgramPassword),
            show_email: self.show_email,
            show_web: self.show_web,
            friends,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_at_the_ends_of_time_are_read() {
        let micros = |text: &str| time(&mut Vec::new(), "at", text).map(WallTime::as_micros);
        assert_eq!(micros("1970-01-01T00:00:01Z"), Some(1_000_000));
        assert!(micros("9999-12-31T23:59:59-23:59").is_some());
        assert!(micros("0000-01-01T00:00:00+23:59").is_some());
        for bad in ["", "2026-11-22", "2026-13-01T00:00:00Z", "9999", "9999-99-99T00:00:00Z"] {
            assert_eq!(micros(bad), None, "{bad}");
        }
    }
}
