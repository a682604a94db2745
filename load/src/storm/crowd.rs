//! Many clients in a few threads, and the orders they all follow.
//!
//! Holds: bounded in clients and by [`Setup::patience`]; who is told to leave is gone [`LEAVE_MAX`] later.

use std::{
    io,
    net::{Shutdown, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token};
use slotcast_core::media::TRACKS_MAX;
use slotcast_net::sys::ReceiveBuffers;
use slotcast_rtsp::client::ClientConfig;

use super::{
    seen::{PHASES, Seen, nanos},
    viewer::{Around, MESSAGES, Plan, Viewer},
};
use slotcast_tools::histogram::Histogram;

/// Tokens per client: one for RTSP, two per track.
const TOKENS: usize = 1 + 2 * TRACKS_MAX;
/// How often deadlines and orders are looked at.
const TURN: Duration = Duration::from_millis(10);
/// How long a client may take to leave.
const LEAVE_MAX: Duration = Duration::from_secs(2);
const READ_BYTES: usize = 64 * 1024;

/// What the clients of one crowd share.
#[derive(Clone)]
pub(super) struct Setup {
    pub(super) server: SocketAddr,
    /// Over TCP, over UDP.
    pub(super) clients: [Arc<ClientConfig>; 2],
    /// Tracks that UDP clients hold ports ready for.
    pub(super) udp_tracks: usize,
    /// Whether all wait after DESCRIBE for the common moment.
    pub(super) hold: bool,
    /// After this time all leave by themselves.
    pub(super) patience: Duration,
}

/// What is told to all, and what all have done so far.
#[derive(Debug)]
pub(super) struct Orders {
    started: Instant,
    /// The common moment, in nanoseconds after the start; 0: not known yet.
    release: AtomicU64,
    stop: AtomicBool,
    phase: AtomicUsize,
    /// Have a description.
    pub(super) described: AtomicUsize,
    /// Play, were refused, or failed.
    pub(super) answered: AtomicUsize,
    /// Connected once, successfully or not.
    pub(super) begun: AtomicUsize,
}

impl Orders {
    /// In which phase control viewers count; at first in none.
    pub(super) fn phase(&self) -> usize {
        self.phase.load(Ordering::Relaxed)
    }
}

/// What each client saw, and how late the threads were to look at their clocks.
pub(super) type Harvest = (Vec<Seen>, Histogram);

/// Clients at work.
pub(super) struct Crowd {
    orders: Arc<Orders>,
    threads: Vec<JoinHandle<io::Result<Harvest>>>,
}

impl Crowd {
    /// Sends them out, over `threads` threads.
    ///
    /// # Errors
    /// A thread or a poll cannot be had.
    pub(super) fn start(setup: &Setup, plans: &[Plan], threads: usize) -> io::Result<Self> {
        let orders = Arc::new(Orders {
            started: Instant::now(),
            release: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            phase: AtomicUsize::new(PHASES),
            described: AtomicUsize::new(0),
            answered: AtomicUsize::new(0),
            begun: AtomicUsize::new(0),
        });
        let threads = threads.clamp(1, 16);
        let threads = (0..threads)
            .map(|thread| {
                let own: Vec<Plan> = plans.iter().copied().skip(thread).step_by(threads).collect();
                let worker = Worker::new(setup.clone(), own, Arc::clone(&orders))?;
                std::thread::Builder::new().name(format!("storm-{thread}")).spawn(move || worker.run())
            })
            .collect::<io::Result<_>>()?;
        Ok(Self { orders, threads })
    }

    /// What they have done so far.
    pub(super) fn orders(&self) -> &Orders {
        &self.orders
    }

    /// All who wait go on, in this time from now.
    pub(super) fn release_in(&self, wait: Duration) {
        let at = nanos(self.orders.started.elapsed() + wait);
        self.orders.release.store(at.max(1), Ordering::Relaxed);
    }

    /// Control viewers count there from now on.
    pub(super) fn enter_phase(&self, phase: usize) {
        self.orders.phase.store(phase, Ordering::Relaxed);
    }

    /// Whether everyone has gone.
    pub(super) fn is_over(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// Lets all leave, and returns what they saw.
    ///
    /// # Errors
    /// A thread's poll failed.
    pub(super) fn finish(self) -> io::Result<Harvest> {
        self.orders.stop.store(true, Ordering::Relaxed);
        let (mut all, mut late) = (Vec::new(), Histogram::default());
        for thread in self.threads {
            let ended =
                thread.join().map_err(|_| io::Error::other("a thread of clients ended in a defect"))?;
            let (mut seen, own) = ended?;
            all.append(&mut seen);
            late.merge(&own);
        }
        Ok((all, late))
    }
}

/// The clients of one thread.
struct Worker {
    setup: Setup,
    orders: Arc<Orders>,
    poll: Poll,
    plans: std::iter::Peekable<std::vec::IntoIter<Plan>>,
    /// `None`: gone, and among the `gone`.
    viewers: Vec<Option<Box<Viewer>>>,
    gone: Vec<Seen>,
    open: usize,
    released: bool,
    until: Instant,
    buffer: Vec<u8>,
    datagrams: ReceiveBuffers,
    late: Histogram,
}

impl Worker {
    fn new(setup: Setup, plans: Vec<Plan>, orders: Arc<Orders>) -> io::Result<Self> {
        Ok(Self {
            until: orders.started + setup.patience,
            setup,
            orders,
            poll: Poll::new()?,
            plans: plans.into_iter().peekable(),
            viewers: Vec::new(),
            gone: Vec::new(),
            open: 0,
            released: false,
            buffer: vec![0; READ_BYTES],
            datagrams: ReceiveBuffers::new(MESSAGES),
            late: Histogram::default(),
        })
    }

    fn run(mut self) -> io::Result<Harvest> {
        let mut events = Events::with_capacity(1024);
        let mut look_at = Instant::now();
        loop {
            let now = Instant::now();
            self.connect_due(now)?;
            self.release_due(now);
            if now >= look_at {
                self.late.record(nanos(now - look_at));
                self.look_around(now);
                look_at = Instant::now() + TURN;
            }
            if self.plans.peek().is_none() && self.open == 0 {
                break;
            }
            let wake = self.next_wake(look_at).saturating_duration_since(Instant::now());
            match self.poll.poll(&mut events, Some(wake)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            for event in &events {
                let (key, socket) = (event.token().0 / TOKENS, event.token().0 % TOKENS);
                let hung_up = event.is_error() || event.is_read_closed();
                match socket.checked_sub(1) {
                    None => self.with(key, |viewer, around| viewer.on_readable(hung_up, around)),
                    Some(socket) => self.on_datagrams(key, socket),
                }
            }
        }
        let mut seen = self.gone;
        seen.extend(self.viewers.into_iter().flatten().map(|viewer| viewer.seen));
        Ok((seen, self.late))
    }

    fn next_wake(&mut self, look_at: Instant) -> Instant {
        let connect = self.plans.peek().map(|plan| self.orders.started + plan.at);
        [Some(look_at), connect, self.release_at()].into_iter().flatten().min().unwrap_or(look_at)
    }

    /// The common moment, while it lies ahead.
    fn release_at(&self) -> Option<Instant> {
        let at = self.orders.release.load(Ordering::Relaxed);
        (at > 0 && !self.released).then(|| self.orders.started + Duration::from_nanos(at))
    }

    fn release_due(&mut self, now: Instant) {
        if self.release_at().is_none_or(|at| at > now) {
            return;
        }
        self.released = true;
        for key in 0..self.viewers.len() {
            self.with(key, Viewer::release);
        }
    }

    fn connect_due(&mut self, now: Instant) -> io::Result<()> {
        while let Some(plan) = self.plans.next_if(|plan| self.orders.started + plan.at <= now) {
            if self.orders.stop.load(Ordering::Relaxed) || now >= self.until {
                continue;
            }
            self.orders.begun.fetch_add(1, Ordering::Relaxed);
            match Viewer::connect(plan, &self.setup, now) {
                Ok(viewer) => self.welcome(viewer)?,
                Err(error) => {
                    self.orders.answered.fetch_add(1, Ordering::Relaxed);
                    let failed = Some(format!("no connection: {error}"));
                    self.gone.push(Seen { udp: plan.udp, failed, ..Seen::default() });
                }
            }
        }
        Ok(())
    }

    fn welcome(&mut self, mut viewer: Viewer) -> io::Result<()> {
        let first = self.viewers.len() * TOKENS;
        let (registry, both) = (self.poll.registry(), Interest::READABLE | Interest::WRITABLE);
        registry.register(&mut viewer.stream, Token(first), both)?;
        for (place, socket) in viewer.sockets.iter_mut().enumerate() {
            registry.register(socket, Token(first + 1 + place), Interest::READABLE)?;
        }
        self.viewers.push(Some(Box::new(viewer)));
        self.open += 1;
        Ok(())
    }

    /// Deadlines, and the order to leave.
    fn look_around(&mut self, now: Instant) {
        let leave = self.orders.stop.load(Ordering::Relaxed) || now >= self.until;
        for key in 0..self.viewers.len() {
            self.with(key, |viewer, around| {
                let gone = |at: Instant| now.saturating_duration_since(at) > LEAVE_MAX;
                let is_new = viewer.leaving.is_none();
                viewer.look_around(around)
                    || viewer.leaving.is_some_and(gone)
                    || leave && is_new && viewer.leaving.is_none() && viewer.leave(around)
            });
        }
    }

    fn on_datagrams(&mut self, key: usize, socket: usize) {
        let Some(Some(viewer)) = self.viewers.get_mut(key) else { return };
        let (buffer, datagrams) = (&mut self.buffer[..], &mut self.datagrams);
        let mut around = Around { now: Instant::now(), orders: &self.orders, buffer, datagrams };
        viewer.on_datagrams(socket, &mut around);
    }

    /// Does something with a client; it is finished if that returns true.
    fn with(&mut self, key: usize, act: impl FnOnce(&mut Viewer, &mut Around<'_>) -> bool) {
        let Some(Some(viewer)) = self.viewers.get_mut(key) else { return };
        if viewer.done {
            return;
        }
        let (buffer, datagrams) = (&mut self.buffer[..], &mut self.datagrams);
        let mut around = Around { now: Instant::now(), orders: &self.orders, buffer, datagrams };
        if act(viewer, &mut around) {
            self.finish(key);
        }
    }

    fn finish(&mut self, key: usize) {
        let Some(mut viewer) = self.viewers.get_mut(key).and_then(Option::take) else { return };
        viewer.done = true;
        viewer.finish(self.orders.phase(), Instant::now());
        self.open -= 1;
        // Where all ask at once, those who were refused listen on: nothing may come.
        if self.setup.hold && viewer.seen.refused.is_some() {
            // Closed already or not: it is given up here.
            let _ = viewer.stream.shutdown(Shutdown::Both);
            self.viewers[key] = Some(viewer);
        } else {
            self.gone.push(viewer.seen);
        }
    }
}
