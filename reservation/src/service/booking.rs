//! Booking, the terms, changes and cancellation.

use std::net::IpAddr;

use slotcast_core::{
    time::WallTime,
    words::{ChannelNumber, OpenLevel, Window},
};

use super::{
    Actor, Answer, Idempotency, Scope, Service,
    budget::one_address,
    counts::count,
    facts::{channel_of, keep, kept, member_of, taken_in, used_in, write},
    members::is_current,
    money::standing_holds,
    random,
    retry::retry,
    views::hex,
};
use crate::{
    domain::{
        effects::{AcceptedTerms, Effects, MailKind},
        member::Member,
        refusal::{Refusal, Thing},
        reservation::{CancelledBy, ProgramDetails, ProgramPassword, Reservation, State},
        rules::{self, BookingFacts, Draft},
        words::{Email, ReservationNumber},
    },
    limits::{DAY, DAY_BUDGET_WAIT, FRIEND_MAILS_PER_DAY, ID_MAILS_PER_DAY},
    store::{MailCount, Tx},
};

/// What a member changes of a program; `None`: stays. A program that becomes public loses its password by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProgramEdit {
    /// 1 to 80 characters.
    pub title: Option<String>,
    /// 0 to 40 characters.
    pub genre: Option<String>,
    /// 0 to 20 characters.
    pub outline: Option<String>,
    /// 0 to 200 characters.
    pub details: Option<String>,
    /// Who may watch.
    pub open_level: Option<OpenLevel>,
    /// The viewers' password.
    pub password: Option<ProgramPassword>,
    /// Whether the program's page shows the member's e-mail address.
    pub show_email: Option<bool>,
    /// Whether it shows the member's web address.
    pub show_web: Option<bool>,
    /// All friends.
    pub friends: Option<Vec<Email>>,
}

impl Service {
    /// Refuses (`TermsChanged`) where the terms that a member has read are not those that would be accepted.
    ///
    /// - `read`: SHA-256 of what was read, in hexadecimal.
    pub fn check_terms(&self, read: &str) -> Result<(), Refusal> {
        if read.eq_ignore_ascii_case(&hex(&self.terms_hash())) { Ok(()) } else { Err(Refusal::TermsChanged) }
    }

    /// Takes the window's slots until the terms are accepted.
    ///
    /// Refused: `NotPremium`, `NoPaymentMethod`, `Invalid`, `NotOnSlots`, `TooLong`, `InThePast`, `TooFarAhead`,
    /// `SlotTaken`, `MonthLimit`, `ChannelRetired`, `NotFound("channel")`, `KeyReused`, `TooMany`.
    pub async fn book(
        &self,
        actor: &Actor,
        draft: Draft,
        idempotency: Option<Idempotency>,
        client: IpAddr,
    ) -> Answer<Reservation> {
        actor.need(Scope::Book)?;
        let mono = (self.0.clock)().mono;
        self.0.tries.book_address.take(&one_address(client), mono)?;
        self.0.tries.book_member.take(&actor.member, mono)?;
        let number = ReservationNumber::from_random(random::bits()?);
        let booked = retry(|| {
            let draft = draft.clone();
            self.book_once(actor, draft, number, idempotency.as_ref(), Sale::Private)
        })
        .await?;
        count(&self.0.counts.bookings);
        self.committed();
        Ok(booked)
    }

    /// One booking in one transaction.
    pub(super) async fn book_once(
        &self,
        actor: &Actor,
        draft: Draft,
        number: ReservationNumber,
        idempotency: Option<&Idempotency>,
        sale: Sale,
    ) -> Answer<Reservation> {
        let (now, rules) = (self.now(), self.rules());
        let mut tx = self.0.store.begin().await?;
        // First of all: the same request at the same moment waits here, and finds what the other one made.
        let member = tx.lock_member(actor.member).await?.ok_or(Refusal::NotLoggedIn)?;
        if let Some(made) = kept(tx.as_mut(), actor, idempotency).await? {
            return Ok(made);
        }
        // The number is this request's own: a try before, whose commit's answer was lost, made it.
        if let Some(made) = tx.reservation(number).await? {
            return Ok(made);
        }
        let (channel, window) = (draft.channel, draft.window);
        let slots = rules.slots(window)?;
        self.free_overdue(tx.as_mut(), channel, window, now).await?;
        let sold = channel_of(tx.as_mut(), channel).await?;
        let used = used_in(tx.as_mut(), member.number, &slots, rules).await?;
        let taken = taken_in(tx.as_mut(), channel, window).await?;
        let member = self.payer(member);
        let facts = BookingFacts { member: &member, channel: &sold, used: &used, taken: &taken };
        let effects = match sale {
            Sale::Private => rules::book(facts, draft, number, rules, now)?,
            Sale::Special => {
                let id_hash = self.0.vault.reservation_id(number, 1).hash();
                rules::book_special(facts, draft, number, id_hash, rules, now)?
            }
        };
        write(tx.as_mut(), &effects).await?;
        keep(tx.as_mut(), actor, idempotency, number, now).await?;
        tx.commit().await?;
        Ok(effects.reservation)
    }

    /// Cancels reservations whose time has run out and that hold slots of the window, in the same transaction: nobody
    /// is refused for one that should not be there any more.
    pub(super) async fn free_overdue(
        &self,
        tx: &mut dyn Tx,
        channel: ChannelNumber,
        window: Window,
        now: WallTime,
    ) -> Answer<()> {
        let mut holders: Vec<_> = tx
            .taken_slots(channel, window.start(), window.end())
            .await?
            .into_iter()
            .map(|slot| slot.reservation)
            .collect();
        holders.dedup();
        for holder in holders {
            let Some(seen) = tx.reservation(holder).await? else { continue };
            if self.overdue(tx, &seen, now).await?.is_none() {
                continue;
            }
            let Some(locked) = tx.lock_reservation(holder).await? else { continue };
            if let Some(effects) = self.overdue(tx, &locked, now).await? {
                tx.write(&effects).await?;
            }
        }
        Ok(())
    }

    /// What becomes of a reservation that was not accepted or reconfirmed in time; `None`: it was, or may still be.
    pub(super) async fn overdue(
        &self,
        tx: &mut dyn Tx,
        reservation: &Reservation,
        now: WallTime,
    ) -> Answer<Option<Effects>> {
        if let Some(effects) = rules::expire_hold(reservation, now) {
            return Ok(Some(effects));
        }
        if reservation.state != State::Registered || now < reservation.reconfirm_until {
            return Ok(None);
        }
        let member = member_of(tx, reservation).await?;
        Ok(rules::expire_reconfirmation(&member, reservation, now))
    }

    /// The member accepts the terms; the reservation ID goes out by mail. Done already: the reservation as it is.
    pub async fn accept_terms(&self, actor: &Actor, number: ReservationNumber) -> Answer<Reservation> {
        actor.need(Scope::Book)?;
        let accept = |member: &Member, held: &Reservation, now| {
            // Nobody agrees for somebody else.
            if held.member != actor.member {
                return Err(Refusal::NotFound(Thing::Reservation));
            }
            if held.state == State::Registered {
                return Ok(None);
            }
            let id_hash = self.0.vault.reservation_id(number, 1).hash();
            let mut effects = rules::accept_terms(member, held, id_hash, self.rules(), now)?;
            let text = self.0.settings.terms.as_str().into();
            effects.terms = Some(AcceptedTerms { hash: self.terms_hash(), text, at: now });
            Ok(Some(effects))
        };
        self.decide(actor, number, None, &accept).await
    }

    /// A lost reservation ID is replaced by a new one, which is mailed.
    pub async fn reissue_id(&self, actor: &Actor, number: ReservationNumber) -> Answer<Reservation> {
        actor.need(Scope::Book)?;
        let found = actor.own(self.0.store.read().await?.reservation(number).await?)?;
        let issue = found.id_issue.saturating_add(1);
        let reissue = |member: &Member, reservation: &Reservation, now| {
            // A try before, whose commit's answer was lost, made it; or another request at the same moment.
            if reservation.id_issue >= issue {
                return Ok(None);
            }
            let id_hash = self.0.vault.reservation_id(number, issue).hash();
            rules::reissue_id(member, reservation, id_hash, now).map(Some)
        };
        self.decide(actor, number, None, &reissue).await
    }

    /// Changes the program. `version`: what was read (`If-Match`), else `Stale`.
    pub async fn change(
        &self,
        actor: &Actor,
        number: ReservationNumber,
        version: Option<i64>,
        edit: ProgramEdit,
    ) -> Answer<Reservation> {
        actor.need(Scope::Book)?;
        let change = |member: &Member, reservation: &Reservation, now| {
            let program = edit.applied(&reservation.program);
            if program == reservation.program {
                return Ok(None);
            }
            rules::change(member, reservation, program, self.rules(), now).map(Some)
        };
        self.decide(actor, number, version, &change).await
    }

    /// Cancels: free before the reconfirmation, charged after it. Done already: the reservation as it is. An operator who
    /// cancels somebody else's does so as operator.
    pub async fn cancel(
        &self,
        actor: &Actor,
        number: ReservationNumber,
        version: Option<i64>,
    ) -> Answer<Reservation> {
        actor.need(Scope::Book)?;
        // How long the server ran normally must be known before money is decided.
        retry(|| self.flush_observed()).await?;
        let cancelled = retry(|| self.cancel_once(actor, number, version, false)).await?;
        self.committed();
        Ok(cancelled)
    }

    pub(super) async fn cancel_once(
        &self,
        actor: &Actor,
        number: ReservationNumber,
        version: Option<i64>,
        by_operator: bool,
    ) -> Answer<Reservation> {
        let now = self.now();
        let mut tx = self.0.store.begin().await?;
        let found = actor.own(tx.lock_reservation(number).await?)?;
        // An operator who cancels somebody else's never makes that one pay.
        let by_operator = by_operator || found.member != actor.member;
        let by = if by_operator { CancelledBy::Operator } else { CancelledBy::Member };
        if found.state == State::Cancelled(by) {
            return Ok(found);
        }
        is_current(version, found.version)?;
        let member = member_of(tx.as_mut(), &found).await?;
        let holds = standing_holds(&tx.payments_of(number).await?);
        let effects = match self.overdue(tx.as_mut(), &found, now).await? {
            Some(effects) => effects,
            None => {
                let normal_ms = tx.run(number).await?.normal_ms;
                rules::cancel(&member, &found, by_operator, &holds, normal_ms, self.rules(), now)?
            }
        };
        write(tx.as_mut(), &effects).await?;
        tx.commit().await?;
        Ok(effects.reservation)
    }

    /// Ends the program now; it is charged in full. One that an operator ends is cancelled, and its member pays nothing.
    pub async fn end_early(&self, actor: &Actor, number: ReservationNumber) -> Answer<Reservation> {
        actor.need(Scope::Broadcast)?;
        let found = actor.own(self.0.store.read().await?.reservation(number).await?)?;
        if found.member != actor.member {
            rules::end_early(&found, self.now())?;
            let cancelled = retry(|| self.cancel_once(actor, number, None, true)).await?;
            self.committed();
            return Ok(cancelled);
        }
        let end = |_: &Member, reservation: &Reservation, now| {
            let was_ended = reservation.over_at.is_some_and(|over_at| over_at < reservation.window.end());
            match reservation.state {
                State::Finished(_) if was_ended => Ok(None),
                _ => rules::end_early(reservation, now).map(Some),
            }
        };
        self.decide(actor, number, None, &end).await
    }

    /// One command about one reservation of the actor's: lock, decide, write, commit.
    ///
    /// - `rule`: `Ok(None)`: it is as it should be already.
    async fn decide(
        &self,
        actor: &Actor,
        number: ReservationNumber,
        version: Option<i64>,
        rule: &Rule<'_>,
    ) -> Answer<Reservation> {
        let decided = retry(|| self.decide_once(actor, number, version, rule)).await?;
        self.committed();
        Ok(decided)
    }

    async fn decide_once(
        &self,
        actor: &Actor,
        number: ReservationNumber,
        version: Option<i64>,
        rule: &Rule<'_>,
    ) -> Answer<Reservation> {
        let now = self.now();
        let mut tx = self.0.store.begin().await?;
        let found = actor.own(tx.lock_reservation(number).await?)?;
        let member = member_of(tx.as_mut(), &found).await?;
        let decided = rule(&member, &found, now);
        if decided == Ok(None) {
            return Ok(found);
        }
        is_current(version, found.version)?;
        let Some(effects) = decided? else { return Ok(found) };
        spend_mails(tx.as_mut(), &effects, now).await?;
        write(tx.as_mut(), &effects).await?;
        tx.commit().await?;
        Ok(effects.reservation)
    }
}

/// Takes the mails that a member causes at will from the day's budgets, which the outbox itself keeps: those to friends,
/// and those with a reservation ID again. Refused: `TooMany`.
async fn spend_mails(tx: &mut dyn Tx, effects: &Effects, now: WallTime) -> Answer<()> {
    let (member, since) = (effects.reservation.member, now.saturating_sub(DAY));
    let to_friends = effects.mails.iter().filter(|mail| mail.is_to_friend()).count() as u32;
    // The first one is no wish of its own: the terms were accepted.
    let is_again = |kind| kind == MailKind::ReservationId && effects.reservation.id_issue > 1;
    let ids = effects.mails.iter().filter(|mail| is_again(mail.kind)).count() as u32;
    for (asked, count, most) in [
        (to_friends, MailCount::ToFriendsOf(member), FRIEND_MAILS_PER_DAY),
        (ids, MailCount::IdsOf(member), ID_MAILS_PER_DAY),
    ] {
        if asked > 0 && tx.mails_since(count, since).await?.saturating_add(asked) > most {
            return Err(Refusal::TooMany { retry_after: DAY_BUDGET_WAIT.as_secs() }.into());
        }
    }
    Ok(())
}

/// What one command decides.
type Rule<'a> =
    dyn Fn(&Member, &Reservation, WallTime) -> Result<Option<Effects>, Refusal> + Send + Sync + 'a;

/// Whose kind of program is booked.
#[derive(Clone, Copy)]
pub(super) enum Sale {
    Private,
    Special,
}

impl ProgramEdit {
    fn applied(&self, program: &ProgramDetails) -> ProgramDetails {
        let text = |new: &Option<String>, old: &String| new.as_ref().unwrap_or(old).clone();
        let open_level = self.open_level.unwrap_or(program.open_level);
        let password = match (&self.password, open_level) {
            (Some(password), _) => Some(password.clone()),
            (None, OpenLevel::Public) => None,
            (None, _) => program.password.clone(),
        };
        ProgramDetails {
            title: text(&self.title, &program.title),
            genre: text(&self.genre, &program.genre),
            outline: text(&self.outline, &program.outline),
            details: text(&self.details, &program.details),
            open_level,
            password,
            show_email: self.show_email.unwrap_or(program.show_email),
            show_web: self.show_web.unwrap_or(program.show_web),
            friends: self.friends.as_ref().unwrap_or(&program.friends).clone(),
        }
    }
}
