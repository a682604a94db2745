//! RTP interleaved on a viewer's RTSP connection (RFC 2326 §10.12): what waits to be written, and where the viewer stands.
//!
//! Owns: partial writes. The rest of a packet that was begun is kept and always goes first, so that a viewer may jump
//! in the log at any time and its peer still sees whole frames.
//! Holds: RTSP responses go out between frames, never inside one; one write call serves all that is pending.

use std::io::{self, IoSlice, Write};

use bytes::{Buf, Bytes, BytesMut};
use mio::net::TcpStream;
use slotcast_core::log::{ChannelLog, Position};

use crate::{
    limits,
    shape::{ShapeId, Shapes, View, frame_start},
    stats::WorkerStats,
};

/// RTSP bytes and the rest of a media packet that wait for one connection.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// Rest of a packet whose beginning is sent.
    tail: Bytes,
    /// RTSP responses, and RTCP that is no part of the stream.
    control: BytesMut,
    /// Set when a packet was left unfinished: nothing more can be said on this connection.
    broken: bool,
}

/// How far a write got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// All that was offered.
    All,
    /// The socket is full; `true` when it took at least one byte.
    Full(bool),
}

impl Outbox {
    /// Lets `bytes` follow what waits; `false` when more would wait than one peer is granted.
    pub(crate) fn push_control(&mut self, bytes: &[u8]) -> bool {
        let fits = self.control.len() + bytes.len() <= limits::CONTROL_BYTES_MAX;
        if fits && !self.broken {
            self.control.extend_from_slice(bytes);
        }
        fits
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.tail.is_empty() && self.control.is_empty()
    }

    /// Forgets the rest of a packet that was begun, and with it all that was to follow: the peer's framing is lost.
    /// Returns whether there was none, so that more may be written.
    pub(crate) fn forget_tail(&mut self) -> bool {
        let whole = self.tail.is_empty();
        if !whole {
            *self = Self { broken: true, ..Self::default() };
        }
        whole
    }

    /// Writes what waits.
    pub(crate) fn flush(&mut self, stream: &mut TcpStream) -> io::Result<Written> {
        let mut any = false;
        while !self.is_empty() {
            let parts = [IoSlice::new(&self.tail), IoSlice::new(&self.control)];
            match write_some(|| stream.write_vectored(&parts))? {
                Some(count) => {
                    self.consume(count);
                    any = true;
                }
                None => return Ok(Written::Full(any)),
            }
        }
        self.control = BytesMut::new();
        Ok(Written::All)
    }

    /// Takes `count` written bytes off the front; returns how many of them were beyond this outbox.
    fn consume(&mut self, count: usize) -> usize {
        let tail = count.min(self.tail.len());
        self.tail.advance(tail);
        let control = (count - tail).min(self.control.len());
        self.control.advance(control);
        count - tail - control
    }

    /// Takes over a view of which [`write_view`] could write `count` bytes only; nothing may have waited before.
    ///
    /// Returns the place of the first packet that is not begun.
    pub(crate) fn begin(&mut self, view: View<'_>, count: usize, stats: &WorkerStats) -> u16 {
        self.account(view, 0, count, stats)
    }

    /// Notes that `count` bytes of `view` were written from the packet at `place` on; what is left of a packet that
    /// was begun becomes the tail. Returns the place of the first packet that is not begun.
    fn account(&mut self, view: View<'_>, place: u16, count: usize, stats: &WorkerStats) -> u16 {
        let written_to = frame_start(view, place) + count;
        let next = view.packets.partition_point(|packet| packet.frame_start() < written_to);
        stats.packets_sent.add((next as u64).saturating_sub(u64::from(place)));
        stats.bytes_sent.add(count as u64);
        let begun_end = next.checked_sub(1).and_then(|last| view.packets.get(last)).map_or(0, |p| p.end());
        if begun_end > written_to {
            self.tail = Bytes::copy_from_slice(&view.bytes[written_to..begun_end]);
        }
        next as u16
    }

    /// Writes what waits, and then media from `cursor` on, with as few calls as the socket allows.
    ///
    /// - `bytes_max`: media bytes at the most, rounded up to whole packets' chunks.
    ///
    /// Returns how many media bytes were taken, and whether the socket took all that was offered.
    pub(crate) fn pump(
        &mut self,
        stream: &mut TcpStream,
        source: &Source<'_>,
        cursor: &mut Position,
        bytes_max: usize,
        stats: &WorkerStats,
    ) -> io::Result<(usize, Written)> {
        let (mut media, mut any) = (0, false);
        loop {
            let mut parts = [IoSlice::new(&[]); limits::WRITE_PARTS_MAX];
            parts[0] = IoSlice::new(&self.tail);
            parts[1] = IoSlice::new(&self.control);
            let mut count = 2;
            let mut offered = 0;
            let mut index = cursor.chunk;
            while count < parts.len() && media + offered < bytes_max {
                let Some(view) = source.view(index) else { break };
                let from = if index == cursor.chunk { frame_start(view, cursor.packet) } else { 0 };
                parts[count] = IoSlice::new(&view.bytes[from..]);
                offered += view.bytes.len() - from;
                count += 1;
                index += 1;
            }
            let total = self.tail.len() + self.control.len() + offered;
            if total == 0 {
                // Nothing of these chunks is for this viewer.
                let progressed = index > cursor.chunk;
                *cursor = Position::at_chunk(index.max(cursor.chunk));
                if progressed && source.view(index).is_some() {
                    continue;
                }
                return Ok((media, Written::All));
            }
            stats.send_calls.add(1);
            let Some(written) = write_some(|| stream.write_vectored(&parts[..count]))? else {
                return Ok((media, Written::Full(any)));
            };
            any = true;
            let of_media = self.consume(written);
            media += of_media;
            self.advance(source, cursor, of_media, stats);
            if written == total {
                *cursor = (*cursor).max(Position::at_chunk(index));
            }
            if media >= bytes_max || (written == total && source.view(index).is_none()) {
                return Ok((media, Written::All));
            }
        }
    }

    fn advance(&mut self, source: &Source<'_>, cursor: &mut Position, mut count: usize, stats: &WorkerStats) {
        while count > 0 {
            let Some(view) = source.view(cursor.chunk) else { return };
            let here = view.bytes.len() - frame_start(view, cursor.packet);
            if count >= here {
                stats.packets_sent.add((view.packets.len() as u64).saturating_sub(u64::from(cursor.packet)));
                stats.bytes_sent.add(here as u64);
                stats.viewer_frames.add(1);
                *cursor = Position::at_chunk(cursor.chunk + 1);
                count -= here;
            } else {
                cursor.packet = self.account(view, cursor.packet, count, stats);
                return;
            }
        }
    }
}

/// Writes one whole view to a viewer who stands at its beginning and has nothing waiting: the way of nearly every frame to
/// nearly every viewer.
///
/// Returns how many bytes the socket took; if not all, they are not counted yet and the rest is for [`Outbox::begin`].
pub(crate) fn write_view(stream: &mut TcpStream, view: View<'_>, stats: &WorkerStats) -> io::Result<usize> {
    stats.send_calls.add(1);
    let count = write_some(|| stream.write(view.bytes))?.unwrap_or(0);
    if count == view.bytes.len() {
        stats.packets_sent.add(view.packets.len() as u64);
        stats.bytes_sent.add(count as u64);
    }
    Ok(count)
}

/// What a TCP viewer reads from: its shape's views of the log.
pub(crate) struct Source<'a> {
    pub(crate) log: &'a ChannelLog,
    pub(crate) shapes: &'a Shapes,
    pub(crate) shape: ShapeId,
}

impl<'a> Source<'a> {
    fn view(&self, index: u64) -> Option<View<'a>> {
        self.shapes.view(self.shape, self.log, index)
    }

    /// Bytes of the next chunk that the viewer has not had; 0 at the head.
    pub(crate) fn bytes_ahead(&self, cursor: Position) -> usize {
        self.view(cursor.chunk).map_or(0, |view| view.bytes.len() - frame_start(view, cursor.packet))
    }
}

/// One write that took at least a byte; `None` when the socket is full.
fn write_some(mut write: impl FnMut() -> io::Result<usize>) -> io::Result<Option<usize>> {
    loop {
        match write() {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => return Ok(Some(count)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Read,
        net::{TcpListener, TcpStream as Peer},
    };

    use slotcast_core::log::LogLimits;

    use super::*;
    use crate::test_media::chunk;

    /// A connection with small buffers, and its peer.
    fn pair() -> (TcpStream, Peer) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        peer.set_recv_buffer_size(4096).unwrap();
        peer.connect(&listener.local_addr().unwrap().into()).unwrap();
        let (stream, _) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        socket2::SockRef::from(&stream).set_send_buffer_size(4096).unwrap();
        (TcpStream::from_std(stream), peer.into())
    }

    fn log(chunks: u64) -> ChannelLog {
        let mut log = ChannelLog::new(LogLimits::default());
        (0..chunks).for_each(|index| _ = log.push(chunk(index, &[(0, 1200), (0, 700), (1, 90)])));
        log
    }

    /// Splits what the peer got into `$` frames (their lengths) and RTSP text.
    fn frames(mut bytes: &[u8]) -> (Vec<usize>, String) {
        let (mut lengths, mut text) = (Vec::new(), String::new());
        while let Some((&first, rest)) = bytes.split_first() {
            if first == b'$' {
                let length = usize::from(u16::from_be_bytes([bytes[2], bytes[3]]));
                lengths.push(length);
                bytes = &bytes[4 + length..];
            } else {
                text.push(char::from(first));
                bytes = rest;
            }
        }
        (lengths, text)
    }

    #[test]
    fn a_slow_peer_gets_whole_frames_though_every_write_is_partial() {
        let ((mut stream, mut peer), log, stats) = (pair(), log(200), WorkerStats::default());
        let (shapes, mut outbox) = (Shapes::default(), Outbox::default());
        let source = Source { log: &log, shapes: &shapes, shape: ShapeId::Canonical };
        let (mut cursor, mut got, mut buffer) = (Position::at_chunk(0), Vec::new(), [0; 3000]);
        let mut said = 0;
        for _ in 0..100_000 {
            let (_, written) = outbox.pump(&mut stream, &source, &mut cursor, 10_000, &stats).unwrap();
            if said < 3 && matches!(written, Written::Full(_)) {
                said += usize::from(outbox.push_control(b"RTSP"));
            }
            if cursor == log.head() && outbox.is_empty() {
                break;
            }
            let count = peer.read(&mut buffer).unwrap();
            got.extend_from_slice(&buffer[..count]);
        }
        drop(stream);
        peer.read_to_end(&mut got).unwrap();
        let (lengths, text) = frames(&got);
        assert_eq!(lengths, [1200, 700, 90].repeat(200));
        assert_eq!(text, "RTSPRTSPRTSP");
        assert_eq!(stats.packets_sent.value(), 600);
    }

    #[test]
    fn a_viewer_may_jump_in_the_middle_of_a_packet() {
        let ((mut stream, mut peer), log, stats) = (pair(), log(100), WorkerStats::default());
        let (shapes, mut outbox) = (Shapes::default(), Outbox::default());
        let source = Source { log: &log, shapes: &shapes, shape: ShapeId::Canonical };
        let mut cursor = Position::at_chunk(0);
        outbox.pump(&mut stream, &source, &mut cursor, 1 << 20, &stats).unwrap();
        assert!(cursor < log.head());
        cursor = Position::at_chunk(99);
        let (mut got, mut buffer) = (Vec::new(), [0; 3000]);
        while cursor != log.head() || !outbox.is_empty() {
            let count = peer.read(&mut buffer).unwrap();
            got.extend_from_slice(&buffer[..count]);
            outbox.pump(&mut stream, &source, &mut cursor, 1 << 20, &stats).unwrap();
        }
        drop(stream);
        peer.read_to_end(&mut got).unwrap();
        let (lengths, _) = frames(&got);
        assert!(lengths.ends_with(&[1200, 700, 90]) && lengths.len() < 300, "{}", lengths.len());
    }

    #[test]
    fn a_live_write_is_one_call_and_allocates_nothing() {
        let ((mut stream, _peer), log, stats) = (pair(), log(1), WorkerStats::default());
        let shapes = Shapes::default();
        let view = shapes.view(ShapeId::Canonical, &log, 0).unwrap();
        let mut written = 0;
        let allocations = allocation_counter::measure(|| {
            written = write_view(&mut stream, view, &stats).unwrap();
        });
        assert_eq!(written, view.bytes.len());
        assert_eq!((allocations.count_total, stats.send_calls.value()), (0, 1));
    }
}
