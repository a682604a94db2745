//! The clock that our sender reports tell: which wall time each track's timestamps stand for.
//!
//! One timeline for all tracks: the wall clock as it stood at the beginning, carried on by the monotonic clock, so
//! that a stepped wall clock moves no track against another. On it each track has anchors, a time and a timestamp:
//! - *reported*, from the broadcaster's sender reports. Its clock is laid on the timeline by one offset for all
//!   tracks, and all tracks' anchors change together, when each track that sends has reported: tracks stay as far
//!   apart as the broadcaster meant them.
//! - *arrived*, from the arrival of packets. Used for all tracks while one of those that send has no reported anchor.
//!
//! Owns: these anchors, and the packets and octets sent per track.
//! Refuses: reports without wall time, and reports more than 10 s away from what arrives.
//! Not here: when a report is due and its bytes (`rtcp`), the timestamps' continuity (`splice`): all timestamps here
//! are the program's own, so a returning broadcaster changes nothing.
//! Invariant: memory does not grow; a broadcaster's clock that steps or drifts moves all tracks alike; the time that
//! reports give a timestamp does not go back by more than 5 ms.

use std::num::NonZeroU32;

use crate::{
    media::TRACKS_MAX,
    rtcp::{NtpTime, SenderInfo},
    rtp::{RtpTimestamp, Ssrc},
    time::{Now, WallTime},
};

/// A report this far from the offset means that the broadcaster's clock was stepped or is another one.
const OFFSET_STEP_MICROS: i64 = 1_000_000;
/// Of a smaller deviation, one part in so many is followed per report: drift is, the network's jitter is not.
const OFFSET_SMOOTHING: i64 = 16;
/// Packets this far from the arrival anchor begin a new one.
const ARRIVAL_STEP_MICROS: i64 = 1_000_000;
/// Of a smaller deviation, one part in so many is followed per access unit.
const ARRIVAL_SMOOTHING: i64 = 256;
/// A report this far from those before it belongs to another run of the broadcaster, or to another clock.
const ANOTHER_TIME_MICROS_MIN: i64 = 20_000;
/// Reports that would set a track's time back by less change it as they say: it is far below a frame.
const SET_BACK_MICROS_MIN: i64 = 5_000;
/// A report whose timestamp is this far from what arrives is not about these packets.
const REPORT_DEVIATION_MICROS_MAX: i64 = 10_000_000;

/// The tracks of one program on one timeline.
#[derive(Clone, Debug)]
pub struct SenderClock {
    /// Where the timeline begins: the first input.
    start: Option<Now>,
    /// Of the broadcaster's clock on the timeline; `None` before its first report.
    offset: Option<Offset>,
    /// How much later than its broadcaster's clock says each track's time stands on the timeline, so that it never
    /// went back.
    moved_on: i64,
    /// How much later than their anchors say all tracks' times are told to viewers, so that what was told never goes back.
    told_later: i64,
    tracks: Vec<TrackClock>,
}

/// The broadcaster's clock: `ntp` stands for `micros` of the timeline.
#[derive(Clone, Copy, Debug)]
struct Offset {
    ntp: NtpTime,
    micros: i64,
}

impl Offset {
    fn micros_of(self, ntp: NtpTime) -> i64 {
        self.micros.saturating_add(ntp.micros_since(self.ntp))
    }
}

/// `timestamp` stands for `micros` of the timeline.
#[derive(Clone, Copy, Debug)]
struct Anchor {
    micros: i64,
    timestamp: RtpTimestamp,
}

impl Anchor {
    /// The timestamp that stands for `micros`.
    fn at(self, micros: i64, clock_rate: NonZeroU32) -> RtpTimestamp {
        let elapsed = i128::from(micros) - i128::from(self.micros);
        let ticks = (elapsed * i128::from(clock_rate.get())).div_euclid(1_000_000);
        // Timestamps wrap: only the low half counts.
        self.timestamp.wrapping_add(ticks as u32)
    }
}

#[derive(Clone, Debug)]
struct TrackClock {
    clock_rate: NonZeroU32,
    /// Whom the program's packets name; `None` before the first.
    ssrc: Option<Ssrc>,
    packets: u32,
    octets: u32,
    /// Of the latest access unit.
    latest: RtpTimestamp,
    arrived: Anchor,
    /// The broadcaster's last report, not yet used until all tracks have one.
    report: Option<(NtpTime, RtpTimestamp)>,
    report_is_used: bool,
    reported: Option<Anchor>,
    /// What viewers were told last.
    told: Option<Anchor>,
}

impl SenderClock {
    /// Before the first packet.
    ///
    /// - `clock_rates`: ticks per second (Hz) of each track; those after the [`TRACKS_MAX`]th are left out.
    pub fn new(clock_rates: impl IntoIterator<Item = NonZeroU32>) -> Self {
        let tracks = clock_rates.into_iter().take(TRACKS_MAX).map(TrackClock::new).collect();
        Self { start: None, offset: None, moved_on: 0, told_later: 0, tracks }
    }

    /// Counts one packet as sent.
    ///
    /// - `now`: when it arrived.
    /// - `ssrc`, `timestamp`: the program's, as the splice mapped them.
    /// - `payload_bytes`: without header and padding (RFC 3550 §6.4.1).
    ///
    /// Cost: one comparison; some divisions for the first packet of an access unit.
    pub fn on_packet(
        &mut self,
        now: Now,
        track: usize,
        ssrc: Ssrc,
        timestamp: RtpTimestamp,
        payload_bytes: usize,
    ) {
        let micros = micros_between(*self.start.get_or_insert(now), now);
        let Some(track) = self.tracks.get_mut(track) else { return };
        track.packets = track.packets.wrapping_add(1);
        track.octets = track.octets.wrapping_add(payload_bytes as u32);
        track.on_timestamp(micros, ssrc, timestamp);
    }

    /// Takes a sender report of the broadcaster.
    ///
    /// - `now`: when it arrived.
    /// - `ntp`: its time; zero says that the broadcaster has no wall clock.
    /// - `timestamp`: the program's, as the splice mapped the report's.
    pub fn on_sender_report(&mut self, now: Now, track: usize, ntp: NtpTime, timestamp: RtpTimestamp) {
        let micros = micros_between(*self.start.get_or_insert(now), now);
        let Some(reporter) = self.tracks.get(track) else { return };
        if ntp == NtpTime(0) || !reporter.is_near(micros, timestamp) {
            return;
        }
        let stepped = self.follow(micros, ntp);
        let is_another_time = stepped || self.is_another_time(micros, track, ntp, timestamp);
        for track in &mut self.tracks {
            // What other tracks have said since the last anchors may be of the new time already.
            if stepped || (is_another_time && track.report_is_used) {
                track.report = None;
            }
        }
        if let Some(reporter) = self.tracks.get_mut(track) {
            reporter.report = Some((ntp, timestamp));
            reporter.report_is_used = false;
        }
        self.anchor_all(micros);
    }

    /// Whether a report tells another time than those before, as after a broadcaster's return: then it counts only
    /// together with the other tracks' next reports.
    fn is_another_time(&self, micros: i64, track: usize, ntp: NtpTime, timestamp: RtpTimestamp) -> bool {
        let (Some(offset), Some(track)) = (self.offset, self.tracks.get(track)) else { return false };
        let anchor = Anchor { micros: offset.micros_of(ntp).saturating_add(self.moved_on), timestamp };
        let told_before = track.reported_at(micros).is_some();
        told_before
            && track.set_back_micros(micros, anchor).is_some_and(|back| back.abs() >= ANOTHER_TIME_MICROS_MIN)
    }

    /// Moves the offset towards a report that arrived at `micros`; says whether it stepped.
    fn follow(&mut self, micros: i64, ntp: NtpTime) -> bool {
        let deviation = self.offset.map(|offset| micros.saturating_sub(offset.micros_of(ntp)));
        match (&mut self.offset, deviation) {
            (Some(offset), Some(deviation)) if deviation.saturating_abs() < OFFSET_STEP_MICROS => {
                offset.micros = offset.micros.saturating_add(deviation / OFFSET_SMOOTHING);
                false
            }
            (offset, _) => {
                *offset = Some(Offset { ntp, micros });
                true
            }
        }
    }

    /// Gives all tracks their reported anchors, once each that sends has a report.
    ///
    /// Where these would set a track's time back (a broadcaster that returned after it had sent ahead of time, or
    /// whose clock was stepped), all tracks' times are moved on together, so that no player sees time go back.
    fn anchor_all(&mut self, now_micros: i64) {
        let Some(offset) = self.offset else { return };
        if self.tracks.iter().any(|track| track.ssrc.is_some() && track.report.is_none()) {
            return;
        }
        let anchor = |track: &TrackClock, moved_on: i64| {
            let (ntp, timestamp) = track.report?;
            Some(Anchor { micros: offset.micros_of(ntp).saturating_add(moved_on), timestamp })
        };
        let back = self
            .tracks
            .iter()
            .filter_map(|track| track.set_back_micros(now_micros, anchor(track, self.moved_on)?));
        let back = back.max().unwrap_or(0);
        if back >= SET_BACK_MICROS_MIN {
            self.moved_on = self.moved_on.saturating_add(back);
        }
        for track in &mut self.tracks {
            track.reported = anchor(track, self.moved_on);
            track.report_is_used = true;
        }
    }

    /// What our next sender report of `track` tells viewers at `now`; `None` before the track's first packet.
    ///
    /// Where it would set the track's time back from the report before (its first packet was late, say), all tracks' times
    /// are told so much later from now on.
    ///
    /// RFC 3550 §6.4.1.
    pub fn next_report(&mut self, now: Now, track: usize) -> Option<SenderInfo> {
        let micros = micros_between(self.start?, now);
        let state = self.tracks.get(track)?;
        let back = self.sender_info(now, track)?.rtp;
        let back = state.told.map_or(0, |told| {
            micros_of(back.ticks_since(told.at(micros, state.clock_rate)), state.clock_rate)
        });
        if (SET_BACK_MICROS_MIN..ARRIVAL_STEP_MICROS).contains(&back) {
            self.told_later = self.told_later.saturating_add(back);
        }
        let info = self.sender_info(now, track)?;
        self.tracks.get_mut(track)?.told = Some(Anchor { micros, timestamp: info.rtp });
        Some(info)
    }

    /// The same as of now, without telling anybody.
    fn sender_info(&self, now: Now, track: usize) -> Option<SenderInfo> {
        let start = self.start?;
        let micros = micros_between(start, now);
        let is_reported =
            self.tracks.iter().all(|track| track.ssrc.is_none() || track.reported_at(micros).is_some());
        let track = self.tracks.get(track)?;
        let told_of = micros.saturating_sub(self.told_later);
        let reported = if is_reported { track.reported_at(told_of) } else { None };
        let wall = WallTime::from_micros(start.wall.as_micros().saturating_add(micros));
        Some(SenderInfo {
            ssrc: track.ssrc?,
            ntp: NtpTime::from(wall),
            rtp: reported.unwrap_or_else(|| track.arrived.at(told_of, track.clock_rate)),
            packets: track.packets,
            octets: track.octets,
        })
    }
}

/// Microseconds that so many ticks take.
fn micros_of(ticks: i32, clock_rate: NonZeroU32) -> i64 {
    i64::from(ticks) * 1_000_000 / i64::from(clock_rate.get())
}

/// Microseconds of the timeline that begins at `start`. The monotonic clock alone decides.
fn micros_between(start: Now, now: Now) -> i64 {
    let micros = now.mono.saturating_duration_since(start.mono).as_micros();
    i64::try_from(micros).unwrap_or(i64::MAX)
}

impl TrackClock {
    const fn new(clock_rate: NonZeroU32) -> Self {
        Self {
            clock_rate,
            ssrc: None,
            packets: 0,
            octets: 0,
            latest: RtpTimestamp(0),
            arrived: Anchor { micros: 0, timestamp: RtpTimestamp(0) },
            report: None,
            report_is_used: false,
            reported: None,
            told: None,
        }
    }

    /// Keeps the arrival anchor near what arrives. Only the first packet of an access unit that is later than those
    /// before tells anything: the others wait for it, or for pictures in another order.
    fn on_timestamp(&mut self, micros: i64, ssrc: Ssrc, timestamp: RtpTimestamp) {
        if self.ssrc.is_none() {
            self.ssrc = Some(ssrc);
            self.latest = timestamp;
            self.arrived = Anchor { micros, timestamp };
            return;
        }
        if timestamp == self.latest {
            return;
        }
        let deviation = self.deviation_micros(micros, timestamp);
        let is_step = deviation.abs() >= ARRIVAL_STEP_MICROS;
        if timestamp.ticks_since(self.latest) < 0 && !is_step {
            return;
        }
        self.latest = timestamp;
        if is_step {
            self.arrived = Anchor { micros, timestamp };
        } else {
            // The packet is early by the deviation: so much earlier stands the anchor's timestamp.
            self.arrived.micros = self.arrived.micros.saturating_sub(deviation / ARRIVAL_SMOOTHING);
        }
    }

    /// What the broadcaster's reports say of `micros`; `None` without any, and when its timestamps jumped since.
    fn reported_at(&self, micros: i64) -> Option<RtpTimestamp> {
        let timestamp = self.reported?.at(micros, self.clock_rate);
        self.is_near(micros, timestamp).then_some(timestamp)
    }

    /// How much earlier `anchor` would put this track's present timestamp on the timeline than it stands now, by report
    /// or by arrival; `None` before its first packet, when there is nothing to go back from.
    fn set_back_micros(&self, micros: i64, anchor: Anchor) -> Option<i64> {
        self.ssrc?;
        let before = self.reported_at(micros).unwrap_or_else(|| self.arrived.at(micros, self.clock_rate));
        let ticks = anchor.at(micros, self.clock_rate).ticks_since(before);
        Some(micros_of(ticks, self.clock_rate))
    }

    /// Media time from what the arrival anchor expects at `micros` to `timestamp`.
    fn deviation_micros(&self, micros: i64, timestamp: RtpTimestamp) -> i64 {
        let ticks = timestamp.ticks_since(self.arrived.at(micros, self.clock_rate));
        micros_of(ticks, self.clock_rate)
    }

    /// Whether `timestamp` could stand for `micros`; before the first packet nothing speaks against it.
    fn is_near(&self, micros: i64, timestamp: RtpTimestamp) -> bool {
        self.ssrc.is_none() || self.deviation_micros(micros, timestamp).abs() <= REPORT_DEVIATION_MICROS_MAX
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::{collection::vec, prelude::*};

    use super::*;

    const VIDEO: usize = 0;
    const AUDIO: usize = 1;
    const RATES: [u32; 2] = [90_000, 48_000];
    /// 2026-11-22T10:00:00Z
    const WALL: i64 = 1_795_341_600_000_000;

    /// A clock, and milliseconds since its beginning in place of instants. The program's timestamps are the media
    /// time at the track's rate.
    struct Program {
        clock: SenderClock,
        start: Instant,
    }

    impl Program {
        #[expect(clippy::disallowed_methods, reason = "a test has to begin at some instant")]
        fn new() -> Self {
            let clock = SenderClock::new(RATES.map(|rate| NonZeroU32::new(rate).unwrap()));
            Self { clock, start: Instant::now() }
        }

        /// The wall clock is stepped by an hour after the beginning, which must not be seen.
        fn at(&self, ms: u64) -> Now {
            let step_micros = if ms < 1000 { 0 } else { 3_600_000_000 };
            let wall = WallTime::from_micros(WALL + step_micros + 1000 * ms.cast_signed());
            Now { mono: self.start + Duration::from_millis(ms), wall }
        }

        fn packet(&mut self, at_ms: u64, track: usize, media_ms: u32) {
            let timestamp = RtpTimestamp(media_ms * (RATES[track] / 1000));
            self.clock.on_packet(self.at(at_ms), track, Ssrc(track as u32), timestamp, 100);
        }

        /// A report of a broadcaster whose clock shows `ntp_ms` more than some seconds.
        fn report(&mut self, at_ms: u64, track: usize, ntp_ms: u64, media_ms: u32) {
            let ntp = NtpTime((5000 << 32) + (ntp_ms << 32) / 1000);
            let timestamp = RtpTimestamp(media_ms * (RATES[track] / 1000));
            self.clock.on_sender_report(self.at(at_ms), track, ntp, timestamp);
        }

        /// The media time that our report states at `at_ms`, in milliseconds.
        #[track_caller]
        fn media_ms(&self, at_ms: u64, track: usize) -> i32 {
            let info = self.clock.sender_info(self.at(at_ms), track).unwrap();
            let wall = WallTime::from_micros(WALL + 1000 * at_ms.cast_signed());
            assert_eq!(info.ntp, NtpTime::from(wall), "all tracks are on one clock");
            let ticks = f64::from(info.rtp.0.cast_signed());
            (ticks * 1000.0 / f64::from(RATES[track])).round() as i32
        }

        #[track_caller]
        fn check(&self, at_ms: u64, video_ms: i32, audio_ms: i32) {
            assert_eq!((self.media_ms(at_ms, VIDEO), self.media_ms(at_ms, AUDIO)), (video_ms, audio_ms));
        }
    }

    #[test]
    fn nothing_is_said_of_a_track_that_sent_nothing() {
        let mut program = Program::new();
        program.report(0, VIDEO, 0, 0);
        assert_eq!(program.clock.sender_info(program.at(0), VIDEO), None);
        assert_eq!(program.clock.sender_info(program.at(0), 9), None);
    }

    #[test]
    fn packets_and_payload_bytes_are_counted_per_track() {
        let mut program = Program::new();
        program.packet(0, VIDEO, 0);
        program.packet(0, VIDEO, 0);
        program.packet(0, AUDIO, 0);
        let info = program.clock.sender_info(program.at(0), VIDEO).unwrap();
        assert_eq!((info.ssrc, info.packets, info.octets), (Ssrc(0), 2, 200));
        assert_eq!(program.clock.sender_info(program.at(0), AUDIO).map(|i| i.packets), Some(1));
    }

    #[test]
    fn without_reports_arrival_decides() {
        let mut program = Program::new();
        program.packet(100, VIDEO, 1000);
        program.packet(130, AUDIO, 1000);
        program.check(130, 1030, 1000);
        program.check(5130, 6030, 6000);
    }

    /// The first sound comes 60 ms late, as from an encoder that just started: what was told of it must not go back while the
    /// clock finds out, or players drop sound; nor when the broadcaster's reports come to count.
    #[test]
    fn what_was_told_does_not_go_back_after_a_late_first_packet() {
        for reports in [false, true] {
            let mut program = Program::new();
            program.packet(0, VIDEO, 0);
            program.packet(60, AUDIO, 0);
            for second in 0u64..20 {
                for unit in 0..50 {
                    let ms = second * 1000 + unit * 20;
                    program.packet(ms.max(60), VIDEO, ms as u32);
                    program.packet(ms.max(60), AUDIO, ms as u32);
                }
                if reports && second % 5 == 3 {
                    program.report(second * 1000 + 985, VIDEO, second * 1000, (second * 1000) as u32);
                    program.report(second * 1000 + 985, AUDIO, second * 1000, (second * 1000) as u32);
                }
                if second % 4 == 0 {
                    for track in [VIDEO, AUDIO] {
                        let now = program.at(second * 1000 + 990);
                        let before = program.clock.tracks[track].told;
                        let info = program.clock.next_report(now, track).unwrap();
                        let rate = program.clock.tracks[track].clock_rate;
                        if let Some(before) = before {
                            let expected = before.at(micros_between(program.clock.start.unwrap(), now), rate);
                            let back = micros_of(info.rtp.ticks_since(expected), rate);
                            assert!(back < SET_BACK_MICROS_MIN, "track {track} went {back} µs back");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn the_broadcasters_reports_decide_once_every_track_has_one() {
        let mut program = Program::new();
        program.packet(100, VIDEO, 1000);
        program.packet(130, AUDIO, 1000);
        program.report(150, VIDEO, 0, 1200);
        program.check(150, 1050, 1020);
        // 10 ms later by the broadcaster's clock, whose reports take as long as the first did.
        program.report(160, AUDIO, 10, 1210);
        // The tracks stand together, and neither's time went back from what arrival had said.
        program.check(160, 1030, 1030);
        program.check(10_160, 11_030, 11_030);
    }

    #[test]
    fn a_report_ahead_of_the_first_packet_counts() {
        let mut program = Program::new();
        program.report(0, VIDEO, 0, 40);
        program.packet(0, VIDEO, 0);
        program.check_video(0, 40);
        program.packet(20, AUDIO, 0);
        assert_eq!(program.media_ms(20, VIDEO), 20, "the audio has not reported: arrival decides for both");
        program.report(20, AUDIO, 20, 60);
        program.check(1000, 980, 980);
    }

    impl Program {
        #[track_caller]
        fn check_video(&self, at_ms: u64, video_ms: i32) {
            assert_eq!(self.media_ms(at_ms, VIDEO), video_ms);
        }
    }

    #[test]
    fn reports_that_were_held_up_do_not_part_the_tracks() {
        let mut program = Program::new();
        program.packet(0, VIDEO, 0);
        program.packet(0, AUDIO, 0);
        program.report(0, VIDEO, 0, 0);
        program.report(0, AUDIO, 0, 0);
        // This one took 160 ms longer than the first: all tracks follow it a sixteenth of the way.
        program.report(5160, AUDIO, 5000, 5000);
        program.check(6000, 5990, 5990);
    }

    #[test]
    fn a_stepped_broadcaster_clock_moves_no_track_alone() {
        let mut program = Program::new();
        for track in [VIDEO, AUDIO] {
            program.packet(0, track, 0);
            program.report(0, track, 0, 0);
        }
        program.report(5000, VIDEO, 3_605_000, 5100);
        program.check(5000, 5000, 5000);
        program.report(5000, AUDIO, 3_605_000, 5100);
        program.check(5000, 5000, 5000);
        program.check(6000, 6000, 6000);
    }

    #[test]
    fn a_broadcaster_that_returns_sets_no_time_back() {
        let mut program = Program::new();
        for track in [VIDEO, AUDIO] {
            program.packet(0, track, 0);
            program.report(0, track, 0, 0);
        }
        // At its end it sent 300 ms of video and 250 ms of audio ahead of time; what returns goes on from there.
        program.packet(5000, VIDEO, 5300);
        program.packet(5000, AUDIO, 5250);
        program.report(7000, VIDEO, 7000, 7300);
        program.report(7000, AUDIO, 7000, 7250);
        program.check(7000, 7000, 6950);
        program.report(12_000, VIDEO, 12_000, 12_300);
        program.report(12_000, AUDIO, 12_000, 12_250);
        program.check(12_000, 12_000, 11_950);
    }

    #[test]
    fn reports_from_before_a_jump_of_the_timestamps_count_no_more() {
        let mut program = Program::new();
        for track in [VIDEO, AUDIO] {
            program.packet(0, track, 0);
            program.report(0, track, 0, 40);
        }
        program.check(1000, 1000, 1000);
        program.packet(1000, VIDEO, 20_000);
        program.check(1000, 20_000, 1000);
        program.packet(1000, AUDIO, 20_000);
        program.report(2000, VIDEO, 2000, 21_040);
        program.report(2000, AUDIO, 2000, 21_040);
        program.check(3000, 22_000, 22_000);
    }

    #[test]
    fn reports_that_cannot_be_meant_are_refused() {
        let mut program = Program::new();
        program.packet(0, VIDEO, 0);
        program.clock.on_sender_report(program.at(0), VIDEO, NtpTime(0), RtpTimestamp(999));
        program.report(0, VIDEO, 0, 20_000);
        program.clock.on_sender_report(program.at(0), 9, NtpTime(1), RtpTimestamp(999));
        program.check_video(100, 100);
    }

    #[test]
    fn drift_and_jumps_of_arrival_are_followed() {
        let mut program = Program::new();
        // A source whose clock runs 1 % slow.
        for i in 0..10_000u32 {
            program.packet(u64::from(i) * 40, VIDEO, i * 40 - i * 40 / 100);
        }
        let lag = program.media_ms(400_000, VIDEO) - 396_000;
        assert!((0..=150).contains(&lag), "{lag}");
        program.packet(400_000, VIDEO, 500_000);
        program.check_video(400_100, 500_100);
        program.packet(400_100, VIDEO, 7);
        program.check_video(400_100, 7);
    }

    proptest! {
        #[test]
        fn no_input_panics(inputs in vec((any::<bool>(), 0..4usize, any::<u64>(), any::<u32>(), 0..u64::MAX / 4), 0..60)) {
            let mut program = Program::new();
            for (is_report, track, ntp, timestamp, wait_ms) in inputs {
                let mono = program.start.checked_add(Duration::from_millis(wait_ms)).unwrap_or(program.start);
                let now = Now { mono, wall: WallTime::from_micros(ntp.cast_signed()) };
                if is_report {
                    program.clock.on_sender_report(now, track, NtpTime(ntp), RtpTimestamp(timestamp));
                } else {
                    program.clock.on_packet(now, track, Ssrc(1), RtpTimestamp(timestamp), 1);
                }
                program.clock.sender_info(now, track);
            }
        }
    }
}
