//! What attackers and broken programs send to the wire rooms, each with the answer that it must get.
//!
//! Sessions' answers to hostile but well-formed requests are tested with the session machines.

use std::fmt::Write as _;

use slotcast_rtsp::{
    headers::{
        range::Range,
        rtp_info,
        session::SessionHeader,
        transport::{LowerTransport, Offer, choose},
    },
    limits,
    message::{Decoder, Item, Phase},
    sdp,
    url::Target,
};

/// What becomes of bytes that a peer sends.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// This status, then close; nothing is kept.
    Close(u16),
    /// This status; the connection goes on.
    Refuse(u16),
    /// As many whole items, and then it waits in this phase.
    Items(usize, Phase),
}

use Fate::{Close, Items, Refuse};
use Phase::{Body, Frame, Headers, Idle};

fn fate(bytes: &[u8]) -> Fate {
    let mut decoder = Decoder::default();
    decoder.feed(bytes);
    let mut items = 0;
    loop {
        match decoder.poll_item() {
            Ok(Some(_)) => items += 1,
            Ok(None) => return Items(items, decoder.phase()),
            Err(error) if error.closes() => {
                assert_eq!((decoder.buffered(), decoder.poll_item()), (0, Ok(None)));
                return Close(error.kind.refused().status.code());
            }
            Err(error) => return Refuse(error.kind.refused().status.code()),
        }
    }
}

#[track_caller]
fn check(cases: &[(&str, &[u8], Fate)]) {
    for (name, bytes, expected) in cases {
        assert_eq!(fate(bytes), *expected, "{name}");
    }
}

#[test]
fn other_protocols_on_the_port() {
    check(&[
        ("TLS hello", b"\x16\x03\x01\x02\x00\x01", Close(400)),
        ("RDP", b"\x03\x00\x00\x13\x0e\xe0", Close(400)),
        ("SMB", b"\x00\x00\x00\x85\xffSMB", Close(400)),
        ("RTMP", b"\x03\x00\x00\x00\x00", Close(400)),
        ("zero bytes", b"\0\0\0\0", Close(400)),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", Close(400)),
        ("HTTP/0.9", b"GET /\r\n", Close(400)),
        ("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Close(400)),
        ("SIP", b"OPTIONS sip:nm SIP/2.0\r\n", Close(400)),
        ("SSH", b"SSH-2.0-OpenSSH_9.2\r\n", Close(400)),
        ("nmap's help probe", b"HELP\r\n", Close(400)),
        ("JSON", b"{\"a\":1}\n", Close(400)),
        ("a quote", b"\"\n", Close(400)),
        ("high bytes", b"\xff\xfe\xfd", Close(400)),
        ("nothing", b"", Items(0, Idle)),
    ]);
}

#[test]
fn start_lines() {
    check(&[
        ("one word", b"OPTIONS\r\n", Close(400)),
        ("two words", b"OPTIONS *\r\n", Close(400)),
        ("four words", b"OPTIONS * RTSP/1.0 x\r\n", Close(400)),
        ("a leading space", b" OPTIONS * RTSP/1.0\r\n", Close(400)),
        ("tabs for spaces", b"OPTIONS\t*\tRTSP/1.0\r\n", Close(400)),
        ("NUL in the address", b"OPTIONS /a\0b RTSP/1.0\r\n", Close(400)),
        ("escape in the address", b"OPTIONS /\x1b[2J RTSP/1.0\r\n", Close(400)),
        ("bare CR", b"OPTIONS * RTSP/1.0\rCSeq: 1\r\n", Close(400)),
        ("no version number", b"OPTIONS * RTSP\r\n", Close(400)),
        ("half a version", b"OPTIONS * RTSP/1\r\n", Close(400)),
        ("letters for a version", b"OPTIONS * RTSP/a.b\r\n", Close(400)),
        ("a version of many digits", b"OPTIONS * RTSP/1.00000000000\r\n", Close(400)),
        ("negative version", b"OPTIONS * RTSP/-1.0\r\n", Close(400)),
        ("version 2.0", b"OPTIONS * RTSP/2.0\r\nCSeq: 1\r\n\r\n", Refuse(505)),
        ("version 0.0", b"OPTIONS * RTSP/0.0\r\nCSeq: 1\r\n\r\n", Refuse(505)),
        ("version 1.1", b"OPTIONS * RTSP/1.1\r\nCSeq: 1\r\n\r\n", Refuse(505)),
        ("lower-case protocol", b"OPTIONS * rtsp/1.0\r\n\r\n", Close(400)),
        ("a method with odd signs", b"OPT(IONS) * RTSP/1.0\r\n", Close(400)),
        ("an unknown method", b"FROB * RTSP/1.0\r\n\r\n", Items(1, Idle)),
        ("a response's code of 4 digits", b"RTSP/1.0 2000 OK\r\n", Close(400)),
        ("a response's code below 100", b"RTSP/1.0 099 OK\r\n", Close(400)),
        ("a response's code with a sign", b"RTSP/1.0 +20 OK\r\n", Close(400)),
        ("a response without code", b"RTSP/1.0\r\n", Close(400)),
        ("a response without reason", b"RTSP/1.0 200\r\n\r\n", Items(1, Idle)),
        ("not UTF-8", b"OPTIONS /\xc3\x28 RTSP/1.0\r\n\r\n", Items(1, Idle)),
    ]);
}

#[test]
fn headers() {
    let options = |headers: &str| format!("OPTIONS * RTSP/1.0\r\n{headers}\r\n").into_bytes();
    for (headers, expected) in [
        ("CSeq 1\r\n", Close(400)),
        (": 1\r\n", Close(400)),
        ("A B: 1\r\n", Close(400)),
        ("A\0: 1\r\n", Close(400)),
        ("A: \0\r\n", Close(400)),
        ("A: \x1b[31m\r\n", Close(400)),
        ("A: \x7f\r\n", Close(400)),
        ("A: 1\rB: 2\r\n", Close(400)),
        (" folded onto nothing\r\n", Close(400)),
        ("A\u{e9}: 1\r\n", Close(400)),
        ("\"A\": 1\r\n", Close(400)),
        ("CSeq: 1\r\nCSeq: 2\r\n", Items(1, Idle)),
        ("CSeq: -1\r\n", Items(1, Idle)),
        ("CSeq: 99999999999999999999999999\r\n", Items(1, Idle)),
        ("A:\r\n", Items(1, Idle)),
        ("A:::\r\n", Items(1, Idle)),
        ("A: 1\r\n\t\r\n", Items(1, Idle)),
        ("Transfer-Encoding: chunked\r\n", Close(400)),
        ("Content-Length: -1\r\n", Close(400)),
        ("Content-Length: -9223372036854775808\r\n", Close(400)),
        ("Content-Length: +5\r\n", Close(400)),
        ("Content-Length: 0x10\r\n", Close(400)),
        ("Content-Length: 1e3\r\n", Close(400)),
        ("Content-Length: 5 5\r\n", Close(400)),
        ("Content-Length: 5,5\r\n", Close(400)),
        ("Content-Length:\r\n", Close(400)),
        ("Content-Length: \u{661}\r\n", Close(400)),
        ("Content-Length: 18446744073709551616\r\n", Close(400)),
        ("Content-Length: 0\r\nContent-Length: 0\r\n", Close(400)),
        ("Content-Length: 0\r\ncontent-length: 9\r\n", Close(400)),
        ("Content-Length: 18446744073709551615\r\n", Close(413)),
        ("Content-Length: 4294967296\r\n", Close(413)),
        ("Content-Length: 65537\r\n", Close(413)),
        ("Content-Length: 65536\r\n", Items(0, Body)),
        ("Content-Length: 00000000000000000000\r\n", Items(1, Idle)),
    ] {
        assert_eq!(fate(&options(headers)), expected, "{headers:?}");
    }
}

#[test]
fn bombs_are_refused_before_they_are_read() {
    let x = |count: usize| "x".repeat(count);
    let many = |count: usize| {
        (0..count).fold(String::new(), |mut text, n| {
            write!(text, "A{n}: 1\r\n").unwrap();
            text
        })
    };
    for (name, text, expected) in [
        ("a method without end", x(5000), Close(400)),
        ("a method of 33 bytes", format!("{} * RTSP/1.0\r\n", x(33)), Close(400)),
        ("an address without end", format!("OPTIONS /{}", x(5000)), Close(414)),
        ("an address of 3000 bytes", format!("OPTIONS /{} RTSP/1.0\r\n\r\n", x(3000)), Close(414)),
        ("an address of 2049 bytes", format!("OPTIONS /{} RTSP/1.0\r\n", x(2048)), Close(414)),
        ("an address of 2048 bytes", format!("OPTIONS /{} RTSP/1.0\r\n\r\n", x(2047)), Items(1, Idle)),
        ("spaces without end", format!("OPTIONS {}", " ".repeat(5000)), Close(414)),
        ("a header without end", format!("OPTIONS * RTSP/1.0\r\nA: {}", x(5000)), Close(400)),
        ("a header of 2049 bytes", format!("OPTIONS * RTSP/1.0\r\nA: {}\r\n", x(2046)), Close(400)),
        ("a header of 2048 bytes", format!("OPTIONS * RTSP/1.0\r\nA: {}\r\n\r\n", x(2045)), Items(1, Idle)),
        ("a header name without end", format!("OPTIONS * RTSP/1.0\r\n{}", x(5000)), Close(400)),
        ("65 headers", format!("OPTIONS * RTSP/1.0\r\n{}\r\n", many(65)), Close(400)),
        ("64 headers", format!("OPTIONS * RTSP/1.0\r\n{}\r\n", many(64)), Items(1, Idle)),
        (
            "20 KiB of headers",
            format!("OPTIONS * RTSP/1.0\r\n{}", format!("A: {}\r\n", x(1000)).repeat(20)),
            Close(400),
        ),
        (
            "folds without end",
            format!("OPTIONS * RTSP/1.0\r\nA: 1\r\n{}", format!(" {}\r\n", x(500)).repeat(5)),
            Close(400),
        ),
        (
            "empty folds without end",
            format!("OPTIONS * RTSP/1.0\r\nA: 1\r\n{}", " \r\n".repeat(3000)),
            Close(400),
        ),
        ("line ends without end", "\r\n".repeat(40), Close(400)),
        ("bare line ends without end", "\n".repeat(70), Close(400)),
        ("some line ends", "\r\n".repeat(32), Items(0, Idle)),
        ("a request that stops", "OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n".to_owned(), Items(0, Headers)),
    ] {
        assert_eq!(fate(text.as_bytes()), expected, "{name}");
    }
}

#[test]
fn frames() {
    let frame =
        |length: usize| [&[b'$', 0, (length >> 8) as u8, length as u8][..], &vec![0; length]].concat();
    check(&[
        ("empty frame", b"$\0\0\0", Items(1, Idle)),
        ("a frame before anything else", b"$\x07\0\x01x", Items(1, Idle)),
        ("half a frame header", b"$\0", Items(0, Frame)),
        ("a frame that stops", b"$\0\xff\xff....", Items(0, Frame)),
        ("a frame that holds a request", b"$\0\0\x16OPTIONS * RTSP/1.0\r\n\r\n", Items(1, Idle)),
        ("a frame, then rubbish", b"$\0\0\0\x01", Close(400)),
        ("a frame inside headers", b"OPTIONS * RTSP/1.0\r\n$\0\0\0\r\n\r\n", Close(400)),
        ("a method that begins with $", b"$ET / RTSP/1.0\r\n\r\n", Items(0, Frame)),
    ]);
    assert_eq!(fate(&frame(65_535)), Items(1, Idle));
    assert_eq!(fate(&frame(65_535).repeat(3)), Items(3, Idle));
}

#[test]
fn a_body_of_the_next_request_is_not_a_request() {
    let mut decoder = Decoder::default();
    decoder.feed(b"SET_PARAMETER * RTSP/1.0\r\nContent-Length: 23\r\n\r\nTEARDOWN / RTSP/1.0\r\n\r\n");
    let Ok(Some(Item::Request(request))) = decoder.poll_item() else { panic!() };
    assert_eq!((request.method.as_str(), request.body.len()), ("SET_PARAMETER", 23));
    assert_eq!((decoder.poll_item(), decoder.phase()), (Ok(None), Idle));
}

/// `400`, `404` (no name that a channel can have), or `channel track`.
fn addressed(url: &str) -> String {
    match Target::parse(url) {
        Err(error) => error.status.code().to_string(),
        Ok(target) if target.path.is_empty() => "404".to_owned(),
        Ok(target) => {
            let track = target.track.as_ref().map_or("-", |track| track.as_str());
            format!("{} {track}", target.path)
        }
    }
}

#[test]
fn addresses() {
    for (url, expected) in [
        ("", "400"),
        ("**", "400"),
        ("ch", "400"),
        ("?", "400"),
        ("#", "400"),
        ("://", "400"),
        ("rtsp:", "400"),
        ("rtsp:/", "400"),
        ("rtsp://", "400"),
        ("rtsp:///", "400"),
        ("rtsp://@/ch", "400"),
        ("rtsp://:554/ch", "400"),
        ("rtsp://h:65536/ch", "400"),
        ("rtsp://h:+1/ch", "400"),
        ("rtsp://h:1:2/ch", "400"),
        ("rtsp://[/ch", "400"),
        ("rtsp://[]/ch", "400"),
        ("rtsp://[::1/ch", "400"),
        ("rtsp://[1.2.3.4]/ch", "400"),
        ("javascript:alert(1)", "400"),
        ("file:///etc/shadow", "400"),
        ("http://h/ch", "400"),
        ("rtsp://h/ch\u{7f}", "400"),
        ("rtsp://h/\u{2028}", "400"),
        ("rtsp://h", "404"),
        ("rtsp://h/", "404"),
        ("rtsp://h?ch", "404"),
        ("/", "404"),
        ("/.", "404"),
        ("/..", "404"),
        ("/../..", "404"),
        ("/%2e%2e/%2e%2e/etc/passwd", "404"),
        ("/..%2f..%2fetc%2fpasswd", "404"),
        ("/..\\..\\windows", "404"),
        ("/ch%00", "404"),
        ("/ch%0d%0aX:%20y", "404"),
        ("/ch%", "404"),
        ("/ch%2", "404"),
        ("/ch%zz", "404"),
        ("/ch%ff", "404"),
        ("/ch%252e", "404"),
        ("/c%20h", "404"),
        ("/ch;ls", "404"),
        ("/ch'--", "404"),
        ("/<script>", "404"),
        ("/\u{202e}hc", "404"),
        ("/a/b/c", "a b/c"),
        ("/a/b/c/d/e/f/g/h", "a b/c/d/e/f/g/h"),
        ("/ch/..", "ch .."),
        ("/ch/trackID=-1", "ch trackID=-1"),
        ("/ch/trackID=99999999999999999999", "ch trackID=99999999999999999999"),
        ("/ch/trackID=", "ch trackID="),
        ("/ch?token=%", "ch -"),
        ("/ch?&&&==&", "ch -"),
        ("/ch????", "ch -"),
        ("rtsp://a:b@c:d@h/ch", "ch -"),
    ] {
        assert_eq!(addressed(url), expected, "{url}");
    }
    assert_eq!(addressed(&format!("/{}", "a".repeat(64))), format!("{} -", "a".repeat(64)));
    assert_eq!(addressed(&format!("/{}", "a".repeat(65))), "404");
    assert_eq!(addressed(&"/".repeat(limits::URL_BYTES_MAX)), "404");
    assert_eq!(addressed(&"/".repeat(limits::URL_BYTES_MAX + 1)), "414");
}

/// The status, or what is chosen.
fn transported(text: &str) -> String {
    match choose(text, |_| true) {
        Err(error) => error.status.code().to_string(),
        Ok(Offer::Of(transport)) => transport.to_string(),
        Ok(Offer::AnyChannels) => "RTP/AVP/TCP;unicast".to_owned(),
    }
}

#[test]
fn transports() {
    let tcp = "RTP/AVP/TCP;unicast";
    for (text, expected) in [
        ("", "461"),
        (";", "461"),
        (",,,", "461"),
        ("=", "461"),
        ("\"", "461"),
        ("\0", "461"),
        ("RTP", "461"),
        ("RTP/AVP/SCTP;unicast", "461"),
        ("RTP/AVP/UDP/TCP;unicast", "461"),
        ("RTP/SAVPF;unicast;client_port=5000-5001", "461"),
        ("RTP/AVP;multicast;port=5000-5001;ttl=127", "461"),
        ("RTP/AVP;unicast", "461"),
        ("RTP/AVP;unicast;client_port", "461"),
        ("RTP/AVP;unicast;client_port=", "400"),
        ("RTP/AVP;unicast;client_port=0-0", "400"),
        ("RTP/AVP;unicast;client_port=0-1", "400"),
        ("RTP/AVP;unicast;client_port=19-20", "400"),
        ("RTP/AVP;unicast;client_port=53-54", "400"),
        ("RTP/AVP;unicast;client_port=5000-53", "400"),
        ("RTP/AVP;unicast;client_port=1023-1024", "400"),
        ("RTP/AVP;unicast;client_port=5000-5000", "400"),
        ("RTP/AVP;unicast;client_port=65535", "400"),
        ("RTP/AVP;unicast;client_port=65536-65537", "400"),
        ("RTP/AVP;unicast;client_port=-5000", "400"),
        ("RTP/AVP;unicast;client_port=5000-5001-5002", "400"),
        ("RTP/AVP;unicast;client_port=0x1388-0x1389", "400"),
        ("RTP/AVP;unicast;client_port=\"5000-5001\"", "400"),
        ("RTP/AVP/TCP;interleaved=0-0", "400"),
        ("RTP/AVP/TCP;interleaved=255-256", "400"),
        ("RTP/AVP/TCP;interleaved=-1-0", "400"),
        ("RTP/AVP/TCP;interleaved=99999999999-0", "400"),
        ("RTP/AVP/TCP;mode=\"", tcp),
        ("RTP/AVP/TCP;mode=\"\\", tcp),
        ("RTP/AVP/TCP;mode=", tcp),
        ("RTP/AVP/TCP;mode=\"\"", tcp),
        ("RTP/AVP/TCP;;;;;=;==", tcp),
        ("RTP/AVP/TCP;destination=192.0.2.1;source=192.0.2.2", tcp),
        ("RTP/AVP/TCP;ssrc=nonsense;ttl=-1;layers=x", tcp),
        (
            "RTP/AVP;unicast;destination=192.0.2.1;client_port=5000-5001",
            "RTP/AVP;unicast;client_port=5000-5001",
        ),
    ] {
        assert_eq!(transported(text), expected, "{text}");
    }
    assert_eq!(transported(&"X,".repeat(1000)), "400");
    assert!(choose(&"\"".repeat(2000), |lower| lower == LowerTransport::Tcp).is_err());
}

#[test]
fn small_headers() {
    for text in ["", " ", ";", ";timeout=60", "a b", "a\0", "\u{e9}"] {
        assert_eq!(SessionHeader::parse(text), None, "{text:?}");
    }
    for text in ["x;timeout=-1", "x;timeout=99999999999", "x;timeout=1e9", "x;timeout", "x;;;=;"] {
        assert_eq!(SessionHeader::parse(text).and_then(|header| header.timeout), None, "{text:?}");
    }
    for text in
        ["", "-", "npt", "npt=", "npt=-", "npt=1e400-", "npt=-inf", "npt=NaN-", "npt=1:-2:3-", "bytes=0-"]
    {
        assert_eq!(Range::parse(text), None, "{text:?}");
    }
    assert!(rtp_info::parse(&"url=x,".repeat(10_000)).len() <= limits::RTP_INFO_ENTRIES_MAX);
    for text in ["", ",", ";;", "url", "url=", "seq=1", "=;=,="] {
        assert!(rtp_info::parse(text).is_empty(), "{text:?}");
    }
}

/// The error's text, or `tracks N`.
fn announced(text: &str) -> String {
    match sdp::parse(text.as_bytes()) {
        Ok(announced) => format!("tracks {}", announced.tracks.len()),
        Err(sdp::SdpError::Malformed(_)) => "malformed".to_owned(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn descriptions() {
    let payload_type = "track 0 has no payload type of 0 to 127";
    for (lines, expected) in [
        ("", "the SDP has no media"),
        ("a=control:*\n", "the SDP has no media"),
        ("m=\n", "malformed"),
        ("m=video\n", "malformed"),
        ("m=video 0\n", "malformed"),
        ("m=video 0 RTP/AVP\n", payload_type),
        ("mm=video 0 RTP/AVP 96\n", "the SDP has no media"),
        ("m=audio 0 RTP/AVP -1\n", payload_type),
        ("m=audio 0 RTP/AVP 256\n", payload_type),
        ("m=audio 0 RTP/AVP *\n", payload_type),
        ("m=audio 0 RTP/AVP 0x10\n", payload_type),
        ("m=audio 0 RTP/SAVP 0\n", "track 0 is not RTP/AVP"),
        ("m=video 0 UDP/TLS/RTP/SAVPF 96\n", "track 0 is not RTP/AVP"),
        ("m=application 0 TCP/BFCP *\n", "track 0 is not RTP/AVP"),
        ("m=image 0 udptl t38\n", "track 0 is not RTP/AVP"),
        ("c=IN IP4 999.999.999.999\nm=audio 0 RTP/AVP 0\n", "tracks 1"),
        ("o=x\no=y\nt=z\nm=audio 0 RTP/AVP 0\n", "tracks 1"),
        ("b=AS:18446744073709551615\nm=audio 0 RTP/AVP 0\nb=TIAS:18446744073709551615\n", "tracks 1"),
        ("m=audio 0 RTP/AVP 0\na=rtpmap:0 PCMU/4294967295/4294967295\n", "tracks 1"),
    ] {
        assert_eq!(announced(&format!("v=0\n{lines}")), expected, "{lines:?}");
    }
    // What is not understood beside a track, or of it, is ignored.
    for lines in [
        "",
        "=\n",
        "no equals sign\n",
        "a=x\0y\n",
        "a=x\ry\n",
        "b=AS:-1\n",
        "b=AS\n",
        "b=AS:4096.5\n",
        "m=\n",
        "m=video\n",
        "m=application 0 TCP/BFCP *\n",
        "m=application/X 0 RTP/AVP smart/1/90000\n",
        "a=rtpmap\n",
        "a=rtpmap:\n",
        "a=rtpmap:0 PCMU/0\n",
    ] {
        assert_eq!(announced(&format!("v=0\nm=audio 0 RTP/AVP 0\n{lines}")), "tracks 1", "{lines:?}");
        assert_eq!(announced(&format!("v=0\n{lines}m=audio 0 RTP/AVP 0\n")), "tracks 1", "{lines:?}");
    }
    for track in [
        "m=video -1353744643 RTP/AVP 96\n",
        "m=video 65536 RTP/AVP 96\n",
        "m=video 0/x RTP/AVP 96\n",
        "m=video  0  RTP/AVP  96\n",
        "m=audio 0 RTP/AVP 0 128 x\n",
        "m=video 0 RTP/AVP 96\n",
        "m=video 0 RTP/AVP 96\na=rtpmap:97 H264/90000\n",
        "m=video 0 RTP/AVP 96\na=rtpmap:96 H264/-90000\n",
        "m=video 0 RTP/AVP 96\na=rtpmap:96 H264/90000.5\n",
        "m=video 0 RTP/AVP 96\na=rtpmap:96 H264/4294967296\n",
        "m=video 0 RTP/AVP 96\na=rtpmap:96 H264\n",
        "m=video 0 RTP/AVP 96\na=rtpmap:96 /\n",
    ] {
        assert_eq!(announced(&format!("v=0\n{track}")), "tracks 1", "{track:?}");
    }
    let audio = "m=audio 0 RTP/AVP 0\n";
    assert_eq!(announced(&format!("v=0\n{}", audio.repeat(4))), "tracks 4");
    assert_eq!(
        announced(&format!("v=0\n{}", audio.repeat(500))),
        "the SDP has 500 tracks, at most 4 are taken"
    );
    assert_eq!(announced(&format!("v=0\n{}", "a=x\n".repeat(600))), "the SDP is too long");
    assert_eq!(announced(&format!("v=0\na={}\n", "x".repeat(9000))), "the SDP is too long");
    assert_eq!(announced(&"v=0\n".repeat(20_000)), "the SDP is too long");
    for text in ["", "\0", "v", "v=", "v=1\n", "v=0 0\n", "\u{feff}v=0\n", "m=audio 0 RTP/AVP 0\n", "<xml/>"]
    {
        assert_eq!(announced(text), "malformed", "{text:?}");
    }
}

#[test]
fn nothing_that_a_broadcaster_hides_in_an_sdp_reaches_viewers() {
    let sdp = "v=0\no=spy 1 1 IN IP4 198.51.100.1\ns=spy\nc=IN IP4 198.51.100.2\nk=clear:spy\ne=spy@spy\nu=http://spy\n\
        a=control:rtsp://spy/\na=key-mgmt:spy\n\
        m=audio 9 RTP/AVP 0\ni=spy\nc=IN IP4 198.51.100.3\nk=prompt\na=control:rtsp://spy/0\na=ssrc:1 cname:spy\n\
        a=candidate:spy\na=crypto:1 spy\na=tool:spy\na=rtpmap:99 spy/1\na=fmtp:99 spy\na=recvonly\na=x-spy:1\na=ptime:20\n";
    let announced = sdp::parse(sdp.as_bytes()).unwrap();
    let shown = sdp::render(&announced.description, None, false);
    assert!(!shown.contains("spy") && !shown.contains("198.51.100"), "{shown}");
    assert!(shown.ends_with("m=audio 0 RTP/AVP 0\r\na=ptime:20\r\na=control:trackID=0\r\n"), "{shown}");
}
