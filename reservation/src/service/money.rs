//! What costs money inside a request: reconfirmation and extension.
//!
//! Invariant: the row is written before the provider is asked and settled in the transaction that needs the money, so a
//! crash at any point leaves a row by which the outbox asks again and lets go; a hold stands for one effect or none.

use slotcast_core::{time::WallTime, words::Window};
use tokio::time::timeout;

use super::{
    Actor, Answer, Idempotency, Scope, Service, ServiceError,
    counts::count,
    facts::{keep, kept, member_of, taken_in, used_in, write},
    members::terminal_key,
    random,
    retry::retry,
};
use crate::{
    domain::{
        effects::{Effects, PaymentKind, PaymentRequest},
        member::Member,
        refusal::Refusal,
        reservation::{ProgramKind, Reservation, State},
        rules,
        words::{Amount, ReservationNumber},
    },
    limits::{AUTHORISE_ORPHANED_AFTER, PAYMENT_WAIT_MAX, QUESTION_WAIT_MAX},
    payments::{Charge, Moved, PaymentError},
    store::{Payment, PaymentState, Tx},
    vault::{ReservationId, same_hash},
};

/// What a member asks that costs money.
#[derive(Clone)]
enum Purchase {
    Reconfirm { typed: Option<ReservationId>, terminal_key: Option<String> },
    Extend { slots: u32, idempotency: Option<Idempotency> },
}

/// How far one transaction came.
enum Step {
    /// The provider must be asked for this first.
    Ask(Box<Asked>),
    /// Nothing is left to do.
    Done(Box<Reservation>),
}

/// What the provider is asked for.
struct Asked {
    request: PaymentRequest,
    member: Member,
    /// The question that it led to before.
    begun: Option<String>,
}

/// What a rule decided about a purchase.
enum Decided {
    Already,
    Now { authorisation: Option<PaymentRequest>, make: Box<dyn FnOnce(WallTime) -> Effects + Send> },
}

impl Service {
    /// The member's second yes: the amount is authorised, the program will be. Repeated after it was done, with the
    /// right ID: the reservation as it is.
    ///
    /// - `typed_id`: the reservation ID as it was typed.
    /// - `terminal_key`: an age recipient to which settings files are encrypted from now on.
    ///
    /// Refused: `WrongReservationId`, `ReconfirmationLate`, `PaymentDeclined`, `PaymentUnavailable` (nothing was
    /// charged; ask again), `NoPaymentMethod`, `WrongState`, `TooMany` (wrong IDs).
    pub async fn reconfirm(
        &self,
        actor: &Actor,
        number: ReservationNumber,
        typed_id: &str,
        terminal_key_text: Option<String>,
    ) -> Answer<Reservation> {
        actor.need(Scope::Book)?;
        self.0.tries.wrong_id.check(&actor.member, (self.0.clock)().mono)?;
        let terminal_key = terminal_key_text
            .map(|text| terminal_key(&text))
            .transpose()
            .map_err(|problem| Refusal::Invalid(vec![problem]))?;
        let typed = ReservationId::from_typed(typed_id);
        let purchase = Purchase::Reconfirm { typed, terminal_key };
        let confirmed = self.buy(actor, number, purchase).await;
        self.spend_wrong_id(actor, &confirmed);
        confirmed
    }

    /// A wrong reservation ID takes one of the member's tries.
    pub(super) fn spend_wrong_id<T>(&self, actor: &Actor, answer: &Answer<T>) {
        if matches!(answer, Err(ServiceError::Refused(Refusal::WrongReservationId))) {
            // None was left: the next is refused before its ID is looked at.
            let _ = self.0.tries.wrong_id.take(&actor.member, (self.0.clock)().mono);
        }
    }

    /// Makes the window longer by `slots`.
    ///
    /// Refused: `ExtensionEarly`, `SlotTaken`, `TooLong`, `MonthLimit`, `PaymentDeclined`, `PaymentUnavailable`, `WrongState`.
    pub async fn extend(
        &self,
        actor: &Actor,
        number: ReservationNumber,
        slots: u32,
        idempotency: Option<Idempotency>,
    ) -> Answer<Reservation> {
        actor.need(Scope::Broadcast)?;
        // A commit may stand although its answer was lost: the next try must find that. No asker's key has a space.
        let idempotency = match idempotency {
            Some(asked) => asked,
            None => Idempotency { key: format!("extend {}", random::token()?), request_hash: [0; 32] },
        };
        self.buy(actor, number, Purchase::Extend { slots, idempotency: Some(idempotency) }).await
    }

    /// Goes on when whoever asked has left: what was begun at the provider is ended here.
    async fn buy(&self, actor: &Actor, number: ReservationNumber, purchase: Purchase) -> Answer<Reservation> {
        let (service, actor) = (self.clone(), *actor);
        let work = tokio::spawn(async move { service.buy_to_the_end(actor, number, purchase).await });
        work.await.map_err(|error| ServiceError::Internal(format!("a purchase ended: {error}")))?
    }

    async fn buy_to_the_end(
        self,
        actor: Actor,
        number: ReservationNumber,
        purchase: Purchase,
    ) -> Answer<Reservation> {
        let first = retry(|| self.begin_purchase(&actor, number, &purchase)).await?;
        let asked = match first {
            Step::Done(reservation) => {
                self.committed();
                return Ok(*reservation);
            }
            Step::Ask(asked) => asked,
        };
        let moved = self.authorise(&asked).await;
        let bought = match moved {
            Ok(moved) => {
                retry(|| self.finish_purchase(&actor, number, &purchase, &asked.request, &moved)).await
            }
            Err(PaymentError::Declined(reason)) => {
                retry(|| self.note_decline(&asked.request, &reason)).await?;
                Err(Refusal::PaymentDeclined { reason }.into())
            }
            Err(PaymentError::Asks(question)) => {
                retry(|| self.note_question(&asked.request, &question.reference)).await?;
                Err(Refusal::CardQuestion(question).into())
            }
            Err(error) => {
                tracing::warn!(reservation = %number, %error, "an amount could not be authorised");
                Err(Refusal::PaymentUnavailable.into())
            }
        };
        self.committed();
        bought
    }

    async fn authorise(&self, asked: &Asked) -> Result<Moved, PaymentError> {
        let begun = asked.begun.clone();
        let charge = Charge { is_present: true, begun, ..self.charge(&asked.request, &asked.member)? };
        in_time(self.0.payments.authorise(&charge)).await
    }

    /// The member as who pays: without a card that the provider does not know, since members were billed before, or
    /// paid over another provider.
    pub(super) fn payer(&self, member: Member) -> Member {
        let card = member.card.filter(|card| self.0.payments.knows(card));
        Member { card, ..member }
    }

    /// A request as the provider is asked for it, without the member.
    pub(super) fn charge(&self, request: &PaymentRequest, member: &Member) -> Result<Charge, PaymentError> {
        let card = self.payer(member.clone()).card;
        Ok(Charge {
            key: request.key.clone(),
            reservation: request.reservation,
            member: request.member,
            card: card.ok_or_else(|| PaymentError::Declined("no card is registered".to_owned()))?,
            amount: request.amount,
            currency: self.rules().currency,
            is_present: false,
            begun: None,
        })
    }

    /// The first transaction: decides, and either needs no money or writes what the provider will be asked for.
    async fn begin_purchase(
        &self,
        actor: &Actor,
        number: ReservationNumber,
        purchase: &Purchase,
    ) -> Answer<Step> {
        let now = self.now();
        let mut tx = self.0.store.begin().await?;
        let found = actor.paid_by(tx.lock_reservation(number).await?)?;
        if let Purchase::Extend { idempotency, .. } = purchase
            && let Some(made) = kept(tx.as_mut(), actor, idempotency.as_ref()).await?
        {
            return Ok(Step::Done(Box::new(made)));
        }
        let member = self.payer(member_of(tx.as_mut(), &found).await?);
        match self.decide_purchase(tx.as_mut(), &member, &found, purchase, now).await? {
            Decided::Already => Ok(Step::Done(Box::new(found))),
            Decided::Now { authorisation: None, make } => {
                let reservation = self.complete(tx, actor, purchase, make(now), now).await?;
                Ok(Step::Done(Box::new(reservation)))
            }
            Decided::Now { authorisation: Some(request), .. } => {
                let next_at = now.saturating_add(AUTHORISE_ORPHANED_AFTER);
                let row = tx.payment(&request.key).await?;
                let begun = row.as_ref().and_then(|row| row.reference.clone());
                match row.filter(|row| row.state == PaymentState::Waiting) {
                    // The outbox leaves it to the member while the provider is asked.
                    Some(row) => tx.settle_payment(&Payment { next_at, ..row }, &[]).await?,
                    None => tx.add_payment(&request, now, next_at).await?,
                }
                tx.commit().await?;
                Ok(Step::Ask(Box::new(Asked { request, member, begun })))
            }
        }
    }

    /// The second transaction: the hold stands; so does what it is for, or the hold is let go.
    async fn finish_purchase(
        &self,
        actor: &Actor,
        number: ReservationNumber,
        purchase: &Purchase,
        request: &PaymentRequest,
        moved: &Moved,
    ) -> Answer<Reservation> {
        let now = self.now();
        let mut tx = self.0.store.begin().await?;
        let found = actor.own(tx.lock_reservation(number).await?)?;
        let row = tx.payment(&request.key).await?;
        let row = row.ok_or_else(|| ServiceError::Internal("a payment's row is gone".to_owned()))?;
        if row.state != PaymentState::Waiting {
            // Somebody else came to the end with this very hold, or the outbox let it go.
            let released = tx.payment(&rules::release(request).key).await?;
            let stands = row.state == PaymentState::Done && released.is_none();
            return if stands { Ok(found) } else { Err(Refusal::PaymentUnavailable.into()) };
        }
        let member = self.payer(member_of(tx.as_mut(), &found).await?);
        let decided = match self.decide_purchase(tx.as_mut(), &member, &found, purchase, now).await {
            Err(ServiceError::Refused(refusal)) => Err(refusal),
            Err(other) => return Err(other),
            Ok(decided) => Ok(decided),
        };
        let done = Payment {
            state: PaymentState::Done,
            reference: Some(moved.reference.clone()),
            error: None,
            tries: row.tries + 1,
            ..row
        };
        tx.settle_payment(&done, &[]).await?;
        match decided {
            Ok(Decided::Now { authorisation: Some(again), make }) if again.key == request.key => {
                self.complete(tx, actor, purchase, make(now), now).await
            }
            other => {
                tx.add_payment(&rules::release(request), now, now).await?;
                tx.commit().await?;
                match other {
                    Err(refusal) => Err(refusal.into()),
                    Ok(Decided::Already) => Ok(found),
                    Ok(Decided::Now { .. }) => Err(Refusal::PaymentUnavailable.into()),
                }
            }
        }
    }

    /// Writes what was bought, and commits.
    async fn complete(
        &self,
        mut tx: Box<dyn Tx + '_>,
        actor: &Actor,
        purchase: &Purchase,
        effects: Effects,
        now: WallTime,
    ) -> Answer<Reservation> {
        write(tx.as_mut(), &effects).await?;
        let number = effects.reservation.number;
        match purchase {
            Purchase::Reconfirm { terminal_key, .. } => {
                if let Some(key) = terminal_key
                    && let Some(member) = tx.lock_member(effects.reservation.member).await?
                {
                    let (version, terminal_key) = (member.version + 1, Some(key.clone()));
                    tx.put_member(&Member { version, terminal_key, ..member }).await?;
                }
            }
            Purchase::Extend { idempotency, .. } => {
                keep(tx.as_mut(), actor, idempotency.as_ref(), number, now).await?;
            }
        }
        tx.commit().await?;
        if matches!(purchase, Purchase::Reconfirm { .. }) {
            count(&self.0.counts.reconfirmations);
        }
        Ok(effects.reservation)
    }

    async fn decide_purchase(
        &self,
        tx: &mut (dyn Tx + '_),
        member: &Member,
        found: &Reservation,
        purchase: &Purchase,
        now: WallTime,
    ) -> Answer<Decided> {
        let payments = tx.payments_of(found.number).await?;
        match purchase {
            Purchase::Reconfirm { typed, .. } => {
                Ok(self.decide_reconfirmation(member, found, typed.as_ref(), &payments, now)?)
            }
            Purchase::Extend { slots, .. } => {
                let added = self.added(found, *slots)?;
                self.free_overdue(tx, found.channel, added, now).await?;
                let taken = taken_in(tx, found.channel, added).await?;
                let decided = self.decide_extension(member, found, *slots, &taken, &payments, now)?;
                if found.kind == ProgramKind::Private {
                    // Bookings of one member follow one another, and so do extensions.
                    tx.lock_member(member.number).await?;
                    let (rules, starts) = (self.rules(), self.rules().slots(added)?);
                    let used = used_in(tx, member.number, &starts, rules).await?;
                    rules::check_month(&used, &starts, rules)?;
                }
                Ok(decided)
            }
        }
    }

    fn decide_reconfirmation(
        &self,
        member: &Member,
        found: &Reservation,
        typed: Option<&ReservationId>,
        payments: &[Payment],
        now: WallTime,
    ) -> Result<Decided, Refusal> {
        let is_right = is_right_id(found, typed);
        if matches!(found.state, State::Confirmed | State::OnAir) {
            return if is_right { Ok(Decided::Already) } else { Err(Refusal::WrongReservationId) };
        }
        let rules = self.rules();
        let amount = rules::total(found, rules);
        let attempt = attempt(payments, &format!("authorise-{}-", found.number), amount);
        let authorisation = rules::may_reconfirm(member, found, is_right, attempt, rules, now)?;
        let (member, found, request) = (member.clone(), found.clone(), authorisation.clone());
        let make = Box::new(move |now| rules::reconfirm(&member, &found, request.as_ref(), now));
        Ok(Decided::Now { authorisation, make })
    }

    fn decide_extension(
        &self,
        member: &Member,
        found: &Reservation,
        slots: u32,
        taken: &[WallTime],
        payments: &[Payment],
        now: WallTime,
    ) -> Result<Decided, Refusal> {
        let end = self.added(found, slots)?.end();
        let begin = format!("authorise-{}-until-{}-", found.number, end.as_micros() / 1_000_000);
        let amount = rules::Rules::quote(slots, found.toll)?.total;
        let attempt = attempt(payments, &begin, amount);
        let extension = rules::may_extend(member, found, slots, taken, attempt, self.rules(), now)?;
        let authorisation = extension.authorisation.clone();
        let (member, found) = (member.clone(), found.clone());
        let make = Box::new(move |now| rules::extend(&member, &found, extension, now));
        Ok(Decided::Now { authorisation, make })
    }

    /// What an extension would add; at least one slot and at most as many as are sold at once, so that what is looked
    /// at is bounded whatever was asked for. The rule refuses the rest.
    fn added(&self, found: &Reservation, slots: u32) -> Result<Window, Refusal> {
        let rules = self.rules();
        let slots = slots.clamp(1, rules.slots_max.max(1));
        let end = found.window.end();
        Window::new(end, end.saturating_add(rules.slot.saturating_mul(slots)))
            .map_err(|_| Refusal::TooLong { slots_max: rules.slots_max })
    }

    /// The card's company asks the member, who may take a while; then the same request comes again.
    pub(super) async fn note_question(&self, request: &PaymentRequest, reference: &str) -> Answer<()> {
        let next_at = self.now().saturating_add(QUESTION_WAIT_MAX);
        let mut tx = self.0.store.begin().await?;
        tx.lock_reservation(request.reservation).await?;
        let row = tx.payment(&request.key).await?.filter(|row| row.state == PaymentState::Waiting);
        if let Some(row) = row {
            let (reference, tries) = (Some(reference.to_owned()), row.tries + 1);
            tx.settle_payment(&Payment { reference, tries, next_at, ..row }, &[]).await?;
        }
        Ok(tx.commit().await?)
    }

    async fn note_decline(&self, request: &PaymentRequest, reason: &str) -> Answer<()> {
        let mut tx = self.0.store.begin().await?;
        // Locked, so that whoever asked with the same key sees one end of it.
        tx.lock_reservation(request.reservation).await?;
        let row = tx.payment(&request.key).await?.filter(|row| row.state == PaymentState::Waiting);
        if let Some(row) = row {
            let (state, error, tries) = (PaymentState::Declined, Some(reason.to_owned()), row.tries + 1);
            tx.settle_payment(&Payment { state, error, tries, ..row }, &[]).await?;
        }
        Ok(tx.commit().await?)
    }
}

/// Waits for the provider as long as a request may.
pub(super) async fn in_time(
    work: impl Future<Output = Result<Moved, PaymentError>>,
) -> Result<Moved, PaymentError> {
    let moved = timeout(PAYMENT_WAIT_MAX, work).await;
    moved.unwrap_or_else(|_| Err(PaymentError::Unavailable("no answer in time".to_owned())))
}

/// Whether what was typed is the reservation's ID, in constant time.
pub(super) fn is_right_id(reservation: &Reservation, typed: Option<&ReservationId>) -> bool {
    match (typed, &reservation.id_hash) {
        (Some(typed), Some(hash)) => same_hash(&typed.hash(), hash),
        _ => false,
    }
}

/// From 1: one more than the authorisations of that name that are used up: declined, let go, or of another amount (an
/// end can be reached from two ends before it). The provider would answer their keys as before.
fn attempt(payments: &[Payment], begin: &str, amount: Amount) -> u32 {
    let is_spent = |payment: &&Payment| {
        let key = &payment.request.key;
        let is_one = key.strip_prefix(begin).is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_digit()));
        let is_other = payment.request.amount != amount;
        is_one && (is_other || payment.state == PaymentState::Declined || is_over(payments, key))
    };
    u32::try_from(payments.iter().filter(is_spent).count()).unwrap_or(u32::MAX - 1) + 1
}

/// Whether the hold of that key was taken or let go.
pub(super) fn is_over(payments: &[Payment], hold: &str) -> bool {
    let ends = |kind| matches!(kind, PaymentKind::Capture | PaymentKind::Release);
    payments.iter().any(|payment| ends(payment.request.kind) && payment.request.of.as_deref() == Some(hold))
}

/// The authorisations that stand: done, neither taken nor let go.
pub(super) fn standing_holds(payments: &[Payment]) -> Vec<PaymentRequest> {
    payments
        .iter()
        .filter(|payment| {
            // One that was asked for again goes on under its first name.
            payment.request.kind == PaymentKind::Authorise
                && payment.request.of.is_none()
                && payment.state == PaymentState::Done
                && !is_over(payments, &payment.request.key)
        })
        .map(|payment| payment.request.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use slotcast_core::time::WallTime;

    use super::*;
    use crate::domain::words::MemberNumber;

    fn row(key: &str, minor: i64, state: PaymentState) -> Payment {
        let of = key.strip_prefix("release-").map(str::to_owned);
        let kind = if of.is_some() { PaymentKind::Release } else { PaymentKind::Authorise };
        let request = PaymentRequest {
            key: key.to_owned(),
            kind,
            reservation: ReservationNumber(7),
            member: MemberNumber(1),
            amount: Amount::new(minor).unwrap(),
            of,
            elsewhere: Amount::ZERO,
            reason: None,
            asked_as: None,
        };
        let at = WallTime::from_micros(0);
        Payment {
            request,
            state,
            reference: None,
            error: None,
            attempt: 1,
            tries: 0,
            next_at: at,
            created_at: at,
        }
    }

    #[track_caller]
    fn check(rows: &[Payment], expected: u32) {
        assert_eq!(attempt(rows, "authorise-7-", Amount::new(20).unwrap()), expected);
    }

    #[test]
    fn a_key_is_used_again_only_where_its_answer_would_still_do() {
        use PaymentState::{Declined, Done, Waiting};
        check(&[], 1);
        check(&[row("authorise-7-1", 20, Waiting)], 1);
        check(&[row("authorise-7-1", 20, Done)], 1);
        check(&[row("authorise-7-1", 20, Declined)], 2);
        check(&[row("authorise-7-1", 20, Done), row("release-authorise-7-1", 20, Waiting)], 2);
        check(&[row("authorise-7-1", 40, Waiting)], 2);
        check(&[row("authorise-7-1", 20, Declined), row("authorise-7-2", 20, Declined)], 3);
        // Those of an extension and of another reservation are others.
        check(&[row("authorise-7-until-1800-1", 20, Declined), row("authorise-77-1", 20, Declined)], 1);
    }

    #[test]
    fn holds_stand_until_they_are_taken_or_let_go() {
        use PaymentState::{Done, Waiting};
        let rows = [
            row("authorise-7-1", 20, Done),
            row("release-authorise-7-1", 20, Done),
            row("authorise-7-2", 20, Done),
            row("authorise-7-until-1800-1", 20, Waiting),
        ];
        let keys: Vec<_> = standing_holds(&rows).into_iter().map(|hold| hold.key).collect();
        assert_eq!(keys, ["authorise-7-2"]);
    }
}
