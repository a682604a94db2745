//! Viewers over TCP: RTP in `$` frames (RFC 2326 §10.12), one write per viewer and frame.
//!
//! Owns: who is where in the log, which frames of a chunk a viewer gets and how they are numbered, and slow viewers' jumps.
//! Invariant: who stands at the head of the log has nothing waiting; a packet's bytes come from the log, whatever its
//! channel: only the four bytes before them are a viewer's own.

use std::{
    collections::{HashMap, VecDeque},
    io::{self, IoSlice, Write},
    time::Instant,
};

use bytes::{Bytes, BytesMut};
use slotcast_admission::Reason;
use slotcast_core::{
    bucket::TokenBucket,
    chunk::{CHUNK_PACKETS_MAX, Chunk},
    log::{ChannelLog, Position},
    media::TRACKS_MAX,
    packet::{FRAME_HEADER_BYTES, PacketEntry},
};

use crate::{
    audience::{Loss, Patience, Progress, Turn, ring::Ring},
    guard::Guard,
    limits,
    ports::Net,
    sockets::Sockets,
    stats::WorkerStats,
    viewer::Key,
    wire::{Wire, write_some},
};

/// Headers of the frames of one chunk.
const HEADERS_MAX: usize = CHUNK_PACKETS_MAX + TRACKS_MAX;
/// Buffers of one write: what waits, and headers and packets.
const PARTS_MAX: usize = 2 + 2 * HEADERS_MAX;

/// On which interleaved channels (RTP, RTCP) a viewer gets each track; `None` for tracks that it did not set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Numbering(pub(crate) [Option<(u8, u8)>; TRACKS_MAX]);

impl Numbering {
    /// Whether chunks of a stream of `tracks` tracks can be sent as they are.
    pub(crate) fn is_canonical(&self, tracks: usize) -> bool {
        self.0.iter().enumerate().all(|(track, channels)| {
            *channels == (track < tracks).then_some((2 * track as u8, 2 * track as u8 + 1))
        })
    }

    fn header(&self, entry: &PacketEntry) -> Option<[u8; FRAME_HEADER_BYTES]> {
        let (rtp, rtcp) = (*self.0.get(usize::from(entry.track))?)?;
        let [high, low] = entry.length.to_be_bytes();
        Some([b'$', if entry.is_rtp() { rtp } else { rtcp }, high, low])
    }
}

/// Where the frame of the packet at `place` begins; the chunk's end when there is none.
fn start_of(chunk: &Chunk, place: u16) -> usize {
    chunk.packets().get(usize::from(place)).map_or_else(|| chunk.bytes().len(), PacketEntry::frame_start)
}

/// What one write to a viewer did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrote {
    /// The socket took all that was offered, this many bytes of media among it.
    All(usize),
    /// It took some of it, or nothing, and is full.
    Full(usize, bool),
    /// Nothing is left to write: the viewer is at the head of the log.
    Nothing,
}

/// A viewer's place in the log, and how it sees what stands there.
#[derive(Clone, Copy, Debug)]
struct Reading {
    /// Next packet.
    cursor: Position,
    /// `None`: chunks are sent as they are.
    numbering: Option<Numbering>,
}

impl Reading {
    /// The frame of a packet: its header, `None` where the viewer does not get it.
    fn header(&self, chunk: &Chunk, entry: &PacketEntry) -> Option<[u8; FRAME_HEADER_BYTES]> {
        match &self.numbering {
            Some(numbering) => numbering.header(entry),
            None => chunk.bytes().get(entry.frame_start()..)?.first_chunk().copied(),
        }
    }

    /// Bytes of the next chunk that the viewer has not had; 0 at the head.
    fn bytes_ahead(&self, log: &ChannelLog) -> usize {
        let Some(chunk) = log.chunk(self.cursor.chunk) else { return 0 };
        let ahead = chunk.packets().iter().skip(self.cursor.packet.into());
        let own = ahead.filter(|entry| self.header(chunk, entry).is_some());
        own.map(|entry| FRAME_HEADER_BYTES + usize::from(entry.length)).sum()
    }

    /// Writes what waits on the wire and then media, with one call, and moves on in the log.
    ///
    /// - `bytes_max`: media bytes at the most, rounded up to whole chunks.
    fn write<S: Write>(
        &mut self,
        wire: &mut Wire<S>,
        log: &ChannelLog,
        bytes_max: usize,
        stats: &WorkerStats,
    ) -> io::Result<Wrote> {
        while self.numbering.is_some() && log.chunk(self.cursor.chunk).is_some() && self.bytes_ahead(log) == 0
        {
            // Nothing of this chunk is for this viewer.
            self.cursor = Position::at_chunk(self.cursor.chunk + 1);
        }
        let Wire { stream, outbox } = wire;
        // The newest chunk as it is: the way of nearly every frame to nearly every viewer.
        let whole = log.newest().filter(|newest| Position::at_chunk(newest.index()) == self.cursor);
        if let Some(chunk) = whole.filter(|_| self.numbering.is_none() && outbox.is_empty()) {
            stats.send_calls.add(1);
            let written = write_some(|| stream.write(chunk.bytes()))?.unwrap_or(0);
            if let Some(tail) = self.advance(log, written, stats) {
                outbox.keep_tail(tail);
            }
            let is_all = written == chunk.bytes().len();
            return Ok(if is_all { Wrote::All(written) } else { Wrote::Full(written, written > 0) });
        }
        let mut headers = [[0; FRAME_HEADER_BYTES]; HEADERS_MAX];
        let mut parts = [IoSlice::new(&[]); PARTS_MAX];
        [parts[0], parts[1]] = outbox.parts();
        let (count, media) = self.gather(log, bytes_max, &mut headers, &mut parts);
        let offered = outbox.len() + media;
        if offered == 0 {
            return Ok(Wrote::Nothing);
        }
        stats.send_calls.add(1);
        let Some(written) = write_some(|| stream.write_vectored(&parts[..count]))? else {
            return Ok(Wrote::Full(0, false));
        };
        let of_media = outbox.consume(written);
        if let Some(tail) = self.advance(log, of_media, stats) {
            outbox.keep_tail(tail);
        }
        Ok(if written == offered { Wrote::All(of_media) } else { Wrote::Full(of_media, true) })
    }

    /// Puts media from the cursor on into `parts`, behind the first two. Returns how many of them count, and the bytes.
    fn gather<'p>(
        &self,
        log: &'p ChannelLog,
        bytes_max: usize,
        headers: &'p mut [[u8; FRAME_HEADER_BYTES]; HEADERS_MAX],
        parts: &mut [IoSlice<'p>; PARTS_MAX],
    ) -> (usize, usize) {
        let (mut count, mut bytes) = (2, 0);
        let Some(numbering) = &self.numbering else {
            let mut from = self.cursor;
            while let Some(chunk) = log.chunk(from.chunk)
                && bytes < bytes_max
                && count < limits::WRITE_PARTS_MAX
            {
                parts[count] = IoSlice::new(&chunk.bytes()[start_of(chunk, from.packet)..]);
                bytes += parts[count].len();
                (count, from) = (count + 1, Position::at_chunk(from.chunk + 1));
            }
            return (count, bytes);
        };
        let Some(chunk) = log.chunk(self.cursor.chunk) else { return (count, bytes) };
        let own = chunk.packets().iter().skip(self.cursor.packet.into());
        let own = own.filter_map(|entry| Some((entry, numbering.header(entry)?)));
        for (slot, (_, header)) in headers.iter_mut().zip(own.clone()) {
            *slot = header;
        }
        for (header, (entry, _)) in headers.iter().zip(own) {
            parts[count] = IoSlice::new(header);
            parts[count + 1] = IoSlice::new(chunk.packet(entry));
            bytes += FRAME_HEADER_BYTES + parts[count + 1].len();
            count += 2;
        }
        (count, bytes)
    }

    /// Notes that `count` bytes of media were written from the cursor on. Returns the rest of a packet that was begun.
    fn advance(&mut self, log: &ChannelLog, mut count: usize, stats: &WorkerStats) -> Option<Bytes> {
        stats.bytes_sent.add(count as u64);
        while let Some(chunk) = log.chunk(self.cursor.chunk).filter(|_| count > 0) {
            let is_whole =
                self.numbering.is_none() && self.cursor.packet == 0 && count >= chunk.bytes().len();
            if is_whole {
                count -= chunk.bytes().len();
                stats.packets_sent.add(chunk.packets().len() as u64);
                stats.viewer_frames.add(1);
                self.cursor = Position::at_chunk(self.cursor.chunk + 1);
                continue;
            }
            for (place, entry) in (0u16..).zip(chunk.packets()).skip(self.cursor.packet.into()) {
                let Some(header) = self.header(chunk, entry) else { continue };
                if count == 0 {
                    self.cursor.packet = place;
                    return None;
                }
                stats.packets_sent.add(1);
                let length = FRAME_HEADER_BYTES + usize::from(entry.length);
                if count < length {
                    self.cursor.packet = place + 1;
                    let mut frame = BytesMut::with_capacity(length);
                    frame.extend_from_slice(&header);
                    frame.extend_from_slice(chunk.packet(entry));
                    return Some(frame.split_off(count).freeze());
                }
                count -= length;
            }
            stats.viewer_frames.add(1);
            self.cursor = Position::at_chunk(self.cursor.chunk + 1);
        }
        None
    }
}

/// A viewer at the head of the log, or on its way there since the last chunk: all that a frame's pass touches of it, beside
/// its wire.
struct Member {
    wire: usize,
    reading: Reading,
    /// When its socket last took a chunk.
    took_at: Instant,
}

/// A viewer who reads at its own pace.
struct Reader {
    wire: usize,
    reading: Reading,
    /// While it catches up after PLAY: until when it may be behind without being slow.
    joins_until: Option<Instant>,
    /// Whether it stands in the queue of those who can go on.
    is_queued: bool,
    /// Whether its socket was full at the last write.
    is_blocked: bool,
    /// Whether it waits for the next key frame.
    awaits_key: bool,
    /// When the socket last took a byte.
    progress_at: Instant,
    /// When it last jumped in the log.
    jumped_at: Option<Instant>,
}

/// The TCP viewers of one program on this worker.
#[derive(Default)]
pub(crate) struct TcpAudience {
    live: Ring<Member>,
    readers: HashMap<Key, Reader>,
    /// Readers who can go on, in the order in which they are served.
    queue: VecDeque<Key>,
    /// Readers who wait for a key frame.
    awaiting: Vec<Key>,
}

impl TcpAudience {
    pub(crate) fn enter(
        &mut self,
        viewer: Key,
        wire: usize,
        numbering: Option<Numbering>,
        cursor: Position,
        now: Instant,
    ) {
        let joins_until = Some(now + limits::JOIN_TIME_MAX);
        self.read_on(viewer, Reader { joins_until, ..Reader::new(wire, Reading { cursor, numbering }, now) });
    }

    fn read_on(&mut self, viewer: Key, reader: Reader) {
        self.readers.insert(viewer, reader);
        self.queue_up(viewer);
    }

    fn queue_up(&mut self, viewer: Key) {
        let Some(reader) = self.readers.get_mut(&viewer) else { return };
        if !reader.is_queued && !reader.is_blocked {
            reader.is_queued = true;
            self.queue.push_back(viewer);
        }
    }

    pub(crate) fn leave(&mut self, viewer: Key) {
        self.readers.remove(&viewer);
        self.live.remove(viewer);
    }

    pub(crate) fn chunk_came(&mut self) {
        self.live.begin();
        for viewer in std::mem::take(&mut self.awaiting) {
            self.queue_up(viewer);
        }
    }

    pub(crate) fn live<N: Net>(&mut self, turn: &mut Turn<'_, N>) -> Progress {
        let head = turn.log.head();
        while let Some(Member { wire, reading, took_at }) = self.live.current() {
            if reading.cursor >= head {
                self.live.advance();
                continue;
            }
            if !turn.guard.may_send() {
                return Progress::Done;
            }
            let next = turn.log.chunk(reading.cursor.chunk);
            let is_old = next.is_none_or(|chunk| turn.patience.is_behind(chunk, turn.now.mono));
            let wrote = match turn.sockets.wire(*wire) {
                Some(wire) if !is_old => reading.write(wire, turn.log, limits::PUMP_BYTES_MAX, turn.stats),
                _ => Ok(Wrote::All(0)),
            };
            turn.guard.sent(turn.stats);
            match wrote {
                Ok(Wrote::All(_) | Wrote::Nothing) if reading.cursor >= head => {
                    *took_at = turn.now.mono;
                    self.live.advance();
                }
                // It stood at the head until now: its patience as a reader begins here.
                Ok(wrote) => {
                    let Some((viewer, Member { wire, reading, .. })) = self.live.take_current() else {
                        break;
                    };
                    let is_blocked = matches!(wrote, Wrote::Full(..));
                    let reader = Reader { is_blocked, ..Reader::new(wire, reading, turn.now.mono) };
                    self.read_on(viewer, reader);
                }
                Err(_) => {
                    let Some((viewer, _)) = self.live.take_current() else { break };
                    turn.lost.push((viewer, Loss::Broken));
                }
            }
            if !turn.budget.goes_on_after_send() {
                return Progress::More;
            }
        }
        Progress::Done
    }

    pub(crate) fn behind<N: Net>(&mut self, turn: &mut Turn<'_, N>) -> Option<Instant> {
        for _ in 0..self.queue.len() {
            let viewer = self.queue.pop_front()?;
            let Some(reader) = self.readers.get_mut(&viewer) else { continue };
            reader.is_queued = false;
            let wire = turn.sockets.wire(reader.wire);
            let Some((wire, holder)) = wire.zip(turn.viewers.get_mut(&viewer)) else { continue };
            let counted = (turn.stats, turn.now.mono);
            let stands = reader.go_on(wire, &mut holder.pace, turn.log, &turn.guard, counted);
            match stands.unwrap_or(Stands::Broken) {
                Stands::Head => {
                    let &mut Reader { wire, reading, progress_at: took_at, .. } = reader;
                    self.readers.remove(&viewer);
                    self.live.insert(viewer, Member { wire, reading, took_at });
                }
                Stands::Behind => self.queue_up(viewer),
                Stands::AwaitsKey => self.awaiting.push(viewer),
                Stands::Blocked => reader.is_blocked = true,
                Stands::Broken => {
                    self.readers.remove(&viewer);
                    turn.lost.push((viewer, Loss::Broken));
                }
            }
            if !turn.budget.goes_on() {
                return (!self.queue.is_empty()).then_some(turn.now.mono);
            }
        }
        (!self.queue.is_empty()).then(|| turn.now.mono + limits::JOIN_TURN)
    }

    pub(crate) fn look_at_slow<N: Net>(&mut self, turn: &mut Turn<'_, N>) {
        let mut gone = Vec::new();
        for (&viewer, reader) in &mut self.readers {
            let stalled = turn.now.mono.saturating_duration_since(reader.progress_at);
            if reader.is_blocked && stalled > turn.patience.stalled {
                gone.push((viewer, Reason::ViewerStalled));
                continue;
            }
            let Some(skipped) = reader.jump_if_late(turn.log, turn.now.mono, turn.patience) else { continue };
            turn.stats.frames_skipped.add(skipped);
            turn.stats.skips.add(1);
            let holder = turn.viewers.get_mut(&viewer);
            if holder.is_some_and(|holder| holder.slowness.jumped(turn.now.mono)) {
                gone.push((viewer, Reason::ViewerSlow));
            }
        }
        for (viewer, reason) in gone {
            self.readers.remove(&viewer);
            turn.lost.push((viewer, Loss::Told(reason)));
        }
    }

    pub(crate) fn cut<N: Net>(&mut self, sockets: &mut Sockets<N>) {
        for reader in self.readers.values() {
            if let Some(wire) = sockets.wire(reader.wire) {
                wire.outbox.forget_tail();
            }
        }
        *self = Self::default();
    }

    pub(crate) fn writable(&mut self, viewer: Key) {
        if let Some(reader) = self.readers.get_mut(&viewer) {
            reader.is_blocked = false;
            self.queue_up(viewer);
        }
    }

    pub(crate) fn full(&mut self, viewer: Key, now: Instant) {
        if let Some(Member { wire, reading, .. }) = self.live.remove(viewer) {
            self.readers.insert(viewer, Reader::new(wire, reading, now));
        }
        if let Some(reader) = self.readers.get_mut(&viewer) {
            reader.is_blocked = true;
        }
    }

    pub(crate) fn next_of(&self, viewer: Key) -> Option<Position> {
        match self.readers.get(&viewer) {
            Some(reader) => (!reader.awaits_key).then_some(reader.reading.cursor),
            None => self.live.get(viewer).map(|member| member.reading.cursor),
        }
    }

    pub(crate) fn took_at(&self, viewer: Key) -> Option<Instant> {
        let reader = self.readers.get(&viewer).map(|reader| reader.progress_at);
        reader.or_else(|| self.live.get(viewer).map(|member| member.took_at))
    }
}

/// Where a reader who was served stands.
enum Stands {
    /// At the head of the log.
    Head,
    /// Somewhere behind it: it may have more later.
    Behind,
    /// Behind it, until a key frame comes.
    AwaitsKey,
    /// Its socket is full.
    Blocked,
    /// Its connection broke.
    Broken,
}

impl Reader {
    const fn new(wire: usize, reading: Reading, now: Instant) -> Self {
        Self {
            wire,
            reading,
            joins_until: None,
            is_queued: false,
            is_blocked: false,
            awaits_key: false,
            progress_at: now,
            jumped_at: None,
        }
    }

    /// Writes what it may have now.
    fn go_on<S: Write>(
        &mut self,
        wire: &mut Wire<S>,
        pace: &mut TokenBucket,
        log: &ChannelLog,
        guard: &Guard<'_>,
        (stats, now): (&WorkerStats, Instant),
    ) -> io::Result<Stands> {
        self.overtake(log);
        if self.awaits_key && !self.find_key(log) {
            let all = wire.flush(Some(guard))?;
            return Ok(if all { Stands::AwaitsKey } else { Stands::Blocked });
        }
        let mut left = limits::PUMP_BYTES_MAX;
        loop {
            let allowed = match self.joins_until {
                Some(_) => left.min(pace.available(now) as usize),
                None => left,
            };
            let ahead = self.reading.bytes_ahead(log);
            if !guard.may_send() || allowed < limits::PUMP_BYTES_MIN.min(ahead) {
                return Ok(Stands::Behind);
            }
            let wrote = self.reading.write(wire, log, allowed, stats)?;
            guard.sent(stats);
            let (media, took_any) = match wrote {
                Wrote::Nothing => return Ok(Stands::Head),
                Wrote::All(media) => (media, true),
                Wrote::Full(media, any) => (media, any),
            };
            if self.joins_until.is_some() {
                pace.take(now, media as u64);
            }
            left = left.saturating_sub(media);
            if took_any {
                self.progress_at = now;
            }
            if matches!(wrote, Wrote::Full(..)) {
                return Ok(Stands::Blocked);
            }
        }
    }

    /// A viewer who catches up may be overtaken by the log's own end, when the next key frame lets the old one go: it goes
    /// on from the new one, which is no skip of its own making.
    fn overtake(&mut self, log: &ChannelLog) {
        let oldest = log.oldest().map_or(0, |chunk| chunk.index());
        if self.joins_until.is_none() || self.reading.cursor.chunk >= oldest {
            return;
        }
        let join = log.join_point();
        self.awaits_key = join.is_none();
        self.reading.cursor = join.unwrap_or_else(|| log.head());
    }

    /// Moves on to the key frame that it waits for, or without one where none comes for long; `false` while it waits.
    fn find_key(&mut self, log: &ChannelLog) -> bool {
        let key = log.next_join_point(Position::at_chunk(self.reading.cursor.chunk));
        if let Some(key) = key {
            (self.reading.cursor, self.awaits_key) = (key, false);
        }
        key.is_some()
    }

    /// Jumps to the newest key frame, or waits for the next one, if it is further behind than is granted.
    ///
    /// Returns the chunks that it misses; `None` when it did not have to jump.
    fn jump_if_late(&mut self, log: &ChannelLog, now: Instant, patience: Patience) -> Option<u64> {
        let is_joining = self.joins_until.is_some_and(|until| now < until);
        // It has not taken a byte since it jumped last: that is standing still, which has a patience of its own.
        let stands_still = self.is_blocked && self.jumped_at.is_some_and(|at| self.progress_at <= at);
        if is_joining || self.awaits_key || stands_still {
            return None;
        }
        let (head, from) = (log.head(), self.reading.cursor.chunk);
        let is_late = match log.chunk(from) {
            Some(chunk) => patience.is_behind(chunk, now),
            None => from < head.chunk,
        };
        if !is_late {
            return None;
        }
        let key = log.join_point().filter(|key| {
            key.chunk > from && log.chunk(key.chunk).is_some_and(|chunk| !patience.is_behind(chunk, now))
        });
        self.awaits_key = key.is_none();
        self.reading.cursor = key.unwrap_or(head);
        (self.joins_until, self.jumped_at) = (None, Some(now));
        Some(self.reading.cursor.chunk.saturating_sub(from))
    }
}
