//! Why a link ends: the label for logs and counters, the text for people, and the side at fault.
//!
//! What admission decides is named by [`Reason`]; here is added what only the connection knows.

use std::borrow::Cow;

use slotcast_admission::Reason;
use slotcast_core::denial::Denial;
use slotcast_rtsp::server::{CloseReason, SessionEnd};

/// Why a link ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closing {
    /// Refused, or ended by the rules.
    Because(Reason),
    /// The peer closed the connection.
    PeerClosed,
    /// The connection broke.
    Broken,
    /// A valid reservation ID, but no RECORD in time.
    NotRecorded,
    /// Had to leave the antechamber for a newcomer.
    Displaced,
    /// The peer does not take what it is sent.
    NotReading,
    /// Another link has announced the same UDP ports of the same address.
    PortsTaken,
    /// The RTSP connection cannot go on, or need not.
    Rtsp(CloseReason),
}

impl Closing {
    /// Of fixed words, for logs and counters.
    pub(crate) fn label(self) -> &'static str {
        self.row().0
    }

    /// Who would have to do something about it.
    pub(crate) fn fault(self) -> &'static str {
        self.row().1
    }

    /// One line for the person at the encoder, with the next step.
    pub(crate) fn text(self) -> Cow<'static, str> {
        self.row().2
    }

    fn row(self) -> (&'static str, &'static str, Cow<'static, str>) {
        use SessionEnd::{Silent, Teardown};
        let (label, fault, text) = match self {
            Self::Because(reason) => return (reason.label(), reason.fault().label(), reason.text()),
            Self::PeerClosed => ("peer_closed", "nobody", "The encoder closed the link; connect again"),
            Self::Broken => ("connection_broken", "network", "The connection broke; connect again"),
            Self::NotRecorded => {
                ("not_recorded", "broadcaster", "RECORD did not follow in time; start the encoder again")
            }
            Self::Displaced => ("displaced", "broadcaster", "No reservation ID was shown; connect again"),
            Self::NotReading => {
                ("not_reading", "network", "The encoder did not read its answers; connect again")
            }
            Self::PortsTaken => (
                "client_ports_taken",
                "broadcaster",
                "Another link uses these UDP ports of your address; choose others, or TCP",
            ),
            Self::Rtsp(CloseReason::SessionEnded(Teardown)) => {
                ("teardown", "nobody", "The encoder ended the link; connect again")
            }
            Self::Rtsp(CloseReason::SessionEnded(Silent)) => {
                ("broadcaster_silent", "network", "No media and no request in time; connect again")
            }
            Self::Rtsp(reason) => {
                (rtsp_label(reason), "broadcaster", "The encoder's RTSP could not go on; connect again")
            }
        };
        (label, fault, text.into())
    }

    /// The kind of refusal that a request which still waits for its answer gets.
    pub(crate) fn denial(self) -> Denial {
        match self {
            Self::Because(reason) => reason.denial(),
            _ => Denial::SessionOver,
        }
    }

    /// Whether there is nobody left to flush to.
    pub(crate) const fn is_unheard(self) -> bool {
        matches!(self, Self::Broken | Self::NotReading | Self::Displaced)
    }

    /// Whether it ends without a decision about what the peer asked for.
    pub(crate) const fn peer_went_away(self) -> bool {
        matches!(self, Self::PeerClosed) || self.is_unheard()
    }
}

impl From<CloseReason> for Closing {
    fn from(reason: CloseReason) -> Self {
        match reason {
            CloseReason::PeerDone => Self::PeerClosed,
            reason => Self::Rtsp(reason),
        }
    }
}

const fn rtsp_label(reason: CloseReason) -> &'static str {
    match reason {
        CloseReason::FirstByteLate => "first_byte_late",
        CloseReason::HeaderLate => "header_late",
        CloseReason::BodyLate => "body_late",
        CloseReason::Idle => "idle",
        CloseReason::SessionEnded(SessionEnd::NotStarted) => "not_recorded",
        CloseReason::SessionEnded(_) => "session_ended",
        CloseReason::WrongProofs => "wrong_proofs",
        CloseReason::Refused => "refused",
        CloseReason::Malformed => "malformed",
        CloseReason::CseqMissing => "cseq_missing",
        CloseReason::PipelineFull => "pipeline_full",
        _ => "rtsp_error",
    }
}

/// A peer's text for a log line: no control characters, not long.
pub(crate) fn for_log(text: &str) -> String {
    text.chars().take(crate::limits::LOGGED_CHARS_MAX).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_cannot_write_lines_into_the_log() {
        assert_eq!(for_log("a\r\nb\u{1b}[2J"), "a\\r\\nb\\u{1b}[2J");
        assert_eq!(for_log(&"x".repeat(500)).len(), crate::limits::LOGGED_CHARS_MAX);
    }
}
