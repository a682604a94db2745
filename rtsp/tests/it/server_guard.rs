//! Proofs (rule 12), deadlines and the end of what a peer says: what a connection must show, and by when.

use std::sync::Arc;

use slotcast_auth::Challenge;
use slotcast_rtsp::{
    message::Response,
    server::{Answer, CloseReason, Role, ServerConfig},
    status::Status,
};

use crate::server_support::{Policy, SDP, Server, TCP, URL, config, stream};

fn guarded(role: Role) -> Server {
    Server::with(config(role), Policy { password: Some("secret"), ..Policy::default() })
}

/// The proof that meets the last (`md5`) or the strongest challenge of `response`.
fn proof(response: &Response, md5: bool, password: &str, method: &str, uri: &str) -> String {
    let challenge = if md5 {
        response.headers.all("WWW-Authenticate").last().and_then(Challenge::parse)
    } else {
        Challenge::strongest(response.headers.all("WWW-Authenticate"))
    };
    challenge.expect("a challenge").respond("anyone", password, method, uri, "c")
}

#[test]
fn r12_sha_256_comes_first_md5_last_realm_then_nonce_and_no_qop() {
    let response = guarded(Role::Viewer).request("DESCRIBE", URL, &[], "");
    let challenges: Vec<&str> = response.headers.all("WWW-Authenticate").collect();
    assert_eq!(challenges.len(), 2, "{challenges:?}");
    assert!(challenges[0].contains("SHA-256"));
    assert!(
        challenges[1].starts_with("Digest realm=\"slotcast\", nonce=\"")
            && !challenges[1].contains("algorithm")
    );
    assert!(!challenges.concat().contains("qop"));
}

#[test]
fn r12_basic_is_offered_only_where_it_is_on() {
    for (basic, status) in [(true, Status::OK), (false, Status::UNAUTHORIZED)] {
        let config = ServerConfig { basic, ..config(Role::Viewer) };
        let mut server = Server::with(config, Policy { password: Some("secret"), ..Policy::default() });
        let response = server.request("DESCRIBE", URL, &[], "");
        assert_eq!(response.headers.all("WWW-Authenticate").any(|c| c.starts_with("Basic")), basic);
        let response = server.request("DESCRIBE", URL, &[("Authorization", "Basic dTpzZWNyZXQ=")], "");
        assert_eq!(response.status, status);
    }
}

#[test]
fn r12_either_digest_opens_describe_and_setup() {
    for md5 in [true, false] {
        let mut server = guarded(Role::Viewer);
        let challenge = server.request("DESCRIBE", URL, &[], "");
        let right = proof(&challenge, md5, "secret", "DESCRIBE", URL);
        assert_eq!(server.request("DESCRIBE", URL, &[("Authorization", &right)], "").status, Status::OK);
        // VLC proves the stream's base for the track.
        let track = format!("{URL}/trackID=0");
        let right = proof(&challenge, md5, "secret", "SETUP", &format!("{URL}/"));
        let headers = [("Authorization", right.as_str()), ("Transport", TCP)];
        assert_eq!(server.request("SETUP", &track, &headers, "").status, Status::OK);
    }
}

#[test]
fn r12_a_token_in_the_address_opens_too() {
    let mut server = guarded(Role::Viewer);
    let url = format!("{URL}?token=secret");
    assert_eq!(server.request("DESCRIBE", &url, &[], "").status, Status::OK);
    let track = format!("{URL}/trackID=0?token=secret");
    assert_eq!(server.request("SETUP", &track, &[("Transport", TCP)], "").status, Status::OK);
}

#[test]
fn r12_nonces_expire_and_a_stale_one_is_not_counted() {
    let mut server = guarded(Role::Viewer);
    let mut challenge = server.request("DESCRIBE", URL, &[], "");
    for _ in 0..5 {
        for _ in 0..3 {
            server.wait(25);
            server.request("OPTIONS", "*", &[], "");
        }
        let old = proof(&challenge, true, "secret", "DESCRIBE", URL);
        challenge = server.request("DESCRIBE", URL, &[("Authorization", &old)], "");
        assert_eq!(challenge.status, Status::UNAUTHORIZED);
        assert!(challenge.headers.all("WWW-Authenticate").all(|c| c.contains("stale=true")));
    }
    let fresh = proof(&challenge, true, "secret", "DESCRIBE", URL);
    assert_eq!(server.request("DESCRIBE", URL, &[("Authorization", &fresh)], "").status, Status::OK);
}

#[test]
fn three_wrong_proofs_close_and_missing_ones_do_not_count() {
    let mut server = guarded(Role::Viewer);
    for _ in 0..5 {
        assert_eq!(server.request("DESCRIBE", URL, &[], "").status, Status::UNAUTHORIZED);
    }
    for attempt in 1..=3 {
        assert_eq!(server.closed, None);
        let challenge = server.request("DESCRIBE", URL, &[], "");
        let wrong = proof(&challenge, true, "guess", "DESCRIBE", URL);
        let response = server.request("DESCRIBE", URL, &[("Authorization", &wrong)], "");
        assert_eq!(response.status, Status::UNAUTHORIZED, "{attempt}");
    }
    assert_eq!(server.closed, Some(CloseReason::WrongProofs));
}

#[test]
fn wrong_tokens_count_as_proofs_of_broadcasters_too() {
    let mut server = guarded(Role::Broadcaster);
    for _ in 0..3 {
        server.request("ANNOUNCE", &format!("{URL}?token=guess"), &[], SDP);
    }
    assert_eq!(server.closed, Some(CloseReason::WrongProofs));
}

#[track_caller]
fn closes_after(seconds: u64, bytes: &str, reason: CloseReason) {
    let mut server = Server::viewer();
    server.feed(bytes);
    server.wait(seconds - 1);
    assert_eq!(server.closed, None, "{bytes:?}");
    server.wait(1);
    assert_eq!(server.closed, Some(reason), "{bytes:?}");
    assert_eq!(server.connection.deadline(), None);
}

#[test]
fn every_deadline_closes_in_its_time() {
    closes_after(5, "", CloseReason::FirstByteLate);
    closes_after(10, "O", CloseReason::HeaderLate);
    closes_after(10, "OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n", CloseReason::HeaderLate);
    closes_after(10, "$\0\0\x05a", CloseReason::HeaderLate);
    closes_after(
        10,
        "GET_PARAMETER * RTSP/1.0\r\nCSeq: 1\r\nContent-Length: 5\r\n\r\nabcd",
        CloseReason::BodyLate,
    );
    closes_after(30, "OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n", CloseReason::Idle);
    closes_after(30, "\r\n", CloseReason::Idle);
}

#[test]
fn dripping_bytes_buy_no_time() {
    let mut server = Server::viewer();
    for _ in 0..10 {
        server.feed("O");
        assert_eq!(server.closed, None);
        server.wait(1);
    }
    assert_eq!(server.closed, Some(CloseReason::HeaderLate));
}

#[test]
fn a_body_has_its_own_time_and_the_next_message_too() {
    let mut server = Server::viewer();
    server.feed("GET_PARAMETER * RTSP/1.0\r\nCSeq: 1\r\n");
    server.wait(9);
    server.feed("Content-Length: 2\r\n\r\n");
    server.wait(9);
    server.feed("abOPT");
    server.wait(9);
    assert_eq!(server.closed, None);
    server.wait(1);
    assert_eq!(server.closed, Some(CloseReason::HeaderLate));
}

#[test]
fn a_broadcaster_that_stalls_within_a_packet_has_as_long_as_between_two() {
    let mut server = Server::broadcaster();
    server.start("RECORD");
    server.feed(b"$\0\x04\0half a packet");
    server.wait(64);
    assert_eq!(server.closed, None);
    server.wait(1);
    assert!(server.closed.is_some());
}

#[test]
fn an_answer_that_takes_its_time_is_not_the_peers_fault() {
    let mut server = Server::viewer();
    server.policy.hold_all = true;
    assert!(server.try_request("DESCRIBE", URL, &[], "").is_none());
    server.wait(300);
    assert_eq!(server.closed, None);
    server.policy.hold_all = false;
    server.handle_answer(crate::server_support::refuse(Status::NOT_FOUND, "nothing"));
    server.wait(30);
    assert_eq!(server.closed, Some(CloseReason::Idle));
}

#[test]
fn hostile_bytes_are_answered_and_closed() {
    for (bytes, status) in [
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("\x16\x03\x01\x02\0".to_owned(), 400),
        (format!("OPTIONS rtsp://h/{}", "a".repeat(3000)), 414),
        (format!("OPTIONS rtsp://h/{} RTSP/1.0\r\n", "a".repeat(3000)), 414),
        (format!("OPTIONS * RTSP/1.0\r\nX: {}\r\n", "a".repeat(3000)), 400),
        (format!("OPTIONS * RTSP/1.0\r\n{}\r\n", "X: y\r\n".repeat(65)), 400),
        ("OPTIONS * RTSP/1.0\r\nCSeq: 1\r\nContent-Length: -1\r\n\r\n".to_owned(), 400),
        ("OPTIONS * RTSP/1.0\r\nCSeq: 1\r\nContent-Length: 65537\r\n\r\n".to_owned(), 413),
    ] {
        let mut server = Server::viewer();
        server.feed(&bytes);
        assert_eq!(server.responses()[0].status.code(), status, "{}", &bytes[..20.min(bytes.len())]);
        assert_eq!(server.closed, Some(CloseReason::Malformed));
    }
}

#[test]
fn an_answer_to_another_question_ends_the_connection_and_gives_back() {
    let mut server = Server::viewer();
    server.policy.hold_all = true;
    server.try_request("SETUP", &format!("{URL}/trackID=0"), &[("Transport", TCP)], "");
    let wrong = server.play_answer();
    server.handle_answer(wrong);
    assert_eq!(server.closed, Some(CloseReason::Misuse));
    assert_eq!(server.responses()[0].status.code(), 500);
    assert_eq!(server.events(), ["ask Setup", "SessionEnded(SetupRefused)", "Close(Misuse)"]);
}

#[test]
fn tokens_do_not_appear_in_debug() {
    let mut server = guarded(Role::Viewer);
    let track = format!("{URL}/trackID=0?token=secret");
    let setup = format!("SETUP {track} RTSP/1.0\r\nCSeq: 1\r\nTransport: {TCP}\r\n\r\n");
    server.connection.handle_bytes(server.now, setup.as_bytes());
    let shown = format!("{:?}", server.connection.poll_output().unwrap());
    assert!(shown.starts_with("Ask(Setup") && shown.contains("trackID=0"), "{shown}");
    assert!(!shown.contains("secret"), "{shown}");
}

// The end of what the peer says.

#[test]
fn who_has_said_all_gets_every_answer_and_then_the_close() {
    let mut server = Server::viewer();
    server.policy.hold_all = true;
    let two = format!(
        "DESCRIBE {URL} RTSP/1.0\r\nCSeq: 1\r\n\r\nOPTIONS * RTSP/1.0\r\nCSeq: 2\r\n\r\n\
         SETUP {URL}/trackID=0 RTSP/1.0\r\nCSeq: 3\r\nTransport: {TCP}\r\n\r\nPLAY rtsp"
    );
    server.feed(two);
    server.connection.handle_eof(server.now);
    server.drain();
    assert_eq!((server.responses().len(), server.closed), (0, None), "the edge has the word");
    server.policy.hold_all = false;
    server.handle_answer(Answer::Describe(Arc::new(stream(2))));
    let answers = server.responses();
    let all: Vec<_> = answers.iter().map(|r| (r.cseq().unwrap(), r.status)).collect();
    assert_eq!(all, [("1", Status::OK), ("2", Status::OK), ("3", Status::OK)]);
    assert_eq!(server.closed, Some(CloseReason::PeerDone));
    assert_eq!(server.policy.seats_free, 1, "the seat was given back");
}

#[test]
fn who_has_said_all_while_it_plays_has_no_session_any_more() {
    let mut server = Server::viewer();
    server.start("PLAY");
    server.events();
    server.connection.handle_eof(server.now);
    server.drain();
    assert_eq!(server.events(), ["SessionEnded(ConnectionClosed)", "Close(PeerDone)"]);
    assert_eq!(server.connection.deadline(), None);
}

#[test]
fn a_play_that_waits_ends_with_what_the_peer_says() {
    let mut server = Server::viewer();
    server.policy.hold_start = true;
    let id = server.set_up(&format!("{URL}/trackID=0"), TCP);
    server.try_request("PLAY", URL, &[("Session", &id)], "");
    server.connection.handle_eof(server.now);
    server.drain();
    assert_eq!(server.responses()[0].status, Status::SESSION_NOT_FOUND);
    assert_eq!((server.closed, server.policy.seats_free), (Some(CloseReason::PeerDone), 1));
}
