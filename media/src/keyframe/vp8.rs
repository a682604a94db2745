//! VP8 payloads: the descriptor and the first byte behind it (RFC 7741 §4.2, §4.3).

/// Whether `payload` starts the first partition of a key frame.
pub(super) fn starts_key_frame(payload: &[u8]) -> bool {
    // S is set and the partition index is 0.
    let Some((first, rest)) = payload.split_first() else { return false };
    if first & 0x17 != 0x10 {
        return false;
    }
    let frame = if first & 0x80 != 0 { behind_extension(rest) } else { Some(rest) };
    // P: 0 in a key frame.
    matches!(frame, Some([header, ..]) if header & 1 == 0)
}

/// `rest` behind the bytes that its first one, the extension's I, L, T and K bits, announces.
fn behind_extension(rest: &[u8]) -> Option<&[u8]> {
    let (bits, mut rest) = rest.split_first()?;
    if bits & 0x80 != 0 {
        let is_long = rest.first()? & 0x80 != 0;
        rest = rest.get(1 + usize::from(is_long)..)?;
    }
    let has_tl0picidx = bits & 0x40 != 0;
    let has_tid_or_keyidx = bits & 0x30 != 0;
    rest.get(usize::from(has_tl0picidx) + usize::from(has_tid_or_keyidx)..)
}

#[cfg(test)]
mod tests {
    use slotcast_core::{media::Codec::Vp8, packet::PacketFlags};

    use crate::keyframe::tests::check;

    #[test]
    fn first_partition_of_a_key_frame() {
        check(Vp8, b"\x10\x50", PacketFlags::KEY);
        check(Vp8, b"\x10\x51", PacketFlags::EMPTY);
        check(Vp8, b"\x00\x50", PacketFlags::EMPTY);
        check(Vp8, b"\x11\x50", PacketFlags::EMPTY);
        check(Vp8, b"\x30\x50", PacketFlags::KEY);
    }

    #[test]
    fn every_extension_is_stepped_over() {
        check(Vp8, b"\x90\x80\x11\x50", PacketFlags::KEY);
        check(Vp8, b"\x90\x80\x91\x11\x50", PacketFlags::KEY);
        check(Vp8, b"\x90\xe0\x91\x11\x01\x21\x50", PacketFlags::KEY);
        check(Vp8, b"\x90\x10\x01\x50", PacketFlags::KEY);
        check(Vp8, b"\x90\x00\x51", PacketFlags::EMPTY);
    }

    #[test]
    fn what_breaks_off_is_no_key_frame() {
        for cut in
            [&b""[..], b"\x10", b"\x90", b"\x90\x80", b"\x90\x80\x91", b"\x90\x80\x91\x11", b"\x90\xff\x01"]
        {
            check(Vp8, cut, PacketFlags::EMPTY);
        }
    }
}
