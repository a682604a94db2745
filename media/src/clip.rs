//! A stored clip as access units with times, played round and round.
//!
//! Owns: the order and the times of its access units, the loop.
//! Refuses: a file without a track that can be sent.
//! Not here: the file format (`mp4`), RTP (`packetize`), pacing (`publish`).
//! Invariant: times never go back; both tracks start each round with the same distance from each other.

use std::{io::Read as _, num::NonZeroU32, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use slotcast_core::media::{MediaKind, TRACKS_MAX};

pub use crate::format::{ClipError, Format};
use crate::mp4;

/// The clip that `slotcast demo` broadcasts.
const BUNDLED: &[u8] = include_bytes!("clip.mp4");

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
    /// When it is sent, from the clip's start.
    at: Duration,
    /// How much later it is shown.
    shown_after: Duration,
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

    /// Reads the MP4 file at `path`.
    ///
    /// # Errors
    /// See [`ClipError`].
    pub fn open(path: &Path) -> Result<Self, ClipError> {
        let mut file = Vec::new();
        // One byte more than is taken, so that a longer file is told from one that just fits.
        let most = mp4::FILE_BYTES_MAX as u64 + 1;
        std::fs::File::open(path)?.take(most).read_to_end(&mut file)?;
        Self::parse(file.into())
    }

    /// Reads an MP4 file: its H.264 and AAC tracks; others are left out.
    ///
    /// # Errors
    /// See [`ClipError`].
    pub fn parse(file: Bytes) -> Result<Self, ClipError> {
        let read = mp4::tracks(&file)?;
        if read.len() > TRACKS_MAX {
            return Err(ClipError::Limit { what: "tracks", max: TRACKS_MAX, got: read.len() });
        }
        // An encoder's lead-in lies before zero: it moves all tracks alike.
        let first = read.iter().map(|track| track.start_nanos).min().ok_or(ClipError::NoTrack)?;
        let mut clip = Self { tracks: Vec::new(), units: Vec::new(), length: Duration::ZERO };
        for (index, track) in read.into_iter().enumerate() {
            let start = track.start_nanos.abs_diff(first);
            clip.length = clip.length.max(Duration::from_nanos(track.end_nanos));
            clip.units.extend(track.samples.into_iter().map(|sample| AccessUnit {
                track: index,
                at: Duration::from_nanos(start + sample.decode_nanos),
                shown_after: Duration::from_nanos(sample.shown_nanos.saturating_sub(sample.decode_nanos)),
                is_key: sample.is_key,
                data: file.slice(sample.place),
            }));
            clip.tracks.push(ClipTrack { format: track.format, clock_rate: track.clock_rate });
        }
        clip.units.sort_by_key(|unit| (unit.at, unit.track));
        // A track that starts late may still play when the others begin anew: the round lasts until its last unit.
        let last = clip.units.last().map_or(Duration::ZERO, |unit| unit.at);
        clip.length = clip.length.max(last);
        Ok(clip)
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
    /// When it is to be sent, from the start of the playback.
    pub at: Duration,
    /// When it is to be shown, on the track's clock; does not wrap.
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
            ticks: ticks(at + unit.shown_after, clock_rate),
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
        assert!(matches!(cut, Err(ClipError::Malformed { what: "stsz", .. })), "{cut:?}");
    }
}
