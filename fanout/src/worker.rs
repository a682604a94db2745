//! One worker: a thread with its own poll, ports, halls and doors. A viewer lives on one worker for life.
//!
//! Owns: the order of a turn.
//! Invariant: nothing here blocks but the poll; a turn's loops draw from its budgets, so that it has a bound, and what is left
//! over comes first in the next.

use std::{
    io,
    sync::{Arc, mpsc::Receiver},
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token};
use slotcast_core::{
    feed::FeedReceiver,
    time::{Clock, Now},
};
use slotcast_net::clock;

use crate::{
    budget::Budget,
    door::{FIRST_CONNECTION, House, RtspDoor},
    limits::{self, ROLL_VIEWERS_MAX},
    mailbox::{Message, ViewerInfo},
    stats::WorkerStats,
    viewer::Key,
};

pub(crate) const WAKER: Token = Token(0);
pub(crate) const LISTENER: Token = Token(1);
pub(crate) const RTP: Token = Token(2);
pub(crate) const RTCP: Token = Token(3);

/// A worker's whole state.
pub(crate) struct Worker {
    pub(crate) clock: Clock,
    pub(crate) stats: Arc<WorkerStats>,
    pub(crate) poll: Poll,
    pub(crate) feed: Arc<FeedReceiver>,
    pub(crate) messages: Receiver<Message>,
    pub(crate) house: House,
    pub(crate) door: RtspDoor,
    pub(crate) tick_at: Instant,
    /// Whether the last turn left something undone that can be gone on with at once.
    pub(crate) has_more: bool,
    pub(crate) is_stopping: bool,
}

impl Worker {
    /// Works until it is told to stop and its last connection is closed.
    ///
    /// A turn, in this order:
    ///
    /// 1. Gates that are due close. Their halls are taken down with all media that was on its way.
    /// 2. Chunks are taken into the logs and sent to viewers at the head, hall by hall in slices.
    /// 3. What the kernel told of is noted. The rest of the turn has a budget of its own, and gives way to chunks:
    /// 4. datagrams and connections are read, newcomers accepted,
    /// 5. messages from other threads are taken,
    /// 6. answers that were held back, PLAYs that waited and questions get their turn: after the reading, so that who has
    ///    left makes room first,
    /// 7. viewers who read at their own pace are served,
    /// 8. goodbyes are said, connections that linger or are gone are taken out,
    /// 9. and ten times a second all that has a deadline is looked at.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        loop {
            let timeout = self.timeout();
            match self.poll.poll(&mut events, Some(timeout)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            let (now, cpu) = ((self.clock)(), clock::thread_cpu());
            self.turn(&events, now);
            self.stats.turns.note((self.clock)().mono.saturating_duration_since(now.mono));
            self.stats.turns_cpu.note(clock::thread_cpu().saturating_sub(cpu));
            if self.is_stopping && self.door.connections() == 0 {
                return Ok(());
            }
        }
    }

    fn turn(&mut self, events: &Events, began: Now) {
        self.house.close_gates(began);
        self.serve_chunks(began);
        // The time of the rest counts from here: chunks may have taken theirs.
        let now = (self.clock)();
        self.note_events(events, now);
        let budget =
            Budget::new(&self.clock, now.mono, limits::TURN_WORK).giving_way_to(&self.feed, now.mono);
        let Self { house, door, .. } = self;
        door.read_datagrams(house, now, &mut budget.part(8));
        door.read(house, now, &mut budget.part(3));
        door.accept(house, now, &mut budget.part(4));
        self.take_messages(now);
        let Self { house, door, .. } = self;
        let mut answers = budget.part(2);
        door.answer_delayed(house, now, &mut answers);
        door.look_at_parked(house, now, &mut answers);
        door.answer_asks(house, now, &mut answers);
        house.behind(now, &budget.part(2));
        door.say_goodbyes(house, now, &mut budget.part(2));
        door.close_late(house, now, &mut budget.part(2));
        door.bury(house, &mut budget.part(2));
        if now.mono >= self.tick_at {
            self.tick(now, &mut budget.part(1));
        }
        self.follow_viewers();
    }

    /// How long the poll may wait.
    fn timeout(&self) -> Duration {
        let now = (self.clock)().mono;
        if self.has_more || self.door.has_more(now) || self.house.is_anybody_leaving() {
            return Duration::ZERO;
        }
        let next = [Some(self.tick_at), self.house.ends_at(), self.house.behind_at()];
        let next = next.into_iter().flatten().min().unwrap_or(self.tick_at);
        next.saturating_duration_since(now)
    }

    fn serve_chunks(&mut self, now: Now) {
        self.feed.begin_drain();
        self.has_more = false;
        for _ in 0..limits::CHUNKS_PER_TURN_MAX {
            let Some(chunk) = self.feed.pop() else { break };
            self.stats.chunks.add(1);
            self.house.take(now, chunk);
        }
        self.has_more |= !self.feed.is_empty();
        let mut budget = Budget::new(&self.clock, now.mono, limits::LIVE_WORK);
        self.has_more |= self.house.live(now, &mut budget);
        self.watch_for_room();
    }

    fn note_events(&mut self, events: &Events, now: Now) {
        for event in events {
            match event.token() {
                WAKER => {}
                LISTENER => self.door.somebody_knocks(now),
                port @ (RTP | RTCP) => {
                    if event.is_readable() || event.is_error() {
                        self.door.datagrams_wait(port == RTCP);
                    }
                    if event.is_writable() {
                        self.has_more |= self.house.room_again();
                    }
                }
                Token(token) => {
                    let readable = event.is_readable() || event.is_read_closed() || event.is_error();
                    let place = token - FIRST_CONNECTION;
                    self.door.on_event(&mut self.house, place, readable, event.is_writable(), now);
                }
            }
        }
    }

    fn take_messages(&mut self, now: Now) {
        while let Ok(message) = self.messages.try_recv() {
            match message {
                Message::Drain => self.door.stop_listening(),
                // Whoever asked may have stopped waiting: then nobody needs the answer.
                Message::List(program, answer) => {
                    let of_program = self.house.viewers().iter().filter(|(_, v)| v.program == program);
                    let named = of_program.map(|(key, viewer)| ViewerInfo {
                        id: key.0,
                        address: viewer.peer,
                        protocol: viewer.protocol,
                    });
                    let _ = answer.try_send(named.take(ROLL_VIEWERS_MAX).collect());
                }
                Message::Kick(program, viewer, answer) => {
                    let is_there = self.house.kick(program, Key(viewer));
                    if is_there {
                        self.door.say_goodbye(&mut self.house, Key(viewer), now);
                    }
                    let _ = answer.try_send(is_there);
                }
                Message::Stop => {
                    self.door.stop_listening();
                    self.is_stopping = true;
                    self.house.end_everything();
                    self.door.close_everything(now);
                }
            }
        }
    }

    /// Looks at all that has a deadline of tenths of a second or more.
    fn tick(&mut self, now: Now, budget: &mut Budget) {
        self.tick_at = now.mono + limits::TICK;
        self.house.tick(now);
        self.has_more |= self.house.room_again();
        self.door.sweep(&mut self.house, now, budget);
        self.stats.set_audience(self.house.census());
        self.stats.connections.set(self.door.connections() as u64);
        self.stats.chunks_dropped.set(self.feed.dropped());
    }

    /// Lets chunks of programs that viewers here watch wake this worker, and no others.
    fn follow_viewers(&mut self) {
        if let Some(programs) = self.house.newly_watched() {
            self.feed.watch(programs);
            // A chunk that came before may have woken nobody.
            self.has_more |= !self.feed.is_empty();
        }
    }

    /// Lets the poll tell when the UDP sockets take datagrams again, as long as some audience waits for that.
    fn watch_for_room(&mut self) {
        let waits = self.house.awaits_room();
        let Some(udp) = self.house.sockets.udp.as_mut().filter(|udp| udp.awaits_room != waits) else {
            return;
        };
        let interest = if waits { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        let registry = self.poll.registry();
        // It fails only for want of kernel memory; then the next tick serves who waits.
        let done = registry.reregister(&mut udp.ports.rtp, RTP, interest).is_ok()
            & registry.reregister(&mut udp.ports.rtcp, RTCP, interest).is_ok();
        udp.awaits_room = waits && done;
    }
}
