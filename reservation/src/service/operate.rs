//! What operators do, and what the binary needs to begin.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use slotcast_core::{
    time::WallTime,
    words::{BitRate, ChannelName, ChannelNumber, OpenLevel, Seats, Toll},
};

use super::{
    Actor, Answer, Idempotency, Registration, Scope, Scopes, Service, ServiceError,
    booking::Sale,
    facts::channel_of,
    members::is_current,
    random,
    retry::retry,
    views::{LedgerView, List},
};
use crate::{
    domain::{
        member::{Member, MemberKind},
        proof::ProofKind,
        refusal::{FieldProblem, Refusal, Thing},
        reservation::{Reservation, SoldChannel, State},
        rules::{self, Draft},
        words::{Amount, Language, MemberNumber, ReservationNumber, UserId, is_one_line},
    },
    limits::{GATHER_MAX, GATHER_USUAL, ROWS_AT_ONCE},
    store::{Page, Pickup, Reads, Units},
    streaming::{Streaming, Viewer},
};

/// A channel as the operator wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelEdit {
    /// Under which it is sold.
    pub number: ChannelNumber,
    /// Under which it is found in addresses; unique.
    pub name: ChannelName,
    /// How many viewers at once.
    pub seats: Seats,
    /// The bit rate that it may carry.
    pub class: BitRate,
    /// The price of one slot.
    pub toll: Toll,
    /// How long sound may wait for the next picture, at most [`GATHER_MAX`]. `None`: stays as it is;
    /// [`GATHER_USUAL`] for a new channel.
    pub gather: Option<Duration>,
}

/// What an operator changes of a member; `None`: stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OperatorEdit {
    /// What it may do.
    pub kind: Option<MemberKind>,
    /// Whether it runs the server.
    pub is_operator: Option<bool>,
    /// Whether it is shut out; its sessions and tokens end.
    pub is_blocked: Option<bool>,
}

/// The first operator.
#[derive(Clone)]
pub struct NewOperator {
    /// Logs in with it.
    pub user_id: String,
    /// As the person writes it.
    pub name: String,
    /// Where mails go.
    pub email: String,
    /// 10 to 128 characters.
    pub password: String,
    /// Whether the member of that user ID, if there is one, becomes this operator.
    pub replace: bool,
}

/// An operator who was made.
#[derive(Clone, Debug)]
pub struct MadeOperator {
    /// As it is from now on.
    pub member: Member,
    /// The member who had the user ID before, and is this one now.
    pub before: Option<Member>,
}

impl fmt::Debug for NewOperator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NewOperator({:?})", self.user_id)
    }
}

impl Service {
    /// Adds a channel (`version` `None`) or changes one whose version that is. What is reserved stays as booked; a
    /// retired channel is sold again.
    ///
    /// Refused: `Exists("channel")` (number or name), `NotFound("channel")`, `Stale`, `Invalid` (the toll, how long sound
    /// may wait), `UplinkSold`, `ChannelNameInUse`.
    pub async fn put_channel(
        &self,
        actor: &Actor,
        edit: ChannelEdit,
        version: Option<i64>,
    ) -> Answer<SoldChannel> {
        actor.need(Scope::Sell)?;
        self.check_toll(edit.toll)?;
        if edit.gather.is_some_and(|gather| gather > GATHER_MAX) {
            let most = GATHER_MAX.as_millis();
            let (english, japanese) = (format!("0 to {most} milliseconds"), format!("0~{most}ミリ秒"));
            return Err(Refusal::from(FieldProblem::new("gather_ms", english, japanese)).into());
        }
        let put = retry(|| async {
            let mut tx = self.0.store.begin().await?;
            tx.lock_channels().await?;
            let found = channel_of(tx.as_mut(), edit.number).await;
            let channel = match (found, version) {
                // It is as was asked already, perhaps by a try before, whose commit's answer was lost.
                (Ok(found), _) if edit.at(found.version, found.gather) == found => return Ok(found),
                (Ok(found), Some(_)) => {
                    is_current(version, found.version)?;
                    self.may_be_named(tx.as_mut(), &found, &edit.name).await?;
                    edit.at(found.version + 1, found.gather)
                }
                (Ok(_), None) => return Err(Refusal::Exists(Thing::Channel).into()),
                (Err(ServiceError::Refused(_)), None) => edit.at(1, GATHER_USUAL),
                (Err(error), _) => return Err(error),
            };
            rules::may_sell(&self.taken_up(tx.as_mut()).await?, &channel, self.rules().uplink)?;
            tx.put_channel(&channel).await?;
            tx.commit().await?;
            Ok(channel)
        })
        .await?;
        self.committed();
        Ok(put)
    }

    /// Whether the price of a slot, and with it that of several, can be charged.
    fn check_toll(&self, toll: Toll) -> Result<(), Refusal> {
        let amount = i64::try_from(toll.0).ok().and_then(|minor| Amount::new(minor).ok());
        let checked = match amount {
            Some(amount) => self.0.payments.check_amount(amount, self.rules().currency),
            None => Err(format!("0 to {} minor units", Amount::MAX)),
        };
        checked.map_err(|expected| FieldProblem::new("toll", expected.clone(), expected).into())
    }

    /// Channels that are sold at a price that the payment provider of today cannot charge, each with why and what to set.
    pub async fn unchargeable(&self) -> Answer<Vec<(ChannelNumber, String)>> {
        let channels = self.0.store.read().await?.channels().await?;
        let wrong = |channel: SoldChannel| match self.check_toll(channel.toll) {
            Err(Refusal::Invalid(mut problems)) if !channel.is_retired => {
                Some((channel.number, problems.pop()?.expected.of(Language::English).to_owned()))
            }
            _ => None,
        };
        Ok(channels.into_iter().filter_map(wrong).collect())
    }

    /// The channels with what is offered of them, or with what is booked and not over where that is more.
    async fn taken_up(&self, reads: &mut (dyn Reads + '_)) -> Answer<Vec<SoldChannel>> {
        let mut channels = reads.channels().await?;
        for (number, seats, class) in reads.promised(self.now()).await? {
            rules::take_up(&mut channels, number, seats, class);
        }
        Ok(channels)
    }

    /// A name is part of addresses that were mailed: it stays as long as they may be used.
    async fn may_be_named(
        &self,
        reads: &mut (dyn Reads + '_),
        found: &SoldChannel,
        name: &ChannelName,
    ) -> Answer<()> {
        if found.name == *name {
            return Ok(());
        }
        let (from, to) = (self.rules().slot_of(self.now()), WallTime::from_micros(i64::MAX));
        if reads.taken_slots(found.number, from, to).await?.is_empty() {
            return Ok(());
        }
        Err(Refusal::ChannelNameInUse { name: found.name.clone() }.into())
    }

    /// The channel is not sold any more; what is reserved stays.
    pub async fn retire_channel(
        &self,
        actor: &Actor,
        number: ChannelNumber,
        version: Option<i64>,
    ) -> Answer<SoldChannel> {
        actor.need(Scope::Sell)?;
        let retired = retry(|| async {
            let mut tx = self.0.store.begin().await?;
            tx.lock_channels().await?;
            let found = channel_of(tx.as_mut(), number).await?;
            is_current(version, found.version)?;
            if found.is_retired {
                return Ok(found);
            }
            let retired = SoldChannel { is_retired: true, version: found.version + 1, ..found };
            tx.put_channel(&retired).await?;
            tx.commit().await?;
            Ok(retired)
        })
        .await?;
        self.committed();
        Ok(retired)
    }

    /// Books the operator's own program: confirmed at once, without toll.
    pub async fn book_special(
        &self,
        actor: &Actor,
        draft: Draft,
        idempotency: Option<Idempotency>,
    ) -> Answer<Reservation> {
        actor.need(Scope::Sell)?;
        let number = ReservationNumber::from_random(random::bits()?);
        let booked = retry(|| {
            let draft = draft.clone();
            self.book_once(actor, draft, number, idempotency.as_ref(), Sale::Special)
        })
        .await?;
        self.committed();
        Ok(booked)
    }

    /// Recommends a program that is announced; secret ones cannot be.
    pub async fn put_pickup(&self, actor: &Actor, pickup: Pickup) -> Answer<()> {
        actor.need(Scope::Sell)?;
        if pickup.note.chars().count() > 200 || !is_one_line(&pickup.note) {
            let problem = FieldProblem::new("note", "0 to 200 characters on one line", "200文字まで、1行");
            return Err(Refusal::from(problem).into());
        }
        retry(|| async {
            let mut tx = self.0.store.begin().await?;
            let found = tx.reservation(pickup.reservation).await?;
            let is_listed = |found: &Reservation| {
                found.program.open_level != OpenLevel::Secret
                    && self.is_announced(found.state)
                    && !matches!(found.state, State::Finished(_))
            };
            if !found.as_ref().is_some_and(is_listed) {
                return Err(Refusal::NotFound(Thing::Program).into());
            }
            tx.put_pickup(&pickup).await?;
            Ok(tx.commit().await?)
        })
        .await
    }

    /// Recommends it no more.
    pub async fn end_pickup(&self, actor: &Actor, number: ReservationNumber) -> Answer<()> {
        actor.need(Scope::Sell)?;
        // A try whose commit's answer was lost may have taken it away.
        let was_there = AtomicBool::new(false);
        retry(|| async {
            let mut tx = self.0.store.begin().await?;
            if !tx.end_pickup(number).await? && !was_there.load(Relaxed) {
                return Err(Refusal::NotFound(Thing::Pickup).into());
            }
            was_there.store(true, Relaxed);
            Ok(tx.commit().await?)
        })
        .await
    }

    /// Members by user ID.
    pub async fn members(&self, actor: &Actor, page: Page) -> Answer<List<Member>> {
        actor.need(Scope::Moderate)?;
        Ok(List::page(self.0.store.read().await?.members(page).await?, page, |member| member))
    }

    /// One member.
    pub async fn member(&self, actor: &Actor, number: MemberNumber) -> Answer<Member> {
        actor.need(Scope::Moderate)?;
        let member = self.0.store.read().await?.member(number).await?;
        Ok(member.ok_or(Refusal::NotFound(Thing::Member))?)
    }

    /// Changes a member; one that is shut out is logged out everywhere, and what is booked is not on air. Refused:
    /// `InUse("operator")` for what would take the own right to operate away, `NoPaymentMethod` for premium without a
    /// card.
    pub async fn edit_member(
        &self,
        actor: &Actor,
        number: MemberNumber,
        version: Option<i64>,
        edit: OperatorEdit,
    ) -> Answer<Member> {
        actor.need(Scope::Moderate)?;
        if edit.is_operator.is_some() {
            // A token must not make what outlives it.
            actor.need(Scope::Account)?;
        }
        let ends_own = edit.is_operator == Some(false) || edit.is_blocked == Some(true);
        if number == actor.member && ends_own {
            return Err(Refusal::OwnRights.into());
        }
        let edited = retry(|| self.edit_member_as_operator(number, version, edit)).await?;
        self.committed();
        Ok(edited)
    }

    async fn edit_member_as_operator(
        &self,
        number: MemberNumber,
        version: Option<i64>,
        edit: OperatorEdit,
    ) -> Answer<Member> {
        let mut tx = self.0.store.begin().await?;
        let found = tx.lock_member(number).await?.ok_or(Refusal::NotFound(Thing::Member))?;
        is_current(version, found.version)?;
        if edit.kind == Some(MemberKind::Premium) && found.card.is_none() {
            return Err(Refusal::NoPaymentMethod.into());
        }
        let after = Member {
            kind: edit.kind.unwrap_or(found.kind),
            is_operator: edit.is_operator.unwrap_or(found.is_operator),
            is_blocked: edit.is_blocked.unwrap_or(found.is_blocked),
            version: found.version + 1,
            ..found
        };
        tx.put_member(&after).await?;
        if after.is_blocked {
            tx.end_sessions(number, None, true).await?;
        }
        tx.commit().await?;
        Ok(after)
    }

    /// Cancels anybody's reservation; nobody owes anything.
    pub async fn operator_cancel(
        &self,
        actor: &Actor,
        number: ReservationNumber,
        version: Option<i64>,
    ) -> Answer<Reservation> {
        actor.need(Scope::Moderate)?;
        let cancelled = retry(|| self.cancel_once(actor, number, version, true)).await?;
        self.committed();
        Ok(cancelled)
    }

    /// Who watches.
    pub async fn viewers(&self, actor: &Actor, number: ReservationNumber) -> Answer<Vec<Viewer>> {
        actor.need(Scope::Moderate)?;
        self.ask_streaming(move |streaming| streaming.viewers(number)).await
    }

    /// Asks what the streaming side may take a moment to answer, on a thread that may wait.
    async fn ask_streaming<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&dyn Streaming) -> T + Send + 'static,
    ) -> Answer<T> {
        let streaming = Arc::clone(&self.0.streaming);
        let asked = tokio::task::spawn_blocking(move || ask(streaming.as_ref())).await;
        asked.map_err(|error| ServiceError::Internal(format!("the streaming side was not asked: {error}")))
    }

    /// Ends one viewer's session. `reason`: one line, 1 to 200 characters.
    pub async fn kick_viewer(
        &self,
        actor: &Actor,
        number: ReservationNumber,
        viewer: u64,
        reason: &str,
    ) -> Answer<()> {
        actor.need(Scope::Moderate)?;
        let reason = reason_of(reason)?;
        let said = reason.to_owned();
        let kick = move |streaming: &dyn Streaming| streaming.kick_viewer(number, viewer, &said);
        if !self.ask_streaming(kick).await? {
            return Err(Refusal::NotFound(Thing::Viewer).into());
        }
        tracing::info!(reservation = %number, viewer, reason, by = %actor.member, "an operator ended a viewer");
        Ok(())
    }

    /// Closes the program's link; the broadcaster may connect again. `reason` as above.
    pub async fn kick_link(&self, actor: &Actor, number: ReservationNumber, reason: &str) -> Answer<()> {
        actor.need(Scope::Moderate)?;
        let reason = reason_of(reason)?;
        if !self.0.streaming.kick_link(number, reason) {
            return Err(Refusal::NotFound(Thing::Link).into());
        }
        tracing::info!(reservation = %number, reason, by = %actor.member, "an operator closed a link");
        Ok(())
    }

    /// Ledger transactions with `from <= at < to`.
    pub async fn ledger(
        &self,
        actor: &Actor,
        from: WallTime,
        to: WallTime,
        page: Page,
    ) -> Answer<List<LedgerView>> {
        actor.need(Scope::Ledger)?;
        let found = self.0.store.read().await?.ledger(from, to, page).await?;
        Ok(List::page(found, page, |entry| self.ledger_view(entry)))
    }

    /// A part of the same as CSV (RFC 4180), and the position after which the next part comes; `None`: it was the last.
    ///
    /// - `after`: where the part before ended; `None`: from the beginning, with the names of the columns.
    pub async fn ledger_csv(
        &self,
        actor: &Actor,
        (from, to): (WallTime, WallTime),
        after: Option<i64>,
    ) -> Answer<(String, Option<i64>)> {
        actor.need(Scope::Ledger)?;
        let currency = self.rules().currency;
        let mut csv = String::new();
        if after.is_none() {
            csv.push_str("at,key,kind,reservation,debit,credit,amount_minor,currency\r\n");
        }
        let mut reads = self.0.store.read().await?;
        let rows = reads.ledger_after(from, to, after.unwrap_or(i64::MIN), ROWS_AT_ONCE).await?;
        // Nothing in a row was typed by anybody: no field needs quotes.
        for (_, row) in &rows {
            let (at, key, kind, number) = (row.at, &row.key, row.kind.name(), row.reservation);
            let (debit, credit, amount) = (row.debit, row.credit, row.amount.minor());
            csv.push_str(&format!("{at},{key},{kind},{number},{debit},{credit},{amount},{currency}\r\n"));
        }
        let is_last = rows.len() < ROWS_AT_ONCE as usize;
        Ok((csv, rows.last().map(|(position, _)| *position).filter(|_| !is_last)))
    }

    /// Makes an operator. For the command line, which vouches for the address.
    ///
    /// Refused: `Invalid`, `EmailTaken`, `Exists("member")` where the user ID is a member's, unless `replace` says that
    /// this member is meant: then it operates, has that name, address and password, and no session or token any more.
    pub async fn create_operator(&self, operator: NewOperator) -> Answer<MadeOperator> {
        let replace = operator.replace;
        let registration = Registration {
            user_id: operator.user_id,
            name: operator.name.clone(),
            reading: operator.name,
            email: operator.email,
            password: operator.password,
            ..Registration::default()
        };
        let blank = self.blank_member(&registration)?;
        let password_hash = self.0.passwords.hash(&registration.password).await?;
        let new = Member { is_operator: true, is_email_verified: true, password_hash, ..blank };
        retry(|| self.put_operator(&new, replace)).await
    }

    async fn put_operator(&self, new: &Member, replace: bool) -> Answer<MadeOperator> {
        let mut tx = self.0.store.begin().await?;
        let Some(found) = tx.member_by_user_id(&new.user_id).await? else {
            tx.add_member(new).await?;
            tx.commit().await?;
            return Ok(MadeOperator { member: new.clone(), before: None });
        };
        let before = tx.lock_member(found.number).await?.unwrap_or(found);
        if before.password_hash == new.password_hash {
            // It stands already: the answer to its commit was lost.
            return Ok(MadeOperator { member: before, before: None });
        }
        if !replace {
            return Err(Refusal::Exists(Thing::Member).into());
        }
        let after = Member {
            name: new.name.clone(),
            reading: new.reading.clone(),
            email: new.email.clone(),
            is_email_verified: true,
            new_email: None,
            is_operator: true,
            is_blocked: false,
            password_hash: new.password_hash.clone(),
            version: before.version + 1,
            ..before.clone()
        };
        tx.put_member(&after).await?;
        tx.end_sessions(after.number, None, true).await?;
        for kind in ProofKind::ALL {
            tx.end_proof(after.number, kind).await?;
        }
        tx.commit().await?;
        Ok(MadeOperator { member: after, before: Some(before) })
    }

    /// Makes slot and currency of the rules those of the database. `Some`: they stay these, since something is booked
    /// in them; then nothing may be sold by these rules. To be asked before anything else.
    pub async fn sell_in(&self) -> Answer<Option<Units>> {
        let rules = self.rules();
        let wanted = Units { slot: rules.slot, currency: rules.currency };
        let found = retry(|| async {
            let mut tx = self.0.store.begin().await?;
            let found = tx.sell_in(wanted).await?;
            tx.commit().await?;
            Ok(found)
        })
        .await?;
        Ok((found != wanted).then_some(found))
    }

    /// Adds the channels that are not known yet, all or none; returns how many were. For the configuration and the
    /// command line: those that are known, sold or retired, are the API's to change.
    ///
    /// Refused: `Exists("channel")` (another has the name), `Invalid` (the toll), `UplinkSold`.
    pub async fn add_channels(&self, channels: Vec<ChannelEdit>) -> Answer<u32> {
        let added = retry(|| async {
            let mut tx = self.0.store.begin().await?;
            tx.lock_channels().await?;
            let mut known = self.taken_up(tx.as_mut()).await?;
            let mut added = 0;
            for edit in &channels {
                if known.iter().all(|channel| channel.number != edit.number) {
                    self.check_toll(edit.toll)?;
                    let channel = edit.at(1, GATHER_USUAL);
                    rules::may_sell(&known, &channel, self.rules().uplink)?;
                    tx.put_channel(&channel).await?;
                    known.push(channel);
                    added += 1;
                }
            }
            if added > 0 {
                tx.commit().await?;
            }
            Ok(added)
        })
        .await?;
        self.committed();
        Ok(added)
    }

    /// An actor for the command line, which runs with the operator's rights on the machine itself.
    pub async fn actor_of_operator(&self, user_id: &str) -> Answer<Actor> {
        let user_id: UserId = user_id.parse().map_err(|_| Refusal::NotFound(Thing::Member))?;
        let found = self.0.store.read().await?.member_by_user_id(&user_id).await?;
        let member = found.ok_or(Refusal::NotFound(Thing::Member))?;
        if !member.is_operator {
            return Err(Refusal::NotOperator.into());
        }
        Ok(Actor { member: member.number, is_operator: true, scopes: Scopes::ALL, session: None })
    }
}

impl ChannelEdit {
    /// - `gather`: where the edit does not say how long sound may wait.
    fn at(&self, version: i64, gather: Duration) -> SoldChannel {
        SoldChannel {
            number: self.number,
            name: self.name.clone(),
            seats: self.seats,
            class: self.class,
            toll: self.toll,
            gather: self.gather.unwrap_or(gather),
            is_retired: false,
            version,
        }
    }
}

/// One line of 1 to 200 characters, without the spaces around.
pub(super) fn reason_of(text: &str) -> Result<&str, Refusal> {
    let text = text.trim();
    let is_right = (1..=200).contains(&text.chars().take(201).count()) && is_one_line(text);
    if is_right {
        Ok(text)
    } else {
        Err(FieldProblem::new("reason", "1 to 200 characters on one line", "1~200文字、1行").into())
    }
}
