//! The end of the window, as each player sees it: played to the end, told, and closed, without a player waiting on.

use std::time::{Duration, Instant};

use slotcast_testing::players::{self, Lower, Seen};
use slotcast_testing::process::{Finished, Process};
use slotcast_testing::server::{ID, Server, channel};

/// Seconds after the server's start. An encoder needs two or three to be on air.
const END: i64 = 16;

/// A player needs a moment of its own to drain its buffers and to end; the server takes part of one second.
const PLAYER_ENDS_WITHIN: Duration = Duration::from_secs(4);

/// Plays to the end, and gives the player's report with the server's epoch.
#[track_caller]
fn check_end(start: impl FnOnce(&str) -> Process, seen: impl FnOnce(&Finished) -> Seen) {
    let server = Server::start(&[channel("stage", 4).window(-60, END)]);
    let _publisher = players::ffmpeg_publisher(&server.link_url(ID, "stage"), Lower::Tcp);
    server.wait_on_air("stage", "");
    let joined = Instant::now();
    let viewer = start(&server.watch_url("stage"));
    let end = server.instant(END);
    let finished = viewer.wait(end.saturating_duration_since(Instant::now()) + PLAYER_ENDS_WITHIN);
    assert!(finished.at >= end, "ended {:?} early:\n{}", end - finished.at, finished.text());
    let seen = seen(&finished);
    assert!(seen.broken.is_empty(), "{:#?}\n{}", seen.broken, seen.text);
    // Players start within two seconds; from then on each picture until the end is there.
    let seconds = end.saturating_duration_since(joined).saturating_sub(Duration::from_secs(2)).as_secs();
    let least = seconds * u64::from(players::FRAME_RATE);
    assert!(seen.frames >= least, "{} frames instead of {least}:\n{}", seen.frames, seen.text);
    server.wait_for_viewers("stage", 0);
}

#[test]
fn ffmpeg_over_udp_ends_with_the_window() {
    check_end(|url| players::ffmpeg_viewer(url, Some(Lower::Udp), None, &[]), players::seen_by_ffmpeg);
}

#[test]
fn ffmpeg_over_tcp_ends_with_the_window() {
    check_end(|url| players::ffmpeg_viewer(url, Some(Lower::Tcp), None, &[]), players::seen_by_ffmpeg);
}

#[test]
fn gstreamer_over_udp_ends_with_the_window() {
    check_end(|url| players::gst_viewer(url, "udp", &[]), seen_by_gst_until_closed);
}

#[test]
fn gstreamer_over_tcp_ends_with_the_window() {
    check_end(|url| players::gst_viewer(url, "tcp", &[]), seen_by_gst_until_closed);
}

/// rtspsrc tells a BYE as the end of the stream. Where the connection's close reaches it first, it says so as an error:
/// that is an end as well, and no broken picture.
fn seen_by_gst_until_closed(finished: &Finished) -> Seen {
    let mut seen = players::seen_by_gst(finished);
    seen.broken.retain(|line| !line.starts_with("ERROR"));
    seen
}

#[test]
fn the_link_stays_until_the_connect_window_closes() {
    let server = Server::start(&[channel("stage", 4).window(-60, 8)]);
    let mut publisher = players::ffmpeg_publisher(&server.link_url(ID, "stage"), Lower::Tcp);
    server.wait_on_air("stage", "");
    let viewer = players::ffmpeg_viewer(&server.watch_url("stage"), Some(Lower::Tcp), None, &[]);
    viewer.wait(Duration::from_secs(20));
    assert!(publisher.is_running(), "the link was cut with the viewers: {:#?}", publisher.lines());
}
