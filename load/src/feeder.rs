//! Publishes streams at their pace, from a core of its own.
//!
//! Owns: when each frame is due; channels take turns within a frame's time.
//! Holds: a frame that is late is published at once and stamped when it really leaves; none is left out.

use std::{
    io,
    iter::Peekable,
    sync::Arc,
    time::{Duration, Instant},
};

use slotcast_core::chunk::Chunk;

use slotcast_tools::shape::{Part, Shape, Synthesizer};

/// The streams of several channels.
pub struct Feeder {
    synthesizers: Vec<Synthesizer>,
    /// When each part of all streams is due, from the start.
    schedule: Peekable<Box<dyn Iterator<Item = (Duration, Part)> + Send>>,
    spacing: Duration,
}

impl Feeder {
    /// `channels` streams of `shape`, each beginning a little after the one before.
    pub fn new(shape: Shape, channels: usize) -> Self {
        let frame = Duration::from_secs(1) / shape.frames_per_second.max(1);
        let synthesizers: Vec<_> = (0..channels).map(|channel| Synthesizer::new(shape, channel)).collect();
        let schedule: Box<dyn Iterator<Item = _> + Send> = Box::new(shape.schedule());
        let schedule = schedule.peekable();
        Self { spacing: frame / channels.max(1) as u32, synthesizers, schedule }
    }

    /// Publishes what is due for `time`; goes on where the last call ended, as if no time had passed since.
    ///
    /// - `publish`: takes each channel's chunks.
    ///
    /// Returns how many packets of each channel were published, in sum.
    ///
    /// # Errors
    /// Those of `publish`: they end the run.
    pub fn run(
        &mut self,
        time: Duration,
        publish: &mut dyn FnMut(usize, &Arc<Chunk>) -> io::Result<()>,
    ) -> io::Result<Vec<u64>> {
        let mut packets = vec![0; self.synthesizers.len()];
        let Some(&(begin, _)) = self.schedule.peek() else { return Ok(packets) };
        let start = Instant::now();
        while let Some((at, part)) = self.schedule.next_if(|(at, _)| *at < begin + time) {
            for (channel, synthesizer) in self.synthesizers.iter_mut().enumerate() {
                sleep_until(start + (at - begin) + self.spacing * channel as u32);
                let Some(chunk) = synthesizer.make(part) else { continue };
                packets[channel] += chunk.packets().len() as u64;
                publish(channel, &chunk)?;
            }
        }
        sleep_until(start + time);
        Ok(packets)
    }
}

fn sleep_until(due: Instant) {
    let left = due.saturating_duration_since(Instant::now());
    if !left.is_zero() {
        std::thread::sleep(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_get_the_same_packets_in_turns() {
        // At this rate the frames are as large as those of the standard shape.
        let shape = Shape { frames_per_second: 1000, bit_rate: 1000 * 2_000_000 / 30, ..Shape::default() };
        let mut feeder = Feeder::new(shape, 3);
        let mut seen = Vec::new();
        let mut publish = |channel, chunk: &Arc<Chunk>| {
            seen.push((channel, chunk.index()));
            Ok(())
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
                Ok(())
            };
            feeder.run(Duration::from_millis(40), publish).unwrap();
        }
        assert_eq!(frames, [0, 1, 2, 3]);
    }

    #[test]
    fn an_error_of_the_taker_ends_it() {
        let mut feeder = Feeder::new(Shape::default(), 1);
        let refuse = &mut |_, _: &Arc<Chunk>| Err(io::ErrorKind::BrokenPipe.into());
        assert!(feeder.run(Duration::from_secs(1), refuse).is_err());
    }
}
