//! Taking away what was kept long enough.
//!
//! Invariant: a batch is a short transaction of its own, and others write between two of them; payments, the ledger and how
//! programs ran stay for ever.

use std::time::Duration;

use slotcast_core::time::WallTime;
use tokio::sync::watch;

use super::{Answer, Service, retry::retry, running::waited};
use crate::{
    limits::{ANSWERS_KEPT_FOR, EVENTS_KEPT_FOR, STALE_BATCH, STALE_EVERY, STALE_PAUSE},
    store::Stale,
};

/// For how long it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Mails that were sent or given up, with texts and addresses; those to friends until the program is over in any case.
    pub mails: Duration,
    /// How many watched at which moment; the sums of a program stay.
    pub samples: Duration,
    /// Which slots were taken, from their start on: what days and months of the past show.
    pub slots: Duration,
    /// Log-ins, tokens and codes that have expired.
    pub expired: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        let days = |days: u64| Duration::from_secs(days * 24 * 3600);
        Self { mails: days(90), samples: days(366), slots: days(92), expired: days(7) }
    }
}

impl Retention {
    const fn of(&self, what: Stale) -> Duration {
        match what {
            Stale::Mails => self.mails,
            Stale::Samples => self.samples,
            Stale::Slots => self.slots,
            Stale::Sessions | Stale::Tokens | Stale::Proofs => self.expired,
            Stale::Answers => ANSWERS_KEPT_FOR,
            Stale::Events => EVENTS_KEPT_FOR,
        }
    }
}

impl Service {
    /// Takes away one batch of each kind of what was kept long enough; returns how many rows that were.
    pub async fn remove_stale(&self) -> Answer<u64> {
        let mut removed = 0;
        for what in Stale::ALL {
            let before = self.now().saturating_sub(self.0.settings.retention.of(what));
            removed += retry(|| self.remove_batch(what, before)).await?;
        }
        Ok(removed)
    }

    async fn remove_batch(&self, what: Stale, before: WallTime) -> Answer<u64> {
        let mut tx = self.0.store.begin().await?;
        let removed = tx.remove_stale(what, before, STALE_BATCH).await?;
        if removed > 0 {
            tx.commit().await?;
            tracing::debug!(?what, removed, "kept long enough");
        }
        Ok(removed)
    }

    pub(super) async fn keep_removing(self, mut stop: watch::Receiver<bool>) {
        loop {
            let removed = self.remove_stale().await;
            let removed = self.noted("what was kept long enough", removed).unwrap_or(0);
            let wait = if removed > 0 { STALE_PAUSE } else { STALE_EVERY };
            if !waited(&mut stop, None, wait).await {
                return;
            }
        }
    }
}
