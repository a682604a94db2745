//! What a broadcaster's stream is like, and what its broadcaster can do about it.
//!
//! Owns: [`StreamHealth`], and the table of findings: code, title and fix, each declared once.
//! Not here: measuring (the media side).

use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::refusal::Text;

/// Key frames further apart than this keep viewers waiting.
const KEY_FRAME_DISTANCE_MAX: Duration = Duration::from_secs(4);
/// Fewer pictures than this in a thousand seconds are no motion to most eyes.
const FRAME_RATE_MILLI_MIN: u32 = 10_000;

/// What comes over a broadcaster's link, measured over the last 5 seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct StreamHealth {
    /// Of each track, its encoding as its description names it: such as `H264` or `opus`.
    pub encodings: Vec<String>,
    /// Pictures in a thousand seconds; `null` where none come.
    #[serde(rename = "pictures_per_1000_seconds")]
    pub frame_rate_milli: Option<u32>,
    /// Time between the last two key frames, or since the last where that is longer; `null` before the second.
    #[serde(rename = "key_frame_distance_ms", serialize_with = "millis")]
    #[schema(value_type = Option<u64>)]
    pub key_frame_distance: Option<Duration>,
    /// Whether pictures come in another order than they are shown in.
    pub has_b_frames: bool,
    /// Whether sound comes.
    pub has_sound: bool,
    /// Packets that came.
    pub packets: u64,
    /// Packets that were lost on the way to the server.
    pub lost: u64,
    /// Packets that were dropped above the bandwidth class.
    pub over_class: u64,
}

fn millis<S: serde::Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)).serialize(serializer)
}

/// Something that a broadcaster can make better.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Stable, for programs.
    pub code: &'static str,
    /// What it is.
    pub title: Text,
    /// What to set.
    pub fix: Text,
}

macro_rules! findings {
    ($health:ident: $($code:literal $is_so:expr, $title:literal, $title_ja:literal, $fix:literal, $fix_ja:literal;)*) => {
        impl StreamHealth {
            /// What is to be made better, the weightiest first.
            pub fn findings(&self) -> Vec<Finding> {
                let $health = self;
                let all = [$(($is_so, $code, Text::new($title, $title_ja), Text::new($fix, $fix_ja))),*];
                let so = all.into_iter().filter(|(is_so, ..)| *is_so);
                so.map(|(_, code, title, fix)| Finding { code, title, fix }).collect()
            }
        }
    };
}

findings! { health:
    "above-class" health.over_class > 0,
        "More comes than the class carries", "予約した帯域を超えています",
        "Lower the encoder's bit rate", "エンコーダーのビットレートを下げてください";
    "packets-lost" health.lost > 0,
        "Packets are lost on the way to the server", "サーバーへの途中でパケットが失われています",
        "Send over TCP, use a cable, or lower the bit rate", "TCP で送るか、有線にするか、ビットレートを下げてください";
    "codec-not-everywhere" health.encodings.iter().any(|name| is_not_everywhere(name)),
        "Not every viewer can play this codec", "再生できない視聴者がいるコーデックです",
        "Send H.264", "H.264 で送ってください";
    "key-frames-rare" health.key_frame_distance.is_some_and(|distance| distance > KEY_FRAME_DISTANCE_MAX),
        "Key frames are far apart: viewers wait for their first picture", "キーフレームの間隔が長く、最初の映像まで待たされます",
        "Set a key frame every 2 seconds", "キーフレームの間隔を 2 秒にしてください";
    "b-frames" health.has_b_frames,
        "The picture has B-frames, which some players show late or not at all", "B フレームがあり、遅れたり映らなかったりする再生機があります",
        "Set B-frames to 0 (ffmpeg: -bf 0; x264: tune zerolatency)", "B フレームを 0 にしてください(ffmpeg: -bf 0、x264: zerolatency)";
    "frame-rate-low" health.frame_rate_milli.is_some_and(|rate| rate < FRAME_RATE_MILLI_MIN),
        "Fewer than 10 pictures come in a second", "1 秒に届く映像が 10 枚より少ないです",
        "Raise the encoder's frame rate, or see whether its computer keeps up", "フレームレートを上げるか、パソコンの負荷を確かめてください";
    "no-sound" !health.has_sound,
        "No sound comes", "音声が届いていません",
        "Choose a microphone or an audio source in the encoder, if there is to be sound", "音声が必要なら、エンコーダーで音源を選んでください";
}

/// Codecs that browsers or common players lack.
fn is_not_everywhere(encoding: &str) -> bool {
    ["H265", "HEVC", "VP8", "VP9", "AV1"].iter().any(|known| known.eq_ignore_ascii_case(encoding))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(health: &StreamHealth) -> Vec<&'static str> {
        health.findings().into_iter().map(|finding| finding.code).collect()
    }

    fn good() -> StreamHealth {
        StreamHealth {
            encodings: vec!["H264".to_owned(), "opus".to_owned()],
            frame_rate_milli: Some(25_000),
            key_frame_distance: Some(Duration::from_secs(2)),
            has_sound: true,
            packets: 1_000,
            ..StreamHealth::default()
        }
    }

    #[track_caller]
    fn finds(code: &str, change: impl FnOnce(&mut StreamHealth)) {
        let mut health = good();
        change(&mut health);
        assert_eq!(codes(&health), [code]);
    }

    #[test]
    fn a_good_stream_has_no_findings_and_each_fault_its_own() {
        assert!(codes(&good()).is_empty());
        finds("above-class", |health| health.over_class = 1);
        finds("packets-lost", |health| health.lost = 1);
        finds("codec-not-everywhere", |health| health.encodings[0] = "hevc".to_owned());
        finds("key-frames-rare", |health| health.key_frame_distance = Some(Duration::from_secs(5)));
        finds("b-frames", |health| health.has_b_frames = true);
        finds("frame-rate-low", |health| health.frame_rate_milli = Some(9_000));
        finds("no-sound", |health| health.has_sound = false);
    }
}
