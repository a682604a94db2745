//! A stored clip as access units with times, played round and round.
//!
//! Owns: reading MP4 (H.264 and AAC), the order and the times of what it holds, the loop.
//! Refuses: a file without a track that can be sent, samples that lie outside the file.
//! Not here: RTP (`packetize`), pacing (`publish`).
//! Holds: times never go back; both tracks start each round with the same distance from each other.

use std::{fmt, num::NonZeroU32, sync::Arc, time::Duration};

use bytes::Bytes;
use re_mp4::{Mp4, StsdBoxContent, Track};
use slotcast_core::media::MediaKind;

/// The clip that `slotcast demo` broadcasts.
const BUNDLED: &[u8] = include_bytes!("clip.mp4");

/// Ticks per second of every video track (RFC 6184 §8.2.1).
const VIDEO_CLOCK_RATE: NonZeroU32 = NonZeroU32::new(90_000).expect("not zero");

/// Sampling rates by their index in an AudioSpecificConfig (ISO/IEC 14496-3 §1.6.3.3).
const AAC_RATES: [u32; 13] =
    [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];

/// Why a file is not a clip that can be sent.
#[derive(Debug)]
#[non_exhaustive]
pub enum ClipError {
    /// Not MP4.
    Mp4(re_mp4::Error),
    /// Neither an H.264 nor an AAC track.
    NoTrack,
    /// A track whose settings cannot be sent.
    Settings {
        /// The track's id in the file.
        track: u32,
        /// What was expected.
        expected: &'static str,
    },
    /// A sample lies outside the file.
    Sample {
        /// The track's id in the file.
        track: u32,
        /// Where the sample ends.
        end_byte: u64,
        /// How long the file is.
        file_bytes: usize,
    },
}

impl fmt::Display for ClipError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mp4(error) => write!(f, "not an MP4 file: {error}"),
            Self::NoTrack => f.write_str("expected a track of H.264 or AAC, got none"),
            Self::Settings { track, expected } => write!(f, "track {track}: expected {expected}"),
            Self::Sample { track, end_byte, file_bytes } => {
                write!(f, "track {track}: a sample ends at byte {end_byte} of a file of {file_bytes} bytes")
            }
        }
    }
}

impl std::error::Error for ClipError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Mp4(error) => Some(error),
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

/// One track of a clip.
#[derive(Clone, Debug)]
pub struct ClipTrack {
    /// What its units are.
    pub format: Format,
    /// Ticks per second of its RTP clock.
    pub clock_rate: NonZeroU32,
}

#[derive(Clone, Debug)]
struct AccessUnit {
    track: usize,
    /// From the clip's start.
    at: Duration,
    is_key: bool,
    data: Bytes,
}

/// A clip in memory. Its units share the bytes of the file.
#[derive(Clone, Debug)]
pub struct Clip {
    tracks: Vec<ClipTrack>,
    /// In the order of their times.
    units: Vec<AccessUnit>,
    length: Duration,
}

impl Clip {
    /// The clip that comes with slotcast: see `docs/clip.md`.
    pub fn bundled() -> Result<Self, ClipError> {
        Self::parse(Bytes::from_static(BUNDLED))
    }

    /// Reads an MP4 file: its H.264 and AAC tracks; others are left out.
    pub fn parse(file: Bytes) -> Result<Self, ClipError> {
        let mp4 = Mp4::read_bytes(&file).map_err(ClipError::Mp4)?;
        let mut clip = Self { tracks: Vec::new(), units: Vec::new(), length: Duration::ZERO };
        let mut starts = Vec::new();
        for track in mp4.tracks().values() {
            let Some((format, clock_rate)) = format(&mp4, track)? else { continue };
            let index = clip.tracks.len();
            clip.tracks.push(ClipTrack { format, clock_rate });
            starts.push(clip.read_units(&file, index, track, skipped(&mp4, track))?);
        }
        // An encoder's lead-in lies before zero: it moves all tracks alike.
        let first = starts.iter().copied().min().ok_or(ClipError::NoTrack)?;
        for unit in &mut clip.units {
            let ahead = starts.get(unit.track).map_or(0, |start| start - first);
            unit.at += Duration::from_nanos(ahead.unsigned_abs());
        }
        clip.units.sort_by_key(|unit| (unit.at, unit.track));
        if clip.units.is_empty() || clip.length.is_zero() {
            return Err(ClipError::NoTrack);
        }
        Ok(clip)
    }

    /// Appends the units of `track`, timed from its own first one. Returns that one's time, in nanoseconds.
    fn read_units(
        &mut self,
        file: &Bytes,
        index: usize,
        track: &Track,
        skipped: i64,
    ) -> Result<i64, ClipError> {
        let (id, timescale) = (track.track_id, track.timescale);
        let mut start = None;
        let mut length = 0;
        for sample in &track.samples {
            let end_byte = sample.offset.saturating_add(sample.size);
            let outside = ClipError::Sample { track: id, end_byte, file_bytes: file.len() };
            let range = usize::try_from(sample.offset).ok().zip(usize::try_from(end_byte).ok());
            let Some((from, to)) = range.filter(|(from, to)| from <= to && *to <= file.len()) else {
                return Err(outside);
            };
            // Without B-frames both times are the same; with them, a player sorts it out from the order.
            let ticks = sample.composition_timestamp.saturating_sub(skipped);
            let nanos = nanos(ticks, timescale);
            let start = *start.get_or_insert(nanos);
            let at = Duration::from_nanos(nanos.saturating_sub(start).max(0).unsigned_abs());
            self.units.push(AccessUnit {
                track: index,
                at,
                is_key: sample.is_sync,
                data: file.slice(from..to),
            });
            length += sample.duration;
        }
        let length = nanos(i64::try_from(length).unwrap_or(i64::MAX), timescale);
        self.length = self.length.max(Duration::from_nanos(length.unsigned_abs()));
        Ok(start.unwrap_or(0))
    }

    /// In the order of the file.
    pub fn tracks(&self) -> &[ClipTrack] {
        &self.tracks
    }

    /// How long one round takes.
    pub const fn length(&self) -> Duration {
        self.length
    }

    /// The same clip with key frames only: a slide show with full sound, for narrow channels.
    #[must_use]
    pub fn key_frames_only(mut self) -> Self {
        let is_video = |track| {
            self.tracks.get(track).is_some_and(|track: &ClipTrack| track.format.kind() == MediaKind::Video)
        };
        self.units.retain(|unit| unit.is_key || !is_video(unit.track));
        self
    }

    /// Plays it round and round, from its start, without an end.
    pub fn play(self: &Arc<Self>) -> Play {
        Play { clip: Arc::clone(self), round: 0, next: 0 }
    }
}

/// One access unit and when it is due.
#[derive(Clone, Debug)]
pub struct TimedUnit {
    /// Index of its track.
    pub track: usize,
    /// From the start of the playback.
    pub at: Duration,
    /// The same on the track's clock; does not wrap.
    pub ticks: u64,
    /// Whether a decoder can start here.
    pub is_key: bool,
    /// As in the file; see [`Format`].
    pub data: Bytes,
}

/// A playback of a clip; see [`Clip::play`]. Never ends.
#[derive(Clone, Debug)]
pub struct Play {
    clip: Arc<Clip>,
    round: u32,
    next: usize,
}

impl Iterator for Play {
    type Item = TimedUnit;

    fn next(&mut self) -> Option<TimedUnit> {
        if self.next == self.clip.units.len() {
            (self.next, self.round) = (0, self.round + 1);
        }
        let unit = self.clip.units.get(self.next)?;
        self.next += 1;
        let at = self.clip.length * self.round + unit.at;
        let clock_rate = self.clip.tracks.get(unit.track)?.clock_rate;
        Some(TimedUnit {
            track: unit.track,
            at,
            ticks: ticks(at, clock_rate),
            is_key: unit.is_key,
            data: unit.data.clone(),
        })
    }
}

/// The nearest tick: rounding down would let a 44.1 kHz clock come one short now and then.
pub(super) fn ticks(at: Duration, clock_rate: NonZeroU32) -> u64 {
    let ticks = (at.as_nanos() * u128::from(clock_rate.get()) + 500_000_000) / 1_000_000_000;
    u64::try_from(ticks).unwrap_or(u64::MAX)
}

/// `ticks` of a clock of `timescale` Hz in nanoseconds; 0 for a clock that stands.
fn nanos(ticks: i64, timescale: u64) -> i64 {
    let nanos = (i128::from(ticks) * 1_000_000_000).checked_div(i128::from(timescale)).unwrap_or(0);
    i64::try_from(nanos).unwrap_or(i64::MAX)
}

/// How much of the track's start its edit list leaves out, in ticks of the track: an audio encoder's lead-in.
fn skipped(mp4: &Mp4, track: &Track) -> i64 {
    let edits = track.trak(mp4).edts.as_ref().and_then(|edts| edts.elst.as_ref());
    let first = edits.and_then(|elst| elst.entries.first());
    // An empty edit says -1, in 32 or 64 bits.
    let time = first.map(|entry| entry.media_time).filter(|time| *time < u64::from(u32::MAX));
    time.and_then(|time| i64::try_from(time).ok()).unwrap_or(0)
}

/// What the track holds and its RTP clock; `None` when it cannot be sent.
fn format(mp4: &Mp4, track: &Track) -> Result<Option<(Format, NonZeroU32)>, ClipError> {
    let settings = |expected| ClipError::Settings { track: track.track_id, expected };
    match &track.trak(mp4).mdia.minf.stbl.stsd.contents {
        StsdBoxContent::Avc1(avc1) => {
            let sets = (avc1.avcc.sequence_parameter_sets.first(), avc1.avcc.picture_parameter_sets.first());
            let (Some(sps), Some(pps)) = sets else {
                return Err(settings("an SPS and a PPS in its avcC box"));
            };
            if sps.bytes.len() < 4 || pps.bytes.is_empty() {
                return Err(settings("an SPS of 4 bytes or more and a PPS that is not empty"));
            }
            let format = Format::H264 {
                length_bytes: usize::from(avc1.avcc.length_size_minus_one & 3) + 1,
                sps: sps.bytes.clone().into(),
                pps: pps.bytes.clone().into(),
            };
            Ok(Some((format, VIDEO_CLOCK_RATE)))
        }
        StsdBoxContent::Mp4a(mp4a) => {
            let Some(esds) = &mp4a.esds else { return Ok(None) };
            let audio = &esds.es_desc.dec_config.dec_specific;
            let rate = AAC_RATES.get(usize::from(audio.freq_index)).copied().and_then(NonZeroU32::new);
            let Some(clock_rate) = rate.filter(|_| audio.profile == 2 && audio.chan_conf > 0) else {
                return Err(settings("AAC-LC with a standard sampling rate and channel layout"));
            };
            let config = u16::from(audio.profile) << 11
                | u16::from(audio.freq_index) << 7
                | u16::from(audio.chan_conf & 0x0f) << 3;
            let format = Format::Aac { config: config.to_be_bytes(), channels: audio.chan_conf };
            Ok(Some((format, clock_rate)))
        }
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundled() -> Arc<Clip> {
        Arc::new(Clip::bundled().unwrap())
    }

    #[test]
    fn the_bundled_clip_is_what_its_page_says() {
        let clip = bundled();
        assert_eq!(clip.length(), Duration::from_millis(11_200));
        assert!(BUNDLED.len() < 300_000);
        let [video, audio] = clip.tracks() else { panic!("two tracks") };
        assert!(matches!(video.format, Format::H264 { length_bytes: 4, .. }));
        assert_eq!(audio.format, Format::Aac { config: [0x14, 0x08], channels: 1 });
        assert_eq!(audio.clock_rate.get(), 16_000);
        let count = |track| clip.units.iter().filter(|unit| unit.track == track).count();
        assert_eq!((count(0), count(1)), (112, 175));
        assert_eq!(clip.units.iter().filter(|unit| unit.track == 0 && unit.is_key).count(), 7);
    }

    #[test]
    fn timestamps_go_on_over_the_seam_without_a_gap() {
        let clip = bundled();
        let step = [9_000, 1_024];
        let mut last: [Option<u64>; 2] = [None; 2];
        let mut before = Duration::ZERO;
        // Three seams, and each track is evenly spaced throughout.
        for unit in clip.play().take(clip.units.len() * 3 + 10) {
            assert!(unit.at >= before, "times go back at {:?}", unit.at);
            before = unit.at;
            if let Some(last) = last[unit.track] {
                assert_eq!(unit.ticks - last, step[unit.track], "track {} at {:?}", unit.track, unit.at);
            }
            last[unit.track] = Some(unit.ticks);
        }
    }

    #[test]
    fn the_lead_in_of_the_sound_comes_before_the_first_picture() {
        let first: Vec<_> = bundled().play().take(3).map(|unit| (unit.track, unit.at.as_millis())).collect();
        assert_eq!(first, [(1, 0), (0, 64), (1, 64)]);
    }

    #[test]
    fn both_tracks_keep_their_distance_in_every_round() {
        let clip = bundled();
        let offset = |round: usize| {
            let mut units = clip.play().skip(clip.units.len() * round);
            let video = units.clone().find(|unit| unit.track == 0).unwrap();
            let audio = units.find(|unit| unit.track == 1).unwrap();
            video.at - audio.at
        };
        assert_eq!(offset(0), offset(1));
        assert_eq!(offset(0), offset(100));
    }

    #[test]
    fn key_frames_alone_keep_their_times() {
        let clip = Arc::new(Clip::bundled().unwrap().key_frames_only());
        let video: Vec<_> = clip.play().filter(|unit| unit.track == 0).take(8).collect();
        assert!(video.iter().all(|unit| unit.is_key));
        assert!(video.windows(2).all(|pair| pair[1].ticks - pair[0].ticks == 144_000));
    }

    #[test]
    fn what_is_no_clip_is_refused_without_a_panic() {
        for file in [&b""[..], b"not a film", &BUNDLED[..1_000]] {
            assert!(Clip::parse(Bytes::copy_from_slice(file)).is_err());
        }
        // The index is whole, the media is cut off.
        let cut = Clip::parse(Bytes::from_static(&BUNDLED[..BUNDLED.len() - 20_000]));
        assert!(matches!(cut, Err(ClipError::Sample { .. } | ClipError::Mp4(_))), "{cut:?}");
    }
}
