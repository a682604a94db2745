//! RTP, RTCP, codec payloads and clips.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use slotcast_core::media::Codec;
use slotcast_core::rtcp::{self, RtcpPacket};
use slotcast_core::rtp::{self, RtpPacket, RtpTimestamp, SequenceNumber, Ssrc};
use slotcast_media::{
    clip::{Clip, ClipError},
    decoders::described_sets,
    keyframe::{KeyFrameScanner, PARAMETER_SET_BYTES_MAX},
    packetize::{Origin, Packetizer, sdp},
    picture::picture_size,
    still::{PICTURE_BYTES_MAX, PictureTaker, stream_of_sets},
};

/// Access units of a clip that are played: some rounds of a short one.
const UNITS_MAX: usize = 500;

/// The payload lies within the packet; rewriting changes three fields, and takes a padding bit without padding away.
pub(crate) fn rtp(data: &[u8]) {
    let _ = rtp::looks_like_rtcp(data);
    let mut copy = data.to_vec();
    rtp::rewrite(&mut copy, Ssrc(1), SequenceNumber(2), RtpTimestamp(3));
    assert_eq!(copy.len(), data.len());
    let Some(before) = RtpPacket::parse(data) else { return };
    assert!(before.payload().len() + 12 <= data.len());
    let after = RtpPacket::parse(&copy).expect("a rewritten packet is a packet");
    assert_eq!(
        (after.ssrc(), after.sequence_number(), after.timestamp()),
        (Ssrc(1), SequenceNumber(2), RtpTimestamp(3))
    );
    assert_eq!((after.payload(), after.marker()), (before.payload(), before.marker()));
    assert_eq!(after.payload_type(), before.payload_type());
}

/// A compound is walked to an end, and everything in it can be looked at. What we write reads without an error.
pub(crate) fn rtcp(data: &[u8]) {
    for packet in rtcp::packets(data).flatten() {
        match packet {
            RtcpPacket::SenderReport(info) => {
                let mut out = rtcp::sender_report(&info);
                out.extend(rtcp::goodbye(Some(&info), info.ssrc, &String::from_utf8_lossy(data)));
                assert!(rtcp::packets(&out).all(|packet| packet.is_ok()), "what we write is well-formed");
            }
            RtcpPacket::Bye(bye) => {
                assert!(bye.sources().count() < 32);
                assert!(bye.reason().is_none_or(|reason| reason.len() < 256));
            }
            _ => {}
        }
    }
}

/// The first byte chooses the codec; then each payload has its length in front, in two bytes.
pub(crate) fn keyframe(data: &[u8]) {
    let Some((codec, mut rest)) = data.split_first() else { return };
    let codecs = [Codec::H264, Codec::H265, Codec::Vp8, Codec::Vp9, Codec::Av1, Codec::Audio, Codec::Other];
    let codec = codecs[usize::from(*codec) % codecs.len()];
    let mut scanner = KeyFrameScanner::new(codec);
    let mut revision = 0;
    while let Some((length, behind)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes(*length)).min(behind.len());
        let (payload, behind) = behind.split_at(length);
        scanner.scan(payload);
        if let Some(sets) = scanner.parameter_sets() {
            assert!(sets.sps.len() >= 4 && sets.pps.len() >= 4);
            assert!(sets.revision >= revision, "the revision goes back");
            revision = sets.revision;
            let size = picture_size(codec, &sets.sps);
            assert!(size.is_none_or(|size| size.width > 0 && size.height > 0));
        }
        rest = behind;
    }
}

/// The first byte chooses the codec; then each RTP packet has its length in front, in two bytes. A picture begins with a
/// start code and has a bound, and so have the parameter sets that the same bytes tell as a description.
pub(crate) fn still(data: &[u8]) {
    let sets = described_sets(&String::from_utf8_lossy(data));
    assert!(sets.len() <= 16 && stream_of_sets(&sets).len() <= 16 * (PARAMETER_SET_BYTES_MAX + 3));
    let Some((first, mut rest)) = data.split_first() else { return };
    let codec = if first % 2 == 0 { Codec::H264 } else { Codec::H265 };
    let mut scanner = KeyFrameScanner::new(codec);
    let mut taker = PictureTaker::new(codec).expect("both have pictures");
    while let Some((length, behind)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes(*length)).min(behind.len());
        let (packet, behind) = behind.split_at(length);
        rest = behind;
        let Some(packet) = RtpPacket::parse(packet) else { continue };
        let flags = scanner.scan(packet.payload());
        if let Some(picture) = taker.take(&packet, flags, true) {
            assert!(picture.starts_with(&[0, 0, 1]) && picture.len() <= 2 * PICTURE_BYTES_MAX);
        }
    }
}

/// An MP4 file is refused, or played: its times never go back, its packets are RTP, its SDP is one that we take ourselves.
pub(crate) fn clip(data: &[u8]) {
    let clip = match Clip::parse(Bytes::copy_from_slice(data)) {
        Ok(clip) => Arc::new(clip),
        Err(error) => {
            assert!(!matches!(error, ClipError::Io(_)), "nothing is read from a disk here");
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    let description = sdp(&clip, "clip");
    let announced = slotcast_rtsp::sdp::parse(description.as_bytes())
        .unwrap_or_else(|error| panic!("{error} in {description}"));
    assert_eq!(announced.tracks.len(), clip.tracks().len());
    let mut packetizers: Vec<_> = clip.tracks().iter().enumerate().map(packetizer).collect();
    let (mut packets, mut last) = (Vec::new(), Duration::ZERO);
    for unit in clip.play().take(UNITS_MAX) {
        assert!(unit.at >= last, "a unit at {:?} behind one at {last:?}", unit.at);
        last = unit.at;
        packetizers[unit.track].packetize(&unit, &mut packets);
        for packet in packets.drain(..) {
            let packet = RtpPacket::parse(&packet).expect("what we make is RTP");
            assert_eq!(packet.ssrc(), packetizers[unit.track].ssrc());
        }
    }
}

fn packetizer((index, track): (usize, &slotcast_media::clip::ClipTrack)) -> Packetizer {
    let origin =
        Origin { ssrc: Ssrc(7), sequence_number: SequenceNumber(65_530), timestamp: RtpTimestamp(u32::MAX) };
    Packetizer::new(track.format.clone(), index, origin)
}
