//! The description that viewers get: lines of ours, and those of the broadcaster's that are known to be harmless.

use std::fmt::Write as _;

use slotcast_core::media::{Description, MediaKind, Track};

use super::{codec, lines::Section};
use crate::limits;

/// What stands in `s=` where there is no title.
const TITLE_DEFAULT: &str = "slotcast";

/// Attributes of a track that say how to decode or show it.
const ATTRIBUTES_ALLOWED: [&str; 13] = [
    "rtpmap",
    "fmtp",
    "framerate",
    "framesize",
    "ptime",
    "maxptime",
    "quality",
    "orient",
    "lang",
    "cliprect",
    "x-dimensions",
    "ts-refclk",
    "mediaclk",
];

/// Attributes that say which payload type they are for in their first word; others' are left out.
const ATTRIBUTES_BY_PAYLOAD_TYPE: [&str; 3] = ["rtpmap", "fmtp", "framesize"];

/// The description rebuilt from the media sections that `tracks` were read from.
pub(super) fn for_viewers(medias: &[&Section<'_>], tracks: &[Track]) -> Description {
    let media = medias.iter().zip(tracks).map(|(media, track)| media_lines(media, track)).collect();
    Description { title: String::new(), media }
}

/// The SDP for one viewer, each media section followed by its control line: `trackID=0`, `trackID=1`, …
///
/// Lines end in CRLF. A track without lines is left out; the others keep their numbers.
///
/// - `is_ipv6`: of the viewer. Players open sockets of the family that the SDP names, though its addresses say nothing.
pub fn render(description: &Description, control_base: Option<&str>, is_ipv6: bool) -> String {
    let mut text = session_lines(&description.title, is_ipv6);
    let control = |text: &mut String, control: &str| {
        let address =
            control_base.map_or_else(|| control.to_owned(), |base| crate::url::resolve(base, control));
        text.push_str("a=control:");
        text.extend(address.chars().filter(|c| !c.is_control()));
        text.push_str("\r\n");
    };
    control(&mut text, "*");
    let told = description.media.iter().enumerate().filter(|(_, media)| !media.is_empty());
    for (track, media) in told {
        text.push_str(media);
        control(&mut text, &format!("trackID={track}"));
    }
    text
}

/// Control characters of the title become spaces; at most [`limits::SDP_TITLE_CHARS_MAX`] characters of it are told.
fn session_lines(title: &str, is_ipv6: bool) -> String {
    let spaced = title.chars().map(|c| if c.is_control() { ' ' } else { c });
    let title: String = spaced.take(limits::SDP_TITLE_CHARS_MAX).collect();
    let title = match title.trim() {
        "" => TITLE_DEFAULT,
        title => title,
    };
    let (origin, connection) =
        if is_ipv6 { ("IN IP6 ::1", "IN IP6 ::") } else { ("IN IP4 127.0.0.1", "IN IP4 0.0.0.0") };
    format!("v=0\r\no=- 0 0 {origin}\r\ns={title}\r\nc={connection}\r\nt=0 0\r\na=range:npt=now-\r\n")
}

fn media_lines(media: &Section<'_>, track: &Track) -> String {
    let kind = match track.kind {
        MediaKind::Video => "video",
        MediaKind::Audio => "audio",
        MediaKind::Application => "application",
    };
    let mut text = format!("m={kind} 0 RTP/AVP");
    for payload_type in &track.payload_types {
        write!(text, " {payload_type}").unwrap_or_default();
    }
    text.push_str("\r\n");
    for (kind, rate) in media.bandwidths.iter().take(2) {
        write!(text, "b={kind}:{rate}\r\n").unwrap_or_default();
    }
    let allowed = media.attributes.iter().filter(|(name, value)| is_allowed(name, value, track));
    for (name, value) in allowed.take(limits::SDP_TRACK_LINES_MAX) {
        let name = name.to_ascii_lowercase();
        let value = match (name.as_str(), codec::rtpmap(value)) {
            ("rtpmap", None) => continue,
            // Viewers are told the clock that is assumed here.
            ("rtpmap", Some((payload_type, encoding, None))) => {
                format!("{payload_type} {encoding}/{}", codec::assumed_clock(payload_type))
            }
            _ => (*value).to_owned(),
        };
        let clean: String = value.chars().filter(|c| !c.is_control()).collect();
        write!(text, "a={name}:{}\r\n", clean.trim()).unwrap_or_default();
    }
    text
}

fn is_allowed(name: &str, value: &str, track: &Track) -> bool {
    let is_one_of = |names: &[&str]| names.iter().any(|known| known.eq_ignore_ascii_case(name));
    let of_this_track = || {
        let first = value.split_ascii_whitespace().next().and_then(|word| word.parse::<u8>().ok());
        first.is_some_and(|payload_type| track.payload_types.contains(&payload_type))
    };
    is_one_of(&ATTRIBUTES_ALLOWED) && (!is_one_of(&ATTRIBUTES_BY_PAYLOAD_TYPE) || of_this_track())
}
