//! Whole dialogues, as the programs that are out there speak them.

use slotcast_auth::Challenge;
use slotcast_rtsp::{
    message::Response,
    server::{CloseReason, Role, ServerConfig, TrackTransport},
    status::Status,
};

use crate::server_support::{Policy, SDP, Server, UDP, URL, config, session_of};

/// Header lines that a player sends with every request.
struct Player<'a> {
    server: Server,
    user_agent: &'a str,
}

impl Player<'_> {
    #[track_caller]
    fn says(&mut self, method: &str, url: &str, headers: &[(&str, &str)]) -> Response {
        let mut all = vec![("User-Agent", self.user_agent)];
        all.extend(headers);
        self.server.request(method, url, &all, "")
    }

    #[track_caller]
    fn ok(&mut self, method: &str, url: &str, headers: &[(&str, &str)]) -> Response {
        let response = self.says(method, url, headers);
        assert_eq!(response.status, Status::OK, "{method} {url}: {response:?}");
        response
    }
}

fn ffmpeg(server: Server) -> Player<'static> {
    Player { server, user_agent: "Lavf59.27.100" }
}

/// The digest as the programs make it: MD5, from the last challenge that says Digest.
fn md5(response: &Response, method: &str, uri: &str) -> String {
    let challenge =
        response.headers.all("WWW-Authenticate").last().and_then(Challenge::parse).expect("a challenge");
    challenge.respond("viewer", "secret", method, uri, "")
}

const TRACK_0: &str = "rtsp://127.0.0.1:8554/ch/trackID=0";
const TRACK_1: &str = "rtsp://127.0.0.1:8554/ch/trackID=1";
const BASE: &str = "rtsp://127.0.0.1:8554/ch/";

#[test]
fn ffmpeg_watches_over_udp_and_keeps_alive() {
    let mut player = ffmpeg(Server::viewer());
    player.ok("OPTIONS", URL, &[]);
    player.ok("DESCRIBE", URL, &[("Accept", "application/sdp")]);
    let first = player.ok("SETUP", TRACK_0, &[("Transport", "RTP/AVP/UDP;unicast;client_port=23456-23457")]);
    let id = session_of(&first);
    let transport = "RTP/AVP/UDP;unicast;client_port=23458-23459";
    player.ok("SETUP", TRACK_1, &[("Transport", transport), ("Session", &id)]);
    let play = player.ok("PLAY", BASE, &[("Range", "npt=0.000-"), ("Session", &id)]);
    let info = play.headers.get("RTP-Info").unwrap();
    assert!(info.contains(TRACK_0) && info.contains(TRACK_1) && !info.ends_with(';'), "{info}");
    for _ in 0..10 {
        player.server.wait(30);
        player.ok("GET_PARAMETER", BASE, &[("Session", &id)]);
    }
    assert_eq!(
        player.server.transports()[1].1,
        TrackTransport::Udp { client_rtp: 23458, client_rtcp: 23459 }
    );
    player.ok("TEARDOWN", BASE, &[("Session", &id)]);
    assert_eq!(player.server.policy.seats_free, 1);
}

#[test]
fn ffmpeg_falls_back_to_tcp_on_461() {
    let mut player = ffmpeg(Server::with(ServerConfig::new(Role::Viewer), Policy::default()));
    player.ok("OPTIONS", URL, &[]);
    player.ok("DESCRIBE", URL, &[]);
    let refused =
        player.says("SETUP", TRACK_0, &[("Transport", "RTP/AVP/UDP;unicast;client_port=23456-23457")]);
    assert_eq!(refused.status, Status::UNSUPPORTED_TRANSPORT);
    let first = player.ok("SETUP", TRACK_0, &[("Transport", "RTP/AVP/TCP;unicast;interleaved=0-1")]);
    let id = session_of(&first);
    let transport = "RTP/AVP/TCP;unicast;interleaved=2-3";
    player.ok("SETUP", TRACK_1, &[("Transport", transport), ("Session", &id)]);
    player.ok("PLAY", BASE, &[("Range", "npt=0.000-"), ("Session", &id)]);
}

#[test]
fn ffmpegs_fallback_after_silent_udp_plays_on_a_channel_of_one_seat() {
    let mut player = ffmpeg(Server::viewer());
    player.ok("DESCRIBE", URL, &[]);
    let first = player.ok("SETUP", TRACK_0, &[("Transport", UDP)]);
    let ghost = session_of(&first);
    player.ok("PLAY", BASE, &[("Session", &ghost)]);
    player.server.wait(5);
    player.ok("PAUSE", BASE, &[("Session", &ghost)]);
    assert_eq!(player.server.policy.seats_free, 0);
    let again = player.ok("SETUP", TRACK_0, &[("Transport", "RTP/AVP/TCP;unicast;interleaved=0-1")]);
    let id = session_of(&again);
    let transport = "RTP/AVP/TCP;unicast;interleaved=2-3";
    player.ok("SETUP", TRACK_1, &[("Transport", transport), ("Session", &id)]);
    player.ok("PLAY", BASE, &[("Range", "npt=0.000-"), ("Session", &id)]);
    assert_eq!(player.server.policy.seats_free, 0);
    assert_eq!(player.server.events().last().map(String::as_str), Some("Playing"));
}

#[test]
fn ffmpeg_with_a_password_repeats_describe_on_the_same_connection() {
    let mut player =
        ffmpeg(Server::with(config(Role::Viewer), Policy { password: Some("secret"), ..Policy::default() }));
    player.ok("OPTIONS", URL, &[]);
    let refused = player.says("DESCRIBE", URL, &[]);
    assert_eq!(refused.status, Status::UNAUTHORIZED);
    player.ok("DESCRIBE", URL, &[("Authorization", &md5(&refused, "DESCRIBE", URL))]);
    let proof = md5(&refused, "SETUP", TRACK_0);
    let first = player.ok("SETUP", TRACK_0, &[("Transport", UDP), ("Authorization", &proof)]);
    let proof = md5(&refused, "PLAY", BASE);
    player.ok("PLAY", BASE, &[("Session", &session_of(&first)), ("Authorization", &proof)]);
}

#[test]
fn rtspsrc_tries_udp_and_multicast_before_tcp_for_each_stream() {
    let mut player = Player {
        server: Server::with(ServerConfig::new(Role::Viewer), Policy::default()),
        user_agent: "GStreamer/1.22.0",
    };
    player.ok("OPTIONS", URL, &[]);
    player.ok("DESCRIBE", URL, &[("Accept", "application/sdp")]);
    let mut id = None;
    for (track, channels) in [(TRACK_0, "0-1"), (TRACK_1, "2-3")] {
        let session: Vec<(&str, String)> = id.iter().map(|id: &String| ("Session", id.clone())).collect();
        for (transport, status) in [
            ("RTP/AVP;unicast;client_port=41000-41001".to_owned(), 461),
            ("RTP/AVP;multicast".to_owned(), 461),
            (format!("RTP/AVP/TCP;unicast;interleaved={channels}"), 200),
        ] {
            let mut headers = vec![("Transport", transport.as_str())];
            headers.extend(session.iter().map(|(name, id)| (*name, id.as_str())));
            let response = player.says("SETUP", track, &headers);
            assert_eq!(response.status.code(), status, "{transport}");
            if status == 200 {
                id = Some(session_of(&response));
            }
        }
    }
    let id = id.unwrap();
    player.ok("PLAY", BASE, &[("Range", "npt=0-"), ("Session", &id)]);
    // No keep-alive over TCP while media flows: its receiver reports are the signs of life.
    for _ in 0..30 {
        player.server.wait(5);
        player.server.feed(b"$\x01\x00\x08\x81\xc9\x00\x01abcd");
    }
    assert_eq!(player.server.closed, None);
    assert_eq!(player.server.frames.len(), 30);
    player.ok("TEARDOWN", BASE, &[("Session", &id)]);
}

#[test]
fn rtspsrc_gives_up_udp_by_teardown_and_comes_back_over_tcp() {
    let mut player = Player { server: Server::viewer(), user_agent: "GStreamer/1.22.0" };
    player.ok("DESCRIBE", URL, &[]);
    let first = player.ok("SETUP", TRACK_0, &[("Transport", UDP)]);
    player.ok("PLAY", BASE, &[("Session", &session_of(&first))]);
    player.server.wait(5);
    player.ok("TEARDOWN", BASE, &[("Session", &session_of(&first))]);
    assert_eq!(player.server.policy.seats_free, 1);
    player.server.wait(30);
    assert_eq!(player.server.closed, Some(CloseReason::Idle));
}

#[test]
fn vlc_watches_with_a_password_and_keeps_alive_since_public_lists_it() {
    let mut player = Player {
        server: Server::with(config(Role::Viewer), Policy { password: Some("secret"), ..Policy::default() }),
        user_agent: "LibVLC/3.0.20 (LIVE555 Streaming Media v2016.11.28)",
    };
    let public = player.ok("OPTIONS", URL, &[]);
    assert!(public.headers.get("Public").unwrap().contains("GET_PARAMETER"));
    let refused = player.says("DESCRIBE", URL, &[("Accept", "application/sdp")]);
    let headers = [("Authorization", &*md5(&refused, "DESCRIBE", URL)), ("Accept", "application/sdp")];
    player.ok("DESCRIBE", URL, &headers);
    // live555 proves the base for each track.
    let proof = md5(&refused, "SETUP", BASE);
    let headers =
        [("Authorization", proof.as_str()), ("Transport", "RTP/AVP;unicast;client_port=50000-50001")];
    let first = player.ok("SETUP", TRACK_0, &headers);
    let id = session_of(&first);
    assert!(first.headers.get("Transport").unwrap().contains("server_port=8000-8001"));
    let second = [
        ("Authorization", proof.as_str()),
        ("Transport", "RTP/AVP;unicast;client_port=50002-50003"),
        ("Session", &id),
    ];
    player.ok("SETUP", TRACK_1, &second);
    let proof = md5(&refused, "PLAY", BASE);
    player.ok("PLAY", BASE, &[("Authorization", &proof), ("Session", &id), ("Range", "npt=0.000-")]);
    for _ in 0..5 {
        player.server.wait(58);
        let proof = md5(&refused, "GET_PARAMETER", BASE);
        player.ok("GET_PARAMETER", BASE, &[("Authorization", &proof), ("Session", &id)]);
    }
    // live555 answers 405 to what a server asks; nobody minds.
    player.server.feed("RTSP/1.0 405 Method Not Allowed\r\nCSeq: 1\r\n\r\n");
    player.ok("TEARDOWN", BASE, &[("Session", &id)]);
}

#[test]
fn vlc_takes_tcp_for_the_same_track_on_461() {
    let mut player = Player {
        server: Server::with(ServerConfig::new(Role::Viewer), Policy::default()),
        user_agent: "LibVLC/3.0.20 (LIVE555 Streaming Media v2016.11.28)",
    };
    player.ok("DESCRIBE", URL, &[]);
    assert_eq!(player.says("SETUP", TRACK_0, &[("Transport", UDP)]).status, Status::UNSUPPORTED_TRANSPORT);
    let first = player.ok("SETUP", TRACK_0, &[("Transport", "RTP/AVP/TCP;unicast;interleaved=0-1")]);
    assert_eq!(first.headers.get("Transport"), Some("RTP/AVP/TCP;unicast;interleaved=0-1"));
}

/// The publisher's dialogue, over TCP; `control` is the address of track `k`.
#[track_caller]
fn publishes(mut server: Server, url: &str, control: impl Fn(u8) -> String, mode: &str) -> (Server, String) {
    assert_eq!(server.request("OPTIONS", url, &[], "").status, Status::OK);
    let sdp = [("Content-Type", "application/sdp")];
    assert_eq!(server.request("ANNOUNCE", url, &sdp, SDP).status, Status::OK);
    let mut id = String::new();
    for track in 0..2 {
        let transport = format!("RTP/AVP/TCP;unicast;interleaved={}-{};{mode}", 2 * track, 2 * track + 1);
        let mut headers = vec![("Transport", transport.as_str())];
        let named = id.clone();
        if track > 0 {
            headers.push(("Session", &named));
        }
        let response = server.request("SETUP", &control(track), &headers, "");
        assert_eq!(response.status, Status::OK, "{response:?}");
        id = session_of(&response);
    }
    let record = server.request("RECORD", url, &[("Range", "npt=0.000-"), ("Session", &id)], "");
    assert_eq!(record.status, Status::OK);
    assert_eq!(server.events().last().map(String::as_str), Some("Recording"));
    (server, id)
}

#[test]
fn ffmpeg_publishes_without_any_keep_alive() {
    let url = "rtsp://127.0.0.1:8555/ch";
    let (mut server, id) =
        publishes(Server::broadcaster(), url, |track| format!("{url}/streamid={track}"), "mode=record");
    for _ in 0..100 {
        server.wait(5);
        server.feed(b"$\0\0\x04rtp!$\x02\0\x04rtp!");
    }
    assert_eq!(server.frames.len(), 200);
    assert_eq!(server.closed, None);
    assert_eq!(server.request("TEARDOWN", url, &[("Session", &id)], "").status, Status::OK);
}

#[test]
fn ffmpeg_publishes_with_a_token_in_the_address() {
    let policy = Policy { password: Some("x"), ..Policy::default() };
    let server = Server::with(config(Role::Broadcaster), policy);
    let url = "rtsp://127.0.0.1:8555/ch?token=x";
    publishes(server, url, |track| format!("{url}/streamid={track}"), "mode=record");
}

#[test]
fn ffmpeg_publishes_after_401_by_a_second_announce() {
    let policy = Policy { password: Some("secret"), ..Policy::default() };
    let mut server = Server::with(config(Role::Broadcaster), policy);
    let refused = server.request("ANNOUNCE", URL, &[], SDP);
    assert_eq!(refused.status, Status::UNAUTHORIZED);
    let proof = md5(&refused, "ANNOUNCE", URL);
    assert_eq!(server.request("ANNOUNCE", URL, &[("Authorization", &proof)], SDP).status, Status::OK);
    let track = format!("{URL}/streamid=0");
    let headers = [("Transport", UDP), ("Authorization", &*md5(&refused, "SETUP", &track))];
    assert_eq!(server.request("SETUP", &track, &headers, "").status, Status::OK);
    assert_eq!(server.closed, None);
}

#[test]
fn rtspclientsink_publishes_and_leaves_with_pause() {
    let url = "rtsp://127.0.0.1:8555/ch?token=x";
    let track = |track| format!("rtsp://127.0.0.1:8555/ch/stream={track}?token=x");
    let (mut server, id) = publishes(Server::broadcaster(), url, track, "mode=\"RECORD\"");
    server.wait(48);
    assert_eq!(server.request("GET_PARAMETER", url, &[("Session", &id)], "").status, Status::OK);
    assert_eq!(server.request("PAUSE", url, &[("Session", &id)], "").status, Status::OK);
    assert_eq!(server.events().last().map(String::as_str), Some("Paused"));
    server.feed(b"$\0\0\x01x");
    assert_eq!(server.frames.len(), 0);
}
