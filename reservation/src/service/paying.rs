//! Money that is still owed: what a member pays while being there, and what an operator lists and has tried again.
//!
//! Invariant: a payment that was declined is asked for under a key of its own the next time, and only once nothing can
//! come of the one before; the row, and what the ledger says of it, stays one.

use slotcast_core::time::WallTime;

use super::{
    Actor, Answer, Scope, Service, ServiceError,
    money::is_over,
    retry::retry,
    views::{List, PaymentView},
};
use crate::{
    domain::{
        effects::{PaymentKind, PaymentState},
        refusal::{Refusal, Thing},
        reservation::{Reservation, State},
        words::ReservationNumber,
    },
    limits::AUTHORISE_ORPHANED_AFTER,
    payments::PaymentError,
    store::{Page, Payment},
};

impl Service {
    /// Pays what the member's card was declined for: the hold of a program to come, or what a program cost. The member is
    /// there, and may be asked by the card's company. Nothing is owed: the reservation as it is.
    ///
    /// Refused: `PaymentDeclined`, `CardQuestion` (the same comes again once it is answered), `PaymentUnavailable`,
    /// `NoPaymentMethod`, `TooMany`.
    pub async fn pay(&self, actor: &Actor, number: ReservationNumber) -> Answer<Reservation> {
        actor.need(Scope::Book)?;
        // Runs in its own task, so that what was begun at the provider is noted although the member's connection is gone.
        let (service, actor) = (self.clone(), *actor);
        let work = tokio::spawn(async move { service.pay_to_the_end(actor, number).await });
        work.await.map_err(|error| ServiceError::Internal(format!("a payment ended: {error}")))?
    }

    async fn pay_to_the_end(self, actor: Actor, number: ReservationNumber) -> Answer<Reservation> {
        let owed = retry(|| self.take_owed(&actor, number)).await?;
        if !owed.is_empty() {
            self.0.tries.card.take(&actor.member, (self.0.clock)().mono)?;
        }
        for payment in owed {
            let outcome = self.ask_provider(&payment, true).await?;
            if let Err(PaymentError::Asks(question)) = outcome {
                retry(|| self.note_question(&payment.request, &question.reference)).await?;
                return Err(Refusal::CardQuestion(question).into());
            }
            retry(|| self.note_payment(&payment, &outcome)).await?;
            self.committed();
            match outcome {
                Ok(_) => {}
                Err(PaymentError::Declined(reason)) => return Err(Refusal::PaymentDeclined { reason }.into()),
                Err(error) => {
                    tracing::warn!(reservation = %number, %error, "what is owed could not be paid");
                    return Err(Refusal::PaymentUnavailable.into());
                }
            }
        }
        let found = self.0.store.read().await?.reservation(number).await?;
        actor.see(found).map_err(ServiceError::from)
    }

    /// The payments of a reservation that the member can make now; the outbox leaves them alone for a while.
    async fn take_owed(&self, actor: &Actor, number: ReservationNumber) -> Answer<Vec<Payment>> {
        let mut tx = self.0.store.begin().await?;
        let found = actor.paid_by(tx.lock_reservation(number).await?)?;
        let rows = tx.payments_of(number).await?;
        let next_at = self.now().saturating_add(AUTHORISE_ORPHANED_AFTER);
        let mut owed = Vec::new();
        for row in rows.iter().filter(|row| is_owed(row, &found, &rows, self.now())) {
            let row = Payment { next_at: next_at.max(row.next_at), ..tried_again(row.clone()) };
            tx.settle_payment(&row, &[]).await?;
            owed.push(row);
        }
        if !owed.is_empty() {
            tx.commit().await?;
        }
        Ok(owed)
    }

    /// Payments in one state, oldest first.
    pub async fn payments(
        &self,
        actor: &Actor,
        state: PaymentState,
        page: Page,
    ) -> Answer<List<PaymentView>> {
        actor.need(Scope::Ledger)?;
        let found = self.0.store.read().await?.payments(state, page).await?;
        Ok(List::page(found, page, |payment| self.payment_view(payment)))
    }

    /// Has a capture that was declined tried again, with the card that the member has now; one that is not declined is
    /// shown as it is.
    ///
    /// Refused: `NotFound("payment")`, `NoCharge`.
    pub async fn retry_payment(&self, actor: &Actor, key: &str) -> Answer<PaymentView> {
        actor.need(Scope::Ledger)?;
        let retried = retry(|| async {
            let mut tx = self.0.store.begin().await?;
            let found = tx.payment(key).await?.ok_or(Refusal::NotFound(Thing::Payment))?;
            tx.lock_reservation(found.request.reservation).await?;
            let row = tx.payment(key).await?.ok_or(Refusal::NotFound(Thing::Payment))?;
            if row.state != PaymentState::Declined {
                return Ok(row);
            }
            if row.request.kind != PaymentKind::Capture {
                return Err(Refusal::NoCharge.into());
            }
            let row = Payment { next_at: self.now(), ..tried_again(row) };
            tx.settle_payment(&row, &[]).await?;
            tx.commit().await?;
            tracing::info!(payment = key, by = %actor.member, "an operator has a charge tried again");
            Ok(row)
        })
        .await?;
        self.committed();
        Ok(self.payment_view(retried))
    }
}

/// Whether the member can do something about that payment: the card said no to it, or its company asks.
fn is_owed(row: &Payment, reservation: &Reservation, rows: &[Payment], now: WallTime) -> bool {
    let is_open = match row.state {
        PaymentState::Waiting => row.attempt > 1 || row.reference.is_some(),
        PaymentState::Declined => true,
        PaymentState::Done => false,
    };
    is_open
        && match (row.request.kind, &row.request.of) {
            (PaymentKind::Capture, _) => true,
            (PaymentKind::Authorise, Some(hold)) => {
                let is_newest = rows.iter().rfind(|other| other.request.of.as_ref() == Some(hold));
                reservation.state == State::Confirmed
                    && now < reservation.window.start()
                    && !is_over(rows, hold)
                    && is_newest.is_some_and(|newest| newest.request.key == row.request.key)
            }
            _ => false,
        }
}

/// A payment that was declined is asked for again, under a key that the provider does not know yet.
pub(super) fn tried_again(row: Payment) -> Payment {
    match row.state {
        PaymentState::Declined => Payment {
            state: PaymentState::Waiting,
            attempt: row.attempt.saturating_add(1),
            reference: None,
            ..row
        },
        PaymentState::Waiting | PaymentState::Done => row,
    }
}
