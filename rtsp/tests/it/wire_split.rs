//! Messages mean the same however the network cuts them.

use slotcast_rtsp::message::{Decoder, Item, MessageError};

type Outcome = Vec<Result<Item, MessageError>>;

fn drain(decoder: &mut Decoder, outcome: &mut Outcome) {
    loop {
        match decoder.poll_item() {
            Ok(Some(item)) => outcome.push(Ok(item)),
            Ok(None) => return,
            Err(error) => outcome.push(Err(error)),
        }
    }
}

fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let mut decoder = Decoder::default();
    let mut outcome = Vec::new();
    for piece in pieces {
        decoder.feed(piece);
        drain(&mut decoder, &mut outcome);
    }
    outcome
}

/// All that can follow each other on one connection.
const CONVERSATION: &[u8] = b"\r\nOPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n\
    $\x00\x00\x05hello\
    ANNOUNCE rtsp://h/ch RTSP/1.0\nCSeq : 2\nX: folded\n  twice\n\tover\nContent-Length: 10\n\n$\0\0\x01\r\n\r\nv=\
    \n\n\r\n$\x01\x00\x00$\x02\x00\x02\r\n\
    RTSP/1.0 200 OK then some\r\nCSeq: 3\r\nContent-Length: 0\r\n\r\n\
    OPTIONS * RTSP/2.0\r\nCSeq: 4\r\nContent-Length: 1\r\n\r\nx\
    TEARDOWN rtsp://h/ch/ RTSP/1.0\r\nCSeq: 5\r\nSession: a\r\n\r\n";

/// Conversations that end in a fatal error.
fn broken() -> Vec<Vec<u8>> {
    let x = |count: usize| "x".repeat(count);
    [
        "OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n\x16\x03\x01".to_owned(),
        "OPTIONS * RTSP/1.0\r\nCSeq: 1\r\nContent-Length: -1\r\n\r\nOPTIONS * RTSP/1.0\r\n\r\n".to_owned(),
        "OPTIONS * RTSP/1.0\r\nCSeq: 1\r\nno colon\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        "\r\n\r\n\r\n OPTIONS".to_owned(),
        format!("{} * RTSP/1.0\r\n", x(2100)),
        format!("OPTIONS /{} RTSP/1.0\r\n", x(2100)),
        format!("OPTIONS /{} RTSP/1.0\r\n", x(2050)),
        format!("OPTIONS * RTSP/1.0\r\nCSeq: 1\r\nA: {}\r\n\r\n", x(2046)),
        format!("OPTIONS * RTSP/1.0\nCSeq: 1\nA: {}\n\n", x(2046)),
    ]
    .map(String::into_bytes)
    .to_vec()
}

#[test]
fn one_cut_anywhere() {
    let whole = decode([CONVERSATION]);
    assert_eq!(whole.len(), 8);
    assert_eq!(whole.iter().filter(|item| item.is_err()).count(), 1);
    for cut in 0..=CONVERSATION.len() {
        let (first, second) = CONVERSATION.split_at(cut);
        assert_eq!(decode([first, second]), whole, "cut at {cut}");
    }
}

#[test]
fn pieces_of_every_size() {
    let whole = decode([CONVERSATION]);
    for size in 1..CONVERSATION.len() {
        assert_eq!(decode(CONVERSATION.chunks(size)), whole, "pieces of {size}");
    }
}

#[test]
fn errors_are_the_same_at_every_cut() {
    for broken in broken() {
        let whole = decode([broken.as_slice()]);
        assert!(whole.last().is_some_and(|last| last.as_ref().is_err_and(MessageError::closes)));
        for cut in 0..=broken.len() {
            let (first, second) = broken.split_at(cut);
            assert_eq!(decode([first, second]), whole, "cut at {cut}");
        }
        assert_eq!(decode(broken.chunks(1)), whole);
    }
}

#[test]
fn what_waits_is_bounded_while_it_comes_byte_by_byte() {
    use slotcast_rtsp::limits;
    let most = limits::START_LINE_BYTES_MAX.max(limits::HEADER_BYTES_MAX) + 2;
    let address = [b"OPTIONS /".as_slice(), &[b'x'; 10_000]].concat();
    let header = [b"OPTIONS * RTSP/1.0\r\nA: ".as_slice(), &[b'x'; 10_000]].concat();
    for endless in [vec![b'x'; 10_000], address, header, vec![b'\n'; 10_000]] {
        let mut decoder = Decoder::default();
        let mut is_refused = false;
        for byte in endless {
            decoder.feed(&[byte]);
            is_refused |= decoder.poll_item().is_err();
            assert!(decoder.buffered() <= most);
        }
        assert!(is_refused);
    }
}
