//! Counts what one RTP source delivered and lost (RFC 3550 §6.4.1, A.1, A.3, A.8).
//!
//! Owns: sequence extension, probation, the reception counters and the jitter of one SSRC.
//! Not here: the report as bytes (`rtcp`), what becomes of a packet: nothing is dropped here.
//! Invariant: a jump of the sequence numbers is a restart, not a loss; `lost` may be negative (duplicates); counters never
//! wrap and never restart within one SSRC.

use std::{
    num::NonZeroU32,
    time::{Duration, Instant},
};

use crate::{
    rtcp::{NtpTime, ReportBlock},
    rtp::{self, RtpTimestamp, SequenceNumber, Ssrc},
};

/// Packets in sequence after which a source, or a jump of one, is believed (RFC 3550 A.1).
const MIN_SEQUENTIAL: u32 = 2;
/// A step forward of this many packets or more is a jump, not a loss.
const DROPOUT_PACKETS_MAX: u16 = 3000;
/// A step back of more packets than this is a jump, not a reordering.
const MISORDER_PACKETS_MAX: u16 = 100;

/// The reception of one SSRC.
#[derive(Clone, Debug)]
pub struct Reception {
    ssrc: Ssrc,
    sequence: Sequence,
    /// Of the runs before the last jump.
    before: Totals,
    /// At the report before.
    reported: Totals,
    jitter: Jitter,
    /// The source's last sender report: when it came, and the middle of its time.
    sender_report: Option<(Instant, u32)>,
}

/// The numbers that a run of packets without a jump went through.
#[derive(Clone, Copy, Debug)]
enum Sequence {
    /// Nothing came yet.
    Empty,
    /// `in_sequence` packets came in sequence, the last of them `last`.
    Probation { last: SequenceNumber, in_sequence: u32 },
    /// Believed; numbers are extended by their wraps.
    Running { first: u64, highest: u64, received: u64, after_jump: Option<SequenceNumber> },
}

#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    expected: u64,
    received: u64,
}

impl Reception {
    /// Of the source `ssrc`, whose timestamps tick at `clock_rate` (Hz).
    pub fn new(ssrc: Ssrc, clock_rate: NonZeroU32) -> Self {
        Self {
            ssrc,
            sequence: Sequence::Empty,
            before: Totals::default(),
            reported: Totals::default(),
            jitter: Jitter { clock_rate, start: None, transit: None, sixteenths: 0 },
            sender_report: None,
        }
    }

    /// Whose packets are counted.
    pub const fn ssrc(&self) -> Ssrc {
        self.ssrc
    }

    /// Counts one packet of the source.
    ///
    /// - `now`: when it arrived.
    ///
    /// Cost: some comparisons and one division. RFC 3550 A.1, A.8.
    pub fn on_packet(&mut self, now: Instant, number: SequenceNumber, timestamp: RtpTimestamp) {
        if self.count(number) {
            self.jitter.on_packet(now, timestamp);
        } else {
            self.jitter.transit = None;
        }
    }

    /// Whether the packet belongs to those before it; `false` at a jump, which counts once the next packet follows it.
    fn count(&mut self, number: SequenceNumber) -> bool {
        match &mut self.sequence {
            Sequence::Empty => self.sequence = Sequence::Probation { last: number, in_sequence: 1 },
            Sequence::Probation { last, in_sequence } => {
                *in_sequence = if number == last.next() { *in_sequence + 1 } else { 1 };
                *last = number;
                if *in_sequence >= MIN_SEQUENTIAL {
                    self.sequence = Sequence::running(number);
                }
            }
            Sequence::Running { highest, received, after_jump, .. } => {
                let step = number.0.wrapping_sub(*highest as u16);
                if (1..DROPOUT_PACKETS_MAX).contains(&step) {
                    *highest += u64::from(step);
                } else if (1..=u16::MAX - MISORDER_PACKETS_MAX).contains(&step) {
                    if after_jump.replace(number.next()) == Some(number) {
                        self.before = self.totals();
                        self.sequence = Sequence::running(number);
                    }
                    return false;
                }
                *received += 1;
                *after_jump = None;
            }
        }
        true
    }

    fn totals(&self) -> Totals {
        let mut totals = self.before;
        if let Sequence::Running { first, highest, received, .. } = self.sequence {
            totals.expected += highest + 1 - first;
            totals.received += received;
        }
        totals
    }

    /// Whether the source has sent two packets in sequence; before that a report block on it says nothing.
    pub const fn is_valid(&self) -> bool {
        matches!(self.sequence, Sequence::Running { .. })
    }

    /// Packets that came, duplicates included.
    pub fn received(&self) -> u64 {
        self.totals().received
    }

    /// Packets that did not come, less those that came twice. A packet that comes late after all is taken off again.
    pub fn lost(&self) -> i64 {
        let Totals { expected, received } = self.totals();
        expected.cast_signed() - received.cast_signed()
    }

    /// Highest sequence number since the last jump, with the number of wraps above its 16 bits.
    pub fn highest(&self) -> u32 {
        match self.sequence {
            Sequence::Empty => 0,
            Sequence::Probation { last, .. } => last.0.into(),
            // `running` starts one wrap up.
            Sequence::Running { highest, .. } => (highest - (1 << 16)) as u32,
        }
    }

    /// Interarrival jitter in ticks of the track's clock. RFC 3550 §6.4.1.
    pub const fn jitter(&self) -> u32 {
        (self.jitter.sixteenths >> 4) as u32
    }

    /// Keeps what the next report block repeats of a sender report of the source.
    ///
    /// - `now`: when it arrived; `ntp`: the time that it carries.
    pub const fn on_sender_report(&mut self, now: Instant, ntp: NtpTime) {
        self.sender_report = Some((now, ntp.middle()));
    }

    /// What to tell the source, and begins the next interval of `fraction_lost`.
    ///
    /// - `now`: when the report is sent.
    ///
    /// RFC 3550 §6.4.1, A.3.
    pub fn report_block(&mut self, now: Instant) -> ReportBlock {
        let totals = self.totals();
        let expected = totals.expected - self.reported.expected;
        let received = totals.received - self.reported.received;
        self.reported = totals;
        let fraction_lost = match expected.saturating_sub(received) {
            0 => 0,
            lost => u8::try_from(lost * 256 / expected).unwrap_or(u8::MAX),
        };
        let (last_sender_report, delay) = match self.sender_report {
            Some((at, middle)) => (middle, fixed_point_16(now.saturating_duration_since(at))),
            None => (0, 0),
        };
        ReportBlock {
            ssrc: self.ssrc,
            fraction_lost,
            cumulative_lost: self.lost().clamp(-(1 << 23), (1 << 23) - 1) as i32,
            highest: self.highest(),
            jitter: self.jitter(),
            last_sender_report,
            delay_since_last_sender_report: delay,
        }
    }
}

impl Sequence {
    /// Believed since `number`, the last of [`MIN_SEQUENTIAL`] packets in sequence.
    fn running(number: SequenceNumber) -> Self {
        // One wrap up, so that the first packets' numbers do not go below zero.
        let highest = (1 << 16) + u64::from(number.0);
        let received = u64::from(MIN_SEQUENTIAL);
        Self::Running { first: highest + 1 - received, highest, received, after_jump: None }
    }
}

/// In 2^-16 s, held at the type's end: 18 hours.
fn fixed_point_16(duration: Duration) -> u32 {
    u32::try_from((duration.as_nanos() << 16) / 1_000_000_000).unwrap_or(u32::MAX)
}

/// How unevenly packets arrive (RFC 3550 A.8).
#[derive(Clone, Debug)]
struct Jitter {
    clock_rate: NonZeroU32,
    /// When the first packet arrived: arrivals are counted from here.
    start: Option<Instant>,
    /// Arrival less timestamp of the packet before, in ticks, wraps.
    transit: Option<u32>,
    /// In 1/16 ticks; wider than the 32 bits that a hostile source's timestamps could fill.
    sixteenths: u64,
}

impl Jitter {
    fn on_packet(&mut self, now: Instant, timestamp: RtpTimestamp) {
        let start = *self.start.get_or_insert(now);
        // Arrivals wrap as timestamps do: only differences count.
        let arrival = rtp::ticks_in(now.saturating_duration_since(start), self.clock_rate) as u32;
        let transit = arrival.wrapping_sub(timestamp.0);
        if let Some(before) = self.transit.replace(transit) {
            let difference = u64::from(transit.wrapping_sub(before).cast_signed().unsigned_abs());
            self.sixteenths = self.sixteenths + difference - ((self.sixteenths + 8) >> 4);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    #[expect(clippy::disallowed_methods, reason = "a test has to begin at some instant")]
    fn start() -> Instant {
        Instant::now()
    }

    fn reception() -> Reception {
        Reception::new(Ssrc(7), NonZeroU32::new(90_000).unwrap())
    }

    /// After these sequence numbers: received, lost, highest.
    #[track_caller]
    fn check(numbers: impl IntoIterator<Item = u16>, expected: (u64, i64, u32)) -> Reception {
        let (mut reception, now) = (reception(), start());
        for number in numbers {
            reception.on_packet(now, SequenceNumber(number), RtpTimestamp(0));
        }
        assert_eq!((reception.received(), reception.lost(), reception.highest()), expected);
        reception
    }

    #[test]
    fn counts_received_and_lost() {
        check(10..20, (10, 0, 19));
        check([10, 11, 14, 15], (4, 2, 15));
        check([10, 11, 13, 12, 14], (5, 0, 14));
        check([10, 11, 11, 11, 12], (5, -2, 12));
        check([65_534, 65_535, 0, 2], (4, 1, 0x1_0002));
        check([65_535, 0, 65_534, 1], (4, -1, 0x0001));
    }

    #[test]
    fn a_source_is_on_probation_until_two_packets_follow_each_other() {
        assert!(!check([10], (0, 0, 10)).is_valid());
        assert!(!check([10, 500, 20], (0, 0, 20)).is_valid());
        assert!(check([10, 500, 501], (2, 0, 501)).is_valid());
    }

    #[test]
    fn a_jump_is_a_restart_and_no_loss() {
        check([10, 11, 12, 40_000], (3, 0, 12));
        check([10, 11, 12, 40_000, 13], (4, 0, 13));
        check([10, 11, 12, 40_000, 40_001, 40_002], (6, 0, 40_002));
        check([10, 11, 13, 12, 15, 40_000, 40_001, 40_003], (8, 2, 40_003));
        check([20_000, 20_001, 5, 6, 7], (5, 0, 7));
    }

    #[test]
    fn each_packet_counts_as_it_arrives() {
        let (mut reception, now) = (reception(), start());
        let mut after = |number| {
            reception.on_packet(now, SequenceNumber(number), RtpTimestamp(0));
            (reception.received(), reception.lost())
        };
        assert_eq!(after(1), (0, 0), "on probation");
        assert_eq!(after(2), (2, 0));
        assert_eq!(after(2), (3, -1), "a duplicate");
        assert_eq!(after(9000), (3, -1), "a jump");
        assert_eq!(after(9001), (5, -1), "the jump was a restart");
        assert_eq!(after(9005), (6, 2), "behind a gap");
        assert_eq!(after(9004), (7, 1), "late");
    }

    #[test]
    fn the_fraction_is_of_the_interval() {
        let mut reception = check([0, 1, 2, 4, 5, 7], (6, 2, 7));
        let now = start();
        assert_eq!(reception.report_block(now).fraction_lost, 64, "2 of 8");
        let block = reception.report_block(now);
        assert_eq!((block.ssrc, block.fraction_lost, block.cumulative_lost), (Ssrc(7), 0, 2));
        reception.on_packet(now, SequenceNumber(8), RtpTimestamp(0));
        reception.on_packet(now, SequenceNumber(8), RtpTimestamp(0));
        assert_eq!(reception.report_block(now).fraction_lost, 0, "more came than was expected");
    }

    #[test]
    fn repeats_the_last_sender_report_and_its_age() {
        let (mut reception, now) = (reception(), start());
        let block = reception.report_block(now);
        assert_eq!((block.last_sender_report, block.delay_since_last_sender_report), (0, 0));
        reception.on_sender_report(now, NtpTime(0x0123_4567_89ab_cdef));
        let block = reception.report_block(now + Duration::from_millis(1500));
        assert_eq!((block.last_sender_report, block.delay_since_last_sender_report), (0x4567_89ab, 0x1_8000));
        let block = reception.report_block(now + Duration::from_secs(1_000_000));
        assert_eq!(block.delay_since_last_sender_report, u32::MAX);
    }

    #[test]
    fn even_arrival_has_no_jitter_and_uneven_arrival_has() {
        let (mut even, mut uneven, now) = (reception(), reception(), start());
        for number in 0..500u16 {
            // 25 frames a second; of the uneven ones every second comes 10 ms = 900 ticks late.
            let at = now + Duration::from_millis(40) * number.into();
            let timestamp = RtpTimestamp(u32::MAX - 9000).wrapping_add(3600 * u32::from(number));
            even.on_packet(at, SequenceNumber(number), timestamp);
            let late = Duration::from_millis(10) * u32::from(number % 2);
            uneven.on_packet(at + late, SequenceNumber(number), timestamp);
        }
        assert_eq!(even.jitter(), 0);
        assert!((890..=900).contains(&uneven.jitter()), "{}", uneven.jitter());
    }

    proptest! {
        #[test]
        fn counting_never_panics(packets in vec((any::<u16>(), any::<u32>(), 0..4u16, 0..90_000u64), 0..200)) {
            let (mut reception, mut now) = (reception(), start());
            let mut number = 0u16;
            for (random, timestamp, kind, wait_ms) in packets {
                number = if kind == 0 { random } else { number.wrapping_add(kind) };
                now += Duration::from_millis(wait_ms);
                reception.on_packet(now, SequenceNumber(number), RtpTimestamp(timestamp));
                if kind == 3 {
                    reception.report_block(now);
                }
            }
            prop_assert!(reception.received() <= 200);
        }
    }
}
