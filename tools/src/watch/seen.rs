//! What viewers saw, each by itself, and how many held a seat at one time.
//!
//! Invariant: who leaves counts no more from the moment at which it says so, who joins counts from the moment at which it
//! was told so. What is counted is therefore never more than what the server had admitted.

use std::time::{Duration, Instant};

use slotcast_core::rtp::{RtpPacket, RtpTimestamp};

use crate::{histogram::Histogram, shape::read_stamp};

/// Phases in which a control viewer counts by itself. In any other it counts nothing.
pub const PHASES: usize = 2;

/// How a viewer's session came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It left by itself.
    Left,
    /// The server ended it while it played.
    Ended,
    /// The server said no.
    Refused {
        /// RTSP status.
        status: u16,
        /// In the server's words.
        reason: String,
    },
    /// It did not work.
    Failed(String),
}

/// What one viewer saw.
#[derive(Clone, Debug)]
pub struct ViewerReport {
    /// Over UDP, or TCP.
    pub udp: bool,
    /// How it came out.
    pub outcome: Outcome,
    /// RTP packets.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packets missing between the first, as RTP-Info named it, and the last.
    pub lost: u64,
    /// From PLAY's answer to the first packet.
    pub joined_in: Option<Duration>,
    /// When the last RTP packet was read.
    pub last_media: Option<Instant>,
    /// When a BYE was read on any track.
    pub told: Option<Instant>,
    /// When the server closed the connection; `None` where the viewer left first.
    pub closed: Option<Instant>,
}

/// What one viewer saw, for measuring.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Index of what it watched.
    pub target: usize,
    /// The session in all.
    pub report: ViewerReport,
    /// Packets that came after a later one.
    pub reordered: u64,
    /// Packets that had come already.
    pub duplicates: u64,
    /// When it asked for its seat: SETUP was sent.
    pub asked: Option<Instant>,
    /// When PLAY was sent.
    pub play_asked: Option<Instant>,
    /// When PLAY was answered with 200.
    pub playing: Option<Instant>,
    /// To which method the server said no, and when.
    pub refused: Option<(&'static str, Instant)>,
    /// When it began to leave.
    pub left: Option<Instant>,
    /// When the first packet was read.
    pub first_packet: Option<Instant>,
    /// When the first packet of a key frame was read: of the video, or of the first track where nothing has key frames.
    pub first_key: Option<Instant>,
    /// The latest moment at which one of its packets was to be sent, by its stamp.
    pub last_stamp: Option<u64>,
    /// The server's reason in a BYE.
    pub goodbye: Option<String>,
    /// RTP packets read after a BYE, on the same TCP connection.
    pub after_bye: u64,
    /// RTP packets that came to a viewer who had been refused; see [`CrowdConfig::hold`](super::CrowdConfig::hold).
    pub without_seat: u64,
    /// Packets that were sent in the window of [`Watch::measure_from`](super::Watch::measure_from); unstamped ones: that
    /// came in it.
    pub measured_packets: u64,
    /// Their bytes.
    pub measured_bytes: u64,
    /// What it noticed by phase, if it is a control viewer.
    pub control: Option<Box<Recorder>>,
}

impl Seen {
    /// Nothing yet.
    pub fn new(target: usize, udp: bool, outcome: Outcome) -> Self {
        let report = ViewerReport {
            udp,
            outcome,
            packets: 0,
            bytes: 0,
            lost: 0,
            joined_in: None,
            last_media: None,
            told: None,
            closed: None,
        };
        Self {
            target,
            report,
            reordered: 0,
            duplicates: 0,
            asked: None,
            play_asked: None,
            playing: None,
            refused: None,
            left: None,
            first_packet: None,
            first_key: None,
            last_stamp: None,
            goodbye: None,
            after_bye: 0,
            without_seat: 0,
            measured_packets: 0,
            measured_bytes: 0,
            control: None,
        }
    }

    /// From PLAY's answer to the end, as far as the viewer knows.
    ///
    /// - `now`: the end of whoever still plays.
    pub fn played(&self, now: Instant) -> Option<(Instant, Instant)> {
        let from = self.playing?;
        // Whom the server ended had its seat at least as long as it got media.
        let ended = self.report.closed.map(|closed| self.report.last_media.unwrap_or(from).min(closed));
        let to = [self.left, ended].into_iter().flatten().min().unwrap_or(now);
        Some((from, to.max(from)))
    }

    /// From the first to the last packet.
    pub fn received(&self) -> Option<(Instant, Instant)> {
        let (from, last) = (self.first_packet?, self.report.last_media?);
        Some((from, self.left.map_or(last, |left| left.min(last)).max(from)))
    }

    /// From sending PLAY to the first packet.
    pub fn first_packet_in(&self) -> Option<Duration> {
        Some(self.first_packet?.saturating_duration_since(self.play_asked?))
    }

    /// From sending PLAY to the first packet of a key frame.
    pub fn first_key_in(&self) -> Option<Duration> {
        Some(self.first_key?.saturating_duration_since(self.play_asked?))
    }
}

/// The most spans that have one moment in common. One that ends where another begins is over before.
pub fn most_at_once(spans: impl Iterator<Item = (Instant, Instant)>) -> usize {
    let mut steps: Vec<(Instant, bool)> = spans.flat_map(|(from, to)| [(from, true), (to, false)]).collect();
    steps.sort_unstable();
    let (mut now, mut most) = (0isize, 0isize);
    for (_, begins) in steps {
        now += if begins { 1 } else { -1 };
        most = most.max(now);
    }
    most.unsigned_abs()
}

/// What a control viewer noticed in one phase.
#[derive(Clone, Debug, Default)]
pub struct Phase {
    /// RTP packets.
    pub packets: u64,
    /// Packets that were missed.
    pub lost: u64,
    lost_before: Option<u64>,
    /// From the stamp to the viewer's hand.
    pub latency: Histogram,
    /// From one frame's first packet to the next one's.
    pub gaps: Histogram,
}

/// A control viewer's measurements.
#[derive(Clone, Debug, Default)]
pub struct Recorder {
    /// By phase; see [`Watch::enter_phase`](super::Watch::enter_phase).
    pub phases: [Phase; PHASES],
    frame: Option<(RtpTimestamp, Instant)>,
}

impl Recorder {
    /// Counts a packet of track `track`.
    ///
    /// - `lost`: of all tracks, before this packet and with it.
    /// - `now`, `nanos`: when it was read, on both clocks.
    pub(super) fn take(
        &mut self,
        phase: usize,
        (track, rtp, packet): (u8, &RtpPacket<'_>, &[u8]),
        lost: (u64, u64),
        (now, nanos): (Instant, u64),
    ) {
        let begun = (track == 0).then(|| self.frame.replace((rtp.timestamp(), now))).flatten();
        let Some(phase) = self.phases.get_mut(phase) else { return };
        phase.packets += 1;
        phase.lost = lost.1.saturating_sub(*phase.lost_before.get_or_insert(lost.0));
        if let Some(sent) = read_stamp(packet) {
            phase.latency.record(nanos.saturating_sub(sent));
        }
        match begun {
            Some((timestamp, at)) if timestamp != rtp.timestamp() => {
                phase.gaps.record_duration(now.saturating_duration_since(at));
            }
            Some(begun) => self.frame = Some(begun),
            None => {}
        }
    }

    /// Counts the silence since the last frame, so that a stream that stops is seen.
    pub(super) fn finish(&mut self, phase: usize, now: Instant) {
        if let (Some(phase), Some((_, at))) = (self.phases.get_mut(phase), self.frame) {
            phase.gaps.record_duration(now.saturating_duration_since(at));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_overlap_only_inside() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let most = |spans: &[(u64, u64)]| most_at_once(spans.iter().map(|&(from, to)| (at(from), at(to))));
        assert_eq!(most(&[]), 0);
        assert_eq!(most(&[(0, 5), (5, 9), (9, 9)]), 1);
        assert_eq!(most(&[(0, 5), (4, 9), (1, 2), (4, 6)]), 3);
    }

    #[test]
    fn who_leaves_or_is_ended_counts_no_longer_than_it_surely_had_its_seat() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut seen = Seen::new(0, false, Outcome::Left);
        assert_eq!(seen.played(at(9)), None);
        seen.playing = Some(at(1));
        assert_eq!(seen.played(at(9)), Some((at(1), at(9))));
        seen.report.last_media = Some(at(4));
        seen.report.closed = Some(at(8));
        assert_eq!(seen.played(at(9)), Some((at(1), at(4))));
        seen.left = Some(at(3));
        assert_eq!(seen.played(at(9)), Some((at(1), at(3))));
    }
}
