//! Chunks, programs, clocks and sockets of memory to test with.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    io::{self, IoSlice, Write},
    net::SocketAddr,
    num::NonZeroU32,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use slotcast_admission::{Channel, Gate, LinkKey, Program, Programs};
use slotcast_core::{
    chunk::{Chunk, ChunkBuilder},
    media::{Codec, Description, MediaKind, Stream, StreamId, Track},
    packet::PacketFlags,
    time::{Clock, Now, WallTime},
    words::{ChannelNumber, OpenLevel, ProgramId, Seats, Toll, Window},
};
use slotcast_net::sys::Outgoing;

use crate::ports::{Datagrams, Net};

pub(crate) const PROGRAM: ProgramId = ProgramId(1);
/// Seconds of the program.
pub(crate) const SECONDS: u64 = 60;

/// A stream of one H.264 and one audio track.
pub(crate) fn stream(id: u64, program: ProgramId) -> Arc<Stream> {
    let track = |kind, codec, pt| Track {
        kind,
        codec,
        payload_types: vec![pt],
        clock_rate: NonZeroU32::new(90_000).unwrap(),
    };
    Arc::new(Stream {
        id: StreamId(id),
        program,
        tracks: vec![track(MediaKind::Video, Codec::H264, 96), track(MediaKind::Audio, Codec::Audio, 97)],
        description: Description { title: String::new(), media: vec![String::new(); 2] },
    })
}

/// A chunk of packets given as (track, packet bytes), which came at `arrival`; every packet is filled with its place, its
/// sequence number is `100 * index + place`.
pub(crate) fn chunk_of(
    stream: &Arc<Stream>,
    index: u64,
    arrival: Instant,
    is_key: bool,
    packets: &[(u8, usize)],
) -> Arc<Chunk> {
    let mut builder = ChunkBuilder::default();
    for (place, &(track, bytes)) in packets.iter().enumerate() {
        let mut packet = vec![place as u8; bytes.max(12)];
        packet[..2].copy_from_slice(&[0x80, 96 + track]);
        packet[2..4].copy_from_slice(&((index * 100) as u16 + place as u16).to_be_bytes());
        packet[4..8].copy_from_slice(&(3000 * index as u32).to_be_bytes());
        let flags = if is_key || track == 1 { PacketFlags::KEY } else { PacketFlags::EMPTY };
        builder.push(arrival, track, flags, &packet).unwrap();
    }
    builder.flush(stream, index).unwrap()
}

/// Time that passes when a test says so, and by `step` with each look.
#[derive(Clone)]
pub(crate) struct TestClock {
    began: Instant,
    micros: Arc<AtomicI64>,
    step: Arc<AtomicI64>,
}

impl TestClock {
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), micros: Arc::default(), step: Arc::default() }
    }

    pub(crate) fn pass(&self, time: Duration) {
        self.micros.fetch_add(time.as_micros() as i64, Ordering::Relaxed);
    }

    pub(crate) fn step(&self, micros: i64) {
        self.step.store(micros, Ordering::Relaxed);
    }

    pub(crate) fn now(&self) -> Now {
        let micros = self.micros.load(Ordering::Relaxed);
        let mono = self.began + Duration::from_micros(micros as u64);
        Now { mono, wall: WallTime::from_micros(1_800_000_000_000_000 + micros) }
    }

    pub(crate) fn clock(&self) -> Clock {
        let clock = self.clone();
        Arc::new(move || {
            clock.micros.fetch_add(clock.step.load(Ordering::Relaxed), Ordering::Relaxed);
            clock.now()
        })
    }
}

/// Programs that run for [`SECONDS`] from now on, with `seats` each.
pub(crate) struct TestPrograms(Vec<Arc<Program>>);

impl TestPrograms {
    pub(crate) fn new(now: Now, ids: &[ProgramId], seats: u32) -> Self {
        let end = now.wall.saturating_add(Duration::from_secs(SECONDS));
        let window = Window::new(now.wall, end).unwrap();
        let seats = Seats::new(seats).unwrap();
        let program = |id: &ProgramId| {
            let channel = Channel {
                number: ChannelNumber(id.0 as u16),
                name: format!("ch{}", id.0).parse().unwrap(),
                seats,
                class: "8Mbit/s".parse().unwrap(),
                toll: Toll(0),
                gather: Duration::ZERO,
            };
            Arc::new(Program {
                id: *id,
                channel: Arc::new(channel),
                window,
                connect: window,
                seats,
                class: "8Mbit/s".parse().unwrap(),
                title: String::new(),
                open_level: OpenLevel::Public,
                password: None,
                link_key: LinkKey::from_reservation_id("id"),
                gate: Arc::new(Gate::new(seats, end)),
            })
        };
        Self(ids.iter().map(program).collect())
    }
}

impl Programs for TestPrograms {
    fn channel(&self, _name: &str) -> Option<Arc<Channel>> {
        None
    }

    fn on_air(&self, _name: &str, _at: WallTime) -> Option<Arc<Program>> {
        None
    }

    fn connectable(&self, _name: &str, _at: WallTime) -> Vec<Arc<Program>> {
        Vec::new()
    }

    fn of_link(&self, _key: &[u8; 32]) -> Vec<Arc<Program>> {
        Vec::new()
    }

    fn program(&self, id: ProgramId) -> Option<Arc<Program>> {
        self.0.iter().find(|program| program.id == id).cloned()
    }

    fn channels(&self) -> Vec<Arc<Channel>> {
        Vec::new()
    }

    fn programs(&self) -> Vec<Arc<Program>> {
        self.0.clone()
    }
}

/// Sockets of memory, which take bytes when a test likes.
pub(crate) struct Memory;

impl Net for Memory {
    type Stream = Pipe;
    type Datagrams = Post;
}

/// What a pipe or a port took, and when.
pub(crate) type Taken<T> = Rc<RefCell<Vec<(Now, T)>>>;

/// A connection's socket.
#[derive(Clone)]
pub(crate) struct Pipe {
    pub(crate) clock: TestClock,
    /// Bytes that it takes until it is full.
    pub(crate) room: Rc<Cell<usize>>,
    pub(crate) taken: Taken<Vec<u8>>,
}

impl Pipe {
    pub(crate) fn new(clock: &TestClock, room: usize) -> Self {
        Self { clock: clock.clone(), room: Rc::new(Cell::new(room)), taken: Rc::default() }
    }

    /// All that was taken.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.taken.borrow().iter().flat_map(|(_, bytes)| bytes.clone()).collect()
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let offered: Vec<u8> = parts.iter().flat_map(|part| part.to_vec()).collect();
        let count = offered.len().min(self.room.get());
        if count == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.room.set(self.room.get() - count);
        self.taken.borrow_mut().push((self.clock.now(), offered[..count].to_vec()));
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Datagrams, and when they were taken.
type Mail = Vec<(Now, Vec<u8>)>;

/// A worker's UDP ports.
pub(crate) struct Post {
    pub(crate) clock: TestClock,
    /// Messages that they take until they are full.
    pub(crate) room: Rc<Cell<usize>>,
    /// The error of the next sends, and how often it comes.
    pub(crate) failing: Rc<Cell<(i32, u32)>>,
    /// By receiver: the datagrams.
    pub(crate) taken: Rc<RefCell<HashMap<SocketAddr, Mail>>>,
    /// Calls that were made.
    pub(crate) calls: Rc<Cell<usize>>,
}

impl Post {
    pub(crate) fn new(clock: &TestClock, room: usize) -> Self {
        Self {
            clock: clock.clone(),
            room: Rc::new(Cell::new(room)),
            failing: Rc::default(),
            taken: Rc::default(),
            calls: Rc::default(),
        }
    }

    pub(crate) fn share(&self) -> Self {
        Self {
            clock: self.clock.clone(),
            room: Rc::clone(&self.room),
            failing: Rc::clone(&self.failing),
            taken: Rc::clone(&self.taken),
            calls: Rc::clone(&self.calls),
        }
    }

    /// Lengths of the datagrams that came to `to`.
    pub(crate) fn lengths(&self, to: SocketAddr) -> Vec<usize> {
        self.taken.borrow().get(&to).into_iter().flatten().map(|(_, datagram)| datagram.len()).collect()
    }
}

impl Datagrams for Post {
    fn send(&mut self, _rtcp: bool, messages: &[Outgoing<'_>]) -> io::Result<usize> {
        self.calls.set(self.calls.get() + 1);
        if let (errno, left @ 1..) = self.failing.get() {
            self.failing.set((errno, left - 1));
            return Err(io::Error::from_raw_os_error(errno));
        }
        let count = messages.len().min(self.room.get());
        if count == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.room.set(self.room.get() - count);
        for message in &messages[..count] {
            let bytes: Vec<u8> = message.parts.iter().flat_map(|part| part.to_vec()).collect();
            let size = message.segment_bytes.map_or(bytes.len(), usize::from).max(1);
            let mut taken = self.taken.borrow_mut();
            let at = taken.entry(message.to.address()).or_default();
            at.extend(bytes.chunks(size).map(|datagram| (self.clock.now(), datagram.to_vec())));
        }
        Ok(count)
    }
}
