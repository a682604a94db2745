//! One viewer's RTSP connection on its worker, and the viewer it may have become.
//!
//! Owns: the session machine, what waits to be written, and the seat. Not here: the socket, which a frame's pass over all
//! viewers needs without the rest ([`Streams`]).
//! Holds: dropping a connection gives its seat and its place among its address's connections back.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use mio::net::TcpStream;
use slotcast_admission::{Fault, Line, Reason, Seat};
use slotcast_core::{
    bucket::TokenBucket,
    log::Position,
    words::{BitRate, ProgramId},
};
use slotcast_rtsp::server::{ServerConnection, SessionEnd};

use crate::{limits, shape::ShapeId, stats::Protocol, tcp::Outbox, udp::ViewerPorts};

/// One accepted connection.
pub(crate) struct Connection {
    /// Where it comes from. Media goes to this address only, at the ports that the viewer names.
    pub(crate) peer: SocketAddr,
    pub(crate) rtsp: ServerConnection,
    pub(crate) outbox: Outbox,
    pub(crate) viewer: Option<Box<Viewer>>,
    /// The program that it was let into: it need not show the password again.
    pub(crate) admitted: Option<ProgramId>,
    /// Set once nothing more is read: when it is closed even if the peer has not taken all.
    pub(crate) closing: Option<Instant>,
    /// Whether the peer has ended its side: it is taken out as soon as all is said.
    pub(crate) peer_is_done: bool,
    /// Its place among the connections of its address; given back on drop.
    pub(crate) _line: Line,
}

impl Connection {
    /// Another port of the peer's address; on the same link, where the address means nothing without.
    pub(crate) fn at(&self, port: u16) -> SocketAddr {
        let mut address = self.peer;
        address.set_port(port);
        address
    }
}

/// The sockets of all connections, at the same places as these, close together.
#[derive(Default)]
pub(crate) struct Streams(Vec<Option<TcpStream>>);

impl Streams {
    /// The socket of the connection at `key`.
    pub(crate) fn get_mut(&mut self, key: usize) -> Option<&mut TcpStream> {
        self.0.get_mut(key)?.as_mut()
    }

    /// As [`get_mut`](Self::get_mut), to look at.
    pub(crate) fn get(&self, key: usize) -> Option<&TcpStream> {
        self.0.get(key)?.as_ref()
    }

    /// Keeps the socket of a new connection.
    pub(crate) fn insert(&mut self, key: usize, stream: TcpStream) {
        if self.0.len() <= key {
            self.0.resize_with(key + 1, || None);
        }
        self.0[key] = Some(stream);
    }

    /// Gives the socket of a connection that is over.
    pub(crate) fn remove(&mut self, key: usize) -> Option<TcpStream> {
        self.0.get_mut(key)?.take()
    }

    /// One more than the largest key so far.
    pub(crate) const fn keys(&self) -> usize {
        self.0.len()
    }
}

/// A connection that holds a seat.
pub(crate) struct Viewer {
    /// What an operator knows it by.
    pub(crate) id: u64,
    pub(crate) program: ProgramId,
    pub(crate) seat: Seat,
    pub(crate) protocol: Protocol,
    /// See [`UdpPorts::source_for`](crate::udp::UdpPorts::source_for).
    pub(crate) source: Option<IpAddr>,
    /// Where PLAY said that it starts.
    pub(crate) start: Position,
    /// `None` until it plays, and while it is paused.
    pub(crate) media: Option<Media>,
    /// How much of the log it may be given at once; kept over pauses, so that playing anew earns nothing.
    pub(crate) pace: TokenBucket,
    pub(crate) slowness: Slowness,
    /// Why the server ends its session, once it does.
    pub(crate) cause: Option<Cause>,
}

/// Why a viewer's session is over, for the log: one line per viewer, with the side at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cause {
    pub(crate) reason: &'static str,
    pub(crate) fault: Fault,
}

impl From<Reason> for Cause {
    fn from(reason: Reason) -> Self {
        Self { reason: reason.label(), fault: reason.fault() }
    }
}

impl From<SessionEnd> for Cause {
    /// What the session machine ended by itself.
    fn from(end: SessionEnd) -> Self {
        match end {
            SessionEnd::Teardown => Self { reason: "teardown", fault: Fault::Nobody },
            SessionEnd::Replaced => Self { reason: "replaced", fault: Fault::Nobody },
            SessionEnd::SetupRefused => Self { reason: "setup_refused", fault: Fault::Viewer },
            SessionEnd::NotStarted => Reason::SeatUnused.into(),
            SessionEnd::Silent => Reason::ViewerSilent.into(),
            _ => Self { reason: "connection_closed", fault: Fault::Viewer },
        }
    }
}

/// How media reaches a viewer who plays.
pub(crate) enum Media {
    Udp(UdpViewer),
    Tcp(TcpViewer),
}

/// A viewer over UDP.
pub(crate) struct UdpViewer {
    pub(crate) ports: Box<ViewerPorts>,
    /// The same, as they stand in the worker's table of ports.
    pub(crate) addresses: Vec<SocketAddr>,
    /// `None` once it is part of the audience.
    pub(crate) catch_up: Option<CatchUp>,
    /// "Unreachable" answers of the network, and when the last one counted.
    pub(crate) unreachable: u8,
    pub(crate) unreachable_at: Option<Instant>,
}

/// A viewer over TCP.
pub(crate) struct TcpViewer {
    pub(crate) shape: ShapeId,
    /// Next packet of its shape's views; only while it is not live.
    pub(crate) cursor: Position,
    /// Whether it stands at the head of the log and is given each chunk as it comes.
    pub(crate) live: bool,
    /// Whether its socket was full at the last write.
    pub(crate) blocked: bool,
    /// While it catches up after PLAY.
    pub(crate) catch_up: Option<CatchUp>,
    /// Whether it waits for the next key frame.
    pub(crate) awaits_key: bool,
    /// When the socket last took a byte; only while it is not live.
    pub(crate) progress_at: Instant,
    /// When it last jumped in the log.
    pub(crate) jumped_at: Option<Instant>,
}

/// Place and patience of a viewer who has just joined.
pub(crate) struct CatchUp {
    pub(crate) cursor: Position,
    pub(crate) until: Instant,
}

impl CatchUp {
    /// From `cursor` on.
    pub(crate) fn new(cursor: Position, now: Instant) -> Self {
        Self { cursor, until: now + limits::JOIN_TIME_MAX }
    }
}

/// 4 times the bandwidth class, with a first burst.
pub(crate) fn join_pace(class: BitRate, now: Instant) -> TokenBucket {
    let rate = BitRate::new(class.bits_per_second().saturating_mul(limits::JOIN_SPEED)).unwrap_or(class);
    let burst =
        Duration::from_micros(limits::JOIN_BURST_BYTES * 8_000_000 / rate.bits_per_second().max(1) + 1);
    TokenBucket::new(rate, burst, now)
}

/// The jumps of a slow viewer.
#[derive(Default)]
pub(crate) struct Slowness {
    jumps: [Option<Instant>; limits::SKIPS_MAX],
}

impl Slowness {
    /// Notes a jump; `true` when it was one too many.
    pub(crate) fn jumped(&mut self, now: Instant) -> bool {
        self.jumps.rotate_right(1);
        self.jumps[0] = Some(now);
        self.jumps
            .iter()
            .all(|jump| jump.is_some_and(|at| now.saturating_duration_since(at) < limits::SKIP_WINDOW))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_jumps_within_the_window_are_too_many() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut slowness = Slowness::default();
        assert!(!slowness.jumped(at(0)));
        assert!(!slowness.jumped(at(10)));
        assert!(!slowness.jumped(at(31)), "the first is out of the window");
        assert!(slowness.jumped(at(35)));
    }
}
