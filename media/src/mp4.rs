//! Reads the tracks of an MP4 file: H.264 and AAC with their sample tables (ISO/IEC 14496-12, -14, -15).
//!
//! Owns: boxes, sample tables, the edit that says where a track begins, `avcC` and `esds`.
//! Refuses: fragmented files, more than the limits below, tables that do not fit each other or the file.
//! Not here: what is done with the samples (`clip`). Tracks of other codecs are passed over.
//! Holds: no bytes lead to a panic; the samples of a track together are never more than the file.

use std::{num::NonZeroU32, ops::Range};

use bytes::Bytes;

use super::clip::{ClipError, Format};

/// Largest file that is read.
pub(super) const FILE_BYTES_MAX: usize = 64 << 20;
/// Most samples of one track.
const SAMPLES_MAX: usize = 200_000;
/// Most tracks of one file, those of other codecs included.
const TRAKS_MAX: usize = 16;
/// Longest track, and the farthest that an edit moves one.
const SECONDS_MAX: u64 = 6 * 3600;
/// Ticks per second of every video track (RFC 6184 §8.2.1).
const VIDEO_CLOCK_RATE: NonZeroU32 = NonZeroU32::new(90_000).expect("not zero");
/// Sampling rates by index (ISO/IEC 14496-3 table 1.18).
const SAMPLING_RATES: [u32; 13] =
    [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];

/// Descriptor tags of `esds` (ISO/IEC 14496-1 §7.2.2.1).
const ES_DESCRIPTOR: u8 = 3;
const DECODER_CONFIG: u8 = 4;
const DECODER_SPECIFIC_INFO: u8 = 5;
/// AAC as the decoder config names it.
const OBJECT_TYPE_AAC: u8 = 0x40;
/// AAC-LC as an AudioSpecificConfig names it.
const OBJECT_TYPE_LC: u16 = 2;
/// Longest parameter set: two of them fit a packet.
const SET_BYTES_MAX: usize = 500;

/// A track that can be sent.
pub(super) struct Mp4Track {
    pub(super) format: Format,
    pub(super) clock_rate: NonZeroU32,
    /// Where the track's first sample stands on the film's timeline, in nanoseconds: after zero behind an empty edit,
    /// before zero when an encoder's lead-in is to be cut off.
    pub(super) start_nanos: i64,
    /// 1 or more.
    pub(super) samples: Vec<Sample>,
    /// The end of the last sample, from the start of the first; above 0.
    pub(super) end_nanos: u64,
}

/// One access unit.
pub(super) struct Sample {
    /// Where it is in the file; inside it.
    pub(super) place: Range<usize>,
    /// From the start of the first sample.
    pub(super) decode_nanos: u64,
    /// Later where pictures are shown in another order.
    pub(super) shown_nanos: u64,
    pub(super) is_key: bool,
}

/// The tracks of `file` that can be sent, in its order.
pub(super) fn tracks(file: &[u8]) -> Result<Vec<Mp4Track>, ClipError> {
    if file.len() > FILE_BYTES_MAX {
        return Err(ClipError::Limit { what: "bytes of file", max: FILE_BYTES_MAX, got: file.len() });
    }
    let moov = Reader { bytes: file, at: 0 }.required(b"moov", "moov")?;
    let movie_timescale = timescale(moov.required(b"mvhd", "mvhd")?)?;
    let mut tracks = Vec::new();
    let mut count = 0;
    let mut boxes = moov;
    while let Some((kind, body)) = boxes.next_box()? {
        if kind != *b"trak" {
            continue;
        }
        count += 1;
        if count > TRAKS_MAX {
            return Err(ClipError::Limit { what: "tracks", max: TRAKS_MAX, got: count });
        }
        tracks.extend(track(file, body, movie_timescale)?);
    }
    Ok(tracks)
}

/// `None` for a track of another codec, and for one without samples.
fn track(file: &[u8], trak: Reader<'_>, movie_timescale: NonZeroU32) -> Result<Option<Mp4Track>, ClipError> {
    let mdia = trak.required(b"mdia", "mdia")?;
    let timescale = timescale(mdia.required(b"mdhd", "mdhd")?)?;
    let stbl = mdia.required(b"minf", "minf")?.required(b"stbl", "stbl")?;
    let Some((format, clock_rate)) = sample_format(stbl.required(b"stsd", "stsd")?)? else { return Ok(None) };
    let (samples, end_nanos) = samples(file, stbl, timescale)?;
    if samples.is_empty() || end_nanos == 0 {
        return Ok(None);
    }
    let start_nanos = start_nanos(trak, movie_timescale, timescale)?;
    Ok(Some(Mp4Track { format, clock_rate, start_nanos, samples, end_nanos }))
}

/// `ticks` of a clock of `timescale` Hz; `None` above [`SECONDS_MAX`].
fn nanos(ticks: u64, timescale: NonZeroU32) -> Option<u64> {
    let nanos = u128::from(ticks) * 1_000_000_000 / u128::from(timescale.get());
    u64::try_from(nanos).ok().filter(|nanos| *nanos <= SECONDS_MAX * 1_000_000_000)
}

/// Of `mvhd` or `mdhd`.
fn timescale(mut header: Reader<'_>) -> Result<NonZeroU32, ClipError> {
    let version = header.u32()? >> 24;
    header.take(if version == 1 { 16 } else { 8 })?;
    let at_byte = header.at;
    NonZeroU32::new(header.u32()?).ok_or(ClipError::Malformed { what: "timescale", at_byte })
}

fn start_nanos(trak: Reader<'_>, movie: NonZeroU32, media: NonZeroU32) -> Result<i64, ClipError> {
    let Some(edts) = trak.child(b"edts")? else { return Ok(0) };
    let Some(mut elst) = edts.child(b"elst")? else { return Ok(0) };
    let version = elst.u32()? >> 24;
    // Empty edits, then the first that shows something; what a film cuts later is not followed.
    let entries = elst.u32()?.min(4);
    let mut start: i64 = 0;
    for _ in 0..entries {
        let at_byte = elst.at;
        let (duration, media_time) = if version == 1 {
            (elst.u64()?, elst.u64()?.cast_signed())
        } else {
            (u64::from(elst.u32()?), i64::from(elst.u32()?.cast_signed()))
        };
        elst.u32()?;
        let signed = |ticks, rate| {
            let nanos = nanos(ticks, rate).ok_or(ClipError::Malformed { what: "elst", at_byte })?;
            Ok(nanos.cast_signed())
        };
        match u64::try_from(media_time) {
            Err(_) => start += signed(duration, movie)?,
            Ok(cut) => return Ok(start - signed(cut, media)?),
        }
    }
    Ok(start)
}

/// What the track holds and its RTP clock; `None` for another codec.
fn sample_format(mut stsd: Reader<'_>) -> Result<Option<(Format, NonZeroU32)>, ClipError> {
    stsd.take(8)?;
    let Some((kind, mut entry)) = stsd.next_box()? else { return Ok(None) };
    match &kind {
        b"avc1" | b"avc3" => {
            entry.take(78)?;
            Ok(Some((parameter_sets(entry.required(b"avcC", "avcC")?)?, VIDEO_CLOCK_RATE)))
        }
        b"mp4a" => {
            entry.take(8)?;
            let version = entry.u16()?;
            // QuickTime's versions of the entry are longer.
            entry.take(18 + [0, 16, 36].get(usize::from(version)).copied().unwrap_or(0))?;
            let esds = entry.required(b"esds", "esds")?;
            let Some(config) = audio_config(esds)? else { return Ok(None) };
            let malformed = ClipError::Malformed { what: "AudioSpecificConfig", at_byte: esds.at };
            audio_format(config).map(Some).ok_or(malformed)
        }
        _ => Ok(None),
    }
}

/// ISO/IEC 14496-15 §5.3.3.1. Of several parameter sets, the first.
fn parameter_sets(mut avcc: Reader<'_>) -> Result<Format, ClipError> {
    let malformed = ClipError::Malformed { what: "avcC", at_byte: avcc.at };
    let head = avcc.take(5)?;
    let length_bytes = head.last().map_or(0, |byte| usize::from(byte & 3) + 1);
    if head.first() != Some(&1) {
        return Err(malformed);
    }
    let mut first = |mask: u8| -> Result<Bytes, ClipError> {
        let count = avcc.u8()? & mask;
        let mut first = Bytes::new();
        for index in 0..count {
            let length = usize::from(avcc.u16()?);
            let set = avcc.take(length)?;
            if index == 0 {
                first = Bytes::copy_from_slice(set);
            }
        }
        Ok(first)
    };
    let (sps, pps) = (first(0x1f)?, first(0xff)?);
    // The SDP names profile and level from the first bytes, and both sets travel in one packet.
    let fits = (4..=SET_BYTES_MAX).contains(&sps.len()) && (1..=SET_BYTES_MAX).contains(&pps.len());
    if fits { Ok(Format::H264 { length_bytes, sps, pps }) } else { Err(malformed) }
}

/// The AudioSpecificConfig; `None` when it is not AAC.
fn audio_config(mut esds: Reader<'_>) -> Result<Option<&[u8]>, ClipError> {
    esds.u32()?;
    let mut es = esds.descriptor(ES_DESCRIPTOR)?;
    es.u16()?;
    let flags = es.u8()?;
    if flags & 0x80 != 0 {
        es.u16()?;
    }
    if flags & 0x40 != 0 {
        let length = es.u8()?;
        es.take(usize::from(length))?;
    }
    if flags & 0x20 != 0 {
        es.u16()?;
    }
    let mut decoder = es.descriptor(DECODER_CONFIG)?;
    if decoder.u8()? != OBJECT_TYPE_AAC {
        return Ok(None);
    }
    decoder.take(12)?;
    let config = decoder.descriptor(DECODER_SPECIFIC_INFO)?;
    Ok(Some(config.bytes))
}

/// AAC-LC with a standard sampling rate and channel layout (ISO/IEC 14496-3 §1.6.2.1); `None` for all else.
fn audio_format(config: &[u8]) -> Option<(Format, NonZeroU32)> {
    let bits = u16::from_be_bytes(*config.first_chunk::<2>()?);
    let (object_type, index, channels) = (bits >> 11, usize::from(bits >> 7 & 0xf), bits >> 3 & 0xf);
    let rate = SAMPLING_RATES.get(index).copied().and_then(NonZeroU32::new)?;
    // What stands behind, such as SBR that is signalled beside, a decoder finds in the stream by itself.
    let config = (bits & !0x7).to_be_bytes();
    let is_known = object_type == OBJECT_TYPE_LC && (1..=7).contains(&channels);
    let channels = if channels == 7 { 8 } else { channels as u8 };
    is_known.then_some((Format::Aac { config, channels }, rate))
}

/// The samples, and where the last one ends.
fn samples(file: &[u8], stbl: Reader<'_>, timescale: NonZeroU32) -> Result<(Vec<Sample>, u64), ClipError> {
    let sizes = sizes(stbl.required(b"stsz", "stsz")?, file.len())?;
    let offsets = match stbl.child(b"co64")? {
        Some(co64) => ChunkOffsets::new(co64, 8)?,
        None => ChunkOffsets::new(stbl.required(b"stco", "stco")?, 4)?,
    };
    let mut places = Places::new(stbl.required(b"stsc", "stsc")?, offsets)?;
    let mut durations = Runs::new(stbl.required(b"stts", "stts")?)?;
    let mut shifts = stbl.child(b"ctts")?.map(Runs::new).transpose()?;
    let mut keys = stbl.child(b"stss")?.map(KeyNumbers::new).transpose()?;
    let in_time = |ticks| {
        nanos(ticks, timescale).ok_or(ClipError::Malformed { what: "sample times", at_byte: stbl.at })
    };
    let mut decode: u64 = 0;
    let mut samples = Vec::with_capacity(sizes.len());
    for (number, size) in (1..).zip(sizes) {
        let from = places.next(size)?;
        let to = from.saturating_add(size);
        if to > file.len() {
            return Err(ClipError::Sample { number, end_byte: to, file_bytes: file.len() });
        }
        let shift = shifts.as_mut().map_or(Ok(0), Runs::next)?.cast_signed();
        samples.push(Sample {
            place: from..to,
            decode_nanos: in_time(decode)?,
            shown_nanos: in_time(decode.saturating_add_signed(shift.into()))?,
            is_key: keys.as_mut().is_none_or(|keys| keys.is_key(number)),
        });
        decode += u64::from(durations.next()?);
    }
    Ok((samples, in_time(decode)?))
}

/// - `file_bytes`: the samples together may not be more.
fn sizes(mut stsz: Reader<'_>, file_bytes: usize) -> Result<Vec<usize>, ClipError> {
    let at_byte = stsz.at;
    stsz.u32()?;
    let same = stsz.u32()? as usize;
    let count = stsz.u32()? as usize;
    if count > SAMPLES_MAX {
        return Err(ClipError::Limit { what: "samples", max: SAMPLES_MAX, got: count });
    }
    let mut all = 0usize;
    let sizes = (0..count).map(|_| {
        let size = if same == 0 { stsz.u32()? as usize } else { same };
        all = all.saturating_add(size);
        if all > file_bytes { Err(ClipError::Malformed { what: "stsz", at_byte }) } else { Ok(size) }
    });
    sizes.collect()
}

/// A table of (samples, value): `stts`, `ctts`.
struct Runs<'a> {
    entries: Reader<'a>,
    left: u32,
    value: u32,
}

impl<'a> Runs<'a> {
    fn new(mut table: Reader<'a>) -> Result<Self, ClipError> {
        table.take(8)?;
        Ok(Self { entries: table, left: 0, value: 0 })
    }

    /// Of the next sample.
    fn next(&mut self) -> Result<u32, ClipError> {
        // Entries of no samples end with the table.
        while self.left == 0 {
            self.left = self.entries.u32()?;
            self.value = self.entries.u32()?;
        }
        self.left -= 1;
        Ok(self.value)
    }
}

/// `stss`: numbers of key samples, rising.
struct KeyNumbers<'a> {
    entries: Reader<'a>,
    next: usize,
}

impl<'a> KeyNumbers<'a> {
    fn new(mut stss: Reader<'a>) -> Result<Self, ClipError> {
        stss.take(8)?;
        let next = stss.u32().unwrap_or(0) as usize;
        Ok(Self { entries: stss, next })
    }

    fn is_key(&mut self, number: usize) -> bool {
        let is_key = self.next == number;
        if is_key {
            self.next = self.entries.u32().unwrap_or(0) as usize;
        }
        is_key
    }
}

/// `stco` or `co64`.
struct ChunkOffsets<'a> {
    entries: Reader<'a>,
    width: usize,
}

impl<'a> ChunkOffsets<'a> {
    fn new(mut table: Reader<'a>, width: usize) -> Result<Self, ClipError> {
        table.take(8)?;
        Ok(Self { entries: table, width })
    }

    fn next(&mut self) -> Result<usize, ClipError> {
        let at_byte = self.entries.at;
        let offset = if self.width == 8 { self.entries.u64()? } else { u64::from(self.entries.u32()?) };
        usize::try_from(offset).map_err(|_| ClipError::Malformed { what: "co64", at_byte })
    }
}

/// Where each sample stands in the file: chunk offsets, and `stsc`'s samples per chunk.
struct Places<'a> {
    offsets: ChunkOffsets<'a>,
    runs: Reader<'a>,
    per_chunk: u32,
    /// The chunk from which the next entry of `stsc` holds, from 1; `None` behind the last.
    next_run_at: Option<u32>,
    chunk: u32,
    left: u32,
    at: usize,
}

impl<'a> Places<'a> {
    fn new(mut stsc: Reader<'a>, offsets: ChunkOffsets<'a>) -> Result<Self, ClipError> {
        stsc.take(8)?;
        let next_run_at = Some(stsc.u32()?);
        Ok(Self { offsets, runs: stsc, per_chunk: 0, next_run_at, chunk: 0, left: 0, at: 0 })
    }

    /// Of the next sample, which has `size` bytes.
    fn next(&mut self, size: usize) -> Result<usize, ClipError> {
        // Chunks of no samples end with the table of chunks.
        while self.left == 0 {
            self.at = self.offsets.next()?;
            self.chunk = self.chunk.saturating_add(1);
            if self.next_run_at.is_some_and(|at| at <= self.chunk) {
                self.per_chunk = self.runs.u32()?;
                self.runs.u32()?;
                self.next_run_at = self.runs.u32().ok();
            }
            self.left = self.per_chunk;
        }
        self.left -= 1;
        let at = self.at;
        self.at = at.saturating_add(size);
        Ok(at)
    }
}

/// Bytes, and where they stand in the file.
#[derive(Clone, Copy)]
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], ClipError> {
        let split = self.bytes.split_at_checked(count);
        let (taken, rest) = split.ok_or(ClipError::Truncated {
            at_byte: self.at,
            expected_bytes: count,
            got_bytes: self.bytes.len(),
        })?;
        self.bytes = rest;
        self.at += count;
        Ok(taken)
    }

    fn number(&mut self, bytes: usize) -> Result<u64, ClipError> {
        Ok(self.take(bytes)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn u8(&mut self) -> Result<u8, ClipError> {
        Ok(self.number(1)? as u8)
    }

    fn u16(&mut self) -> Result<u16, ClipError> {
        Ok(self.number(2)? as u16)
    }

    fn u32(&mut self) -> Result<u32, ClipError> {
        Ok(self.number(4)? as u32)
    }

    fn u64(&mut self) -> Result<u64, ClipError> {
        self.number(8)
    }

    /// The next box: its kind and body; `None` at the end.
    fn next_box(&mut self) -> Result<Option<([u8; 4], Self)>, ClipError> {
        // Some writers end a list of boxes with four zero bytes.
        if self.bytes.len() < 8 && self.bytes.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let at_byte = self.at;
        let size = self.u32()?;
        let kind = self.u32()?.to_be_bytes();
        let body_bytes = match size {
            0 => Some(self.bytes.len()),
            1 => usize::try_from(self.u64()?).ok().and_then(|size| size.checked_sub(16)),
            _ => (size as usize).checked_sub(8),
        };
        let body_bytes = body_bytes.ok_or(ClipError::Malformed { what: "box", at_byte })?;
        let at = self.at;
        Ok(Some((kind, Self { bytes: self.take(body_bytes)?, at })))
    }

    /// The body of the first box of this kind, which must be there; `name` is the kind as text.
    fn required(self, wanted: &[u8; 4], name: &'static str) -> Result<Self, ClipError> {
        self.child(wanted)?.ok_or(ClipError::Missing(name))
    }

    /// The body of the first box of this kind.
    fn child(mut self, wanted: &[u8; 4]) -> Result<Option<Self>, ClipError> {
        while let Some((kind, body)) = self.next_box()? {
            if kind == *wanted {
                return Ok(Some(body));
            }
        }
        Ok(None)
    }

    /// The body of the next descriptor, which must have this tag.
    fn descriptor(&mut self, wanted: u8) -> Result<Self, ClipError> {
        let at_byte = self.at;
        let tag = self.u8()?;
        let mut length = 0usize;
        for _ in 0..4 {
            let byte = self.u8()?;
            length = length << 7 | usize::from(byte & 0x7f);
            if byte & 0x80 == 0 {
                break;
            }
        }
        if tag != wanted {
            return Err(ClipError::Malformed { what: "esds", at_byte });
        }
        let at = self.at;
        Ok(Self { bytes: self.take(length)?, at })
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::{super::clip::Clip, *};

    const CLIP: &[u8] = include_bytes!("clip.mp4");
    /// Where the box of the samples begins; all tables stand before.
    const MDAT_AT: usize = 32 + 4_552 + 8;

    /// Reads `file` and, where it is a clip, plays two rounds of it.
    fn play(file: Vec<u8>) -> bool {
        let clip = Clip::parse(file.into()).map(std::sync::Arc::new);
        if let Ok(clip) = &clip {
            assert!(clip.length() > std::time::Duration::ZERO);
            clip.play().take(600).for_each(drop);
        }
        clip.is_ok()
    }

    #[test]
    fn the_bundled_clip_has_its_tables_in_front() {
        assert_eq!(CLIP.get(MDAT_AT + 4..MDAT_AT + 8), Some(&b"mdat"[..]));
    }

    #[test]
    fn a_file_that_is_cut_anywhere_is_refused_without_a_panic() {
        let cuts = (0..MDAT_AT + 100).chain((MDAT_AT..CLIP.len()).step_by(997));
        for cut in cuts {
            assert!(!play(CLIP[..cut].to_vec()), "cut at {cut}");
        }
    }

    #[test]
    fn every_byte_of_the_tables_may_be_wrong() {
        let mut still_clips = 0;
        for at in 0..MDAT_AT {
            for wrong in [0, 0x7f, 0xff] {
                let mut file = CLIP.to_vec();
                file[at] = wrong;
                still_clips += u32::from(play(file));
            }
        }
        assert!(still_clips > 1_000, "many bytes say nothing that matters: {still_clips}");
    }

    #[test]
    fn configs_are_read_as_the_standard_says() {
        let rate = |config: &[u8]| audio_format(config).map(|(_, rate)| rate.get());
        assert_eq!(rate(&[0x14, 0x08]), Some(16_000));
        assert_eq!(rate(&[0x12, 0x10]), Some(44_100));
        assert_eq!(rate(&[0x12]), None);
        assert_eq!(rate(&[0x2a, 0x10]), None, "HE-AAC");
        assert_eq!(rate(&[0x17, 0x80]), None, "a rate of its own");
        assert_eq!(rate(&[0x14, 0x00]), None, "a layout of its own");
    }

    proptest! {
        #[test]
        fn many_wrong_bytes_make_no_panic(wrong in vec((0..MDAT_AT, any::<u8>()), 1..30)) {
            let mut file = CLIP.to_vec();
            for (at, byte) in wrong {
                file[at] = byte;
            }
            play(file);
        }

        #[test]
        fn noise_is_refused(file in vec(any::<u8>(), 0..300)) {
            prop_assert!(!play(file));
        }
    }
}
