//! Broadcasters: ID, channel, connect window, class.

use std::{cell::Cell, time::Instant};

use slotcast_admission::{
    Cut, Decision, GuessLimits, Guesses, LinkDecision, LinkKey, LinkRequest, Programs, Proof, Reason, Then,
    Timetable, link::decide_announce,
};
use slotcast_core::words::{BitRate, ProgramId};
use slotcast_rtsp::auth::{Credential, Verdict};

use crate::common::{Shown, channel, ip, later, minute, now, published, spec};

/// Channel 1: programs 1 and 2 back to back in minutes 0 to 10 to 20; channel 2: program 3 in minutes 0 to 10.
fn timetable() -> Timetable {
    published(vec![spec(1, 1, 0, 10), spec(2, 1, 10, 20), spec(3, 2, 0, 10)])
}

fn request<'a>(name: &'a str, shown: &'a Shown, at: i64) -> LinkRequest<'a> {
    LinkRequest { name, token: None, credentials: shown, declared_kbps: None, address: ip(1), now: now(at) }
}

fn announce(name: &str, shown: Shown, at: i64) -> LinkDecision {
    decide_announce(&timetable(), &Guesses::default(), &request(name, &shown, at))
}

#[track_caller]
fn admitted(decision: LinkDecision) -> (u64, Vec<(String, String)>) {
    match decision {
        Decision::Admit(grant) => (grant.program.id.0, grant.headers()),
        other => panic!("not admitted: {other:?}"),
    }
}

#[track_caller]
fn refused(decision: LinkDecision, reason: Reason, status: u16) {
    match decision {
        Decision::Refuse(refusal) => {
            assert_eq!((refusal.reason, refusal.reason.status()), (reason, status));
            assert_eq!(refusal.then, Then::Close);
        }
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn the_reservation_id_opens_the_link() {
    assert_eq!(admitted(announce("channel1", Shown::Text("ID-1"), 5)), (1, Vec::new()));
    let by_token = LinkRequest { token: Some("ID-1"), ..request("channel1", &Shown::Nothing, 5) };
    let decided = decide_announce(&timetable(), &Guesses::default(), &by_token);
    assert_eq!(admitted(decided).0, 1);
}

#[test]
fn an_early_broadcaster_is_told_when_it_is_on_air() {
    let (id, headers) = admitted(announce("channel1", Shown::Text("ID-1"), -5));
    let value = "2026-11-22T00:00:00Z; held-until-then".to_owned();
    assert_eq!((id, headers), (1, vec![("Slotcast-On-Air".to_owned(), value)]));
}

#[test]
fn back_to_back_the_shown_id_chooses_the_program() {
    for at in [5, 9, 10, 14] {
        assert_eq!(admitted(announce("channel1", Shown::Text("ID-1"), at)).0, 1);
        assert_eq!(admitted(announce("channel1", Shown::Text("ID-2"), at)).0, 2);
    }
}

#[test]
fn nothing_shown_is_challenged_whatever_the_name() {
    for name in ["channel1", "channel9", "", "../x"] {
        let decided = announce(name, Shown::Nothing, 5);
        assert!(matches!(decided, Decision::Challenge(challenge)
            if challenge.reason == Reason::IdMissing && !challenge.stale && challenge.delay.is_zero()));
        let stale = announce(name, Shown::Stale, 5);
        assert!(matches!(stale, Decision::Challenge(challenge) if challenge.stale));
    }
}

#[test]
fn a_wrong_id_gets_one_answer_whatever_the_name() {
    for name in ["channel1", "channel2", "channel9", ""] {
        for wrong in ["", "ID-9", "id-1", "decoy-reservation-id"] {
            refused(announce(name, Shown::Text(wrong), 5), Reason::IdWrong, 401);
        }
        let by_token = LinkRequest { token: Some("ID-9"), ..request(name, &Shown::Nothing, 5) };
        refused(decide_announce(&timetable(), &Guesses::default(), &by_token), Reason::IdWrong, 401);
    }
    let nothing_published = decide_announce(
        &Timetable::new(),
        &Guesses::default(),
        &request("channel1", &Shown::Text("ID-1"), 5),
    );
    refused(nothing_published, Reason::IdWrong, 401);
}

/// Counts how often it is compared.
struct Counting(Cell<u32>);

impl Proof for Counting {
    fn verify(&self, _now: Instant, _credential: &Credential<'_>) -> Verdict {
        self.0.set(self.0.get() + 1);
        Verdict::Wrong
    }
}

#[test]
fn an_unknown_name_costs_the_same_work() {
    let work = |name| {
        let counting = Counting(Cell::new(0));
        let request = LinkRequest { credentials: &counting, ..request(name, &Shown::Nothing, 5) };
        refused(decide_announce(&timetable(), &Guesses::default(), &request), Reason::IdWrong, 401);
        counting.0.get()
    };
    assert_eq!(work("channel1"), work("channel9"), "two connectable, and no such channel");
    assert_eq!(work("channel2"), work("channel9"), "one connectable, and no such channel");
}

#[test]
fn outside_the_connect_window_the_time_is_named() {
    let early = Reason::TooEarly { opens: minute(-5) };
    refused(announce("channel1", Shown::Text("ID-1"), -6), early, 403);
    assert!(early.text().contains("2026-11-21T23:55:00Z"));
    let late = Reason::TooLate { closed: minute(15) };
    refused(announce("channel1", Shown::Text("ID-1"), 15), late, 403);
    assert!(late.text().contains("2026-11-22T00:15:00Z"));
    assert_eq!(admitted(announce("channel1", Shown::Text("ID-1"), 14)).0, 1);
}

#[test]
fn the_id_of_another_channel_is_told_so() {
    refused(announce("channel2", Shown::Text("ID-1"), 5), Reason::OtherChannel, 403);
    refused(announce("channel9", Shown::Text("ID-1"), 5), Reason::OtherChannel, 403);
}

#[test]
fn an_sdp_above_the_class_is_refused_with_both_rates() {
    let (timetable, guesses) = (timetable(), Guesses::default());
    let shown = Shown::Text("ID-1");
    let with = |declared_kbps| LinkRequest { declared_kbps, ..request("channel1", &shown, 5) };
    for fits in [None, Some(0), Some(64)] {
        assert_eq!(admitted(decide_announce(&timetable, &guesses, &with(fits))).0, 1);
    }
    let above = |declared_kbps| Reason::AboveClass { class: BitRate::new(64_000).unwrap(), declared_kbps };
    for too_much in [65, 2_000, u64::MAX] {
        refused(decide_announce(&timetable, &guesses, &with(Some(too_much))), above(too_much), 453);
    }
    let text = above(2_000).text();
    assert!(text.contains("2000kbit/s") && text.contains("64kbit/s"), "{text}");
}

#[test]
fn a_rate_that_is_rounded_up_is_not_above_its_class() {
    let timetable = published(vec![slotcast_admission::ProgramSpec {
        class: Some(BitRate::new(28_800).unwrap()),
        ..spec(1, 1, 0, 10)
    }]);
    let shown = Shown::Text("ID-1");
    let with = |declared_kbps| LinkRequest { declared_kbps, ..request("channel1", &shown, 5) };
    assert_eq!(admitted(decide_announce(&timetable, &Guesses::default(), &with(Some(29)))).0, 1);
    assert!(decide_announce(&timetable, &Guesses::default(), &with(Some(30))).reason().is_some());
}

#[test]
fn a_program_that_was_stopped_takes_no_link_and_one_that_ended_does() {
    let (timetable, guesses) = (timetable(), Guesses::default());
    let program = timetable.program(ProgramId(1)).unwrap();
    program.gate.close_as(Cut::Ended);
    let decide = || decide_announce(&timetable, &guesses, &request("channel1", &Shown::Text("ID-1"), 12));
    assert_eq!(admitted(decide()).0, 1);
    timetable.program(ProgramId(2)).unwrap().gate.close_as(Cut::Stopped);
    let stopped = decide_announce(&timetable, &guesses, &request("channel1", &Shown::Text("ID-2"), 12));
    refused(stopped, Reason::LinkStopped, 403);
}

#[test]
fn one_id_for_several_programs_opens_the_one_of_the_moment() {
    let shared = |id, from, to| slotcast_admission::ProgramSpec {
        link_key: LinkKey::from_reservation_id("weekly"),
        ..spec(id, 1, from, to)
    };
    let timetable = published(vec![shared(1, 0, 10), shared(2, 12, 20), shared(3, 40, 50)]);
    let decide = |at| {
        decide_announce(&timetable, &Guesses::default(), &request("channel1", &Shown::Text("weekly"), at))
    };
    assert_eq!(admitted(decide(9)).0, 1, "on air before still to come");
    assert_eq!(admitted(decide(11)).0, 2, "still to come before over");
    assert_eq!(admitted(decide(12)).0, 2);
    refused(decide(30), Reason::TooEarly { opens: minute(35) }, 403);
    refused(decide(60), Reason::TooLate { closed: minute(55) }, 403);
}

#[test]
fn guesses_never_keep_a_right_id_out() {
    let (timetable, guesses) = (timetable(), Guesses::default());
    let wrong = Shown::Text("guess");
    for count in 1..=200 {
        let decided = decide_announce(&timetable, &guesses, &request("channel1", &wrong, 5));
        let spent = count > GuessLimits::default().per_address;
        let reason = if spent { Reason::TooManyGuesses } else { Reason::IdWrong };
        refused(decided, reason, if spent { 403 } else { 401 });
    }
    let right = decide_announce(&timetable, &guesses, &request("channel1", &Shown::Text("ID-1"), 5));
    assert_eq!(admitted(right).0, 1);
}

#[test]
fn a_guesser_costs_less_once_its_budget_is_spent() {
    let timetable = published((0..200).map(|n| spec(n, 1, n as i64 * 60, n as i64 * 60 + 30)).collect());
    let guesses = Guesses::default();
    let work = || {
        let counting = Counting(Cell::new(0));
        let request = LinkRequest { credentials: &counting, ..request("channel1", &Shown::Nothing, 5) };
        assert!(decide_announce(&timetable, &guesses, &request).reason().is_some());
        counting.0.get()
    };
    let first = work();
    (0..GuessLimits::default().per_address).for_each(|_| assert!(work() > 0));
    let spent = work();
    assert!(first > 100 && spent < 10, "{first} at first, {spent} when spent");
}

#[test]
fn a_crowd_of_wrong_ids_costs_no_more_than_a_few() {
    let timetable = published((0..200).map(|n| spec(n, 1, n as i64 * 60, n as i64 * 60 + 30)).collect());
    let guesses = Guesses::default();
    let at = now(5);
    let decide = |address, shown: &dyn Proof, at| {
        let request = LinkRequest {
            address: ip(address),
            credentials: shown,
            now: at,
            ..request("channel1", &Shown::Nothing, 5)
        };
        decide_announce(&timetable, &guesses, &request)
    };
    let counting = Counting(Cell::new(0));
    for address in 0..200 {
        refused(decide(address, &counting, at), Reason::IdWrong, 401);
    }
    assert!(counting.0.get() < 5_000, "{} comparisons", counting.0.get());
    let far = Shown::Text("ID-2");
    refused(decide(201, &far, at), Reason::IdWrong, 401);
    assert!(matches!(decide(202, &far, later(at, 1)).reason(), Some(Reason::TooEarly { .. })));
    assert_eq!(admitted(decide(203, &Shown::Text("ID-0"), at)).0, 0, "a right one is never kept out");
}

#[test]
fn an_id_in_capital_letters_opens_the_link() {
    let mut program = spec(1, 1, 0, 10);
    program.link_key = LinkKey::from_reservation_id("7r9kq-2mxw8");
    let timetable = published(vec![program]);
    let by_digest = request("channel1", &Shown::Text("7R9KQ-2MXW8"), 5);
    let by_token = LinkRequest { token: Some("7R9KQ-2MXW8"), ..request("channel1", &Shown::Nothing, 5) };
    for request in [by_digest, by_token] {
        assert_eq!(admitted(decide_announce(&timetable, &Guesses::default(), &request)).0, 1);
    }
}

#[test]
fn a_program_that_a_clock_ahead_of_time_has_ended_takes_its_link_again() {
    let timetable = timetable();
    let gate = timetable.program(ProgramId(1)).unwrap().gate.clone();
    assert!(gate.close_if_over(minute(11)));
    let decide =
        |at| decide_announce(&timetable, &Guesses::default(), &request("channel1", &Shown::Text("ID-1"), at));
    assert_eq!(admitted(decide(11)).0, 1);
    assert!(!gate.is_open(), "its end has come");
    assert_eq!(admitted(decide(5)).0, 1);
    assert!(gate.lets_through(minute(5)), "and lies ahead again");
}

#[test]
fn the_work_for_one_announce_is_bounded() {
    let hour = |n: i64| spec(n as u64, 1, n * 60, n * 60 + 30);
    let timetable = published((1..2_000).map(hour).collect());
    let decide =
        |shown: Shown, at| decide_announce(&timetable, &Guesses::default(), &request("channel1", &shown, at));
    assert_eq!(admitted(decide(Shown::Text("ID-1000"), 60_005)).0, 1_000);
    assert!(matches!(decide(Shown::Text("ID-1100"), 60_005).reason(), Some(Reason::TooEarly { .. })));
    refused(decide(Shown::Text("ID-1500"), 60_005), Reason::IdWrong, 401);
}

#[test]
fn every_channel_that_is_on_air_takes_its_link_however_many_there_are() {
    let timetable = Timetable::new();
    let channels = (1..=400).map(channel).collect();
    timetable.publish(channels, (1..=400).map(|n| spec(n, n as u16, 0, 10)).collect()).unwrap();
    for (name, shown, id) in [
        ("channel1", Shown::Text("ID-1"), 1),
        ("channel200", Shown::Text("ID-200"), 200),
        ("channel400", Shown::Text("ID-400"), 400),
    ] {
        let decided = decide_announce(&timetable, &Guesses::default(), &request(name, &shown, 5));
        assert_eq!(admitted(decided).0, id);
    }
}
