//! What a payload type stands for: `rtpmap`, or the static table of RFC 3551 §6.

use std::num::NonZeroU32;

use sdp_types::Media;
use slotcast_core::media::{Codec, MediaKind};

/// One `a=rtpmap:` line.
pub(super) struct Rtpmap {
    pub(super) encoding: String,
    /// `None` where it is no number.
    pub(super) clock_rate: Option<u32>,
}

/// The line for `payload_type`; `None` without one.
pub(super) fn rtpmap(media: &Media, payload_type: u8) -> Option<Rtpmap> {
    let lines = media.attributes.iter().filter(|a| a.attribute.eq_ignore_ascii_case("rtpmap"));
    lines.filter_map(|line| line.value.as_deref()?.trim().split_once(' ')).find_map(|(number, map)| {
        if number.parse() != Ok(payload_type) {
            return None;
        }
        let mut parts = map.trim().split('/');
        // Without what is left out on writing, so that viewers are told the codec that is assumed here.
        let encoding = parts.next().unwrap_or_default().chars().filter(|c| !c.is_control()).collect();
        Some(Rtpmap { encoding, clock_rate: parts.next().and_then(|rate| rate.trim().parse().ok()) })
    })
}

/// Encoding and clock rate of a static payload type.
pub(super) fn of_static(payload_type: u8) -> Option<(String, NonZeroU32)> {
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
