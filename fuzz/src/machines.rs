//! The session machines, fed by a hostile peer and carried by an edge that answers in every way it may.

use std::num::NonZeroU32;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use slotcast_core::media::{Codec, Description, MediaKind, Stream, StreamId, Track};
use slotcast_core::words::ProgramId;
use slotcast_rtsp::client::{ClientConfig, ClientOutput, ClientRole, ClientSession};
use slotcast_rtsp::message::{Decoder, Item};
use slotcast_rtsp::server::{
    AfterRefusal, Answer, Ask, Event, Output, Role, RtpInfoEntry, ServerConfig, ServerConnection, UdpPorts,
};
use slotcast_rtsp::status::Status;

/// How the edge answers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Edge {
    Grants,
    Challenges,
    Refuses,
    Closes,
    /// Never answers.
    Sleeps,
}

/// In how many pieces what a peer says comes.
#[derive(Clone, Copy)]
enum Cut {
    Whole,
    Elevens,
    /// Whole, and the peer ends its side behind it.
    HalfClosed,
}

/// Every way in which an input is played.
const WAYS: [(Edge, Cut); 7] = [
    (Edge::Grants, Cut::Whole),
    (Edge::Challenges, Cut::Whole),
    (Edge::Refuses, Cut::Whole),
    (Edge::Closes, Cut::Whole),
    (Edge::Sleeps, Cut::Whole),
    (Edge::Grants, Cut::Elevens),
    (Edge::Grants, Cut::HalfClosed),
];

pub(crate) fn viewer(data: &[u8]) {
    static CONFIG: LazyLock<Arc<ServerConfig>> = LazyLock::new(|| config(Role::Viewer));
    serve_all(&CONFIG, data);
}

pub(crate) fn broadcaster(data: &[u8]) {
    static CONFIG: LazyLock<Arc<ServerConfig>> = LazyLock::new(|| config(Role::Broadcaster));
    serve_all(&CONFIG, data);
}

fn config(role: Role) -> Arc<ServerConfig> {
    let udp = Some(UdpPorts { rtp: 8000, rtcp: 8001 });
    Arc::new(ServerConfig { udp, ..ServerConfig::new(role) })
}

/// The replay plays an input in all ways. The fuzzer, which counts what is new by input, plays it in the one that the input's
/// last byte names, and comes to the others by changing that byte.
fn serve_all(config: &Arc<ServerConfig>, data: &[u8]) {
    let named = data.last().map_or(0, |byte| usize::from(*byte) % WAYS.len());
    for (at, (edge, cut)) in WAYS.into_iter().enumerate() {
        if cfg!(fuzzing) && at != named {
            continue;
        }
        match cut {
            Cut::Whole => serve(config, edge, data, data.len().max(1)),
            Cut::Elevens => serve(config, edge, data, 11),
            Cut::HalfClosed => half_close(config, edge, data),
        }
    }
}

/// What the edge has seen of one connection.
struct Seen {
    edge: Edge,
    /// Seats (or lines) given and not given back.
    sessions: i32,
    closed: bool,
    answers: Decoder,
}

fn serve(config: &Arc<ServerConfig>, edge: Edge, data: &[u8], piece_bytes: usize) {
    let mut now = Instant::now();
    let mut connection = ServerConnection::new(Arc::clone(config), [7; 32], now);
    let mut seen = Seen { edge, sessions: 0, closed: false, answers: Decoder::default() };
    for piece in data.chunks(piece_bytes) {
        connection.handle_bytes(now, piece);
        seen.drain(&mut connection, now);
        now += Duration::from_millis(300);
    }
    // Left alone, every connection ends by its own deadlines.
    for _ in 0..64 {
        let Some(deadline) = connection.deadline() else { break };
        now = now.max(deadline);
        connection.handle_timeout(now);
        seen.drain(&mut connection, now);
    }
    assert!(
        seen.closed || edge == Edge::Sleeps || connection.deadline().is_none(),
        "an idle connection stays"
    );
    connection.handle_end(Status::SERVICE_UNAVAILABLE, "over");
    seen.drain(&mut connection, now);
    assert!(seen.sessions <= 0, "a seat is not given back");
}

/// A peer that ends its side behind what it says: all is answered, and the connection closed without waiting for anybody.
fn half_close(config: &Arc<ServerConfig>, edge: Edge, data: &[u8]) {
    let now = Instant::now();
    let mut connection = ServerConnection::new(Arc::clone(config), [7; 32], now);
    let mut seen = Seen { edge, sessions: 0, closed: false, answers: Decoder::default() };
    connection.handle_bytes(now, data);
    connection.handle_eof(now);
    seen.drain(&mut connection, now);
    assert!(seen.closed, "a connection that nobody speaks on stays");
    assert!(seen.sessions <= 0, "a seat is not given back");
}

impl Seen {
    /// Takes all outputs. Each input makes few of them: a bound on what one byte of a peer can cause.
    fn drain(&mut self, connection: &mut ServerConnection, now: Instant) {
        for _ in 0..100_000 {
            let Some(output) = connection.poll_output() else { return };
            match output {
                Output::Send(bytes) => self.check_answer(&bytes),
                Output::Ask(ask) => self.answer(connection, now, &ask),
                Output::Event(Event::SessionEnded(_)) => self.sessions -= 1,
                Output::Event(_) => assert!(connection.session().is_some(), "an event without a session"),
                Output::Frame { channel, .. } => {
                    assert!(usize::from(channel) < 2 * slotcast_core::media::TRACKS_MAX, "a foreign channel")
                }
                Output::Close(_) => self.closed = true,
            }
        }
        panic!("outputs without end");
    }

    /// What the server says is RTSP and one whole response.
    fn check_answer(&mut self, bytes: &[u8]) {
        assert!(!self.closed, "an answer after the close");
        self.answers.feed(bytes);
        match self.answers.poll_item() {
            Ok(Some(Item::Response(_))) => {}
            other => panic!("{other:?} in place of a response: {}", String::from_utf8_lossy(bytes)),
        }
        assert_eq!(self.answers.buffered(), 0);
    }

    fn answer(&mut self, connection: &mut ServerConnection, now: Instant, ask: &Ask) {
        let answer = match self.edge {
            Edge::Sleeps => return,
            Edge::Challenges
                if matches!(ask, Ask::Describe { .. } | Ask::Announce { .. } | Ask::Setup { .. }) =>
            {
                Answer::Challenge { stale: false }
            }
            Edge::Refuses => refusal(AfterRefusal::KeepOpen),
            Edge::Closes => refusal(AfterRefusal::Close),
            Edge::Grants | Edge::Challenges => self.grant(ask),
        };
        connection.handle_answer(now, answer);
    }

    fn grant(&mut self, ask: &Ask) -> Answer {
        match ask {
            Ask::Describe { .. } => Answer::Describe(Arc::clone(&STREAM)),
            Ask::Announce { .. } => Answer::Announce { headers: Vec::new() },
            Ask::Setup { .. } => {
                self.sessions += 1;
                Answer::Setup { tracks: 2 }
            }
            Ask::Play => {
                let entry = |track| RtpInfoEntry { track, seq: Some(1), rtptime: Some(2) };
                Answer::Play { rtp_info: vec![entry(0), entry(1)] }
            }
            Ask::Record => Answer::Record { headers: vec![("X-Starts".to_owned(), "now".to_owned())] },
        }
    }
}

fn refusal(then: AfterRefusal) -> Answer {
    Answer::Refuse { status: Status::NOT_ENOUGH_BANDWIDTH, reason: "No seat\r\nis free".to_owned(), then }
}

static STREAM: LazyLock<Arc<Stream>> = LazyLock::new(|| {
    let track = |kind, codec, payload_type| Track {
        kind,
        codec,
        payload_types: vec![payload_type],
        clock_rate: NonZeroU32::new(90_000).expect("not zero"),
    };
    Arc::new(Stream {
        id: StreamId(1),
        program: ProgramId(1),
        tracks: vec![track(MediaKind::Video, Codec::H264, 96), track(MediaKind::Audio, Codec::Audio, 97)],
        description: Description {
            title: "x".to_owned(),
            media: vec![
                "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n".to_owned(),
                "m=audio 0 RTP/AVP 97\r\na=rtpmap:97 opus/48000/2\r\n".to_owned(),
            ],
        },
    })
});

/// Our own client against a hostile server.
pub(crate) fn client_session(data: &[u8]) {
    for piece_bytes in [data.len().max(1), 13] {
        let mut now = Instant::now();
        let config = Arc::new(ClientConfig::new(ClientRole::Watch, "rtsp://127.0.0.1:8554/stage"));
        let mut client = ClientSession::new(config, Vec::new(), now);
        drain_client(&mut client);
        for piece in data.chunks(piece_bytes) {
            client.handle_bytes(now, piece);
            drain_client(&mut client);
            now += Duration::from_millis(300);
        }
        for _ in 0..64 {
            let Some(deadline) = client.deadline() else { break };
            now = now.max(deadline);
            client.handle_timeout(now);
            drain_client(&mut client);
        }
        client.handle_eof();
        drain_client(&mut client);
    }
}

/// What our client sends is well-formed, whatever the server said.
fn drain_client(client: &mut ClientSession) {
    for _ in 0..100_000 {
        match client.poll_output() {
            Some(ClientOutput::Send(bytes)) => {
                let mut decoder = Decoder::default();
                decoder.feed(&bytes);
                while let Some(item) = decoder.poll_item().expect("our own requests are well-formed") {
                    assert!(!matches!(item, Item::Frame { .. }));
                }
                assert_eq!(decoder.buffered(), 0, "half a request: {}", String::from_utf8_lossy(&bytes));
            }
            Some(_) => {}
            None => return,
        }
    }
    panic!("outputs without end");
}
