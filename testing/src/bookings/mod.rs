//! What the tests and figures of the selling side share: a server that is killed and started again on the same data,
//! many clients, what they saw, and who receives mail and money.
//!
//! Invariant: all randomness comes from a seed that is printed; every wait has a limit.

pub mod client;
pub mod history;
pub mod site;
pub mod smtp;
pub mod stripe;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Numbers that a seed repeats (SplitMix64).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Of `SLOTCAST_SEED`, else of the time; printed.
    pub fn of_environment() -> Self {
        let given = std::env::var("SLOTCAST_SEED").ok().and_then(|text| text.parse().ok());
        let seed = given.unwrap_or_else(|| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            u64::from(now.subsec_nanos()) ^ now.as_secs()
        });
        println!("seed: SLOTCAST_SEED={seed}");
        Self(seed)
    }

    /// Another one, which this one's course does not change.
    pub fn fork(&mut self) -> Self {
        Self(self.draw())
    }

    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// 0 to `end`, without the end.
    pub fn below(&mut self, end: u64) -> u64 {
        self.draw() % end
    }

    /// True in so many of a hundred cases.
    pub fn per_cent(&mut self, share: u64) -> bool {
        self.below(100) < share
    }
}

/// Lets that much time pass: latency, or the time until a kill.
pub fn pass(span: Duration) {
    let end = Instant::now() + span;
    while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        std::thread::park_timeout(left);
    }
}

/// Seconds since 1970.
pub fn now_seconds() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
        .unwrap_or(i64::MAX)
}

/// As the API writes times.
pub fn time_text(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).unwrap().to_string()
}

/// A number from the environment.
pub fn count_of(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}
