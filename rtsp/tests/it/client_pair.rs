//! A server and a client in memory, at random cuts of the bytes, on a clock of their own; and a server under random
//! operations.

use std::{sync::Arc, time::Duration};

use slotcast_rtsp::{
    client::{
        ClientConfig, ClientCredentials, ClientEvent, ClientOutput, ClientRole, ClientSession, Failure,
    },
    headers::transport::LowerTransport,
    message::Response,
    server::{Role, ServerConfig, TrackTransport, UdpPorts},
    status::Status,
};

use crate::server_support::{Dice, Policy, SDP, Server, TCP, UDP, URL, config, session_of, some_instant};

/// A client and the server it is connected to.
struct Pair {
    server: Server,
    client: ClientSession,
    events: Vec<ClientEvent>,
    frames: Vec<(u8, Vec<u8>)>,
    failure: Option<Failure>,
    closed: bool,
    dice: Dice,
    /// The server's challenges with SHA-256 are lost on the way.
    md5_only: bool,
}

impl Pair {
    fn new(server: Server, config: ClientConfig, seed: u64) -> Self {
        Self::with(server, config, seed, false)
    }

    fn with(server: Server, config: ClientConfig, seed: u64, md5_only: bool) -> Self {
        let ports = [UdpPorts { rtp: 5000, rtcp: 5001 }, UdpPorts { rtp: 5002, rtcp: 5003 }];
        let client = ClientSession::new(Arc::new(config), ports.to_vec(), server.now);
        let (events, frames) = (Vec::new(), Vec::new());
        let mut pair =
            Self { server, client, events, frames, failure: None, closed: false, dice: Dice(seed), md5_only };
        pair.run();
        pair
    }

    /// Carries bytes to and fro until both are silent.
    fn run(&mut self) {
        for _ in 0..1000 {
            if self.server.closed.is_some() && self.server.sent.is_empty() {
                self.client.handle_eof();
            }
            let mut to_server = Vec::new();
            while let Some(output) = self.client.poll_output() {
                assert!(!self.closed, "nothing comes after Closed: {output:?}");
                match output {
                    ClientOutput::Send(bytes) => to_server.extend_from_slice(&bytes),
                    ClientOutput::Event(event) => self.events.push(event),
                    ClientOutput::Frame { channel, payload } => self.frames.push((channel, payload.to_vec())),
                    ClientOutput::Failed(failure) => self.failure = Some(failure),
                    ClientOutput::Closed => self.closed = true,
                }
            }
            for piece in self.dice.cut(&to_server, 40) {
                self.server.feed(piece);
            }
            let mut to_client = std::mem::take(&mut self.server.sent);
            if self.md5_only {
                let text = String::from_utf8(to_client).unwrap();
                let lines = text.split_inclusive('\n').filter(|line| !line.contains("algorithm=SHA-256"));
                to_client = lines.collect::<String>().into_bytes();
            }
            for piece in self.dice.cut(&to_client, 40) {
                self.client.handle_bytes(self.server.now, piece);
            }
            if to_server.is_empty() && to_client.is_empty() {
                return;
            }
        }
        panic!("the two never fall silent");
    }

    fn wait(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.server.wait(1);
            if self.client.deadline().is_some_and(|at| at <= self.server.now) {
                self.client.handle_timeout(self.server.now);
            }
            self.run();
        }
    }

    fn names(&self) -> Vec<&'static str> {
        let name = |event: &ClientEvent| match event {
            ClientEvent::Described(_) => "described",
            ClientEvent::Ready { .. } => "ready",
            ClientEvent::Playing { .. } => "playing",
            ClientEvent::Recording => "recording",
        };
        self.events.iter().map(name).collect()
    }
}

fn watch() -> ClientConfig {
    ClientConfig::new(ClientRole::Watch, URL)
}

fn publish() -> ClientConfig {
    ClientConfig::new(ClientRole::Publish { sdp: SDP.to_owned() }, URL)
}

fn refused(failure: Option<&Failure>) -> (&'static str, u16, &str) {
    match failure {
        Some(Failure::Refused { method, status, reason }) => (method, status.code(), reason),
        other => panic!("expected a refusal: {other:?}"),
    }
}

#[test]
fn a_viewer_plays_over_tcp_and_udp_at_every_cut() {
    for seed in 0..50 {
        for transport in [LowerTransport::Tcp, LowerTransport::Udp] {
            let pair = Pair::new(Server::viewer(), ClientConfig { transport, ..watch() }, seed);
            assert_eq!(pair.names(), ["described", "ready", "playing"], "{:?}", pair.failure);
            assert!(pair.client.is_streaming());
            let Some(ClientEvent::Playing { rtp_info }) = pair.events.last() else { unreachable!() };
            let starts: Vec<_> = rtp_info.iter().map(|i| (i.track, i.seq, i.rtptime)).collect();
            assert_eq!(starts, [(0, Some(100), Some(9000)), (1, Some(101), Some(9001))]);
        }
    }
}

#[test]
fn udp_viewers_learn_the_servers_ports() {
    let pair = Pair::new(Server::viewer(), ClientConfig { transport: LowerTransport::Udp, ..watch() }, 1);
    let tracks = pair.client.tracks();
    assert_eq!(tracks[1].transport, TrackTransport::Udp { client_rtp: 5002, client_rtcp: 5003 });
    assert_eq!(tracks[1].server, Some(UdpPorts { rtp: 8000, rtcp: 8001 }));
}

#[test]
fn a_viewer_over_udp_is_told_461_where_udp_is_off() {
    let udp_off = |role| Server::with(ServerConfig::new(role), Policy::default());
    let config = ClientConfig { transport: LowerTransport::Udp, ..watch() };
    let pair = Pair::new(udp_off(Role::Viewer), config, 1);
    assert_eq!(refused(pair.failure.as_ref()), ("SETUP", 461, "Unsupported Transport"));
    assert!(pair.closed);
}

#[test]
fn frames_arrive_under_canonical_numbers_between_responses() {
    let mut pair = Pair::new(Server::viewer(), watch(), 3);
    pair.server.sent.extend_from_slice(b"$\x03\x00\x02ab$\x00\x00\x01c$\x09\x00\x01x");
    pair.run();
    assert_eq!(pair.frames, [(3, b"ab".to_vec()), (0, b"c".to_vec())]);
}

#[test]
fn a_publisher_records_and_its_frames_arrive() {
    for seed in 0..50 {
        for transport in [LowerTransport::Tcp, LowerTransport::Udp] {
            let mut pair = Pair::new(Server::broadcaster(), ClientConfig { transport, ..publish() }, seed);
            assert_eq!(pair.names(), ["ready", "recording"], "{:?}", pair.failure);
            if let Some(header) = pair.client.frame_header(2, 3) {
                pair.server.feed(header);
                pair.server.feed(b"rtp");
                assert_eq!(pair.server.frames, [(2, b"rtp".to_vec())]);
            } else {
                assert_eq!(transport, LowerTransport::Udp);
            }
            pair.client.teardown(pair.server.now);
            pair.run();
            assert!(pair.closed && pair.failure.is_none());
            assert_eq!(pair.server.policy.seats_free, 1);
        }
    }
}

#[test]
fn both_digests_and_the_right_password_only() {
    let guarded = |role| Server::with(config(role), Policy { password: Some("secret"), ..Policy::default() });
    let credentials =
        |password: &str| Some(ClientCredentials { user: "live".to_owned(), password: password.to_owned() });
    for md5_only in [false, true] {
        for (role, base) in [(Role::Viewer, watch()), (Role::Broadcaster, publish())] {
            let right = ClientConfig { credentials: credentials("secret"), ..base.clone() };
            let pair = Pair::with(guarded(role), right, 5, md5_only);
            assert!(pair.client.is_streaming(), "{role:?} {md5_only} {:?}", pair.failure);
            let wrong = ClientConfig { credentials: credentials("guess"), ..base.clone() };
            let pair = Pair::with(guarded(role), wrong, 5, md5_only);
            assert_eq!(refused(pair.failure.as_ref()).1, 401);
            let pair = Pair::new(guarded(role), base.clone(), 5);
            assert_eq!(refused(pair.failure.as_ref()).1, 401);
        }
    }
}

#[test]
fn a_stale_nonce_costs_one_more_round_and_nothing_else() {
    let server = Server::with(config(Role::Viewer), Policy { password: Some("secret"), ..Policy::default() });
    let credentials = Some(ClientCredentials { user: "v".to_owned(), password: "secret".to_owned() });
    let mut pair = Pair::new(server, ClientConfig { credentials, ..watch() }, 5);
    pair.wait(300);
    assert!(pair.client.is_streaming(), "{:?}", pair.failure);
}

#[test]
fn over_the_seats_the_viewer_says_453_and_why() {
    let server = Server::with(config(Role::Viewer), Policy { seats_free: 0, ..Policy::default() });
    let pair = Pair::new(server, watch(), 1);
    assert_eq!(refused(pair.failure.as_ref()), ("SETUP", 453, "All 1 seats are taken"));
    assert!(pair.closed);
}

#[test]
fn nothing_on_air_is_404_at_describe() {
    let server = Server::with(config(Role::Viewer), Policy { on_air: "other", ..Policy::default() });
    let pair = Pair::new(server, watch(), 1);
    assert_eq!(refused(pair.failure.as_ref()), ("DESCRIBE", 404, "Nothing is on air here"));
}

#[test]
fn keep_alives_hold_a_session_for_an_hour_and_silence_ends_it() {
    for config in [watch(), ClientConfig { transport: LowerTransport::Udp, ..watch() }] {
        let mut pair = Pair::new(Server::viewer(), config, 1);
        pair.wait(3600);
        assert!(pair.client.is_streaming() && pair.server.closed.is_none());
        pair.server.wait(65);
        pair.run();
        assert_eq!(pair.failure, Some(Failure::Disconnected { method: None }));
    }
}

#[test]
fn a_server_that_says_nothing_is_late() {
    let server = Server::with(config(Role::Viewer), Policy { hold_all: true, ..Policy::default() });
    let mut pair = Pair::new(server, watch(), 1);
    pair.wait(20);
    assert_eq!(pair.failure, Some(Failure::Late { method: "DESCRIBE" }));
    assert!(pair.closed && pair.client.deadline().is_none());
}

#[test]
fn a_publisher_with_a_broken_sdp_or_too_few_ports_fails_before_it_does_harm() {
    let role = ClientRole::Publish { sdp: "nonsense".to_owned() };
    let pair = Pair::new(Server::broadcaster(), ClientConfig::new(role, URL), 1);
    assert!(matches!(pair.failure, Some(Failure::Description(_))) && pair.server.log.is_empty());
    let config = ClientConfig { transport: LowerTransport::Udp, ..watch() };
    let mut client = ClientSession::new(Arc::new(config), Vec::new(), some_instant());
    let mut server = Server::viewer();
    let mut failure = None;
    for _ in 0..10 {
        while let Some(output) = client.poll_output() {
            match output {
                ClientOutput::Send(bytes) => server.feed(bytes),
                ClientOutput::Failed(failed) => failure = Some(failed),
                _ => {}
            }
        }
        client.handle_bytes(server.now, &std::mem::take(&mut server.sent));
    }
    assert_eq!(failure, Some(Failure::PortsMissing));
}

#[test]
fn noise_from_the_server_never_panics_the_client() {
    let mut dice = Dice(11);
    let words = [
        "RTSP/1.0 200 OK\r\n",
        "CSeq: 1\r\n",
        "CSeq: 2\r\n",
        "\r\n",
        "Session: ;\r\n",
        "Transport: ,,\r\n",
        "$\0\0\x01a",
        "Public: x\r\n",
        "Content-Length: 9\r\n",
        "v=0\r\nm=\r\n",
        "WWW-Authenticate: Digest\r\n",
        "RTP-Info: ,;=\r\n",
        "RTSP/1.0 401 x\r\n",
        "OPTIONS * RTSP/1.0\r\n",
        "Content-Base: ://\r\n",
        "RTSP/1.0 461 x\r\n",
    ];
    for _ in 0..2000 {
        let config = ClientConfig { transport: LowerTransport::Udp, ..watch() };
        let mut client = ClientSession::new(Arc::new(config), Vec::new(), some_instant());
        let mut closed = 0;
        for _ in 0..30 {
            client.handle_bytes(some_instant(), words[dice.roll(words.len())].as_bytes());
            while let Some(output) = client.poll_output() {
                closed += usize::from(matches!(output, ClientOutput::Closed));
            }
        }
        assert!(closed <= 1);
    }
}

const METHODS: &[&str] = &[
    "OPTIONS",
    "DESCRIBE",
    "ANNOUNCE",
    "SETUP",
    "SETUP",
    "SETUP",
    "PLAY",
    "PLAY",
    "RECORD",
    "RECORD",
    "PAUSE",
    "TEARDOWN",
    "GET_PARAMETER",
    "SET_PARAMETER",
    "REDIRECT",
];

const URLS: &[&str] = &[
    URL,
    "*",
    "rtsp://h",
    "rtsp://h/ch/trackID=0",
    "rtsp://h/ch/trackID=1",
    "rtsp://h/ch/streamid=0",
    "rtsp://h/ch?q/trackID=1",
    "rtsp://h/ch/trackID=9",
    "/",
    "rtsp://h/other",
];

const TRANSPORTS: &[&str] = &[
    TCP,
    UDP,
    "RTP/AVP/TCP",
    "RTP/AVP/TCP;interleaved=254-255",
    "RTP/AVP;multicast",
    "RTP/AVP/TCP;mode=\"",
    "",
    "RTP/AVP;client_port=0-1",
    "RTP/AVP;client_port=6000-6001,RTP/AVP/TCP",
];

/// One random thing that may happen to a server's connection.
fn operate(server: &mut Server, dice: &mut Dice, ids: &[String]) -> Vec<Response> {
    match dice.roll(12) {
        0 => server.wait(dice.roll(12) as u64),
        1 => server.feed([b'$', dice.roll(4) as u8, 0, 1, b'x']),
        2 => server.connection.handle_alive(server.now),
        3 => {
            server.policy.hold_start = dice.roll(2) == 0;
            let answer = server.play_answer();
            server.handle_answer(answer);
        }
        4 if dice.roll(20) == 0 => {
            server.connection.handle_end(Status::FORBIDDEN, "Ended");
            server.drain();
        }
        _ => {
            let (method, url) = (METHODS[dice.roll(METHODS.len())], URLS[dice.roll(URLS.len())]);
            let mut text = format!("{method} {url} RTSP/1.0\r\nCSeq: 1\r\n");
            if dice.roll(3) > 0 {
                text += &format!("Transport: {}\r\n", TRANSPORTS[dice.roll(TRANSPORTS.len())]);
            }
            if let Some(id) = ids.iter().rev().nth(dice.roll(3)) {
                text += &format!("Session: {id}\r\n");
            }
            text += &match method {
                "ANNOUNCE" => format!("Content-Length: {}\r\n\r\n{SDP}", SDP.len()),
                _ => "\r\n".to_owned(),
            };
            for piece in dice.cut(text.as_bytes(), 200) {
                server.feed(piece);
            }
        }
    }
    if server.sent.is_empty() { Vec::new() } else { server.responses() }
}

#[test]
fn random_operations_keep_the_invariants() {
    let mut played = 0;
    for seed in 0..600 {
        let role = if seed % 2 == 0 { Role::Viewer } else { Role::Broadcaster };
        let mut dice = Dice(seed);
        let mut server = Server::new(role);
        server.policy.seats_free = 3;
        let mut ids = Vec::new();
        let (mut held, mut flowing) = (0_i32, false);
        for _ in 0..60 {
            let frames_before = server.frames.len();
            for response in operate(&mut server, &mut dice, &ids) {
                if response.headers.get("Transport").is_some() {
                    ids.push(session_of(&response));
                }
            }
            for word in server.events() {
                match word.as_str() {
                    "Playing" | "Recording" => {
                        assert!(!flowing, "seed {seed}: a start comes once");
                        flowing = true;
                        played += 1;
                    }
                    "Paused" => flowing = false,
                    word if word.starts_with("SessionEnded") => {
                        flowing = false;
                        held -= 1;
                    }
                    "ask Setup" => held += 1,
                    _ => {}
                }
                assert!(
                    (0..=1).contains(&held) || word == "ask Setup",
                    "seed {seed}: one seat at most, {held}"
                );
            }
            // A refused SETUP took nothing; what is held is what the session or an open question holds.
            held = 3 - i32::try_from(server.policy.seats_free).unwrap();
            let session = server.connection.session();
            assert_eq!(held, i32::from(session.is_some()), "seed {seed}");
            assert!(flowing || server.frames.len() == frames_before || session.is_none());
            assert!(
                server.connection.deadline().is_some() || server.closed.is_some() || server.policy.hold_start
            );
            if let Some(session) = session {
                assert!(!session.tracks().is_empty() && session.tracks().len() <= 2);
            }
        }
    }
    assert!(played > 50, "the dice must reach what is to be tested: {played}");
}

#[test]
fn a_frame_on_its_way_does_not_disturb_the_clock() {
    let mut pair = Pair::new(Server::viewer(), watch(), 9);
    let before = pair.client.deadline().unwrap();
    pair.client.handle_bytes(pair.server.now + Duration::from_secs(1), b"$\x00\x00\x01a");
    assert_eq!(pair.client.deadline(), Some(before));
}
