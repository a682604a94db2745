//! One worker: a thread with its own poll, sockets, viewers and timers. A viewer lives on one worker for life.
//!
//! Owns: the order of a turn. Ends come first, then media, then requests, then those who catch up; so that live
//! viewers never wait for anybody else's business.
//! Holds: nothing here blocks but the poll; what a peer sends is taken in bounded portions.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    io,
    net::SocketAddr,
    sync::{Arc, atomic::AtomicU64},
    time::{Duration, Instant},
};

use mio::{
    Events, Interest, Poll, Token,
    net::{TcpListener, TcpStream},
};
use slab::Slab;
use slotcast_admission::{Guesses, Lines, Programs, Reason};
use slotcast_core::{
    feed::FeedReceiver,
    time::{Clock, Now},
    words::ProgramId,
};
use slotcast_net::sys::{self, Undelivered};
use slotcast_rtsp::server::{Answer, Ask, ServerConfig, SessionEnd};

use crate::{
    connection::{Connection, Media, Streams},
    limits,
    mailbox::{Mailbox, Message},
    on_air::OnAir,
    stats::{FanoutStats, Protocol, WorkerStats},
    udp::{Served, UdpPorts, canonical},
};

pub(crate) const WAKER: Token = Token(0);
const LISTENER: Token = Token(1);
pub(crate) const RTP: Token = Token(2);
pub(crate) const RTCP: Token = Token(3);
const FIRST_CONNECTION: usize = 16;

/// What all workers share; nothing of it is touched per packet.
pub(crate) struct Shared {
    pub(crate) programs: Arc<dyn Programs>,
    pub(crate) clock: Clock,
    pub(crate) guesses: Arc<Guesses>,
    pub(crate) lines: Arc<Lines>,
    pub(crate) stats: Arc<FanoutStats>,
    pub(crate) rtsp: Arc<ServerConfig>,
    /// Viewers that were given a seat: makes their ids.
    pub(crate) admitted: AtomicU64,
}

/// The sockets that one worker is born with.
pub(crate) struct Sockets {
    pub(crate) poll: Poll,
    pub(crate) listener: TcpListener,
    pub(crate) udp: Option<UdpPorts>,
}

/// A worker's whole state.
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    pub(crate) stats: Arc<WorkerStats>,
    pub(crate) poll: Poll,
    listener: Option<TcpListener>,
    pub(crate) udp: Option<UdpPorts>,
    feed: FeedReceiver,
    pub(crate) mailbox: Mailbox,
    siblings: Vec<Mailbox>,
    forwards_left: u32,
    pub(crate) connections: Slab<Connection>,
    pub(crate) streams: Streams,
    pub(crate) on_air: HashMap<ProgramId, OnAir>,
    /// The RTP (`true`) and RTCP ports of UDP viewers.
    pub(crate) ports: HashMap<SocketAddr, (usize, bool)>,
    /// Questions of this turn, answered after everything that was read.
    pub(crate) asks: VecDeque<(usize, Ask)>,
    /// Answers that are held back to slow guessing down.
    pub(crate) delayed: Vec<(Instant, usize, Answer)>,
    /// Connections with more to read than one turn takes.
    unfinished: Vec<usize>,
    /// Connections to be taken out at the end of the turn.
    pub(crate) dead: Vec<usize>,
    /// Connections that are closing, and when they are closed whatever they have taken.
    pub(crate) closing: Vec<(Instant, usize)>,
    accept_again_at: Option<Instant>,
    tick_at: Instant,
    /// The connection that the next sweep begins with.
    sweep_from: usize,
    /// When all gates are looked at next, and when the next program ends.
    pub(crate) gates_at: Instant,
    pub(crate) ends_at: Option<Instant>,
    /// Whether some program may have viewers behind its log's head, or is over and not yet forgotten.
    pub(crate) any_behind: bool,
    pub(crate) any_ending: bool,
    stopping: bool,
    buffer: Box<[u8]>,
    /// Kept open to be given up when descriptors run out, so that a peer can be turned away rather than left waiting.
    reserve: Option<std::fs::File>,
}

impl Worker {
    pub(crate) fn new(
        shared: Arc<Shared>,
        stats: Arc<WorkerStats>,
        sockets: Sockets,
        feed: FeedReceiver,
        mailbox: Mailbox,
        siblings: Vec<Mailbox>,
    ) -> io::Result<Self> {
        let Sockets { poll, mut listener, mut udp } = sockets;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        if let Some(ports) = &mut udp {
            poll.registry().register(&mut ports.rtp, RTP, Interest::READABLE)?;
            poll.registry().register(&mut ports.rtcp, RTCP, Interest::READABLE)?;
        }
        let tick_at = (shared.clock)().mono;
        Ok(Self {
            shared,
            stats,
            poll,
            listener: Some(listener),
            udp,
            feed,
            mailbox,
            siblings,
            forwards_left: 0,
            connections: Slab::new(),
            streams: Streams::default(),
            on_air: HashMap::new(),
            ports: HashMap::new(),
            asks: VecDeque::new(),
            delayed: Vec::new(),
            unfinished: Vec::new(),
            dead: Vec::new(),
            closing: Vec::new(),
            accept_again_at: None,
            tick_at,
            sweep_from: 0,
            gates_at: tick_at,
            ends_at: None,
            any_behind: false,
            any_ending: false,
            stopping: false,
            buffer: vec![0; limits::DATAGRAM_BYTES_MAX].into(),
            reserve: std::fs::File::open("/dev/null").ok(),
        })
    }

    /// Works until it is told to stop and its last session is closed.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        loop {
            let timeout = self.timeout();
            match self.poll.poll(&mut events, Some(timeout)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            let now = (self.shared.clock)();
            self.close_gates(now);
            self.take_chunks(now);
            self.take_events(&events, now);
            if self.accept_again_at.take_if(|at| *at <= now.mono).is_some() {
                self.accept(now);
            }
            self.take_messages(now);
            self.answer_asks(now);
            self.serve_behind(now);
            self.say_goodbyes(now);
            if now.mono >= self.tick_at {
                self.tick(now);
            }
            self.bury(now);
            if self.stopping && self.connections.is_empty() {
                return Ok(());
            }
        }
    }

    /// How long the poll may wait.
    fn timeout(&self) -> Duration {
        let now = (self.shared.clock)();
        let mut timeout = self.tick_at.saturating_duration_since(now.mono);
        let accept_now = self.accept_again_at.is_some_and(|at| at <= now.mono);
        if accept_now || !self.unfinished.is_empty() || !self.asks.is_empty() {
            return Duration::ZERO;
        }
        if let Some(at) = self.ends_at {
            timeout = timeout.min(at.saturating_duration_since(now.mono));
        }
        if !self.any_behind && !self.any_ending {
            return timeout;
        }
        for on_air in self.on_air.values() {
            if on_air.ending.as_ref().is_some_and(|ending| !ending.untold.is_empty()) {
                return Duration::ZERO;
            }
            let pending = |&key: &usize| match self.connections.get(key).and_then(|c| c.viewer.as_ref()) {
                Some(viewer) => match &viewer.media {
                    Some(Media::Tcp(tcp)) => !tcp.blocked && !tcp.awaits_key,
                    Some(Media::Udp(_)) => true,
                    None => false,
                },
                None => false,
            };
            if on_air.behind.iter().any(pending) {
                timeout = timeout.min(limits::JOIN_TURN);
            }
        }
        timeout
    }

    /// Lets media go first: between two connections' business, chunks that came meanwhile go out.
    pub(crate) fn breathe(&mut self) {
        if !self.feed.is_empty() {
            let now = (self.shared.clock)();
            self.close_gates(now);
            self.take_chunks(now);
        }
    }

    fn take_chunks(&mut self, now: Now) {
        self.feed.begin_drain();
        for _ in 0..limits::CHUNKS_PER_TURN_MAX {
            let Some(chunk) = self.feed.pop() else { return };
            self.stats.chunks.add(1);
            self.on_chunk(now, chunk);
        }
        // More may wait than one turn takes: come back at once.
        self.mailbox.wake();
    }

    fn take_events(&mut self, events: &Events, now: Now) {
        for event in events {
            match event.token() {
                WAKER => {}
                LISTENER => self.accept(now),
                RTP => {
                    if event.is_readable() || event.is_error() {
                        self.read_datagrams(false, now);
                    }
                    if event.is_writable() {
                        self.serve_waiting_audiences(now);
                    }
                }
                RTCP => {
                    if event.is_readable() || event.is_error() {
                        self.read_datagrams(true, now);
                    }
                    if event.is_writable() {
                        self.serve_waiting_audiences(now);
                    }
                }
                Token(token) => {
                    let key = token - FIRST_CONNECTION;
                    self.breathe();
                    self.guarded(key, now, |worker| {
                        if event.is_readable() || event.is_read_closed() || event.is_error() {
                            worker.read(key, now);
                        }
                        if event.is_writable() {
                            worker.on_writable(key, now);
                        }
                    });
                }
            }
        }
        for key in std::mem::take(&mut self.unfinished) {
            self.breathe();
            self.guarded(key, now, |worker| worker.read(key, now));
        }
    }

    fn take_messages(&mut self, now: Now) {
        for _ in 0..limits::MAILBOX_MAX {
            match self.mailbox.take() {
                None => return,
                Some(Message::Alive(from)) => {
                    self.on_alive(from, now);
                }
                Some(Message::Undelivered(to)) => {
                    self.on_undelivered(to, now);
                }
                Some(Message::Drain) => self.stop_listening(),
                // Whoever asked may have stopped waiting: then nobody needs the answer.
                Some(Message::List(program, answer)) => {
                    let _ = answer.try_send(self.list_viewers(program));
                }
                Some(Message::Kick(program, viewer, answer)) => {
                    let _ = answer.try_send(self.kick_viewer(program, viewer, now));
                }
                Some(Message::Stop) => {
                    self.stop_listening();
                    self.stopping = true;
                    self.end_everything(now);
                }
            }
        }
    }

    fn stop_listening(&mut self) {
        if let Some(mut listener) = self.listener.take() {
            let _ = self.poll.registry().deregister(&mut listener);
        }
    }

    fn accept(&mut self, now: Now) {
        for _ in 0..limits::ACCEPTS_PER_TURN_MAX {
            let Some(listener) = &self.listener else { return };
            match listener.accept() {
                Ok((stream, from)) => self.open(stream, from, now),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    let out =
                        matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS));
                    if out {
                        self.turn_one_away();
                        self.accept_again_at = Some(now.mono + limits::TICK);
                        return;
                    }
                }
            }
        }
        self.accept_again_at = Some(now.mono);
    }

    /// Out of descriptors: gives up the reserve to accept and close one connection.
    fn turn_one_away(&mut self) {
        tracing::warn!("out of file descriptors: a viewer is turned away; raise the limit (ulimit -n)");
        self.reserve = None;
        if let Some(listener) = &self.listener {
            drop(listener.accept());
        }
        self.reserve = std::fs::File::open("/dev/null").ok();
    }

    fn open(&mut self, mut stream: TcpStream, from: SocketAddr, now: Now) {
        let from = canonical(from);
        let peer = from.ip();
        let line = match self.shared.lines.open(peer) {
            Ok(line) => line,
            Err(refusal) => {
                let reason = refusal.reason();
                self.shared.stats.decided("refused", reason.label());
                tracing::info!(%peer, reason = reason.label(), fault = reason.fault().label(), "viewer refused");
                return;
            }
        };
        let mut seed = [0; 32];
        if getrandom::fill(&mut seed).is_err() {
            tracing::error!("no random numbers from the kernel: a viewer is turned away");
            return;
        }
        let _ = stream.set_nodelay(true);
        let keepalive =
            socket2::TcpKeepalive::new().with_time(limits::PROBE_AFTER).with_interval(limits::PROBE_EVERY);
        let _ = socket2::SockRef::from(&stream).set_tcp_keepalive(&keepalive);
        let _ = socket2::SockRef::from(&stream).set_send_buffer_size(limits::SEND_BUFFER_BYTES);
        let _ = sys::set_unsent_limit(std::os::fd::AsFd::as_fd(&stream), limits::UNSENT_BYTES_MAX);
        let entry = self.connections.vacant_entry();
        let token = Token(FIRST_CONNECTION + entry.key());
        let both = Interest::READABLE | Interest::WRITABLE;
        if self.poll.registry().register(&mut stream, token, both).is_err() {
            return;
        }
        let rtsp =
            slotcast_rtsp::server::ServerConnection::new(Arc::clone(&self.shared.rtsp), seed, now.mono)
                .for_peer(from.ip());
        self.streams.insert(entry.key(), stream);
        entry.insert(Connection {
            peer: from,
            rtsp,
            outbox: Default::default(),
            viewer: None,
            admitted: None,
            closing: None,
            peer_is_done: false,
            _line: line,
        });
        self.stats.connections.set(self.connections.len() as u64);
    }

    fn read(&mut self, key: usize, now: Now) {
        use io::Read;
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Some(stream) = self.streams.get_mut(key) else { return };
        let mut left = limits::READ_BYTES_PER_TURN_MAX;
        loop {
            match stream.read(&mut self.buffer[..left]) {
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
                        self.unfinished.push(key);
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return self.lose(key, "reset", now),
            }
        }
        self.drain(key, now);
    }

    /// Reads what came to one of the UDP sockets: hole punching and receiver reports.
    fn read_datagrams(&mut self, rtcp: bool, now: Now) {
        use std::os::fd::AsFd;
        for _ in 0..limits::DATAGRAMS_PER_TURN_MAX {
            let Some(ports) = &self.udp else { return };
            let socket = if rtcp { &ports.rtcp } else { &ports.rtp };
            let received = socket.recv_from(&mut self.buffer);
            match received {
                Ok((_, from)) => {
                    let from = canonical(from);
                    if !self.on_alive(from, now) {
                        self.stats.foreign_datagrams.add(1);
                        self.forward(|| Message::Alive(from));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // An ICMP error of an earlier datagram: its address stands in the error queue.
                Err(_) => {}
            }
        }
        for _ in 0..limits::DATAGRAMS_PER_TURN_MAX {
            let Some(ports) = &self.udp else { return };
            let socket = if rtcp { &ports.rtcp } else { &ports.rtp };
            let Some(Undelivered { to, errno }) = sys::pop_undelivered(socket.as_fd()) else {
                return;
            };
            // A smaller path MTU and the like do not say that nobody is there.
            if !matches!(errno, libc::ECONNREFUSED | libc::EHOSTUNREACH | libc::ENETUNREACH) {
                continue;
            }
            let to = canonical(to);
            if !self.on_undelivered(to, now) {
                self.forward(|| Message::Undelivered(to));
            }
        }
    }

    /// Leaves word with the siblings that may know the address that it is about.
    fn forward(&mut self, message: impl Fn() -> Message) {
        if self.forwards_left > 0 && !self.siblings.is_empty() {
            let left = self.siblings.iter().filter(|sibling| sibling.send(message())).count();
            self.forwards_left -= u32::from(left > 0);
            self.stats.handed_on.add(left as u64);
        }
    }

    /// A datagram came from `from`; returns whether that is one of this worker's viewers.
    fn on_alive(&mut self, from: SocketAddr, now: Now) -> bool {
        let Some(&(key, _)) = self.ports.get(&from) else { return false };
        if let Some(connection) = self.connections.get_mut(key) {
            connection.rtsp.handle_alive(now.mono);
            if let Some(Media::Udp(udp)) = connection.viewer.as_mut().and_then(|viewer| viewer.media.as_mut())
            {
                udp.unreachable = 0;
            }
        }
        true
    }

    /// Nobody listens at `to`; returns whether that is one of this worker's viewers.
    fn on_undelivered(&mut self, to: SocketAddr, now: Now) -> bool {
        let Some(&(key, is_rtp)) = self.ports.get(&to) else { return false };
        let viewer = self.connections.get_mut(key).and_then(|c| c.viewer.as_mut());
        let Some(Media::Udp(udp)) = viewer.and_then(|v| v.media.as_mut()) else { return true };
        let since = udp.unreachable_at.map(|at| now.mono.saturating_duration_since(at));
        if since.is_some_and(|since| since > limits::UNREACHABLE_FORGOTTEN) {
            udp.unreachable = 0;
        }
        if is_rtp && since.is_none_or(|since| since >= limits::UNREACHABLE_SPACING) {
            udp.unreachable += 1;
            udp.unreachable_at = Some(now.mono);
            if udp.unreachable >= limits::UNREACHABLE_MAX {
                self.lose(key, "unreachable", now);
            }
        }
        true
    }

    /// Looks at all that has a deadline of tenths of a second or more.
    fn tick(&mut self, now: Now) {
        self.tick_at = now.mono + limits::TICK;
        self.forwards_left = limits::FORWARDS_PER_TICK_MAX;
        self.deliver_delayed_answers(now);
        self.look_at_parked(now);
        self.look_at_slow_viewers(now);
        self.close_late(now);
        self.sweep(now);
        self.answer_asks(now);
        self.refresh_programs();
        self.publish_stats();
    }

    /// Resets connections that did not take what waits for them, rather than leave them hanging.
    fn close_late(&mut self, now: Now) {
        let (due, later) = std::mem::take(&mut self.closing).into_iter().partition(|(at, _)| *at <= now.mono);
        self.closing = later;
        let due: Vec<(Instant, usize)> = due;
        for (at, key) in due {
            // Its place may be another's by now.
            let is_this = self.connections.get(key).is_some_and(|connection| connection.closing == Some(at));
            if let Some(stream) = self.streams.get_mut(key).filter(|_| is_this) {
                let _ = socket2::SockRef::from(&*stream).set_linger(Some(Duration::ZERO));
                self.dead.push(key);
            }
        }
    }

    /// Looks at a part of the connections, so that each is looked at within a second, and few are each time.
    fn sweep(&mut self, now: Now) {
        let keys = self.streams.keys();
        let count = keys.div_ceil(limits::SWEEP_TICKS as usize).max(limits::SWEEP_MIN).min(keys);
        let from = if self.sweep_from < keys { self.sweep_from } else { 0 };
        self.sweep_from = from + count;
        self.note_progress(from, count, now);
        let (mut late, mut stale) = (Vec::new(), Vec::new());
        for key in from..from + count {
            let Some(connection) = self.connections.get(key).filter(|c| c.closing.is_none()) else {
                continue;
            };
            if connection.rtsp.deadline().is_some_and(|at| at <= now.mono) {
                late.push(key);
            }
            if connection.viewer.as_ref().is_some_and(|viewer| !viewer.seat.holds()) {
                stale.push(key);
            }
        }
        for key in late {
            let Some(connection) = self.connections.get_mut(key) else { continue };
            connection.rtsp.handle_timeout(now.mono);
            self.drain(key, now);
        }
        // A gate that was closed and opened again between two looks left seats behind that count no more.
        for key in stale {
            self.end_session(key, SessionEnd::ProgramOver, Reason::ProgramEnded.into(), now);
        }
    }

    /// Media that a TCP viewer takes is a sign of life. And while a broadcaster is away nobody can be expected to give
    /// one: players keep their sessions alive only while packets come.
    fn note_progress(&mut self, from: usize, count: usize, now: Now) {
        let between = limits::TICK * limits::SWEEP_TICKS;
        let lately = |at: Instant| now.mono.saturating_duration_since(at) <= between;
        for on_air in self.on_air.values() {
            for live in on_air.tcp.iter().filter(|live| lately(live.took_at)) {
                let is_swept = (from..from + count).contains(&live.viewer);
                if let Some(connection) = self.connections.get_mut(live.viewer).filter(|_| is_swept) {
                    connection.rtsp.handle_alive(now.mono);
                }
            }
        }
        for key in from..from + count {
            let Some(connection) = self.connections.get_mut(key) else { continue };
            let Some(viewer) = &connection.viewer else { continue };
            let Some(media) = &viewer.media else { continue };
            let silent = self.on_air.get(&viewer.program).is_none_or(|on_air| {
                now.mono.saturating_duration_since(on_air.chunk_at) > limits::SILENCE_EXCUSES
            });
            let takes = matches!(media, Media::Tcp(tcp) if !tcp.live && lately(tcp.progress_at));
            if silent || takes {
                connection.rtsp.handle_alive(now.mono);
            }
        }
    }

    /// Follows the timetable: a program's facts may change while it runs, and one without viewers may go.
    fn refresh_programs(&mut self) {
        for (id, on_air) in &mut self.on_air {
            if let Some(program) = self.shared.programs.program(*id) {
                on_air.refresh(program);
            }
        }
        self.on_air.retain(|_, on_air| {
            on_air.ending.as_ref().is_none_or(|e| !(e.untold.is_empty() && e.unclosed.is_empty()))
        });
    }

    fn publish_stats(&mut self) {
        let mut audience = BTreeMap::new();
        for on_air in self.on_air.values() {
            let channel = on_air.program.channel.number;
            let behind = on_air.behind.iter().filter_map(|&key| self.connections.get(key)?.viewer.as_ref());
            let behind = behind.map(|viewer| (viewer.protocol, 1));
            let live = [(Protocol::Udp, on_air.udp.viewers()), (Protocol::Tcp, on_air.tcp.len())];
            for (protocol, count) in behind.chain(live).filter(|(_, count)| *count > 0) {
                *audience.entry((channel, protocol)).or_insert(0) += count as u32;
            }
        }
        self.stats.set_audience(audience);
        self.stats.connections.set(self.connections.len() as u64);
        self.stats.chunks_dropped.set(self.feed.dropped());
    }

    /// Serves audiences that a full socket had made wait.
    fn serve_waiting_audiences(&mut self, now: Now) {
        let waiting: Vec<ProgramId> =
            self.on_air.iter().filter(|(_, o)| o.udp.is_waiting()).map(|(id, _)| *id).collect();
        for id in waiting {
            if self.serve_udp(id, now) == Served::Waiting {
                return;
            }
        }
    }
}
