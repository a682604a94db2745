//! The unit of publishing: what one flush of the ingest side hands to every worker.
//!
//! Owns: the framed bytes of the packets, and when a chunk is flushed.
//! Not here: the entry of one packet (`packet`), what the packets mean (`slotcast-media`), how they are grouped for sending (`runs`), who keeps them (`log`).
//! Invariant: every packet stands behind its 4-byte `$` header on its canonical channel (track k: RTP 2k, RTCP 2k+1),
//! and the packets follow each other without gaps, so a TCP viewer of all tracks is served by one write.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{BufMut, Bytes, BytesMut};

use crate::{
    media::{Stream, TRACKS_MAX},
    packet::{FRAME_HEADER_BYTES, PacketEntry, PacketFlags},
    rtp::{RtpTimestamp, SequenceNumber},
    runs::{self, Runs},
};

/// Largest packet that still fits a UDP datagram over IPv4.
pub const PACKET_BYTES_MAX: usize = 65_507;
/// A chunk is flushed at this many packets: they fit one run of segments.
pub const CHUNK_PACKETS_MAX: usize = 44;
/// A chunk takes no packet that would bring it above this, unless it is the first.
pub const CHUNK_BYTES_MAX: usize = 60_000;
/// How long the first packet of a chunk may wait for the marker of its frame.
pub const CHUNK_DELAY_MAX: Duration = Duration::from_millis(2);
/// Chunks are cut from blocks of this size.
const BLOCK_BYTES: usize = 64 * 1024;

/// Framed packets of one stream, published together and shared by all workers.
#[derive(Debug)]
pub struct Chunk {
    stream: Arc<Stream>,
    index: u64,
    arrival: Instant,
    bytes: Bytes,
    packets: Box<[PacketEntry]>,
    runs: Runs,
}

impl Chunk {
    /// The stream that the packets belong to.
    pub const fn stream(&self) -> &Arc<Stream> {
        &self.stream
    }

    /// Counts the chunks of a program from 0 without gaps, over returns of its broadcaster.
    pub const fn index(&self) -> u64 {
        self.index
    }

    /// When the first packet came from the socket.
    pub const fn arrival(&self) -> Instant {
        self.arrival
    }

    /// All packets with their `$` headers: what a TCP viewer of all tracks on canonical channels is sent.
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The packets in their order.
    pub const fn packets(&self) -> &[PacketEntry] {
        &self.packets
    }

    /// The packets grouped for segmented sends.
    pub const fn runs(&self) -> &Runs {
        &self.runs
    }

    /// The packet's own bytes, without the `$` header.
    pub fn packet(&self, entry: &PacketEntry) -> &[u8] {
        &self.bytes[entry.offset as usize..entry.end()]
    }

    /// The sequence number of an RTP packet (RFC 3550 §5.1); `None` for RTCP.
    pub fn sequence_number(&self, entry: &PacketEntry) -> Option<SequenceNumber> {
        let field = self.packet(entry).get(2..4)?.try_into().ok()?;
        entry.is_rtp().then(|| SequenceNumber(u16::from_be_bytes(field)))
    }

    /// The timestamp of an RTP packet (RFC 3550 §5.1); `None` for RTCP.
    pub fn timestamp(&self, entry: &PacketEntry) -> Option<RtpTimestamp> {
        let field = self.packet(entry).get(4..8)?.try_into().ok()?;
        entry.is_rtp().then(|| RtpTimestamp(u32::from_be_bytes(field)))
    }
}

/// Gathers packets until they are flushed as a chunk: at the marker of a frame, 2 ms after the first packet, or when full.
/// Packets that came beside the picture may wait longer, for its next packet.
///
/// The one copy on a packet's way: from the socket's buffer into the chunk. Nothing behind it copies again.
#[derive(Debug, Default)]
pub struct ChunkBuilder {
    bytes: BytesMut,
    packets: Vec<PacketEntry>,
    first_arrival: Option<Instant>,
    deadline: Option<Instant>,
    /// Whether a packet is there that waits for nothing but the marker of its frame.
    is_urgent: bool,
}

impl ChunkBuilder {
    /// Whether a packet of `length` bytes still fits; if not, flush first.
    pub fn fits(&self, length: usize) -> bool {
        self.packets.is_empty()
            || (self.packets.len() < CHUNK_PACKETS_MAX
                && self.bytes.len() + FRAME_HEADER_BYTES + length <= CHUNK_BYTES_MAX)
    }

    /// Appends an RTP packet of `track` that came at `now`.
    ///
    /// Returns the copy, so that SSRC, sequence number and timestamp may be rewritten in place; `None`, and nothing
    /// is taken, when the packet is empty, above [`PACKET_BYTES_MAX`], or the track above [`TRACKS_MAX`].
    pub fn push(&mut self, now: Instant, track: u8, flags: PacketFlags, packet: &[u8]) -> Option<&mut [u8]> {
        let copy = self.append(now, track, flags, packet)?;
        if !self.is_urgent {
            self.is_urgent = true;
            self.deadline = Some(now + CHUNK_DELAY_MAX);
        }
        self.bytes.get_mut(copy..)
    }

    /// Appends a packet that is in no hurry: sound beside a picture, and with [`PacketFlags::RTCP`] a report for the viewers.
    /// Alone it is flushed after `wait`, but not before [`CHUNK_DELAY_MAX`]; with a packet of [`push`](Self::push) as that is.
    /// Returns as [`push`](Self::push) does.
    pub fn push_beside(
        &mut self,
        now: Instant,
        wait: Duration,
        track: u8,
        flags: PacketFlags,
        packet: &[u8],
    ) -> Option<&mut [u8]> {
        let copy = self.append(now, track, flags, packet)?;
        self.deadline.get_or_insert_with(|| now + wait.max(CHUNK_DELAY_MAX));
        self.bytes.get_mut(copy..)
    }

    /// Where the copy begins.
    fn append(&mut self, now: Instant, track: u8, flags: PacketFlags, packet: &[u8]) -> Option<usize> {
        let length = u16::try_from(packet.len()).ok()?;
        if packet.is_empty() || packet.len() > PACKET_BYTES_MAX || usize::from(track) >= TRACKS_MAX {
            return None;
        }
        let framed = FRAME_HEADER_BYTES + packet.len();
        if self.bytes.capacity() - self.bytes.len() < framed {
            self.bytes.reserve(framed.max(BLOCK_BYTES));
        }
        self.bytes.put_u8(b'$');
        self.bytes.put_u8(2 * track + u8::from(flags.contains(PacketFlags::RTCP)));
        self.bytes.put_u16(length);
        let offset = self.bytes.len();
        self.bytes.put_slice(packet);
        self.packets.push(PacketEntry { offset: u32::try_from(offset).ok()?, length, track, flags });
        self.first_arrival.get_or_insert(now);
        Some(offset)
    }

    /// When what is there must be flushed; `None` when nothing is there.
    pub const fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Takes what is there as the chunk number `index`; `None` when nothing is there.
    pub fn flush(&mut self, stream: &Arc<Stream>, index: u64) -> Option<Arc<Chunk>> {
        let arrival = self.first_arrival.take()?;
        (self.deadline, self.is_urgent) = (None, false);
        let packets = std::mem::take(&mut self.packets).into_boxed_slice();
        let runs = runs::group(&packets);
        Some(Arc::new(Chunk {
            stream: Arc::clone(stream),
            index,
            arrival,
            bytes: self.bytes.split().freeze(),
            packets,
            runs,
        }))
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests take any instant to count from")]
pub(crate) mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::{
        media::{Codec, Description, MediaKind, StreamId, Track},
        words::ProgramId,
    };

    /// A stream of one H.264 track and one audio track.
    pub(crate) fn stream(id: u64) -> Arc<Stream> {
        let track = |kind, codec, pt, rate| Track {
            kind,
            codec,
            payload_types: vec![pt],
            clock_rate: NonZeroU32::new(rate).unwrap(),
        };
        Arc::new(Stream {
            id: StreamId(id),
            program: ProgramId(1),
            tracks: vec![
                track(MediaKind::Video, Codec::H264, 96, 90_000),
                track(MediaKind::Audio, Codec::Audio, 97, 16_000),
            ],
            description: Description { title: String::new(), media: vec![String::new(), String::new()] },
        })
    }

    /// An RTP packet with `payload_bytes` zeros behind its header.
    pub(crate) fn rtp(sequence_number: u16, timestamp: u32, payload_bytes: usize) -> Vec<u8> {
        let mut packet = vec![0x80, 96];
        packet.extend(sequence_number.to_be_bytes());
        packet.extend(timestamp.to_be_bytes());
        packet.extend([0, 0, 0, 7]);
        packet.resize(12 + payload_bytes, 0);
        packet
    }

    #[test]
    fn packets_stand_framed_and_without_gaps() {
        let now = Instant::now();
        let mut builder = ChunkBuilder::default();
        builder.push(now, 0, PacketFlags::KEY, &rtp(1, 10, 3)).unwrap()[12] = 9;
        builder.push_beside(now, Duration::ZERO, 1, PacketFlags::RTCP, &[0x80, 200, 0, 0]).unwrap();
        assert_eq!(builder.deadline(), Some(now + CHUNK_DELAY_MAX));
        let chunk = builder.flush(&stream(1), 5).unwrap();
        assert_eq!((chunk.index(), chunk.packets().len()), (5, 2));
        assert_eq!(&chunk.bytes()[..4], &[b'$', 0, 0, 15]);
        assert_eq!(&chunk.bytes()[19..23], &[b'$', 3, 0, 4]);
        let [rtp, rtcp] = chunk.packets() else { panic!() };
        assert_eq!(chunk.packet(rtp)[12], 9);
        assert_eq!(chunk.sequence_number(rtp), Some(SequenceNumber(1)));
        assert_eq!(chunk.timestamp(rtp), Some(RtpTimestamp(10)));
        assert_eq!(chunk.sequence_number(rtcp), None);
        assert!(builder.flush(&stream(1), 6).is_none());
    }

    #[test]
    fn what_came_beside_the_picture_waits_for_it_and_never_makes_it_wait() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let wait = Duration::from_millis(20);
        let mut builder = ChunkBuilder::default();
        let beside = |builder: &mut ChunkBuilder, ms| {
            builder.push_beside(at(ms), wait, 1, PacketFlags::KEY, &rtp(1, 10, 3)).unwrap();
        };
        beside(&mut builder, 0);
        beside(&mut builder, 10);
        assert_eq!(builder.deadline(), Some(at(20)), "the first one waits longest");
        builder.push(at(12), 0, PacketFlags::KEY, &rtp(1, 10, 3)).unwrap();
        beside(&mut builder, 13);
        assert_eq!(builder.deadline(), Some(at(14)));
        assert_eq!(builder.flush(&stream(1), 0).unwrap().packets().len(), 4);
        assert_eq!(builder.deadline(), None);
        builder.push_beside(at(30), Duration::ZERO, 1, PacketFlags::KEY, &rtp(1, 10, 3)).unwrap();
        assert_eq!(builder.deadline(), Some(at(32)));
    }

    #[test]
    fn a_full_builder_asks_for_a_flush() {
        let now = Instant::now();
        let mut builder = ChunkBuilder::default();
        for _ in 0..CHUNK_PACKETS_MAX {
            assert!(builder.fits(1200));
            builder.push(now, 0, PacketFlags::EMPTY, &rtp(0, 0, 1188)).unwrap();
        }
        assert!(!builder.fits(1200));
        builder.flush(&stream(1), 0).unwrap();
        assert!(builder.fits(PACKET_BYTES_MAX), "the first packet always fits");
    }

    #[test]
    fn what_no_datagram_can_carry_is_not_taken() {
        let mut builder = ChunkBuilder::default();
        let now = Instant::now();
        assert!(builder.push(now, 0, PacketFlags::EMPTY, &vec![0; PACKET_BYTES_MAX + 1]).is_none());
        assert!(builder.push(now, 0, PacketFlags::EMPTY, &[]).is_none());
        assert!(builder.push(now, 4, PacketFlags::EMPTY, &rtp(0, 0, 0)).is_none());
        assert!(builder.flush(&stream(1), 0).is_none());
    }
}
