//! What the tests against a running server share: the server as a process, players and encoders as processes, and
//! RTSP dialogues written by hand.
//!
//! Holds: every wait has a limit; every process dies with the test that started it; tests run beside each other,
//! because each process has a loopback address of its own.
#![allow(dead_code, reason = "every test binary compiles this module and uses its own part of it")]

pub(crate) mod api;
pub(crate) mod dialogue;
pub(crate) mod feeder;
pub(crate) mod obs;
pub(crate) mod players;
pub(crate) mod process;
pub(crate) mod provider;
pub(crate) mod relay;
pub(crate) mod server;

use std::time::{Duration, Instant};

/// Asks `ready` again and again until it gives a value; `None` when `limit` has passed without one.
pub(crate) fn wait_for<T>(limit: Duration, mut ready: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = ready() {
            return Some(value);
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
}
