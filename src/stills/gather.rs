//! The thread that keeps whole key pictures of what comes in.
//!
//! Owns: which programs are due, and one picture at a time of each.
//! Not here: what a picture is made of (`slotcast_media::still`).
//! Invariant: chunks wake nobody here, unless very many wait: the thread looks four times a second.

use std::{
    collections::{HashMap, HashSet},
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::SyncSender,
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use slotcast_core::{
    chunk::Chunk,
    feed::{FeedReceiver, Feeds},
    media::{Codec, MediaKind, Stream, StreamId},
    rtp::RtpPacket,
    time::Now,
    words::ProgramId,
};
use slotcast_media::{
    decoders::described_sets,
    still::{PictureTaker, stream_of_sets},
};

use super::{Picture, STILL_EVERY, Shelf, begin};

/// How often the thread looks what has come.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Chunks that wait for it: a quarter of a second of a thousand programs.
const CHUNKS_MAX: usize = 16_384;
/// A program that may show no still, or found no place in the queue, is asked about again after this.
const RETRY_EVERY: Duration = Duration::from_secs(1);
/// A program that nothing comes of is forgotten after this.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// Starts the thread.
pub(super) fn start(
    feeds: &Feeds,
    shelf: Arc<Shelf>,
    pictures: SyncSender<Picture>,
    is_over: Arc<AtomicBool>,
) -> io::Result<JoinHandle<()>> {
    let feeds = feeds.clone();
    begin("slotcast-stills", move || {
        let this = std::thread::current();
        let receiver = feeds.subscribe(CHUNKS_MAX, move || this.unpark());
        receiver.watch(HashSet::new());
        Gatherer { receiver, shelf, pictures, is_over, sources: HashMap::new() }.run();
    })
}

struct Gatherer {
    receiver: FeedReceiver,
    shelf: Arc<Shelf>,
    pictures: SyncSender<Picture>,
    is_over: Arc<AtomicBool>,
    sources: HashMap<ProgramId, Source>,
}

/// One program's picture track.
struct Source {
    stream: StreamId,
    /// `None`: the stream has no track of which pictures are taken.
    track: Option<(usize, PictureTaker)>,
    due: Instant,
    last: Instant,
}

impl Gatherer {
    fn run(mut self) {
        while !self.is_over.load(Ordering::Relaxed) {
            std::thread::park_timeout(LOOK_EVERY);
            self.receiver.begin_drain();
            let now = (self.shelf.clock)();
            while let Some(chunk) = self.receiver.pop() {
                self.take(&chunk, now);
            }
            self.sources.retain(|_, source| now.mono.duration_since(source.last) < SILENCE_MAX);
            self.shelf.clear_away();
        }
    }

    fn take(&mut self, chunk: &Chunk, now: Now) {
        let stream = chunk.stream();
        let source = self.sources.entry(stream.program).or_insert_with(|| Source::new(stream, now.mono));
        if source.stream != stream.id {
            *source = Source { due: source.due, ..Source::new(stream, now.mono) };
        }
        source.last = now.mono;
        let Some((track, taker)) = &mut source.track else { return };
        if source.due <= now.mono && !self.shelf.may_show(stream.program, now) {
            source.due = now.mono + RETRY_EVERY;
        }
        for entry in chunk.packets() {
            if !entry.is_rtp() || usize::from(entry.track) != *track {
                continue;
            }
            let Some(packet) = RtpPacket::parse(chunk.packet(entry)) else { continue };
            let Some(units) = taker.take(&packet, entry.flags, source.due <= now.mono) else { continue };
            let is_taken = self.pictures.try_send(picture(stream, *track, &units)).is_ok();
            source.due = now.mono + if is_taken { STILL_EVERY } else { RETRY_EVERY };
        }
    }
}

impl Source {
    fn new(stream: &Stream, now: Instant) -> Self {
        let mut tracks = stream.tracks.iter().enumerate();
        let track = tracks.find_map(|(index, track)| {
            (track.kind == MediaKind::Video)
                .then(|| PictureTaker::new(track.codec))
                .flatten()
                .map(|taker| (index, taker))
        });
        Self { stream: stream.id, track, due: now, last: now }
    }
}

/// - `units`: of one picture.
fn picture(stream: &Stream, track: usize, units: &[u8]) -> Picture {
    let described = stream.description.media.get(track).map(|media| described_sets(media));
    let mut bytes = stream_of_sets(&described.unwrap_or_default());
    bytes.extend_from_slice(units);
    let codec = stream.tracks.get(track).map_or(Codec::Other, |track| track.codec);
    Picture { program: stream.program, codec, stream: bytes }
}
