//! Which SSRC of a track is the one that counts.
//!
//! Holds: one SSRC at a time. Another one takes over when the old one has been silent or said BYE, when a new link
//! begins, or when two of its packets follow each other: a stray packet, an injected one, or a receiver's own SSRC
//! changes nothing (RFC 3550 §8.2, A.1).

use std::time::Instant;

use slotcast_core::rtp::{SequenceNumber, Ssrc};

use crate::limits;

#[derive(Clone, Copy, Debug)]
struct Current {
    ssrc: Ssrc,
    last_arrival: Instant,
    goodbye: bool,
}

/// The choice for one track.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SourceChoice {
    current: Option<Current>,
    /// The last packet of another SSRC.
    candidate: Option<(Ssrc, SequenceNumber)>,
}

/// What a packet's SSRC is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chosen {
    /// The one that counts.
    Current,
    /// From now on the one that counts.
    New,
    /// Not the one that counts.
    Strange,
}

impl SourceChoice {
    /// Judges a packet. Constant time; on the packet path.
    pub(crate) fn judge(&mut self, now: Instant, ssrc: Ssrc, sequence_number: SequenceNumber) -> Chosen {
        if let Some(current) = &mut self.current {
            if current.ssrc == ssrc {
                current.last_arrival = now;
                return Chosen::Current;
            }
            let silent = now.saturating_duration_since(current.last_arrival) >= limits::SSRC_SILENCE;
            let follows = self.candidate == Some((ssrc, sequence_number.wrapping_add(u16::MAX)));
            if !(silent || current.goodbye || follows) {
                self.candidate = Some((ssrc, sequence_number));
                return Chosen::Strange;
            }
        }
        self.candidate = None;
        self.current = Some(Current { ssrc, last_arrival: now, goodbye: false });
        Chosen::New
    }

    /// The one that counts.
    pub(crate) fn current(&self) -> Option<Ssrc> {
        self.current.map(|current| current.ssrc)
    }

    /// Notes that `ssrc` has said BYE.
    pub(crate) fn on_goodbye(&mut self, ssrc: Ssrc) {
        if let Some(current) = self.current.as_mut().filter(|current| current.ssrc == ssrc) {
            current.goodbye = true;
        }
    }

    /// A new link begins: whatever comes first counts.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const OLD: Ssrc = Ssrc(1);
    const NEW: Ssrc = Ssrc(2);

    #[track_caller]
    fn check(prepare: impl FnOnce(&mut SourceChoice), packets: &[(u64, Ssrc, u16)], expected: &[Chosen]) {
        let start = Instant::now();
        let mut choice = SourceChoice::default();
        assert_eq!(choice.judge(start, OLD, SequenceNumber(1)), Chosen::New);
        prepare(&mut choice);
        let judged: Vec<_> = packets
            .iter()
            .map(|(ms, ssrc, number)| {
                choice.judge(start + Duration::from_millis(*ms), *ssrc, SequenceNumber(*number))
            })
            .collect();
        assert_eq!(judged, expected);
    }

    #[test]
    fn a_stray_packet_changes_nothing() {
        check(
            |_| (),
            &[(1, NEW, 7), (2, OLD, 2), (3, NEW, 9)],
            &[Chosen::Strange, Chosen::Current, Chosen::Strange],
        );
    }

    #[test]
    fn two_that_follow_each_other_take_over() {
        check(
            |_| (),
            &[(1, NEW, 65_535), (2, OLD, 2), (3, NEW, 0)],
            &[Chosen::Strange, Chosen::Current, Chosen::New],
        );
    }

    #[test]
    fn silence_goodbye_and_a_new_link_let_the_next_in() {
        check(|_| (), &[(200, NEW, 7), (201, NEW, 8)], &[Chosen::New, Chosen::Current]);
        check(|choice| choice.on_goodbye(OLD), &[(1, NEW, 7)], &[Chosen::New]);
        check(|choice| choice.on_goodbye(NEW), &[(1, NEW, 7)], &[Chosen::Strange]);
        check(SourceChoice::clear, &[(1, NEW, 7)], &[Chosen::New]);
    }
}
