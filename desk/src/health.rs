//! What a broadcaster's stream is like, measured from what arrives: for people, never for a decision.
//!
//! Owns: [`Health`], and the measure of one track's pictures.
//! Not here: what is good and what to do about it, which those say who show it.

use std::time::{Duration, Instant};

use slotcast_core::rtp::{RtpPacket, RtpTimestamp, SequenceNumber, Ssrc};

/// What one program's link brings. Counts and rates are of the last [`HEALTH_WINDOW`](crate::limits::HEALTH_WINDOW).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Of each track, in the order in which they were offered, its encoding as the description names it; empty where it does not.
    pub encodings: Vec<String>,
    /// Pictures in a thousand seconds; `None`: no pictures come, or not for long enough.
    pub frame_rate_milli: Option<u32>,
    /// From the newest key frame but one to the newest, or since the newest where that is longer already; `None`: fewer than
    /// two have come.
    pub key_frame_distance: Option<Duration>,
    /// Whether pictures come in another order than they are shown in: B-frames. It stays until the link ends.
    pub has_b_frames: bool,
    /// Whether sound comes.
    pub has_sound: bool,
    /// RTP packets that came.
    pub packets: u64,
    /// RTP packets that were lost on the way in.
    pub lost: u64,
    /// RTP packets that were dropped above the bandwidth class.
    pub over_class: u64,
}

/// Pictures that go further back than this, 2 s at the 90 kHz of video, begin anew.
const BACK_TICKS_MAX: i32 = 180_000;

/// Looks at the pictures of one track as they come.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PictureMeter {
    newest: Option<Newest>,
    /// The newest key frame: when its first packet came, and its timestamp.
    key: Option<(Instant, RtpTimestamp)>,
    key_distance: Option<Duration>,
    /// When the window began, and the pictures since.
    window: Option<(Instant, u32)>,
    rate_milli: Option<u32>,
    has_b_frames: bool,
}

#[derive(Clone, Copy, Debug)]
struct Newest {
    ssrc: Ssrc,
    number: SequenceNumber,
    timestamp: RtpTimestamp,
    /// The latest of all pictures.
    latest: RtpTimestamp,
}

impl PictureMeter {
    /// Takes a packet that arrived at `at`. On the packet path: some comparisons.
    pub(crate) fn on_packet(&mut self, at: Instant, rtp: &RtpPacket<'_>, is_key: bool) {
        let (number, timestamp) = (rtp.sequence_number(), rtp.timestamp());
        let before = self.newest.filter(|newest| newest.ssrc == rtp.ssrc());
        if before.is_some_and(|newest| number.packets_since(newest.number) <= 0) {
            // Overtaken on the way: it says nothing of the order in which the encoder sent.
            return;
        }
        let is_new_picture = before.is_none_or(|newest| newest.timestamp != timestamp);
        let later = before.map(|newest| timestamp.ticks_since(newest.latest));
        let is_back = later.is_some_and(|later| (-BACK_TICKS_MAX..0).contains(&later));
        if is_new_picture {
            self.has_b_frames |= is_back;
            let (_, pictures) = self.window.get_or_insert((at, 0));
            *pictures += 1;
        }
        if is_key && self.key.is_none_or(|(_, of)| of != timestamp) {
            let before = self.key.replace((at, timestamp));
            self.key_distance =
                before.map(|(before, _)| at.saturating_duration_since(before)).or(self.key_distance);
        }
        let latest = before.filter(|_| is_back).map_or(timestamp, |newest| newest.latest);
        self.newest = Some(Newest { ssrc: rtp.ssrc(), number, timestamp, latest });
    }

    /// Ends the window; called each [`HEALTH_WINDOW`](crate::limits::HEALTH_WINDOW).
    pub(crate) fn end_window(&mut self, now: Instant) {
        let rate = |(from, pictures): (Instant, u32)| {
            let millis = now.saturating_duration_since(from).as_millis().max(1);
            u32::try_from(u128::from(pictures) * 1_000_000 / millis).unwrap_or(u32::MAX)
        };
        self.rate_milli = self.window.replace((now, 0)).map(rate).filter(|rate| *rate > 0);
    }

    /// Puts what is known at `now` into `health`.
    pub(crate) fn show(&self, now: Instant, health: &mut Health) {
        let since_key = self.key.map(|(at, _)| now.saturating_duration_since(at));
        health.frame_rate_milli = self.rate_milli;
        health.key_frame_distance = self.key_distance.max(since_key.filter(|_| self.key_distance.is_some()));
        health.has_b_frames = self.has_b_frames;
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests take any instant to count from")]
mod tests {
    use super::*;

    /// Pictures 40 ms apart in the order `shown`, of two packets each; every `keys`th is a key frame.
    fn measured(shown: &[u32], keys: usize, overtake: bool) -> Health {
        let start = Instant::now();
        let mut meter = PictureMeter::default();
        let mut packets = Vec::new();
        for (place, at) in (0u16..).zip(shown) {
            for part in 0..2 {
                let mut bytes = vec![0x80, 96];
                bytes.extend((2 * place + part).to_be_bytes());
                bytes.extend((at * 3_600).to_be_bytes());
                bytes.extend([0, 0, 0, 1, 0xaa]);
                packets.push((
                    start + Duration::from_millis(40 * u64::from(place)),
                    bytes,
                    usize::from(place) % keys == 0,
                ));
            }
        }
        if overtake {
            packets.swap(5, 6);
        }
        for (at, bytes, is_key) in &packets {
            meter.on_packet(*at, &RtpPacket::parse(bytes).unwrap(), *is_key);
        }
        let end = start + Duration::from_millis(40 * shown.len() as u64);
        meter.end_window(end);
        let mut health = Health::default();
        meter.show(end, &mut health);
        health
    }

    #[test]
    fn pictures_in_their_order_have_a_rate_a_key_distance_and_no_b_frames() {
        let health = measured(&(0..100).collect::<Vec<_>>(), 25, false);
        assert_eq!((health.frame_rate_milli, health.has_b_frames), (Some(25_000), false));
        assert_eq!(health.key_frame_distance, Some(Duration::from_secs(1)));
    }

    #[test]
    fn pictures_that_are_shown_in_another_order_are_b_frames_and_packets_that_were_overtaken_are_not() {
        assert!(measured(&[0, 3, 1, 2, 6, 4, 5], 7, false).has_b_frames);
        assert!(!measured(&[0, 1, 2, 3, 4, 5, 6], 7, true).has_b_frames);
    }

    #[test]
    fn a_key_frame_that_is_long_ago_counts_for_as_long_as_it_is() {
        let health = measured(&(0..100).collect::<Vec<_>>(), 10, false);
        assert_eq!(health.key_frame_distance, Some(Duration::from_millis(400)));
        let rare = measured(&(0..100).collect::<Vec<_>>(), 60, false);
        assert_eq!(rare.key_frame_distance, Some(Duration::from_millis(2_400)));
        assert_eq!(measured(&(0..100).collect::<Vec<_>>(), 200, false).key_frame_distance, None);
    }
}
