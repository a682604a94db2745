//! `slotcast load suite` against a server behind a relay that spoils its media: each fault is called by its name.

use std::{fs, process::Command, time::Duration};

use serde_json::Value;
use slotcast_testing::{
    process::Process,
    program,
    server::{Channel, ID, Server, channel},
};
use slotcast_tools::relay::{Fault, Relay};

const MOST: Duration = Duration::from_secs(120);

/// The suite's latency figures through a relay with `fault` are not held over these transports, and say `named`.
#[track_caller]
fn check(fault: Fault, transports: &[&str], named: &str) {
    let server = Server::start(&[Channel { rate: "4Mbit/s", ..channel("channel1", 50) }]);
    let relay = Relay::start(server.viewers, fault).unwrap();
    let room = tempfile::tempdir().unwrap();
    let [json, html] = ["json", "html"].map(|end| room.path().join(end));
    let mut suite = Command::new(program());
    // Machines with one core have no other.
    suite.args(["load", "suite", "--server-core", "0", "--tool-core", "0", "--quick", "--only", "latency"]);
    suite.args(["--server", &format!("rtsp://{}/channel1", relay.address)]);
    suite.args(["--publish", &server.link_url(ID, "channel1")]);
    suite.arg("--json").arg(&json).arg("--html").arg(&html);
    let done = Process::spawn("suite", &mut suite).wait(MOST);
    assert!(relay.faults() > 0, "{}", done.text());
    let report: Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    let names =
        transports.iter().flat_map(|transport| ["p50", "p99"].map(|at| format!("latency-{transport}-{at}")));
    for name in names {
        let mut rows = report["rows"].as_array().unwrap().iter();
        let row = rows.find(|row| row["name"] == *name).unwrap_or_else(|| panic!("no row {name}: {report}"));
        assert_eq!(row["standing"], "missed", "{row}");
        assert!(row["wrong"].to_string().contains(named), "{row}");
    }
    assert!(done.text().contains(named), "{}", done.text());
    assert!(fs::read_to_string(&html).unwrap().contains(named));
}

#[test]
fn a_server_that_loses_one_packet_in_a_thousand_is_named() {
    check(Fault::Lose(1000), &["udp", "tcp"], "lost: ");
}

#[test]
fn a_server_that_repeats_packets_is_named() {
    check(Fault::Repeat(100), &["udp", "tcp"], "duplicates: ");
}

#[test]
fn a_server_that_stands_still_is_named() {
    // Five UDP viewers have had some 900 packets when they are measured, and 1,150 more by its end.
    check(Fault::Stall(1200, Duration::from_millis(1500)), &["udp"], "stalled: a packet came ");
}
