//! The viewers of one thread: their sockets, and when each is asked to do something.
//!
//! Invariant: no call waits; every viewer is done within the patience and [`LEAVE_MAX`].

use std::{
    io::{self, Read},
    net::Shutdown,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token, event::Event};
use slotcast_core::media::TRACKS_MAX;
use slotcast_net::clock::monotonic_nanos;
use slotcast_rtsp::{
    client::{ClientConfig, ClientRole},
    headers::transport::LowerTransport,
};

use super::{
    CrowdConfig, Outcome, Plan, Seen, WatchProgress,
    viewer::{Batch, Setup, Viewer},
};
use crate::{datagrams::Datagrams, drops::udp_drops, histogram::Histogram};

/// Tokens per viewer: one for RTSP, two per track.
const TOKENS: usize = 1 + 2 * TRACKS_MAX;
/// How often deadlines and orders are looked at.
const TURN: Duration = Duration::from_millis(20);
/// How long a viewer may take to leave.
const LEAVE_MAX: Duration = Duration::from_secs(2);
/// Bytes taken from a connection with one call.
const READ_BYTES: usize = 256 * 1024;

/// What all viewers of a thread saw.
#[derive(Default)]
pub(super) struct CrowdReport {
    pub(super) viewers: Vec<Seen>,
    /// TCP, UDP.
    pub(super) latency: [Histogram; 2],
    pub(super) late: Histogram,
    pub(super) udp_drops: Option<u64>,
}

pub(super) struct Crowd {
    poll: Poll,
    /// Of each target.
    setups: Vec<Setup>,
    plans: std::vec::IntoIter<Plan>,
    next: Option<Plan>,
    /// `None`: gone, and in the report.
    viewers: Vec<Option<Box<Viewer>>>,
    report: CrowdReport,
    open: usize,
    progress: Arc<WatchProgress>,
    released: bool,
    until: Instant,
    bytes: Vec<u8>,
    datagrams: Datagrams,
}

impl Crowd {
    pub(super) fn new(
        config: &CrowdConfig,
        plans: Vec<Plan>,
        progress: Arc<WatchProgress>,
    ) -> io::Result<Self> {
        let setups = config.targets.iter().map(|target| {
            let client = |transport| {
                let mut client = ClientConfig::new(ClientRole::Watch, target.url.clone());
                client.transport = transport;
                client.credentials.clone_from(&target.credentials);
                client.response = config.response;
                Arc::new(client)
            };
            Setup {
                server: target.server,
                clients: [client(LowerTransport::Tcp), client(LowerTransport::Udp)],
                udp_tracks: config.udp_tracks.min(TRACKS_MAX),
                hold: config.hold,
            }
        });
        let mut plans = plans.into_iter();
        Ok(Self {
            poll: Poll::new()?,
            setups: setups.collect(),
            next: plans.next(),
            plans,
            viewers: Vec::new(),
            report: CrowdReport { udp_drops: Some(0), ..CrowdReport::default() },
            open: 0,
            until: progress.started + config.patience,
            progress,
            released: false,
            bytes: vec![0; READ_BYTES],
            datagrams: Datagrams::default(),
        })
    }

    pub(super) fn run(mut self) -> io::Result<CrowdReport> {
        let mut events = Events::with_capacity(1024);
        let mut look_at = Instant::now();
        while self.next.is_some() || self.open > 0 {
            let now = Instant::now();
            self.connect_due(now)?;
            self.release_due(now);
            if now >= look_at {
                self.report.late.record_duration(now - look_at);
                self.look_around(now);
                look_at = Instant::now() + TURN;
            }
            let wake = self.next_wake(look_at).saturating_duration_since(Instant::now());
            match self.poll.poll(&mut events, Some(wake)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            for event in &events {
                let (viewer, socket) = (event.token().0 / TOKENS, event.token().0 % TOKENS);
                match socket.checked_sub(1) {
                    None => self.on_rtsp(viewer, event),
                    Some(socket) => self.on_datagrams(viewer, socket),
                }
            }
        }
        // Those who were refused and listened on.
        let rest = self.viewers.into_iter().flatten();
        self.report.viewers.extend(rest.map(|viewer| viewer.into_seen()));
        Ok(self.report)
    }

    fn next_wake(&self, look_at: Instant) -> Instant {
        let connect = self.next.map(|plan| self.progress.started + plan.at);
        [connect, self.release_at()].into_iter().flatten().fold(look_at, Instant::min)
    }

    /// The common moment, while it lies ahead.
    fn release_at(&self) -> Option<Instant> {
        let at = self.progress.release.load(Ordering::Relaxed);
        (at > 0 && !self.released).then(|| self.progress.started + Duration::from_nanos(at))
    }

    fn release_due(&mut self, now: Instant) {
        if self.release_at().is_none_or(|at| at > now) {
            return;
        }
        self.released = true;
        self.viewers.iter_mut().flatten().for_each(|viewer| viewer.release(&self.progress));
    }

    fn connect_due(&mut self, now: Instant) -> io::Result<()> {
        while let Some(plan) = self.next.take_if(|plan| self.progress.started + plan.at <= now) {
            self.next = self.plans.next();
            if self.progress.stop.load(Ordering::Relaxed) || now >= self.until {
                continue;
            }
            let Some(setup) = self.setups.get(plan.target) else { continue };
            match Viewer::connect(plan, setup, now) {
                Ok(mut viewer) => {
                    if self.released {
                        viewer.release(&self.progress);
                    }
                    self.welcome(viewer)?;
                }
                Err(error) => {
                    let outcome = Outcome::Failed(format!("no connection: {error}"));
                    self.report.viewers.push(Seen::new(plan.target, plan.udp, outcome));
                    self.progress.gone.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        Ok(())
    }

    fn welcome(&mut self, mut viewer: Viewer) -> io::Result<()> {
        let (first, registry) = (self.viewers.len() * TOKENS, self.poll.registry());
        let both = Interest::READABLE | Interest::WRITABLE;
        registry.register(&mut viewer.stream, Token(first), both)?;
        for (place, socket) in viewer.sockets.iter_mut().enumerate() {
            registry.register(socket, Token(first + 1 + place), Interest::READABLE)?;
        }
        self.viewers.push(Some(Box::new(viewer)));
        self.open += 1;
        Ok(())
    }

    /// Deadlines, trickles, and the order to leave.
    fn look_around(&mut self, now: Instant) {
        let leave = self.progress.stop.load(Ordering::Relaxed) || now >= self.until;
        for key in 0..self.viewers.len() {
            let Some(Some(viewer)) = self.viewers.get_mut(key) else { continue };
            if viewer.done {
                continue;
            }
            if let Some(count) = viewer.trickle(now, self.bytes.len()) {
                self.read(key, count);
            }
            let Some(Some(viewer)) = self.viewers.get_mut(key) else { continue };
            viewer.look_around(now, leave, &self.progress);
            let left = viewer.seen.left.is_some_and(|at| now.saturating_duration_since(at) > LEAVE_MAX);
            if viewer.closed || left {
                self.finish(key);
            }
        }
    }

    fn on_rtsp(&mut self, key: usize, event: &Event) {
        let hung_up = event.is_read_closed() || event.is_error();
        loop {
            let Some(Some(viewer)) = self.viewers.get_mut(key) else { return };
            if viewer.done {
                return;
            }
            if !viewer.is_reading() {
                if hung_up {
                    viewer.on_end(Instant::now(), &self.progress);
                }
                break;
            }
            // After a short read there is nothing left, unless the end waits behind it.
            if !self.read(key, self.bytes.len()).is_some_and(|all| all || hung_up) {
                break;
            }
        }
        let Some(Some(viewer)) = self.viewers.get_mut(key) else { return };
        viewer.carry_out(Instant::now(), &self.progress);
        if viewer.closed {
            self.finish(key);
        }
    }

    /// Reads at most `count` bytes of a viewer's connection; says whether there were so many, `None`: nothing was read.
    fn read(&mut self, key: usize, count: usize) -> Option<bool> {
        let Some(Some(viewer)) = self.viewers.get_mut(key) else { return None };
        let buffer = &mut self.bytes[..count];
        let got = loop {
            match viewer.stream.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                got => break got,
            }
        };
        match got {
            // Nothing there, or not connected yet.
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected) => {
                None
            }
            Ok(0) | Err(_) => {
                viewer.on_end(Instant::now(), &self.progress);
                None
            }
            Ok(got) => {
                let udp = usize::from(viewer.seen.report.udp);
                let mut batch = batch(&self.progress, &mut self.report.latency[udp]);
                viewer.take_bytes(&self.bytes[..got], &mut batch);
                end_batch(&batch);
                Some(got == count)
            }
        }
    }

    fn on_datagrams(&mut self, key: usize, socket: usize) {
        let Some(Some(viewer)) = self.viewers.get_mut(key) else { return };
        while let Some(from) = viewer.sockets.get(socket) {
            let Ok(more) = self.datagrams.read(from) else { return };
            let mut batch = batch(&self.progress, &mut self.report.latency[1]);
            for packet in self.datagrams.all() {
                viewer.take_packet(socket as u8, packet, &mut batch);
            }
            end_batch(&batch);
            if !more {
                return;
            }
        }
    }

    fn finish(&mut self, key: usize) {
        let Some(mut viewer) = self.viewers.get_mut(key).and_then(Option::take) else { return };
        viewer.done = true;
        self.open -= 1;
        // In this order, so that nobody is missing in the sum of both.
        self.progress.gone.fetch_add(1, Ordering::Relaxed);
        if viewer.seen.playing.is_some() {
            self.progress.playing.fetch_sub(1, Ordering::Relaxed);
            let drops = udp_drops(&viewer.sockets);
            self.report.udp_drops = self.report.udp_drops.zip(drops).map(|(all, own)| all + own);
        }
        if let Some(control) = &mut viewer.seen.control {
            control.finish(self.progress.phase.load(Ordering::Relaxed), Instant::now());
        }
        // Closed already or not: it is given up here.
        let _ = viewer.stream.shutdown(Shutdown::Both);
        match viewer.listens_on() {
            true => self.viewers[key] = Some(viewer),
            false => self.report.viewers.push(viewer.into_seen()),
        }
    }
}

fn batch<'a>(progress: &'a WatchProgress, latency: &'a mut Histogram) -> Batch<'a> {
    let window = progress.from.load(Ordering::Acquire)..progress.to.load(Ordering::Acquire);
    Batch { now: Instant::now(), nanos: monotonic_nanos(), window, latency, progress, packets: 0 }
}

fn end_batch(batch: &Batch<'_>) {
    batch.progress.packets.fetch_add(batch.packets, Ordering::Relaxed);
}
