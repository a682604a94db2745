//! SDP (RFC 8866): what a broadcaster announces, and what viewers are told of it.
//!
//! Owns: tracks as values, the description rebuilt for viewers.
//! Refuses: what exceeds [`limits`], and what has no track that can be taken.
//! Left out, each with its reason: sections that are not plain RTP or have no payload type. What is not understood of a
//! track otherwise is ignored (RFC 8866 §5): it passes through, at 90 kHz where it names no clock.
//! Invariant: of the broadcaster's lines viewers see only those of an allow list; never an address, never a key.

mod codec;
mod description;
mod lines;

use std::num::NonZeroU32;

use slotcast_core::media::{Description, MediaKind, TRACKS_MAX, Track};

use crate::limits;

use lines::{Lines, Section};

pub use description::render;

/// The clock of a track that does not say it (Hz): that of nearly all video, and of what else is sent beside it.
const CLOCK_RATE_UNSAID: NonZeroU32 = NonZeroU32::new(90_000).unwrap();

/// What an SDP announces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced {
    /// 1 to [`TRACKS_MAX`], in the order of the media sections.
    pub tracks: Vec<Track>,
    /// Each track's `a=control:` as it came; empty where it has none.
    pub controls: Vec<String>,
    /// Media sections that are no tracks: they may be set up, and what is sent of them is dropped.
    pub left_out: Vec<LeftOut>,
    /// The session's `a=control:`, for our own client.
    pub session_control: Option<String>,
    /// For viewers, without a title.
    pub description: Description,
    /// The sum of all `b=AS`, `b=TIAS` lines, in kbit/s, or the session's own where that is more; `None` without any.
    pub bandwidth_kbps: Option<u64>,
}

/// A media section that is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Its `a=control:` as it came; empty where it has none.
    pub control: String,
    /// Why.
    pub reason: SdpError,
}

/// Why an SDP, or one track of it, cannot be used: answer 400, and 415 for what is not RTP.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SdpError {
    /// Above [`limits::SDP_BYTES_MAX`], or lines above [`limits::SDP_LINES_MAX`] or [`limits::SDP_LINE_BYTES_MAX`].
    #[error("the SDP is too long")]
    TooLong,
    /// Not SDP; what is wrong.
    #[error("malformed SDP: {0}")]
    Malformed(&'static str),
    /// No `m=` line.
    #[error("the SDP has no media")]
    NoMedia,
    /// More media sections than [`limits::SDP_SECTIONS_MAX`], or of those that can be taken more than [`TRACKS_MAX`].
    #[error("the SDP has {0} tracks, at most {TRACKS_MAX} are taken")]
    TooManyTracks(usize),
    /// The media section of this index, from 0, has no payload type of 0 to 127.
    #[error("track {0} has no payload type of 0 to 127")]
    PayloadType(usize),
    /// The media section of this index is not RTP/AVP, e.g. encrypted.
    #[error("track {0} is not RTP/AVP")]
    Profile(usize),
}

/// Reads an ANNOUNCE's body, or for our own client that of a DESCRIBE's response.
///
/// Tolerated: what `sdp/lines.rs` tolerates, missing `o=`, `s=` or `t=`, lines in odd order, any `m=` port, text that is not
/// UTF-8, sections that are not understood.
///
/// # Errors
/// See [`SdpError`].
pub fn parse(bytes: &[u8]) -> Result<Announced, SdpError> {
    if bytes.len() > limits::SDP_BYTES_MAX {
        return Err(SdpError::TooLong);
    }
    let text = String::from_utf8_lossy(bytes).replace('\t', " ");
    let Lines { session, medias } = Lines::read(&text)?;
    if medias.len() > limits::SDP_SECTIONS_MAX {
        return Err(SdpError::TooManyTracks(medias.len()));
    }
    let (mut tracks, mut controls, mut sections, mut left_out) = (vec![], vec![], vec![], vec![]);
    for (index, media) in medias.iter().enumerate() {
        let control = control(media).unwrap_or_default();
        match track(index, media) {
            Ok(track) => {
                tracks.push(track);
                controls.push(control);
                sections.push(media);
            }
            Err(reason) => left_out.push(LeftOut { control, reason }),
        }
    }
    match tracks.len() {
        0 => return Err(left_out.into_iter().next().map_or(SdpError::NoMedia, |first| first.reason)),
        count if count > TRACKS_MAX => return Err(SdpError::TooManyTracks(count)),
        _ => {}
    }
    let description = description::for_viewers(&sections, &tracks);
    let session_control = control(&session);
    let bandwidth_kbps = bandwidth(&session, &medias);
    Ok(Announced { tracks, controls, left_out, session_control, description, bandwidth_kbps })
}

fn track(index: usize, media: &Section<'_>) -> Result<Track, SdpError> {
    let (kind, proto, formats) = match &media.words[..] {
        [kind, _port, proto, formats @ ..] => (*kind, proto.to_ascii_uppercase(), formats),
        _ => return Err(SdpError::Malformed("a line m= has less than three words")),
    };
    if !matches!(proto.as_str(), "RTP/AVP" | "RTP/AVPF" | "RTP/AVP/UDP" | "RTP/AVP/TCP") {
        return Err(SdpError::Profile(index));
    }
    let mut payload_types = Vec::new();
    for payload_type in formats.iter().filter_map(|word| word.parse::<u8>().ok()).filter(|pt| *pt < 128) {
        if !payload_types.contains(&payload_type) {
            payload_types.push(payload_type);
        }
    }
    if payload_types.is_empty() {
        return Err(SdpError::PayloadType(index));
    }
    let kind = match kind.to_ascii_lowercase().as_str() {
        "video" => MediaKind::Video,
        "audio" => MediaKind::Audio,
        _ => MediaKind::Application,
    };
    let known = payload_types.iter().find_map(|payload_type| codec::format(media, *payload_type, kind));
    let (codec, clock_rate) = known.unwrap_or_else(|| (codec::of_encoding("", kind), CLOCK_RATE_UNSAID));
    Ok(Track { kind, codec, payload_types, clock_rate })
}

fn control(section: &Section<'_>) -> Option<String> {
    section.values("control").next().map(str::to_owned)
}

fn bandwidth(session: &Section<'_>, medias: &[Section<'_>]) -> Option<u64> {
    let sum = medias.iter().filter_map(Section::kbps).reduce(u64::saturating_add);
    sum.max(session.kbps())
}

#[cfg(test)]
mod tests;
