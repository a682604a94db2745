//! Moving money that decisions asked for, and what the payment provider tells by itself.
//!
//! Invariant: every movement is asked under its row's key, so the provider does it once however often it is asked; the
//! ledger learns of it in the transaction that marks the row done.

use std::time::Duration;

use slotcast_core::time::WallTime;

use super::{
    Answer, Service, ServiceError,
    counts::count,
    facts::member_of,
    money::{in_time, is_over, standing_holds},
    paying::tried_again,
    refunding::{came_back, given_back, note_came_back, note_refunded},
    retry::retry,
};
use crate::{
    domain::{
        effects::{LedgerTransaction, PaymentKind, PaymentRequest},
        refusal::{Refusal, Thing},
        reservation::{Reservation, State},
        rules::{self, AfterDecline},
        words::Amount,
    },
    limits::{AUTHORISE_GIVEN_UP_AFTER, ERROR_CHARS_MAX, OUTBOX_RETRY_FIRST, OUTBOX_RETRY_MAX},
    payments::{Charge, Moved, Notice, Noticed, PaymentError},
    store::{JobEnd, Payment, PaymentState, Tx},
};

impl Service {
    /// Moves the money of one payment; `tries`: those before. Returns `None` where its end is noted.
    pub(super) async fn work_payment(&self, key: &str, tries: u32) -> Answer<Option<JobEnd>> {
        let payment = self.0.store.read().await?.payment(key).await?;
        let payment = payment.filter(|payment| payment.state == PaymentState::Waiting);
        let Some(payment) = payment else { return Ok(Some(JobEnd::Done)) };
        let payment = Payment { tries, ..payment };
        let outcome = self.ask_provider(&payment, false).await?;
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
        self.committed();
        Ok(None)
    }

    /// - `is_present`: whether the member waits for it.
    pub(super) async fn ask_provider(
        &self,
        payment: &Payment,
        is_present: bool,
    ) -> Answer<Result<Moved, PaymentError>> {
        let request = &payment.request;
        if request.kind == PaymentKind::Refund {
            return self.give_back(request).await;
        }
        let (hold, found, member) = {
            let mut reads = self.0.store.read().await?;
            let hold = match &request.of {
                Some(key) => reads.payment(key).await?.and_then(|hold| hold.reference),
                None => None,
            };
            let found = reads.reservation(request.reservation).await?;
            (hold.unwrap_or_default(), found, reads.member(request.member).await?)
        };
        if request.kind == PaymentKind::Release {
            return Ok(in_time(self.0.payments.release(&request.key, &hold)).await);
        }
        let is_wanted = found.is_some_and(|found| matches!(found.state, State::Confirmed | State::OnAir));
        if is_renewal(request) && !is_wanted {
            return Ok(Err(PaymentError::Declined("it is not needed any more".to_owned())));
        }
        let member = member.ok_or_else(|| ServiceError::Internal("a payment has no member".to_owned()))?;
        let charge = match self.charge(request, &member) {
            Ok(charge) => {
                Charge { key: payment.provider_key(), is_present, begun: payment.reference.clone(), ..charge }
            }
            Err(error) => return Ok(Err(error)),
        };
        Ok(match request.kind {
            PaymentKind::Authorise => in_time(self.0.payments.authorise(&charge)).await,
            _ => in_time(self.0.payments.capture(&charge, &hold)).await,
        })
    }

    /// Writes what one try came to.
    pub(super) async fn note_payment(
        &self,
        payment: &Payment,
        outcome: &Result<Moved, PaymentError>,
    ) -> Answer<()> {
        let request = &payment.request;
        let mut tx = self.0.store.begin().await?;
        // All that is decided about one reservation's money follows one another.
        let found = tx.lock_reservation(request.reservation).await?;
        let row = tx.payment(&request.key).await?;
        let row = row.filter(|row| row.state == PaymentState::Waiting && row.attempt == payment.attempt);
        let (Some(row), Some(found)) = (row, found) else { return Ok(()) };
        let row = Payment { tries: payment.tries.saturating_add(1), ..row };
        match outcome {
            Ok(moved) => self.note_done(tx.as_mut(), row, moved).await?,
            Err(error) => self.note_failure(tx.as_mut(), row, &found, error).await?,
        }
        Ok(tx.commit().await?)
    }

    async fn note_done(&self, tx: &mut (dyn Tx + '_), row: Payment, moved: &Moved) -> Answer<()> {
        let (now, request) = (self.now(), row.request.clone());
        let ledger = match request.kind {
            PaymentKind::Refund => given_back(tx, &request, now).await?,
            _ if moved.is_collected => unposted(tx, rules::collected(&request, now)).await?,
            _ => Vec::new(),
        };
        let (state, reference) = (PaymentState::Done, Some(moved.reference.clone()));
        tx.settle_payment(&Payment { state, reference: reference.clone(), error: None, ..row }, &ledger)
            .await?;
        match &request.of {
            None if request.kind == PaymentKind::Authorise => {
                // The member's request ended before the hold was confirmed: nothing stands on it.
                tx.add_payment(&rules::release(&request), now, now).await?;
            }
            Some(hold) if is_renewal(&request) => {
                let payments = tx.payments_of(request.reservation).await?;
                let first = payments.iter().find(|first| first.request.key == *hold);
                match first.filter(|_| !is_over(&payments, hold)) {
                    // Whatever ends the hold ends the one that stands for it now.
                    Some(first) => tx.settle_payment(&Payment { reference, ..first.clone() }, &[]).await?,
                    None => tx.add_payment(&rules::release(&request), now, now).await?,
                }
            }
            _ => {}
        }
        Ok(())
    }

    async fn note_failure(
        &self,
        tx: &mut (dyn Tx + '_),
        row: Payment,
        found: &Reservation,
        error: &PaymentError,
    ) -> Answer<()> {
        let (now, request) = (self.now(), row.request.clone());
        let text = error.to_string().chars().take(ERROR_CHARS_MAX).collect();
        let row = Payment { error: Some(text), next_at: now.saturating_add(wait_after(row.tries)), ..row };
        let is_orphan = request.kind == PaymentKind::Authorise && request.of.is_none();
        let is_old = is_orphan && now.since(row.created_at) > AUTHORISE_GIVEN_UP_AFTER;
        let is_back = matches!(error, PaymentError::CameBack(_));
        if !matches!(error, PaymentError::Declined(_)) && !is_back && !is_old {
            return Ok(tx.settle_payment(&row, &[]).await?);
        }
        let ledger = if is_back { came_back(tx, &request, now).await? } else { Vec::new() };
        let member = member_of(tx, found).await?;
        let attempt = row.attempt;
        let row = Payment { state: PaymentState::Declined, ..row };
        let mut next = AfterDecline::GoOn;
        if is_renewal(&request) {
            let holds = standing_holds(&tx.payments_of(request.reservation).await?);
            next = rules::after_decline(&member, found, attempt, &holds, now);
        }
        match next {
            AfterDecline::AskAgain(next_at) => {
                tx.settle_payment(&Payment { next_at, ..tried_again(row) }, &ledger).await?;
            }
            AfterDecline::Cancel(effects) => {
                tx.settle_payment(&row, &ledger).await?;
                tx.write(&effects).await?;
                return Ok(());
            }
            AfterDecline::GoOn => tx.settle_payment(&row, &ledger).await?,
        }
        let is_told = request.kind == PaymentKind::Capture
            || is_renewal(&request) && matches!(found.state, State::Confirmed | State::OnAir);
        if is_told && attempt == 1 {
            tx.add_mails(&[rules::card_mail(&member, found, &request.key)], now).await?;
        }
        Ok(())
    }

    /// A webhook of the payment provider. Refused: `NotFound("notice")` where the signature is wrong,
    /// `PaymentUnavailable` where it comes before the provider's own answer: it is to come again.
    pub async fn notice(&self, signature: &str, body: &[u8]) -> Answer<()> {
        let seconds = self.now().as_micros().div_euclid(1_000_000);
        let notice = match self.0.payments.read_notice(signature, body, seconds) {
            Ok(Some(notice)) => notice,
            Ok(None) => return Ok(()),
            Err(error) => {
                tracing::warn!(%error, "a notice was refused");
                return Err(Refusal::NotFound(Thing::Notice).into());
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
            if is_before_our_answer(tx.as_mut(), notice).await? {
                // The provider tells it again later; until then, nothing is noted.
                return Err(Refusal::PaymentUnavailable.into());
            }
            tracing::warn!(event = notice.event, "a notice is about no payment of this server");
            return Ok(tx.commit().await?);
        };
        let number = row.request.reservation;
        let found = tx.lock_reservation(number).await?;
        let payments = tx.payments_of(number).await?;
        // A capture may have its hold's reference, and a hold that of the one that it was asked for again as.
        let hold = row.request.of.as_ref().filter(|_| row.request.kind != PaymentKind::Refund);
        let hold = hold.unwrap_or(&row.request.key);
        let taking = payments.iter().find(|payment| {
            payment.request.kind == PaymentKind::Capture && payment.request.of.as_ref() == Some(hold)
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
            (Noticed::Disputed { dispute, amount, is_won }, Some(taking)) => {
                let entry = rules::dispute(&taking.request, dispute, *amount, *is_won, now);
                let entry = unposted(tx.as_mut(), entry).await?;
                tx.settle_payment(taking, &entry).await?;
                tracing::error!(reservation = %number, dispute, is_won, "a member's bank disputes a charge: see the provider's books");
            }
            (Noticed::HoldGone, None) => {
                let first = payments.iter().find(|payment| payment.request.key == *hold);
                if let (Some(found), Some(first)) = (found, first) {
                    ask_for_again(tx.as_mut(), &found, first, notice, &payments, now).await?;
                }
            }
            (Noticed::HoldGone, Some(_)) => {
                tracing::info!(reservation = %number, payment = hold, "the provider let a hold go");
            }
            (what, _) => {
                tracing::error!(reservation = %number, payment = hold, ?what, "an operator must look");
            }
        }
        Ok(tx.commit().await?)
    }
}

/// Whether a notice is about a payment of ours of which the provider's own answer is not noted yet.
async fn is_before_our_answer(tx: &mut (dyn Tx + '_), notice: &Notice) -> Answer<bool> {
    // What follows a point is of the provider's key alone.
    let Some(key) = notice.key.as_deref().and_then(|key| key.split('.').next()) else { return Ok(false) };
    let row = tx.payment(key).await?;
    Ok(row.is_some_and(|row| row.state == PaymentState::Waiting && row.reference.is_none()))
}

/// The provider let go of what `first` held: it is asked for again in time, unless what let go stands for it no more.
async fn ask_for_again(
    tx: &mut (dyn Tx + '_),
    found: &Reservation,
    first: &Payment,
    notice: &Notice,
    payments: &[Payment],
    now: WallTime,
) -> Answer<()> {
    let hold = &first.request.key;
    let is_it = first.state == PaymentState::Done && first.reference.as_ref() == Some(&notice.reference);
    let renewals = || {
        payments.iter().filter(|other| other.request.of.as_ref() == Some(hold) && is_renewal(&other.request))
    };
    let is_asked = renewals().any(|other| other.state == PaymentState::Waiting);
    let again = rules::renewal(found, &first.request, renewals().count(), now);
    let again = again.filter(|_| is_it && !is_asked && !is_over(payments, hold));
    match again {
        Some((request, at)) => {
            tx.add_payment(&request, now, at).await?;
            tracing::info!(reservation = %found.number, payment = hold, %at, "the provider let a hold go: asked for again then");
        }
        None => {
            tracing::info!(reservation = %found.number, payment = hold, "the provider let a hold go");
        }
    }
    Ok(())
}

/// Whether it asks again for a hold that the provider let go.
fn is_renewal(request: &PaymentRequest) -> bool {
    request.kind == PaymentKind::Authorise && request.of.is_some()
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

/// How long is waited after so many tries of a job that failed.
pub(super) fn wait_after(tries: u32) -> Duration {
    let doublings = tries.saturating_sub(1).min(20);
    OUTBOX_RETRY_FIRST.saturating_mul(1 << doublings).min(OUTBOX_RETRY_MAX)
}
