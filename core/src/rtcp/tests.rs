use proptest::prelude::*;

use super::*;

/// The compound's packets as types and bodies.
fn split(mut compound: &[u8]) -> Vec<(u8, &[u8])> {
    let mut all = Vec::new();
    while let [_, packet_type, high, low, ..] = *compound {
        let (packet, rest) = compound.split_at(4 + 4 * usize::from(u16::from_be_bytes([high, low])));
        all.push((packet_type, &packet[4..]));
        compound = rest;
    }
    all
}

/// The one name of a source description.
fn cname(sdes: &[u8]) -> (Ssrc, &[u8]) {
    let [a, b, c, d, SDES_CNAME, length, text @ ..] = sdes else { panic!("{sdes:?}") };
    (Ssrc(u32::from_be_bytes([*a, *b, *c, *d])), &text[..usize::from(*length)])
}

fn block_of(bytes: &[u8]) -> ReportBlock {
    let word = |at: usize| u32::from_be_bytes(*bytes[4 * at..].first_chunk().unwrap());
    ReportBlock {
        ssrc: Ssrc(word(0)),
        fraction_lost: bytes[4],
        // The upper 8 bits go, and the sign comes down with the rest.
        cumulative_lost: (word(1) << 8).cast_signed() >> 8,
        highest: word(2),
        jitter: word(3),
        last_sender_report: word(4),
        delay_since_last_sender_report: word(5),
    }
}

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
    (any::<(u32, u8, u32, u32, u32, u32)>(), -(1 << 23)..(1 << 23)).prop_map(|(fields, cumulative_lost)| {
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
    })
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
    fn a_sender_report_reads_back(info in sender_info()) {
        let out = sender_report(&info);
        prop_assert!(out.len().is_multiple_of(4));
        let read: Vec<_> = packets(&out).collect::<Result<_, _>>().unwrap();
        let [RtcpPacket::SenderReport(got), RtcpPacket::Other { packet_type: SOURCE_DESCRIPTION }] = read[..]
        else { panic!("{read:?}") };
        prop_assert_eq!(got, info);
        prop_assert_eq!(cname(split(&out)[1].1), (info.ssrc, CNAME.as_bytes()));
    }

    #[test]
    fn a_receiver_report_reads_back(ssrc: u32, block in report_block()) {
        let out = receiver_report(Ssrc(ssrc), &block);
        prop_assert!(packets(&out).all(|packet| packet.is_ok()));
        let [(RECEIVER_REPORT, report), (SOURCE_DESCRIPTION, _)] = split(&out)[..] else { panic!("{out:?}") };
        prop_assert_eq!((&report[..4], out[0] & 0x1f), (&ssrc.to_be_bytes()[..], 1));
        prop_assert_eq!(block_of(&report[4..]), block);
    }

    #[test]
    fn a_goodbye_reads_back(info in sender_info(), sent: bool, reason in "\\PC{0,300}") {
        let out = goodbye(sent.then_some(&info), info.ssrc, &reason);
        prop_assert!(out.len().is_multiple_of(4));
        let read: Vec<_> = packets(&out).collect::<Result<_, _>>().unwrap();
        let [report, _, RtcpPacket::Bye(bye)] = read[..] else { panic!("{read:?}") };
        match report {
            RtcpPacket::SenderReport(got) => prop_assert!(sent && got == info),
            _ => prop_assert!(!sent && split(&out)[0] == (RECEIVER_REPORT, &info.ssrc.0.to_be_bytes())),
        }
        prop_assert_eq!(cname(split(&out)[1].1), (info.ssrc, CNAME.as_bytes()));
        prop_assert_eq!(bye.sources().collect::<Vec<_>>(), [info.ssrc]);
        let got = bye.reason().unwrap_or_default();
        prop_assert!(reason.as_bytes().starts_with(got) && str::from_utf8(got).is_ok());
        prop_assert!(got.len() == reason.len() || got.len() > TEXT_BYTES_MAX - 4);
    }
}
