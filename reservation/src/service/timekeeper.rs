//! What happens to reservations by itself, when its time has come.
//!
//! Invariant: one reservation per transaction, looked at again under its lock: done twice, or by several processes on one
//! database, it is done once. Everything is decided by the provider's time as it is now, so a clock that steps makes
//! things sooner or later, never twice.

use slotcast_core::time::WallTime;

use super::{Answer, Service, counts::count, facts::member_of, money::standing_holds, retry::retry};
use crate::{
    domain::{effects::Effects, reservation::Reservation, rules, words::ReservationNumber},
    limits::{AWAY_MIN, DUE_BATCH, NODE, SETTLE_AFTER},
    store::{Due, Tx, WallSpan},
};

/// In this order: slots become free first, money is decided after what ends.
const ROUND: [Due; 6] = [
    Due::HoldExpired,
    Due::ReconfirmationOverdue,
    Due::Started,
    Due::Ended,
    Due::Unsettled,
    Due::ReminderDue,
];

impl Service {
    /// Does everything that is due now; returns how much was done. A failure of one is logged and keeps no other from
    /// being done.
    ///
    /// Errors: the store could not be asked.
    pub async fn do_due(&self) -> Answer<u32> {
        let mut done = 0;
        for what in ROUND {
            // How long the server ran normally must be known before money is decided.
            if what == Due::Unsettled && self.flush_observed().await.is_err() {
                continue;
            }
            done += self.do_kind(what).await?;
        }
        if done > 0 {
            self.committed();
        }
        Ok(done)
    }

    /// Notes that the server is there. Returns how many deadlines it moved on. Comes before [`do_due`](Self::do_due).
    ///
    /// - `is_back`: whether it, or its store, may have been away. Nobody loses a reservation by that: what would have run
    ///   out is moved on, all together.
    pub async fn note_presence(&self, is_back: bool) -> Answer<u32> {
        let moved = retry(|| self.note_presence_once(is_back)).await?;
        if moved > 0 {
            self.committed();
        }
        Ok(moved)
    }

    async fn note_presence_once(&self, is_back: bool) -> Answer<u32> {
        let mut tx = self.0.store.begin().await?;
        // A store that comes back may have been waited for.
        let now = self.now();
        let mut moved = 0;
        let last = tx.note_presence(NODE, now).await?;
        if let Some(since) = last.filter(|since| is_back && now.since(*since) >= AWAY_MIN) {
            for (what, time_to_act) in [
                (Due::HoldExpired, self.rules().hold),
                (Due::ReconfirmationOverdue, self.rules().reconfirm_grace),
            ] {
                moved += self.excuse(tx.as_mut(), what, now.saturating_add(time_to_act), since, now).await?;
            }
            if moved > 0 {
                tracing::warn!(%since, moved, "nobody was there for a while: deadlines of that time move on");
            }
        }
        tx.commit().await?;
        Ok(moved)
    }

    /// Moves on what ran out after `since` and before `until`.
    async fn excuse(
        &self,
        tx: &mut (dyn Tx + '_),
        what: Due,
        until: WallTime,
        since: WallTime,
        now: WallTime,
    ) -> Answer<u32> {
        let (mut moved, mut last) = (0, None);
        loop {
            let found = tx.due(what, until, WallSpan(0), last, DUE_BATCH).await?;
            let Some(end) = found.last().copied() else { return Ok(moved) };
            for (_, number) in found {
                // One that cannot be read keeps no other from being moved on.
                let Ok(Some(locked)) = tx.lock_reservation(number).await else { continue };
                if let Some(effects) = rules::excuse(&locked, since, self.rules(), now) {
                    tx.write(&effects).await?;
                    moved += 1;
                }
            }
            last = Some(end);
        }
    }

    async fn do_kind(&self, what: Due) -> Answer<u32> {
        let now = match what {
            Due::Unsettled => self.now().saturating_sub(SETTLE_AFTER),
            _ => self.now(),
        };
        let span = WallSpan(i64::try_from(self.rules().remind_before.as_micros()).unwrap_or(i64::MAX));
        let (mut done, mut last) = (0, None);
        loop {
            // In parts, so that those that fail each time keep no others waiting.
            let due = self.0.store.read().await?.due(what, now, span, last, DUE_BATCH).await?;
            let Some(end) = due.last().copied() else { return Ok(done) };
            for (_, number) in due {
                match retry(|| self.do_one(what, number)).await {
                    Ok(true) => done += 1,
                    Ok(false) => {}
                    Err(error) => {
                        count(&self.0.counts.store_errors);
                        if self.is_news("one that is due") {
                            tracing::error!(reservation = %number, ?what, %error, "what is due waits: tried again each second");
                        }
                    }
                }
            }
            last = Some(end);
        }
    }

    async fn do_one(&self, what: Due, number: ReservationNumber) -> Answer<bool> {
        let now = self.now();
        let mut tx = self.0.store.begin().await?;
        let Some(found) = tx.lock_reservation(number).await? else { return Ok(false) };
        let Some(effects) = self.effects_of(tx.as_mut(), what, &found, now).await? else { return Ok(false) };
        tx.write(&effects).await?;
        tx.commit().await?;
        let (state, version) = (effects.reservation.state.name(), effects.reservation.version);
        tracing::info!(reservation = %number, ?what, state, version, "done when it was due");
        Ok(true)
    }

    async fn effects_of(
        &self,
        tx: &mut (dyn Tx + '_),
        what: Due,
        found: &Reservation,
        now: WallTime,
    ) -> Answer<Option<Effects>> {
        match what {
            Due::HoldExpired | Due::ReconfirmationOverdue => self.overdue(tx, found, now).await,
            Due::Started => Ok(rules::start(found, now)),
            Due::Ended => Ok(rules::end(found, now)),
            Due::ReminderDue => {
                let member = self.payer(member_of(tx, found).await?);
                Ok(rules::remind(&member, found, self.rules(), now))
            }
            Due::Unsettled => {
                let over_at = found.over_at.unwrap_or_else(|| found.window.end());
                if now < over_at.saturating_add(SETTLE_AFTER) {
                    return Ok(None);
                }
                let member = member_of(tx, found).await?;
                let run = tx.run(found.number).await?;
                let holds = standing_holds(&tx.payments_of(found.number).await?);
                Ok(rules::settle(&member, found, run.normal_ms, &holds, self.rules(), now))
            }
        }
    }
}
