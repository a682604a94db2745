//! Finds the packets at which a viewer may start, and keeps the newest in-band parameter sets.
//!
//! Owns: looking into RTP payloads as far as their type fields, one room per payload format.
//! Refuses: nothing. A payload that breaks off early keeps the flags of what stood before the break.
//! Tolerated: where a NAL unit should be, an Annex B stream of several with start codes between them or in front, as some
//! recorders send. A NAL unit cannot hold a start code (H.264 §7.4.1), so one that is found is one.
//! Not here: which packet the access unit began with (`log` goes back to the first one with the same timestamp),
//! what parameter sets tell (`picture`).
//! Invariant: parameter sets are kept as bytes, never above [`PARAMETER_SET_BYTES_MAX`].

mod av1;
mod h264;
mod h265;
mod vp8;
mod vp9;

use bytes::Bytes;

use slotcast_core::{media::Codec, packet::PacketFlags};

/// A parameter set above this is not kept.
pub const PARAMETER_SET_BYTES_MAX: usize = 4096;
/// The shortest SPS or PPS that can be valid, and what `profile-level-id` is taken from.
const PARAMETER_SET_BYTES_MIN: usize = 4;
/// Of an aggregation packet, this many NAL units are looked at.
const NALS_PER_PACKET_MAX: usize = 64;
/// What NAL units of an Annex B stream have between them; more zeros may stand in front.
pub(crate) const START_CODE: [u8; 3] = [0, 0, 1];
/// Of the fragment before, so many bytes are kept, to find a start code and a NAL unit's header on the border.
const CARRY_BYTES: usize = 4;
/// Of the next fragment, so many bytes are looked at together with those.
const BORDER_BYTES: usize = 8;
/// SEI payload type of a recovery point: where open groups of pictures and intra refresh let a decoder in.
const SEI_RECOVERY_POINT: u32 = 6;
/// Of an SEI NAL unit, this many bytes are looked through.
const SEI_BYTES_MAX: usize = 4096;

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
    nals: NalState,
}

impl KeyFrameScanner {
    /// For a track of `codec`.
    pub fn new(codec: Codec) -> Self {
        Self { codec, nals: NalState::default() }
    }

    /// What `payload`, one RTP packet's media without padding, holds.
    ///
    /// - `KEY`: the first part of a picture that needs no other, or of a slice of it, or a recovery point. For audio and
    ///   unknown codecs every packet.
    /// - `PARAMETER_SETS`: a VPS, SPS or PPS, or the first part of one.
    ///
    /// Cost: some bytes' look per NAL unit, a copy only when a parameter set changed.
    pub fn scan(&mut self, payload: &[u8]) -> PacketFlags {
        let is_key = match self.codec {
            Codec::H264 => return h264::scan(payload, &mut self.nals),
            Codec::H265 => return h265::scan(payload, &mut self.nals),
            Codec::Vp8 => vp8::starts_key_frame(payload),
            Codec::Vp9 => vp9::starts_key_frame(payload),
            Codec::Av1 => av1::starts_key_frame(payload),
            Codec::Audio | Codec::Other => true,
        };
        key_if(is_key)
    }

    /// No key frame has come for long: until the next one, intra pictures count as such, as they do before the first.
    pub fn accept_intra_pictures(&mut self) {
        self.nals.has_key = false;
    }

    /// The newest parameter sets that came in band; `None` until every kind that the codec has was seen.
    ///
    /// A set whose end is in another fragment than its beginning is not kept. Cost: reference counts only.
    pub fn parameter_sets(&self) -> Option<ParameterSets> {
        let SetStore { newest: [vps, sps, pps], revision } = self.nals.sets.clone();
        if self.codec == Codec::H265 && vps.is_none() {
            return None;
        }
        Some(ParameterSets { revision, vps, sps: sps?, pps: pps? })
    }
}

/// What is known of the NAL units of one track.
#[derive(Clone, Debug, Default)]
struct NalState {
    sets: SetStore,
    /// Whether a picture that needs no other, or a recovery point, has come of late.
    has_key: bool,
    /// The end of the newest fragment, while no picture has begun in the fragmented unit.
    unit_in_parts: Option<[u8; CARRY_BYTES]>,
}

/// A format of NAL units.
trait NalFormat {
    /// Bytes of a NAL unit's header.
    const HEADER_BYTES: usize;

    /// What a NAL unit is, by its header.
    fn kind(header: &[u8]) -> NalKind;

    /// Whether a slice is the first of its picture and intra coded, though it does not say that others may be forgotten.
    fn is_intra(header: &[u8], body: &[u8]) -> bool;
}

#[derive(Clone, Copy, Debug)]
enum NalKind {
    Set(SetKind),
    /// Messages ahead of a picture.
    Sei,
    /// A slice of a picture.
    Picture {
        is_key: bool,
    },
    Other,
}

impl NalState {
    /// One NAL unit, or several in an Annex B stream.
    fn scan_whole<F: NalFormat>(&mut self, bytes: &[u8]) -> PacketFlags {
        bytes
            .split_at_checked(F::HEADER_BYTES)
            .map_or(PacketFlags::EMPTY, |(header, body)| self.scan_units::<F>(header, body, true))
    }

    /// One fragment of a NAL unit, or of an Annex B stream in place of one. Of the fragments after the first only those
    /// are looked through that may still hold the beginning of a picture.
    ///
    /// - `header`: the NAL unit's, made of the fragment's; `starts`, `ends`: the fragment's bits.
    fn scan_fragment<F: NalFormat>(
        &mut self,
        header: &[u8],
        body: &[u8],
        starts: bool,
        ends: bool,
    ) -> PacketFlags {
        let flags = if starts {
            let mut carry = [0xff; CARRY_BYTES];
            carry[CARRY_BYTES - header.len()..].copy_from_slice(header);
            self.unit_in_parts = Some(carry);
            self.scan_units::<F>(header, body, ends)
        } else {
            self.scan_next_fragment::<F>(body)
        };
        if ends {
            self.unit_in_parts = None;
        }
        if let Some(carry) = &mut self.unit_in_parts {
            let (_, kept) = body.split_at(body.len().saturating_sub(CARRY_BYTES));
            carry.rotate_left(kept.len());
            carry[CARRY_BYTES - kept.len()..].copy_from_slice(kept);
        }
        flags
    }

    fn scan_next_fragment<F: NalFormat>(&mut self, body: &[u8]) -> PacketFlags {
        let Some(carry) = self.unit_in_parts else { return PacketFlags::EMPTY };
        let mut border = [0; CARRY_BYTES + BORDER_BYTES];
        let shown = &body[..body.len().min(BORDER_BYTES)];
        border[..CARRY_BYTES].copy_from_slice(&carry);
        border[CARRY_BYTES..][..shown.len()].copy_from_slice(shown);
        let places = [&border[..CARRY_BYTES + shown.len()], body];
        places.into_iter().fold(PacketFlags::EMPTY, |flags, place| {
            let first = behind_start_code(place).and_then(|rest| rest.split_at_checked(F::HEADER_BYTES));
            // A parameter set from here may lack what a lost fragment held: none is kept.
            let more = first.map(|(header, body)| self.scan_units::<F>(header, body, false));
            flags.union(more.unwrap_or_default())
        })
    }

    /// A NAL unit and those behind it, up to the first that belongs to a picture.
    ///
    /// - `ends_here`: whether the last byte of `body` is the last of its NAL unit.
    fn scan_units<F: NalFormat>(&mut self, header: &[u8], body: &[u8], ends_here: bool) -> PacketFlags {
        let (mut header, mut body) = (header, body);
        let mut flags = PacketFlags::EMPTY;
        for _ in 0..NALS_PER_PACKET_MAX {
            let others = behind_leading_start_code(header, body).or_else(|| {
                let (of_unit, others) = self.scan_unit::<F>(header, body, ends_here);
                flags = flags.union(of_unit);
                others
            });
            let Some(next) = others.and_then(|others| others.split_at_checked(F::HEADER_BYTES)) else {
                break;
            };
            (header, body) = next;
        }
        flags
    }

    /// One NAL unit, and what stands behind the start code that ends it; nothing behind the beginning of a picture.
    fn scan_unit<'a, F: NalFormat>(
        &mut self,
        header: &[u8],
        body: &'a [u8],
        ends_here: bool,
    ) -> (PacketFlags, Option<&'a [u8]>) {
        if let NalKind::Picture { is_key } = F::kind(header) {
            self.unit_in_parts = None;
            self.has_key |= is_key;
            // Where a stream has nothing better, players start at intra pictures.
            return (key_if(is_key || (!self.has_key && F::is_intra(header, body))), None);
        }
        let others = behind_start_code(body);
        let unit = others.map_or(body, |others| {
            let unit = &body[..body.len() - others.len() - START_CODE.len()];
            let zeros = unit.iter().rev().take_while(|byte| **byte == 0).count();
            &unit[..unit.len() - zeros]
        });
        let flags = match F::kind(header) {
            NalKind::Set(kind) => {
                if ends_here || others.is_some() {
                    self.sets.keep(kind, header, unit);
                }
                PacketFlags::PARAMETER_SETS
            }
            NalKind::Sei => {
                let is_key = has_recovery_point(unit);
                self.has_key |= is_key;
                key_if(is_key)
            }
            NalKind::Picture { .. } | NalKind::Other => PacketFlags::EMPTY,
        };
        (flags, others)
    }
}

/// What stands behind the first start code in `bytes`.
fn behind_start_code(bytes: &[u8]) -> Option<&[u8]> {
    let at = bytes.windows(START_CODE.len()).position(|window| window == START_CODE)?;
    bytes.get(at + START_CODE.len()..)
}

/// What stands behind the start code, of any number of zeros, that `header` and `body` begin with.
fn behind_leading_start_code<'a>(header: &[u8], body: &'a [u8]) -> Option<&'a [u8]> {
    let zeros = body.iter().take_while(|byte| **byte == 0).count();
    let is_long_enough = header.len() + zeros >= START_CODE.len() - 1;
    if !is_long_enough || header.iter().any(|byte| *byte != 0) || body.get(zeros) != Some(&1) {
        return None;
    }
    body.get(zeros + 1..)
}

/// Whether one of the SEI messages in `rbsp` is a recovery point.
///
/// H.264 §7.3.2.3.1, H.265 §7.3.5: type and size of each message are sums of bytes up to the first that is not 255.
fn has_recovery_point(rbsp: &[u8]) -> bool {
    let mut bytes = unescaped(rbsp.get(..SEI_BYTES_MAX).unwrap_or(rbsp));
    while let (Some(payload_type), Some(size)) =
        (sum_to_first_below_255(&mut bytes), sum_to_first_below_255(&mut bytes))
    {
        if payload_type == SEI_RECOVERY_POINT {
            return true;
        }
        if let Some(last) = (size as usize).checked_sub(1) {
            bytes.nth(last);
        }
    }
    false
}

fn sum_to_first_below_255(bytes: &mut impl Iterator<Item = u8>) -> Option<u32> {
    let mut sum = 0;
    loop {
        let byte = bytes.next()?;
        sum += u32::from(byte);
        if byte < 255 {
            return Some(sum);
        }
    }
}

/// The newest of each kind.
#[derive(Clone, Debug, Default)]
struct SetStore {
    /// By [`SetKind`].
    newest: [Option<Bytes>; 3],
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
    /// Keeps a NAL unit in place of the one before, if it differs and its size is allowed.
    fn keep(&mut self, kind: SetKind, header: &[u8], body: &[u8]) {
        if !(PARAMETER_SET_BYTES_MIN..=PARAMETER_SET_BYTES_MAX).contains(&(header.len() + body.len())) {
            return;
        }
        let place = &mut self.newest[kind as usize];
        if place.as_deref().and_then(|before| before.strip_prefix(header)) != Some(body) {
            *place = Some([header, body].concat().into());
            self.revision += 1;
        }
    }
}

const fn key_if(is_key: bool) -> PacketFlags {
    if is_key { PacketFlags::KEY } else { PacketFlags::EMPTY }
}

/// The NAL units of an aggregation packet behind its header: each has its size in 2 bytes in front.
/// Ends at a size that does not fit, and after [`NALS_PER_PACKET_MAX`].
pub(crate) fn aggregated(mut rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    let next = move || {
        let (size, behind) = rest.split_first_chunk::<2>()?;
        let (nal, behind) = behind.split_at_checked(usize::from(u16::from_be_bytes(*size)))?;
        rest = behind;
        Some(nal)
    };
    std::iter::from_fn(next).take(NALS_PER_PACKET_MAX)
}

/// `bytes` without the 3 that stands behind two zeros to keep start codes out (H.264 §7.4.1; H.265 §7.4.2 likewise).
fn unescaped(bytes: &[u8]) -> impl Iterator<Item = u8> {
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
