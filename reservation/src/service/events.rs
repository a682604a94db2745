//! What is told of programs as it happens: to pages that are open, and of links, starts and ends that no command causes.
//!
//! Not here: who may see what (`hub`), events of decisions (`domain::rules`), the operator's webhooks (`webhooks`).
//! Invariant: what was seen of a link is told once its transaction stands; while the store is down, it waits in bounds.

use std::{
    collections::{BTreeMap, VecDeque},
    net::IpAddr,
};

use serde::Serialize;
use slotcast_core::{
    time::WallTime,
    words::{Seats, Window},
};
use utoipa::ToSchema;

use super::{Actor, Answer, Scope, Service, budget::one_address, calendar::day_of};
use crate::{
    domain::{
        event::{Event, EventKind},
        refusal::Refusal,
        reservation::{Reservation, State},
        rules,
        words::{MemberNumber, ReservationNumber},
    },
    hub::{Listener, Of, Subscription, Wanted},
    limits::{ANNOUNCED_BEFORE, EVENTS_WAITING_MAX, LISTENERS_WAIT},
    streaming::{Link, LinkEnd, Live, Scheduled},
};

/// Of which programs somebody wants to hear.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Only of this one.
    pub program: Option<ReservationNumber>,
    /// Only of those of today, in the provider's zone.
    pub today: bool,
    /// Only of one's own.
    pub mine: bool,
}

/// What is known of a program on the schedule.
#[derive(Clone, Copy)]
pub(super) struct Facts {
    of: Of,
    seats: Seats,
    is_stopped: bool,
}

impl Facts {
    pub(super) const fn of(scheduled: &Scheduled) -> Self {
        let of = Of {
            number: scheduled.number,
            member: scheduled.member,
            window: scheduled.window,
            level: scheduled.open_level,
        };
        Self { of, seats: scheduled.seats, is_stopped: scheduled.stopped.is_some() }
    }
}

/// How a program runs now, for everybody who may know of it: told each time that it changes, once a second at most.
#[derive(Serialize, ToSchema)]
pub struct LiveFigures {
    /// Names the program.
    #[schema(value_type = i64)]
    pub number: ReservationNumber,
    /// When it is on air; longer once it was extended.
    pub window: Window,
    /// Whether media goes to viewers.
    pub is_on_air: bool,
    /// OPEN or CLOSE: on air, and a seat is free.
    pub is_open: bool,
    /// How many may watch at once.
    pub seats: Seats,
    /// Seats that are free.
    pub seats_left: u32,
    /// How many watch.
    pub viewers: u32,
    /// For the broadcaster and the operator alone.
    #[serde(flatten)]
    pub health: Option<Health>,
}

/// How the link does.
#[derive(Serialize, ToSchema)]
pub struct Health {
    /// Whose program it is.
    #[schema(value_type = i64)]
    pub member: MemberNumber,
    /// What the link does.
    pub link: Link,
    /// What came in during the last second, in bits per second.
    pub bit_rate: u64,
    /// Why the last link ended.
    pub last_end: Option<LinkEnd>,
}

/// What was seen and is not told yet.
struct Seen {
    program: ReservationNumber,
    kind: EventKind,
    at: WallTime,
    /// Tells it from others of its kind.
    name: WallTime,
    reason: Option<&'static str>,
}

/// What the streaming side was seen to do.
#[derive(Default)]
pub(super) struct Watched {
    links: BTreeMap<ReservationNumber, (Link, Option<LinkEnd>)>,
    /// The start and the end of each program that were announced.
    announced: BTreeMap<ReservationNumber, [Option<WallTime>; 2]>,
    waiting: VecDeque<Seen>,
}

impl Watched {
    /// Notes what is announced now.
    fn see_times<'a>(&mut self, facts: impl Iterator<Item = &'a Facts>, now: WallTime) {
        let mut before = std::mem::take(&mut self.announced);
        for facts in facts.filter(|facts| !facts.is_stopped) {
            let Of { number, window, .. } = facts.of;
            let (start, end) = (window.start(), window.end());
            let is_soon = |at: WallTime| at.saturating_sub(ANNOUNCED_BEFORE) <= now && now < at;
            let is_next = [is_soon(start), is_soon(end) && start <= now];
            let mut announced = before.remove(&number).unwrap_or_default();
            let both = [EventKind::Starting, EventKind::Ending].into_iter().zip([start, end]).zip(is_next);
            for (((kind, at), is_next), last) in both.zip(&mut announced) {
                if is_next && *last != Some(at) {
                    *last = Some(at);
                    self.wait(Seen { program: number, kind, at: now, name: at, reason: None });
                }
            }
            if announced != [None, None] {
                self.announced.insert(number, announced);
            }
        }
    }

    /// Notes what links do now.
    fn see_links(&mut self, live: &BTreeMap<ReservationNumber, Live>, now: WallTime) {
        let mut before = std::mem::take(&mut self.links);
        for (number, live) in live {
            let (link, end) = before.remove(number).unwrap_or((Link::Absent, None));
            self.links.insert(*number, (live.link, live.last_end.clone()));
            let ended = live.last_end.as_ref().filter(|now| Some(*now) != end.as_ref());
            if link == live.link && ended.is_none() {
                continue;
            }
            self.see_link(*number, link, ended, live, now);
        }
        for (number, (link, _)) in before {
            if link != Link::Absent {
                let seen =
                    Seen { program: number, kind: EventKind::LinkDown, at: now, name: now, reason: None };
                self.wait(seen);
            }
        }
    }

    fn see_link(
        &mut self,
        program: ReservationNumber,
        before: Link,
        ended: Option<&LinkEnd>,
        live: &Live,
        now: WallTime,
    ) {
        let seen = |kind, at, reason| Seen { program, kind, at, name: at, reason };
        match ended {
            Some(end) => {
                if end.reason == CLASS_EXCEEDED {
                    self.wait(seen(EventKind::ClassExceeded, end.at, Some(end.reason)));
                }
                self.wait(seen(EventKind::LinkDown, end.at, Some(end.reason)));
            }
            None if live.link == Link::Absent => self.wait(seen(EventKind::LinkDown, now, None)),
            None => {}
        }
        if live.link != Link::Absent && (before == Link::Absent || ended.is_some()) {
            self.wait(seen(EventKind::LinkUp, live.since, None));
        }
    }

    fn wait(&mut self, seen: Seen) {
        if self.waiting.len() >= EVENTS_WAITING_MAX {
            self.waiting.pop_front();
        }
        self.waiting.push_back(seen);
    }
}

/// As the streaming side says that a link brought too much.
const CLASS_EXCEEDED: &str = "class_exceeded";

impl Seen {
    /// As it is told of the program; `None`: that is not to begin or to end then any more.
    fn event(&self, of: &Reservation) -> Option<Event> {
        let is_to_run = matches!(of.state, State::Confirmed | State::OnAir);
        let is_so = match self.kind {
            EventKind::Starting => is_to_run && of.window.start() == self.name,
            EventKind::Ending => is_to_run && of.window.end() == self.name,
            _ => true,
        };
        let mut event = Event::new(self.kind, of, &self.name.as_micros().to_string(), self.at);
        event.data.reason = self.reason.map(str::to_owned);
        is_so.then_some(event)
    }
}

impl Service {
    /// Listens to what happens to programs from now on, and sees how they run: what is public, everything of one's own,
    /// and as an operator everything.
    ///
    /// - `after`: the ID of the event that was heard last (`Last-Event-ID`).
    ///
    /// Refused: `NotLoggedIn` (one's own programs, and nobody asks), `TooMany` (others listen, or others at that address).
    pub fn events(
        &self,
        actor: Option<&Actor>,
        filter: EventFilter,
        after: Option<&str>,
        client: IpAddr,
    ) -> Answer<Subscription> {
        let reader = actor.filter(|actor| actor.need(Scope::Read).is_ok());
        let listener = match reader {
            Some(actor) if actor.operates().is_ok() => Listener::Operator,
            Some(actor) => Listener::Member(actor.member),
            None => Listener::Anybody { sees_public: !self.rules().public_to_members_only },
        };
        let member = match (filter.mine, reader) {
            (false, _) => None,
            (true, Some(actor)) => Some(actor.member),
            (true, None) => return Err(Refusal::NotLoggedIn.into()),
        };
        let zone = &self.rules().zone;
        let today = rules::zoned(self.now(), zone).filter(|_| filter.today);
        let during = today.map(|today| day_of(today.date(), zone)).transpose()?;
        let during = during.and_then(|(from, to)| Window::new(from, to).ok());
        let wanted = Wanted { program: filter.program, member, during };
        let heard = self.0.store.hub().subscribe(listener, wanted, after, one_address(client));
        Ok(heard.ok_or(Refusal::TooMany { retry_after: LISTENERS_WAIT.as_secs() })?)
    }

    /// Notes what changed since the last look, and shows how programs run.
    pub(super) fn show<'a>(
        &self,
        facts: impl Iterator<Item = &'a Facts> + Clone,
        live: &BTreeMap<ReservationNumber, Live>,
        now: WallTime,
    ) {
        {
            let mut watched = self.0.watched.lock();
            watched.see_times(facts.clone(), now);
            watched.see_links(live, now);
        }
        let is_shown = |facts: &&Facts| {
            live.contains_key(&facts.of.number) || facts.of.window.contains(now) && !facts.is_stopped
        };
        let figures = |facts: &Facts| {
            let absent = Live::absent(now);
            let live = live.get(&facts.of.number).unwrap_or(&absent);
            (facts.of, facts.figures(live, None, now), facts.figures(live, Some(facts.health(live)), now))
        };
        let shown: Vec<_> = facts.filter(is_shown).map(figures).collect();
        self.0.store.hub().show(&shown);
    }

    /// Tells what was seen of links, starts and ends, in order.
    ///
    /// Errors: the store did not take it; it waits for the next time.
    pub(super) async fn tell_of_links(&self) -> Answer<()> {
        let _one = self.0.telling.lock().await;
        loop {
            let Some(seen) = self.0.watched.lock().waiting.pop_front() else { return Ok(()) };
            if let Err(error) = self.tell_of(&seen).await {
                self.0.watched.lock().waiting.push_front(seen);
                return Err(error);
            }
        }
    }

    async fn tell_of(&self, seen: &Seen) -> Answer<()> {
        let mut tx = self.0.store.begin().await?;
        // What else happens to the program is told before or after it.
        let found = tx.lock_reservation(seen.program).await?;
        let has_begun = found.as_ref().is_some_and(|found| found.state != State::Confirmed);
        if seen.kind == EventKind::Ending && !has_begun {
            // Its start is told first; it is looked at again.
            self.0.watched.lock().announced.entry(seen.program).and_modify(|[_, end]| *end = None);
            return Ok(());
        }
        let Some(event) = found.and_then(|found| seen.event(&found)) else { return Ok(()) };
        tx.add_events(&[event]).await?;
        Ok(tx.commit().await?)
    }
}

impl Facts {
    fn figures(&self, live: &Live, health: Option<Health>, now: WallTime) -> LiveFigures {
        let seats_left = self.seats.count().saturating_sub(live.viewers);
        let is_on_air = live.link == Link::OnAir && self.of.window.contains(now) && !self.is_stopped;
        LiveFigures {
            number: self.of.number,
            window: self.of.window,
            is_on_air,
            is_open: is_on_air && seats_left > 0,
            seats: self.seats,
            seats_left,
            viewers: live.viewers,
            health,
        }
    }

    fn health(&self, live: &Live) -> Health {
        let (bit_rate, last_end) = (live.bit_rate, live.last_end.clone());
        Health { member: self.of.member, link: live.link, bit_rate, last_end }
    }
}
