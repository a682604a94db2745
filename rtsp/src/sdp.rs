//! SDP (RFC 8866): what a broadcaster announces, and what viewers are told of it.
//!
//! Owns: tracks as values, the description rebuilt for viewers, parameter sets written into it.
//! Refuses: what exceeds [`limits`], media that is not plain RTP, clock rates of zero, no media at all.
//! Not here: SDP's grammar (`sdp-types`, given bounded input only).
//! Holds: of the broadcaster's lines viewers see only those of an allow list; never an address, never a key.

mod codec;
mod description;
mod sets;

use std::{fmt, num::NonZeroU32};

use sdp_types::{Bandwidth, Media, Session};
use slotcast_core::media::{Description, MediaKind, TRACKS_MAX, Track};

use crate::limits;

pub use description::{render, with_title};
pub use sets::{described_picture, with_parameter_sets};

/// Origin, name, addresses, times and keys of the broadcaster: ours stand in their place, or nothing does.
const KEYS_UNREAD: [&str; 11] = ["o=", "s=", "i=", "u=", "e=", "p=", "c=", "t=", "r=", "z=", "k="];

/// What an SDP announces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced {
    /// 1 to [`TRACKS_MAX`], in the order of the media sections.
    pub tracks: Vec<Track>,
    /// Each track's `a=control:` as it came; empty where it has none.
    pub controls: Vec<String>,
    /// The session's `a=control:`, for our own client.
    pub session_control: Option<String>,
    /// For viewers, with a title of ours: see [`with_title`].
    pub description: Description,
    /// The sum of all `b=AS`, `b=TIAS` lines, in kbit/s, or the session's own where that is more; `None` without any.
    pub bandwidth_kbps: Option<u64>,
}

/// Why an SDP cannot be used: answer 400, and 415 for what is not RTP.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SdpError {
    /// Above [`limits::SDP_BYTES_MAX`], or lines above [`limits::SDP_LINES_MAX`] or [`limits::SDP_LINE_BYTES_MAX`].
    TooLong,
    /// Not SDP; what is wrong in which line.
    Malformed(String),
    /// No `m=` line.
    NoMedia,
    /// More media sections than [`TRACKS_MAX`].
    TooManyTracks(usize),
    /// The track of this index, from 0, has a clock rate that is zero or no number.
    ClockRate(usize),
    /// The track of this index has no payload type, or one above 127.
    PayloadType(usize),
    /// The track of this index has a dynamic payload type and no `rtpmap`.
    RtpmapMissing(usize),
    /// The track of this index is not RTP/AVP, e.g. encrypted.
    Profile(usize),
}

impl fmt::Display for SdpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => f.write_str("the SDP is too long"),
            Self::Malformed(what) => write!(f, "malformed SDP: {what}"),
            Self::NoMedia => f.write_str("the SDP has no media"),
            Self::TooManyTracks(count) => {
                write!(f, "the SDP has {count} tracks, at most {TRACKS_MAX} are taken")
            }
            Self::ClockRate(track) => write!(f, "track {track} has no clock rate above zero"),
            Self::PayloadType(track) => write!(f, "track {track} has a payload type outside 0 to 127"),
            Self::RtpmapMissing(track) => {
                write!(f, "track {track} has a dynamic payload type without rtpmap")
            }
            Self::Profile(track) => write!(f, "track {track} is not RTP/AVP"),
        }
    }
}

impl std::error::Error for SdpError {}

/// Reads an ANNOUNCE's body, or for our own client that of a DESCRIBE's response.
///
/// Tolerated: bare LF, missing `o=`, `s=` or `t=`, lines in odd order, any `m=` port, text that is not UTF-8.
///
/// # Errors
/// See [`SdpError`].
pub fn parse(bytes: &[u8]) -> Result<Announced, SdpError> {
    let text = bounded(bytes)?;
    let session = Session::parse(text.as_bytes()).map_err(|error| SdpError::Malformed(plain(&error)))?;
    match session.medias.len() {
        0 => return Err(SdpError::NoMedia),
        count if count > TRACKS_MAX => return Err(SdpError::TooManyTracks(count)),
        _ => {}
    }
    let tracks = session.medias.iter().enumerate().map(|(index, media)| track(index, media));
    let tracks = tracks.collect::<Result<Vec<_>, _>>()?;
    let controls =
        session.medias.iter().map(|media| control(&media.attributes).unwrap_or_default()).collect();
    let session_control = control(&session.attributes);
    let bandwidth_kbps = bandwidth(&session);
    let description = description::for_viewers(&session, &tracks);
    Ok(Announced { tracks, controls, session_control, description, bandwidth_kbps })
}

/// The text without what is not read here (and what `sdp-types` would be stricter about than our peers are): lines
/// of other keys, bare LF, trailing NULs.
fn bounded(bytes: &[u8]) -> Result<String, SdpError> {
    if bytes.len() > limits::SDP_BYTES_MAX {
        return Err(SdpError::TooLong);
    }
    let text = String::from_utf8_lossy(bytes);
    let mut bounded = String::with_capacity(text.len());
    let lines = text.trim_end_matches('\0').lines().map(str::trim_end).filter(|line| !line.is_empty());
    for (count, line) in lines.enumerate() {
        if count >= limits::SDP_LINES_MAX || line.len() > limits::SDP_LINE_BYTES_MAX {
            return Err(SdpError::TooLong);
        }
        if !KEYS_UNREAD.iter().any(|key| line.starts_with(key)) {
            bounded.push_str(line);
            bounded.push_str("\r\n");
        }
    }
    Ok(bounded)
}

fn track(index: usize, media: &Media) -> Result<Track, SdpError> {
    let proto = media.proto.to_ascii_uppercase();
    if !matches!(proto.as_str(), "RTP/AVP" | "RTP/AVPF" | "RTP/AVP/UDP" | "RTP/AVP/TCP") {
        return Err(SdpError::Profile(index));
    }
    let mut payload_types = Vec::new();
    for word in media.fmt.split_ascii_whitespace() {
        let payload_type =
            word.parse::<u8>().ok().filter(|pt| *pt < 128).ok_or(SdpError::PayloadType(index))?;
        if !payload_types.contains(&payload_type) {
            payload_types.push(payload_type);
        }
    }
    let first = *payload_types.first().ok_or(SdpError::PayloadType(index))?;
    let kind = match media.media.to_ascii_lowercase().as_str() {
        "video" => MediaKind::Video,
        "audio" => MediaKind::Audio,
        _ => MediaKind::Application,
    };
    let (encoding, clock_rate) = match codec::rtpmap(media, first) {
        Some(rtpmap) => {
            let clock_rate = rtpmap.clock_rate.and_then(NonZeroU32::new);
            (rtpmap.encoding, clock_rate.ok_or(SdpError::ClockRate(index))?)
        }
        None => codec::of_static(first).ok_or(SdpError::RtpmapMissing(index))?,
    };
    Ok(Track { kind, codec: codec::of_encoding(&encoding, kind), payload_types, clock_rate })
}

fn control(attributes: &[sdp_types::Attribute]) -> Option<String> {
    let control = attributes.iter().find(|attribute| attribute.attribute.eq_ignore_ascii_case("control"))?;
    control.value.as_deref().map(|value| value.trim().to_owned())
}

fn bandwidth(session: &Session) -> Option<u64> {
    let of_tracks = session.medias.iter().filter_map(|media| kbps(&media.bandwidths));
    let sum = of_tracks.reduce(u64::saturating_add);
    sum.max(kbps(&session.bandwidths))
}

/// AS is in kbit/s, TIAS in bit/s; the larger one where both stand.
fn kbps(lines: &[Bandwidth]) -> Option<u64> {
    let rates = lines.iter().filter_map(|line| match line.bwtype.to_ascii_uppercase().as_str() {
        "AS" => Some(line.bandwidth),
        "TIAS" => Some(line.bandwidth.div_ceil(1000)),
        _ => None,
    });
    rates.max()
}

/// A peer's parse error on one line, without control characters.
fn plain(error: &sdp_types::ParserError) -> String {
    error.to_string().chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests;
