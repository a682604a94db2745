//! RTP and RTCP over UDP: the worker's two sockets, and one program's audience behind them.
//!
//! Owns: one send per run and viewer, where it stopped when the socket was full, and the fallbacks where the kernel
//! or the device cannot segment.
//! Holds: all viewers of a run share its buffers; nothing is allocated, copied or locked per viewer.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6},
    os::fd::AsFd,
    sync::{Arc, atomic::Ordering},
};

use mio::net::{TcpStream, UdpSocket};
use slotcast_core::{
    chunk::Chunk,
    log::Position,
    media::TRACKS_MAX,
    runs::{Run, SEGMENTS_MAX},
};
use socket2::{Domain, Protocol as SocketProtocol, Socket, Type};

use crate::{
    config::SegmentationPolicy,
    limits,
    stats::{SendErrorKind, WorkerStats},
};
use slotcast_net::sys::{self, Destination};

/// A send that fails for reasons of an earlier one is tried so often.
const SEND_TRIES_MAX: u32 = 3;

/// Ports of one viewer and track: RTP and RTCP share the kernel form of their address.
pub(crate) type PortIndex = usize;

/// The place of a track's RTP or RTCP port among a viewer's ports.
pub(crate) const fn port_index(track: u8, rtcp: bool) -> PortIndex {
    2 * track as usize + rtcp as usize
}

/// The worker's UDP sockets, on the advertised server ports.
pub(crate) struct UdpPorts {
    pub(crate) rtp: UdpSocket,
    pub(crate) rtcp: UdpSocket,
    segmentation: bool,
    /// Whether they take what comes to any address of the machine, and leave it to routing which one theirs is.
    at_all_addresses: bool,
    /// Whether the poll tells when they take datagrams again. Only while somebody waits for that: else every datagram that
    /// leaves the kernel would wake the worker.
    pub(crate) awaits_room: bool,
}

impl UdpPorts {
    /// Binds both, shared with the other workers by SO_REUSEPORT.
    pub(crate) fn bind(addresses: [SocketAddr; 2], policy: SegmentationPolicy) -> io::Result<Self> {
        let [rtp, rtcp] = [bind(addresses[0])?, bind(addresses[1])?];
        let segmentation = policy == SegmentationPolicy::Auto && sys::can_segment(rtp.as_fd());
        let at_all_addresses = addresses[0].ip().is_unspecified();
        Ok(Self { rtp, rtcp, segmentation, at_all_addresses, awaits_room: false })
    }

    pub(crate) const fn segmentation(&self) -> bool {
        self.segmentation
    }

    /// Which address media has to leave from by name to a viewer: the one that its `control` connection came to, where
    /// routing would pick another. Players, and translators of addresses before them, take nothing from elsewhere.
    ///
    /// `None`: it leaves from there by itself. Cost: a few system calls, so once per viewer.
    pub(crate) fn source_for(&self, control: &TcpStream) -> Option<IpAddr> {
        if !self.at_all_addresses {
            return None;
        }
        let spoken_to = canonical(control.local_addr().ok()?).ip();
        let picked = picked_source(canonical(control.peer_addr().ok()?));
        (picked.ok() != Some(spoken_to)).then_some(spoken_to)
    }

    const fn socket(&self, rtcp: bool) -> &UdpSocket {
        if rtcp { &self.rtcp } else { &self.rtp }
    }

    /// Sends `parts` to `to`: one call where they can be segmented, else one call per packet.
    ///
    /// - `done`: packets of `parts` that an earlier, interrupted call sent; brought up to date.
    ///
    /// Returns `WouldBlock` alone as an error; all other errors are counted and cost this viewer these packets.
    pub(crate) fn send_run(
        &mut self,
        to: &Destination,
        run: &Run,
        parts: &[IoSlice<'_>],
        done: &mut usize,
        stats: &WorkerStats,
    ) -> io::Result<()> {
        if self.segmentation && parts.len() > 1 && *done == 0 {
            match self.send(to, run.rtcp, parts, Some(run.segment_bytes), stats) {
                Ok(()) => {
                    stats.segmented_sends.add(1);
                    self.count_sent(parts, stats);
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(error),
                Err(error) => match error.raw_os_error() {
                    // The path's MTU is smaller than a segment: single packets may be fragmented.
                    Some(libc::EINVAL | libc::EMSGSIZE) => {}
                    Some(libc::EIO | libc::EOPNOTSUPP) => {
                        self.segmentation = false;
                        stats.segmentation_refused.store(true, Ordering::Relaxed);
                        tracing::warn!(%error, "the device cannot segment UDP: one send per packet from now on");
                    }
                    _ => {
                        stats.send_error(kind_of(&error));
                        return Ok(());
                    }
                },
            }
        }
        while let Some(part) = parts.get(*done) {
            match self.send(to, run.rtcp, std::slice::from_ref(part), None, stats) {
                Ok(()) => self.count_sent(std::slice::from_ref(part), stats),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(error),
                Err(error) => stats.send_error(kind_of(&error)),
            }
            *done += 1;
        }
        Ok(())
    }

    fn send(
        &self,
        to: &Destination,
        rtcp: bool,
        parts: &[IoSlice<'_>],
        segment_bytes: Option<u16>,
        stats: &WorkerStats,
    ) -> io::Result<()> {
        let socket = self.socket(rtcp).as_fd();
        let mut tries = 0;
        loop {
            stats.send_calls.add(1);
            tries += 1;
            match sys::send_datagrams(socket, to, parts, segment_bytes) {
                // The network's answer to an earlier datagram, perhaps to somebody else, is told once by whichever send
                // comes next; that one was not carried out.
                Err(error) if error.kind() != io::ErrorKind::WouldBlock && tries < SEND_TRIES_MAX => {}
                sent => return sent,
            }
        }
    }

    fn count_sent(&self, parts: &[IoSlice<'_>], stats: &WorkerStats) {
        stats.packets_sent.add(parts.len() as u64);
        stats.bytes_sent.add(parts.iter().map(|part| part.len() as u64).sum());
    }

    /// Sends one RTCP packet that is no part of the stream, such as a BYE. Lost if the socket is full.
    pub(crate) fn send_rtcp(&self, to: &Destination, packet: &[u8], stats: &WorkerStats) {
        if let Err(error) = self.send(to, true, &[IoSlice::new(packet)], None, stats) {
            stats.send_error(kind_of(&error));
        }
    }
}

/// The address that routing picks for datagrams to `to`. Nothing is sent.
fn picked_source(to: SocketAddr) -> io::Result<IpAddr> {
    let any = match to {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let socket = std::net::UdpSocket::bind((any, 0))?;
    socket.connect(to)?;
    Ok(socket.local_addr()?.ip())
}

/// An address as viewers are known by: IPv4 in IPv6 dress is IPv4; the link of a link-local address is part of it, a flow
/// label is not.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    match (address.ip().to_canonical(), address) {
        (IpAddr::V6(ip), SocketAddr::V6(v6)) => SocketAddrV6::new(ip, v6.port(), 0, v6.scope_id()).into(),
        (ip, _) => SocketAddr::new(ip, address.port()),
    }
}

fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(SocketProtocol::UDP))?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    // The kernel gives what it allows; less is no error.
    let _ = socket.set_send_buffer_size(limits::UDP_BUFFER_BYTES);
    let _ = socket.set_recv_buffer_size(limits::UDP_BUFFER_BYTES);
    socket.bind(&address.into())?;
    sys::queue_errors(socket.as_fd(), address.is_ipv6())?;
    Ok(UdpSocket::from_std(socket.into()))
}

fn kind_of(error: &io::Error) -> SendErrorKind {
    match error.raw_os_error() {
        Some(libc::ENOBUFS | libc::ENOMEM) => SendErrorKind::NoBuffers,
        Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EPERM | libc::EACCES) => {
            SendErrorKind::Unreachable
        }
        Some(libc::ECONNREFUSED) => SendErrorKind::Refused,
        Some(libc::EMSGSIZE | libc::EINVAL) => SendErrorKind::TooLarge,
        _ => SendErrorKind::Other,
    }
}

/// The addresses that one UDP viewer is sent to, by [`port_index`]; `None` for tracks it did not set up.
pub(crate) type ViewerPorts = [Option<Destination>; 2 * TRACKS_MAX];

struct Target {
    to: Destination,
    viewer: usize,
}

/// A chunk that is on its way to the audience; stands still while the socket is full.
struct Pass {
    chunk: Arc<Chunk>,
    run: usize,
    /// Place of the next target of the run, and of the first that is not served (it joined later).
    next: usize,
    upto: Option<usize>,
    /// Packets that the next target has got.
    done: usize,
}

/// The UDP viewers of one program on this worker who have caught up, and what is on its way to them.
#[derive(Default)]
pub(crate) struct UdpAudience {
    targets: [Vec<Target>; 2 * TRACKS_MAX],
    viewers: usize,
    passes: VecDeque<Pass>,
}

/// How a turn of sending ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Served {
    /// All that was there has left.
    All,
    /// The socket is full: go on when it is writable.
    Waiting,
    /// The gate closed meanwhile: nothing more may leave.
    Closed,
}

impl UdpAudience {
    pub(crate) const fn viewers(&self) -> usize {
        self.viewers
    }

    /// Whether a chunk is still on its way: nobody may join before it has left.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.passes.is_empty()
    }

    /// Adds a viewer who has been sent everything up to the newest chunk.
    pub(crate) fn enter(&mut self, viewer: usize, ports: &ViewerPorts) {
        for (targets, to) in self.targets.iter_mut().zip(ports) {
            if let Some(to) = *to {
                targets.push(Target { to, viewer });
            }
        }
        self.viewers += 1;
    }

    /// Takes a viewer out; nothing more is sent to it. No effect when it is not there.
    pub(crate) fn leave(&mut self, viewer: usize) {
        let mut was_there = false;
        for (port, targets) in self.targets.iter_mut().enumerate() {
            let Some(place) = targets.iter().position(|target| target.viewer == viewer) else { continue };
            targets.remove(place);
            was_there = true;
            for pass in &mut self.passes {
                let run = pass.chunk.runs().all().get(pass.run);
                if run.is_some_and(|run| port_index(run.track, run.rtcp) == port) {
                    if place < pass.next {
                        pass.next -= 1;
                    } else if place == pass.next {
                        pass.done = 0;
                    }
                    pass.upto = pass.upto.map(|upto| if place < upto { upto - 1 } else { upto });
                }
            }
        }
        self.viewers -= usize::from(was_there);
    }

    /// Forgets what is on its way; returns how many chunks that were.
    pub(crate) fn drop_waiting(&mut self) -> usize {
        let count = self.passes.len();
        self.passes.clear();
        count
    }

    /// Lets `chunk` follow what is on its way.
    pub(crate) fn push(&mut self, chunk: Arc<Chunk>) {
        if self.viewers > 0 {
            self.passes.push_back(Pass { chunk, run: 0, next: 0, upto: None, done: 0 });
        }
    }

    /// The place in the log of the next packet of `track` to a viewer, while something is on its way; else `None`: it
    /// stands at the head.
    pub(crate) fn next_of(&self, viewer: usize, track: u8) -> Option<Position> {
        let pass = self.passes.front()?;
        let targets = &self.targets[port_index(track, false)];
        let place = targets.iter().position(|target| target.viewer == viewer)?;
        let runs = pass.chunk.runs();
        let unsent = (0..).zip(runs.all()).find(|&(at, run)| {
            (run.track, run.rtcp) == (track, false)
                && (at > pass.run || (at == pass.run && place >= pass.next))
        });
        let packet = unsent.and_then(|(at, run)| {
            let is_begun = at == pass.run && place == pass.next;
            runs.packets(run).get(if is_begun { pass.done } else { 0 })
        });
        let chunk = pass.chunk.index();
        let behind = Position::at_chunk(chunk + 1);
        Some(packet.map_or(behind, |&packet| Position { chunk, packet }))
    }

    /// When the oldest waiting chunk came.
    pub(crate) fn waiting_since(&self) -> Option<std::time::Instant> {
        self.passes.front().map(|pass| pass.chunk.arrival())
    }

    /// Sends what is on its way.
    ///
    /// - `may_send`: asked before every send; `false` ends the turn with [`Served::Closed`].
    ///
    /// Cost: one call per viewer and run.
    pub(crate) fn serve(
        &mut self,
        ports: &mut UdpPorts,
        stats: &WorkerStats,
        mut may_send: impl FnMut() -> bool,
    ) -> Served {
        while let Some(pass) = self.passes.front_mut() {
            while let Some(run) = pass.chunk.runs().all().get(pass.run) {
                let targets = &self.targets[port_index(run.track, run.rtcp)];
                let upto = *pass.upto.get_or_insert(targets.len());
                let mut parts = [IoSlice::new(&[]); SEGMENTS_MAX];
                let parts = gather(&pass.chunk, run, 0, &mut parts);
                while let Some(target) = targets.get(pass.next).filter(|_| pass.next < upto) {
                    if !may_send() {
                        return Served::Closed;
                    }
                    if ports.send_run(&target.to, run, parts, &mut pass.done, stats).is_err() {
                        stats.udp_waits.add(1);
                        return Served::Waiting;
                    }
                    pass.next += 1;
                    pass.done = 0;
                }
                (pass.run, pass.next, pass.upto) = (pass.run + 1, 0, None);
            }
            stats.viewer_frames.add(self.viewers as u64);
            self.passes.pop_front();
        }
        Served::All
    }
}

/// The buffers of the packets of `run` that stand at `from` or later in the chunk.
pub(crate) fn gather<'p, 'c>(
    chunk: &'c Chunk,
    run: &Run,
    from: u16,
    parts: &'p mut [IoSlice<'c>; SEGMENTS_MAX],
) -> &'p [IoSlice<'c>] {
    let packets = chunk.packets();
    let mut count = 0;
    for &place in chunk.runs().packets(run).iter().filter(|&&place| place >= from) {
        parts[count] = IoSlice::new(chunk.packet(&packets[usize::from(place)]));
        count += 1;
    }
    &parts[..count]
}

#[cfg(test)]
mod tests {
    use std::{net::UdpSocket as Receiver, time::Duration};

    use super::*;
    use crate::test_media::chunk;

    fn ports(policy: SegmentationPolicy) -> UdpPorts {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        UdpPorts::bind([any, any], policy).unwrap()
    }

    /// Viewers who listen on one port for all that is sent to them.
    fn audience(count: usize) -> (UdpAudience, Vec<Receiver>) {
        let mut audience = UdpAudience::default();
        let receivers = (0..count)
            .map(|viewer| {
                let receiver = Receiver::bind("127.0.0.1:0").unwrap();
                receiver.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
                let to = Some(receiver.local_addr().unwrap().into());
                audience.enter(viewer, &[to; 2 * TRACKS_MAX]);
                receiver
            })
            .collect();
        (audience, receivers)
    }

    #[track_caller]
    fn receives(receiver: &Receiver, lengths: &[usize]) {
        let mut buffer = [0; 2000];
        for &length in lengths {
            assert_eq!(receiver.recv(&mut buffer).unwrap(), length);
        }
        receiver.set_nonblocking(true).unwrap();
        assert!(receiver.recv(&mut buffer).is_err(), "nothing more");
        receiver.set_nonblocking(false).unwrap();
    }

    fn serve(audience: &mut UdpAudience, ports: &mut UdpPorts, stats: &WorkerStats) {
        assert_eq!(audience.serve(ports, stats, || true), Served::All);
    }

    #[test]
    fn a_frame_costs_one_call_per_viewer() {
        let (mut audience, receivers) = audience(20);
        let (mut ports, stats) = (ports(SegmentationPolicy::Auto), WorkerStats::default());
        audience.push(chunk(0, &[(0, 1200), (0, 1200), (0, 500)]));
        serve(&mut audience, &mut ports, &stats);
        receivers.iter().for_each(|receiver| receives(receiver, &[1200, 1200, 500]));
        assert_eq!((stats.send_calls.value(), stats.segmented_sends.value()), (20, 20));
        assert_eq!((stats.packets_sent.value(), stats.viewer_frames.value()), (60, 20));
    }

    #[test]
    fn without_segmentation_every_packet_arrives_all_the_same() {
        let (mut audience, receivers) = audience(3);
        let (mut ports, stats) = (ports(SegmentationPolicy::Off), WorkerStats::default());
        audience.push(chunk(0, &[(0, 1200), (0, 1200), (0, 500)]));
        serve(&mut audience, &mut ports, &stats);
        receivers.iter().for_each(|receiver| receives(receiver, &[1200, 1200, 500]));
        assert_eq!((stats.send_calls.value(), stats.segmented_sends.value()), (9, 0));
    }

    #[test]
    fn sending_allocates_nothing() {
        let (mut audience, _receivers) = audience(50);
        let (mut ports, stats) = (ports(SegmentationPolicy::Auto), WorkerStats::default());
        audience.push(chunk(0, &[(0, 100), (0, 100), (1, 90)]));
        let allocations = allocation_counter::measure(|| serve(&mut audience, &mut ports, &stats));
        assert_eq!(allocations.count_total, 0);
        assert_eq!(stats.packets_sent.value(), 150);
    }

    #[test]
    fn a_source_is_named_only_where_routing_would_pick_another() {
        let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let ports = UdpPorts::bind([any, any], SegmentationPolicy::Auto).unwrap();
        let listener = std::net::TcpListener::bind(any).unwrap();
        let source_of = |ports: &UdpPorts, spoken_to: [u8; 4]| {
            let to = (IpAddr::from(spoken_to), listener.local_addr().unwrap().port());
            let _viewer = std::net::TcpStream::connect(to).unwrap();
            let (control, _) = listener.accept().unwrap();
            ports.source_for(&TcpStream::from_std(control))
        };
        assert_eq!(source_of(&ports, [127, 0, 0, 1]), None);
        assert_eq!(source_of(&ports, [127, 0, 0, 2]), Some(IpAddr::from([127, 0, 0, 2])));
        assert_eq!(source_of(&self::ports(SegmentationPolicy::Auto), [127, 0, 0, 2]), None);
    }

    #[test]
    fn a_named_source_costs_no_call_more_and_allocates_nothing() {
        let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let mut ports = UdpPorts::bind([any, any], SegmentationPolicy::Auto).unwrap();
        let (mut audience, stats) = (UdpAudience::default(), WorkerStats::default());
        let receiver = Receiver::bind("127.0.0.1:0").unwrap();
        let source = IpAddr::from([127, 0, 0, 3]);
        let to = Destination::from(receiver.local_addr().unwrap()).leaving_from(Some(source));
        audience.enter(0, &[Some(to); 2 * TRACKS_MAX]);
        audience.push(chunk(0, &[(0, 100), (0, 100), (0, 50)]));
        let allocations = allocation_counter::measure(|| serve(&mut audience, &mut ports, &stats));
        assert_eq!((allocations.count_total, stats.send_calls.value()), (0, 1));
        let mut buffer = [0; 2000];
        for length in [100, 100, 50] {
            let (got, from) = receiver.recv_from(&mut buffer).unwrap();
            assert_eq!((got, from.ip()), (length, source));
        }
    }

    #[test]
    fn a_closed_gate_stops_between_two_viewers() {
        let (mut audience, receivers) = audience(4);
        let (mut ports, stats) = (ports(SegmentationPolicy::Auto), WorkerStats::default());
        audience.push(chunk(0, &[(0, 100)]));
        let mut left = 2;
        let served = audience.serve(&mut ports, &stats, || {
            left -= 1;
            left >= 0
        });
        assert_eq!(served, Served::Closed);
        receives(&receivers[1], &[100]);
        receives(&receivers[2], &[]);
    }

    #[test]
    fn while_a_chunk_is_on_its_way_each_viewer_has_a_next_packet_of_its_own() {
        let (mut audience, _receivers) = audience(3);
        let (mut ports, stats) = (ports(SegmentationPolicy::Auto), WorkerStats::default());
        assert_eq!(audience.next_of(0, 0), None);
        audience.push(chunk(7, &[(0, 100), (1, 50), (0, 100)]));
        let mut left = 2;
        audience.serve(&mut ports, &stats, || {
            left -= 1;
            left >= 0
        });
        let at = |packet| Some(Position { chunk: 7, packet });
        assert_eq!(
            [0, 1, 2].map(|viewer| audience.next_of(viewer, 0)),
            [Some(Position::at_chunk(8)), Some(Position::at_chunk(8)), at(0)]
        );
        assert_eq!([0, 2].map(|viewer| audience.next_of(viewer, 1)), [at(1); 2]);
    }

    #[test]
    fn who_leaves_while_a_chunk_waits_shifts_nobody() {
        let (mut audience, receivers) = audience(4);
        let (mut ports, stats) = (ports(SegmentationPolicy::Auto), WorkerStats::default());
        audience.push(chunk(0, &[(0, 100)]));
        let mut left = 2;
        audience.serve(&mut ports, &stats, || {
            left -= 1;
            left >= 0
        });
        audience.leave(0);
        audience.leave(2);
        audience.leave(2);
        assert_eq!(audience.viewers(), 2);
        serve(&mut audience, &mut ports, &stats);
        receives(&receivers[1], &[100]);
        receives(&receivers[2], &[]);
        receives(&receivers[3], &[100]);
    }

    #[test]
    fn a_port_that_nobody_listens_on_costs_the_others_nothing() {
        let (mut audience, mut receivers) = audience(3);
        let (mut ports, stats) = (ports(SegmentationPolicy::Auto), WorkerStats::default());
        drop(receivers.remove(1));
        for index in 0..5 {
            audience.push(chunk(index, &[(0, 100)]));
            serve(&mut audience, &mut ports, &stats);
        }
        receivers.iter().for_each(|receiver| receives(receiver, &[100; 5]));
    }
}
