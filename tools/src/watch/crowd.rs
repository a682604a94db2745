//! The viewers of one thread: their sockets, and when each is asked to do something.
//!
//! Holds: no call waits; every viewer is done within the patience and [`LEAVE_MAX`].

use std::{
    io::{self, Read},
    net::{IpAddr, SocketAddr, UdpSocket as StdUdpSocket},
    os::fd::AsFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use mio::{
    Events, Interest, Poll, Token,
    event::Event,
    net::{TcpStream, UdpSocket},
};
use slotcast_net::{
    clock::monotonic_nanos,
    sys::{ReceiveBuffers, join_datagrams, receive_datagrams},
};
use slotcast_rtsp::{
    client::{ClientConfig, ClientRole, ClientSession, TransportPolicy},
    server::UdpPorts,
};

use super::{
    CrowdConfig, Outcome, Seen, ViewerReport, WatchProgress,
    viewer::{Batch, Viewer},
};
use crate::{drops::udp_drops, histogram::Histogram};

/// Tracks that UDP viewers hold ports ready for.
const UDP_TRACKS: usize = 2;
/// Tokens per viewer: one for RTSP, two per track.
const TOKENS: usize = 1 + 2 * UDP_TRACKS;
/// How often deadlines and orders are looked at.
const TURN: Duration = Duration::from_millis(50);
/// How long a viewer may take to leave.
const LEAVE_MAX: Duration = Duration::from_secs(2);
/// Many frames: what is lost is lost before.
const UDP_RECEIVE_BUFFER_BYTES: usize = 1 << 20;
/// Messages taken from a UDP socket with one call.
const MESSAGES: usize = 8;
/// Bytes taken from a connection with one call.
const READ_BYTES: usize = 256 * 1024;

/// Who comes when, and how.
pub(super) struct Plan {
    pub(super) udp: bool,
    pub(super) target: usize,
    pub(super) at: Instant,
}

/// What all viewers of a thread saw.
#[derive(Default)]
pub(super) struct CrowdReport {
    pub(super) viewers: Vec<Seen>,
    /// TCP, UDP.
    pub(super) latency: [Histogram; 2],
    pub(super) udp_drops: Option<u64>,
}

pub(super) struct Crowd {
    poll: Poll,
    /// Of each target: TCP, UDP.
    configs: Vec<(SocketAddr, [Arc<ClientConfig>; 2])>,
    plans: std::vec::IntoIter<Plan>,
    next: Option<Plan>,
    viewers: Vec<Viewer>,
    report: CrowdReport,
    open: usize,
    progress: Arc<WatchProgress>,
    stop: Arc<AtomicBool>,
    until: Instant,
    bytes: Vec<u8>,
    datagrams: ReceiveBuffers,
}

impl Crowd {
    pub(super) fn new(
        config: &CrowdConfig,
        plans: Vec<Plan>,
        progress: Arc<WatchProgress>,
        stop: Arc<AtomicBool>,
    ) -> io::Result<Self> {
        let configs = config.targets.iter().map(|target| {
            let of = |transport| {
                let mut client = ClientConfig::new(ClientRole::Watch, target.url.clone());
                client.transport = transport;
                client.credentials.clone_from(&target.credentials);
                Arc::new(client)
            };
            (target.server, [of(TransportPolicy::Tcp), of(TransportPolicy::Udp)])
        });
        let mut plans = plans.into_iter();
        Ok(Self {
            poll: Poll::new()?,
            configs: configs.collect(),
            next: plans.next(),
            plans,
            viewers: Vec::new(),
            report: CrowdReport::default(),
            open: 0,
            progress,
            stop,
            until: Instant::now() + config.patience,
            bytes: vec![0; READ_BYTES],
            datagrams: ReceiveBuffers::new(MESSAGES),
        })
    }

    pub(super) fn run(mut self) -> io::Result<CrowdReport> {
        let mut events = Events::with_capacity(1024);
        let mut look_at = Instant::now();
        while self.next.is_some() || self.open > 0 {
            let now = Instant::now();
            self.connect_due(now);
            if now >= look_at {
                self.look_around(now);
                look_at = now + TURN;
            }
            let wake = self.next.as_ref().map_or(look_at, |plan| plan.at.min(look_at));
            match self.poll.poll(&mut events, Some(wake.saturating_duration_since(now))) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            for event in &events {
                let (viewer, socket) = (event.token().0 / TOKENS, event.token().0 % TOKENS);
                match socket {
                    0 => self.on_rtsp(viewer, event),
                    _ => self.on_datagrams(viewer, socket - 1),
                }
            }
        }
        self.report.udp_drops = self.udp_drops();
        self.report.viewers.extend(self.viewers.into_iter().map(Viewer::into_seen));
        Ok(self.report)
    }

    fn connect_due(&mut self, now: Instant) {
        while let Some(plan) = self.next.take_if(|plan| plan.at <= now) {
            self.next = self.plans.next();
            if self.stop.load(Ordering::Relaxed) || now >= self.until {
                continue;
            }
            if let Err(error) = self.connect(&plan, now) {
                let report = ViewerReport::new(plan.udp, Outcome::Failed(error.to_string()));
                self.report.viewers.push(Seen::new(plan.target, report));
                self.progress.gone.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn connect(&mut self, plan: &Plan, now: Instant) -> io::Result<()> {
        let Some((server, configs)) = self.configs.get(plan.target) else { return Ok(()) };
        let key = self.viewers.len() * TOKENS;
        let mut stream = TcpStream::connect(*server)?;
        let ip = stream.local_addr()?.ip();
        let registry = self.poll.registry();
        registry.register(&mut stream, Token(key), Interest::READABLE | Interest::WRITABLE)?;
        let (mut sockets, mut ports) = (Vec::new(), Vec::new());
        for _ in 0..if plan.udp { UDP_TRACKS } else { 0 } {
            let [rtp, rtcp] = [bind(ip)?, bind(ip)?];
            ports.push(UdpPorts { rtp: rtp.local_addr()?.port(), rtcp: rtcp.local_addr()?.port() });
            sockets.extend([rtp, rtcp]);
        }
        for (place, socket) in sockets.iter_mut().enumerate() {
            registry.register(socket, Token(key + 1 + place), Interest::READABLE)?;
        }
        let session = ClientSession::new(Arc::clone(&configs[usize::from(plan.udp)]), ports, now);
        self.viewers.push(Viewer::new(stream, session, sockets, plan.target));
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
            viewer.carry_out(now, &self.progress);
            if viewer.closed || viewer.leaving.is_some_and(|at| now.saturating_duration_since(at) > LEAVE_MAX)
            {
                self.finish(key);
            }
        }
    }

    fn on_rtsp(&mut self, key: usize, event: &Event) {
        let Some(viewer) = self.viewers.get_mut(key).filter(|viewer| !viewer.done) else { return };
        // After a short read there is nothing left, unless the end waits behind it.
        let to_the_end = event.is_read_closed() || event.is_error();
        let mut over = false;
        while !viewer.closed {
            match viewer.stream.read(&mut self.bytes) {
                Ok(0) => over = true,
                Ok(count) => {
                    let udp = usize::from(viewer.seen.report.udp);
                    let mut batch = batch(&self.progress, &mut self.report.latency[udp]);
                    viewer.take_bytes(&self.bytes[..count], &mut batch);
                    end_batch(&batch);
                    if count == self.bytes.len() || to_the_end {
                        continue;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // Not connected yet.
                Err(error) if error.kind() == io::ErrorKind::NotConnected => {}
                Err(_) => over = true,
            }
            break;
        }
        let now = Instant::now();
        viewer.carry_out(now, &self.progress);
        if over && !viewer.closed {
            viewer.seen.report.closed.get_or_insert(now);
            viewer.session.handle_eof();
            viewer.carry_out(now, &self.progress);
        }
        if over || viewer.closed {
            self.finish(key);
        }
    }

    fn on_datagrams(&mut self, key: usize, socket: usize) {
        let Some(viewer) = self.viewers.get_mut(key).filter(|viewer| !viewer.done) else { return };
        while let Some(from) = viewer.sockets.get(socket) {
            let Ok(messages) = receive_datagrams(from.as_fd(), &mut self.datagrams) else { return };
            let mut batch = batch(&self.progress, &mut self.report.latency[1]);
            for packet in self.datagrams.datagrams() {
                viewer.take_packet(socket as u8, packet, &mut batch);
            }
            end_batch(&batch);
            if messages < MESSAGES {
                return;
            }
        }
    }

    fn finish(&mut self, key: usize) {
        let viewer = &mut self.viewers[key];
        if std::mem::replace(&mut viewer.done, true) {
            return;
        }
        self.open -= 1;
        // In this order, so that nobody is missing in the sum of both.
        self.progress.gone.fetch_add(1, Ordering::Relaxed);
        if viewer.played.is_some() {
            self.progress.playing.fetch_sub(1, Ordering::Relaxed);
        }
        let registry = self.poll.registry();
        let _ = registry.deregister(&mut viewer.stream);
        let _ = viewer.stream.shutdown(std::net::Shutdown::Both);
        viewer.sockets.iter_mut().for_each(|socket| _ = registry.deregister(socket));
        if viewer.played.is_none() {
            // The others keep theirs until their drops are read.
            viewer.sockets.clear();
        }
    }

    fn udp_drops(&self) -> Option<u64> {
        udp_drops(self.viewers.iter().flat_map(|viewer| &viewer.sockets))
    }
}

fn batch<'a>(progress: &'a WatchProgress, latency: &'a mut Histogram) -> Batch<'a> {
    let window = progress.from.load(Ordering::Acquire)..progress.to.load(Ordering::Acquire);
    Batch { now: Instant::now(), nanos: monotonic_nanos(), window, latency, progress, packets: 0 }
}

fn end_batch(batch: &Batch<'_>) {
    batch.progress.packets.fetch_add(batch.packets, Ordering::Relaxed);
}

/// A socket at the address from which the viewer talks to the server: where the server sends to.
fn bind(ip: IpAddr) -> io::Result<UdpSocket> {
    let socket = StdUdpSocket::bind((ip, 0))?;
    socket.set_nonblocking(true)?;
    // The kernel gives what it allows, and joins what it can.
    let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(UDP_RECEIVE_BUFFER_BYTES);
    let _ = join_datagrams(socket.as_fd());
    Ok(UdpSocket::from_std(socket))
}
