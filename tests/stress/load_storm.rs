//! Small storms against a whole server: what they count, and that nothing of it is wrong.

use std::{
    net::SocketAddr,
    process::{Command, Output},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use slotcast_load::{
    push::{Content, PushConfig, push},
    storm::StormReport,
};
use slotcast_media::clip::Clip;
use slotcast_rtsp::headers::transport::LowerTransport;
use slotcast_testing::{
    program,
    server::{Channel, ID, Server, channel},
};
use slotcast_tools::{
    histogram::Percentiles,
    publish::{PublishConfig, publish},
    relay::{Fault, Relay},
    shape::Shape,
    target::{ReachPolicy, Target},
};

const SEATS: usize = 8;
const AN_HOUR: i64 = 3600;

/// A server on air, and its broadcaster.
struct Stage {
    server: Server,
    end: String,
    stop: Arc<AtomicBool>,
    publisher: JoinHandle<()>,
}

impl Stage {
    /// On air for so many seconds from now on, with the bundled clip.
    #[track_caller]
    fn open(seconds: i64) -> Self {
        Self::open_with(seconds, "64kbit/s", |config, stop| {
            publish(&Clip::bundled().unwrap(), config, stop).unwrap();
        })
    }

    /// Likewise with a stream that says when each packet was to be sent.
    #[track_caller]
    fn open_stamped(seconds: i64) -> Self {
        Self::open_with(seconds, "4Mbit/s", |config, stop| {
            let url = format!("rtsp://live:{ID}@{}/{}", config.server, config.channel);
            let push_config = PushConfig {
                targets: Target::parse_all(&url, 1, ReachPolicy::Loopback).unwrap(),
                content: Content::Synthetic(Shape::default()),
                transport: LowerTransport::Tcp,
                duration: Duration::from_secs(120),
            };
            push(&push_config, stop).unwrap();
        })
    }

    #[track_caller]
    fn open_with(
        seconds: i64,
        rate: &'static str,
        broadcast: impl FnOnce(&PublishConfig, &AtomicBool) + Send + 'static,
    ) -> Self {
        let stage = Channel { rate, ..channel("channel1", SEATS as u32).window(-60, seconds) };
        let server = Server::start(&[stage]);
        let end =
            jiff::Timestamp::try_from(server.epoch.1).unwrap() + jiff::SignedDuration::from_secs(seconds);
        let config = PublishConfig {
            server: server.links,
            channel: "channel1".to_owned(),
            reservation_id: ID.to_owned(),
            transport: LowerTransport::Tcp,
            duration: None,
        };
        let stop = Arc::<AtomicBool>::default();
        let flag = Arc::clone(&stop);
        let publisher = std::thread::spawn(move || broadcast(&config, &flag));
        server.wait_on_air("channel1", "");
        Self { server, end: end.to_string(), stop, publisher }
    }

    /// Runs a storm against it; returns what it reports.
    #[track_caller]
    fn storm(&self, scenario: &str, arguments: &[&str]) -> StormReport {
        let report = storm(self.server.viewers, scenario, arguments);
        assert_eq!((report.over_admitted, report.packets_without_seat), (0, 0), "{report}");
        assert!(report.wrong.is_empty(), "{report}");
        assert_eq!(report.controls.len(), 2);
        assert!(report.controls.iter().all(|control| control.during.packets > 0), "{report}");
        report
    }

    #[track_caller]
    fn close(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.publisher.join().unwrap();
    }
}

/// Runs a storm; returns what it reports, after its exit code has said the same.
#[track_caller]
fn storm(viewers: SocketAddr, scenario: &str, arguments: &[&str]) -> StormReport {
    let room = tempfile::tempdir().unwrap();
    let file = room.path().join("storm.json");
    let url = format!("rtsp://{viewers}/channel1");
    let output = Command::new(program())
        .args(["load", "storm", scenario, "--url", &url, "--seats", &SEATS.to_string()])
        .args(["--tracks", "2", "--before", "1", "--json"])
        .arg(&file)
        .args(arguments)
        .output()
        .unwrap();
    let json = std::fs::read(&file).unwrap_or_else(|_| panic!("{}", text(&output)));
    let [report]: [StormReport; 1] = serde_json::from_slice(&json).unwrap();
    assert_eq!(report.scenario, scenario);
    assert_eq!(output.status.success(), report.wrong.is_empty(), "{}", text(&output));
    report
}

/// Viewers who come and go behind a relay with this fault, with every promise asked for.
#[track_caller]
fn churn_behind(fault: Fault) -> StormReport {
    let stage = Stage::open_stamped(AN_HOUR);
    let relay = Relay::start(stage.server.viewers, fault).unwrap();
    let churn = ["--joins", "5", "--seconds", "4", "--stay", "400", "--strict"];
    let report = storm(relay.address, "churn", &churn);
    assert_eq!(relay.faults() > 0, fault != Fault::None, "{report}");
    assert_eq!(report.udp_drops, Some(0), "{report}");
    stage.close();
    report
}

/// Whether all that it calls wrong begins with one of these names, and each of them is called.
#[track_caller]
fn expect_wrong(report: &StormReport, names: &[&str]) {
    let known = |wrong: &String| names.iter().any(|name| wrong.starts_with(name));
    assert!(report.wrong.iter().all(known), "expected {names:?}: {report}");
    for name in names {
        assert!(report.wrong.iter().any(|wrong| wrong.starts_with(name)), "no {name}: {report}");
    }
}

fn count(times: Option<Percentiles>) -> u64 {
    times.map_or(0, |times| times.count)
}

fn text(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes)).concat()
}

#[test]
fn of_forty_who_ask_at_once_as_many_play_as_there_are_seats() {
    let stage = Stage::open(AN_HOUR);
    let report = stage.storm("plays", &["--clients", "40", "--threads", "2"]);
    assert_eq!((report.clients, report.played), (40, 6), "{report}");
    assert_eq!((report.most_playing, report.most_receiving), (SEATS, SEATS), "{report}");
    assert_eq!(report.refused.values().sum::<usize>(), 34, "{report}");
    assert_eq!(count(report.refusal_ms), 34, "{report}");
    assert_eq!(report.lost, 0, "{report}");
    stage.close();
}

#[test]
fn who_comes_and_goes_gets_in_and_sees_a_key_frame() {
    let stage = Stage::open(AN_HOUR);
    let report = stage.storm("churn", &["--joins", "5", "--seconds", "3", "--stay", "400"]);
    assert_eq!((report.clients, report.played), (15, 15), "{report}");
    assert_eq!((count(report.play_to_packet_ms), count(report.play_to_key_ms)), (15, 15), "{report}");
    assert_eq!(report.lost, 0, "{report}");
    stage.close();
}

#[test]
fn viewers_who_do_not_read_do_not_hurt_those_who_do() {
    let arguments = ["--stalled", "3", "--slow", "3", "--trickle", "200", "--hold", "3"];
    let stage = Stage::open(AN_HOUR);
    let report = stage.storm("stalled", &arguments);
    assert_eq!(report.played, 6, "{report}");
    assert_eq!(report.kinds.iter().map(|kind| kind.count).collect::<Vec<_>>(), [3, 3], "{report}");
    stage.close();
}

#[test]
fn silent_connections_are_closed_and_keep_nobody_out() {
    let arguments = ["--idle", "20", "--half", "20", "--hold", "8", "--stay", "300"];
    let stage = Stage::open(AN_HOUR);
    let report = stage.storm("idle", &arguments);
    assert_eq!((report.clients, report.played), (40, 40), "{report}");
    let [silent, half] = report.kinds.as_slice() else { panic!("{report}") };
    // The server waits 5 s for the first byte.
    assert_eq!((silent.closed_by_server, half.count), (20, 20), "{report}");
    stage.close();
}

#[test]
fn at_the_end_all_are_told_and_closed_and_get_nothing_more() {
    let stage = Stage::open(7);
    let report = stage.storm("cutoff", &["--end", &stage.end]);
    let ending = report.ending.as_ref().unwrap();
    assert_eq!((ending.watching, ending.told, ending.closed), (SEATS, SEATS, SEATS), "{report}");
    assert_eq!((ending.media_after_end, ending.media_after_bye), (Some(0), 0), "{report}");
    stage.close();
}

#[test]
fn behind_a_relay_that_does_nothing_wrong_every_promise_is_kept() {
    expect_wrong(&churn_behind(Fault::None), &[]);
}

#[test]
fn packets_that_do_not_come_are_called_lost() {
    expect_wrong(&churn_behind(Fault::Lose(100)), &["lost"]);
}

#[test]
fn packets_that_come_twice_are_called_duplicates() {
    expect_wrong(&churn_behind(Fault::Repeat(100)), &["duplicates"]);
}

#[test]
fn media_that_stands_still_is_called_stalled() {
    // Before the storm both control viewers together get 1,200 packets, and 450 a second from then on.
    expect_wrong(&churn_behind(Fault::Stall(1700, Duration::from_millis(1500))), &["stalled"]);
}

#[test]
fn one_viewer_too_many_is_called_over_the_seats() {
    let (stage, other) = (Stage::open(AN_HOUR), Stage::open(AN_HOUR));
    let relay = Relay::start(stage.server.viewers, Fault::ExtraSeat(5, other.server.viewers)).unwrap();
    let report = storm(relay.address, "plays", &["--clients", "20", "--strict"]);
    assert_eq!((relay.faults(), report.over_admitted), (1, 1), "{report}");
    expect_wrong(&report, &["over the seats"]);
    stage.close();
    other.close();
}

#[test]
fn media_behind_the_goodbye_is_called_media_after_the_end() {
    let stage = Stage::open_stamped(12);
    let relay = Relay::start(stage.server.viewers, Fault::AfterEnd).unwrap();
    let report = storm(relay.address, "cutoff", &["--end", &stage.end, "--strict"]);
    assert!(relay.faults() > 0 && report.ending.as_ref().unwrap().media_after_bye > 0, "{report}");
    assert!(report.wrong.iter().any(|wrong| wrong.starts_with("media after the end")), "{report}");
    stage.close();
}
