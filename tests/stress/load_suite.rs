//! `slotcast load suite --quick`: the table, the JSON and the page of a few small measurements, and what stays behind.

use std::{fs, path::PathBuf, process::Command, time::Duration};

use serde_json::Value;
use slotcast_testing::{
    process::{Finished, Process},
    program,
};
use tempfile::TempDir;

const MOST: Duration = Duration::from_secs(120);

/// Files of one test; gone when dropped.
struct Files {
    _room: TempDir,
    json: PathBuf,
    html: PathBuf,
    /// Where the suite keeps its own files meanwhile.
    temporary: PathBuf,
}

impl Files {
    fn new() -> Self {
        let room = tempfile::tempdir().unwrap();
        let file = |name: &str| room.path().join(name);
        let (json, html, temporary) = (file("suite.json"), file("suite.html"), file("temporary"));
        fs::create_dir(&temporary).unwrap();
        Self { _room: room, json, html, temporary }
    }

    /// Runs the suite until it has ended.
    #[track_caller]
    fn run(&self, arguments: &[&str]) -> Finished {
        Process::spawn("suite", self.command().args(arguments)).wait(MOST)
    }

    fn command(&self) -> Command {
        let mut command = suite();
        command.arg("--json").arg(&self.json).arg("--html").arg(&self.html);
        command.env("TMPDIR", &self.temporary);
        command
    }

    #[track_caller]
    fn report(&self) -> Value {
        serde_json::from_slice(&fs::read(&self.json).unwrap()).unwrap()
    }

    /// Nothing of the suite's own is left: no file, and no process that was told one.
    #[track_caller]
    fn check_nothing_is_left(&self) {
        let left: Vec<_> = fs::read_dir(&self.temporary).unwrap().flatten().map(|file| file.path()).collect();
        assert!(left.is_empty(), "{left:?}");
        let temporary = self.temporary.to_str().unwrap();
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let told = |process: &fs::DirEntry| {
            let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(temporary)
        };
        let left: Vec<_> = processes.filter(told).map(|process| process.file_name()).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

fn suite() -> Command {
    let mut command = Command::new(program());
    // Machines with one core have no other.
    command.args(["load", "suite", "--server-core", "0", "--tool-core", "0"]);
    command
}

#[track_caller]
fn row<'a>(report: &'a Value, name: &str) -> &'a Value {
    let mut rows = report["rows"].as_array().unwrap().iter();
    rows.find(|row| row["name"] == name).unwrap_or_else(|| panic!("no row {name}: {report}"))
}

#[test]
fn a_quick_run_fills_the_table_the_json_and_the_page() {
    let files = Files::new();
    let done = files.run(&["--quick", "--only", "latency,calls,admission"]);
    // Goals are missed here as the machine likes: that is no failure.
    assert!(done.status.success(), "{}", done.text());
    let report = files.report();
    assert_eq!((&report["quick"], &report["interrupted"]), (&true.into(), &false.into()));
    let names = [
        "latency-udp-p50",
        "latency-udp-p99",
        "latency-tcp-p50",
        "latency-tcp-p99",
        "calls-udp",
        "calls-tcp",
    ];
    for name in names.into_iter().chain(["admission-rate"]) {
        let row = row(&report, name);
        assert!(row["value"]["median"].as_f64().unwrap() > 0.0, "{row}");
        assert!(["held", "missed"].contains(&row["standing"].as_str().unwrap()), "{row}");
        assert!(done.text().contains(row["what"].as_str().unwrap()), "{}", done.text());
    }
    assert_eq!(row(&report, "admission-over")["value"]["median"], 0.0);
    assert_eq!(report["points"].as_array().unwrap().len(), 4, "{report}");
    for point in report["points"].as_array().unwrap() {
        assert!(point["cpu_us_per_packet"]["median"].as_f64().unwrap() > 0.0, "{point}");
        assert!(
            point["latency_ms"].as_array().unwrap().iter().all(|ms| ms.as_f64().unwrap() > 0.0),
            "{point}"
        );
    }
    let page = fs::read_to_string(&files.html).unwrap();
    assert_eq!((page.matches("<svg").count(), page.matches("</svg>").count()), (3, 3));
    // Latency at five percentiles, CPU time at one count, and its ratio, which the raw loop has not.
    assert_eq!(page.matches("<circle").count(), 4 * 5 + 4 + 2);
    for outside in ["http://", "https://", "<script", "<link", "src="] {
        assert!(!page.contains(outside), "{outside}");
    }
    files.check_nothing_is_left();
}

#[test]
fn storms_of_a_quick_run_admit_nobody_above_the_seats() {
    let files = Files::new();
    let done = files.run(&["--quick", "--only", "seats"]);
    assert!(done.status.success(), "{}", done.text());
    let report = files.report();
    let over = row(&report, "seats-over");
    assert_eq!(over["value"]["most"], 0.0, "{report}");
    // On a busy machine a control viewer may stall, which is wrong, too.
    let wrong = over["wrong"].as_array().unwrap();
    assert!(wrong.iter().all(|wrong| wrong.as_str().unwrap().contains("stalled")), "{report}");
    assert!(row(&report, "seats-refusal")["value"]["median"].as_f64().unwrap() > 0.0);
    files.check_nothing_is_left();
}

#[test]
fn a_quick_run_tells_what_viewers_notice_of_what_happens_beside_them_and_what_sound_costs() {
    let files = Files::new();
    let done = files.run(&["--quick", "--gather", "20", "--only", "fairness,sound"]);
    assert!(done.status.success(), "{}", done.text());
    let report = files.report();
    for case in ["other-channel", "changed-stream", "join", "pipelined", "udp-crowd", "tcp-crowd"] {
        let [moved, lost, turn] = ["", "-lost", "-turn"].map(|of| row(&report, &format!("fair-{case}{of}")));
        // Whoever is missing, and whoever it did not happen to, would be named here.
        for row in [moved, lost] {
            assert_eq!(row["wrong"].as_array().unwrap().len(), 0, "{row}");
        }
        assert!(moved["value"]["median"].as_f64().unwrap().is_finite(), "{moved}");
        let notes = moved["notes"].to_string();
        assert!(notes.contains("quiet p50") && notes.contains("the broadcaster itself"), "{moved}");
        assert_eq!(lost["value"]["most"], 0.0, "{lost}");
        assert!(turn["value"]["median"].as_f64().unwrap() > 0.0, "{turn}");
    }
    assert_eq!(row(&report, "fair-late-sends")["value"]["most"], 0.0);
    for name in ["sound-cpu", "sound-picture-p50", "sound-picture-p99"] {
        assert!(row(&report, name)["value"]["median"].as_f64().unwrap() > 0.0, "{report}");
    }
    let later = row(&report, "sound-later");
    assert!(later["value"]["median"].as_f64().unwrap().is_finite(), "{later}");
    assert!(later["notes"].to_string().contains("for 20 ms"), "{later}");
    files.check_nothing_is_left();
}

#[test]
fn another_executable_is_started_as_the_server_and_named() {
    let files = Files::new();
    let nothing = files.temporary.join("no-server");
    let binary = nothing.to_str().unwrap();
    let done = files.run(&["--quick", "--only", "idle", "--binary", binary]);
    assert!(!done.status.success() && done.text().contains("broke down"), "{}", done.text());
    let report = files.report();
    let idle = row(&report, "idle");
    assert_eq!(idle["standing"], "failed", "{report}");
    assert!(idle["notes"].to_string().contains("no-server cannot be started"), "{idle}");
    assert!(report["server"].as_str().unwrap().starts_with(binary), "{report}");
    files.check_nothing_is_left();
}

#[test]
fn interrupted_it_ends_its_server_and_writes_what_it_has() {
    let files = Files::new();
    let mut suite = Process::spawn("suite", files.command().args(["--quick", "--only", "admission,memory"]));
    // The first measurement is over, and the next has begun.
    suite.wait_for_line(MOST, |line| line.contains("UDP viewer: memory of the server, round 1"));
    let done = suite.interrupt(MOST);
    assert!(!done.status.success() && done.text().contains("interrupted"), "{}", done.text());
    let report = files.report();
    assert_eq!(report["interrupted"], true);
    assert!(row(&report, "admission-rate")["value"]["median"].as_f64().unwrap() > 0.0);
    assert!(fs::read_to_string(&files.html).unwrap().contains("Ended before its end"));
    files.check_nothing_is_left();
}

#[test]
fn a_server_that_is_not_there_is_a_failure_with_its_reason() {
    let files = Files::new();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let done =
        files.run(&["--quick", "--only", "idle,calls", "--server", &format!("rtsp://a:geheim@{nobody}/x")]);
    assert!(!done.status.success() && done.text().contains("broke down"), "{}", done.text());
    let report = files.report();
    assert_eq!(row(&report, "idle")["standing"], "failed", "{report}");
    assert_eq!(row(&report, "calls-udp")["standing"], "not-measured");
    let page = fs::read_to_string(&files.html).unwrap();
    assert!(
        !page.contains("geheim") && !report.to_string().contains("geheim") && !done.text().contains("geheim")
    );
    files.check_nothing_is_left();
}
