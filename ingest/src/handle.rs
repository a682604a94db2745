//! Starting, asking and stopping the link side.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc,
        mpsc::{self, Sender},
    },
    thread::JoinHandle,
    time::Duration,
};

use mio::{Interest, Poll, Waker, net::TcpListener};
use slotcast_admission::{Lines, Programs};
use slotcast_core::{feed::Feeds, rtp::Ssrc, time::Clock, words::ProgramId};
use slotcast_desk::{Desk, DeskConfig, IngestStats, LinkStatus};
use slotcast_net::sockets::{cannot_bind, listen};
use slotcast_rtsp::server::{Role, ServerConfig, UdpPorts};

use crate::{
    accept::one_family,
    config::IngestConfig,
    rtsp::{Half, UdpPair},
    side::{Command, LinkSide, Port, WAKER, Work, bounded},
};

/// The running link side. Dropping it closes all links without waiting; [`shutdown`](Self::shutdown) waits.
pub struct Ingest {
    local_addrs: Vec<SocketAddr>,
    udp_ports: Option<[u16; 2]>,
    stats: Arc<IngestStats>,
    lines: Arc<Lines>,
    clock: Clock,
    waker: Waker,
    commands: Sender<Command>,
    thread: Option<JoinHandle<()>>,
}

impl Ingest {
    /// Binds all sockets and starts the thread.
    ///
    /// Errors: addresses that cannot be bound, named.
    pub fn start(
        config: IngestConfig,
        programs: Arc<dyn Programs>,
        feeds: Feeds,
        clock: Clock,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        let (mut ports, mut pairs) = bind_all(&config)?;
        register(&poll, &mut ports, &mut pairs)?;
        let local_addrs = ports.iter().map(|port| port.listener.local_addr()).collect::<io::Result<_>>()?;
        let udp_ports = pairs.first().map(UdpPair::numbers);
        let (commands, received) = mpsc::channel();
        let desk = Desk::new(clock(), desk_config(&config), programs, feeds);
        let (stats, lines) = (Arc::clone(desk.stats()), Arc::clone(desk.lines()));
        let thread = LinkSide::new(poll, config, (ports, pairs), desk, Arc::clone(&clock), received);
        let thread =
            std::thread::Builder::new().name("slotcast-ingest".to_owned()).spawn(move || thread.run())?;
        Ok(Self { local_addrs, udp_ports, stats, lines, clock, waker, commands, thread: Some(thread) })
    }

    /// Where broadcasters connect, in the order of the configuration.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.local_addrs
    }

    /// The UDP ports for RTP and RTCP, of the first listener where they were chosen freely; `None`: TCP only.
    pub const fn udp_ports(&self) -> Option<[u16; 2]> {
        self.udp_ports
    }

    /// What it counts.
    pub const fn stats(&self) -> &Arc<IngestStats> {
        &self.stats
    }

    /// The programs that have or had a link within their connect window.
    pub fn links(&self) -> Vec<LinkStatus> {
        self.stats.links()
    }

    /// Closes the link of `program`, if it has one; the broadcaster may connect again.
    pub fn kick(&self, program: ProgramId) {
        self.command(Command::Kick(program));
    }

    /// Makes the lines at least two for each of so many channels, so that programs back to back always have theirs.
    pub fn serve_channels(&self, channels: usize) {
        if self.lines.raise_to(bounded(channels.saturating_mul(2))) {
            let lines = self.lines.lines();
            self.stats.lines.set(u64::from(lines));
            tracing::info!(lines, channels, "more lines, for more channels");
        }
    }

    /// Whether the thread is still there; it ends by itself only when the kernel refuses to wait for sockets.
    pub fn is_running(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Tells every broadcaster, closes all links and waits for the thread, at most for `deadline` and a turn.
    pub fn shutdown(mut self, deadline: Duration) {
        self.command(Command::Shutdown((self.clock)().mono + deadline));
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the link side's thread had panicked");
        }
    }

    fn command(&self, command: Command) {
        // A thread that has ended has nothing left to close.
        let _ = self.commands.send(command);
        if let Err(error) = self.waker.wake() {
            tracing::error!(%error, "the link side could not be woken");
        }
    }
}

impl Drop for Ingest {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.command(Command::Shutdown((self.clock)().mono));
        }
    }
}

fn desk_config(config: &IngestConfig) -> DeskConfig {
    let mut random = [0; 4];
    // Without random numbers our reports carry an SSRC that another server's may carry too, and nothing else happens.
    let _ = getrandom::fill(&mut random);
    DeskConfig {
        lines: bounded(config.lines),
        lines_per_address: bounded(config.lines_per_address),
        burst: config.burst,
        receiver: Ssrc(u32::from_ne_bytes(random)),
    }
}

fn bind_all(config: &IngestConfig) -> io::Result<(Vec<Port>, Vec<UdpPair>)> {
    let mut pairs: Vec<UdpPair> = Vec::new();
    let mut ports = Vec::with_capacity(config.listen.len());
    let rtsp = ServerConfig::new(Role::Broadcaster);
    for address in &config.listen {
        let listener = listen(*address, |socket| one_family(socket, *address))
            .map_err(|error| cannot_bind(&error, "links.listen", *address))?;
        let pair = match config.rtp_ports {
            Some(numbers) => Some(pair_for(&mut pairs, udp_address(config, address.ip()), numbers)?),
            None => None,
        };
        let mut rtsp = rtsp.clone();
        rtsp.udp = pair.and_then(|pair| pairs.get(pair)).map(|pair| {
            let [rtp, rtcp] = pair.numbers();
            UdpPorts { rtp, rtcp }
        });
        ports.push(Port {
            listener: TcpListener::from_std(listener),
            retry_at: None,
            pair,
            rtsp: Arc::new(rtsp),
        });
    }
    Ok((ports, pairs))
}

/// The address that the UDP pair for connections to `address` is bound to: where a listener takes all addresses of
/// the family, one pair serves them all.
fn udp_address(config: &IngestConfig, address: IpAddr) -> IpAddr {
    let all = match address {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    if config.listen.iter().any(|listen| listen.ip() == all) { all } else { address }
}

fn pair_for(pairs: &mut Vec<UdpPair>, address: IpAddr, numbers: [u16; 2]) -> io::Result<usize> {
    if let Some(known) = pairs.iter().position(|pair| pair.address() == address) {
        return Ok(known);
    }
    let bound = UdpPair::bind(address, numbers)
        .map_err(|error| cannot_bind(&error, "links.rtp_ports", SocketAddr::new(address, numbers[0])))?;
    pairs.push(bound);
    Ok(pairs.len() - 1)
}

fn register(poll: &Poll, ports: &mut [Port], pairs: &mut [UdpPair]) -> io::Result<()> {
    for (at, port) in ports.iter_mut().enumerate() {
        let token = Work::Accept(at).token();
        poll.registry().register(&mut port.listener, token, Interest::READABLE)?;
    }
    for (at, pair) in pairs.iter_mut().enumerate() {
        for half in [Half::Rtp, Half::Rtcp] {
            let token = Work::Datagrams(at, half).token();
            poll.registry().register(pair.socket(half), token, Interest::READABLE)?;
        }
    }
    Ok(())
}
