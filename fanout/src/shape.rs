//! How a TCP viewer's frames look: which tracks, on which interleaved channels.
//!
//! Owns: re-framed copies of chunks, made once per worker and shape, not per viewer.
//! Holds: viewers of all tracks on the canonical channels read the chunks themselves, nothing is copied for them.

use std::{collections::VecDeque, sync::Arc};

use crate::limits;
use bytes::{BufMut, Bytes, BytesMut};
use slotcast_core::{
    chunk::Chunk,
    log::{ChannelLog, Position},
    media::TRACKS_MAX,
    packet::{FRAME_HEADER_BYTES, PacketEntry},
};

/// Interleaved channels (RTP, RTCP) per track; `None` for tracks that the viewer did not set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape(pub(crate) [Option<(u8, u8)>; TRACKS_MAX]);

impl Shape {
    /// Whether a chunk of a stream of `tracks` tracks can be sent as it is.
    fn is_canonical(self, tracks: usize) -> bool {
        self.0.iter().enumerate().all(|(track, channels)| {
            *channels == (track < tracks).then_some((2 * track as u8, 2 * track as u8 + 1))
        })
    }
}

/// Names a shape within one program on one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShapeId {
    /// Chunks as they are.
    Canonical,
    /// The re-framed views at this place.
    Reframed(usize),
}

/// A chunk as a viewer of some shape sees it.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) bytes: &'a Bytes,
    pub(crate) packets: &'a [PacketEntry],
}

#[derive(Debug)]
struct Reframed {
    bytes: Bytes,
    packets: Vec<PacketEntry>,
    /// Places in the chunk of the packets above.
    origins: Vec<u16>,
}

impl Reframed {
    fn of(chunk: &Chunk, shape: Shape) -> Self {
        let mut bytes = BytesMut::with_capacity(chunk.bytes().len());
        let (mut packets, mut origins) = (Vec::new(), Vec::new());
        for (place, entry) in (0u16..).zip(chunk.packets()) {
            let Some((rtp, rtcp)) = shape.0[usize::from(entry.track)] else { continue };
            bytes.put_u8(b'$');
            bytes.put_u8(if entry.is_rtp() { rtp } else { rtcp });
            bytes.put_u16(entry.length);
            packets.push(PacketEntry { offset: bytes.len() as u32, ..*entry });
            origins.push(place);
            bytes.put_slice(chunk.packet(entry));
        }
        Self { bytes: bytes.freeze(), packets, origins }
    }
}

#[derive(Debug)]
struct Views {
    shape: Shape,
    viewers: usize,
    /// Chunks that came since the last viewer left: the views stay for a while, for who pauses and plays again.
    idle_chunks: u32,
    first: u64,
    views: VecDeque<Reframed>,
}

impl Views {
    /// Views of what the log holds from where new viewers start.
    fn new(shape: Shape, log: &ChannelLog) -> Self {
        let first = log.join_point().unwrap_or_else(|| log.head()).chunk;
        let mut views = Self { shape, viewers: 0, idle_chunks: 0, first, views: VecDeque::new() };
        let mut index = first;
        while let Some(chunk) = log.chunk(index) {
            views.push(chunk);
            index += 1;
        }
        views
    }

    fn push(&mut self, chunk: &Chunk) {
        if self.first + self.views.len() as u64 != chunk.index() {
            self.views.clear();
            self.first = chunk.index();
        }
        self.views.push_back(Reframed::of(chunk, self.shape));
    }

    fn trim(&mut self, oldest: u64) {
        while self.first < oldest && self.views.pop_front().is_some() {
            self.first += 1;
        }
    }

    fn view(&self, index: u64) -> Option<&Reframed> {
        self.views.get(usize::try_from(index.checked_sub(self.first)?).ok()?)
    }
}

/// The shapes in use by the viewers of one program on this worker.
#[derive(Debug, Default)]
pub(crate) struct Shapes(Vec<Views>);

impl Shapes {
    /// Counts one more viewer of `shape`; its views are made if there are none. `None`: too many shapes are in use.
    pub(crate) fn enter(&mut self, shape: Shape, tracks: usize, log: &ChannelLog) -> Option<ShapeId> {
        if shape.is_canonical(tracks) {
            return Some(ShapeId::Canonical);
        }
        let place = match self.0.iter().position(|views| views.shape == shape) {
            Some(known) => known,
            None => {
                let views = Views::new(shape, log);
                match self.0.iter().position(|views| views.viewers == 0) {
                    Some(free) => {
                        self.0[free] = views;
                        free
                    }
                    None if self.0.len() < limits::SHAPES_MAX => {
                        self.0.push(views);
                        self.0.len() - 1
                    }
                    None => return None,
                }
            }
        };
        let views = &mut self.0[place];
        if views.views.is_empty() {
            *views = Views::new(shape, log);
        }
        views.viewers += 1;
        Some(ShapeId::Reframed(place))
    }

    /// Counts one viewer less.
    pub(crate) fn leave(&mut self, id: ShapeId) {
        if let ShapeId::Reframed(place) = id
            && let Some(views) = self.0.get_mut(place)
        {
            views.viewers = views.viewers.saturating_sub(1);
            views.idle_chunks = 0;
        }
    }

    /// Follows the log, which has just taken `chunk`.
    pub(crate) fn push(&mut self, chunk: &Arc<Chunk>, log: &ChannelLog) {
        let oldest = log.oldest().map_or(0, |chunk| chunk.index());
        for views in &mut self.0 {
            if views.viewers == 0 {
                views.idle_chunks += 1;
                if views.idle_chunks >= limits::IDLE_SHAPE_CHUNKS_MAX || views.views.is_empty() {
                    views.views.clear();
                    continue;
                }
            }
            views.push(chunk);
            views.trim(oldest);
        }
    }

    /// The chunk `index` as viewers of `id` see it; `None` when the log no longer or not yet has it.
    pub(crate) fn view<'a>(&'a self, id: ShapeId, log: &'a ChannelLog, index: u64) -> Option<View<'a>> {
        match id {
            ShapeId::Canonical => {
                log.chunk(index).map(|chunk| View { bytes: chunk.bytes(), packets: chunk.packets() })
            }
            ShapeId::Reframed(place) => {
                let view = self.0.get(place)?.view(index)?;
                Some(View { bytes: &view.bytes, packets: &view.packets })
            }
        }
    }

    /// A position in the log as a position in the views of `id`.
    pub(crate) fn translate(&self, id: ShapeId, position: Position) -> Position {
        let ShapeId::Reframed(place) = id else { return position };
        let view = self.0.get(place).and_then(|views| views.view(position.chunk));
        let packet = view.map_or(0, |view| view.origins.partition_point(|&o| o < position.packet) as u16);
        Position { chunk: position.chunk, packet }
    }

    /// A position in the views of `id` as a position in the log: the way back from [`translate`](Self::translate).
    pub(crate) fn origin(&self, id: ShapeId, position: Position) -> Position {
        let ShapeId::Reframed(place) = id else { return position };
        let view = self.0.get(place).and_then(|views| views.view(position.chunk));
        match view.and_then(|view| view.origins.get(usize::from(position.packet))) {
            Some(&packet) => Position { chunk: position.chunk, packet },
            None if position.packet == 0 => position,
            None => Position::at_chunk(position.chunk + 1),
        }
    }
}

/// Where the frame of the packet at `place` begins; the end of the view when there is none.
pub(crate) fn frame_start(view: View<'_>, place: u16) -> usize {
    view.packets.get(usize::from(place)).map_or(view.bytes.len(), |p| p.offset as usize - FRAME_HEADER_BYTES)
}

#[cfg(test)]
mod tests {
    use slotcast_core::log::LogLimits;

    use super::*;
    use crate::test_media::chunk;

    fn log(chunks: u64) -> ChannelLog {
        let mut log = ChannelLog::new(LogLimits::default());
        (0..chunks).for_each(|index| _ = log.push(chunk(index, &[(0, 50), (1, 20), (0, 60)])));
        log
    }

    #[test]
    fn all_tracks_on_canonical_channels_are_the_chunk_itself() {
        let (mut shapes, log) = (Shapes::default(), log(1));
        let id = shapes.enter(Shape([Some((0, 1)), Some((2, 3)), None, None]), 2, &log).unwrap();
        assert_eq!(id, ShapeId::Canonical);
        let view = shapes.view(id, &log, 0).unwrap();
        assert_eq!(view.bytes.as_ptr(), log.chunk(0).unwrap().bytes().as_ptr());
    }

    #[test]
    fn fewer_tracks_on_other_channels_are_framed_anew_once() {
        let (mut shapes, mut log) = (Shapes::default(), log(2));
        let shape = Shape([None, Some((6, 7)), None, None]);
        let id = shapes.enter(shape, 2, &log).unwrap();
        assert_eq!(shapes.enter(shape, 2, &log), Some(id));
        let next = chunk(2, &[(1, 30)]);
        log.push(Arc::clone(&next));
        shapes.push(&next, &log);
        for (index, length) in [(1, 20), (2, 30)] {
            let view = shapes.view(id, &log, index).unwrap();
            assert_eq!(&view.bytes[..4], &[b'$', 6, 0, length]);
            assert_eq!((view.packets.len(), view.bytes.len()), (1, 4 + usize::from(length)));
        }
        assert!(shapes.view(id, &log, 3).is_none());
        assert!(shapes.view(id, &log, 0).is_none(), "nobody starts before the newest key frame");
        assert_eq!(shapes.translate(id, Position { chunk: 1, packet: 2 }), Position { chunk: 1, packet: 1 });
        let origin = |chunk, packet| shapes.origin(id, Position { chunk, packet });
        assert_eq!(origin(1, 0), Position { chunk: 1, packet: 1 });
        assert_eq!([origin(1, 1), origin(3, 0)], [Position::at_chunk(2), Position::at_chunk(3)]);
        shapes.leave(id);
        shapes.leave(id);
        for index in 3..3 + u64::from(limits::IDLE_SHAPE_CHUNKS_MAX) {
            let next = chunk(index, &[(1, 30)]);
            log.push(Arc::clone(&next));
            shapes.push(&next, &log);
        }
        assert!(shapes.view(id, &log, 3).is_none(), "nobody reads it, nothing is kept");
    }

    #[test]
    fn there_are_only_so_many_shapes_at_once() {
        let (mut shapes, log) = (Shapes::default(), log(1));
        let shape = |channel: usize| Shape([Some((channel as u8, 255)), None, None, None]);
        for channel in 0..limits::SHAPES_MAX {
            assert!(shapes.enter(shape(channel), 2, &log).is_some());
        }
        assert_eq!(shapes.enter(shape(200), 2, &log), None);
        shapes.leave(ShapeId::Reframed(3));
        assert_eq!(shapes.enter(shape(200), 2, &log), Some(ShapeId::Reframed(3)));
    }
}
