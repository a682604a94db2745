//! SDP's lines, of which only `v=`, `m=`, `a=` and `b=` are looked at (RFC 8866 §5).
//!
//! Refuses: what is too long, and what does not say version 0.
//! Tolerated, because encoders in the field send it: line ends of any kind, tabs for spaces, spaces around keys and
//! values, lines without `=`, unknown keys, bandwidths that are no whole numbers.

use super::SdpError;
use crate::limits;

/// The session's lines, or those from one `m=` to the next.
#[derive(Default)]
pub(super) struct Section<'a> {
    /// The words of the `m=` line; none for the session.
    pub(super) words: Vec<&'a str>,
    /// `AS` and kbit/s, or `TIAS` and bit/s.
    pub(super) bandwidths: Vec<(&'static str, u64)>,
    /// Name and value of the `a=` lines that have a value.
    pub(super) attributes: Vec<(&'a str, &'a str)>,
}

/// A whole SDP.
#[derive(Default)]
pub(super) struct Lines<'a> {
    pub(super) session: Section<'a>,
    pub(super) medias: Vec<Section<'a>>,
}

impl<'a> Lines<'a> {
    /// - `text`: at most [`limits::SDP_BYTES_MAX`] bytes.
    pub(super) fn read(text: &'a str) -> Result<Self, SdpError> {
        let mut sdp = Self::default();
        let mut has_version = false;
        let lines = text.split(['\n', '\r', '\0']).map(str::trim).filter(|line| !line.is_empty());
        for (count, line) in lines.enumerate() {
            if count >= limits::SDP_LINES_MAX || line.len() > limits::SDP_LINE_BYTES_MAX {
                return Err(SdpError::TooLong);
            }
            let Some((key, value)) = line.split_once('=') else { continue };
            let value = value.trim();
            let section = sdp.medias.last_mut().unwrap_or(&mut sdp.session);
            match key.trim_end() {
                "v" if value == "0" => has_version = true,
                "v" => return Err(SdpError::Malformed("its version is not 0")),
                "m" => {
                    sdp.medias
                        .push(Section { words: value.split_whitespace().collect(), ..Section::default() });
                }
                "b" => section.bandwidths.extend(bandwidth(value)),
                "a" => section
                    .attributes
                    .extend(value.split_once(':').map(|(name, value)| (name.trim_end(), value.trim()))),
                _ => {}
            }
        }
        if has_version { Ok(sdp) } else { Err(SdpError::Malformed("it has no line v=0")) }
    }
}

impl<'a> Section<'a> {
    /// The values of all attributes called `name`.
    pub(super) fn values(&self, name: &str) -> impl Iterator<Item = &'a str> {
        let named = self.attributes.iter().filter(move |(known, _)| known.eq_ignore_ascii_case(name));
        named.map(|(_, value)| *value)
    }

    /// AS is in kbit/s, TIAS in bit/s; the larger one where both stand.
    pub(super) fn kbps(&self) -> Option<u64> {
        let kbps = |(kind, rate): &(&str, u64)| if *kind == "AS" { *rate } else { rate.div_ceil(1000) };
        self.bandwidths.iter().map(kbps).max()
    }
}

fn bandwidth(text: &str) -> Option<(&'static str, u64)> {
    let (kind, rate) = text.split_once(':')?;
    let kind = ["AS", "TIAS"].into_iter().find(|known| known.eq_ignore_ascii_case(kind.trim()))?;
    // A fraction is left out.
    let digits = rate.trim().split(|c: char| !c.is_ascii_digit()).next()?;
    Some((kind, digits.parse().ok()?))
}
