//! Real encoders on the link side: ffmpeg (what OBS's custom output is) and GStreamer's rtspclientsink, over UDP and
//! TCP; what they are refused, and what their viewers see when they drop and return.

use std::time::Duration;

use slotcast_testing::dialogue::Dialogue;
use slotcast_testing::players::{self, Lower};
use slotcast_testing::process::Process;
use slotcast_testing::server::{self, ID, Server, channel};

const PLAYS_WITHIN: Duration = Duration::from_secs(40);
const REFUSED_WITHIN: Duration = Duration::from_secs(20);

/// Publishes, watches four seconds with ffmpeg over TCP, and counts the frames.
#[track_caller]
fn check(publisher: fn(&str, Lower) -> Process, lower: Lower, link_path: &str) {
    let server = Server::start(&[channel("stage", 4)]);
    let url = if link_path.contains("token=") {
        format!("rtsp://{}/{link_path}", server.links)
    } else {
        server.link_url(ID, link_path)
    };
    let mut publisher = publisher(&url, lower);
    server.wait_on_air("stage", "");
    let viewer = players::ffmpeg_viewer(&server.watch_url("stage"), Some(Lower::Tcp), Some(4), &[]);
    players::ffmpeg_seen(viewer, PLAYS_WITHIN).expect_frames(90);
    assert!(publisher.is_running(), "the publisher ended: {:#?}", publisher.lines());
}

#[test]
fn ffmpeg_publishes_over_udp() {
    check(players::ffmpeg_publisher, Lower::Udp, "stage");
}

#[test]
fn ffmpeg_publishes_over_tcp() {
    check(players::ffmpeg_publisher, Lower::Tcp, "stage");
}

#[test]
fn gstreamer_publishes_over_udp() {
    check(players::gst_publisher, Lower::Udp, "stage");
}

#[test]
fn gstreamer_publishes_over_tcp() {
    check(players::gst_publisher, Lower::Tcp, "stage");
}

#[test]
fn ffmpeg_publishes_with_the_id_as_a_token() {
    check(players::ffmpeg_publisher, Lower::Tcp, &format!("stage?token={ID}"));
}

#[test]
fn gstreamer_publishes_with_the_id_as_a_token() {
    check(players::gst_publisher, Lower::Udp, &format!("stage?token={ID}"));
}

#[test]
fn ffmpeg_publishes_to_an_address_with_a_slash_at_the_end() {
    check(players::ffmpeg_publisher, Lower::Udp, "stage/");
}

/// The publisher must be refused: it ends by itself, without success, and nobody can watch.
#[track_caller]
fn check_refused(server: &Server, publisher: Process, signs: &[&str]) {
    let finished = publisher.wait(REFUSED_WITHIN);
    let text = finished.text();
    assert!(!finished.status.success(), "accepted:\n{text}");
    assert!(signs.iter().any(|sign| text.contains(sign)), "none of {signs:?} in:\n{text}");
    let url = server.watch_url("stage");
    let reply = Dialogue::connect(server.viewers).request("DESCRIBE", &url, &[("Accept", "application/sdp")]);
    assert_eq!(reply.status, 404, "{reply:#?}");
    assert!(!reply.reason.is_empty(), "{reply:#?}");
}

#[test]
fn a_wrong_reservation_id_is_refused() {
    let server = Server::start(&[channel("stage", 4)]);
    let url = server.link_url("r7Kq2mXw9TzB4nVd", "stage");
    check_refused(&server, players::ffmpeg_publisher(&url, Lower::Tcp), &["401", "authorization failed"]);
    check_refused(&server, players::gst_publisher(&url, Lower::Tcp), &["ERROR"]);
}

#[test]
fn another_channels_reservation_id_is_refused() {
    let server =
        Server::start(&[channel("stage", 4), channel("cellar", 4).reservation_id("uN5sYb8Qe3LkWp6D")]);
    let url = server.link_url("uN5sYb8Qe3LkWp6D", "stage");
    check_refused(
        &server,
        players::ffmpeg_publisher(&url, Lower::Tcp),
        &["401", "403", "authorization failed"],
    );
}

#[test]
fn a_link_long_before_its_window_is_refused() {
    let server = Server::start(&[channel("stage", 4).window(3600, 7200)]);
    let url = server.link_url(ID, "stage");
    check_refused(&server, players::ffmpeg_publisher(&url, Lower::Tcp), &["401", "403"]);
}

#[test]
fn a_link_long_after_its_window_is_refused() {
    let server = Server::start(&[channel("stage", 4).window(-7200, -3600)]);
    let url = server.link_url(ID, "stage");
    check_refused(&server, players::ffmpeg_publisher(&url, Lower::Udp), &["401", "403"]);
}

#[test]
fn a_stream_above_the_class_is_refused_or_closed() {
    let narrow = server::Channel { rate: "64kbit/s", ..channel("stage", 4) };
    let server = Server::start(&[narrow]);
    let publisher = players::ffmpeg_publisher(&server.link_url(ID, "stage"), Lower::Tcp);
    let finished = publisher.wait(Duration::from_secs(40));
    assert!(!finished.status.success(), "{}", finished.text());
}

#[test]
fn a_link_in_its_connect_window_waits_for_the_start() {
    let start = 12;
    let server = Server::start(&[channel("stage", 4).window(start, 600)]);
    let mut publisher = players::ffmpeg_publisher(&server.link_url(ID, "stage"), Lower::Tcp);
    publisher.wait_for_line(Duration::from_secs(10), |line| line.contains("Output #0"));
    server.wait_on_air("stage", "");
    let late = std::time::Instant::now().saturating_duration_since(server.instant(start));
    assert!(late > Duration::ZERO, "on air before the window's start");
    assert!(late < Duration::from_secs(4), "on air only {late:?} after the window's start");
    assert!(publisher.is_running());
}

/// The viewer's highest frame count so far reaches `count`.
#[track_caller]
fn wait_for_frames(viewer: &mut Process, count: u64) {
    viewer.wait_for_line(Duration::from_secs(30), |line| {
        line.strip_prefix("frame=")
            .and_then(|frames| frames.trim().parse().ok())
            .is_some_and(|frames: u64| frames >= count)
    });
}

/// A viewer goes on when its broadcaster ends and another process comes back with the same ID.
#[track_caller]
fn check_return(lower: Lower, end: impl FnOnce(Process)) {
    let server = Server::start(&[channel("stage", 4)]);
    let url = server.link_url(ID, "stage");
    let first = players::ffmpeg_publisher(&url, Lower::Tcp);
    server.wait_on_air("stage", "");
    let mut viewer = players::ffmpeg_viewer(&server.watch_url("stage"), Some(lower), None, &[]);
    wait_for_frames(&mut viewer, 50);
    end(first);
    let _second = players::ffmpeg_publisher(&url, Lower::Tcp);
    wait_for_frames(&mut viewer, 200);
    assert_eq!(server.viewers_of("stage"), 1);
    let finished = viewer.interrupt(Duration::from_secs(10));
    let seen = players::seen_by_ffmpeg(&finished);
    assert!(seen.broken.is_empty(), "{:#?}\n{}", seen.broken, seen.text);
}

#[test]
fn tcp_viewers_are_still_there_when_the_broadcaster_returns() {
    check_return(Lower::Tcp, |first| {
        first.interrupt(Duration::from_secs(10));
    });
}

#[test]
fn udp_viewers_are_still_there_when_a_killed_broadcaster_returns() {
    check_return(Lower::Udp, drop);
}

#[test]
fn the_newer_of_two_links_with_one_id_takes_over() {
    let server = Server::start(&[channel("stage", 4)]);
    let url = server.link_url(ID, "stage");
    let older = players::ffmpeg_publisher(&url, Lower::Tcp);
    server.wait_on_air("stage", "");
    let mut viewer = players::ffmpeg_viewer(&server.watch_url("stage"), Some(Lower::Tcp), None, &[]);
    wait_for_frames(&mut viewer, 25);
    let mut newer = players::ffmpeg_publisher(&url, Lower::Udp);
    let finished = older.wait(Duration::from_secs(20));
    assert!(!finished.status.success(), "the older link ended as if by itself:\n{}", finished.text());
    wait_for_frames(&mut viewer, 150);
    assert!(newer.is_running());
    assert_eq!(server.viewers_of("stage"), 1);
}

/// Another encoder with another description: who watches is told that it is over, and who comes sees the new stream.
#[test]
fn a_newer_link_of_another_shape_makes_viewers_start_again() {
    let server = Server::start(&[channel("stage", 4)]);
    let url = server.link_url(ID, "stage");
    let _older = players::ffmpeg_publisher(&url, Lower::Tcp);
    server.wait_on_air("stage", "");
    let mut viewer = players::ffmpeg_viewer(&server.watch_url("stage"), Some(Lower::Tcp), None, &[]);
    wait_for_frames(&mut viewer, 25);
    let _newer = players::gst_publisher(&url, Lower::Tcp);
    viewer.wait(Duration::from_secs(20));
    server.wait_on_air("stage", "");
    let viewer = players::ffmpeg_viewer(&server.watch_url("stage"), Some(Lower::Tcp), Some(2), &[]);
    players::ffmpeg_seen(viewer, PLAYS_WITHIN).expect_frames(40);
}

#[test]
fn two_hundred_strangers_do_not_keep_a_broadcaster_out() {
    let server = Server::start(&[channel("stage", 4)]);
    let mut strangers: Vec<_> = (0..200).map(|_| std::net::TcpStream::connect(server.links).ok()).collect();
    for stranger in strangers.iter_mut().flatten().step_by(2) {
        use std::io::Write as _;
        let _ = stranger.write_all(b"ANNOUNCE rtsp://127.0.0.1/stage RTSP/1.0\r\nCSeq: 1\r\n");
    }
    let _publisher = players::ffmpeg_publisher(&server.link_url(ID, "stage"), Lower::Tcp);
    server.wait_on_air("stage", "");
}
