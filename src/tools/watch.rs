//! Many viewers in a few threads: they play, count, and report.
//!
//! Owns: the viewers' sockets and what each of them saw: packets, losses by sequence number, refusals, BYE, the close.
//! Not here: decoding. Bounded: in viewers, in threads, and by the time of [`WatchConfig::patience`].

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, UdpSocket as StdUdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use mio::{
    Events, Interest, Poll, Token,
    net::{TcpStream, UdpSocket},
};
use slotcast_core::{
    media::TRACKS_MAX,
    rtcp::{self, RtcpPacket},
    rtp::{RtpPacket, SequenceNumber},
};
use slotcast_rtsp::{
    client::{
        ClientConfig, ClientCredentials, ClientEvent, ClientOutput, ClientRole, ClientSession, Failure,
        TransportPolicy,
    },
    server::UdpPorts,
};

/// Most viewers of one watch.
pub const VIEWERS_MAX: usize = 20_000;
/// Tracks that UDP viewers hold ports ready for.
const UDP_TRACKS: usize = 2;
/// Tokens per viewer: one for RTSP, two per track.
const TOKENS: usize = 1 + 2 * UDP_TRACKS;
/// How often deadlines and orders are looked at.
const TURN: Duration = Duration::from_millis(50);
/// How long a viewer may take to leave.
const LEAVE_MAX: Duration = Duration::from_secs(2);
const UDP_RECEIVE_BUFFER_BYTES: usize = 1 << 20;

/// What the viewers do.
#[derive(Clone, Debug)]
pub struct WatchConfig {
    /// Where RTSP is.
    pub server: SocketAddr,
    /// Path and query behind the address, e.g. `channel4`.
    pub channel: String,
    /// How many, at most [`VIEWERS_MAX`].
    pub viewers: usize,
    /// How many of them over UDP; the others over TCP.
    pub udp_viewers: usize,
    /// The program's password; any user name goes with it.
    pub password: Option<String>,
    /// Viewers who connect per second.
    pub per_second: u32,
    /// Over so many threads.
    pub threads: usize,
    /// After this time the viewers leave by themselves.
    pub patience: Duration,
}

/// How a viewer's session came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It left by itself.
    Left,
    /// The server ended it while it played.
    Ended,
    /// The server said no.
    Refused {
        /// RTSP status.
        status: u16,
        /// In the server's words.
        reason: String,
    },
    /// It did not work.
    Failed(String),
}

/// What one viewer saw.
#[derive(Clone, Debug)]
pub struct ViewerReport {
    /// Over UDP, or TCP.
    pub udp: bool,
    /// How it came out.
    pub outcome: Outcome,
    /// RTP packets.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packets missing between the first, as RTP-Info named it, and the last.
    pub lost: u64,
    /// From PLAY's answer to the first packet.
    pub joined_in: Option<Duration>,
    /// When the last RTP packet was read.
    pub last_media: Option<Instant>,
    /// When a BYE was read on the first track.
    pub told: Option<Instant>,
    /// When the server closed the connection.
    pub closed: Option<Instant>,
}

/// What all viewers together have seen so far.
#[derive(Debug, Default)]
pub struct WatchProgress {
    /// Playing now.
    pub playing: AtomicU64,
    /// Refused so far.
    pub refused: AtomicU64,
    /// RTP packets so far.
    pub packets: AtomicU64,
}

/// Viewers at work.
pub struct Watch {
    threads: Vec<JoinHandle<io::Result<Vec<ViewerReport>>>>,
    progress: Arc<WatchProgress>,
    stop: Arc<AtomicBool>,
}

impl Watch {
    /// Sends the viewers out.
    pub fn start(config: &WatchConfig) -> io::Result<Self> {
        let (progress, stop) = (Arc::<WatchProgress>::default(), Arc::<AtomicBool>::default());
        let threads = config.threads.clamp(1, 64);
        let viewers = config.viewers.min(VIEWERS_MAX);
        let started = Instant::now();
        let threads = (0..threads)
            .map(|thread| {
                // Every other one over UDP as long as there are any, so that both kinds come from the beginning.
                let own: Vec<Plan> = (0..viewers)
                    .filter(|viewer| viewer % threads == thread)
                    .map(|viewer| Plan {
                        udp: is_udp(viewer, viewers, config.udp_viewers),
                        at: started
                            + Duration::from_secs_f64(viewer as f64 / f64::from(config.per_second.max(1))),
                    })
                    .collect();
                let crowd = Crowd::new(config, own, Arc::clone(&progress), Arc::clone(&stop))?;
                std::thread::Builder::new().name(format!("watch-{thread}")).spawn(move || crowd.run())
            })
            .collect::<io::Result<_>>()?;
        Ok(Self { threads, progress, stop })
    }

    /// What they have seen so far.
    pub fn progress(&self) -> &WatchProgress {
        &self.progress
    }

    /// Whether all have left.
    pub fn is_over(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// Lets those who still watch leave.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Waits until all have left, and tells what they saw.
    pub fn join(self) -> io::Result<Vec<ViewerReport>> {
        let mut reports = Vec::new();
        for thread in self.threads {
            let own = thread.join().map_err(|_| io::Error::other("a watching thread panicked"))?;
            reports.append(&mut own?);
        }
        Ok(reports)
    }
}

/// Spreads `udp` UDP viewers evenly among `all`.
const fn is_udp(viewer: usize, all: usize, udp: usize) -> bool {
    (viewer + 1) * udp / all > viewer * udp / all
}

struct Plan {
    udp: bool,
    at: Instant,
}

/// The sequence numbers of one track.
#[derive(Clone, Copy, Default)]
struct Sequence {
    first: Option<SequenceNumber>,
    /// Numbers from the first to the highest, both included.
    span: u64,
    received: u64,
}

impl Sequence {
    fn begin(&mut self, first: SequenceNumber) {
        *self = Self { first: Some(first), span: 0, received: 0 };
    }

    fn take(&mut self, number: SequenceNumber) {
        let first = *self.first.get_or_insert(number);
        self.received += 1;
        // Where the number lies relative to the highest so far, over the wrap at 2^16.
        let highest = SequenceNumber(first.0.wrapping_add(self.span as u16).wrapping_sub(1));
        let ahead = number.0.wrapping_sub(highest.0).cast_signed();
        if ahead > 0 {
            self.span += u64::from(ahead.unsigned_abs());
        }
    }

    const fn lost(self) -> u64 {
        self.span.saturating_sub(self.received)
    }
}

struct Viewer {
    stream: TcpStream,
    session: ClientSession,
    unsent: Vec<u8>,
    sockets: Vec<UdpSocket>,
    sequences: [Sequence; TRACKS_MAX],
    report: ViewerReport,
    played: Option<Instant>,
    leaving: Option<Instant>,
    done: bool,
}

/// The viewers of one thread.
struct Crowd {
    poll: Poll,
    configs: [Arc<ClientConfig>; 2],
    server: SocketAddr,
    plans: std::vec::IntoIter<Plan>,
    next: Option<Plan>,
    viewers: Vec<Viewer>,
    reports: Vec<ViewerReport>,
    open: usize,
    progress: Arc<WatchProgress>,
    stop: Arc<AtomicBool>,
    until: Instant,
    buffer: Vec<u8>,
}

impl Crowd {
    fn new(
        config: &WatchConfig,
        plans: Vec<Plan>,
        progress: Arc<WatchProgress>,
        stop: Arc<AtomicBool>,
    ) -> io::Result<Self> {
        let client = |transport| {
            let url = format!("rtsp://{}/{}", config.server, config.channel);
            let mut client = ClientConfig::new(ClientRole::Watch, url);
            client.transport = transport;
            client.credentials = config
                .password
                .clone()
                .map(|password| ClientCredentials { user: "viewer".to_owned(), password });
            Arc::new(client)
        };
        let mut plans = plans.into_iter();
        Ok(Self {
            poll: Poll::new()?,
            configs: [client(TransportPolicy::Tcp), client(TransportPolicy::Udp)],
            server: config.server,
            next: plans.next(),
            plans,
            viewers: Vec::new(),
            reports: Vec::new(),
            open: 0,
            progress,
            stop,
            until: Instant::now() + config.patience,
            buffer: vec![0; 64 * 1024],
        })
    }

    fn run(mut self) -> io::Result<Vec<ViewerReport>> {
        let mut events = Events::with_capacity(1024);
        let mut look_at = Instant::now();
        while self.next.is_some() || self.open > 0 {
            let now = Instant::now();
            self.connect_due(now)?;
            if now >= look_at {
                self.look_around(now);
                look_at = now + TURN;
            }
            let wake = self.next.as_ref().map_or(look_at, |plan| plan.at.min(look_at));
            match self.poll.poll(&mut events, Some(wake.saturating_duration_since(now))) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            let now = Instant::now();
            for event in &events {
                let (viewer, socket) = (event.token().0 / TOKENS, event.token().0 % TOKENS);
                match socket {
                    0 => self.on_rtsp(viewer, now),
                    _ => self.on_datagrams(viewer, socket - 1, now),
                }
            }
        }
        self.reports.extend(self.viewers.into_iter().map(|viewer| viewer.report));
        Ok(self.reports)
    }

    fn connect_due(&mut self, now: Instant) -> io::Result<()> {
        while self.next.as_ref().is_some_and(|plan| plan.at <= now) {
            let Some(plan) = self.next.take() else { break };
            self.next = self.plans.next();
            if self.stop.load(Ordering::Relaxed) || now >= self.until {
                continue;
            }
            match self.connect(plan.udp, now) {
                Ok(()) => {}
                Err(error) => {
                    self.reports.push(ViewerReport::new(plan.udp, Outcome::Failed(error.to_string())));
                }
            }
        }
        Ok(())
    }

    fn connect(&mut self, udp: bool, now: Instant) -> io::Result<()> {
        let key = self.viewers.len();
        let mut stream = TcpStream::connect(self.server)?;
        let both = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut stream, Token(key * TOKENS), both)?;
        let (mut sockets, mut ports) = (Vec::new(), Vec::new());
        for _ in 0..if udp { UDP_TRACKS } else { 0 } {
            let [rtp, rtcp] = [bind(self.server)?, bind(self.server)?];
            ports.push(UdpPorts { rtp: rtp.local_addr()?.port(), rtcp: rtcp.local_addr()?.port() });
            sockets.extend([rtp, rtcp]);
        }
        for (place, socket) in sockets.iter_mut().enumerate() {
            self.poll.registry().register(socket, Token(key * TOKENS + 1 + place), Interest::READABLE)?;
        }
        self.viewers.push(Viewer {
            stream,
            session: ClientSession::new(Arc::clone(&self.configs[usize::from(udp)]), ports, now),
            unsent: Vec::new(),
            sockets,
            sequences: Default::default(),
            report: ViewerReport::new(udp, Outcome::Left),
            played: None,
            leaving: None,
            done: false,
        });
        self.open += 1;
        Ok(())
    }

    /// Deadlines, and the order to leave.
    fn look_around(&mut self, now: Instant) {
        let leave = self.stop.load(Ordering::Relaxed) || now >= self.until;
        for key in 0..self.viewers.len() {
            let viewer = &mut self.viewers[key];
            if viewer.done {
                continue;
            }
            if leave && viewer.leaving.is_none() {
                viewer.leaving = Some(now);
                viewer.session.teardown(now);
            }
            if viewer.session.deadline().is_some_and(|at| at <= now) {
                viewer.session.handle_timeout(now);
            }
            self.carry_out(key, now);
            if self.viewers[key].leaving.is_some_and(|at| now.saturating_duration_since(at) > LEAVE_MAX) {
                self.finish(key);
            }
        }
    }

    fn on_rtsp(&mut self, key: usize, now: Instant) {
        let Some(viewer) = self.viewers.get_mut(key).filter(|viewer| !viewer.done) else { return };
        let mut over = false;
        loop {
            match viewer.stream.read(&mut self.buffer) {
                Ok(0) => over = true,
                Ok(count) => {
                    viewer.session.handle_bytes(now, &self.buffer[..count]);
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // Not connected yet.
                Err(error) if error.kind() == io::ErrorKind::NotConnected => {}
                Err(_) => over = true,
            }
            break;
        }
        self.carry_out(key, now);
        let viewer = &mut self.viewers[key];
        if over && !viewer.done {
            viewer.report.closed.get_or_insert(now);
            viewer.session.handle_eof();
            self.carry_out(key, now);
            self.finish(key);
        }
    }

    fn on_datagrams(&mut self, key: usize, socket: usize, now: Instant) {
        let Some(viewer) = self.viewers.get_mut(key).filter(|viewer| !viewer.done) else { return };
        while let Some(count) = viewer.sockets.get(socket).and_then(|s| s.recv(&mut self.buffer).ok()) {
            viewer.take_packet(socket as u8, &self.buffer[..count], now, &self.progress);
        }
    }

    fn carry_out(&mut self, key: usize, now: Instant) {
        let viewer = &mut self.viewers[key];
        let mut closed = false;
        while let Some(output) = viewer.session.poll_output() {
            match output {
                ClientOutput::Send(bytes) => viewer.unsent.extend_from_slice(&bytes),
                ClientOutput::Frame { channel, payload } => {
                    viewer.take_packet(channel, &payload, now, &self.progress);
                }
                ClientOutput::Event(event) => viewer.on_event(event, now, &self.progress),
                ClientOutput::Failed(failure) => viewer.on_failure(&failure, &self.progress),
                ClientOutput::Closed => closed = true,
            }
        }
        while !viewer.unsent.is_empty() {
            match viewer.stream.write(&viewer.unsent) {
                Ok(count) => drop(viewer.unsent.drain(..count)),
                Err(_) => break,
            }
        }
        if closed {
            self.finish(key);
        }
    }

    fn finish(&mut self, key: usize) {
        let viewer = &mut self.viewers[key];
        if std::mem::replace(&mut viewer.done, true) {
            return;
        }
        self.open -= 1;
        if viewer.played.is_some() {
            self.progress.playing.fetch_sub(1, Ordering::Relaxed);
        }
        viewer.report.lost = viewer.sequences.iter().map(|sequence| sequence.lost()).sum();
        let registry = self.poll.registry();
        let _ = registry.deregister(&mut viewer.stream);
        let _ = viewer.stream.shutdown(std::net::Shutdown::Both);
        viewer.sockets.iter_mut().for_each(|socket| _ = registry.deregister(socket));
        viewer.sockets.clear();
    }
}

fn bind(server: SocketAddr) -> io::Result<UdpSocket> {
    let ip = if server.ip().is_loopback() { server.ip() } else { Ipv4Addr::UNSPECIFIED.into() };
    let socket = StdUdpSocket::bind((ip, 0))?;
    socket.set_nonblocking(true)?;
    // The kernel gives what it allows.
    let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(UDP_RECEIVE_BUFFER_BYTES);
    Ok(UdpSocket::from_std(socket))
}

impl ViewerReport {
    const fn new(udp: bool, outcome: Outcome) -> Self {
        Self {
            udp,
            outcome,
            packets: 0,
            bytes: 0,
            lost: 0,
            joined_in: None,
            last_media: None,
            told: None,
            closed: None,
        }
    }
}

impl Viewer {
    /// Takes an RTP (even channel) or RTCP packet of track `channel / 2`.
    fn take_packet(&mut self, channel: u8, packet: &[u8], now: Instant, progress: &WatchProgress) {
        if !channel.is_multiple_of(2) {
            let bye = rtcp::packets(packet).flatten().any(|packet| matches!(packet, RtcpPacket::Bye(_)));
            if bye {
                self.report.told.get_or_insert(now);
            }
            return;
        }
        let Ok(rtp) = RtpPacket::parse(packet) else { return };
        self.report.packets += 1;
        self.report.bytes += packet.len() as u64;
        self.report.last_media = Some(now);
        if self.report.joined_in.is_none() {
            self.report.joined_in = self.played.map(|played| now.saturating_duration_since(played));
        }
        if let Some(sequence) = self.sequences.get_mut(usize::from(channel / 2)) {
            sequence.take(rtp.sequence_number());
        }
        progress.packets.fetch_add(1, Ordering::Relaxed);
    }

    fn on_event(&mut self, event: ClientEvent, now: Instant, progress: &WatchProgress) {
        if let ClientEvent::Playing { rtp_info } = event {
            self.played = Some(now);
            progress.playing.fetch_add(1, Ordering::Relaxed);
            for info in rtp_info {
                if let (Some(seq), Some(sequence)) =
                    (info.seq, self.sequences.get_mut(usize::from(info.track)))
                    && sequence.received == 0
                {
                    sequence.begin(SequenceNumber(seq));
                }
            }
        }
    }

    fn on_failure(&mut self, failure: &Failure, progress: &WatchProgress) {
        self.report.outcome = match failure {
            Failure::Refused { status, reason, .. } => {
                progress.refused.fetch_add(1, Ordering::Relaxed);
                Outcome::Refused { status: status.code(), reason: reason.clone() }
            }
            Failure::Disconnected { method: None } => Outcome::Ended,
            other => Outcome::Failed(format!("{other:?}")),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(first: Option<u16>, numbers: &[u16], lost: u64) {
        let mut sequence = Sequence::default();
        if let Some(first) = first {
            sequence.begin(SequenceNumber(first));
        }
        numbers.iter().for_each(|&number| sequence.take(SequenceNumber(number)));
        assert_eq!(sequence.lost(), lost, "{first:?} {numbers:?}");
    }

    #[test]
    fn losses_are_counted_by_sequence_number() {
        check(None, &[7, 8, 9], 0);
        check(Some(5), &[7, 8, 9], 2);
        check(None, &[1, 2, 5, 6], 2);
        check(None, &[1, 3, 2, 4], 0);
        check(None, &[65_534, 65_535, 0, 1], 0);
        check(Some(65_530), &[65_534, 65_535, 1], 5);
    }

    #[test]
    fn transports_are_spread_evenly() {
        let udp = |all, udp| (0..all).map(|viewer| is_udp(viewer, all, udp)).collect::<Vec<_>>();
        assert_eq!(udp(4, 2), [false, true, false, true]);
        assert_eq!(udp(3, 0), [false; 3]);
        assert_eq!(udp(3, 3), [true; 3]);
        assert_eq!(udp(60, 30).iter().filter(|udp| **udp).count(), 30);
    }
}
