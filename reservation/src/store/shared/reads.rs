//! Reading: [`Reads`] of one transaction.

use async_trait::async_trait;
use slotcast_core::{
    time::WallTime,
    words::{BitRate, ChannelNumber, Seats},
};

use super::{
    super::super::{
        ApiToken, Delivery, Due, DueAt, KeptAnswer, Listed, MailCount, OutboxDepth, Page, Payment, Pickup,
        Reads, ReservationFilter, Run, ScheduleChange, Scheduled, Session, TakenSlot, ViewerSample, WallSpan,
        Webhook, names,
    },
    Builder, Db, Row, Stored, Work, rows,
};
use crate::{
    domain::{
        effects::{AcceptedTerms, Account, LedgerTransaction, MailKind, PaymentState},
        member::Member,
        proof::{Proof, ProofKind},
        reservation::{Reservation, SoldChannel},
        words::{Email, MemberNumber, ReservationNumber, UserId},
    },
    limits::{GUIDE_ITEMS_MAX, OUTBOX_RETRY_MAX, ROWS_AT_ONCE},
};

const MEMBER: &str = concat!("SELECT number, ", member_columns!(), " FROM members WHERE number = $1");
const MEMBER_BY_USER_ID: &str =
    concat!("SELECT number, ", member_columns!(), " FROM members WHERE user_id = $1");
const MEMBER_BY_EMAIL: &str =
    concat!("SELECT number, ", member_columns!(), " FROM members WHERE email_folded = $1");
const MEMBERS_IN: &str = concat!("SELECT number, ", member_columns!(), " FROM members WHERE number IN (");
const MEMBERS: &str =
    concat!("SELECT number, ", member_columns!(), " FROM members ORDER BY user_id LIMIT $1 OFFSET $2");
const SESSION: &str = "SELECT token_hash, member, csrf_hash, created_at, expires_at FROM sessions
    WHERE token_hash = $1 AND expires_at > $2";
const API_TOKEN: &str = "SELECT token_hash, member, name, scopes, created_at, expires_at FROM api_tokens
    WHERE token_hash = $1 AND expires_at > $2";
const API_TOKENS: &str = "SELECT token_hash, member, name, scopes, created_at, expires_at FROM api_tokens
    WHERE member = $1 ORDER BY created_at, name";
const PROOF: &str =
    "SELECT member, kind, serial, code_hash, email, expires_at FROM proofs WHERE code_hash = $1";
const PROOF_OF: &str =
    "SELECT member, kind, serial, code_hash, email, expires_at FROM proofs WHERE member = $1 AND kind = $2";
const CHANNELS: &str = concat!("SELECT number, ", channel_columns!(), " FROM channels ORDER BY number");
const RESERVATION: &str =
    concat!("SELECT number, ", reservation_columns!(), " FROM reservations WHERE number = $1");
const RESERVATIONS: &str = concat!("SELECT number, ", reservation_columns!(), " FROM reservations");
const TAKEN_SLOTS: &str = "SELECT channel, start, reservation FROM slots
    WHERE start >= $1 AND start < $2 AND channel = $3 ORDER BY start";
/// A row for each channel: a row for each slot costs ten times as much to hand over. `IN` leads SQLite along the key.
const TAKEN_STARTS: &str = "SELECT channel, string_agg(CAST(start AS TEXT), ',') AS starts FROM slots
    WHERE start >= $1 AND start < $2 AND channel IN (SELECT number FROM channels) GROUP BY channel";
const TAKEN_STARTS_ON: &str = "SELECT channel, string_agg(CAST(start AS TEXT), ',') AS starts FROM slots
    WHERE start >= $1 AND start < $2 AND channel = $3 GROUP BY channel";
const SLOTS_OF: &str = "SELECT count(*) FROM reservations JOIN slots ON slots.reservation = reservations.number
    WHERE reservations.member = $1 AND reservations.kind = 'private' AND slots.start >= $2 AND slots.start < $3
    AND reservations.window_start < $3 AND reservations.window_start > $2
        - (SELECT coalesce(max(window_end - window_start), 0) FROM reservations)";
const TAKEN_COUNTS: &str = "SELECT channel, count(*) AS count FROM slots
    WHERE start >= $1 AND start < $2 AND channel IN (SELECT number FROM channels) GROUP BY channel";
/// Kinds of bookings that are not over, on channels that may have promised more than they offer.
const PROMISED: &str = "SELECT DISTINCT channel, seats, class FROM reservations
    WHERE channel IN (SELECT number FROM channels WHERE promised_until > $1) AND window_end > $1
    AND window_start > $1 - (SELECT coalesce(max(window_end - window_start), 0) FROM reservations)
    AND state IN ('held', 'registered', 'confirmed', 'on_air')";
/// The words of the index that holds them.
macro_rules! announced {
    () => {
        " FROM reservations WHERE window_start < $2 AND window_end > $1 AND window_start > $1
            - (SELECT coalesce(max(window_end - window_start), 0) FROM reservations)
        AND state IN ('registered', 'confirmed', 'on_air', 'finished', 'finished_charged', 'finished_waived')
        AND open_level <> 'secret' AND ($3 OR open_level <> 'public') ORDER BY window_start, number LIMIT $4"
    };
}
const ANNOUNCED: &str = concat!("SELECT number, ", reservation_columns!(), announced!());
/// Of each number and version, and of each member's, so that no change leaves it as it was.
const ANNOUNCED_TAG: &str = concat!(
    "SELECT count(*) AS count, CAST(coalesce(sum(its.version), 0) AS BIGINT) AS versions,
        CAST(coalesce(sum(its.number % 1000003 * its.version), 0) AS BIGINT) AS numbers,
        CAST(coalesce(sum(members.version), 0) AS BIGINT) AS members,
        (SELECT CAST(coalesce(sum(version), 0) AS BIGINT) FROM channels) AS channels
    FROM (SELECT number, version, member",
    announced!(),
    ") AS its JOIN members ON members.number = its.member"
);
/// What the streaming side must know of reservations that overlap a span.
const SCHEDULED: &str = " AND (state IN ('confirmed', 'on_air')
        AND NOT EXISTS (SELECT 1 FROM members AS its WHERE its.number = reservations.member AND its.is_blocked)
    OR confirmed_at IS NOT NULL AND state IN ('finished', 'finished_charged', 'finished_waived',
        'cancelled_member', 'cancelled_operator'))
    ORDER BY window_start, number";
/// Windows begin and end within this of 1970; the schema checks it, so that differences stay within 64 bits.
const WINDOW_MICROS_MAX: i64 = 1 << 61;
/// Nothing that begins earlier can still last: with this, a list of one day reads one day, not all before it.
const NO_LONGER: &str = " - (SELECT coalesce(max(window_end - window_start), 0) FROM reservations)";
const PAYMENTS_OF: &str =
    concat!("SELECT tries, ", payment_columns!(), " FROM payments WHERE reservation = $1 ORDER BY position");
const PAYMENTS: &str = concat!(
    "SELECT tries, ",
    payment_columns!(),
    " FROM payments WHERE state = $1 ORDER BY position LIMIT $2 OFFSET $3"
);
const PAYMENTS_ASKED_AS: &str =
    concat!("SELECT tries, ", payment_columns!(), " FROM payments WHERE asked_as = $1 ORDER BY position");
const PAYMENT: &str = concat!("SELECT tries, ", payment_columns!(), " FROM payments WHERE key = $1");
/// A capture may bear the name of the hold that it takes: the hold is the first.
const PAYMENT_BY_REFERENCE: &str = concat!(
    "SELECT tries, ",
    payment_columns!(),
    " FROM payments WHERE reference = $1 ORDER BY position LIMIT 1"
);
const LEDGER: &str = concat!(
    "SELECT ",
    ledger_columns!(),
    " FROM ledger WHERE at >= $1 AND at < $2 ORDER BY position LIMIT $3 OFFSET $4"
);
const LEDGER_AFTER: &str = concat!(
    "SELECT position, ",
    ledger_columns!(),
    " FROM ledger WHERE at >= $1 AND at < $2 AND position > $3 ORDER BY position LIMIT $4"
);
const LEDGER_OF: &str =
    concat!("SELECT ", ledger_columns!(), " FROM ledger WHERE reservation = $1 ORDER BY position");
const RUN: &str = "SELECT CAST(coalesce(sum(normal_ms), 0) AS BIGINT) AS normal_ms,
    CAST(coalesce(sum(media_ms), 0) AS BIGINT) AS media_ms, coalesce(max(viewers_peak), 0) AS viewers_peak,
    CAST(coalesce(sum(viewer_ms), 0) AS BIGINT) AS viewer_ms FROM runs WHERE reservation = $1";
const SAMPLES: &str = "SELECT at, viewers FROM samples WHERE reservation = $1 ORDER BY at LIMIT $2 OFFSET $3";
const PICKUPS: &str = "SELECT reservation, note, position FROM pickups ORDER BY position, reservation";
/// A payment may be planned for weeks ahead: such a one does not wait for anything.
const OUTBOX_DEPTH: &str =
    "SELECT coalesce(sum(CASE WHEN kind IN ('payment', 'webhook') THEN 0 ELSE 1 END), 0) AS mails,
    coalesce(sum(CASE WHEN kind = 'payment' THEN 1 ELSE 0 END), 0) AS payments,
    coalesce(sum(CASE WHEN kind = 'webhook' THEN 1 ELSE 0 END), 0) AS webhooks,
    min(CASE WHEN kind <> 'webhook' THEN created_at END) AS oldest
    FROM jobs WHERE next_at IS NOT NULL AND (kind <> 'payment' OR next_at <= $1)";

impl Work {
    /// Those that can be read; the log names the others, which keep nobody else's from being listed.
    pub(super) fn reservations_in(&self, rows: &[Row]) -> Vec<Reservation> {
        let read = |row: &Row| match rows::reservation(row, &self.vault) {
            Ok(reservation) => Some(reservation),
            Err(error) => {
                let number = rows::at(row, "number").unwrap_or_default();
                if self.shared.0.unreadable.lock().insert(number) {
                    tracing::error!(reservation = number, %error, "left out of lists: it cannot be read");
                }
                None
            }
        };
        rows.iter().filter_map(read).collect()
    }

    pub(super) async fn member_where(&mut self, query: super::Query<'_>) -> Stored<Option<Member>> {
        self.row(query).await?.as_ref().map(rows::member).transpose()
    }

    pub(super) async fn reservation_where(&mut self, query: super::Query<'_>) -> Stored<Option<Reservation>> {
        let row = self.row(query).await?;
        row.map(|row| rows::reservation(&row, &self.vault)).transpose()
    }

    /// The sum of one side of an account.
    async fn side(&mut self, side: &'static str, account: Account) -> Stored<i64> {
        let (name, member) = names::account_columns(account);
        let mut query = Builder::new("SELECT CAST(coalesce(sum(amount), 0) AS BIGINT) FROM ledger WHERE ");
        query.push(side).push(" = ").push_bind(name).push(" AND ").push(side);
        match member {
            Some(member) => query.push("_member = ").push_bind(member),
            None => query.push("_member IS NULL"),
        };
        self.number(query.build()).await
    }
}

fn limits(page: Page) -> (i64, i64) {
    (i64::from(page.limit), i64::from(page.offset))
}

/// The conditions of a filter, from ` WHERE` on.
fn push_filter(query: &mut Builder, filter: &ReservationFilter) {
    query.push(" WHERE TRUE");
    if let Some(member) = filter.member {
        query.push(" AND member = ").push_bind(member.0);
    }
    if let Some(channel) = filter.channel {
        query.push(" AND channel = ").push_bind(i64::from(channel.0));
    }
    if let Some((from, to)) = filter.between {
        let from = from.as_micros().max(-WINDOW_MICROS_MAX);
        query.push(" AND window_start < ").push_bind(to.as_micros());
        query.push(" AND window_end > ").push_bind(from);
        query.push(" AND window_start > ").push_bind(from).push(NO_LONGER);
    }
    if filter.listed_only {
        query.push(" AND open_level <> 'secret'");
    }
    if !filter.states.is_empty() {
        query.push(" AND state IN (");
        let mut states = query.separated(", ");
        for state in &filter.states {
            states.push_bind(state.name());
        }
        query.push(")");
    }
}

/// The conditions of what is due.
fn push_due(query: &mut Builder, what: Due, now: WallTime, span: WallSpan) {
    let now = now.as_micros();
    match what {
        Due::HoldExpired => {
            query.push(" WHERE state = 'held' AND hold_until <= ").push_bind(now);
        }
        Due::ReconfirmationOverdue => {
            query.push(" WHERE state = 'registered' AND reconfirm_until <= ").push_bind(now);
        }
        Due::ReminderDue => {
            query
                .push(" WHERE state = 'registered' AND NOT is_reminded AND reconfirm_until > ")
                .push_bind(now);
            query.push(" AND reconfirm_until <= ").push_bind(now.saturating_add(span.0));
        }
        Due::Started => {
            query.push(" WHERE state = 'confirmed' AND window_start <= ").push_bind(now);
        }
        Due::Ended => {
            query.push(" WHERE state IN ('confirmed', 'on_air') AND window_end <= ").push_bind(now);
        }
        Due::Unsettled => {
            query.push(" WHERE state = 'finished'");
        }
    }
}

#[async_trait]
impl Reads for Work {
    async fn member(&mut self, number: MemberNumber) -> Stored<Option<Member>> {
        self.member_where(sqlx::query(MEMBER).bind(number.0)).await
    }

    async fn member_by_user_id(&mut self, user_id: &UserId) -> Stored<Option<Member>> {
        self.member_where(sqlx::query(MEMBER_BY_USER_ID).bind(user_id.as_str())).await
    }

    async fn member_by_email(&mut self, email: &Email) -> Stored<Option<Member>> {
        self.member_where(sqlx::query(MEMBER_BY_EMAIL).bind(names::folded(email.as_str()))).await
    }

    async fn members(&mut self, page: Page) -> Stored<Listed<Member>> {
        let (limit, offset) = limits(page);
        let rows = self.rows(sqlx::query(MEMBERS).bind(limit).bind(offset)).await?;
        let count = self.count(sqlx::query("SELECT count(*) FROM members")).await?;
        Ok(Listed { items: rows.iter().map(rows::member).collect::<Stored<_>>()?, count })
    }

    async fn session(&mut self, token_hash: &[u8; 32], now: WallTime) -> Stored<Option<Session>> {
        let query = sqlx::query(SESSION).bind(&token_hash[..]).bind(now.as_micros());
        self.row(query).await?.as_ref().map(rows::session).transpose()
    }

    async fn api_token(&mut self, token_hash: &[u8; 32], now: WallTime) -> Stored<Option<ApiToken>> {
        let query = sqlx::query(API_TOKEN).bind(&token_hash[..]).bind(now.as_micros());
        self.row(query).await?.as_ref().map(rows::api_token).transpose()
    }

    async fn api_tokens(&mut self, member: MemberNumber) -> Stored<Vec<ApiToken>> {
        let rows = self.rows(sqlx::query(API_TOKENS).bind(member.0)).await?;
        rows.iter().map(rows::api_token).collect()
    }

    async fn proof(&mut self, code_hash: &[u8; 32]) -> Stored<Option<Proof>> {
        self.row(sqlx::query(PROOF).bind(&code_hash[..])).await?.as_ref().map(rows::proof).transpose()
    }

    async fn proof_of(&mut self, member: MemberNumber, kind: ProofKind) -> Stored<Option<Proof>> {
        let query = sqlx::query(PROOF_OF).bind(member.0).bind(kind.name());
        self.row(query).await?.as_ref().map(rows::proof).transpose()
    }

    async fn is_home(&mut self, member: MemberNumber, network: &[u8; 32]) -> Stored<bool> {
        let sql = "SELECT count(*) FROM homes WHERE member = $1 AND network = $2";
        Ok(self.count(sqlx::query(sql).bind(member.0).bind(&network[..])).await? > 0)
    }

    async fn channels(&mut self) -> Stored<Vec<SoldChannel>> {
        self.rows(sqlx::query(CHANNELS)).await?.iter().map(rows::channel).collect()
    }

    async fn reservation(&mut self, number: ReservationNumber) -> Stored<Option<Reservation>> {
        self.reservation_where(sqlx::query(RESERVATION).bind(number.0)).await
    }

    async fn reservations(&mut self, filter: &ReservationFilter, page: Page) -> Stored<Listed<Reservation>> {
        let mut query = Builder::new(RESERVATIONS);
        push_filter(&mut query, filter);
        query.push(if filter.newest_first {
            " ORDER BY window_start DESC, number DESC LIMIT "
        } else {
            " ORDER BY window_start, number LIMIT "
        });
        let (limit, offset) = limits(page);
        query.push_bind(limit).push(" OFFSET ").push_bind(offset);
        let rows = self.rows(query.build()).await?;
        let (found, is_last) = (rows.len() as u32, rows.len() < page.limit as usize);
        let count = if is_last && (found > 0 || page.offset == 0) {
            page.offset.saturating_add(found)
        } else {
            let mut query = Builder::new("SELECT count(*) FROM reservations");
            push_filter(&mut query, filter);
            self.count(query.build()).await?
        };
        Ok(Listed { items: self.reservations_in(&rows), count })
    }

    async fn taken_slots(
        &mut self,
        channel: ChannelNumber,
        from: WallTime,
        to: WallTime,
    ) -> Stored<Vec<TakenSlot>> {
        let (from, to) = (from.as_micros(), to.as_micros());
        let query = sqlx::query(TAKEN_SLOTS).bind(from).bind(to).bind(i64::from(channel.0));
        self.rows(query).await?.iter().map(rows::taken_slot).collect()
    }

    async fn taken_starts(
        &mut self,
        channel: Option<ChannelNumber>,
        from: WallTime,
        to: WallTime,
    ) -> Stored<Vec<(ChannelNumber, WallTime)>> {
        let (from, to) = (from.as_micros(), to.as_micros());
        let query = match channel {
            Some(channel) => sqlx::query(TAKEN_STARTS_ON).bind(from).bind(to).bind(i64::from(channel.0)),
            None => sqlx::query(TAKEN_STARTS).bind(from).bind(to),
        };
        let mut starts = Vec::new();
        for row in self.rows(query).await? {
            rows::taken_starts(&row, &mut starts)?;
        }
        Ok(starts)
    }

    async fn slots_of(&mut self, member: MemberNumber, from: WallTime, to: WallTime) -> Stored<u32> {
        let query = sqlx::query(SLOTS_OF).bind(member.0).bind(from.as_micros()).bind(to.as_micros());
        self.count(query).await
    }

    async fn due(
        &mut self,
        what: Due,
        now: WallTime,
        span: WallSpan,
        after: Option<DueAt>,
        limit: u32,
    ) -> Stored<Vec<DueAt>> {
        let by = match what {
            Due::HoldExpired => "hold_until",
            Due::ReconfirmationOverdue | Due::ReminderDue => "reconfirm_until",
            Due::Started => "window_start",
            Due::Ended | Due::Unsettled => "window_end",
        };
        let mut query = Builder::new("SELECT number, ");
        query.push(by).push(" AS due_at FROM reservations");
        push_due(&mut query, what, now, span);
        if let Some((at, number)) = after {
            query.push(" AND (").push(by).push(", number) > (").push_bind(at.as_micros());
            query.push(", ").push_bind(number.0).push(")");
        }
        query.push(" ORDER BY ").push(by).push(", number LIMIT ").push_bind(i64::from(limit));
        self.rows(query.build()).await?.iter().map(rows::due).collect()
    }

    async fn scheduled(
        &mut self,
        which: Scheduled<'_>,
        after: WallTime,
        before: WallTime,
    ) -> Stored<Vec<Reservation>> {
        let after = after.as_micros().max(-WINDOW_MICROS_MAX);
        let mut query = Builder::new(RESERVATIONS);
        query.push(" WHERE window_end > ").push_bind(after).push(" AND window_start < ");
        query.push_bind(before.as_micros());
        match which {
            Scheduled::All => query.push(" AND window_start > ").push_bind(after).push(NO_LONGER),
            Scheduled::From(from) => query.push(" AND window_start >= ").push_bind(from.as_micros()),
            Scheduled::Programs([]) => return Ok(Vec::new()),
            Scheduled::Programs(numbers) => {
                query.push(" AND number IN (");
                let mut listed = query.separated(", ");
                for number in numbers {
                    listed.push_bind(number.0);
                }
                query.push(")")
            }
        };
        query.push(SCHEDULED);
        let rows = self.rows(query.build().persistent(false)).await?;
        Ok(self.reservations_in(&rows))
    }

    async fn programs_of(
        &mut self,
        member: MemberNumber,
        after: WallTime,
        before: WallTime,
    ) -> Stored<Vec<ReservationNumber>> {
        let after = after.as_micros().max(-WINDOW_MICROS_MAX);
        let mut query = Builder::new("SELECT number FROM reservations WHERE member = ");
        query.push_bind(member.0).push(" AND window_start < ").push_bind(before.as_micros());
        query.push(" AND window_end > ").push_bind(after);
        query.push(" AND window_start > ").push_bind(after).push(NO_LONGER);
        self.rows(query.build()).await?.iter().map(rows::number).collect()
    }

    async fn schedule_changes(&mut self, since: i64) -> Stored<Option<Vec<ScheduleChange>>> {
        let sql = "SELECT DISTINCT program, member FROM schedule_changes WHERE revision > $1";
        let changes = self.rows(sqlx::query(sql).bind(since)).await?;
        let sql = "SELECT (SELECT schedule_revision FROM server)
            - (SELECT count(DISTINCT revision) FROM schedule_changes WHERE revision > $1)";
        // One is missing where it was taken away, or where it was written by a program that kept none.
        if self.number(sqlx::query(sql).bind(since)).await? != since {
            return Ok(None);
        }
        changes.iter().map(rows::schedule_change).collect::<Stored<_>>().map(Some)
    }

    async fn payments_of(&mut self, reservation: ReservationNumber) -> Stored<Vec<Payment>> {
        self.rows(sqlx::query(PAYMENTS_OF).bind(reservation.0)).await?.iter().map(rows::payment).collect()
    }

    async fn payment(&mut self, key: &str) -> Stored<Option<Payment>> {
        let key = names::text(key)?;
        self.row(sqlx::query(PAYMENT).bind(key)).await?.as_ref().map(rows::payment).transpose()
    }

    async fn payment_by_reference(&mut self, reference: &str) -> Stored<Option<Payment>> {
        let query = sqlx::query(PAYMENT_BY_REFERENCE).bind(names::text(reference)?);
        self.row(query).await?.as_ref().map(rows::payment).transpose()
    }

    async fn payments(&mut self, state: PaymentState, page: Page) -> Stored<Listed<Payment>> {
        let (limit, offset) = limits(page);
        let rows = self.rows(sqlx::query(PAYMENTS).bind(state.name()).bind(limit).bind(offset)).await?;
        let query = sqlx::query("SELECT count(*) FROM payments WHERE state = $1").bind(state.name());
        let count = self.count(query).await?;
        Ok(Listed { items: rows.iter().map(rows::payment).collect::<Stored<_>>()?, count })
    }

    async fn payments_asked_as(&mut self, asked_as: &str) -> Stored<Vec<Payment>> {
        let query = sqlx::query(PAYMENTS_ASKED_AS).bind(names::text(asked_as)?);
        self.rows(query).await?.iter().map(rows::payment).collect()
    }

    async fn ledger(
        &mut self,
        from: WallTime,
        to: WallTime,
        page: Page,
    ) -> Stored<Listed<LedgerTransaction>> {
        let (from, to, (limit, offset)) = (from.as_micros(), to.as_micros(), limits(page));
        let query = sqlx::query(LEDGER).bind(from).bind(to).bind(limit).bind(offset);
        let rows = self.rows(query).await?;
        let query = sqlx::query("SELECT count(*) FROM ledger WHERE at >= $1 AND at < $2").bind(from).bind(to);
        let count = self.count(query).await?;
        Ok(Listed { items: rows.iter().map(rows::ledger_transaction).collect::<Stored<_>>()?, count })
    }

    async fn ledger_after(
        &mut self,
        from: WallTime,
        to: WallTime,
        after: i64,
        limit: u32,
    ) -> Stored<Vec<(i64, LedgerTransaction)>> {
        let query = sqlx::query(LEDGER_AFTER).bind(from.as_micros()).bind(to.as_micros());
        let rows = self.rows(query.bind(after).bind(i64::from(limit))).await?;
        rows.iter().map(|row| Ok((rows::at(row, "position")?, rows::ledger_transaction(row)?))).collect()
    }

    async fn ledger_of(&mut self, reservation: ReservationNumber) -> Stored<Vec<LedgerTransaction>> {
        let rows = self.rows(sqlx::query(LEDGER_OF).bind(reservation.0)).await?;
        rows.iter().map(rows::ledger_transaction).collect()
    }

    async fn balance(&mut self, account: Account) -> Stored<i64> {
        Ok(self.side("debit", account).await?.saturating_sub(self.side("credit", account).await?))
    }

    async fn run(&mut self, reservation: ReservationNumber) -> Stored<Run> {
        let row = self.row(sqlx::query(RUN).bind(reservation.0)).await?;
        row.as_ref().map_or_else(|| Ok(Run::default()), rows::run)
    }

    async fn samples(&mut self, reservation: ReservationNumber, page: Page) -> Stored<Listed<ViewerSample>> {
        let (limit, offset) = limits(page);
        let rows = self.rows(sqlx::query(SAMPLES).bind(reservation.0).bind(limit).bind(offset)).await?;
        let query = sqlx::query("SELECT count(*) FROM samples WHERE reservation = $1").bind(reservation.0);
        let count = self.count(query).await?;
        Ok(Listed { items: rows.iter().map(rows::sample).collect::<Stored<_>>()?, count })
    }

    async fn accepted_terms(&mut self, reservation: ReservationNumber) -> Stored<Option<AcceptedTerms>> {
        let sql = "SELECT terms.hash AS hash, text, accepted_at FROM accepted_terms
            JOIN terms ON terms.hash = accepted_terms.hash WHERE reservation = $1";
        self.row(sqlx::query(sql).bind(reservation.0)).await?.as_ref().map(rows::accepted_terms).transpose()
    }

    async fn pickups(&mut self) -> Stored<Vec<Pickup>> {
        self.rows(sqlx::query(PICKUPS)).await?.iter().map(rows::pickup).collect()
    }

    async fn kept_answer(&mut self, scope: &str, key: &str) -> Stored<Option<KeptAnswer>> {
        let sql = "SELECT request_hash, made FROM kept_answers WHERE scope = $1 AND key = $2";
        let query = sqlx::query::<Db>(sql).bind(names::text(scope)?).bind(names::text(key)?);
        self.row(query).await?.as_ref().map(rows::kept_answer).transpose()
    }

    async fn told_last(&mut self, program: ReservationNumber, friend: &Email) -> Stored<Option<MailKind>> {
        let sql = "SELECT label FROM jobs WHERE about = $1 AND recipient = $2 AND done_at IS NOT NULL
            ORDER BY position DESC LIMIT 1";
        let row = self.row(sqlx::query(sql).bind(program.0).bind(friend.as_str().to_owned())).await?;
        row.map(|row| rows::named(&row, "label", MailKind::from_name)).transpose()
    }

    async fn mails_since(&mut self, count: MailCount<'_>, since: WallTime) -> Stored<u32> {
        let query = match count {
            MailCount::ToFriendsOf(member) => sqlx::query(
                "SELECT count(*) AS count FROM jobs WHERE member = $1 AND kind = 'friend_mail' AND created_at > $2",
            )
            .bind(member.0),
            MailCount::IdsOf(member) => sqlx::query(
                "SELECT count(*) AS count FROM jobs WHERE member = $1 AND kind = 'member_mail' AND created_at > $2
                    AND label = 'reservation_id'",
            )
            .bind(member.0),
            MailCount::ToFriend(friend) => sqlx::query(
                "SELECT count(*) AS count FROM jobs WHERE recipient = $1 AND done_at > $2",
            )
            .bind(friend.as_str().to_owned()),
        };
        let row = self.row(query.bind(since.as_micros())).await?;
        row.map_or(Ok(0), |row| rows::narrow(&row, "count"))
    }

    async fn is_stopped(&mut self, address_hash: &[u8; 32]) -> Stored<bool> {
        let sql = "SELECT 1 FROM mail_stops WHERE address_hash = $1";
        Ok(self.row(sqlx::query(sql).bind(address_hash.to_vec())).await?.is_some())
    }

    async fn webhooks(&mut self) -> Stored<Vec<Webhook>> {
        self.all_webhooks().await
    }

    async fn deliveries(&mut self, webhook: i64, page: Page) -> Stored<Listed<Delivery>> {
        self.deliveries_to(webhook, page).await
    }

    async fn outbox_depth(&mut self) -> Stored<OutboxDepth> {
        let soon = self.now().saturating_add(OUTBOX_RETRY_MAX).as_micros();
        let row = self.row(sqlx::query(OUTBOX_DEPTH).bind(soon)).await?;
        row.as_ref().map_or_else(|| Ok(OutboxDepth::default()), rows::outbox_depth)
    }

    async fn taken_counts(&mut self, from: WallTime, to: WallTime) -> Stored<Vec<(ChannelNumber, u32)>> {
        let query = sqlx::query(TAKEN_COUNTS).bind(from.as_micros()).bind(to.as_micros());
        self.rows(query).await?.iter().map(rows::taken_count).collect()
    }

    async fn announced(
        &mut self,
        from: WallTime,
        to: WallTime,
        with_public: bool,
    ) -> Stored<Vec<Reservation>> {
        let from = from.as_micros().max(-WINDOW_MICROS_MAX);
        let query = sqlx::query(ANNOUNCED)
            .bind(from)
            .bind(to.as_micros())
            .bind(with_public)
            .bind(i64::from(GUIDE_ITEMS_MAX));
        let rows = self.rows(query).await?;
        Ok(self.reservations_in(&rows))
    }

    async fn announced_tag(&mut self, from: WallTime, to: WallTime, with_public: bool) -> Stored<[i64; 5]> {
        let from = from.as_micros().max(-WINDOW_MICROS_MAX);
        let query = sqlx::query(ANNOUNCED_TAG)
            .bind(from)
            .bind(to.as_micros())
            .bind(with_public)
            .bind(i64::from(GUIDE_ITEMS_MAX));
        self.row(query).await?.as_ref().map_or(Ok([0; 5]), rows::announced_tag)
    }

    async fn members_in(&mut self, numbers: &[MemberNumber]) -> Stored<Vec<Member>> {
        let mut members = Vec::with_capacity(numbers.len());
        for some in numbers.chunks(ROWS_AT_ONCE as usize) {
            let mut query = Builder::new(MEMBERS_IN);
            let mut listed = query.separated(", ");
            for number in some {
                listed.push_bind(number.0);
            }
            query.push(")");
            for row in self.rows(query.build().persistent(false)).await? {
                members.push(rows::member(&row)?);
            }
        }
        Ok(members)
    }

    async fn promised(&mut self, after: WallTime) -> Stored<Vec<(ChannelNumber, Seats, BitRate)>> {
        let rows = self.rows(sqlx::query(PROMISED).bind(after.as_micros())).await?;
        rows.iter().map(rows::promised).collect()
    }

    async fn schedule_revision(&mut self) -> Stored<i64> {
        self.number(sqlx::query("SELECT schedule_revision FROM server")).await
    }
}
