//! Viewers over UDP: one call per viewer and frame.
//!
//! Owns: who is where in the log, how far the viewer in hand got, and the fallbacks where the kernel or a route cannot
//! segment.
//! Invariant: all viewers of a chunk share its buffers; nothing is allocated, copied or locked per viewer at the head.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
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
    audience::{Progress, Turn, ring::Ring},
    guard::Guard,
    limits,
    ports::{Datagrams, Net},
    stats::{SendErrorKind, WorkerStats},
    viewer::{Key, Viewer},
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
enum Stopped {
    /// The socket is full.
    Full,
    /// Nothing may leave any more.
    Closed,
    /// This one call failed.
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
            Err(Stopped::Failed(_)) => Ok(0),
            sent => sent,
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
                Err(Stopped::Failed(error)) => match error.raw_os_error() {
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
                sent => return sent.map(drop),
            }
        }
        while let Some(part) = parts.get(*done) {
            let message = Outgoing { to, parts: std::slice::from_ref(part), segment_bytes: None };
            match self.send(run.rtcp, &[message], guard, stats) {
                Err(Stopped::Failed(error)) => stats.send_error(kind_of(&error)),
                sent => _ = sent?,
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
    ) -> Result<usize, Stopped> {
        if !guard.may_send() {
            return Err(Stopped::Closed);
        }
        let sent = self.call(rtcp, messages, stats).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => Stopped::Full,
            _ => Stopped::Failed(error),
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
    target: Target,
    /// Index of the chunk that it gets next, and how far it is within.
    next: u64,
    begun: Begun,
}

/// The UDP viewers of one program on this worker.
#[derive(Default)]
pub(crate) struct UdpAudience {
    live: Ring<Member>,
    /// Viewers who catch up after they have joined, and where they are.
    joiners: VecDeque<(Key, Target, Position)>,
}

impl UdpAudience {
    pub(crate) fn enter(&mut self, viewer: Key, to: Destination, ports: ViewerPorts, start: Position) {
        self.joiners.push_back((viewer, Target { to, ports, segments: true }, start));
    }

    pub(crate) fn leave(&mut self, viewer: Key) {
        if self.live.remove(viewer).is_none() {
            self.joiners.retain(|(joiner, ..)| *joiner != viewer);
        }
    }

    pub(crate) const fn chunk_came(&mut self) {
        self.live.begin();
    }

    pub(crate) fn live<N: Net>(&mut self, turn: &mut Turn<'_, N>) -> Progress {
        let Some(udp) = &mut turn.sockets.udp else { return Progress::Done };
        let (head, now, patience) = (turn.log.head().chunk, turn.now.mono, turn.patience);
        let mut gathered: Option<Gathered<'_>> = None;
        while let Some(Member { target, next, begun }) = self.live.current() {
            while *next < head {
                let chunk = turn.log.chunk(*next).filter(|chunk| !patience.is_behind(chunk, now));
                let Some(chunk) = chunk else {
                    turn.stats.frames_skipped.add(head - *next);
                    (*next, *begun) = (head, Begun::default());
                    break;
                };
                let gathered = match &mut gathered {
                    Some(gathered) if gathered.chunk.index() == *next => gathered,
                    other => other.insert(Gathered::new(chunk)),
                };
                match udp.send_chunk(target, gathered, begun, &turn.guard, turn.stats) {
                    Ok(()) => (*next, *begun) = (*next + 1, Begun::default()),
                    Err(Stopped::Full) => {
                        turn.stats.udp_waits.add(1);
                        return Progress::Full;
                    }
                    Err(_) => return Progress::Done,
                }
                turn.stats.viewer_frames.add(1);
                if !turn.budget.goes_on_after_send() {
                    return Progress::More;
                }
            }
            self.live.advance();
        }
        Progress::Done
    }

    pub(crate) fn behind<N: Net>(&mut self, turn: &mut Turn<'_, N>) -> Option<Instant> {
        for _ in 0..self.joiners.len() {
            let (viewer, mut target, mut cursor) = self.joiners.pop_front()?;
            if catch_up(viewer, &mut target, &mut cursor, turn) {
                self.live.insert(viewer, Member { target, next: cursor.chunk, begun: Begun::default() });
            } else {
                self.joiners.push_back((viewer, target, cursor));
            }
            if !turn.budget.goes_on() {
                return (!self.joiners.is_empty()).then_some(turn.now.mono);
            }
        }
        (!self.joiners.is_empty()).then(|| turn.now.mono + limits::JOIN_TURN)
    }

    pub(crate) fn next_of(&self, viewer: Key, track: u8, log: &ChannelLog) -> Option<Position> {
        let Some(&Member { next, begun, .. }) = self.live.get(viewer) else {
            return self.joiners.iter().find(|(joiner, ..)| *joiner == viewer).map(|(.., cursor)| *cursor);
        };
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

/// Sends what a viewer who joined may have now, in trains that its network can bear. Whether it is at the head now.
fn catch_up<N: Net>(viewer: Key, target: &mut Target, cursor: &mut Position, turn: &mut Turn<'_, N>) -> bool {
    let (log, stats) = (turn.log, turn.stats);
    let parts = turn.sockets.udp.as_mut().zip(turn.viewers.get_mut(&viewer));
    let Some((udp, Viewer { pace, .. })) = parts else { return false };
    if log.oldest().is_some_and(|oldest| cursor.chunk < oldest.index()) {
        *cursor = log.join_point().unwrap_or_else(|| log.head());
    }
    while let Some(chunk) = log.chunk(cursor.chunk) {
        if pace.available(turn.now.mono) == 0 {
            return false;
        }
        pace.take(turn.now.mono, chunk.bytes().len() as u64);
        let gathered = Gathered::new(chunk);
        for run in chunk.runs().all() {
            if target.port(run) == 0 {
                continue;
            }
            let first = chunk.runs().packets(run).partition_point(|&place| place < cursor.packet);
            let parts = gathered.parts(run).get(first..).unwrap_or_default();
            for parts in parts.chunks(limits::JOIN_SEGMENTS_MAX) {
                // Where the socket is full this chunk is sent anew later. What has left of it comes twice, which receivers
                // sort out by sequence number.
                if udp.send_run(target, run, parts, &mut 0, &turn.guard, stats).is_err() {
                    stats.udp_waits.add(1);
                    return false;
                }
            }
        }
        stats.viewer_frames.add(1);
        *cursor = Position::at_chunk(cursor.chunk + 1);
        // Asked after each chunk: who has its turn gets something, however late it is.
        if !turn.budget.goes_on() {
            return log.chunk(cursor.chunk).is_none();
        }
    }
    true
}
