//! Moving money that decisions asked for, and what the payment provider tells by itself.
//!
//! Invariant: every movement is asked under its row's key, so the provider does it once however often it is asked; the
//! ledger learns of it in the transaction that marks the row done.

use std::time::Duration;

use slotcast_core::time::WallTime;
use tokio::task::JoinSet;

use super::{
    Answer, Service, ServiceError,
    counts::count,
    money::in_time,
    refunding::{came_back, given_back, note_came_back, note_refunded},
    retry::retry,
};
use crate::{
    domain::{
        effects::{LedgerTransaction, PaymentKind},
        refusal::Refusal,
        rules,
        words::Amount,
    },
    limits::{
        AUTHORISE_GIVEN_UP_AFTER, ERROR_CHARS_MAX, OUTBOX_BATCH, OUTBOX_LEASE, OUTBOX_RETRY_FIRST,
        OUTBOX_RETRY_MAX,
    },
    payments::{Charge, Moved, Notice, Noticed, PaymentError},
    store::{Payment, PaymentState, Tx},
};

impl Service {
    /// Moves money that is due, at most a batch; returns how many rows were taken.
    pub async fn move_due_money(&self) -> Answer<u32> {
        let taken = retry(|| self.take_payments()).await?;
        let count = taken.len();
        let mut works = JoinSet::new();
        for payment in taken {
            let service = self.clone();
            works.spawn(async move { service.work_payment(payment).await });
        }
        let mut failure = None;
        while let Some(work) = works.join_next().await {
            let work =
                work.map_err(|error| ServiceError::Internal(format!("a payment's work ended: {error}")));
            if let Err(error) = work.and_then(|answer| answer) {
                failure = Some(error);
            }
        }
        failure.map_or(Ok(count as u32), Err)
    }

    async fn take_payments(&self) -> Answer<Vec<Payment>> {
        let now = self.now();
        let leased_until = now.saturating_add(OUTBOX_LEASE);
        let mut tx = self.0.store.begin().await?;
        let taken = tx.take_payments(now, leased_until, &PaymentKind::ALL, OUTBOX_BATCH).await?;
        if !taken.is_empty() {
            tx.commit().await?;
        }
        Ok(taken)
    }

    async fn work_payment(&self, payment: Payment) -> Answer<()> {
        let outcome = self.ask_provider(&payment).await?;
        let key = payment.request.key.as_str();
        match &outcome {
            Ok(_) => {
                count(&self.0.counts.payments_done);
                tracing::info!(payment = key, "done");
            }
            Err(PaymentError::Declined(why) | PaymentError::CameBack(why)) => {
                if matches!(payment.request.kind, PaymentKind::Capture | PaymentKind::Refund) {
                    count(&self.0.counts.payments_declined);
                }
                tracing::error!(payment = key, why, "declined: settle it with the member");
            }
            Err(error) => {
                count(&self.0.counts.payments_failed);
                tracing::warn!(payment = key, %error, "not done yet");
            }
        }
        retry(|| self.note_payment(&payment, &outcome)).await?;
        self.0.changed.payments.notify_one();
        Ok(())
    }

    async fn ask_provider(&self, payment: &Payment) -> Answer<Result<Moved, PaymentError>> {
        let request = &payment.request;
        if request.kind == PaymentKind::Refund {
            return self.give_back(request).await;
        }
        let mut reads = self.0.store.read().await?;
        let hold = match &request.of {
            Some(key) => reads.payment(key).await?.and_then(|hold| hold.reference),
            None => None,
        };
        let hold = hold.unwrap_or_default();
        if request.kind == PaymentKind::Release {
            drop(reads);
            return Ok(in_time(self.0.payments.release(&request.key, &hold)).await);
        }
        let member = reads.member(request.member).await?;
        drop(reads);
        let member = member.ok_or_else(|| ServiceError::Internal("a payment has no member".to_owned()))?;
        let charge = match self.charge(request, &member) {
            Ok(charge) => Charge { begun: payment.reference.clone(), ..charge },
            Err(error) => return Ok(Err(error)),
        };
        Ok(match request.kind {
            PaymentKind::Authorise => in_time(self.0.payments.authorise(&charge)).await,
            _ => in_time(self.0.payments.capture(&charge, &hold)).await,
        })
    }

    async fn note_payment(&self, payment: &Payment, outcome: &Result<Moved, PaymentError>) -> Answer<()> {
        let (now, request) = (self.now(), &payment.request);
        let mut tx = self.0.store.begin().await?;
        // All that is decided about one reservation's money follows one another.
        tx.lock_reservation(request.reservation).await?;
        let row = tx.payment(&request.key).await?.filter(|row| row.state == PaymentState::Waiting);
        let Some(row) = row else { return Ok(()) };
        let tries = payment.tries.saturating_add(1);
        match outcome {
            Ok(moved) => {
                let (state, reference) = (PaymentState::Done, Some(moved.reference.clone()));
                let done = Payment { state, reference, error: None, tries, ..row };
                let ledger = match request.kind {
                    PaymentKind::Refund => given_back(tx.as_mut(), request, now).await?,
                    _ if moved.is_collected => unposted(tx.as_mut(), rules::collected(request, now)).await?,
                    _ => Vec::new(),
                };
                tx.settle_payment(&done, &ledger).await?;
                if request.kind == PaymentKind::Authorise {
                    // Whoever asked for it did not come back: nothing stands on it.
                    tx.add_payment(&rules::release(request), now, now).await?;
                }
            }
            Err(error) => {
                let is_old = request.kind == PaymentKind::Authorise
                    && now.since(row.created_at) > AUTHORISE_GIVEN_UP_AFTER;
                let is_back = matches!(error, PaymentError::CameBack(_));
                let is_over = matches!(error, PaymentError::Declined(_)) || is_back || is_old;
                let state = if is_over { PaymentState::Declined } else { PaymentState::Waiting };
                let text = error.to_string().chars().take(ERROR_CHARS_MAX).collect();
                let next_at = now.saturating_add(wait_after(tries));
                let ledger = if is_back { came_back(tx.as_mut(), request, now).await? } else { Vec::new() };
                let row = Payment { state, error: Some(text), tries, next_at, ..row };
                tx.settle_payment(&row, &ledger).await?;
            }
        }
        Ok(tx.commit().await?)
    }

    /// A webhook of the payment provider. Refused: `NotFound("notice")` where the signature is wrong.
    pub async fn notice(&self, signature: &str, body: &[u8]) -> Answer<()> {
        let seconds = self.now().as_micros().div_euclid(1_000_000);
        let notice = match self.0.payments.read_notice(signature, body, seconds) {
            Ok(Some(notice)) => notice,
            Ok(None) => return Ok(()),
            Err(error) => {
                tracing::warn!(%error, "a notice was refused");
                return Err(Refusal::NotFound("notice").into());
            }
        };
        retry(|| self.take_notice(&notice)).await?;
        self.committed();
        Ok(())
    }

    async fn take_notice(&self, notice: &Notice) -> Answer<()> {
        let now = self.now();
        let mut tx = self.0.store.begin().await?;
        if !tx.first_seen(&notice.event, now).await? {
            return Ok(());
        }
        let Some(row) = tx.payment_by_reference(&notice.reference).await? else {
            tracing::warn!(event = notice.event, "a notice is about no payment of this server");
            return Ok(tx.commit().await?);
        };
        let number = row.request.reservation;
        tx.lock_reservation(number).await?;
        let payments = tx.payments_of(number).await?;
        // A capture may have its hold's reference.
        let hold = match row.request.kind {
            PaymentKind::Capture | PaymentKind::Release => row.request.of.as_ref(),
            PaymentKind::Authorise | PaymentKind::Refund => None,
        };
        let hold = hold.unwrap_or(&row.request.key);
        let taking = payments.iter().find(|payment| match payment.request.kind {
            PaymentKind::Capture => payment.request.of.as_ref() == Some(hold),
            PaymentKind::Authorise | PaymentKind::Release | PaymentKind::Refund => false,
        });
        match (&notice.what, taking) {
            (Noticed::Collected(amount), Some(taking)) => {
                note_collected(tx.as_mut(), taking, *amount, &notice.reference, now).await?;
            }
            (Noticed::Refunded(in_all), Some(taking)) => {
                note_refunded(tx.as_mut(), taking, *in_all, now).await?;
            }
            (Noticed::RefundFailed(failed), Some(taking)) => {
                if note_came_back(tx.as_mut(), taking, failed, now).await? {
                    count(&self.0.counts.payments_declined);
                }
            }
            (Noticed::HoldGone, _) => {
                tracing::info!(reservation = %number, payment = hold, "the provider let a hold go");
            }
            (what, _) => {
                tracing::error!(reservation = %number, payment = hold, ?what, "an operator must look");
            }
        }
        Ok(tx.commit().await?)
    }
}

async fn note_collected(
    tx: &mut (dyn Tx + '_),
    taking: &Payment,
    amount: Amount,
    reference: &str,
    now: WallTime,
) -> Answer<()> {
    if amount != taking.request.amount {
        let (got, owed) = (amount.minor(), taking.request.amount.minor());
        tracing::error!(
            payment = taking.request.key,
            got,
            owed,
            "another amount was collected than was owed"
        );
    }
    if amount == Amount::ZERO {
        return Ok(());
    }
    let entry = LedgerTransaction { amount, ..rules::collected(&taking.request, now) };
    let ledger = unposted(tx, entry).await?;
    let reference = taking.reference.clone().or_else(|| Some(reference.to_owned()));
    let done = Payment { state: PaymentState::Done, error: None, reference, ..taking.clone() };
    Ok(tx.settle_payment(&done, &ledger).await?)
}

/// The entry, unless it was posted already.
async fn unposted(tx: &mut (dyn Tx + '_), entry: LedgerTransaction) -> Answer<Vec<LedgerTransaction>> {
    let posted = tx.ledger_of(entry.reservation).await?;
    let is_posted = posted.iter().any(|other| other.key == entry.key);
    Ok(if is_posted { Vec::new() } else { vec![entry] })
}

fn wait_after(tries: u32) -> Duration {
    let doublings = tries.saturating_sub(1).min(20);
    OUTBOX_RETRY_FIRST.saturating_mul(1 << doublings).min(OUTBOX_RETRY_MAX)
}
