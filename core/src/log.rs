//! A worker's copy of a channel log: the recent chunks of one program, and where a new viewer starts.
//!
//! Owns: which chunks are kept (at least from the newest key frame on, within named bounds), the newest join
//! point, and what each track sent last.
//! Not here: who reads it; a viewer is a [`Position`] of its own.
//! Invariant: the chunks kept are consecutive; a join point lies on the first packet of its frame,
//! or on the newest chunk of a stream that has shown no key frame for long.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    chunk::Chunk,
    media::{Stream, TRACKS_MAX},
    packet::{PacketEntry, PacketFlags},
    rtcp::{self, RtcpPacket, SenderInfo},
    rtp::{self, RtpTimestamp, SequenceNumber},
};

/// A chunk beside its packets: its own fields, its boxes and their allocations.
const CHUNK_COST_BYTES: usize = 400;
/// A packet beside its bytes: its entries in the packet table and in the runs.
const PACKET_COST_BYTES: usize = 32;

/// A packet may arrive that much later or sooner than its timestamp says, seen from the packets before it.
const ARRIVAL_JITTER_MAX: Duration = Duration::from_millis(100);
/// A stream that has shown no key frame for so long is joined without one: its next may be minutes away, and its sound
/// must not wait for it.
pub const KEY_FRAME_AWAITED_MAX: Duration = Duration::from_secs(4);
/// The same where no picture has come at all.
pub const PICTURE_AWAITED_MAX: Duration = Duration::from_secs(1);

/// Never more bytes than this, even if the newest key frame goes with them.
const BYTES_MAX: usize = 16 << 20;
/// Nothing older than this, even if the newest key frame goes with it.
const AGE_MAX: Duration = Duration::from_secs(20);
/// Nothing younger than this is dropped while the other bounds allow: slow viewers read it.
const AGE_MIN: Duration = Duration::from_secs(2);

/// A place between two packets of the log: the next one to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// [`Chunk::index`].
    pub chunk: u64,
    /// Place in the chunk's packet table.
    pub packet: u16,
}

impl Position {
    /// Before the first packet of the chunk `index`.
    pub const fn at_chunk(index: u64) -> Self {
        Self { chunk: index, packet: 0 }
    }
}

#[derive(Clone, Copy, Debug)]
struct Tail {
    sequence_number: SequenceNumber,
    timestamp: RtpTimestamp,
    arrival: Instant,
}

/// The recent chunks of one program.
#[derive(Debug, Default)]
pub struct ChannelLog {
    chunks: VecDeque<Arc<Chunk>>,
    /// What they cost in memory, tables included.
    bytes: usize,
    join: Option<Position>,
    /// When the newest key frame arrived, or the first chunk where none has, also after a long silence.
    keyless_since: Option<Instant>,
    tails: [Option<Tail>; TRACKS_MAX],
    reports: [Option<SenderInfo>; TRACKS_MAX],
}

impl ChannelLog {
    /// Takes the next chunk, and drops what the bounds no longer allow. `false`: it is older than what is there, and not taken.
    ///
    /// Where chunks were lost on the way here, or it is of another stream than the one before, the log starts anew with it.
    pub fn push(&mut self, chunk: Arc<Chunk>) -> bool {
        if let Some(last) = self.newest() {
            // Another stream may count its chunks anew.
            let is_of_stream = last.stream().id == chunk.stream().id;
            if is_of_stream && chunk.index() <= last.index() {
                return false;
            }
            if !is_of_stream || last.index() + 1 != chunk.index() {
                *self = Self::default();
            }
        }
        let last = self.newest().map_or_else(|| chunk.arrival(), |last| last.arrival());
        if chunk.arrival().saturating_duration_since(last) >= KEY_FRAME_AWAITED_MAX {
            // Whoever returns after a silence has shown nothing meanwhile, and begins with a key frame as a rule.
            self.keyless_since = None;
        }
        self.bytes += cost(&chunk);
        self.chunks.push_back(Arc::clone(&chunk));
        self.read(&chunk);
        self.trim(chunk.arrival());
        true
    }

    fn read(&mut self, chunk: &Chunk) {
        let key_track = key_track(chunk.stream());
        self.keyless_since.get_or_insert_with(|| chunk.arrival());
        for (place, entry) in (0u16..).zip(chunk.packets()) {
            let track = usize::from(entry.track);
            match (chunk.sequence_number(entry), chunk.timestamp(entry)) {
                (Some(sequence_number), Some(timestamp)) => {
                    let first_of_key = entry.flags.contains(PacketFlags::KEY)
                        && key_track.is_none_or(|key| key == track)
                        && !self.is_of_join_frame(chunk, entry, timestamp);
                    self.tails[track] = Some(Tail { sequence_number, timestamp, arrival: chunk.arrival() });
                    if first_of_key {
                        self.keyless_since = Some(chunk.arrival());
                        let position = Position { chunk: chunk.index(), packet: place };
                        self.join = Some(match key_track {
                            Some(_) => self.frame_start(position, entry, timestamp),
                            // Every packet is a start of its own: there is nothing to go back to.
                            None => position,
                        });
                    }
                }
                _ => self.reports[track] = sender_report(chunk.packet(entry)).or(self.reports[track]),
            }
        }
    }

    /// Whether the packet belongs to the frame that the join point already stands on.
    fn is_of_join_frame(&self, chunk: &Chunk, entry: &PacketEntry, timestamp: RtpTimestamp) -> bool {
        key_track(chunk.stream()).is_some()
            && self.join.and_then(|join| self.entry(join)).is_some_and(|(join_chunk, join_entry)| {
                join_entry.track == entry.track && join_chunk.timestamp(join_entry) == Some(timestamp)
            })
    }

    /// The first packet of the track that has the same timestamp: where the access unit of a key frame begins,
    /// with its delimiter and parameter sets (RFC 6184 §5.1: one timestamp per access unit).
    fn frame_start(&self, found: Position, entry: &PacketEntry, timestamp: RtpTimestamp) -> Position {
        let mut start = found;
        for chunk in self.chunks.iter().rev() {
            for (place, earlier) in chunk.packets().iter().enumerate().rev() {
                let position = Position { chunk: chunk.index(), packet: place as u16 };
                if position >= found || earlier.track != entry.track || !earlier.is_rtp() {
                    continue;
                }
                if chunk.timestamp(earlier) != Some(timestamp) {
                    return start;
                }
                start = position;
            }
        }
        start
    }

    fn trim(&mut self, now: Instant) {
        while let Some(oldest) = self.chunks.front() {
            let age = now.saturating_duration_since(oldest.arrival());
            let too_much = self.bytes > BYTES_MAX || age > AGE_MAX;
            let needed = self.join.is_some_and(|join| join.chunk <= oldest.index()) || age <= AGE_MIN;
            if self.chunks.len() <= 1 || (needed && !too_much) {
                break;
            }
            if self.join.is_some_and(|join| join.chunk <= oldest.index()) {
                self.join = None;
            }
            self.bytes -= cost(oldest);
            self.chunks.pop_front();
        }
    }

    /// The chunk numbered `index`; `None` when it is no longer or not yet there.
    pub fn chunk(&self, index: u64) -> Option<&Arc<Chunk>> {
        let first = self.chunks.front()?.index();
        self.chunks.get(usize::try_from(index.checked_sub(first)?).ok()?)
    }

    fn entry(&self, position: Position) -> Option<(&Arc<Chunk>, &PacketEntry)> {
        let chunk = self.chunk(position.chunk)?;
        Some((chunk, chunk.packets().get(usize::from(position.packet))?))
    }

    /// The oldest chunk that is kept.
    pub fn oldest(&self) -> Option<&Arc<Chunk>> {
        self.chunks.front()
    }

    /// The newest chunk.
    pub fn newest(&self) -> Option<&Arc<Chunk>> {
        self.chunks.back()
    }

    /// What the newest chunk belongs to.
    pub fn stream(&self) -> Option<&Arc<Stream>> {
        self.newest().map(|chunk| chunk.stream())
    }

    /// The position behind the newest chunk: where live viewers stand.
    pub fn head(&self) -> Position {
        Position::at_chunk(self.newest().map_or(0, |chunk| chunk.index() + 1))
    }

    /// Where a new viewer starts: the newest key frame, or the newest chunk of a stream that has none, or none for long
    /// ([`KEY_FRAME_AWAITED_MAX`]). `None` when a key frame is worth waiting for.
    pub fn join_point(&self) -> Option<Position> {
        self.join.or_else(|| {
            let newest = self.newest()?;
            let waited = newest.arrival().saturating_duration_since(self.keyless_since?);
            let has_pictures = key_track(newest.stream()).is_some_and(|track| self.tails[track].is_some());
            let patience = if has_pictures { KEY_FRAME_AWAITED_MAX } else { PICTURE_AWAITED_MAX };
            (waited >= patience).then(|| Position::at_chunk(newest.index()))
        })
    }

    /// Where a reader goes on who stands at `from` and waits for a key frame: at the next one, or at the newest chunk
    /// once none has come for long since. `None` when it is worth waiting for.
    pub fn next_join_point(&self, from: Position) -> Option<Position> {
        self.join_point().filter(|join| *join >= from).or_else(|| {
            let newest = self.newest()?;
            let waited = newest.arrival().saturating_duration_since(self.chunk(from.chunk)?.arrival());
            (waited >= KEY_FRAME_AWAITED_MAX).then(|| Position::at_chunk(newest.index()))
        })
    }

    /// Sequence number and timestamp of the first RTP packet of `track` at or after `from` (RFC 2326 §12.33).
    ///
    /// Where the log ends before it, the next packet's are foretold from the last one's. `None` when the track has
    /// sent nothing yet.
    pub fn rtp_info(
        &self,
        from: Position,
        track: u8,
        now: Instant,
    ) -> Option<(SequenceNumber, RtpTimestamp)> {
        self.first_at(from, track).or_else(|| self.foretell(from, track, now))
    }

    fn first_at(&self, from: Position, track: u8) -> Option<(SequenceNumber, RtpTimestamp)> {
        self.chunks.iter().skip_while(|chunk| chunk.index() < from.chunk).find_map(|chunk| {
            let skip = if chunk.index() == from.chunk { usize::from(from.packet) } else { 0 };
            let entry = chunk.packets().iter().skip(skip).find(|e| e.track == track && e.is_rtp())?;
            Some((chunk.sequence_number(entry)?, chunk.timestamp(entry)?))
        })
    }

    /// The next packet's sequence number, and a timestamp at or before its own: a client that is told a later one takes
    /// the packet for one of the past.
    fn foretell(&self, from: Position, track: u8, now: Instant) -> Option<(SequenceNumber, RtpTimestamp)> {
        let tail = (*self.tails.get(usize::from(track))?)?;
        let clock_rate = self.stream()?.tracks.get(usize::from(track))?.clock_rate;
        // The viewer starts with the packets at `from`, which may have arrived a while ago.
        let start = self.chunk(from.chunk).map_or(now, |chunk| chunk.arrival());
        let elapsed = start.saturating_duration_since(tail.arrival).saturating_sub(ARRIVAL_JITTER_MAX);
        let ticks = rtp::ticks_in(elapsed, clock_rate);
        Some((tail.sequence_number.next(), tail.timestamp.wrapping_add(ticks as u32)))
    }

    /// What the newest sender report of `track` said.
    pub fn last_report(&self, track: u8) -> Option<&SenderInfo> {
        self.reports.get(usize::from(track))?.as_ref()
    }

    /// The newest RTP packet of `track` that is kept.
    pub fn last_packet(&self, track: u8) -> Option<&[u8]> {
        self.chunks.iter().rev().find_map(|chunk| {
            let entry = chunk.packets().iter().rev().find(|e| e.track == track && e.is_rtp())?;
            Some(chunk.packet(entry))
        })
    }
}

/// What a chunk costs in memory, so that many small ones count for what they are.
fn cost(chunk: &Chunk) -> usize {
    CHUNK_COST_BYTES + chunk.packets().len() * PACKET_COST_BYTES + chunk.bytes().len()
}

fn sender_report(compound: &[u8]) -> Option<SenderInfo> {
    rtcp::packets(compound).flatten().find_map(|packet| match packet {
        RtcpPacket::SenderReport(info) => Some(info),
        _ => None,
    })
}

/// The track whose key frames decide where viewers start; `None` when no track has any.
fn key_track(stream: &Stream) -> Option<usize> {
    stream.tracks.iter().position(|track| track.codec.has_key_frames())
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests take any instant to count from")]
mod tests {
    use super::*;
    use crate::{
        chunk::{
            ChunkBuilder,
            tests::{rtp, stream},
        },
        rtcp::NtpTime,
        rtp::Ssrc,
        time::WallTime,
    };

    const KEY: PacketFlags = PacketFlags::KEY;
    const NONE: PacketFlags = PacketFlags::EMPTY;

    struct Feeder {
        log: ChannelLog,
        now: Instant,
        index: u64,
        sequence_number: u16,
    }

    impl Feeder {
        fn new() -> Self {
            Self { log: ChannelLog::default(), now: Instant::now(), index: 0, sequence_number: 0 }
        }

        /// One chunk of `(track, flags, timestamp)` packets, `after_ms` after the last.
        fn push(&mut self, after_ms: u64, packets: &[(u8, PacketFlags, u32)]) -> bool {
            self.now += Duration::from_millis(after_ms);
            let mut builder = ChunkBuilder::default();
            for &(track, flags, timestamp) in packets {
                builder.push(self.now, track, flags, &rtp(self.sequence_number, timestamp, 100)).unwrap();
                self.sequence_number += 1;
            }
            let chunk = builder.flush(&stream(1), self.index).unwrap();
            self.index += 1;
            self.log.push(chunk)
        }

        #[track_caller]
        fn joins_at(&self, chunk: u64, packet: u16) {
            assert_eq!(self.log.join_point(), Some(Position { chunk, packet }));
        }
    }

    #[test]
    fn a_viewer_starts_at_the_first_packet_of_the_newest_key_frame() {
        let mut feeder = Feeder::new();
        feeder.push(0, &[(0, NONE, 1)]);
        assert_eq!(feeder.log.join_point(), None);
        feeder.push(40, &[(0, NONE, 2), (0, NONE, 3), (0, KEY, 3), (0, KEY, 3)]);
        feeder.joins_at(1, 1);
        feeder.push(40, &[(1, KEY, 9)]);
        feeder.push(1, &[(0, KEY, 3), (0, NONE, 4)]);
        feeder.joins_at(1, 1);
        feeder.push(40, &[(0, KEY, 5)]);
        feeder.joins_at(4, 0);
    }

    #[test]
    fn parameter_sets_flushed_before_their_key_frame_belong_to_it() {
        let mut feeder = Feeder::new();
        feeder.push(0, &[(0, NONE, 1), (0, NONE, 2)]);
        feeder.push(3, &[(1, KEY, 7)]);
        feeder.push(3, &[(0, KEY, 2)]);
        feeder.joins_at(0, 1);
    }

    #[test]
    fn keeps_from_the_newest_key_frame_on_and_what_slow_viewers_read() {
        let mut feeder = Feeder::new();
        feeder.push(0, &[(0, KEY, 0)]);
        for i in 1..100 {
            feeder.push(100, &[(0, NONE, i)]);
        }
        assert_eq!(feeder.log.oldest().unwrap().index(), 0);
        feeder.push(100, &[(0, KEY, 100)]);
        assert_eq!(feeder.log.oldest().unwrap().index(), 80, "2 s stay");
        feeder.joins_at(100, 0);
        for i in 101..400 {
            feeder.push(100, &[(0, NONE, i)]);
        }
        feeder.joins_at(399, 0);
        assert!(feeder.log.chunks.len() <= 201);
    }

    #[test]
    fn a_stream_without_a_key_frame_for_long_is_joined_where_it_is() {
        let mut feeder = Feeder::new();
        for i in 0..40 {
            feeder.push(100, &[(0, NONE, i), (1, KEY, i)]);
            assert_eq!(feeder.log.join_point(), None, "a key frame may come");
        }
        feeder.push(100, &[(0, NONE, 41)]);
        feeder.joins_at(40, 0);
        feeder.push(100, &[(0, KEY, 42)]);
        feeder.push(100, &[(0, NONE, 43)]);
        feeder.joins_at(41, 0);
        for i in 0..210 {
            feeder.push(100, &[(0, NONE, 44 + i)]);
            assert!(
                feeder.log.join_point().is_some(),
                "the key frame is let go, and nobody waits for the next"
            );
        }
        feeder.joins_at(252, 0);
    }

    #[test]
    fn who_waits_behind_a_key_frame_waits_no_longer_for_the_next_than_who_comes_anew() {
        let mut feeder = Feeder::new();
        feeder.push(0, &[(0, KEY, 0)]);
        for i in 1..50 {
            feeder.push(100, &[(0, NONE, i)]);
        }
        let from = feeder.log.head();
        for i in 50..90 {
            feeder.push(100, &[(0, NONE, i)]);
            assert_eq!(feeder.log.next_join_point(from), None, "a key frame may come");
        }
        feeder.joins_at(0, 0);
        feeder.push(100, &[(0, NONE, 90)]);
        assert_eq!(feeder.log.next_join_point(from), Some(Position::at_chunk(90)));
        feeder.push(100, &[(0, KEY, 91)]);
        feeder.push(100, &[(0, NONE, 92)]);
        assert_eq!(feeder.log.next_join_point(from), Some(Position::at_chunk(91)));
    }

    #[test]
    fn a_stream_that_returns_after_a_long_silence_may_show_its_key_frame_first() {
        let mut feeder = Feeder::new();
        feeder.push(0, &[(0, KEY, 1)]);
        feeder.push(100, &[(0, NONE, 2)]);
        feeder.push(30_000, &[(1, KEY, 3)]);
        assert_eq!(feeder.log.join_point(), None, "silence is no stream without key frames");
        feeder.push(100, &[(0, KEY, 4)]);
        feeder.joins_at(3, 0);
        feeder.push(30_000, &[(0, NONE, 5)]);
        feeder.push(3900, &[(0, NONE, 6)]);
        assert_eq!(feeder.log.join_point(), None);
        feeder.push(100, &[(0, NONE, 7)]);
        feeder.joins_at(6, 0);
    }

    #[test]
    fn sound_does_not_wait_for_a_picture_that_does_not_come() {
        let mut feeder = Feeder::new();
        for i in 0..10 {
            feeder.push(100, &[(1, KEY, i)]);
            assert_eq!(feeder.log.join_point(), None);
        }
        feeder.push(100, &[(1, KEY, 10)]);
        feeder.joins_at(10, 0);
    }

    #[test]
    fn never_more_bytes_than_the_bound() {
        let mut feeder = Feeder::new();
        feeder.push(0, &[(0, KEY, 0)]);
        for index in 1..=BYTES_MAX as u64 / 60_000 + 1 {
            let mut builder = ChunkBuilder::default();
            builder.push(feeder.now, 0, NONE, &rtp(0, index as u32, 60_000)).unwrap();
            assert!(feeder.log.push(builder.flush(&stream(1), index).unwrap()));
            assert!(feeder.log.bytes <= BYTES_MAX);
        }
        assert!(feeder.log.oldest().unwrap().index() > 0);
        assert_eq!(feeder.log.join_point(), None);
    }

    #[test]
    fn rtp_info_names_the_first_packet_or_foretells_it() {
        let mut feeder = Feeder::new();
        feeder.push(0, &[(1, KEY, 1000)]);
        feeder.push(500, &[(0, NONE, 1), (0, KEY, 2)]);
        let join = feeder.log.join_point().unwrap();
        let now = feeder.now + Duration::from_millis(700);
        let info = |from, track| feeder.log.rtp_info(from, track, now);
        assert_eq!(info(join, 0), Some((SequenceNumber(2), RtpTimestamp(2))));
        let foretold = |ms: u32| Some((SequenceNumber(1), RtpTimestamp(1000 + ms * 16)));
        assert_eq!(info(join, 1), foretold(500 - 100), "at 16 kHz, as of the key frame's arrival");
        assert_eq!(info(feeder.log.head(), 1), foretold(1200 - 100), "as of now");
        assert_eq!(info(join, 2), None);
    }

    #[test]
    fn no_foretold_timestamp_lies_behind_the_packet_that_comes() {
        let mut feeder = Feeder::new();
        feeder.push(0, &[(1, KEY, 1000)]);
        feeder.push(63, &[(0, KEY, 2)]);
        let (join, now) = (feeder.log.join_point().unwrap(), feeder.now + Duration::from_millis(30));
        let foretold = feeder.log.rtp_info(join, 1, now).unwrap();
        // 1024 samples of 16 kHz are 64 ms; this packet comes 30 ms late.
        feeder.push(31, &[(1, KEY, 1000 + 1024)]);
        let came = feeder.log.rtp_info(join, 1, now).unwrap();
        assert_eq!(foretold.0, SequenceNumber(1));
        assert!(came.1.ticks_since(foretold.1) >= 0, "{foretold:?} is behind {came:?}");
    }

    #[test]
    fn the_newest_sender_report_is_at_hand() {
        let mut feeder = Feeder::new();
        let ntp = NtpTime::from(WallTime::from_micros(1_000_000_000));
        let info = SenderInfo { ssrc: Ssrc(7), ntp, rtp: RtpTimestamp(5), packets: 2, octets: 3 };
        let report = rtcp::sender_report(&info);
        let mut builder = ChunkBuilder::default();
        builder.push_beside(feeder.now, Duration::ZERO, 1, PacketFlags::RTCP, &report).unwrap();
        feeder.log.push(builder.flush(&stream(1), 0).unwrap());
        assert_eq!((feeder.log.last_report(0), feeder.log.last_report(1)), (None, Some(&info)));
    }

    #[test]
    fn gaps_new_streams_and_old_chunks_are_told_apart() {
        let mut feeder = Feeder::new();
        assert!(feeder.push(0, &[(0, KEY, 0)]) && feeder.push(1, &[(0, NONE, 1)]));
        feeder.index = 7;
        assert!(feeder.push(1, &[(0, NONE, 1)]));
        assert_eq!((feeder.log.head(), feeder.log.join_point()), (Position::at_chunk(8), None));
        feeder.index = 3;
        assert!(!feeder.push(1, &[(0, NONE, 1)]), "older than what is there");
        let mut builder = ChunkBuilder::default();
        builder.push(feeder.now, 0, KEY, &rtp(0, 0, 0)).unwrap();
        assert!(feeder.log.push(builder.flush(&stream(2), 0).unwrap()));
        assert_eq!(feeder.log.join_point(), Some(Position::at_chunk(0)));
    }
}
