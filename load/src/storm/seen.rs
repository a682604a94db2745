//! What the clients of a storm saw, each by itself and all together.
//!
//! Owns: loss by sequence number, the control viewers' measurements, how many held a seat at one time.
//! Holds: who leaves counts no more from the moment at which it says so, who joins counts from the moment at which
//! it was told so. What is counted is therefore never more than what the server had admitted.

use std::time::{Duration, Instant};

use slotcast_core::rtp::{RtpPacket, RtpTimestamp, SequenceNumber};

use slotcast_net::clock::monotonic_nanos;
use slotcast_tools::{histogram::Histogram, shape::read_stamp};

/// Before the storm, and while it lasts. In any other phase nothing is counted.
pub(super) const PHASES: usize = 2;

/// What one client saw.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) udp: bool,
    /// When it asked for its seat: SETUP was given to the kernel.
    pub(super) asked: Option<Instant>,
    /// When PLAY was given to the kernel.
    pub(super) play_asked: Option<Instant>,
    /// When PLAY was answered 200.
    pub(super) playing: Option<Instant>,
    pub(super) refused: Option<Refused>,
    /// Why it did not work otherwise.
    pub(super) failed: Option<String>,
    /// When it began to leave.
    pub(super) left: Option<Instant>,
    /// When the server closed the connection.
    pub(super) closed: Option<Instant>,
    pub(super) first_packet: Option<Instant>,
    pub(super) first_key: Option<Instant>,
    pub(super) last_packet: Option<Instant>,
    /// The latest moment at which one of its packets was sent, where packets say so.
    pub(super) last_stamp: Option<u64>,
    /// When a BYE was read.
    pub(super) told: Option<Instant>,
    pub(super) packets: u64,
    pub(super) lost: u64,
    /// RTP read after the BYE of its track, on the same TCP connection.
    pub(super) after_bye: u64,
    /// RTP that came to a client who was refused.
    pub(super) without_seat: u64,
    pub(super) control: Option<Box<Recorder>>,
}

/// The server's no.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Refused {
    pub(super) method: &'static str,
    pub(super) status: u16,
    pub(super) reason: String,
    pub(super) at: Instant,
}

impl Seen {
    /// From PLAY's answer to the end, as far as the client knows.
    ///
    /// - `now`: the end of whoever still plays.
    pub(super) fn played(&self, now: Instant) -> Option<(Instant, Instant)> {
        let from = self.playing?;
        // Whom the server ended had its seat at least as long as it got media.
        let ended = self.closed.map(|closed| self.last_packet.unwrap_or(from).min(closed));
        let to = [self.left, ended].into_iter().flatten().min().unwrap_or(now);
        Some((from, to.max(from)))
    }

    /// From the first to the last packet.
    pub(super) fn received(&self) -> Option<(Instant, Instant)> {
        let (from, last) = (self.first_packet?, self.last_packet?);
        Some((from, self.left.map_or(last, |left| left.min(last)).max(from)))
    }
}

/// The most spans that have one moment in common. One that ends where another begins is over before.
pub(super) fn most_at_once(spans: impl Iterator<Item = (Instant, Instant)>) -> usize {
    let mut steps: Vec<(Instant, bool)> = spans.flat_map(|(from, to)| [(from, true), (to, false)]).collect();
    steps.sort_unstable();
    let (mut now, mut most) = (0isize, 0isize);
    for (_, begins) in steps {
        now += if begins { 1 } else { -1 };
        most = most.max(now);
    }
    most.unsigned_abs()
}

/// The sequence numbers of one track.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sequence {
    next: Option<SequenceNumber>,
    expected: u64,
    received: u64,
}

impl Sequence {
    /// The number that comes first, if nothing came yet.
    pub(super) fn begin(&mut self, first: SequenceNumber) {
        if self.received == 0 {
            *self = Self { next: Some(first), expected: 0, received: 0 };
        }
    }

    /// Counts a packet.
    pub(super) fn take(&mut self, number: SequenceNumber) {
        let next = *self.next.get_or_insert(number);
        self.received += 1;
        let ahead = number.packets_since(next);
        if ahead >= 0 {
            self.expected += u64::from(ahead.unsigned_abs()) + 1;
            self.next = Some(number.next());
        }
    }

    /// Missing between the first and the highest number.
    pub(super) const fn lost(&self) -> u64 {
        self.expected.saturating_sub(self.received)
    }
}

/// What a control viewer saw in one phase.
#[derive(Clone, Debug, Default)]
pub(super) struct Phase {
    pub(super) packets: u64,
    pub(super) lost: u64,
    lost_before: Option<u64>,
    /// From the stamp to the read.
    pub(super) latency: Histogram,
    /// From one frame's first packet to the next one's.
    pub(super) gaps: Histogram,
}

/// A control viewer's measurements.
#[derive(Clone, Debug, Default)]
pub(super) struct Recorder {
    pub(super) phases: [Phase; PHASES],
    frame: Option<(RtpTimestamp, Instant)>,
}

impl Recorder {
    /// Counts a packet of track `track`.
    ///
    /// - `lost`: of all tracks, before this packet and with it.
    pub(super) fn take(
        &mut self,
        phase: usize,
        (track, rtp, packet): (u8, &RtpPacket<'_>, &[u8]),
        lost: (u64, u64),
        now: Instant,
    ) {
        let begun = (track == 0).then(|| self.frame.replace((rtp.timestamp(), now))).flatten();
        let Some(phase) = self.phases.get_mut(phase) else { return };
        phase.packets += 1;
        phase.lost = lost.1.saturating_sub(*phase.lost_before.get_or_insert(lost.0));
        if let Some(sent) = read_stamp(packet) {
            phase.latency.record(monotonic_nanos().saturating_sub(sent));
        }
        match begun {
            Some((timestamp, at)) if timestamp != rtp.timestamp() => phase.gaps.record(nanos(now - at)),
            Some(begun) => self.frame = Some(begun),
            None => {}
        }
    }

    /// Counts the silence since the last frame, so that a stream that stops is seen.
    pub(super) fn finish(&mut self, phase: usize, now: Instant) {
        if let (Some(phase), Some((_, at))) = (self.phases.get_mut(phase), self.frame) {
            phase.gaps.record(nanos(now.saturating_duration_since(at)));
        }
    }
}

/// In nanoseconds, for a [`Histogram`].
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_lost(first: Option<u16>, numbers: &[u16], lost: u64) {
        let mut sequence = Sequence::default();
        if let Some(first) = first {
            sequence.begin(SequenceNumber(first));
        }
        numbers.iter().for_each(|&number| sequence.take(SequenceNumber(number)));
        assert_eq!(sequence.lost(), lost, "{first:?} {numbers:?}");
    }

    #[test]
    fn losses_are_counted_over_the_wrap_and_out_of_order() {
        check_lost(None, &[7, 8, 9], 0);
        check_lost(Some(5), &[7, 8, 9], 2);
        check_lost(None, &[1, 3, 2, 4], 0);
        check_lost(Some(65_530), &[65_534, 65_535, 1], 5);
    }

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
        let mut seen = Seen { playing: Some(at(1)), ..Seen::default() };
        assert_eq!(seen.played(at(9)), Some((at(1), at(9))));
        seen.last_packet = Some(at(4));
        seen.closed = Some(at(8));
        assert_eq!(seen.played(at(9)), Some((at(1), at(4))));
        seen.left = Some(at(3));
        assert_eq!(seen.played(at(9)), Some((at(1), at(3))));
        assert_eq!(Seen::default().played(at(9)), None);
    }
}
