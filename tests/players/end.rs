//! The end of the window, as players see it: played to the end, told, and closed, without a player waiting on.

use std::time::{Duration, Instant};

use slotcast_testing::{
    players::{self, Lower, Seen},
    process::{Finished, Process},
    server::{ID, Server, channel},
};

/// Seconds after the server's start. Encoder and players need three to five until they play.
const END: i64 = 14;
/// Ends a test that hangs.
const WITHIN: Duration = Duration::from_secs(60);
/// Three seconds of pictures: however late a player began, it must have played a while.
const FRAMES_MIN: u64 = 75;

type See = fn(&Finished) -> Seen;

#[test]
fn ffmpeg_and_gstreamer_end_with_the_window_and_the_link_stays() {
    let server = Server::start(&[channel("stage", 4).window(-60, END)]);
    let mut publisher = players::ffmpeg_publisher(&server.link_url(ID, "stage"), Lower::Tcp);
    server.wait_on_air("stage", "");
    let url = server.watch_url("stage");
    let ffmpeg = |lower| players::ffmpeg_viewer(&url, Some(lower), None, &[]);
    let viewers: [(&str, Process, See); 4] = [
        ("ffmpeg over UDP", ffmpeg(Lower::Udp), players::seen_by_ffmpeg),
        ("ffmpeg over TCP", ffmpeg(Lower::Tcp), players::seen_by_ffmpeg),
        ("GStreamer over UDP", players::gst_viewer(&url, "udp", &[]), seen_by_gst_until_closed),
        ("GStreamer over TCP", players::gst_viewer(&url, "tcp", &[]), seen_by_gst_until_closed),
    ];
    let end = server.instant(END);
    for (what, viewer, see) in viewers {
        eprintln!("step: {what}");
        let finished = viewer.wait(end.saturating_duration_since(Instant::now()) + WITHIN);
        assert!(finished.at >= end, "ended {:?} early:\n{}", end - finished.at, finished.text());
        let seen = see(&finished);
        assert!(seen.broken.is_empty(), "{:#?}\n{}", seen.broken, seen.text);
        assert!(seen.frames >= FRAMES_MIN, "{} frames:\n{}", seen.frames, seen.text);
    }
    server.wait_for_viewers("stage", 0);
    // By the server's own stamps, from the end of the window to the last viewer's close.
    let closed = server.metric(&["slotcast_cutoff_delay_max_seconds", "closed"]);
    assert!(closed > 0.0 && closed < 1.0, "{closed} s:\n{}", server.metrics());
    // The connect window is open for five minutes more.
    assert!(publisher.is_running(), "the link was cut with the viewers: {:#?}", publisher.lines());
}

/// rtspsrc tells a BYE as the end of the stream. Where the connection's close reaches it first, it says so as an error:
/// that is an end as well, and no broken picture.
fn seen_by_gst_until_closed(finished: &Finished) -> Seen {
    let mut seen = players::seen_by_gst(finished);
    seen.broken.retain(|line| !line.starts_with("ERROR"));
    seen
}
