//! Reads what a peer sends as RTCP (RFC 3550 §6, A.2).
//!
//! Refuses: what is not version 2, or longer than the datagram. Of what does fit, one bad packet does not spoil those
//! behind it.
//! Tolerates: compounds that begin with something else than a report (RFC 5506), padding on any packet, unknown
//! types, items and profile extensions.
//! Invariant: a compound yields at most [`PACKETS_MAX`] packets, each at least 4 bytes further on.

use std::iter;

use super::{GOODBYE, HEADER_BYTES, NtpTime, REPORT_BLOCK_BYTES, SENDER_REPORT, SenderInfo};
use crate::rtp::{RtpTimestamp, Ssrc};

/// Of one compound, this many packets are read.
const PACKETS_MAX: usize = 64;

/// A packet that breaks off, counts more than it holds, is not of version 2, or whose padding does not fit it. Pass over it;
/// a peer is not ended for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// One packet of a compound; copies nothing.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum RtcpPacket<'a> {
    /// SR, RFC 3550 §6.4.1: what the source says of itself.
    SenderReport(SenderInfo),
    /// BYE, RFC 3550 §6.6.
    Bye(Bye<'a>),
    /// Receiver reports, names and all else that is for nobody here.
    Other {
        /// Byte 1 of the packet.
        packet_type: u8,
    },
}

/// The packets of `bytes`, one whole datagram or `$` frame.
///
/// Ends after a malformed one that leaves no next packet to be found, and after 64 packets.
pub fn packets(bytes: &[u8]) -> impl Iterator<Item = Result<RtcpPacket<'_>, Malformed>> {
    let mut rest = bytes;
    let next = move || {
        if rest.is_empty() {
            return None;
        }
        let split = split_packet(rest);
        rest = split.map_or(&[], |(_, behind)| behind);
        Some(split.and_then(|(packet, _)| parse(packet)).ok_or(Malformed))
    };
    iter::from_fn(next).take(PACKETS_MAX)
}

/// One packet, whole, and what stands behind it.
fn split_packet(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let [first, _, length @ ..] = bytes.first_chunk::<HEADER_BYTES>()?;
    let packet_bytes = HEADER_BYTES + 4 * usize::from(u16::from_be_bytes(*length));
    if first >> 6 == 2 { bytes.split_at_checked(packet_bytes) } else { None }
}

/// - `packet`: as [`split_packet`] found it.
fn parse(packet: &[u8]) -> Option<RtcpPacket<'_>> {
    let ([first, packet_type, ..], body) = packet.split_first_chunk::<HEADER_BYTES>()?;
    let body = if first & 0x20 != 0 { without_padding(body)? } else { body };
    let count = usize::from(first & 0x1f);
    Some(match *packet_type {
        SENDER_REPORT => RtcpPacket::SenderReport(sender_info(body, count)?),
        GOODBYE => {
            let (sources, text) = body.split_at_checked(4 * count)?;
            RtcpPacket::Bye(Bye { sources, text })
        }
        packet_type => RtcpPacket::Other { packet_type },
    })
}

/// The count in the last byte must be above zero and inside the packet.
fn without_padding(body: &[u8]) -> Option<&[u8]> {
    let count = body.last().filter(|count| **count > 0)?;
    body.get(..body.len().checked_sub(usize::from(*count))?)
}

fn split_u32(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (word, rest) = bytes.split_first_chunk()?;
    Some((u32::from_be_bytes(*word), rest))
}

/// - `count`: of the report blocks behind it, which must be there.
fn sender_info(body: &[u8], count: usize) -> Option<SenderInfo> {
    let (ssrc, rest) = split_u32(body)?;
    let (ntp, rest) = rest.split_first_chunk()?;
    let (rtp, rest) = split_u32(rest)?;
    let (packets, rest) = split_u32(rest)?;
    let (octets, blocks) = split_u32(rest)?;
    blocks.get(..count * REPORT_BLOCK_BYTES)?;
    let ntp = NtpTime(u64::from_be_bytes(*ntp));
    Some(SenderInfo { ssrc: Ssrc(ssrc), ntp, rtp: RtpTimestamp(rtp), packets, octets })
}

/// Sources that end.
#[derive(Clone, Copy, Debug)]
pub struct Bye<'a> {
    sources: &'a [u8],
    text: &'a [u8],
}

impl<'a> Bye<'a> {
    /// Who ends, 0 to 31 sources.
    pub fn sources(&self) -> impl Iterator<Item = Ssrc> + use<'a> {
        self.sources.chunks_exact(4).filter_map(split_u32).map(|(ssrc, _)| Ssrc(ssrc))
    }

    /// Why, as bytes: a peer may send anything. `None` when no reason was given, or it breaks off.
    pub fn reason(&self) -> Option<&'a [u8]> {
        let (length, text) = self.text.split_first()?;
        text.get(..usize::from(*length))
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    #[track_caller]
    fn one(bytes: &[u8]) -> Result<RtcpPacket<'_>, Malformed> {
        let mut packets = packets(bytes);
        let first = packets.next().unwrap();
        assert!(packets.next().is_none());
        first
    }

    #[test]
    fn compounds_are_walked_whatever_they_begin_with() {
        let bytes = b"\x80\xcc\0\x02....name\x81\xcb\0\x01\0\0\0\x07\x80\xc9\0\x01\0\0\0\x08";
        let read: Vec<_> = packets(bytes).collect::<Result<_, _>>().unwrap();
        assert!(matches!(
            read[..],
            [
                RtcpPacket::Other { packet_type: 204 },
                RtcpPacket::Bye(_),
                RtcpPacket::Other { packet_type: 201 }
            ]
        ));
    }

    #[test]
    fn what_does_not_fit_ends_the_walk() {
        for bytes in
            [&b"\x80\xc8\0"[..], b"\x80\xc8\0\x06\0\0\0\0", b"\x00\xc8\0\0", b"\x40\xcb\0\0\x80\xcb\0\0"]
        {
            assert_eq!(one(bytes).unwrap_err(), Malformed, "{bytes:?}");
        }
        let read: Vec<_> = packets(b"\x80\xc9\0\x01\0\0\0\x08\xff\xff").collect();
        assert!(matches!(read[..], [Ok(_), Err(Malformed)]));
    }

    #[test]
    fn one_bad_packet_does_not_spoil_the_next() {
        let read: Vec<_> = packets(b"\x82\xcb\0\x01\0\0\0\x08\x81\xcb\0\x01\0\0\0\x07").collect();
        assert!(matches!(read[..], [Err(Malformed), Ok(RtcpPacket::Bye(_))]));
        assert_eq!(one(b"\x80\xc8\0\0").unwrap_err(), Malformed);
        assert_eq!(one(b"\x82\xcb\0\x01\0\0\0\0").unwrap_err(), Malformed);
    }

    #[test]
    fn padding_is_cut_off() {
        assert!(matches!(
            one(b"\xa0\xc9\0\x02\0\0\0\x08\0\0\0\x04"),
            Ok(RtcpPacket::Other { packet_type: 201 })
        ));
        assert_eq!(one(b"\xa0\xc9\0\0").unwrap_err(), Malformed);
        assert_eq!(one(b"\xa0\xc9\0\x01\0\0\0\x05").unwrap_err(), Malformed);
        assert_eq!(one(b"\xa0\xcc\0\x01\0\0\0\0").unwrap_err(), Malformed);
    }

    #[test]
    fn a_sender_report_without_all_its_blocks_is_none() {
        let report = |count: u8, words: u8| {
            [&[0x80 | count, 200, 0, words][..], &[0; 200][..4 * usize::from(words)]].concat()
        };
        assert!(matches!(one(&report(1, 12)), Ok(RtcpPacket::SenderReport(_))));
        assert_eq!(one(&report(2, 12)).unwrap_err(), Malformed);
    }

    #[test]
    fn a_goodbye_may_have_a_reason() {
        let Ok(RtcpPacket::Bye(bye)) = one(b"\x82\xcb\0\x03\0\0\0\x01\0\0\0\x02\x03end") else { panic!() };
        assert_eq!(bye.sources().collect::<Vec<_>>(), [Ssrc(1), Ssrc(2)]);
        assert_eq!(bye.reason(), Some(&b"end"[..]));
        let Ok(RtcpPacket::Bye(bye)) = one(b"\x80\xcb\0\x01\x04end") else { panic!() };
        assert_eq!((bye.sources().count(), bye.reason()), (0, None));
    }

    #[test]
    fn a_flood_of_empty_packets_is_cut() {
        let flood = b"\x80\xcc\0\0".repeat(16_000);
        assert_eq!(packets(&flood).count(), PACKETS_MAX);
    }

    proptest! {
        #[test]
        fn reading_never_panics(parts in vec((any::<u8>(), 198..206u8, vec(any::<u8>(), 0..70), any::<bool>()), 0..6)) {
            let mut bytes = Vec::new();
            for (first, packet_type, body, fits) in parts {
                let words = if fits { body.len() / 4 } else { body.len() };
                bytes.extend_from_slice(&[first & 0x3f | 0x80, packet_type, 0, words as u8]);
                bytes.extend_from_slice(if fits { &body[..words * 4] } else { &body });
            }
            for packet in packets(&bytes).flatten() {
                if let RtcpPacket::Bye(bye) = packet {
                    prop_assert!(bye.sources().count() <= 31 && bye.reason().is_none_or(|r| r.len() <= 255));
                }
            }
        }
    }
}
