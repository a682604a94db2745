//! H.265 payloads: single NAL units, AP and FU (RFC 7798 §4.4.1 to §4.4.3).
//!
//! Taken as absent: DONL fields, which need `sprop-max-don-diff` above 0. PACI packets are passed over.

use super::{NalFormat, NalKind, NalState, SetKind, aggregated};
use slotcast_core::packet::PacketFlags;

/// Slices of pictures (H.265 table 7-1).
const SLICES: std::ops::RangeInclusive<u8> = 0..=31;
/// Intra random access points: BLA, IDR and CRA pictures.
const IRAP: std::ops::RangeInclusive<u8> = 16..=21;
const VPS: u8 = 32;
const SPS: u8 = 33;
const PPS: u8 = 34;
/// SEI ahead of a picture; a recovery point stands in no other.
const PREFIX_SEI: u8 = 39;
const AP: u8 = 48;
const FU: u8 = 49;

struct H265;

impl NalFormat for H265 {
    const HEADER_BYTES: usize = 2;

    /// NAL units of other layers than the base are not for the players that come here.
    fn kind(header: &[u8]) -> NalKind {
        let [high, low] = *header else { return NalKind::Other };
        let (nal_type, is_base) = (nal_type(high), is_base_layer(high, low));
        match nal_type {
            // A temporal id below 0 is forbidden: these are the first zeros of a start code (H.265 §7.4.2.2).
            _ if low & 7 == 0 => NalKind::Other,
            slice if SLICES.contains(&slice) => NalKind::Picture { is_key: is_base && IRAP.contains(&slice) },
            VPS if is_base => NalKind::Set(SetKind::Video),
            SPS if is_base => NalKind::Set(SetKind::Sequence),
            PPS if is_base => NalKind::Set(SetKind::Picture),
            PREFIX_SEI if is_base => NalKind::Sei,
            _ => NalKind::Other,
        }
    }

    /// Not looked for: where the slice's type stands depends on the parameter sets.
    fn is_intra(_header: &[u8], _body: &[u8]) -> bool {
        false
    }
}

pub(super) fn scan(payload: &[u8], nals: &mut NalState) -> PacketFlags {
    match payload {
        [high, _, rest @ ..] if nal_type(*high) == AP => {
            aggregated(rest).fold(PacketFlags::EMPTY, |flags, nal| flags.union(nals.scan_whole::<H265>(nal)))
        }
        // The NAL unit's type stands in the fragment's own header.
        [high, low, fu, rest @ ..] if nal_type(*high) == FU => {
            let header = [high & 0x81 | (fu & 0x3f) << 1, *low];
            nals.scan_fragment::<H265>(&header, rest, fu & 0x80 != 0, fu & 0x40 != 0)
        }
        nal => nals.scan_whole::<H265>(nal),
    }
}

const fn nal_type(high: u8) -> u8 {
    high >> 1 & 0x3f
}

/// Whether `nuh_layer_id`, 6 bits over both header bytes, is 0.
const fn is_base_layer(high: u8, low: u8) -> bool {
    high & 1 == 0 && low >> 3 == 0
}

#[cfg(test)]
mod tests {
    use slotcast_core::media::Codec::H265;

    use super::*;
    use crate::keyframe::{
        KeyFrameScanner,
        tests::{BOTH, aggregate, check},
    };

    const VPS_NAL: &[u8] = b"\x40\x01\x0c\x01\xff";
    const SPS_NAL: &[u8] = b"\x42\x01\x01\x01\x60";
    const PPS_NAL: &[u8] = b"\x44\x01\xc1\x72";

    fn nal(nal_type: u8) -> [u8; 4] {
        [nal_type << 1, 1, 0x80, 0]
    }

    #[test]
    fn single_nal_units() {
        for (nal_type, expected) in [
            (1, PacketFlags::EMPTY),
            (15, PacketFlags::EMPTY),
            (16, PacketFlags::KEY),
            (19, PacketFlags::KEY),
            (20, PacketFlags::KEY),
            (21, PacketFlags::KEY),
            (22, PacketFlags::EMPTY),
            (32, PacketFlags::PARAMETER_SETS),
            (33, PacketFlags::PARAMETER_SETS),
            (34, PacketFlags::PARAMETER_SETS),
            (35, PacketFlags::EMPTY),
            (50, PacketFlags::EMPTY),
        ] {
            check(H265, &nal(nal_type), expected);
        }
        check(H265, b"\x26", PacketFlags::EMPTY);
    }

    #[test]
    fn aggregation_packets() {
        check(H265, &aggregate(b"\x60\x01", &[VPS_NAL, SPS_NAL, PPS_NAL, &nal(19)]), BOTH);
        check(H265, &aggregate(b"\x60\x01", &[&nal(35), &nal(1)]), PacketFlags::EMPTY);
        check(H265, b"\x60\x01\x00\x09\x26", PacketFlags::EMPTY);
    }

    #[test]
    fn only_the_first_fragment_is_key() {
        check(H265, b"\x62\x01\x93\xaf", PacketFlags::KEY);
        check(H265, b"\x62\x01\x13\xaf", PacketFlags::EMPTY);
        check(H265, b"\x62\x01\x53\xaf", PacketFlags::EMPTY);
        check(H265, b"\x62\x01\x81\xaf", PacketFlags::EMPTY);
        check(H265, b"\x62\x01", PacketFlags::EMPTY);
    }

    const START_CODES: [&[u8]; 2] = [b"\0\0\x01", b"\0\0\0\x01"];

    /// The two H.265 fragments of `nal`, the first with so many bytes behind the header.
    fn fragments(nal: &[u8], border: usize) -> [Vec<u8>; 2] {
        let nal_type = nal[0] >> 1 & 0x3f;
        let fragment =
            |bits: u8, part: &[u8]| [&[nal[0] & 0x81 | FU << 1, nal[1], nal_type | bits][..], part].concat();
        let (first, second) = nal[2..].split_at(border);
        [fragment(0x80, first), fragment(0x40, second)]
    }

    #[test]
    fn an_annex_b_stream_in_place_of_a_nal_unit_is_looked_through() {
        for code in START_CODES {
            let stream = [VPS_NAL, SPS_NAL, PPS_NAL, &nal(19)].join(code);
            for bytes in [stream.clone(), [code, &stream].concat(), [&nal(35), &*stream].join(code)] {
                check(H265, &bytes, BOTH);
                check(H265, &aggregate(b"\x60\x01", &[&bytes]), BOTH);
                let [whole, _] = fragments(&bytes, bytes.len() - 2);
                let mut scanner = KeyFrameScanner::new(H265);
                assert_eq!(scanner.scan(&whole), BOTH);
                let sets = scanner.parameter_sets().expect("all three parameter sets");
                let read = (sets.vps.as_deref(), &sets.sps[..], &sets.pps[..]);
                assert_eq!(read, (Some(VPS_NAL), SPS_NAL, PPS_NAL));
                for border in 1..bytes.len() - 2 {
                    let mut scanner = KeyFrameScanner::new(H265);
                    let [first, second] = fragments(&bytes, border).map(|part| scanner.scan(&part));
                    assert!(
                        first.union(second).contains(PacketFlags::KEY),
                        "border at {border}: {bytes:02x?}"
                    );
                }
            }
            check(H265, &[VPS_NAL, SPS_NAL, PPS_NAL, &nal(1)].join(code), PacketFlags::PARAMETER_SETS);
            check(H265, &[code, &nal(1)].concat(), PacketFlags::EMPTY);
            check(H265, &[code, &nal(19)].concat(), PacketFlags::KEY);
        }
    }

    #[test]
    fn a_recovery_point_is_a_place_to_start() {
        check(H265, b"\x4e\x01\x06\x01\xc4\x80", PacketFlags::KEY);
        check(H265, b"\x4e\x01\x01\x02ab\x06\x01\xc4\x80", PacketFlags::KEY);
        check(H265, b"\x4e\x01\x05\x01a\x80", PacketFlags::EMPTY);
        check(H265, b"\x50\x01\x06\x01\xc4\x80", PacketFlags::EMPTY);
        check(H265, b"\x4e\x09\x06\x01\xc4\x80", PacketFlags::EMPTY);
        check(H265, &aggregate(b"\x60\x01", &[b"\x4e\x01\x06\x01\xc4\x80", &nal(1)]), PacketFlags::KEY);
        check(H265, b"\x62\x01\xa7\x06\x01\xc4\x80", PacketFlags::KEY);
    }

    #[test]
    fn other_layers_are_passed_over() {
        check(H265, b"\x26\x09\xaf", PacketFlags::EMPTY);
        check(H265, b"\x27\x01\xaf", PacketFlags::EMPTY);
        check(H265, b"\x62\x09\x93\xaf", PacketFlags::EMPTY);
    }

    #[test]
    fn parameter_sets_are_complete_with_the_vps() {
        let mut scanner = KeyFrameScanner::new(H265);
        scanner.scan(&aggregate(b"\x60\x01", &[SPS_NAL, PPS_NAL]));
        assert_eq!(scanner.parameter_sets(), None);
        scanner.scan(VPS_NAL);
        let sets = scanner.parameter_sets().unwrap();
        assert_eq!((sets.vps.as_deref(), &sets.sps[..], &sets.pps[..]), (Some(VPS_NAL), SPS_NAL, PPS_NAL));
    }
}
