//! Writes the compounds that slotcast sends (RFC 3550 §6.1): a report first, the source's name, then a goodbye.
//!
//! Invariant: lengths are known before the first byte, so nothing is written twice; texts are cut at 255 bytes.

use bytes::BufMut;

use super::{
    COUNT_MAX, GOODBYE, HEADER_BYTES, RECEIVER_REPORT, REPORT_BLOCK_BYTES, ReportBlock, SDES_CNAME,
    SENDER_INFO_BYTES, SENDER_REPORT, SOURCE_DESCRIPTION, SenderInfo, TEXT_BYTES_MAX,
};
use crate::rtp::Ssrc;

const SSRC_BYTES: usize = 4;

/// Appends a sender report without report blocks, and the source's name.
///
/// - `out`: a buffer that grows, such as `Vec<u8>` or `BytesMut`; a fixed one panics when it is full.
/// - `cname`: the same for all tracks of a program, so that players play them in step; above 255 bytes it is cut.
///
/// RFC 3550 §6.4.1, §6.5.1.
pub fn write_sender_report(out: &mut impl BufMut, info: &SenderInfo, cname: &str) {
    put_sender_report(out, info);
    put_cname(out, info.ssrc, cname);
}

/// Appends a receiver report, and our name.
///
/// - `out`, `cname`: as in [`write_sender_report`].
/// - `blocks`: one per source; those after the 31st are left out.
///
/// RFC 3550 §6.4.2, §6.5.1.
pub fn write_receiver_report(out: &mut impl BufMut, our_ssrc: Ssrc, blocks: &[ReportBlock], cname: &str) {
    put_receiver_report(out, our_ssrc, blocks.get(..COUNT_MAX).unwrap_or(blocks));
    put_cname(out, our_ssrc, cname);
}

/// Appends what tells a receiver that `ssrc` has ended: its last report, its name, and the goodbye.
///
/// - `out`, `cname`: as in [`write_sender_report`].
/// - `last`: its last sender report; `None` when there was none, then an empty receiver report stands in.
/// - `reason`: for people; above 255 bytes it is cut, empty it is left out.
///
/// RFC 3550 §6.6, §6.1.
pub fn write_goodbye(
    out: &mut impl BufMut,
    last: Option<&SenderInfo>,
    ssrc: Ssrc,
    cname: &str,
    reason: &str,
) {
    match last {
        Some(info) => put_sender_report(out, info),
        None => put_receiver_report(out, ssrc, &[]),
    }
    put_cname(out, ssrc, cname);
    let reason = cut(reason);
    let text_bytes = if reason.is_empty() { 0 } else { 1 + reason.len() };
    let padding = text_bytes.next_multiple_of(4) - text_bytes;
    put_header(out, 1, GOODBYE, SSRC_BYTES + text_bytes + padding);
    out.put_u32(ssrc.0);
    if !reason.is_empty() {
        put_text(out, reason);
    }
    out.put_bytes(0, padding);
}

fn put_sender_report(out: &mut impl BufMut, info: &SenderInfo) {
    put_header(out, 0, SENDER_REPORT, SSRC_BYTES + SENDER_INFO_BYTES);
    out.put_u32(info.ssrc.0);
    out.put_u64(info.ntp.0);
    out.put_u32(info.rtp.0);
    out.put_u32(info.packets);
    out.put_u32(info.octets);
}

/// - `blocks`: at most [`COUNT_MAX`].
fn put_receiver_report(out: &mut impl BufMut, ssrc: Ssrc, blocks: &[ReportBlock]) {
    put_header(out, blocks.len(), RECEIVER_REPORT, SSRC_BYTES + blocks.len() * REPORT_BLOCK_BYTES);
    out.put_u32(ssrc.0);
    for block in blocks {
        out.put_u32(block.ssrc.0);
        out.put_u8(block.fraction_lost);
        out.put_int(block.cumulative_lost.clamp(-(1 << 23), (1 << 23) - 1).into(), 3);
        out.put_u32(block.highest);
        out.put_u32(block.jitter);
        out.put_u32(block.last_sender_report);
        out.put_u32(block.delay_since_last_sender_report);
    }
}

/// A source description of one chunk with one item.
fn put_cname(out: &mut impl BufMut, ssrc: Ssrc, cname: &str) {
    let cname = cut(cname);
    let item_bytes = 2 + cname.len();
    // The list of items ends with one zero at least, and on a word's border.
    let end_bytes = (item_bytes + 1).next_multiple_of(4) - item_bytes;
    put_header(out, 1, SOURCE_DESCRIPTION, SSRC_BYTES + item_bytes + end_bytes);
    out.put_u32(ssrc.0);
    out.put_u8(SDES_CNAME);
    put_text(out, cname);
    out.put_bytes(0, end_bytes);
}

/// - `body_bytes`: behind the header, a multiple of 4.
fn put_header(out: &mut impl BufMut, count: usize, packet_type: u8, body_bytes: usize) {
    debug_assert!(count <= COUNT_MAX && body_bytes.is_multiple_of(4));
    out.put_u8(0x80 | count as u8);
    out.put_u8(packet_type);
    out.put_u16(((HEADER_BYTES + body_bytes) / 4 - 1) as u16);
}

/// - `text`: at most [`TEXT_BYTES_MAX`].
fn put_text(out: &mut impl BufMut, text: &str) {
    out.put_u8(text.len() as u8);
    out.put_slice(text.as_bytes());
}

/// `text` up to the last character that ends within [`TEXT_BYTES_MAX`].
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{rtcp::NtpTime, rtp::RtpTimestamp};

    const INFO: SenderInfo = SenderInfo {
        ssrc: Ssrc(0x0102_0304),
        ntp: NtpTime(0x1112_1314_1516_1718),
        rtp: RtpTimestamp(0x2122_2324),
        packets: 7,
        octets: 9,
    };
    const SENDER_REPORT_BYTES: &[u8] = b"\x80\xc8\0\x06\x01\x02\x03\x04\
        \x11\x12\x13\x14\x15\x16\x17\x18\x21\x22\x23\x24\0\0\0\x07\0\0\0\x09";

    #[test]
    fn a_sender_report_on_the_wire() {
        let mut out = Vec::new();
        write_sender_report(&mut out, &INFO, "ab");
        let expected = [SENDER_REPORT_BYTES, b"\x81\xca\0\x03\x01\x02\x03\x04\x01\x02ab\0\0\0\0"].concat();
        assert_eq!(out, expected);
    }

    #[test]
    fn a_receiver_report_on_the_wire() {
        let block = ReportBlock {
            ssrc: Ssrc(5),
            fraction_lost: 64,
            cumulative_lost: -1,
            highest: 0x0001_0002,
            jitter: 3,
            last_sender_report: 4,
            delay_since_last_sender_report: 0x1_0000,
        };
        let mut out = bytes::BytesMut::new();
        write_receiver_report(&mut out, Ssrc(1), &[block], "a");
        let expected = [
            &b"\x81\xc9\0\x07\0\0\0\x01\0\0\0\x05\x40\xff\xff\xff\0\x01\0\x02\0\0\0\x03\0\0\0\x04\0\x01\0\0"
                [..],
            b"\x81\xca\0\x02\0\0\0\x01\x01\x01a\0",
        ];
        assert_eq!(out, expected.concat());
    }

    #[test]
    fn losses_beyond_24_bits_are_held_at_the_end() {
        let block = ReportBlock {
            ssrc: Ssrc(0),
            fraction_lost: 0,
            cumulative_lost: i32::MAX,
            highest: 0,
            jitter: 0,
            last_sender_report: 0,
            delay_since_last_sender_report: 0,
        };
        let mut out = Vec::new();
        write_receiver_report(&mut out, Ssrc(0), &[block], "");
        assert_eq!(out[12..16], [0, 0x7f, 0xff, 0xff]);
    }

    #[test]
    fn a_goodbye_on_the_wire() {
        let mut out = Vec::new();
        write_goodbye(&mut out, Some(&INFO), INFO.ssrc, "a", "over");
        let name_and_end =
            b"\x81\xca\0\x02\x01\x02\x03\x04\x01\x01a\0\x81\xcb\0\x03\x01\x02\x03\x04\x04over\0\0\0";
        assert_eq!(out, [SENDER_REPORT_BYTES, name_and_end].concat());

        out.clear();
        write_goodbye(&mut out, None, Ssrc(1), "a", "");
        assert_eq!(
            out,
            b"\x80\xc9\0\x01\0\0\0\x01\x81\xca\0\x02\0\0\0\x01\x01\x01a\0\x81\xcb\0\x01\0\0\0\x01"
        );
    }

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(cut(&"ä".repeat(200)).len(), 254);
        assert_eq!(cut(&"a".repeat(255)).len(), 255);
    }
}
