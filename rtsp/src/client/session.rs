//! The machine itself: what is asked next, what comes in, and when time is up.
//!
//! Not here: what a response brings (`responses`).

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use slotcast_auth::Challenge;
use slotcast_core::timers::Timers;

use crate::{
    headers::transport::{Chosen, LowerTransport, MODE_RECORD, TrackTransport, UdpPorts},
    message::{Decoder, Headers, Item, Request, Response, frame_header},
    sdp,
    status::Status,
    url,
};

use super::border::{ClientConfig, ClientEvent, ClientOutput, ClientRole, Failure};

/// Until the server says another: RFC 2326 §12.37.
const SESSION_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    /// Since the unanswered request.
    Response,
    /// Half the session's timeout since the last request.
    KeepAlive,
}

/// What is being waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Options,
    Describe,
    Announce,
    /// The track's index.
    Setup(u8),
    Play,
    Record,
    /// Nothing: media flows.
    Streaming,
    Teardown,
    Closed,
}

impl Step {
    /// The method whose response is awaited.
    pub(super) const fn method(self) -> Option<&'static str> {
        Some(match self {
            Self::Options => "OPTIONS",
            Self::Describe => "DESCRIBE",
            Self::Announce => "ANNOUNCE",
            Self::Setup(_) => "SETUP",
            Self::Play => "PLAY",
            Self::Record => "RECORD",
            Self::Teardown => "TEARDOWN",
            Self::Streaming | Self::Closed => return None,
        })
    }
}

/// The client's side of one connection, which the edge opens before. Drain [`poll_output`](Self::poll_output) after
/// every call, [`new`](Self::new) included.
pub struct ClientSession {
    pub(super) config: Arc<ClientConfig>,
    pub(super) step: Step,
    /// Each track's `a=control:`, as announced or described.
    pub(super) controls: Vec<String>,
    /// What relative controls stand on.
    pub(super) base: String,
    pub(super) tracks: Vec<Chosen>,
    pub(super) session: Option<String>,
    pub(super) timeout: Duration,
    pub(super) has_get_parameter: bool,
    pub(super) challenge: Option<Challenge>,
    pub(super) timers: Timers<Timer>,
    udp_ports: Vec<UdpPorts>,
    cseq: u32,
    awaited: u32,
    decoder: Decoder,
    outputs: VecDeque<ClientOutput>,
}

impl ClientSession {
    /// A session that begins at once.
    ///
    /// - `udp_ports`: our ports, one pair per track; empty over TCP.
    pub fn new(config: Arc<ClientConfig>, udp_ports: Vec<UdpPorts>, now: Instant) -> Self {
        let controls = match &config.role {
            ClientRole::Watch => Ok(Vec::new()),
            ClientRole::Publish { sdp } => sdp::parse(sdp.as_bytes()).map(|announced| announced.controls),
        };
        let mut session = Self {
            base: config.url.clone(),
            config,
            step: Step::Options,
            controls: Vec::new(),
            tracks: Vec::new(),
            session: None,
            timeout: SESSION_TIMEOUT,
            has_get_parameter: false,
            challenge: None,
            timers: Timers::default(),
            udp_ports,
            cseq: 0,
            awaited: 0,
            decoder: Decoder::default(),
            outputs: VecDeque::new(),
        };
        match controls {
            Ok(controls) => {
                session.controls = controls;
                session.ask(now, Step::Options);
            }
            Err(error) => session.fail(Failure::Description(error)),
        }
        session
    }

    /// Takes bytes from the server, however they were cut.
    pub fn handle_bytes(&mut self, now: Instant, bytes: &[u8]) {
        if self.step == Step::Closed {
            return;
        }
        self.decoder.feed(bytes);
        while self.step != Step::Closed {
            match self.decoder.poll_item() {
                Ok(Some(Item::Frame { channel, payload })) => self.on_frame(channel, payload),
                Ok(Some(Item::Response(response))) => self.on_item(now, &response),
                Ok(Some(Item::Request(request))) => self.on_request(&request),
                Ok(None) => break,
                Err(error) => self.fail(Failure::Malformed(error)),
            }
        }
    }

    /// Takes the end of what the server sends.
    pub fn handle_eof(&mut self) {
        match self.step {
            Step::Closed => {}
            Step::Teardown => self.close(),
            step => self.fail(Failure::Disconnected { method: step.method() }),
        }
    }

    /// Takes what became too late by `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(timer) = self.timers.pop_expired(now) {
            match (timer, self.step.method()) {
                (Timer::Response, Some("TEARDOWN") | None) => self.close(),
                (Timer::Response, Some(method)) => self.fail(Failure::Late { method }),
                (Timer::KeepAlive, _) => self.keep_alive(now),
            }
        }
    }

    /// Ends the session as its owner wishes: TEARDOWN where there is something to tear down, then
    /// [`ClientOutput::Closed`].
    pub fn teardown(&mut self, now: Instant) {
        match (self.step, &self.session) {
            (Step::Teardown | Step::Closed, _) => {}
            (_, Some(_)) => self.ask(now, Step::Teardown),
            (_, None) => self.close(),
        }
    }

    /// What to do next; `None` when there is nothing until the next input or the [`deadline`](Self::deadline).
    pub fn poll_output(&mut self) -> Option<ClientOutput> {
        self.outputs.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called; `None` after the end.
    pub fn deadline(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Whether PLAY or RECORD was answered and nothing ended since.
    pub fn is_streaming(&self) -> bool {
        self.step == Step::Streaming
    }

    /// The tracks that are set up, in the order of the description.
    pub fn tracks(&self) -> &[Chosen] {
        &self.tracks
    }

    /// The four bytes to put in front of a packet of `length` bytes; `None` over UDP.
    ///
    /// - `channel`: canonical, `2k` for RTP of track `k`, `2k + 1` for its RTCP.
    pub fn frame_header(&self, channel: u8, length: u16) -> Option<[u8; 4]> {
        match self.tracks.get(usize::from(channel / 2))?.transport {
            TrackTransport::Tcp { rtp, .. } if channel.is_multiple_of(2) => Some(frame_header(rtp, length)),
            TrackTransport::Tcp { rtcp, .. } => Some(frame_header(rtcp, length)),
            TrackTransport::Udp { .. } => None,
        }
    }

    /// Sends the step's request and waits for its response.
    pub(super) fn ask(&mut self, now: Instant, step: Step) {
        let Some(method) = step.method() else { return };
        let mut headers = Headers::new();
        let mut body = Bytes::new();
        let url = match step {
            Step::Setup(track) => {
                let Some(offer) = self.offer(track) else { return self.fail(Failure::PortsMissing) };
                let mode = match self.config.role {
                    ClientRole::Watch => "",
                    ClientRole::Publish { .. } => MODE_RECORD,
                };
                headers.push("Transport", format!("{offer}{mode}"));
                self.track_url(track)
            }
            Step::Describe => {
                headers.push("Accept", "application/sdp");
                self.config.url.clone()
            }
            Step::Announce => {
                if let ClientRole::Publish { sdp } = &self.config.role {
                    headers.push("Content-Type", "application/sdp");
                    body = Bytes::copy_from_slice(sdp.as_bytes());
                }
                self.config.url.clone()
            }
            Step::Play | Step::Record => {
                headers.push("Range", "npt=0.000-");
                self.base.clone()
            }
            Step::Options => self.config.url.clone(),
            Step::Teardown | Step::Streaming | Step::Closed => self.base.clone(),
        };
        self.step = step;
        self.send(method, url, headers, body);
        self.awaited = self.cseq;
        self.timers.set(Timer::Response, now + self.config.response);
        self.watch_keep_alive(now);
    }

    fn send(&mut self, method: &'static str, url: String, own: Headers, body: Bytes) {
        self.cseq += 1;
        let mut headers = Headers::new().with("CSeq", self.cseq.to_string());
        headers.push("User-Agent", &self.config.user_agent);
        if let Some(session) = &self.session {
            headers.push("Session", session);
        }
        if let (Some(challenge), Some(credentials)) = (&self.challenge, &self.config.credentials) {
            let (user, password) = (&credentials.user, &credentials.password);
            // The number of the request is new for each; secrecy is not what a cnonce is for.
            let proof = challenge.respond(user, password, method, &url, &format!("{:08x}", self.cseq));
            headers.push("Authorization", proof);
        }
        headers.extend(own);
        let request = Request { method: method.to_owned(), url, headers, body };
        self.outputs.push_back(ClientOutput::Send(request.to_bytes()));
    }

    /// What SETUP of `track` asks for; `None` when there are no ports for it.
    pub(super) fn offer(&self, track: u8) -> Option<TrackTransport> {
        match self.config.transport {
            LowerTransport::Tcp => TrackTransport::channels_of(track),
            LowerTransport::Udp => {
                let UdpPorts { rtp: client_rtp, rtcp: client_rtcp } =
                    *self.udp_ports.get(usize::from(track))?;
                Some(TrackTransport::Udp { client_rtp, client_rtcp })
            }
        }
    }

    /// Where `track` is set up.
    pub(super) fn track_url(&self, track: u8) -> String {
        url::resolve(&self.base, self.controls.get(usize::from(track)).map_or("", String::as_str))
    }

    fn keep_alive(&mut self, now: Instant) {
        if self.session.is_some() {
            let method = if self.has_get_parameter { "GET_PARAMETER" } else { "OPTIONS" };
            self.send(method, self.base.clone(), Headers::new(), Bytes::new());
            self.watch_keep_alive(now);
        }
    }

    /// The next keep-alive, from the last request on.
    pub(super) fn watch_keep_alive(&mut self, now: Instant) {
        if self.session.is_some() && self.step != Step::Teardown {
            self.timers.set(Timer::KeepAlive, now + self.timeout / 2);
        }
    }

    fn on_frame(&mut self, channel: u8, payload: Bytes) {
        let mut tracks = (0..).zip(&self.tracks);
        let canonical = tracks.find_map(|(track, set_up)| set_up.transport.canonical(track, channel));
        if let Some(channel) = canonical {
            self.outputs.push_back(ClientOutput::Frame { channel, payload });
        }
    }

    fn on_item(&mut self, now: Instant, response: &Response) {
        let cseq = response.cseq().and_then(|cseq| cseq.trim().parse::<u32>().ok());
        if self.step.method().is_some() && cseq == Some(self.awaited) {
            if response.status == Status::CONTINUE {
                return;
            }
            self.timers.clear(Timer::Response);
            self.on_response(now, response);
        } else if response.status == Status::SESSION_NOT_FOUND {
            // The answer to a keep-alive.
            self.refused("GET_PARAMETER", response);
        }
    }

    /// Servers ask clients for nothing that we could give.
    fn on_request(&mut self, request: &Request) {
        let mut response = Response::new(Status::NOT_IMPLEMENTED);
        if let Some(cseq) = request.cseq() {
            response.headers.push("CSeq", cseq);
        }
        self.outputs.push_back(ClientOutput::Send(response.to_bytes()));
    }

    pub(super) fn event(&mut self, event: ClientEvent) {
        self.outputs.push_back(ClientOutput::Event(event));
    }

    pub(super) fn refused(&mut self, method: &'static str, response: &Response) {
        self.fail(Failure::Refused { method, status: response.status, reason: response.reason.clone() });
    }

    pub(super) fn fail(&mut self, failure: Failure) {
        if self.step != Step::Closed {
            self.outputs.push_back(ClientOutput::Failed(failure));
            self.close();
        }
    }

    pub(super) fn close(&mut self) {
        if self.step != Step::Closed {
            self.step = Step::Closed;
            self.timers = Timers::default();
            self.decoder = Decoder::default();
            self.outputs.push_back(ClientOutput::Closed);
        }
    }
}
