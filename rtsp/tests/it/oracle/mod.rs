//! Our decoder beside rtsp-types: over a table, the seeds of the fuzzer, messages that are written here and bytes that are nearly
//! RTSP. What both take means the same to both, and where only one takes a message, a named reason says why.

mod compare;

use proptest::prelude::*;
use rtsp_types::{Message, Url};
use slotcast_rtsp::{
    limits,
    message::{Decoder, Item, MessageErrorKind, Request, Response},
    status::Status,
};

use self::compare::{is_comparable, same};
use crate::wire_properties::nearly_rtsp;

/// What became of the message at the front of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Both took it, as so many bytes, and read the same.
    Same(usize),
    /// Only we took it: what we tolerate.
    OnlyOurs(&'static str),
    /// Only rtsp-types took it: why we refuse it.
    OnlyTheirs(&'static str),
    /// Neither took it, or there is nothing to compare.
    Neither,
}

/// Puts the message at the front of `bytes` before both.
///
/// Panics where both take it and read different things, and where only one takes it for no reason that is named below.
#[track_caller]
fn compare(bytes: &[u8]) -> Verdict {
    if !is_comparable(bytes) {
        return Verdict::Neither;
    }
    if let Some(count) = same(bytes) {
        return Verdict::Same(count);
    }
    let mut decoder = Decoder::default();
    decoder.feed(bytes);
    let (our, their) = (decoder.poll_item(), Message::<Vec<u8>>::parse(bytes));
    let shown = String::from_utf8_lossy(bytes);
    match (our, their) {
        (Ok(Some(item)), Err(_)) => {
            let head = &bytes[..bytes.len() - decoder.buffered()];
            Verdict::OnlyOurs(tolerated(head, &item).unwrap_or_else(|| panic!("why not they? {shown:?}")))
        }
        (Err(error), Ok((_, count))) => {
            let why = refused(error.kind, &bytes[..count]);
            Verdict::OnlyTheirs(why.unwrap_or_else(|| panic!("why not we? {error} {shown:?}")))
        }
        (Ok(None), Ok(_)) => panic!("we wait for more: {shown:?}"),
        (Ok(Some(_)), Ok(_)) => Verdict::Neither,
        (Ok(None) | Err(_), Err(_)) => Verdict::Neither,
    }
}

/// What we take and rtsp-types does not.
fn tolerated(message: &[u8], item: &Item) -> Option<&'static str> {
    let Ok(text) = str::from_utf8(message) else { return Some("text in another encoding than UTF-8") };
    let mut lines = text.trim_start_matches(['\r', '\n']).split_inclusive('\n');
    let start = lines.next()?;
    if text.split_inclusive('\n').any(|line| line.ends_with('\n') && !line.ends_with("\r\n")) {
        return Some("lines that end without a carriage return");
    }
    let start = start.trim_end_matches("\r\n");
    if start.contains("  ") || start.trim() != start && matches!(item, Item::Request(_)) {
        return Some("more than one space in the start line");
    }
    if lines.any(|line| line.split_once(':').is_some_and(|(name, _)| name.ends_with([' ', '\t']))) {
        return Some("white space before a header's colon");
    }
    match item {
        // What an address means is looked at later: a relative one and a wrong one have answers of their own.
        Item::Request(request) if request.url != "*" && Url::parse(&request.url).is_err() => {
            Some("an address that is not absolute")
        }
        Item::Request(request) if !request.url.is_ascii() => Some("an address with letters beyond ASCII"),
        Item::Response(_) if start.split(' ').count() == 2 => Some("a response without a reason"),
        _ => None,
    }
}

/// What rtsp-types takes and we do not.
fn refused(kind: MessageErrorKind, message: &[u8]) -> Option<&'static str> {
    let text = String::from_utf8_lossy(message);
    let text = text.trim_start_matches(['\r', '\n']);
    let (start, headers) = text.split_once("\r\n")?;
    let is_control = |c: char| c.is_control() && !matches!(c, '\r' | '\n' | '\t');
    let mut lines = headers.split("\r\n");
    match kind {
        MessageErrorKind::Version => Some("RTSP 2.0"),
        MessageErrorKind::NotRtsp if start.starts_with(' ') => Some("no method"),
        MessageErrorKind::StartLine if start.contains(char::is_control) => Some("a control character"),
        MessageErrorKind::StartLine if start.starts_with("RTSP/") => Some("a code that is none"),
        MessageErrorKind::StartLine => {
            let method = start.split(' ').next()?;
            (method.len() > limits::METHOD_BYTES_MAX).then_some("a method beyond its bound")
        }
        MessageErrorKind::Header if headers.contains(is_control) => Some("a control character"),
        MessageErrorKind::Header
            if headers.contains(['\r', '\n']) && headers.replace("\r\n", "").contains(['\r', '\n']) =>
        {
            Some("a lone line end in a header")
        }
        MessageErrorKind::Header => {
            lines.any(|line| line.starts_with(':')).then_some("a header without a name")
        }
        MessageErrorKind::ContentLength => {
            let length = |line: &str| line.to_ascii_lowercase().starts_with("content-length");
            let lengths: Vec<&str> = lines.filter(|line| length(line)).collect();
            (lengths.len() > 1 || lengths.iter().any(|line| line.contains('+')))
                .then_some("a length that is not one plain number")
        }
        MessageErrorKind::UrlTooLong
        | MessageErrorKind::HeadersTooMany
        | MessageErrorKind::HeadersTooLong
        | MessageErrorKind::BodyTooLong
        | MessageErrorKind::StrayLineEnds => Some("more than our bounds let through"),
        MessageErrorKind::TransferEncoding => Some("a body that is not framed by its length"),
        _ => None,
    }
}

#[test]
fn each_difference_is_on_purpose() {
    let many = |header: &str| format!("OPTIONS * RTSP/1.0\r\n{}\r\n", header.repeat(limits::HEADERS_MAX + 1));
    for (message, verdict) in [
        ("OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n", Verdict::Same(31)),
        ("OPTIONS * RTSP/1.0\nCSeq: 1\n\n", Verdict::OnlyOurs("lines that end without a carriage return")),
        ("OPTIONS  * RTSP/1.0\r\n\r\n", Verdict::OnlyOurs("more than one space in the start line")),
        ("OPTIONS * RTSP/1.0\r\nCSeq : 1\r\n\r\n", Verdict::OnlyOurs("white space before a header's colon")),
        ("DESCRIBE /ch RTSP/1.0\r\nCSeq: 1\r\n\r\n", Verdict::OnlyOurs("an address that is not absolute")),
        ("RTSP/1.0 200\r\nCSeq: 1\r\n\r\n", Verdict::OnlyOurs("a response without a reason")),
        ("OPTIONS * RTSP/2.0\r\nCSeq: 1\r\n\r\n", Verdict::OnlyTheirs("RTSP 2.0")),
        ("OPTIONS * RTSP/1.0\r\n: 1\r\n\r\n", Verdict::OnlyTheirs("a header without a name")),
        ("OPTIONS * RTSP/1.0\r\nX: a\0b\r\n\r\n", Verdict::OnlyTheirs("a control character")),
        (
            "OPTIONS * RTSP/1.0\r\nContent-Length: +0\r\n\r\n",
            Verdict::OnlyTheirs("a length that is not one plain number"),
        ),
        (
            "OPTIONS * RTSP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
            Verdict::OnlyTheirs("a body that is not framed by its length"),
        ),
        (&many("X: y\r\n"), Verdict::OnlyTheirs("more than our bounds let through")),
        ("GET / HTTP/1.1\r\n\r\n", Verdict::Neither),
        ("OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n", Verdict::Neither),
    ] {
        assert_eq!(compare(message.as_bytes()), verdict, "{message:?}");
    }
}

#[test]
fn what_players_and_encoders_say_means_the_same() {
    for message in [
        "ANNOUNCE rtsp://h:8555/ch RTSP/1.0\r\nCSeq: 2\r\nContent-Type: application/sdp\r\nContent-Length: 3\r\n\r\nv=0",
        "SETUP rtsp://h/ch/trackID=0 RTSP/1.0\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\ncseq: 3\r\n\r\n",
        "PLAY rtsp://h/ch?token=a%20b RTSP/1.0\r\nCSeq: 4\r\nRange: npt=0.000-\r\nSession: 1\r\nX: a\r\n\t b\r\n\r\n",
        "GET_PARAMETER rtsp://u:p@[::1]:554/ch/ RTSP/1.0\r\nCSeq: 5\r\nX: 1\r\nX:2\r\n\r\n",
        "RTSP/1.0 401 Unauthorized\r\nCSeq: 6\r\nWWW-Authenticate: Digest realm=\"r\", nonce=\"n\"\r\n\r\n",
        "\r\nRTSP/1.0 454 Session Not Found\r\nCSeq: 7\r\nContent-Length: 2\r\n\r\nok",
    ] {
        assert_eq!(compare(message.as_bytes()), Verdict::Same(message.len()), "{message:?}");
    }
}

#[test]
fn the_seeds_of_the_fuzzer_are_read_alike_message_by_message() {
    let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/seeds/rtsp_decoder");
    let (mut seen, mut same) = (0, 0);
    for seed in std::fs::read_dir(seeds).unwrap() {
        let bytes = std::fs::read(seed.unwrap().path()).unwrap();
        seen += 1;
        let mut rest = &bytes[..];
        while let Verdict::Same(count) = compare(rest) {
            same += 1;
            rest = &rest[count..];
        }
    }
    assert!(seen >= 7 && same >= 3, "{seen} seeds, {same} messages");
}

proptest! {
    #[test]
    fn what_is_written_here_is_read_there(
        method in "[A-Z_]{1,12}",
        path in "[a-z0-9/=]{0,20}",
        names in proptest::collection::vec("[A-Za-z-]{1,12}", 0..6),
        value in "[ -~]{0,40}",
        body in proptest::collection::vec(any::<u8>(), 0..60),
    ) {
        let mut request = Request::new(&method, &format!("rtsp://h.example/{path}"));
        names.iter().for_each(|name| request.headers.push(name, &value));
        let mut response = Response::new(Status::OK);
        response.headers = request.headers.clone();
        (request.body, response.body) = (body.clone().into(), body.into());
        // A name that is drawn may be one that frames the body.
        prop_assume!(request.headers.get("Transfer-Encoding").is_none());
        for bytes in [request.to_bytes(), response.to_bytes()] {
            prop_assert_eq!(compare(&bytes), Verdict::Same(bytes.len()));
        }
    }

    #[test]
    fn whatever_comes_each_difference_has_a_name(bytes in nearly_rtsp()) {
        compare(&bytes);
    }
}
