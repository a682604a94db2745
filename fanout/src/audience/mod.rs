//! By which way media leaves: viewers over UDP, viewers over TCP.
//!
//! Owns: [`Audience`], what a hall asks of each way, and [`Ways`], those of this server together.
//! Not here: what viewers speak (the doors), who may watch (admission), when a program is over (the hall).
//! Invariant: an audience knows the log, a guard and sockets, and no protocol.

mod ring;
pub(crate) mod tcp;
pub(crate) mod udp;

use std::time::{Duration, Instant};

use slotcast_admission::Reason;
use slotcast_core::{
    chunk::Chunk,
    log::{ChannelLog, Position},
    time::Now,
};
use slotcast_net::sys::Destination;

use crate::{
    audience::{
        tcp::{Numbering, TcpAudience},
        udp::{UdpAudience, ViewerPorts},
    },
    budget::Budget,
    guard::Guard,
    ports::Net,
    sockets::Sockets,
    stats::WorkerStats,
    viewer::{Key, Viewers},
};

/// What an audience works with for one stretch of a turn.
pub(crate) struct Turn<'a, N: Net> {
    pub(crate) now: Now,
    pub(crate) guard: Guard<'a>,
    pub(crate) log: &'a ChannelLog,
    pub(crate) viewers: &'a mut Viewers,
    pub(crate) sockets: &'a mut Sockets<N>,
    pub(crate) stats: &'a WorkerStats,
    pub(crate) budget: &'a mut Budget,
    pub(crate) patience: Patience,
    /// Viewers who cannot go on.
    pub(crate) lost: &'a mut Vec<(Key, Loss)>,
}

/// How long slow viewers are borne with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// A viewer further behind than this jumps to the newest key frame.
    pub(crate) behind: Duration,
    /// A viewer who takes no byte for this long is cut.
    pub(crate) stalled: Duration,
}

impl Patience {
    /// Whether a viewer whose next chunk this is counts as behind.
    fn is_behind(self, chunk: &Chunk, now: Instant) -> bool {
        now.saturating_duration_since(chunk.arrival()) > self.behind
    }
}

/// Why a viewer cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// Its connection broke.
    Broken,
    /// It is to be told why.
    Told(Reason),
}

/// How far those at the head of the log were brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// All of them have all, or nothing may leave any more.
    Done,
    /// The budget is over: there is more to do at once.
    More,
    /// A socket that they share is full: go on when it takes more.
    Full,
}

/// The viewers of one program on one worker whom media reaches by the same way.
///
/// A viewer reads at its own pace until it has caught up with the log; then it stands at the head, and gets each chunk as it
/// comes.
pub(crate) trait Audience<N: Net> {
    /// How media reaches one viewer.
    type Way;

    /// A viewer begins to read the log at `start`.
    fn enter(&mut self, viewer: Key, way: Self::Way, start: Position, now: Instant);
    /// A viewer gets nothing more. No effect where it is not here.
    fn leave(&mut self, viewer: Key);
    /// The log has taken a chunk.
    fn chunk_came(&mut self);
    /// Brings those at the head of the log there again.
    fn live(&mut self, turn: &mut Turn<'_, N>) -> Progress;
    /// Serves those who read at their own pace, each once. Returns when the next of them may have more; `None`: nobody
    /// reads, or all of them wait for their sockets or for a key frame.
    fn behind(&mut self, turn: &mut Turn<'_, N>) -> Option<Instant>;
    /// Lets viewers who are too far behind jump, and gives up those who stand still.
    fn look_at_slow(&mut self, turn: &mut Turn<'_, N>);
    /// The gate is closed: forgets all viewers and all media, packets that were begun included.
    fn cut(&mut self, sockets: &mut Sockets<N>);
    /// The socket of a viewer takes bytes again.
    fn writable(&mut self, viewer: Key);
    /// The socket of a viewer is full of other bytes than media.
    fn full(&mut self, viewer: Key, now: Instant);
    /// Where in the log a viewer's next packet of `track` is looked for; `None`: nobody knows.
    fn next_of(&self, viewer: Key, track: u8, log: &ChannelLog) -> Option<Position>;
    /// When a viewer last took media, as far as that shows that it lives.
    fn took_at(&self, viewer: Key) -> Option<Instant>;
}

/// How media reaches a viewer.
pub(crate) enum Way {
    /// By datagrams to these ports of an address.
    Udp(Destination, ViewerPorts),
    /// In frames on the wire at that place; numbered in its own way, or as chunks are.
    Tcp(usize, Option<Numbering>),
}

/// The audiences of this server.
#[derive(Default)]
pub(crate) struct Ways {
    pub(crate) udp: UdpAudience,
    tcp: TcpAudience,
    /// They take turns in being first, so that neither always waits for the other.
    tcp_is_first: bool,
}

impl<N: Net> Audience<N> for Ways {
    type Way = Way;

    fn enter(&mut self, viewer: Key, way: Way, start: Position, now: Instant) {
        match way {
            Way::Udp(to, ports) => self.udp.enter(viewer, to, ports, start),
            Way::Tcp(wire, numbering) => self.tcp.enter(viewer, wire, numbering, start, now),
        }
    }

    fn leave(&mut self, viewer: Key) {
        self.udp.leave(viewer);
        self.tcp.leave(viewer);
    }

    fn chunk_came(&mut self) {
        self.udp.chunk_came();
        self.tcp.chunk_came();
    }

    fn live(&mut self, turn: &mut Turn<'_, N>) -> Progress {
        self.tcp_is_first = !self.tcp_is_first;
        // The first has half of the stretch, so that the second need not wait until all of the first are served.
        let mut half = turn.budget.part(2);
        std::mem::swap(turn.budget, &mut half);
        let first = if self.tcp_is_first { self.tcp.live(turn) } else { self.udp.live(turn) };
        std::mem::swap(turn.budget, &mut half);
        let second = if self.tcp_is_first { self.udp.live(turn) } else { self.tcp.live(turn) };
        match (first, second) {
            (Progress::More, _) | (_, Progress::More) => Progress::More,
            (Progress::Full, _) | (_, Progress::Full) => Progress::Full,
            (Progress::Done, Progress::Done) => Progress::Done,
        }
    }

    fn behind(&mut self, turn: &mut Turn<'_, N>) -> Option<Instant> {
        let mut half = turn.budget.part(2);
        std::mem::swap(turn.budget, &mut half);
        let udp = self.udp.behind(turn);
        std::mem::swap(turn.budget, &mut half);
        udp.into_iter().chain(self.tcp.behind(turn)).min()
    }

    fn look_at_slow(&mut self, turn: &mut Turn<'_, N>) {
        self.tcp.look_at_slow(turn);
    }

    fn cut(&mut self, sockets: &mut Sockets<N>) {
        self.udp = UdpAudience::default();
        self.tcp.cut(sockets);
    }

    fn writable(&mut self, viewer: Key) {
        self.tcp.writable(viewer);
    }

    fn full(&mut self, viewer: Key, now: Instant) {
        self.tcp.full(viewer, now);
    }

    fn next_of(&self, viewer: Key, track: u8, log: &ChannelLog) -> Option<Position> {
        self.udp.next_of(viewer, track, log).or_else(|| self.tcp.next_of(viewer))
    }

    fn took_at(&self, viewer: Key) -> Option<Instant> {
        self.tcp.took_at(viewer)
    }
}
