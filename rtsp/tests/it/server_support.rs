//! A server's connection with an edge of memory around it: bytes in, bytes out, a clock that only the test moves.

use std::{
    collections::VecDeque,
    num::NonZeroU32,
    sync::Arc,
    time::{Duration, Instant},
};

use slotcast_auth::{Credential, Proof as _, Secret, Verdict};
use slotcast_core::{
    media::{Codec, Description, MediaKind, Stream, StreamId, Track},
    words::ProgramId,
};
use slotcast_rtsp::{
    message::{Decoder, Item, Response},
    server::{
        AfterRefusal, Answer, Ask, CloseReason, Event, Output, Role, RtpInfoEntry, ServerConfig,
        ServerConnection, TrackTransport, UdpPorts,
    },
    status::Status,
};

pub(crate) const URL: &str = "rtsp://127.0.0.1:8554/ch";
pub(crate) const TCP: &str = "RTP/AVP/TCP;unicast;interleaved=0-1";
pub(crate) const UDP: &str = "RTP/AVP;unicast;client_port=5000-5001";
pub(crate) const SDP: &str = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
    m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:streamid=0\r\n\
    m=audio 0 RTP/AVP 97\r\na=rtpmap:97 opus/48000/2\r\na=control:streamid=1\r\n";

/// What the edge says yes or no to.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    /// The password, where one is needed.
    pub(crate) password: Option<&'static str>,
    /// The channel that is on air.
    pub(crate) on_air: &'static str,
    pub(crate) seats_free: u32,
    pub(crate) tracks: u8,
    /// PLAY and RECORD are left open.
    pub(crate) hold_start: bool,
    /// Every question is left open.
    pub(crate) hold_all: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self { password: None, on_air: "ch", seats_free: 1, tracks: 2, hold_start: false, hold_all: false }
    }
}

/// The connection and its edge.
pub(crate) struct Server {
    pub(crate) connection: ServerConnection,
    pub(crate) now: Instant,
    pub(crate) policy: Policy,
    /// What was sent and not yet taken.
    pub(crate) sent: Vec<u8>,
    /// Everything but `Send`, in order, as short words.
    pub(crate) log: Vec<String>,
    pub(crate) frames: Vec<(u8, Vec<u8>)>,
    pub(crate) closed: Option<CloseReason>,
    /// The path that the connection has proven itself for.
    admitted: Option<String>,
    cseq: u32,
}

#[expect(clippy::disallowed_methods, reason = "any instant will do to begin with; it is never read again")]
pub(crate) fn some_instant() -> Instant {
    Instant::now()
}

pub(crate) fn config(role: Role) -> ServerConfig {
    ServerConfig { udp: Some(UdpPorts { rtp: 8000, rtcp: 8001 }), ..ServerConfig::new(role) }
}

pub(crate) fn stream(tracks: u8) -> Stream {
    let track = |kind, codec, payload_type, clock_rate| Track {
        kind,
        codec,
        payload_types: vec![payload_type],
        clock_rate: NonZeroU32::new(clock_rate).unwrap(),
    };
    let all = [
        (
            track(MediaKind::Video, Codec::H264, 96, 90_000),
            "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n",
        ),
        (
            track(MediaKind::Audio, Codec::Audio, 97, 48_000),
            "m=audio 0 RTP/AVP 97\r\na=rtpmap:97 opus/48000/2\r\n",
        ),
    ];
    let (tracks, media) =
        all.into_iter().take(tracks.into()).map(|(track, text)| (track, text.to_owned())).unzip();
    let description = Description { title: "x".to_owned(), media };
    Stream { id: StreamId(1), program: ProgramId(1), tracks, description }
}

impl Server {
    pub(crate) fn new(role: Role) -> Self {
        Self::with(config(role), Policy::default())
    }

    pub(crate) fn viewer() -> Self {
        Self::new(Role::Viewer)
    }

    pub(crate) fn broadcaster() -> Self {
        Self::new(Role::Broadcaster)
    }

    pub(crate) fn with(config: ServerConfig, policy: Policy) -> Self {
        let now = some_instant();
        Self {
            connection: ServerConnection::new(Arc::new(config), [7; 32], now),
            now,
            policy,
            sent: Vec::new(),
            log: Vec::new(),
            frames: Vec::new(),
            closed: None,
            admitted: None,
            cseq: 0,
        }
    }

    /// Hands over bytes and does what the connection wants.
    pub(crate) fn feed(&mut self, bytes: impl AsRef<[u8]>) {
        self.connection.handle_bytes(self.now, bytes.as_ref());
        self.drain();
    }

    pub(crate) fn drain(&mut self) {
        let mut behind_response = false;
        while let Some(output) = self.connection.poll_output() {
            if matches!(output, Output::Event(Event::Playing | Event::Recording)) {
                assert!(behind_response, "a start comes right behind its response");
            }
            behind_response = matches!(output, Output::Send(_));
            assert_eq!(self.closed, None, "nothing comes after Close: {output:?}");
            match output {
                Output::Send(bytes) => self.sent.extend_from_slice(&bytes),
                Output::Ask(ask) => {
                    self.log.push(ask_word(&ask).to_owned());
                    if let Some(answer) = self.answer(&ask) {
                        self.connection.handle_answer(self.now, answer);
                    }
                }
                Output::Event(event) => {
                    if matches!(event, Event::SessionEnded(_)) {
                        self.policy.seats_free += 1;
                    }
                    self.log.push(format!("{event:?}"));
                }
                Output::Frame { channel, payload } => self.frames.push((channel, payload.to_vec())),
                Output::Close(reason) => {
                    self.log.push(format!("Close({reason:?})"));
                    self.closed = Some(reason);
                }
            }
        }
    }

    fn answer(&mut self, ask: &Ask) -> Option<Answer> {
        if self.policy.hold_all || (self.policy.hold_start && matches!(ask, Ask::Play | Ask::Record)) {
            return None;
        }
        let (target, credentials) = match ask {
            Ask::Describe { target, credentials }
            | Ask::Announce { target, credentials, .. }
            | Ask::Setup { target, credentials, .. } => (target, credentials),
            Ask::Play => return Some(self.play_answer()),
            Ask::Record => return Some(Answer::Record { headers: Vec::new() }),
        };
        if let Some(password) = self.policy.password
            && self.admitted.as_ref() != Some(&target.path)
        {
            let password = Secret::new(password.to_owned());
            match credentials.verify(self.now, &Credential::Password(&password)) {
                Verdict::Granted => self.admitted = Some(target.path.clone()),
                verdict => return Some(Answer::Challenge { stale: verdict == Verdict::Stale }),
            }
        }
        if target.path != self.policy.on_air {
            return Some(refuse(Status::NOT_FOUND, "Nothing is on air here"));
        }
        Some(match ask {
            Ask::Describe { .. } => Answer::Describe(Arc::new(stream(self.policy.tracks))),
            Ask::Announce { .. } => Answer::Announce { headers: Vec::new() },
            _ if self.policy.seats_free == 0 => refuse(Status::NOT_ENOUGH_BANDWIDTH, "All 1 seats are taken"),
            _ => {
                self.policy.seats_free -= 1;
                Answer::Setup { tracks: self.policy.tracks }
            }
        })
    }

    pub(crate) fn play_answer(&self) -> Answer {
        let entry = |track: u8| RtpInfoEntry {
            track,
            seq: Some(100 + u16::from(track)),
            rtptime: Some(9000 + u32::from(track)),
        };
        Answer::Play { rtp_info: (0..self.policy.tracks).map(entry).collect() }
    }

    /// Answers the open question.
    pub(crate) fn handle_answer(&mut self, answer: Answer) {
        self.connection.handle_answer(self.now, answer);
        self.drain();
    }

    /// Lets time pass, and everything happen that is due in it.
    pub(crate) fn wait(&mut self, seconds: u64) {
        let until = self.now + Duration::from_secs(seconds);
        for _ in 0..1000 {
            let Some(at) = self.connection.deadline().filter(|at| *at <= until) else { break };
            self.now = self.now.max(at);
            self.connection.handle_timeout(self.now);
            self.drain();
        }
        self.now = until;
    }

    /// Sends one request with the next `CSeq` and takes its response; `None` when there is none (yet).
    #[track_caller]
    pub(crate) fn try_request(
        &mut self,
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Option<Response> {
        self.cseq += 1;
        let cseq = self.cseq;
        let mut text = format!("{method} {url} RTSP/1.0\r\nCSeq: {cseq}\r\n");
        for (name, value) in headers {
            text += &format!("{name}: {value}\r\n");
        }
        if !body.is_empty() {
            text += &format!("Content-Length: {}\r\n", body.len());
        }
        text += "\r\n";
        text += body;
        self.feed(text);
        let response = self.responses().into_iter().next_back()?;
        assert_eq!(response.cseq(), Some(cseq.to_string().as_str()));
        Some(response)
    }

    #[track_caller]
    pub(crate) fn request(
        &mut self,
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Response {
        self.try_request(method, url, headers, body).expect("a response")
    }

    /// Takes all responses that were sent, which must be nothing but responses.
    #[track_caller]
    pub(crate) fn responses(&mut self) -> Vec<Response> {
        let mut decoder = Decoder::default();
        decoder.feed(&std::mem::take(&mut self.sent));
        let mut responses = Vec::new();
        while let Some(item) = decoder.poll_item().expect("we write what we can read") {
            match item {
                Item::Response(response) => responses.push(response),
                other => panic!("a server sends responses: {other:?}"),
            }
        }
        assert_eq!(decoder.buffered(), 0);
        responses
    }

    /// SETUP of a track; gives the session's id.
    #[track_caller]
    pub(crate) fn set_up(&mut self, url: &str, transport: &str) -> String {
        let response = self.request("SETUP", url, &[("Transport", transport)], "");
        assert_eq!(response.status, Status::OK, "{response:?}");
        session_of(&response)
    }

    /// ANNOUNCE of [`SDP`].
    #[track_caller]
    pub(crate) fn announce(&mut self) {
        let response = self.request("ANNOUNCE", URL, &[("Content-Type", "application/sdp")], SDP);
        assert_eq!(response.status, Status::OK, "{response:?}");
    }

    /// A method of the session.
    #[track_caller]
    pub(crate) fn of_session(&mut self, method: &str, id: &str) -> Response {
        self.request(method, URL, &[("Session", id)], "")
    }

    /// Both tracks over TCP, playing or recording; gives the id.
    #[track_caller]
    pub(crate) fn start(&mut self, method: &str) -> String {
        if method == "RECORD" {
            self.announce();
        }
        let id = self.set_up(&format!("{URL}/trackID=0"), TCP);
        let second = [("Transport", "RTP/AVP/TCP;unicast;interleaved=2-3"), ("Session", id.as_str())];
        assert_eq!(self.request("SETUP", &format!("{URL}/trackID=1"), &second, "").status, Status::OK);
        let response = self.of_session(method, &id);
        assert_eq!(response.status, Status::OK, "{response:?}");
        id
    }

    /// The transports that are set up.
    pub(crate) fn transports(&self) -> Vec<(u8, TrackTransport)> {
        let setups = self.connection.session().map(|session| session.tracks()).unwrap_or_default();
        setups.iter().map(|setup| (setup.track, setup.transport)).collect()
    }

    /// Takes the log.
    pub(crate) fn events(&mut self) -> Vec<String> {
        std::mem::take(&mut self.log)
    }
}

pub(crate) fn session_of(response: &Response) -> String {
    let header = response.headers.get("Session").expect("a Session header");
    header.split(';').next().unwrap_or_default().to_owned()
}

pub(crate) fn refuse(status: Status, reason: &str) -> Answer {
    Answer::Refuse { status, reason: reason.to_owned(), then: AfterRefusal::KeepOpen }
}

pub(crate) fn ask_word(ask: &Ask) -> &'static str {
    match ask {
        Ask::Describe { .. } => "ask Describe",
        Ask::Announce { .. } => "ask Announce",
        Ask::Setup { .. } => "ask Setup",
        Ask::Play => "ask Play",
        Ask::Record => "ask Record",
    }
}

/// A small generator for tests that try many things: the same seed tries the same.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or(0) % sides.max(1)
    }

    /// `bytes` in pieces of 1 to `most`.
    pub(crate) fn cut<'a>(&mut self, bytes: &'a [u8], most: usize) -> VecDeque<&'a [u8]> {
        let mut pieces = VecDeque::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at((1 + self.roll(most)).min(rest.len()));
            pieces.push_back(piece);
            rest = behind;
        }
        pieces
    }
}
