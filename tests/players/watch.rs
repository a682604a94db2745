//! Real players as viewers: ffmpeg, ffprobe and GStreamer's rtspsrc, over UDP and TCP, with and without a password.
//! Decoded pictures are counted, and none may be broken. The viewers of one test watch one server at the same time.

use std::time::Duration;

use slotcast_testing::{
    players::{self, Lower, Watcher},
    process::Process,
    relay::Relay,
    server::{Server, channel},
};

/// Ends a test that hangs.
const PLAYS_WITHIN: Duration = Duration::from_secs(60);
const PASSWORD: &str = "correct-horse";
const LOCKED_ID: &str = "uN5sYb8Qe3LkWp6D";

/// `open` may be watched by anybody, `locked` with [`PASSWORD`].
#[track_caller]
fn open_and_locked() -> (Server, Vec<Process>) {
    let locked = channel("locked", 20).reservation_id(LOCKED_ID).password(PASSWORD);
    players::all_on_air(&[channel("open", 20), locked])
}

#[test]
fn ffmpeg_watches_open_and_locked_programs_by_each_form_of_their_address() {
    let (server, _publishers) = open_and_locked();
    let (open, locked) = (server.watch_url("open"), server.watch_url_as("anyone", PASSWORD, "locked"));
    let token = format!("{}?token={PASSWORD}", server.watch_url("locked"));
    let (udp, tcp) = (Some(Lower::Udp), Some(Lower::Tcp));
    let without_password =
        [server.watch_url("locked"), server.watch_url_as("anyone", "wrong-horse", "locked")];
    players::expect_all([
        Watcher::ffmpeg("open over UDP", &open, udp, 4),
        Watcher::ffmpeg("open over TCP", &open, tcp, 4),
        Watcher::ffmpeg("open, its default order of transports", &open, None, 4),
        Watcher::ffmpeg("a slash at the end", &server.watch_url("open/"), tcp, 4),
        Watcher::ffmpeg("with a password over UDP", &locked, udp, 4),
        Watcher::ffmpeg("with a password over TCP", &locked, tcp, 4),
        Watcher::ffmpeg("the password as a token over UDP", &token, udp, 4),
        Watcher::ffmpeg("the password as a token over TCP", &token, tcp, 4),
    ]);
    for url in without_password {
        let refused = players::ffmpeg_viewer(&url, tcp, Some(2), &[]);
        let seen = players::ffmpeg_seen(refused, PLAYS_WITHIN);
        assert!(!seen.success && seen.frames == 0 && seen.text.contains("401"), "{}", seen.text);
    }
}

#[test]
fn ffprobe_watches_open_and_locked_programs() {
    let (server, _publishers) = open_and_locked();
    let (open, locked) = (server.watch_url("open"), server.watch_url_as("anyone", PASSWORD, "locked"));
    std::thread::scope(|scope| {
        for url in [&open, &locked] {
            for lower in [Lower::Udp, Lower::Tcp] {
                scope.spawn(move || players::ffprobe_seen(url, lower, 3).expect_frames(60));
            }
        }
    });
}

#[test]
fn gstreamer_watches_open_and_locked_programs_by_each_form_of_their_address() {
    let (server, _publishers) = open_and_locked();
    let (open, locked) = (server.watch_url("open"), server.watch_url("locked"));
    let token = format!("{locked}?token={PASSWORD}");
    let login = ["user-id=anyone", &format!("user-pw={PASSWORD}")];
    players::expect_all([
        Watcher::gst("open over UDP", &open, "udp", &[], 100),
        Watcher::gst("open over TCP", &open, "tcp", &[], 100),
        Watcher::gst("open, its default order of transports", &open, "tcp+udp-mcast+udp", &[], 75),
        Watcher::gst("with a password over UDP", &locked, "udp", &login, 100),
        Watcher::gst("with a password over TCP", &locked, "tcp", &login, 100),
        Watcher::gst("the password as a token over UDP", &token, "udp", &[], 100),
        Watcher::gst("the password as a token over TCP", &token, "tcp", &[], 100),
    ]);
}

#[test]
fn a_viewer_over_the_seats_gets_453_and_disturbs_nobody_and_a_killed_ones_seat_is_free() {
    let (server, _publisher) = players::on_air(channel("stage", 2));
    let url = server.watch_url("stage");
    let mut over_udp = players::ffmpeg_viewer(&url, Some(Lower::Udp), None, &[]);
    let over_tcp = players::gst_viewer(&url, "tcp", &[]);
    server.wait_for_viewers("stage", 2);
    players::wait_for_frames(&mut over_udp, 10);
    for lower in [Lower::Udp, Lower::Tcp] {
        let refused = players::ffmpeg_viewer(&url, Some(lower), Some(2), &[]);
        let refused = players::ffmpeg_seen(refused, PLAYS_WITHIN);
        assert!(!refused.success && refused.frames == 0, "{}", refused.text);
        assert!(refused.text.contains("453"), "{}", refused.text);
        assert!(refused.text.to_lowercase().contains("seat"), "no reason is given:\n{}", refused.text);
    }
    let refused = players::gst_viewer(&url, "udp", &[]).wait(PLAYS_WITHIN).text();
    assert!(refused.contains("ERROR") && refused.contains("Not Enough Bandwidth"), "{refused}");

    let frames = players::frames_so_far(&mut over_udp);
    players::wait_for_frames(&mut over_udp, frames + 50);
    players::gst_seen(over_tcp, 100, PLAYS_WITHIN).expect_frames(100);
    server.wait_for_viewers("stage", 1);
    let so_far = over_udp.lines().to_vec();
    let broken: Vec<_> = so_far.iter().filter(|line| players::tells_of_damage(&line.text)).collect();
    assert!(broken.is_empty(), "{broken:#?}");

    eprintln!("step: a killed viewer's seat");
    drop(over_udp);
    server.wait_for_viewers("stage", 0);
    let viewers = [
        Watcher::ffmpeg("a free seat", &url, Some(Lower::Tcp), 2),
        Watcher::ffmpeg("and another", &url, None, 2),
    ];
    players::expect_all(viewers);
}

/// ffmpeg's own way out of a firewall: after `-timeout` without a packet it sends PAUSE and a SETUP over TCP on the same
/// connection, without a Session. GStreamer begins again. On a channel of one seat a player's own first session must not
/// stand in its way.
#[test]
fn players_fall_back_to_tcp_on_a_channel_of_one_seat() {
    let other = channel("other", 1).reservation_id(LOCKED_ID);
    let (server, _publishers) = players::all_on_air(&[channel("stage", 1), other]);
    // One each: a relay's pit has the same ports for all who come.
    let relays = [(); 2].map(|()| Relay::start(server.viewers));
    let [stage, other] = [("stage", &relays[0]), ("other", &relays[1])]
        .map(|(name, relay)| format!("rtsp://{}/{name}", relay.address));
    let options = ["-timeout", "2000000", "-min_port", "20000"];
    let ffmpeg = players::ffmpeg_viewer(&stage, None, Some(4), &options);
    let gstreamer = Watcher::gst("GStreamer", &other, "udp+tcp", &["timeout=2000000"], 75);
    let seen = players::ffmpeg_seen(ffmpeg, PLAYS_WITHIN);
    assert!(seen.text.contains("retrying with TCP"), "ffmpeg did not fall back:\n{}", seen.text);
    seen.expect_frames(90);
    players::expect_all([gstreamer]);
    server.wait_for_viewers("stage", 0);
}
