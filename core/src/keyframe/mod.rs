//! Finds the packets at which a viewer may start, and keeps the newest in-band parameter sets.
//!
//! Owns: looking into RTP payloads as far as their type fields, one room per payload format.
//! Refuses: nothing. A payload that breaks off early keeps the flags of what stood before the break.
//! Not here: which packet the access unit began with (`log` goes back to the first one with the same timestamp),
//! what parameter sets tell (`picture`).
//! Holds: parameter sets are kept as bytes, never above [`PARAMETER_SET_BYTES_MAX`].

mod av1;
mod h264;
mod h265;
mod vp8;
mod vp9;

use bytes::Bytes;

use crate::{chunk::PacketFlags, media::Codec};

/// A parameter set above this is not kept.
pub const PARAMETER_SET_BYTES_MAX: usize = 4096;
/// The shortest SPS or PPS that can be valid, and what `profile-level-id` is taken from.
const PARAMETER_SET_BYTES_MIN: usize = 4;
/// Of an aggregation packet, this many NAL units are looked at.
const NALS_PER_PACKET_MAX: usize = 64;

/// What H.264 and H.265 decoders need before the first picture, each as one NAL unit without start code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterSets {
    /// Goes up by at least one when the content of any of them changes, and only then.
    pub revision: u64,
    /// Video parameter set; H.265 only.
    pub vps: Option<Bytes>,
    /// Sequence parameter set, 4 bytes or more.
    pub sps: Bytes,
    /// Picture parameter set, 4 bytes or more.
    pub pps: Bytes,
}

/// Looks through one track's payloads, in the order of arrival.
#[derive(Clone, Debug)]
pub struct KeyFrameScanner {
    codec: Codec,
    sets: SetStore,
}

impl KeyFrameScanner {
    /// For a track of `codec`.
    pub fn new(codec: Codec) -> Self {
        Self { codec, sets: SetStore::default() }
    }

    /// What `payload`, one RTP packet's media without padding, holds.
    ///
    /// - `KEY`: the first part of a picture that needs no other, or of a slice of it. For audio and unknown codecs
    ///   every packet.
    /// - `PARAMETER_SETS`: a VPS, SPS or PPS, or the first part of one.
    ///
    /// Cost: some bytes' look per NAL unit, a copy only when a parameter set changed.
    pub fn scan(&mut self, payload: &[u8]) -> PacketFlags {
        let is_key = match self.codec {
            Codec::H264 => return h264::scan(payload, &mut self.sets),
            Codec::H265 => return h265::scan(payload, &mut self.sets),
            Codec::Vp8 => vp8::starts_key_frame(payload),
            Codec::Vp9 => vp9::starts_key_frame(payload),
            Codec::Av1 => av1::starts_key_frame(payload),
            Codec::Audio | Codec::Other => true,
        };
        key_if(is_key)
    }

    /// The newest parameter sets that came in band; `None` until every kind that the codec has was seen.
    ///
    /// A set that came in fragments is not kept. Cost: reference counts only.
    pub fn parameter_sets(&self) -> Option<ParameterSets> {
        let SetStore { vps, sps, pps, revision } = &self.sets;
        if self.codec == Codec::H265 && vps.is_none() {
            return None;
        }
        Some(ParameterSets { revision: *revision, vps: vps.clone(), sps: sps.clone()?, pps: pps.clone()? })
    }
}

/// The newest of each kind.
#[derive(Clone, Debug, Default)]
struct SetStore {
    vps: Option<Bytes>,
    sps: Option<Bytes>,
    pps: Option<Bytes>,
    revision: u64,
}

/// Which parameter set a NAL unit is.
#[derive(Clone, Copy, Debug)]
enum SetKind {
    Video,
    Sequence,
    Picture,
}

impl SetStore {
    /// Keeps `nal` in place of the one before, if it differs and its size is allowed.
    fn keep(&mut self, kind: SetKind, nal: &[u8]) {
        if !(PARAMETER_SET_BYTES_MIN..=PARAMETER_SET_BYTES_MAX).contains(&nal.len()) {
            return;
        }
        let place = match kind {
            SetKind::Video => &mut self.vps,
            SetKind::Sequence => &mut self.sps,
            SetKind::Picture => &mut self.pps,
        };
        if place.as_deref() != Some(nal) {
            *place = Some(Bytes::copy_from_slice(nal));
            self.revision += 1;
        }
    }
}

const fn key_if(is_key: bool) -> PacketFlags {
    if is_key { PacketFlags::KEY } else { PacketFlags::EMPTY }
}

/// The NAL units of an aggregation packet behind its header: each has its size in 2 bytes in front.
/// Ends at a size that does not fit, and after [`NALS_PER_PACKET_MAX`].
fn aggregated(mut rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    let next = move || {
        let (size, behind) = rest.split_first_chunk::<2>()?;
        let (nal, behind) = behind.split_at_checked(usize::from(u16::from_be_bytes(*size)))?;
        rest = behind;
        Some(nal)
    };
    std::iter::from_fn(next).take(NALS_PER_PACKET_MAX)
}

/// `bytes` without the 3 that stands behind two zeros to keep start codes out (H.264 §7.4.1; H.265 §7.4.2 likewise).
pub(crate) fn unescaped(bytes: &[u8]) -> impl Iterator<Item = u8> {
    let mut zeros = 0;
    bytes.iter().copied().filter(move |byte| {
        let is_escape = zeros >= 2 && *byte == 3;
        zeros = if *byte == 0 { zeros + 1 } else { 0 };
        !is_escape
    })
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;

    pub(super) const BOTH: PacketFlags = PacketFlags::KEY.union(PacketFlags::PARAMETER_SETS);

    /// Scans one payload with a fresh scanner.
    #[track_caller]
    pub(super) fn check(codec: Codec, payload: &[u8], expected: PacketFlags) {
        assert_eq!(KeyFrameScanner::new(codec).scan(payload), expected, "{payload:02x?}");
    }

    /// An aggregation packet: `header`, then each of `nals` behind its size.
    pub(super) fn aggregate(header: &[u8], nals: &[&[u8]]) -> Vec<u8> {
        let mut packet = header.to_vec();
        for nal in nals {
            packet.extend_from_slice(&u16::try_from(nal.len()).unwrap().to_be_bytes());
            packet.extend_from_slice(nal);
        }
        packet
    }

    #[test]
    fn audio_and_unknown_codecs_start_anywhere() {
        check(Codec::Audio, b"", PacketFlags::KEY);
        check(Codec::Other, b"\x41", PacketFlags::KEY);
    }

    #[test]
    fn aggregation_ends_at_a_size_that_does_not_fit() {
        assert_eq!(aggregated(b"\0\x01a\0\0\0\x02bc\0\x03de").collect::<Vec<_>>(), [&b"a"[..], b"", b"bc"]);
        assert_eq!(aggregated(&[0; 65_000]).count(), NALS_PER_PACKET_MAX);
    }

    proptest! {
        #[test]
        fn scan_never_panics(
            codec in select(vec![Codec::H264, Codec::H265, Codec::Vp8, Codec::Vp9, Codec::Av1]),
            first in any::<u8>(),
            rest in vec(prop_oneof![any::<u8>(), 0..4u8, Just(255)], 0..80),
        ) {
            let mut scanner = KeyFrameScanner::new(codec);
            scanner.scan(&[]);
            scanner.scan(&rest);
            scanner.scan(&[&[first], &rest[..]].concat());
            if let Some(sets) = scanner.parameter_sets() {
                prop_assert!(sets.sps.len() <= PARAMETER_SET_BYTES_MAX);
            }
        }
    }
}
