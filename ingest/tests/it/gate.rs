//! Who gets a line, and who does not keep others from it.

use std::{
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use slotcast_admission::{Channel, Program, Programs, Timetable};
use slotcast_core::{time::WallTime, words::ProgramId};
use slotcast_ingest::IngestConfig;

use crate::{
    client::{Came, Client, SDP},
    house::{House, ID, OTHER_ID, program, rtp, wait_for},
};

/// Announces and expects a refusal that closes the connection.
#[track_caller]
fn check_refused(house: &House, channel: &str, id: &str, sdp: &str, status: u16, label: &str, says: &str) {
    let mut link = house.connect();
    let answer = link.announce(channel, id, sdp);
    assert_eq!(answer.status, status, "{answer:?}");
    assert!(answer.reason.contains(says), "{:?} does not say {says:?}", answer.reason);
    link.until_end();
    assert_eq!(house.decision(label), 1, "{label}");
    assert_eq!(house.ingest.stats().lines_in_use.value(), 0);
}

#[test]
fn a_wrong_id_is_refused_and_closed() {
    check_refused(&House::new(), "channel4", "no-such-reservation", SDP, 401, "id_wrong", "settings file");
}

#[test]
fn a_wrong_channel_is_refused_and_closed() {
    check_refused(&House::new(), "channel4", OTHER_ID, SDP, 403, "other_channel", "another channel");
}

#[test]
fn who_shuts_its_writing_side_hears_all_the_same_why_it_is_refused() {
    let house = House::new();
    let mut link = house.connect();
    let url = link.url("channel4", "no-such-reservation");
    assert!(link.send_request("ANNOUNCE", &url, &[], SDP));
    link.shut();
    let came = link.until_end();
    let [Came::Response(answer)] = &came[..] else { panic!("{came:?}") };
    assert_eq!(answer.status, 401);
    assert_eq!(house.decision("id_wrong"), 1);
}

#[test]
fn who_shuts_its_writing_side_while_it_records_gives_its_line_back() {
    let house = House::new();
    let mut link = house.tcp_link();
    link.shut();
    link.until_end();
    wait_for("the line", || (house.ingest.stats().lines_in_use.value() == 0).then_some(()));
    assert_eq!(house.decision("peer_closed"), 1);
}

#[test]
fn before_the_connect_window_is_refused_with_its_opening() {
    let later = program(1, 4, "2026-11-22T10:30:00Z", "2026-11-22T11:00:00Z", ID);
    let house = House::with(|_| (), vec![later]);
    check_refused(&house, "channel4", ID, SDP, 403, "too_early", "2026-11-22T10:25:00Z");
}

#[test]
fn after_the_connect_window_is_refused() {
    let earlier = program(1, 4, "2026-11-22T09:00:00Z", "2026-11-22T10:00:00Z", ID);
    let house = House::with(|_| (), vec![earlier]);
    check_refused(&house, "channel4", ID, SDP, 403, "too_late", "2026-11-22T10:05:00Z");
}

#[test]
fn an_sdp_above_the_class_is_refused() {
    let sdp = SDP.replace("m=video 0 RTP/AVP 96\r\n", "m=video 0 RTP/AVP 96\r\nb=AS:2500\r\n");
    check_refused(&House::new(), "channel4", ID, &sdp, 453, "above_class", "2Mbit/s");
}

#[test]
fn without_an_id_a_challenge_comes_and_the_connection_stays() {
    let house = House::new();
    let mut link = house.connect();
    let url = link.url("channel4", "").replace("?token=", "");
    let answer = link.request("ANNOUNCE", &url, &[], SDP);
    assert_eq!(answer.status, 401);
    assert!(answer.header("WWW-Authenticate").unwrap().contains("slotcast"));
    link.record_over_tcp("channel4", ID);
}

#[test]
fn two_hundred_bad_connections_keep_no_rightful_one_out() {
    let house = House::with(
        |config| {
            config.antechamber = 64;
            config.antechamber_per_address = 32;
        },
        crate::house::on_air_now(),
    );
    let address = house.ingest.local_addrs()[0];
    let mut bad: Vec<Client> = (0..200).map(|_| Client::connect(address)).collect();
    for (at, bad) in bad.iter_mut().enumerate() {
        let url = bad.url("channel4", "wrong-id");
        match at % 4 {
            0 => {}
            1 => drop(bad.send(b"ANNOUNCE rtsp://")),
            2 => drop(bad.send_request("OPTIONS", "*", &[], "")),
            _ => drop(bad.send_request("ANNOUNCE", &url, &[], SDP)),
        }
    }
    let mut link = house.tcp_link();
    link.send_frame(0, &rtp(1, 1, 0, true, 100));
    house.packets(1);
    assert!(house.ingest.stats().unproven.value() <= 32);
    assert_eq!(house.ingest.stats().lines_in_use.value(), 1);
}

#[test]
fn a_link_that_announces_anew_without_an_id_counts_as_unproven_again() {
    let house = House::with(|config| config.antechamber_per_address = 2, crate::house::on_air_now());
    let mut links = Vec::new();
    for _ in 0..3 {
        let mut link = house.connect();
        assert_eq!(link.announce("channel4", ID, SDP).status, 200);
        let url = link.url("channel4", "").replace("?token=", "");
        assert_eq!(link.request("ANNOUNCE", &url, &[], SDP).status, 401);
        links.push(link);
    }
    house.wait_for_decision("displaced", 1);
    assert_eq!(house.ingest.stats().unproven.value(), 2);
}

#[test]
fn a_connection_that_shows_nothing_is_closed_at_the_deadline() {
    let house = House::new();
    let mut link = house.connect();
    assert_eq!(link.request("OPTIONS", "*", &[], "").status, 200);
    house.step(Duration::from_secs(9));
    assert_eq!(link.request("OPTIONS", "*", &[], "").status, 200);
    house.step(Duration::from_secs(1));
    link.until_end();
    assert_eq!(house.decision("gate_deadline"), 1);
    wait_for("an empty antechamber", || (house.ingest.stats().unproven.value() == 0).then_some(()));
}

#[test]
fn a_right_id_without_record_does_not_keep_its_line() {
    let house = House::new();
    let mut link = house.connect();
    assert_eq!(link.announce("channel4", ID, SDP).status, 200);
    assert_eq!(house.ingest.stats().lines_in_use.value(), 1);
    house.step(Duration::from_secs(10));
    link.until_end();
    wait_for("the line", || (house.ingest.stats().lines_in_use.value() == 0).then_some(()));
}

#[test]
fn with_all_lines_taken_the_next_is_refused_but_a_return_is_not() {
    let house = House::with(|config| config.lines = 1, crate::house::on_air_now());
    let mut first = house.tcp_link();
    let mut second = house.connect();
    assert_eq!(second.announce("channel5", OTHER_ID, SDP).status, 503);
    second.until_end();
    let _third = house.tcp_link();
    first.until_end();
    assert_eq!(house.decision("lines_taken"), 1);
}

#[test]
fn teardown_frees_the_line() {
    let house = House::new();
    let mut link = house.tcp_link();
    let url = link.url("channel4", ID);
    assert_eq!(link.request("TEARDOWN", &url, &[], "").status, 200);
    wait_for("the line", || (house.ingest.stats().lines_in_use.value() == 0).then_some(()));
    house.tcp_link();
}

#[test]
fn udp_where_it_is_off_is_461_and_tcp_works_after_it() {
    let house = House::with(|config| config.rtp_ports = None, crate::house::on_air_now());
    let mut link = house.connect();
    assert_eq!(link.announce("channel4", ID, SDP).status, 200);
    let udp = link.setup("channel4", ID, "RTP/AVP/UDP;unicast;client_port=5000-5001;mode=record");
    assert_eq!(udp.status, 461);
    let tcp = link.setup("channel4", ID, "RTP/AVP/TCP;unicast;interleaved=0-1;mode=record");
    assert_eq!(tcp.status, 200);
    assert_eq!(link.record("channel4", ID).status, 200);
    assert_eq!(house.ingest.udp_ports(), None);
}

#[test]
fn a_flood_that_comes_and_goes_leaves_nothing_behind() {
    let house = House::new();
    let address = house.ingest.local_addrs()[0];
    for _ in 0..500 {
        drop(TcpStream::connect(address).unwrap());
    }
    wait_for("all to be accepted", || (house.ingest.stats().accepted.value() == 500).then_some(()));
    wait_for("an empty antechamber", || (house.ingest.stats().unproven.value() == 0).then_some(()));
}

/// A timetable that has a defect while `broken` says so.
struct Defective {
    timetable: Arc<Timetable>,
    broken: AtomicBool,
}

impl Programs for Defective {
    fn channel(&self, name: &str) -> Option<Arc<Channel>> {
        self.timetable.channel(name)
    }

    fn on_air(&self, name: &str, at: WallTime) -> Option<Arc<Program>> {
        self.timetable.on_air(name, at)
    }

    fn connectable(&self, name: &str, at: WallTime) -> Vec<Arc<Program>> {
        self.timetable.connectable(name, at)
    }

    fn of_link(&self, hash: &[u8; 32]) -> Vec<Arc<Program>> {
        self.timetable.of_link(hash)
    }

    fn program(&self, id: ProgramId) -> Option<Arc<Program>> {
        self.timetable.program(id)
    }

    fn channels(&self) -> Vec<Arc<Channel>> {
        self.timetable.channels()
    }

    fn programs(&self) -> Vec<Arc<Program>> {
        assert!(!self.broken.swap(false, Ordering::SeqCst), "a defect, on purpose");
        self.timetable.programs()
    }
}

#[test]
fn a_defect_costs_the_connection_that_met_it_and_no_other() {
    let timetable = Arc::new(Timetable::new());
    timetable.publish(crate::house::channels(), crate::house::on_air_now()).unwrap();
    let defective = Arc::new(Defective { timetable: Arc::clone(&timetable), broken: AtomicBool::new(false) });
    let programs = Arc::clone(&defective);
    let house = House::around(|_| (), timetable, programs);
    let mut link = house.tcp_link();
    defective.broken.store(true, Ordering::SeqCst);
    let mut unlucky = house.connect();
    let url = unlucky.url("channel5", "an-id-that-is-looked-for-everywhere");
    assert!(unlucky.send_request("ANNOUNCE", &url, &[], SDP));
    assert!(unlucky.until_end().is_empty());
    wait_for("the count", || (house.decision("internal_error") == 1).then_some(()));
    link.send_frame(0, &rtp(1, 1, 0, true, 100));
    house.packets(1);
    house.connect().record_over_tcp("channel5", OTHER_ID);
    assert_eq!(house.ingest.stats().unproven.value(), 0);
}

#[test]
fn who_gets_no_line_takes_over_nothing() {
    let config = |config: &mut IngestConfig| {
        config.listen = vec!["127.0.0.1:0".parse().unwrap(), "[::1]:0".parse().unwrap()];
        config.lines_per_address = 1;
    };
    let house = House::with(config, crate::house::on_air_now());
    let addresses = house.ingest.local_addrs().to_vec();
    let at = |which: usize| Client::connect(addresses[which]);
    let mut older = at(1);
    older.record_over_tcp("channel4", ID);
    let mut other = at(0);
    other.record_over_tcp("channel5", OTHER_ID);
    let mut newer = at(0);
    assert_eq!(newer.announce("channel4", ID, SDP).status, 503);
    assert_eq!(house.decision("taken_over"), 0);
    older.send_frame(0, &rtp(1, 1, 0, true, 100));
    house.packets(1);
    let mut newer = at(1);
    newer.record_over_tcp("channel4", ID);
    older.until_end();
    assert_eq!((house.decision("taken_over"), house.ingest.stats().lines_in_use.value()), (1, 2));
}
