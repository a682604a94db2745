//! The rules for viewers and broadcasters, one or more cases each: bytes in, bytes out.

use std::{collections::HashSet, net::SocketAddr};

use slotcast_rtsp::{
    server::{
        AfterRefusal, Answer, CloseReason, Event, Output, Role, RtpInfoEntry, ServerConfig, SessionEnd,
        TrackTransport,
    },
    status::Status,
};

use crate::server_support::{Policy, SDP, Server, TCP, UDP, URL, config, refuse, session_of};

#[track_caller]
fn setup_status(config: ServerConfig, transport: &str) -> (Status, Option<String>) {
    let mut server = Server::with(config, Policy::default());
    let response = server.request("SETUP", &format!("{URL}/trackID=0"), &[("Transport", transport)], "");
    assert_eq!(server.closed, None);
    (response.status, response.headers.get("Transport").map(str::to_owned))
}

#[track_caller]
fn taken(transport: &str, answered: &str) {
    let (status, answer) = setup_status(config(Role::Viewer), transport);
    assert_eq!((status, answer.as_deref()), (Status::OK, Some(answered)), "{transport}");
}

// Rule 1: transports.

#[test]
fn r1_the_first_supported_transport_is_taken_and_exactly_one_answered() {
    let udp = "RTP/AVP;unicast;client_port=5000-5001;server_port=8000-8001";
    taken("RTP/AVP;unicast;client_port=5000-5001,RTP/AVP/TCP;interleaved=0-1", udp);
    taken("RTP/AVP;multicast,RTP/SAVP;client_port=1-2,RTP/AVP/UDP;client_port=5000-5001", udp);
    taken("rtp/avp/tcp;Interleaved=0-1,RTP/AVP;client_port=5000-5001", "RTP/AVP/TCP;unicast;interleaved=0-1");
    taken("RTP/AVP;client_port=5000-5001;destination=9.9.9.9;source=8.8.8.8;ttl=3", udp);
}

#[test]
fn r1_odd_high_and_missing_channel_numbers_are_taken() {
    taken("RTP/AVP/TCP;unicast;interleaved=7-8", "RTP/AVP/TCP;unicast;interleaved=7-8");
    taken("RTP/AVP/TCP;unicast;interleaved=254-255", "RTP/AVP/TCP;unicast;interleaved=254-255");
    taken("RTP/AVP/TCP", "RTP/AVP/TCP;unicast;interleaved=0-1");
}

#[test]
fn r1_unknown_multicast_and_udp_where_it_is_off_are_461() {
    let unsupported = (Status::UNSUPPORTED_TRANSPORT, None);
    for transport in
        ["RTP/AVP;multicast", "RTP/SAVP;client_port=5000-5001", "nonsense", "RAW/RAW/UDP;client_port=1-2"]
    {
        assert_eq!(setup_status(config(Role::Viewer), transport), unsupported, "{transport}");
    }
    assert_eq!(setup_status(ServerConfig::new(Role::Viewer), UDP), unsupported);
}

#[test]
fn r1_a_taken_pair_is_400_and_the_first_track_keeps_it() {
    let mut server = Server::viewer();
    let id = server.set_up(&format!("{URL}/trackID=0"), "RTP/AVP/TCP;interleaved=4-5");
    for pair in ["4-5", "5-6", "3-4"] {
        let transport = format!("RTP/AVP/TCP;interleaved={pair}");
        let headers = [("Session", id.as_str()), ("Transport", &transport)];
        let response = server.request("SETUP", &format!("{URL}/trackID=1"), &headers, "");
        assert_eq!(response.status, Status::BAD_REQUEST, "{pair}");
    }
    assert_eq!(server.transports(), [(0, TrackTransport::Tcp { rtp: 4, rtcp: 5 })]);
}

#[test]
fn r1_assigned_channels_go_around_those_that_are_taken() {
    let mut server = Server::viewer();
    let id = server.set_up(&format!("{URL}/trackID=0"), "RTP/AVP/TCP;interleaved=2-3");
    let headers = [("Session", id.as_str()), ("Transport", "RTP/AVP/TCP")];
    server.request("SETUP", &format!("{URL}/trackID=1"), &headers, "");
    assert_eq!(server.transports().last(), Some(&(1, TrackTransport::Tcp { rtp: 0, rtcp: 1 })));
}

#[test]
fn r1_ports_that_reflect_are_400() {
    for ports in ["0-1", "19-20", "53-54", "123-124", "5000-5000", "1023-1024"] {
        let (status, _) = setup_status(config(Role::Viewer), &format!("RTP/AVP;unicast;client_port={ports}"));
        assert_eq!(status, Status::BAD_REQUEST, "{ports}");
    }
}

#[test]
fn r1_a_setup_without_transport_is_400_and_the_connection_lives() {
    let mut server = Server::viewer();
    assert_eq!(server.request("SETUP", &format!("{URL}/trackID=0"), &[], "").status, Status::BAD_REQUEST);
    server.start("PLAY");
}

// Rule 2: one lower transport per session.

#[test]
fn r2_the_first_setup_fixes_the_lower_transport() {
    let mut server = Server::viewer();
    let id = server.set_up(&format!("{URL}/trackID=0"), UDP);
    let second = |server: &mut Server, transport| {
        server.request(
            "SETUP",
            &format!("{URL}/trackID=1"),
            &[("Session", &id), ("Transport", transport)],
            "",
        )
    };
    assert_eq!(second(&mut server, TCP).status, Status::UNSUPPORTED_TRANSPORT);
    let both = second(&mut server, "RTP/AVP/TCP;interleaved=0-1,RTP/AVP;client_port=5002-5003");
    assert!(both.headers.get("Transport").unwrap().contains("client_port=5002-5003"));
}

// Rule 3: replacement.

#[test]
fn r3_a_setup_without_session_replaces_one_that_does_not_play() {
    for paused in [false, true] {
        let mut server = Server::viewer();
        let first = server.set_up(&format!("{URL}/trackID=0"), UDP);
        if paused {
            assert_eq!(server.of_session("PLAY", &first).status, Status::OK);
            assert_eq!(server.of_session("PAUSE", &first).status, Status::OK);
        }
        assert_eq!(server.policy.seats_free, 0);
        server.events();
        let second = server.set_up(&format!("{URL}/trackID=0"), TCP);
        assert_ne!(first, second);
        assert_eq!(server.events(), ["SessionEnded(Replaced)", "ask Setup"], "the seat goes back first");
        assert_eq!(server.of_session("PLAY", &first).status, Status::SESSION_NOT_FOUND);
        assert_eq!(server.of_session("PLAY", &second).status, Status::OK);
    }
}

#[test]
fn r3_a_playing_session_is_not_replaced() {
    let mut server = Server::viewer();
    let id = server.start("PLAY");
    let response = server.request("SETUP", &format!("{URL}/trackID=0"), &[("Transport", TCP)], "");
    assert_eq!(response.status, Status::METHOD_NOT_VALID_IN_THIS_STATE);
    assert_eq!(server.of_session("GET_PARAMETER", &id).status, Status::OK);
}

#[test]
fn r3_a_setup_that_cannot_be_served_replaces_nothing() {
    let mut server = Server::viewer();
    let id = server.set_up(&format!("{URL}/trackID=0"), TCP);
    let response =
        server.request("SETUP", &format!("{URL}/trackID=0"), &[("Transport", "RTP/AVP;multicast")], "");
    assert_eq!(response.status, Status::UNSUPPORTED_TRANSPORT);
    assert_eq!(server.of_session("PLAY", &id).status, Status::OK);
}

// Rule 4: seats count sessions.

#[test]
fn r4_two_tracks_take_one_seat() {
    let mut server = Server::viewer();
    server.policy.seats_free = 5;
    server.start("PLAY");
    assert_eq!(server.policy.seats_free, 4);
}

#[test]
fn r4_setup_without_play_gives_the_seat_back_after_10_s_and_the_connection_lives() {
    let mut server = Server::viewer();
    let id = server.set_up(&format!("{URL}/trackID=0"), TCP);
    server.wait(9);
    assert_eq!(server.policy.seats_free, 0);
    // Neither a sign of life nor another SETUP buys time.
    server.of_session("GET_PARAMETER", &id);
    let again = [("Session", id.as_str()), ("Transport", TCP)];
    assert_eq!(server.request("SETUP", &format!("{URL}/trackID=0"), &again, "").status, Status::OK);
    server.wait(1);
    assert_eq!(server.policy.seats_free, 1);
    assert!(server.events().contains(&"SessionEnded(NotStarted)".to_owned()));
    assert_eq!(server.of_session("PLAY", &id).status, Status::SESSION_NOT_FOUND);
    server.start("PLAY");
}

#[test]
fn r4_a_play_that_waits_for_its_answer_has_started_in_time() {
    let mut server = Server::viewer();
    server.policy.hold_start = true;
    let id = server.set_up(&format!("{URL}/trackID=0"), TCP);
    assert!(server.try_request("PLAY", URL, &[("Session", &id)], "").is_none());
    server.wait(20);
    assert_eq!(server.policy.seats_free, 0);
    let answer = server.play_answer();
    server.handle_answer(answer);
    assert_eq!(server.responses().len(), 1);
    assert_eq!(server.events().last().map(String::as_str), Some("Playing"));
}

#[test]
fn r4_a_play_that_was_refused_has_no_more_time_than_before() {
    let mut server = Server::viewer();
    server.policy.hold_start = true;
    let id = server.set_up(&format!("{URL}/trackID=0"), TCP);
    assert!(server.try_request("PLAY", URL, &[("Session", &id)], "").is_none());
    server.wait(8);
    server.handle_answer(refuse(Status::SERVICE_UNAVAILABLE, "not yet"));
    server.wait(2);
    assert_eq!(server.policy.seats_free, 1);
}

#[test]
fn r4_teardown_gives_the_seat_back_before_its_response() {
    let mut server = Server::viewer();
    let id = server.start("PLAY");
    assert_eq!(server.of_session("TEARDOWN", &id).status, Status::OK);
    assert_eq!(server.policy.seats_free, 1);
    assert_eq!(server.events().last().map(String::as_str), Some("SessionEnded(Teardown)"));
    server.start("PLAY");
}

#[test]
fn r4_a_seat_that_turns_out_useless_goes_back() {
    for (url, status) in [
        (URL.to_owned(), Status::AGGREGATE_OPERATION_NOT_ALLOWED),
        (format!("{URL}/trackID=7"), Status::NOT_FOUND),
        (format!("{URL}/nothing"), Status::NOT_FOUND),
    ] {
        let mut server = Server::viewer();
        let response = server.request("SETUP", &url, &[("Transport", TCP)], "");
        assert_eq!(response.status, status, "{url}");
        assert_eq!(server.policy.seats_free, 1);
        assert!(server.connection.session().is_none());
    }
}

// Rule 5: refusals pass through with their words.

#[test]
fn r5_over_the_seats_is_453_at_setup_with_the_reason() {
    let mut server = Server::viewer();
    server.policy.seats_free = 0;
    assert_eq!(server.request("DESCRIBE", URL, &[], "").status, Status::OK);
    let response = server.request("SETUP", &format!("{URL}/trackID=0"), &[("Transport", TCP)], "");
    assert_eq!((response.status.code(), response.reason.as_str()), (453, "All 1 seats are taken"));
    assert_eq!(server.closed, None);
}

#[test]
fn r5_no_program_on_air_is_404_at_describe_with_the_reason() {
    let response = Server::viewer().request("DESCRIBE", "rtsp://h/other", &[], "");
    assert_eq!((response.status.code(), response.reason.as_str()), (404, "Nothing is on air here"));
}

#[test]
fn r5_a_password_asks_at_describe() {
    let mut server = Server::viewer();
    server.policy.password = Some("secret");
    for url in [URL, "rtsp://h/other"] {
        assert_eq!(server.request("DESCRIBE", url, &[], "").status, Status::UNAUTHORIZED, "{url}");
    }
}

#[test]
fn r5_a_reason_is_one_line_whatever_the_edge_says_and_close_closes() {
    let mut server = Server::viewer();
    server.policy.hold_all = true;
    server.try_request("DESCRIBE", URL, &[], "");
    let reason = "no\r\nX: y".to_owned();
    server.handle_answer(Answer::Refuse { status: Status::FORBIDDEN, reason, then: AfterRefusal::Close });
    let responses = server.responses();
    assert_eq!(responses[0].reason, "no X: y");
    assert_eq!(responses[0].headers.get("Connection"), Some("close"));
    assert_eq!(server.closed, Some(CloseReason::Refused));
}

// Rule 6: OPTIONS, parameters, unknown methods, PAUSE, PLAY again.

#[test]
fn r6_options_needs_no_password_on_any_address() {
    for url in ["*", URL, "rtsp://h/other", "rtsp://h"] {
        let mut server = Server::viewer();
        server.policy.password = Some("secret");
        let response = server.request("OPTIONS", url, &[], "");
        assert_eq!(response.status, Status::OK, "{url}");
        assert!(response.headers.get("Public").unwrap().contains("GET_PARAMETER"));
        assert_eq!(server.events(), Vec::<String>::new());
    }
}

#[test]
fn r6_empty_parameters_are_200_and_others_451() {
    for method in ["GET_PARAMETER", "SET_PARAMETER"] {
        let mut server = Server::viewer();
        assert_eq!(server.request(method, URL, &[], "").status, Status::OK);
        assert_eq!(server.request(method, "*", &[], "").status, Status::OK);
        assert_eq!(server.request(method, URL, &[], "position\r\n").status, Status::PARAMETER_NOT_UNDERSTOOD);
    }
}

#[test]
fn r6_unknown_methods_are_501_and_the_connection_lives() {
    let mut server = Server::viewer();
    for method in ["REDIRECT", "PLAY_NOTIFY", "describe", "X-Y"] {
        assert_eq!(server.request(method, URL, &[], "").status, Status::NOT_IMPLEMENTED, "{method}");
    }
    server.start("PLAY");
}

#[test]
fn r6_pause_on_live_is_200_and_play_goes_on() {
    let mut server = Server::viewer();
    let id = server.start("PLAY");
    server.events();
    assert_eq!(server.of_session("PAUSE", &id).status, Status::OK);
    assert_eq!(server.of_session("PAUSE", &id).status, Status::OK);
    assert_eq!(server.events(), ["Paused"]);
    server.wait(30);
    assert_eq!(server.of_session("PLAY", &id).status, Status::OK);
    assert_eq!(server.events(), ["ask Play", "Playing"]);
}

#[test]
fn r6_play_while_playing_is_200_with_the_next_packets_and_starts_nothing() {
    let mut server = Server::viewer();
    let id = server.start("PLAY");
    server.events();
    server.policy.hold_start = true;
    assert!(server.try_request("PLAY", URL, &[("Session", &id)], "").is_none());
    let entry = |track| RtpInfoEntry { track, seq: Some(555), rtptime: Some(77) };
    server.handle_answer(Answer::Play { rtp_info: vec![entry(0), entry(1)] });
    let response = &server.responses()[0];
    assert_eq!(response.status, Status::OK);
    assert!(response.headers.get("RTP-Info").unwrap().contains("seq=555;rtptime=77"), "{response:?}");
    assert_eq!(server.events(), ["ask Play"]);
}

// Rule 7: liveness.

#[test]
fn r7_sixty_is_advertised_without_spaces_and_65_enforced() {
    let mut server = Server::viewer();
    let response = server.request("SETUP", &format!("{URL}/trackID=0"), &[("Transport", TCP)], "");
    let header = response.headers.get("Session").unwrap().to_owned();
    assert_eq!(header, format!("{};timeout=60", session_of(&response)));
    server.of_session("PLAY", &session_of(&response));
    server.wait(64);
    assert_eq!(server.closed, None);
    server.wait(1);
    assert_eq!(server.closed, Some(CloseReason::SessionEnded(SessionEnd::Silent)));
    assert_eq!(server.policy.seats_free, 1);
}

#[test]
fn r7_a_request_a_frame_or_the_edges_word_is_a_sign_of_life() {
    let signs: [fn(&mut Server, &str); 3] = [
        |server, id| drop(server.of_session("GET_PARAMETER", id)),
        |server, _| server.feed(b"$\x01\x00\x02ab"),
        |server, _| server.connection.handle_alive(server.now),
    ];
    for sign in signs {
        let mut server = Server::viewer();
        let id = server.start("PLAY");
        for _ in 0..5 {
            server.wait(60);
            sign(&mut server, &id);
        }
        assert_eq!(server.closed, None);
        server.wait(65);
        assert!(server.closed.is_some());
    }
}

#[test]
fn r7_frames_on_foreign_channels_are_no_sign_of_life() {
    let mut server = Server::viewer();
    server.start("PLAY");
    server.wait(60);
    server.feed(b"$\x09\x00\x02ab");
    assert_eq!(server.frames, []);
    server.wait(5);
    assert!(server.closed.is_some());
}

// Rule 8: CSeq, versions, states, Require, aggregates, Range.

#[test]
fn r8_cseq_is_echoed_as_it_came() {
    for (header, echoed) in
        [("CSeq: 0", "0"), ("cseq:7", "7"), ("CSEQ:  0012 ", "0012"), ("Cseq: 4294967296", "4294967296")]
    {
        let mut server = Server::viewer();
        server.feed(format!("OPTIONS * RTSP/1.0\r\n{header}\r\n\r\n"));
        assert_eq!(server.responses()[0].cseq(), Some(echoed));
    }
}

#[test]
fn r8_a_missing_cseq_is_400_and_closes() {
    let mut server = Server::viewer();
    server.feed("OPTIONS * RTSP/1.0\r\n\r\n");
    assert_eq!(server.responses()[0].status, Status::BAD_REQUEST);
    assert_eq!(server.closed, Some(CloseReason::CseqMissing));
}

#[test]
fn r8_another_version_is_505_and_the_connection_lives() {
    let mut server = Server::viewer();
    server.feed("OPTIONS * RTSP/2.0\r\nCSeq: 4\r\n\r\n");
    let responses = server.responses();
    assert_eq!((responses[0].status.code(), responses[0].cseq()), (505, Some("4")));
    server.start("PLAY");
}

#[test]
fn r8_an_unknown_require_is_551_before_any_effect() {
    for name in ["Require", "Proxy-Require"] {
        let mut server = Server::viewer();
        let headers = [("Transport", TCP), (name, "www.onvif.org/ver20/backchannel")];
        let response = server.request("SETUP", &format!("{URL}/trackID=0"), &headers, "");
        assert_eq!(response.status, Status::OPTION_NOT_SUPPORTED);
        assert_eq!(response.headers.get("Unsupported"), Some("www.onvif.org/ver20/backchannel"));
        assert_eq!(server.events(), Vec::<String>::new());
        assert_eq!(server.policy.seats_free, 1);
    }
}

#[test]
fn r8_one_track_of_several_is_460() {
    let mut server = Server::viewer();
    let id = server.start("PLAY");
    for method in ["PLAY", "PAUSE", "TEARDOWN"] {
        let response = server.request(method, &format!("{URL}/trackID=0"), &[("Session", &id)], "");
        assert_eq!(response.status, Status::ONLY_AGGREGATE_OPERATION_ALLOWED, "{method}");
    }
}

#[test]
fn r8_the_one_track_that_is_set_up_may_be_played_by_its_address() {
    let mut server = Server::viewer();
    let id = server.set_up(&format!("{URL}/trackID=0"), TCP);
    let response = server.request("PLAY", &format!("{URL}/trackID=0"), &[("Session", &id)], "");
    assert_eq!(response.status, Status::OK);
}

#[test]
fn r8_every_range_is_taken_and_now_is_answered() {
    for range in
        ["npt=0.000-", "npt=now-", "npt=10-20", "clock=19961108T142300Z-", "smpte=0:10:00-", "sheep", ""]
    {
        let mut server = Server::viewer();
        let id = server.set_up(&format!("{URL}/trackID=0"), TCP);
        let response = server.request("PLAY", URL, &[("Session", &id), ("Range", range)], "");
        assert_eq!(response.headers.get("Range"), Some("npt=now-"), "{range}");
    }
}

// Rule 9: pipelining and frames.

#[test]
fn r9_a_dialogue_gives_the_same_answers_however_it_is_cut() {
    let setup = |track, more: &str| {
        format!("SETUP {URL}/trackID={track} RTSP/1.0\r\nCSeq: 3\r\nTransport: RTP/AVP/TCP\r\n{more}\r\n")
    };
    let mut whole = Server::viewer();
    let text = format!(
        "OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n$\0\0\x03abcDESCRIBE {URL} RTSP/1.0\r\nCSeq: 2\r\n\r\n{}",
        setup(0, "")
    );
    whole.feed(&text);
    assert_eq!(whole.sent.windows(8).filter(|w| w == b"RTSP/1.0").count(), 3);
    for size in 1..=text.len() {
        let mut server = Server::viewer();
        for piece in text.as_bytes().chunks(size) {
            server.feed(piece);
        }
        assert_eq!(server.sent, whole.sent, "in pieces of {size}");
        assert_eq!(server.log, whole.log);
    }
}

#[test]
fn r9_requests_behind_an_open_question_wait_for_it() {
    let mut server = Server::viewer();
    server.policy.hold_start = true;
    let id = server.set_up(&format!("{URL}/trackID=0"), TCP);
    server.feed(format!(
        "PLAY {URL} RTSP/1.0\r\nCSeq: 8\r\nSession: {id}\r\n\r\nGET_PARAMETER {URL} RTSP/1.0\r\nCSeq: 9\r\nSession: {id}\r\n\r\n"
    ));
    assert!(server.sent.is_empty());
    let answer = server.play_answer();
    server.handle_answer(answer);
    let cseqs: Vec<_> = server.responses().iter().map(|r| r.cseq().unwrap().to_owned()).collect();
    assert_eq!(cseqs, ["8", "9"]);
}

#[test]
fn r9_what_waits_is_bounded() {
    let mut server = Server::viewer();
    server.policy.hold_start = true;
    let id = server.set_up(&format!("{URL}/trackID=0"), TCP);
    server.try_request("PLAY", URL, &[("Session", &id)], "");
    for _ in 0..1000 {
        if server.closed.is_none() {
            server.feed([b'x'; 1000]);
        }
    }
    assert_eq!(server.closed, Some(CloseReason::PipelineFull));
    assert_eq!(server.policy.seats_free, 1);
}

#[test]
fn r9_no_media_event_and_no_frame_before_the_response() {
    let mut server = Server::viewer();
    server.policy.hold_start = true;
    let id = server.set_up(&format!("{URL}/trackID=0"), TCP);
    server.events();
    server.feed(b"$\x01\x00\x01a");
    server.try_request("PLAY", URL, &[("Session", &id)], "");
    assert_eq!((server.events(), server.frames.len()), (vec!["ask Play".to_owned()], 0));
    server.connection.handle_answer(server.now, server.play_answer());
    assert!(matches!(server.connection.poll_output(), Some(Output::Send(_))));
    assert!(matches!(server.connection.poll_output(), Some(Output::Event(Event::Playing))));
    assert!(server.connection.poll_output().is_none());
    server.feed(b"$\x01\x00\x01a");
    assert_eq!(server.frames, [(1, b"a".to_vec())]);
}

// Rule 10: addresses.

#[test]
fn r10_the_base_ends_in_a_slash_and_controls_are_relative() {
    let response = Server::viewer().request("DESCRIBE", URL, &[("Accept", "application/sdp")], "");
    assert_eq!(response.headers.get("Content-Base"), Some("rtsp://127.0.0.1:8554/ch/"));
    assert_eq!(response.headers.get("Content-Type"), Some("application/sdp"));
    let sdp = String::from_utf8_lossy(&response.body).into_owned();
    assert!(sdp.contains("a=control:trackID=0\r\n") && sdp.contains("a=control:trackID=1\r\n"), "{sdp}");
}

#[test]
fn r10_the_description_names_addresses_of_the_viewers_family() {
    for (peer, origin, connection) in [
        ("192.0.2.7", "o=- 0 0 IN IP4 127.0.0.1\r\n", "c=IN IP4 0.0.0.0\r\n"),
        ("::ffff:192.0.2.7", "o=- 0 0 IN IP4 127.0.0.1\r\n", "c=IN IP4 0.0.0.0\r\n"),
        ("2001:db8::7", "o=- 0 0 IN IP6 ::1\r\n", "c=IN IP6 ::\r\n"),
    ] {
        let mut server = Server::viewer();
        server.connection = server.connection.for_peer(SocketAddr::new(peer.parse().unwrap(), 40_000));
        let response = server.request("DESCRIBE", URL, &[], "");
        let sdp = String::from_utf8_lossy(&response.body);
        assert!(sdp.contains(origin) && sdp.contains(connection), "{peer}: {sdp}");
    }
}

#[test]
fn r10_with_a_query_controls_are_absolute_and_keep_it() {
    let response = Server::viewer().request("DESCRIBE", "rtsp://h/ch?token=x", &[], "");
    let sdp = String::from_utf8_lossy(&response.body).into_owned();
    assert!(sdp.contains("a=control:rtsp://h/ch/trackID=0?token=x\r\n"), "{sdp}");
}

#[test]
fn r10_every_form_of_a_tracks_address_is_understood() {
    for form in [
        "/ch/trackID=1",
        "/ch?q/trackID=1",
        "/ch/trackID=1?q",
        "/ch/streamid=1",
        "/ch/stream=1",
        "/ch/trackID=1/",
        "/ch?token=x/streamid=1",
        "/ch/stream=1?token=x",
    ] {
        let mut server = Server::viewer();
        server.set_up(&format!("rtsp://127.0.0.1:8554{form}"), TCP);
        assert_eq!(server.transports()[0].0, 1, "{form}");
    }
    for form in ["/ch", "/ch/", "/ch?q"] {
        let mut server = Server::viewer();
        server.policy.tracks = 1;
        server.set_up(&format!("rtsp://127.0.0.1:8554{form}"), TCP);
        assert_eq!(server.transports()[0].0, 0, "{form}");
    }
}

#[test]
fn r10_a_path_shorter_than_its_base_is_an_error_not_a_panic() {
    for url in ["rtsp://h", "rtsp://h/", "/", "rtsp://h/c", "rtsp:///", "rtsp://"] {
        let mut server = Server::viewer();
        let response = server.request("SETUP", url, &[("Transport", TCP)], "");
        assert!(!response.status.is_success(), "{url}");
    }
}

// Rule 11: RTP-Info.

#[test]
fn r11_rtp_info_names_the_setup_addresses_and_ends_without_a_semicolon() {
    let mut server = Server::viewer();
    let id = server.set_up("rtsp://127.0.0.1:8554/ch/streamid=1", TCP);
    let headers = [("Session", id.as_str()), ("Transport", "RTP/AVP/TCP")];
    server.request("SETUP", "rtsp://127.0.0.1:8554/ch/trackID=0?q", &headers, "");
    let response = server.of_session("PLAY", &id);
    assert_eq!(
        response.headers.get("RTP-Info"),
        Some(
            "url=rtsp://127.0.0.1:8554/ch/streamid=1;seq=101;rtptime=9001,\
             url=rtsp://127.0.0.1:8554/ch/trackID=0?q;seq=100;rtptime=9000"
        )
    );
}

// Rule 14: the end.

#[test]
fn r14_the_end_of_the_program_ends_and_closes() {
    let mut server = Server::viewer();
    server.start("PLAY");
    server.events();
    server.connection.handle_end(Status::NOT_FOUND, "The program is over");
    server.drain();
    assert_eq!(server.events(), ["SessionEnded(ByEdge)", "Close(SessionEnded(ByEdge))"]);
    assert_eq!(server.connection.deadline(), None);
    server.feed("OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n");
    assert!(server.sent.is_empty());
}

#[test]
fn r14_a_request_that_waits_is_told() {
    let mut server = Server::viewer();
    server.policy.hold_start = true;
    let id = server.set_up(&format!("{URL}/trackID=0"), TCP);
    server.try_request("PLAY", URL, &[("Session", &id)], "");
    server.events();
    server.connection.handle_end(Status::NOT_FOUND, "The program is over");
    server.drain();
    assert_eq!(server.responses()[0].reason, "The program is over");
    assert_eq!(server.events(), ["SessionEnded(ByEdge)", "Close(SessionEnded(ByEdge))"]);
    let late = server.play_answer();
    server.handle_answer(late);
    assert!(server.sent.is_empty());
}

// Rule 15: ids.

#[test]
fn r15_ids_are_letters_and_digits_and_never_repeat() {
    let mut seen = HashSet::new();
    let mut server = Server::viewer();
    for _ in 0..100 {
        let id = server.set_up(&format!("{URL}/trackID=0"), TCP);
        assert!(id.len() == 32 && id.bytes().all(|b| b.is_ascii_alphanumeric()), "{id}");
        assert!(seen.insert(id));
    }
}

#[test]
fn r15_an_id_is_worth_nothing_on_another_connection() {
    let mut owner = Server::viewer();
    let id = owner.start("PLAY");
    let mut thief = Server::with(config(Role::Viewer), Policy::default());
    for method in ["PLAY", "PAUSE", "TEARDOWN", "GET_PARAMETER", "SETUP"] {
        assert_eq!(thief.of_session(method, &id).status, Status::SESSION_NOT_FOUND, "{method}");
    }
    assert_eq!(owner.of_session("GET_PARAMETER", &id).status, Status::OK);
}

// Rule 16: broadcasters.

#[test]
fn r16_announce_twice_is_normal() {
    let mut server = Server::broadcaster();
    server.announce();
    server.announce();
    assert_eq!(server.set_up(&format!("{URL}/streamid=0"), TCP).len(), 32);
}

#[test]
fn r16_tracks_are_found_by_announced_control_and_then_by_number() {
    let sdp = SDP.replace("streamid=0", "video").replace("streamid=1", "rtsp://127.0.0.1:8554/ch/sound");
    for (name, track) in [("video", 0), ("sound", 1), ("streamid=1", 1), ("stream=0", 0), ("trackID=1", 1)] {
        let mut server = Server::broadcaster();
        assert_eq!(server.request("ANNOUNCE", URL, &[], &sdp).status, Status::OK);
        server.set_up(&format!("{URL}/{name}"), TCP);
        assert_eq!(server.transports()[0].0, track, "{name}");
    }
    let mut server = Server::broadcaster();
    server.announce();
    let response = server.request("SETUP", &format!("{URL}/streamid=2"), &[("Transport", TCP)], "");
    assert_eq!(response.status, Status::NOT_FOUND);
    assert_eq!(server.policy.seats_free, 1, "not even asked");
}

#[test]
fn r16_whatever_control_announce_takes_setup_takes() {
    let of = |controls: [&str; 2]| {
        let attribute = |control: &str| match control {
            "" => String::new(),
            control => format!("a=control:{control}\r\n"),
        };
        let [video, audio] = controls.map(attribute);
        SDP.replace("a=control:streamid=0\r\n", &video).replace("a=control:streamid=1\r\n", &audio)
    };
    let slashes = ["media/video1/track0", "media/video1/track1"];
    let queries = ["?track=video", "?track=audio"];
    for (controls, urls) in [
        (slashes, ["/media/video1/track0", "/media/video1/track1"]),
        (slashes, ["?token=a/media/video1/track0", "?token=a/media/video1/track1"]),
        (slashes, ["/media/video1/track0?token=a", "/media/video1/track1?token=a"]),
        (["a/track", "track"], ["/a/track", "/track"]),
        (["track", "a/track"], ["/track", "/a/track"]),
        (["/ch/x/0", "rtsp://127.0.0.1:8554/ch/x/1"], ["/x/0", "/x/1"]),
        (["0/", "1/"], ["/0/", "/1/"]),
        (queries, queries),
        (queries, ["/?track=video", "/?track=audio"]),
        (["the video", "the%20sound"], ["/the%20video", "/the%20sound"]),
        (["same", "same"], ["/same", "/same"]),
        (["", ""], ["", ""]),
        (["*", "*"], ["", "/"]),
    ] {
        let mut server = Server::broadcaster();
        assert_eq!(server.request("ANNOUNCE", URL, &[], &of(controls)).status, Status::OK);
        let id = server.set_up(&format!("{URL}{}", urls[0]), "RTP/AVP/TCP;interleaved=0-1;mode=record");
        let headers = [("Session", id.as_str()), ("Transport", "RTP/AVP/TCP;interleaved=2-3;mode=record")];
        let second = server.request("SETUP", &format!("{URL}{}", urls[1]), &headers, "");
        assert_eq!(second.status, Status::OK, "{controls:?} {urls:?}");
        let tracks: Vec<_> = server.transports().iter().map(|(track, _)| *track).collect();
        assert_eq!(tracks, [0, 1], "{controls:?} {urls:?}");
        assert_eq!(server.of_session("RECORD", &id).status, Status::OK);
    }
}

#[test]
fn r16_a_control_that_is_an_address_of_its_own_need_not_lie_below_the_announced_one() {
    let absolute = ["rtsp://192.0.2.9/Streaming/101/track0", "rtsp://192.0.2.9/track1/"];
    let by_path = ["/Streaming/101/track0", "/track1"];
    for (controls, urls) in [
        (absolute, absolute.map(str::to_owned)),
        (by_path, by_path.map(|path| format!("rtsp://127.0.0.1:8554{path}"))),
    ] {
        let sdp = SDP.replace("streamid=0", controls[0]).replace("streamid=1", controls[1]);
        let mut server = Server::broadcaster();
        assert_eq!(server.request("ANNOUNCE", URL, &[], &sdp).status, Status::OK);
        let id = server.set_up(&urls[0], "RTP/AVP/TCP;interleaved=0-1;mode=record");
        let headers = [("Session", id.as_str()), ("Transport", "RTP/AVP/TCP;interleaved=2-3;mode=record")];
        assert_eq!(server.request("SETUP", &urls[1], &headers, "").status, Status::OK);
        let tracks: Vec<_> = server.transports().iter().map(|(track, _)| *track).collect();
        assert_eq!(tracks, [0, 1], "{controls:?}");
        let elsewhere = server.request("SETUP", "rtsp://192.0.2.9/Streaming/102/track0", &headers, "");
        assert_eq!(elsewhere.status, Status::AGGREGATE_OPERATION_NOT_ALLOWED);
        assert_eq!(server.of_session("RECORD", &id).status, Status::OK);
    }
}

#[test]
fn r16_the_announced_address_of_the_session_starts_and_stops_it() {
    for (control, url) in [
        ("rtsp://192.0.2.9/Streaming/101/", "rtsp://192.0.2.9/Streaming/101"),
        ("/Streaming/101", "rtsp://127.0.0.1:8554/Streaming/101/"),
    ] {
        let mut server = Server::broadcaster();
        let sdp = SDP.replace("t=0 0\r\n", &format!("t=0 0\r\na=control:{control}\r\n"));
        assert_eq!(server.request("ANNOUNCE", URL, &[], &sdp).status, Status::OK);
        let id = server.set_up(&format!("{URL}/streamid=0"), "RTP/AVP/TCP;interleaved=0-1;mode=record");
        let headers = [("Session", id.as_str())];
        let other = server.request("RECORD", "rtsp://192.0.2.9/Streaming/102", &headers, "");
        assert_eq!(other.status, Status::NOT_FOUND);
        assert_eq!(server.request("RECORD", url, &headers, "").status, Status::OK, "{control}");
        assert_eq!(server.request("PAUSE", url, &headers, "").status, Status::OK, "{control}");
    }
}

#[test]
fn r16_a_section_that_is_left_out_can_be_set_up_behind_the_tracks() {
    let mut server = Server::broadcaster();
    server.policy.tracks = 3;
    let sdp = SDP.replace("m=video", "m=application 0 RTP/AVP smart/1/90000\r\na=control:smart\r\nm=video");
    assert_eq!(server.request("ANNOUNCE", URL, &[], &sdp).status, Status::OK);
    let id = server.set_up(&format!("{URL}/smart"), "RTP/AVP/TCP;interleaved=0-1;mode=record");
    for (name, channels) in [("streamid=0", "2-3"), ("streamid=1", "4-5")] {
        let transport = format!("RTP/AVP/TCP;interleaved={channels};mode=record");
        let headers = [("Session", id.as_str()), ("Transport", transport.as_str())];
        assert_eq!(server.request("SETUP", &format!("{URL}/{name}"), &headers, "").status, Status::OK);
    }
    let tracks: Vec<_> = server.transports().iter().map(|(track, _)| *track).collect();
    assert_eq!(tracks, [2, 0, 1]);
}

#[test]
fn r16_what_is_deeper_than_a_track_names_no_program() {
    let mut server = Server::broadcaster();
    let response = server.request("ANNOUNCE", &format!("{URL}/a/b"), &[], SDP);
    assert_eq!(response.status, Status::NOT_FOUND);
    let mut server = Server::viewer();
    assert_eq!(server.request("DESCRIBE", &format!("{URL}/a/b"), &[], "").status, Status::NOT_FOUND);
}

#[test]
fn r16_mode_record_in_any_writing_and_the_servers_ports() {
    for mode in ["mode=record", "mode=RECORD", "mode=\"record\"", "Mode=\"RECORD\"", "mode=receive", ""] {
        let mut server = Server::broadcaster();
        server.announce();
        let transport = format!("RTP/AVP/UDP;unicast;client_port=5000-5001;{mode}");
        let response =
            server.request("SETUP", &format!("{URL}/streamid=0"), &[("Transport", &transport)], "");
        let answer = response.headers.get("Transport").unwrap();
        assert_eq!(
            answer, "RTP/AVP;unicast;client_port=5000-5001;server_port=8000-8001;mode=record",
            "{mode}"
        );
    }
}

#[test]
fn r16_frames_come_out_under_canonical_numbers() {
    let mut server = Server::broadcaster();
    server.announce();
    let id = server.set_up(&format!("{URL}/streamid=1"), "RTP/AVP/TCP;interleaved=10-11;mode=record");
    let headers = [("Session", id.as_str()), ("Transport", "RTP/AVP/TCP;interleaved=2-3;mode=record")];
    server.request("SETUP", &format!("{URL}/streamid=0"), &headers, "");
    assert_eq!(server.of_session("RECORD", &id).status, Status::OK);
    server.feed(b"$\x0a\x00\x01a$\x03\x00\x01b$\x04\x00\x01c$\x02\x00\x00");
    assert_eq!(server.frames, [(2, b"a".to_vec()), (1, b"b".to_vec()), (0, Vec::new())]);
}

#[test]
fn r16_an_unusable_sdp_is_400_and_another_type_415() {
    let mut server = Server::broadcaster();
    for body in ["v=0\r\n", "nonsense", "v=0\r\nm=video 0 RTP/SAVP 96\r\n"] {
        assert_eq!(server.request("ANNOUNCE", URL, &[], body).status, Status::BAD_REQUEST, "{body}");
    }
    let response = server.request("ANNOUNCE", URL, &[("Content-Type", "text/plain")], SDP);
    assert_eq!(response.status, Status::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(server.request("ANNOUNCE", URL, &[], "").status, Status::BAD_REQUEST);
}

#[test]
fn r16_a_setup_on_another_path_than_announced_is_404() {
    let mut server = Server::broadcaster();
    server.announce();
    let response = server.request("SETUP", "rtsp://h/other/streamid=0", &[("Transport", TCP)], "");
    assert_eq!(response.status, Status::NOT_FOUND);
}

#[test]
fn client_ports_are_claimed_by_each_setup_and_given_back_with_it() {
    let config = config(Role::Viewer);
    let viewer = |ip: [u8; 4]| {
        let policy = Policy { seats_free: 9, ..Policy::default() };
        let mut server = Server::with(config.clone(), policy);
        server.connection = server.connection.for_peer(SocketAddr::from((ip, 40_000)));
        server
    };
    let claimed = || config.claimed_ports.count();
    let (mut server, mut other) = (viewer([192, 0, 2, 7]), viewer([192, 0, 2, 7]));
    let (first, second) = (format!("{URL}/trackID=0"), format!("{URL}/trackID=1"));
    let id = server.set_up(&first, UDP);
    // The same anew keeps its ports, others take their place.
    let again = |server: &mut Server, url: &str, transport: &str, id: &str| {
        server.request("SETUP", url, &[("Transport", transport), ("Session", id)], "").status.code()
    };
    assert_eq!(again(&mut server, &first, UDP, &id), 200);
    assert_eq!(claimed(), 2);
    assert_eq!(again(&mut server, &first, "RTP/AVP;client_port=5002-5003", &id), 200);
    assert_eq!(again(&mut server, &second, UDP, &id), 200);
    assert_eq!(claimed(), 4);
    // Another one's are refused, at the first SETUP, which gives its seat back, and at later ones.
    let refused = other.request("SETUP", &first, &[("Transport", UDP)], "");
    assert_eq!(refused.status, Status::UNSUPPORTED_TRANSPORT);
    assert_eq!(refused.reason, "Another session at your address has these client ports; choose others");
    assert_eq!(other.events(), ["ask Setup", "SessionEnded(SetupRefused)"]);
    let other_id = other.set_up(&first, "RTP/AVP;client_port=5004-5005");
    assert_eq!(again(&mut other, &second, "RTP/AVP;client_port=5006-5000", &other_id), 461);
    assert_eq!(again(&mut other, &first, UDP, &other_id), 461);
    assert_eq!(claimed(), 6);
    // Those of another address are others.
    viewer([192, 0, 2, 8]).set_up(&first, UDP);
    // A session that is replaced, torn down, or gone with its connection gives its ports back.
    server.set_up(&first, UDP);
    assert_eq!(claimed(), 4);
    assert_eq!(other.of_session("TEARDOWN", &other_id).status, Status::OK);
    assert_eq!(claimed(), 2);
    drop(server);
    assert_eq!(claimed(), 0);
    // What goes over TCP has no ports.
    other.set_up(&first, TCP);
    assert_eq!(claimed(), 0);
}
