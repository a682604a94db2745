//! What wall time decides: held before the start, silent after the end, closed with the connect window.

use std::time::Duration;

use slotcast_admission::Reason;
use slotcast_core::words::ProgramId;
use slotcast_ingest::LinkState;

use crate::{
    client::SDP,
    house::{House, ID, PATIENCE, channels, on_air_now, program, rtp, wait_for},
};

#[test]
fn an_early_link_is_held_and_flows_at_the_start() {
    let later = program(1, 4, "2026-11-22T10:13:00Z", "2026-11-22T11:00:00Z", ID);
    let house = House::with(|_| (), vec![later]);
    let mut link = house.connect();
    let announced = link.announce("channel4", ID, SDP);
    assert_eq!(announced.status, 200);
    assert!(announced.header("Slotcast-On-Air").unwrap().contains("2026-11-22T10:13:00Z"));
    link.setup("channel4", ID, "RTP/AVP/TCP;interleaved=0-1;mode=record");
    assert!(link.record("channel4", ID).header("Slotcast-On-Air").is_some());
    link.send_frame(0, &rtp(1, 1, 0, true, 100));
    wait_for("the held packet", || (house.traffic(|t| t.held.value()) == 1).then_some(()));
    assert_eq!(house.ingest.links()[0].state, LinkState::Held);
    assert!(house.chunks().is_empty());

    house.step_wall(Duration::from_secs(180));
    link.send_frame(0, &rtp(1, 2, 3000, true, 100));
    assert_eq!(house.packets(1)[0].number(), 2);
    wait_for("on air", || (house.ingest.links()[0].state == LinkState::OnAir).then_some(()));
}

#[test]
fn after_the_end_nothing_is_published_and_the_link_ends_with_the_connect_window() {
    let house = House::new();
    let mut link = house.tcp_link();
    link.send_frame(0, &rtp(1, 1, 0, true, 100));
    house.packets(1);
    house.step_wall(Duration::from_secs(50 * 60));
    link.send_frame(0, &rtp(1, 2, 3000, true, 100));
    wait_for("the packet after the end", || (house.traffic(|t| t.held.value()) == 1).then_some(()));
    assert!(house.chunks().is_empty());
    house.step_wall(Duration::from_secs(60));
    link.send_frame(0, &rtp(1, 3, 6000, true, 100));
    wait_for("the packet before the close", || (house.traffic(|t| t.held.value()) == 2).then_some(()));
    house.step_wall(Duration::from_secs(5 * 60));
    link.until_end();
    assert_eq!(house.decision("link_window_closed"), 1);
    wait_for("the source to go", || house.ingest.links().is_empty().then_some(()));
    assert_eq!(house.ingest.stats().lines_in_use.value(), 0);
}

#[test]
fn a_program_that_is_taken_off_ends_its_link() {
    let house = House::new();
    let mut link = house.tcp_link();
    let rest = on_air_now().into_iter().filter(|program| program.id != ProgramId(1)).collect();
    house.timetable.publish(channels(), rest).unwrap();
    link.until_end();
    assert_eq!(house.decision("program_withdrawn"), 1);
}

#[test]
fn a_reload_that_changes_nothing_disturbs_nobody() {
    let house = House::new();
    let mut link = house.tcp_link();
    link.send_frame(0, &rtp(1, 1, 0, true, 100));
    house.packets(1);
    house.timetable.publish(channels(), on_air_now()).unwrap();
    house.step_wall(Duration::from_secs(1));
    link.send_frame(0, &rtp(1, 2, 0, true, 100));
    assert_eq!(house.packets(1)[0].number(), 2);
}

#[test]
fn the_operator_can_close_a_link() {
    let house = House::new();
    let mut link = house.tcp_link();
    house.ingest.kick(ProgramId(1));
    link.until_end();
    assert_eq!(house.decision("kicked"), 1);
    let end = house.ingest.links()[0].last_end.unwrap();
    assert_eq!(end.reason, Reason::Kicked);
    house.tcp_link();
}

#[test]
fn shutting_down_tells_everyone_and_ends() {
    let house = House::new();
    let mut link = house.tcp_link();
    let mut unproven = house.connect();
    let House { ingest, .. } = house;
    ingest.shutdown(PATIENCE);
    link.until_end();
    unproven.until_end();
}

#[test]
fn back_to_back_programs_hand_over_at_the_hour() {
    let next_id = "reservation-of-the-next-hour-8d01";
    let mut programs = on_air_now();
    programs.push(program(3, 4, "2026-11-22T11:00:00Z", "2026-11-22T12:00:00Z", next_id));
    let house = House::with(|_| (), programs);
    house.step_wall(Duration::from_secs(46 * 60));
    let mut now = house.tcp_link();
    let mut next = house.connect();
    next.record_over_tcp("channel4", next_id);
    now.send_frame(0, &rtp(1, 1, 0, true, 100));
    next.send_frame(0, &rtp(3, 300, 0, true, 100));
    assert_eq!(house.packets(1)[0].ssrc(), 1);
    wait_for("the early packet", || (house.traffic(|t| t.held.value()) == 1).then_some(()));

    house.step_wall(Duration::from_secs(4 * 60));
    now.send_frame(0, &rtp(1, 2, 3000, true, 100));
    next.send_frame(0, &rtp(3, 301, 3000, true, 100));
    assert_eq!(house.packets(1)[0].ssrc(), 3);
    wait_for("the late packet", || (house.traffic(|t| t.held.value()) == 2).then_some(()));
    house.step_wall(Duration::from_secs(5 * 60));
    now.until_end();
    next.send_frame(0, &rtp(3, 302, 6000, true, 100));
    assert_eq!(house.packets(1)[0].number(), 302);
}
