//! The program itself: its start, its extension, its end, and whether it is charged.

use slotcast_core::{
    time::WallTime,
    words::{ChannelNumber, Window},
};

use super::{
    Rules,
    mails::{to_friends, to_member},
    payments::{authorised, released},
};
use crate::domain::{
    effects::{Effects, MailKind, PaymentKind, PaymentRequest, SlotChange},
    event::EventKind,
    member::Member,
    refusal::{Command, Refusal},
    reservation::{Reservation, Settlement, State},
    words::Amount,
};

/// A confirmed program's window has begun. `None`: not so.
pub fn start(reservation: &Reservation, now: WallTime) -> Option<Effects> {
    let is_due = reservation.state == State::Confirmed && reservation.window.contains(now);
    is_due.then(|| {
        let after = Reservation { state: State::OnAir, ..reservation.next() };
        Effects::of(after).told(EventKind::Started, now)
    })
}

/// The window is over. `None`: not so.
pub fn end(reservation: &Reservation, now: WallTime) -> Option<Effects> {
    let was_on = matches!(reservation.state, State::Confirmed | State::OnAir);
    let over_at = reservation.window.end();
    (was_on && over_at <= now).then(|| finished(reservation, over_at))
}

/// The broadcaster ends before the window does. It is charged in full; viewers are cut at once.
pub fn end_early(reservation: &Reservation, now: WallTime) -> Result<Effects, Refusal> {
    let is_on = matches!(reservation.state, State::Confirmed | State::OnAir);
    if !is_on || !reservation.window.contains(now) {
        return Err(reservation.refuses(Command::End));
    }
    Ok(finished(reservation, now))
}

fn finished(reservation: &Reservation, over_at: WallTime) -> Effects {
    let state = State::Finished(Settlement::Open);
    let after = Reservation { state, over_at: Some(over_at), ..reservation.next() };
    Effects::of(after).told(EventKind::Ended, over_at)
}

/// An extension that may be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension {
    /// The starts of the slots that are added.
    pub slots: Vec<WallTime>,
    /// The window with them.
    pub window: Window,
    /// What must be authorised first; `None`: nothing to pay.
    pub authorisation: Option<PaymentRequest>,
}

/// Whether the window may be made longer by `slots` now.
///
/// - `taken`: slots from the window's end on that are taken.
/// - `attempt`: as for the reconfirmation.
pub fn may_extend(
    member: &Member,
    reservation: &Reservation,
    slots: u32,
    taken: &[WallTime],
    attempt: u32,
    rules: &Rules,
    now: WallTime,
) -> Result<Extension, Refusal> {
    let old = reservation.window;
    let is_on = matches!(reservation.state, State::Confirmed | State::OnAir);
    if !is_on || old.end() <= now {
        return Err(reservation.refuses(Command::Extend));
    }
    let from = old.end().saturating_sub(rules.extend_from);
    if now < from {
        return Err(Refusal::ExtensionEarly { from });
    }
    if slots == 0 {
        return Err(Refusal::NotOnSlots { slot_seconds: rules.slot.as_secs() });
    }
    let too_long = Refusal::TooLong { slots_max: rules.slots_max };
    if slots > rules.slots_max {
        return Err(too_long);
    }
    let end = old.end().saturating_add(rules.slot.saturating_mul(slots));
    let window = Window::new(old.start(), end).map_err(|_| too_long.clone())?;
    let added = Window::new(old.end(), end).map_err(|_| too_long)?;
    rules.slots(window)?;
    let added = rules.slots(added)?;
    let taken = taken_of(&added, taken);
    if !taken.is_empty() {
        let channel: ChannelNumber = reservation.channel;
        return Err(Refusal::SlotTaken { channel, taken });
    }
    let amount = Rules::quote(slots, reservation.toll)?.total;
    if amount > Amount::ZERO && member.card.is_none() {
        return Err(Refusal::NoPaymentMethod);
    }
    let (number, member) = (reservation.number, member.number);
    let key = format!("authorise-{number}-until-{}-{attempt}", end.as_micros() / 1_000_000);
    let authorisation = (amount > Amount::ZERO).then_some(PaymentRequest {
        key,
        kind: PaymentKind::Authorise,
        reservation: number,
        member,
        amount,
        of: None,
        elsewhere: Amount::ZERO,
        reason: None,
        asked_as: None,
    });
    Ok(Extension { slots: added, window, authorisation })
}

fn taken_of(slots: &[WallTime], taken: &[WallTime]) -> Vec<WallTime> {
    slots.iter().copied().filter(|slot| taken.contains(slot)).collect()
}

/// The amount is authorised: the window is longer.
pub fn extend(member: &Member, reservation: &Reservation, extension: Extension, now: WallTime) -> Effects {
    let after = Reservation {
        window: extension.window,
        calendar_sequence: reservation.calendar_sequence.saturating_add(1),
        ..reservation.next()
    };
    let mails = vec![to_member(MailKind::Extended, member, &after)];
    let ledger = extension.authorisation.iter().map(|request| authorised(request, now)).collect();
    let slots = SlotChange::Take(extension.slots);
    let mut effects = Effects { mails, ledger, slots, ..Effects::of(after) };
    let to_friends: Vec<_> = to_friends(MailKind::Extended, member, &effects.reservation).collect();
    effects.mails.extend(to_friends);
    effects
}

/// The server is looked at once a second: what lies between the confirmation or the end and the nearest look is not seen,
/// and is not held against it. A program that was ended after seconds would be free otherwise.
const UNSEEN_MS: u128 = 2_000;

/// Decides on the money after the end: charged where the server ran normally, else waived. `None`: not over, or
/// decided already.
///
/// - `normal_ms`: how long the server was seen to run normally within the window.
/// - `holds`: the authorisations that stand.
pub fn settle(
    member: &Member,
    reservation: &Reservation,
    normal_ms: u64,
    holds: &[PaymentRequest],
    rules: &Rules,
    now: WallTime,
) -> Option<Effects> {
    if reservation.state != State::Finished(Settlement::Open) {
        return None;
    }
    let over_at = reservation.over_at.unwrap_or_else(|| reservation.window.end());
    let is_normal = ran_normally(reservation, over_at, normal_ms, rules);
    let settlement = if is_normal { Settlement::Charged } else { Settlement::Waived };
    let after = Reservation { state: State::Finished(settlement), ..reservation.next() };
    let mut effects = Effects::of(after);
    effects.mails.push(to_member(MailKind::Settled, member, &effects.reservation));
    for hold in holds {
        released(&mut effects, hold, is_normal, now);
    }
    Some(effects)
}

/// Whether the server ran normally from when the program could begin until `over_at`. Nothing of it has passed: it did.
pub(super) fn ran_normally(
    reservation: &Reservation,
    over_at: WallTime,
    normal_ms: u64,
    rules: &Rules,
) -> bool {
    let window = reservation.window;
    // Before a late confirmation nobody could have sent: that time is not the server's.
    let from = reservation.confirmed_at.unwrap_or_else(|| window.start()).max(window.start());
    let span_ms = over_at.min(window.end()).since(from).as_millis();
    let seen_ms = u128::from(normal_ms) + UNSEEN_MS;
    seen_ms * 1000 >= span_ms * u128::from(rules.normal_share_min)
}
