//! One viewer: its session, its sockets, what it reads and what it has seen.
//!
//! Not here: when it is asked to do something (`crowd`).

use std::{
    io::{self, Write},
    net::{IpAddr, SocketAddr, UdpSocket as StdUdpSocket},
    ops::Range,
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use mio::net::{TcpStream, UdpSocket};
use slotcast_core::{
    media::TRACKS_MAX,
    packet::PacketFlags,
    rtcp::{self, RtcpPacket},
    rtp::{RtpPacket, SequenceNumber},
};
use slotcast_media::keyframe::KeyFrameScanner;
use slotcast_rtsp::{
    client::{ClientConfig, ClientEvent, ClientOutput, ClientSession, Failure},
    sdp::Announced,
    server::{TrackTransport, UdpPorts},
};
use socket2::{Domain, SockRef, Socket, Type};

use super::{
    Leave, Outcome, Plan, Reading, Recorder, Seen, WatchProgress,
    frames::{Piece, split},
    sequence::Sequence,
};
use crate::{datagrams::join_datagrams, histogram::Histogram, shape::read_stamp};

/// Many frames: what is lost is lost before.
const UDP_RECEIVE_BUFFER_BYTES: usize = 1 << 20;
/// Asked for by those who read nothing or little: the kernel makes of it the least that it allows.
const TINY_BUFFER_BYTES: usize = 1024;

/// What the viewers of one target share.
pub(super) struct Setup {
    pub(super) server: SocketAddr,
    /// Over TCP, over UDP.
    pub(super) clients: [Arc<ClientConfig>; 2],
    pub(super) udp_tracks: usize,
    pub(super) hold: bool,
}

/// What was read with one call: all of it is taken to have come at the same moment.
pub(super) struct Batch<'a> {
    pub(super) now: Instant,
    /// The same moment as packets are stamped.
    pub(super) nanos: u64,
    /// What is measured, as stamps.
    pub(super) window: Range<u64>,
    pub(super) latency: &'a mut Histogram,
    pub(super) progress: &'a WatchProgress,
    /// RTP packets so far.
    pub(super) packets: u64,
}

pub(super) struct Viewer {
    pub(super) stream: TcpStream,
    /// RTP and RTCP of each track.
    pub(super) sockets: Vec<UdpSocket>,
    pub(super) seen: Seen,
    /// Its session is not asked any more.
    pub(super) done: bool,
    /// The session has nothing more to do.
    pub(super) closed: bool,
    plan: Plan,
    session: ClientSession,
    unsent: Vec<u8>,
    /// What waits for the common moment.
    held: Option<Vec<u8>>,
    /// Whether the crowd waits for a common moment at all.
    hold: bool,
    /// The beginning of a frame or message.
    begun: Vec<u8>,
    sequences: Vec<Sequence>,
    /// Finds the first key frame of the track of this index; `None` once it came.
    key: Option<(u8, KeyFrameScanner)>,
    /// Until when a trickle was read.
    trickled: Option<Instant>,
}

impl Viewer {
    /// Begins to connect.
    ///
    /// # Errors
    /// No socket is left, or the address cannot be reached.
    pub(super) fn connect(plan: Plan, setup: &Setup, now: Instant) -> io::Result<Self> {
        let stream = connect(setup.server, plan.reading)?;
        let ip = stream.local_addr()?.ip();
        let (mut sockets, mut ports) = (Vec::new(), Vec::new());
        for _ in 0..if plan.udp { setup.udp_tracks } else { 0 } {
            let [rtp, rtcp] = [bind(ip)?, bind(ip)?];
            ports.push(UdpPorts { rtp: rtp.local_addr()?.port(), rtcp: rtcp.local_addr()?.port() });
            sockets.extend([rtp, rtcp]);
        }
        let config = Arc::clone(&setup.clients[usize::from(plan.udp)]);
        let mut seen = Seen::new(plan.target, plan.udp, Outcome::Left);
        seen.control = plan.control.then(Box::<Recorder>::default);
        Ok(Self {
            stream,
            sockets,
            seen,
            done: false,
            closed: false,
            plan,
            session: ClientSession::new(config, ports, now),
            unsent: Vec::new(),
            held: setup.hold.then(Vec::new),
            hold: setup.hold,
            begun: Vec::new(),
            sequences: Vec::new(),
            key: None,
            trickled: None,
        })
    }

    /// Whether its connection is to be read when something comes.
    pub(super) fn is_reading(&self) -> bool {
        !self.closed && (self.plan.reading == Reading::All || self.seen.playing.is_none())
    }

    /// Whether it still has to see that no media comes.
    pub(super) const fn listens_on(&self) -> bool {
        self.hold && self.seen.refused.is_some()
    }

    /// The common moment has come.
    pub(super) fn release(&mut self, progress: &WatchProgress) {
        let now = Instant::now();
        if let Some(held) = self.held.take()
            && !self.sequences.is_empty()
        {
            self.unsent.extend_from_slice(&held);
            self.seen.asked = Some(now);
        }
        self.carry_out(now, progress);
    }

    /// Looks at its deadlines.
    ///
    /// - `leave`: whether all are told to leave.
    pub(super) fn look_around(&mut self, now: Instant, leave: bool, progress: &WatchProgress) {
        if self.session.deadline().is_some_and(|at| at <= now) {
            self.session.handle_timeout(now);
        }
        let stayed = self.plan.stay.zip(self.seen.playing);
        let stayed = stayed.is_some_and(|(stay, from)| now.saturating_duration_since(from) >= stay);
        if (leave || stayed) && self.seen.left.is_none() {
            self.seen.left = Some(now);
            // What was held back is not asked for any more.
            self.held = None;
            if self.plan.leave == Leave::Abrupt || self.plan.reading != Reading::All {
                self.closed = true;
                return;
            }
            self.session.teardown(now);
        }
        self.carry_out(now, progress);
    }

    /// How many bytes of its trickle are due.
    ///
    /// - `max`: no more.
    pub(super) fn trickle(&mut self, now: Instant, max: usize) -> Option<usize> {
        let (Reading::Trickle(rate), Some(since)) = (self.plan.reading, self.trickled) else { return None };
        let share = f64::from(rate) * now.saturating_duration_since(since).as_secs_f64();
        let share = (share as usize).min(max);
        (share > 0 && !self.closed).then(|| {
            self.trickled = Some(now);
            share
        })
    }

    /// The server has closed the connection.
    pub(super) fn on_end(&mut self, now: Instant, progress: &WatchProgress) {
        if self.closed {
            return;
        }
        if self.seen.left.is_none() {
            self.seen.report.closed.get_or_insert(now);
        }
        self.session.handle_eof();
        self.carry_out(now, progress);
        self.closed = true;
    }

    /// Takes what came over the connection.
    pub(super) fn take_bytes(&mut self, bytes: &[u8], batch: &mut Batch<'_>) {
        let mut begun = std::mem::take(&mut self.begun);
        if begun.is_empty() {
            begun.extend_from_slice(self.take_pieces(bytes, batch));
        } else {
            begun.extend_from_slice(bytes);
            let rest = self.take_pieces(&begun, batch).len();
            begun.drain(..begun.len() - rest);
        }
        self.begun = begun;
    }

    /// Returns what is left after the last whole piece.
    fn take_pieces<'b>(&mut self, mut bytes: &'b [u8], batch: &mut Batch<'_>) -> &'b [u8] {
        while let Some((piece, rest)) = split(bytes).filter(|_| !self.closed) {
            match piece {
                Piece::Frame { channel, payload } => {
                    if let Some(channel) = self.canonical(channel) {
                        self.take_packet(channel, payload, batch);
                    }
                }
                Piece::Message(message) => {
                    self.session.handle_bytes(batch.now, message);
                    self.carry_out(batch.now, batch.progress);
                }
            }
            bytes = rest;
        }
        bytes
    }

    /// The canonical number of a channel on the wire: RTP of track `k` is `2k`.
    fn canonical(&self, channel: u8) -> Option<u8> {
        (0..).zip(self.session.tracks()).find_map(|(track, set_up): (u8, _)| match set_up.transport {
            TrackTransport::Tcp { rtp, .. } if rtp == channel => Some(2 * track),
            TrackTransport::Tcp { rtcp, .. } if rtcp == channel => Some(2 * track + 1),
            _ => None,
        })
    }

    /// Takes an RTP (even channel) or RTCP packet of track `channel / 2`.
    pub(super) fn take_packet(&mut self, channel: u8, packet: &[u8], batch: &mut Batch<'_>) {
        if !channel.is_multiple_of(2) {
            return self.take_rtcp(packet, batch.now);
        }
        let Some(rtp) = RtpPacket::parse(packet) else { return };
        if self.done {
            self.seen.without_seat += 1;
        }
        // A datagram before PLAY was asked for is meant for whoever had the port before.
        if self.done || self.seen.play_asked.is_none() {
            return;
        }
        batch.packets += 1;
        let track = channel / 2;
        let stamp = self.count(track, &rtp, packet, batch);
        if batch.window.contains(&stamp.unwrap_or(batch.nanos)) {
            self.seen.measured_packets += 1;
            self.seen.measured_bytes += packet.len() as u64;
            if let Some(sent) = stamp {
                batch.latency.record(batch.nanos.saturating_sub(sent));
            }
        }
        let before = self.seen.control.is_some().then(|| self.sum(Sequence::lost));
        if let Some(sequence) = self.sequences.get_mut(usize::from(track)) {
            sequence.take(rtp.sequence_number());
        }
        if let Some(before) = before {
            let lost = (before, self.sum(Sequence::lost));
            let phase = batch.progress.phase.load(Ordering::Relaxed);
            if let Some(control) = &mut self.seen.control {
                control.take(phase, (track, &rtp, packet), lost, (batch.now, batch.nanos));
            }
        }
    }

    /// Counts a packet, in the window or not; returns its stamp.
    fn count(&mut self, track: u8, rtp: &RtpPacket<'_>, packet: &[u8], batch: &Batch<'_>) -> Option<u64> {
        let (seen, now) = (&mut self.seen, batch.now);
        seen.report.packets += 1;
        seen.report.bytes += packet.len() as u64;
        seen.report.last_media = Some(now);
        if seen.report.joined_in.is_none() {
            seen.report.joined_in = seen.playing.map(|playing| now.saturating_duration_since(playing));
        }
        seen.first_packet.get_or_insert(now);
        // The order of packets and the BYE is certain on one connection only.
        seen.after_bye += u64::from(!seen.report.udp && seen.report.told.is_some());
        let is_key = |(of, scanner): &mut (u8, KeyFrameScanner)| {
            *of == track && scanner.scan(rtp.payload()).contains(PacketFlags::KEY)
        };
        if self.key.as_mut().is_some_and(is_key) {
            self.key = None;
            seen.first_key = Some(now);
        }
        let stamp = read_stamp(packet);
        seen.last_stamp = seen.last_stamp.max(stamp);
        stamp
    }

    fn take_rtcp(&mut self, packet: &[u8], now: Instant) {
        for packet in rtcp::packets(packet).flatten() {
            if let RtcpPacket::Bye(bye) = packet {
                self.seen.report.told.get_or_insert(now);
                let reason = bye.reason().map(|reason| String::from_utf8_lossy(reason).into_owned());
                self.seen.goodbye = self.seen.goodbye.take().or(reason);
            }
        }
    }

    /// Does what the session wants, and writes what it says.
    pub(super) fn carry_out(&mut self, now: Instant, progress: &WatchProgress) {
        while let Some(output) = self.session.poll_output() {
            match output {
                ClientOutput::Send(bytes) => match &mut self.held {
                    // OPTIONS and DESCRIBE go out; what follows the description waits.
                    Some(held) if !self.sequences.is_empty() => held.extend_from_slice(&bytes),
                    _ => self.unsent.extend_from_slice(&bytes),
                },
                ClientOutput::Event(event) => self.on_event(event, now, progress),
                ClientOutput::Failed(failure) => self.on_failure(&failure, now, progress),
                ClientOutput::Closed => self.closed = true,
                // The session is given no frames.
                ClientOutput::Frame { .. } => {}
            }
        }
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(_) => break,
            }
        }
    }

    fn on_event(&mut self, event: ClientEvent, now: Instant, progress: &WatchProgress) {
        match event {
            ClientEvent::Described(announced) => {
                let tracks = announced.tracks.iter().take(TRACKS_MAX);
                self.sequences = tracks.map(|_| Sequence::default()).collect();
                self.key = key_scanner(&announced);
                if self.held.is_none() {
                    self.seen.asked = Some(now);
                }
                progress.described.fetch_add(1, Ordering::Relaxed);
            }
            ClientEvent::Ready { .. } => self.seen.play_asked = Some(now),
            ClientEvent::Playing { rtp_info } => {
                self.seen.playing = Some(now);
                self.trickled = Some(now);
                progress.playing.fetch_add(1, Ordering::Relaxed);
                for info in rtp_info {
                    let sequence = self.sequences.get_mut(usize::from(info.track));
                    if let Some((sequence, seq)) = sequence.zip(info.seq) {
                        sequence.begin(SequenceNumber(seq));
                    }
                }
            }
            ClientEvent::Recording => {}
        }
    }

    fn on_failure(&mut self, failure: &Failure, now: Instant, progress: &WatchProgress) {
        self.seen.report.outcome = match failure {
            Failure::Refused { method, status, reason } => {
                progress.refused.fetch_add(1, Ordering::Relaxed);
                self.seen.refused = Some((method, now));
                Outcome::Refused { status: status.code(), reason: reason.clone() }
            }
            Failure::Disconnected { method: None } => Outcome::Ended,
            Failure::Disconnected { method: Some(method) } => {
                Outcome::Failed(format!("the connection was closed before {method} was answered"))
            }
            Failure::Late { method } => Outcome::Failed(format!("no answer to {method}")),
            Failure::PortsMissing => {
                Outcome::Failed("more tracks than UDP viewers have ports for".to_owned())
            }
            other => Outcome::Failed(format!("{other:?}")),
        };
    }

    fn sum(&self, of: fn(&Sequence) -> u64) -> u64 {
        self.sequences.iter().map(of).sum()
    }

    /// What it saw in all.
    pub(super) fn into_seen(mut self) -> Seen {
        self.seen.report.lost = self.sum(Sequence::lost);
        self.seen.reordered = self.sum(Sequence::reordered);
        self.seen.duplicates = self.sum(Sequence::duplicates);
        self.seen
    }
}

/// For the first track that has key frames, or the first track.
fn key_scanner(announced: &Announced) -> Option<(u8, KeyFrameScanner)> {
    let tracks = || (0u8..).zip(&announced.tracks);
    let (index, track) =
        tracks().find(|(_, track)| track.codec.has_key_frames()).or_else(|| tracks().next())?;
    Some((index, KeyFrameScanner::new(track.codec)))
}

/// Begins to connect; who reads nothing or little has the smallest buffer.
fn connect(server: SocketAddr, reading: Reading) -> io::Result<TcpStream> {
    if reading == Reading::All {
        return TcpStream::connect(server);
    }
    let socket = Socket::new(Domain::for_address(server), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.set_recv_buffer_size(TINY_BUFFER_BYTES)?;
    let in_progress = Some(rustix::io::Errno::INPROGRESS.raw_os_error());
    match socket.connect(&server.into()) {
        Err(error) if error.raw_os_error() != in_progress => Err(error),
        _ => Ok(TcpStream::from_std(socket.into())),
    }
}

/// A socket at the address from which the viewer talks to the server: where the server sends to.
fn bind(ip: IpAddr) -> io::Result<UdpSocket> {
    let socket = StdUdpSocket::bind((ip, 0))?;
    socket.set_nonblocking(true)?;
    // The kernel gives what it allows, and joins what it can.
    let _ = SockRef::from(&socket).set_recv_buffer_size(UDP_RECEIVE_BUFFER_BYTES);
    let _ = join_datagrams(&socket);
    Ok(UdpSocket::from_std(socket))
}
