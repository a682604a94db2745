//! The door for players that speak RTSP: connections, sessions and what they ask.
//!
//! Owns: the listener, the connections, when questions are answered (after everything of the turn was read, so that a
//! TEARDOWN or a close gives its seat back first), and the connections' deadlines.
//! Not here: media (`audience`), who may watch (`slotcast-admission`), RTSP itself (`slotcast-rtsp`).
//! Invariant: what a peer sends is taken in bounded portions, one connection after the other; one that breaks an invariant
//! is closed, and the worker goes on.

mod accept;
mod connection;
mod datagrams;
mod ending;
mod requests;
mod start;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    io::{self, Read},
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Instant,
};

use mio::{
    Registry, Token,
    net::{TcpListener, TcpStream},
};
use slotcast_core::{
    table::{Key as Id, Table},
    time::Now,
    words::ProgramId,
};
use slotcast_net::sockets::Reserve;
use slotcast_rtsp::server::{Answer, Ask, Event, Output, ServerConfig};

use crate::{
    audience::Ways,
    budget::Budget,
    door::connection::Connection,
    halls::{Halls, Shared},
    limits,
    ports::{Net, UdpPorts},
};

/// The token of the connection at place 0; those after it follow.
pub(crate) const FIRST_CONNECTION: usize = 16;

/// The kernel's sockets.
pub(crate) struct Kernel;

impl Net for Kernel {
    type Stream = TcpStream;
    type Datagrams = UdpPorts;
}

/// The halls as they are outside of tests.
pub(crate) type House = Halls<Ways, Kernel>;

/// A PLAY that waits for a stream's first packets.
struct Parked {
    connection: Id,
    program: ProgramId,
    until: Instant,
}

/// See the module.
pub(crate) struct RtspDoor {
    shared: Arc<Shared>,
    rtsp: Arc<ServerConfig>,
    registry: Registry,
    listener: Option<TcpListener>,
    accept_again_at: Option<Instant>,
    connections: Table<Connection>,
    /// The RTP (`true`) and RTCP ports of UDP viewers.
    ports: HashMap<SocketAddr, (Id, bool)>,
    /// Whether datagrams or errors may wait at a UDP port: RTP, RTCP.
    unread: [bool; 2],
    /// Connections with something to be read.
    ready: VecDeque<Id>,
    /// Questions of this turn.
    asks: VecDeque<(Id, Ask)>,
    /// Answers that are held back to slow guessing down, by when they may go.
    delayed: BTreeMap<(Instant, Id), Answer>,
    parked: VecDeque<Parked>,
    /// Whether the last turn had no time to look at all of them.
    parked_left: bool,
    /// Connections that are closing, by when they are closed whatever they have taken.
    closing: BTreeSet<(Instant, Id)>,
    /// Connections to be taken out.
    dead: VecDeque<Id>,
    /// The place that the next sweep begins with.
    sweep_from: usize,
    buffer: Box<[u8]>,
    reserve: Reserve,
}

impl RtspDoor {
    pub(crate) fn new(
        shared: Arc<Shared>,
        rtsp: Arc<ServerConfig>,
        registry: Registry,
        listener: TcpListener,
    ) -> Self {
        Self {
            shared,
            rtsp,
            registry,
            listener: Some(listener),
            accept_again_at: None,
            connections: Table::default(),
            ports: HashMap::new(),
            unread: [false; 2],
            ready: VecDeque::new(),
            asks: VecDeque::new(),
            delayed: BTreeMap::new(),
            parked: VecDeque::new(),
            parked_left: false,
            closing: BTreeSet::new(),
            dead: VecDeque::new(),
            sweep_from: 0,
            buffer: vec![0; limits::DATAGRAM_BYTES_MAX].into(),
            reserve: Reserve::open(),
        }
    }

    /// Open connections.
    pub(crate) fn connections(&self) -> usize {
        self.connections.len()
    }

    /// Whether there is more to do at once than the last turn had time for.
    pub(crate) fn has_more(&self, now: Instant) -> bool {
        let accepts = self.accept_again_at.is_some_and(|at| at <= now);
        let answers = self.delayed.first_key_value().is_some_and(|((at, _), _)| *at <= now);
        let closes = self.closing.first().is_some_and(|(at, _)| *at <= now);
        (accepts || answers || closes || self.parked_left)
            || !self.ready.is_empty()
            || !self.asks.is_empty()
            || !self.dead.is_empty()
            || self.unread.contains(&true)
    }

    /// Notes what the kernel says of a connection.
    pub(crate) fn on_event(
        &mut self,
        house: &mut House,
        place: usize,
        readable: bool,
        writable: bool,
        now: Now,
    ) {
        let Some(id) = self.connections.key_at(place) else { return };
        if readable && let Some(connection) = self.connections.get_mut(id).filter(|c| !c.is_ready) {
            connection.is_ready = true;
            self.ready.push_back(id);
        }
        if writable {
            self.guarded(house, id, |door, house| door.on_writable(house, id, now));
        }
    }

    fn on_writable(&mut self, house: &mut House, id: Id, now: Now) {
        let Some(connection) = self.connections.get(id) else { return };
        match connection.viewer.filter(|_| connection.plays) {
            Some(key) => house.writable(key, now.mono),
            None => self.flush(house, id, now),
        }
    }

    /// Reads from connections that have something, one portion from each.
    pub(crate) fn read(&mut self, house: &mut House, now: Now, budget: &mut Budget) {
        for _ in 0..self.ready.len() {
            let Some(id) = self.ready.pop_front() else { return };
            self.guarded(house, id, |door, house| door.read_one(house, id, now));
            if !budget.goes_on() {
                return;
            }
        }
    }

    fn read_one(&mut self, house: &mut House, id: Id, now: Now) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.is_ready = false;
        let Some(wire) = house.sockets.wire(id.place()) else { return };
        let mut left = limits::READ_BYTES_PER_TURN_MAX;
        loop {
            match wire.stream.read(&mut self.buffer[..left]) {
                Ok(0) => {
                    connection.peer_is_done = true;
                    connection.rtsp.handle_eof(now.mono);
                    break;
                }
                Ok(count) => {
                    if connection.closing.is_none() {
                        connection.rtsp.handle_bytes(now.mono, &self.buffer[..count]);
                    }
                    left -= count;
                    if left == 0 {
                        connection.is_ready = true;
                        self.ready.push_back(id);
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return self.lose(house, id, "reset"),
            }
        }
        self.drain(house, id, now);
    }

    /// Carries out what a session machine wants, then writes what it said.
    fn drain(&mut self, house: &mut House, id: Id, now: Now) {
        while let Some(output) = self.connections.get_mut(id).and_then(|c| c.rtsp.poll_output()) {
            match output {
                Output::Send(bytes) => {
                    let fits = house.outbox(id.place()).is_none_or(|outbox| outbox.push_control(&bytes));
                    if !fits {
                        self.lose(house, id, "unread_responses");
                    }
                }
                Output::Ask(ask) => self.asks.push_back((id, ask)),
                Output::Event(Event::Playing) => {
                    self.flush(house, id, now);
                    self.report_times(house, id);
                    self.start_media(house, id, now);
                }
                Output::Event(Event::Paused) => self.stop_media(house, id),
                Output::Event(Event::SessionEnded(end)) => {
                    let (reason, fault) = ending::ended_by(end);
                    self.release(house, id, reason, fault);
                }
                // A viewer's RTCP: the session machine took it as a sign of life.
                Output::Event(Event::Recording) | Output::Frame { .. } => {}
                Output::Close(reason) => {
                    self.begin_close(id, reason, now);
                    break;
                }
            }
        }
        self.flush(house, id, now);
    }

    /// Writes RTSP bytes that wait, if the connection's media does not carry them.
    fn flush(&mut self, house: &mut House, id: Id, now: Now) {
        let Some(connection) = self.connections.get(id) else { return };
        match house.flush(id.place(), connection.opening, now) {
            Ok(true) if connection.closing.is_some() && connection.peer_is_done => self.bury_later(id),
            Ok(true) if connection.closing.is_some() => {
                // All is said: the peer sees the end of the stream, its close ends ours.
                if let Some(wire) = house.sockets.wire(id.place()) {
                    let _ = wire.stream.shutdown(std::net::Shutdown::Write);
                }
            }
            Ok(true) => {}
            Ok(false) => {
                if let Some(key) = connection.viewer {
                    house.full(key, now.mono);
                }
            }
            Err(_) => self.lose(house, id, "broken"),
        }
    }

    /// Does one connection's business; if it breaks an invariant, that connection is closed and the worker goes on.
    fn guarded(&mut self, house: &mut House, id: Id, business: impl FnOnce(&mut Self, &mut House)) {
        if catch_unwind(AssertUnwindSafe(|| business(self, house))).is_err() {
            tracing::error!(
                connection = id.place(),
                fault = "server",
                "a broken invariant: this connection is closed"
            );
            self.lose(house, id, "broken_invariant");
        }
    }

    /// The token of the connection at `place`.
    fn token(place: usize) -> Token {
        Token(FIRST_CONNECTION + place)
    }
}
