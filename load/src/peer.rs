//! A broadcaster and viewers of any RTSP server, as far as measuring needs them.
//!
//! Owns: one dialogue over a blocking connection, up to the moment at which media flows.
//! Not here: the RTSP state machine (`slotcast_rtsp::client`), what is done with the media.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream, ToSocketAddrs, UdpSocket},
    sync::Arc,
    time::{Duration, Instant},
};

use slotcast_rtsp::{
    client::{ClientConfig, ClientCredentials, ClientOutput, ClientRole, ClientSession, TransportPolicy},
    server::UdpPorts,
};

use super::{
    paced::Transport,
    receivers::{Socket, udp_socket},
};

/// How long a whole dialogue may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// An RTSP address on this machine.
#[derive(Clone, Debug)]
pub struct Address {
    /// Without user and password.
    url: String,
    host: String,
    credentials: Option<ClientCredentials>,
}

impl Address {
    /// Reads `rtsp://[user:password@]host[:port]/path`; `{number}`, or `{n}` for short, in it stands for the channel's.
    ///
    /// # Errors
    /// It is none, or names another machine than this one: measuring stays on loopback.
    pub fn parse(text: &str, channel: usize) -> io::Result<Self> {
        let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, what.to_owned());
        let number = channel.to_string();
        let text = text.replace("{number}", &number).replace("{n}", &number);
        let rest = text
            .strip_prefix("rtsp://")
            .ok_or_else(|| wrong("expected an address like rtsp://127.0.0.1:8554/live"))?;
        let (authority, path) =
            rest.split_once('/').ok_or_else(|| wrong("expected a path after the host"))?;
        let (credentials, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        let credentials = credentials.map(|text| {
            let (user, password) = text.split_once(':').unwrap_or((text, ""));
            ClientCredentials { user: user.to_owned(), password: password.to_owned() }
        });
        let host = if host.contains(':') { host.to_owned() } else { format!("{host}:554") };
        let address = Self { url: format!("rtsp://{host}/{path}"), host, credentials };
        match address.resolve()?.ip().to_canonical().is_loopback() {
            true => Ok(address),
            false => Err(wrong("measuring stays on this machine: use an address of 127.0.0.0/8 or ::1")),
        }
    }

    fn resolve(&self) -> io::Result<SocketAddr> {
        let none = || io::Error::new(io::ErrorKind::NotFound, format!("{} has no address", self.host));
        self.host.to_socket_addrs()?.next().ok_or_else(none)
    }

    fn config(&self, role: ClientRole, transport: TransportPolicy) -> Arc<ClientConfig> {
        let mut config = ClientConfig::new(role, self.url.clone());
        config.transport = transport;
        config.credentials.clone_from(&self.credentials);
        Arc::new(config)
    }

    /// Watches: returns the viewer's sockets once PLAY was answered: over UDP one per track, over TCP one.
    ///
    /// - `tracks`: how many the stream has.
    ///
    /// # Errors
    /// The server cannot be reached, refuses, or does not answer in time.
    pub fn watch(&self, transport: Transport, tracks: usize) -> io::Result<Vec<Socket>> {
        match transport {
            Transport::Tcp => {
                let config = self.config(ClientRole::Watch, TransportPolicy::Tcp);
                let (stream, begun) = self.talk(config, Vec::new())?;
                Ok(vec![Socket::Tcp { stream, begun }])
            }
            Transport::Udp => {
                let mut media = Vec::with_capacity(tracks);
                let mut reports = Vec::with_capacity(tracks);
                let mut ports = Vec::with_capacity(tracks);
                for _ in 0..tracks {
                    let (rtp, rtcp) = (udp_socket()?, UdpSocket::bind("127.0.0.1:0")?);
                    ports.push(UdpPorts { rtp: rtp.local_addr()?.port(), rtcp: rtcp.local_addr()?.port() });
                    media.push(rtp);
                    reports.push(rtcp);
                }
                let (stream, _) = self.talk(self.config(ClientRole::Watch, TransportPolicy::Udp), ports)?;
                let mut kept = Some((reports, stream));
                Ok(media.into_iter().map(|rtp| Socket::Udp { rtp, kept: kept.take() }).collect())
            }
        }
    }

    /// Publishes over TCP: returns the connection once RECORD was answered; `$` frames on canonical channels follow.
    ///
    /// # Errors
    /// As for [`watch`](Self::watch).
    pub fn publish(&self, sdp: String) -> io::Result<TcpStream> {
        let config = self.config(ClientRole::Publish { sdp }, TransportPolicy::Tcp);
        let (stream, _) = self.talk(config, Vec::new())?;
        // Nobody is waited for for ever: a server that reads no more ends the measurement.
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(stream)
    }

    /// Goes through the dialogue; returns the connection and the bytes behind the last response.
    fn talk(&self, config: Arc<ClientConfig>, ports: Vec<UdpPorts>) -> io::Result<(TcpStream, Vec<u8>)> {
        let deadline = Instant::now() + PATIENCE;
        let mut stream = TcpStream::connect_timeout(&self.resolve()?, PATIENCE)?;
        stream.set_nodelay(true)?;
        let mut session = ClientSession::new(config, ports, Instant::now());
        let mut begun = Vec::new();
        let mut bytes = [0; 16 * 1024];
        loop {
            while let Some(output) = session.poll_output() {
                match output {
                    ClientOutput::Send(request) => stream.write_all(&request)?,
                    ClientOutput::Event(_) => {}
                    ClientOutput::Frame { .. } => {}
                    ClientOutput::Failed(failure) => {
                        return Err(io::Error::other(format!("{}: {failure:?}", self.url)));
                    }
                    ClientOutput::Closed => return Err(io::ErrorKind::ConnectionAborted.into()),
                }
            }
            if session.is_streaming() {
                return Ok((stream, begun));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            stream.set_read_timeout(Some(left))?;
            let count = match stream.read(&mut bytes)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => count,
            };
            begun = unfinished_frame(&bytes[..count]);
            session.handle_bytes(Instant::now(), &bytes[..count]);
        }
    }
}

/// What of `bytes`, which begin with a response, is the beginning of a `$` frame that goes on in the next read.
fn unfinished_frame(bytes: &[u8]) -> Vec<u8> {
    let end = bytes.windows(4).rposition(|four| four == b"\r\n\r\n").map_or(bytes.len(), |at| at + 4);
    let mut rest = &bytes[end..];
    while let [b'$', _, high, low, after @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let Some(next) = after.get(length..) else { break };
        rest = next;
    }
    if rest.first() == Some(&b'$') { rest.to_vec() } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_with_and_without_credentials() {
        let address = Address::parse("rtsp://live:a:b@127.0.0.1:8555/channel{n}", 4).unwrap();
        assert_eq!(
            (address.url.as_str(), address.host.as_str()),
            ("rtsp://127.0.0.1:8555/channel4", "127.0.0.1:8555")
        );
        let credentials = address.credentials.unwrap();
        assert_eq!((credentials.user.as_str(), credentials.password.as_str()), ("live", "a:b"));
        assert_eq!(Address::parse("rtsp://127.0.0.1/x", 1).unwrap().host, "127.0.0.1:554");
    }

    #[test]
    fn other_machines_and_other_schemes_are_refused() {
        for text in ["rtsp://192.0.2.1/x", "http://127.0.0.1/x", "rtsp://127.0.0.1", "rtsp:///x", ""] {
            assert!(Address::parse(text, 1).is_err(), "{text}");
        }
    }

    #[test]
    fn what_follows_the_last_response_is_kept_from_its_unfinished_frame_on() {
        let response = b"RTSP/1.0 200 OK\r\n\r\n".as_slice();
        assert!(unfinished_frame(response).is_empty());
        assert!(unfinished_frame(&[response, b"$\0\0\x01a"].concat()).is_empty());
        assert_eq!(unfinished_frame(&[response, b"$\0\0\x01a$\0\0\x05bc"].concat()), b"$\0\0\x05bc");
        assert_eq!(unfinished_frame(&[response, b"$\0"].concat()), b"$\0");
    }
}
