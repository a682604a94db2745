//! Joins the sources of a program end to end, so that viewers see one that never stopped.
//!
//! The first source of a track passes untouched. A later one, because its SSRC is new or because the broadcaster
//! came back ([`Splice::restart`]), is mapped: the first source's SSRC, the next sequence number, and the timestamp
//! that the track's clock had reached when the new source's first packet arrived.
//!
//! What keeps the tracks in step: a track's *reach* is its latest timestamp plus the time since the first packet of
//! that timestamp arrived. All tracks are measured by that one clock, so a restart moves every one of them by the
//! same media time, the gap from before to after, and a track whose first packet arrives 30 ms behind the others'
//! begins 30 ms behind them. Arrival is exact to the network's jitter; the broadcaster's sender reports, mapped by
//! [`Splice::map_sender_report`], tell players the rest.
//!
//! Owns: the offsets of each track's running source.
//! Not here: which source counts (the link side chooses), writing the fields into the packet (`rtp::rewrite`).
//! Invariant: packets of one source keep their distances, reordered or not; a track's SSRC never changes.

use std::{
    num::NonZeroU32,
    time::{Duration, Instant},
};

use crate::{
    media::TRACKS_MAX,
    rtp::{self, RtpTimestamp, SequenceNumber, Ssrc},
};

/// A step back of more packets than this is a source that restarted its numbers, not a reordering.
const MISORDER_PACKETS_MAX: i16 = 1000;
/// A step back of more media time than this is a source that restarted its clock, not a picture out of order.
const MISORDER_TIME_MAX: Duration = Duration::from_secs(10);

/// The three fields of a packet that a splice decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// The same for the whole program.
    pub ssrc: Ssrc,
    /// Goes on over sources.
    pub sequence_number: SequenceNumber,
    /// Goes on over sources.
    pub timestamp: RtpTimestamp,
}

/// All tracks of one program; by default before the first packet.
#[derive(Clone, Debug, Default)]
pub struct Splice {
    tracks: [Option<TrackSplice>; TRACKS_MAX],
}

impl Splice {
    /// The broadcaster came back: the next packet of each track begins a new source, whatever its SSRC.
    pub fn restart(&mut self) {
        for track in self.tracks.iter_mut().flatten() {
            track.source = None;
        }
    }

    /// Where a packet stands in the program.
    ///
    /// - `now`: when it arrived.
    /// - `track`: below [`TRACKS_MAX`].
    /// - `clock_rate`: the track's ticks per second (Hz).
    /// - Returns `None` for a track out of range: drop the packet.
    ///
    /// Cost: some comparisons; a division when a source begins.
    pub fn map(
        &mut self,
        now: Instant,
        track: usize,
        clock_rate: NonZeroU32,
        ssrc: Ssrc,
        sequence_number: SequenceNumber,
        timestamp: RtpTimestamp,
    ) -> Option<Mapped> {
        let incoming = Mapped { ssrc, sequence_number, timestamp };
        let track = self.tracks.get_mut(track)?.get_or_insert_with(|| TrackSplice::new(now, incoming));
        if track.source.is_none_or(|source| source.ssrc != ssrc) {
            track.begin_source(now, clock_rate, incoming);
        }
        track.advance(now, clock_rate, incoming)
    }

    /// The program's timestamp for that of a sender report, whose NTP time stays as it is.
    ///
    /// - `ssrc`: who reports.
    /// - Returns `None` for a foreign source, and after a restart until the track's first packet: keep the report
    ///   until then, or wait for the next.
    pub fn map_sender_report(
        &self,
        track: usize,
        ssrc: Ssrc,
        timestamp: RtpTimestamp,
    ) -> Option<RtpTimestamp> {
        match self.tracks.get(track)? {
            // A source that may send its first report ahead of its first packet, and will pass untouched.
            None => Some(timestamp),
            Some(track) => {
                let source = track.source.filter(|source| source.ssrc == ssrc)?;
                Some(timestamp.wrapping_add(source.timestamp_offset))
            }
        }
    }
}

/// The source whose packets a track passes.
#[derive(Clone, Copy, Debug)]
struct Source {
    ssrc: Ssrc,
    sequence_offset: u16,
    timestamp_offset: u32,
}

#[derive(Clone, Debug)]
struct TrackSplice {
    /// `None` from a restart to the first packet after it.
    source: Option<Source>,
    /// What went out last, in the order of sequence numbers and of timestamps each for itself.
    latest: Mapped,
    /// When the first packet with the latest timestamp arrived.
    latest_at: Instant,
}

impl TrackSplice {
    /// With the program's first source, which passes untouched.
    const fn new(now: Instant, first: Mapped) -> Self {
        let source = Source { ssrc: first.ssrc, sequence_offset: 0, timestamp_offset: 0 };
        Self { source: Some(source), latest: first, latest_at: now }
    }

    /// Lets `first` be the packet that follows all that went out.
    fn begin_source(&mut self, now: Instant, clock_rate: NonZeroU32, first: Mapped) {
        let elapsed = now.saturating_duration_since(self.latest_at);
        // A new source begins a new access unit: one tick on at least.
        let ticks = rtp::ticks_in(elapsed, clock_rate).max(1) as u32;
        self.source = Some(Source {
            ssrc: first.ssrc,
            sequence_offset: self.latest.sequence_number.next().0.wrapping_sub(first.sequence_number.0),
            timestamp_offset: self.latest.timestamp.wrapping_add(ticks).0.wrapping_sub(first.timestamp.0),
        });
    }

    /// Maps a packet of the running source, and keeps the latest.
    fn advance(&mut self, now: Instant, clock_rate: NonZeroU32, incoming: Mapped) -> Option<Mapped> {
        let source = self.source?;
        let mapped = Mapped {
            ssrc: self.latest.ssrc,
            sequence_number: incoming.sequence_number.wrapping_add(source.sequence_offset),
            timestamp: incoming.timestamp.wrapping_add(source.timestamp_offset),
        };
        let packets = mapped.sequence_number.packets_since(self.latest.sequence_number);
        let is_misordered = (-MISORDER_PACKETS_MAX..=0).contains(&packets);
        if !is_misordered {
            self.latest.sequence_number = mapped.sequence_number;
        }
        let ticks = i64::from(mapped.timestamp.ticks_since(self.latest.timestamp));
        let ticks_back_max = MISORDER_TIME_MAX.as_secs().cast_signed() * i64::from(clock_rate.get());
        let is_misordered = (-ticks_back_max..=0).contains(&ticks);
        if !is_misordered {
            self.latest.timestamp = mapped.timestamp;
            self.latest_at = now;
        }
        Some(mapped)
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    const VIDEO: (usize, u32) = (0, 90_000);
    const AUDIO: (usize, u32) = (1, 48_000);

    /// A splice, and milliseconds since its beginning in place of instants.
    struct Program {
        splice: Splice,
        start: Instant,
    }

    impl Program {
        #[expect(clippy::disallowed_methods, reason = "a test has to begin at some instant")]
        fn new() -> Self {
            Self { splice: Splice::default(), start: Instant::now() }
        }

        fn map(
            &mut self,
            at_ms: u64,
            (track, rate): (usize, u32),
            (ssrc, number, timestamp): (u32, u16, u32),
        ) -> Option<(u32, u16, u32)> {
            let now = self.start + Duration::from_millis(at_ms);
            let rate = NonZeroU32::new(rate).unwrap();
            let (number, timestamp) = (SequenceNumber(number), RtpTimestamp(timestamp));
            let mapped = self.splice.map(now, track, rate, Ssrc(ssrc), number, timestamp)?;
            Some((mapped.ssrc.0, mapped.sequence_number.0, mapped.timestamp.0))
        }

        #[track_caller]
        fn check(&mut self, at_ms: u64, track: (usize, u32), from: (u32, u16, u32), to: (u32, u16, u32)) {
            assert_eq!(self.map(at_ms, track, from), Some(to));
        }
    }

    #[test]
    fn the_first_source_passes_untouched() {
        let mut program = Program::new();
        for packet in [(7, 65_535, 1000), (7, 0, 4600), (7, 65_535, 1000), (7, 30_000, u32::MAX)] {
            program.check(0, VIDEO, packet, packet);
        }
    }

    #[test]
    fn a_new_ssrc_goes_on_where_the_last_ended() {
        let mut program = Program::new();
        program.check(0, VIDEO, (7, 65_535, 1000), (7, 65_535, 1000));
        program.check(500, VIDEO, (8, 300, 123_456), (7, 0, 46_000));
        program.check(540, VIDEO, (8, 302, 127_056), (7, 2, 49_600));
        program.check(540, VIDEO, (8, 301, 123_456), (7, 1, 46_000));
        program.check(540, VIDEO, (8, 301, 123_456), (7, 1, 46_000));
    }

    #[test]
    fn a_returning_broadcaster_goes_on_even_with_the_same_ssrc() {
        let mut program = Program::new();
        program.check(0, VIDEO, (7, 10, 1000), (7, 10, 1000));
        program.splice.restart();
        program.check(2000, VIDEO, (7, 5, 77), (7, 11, 181_000));
        program.splice.restart();
        program.check(2000, VIDEO, (7, 5, 77), (7, 12, 181_001));
    }

    #[test]
    fn pictures_out_of_order_do_not_pull_the_clock_back() {
        let mut program = Program::new();
        program.check(0, VIDEO, (7, 1, 13_600), (7, 1, 13_600));
        program.check(40, VIDEO, (7, 2, 6400), (7, 2, 6400));
        program.splice.restart();
        program.check(100, VIDEO, (7, 1, 0), (7, 3, 22_600));
    }

    #[test]
    fn the_clock_runs_from_the_first_packet_of_the_latest_picture() {
        let mut program = Program::new();
        program.check(0, VIDEO, (7, 1, 9000), (7, 1, 9000));
        program.check(30, VIDEO, (7, 2, 9000), (7, 2, 9000));
        program.check(100, VIDEO, (8, 1, 0), (7, 3, 18_000));
    }

    #[test]
    fn tracks_stay_in_step_over_a_restart() {
        let mut program = Program::new();
        // Both tracks' media time is t; the numbers they begin with are arbitrary, and wrap.
        for t in [0, 20, 40] {
            program.check(t, VIDEO, (7, 1, 90 * t as u32), (7, 1, 90 * t as u32));
            program.check(t, AUDIO, (9, 1, 48 * t as u32), (9, 1, 48 * t as u32));
        }
        program.splice.restart();
        // The audio begins 30 ms later, and arrives so.
        for t in [5000, 5020, 5040] {
            let video = (1, 500, (90 * t as u32).wrapping_sub(3_000_000));
            program.check(t, VIDEO, video, (7, 2, 90 * t as u32));
            let late = t + 30;
            let audio = (2, 900, (48 * late as u32).wrapping_add(77));
            program.check(late, AUDIO, audio, (9, 2, 48 * late as u32));
        }
    }

    #[test]
    fn a_source_that_takes_turns_with_another_goes_on() {
        let mut program = Program::new();
        program.check(0, AUDIO, (7, 1, 0), (7, 1, 0));
        program.check(1000, AUDIO, (8, 1, 0), (7, 2, 48_000));
        program.check(1020, AUDIO, (7, 2, 960), (7, 3, 48_960));
        program.check(1040, AUDIO, (8, 2, 960), (7, 4, 49_920));
    }

    #[test]
    fn a_source_that_restarts_its_numbers_itself_is_followed() {
        let mut program = Program::new();
        program.check(0, AUDIO, (7, 20_000, 9_000_000), (7, 20_000, 9_000_000));
        program.check(20, AUDIO, (7, 5, 960), (7, 5, 960));
        program.check(40, AUDIO, (8, 1, 1), (7, 6, 1920));
    }

    #[test]
    fn sender_reports_follow_their_source() {
        let mut program = Program::new();
        let report =
            |p: &Program, ssrc| p.splice.map_sender_report(0, Ssrc(ssrc), RtpTimestamp(100)).map(|t| t.0);
        assert_eq!(report(&program, 7), Some(100), "ahead of the first packet");
        program.check(0, VIDEO, (7, 1, 100), (7, 1, 100));
        assert_eq!((report(&program, 7), report(&program, 8)), (Some(100), None));
        program.splice.restart();
        assert_eq!(report(&program, 7), None);
        program.check(1, VIDEO, (8, 1, 50), (7, 2, 190));
        assert_eq!((report(&program, 8), report(&program, 7)), (Some(240), None));
        assert_eq!(program.splice.map_sender_report(TRACKS_MAX, Ssrc(7), RtpTimestamp(0)), None);
    }

    #[test]
    fn a_track_out_of_range_has_no_place() {
        assert_eq!(Program::new().map(0, (TRACKS_MAX, 1), (7, 1, 1)), None);
    }

    proptest! {
        #[test]
        fn over_any_sources_the_program_goes_on(sources in vec((0..3u32, any::<u16>(), any::<u32>(), 0..20_000u64), 1..20)) {
            let mut program = Program::new();
            let (mut at, mut before): (u64, Option<(u32, u16, u32)>) = (0, None);
            for (ssrc, number, timestamp, wait_ms) in sources {
                at += wait_ms;
                program.splice.restart();
                for i in 0..3u16 {
                    let from = (ssrc, number.wrapping_add(i), timestamp.wrapping_add(3600 * u32::from(i)));
                    let to = program.map(at, VIDEO, from).unwrap();
                    if let Some((ssrc, number, timestamp)) = before {
                        prop_assert_eq!((to.0, to.1), (ssrc, number.wrapping_add(1)));
                        prop_assert!(RtpTimestamp(to.2).ticks_since(RtpTimestamp(timestamp)) > 0);
                    }
                    before = Some(to);
                }
            }
        }
    }
}
