//! The desk: the eight calls by which media gets in.
//!
//! Owns: who holds which program and by which line, the sources, and which of them have something to do.
//! Not here: what a packet goes through (`source`), what wall time decides (`windows`).
//! Invariant: a pass is given by the gate, then with a line, then by taking over, in that order: who gets no line takes over
//! nothing.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use slotcast_admission::{
    Decision, Guesses, Line, Lines, Program, Programs, Reason, Refusal,
    link::{LinkGrant, LinkRequest, decide_link},
};
use slotcast_core::{
    feed::Feeds,
    media::{Offer, StreamId},
    rtp::Ssrc,
    time::Now,
    words::ProgramId,
};

use crate::{
    pass::{Fate, Pass, PassId, Returned, ToLink},
    source::Source,
    stats::IngestStats,
};

/// What an operator sets of the desk.
#[derive(Clone, Copy, Debug)]
pub struct DeskConfig {
    /// Links that may be open at once.
    pub lines: u32,
    /// Of these, from one address.
    pub lines_per_address: u32,
    /// How much of its bandwidth class an encoder may send at once, as time.
    pub burst: Duration,
    /// Ours, in reports to broadcasters; random.
    pub receiver: Ssrc,
}

/// Who holds a program.
pub(crate) struct Holder {
    pub(crate) pass: PassId,
    /// As it was when the pass was given.
    pub(crate) program: Arc<Program>,
    /// Given back on drop.
    line: Line,
}

/// How media gets in. Drive it from one thread: after every other call, and when [`deadline`](Self::deadline) has come, call
/// [`on_time`](Self::on_time).
pub struct Desk {
    pub(crate) programs: Arc<dyn Programs>,
    pub(crate) feeds: Feeds,
    config: DeskConfig,
    guesses: Guesses,
    lines: Arc<Lines>,
    pub(crate) stats: Arc<IngestStats>,
    pub(crate) holders: HashMap<ProgramId, Holder>,
    pub(crate) sources: HashMap<ProgramId, Source>,
    returned: Returned,
    /// What links will be told by the next [`on_time`](Self::on_time).
    pub(crate) to_links: Vec<ToLink>,
    /// Sources that were handed something since the last [`on_time`](Self::on_time).
    touched: Vec<ProgramId>,
    /// When some source has something to do by itself; it may be that none has.
    due_at: Option<Instant>,
    pub(crate) next_tick: Instant,
    /// The time of the last call.
    last_call: Instant,
    next_pass: u64,
    next_stream: u64,
}

impl Desk {
    /// Nobody has a pass yet.
    ///
    /// - `lines`: counted here, and raised by whoever knows how many channels there are.
    pub fn new(now: Now, config: DeskConfig, programs: Arc<dyn Programs>, feeds: Feeds) -> Self {
        let lines = Lines::new(config.lines, config.lines_per_address);
        let stats = Arc::<IngestStats>::default();
        stats.lines.set(u64::from(lines.lines()));
        Self {
            programs,
            feeds,
            config,
            guesses: Guesses::default(),
            lines,
            stats,
            holders: HashMap::new(),
            sources: HashMap::new(),
            returned: Returned::default(),
            to_links: Vec::new(),
            touched: Vec::new(),
            due_at: None,
            next_tick: now.mono,
            last_call: now.mono,
            next_pass: 1,
            next_stream: 1,
        }
    }

    /// What is counted, by the desk and by those who call it.
    pub const fn stats(&self) -> &Arc<IngestStats> {
        &self.stats
    }

    /// The lines, to be raised where channels become more.
    pub const fn lines(&self) -> &Arc<Lines> {
        &self.lines
    }

    /// Decides whether somebody may send, and what for: by the ID, then for want of a line, then because of the link that
    /// has the program now. That one is told, and its line given back, only if the newcomer is let in.
    ///
    /// - Errors: why not. Count it when the peer is told ([`IngestStats::decided`]).
    pub fn admit(&mut self, ask: &LinkRequest<'_>) -> Decision<Pass> {
        self.take_back(ask.now);
        let grant = decide_link(&*self.programs, &self.guesses, ask)?;
        self.give(ask.now, ask.address, grant)
    }

    fn give(&mut self, now: Now, address: IpAddr, grant: LinkGrant) -> Decision<Pass> {
        let program = grant.program;
        let older = self.holders.get(&program.id);
        let line = self.lines.open_in_place_of(address, older.map(|older| &older.line));
        let line = line.map_err(Refusal::close)?;
        if older.is_some()
            && !self.sources.get_mut(&program.id).is_none_or(|source| source.gives_way(now.mono))
        {
            return Err(Refusal::close(Reason::LinkContested));
        }
        if let Some(older) = self.holders.remove(&program.id) {
            self.end(now, &older, Reason::TakenOver);
        }
        let id = PassId(self.next_pass);
        self.next_pass += 1;
        self.holders.insert(program.id, Holder { pass: id, program: Arc::clone(&program), line });
        self.show_lines();
        let (on_air_at, returned) = (grant.on_air_at, Arc::clone(&self.returned));
        Ok(Pass { id, program, on_air_at, receiver: self.config.receiver, returned })
    }

    /// Media of `pass` is taken from here on, as `offer` says. What is offered may differ from before, and from what
    /// [`admit`](Self::admit) was shown. Nothing happens with a pass that is worth nothing any more: [`ToLink::End`] follows.
    pub fn begin(&mut self, now: Now, pass: &Pass, offer: Offer) {
        self.take_back(now);
        let Some(program) = self.programs.program(pass.program.id).filter(|_| self.holds(pass)) else {
            return;
        };
        let stream = StreamId(self.next_stream);
        self.next_stream += 1;
        let source = match self.sources.entry(program.id) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let program = Arc::clone(&program);
                let fixed = (self.config.burst, self.config.receiver);
                new.insert(Source::new(now, program, offer.clone(), stream, fixed, &self.stats))
            }
        };
        source.set_program(now, program);
        source.attach(now, pass.id, offer, stream, &self.feeds);
        self.touch(pass.program.id);
        // Its deadlines count from now on, not from the next tick.
        self.next_tick = now.mono;
    }

    /// Takes one RTP packet of `track`. On the packet path: one copy, no lock, and no allocation but the chunk's; a packet of
    /// another SSRC than the one that counts is copied once more, to be held.
    pub fn rtp(&mut self, now: Now, pass: &Pass, track: u8, packet: &[u8]) -> Fate {
        self.touch(pass.program.id);
        match self.sources.get_mut(&pass.program.id).filter(|source| source.link() == Some(pass.id)) {
            Some(source) => source.on_rtp(now, track, packet, &self.feeds),
            None => Fate::Dropped,
        }
    }

    /// Takes one RTCP compound of `track`: sender reports and goodbyes count, the rest is for nobody here.
    pub fn rtcp(&mut self, now: Now, pass: &Pass, track: u8, compound: &[u8]) {
        self.touch(pass.program.id);
        if let Some(source) =
            self.sources.get_mut(&pass.program.id).filter(|source| source.link() == Some(pass.id))
        {
            source.on_rtcp(now, track, compound);
        }
    }

    /// No media of `pass` is taken until it begins again; it keeps its line and its program.
    pub fn pause(&mut self, now: Now, pass: &Pass) {
        if let Some(source) = self.sources.get_mut(&pass.program.id) {
            source.detach(now, pass.id, &self.feeds);
        }
    }

    /// When [`on_time`](Self::on_time) has something to do by itself; `None`: never.
    pub fn deadline(&self) -> Option<Instant> {
        let at_once = !self.returned.lock().is_empty() || !self.to_links.is_empty();
        let is_idle = self.holders.is_empty() && self.sources.is_empty();
        let touched = self.touched.iter().filter_map(|id| self.sources.get(id)?.deadline());
        let others = [at_once.then_some(self.last_call), (!is_idle).then_some(self.next_tick), self.due_at];
        touched.chain(others.into_iter().flatten()).min()
    }

    /// Does what is due at `now`.
    ///
    /// - `to_links`: what links have to be told is appended to it.
    pub fn on_time(&mut self, now: Now, to_links: &mut Vec<ToLink>) {
        self.take_back(now);
        let touched = self.touched.drain(..).filter_map(|id| self.sources.get(&id)?.deadline());
        self.due_at = touched.chain(self.due_at).min();
        if self.due_at.is_some_and(|at| at <= now.mono) {
            for source in self.sources.values_mut() {
                source.on_time(now, &self.feeds);
                if let Some((pass, reports)) = source.link().zip(source.take_receiver_reports(now)) {
                    self.to_links.push(ToLink::Reports { pass, reports });
                }
            }
            self.due_at = self.sources.values().filter_map(Source::deadline).min();
        }
        if now.mono >= self.next_tick {
            self.tick(now);
        }
        to_links.append(&mut self.to_links);
    }

    /// Gives free what dropped passes held.
    fn take_back(&mut self, now: Now) {
        self.last_call = now.mono;
        let returned = std::mem::take(&mut *self.returned.lock());
        for (program, pass) in returned {
            if let Entry::Occupied(holder) = self.holders.entry(program)
                && holder.get().pass == pass
            {
                holder.remove();
                if let Some(source) = self.sources.get_mut(&program) {
                    source.detach(now, pass, &self.feeds);
                }
                self.show_lines();
            }
        }
    }

    /// Lets `holder`, which holds nothing any more, know why.
    pub(crate) fn end(&mut self, now: Now, holder: &Holder, reason: Reason) {
        if let Some(source) = self.sources.get_mut(&holder.program.id) {
            source.detach(now, holder.pass, &self.feeds);
        }
        self.last_call = now.mono;
        self.to_links.push(ToLink::End { pass: holder.pass, reason });
    }

    fn holds(&self, pass: &Pass) -> bool {
        self.holders.get(&pass.program.id).is_some_and(|holder| holder.pass == pass.id)
    }

    pub(crate) fn show_lines(&self) {
        self.stats.lines_in_use.set(u64::from(self.lines.count()));
    }

    /// Notes that the source of `program` was handed something: it may have something to do earlier than before.
    fn touch(&mut self, program: ProgramId) {
        if self.touched.last() != Some(&program) {
            self.touched.push(program);
        }
    }
}
