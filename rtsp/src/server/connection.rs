//! The machine itself: what comes in, what is parked, what goes out, and when time is up.
//!
//! Owns: the connection's fields, its timers and its end. Not here: what a request means (`requests`, `setup`) and
//! what an answer brings (`answers`).
//! Invariant: while a question is open no further request is taken, and what piles up meanwhile is bounded.

use std::{collections::VecDeque, mem, net::SocketAddr, sync::Arc, time::Instant};

use bytes::Bytes;
use rand::{SeedableRng as _, rngs::StdRng};
use slotcast_auth::Nonces;
use slotcast_core::timers::Timers;

use crate::{
    limits,
    message::{Decoder, Headers, Item, MessageError, Phase, Response},
    status::Status,
};

use super::{
    border::{CloseReason, Event, Output, SessionEnd},
    config::ServerConfig,
    parked::{Announcement, Parked, Question},
    session::Session,
    table::State,
};

/// For the `Server` header.
const SERVER_NAME: &str = concat!("slotcast/", env!("CARGO_PKG_VERSION"));

/// Everything that may become too late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    /// Since accept.
    FirstByte,
    /// Since a message's first byte.
    Header,
    /// Since a message's header was complete.
    Body,
    /// Since the last request, without a session.
    Idle,
    /// Since the first SETUP.
    Start,
    /// Since the session's last sign of life.
    Liveness,
}

/// The server's side of one RTSP connection. Drain [`poll_output`](Self::poll_output) after every other call, then
/// ask for the [`deadline`](Self::deadline).
///
/// ```
/// use std::{sync::Arc, time::Instant};
///
/// use slotcast_rtsp::{
///     server::{AfterRefusal, Answer, Ask, Output, Role, ServerConfig, ServerConnection},
///     status::Status,
/// };
///
/// let (config, now) = (Arc::new(ServerConfig::new(Role::Viewer)), Instant::now());
/// let mut connection = ServerConnection::new(config, [7; 32], now);
/// connection.handle_bytes(now, b"DESCRIBE rtsp://h/ch RTSP/1.0\r\nCSeq: 1\r\n\r\n");
/// // Who may watch is the edge's to say.
/// let Some(Output::Ask(Ask::Describe { target, .. })) = connection.poll_output() else { panic!() };
/// assert_eq!(target.channel().unwrap().as_str(), "ch");
/// let (reason, then) = ("the program begins at noon".to_owned(), AfterRefusal::KeepOpen);
/// connection.handle_answer(now, Answer::Refuse { status: Status::NOT_FOUND, reason, then });
/// let Some(Output::Send(bytes)) = connection.poll_output() else { panic!() };
/// assert!(bytes.starts_with(b"RTSP/1.0 404 the program begins at noon\r\nCSeq: 1\r\n"));
/// assert!(connection.poll_output().is_none() && connection.deadline().is_some());
/// ```
pub struct ServerConnection {
    pub(super) config: Arc<ServerConfig>,
    pub(super) random: StdRng,
    pub(super) nonces: Nonces,
    pub(super) session: Option<Session>,
    pub(super) announcement: Option<Announcement>,
    pub(super) parked: Option<Parked>,
    pub(super) timers: Timers<Timer>,
    pub(super) wrong_proofs: u8,
    decoder: Decoder,
    outputs: VecDeque<Output>,
    /// Whether the peer has ended its side: nothing more comes.
    peer_is_done: bool,
    pub(super) peer: Option<SocketAddr>,
    closed: bool,
}

impl ServerConnection {
    /// A connection that was accepted at `now`.
    ///
    /// - `seed`: 256 random bits of its own; session ids and nonces are drawn from it.
    pub fn new(config: Arc<ServerConfig>, seed: [u8; 32], now: Instant) -> Self {
        let mut timers = Timers::default();
        timers.set(Timer::FirstByte, now + config.first_byte);
        timers.set(Timer::Idle, now + config.idle);
        Self {
            nonces: Nonces::default(),
            config,
            random: StdRng::from_seed(seed),
            session: None,
            announcement: None,
            parked: None,
            timers,
            wrong_proofs: 0,
            decoder: Decoder::default(),
            outputs: VecDeque::new(),
            peer_is_done: false,
            peer: None,
            closed: false,
        }
    }

    /// The same for a peer at `address`: the descriptions that it gets name addresses of that family, and UDP ports there
    /// that another session has are refused.
    #[must_use]
    pub const fn for_peer(mut self, address: SocketAddr) -> Self {
        self.peer = Some(address);
        self
    }

    /// Takes bytes from the peer, however they were cut.
    pub fn handle_bytes(&mut self, now: Instant, bytes: &[u8]) {
        if self.closed || bytes.is_empty() {
            return;
        }
        self.timers.clear(Timer::FirstByte);
        self.decoder.feed(bytes);
        self.pump(now);
    }

    /// Takes the end of what the peer says; it may listen still.
    ///
    /// Its session ends at once: whoever has vanished looks the same, and must not keep a seat. What it asked before is
    /// answered, and the connection closed behind the last answer. Further calls change nothing.
    pub fn handle_eof(&mut self, now: Instant) {
        self.peer_is_done = true;
        // The others are answered by the edge, which is asked no more about a session that is over.
        if let Some(start) = self.parked.take_if(|p| matches!(p.question, Question::Play | Question::Record))
        {
            let reason =
                "You have closed your side of the connection: keep it open as long as media is to flow";
            self.send(Some(&start.cseq), Response::new(Status::SESSION_NOT_FOUND).because(reason));
        }
        self.pump(now);
    }

    /// Takes what became too late by `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(timer) = self.timers.pop_expired(now) {
            match timer {
                Timer::FirstByte => self.close(CloseReason::FirstByteLate),
                Timer::Header => self.close(CloseReason::HeaderLate),
                Timer::Body => self.close(CloseReason::BodyLate),
                Timer::Idle => self.close(CloseReason::Idle),
                Timer::Start => {
                    self.end_session(now, SessionEnd::NotStarted);
                    self.announcement = None;
                }
                Timer::Liveness => {
                    self.close_over(CloseReason::SessionEnded(SessionEnd::Silent), SessionEnd::Silent);
                }
            }
        }
    }

    /// Takes a sign of life that the edge saw: RTP or RTCP from the peer, or progress of what is sent over TCP.
    pub fn handle_alive(&mut self, now: Instant) {
        if self.session.is_some() {
            self.timers.set(Timer::Liveness, now + self.config.liveness);
        }
    }

    /// Ends the session, if there is one, and closes. A request that waits for an answer gets `status` and `text`.
    pub fn handle_end(&mut self, status: Status, text: &str) {
        if let Some(Parked { cseq, .. }) = &self.parked {
            let (cseq, response) = (cseq.clone(), Response::new(status).because(text).closing());
            self.send(Some(&cseq), response);
        }
        self.close_over(CloseReason::SessionEnded(SessionEnd::ByEdge), SessionEnd::ByEdge);
    }

    /// What to do next; `None` when there is nothing until the next input or the [`deadline`](Self::deadline).
    pub fn poll_output(&mut self) -> Option<Output> {
        let output = self.outputs.pop_front();
        if output.is_none() {
            // Viewers ask little once they play: the room of their answers is given back.
            self.outputs = VecDeque::new();
        }
        output
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called; `None` after the end.
    pub fn deadline(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// The session; `None` before the first SETUP and after the end.
    pub fn session(&self) -> Option<&Session> {
        self.session.as_ref()
    }

    /// Takes complete messages until one is parked, none is left, or the connection is closed.
    pub(super) fn pump(&mut self, now: Instant) {
        loop {
            if self.peer_is_done {
                self.end_session(now, SessionEnd::ConnectionClosed);
            }
            if self.parked.is_some() || self.closed {
                break;
            }
            match self.decoder.poll_item() {
                Ok(Some(item)) => {
                    self.timers.clear(Timer::Header);
                    self.timers.clear(Timer::Body);
                    match item {
                        Item::Request(request) => self.on_request(now, &request),
                        Item::Frame { channel, payload } => self.on_frame(now, channel, payload),
                        // We ask nothing of our peers; live555 answers 405 to what others ask.
                        Item::Response(_) => {}
                    }
                }
                Ok(None) if self.peer_is_done => self.close(CloseReason::PeerDone),
                Ok(None) => break,
                Err(error) => self.on_malformed(now, &error),
            }
        }
        self.watch_unread(now);
    }

    /// Bounds what is left in the decoder, in bytes while a question is open and in time otherwise.
    fn watch_unread(&mut self, now: Instant) {
        if self.closed {
            return;
        }
        if self.parked.is_some() {
            if self.decoder.buffered() > limits::PIPELINE_BYTES_MAX {
                self.close(CloseReason::PipelineFull);
            }
            return;
        }
        let (timer, other, within) = match self.decoder.phase() {
            Phase::Idle => return,
            // A broadcaster whose network stalls in the middle of a packet has as long as one that stalls between two.
            Phase::Frame if self.session.is_some() => return,
            Phase::Headers | Phase::Frame => (Timer::Header, Timer::Body, self.config.header),
            Phase::Body => (Timer::Body, Timer::Header, self.config.body),
        };
        self.timers.clear(other);
        if self.timers.deadline(timer).is_none() {
            self.timers.set(timer, now + within);
        }
    }

    /// Another version is answered and lived with; what cannot be told from the next message is the end.
    fn on_malformed(&mut self, now: Instant, error: &MessageError) {
        let response = Response::from(error.kind.refused());
        if error.cseq.is_some() && !error.closes() {
            self.send(error.cseq.as_deref(), response);
            self.watch_idle(now);
        } else {
            self.send_last(error.cseq.as_deref(), response, CloseReason::Malformed);
        }
    }

    fn on_frame(&mut self, now: Instant, channel: u8, payload: Bytes) {
        let session = self.session.as_ref().filter(|session| session.state != State::Ready);
        let canonical = session.and_then(|session| {
            session.tracks.iter().find_map(|setup| setup.transport.canonical(setup.track, channel))
        });
        if let Some(channel) = canonical {
            self.handle_alive(now);
            self.outputs.push_back(Output::Frame { channel, payload });
        }
    }

    /// Where the connection stands.
    pub(super) fn state(&self) -> State {
        match (&self.session, &self.announcement) {
            (Some(session), _) => session.state,
            (None, Some(_)) => State::Announced,
            (None, None) => State::Init,
        }
    }

    /// - `cseq`: the request's own, as it came; it stands first.
    pub(super) fn send(&mut self, cseq: Option<&str>, mut response: Response) {
        let mut headers = Headers::new();
        if let Some(cseq) = cseq {
            headers.push("CSeq", cseq);
        }
        headers.push("Server", SERVER_NAME);
        headers.extend(response.headers);
        response.headers = headers;
        self.outputs.push_back(Output::Send(response.to_bytes()));
    }

    /// The same, and the end of the connection.
    pub(super) fn send_last(&mut self, cseq: Option<&str>, response: Response, reason: CloseReason) {
        self.send(cseq, response.closing());
        self.close(reason);
    }

    pub(super) fn push(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    /// Gives the session up, if there is one, and says why. The connection lives on.
    pub(super) fn end_session(&mut self, now: Instant, end: SessionEnd) {
        if self.session.take().is_some() {
            self.outputs.push_back(Output::Event(Event::SessionEnded(end)));
            self.timers.clear(Timer::Start);
            self.timers.clear(Timer::Liveness);
            self.watch_idle(now);
        }
    }

    /// Lets the time run in which a connection without a session must say something.
    pub(super) fn watch_idle(&mut self, now: Instant) {
        if self.session.is_none() && self.parked.is_none() && !self.closed {
            self.timers.set(Timer::Idle, now + self.config.idle);
        } else {
            self.timers.clear(Timer::Idle);
        }
    }

    /// The last output. A session that is still there ends with it.
    pub(super) fn close(&mut self, reason: CloseReason) {
        self.close_over(reason, SessionEnd::ConnectionClosed);
    }

    /// The same; the session is told to have ended as `end`.
    fn close_over(&mut self, reason: CloseReason, end: SessionEnd) {
        if mem::replace(&mut self.closed, true) {
            return;
        }
        let waits_for_seat = self.parked.take().is_some_and(|p| matches!(p.question, Question::Setup(_)));
        if self.session.take().is_some() || waits_for_seat {
            self.outputs.push_back(Output::Event(Event::SessionEnded(end)));
        }
        self.announcement = None;
        self.decoder = Decoder::default();
        self.timers = Timers::default();
        self.outputs.push_back(Output::Close(reason));
    }
}
