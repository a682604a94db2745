//! The states of a reservation: the page draws exactly the ways from one to another that the rules make.

use std::{collections::BTreeSet, fs, path::Path};

use slotcast_core::time::WallTime;
use slotcast_reservation::domain::{
    effects::Effects,
    member::{Card, Member, MemberKind},
    reservation::{Reservation, ReservationIdHash, State},
    rules::{self, AfterDecline, BookingFacts, Draft},
    words::ReservationNumber,
};
use slotcast_reservation_testing::{
    service::rules as the_rules,
    stores::{channel, member, reservation, slot},
};

/// From the start, or from one state, to another, by their names; `[*]` is the start.
type Way = (String, String);

/// The arrows of the page's diagram.
fn drawn() -> BTreeSet<Way> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/concepts.md");
    let page = fs::read_to_string(page).unwrap();
    let arrow = |line: &str| {
        let (from, rest) = line.trim().split_once(" --> ")?;
        let (to, what) = rest.split_once(": ")?;
        assert!(!what.is_empty(), "{line}");
        Some((from.to_owned(), to.to_owned()))
    };
    page.lines().filter_map(arrow).collect()
}

/// Who may do everything.
fn owner() -> Member {
    let card = Card { token: "t".into(), brand: "invoice".into(), last_four: String::new(), expires: None };
    Member { is_operator: true, kind: MemberKind::Premium, card: Some(card), ..member(1) }
}

/// What each rule makes of `before` at `now`, whoever asks.
fn after(before: &Reservation, now: WallTime) -> Vec<Effects> {
    let (owner, rules, hash) = (owner(), the_rules(), ReservationIdHash([0; 32]));
    let may_reconfirm = rules::may_reconfirm(&owner, before, true, 1, &rules, now).ok();
    let declined = match rules::after_decline(&owner, before, 2, &[], now) {
        AfterDecline::Cancel(effects) => Some(*effects),
        AfterDecline::AskAgain(_) | AfterDecline::GoOn => None,
    };
    let settled = [0, u64::MAX].map(|normal_ms| rules::settle(&owner, before, normal_ms, &[], &rules, now));
    let cancelled =
        [false, true].map(|by_operator| rules::cancel(&owner, before, by_operator, &[], 0, &rules, now).ok());
    [
        rules::accept_terms(&owner, before, hash, &rules, now).ok(),
        may_reconfirm.map(|hold| rules::reconfirm(&owner, before, hold.as_ref(), now)),
        rules::expire_hold(before, now),
        rules::expire_reconfirmation(&owner, before, now),
        rules::start(before, now),
        rules::end(before, now),
        rules::end_early(before, now).ok(),
        declined,
    ]
    .into_iter()
    .chain(settled)
    .chain(cancelled)
    .flatten()
    .collect()
}

/// The states in which the rules let a reservation begin.
fn beginnings() -> Vec<State> {
    let (owner, sold, rules, now) = (owner(), channel(1), the_rules(), slot(999));
    let facts = BookingFacts { member: &owner, channel: &sold, used: &[0, 0], taken: &[] };
    let wanted = reservation(1, 1000, 2);
    let draft = || Draft { channel: wanted.channel, window: wanted.window, program: wanted.program.clone() };
    let (number, hash) = (ReservationNumber(1), ReservationIdHash([0; 32]));
    let booked = rules::book(facts, draft(), number, &rules, now).unwrap();
    let special = rules::book_special(facts, draft(), number, hash, &rules, now).unwrap();
    [booked, special].map(|effects| effects.reservation.state).to_vec()
}

#[test]
fn the_page_draws_the_ways_that_the_rules_make() {
    let mut made: BTreeSet<Way> =
        beginnings().into_iter().map(|state| ("[*]".to_owned(), state.name().to_owned())).collect();
    // Before the hold ends, before the reconfirmation is due, shortly before the window, within it, and after it.
    for now in [950, 960, 990, 1000, 1001, 1002].map(slot) {
        for state in State::ALL {
            let before = Reservation { state, ..reservation(1, 1000, 2) };
            for effects in after(&before, now) {
                let then = effects.reservation.state;
                if then != state {
                    made.insert((state.name().to_owned(), then.name().to_owned()));
                }
            }
        }
    }
    assert_eq!(drawn(), made);
}
