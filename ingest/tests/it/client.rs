//! A broadcaster by hand: writes RTSP as bytes and reads what comes back.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
};

use crate::house::PATIENCE;

pub(crate) const SDP: &str = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=test\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
    m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\na=control:streamid=0\r\n";

#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) reason: String,
    pub(crate) headers: Vec<(String, String)>,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(of, _)| of.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// What came from the server.
#[derive(Debug)]
pub(crate) enum Came {
    Response(Response),
    Frame(u8, Vec<u8>),
    End,
}

pub(crate) struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    cseq: u32,
    session: Option<String>,
    address: SocketAddr,
}

impl Client {
    #[track_caller]
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: Vec::new(), cseq: 0, session: None, address }
    }

    pub(crate) fn url(&self, channel: &str, token: &str) -> String {
        format!("rtsp://{}/{channel}?token={token}", self.address)
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Says nothing more; it listens still.
    #[track_caller]
    pub(crate) fn shut(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    pub(crate) fn send_request(
        &mut self,
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> bool {
        self.cseq += 1;
        let mut text = format!("{method} {url} RTSP/1.0\r\nCSeq: {}\r\n", self.cseq);
        for (name, value) in headers {
            text += &format!("{name}: {value}\r\n");
        }
        if let Some(session) = &self.session {
            text += &format!("Session: {session}\r\n");
        }
        if !body.is_empty() {
            text += &format!("Content-Type: application/sdp\r\nContent-Length: {}\r\n", body.len());
        }
        self.send((text + "\r\n" + body).as_bytes())
    }

    /// Sends a request and waits for its response; frames between are left out.
    #[track_caller]
    pub(crate) fn request(
        &mut self,
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Response {
        assert!(self.send_request(method, url, headers, body), "{method} could not be sent");
        loop {
            match self.next() {
                Came::Response(response) => return response,
                Came::Frame(..) => {}
                Came::End => panic!("the server closed instead of answering {method}"),
            }
        }
    }

    pub(crate) fn announce(&mut self, channel: &str, token: &str, sdp: &str) -> Response {
        let url = self.url(channel, token);
        self.request("ANNOUNCE", &url, &[], sdp)
    }

    #[track_caller]
    pub(crate) fn setup(&mut self, channel: &str, token: &str, transport: &str) -> Response {
        let url = format!("{}/streamid=0", self.url(channel, token));
        let response = self.request("SETUP", &url, &[("Transport", transport)], "");
        let session = response.header("Session").map(|value| value.split(';').next().unwrap().to_owned());
        self.session = session.or_else(|| self.session.take());
        response
    }

    #[track_caller]
    pub(crate) fn record(&mut self, channel: &str, token: &str) -> Response {
        let url = self.url(channel, token);
        self.request("RECORD", &url, &[], "")
    }

    #[track_caller]
    pub(crate) fn record_over_tcp(&mut self, channel: &str, token: &str) {
        assert_eq!(self.announce(channel, token, SDP).status, 200);
        let setup = self.setup(channel, token, "RTP/AVP/TCP;unicast;interleaved=0-1;mode=record");
        assert_eq!(setup.status, 200, "{setup:?}");
        assert_eq!(self.record(channel, token).status, 200);
    }

    /// Over UDP; returns the server's RTP and RTCP ports.
    #[track_caller]
    pub(crate) fn record_over_udp(&mut self, channel: &str, token: &str, rtp: u16, rtcp: u16) -> (u16, u16) {
        assert_eq!(self.announce(channel, token, SDP).status, 200);
        let transport = format!("RTP/AVP/UDP;unicast;client_port={rtp}-{rtcp};mode=record");
        let setup = self.setup(channel, token, &transport);
        assert_eq!(setup.status, 200, "{setup:?}");
        let transport = setup.header("Transport").unwrap().to_owned();
        let ports = transport.split(';').find_map(|part| part.strip_prefix("server_port=")).unwrap();
        let (rtp, rtcp) = ports.split_once('-').unwrap();
        assert_eq!(self.record(channel, token).status, 200);
        (rtp.parse().unwrap(), rtcp.parse().unwrap())
    }

    pub(crate) fn send_frame(&mut self, channel: u8, packet: &[u8]) -> bool {
        let mut frame = vec![b'$', channel];
        frame.extend((packet.len() as u16).to_be_bytes());
        frame.extend(packet);
        self.send(&frame)
    }

    /// The next response or frame.
    #[track_caller]
    pub(crate) fn next(&mut self) -> Came {
        loop {
            if let Some(came) = self.take() {
                return came;
            }
            let mut bytes = [0; 4096];
            match self.stream.read(&mut bytes) {
                Ok(0) => return Came::End,
                Ok(length) => self.buffer.extend(&bytes[..length]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Came::End,
                Err(error) => panic!("nothing came: {error}"),
            }
        }
    }

    /// Reads until the server closes; what came before.
    #[track_caller]
    pub(crate) fn until_end(&mut self) -> Vec<Came> {
        let mut all = Vec::new();
        loop {
            match self.next() {
                Came::End => return all,
                came => all.push(came),
            }
        }
    }

    fn take(&mut self) -> Option<Came> {
        if self.buffer.first() == Some(&b'$') {
            let length = usize::from(u16::from_be_bytes([*self.buffer.get(2)?, *self.buffer.get(3)?]));
            self.buffer.get(..4 + length)?;
            let frame: Vec<u8> = self.buffer.drain(..4 + length).collect();
            return Some(Came::Frame(frame[1], frame[4..].to_vec()));
        }
        let end = self.buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
        let head: Vec<u8> = self.buffer.drain(..end + 4).collect();
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.split("\r\n");
        let mut status_line = lines.next().unwrap().splitn(3, ' ').skip(1);
        let status = status_line.next().unwrap().parse().unwrap();
        let reason = status_line.next().unwrap_or_default().to_owned();
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
            .collect();
        Some(Came::Response(Response { status, reason, headers }))
    }
}
