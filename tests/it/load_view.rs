//! `slotcast load push` and `load view` against a whole server: what was pushed arrives, and what is refused is counted.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use slotcast::serve::Server;
use slotcast_load::{
    push::{Content, PushConfig, PushReport, push},
    view::{ViewConfig, ViewReport, measure},
};
use slotcast_rtsp::headers::transport::LowerTransport;
use slotcast_tools::{
    histogram::Percentiles,
    shape::Shape,
    target::{ReachPolicy, Target},
};

use crate::stage::{ID, Setup, describe, wait};

const PASSWORD: &str = "a-password-of-this-test";

/// A server with `channels` channels of `seats` seats, each with a program that is on air.
#[track_caller]
pub(crate) fn server(channels: usize, seats: usize, password: Option<&'static str>) -> Server {
    Setup { channels, seats, rate: "4Mbit/s", password, ..Setup::default() }.start()
}

/// A push that goes on until it is stopped.
pub(crate) struct Push {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<PushReport>,
}

impl Push {
    #[track_caller]
    pub(crate) fn start(server: &Server, channels: u32, transport: LowerTransport, shape: Shape) -> Self {
        let url = format!("rtsp://live:{ID}{{n}}@{}/channel{{n}}", server.addresses().links[0]);
        let config = PushConfig {
            targets: Target::parse_all(&url, channels, ReachPolicy::Loopback).unwrap(),
            content: Content::Synthetic(shape),
            transport,
            duration: Duration::from_secs(120),
        };
        let stop = Arc::<AtomicBool>::default();
        let flag = Arc::clone(&stop);
        let thread = std::thread::spawn(move || push(&config, &flag).unwrap());
        let viewers = server.addresses().viewers;
        for number in 1..=channels {
            let channel = format!("channel{number}?token={PASSWORD}");
            let is_on_air = || describe(viewers, &channel) == 200;
            wait("what was pushed", || is_on_air() || thread.is_finished());
            assert!(!thread.is_finished(), "nothing was pushed");
        }
        Self { stop, thread }
    }

    #[track_caller]
    pub(crate) fn finish(self) -> PushReport {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn view(server: &Server, user: &str, channels: u32, viewers: usize, udp: usize) -> ViewReport {
    let url = format!("rtsp://{user}{}/channel{{n}}", server.addresses().viewers);
    let targets = Target::parse_all(&url, channels, ReachPolicy::Loopback).unwrap();
    let mut config = ViewConfig::new(targets, viewers, udp, Duration::from_secs(1));
    config.warm_up = Duration::from_millis(500);
    config.server = Some((std::process::id(), "worker-".to_owned()));
    measure(&config).unwrap()
}

fn count(times: &Option<Percentiles>) -> u64 {
    times.map_or(0, |times| times.count)
}

#[track_caller]
fn check(transport: LowerTransport, audio_per_second: u32) {
    let (channels, viewers) = (2, 12);
    let shape = Shape { audio_per_second, ..Shape::default() };
    let server = server(channels, 20, None);
    let push = Push::start(&server, 2, transport, shape);
    let report = view(&server, "", 2, viewers, viewers / 2);
    let pushed = push.finish();
    assert_eq!((pushed.finished, pushed.failed), (2, Vec::new()));
    assert!(pushed.packets > 0 && count(&pushed.late_ms) >= pushed.packets);

    assert_eq!((report.all.connected, report.all.refused.len(), report.all.dropped.len()), (12, 0, 0));
    // What this tool's own sockets dropped is not the server's loss: it must be asked first.
    assert_eq!(report.tool.udp_drops, Some(0), "the viewers read too slowly: {report}");
    for group in [&report.all, report.udp.as_ref().unwrap(), report.tcp.as_ref().unwrap()] {
        assert_eq!((group.lost, group.duplicates, group.reordered), (0, 0, 0), "{report}");
        assert_eq!(count(&group.latency_ms), group.packets, "every packet has a stamp");
        assert_eq!(count(&group.first_packet_ms), group.viewers);
        assert_eq!(count(&group.first_key_ms), group.viewers);
        assert!(group.packets > 0 && group.least_packets > 0, "{report}");
    }
    let [udp, tcp] = [&report.udp, &report.tcp].map(|group| group.as_ref().unwrap());
    assert_eq!((udp.connected, tcp.connected), (6, 6));
    assert_eq!(udp.packets + tcp.packets, report.all.packets);
    // The server is this very process.
    assert!(report.server.as_ref().unwrap().resident_after.is_some());
    assert!(server.shutdown());
}

#[test]
fn what_is_pushed_over_tcp_reaches_every_viewer_whole() {
    check(LowerTransport::Tcp, 0);
}

#[test]
fn what_is_pushed_over_udp_with_sound_reaches_every_viewer_whole() {
    check(LowerTransport::Udp, 47);
}

#[test]
fn viewers_over_the_seats_are_counted_by_status() {
    let server = server(1, 3, None);
    let push = Push::start(&server, 1, LowerTransport::Tcp, Shape::default());
    let report = view(&server, "", 1, 10, 5);
    assert_eq!((report.all.viewers, report.all.connected), (10, 3), "{report}");
    let [refused] = report.all.refused.as_slice() else { panic!("{report}") };
    assert_eq!((refused.status, refused.count), (453, 7));
    assert!(!refused.reason.is_empty());
    assert!(report.all.dropped.is_empty(), "{report}");
    assert_eq!(report.all.lost, 0);
    assert!(push.finish().failed.is_empty());
    assert!(server.shutdown());
}

#[test]
fn a_password_lets_viewers_in_and_a_wrong_one_is_counted() {
    let server = server(1, 10, Some(PASSWORD));
    let push = Push::start(&server, 1, LowerTransport::Tcp, Shape::default());
    let right = view(&server, &format!("viewer:{PASSWORD}@"), 1, 2, 1);
    assert_eq!((right.all.connected, right.all.lost), (2, 0), "{right}");
    let wrong = view(&server, "viewer:wrong@", 1, 2, 1);
    assert_eq!((wrong.all.connected, wrong.all.packets), (0, 0));
    assert_eq!(
        wrong.all.refused.iter().map(|refused| (refused.status, refused.count)).collect::<Vec<_>>(),
        [(401, 2)]
    );
    push.finish();
    assert!(server.shutdown());
}

#[test]
fn a_push_with_a_wrong_reservation_id_says_why() {
    let server = server(1, 1, None);
    let url = format!("rtsp://live:wrong@{}/channel1", server.addresses().links[0]);
    let config = PushConfig {
        targets: Target::parse_all(&url, 1, ReachPolicy::Loopback).unwrap(),
        content: Content::Synthetic(Shape::default()),
        transport: LowerTransport::Tcp,
        duration: Duration::from_secs(1),
    };
    let report = push(&config, &AtomicBool::new(false)).unwrap();
    assert_eq!((report.finished, report.packets), (0, 0));
    assert!(report.failed[0].contains("401"), "{:?}", report.failed);
    assert!(!report.failed[0].contains("wrong@"), "{:?}", report.failed);
    assert!(server.shutdown());
}

#[test]
fn nobody_there_is_a_reason_for_each_viewer() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let target = Target::parse(&format!("rtsp://{free}/x"), ReachPolicy::Loopback).unwrap();
    let report = measure(&ViewConfig::new(vec![target], 3, 1, Duration::from_secs(1))).unwrap();
    assert_eq!((report.all.viewers, report.all.connected), (3, 0));
    assert_eq!(report.all.dropped.iter().map(|dropped| dropped.count).sum::<u64>(), 3, "{report}");
}
