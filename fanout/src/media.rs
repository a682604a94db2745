//! How chunks reach viewers: at once to those at the head of the log, at their own pace to the others.
//!
//! Owns: the live path, catching up after PLAY, and the jumps of slow viewers.
//! Holds: on the live path each viewer costs one send per run (UDP) or one write (TCP), and nothing else.

use std::{sync::Arc, time::Instant};

use mio::Interest;
use slab::Slab;
use slotcast_admission::Reason;
use slotcast_core::{
    bucket::TokenBucket,
    chunk::Chunk,
    log::{Position, Pushed},
    time::Now,
    words::ProgramId,
};
use slotcast_rtsp::server::{Answer, SessionEnd};

use crate::{
    connection::{Connection, Media, TcpViewer, UdpViewer, Viewer},
    limits,
    on_air::{Guard, LiveTcp, OnAir},
    stats::{SendErrorKind, WorkerStats},
    tcp::{Outbox, Source, Written, write_view},
    udp::{Served, UdpPorts, gather, port_index},
    worker::{RTCP, RTP, Worker},
};

/// Where a viewer who was served stands.
enum Standing {
    /// At the head of the log: it joins the live audience.
    CaughtUp,
    /// Somewhere behind it.
    Behind,
    /// Its connection broke.
    Broken,
}

impl Worker {
    /// Takes one chunk: into the log, and out to everybody who stands at its head.
    pub(crate) fn on_chunk(&mut self, now: Now, chunk: Arc<Chunk>) {
        let id = chunk.stream().program;
        if !self.on_air.contains_key(&id) {
            let program = self.shared.programs.program(id).filter(|p| p.gate.lets_through(now.wall));
            let Some(program) = program else { return };
            self.on_air.insert(id, OnAir::new(program, now.mono));
            // The end of this one may be the next.
            self.gates_at = now.mono;
            self.ends_at = Some(now.mono);
        }
        let Some(on_air) = self.on_air.get_mut(&id) else { return };
        if on_air.ending.is_some() || on_air.is_over(now) {
            return;
        }
        if on_air.log.stream().is_some_and(|stream| stream.id != chunk.stream().id) {
            // While the log still knows the old stream: its viewers are told goodbye in its name.
            self.end_sessions_of(id, SessionEnd::StreamChanged, now);
        }
        let Some(on_air) = self.on_air.get_mut(&id) else { return };
        if on_air.log.push(Arc::clone(&chunk)) == Pushed::Stale {
            return;
        }
        on_air.chunk_at = now.mono;
        on_air.shapes.push(&chunk, &on_air.log);
        on_air.udp.push(Arc::clone(&chunk));
        self.serve_udp(id, now);
        self.serve_tcp(id, &chunk, now);
        if self.on_air.get(&id).is_some_and(|on_air| !on_air.parked.is_empty()) {
            self.look_at_parked(now);
        }
    }

    /// Sends what is on its way to the UDP audience of a program.
    pub(crate) fn serve_udp(&mut self, id: ProgramId, now: Now) -> Served {
        let (Some(on_air), Some(ports)) = (self.on_air.get_mut(&id), &mut self.udp) else {
            return Served::All;
        };
        let guard = Guard::new(&on_air.program.gate, &self.shared.clock, now);
        let served = on_air.udp.serve(ports, &self.stats, || guard.may_send());
        let awaits_room = ports.awaits_room;
        let late = on_air
            .udp
            .waiting_since()
            .is_some_and(|since| now.mono.saturating_duration_since(since) > limits::BEHIND_MAX);
        if late {
            let viewers = on_air.udp.viewers() as u64;
            let frames = on_air.udp.drop_waiting() as u64;
            self.stats.frames_skipped.add(frames * viewers);
        }
        if served == Served::Waiting || awaits_room {
            self.watch_for_room();
        }
        served
    }

    /// Writes one chunk to every TCP viewer at the head of the log.
    fn serve_tcp(&mut self, id: ProgramId, chunk: &Arc<Chunk>, now: Now) {
        let Some(on_air) = self.on_air.get_mut(&id) else { return };
        let guard = Guard::new(&on_air.program.gate, &self.shared.clock, now);
        let (mut partial, mut broken) = (Vec::new(), Vec::new());
        let mut frames = 0;
        let (log, shapes) = (&on_air.log, &on_air.shapes);
        on_air.tcp.retain_mut(|live| {
            let Some(stream) = self.streams.get_mut(live.viewer) else { return false };
            let Some(view) = shapes.view(live.shape, log, chunk.index()) else { return true };
            if view.packets.is_empty() || !guard.may_send() {
                return true;
            }
            frames += 1;
            match write_view(stream, view, &self.stats) {
                Ok(count) if count == view.bytes.len() => {
                    live.took_at = now.mono;
                    true
                }
                Ok(count) => {
                    partial.push((live.viewer, count));
                    false
                }
                Err(_) => {
                    broken.push(live.viewer);
                    true
                }
            }
        });
        self.stats.viewer_frames.add(frames);
        for (key, count) in partial {
            self.fall_behind(key, chunk.index(), count, now);
        }
        for key in broken {
            self.stats.send_error(SendErrorKind::Broken);
            self.lose(key, "broken", now);
        }
    }

    /// A live TCP viewer whose socket took only `count` bytes of the chunk `index`, and who is out of the live audience,
    /// reads on at its own pace.
    fn fall_behind(&mut self, key: usize, index: u64, count: usize, now: Now) {
        let Some((program, outbox, tcp)) = tcp_viewer(&mut self.connections, key) else { return };
        let Some(on_air) = self.on_air.get_mut(&program) else { return };
        let view = on_air.shapes.view(tcp.shape, &on_air.log, index);
        let packet = view.map_or(0, |view| outbox.begin(view, count, &self.stats));
        tcp.cursor = Position { chunk: index, packet };
        (tcp.live, tcp.blocked) = (false, true);
        // It stood at the head until now: its patience begins here.
        tcp.progress_at = now.mono;
        on_air.behind.push(key);
        self.any_behind = true;
    }

    /// The socket of a connection did not take all of a response: if it is that of a live TCP viewer, media has to wait.
    pub(crate) fn leave_live(&mut self, key: usize, now: Now) {
        let Some((program, _, tcp)) = tcp_viewer(&mut self.connections, key).filter(|(.., tcp)| tcp.live)
        else {
            return;
        };
        let Some(on_air) = self.on_air.get_mut(&program) else { return };
        let Some(place) = on_air.tcp.iter().position(|live| live.viewer == key) else { return };
        on_air.tcp.remove(place);
        tcp.cursor = on_air.log.head();
        (tcp.live, tcp.blocked) = (false, true);
        tcp.progress_at = now.mono;
        on_air.behind.push(key);
        self.any_behind = true;
    }

    /// Lets the poll tell when the UDP sockets take datagrams again, as long as some audience waits for that.
    fn watch_for_room(&mut self) {
        let waits = self.on_air.values().any(|on_air| on_air.udp.is_waiting());
        let Some(ports) = self.udp.as_mut().filter(|ports| ports.awaits_room != waits) else { return };
        let interest = if waits { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        let registry = self.poll.registry();
        // It fails only for want of kernel memory; then the next tick serves who waits.
        let done = registry.reregister(&mut ports.rtp, RTP, interest).is_ok()
            & registry.reregister(&mut ports.rtcp, RTCP, interest).is_ok();
        ports.awaits_room = waits && done;
    }

    /// The socket of a connection takes bytes again.
    pub(crate) fn on_writable(&mut self, key: usize, now: Now) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let program = match &mut connection.viewer {
            Some(viewer) => match &mut viewer.media {
                Some(Media::Tcp(tcp)) if tcp.blocked => {
                    tcp.blocked = false;
                    Some(viewer.program)
                }
                _ => None,
            },
            None => None,
        };
        match program {
            Some(id) => self.serve_one(id, key, now),
            None => self.flush(key, now),
        }
    }

    /// Serves everybody who reads the log at their own pace, once.
    pub(crate) fn serve_behind(&mut self, now: Now) {
        if !self.any_behind {
            return;
        }
        let waiting: Vec<(ProgramId, usize)> = self
            .on_air
            .iter()
            .filter(|(_, on_air)| on_air.ending.is_none())
            .flat_map(|(id, on_air)| on_air.behind.iter().map(|&key| (*id, key)))
            .collect();
        self.any_behind = !waiting.is_empty();
        for (id, key) in waiting {
            let blocked = match self.connections.get(key).and_then(|c| c.viewer.as_ref()).map(|v| &v.media) {
                Some(Some(Media::Tcp(tcp))) => tcp.blocked,
                Some(Some(Media::Udp(_))) => false,
                _ => true,
            };
            if !blocked {
                self.serve_one(id, key, now);
            }
        }
    }

    fn serve_one(&mut self, id: ProgramId, key: usize, now: Now) {
        let Some(on_air) = self.on_air.get_mut(&id) else { return };
        if on_air.ending.is_some() {
            return;
        }
        let guard = Guard::new(&on_air.program.gate, &self.shared.clock, now);
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Some(stream) = self.streams.get_mut(key) else { return };
        let Connection { outbox, viewer: Some(viewer), .. } = connection else { return };
        let Viewer { media: Some(media), pace, .. } = &mut **viewer else { return };
        let standing = match media {
            Media::Udp(udp) => match &mut self.udp {
                Some(ports) => catch_up_udp(on_air, udp, pace, ports, &guard, &self.stats, now.mono),
                None => Standing::Broken,
            },
            Media::Tcp(tcp) => {
                overtake(on_air, tcp);
                if tcp.awaits_key && !find_key(on_air, tcp) {
                    tcp.blocked = !matches!(outbox.flush(stream), Ok(Written::All));
                    return;
                }
                let source = Source { log: &on_air.log, shapes: &on_air.shapes, shape: tcp.shape };
                catch_up_tcp(
                    ConnectionParts { stream, outbox },
                    tcp,
                    pace,
                    &source,
                    &guard,
                    &self.stats,
                    now.mono,
                )
            }
        };
        match standing {
            Standing::Behind => {}
            Standing::Broken => {
                self.stats.send_error(SendErrorKind::Broken);
                self.lose(key, "broken", now);
            }
            Standing::CaughtUp => {
                on_air.behind.retain(|&other| other != key);
                match media {
                    Media::Udp(udp) => {
                        udp.catch_up = None;
                        on_air.udp.enter(key, &udp.ports);
                    }
                    Media::Tcp(tcp) => {
                        (tcp.live, tcp.catch_up) = (true, None);
                        on_air.tcp.push(LiveTcp { viewer: key, shape: tcp.shape, took_at: tcp.progress_at });
                    }
                }
            }
        }
    }

    /// Answers the PLAY requests that waited for a stream's first packets, if these have come or will not.
    pub(crate) fn look_at_parked(&mut self, now: Now) {
        let mut answers = Vec::new();
        for on_air in self.on_air.values_mut() {
            let connections = &self.connections;
            let settled = on_air.is_settled(now.mono);
            on_air.parked.retain(|&(key, until)| {
                let Some(connection) = connections.get(key) else { return false };
                let patience = match () {
                    () if until <= now.mono => Patience::Over,
                    () if settled => Patience::ForKeyFrame,
                    () => Patience::ForAllTracks,
                };
                let info = start_of(&on_air.log, connection, now.mono, patience);
                let parked = info.is_none();
                answers.extend(info.map(|(start, rtp_info)| (key, start, Answer::Play { rtp_info })));
                parked
            });
        }
        for (key, start, answer) in answers {
            if let Some(viewer) = self.connections.get_mut(key).and_then(|c| c.viewer.as_mut()) {
                viewer.start = start;
            }
            self.answer(key, answer, now);
        }
    }

    /// Lets viewers who are too far behind jump, and cuts those who stand still.
    pub(crate) fn look_at_slow_viewers(&mut self, now: Now) {
        let mut cut = Vec::new();
        for on_air in self.on_air.values_mut().filter(|on_air| on_air.ending.is_none()) {
            for &key in &on_air.behind {
                let Some(viewer) = self.connections.get_mut(key).and_then(|c| c.viewer.as_mut()) else {
                    continue;
                };
                let Viewer { media: Some(Media::Tcp(tcp)), slowness, .. } = &mut **viewer else { continue };
                if tcp.blocked && now.mono.saturating_duration_since(tcp.progress_at) > limits::STALL_MAX {
                    cut.push((key, Reason::ViewerStalled));
                    continue;
                }
                if tcp.catch_up.as_ref().is_some_and(|catch_up| now.mono < catch_up.until) || tcp.awaits_key {
                    continue;
                }
                let Some(skipped) = jump_if_late(on_air_log(on_air), tcp, now.mono) else { continue };
                self.stats.frames_skipped.add(skipped);
                self.stats.skips.add(1);
                if slowness.jumped(now.mono) {
                    cut.push((key, Reason::ViewerSlow));
                }
            }
        }
        for (key, reason) in cut {
            self.end_session(key, SessionEnd::TooSlow, reason.into(), now);
        }
        let late: Vec<ProgramId> =
            self.on_air.iter().filter(|(_, o)| o.udp.is_waiting()).map(|(id, _)| *id).collect();
        for id in late {
            self.serve_udp(id, now);
        }
    }
}

const fn on_air_log(on_air: &OnAir) -> (&slotcast_core::log::ChannelLog, &crate::shape::Shapes) {
    (&on_air.log, &on_air.shapes)
}

/// The program, the outbox and the TCP viewer of a connection, if it plays over TCP.
fn tcp_viewer(
    connections: &mut Slab<Connection>,
    key: usize,
) -> Option<(ProgramId, &mut Outbox, &mut TcpViewer)> {
    let Connection { outbox, viewer, .. } = connections.get_mut(key)?;
    let Viewer { program, media: Some(Media::Tcp(tcp)), .. } = &mut **viewer.as_mut()? else { return None };
    Some((*program, outbox, tcp))
}

struct ConnectionParts<'a> {
    stream: &'a mut mio::net::TcpStream,
    outbox: &'a mut Outbox,
}

/// What PLAY waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// A key frame, and a packet of every track that was set up.
    ForAllTracks,
    /// A key frame: tracks that have sent nothing so far may never do.
    ForKeyFrame,
    /// Nothing any more: whatever is known must do.
    Over,
}

/// Where PLAY starts and what RTP-Info says of it; `None` while what it waits for has not come.
pub(crate) fn start_of(
    log: &slotcast_core::log::ChannelLog,
    connection: &Connection,
    now: Instant,
    patience: Patience,
) -> Option<(Position, Vec<slotcast_rtsp::server::RtpInfoEntry>)> {
    let start = log.join_point().or_else(|| (patience == Patience::Over).then(|| log.head()))?;
    let session = connection.rtsp.session()?;
    let mut entries = Vec::with_capacity(session.tracks().len());
    for setup in session.tracks() {
        let info = log.rtp_info(start, setup.track, now);
        if info.is_none() && patience == Patience::ForAllTracks {
            return None;
        }
        entries.push(slotcast_rtsp::server::RtpInfoEntry {
            track: setup.track,
            seq: info.map(|(sequence_number, _)| sequence_number.0),
            rtptime: info.map(|(_, timestamp)| timestamp.0),
        });
    }
    Some((start, entries))
}

/// What RTP-Info says to a viewer who plays already: the packet of each track that it is sent next. Of a viewer who waits
/// for a key frame nobody knows.
pub(crate) fn next_of(
    on_air: &OnAir,
    key: usize,
    connection: &Connection,
    media: &Media,
    now: Instant,
) -> Option<Vec<slotcast_rtsp::server::RtpInfoEntry>> {
    let entry = |track| {
        let next = next_position(on_air, key, media, track);
        let info = next.and_then(|position| on_air.log.rtp_info(position, track, now));
        slotcast_rtsp::server::RtpInfoEntry {
            track,
            seq: info.map(|(sequence_number, _)| sequence_number.0),
            rtptime: info.map(|(_, timestamp)| timestamp.0),
        }
    };
    Some(connection.rtsp.session()?.tracks().iter().map(|setup| entry(setup.track)).collect())
}

/// Where in the log a viewer's next packet of `track` is looked for.
fn next_position(on_air: &OnAir, key: usize, media: &Media, track: u8) -> Option<Position> {
    let log = &on_air.log;
    let cursor = match media {
        Media::Udp(udp) => match &udp.catch_up {
            Some(catch_up) => catch_up.cursor,
            None => on_air.udp.next_of(key, track).unwrap_or_else(|| log.head()),
        },
        Media::Tcp(tcp) if tcp.live => log.head(),
        Media::Tcp(tcp) if tcp.awaits_key => return None,
        Media::Tcp(tcp) => on_air.shapes.origin(tcp.shape, tcp.cursor),
    };
    // Who was overtaken by the log's end goes on at the newest key frame.
    let is_kept = log.oldest().is_none_or(|oldest| oldest.index() <= cursor.chunk);
    if is_kept { Some(cursor) } else { log.join_point() }
}

/// Sends what a UDP viewer who joined may have now.
fn catch_up_udp(
    on_air: &OnAir,
    udp: &mut UdpViewer,
    pace: &mut TokenBucket,
    ports: &mut UdpPorts,
    guard: &Guard<'_>,
    stats: &WorkerStats,
    now: Instant,
) -> Standing {
    let Some(catch_up) = &mut udp.catch_up else { return Standing::Behind };
    if on_air.log.oldest().is_some_and(|oldest| catch_up.cursor.chunk < oldest.index()) {
        catch_up.cursor = on_air.log.join_point().unwrap_or_else(|| on_air.log.head());
    }
    while let Some(chunk) = on_air.log.chunk(catch_up.cursor.chunk) {
        if pace.available(now) == 0 {
            return Standing::Behind;
        }
        pace.take(now, chunk.bytes().len() as u64);
        for run in chunk.runs().all() {
            let Some(to) = &udp.ports[port_index(run.track, run.rtcp)] else { continue };
            let mut parts = [std::io::IoSlice::new(&[]); slotcast_core::runs::SEGMENTS_MAX];
            let parts = gather(chunk, run, catch_up.cursor.packet, &mut parts);
            for turn in parts.chunks(limits::JOIN_SEGMENTS_MAX) {
                if !guard.may_send() {
                    return Standing::Behind;
                }
                let mut done = 0;
                if ports.send_run(to, run, turn, &mut done, stats).is_err() {
                    // The socket is full: this chunk is sent anew later. What has left of it comes twice, which receivers
                    // sort out by sequence number.
                    stats.udp_waits.add(1);
                    return Standing::Behind;
                }
            }
        }
        stats.viewer_frames.add(1);
        catch_up.cursor = Position::at_chunk(catch_up.cursor.chunk + 1);
    }
    if on_air.udp.is_waiting() { Standing::Behind } else { Standing::CaughtUp }
}

/// Writes what a TCP viewer who is behind may have now.
fn catch_up_tcp(
    wire: ConnectionParts<'_>,
    tcp: &mut TcpViewer,
    pace: &mut TokenBucket,
    source: &Source<'_>,
    guard: &Guard<'_>,
    stats: &WorkerStats,
    now: Instant,
) -> Standing {
    loop {
        let allowed = match &tcp.catch_up {
            Some(_) => (pace.available(now) as usize).min(limits::PUMP_BYTES_MAX),
            None => limits::PUMP_BYTES_MAX,
        };
        if !guard.may_send() || allowed < limits::PUMP_BYTES_MIN.min(source.bytes_ahead(tcp.cursor)) {
            return Standing::Behind;
        }
        let Ok((media, written)) = wire.outbox.pump(wire.stream, source, &mut tcp.cursor, allowed, stats)
        else {
            return Standing::Broken;
        };
        if tcp.catch_up.is_some() {
            pace.take(now, media as u64);
        }
        if media > 0 || written == Written::All {
            tcp.progress_at = now;
        }
        match written {
            Written::Full(any) => {
                if any {
                    tcp.progress_at = now;
                }
                tcp.blocked = true;
                return Standing::Behind;
            }
            Written::All if tcp.cursor.chunk >= source.log.head().chunk => return Standing::CaughtUp,
            Written::All if media == 0 => return Standing::Behind,
            Written::All => {}
        }
    }
}

/// A viewer who catches up may be overtaken by the log's own end, when the next key frame lets the old one go: it goes
/// on from the new one, which is no skip of its own making.
fn overtake(on_air: &OnAir, tcp: &mut TcpViewer) {
    let oldest = on_air.log.oldest().map_or(0, |chunk| chunk.index());
    if tcp.catch_up.is_none() || tcp.cursor.chunk >= oldest {
        return;
    }
    match on_air.log.join_point() {
        Some(key) => tcp.cursor = on_air.shapes.translate(tcp.shape, key),
        None => (tcp.cursor, tcp.awaits_key) = (on_air.log.head(), true),
    }
}

/// Moves a viewer who waits for a key frame to it, or on without one where none comes for long; `false` while it waits.
fn find_key(on_air: &OnAir, tcp: &mut TcpViewer) -> bool {
    let key = on_air.log.next_join_point(Position::at_chunk(tcp.cursor.chunk));
    if let Some(key) = key {
        tcp.cursor = on_air.shapes.translate(tcp.shape, key);
        tcp.awaits_key = false;
    }
    key.is_some()
}

/// Lets a viewer who is further behind than is granted jump to the newest key frame, or wait for the next one.
///
/// Returns the frames that it misses; `None` when it did not have to jump.
fn jump_if_late(
    (log, shapes): (&slotcast_core::log::ChannelLog, &crate::shape::Shapes),
    tcp: &mut TcpViewer,
    now: Instant,
) -> Option<u64> {
    let behind = |index: u64| log.chunk(index).map(|c| now.saturating_duration_since(c.arrival()));
    if tcp.blocked && tcp.jumped_at.is_some_and(|at| tcp.progress_at <= at) {
        // It has not taken a byte since it jumped last: that is standing still, which has a patience of its own.
        return None;
    }
    let head = log.head();
    let late = match behind(tcp.cursor.chunk) {
        Some(time) => time > limits::BEHIND_MAX,
        None => tcp.cursor.chunk < head.chunk,
    };
    if !late {
        return None;
    }
    let from = tcp.cursor.chunk;
    let key = log
        .join_point()
        .filter(|key| key.chunk > from && behind(key.chunk).is_some_and(|time| time <= limits::BEHIND_MAX));
    match key {
        Some(key) => tcp.cursor = shapes.translate(tcp.shape, key),
        None => {
            tcp.cursor = head;
            tcp.awaits_key = true;
        }
    }
    tcp.catch_up = None;
    tcp.jumped_at = Some(now);
    Some(tcp.cursor.chunk.saturating_sub(from))
}
