//! Viewers: on air, password, seat.

use std::{cell::Cell, time::Instant};

use slotcast_admission::{
    Decision, GuessLimits, Guesses, ProgramSpec, Programs, Reason, Secret, Then, Timetable, ViewerRequest,
    viewer::{decide_description, decide_seat},
};
use slotcast_auth::{Credential, Credentials, Proof, Verdict};
use slotcast_core::{
    denial::Denial,
    words::{OpenLevel, ProgramId},
};

use crate::common::{Shown, channel, ip, later, minute, now, published, republish, seats, spec, why_not};

const PUBLIC: &str = "channel1";
const CLOSED: &str = "channel2";

fn protected(id: u64, from: i64, to: i64, password: &str) -> ProgramSpec {
    let password = Some(Secret::new(password.to_owned()));
    ProgramSpec { open_level: OpenLevel::Secret, password, ..spec(id, 2, from, to) }
}

/// Channel 1 public with two seats, channel 2 secret, both on air in minutes 0 to 10.
fn timetable() -> Timetable {
    let small = ProgramSpec { seats: Some(seats(2)), ..spec(1, 1, 0, 10) };
    published(vec![small, protected(2, 0, 10, "open sesame")])
}

fn request<'a>(name: &'a str, shown: &'a dyn Proof) -> ViewerRequest<'a> {
    ViewerRequest { channel: name, credentials: shown, address: ip(1), admitted: None, now: now(5) }
}

#[track_caller]
fn check(name: &str, shown: &dyn Proof, expected: Result<u64, Reason>) {
    let (timetable, guesses) = (timetable(), Guesses::default());
    let request = request(name, shown);
    let decided = decide_description(&timetable, &guesses, &request);
    let got = match &decided {
        Ok(program) => Ok(program.id.0),
        Err(refusal) => Err(refusal.reason),
    };
    assert_eq!(got, expected, "describe");
    let seated = decide_seat(&timetable, &guesses, &request);
    assert_eq!(why_not(&seated), expected.err(), "setup");
    let viewers: u32 = timetable.programs().iter().map(|program| program.gate.viewers()).sum();
    assert_eq!(viewers, u32::from(expected.is_ok()), "a seat for those who were let in, and for nobody else");
}

#[test]
fn anyone_may_watch_a_public_program() {
    check(PUBLIC, &Shown::Nothing, Ok(1));
    check(PUBLIC, &Shown::Text("whatever"), Ok(1));
    check(PUBLIC, &Credentials::of_token(Some("whatever")), Ok(1));
}

#[test]
fn the_password_opens_a_protected_program() {
    check(CLOSED, &Shown::Text("open sesame"), Ok(2));
    check(CLOSED, &Credentials::of_token(Some("open sesame")), Ok(2));
}

#[test]
fn without_the_password_there_is_a_challenge() {
    check(CLOSED, &Shown::Nothing, Err(Reason::PasswordMissing));
    check(CLOSED, &Shown::Text("open"), Err(Reason::PasswordWrong));
    check(CLOSED, &Credentials::of_token(Some("open")), Err(Reason::PasswordWrong));
    check(CLOSED, &Shown::Stale, Err(Reason::ProofStale));
}

#[test]
fn nothing_on_air_reads_the_same_for_every_name() {
    for name in ["channel9", "", "../x", "channel1/x", &"x".repeat(10_000)] {
        check(name, &Shown::Nothing, Err(Reason::UnknownChannel));
    }
    let (timetable, guesses) = (published(vec![spec(1, 1, 20, 30)]), Guesses::default());
    let decided = decide_description(&timetable, &guesses, &request(PUBLIC, &Shown::Nothing));
    assert!(matches!(decided, Err(refusal)
        if refusal.reason == Reason::NotOnAir && refusal.then == Then::KeepOpen && refusal.delay.is_zero()));
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
    let (timetable, guesses) = (timetable(), Guesses::default());
    for name in [CLOSED, "channel9"] {
        let counting = Counting(Cell::new(0));
        let _decided = decide_description(&timetable, &guesses, &request(name, &counting));
        assert_eq!(counting.0.get(), 1, "{name}");
    }
}

#[test]
fn a_viewer_over_the_seats_is_refused() {
    let (timetable, guesses) = (timetable(), Guesses::default());
    let setup = || decide_seat(&timetable, &guesses, &request(PUBLIC, &Shown::Nothing));
    let first = setup();
    let _second = setup();
    let refused = |decision: Decision<(_, _)>| match decision {
        Err(refusal) => (refusal.reason, refusal.reason.denial(), refusal.then),
        other => panic!("not refused: {other:?}"),
    };
    let full = Reason::SeatsTaken { seats: 2 };
    assert_eq!(refused(setup()), (full, Denial::Full, Then::KeepOpen));
    assert!(full.text().starts_with("All 2 seats"));
    let describe = decide_description(&timetable, &guesses, &request(PUBLIC, &Shown::Nothing));
    assert!(describe.is_ok(), "DESCRIBE is not refused for seats");
    drop(first);
    assert!(setup().is_ok());
}

#[test]
fn the_end_of_the_window_ends_admission() {
    let (timetable, guesses) = (timetable(), Guesses::default());
    let at = |minute| ViewerRequest { now: now(minute), ..request(PUBLIC, &Shown::Nothing) };
    assert_eq!(why_not(&decide_seat(&timetable, &guesses, &at(10))), Some(Reason::NotOnAir));
    assert_eq!(why_not(&decide_seat(&timetable, &guesses, &at(-1))), Some(Reason::NotOnAir));
    timetable.on_air(PUBLIC, minute(5)).unwrap().gate.close_as(slotcast_admission::Cut::Ended);
    assert_eq!(why_not(&decide_seat(&timetable, &guesses, &at(5))), Some(Reason::NotOnAir));
}

#[test]
fn one_proof_is_enough_for_a_program_but_not_for_the_next() {
    let guesses = Guesses::default();
    let timetable = published(vec![protected(2, 0, 10, "one"), protected(3, 10, 20, "two")]);
    let at = |minute| ViewerRequest {
        admitted: Some(ProgramId(2)),
        now: now(minute),
        ..request(CLOSED, &Shown::Nothing)
    };
    assert_eq!(why_not(&decide_seat(&timetable, &guesses, &at(9))), None);
    assert_eq!(why_not(&decide_seat(&timetable, &guesses, &at(10))), Some(Reason::PasswordMissing));
}

#[test]
fn a_changed_password_counts_for_who_comes_from_now_on() {
    let (timetable, guesses) = (timetable(), Guesses::default());
    republish(&timetable, vec![protected(2, 0, 10, "new")]);
    let wrong = decide_seat(&timetable, &guesses, &request(CLOSED, &Shown::Text("open sesame")));
    assert_eq!(why_not(&wrong), Some(Reason::PasswordWrong));
    let right = decide_seat(&timetable, &guesses, &request(CLOSED, &Shown::Text("new")));
    assert_eq!(why_not(&right), None);
}

#[test]
fn wrong_passwords_are_answered_late_then_closed_then_not_looked_at() {
    let (timetable, guesses) = (timetable(), Guesses::default());
    let from = |shown, address| {
        let request = ViewerRequest { address: ip(address), ..request(CLOSED, shown) };
        decide_description(&timetable, &guesses, &request)
    };
    let per_address = GuessLimits::default().per_address;
    for count in 1..=per_address {
        match from(&Shown::Text("guess"), 1) {
            Err(refusal) if refusal.then == Then::Challenge => {
                assert!(count < 3 && !refusal.delay.is_zero());
            }
            Err(refusal) => {
                assert!(count >= 3 && refusal.reason == Reason::PasswordWrong && !refusal.delay.is_zero());
                assert_eq!((refusal.reason.denial(), refusal.then), (Denial::Unproven, Then::Close));
            }
            Ok(_) => panic!("a guess was let in"),
        }
    }
    let spent = from(&Shown::Text("open sesame"), 1);
    assert!(matches!(spent, Err(refusal) if refusal.reason == Reason::TooManyGuesses
        && refusal.reason.denial() == Denial::Forbidden && refusal.then == Then::Close && !refusal.delay.is_zero()));
    assert_eq!(why_not(&from(&Shown::Text("open sesame"), 2)), None, "the right one from elsewhere");
    let forgiven = ViewerRequest { now: later(now(5), 180), ..request(CLOSED, &Shown::Text("open sesame")) };
    assert_eq!(why_not(&decide_description(&timetable, &guesses, &forgiven)), None);
}

#[test]
fn an_address_without_budget_still_watches_what_is_public() {
    let (timetable, guesses) = (timetable(), Guesses::default());
    for _ in 0..20 {
        let _guessed = decide_description(&timetable, &guesses, &request(CLOSED, &Shown::Text("guess")));
    }
    assert_eq!(why_not(&decide_seat(&timetable, &guesses, &request(PUBLIC, &Shown::Nothing))), None);
}

#[test]
fn asking_without_a_password_costs_no_budget() {
    let (timetable, guesses) = (timetable(), Guesses::default());
    for _ in 0..100 {
        let _asked = decide_description(&timetable, &guesses, &request(CLOSED, &Shown::Nothing));
        let _stale = decide_description(&timetable, &guesses, &request(CLOSED, &Shown::Stale));
    }
    let right = decide_description(&timetable, &guesses, &request(CLOSED, &Shown::Text("open sesame")));
    assert_eq!(why_not(&right), None);
}

#[test]
fn a_channel_without_programs_is_as_silent_as_no_channel() {
    let timetable = Timetable::new();
    timetable.publish(vec![channel(1)], Vec::new()).unwrap();
    let decided = decide_description(&timetable, &Guesses::default(), &request(PUBLIC, &Shown::Nothing));
    assert_eq!(why_not(&decided), Some(Reason::NotOnAir));
}
