//! Receivers that read as viewers do: one thread for any number of sockets, on a core of its own.
//!
//! Owns: reading (UDP: joined datagrams, several with one call; TCP: large reads), cutting out packets, counting them.
//! Invariant: packets count by the moment at which they were to be sent, so what is on its way at either end of a
//! measurement is neither lost nor counted twice; a packet that comes twice counts once. A TCP receiver has talked to its sender before: one that never sent a byte would
//! acknowledge at once, in the receiving half of the sender's own call, and change what is measured. Of several, none
//! waits for its socket while media flows: it would be woken by the sender's own call, on the sender's time. Viewers on
//! other machines cost no sender a wake-up, and whether the thread sleeps between two sends depends on which of the two
//! is a little faster, so that any difference between two senders would count several times. One alone waits: there
//! latency is what is asked for, to less than the distance of two looks.

use std::{
    io::{self, Read},
    net::UdpSocket,
    num::NonZeroU64,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token};
use rustix::thread::set_current_timer_slack;
use slotcast_core::rtp::RtpPacket;
use socket2::SockRef;

use slotcast_net::clock::monotonic_nanos;
use slotcast_tools::{
    datagrams::{Datagrams, join_datagrams},
    drops::udp_drops,
    histogram::Histogram,
    shape::{AUDIO_TYPE, read_stamp},
    watch::Sequence,
};

/// What a receiver may have unread in the kernel: many frames, so that loss is the sender's or the machine's.
const RECEIVE_BUFFER_BYTES: usize = 1 << 20;
const READ_BYTES: usize = 256 * 1024;
/// The thread looks this often at several sockets while media flows; so much may be added to a latency.
const NAP: Duration = Duration::from_micros(200);
/// ... and so much later, as threads usually are, whoever started this one.
const TIMER_SLACK: Option<NonZeroU64> = NonZeroU64::new(50_000);
/// Media flows as long as something came within this time: more than the distance of two frames.
const AWAKE: Duration = Duration::from_millis(100);
/// How soon the thread sees that it is to end.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Name of the thread.
pub(super) const THREAD: &str = "load-receive";

/// One receiver's socket; over UDP one of its tracks. Whatever keeps its session alive goes with it.
pub enum Socket {
    /// RTP over UDP, and what must stay open meanwhile.
    Udp {
        /// RTP arrives here.
        rtp: UdpSocket,
        /// The viewer's RTCP sockets and its control connection; with its first track.
        kept: Option<(Vec<UdpSocket>, std::net::TcpStream)>,
    },
    /// `$` frames.
    Tcp {
        /// The connection.
        stream: std::net::TcpStream,
        /// What was read already and belongs to it.
        begun: Vec<u8>,
    },
}

/// The receiving end of one measurement.
pub struct Receivers {
    window: Arc<Window>,
    thread: JoinHandle<io::Result<Received>>,
}

#[derive(Default)]
struct Window {
    from: AtomicU64,
    to: AtomicU64,
    packets: AtomicU64,
    stop: AtomicBool,
}

/// What was received of the packets that were sent in the window.
#[derive(Debug, Default)]
pub struct Received {
    /// Packets, in all.
    pub packets: u64,
    /// Their bytes, without framing.
    pub bytes: u64,
    /// Of the receiver that got the fewest.
    pub least: u64,
    /// Of the receiver that got the most.
    pub most: u64,
    /// From the stamp to the moment at which the receiver had the packet in hand; pictures, sound.
    pub latency: [Histogram; 2],
    /// Packets that came again.
    pub duplicates: u64,
    /// Datagrams that the kernel dropped at these receivers' sockets; `None`: it does not tell.
    pub udp_drops: Option<u64>,
}

impl Receivers {
    /// Starts the thread on `core`. Nothing counts yet.
    ///
    /// # Errors
    /// The core is not there, or a socket cannot be watched.
    pub fn start(sockets: Vec<Socket>, core: usize) -> io::Result<Self> {
        let window = Arc::new(Window { from: AtomicU64::new(u64::MAX), ..Window::default() });
        let shared = Arc::clone(&window);
        let mut reader = Reader::new(sockets, shared)?;
        let thread = std::thread::Builder::new().name(THREAD.to_owned()).spawn(move || {
            slotcast_net::process::pin(core)?;
            set_current_timer_slack(TIMER_SLACK)?;
            reader.run()?;
            Ok(reader.received())
        })?;
        Ok(Self { window, thread })
    }

    /// Packets sent from now on count.
    pub fn begin(&self) {
        self.window.to.store(u64::MAX, Ordering::Relaxed);
        self.window.from.store(monotonic_nanos(), Ordering::Release);
    }

    /// Packets sent from now on count no more.
    pub fn end(&self) {
        self.window.to.store(monotonic_nanos(), Ordering::Release);
    }

    /// Counted so far; brought up to date every time the thread has read all that was there.
    pub fn packets(&self) -> u64 {
        self.window.packets.load(Ordering::Relaxed)
    }

    /// Ends the thread and returns what it counted.
    ///
    /// # Errors
    /// Its poll failed.
    pub fn finish(self) -> io::Result<Received> {
        self.window.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| io::Error::other("the receiving thread ended in a defect"))?
    }
}

/// The sequence numbers of video and audio.
type Numbers = [Sequence; 2];

enum Source {
    Udp { socket: UdpSocket, _kept: Option<(Vec<UdpSocket>, std::net::TcpStream)> },
    Tcp { stream: std::net::TcpStream, begun: Vec<u8>, open: bool },
}

struct Reader {
    poll: Poll,
    sources: Vec<Source>,
    counts: Vec<u64>,
    numbers: Vec<Numbers>,
    window: Arc<Window>,
    tally: Received,
    datagrams: Datagrams,
    bytes: Vec<u8>,
}

impl Reader {
    fn new(sockets: Vec<Socket>, window: Arc<Window>) -> io::Result<Self> {
        use std::os::fd::AsRawFd;
        let poll = Poll::new()?;
        let mut sources = Vec::with_capacity(sockets.len());
        for (place, socket) in sockets.into_iter().enumerate() {
            let source = match socket {
                Socket::Udp { rtp, kept } => {
                    rtp.set_nonblocking(true)?;
                    Source::Udp { socket: rtp, _kept: kept }
                }
                Socket::Tcp { stream, begun } => {
                    stream.set_nonblocking(true)?;
                    Source::Tcp { stream, begun, open: true }
                }
            };
            let descriptor = match &source {
                Source::Udp { socket, .. } => socket.as_raw_fd(),
                Source::Tcp { stream, .. } => stream.as_raw_fd(),
            };
            let mut watched = mio::unix::SourceFd(&descriptor);
            poll.registry().register(&mut watched, Token(place), Interest::READABLE)?;
            sources.push(source);
        }
        Ok(Self {
            poll,
            counts: vec![0; sources.len()],
            numbers: vec![Numbers::default(); sources.len()],
            sources,
            window,
            tally: Received::default(),
            datagrams: Datagrams::default(),
            bytes: vec![0; READ_BYTES],
        })
    }

    fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        // What came before the sockets were watched.
        (0..self.sources.len()).for_each(|place| self.read(place));
        let mut came_at = Instant::now();
        while !self.window.stop.load(Ordering::Relaxed) {
            let flows = self.sources.len() > 1 && came_at.elapsed() < AWAKE;
            match self.poll.poll(&mut events, Some(if flows { Duration::ZERO } else { LOOK_EVERY })) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            if !events.is_empty() {
                came_at = Instant::now();
            } else if flows {
                std::thread::sleep(NAP);
            }
            events.iter().for_each(|event| self.read(event.token().0));
            self.window.packets.store(self.tally.packets, Ordering::Relaxed);
        }
        Ok(())
    }

    fn read(&mut self, place: usize) {
        let window = (self.window.from.load(Ordering::Acquire), self.window.to.load(Ordering::Acquire));
        let (own, numbers) = (&mut self.counts[place], &mut self.numbers[place]);
        let mut count = Count { tally: &mut self.tally, own, numbers, window };
        match &mut self.sources[place] {
            Source::Udp { socket, .. } => {
                while let Ok(more) = self.datagrams.read(socket) {
                    let now = monotonic_nanos();
                    self.datagrams.all().for_each(|packet| count.packet(packet, now));
                    if !more {
                        break;
                    }
                }
            }
            Source::Tcp { open: false, .. } => {}
            Source::Tcp { stream, begun, open } => {
                while *open {
                    match stream.read(&mut self.bytes) {
                        Ok(0) => *open = false,
                        Ok(length) => count.frames(begun, &self.bytes[..length]),
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        Err(_) => *open = false,
                    }
                }
            }
        }
    }

    fn received(&mut self) -> Received {
        let mut tally = std::mem::take(&mut self.tally);
        tally.least = self.counts.iter().copied().min().unwrap_or(0);
        tally.most = self.counts.iter().copied().max().unwrap_or(0);
        tally.udp_drops = udp_drops(self.sources.iter().filter_map(|source| match source {
            Source::Udp { socket, .. } => Some(socket),
            Source::Tcp { .. } => None,
        }));
        tally
    }
}

struct Count<'a> {
    tally: &'a mut Received,
    own: &'a mut u64,
    numbers: &'a mut Numbers,
    window: (u64, u64),
}

impl Count<'_> {
    fn packet(&mut self, packet: &[u8], now: u64) {
        let (Some(sent), Some(rtp)) = (read_stamp(packet), RtpPacket::parse(packet)) else { return };
        let track = usize::from(rtp.payload_type().0 == AUDIO_TYPE);
        let numbers = &mut self.numbers[track];
        let before = numbers.duplicates();
        numbers.take(rtp.sequence_number());
        if sent < self.window.0 || sent >= self.window.1 {
            return;
        }
        if numbers.duplicates() > before {
            self.tally.duplicates += 1;
            return;
        }
        self.tally.packets += 1;
        self.tally.bytes += packet.len() as u64;
        self.tally.latency[track].record(now.saturating_sub(sent));
        *self.own += 1;
    }

    /// Counts the whole `$` frames of `begun` and `bytes`; what is begun after them is kept in `begun`.
    fn frames(&mut self, begun: &mut Vec<u8>, bytes: &[u8]) {
        let now = monotonic_nanos();
        if begun.is_empty() {
            let rest = self.whole_frames(bytes, now);
            begun.extend_from_slice(rest);
        } else {
            begun.extend_from_slice(bytes);
            let rest = self.whole_frames(begun, now).len();
            begun.drain(..begun.len() - rest);
        }
    }

    /// Returns what is left after the last whole frame. What is no frame, such as a response, is skipped.
    fn whole_frames<'b>(&mut self, mut bytes: &'b [u8], now: u64) -> &'b [u8] {
        loop {
            match bytes {
                [b'$', _, high, low, rest @ ..] => {
                    let length = usize::from(u16::from_be_bytes([*high, *low]));
                    let Some((packet, next)) = rest.split_at_checked(length) else { return bytes };
                    self.packet(packet, now);
                    bytes = next;
                }
                [b'$', ..] | [] => return bytes,
                [_, rest @ ..] => bytes = rest,
            }
        }
    }
}

/// A UDP socket on loopback that reads as players with offload do.
pub fn udp_socket() -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    // The kernel gives what it allows; less is no error.
    let _ = SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BUFFER_BYTES);
    join_datagrams(&socket)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::{io::Write, net::TcpListener};

    use super::*;
    use slotcast_tools::shape::{Part, Shape, Synthesizer};

    #[track_caller]
    fn wait(receivers: &Receivers, packets: u64) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while receivers.packets() < packets {
            assert!(Instant::now() < deadline, "{} of {packets} came", receivers.packets());
            std::thread::yield_now();
        }
    }

    #[test]
    fn datagrams_and_frames_count_alike_and_only_within_the_window() {
        let rtp = udp_socket().unwrap();
        let to = rtp.local_addr().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut writer, _) = listener.accept().unwrap();
        let sockets = vec![
            Socket::Udp { rtp, kept: None },
            Socket::Tcp { stream, begun: b"RTSP/1.0 200 OK\r\n\r\n".to_vec() },
        ];
        let receivers = Receivers::start(sockets, 0).unwrap();
        let from = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut synthesizer = Synthesizer::new(Shape::default(), 0);
        let before = synthesizer.make(Part::Video(0), monotonic_nanos()).unwrap();
        receivers.begin();
        let within = synthesizer.make(Part::Video(1), monotonic_nanos()).unwrap();
        for chunk in [&before, &within] {
            for packet in chunk.packets() {
                from.send_to(chunk.packet(packet), to).unwrap();
            }
            for part in chunk.bytes().chunks(777) {
                writer.write_all(part).unwrap();
            }
        }
        // One that comes again is no other one.
        from.send_to(within.packet(&within.packets()[0]), to).unwrap();
        let later = synthesizer.make(Part::Video(2), monotonic_nanos()).unwrap();
        from.send_to(later.packet(&later.packets()[0]), to).unwrap();
        wait(&receivers, 15);
        receivers.end();
        let after = synthesizer.make(Part::Video(3), monotonic_nanos()).unwrap();
        writer.write_all(after.bytes()).unwrap();
        drop(writer);
        let received = receivers.finish().unwrap();
        assert_eq!((received.packets, received.least, received.most), (15, 7, 8));
        let counted = received.latency.each_ref().map(Histogram::count);
        assert_eq!((received.bytes, counted), (2 * 7575 + 1200, [15, 0]));
        assert_eq!(received.duplicates, 1);
    }

    #[test]
    fn latency_of_sound_is_counted_apart_from_that_of_pictures() {
        let rtp = udp_socket().unwrap();
        let to = rtp.local_addr().unwrap();
        let receivers = Receivers::start(vec![Socket::Udp { rtp, kept: None }], 0).unwrap();
        let from = UdpSocket::bind("127.0.0.1:0").unwrap();
        let shape = Shape { audio_per_second: 47, ..Shape::default() };
        let mut synthesizer = Synthesizer::new(shape, 0);
        receivers.begin();
        // Sound that has waited for a second, and a picture that has not.
        let waited = Duration::from_secs(1).as_nanos() as u64;
        let now = monotonic_nanos();
        receivers.window.from.store(now - 2 * waited, Ordering::Release);
        for (part, sent) in [(Part::Audio(0), now - waited), (Part::Video(1), now)] {
            let chunk = synthesizer.make(part, sent).unwrap();
            chunk.packets().iter().for_each(|packet| {
                from.send_to(chunk.packet(packet), to).unwrap();
            });
        }
        wait(&receivers, 8);
        let [pictures, sound] = receivers.finish().unwrap().latency;
        assert_eq!((pictures.count(), sound.count()), (7, 1));
        assert!(sound.max() >= Duration::from_secs(1), "{:?}", sound.max());
    }
}
