//! Real players as viewers: ffmpeg, ffprobe and GStreamer's rtspsrc, over UDP and TCP, with and without a password.
//! Decoded pictures are counted, and none may be broken.

use std::time::Duration;

use slotcast_testing::players::{self, Lower};
use slotcast_testing::relay::Relay;
use slotcast_testing::server::channel;
use slotcast_testing::wait_for;

const PLAYS_WITHIN: Duration = Duration::from_secs(40);
const PASSWORD: &str = "correct-horse";

#[track_caller]
fn check_ffmpeg(url: &str) {
    let over_udp = players::ffmpeg_viewer(url, Some(Lower::Udp), Some(4), &[]);
    let over_tcp = players::ffmpeg_viewer(url, Some(Lower::Tcp), Some(4), &[]);
    players::ffmpeg_seen(over_udp, PLAYS_WITHIN).expect_frames(90);
    players::ffmpeg_seen(over_tcp, PLAYS_WITHIN).expect_frames(90);
}

#[track_caller]
fn check_gst(url: &str, properties: &[&str]) {
    let over_udp = players::gst_viewer(url, "udp", properties);
    let over_tcp = players::gst_viewer(url, "tcp", properties);
    players::gst_seen(over_udp, 100, PLAYS_WITHIN).expect_frames(100);
    players::gst_seen(over_tcp, 100, PLAYS_WITHIN).expect_frames(100);
}

#[test]
fn ffmpeg_watches_over_udp_and_tcp() {
    let (server, _publisher) = players::on_air(channel("stage", 4));
    check_ffmpeg(&server.watch_url("stage"));
}

#[test]
fn ffmpeg_watches_with_a_password() {
    let (server, _publisher) = players::on_air(channel("stage", 4).password(PASSWORD));
    check_ffmpeg(&server.watch_url_as("anyone", PASSWORD, "stage"));
}

#[test]
fn ffmpeg_watches_with_the_password_as_a_token() {
    let (server, _publisher) = players::on_air(channel("stage", 4).password(PASSWORD));
    check_ffmpeg(&format!("{}?token={PASSWORD}", server.watch_url("stage")));
}

#[test]
fn ffmpeg_watches_an_address_with_a_slash_at_the_end() {
    let (server, _publisher) = players::on_air(channel("stage", 4));
    check_ffmpeg(&server.watch_url("stage/"));
}

#[test]
fn ffmpeg_without_its_password_is_refused() {
    let (server, _publisher) = players::on_air(channel("stage", 4).password(PASSWORD));
    for url in [server.watch_url("stage"), server.watch_url_as("anyone", "wrong-horse", "stage")] {
        let seen = players::ffmpeg_seen(
            players::ffmpeg_viewer(&url, Some(Lower::Tcp), Some(2), &[]),
            Duration::from_secs(20),
        );
        assert!(!seen.success && seen.frames == 0, "{}", seen.text);
        assert!(seen.text.contains("401"), "{}", seen.text);
    }
}

#[test]
fn ffprobe_watches_over_udp_and_tcp() {
    let (server, _publisher) = players::on_air(channel("stage", 4));
    let url = server.watch_url("stage");
    players::ffprobe_seen(&url, Lower::Udp, 3).expect_frames(60);
    players::ffprobe_seen(&url, Lower::Tcp, 3).expect_frames(60);
}

#[test]
fn ffprobe_watches_with_a_password() {
    let (server, _publisher) = players::on_air(channel("stage", 4).password(PASSWORD));
    let url = server.watch_url_as("anyone", PASSWORD, "stage");
    players::ffprobe_seen(&url, Lower::Tcp, 3).expect_frames(60);
    players::ffprobe_seen(&url, Lower::Udp, 3).expect_frames(60);
}

#[test]
fn gstreamer_watches_over_udp_and_tcp() {
    let (server, _publisher) = players::on_air(channel("stage", 4));
    check_gst(&server.watch_url("stage"), &[]);
}

#[test]
fn gstreamer_watches_with_a_password() {
    let (server, _publisher) = players::on_air(channel("stage", 4).password(PASSWORD));
    check_gst(&server.watch_url("stage"), &["user-id=anyone", &format!("user-pw={PASSWORD}")]);
}

#[test]
fn gstreamer_watches_with_the_password_as_a_token() {
    let (server, _publisher) = players::on_air(channel("stage", 4).password(PASSWORD));
    check_gst(&format!("{}?token={PASSWORD}", server.watch_url("stage")), &[]);
}

#[test]
fn gstreamer_with_its_default_order_of_transports_plays() {
    let (server, _publisher) = players::on_air(channel("stage", 4));
    let viewer = players::gst_viewer(&server.watch_url("stage"), "tcp+udp-mcast+udp", &[]);
    players::gst_seen(viewer, 75, PLAYS_WITHIN).expect_frames(75);
}

#[test]
fn ffmpeg_with_its_default_order_of_transports_plays() {
    let (server, _publisher) = players::on_air(channel("stage", 4));
    let viewer = players::ffmpeg_viewer(&server.watch_url("stage"), None, Some(3), &[]);
    players::ffmpeg_seen(viewer, PLAYS_WITHIN).expect_frames(60);
}

#[test]
fn a_viewer_over_the_seats_gets_453_and_disturbs_nobody() {
    let (server, _publisher) = players::on_air(channel("stage", 2));
    let url = server.watch_url("stage");
    let over_udp = players::ffmpeg_viewer(&url, Some(Lower::Udp), Some(10), &[]);
    let over_tcp = players::gst_viewer(&url, "tcp", &[]);
    server.wait_for_viewers("stage", 2);
    for lower in [Lower::Udp, Lower::Tcp] {
        let refused = players::ffmpeg_viewer(&url, Some(lower), Some(2), &[]);
        let refused = players::ffmpeg_seen(refused, Duration::from_secs(20));
        assert!(!refused.success && refused.frames == 0, "{}", refused.text);
        assert!(refused.text.contains("453"), "{}", refused.text);
        assert!(refused.text.to_lowercase().contains("seat"), "no reason is given:\n{}", refused.text);
    }
    let refused = players::gst_viewer(&url, "udp", &[]).wait(Duration::from_secs(20));
    assert!(refused.text().contains("ERROR"), "{}", refused.text());
    players::ffmpeg_seen(over_udp, PLAYS_WITHIN).expect_frames(240);
    players::gst_seen(over_tcp, 250, PLAYS_WITHIN).expect_frames(250);
    server.wait_for_viewers("stage", 0);
    let viewer = players::ffmpeg_viewer(&url, Some(Lower::Tcp), Some(2), &[]);
    players::ffmpeg_seen(viewer, PLAYS_WITHIN).expect_frames(40);
}

/// ffmpeg's own way out of a firewall: after `-timeout` without a packet it sends PAUSE and a SETUP over TCP on the same
/// connection, without a Session. On a channel of one seat its own first session must not stand in its way.
#[test]
fn ffmpeg_falls_back_to_tcp_on_a_channel_of_one_seat() {
    let (server, _publisher) = players::on_air(channel("stage", 1));
    let relay = Relay::start(server.viewers);
    let url = format!("rtsp://{}/stage", relay.address);
    let options = ["-timeout", "2000000", "-min_port", "20000"];
    let viewer = players::ffmpeg_viewer(&url, None, Some(4), &options);
    let finished = viewer.wait(PLAYS_WITHIN);
    let seen = players::seen_by_ffmpeg(&finished);
    assert!(seen.text.contains("retrying with TCP"), "ffmpeg did not fall back:\n{}", seen.text);
    seen.expect_frames(90);
    server.wait_for_viewers("stage", 0);
}

#[test]
fn gstreamer_falls_back_to_tcp_on_a_channel_of_one_seat() {
    let (server, _publisher) = players::on_air(channel("stage", 1));
    let relay = Relay::start(server.viewers);
    let url = format!("rtsp://{}/stage", relay.address);
    let viewer = players::gst_viewer(&url, "udp+tcp", &["timeout=2000000"]);
    players::gst_seen(viewer, 75, PLAYS_WITHIN).expect_frames(75);
}

#[test]
fn the_seat_of_a_killed_viewer_is_free_at_once() {
    let (server, _publisher) = players::on_air(channel("stage", 1));
    let url = server.watch_url("stage");
    let viewer = players::ffmpeg_viewer(&url, Some(Lower::Udp), None, &[]);
    server.wait_for_viewers("stage", 1);
    drop(viewer);
    let freed = wait_for(Duration::from_secs(3), || (server.viewers_of("stage") == 0).then_some(()));
    assert!(freed.is_some(), "the seat is still taken");
    let viewer = players::ffmpeg_viewer(&url, Some(Lower::Tcp), Some(2), &[]);
    players::ffmpeg_seen(viewer, PLAYS_WITHIN).expect_frames(40);
}
