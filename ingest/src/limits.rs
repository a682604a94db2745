//! Every bound of the link side, in one place.
//!
//! What an operator may set stands in [`IngestConfig`](crate::IngestConfig).

use std::time::Duration;

/// Connections that were told why and are only waited for, until they close too.
pub(crate) const LEAVING_MAX: usize = 64;
/// How long they are waited for.
pub(crate) const LEAVING_TIME: Duration = Duration::from_millis(500);
/// Bytes to a broadcaster that may wait for its socket; it gets answers and reports only.
pub(crate) const OUT_BYTES_MAX: usize = 128 * 1024;
/// Reports over TCP are left out while more than this waits.
pub(crate) const OUT_BYTES_FOR_REPORTS: usize = 16 * 1024;

/// One read from a socket.
pub(crate) const READ_BYTES: usize = 64 * 1024;
/// Bytes read at once, and in a turn, of a connection that has shown no reservation ID: an ANNOUNCE with its SDP.
pub(crate) const UNPROVEN_READ_BYTES: usize = 8 * 1024;
/// Reads from one link per turn, so that one cannot starve the others.
pub(crate) const READS_PER_TURN: usize = 4;
/// Datagrams from one UDP socket per turn.
pub(crate) const DATAGRAMS_PER_TURN: usize = 256;
/// Connections accepted from one listener per turn.
pub(crate) const ACCEPTS_PER_TURN: usize = 64;
/// Events taken from the kernel per turn.
pub(crate) const EVENTS_PER_TURN: usize = 256;
/// From so many sources on the thread wakes for several frames at once rather than for each: it lets them come in for
/// [`GATHER_TIME`].
pub(crate) const GATHER_FROM: usize = 16;
/// Added to the delay of a packet at the most, where there are [`GATHER_FROM`] sources or more.
pub(crate) const GATHER_TIME: Duration = Duration::from_millis(1);
/// Receive buffer asked for each UDP socket; the kernel may give less.
pub(crate) const UDP_RECEIVE_BYTES: usize = 4 * 1024 * 1024;
/// Tries to find two neighbouring free UDP ports where none are configured.
pub(crate) const PORT_TRIES: usize = 32;

/// How long accepting pauses when descriptors have run out.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Something that came within this time is a sign of life; links are looked at more often.
pub(crate) const ALIVE: Duration = Duration::from_secs(1);
/// A link over UDP that has brought nothing for so long, while something came from its address by other ports, is told of.
pub(crate) const WRONG_PORT_PATIENCE: Duration = Duration::from_secs(1);
/// Characters of a peer's text that go into a log line.
pub(crate) const LOGGED_CHARS_MAX: usize = 64;
