//! Real encoders on the link side: ffmpeg (what OBS's custom output is) and GStreamer's rtspclientsink, over UDP and
//! TCP; what they are refused, and what their viewers see when they drop and return.

use std::time::{Duration, Instant};

use slotcast_testing::{
    dialogue::{Dialogue, Reply},
    players::{self, Lower, Watcher, wait_for_frames},
    process::Process,
    server::{Channel, ID, Server, channel},
};

/// Ends a test that hangs.
const WITHIN: Duration = Duration::from_secs(60);
/// Names of channels and their programs' reservation IDs.
const PLACES: [(&str, &str); 4] = [
    ("stage", ID),
    ("cellar", "uN5sYb8Qe3LkWp6D"),
    ("garden", "k3Vd9Rf2Hs7JmQ5x"),
    ("tower", "c8Zg4Wt6Pn1LyE0b"),
];

fn channels() -> [Channel; 4] {
    PLACES.map(|(name, id)| channel(name, 4).reservation_id(id))
}

/// Starts an encoder that pushes to that address.
type Publish = fn(&str, Lower) -> Process;
/// Writes the address of a link to this channel with this reservation ID.
type Address = fn(&Server, &str, &str) -> String;

/// An encoder for each of the first channels, with its link's address; all of them are watched at the same time.
#[track_caller]
fn check(encoders: &[(&'static str, Publish, Lower, Address)]) {
    let server = Server::start(&channels());
    let mut publishers: Vec<_> = encoders
        .iter()
        .zip(PLACES)
        .map(|((_, publish, lower, url), (name, id))| publish(&url(&server, name, id), *lower))
        .collect();
    let watchers: Vec<_> = encoders
        .iter()
        .zip(PLACES)
        .map(|((what, ..), (name, _))| {
            eprintln!("step: {what}");
            server.wait_on_air(name, "");
            Watcher::ffmpeg(what, &server.watch_url(name), Some(Lower::Tcp), 4)
        })
        .collect();
    players::expect_all(watchers);
    for publisher in &mut publishers {
        assert!(publisher.is_running(), "the publisher ended: {:#?}", publisher.lines());
    }
}

fn login(server: &Server, name: &str, id: &str) -> String {
    server.link_url(id, name)
}

fn token(server: &Server, name: &str, id: &str) -> String {
    format!("rtsp://{}/{name}?token={id}", server.links)
}

fn slash(server: &Server, name: &str, id: &str) -> String {
    format!("{}/", server.link_url(id, name))
}

#[test]
fn ffmpeg_publishes_over_udp_and_tcp_by_each_form_of_its_address() {
    check(&[
        ("over UDP", players::ffmpeg_publisher, Lower::Udp, login),
        ("over TCP", players::ffmpeg_publisher, Lower::Tcp, login),
        ("the ID as a token", players::ffmpeg_publisher, Lower::Tcp, token),
        ("a slash at the end", players::ffmpeg_publisher, Lower::Udp, slash),
    ]);
}

#[test]
fn gstreamer_publishes_over_udp_and_tcp_by_each_form_of_its_address() {
    check(&[
        ("over UDP", players::gst_publisher, Lower::Udp, login),
        ("over TCP", players::gst_publisher, Lower::Tcp, login),
        ("the ID as a token", players::gst_publisher, Lower::Udp, token),
    ]);
}

fn describe(server: &Server, channel: &str) -> Reply {
    let url = server.watch_url(channel);
    Dialogue::connect(server.viewers).request("DESCRIBE", &url, &[("Accept", "application/sdp")])
}

/// The publisher must be refused: it ends by itself, without success and with the reason, and nobody can watch.
#[track_caller]
fn check_refused(server: &Server, (what, channel, publisher, sign): (&str, &str, Process, &str)) {
    eprintln!("step: {what}");
    let finished = publisher.wait(WITHIN);
    let text = finished.text();
    assert!(!finished.status.success(), "accepted:\n{text}");
    assert!(text.contains(sign), "no {sign:?} in:\n{text}");
    let reply = describe(server, channel);
    assert_eq!(reply.status, 404, "{reply:#?}");
    assert!(!reply.reason.is_empty(), "{reply:#?}");
}

#[test]
fn links_with_a_wrong_id_or_outside_their_window_are_refused() {
    let [stage, cellar, early, late] = channels();
    let server = Server::start(&[stage, cellar, early.window(3600, 7200), late.window(-7200, -3600)]);
    let [_, cellar_id, early_id, late_id] = PLACES.map(|(_, id)| id);
    let ffmpeg = |id: &str, name: &str| players::ffmpeg_publisher(&server.link_url(id, name), Lower::Tcp);
    let wrong = "r7Kq2mXw9TzB4nVd";
    let refused = [
        ("a wrong ID, ffmpeg", "stage", ffmpeg(wrong, "stage"), "401"),
        (
            "a wrong ID, GStreamer",
            "stage",
            players::gst_publisher(&server.link_url(wrong, "stage"), Lower::Tcp),
            // What it makes of a second 401.
            "No supported authentication protocol was found",
        ),
        (
            "another channel's ID",
            "stage",
            ffmpeg(cellar_id, "stage"),
            "403 This reservation is for another channel",
        ),
        ("long before the window", "garden", ffmpeg(early_id, "garden"), "403 The link opens at"),
        ("long after the window", "tower", ffmpeg(late_id, "tower"), "403 The link closed at"),
    ];
    for one in refused {
        check_refused(&server, one);
    }
}

#[test]
fn a_stream_above_the_class_is_refused_or_closed() {
    let server = Server::start(&[Channel { rate: "64kbit/s", ..channel("stage", 4) }]);
    let publisher = players::ffmpeg_publisher(&server.link_url(ID, "stage"), Lower::Tcp);
    let finished = publisher.wait(WITHIN);
    let text = finished.text();
    assert!(!finished.status.success(), "{text}");
    let above = server.metric(&["slotcast_ingest_packets_dropped", "over_class"]);
    assert!(
        text.contains("453") || above > 0.0,
        "it ended for another reason:\n{text}\n{}",
        server.metrics()
    );
}

#[test]
fn a_link_in_its_connect_window_waits_for_the_start() {
    let start = 8;
    let server = Server::start(&[channel("stage", 4).window(start, 600)]);
    let mut publisher = players::ffmpeg_publisher(&server.link_url(ID, "stage"), Lower::Tcp);
    publisher.wait_for_line(WITHIN, |line| line.contains("Output #0"));
    let early = describe(&server, "stage").status;
    // Later than the start, an answer tells nothing about the time before it.
    assert!(early == 404 || Instant::now() > server.instant(start), "{early}");
    server.wait_on_air("stage", "");
    assert!(Instant::now() > server.instant(start), "on air before the window's start");
    assert!(publisher.is_running());
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
    let finished = viewer.interrupt(WITHIN);
    let seen = players::seen_by_ffmpeg(&finished);
    assert!(seen.broken.is_empty(), "{:#?}\n{}", seen.broken, seen.text);
}

#[test]
fn tcp_viewers_are_still_there_when_the_broadcaster_returns() {
    check_return(Lower::Tcp, |first| {
        first.interrupt(WITHIN);
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
    let finished = older.wait(WITHIN);
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
    viewer.wait(WITHIN);
    server.wait_on_air("stage", "");
    let viewer = players::ffmpeg_viewer(&server.watch_url("stage"), Some(Lower::Tcp), Some(2), &[]);
    players::ffmpeg_seen(viewer, WITHIN).expect_frames(40);
}
