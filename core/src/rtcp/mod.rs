//! RTCP packets as bytes: reports, source descriptions and goodbyes (RFC 3550 §6).
//!
//! Owns: what a report says ([`SenderInfo`], [`ReportBlock`], [`NtpTime`]), and the two rooms that read and write it.
//! Not here: when a report is due, what is counted (`reception`), which clock it follows (`sender_clock`).

mod read;
mod write;

pub use read::{Bye, Malformed, ReportBlocks, RtcpPacket, Sdes, packets};
pub use write::{write_goodbye, write_receiver_report, write_sender_report};

use crate::{
    rtp::{RtpTimestamp, Ssrc},
    time::WallTime,
};

/// The name that all RTCP from this server carries: one for all tracks, so that players keep them in sync
/// (RFC 3550 §6.5.1).
pub const CNAME: &str = "slotcast";

/// Packet types (RFC 3550 §12.1).
const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const SOURCE_DESCRIPTION: u8 = 202;
const GOODBYE: u8 = 203;
/// The SDES item that names a participant over all its sources (RFC 3550 §6.5.1).
const SDES_CNAME: u8 = 1;

/// Bytes of the first word: version, count, packet type, length.
const HEADER_BYTES: usize = 4;
const SENDER_INFO_BYTES: usize = 20;
const REPORT_BLOCK_BYTES: usize = 24;
/// What the count field of a packet has room for.
const COUNT_MAX: usize = 31;
/// What the length field of an SDES item or a reason has room for.
const TEXT_BYTES_MAX: usize = 255;

/// Seconds from 1900 to 1970.
const UNIX_EPOCH_SECONDS: i64 = 2_208_988_800;

/// NTP time as on the wire: seconds since 1900 in the upper half, 2^-32 s in the lower; wraps in 2036.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct NtpTime(pub u64);

impl NtpTime {
    /// The middle 32 bits, in 2^-16 s: what a report block's LSR repeats. RFC 3550 §6.4.1.
    pub const fn middle(self) -> u32 {
        (self.0 >> 16) as u32
    }

    /// Signed microseconds from `earlier` to `self`; a jump of 68 years or more reads as backwards.
    pub const fn micros_since(self, earlier: Self) -> i64 {
        let fraction = self.0.wrapping_sub(earlier.0).cast_signed() as i128;
        ((fraction * 1_000_000) >> 32) as i64
    }
}

/// Exact to a quarter of a nanosecond.
impl From<WallTime> for NtpTime {
    fn from(wall: WallTime) -> Self {
        let seconds = wall.as_micros().div_euclid(1_000_000) + UNIX_EPOCH_SECONDS;
        let micros = wall.as_micros().rem_euclid(1_000_000).cast_unsigned();
        // Only the seconds' low half is sent: eras follow each other (RFC 5905 §6).
        Self((seconds.cast_unsigned() << 32) | ((micros << 32) / 1_000_000))
    }
}

/// What a source says of itself in a sender report (RFC 3550 §6.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderInfo {
    /// The source.
    pub ssrc: Ssrc,
    /// Wall time of the report.
    pub ntp: NtpTime,
    /// The same moment on the track's clock.
    pub rtp: RtpTimestamp,
    /// RTP packets sent, wraps.
    pub packets: u32,
    /// Payload bytes sent, wraps.
    pub octets: u32,
}

/// What a receiver says of one source (RFC 3550 §6.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportBlock {
    /// The source that it speaks of.
    pub ssrc: Ssrc,
    /// Lost since the report before, in 1/256 of what was expected.
    pub fraction_lost: u8,
    /// Lost since the beginning, -2^23 to 2^23 - 1; below zero when packets came twice.
    pub cumulative_lost: i32,
    /// Highest sequence number received, with the number of wraps above its 16 bits.
    pub highest: u32,
    /// Interarrival jitter in ticks of the track's clock.
    pub jitter: u32,
    /// [`NtpTime::middle`] of the source's last sender report; 0 when there was none.
    pub last_sender_report: u32,
    /// From that report's arrival to this one's sending, in 2^-16 s; 0 when there was none.
    pub delay_since_last_sender_report: u32,
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// To the nearest microsecond, between 1968 and 2104: where the top bit is clear, the era that begins in 2036
    /// (RFC 4330 §3).
    fn wall_of(ntp: NtpTime) -> WallTime {
        let era: i64 = if ntp.0 >> 63 == 1 { 0 } else { 1 << 32 };
        let seconds = (ntp.0 >> 32).cast_signed() + era - UNIX_EPOCH_SECONDS;
        let micros = ((ntp.0 & 0xffff_ffff) * 1_000_000 + (1 << 31)) >> 32;
        WallTime::from_micros(seconds * 1_000_000 + micros.cast_signed())
    }

    fn wall(text: &str) -> WallTime {
        text.parse().unwrap()
    }

    #[test]
    fn ntp_counts_from_1900_and_wraps_in_2036() {
        let ntp = |text| NtpTime::from(wall(text)).0;
        assert_eq!(ntp("1970-01-01T00:00:00.5Z"), (2_208_988_800 << 32) | (1 << 31));
        assert_eq!(ntp("2036-02-07T06:28:15Z"), 0xffff_ffff << 32);
        assert_eq!(ntp("2036-02-07T06:28:16Z"), 0);
        assert_eq!(wall_of(NtpTime(0)), wall("2036-02-07T06:28:16Z"));
        assert_eq!(NtpTime(0x0123_4567_89ab_cdef).middle(), 0x4567_89ab);
    }

    #[test]
    fn ntp_differences_cross_the_era() {
        assert_eq!(NtpTime(1 << 32).micros_since(NtpTime(u64::MAX << 31)), 1_500_000);
        assert_eq!(NtpTime(0).micros_since(NtpTime(1 << 31)), -500_000);
    }

    fn sender_info() -> impl Strategy<Value = SenderInfo> {
        any::<(u32, u64, u32, u32, u32)>().prop_map(|(ssrc, ntp, rtp, packets, octets)| SenderInfo {
            ssrc: Ssrc(ssrc),
            ntp: NtpTime(ntp),
            rtp: RtpTimestamp(rtp),
            packets,
            octets,
        })
    }

    fn report_block() -> impl Strategy<Value = ReportBlock> {
        (any::<(u32, u8, u32, u32, u32, u32)>(), -(1 << 23)..(1 << 23)).prop_map(
            |(fields, cumulative_lost)| {
                let (ssrc, fraction_lost, highest, jitter, last_sender_report, delay) = fields;
                ReportBlock {
                    ssrc: Ssrc(ssrc),
                    fraction_lost,
                    cumulative_lost,
                    highest,
                    jitter,
                    last_sender_report,
                    delay_since_last_sender_report: delay,
                }
            },
        )
    }

    proptest! {
        #[test]
        fn wall_time_survives_ntp(micros in -60_000_000_000_000i64..4_000_000_000_000_000) {
            let wall = WallTime::from_micros(micros);
            prop_assert_eq!(wall_of(NtpTime::from(wall)), wall);
        }

        #[test]
        fn any_ntp_becomes_a_wall_time(ntp: u64) {
            let back = NtpTime::from(wall_of(NtpTime(ntp)));
            prop_assert!(back.micros_since(NtpTime(ntp)).abs() <= 1);
        }

        #[test]
        fn a_sender_report_reads_back(info in sender_info(), cname in "[a-z@.]{0,40}") {
            let mut out = Vec::new();
            write_sender_report(&mut out, &info, &cname);
            prop_assert!(out.len().is_multiple_of(4));
            let read: Vec<_> = packets(&out).collect::<Result<_, _>>().unwrap();
            let [RtcpPacket::SenderReport { info: got, reports }, RtcpPacket::Sdes(sdes)] = read[..]
            else { panic!("{read:?}") };
            prop_assert_eq!((got, reports.count()), (info, 0));
            prop_assert_eq!(sdes.cname(), Some((info.ssrc, cname.as_bytes())));
        }

        #[test]
        fn a_receiver_report_reads_back(ssrc: u32, blocks in vec(report_block(), 0..40)) {
            let mut out = Vec::new();
            write_receiver_report(&mut out, Ssrc(ssrc), &blocks, "slotcast");
            let read: Vec<_> = packets(&out).collect::<Result<_, _>>().unwrap();
            let [RtcpPacket::ReceiverReport { ssrc: got, reports }, RtcpPacket::Sdes(_)] = read[..]
            else { panic!("{read:?}") };
            prop_assert_eq!(got, Ssrc(ssrc));
            prop_assert_eq!(reports.collect::<Vec<_>>(), &blocks[..blocks.len().min(COUNT_MAX)]);
        }

        #[test]
        fn a_goodbye_reads_back(info in sender_info(), sent: bool, cname in "[a-z]{1,9}", reason in "\\PC{0,300}") {
            let mut out = Vec::new();
            write_goodbye(&mut out, sent.then_some(&info), info.ssrc, &cname, &reason);
            prop_assert!(out.len().is_multiple_of(4));
            let read: Vec<_> = packets(&out).collect::<Result<_, _>>().unwrap();
            let [report, RtcpPacket::Sdes(sdes), RtcpPacket::Bye(bye)] = read[..]
            else { panic!("{read:?}") };
            match report {
                RtcpPacket::SenderReport { info: got, .. } => prop_assert!(sent && got == info),
                RtcpPacket::ReceiverReport { ssrc, reports } => {
                    prop_assert!(!sent && ssrc == info.ssrc && reports.count() == 0);
                }
                _ => prop_assert!(false, "{report:?}"),
            }
            prop_assert_eq!(sdes.cname(), Some((info.ssrc, cname.as_bytes())));
            prop_assert_eq!(bye.sources().collect::<Vec<_>>(), [info.ssrc]);
            let got = bye.reason().unwrap_or_default();
            prop_assert!(reason.as_bytes().starts_with(got) && str::from_utf8(got).is_ok());
            prop_assert!(got.len() == reason.len() || got.len() > TEXT_BYTES_MAX - 4);
        }
    }
}
