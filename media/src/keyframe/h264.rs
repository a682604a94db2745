//! H.264 payloads: single NAL units, STAP-A and FU-A (RFC 6184 §5.6, §5.7.1, §5.8).
//!
//! Passed over: STAP-B, MTAP and FU-B, which belong to interleaved mode and which no encoder at hand sends.

use super::{NalFormat, NalKind, NalState, SetKind, aggregated};
use slotcast_core::packet::PacketFlags;

/// Slices and their partitions; the last type is that of IDR pictures.
const SLICES: std::ops::RangeInclusive<u8> = 1..=5;
const SLICE: u8 = 1;
const SLICE_IDR: u8 = 5;
const SEI: u8 = 6;
const SPS: u8 = 7;
const PPS: u8 = 8;
const STAP_A: u8 = 24;
const FU_A: u8 = 28;

struct H264;

impl NalFormat for H264 {
    const HEADER_BYTES: usize = 1;

    fn kind(header: &[u8]) -> NalKind {
        match header.first().map(|header| nal_type(*header)) {
            Some(SPS) => NalKind::Set(SetKind::Sequence),
            Some(PPS) => NalKind::Set(SetKind::Picture),
            Some(SEI) => NalKind::Sei,
            Some(slice) if SLICES.contains(&slice) => NalKind::Picture { is_key: slice == SLICE_IDR },
            _ => NalKind::Other,
        }
    }

    /// H.264 §7.3.3: `first_mb_in_slice` is 0, written as `1`; `slice_type` is 2 or 7, `011` or `0001000`.
    fn is_intra(header: &[u8], body: &[u8]) -> bool {
        let is_slice = header.first().is_some_and(|header| nal_type(*header) == SLICE);
        is_slice && matches!(body.first(), Some(0b1011_0000..=0b1011_1111 | 0b1000_1000))
    }
}

pub(super) fn scan(payload: &[u8], nals: &mut NalState) -> PacketFlags {
    match payload {
        [header, rest @ ..] if nal_type(*header) == STAP_A => {
            aggregated(rest).fold(PacketFlags::EMPTY, |flags, nal| flags.union(nals.scan_whole::<H264>(nal)))
        }
        // The NAL unit's header is spread over the two of the fragment.
        [indicator, fu, rest @ ..] if nal_type(*indicator) == FU_A => {
            let header = [indicator & 0xe0 | nal_type(*fu)];
            nals.scan_fragment::<H264>(&header, rest, fu & 0x80 != 0, fu & 0x40 != 0)
        }
        nal => nals.scan_whole::<H264>(nal),
    }
}

const fn nal_type(header: u8) -> u8 {
    header & 0x1f
}

#[cfg(test)]
mod tests {
    use slotcast_core::media::Codec::H264;

    use super::*;
    use crate::keyframe::{
        KeyFrameScanner, PARAMETER_SET_BYTES_MAX,
        tests::{BOTH, aggregate, check},
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

    /// H.264 fragments of `nal`, of so many bytes behind its header each.
    fn fragments(nal: &[u8], sizes: &[usize]) -> Vec<Vec<u8>> {
        let (header, mut rest) = (nal[0], &nal[1..]);
        let mut fragments = Vec::new();
        for (count, size) in sizes.iter().enumerate() {
            let (part, behind) = rest.split_at(*size);
            let bits = if count == 0 { 0x80 } else { 0 } | if behind.is_empty() { 0x40 } else { 0 };
            fragments.push([&[header & 0xe0 | FU_A, header & 0x1f | bits], part].concat());
            rest = behind;
        }
        assert!(rest.is_empty());
        fragments
    }

    const START_CODES: [&[u8]; 2] = [b"\0\0\x01", b"\0\0\0\x01"];

    #[test]
    fn an_annex_b_stream_in_place_of_a_nal_unit_is_looked_through() {
        for code in START_CODES {
            let stream = [SPS_NAL, PPS_NAL, b"\x06\x05\x01a\x80", IDR_NAL].join(code);
            for bytes in [stream.clone(), [code, &stream].concat(), [b"\x09\xf0", &*stream].join(code)] {
                check(H264, &bytes, BOTH);
                check(H264, &aggregate(b"\x78", &[&bytes]), BOTH);
                for packet in [bytes.clone(), fragments(&bytes, &[bytes.len() - 1]).remove(0)] {
                    let mut scanner = KeyFrameScanner::new(H264);
                    assert_eq!(scanner.scan(&packet), BOTH);
                    let sets = scanner.parameter_sets().expect("both parameter sets");
                    assert_eq!((&sets.sps[..], &sets.pps[..]), (SPS_NAL, PPS_NAL));
                }
            }
            check(H264, &[SPS_NAL, PPS_NAL, INTER_NAL].join(code), PacketFlags::PARAMETER_SETS);
            check(H264, &[code, INTER_NAL].concat(), PacketFlags::EMPTY);
            check(H264, &[code, IDR_NAL].concat(), PacketFlags::KEY);
            check(H264, &[b"\x06\x06\x01\xc4\x80", INTER_NAL].join(code), PacketFlags::KEY);
        }
    }

    #[test]
    fn a_picture_that_begins_in_a_later_fragment_is_found_wherever_the_border_is() {
        for code in START_CODES {
            for (last, expected) in [(IDR_NAL, true), (INTER_NAL, false)] {
                let stream = [SPS_NAL, PPS_NAL, last].join(code);
                for border in 1..stream.len() - 1 {
                    let mut scanner = KeyFrameScanner::new(H264);
                    let parts = fragments(&stream, &[border, stream.len() - 1 - border]);
                    let flags = parts.iter().map(|part| scanner.scan(part));
                    let all = flags.fold(PacketFlags::EMPTY, PacketFlags::union);
                    assert_eq!(all.contains(PacketFlags::KEY), expected, "border at {border}");
                }
            }
        }
    }

    #[test]
    fn an_intra_picture_is_a_place_to_start_where_nothing_better_has_come() {
        for intra in [b"\x41\x88\x80", b"\x61\xb4\x80", b"\x21\xb0\x80"] {
            let mut scanner = KeyFrameScanner::new(H264);
            assert_eq!(scanner.scan(intra), PacketFlags::KEY);
            let [first, rest] = [b"\x7c\x81", b"\x7c\x01"].map(|fu| [fu, &intra[1..]].concat());
            assert_eq!((scanner.scan(&first), scanner.scan(&rest)), (PacketFlags::KEY, PacketFlags::EMPTY));
            assert_eq!(scanner.scan(INTER_NAL), PacketFlags::EMPTY);
            for key in [IDR_NAL, b"\x06\x06\x01\xc4\x80"] {
                let mut scanner = scanner.clone();
                assert_eq!(scanner.scan(key), PacketFlags::KEY);
                assert_eq!(scanner.scan(intra), PacketFlags::EMPTY);
            }
        }
        // Not the first slice of its picture.
        check(H264, b"\x41\x5b\x80", PacketFlags::EMPTY);
    }

    #[test]
    fn a_start_code_by_chance_behind_a_slice_is_nothing() {
        let mut scanner = KeyFrameScanner::new(H264);
        for part in fragments(b"\x41\x9a\0\0\x01\x65aaaa\0\0\x01\x65b", &[4, 5, 5]) {
            assert_eq!(scanner.scan(&part), PacketFlags::EMPTY);
        }
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
