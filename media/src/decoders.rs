//! What a description tells decoders: whether two tell the same, the parameter sets, the size of the picture.
//!
//! Owns: the `rtpmap` and `fmtp` lines of a [`Description`] as far as decoders are set up by them. Parameter sets that came in
//! band are written into it, because some players do not start without them.
//! Not here: reading and writing whole descriptions (`slotcast-rtsp`), parameter sets in packets (`keyframe`).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use slotcast_core::media::{Description, Stream};

use crate::{
    keyframe::{PARAMETER_SET_BYTES_MAX, ParameterSets},
    picture::{PictureSize, picture_size},
};

/// Most parameter sets that are taken from a description.
const SETS_MAX: usize = 16;

/// The size of the first picture whose description has a sequence parameter set that can be read; `None`: none has.
pub fn described_picture(stream: &Stream) -> Option<PictureSize> {
    let mut tracks = stream.tracks.iter().zip(&stream.description.media);
    tracks.find_map(|(track, media)| {
        let fmtps = media.lines().filter_map(|line| line.strip_prefix("a=fmtp:")?.split_once(' '));
        fmtps.flat_map(|(_, fmtp)| sets_of(fmtp)).find_map(|set| picture_size(track.codec, &set))
    })
}

/// The parameter sets of one track's media lines, each one NAL unit, in the order in which decoders want them.
///
/// At most 16, none above [`PARAMETER_SET_BYTES_MAX`].
pub fn described_sets(media: &str) -> Vec<Vec<u8>> {
    let values = |wanted: &'static str| {
        let fmtps = media.lines().filter_map(|line| line.strip_prefix("a=fmtp:")?.split_once(' '));
        let all = fmtps.flat_map(|(_, fmtp)| parameters(fmtp));
        all.filter(move |(name, _)| name.eq_ignore_ascii_case(wanted)).filter_map(|(_, value)| value)
    };
    let names = ["sprop-vps", "sprop-sps", "sprop-pps", "sprop-parameter-sets"];
    let sets = names.into_iter().flat_map(values).flat_map(|sets| sets.split(','));
    let sets = sets.filter_map(|set| STANDARD.decode(set.trim()).ok());
    sets.filter(|set| (1..=PARAMETER_SET_BYTES_MAX).contains(&set.len())).take(SETS_MAX).collect()
}

/// The encoding that one track's lines name first, as it was written: `H264`, `opus`; empty where they name none.
pub fn encoding(media: &str) -> &str {
    let map = media.lines().find_map(|line| line.strip_prefix("a=rtpmap:")?.split_once(' '));
    map.and_then(|(_, map)| map.split('/').next()).unwrap_or_default()
}

/// What may be a sequence parameter set, of one `fmtp`.
fn sets_of(fmtp: &str) -> impl Iterator<Item = Vec<u8>> {
    let is_set = |name: &str| {
        ["sprop-parameter-sets", "sprop-sps"].iter().any(|known| name.eq_ignore_ascii_case(known))
    };
    let sets = parameters(fmtp).filter(move |(name, _)| is_set(name)).filter_map(|(_, sets)| sets);
    sets.flat_map(|sets| sets.split(',')).filter_map(|set| STANDARD.decode(set.trim()).ok())
}

/// Names and values of one `fmtp`.
fn parameters(fmtp: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    let parts = fmtp.split(';').map(str::trim).filter(|part| !part.is_empty());
    parts.map(|part| {
        part.split_once('=').map_or((part, None), |(name, value)| (name.trim(), Some(value.trim())))
    })
}

/// Whether who decodes `before` can decode `after`, track by track, without being told.
///
/// Compared is what decoders are set up with: the encoding and its parameters, and of `fmtp` all but what only tells how
/// packets are made. Parameter sets that `after` leaves out come in band, and are no difference; those that only `after`
/// has are one, since nobody who watches has seen them.
pub fn decodes_alike(before: &Description, after: &Description) -> bool {
    let pairs = || before.media.iter().zip(&after.media);
    before.media.len() == after.media.len()
        && pairs().all(|(b, a)| DecoderSetUp::of(b).goes_on_with(&DecoderSetUp::of(a)))
}

/// What one track's media lines say to a decoder.
struct DecoderSetUp {
    /// The values of `rtpmap`, in lower case.
    formats: Vec<String>,
    /// Parameter sets, in the order of their names.
    sets: Vec<String>,
    /// All other parameters, in the order of their names; the profile of a track with parameter sets stands in these.
    parameters: Vec<String>,
    profile: Option<String>,
}

impl DecoderSetUp {
    fn of(media: &str) -> Self {
        let values = |name| media.lines().filter_map(move |line| line.strip_prefix(name));
        let formats = values("a=rtpmap:").map(str::to_ascii_lowercase).collect();
        let (mut sets, mut parameters, mut profile) = (Vec::new(), Vec::new(), None);
        for (payload_type, fmtp) in values("a=fmtp:").filter_map(|fmtp| fmtp.split_once(' ')) {
            for (name, value) in self::parameters(fmtp) {
                let (name, value) = (name.to_ascii_lowercase(), value.unwrap_or_default());
                match name.as_str() {
                    "sprop-parameter-sets" | "sprop-vps" | "sprop-sps" | "sprop-pps" => {
                        sets.push(format!("{payload_type} {name}={value}"));
                    }
                    "packetization-mode" => {}
                    "profile-level-id" if is_h264(media) => profile = Some(value.to_ascii_lowercase()),
                    _ => parameters.push(format!("{payload_type} {name}={}", value.to_ascii_lowercase())),
                }
            }
        }
        sets.sort_unstable();
        parameters.sort_unstable();
        Self { formats, sets, parameters, profile }
    }

    fn goes_on_with(&self, after: &Self) -> bool {
        let sets = after.sets.is_empty() || self.sets == after.sets;
        // Where parameter sets are compared, they tell the profile, too.
        let profile = !after.sets.is_empty()
            || self.profile.is_none()
            || after.profile.is_none()
            || self.profile == after.profile;
        self.formats == after.formats && self.parameters == after.parameters && sets && profile
    }
}

fn is_h264(media: &str) -> bool {
    media.lines().any(|line| line.starts_with("a=rtpmap:") && line.to_ascii_uppercase().contains(" H264/"))
}

/// The description with the newest parameter sets of `track` in its `fmtp`, in place of those that stand there.
///
/// H.264: `sprop-parameter-sets`, and `profile-level-id` where it is missing (RFC 6184 §8.1). H.265 (with a VPS):
/// `sprop-vps`, `sprop-sps`, `sprop-pps` (RFC 7798 §7.1).
///
/// `None`: nothing to change, no such track, or no `rtpmap` in it.
pub fn with_parameter_sets(
    description: &Description,
    track: usize,
    sets: &ParameterSets,
) -> Option<Description> {
    let before = description.media.get(track)?;
    let payload_type = before.lines().find_map(|line| line.strip_prefix("a=rtpmap:"))?.split(' ').next()?;
    let prefix = format!("a=fmtp:{payload_type} ");
    let fmtp = before.lines().find_map(|line| line.strip_prefix(&prefix)).unwrap_or_default();
    let completed = completed(fmtp, sets);
    if completed == fmtp {
        return None;
    }
    // A second fmtp of the same payload type has nothing to add.
    let others = before.split_inclusive("\r\n").filter(|line| !line.starts_with(&prefix));
    let mut description = description.clone();
    *description.media.get_mut(track)? = others.collect::<String>() + &format!("{prefix}{completed}\r\n");
    Some(description)
}

/// An `fmtp`'s parameters with those of the sets replaced or appended.
fn completed(fmtp: &str, sets: &ParameterSets) -> String {
    let owned = |(name, value): (&str, Option<&str>)| (name.to_owned(), value.map(str::to_owned));
    let mut parameters: Vec<(String, Option<String>)> = parameters(fmtp).map(owned).collect();
    let mut set = |name: &str, value: String, replace: bool| match parameters
        .iter_mut()
        .find(|(n, _)| n.eq_ignore_ascii_case(name))
    {
        Some(_) if !replace => {}
        Some((_, old)) => *old = Some(value),
        None => parameters.push((name.to_owned(), Some(value))),
    };
    let (sps, pps) = (STANDARD.encode(&sets.sps), STANDARD.encode(&sets.pps));
    match &sets.vps {
        Some(vps) => {
            set("sprop-vps", STANDARD.encode(vps), true);
            set("sprop-sps", sps, true);
            set("sprop-pps", pps, true);
        }
        None => {
            if let Some([_, profile, constraints, level]) = sets.sps.first_chunk::<4>() {
                set("packetization-mode", "1".to_owned(), false);
                set("profile-level-id", format!("{profile:02X}{constraints:02X}{level:02X}"), false);
            }
            set("sprop-parameter-sets", format!("{sps},{pps}"), true);
        }
    }
    let texts = parameters.into_iter().map(|(name, value)| match value {
        Some(value) => format!("{name}={value}"),
        None => name,
    });
    texts.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use slotcast_rtsp::sdp;

    use super::*;

    const FFMPEG: &str = "m=video 0 RTP/AVP 96\r\nb=AS:800\r\na=rtpmap:96 H264/90000\r\n\
        a=fmtp:96 packetization-mode=1; sprop-parameter-sets=Z0LAHtkA,aMuMsg==; profile-level-id=42C01E\r\n\
        m=audio 0 RTP/AVP 97\r\na=rtpmap:97 MPEG4-GENERIC/48000/2\r\n";

    fn read(media: &str) -> Description {
        sdp::parse(format!("v=0\r\n{media}").as_bytes()).unwrap().description
    }

    fn sets(vps: Option<&'static [u8]>) -> ParameterSets {
        let bytes = Bytes::from_static;
        ParameterSets {
            revision: 1,
            vps: vps.map(bytes),
            sps: bytes(&[0x67, 0x64, 0x00, 0x1F, 0xAC]),
            pps: bytes(&[0x68, 0xEE, 0x3C, 0x80]),
        }
    }

    #[test]
    fn parameter_sets_replace_those_of_the_sdp_once() {
        let description = read(FFMPEG);
        let with_sets = with_parameter_sets(&description, 0, &sets(None)).unwrap();
        assert_eq!(
            with_sets.media[0].lines().last(),
            Some(
                "a=fmtp:96 packetization-mode=1; sprop-parameter-sets=Z2QAH6w=,aO48gA==; profile-level-id=42C01E"
            )
        );
        assert_eq!(with_sets.media[1], description.media[1]);
        assert_eq!(with_parameter_sets(&with_sets, 0, &sets(None)), None);
        assert_eq!(with_parameter_sets(&description, 2, &sets(None)), None);
    }

    #[test]
    fn parameter_sets_make_an_fmtp_where_there_is_none() {
        let h264 = read("m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n");
        assert_eq!(
            with_parameter_sets(&h264, 0, &sets(None)).unwrap().media[0].lines().last(),
            Some(
                "a=fmtp:96 packetization-mode=1; profile-level-id=64001F; sprop-parameter-sets=Z2QAH6w=,aO48gA=="
            )
        );
        let h265 = read("m=video 0 RTP/AVP 97\r\na=rtpmap:97 H265/90000\r\n");
        assert_eq!(
            with_parameter_sets(&h265, 0, &sets(Some(&[0x40, 1]))).unwrap().media[0].lines().last(),
            Some("a=fmtp:97 sprop-vps=QAE=; sprop-sps=Z2QAH6w=; sprop-pps=aO48gA==")
        );
    }

    #[test]
    fn what_a_decoder_is_set_up_with_is_compared_and_nothing_else() {
        let video = |fmtp: &str| read(&format!("m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n{fmtp}"));
        let with = |sets: &str| video(&format!("a=fmtp:96 packetization-mode=1; {sets}\r\n"));
        let small = with("sprop-parameter-sets=Z0LAHtkA,aMuMsg==; profile-level-id=42C01E");
        let same = video(
            "a=framerate:25\r\na=fmtp:96  profile-level-id=42c01e;sprop-parameter-sets=Z0LAHtkA,aMuMsg==\r\n",
        );
        let large = with("sprop-parameter-sets=Z2QAH6w=,aO48gA==");
        assert!(decodes_alike(&small, &same) && decodes_alike(&same, &small));
        assert!(!decodes_alike(&small, &large));
        assert!(decodes_alike(&small, &with("")), "they come in band");
        assert!(!decodes_alike(&with(""), &small), "nobody has seen them");
        assert!(!decodes_alike(&with("profile-level-id=42C01E"), &with("profile-level-id=640028")));
        assert!(decodes_alike(&video(""), &with("")));

        let audio = |map: &str, config: &str| {
            let lines =
                format!("m=audio 0 RTP/AVP 97\r\na=rtpmap:97 {map}\r\na=fmtp:97 mode=AAC-hbr;{config}\r\n");
            read(&lines)
        };
        let stereo = audio("MPEG4-GENERIC/48000/2", "config=1190; sizelength=13");
        assert!(decodes_alike(&stereo, &audio("mpeg4-generic/48000/2", "SizeLength=13;config=1190")));
        assert!(!decodes_alike(&stereo, &audio("MPEG4-GENERIC/48000/2", "config=1188;sizelength=13")));
        assert!(!decodes_alike(&stereo, &audio("MPEG4-GENERIC/48000/1", "config=1190;sizelength=13")));
        assert!(!decodes_alike(&stereo, &audio("MPEG4-GENERIC/48000/2", "config=1190")));
    }
}
