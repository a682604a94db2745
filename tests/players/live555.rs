//! The library by which VLC speaks RTSP, as a viewer of its own (`tests/live555`): over UDP and TCP, with and without a
//! password, over the seats, and at the end of the window. Decoded pictures are counted, and none may be broken.
//!
//! `SLOTCAST_LIVE555` is the program, as `tests/live555/build` makes it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use slotcast_testing::players::{self, Live555, Lower};
use slotcast_testing::server::{ID, Server, channel};

const PLAYS_WITHIN: Duration = Duration::from_secs(30);
const PASSWORD: &str = "correct-horse";
/// What a viewer is given of media, in seconds, and the pictures of it that must be there.
const SECONDS: u32 = 4;
const FRAMES: u64 = 90;

fn program() -> Option<PathBuf> {
    let program = std::env::var_os("SLOTCAST_LIVE555").map(PathBuf::from);
    if program.is_none() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "SLOTCAST_LIVE555 is not set: ./test sets it");
        println!(
            "skipped: no viewer on live555 (tests/live555/build PROGRAM, then SLOTCAST_LIVE555=PROGRAM)"
        );
    }
    program
}

/// Both transports beside each other; each leaves its seat behind.
#[track_caller]
fn check(program: &Path, server: &Server, url: &str, login: Option<(&str, &str)>) {
    let over_udp = Live555::start(program, url, Lower::Udp, SECONDS, login);
    let over_tcp = Live555::start(program, url, Lower::Tcp, SECONDS, login);
    for viewer in [over_udp, over_tcp] {
        let finished = viewer.wait(PLAYS_WITHIN);
        let (seen, text) = (finished.pictures(), finished.process.text());
        seen.expect_frames(FRAMES);
        assert!(finished.said("audio") > u64::from(SECONDS) * 30, "{text}");
        assert_eq!((finished.said("goodbyes"), finished.said("timeout")), (0, 60), "{text}");
    }
    server.wait_for_viewers("stage", 0);
}

#[test]
fn live555_watches_over_udp_and_tcp() {
    let Some(program) = program() else { return };
    let (server, _publisher) = players::on_air(channel("stage", 2));
    check(&program, &server, &server.watch_url("stage"), None);
}

#[test]
fn live555_watches_with_a_password() {
    let Some(program) = program() else { return };
    let (server, _publisher) = players::on_air(channel("stage", 2).password(PASSWORD));
    check(&program, &server, &server.watch_url("stage"), Some(("anyone", PASSWORD)));
}

#[test]
fn live555_watches_with_the_password_as_a_token_and_a_slash_at_the_end() {
    let Some(program) = program() else { return };
    let (server, _publisher) = players::on_air(channel("stage", 2).password(PASSWORD));
    check(&program, &server, &format!("{}?token={PASSWORD}", server.watch_url("stage/")), None);
}

#[track_caller]
fn expect_refused(viewer: Live555, status: &str) {
    let finished = viewer.wait(PLAYS_WITHIN);
    let text = finished.process.text();
    assert!(!finished.process.status.success() && text.contains(status), "{text}");
    assert_eq!((finished.said("video"), finished.said("audio")), (0, 0), "{text}");
}

#[test]
fn live555_is_refused_without_its_password() {
    let Some(program) = program() else { return };
    let (server, _publisher) = players::on_air(channel("stage", 2).password(PASSWORD));
    let url = server.watch_url("stage");
    for login in [None, Some(("anyone", "wrong-horse"))] {
        expect_refused(Live555::start(&program, &url, Lower::Tcp, SECONDS, login), "401");
    }
}

#[test]
fn live555_is_refused_over_the_seats() {
    let Some(program) = program() else { return };
    let (server, _publisher) = players::on_air(channel("stage", 1));
    let url = server.watch_url("stage");
    let first = Live555::start(&program, &url, Lower::Udp, SECONDS, None);
    server.wait_for_viewers("stage", 1);
    for lower in [Lower::Udp, Lower::Tcp] {
        expect_refused(Live555::start(&program, &url, lower, SECONDS, None), "453");
    }
    first.wait(PLAYS_WITHIN).pictures().expect_frames(FRAMES);
}

/// Seconds after the server's start. An encoder needs two or three to be on air.
const END: i64 = 14;

#[track_caller]
fn check_end(lower: Lower) {
    let Some(program) = program() else { return };
    let server = Server::start(&[channel("stage", 1).window(-60, END)]);
    let _publisher = players::ffmpeg_publisher(&server.link_url(ID, "stage"), Lower::Tcp);
    server.wait_on_air("stage", "");
    let viewer = Live555::start(&program, &server.watch_url("stage"), lower, 60, None);
    let end = server.instant(END);
    let finished = viewer.wait(end.saturating_duration_since(Instant::now()) + Duration::from_secs(4));
    let text = finished.process.text();
    assert!(finished.process.at >= end, "ended {:?} early:\n{text}", end - finished.process.at);
    assert_eq!(finished.said("goodbyes"), 2, "{text}");
    finished.pictures().expect_frames(50);
    server.wait_for_viewers("stage", 0);
}

#[test]
fn live555_over_udp_is_told_the_end_of_the_window() {
    check_end(Lower::Udp);
}

#[test]
fn live555_over_tcp_is_told_the_end_of_the_window() {
    check_end(Lower::Tcp);
}
