//! What a broadcaster announced: tracks, their codecs, and the description that viewers get.
//!
//! Owns: [`Stream`], the one value that chunks carry and that workers answer DESCRIBE from.
//! Not here: SDP as text (`slotcast-rtsp`), finding key frames (`slotcast-media`).

use std::num::NonZeroU32;

use crate::words::ProgramId;

/// Most tracks of one stream.
pub const TRACKS_MAX: usize = 4;

/// What kind of media a track carries, from the SDP `m=` line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaKind {
    /// `m=video`
    Video,
    /// `m=audio`
    Audio,
    /// Anything else, e.g. `m=application`.
    Application,
}

/// The codec of a track, as far as slotcast looks into it, from the SDP `rtpmap`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// RFC 6184.
    H264,
    /// RFC 7798.
    H265,
    /// RFC 7741.
    Vp8,
    /// RFC 9628.
    Vp9,
    /// The AV1 RTP payload format 1.0.
    Av1,
    /// Audio of any kind: every packet is a place to start.
    Audio,
    /// Anything else: passes through, every packet is a place to start.
    Other,
}

impl Codec {
    /// Whether a viewer must start at a key frame.
    pub const fn has_key_frames(self) -> bool {
        !matches!(self, Self::Audio | Self::Other)
    }
}

/// One track of a stream, in the order of the SDP's media sections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Track {
    /// Video, audio or other.
    pub kind: MediaKind,
    /// What the packets hold.
    pub codec: Codec,
    /// RTP payload types that the SDP lists, 0..=127; others are ignored and counted.
    pub payload_types: Vec<u8>,
    /// RTP ticks per second (Hz).
    pub clock_rate: NonZeroU32,
}

/// What viewers are told of a stream, in pieces: the session's lines and each section's `a=control:` are added for each viewer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// For people; any text.
    pub title: String,
    /// One per track: its lines, each ending in CRLF, without `a=control:`; empty for one that viewers are not told of.
    pub media: Vec<String>,
}

/// What somebody is going to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// 1 to [`TRACKS_MAX`].
    pub tracks: Vec<Track>,
    /// By track: whether anything will be sent on it. Ignored until it begins.
    pub is_sent: [bool; TRACKS_MAX],
    /// For viewers. The title is the program's, whatever stands here.
    pub description: Description,
    /// Kilobits per second that it says that it takes; `None`: it does not say.
    pub declared_kbps: Option<u64>,
    /// Tracks that were offered beside these and cannot be taken.
    pub left_out: u8,
}

/// What names one continuous stream: it changes when a returning broadcaster's tracks differ from before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

/// What a program's broadcaster sends. Every chunk carries it, so that a worker needs no other word.
#[derive(Clone, Debug)]
pub struct Stream {
    /// Same as before: viewers go on. Another: viewers of the old one are told goodbye.
    pub id: StreamId,
    /// The program that it belongs to.
    pub program: ProgramId,
    /// 1 to [`TRACKS_MAX`] tracks.
    pub tracks: Vec<Track>,
    /// For DESCRIBE; may gain parameter sets while the stream runs.
    pub description: Description,
}
