//! A relay between viewers and a server that does to media what no server may: for tests of what judges servers.
//!
//! Owns: both directions of each connection, the UDP ports that stand in for a viewer's, the faults.
//! Invariant: without a [`Fault`] everything arrives as the server sent it; at most `CONNECTIONS_MAX` are relayed.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use slotcast_core::rtcp::{self, RtcpPacket};

use crate::watch::frames::{Piece, split};

/// More are not relayed.
const CONNECTIONS_MAX: usize = 200;
/// How often a UDP port looks whether its connection is over.
const LOOK: Duration = Duration::from_millis(20);
/// What stands before a viewer's UDP ports in SETUP (RFC 2326 §12.39).
const CLIENT_PORT: &[u8] = b"client_port=";
/// Seconds of a usual stream.
const RECEIVE_BUFFER_BYTES: usize = 4 << 20;
const DATAGRAM_BYTES_MAX: usize = 65_536;

/// What the relay does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// One RTP packet in so many, of all connections together, does not arrive.
    Lose(u64),
    /// One RTP packet in so many arrives twice.
    Repeat(u64),
    /// Behind a BYE one more RTP packet comes.
    AfterEnd,
    /// The connection of this number, from 0, goes to another server, which lets it in.
    ExtraSeat(usize, SocketAddr),
    /// No media passes for this time, from the RTP packet of this number on.
    Stall(u64, Duration),
}

/// A relay that listens; it stops with the process, its connections end with either side.
pub struct Relay {
    /// Where viewers connect.
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    fault: Fault,
    /// RTP packets that came from the server.
    packets: AtomicU64,
    /// Faults so far: packets lost, repeated or sent after the end, connections led elsewhere, stalls.
    done: AtomicU64,
    stalled_until: OnceLock<Instant>,
}

impl Relay {
    /// Begins to listen on 127.0.0.1, in front of `server`.
    ///
    /// # Errors
    /// No port or thread can be had.
    pub fn start(server: SocketAddr, fault: Fault) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let (packets, done) = (AtomicU64::new(0), AtomicU64::new(0));
        let shared = Arc::new(Shared { fault, packets, done, stalled_until: OnceLock::new() });
        let own = Arc::clone(&shared);
        thread::Builder::new().name("relay".to_owned()).spawn(move || {
            for (number, viewer) in listener.incoming().take(CONNECTIONS_MAX).enumerate() {
                let to = own.on_connection(number, server);
                // A connection that cannot be relayed is closed: the viewer says so.
                let _ = viewer.and_then(|viewer| relay(viewer, to, &own));
            }
        })?;
        Ok(Self { address, shared })
    }

    /// How many faults it has made.
    pub fn faults(&self) -> u64 {
        self.shared.done.load(Ordering::Relaxed)
    }
}

impl Shared {
    /// Where the connection of this number goes.
    fn on_connection(&self, number: usize, server: SocketAddr) -> SocketAddr {
        match self.fault {
            Fault::ExtraSeat(extra, other) if extra == number => {
                self.done.fetch_add(1, Ordering::Relaxed);
                other
            }
            _ => server,
        }
    }

    /// How often an RTP packet is passed on; waits while media is stalled.
    fn copies(&self) -> usize {
        let number = self.packets.fetch_add(1, Ordering::Relaxed) + 1;
        if let Fault::Stall(from, time) = self.fault
            && number >= from
        {
            let until = *self.stalled_until.get_or_init(|| Instant::now() + time);
            thread::sleep(until.saturating_duration_since(Instant::now()));
        }
        let copies = match self.fault {
            Fault::Lose(one_in) if number.is_multiple_of(one_in) => 0,
            Fault::Repeat(one_in) if number.is_multiple_of(one_in) => 2,
            _ => 1,
        };
        let stalls = matches!(self.fault, Fault::Stall(from, _) if from == number);
        self.done.fetch_add(u64::from(copies != 1 || stalls), Ordering::Relaxed);
        copies
    }
}

/// What both directions of one connection and its UDP ports know.
struct Connection {
    shared: Arc<Shared>,
    viewer: IpAddr,
    /// A BYE went to the viewer.
    told: AtomicBool,
    over: AtomicBool,
}

fn relay(viewer: TcpStream, server: SocketAddr, shared: &Arc<Shared>) -> io::Result<()> {
    let server = TcpStream::connect(server)?;
    viewer.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let connection = Arc::new(Connection {
        shared: Arc::clone(shared),
        viewer: viewer.peer_addr()?.ip(),
        told: AtomicBool::new(false),
        over: AtomicBool::new(false),
    });
    let (from_viewer, to_server) = (viewer.try_clone()?, server.try_clone()?);
    let up = Arc::clone(&connection);
    thread::Builder::new().spawn(move || {
        let _ = requests(&from_viewer, &to_server, &up);
        up.over.store(true, Ordering::Relaxed);
        // Closed already or not: neither side is of use without the other.
        let _ = (from_viewer.shutdown(Shutdown::Both), to_server.shutdown(Shutdown::Both));
    })?;
    thread::Builder::new().spawn(move || {
        let _ = responses(&server, &viewer, &connection);
        connection.over.store(true, Ordering::Relaxed);
        let _ = (viewer.shutdown(Shutdown::Both), server.shutdown(Shutdown::Both));
    })?;
    Ok(())
}

/// Passes requests on, with ports of the relay in the place of the viewer's.
fn requests(mut from: &TcpStream, mut to: &TcpStream, connection: &Arc<Connection>) -> io::Result<()> {
    let mut bytes = vec![0; 16 * 1024];
    loop {
        let count = from.read(&mut bytes)?;
        if count == 0 {
            return Ok(());
        }
        to.write_all(&divert(&bytes[..count], connection)?)?;
    }
}

/// Replaces `client_port=RTP-RTCP`, and opens the ports that stand in for these.
fn divert(request: &[u8], connection: &Arc<Connection>) -> io::Result<Vec<u8>> {
    let place = request.windows(CLIENT_PORT.len()).position(|window| window == CLIENT_PORT);
    let Some(at) = place.map(|place| place + CLIENT_PORT.len()) else { return Ok(request.to_vec()) };
    let length = request[at..].iter().take_while(|byte| byte.is_ascii_digit() || **byte == b'-').count();
    let text = String::from_utf8_lossy(&request[at..at + length]);
    let ports = text.split_once('-').and_then(|(rtp, rtcp)| Some((rtp.parse().ok()?, rtcp.parse().ok()?)));
    let Some((rtp, rtcp)) = ports else { return Ok(request.to_vec()) };
    let own = [stand_in(rtp, true, connection)?, stand_in(rtcp, false, connection)?];
    let own = format!("{}-{}", own[0], own[1]);
    Ok([&request[..at], own.as_bytes(), &request[at + length..]].concat())
}

/// Opens a port whose datagrams go on to the viewer's `port`; returns its number.
fn stand_in(port: u16, is_rtp: bool, connection: &Arc<Connection>) -> io::Result<u16> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_read_timeout(Some(LOOK))?;
    // What waits while media is stalled must not be lost.
    socket2::SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BUFFER_BYTES)?;
    let (own, to) = (socket.local_addr()?.port(), SocketAddr::new(connection.viewer, port));
    let connection = Arc::clone(connection);
    thread::Builder::new().spawn(move || {
        let (mut bytes, mut last) = (vec![0; DATAGRAM_BYTES_MAX], Vec::new());
        // What the viewer's port refuses is lost to a viewer that has left.
        let send = |packet: &[u8]| drop(socket.send_to(packet, to));
        while !connection.over.load(Ordering::Relaxed) {
            if let Ok(count) = socket.recv(&mut bytes) {
                connection.pass(is_rtp, &bytes[..count], &mut last, send);
            }
            if is_rtp && connection.told.load(Ordering::Relaxed) {
                connection.send_one_more(&mut last, send);
            }
        }
    })?;
    Ok(own)
}

/// Passes messages and media on.
fn responses(mut from: &TcpStream, mut to: &TcpStream, connection: &Connection) -> io::Result<()> {
    let (mut bytes, mut begun, mut last) = (vec![0; 64 * 1024], Vec::new(), Vec::new());
    loop {
        let count = from.read(&mut bytes)?;
        if count == 0 {
            return Ok(());
        }
        begun.extend_from_slice(&bytes[..count]);
        let (mut out, mut rest) = (Vec::new(), begun.as_slice());
        while let Some((piece, next)) = split(rest) {
            let whole = &rest[..rest.len() - next.len()];
            match piece {
                Piece::Message(message) => out.extend_from_slice(message),
                Piece::Frame { channel, .. } => {
                    let is_rtp = channel.is_multiple_of(2);
                    connection.pass(is_rtp, whole, &mut last, |frame| out.extend_from_slice(frame));
                    if !is_rtp && connection.told.load(Ordering::Relaxed) {
                        connection.send_one_more(&mut last, |frame| out.extend_from_slice(frame));
                    }
                }
            }
            rest = next;
        }
        let kept = rest.len();
        begun.drain(..begun.len() - kept);
        to.write_all(&out)?;
    }
}

impl Connection {
    /// Hands `packet` to `send` as often as the fault says.
    ///
    /// - `packet`: a datagram, or a frame of an RTSP connection with its four bytes of header.
    fn pass(&self, is_rtp: bool, packet: &[u8], last: &mut Vec<u8>, mut send: impl FnMut(&[u8])) {
        if is_rtp {
            if self.shared.fault == Fault::AfterEnd {
                packet.clone_into(last);
            }
            (0..self.shared.copies()).for_each(|_| send(packet));
            return;
        }
        send(packet);
        let body = packet.strip_prefix(b"$").and_then(|frame| frame.get(3..)).unwrap_or(packet);
        if rtcp::packets(body).flatten().any(|packet| matches!(packet, RtcpPacket::Bye(_))) {
            self.told.store(true, Ordering::Relaxed);
        }
    }

    /// Sends a packet that follows on the last one, where that is the fault.
    fn send_one_more(&self, last: &mut Vec<u8>, mut send: impl FnMut(&[u8])) {
        let header = if last.first() == Some(&b'$') { 4 } else { 0 };
        if let Some(number) = last.get_mut(header + 2..header + 4) {
            let next = u16::from_be_bytes([number[0], number[1]]).wrapping_add(1);
            number.copy_from_slice(&next.to_be_bytes());
            send(last);
            last.clear();
            self.shared.done.fetch_add(1, Ordering::Relaxed);
        }
    }
}
