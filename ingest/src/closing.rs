//! What only the connection knows of why a link ends, in admission's words.

use slotcast_admission::Reason;
use slotcast_rtsp::server::{CloseReason, SessionEnd};

/// Why an RTSP connection ends by itself.
pub(crate) fn reason_of(reason: CloseReason) -> Reason {
    match reason {
        CloseReason::PeerDone => Reason::LinkClosed,
        CloseReason::SessionEnded(SessionEnd::Teardown) => Reason::LinkTornDown,
        CloseReason::SessionEnded(SessionEnd::Silent) => Reason::BroadcasterSilent,
        CloseReason::SessionEnded(SessionEnd::NotStarted) => Reason::LinkIdle,
        other => Reason::LinkProtocol { what: other.into() },
    }
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
