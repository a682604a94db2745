//! Publishes streams at their pace, from a core of its own.
//!
//! Owns: when each frame is due; channels take turns within a frame's time.
//! Invariant: a frame that is late is published at once and stamped with the moment at which it was due, so that a server
//! that is slow to read cannot hide it; none is left out.

use std::{
    iter::Peekable,
    num::NonZeroU64,
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::thread::set_current_timer_slack;
use slotcast_core::chunk::Chunk;
use slotcast_net::clock::monotonic_nanos;

use slotcast_tools::{
    histogram::Histogram,
    shape::{Part, Shape, Synthesizer},
};

/// How much later than asked the feeding thread may be woken.
const TIMER_SLACK: Option<NonZeroU64> = NonZeroU64::new(1);
/// A thread that slept is back only some 50 us after it was to be woken, which would be in every latency: it wakes so
/// much earlier, and looks at the clock until the frame is due ...
const AHEAD: Duration = Duration::from_micros(100);
/// ... with few channels. With many it would take the receivers' core from them.
const CHANNELS_AHEAD_MAX: usize = 8;

/// The streams of several channels.
pub struct Feeder {
    synthesizers: Vec<Synthesizer>,
    /// When each part of all streams is due, from the start.
    schedule: Peekable<Box<dyn Iterator<Item = (Duration, Part)> + Send>>,
    spacing: Duration,
    /// How much later than due each frame was published.
    late: Histogram,
}

impl Feeder {
    /// `channels` streams of `shape`, each beginning a little after the one before.
    pub fn new(shape: Shape, channels: usize) -> Self {
        let frame = Duration::from_secs(1) / shape.frames_per_second.max(1);
        let synthesizers: Vec<_> = (0..channels).map(|channel| Synthesizer::new(shape, channel)).collect();
        let schedule: Box<dyn Iterator<Item = _> + Send> = Box::new(shape.schedule());
        let schedule = schedule.peekable();
        // Where it is refused the thread is woken some 50 us later.
        let _ = set_current_timer_slack(TIMER_SLACK);
        Self { spacing: frame / channels.max(1) as u32, synthesizers, schedule, late: Histogram::default() }
    }

    /// How much later than due each frame was published: the thread was woken late, or the taker of the frame before was
    /// slow. It is part of every latency.
    pub const fn late(&self) -> &Histogram {
        &self.late
    }

    /// Counts only what is late from now on.
    pub fn forget_late(&mut self) {
        self.late = Histogram::default();
    }

    /// Publishes what is due for `time`; goes on where the last call ended, as if no time had passed since.
    ///
    /// - `publish`: takes each channel's chunks.
    ///
    /// Returns how many packets of each channel were published, in sum.
    ///
    /// # Errors
    /// Those of `publish`: they end the run.
    pub fn run<E>(
        &mut self,
        time: Duration,
        publish: &mut impl FnMut(usize, &Arc<Chunk>) -> Result<(), E>,
    ) -> Result<Vec<u64>, E> {
        let mut packets = vec![0; self.synthesizers.len()];
        let Some(&(begin, _)) = self.schedule.peek() else { return Ok(packets) };
        let ahead = if self.synthesizers.len() > CHANNELS_AHEAD_MAX { Duration::ZERO } else { AHEAD };
        let start = Instant::now();
        while let Some((at, part)) = self.schedule.next_if(|(at, _)| *at < begin + time) {
            for (channel, synthesizer) in self.synthesizers.iter_mut().enumerate() {
                let due = start + (at - begin) + self.spacing * channel as u32;
                sleep_until(due, ahead);
                let late = due.elapsed().as_nanos() as u64;
                self.late.record(late);
                let Some(chunk) = synthesizer.make(part, monotonic_nanos().saturating_sub(late)) else {
                    continue;
                };
                packets[channel] += chunk.packets().len() as u64;
                publish(channel, &chunk)?;
            }
        }
        sleep_until(start + time, Duration::ZERO);
        Ok(packets)
    }
}

/// Sleeps until `ahead` of `due`, and waits for the rest of the time with the eyes on the clock.
fn sleep_until(due: Instant, ahead: Duration) {
    let left = due.saturating_duration_since(Instant::now()).saturating_sub(ahead);
    if !left.is_zero() {
        std::thread::sleep(left);
    }
    while Instant::now() < due && !ahead.is_zero() {
        std::hint::spin_loop();
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, io};

    use super::*;
    use slotcast_tools::shape::read_stamp;

    #[test]
    fn channels_get_the_same_packets_in_turns() {
        // At this rate the frames are as large as those of the standard shape.
        let shape = Shape { frames_per_second: 1000, bit_rate: 1000 * 2_000_000 / 30, ..Shape::default() };
        let mut feeder = Feeder::new(shape, 3);
        let mut seen = Vec::new();
        let mut publish = |channel, chunk: &Arc<Chunk>| {
            seen.push((channel, chunk.index()));
            Ok::<_, Infallible>(())
        };
        let packets = feeder.run(Duration::from_millis(20), &mut publish).unwrap();
        assert!(packets[0] > 0 && packets.iter().all(|&count| count == packets[0]), "{packets:?}");
        assert_eq!(packets[0], 26 + 19 * 7, "20 frames, however late they were");
        assert_eq!(seen[..4], [(0, 0), (1, 0), (2, 0), (0, 1)]);
    }

    #[test]
    fn a_pause_is_not_made_up_for() {
        let mut feeder = Feeder::new(Shape::default(), 1);
        let mut frames = Vec::new();
        for _ in 0..2 {
            let publish = &mut |_, chunk: &Arc<Chunk>| {
                frames.push(chunk.index());
                Ok::<_, Infallible>(())
            };
            feeder.run(Duration::from_millis(40), publish).unwrap();
        }
        assert_eq!(frames, [0, 1, 2, 3]);
    }

    #[test]
    fn an_error_of_the_taker_ends_it() {
        let mut feeder = Feeder::new(Shape::default(), 1);
        let refuse = &mut |_, _: &Arc<Chunk>| Err(io::Error::from(io::ErrorKind::BrokenPipe));
        assert!(feeder.run(Duration::from_secs(1), refuse).is_err());
    }

    #[test]
    fn a_taker_that_is_slow_makes_the_next_frames_late_and_not_their_stamps() {
        let shape = Shape { frames_per_second: 1000, ..Shape::default() };
        let mut feeder = Feeder::new(shape, 1);
        let mut stamps = Vec::new();
        let publish = &mut |_, chunk: &Arc<Chunk>| {
            stamps.push(read_stamp(chunk.packet(&chunk.packets()[0])).unwrap());
            // It takes its time for the first one, as a server does that does not read.
            if chunk.index() == 0 {
                std::thread::sleep(Duration::from_millis(50));
            }
            Ok::<_, Infallible>(())
        };
        feeder.run(Duration::from_millis(10), publish).unwrap();
        let between: Vec<_> = stamps.windows(2).map(|two| two[1] - two[0]).collect();
        assert_eq!(stamps.len(), 10);
        let even = 900_000..1_100_000;
        assert!(between.iter().all(|nanos| even.contains(nanos)), "{between:?}");
        assert!(feeder.late().max() >= Duration::from_millis(40), "{:?}", feeder.late().max());
    }
}
