//! What VLC (live555) says and checks, written by hand where the real library (`tests/players/live555.rs`) cannot look or lead: each header, and the
//! fall back to TCP. And the forms of address that players make of one stream's address.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use slotcast_testing::dialogue::{Dialogue, Reply, digest};
use slotcast_testing::server::channel;

use crate::stage::on_air;

const VLC: &str = "LibVLC/3.0.21 (LIVE555 Streaming Media v2024.05.30)";
const PASSWORD: &str = "correct-horse";
const RECEIVER_REPORT: [u8; 8] = [0x80, 201, 0, 1, 0xca, 0xfe, 0xba, 0xbe];
const GOODBYE: [u8; 8] = [0x81, 203, 0, 1, 0xca, 0xfe, 0xba, 0xbe];

/// What VLC knows after its DESCRIBE.
struct Described {
    sdp: String,
    base: String,
    challenge: Option<Reply>,
}

/// OPTIONS and DESCRIBE as VLC does: on 401 once more with MD5.
#[track_caller]
fn describe(vlc: &mut Dialogue, url: &str, password: Option<&str>) -> Described {
    let options = vlc.request("OPTIONS", url, &[]).expect(200);
    let public = options.header("Public").unwrap_or_default().to_owned();
    assert!(
        public.contains("GET_PARAMETER"),
        "VLC keeps alive by GET_PARAMETER only if it is listed: {public}"
    );
    let mut reply = vlc.request("DESCRIBE", url, &[("Accept", "application/sdp")]);
    let mut challenge = None;
    if let Some(password) = password {
        let asked = challenge.insert(reply.expect(401));
        let authorization = digest(asked, "anyone", password, "DESCRIBE", url);
        let headers = [("Authorization", authorization.as_str()), ("Accept", "application/sdp")];
        reply = vlc.request("DESCRIBE", url, &headers);
    }
    let reply = reply.expect(200);
    assert_eq!(reply.header("Content-Type"), Some("application/sdp"));
    let base = reply.header("Content-Base").expect("a Content-Base").to_owned();
    assert!(base.ends_with('/'), "{base}");
    Described { sdp: reply.body, base, challenge }
}

/// The absolute URL of each track, as a client resolves `a=control`.
#[track_caller]
fn controls(sdp: &str, base: &str) -> Vec<String> {
    let tracks = sdp.split("m=").skip(1);
    let controls = tracks
        .map(|track| track.lines().find_map(|line| line.strip_prefix("a=control:")).expect("a control"));
    controls
        .map(
            |control| {
                if control.starts_with("rtsp://") { control.to_owned() } else { format!("{base}{control}") }
            },
        )
        .collect()
}

/// A pair of UDP ports as live555 opens it.
struct Ports {
    rtp: UdpSocket,
    rtcp: UdpSocket,
    first: u16,
}

#[track_caller]
fn ports() -> Ports {
    let start = 30_000 + u16::try_from(std::process::id() % 10_000).unwrap() * 2;
    let pair = (start..start + 2_000).step_by(2).find_map(|first| {
        let rtp = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, first)).ok()?;
        let rtcp = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, first + 1)).ok()?;
        rtp.set_read_timeout(Some(Duration::from_secs(6))).unwrap();
        rtcp.set_read_timeout(Some(Duration::from_secs(6))).unwrap();
        Some(Ports { rtp, rtcp, first })
    });
    pair.expect("a free pair of ports")
}

/// The value of `name=` in a Transport header.
#[track_caller]
fn transport_value(reply: &Reply, name: &str) -> String {
    let transport = reply.header("Transport").expect("a Transport").to_owned();
    let value = transport
        .split(';')
        .find_map(|part| part.trim().strip_prefix(&format!("{name}=")).map(str::to_owned));
    value.unwrap_or_else(|| panic!("no {name} in {transport}"))
}

/// (seq, rtptime) of each entry of RTP-Info, whose URLs must be those of the SETUPs.
#[track_caller]
fn rtp_info(reply: &Reply, urls: &[String]) -> Vec<(u16, u32)> {
    let header = reply.header("RTP-Info").expect("an RTP-Info").to_owned();
    assert!(!header.ends_with(';'), "{header}");
    let entries: Vec<&str> = header.split(',').map(str::trim).collect();
    assert_eq!(entries.len(), urls.len(), "{header}");
    let value = |entry: &str, name: &str| -> u32 {
        let value = entry.split(';').find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='));
        value.unwrap_or_else(|| panic!("no {name} in {entry}")).parse().unwrap()
    };
    for (entry, url) in entries.iter().zip(urls) {
        assert!(entry.contains(&format!("url={url}")), "{entry} is not about {url}");
    }
    entries
        .iter()
        .map(|entry| (u16::try_from(value(entry, "seq")).unwrap(), value(entry, "rtptime")))
        .collect()
}

fn sequence_and_timestamp(packet: &[u8]) -> (u16, u32) {
    let word = u32::from_be_bytes(packet[4..8].try_into().unwrap());
    (u16::from_be_bytes([packet[2], packet[3]]), word)
}

/// The first packet is the one that RTP-Info promised. All tracks may be given one starting time; then it lies before
/// the first packet of each, and by less than a second.
#[track_caller]
fn check_start(first: (u16, u32), promised: (u16, u32)) {
    assert_eq!(first.0, promised.0, "another packet than was promised");
    let ticks = first.1.wrapping_sub(promised.1).cast_signed();
    assert!((0..90_000).contains(&ticks), "the first packet lies {ticks} ticks behind its rtptime");
}

/// VLC over UDP: two SETUPs with the Session of the first, punches, PLAY, keep-alive, reports, goodbye, TEARDOWN.
#[track_caller]
fn check_udp(password: Option<&'static str>) {
    let stage = channel("stage", 1);
    let (server, _publisher) = on_air(match password {
        Some(password) => stage.password(password),
        None => stage,
    });
    let url = server.watch_url("stage");
    let mut vlc = Dialogue::connect(server.viewers);
    vlc.user_agent = VLC;
    let Described { sdp, base, challenge } = describe(&mut vlc, &url, password);
    let tracks = controls(&sdp, &base);
    assert_eq!(tracks.len(), 2, "{sdp}");

    let mut session = String::new();
    let mut sockets = Vec::new();
    for track in &tracks {
        let ports = ports();
        let transport = format!("RTP/AVP;unicast;client_port={}-{}", ports.first, ports.first + 1);
        // live555 signs the stream's base in place of the track's address.
        let authorization = challenge
            .as_ref()
            .map(|challenge| digest(challenge, "anyone", password.unwrap_or_default(), "SETUP", &base));
        let mut headers = vec![("Transport", transport.as_str())];
        headers.extend(authorization.as_deref().map(|authorization| ("Authorization", authorization)));
        if !session.is_empty() {
            headers.push(("Session", session.as_str()));
        }
        let reply = vlc.request("SETUP", track, &headers).expect(200);
        assert_eq!(transport_value(&reply, "client_port"), format!("{}-{}", ports.first, ports.first + 1));
        assert!(reply.header("Session").unwrap().contains(";timeout=60"), "{reply:#?}");
        let server_port = transport_value(&reply, "server_port");
        let (rtp, rtcp) = server_port.split_once('-').expect("a pair of server ports");
        for (socket, port) in [(&ports.rtp, rtp), (&ports.rtcp, rtcp)] {
            let to = SocketAddr::new(server.viewers.ip(), port.parse().unwrap());
            for _ in 0..2 {
                socket.send_to(&[0xce, 0xfa, 0xed, 0xfe], to).unwrap();
            }
        }
        session = reply.session();
        sockets.push((ports, SocketAddr::new(server.viewers.ip(), rtcp.parse().unwrap())));
    }

    let play = vlc.request("PLAY", &base, &[("Session", &session), ("Range", "npt=0.000-")]).expect(200);
    assert_eq!(play.header("Range"), Some("npt=now-"), "{play:#?}");
    for ((ports, rtcp), (sequence_number, timestamp)) in sockets.iter().zip(rtp_info(&play, &tracks)) {
        let mut packet = [0; 2_048];
        let (length, from) = ports.rtp.recv_from(&mut packet).expect("RTP");
        assert_eq!(from.port() + 1, rtcp.port(), "RTP leaves from the advertised port");
        check_start(sequence_and_timestamp(&packet[..length]), (sequence_number, timestamp));
        let (length, from) = ports.rtcp.recv_from(&mut packet).expect("a sender report");
        assert_eq!((packet[1], from), (200, *rtcp), "{:?}", &packet[..length]);
        ports.rtcp.send_to(&RECEIVER_REPORT, rtcp).unwrap();
    }
    vlc.request("GET_PARAMETER", &base, &[("Session", &session)]).expect(200);
    for (ports, rtcp) in &sockets {
        ports.rtcp.send_to(&GOODBYE, rtcp).unwrap();
    }
    vlc.request("TEARDOWN", &base, &[("Session", &session)]).expect(200);
    server.wait_for_viewers("stage", 0);
}

#[test]
fn a_dialogue_like_vlcs_watches_over_udp() {
    check_udp(None);
}

#[test]
fn a_dialogue_like_vlcs_watches_over_udp_with_a_password() {
    check_udp(Some(PASSWORD));
}

/// VLC after ten seconds without UDP: TEARDOWN, a new connection, and all again over TCP, on the only seat.
#[test]
fn a_dialogue_like_vlcs_gives_up_udp_and_comes_back_over_tcp() {
    let (server, _publisher) = on_air(channel("stage", 1));
    let url = server.watch_url("stage");
    let mut first = Dialogue::connect(server.viewers);
    first.user_agent = VLC;
    let Described { sdp, base, .. } = describe(&mut first, &url, None);
    let tracks = controls(&sdp, &base);
    let ports = ports();
    let transport = format!("RTP/AVP;unicast;client_port={}-{}", ports.first, ports.first + 1);
    let session = first.request("SETUP", &tracks[0], &[("Transport", &transport)]).expect(200).session();
    first.request("TEARDOWN", &base, &[("Session", &session)]).expect(200);

    let mut vlc = Dialogue::connect(server.viewers);
    vlc.user_agent = VLC;
    let Described { base, .. } = describe(&mut vlc, &url, None);
    let session = setup_tcp(&mut vlc, &tracks);
    let play = vlc.request("PLAY", &base, &[("Session", &session), ("Range", "npt=0.000-")]).expect(200);
    let starts = rtp_info(&play, &tracks);
    let mut first_packets = [None; 4];
    let deadline = Instant::now() + Duration::from_secs(10);
    while first_packets.iter().any(Option::is_none) && Instant::now() < deadline {
        let (channel, packet) = vlc.frame_within(Duration::from_secs(6)).expect("a frame");
        first_packets[usize::from(channel)].get_or_insert_with(|| sequence_and_timestamp(&packet));
    }
    check_start(first_packets[0].unwrap(), starts[0]);
    check_start(first_packets[2].unwrap(), starts[1]);
    assert!(first_packets[1].is_some() && first_packets[3].is_some(), "no sender report for each track");
    vlc.request("GET_PARAMETER", &base, &[("Session", &session)]).expect(200);
    vlc.request("TEARDOWN", &base, &[("Session", &session)]).expect(200);
    server.wait_for_viewers("stage", 0);
}

/// SETUP of each track over TCP, channels 0-1, 2-3, …; returns the session.
#[track_caller]
fn setup_tcp(client: &mut Dialogue, tracks: &[String]) -> String {
    let mut session = String::new();
    for (index, track) in tracks.iter().enumerate() {
        let channels = format!("{}-{}", 2 * index, 2 * index + 1);
        let transport = format!("RTP/AVP/TCP;unicast;interleaved={channels}");
        let mut headers = vec![("Transport", transport.as_str())];
        if !session.is_empty() {
            headers.push(("Session", session.as_str()));
        }
        let reply = client.request("SETUP", track, &headers).expect(200);
        assert_eq!(transport_value(&reply, "interleaved"), channels);
        session = reply.session();
    }
    session
}

/// Each pair of stream and track addresses that some player makes is played.
#[track_caller]
fn check_address(password: Option<&'static str>, stream: &str, track: &str) {
    let stage = channel("stage", 1);
    let (server, _publisher) = on_air(match password {
        Some(password) => stage.password(password),
        None => stage,
    });
    let stream = server.watch_url(stream);
    let track = server.watch_url(track);
    let mut client = Dialogue::connect(server.viewers);
    client.request("DESCRIBE", &stream, &[("Accept", "application/sdp")]).expect(200);
    let session = setup_tcp(&mut client, &[track]);
    client.request("PLAY", &stream, &[("Session", &session)]).expect(200);
    let (channel, _) = client.frame_within(Duration::from_secs(5)).expect("a frame");
    assert!(channel < 2);
}

#[test]
fn a_track_is_found_under_track_id() {
    check_address(None, "stage", "stage/trackID=0");
}

#[test]
fn a_track_is_found_under_stream_id() {
    check_address(None, "stage", "stage/streamid=1");
}

#[test]
fn a_track_is_found_under_stream() {
    check_address(None, "stage/", "stage/stream=0");
}

#[test]
fn a_track_is_found_after_the_query() {
    check_address(Some(PASSWORD), "stage?token=correct-horse", "stage?token=correct-horse/trackID=0");
}

#[test]
fn a_track_is_found_before_the_query() {
    check_address(Some(PASSWORD), "stage?token=correct-horse", "stage/trackID=0?token=correct-horse");
}

#[test]
fn a_track_is_found_with_a_slash_at_the_end() {
    check_address(None, "stage", "stage/trackID=0/");
}

#[test]
fn the_sdp_of_an_address_with_a_query_has_absolute_controls_that_keep_it() {
    let (server, _publisher) = on_air(channel("stage", 1).password(PASSWORD));
    let url = format!("{}?token={PASSWORD}", server.watch_url("stage"));
    let mut client = Dialogue::connect(server.viewers);
    let reply = client.request("DESCRIBE", &url, &[("Accept", "application/sdp")]).expect(200);
    for track in controls(&reply.body, "relative:") {
        assert!(track.starts_with("rtsp://") && track.contains(&format!("?token={PASSWORD}")), "{track}");
    }
}
