//! The border between the ingest side and the workers: chunks go over it, nothing else.
//!
//! Owns: one bounded queue per worker, and when its worker is woken.
//! Holds: a chunk is handed to each worker once (one reference count per worker, not per viewer); a worker that
//! does not keep up loses chunks, which it sees as a gap in [`Chunk::index`], and holds nobody up; it is woken
//! once for all that is pending.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use crossbeam_queue::ArrayQueue;

use crate::chunk::Chunk;

/// How a sleeping worker is woken; the edge knows (an eventfd).
pub trait Wake: Send + Sync {
    /// Makes the worker's next wait return. Must not block.
    fn wake(&self);
}

struct Shared {
    queue: ArrayQueue<Arc<Chunk>>,
    woken: AtomicBool,
    dropped: AtomicU64,
    wake: Box<dyn Wake>,
}

/// The ingest side's end of one worker's queue.
#[derive(Clone)]
pub struct FeedSender(Arc<Shared>);

/// The worker's end.
pub struct FeedReceiver(Arc<Shared>);

/// A queue of at most `capacity` chunks to one worker.
pub fn feed(capacity: usize, wake: impl Wake + 'static) -> (FeedSender, FeedReceiver) {
    let shared = Arc::new(Shared {
        queue: ArrayQueue::new(capacity.max(1)),
        woken: AtomicBool::new(false),
        dropped: AtomicU64::new(0),
        wake: Box::new(wake),
    });
    (FeedSender(Arc::clone(&shared)), FeedReceiver(shared))
}

impl FeedSender {
    fn push(&self, chunk: Arc<Chunk>) {
        if self.0.queue.push(chunk).is_err() {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
        }
        if !self.0.woken.swap(true, Ordering::AcqRel) {
            self.0.wake.wake();
        }
    }
}

impl FeedReceiver {
    /// Says that the worker is about to drain the queue: what is pushed from now on wakes it again.
    pub fn begin_drain(&self) {
        // A swap, not a store: it acquires the last push that found the flag set, so that push is popped now;
        // a later one finds the flag clear and wakes.
        self.0.woken.swap(false, Ordering::AcqRel);
    }

    /// The oldest chunk; `None` when the queue is empty.
    pub fn pop(&self) -> Option<Arc<Chunk>> {
        self.0.queue.pop()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.0.queue.is_empty()
    }

    /// Chunks that found the queue full, since the start.
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }
}

/// All workers' queues; clones feed the same workers.
#[derive(Clone)]
pub struct Feeds(Arc<[FeedSender]>);

impl Feeds {
    /// Feeds `senders`, one per worker.
    pub fn new(senders: Vec<FeedSender>) -> Self {
        Self(senders.into())
    }

    /// Hands `chunk` to every worker. Never blocks.
    pub fn publish(&self, chunk: &Arc<Chunk>) {
        for sender in &*self.0 {
            sender.push(Arc::clone(chunk));
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests take any instant to count from")]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::chunk::{
        ChunkBuilder, PacketFlags,
        tests::{rtp, stream},
    };

    struct CountWakes(Arc<AtomicU64>);

    impl Wake for CountWakes {
        fn wake(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn chunk(index: u64) -> Arc<Chunk> {
        let mut builder = ChunkBuilder::new();
        builder.push(Instant::now(), 0, PacketFlags::EMPTY, &rtp(0, 0, 8)).unwrap();
        builder.flush(&stream(1), index).unwrap()
    }

    #[test]
    fn one_wake_for_all_that_is_pending() {
        let wakes = Arc::new(AtomicU64::new(0));
        let (sender, receiver) = feed(8, CountWakes(Arc::clone(&wakes)));
        let feeds = Feeds::new(vec![sender]);
        (0..3).for_each(|i| feeds.publish(&chunk(i)));
        assert_eq!(wakes.load(Ordering::Relaxed), 1);
        receiver.begin_drain();
        assert_eq!(std::iter::from_fn(|| receiver.pop()).map(|c| c.index()).collect::<Vec<_>>(), [0, 1, 2]);
        feeds.publish(&chunk(3));
        assert_eq!(wakes.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_full_queue_drops_and_counts_and_blocks_nobody() {
        let (slow, slow_end) = feed(1, CountWakes(Arc::default()));
        let (quick, quick_end) = feed(8, CountWakes(Arc::default()));
        let feeds = Feeds::new(vec![slow, quick]);
        (0..3).for_each(|i| feeds.publish(&chunk(i)));
        assert_eq!((slow_end.dropped(), quick_end.dropped()), (2, 0));
        assert_eq!(std::iter::from_fn(|| quick_end.pop()).count(), 3);
    }
}
