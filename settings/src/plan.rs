//! How a bandwidth class is shared between picture, sound and what carries them.
//!
//! Owns: [`EncoderPlan`] and its tables.
//! Invariant: picture, sound and RTP headers together stay within nine tenths of the class.

use slotcast_core::words::BitRate;

/// What is used of a class; the rest is room for the encoder's own error and for RTCP.
pub const USED_PERCENT: u64 = 90;

/// RTP header (RFC 3550 §5.1) and the payload format's own (RFC 6184 §5.8, RFC 3640 §3.2.1).
const PACKET_OVERHEAD_BITS: u64 = (12 + 4) * 8;

/// What encoders put into one packet.
const PAYLOAD_BITS: u64 = 1_200 * 8;

/// More than this helps no picture of the largest size here.
const VIDEO_MAX: u64 = 12_000_000;

/// Less than this is no picture.
const VIDEO_MIN: u64 = 10_000;

/// Bit rate from which on; width, height, frames per second.
const PICTURES: [(u64, u32, u32, u32); 8] = [
    (6_000_000, 1920, 1080, 25),
    (2_500_000, 1280, 720, 25),
    (1_200_000, 960, 540, 25),
    (600_000, 640, 360, 25),
    (250_000, 480, 270, 25),
    (100_000, 320, 180, 15),
    (24_000, 160, 90, 10),
    (VIDEO_MIN, 128, 72, 5),
];

/// Class from which on; codec, bit rate, channels.
const SOUNDS: [(u64, AudioCodec, u64, u32); 6] = [
    (4_000_000, AudioCodec::Aac, 128_000, 2),
    (1_000_000, AudioCodec::Aac, 96_000, 2),
    (256_000, AudioCodec::Aac, 64_000, 2),
    (128_000, AudioCodec::Opus, 24_000, 1),
    (48_000, AudioCodec::Opus, 16_000, 1),
    (12_000, AudioCodec::Opus, 8_000, 1),
];

/// How the sound is encoded: Opus where little must do, AAC where every player shall have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AudioCodec {
    /// RFC 6716; in packets of 60 ms, so that their headers weigh little.
    Opus,
    /// ISO 14496-3, AAC-LC.
    Aac,
}

impl AudioCodec {
    /// Packets per second at 48 kHz, one frame each.
    const fn packets_per_second(self) -> u64 {
        match self {
            Self::Opus => 17,
            Self::Aac => 47,
        }
    }
}

/// The picture of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VideoPlan {
    /// Of the encoded picture, in bits per second; both average and peak over a second.
    pub bits_per_second: u64,
    /// In pixels, even.
    pub width: u32,
    /// In pixels, even.
    pub height: u32,
    /// Pictures per second.
    pub frame_rate: u32,
}

impl VideoPlan {
    /// A key frame comes every so many pictures: every two seconds.
    pub const fn key_frame_interval(self) -> u32 {
        self.frame_rate * 2
    }
}

/// The sound of a plan, at 48 kHz.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioPlan {
    /// How it is encoded.
    pub codec: AudioCodec,
    /// In bits per second.
    pub bits_per_second: u64,
    /// 1 or 2.
    pub channels: u32,
}

/// What an encoder is set to for one class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncoderPlan {
    /// `None` where the class has room for sound alone.
    pub video: Option<VideoPlan>,
    /// Always there.
    pub audio: AudioPlan,
}

impl EncoderPlan {
    /// The plan of a class; `None` below 12 kbit/s, where not even speech fits.
    pub fn for_class(class: BitRate) -> Option<Self> {
        let class = class.bits_per_second();
        let &(_, codec, bits_per_second, channels) = SOUNDS.iter().find(|sound| class >= sound.0)?;
        let audio = AudioPlan { codec, bits_per_second, channels };
        let used = class / 100 * USED_PERCENT;
        let left = used.saturating_sub(audio_on_the_wire(audio));
        Some(Self { video: video_within(left), audio })
    }

    /// All of it with its RTP headers, in bits per second.
    pub fn on_the_wire(&self) -> u64 {
        audio_on_the_wire(self.audio) + self.video.map_or(0, video_on_the_wire)
    }
}

fn audio_on_the_wire(audio: AudioPlan) -> u64 {
    audio.bits_per_second + audio.codec.packets_per_second() * PACKET_OVERHEAD_BITS
}

/// Each picture begins a packet of its own, and each may end in one that is not full.
fn video_on_the_wire(video: VideoPlan) -> u64 {
    let packets = video.bits_per_second / PAYLOAD_BITS + u64::from(video.frame_rate);
    video.bits_per_second + packets * PACKET_OVERHEAD_BITS
}

/// The largest picture for which `left` bits per second are enough.
fn video_within(left: u64) -> Option<VideoPlan> {
    PICTURES.iter().find_map(|&(from, width, height, frame_rate)| {
        let headers_of_frames = u64::from(frame_rate) * PACKET_OVERHEAD_BITS;
        let bits =
            left.checked_sub(headers_of_frames)? * PAYLOAD_BITS / (PAYLOAD_BITS + PACKET_OVERHEAD_BITS);
        // Whole kbit/s: the finest that GStreamer's x264enc knows.
        let bits_per_second = bits.min(VIDEO_MAX) / 1_000 * 1_000;
        (bits_per_second >= from).then_some(VideoPlan { bits_per_second, width, height, frame_rate })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plan(bits: u64) -> Option<EncoderPlan> {
        EncoderPlan::for_class(BitRate::new(bits).unwrap())
    }

    #[track_caller]
    fn check(class: u64, picture: Option<(u32, u32, u64)>, sound: u64) {
        let plan = plan(class).unwrap();
        assert_eq!(plan.video.map(|video| (video.width, video.height, video.bits_per_second)), picture);
        assert_eq!(plan.audio.bits_per_second, sound);
    }

    #[test]
    fn every_class_gets_what_it_has_room_for() {
        check(12_000, None, 8_000);
        check(28_800, Some((128, 72, 14_000)), 8_000);
        check(64_000, Some((160, 90, 37_000)), 16_000);
        check(256_000, Some((320, 180, 156_000)), 64_000);
        check(2_000_000, Some((960, 540, 1_672_000)), 96_000);
        check(1_000_000_000_000, Some((1920, 1080, VIDEO_MAX)), 128_000);
    }

    #[test]
    fn nothing_fits_below_twelve_kilobits() {
        assert_eq!(plan(1), None);
        assert_eq!(plan(11_999), None);
    }

    proptest! {
        #[test]
        fn no_plan_is_over_its_class(class in 12_000_u64..100_000_000) {
            let plan = plan(class).unwrap();
            prop_assert!(plan.on_the_wire() * 100 <= class * USED_PERCENT, "{plan:?}");
        }
    }
}
