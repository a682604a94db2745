//! Counts of what happened, for metrics.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;

use super::Service;
use crate::store::OutboxDepth;

/// Counts since the start, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServiceStats {
    /// Mails that went out.
    pub mails_sent: u64,
    /// Tries that failed.
    pub mails_failed: u64,
    /// Mails that were given up.
    pub mails_given_up: u64,
    /// Movements of money that were done.
    pub payments_done: u64,
    /// Tries that failed.
    pub payments_failed: u64,
    /// Captures and refunds that were declined: an operator must look.
    pub payments_declined: u64,
    /// Bookings that stand.
    pub bookings: u64,
    /// Reconfirmations that stand.
    pub reconfirmations: u64,
    /// Log-ins that were refused.
    pub log_ins_refused: u64,
    /// Schedules that were handed to the streaming side.
    pub publishes: u64,
    /// Schedules that it refused.
    pub publish_errors: u64,
    /// Confirmed programs whose reservation ID this server's key does not make: they cannot be broadcast.
    pub programs_without_key: u64,
    /// Times that the store did not answer to work that is done by itself.
    pub store_errors: u64,
    /// How full the outboxes were when last looked at.
    pub outbox: OutboxDepth,
}

/// The same while it is counted.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) mails_sent: AtomicU64,
    pub(super) mails_failed: AtomicU64,
    pub(super) mails_given_up: AtomicU64,
    pub(super) payments_done: AtomicU64,
    pub(super) payments_failed: AtomicU64,
    pub(super) payments_declined: AtomicU64,
    pub(super) bookings: AtomicU64,
    pub(super) reconfirmations: AtomicU64,
    pub(super) log_ins_refused: AtomicU64,
    pub(super) publishes: AtomicU64,
    pub(super) publish_errors: AtomicU64,
    pub(super) programs_without_key: AtomicU64,
    pub(super) store_errors: AtomicU64,
    pub(super) outbox: Mutex<OutboxDepth>,
}

/// One more.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

impl Service {
    /// Counts since the start.
    pub fn stats(&self) -> ServiceStats {
        let counts = &self.0.counts;
        ServiceStats {
            mails_sent: counts.mails_sent.load(Relaxed),
            mails_failed: counts.mails_failed.load(Relaxed),
            mails_given_up: counts.mails_given_up.load(Relaxed),
            payments_done: counts.payments_done.load(Relaxed),
            payments_failed: counts.payments_failed.load(Relaxed),
            payments_declined: counts.payments_declined.load(Relaxed),
            bookings: counts.bookings.load(Relaxed),
            reconfirmations: counts.reconfirmations.load(Relaxed),
            log_ins_refused: counts.log_ins_refused.load(Relaxed),
            publishes: counts.publishes.load(Relaxed),
            publish_errors: counts.publish_errors.load(Relaxed),
            programs_without_key: counts.programs_without_key.load(Relaxed),
            store_errors: counts.store_errors.load(Relaxed),
            outbox: *counts.outbox.lock(),
        }
    }
}
