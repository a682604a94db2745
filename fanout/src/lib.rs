//! slotcast-fanout: the viewers' side.
//!
//! Pinned workers, each with its own poll, sockets, viewers and timers. A chunk from the ingest side reaches each
//! worker once; each viewer then costs one send call per frame.
//!
//! Holds: no media packet to a viewer without a seat, none after the program's end; a stalled or hostile viewer costs
//! bounded memory and no other viewer anything; no lock, allocation or copy per packet per viewer.

mod config;
mod connection;
mod control;
mod ending;
mod limits;
mod mailbox;
mod media;
mod on_air;
mod roll;
mod shape;
mod stats;
mod tcp;
#[cfg(test)]
mod test_media;
mod udp;
mod worker;

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

pub use config::{FanoutConfig, SegmentationPolicy};
use mio::{Poll, net::TcpListener};
pub use roll::{Roll, ViewerInfo};
use slotcast_admission::{Guesses, Lines, Programs};
use slotcast_core::{feed::Feeds, time::Clock};
use slotcast_rtsp::server::{Role, ServerConfig, UdpPorts as AdvertisedPorts};
use socket2::{Domain, Protocol as SocketProtocol, Socket, Type};
pub use stats::{CutoffStats, FanoutStats, Protocol, SendErrorKind, WorkerStats};

use crate::{
    mailbox::{Mailbox, Message, WakeWorker},
    udp::UdpPorts,
    worker::{Shared, Sockets, WAKER, Worker},
};

/// The running viewers' side. Dropping it stops the workers without waiting for them.
pub struct Fanout {
    listen: SocketAddr,
    rtp_ports: [u16; 2],
    stats: Arc<FanoutStats>,
    mailboxes: Vec<Mailbox>,
    threads: Vec<JoinHandle<()>>,
}

impl Fanout {
    /// Binds the sockets and starts the workers.
    ///
    /// Returns the running side and the feeds through which the ingest side hands it chunks.
    ///
    /// # Errors
    /// An address that cannot be bound is named in the error.
    pub fn start(
        config: FanoutConfig,
        programs: Arc<dyn Programs>,
        guesses: Arc<Guesses>,
        clock: Clock,
    ) -> io::Result<(Self, Feeds)> {
        let workers = config.workers.max(1);
        let (mut listen, mut rtp_ports) = (config.listen, config.rtp_ports);
        probe(&config)?;
        let mut sockets = Vec::with_capacity(workers);
        for _ in 0..workers {
            // Port 0 becomes a real port with the first worker; the others share it.
            let listener = listen_at(listen).map_err(|e| named(e, "viewers.listen", listen))?;
            listen = listener.local_addr()?;
            let udp = if config.udp { Some(bind_udp(listen, rtp_ports, &config)?) } else { None };
            if let Some(udp) = &udp {
                rtp_ports = [udp.rtp.local_addr()?.port(), udp.rtcp.local_addr()?.port()];
            }
            sockets.push(Sockets { poll: Poll::new()?, listener, udp });
        }
        let segmentation = sockets.iter().all(|s| s.udp.as_ref().is_some_and(UdpPorts::segmentation));
        let mut rtsp = ServerConfig::new(Role::Viewer);
        rtsp.server_name.clone_from(&config.server_name);
        rtsp.udp = config.udp.then_some(AdvertisedPorts { rtp: rtp_ports[0], rtcp: rtp_ports[1] });
        let worker_stats: Vec<Arc<WorkerStats>> = (0..workers).map(|_| Arc::default()).collect();
        let stats = Arc::new(FanoutStats::new(worker_stats.clone(), segmentation));
        let [in_all, per_address] = [config.connections_max, config.connections_per_address_max]
            .map(|count| u32::try_from(count).unwrap_or(u32::MAX));
        let shared = Arc::new(Shared {
            programs,
            clock,
            guesses,
            lines: Lines::new(in_all, per_address),
            stats: Arc::clone(&stats),
            rtsp: Arc::new(rtsp),
            admitted: AtomicU64::new(0),
        });
        let mut mailboxes = Vec::with_capacity(workers);
        let (feeds, mut receivers) = (Feeds::default(), Vec::with_capacity(workers));
        for sockets in &sockets {
            let waker = Arc::new(mio::Waker::new(sockets.poll.registry(), WAKER)?);
            mailboxes.push(Mailbox::new(Arc::clone(&waker)));
            receivers.push(feeds.subscribe(limits::FEED_CHUNKS_MAX, WakeWorker(waker)));
        }
        let mut fanout = Self { listen, rtp_ports, stats, mailboxes, threads: Vec::with_capacity(workers) };
        for (index, ((sockets, receiver), stats)) in
            sockets.into_iter().zip(receivers).zip(worker_stats).enumerate()
        {
            let mut siblings = fanout.mailboxes.clone();
            let mailbox = siblings.remove(index);
            let worker = Worker::new(Arc::clone(&shared), stats, sockets, receiver, mailbox, siblings)?;
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

    /// The UDP ports from which RTP and RTCP leave.
    pub const fn rtp_ports(&self) -> [u16; 2] {
        self.rtp_ports
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
        self.mailboxes.iter().for_each(|mailbox| _ = mailbox.send(Message::Drain));
    }

    /// Ends every session with BYE, closes all connections and stops the workers.
    ///
    /// Returns `false` when a worker was not done within `patience`; it is left to the end of the process.
    pub fn shutdown(mut self, patience: Duration) -> bool {
        self.mailboxes.iter().for_each(|mailbox| _ = mailbox.send(Message::Stop));
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
        self.mailboxes.iter().for_each(|mailbox| _ = mailbox.send(Message::Stop));
    }
}

fn work(worker: Worker, index: usize, pin: bool) {
    if pin {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let mut set = rustix::thread::CpuSet::new();
        set.set(index % cores);
        if let Err(error) = rustix::thread::sched_setaffinity(None, &set) {
            tracing::warn!(%error, worker = index, "the worker could not be pinned to a core");
        }
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

fn named(error: io::Error, what: &str, address: SocketAddr) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: cannot bind {address}: {error}"))
}

/// Whether the ports are free. The workers' own sockets share their ports, with a second server on this machine too:
/// that one must be told, not given half of the viewers.
fn probe(config: &FanoutConfig) -> io::Result<()> {
    std::net::TcpListener::bind(config.listen).map_err(|e| named(e, "viewers.listen", config.listen))?;
    for port in config.rtp_ports.into_iter().filter(|_| config.udp) {
        let at = SocketAddr::new(config.listen.ip(), port);
        std::net::UdpSocket::bind(at).map_err(|e| named(e, "viewers.rtp_ports", at))?;
    }
    Ok(())
}

fn listen_at(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(SocketProtocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(1024)?;
    Ok(TcpListener::from_std(socket.into()))
}

fn bind_udp(listen: SocketAddr, ports: [u16; 2], config: &FanoutConfig) -> io::Result<UdpPorts> {
    let at = |port| SocketAddr::new(listen.ip(), port);
    UdpPorts::bind(ports.map(at), config.segmentation)
        .map_err(|e| named(e, "viewers.rtp_ports", at(ports[0])))
}
