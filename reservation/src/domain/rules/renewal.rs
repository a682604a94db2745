//! A hold that the payment provider let go before the program: when it is asked for again, and what becomes of the
//! reservation where the card says no.
//!
//! Invariant: nobody loses a program without having been told of the card in time, and nobody pays for one that is
//! cancelled here.

use slotcast_core::time::WallTime;

use super::{
    booking::cancelled,
    mails::{to_friends, to_member},
    payments::released,
};
use crate::{
    domain::{
        effects::{Effects, MailKind, PaymentKind, PaymentRequest},
        member::Member,
        reservation::{CancelledBy, Reservation, State},
    },
    limits::{CARD_UNTIL_BEFORE, HOLD_AGAIN_BEFORE},
};

/// Asks again for `hold`, and when: a day before the start, or now where that is nearer. `None`: the program has begun,
/// is over or will not be; what is owed for it is charged anew then.
///
/// - `before`: how often it was asked for again already.
pub fn renewal(
    reservation: &Reservation,
    hold: &PaymentRequest,
    before: usize,
    now: WallTime,
) -> Option<(PaymentRequest, WallTime)> {
    let start = reservation.window.start();
    let is_wanted = reservation.state == State::Confirmed && now < start;
    is_wanted.then(|| {
        let key = format!("renew-{}-{}", before + 1, hold.key);
        let request =
            PaymentRequest { key, kind: PaymentKind::Authorise, of: Some(hold.key.clone()), ..hold.clone() };
        (request, start.saturating_sub(HOLD_AGAIN_BEFORE).max(now))
    })
}

/// Until when the member may give another card.
pub fn card_until(reservation: &Reservation) -> WallTime {
    reservation.window.start().saturating_sub(CARD_UNTIL_BEFORE)
}

/// What follows where the card said no to a renewal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AfterDecline {
    /// The member has until then to give another card, and is asked again then.
    AskAgain(WallTime),
    /// The member was told and gave no other card: the program is cancelled, and costs nothing.
    Cancel(Box<Effects>),
    /// It is too late for either: the program will be, and is charged anew after it.
    GoOn,
}

/// Decides on a renewal that was declined.
///
/// - `attempt`: which it was, from 1; after the first the member is told.
/// - `holds`: the authorisations that stand in the ledger.
pub fn after_decline(
    member: &Member,
    reservation: &Reservation,
    attempt: u32,
    holds: &[PaymentRequest],
    now: WallTime,
) -> AfterDecline {
    let until = card_until(reservation);
    if reservation.state != State::Confirmed || reservation.window.start() <= now {
        return AfterDecline::GoOn;
    }
    if now < until {
        return AfterDecline::AskAgain(until);
    }
    if attempt < 2 {
        return AfterDecline::GoOn;
    }
    let mut effects = cancelled(reservation, CancelledBy::NotReconfirmed, now);
    effects.mails.push(to_member(MailKind::Cancelled, member, &effects.reservation));
    let to_friends: Vec<_> = to_friends(MailKind::Cancelled, member, &effects.reservation).collect();
    effects.mails.extend(to_friends);
    for hold in holds {
        released(&mut effects, hold, false, now);
    }
    AfterDecline::Cancel(Box::new(effects))
}
