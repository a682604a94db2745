//! One viewer: its session, its sockets, what it has seen.
//!
//! Not here: when it is asked to do something (`crowd`).

use std::{io::Write, ops::Range, sync::atomic::Ordering, time::Instant};

use mio::net::{TcpStream, UdpSocket};
use slotcast_core::{
    chunk::PacketFlags,
    keyframe::KeyFrameScanner,
    media::{MediaKind, TRACKS_MAX},
    rtcp::{self, RtcpPacket},
    rtp::{RtpPacket, SequenceNumber},
};
use slotcast_rtsp::{
    client::{ClientEvent, ClientOutput, ClientSession, Failure},
    server::TrackTransport,
};

use super::{
    Outcome, Seen, ViewerReport, WatchProgress,
    frames::{Piece, split},
    sequence::Sequence,
};
use crate::{histogram::Histogram, shape::read_stamp};

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
    pub(super) session: ClientSession,
    /// RTP and RTCP of each track.
    pub(super) sockets: Vec<UdpSocket>,
    pub(super) leaving: Option<Instant>,
    pub(super) done: bool,
    pub(super) played: Option<Instant>,
    pub(super) seen: Seen,
    /// The session has nothing more to do.
    pub(super) closed: bool,
    unsent: Vec<u8>,
    /// The beginning of a frame or message.
    begun: Vec<u8>,
    sequences: Vec<Sequence>,
    /// When PLAY was sent.
    asked: Option<Instant>,
    /// Finds the first key frame of the video track of this index; `None` once it came.
    key: Option<(u8, KeyFrameScanner)>,
}

impl Viewer {
    pub(super) fn new(
        stream: TcpStream,
        session: ClientSession,
        sockets: Vec<UdpSocket>,
        target: usize,
    ) -> Self {
        let report = ViewerReport::new(!sockets.is_empty(), Outcome::Left);
        Self {
            stream,
            session,
            sockets,
            leaving: None,
            done: false,
            played: None,
            seen: Seen::new(target, report),
            closed: false,
            unsent: Vec::new(),
            begun: Vec::new(),
            sequences: Vec::new(),
            asked: None,
            key: None,
        }
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
        let Ok(rtp) = RtpPacket::parse(packet) else { return };
        let (seen, length) = (&mut self.seen, packet.len() as u64);
        let report = &mut seen.report;
        batch.packets += 1;
        report.packets += 1;
        report.bytes += length;
        report.last_media = Some(batch.now);
        if report.joined_in.is_none() {
            report.joined_in = self.played.map(|played| batch.now.saturating_duration_since(played));
        }
        let since_asked = self.asked.map(|asked| batch.now.saturating_duration_since(asked));
        if seen.first_packet_in.is_none() {
            seen.first_packet_in = since_asked;
        }
        let track = channel / 2;
        let is_key = |(of, scanner): &mut (u8, KeyFrameScanner)| {
            *of == track && scanner.scan(rtp.payload()).contains(PacketFlags::KEY)
        };
        if self.key.as_mut().is_some_and(is_key) {
            self.key = None;
            seen.first_key_in = since_asked;
        }
        let stamp = read_stamp(packet);
        if batch.window.contains(&stamp.unwrap_or(batch.nanos)) {
            seen.measured_packets += 1;
            seen.measured_bytes += length;
            if let Some(sent) = stamp {
                batch.latency.record(batch.nanos.saturating_sub(sent));
            }
        }
        if let Some(sequence) = self.sequences.get_mut(usize::from(track)) {
            sequence.take(rtp.sequence_number());
        }
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
                ClientOutput::Send(bytes) => self.unsent.extend_from_slice(&bytes),
                ClientOutput::Event(event) => self.on_event(event, now, progress),
                ClientOutput::Failed(failure) => self.on_failure(&failure, progress),
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
                let tracks = (0..).zip(&announced.tracks).take(TRACKS_MAX);
                self.sequences = tracks.clone().map(|_| Sequence::default()).collect();
                let video = tracks.clone().find(|(_, track)| track.kind == MediaKind::Video);
                self.key = video.map(|(index, track)| (index, KeyFrameScanner::new(track.codec)));
            }
            ClientEvent::Ready { .. } => self.asked = Some(now),
            ClientEvent::Playing { rtp_info } => {
                self.played = Some(now);
                self.seen.played = true;
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

    fn on_failure(&mut self, failure: &Failure, progress: &WatchProgress) {
        self.seen.report.outcome = match failure {
            Failure::Refused { status, reason, .. } => {
                progress.refused.fetch_add(1, Ordering::Relaxed);
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

    /// What it saw in all.
    pub(super) fn into_seen(mut self) -> Seen {
        let sum = |of: fn(&Sequence) -> u64| self.sequences.iter().map(of).sum();
        self.seen.report.lost = sum(Sequence::lost);
        self.seen.reordered = sum(Sequence::reordered);
        self.seen.duplicates = sum(Sequence::duplicates);
        self.seen
    }
}
