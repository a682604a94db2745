//! The stream that is sent for measuring: sizes and times of its frames, and packets that carry when they were sent.
//!
//! Owns: the sequence of frames, their cut into RTP packets, the stamp inside each packet.
//! Invariant: raw loops and servers are given exactly the same packets. A stamp is free of zero bytes, so that no start
//! code can come up inside a NAL unit.

use std::{num::NonZeroU32, ops::Range, sync::Arc, time::Duration};

use slotcast_core::{
    chunk::{Chunk, ChunkBuilder},
    media::{Codec, Description, MediaKind, Stream, StreamId, Track},
    packet::PacketFlags,
    words::ProgramId,
};

/// RTP header, FU-A header: where the stamp of a video packet begins (RFC 3550 §5.1, RFC 6184 §5.8).
const VIDEO_STAMP_AT: usize = 14;
/// Where the stamp of an audio packet begins.
const AUDIO_STAMP_AT: usize = 12;
const STAMP_BYTES: usize = 24;
/// No packet is shorter, so that each has room for its stamp.
const PACKET_BYTES_MIN: usize = 64;
const VIDEO_TYPE: u8 = 96;
/// The payload type of audio packets.
pub const AUDIO_TYPE: u8 = 97;
const VIDEO_CLOCK: u32 = 90_000;
const AUDIO_CLOCK: u32 = 48_000;
/// About 128 kbit/s at 47 packets a second.
const AUDIO_PACKET_BYTES: usize = 340;

/// What a synthetic stream is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Shape {
    /// Of the video, in bit/s of RTP packets.
    pub bit_rate: u64,
    /// Frames per second.
    pub frames_per_second: u32,
    /// Frames from one key frame to the next.
    pub group: u32,
    /// Bytes of an RTP packet; the last one of a frame is shorter.
    pub packet_bytes: u16,
    /// How much larger a key frame is than the others.
    pub key_factor: u32,
    /// Audio packets per second; 0: no audio.
    pub audio_per_second: u32,
}

/// 2 Mbit/s, 30 frames a second, a key frame four times as large each second, packets of 1,200 bytes, no audio.
impl Default for Shape {
    fn default() -> Self {
        Self {
            bit_rate: 2_000_000,
            frames_per_second: 30,
            group: 30,
            packet_bytes: 1200,
            key_factor: 4,
            audio_per_second: 0,
        }
    }
}

/// What is sent at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The video frame of this number, from 0.
    Video(u64),
    /// The audio packet of this number, from 0.
    Audio(u64),
}

impl Shape {
    /// Whether a video frame is a key frame.
    pub const fn is_key(&self, frame: u64) -> bool {
        frame.is_multiple_of(self.group as u64)
    }

    /// The lengths of the RTP packets of a video frame, in their order.
    pub fn packets(&self, frame: u64) -> impl Iterator<Item = usize> + use<> {
        let (group, packet) = (u64::from(self.group), usize::from(self.packet_bytes));
        let shares = group - 1 + u64::from(self.key_factor);
        let share = self.bit_rate * group / (8 * u64::from(self.frames_per_second) * shares);
        let bytes = if self.is_key(frame) { share * u64::from(self.key_factor) } else { share };
        let mut left = (bytes as usize).max(PACKET_BYTES_MIN);
        std::iter::from_fn(move || {
            let length = left.min(packet).max(PACKET_BYTES_MIN);
            (left > 0).then(|| {
                left = left.saturating_sub(length);
                length
            })
        })
    }

    /// Packets per second, on the average of a whole group of pictures, audio included.
    pub fn packets_per_second(&self) -> f64 {
        let group: usize = (0..u64::from(self.group)).map(|frame| self.packets(frame).count()).sum();
        let video = group as f64 * f64::from(self.frames_per_second) / f64::from(self.group);
        video + f64::from(self.audio_per_second)
    }

    /// What is sent when, without end: the times count from the first frame.
    pub fn schedule(self) -> impl Iterator<Item = (Duration, Part)> {
        let (mut video, mut audio) = (0, 0);
        std::iter::from_fn(move || {
            let at = |number: u64, rate: u32| {
                (rate > 0).then(|| Duration::from_nanos(number * 1_000_000_000 / u64::from(rate)))
            };
            let video_at = at(video, self.frames_per_second)?;
            match at(audio, self.audio_per_second) {
                Some(audio_at) if audio_at < video_at => {
                    audio += 1;
                    Some((audio_at, Part::Audio(audio - 1)))
                }
                _ => {
                    video += 1;
                    Some((video_at, Part::Video(video - 1)))
                }
            }
        })
    }

    /// The SDP of such a stream, as a broadcaster announces it.
    pub fn sdp(&self) -> String {
        let mut sdp = String::from(
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=load\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\na=control:*\r\n\
             m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n\
             a=fmtp:96 packetization-mode=1;profile-level-id=42C01F;sprop-parameter-sets=Z0LAH9oBQBbsgA==,aM48gA==\r\n\
             a=control:trackID=0\r\n",
        );
        if self.audio_per_second > 0 {
            sdp.push_str("m=audio 0 RTP/AVP 97\r\na=rtpmap:97 opus/48000/2\r\na=control:trackID=1\r\n");
        }
        sdp
    }
}

/// Makes the chunks of one stream of a [`Shape`].
pub struct Synthesizer {
    shape: Shape,
    stream: Arc<Stream>,
    builder: ChunkBuilder,
    sequence_numbers: [u16; 2],
    index: u64,
    packet: Vec<u8>,
}

impl Synthesizer {
    /// The stream of channel `channel`, from 0.
    pub fn new(shape: Shape, channel: usize) -> Self {
        let track = |kind, codec, payload_type, clock_rate| Track {
            kind,
            codec,
            payload_types: vec![payload_type],
            clock_rate,
        };
        let rate = |rate| NonZeroU32::new(rate).unwrap_or(NonZeroU32::MIN);
        let mut tracks = vec![track(MediaKind::Video, Codec::H264, VIDEO_TYPE, rate(VIDEO_CLOCK))];
        if shape.audio_per_second > 0 {
            tracks.push(track(MediaKind::Audio, Codec::Audio, AUDIO_TYPE, rate(AUDIO_CLOCK)));
        }
        let stream = Stream {
            id: StreamId(1),
            program: ProgramId(channel as u64),
            tracks,
            description: Description { title: String::new(), media: Vec::new() },
        };
        Self {
            shape,
            stream: Arc::new(stream),
            builder: ChunkBuilder::default(),
            sequence_numbers: [0; 2],
            index: 0,
            packet: vec![0x55; usize::from(shape.packet_bytes).max(AUDIO_PACKET_BYTES)],
        }
    }

    /// The chunk of `part`; its bytes are also what a broadcaster sends over TCP.
    ///
    /// - `sent`: its stamp, by [`monotonic_nanos`](slotcast_net::clock::monotonic_nanos).
    pub fn make(&mut self, part: Part, sent: u64) -> Option<Arc<Chunk>> {
        match part {
            Part::Video(frame) => {
                let mut lengths = self.shape.packets(frame).peekable();
                let mut first = true;
                while let Some(length) = lengths.next() {
                    let last = lengths.peek().is_none();
                    self.write_video(frame, length, first, last, sent);
                    first = false;
                }
            }
            Part::Audio(number) => self.write_audio(number, sent),
        }
        self.index += 1;
        self.builder.flush(&self.stream, self.index - 1)
    }

    fn write_video(&mut self, frame: u64, length: usize, first: bool, last: bool, sent: u64) {
        let key = self.shape.is_key(frame);
        let timestamp = frame * u64::from(VIDEO_CLOCK) / u64::from(self.shape.frames_per_second);
        let counter = self.write_header(0, VIDEO_TYPE | u8::from(last) << 7, timestamp as u32);
        // FU-A (28) of an IDR slice (5) or another (1).
        self.packet[12] = if key { 0x7C } else { 0x5C };
        self.packet[13] = u8::from(first) << 7 | u8::from(last) << 6 | if key { 5 } else { 1 };
        write_stamp(&mut self.packet[VIDEO_STAMP_AT..], sent, counter);
        let flags = if key { PacketFlags::KEY } else { PacketFlags::EMPTY };
        self.push(0, flags, length);
    }

    fn write_audio(&mut self, number: u64, sent: u64) {
        let timestamp = number * u64::from(AUDIO_CLOCK) / u64::from(self.shape.audio_per_second.max(1));
        let counter = self.write_header(1, AUDIO_TYPE, timestamp as u32);
        write_stamp(&mut self.packet[AUDIO_STAMP_AT..], sent, counter);
        self.push(1, PacketFlags::KEY, AUDIO_PACKET_BYTES);
    }

    /// Writes the fixed RTP header (RFC 3550 §5.1); returns the packet's sequence number.
    fn write_header(&mut self, track: u8, marker_and_type: u8, timestamp: u32) -> u16 {
        let next = &mut self.sequence_numbers[usize::from(track)];
        let sequence_number = *next;
        *next = next.wrapping_add(1);
        self.packet[0] = 0x80;
        self.packet[1] = marker_and_type;
        self.packet[2..4].copy_from_slice(&sequence_number.to_be_bytes());
        self.packet[4..8].copy_from_slice(&timestamp.to_be_bytes());
        self.packet[8..12].copy_from_slice(&(0x10AD_0000 + u32::from(track)).to_be_bytes());
        sequence_number
    }

    fn push(&mut self, track: u8, flags: PacketFlags, length: usize) {
        // Always taken: lengths and tracks are ours.
        let _taken = self.builder.push(std::time::Instant::now(), track, flags, &self.packet[..length]);
    }
}

/// Overwrites a packet's stamp: when it was sent, and a number of the sender's choice.
pub fn stamp_video(packet: &mut [u8], sent: u64, number: u16) {
    if let Some(stamp) = packet.get_mut(VIDEO_STAMP_AT..) {
        write_stamp(stamp, sent, number);
    }
}

/// Half a byte per byte, high half set: 16 of the time, 8 of the counter.
fn write_stamp(bytes: &mut [u8], sent: u64, counter: u16) {
    let halves =
        |value: u64, count: u32| (0..count).rev().map(move |place| (value >> (4 * place)) as u8 & 15);
    for (byte, half) in bytes.iter_mut().zip(halves(sent, 16).chain(halves(u64::from(counter), 8))) {
        *byte = 0x60 | half;
    }
}

/// When an RTP packet was sent, by [`monotonic_nanos`](slotcast_net::clock::monotonic_nanos); `None` for one that carries no stamp.
pub fn read_stamp(packet: &[u8]) -> Option<u64> {
    let at = match packet.get(1)? & 0x7F {
        VIDEO_TYPE => VIDEO_STAMP_AT,
        AUDIO_TYPE => AUDIO_STAMP_AT,
        _ => return None,
    };
    let time: Range<usize> = at..at + STAMP_BYTES - 8;
    packet
        .get(time)?
        .iter()
        .try_fold(0, |sum, &byte| (byte >> 4 == 6).then(|| sum << 4 | u64::from(byte & 15)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standard_shape_is_what_the_figures_name() {
        let shape = Shape::default();
        let lengths = |frame| shape.packets(frame).collect::<Vec<_>>();
        assert_eq!(lengths(1), [1200, 1200, 1200, 1200, 1200, 1200, 375]);
        assert_eq!((lengths(0).len(), lengths(30).len(), lengths(29).len()), (26, 26, 7));
        let bytes: usize = (0..30).flat_map(lengths).sum();
        assert!((249_000..=250_000).contains(&bytes), "{bytes} bytes a second");
        assert!((shape.packets_per_second() - 229.0).abs() < 1e-9);
    }

    #[test]
    fn a_low_rate_still_leaves_room_for_the_stamp() {
        let shape = Shape { bit_rate: 1000, ..Shape::default() };
        assert_eq!(shape.packets(1).collect::<Vec<_>>(), [PACKET_BYTES_MIN]);
        let shape = Shape { bit_rate: 1_000_000, packet_bytes: 700, group: 1, ..Shape::default() };
        assert!(shape.packets(0).all(|length| (PACKET_BYTES_MIN..=700).contains(&length)));
    }

    #[test]
    fn video_and_audio_come_in_the_order_of_their_times() {
        let shape = Shape { audio_per_second: 47, ..Shape::default() };
        let second: Vec<_> = shape.schedule().take_while(|(at, _)| *at < Duration::from_secs(1)).collect();
        assert_eq!(second.len(), 30 + 47);
        assert!(second.is_sorted_by_key(|(at, _)| *at));
        assert_eq!(second[..2], [(Duration::ZERO, Part::Video(0)), (Duration::ZERO, Part::Audio(0))]);
    }

    #[test]
    fn a_chunk_is_one_frame_of_stamped_packets() {
        let shape = Shape { audio_per_second: 47, ..Shape::default() };
        let mut synthesizer = Synthesizer::new(shape, 3);
        for (frame, count) in [(0, 26), (1, 7)] {
            let chunk = synthesizer.make(Part::Video(frame), 4711 + frame).unwrap();
            assert_eq!((chunk.index(), chunk.packets().len()), (frame, count));
            assert_eq!(chunk.runs().all().len(), 1, "one send per viewer");
            let marked: Vec<_> = chunk.packets().iter().map(|p| chunk.packet(p)[1] >> 7).collect();
            assert_eq!(marked.iter().sum::<u8>(), 1);
            assert_eq!(marked.last(), Some(&1));
            for packet in chunk.packets() {
                assert_eq!(read_stamp(chunk.packet(packet)), Some(4711 + frame));
            }
        }
        let audio = synthesizer.make(Part::Audio(0), 1).unwrap();
        assert_eq!(audio.bytes()[1], 2, "the second track's RTP channel");
        assert!(read_stamp(audio.packet(&audio.packets()[0])).is_some());
    }

    #[test]
    fn foreign_packets_have_no_stamp() {
        assert_eq!(read_stamp(&[]), None);
        assert_eq!(read_stamp(&[0x80, 96, 0, 0]), None);
        assert_eq!(read_stamp(&[0x55; 100]), None);
        let mut packet = [0x55; 64];
        packet[1] = VIDEO_TYPE;
        assert_eq!(read_stamp(&packet), None);
        stamp_video(&mut packet, 12_345, 7);
        assert_eq!(read_stamp(&packet), Some(12_345));
        assert!(packet.iter().all(|&byte| byte != 0));
    }
}
