//! slotcast-fanout: the viewers' side.
//!
//! Pinned workers, each with its own poll, sockets, viewers and timers. A chunk from the ingest side reaches each
//! worker once; each viewer then costs one send call per frame.
//!
//! Invariant: no media packet to a viewer without a seat, none after the program's end; a stalled or hostile viewer costs
//! bounded memory and no other viewer anything; no lock, allocation or copy per packet per viewer.

mod audience;
mod budget;
mod config;
mod door;
mod guard;
mod hall;
mod halls;
mod limits;
mod mailbox;
mod ports;
mod sockets;
mod stats;
#[cfg(test)]
mod test_media;
mod viewer;
mod wire;
mod worker;

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

pub use config::FanoutConfig;
pub use mailbox::{Roll, ViewerInfo};
use mio::{Interest, Poll, net::TcpListener};
use slotcast_admission::{Guesses, Lines, Programs};
use slotcast_core::{feed::Feeds, time::Clock};
use slotcast_net::sockets::{cannot_bind, listen};
use slotcast_rtsp::server::{ClaimedPorts, Role, ServerConfig, UdpPorts as AdvertisedPorts};
pub use stats::{CutoffStats, FanoutStats, Histogram, Protocol, SendErrorKind, WorkerStats};

use crate::{
    audience::{Patience, udp::Udp},
    door::RtspDoor,
    halls::{Halls, Shared},
    mailbox::{Mailbox, Message},
    ports::UdpPorts,
    sockets::Sockets,
    worker::{LISTENER, RTCP, RTP, WAKER, Worker},
};

/// The running viewers' side. Dropping it stops the workers without waiting for them.
pub struct Fanout {
    listen: SocketAddr,
    rtp_ports: Vec<[u16; 2]>,
    stats: Arc<FanoutStats>,
    mailboxes: Vec<Mailbox>,
    threads: Vec<JoinHandle<()>>,
}

impl Fanout {
    /// Binds the sockets and starts the workers.
    ///
    /// Returns the running side and the feeds through which the link side hands it chunks.
    ///
    /// # Errors
    /// An address that cannot be bound is named in the error.
    pub fn start(
        config: FanoutConfig,
        programs: Arc<dyn Programs>,
        guesses: Arc<Guesses>,
        clock: Clock,
    ) -> io::Result<(Self, Feeds)> {
        let count = config.workers.max(1);
        probe(&config)?;
        let worker_stats: Vec<Arc<WorkerStats>> = (0..count).map(|_| Arc::default()).collect();
        let ports = (0..count).map(|worker| bind_udp(&config, worker)).collect::<io::Result<Vec<_>>>()?;
        let segments = config.segments && config.udp && ports.iter().flatten().all(UdpPorts::can_segment);
        let stats = Arc::new(FanoutStats::new(worker_stats.clone(), segments));
        let [in_all, per_address] = [config.connections_max, config.connections_per_address_max]
            .map(|count| u32::try_from(count).unwrap_or(u32::MAX));
        let shared = Arc::new(Shared {
            programs,
            clock,
            stats: Arc::clone(&stats),
            patience: Patience { behind: config.slow_viewer, stalled: config.stalled_viewer },
            guesses,
            lines: Lines::new(in_all, per_address),
            seated: AtomicU64::new(0),
        });
        let (feeds, claimed_ports) = (Feeds::default(), Arc::default());
        let mut fanout = Self {
            listen: config.listen,
            rtp_ports: Vec::new(),
            stats,
            mailboxes: Vec::new(),
            threads: Vec::new(),
        };
        let mut workers = Vec::with_capacity(count);
        for (stats, ports) in worker_stats.into_iter().zip(ports) {
            // Port 0 becomes a real port with the first worker; the others share it.
            let at = fanout.listen;
            let listener = listen(at, |socket| socket.set_reuse_port(true));
            let listener = listener.map_err(|e| cannot_bind(&e, "viewers.listen", at))?;
            fanout.listen = listener.local_addr()?;
            let advertised = match &ports {
                Some(ports) => Some([ports.rtp.local_addr()?.port(), ports.rtcp.local_addr()?.port()]),
                None => None,
            };
            fanout.rtp_ports.extend(advertised);
            let rtsp = rtsp_config(&config, advertised, &claimed_ports);
            let udp = ports.map(|ports| Udp { ports, segments, awaits_room: false });
            let (worker, mailbox) =
                make_worker(&shared, &feeds, stats, rtsp, TcpListener::from_std(listener), udp)?;
            fanout.mailboxes.push(mailbox);
            workers.push(worker);
        }
        for (index, worker) in workers.into_iter().enumerate() {
            let pin = config.pin;
            let thread = std::thread::Builder::new()
                .name(format!("worker-{index}"))
                .spawn(move || work(worker, index, pin))?;
            fanout.threads.push(thread);
        }
        Ok((fanout, feeds))
    }

    /// Where viewers connect, with the real port.
    pub const fn local_addr(&self) -> SocketAddr {
        self.listen
    }

    /// The UDP ports from which each worker's RTP and RTCP leave; none where UDP is off.
    pub fn rtp_ports(&self) -> &[[u16; 2]] {
        &self.rtp_ports
    }

    /// What the workers count.
    pub const fn stats(&self) -> &Arc<FanoutStats> {
        &self.stats
    }

    /// Asks who watches.
    pub fn roll(&self) -> Roll {
        Roll(self.mailboxes.clone())
    }

    /// Takes no new connections from now on; those who watch go on.
    pub fn drain(&self) {
        self.mailboxes.iter().for_each(|mailbox| mailbox.send(Message::Drain));
    }

    /// Ends every session with BYE, closes all connections and stops the workers.
    ///
    /// Returns `false` when a worker was not done within `patience`; it is left to the end of the process.
    pub fn shutdown(mut self, patience: Duration) -> bool {
        self.mailboxes.iter().for_each(|mailbox| mailbox.send(Message::Stop));
        let deadline = Instant::now() + patience;
        while self.threads.iter().any(|thread| !thread.is_finished()) {
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        self.threads.drain(..).all(|thread| thread.join().is_ok())
    }
}

impl Drop for Fanout {
    fn drop(&mut self) {
        self.mailboxes.iter().for_each(|mailbox| mailbox.send(Message::Stop));
    }
}

fn rtsp_config(
    config: &FanoutConfig,
    ports: Option<[u16; 2]>,
    claimed: &Arc<ClaimedPorts>,
) -> Arc<ServerConfig> {
    let mut rtsp = ServerConfig::new(Role::Viewer);
    rtsp.claimed_ports = Arc::clone(claimed);
    rtsp.udp = ports.map(|[rtp, rtcp]| AdvertisedPorts { rtp, rtcp });
    rtsp.liveness_advertised = config.session_timeout;
    rtsp.liveness = config.session_timeout + limits::LIVENESS_SLACK;
    Arc::new(rtsp)
}

fn make_worker(
    shared: &Arc<Shared>,
    feeds: &Feeds,
    stats: Arc<WorkerStats>,
    rtsp: Arc<ServerConfig>,
    mut listener: TcpListener,
    mut udp: Option<Udp<UdpPorts>>,
) -> io::Result<(Worker, Mailbox)> {
    let poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    if let Some(udp) = &mut udp {
        poll.registry().register(&mut udp.ports.rtp, RTP, Interest::READABLE)?;
        poll.registry().register(&mut udp.ports.rtcp, RTCP, Interest::READABLE)?;
    }
    let waker = Arc::new(mio::Waker::new(poll.registry(), WAKER)?);
    let woken = Arc::clone(&waker);
    let feed = Arc::new(feeds.subscribe(limits::FEED_CHUNKS_MAX, move || mailbox::wake(&woken)));
    let registry = poll.registry().try_clone()?;
    let (messages, received) = mpsc::channel();
    let worker = Worker {
        clock: Arc::clone(&shared.clock),
        stats: Arc::clone(&stats),
        poll,
        feed,
        messages: received,
        house: Halls::new(Arc::clone(shared), stats, Sockets::new(udp)),
        door: RtspDoor::new(Arc::clone(shared), rtsp, registry, listener),
        tick_at: (shared.clock)().mono,
        has_more: false,
        is_stopping: false,
    };
    Ok((worker, Mailbox { messages, waker }))
}

fn work(worker: Worker, index: usize, pin: bool) {
    if pin && let Err(error) = slotcast_net::process::pin_to_nth(index) {
        tracing::warn!(%error, worker = index, "the worker could not be pinned to a core");
    }
    let _ended = NoteEnd(Arc::clone(&worker.stats));
    if let Err(error) = worker.run() {
        tracing::error!(%error, worker = index, "the worker's poll failed: its viewers are lost");
    }
}

/// Notes the end of a worker's thread, however it comes.
struct NoteEnd(Arc<WorkerStats>);

impl Drop for NoteEnd {
    fn drop(&mut self) {
        self.0.ended.store(true, Ordering::Relaxed);
    }
}

/// Whether the port is free. The workers' own listeners share it, with a second server on this machine too: that one must
/// be told, not given half of the viewers.
fn probe(config: &FanoutConfig) -> io::Result<()> {
    std::net::TcpListener::bind(config.listen)
        .map(drop)
        .map_err(|e| cannot_bind(&e, "viewers.listen", config.listen))
}

/// The UDP ports of a worker; `None` where UDP is off.
fn bind_udp(config: &FanoutConfig, worker: usize) -> io::Result<Option<UdpPorts>> {
    if !config.udp {
        return Ok(None);
    }
    let up = u16::try_from(2 * worker).ok();
    let of_worker = |port: u16| if port == 0 { Some(0) } else { port.checked_add(up?) };
    let [rtp, rtcp] = config.rtp_ports.map(of_worker);
    let (Some(rtp), Some(rtcp)) = (rtp, rtcp) else {
        let text = format!("viewers.rtp_ports: no ports above 65535 for worker {worker}; choose lower ones");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    };
    let at = |port| SocketAddr::new(config.listen.ip(), port);
    let ports =
        UdpPorts::bind([at(rtp), at(rtcp)]).map_err(|e| cannot_bind(&e, "viewers.rtp_ports", at(rtp)))?;
    Ok(Some(ports))
}
