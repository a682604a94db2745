//! A broadcaster and viewers of any RTSP server, as far as measuring needs them.
//!
//! Owns: one dialogue over a blocking connection, up to the moment at which media flows; whose fault it is when it fails.
//! Not here: the RTSP state machine (`slotcast_rtsp::client`), what is done with the media.

use std::{
    fmt,
    io::{self, ErrorKind, Read, Write},
    net::{TcpStream, UdpSocket},
    sync::Arc,
    time::{Duration, Instant},
};

use slotcast_rtsp::{
    client::{ClientConfig, ClientOutput, ClientRole, ClientSession},
    headers::transport::LowerTransport,
    server::UdpPorts,
};
use slotcast_tools::target::Target;

use super::{
    paced::Transport,
    receivers::{Socket, udp_socket},
};

/// How long a whole dialogue may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Why a measurement ended early, by blame.
#[derive(Debug)]
#[non_exhaustive]
pub enum PeerError {
    /// The server refused, closed, did not answer or read in time, or is gone.
    Server(String),
    /// This tool, or this machine: no sockets, no core, no thread.
    Tool(io::Error),
}

impl fmt::Display for PeerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(why) => f.write_str(why),
            Self::Tool(error) => error.fmt(f),
        }
    }
}

impl From<io::Error> for PeerError {
    fn from(error: io::Error) -> Self {
        Self::Tool(error)
    }
}

impl PeerError {
    /// That of a connection: nearly always the other end's.
    pub(super) fn of_connection(url: &str, error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
            | ErrorKind::UnexpectedEof => Self::Server(format!("{url}: {error}")),
            // How a blocking socket says that its time is over.
            ErrorKind::TimedOut | ErrorKind::WouldBlock => {
                Self::Server(format!("{url}: no answer within {} s", PATIENCE.as_secs()))
            }
            _ => Self::Tool(error),
        }
    }
}

fn config(target: &Target, role: ClientRole, transport: LowerTransport) -> Arc<ClientConfig> {
    let mut config = ClientConfig::new(role, target.url.clone());
    config.transport = transport;
    config.credentials.clone_from(&target.credentials);
    Arc::new(config)
}

/// Watches: returns the viewer's sockets once PLAY was answered: over UDP one per track, over TCP one.
///
/// - `tracks`: how many the stream has.
///
/// # Errors
/// See [`PeerError`].
pub fn watch(target: &Target, transport: Transport, tracks: usize) -> Result<Vec<Socket>, PeerError> {
    match transport {
        Transport::Tcp => {
            let config = config(target, ClientRole::Watch, LowerTransport::Tcp);
            let (stream, begun) = talk(target, config, Vec::new())?;
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
            let config = config(target, ClientRole::Watch, LowerTransport::Udp);
            let (stream, _) = talk(target, config, ports)?;
            let mut kept = Some((reports, stream));
            Ok(media.into_iter().map(|rtp| Socket::Udp { rtp, kept: kept.take() }).collect())
        }
    }
}

/// Publishes over TCP: returns the connection once RECORD was answered; `$` frames on canonical channels follow.
///
/// # Errors
/// As for [`watch`].
pub fn publish(target: &Target, sdp: String) -> Result<TcpStream, PeerError> {
    let config = config(target, ClientRole::Publish { sdp }, LowerTransport::Tcp);
    let (stream, _) = talk(target, config, Vec::new())?;
    // Nobody is waited for for ever: a server that reads no more ends the measurement.
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Goes through the dialogue; returns the connection and the bytes behind the last response.
fn talk(
    target: &Target,
    config: Arc<ClientConfig>,
    ports: Vec<UdpPorts>,
) -> Result<(TcpStream, Vec<u8>), PeerError> {
    let failed = |error| PeerError::of_connection(&target.url, error);
    let closed = || failed(ErrorKind::UnexpectedEof.into());
    let deadline = Instant::now() + PATIENCE;
    let mut stream = TcpStream::connect_timeout(&target.server, PATIENCE).map_err(failed)?;
    stream.set_nodelay(true)?;
    let mut session = ClientSession::new(config, ports, Instant::now());
    let mut begun = Vec::new();
    let mut bytes = [0; 16 * 1024];
    loop {
        while let Some(output) = session.poll_output() {
            match output {
                ClientOutput::Send(request) => stream.write_all(&request).map_err(failed)?,
                ClientOutput::Event(_) | ClientOutput::Frame { .. } => {}
                ClientOutput::Failed(failure) => {
                    return Err(PeerError::Server(format!("{}: {failure:?}", target.url)));
                }
                ClientOutput::Closed => return Err(closed()),
            }
        }
        if session.is_streaming() {
            return Ok((stream, begun));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(failed(ErrorKind::TimedOut.into()));
        }
        stream.set_read_timeout(Some(left))?;
        let count = match stream.read(&mut bytes).map_err(failed)? {
            0 => return Err(closed()),
            count => count,
        };
        begun = unfinished_frame(&bytes[..count]);
        session.handle_bytes(Instant::now(), &bytes[..count]);
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
    use std::net::TcpListener;

    use slotcast_tools::target::ReachPolicy;

    use super::*;

    fn target(port: u16) -> Target {
        Target::parse(&format!("rtsp://127.0.0.1:{port}/x"), ReachPolicy::Loopback).unwrap()
    }

    #[test]
    fn a_server_that_is_not_there_or_closes_is_the_servers_fault_and_missing_sockets_are_ours() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let closing = std::thread::spawn(move || drop(listener.accept().unwrap()));
        let watched = watch(&target(port), Transport::Tcp, 1).map(drop);
        assert!(matches!(watched, Err(PeerError::Server(_))), "{watched:?}");
        closing.join().unwrap();
        let published = publish(&target(port), String::new()).map(drop);
        assert!(matches!(published, Err(PeerError::Server(_))), "{published:?}");
        // EMFILE, and EADDRNOTAVAIL: no ports are left.
        for number in [24, 99] {
            let error = PeerError::of_connection("x", io::Error::from_raw_os_error(number));
            assert!(matches!(error, PeerError::Tool(_)), "{error}");
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
