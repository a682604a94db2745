//! A clock that stands until it is set, and the machine's own.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use slotcast_core::time::{Clock, Now, WallTime};

/// Wall time by hand; the monotonic half is the real one.
#[derive(Clone, Debug)]
pub struct HandClock(Arc<AtomicI64>);

impl HandClock {
    pub fn at(wall: WallTime) -> Self {
        Self(Arc::new(AtomicI64::new(wall.as_micros())))
    }

    pub fn set(&self, wall: WallTime) {
        self.0.store(wall.as_micros(), Ordering::SeqCst);
    }

    /// As rooms want it.
    pub fn clock(&self) -> Clock {
        let wall = Arc::clone(&self.0);
        Arc::new(move || Now {
            mono: tokio::time::Instant::now().into_std(),
            wall: WallTime::from_micros(wall.load(Ordering::SeqCst)),
        })
    }
}

/// The machine's own.
#[expect(clippy::disallowed_methods, reason = "the test is the edge that reads the clocks")]
pub fn system() -> Clock {
    let wall = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as i64;
    Arc::new(move || Now { mono: Instant::now(), wall: WallTime::from_micros(wall()) })
}
