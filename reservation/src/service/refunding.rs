//! Giving money back: what operators ask for, how it is carried out, and what the payment provider tells of it.
//!
//! Not here: how much can be given back, and what the ledger says of it (`domain::rules`); when it is tried again
//! (`collecting`).
//! Invariant: a refund is a row of the outbox before the provider hears of it, and is posted once, whoever tells first.

use serde::Serialize;
use slotcast_core::time::WallTime;
use utoipa::ToSchema;

use super::{
    Actor, Answer, Idempotency, Scope, Service, facts::write, money::in_time, operate::reason_of,
    retry::retry, views::PaymentView,
};
use crate::{
    domain::{
        effects::{Account, LedgerTransaction, PaymentKind, PaymentRequest, PaymentState},
        refusal::Refusal,
        rules::{self, Money},
        words::{Amount, Currency, ReservationNumber},
    },
    mail::GivenBack,
    payments::{FailedRefund, Moved, PaymentError},
    store::{Payment, Reads, Tx},
};

/// What is given back of a reservation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Refunds {
    /// Of which.
    pub reservation: ReservationNumber,
    /// What can still be given back, in minor units; what waits is left out.
    pub left: Amount,
    /// ISO 4217.
    pub currency: Currency,
    /// All that were ever asked for, oldest first: one for each capture that money goes back of.
    pub refunds: Vec<PaymentView>,
}

/// One reservation's money, as it was read.
struct Books {
    rows: Vec<Payment>,
    payments: Vec<(PaymentRequest, PaymentState)>,
    ledger: Vec<LedgerTransaction>,
}

impl Books {
    async fn of(reads: &mut (dyn Reads + '_), number: ReservationNumber) -> Answer<Self> {
        let rows = reads.payments_of(number).await?;
        let payments = rows.iter().map(|row| (row.request.clone(), row.state)).collect();
        let ledger = reads.ledger_of(number).await?;
        Ok(Self { rows, payments, ledger })
    }

    fn money(&self) -> Money<'_> {
        Money { payments: &self.payments, ledger: &self.ledger }
    }

    fn refunds(self, service: &Service, reservation: ReservationNumber) -> Refunds {
        let left = self.money().left();
        let is_refund = |row: &Payment| row.request.kind == PaymentKind::Refund;
        let refunds = self.rows.into_iter().filter(is_refund).map(|row| service.payment_view(row)).collect();
        Refunds { reservation, left, currency: service.rules().currency, refunds }
    }
}

impl Service {
    /// What can be given back of a reservation, and what was ever asked to be.
    pub async fn refunds(&self, actor: &Actor, number: ReservationNumber) -> Answer<Refunds> {
        actor.need(Scope::Ledger)?;
        let mut reads = self.0.store.read().await?;
        actor.see(reads.reservation(number).await?)?;
        Ok(Books::of(reads.as_mut(), number).await?.refunds(self, number))
    }

    /// Gives `amount` of what a reservation cost back to its member; `None`: all that is left. It is done a moment
    /// later; repeated with the same key, however late, it is asked for once and shown as it stands then.
    ///
    /// - `reason`: one line, 1 to 200 characters; for the log and the payment's record.
    ///
    /// Refused: `Invalid`, `BadRequest` (there is no key), `NothingToRefund`, `RefundTooLarge`, `KeyReused`.
    pub async fn refund(
        &self,
        actor: &Actor,
        number: ReservationNumber,
        amount: Option<Amount>,
        reason: &str,
        idempotency: Option<Idempotency>,
    ) -> Answer<Refunds> {
        actor.need(Scope::Ledger)?;
        let reason = reason_of(reason)?;
        let key = idempotency.ok_or(Refusal::BadRequest {
            problem: "Idempotency-Key is missing: send a key of this refund, the same when you send it again.",
        })?;
        let asked_as = format!("{} {}", actor.member, key.key);
        let refunds = retry(|| self.refund_once(actor, number, amount, reason, &asked_as)).await?;
        self.committed();
        Ok(refunds)
    }

    async fn refund_once(
        &self,
        actor: &Actor,
        number: ReservationNumber,
        amount: Option<Amount>,
        reason: &str,
        asked_as: &str,
    ) -> Answer<Refunds> {
        let mut tx = self.0.store.begin().await?;
        // Refunds of one operator follow one another: one that comes twice at once finds itself.
        tx.lock_member(actor.member).await?;
        let found = actor.see(tx.lock_reservation(number).await?)?;
        let asked = tx.payments_asked_as(asked_as).await?;
        let books = Books::of(tx.as_mut(), number).await?;
        if !asked.is_empty() {
            is_the_same(&asked, number, amount, reason)?;
            return Ok(books.refunds(self, number));
        }
        let effects = rules::refund(&found, books.money(), amount, reason, asked_as)?;
        write(tx.as_mut(), &effects).await?;
        let refunds = Books::of(tx.as_mut(), number).await?.refunds(self, number);
        tx.commit().await?;
        for payment in &effects.payments {
            let (key, minor, by) = (payment.key.as_str(), payment.amount.minor(), actor.member);
            tracing::info!(reservation = %number, payment = key, minor, reason, %by, "an operator gives money back");
        }
        Ok(refunds)
    }

    /// Asks the provider to give back what it collected. What was billed is credited in the ledger, and nobody is asked.
    pub(super) async fn give_back(&self, refund: &PaymentRequest) -> Answer<Result<Moved, PaymentError>> {
        let books = Books::of(self.0.store.read().await?.as_mut(), refund.reservation).await?;
        let Some(taken) = books.rows.iter().find(|row| refund.of.as_ref() == Some(&row.request.key)) else {
            return Ok(Err(PaymentError::Declined("nobody knows what it is of".to_owned())));
        };
        if !books.money().is_collected(&taken.request) {
            let reference = format!("credit-{}", refund.key);
            return Ok(Ok(Moved { reference, is_collected: false }));
        }
        let reference = taken.reference.as_deref().unwrap_or_default();
        Ok(in_time(self.0.payments.refund(&refund.key, reference, refund.amount)).await)
    }
}

/// Whether what was asked for under a key is what is asked for now. All that is left was another amount then.
fn is_the_same(
    asked: &[Payment],
    number: ReservationNumber,
    amount: Option<Amount>,
    reason: &str,
) -> Result<(), Refusal> {
    let sum: i64 = asked.iter().map(|row| row.request.amount.minor()).sum();
    let is_it = amount.is_none_or(|amount| amount.minor() == sum)
        && asked
            .iter()
            .all(|row| row.request.reservation == number && row.request.reason.as_deref() == Some(reason));
    if is_it { Ok(()) } else { Err(Refusal::KeyReused) }
}

/// What the ledger must say of a refund that was just done, and the mail that tells its member.
pub(super) async fn given_back(
    tx: &mut (dyn Tx + '_),
    refund: &PaymentRequest,
    now: WallTime,
) -> Answer<Vec<LedgerTransaction>> {
    let books = Books::of(tx, refund.reservation).await?;
    if let Some(member) = tx.member(refund.member).await? {
        tx.add_mails(&[rules::refund_mail(refund, &member)], now).await?;
    }
    Ok(rules::given_back(refund, books.money(), now).into_iter().collect())
}

/// What a member is told of a refund; `None`: it is not done, or came back.
pub(super) async fn refund_that_stands(
    reads: &mut (dyn Reads + '_),
    reservation: ReservationNumber,
    key: &str,
) -> Answer<Option<GivenBack>> {
    let books = Books::of(reads, reservation).await?;
    let is_it = |row: &&Payment| row.request.key == key && row.state == PaymentState::Done;
    let Some(refund) = books.rows.iter().find(is_it) else { return Ok(None) };
    let capture = books.rows.iter().find(|row| refund.request.of.as_ref() == Some(&row.request.key));
    let is_to_card = capture.is_some_and(|row| books.money().is_collected(&row.request));
    Ok(Some(GivenBack { amount: refund.request.amount, is_to_card }))
}

/// What the ledger must say of a refund that the provider took on and that failed.
pub(super) async fn came_back(
    tx: &mut (dyn Tx + '_),
    refund: &PaymentRequest,
    now: WallTime,
) -> Answer<Vec<LedgerTransaction>> {
    let books = Books::of(tx, refund.reservation).await?;
    Ok(rules::came_back(refund, books.money(), now))
}

/// The provider says how much of `taking` was given back in all, by whomever.
pub(super) async fn note_refunded(
    tx: &mut (dyn Tx + '_),
    taking: &Payment,
    in_all: Amount,
    now: WallTime,
) -> Answer<()> {
    let mut books = Books::of(tx, taking.request.reservation).await?;
    if let Some(entry) = rules::refunded(&taking.request, in_all, Account::Cash, &books.ledger, now) {
        tx.settle_payment(taking, std::slice::from_ref(&entry)).await?;
        books.ledger.push(entry);
    }
    if !rules::agrees(&taking.request, in_all, books.money()) {
        let (payment, minor) = (&taking.request.key, in_all.minor());
        tracing::error!(
            payment,
            minor,
            "what is refunded in all differs from the ledger: compare the provider's books"
        );
    }
    Ok(())
}

/// The provider says that a refund of `taking` did not reach the member: the money is there again, and an operator has
/// to find another way. Returns whether that is news.
pub(super) async fn note_came_back(
    tx: &mut (dyn Tx + '_),
    taking: &Payment,
    failed: &FailedRefund,
    now: WallTime,
) -> Answer<bool> {
    // Told in more than one kind of event.
    if !tx.first_seen(&failed.refund, now).await? {
        return Ok(false);
    }
    let (number, why) = (taking.request.reservation, failed.why.as_str());
    let books = Books::of(tx, number).await?;
    let ours = books.rows.iter().find(|row| {
        let is_named = Some(&row.request.key) == failed.key.as_ref();
        row.request.kind == PaymentKind::Refund
            && (is_named || row.reference.as_ref() == Some(&failed.refund))
    });
    match ours {
        Some(row) => {
            let ledger = rules::came_back(&row.request, books.money(), now);
            if ledger.is_empty() {
                return Ok(false);
            }
            let (state, error) =
                (PaymentState::Declined, Some(PaymentError::CameBack(failed.why.clone()).to_string()));
            tx.settle_payment(&Payment { state, error, ..row.clone() }, &ledger).await?;
        }
        None => {
            let ledger = rules::came_back_elsewhere(&taking.request, failed.amount, books.money(), now);
            tx.settle_payment(taking, &ledger).await?;
        }
    }
    let (payment, minor) = (ours.map_or("elsewhere", |row| row.request.key.as_str()), failed.amount.minor());
    tracing::error!(reservation = %number, payment, minor, why, "a refund came back: settle it with the member");
    Ok(true)
}
