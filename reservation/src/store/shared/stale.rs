//! Taking away what was kept long enough, a bounded number of rows at a time.
//!
//! Not here: for how long what is kept (`service::retention`). Reservations, payments, the ledger, runs and accepted terms
//! stay.

use slotcast_core::time::WallTime;

use super::{super::super::Stale, Stored, Work};

/// The rows whose `$column` is before `$1`, at most `$2`.
macro_rules! older {
    ($table:literal, $key:literal, $column:literal, $and:literal) => {
        concat!(
            "DELETE FROM ",
            $table,
            " WHERE (",
            $key,
            ") IN (SELECT ",
            $key,
            " FROM ",
            $table,
            " WHERE ",
            $column,
            " < $1",
            $and,
            " ORDER BY ",
            $column,
            " LIMIT $2",
            for_taking!(),
            ")"
        )
    };
}

const fn sql(what: Stale) -> &'static str {
    match what {
        // What friends were told of a program must be known until it is over.
        Stale::Mails => older!(
            "jobs",
            "position",
            "created_at",
            " AND next_at IS NULL AND NOT EXISTS
                (SELECT 1 FROM reservations WHERE reservations.number = jobs.about AND window_end >= $1)"
        ),
        Stale::Samples => older!("samples", "reservation, at", "at", ""),
        Stale::Slots => older!("slots", "channel, start", "start", ""),
        Stale::Sessions => older!("sessions", "token_hash", "expires_at", ""),
        Stale::Tokens => older!("api_tokens", "token_hash", "expires_at", ""),
        Stale::Proofs => older!("proofs", "member, kind", "expires_at", ""),
        Stale::Answers => older!("kept_answers", "scope, key", "created_at", ""),
        Stale::Events => older!("seen_events", "event", "seen_at", ""),
    }
}

impl Work {
    pub(super) async fn remove_rows(&mut self, what: Stale, before: WallTime, limit: u32) -> Stored<u64> {
        let query = sqlx::query(sql(what)).bind(before.as_micros()).bind(i64::from(limit));
        let removed = self.run(query).await?;
        self.changes_slots |= what == Stale::Slots && removed > 0;
        Ok(removed)
    }
}
