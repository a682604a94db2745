//! Who has the program, by which line, and who gets it next.

use slotcast_admission::Reason;
use slotcast_desk::Fate;

use crate::studio::{ID, NEXT_ID, Studio, ip, ms, picture, program, secs, this_hour, video};

#[test]
fn a_newer_link_takes_over_and_viewers_go_on() {
    let mut studio = Studio::new();
    let older = studio.link_from(ip(1), video());
    studio.rtp(&older, 0, &picture(1, 10));
    studio.pass(ms(40));
    let newer = studio.link_from(ip(2), video());
    assert_eq!((studio.ended(&older), studio.lines()), (Some(Reason::TakenOver), 1));
    assert_eq!(studio.rtp(&older, 0, &picture(1, 11)), Fate::Dropped);
    studio.rtp(&newer, 0, &picture(7, 500));
    assert_eq!(studio.numbers(0), [10, 11]);
    assert_eq!(studio.ended(&newer), None);
    drop(older);
    studio.pass(ms(1));
    assert_eq!(studio.rtp(&newer, 0, &picture(7, 501)), Fate::Taken, "the older pass takes nothing with it");
}

#[test]
fn who_gets_no_line_takes_over_nothing() {
    let mut studio = Studio::with(vec![this_hour()], ms(0), |config| config.lines_per_address = 1);
    let older = studio.link_from(ip(1), video());
    let next = program(2, "11:00:00", "12:00:00", NEXT_ID);
    studio.publish(vec![this_hour(), next]);
    studio.set_wall("10:56:00");
    let _other = studio.admit(NEXT_ID, ip(2), &video()).unwrap();
    assert_eq!(studio.refused(ID, ip(2)), Reason::LinesPerAddress);
    studio.pass(ms(1));
    assert_eq!((studio.ended(&older), studio.rtp(&older, 0, &picture(1, 1))), (None, Fate::Taken));
}

#[test]
fn at_the_line_limit_a_return_is_let_in_and_a_newcomer_is_not() {
    let next = program(2, "11:00:00", "12:00:00", NEXT_ID);
    let mut studio = Studio::with(vec![this_hour(), next], ms(0), |config| config.lines = 1);
    studio.set_wall("10:56:00");
    let first = studio.link_from(ip(1), video());
    assert_eq!(studio.refused(NEXT_ID, ip(2)), Reason::LinesTaken);
    let second = studio.link_from(ip(3), video());
    assert_eq!(studio.ended(&first), Some(Reason::TakenOver));
    drop(second);
    assert!(studio.admit(NEXT_ID, ip(2), &video()).is_ok(), "a dropped pass is a free line");
}

#[test]
fn two_encoders_that_send_do_not_change_places_without_end() {
    let mut studio = Studio::new();
    let mut held = studio.link_from(ip(1), video());
    let (mut from, mut changes, mut refused) = (1, 0, 0);
    let mut number = 0;
    // Each comes back every two seconds once it was sent away, for five minutes.
    for _ in 0..150 {
        for _ in 0..20 {
            number += 1;
            studio.rtp(&held, 0, &picture(u32::from(from), number));
            studio.pass(ms(100));
        }
        match studio.admit(ID, ip(3 - from), &video()) {
            Ok(pass) => {
                studio.begin(&pass, video());
                (held, from, changes) = (pass, 3 - from, changes + 1);
            }
            Err(refusal) => {
                assert_eq!(refusal.reason, Reason::LinkContested);
                refused += 1;
            }
        }
    }
    assert_eq!(changes, 5, "at 2, 12, 32, 72 and 152 s");
    assert_eq!(refused, 145);
    assert_eq!(studio.lines(), 1);
    // After as much calm as there was quarrel, it is forgotten.
    studio.pass(secs(1));
}

#[test]
fn a_silent_link_gives_way_at_once_and_always() {
    let mut studio = Studio::new();
    let mut before = studio.link(video());
    for number in 0..20 {
        studio.rtp(&before, 0, &picture(1, number));
        studio.pass(secs(2));
        let next = studio.link(video());
        assert_eq!(studio.ended(&before), Some(Reason::TakenOver));
        before = next;
    }
}

#[test]
fn a_pause_keeps_line_and_program_and_its_end_goes_on() {
    let mut studio = Studio::new();
    let link = studio.link(video());
    studio.rtp(&link, 0, &picture(1, 1));
    studio.pause(&link);
    assert_eq!(studio.rtp(&link, 0, &picture(1, 2)), Fate::Dropped);
    studio.pass(secs(3));
    assert_eq!((studio.lines(), studio.ended(&link)), (1, None));
    studio.begin(&link, video());
    studio.rtp(&link, 0, &picture(1, 3));
    assert_eq!(studio.numbers(0), [1, 2], "on the way out there is no gap");
}

#[test]
fn what_was_held_of_another_source_goes_to_nobody_when_the_link_is_over() {
    let mut studio = Studio::new();
    let link = studio.link(video());
    studio.rtp(&link, 0, &picture(1, 1));
    studio.rtp(&link, 0, &picture(2, 1));
    drop(link);
    studio.pass(secs(10));
    assert_eq!(studio.numbers(0), [1]);
}
