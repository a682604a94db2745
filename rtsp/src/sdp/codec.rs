//! What a payload type stands for: `rtpmap`, or the static table of RFC 3551 §6.

use std::num::NonZeroU32;

use slotcast_core::media::{Codec, MediaKind};

use super::{CLOCK_RATE_UNSAID, lines::Section};

/// Encoding and clock rate of `payload_type`; `None` where neither an `rtpmap` nor the static table has it.
pub(super) fn format(media: &Section<'_>, payload_type: u8) -> Option<(String, NonZeroU32)> {
    let mapped = media.values("rtpmap").find_map(|line| {
        let (number, encoding, clock_rate) = rtpmap(line)?;
        (number == payload_type).then(|| (encoding, clock_rate.unwrap_or_else(|| assumed_clock(number))))
    });
    mapped.or_else(|| of_static(payload_type))
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
    of_static(payload_type).map_or(CLOCK_RATE_UNSAID, |(_, clock_rate)| clock_rate)
}

/// Encoding and clock rate of a static payload type.
fn of_static(payload_type: u8) -> Option<(String, NonZeroU32)> {
    let (encoding, clock_rate) = match payload_type {
        0 => ("PCMU", 8_000),
        3 => ("GSM", 8_000),
        4 => ("G723", 8_000),
        5 => ("DVI4", 8_000),
        6 => ("DVI4", 16_000),
        7 => ("LPC", 8_000),
        8 => ("PCMA", 8_000),
        9 => ("G722", 8_000),
        10 | 11 => ("L16", 44_100),
        12 => ("QCELP", 8_000),
        13 => ("CN", 8_000),
        14 => ("MPA", 90_000),
        15 => ("G728", 8_000),
        16 => ("DVI4", 11_025),
        17 => ("DVI4", 22_050),
        18 => ("G729", 8_000),
        25 => ("CelB", 90_000),
        26 => ("JPEG", 90_000),
        28 => ("nv", 90_000),
        31 => ("H261", 90_000),
        32 => ("MPV", 90_000),
        33 => ("MP2T", 90_000),
        34 => ("H263", 90_000),
        _ => return None,
    };
    Some((encoding.to_owned(), NonZeroU32::new(clock_rate)?))
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
