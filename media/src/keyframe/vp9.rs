//! VP9 payloads: the descriptor, flexible and non-flexible (RFC 9628 §4.2).

const PICTURE_ID: u8 = 0x80;
const INTER_PREDICTED: u8 = 0x40;
const LAYER_INDICES: u8 = 0x20;
const START_OF_FRAME: u8 = 0x08;

/// Whether `payload` starts the base spatial layer's frame of a picture that needs no other.
pub(super) fn starts_key_frame(payload: &[u8]) -> bool {
    let Some((bits, rest)) = payload.split_first() else { return false };
    bits & (INTER_PREDICTED | START_OF_FRAME) == START_OF_FRAME && spatial_layer(*bits, rest) == Some(0)
}

/// SID, 0 to 7: 0 without layer indices, `None` when the descriptor breaks off before it.
fn spatial_layer(bits: u8, mut rest: &[u8]) -> Option<u8> {
    if bits & PICTURE_ID != 0 {
        let is_long = rest.first()? & 0x80 != 0;
        rest = rest.get(1 + usize::from(is_long)..)?;
    }
    if bits & LAYER_INDICES == 0 {
        return Some(0);
    }
    rest.first().map(|layer| layer >> 1 & 7)
}

#[cfg(test)]
mod tests {
    use slotcast_core::{media::Codec::Vp9, packet::PacketFlags};

    use crate::keyframe::tests::check;

    #[test]
    fn start_of_a_picture_that_needs_no_other() {
        check(Vp9, b"\x08\x82", PacketFlags::KEY);
        check(Vp9, b"\x0a\x00\x82", PacketFlags::KEY);
        check(Vp9, b"\x48\x82", PacketFlags::EMPTY);
        check(Vp9, b"\x00\x82", PacketFlags::EMPTY);
    }

    #[test]
    fn only_the_base_spatial_layer_counts() {
        check(Vp9, b"\xa8\x11\x00\x01\x82", PacketFlags::KEY);
        check(Vp9, b"\xa8\x11\x03\x01\x82", PacketFlags::EMPTY);
        check(Vp9, b"\xb8\x91\x11\xf0\x82", PacketFlags::KEY);
        check(Vp9, b"\xb8\x91\x11\x02\x82", PacketFlags::EMPTY);
    }

    #[test]
    fn what_breaks_off_is_no_key_frame() {
        for cut in [&b""[..], b"\x88", b"\x88\x91", b"\xa8\x11", b"\xa8\x91\x11"] {
            check(Vp9, cut, PacketFlags::EMPTY);
        }
    }
}
