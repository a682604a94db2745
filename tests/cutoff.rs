//! The end of a window with many viewers over both transports, through the whole server: broadcaster, link side, workers.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use slotcast::{config::Config, serve::Server};
use slotcast_core::time::WallTime;
use slotcast_media::clip::Clip;
use slotcast_net::clock;
use slotcast_rtsp::client::TransportPolicy;
use slotcast_tools::{
    publish::{PublishConfig, publish},
    watch::{Outcome, Watch, WatchConfig},
};

const ID: &str = "a-reservation-id-of-this-test";
const VIEWERS: usize = 200;

/// A server whose one program is on air from now on, for `seconds`.
fn server(seconds: u64) -> (Server, WallTime) {
    let start = clock::system()().wall;
    let end = start.saturating_add(Duration::from_secs(seconds));
    let text = format!(
        r#"
        [viewers]
        listen = "127.0.0.1:0"
        rtp_ports = [0, 0]
        per_address = 1000
        [links]
        listen = ["127.0.0.1:0"]
        rtp_ports = [0, 0]
        [http]
        listen = "127.0.0.1:0"
        [[channels]]
        number = 1
        name = "channel1"
        seats = {VIEWERS}
        rate = "64kbit/s"
        toll = 1
        [[programs]]
        channel = 1
        start = "{start}"
        end = "{end}"
        reservation_id = "{ID}"
        open_level = "public"
        title = "cut-off"
        "#
    );
    let config = Config::parse(&text).unwrap_or_else(|problems| panic!("{problems}")).config;
    (Server::start(config, clock::system()).unwrap(), end)
}

fn watch_config(server: SocketAddr, seconds: u64) -> WatchConfig {
    WatchConfig {
        server,
        channel: "channel1".to_owned(),
        viewers: VIEWERS,
        udp_viewers: VIEWERS / 2,
        password: None,
        per_second: 400,
        threads: 1,
        patience: Duration::from_secs(seconds),
    }
}

#[test]
fn two_hundred_viewers_are_told_and_closed_within_a_second_and_get_nothing_after_the_end() {
    let (server, end) = server(8);
    let addresses = server.addresses().clone();
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    let publisher = std::thread::spawn(move || {
        let config = PublishConfig {
            server: addresses.links[0],
            channel: "channel1".to_owned(),
            reservation_id: ID.to_owned(),
            transport: TransportPolicy::Tcp,
            duration: None,
        };
        publish(&Clip::bundled().unwrap(), &config, &flag)
    });
    let stats = Arc::clone(server.fanout_stats());
    wait("media", || stats.sum(|worker| &worker.chunks) > 0);
    let watch = Watch::start(&watch_config(addresses.viewers, 20)).unwrap();
    wait("all viewers", || watch.progress().playing.load(Ordering::Relaxed) == VIEWERS as u64);
    let clock = clock::system();
    wait("the end", || clock().wall >= end);
    let (now, sent) = (clock(), stats.sum(|worker| &worker.packets_sent));
    let ended = now.mono - now.wall.since(end);
    wait("all closed", || watch.is_over());
    assert_eq!(stats.sum(|worker| &worker.packets_sent), sent, "media left after the end");
    let reports = watch.join().unwrap();
    stop.store(true, Ordering::Relaxed);
    for report in &reports {
        assert_eq!((&report.outcome, report.lost), (&Outcome::Ended, 0), "{report:?}");
        assert!(report.told.is_some(), "no BYE: {report:?}");
        let closed = report.closed.unwrap();
        assert!(closed.saturating_duration_since(ended) < Duration::from_secs(1), "{report:?}");
        // The clip has 10 frames a second: nobody is cut early by more than a frame and what it takes to read it.
        let last = report.last_media.unwrap();
        assert!(ended.saturating_duration_since(last) < Duration::from_millis(250), "{report:?}");
    }
    assert_eq!(reports.len(), VIEWERS);
    publisher.join().unwrap().unwrap();
    assert!(server.shutdown());
}

#[track_caller]
fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < deadline, "{what} did not come");
        std::thread::yield_now();
    }
}
