//! How much a worker does before it looks at everything anew.
//!
//! Owns: the time of one stretch of work, and when it gives way to chunks that have come meanwhile.
//! Invariant: every loop of a turn that grows with viewers, connections or requests asks here before its next step, so a
//! turn has a bound whatever comes at once.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use slotcast_core::{feed::FeedReceiver, time::Clock};

use crate::limits;

/// The time that is left for one stretch of work.
pub(crate) struct Budget {
    clock: Clock,
    until: Instant,
    /// From when on a chunk that waits ends the stretch, and where it would wait.
    gives_way: Option<(Instant, Arc<FeedReceiver>)>,
    sends_unseen: u32,
    is_over: bool,
}

impl Budget {
    /// From `now` on for `time`.
    pub(crate) fn new(clock: &Clock, now: Instant, time: Duration) -> Self {
        Self { clock: Arc::clone(clock), until: now + time, gives_way: None, sends_unseen: 0, is_over: false }
    }

    /// The same, but over as soon as a chunk waits in `feed`, once a little was done.
    pub(crate) fn giving_way_to(mut self, feed: &Arc<FeedReceiver>, now: Instant) -> Self {
        self.gives_way = Some((now + limits::WORK_BEFORE_CHUNKS, Arc::clone(feed)));
        self
    }

    /// At most `time` of what is left.
    pub(crate) fn at_most(&self, time: Duration) -> Self {
        let now = (self.clock)().mono;
        Self::new(&self.clock, now, self.until.saturating_duration_since(now).min(time))
    }

    /// A part of what is left: at most `share` of it, so that what comes later in the turn has its own.
    pub(crate) fn part(&self, share: u32) -> Self {
        let now = (self.clock)().mono;
        let left = self.until.saturating_duration_since(now);
        let mut part = Self::new(&self.clock, now, left / share);
        part.gives_way.clone_from(&self.gives_way);
        part
    }

    /// Asks after a step that may have taken long: a request, an accept, a goodbye. Whether another may begin.
    pub(crate) fn goes_on(&mut self) -> bool {
        if !self.is_over {
            let now = (self.clock)().mono;
            let gives_way =
                self.gives_way.as_ref().is_some_and(|(from, feed)| now >= *from && !feed.is_empty());
            self.is_over = now >= self.until || gives_way;
        }
        !self.is_over
    }

    /// Asks after one send. Cheaper: it looks at the clock after a few of them only.
    pub(crate) fn goes_on_after_send(&mut self) -> bool {
        self.sends_unseen += 1;
        if self.sends_unseen < limits::SENDS_PER_LOOK {
            return !self.is_over;
        }
        self.sends_unseen = 0;
        self.goes_on()
    }
}
