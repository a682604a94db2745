//! Parameter sets in the description: those that came in band are written into it, for some players do not start
//! without; the size of the picture is read from it.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use slotcast_core::{
    keyframe::ParameterSets,
    media::{Description, Stream},
    picture::{PictureSize, picture_size},
};

/// The size of the first picture whose description has a sequence parameter set that can be read; `None`: none has.
pub fn described_picture(stream: &Stream) -> Option<PictureSize> {
    let mut tracks = stream.tracks.iter().zip(&stream.description.media);
    tracks.find_map(|(track, media)| {
        let fmtps = media.lines().filter_map(|line| line.strip_prefix("a=fmtp:")?.split_once(' '));
        fmtps.flat_map(|(_, fmtp)| sets_of(fmtp)).find_map(|set| picture_size(track.codec, &set))
    })
}

/// What may be a sequence parameter set, of one `fmtp`.
fn sets_of(fmtp: &str) -> impl Iterator<Item = Vec<u8>> {
    let parameters = fmtp.split(';').filter_map(|part| part.trim().split_once('='));
    parameters
        .filter(|(name, _)| {
            ["sprop-parameter-sets", "sprop-sps"].iter().any(|known| name.trim().eq_ignore_ascii_case(known))
        })
        .flat_map(|(_, sets)| sets.split(','))
        .filter_map(|set| STANDARD.decode(set.trim()).ok())
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
    let line = format!("{prefix}{}\r\n", completed(fmtp, sets));
    let mut after = String::with_capacity(before.len() + line.len());
    let mut is_written = false;
    for old in before.split_inclusive("\r\n") {
        if old.starts_with(&prefix) {
            // A second fmtp of the same payload type has nothing to add.
            if !is_written {
                after.push_str(&line);
                is_written = true;
            }
        } else {
            after.push_str(old);
        }
    }
    if !is_written {
        after.push_str(&line);
    }
    if after == *before {
        return None;
    }
    let mut description = description.clone();
    *description.media.get_mut(track)? = after;
    Some(description)
}

/// An `fmtp`'s parameters with those of the sets replaced or appended.
fn completed(fmtp: &str, sets: &ParameterSets) -> String {
    let mut parameters: Vec<(String, Option<String>)> = Vec::new();
    for part in fmtp.split(';').map(str::trim).filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=').map_or((part, None), |(n, v)| (n, Some(v)));
        parameters.push((name.trim().to_owned(), value.map(|v| v.trim().to_owned())));
    }
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
