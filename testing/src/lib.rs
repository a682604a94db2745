//! What the tests of several crates share: slotcast and its surroundings as processes, and RTSP and HTTP spoken by hand.
//!
//! Owns: the server as a process ([`server`], [`provider`], [`bookings::site`]), players and encoders ([`players`],
//! [`obs`]), PostgreSQL ([`postgres`]), peers written by hand ([`dialogue`], [`feeder`], [`relay`], [`api`]), the commands of the pages ([`pages`]), and how a test says that it cannot run here ([`skip`]).
//! Not here: anything of slotcast's own crates, so that a change of those compiles none of this again.
//! Invariant: every wait has a limit; every process ends with the test that started it; tests run beside each other,
//! because each process has a loopback address of its own.
#![expect(missing_docs, reason = "the names of fields and of small helpers say it")]

pub mod api;
pub mod bookings;
pub mod dialogue;
pub mod feeder;
pub mod obs;
pub mod pages;
pub mod players;
pub mod postgres;
pub mod process;
pub mod provider;
pub mod relay;
pub mod server;

use std::{
    env,
    fs::OpenOptions,
    io::Write as _,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

/// Asks `ready` again and again until it gives a value; `None` when `limit` has passed without one.
pub fn wait_for<T>(limit: Duration, mut ready: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = ready() {
            return Some(value);
        }
        if Instant::now() >= deadline {
            return None;
        }
        thread::park_timeout(Duration::from_millis(20));
    }
}

/// Says that the running test cannot run here, because `what` is missing; the caller then returns.
///
/// It writes a line to stderr, and appends `TESTNAME: what` to the file that `SLOTCAST_SKIPS` names, if it names one.
///
/// Panics if `CI=true`: there nothing may be missing.
#[track_caller]
pub fn skip(what: &str) {
    assert!(env::var("CI").as_deref() != Ok("true"), "with CI=true nothing is skipped: {what}");
    eprintln!("skipped: {what}");
    let Some(file) = env::var_os("SLOTCAST_SKIPS") else { return };
    let mut file = OpenOptions::new().create(true).append(true).open(&file).unwrap();
    // One write of one line, so that lines of tests that run at once do not mix.
    file.write_all(format!("{}: {what}\n", test_name()).as_bytes()).unwrap();
}

/// The running test, as nextest or the test's own thread names it.
fn test_name() -> String {
    let of_thread = || thread::current().name().unwrap_or("a test").to_owned();
    env::var("NEXTEST_TEST_NAME").unwrap_or_else(|_| of_thread())
}

/// The server's program: `SLOTCAST_PROGRAM` if that is set (such as a release build), else what nextest names, else
/// what stands beside the test program.
///
/// Panics if it is not there.
#[track_caller]
pub fn program() -> PathBuf {
    let named = ["SLOTCAST_PROGRAM", "NEXTEST_BIN_EXE_slotcast"].into_iter().find_map(env::var_os);
    let program = named.map_or_else(
        || {
            let test = env::current_exe().unwrap();
            // target/PROFILE/deps/TEST-HASH
            test.parent().and_then(Path::parent).unwrap().join("slotcast")
        },
        PathBuf::from,
    );
    assert!(program.exists(), "{} is not there: run `cargo build` first", program.display());
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_with_its_value_or_its_limit() {
        let mut tries = 0;
        let third = wait_for(Duration::from_secs(60), || {
            tries += 1;
            (tries == 3).then_some(tries)
        });
        assert_eq!(third, Some(3));
        assert_eq!(wait_for(Duration::ZERO, || None::<()>), None);
    }
}
