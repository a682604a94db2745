//! A link side on loopback with a timetable, a clock that can be stepped, and one worker's feed.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use slotcast_admission::{Channel, LinkKey, ProgramSpec, Programs, Timetable};
use slotcast_core::{
    chunk::Chunk,
    feed::{FeedReceiver, Feeds},
    time::{Clock, Now, WallTime},
    words::{ChannelNumber, ConnectMargins, OpenLevel, ProgramId, Seats, Toll, Window},
};
use slotcast_ingest::{Ingest, IngestConfig};

use crate::client::Client;

/// How long a test waits for something before it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) const ID: &str = "reservation-of-channel4-2f6c1a";
pub(crate) const OTHER_ID: &str = "reservation-of-channel5-77ab03";

/// Calls `condition` until it gives a value.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let give_up = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < give_up, "waited in vain for {what}");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

pub(crate) struct House {
    pub(crate) ingest: Ingest,
    pub(crate) timetable: Arc<Timetable>,
    pub(crate) feed: FeedReceiver,
    stepped: Arc<Steps>,
}

/// How far the clocks were stepped, in microseconds.
#[derive(Default)]
struct Steps {
    both: AtomicU64,
    wall: AtomicU64,
}

pub(crate) fn wall(text: &str) -> WallTime {
    text.parse().unwrap()
}

/// The clock's first moment: an hour's window of channel4 and channel5 began at 10:00.
pub(crate) const OPENING: &str = "2026-11-22T10:10:00Z";

fn channel(number: u16) -> Channel {
    Channel {
        number: ChannelNumber(number),
        name: format!("channel{number}").parse().unwrap(),
        seats: Seats::new(5).unwrap(),
        class: "2Mbit/s".parse().unwrap(),
        toll: Toll(100),
        gather: Duration::ZERO,
    }
}

pub(crate) fn channels() -> Vec<Channel> {
    vec![channel(4), channel(5)]
}

pub(crate) fn program(id: u64, number: u16, start: &str, end: &str, reservation_id: &str) -> ProgramSpec {
    let window = Window::new(wall(start), wall(end)).unwrap();
    ProgramSpec {
        id: ProgramId(id),
        channel: ChannelNumber(number),
        window,
        connect: window.widened(ConnectMargins::default()),
        seats: None,
        class: None,
        title: "A test".to_owned(),
        open_level: OpenLevel::Public,
        password: None,
        link_key: LinkKey::from_reservation_id(reservation_id),
    }
}

pub(crate) fn on_air_now() -> Vec<ProgramSpec> {
    vec![
        program(1, 4, "2026-11-22T10:00:00Z", "2026-11-22T11:00:00Z", ID),
        program(2, 5, "2026-11-22T10:00:00Z", "2026-11-22T11:00:00Z", OTHER_ID),
    ]
}

impl House {
    pub(crate) fn new() -> Self {
        Self::with(|_| (), on_air_now())
    }

    pub(crate) fn with(change: impl FnOnce(&mut IngestConfig), programs: Vec<ProgramSpec>) -> Self {
        let timetable = Arc::new(Timetable::new());
        timetable.publish(channels(), programs).unwrap();
        let programs = Arc::clone(&timetable);
        Self::around(change, timetable, programs)
    }

    /// With `programs`, which asks `timetable`.
    pub(crate) fn around(
        change: impl FnOnce(&mut IngestConfig),
        timetable: Arc<Timetable>,
        programs: Arc<dyn Programs>,
    ) -> Self {
        let stepped = Arc::new(Steps::default());
        let feeds = Feeds::default();
        let receiver = feeds.subscribe(4096, || {});
        let mut config = IngestConfig {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
            rtp_ports: Some([0, 0]),
            lines: 20,
            lines_per_address: 20,
            antechamber: 256,
            antechamber_per_address: 128,
            gate_deadline: Duration::from_secs(10),
            burst: Duration::from_secs(2),
        };
        change(&mut config);
        let clock = clock(Arc::clone(&stepped));
        let ingest = Ingest::start(config, programs, feeds, clock).unwrap();
        Self { ingest, timetable, feed: receiver, stepped }
    }

    /// Lets both clocks go on by `time` at once.
    pub(crate) fn step(&self, time: Duration) {
        self.stepped.both.fetch_add(time.as_micros() as u64, Ordering::SeqCst);
    }

    /// Steps wall time alone, as an operator or NTP may: windows follow, nobody falls silent for it.
    pub(crate) fn step_wall(&self, time: Duration) {
        self.stepped.wall.fetch_add(time.as_micros() as u64, Ordering::SeqCst);
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.ingest.local_addrs()[0])
    }

    /// A link that records channel4 over TCP.
    pub(crate) fn tcp_link(&self) -> Client {
        let mut client = self.connect();
        client.record_over_tcp("channel4", ID);
        client
    }

    /// The chunks that make up the next `count` RTP packets.
    #[track_caller]
    pub(crate) fn packets(&self, count: usize) -> Vec<Packet> {
        let mut packets = Vec::new();
        wait_for("packets", || {
            self.feed.begin_drain();
            while let Some(chunk) = self.feed.pop() {
                packets.extend(rtp_of(&chunk));
            }
            (packets.len() >= count).then_some(())
        });
        assert_eq!(packets.len(), count, "no more than were sent");
        packets
    }

    /// Every chunk that is there now.
    pub(crate) fn chunks(&self) -> Vec<Arc<Chunk>> {
        self.feed.begin_drain();
        std::iter::from_fn(|| self.feed.pop()).collect()
    }

    pub(crate) fn decision(&self, label: &str) -> u64 {
        let decisions = self.ingest.stats().decisions();
        decisions.iter().find(|(of, _)| *of == label).map_or(0, |(_, count)| *count)
    }

    #[track_caller]
    pub(crate) fn wait_for_decision(&self, label: &str, count: u64) {
        wait_for(label, || (self.decision(label) >= count).then_some(()));
    }

    pub(crate) fn traffic(&self, read: impl Fn(&slotcast_ingest::Traffic) -> u64) -> u64 {
        self.ingest.stats().channels().iter().map(|(_, traffic)| read(traffic)).sum()
    }
}

/// One published RTP packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) stream: u64,
    pub(crate) chunk: u64,
    pub(crate) track: u8,
    pub(crate) bytes: Vec<u8>,
}

impl Packet {
    pub(crate) fn number(&self) -> u16 {
        u16::from_be_bytes([self.bytes[2], self.bytes[3]])
    }

    pub(crate) fn timestamp(&self) -> u32 {
        u32::from_be_bytes([self.bytes[4], self.bytes[5], self.bytes[6], self.bytes[7]])
    }

    pub(crate) fn ssrc(&self) -> u32 {
        u32::from_be_bytes([self.bytes[8], self.bytes[9], self.bytes[10], self.bytes[11]])
    }
}

fn rtp_of(chunk: &Chunk) -> Vec<Packet> {
    let rtp = chunk.packets().iter().filter(|entry| entry.is_rtp());
    rtp.map(|entry| Packet {
        stream: chunk.stream().id.0,
        chunk: chunk.index(),
        track: entry.track,
        bytes: chunk.packet(entry).to_vec(),
    })
    .collect()
}

fn clock(stepped: Arc<Steps>) -> Clock {
    let start = Instant::now();
    let opening = wall(OPENING);
    let micros = |step: &AtomicU64| Duration::from_micros(step.load(Ordering::SeqCst));
    Arc::new(move || {
        let passed = start.elapsed() + micros(&stepped.both);
        Now { mono: start + passed, wall: opening.saturating_add(passed + micros(&stepped.wall)) }
    })
}

/// An RTP packet of payload type 96 with an H.264 slice of `payload_bytes`.
pub(crate) fn rtp(ssrc: u32, number: u16, timestamp: u32, marker: bool, payload_bytes: usize) -> Vec<u8> {
    let mut packet = vec![0x80, 96 | if marker { 0x80 } else { 0 }];
    packet.extend(number.to_be_bytes());
    packet.extend(timestamp.to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.push(0x65);
    packet.resize(12 + payload_bytes, 0xaa);
    packet
}

/// Two UDP sockets on neighbouring ports of 127.0.0.1.
pub(crate) fn udp_pair() -> (UdpSocket, UdpSocket) {
    for _ in 0..64 {
        let rtp = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        let port = rtp.local_addr().unwrap().port();
        if port.is_multiple_of(2)
            && let Ok(rtcp) = UdpSocket::bind(("127.0.0.1", port + 1))
        {
            rtcp.set_read_timeout(Some(PATIENCE)).unwrap();
            return (rtp, rtcp);
        }
    }
    panic!("no two neighbouring UDP ports");
}
