//! All halls of a worker: which is served when, which has ended, and who stands in them.
//!
//! Owns: the turns that halls take, the viewers and their seats, gates that close on time, and the list of those who are
//! still to be told goodbye.
//! Not here: telling them, which is their doors' business.
//! Invariant: when a gate is closed no media leaves any more, not even the rest of a packet that was begun: its hall is
//! taken down with all that was on its way before anything else is done. Wall time decides.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    io,
    sync::{Arc, atomic::AtomicU64},
    time::{Duration, Instant},
};

use slotcast_admission::{Cut, Guesses, Lines, Programs, Reason};
use slotcast_core::{
    chunk::Chunk,
    log::Position,
    time::{Clock, Now},
    words::{ChannelNumber, ProgramId},
};

use crate::{
    audience::{Audience, Loss, Patience, Progress, Turn},
    budget::Budget,
    hall::{Hall, Opening},
    limits,
    ports::Net,
    sockets::Sockets,
    stats::{FanoutStats, Protocol, SendErrorKind, WorkerStats},
    viewer::{Account, Farewell, Key, Viewer, Viewers},
    wire::Outbox,
};

/// What all workers share; nothing of it is touched per packet but the clock.
pub(crate) struct Shared {
    pub(crate) programs: Arc<dyn Programs>,
    pub(crate) clock: Clock,
    pub(crate) stats: Arc<FanoutStats>,
    pub(crate) patience: Patience,
    pub(crate) guesses: Arc<Guesses>,
    pub(crate) lines: Arc<Lines>,
    /// Viewers that were given a seat: makes their keys.
    pub(crate) seated: AtomicU64,
}

/// The halls of one worker.
pub(crate) struct Halls<A, N: Net> {
    pub(crate) shared: Arc<Shared>,
    pub(crate) stats: Arc<WorkerStats>,
    pub(crate) sockets: Sockets<N>,
    by_program: HashMap<ProgramId, Hall<A>>,
    viewers: Viewers,
    /// The viewers of each program; whether some program has come or gone since that was last asked.
    watched: HashMap<ProgramId, HashSet<Key>>,
    watched_changed: bool,
    /// Halls with media on its way to viewers at the head, in the order in which they are served.
    ready: VecDeque<ProgramId>,
    /// Halls whose UDP viewers wait for room in the socket.
    waiting: VecDeque<ProgramId>,
    /// Viewers who are still to be told goodbye.
    leaving: VecDeque<Key>,
    lost: Vec<(Key, Loss)>,
    /// When all gates are looked at next, and when the next program ends.
    gates_at: Instant,
    ends_at: Option<Instant>,
}

impl<A: Audience<N> + Default, N: Net> Halls<A, N> {
    pub(crate) fn new(shared: Arc<Shared>, stats: Arc<WorkerStats>, sockets: Sockets<N>) -> Self {
        let gates_at = (shared.clock)().mono;
        Self {
            shared,
            stats,
            sockets,
            by_program: HashMap::new(),
            viewers: Viewers::new(),
            watched: HashMap::new(),
            watched_changed: true,
            ready: VecDeque::new(),
            waiting: VecDeque::new(),
            leaving: VecDeque::new(),
            lost: Vec::new(),
            gates_at,
            ends_at: None,
        }
    }

    /// The hall of a program that is on air here.
    pub(crate) fn hall(&self, program: ProgramId) -> Option<&Hall<A>> {
        self.by_program.get(&program)
    }

    pub(crate) fn viewer(&self, key: Key) -> Option<&Viewer> {
        self.viewers.get(&key)
    }

    pub(crate) fn viewers(&self) -> &Viewers {
        &self.viewers
    }

    /// A viewer has got a seat.
    pub(crate) fn seat(&mut self, key: Key, viewer: Viewer) {
        let watching = self.watched.entry(viewer.program).or_default();
        watching.insert(key);
        self.watched_changed |= watching.len() == 1;
        self.viewers.insert(key, viewer);
    }

    /// A viewer gives its seat back; nothing is sent to it any more.
    pub(crate) fn unseat(&mut self, key: Key) -> Option<Viewer> {
        self.leave(key);
        let viewer = self.viewers.remove(&key)?;
        if let Some(watching) = self.watched.get_mut(&viewer.program) {
            watching.remove(&key);
            if watching.is_empty() {
                self.watched.remove(&viewer.program);
                self.watched_changed = true;
            }
        }
        Some(viewer)
    }

    /// The programs that viewers here watch, if some has come or gone since the last call.
    pub(crate) fn newly_watched(&mut self) -> Option<HashSet<ProgramId>> {
        std::mem::take(&mut self.watched_changed).then(|| self.watched.keys().copied().collect())
    }

    /// A viewer with a seat begins to get media. Returns the opening that it gets it of; `None` where the program is over.
    pub(crate) fn enter(&mut self, key: Key, way: A::Way, start: Position, now: Instant) -> Option<Opening> {
        let program = self.viewers.get(&key)?.program;
        let hall = self.by_program.get_mut(&program)?;
        hall.audience.enter(key, way, start, now);
        hall.behind_at = Some(now);
        Some(hall.opening())
    }

    /// A viewer gets no media for now; its seat is kept.
    pub(crate) fn leave(&mut self, key: Key) {
        if let Some(hall) = self.hall_of(key) {
            hall.audience.leave(key);
        }
    }

    /// Where in the log a viewer's next packet of `track` is looked for; `None`: nobody knows.
    pub(crate) fn next_of(&self, key: Key, track: u8) -> Option<Position> {
        let hall = self.hall(self.viewers.get(&key)?.program)?;
        hall.audience.next_of(key, track, &hall.log)
    }

    /// How many viewers there are, by channel and protocol.
    pub(crate) fn census(&self) -> BTreeMap<(ChannelNumber, Protocol), u32> {
        let mut census = BTreeMap::new();
        for viewer in self.viewers.values().filter(|viewer| viewer.farewell.is_none()) {
            if let Some(hall) = self.by_program.get(&viewer.program) {
                *census.entry((hall.program.channel.number, viewer.protocol)).or_insert(0) += 1;
            }
        }
        census
    }

    /// When a viewer last took media, as far as that shows that it lives.
    pub(crate) fn took_at(&self, key: Key) -> Option<Instant> {
        self.hall(self.viewers.get(&key)?.program)?.audience.took_at(key)
    }

    fn hall_of(&mut self, key: Key) -> Option<&mut Hall<A>> {
        self.by_program.get_mut(&self.viewers.get(&key)?.program)
    }

    /// The socket of a viewer takes bytes again.
    pub(crate) fn writable(&mut self, key: Key, now: Instant) {
        if let Some(hall) = self.hall_of(key) {
            hall.audience.writable(key);
            hall.behind_at = Some(now);
        }
    }

    /// The socket of a viewer is full of what its door said.
    pub(crate) fn full(&mut self, key: Key, now: Instant) {
        if let Some(hall) = self.hall_of(key) {
            hall.audience.full(key, now);
        }
    }

    /// Writes what waits on a wire. Whether all of it left.
    ///
    /// - `of`: the opening whose media it carries: without a hall of it the rest of a begun packet is forgotten.
    pub(crate) fn flush(&mut self, place: usize, of: Option<Opening>, now: Now) -> io::Result<bool> {
        let hall = of.and_then(|of| self.by_program.get(&of.program).filter(|hall| hall.opening() == of));
        let guard = hall.map(|hall| hall.guard(&self.shared.clock, now)).filter(|guard| guard.may_send());
        let Some(wire) = self.sockets.wire(place) else { return Ok(true) };
        if guard.is_none() && !wire.outbox.forget_tail() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        wire.flush(guard.as_ref())
    }

    /// What waits on a wire.
    pub(crate) fn outbox(&mut self, place: usize) -> Option<&mut Outbox> {
        self.sockets.wire(place).map(|wire| &mut wire.outbox)
    }

    /// Takes one chunk into its program's log. It leaves with the next [`live`](Self::live).
    pub(crate) fn take(&mut self, now: Now, chunk: Arc<Chunk>) {
        let id = chunk.stream().program;
        if !self.by_program.contains_key(&id) {
            let program = self.shared.programs.program(id).filter(|p| p.gate.lets_through(now.wall));
            let Some(program) = program else { return };
            self.by_program.insert(id, Hall::new(program, now.mono));
            // The end of this one may be the next.
            (self.gates_at, self.ends_at) = (now.mono, Some(now.mono));
        }
        let changed = |hall: &Hall<A>| hall.log.stream().is_some_and(|of| of.id != chunk.stream().id);
        if self.by_program.get(&id).is_some_and(changed) {
            // While the log still knows the old stream: its viewers are told goodbye in its name.
            self.end_all(id, Reason::StreamChanged, None);
        }
        let Some(hall) = self.by_program.get_mut(&id).filter(|hall| !hall.is_over(now)) else { return };
        if !hall.log.push(chunk) {
            return;
        }
        hall.chunk_at = now.mono;
        hall.audience.chunk_came();
        hall.behind_at = Some(now.mono);
        if !hall.is_ready {
            hall.is_ready = true;
            self.ready.push_back(id);
        }
    }

    /// Brings viewers at the head of their logs there again: halls take turns, so that a large audience gives way to the
    /// next hall's. Returns whether more is to be sent at once.
    pub(crate) fn live(&mut self, now: Now, budget: &mut Budget) -> bool {
        while let Some(id) = self.ready.pop_front() {
            let mut slice = budget.at_most(limits::LIVE_SLICE);
            match self.with_hall(id, now, &mut slice, |audience, turn| audience.live(turn)) {
                Some(Progress::More) => self.ready.push_back(id),
                Some(Progress::Full) => {
                    if !self.waiting.contains(&id) {
                        self.waiting.push_back(id);
                    }
                    self.unready(id);
                }
                Some(Progress::Done) | None => self.unready(id),
            }
            if !budget.goes_on() {
                break;
            }
        }
        !self.ready.is_empty()
    }

    fn unready(&mut self, id: ProgramId) {
        if let Some(hall) = self.by_program.get_mut(&id) {
            hall.is_ready = false;
        }
    }

    /// The UDP socket takes datagrams again: those that waited for it come next, in the order in which they began to.
    /// Returns whether there are any.
    pub(crate) fn room_again(&mut self) -> bool {
        let any = !self.waiting.is_empty();
        for id in std::mem::take(&mut self.waiting) {
            if let Some(hall) = self.by_program.get_mut(&id).filter(|hall| !hall.is_ready) {
                hall.is_ready = true;
                self.ready.push_back(id);
            }
        }
        any
    }

    /// Whether some audience waits for room in the UDP socket.
    pub(crate) fn awaits_room(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Serves those who read their logs at their own pace.
    pub(crate) fn behind(&mut self, now: Now, budget: &Budget) {
        let due = self.by_program.iter().filter(|(_, hall)| hall.behind_at.is_some_and(|at| at <= now.mono));
        let due: Vec<ProgramId> = due.map(|(id, _)| *id).collect();
        let count = due.len();
        for (place, id) in due.into_iter().enumerate() {
            let mut part = budget.part((count - place) as u32);
            let next = self.with_hall(id, now, &mut part, |audience, turn| audience.behind(turn));
            if let Some(hall) = self.by_program.get_mut(&id) {
                hall.behind_at = next.flatten();
            }
        }
    }

    /// When [`behind`](Self::behind) has something to do next.
    pub(crate) fn behind_at(&self) -> Option<Instant> {
        self.by_program.values().filter_map(|hall| hall.behind_at).min()
    }

    /// Looks at slow viewers, and follows the timetable: a program's facts may change while it runs.
    pub(crate) fn tick(&mut self, now: Now) {
        let ids: Vec<ProgramId> = self.by_program.keys().copied().collect();
        for id in ids {
            if let (Some(program), Some(hall)) =
                (self.shared.programs.program(id), self.by_program.get_mut(&id))
            {
                hall.refresh(program);
            }
            let mut budget = Budget::new(&self.shared.clock, now.mono, limits::TURN_WORK);
            self.with_hall(id, now, &mut budget, |audience, turn| audience.look_at_slow(turn));
        }
    }

    /// One stretch of one hall's work, if its program is not over.
    fn with_hall<T>(
        &mut self,
        id: ProgramId,
        now: Now,
        budget: &mut Budget,
        work: impl FnOnce(&mut A, &mut Turn<'_, N>) -> T,
    ) -> Option<T> {
        let hall = self.by_program.get_mut(&id).filter(|hall| !hall.is_over(now))?;
        let (guard, log, audience) = hall.parts(&self.shared.clock, now);
        let mut turn = Turn {
            now,
            guard,
            log,
            viewers: &mut self.viewers,
            sockets: &mut self.sockets,
            stats: &self.stats,
            budget,
            patience: self.shared.patience,
            lost: &mut self.lost,
        };
        let done = work(audience, &mut turn);
        self.give_up_lost();
        Some(done)
    }

    /// Lets those who cannot go on be told, or their doors know.
    fn give_up_lost(&mut self) {
        for (key, loss) in std::mem::take(&mut self.lost) {
            match loss {
                Loss::Broken => {
                    self.stats.send_error(SendErrorKind::Broken);
                    if let Some(viewer) = self.viewers.get_mut(&key) {
                        viewer.is_broken = true;
                        self.leaving.push_front(key);
                    }
                }
                Loss::Told(reason) => self.end(key, reason),
            }
        }
    }

    /// Ends one viewer's session: it gets nothing more, and is told when its turn to leave comes.
    pub(crate) fn end(&mut self, key: Key, reason: Reason) {
        let goodbyes = match self.hall_of(key) {
            Some(hall) => {
                hall.audience.leave(key);
                hall.goodbyes(reason)
            }
            None => Default::default(),
        };
        let farewell = Arc::new(Farewell { reason, goodbyes, _account: None });
        if let Some(viewer) = self.viewers.get_mut(&key).filter(|viewer| viewer.farewell.is_none()) {
            viewer.farewell = Some(farewell);
            self.leaving.push_back(key);
        }
    }

    /// Ends the sessions of all viewers of a program: they get nothing more from now on. Returns how many there are.
    pub(crate) fn end_all(&mut self, id: ProgramId, reason: Reason, account: Option<Account>) -> usize {
        let Some(hall) = self.by_program.get_mut(&id) else { return 0 };
        hall.audience.cut(&mut self.sockets);
        let goodbyes = hall.goodbyes(reason);
        let farewell = Arc::new(Farewell { reason, goodbyes, _account: account });
        let mut count = 0;
        for key in self.watched.get(&id).into_iter().flatten() {
            if let Some(viewer) = self.viewers.get_mut(key).filter(|viewer| viewer.farewell.is_none()) {
                viewer.farewell = Some(Arc::clone(&farewell));
                self.leaving.push_back(*key);
                count += 1;
            }
        }
        count
    }

    /// Ends all sessions: the server goes down.
    pub(crate) fn end_everything(&mut self) {
        let programs: Vec<ProgramId> = self.by_program.keys().copied().collect();
        for id in programs {
            self.end_all(id, Reason::Draining, None);
        }
        let rest: Vec<Key> = self.viewers.keys().copied().collect();
        for key in rest {
            self.end(key, Reason::Draining);
        }
    }

    /// Sends away one viewer of a program at an operator's wish. Whether it was there.
    pub(crate) fn kick(&mut self, program: ProgramId, key: Key) -> bool {
        let is_there = self.viewers.get(&key).is_some_and(|viewer| viewer.program == program);
        if is_there {
            self.end(key, Reason::Kicked);
        }
        is_there
    }

    /// The next viewer who is to be told goodbye, or whose connection broke.
    pub(crate) fn next_to_leave(&mut self) -> Option<Key> {
        std::iter::from_fn(|| self.leaving.pop_front()).find(|key| self.viewers.contains_key(key))
    }

    /// Whether somebody is still to be told.
    pub(crate) fn is_anybody_leaving(&self) -> bool {
        !self.leaving.is_empty()
    }

    /// When a program ends next.
    pub(crate) const fn ends_at(&self) -> Option<Instant> {
        self.ends_at
    }

    /// Looks at the gates when it is time to: takes down the hall of every program whose time is over.
    pub(crate) fn close_gates(&mut self, now: Now) {
        if now.mono < self.gates_at {
            return;
        }
        let over: Vec<ProgramId> =
            self.by_program.iter().filter(|(_, hall)| hall.is_over(now)).map(|(id, _)| *id).collect();
        for id in over {
            self.close_gate(id, now);
        }
        let until = self.by_program.values().map(|hall| hall.program.gate.end().since(now.wall)).min();
        self.ends_at = until.map(|until| now.mono + until);
        self.gates_at = now.mono + until.map_or(limits::GATES_EVERY, |until| until.min(limits::GATES_EVERY));
    }

    fn close_gate(&mut self, id: ProgramId, now: Now) {
        let Some(hall) = self.by_program.get(&id) else { return };
        let gate = Arc::clone(&hall.program.gate);
        // An extension that is published at this very moment wins; somebody else's close stands.
        if !gate.close_if_over(now.wall) && gate.is_open() && hall.is_same_opening() {
            return;
        }
        let delay = if gate.cut() == Some(Cut::Ended) { now.wall.since(gate.end()) } else { Duration::ZERO };
        self.shared.stats.gate_closed(delay);
        let account = self.watched.contains_key(&id).then(|| Account {
            ended_at: now.mono.checked_sub(delay).unwrap_or(now.mono),
            channel: hall.program.channel.name.clone(),
            stats: Arc::clone(&self.shared.stats),
            clock: Arc::clone(&self.shared.clock),
        });
        let reason = gate.cut().map_or(Reason::ProgramEnded, Reason::from);
        let channel = hall.program.channel.name.clone();
        let viewers = self.end_all(id, reason, account);
        tracing::info!(
            %channel,
            viewers,
            delay_us = delay.as_micros() as u64,
            "program over: its gate is closed"
        );
        // A chunk that still comes makes none anew: the gate is closed.
        self.by_program.remove(&id);
    }
}

#[cfg(test)]
mod tests;
