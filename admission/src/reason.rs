//! Why someone was refused, cut or closed: one table of label, side at fault, status and public text.
//!
//! Owns: [`Reason`], its table, and the shape of every decision ([`Decision`], [`Challenge`], [`Refusal`]).
//! Not here: taking decisions (`viewer`, `link`), writing responses (`slotcast-rtsp`).
//! Holds: every label is stable and unique; every public text is one line, names no secret and says what to do next.

use std::{borrow::Cow, fmt, time::Duration};

use slotcast_core::{time::WallTime, words::BitRate};

use crate::gate::Cut;

/// The side that would have to change something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Nobody: it is how the product works.
    Nobody,
    /// Who watches.
    Viewer,
    /// Who sends.
    Broadcaster,
    /// Who runs the server.
    Operator,
}

impl Fault {
    /// For logs and metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::Viewer => "viewer",
            Self::Broadcaster => "broadcaster",
            Self::Operator => "operator",
        }
    }
}

/// Why someone was refused, cut or closed. [`Display`](fmt::Display) is the public text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The address names no channel. Answered exactly as [`Self::NotOnAir`].
    UnknownChannel,
    /// The channel has no program now.
    NotOnAir,
    /// The program is on air, but nothing arrives from its broadcaster.
    BroadcasterAbsent,
    /// A protected program, and no password was shown.
    PasswordMissing,
    /// A protected program, and another password was shown.
    PasswordWrong,
    /// The proof was made with a nonce that is too old; the viewer or broadcaster repeats it by itself.
    ProofStale,
    /// Too many wrong passwords or IDs from there.
    TooManyGuesses,
    /// Every seat is taken.
    SeatsTaken {
        /// How many there are.
        seats: u32,
    },
    /// Too many viewers of one address.
    ViewersPerAddress,
    /// SETUP without PLAY in time.
    SeatUnused,
    /// No sign of life from the viewer.
    ViewerSilent,
    /// Fell behind again and again.
    ViewerSlow,
    /// Took nothing for too long.
    ViewerStalled,
    /// The window's end came.
    ProgramEnded,
    /// Ended early, by the broadcaster or the operator.
    ProgramStopped,
    /// Taken out of the timetable.
    ProgramWithdrawn,
    /// The broadcaster's stream changed its shape; viewers have to start again.
    StreamChanged,
    /// The server is shutting down.
    Draining,
    /// No reservation ID was shown.
    IdMissing,
    /// No reservation has that ID. Answered the same whatever the channel.
    IdWrong,
    /// The ID is right, for another channel.
    OtherChannel,
    /// The ID is right, but its connect window has not opened.
    TooEarly {
        /// When it does.
        opens: WallTime,
    },
    /// The ID is right, but its connect window has closed.
    TooLate {
        /// When it did.
        closed: WallTime,
    },
    /// The ID is right, but its program was ended early or withdrawn.
    LinkStopped,
    /// The SDP declares more than the bandwidth class.
    AboveClass {
        /// The class.
        class: BitRate,
        /// Sum of the SDP's bandwidth lines, kbit/s.
        declared_kbps: u64,
    },
    /// More media than the bandwidth class for too long.
    ClassExceeded {
        /// The class.
        class: BitRate,
    },
    /// Every line is taken.
    LinesTaken,
    /// Too many links of one address.
    LinesPerAddress,
    /// No valid reservation ID within the gate's deadline.
    GateDeadline,
    /// The same ID came again; the newer link goes on.
    TakenOver,
    /// No media and no request from the broadcaster.
    BroadcasterSilent,
    /// The connect window closed while the link was open.
    LinkWindowClosed,
}

struct Row {
    label: &'static str,
    fault: Fault,
    status: u16,
    text: Cow<'static, str>,
}

const fn row(label: &'static str, fault: Fault, status: u16, text: &'static str) -> Row {
    Row { label, fault, status, text: Cow::Borrowed(text) }
}

const NOT_ON_AIR: &str = "No program is on air at this address; check the address and the program's time";

impl Reason {
    /// Stable, for metrics and logs.
    pub fn label(self) -> &'static str {
        self.row().label
    }

    /// The side that would have to change something.
    pub fn fault(self) -> Fault {
        self.row().fault
    }

    /// RTSP status of a refusal for this reason; what a request in flight is answered where it ends a session.
    pub fn status(self) -> u16 {
        self.row().status
    }

    /// For people: one line that says the next step.
    pub fn text(self) -> Cow<'static, str> {
        self.row().text
    }

    fn row(self) -> Row {
        let found = self.viewer_row().or_else(|| self.program_row()).or_else(|| self.link_row());
        found.unwrap_or_else(|| self.line_row())
    }

    fn viewer_row(self) -> Option<Row> {
        use Fault::{Nobody, Viewer};
        Some(match self {
            Self::UnknownChannel => row("unknown_channel", Viewer, 404, NOT_ON_AIR),
            Self::NotOnAir => row("not_on_air", Viewer, 404, NOT_ON_AIR),
            Self::PasswordMissing => row(
                "password_missing",
                Viewer,
                401,
                "This program needs a password; open it with the password",
            ),
            Self::PasswordWrong => row(
                "password_wrong",
                Viewer,
                401,
                "That is not the program's password; check it and try again",
            ),
            Self::ProofStale => row("proof_stale", Viewer, 401, "The login is too old; try again"),
            Self::TooManyGuesses => row(
                "too_many_guesses",
                Viewer,
                403,
                "Too many wrong attempts from your address; wait a minute",
            ),
            Self::SeatsTaken { seats } => {
                let text = match seats {
                    1 => "The only seat of this program is taken; try again when it is left".into(),
                    _ => {
                        format!("All {seats} seats of this program are taken; try again when someone leaves")
                    }
                };
                Row { label: "seats_taken", fault: Nobody, status: 453, text: text.into() }
            }
            Self::ViewersPerAddress => row(
                "viewers_per_address",
                Viewer,
                453,
                "Too many viewers at your address; close one and try again",
            ),
            Self::SeatUnused => row("seat_unused", Viewer, 454, "PLAY did not follow in time; set up again"),
            Self::ViewerSilent => row("viewer_silent", Viewer, 454, "No sign of life in time; set up again"),
            Self::ViewerSlow => {
                row("viewer_slow", Viewer, 453, "Your line is too slow for this program; try a faster one")
            }
            Self::ViewerStalled => {
                row("viewer_stalled", Viewer, 453, "Nothing was taken in time; start again")
            }
            _ => return None,
        })
    }

    fn program_row(self) -> Option<Row> {
        use Fault::{Broadcaster, Nobody, Operator};
        Some(match self {
            Self::BroadcasterAbsent => row(
                "broadcaster_absent",
                Broadcaster,
                404,
                "The broadcaster of this program is not sending yet; try again in a moment",
            ),
            Self::ProgramEnded => row("program_ended", Nobody, 404, "The program is over; see the next one"),
            Self::ProgramStopped => {
                row("program_stopped", Broadcaster, 404, "The program ended early; see the next one")
            }
            Self::ProgramWithdrawn => {
                row("program_withdrawn", Operator, 404, "The program was withdrawn; see the next one")
            }
            Self::StreamChanged => {
                row("stream_changed", Broadcaster, 404, "The broadcaster changed the stream; start again")
            }
            Self::Draining => {
                row("draining", Operator, 503, "The server is restarting; try again in a minute")
            }
            _ => return None,
        })
    }

    fn link_row(self) -> Option<Row> {
        use Fault::Broadcaster;
        let made = |label, status, text: String| Row { label, fault: Broadcaster, status, text: text.into() };
        Some(match self {
            Self::IdMissing => {
                row("id_missing", Broadcaster, 401, "Show the reservation ID: user live, password the ID")
            }
            Self::OtherChannel => row(
                "other_channel",
                Broadcaster,
                403,
                "This reservation is for another channel; use the address of your settings file",
            ),
            Self::TooEarly { opens } => {
                made("too_early", 403, format!("The link opens at {opens}; connect again then"))
            }
            Self::TooLate { closed } => made(
                "too_late",
                403,
                format!("The link closed at {closed}; make a new reservation to send again"),
            ),
            Self::LinkStopped => row(
                "link_stopped",
                Broadcaster,
                403,
                "This program was ended early; make a new reservation to send again",
            ),
            Self::AboveClass { class, declared_kbps } => made(
                "above_class",
                453,
                format!(
                    "The SDP declares {declared_kbps}kbit/s, the reservation's class is {class}; \
                     lower the encoder's bit rate"
                ),
            ),
            Self::ClassExceeded { class } => made(
                "class_exceeded",
                453,
                format!(
                    "More than the reservation's class of {class} for too long; lower the encoder's bit rate"
                ),
            ),
            _ => return None,
        })
    }

    fn line_row(self) -> Row {
        use Fault::{Broadcaster, Nobody, Operator};
        match self {
            Self::LinesTaken => {
                row("lines_taken", Operator, 503, "All lines are taken; try again in a moment")
            }
            Self::LinesPerAddress => row(
                "lines_per_address",
                Broadcaster,
                503,
                "Too many links from your address; close one and try again",
            ),
            Self::GateDeadline => {
                row("gate_deadline", Broadcaster, 408, "No reservation ID in time; connect again and show it")
            }
            Self::TakenOver => row(
                "taken_over",
                Broadcaster,
                454,
                "The same reservation ID connected again and took over; close the other encoder",
            ),
            Self::BroadcasterSilent => {
                row("broadcaster_silent", Broadcaster, 454, "No media and no request in time; connect again")
            }
            Self::LinkWindowClosed => row(
                "link_window_closed",
                Nobody,
                403,
                "The connect window is over; make a new reservation to send again",
            ),
            // `IdWrong`, and what the tables above hold.
            _ => row(
                "id_wrong",
                Broadcaster,
                401,
                "No confirmed reservation has this ID; reconfirm it, or check it in your settings file",
            ),
        }
    }

    /// One of each, for registering the metrics' labels at start.
    pub fn all() -> Vec<Self> {
        let time = WallTime::from_micros(0);
        let class = BitRate::new(64_000).ok();
        let mut all = vec![
            Self::UnknownChannel,
            Self::NotOnAir,
            Self::BroadcasterAbsent,
            Self::PasswordMissing,
            Self::PasswordWrong,
            Self::ProofStale,
            Self::TooManyGuesses,
            Self::SeatsTaken { seats: 1 },
            Self::ViewersPerAddress,
            Self::SeatUnused,
            Self::ViewerSilent,
            Self::ViewerSlow,
            Self::ViewerStalled,
            Self::ProgramEnded,
            Self::ProgramStopped,
            Self::ProgramWithdrawn,
            Self::StreamChanged,
            Self::Draining,
            Self::IdMissing,
            Self::IdWrong,
            Self::OtherChannel,
            Self::TooEarly { opens: time },
            Self::TooLate { closed: time },
            Self::LinkStopped,
            Self::LinesTaken,
            Self::LinesPerAddress,
            Self::GateDeadline,
            Self::TakenOver,
            Self::BroadcasterSilent,
            Self::LinkWindowClosed,
        ];
        all.extend(class.map(|class| Self::AboveClass { class, declared_kbps: 0 }));
        all.extend(class.map(|class| Self::ClassExceeded { class }));
        all
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

impl From<Cut> for Reason {
    fn from(cut: Cut) -> Self {
        match cut {
            Cut::Ended => Self::ProgramEnded,
            Cut::Stopped => Self::ProgramStopped,
            Cut::Withdrawn => Self::ProgramWithdrawn,
        }
    }
}

/// What becomes of the connection after a refusal was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// It may ask again.
    KeepOpen,
    /// It is closed.
    Close,
}

/// Ask for a proof: 401 with a fresh nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// Why: missing, wrong or stale.
    pub reason: Reason,
    /// Whether the proof was good but for its nonce.
    pub stale: bool,
    /// Answer no sooner than this; zero where nothing wrong was shown.
    pub delay: Duration,
}

/// Say no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Status, text and label come from it.
    pub reason: Reason,
    /// Answer no sooner than this; zero unless something was guessed.
    pub delay: Duration,
    /// What becomes of the connection.
    pub then: Then,
}

impl Refusal {
    /// At once, and the connection may ask again.
    pub const fn keep_open(reason: Reason) -> Self {
        Self { reason, delay: Duration::ZERO, then: Then::KeepOpen }
    }

    /// At once, and the connection is closed.
    pub const fn close(reason: Reason) -> Self {
        Self { reason, delay: Duration::ZERO, then: Then::Close }
    }
}

/// What was decided about a request.
#[derive(Debug)]
pub enum Decision<T> {
    /// Let in.
    Admit(T),
    /// Ask for a proof.
    Challenge(Challenge),
    /// Say no.
    Refuse(Refusal),
}

impl<T> Decision<T> {
    /// Why not; `None` when admitted.
    pub const fn reason(&self) -> Option<Reason> {
        match self {
            Self::Admit(_) => None,
            Self::Challenge(challenge) => Some(challenge.reason),
            Self::Refuse(refusal) => Some(refusal.reason),
        }
    }

    /// The same decision about something else.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Decision<U> {
        match self {
            Self::Admit(admitted) => Decision::Admit(f(admitted)),
            Self::Challenge(challenge) => Decision::Challenge(challenge),
            Self::Refuse(refusal) => Decision::Refuse(refusal),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn labels_are_unique_and_fit_for_metrics() {
        let all = Reason::all();
        let labels: HashSet<_> = all.iter().map(|reason| reason.label()).collect();
        assert_eq!(labels.len(), all.len());
        for label in labels {
            assert!(label.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{label}");
        }
    }

    #[test]
    fn every_text_is_one_line_and_says_the_next_step() {
        for reason in Reason::all() {
            let text = reason.text();
            assert!(text.len() <= 120 && !text.contains(char::is_control), "{text}");
            assert!(text.contains(';') || reason == Reason::IdMissing, "no next step: {text}");
            assert!((400..600).contains(&reason.status()), "{reason:?}");
        }
    }

    #[test]
    fn an_unknown_channel_reads_like_an_empty_one() {
        assert_eq!(Reason::UnknownChannel.text(), Reason::NotOnAir.text());
        assert_eq!(Reason::UnknownChannel.status(), Reason::NotOnAir.status());
    }

    #[test]
    fn full_names_the_seats() {
        let text = Reason::SeatsTaken { seats: 50 }.text();
        assert_eq!(text, "All 50 seats of this program are taken; try again when someone leaves");
    }
}
