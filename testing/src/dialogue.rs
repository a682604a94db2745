//! An RTSP client that says exactly what a test writes: no state, no politeness, no repair.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use md5::{Digest as _, Md5};
use socket2::{Domain, Socket, Type};

/// How long an answer may take. A server on loopback with two busy processors needs milliseconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// One connection.
pub struct Dialogue {
    stream: TcpStream,
    buffer: Vec<u8>,
    frames: VecDeque<(u8, Vec<u8>)>,
    frames_before_answer: usize,
    cseq: u32,
    closed: bool,
    /// Sent with each request.
    pub user_agent: &'static str,
}

/// An answer of the server.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    pub status: u16,
    pub reason: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Reply {
    /// The first header of this name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// All headers of this name, in the order in which they came.
    pub fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.headers
            .iter()
            .filter(move |(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The session's identifier without its parameters.
    #[track_caller]
    pub fn session(&self) -> String {
        let header = self.header("Session").unwrap_or_else(|| panic!("no Session in {self:?}"));
        header.split(';').next().unwrap_or_default().to_owned()
    }

    /// Panics unless the answer has this status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:#?}");
        self
    }
}

impl Dialogue {
    /// Connects; panics when nobody listens.
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect_timeout(&address, ANSWER_WITHIN).unwrap())
    }

    /// Connects from another loopback address: limits by address do not add up then.
    #[track_caller]
    pub fn connect_from(source: Ipv4Addr, address: SocketAddr) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
        socket.connect_timeout(&address.into(), ANSWER_WITHIN).unwrap();
        Self::over(socket.into())
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        let (buffer, frames) = (Vec::new(), VecDeque::new());
        Self {
            stream,
            buffer,
            frames,
            frames_before_answer: 0,
            cseq: 0,
            closed: false,
            user_agent: "slotcast-test",
        }
    }

    /// Writes bytes as they are. A connection that the server has closed already is no failure of the writer.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        if self.stream.write_all(bytes).is_err() {
            self.closed = true;
        }
    }

    /// Writes a request with CSeq and User-Agent and reads its answer.
    #[track_caller]
    pub fn request(&mut self, method: &str, url: &str, headers: &[(&str, &str)]) -> Reply {
        self.request_with_body(method, url, headers, "")
    }

    /// The same with a body.
    #[track_caller]
    pub fn request_with_body(
        &mut self,
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Reply {
        self.cseq += 1;
        let mut text =
            format!("{method} {url} RTSP/1.0\r\nCSeq: {}\r\nUser-Agent: {}\r\n", self.cseq, self.user_agent);
        for (name, value) in headers {
            let _ = write!(text, "{name}: {value}\r\n");
        }
        if !body.is_empty() {
            let _ = write!(text, "Content-Length: {}\r\n", body.len());
        }
        let _ = write!(text, "\r\n{body}");
        self.send_raw(text.as_bytes());
        let Some(reply) = self.reply() else { panic!("no answer to {text}") };
        assert_eq!(reply.header("CSeq"), Some(self.cseq.to_string().as_str()), "{reply:#?}");
        reply
    }

    /// The next answer; frames before it are kept. `None` when the connection ends or stays silent.
    pub fn reply(&mut self) -> Option<Reply> {
        self.reply_within(ANSWER_WITHIN)
    }

    /// The next answer, if it comes within `limit`.
    pub fn reply_within(&mut self, limit: Duration) -> Option<Reply> {
        let deadline = Instant::now() + limit;
        loop {
            self.take_frames();
            if let Some((reply, used)) = parse_reply(&self.buffer) {
                self.buffer.drain(..used);
                self.frames_before_answer = self.frames.len();
                return Some(reply);
            }
            if !self.fill(deadline) {
                return None;
            }
        }
    }

    /// The next `$` frame as (channel, payload), if one comes within `limit`.
    pub fn frame_within(&mut self, limit: Duration) -> Option<(u8, Vec<u8>)> {
        let deadline = Instant::now() + limit;
        loop {
            self.take_frames();
            if let Some(frame) = self.frames.pop_front() {
                return Some(frame);
            }
            if !self.fill(deadline) {
                return None;
            }
        }
    }

    /// True when the server closes (or resets) within `limit`. What it sends before is kept.
    pub fn closes_within(&mut self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        while self.fill(deadline) {}
        self.closed
    }

    /// Frames that lay unread when the last answer came.
    pub fn frames_before_the_last_answer(&self) -> usize {
        self.frames_before_answer
    }

    /// Closes the sending side only.
    pub fn finish_sending(&self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
    }

    /// Moves complete frames out of the buffer.
    fn take_frames(&mut self) {
        while let [b'$', channel, high, low, rest @ ..] = self.buffer.as_slice() {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            let Some(payload) = rest.get(..length) else { return };
            self.frames.push_back((*channel, payload.to_vec()));
            self.buffer.drain(..4 + length);
        }
    }

    /// Reads once. False when the deadline has passed or the connection has ended.
    fn fill(&mut self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        if self.closed || left.is_zero() {
            return false;
        }
        self.stream.set_read_timeout(Some(left.max(Duration::from_millis(1)))).unwrap();
        let mut bytes = [0; 65_536];
        match self.stream.read(&mut bytes) {
            Ok(0) => self.closed = true,
            Ok(count) => self.buffer.extend_from_slice(&bytes[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return false;
            }
            Err(_) => self.closed = true,
        }
        !self.closed
    }
}

/// One complete answer at the front of `bytes`, and its length.
fn parse_reply(bytes: &[u8]) -> Option<(Reply, usize)> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let mut first = lines.next()?.splitn(3, ' ');
    assert_eq!(first.next(), Some("RTSP/1.0"), "not an answer: {head:?}");
    let status = first.next()?.parse().unwrap_or_else(|_| panic!("no status in {head:?}"));
    let reason = first.next().unwrap_or_default().to_owned();
    let headers: Vec<_> = lines
        .map(|line| line.split_once(':').unwrap_or_else(|| panic!("no header: {line:?}")))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect();
    let mut reply = Reply { status, reason, headers, body: String::new() };
    let length = reply.header("Content-Length").map_or(0, |value| value.parse().expect("a length"));
    let body = bytes.get(end + 4..end + 4 + length)?;
    reply.body = String::from_utf8_lossy(body).into_owned();
    Some((reply, end + 4 + length))
}

/// What a client sends that takes the last Digest challenge, as ffmpeg and live555 do: MD5 without qop.
#[track_caller]
pub fn digest(reply: &Reply, user: &str, password: &str, method: &str, uri: &str) -> String {
    let challenge = reply.all("WWW-Authenticate").filter(|value| value.starts_with("Digest ")).last();
    let challenge = challenge.unwrap_or_else(|| panic!("no Digest in {reply:#?}"));
    let realm = parameter(challenge, "realm");
    let nonce = parameter(challenge, "nonce");
    let ha1 = md5_hex(&format!("{user}:{realm}:{password}"));
    let ha2 = md5_hex(&format!("{method}:{uri}"));
    let response = md5_hex(&format!("{ha1}:{nonce}:{ha2}"));
    format!(
        "Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", response=\"{response}\""
    )
}

/// The value of `name="value"` within a challenge.
#[track_caller]
pub fn parameter(challenge: &str, name: &str) -> String {
    let (_, rest) =
        challenge.split_once(&format!("{name}=\"")).unwrap_or_else(|| panic!("no {name} in {challenge}"));
    rest.split('"').next().unwrap_or_default().to_owned()
}

fn md5_hex(text: &str) -> String {
    Md5::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}
