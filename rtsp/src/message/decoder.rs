//! Takes a stream of bytes apart into requests, responses and `$` frames, whatever the segments are.
//!
//! Owns: framing, the bounds of a message, what is tolerated of the line structure.
//! Refuses: what exceeds [`limits`], before it is kept; a length that is not one plain number.
//! Invariant: each byte is looked at a bounded number of times; after a fatal error nothing is kept or yielded.
//!
//! Tolerated: bare LF for CRLF, folded headers, spaces around a header's colon, some line ends between messages
//! (GStreamer and cameras send them as keep-alive), text that is not UTF-8 (replaced).

use bytes::{Buf, Bytes, BytesMut};

use super::{Headers, Request, Response, VERSION, is_token_char};
use crate::{
    limits,
    status::{Refused, Status},
    url,
};

/// One thing that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A request; its `CSeq` may be missing.
    Request(Request),
    /// A response.
    Response(Response),
    /// An interleaved frame (RFC 2326 §10.12).
    Frame {
        /// As the peer numbered it.
        channel: u8,
        /// 0 to 65,535 bytes, shared with the decoder's buffer.
        payload: Bytes,
    },
}

/// What the decoder waits for, so that its owner can set a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// The first byte of anything; stray line ends do not count.
    Idle,
    /// The rest of a start line and headers.
    Headers,
    /// The rest of a body.
    Body,
    /// The rest of a `$` frame.
    Frame,
}

/// Why bytes are not a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} (at byte {position})", kind.refused())]
pub struct MessageError {
    /// What is wrong.
    pub kind: MessageErrorKind,
    /// The request's `CSeq`, where it came before the error: to be echoed in the answer.
    pub cseq: Option<String>,
    /// Where: bytes since the start of the connection, of the line at fault.
    pub position: u64,
}

impl MessageError {
    /// Whether the connection must be closed, since where the next message begins is unknown. Otherwise the
    /// decoder goes on behind the message.
    pub fn closes(&self) -> bool {
        self.kind != MessageErrorKind::Version
    }
}

/// What is wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MessageErrorKind {
    /// A first byte that no method begins with: TLS or another protocol on the plain port.
    NotRtsp,
    /// Neither `METHOD URL VERSION` nor `VERSION CODE REASON`.
    StartLine,
    /// A request or response of another RTSP version.
    Version,
    /// The address, or the line that it stands in, exceeds its bound.
    UrlTooLong,
    /// A header without a colon or a proper name, or with a control character.
    Header,
    /// More headers than [`limits::HEADERS_MAX`].
    HeadersTooMany,
    /// A header beyond [`limits::HEADER_BYTES_MAX`], or all beyond [`limits::HEADERS_BYTES_TOTAL_MAX`].
    HeadersTooLong,
    /// Not one plain decimal number.
    ContentLength,
    /// A body beyond [`limits::BODY_BYTES_MAX`].
    BodyTooLong,
    /// A body framed by something else than its length.
    TransferEncoding,
    /// More than [`limits::STRAY_LINE_END_BYTES_MAX`] of line ends between two messages.
    StrayLineEnds,
}

impl MessageErrorKind {
    /// What to answer.
    pub const fn refused(self) -> Refused {
        match self {
            Self::NotRtsp => Refused::bad_request("this is not RTSP"),
            Self::StartLine => Refused::bad_request("malformed request line"),
            Self::Version => {
                Refused { status: Status::VERSION_NOT_SUPPORTED, reason: "this server speaks RTSP/1.0" }
            }
            Self::UrlTooLong => url::TOO_LONG,
            Self::Header => Refused::bad_request("malformed header"),
            Self::HeadersTooMany => Refused::bad_request("more than 64 headers"),
            Self::HeadersTooLong => Refused::bad_request("headers too long"),
            Self::ContentLength => Refused::bad_request("malformed Content-Length"),
            Self::BodyTooLong => {
                let status = Status::REQUEST_ENTITY_TOO_LARGE;
                Refused { status, reason: "the body is longer than 64 KiB" }
            }
            Self::TransferEncoding => Refused::bad_request("Transfer-Encoding is not RTSP/1.0"),
            Self::StrayLineEnds => Refused::bad_request("too many empty lines"),
        }
    }
}

/// The start line of the message that is being read.
enum Start {
    Request { method: String, url: String },
    Response { status: Status, reason: String },
}

/// What is known of the message that is being read.
struct Head {
    start: Start,
    other_version: bool,
    headers: Headers,
    /// Bytes of all header lines so far, and of the current one with its folds.
    bytes: usize,
    line_bytes: usize,
    /// Where its start line stood, and where the current line does.
    position: u64,
    line_position: u64,
}

impl Head {
    fn finish(self, body: Bytes) -> Result<Item, MessageError> {
        if self.other_version {
            return Err(self.error(MessageErrorKind::Version, self.position));
        }
        let headers = self.headers;
        Ok(match self.start {
            Start::Request { method, url } => Item::Request(Request { method, url, headers, body }),
            Start::Response { status, reason } => Item::Response(Response { status, reason, headers, body }),
        })
    }

    fn error(&self, kind: MessageErrorKind, position: u64) -> MessageError {
        MessageError { kind, cseq: self.headers.get("CSeq").map(str::to_owned), position }
    }
}

#[derive(Default)]
enum State {
    #[default]
    Start,
    Headers(Head),
    Body {
        head: Head,
        length: usize,
    },
    Dead,
}

/// Makes [`Item`]s from bytes.
///
/// Feed it, then call [`poll_item`](Self::poll_item) until it yields `Ok(None)`.
#[derive(Default)]
pub struct Decoder {
    buffer: BytesMut,
    state: State,
    /// Bytes of `buffer` that are known to hold no line end.
    scanned: usize,
    /// Bytes consumed since the start.
    position: u64,
    stray: usize,
}

impl Decoder {
    /// Takes more bytes: one copy. Ignored after a fatal error.
    ///
    /// The decoder keeps what it is fed until it is polled; an owner that does not poll bounds
    /// [`buffered`](Self::buffered) by [`limits::PIPELINE_BYTES_MAX`].
    pub fn feed(&mut self, bytes: &[u8]) {
        if !matches!(self.state, State::Dead) {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// Bytes that are kept.
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// What it waits for, once [`poll_item`](Self::poll_item) has yielded `Ok(None)`.
    pub fn phase(&self) -> Phase {
        match (&self.state, self.buffer.first()) {
            (State::Start, None) | (State::Dead, _) => Phase::Idle,
            (State::Start, Some(b'$')) => Phase::Frame,
            // A lone CR is the first half of a stray line end.
            (State::Start, Some(b'\r')) if self.buffer.len() == 1 => Phase::Idle,
            (State::Start | State::Headers(_), _) => Phase::Headers,
            (State::Body { .. }, _) => Phase::Body,
        }
    }

    /// The next complete item; `Ok(None)` when more bytes are needed.
    ///
    /// # Errors
    /// What is malformed or over a limit. Answer [`MessageErrorKind::refused`]; unless it [closes](MessageError::closes),
    /// poll on.
    pub fn poll_item(&mut self) -> Result<Option<Item>, MessageError> {
        let result = self.poll_inner();
        if let Err(error) = &result
            && error.closes()
        {
            self.state = State::Dead;
            self.buffer = BytesMut::new();
        }
        // Most connections are silent most of the time: one that has nothing waiting holds no memory for it.
        if self.buffer.is_empty() && self.buffer.capacity() > 0 {
            self.buffer = BytesMut::new();
        }
        result
    }

    fn poll_inner(&mut self) -> Result<Option<Item>, MessageError> {
        loop {
            match std::mem::replace(&mut self.state, State::Start) {
                State::Dead => {
                    self.state = State::Dead;
                    return Ok(None);
                }
                State::Start => {
                    self.skip_stray_line_ends()?;
                    if self.buffer.first() == Some(&b'$') {
                        return Ok(self.take_frame());
                    }
                    match self.take_start_line()? {
                        Some(head) => self.state = State::Headers(head),
                        None => return Ok(None),
                    }
                }
                State::Headers(mut head) => match self.take_headers(&mut head) {
                    Ok(Some(length)) => self.state = State::Body { head, length },
                    Ok(None) => {
                        self.state = State::Headers(head);
                        return Ok(None);
                    }
                    Err(kind) => return Err(head.error(kind, head.line_position)),
                },
                State::Body { head, length } => {
                    if self.buffer.len() < length {
                        // Memory comes with the bytes: a length alone is no reason for it.
                        self.state = State::Body { head, length };
                        return Ok(None);
                    }
                    let body = self.take(length).freeze();
                    return head.finish(body).map(Some);
                }
            }
        }
    }

    fn skip_stray_line_ends(&mut self) -> Result<(), MessageError> {
        loop {
            let line_end = match self.buffer.first_chunk::<2>() {
                Some(b"\r\n") => 2,
                _ if self.buffer.first() == Some(&b'\n') => 1,
                _ => return Ok(()),
            };
            self.stray += line_end;
            if self.stray > limits::STRAY_LINE_END_BYTES_MAX {
                return Err(self.error(MessageErrorKind::StrayLineEnds));
            }
            self.take(line_end);
        }
    }

    fn take_frame(&mut self) -> Option<Item> {
        let [_, channel, high, low] = *self.buffer.first_chunk::<4>()?;
        let length = usize::from(u16::from_be_bytes([high, low]));
        if self.buffer.len() < 4 + length {
            return None;
        }
        self.stray = 0;
        self.take(4);
        Some(Item::Frame { channel, payload: self.take(length).freeze() })
    }

    fn take_start_line(&mut self) -> Result<Option<Head>, MessageError> {
        match self.buffer.first() {
            None => return Ok(None),
            Some(b'\r') if self.buffer.len() == 1 => return Ok(None),
            Some(first) if !is_token_char(char::from(*first)) => {
                return Err(self.error(MessageErrorKind::NotRtsp));
            }
            Some(_) => {}
        }
        let position = self.position;
        let bound = limits::START_LINE_BYTES_MAX;
        let line = match self.take_line(bound, MessageErrorKind::StartLine) {
            Ok(Some(line)) => line,
            Ok(None) => return Ok(None),
            // Behind a space it is the address that does not end.
            Err(_) if self.buffer.iter().take(bound).any(|b| *b == b' ') => {
                return Err(self.error(MessageErrorKind::UrlTooLong));
            }
            Err(kind) => return Err(self.error(kind)),
        };
        self.stray = 0;
        let (start, other_version) =
            parse_start_line(&line).map_err(|kind| MessageError { kind, cseq: None, position })?;
        let (headers, line_position) = (Headers::new(), self.position);
        Ok(Some(Head { start, other_version, headers, bytes: 0, line_bytes: 0, position, line_position }))
    }

    /// Reads headers up to the empty line, then yields the body's length.
    fn take_headers(&mut self, head: &mut Head) -> Result<Option<usize>, MessageErrorKind> {
        loop {
            head.line_position = self.position;
            let left = limits::HEADERS_BYTES_TOTAL_MAX - head.bytes;
            let bound = left.min(limits::HEADER_BYTES_MAX);
            let Some(line) = self.take_line(bound, MessageErrorKind::HeadersTooLong)? else {
                return Ok(None);
            };
            if line.is_empty() {
                return body_length(&head.headers).map(Some);
            }
            head.bytes += line.len();
            let text = String::from_utf8_lossy(&line);
            if text.chars().any(|c| c.is_control() && c != '\t') {
                return Err(MessageErrorKind::Header);
            }
            if text.starts_with([' ', '\t']) {
                head.line_bytes += line.len();
                if head.line_bytes > limits::HEADER_BYTES_MAX {
                    return Err(MessageErrorKind::HeadersTooLong);
                }
                if !head.headers.fold(text.trim_matches(WHITE)) {
                    return Err(MessageErrorKind::Header);
                }
                continue;
            }
            head.line_bytes = line.len();
            let (name, value) = text.split_once(':').ok_or(MessageErrorKind::Header)?;
            let name = name.trim_end_matches(WHITE);
            if name.is_empty() || !name.chars().all(is_token_char) {
                return Err(MessageErrorKind::Header);
            }
            if head.headers.entries.len() == limits::HEADERS_MAX {
                return Err(MessageErrorKind::HeadersTooMany);
            }
            head.headers.entries.push((name.to_owned(), value.trim_matches(WHITE).to_owned()));
        }
    }

    /// One line without its end; `None` when it is not complete.
    fn take_line(
        &mut self,
        bytes_max: usize,
        too_long: MessageErrorKind,
    ) -> Result<Option<BytesMut>, MessageErrorKind> {
        let from = self.scanned.min(self.buffer.len());
        let found = self.buffer.iter().skip(from).position(|b| *b == b'\n').map(|at| from + at);
        let Some(line_feed) = found else {
            self.scanned = self.buffer.len();
            // One more than the bound may be the CR of a line that just fits.
            return if self.scanned > bytes_max + 1 { Err(too_long) } else { Ok(None) };
        };
        let before = line_feed.checked_sub(1).and_then(|at| self.buffer.get(at));
        let length = if before == Some(&b'\r') { line_feed - 1 } else { line_feed };
        if length > bytes_max {
            return Err(too_long);
        }
        let mut line = self.buffer.split_to(line_feed);
        line.truncate(length);
        self.buffer.advance(1);
        self.scanned = 0;
        self.position += line_feed as u64 + 1;
        Ok(Some(line))
    }

    fn take(&mut self, length: usize) -> BytesMut {
        self.scanned = 0;
        self.position += length as u64;
        self.buffer.split_to(length)
    }

    fn error(&self, kind: MessageErrorKind) -> MessageError {
        MessageError { kind, cseq: None, position: self.position }
    }
}

const WHITE: [char; 2] = [' ', '\t'];

/// The start line's parts, and whether its version is another one than ours.
fn parse_start_line(line: &[u8]) -> Result<(Start, bool), MessageErrorKind> {
    let text = String::from_utf8_lossy(line);
    if text.chars().any(char::is_control) {
        return Err(MessageErrorKind::StartLine);
    }
    let mut words = text.split(' ').filter(|word| !word.is_empty());
    let mut word = || words.next().ok_or(MessageErrorKind::StartLine);
    let first = word()?;
    if first.starts_with("RTSP/") {
        let other_version = is_other_version(first)?;
        let code = word()?;
        let plain = code.len() == 3 && code.bytes().all(|b| b.is_ascii_digit());
        let status = code.parse().ok().filter(|_| plain).and_then(Status::from_code);
        let status = status.ok_or(MessageErrorKind::StartLine)?;
        let reason = words.collect::<Vec<_>>().join(" ");
        return Ok((Start::Response { status, reason }, other_version));
    }
    let (url, version) = (word()?, word()?);
    let is_method = first.len() <= limits::METHOD_BYTES_MAX && first.chars().all(is_token_char);
    if !is_method || words.next().is_some() {
        return Err(MessageErrorKind::StartLine);
    }
    if url.len() > limits::URL_BYTES_MAX {
        return Err(MessageErrorKind::UrlTooLong);
    }
    let other_version = is_other_version(version)?;
    Ok((Start::Request { method: first.to_owned(), url: url.to_owned() }, other_version))
}

/// `RTSP/` and two numbers, but not ours; anything else is another protocol.
fn is_other_version(version: &str) -> Result<bool, MessageErrorKind> {
    let digits = |text: &str| (1..=3).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    let numbers = version.strip_prefix("RTSP/").and_then(|numbers| numbers.split_once('.'));
    match numbers {
        Some((major, minor)) if digits(major) && digits(minor) => Ok(version != VERSION),
        _ => Err(MessageErrorKind::StartLine),
    }
}

/// The bytes of body that follow, 0 where no header says so.
fn body_length(headers: &Headers) -> Result<usize, MessageErrorKind> {
    if headers.get("Transfer-Encoding").is_some() {
        return Err(MessageErrorKind::TransferEncoding);
    }
    let mut lengths = headers.all("Content-Length");
    let Some(text) = lengths.next() else { return Ok(0) };
    if lengths.next().is_some() || text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(MessageErrorKind::ContentLength);
    }
    // Digits that do not fit are a number all the same, but no length that anyone means.
    let length: usize = text.parse().map_err(|_| MessageErrorKind::ContentLength)?;
    if length > limits::BODY_BYTES_MAX { Err(MessageErrorKind::BodyTooLong) } else { Ok(length) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(bytes: &[u8]) -> (Vec<Item>, Option<MessageError>, Phase) {
        let mut decoder = Decoder::default();
        decoder.feed(bytes);
        let mut items = Vec::new();
        loop {
            match decoder.poll_item() {
                Ok(Some(item)) => items.push(item),
                Ok(None) => return (items, None, decoder.phase()),
                Err(error) => return (items, Some(error), decoder.phase()),
            }
        }
    }

    #[track_caller]
    fn one(text: &str) -> Request {
        match decode(text.as_bytes()) {
            (items, None, Phase::Idle) => match items.as_slice() {
                [Item::Request(request)] => request.clone(),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn bad(text: &str, kind: MessageErrorKind, cseq: Option<&str>) {
        let (items, error, _) = decode(text.as_bytes());
        let error = error.unwrap_or_else(|| panic!("{items:?}"));
        assert_eq!((error.kind, error.cseq.as_deref()), (kind, cseq), "{text:?}");
    }

    #[test]
    fn strict() {
        let request = one("ANNOUNCE rtsp://h/ch RTSP/1.0\r\nCSeq: 007\r\nContent-Length: 3\r\n\r\nv=0");
        assert_eq!((request.method.as_str(), request.url.as_str()), ("ANNOUNCE", "rtsp://h/ch"));
        assert_eq!(request.cseq(), Some("007"));
        assert_eq!(request.body, "v=0");
        let (items, ..) = decode(b"RTSP/1.0 454 Session Not Found\r\nCSeq: 1\r\n\r\n");
        assert!(matches!(&items[..], [Item::Response(r)] if r.status == Status::SESSION_NOT_FOUND
            && r.reason == "Session Not Found" && r.cseq() == Some("1")));
    }

    #[test]
    fn tolerated() {
        assert_eq!(one("\r\n\nOPTIONS * RTSP/1.0\ncseq:1\n\n").cseq(), Some("1"));
        assert_eq!(one("OPTIONS  *  RTSP/1.0 \r\nCSeq : 0\r\n\r\n").cseq(), Some("0"));
        let folded = one("OPTIONS * RTSP/1.0\r\nX: a\r\n\t b\r\n\r\n");
        assert_eq!(folded.headers.get("x"), Some("a b"));
        let latin1 = decode(b"OPTIONS * RTSP/1.0\r\nUser-Agent: Caf\xe9\r\n\r\n");
        assert!(matches!(&latin1.0[..], [Item::Request(_)]));
        assert_eq!(one("OPTIONS * RTSP/1.0\r\nCSeq:\r\n\r\n").cseq(), None);
    }

    #[test]
    fn bad_messages_say_what_to_answer() {
        use MessageErrorKind as Kind;
        bad("\x16\x03\x01", Kind::NotRtsp, None);
        bad("GET / HTTP/1.1\r\n", Kind::StartLine, None);
        bad("OPTIONS * RTSP/2.0\r\nCSeq: 4\r\n\r\n", Kind::Version, Some("4"));
        bad("OPTIONS * RTSP/1.0\r\nCSeq: 5\r\nno colon\r\n", Kind::Header, Some("5"));
        for length in ["-1", "+1", "1 2", "0x1", "", "18446744073709551616", "1\r\nContent-Length: 1"] {
            let text = format!("SETUP / RTSP/1.0\r\nCSeq: 6\r\nContent-Length: {length}\r\n\r\n");
            bad(&text, Kind::ContentLength, Some("6"));
        }
    }

    #[test]
    fn another_version_is_answered_and_the_connection_goes_on() {
        let mut decoder = Decoder::default();
        decoder
            .feed(b"OPTIONS * RTSP/2.0\r\nCSeq: 1\r\nContent-Length: 2\r\n\r\nxyOPTIONS * RTSP/1.0\r\n\r\n");
        let error = decoder.poll_item().unwrap_err();
        assert!(
            !error.closes()
                && error.kind == MessageErrorKind::Version
                && error.kind.refused().status == Status::VERSION_NOT_SUPPORTED
        );
        assert!(matches!(decoder.poll_item(), Ok(Some(Item::Request(_)))));
        assert_eq!(decoder.phase(), Phase::Idle);
    }

    #[test]
    fn after_a_fatal_error_nothing_is_kept() {
        let mut decoder = Decoder::default();
        decoder.feed(b"\0");
        assert!(decoder.poll_item().unwrap_err().closes());
        decoder.feed(&[b'x'; 1000]);
        assert_eq!((decoder.poll_item(), decoder.buffered()), (Ok(None), 0));
    }

    #[test]
    fn the_phase_says_what_is_missing() {
        for (bytes, phase) in [
            (&b""[..], Phase::Idle),
            (b"\r\n", Phase::Idle),
            (b"\r", Phase::Idle),
            (b"$\0\0", Phase::Frame),
            (b"$\0\0\x02a", Phase::Frame),
            (b"O", Phase::Headers),
            (b"OPTIONS * RTSP/1.0\r\n", Phase::Headers),
            (b"OPTIONS * RTSP/1.0\r\nContent-Length: 1\r\n\r\n", Phase::Body),
        ] {
            assert_eq!(decode(bytes).2, phase, "{bytes:?}");
        }
    }

    #[test]
    fn positions_count_from_the_first_byte_of_the_connection() {
        let (_, error, _) = decode(b"$\0\0\x01a\r\nOPTIONS * RTSP/1.0\r\nbroken\r\n");
        assert_eq!(error.map(|error| error.position), Some(27));
    }

    #[test]
    fn memory_for_a_body_comes_with_its_bytes() {
        let mut decoder = Decoder::default();
        decoder.feed(b"ANNOUNCE / RTSP/1.0\r\nCSeq: 1\r\nContent-Length: 60000\r\n\r\nabc");
        assert_eq!((decoder.poll_item(), decoder.phase()), (Ok(None), Phase::Body));
        assert!(decoder.buffer.capacity() < 1024, "{} bytes", decoder.buffer.capacity());
        decoder.feed(&[b'x'; 59_997]);
        assert!(
            matches!(decoder.poll_item(), Ok(Some(Item::Request(request))) if request.body.len() == 60_000)
        );
    }
}
