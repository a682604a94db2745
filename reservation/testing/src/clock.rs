//! A clock that stands until it is set, the machine's own, and the watch over it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use slotcast_core::time::{Clock, Now, WallTime};
use slotcast_reservation::clock::{ClockRules, ClockStatus, ClockWatch};

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

/// A watch over the machine's own clock.
pub fn watch(servers: &[String], timeout: Duration) -> ClockWatch {
    let servers = servers.iter().map(|server| server.parse().unwrap()).collect();
    ClockWatch::new(ClockRules { servers, timeout, ..ClockRules::default() }, system())
}

/// Panics unless that offset of `status` is `expected_ms` within what NTP knows: half of the answers' way, however slow the
/// machine is.
#[track_caller]
pub fn expect_near(status: &ClockStatus, offset_micros: Option<i64>, expected_ms: i64) {
    let offset = offset_micros.expect("an offset");
    let longest =
        status.servers.iter().filter_map(|server| server.round_trip_micros).max().expect("an answer");
    let bound = longest.cast_signed() / 2 + 1_000;
    assert!(
        (offset - expected_ms * 1_000).abs() <= bound,
        "{offset} µs instead of {expected_ms} ms ± {bound} µs"
    );
}
