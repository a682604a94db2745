//! RTP packets as bytes: a view of one, and the three fields that a splice rewrites (RFC 3550 §5.1).
//!
//! Owns: the fixed header, its number types, and telling RTP from RTCP on one port.
//! Refuses: what is not version 2, or whose CSRCs, extension or padding do not fit the packet.
//! Not here: what the payload means (`slotcast-media`), RTCP (`rtcp`).
//! Invariant: a parsed packet's accessors never fail, and `payload` lies inside the packet.

use std::{num::NonZeroU32, time::Duration};

/// Bytes of the fixed header, before CSRCs and extension.
pub const HEADER_BYTES: usize = 12;

/// In byte 0.
const PADDING_BIT: u8 = 0x20;

/// RTP sequence number as on the wire: wraps at 2^16.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SequenceNumber(pub u16);

impl SequenceNumber {
    /// The number of the packet after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        self.wrapping_add(1)
    }

    /// The number `packets` further on.
    #[must_use]
    pub const fn wrapping_add(self, packets: u16) -> Self {
        Self(self.0.wrapping_add(packets))
    }

    /// Signed packets from `earlier` to `self`; a jump of 2^15 or more reads as backwards.
    pub const fn packets_since(self, earlier: Self) -> i16 {
        self.0.wrapping_sub(earlier.0).cast_signed()
    }
}

/// RTP timestamp as on the wire: ticks of the track's clock, wraps at 2^32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RtpTimestamp(pub u32);

impl RtpTimestamp {
    /// Signed ticks from `earlier` to `self`; a jump of 2^31 or more reads as backwards.
    pub const fn ticks_since(self, earlier: Self) -> i32 {
        self.0.wrapping_sub(earlier.0).cast_signed()
    }

    /// The timestamp `ticks` later.
    #[must_use]
    pub const fn wrapping_add(self, ticks: u32) -> Self {
        Self(self.0.wrapping_add(ticks))
    }
}

/// Synchronisation source: names one source of one RTP session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ssrc(pub u32);

/// RTP payload type, 0 to 127.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PayloadType(pub u8);

/// View of one RTP packet; copies nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtpPacket<'a> {
    header: &'a [u8; HEADER_BYTES],
    payload: &'a [u8],
}

impl<'a> RtpPacket<'a> {
    /// Checks `bytes`, one whole datagram or `$` frame, and finds the payload behind CSRCs and extension and
    /// before padding.
    ///
    /// `None`: not RTP. Count it and drop the packet; a link or a viewer is not ended for it.
    /// Cost: a few comparisons, whatever the packet's size. RFC 3550 §5.1, §5.3.1.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (header, _) = bytes.split_first_chunk::<HEADER_BYTES>()?;
        if header[0] >> 6 != 2 {
            return None;
        }
        let mut start = HEADER_BYTES + 4 * usize::from(header[0] & 0x0f);
        if header[0] & 0x10 != 0 {
            let [_, _, words @ ..] = bytes.get(start..)?.first_chunk::<4>()?;
            start += 4 + 4 * usize::from(u16::from_be_bytes(*words));
        }
        let mut payload = bytes.get(start..)?;
        if header[0] & PADDING_BIT != 0 {
            let count = payload.last().copied().unwrap_or(0);
            // A count of 0 is forbidden, and many devices send it: there is no padding then.
            payload = payload.get(..payload.len().checked_sub(count.into())?)?;
        }
        Some(Self { header, payload })
    }

    /// Last packet of a video frame, or first of an audio talkspurt.
    pub const fn marker(&self) -> bool {
        self.header[1] & 0x80 != 0
    }

    /// What the SDP's `rtpmap` names.
    pub const fn payload_type(&self) -> PayloadType {
        PayloadType(self.header[1] & 0x7f)
    }

    /// Goes up by one with each packet sent.
    pub const fn sequence_number(&self) -> SequenceNumber {
        SequenceNumber(u16::from_be_bytes([self.header[2], self.header[3]]))
    }

    /// The same for all packets of an access unit.
    pub const fn timestamp(&self) -> RtpTimestamp {
        let h = self.header;
        RtpTimestamp(u32::from_be_bytes([h[4], h[5], h[6], h[7]]))
    }

    /// Who sent it.
    pub const fn ssrc(&self) -> Ssrc {
        let h = self.header;
        Ssrc(u32::from_be_bytes([h[8], h[9], h[10], h[11]]))
    }

    /// The media, without padding; may be empty.
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

/// Whole ticks of a track's clock in `elapsed`; more than 2^32 once they wrap.
///
/// - `clock_rate`: ticks per second (Hz), from the SDP `rtpmap`.
pub fn ticks_in(elapsed: Duration, clock_rate: NonZeroU32) -> u64 {
    let ticks = elapsed.as_nanos() * u128::from(clock_rate.get()) / 1_000_000_000;
    u64::try_from(ticks).unwrap_or(u64::MAX)
}

/// Overwrites source, sequence number and timestamp of the RTP packet in `packet`; all else stays, but for the padding
/// bit of a packet whose padding count is 0: strict readers refuse that.
///
/// Bytes too few for a fixed header are left alone. Cost: three stores, and a look at the first and the last byte.
pub fn rewrite(packet: &mut [u8], ssrc: Ssrc, sequence_number: SequenceNumber, timestamp: RtpTimestamp) {
    let has_no_padding = packet.len() > HEADER_BYTES && packet.last() == Some(&0);
    let Some(header) = packet.first_chunk_mut::<HEADER_BYTES>() else { return };
    if has_no_padding {
        header[0] &= !PADDING_BIT;
    }
    header[2..4].copy_from_slice(&sequence_number.0.to_be_bytes());
    header[4..8].copy_from_slice(&timestamp.0.to_be_bytes());
    header[8..].copy_from_slice(&ssrc.0.to_be_bytes());
}

/// Whether `bytes` came as RTCP where RTP and RTCP share a port: version 2 and packet type 192 to 223.
///
/// RFC 5761 §4.
pub fn looks_like_rtcp(bytes: &[u8]) -> bool {
    matches!(bytes, [first, 192..=223, ..] if first >> 6 == 2)
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    const FIXED: [u8; 12] = [0x80, 0xe0, 0x12, 0x34, 0, 1, 2, 3, 0xca, 0xfe, 0xba, 0xbe];

    /// `FIXED` with `flags` in byte 0, and `rest` behind it.
    fn packet(flags: u8, rest: &[u8]) -> Vec<u8> {
        let mut bytes = FIXED.to_vec();
        bytes[0] |= flags;
        bytes.extend_from_slice(rest);
        bytes
    }

    #[track_caller]
    fn payload(flags: u8, rest: &[u8], expected: Option<&[u8]>) {
        assert_eq!(
            RtpPacket::parse(&packet(flags, rest)).map(|p| p.payload().to_vec()),
            expected.map(<[u8]>::to_vec)
        );
    }

    #[test]
    fn reads_the_fixed_header() {
        let packet = RtpPacket::parse(&FIXED).unwrap();
        assert!(packet.marker());
        assert_eq!(packet.payload_type(), PayloadType(96));
        assert_eq!(packet.sequence_number(), SequenceNumber(0x1234));
        assert_eq!(packet.timestamp(), RtpTimestamp(0x0001_0203));
        assert_eq!(packet.ssrc(), Ssrc(0xcafe_babe));
        assert_eq!(packet.payload(), b"");
    }

    #[test]
    fn payload_lies_behind_csrcs_and_extension_and_before_padding() {
        payload(0, b"abc", Some(b"abc"));
        payload(1, b"....abc", Some(b"abc"));
        payload(0x10, b"\xbe\xde\0\x01....abc", Some(b"abc"));
        payload(0x10, b"\xbe\xde\0\0", Some(b""));
        payload(0x11, b"....\xbe\xde\0\x01....abc", Some(b"abc"));
        payload(0x20, b"abc\0\0\x03", Some(b"abc"));
        payload(0x20, b"\x01", Some(b""));
        payload(0x20, b"abc\0", Some(b"abc\0"));
        payload(0x20, b"", Some(b""));
    }

    #[test]
    fn what_does_not_fit_the_packet_is_refused() {
        payload(2, b"....", None);
        payload(0x10, b"\xbe\xde\0", None);
        payload(0x10, b"\xbe\xde\xff\xff1234", None);
        payload(0x20, b"abc\x05", None);
        assert_eq!(RtpPacket::parse(&FIXED[..11]), None);
        assert_eq!(RtpPacket::parse(&[0x40; 12]), None);
    }

    #[test]
    fn differences_wrap_like_the_numbers() {
        assert_eq!(RtpTimestamp(2).ticks_since(RtpTimestamp(u32::MAX)), 3);
        assert_eq!(RtpTimestamp(u32::MAX).ticks_since(RtpTimestamp(2)), -3);
        assert_eq!(SequenceNumber(1).packets_since(SequenceNumber(65_535)), 2);
        assert_eq!(SequenceNumber(65_535).next(), SequenceNumber(0));
    }

    #[test]
    fn ticks_pass_with_the_clock() {
        let rate = NonZeroU32::new(90_000).unwrap();
        assert_eq!(ticks_in(Duration::from_millis(40), rate), 3600);
        assert_eq!(ticks_in(Duration::from_micros(11), rate), 0);
        assert_eq!(ticks_in(Duration::from_secs(100_000), rate), 9_000_000_000);
    }

    #[test]
    fn rtcp_is_told_from_rtp_by_its_second_byte() {
        assert!(looks_like_rtcp(&[0x80, 200, 0, 6]));
        assert!(looks_like_rtcp(&[0x81, 205]));
        assert!(!looks_like_rtcp(&FIXED));
        assert!(!looks_like_rtcp(&[0x80, 224, 0, 0]));
        assert!(!looks_like_rtcp(&[0x00, 200, 0, 6]), "a punch packet");
        assert!(!looks_like_rtcp(&[0x80]));
    }

    #[test]
    fn rewrite_takes_a_padding_bit_without_padding_away() {
        for (flags, rest, expected) in [
            (0x20, &b"abc\0"[..], 0x80),
            (0x20, b"", 0xa0),
            (0x20, b"abc\x01", 0xa0),
            (0x33, b"............\0\0\0\x01....abc\0", 0x93),
            (0, b"abc\0", 0x80),
        ] {
            let mut bytes = packet(flags, rest);
            let payload = RtpPacket::parse(&bytes).unwrap().payload().to_vec();
            rewrite(&mut bytes, Ssrc(1), SequenceNumber(2), RtpTimestamp(3));
            assert_eq!(bytes[0], expected, "{rest:02x?}");
            assert_eq!(RtpPacket::parse(&bytes).unwrap().payload(), payload);
        }
    }

    proptest! {
        #[test]
        fn parse_never_panics(mut bytes in vec(any::<u8>(), 0..300), version in any::<bool>()) {
            if version && let Some(first) = bytes.first_mut() {
                *first = *first & 0x3f | 0x80;
            }
            if let Some(packet) = RtpPacket::parse(&bytes) {
                prop_assert!(packet.payload().len() <= bytes.len() - HEADER_BYTES);
            }
            looks_like_rtcp(&bytes);
        }

        #[test]
        fn rewrite_changes_three_fields_and_nothing_else(
            rest in vec(any::<u8>(), 0..50), ssrc: u32, sequence_number: u16, timestamp: u32,
        ) {
            let before = packet(0, &rest);
            let mut after = before.clone();
            rewrite(&mut after, Ssrc(ssrc), SequenceNumber(sequence_number), RtpTimestamp(timestamp));
            let (old, new) = (RtpPacket::parse(&before).unwrap(), RtpPacket::parse(&after).unwrap());
            prop_assert_eq!(new.ssrc(), Ssrc(ssrc));
            prop_assert_eq!(new.sequence_number(), SequenceNumber(sequence_number));
            prop_assert_eq!(new.timestamp(), RtpTimestamp(timestamp));
            prop_assert_eq!(&before[..2], &after[..2]);
            prop_assert_eq!(old.payload(), new.payload());
        }

        #[test]
        fn rewrite_leaves_a_short_packet_alone(mut bytes in vec(any::<u8>(), 0..HEADER_BYTES)) {
            let before = bytes.clone();
            rewrite(&mut bytes, Ssrc(1), SequenceNumber(2), RtpTimestamp(3));
            prop_assert_eq!(bytes, before);
        }
    }
}
