//! Reads the tracks of an MP4 file: H.264 and AAC with their sample tables (ISO/IEC 14496-12, -14, -15).
//!
//! Owns: the walk through the boxes, the limits, what the tables of a track say together.
//! Refuses: fragmented files, more than the limits below, tables that do not fit each other or the file.
//! Not here: what stands in a single box (the crate `mp4-atom`, which validates nothing), what is done with the samples
//! (`clip`). Tracks of other codecs are passed over.
//! Invariant: no bytes lead to a panic; a box is decoded only within its limit, so that the memory is bounded, and so is
//! the depth of `esds`, whose descriptors the crate reads by recursion; the samples of a track together are never more
//! than the file.

use std::{iter::repeat_n, num::NonZeroU32, ops::Range};

use mp4_atom::{
    Atom, Avcc, Co64, Ctts, Decode, Elst, Esds, Header, Mdhd, Mvhd, Stco, Stsc, StscEntry, Stss, Stsz,
    StszSamples, Stts,
};

use crate::format::{ClipError, Format};

/// Largest file that is read.
pub(super) const FILE_BYTES_MAX: usize = 64 << 20;
/// Most samples of one track.
const SAMPLES_MAX: usize = 200_000;
/// Largest sample table: the widest has 12 bytes for each entry.
const TABLE_BYTES_MAX: usize = 16 + 12 * SAMPLES_MAX;
/// Largest box of any other kind.
const BOX_BYTES_MAX: usize = 64 * 1024;
/// Largest `esds`: its descriptors hold each other, at seven bytes a level at least.
const ESDS_BYTES_MAX: usize = 512;
/// Most tracks of one file, those of other codecs included.
const TRAKS_MAX: usize = 16;
/// Longest track, and the farthest that an edit moves one.
const SECONDS_MAX: u64 = 6 * 3600;
/// Ticks per second of every video track (RFC 6184 §8.2.1).
const VIDEO_CLOCK_RATE: NonZeroU32 = NonZeroU32::new(90_000).expect("not zero");
/// Sampling rates by index (ISO/IEC 14496-3 table 1.18).
const SAMPLING_RATES: [u32; 13] =
    [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];

/// AAC as the decoder config names it (ISO/IEC 14496-1 §7.2.6.6).
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
    let moov = Boxes { bytes: file, at: 0 }.required(b"moov", "moov")?;
    let mvhd: Mvhd = moov.read("mvhd", BOX_BYTES_MAX)?;
    let movie_timescale = timescale(mvhd.timescale, moov.at)?;
    let (mut tracks, mut boxes, mut count) = (Vec::new(), moov, 0);
    while let Some((kind, trak)) = boxes.next_box()? {
        if kind != *b"trak" {
            continue;
        }
        count += 1;
        if count > TRAKS_MAX {
            return Err(ClipError::Limit { what: "tracks", max: TRAKS_MAX, got: count });
        }
        tracks.extend(track(file, trak, movie_timescale)?);
    }
    Ok(tracks)
}

/// `None` for a track of another codec, and for one without samples.
fn track(file: &[u8], trak: Boxes<'_>, movie_timescale: NonZeroU32) -> Result<Option<Mp4Track>, ClipError> {
    let mdia = trak.required(b"mdia", "mdia")?;
    let mdhd: Mdhd = mdia.read("mdhd", BOX_BYTES_MAX)?;
    let timescale = timescale(mdhd.timescale, mdia.at)?;
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

fn timescale(hertz: u32, at_byte: usize) -> Result<NonZeroU32, ClipError> {
    NonZeroU32::new(hertz).ok_or(ClipError::Malformed { what: "timescale", at_byte })
}

fn start_nanos(trak: Boxes<'_>, movie: NonZeroU32, media: NonZeroU32) -> Result<i64, ClipError> {
    let Some(edts) = trak.child(b"edts")? else { return Ok(0) };
    let Some(elst): Option<Elst> = edts.read_if_there("elst", BOX_BYTES_MAX)? else { return Ok(0) };
    let signed = |ticks, rate| -> Result<i64, ClipError> {
        let nanos = nanos(ticks, rate).ok_or(ClipError::Malformed { what: "elst", at_byte: edts.at })?;
        Ok(nanos.cast_signed())
    };
    let mut start: i64 = 0;
    // Empty edits, then the first that shows something; what a film cuts later is not followed.
    for edit in elst.entries.iter().take(4) {
        match edit.media_time {
            None => start += signed(edit.segment_duration, movie)?,
            Some(cut) => return Ok(start - signed(cut, media)?),
        }
    }
    Ok(start)
}

/// What the track holds and its RTP clock; `None` for another codec.
fn sample_format(mut stsd: Boxes<'_>) -> Result<Option<(Format, NonZeroU32)>, ClipError> {
    stsd.skip(8)?;
    let Some((kind, mut entry)) = stsd.next_box()? else { return Ok(None) };
    match &kind {
        b"avc1" | b"avc3" => {
            entry.skip(78)?;
            let malformed = ClipError::Malformed { what: "avcC", at_byte: entry.at };
            let avcc: Avcc = entry.read("avcC", BOX_BYTES_MAX)?;
            parameter_sets(avcc).map(|format| Some((format, VIDEO_CLOCK_RATE))).ok_or(malformed)
        }
        b"mp4a" => {
            let version = entry.bytes.get(9).copied().unwrap_or(0);
            // QuickTime's versions of the entry are longer.
            entry.skip(28 + [0, 16, 36].get(usize::from(version)).copied().unwrap_or(0))?;
            let malformed = ClipError::Malformed { what: "AudioSpecificConfig", at_byte: entry.at };
            let esds: Esds = entry.read("esds", ESDS_BYTES_MAX)?;
            let decoder = esds.es_desc.dec_config;
            if decoder.object_type_indication != OBJECT_TYPE_AAC {
                return Ok(None);
            }
            let config = decoder.dec_specific.map(|specific| specific.raw);
            config.as_deref().and_then(audio_format).map(Some).ok_or(malformed)
        }
        _ => Ok(None),
    }
}

/// ISO/IEC 14496-15 §5.3.3.1. Of several parameter sets, the first.
fn parameter_sets(avcc: Avcc) -> Option<Format> {
    let [sps, pps] = [avcc.sequence_parameter_sets, avcc.picture_parameter_sets]
        .map(|sets| sets.into_iter().next().unwrap_or_default());
    // The SDP names profile and level from the first bytes, and both sets travel in one packet.
    let fits = (4..=SET_BYTES_MAX).contains(&sps.len()) && (1..=SET_BYTES_MAX).contains(&pps.len());
    let length_bytes = usize::from(avcc.length_size);
    fits.then(|| Format::H264 { length_bytes, sps: sps.into(), pps: pps.into() })
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
fn samples(file: &[u8], stbl: Boxes<'_>, timescale: NonZeroU32) -> Result<(Vec<Sample>, u64), ClipError> {
    let malformed = |what| ClipError::Malformed { what, at_byte: stbl.at };
    let sizes = sizes(stbl.read("stsz", TABLE_BYTES_MAX)?, file.len(), stbl.at)?;
    let offsets = match stbl.read_if_there::<Co64>("co64", TABLE_BYTES_MAX)? {
        Some(co64) => co64.entries,
        None => {
            let stco: Stco = stbl.read("stco", TABLE_BYTES_MAX)?;
            stco.entries.into_iter().map(u64::from).collect()
        }
    };
    let stsc: Stsc = stbl.read("stsc", TABLE_BYTES_MAX)?;
    let mut places = Places::new(stsc, offsets);
    let stts: Stts = stbl.read("stts", TABLE_BYTES_MAX)?;
    let mut durations =
        stts.entries.into_iter().flat_map(|run| repeat_n(run.sample_delta, run.sample_count as usize));
    let ctts: Option<Ctts> = stbl.read_if_there("ctts", TABLE_BYTES_MAX)?;
    let mut shifts = ctts.map(|ctts| {
        ctts.entries.into_iter().flat_map(|run| repeat_n(run.sample_offset, run.sample_count as usize))
    });
    let stss: Option<Stss> = stbl.read_if_there("stss", TABLE_BYTES_MAX)?;
    let mut keys = stss.map(|stss| stss.entries.into_iter().peekable());
    let in_time = |ticks| nanos(ticks, timescale).ok_or_else(|| malformed("sample times"));
    let mut decode: u64 = 0;
    let mut samples = Vec::with_capacity(sizes.len());
    for (number, size) in (1u32..).zip(sizes) {
        let from = places.next(size).ok_or_else(|| malformed("stsc"))?;
        let to = from.saturating_add(size);
        if to > file.len() {
            let number = number as usize;
            return Err(ClipError::Sample { number, end_byte: to, file_bytes: file.len() });
        }
        // Some writers put negative shifts into version 0 of the table, as 32 bits.
        let shift = match &mut shifts {
            Some(shifts) => shifts.next().ok_or_else(|| malformed("ctts"))? as i32,
            None => 0,
        };
        samples.push(Sample {
            place: from..to,
            decode_nanos: in_time(decode)?,
            shown_nanos: in_time(decode.saturating_add_signed(shift.into()))?,
            is_key: keys.as_mut().is_none_or(|keys| keys.next_if_eq(&number).is_some()),
        });
        decode += u64::from(durations.next().ok_or_else(|| malformed("stts"))?);
    }
    Ok((samples, in_time(decode)?))
}

/// - `file_bytes`: the samples together may not be more.
fn sizes(stsz: Stsz, file_bytes: usize, at_byte: usize) -> Result<Vec<usize>, ClipError> {
    let count = match &stsz.samples {
        StszSamples::Identical { count, .. } => *count as usize,
        StszSamples::Different { sizes } => sizes.len(),
    };
    if count > SAMPLES_MAX {
        return Err(ClipError::Limit { what: "samples", max: SAMPLES_MAX, got: count });
    }
    let sizes = match stsz.samples {
        StszSamples::Identical { size, .. } => vec![size as usize; count],
        StszSamples::Different { sizes } => sizes.into_iter().map(|size| size as usize).collect(),
    };
    let all = sizes.iter().try_fold(0usize, |all, size| all.checked_add(*size));
    match all.filter(|all| *all <= file_bytes) {
        Some(_) => Ok(sizes),
        None => Err(ClipError::Malformed { what: "stsz", at_byte }),
    }
}

/// Where each sample stands in the file: chunk offsets, and `stsc`'s samples per chunk.
struct Places {
    offsets: std::vec::IntoIter<u64>,
    runs: std::iter::Peekable<std::vec::IntoIter<StscEntry>>,
    per_chunk: u32,
    chunk: u32,
    left: u32,
    at: usize,
}

impl Places {
    fn new(stsc: Stsc, offsets: Vec<u64>) -> Self {
        let runs = stsc.entries.into_iter().peekable();
        Self { offsets: offsets.into_iter(), runs, per_chunk: 0, chunk: 0, left: 0, at: 0 }
    }

    /// Of the next sample, which has `size` bytes; `None` behind the last chunk.
    fn next(&mut self, size: usize) -> Option<usize> {
        // Chunks of no samples end with the table of chunks.
        while self.left == 0 {
            self.at = usize::try_from(self.offsets.next()?).unwrap_or(usize::MAX);
            self.chunk = self.chunk.saturating_add(1);
            if let Some(run) = self.runs.next_if(|run| run.first_chunk <= self.chunk) {
                self.per_chunk = run.samples_per_chunk;
            }
            self.left = self.per_chunk;
        }
        self.left -= 1;
        let at = self.at;
        self.at = at.saturating_add(size);
        Some(at)
    }
}

/// A list of boxes, and where it stands in the file.
#[derive(Clone, Copy)]
struct Boxes<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Boxes<'a> {
    fn skip(&mut self, count: usize) -> Result<&'a [u8], ClipError> {
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

    /// The next box: its kind and body; `None` at the end.
    fn next_box(&mut self) -> Result<Option<([u8; 4], Self)>, ClipError> {
        // Some writers end a list of boxes with four zero bytes.
        if self.bytes.len() < 8 && self.bytes.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let mut rest = self.bytes;
        let header =
            Header::decode(&mut rest).map_err(|_| ClipError::Malformed { what: "box", at_byte: self.at })?;
        self.skip(self.bytes.len() - rest.len())?;
        let at = self.at;
        let bytes = self.skip(header.size.unwrap_or(self.bytes.len()))?;
        Ok(Some((header.kind.into(), Self { bytes, at })))
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

    /// The first box of this kind, which must be there.
    ///
    /// - `bytes_max`: one that is longer is refused before it is decoded.
    fn read<T: Atom>(self, name: &'static str, bytes_max: usize) -> Result<T, ClipError> {
        self.read_if_there(name, bytes_max)?.ok_or(ClipError::Missing(name))
    }

    /// The first box of this kind; see [`read`](Self::read).
    fn read_if_there<T: Atom>(self, name: &'static str, bytes_max: usize) -> Result<Option<T>, ClipError> {
        let Some(body) = self.child(&T::KIND.into())? else { return Ok(None) };
        if body.bytes.len() > bytes_max {
            return Err(ClipError::Limit { what: name, max: bytes_max, got: body.bytes.len() });
        }
        let decoded = T::decode_body(&mut &body.bytes[..]);
        decoded.map(Some).map_err(|_| ClipError::Malformed { what: name, at_byte: body.at })
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
    fn descriptors_that_hold_each_other_are_refused_before_they_are_read() {
        let read = |levels| {
            let mut body = Vec::new();
            for _ in 0..levels {
                // ES_ID and flags, then the next one.
                let inner = [&[0, 1, 0][..], &body].concat();
                let length = [21, 14, 7].map(|shift| 0x80 | (inner.len() >> shift) as u8 & 0x7f);
                body = [&[3][..], &length, &[inner.len() as u8 & 0x7f], &inner].concat();
            }
            let head = [&(body.len() as u32 + 12).to_be_bytes()[..], b"esds", &[0; 4]].concat();
            let file = [head, body].concat();
            Boxes { bytes: &file, at: 0 }.read::<Esds>("esds", ESDS_BYTES_MAX)
        };
        assert!(matches!(read(2_000), Err(ClipError::Limit { what: "esds", .. })));
        assert!(matches!(read(60), Err(ClipError::Malformed { what: "esds", .. })));
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
