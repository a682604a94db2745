//! Telling the streaming side what may be on air.
//!
//! Invariant: what is handed over is taken whole or not at all; while the store does not answer, the last schedule stays,
//! and ends are exact since the streaming side has them. Only what changed is read and handed over: all of the schedule
//! at the start, where a clock was set, and after a refusal.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use slotcast_core::{
    time::{Now, WallTime},
    words::{BitRate, ChannelNumber, Seats, Window},
};

use super::{Answer, Service, ServiceError, counts::count, events::Facts};
use crate::{
    domain::{
        reservation::{CancelledBy, Reservation, SoldChannel, State},
        words::ReservationNumber,
    },
    limits::{CLOCK_STEP_MIN, HORIZON, PUBLISH_EVERY, PUBLISH_STEP, ROWS_AT_ONCE},
    store::{self, Reads, ScheduleChange},
    streaming::{Schedule, Scheduled, StoppedBy},
    vault::same_hash,
};

/// What was handed over last.
#[derive(Default)]
pub(super) struct Published {
    /// `None`: nothing yet, or it was refused.
    last: Option<Last>,
    /// What was refused last, and what the streaming side said against it, so that the log says it once.
    refused: Option<(i64, Now, String)>,
    without_key: BTreeSet<ReservationNumber>,
    programs: BTreeMap<ReservationNumber, OnSchedule>,
}

#[derive(Clone, Copy)]
struct Last {
    revision: i64,
    at: Now,
    /// Programs that begin before this are on it.
    until: WallTime,
}

/// What must be known here of a program that was handed over.
#[derive(Clone, Copy)]
struct OnSchedule {
    window: Window,
    /// It is forgotten then.
    connect_end: WallTime,
    channel: ChannelNumber,
    seats: Seats,
    class: BitRate,
    /// For those who listen to events.
    facts: Facts,
}

impl OnSchedule {
    const fn of(program: &Scheduled) -> Self {
        let Scheduled { window, connect, channel, seats, class, .. } = program;
        let facts = Facts::of(program);
        Self {
            window: *window,
            connect_end: connect.end(),
            channel: *channel,
            seats: *seats,
            class: *class,
            facts,
        }
    }
}

impl Published {
    /// Programs and when they may be on air.
    pub(super) fn windows(&self) -> impl Iterator<Item = (ReservationNumber, Window)> {
        self.programs.iter().map(|(number, program)| (*number, program.window))
    }

    /// What those who listen to events may know of the same programs.
    pub(super) fn facts(&self) -> impl Iterator<Item = &Facts> + Clone {
        self.programs.values().map(|program| &program.facts)
    }

    /// Since when there may be anything new; `Some(None)`: all is to be read. `None`: there is nothing new.
    fn since(&self, revision: i64, now: Now) -> Option<Option<Last>> {
        let passed = |at: Now| now.mono.saturating_duration_since(at.mono);
        let Some(last) = self.last else {
            let is_refused =
                |(refused, at, _): &(i64, Now, String)| *refused == revision && passed(*at) < PUBLISH_EVERY;
            return (!self.refused.as_ref().is_some_and(is_refused)).then_some(None);
        };
        let by_wall = now.wall.as_micros().saturating_sub(last.at.wall.as_micros());
        let by_mono = i64::try_from(passed(last.at).as_micros()).unwrap_or(i64::MAX);
        if u128::from(by_wall.saturating_sub(by_mono).unsigned_abs()) >= CLOCK_STEP_MIN.as_micros() {
            return Some(None);
        }
        (last.revision != revision || passed(last.at) >= PUBLISH_EVERY).then_some(Some(last))
    }

    /// Leaves out channels that are retired and have no program, and gives the others what their programs were promised,
    /// also where less is sold now. Programs as they will be once `schedule` is taken.
    fn promise(&self, mut channels: Vec<SoldChannel>, schedule: &Schedule) -> Vec<SoldChannel> {
        let mut promised: HashMap<ChannelNumber, (Seats, BitRate)> = HashMap::new();
        let mut take_up = |program: &OnSchedule| {
            let (seats, class) = promised.entry(program.channel).or_insert((program.seats, program.class));
            (*seats, *class) = ((*seats).max(program.seats), (*class).max(program.class));
        };
        if !schedule.is_whole {
            let put = schedule.programs.iter().map(|program| program.number);
            let left: BTreeSet<_> = put.chain(schedule.gone.iter().copied()).collect();
            self.programs
                .iter()
                .filter(|(number, _)| !left.contains(number))
                .for_each(|(_, its)| take_up(its));
        }
        schedule.programs.iter().for_each(|program| take_up(&OnSchedule::of(program)));
        channels.retain(|channel| !channel.is_retired || promised.contains_key(&channel.number));
        for channel in &mut channels {
            if let Some((seats, class)) = promised.get(&channel.number) {
                (channel.seats, channel.class) = (channel.seats.max(*seats), channel.class.max(*class));
            }
        }
        channels
    }

    fn note(&mut self, schedule: Schedule, last: Last) {
        if schedule.is_whole {
            self.programs.clear();
        }
        for number in &schedule.gone {
            self.programs.remove(number);
        }
        self.programs
            .extend(schedule.programs.iter().map(|program| (program.number, OnSchedule::of(program))));
        (self.last, self.refused) = (Some(last), None);
    }
}

impl Service {
    /// Hands to the streaming side what of the schedule changed since the last time; returns whether anything might have.
    pub async fn publish(&self) -> Answer<bool> {
        let now = (self.0.clock)();
        let mut reads = self.0.store.read().await?;
        let revision = reads.schedule_revision().await?;
        let Some(since) = self.0.published.lock().since(revision, now) else { return Ok(false) };
        let next = Last { revision, at: now, until: now.wall.saturating_add(HORIZON + PUBLISH_EVERY) };
        let changes = match since {
            Some(last) => reads.schedule_changes(last.revision).await?.map(|changes| (last, changes)),
            None => None,
        };
        let mut schedule = match changes {
            Some((last, changes)) => self.changed(reads.as_mut(), last, &changes, next).await?,
            None => self.whole(reads.as_mut(), next).await?,
        };
        let channels = reads.channels().await?;
        drop(reads);
        let mut published = self.0.published.lock();
        schedule.channels = published.promise(channels, &schedule);
        match self.0.streaming.publish(&schedule) {
            Ok(()) => {
                count(&self.0.counts.publishes);
                published.note(schedule, next);
                Ok(true)
            }
            Err(error) => {
                count(&self.0.counts.publish_errors);
                if published.refused.as_ref().is_none_or(|(.., said)| *said != error) {
                    tracing::error!(error, "the streaming side refuses the schedule; the last one stays");
                }
                published.last = None;
                published.refused = Some((revision, now, error.clone()));
                Err(ServiceError::Internal(error))
            }
        }
    }

    /// All programs up to the horizon, read in parts.
    async fn whole(&self, reads: &mut (dyn Reads + '_), next: Last) -> Answer<Schedule> {
        let (now, mut programs) = (next.at.wall, Vec::new());
        let after = now.saturating_sub(self.rules().margins.after);
        let (mut from, mut before) = (store::Scheduled::All, now.min(next.until));
        loop {
            let found = reads.scheduled(from, after, before).await?;
            programs.extend(found.into_iter().filter_map(|reservation| self.scheduled(reservation)));
            if before >= next.until {
                return Ok(Schedule { programs, is_whole: true, ..Schedule::default() });
            }
            from = store::Scheduled::From(before);
            before = before.saturating_add(PUBLISH_STEP).min(next.until);
        }
    }

    /// What changed since `last`: by revisions, by the horizon's moving on, and by the passing of connect windows.
    async fn changed(
        &self,
        reads: &mut (dyn Reads + '_),
        last: Last,
        changes: &[ScheduleChange],
        next: Last,
    ) -> Answer<Schedule> {
        let after = next.at.wall.saturating_sub(self.rules().margins.after);
        let mut looked_at = BTreeSet::new();
        let mut found = reads.scheduled(store::Scheduled::From(last.until), after, next.until).await?;
        for change in changes {
            match change {
                ScheduleChange::Channels => {}
                ScheduleChange::Program(number) => drop(looked_at.insert(*number)),
                ScheduleChange::ProgramsOf(member) => {
                    let theirs = reads.programs_of(*member, after, next.until).await?;
                    looked_at.extend(theirs);
                }
            }
        }
        let numbers: Vec<_> = looked_at.iter().copied().collect();
        for some in numbers.chunks(ROWS_AT_ONCE as usize) {
            found.extend(reads.scheduled(store::Scheduled::Programs(some), after, next.until).await?);
        }
        let put: BTreeMap<_, _> = found
            .into_iter()
            .filter_map(|reservation| self.scheduled(reservation))
            .map(|program| (program.number, program))
            .collect();
        let published = self.0.published.lock();
        let is_over = |program: &OnSchedule| program.connect_end <= next.at.wall;
        let is_gone = |(number, program): &(&ReservationNumber, &OnSchedule)| {
            !put.contains_key(number) && (is_over(program) || looked_at.contains(number))
        };
        let gone = published.programs.iter().filter(is_gone).map(|(number, _)| *number).collect();
        Ok(Schedule { programs: put.into_values().collect(), gone, ..Schedule::default() })
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
            member: reservation.member,
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
