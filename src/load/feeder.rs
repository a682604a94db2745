//! Publishes streams at their pace, from a core of its own.
//!
//! Owns: when each frame is due; channels take turns within a frame's time.
//! Holds: a frame that is late is published at once and stamped when it really leaves; none is left out.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use slotcast_core::chunk::Chunk;

use super::shape::{Part, Shape, Synthesizer};

/// The streams of several channels.
pub struct Feeder {
    synthesizers: Vec<Synthesizer>,
    /// When each part of all streams is due, from the start.
    schedule: Box<dyn Iterator<Item = (Duration, Part)> + Send>,
    spacing: Duration,
    start: Option<Instant>,
}

impl Feeder {
    /// `channels` streams of `shape`, each beginning a little after the one before.
    pub fn new(shape: Shape, channels: usize) -> Self {
        let frame = Duration::from_secs(1) / shape.frames_per_second.max(1);
        let synthesizers: Vec<_> = (0..channels).map(|channel| Synthesizer::new(shape, channel)).collect();
        let schedule = Box::new(shape.schedule());
        Self { spacing: frame / channels.max(1) as u32, synthesizers, schedule, start: None }
    }

    /// Publishes what is due for `time` from now; goes on where the last call ended.
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
        let end = Instant::now() + time;
        let mut packets = vec![0; self.synthesizers.len()];
        while Instant::now() < end {
            let Some((at, part)) = self.schedule.next() else { break };
            let start = *self.start.get_or_insert_with(Instant::now);
            for (channel, synthesizer) in self.synthesizers.iter_mut().enumerate() {
                sleep_until(start + at + self.spacing * channel as u32);
                let Some(chunk) = synthesizer.make(part) else { continue };
                packets[channel] += chunk.packets().len() as u64;
                publish(channel, &chunk)?;
            }
        }
        Ok(packets)
    }

    /// Takes up the pace again after a pause: what would have been due meanwhile is not made up for.
    pub fn resume(&mut self) {
        if let Some((at, _)) = self.schedule.next() {
            self.start = Instant::now().checked_sub(at);
        }
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
        let shape = Shape { frames_per_second: 1000, ..Shape::default() };
        let mut feeder = Feeder::new(shape, 3);
        let mut seen = Vec::new();
        let mut publish = |channel, chunk: &Arc<Chunk>| {
            seen.push((channel, chunk.index()));
            Ok(())
        };
        let packets = feeder.run(Duration::from_millis(20), &mut publish).unwrap();
        assert!(packets[0] > 0 && packets.iter().all(|&count| count == packets[0]), "{packets:?}");
        assert_eq!(seen[..4], [(0, 0), (1, 0), (2, 0), (0, 1)]);
    }

    #[test]
    fn an_error_of_the_taker_ends_it() {
        let mut feeder = Feeder::new(Shape::default(), 1);
        let refuse = &mut |_, _: &Arc<Chunk>| Err(io::ErrorKind::BrokenPipe.into());
        assert!(feeder.run(Duration::from_secs(1), refuse).is_err());
    }
}
