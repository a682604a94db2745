//! Viewers over UDP: one call per viewer and frame.
//!
//! Owns: who is where in the log, how far the viewer in hand got, and the fallbacks where the kernel or a route cannot
//! segment.
//! Invariant: all viewers of a chunk share its buffers; nothing is allocated, copied or locked per viewer at the head.

use std::{
    collections::{HashMap, VecDeque},
    io::{self, IoSlice},
    sync::Arc,
    time::Instant,
};

use slotcast_core::{
    chunk::Chunk,
    log::{ChannelLog, Position},
    media::TRACKS_MAX,
    runs::Run,
};
use slotcast_net::sys::{Destination, Outgoing, RUNS_MAX};

use crate::{
    audience::{Progress, Turn},
    guard::Guard,
    limits,
    ports::Datagrams,
    sockets::Net,
    stats::{SendErrorKind, WorkerStats},
    viewer::Key,
};

/// A send that fails for reasons of an earlier one is tried so often.
const SEND_TRIES_MAX: u32 = 3;
/// Packets of one chunk that are gathered: more than `CHUNK_PACKETS_MAX` and a report for each track.
const PARTS_MAX: usize = 64;

/// Ports of one viewer, by [`port_index`]; 0: not sent to.
pub(crate) type ViewerPorts = [u16; 2 * TRACKS_MAX];

/// The place of a track's RTP or RTCP port among a viewer's ports.
pub(crate) const fn port_index(track: u8, rtcp: bool) -> usize {
    2 * track as usize + rtcp as usize
}

/// UDP ports, and what the kernel can.
pub(crate) struct Udp<D> {
    pub(crate) ports: D,
    /// Whether one call may carry many datagrams.
    pub(crate) segments: bool,
    /// Whether the poll tells when they take datagrams again. Only while somebody waits for that: else every datagram that
    /// leaves the kernel would wake the worker.
    pub(crate) awaits_room: bool,
}

/// Why sending to a viewer stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stopped {
    /// The socket is full.
    Full,
    /// Nothing may leave any more.
    Closed,
}

/// Why a call sent nothing.
enum Unsent {
    Stopped(Stopped),
    Failed(io::Error),
}

/// A viewer as far as sending to it goes.
#[derive(Clone, Copy)]
struct Target {
    to: Destination,
    ports: ViewerPorts,
    /// Whether the route to it takes segmented sends.
    segments: bool,
}

impl Target {
    fn port(&self, run: &Run) -> u16 {
        self.ports[port_index(run.track, run.rtcp)]
    }
}

/// How far a viewer is within a chunk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Begun {
    /// Runs that it has had, or that are not for it.
    runs: usize,
    /// Packets of the next run that it has had, one by one.
    packets: usize,
}

/// A chunk's packets as buffers in the order of its runs, gathered once for all its viewers.
struct Gathered<'a> {
    chunk: &'a Chunk,
    parts: [IoSlice<'a>; PARTS_MAX],
}

impl<'a> Gathered<'a> {
    fn new(chunk: &'a Chunk) -> Self {
        let mut parts = [IoSlice::new(&[]); PARTS_MAX];
        let (runs, packets) = (chunk.runs(), chunk.packets());
        let places = runs.all().iter().flat_map(|run| runs.packets(run));
        for (part, &place) in parts.iter_mut().zip(places) {
            *part = IoSlice::new(chunk.packet(&packets[usize::from(place)]));
        }
        Self { chunk, parts }
    }

    fn parts(&self, run: &Run) -> &[IoSlice<'a>] {
        self.parts.get(run.range()).unwrap_or_default()
    }
}

impl<D: Datagrams> Udp<D> {
    /// Sends a chunk to a viewer, from where `begun` says on, which is brought up to date.
    ///
    /// Errors other than a full socket are counted and cost this viewer the packets that they hit.
    fn send_chunk(
        &mut self,
        target: &mut Target,
        gathered: &Gathered<'_>,
        begun: &mut Begun,
        guard: &Guard<'_>,
        stats: &WorkerStats,
    ) -> Result<(), Stopped> {
        let runs = gathered.chunk.runs().all();
        while let Some(run) = runs.get(begun.runs) {
            if target.port(run) != 0 {
                let together = if begun.packets == 0 {
                    self.send_together(target, gathered, &runs[begun.runs..], guard, stats)?
                } else {
                    0
                };
                if together > 0 {
                    begun.runs += together;
                    continue;
                }
                self.send_run(target, run, gathered.parts(run), &mut begun.packets, guard, stats)?;
            }
            *begun = Begun { runs: begun.runs + 1, packets: 0 };
        }
        Ok(())
    }

    /// Sends the first of `runs` and those that follow it with one call, where there are at least two that leave by the
    /// same socket. Returns how many were sent; 0: the first is to be sent alone.
    fn send_together(
        &mut self,
        target: &Target,
        gathered: &Gathered<'_>,
        runs: &[Run],
        guard: &Guard<'_>,
        stats: &WorkerStats,
    ) -> Result<usize, Stopped> {
        if runs.len() < 2 {
            return Ok(0);
        }
        let mut messages = [Outgoing { to: target.to, parts: &[], segment_bytes: None }; RUNS_MAX];
        let mut count = 0;
        for (message, run) in messages.iter_mut().zip(runs) {
            let (port, is_train) = (target.port(run), run.count() > 1);
            if run.rtcp != runs[0].rtcp || port == 0 || is_train && !(self.segments && target.segments) {
                break;
            }
            let segment_bytes = is_train.then_some(run.segment_bytes);
            *message = Outgoing { to: target.to.at_port(port), parts: gathered.parts(run), segment_bytes };
            count += 1;
        }
        if count < 2 {
            return Ok(0);
        }
        match self.send(runs[0].rtcp, &messages[..count], guard, stats) {
            Ok(sent) => Ok(sent),
            Err(Unsent::Stopped(stopped)) => Err(stopped),
            Err(Unsent::Failed(_)) => Ok(0),
        }
    }

    /// Sends `parts` of a run: with one call where they can be segmented, else with one for each.
    ///
    /// - `done`: packets of `parts` that an earlier, interrupted call sent; brought up to date.
    fn send_run(
        &mut self,
        target: &mut Target,
        run: &Run,
        parts: &[IoSlice<'_>],
        done: &mut usize,
        guard: &Guard<'_>,
        stats: &WorkerStats,
    ) -> Result<(), Stopped> {
        let to = target.to.at_port(target.port(run));
        if self.segments && target.segments && parts.len() > 1 && *done == 0 {
            let train = Outgoing { to, parts, segment_bytes: Some(run.segment_bytes) };
            match self.send(run.rtcp, &[train], guard, stats) {
                Ok(_) => return Ok(()),
                Err(Unsent::Stopped(stopped)) => return Err(stopped),
                Err(Unsent::Failed(error)) => match error.raw_os_error() {
                    // The path's MTU is smaller than a segment: single packets may be fragmented.
                    Some(libc::EINVAL | libc::EMSGSIZE) => {}
                    Some(libc::EIO | libc::EOPNOTSUPP) => {
                        target.segments = false;
                        stats.unsegmented_routes.add(1);
                    }
                    _ => {
                        stats.send_error(kind_of(&error));
                        return Ok(());
                    }
                },
            }
        }
        while let Some(part) = parts.get(*done) {
            let message = Outgoing { to, parts: std::slice::from_ref(part), segment_bytes: None };
            match self.send(run.rtcp, &[message], guard, stats) {
                Err(Unsent::Stopped(stopped)) => return Err(stopped),
                Err(Unsent::Failed(error)) => stats.send_error(kind_of(&error)),
                Ok(_) => {}
            }
            *done += 1;
        }
        Ok(())
    }

    /// One call for media, with the guard's leave.
    fn send(
        &mut self,
        rtcp: bool,
        messages: &[Outgoing<'_>],
        guard: &Guard<'_>,
        stats: &WorkerStats,
    ) -> Result<usize, Unsent> {
        if !guard.may_send() {
            return Err(Unsent::Stopped(Stopped::Closed));
        }
        let sent = self.call(rtcp, messages, stats).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => Unsent::Stopped(Stopped::Full),
            _ => Unsent::Failed(error),
        })?;
        guard.sent(stats);
        for message in &messages[..sent] {
            stats.segmented_sends.add(u64::from(message.segment_bytes.is_some()));
            stats.packets_sent.add(message.parts.len() as u64);
            stats.bytes_sent.add(message.parts.iter().map(|part| part.len() as u64).sum());
        }
        Ok(sent)
    }

    /// One call, and again where it failed for an earlier datagram's sake.
    fn call(&mut self, rtcp: bool, messages: &[Outgoing<'_>], stats: &WorkerStats) -> io::Result<usize> {
        let mut tries = 0;
        loop {
            stats.send_calls.add(1);
            tries += 1;
            match self.ports.send(rtcp, messages) {
                // The network's answer to an earlier datagram, perhaps to somebody else, is told once by whichever send
                // comes next; that one was not carried out.
                Err(error) if tries < SEND_TRIES_MAX && may_be_of_another(&error) => {}
                sent => return sent,
            }
        }
    }

    /// Sends one RTCP packet that is no part of the stream, such as a BYE. Lost if the socket is full.
    pub(crate) fn send_rtcp(&mut self, to: &Destination, packet: &[u8], stats: &WorkerStats) {
        let parts = [IoSlice::new(packet)];
        let message = Outgoing { to: *to, parts: &parts, segment_bytes: None };
        if let Err(error) = self.call(true, &[message], stats) {
            stats.send_error(kind_of(&error));
        }
    }
}

/// Whether an ICMP answer to an earlier datagram leaves this error behind.
fn may_be_of_another(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ECONNREFUSED
                | libc::EHOSTUNREACH
                | libc::ENETUNREACH
                | libc::ENOPROTOOPT
                | libc::EOPNOTSUPP
                | libc::EHOSTDOWN
                | libc::EPROTO
                | libc::ENONET
        )
    )
}

fn kind_of(error: &io::Error) -> SendErrorKind {
    match error.raw_os_error() {
        Some(libc::ENOBUFS | libc::ENOMEM) => SendErrorKind::NoBuffers,
        Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EPERM | libc::EACCES) => {
            SendErrorKind::Unreachable
        }
        Some(libc::ECONNREFUSED) => SendErrorKind::Refused,
        Some(libc::EMSGSIZE | libc::EINVAL) => SendErrorKind::TooLarge,
        _ => SendErrorKind::Other,
    }
}

/// A viewer at the head of the log, or on its way there since the last chunk.
struct Member {
    viewer: Key,
    target: Target,
    /// Index of the chunk that it gets next.
    next: u64,
}

/// A viewer who catches up after it has joined.
struct Joiner {
    viewer: Key,
    target: Target,
    cursor: Position,
}

/// The UDP viewers of one program on this worker.
#[derive(Default)]
pub(crate) struct UdpAudience {
    members: Vec<Member>,
    places: HashMap<Key, usize>,
    /// The member that is served next, and how many are to be looked at from it on until all are at the head.
    at: usize,
    todo: usize,
    /// How far the member at `at` is within its next chunk.
    begun: Begun,
    joiners: VecDeque<Joiner>,
}

impl UdpAudience {
    pub(crate) fn len(&self) -> usize {
        self.members.len() + self.joiners.len()
    }

    pub(crate) fn enter(&mut self, viewer: Key, to: Destination, ports: ViewerPorts, start: Position) {
        let target = Target { to, ports, segments: true };
        self.joiners.push_back(Joiner { viewer, target, cursor: start });
    }

    pub(crate) fn leave(&mut self, viewer: Key) {
        let Some(place) = self.places.remove(&viewer) else {
            return self.joiners.retain(|joiner| joiner.viewer != viewer);
        };
        self.members.swap_remove(place);
        if let Some(moved) = self.members.get(place) {
            self.places.insert(moved.viewer, place);
        }
        if self.at == place || self.at >= self.members.len() {
            self.begun = Begun::default();
        }
        // The one that moved may be among those who were served, and not be served itself: all are looked at anew.
        self.todo = if self.todo > 0 { self.members.len() } else { 0 };
    }

    pub(crate) fn chunk_came(&mut self) {
        self.todo = self.members.len();
    }

    pub(crate) fn live<N: Net>(&mut self, turn: &mut Turn<'_, N>) -> Progress {
        let Some(udp) = &mut turn.sockets.udp else { return Progress::Done };
        let head = turn.log.head().chunk;
        let mut gathered: Option<Gathered<'_>> = None;
        while self.todo > 0 {
            self.at = if self.at < self.members.len() { self.at } else { 0 };
            let Some(member) = self.members.get_mut(self.at) else { break };
            while member.next < head {
                let Some(chunk) = in_time(turn.log, member.next, turn.now.mono, turn.patience.behind) else {
                    turn.stats.frames_skipped.add(head - member.next);
                    (member.next, self.begun) = (head, Begun::default());
                    break;
                };
                if gathered.as_ref().is_none_or(|gathered| gathered.chunk.index() != member.next) {
                    gathered = Some(Gathered::new(chunk));
                }
                let Some(gathered) = &gathered else { break };
                let sent =
                    udp.send_chunk(&mut member.target, gathered, &mut self.begun, &turn.guard, turn.stats);
                match sent {
                    Ok(()) => (member.next, self.begun) = (member.next + 1, Begun::default()),
                    Err(Stopped::Closed) => return Progress::Done,
                    Err(Stopped::Full) => {
                        turn.stats.udp_waits.add(1);
                        return Progress::Full;
                    }
                }
                turn.stats.viewer_frames.add(1);
                if !turn.budget.goes_on_after_send() {
                    return Progress::More;
                }
            }
            (self.at, self.todo) = (self.at + 1, self.todo - 1);
        }
        Progress::Done
    }

    pub(crate) fn behind<N: Net>(&mut self, turn: &mut Turn<'_, N>) -> Option<Instant> {
        for _ in 0..self.joiners.len() {
            let mut joiner = self.joiners.pop_front()?;
            match catch_up(&mut joiner, turn) {
                Caught::Up => {
                    self.places.insert(joiner.viewer, self.members.len());
                    self.members.push(Member {
                        viewer: joiner.viewer,
                        target: joiner.target,
                        next: joiner.cursor.chunk,
                    });
                }
                Caught::NotYet => self.joiners.push_back(joiner),
            }
            if !turn.budget.goes_on() {
                return (!self.joiners.is_empty()).then_some(turn.now.mono);
            }
        }
        (!self.joiners.is_empty()).then(|| turn.now.mono + limits::JOIN_TURN)
    }

    pub(crate) fn next_of(&self, viewer: Key, track: u8, log: &ChannelLog) -> Option<Position> {
        let Some(&place) = self.places.get(&viewer) else {
            return self.joiners.iter().find(|joiner| joiner.viewer == viewer).map(|joiner| joiner.cursor);
        };
        let next = self.members.get(place)?.next;
        let begun = if place == self.at { self.begun } else { Begun::default() };
        Some(log.chunk(next).map_or_else(|| Position::at_chunk(next), |chunk| unsent(chunk, track, begun)))
    }
}

/// The place of the first packet of `track` that a viewer who got as far as `begun` has not had, at or behind `chunk`.
fn unsent(chunk: &Chunk, track: u8, begun: Begun) -> Position {
    let runs = chunk.runs();
    let of_track = |&(_, run): &(usize, &Run)| (run.track, run.rtcp) == (track, false);
    let next = runs.all().iter().enumerate().skip(begun.runs).find(of_track).and_then(|(at, run)| {
        let had = if at == begun.runs { begun.packets } else { 0 };
        runs.packets(run).get(had)
    });
    let behind = Position::at_chunk(chunk.index() + 1);
    next.map_or(behind, |&packet| Position { chunk: chunk.index(), packet })
}

/// The chunk `index`, unless it is gone or too old to be of use.
fn in_time(log: &ChannelLog, index: u64, now: Instant, patience: std::time::Duration) -> Option<&Arc<Chunk>> {
    log.chunk(index).filter(|chunk| now.saturating_duration_since(chunk.arrival()) <= patience)
}

/// How far a viewer who catches up has come.
enum Caught {
    Up,
    NotYet,
}

/// Sends what a viewer who joined may have now, in trains that its network can bear.
fn catch_up<N: Net>(joiner: &mut Joiner, turn: &mut Turn<'_, N>) -> Caught {
    let (log, stats) = (turn.log, turn.stats);
    let Some(udp) = &mut turn.sockets.udp else { return Caught::NotYet };
    let Some(viewer) = turn.viewers.get_mut(&joiner.viewer) else { return Caught::NotYet };
    if log.oldest().is_some_and(|oldest| joiner.cursor.chunk < oldest.index()) {
        joiner.cursor = log.join_point().unwrap_or_else(|| log.head());
    }
    while let Some(chunk) = log.chunk(joiner.cursor.chunk) {
        if viewer.pace.available(turn.now.mono) == 0 || !turn.budget.goes_on() {
            return Caught::NotYet;
        }
        viewer.pace.take(turn.now.mono, chunk.bytes().len() as u64);
        let gathered = Gathered::new(chunk);
        for run in chunk.runs().all() {
            if joiner.target.port(run) == 0 {
                continue;
            }
            let first = chunk.runs().packets(run).partition_point(|&place| place < joiner.cursor.packet);
            let parts = gathered.parts(run).get(first..).unwrap_or_default();
            for parts in parts.chunks(limits::JOIN_SEGMENTS_MAX) {
                // Where the socket is full this chunk is sent anew later. What has left of it comes twice, which receivers
                // sort out by sequence number.
                if udp.send_run(&mut joiner.target, run, parts, &mut 0, &turn.guard, stats).is_err() {
                    stats.udp_waits.add(1);
                    return Caught::NotYet;
                }
            }
        }
        stats.viewer_frames.add(1);
        joiner.cursor = Position::at_chunk(joiner.cursor.chunk + 1);
    }
    Caught::Up
}
