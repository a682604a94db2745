//! Counts that one thread makes and every thread may read.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number with one writer and any number of readers.
///
/// Only the thread that owns it calls [`add`](Self::add) and [`set`](Self::set): an update is a load and a store, without
/// a locked instruction, so a second writer would lose counts.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// The value as of now.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Counts `more`.
    pub fn add(&self, more: u64) {
        self.set(self.value().wrapping_add(more));
    }

    /// Replaces the value.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }
}
