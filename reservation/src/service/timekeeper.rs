//! What happens to reservations by itself, when its time has come.
//!
//! Holds: one reservation per transaction, looked at again under its lock: done twice, or by several processes on one
//! database, it is done once. Everything is decided by the provider's time as it is now, so a clock that steps makes
//! things sooner or later, never twice.

use slotcast_core::time::WallTime;

use super::{Answer, Service, booking::member_of, counts::count, money::standing_holds, retry::retry};
use crate::{
    domain::{effects::Effects, reservation::Reservation, rules, words::ReservationNumber},
    limits::{DUE_BATCH, SETTLE_AFTER},
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

    async fn do_kind(&self, what: Due) -> Answer<u32> {
        let now = match what {
            Due::Unsettled => self.now().saturating_sub(SETTLE_AFTER),
            _ => self.now(),
        };
        let span = WallSpan(i64::try_from(self.rules().remind_before.as_micros()).unwrap_or(i64::MAX));
        let due = self.0.store.read().await?.due(what, now, span, DUE_BATCH).await?;
        let mut done = 0;
        for reservation in due {
            let number = reservation.number;
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
        Ok(done)
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
                let member = member_of(tx, found).await?;
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
