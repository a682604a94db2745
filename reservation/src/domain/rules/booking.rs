//! Booking, the terms, the reconfirmation, and what comes by itself when they do not.

use slotcast_core::{
    time::WallTime,
    words::{ChannelNumber, Toll, Window},
};

use super::{
    Rules,
    mails::{self, to_member},
    payments::{authorised, released},
    program::check_program,
    running::ran_normally,
    slots,
};
use crate::domain::{
    effects::{Effects, MailKind, PaymentKind, PaymentRequest, SlotChange},
    event::EventKind,
    member::{Member, MemberKind},
    refusal::{Command, Refusal},
    reservation::{
        CancelledBy, ProgramDetails, ProgramKind, Reservation, ReservationIdHash, SoldChannel, State,
    },
    words::{Amount, ReservationNumber},
};

/// What a member wants to book.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// On which channel.
    pub channel: ChannelNumber,
    /// Whole slots.
    pub window: Window,
    /// What is broadcast.
    pub program: ProgramDetails,
}

/// What must be known to decide on a booking.
#[derive(Clone, Copy, Debug)]
pub struct BookingFacts<'a> {
    /// Who books.
    pub member: &'a Member,
    /// The channel of the draft.
    pub channel: &'a SoldChannel,
    /// For each month of [`Rules::months`]: slots that the member holds already.
    pub used: &'a [u32],
    /// Slots of the window that are taken.
    pub taken: &'a [WallTime],
}

/// Takes the slots for a member until the terms are accepted.
pub fn book(
    facts: BookingFacts<'_>,
    draft: Draft,
    number: ReservationNumber,
    rules: &Rules,
    now: WallTime,
) -> Result<Effects, Refusal> {
    may_book(facts.member, rules)?;
    check_program(&draft.program, rules.friends_max)?;
    let slots = check_window(facts, draft.window, rules, now)?;
    check_month(facts.used, &slots, rules)?;
    let reservation = fresh(facts, draft, number, rules, now);
    Rules::quote(slots.len() as u32, reservation.toll)?;
    let booked = Effects { slots: SlotChange::Take(slots), ..Effects::of(reservation) };
    Ok(booked.told(EventKind::Booked, now))
}

/// The operator's own program: confirmed at once, without toll, limit or terms. It has a reservation ID like any other.
pub fn book_special(
    facts: BookingFacts<'_>,
    draft: Draft,
    number: ReservationNumber,
    id_hash: ReservationIdHash,
    rules: &Rules,
    now: WallTime,
) -> Result<Effects, Refusal> {
    if !facts.member.is_operator {
        return Err(Refusal::NotOperator);
    }
    check_program(&draft.program, rules.friends_max)?;
    let slots = check_window(facts, draft.window, rules, now)?;
    let reservation = Reservation {
        kind: ProgramKind::Special,
        toll: Toll(0),
        state: State::Confirmed,
        terms_accepted_at: Some(now),
        confirmed_at: Some(now),
        id_hash: Some(id_hash),
        id_issue: 1,
        ..fresh(facts, draft, number, rules, now)
    };
    let mails = vec![to_member(MailKind::ReservationId, facts.member, &reservation)]
        .into_iter()
        .chain(mails::to_friends(MailKind::Invitation, facts.member, &reservation))
        .collect();
    let booked = Effects { slots: SlotChange::Take(slots), mails, ..Effects::of(reservation) };
    Ok(booked.told(EventKind::Booked, now).told(EventKind::Reconfirmed, now))
}

/// The member accepts the terms: the reservation ID, of which `id_hash` is kept, goes out.
pub fn accept_terms(
    member: &Member,
    reservation: &Reservation,
    id_hash: ReservationIdHash,
    rules: &Rules,
    now: WallTime,
) -> Result<Effects, Refusal> {
    match reservation.state {
        State::Held if now < reservation.hold_until => {}
        State::Held | State::Cancelled(CancelledBy::TermsNotAccepted) => {
            return Err(Refusal::HoldExpired { until: reservation.hold_until });
        }
        _ => return Err(reservation.refuses(Command::AcceptTerms)),
    }
    let window = reservation.window;
    let by_notice = window.start().saturating_sub(rules.reconfirm_before);
    let by_grace = now.saturating_add(rules.reconfirm_grace);
    let reconfirm_until = by_notice.max(by_grace).min(window.end());
    let after = Reservation {
        state: State::Registered,
        terms_accepted_at: Some(now),
        reconfirm_until,
        // Where it is due soon, the mail with the reservation ID says so; a second one beside it helps nobody.
        is_reminded: reconfirm_until.saturating_sub(rules.remind_before) <= now,
        id_hash: Some(id_hash),
        id_issue: 1,
        ..reservation.next()
    };
    let mails = vec![to_member(MailKind::ReservationId, member, &after)];
    Ok(Effects { mails, ..Effects::of(after) })
}

/// A lost reservation ID is replaced: the old one opens nothing any more. `id_hash` is that of the next issue.
pub fn reissue_id(
    member: &Member,
    reservation: &Reservation,
    id_hash: ReservationIdHash,
    now: WallTime,
) -> Result<Effects, Refusal> {
    let is_open = matches!(reservation.state, State::Registered | State::Confirmed | State::OnAir);
    if !is_open || reservation.window.end() <= now {
        return Err(reservation.refuses(Command::ReissueId));
    }
    let after = Reservation {
        id_hash: Some(id_hash),
        id_issue: reservation.id_issue.saturating_add(1),
        ..reservation.next()
    };
    let mails = vec![to_member(MailKind::ReservationId, member, &after)];
    Ok(Effects { mails, ..Effects::of(after) })
}

/// Whether the member may reconfirm now, and the amount that must be authorised first; `None`: nothing to pay.
///
/// - `is_right_id`: whether what was typed is the reservation ID.
/// - `attempt`: from 1; one more after each decline, since the provider remembers answers by the key.
pub fn may_reconfirm(
    member: &Member,
    reservation: &Reservation,
    is_right_id: bool,
    attempt: u32,
    rules: &Rules,
    now: WallTime,
) -> Result<Option<PaymentRequest>, Refusal> {
    match reservation.state {
        State::Registered if now < reservation.reconfirm_until => {}
        State::Registered | State::Cancelled(CancelledBy::NotReconfirmed) => {
            return Err(Refusal::ReconfirmationLate { until: reservation.reconfirm_until });
        }
        _ => return Err(reservation.refuses(Command::Reconfirm)),
    }
    if !is_right_id {
        return Err(Refusal::WrongReservationId);
    }
    let amount = total(reservation, rules);
    if amount == Amount::ZERO {
        return Ok(None);
    }
    if member.card.is_none() {
        return Err(Refusal::NoPaymentMethod);
    }
    let (number, member) = (reservation.number, member.number);
    let key = format!("authorise-{number}-{attempt}");
    Ok(Some(PaymentRequest {
        key,
        kind: PaymentKind::Authorise,
        reservation: number,
        member,
        amount,
        of: None,
        elsewhere: Amount::ZERO,
        reason: None,
        asked_as: None,
    }))
}

/// The amount is authorised: the reservation stands.
///
/// - `authorisation`: what [`may_reconfirm`] asked for.
pub fn reconfirm(
    member: &Member,
    reservation: &Reservation,
    authorisation: Option<&PaymentRequest>,
    now: WallTime,
) -> Effects {
    let after = Reservation { state: State::Confirmed, confirmed_at: Some(now), ..reservation.next() };
    let mails = vec![to_member(MailKind::Confirmed, member, &after)]
        .into_iter()
        .chain(mails::to_friends(MailKind::Invitation, member, &after))
        .collect();
    let ledger = authorisation.map(|request| authorised(request, now)).into_iter().collect();
    Effects { mails, ledger, ..Effects::of(after) }.told(EventKind::Reconfirmed, now)
}

/// The terms were not accepted in time. `None`: not so, or not yet.
pub fn expire_hold(reservation: &Reservation, now: WallTime) -> Option<Effects> {
    let is_due = reservation.state == State::Held && reservation.hold_until <= now;
    is_due.then(|| cancelled(reservation, CancelledBy::TermsNotAccepted, now))
}

/// Nobody reconfirmed in time: the slots are free. `None`: not so, or not yet.
pub fn expire_reconfirmation(member: &Member, reservation: &Reservation, now: WallTime) -> Option<Effects> {
    let is_due = reservation.state == State::Registered && reservation.reconfirm_until <= now;
    is_due.then(|| {
        let mut effects = cancelled(reservation, CancelledBy::NotReconfirmed, now);
        effects.mails.push(to_member(MailKind::Cancelled, member, &effects.reservation));
        effects
    })
}

/// The server was away from `since` until now: what ran out meanwhile, or would before there is time to act, moves on by
/// as long, and is reminded of once more. `None`: nothing of that kind.
pub fn excuse(reservation: &Reservation, since: WallTime, rules: &Rules, now: WallTime) -> Option<Effects> {
    let (until, time_to_act) = match reservation.state {
        State::Held => (reservation.hold_until, rules.hold),
        State::Registered => (reservation.reconfirm_until, rules.reconfirm_grace),
        _ => return None,
    };
    let by_grace = now.saturating_add(time_to_act);
    let moved = until.saturating_add(now.since(since)).max(by_grace).min(reservation.window.end());
    let is_hit = since < until && until < by_grace && until < moved && now < moved;
    is_hit.then(|| {
        let after = reservation.next();
        Effects::of(match after.state {
            State::Held => Reservation { hold_until: moved, ..after },
            _ => Reservation { reconfirm_until: moved, is_reminded: false, ..after },
        })
    })
}

/// Reminds of the reconfirmation, once. `None`: not due.
pub fn remind(member: &Member, reservation: &Reservation, rules: &Rules, now: WallTime) -> Option<Effects> {
    let from = reservation.reconfirm_until.saturating_sub(rules.remind_before);
    let is_due = reservation.state == State::Registered
        && !reservation.is_reminded
        && from <= now
        && now < reservation.reconfirm_until;
    is_due.then(|| {
        let after = Reservation { is_reminded: true, ..reservation.next() };
        let mut mails = vec![to_member(MailKind::ReconfirmReminder, member, &after)];
        if member.card.is_none() && total(reservation, rules) > Amount::ZERO {
            // Else the member would learn it at the reconfirmation.
            mails.push(to_member(MailKind::CardNeeded, member, &after));
        }
        Effects { mails, ..Effects::of(after) }
    })
}

/// Cancels for the member or the operator.
///
/// Before the reconfirmation it costs nothing. After it, the member owes what was authorised; where the operator
/// cancels, or the server did not run normally since the program began, nobody owes anything.
///
/// - `holds`: the authorisations that stand.
/// - `normal_ms`: how long the server was seen to run normally within the window.
pub fn cancel(
    member: &Member,
    reservation: &Reservation,
    by_operator: bool,
    holds: &[PaymentRequest],
    normal_ms: u64,
    rules: &Rules,
    now: WallTime,
) -> Result<Effects, Refusal> {
    let was = reservation.state;
    let is_open = matches!(was, State::Held | State::Registered | State::Confirmed | State::OnAir);
    if !is_open || reservation.window.end() <= now {
        return Err(reservation.refuses(Command::Cancel));
    }
    let by = if by_operator { CancelledBy::Operator } else { CancelledBy::Member };
    let mut effects = cancelled(reservation, by, now);
    if was != State::Held {
        effects.mails.push(to_member(MailKind::Cancelled, member, &effects.reservation));
    }
    if was.is_accounted() {
        let to_friends: Vec<_> =
            mails::to_friends(MailKind::Cancelled, member, &effects.reservation).collect();
        effects.mails.extend(to_friends);
        let is_charged = !by_operator && ran_normally(reservation, now, normal_ms, rules);
        for hold in holds {
            released(&mut effects, hold, is_charged, now);
        }
    }
    Ok(effects)
}

/// What the whole reservation costs.
pub fn total(reservation: &Reservation, rules: &Rules) -> Amount {
    Rules::quote(rules.length(reservation.window), reservation.toll)
        .map_or_else(|_| slots::largest(), |quote| quote.total)
}

/// Who may reserve at all.
pub fn may_book(member: &Member, rules: &Rules) -> Result<(), Refusal> {
    if member.is_blocked {
        return Err(Refusal::Blocked);
    }
    if rules.verify_email && !member.is_email_verified {
        return Err(Refusal::EmailUnverified);
    }
    match (member.kind, &member.card) {
        (MemberKind::General, _) => Err(Refusal::NotPremium),
        (MemberKind::Premium, None) => Err(Refusal::NoPaymentMethod),
        (MemberKind::Premium, Some(_)) => Ok(()),
    }
}

/// The window's slots, if they can be sold at `now` as far as time goes.
pub fn check_times(window: Window, rules: &Rules, now: WallTime) -> Result<Vec<WallTime>, Refusal> {
    let slots = rules.slots(window)?;
    if window.start().saturating_add(rules.slot) <= now {
        return Err(Refusal::InThePast);
    }
    let until = now.saturating_add(rules.ahead_max);
    if window.end() > until {
        return Err(Refusal::TooFarAhead { until });
    }
    Ok(slots)
}

fn check_window(
    facts: BookingFacts<'_>,
    window: Window,
    rules: &Rules,
    now: WallTime,
) -> Result<Vec<WallTime>, Refusal> {
    let channel = facts.channel.number;
    if facts.channel.is_retired {
        return Err(Refusal::ChannelRetired(channel));
    }
    let slots = check_times(window, rules, now)?;
    if facts.taken.is_empty() {
        Ok(slots)
    } else {
        Err(Refusal::SlotTaken { channel, taken: facts.taken.to_vec() })
    }
}

/// Whether the slots stay within the member's limit.
///
/// - `used`: as in [`BookingFacts`], for the months of `slots`.
pub fn check_month(used: &[u32], slots: &[WallTime], rules: &Rules) -> Result<(), Refusal> {
    for (month, &used) in rules.months(slots).iter().zip(used) {
        if used.saturating_add(month.asked) > rules.month_slots_max {
            let (slots_max, asked) = (rules.month_slots_max, month.asked);
            return Err(Refusal::MonthLimit { slots_max, used, asked });
        }
    }
    Ok(())
}

fn fresh(
    facts: BookingFacts<'_>,
    draft: Draft,
    number: ReservationNumber,
    rules: &Rules,
    now: WallTime,
) -> Reservation {
    let hold_until = now.saturating_add(rules.hold).min(draft.window.end());
    Reservation {
        number,
        member: facts.member.number,
        kind: ProgramKind::Private,
        channel: draft.channel,
        window: draft.window,
        seats: facts.channel.seats,
        class: facts.channel.class,
        toll: facts.channel.toll,
        state: State::Held,
        program: draft.program,
        booked_at: now,
        hold_until,
        reconfirm_until: hold_until,
        terms_accepted_at: None,
        confirmed_at: None,
        over_at: None,
        id_hash: None,
        id_issue: 0,
        is_reminded: false,
        calendar_sequence: 0,
        version: 1,
    }
}

pub(super) fn cancelled(reservation: &Reservation, by: CancelledBy, now: WallTime) -> Effects {
    let after = Reservation {
        state: State::Cancelled(by),
        over_at: Some(now),
        calendar_sequence: reservation.calendar_sequence.saturating_add(1),
        ..reservation.next()
    };
    let start = reservation.window.start();
    // Where nobody reconfirmed, nothing was broadcast: all is free, the slot that runs as well. After it, a slot that
    // has begun stays used.
    let free_from = if reservation.state.is_accounted() { now.max(start) } else { start };
    let effects = Effects { slots: SlotChange::FreeFrom(free_from), ..Effects::of(after) };
    effects.told(EventKind::Cancelled, now)
}
