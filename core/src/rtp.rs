//! RTP packets as bytes: a view of one, and the three fields that a splice rewrites (RFC 3550 §5.1).
//!
//! Owns: the fixed header, its number types, and telling RTP from RTCP on one port.
//! Refuses: what is not version 2, or whose CSRCs, extension or padding do not fit the packet.
//! Not here: what the payload means (`slotcast-media`), RTCP (`rtcp`).
//! Invariant: a parsed packet's accessors never fail, and `payload` lies inside the packet.

use std::{fmt, num::NonZeroU32, time::Duration};

/// Bytes of the fixed header, before CSRCs and extension.
pub const HEADER_BYTES: usize = 12;

/// Offsets of the fields that [`rewrite`] changes.
/// In byte 0.
const PADDING_BIT: u8 = 0x20;
const SEQUENCE_NUMBER_AT: usize = 2;
const TIMESTAMP_AT: usize = 4;
const SSRC_AT: usize = 8;

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

impl fmt::Display for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
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

impl fmt::Display for RtpTimestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Synchronisation source: names one source of one RTP session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ssrc(pub u32);

/// In hexadecimal, as captures show it, e.g. `0x0badcafe`.
impl fmt::Display for Ssrc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#010x}", self.0)
    }
}

/// RTP payload type, 0 to 127.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PayloadType(pub u8);

/// Why bytes are not an RTP packet. Count it and drop the packet; a link or a viewer is not ended for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RtpError {
    /// Shorter than its header, CSRCs or extension say.
    Truncated {
        /// Bytes that must be there at least.
        expected_bytes: usize,
        /// Bytes that came.
        got_bytes: usize,
    },
    /// Byte 0 does not say version 2.
    Version {
        /// The version that it says, 0 to 3.
        got: u8,
    },
    /// The padding count in the last byte is more than the payload holds.
    Padding {
        /// Offset of the count: the packet's last byte.
        at_byte: usize,
        /// The count.
        got_bytes: u8,
    },
}

impl fmt::Display for RtpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { expected_bytes, got_bytes } => {
                write!(f, "expected an RTP packet of at least {expected_bytes} bytes, got {got_bytes}")
            }
            Self::Version { got } => write!(f, "expected RTP version 2 in byte 0, got {got}"),
            Self::Padding { at_byte, got_bytes } => {
                write!(f, "expected padding inside the payload, got {got_bytes} bytes in byte {at_byte}")
            }
        }
    }
}

impl std::error::Error for RtpError {}

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
    /// Cost: a few comparisons, whatever the packet's size. RFC 3550 §5.1, §5.3.1.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, RtpError> {
        let truncated = |expected_bytes| RtpError::Truncated { expected_bytes, got_bytes: bytes.len() };
        let (header, _) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or_else(|| truncated(HEADER_BYTES))?;
        let version = header[0] >> 6;
        if version != 2 {
            return Err(RtpError::Version { got: version });
        }
        let mut start = HEADER_BYTES + 4 * usize::from(header[0] & 0x0f);
        if header[0] & 0x10 != 0 {
            let extension = bytes
                .get(start..)
                .and_then(|rest| rest.first_chunk::<4>())
                .ok_or_else(|| truncated(start + 4))?;
            start += 4 + 4 * usize::from(u16::from_be_bytes([extension[2], extension[3]]));
        }
        let mut payload = bytes.get(start..).ok_or_else(|| truncated(start))?;
        if header[0] & PADDING_BIT != 0 {
            let count = payload.last().copied().unwrap_or(0);
            // A count of 0 is forbidden, and many devices send it: there is no padding then.
            payload = match payload.len().checked_sub(usize::from(count)) {
                Some(kept) => &payload[..kept],
                None => return Err(RtpError::Padding { at_byte: bytes.len() - 1, got_bytes: count }),
            };
        }
        Ok(Self { header, payload })
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
    header[SEQUENCE_NUMBER_AT..TIMESTAMP_AT].copy_from_slice(&sequence_number.0.to_be_bytes());
    header[TIMESTAMP_AT..SSRC_AT].copy_from_slice(&timestamp.0.to_be_bytes());
    header[SSRC_AT..].copy_from_slice(&ssrc.0.to_be_bytes());
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
    fn payload(flags: u8, rest: &[u8], expected: Result<&[u8], RtpError>) {
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
        payload(0, b"abc", Ok(b"abc"));
        payload(1, b"....abc", Ok(b"abc"));
        payload(0x10, b"\xbe\xde\0\x01....abc", Ok(b"abc"));
        payload(0x10, b"\xbe\xde\0\0", Ok(b""));
        payload(0x11, b"....\xbe\xde\0\x01....abc", Ok(b"abc"));
        payload(0x20, b"abc\0\0\x03", Ok(b"abc"));
        payload(0x20, b"\x01", Ok(b""));
        payload(0x20, b"abc\0", Ok(b"abc\0"));
        payload(0x20, b"", Ok(b""));
    }

    #[test]
    fn what_does_not_fit_the_packet_is_refused() {
        let truncated = |expected_bytes, got_bytes| RtpError::Truncated { expected_bytes, got_bytes };
        payload(2, b"....", Err(truncated(20, 16)));
        payload(0x10, b"\xbe\xde\0", Err(truncated(16, 15)));
        payload(0x10, b"\xbe\xde\xff\xff1234", Err(truncated(16 + 4 * 65_535, 20)));
        payload(0x20, b"abc\x05", Err(RtpError::Padding { at_byte: 15, got_bytes: 5 }));
        assert_eq!(RtpPacket::parse(&FIXED[..11]), Err(truncated(12, 11)));
        assert_eq!(RtpPacket::parse(&[0x40; 12]), Err(RtpError::Version { got: 1 }));
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
            if let Ok(packet) = RtpPacket::parse(&bytes) {
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
