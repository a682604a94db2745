//! Telling the streaming side what may be on air.
//!
//! Invariant: the schedule is handed over whole or not at all; while the store does not answer, the last one stays, and
//! ends are exact since the streaming side has them.

use std::collections::HashSet;

use slotcast_core::{
    time::{Now, WallTime},
    words::Window,
};

use super::{Answer, Service, ServiceError, counts::count};
use crate::{
    domain::{
        reservation::{CancelledBy, Reservation, Settlement, SoldChannel, State},
        words::ReservationNumber,
    },
    limits::{CLOCK_STEP_MIN, HORIZON, PUBLISH_EVERY, ROWS_AT_ONCE},
    store::{Page, Reads, ReservationFilter},
    streaming::{Schedule, Scheduled, StoppedBy},
    vault::same_hash,
};

/// What was handed over last.
#[derive(Default)]
pub(super) struct Published {
    revision: Option<i64>,
    at: Option<Now>,
    /// What the streaming side said against it, so that the log says it once.
    error: Option<String>,
    without_key: HashSet<ReservationNumber>,
    /// For the observer: programs and when they may be on air.
    pub(super) programs: Vec<(ReservationNumber, Window)>,
}

impl Service {
    /// Hands the schedule to the streaming side if it changed since the last time; returns whether it did.
    pub async fn publish(&self) -> Answer<bool> {
        let now = (self.0.clock)();
        let mut reads = self.0.store.read().await?;
        let revision = reads.schedule_revision().await?;
        if !self.must_publish(revision, now) {
            return Ok(false);
        }
        let schedule = self.schedule(reads.as_mut(), now.wall).await?;
        drop(reads);
        let told = self.0.streaming.publish(&schedule);
        let mut published = self.0.published.lock();
        match told {
            Ok(()) => {
                count(&self.0.counts.publishes);
                published.error = None;
                published.revision = Some(revision);
                published.at = Some(now);
                published.programs =
                    schedule.programs.iter().map(|program| (program.number, program.window)).collect();
                Ok(true)
            }
            Err(error) => {
                count(&self.0.counts.publish_errors);
                if published.error.as_ref() != Some(&error) {
                    tracing::error!(error, "the streaming side refuses the schedule; the last one stays");
                }
                published.error = Some(error.clone());
                Err(ServiceError::Internal(error))
            }
        }
    }

    fn must_publish(&self, revision: i64, now: Now) -> bool {
        let published = self.0.published.lock();
        let (Some(last), Some(at)) = (published.revision, published.at) else { return true };
        let by_mono = now.mono.saturating_duration_since(at.mono);
        let by_wall = now.wall.as_micros().saturating_sub(at.wall.as_micros());
        let step = by_wall.saturating_sub(i64::try_from(by_mono.as_micros()).unwrap_or(i64::MAX));
        last != revision
            || by_mono >= PUBLISH_EVERY
            || u128::from(step.unsigned_abs()) >= CLOCK_STEP_MIN.as_micros()
    }

    async fn schedule(&self, reads: &mut (dyn Reads + '_), now: WallTime) -> Answer<Schedule> {
        let channels = reads.channels().await?;
        let after = self.rules().margins.after;
        let before = now.saturating_add(HORIZON).saturating_add(PUBLISH_EVERY);
        let mut reservations = reads.scheduled(now.saturating_sub(after), before).await?;
        reservations.extend(just_over(reads, now.saturating_sub(after), now).await?);
        let programs: Vec<_> =
            reservations.into_iter().filter_map(|reservation| self.scheduled(reservation)).collect();
        let has_program =
            |channel: &SoldChannel| programs.iter().any(|program| program.channel == channel.number);
        let channels =
            channels.into_iter().filter(|channel| !channel.is_retired || has_program(channel)).collect();
        Ok(Schedule { channels, programs })
    }

    /// `None`: this server's key does not make the reservation ID that is on file; nobody could broadcast it.
    fn scheduled(&self, reservation: Reservation) -> Option<Scheduled> {
        let number = reservation.number;
        let id = self.0.vault.reservation_id(number, reservation.id_issue);
        let is_known = reservation.id_hash.is_some_and(|hash| same_hash(&hash, &id.hash()));
        if !is_known {
            if self.0.published.lock().without_key.insert(number) {
                count(&self.0.counts.programs_without_key);
                tracing::error!(
                    reservation = %number,
                    "its reservation ID is not this key's: put back the secret.key that belongs to this database"
                );
            }
            return None;
        }
        let stopped = stopped_by(&reservation);
        let window = until_stopped(&reservation)?;
        let program = reservation.program;
        Some(Scheduled {
            number,
            channel: reservation.channel,
            window,
            stopped,
            connect: reservation.window.widened(self.rules().margins),
            seats: reservation.seats,
            class: reservation.class,
            title: program.title,
            open_level: program.open_level,
            password: program.password,
            reservation_id: id,
        })
    }
}

/// Programs that are over and whose connect window is not: links of those that ran to their end stay until then, and
/// who comes back to one that was ended before its time is told so.
async fn just_over(reads: &mut (dyn Reads + '_), from: WallTime, now: WallTime) -> Answer<Vec<Reservation>> {
    let finished = [Settlement::Open, Settlement::Charged, Settlement::Waived].map(State::Finished);
    let cancelled = [CancelledBy::Member, CancelledBy::Operator].map(State::Cancelled);
    let filter = ReservationFilter {
        between: Some((from, now)),
        states: [&finished[..], &cancelled[..]].concat(),
        newest_first: true,
        ..ReservationFilter::default()
    };
    let found = reads.reservations(&filter, Page { offset: 0, limit: ROWS_AT_ONCE }).await?;
    // What nobody reconfirmed was never on air, and its slots are somebody else's.
    let was_confirmed = |reservation: &Reservation| reservation.confirmed_at.is_some();
    Ok(found.items.into_iter().filter(was_confirmed).collect())
}

/// Who ended the program before its window was over; `None`: nobody did.
fn stopped_by(reservation: &Reservation) -> Option<StoppedBy> {
    let is_early = reservation.over_at.is_some_and(|over_at| over_at < reservation.window.end());
    match reservation.state {
        State::Finished(_) if is_early => Some(StoppedBy::Member),
        State::Cancelled(CancelledBy::Member) => Some(StoppedBy::Member),
        State::Cancelled(_) => Some(StoppedBy::Operator),
        _ => None,
    }
}

/// The window as far as it was used: from then on the channel's slots may be another program's. `None`: it was ended
/// before it began.
fn until_stopped(reservation: &Reservation) -> Option<Window> {
    let window = reservation.window;
    let over = reservation.over_at.unwrap_or_else(|| window.end()).min(window.end());
    Window::new(window.start(), over).ok()
}
