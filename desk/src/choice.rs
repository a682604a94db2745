//! Which SSRC of a track is the one that counts (RFC 3550 §8.2, A.1).
//!
//! Owns: the choice, and the packets of other SSRCs until it is made about them.
//! Invariant: one SSRC counts at a time. As long as it sends, in its own rhythm, no other takes its place, but for one
//! that sends many times as much, or a third more when both began with the link: a stray, a retransmission or an
//! injected packet changes nothing. One that follows it loses no packet by being new: its packets wait here, and go on
//! in their order when the one before has said BYE, is silent, or has sent nothing since before all that there is room
//! for. What is held is bounded.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use slotcast_core::{
    rtp::{SequenceNumber, Ssrc},
    time::Now,
};

use crate::limits;

#[derive(Clone, Copy, Debug)]
struct Current {
    ssrc: Ssrc,
    last_arrival: Instant,
    /// Of its last packet.
    last_place: u64,
    /// When it said BYE. It is believed unless packets go on to come.
    goodbye: Option<Instant>,
}

/// A packet of an SSRC that does not count, or not yet.
#[derive(Debug)]
pub(crate) struct Held {
    /// When it arrived.
    pub(crate) at: Now,
    /// The whole RTP packet.
    pub(crate) packet: Vec<u8>,
    ssrc: Ssrc,
    /// Where it stands among all packets of the track; these grow in `held`.
    place: u64,
    /// Packets that had counted when it came.
    counted_before: u64,
}

impl Held {
    fn number(&self) -> SequenceNumber {
        let number = self.packet.get(2..).and_then(|rest| rest.first_chunk());
        SequenceNumber(number.copied().map_or(0, u16::from_be_bytes))
    }
}

/// The choice for one track.
#[derive(Debug, Default)]
pub(crate) struct SourceChoice {
    current: Option<Current>,
    /// When the link's first packet came.
    began: Option<Instant>,
    /// Packets that have come, of whatever SSRC.
    arrivals: u64,
    /// Packets that have counted.
    counted: u64,
    /// The longest pause of late between two packets of the present SSRC; it fades.
    pause: Duration,
    held: VecDeque<Held>,
    held_bytes: usize,
    /// Chosen, to be taken by the caller.
    released: VecDeque<Held>,
    /// Held packets that nobody wanted, since the last look.
    dropped: u64,
}

/// What a packet's SSRC is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chosen {
    /// The one that counts.
    Current,
    /// Not the one that counts, or not yet: hold the packet, then take what is released.
    Other,
}

impl SourceChoice {
    /// Judges a packet. Constant time; on the packet path.
    pub(crate) fn judge(&mut self, now: Instant, ssrc: Ssrc) -> Chosen {
        self.arrivals += 1;
        let goodbye = match &self.current {
            Some(current) if current.ssrc != ssrc => return Chosen::Other,
            Some(current) => {
                let pause = now.saturating_duration_since(current.last_arrival);
                self.pause = pause.max(self.pause - self.pause / 64);
                current.goodbye.filter(|said| now.saturating_duration_since(*said) <= limits::REORDERED_MAX)
            }
            None => {
                self.began = Some(now);
                None
            }
        };
        self.current = Some(Current { ssrc, last_arrival: now, last_place: self.arrivals, goodbye });
        self.counted += 1;
        Chosen::Current
    }

    /// Keeps the packet that was judged last, of another SSRC.
    pub(crate) fn hold(&mut self, at: Now, ssrc: Ssrc, packet: &[u8]) {
        self.held_bytes += packet.len();
        let (place, counted_before) = (self.arrivals, self.counted);
        self.held.push_back(Held { at, packet: packet.to_vec(), ssrc, place, counted_before });
        if self.outweighs(at.mono, ssrc) {
            self.take_over(ssrc, None);
        }
        while self.is_full() {
            self.make_room();
        }
    }

    fn is_full(&self) -> bool {
        self.held.len() > limits::HELD_PACKETS_MAX || self.held_bytes > limits::HELD_BYTES_MAX
    }

    /// Drops the oldest packet. If nothing of the present SSRC has come since, that packet's source follows it, and waits
    /// no longer than there is room.
    fn make_room(&mut self) {
        let oldest = self.held.front().map(|oldest| (oldest.ssrc, oldest.place));
        match (oldest, self.current) {
            (Some((ssrc, place)), Some(current)) if place > current.last_place => self.take_over(ssrc, None),
            _ => self.drop_oldest(),
        }
    }

    /// The next packet that has come to count, in the order of arrival; `None` while the present SSRC sends.
    pub(crate) fn release(&mut self, now: Instant) -> Option<Held> {
        if self.released.is_empty() && self.deadline().is_some_and(|at| at <= now) {
            let current = self.current?;
            let since =
                current.last_arrival.checked_sub(limits::REORDERED_MAX).unwrap_or(current.last_arrival);
            let next = self.first_since_current()?.ssrc;
            self.take_over(next, Some(since));
        }
        self.released.pop_front()
    }

    /// When packets that are held come to count, if the present SSRC stays silent.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let current = self.current.filter(|_| !self.held.is_empty())?;
        self.first_since_current()?;
        let silence = (2 * self.pause).clamp(limits::SSRC_SILENCE, limits::SSRC_SILENCE_MAX);
        Some(if current.goodbye.is_some() { current.last_arrival } else { current.last_arrival + silence })
    }

    /// Forgets packets that have waited too long. Returns how many were dropped since the last call.
    pub(crate) fn take_dropped(&mut self, now: Instant) -> u64 {
        let is_old = |held: &Held| now.saturating_duration_since(held.at.mono) > limits::HELD_TIME_MAX;
        while self.held.front().is_some_and(is_old) {
            self.drop_oldest();
        }
        std::mem::take(&mut self.dropped)
    }

    /// The one that counts.
    pub(crate) fn current(&self) -> Option<Ssrc> {
        self.current.map(|current| current.ssrc)
    }

    /// Whether `ssrc` may come to count next: the first behind the present one, or the newest.
    pub(crate) fn may_come_next(&self, ssrc: Ssrc) -> bool {
        let candidates = [self.first_since_current(), self.held.back()];
        candidates.into_iter().flatten().any(|held| held.ssrc == ssrc)
    }

    /// Notes that `ssrc` has said BYE.
    pub(crate) fn on_goodbye(&mut self, now: Instant, ssrc: Ssrc) {
        if let Some(current) = self.current.as_mut().filter(|current| current.ssrc == ssrc) {
            current.goodbye = Some(now);
        }
    }

    /// A new link begins: whatever comes first counts.
    pub(crate) fn clear(&mut self) {
        let dropped = self.dropped + (self.held.len() + self.released.len()) as u64;
        *self = Self { dropped, ..Self::default() };
    }

    /// The first packet behind the present SSRC's last: what came before that is beside it, and follows nothing.
    fn first_since_current(&self) -> Option<&Held> {
        let last_place = self.current?.last_place;
        self.held.get(self.held.partition_point(|held| held.place <= last_place))
    }

    /// Whether `ssrc`, which has just sent, sends so much more than the present one that the present one is the stray.
    /// Seen over a while, or as far back as there is room.
    fn outweighs(&self, now: Instant, ssrc: Ssrc) -> bool {
        let is_long_ago = |held: &Held| now.saturating_duration_since(held.at.mono) >= limits::SSRC_SILENCE;
        let reaches_back = |oldest: &Held| is_long_ago(oldest) || self.is_full() && oldest.ssrc == ssrc;
        if !self.held.front().is_some_and(reaches_back) {
            return false;
        }
        let mut own = self.held.iter().filter(|held| held.ssrc == ssrc);
        let Some(first) = own.next().filter(|first| is_long_ago(first) || self.is_full()) else {
            return false;
        };
        let counted = self.counted - first.counted_before;
        let outweighed = if self.may_be_misjudged(now, first) {
            (4 * counted).div_ceil(3)
        } else {
            limits::OUTWEIGHS * counted
        };
        let needed = limits::OUTWEIGHS_PACKETS.max(outweighed);
        counted > 0 && self.held.len() as u64 >= needed && own.count() as u64 + 1 >= needed
    }

    /// Whether the present SSRC counts only because it came first of those that began together, and `first` of another
    /// was long enough ago to tell who sends more.
    fn may_be_misjudged(&self, now: Instant, first: &Held) -> bool {
        let since = |at: Instant| now.saturating_duration_since(at);
        let is_seen = self.is_full() || since(first.at.mono) >= limits::BEGINNERS_SEEN;
        is_seen && self.began.is_some_and(|began| since(began) < limits::BEGINNING)
    }

    /// Lets `ssrc` count with its held packets, those from before `since` excepted: they were beside the one before.
    fn take_over(&mut self, ssrc: Ssrc, since: Option<Instant>) {
        let begin = self.released.len();
        let mut at = 0;
        while let Some(held) = self.held.get(at) {
            if held.ssrc != ssrc {
                at += 1;
                continue;
            }
            let Some(held) = self.held.remove(at) else { return };
            self.held_bytes -= held.packet.len();
            if since.is_some_and(|since| held.at.mono < since) {
                self.dropped += 1;
                continue;
            }
            let (last_arrival, last_place) = (held.at.mono, held.place);
            self.current = Some(Current { ssrc, last_arrival, last_place, goodbye: None });
            self.counted += 1;
            self.released.push_back(held);
        }
        self.put_earliest_first(begin);
    }

    /// Datagrams overtake each other on the way. The numbers of a source are counted on from its first packet, so none
    /// may come that lies before it.
    fn put_earliest_first(&mut self, begin: usize) {
        let Some(first) = self.released.get(begin).map(Held::number) else { return };
        let behind = |held: &Held| held.number().packets_since(first);
        let early = self
            .released
            .iter()
            .enumerate()
            .skip(begin)
            .filter(|(_, held)| (-limits::REORDERED_PACKETS_MAX..0).contains(&behind(held)));
        let earliest = early.min_by_key(|(_, held)| behind(held)).map(|(at, _)| at);
        if let Some(held) = earliest.and_then(|at| self.released.remove(at)) {
            self.released.insert(begin, held);
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(held) = self.held.pop_front() {
            self.held_bytes -= held.packet.len();
            self.dropped += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use slotcast_core::time::WallTime;

    use super::*;

    const OLD: Ssrc = Ssrc(1);
    const NEW: Ssrc = Ssrc(2);
    const THIRD: Ssrc = Ssrc(3);

    /// A choice, milliseconds in place of instants, and what has come to count.
    struct Track {
        choice: SourceChoice,
        start: Instant,
        counted: Vec<(Ssrc, u64)>,
    }

    impl Track {
        #[expect(clippy::disallowed_methods, reason = "a test has to begin at some instant")]
        fn new() -> Self {
            Self { choice: SourceChoice::default(), start: Instant::now(), counted: Vec::new() }
        }

        fn at(&self, ms: u64) -> Now {
            Now { mono: self.start + Duration::from_millis(ms), wall: WallTime::from_micros(0) }
        }

        fn send(&mut self, ms: u64, ssrc: Ssrc) {
            self.send_bytes(ms, ssrc, 20);
        }

        fn send_bytes(&mut self, ms: u64, ssrc: Ssrc, bytes: usize) {
            let at = self.at(ms);
            match self.choice.judge(at.mono, ssrc) {
                Chosen::Current => self.counted.push((ssrc, ms)),
                Chosen::Other => self.choice.hold(at, ssrc, &vec![0; bytes]),
            }
            self.wait_until(ms);
        }

        fn wait_until(&mut self, ms: u64) {
            while let Some(held) = self.choice.release(self.at(ms).mono) {
                self.counted.push((held.ssrc, (held.at.mono - self.start).as_millis() as u64));
            }
        }

        fn counted(&self, ssrc: Ssrc) -> usize {
            self.counted.iter().filter(|(of, _)| *of == ssrc).count()
        }
    }

    type Stray = dyn Fn(&mut Track, u64, u64);

    /// Pictures of three packets 40 ms apart from `from` on, with strays of `NEW` from `stray`, which gets the picture's
    /// number and time.
    fn pictures(track: &mut Track, ssrc: Ssrc, from: u64, count: u64, stray: impl Fn(&mut Track, u64, u64)) {
        for picture in 0..count {
            let at = from + 40 * picture;
            (0..3).for_each(|packet| track.send(at + packet, ssrc));
            stray(track, picture, at);
        }
    }

    #[test]
    fn a_source_that_sends_is_not_replaced_by_strays() {
        let rare = |track: &mut Track, picture, at| {
            if picture % 5 == 0 {
                track.send(at + 20, NEW)
            }
        };
        let often = |track: &mut Track, _, at| (0..2).for_each(|packet| track.send(at + 10 + packet, NEW));
        let bursts = |track: &mut Track, picture, at| {
            if picture % 8 == 0 {
                (0..20).for_each(|packet| track.send(at + 10 + packet, NEW));
            }
        };
        let strays: [&Stray; 3] = [&rare, &often, &bursts];
        for stray in strays {
            let mut track = Track::new();
            pictures(&mut track, OLD, 0, 100, stray);
            assert_eq!((track.counted(OLD), track.counted(NEW)), (300, 0));
            let left = track.choice.held.len() as u64;
            assert!(track.choice.take_dropped(track.at(60_000).mono) >= left.max(20));
            assert_eq!((track.choice.held.len(), track.choice.held_bytes), (0, 0));
        }
    }

    #[test]
    fn a_stray_that_comes_first_gives_way_to_the_source_beside_it() {
        let mut track = Track::new();
        for at in (0..100).map(|picture| 40 * picture) {
            (0..2).for_each(|packet| track.send(at + packet, NEW));
            (10..13).for_each(|packet| track.send(at + packet, OLD));
        }
        assert_eq!(track.counted(OLD), 300);
        assert!(track.counted(NEW) < 60, "{} strays", track.counted(NEW));
    }

    #[test]
    fn of_two_that_send_as_much_the_first_stays() {
        let mut track = Track::new();
        pictures(&mut track, OLD, 0, 200, |track, _, at| {
            (0..3).for_each(|packet| track.send(at + packet, NEW))
        });
        assert_eq!((track.counted(OLD), track.counted(NEW)), (600, 0));
    }

    #[test]
    fn a_slow_source_is_not_replaced_in_its_pauses() {
        let mut track = Track::new();
        (0..10).for_each(|second| track.send(1000 * second, OLD));
        for second in 10..20 {
            track.send(1000 * second, OLD);
            track.send(1000 * second + 300, NEW);
            track.send(1000 * second + 900, NEW);
        }
        assert_eq!((track.counted(OLD), track.counted(NEW)), (20, 0));
    }

    #[test]
    fn one_that_follows_loses_no_packet() {
        let mut track = Track::new();
        pictures(&mut track, OLD, 0, 10, |_, _, _| ());
        pictures(&mut track, NEW, 400, 10, |_, _, _| ());
        assert_eq!((track.counted(OLD), track.counted(NEW)), (30, 30));
        assert!(track.counted.is_sorted_by_key(|(_, ms)| *ms));
    }

    #[test]
    fn a_single_packet_counts_when_the_silence_is_over() {
        let mut track = Track::new();
        track.send(0, OLD);
        track.send(50, NEW);
        assert_eq!(track.choice.deadline(), Some(track.at(200).mono));
        track.wait_until(199);
        assert_eq!(track.counted(NEW), 0);
        track.wait_until(200);
        assert_eq!(track.counted(NEW), 1);
    }

    #[test]
    fn sources_that_change_often_and_back_lose_nothing() {
        // Each time a new one, every 100 ms; then back and forth, every 400 ms.
        let new_ones = (0..20).map(|ssrc| (Ssrc(10 + ssrc), 100));
        let back = [OLD, NEW, OLD, THIRD, NEW, OLD].into_iter().cycle().take(20).map(|ssrc| (ssrc, 400));
        for changes in [new_ones.collect::<Vec<_>>(), back.collect()] {
            let mut track = Track::new();
            let mut at = 0;
            for (ssrc, every) in &changes {
                (0..*every / 20).for_each(|packet| track.send(at + 20 * packet, *ssrc));
                at += every;
            }
            track.wait_until(at + 1000);
            assert_eq!(track.counted.len() as u64, at / 20);
            assert!(track.counted.is_sorted_by_key(|(_, ms)| *ms));
        }
    }

    #[test]
    fn a_stray_that_took_the_place_in_a_pause_gives_it_back() {
        let mut track = Track::new();
        pictures(&mut track, OLD, 0, 10, |_, _, _| ());
        track.send(700, NEW);
        pictures(&mut track, OLD, 800, 50, |track, picture, at| {
            if picture % 4 == 3 {
                track.send(at + 20, NEW);
            }
        });
        assert_eq!(track.counted(OLD), 180, "nothing is lost");
        assert!(track.counted(NEW) <= 4, "{} strays", track.counted(NEW));
    }

    /// 8 packets of 1250 bytes a millisecond, 80 Mbit/s.
    const FAST: u64 = 8;

    #[test]
    fn one_that_follows_loses_no_packet_for_want_of_room() {
        let mut track = Track::new();
        for ms in 0..300 {
            (0..FAST).for_each(|_| track.send_bytes(ms, OLD, 1250));
        }
        track.send(310, THIRD);
        for ms in 320..1000 {
            (0..FAST).for_each(|_| track.send_bytes(ms, NEW, 1250));
        }
        track.wait_until(2000);
        assert_eq!((track.counted(OLD), track.counted(NEW)), (300 * FAST as usize, 680 * FAST as usize));
        assert!(track.choice.held_bytes <= limits::HELD_BYTES_MAX);
    }

    #[test]
    fn a_rare_stray_that_was_first_does_not_keep_a_fast_source_out() {
        let mut track = Track::new();
        for ms in 0..1000 {
            if ms % 100 == 0 {
                track.send(ms, NEW);
            }
            (0..FAST).for_each(|_| track.send_bytes(ms, OLD, 1250));
        }
        assert_eq!(track.counted(OLD), 1000 * FAST as usize);
    }

    #[test]
    fn a_source_that_goes_on_after_its_goodbye_keeps_its_place() {
        let mut track = Track::new();
        pictures(&mut track, OLD, 0, 10, |_, _, _| ());
        track.choice.on_goodbye(track.at(370).mono, OLD);
        pictures(&mut track, OLD, 400, 10, |track, picture, at| {
            if picture == 5 {
                track.send(at + 10, NEW);
            }
        });
        assert_eq!((track.counted(OLD), track.counted(NEW)), (60, 0));
    }

    #[test]
    fn goodbye_and_a_new_link_let_the_next_in_at_once() {
        let mut track = Track::new();
        track.send(0, OLD);
        track.choice.on_goodbye(track.at(0).mono, NEW);
        track.send(1, NEW);
        assert_eq!(track.counted(NEW), 0);
        track.choice.on_goodbye(track.at(1).mono, OLD);
        track.wait_until(2);
        assert_eq!(track.counted(NEW), 1);
        track.choice.clear();
        track.send(3, THIRD);
        assert_eq!(track.counted(THIRD), 1);
    }

    #[test]
    fn the_first_behind_the_present_one_and_the_newest_may_come_next() {
        let mut track = Track::new();
        track.send(0, OLD);
        track.send(1, THIRD);
        assert!(track.choice.may_come_next(THIRD));
        track.send(2, OLD);
        for (ms, ssrc) in [(3, NEW), (4, Ssrc(4)), (5, Ssrc(5))] {
            track.send(ms, ssrc);
        }
        let next = [OLD, THIRD, NEW, Ssrc(4), Ssrc(5)].map(|ssrc| track.choice.may_come_next(ssrc));
        assert_eq!(next, [false, false, true, false, true]);
    }

    #[test]
    fn what_is_held_is_bounded() {
        let mut track = Track::new();
        for ms in 0..2000u64 {
            track.send(ms, OLD);
            track.send(ms, Ssrc(100 + ms as u32));
        }
        assert!(track.choice.held.len() <= limits::HELD_PACKETS_MAX);
        assert_eq!(track.counted.len(), 2000);
        let at = track.at(2000);
        for _ in 0..40 {
            track.choice.hold(at, NEW, &[0; 60_000]);
        }
        assert!(track.choice.held_bytes <= limits::HELD_BYTES_MAX);
    }
}
