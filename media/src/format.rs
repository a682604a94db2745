//! What a clip's tracks hold, and why a file is none.

use std::{fmt, io};

use bytes::Bytes;
use slotcast_core::media::MediaKind;

/// Why a file is not a clip that can be sent.
#[derive(Debug)]
#[non_exhaustive]
pub enum ClipError {
    /// The file could not be read.
    Io(io::Error),
    /// The file ends inside what it announces, or a box or table does.
    Truncated {
        /// Where it was read.
        at_byte: usize,
        /// Bytes that must be there.
        expected_bytes: usize,
        /// Bytes that were left.
        got_bytes: usize,
    },
    /// A part of the file contradicts itself, or says what cannot be sent.
    Malformed {
        /// Which part.
        what: &'static str,
        /// Where it begins.
        at_byte: usize,
    },
    /// A box that is needed, by its name. Without `moov` it is no MP4 file.
    Missing(&'static str),
    /// More than is read.
    Limit {
        /// Of what.
        what: &'static str,
        /// At most.
        max: usize,
        /// So many there are.
        got: usize,
    },
    /// A sample lies outside the file.
    Sample {
        /// Its number in the track, from 1.
        number: usize,
        /// Where the sample ends.
        end_byte: usize,
        /// How long the file is.
        file_bytes: usize,
    },
    /// Neither an H.264 nor an AAC track.
    NoTrack,
}

impl fmt::Display for ClipError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "the clip cannot be read: {error}"),
            Self::Truncated { at_byte, expected_bytes, got_bytes } => {
                write!(f, "expected {expected_bytes} bytes at byte {at_byte}, got {got_bytes}")
            }
            Self::Malformed { what, at_byte } => write!(f, "malformed or unusual {what} at byte {at_byte}"),
            Self::Missing(name) => write!(f, "expected an MP4 file with a box {name}, got none"),
            Self::Limit { what, max, got } => write!(f, "expected at most {max} {what}, got {got}"),
            Self::Sample { number, end_byte, file_bytes } => {
                write!(f, "sample {number} ends at byte {end_byte} of a file of {file_bytes} bytes")
            }
            Self::NoTrack => f.write_str("expected a track of H.264 or AAC-LC, got none"),
        }
    }
}

impl std::error::Error for ClipError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
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
