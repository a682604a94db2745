//! What a clip's tracks hold, and why a file is none.

use std::io;

use bytes::Bytes;
use slotcast_core::media::MediaKind;

/// Why a file is not a clip that can be sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClipError {
    /// The file could not be read.
    #[error("the clip cannot be read: {0}")]
    Io(#[from] io::Error),
    /// The file ends inside what it announces, or a box or table does.
    #[error("expected {expected_bytes} bytes at byte {at_byte}, got {got_bytes}")]
    Truncated {
        /// Where it was read.
        at_byte: usize,
        /// Bytes that must be there.
        expected_bytes: usize,
        /// Bytes that were left.
        got_bytes: usize,
    },
    /// A part of the file contradicts itself, or says what cannot be sent.
    #[error("malformed or unusual {what} at byte {at_byte}")]
    Malformed {
        /// Which part.
        what: &'static str,
        /// Where it begins.
        at_byte: usize,
    },
    /// A box that is needed, by its name. Without `moov` it is no MP4 file.
    #[error("expected an MP4 file with a box {0}, got none")]
    Missing(&'static str),
    /// More than is read.
    #[error("expected at most {max} {what}, got {got}")]
    Limit {
        /// Of what.
        what: &'static str,
        /// At most.
        max: usize,
        /// So many there are.
        got: usize,
    },
    /// A sample lies outside the file.
    #[error("sample {number} ends at byte {end_byte} of a file of {file_bytes} bytes")]
    Sample {
        /// Its number in the track, from 1.
        number: usize,
        /// Where the sample ends.
        end_byte: usize,
        /// How long the file is.
        file_bytes: usize,
    },
    /// Neither an H.264 nor an AAC track.
    #[error("expected a track of H.264 or AAC-LC, got none")]
    NoTrack,
}

/// What a track's access units are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Format {
    /// NAL units, each behind its length in `length_bytes` bytes.
    H264 {
        /// 1 to 4.
        length_bytes: usize,
        /// The sequence parameter set, without start code.
        sps: Bytes,
        /// The picture parameter set, without start code.
        pps: Bytes,
    },
    /// Raw frames of AAC-LC.
    Aac {
        /// The AudioSpecificConfig.
        config: [u8; 2],
        /// 1 or more.
        channels: u8,
    },
}

impl Format {
    /// Video or audio.
    pub const fn kind(&self) -> MediaKind {
        match self {
            Self::H264 { .. } => MediaKind::Video,
            Self::Aac { .. } => MediaKind::Audio,
        }
    }
}
