//! The RTP-Info header (RFC 2326 §12.33): where each track starts.
//!
//! Invariant: written without a trailing `;`, which some clients take for one more entry.

use std::fmt::Write as _;

use crate::limits;

/// One track's start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RtpInfo {
    /// The track's address, as the client set it up.
    pub url: String,
    /// Sequence number of the first packet.
    pub seq: Option<u16>,
    /// Its RTP timestamp.
    pub rtptime: Option<u32>,
}

/// The header's text. A comma in an address is written `%2C`, a semicolon `%3B`, so that entries stay apart.
pub fn write(entries: &[RtpInfo]) -> String {
    let mut text = String::new();
    for entry in entries {
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str("url=");
        text.push_str(&entry.url.replace(',', "%2C").replace(';', "%3B"));
        if let Some(seq) = entry.seq {
            write!(text, ";seq={seq}").unwrap_or_default();
        }
        if let Some(rtptime) = entry.rtptime {
            write!(text, ";rtptime={rtptime}").unwrap_or_default();
        }
    }
    text
}

/// Reads the header: entries without an address are left out, numbers that do not fit count as not given; at most
/// [`limits::RTP_INFO_ENTRIES_MAX`].
pub fn parse(text: &str) -> Vec<RtpInfo> {
    text.split(',').take(limits::RTP_INFO_ENTRIES_MAX).filter_map(parse_entry).collect()
}

fn parse_entry(text: &str) -> Option<RtpInfo> {
    let mut info = RtpInfo { url: String::new(), seq: None, rtptime: None };
    for part in text.split(';') {
        let Some((name, value)) = part.split_once('=') else { continue };
        let value = value.trim();
        match name.trim().to_ascii_lowercase().as_str() {
            "url" => info.url = value.trim_matches('"').to_owned(),
            "seq" => info.seq = value.parse().ok(),
            "rtptime" => info.rtptime = value.parse().ok(),
            _ => {}
        }
    }
    Some(info).filter(|info| !info.url.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(url: &str, seq: Option<u16>, rtptime: Option<u32>) -> RtpInfo {
        RtpInfo { url: url.to_owned(), seq, rtptime }
    }

    #[test]
    fn written_and_read_back() {
        let entries = [
            info("rtsp://h/ch/trackID=0", Some(65535), Some(u32::MAX)),
            info("rtsp://h/ch/trackID=1", None, Some(0)),
            info("rtsp://h/ch/trackID=2", None, None),
        ];
        let text = write(&entries);
        assert_eq!(
            text,
            "url=rtsp://h/ch/trackID=0;seq=65535;rtptime=4294967295,\
             url=rtsp://h/ch/trackID=1;rtptime=0,url=rtsp://h/ch/trackID=2"
        );
        assert_eq!(parse(&text), entries);
    }

    #[test]
    fn tolerated() {
        let read = parse("url=\"a=b\" ; Seq=1; rtptime=2;, url=c;seq=70000;rtptime=-1;x, seq=3,,");
        assert_eq!(read, [info("a=b", Some(1), Some(2)), info("c", None, None)]);
        assert!(parse("").is_empty());
    }

    #[test]
    fn separators_in_an_address_do_not_make_another_entry() {
        assert_eq!(
            write(&[info("rtsp://h/ch?token=a,b;seq=9", Some(1), None)]),
            "url=rtsp://h/ch?token=a%2Cb%3Bseq=9;seq=1"
        );
    }
}
