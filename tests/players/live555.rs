//! The library by which VLC speaks RTSP, as a viewer of its own (`tests/live555`): over UDP and TCP, with and without a
//! password, over the seats, and at the end of the window. Decoded pictures are counted, and none may be broken.
//!
//! `SLOTCAST_LIVE555` is the program, as `tests/live555/build` makes it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use slotcast_testing::{
    players::{self, Live555, Lower},
    server::{ID, Server, channel},
    skip,
};

/// Ends a test that hangs.
const WITHIN: Duration = Duration::from_secs(60);
const PASSWORD: &str = "correct-horse";
const LOCKED_ID: &str = "uN5sYb8Qe3LkWp6D";
/// What a viewer is given of media, in seconds, and the pictures of it that must be there.
const SECONDS: u32 = 4;
const FRAMES: u64 = 90;

fn program() -> Option<PathBuf> {
    let program = std::env::var_os("SLOTCAST_LIVE555").map(PathBuf::from);
    if program.is_none() {
        skip("no viewer on live555 (tests/live555/build PROGRAM, then SLOTCAST_LIVE555=PROGRAM)");
    }
    program
}

#[test]
fn live555_watches_open_and_locked_programs_and_is_refused_without_the_password() {
    let Some(program) = program() else { return };
    let locked = channel("locked", 4).reservation_id(LOCKED_ID).password(PASSWORD);
    let (server, _publishers) = players::all_on_air(&[channel("open", 2), locked]);
    let (open, locked) = (server.watch_url("open"), server.watch_url("locked"));
    let token = format!("{}?token={PASSWORD}", server.watch_url("locked/"));
    let login = Some(("anyone", PASSWORD));
    let ways =
        [("open", &open, None), ("with a password", &locked, login), ("a token and a slash", &token, None)];
    let viewers = ways.map(|(what, url, login)| {
        (what, [Lower::Udp, Lower::Tcp].map(|lower| Live555::start(&program, url, lower, SECONDS, login)))
    });
    for (what, viewers) in viewers {
        eprintln!("step: {what}");
        for viewer in viewers {
            let finished = viewer.wait(WITHIN);
            let (seen, text) = (finished.pictures(), finished.process.text());
            seen.expect_frames(FRAMES);
            assert!(finished.said("audio") > u64::from(SECONDS) * 30, "{text}");
            assert_eq!((finished.said("goodbyes"), finished.said("timeout")), (0, 60), "{text}");
        }
    }
    // Each leaves its seat behind.
    server.wait_for_viewers("open", 0);
    server.wait_for_viewers("locked", 0);
    for login in [None, Some(("anyone", "wrong-horse"))] {
        eprintln!("step: refused {login:?}");
        expect_refused(start(&program, &locked, Lower::Tcp, login), "401");
    }
}

fn start(program: &Path, url: &str, lower: Lower, login: Option<(&str, &str)>) -> Live555 {
    Live555::start(program, url, lower, SECONDS, login)
}

#[track_caller]
fn expect_refused(viewer: Live555, status: &str) {
    let finished = viewer.wait(WITHIN);
    let text = finished.process.text();
    assert!(!finished.process.status.success() && text.contains(status), "{text}");
    assert_eq!((finished.said("video"), finished.said("audio")), (0, 0), "{text}");
}

#[test]
fn live555_is_refused_over_the_seats() {
    let Some(program) = program() else { return };
    let (server, _publisher) = players::on_air(channel("stage", 1));
    let url = server.watch_url("stage");
    // It keeps the seat until both were refused.
    let mut first = players::ffmpeg_viewer(&url, Some(Lower::Tcp), None, &[]);
    server.wait_for_viewers("stage", 1);
    for lower in [Lower::Udp, Lower::Tcp] {
        expect_refused(start(&program, &url, lower, None), "453");
    }
    assert!(first.is_running());
    drop(first);
    server.wait_for_viewers("stage", 0);
    let finished = start(&program, &url, Lower::Udp, None).wait(WITHIN);
    finished.pictures().expect_frames(FRAMES);
}

/// Seconds after the server's start. Encoder and players need three to five until they play.
const END: i64 = 12;

#[test]
fn live555_is_told_the_end_of_the_window() {
    let Some(program) = program() else { return };
    let server = Server::start(&[channel("stage", 2).window(-60, END)]);
    let _publisher = players::ffmpeg_publisher(&server.link_url(ID, "stage"), Lower::Tcp);
    server.wait_on_air("stage", "");
    let url = server.watch_url("stage");
    let viewers = [Lower::Udp, Lower::Tcp].map(|lower| Live555::start(&program, &url, lower, 60, None));
    let end = server.instant(END);
    for viewer in viewers {
        let finished = viewer.wait(end.saturating_duration_since(Instant::now()) + WITHIN);
        let text = finished.process.text();
        assert!(finished.process.at >= end, "ended {:?} early:\n{text}", end - finished.process.at);
        assert_eq!(finished.said("goodbyes"), 2, "{text}");
        finished.pictures().expect_frames(50);
    }
    server.wait_for_viewers("stage", 0);
}
