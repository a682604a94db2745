//! H.264 payloads: single NAL units, STAP-A and FU-A (RFC 6184 §5.6, §5.7.1, §5.8).
//!
//! Passed over: STAP-B, MTAP and FU-B, which belong to interleaved mode and which no encoder at hand sends.

use super::{SetKind, SetStore, aggregated, key_if, unescaped};
use crate::chunk::PacketFlags;

const SLICE_IDR: u8 = 5;
const SEI: u8 = 6;
const SPS: u8 = 7;
const PPS: u8 = 8;
const STAP_A: u8 = 24;
const FU_A: u8 = 28;

/// SEI payload type of a recovery point: where open groups of pictures and intra refresh let a decoder in.
const SEI_RECOVERY_POINT: u32 = 6;
/// Of an SEI NAL unit, this many bytes are looked through.
const SEI_BYTES_MAX: usize = 4096;

pub(super) fn scan(payload: &[u8], sets: &mut SetStore) -> PacketFlags {
    match payload {
        [header, rest @ ..] if nal_type(*header) == STAP_A => {
            aggregated(rest).fold(PacketFlags::EMPTY, |flags, nal| flags.union(scan_nal(nal, sets)))
        }
        // Only the first fragment: the start bit is set and the NAL unit's type is in the FU header.
        [indicator, header, rest @ ..] if nal_type(*indicator) == FU_A => match header & 0x80 != 0 {
            true => flags_of(nal_type(*header), rest),
            false => PacketFlags::EMPTY,
        },
        nal => scan_nal(nal, sets),
    }
}

/// One whole NAL unit.
fn scan_nal(nal: &[u8], sets: &mut SetStore) -> PacketFlags {
    let Some((header, rest)) = nal.split_first() else { return PacketFlags::EMPTY };
    match nal_type(*header) {
        SPS => sets.keep(SetKind::Sequence, nal),
        PPS => sets.keep(SetKind::Picture, nal),
        _ => {}
    }
    flags_of(nal_type(*header), rest)
}

/// - `rest`: the NAL unit behind its header, or the first fragment of that.
fn flags_of(nal_type: u8, rest: &[u8]) -> PacketFlags {
    match nal_type {
        SLICE_IDR => PacketFlags::KEY,
        SEI => key_if(has_recovery_point(rest)),
        SPS | PPS => PacketFlags::PARAMETER_SETS,
        _ => PacketFlags::EMPTY,
    }
}

const fn nal_type(header: u8) -> u8 {
    header & 0x1f
}

/// Whether one of the SEI messages in `rbsp` is a recovery point.
///
/// H.264 §7.3.2.3.1: type and size of each message are sums of bytes up to the first that is not 255.
fn has_recovery_point(rbsp: &[u8]) -> bool {
    let mut bytes = unescaped(rbsp.get(..SEI_BYTES_MAX).unwrap_or(rbsp));
    while let (Some(payload_type), Some(size)) =
        (sum_to_first_below_255(&mut bytes), sum_to_first_below_255(&mut bytes))
    {
        if payload_type == SEI_RECOVERY_POINT {
            return true;
        }
        if let Some(last) = (size as usize).checked_sub(1) {
            bytes.nth(last);
        }
    }
    false
}

fn sum_to_first_below_255(bytes: &mut impl Iterator<Item = u8>) -> Option<u32> {
    let mut sum = 0;
    loop {
        let byte = bytes.next()?;
        sum += u32::from(byte);
        if byte < 255 {
            return Some(sum);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        keyframe::{
            KeyFrameScanner, PARAMETER_SET_BYTES_MAX,
            tests::{BOTH, aggregate, check},
        },
        media::Codec::H264,
    };

    const SPS_NAL: &[u8] = b"\x67\x42\xc0\x1e\xd9";
    const PPS_NAL: &[u8] = b"\x68\xce\x3c\x80";
    const IDR_NAL: &[u8] = b"\x65\x88\x84";
    const INTER_NAL: &[u8] = b"\x41\x9a";

    #[test]
    fn single_nal_units() {
        check(H264, IDR_NAL, PacketFlags::KEY);
        check(H264, INTER_NAL, PacketFlags::EMPTY);
        check(H264, SPS_NAL, PacketFlags::PARAMETER_SETS);
        check(H264, PPS_NAL, PacketFlags::PARAMETER_SETS);
        check(H264, b"\x09\xf0", PacketFlags::EMPTY);
        check(H264, b"", PacketFlags::EMPTY);
    }

    #[test]
    fn sps_and_idr_in_one_stap_a_is_both() {
        check(H264, &aggregate(b"\x78", &[SPS_NAL, PPS_NAL, IDR_NAL]), BOTH);
        check(H264, &aggregate(b"\x78", &[SPS_NAL, PPS_NAL]), PacketFlags::PARAMETER_SETS);
        check(H264, &aggregate(b"\x78", &[INTER_NAL, b"", IDR_NAL]), PacketFlags::KEY);
        check(H264, b"\x78\0\xff\x65", PacketFlags::EMPTY);
    }

    #[test]
    fn only_the_first_fragment_of_an_idr_is_key() {
        check(H264, b"\x7c\x85\x88", PacketFlags::KEY);
        check(H264, b"\x7c\x05\x88", PacketFlags::EMPTY);
        check(H264, b"\x7c\x45\x88", PacketFlags::EMPTY);
        check(H264, b"\x5c\x81\x9a", PacketFlags::EMPTY);
        check(H264, b"\x7c\x87\x42", PacketFlags::PARAMETER_SETS);
        check(H264, b"\x7c", PacketFlags::EMPTY);
    }

    #[test]
    fn interleaved_mode_is_passed_over() {
        for indicator in [25, 26, 27, 29] {
            check(H264, &[&[indicator | 0x60, 0, 0, 0, 5], IDR_NAL].concat(), PacketFlags::EMPTY);
        }
    }

    #[test]
    fn a_recovery_point_is_a_place_to_start() {
        check(H264, b"\x06\x06\x01\xc4\x80", PacketFlags::KEY);
        check(H264, b"\x06\x01\x01\x34\x80", PacketFlags::EMPTY);
        check(H264, b"\x06\x01\x02ab\x06\x01\xc4\x80", PacketFlags::KEY);
        check(H264, &aggregate(b"\x78", &[b"\x06\x06\x01\xc4\x80"]), PacketFlags::KEY);
        // Behind a message of 255 + 2 bytes.
        let long = [b"\x06\x05\xff\x02".as_slice(), &[7; 257], b"\x06\x01\xc4\x80"].concat();
        check(H264, &long, PacketFlags::KEY);
        // The escape byte does not count towards the message's size of 4.
        check(H264, b"\x06\x05\x04\0\0\x03\x01a\x06\x01\xc4\x80", PacketFlags::KEY);
        check(H264, &[6; 2], PacketFlags::EMPTY);
        check(H264, &[b"\x06".as_slice(), &[255; 60_000]].concat(), PacketFlags::EMPTY);
    }

    #[test]
    fn the_newest_parameter_sets_are_kept() {
        let mut scanner = KeyFrameScanner::new(H264);
        scanner.scan(SPS_NAL);
        assert_eq!(scanner.parameter_sets(), None, "the PPS is missing");
        scanner.scan(PPS_NAL);
        let first = scanner.parameter_sets().unwrap();
        assert_eq!((&first.sps[..], &first.pps[..], &first.vps), (SPS_NAL, PPS_NAL, &None));

        scanner.scan(&aggregate(b"\x78", &[SPS_NAL, PPS_NAL, IDR_NAL]));
        assert_eq!(scanner.parameter_sets(), Some(first.clone()), "the same content is no news");

        scanner.scan(b"\x67\x64\x00\x28\xac");
        let second = scanner.parameter_sets().unwrap();
        assert_eq!(&second.sps[..], b"\x67\x64\x00\x28\xac");
        assert!(second.revision > first.revision);
    }

    #[test]
    fn a_huge_or_stunted_sps_is_not_kept() {
        let mut scanner = KeyFrameScanner::new(H264);
        scanner.scan(PPS_NAL);
        let huge = [&[0x67], &[1; PARAMETER_SET_BYTES_MAX][..]].concat();
        assert_eq!(scanner.scan(&huge), PacketFlags::PARAMETER_SETS);
        scanner.scan(b"\x67\x42");
        assert_eq!(scanner.parameter_sets(), None);
        scanner.scan(&huge[..PARAMETER_SET_BYTES_MAX]);
        assert!(scanner.parameter_sets().is_some());
    }
}
