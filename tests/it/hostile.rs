//! Malformed and hostile input at both listeners of a running server: each line of `tests/hostile/*.toml` with the
//! answer that it must get. After each, the server answers as before; at the end it has not panicked.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::num::NonZeroUsize;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use slotcast::config::Workers;
use slotcast_net::clock;
use slotcast_testing::dialogue::Dialogue;
use slotcast_testing::feeder::{self, Feeder};
use slotcast_testing::players::Lower;
use slotcast_testing::server::{ID, Server, channel};

use crate::stage::{HandClock, Setup};

const SECRET_ID: &str = "uN5sYb8Qe3LkWp6D";

/// How often the server looks at its connections.
const TICK: Duration = Duration::from_millis(100);

/// How long a connection may take to be closed that must be closed, or to be answered that is not.
const CLOSES_WITHIN: Duration = Duration::from_secs(20);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Corpus<T> {
    case: Vec<T>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Transport {
    transport: String,
    answer: u16,
    sent: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Address {
    url: String,
    answer: u16,
    #[serde(default)]
    closes: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    name: String,
    answer: u16,
    sdp: String,
    #[serde(default)]
    raw: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Exchange {
    name: String,
    side: String,
    send: Vec<String>,
    answers: Vec<u16>,
    #[serde(default)]
    closes: bool,
    /// A gate may close after it has refused.
    #[serde(default)]
    may_close: bool,
}

#[track_caller]
fn corpus<T: DeserializeOwned>(text: &str) -> Vec<T> {
    toml::from_str::<Corpus<T>>(text).unwrap_or_else(|error| panic!("{error}")).case
}

/// A source address for each case, so that no budget of one address is used up by another case.
fn source(index: usize) -> Ipv4Addr {
    let [high, low] = u16::try_from(index + 1).unwrap().to_be_bytes();
    Ipv4Addr::new(127, 32, high, low)
}

fn server() -> Server {
    Server::start(&[
        channel("stage", 50),
        channel("secret", 50).reservation_id(SECRET_ID).password("correct-horse"),
    ])
}

/// `{text*N}` becomes N times the text; other braces stay.
fn expand(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, from)) = rest.split_once('{') {
        out.push_str(before);
        let inside = from.split_once('}').and_then(|(inside, after)| {
            let (text, count) = inside.rsplit_once('*')?;
            Some((text.repeat(count.parse().ok()?), after))
        });
        match inside {
            Some((repeated, after)) => {
                out.push_str(&repeated);
                rest = after;
            }
            None => {
                out.push('{');
                rest = from;
            }
        }
    }
    out + rest
}

/// A message of the corpus as bytes.
fn message(text: &str, addresses: &[(&str, &str)]) -> Vec<u8> {
    let mut text = expand(text);
    if let Some(digits) = text.strip_prefix("hex: ") {
        return digits.split_whitespace().map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect();
    }
    for (name, value) in addresses {
        text = text.replace(name, value);
    }
    let mut text = text.replace('\n', "\r\n");
    if !text.contains("\r\n\r\n") {
        text.push_str("\r\n\r\n");
    }
    let body = text.find("\r\n\r\n").map_or(0, |end| text.len() - end - 4);
    text.replace("{length}", &body.to_string()).into_bytes()
}

/// The connection answers OPTIONS.
#[track_caller]
fn check_alive(client: &mut Dialogue, name: &str) {
    client.send_raw(b"OPTIONS * RTSP/1.0\r\nCSeq: 90210\r\n\r\n");
    let reply = client.reply();
    let status = reply.as_ref().map(|reply| reply.status);
    assert_eq!(status, Some(200), "{name}: the connection does not live on: {reply:?}");
}

#[track_caller]
fn check_exchange(address: SocketAddr, host: &str, index: usize, case: &Exchange) {
    let name = format!("{} ({host})", case.name);
    let url = format!("rtsp://{address}/stage");
    let link = format!("{url}?token={ID}");
    let mut session = String::new();
    let mut client = Dialogue::connect_from(source(index), address);
    assert_eq!(case.send.len(), case.answers.len(), "{name}");
    for (text, expected) in case.send.iter().zip(&case.answers) {
        client.send_raw(&message(text, &[("{url}", &url), ("{link}", &link), ("{session}", &session)]));
        if *expected == 0 {
            continue;
        }
        let reply = client.reply_within(CLOSES_WITHIN);
        let reply = reply.unwrap_or_else(|| panic!("{name}: no answer to {text:?}"));
        assert_eq!(reply.status, *expected, "{name}: {text:?}: {reply:#?}");
        if reply.header("Session").is_some() {
            session = reply.session();
        }
    }
    if case.closes {
        assert!(client.closes_within(CLOSES_WITHIN), "{name}: the connection stays open");
    } else if !case.may_close {
        check_alive(&mut client, &name);
    }
}

#[track_caller]
fn check_exchanges(side: &str) {
    let server = server();
    let _feeder = Feeder::start(&server, "stage", Lower::Tcp);
    server.wait_on_air("stage", "");
    let address = if side == "viewers" { server.viewers } else { server.links };
    let cases = corpus::<Exchange>(include_str!("../hostile/requests.toml"));
    let cases: Vec<_> = cases.iter().filter(|case| case.side == side || case.side == "both").collect();
    assert!(cases.len() > 50);
    check_all(&cases, |case| case.name.clone(), |index, case| check_exchange(address, side, index, case));
    check_alive(&mut Dialogue::connect(address), "afterwards");
}

/// Carries out every case and tells of all that failed, not only of the first.
#[track_caller]
fn check_all<T>(cases: &[T], name: impl Fn(&T) -> String, check: impl Fn(usize, &T)) {
    let mut failed = Vec::new();
    for (index, case) in cases.iter().enumerate() {
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(index, case))).is_err() {
            failed.push(name(case));
        }
    }
    assert!(failed.is_empty(), "{} of {} cases: {failed:#?}", failed.len(), cases.len());
}

#[test]
fn requests_at_the_viewers_side_are_answered_as_the_corpus_says() {
    check_exchanges("viewers");
}

#[test]
fn requests_at_the_link_side_are_answered_as_the_corpus_says() {
    check_exchanges("links");
}

#[test]
fn transports_are_answered_as_the_corpus_says() {
    let server = server();
    let _feeder = Feeder::start(&server, "stage", Lower::Tcp);
    server.wait_on_air("stage", "");
    let cases = corpus::<Transport>(include_str!("../hostile/transports.toml"));
    let track = format!("{}/trackID=0", server.watch_url("stage"));
    check_all(
        &cases,
        |case| case.transport.clone(),
        |index, case| {
            let mut client = Dialogue::connect_from(source(index), server.viewers);
            let transport = expand(&case.transport);
            let reply = client.request("SETUP", &track, &[("Transport", &transport)]).expect(case.answer);
            if let Some(sent) = &case.sent {
                let answered = reply.header("Transport").unwrap_or_default();
                assert!(
                    answered.contains(sent.as_str()) && !answered.contains(','),
                    "{transport}: {answered}"
                );
                assert!(!answered.contains("192.0.2."), "{answered}");
            }
            check_alive(&mut client, &transport);
        },
    );
    server.wait_for_viewers("stage", 0);
}

#[test]
fn addresses_are_answered_as_the_corpus_says() {
    let server = server();
    let _feeders = [("stage", ID), ("secret", SECRET_ID)]
        .map(|(name, id)| Feeder::start_as(&server, name, id, Lower::Tcp));
    server.wait_on_air("stage", "");
    server.wait_on_air("secret", "?token=correct-horse");
    let cases = corpus::<Address>(include_str!("../hostile/addresses.toml"));
    check_all(
        &cases,
        |case| case.url.clone(),
        |index, case| {
            let mut client = Dialogue::connect_from(source(index), server.viewers);
            let url = expand(&case.url).replace("{host}", &server.viewers.to_string());
            client.send_raw(format!("DESCRIBE {url} RTSP/1.0\r\nCSeq: 1\r\n\r\n").as_bytes());
            let reply = client.reply().unwrap_or_else(|| panic!("no answer to {url}"));
            assert_eq!(reply.status, case.answer, "{url}: {reply:#?}");
            if case.closes {
                assert!(client.closes_within(CLOSES_WITHIN), "{url}: the connection stays open");
            } else {
                check_alive(&mut client, &url);
            }
        },
    );
}

#[test]
fn descriptions_are_answered_as_the_corpus_says() {
    let server = server();
    let url = format!("rtsp://{}/stage?token={ID}", server.links);
    let cases = corpus::<Description>(include_str!("../hostile/descriptions.toml"));
    check_all(
        &cases,
        |case| case.name.clone(),
        |index, case| {
            let sdp = expand(&case.sdp);
            let sdp = if case.raw { sdp } else { sdp.replace('\n', "\r\n") };
            let mut link = Dialogue::connect_from(source(index), server.links);
            let head = format!(
                "ANNOUNCE {url} RTSP/1.0\r\nCSeq: 1\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n",
                sdp.len()
            );
            link.send_raw(head.as_bytes());
            link.send_raw(sdp.as_bytes());
            let reply = link.reply().unwrap_or_else(|| panic!("no answer to {}", case.name));
            assert_eq!(reply.status, case.answer, "{}: {reply:#?}", case.name);
            assert!(!reply.reason.is_empty());
        },
    );
    check_alive(&mut Dialogue::connect(server.links), "afterwards");
}

/// Datagrams that are no RTP and no RTCP, or not quite.
const DATAGRAMS: &[&[u8]] = &[
    &[],
    &[0x80],
    &[0x80, 0],
    &[0; 11],
    &[0xff; 12],
    &[0xff; 1472],
    &[0x00, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0],
    &[0x8f, 0, 0, 1, 0, 0, 0, 0, 1, 2, 3, 4],
    &[0x90, 0, 0, 1, 0, 0, 0, 0, 1, 2, 3, 4, 0xbe, 0xde, 0xff, 0xff],
    &[0xa0, 0, 0, 1, 0, 0, 0, 0, 1, 2, 3, 4, 0],
    &[0xa0, 0, 0, 1, 0, 0, 0, 0, 1, 2, 3, 4, 255],
    &[0x80, 127, 0, 1, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8],
    &[0x80, 200, 0, 0],
    &[0x80, 200, 0xff, 0xff],
    &[0x80, 200, 0, 6, 1, 2, 3, 4],
    &[0x9f, 200, 0, 6, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    &[0x9f, 201, 0, 1, 1, 2, 3, 4],
    &[0x81, 202, 0, 1, 1, 2, 3, 4],
    &[0x81, 202, 0, 2, 1, 2, 3, 4, 1, 255, 0, 0],
    &[0x9f, 203, 0, 1, 1, 2, 3, 4],
    &[0x81, 203, 0, 2, 1, 2, 3, 4, 255, 0, 0, 0],
    &[0x80, 204, 0, 0],
    &[0x81, 205, 0, 2, 1, 2, 3, 4, 5, 6, 7, 8],
    &[0xce, 0xfa, 0xed, 0xfe],
    b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n",
];

/// A viewer over UDP, by hand: its sockets, the server's ports, and its connection.
struct UdpViewer {
    control: Dialogue,
    rtp: std::net::UdpSocket,
    rtcp: std::net::UdpSocket,
    to: (SocketAddr, SocketAddr),
}

#[track_caller]
fn udp_viewer(server: &Server) -> UdpViewer {
    let mut control = Dialogue::connect(server.viewers);
    let (rtp, rtcp, port) = feeder::udp_pair();
    let transport = format!("RTP/AVP;unicast;client_port={port}-{}", port + 1);
    let url = server.watch_url("stage");
    let setup =
        control.request("SETUP", &format!("{url}/trackID=0"), &[("Transport", &transport)]).expect(200);
    let to = feeder::server_ports(setup.header("Transport").unwrap(), server.viewers.ip());
    control.request("PLAY", &url, &[("Session", &setup.session())]).expect(200);
    rtp.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    UdpViewer { control, rtp, rtcp, to }
}

impl UdpViewer {
    /// So many packets come, of the broadcaster's SSRC only and without a gap.
    #[track_caller]
    fn check_packets(&self, count: usize) {
        let mut packet = [0; 2048];
        let mut last: Option<u16> = None;
        for _ in 0..count {
            let (length, from) = self.rtp.recv_from(&mut packet).expect("RTP");
            assert_eq!(from, self.to.0, "RTP from a port that was not advertised");
            assert!(
                length == 172 && packet[8..12] == feeder::SSRC.to_be_bytes(),
                "{:02x?}",
                &packet[..length]
            );
            let number = u16::from_be_bytes([packet[2], packet[3]]);
            assert!(
                last.is_none_or(|last| number == last.wrapping_add(1)),
                "{last:?} is followed by {number}"
            );
            last = Some(number);
        }
    }
}

#[test]
fn datagrams_of_a_viewer_disturb_nobody() {
    let server = server();
    let _feeder = Feeder::start(&server, "stage", Lower::Udp);
    server.wait_on_air("stage", "");
    let mut viewer = udp_viewer(&server);
    viewer.check_packets(10);
    let (stranger, _neighbour, _) = feeder::udp_pair();
    for datagram in DATAGRAMS {
        for (socket, to) in
            [(&viewer.rtp, viewer.to.0), (&viewer.rtcp, viewer.to.1), (&stranger, viewer.to.1)]
        {
            socket.send_to(datagram, to).unwrap();
        }
    }
    viewer.check_packets(20);
    check_alive(&mut viewer.control, "afterwards");
}

#[test]
fn datagrams_at_the_ingest_ports_reach_no_viewer() {
    let server = server();
    let feeder = Feeder::start(&server, "stage", Lower::Udp);
    server.wait_on_air("stage", "");
    let mut viewer = udp_viewer(&server);
    viewer.check_packets(10);
    let (rtp, rtcp) = feeder.server_ports.unwrap();
    let (stranger, _neighbour, port) = feeder::udp_pair();
    assert_ne!(port, feeder.client_port);
    let well_formed =
        [&[0x80, 0, 0x10, 0x20, 0, 0, 0, 1][..], &feeder::SSRC.to_be_bytes()[..], &[0; 160][..]].concat();
    for datagram in DATAGRAMS.iter().copied().chain([well_formed.as_slice()]) {
        stranger.send_to(datagram, rtp).unwrap();
        stranger.send_to(datagram, rtcp).unwrap();
    }
    viewer.check_packets(20);
    check_alive(&mut viewer.control, "afterwards");
}

#[test]
fn a_session_is_nobodys_but_its_connections() {
    let server = server();
    let _feeder = Feeder::start(&server, "stage", Lower::Tcp);
    server.wait_on_air("stage", "");
    let url = server.watch_url("stage");
    let mut owner = Dialogue::connect(server.viewers);
    let transport = [("Transport", "RTP/AVP/TCP;interleaved=0-1")];
    let session = owner.request("SETUP", &format!("{url}/trackID=0"), &transport).expect(200).session();
    owner.request("PLAY", &url, &[("Session", &session)]).expect(200);
    assert!(session.len() >= 16 && session.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{session}");
    for method in ["PLAY", "PAUSE", "TEARDOWN", "GET_PARAMETER", "SETUP"] {
        let mut thief = Dialogue::connect(server.viewers);
        thief.request(method, &url, &[("Session", &session), transport[0]]).expect(454);
    }
    while owner.frame_within(Duration::ZERO).is_some() {}
    assert!(owner.frame_within(Duration::from_secs(2)).is_some(), "the owner is disturbed");
}

#[test]
fn no_media_comes_before_the_answer_to_play() {
    let server = server();
    let _feeder = Feeder::start(&server, "stage", Lower::Tcp);
    server.wait_on_air("stage", "");
    let url = server.watch_url("stage");
    let mut viewer = Dialogue::connect(server.viewers);
    viewer.send_raw(
        format!(
            "OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\nDESCRIBE {url} RTSP/1.0\r\nCSeq: 2\r\n\r\nSETUP {url}/trackID=0 \
             RTSP/1.0\r\nCSeq: 3\r\nTransport: RTP/AVP/TCP;interleaved=0-1\r\n\r\n"
        )
        .as_bytes(),
    );
    let [_, _, setup] = [1, 2, 3].map(|_| viewer.reply().expect("an answer").expect(200));
    viewer.send_raw(
        format!("PLAY {url} RTSP/1.0\r\nCSeq: 4\r\nSession: {}\r\n\r\n", setup.session()).as_bytes(),
    );
    assert!(viewer.reply().is_some_and(|reply| reply.status == 200 && reply.header("CSeq") == Some("4")));
    assert_eq!(viewer.frames_before_the_last_answer(), 0, "media before the answer");
    assert!(viewer.frame_within(Duration::from_secs(5)).is_some());
}

/// As `printf … | nc -N` does: all requests, then the end of its writing side.
#[test]
fn who_sends_all_at_once_and_no_more_is_answered_all_of_it() {
    let server = server();
    let _feeder = Feeder::start(&server, "stage", Lower::Tcp);
    server.wait_on_air("stage", "");
    let describe = |host: SocketAddr, channel: &str, cseq: u8| {
        format!("DESCRIBE rtsp://{host}/{channel} RTSP/1.0\r\nCSeq: {cseq}\r\n\r\n")
    };
    let options = |cseq: u8| format!("OPTIONS * RTSP/1.0\r\nCSeq: {cseq}\r\n\r\n");
    let check = |host: SocketAddr, text: &str, answers: &[u16]| {
        let mut client = Dialogue::connect(host);
        client.send_raw(text.as_bytes());
        client.finish_sending();
        let told: Vec<_> = std::iter::from_fn(|| client.reply().map(|reply| reply.status)).collect();
        assert_eq!(told, answers, "{host}: {text}");
        assert!(client.closes_within(Duration::from_secs(5)), "{host} keeps it open");
    };
    let viewers = server.viewers;
    check(viewers, &options(1), &[200]);
    let burst = [options(1), describe(viewers, "stage", 2), describe(viewers, "secret", 3), options(4)];
    check(viewers, &burst.concat(), &[200, 200, 401, 200]);
    // A wrong password is answered late.
    check(viewers, &(describe(viewers, "secret?token=wrong", 1) + &options(2)), &[401, 200]);
    // A seat is taken and given back in the same breath.
    let setup = format!(
        "SETUP rtsp://{viewers}/stage/trackID=0 RTSP/1.0\r\nCSeq: 2\r\nTransport: RTP/AVP/TCP;interleaved=0-1\r\n\r\n"
    );
    check(viewers, &(options(1) + &setup + &options(3)), &[200, 200, 200]);
    assert_eq!(server.viewers_of("stage"), 0);
    check(server.links, &(options(1) + &describe(server.links, "stage", 2)), &[200, 405]);
}

/// The server takes two more turns at least: it answers somebody who comes anew, and again somebody.
#[track_caller]
fn take_turns(address: SocketAddr) {
    for _ in 0..2 {
        check_alive(&mut Dialogue::connect(address), "somebody else");
    }
}

#[track_caller]
fn check_open(client: &mut Dialogue, address: SocketAddr) {
    take_turns(address);
    assert!(!client.closes_within(Duration::from_millis(1)), "closed too soon");
}

/// Lets time pass until the connection is closed, and says how much that was. The server looks at a tenth of its
/// connections every 100 ms, so a second is enough; half of one more is for a close that is still on its way.
#[track_caller]
fn closed_after(client: &mut Dialogue, address: SocketAddr, hand: &HandClock, what: &str) -> Duration {
    for step in 1..=15 {
        hand.pass(TICK);
        take_turns(address);
        if client.closes_within(Duration::from_millis(1)) {
            return TICK * step;
        }
    }
    panic!("{what} stays open");
}

/// A first byte is due after 5 s, a whole header after 10 s. The server's clock stands but for what the test adds.
#[test]
fn silent_and_slow_connections_are_closed_in_time() {
    let hand = HandClock::standing();
    let start = clock::system()().wall;
    let mut config = Setup::default().config(start);
    // One worker takes its connections in the order in which they come.
    config.viewers.workers = Workers::Fixed(NonZeroUsize::MIN);
    let server = slotcast::serve::Server::start(config, hand.clock(start)).unwrap();
    for address in [server.addresses().viewers, server.addresses().links[0]] {
        let mut silent = Dialogue::connect(address);
        let mut slow = Dialogue::connect(address);
        slow.send_raw(b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\nX");
        check_open(&mut silent, address);
        hand.pass(Duration::from_millis(4_900));
        check_open(&mut silent, address);
        let after = closed_after(&mut silent, address, &hand, "a silent connection");
        hand.pass(Duration::from_secs(5) - after);
        check_open(&mut slow, address);
        closed_after(&mut slow, address, &hand, "a slow header");
    }
    assert!(server.shutdown());
}

#[test]
fn two_hundred_strangers_do_not_keep_a_broadcaster_out() {
    let server = Server::start(&[channel("stage", 4)]);
    let mut strangers: Vec<_> = (0..200).map(|_| TcpStream::connect(server.links).ok()).collect();
    for stranger in strangers.iter_mut().flatten().step_by(2) {
        let _ = stranger.write_all(b"ANNOUNCE rtsp://127.0.0.1/stage RTSP/1.0\r\nCSeq: 1\r\n");
    }
    let _feeder = Feeder::start(&server, "stage", Lower::Tcp);
    server.wait_on_air("stage", "");
}
