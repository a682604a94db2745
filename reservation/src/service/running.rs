//! The tasks that go on as long as the server does.

use std::time::{Duration, Instant};

use tokio::{
    select,
    sync::{Notify, watch},
    task::JoinSet,
    time::{sleep, timeout},
};

use slotcast_core::time::{Now, WallTime};

use super::{Answer, Service, ServiceError, counts::count};
use crate::limits::{AWAY_MIN, DEPTH_EVERY, PRESENT_EVERY, PUBLISH_EVERY, ROUND_EVERY, SAME_ERROR_EVERY};

/// Of the server, as the store knows it.
struct Presence {
    noted_at: WallTime,
    /// The last try failed.
    was_away: bool,
    /// When this process last looked. A frozen one looks long after, and could act no more than one that was ended.
    looked_at: Instant,
}

impl Presence {
    /// Whether it is to be noted now.
    fn is_due(&mut self, now: Now) -> bool {
        let passed = now.mono.saturating_duration_since(self.looked_at);
        self.looked_at = now.mono;
        self.was_away |= passed >= AWAY_MIN;
        let since = self.noted_at;
        self.was_away || !(since..since.saturating_add(PRESENT_EVERY)).contains(&now.wall)
    }
}

impl Service {
    /// Does what comes by itself, until `stop` says `true` or its sender is gone: what is due, mails, money, the
    /// schedule, the numbers of viewers.
    pub async fn run(self, stop: watch::Receiver<bool>) {
        let mut tasks = JoinSet::new();
        tasks.spawn(self.clone().keep_time(stop.clone()));
        tasks.spawn(self.clone().keep_publishing(stop.clone()));
        tasks.spawn(self.clone().keep_observing(stop.clone()));
        tasks.spawn(self.clone().keep_writing_down(stop.clone()));
        tasks.spawn(self.clone().keep_working(stop.clone()));
        tasks.spawn(self.clone().keep_removing(stop.clone()));
        tasks.spawn(self.keep_counting(stop));
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a task of the reservation side ended");
            }
        }
    }

    async fn keep_time(self, mut stop: watch::Receiver<bool>) {
        let now = (self.0.clock)();
        let mut presence = Presence { noted_at: now.wall, was_away: false, looked_at: now.mono };
        loop {
            // What ran out while the store was away is moved on before it is looked at.
            if self.is_present(&mut presence).await {
                let done = self.do_due().await;
                self.noted("what is due", done);
            }
            // Windows, and with them most of what is due, lie on whole seconds.
            let micros = self.now().as_micros().rem_euclid(1_000_000);
            let wait = Duration::from_micros(1_000_001_u64.saturating_sub(micros.unsigned_abs()));
            if !waited(&mut stop, None, wait).await {
                return;
            }
        }
    }

    /// Notes now and then that the server is there. `false`: the store takes nothing.
    async fn is_present(&self, presence: &mut Presence) -> bool {
        let now = (self.0.clock)();
        if !presence.is_due(now) {
            return true;
        }
        let noted = self.note_presence(presence.was_away).await;
        presence.was_away = self.noted("that the server is there", noted).is_none();
        if !presence.was_away {
            presence.noted_at = now.wall;
        }
        !presence.was_away
    }

    async fn keep_publishing(self, mut stop: watch::Receiver<bool>) {
        loop {
            // A store that does not answer keeps nobody from asking again.
            match timeout(PUBLISH_EVERY, self.publish()).await {
                Ok(Ok(_) | Err(ServiceError::Internal(_))) => {}
                Ok(Err(error)) => drop(self.noted::<()>("the schedule", Err(error))),
                Err(_) => tracing::warn!("the schedule could not be read in time"),
            }
            if !waited(&mut stop, Some(&self.0.changed.schedule), ROUND_EVERY).await {
                return;
            }
        }
    }

    async fn keep_observing(self, mut stop: watch::Receiver<bool>) {
        loop {
            self.see();
            if !waited(&mut stop, None, ROUND_EVERY).await {
                return;
            }
        }
    }

    /// Apart from seeing, which must not wait for a store that is slow.
    async fn keep_writing_down(self, mut stop: watch::Receiver<bool>) {
        loop {
            let written = self.flush_observed().await;
            self.noted("numbers of viewers", written);
            let told = self.tell_of_links().await;
            self.noted("events of links", told);
            if !waited(&mut stop, Some(&self.0.changed.observed), ROUND_EVERY).await {
                return;
            }
        }
    }

    async fn keep_counting(self, mut stop: watch::Receiver<bool>) {
        loop {
            let depth = self.count_outboxes().await;
            self.noted("the outboxes", depth);
            if !waited(&mut stop, None, DEPTH_EVERY).await {
                return;
            }
        }
    }

    async fn count_outboxes(&self) -> Answer<()> {
        let depth = self.0.store.read().await?.outbox_depth().await?;
        *self.0.counts.outbox.lock() = depth;
        Ok(())
    }

    /// Counts failures, and logs those of one kind once in a while.
    pub(super) fn noted<T>(&self, what: &'static str, answer: Answer<T>) -> Option<T> {
        let error = match answer {
            Ok(answer) => return Some(answer),
            Err(error) => error,
        };
        count(&self.0.counts.store_errors);
        if self.is_news(what) {
            tracing::warn!(what, %error, "waits: tried again each second");
        }
        None
    }

    /// Whether a failure of that kind is to be logged: the last that was is long ago.
    pub(super) fn is_news(&self, what: &'static str) -> bool {
        let mono = (self.0.clock)().mono;
        let mut said = self.0.said.lock();
        let is_news =
            said.get(what).is_none_or(|last| mono.saturating_duration_since(*last) >= SAME_ERROR_EVERY);
        if is_news {
            said.insert(what, mono);
        }
        is_news
    }
}

/// Waits until woken, or for `span`. `false`: it is time to stop.
pub(super) async fn waited(stop: &mut watch::Receiver<bool>, wake: Option<&Notify>, span: Duration) -> bool {
    let woken = async {
        match wake {
            Some(wake) => wake.notified().await,
            None => std::future::pending().await,
        }
    };
    select! {
        _ = stop.wait_for(|stop| *stop) => false,
        () = woken => true,
        () = sleep(span) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
    fn a_process_that_was_frozen_was_away_and_one_whose_clock_was_set_was_not() {
        let (start, wall) = (Instant::now(), WallTime::from_micros(0));
        let at = |mono: u64, seconds: u64| Now {
            mono: start + Duration::from_secs(mono),
            wall: wall.saturating_add(Duration::from_secs(seconds)),
        };
        let presence = || Presence { noted_at: wall, was_away: false, looked_at: start };
        let mut usual = presence();
        assert!(!usual.is_due(at(1, 1)) && usual.is_due(at(20, 20)) && !usual.was_away);
        let mut set = presence();
        assert!(set.is_due(at(1, 3600)) && !set.was_away);
        let mut frozen = presence();
        assert!(frozen.is_due(at(60, 60)) && frozen.was_away);
    }
}
