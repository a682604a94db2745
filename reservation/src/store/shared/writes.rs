//! Writing: [`Tx`].

use async_trait::async_trait;
use slotcast_core::{time::WallTime, words::ChannelNumber};

use super::{
    super::super::{
        ApiToken, Conflict, Job, JobEnd, JobKind, KeptAnswer, Payment, PaymentState, Pickup, Reads as _, Run,
        ScheduleChange, Session, Stale, Tx, Units, ViewerSample, Webhook, names,
    },
    Builder, CHANNELS_LOCK, Db, Query, StoreError, Stored, Work, rows,
};
use crate::domain::{
    effects::{Effects, LedgerTransaction, MailRequest, PaymentRequest, SlotChange},
    event::{Event, EventKind},
    member::Member,
    proof::{Proof, ProofKind},
    reservation::{Reservation, SoldChannel},
    words::{Email, MemberNumber, ReservationNumber},
};

const DAY_MICROS: i64 = 24 * 60 * 60 * 1_000_000;
/// Longer than any provider repeats an event.
const EVENTS_DAYS_MAX: i64 = 30;
/// Slots of one INSERT: three values each, and SQLite takes 32766 of them.
const SLOTS_PER_STATEMENT_MAX: usize = 4096;
/// Conflicting slots that are named, at most.
const NAMED_SLOTS_MAX: i64 = 1000;

const LOCK_MEMBER: &str =
    concat!("SELECT number, ", member_columns!(), " FROM members WHERE number = $1", for_change!());
const LOCK_RESERVATION: &str =
    concat!("SELECT number, ", reservation_columns!(), " FROM reservations WHERE number = $1", for_change!());
const LOCK_CHANNELS: &str =
    concat!("SELECT number, ", channel_columns!(), " FROM channels ORDER BY number", for_change!());
const HOLD_CHANNEL: &str =
    concat!("SELECT number, ", channel_columns!(), " FROM channels WHERE number = $1", for_holding!());
const ADD_MEMBER: &str = concat!(
    "INSERT INTO members (number, ",
    member_columns!(),
    ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, \
     $22, $23, $24, $25, $26, $27)"
);
const PUT_MEMBER: &str = concat!(
    "UPDATE members SET (",
    member_columns!(),
    ") = ($2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, \
     $22, $23, $24, $25, $26, $27) WHERE number = $1 AND version = $27 - 1"
);
const ADD_RESERVATION: &str = concat!(
    "INSERT INTO reservations (number, ",
    reservation_columns!(),
    ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, \
     $22, $23, $24, $25, $26, $27, $28, $29, $30) ON CONFLICT (number) DO NOTHING"
);
const PUT_RESERVATION: &str = concat!(
    "UPDATE reservations SET (",
    reservation_columns!(),
    ") = ($2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, \
     $22, $23, $24, $25, $26, $27, $28, $29, $30) WHERE number = $1 AND version = $30 - 1"
);
const ADD_CHANNEL: &str = concat!(
    "INSERT INTO channels (number, ",
    channel_columns!(),
    ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
);
const PUT_CHANNEL: &str = concat!(
    "UPDATE channels SET (",
    channel_columns!(),
    ") = ($2, $3, $4, $5, $6, $7, $8) WHERE number = $1 AND version = $8 - 1"
);
/// See the migration: for a channel that becomes smaller, or is retired.
const NOTE_PROMISED: &str = "UPDATE channels
    SET promised_until = (SELECT max(window_end) FROM reservations WHERE channel = $1)
    WHERE number = $1 AND (seats > $2 OR class > $3 OR $4)";
const ADD_PAYMENT: &str = "INSERT INTO payments
    (key, kind, reservation, member, amount, of_key, elsewhere, reason, asked_as, state, created_at, tries, next_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'waiting', $10, 0, $11) ON CONFLICT (key) DO NOTHING";
const SETTLE_PAYMENT: &str = "UPDATE payments SET state = $2, reference = $3, error = $4, next_at = $5,
    tries = CASE WHEN tries < $6 THEN $6 ELSE tries END, attempt = $7 WHERE key = $1";
const ADD_LEDGER: &str = concat!(
    "INSERT INTO ledger (",
    ledger_columns!(),
    ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (key) DO NOTHING"
);
const PUT_RUN: &str = concat!(
    "INSERT INTO runs (reservation, node, boot, normal_ms, media_ms, viewers_peak, viewer_ms)
    VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (reservation, node, boot) DO UPDATE SET normal_ms = ",
    larger!(),
    "(runs.normal_ms, excluded.normal_ms), media_ms = ",
    larger!(),
    "(runs.media_ms, excluded.media_ms), viewers_peak = ",
    larger!(),
    "(runs.viewers_peak, excluded.viewers_peak), viewer_ms = ",
    larger!(),
    "(runs.viewer_ms, excluded.viewer_ms)"
);
const ADD_SAMPLE: &str = "INSERT INTO samples (reservation, at, viewers) VALUES ($1, $2, $3)
    ON CONFLICT (reservation, at) DO UPDATE SET viewers = excluded.viewers";
const SERVERS: &str = concat!("SELECT present_at FROM servers ORDER BY node", for_change!());
const FORGET_SESSIONS: &str = concat!(
    "DELETE FROM sessions WHERE token_hash IN (SELECT token_hash FROM sessions WHERE expires_at <= $1",
    for_taking!(),
    ")"
);
const FORGET_ANSWERS: &str = concat!(
    "DELETE FROM kept_answers WHERE (scope, key) IN (SELECT scope, key FROM kept_answers WHERE created_at < $1",
    for_taking!(),
    ")"
);
const FORGET_EVENTS: &str = concat!(
    "DELETE FROM seen_events WHERE event IN (SELECT event FROM seen_events WHERE seen_at < $1",
    for_taking!(),
    ")"
);

const FORGET_PROOFS: &str = concat!(
    "DELETE FROM proofs WHERE code_hash IN (SELECT code_hash FROM proofs WHERE expires_at <= $1",
    for_taking!(),
    ")"
);
const PUT_PROOF: &str = "INSERT INTO proofs (member, kind, serial, code_hash, email, expires_at)
    VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (member, kind) DO UPDATE SET serial = excluded.serial,
    code_hash = excluded.code_hash, email = excluded.email, expires_at = excluded.expires_at";
const PUT_HOME: &str = "INSERT INTO homes (member, network, seen_at) VALUES ($1, $2, $3)
    ON CONFLICT (member, network) DO UPDATE SET seen_at = excluded.seen_at";
const FORGET_HOMES: &str = "DELETE FROM homes WHERE member = $1 AND network NOT IN
    (SELECT network FROM homes WHERE member = $1 ORDER BY seen_at DESC, network LIMIT $2)";
/// What a member wrote into programs; how long they were, and what they cost, stays.
const ERASE_PROGRAMS: &str = "UPDATE reservations SET title = '-', genre = '', outline = '', details = '',
    show_email = FALSE, show_web = FALSE, friends = '[]', version = version + 1 WHERE member = $1";
/// Networks of one member that are remembered.
const HOMES_MAX: i64 = 20;

/// The values of [`ADD_MEMBER`] and [`PUT_MEMBER`].
fn member_query<'q>(sql: &'static str, member: &Member) -> Stored<Query<'q>> {
    let contact = member.contact.as_ref();
    let card = member.card.as_ref();
    let expires = card.and_then(|card| card.expires);
    Ok(sqlx::query(sql)
        .bind(member.number.0)
        .bind(member.user_id.as_str().to_owned())
        .bind(names::text(&member.name)?.to_owned())
        .bind(names::text(&member.reading)?.to_owned())
        .bind(member.email.as_str().to_owned())
        .bind(names::folded(member.email.as_str()))
        .bind(member.email_public)
        .bind(owned(member.web.as_ref())?)
        .bind(member.language.tag())
        .bind(names::member_kind_name(member.kind))
        .bind(member.is_operator)
        .bind(member.is_blocked)
        .bind(names::text(&member.password_hash.0)?.to_owned())
        .bind(owned(contact.map(|contact| &contact.address))?)
        .bind(owned(contact.map(|contact| &contact.phone))?)
        .bind(owned(contact.and_then(|contact| contact.mobile.as_ref()))?)
        .bind(owned(contact.and_then(|contact| contact.fax.as_ref()))?)
        .bind(owned(card.map(|card| &card.token))?)
        .bind(owned(card.map(|card| &card.brand))?)
        .bind(owned(card.map(|card| &card.last_four))?)
        .bind(expires.map(|(year, _)| i64::from(year)))
        .bind(expires.map(|(_, month)| i64::from(month)))
        .bind(owned(member.terminal_key.as_ref())?)
        .bind(member.registered_at.as_micros())
        .bind(member.is_email_verified)
        .bind(member.new_email.as_ref().map(|email| email.as_str().to_owned()))
        .bind(member.version))
}

fn owned(optional: Option<&String>) -> Stored<Option<String>> {
    Ok(names::optional_text(optional.map(String::as_str))?.map(str::to_owned))
}

fn micros(time: Option<WallTime>) -> Option<i64> {
    time.map(WallTime::as_micros)
}

fn json<T: AsRef<str>>(texts: &[T]) -> Stored<String> {
    let texts: Vec<&str> = texts.iter().map(AsRef::as_ref).collect();
    serde_json::to_string(&texts).map_err(|error| StoreError::Broken(error.to_string()))
}

impl Work {
    /// The values of [`ADD_RESERVATION`] and [`PUT_RESERVATION`].
    fn reservation_query<'q>(&self, sql: &'static str, is: &Reservation) -> Stored<Query<'q>> {
        let place = rows::password_place(is.number);
        let sealed = is.program.password.as_ref().map(|password| self.vault.seal(&place, &password.0));
        let sealed = sealed.transpose().map_err(|error| StoreError::Broken(error.to_string()))?;
        let friends: Vec<&str> = is.program.friends.iter().map(Email::as_str).collect();
        Ok(sqlx::query(sql)
            .bind(is.number.0)
            .bind(is.member.0)
            .bind(names::program_kind_name(is.kind))
            .bind(i64::from(is.channel.0))
            .bind(is.window.start().as_micros())
            .bind(is.window.end().as_micros())
            .bind(i64::from(is.seats.count()))
            .bind(names::signed(is.class.bits_per_second())?)
            .bind(names::signed(is.toll.0)?)
            .bind(is.state.name())
            .bind(names::text(&is.program.title)?.to_owned())
            .bind(names::text(&is.program.genre)?.to_owned())
            .bind(names::text(&is.program.outline)?.to_owned())
            .bind(names::text(&is.program.details)?.to_owned())
            .bind(names::open_level_name(is.program.open_level))
            .bind(sealed)
            .bind(is.program.show_email)
            .bind(is.program.show_web)
            .bind(json(&friends)?)
            .bind(is.booked_at.as_micros())
            .bind(is.hold_until.as_micros())
            .bind(is.reconfirm_until.as_micros())
            .bind(micros(is.terms_accepted_at))
            .bind(micros(is.confirmed_at))
            .bind(micros(is.over_at))
            .bind(is.id_hash.map(|hash| hash.0.to_vec()))
            .bind(i64::from(is.id_issue))
            .bind(is.is_reminded)
            .bind(i64::from(is.calendar_sequence))
            .bind(is.version))
    }

    /// Refuses with the version that is there; 0: there is none.
    async fn refuse_version(&mut self, sql: &'static str, number: i64) -> Stored<()> {
        let row = self.row(sqlx::query(sql).bind(number)).await?;
        let version = row.map_or(Ok(0), |row| rows::at(&row, 0))?;
        self.refuse(Conflict::Version(version))
    }

    async fn write_reservation(&mut self, reservation: &Reservation) -> Stored<()> {
        let sql = if reservation.version == 1 { ADD_RESERVATION } else { PUT_RESERVATION };
        let query = self.reservation_query(sql, reservation)?;
        if self.run(query).await? != 1 {
            let sql = "SELECT version FROM reservations WHERE number = $1";
            return self.refuse_version(sql, reservation.number.0).await;
        }
        if names::touches_schedule(reservation.state) {
            self.schedule.insert(ScheduleChange::Program(reservation.number));
        }
        Ok(())
    }

    /// Inserts in ascending order, so that two that want the same slots wait for each other instead of locking up.
    async fn take_slots(&mut self, reservation: &Reservation, starts: &[WallTime]) -> Stored<()> {
        let mut starts: Vec<i64> = starts.iter().map(|start| start.as_micros()).collect();
        starts.sort_unstable();
        let channel = i64::from(reservation.channel.0);
        for some in starts.chunks(SLOTS_PER_STATEMENT_MAX) {
            let mut query = Builder::new("INSERT INTO slots (channel, start, reservation) ");
            query.push_values(some, |mut values, start| {
                values.push_bind(channel).push_bind(*start).push_bind(reservation.number.0);
            });
            query.push(" ON CONFLICT (channel, start) DO NOTHING");
            if self.run(query.build().persistent(false)).await? != some.len() as u64 {
                return self.refuse_slots(reservation, channel, &starts).await;
            }
        }
        Ok(())
    }

    /// Refuses with those of `starts` that others hold. None any more: they were freed since, and the next try gets them.
    async fn refuse_slots(&mut self, by: &Reservation, channel: i64, starts: &[i64]) -> Stored<()> {
        let sql =
            "SELECT start FROM slots WHERE channel = $1 AND reservation <> $2 AND start >= $3 AND start <= $4
            ORDER BY start LIMIT $5";
        let (first, last) = (starts.first().copied(), starts.last().copied());
        let query = sqlx::query::<Db>(sql).bind(channel).bind(by.number.0).bind(first).bind(last);
        let found = self.rows(query.bind(NAMED_SLOTS_MAX)).await?;
        let found = found.iter().map(|row| rows::at(row, 0)).collect::<Stored<Vec<i64>>>()?;
        let wanted = |start: &i64| starts.binary_search(start).is_ok();
        let taken: Vec<_> = found.into_iter().filter(wanted).map(WallTime::from_micros).collect();
        if taken.is_empty() {
            return self.again("the slots were freed while they were asked for");
        }
        self.refuse(Conflict::Slots(taken))
    }

    async fn write_mails(&mut self, mails: &[MailRequest], now: WallTime) -> Stored<()> {
        for mail in mails {
            if !self.write_mail(mail, now).await? {
                return self.refuse(Conflict::Key);
            }
        }
        Ok(())
    }

    /// `false`: one of that key is there already.
    async fn write_payment(
        &mut self,
        request: &PaymentRequest,
        now: WallTime,
        next_at: WallTime,
    ) -> Stored<bool> {
        let query = sqlx::query(ADD_PAYMENT)
            .bind(names::text(&request.key)?)
            .bind(request.kind.name())
            .bind(request.reservation.0)
            .bind(request.member.0)
            .bind(request.amount.minor())
            .bind(names::optional_text(request.of.as_deref())?)
            .bind(request.elsewhere.minor())
            .bind(names::optional_text(request.reason.as_deref())?)
            .bind(names::optional_text(request.asked_as.as_deref())?)
            .bind(now.as_micros())
            .bind(next_at.as_micros());
        if self.run(query).await? != 1 {
            return Ok(false);
        }
        self.write_job(JobKind::Payment, &request.key, request.member, None, now.max(next_at), next_at).await
    }

    /// Tells of events once the transaction stands, and has them sent to webhooks.
    async fn tell(&mut self, events: &[Event]) -> Stored<()> {
        let now = self.now();
        for event in events {
            self.write_delivery(None, event, now).await?;
        }
        self.told.events.extend_from_slice(events);
        Ok(())
    }

    async fn write_ledger(&mut self, ledger: &[LedgerTransaction]) -> Stored<()> {
        for posted in ledger {
            let (debit, debit_member) = names::account_columns(posted.debit);
            let (credit, credit_member) = names::account_columns(posted.credit);
            let query = sqlx::query(ADD_LEDGER)
                .bind(names::text(&posted.key)?)
                .bind(posted.kind.name())
                .bind(names::text(&posted.of)?)
                .bind(posted.reservation.0)
                .bind(posted.at.as_micros())
                .bind(debit)
                .bind(debit_member)
                .bind(credit)
                .bind(credit_member)
                .bind(posted.amount.minor());
            if self.run(query).await? != 1 {
                return self.refuse(Conflict::Key);
            }
            if EventKind::of_ledger(posted.kind).is_some()
                && let Some(reservation) = self.reservation(posted.reservation).await?
            {
                self.tell(Event::of_entry(posted, &reservation).as_slice()).await?;
            }
        }
        Ok(())
    }
}

fn channel_query<'q>(sql: &'static str, channel: &SoldChannel) -> Stored<Query<'q>> {
    let ChannelNumber(number) = channel.number;
    Ok(sqlx::query(sql)
        .bind(i64::from(number))
        .bind(channel.name.as_str().to_owned())
        .bind(i64::from(channel.seats.count()))
        .bind(names::signed(channel.class.bits_per_second())?)
        .bind(names::signed(channel.toll.0)?)
        .bind(i64::try_from(channel.gather.as_millis()).unwrap_or(i64::MAX))
        .bind(channel.is_retired)
        .bind(channel.version))
}

#[async_trait]
impl Tx for Work {
    async fn lock_member(&mut self, number: MemberNumber) -> Stored<Option<Member>> {
        self.member_where(sqlx::query(LOCK_MEMBER).bind(number.0)).await
    }

    async fn lock_reservation(&mut self, number: ReservationNumber) -> Stored<Option<Reservation>> {
        self.reservation_where(sqlx::query(LOCK_RESERVATION).bind(number.0)).await
    }

    async fn lock_channels(&mut self) -> Stored<Vec<SoldChannel>> {
        if let Some(sql) = CHANNELS_LOCK {
            self.run(sqlx::query(sql)).await?;
        }
        self.rows(sqlx::query(LOCK_CHANNELS)).await?.iter().map(rows::channel).collect()
    }

    async fn hold_channel(&mut self, number: ChannelNumber) -> Stored<Option<SoldChannel>> {
        let query = sqlx::query(HOLD_CHANNEL).bind(i64::from(number.0));
        self.row(query).await?.as_ref().map(rows::channel).transpose()
    }

    async fn add_member(&mut self, member: &Member) -> Stored<()> {
        self.run(member_query(ADD_MEMBER, member)?).await.map(drop)
    }

    async fn put_member(&mut self, member: &Member) -> Stored<()> {
        let sql = "SELECT count(*) FROM members WHERE number = $1 AND is_blocked = $2";
        let query = sqlx::query(sql).bind(member.number.0).bind(member.is_blocked);
        if self.count(query).await? == 0 {
            self.schedule.insert(ScheduleChange::ProgramsOf(member.number));
        }
        if self.run(member_query(PUT_MEMBER, member)?).await? != 1 {
            return self
                .refuse_version("SELECT version FROM members WHERE number = $1", member.number.0)
                .await;
        }
        Ok(())
    }

    async fn erase_member(&mut self, nobody: &Member, now: WallTime) -> Stored<()> {
        self.put_member(nobody).await?;
        self.schedule.insert(ScheduleChange::ProgramsOf(nobody.number));
        self.end_sessions(nobody.number, None, true).await?;
        for sql in [
            "DELETE FROM proofs WHERE member = $1",
            "DELETE FROM homes WHERE member = $1",
            "DELETE FROM jobs WHERE member = $1 AND (kind IN ('member_mail', 'friend_mail')
                OR kind = 'webhook' AND next_at IS NULL)",
            "DELETE FROM pickups WHERE reservation IN (SELECT number FROM reservations WHERE member = $1)",
            ERASE_PROGRAMS,
        ] {
            self.run(sqlx::query(sql).bind(nobody.number.0)).await?;
        }
        let sql = "DELETE FROM kept_answers WHERE scope = $1";
        self.run(sqlx::query(sql).bind(nobody.number.to_string())).await?;
        let sql = "UPDATE members SET erased_at = $2 WHERE number = $1";
        self.run(sqlx::query(sql).bind(nobody.number.0).bind(now.as_micros())).await.map(drop)
    }

    async fn add_session(&mut self, session: &Session) -> Stored<()> {
        self.run(sqlx::query(FORGET_SESSIONS).bind(session.created_at.as_micros())).await?;
        let sql = "INSERT INTO sessions (token_hash, member, csrf_hash, created_at, expires_at)
            VALUES ($1, $2, $3, $4, $5)";
        let query = sqlx::query(sql)
            .bind(&session.token_hash[..])
            .bind(session.member.0)
            .bind(&session.csrf_hash[..])
            .bind(session.created_at.as_micros())
            .bind(session.expires_at.as_micros());
        self.run(query).await.map(drop)
    }

    async fn end_session(&mut self, token_hash: &[u8; 32]) -> Stored<()> {
        let query = sqlx::query("DELETE FROM sessions WHERE token_hash = $1").bind(&token_hash[..]);
        self.run(query).await.map(drop)
    }

    async fn end_sessions(
        &mut self,
        member: MemberNumber,
        keep: Option<&[u8; 32]>,
        tokens: bool,
    ) -> Stored<()> {
        // No token's hash is empty.
        let keep = keep.map_or(&[][..], |keep| &keep[..]);
        let sql = "DELETE FROM sessions WHERE member = $1 AND token_hash <> $2";
        self.run(sqlx::query(sql).bind(member.0).bind(keep)).await?;
        if tokens {
            self.run(sqlx::query("DELETE FROM api_tokens WHERE member = $1").bind(member.0)).await?;
        }
        Ok(())
    }

    async fn put_proof(&mut self, proof: &Proof, now: WallTime) -> Stored<()> {
        self.run(sqlx::query(FORGET_PROOFS).bind(now.as_micros())).await?;
        let query = sqlx::query(PUT_PROOF)
            .bind(proof.member.0)
            .bind(proof.kind.name())
            .bind(proof.serial)
            .bind(&proof.code_hash[..])
            .bind(proof.email.as_str())
            .bind(proof.expires_at.as_micros());
        self.run(query).await.map(drop)
    }

    async fn end_proof(&mut self, member: MemberNumber, kind: ProofKind) -> Stored<()> {
        let sql = "DELETE FROM proofs WHERE member = $1 AND kind = $2";
        self.run(sqlx::query(sql).bind(member.0).bind(kind.name())).await.map(drop)
    }

    async fn put_home(&mut self, member: MemberNumber, network: &[u8; 32], now: WallTime) -> Stored<()> {
        let query = sqlx::query(PUT_HOME).bind(member.0).bind(&network[..]).bind(now.as_micros());
        self.run(query).await?;
        self.run(sqlx::query(FORGET_HOMES).bind(member.0).bind(HOMES_MAX)).await.map(drop)
    }

    async fn add_api_token(&mut self, token: &ApiToken) -> Stored<()> {
        let sql = "INSERT INTO api_tokens (token_hash, member, name, scopes, created_at, expires_at)
            VALUES ($1, $2, $3, $4, $5, $6)";
        let query = sqlx::query(sql)
            .bind(&token.token_hash[..])
            .bind(token.member.0)
            .bind(names::text(&token.name)?)
            .bind(names::text(&token.scopes)?)
            .bind(token.created_at.as_micros())
            .bind(token.expires_at.as_micros());
        self.run(query).await.map(drop)
    }

    async fn end_api_token(&mut self, member: MemberNumber, name: &str) -> Stored<bool> {
        let sql = "DELETE FROM api_tokens WHERE member = $1 AND name = $2";
        Ok(self.run(sqlx::query(sql).bind(member.0).bind(names::text(name)?)).await? > 0)
    }

    async fn put_channel(&mut self, channel: &SoldChannel) -> Stored<()> {
        self.changes_slots = true;
        let query = sqlx::query(NOTE_PROMISED).bind(i64::from(channel.number.0));
        let query = query.bind(i64::from(channel.seats.count()));
        let query = query.bind(names::signed(channel.class.bits_per_second())?).bind(channel.is_retired);
        self.run(query).await?;
        let sql = if channel.version == 1 { ADD_CHANNEL } else { PUT_CHANNEL };
        if self.run(channel_query(sql, channel)?).await? != 1 {
            let sql = "SELECT version FROM channels WHERE number = $1";
            return self.refuse_version(sql, i64::from(channel.number.0)).await;
        }
        self.schedule.insert(ScheduleChange::Channels);
        Ok(())
    }

    async fn write(&mut self, effects: &Effects) -> Stored<()> {
        let (reservation, now) = (&effects.reservation, self.now());
        self.write_reservation(reservation).await?;
        self.changes_slots |= effects.slots != SlotChange::Keep;
        match &effects.slots {
            SlotChange::Keep => (),
            SlotChange::Take(starts) => self.take_slots(reservation, starts).await?,
            SlotChange::FreeFrom(from) => {
                let sql = "DELETE FROM slots WHERE reservation = $1 AND start >= $2";
                self.run(sqlx::query(sql).bind(reservation.number.0).bind(from.as_micros())).await?;
            }
        }
        self.tell(&effects.events).await?;
        self.write_mails(&effects.mails, now).await?;
        for payment in &effects.payments {
            if !self.write_payment(payment, now, now).await? {
                return self.refuse(Conflict::Key);
            }
        }
        if let Some(terms) = &effects.terms {
            let sql = "INSERT INTO terms (hash, text) VALUES ($1, $2) ON CONFLICT (hash) DO NOTHING";
            let query = sqlx::query(sql).bind(&terms.hash[..]).bind(names::text(&terms.text)?.to_owned());
            self.run(query).await?;
            let sql = "INSERT INTO accepted_terms (reservation, hash, accepted_at) VALUES ($1, $2, $3)";
            let query = sqlx::query(sql).bind(reservation.number.0).bind(&terms.hash[..]);
            self.run(query.bind(terms.at.as_micros())).await?;
        }
        self.write_ledger(&effects.ledger).await
    }

    async fn add_events(&mut self, events: &[Event]) -> Stored<()> {
        self.tell(events).await
    }

    async fn put_webhook(&mut self, webhook: &Webhook) -> Stored<()> {
        self.write_webhook(webhook).await
    }

    async fn end_webhook(&mut self, id: i64) -> Stored<bool> {
        self.take_webhook_away(id).await
    }

    async fn add_delivery(&mut self, webhook: i64, event: &Event, now: WallTime) -> Stored<()> {
        self.write_delivery(Some(webhook), event, now).await
    }

    async fn replay(&mut self, webhook: i64, event: &str, now: WallTime) -> Stored<bool> {
        self.send_again(webhook, event, now).await
    }

    async fn add_mails(&mut self, mails: &[MailRequest], now: WallTime) -> Stored<()> {
        self.write_mails(mails, now).await
    }

    async fn add_payment(
        &mut self,
        request: &PaymentRequest,
        now: WallTime,
        next_at: WallTime,
    ) -> Stored<()> {
        self.write_payment(request, now, next_at).await.map(drop)
    }

    async fn stop_mails(&mut self, address_hash: &[u8; 32], now: WallTime) -> Stored<()> {
        let sql = "INSERT INTO mail_stops (address_hash, stopped_at) VALUES ($1, $2) ON CONFLICT DO NOTHING";
        let query = sqlx::query(sql).bind(address_hash.to_vec()).bind(now.as_micros());
        self.run(query).await.map(drop)
    }

    async fn settle_payment(&mut self, payment: &Payment, ledger: &[LedgerTransaction]) -> Stored<()> {
        let query = sqlx::query(SETTLE_PAYMENT)
            .bind(names::text(&payment.request.key)?)
            .bind(payment.state.name())
            .bind(names::optional_text(payment.reference.as_deref())?)
            .bind(names::optional_text(payment.error.as_deref())?)
            .bind(payment.next_at.as_micros())
            .bind(i64::from(payment.tries))
            .bind(i64::from(payment.attempt));
        if self.run(query).await? != 1 {
            return self.broken(format!("no payment has the key {}", payment.request.key));
        }
        if payment.state == PaymentState::Waiting {
            self.wait_for_payment(payment).await?;
        } else {
            let sql = "DELETE FROM jobs WHERE key = $1";
            self.run(sqlx::query(sql).bind(names::text(&payment.request.key)?)).await?;
        }
        self.write_ledger(ledger).await
    }

    async fn take_jobs(
        &mut self,
        kind: JobKind,
        now: WallTime,
        leased_until: WallTime,
        limit: u32,
    ) -> Stored<Vec<Job>> {
        match kind {
            JobKind::Webhook => self.lease_deliveries(now, leased_until, limit).await,
            _ => self.lease_jobs(kind, None, now, leased_until, limit).await,
        }
    }

    async fn end_job(&mut self, key: &str, end: &JobEnd, now: WallTime) -> Stored<()> {
        self.note_job(key, end, now).await
    }

    async fn put_runs(&mut self, node: &str, boot: i64, runs: &[(ReservationNumber, Run)]) -> Stored<()> {
        // In one order, so that two that write wait for each other instead of locking up.
        let mut runs: Vec<_> = runs.iter().collect();
        runs.sort_by_key(|(number, _)| *number);
        for (number, run) in runs {
            let query = sqlx::query(PUT_RUN)
                .bind(number.0)
                .bind(names::text(node)?)
                .bind(boot)
                .bind(names::signed(run.normal_ms)?)
                .bind(names::signed(run.media_ms)?)
                .bind(i64::from(run.viewers_peak))
                .bind(names::signed(run.viewer_ms)?);
            self.run(query).await?;
        }
        Ok(())
    }

    async fn add_samples(&mut self, samples: &[(ReservationNumber, ViewerSample)]) -> Stored<()> {
        let mut samples: Vec<_> = samples.iter().collect();
        samples.sort_by_key(|(number, _)| *number);
        for (number, sample) in samples {
            let query = sqlx::query(ADD_SAMPLE).bind(number.0).bind(sample.at.as_micros());
            self.run(query.bind(i64::from(sample.viewers))).await?;
        }
        Ok(())
    }

    async fn put_pickup(&mut self, pickup: &Pickup) -> Stored<()> {
        let sql = "INSERT INTO pickups (reservation, note, position) VALUES ($1, $2, $3)
            ON CONFLICT (reservation) DO UPDATE SET note = excluded.note, position = excluded.position";
        let query = sqlx::query(sql)
            .bind(pickup.reservation.0)
            .bind(names::text(&pickup.note)?)
            .bind(i64::from(pickup.position));
        self.run(query).await.map(drop)
    }

    async fn end_pickup(&mut self, reservation: ReservationNumber) -> Stored<bool> {
        let query = sqlx::query("DELETE FROM pickups WHERE reservation = $1").bind(reservation.0);
        Ok(self.run(query).await? > 0)
    }

    async fn keep_answer(
        &mut self,
        scope: &str,
        key: &str,
        answer: &KeptAnswer,
        now: WallTime,
    ) -> Stored<()> {
        let oldest = now.as_micros().saturating_sub(DAY_MICROS);
        self.run(sqlx::query(FORGET_ANSWERS).bind(oldest)).await?;
        let sql = "INSERT INTO kept_answers (scope, key, request_hash, made, created_at)
            VALUES ($1, $2, $3, $4, $5) ON CONFLICT (scope, key) DO NOTHING";
        let query = sqlx::query(sql)
            .bind(names::text(scope)?)
            .bind(names::text(key)?)
            .bind(&answer.request_hash[..])
            .bind(names::text(&answer.made)?)
            .bind(now.as_micros());
        if self.run(query).await? != 1 {
            return self.refuse(Conflict::Key);
        }
        Ok(())
    }

    async fn sell_in(&mut self, units: Units) -> Stored<Units> {
        let sql = "UPDATE server SET slot = $1, currency = $2
            WHERE slot IS NULL OR NOT EXISTS (SELECT 1 FROM reservations)";
        let slot = i64::try_from(units.slot.as_micros()).unwrap_or(i64::MAX);
        self.run(sqlx::query(sql).bind(slot).bind(units.currency.as_str().to_owned())).await?;
        let row = self.row(sqlx::query("SELECT slot, currency FROM server")).await?;
        row.as_ref().map_or(Ok(units), rows::units)
    }

    async fn note_presence(&mut self, node: &str, now: WallTime) -> Stored<Option<WallTime>> {
        let rows = self.rows(sqlx::query(SERVERS)).await?;
        let times = rows.iter().map(|row| rows::at(row, "present_at")).collect::<Stored<Vec<i64>>>()?;
        let sql = "INSERT INTO servers (node, present_at) VALUES ($1, $2)
            ON CONFLICT (node) DO UPDATE SET present_at = excluded.present_at";
        self.run(sqlx::query(sql).bind(names::text(node)?).bind(now.as_micros())).await?;
        Ok(times.into_iter().max().map(WallTime::from_micros))
    }

    async fn first_seen(&mut self, event: &str, now: WallTime) -> Stored<bool> {
        let oldest = now.as_micros().saturating_sub(EVENTS_DAYS_MAX * DAY_MICROS);
        self.run(sqlx::query(FORGET_EVENTS).bind(oldest)).await?;
        let sql = "INSERT INTO seen_events (event, seen_at) VALUES ($1, $2) ON CONFLICT (event) DO NOTHING";
        Ok(self.run(sqlx::query(sql).bind(names::text(event)?).bind(now.as_micros())).await? == 1)
    }

    async fn remove_stale(&mut self, what: Stale, before: WallTime, limit: u32) -> Stored<u64> {
        self.remove_rows(what, before, limit).await
    }

    async fn commit(self: Box<Self>) -> Stored<()> {
        self.finish().await
    }
}
