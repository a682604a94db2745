//! What wall time and the timetable decide.

use slotcast_admission::{Cut, Programs as _, Reason};
use slotcast_core::words::ProgramId;
use slotcast_desk::{Fate, LinkState};

use crate::studio::{ID, NEXT_ID, Studio, ip, ms, packet, picture, program, secs, this_hour, video};

fn state(studio: &Studio) -> Option<LinkState> {
    studio.status().map(|status| status.state)
}

#[test]
fn media_is_held_back_until_the_start_and_after_the_end() {
    let soon = program(1, "10:10:02", "10:10:04", ID);
    let mut studio = Studio::with(vec![soon], ms(0), |_| ());
    let link = studio.link(video());
    assert_eq!(link.on_air_at().map(|at| at.to_string()).as_deref(), Some("2026-11-22T10:10:02Z"));
    let mut states = Vec::new();
    for number in 0..6 {
        assert_eq!(studio.rtp(&link, 0, &picture(1, number)), Fate::Taken);
        studio.pass(secs(1));
        states.extend(state(&studio));
    }
    use LinkState::{Held, OnAir};
    assert_eq!(states, [Held, OnAir, OnAir, Held, Held, Held]);
    assert_eq!(studio.numbers(0), [2, 3]);
    let stats = studio.desk.stats().program(ProgramId(1)).unwrap();
    assert_eq!((stats.traffic.held.value(), stats.traffic.published.value()), (4, 2));
}

#[test]
fn what_waited_for_its_picture_when_the_end_came_goes_to_nobody() {
    let mut studio = Studio::with(vec![program(1, "10:10:00", "10:10:04", ID)], ms(0), |_| ());
    let link = studio.link(video());
    studio.rtp(&link, 0, &picture(1, 1));
    studio.pass(ms(3_950));
    studio.rtp(&link, 0, &packet(96, 1, 2, 90_000, false, &[0x41, 0, 0]));
    studio.pass(secs(1));
    drop(link);
    studio.pass(ms(1));
    assert_eq!(studio.numbers(0), [1]);
}

#[test]
fn a_link_lives_to_its_connect_windows_end_and_its_source_no_longer() {
    let mut studio = Studio::new();
    let link = studio.link(video());
    studio.rtp(&link, 0, &picture(1, 1));
    studio.pass(secs(55 * 60 - 1));
    assert_eq!((studio.ended(&link), studio.lines()), (None, 1));
    studio.pass(secs(1));
    assert_eq!(studio.ended(&link), Some(Reason::LinkWindowClosed));
    assert_eq!((studio.lines(), state(&studio)), (0, None));
    assert_eq!(
        studio.refused(ID, ip(1)),
        Reason::TooLate { closed: crate::studio::wall("2026-11-22T11:05:00Z") }
    );
}

#[test]
fn an_extension_counts_at_once() {
    let mut studio = Studio::new();
    let link = studio.link(video());
    studio.publish(vec![program(1, "10:00:00", "12:00:00", ID)]);
    studio.set_wall("11:30:00");
    studio.pass(secs(1));
    studio.rtp(&link, 0, &picture(1, 1));
    assert_eq!((studio.ended(&link), studio.numbers(0)), (None, vec![1]));
}

#[test]
fn a_program_that_was_withdrawn_ends_its_link_as_the_operators_act() {
    let mut studio = Studio::new();
    let link = studio.link(video());
    studio.publish(vec![]);
    studio.pass(ms(100));
    assert_eq!(studio.ended(&link), Some(Reason::ProgramWithdrawn));
    assert_eq!((studio.lines(), state(&studio)), (0, None));
}

#[test]
fn a_program_that_its_member_stopped_ends_its_link_as_the_members_act() {
    // Once with the program still in the timetable, once gone from it.
    for rest in [vec![this_hour()], vec![]] {
        let mut studio = Studio::new();
        let link = studio.link(video());
        studio.timetable.program(ProgramId(1)).unwrap().gate.close_as(Cut::Stopped);
        studio.publish(rest);
        studio.pass(ms(100));
        assert_eq!(studio.ended(&link), Some(Reason::ProgramStopped));
    }
}

#[test]
fn a_link_that_has_not_begun_ends_with_its_program_too() {
    let mut studio = Studio::new();
    let link = studio.admit(ID, ip(1), &video()).unwrap();
    studio.publish(vec![]);
    studio.pass(ms(100));
    assert_eq!((studio.ended(&link), studio.lines()), (Some(Reason::ProgramWithdrawn), 0));
    studio.begin(&link, video());
    assert_eq!(studio.rtp(&link, 0, &picture(1, 1)), Fate::Dropped);
    assert!(studio.chunks().is_empty());
}

#[test]
fn a_wall_clock_that_steps_forward_and_back_does_not_end_a_program_for_good() {
    let mut studio = Studio::new();
    let link = studio.link(video());
    studio.rtp(&link, 0, &picture(1, 1));
    studio.pass(ms(100));
    studio.set_wall("11:01:00");
    studio.pass(ms(100));
    studio.rtp(&link, 0, &picture(1, 2));
    // The worker whose turn it is closes the gate.
    studio
        .timetable
        .program(ProgramId(1))
        .unwrap()
        .gate
        .close_if_over(crate::studio::wall("2026-11-22T11:01:00Z"));
    assert_eq!(state(&studio), Some(LinkState::Held));
    studio.set_wall("10:11:00");
    studio.pass(ms(100));
    studio.rtp(&link, 0, &picture(1, 3));
    assert_eq!((studio.numbers(0), studio.ended(&link)), (vec![1, 3], None), "the second was held back");
    assert_eq!(state(&studio), Some(LinkState::OnAir));
}

#[test]
fn back_to_back_programs_hand_over_at_the_hour() {
    let next = program(2, "11:00:00", "12:00:00", NEXT_ID);
    let mut studio = Studio::with(vec![this_hour(), next], ms(0), |_| ());
    studio.set_wall("10:59:59");
    let now = studio.link(video());
    let next = studio.admit(NEXT_ID, ip(2), &video()).unwrap();
    studio.begin(&next, video());
    for number in 0..2 {
        studio.rtp(&now, 0, &picture(1, number));
        studio.rtp(&next, 0, &picture(2, 100 + number));
        studio.pass(secs(1));
    }
    let programs: Vec<_> = studio.chunks().iter().map(|chunk| chunk.stream().program.0).collect();
    assert_eq!(programs, [1, 2]);
}
