//! Why someone was refused, cut or closed: one table of label, side at fault, what became of it, and public text.
//!
//! Owns: [`Reason`], its table, and the shape of every decision ([`Decision`], [`Refusal`]).
//! Not here: taking decisions (`viewer`, `link`); each protocol's status for a [`Denial`], which the protocol knows.
//! Invariant: every label is stable and unique; every public text is one line, names no secret and says what to do next.

use std::{borrow::Cow, fmt, time::Duration};

use slotcast_core::{denial::Denial, time::WallTime, words::BitRate};

use crate::gate::Cut;

/// The side that would have to change something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Fault {
    /// Nobody: it is how the product works.
    Nobody,
    /// Who watches.
    Viewer,
    /// Who sends.
    Broadcaster,
    /// Nobody at either end: what lies between.
    Network,
    /// Who runs the server.
    Operator,
}

/// What became of who asked or was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Outcome {
    /// Asked for a proof.
    Challenged,
    /// Not let in.
    Refused,
    /// Let in before, and now at an end.
    Ended,
}

impl Fault {
    /// For logs and metrics.
    pub fn label(self) -> &'static str {
        self.into()
    }
}

impl Outcome {
    /// For logs and metrics.
    pub fn label(self) -> &'static str {
        self.into()
    }
}

struct Row {
    label: &'static str,
    fault: Fault,
    result: Outcome,
    denial: Denial,
    text: Cow<'static, str>,
}

/// One entry for each reason: its documentation, name and fields (each with a value for [`Reason::all`]), then label, side
/// at fault, what became of it, the kind of refusal, and the text.
macro_rules! reasons {
    ($(
        $(#[$doc:meta])* $name:ident $({ $($(#[$field_doc:meta])* $field:ident: $type:ty = $example:expr),* })?:
        $label:expr, $fault:ident, $result:ident, $denial:ident, $text:expr;
    )*) => {
        /// Why someone was refused, cut or closed. [`Display`](fmt::Display) is the public text.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Reason {
            $($(#[$doc])* $name $({ $($(#[$field_doc])* $field: $type),* })?,)*
        }

        impl Reason {
            fn row(self) -> Row {
                match self {
                    $(Self::$name $({ $($field),* })? => Row {
                        label: $label,
                        fault: Fault::$fault,
                        result: Outcome::$result,
                        denial: Denial::$denial,
                        text: $text.into(),
                    },)*
                }
            }

            /// One of each, for registering the metrics' labels at start.
            pub fn all() -> Vec<Self> {
                vec![$(Self::$name $({ $($field: $example),* })?),*]
            }
        }
    };
}

const NOT_ON_AIR: &str = "No program is on air at this address; check the address and the program's time";

fn seats_taken(seats: u32) -> Cow<'static, str> {
    match seats {
        1 => "The only seat of this program is taken; try again when it is left".into(),
        _ => format!("All {seats} seats of this program are taken; try again when someone leaves").into(),
    }
}

reasons! {
    /// The address names no channel. Answered exactly as [`Self::NotOnAir`].
    UnknownChannel: "unknown_channel", Viewer, Refused, Absent, NOT_ON_AIR;
    /// The channel has no program now.
    NotOnAir: "not_on_air", Viewer, Refused, Absent, NOT_ON_AIR;
    /// The program is on air, but nothing arrives from its broadcaster.
    BroadcasterAbsent: "broadcaster_absent", Broadcaster, Refused, Absent,
        "The broadcaster of this program is not sending yet; try again in a moment";
    /// A protected program, and no password was shown.
    PasswordMissing: "password_missing", Viewer, Challenged, Unproven,
        "This program needs a password; open it with the password";
    /// A protected program, and another password was shown.
    PasswordWrong: "password_wrong", Viewer, Refused, Unproven,
        "That is not the program's password; check it and try again";
    /// The proof was made with a nonce that is too old; the viewer or broadcaster repeats it by itself.
    ProofStale: "proof_stale", Viewer, Challenged, Unproven, "The login is too old; try again";
    /// Too many wrong passwords or IDs from there.
    TooManyGuesses: "too_many_guesses", Viewer, Refused, Forbidden,
        "Too many wrong attempts from your address; wait a minute";
    /// Every seat is taken.
    SeatsTaken {
        /// How many there are.
        seats: u32 = 1
    }: "seats_taken", Nobody, Refused, Full, seats_taken(seats);
    /// Too many viewers of one address.
    ViewersPerAddress: "viewers_per_address", Viewer, Refused, Full,
        "Too many viewers at your address; close one and try again";
    /// A seat was taken, and playing did not begin in time.
    SeatUnused: "seat_unused", Viewer, Ended, SessionOver, "Playing did not begin in time; connect again";
    /// No sign of life from the viewer.
    ViewerSilent: "viewer_silent", Viewer, Ended, SessionOver, "No sign of life in time; connect again";
    /// Fell behind again and again.
    ViewerSlow: "viewer_slow", Viewer, Ended, Full,
        "Your line is too slow for this program; try a faster one";
    /// Took nothing for too long.
    ViewerStalled: "viewer_stalled", Viewer, Ended, Full, "Nothing was taken in time; start again";
    /// The window's end came.
    ProgramEnded: "program_ended", Nobody, Ended, Absent, "The program is over; see the next one";
    /// Ended early, by the broadcaster or the operator.
    ProgramStopped: "program_stopped", Broadcaster, Ended, Absent,
        "The program ended early; see the next one";
    /// Taken out of the timetable.
    ProgramWithdrawn: "program_withdrawn", Operator, Ended, Absent,
        "The program was withdrawn; see the next one";
    /// The broadcaster's stream changed its shape; viewers have to start again.
    StreamChanged: "stream_changed", Broadcaster, Ended, Absent,
        "The broadcaster changed the stream; start again";
    /// The operator ended the session of this one viewer or link.
    Kicked: "kicked", Operator, Ended, Forbidden,
        "The operator ended this connection; ask why before connecting again";
    /// The server is shutting down.
    Draining: "draining", Operator, Ended, Unavailable, "The server is restarting; try again in a minute";
    /// No reservation ID was shown.
    IdMissing: "id_missing", Broadcaster, Challenged, Unproven,
        "Show the reservation ID: user live, password the ID";
    /// No reservation has that ID. Answered the same whatever the channel.
    IdWrong: "id_wrong", Broadcaster, Refused, Unproven,
        "No confirmed reservation has this ID; reconfirm it, or check it in your settings file";
    /// The ID is right, for another channel.
    OtherChannel: "other_channel", Broadcaster, Refused, Forbidden,
        "This reservation is for another channel; use the address of your settings file";
    /// The ID is right, but its connect window has not opened.
    TooEarly {
        /// When it does.
        opens: WallTime = WallTime::from_micros(0)
    }: "too_early", Broadcaster, Refused, Forbidden,
        format!("The link opens at {opens}; connect again then");
    /// The ID is right, but its connect window has closed.
    TooLate {
        /// When it did.
        closed: WallTime = WallTime::from_micros(0)
    }: "too_late", Broadcaster, Refused, Forbidden,
        format!("The link closed at {closed}; make a new reservation to send again");
    /// The ID is right, but its program was ended early or withdrawn.
    LinkStopped: "link_stopped", Broadcaster, Refused, Forbidden,
        "This program was ended early; make a new reservation to send again";
    /// The broadcaster declares more than the bandwidth class.
    AboveClass {
        /// The class.
        class: BitRate = BitRate::MIN,
        /// Sum of what it declares, kbit/s.
        declared_kbps: u64 = 0
    }: "above_class", Broadcaster, Refused, Full,
        format!(
            "The SDP declares {declared_kbps}kbit/s, the reservation's class is {class}; lower the encoder's bit rate"
        );
    /// More media than the bandwidth class for too long.
    ClassExceeded {
        /// The class.
        class: BitRate = BitRate::MIN
    }: "class_exceeded", Broadcaster, Ended, Full,
        format!("More than the reservation's class of {class} for too long; lower the encoder's bit rate");
    /// Every line is taken.
    LinesTaken: "lines_taken", Operator, Refused, Unavailable,
        "All lines are taken; try again in a moment";
    /// Too many links of one address.
    LinesPerAddress: "lines_per_address", Broadcaster, Refused, Unavailable,
        "Too many links from your address; close one and try again";
    /// No valid reservation ID within the gate's deadline.
    GateDeadline: "gate_deadline", Broadcaster, Refused, Late,
        "No reservation ID in time; connect again and show it";
    /// The same ID came again; the newer link goes on.
    TakenOver: "taken_over", Broadcaster, Ended, SessionOver,
        "The same reservation ID connected again and took over; close the other encoder";
    /// The link that has the program took over from another a moment ago, and both send.
    LinkContested: "link_contested", Broadcaster, Refused, Unavailable,
        "Another encoder took over with the same reservation ID; close it, or connect again in a minute";
    /// No media and no request from the broadcaster.
    BroadcasterSilent: "broadcaster_silent", Network, Ended, SessionOver,
        "No media and no request in time; connect again";
    /// The broadcaster's encoder ended the link in good order.
    LinkTornDown: "teardown", Nobody, Ended, SessionOver, "The encoder ended the link; connect again";
    /// The broadcaster's encoder closed the connection.
    LinkClosed: "peer_closed", Nobody, Ended, SessionOver, "The encoder closed the link; connect again";
    /// The broadcaster's connection broke.
    LinkBroken: "connection_broken", Network, Ended, SessionOver, "The connection broke; connect again";
    /// The broadcaster's encoder does not take what it is answered.
    LinkUnread: "not_reading", Network, Ended, SessionOver,
        "The encoder did not read its answers; connect again";
    /// The broadcaster's encoder said something that its protocol does not allow there.
    LinkProtocol {
        /// What, as a label.
        what: &'static str = "rtsp_error"
    }: what, Broadcaster, Ended, SessionOver, "The encoder's RTSP could not go on; connect again";
    /// A valid reservation ID, but sending did not begin in time.
    LinkIdle: "not_recorded", Broadcaster, Ended, SessionOver,
        "RECORD did not follow in time; start the encoder again";
    /// The connection had shown no reservation ID, and had to leave for a newcomer.
    LinkDisplaced: "displaced", Broadcaster, Ended, SessionOver,
        "No reservation ID was shown; connect again";
    /// The connect window closed while the link was open.
    LinkWindowClosed: "link_window_closed", Nobody, Ended, Forbidden,
        "The connect window is over; make a new reservation to send again";
}

impl Reason {
    /// Stable, for metrics and logs.
    pub fn label(self) -> &'static str {
        self.row().label
    }

    /// The side that would have to change something.
    pub fn fault(self) -> Fault {
        self.row().fault
    }

    /// What it made of who asked or was there: the decision that metrics count.
    pub fn result(self) -> Outcome {
        self.row().result
    }

    /// The kind of refusal, from which a protocol makes its status; what a request in flight is answered where the reason
    /// ends a session.
    pub fn denial(self) -> Denial {
        self.row().denial
    }

    /// For people: one line that says the next step.
    pub fn text(self) -> Cow<'static, str> {
        self.row().text
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

/// What was decided about a request.
pub type Decision<T> = Result<T, Refusal>;

/// Not let in, for now or for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Kind, text and label come from it.
    pub reason: Reason,
    /// Answer no sooner than this; zero unless something was guessed.
    pub delay: Duration,
    /// What becomes of the connection.
    pub then: Then,
}

/// What becomes of the connection after a refusal was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// It is asked for a proof, with a fresh nonce where the protocol has one. A proof that was right but for its nonce
    /// ([`Reason::ProofStale`]) is not counted as wrong.
    Challenge,
    /// It may ask again.
    KeepOpen,
    /// It is closed.
    Close,
}

impl Refusal {
    /// At once, and the peer is asked for a proof.
    pub const fn challenge(reason: Reason) -> Self {
        Self { reason, delay: Duration::ZERO, then: Then::Challenge }
    }

    /// At once, and the connection may ask again.
    pub const fn keep_open(reason: Reason) -> Self {
        Self { reason, delay: Duration::ZERO, then: Then::KeepOpen }
    }

    /// At once, and the connection is closed.
    pub const fn close(reason: Reason) -> Self {
        Self { reason, delay: Duration::ZERO, then: Then::Close }
    }

    /// No sooner than after `delay`.
    #[must_use]
    pub const fn after(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }

    /// Whether only the proof's nonce was too old.
    pub fn is_stale(&self) -> bool {
        self.reason == Reason::ProofStale
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
        }
    }

    #[test]
    fn an_unknown_channel_reads_like_an_empty_one() {
        assert_eq!(Reason::UnknownChannel.text(), Reason::NotOnAir.text());
        assert_eq!(Reason::UnknownChannel.denial(), Reason::NotOnAir.denial());
    }

    #[test]
    fn full_names_the_seats() {
        let text = Reason::SeatsTaken { seats: 50 }.text();
        assert_eq!(text, "All 50 seats of this program are taken; try again when someone leaves");
    }
}
