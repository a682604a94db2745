//! A clock that stands until it is set.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use slotcast_core::time::{Clock, Now, WallTime};

/// Wall time by hand; the monotonic half is the real one.
#[derive(Clone, Debug)]
pub(crate) struct HandClock(Arc<AtomicI64>);

impl HandClock {
    pub(crate) fn at(wall: WallTime) -> Self {
        Self(Arc::new(AtomicI64::new(wall.as_micros())))
    }

    pub(crate) fn set(&self, wall: WallTime) {
        self.0.store(wall.as_micros(), Ordering::SeqCst);
    }

    /// As rooms want it.
    pub(crate) fn clock(&self) -> Clock {
        let wall = Arc::clone(&self.0);
        Arc::new(move || Now {
            mono: tokio::time::Instant::now().into_std(),
            wall: WallTime::from_micros(wall.load(Ordering::SeqCst)),
        })
    }
}
