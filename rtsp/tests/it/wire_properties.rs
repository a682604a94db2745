//! For any input: no public parse entry panics, and what is written is read back as the same value.

use bytes::Bytes;
use proptest::prelude::*;
use slotcast_auth::{
    Challenge, Credential, Credentials, LinkKey, Nonces, Proof as _, Request as Asked, Secret, Verdict,
};
use slotcast_rtsp::{
    headers::{
        range::Range,
        rtp_info::{self, RtpInfo},
        session::SessionHeader,
        transport::{Chosen, LowerTransport, Offer, TrackTransport, UdpPorts, choose, parse_answer},
    },
    message::{Decoder, Headers, Item, Request, Response},
    sdp,
    status::Status,
    url::{Target, resolve},
};

/// Bytes that look like what they are not, more often than chance would have it.
pub(crate) fn nearly_rtsp() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        Just(b"OPTIONS * RTSP/1.0\r\n".to_vec()),
        Just(b"RTSP/1.0 200 OK\r\n".to_vec()),
        Just(b"Content-Length: ".to_vec()),
        Just(b"CSeq: 1\r\n".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b"\r\n\r\n".to_vec()),
        Just(b"$\x00\x00".to_vec()),
        Just(b" ".to_vec()),
        "[0-9]{1,6}".prop_map(String::into_bytes),
        proptest::collection::vec(any::<u8>(), 0..8),
    ];
    proptest::collection::vec(word, 0..24).prop_map(|words| words.concat())
}

/// Text made of what the headers' and addresses' grammars turn on.
fn nearly_text() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        "[ -~]{0,6}",
        "[=;,\"\\\\/?%&:@\\[\\]#*-]{1,3}",
        Just("rtsp://h/ch".to_owned()),
        Just("trackID=0".to_owned()),
        Just("RTP/AVP/TCP".to_owned()),
        Just("client_port=5000-5001".to_owned()),
        Just("interleaved=0-1".to_owned()),
        Just("mode=".to_owned()),
        Just("Digest nonce=\"a\", realm=\"slotcast\"".to_owned()),
        Just("npt=".to_owned()),
        any::<String>(),
    ];
    proptest::collection::vec(word, 0..12).prop_map(|words| words.concat())
}

fn nearly_sdp() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        Just("m=video 0 RTP/AVP 96".to_owned()),
        Just("m=audio 0 RTP/AVP 0".to_owned()),
        Just("a=rtpmap:96 H264/90000".to_owned()),
        Just("a=control:trackID=0".to_owned()),
        "a=(rtpmap|fmtp|control|framesize):[ -~]{0,20}",
        "b=(AS|TIAS):[0-9]{1,20}",
        "[a-z]=[ -~]{0,20}",
        any::<String>(),
    ];
    proptest::collection::vec(line, 0..12).prop_map(|lines| format!("v=0\r\n{}", lines.join("\r\n")))
}

fn headers() -> impl Strategy<Value = Headers> {
    let name = "[A-Za-z][A-Za-z0-9-]{0,12}".prop_filter("framing", |name| {
        !name.eq_ignore_ascii_case("Content-Length") && !name.eq_ignore_ascii_case("Transfer-Encoding")
    });
    proptest::collection::vec((name, any::<String>()), 0..8).prop_map(|entries| {
        entries.iter().fold(Headers::new(), |headers, (name, value)| headers.with(name, value))
    })
}

fn body() -> impl Strategy<Value = Bytes> {
    proptest::collection::vec(any::<u8>(), 0..64).prop_map(Bytes::from)
}

fn drained(bytes: &[u8]) -> Option<Vec<Item>> {
    let mut decoder = Decoder::default();
    decoder.feed(bytes);
    let mut items = Vec::new();
    while let Some(item) = decoder.poll_item().ok()? {
        items.push(item);
    }
    Some(items)
}

/// The headers as they are once read: the length is one of them.
fn with_length(mut headers: Headers, body: &Bytes) -> Headers {
    if !body.is_empty() {
        headers.push("Content-Length", body.len().to_string());
    }
    headers
}

proptest! {
    #[test]
    fn the_decoder_takes_anything(bytes in nearly_rtsp(), cut in 0..200_usize) {
        let mut decoder = Decoder::default();
        let (first, second) = bytes.split_at(cut.min(bytes.len()));
        for piece in [first, second] {
            decoder.feed(piece);
            // Each item and each error takes bytes, so this ends.
            let mut turns = 0;
            while !matches!(decoder.poll_item(), Ok(None)) {
                turns += 1;
                prop_assert!(turns <= bytes.len() + 1);
            }
            decoder.phase();
        }
    }

    #[test]
    fn cuts_change_nothing(bytes in nearly_rtsp(), cut in 0..200_usize) {
        let outcome = |pieces: &[&[u8]]| {
            let mut decoder = Decoder::default();
            let mut outcome = Vec::new();
            for piece in pieces {
                decoder.feed(piece);
                loop {
                    match decoder.poll_item() {
                        Ok(None) => break,
                        other => outcome.push(other),
                    }
                }
            }
            outcome
        };
        let (first, second) = bytes.split_at(cut.min(bytes.len()));
        prop_assert_eq!(outcome(&[&bytes]), outcome(&[first, second]));
    }

    #[test]
    fn header_and_address_parsers_take_anything(text in nearly_text()) {
        if let Ok(Offer::Of(transport)) = choose(&text, |_| true) {
            prop_assert_eq!(choose(&transport.to_string(), |_| true), Ok(Offer::Of(transport)));
            let _ = parse_answer(&text, transport);
        }
        let _ = choose(&text, |lower| lower == LowerTransport::Tcp);
        if let Some(header) = SessionHeader::parse(&text) {
            prop_assert_eq!(SessionHeader::parse(&header.to_string()), Some(header));
        }
        let _ = Range::parse(&text);
        rtp_info::parse(&text);
        resolve(&text, &text);
        if let Some(challenge) = Challenge::parse(&text) {
            challenge.respond(&text, &text, "PLAY", &text, &text);
        }
        if let Ok(target) = Target::parse(&text) {
            prop_assert!(target.path.is_empty() || target.channel().is_some());
            prop_assert!(!format!("{target:?}").contains("token="), "only a name or a track may be shown");
            let again = Target::parse(&target.content_base()).unwrap();
            prop_assert_eq!(again.query, target.query);
        }
    }

    #[test]
    fn credentials_take_anything(text in nearly_text(), url in nearly_text()) {
        let target = Target::parse(&url).unwrap_or_else(|_| Target::parse("/ch").unwrap());
        let headers = Headers::new().with("Authorization", format!("Digest {text}")).with("Authorization", &text);
        #[expect(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
        let now = std::time::Instant::now();
        let asked = Asked {
            method: "DESCRIBE",
            path: &target.path,
            path_of: |uri| Target::parse(uri).ok().map(|target| target.path),
            nonces: &Nonces::default(),
            basic: true,
        };
        let credentials = Credentials::of_request(target.token(), headers.all("Authorization"), &asked);
        let (password, key) = (Secret::new("p".to_owned()), LinkKey::from_reservation_id("ID"));
        for credential in [Credential::Password(&password), Credential::Link(&key)] {
            prop_assert_ne!(credentials.verify(now, &credential), Verdict::Granted);
        }
    }

    #[test]
    fn descriptions_take_anything_and_what_is_rendered_is_read_back(text in nearly_sdp()) {
        if let Ok(announced) = sdp::parse(text.as_bytes()) {
            let rendered = sdp::render(&announced.description, None, false);
            let again = sdp::parse(rendered.as_bytes());
            prop_assert_eq!(again.as_ref().map(|again| &again.tracks), Ok(&announced.tracks));
            prop_assert_eq!(again.map(|again| again.description), Ok(announced.description));
        }
    }

    #[test]
    fn any_bytes_are_no_sdp_that_panics(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
        let _ = sdp::parse(&bytes);
    }

    #[test]
    fn requests_are_read_as_written(method in "[A-Z_]{1,32}", url in "[!-~]{1,64}", headers in headers(), body in body()) {
        prop_assume!(!method.starts_with("RTSP/"));
        let request = Request { method, url, headers, body };
        let expected = Request { headers: with_length(request.headers.clone(), &request.body), ..request.clone() };
        prop_assert_eq!(drained(&request.to_bytes()), Some(vec![Item::Request(expected)]));
    }

    #[test]
    fn responses_are_read_as_written(code in 100..600_u16, headers in headers(), body in body()) {
        let response = Response { headers, body, ..Response::new(Status::from_code(code).unwrap()) };
        let expected = Response { headers: with_length(response.headers.clone(), &response.body), ..response.clone() };
        prop_assert_eq!(drained(&response.to_bytes()), Some(vec![Item::Response(expected)]));
    }

    #[test]
    fn a_message_stays_one_message_whatever_is_put_in(texts in proptest::collection::vec(any::<String>(), 5)) {
        let [name, value, url, reason, method] = &texts[..] else { unreachable!() };
        let framing = ["content-length", "transfer-encoding"];
        prop_assume!(!framing.contains(&name.to_ascii_lowercase().as_str()));
        let mut response = Response { reason: reason.clone(), ..Response::new(Status::OK) };
        response.headers.push(name, value);
        prop_assert_eq!(drained(&response.to_bytes()).map(|items| items.len()), Some(1));
        let mut request = Request::new(&format!("A{method}"), &format!("/{url}"));
        request.headers.push(name, value);
        let items = drained(&request.to_bytes());
        prop_assert!(items.is_none_or(|items| items.len() == 1));
    }

    #[test]
    fn transports_are_read_as_written(
        ports in (1024..u16::MAX, any::<u16>()), channels in any::<(u8, u8)>(),
    ) {
        let server_port = UdpPorts { rtp: ports.1.max(1), rtcp: 8001 };
        let udp = TrackTransport::Udp { client_rtp: ports.0, client_rtcp: ports.0 + 1 };
        prop_assert_eq!(choose(&udp.to_string(), |_| true), Ok(Offer::Of(udp)));
        let chosen = Chosen { transport: udp, server: Some(server_port) };
        prop_assert_eq!(parse_answer(&chosen.to_string(), udp), Some(chosen));
        prop_assume!(channels.0 != channels.1);
        let tcp = TrackTransport::Tcp { rtp: channels.0, rtcp: channels.1 };
        prop_assert_eq!(choose(&tcp.to_string(), |_| true), Ok(Offer::Of(tcp)));
        let chosen = Chosen { transport: tcp, server: None };
        prop_assert_eq!(parse_answer(&chosen.to_string(), tcp), Some(chosen));
    }

    #[test]
    fn rtp_info_is_read_as_written(
        entries in proptest::collection::vec(("rtsp://h/[a-z0-9/=?&.-]{1,20}", any::<Option<u16>>(), any::<Option<u32>>()), 0..8),
    ) {
        let entries: Vec<_> = entries.into_iter().map(|(url, seq, rtptime)| RtpInfo { url, seq, rtptime }).collect();
        prop_assert_eq!(rtp_info::parse(&rtp_info::write(&entries)), entries);
    }
}
