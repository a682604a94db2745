//! What only the connection knows of why a link ends, in admission's words.

use slotcast_admission::Reason;
use slotcast_rtsp::server::{CloseReason, SessionEnd};

/// Why an RTSP connection ends by itself.
pub(crate) const fn reason_of(reason: CloseReason) -> Reason {
    let what = match reason {
        CloseReason::PeerDone => return Reason::LinkClosed,
        CloseReason::SessionEnded(SessionEnd::Teardown) => return Reason::LinkTornDown,
        CloseReason::SessionEnded(SessionEnd::Silent) => return Reason::BroadcasterSilent,
        CloseReason::SessionEnded(SessionEnd::NotStarted) => return Reason::LinkIdle,
        CloseReason::SessionEnded(_) => "session_ended",
        CloseReason::FirstByteLate => "first_byte_late",
        CloseReason::HeaderLate => "header_late",
        CloseReason::BodyLate => "body_late",
        CloseReason::Idle => "idle",
        CloseReason::WrongProofs => "wrong_proofs",
        CloseReason::Refused => "refused",
        CloseReason::Malformed => "malformed",
        CloseReason::CseqMissing => "cseq_missing",
        CloseReason::PipelineFull => "pipeline_full",
        _ => "rtsp_error",
    };
    Reason::LinkProtocol { what }
}

/// Whether there is nobody left to flush to.
pub(crate) const fn is_unheard(reason: Reason) -> bool {
    matches!(reason, Reason::LinkBroken | Reason::LinkUnread | Reason::LinkDisplaced)
}

/// Whether it ends without a decision about what the peer asked for.
pub(crate) const fn peer_went_away(reason: Reason) -> bool {
    matches!(reason, Reason::LinkClosed) || is_unheard(reason)
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
