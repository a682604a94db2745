//! The border between the way in and all that reads what came: chunks go over it, nothing else.
//!
//! Owns: one bounded queue per subscriber (a worker, a recorder, a packager), and when a subscriber is woken.
//! Invariant: a subscriber gets each chunk once (one reference count per subscriber, not per viewer); one that does not
//! keep up loses chunks, which it sees as a gap in [`Chunk::index`], and holds nobody up; it is woken once for all
//! that is pending, and not at all for programs that it does not watch; one that is dropped is forgotten.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use arc_swap::{ArcSwap, ArcSwapOption};
use crossbeam_queue::ArrayQueue;

use crate::{chunk::Chunk, words::ProgramId};

struct Queue {
    chunks: ArrayQueue<Arc<Chunk>>,
    woken: AtomicBool,
    dropped: AtomicU64,
    is_closed: AtomicBool,
    /// Programs whose chunks wake the subscriber; `None`: those of all.
    watched: ArcSwapOption<HashSet<ProgramId>>,
    /// Makes the subscriber's next wait return.
    wake: Box<dyn Fn() + Send + Sync>,
}

impl Queue {
    fn push(&self, chunk: Arc<Chunk>) {
        let program = chunk.stream().program;
        if self.chunks.push(chunk).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        let is_watched = self.watched.load().as_ref().is_none_or(|watched| watched.contains(&program));
        let fills_up = || self.chunks.len() >= self.chunks.capacity() / 4;
        if (is_watched || fills_up()) && !self.woken.swap(true, Ordering::AcqRel) {
            (self.wake)();
        }
    }
}

/// A subscriber's end of its queue. Dropping it ends the subscription.
pub struct FeedReceiver(Arc<Queue>);

impl FeedReceiver {
    /// Says that the queue is about to be drained: what is pushed from now on wakes again.
    pub fn begin_drain(&self) {
        // A swap, not a store: it acquires the last push that found the flag set, so that push is popped now;
        // a later one finds the flag clear and wakes.
        self.0.woken.swap(false, Ordering::AcqRel);
    }

    /// The oldest chunk; `None` when the queue is empty.
    pub fn pop(&self) -> Option<Arc<Chunk>> {
        self.0.chunks.pop()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.0.chunks.is_empty()
    }

    /// Chunks that found the queue full, since the start.
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    /// Asks to be woken for chunks of these programs only; those of others wait in the queue until it is drained for
    /// another reason, or is a quarter full. A chunk that was pushed before this call may have woken nobody.
    pub fn watch(&self, programs: HashSet<ProgramId>) {
        self.0.watched.store(Some(Arc::new(programs)));
    }
}

impl Drop for FeedReceiver {
    fn drop(&mut self) {
        self.0.is_closed.store(true, Ordering::Release);
    }
}

/// All subscribers' queues; clones feed the same subscribers.
#[derive(Clone, Default)]
pub struct Feeds(Arc<ArcSwap<Vec<Arc<Queue>>>>);

impl Feeds {
    /// From now on every chunk goes to the receiver as well, of which at most `capacity` wait.
    ///
    /// - `wake`: called when there is something to drain; must not block.
    pub fn subscribe(&self, capacity: usize, wake: impl Fn() + Send + Sync + 'static) -> FeedReceiver {
        let queue = Arc::new(Queue {
            chunks: ArrayQueue::new(capacity.max(1)),
            woken: AtomicBool::new(false),
            dropped: AtomicU64::new(0),
            is_closed: AtomicBool::new(false),
            watched: ArcSwapOption::empty(),
            wake: Box::new(wake),
        });
        self.0.rcu(|queues| queues.iter().chain([&queue]).cloned().collect::<Vec<_>>());
        FeedReceiver(queue)
    }

    /// Hands `chunk` to every subscriber. Never blocks.
    pub fn publish(&self, chunk: &Arc<Chunk>) {
        let queues = self.0.load();
        let mut any_closed = false;
        for queue in queues.iter() {
            if queue.is_closed.load(Ordering::Acquire) {
                any_closed = true;
            } else {
                queue.push(Arc::clone(chunk));
            }
        }
        if any_closed {
            let is_open = |queue: &&Arc<Queue>| !queue.is_closed.load(Ordering::Acquire);
            self.0.rcu(|queues| queues.iter().filter(is_open).cloned().collect::<Vec<_>>());
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests take any instant to count from")]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::{
        chunk::{
            ChunkBuilder,
            tests::{rtp, stream},
        },
        packet::PacketFlags,
    };

    /// Counts how often it is called.
    fn counter() -> (Arc<AtomicU64>, impl Fn() + Send + Sync + 'static) {
        let count = Arc::<AtomicU64>::default();
        (Arc::clone(&count), move || _ = count.fetch_add(1, Ordering::Relaxed))
    }

    fn chunk(index: u64) -> Arc<Chunk> {
        let mut builder = ChunkBuilder::default();
        builder.push(Instant::now(), 0, PacketFlags::EMPTY, &rtp(0, 0, 8)).unwrap();
        builder.flush(&stream(1), index).unwrap()
    }

    fn drained(receiver: &FeedReceiver) -> Vec<u64> {
        receiver.begin_drain();
        std::iter::from_fn(|| receiver.pop()).map(|chunk| chunk.index()).collect()
    }

    #[test]
    fn one_wake_for_all_that_is_pending() {
        let (feeds, (wakes, wake)) = (Feeds::default(), counter());
        let receiver = feeds.subscribe(8, wake);
        (0..3).for_each(|i| feeds.publish(&chunk(i)));
        assert_eq!(wakes.load(Ordering::Relaxed), 1);
        assert_eq!(drained(&receiver), [0, 1, 2]);
        feeds.publish(&chunk(3));
        assert_eq!(wakes.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_slow_subscriber_loses_chunks_and_blocks_nobody() {
        let feeds = Feeds::default();
        let slow = feeds.subscribe(1, || {});
        let quick = feeds.subscribe(8, || {});
        (0..3).for_each(|i| feeds.publish(&chunk(i)));
        assert_eq!((slow.dropped(), quick.dropped()), (2, 0));
        assert_eq!((drained(&slow), drained(&quick)), (vec![0], vec![0, 1, 2]));
    }

    #[test]
    fn a_subscriber_may_come_while_chunks_flow_and_one_that_dies_is_forgotten() {
        let feeds = Feeds::default();
        let stays = feeds.subscribe(8, || {});
        feeds.publish(&chunk(0));
        let (late, (wakes, wake)) = (feeds.subscribe(8, || {}), counter());
        let dies = feeds.subscribe(8, wake);
        feeds.publish(&chunk(1));
        let queue = Arc::downgrade(&dies.0);
        drop(dies);
        (2..4).for_each(|i| feeds.publish(&chunk(i)));
        assert_eq!((drained(&stays), drained(&late)), (vec![0, 1, 2, 3], vec![1, 2, 3]));
        assert_eq!(wakes.load(Ordering::Relaxed), 1, "nobody is there to be woken");
        assert!(queue.upgrade().is_none(), "its queue is gone with it");
    }

    #[test]
    fn only_watched_programs_wake_until_the_queue_fills_up() {
        let (feeds, (wakes, wake)) = (Feeds::default(), counter());
        let receiver = feeds.subscribe(16, wake);
        receiver.watch(HashSet::new());
        (0..3).for_each(|i| feeds.publish(&chunk(i)));
        assert_eq!(wakes.load(Ordering::Relaxed), 0);
        assert_eq!(drained(&receiver), [0, 1, 2], "they wait there all the same");
        receiver.watch(HashSet::from([stream(1).program]));
        feeds.publish(&chunk(3));
        assert_eq!(wakes.load(Ordering::Relaxed), 1);
        drained(&receiver);
        receiver.watch(HashSet::new());
        (4..8).for_each(|i| feeds.publish(&chunk(i)));
        assert_eq!(wakes.load(Ordering::Relaxed), 2);
    }
}
