//! Small storms against a whole server in this process: what they count, and that nothing of it is wrong.

use std::{
    process::{Command, Output},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use slotcast::{config::Config, serve::Server};
use slotcast_core::time::WallTime;
use slotcast_load::storm::StormReport;
use slotcast_media::clip::Clip;
use slotcast_net::clock;
use slotcast_rtsp::client::TransportPolicy;
use slotcast_tools::{
    histogram::Percentiles,
    publish::{PublishConfig, publish},
};

const ID: &str = "a-reservation-id-of-this-test";
const SEATS: usize = 8;

/// A server on air, and its broadcaster.
struct Stage {
    server: Server,
    end: WallTime,
    stop: Arc<AtomicBool>,
    publisher: Option<JoinHandle<()>>,
}

impl Stage {
    /// On air for `seconds` from now on.
    #[track_caller]
    fn open(seconds: u64) -> Self {
        let start = clock::system()().wall;
        let end = start.saturating_add(Duration::from_secs(seconds));
        let text = format!(
            r#"
            [viewers]
            listen = "127.0.0.1:0"
            rtp_ports = [0, 0]
            workers = 2
            pin = false
            [links]
            listen = ["127.0.0.1:0"]
            rtp_ports = [0, 0]
            [http]
            listen = "off"
            [[channels]]
            number = 1
            name = "channel1"
            seats = {SEATS}
            rate = "64kbit/s"
            toll = 1
            [[programs]]
            channel = 1
            start = "{start}"
            end = "{end}"
            reservation_id = "{ID}"
            "#
        );
        let server = Server::start(Config::parse(&text).unwrap().config, clock::system()).unwrap();
        let config = PublishConfig {
            server: server.addresses().links[0],
            channel: "channel1".to_owned(),
            reservation_id: ID.to_owned(),
            transport: TransportPolicy::Tcp,
            duration: None,
        };
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let publisher = std::thread::spawn(move || {
            publish(&Clip::bundled().unwrap(), &config, &flag).unwrap();
        });
        let stats = Arc::clone(server.fanout_stats());
        let deadline = Instant::now() + Duration::from_secs(20);
        while stats.sum(|worker| &worker.chunks) == 0 {
            assert!(Instant::now() < deadline, "no media");
            std::thread::yield_now();
        }
        Self { server, end, stop, publisher: Some(publisher) }
    }

    /// Runs a storm against it; returns what it reports.
    #[track_caller]
    fn storm(&self, scenario: &str, arguments: &[&str]) -> StormReport {
        let file = format!("{}/storm-{}-{scenario}.json", env!("CARGO_TARGET_TMPDIR"), std::process::id());
        let url = format!("rtsp://{}/channel1", self.server.addresses().viewers);
        let output = Command::new(env!("CARGO_BIN_EXE_slotcast"))
            .args(["load", "storm", scenario, "--url", &url, "--seats", &SEATS.to_string()])
            .args(["--tracks", "2", "--before", "1", "--json", &file])
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", text(&output));
        let json = std::fs::read(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        let [report]: [StormReport; 1] = serde_json::from_slice(&json).unwrap();
        assert_eq!(report.scenario, scenario);
        assert_eq!((report.over_admitted, report.packets_without_seat), (0, 0), "{report}");
        assert!(report.wrong.is_empty(), "{report}");
        assert_eq!(report.controls.len(), 2);
        assert!(report.controls.iter().all(|control| control.during.packets > 0), "{report}");
        report
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.publisher.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || ended.is_some_and(|ended| ended.is_ok()));
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
    let report = Stage::open(600).storm("plays", &["--clients", "40", "--threads", "2"]);
    assert_eq!((report.clients, report.played), (40, 6), "{report}");
    assert_eq!((report.most_playing, report.most_receiving), (SEATS, SEATS), "{report}");
    assert_eq!(report.refused.values().sum::<usize>(), 34, "{report}");
    assert_eq!(count(report.refusal_ms), 34, "{report}");
    assert_eq!(report.lost, 0, "{report}");
}

#[test]
fn who_comes_and_goes_gets_in_and_sees_a_key_frame() {
    let report = Stage::open(600).storm("churn", &["--joins", "5", "--seconds", "3", "--stay", "400"]);
    assert_eq!((report.clients, report.played), (15, 15), "{report}");
    assert_eq!((count(report.play_to_packet_ms), count(report.play_to_key_ms)), (15, 15), "{report}");
    assert_eq!(report.lost, 0, "{report}");
}

#[test]
fn viewers_who_do_not_read_do_not_hurt_those_who_do() {
    let arguments = ["--stalled", "3", "--slow", "3", "--trickle", "200", "--hold", "3"];
    let report = Stage::open(600).storm("stalled", &arguments);
    assert_eq!(report.played, 6, "{report}");
    assert_eq!(report.kinds.iter().map(|kind| kind.count).collect::<Vec<_>>(), [3, 3], "{report}");
}

#[test]
fn silent_connections_are_closed_and_keep_nobody_out() {
    let arguments = ["--idle", "20", "--half", "20", "--hold", "8", "--stay", "300"];
    let report = Stage::open(600).storm("idle", &arguments);
    assert_eq!((report.clients, report.played), (40, 40), "{report}");
    let [silent, half] = report.kinds.as_slice() else { panic!("{report}") };
    // The server waits 5 s for the first byte.
    assert_eq!((silent.closed_by_server, half.count), (20, 20), "{report}");
}

#[test]
fn at_the_end_all_are_told_and_closed_and_get_nothing_more() {
    let stage = Stage::open(12);
    let report = stage.storm("cutoff", &["--end", &stage.end.to_string()]);
    let ending = report.ending.as_ref().unwrap();
    assert_eq!((ending.watching, ending.told, ending.closed), (SEATS, SEATS, SEATS), "{report}");
    assert_eq!((ending.media_after_end, ending.media_after_bye), (Some(0), 0), "{report}");
}

#[test]
fn other_machines_are_left_alone() {
    let output = Command::new(env!("CARGO_BIN_EXE_slotcast"))
        .args(["load", "storm", "plays", "--url", "rtsp://192.0.2.1/x", "--seats", "10"])
        .output()
        .unwrap();
    assert!(!output.status.success() && text(&output).contains("--allow-remote"), "{}", text(&output));
}
