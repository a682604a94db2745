//! Broadcasts as an encoder does: ANNOUNCE, SETUP, RECORD, then each access unit when it is due.
//!
//! Owns: the publisher's sockets, the pace, its sender reports, the counts of what was sent.
//! Not here: the RTSP dialogue (`slotcast_rtsp::client`), the packets (`source`, `packetize`).
//! Invariant: only what is late is sent at once; every wait ends within `TURN`, so that `stop` is seen in time; what
//! the server does not take is kept up to `UNSENT_BYTES_MAX` and then waited for, for `STALL_MAX` at most.

mod source;

use std::{
    error::Error,
    fmt,
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use mio::{
    Events, Interest, Poll, Token,
    net::{TcpStream, UdpSocket},
};
use slotcast_core::{
    rtcp::{self, NtpTime, RtcpPacket},
    rtp::{RtpTimestamp, SequenceNumber, Ssrc},
    time::{Clock, Now},
};
use slotcast_media::{clip::Clip, packetize::Origin};
use slotcast_net::clock;
use slotcast_rtsp::{
    client::{
        ClientConfig, ClientCredentials, ClientEvent, ClientOutput, ClientRole, ClientSession, Failure,
    },
    headers::transport::{Chosen, LowerTransport},
    server::{TrackTransport, UdpPorts},
};

pub use self::source::{ClipSource, Source};
use crate::target::Target;

/// The user name that goes with a reservation ID.
const USER: &str = "live";
/// How long a response may take, the connection included.
const RESPONSE_MAX: Duration = Duration::from_secs(10);
/// How long the server may take to let the publisher go.
const LEAVE_MAX: Duration = Duration::from_secs(2);
/// How long the server may take no bytes at all.
const STALL_MAX: Duration = Duration::from_secs(10);
/// Waits that are shorter are slept, to be in time by less than the poll's millisecond.
const FINE: Duration = Duration::from_millis(2);
/// No wait is longer.
const TURN: Duration = Duration::from_millis(50);
/// From one sender report to the next: within what viewers' players wait for.
const REPORT_EVERY: Duration = Duration::from_secs(4);
/// The first report waits until every track has sent.
const REPORT_FIRST: Duration = Duration::from_millis(200);
/// A source that does not catch up and is later than this (a machine that slept, a server that stood) goes on from there.
const LATE_MAX: Duration = Duration::from_secs(1);
/// Media is held back while more than this waits for the server.
const UNSENT_BYTES_MAX: usize = 64 * 1024;
/// Read from one socket before the next has its turn.
const READS_PER_TURN: usize = 64;
/// Tries to find two neighbouring UDP ports.
const PORT_TRIES: usize = 32;
/// One for all sockets: whatever wakes us, each is asked.
const TOKEN: Token = Token(0);

/// What to publish where.
#[derive(Clone)]
pub struct PublishConfig {
    /// Where links are taken.
    pub server: SocketAddr,
    /// The channel's name; with `?` and a query where there is one.
    pub channel: String,
    /// The reservation ID: the password of the user `live`.
    pub reservation_id: String,
    /// UDP, TCP, or one after the other.
    pub transport: LowerTransport,
    /// How long to send; `None`: until stopped, or closed by the server.
    pub duration: Option<Duration>,
}

/// Without the reservation ID, and without the query, which may hold it.
impl fmt::Debug for PublishConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublishConfig")
            .field("server", &self.server)
            .field("transport", &self.transport)
            .field("duration", &self.duration)
            .finish_non_exhaustive()
    }
}

/// Where and how to publish.
#[derive(Clone, Debug)]
pub struct LinkConfig {
    /// Where the stream goes.
    pub target: Target,
    /// UDP, TCP, or one after the other.
    pub transport: LowerTransport,
    /// How long to send; `None`: until stopped, or closed by the server.
    pub duration: Option<Duration>,
}

impl From<&PublishConfig> for LinkConfig {
    fn from(config: &PublishConfig) -> Self {
        let (user, password) = (USER.to_owned(), config.reservation_id.clone());
        let target = Target {
            server: config.server,
            url: format!("rtsp://{}/{}", config.server, config.channel),
            credentials: Some(ClientCredentials { user, password }),
        };
        Self { target, transport: config.transport, duration: config.duration }
    }
}

/// What was sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PublishReport {
    /// RTP packets.
    pub packets: u64,
    /// Their bytes, RTP headers included.
    pub bytes: u64,
    /// RTP packets that the kernel did not take over UDP. They have no sequence number: the following packets move up, so
    /// that what a viewer misses was really sent.
    pub refused: u64,
    /// Time that was left out, in sum, where a source that does not catch up was late.
    pub skipped_for: Duration,
    /// From the answer to RECORD to the end.
    pub sent_for: Duration,
    /// In which words the server ended it; `None` when the publisher did.
    pub closed_by_server: Option<String>,
}

/// What has been sent so far, for those who look on from another thread.
#[derive(Debug, Default)]
pub struct PublishProgress {
    /// Whether RECORD was answered and nothing ended since.
    pub recording: AtomicBool,
    /// RTP packets so far.
    pub packets: AtomicU64,
    /// Their bytes so far.
    pub bytes: AtomicU64,
}

/// Why nothing could be published, or no more.
#[derive(Debug)]
#[non_exhaustive]
pub enum PublishError {
    /// The server said no.
    Refused {
        /// To which method.
        method: &'static str,
        /// RTSP status.
        status: u16,
        /// In the server's words.
        reason: String,
    },
    /// No response in time.
    Late {
        /// To which method.
        method: &'static str,
    },
    /// The connection could not be made, or broke before the media flowed.
    Io(io::Error),
    /// What the server said does not fit the dialogue.
    Session(Failure),
    /// The server did not name the UDP ports to send to.
    ServerPortsMissing,
    /// The server took no bytes for so long.
    Stalled(Duration),
    /// The system gave no random numbers.
    Random(getrandom::Error),
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { method, status, reason } => {
                write!(f, "the server refused {method}: {status} {reason}")
            }
            Self::Late { method } => {
                write!(f, "no answer to {method} within {} s", RESPONSE_MAX.as_secs())
            }
            Self::Io(error) => write!(f, "the connection to the server failed: {error}"),
            Self::Session(failure) => write!(f, "the server's answers do not fit: {failure:?}"),
            Self::ServerPortsMissing => {
                f.write_str("expected server_port in the server's Transport, got none")
            }
            Self::Stalled(time) => write!(f, "the server took nothing for {} s", time.as_secs()),
            Self::Random(error) => write!(f, "no random numbers: {error}"),
        }
    }
}

impl Error for PublishError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for PublishError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Publishes `clip` round and round on the calling thread until the duration is over, `stop` is set or the server
/// ends it.
///
/// # Errors
/// See [`PublishError`]. A server that ends what was already recording is no error: see
/// [`PublishReport::closed_by_server`].
pub fn publish(
    clip: &Clip,
    config: &PublishConfig,
    stop: &AtomicBool,
) -> Result<PublishReport, PublishError> {
    publish_with_progress(clip, config, stop, &PublishProgress::default())
}

/// [`publish`], and tells `progress` how it goes.
///
/// # Errors
/// See [`publish`].
pub fn publish_with_progress(
    clip: &Clip,
    config: &PublishConfig,
    stop: &AtomicBool,
    progress: &PublishProgress,
) -> Result<PublishReport, PublishError> {
    publish_source(&mut ClipSource::new(clip)?, &config.into(), stop, progress)
}

/// Publishes `source` on the calling thread until it has no more, the duration is over, `stop` is set or the server
/// ends it.
///
/// # Errors
/// See [`publish`].
pub fn publish_source(
    source: &mut dyn Source,
    link: &LinkConfig,
    stop: &AtomicBool,
    progress: &PublishProgress,
) -> Result<PublishReport, PublishError> {
    let result = Publisher::new(source, link, progress).and_then(|publisher| publisher.run(stop));
    progress.recording.store(false, Ordering::Relaxed);
    result
}

/// One track's sockets over UDP.
struct Ports {
    rtp: UdpSocket,
    rtcp: UdpSocket,
}

/// How the session came to its end.
enum End {
    /// The publisher asked for it.
    Ours,
    /// The server did, in these words.
    Server(String),
    Failed(PublishError),
}

/// What runs since RECORD was answered.
struct OnAir {
    started: Instant,
    /// Both clocks at tick 0 of all tracks.
    began: Now,
    next_report: Instant,
}

struct Publisher<'a> {
    source: &'a mut dyn Source,
    config: &'a LinkConfig,
    progress: &'a PublishProgress,
    clock: Clock,
    poll: Poll,
    stream: TcpStream,
    session: ClientSession,
    unsent: Vec<u8>,
    /// When bytes left last, or there were none to leave.
    flowed: Instant,
    /// One per track over UDP, none over TCP.
    ports: Vec<Ports>,
    packets: Vec<Bytes>,
    /// Of each track, the packets that the kernel did not take.
    refused: Vec<u16>,
    on_air: Option<OnAir>,
    leaving: Option<Instant>,
    /// The server's goodbye, which comes before the close.
    goodbye: Option<String>,
    end: Option<End>,
    report: PublishReport,
    buffer: Vec<u8>,
}

impl<'a> Publisher<'a> {
    fn new(
        source: &'a mut dyn Source,
        config: &'a LinkConfig,
        progress: &'a PublishProgress,
    ) -> Result<Self, PublishError> {
        let clock = clock::system();
        let now = clock().mono;
        let poll = Poll::new()?;
        let server = config.target.server;
        let mut stream = TcpStream::connect(server)?;
        // Else a frame waits for the acknowledgement of the one before, for up to 40 ms.
        stream.set_nodelay(true)?;
        poll.registry().register(&mut stream, TOKEN, Interest::READABLE | Interest::WRITABLE)?;
        let udp_tracks = if config.transport == LowerTransport::Tcp { 0 } else { source.tracks() };
        let (mut ports, mut numbers) = (Vec::new(), Vec::new());
        for _ in 0..udp_tracks {
            let mut pair = bind_pair(server.ip())?;
            poll.registry().register(&mut pair.rtp, TOKEN, Interest::READABLE)?;
            poll.registry().register(&mut pair.rtcp, TOKEN, Interest::READABLE)?;
            let [rtp, rtcp] = [pair.rtp.local_addr()?.port(), pair.rtcp.local_addr()?.port()];
            numbers.push(UdpPorts { rtp, rtcp });
            ports.push(pair);
        }
        let client = Arc::new(client_config(source.sdp(), config));
        let tracks = source.tracks();
        Ok(Self {
            source,
            config,
            progress,
            clock,
            poll,
            stream,
            session: ClientSession::new(client, numbers, now),
            unsent: Vec::new(),
            flowed: now,
            ports,
            packets: Vec::new(),
            refused: vec![0; tracks],
            on_air: None,
            leaving: None,
            goodbye: None,
            end: None,
            report: PublishReport::default(),
            buffer: vec![0; 16 * 1024],
        })
    }

    fn run(mut self, stop: &AtomicBool) -> Result<PublishReport, PublishError> {
        let mut events = Events::with_capacity(16);
        while self.end.is_none() {
            let now = (self.clock)();
            self.look_at_time(now.mono, stop.load(Ordering::Relaxed));
            self.send_due(now);
            self.carry_out(now);
            let wake = self.wake(now.mono);
            // The poll waits in whole milliseconds: it leaves the last of them to a finer clock.
            let wait = wake.saturating_duration_since(now.mono).saturating_sub(FINE);
            match self.poll.poll(&mut events, Some(wait)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error.into()),
                _ if wait.is_zero() => thread::sleep(wake.saturating_duration_since(Instant::now())),
                _ => {}
            }
            // Few sockets: each is asked, whatever woke us.
            let now = (self.clock)();
            self.read_rtsp(now.mono);
            self.read_datagrams();
            self.carry_out(now);
        }
        if let Some(on_air) = &self.on_air {
            let ended = self.leaving.unwrap_or_else(|| (self.clock)().mono);
            self.report.sent_for = ended.saturating_duration_since(on_air.started);
        }
        match self.end {
            Some(End::Failed(error)) => Err(error),
            Some(End::Server(reason)) => Ok(PublishReport { closed_by_server: Some(reason), ..self.report }),
            Some(End::Ours) | None => Ok(self.report),
        }
    }

    /// When there is something to do again.
    fn wake(&self, now: Instant) -> Instant {
        let mut wake = now + TURN;
        if let Some(on_air) = self.on_air.as_ref().filter(|_| self.may_send()) {
            wake = wake.min(on_air.next_report);
            if let Some(at) = self.source.next_at() {
                wake = wake.min(on_air.began.mono + at);
            }
        }
        self.session.deadline().map_or(wake, |deadline| wake.min(deadline))
    }

    /// Deadlines, and the order to leave.
    fn look_at_time(&mut self, now: Instant, stop: bool) {
        if self.session.deadline().is_some_and(|at| at <= now) {
            self.session.handle_timeout(now);
        }
        let over = self.on_air.as_ref().zip(self.config.duration);
        let over = over.is_some_and(|(on_air, duration)| now.duration_since(on_air.started) >= duration);
        if (stop || over) && self.leaving.is_none() {
            self.leaving = Some(now);
            self.progress.recording.store(false, Ordering::Relaxed);
            self.session.teardown(now);
        }
        if self.leaving.is_some_and(|since| now.duration_since(since) > LEAVE_MAX) {
            self.end.get_or_insert(End::Ours);
        }
        if self.unsent.is_empty() {
            self.flowed = now;
        } else if now.duration_since(self.flowed) > STALL_MAX {
            self.end.get_or_insert(End::Failed(PublishError::Stalled(STALL_MAX)));
        }
    }

    /// Whether media goes out now.
    fn may_send(&self) -> bool {
        self.session.is_streaming() && self.leaving.is_none() && self.unsent.len() <= UNSENT_BYTES_MAX
    }

    /// Sends what is due, and the sender reports when it is their time.
    fn send_due(&mut self, now: Now) {
        while self.may_send()
            && let Some(on_air) = &mut self.on_air
            && let Some(at) = self.source.next_at()
            && on_air.began.mono + at <= now.mono
        {
            let late = now.mono.duration_since(on_air.began.mono + at);
            if late > LATE_MAX && !self.source.catches_up() {
                self.report.skipped_for += late;
                on_air.began.mono += late;
                on_air.began.wall = on_air.began.wall.saturating_add(late);
            }
            let due = on_air.began.mono + at;
            self.send_unit(due);
        }
        let due = self.on_air.as_ref().is_some_and(|on_air| on_air.next_report <= now.mono);
        if due && self.may_send() {
            self.send_reports(now);
        }
    }

    fn send_unit(&mut self, due: Instant) {
        let mut packets = std::mem::take(&mut self.packets);
        let track = self.source.take(due, &mut packets);
        for packet in packets.drain(..) {
            let packet = self.renumbered(track, packet);
            if self.send_packet(track, false, &packet) {
                self.report.packets += 1;
                self.report.bytes += packet.len() as u64;
            } else {
                self.report.refused += 1;
                if let Some(refused) = self.refused.get_mut(track) {
                    *refused = refused.wrapping_add(1);
                }
            }
        }
        self.packets = packets;
        self.progress.packets.store(self.report.packets, Ordering::Relaxed);
        self.progress.bytes.store(self.report.bytes, Ordering::Relaxed);
    }

    /// The packet with the sequence number that follows on what was sent (RFC 3550 §5.1).
    fn renumbered(&self, track: usize, packet: Bytes) -> Bytes {
        let refused = self.refused.get(track).copied().unwrap_or(0);
        let number = packet.get(2..4).and_then(|bytes| bytes.try_into().ok()).map(u16::from_be_bytes);
        match number.filter(|_| refused > 0) {
            None => packet,
            Some(number) => {
                let mut renumbered = packet.to_vec();
                renumbered[2..4].copy_from_slice(&number.wrapping_sub(refused).to_be_bytes());
                renumbered.into()
            }
        }
    }

    /// One report for each track that has sent, all for the same moment.
    fn send_reports(&mut self, now: Now) {
        let Some(on_air) = &mut self.on_air else { return };
        on_air.next_report = now.mono + REPORT_EVERY;
        let elapsed = now.mono.saturating_duration_since(on_air.began.mono);
        let ntp = NtpTime::from(on_air.began.wall.saturating_add(elapsed));
        let reports = self.source.sender_infos(ntp, elapsed);
        for (track, info) in reports.iter().enumerate().filter(|(_, info)| info.packets > 0) {
            self.send_packet(track, true, &rtcp::sender_report(info));
        }
    }

    /// Sends one packet, or puts it behind what waits for the server; says whether it went.
    fn send_packet(&mut self, track: usize, is_rtcp: bool, packet: &[u8]) -> bool {
        if let Some(ports) = self.ports.get(track) {
            let socket = if is_rtcp { &ports.rtcp } else { &ports.rtp };
            // The first error may be that of an earlier datagram, which an ICMP message told of.
            return socket.send(packet).or_else(|_| socket.send(packet)).is_ok();
        }
        let channel = u8::try_from(2 * track + usize::from(is_rtcp)).ok();
        let header = channel
            .zip(u16::try_from(packet.len()).ok())
            .and_then(|(channel, length)| self.session.frame_header(channel, length));
        if let Some(header) = header {
            self.unsent.extend_from_slice(&header);
            self.unsent.extend_from_slice(packet);
        }
        header.is_some()
    }

    fn read_rtsp(&mut self, now: Instant) {
        for _ in 0..READS_PER_TURN {
            match self.stream.read(&mut self.buffer) {
                Ok(0) => return self.session.handle_eof(),
                Ok(count) => self.session.handle_bytes(now, &self.buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_for_later(&error) => return,
                Err(error) => return self.on_broken(error),
            }
        }
    }

    /// The server's RTCP over UDP.
    fn read_datagrams(&mut self) {
        for ports in &self.ports {
            for _ in 0..READS_PER_TURN {
                let Ok(count) = ports.rtcp.recv(&mut self.buffer) else { break };
                take_goodbye(&mut self.goodbye, &self.buffer[..count]);
            }
        }
    }

    /// While media flows a broken connection is the server's end, before that it is a failure.
    fn on_broken(&mut self, error: io::Error) {
        if self.on_air.is_none() {
            self.end.get_or_insert_with(|| End::Failed(error.into()));
        }
        self.session.handle_eof();
    }

    fn carry_out(&mut self, now: Now) {
        while let Some(output) = self.session.poll_output() {
            match output {
                ClientOutput::Send(bytes) => self.unsent.extend_from_slice(&bytes),
                ClientOutput::Frame { channel, payload } if !channel.is_multiple_of(2) => {
                    take_goodbye(&mut self.goodbye, &payload);
                }
                ClientOutput::Event(ClientEvent::Ready { tracks }) => {
                    if let Err(error) = self.connect_ports(&tracks) {
                        self.end.get_or_insert(End::Failed(error));
                    }
                }
                ClientOutput::Event(ClientEvent::Recording) => {
                    let next_report = now.mono + REPORT_FIRST;
                    self.on_air = Some(OnAir { started: now.mono, began: now, next_report });
                    self.progress.recording.store(true, Ordering::Relaxed);
                }
                ClientOutput::Failed(failure) => self.on_failure(failure),
                ClientOutput::Closed => {
                    self.end.get_or_insert(End::Ours);
                }
                ClientOutput::Frame { .. } | ClientOutput::Event(_) => {}
            }
        }
        self.flush(now.mono);
    }

    /// Writes what waits, as far as the server takes it.
    fn flush(&mut self, now: Instant) {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(count) => {
                    self.unsent.drain(..count);
                    self.flowed = now;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_for_later(&error) => return,
                Err(error) => {
                    self.unsent.clear();
                    return self.on_broken(error);
                }
            }
        }
    }

    /// Over TCP the sockets are let go.
    fn connect_ports(&mut self, tracks: &[Chosen]) -> Result<(), PublishError> {
        if tracks.iter().any(|track| matches!(track.transport, TrackTransport::Tcp { .. })) {
            self.ports.clear();
        }
        for (ports, track) in self.ports.iter().zip(tracks) {
            let server = track.server.ok_or(PublishError::ServerPortsMissing)?;
            let ip = self.config.target.server.ip();
            ports.rtp.connect(SocketAddr::new(ip, server.rtp))?;
            ports.rtcp.connect(SocketAddr::new(ip, server.rtcp))?;
        }
        Ok(())
    }

    /// The session's own account of why it ended; [`ClientOutput::Closed`] follows.
    fn on_failure(&mut self, failure: Failure) {
        let end = match failure {
            _ if self.leaving.is_some() => End::Ours,
            Failure::Refused { status, reason, .. } if self.on_air.is_some() => {
                End::Server(format!("{} {reason}", status.code()))
            }
            Failure::Refused { method, status, reason } => {
                End::Failed(PublishError::Refused { method, status: status.code(), reason })
            }
            Failure::Late { method } => End::Failed(PublishError::Late { method }),
            Failure::Disconnected { method: None } => {
                let goodbye = self.goodbye.take().filter(|goodbye| !goodbye.is_empty());
                End::Server(goodbye.unwrap_or_else(|| "the connection was closed".to_owned()))
            }
            other => End::Failed(PublishError::Session(other)),
        };
        self.end.get_or_insert(end);
    }
}

/// Not connected yet, or nothing to be had now.
fn is_for_later(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected)
}

/// Keeps the reason of a BYE, on one line.
fn take_goodbye(goodbye: &mut Option<String>, packet: &[u8]) {
    for packet in rtcp::packets(packet).flatten() {
        if let RtcpPacket::Bye(bye) = packet {
            let reason = String::from_utf8_lossy(bye.reason().unwrap_or_default());
            *goodbye = Some(reason.chars().filter(|c| !c.is_control()).collect());
        }
    }
}

fn client_config(sdp: String, config: &LinkConfig) -> ClientConfig {
    let mut client = ClientConfig::new(ClientRole::Publish { sdp }, config.target.url.clone());
    client.transport = config.transport;
    client.credentials.clone_from(&config.target.credentials);
    client.response = RESPONSE_MAX;
    client
}

/// Random, as RFC 3550 §5.1 wants it.
///
/// # Errors
/// The kernel gives no random numbers.
pub fn origin() -> Result<Origin, PublishError> {
    let mut bytes = [0; 10];
    getrandom::fill(&mut bytes).map_err(PublishError::Random)?;
    let [a, b, c, d, e, f, g, h, i, j] = bytes;
    Ok(Origin {
        ssrc: Ssrc(u32::from_be_bytes([a, b, c, d])),
        sequence_number: SequenceNumber(u16::from_be_bytes([e, f])),
        timestamp: RtpTimestamp(u32::from_be_bytes([g, h, i, j])),
    })
}

/// An even port and the next one, or where there is none any two.
fn bind_pair(server: IpAddr) -> io::Result<Ports> {
    let any: IpAddr = match server {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let bind = |port| UdpSocket::bind(SocketAddr::new(any, port));
    for _ in 0..PORT_TRIES {
        let rtp = bind(0)?;
        let port = rtp.local_addr()?.port();
        let next = port.checked_add(1).filter(|_| port.is_multiple_of(2));
        if let Some(Ok(rtcp)) = next.map(bind) {
            return Ok(Ports { rtp, rtcp });
        }
    }
    Ok(Ports { rtp: bind(0)?, rtcp: bind(0)? })
}
