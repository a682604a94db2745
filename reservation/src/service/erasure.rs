//! A member goes: what belongs to the person is erased, records of money stay. And what is kept of a member, for the member.
//!
//! Owns: which member may go when, and what is left. Not here: which rows hold what (`store`).
//! Invariant: nobody can log in as a member who was erased; ledger and payments are as before.

use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Actor, Answer, Scope, Service,
    members::is_current,
    password,
    retry::retry,
    views::{LedgerView, ReservationView, TermsView, TokenView},
};
use crate::{
    domain::{
        effects::Account,
        member::{Member, MemberKind},
        refusal::{Refusal, Thing},
        reservation::{Settlement, State},
        words::{Language, MemberNumber},
    },
    limits::{EXPORT_RESERVATIONS_MAX, ROWS_AT_ONCE},
    payments::invoice::BRAND,
    store::{Page, ReservationFilter, Tx},
};

/// What is kept of a member.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct OwnData {
    /// The member.
    pub member: Member,
    /// Without their secrets, which nobody has.
    pub tokens: Vec<TokenView>,
    /// Newest start first; of more than 10,000 the newest.
    pub reservations: Vec<OwnReservation>,
}

/// A reservation with what belongs to it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct OwnReservation {
    /// As its owner sees it.
    pub reservation: ReservationView,
    /// What was posted for it.
    pub ledger: Vec<LedgerView>,
    /// The terms that were accepted with it.
    pub accepted_terms: Option<TermsView>,
}

impl Service {
    /// All that is kept of the actor; of very many reservations the newest.
    pub async fn own_data(&self, actor: &Actor) -> Answer<OwnData> {
        actor.need(Scope::Account)?;
        let mut reads = self.0.store.read().await?;
        let member = reads.member(actor.member).await?.ok_or(Refusal::NotLoggedIn)?;
        let tokens = reads.api_tokens(actor.member).await?.iter().map(TokenView::from).collect();
        let filter =
            ReservationFilter { member: Some(actor.member), newest_first: true, ..Default::default() };
        let mut reservations = Vec::new();
        while reservations.len() < EXPORT_RESERVATIONS_MAX {
            let page = Page { offset: reservations.len() as u32, limit: ROWS_AT_ONCE };
            let found = reads.reservations(&filter, page).await?.items;
            let is_last = found.len() < ROWS_AT_ONCE as usize;
            for reservation in found {
                let ledger = reads.ledger_of(reservation.number).await?;
                let accepted_terms = reads.accepted_terms(reservation.number).await?.map(TermsView::from);
                reservations.push(OwnReservation {
                    reservation: self.reservation_view(reservation),
                    ledger: ledger.into_iter().map(|entry| self.ledger_view(entry)).collect(),
                    accepted_terms,
                });
            }
            if is_last {
                break;
            }
        }
        Ok(OwnData { member, tokens, reservations })
    }

    /// Erases the actor, at the own wish.
    ///
    /// Refused: `WrongLogIn` (the password), `OwnRights` (an operator), `AccountOpen`, `TooMany`.
    pub async fn erase_me(&self, actor: &Actor, password: &str) -> Answer<()> {
        actor.need(Scope::Account)?;
        let member = self.me(actor).await?;
        self.check_own_password(&member, password).await?;
        self.erase(&member, true).await
    }

    /// Erases a member, at the operator's word; what is billed by invoice is the operator's to collect before.
    ///
    /// Refused: `NotFound`, `OwnRights` (an operator), `AccountOpen`.
    pub async fn erase_member(&self, actor: &Actor, number: MemberNumber) -> Answer<()> {
        actor.need(Scope::Moderate)?;
        let member = self.0.store.read().await?.member(number).await?;
        self.erase(&member.ok_or(Refusal::NotFound(Thing::Member))?, false).await?;
        tracing::info!(member = %number, by = %actor.member, "an operator erased a member");
        Ok(())
    }

    async fn erase(&self, seen: &Member, is_own_wish: bool) -> Answer<()> {
        let nobody = nobody(seen)?;
        retry(|| self.erase_once(seen, &nobody, is_own_wish)).await?;
        self.committed();
        Ok(())
    }

    async fn erase_once(&self, seen: &Member, nobody: &Member, is_own_wish: bool) -> Answer<()> {
        let mut tx = self.0.store.begin().await?;
        let member = tx.lock_member(seen.number).await?.ok_or(Refusal::NotFound(Thing::Member))?;
        if member == *nobody {
            // It stands already: the answer to its commit was lost.
            return Ok(());
        }
        is_current(Some(seen.version), member.version)?;
        if member.is_operator {
            return Err(Refusal::OwnRights.into());
        }
        nothing_is_open(tx.as_mut(), &member, is_own_wish).await?;
        tx.erase_member(nobody, self.now()).await?;
        Ok(tx.commit().await?)
    }
}

/// Refuses while a program is to come or not settled, and while money is owed or moves.
async fn nothing_is_open(tx: &mut dyn Tx, member: &Member, is_own_wish: bool) -> Answer<()> {
    let filter = ReservationFilter {
        member: Some(member.number),
        states: vec![
            State::Held,
            State::Registered,
            State::Confirmed,
            State::OnAir,
            State::Finished(Settlement::Open),
        ],
        ..Default::default()
    };
    let reservations = tx.reservations(&filter, Page { offset: 0, limit: 1 }).await?.count;
    let is_billed = member.card.as_ref().is_some_and(|card| card.brand == BRAND);
    let owes = (is_own_wish || !is_billed) && tx.balance(Account::Receivable(member.number)).await? != 0;
    if reservations > 0 || owes {
        return Err(Refusal::AccountOpen { reservations, owes }.into());
    }
    Ok(())
}

/// What is left of a member.
fn nobody(member: &Member) -> Answer<Member> {
    let name = format!("erased-{}", member.number);
    let word = |_| super::ServiceError::Internal("what is left of a member cannot be written".to_owned());
    Ok(Member {
        number: member.number,
        user_id: name.parse().map_err(word)?,
        name: "-".to_owned(),
        reading: "-".to_owned(),
        email: format!("{name}@erased.invalid").parse().map_err(word)?,
        is_email_verified: false,
        new_email: None,
        email_public: false,
        web: None,
        language: Language::English,
        kind: MemberKind::General,
        is_operator: false,
        is_blocked: true,
        password_hash: password::nobodys(),
        contact: None,
        card: None,
        terminal_key: None,
        registered_at: member.registered_at,
        version: member.version + 1,
    })
}
