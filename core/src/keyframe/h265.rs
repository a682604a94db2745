//! H.265 payloads: single NAL units, AP and FU (RFC 7798 §4.4.1 to §4.4.3).
//!
//! Taken as absent: DONL fields, which need `sprop-max-don-diff` above 0. PACI packets are passed over.

use super::{SetKind, SetStore, aggregated, key_if};
use crate::chunk::PacketFlags;

/// Intra random access points: BLA, IDR and CRA pictures (H.265 table 7-1).
const IRAP: std::ops::RangeInclusive<u8> = 16..=21;
const VPS: u8 = 32;
const SPS: u8 = 33;
const PPS: u8 = 34;
const AP: u8 = 48;
const FU: u8 = 49;

pub(super) fn scan(payload: &[u8], sets: &mut SetStore) -> PacketFlags {
    match payload {
        [high, _, rest @ ..] if nal_type(*high) == AP => {
            aggregated(rest).fold(PacketFlags::EMPTY, |flags, nal| flags.union(scan_nal(nal, sets)))
        }
        // Only the first fragment: the start bit is set and the NAL unit's type is in the FU header.
        [high, low, header, ..] if nal_type(*high) == FU => {
            match header & 0x80 != 0 && is_base_layer(*high, *low) {
                true => flags_of(header & 0x3f),
                false => PacketFlags::EMPTY,
            }
        }
        nal => scan_nal(nal, sets),
    }
}

/// One whole NAL unit. Those of other layers than the base are not for the players that come here.
fn scan_nal(nal: &[u8], sets: &mut SetStore) -> PacketFlags {
    let [high, low, ..] = nal else { return PacketFlags::EMPTY };
    if !is_base_layer(*high, *low) {
        return PacketFlags::EMPTY;
    }
    match nal_type(*high) {
        VPS => sets.keep(SetKind::Video, nal),
        SPS => sets.keep(SetKind::Sequence, nal),
        PPS => sets.keep(SetKind::Picture, nal),
        _ => {}
    }
    flags_of(nal_type(*high))
}

fn flags_of(nal_type: u8) -> PacketFlags {
    match nal_type {
        VPS | SPS | PPS => PacketFlags::PARAMETER_SETS,
        _ => key_if(IRAP.contains(&nal_type)),
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
    use super::*;
    use crate::{
        keyframe::{
            KeyFrameScanner,
            tests::{BOTH, aggregate, check},
        },
        media::Codec::H265,
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
