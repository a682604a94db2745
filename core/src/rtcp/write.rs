//! Writes the compounds that slotcast sends (RFC 3550 §6.1): a report first, the source's name, then a goodbye.
//!
//! Invariant: lengths are known before the first byte, so nothing is written twice; texts are cut at 255 bytes.

use bytes::BufMut;

use super::{
    CNAME, GOODBYE, HEADER_BYTES, RECEIVER_REPORT, REPORT_BLOCK_BYTES, ReportBlock, SDES_CNAME,
    SENDER_INFO_BYTES, SENDER_REPORT, SOURCE_DESCRIPTION, SenderInfo, TEXT_BYTES_MAX,
};
use crate::rtp::Ssrc;

const SSRC_BYTES: usize = 4;

/// A sender report without report blocks, and the source's name.
///
/// RFC 3550 §6.4.1, §6.5.1.
pub fn sender_report(info: &SenderInfo) -> Vec<u8> {
    let mut out = Vec::new();
    put_sender_report(&mut out, info);
    put_cname(&mut out, info.ssrc);
    out
}

/// A receiver report on one source, and our name.
///
/// RFC 3550 §6.4.2, §6.5.1.
pub fn receiver_report(our_ssrc: Ssrc, block: &ReportBlock) -> Vec<u8> {
    let mut out = Vec::new();
    put_receiver_report(&mut out, our_ssrc, Some(block));
    put_cname(&mut out, our_ssrc);
    out
}

/// What tells a receiver that `ssrc` has ended: its last report, its name, and the goodbye.
///
/// - `last`: its last sender report; `None` when there was none, then an empty receiver report stands in.
/// - `reason`: for people; above 255 bytes it is cut, empty it is left out.
///
/// RFC 3550 §6.6, §6.1.
pub fn goodbye(last: Option<&SenderInfo>, ssrc: Ssrc, reason: &str) -> Vec<u8> {
    let mut out = Vec::new();
    match last {
        Some(info) => put_sender_report(&mut out, info),
        None => put_receiver_report(&mut out, ssrc, None),
    }
    put_cname(&mut out, ssrc);
    let reason = cut(reason);
    let text_bytes = if reason.is_empty() { 0 } else { 1 + reason.len() };
    let padding = text_bytes.next_multiple_of(4) - text_bytes;
    put_header(&mut out, 1, GOODBYE, SSRC_BYTES + text_bytes + padding);
    out.put_u32(ssrc.0);
    if !reason.is_empty() {
        put_text(&mut out, reason);
    }
    out.put_bytes(0, padding);
    out
}

fn put_sender_report(out: &mut Vec<u8>, info: &SenderInfo) {
    put_header(out, 0, SENDER_REPORT, SSRC_BYTES + SENDER_INFO_BYTES);
    out.put_u32(info.ssrc.0);
    out.put_u64(info.ntp.0);
    out.put_u32(info.rtp.0);
    out.put_u32(info.packets);
    out.put_u32(info.octets);
}

fn put_receiver_report(out: &mut Vec<u8>, ssrc: Ssrc, block: Option<&ReportBlock>) {
    let count = usize::from(block.is_some());
    put_header(out, count, RECEIVER_REPORT, SSRC_BYTES + count * REPORT_BLOCK_BYTES);
    out.put_u32(ssrc.0);
    if let Some(block) = block {
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
fn put_cname(out: &mut Vec<u8>, ssrc: Ssrc) {
    let item_bytes = 2 + CNAME.len();
    // The list of items ends with one zero at least, and on a word's border.
    let end_bytes = (item_bytes + 1).next_multiple_of(4) - item_bytes;
    put_header(out, 1, SOURCE_DESCRIPTION, SSRC_BYTES + item_bytes + end_bytes);
    out.put_u32(ssrc.0);
    out.put_u8(SDES_CNAME);
    put_text(out, CNAME);
    out.put_bytes(0, end_bytes);
}

/// - `body_bytes`: behind the header, a multiple of 4.
fn put_header(out: &mut Vec<u8>, count: usize, packet_type: u8, body_bytes: usize) {
    debug_assert!(body_bytes.is_multiple_of(4));
    out.put_u8(0x80 | count as u8);
    out.put_u8(packet_type);
    out.put_u16(((HEADER_BYTES + body_bytes) / 4 - 1) as u16);
}

/// - `text`: at most [`TEXT_BYTES_MAX`].
fn put_text(out: &mut Vec<u8>, text: &str) {
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
        let name = b"\x81\xca\0\x04\x01\x02\x03\x04\x01\x08slotcast\0\0";
        assert_eq!(sender_report(&INFO), [SENDER_REPORT_BYTES, name].concat());
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
        let expected = [
            &b"\x81\xc9\0\x07\0\0\0\x01\0\0\0\x05\x40\xff\xff\xff\0\x01\0\x02\0\0\0\x03\0\0\0\x04\0\x01\0\0"
                [..],
            b"\x81\xca\0\x04\0\0\0\x01\x01\x08slotcast\0\0",
        ];
        assert_eq!(receiver_report(Ssrc(1), &block), expected.concat());
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
        assert_eq!(receiver_report(Ssrc(0), &block)[12..16], [0, 0x7f, 0xff, 0xff]);
    }

    #[test]
    fn a_goodbye_on_the_wire() {
        let name_and_end = b"\x81\xca\0\x04\x01\x02\x03\x04\x01\x08slotcast\0\0\
            \x81\xcb\0\x03\x01\x02\x03\x04\x04over\0\0\0";
        assert_eq!(goodbye(Some(&INFO), INFO.ssrc, "over"), [SENDER_REPORT_BYTES, name_and_end].concat());
        let without_report =
            b"\x80\xc9\0\x01\0\0\0\x01\x81\xca\0\x04\0\0\0\x01\x01\x08slotcast\0\0\x81\xcb\0\x01\0\0\0\x01";
        assert_eq!(goodbye(None, Ssrc(1), ""), without_report);
    }

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(cut(&"ä".repeat(200)).len(), 254);
        assert_eq!(cut(&"a".repeat(255)).len(), 255);
    }
}
