//! What a payload type stands for: `rtpmap`, or the static table of RFC 3551 §6.

use std::num::NonZeroU32;

use slotcast_core::media::{Codec, MediaKind};

use super::{CLOCK_RATE_UNSAID, lines::Section};

/// Codec and clock rate of `payload_type` in a section of `kind`; `None` where neither an `rtpmap` nor the static table has it.
pub(super) fn format(media: &Section<'_>, payload_type: u8, kind: MediaKind) -> Option<(Codec, NonZeroU32)> {
    let mapped = media.values("rtpmap").find_map(|line| {
        let (number, encoding, clock_rate) = rtpmap(line)?;
        let clock_rate = || clock_rate.unwrap_or_else(|| assumed_clock(number));
        (number == payload_type).then(|| (of_encoding(&encoding, kind), clock_rate()))
    });
    // None of the static types is a codec that slotcast looks into.
    mapped.or_else(|| Some((of_encoding("", kind), static_clock(payload_type)?)))
}

/// Payload type, encoding and clock rate of one `a=rtpmap:`'s value; `None` for the clock rate where it does not begin
/// with a number above zero.
pub(super) fn rtpmap(value: &str) -> Option<(u8, String, Option<NonZeroU32>)> {
    let (number, map) = value.split_once(' ')?;
    let mut parts = map.trim().split('/');
    // Without what is left out on writing, so that viewers are told the codec that is assumed here.
    let encoding: String = parts.next()?.trim().chars().filter(|c| !c.is_control()).collect();
    let digits = parts.next().and_then(|rate| rate.trim().split(|c: char| !c.is_ascii_digit()).next());
    let clock_rate = digits.and_then(|digits| digits.parse().ok());
    Some((number.parse().ok()?, encoding, clock_rate)).filter(|(_, encoding, _)| !encoding.is_empty())
}

/// The clock of a payload type that does not say it.
pub(super) fn assumed_clock(payload_type: u8) -> NonZeroU32 {
    static_clock(payload_type).unwrap_or(CLOCK_RATE_UNSAID)
}

/// The clock rate of a static payload type.
fn static_clock(payload_type: u8) -> Option<NonZeroU32> {
    NonZeroU32::new(match payload_type {
        // PCMU, GSM, G723, DVI4, LPC, PCMA, G722, QCELP, CN, G728, G729.
        0 | 3..=5 | 7..=9 | 12 | 13 | 15 | 18 => 8_000,
        // DVI4 at other rates.
        6 => 16_000,
        16 => 11_025,
        17 => 22_050,
        // L16.
        10 | 11 => 44_100,
        // MPA, CelB, JPEG, nv, H261, MPV, MP2T, H263.
        14 | 25 | 26 | 28 | 31..=34 => 90_000,
        _ => return None,
    })
}

/// The codec as far as slotcast looks into it.
pub(super) fn of_encoding(encoding: &str, kind: MediaKind) -> Codec {
    match (encoding.to_ascii_uppercase().as_str(), kind) {
        (_, MediaKind::Audio) => Codec::Audio,
        ("H264", MediaKind::Video) => Codec::H264,
        ("H265" | "HEVC", MediaKind::Video) => Codec::H265,
        ("VP8", MediaKind::Video) => Codec::Vp8,
        ("VP9", MediaKind::Video) => Codec::Vp9,
        ("AV1", MediaKind::Video) => Codec::Av1,
        _ => Codec::Other,
    }
}
