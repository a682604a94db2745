//! RTP packets made of access units, and the SDP that announces them.
//!
//! Owns: H.264 as RFC 6184 wants it in mode 1, AAC as RFC 3640 wants it in mode AAC-hbr, one track's RTP counters.
//! Not here: when a packet is sent (`publish`), how it is framed (`rtsp`).
//! Invariant: no packet is longer than the bound; sequence numbers go up by one; all packets of a unit share its timestamp.

use std::fmt::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::{BufMut, Bytes, BytesMut};
use slotcast_core::{
    rtcp::{NtpTime, SenderInfo},
    rtp::{HEADER_BYTES, PayloadType, RtpTimestamp, SequenceNumber, Ssrc},
};

use super::clip::{Clip, Format, TimedUnit};

/// Longest RTP packet, header included: fits any path with room for tunnels.
pub const PACKET_BYTES_MAX: usize = 1_200;

/// The first dynamic payload type; track `k` has this plus `k`.
const PAYLOAD_TYPE_FIRST: u8 = 96;

/// NAL unit types of RFC 6184 §5.2 and H.264 §7.4.1.
const NAL_SEI: u8 = 6;
const NAL_SPS: u8 = 7;
const NAL_STAP_A: u8 = 24;
const NAL_FU_A: u8 = 28;
/// The bits of a NAL unit's first byte that a fragment repeats: `forbidden_zero_bit` and `nal_ref_idc`.
const NAL_PRIORITY: u8 = 0xe0;
const NAL_TYPE: u8 = 0x1f;
/// SEI payload type: text of the encoder, which nobody decodes.
const SEI_USER_DATA: u8 = 5;

/// Where a source starts counting. Random in earnest, fixed in tests (RFC 3550 §5.1).
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    /// The source.
    pub ssrc: Ssrc,
    /// Of the first packet.
    pub sequence_number: SequenceNumber,
    /// Of the tick 0.
    pub timestamp: RtpTimestamp,
}

/// Makes the packets of one track and counts them.
#[derive(Debug)]
pub struct Packetizer {
    format: Format,
    payload_type: PayloadType,
    origin: Origin,
    next: SequenceNumber,
    packet_bytes_max: usize,
    packets: u32,
    octets: u32,
}

impl Packetizer {
    /// For the track of this index.
    pub fn new(format: Format, track: usize, origin: Origin) -> Self {
        Self {
            format,
            payload_type: payload_type(track),
            origin,
            next: origin.sequence_number,
            packet_bytes_max: PACKET_BYTES_MAX,
            packets: 0,
            octets: 0,
        }
    }

    /// Appends the packets of `unit` to `out`.
    pub fn packetize(&mut self, unit: &TimedUnit, out: &mut Vec<Bytes>) {
        let timestamp = self.timestamp(unit.ticks);
        match self.format.clone() {
            Format::H264 { length_bytes, sps, pps } => {
                let nals: Vec<&[u8]> =
                    Nals { rest: &unit.data, length_bytes }.filter(|nal| is_sent(nal)).collect();
                let has_sets = nals.iter().any(|nal| nal[0] & NAL_TYPE == NAL_SPS);
                if unit.is_key && !has_sets {
                    let sets = stap_a(&[&sps, &pps]);
                    self.push(timestamp, false, &[&sets], out);
                }
                for (index, nal) in nals.iter().enumerate() {
                    self.push_nal(timestamp, index + 1 == nals.len(), nal, out);
                }
            }
            Format::Aac { .. } => self.push_aac(timestamp, &unit.data, out),
        }
    }

    /// The SSRC of its packets.
    pub const fn ssrc(&self) -> Ssrc {
        self.origin.ssrc
    }

    /// Packets made so far; wraps.
    pub const fn packets(&self) -> u32 {
        self.packets
    }

    /// The RTP timestamp of `ticks` since the start.
    pub const fn timestamp(&self, ticks: u64) -> RtpTimestamp {
        self.origin.timestamp.wrapping_add(ticks as u32)
    }

    /// What a sender report says at `ntp`, which is `ticks` after the start.
    pub const fn sender_info(&self, ntp: NtpTime, ticks: u64) -> SenderInfo {
        SenderInfo {
            ssrc: self.origin.ssrc,
            ntp,
            rtp: self.timestamp(ticks),
            packets: self.packets,
            octets: self.octets,
        }
    }

    /// A NAL unit whole, or in fragments (RFC 6184 §5.6, §5.8).
    fn push_nal(&mut self, timestamp: RtpTimestamp, is_last: bool, nal: &[u8], out: &mut Vec<Bytes>) {
        let room = self.packet_bytes_max - HEADER_BYTES;
        if nal.len() <= room {
            return self.push(timestamp, is_last, &[nal], out);
        }
        let Some((&first, body)) = nal.split_first() else { return };
        let pieces = body.chunks(room - 2);
        let count = pieces.len();
        for (index, piece) in pieces.enumerate() {
            let (starts, ends) = (index == 0, index + 1 == count);
            let header = [
                first & NAL_PRIORITY | NAL_FU_A,
                first & NAL_TYPE | u8::from(starts) << 7 | u8::from(ends) << 6,
            ];
            self.push(timestamp, is_last && ends, &[&header, piece], out);
        }
    }

    /// One frame behind one AU header: 13 bits of its size, 3 of its index. A frame that does not fit goes in pieces,
    /// each with the size of the whole (RFC 3640 §3.2.1, §3.3.6).
    fn push_aac(&mut self, timestamp: RtpTimestamp, frame: &[u8], out: &mut Vec<Bytes>) {
        // 13 bits are more than any AAC frame needs (6144 bits a channel); what is longer is no frame.
        let Some(size) = u16::try_from(frame.len()).ok().filter(|size| *size < 1 << 13) else { return };
        let [high, low] = (size << 3).to_be_bytes();
        let header = [0, 16, high, low];
        let pieces = frame.chunks(self.packet_bytes_max - HEADER_BYTES - header.len());
        let count = pieces.len();
        for (index, piece) in pieces.enumerate() {
            self.push(timestamp, index + 1 == count, &[&header, piece], out);
        }
    }

    fn push(&mut self, timestamp: RtpTimestamp, marker: bool, payload: &[&[u8]], out: &mut Vec<Bytes>) {
        let payload_bytes: usize = payload.iter().map(|part| part.len()).sum();
        let mut packet = BytesMut::with_capacity(HEADER_BYTES + payload_bytes);
        packet.put_u8(2 << 6);
        packet.put_u8(u8::from(marker) << 7 | self.payload_type.0);
        packet.put_u16(self.next.0);
        packet.put_u32(timestamp.0);
        packet.put_u32(self.origin.ssrc.0);
        payload.iter().for_each(|part| packet.put_slice(part));
        self.next = self.next.next();
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(u32::try_from(payload_bytes).unwrap_or(u32::MAX));
        out.push(packet.freeze());
    }
}

/// The payload type of the track of this index.
fn payload_type(track: usize) -> PayloadType {
    PayloadType(PAYLOAD_TYPE_FIRST + u8::try_from(track).unwrap_or(0).min(127 - PAYLOAD_TYPE_FIRST))
}

/// What the encoder says of itself is half a kilobyte in front of the first picture: left out.
fn is_sent(nal: &[u8]) -> bool {
    !matches!(nal, [first, SEI_USER_DATA, ..] if first & NAL_TYPE == NAL_SEI)
}

/// Several NAL units in one payload (RFC 6184 §5.7.1).
fn stap_a(nals: &[&[u8]]) -> Vec<u8> {
    let priority = nals.iter().filter_map(|nal| nal.first()).map(|first| first & NAL_PRIORITY).max();
    let mut out = vec![priority.unwrap_or(0) | NAL_STAP_A];
    for nal in nals {
        let Ok(length) = u16::try_from(nal.len()) else { continue };
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(nal);
    }
    out
}

/// The NAL units of an access unit, each behind its length; ends at what does not fit. None is empty.
struct Nals<'a> {
    rest: &'a [u8],
    length_bytes: usize,
}

impl<'a> Iterator for Nals<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            let (length, rest) = self.rest.split_at_checked(self.length_bytes)?;
            let length = length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
            let (nal, rest) = rest.split_at_checked(length)?;
            self.rest = rest;
            if !nal.is_empty() {
                return Some(nal);
            }
        }
    }
}

/// Kilobits per second of one track as RTP, rounded up.
fn kilobits(clip: &Clip, track: usize) -> u64 {
    let clip = std::sync::Arc::new(clip.clone());
    let Some(format) = clip.tracks().get(track).map(|track| track.format.clone()) else { return 0 };
    let origin = Origin { ssrc: Ssrc(0), sequence_number: SequenceNumber(0), timestamp: RtpTimestamp(0) };
    let mut packetizer = Packetizer::new(format, track, origin);
    let mut packets = Vec::new();
    let round = clip.play().take_while(|unit| unit.at < clip.length());
    round.filter(|unit| unit.track == track).for_each(|unit| packetizer.packetize(&unit, &mut packets));
    let bits = packets.iter().map(|packet| packet.len() as u128 * 8).sum::<u128>();
    u64::try_from((bits * 1_000).div_ceil(clip.length().as_micros().max(1))).unwrap_or(u64::MAX)
}

/// The SDP of `clip`; the control of track `k` is `trackID=k`, and `b=AS` says what it takes on average.
///
/// - `title`: for `s=`; control characters become spaces.
pub fn sdp(clip: &Clip, title: &str) -> String {
    let title: String = title.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let title = if title.trim().is_empty() { "-" } else { title.trim() };
    let mut text = format!(
        "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns={title}\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\na=control:*\r\n"
    );
    for (index, track) in clip.tracks().iter().enumerate() {
        let (pt, rate, kilobits) = (payload_type(index).0, track.clock_rate, kilobits(clip, index));
        // Writing to a String cannot fail.
        let _ = match &track.format {
            Format::H264 { sps, pps, .. } => write!(
                text,
                "m=video 0 RTP/AVP {pt}\r\nb=AS:{kilobits}\r\na=rtpmap:{pt} H264/{rate}\r\n\
                 a=fmtp:{pt} packetization-mode=1;profile-level-id={:02X}{:02X}{:02X};\
                 sprop-parameter-sets={},{}\r\n",
                sps[1],
                sps[2],
                sps[3],
                STANDARD.encode(sps),
                STANDARD.encode(pps)
            ),
            Format::Aac { config, channels } => write!(
                text,
                "m=audio 0 RTP/AVP {pt}\r\nb=AS:{kilobits}\r\na=rtpmap:{pt} mpeg4-generic/{rate}/{channels}\r\n\
                 a=fmtp:{pt} streamtype=5;profile-level-id=1;mode=AAC-hbr;sizelength=13;indexlength=3;\
                 indexdeltalength=3;config={:02X}{:02X}\r\n",
                config[0], config[1]
            ),
        };
        let _ = write!(text, "a=control:trackID={index}\r\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use slotcast_core::{media::Codec, rtp::RtpPacket};

    use super::*;

    const ORIGIN: Origin = Origin {
        ssrc: Ssrc(0x0bad_cafe),
        sequence_number: SequenceNumber(65_530),
        timestamp: RtpTimestamp(u32::MAX - 20_000),
    };

    fn clip() -> Arc<Clip> {
        Arc::new(Clip::bundled().unwrap())
    }

    /// NAL units out of payloads, as a receiver does it.
    fn reassemble(packets: &[Bytes]) -> Vec<Vec<u8>> {
        let mut nals: Vec<Vec<u8>> = Vec::new();
        for packet in packets {
            let payload = RtpPacket::parse(packet).unwrap().payload();
            match payload[0] & NAL_TYPE {
                NAL_STAP_A => nals.extend(Nals { rest: &payload[1..], length_bytes: 2 }.map(<[u8]>::to_vec)),
                NAL_FU_A => {
                    if payload[1] & 0x80 != 0 {
                        nals.push(vec![payload[0] & NAL_PRIORITY | payload[1] & NAL_TYPE]);
                    }
                    nals.last_mut().unwrap().extend_from_slice(&payload[2..]);
                }
                _ => nals.push(payload.to_vec()),
            }
        }
        nals
    }

    #[test]
    fn what_was_packetized_comes_together_again() {
        let clip = clip();
        let Format::H264 { sps, pps, length_bytes } = clip.tracks()[0].format.clone() else {
            panic!("video")
        };
        let mut packetizer = Packetizer::new(clip.tracks()[0].format.clone(), 0, ORIGIN);
        packetizer.packet_bytes_max = 300;
        let mut fragments = 0;
        for unit in clip.play().filter(|unit| unit.track == 0).take(200) {
            let mut packets = Vec::new();
            packetizer.packetize(&unit, &mut packets);
            let is_fragment = |packet: &&Bytes| packet[HEADER_BYTES] & NAL_TYPE == NAL_FU_A;
            fragments += packets.iter().filter(is_fragment).count();
            let mut expected: Vec<Vec<u8>> =
                if unit.is_key { vec![sps.to_vec(), pps.to_vec()] } else { Vec::new() };
            let nals = Nals { rest: &unit.data, length_bytes };
            expected.extend(nals.filter(|nal| is_sent(nal)).map(<[u8]>::to_vec));
            assert_eq!(reassemble(&packets), expected);
            assert!(packets.iter().all(|packet| packet.len() <= 300));
            let markers: Vec<_> = packets.iter().map(|p| RtpPacket::parse(p).unwrap().marker()).collect();
            assert!(markers.iter().rev().skip(1).all(|marker| !marker) && markers.last() == Some(&true));
            let stamps = packets.iter().map(|p| RtpPacket::parse(p).unwrap().timestamp());
            assert!(stamps.into_iter().all(|stamp| stamp == packetizer.timestamp(unit.ticks)));
        }
        assert!(fragments >= 20, "key frames go in fragments");
    }

    #[test]
    fn sequence_numbers_go_up_by_one_over_the_wrap_and_no_packet_is_too_long() {
        let clip = clip();
        let mut packetizer = Packetizer::new(clip.tracks()[0].format.clone(), 0, ORIGIN);
        let mut packets = Vec::new();
        clip.play()
            .filter(|unit| unit.track == 0)
            .take(300)
            .for_each(|u| packetizer.packetize(&u, &mut packets));
        for (index, packet) in packets.iter().enumerate() {
            let rtp = RtpPacket::parse(packet).unwrap();
            assert_eq!(rtp.sequence_number(), ORIGIN.sequence_number.wrapping_add(index as u16));
            assert!(packet.len() <= PACKET_BYTES_MAX);
        }
        let info = packetizer.sender_info(NtpTime(0), 0);
        assert_eq!(info.packets as usize, packets.len());
        assert_eq!(info.octets as usize, packets.iter().map(|p| p.len() - HEADER_BYTES).sum::<usize>());
    }

    #[track_caller]
    fn check_aac(frame_bytes: usize, packet_count: usize) {
        let format = Format::Aac { config: [0x14, 0x08], channels: 1 };
        let data: Bytes = (0..frame_bytes).map(|i| i as u8).collect::<Vec<_>>().into();
        let unit = TimedUnit { track: 1, at: Duration::ZERO, ticks: 0, is_key: true, data: data.clone() };
        let mut packets = Vec::new();
        Packetizer::new(format, 1, ORIGIN).packetize(&unit, &mut packets);
        assert_eq!(packets.len(), packet_count);
        let mut whole = Vec::new();
        for (index, packet) in packets.iter().enumerate() {
            let rtp = RtpPacket::parse(packet).unwrap();
            assert_eq!(rtp.marker(), index + 1 == packet_count);
            assert_eq!(rtp.payload_type(), PayloadType(97));
            let (header, piece) = rtp.payload().split_first_chunk::<4>().unwrap();
            assert_eq!(u16::from_be_bytes([header[0], header[1]]), 16, "bits of AU headers");
            assert_eq!(usize::from(u16::from_be_bytes([header[2], header[3]]) >> 3), frame_bytes);
            whole.extend_from_slice(piece);
        }
        assert_eq!(whole, data);
    }

    #[test]
    fn aac_frames_go_whole_or_in_pieces() {
        check_aac(1, 1);
        check_aac(1_184, 1);
        check_aac(1_185, 2);
        check_aac(3_000, 3);
    }

    #[test]
    fn broken_units_make_no_packet_and_no_panic() {
        let format = clip().tracks()[0].format.clone();
        for data in [&b""[..], b"\0\0", b"\0\0\0\x09x", b"\0\0\0\0", b"\xff\xff\xff\xff"] {
            let data = Bytes::from_static(data);
            let unit = TimedUnit { track: 0, at: Duration::ZERO, ticks: 0, is_key: false, data };
            let mut packets = Vec::new();
            Packetizer::new(format.clone(), 0, ORIGIN).packetize(&unit, &mut packets);
            assert!(packets.is_empty());
        }
    }

    #[test]
    fn the_sdp_is_read_as_it_was_meant_and_fits_the_class() {
        let announced = slotcast_rtsp::sdp::parse(sdp(&clip(), "a\r\ntitle").as_bytes()).unwrap();
        let codecs: Vec<_> =
            announced.tracks.iter().map(|track| (track.codec, track.clock_rate.get())).collect();
        assert_eq!(codecs, [(Codec::H264, 90_000), (Codec::Audio, 16_000)]);
        assert_eq!(announced.controls, ["trackID=0", "trackID=1"]);
        let kilobits = announced.bandwidth_kbps.unwrap();
        assert!((30..=56).contains(&kilobits), "{kilobits} kbit/s");
    }

    #[test]
    fn key_frames_alone_fit_the_narrowest_channel() {
        let clip = Clip::bundled().unwrap().key_frames_only();
        let kilobits = kilobits(&clip, 0) + kilobits(&clip, 1);
        assert!(kilobits <= 28, "{kilobits} kbit/s");
    }
}
