//! Broadcasters: ID, channel, connect window, class.

use std::{cell::Cell, time::Instant};

use slotcast_admission::{
    Cut, Decision, GuessLimits, Guesses, LinkGrant, LinkKey, LinkRequest, Programs, Reason, Refusal, Then,
    Timetable, link::decide_link,
};
use slotcast_auth::{Credential, Credentials, Proof, Verdict};
use slotcast_core::{
    denial::Denial,
    time::WallTime,
    words::{BitRate, ProgramId},
};

use crate::common::{Shown, channel, ip, later, minute, now, published, spec, why_not};

/// Channel 1: programs 1 and 2 back to back in minutes 0 to 10 to 20; channel 2: program 3 in minutes 0 to 10.
fn timetable() -> Timetable {
    published(vec![spec(1, 1, 0, 10), spec(2, 1, 10, 20), spec(3, 2, 0, 10)])
}

fn request<'a>(name: &'a str, shown: &'a dyn Proof, at: i64) -> LinkRequest<'a> {
    LinkRequest { channel: Some(name), credentials: shown, declared_kbps: None, address: ip(1), now: now(at) }
}

fn announce(name: &str, shown: Shown, at: i64) -> Decision<LinkGrant> {
    decide_link(&timetable(), &Guesses::default(), &request(name, &shown, at))
}

#[track_caller]
fn admitted(decision: Decision<LinkGrant>) -> (u64, Option<WallTime>) {
    match decision {
        Ok(grant) => (grant.program.id.0, grant.on_air_at),
        other => panic!("not admitted: {other:?}"),
    }
}

#[track_caller]
fn refused(decision: Decision<LinkGrant>, reason: Reason, kind: Denial) {
    match decision {
        Err(refusal) => {
            assert_eq!((refusal.reason, refusal.reason.denial()), (reason, kind));
            assert_eq!(refusal.then, Then::Close);
        }
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn the_reservation_id_opens_the_link() {
    assert_eq!(admitted(announce("channel1", Shown::Text("ID-1"), 5)), (1, None));
    let token = Credentials::of_token(Some("ID-1"));
    let decided = decide_link(&timetable(), &Guesses::default(), &request("channel1", &token, 5));
    assert_eq!(admitted(decided).0, 1);
}

#[test]
fn an_id_shown_as_a_token_is_found_without_a_channel_and_at_any_time() {
    let decide = |token: &str, channel, at| {
        let token = Credentials::of_token(Some(token));
        let request = LinkRequest { channel, ..request("", &token, at) };
        decide_link(&timetable(), &Guesses::default(), &request)
    };
    assert_eq!(admitted(decide("ID-3", None, 5)).0, 3);
    assert_eq!(admitted(decide("id 3", Some("channel2"), 5)).0, 3);
    refused(decide("ID-3", Some("channel1"), 5), Reason::OtherChannel, Denial::Forbidden);
    refused(decide("ID-3", None, 100), Reason::TooLate { closed: minute(15) }, Denial::Forbidden);
    refused(decide("ID-9", None, 5), Reason::IdWrong, Denial::Unproven);
    let nothing = LinkRequest { channel: None, ..request("", &Shown::Nothing, 5) };
    let decided = decide_link(&timetable(), &Guesses::default(), &nothing);
    assert_eq!(why_not(&decided), Some(Reason::IdMissing));
}

#[test]
fn an_early_broadcaster_is_told_when_it_is_on_air() {
    assert_eq!(admitted(announce("channel1", Shown::Text("ID-1"), -5)), (1, Some(minute(0))));
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
        assert!(matches!(decided, Err(challenge)
            if challenge == Refusal::challenge(Reason::IdMissing)));
        let stale = announce(name, Shown::Stale, 5);
        assert!(matches!(stale, Err(challenge) if challenge.is_stale() && challenge.then == Then::Challenge));
    }
}

#[test]
fn a_wrong_id_gets_one_answer_whatever_the_name() {
    for name in ["channel1", "channel2", "channel9", ""] {
        for wrong in ["", "ID-9", "ID-11", "decoy-reservation-id"] {
            refused(announce(name, Shown::Text(wrong), 5), Reason::IdWrong, Denial::Unproven);
        }
        let token = Credentials::of_token(Some("ID-9"));
        refused(
            decide_link(&timetable(), &Guesses::default(), &request(name, &token, 5)),
            Reason::IdWrong,
            Denial::Unproven,
        );
    }
    let nothing_published =
        decide_link(&Timetable::new(), &Guesses::default(), &request("channel1", &Shown::Text("ID-1"), 5));
    refused(nothing_published, Reason::IdWrong, Denial::Unproven);
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
        refused(decide_link(&timetable(), &Guesses::default(), &request), Reason::IdWrong, Denial::Unproven);
        counting.0.get()
    };
    assert_eq!(work("channel1"), work("channel9"), "two connectable, and no such channel");
    assert_eq!(work("channel2"), work("channel9"), "one connectable, and no such channel");
}

#[test]
fn outside_the_connect_window_the_time_is_named() {
    let early = Reason::TooEarly { opens: minute(-5) };
    refused(announce("channel1", Shown::Text("ID-1"), -6), early, Denial::Forbidden);
    assert!(early.text().contains("2026-11-21T23:55:00Z"));
    let late = Reason::TooLate { closed: minute(15) };
    refused(announce("channel1", Shown::Text("ID-1"), 15), late, Denial::Forbidden);
    assert!(late.text().contains("2026-11-22T00:15:00Z"));
    assert_eq!(admitted(announce("channel1", Shown::Text("ID-1"), 14)).0, 1);
}

#[test]
fn the_id_of_another_channel_is_told_so() {
    refused(announce("channel2", Shown::Text("ID-1"), 5), Reason::OtherChannel, Denial::Forbidden);
    refused(announce("channel9", Shown::Text("ID-1"), 5), Reason::OtherChannel, Denial::Forbidden);
}

#[test]
fn an_sdp_above_the_class_is_refused_with_both_rates() {
    let (timetable, guesses) = (timetable(), Guesses::default());
    let shown = Shown::Text("ID-1");
    let with = |declared_kbps| LinkRequest { declared_kbps, ..request("channel1", &shown, 5) };
    for fits in [None, Some(0), Some(64)] {
        assert_eq!(admitted(decide_link(&timetable, &guesses, &with(fits))).0, 1);
    }
    let above = |declared_kbps| Reason::AboveClass { class: BitRate::new(64_000).unwrap(), declared_kbps };
    for too_much in [65, 2_000, u64::MAX] {
        refused(decide_link(&timetable, &guesses, &with(Some(too_much))), above(too_much), Denial::Full);
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
    assert_eq!(admitted(decide_link(&timetable, &Guesses::default(), &with(Some(29)))).0, 1);
    assert!(decide_link(&timetable, &Guesses::default(), &with(Some(30))).is_err());
}

#[test]
fn a_program_that_was_stopped_takes_no_link_and_one_that_ended_does() {
    let (timetable, guesses) = (timetable(), Guesses::default());
    let program = timetable.program(ProgramId(1)).unwrap();
    program.gate.close_as(Cut::Ended);
    let decide = || decide_link(&timetable, &guesses, &request("channel1", &Shown::Text("ID-1"), 12));
    assert_eq!(admitted(decide()).0, 1);
    timetable.program(ProgramId(2)).unwrap().gate.close_as(Cut::Stopped);
    let stopped = decide_link(&timetable, &guesses, &request("channel1", &Shown::Text("ID-2"), 12));
    refused(stopped, Reason::LinkStopped, Denial::Forbidden);
}

#[test]
fn one_id_for_several_programs_opens_the_one_of_the_moment() {
    let shared = |id, from, to| slotcast_admission::ProgramSpec {
        link_key: LinkKey::from_reservation_id("weekly"),
        ..spec(id, 1, from, to)
    };
    let timetable = published(vec![shared(1, 0, 10), shared(2, 12, 20), shared(3, 40, 50)]);
    let decide =
        |at| decide_link(&timetable, &Guesses::default(), &request("channel1", &Shown::Text("weekly"), at));
    assert_eq!(admitted(decide(9)).0, 1, "on air before still to come");
    assert_eq!(admitted(decide(11)).0, 2, "still to come before over");
    assert_eq!(admitted(decide(12)).0, 2);
    refused(decide(30), Reason::TooEarly { opens: minute(35) }, Denial::Forbidden);
    refused(decide(60), Reason::TooLate { closed: minute(55) }, Denial::Forbidden);
}

#[test]
fn guesses_never_keep_a_right_id_out() {
    let (timetable, guesses) = (timetable(), Guesses::default());
    let wrong = Shown::Text("guess");
    for count in 1..=200 {
        let decided = decide_link(&timetable, &guesses, &request("channel1", &wrong, 5));
        let spent = count > GuessLimits::default().per_address;
        let reason = if spent { Reason::TooManyGuesses } else { Reason::IdWrong };
        refused(decided, reason, if spent { Denial::Forbidden } else { Denial::Unproven });
    }
    let right = decide_link(&timetable, &guesses, &request("channel1", &Shown::Text("ID-1"), 5));
    assert_eq!(admitted(right).0, 1);
}

#[test]
fn a_guesser_costs_less_once_its_budget_is_spent() {
    let timetable = published((0..200).map(|n| spec(n, 1, n as i64 * 60, n as i64 * 60 + 30)).collect());
    let guesses = Guesses::default();
    let work = || {
        let counting = Counting(Cell::new(0));
        let request = LinkRequest { credentials: &counting, ..request("channel1", &Shown::Nothing, 5) };
        assert!(decide_link(&timetable, &guesses, &request).is_err());
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
        decide_link(&timetable, &guesses, &request)
    };
    let counting = Counting(Cell::new(0));
    for address in 0..200 {
        refused(decide(address, &counting, at), Reason::IdWrong, Denial::Unproven);
    }
    assert!(counting.0.get() < 5_000, "{} comparisons", counting.0.get());
    let far = Shown::Text("ID-2");
    refused(decide(201, &far, at), Reason::IdWrong, Denial::Unproven);
    assert!(matches!(why_not(&decide(202, &far, later(at, 1))), Some(Reason::TooEarly { .. })));
    assert_eq!(admitted(decide(203, &Shown::Text("ID-0"), at)).0, 0, "a right one is never kept out");
}

#[test]
fn an_id_in_capital_letters_opens_the_link() {
    let mut program = spec(1, 1, 0, 10);
    program.link_key = LinkKey::from_reservation_id("7r9kq-2mxw8");
    let timetable = published(vec![program]);
    let by_digest = request("channel1", &Shown::Text("7R9KQ-2MXW8"), 5);
    let token = Credentials::of_token(Some("7R9KQ-2MXW8"));
    let by_token = request("channel1", &token, 5);
    for request in [by_digest, by_token] {
        assert_eq!(admitted(decide_link(&timetable, &Guesses::default(), &request)).0, 1);
    }
}

#[test]
fn a_program_that_a_clock_ahead_of_time_has_ended_takes_its_link_again() {
    let timetable = timetable();
    let gate = timetable.program(ProgramId(1)).unwrap().gate.clone();
    assert!(gate.close_if_over(minute(11)));
    let decide =
        |at| decide_link(&timetable, &Guesses::default(), &request("channel1", &Shown::Text("ID-1"), at));
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
        |shown: Shown, at| decide_link(&timetable, &Guesses::default(), &request("channel1", &shown, at));
    assert_eq!(admitted(decide(Shown::Text("ID-1000"), 60_005)).0, 1_000);
    assert!(matches!(why_not(&decide(Shown::Text("ID-1100"), 60_005)), Some(Reason::TooEarly { .. })));
    refused(decide(Shown::Text("ID-1500"), 60_005), Reason::IdWrong, Denial::Unproven);
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
        let decided = decide_link(&timetable, &Guesses::default(), &request(name, &shown, 5));
        assert_eq!(admitted(decided).0, id);
    }
}
