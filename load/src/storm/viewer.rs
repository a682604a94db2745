//! One client of a storm: its connection, its session, and how it misbehaves.
//!
//! Owns: the sockets, what is held back until the common moment, what is read and how much of it.
//! Not here: when clients come and go (`crowd`).

use std::{
    io::{self, Read, Write},
    net::{IpAddr, UdpSocket as StdUdpSocket},
    os::fd::AsFd,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use mio::net::{TcpStream, UdpSocket};
use slotcast_core::{
    chunk::PacketFlags,
    keyframe::KeyFrameScanner,
    media::TRACKS_MAX,
    rtcp::{self, RtcpPacket},
    rtp::{RtpPacket, SequenceNumber},
};
use slotcast_net::sys::{ReceiveBuffers, join_datagrams, receive_datagrams};
use slotcast_rtsp::{
    client::{ClientEvent, ClientOutput, ClientSession, Failure},
    sdp::Announced,
    server::UdpPorts,
};
use socket2::{Domain, SockRef, Socket, Type};

use super::{
    crowd::{Orders, Setup},
    seen::{Recorder, Refused, Seen, Sequence},
};
use slotcast_tools::shape::read_stamp;

/// What a UDP viewer may have unread in the kernel.
const UDP_BUFFER_BYTES: usize = 1 << 20;
/// Asked for by those who read nothing or little: the kernel makes of it the least that it allows.
const TINY_BUFFER_BYTES: usize = 1024;
/// Messages taken from a UDP socket with one call.
pub(super) const MESSAGES: usize = 8;

/// How much a client reads once it plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    All,
    Nothing,
    /// So many bytes per second.
    Trickle(u32),
}

/// How a client leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leave {
    Teardown,
    /// It closes its connection and says nothing.
    Abrupt,
}

/// What a client is to do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// When it connects, from the start of its crowd.
    pub(super) at: Duration,
    pub(super) udp: bool,
    pub(super) reading: Reading,
    /// From PLAY's answer to its leaving; `None`: until all are told to.
    pub(super) stay: Option<Duration>,
    pub(super) leave: Leave,
    /// Whether it measures what the others do to it.
    pub(super) control: bool,
}

impl Plan {
    /// Connects at once, reads all, and stays.
    pub(super) const fn new(udp: bool) -> Self {
        Self {
            at: Duration::ZERO,
            udp,
            reading: Reading::All,
            stay: None,
            leave: Leave::Teardown,
            control: false,
        }
    }
}

/// A client at work.
pub(super) struct Viewer {
    pub(super) plan: Plan,
    pub(super) stream: TcpStream,
    /// RTP and RTCP of each track.
    pub(super) sockets: Vec<UdpSocket>,
    pub(super) seen: Seen,
    pub(super) leaving: Option<Instant>,
    pub(super) done: bool,
    session: ClientSession,
    unsent: Vec<u8>,
    /// What waits for the common moment.
    held: Option<Vec<u8>>,
    sequences: [Sequence; TRACKS_MAX],
    scanner: Option<(u8, KeyFrameScanner)>,
    trickled: Option<Instant>,
}

/// What a viewer needs of its crowd.
pub(super) struct Around<'a> {
    pub(super) now: Instant,
    pub(super) orders: &'a Orders,
    pub(super) buffer: &'a mut [u8],
    pub(super) datagrams: &'a mut ReceiveBuffers,
}

impl Viewer {
    /// Begins to connect.
    ///
    /// # Errors
    /// No socket is left, or the address cannot be reached.
    pub(super) fn connect(plan: Plan, setup: &Setup, now: Instant) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(setup.server), Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        if plan.reading != Reading::All {
            socket.set_recv_buffer_size(TINY_BUFFER_BYTES)?;
        }
        match socket.connect(&setup.server.into()) {
            Err(error) if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {
                return Err(error);
            }
            _ => {}
        }
        let (mut sockets, mut ports) = (Vec::new(), Vec::new());
        for _ in 0..if plan.udp { setup.udp_tracks } else { 0 } {
            // Media goes to the address that the server sees the connection come from.
            let ip = socket.local_addr()?.as_socket().map_or_else(|| setup.server.ip(), |local| local.ip());
            let [rtp, rtcp] = [bind(ip)?, bind(ip)?];
            ports.push(UdpPorts { rtp: rtp.local_addr()?.port(), rtcp: rtcp.local_addr()?.port() });
            sockets.extend([rtp, rtcp]);
        }
        let config = Arc::clone(&setup.clients[usize::from(plan.udp)]);
        let seen =
            Seen { udp: plan.udp, control: plan.control.then(Box::<Recorder>::default), ..Seen::default() };
        Ok(Self {
            plan,
            stream: TcpStream::from_std(socket.into()),
            sockets,
            seen,
            leaving: None,
            done: false,
            session: ClientSession::new(config, ports, now),
            unsent: Vec::new(),
            held: setup.hold.then(Vec::new),
            sequences: Default::default(),
            scanner: None,
            trickled: None,
        })
    }

    /// The common moment has come. Returns whether the session is over.
    pub(super) fn release(&mut self, around: &mut Around<'_>) -> bool {
        if let Some(held) = self.held.take() {
            self.unsent.extend_from_slice(&held);
            self.seen.asked = Some(Instant::now());
        }
        self.carry_out(around)
    }

    /// Leaves, as planned. Returns whether the session is over.
    pub(super) fn leave(&mut self, around: &mut Around<'_>) -> bool {
        self.leaving = Some(around.now);
        self.seen.left = Some(around.now);
        // What was held back is not asked for any more.
        self.held = None;
        if self.plan.leave == Leave::Abrupt || self.plan.reading != Reading::All {
            return true;
        }
        self.session.teardown(around.now);
        self.carry_out(around)
    }

    /// Looks at deadlines, and reads a trickle. Returns whether the session is over.
    pub(super) fn look_around(&mut self, around: &mut Around<'_>) -> bool {
        if self.session.deadline().is_some_and(|at| at <= around.now) {
            self.session.handle_timeout(around.now);
        }
        if let (Reading::Trickle(rate), Some(since)) = (self.plan.reading, self.trickled) {
            let share = f64::from(rate) * around.now.saturating_duration_since(since).as_secs_f64();
            let share = (share as usize).min(around.buffer.len());
            if share > 0 {
                self.trickled = Some(around.now);
                match self.stream.read(&mut around.buffer[..share]) {
                    Ok(0) => return self.ended(around),
                    Err(error) if !is_passing(&error) => return self.ended(around),
                    Ok(count) => self.session.handle_bytes(around.now, &around.buffer[..count]),
                    Err(_) => {}
                }
            }
        }
        let stay_over = |from: Instant| {
            self.plan.stay.is_some_and(|stay| around.now.saturating_duration_since(from) >= stay)
        };
        if self.leaving.is_none() && self.seen.playing.is_some_and(stay_over) {
            return self.leave(around);
        }
        self.carry_out(around)
    }

    /// Reads the connection. Returns whether the session is over.
    ///
    /// - `hung_up`: what the poll says of the connection, for those who do not read.
    pub(super) fn on_readable(&mut self, hung_up: bool, around: &mut Around<'_>) -> bool {
        let mut over = false;
        while self.is_reading() {
            match self.stream.read(around.buffer) {
                Ok(0) => over = true,
                Ok(count) => {
                    self.session.handle_bytes(around.now, &around.buffer[..count]);
                    if self.take_outputs(around) {
                        return true;
                    }
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => over = !is_passing(&error),
            }
            break;
        }
        if over || hung_up && !self.is_reading() {
            return self.ended(around);
        }
        self.carry_out(around)
    }

    /// Reads one of the UDP sockets.
    pub(super) fn on_datagrams(&mut self, socket: usize, around: &mut Around<'_>) {
        let got = std::mem::take(&mut self.sockets);
        let Some(from) = got.get(socket) else {
            self.sockets = got;
            return;
        };
        while let Ok(messages) = receive_datagrams(from.as_fd(), around.datagrams) {
            let now = Instant::now();
            for packet in around.datagrams.datagrams() {
                self.take_packet(socket as u8, packet, now, around.orders);
            }
            if messages < MESSAGES {
                break;
            }
        }
        self.sockets = got;
    }

    /// What is known at the end.
    pub(super) fn finish(&mut self, phase: usize, now: Instant) {
        self.seen.lost = self.lost();
        if let Some(control) = &mut self.seen.control {
            control.finish(phase, now);
        }
    }

    fn is_reading(&self) -> bool {
        self.plan.reading == Reading::All || self.seen.playing.is_none()
    }

    fn ended(&mut self, around: &mut Around<'_>) -> bool {
        if self.leaving.is_none() {
            self.seen.closed.get_or_insert(around.now);
        }
        self.session.handle_eof();
        self.take_outputs(around);
        true
    }

    fn carry_out(&mut self, around: &mut Around<'_>) -> bool {
        let over = self.take_outputs(around);
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(_) => break,
            }
        }
        over
    }

    /// Returns whether the session is over.
    fn take_outputs(&mut self, around: &Around<'_>) -> bool {
        let mut over = false;
        while let Some(output) = self.session.poll_output() {
            match output {
                ClientOutput::Send(bytes) => match &mut self.held {
                    // OPTIONS and DESCRIBE go out; what follows the description waits.
                    Some(held) if self.scanner.is_some() => held.extend_from_slice(&bytes),
                    _ => self.unsent.extend_from_slice(&bytes),
                },
                ClientOutput::Frame { channel, payload } => {
                    self.take_packet(channel, &payload, around.now, around.orders);
                }
                ClientOutput::Event(event) => self.on_event(event, around),
                ClientOutput::Failed(failure) => self.on_failure(failure, around),
                ClientOutput::Closed => over = true,
            }
        }
        over
    }

    fn on_event(&mut self, event: ClientEvent, around: &Around<'_>) {
        match event {
            ClientEvent::Described(announced) => {
                self.scanner = key_scanner(&announced);
                if self.held.is_none() {
                    self.seen.asked = Some(around.now);
                }
                around.orders.described.fetch_add(1, Ordering::Relaxed);
            }
            ClientEvent::Ready { .. } => self.seen.play_asked = Some(Instant::now()),
            ClientEvent::Playing { rtp_info } => {
                self.seen.playing = Some(Instant::now());
                self.trickled = Some(around.now);
                around.orders.answered.fetch_add(1, Ordering::Relaxed);
                for info in rtp_info {
                    if let (Some(seq), Some(sequence)) =
                        (info.seq, self.sequences.get_mut(usize::from(info.track)))
                    {
                        sequence.begin(SequenceNumber(seq));
                    }
                }
            }
            ClientEvent::Recording => {}
        }
    }

    fn on_failure(&mut self, failure: Failure, around: &Around<'_>) {
        match failure {
            Failure::Refused { method, status, reason } => {
                let at = Instant::now();
                self.seen.refused = Some(Refused { method, status: status.code(), reason, at });
            }
            Failure::Disconnected { method: None } => return,
            other => self.seen.failed = Some(format!("{other:?}")),
        }
        if self.seen.playing.is_none() {
            around.orders.answered.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn take_packet(&mut self, channel: u8, packet: &[u8], now: Instant, orders: &Orders) {
        let seen = &mut self.seen;
        if !channel.is_multiple_of(2) {
            if rtcp::packets(packet).flatten().any(|packet| matches!(packet, RtcpPacket::Bye(_))) {
                seen.told.get_or_insert(now);
            }
            return;
        }
        // A datagram before PLAY was asked for is meant for whoever had the port before.
        let Ok(rtp) = RtpPacket::parse(packet) else { return };
        if self.done {
            seen.without_seat += 1;
        }
        if self.done || seen.play_asked.is_none() {
            return;
        }
        let track = channel / 2;
        seen.packets += 1;
        seen.last_packet = Some(now);
        seen.first_packet.get_or_insert(now);
        seen.last_stamp = seen.last_stamp.max(read_stamp(packet));
        // The order of packets and the BYE is certain on one connection only.
        seen.after_bye += u64::from(!seen.udp && seen.told.is_some());
        if let Some((_, scanner)) = self.scanner.as_mut().filter(|(key, _)| *key == track)
            && seen.first_key.is_none()
            && scanner.scan(rtp.payload()).contains(PacketFlags::KEY)
        {
            seen.first_key = Some(now);
        }
        let before = self.lost();
        if let Some(sequence) = self.sequences.get_mut(usize::from(track)) {
            sequence.take(rtp.sequence_number());
        }
        let lost = (before, self.lost());
        if let Some(control) = &mut self.seen.control {
            control.take(orders.phase(), (track, &rtp, packet), lost, now);
        }
    }

    fn lost(&self) -> u64 {
        self.sequences.iter().map(Sequence::lost).sum()
    }
}

/// For the first track that has key frames, or the first track.
fn key_scanner(announced: &Announced) -> Option<(u8, KeyFrameScanner)> {
    let tracks = || (0u8..).zip(&announced.tracks);
    let (index, track) =
        tracks().find(|(_, track)| track.codec.has_key_frames()).or_else(|| tracks().next())?;
    Some((index, KeyFrameScanner::new(track.codec)))
}

/// Nothing there, or not connected yet.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected | io::ErrorKind::Interrupted
    )
}

fn bind(ip: IpAddr) -> io::Result<UdpSocket> {
    let socket = StdUdpSocket::bind((ip, 0))?;
    socket.set_nonblocking(true)?;
    // The kernel gives what it allows, and hands datagrams over one by one where it cannot join them.
    let _ = SockRef::from(&socket).set_recv_buffer_size(UDP_BUFFER_BYTES);
    let _ = join_datagrams(socket.as_fd());
    Ok(UdpSocket::from_std(socket))
}
