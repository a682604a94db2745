//! One picture that needs no other, taken out of RTP payloads as a byte stream that a decoder can begin with.
//!
//! Owns: [`PictureTaker`]: NAL units of single, aggregation and fragment packets (RFC 6184 mode 1, RFC 7798 without DONL), put
//! together as an Annex B stream behind the parameter sets that the description tells.
//! Refuses: other codecs than H.264 and H.265; a picture with a packet missing; one above [`PICTURE_BYTES_MAX`].
//! Not here: where key frames are (`keyframe`), decoding.
//! Invariant: a picture holds all packets of its timestamp from the first that was flagged, in the order of their numbers.

use slotcast_core::{
    media::Codec,
    packet::PacketFlags,
    rtp::{RtpPacket, RtpTimestamp, SequenceNumber},
};

use crate::keyframe::{START_CODE, aggregated};

/// A picture above this is passed over.
pub const PICTURE_BYTES_MAX: usize = 4 << 20;

/// NAL unit types that carry others (RFC 6184 §5.2, RFC 7798 §4.4).
const H264_STAP_A: u8 = 24;
const H264_FU_A: u8 = 28;
const H265_AP: u8 = 48;
const H265_FU: u8 = 49;

/// Puts together key pictures of one track. Give it every RTP packet of the track, in their order.
#[derive(Debug)]
pub struct PictureTaker {
    is_h265: bool,
    /// The number that must come next.
    next: Option<SequenceNumber>,
    timestamp: Option<RtpTimestamp>,
    unit: Unit,
}

/// What is kept of the packets that have the newest timestamp.
#[derive(Debug)]
enum Unit {
    /// None was flagged so far.
    Waits,
    Taken(Taken),
    /// It is not wanted, or lacks a packet.
    Passed,
}

#[derive(Debug, Default)]
struct Taken {
    stream: Vec<u8>,
    has_key: bool,
    is_in_fragments: bool,
}

impl PictureTaker {
    /// For a track of `codec`; `None`: no pictures are taken of this one.
    pub const fn new(codec: Codec) -> Option<Self> {
        let is_h265 = match codec {
            Codec::H264 => false,
            Codec::H265 => true,
            _ => return None,
        };
        Some(Self { is_h265, next: None, timestamp: None, unit: Unit::Passed })
    }

    /// Takes the next packet.
    ///
    /// - `flags`: what the scanner of `keyframe` found in it.
    /// - `is_wanted`: whether a picture that begins here is to be put together.
    /// - Returns the whole picture at its last packet: NAL units behind start codes, without the parameter sets that stand
    ///   in the description only.
    ///
    /// Cost: a copy of the packet while a picture is being put together, else some comparisons.
    pub fn take(&mut self, packet: &RtpPacket<'_>, flags: PacketFlags, is_wanted: bool) -> Option<Vec<u8>> {
        let is_next = self.next.is_none_or(|next| next == packet.sequence_number());
        self.next = Some(packet.sequence_number().next());
        let mut ended = None;
        if self.timestamp != Some(packet.timestamp()) {
            self.timestamp = Some(packet.timestamp());
            // Of a sender that sets no markers, the next picture's first packet ends this one.
            ended = self.finished().filter(|_| is_next);
            if is_wanted && is_next {
                self.unit = Unit::Waits;
            }
        } else if !is_next {
            self.unit = Unit::Passed;
        }
        self.keep(packet.payload(), flags);
        if ended.is_none() && packet.marker() { self.finished() } else { ended }
    }

    fn keep(&mut self, payload: &[u8], flags: PacketFlags) {
        let has_key = flags.contains(PacketFlags::KEY);
        if matches!(self.unit, Unit::Waits) && (has_key || flags.contains(PacketFlags::PARAMETER_SETS)) {
            self.unit = Unit::Taken(Taken::default());
        }
        let Unit::Taken(taken) = &mut self.unit else { return };
        taken.has_key |= has_key;
        if taken.append(self.is_h265, payload).is_none() {
            self.unit = Unit::Passed;
        }
    }

    fn finished(&mut self) -> Option<Vec<u8>> {
        match std::mem::replace(&mut self.unit, Unit::Passed) {
            Unit::Taken(taken) if taken.has_key && !taken.is_in_fragments => Some(taken.stream),
            _ => None,
        }
    }
}

impl Taken {
    /// `None`: the payload breaks off, is of no known form, or is too much.
    fn append(&mut self, is_h265: bool, payload: &[u8]) -> Option<()> {
        let stream = &mut self.stream;
        if stream.len() + payload.len() > PICTURE_BYTES_MAX {
            return None;
        }
        let unit = |stream: &mut Vec<u8>, nal: &[u8]| {
            stream.extend_from_slice(&START_CODE);
            stream.extend_from_slice(nal);
        };
        let first = *payload.first()?;
        let kind = if is_h265 { first >> 1 & 0x3f } else { first & 0x1f };
        match (is_h265, kind) {
            (false, H264_STAP_A) => aggregated(payload.get(1..)?).for_each(|nal| unit(stream, nal)),
            (true, H265_AP) => aggregated(payload.get(2..)?).for_each(|nal| unit(stream, nal)),
            (false, H264_FU_A) => {
                let [indicator, fu, rest @ ..] = payload else { return None };
                self.fragment(*fu, &[indicator & 0xe0 | fu & 0x1f], rest)?;
            }
            (true, H265_FU) => {
                let [high, low, fu, rest @ ..] = payload else { return None };
                self.fragment(*fu, &[high & 0x81 | (fu & 0x3f) << 1, *low], rest)?;
            }
            _ => unit(stream, payload),
        }
        Some(())
    }

    /// - `header`: of the NAL unit, made of the fragment's.
    fn fragment(&mut self, fu: u8, header: &[u8], rest: &[u8]) -> Option<()> {
        let (starts, ends) = (fu & 0x80 != 0, fu & 0x40 != 0);
        if starts == self.is_in_fragments {
            return None;
        }
        let stream = &mut self.stream;
        if starts {
            stream.extend_from_slice(&START_CODE);
            stream.extend_from_slice(header);
        }
        stream.extend_from_slice(rest);
        self.is_in_fragments = !ends;
        Some(())
    }
}

/// `sets`, each one NAL unit, as the beginning of an Annex B stream.
pub fn stream_of_sets(sets: &[Vec<u8>]) -> Vec<u8> {
    sets.iter().flat_map(|set| START_CODE.iter().chain(set)).copied().collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use slotcast_core::{media::Codec::H265, rtp::Ssrc};

    use super::*;
    use crate::{
        clip::{Clip, Format},
        keyframe::KeyFrameScanner,
        packetize::{Origin, Packetizer},
    };

    /// An RTP packet of payload type 96.
    fn packet(number: u16, timestamp: u32, marker: bool, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x80, 96 | u8::from(marker) << 7];
        packet.extend(number.to_be_bytes());
        packet.extend(timestamp.to_be_bytes());
        packet.extend([0, 0, 0, 7]);
        packet.extend(payload);
        packet
    }

    /// What is taken of these packets.
    fn pictures(codec: Codec, packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let (mut scanner, mut taker) = (KeyFrameScanner::new(codec), PictureTaker::new(codec).unwrap());
        let take = |bytes: &Vec<u8>| {
            let packet = RtpPacket::parse(bytes).unwrap();
            let flags = scanner.scan(packet.payload());
            taker.take(&packet, flags, true)
        };
        packets.iter().filter_map(take).collect()
    }

    /// Packets of the bundled clip's picture up to its second key frame, and that key frame's NAL units.
    fn clip_packets() -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
        let clip = Arc::new(Clip::bundled().unwrap());
        let track =
            clip.tracks().iter().position(|track| matches!(track.format, Format::H264 { .. })).unwrap();
        let origin = Origin {
            ssrc: Ssrc(7),
            sequence_number: SequenceNumber(65_530),
            timestamp: RtpTimestamp(u32::MAX - 5),
        };
        let mut packetizer = Packetizer::new(clip.tracks()[track].format.clone(), track, origin);
        let (mut packets, mut keys) = (Vec::new(), Vec::new());
        for unit in clip.play().filter(|unit| unit.track == track) {
            packetizer.packetize(&unit, &mut packets);
            if unit.is_key {
                keys.push(unit.data.to_vec());
            }
            if keys.len() == 2 {
                break;
            }
        }
        (packets.iter().map(|packet| packet.to_vec()).collect(), keys)
    }

    #[test]
    fn key_frames_of_a_clip_come_out_whole_behind_their_parameter_sets() {
        let (packets, keys) = clip_packets();
        let pictures = pictures(Codec::H264, &packets);
        assert_eq!(pictures.len(), 2);
        for (picture, key) in pictures.iter().zip(&keys) {
            // The slice is the last unit of the file's access unit, behind its length.
            let slice = &key[key.len() - 200..];
            assert!(picture.ends_with(slice));
            let starts = |kind: u8| {
                picture.windows(4).any(|bytes| bytes[..3] == START_CODE && bytes[3] & 0x1f == kind)
            };
            assert!(starts(7) && starts(8) && starts(5));
        }
    }

    #[test]
    fn a_picture_with_a_packet_missing_is_not_taken() {
        let (packets, _) = clip_packets();
        let first_picture = RtpPacket::parse(&packets[0]).unwrap().timestamp();
        let of_first = packets
            .iter()
            .take_while(|packet| RtpPacket::parse(packet).unwrap().timestamp() == first_picture)
            .count();
        assert!(of_first > 2, "the key frame needs packets to lose");
        for lost in 1..of_first {
            let mut packets = packets.clone();
            packets.remove(lost);
            assert_eq!(pictures(Codec::H264, &packets).len(), 1, "packet {lost}: only the second key frame");
        }
    }

    #[test]
    fn without_markers_the_next_picture_ends_one() {
        let idr = b"\x65\x88\x84";
        let packets =
            [packet(1, 10, false, idr), packet(2, 20, false, b"\x41\x9a"), packet(3, 30, false, b"\x41\x9a")];
        assert_eq!(pictures(Codec::H264, &packets), [b"\0\0\x01\x65\x88\x84".to_vec()]);
    }

    #[test]
    fn h265_in_all_its_packets() {
        let aggregate = b"\x60\x01\0\x04\x42\x01ab\0\x04\x44\x01cd";
        let packets = [
            packet(1, 10, false, aggregate),
            packet(2, 10, false, b"\x40\x01\x0cvps"),
            packet(3, 10, false, b"\x62\x01\x93key"),
            packet(4, 10, false, b"\x62\x01\x13 fra"),
            packet(5, 10, true, b"\x62\x01\x53me"),
            packet(6, 20, true, b"\x02\x01no key"),
        ];
        let expected = [
            &b"\0\0\x01\x42\x01ab"[..],
            b"\0\0\x01\x44\x01cd",
            b"\0\0\x01\x40\x01\x0cvps",
            b"\0\0\x01\x26\x01key fra",
            b"me",
        ]
        .concat();
        assert_eq!(pictures(H265, &packets), [expected]);
    }

    #[test]
    fn fragments_out_of_place_and_pictures_without_end_are_not_taken() {
        let end_first = [packet(1, 10, false, b"\x7c\x85\x88"), packet(2, 10, true, b"\x7c\x85\x88")];
        assert!(pictures(Codec::H264, &end_first).is_empty());
        let open = [packet(1, 10, true, b"\x7c\x85\x88")];
        assert!(pictures(Codec::H264, &open).is_empty());
        let part = [b"\x65\x88".as_slice(), &[7; 60_000]].concat();
        let endless: Vec<_> = (0..80).map(|number| packet(number, 10, number == 79, &part)).collect();
        assert!(pictures(Codec::H264, &endless).is_empty());
        assert!(PictureTaker::new(Codec::Vp8).is_none());
    }

    #[test]
    fn only_pictures_that_are_wanted_from_their_first_packet_are_taken() {
        let mut taker = PictureTaker::new(Codec::H264).unwrap();
        let mut take = |number, timestamp, marker, is_wanted| {
            let bytes = packet(number, timestamp, marker, b"\x65\x88\x84");
            taker.take(&RtpPacket::parse(&bytes).unwrap(), PacketFlags::KEY, is_wanted).is_some()
        };
        assert!(!take(1, 10, false, false) && !take(2, 10, true, true));
        assert!(!take(3, 20, false, true) && take(4, 20, true, false));
        assert!(!take(6, 30, false, true) && !take(7, 30, true, true), "what is lost may belong to it");
    }

    #[test]
    fn sets_stand_behind_start_codes() {
        assert_eq!(stream_of_sets(&[vec![0x67, 1], vec![0x68, 2]]), b"\0\0\x01\x67\x01\0\0\x01\x68\x02");
    }
}
