//! AV1 payloads: the aggregation header (AV1 RTP payload format 1.0 §4.4).

const CONTINUES_OBU: u8 = 0x80;
const NEW_SEQUENCE: u8 = 0x08;

/// Whether `payload` is the first packet of a coded video sequence.
pub(super) fn starts_key_frame(payload: &[u8]) -> bool {
    // Z must be 0 where N is 1; a peer that sets both is not believed.
    matches!(payload, [header, ..] if header & (CONTINUES_OBU | NEW_SEQUENCE) == NEW_SEQUENCE)
}

#[cfg(test)]
mod tests {
    use slotcast_core::{media::Codec::Av1, packet::PacketFlags};

    use crate::keyframe::tests::check;

    #[test]
    fn first_packet_of_a_coded_video_sequence() {
        check(Av1, b"\x08\x0a", PacketFlags::KEY);
        check(Av1, b"\x68\x0a", PacketFlags::KEY);
        check(Av1, b"\x20\x32", PacketFlags::EMPTY);
        check(Av1, b"\x88\x32", PacketFlags::EMPTY);
        check(Av1, b"", PacketFlags::EMPTY);
    }
}
