//! RTCP packets as bytes: reports, source descriptions and goodbyes (RFC 3550 §6).
//!
//! Owns: what a report says ([`SenderInfo`], [`ReportBlock`], [`NtpTime`]), and the two rooms that read and write it.
//! Not here: when a report is due, what is counted (`reception`), which clock it follows (`sender_clock`).

mod read;
mod write;

pub use read::{Bye, Malformed, RtcpPacket, packets};
pub use write::{goodbye, receiver_report, sender_report};

use crate::{
    rtp::{RtpTimestamp, Ssrc},
    time::WallTime,
};

/// The name that all RTCP from this server carries: one for all tracks, so that players keep them in sync
/// (RFC 3550 §6.5.1).
const CNAME: &str = "slotcast";

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
mod tests;
