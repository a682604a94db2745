//! The server's work at the server's pace, without RTSP: what a server is compared with.
//!
//! Owns: the sending loop. One thread on a core of its own sleeps until a chunk comes through a queue, then costs one
//! `sendmsg` per receiver and run (UDP) or one `write` per receiver and frame (TCP).
//! Invariant: chunks, runs, queue and wake-up are those of the server; no seats, sessions, gates or timers.

use std::{
    collections::VecDeque,
    io::{self, IoSlice, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::AsFd,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use bytes::{Buf, Bytes};
use mio::{Events, Poll, Token, Waker};
use slotcast_core::{
    chunk::Chunk,
    feed::{FeedReceiver, Feeds},
    runs::SEGMENTS_MAX,
};
use slotcast_net::sys::{Destination, send_datagrams};
pub use slotcast_tools::transport::Transport;
use socket2::SockRef;

use super::receivers::{Socket, udp_socket};

/// Name of the sending thread, for its CPU time.
pub(super) const THREAD: &str = "load-send";
/// As the server asks for them.
const UDP_BUFFER_BYTES: usize = 4 << 20;
const TCP_BUFFER_BYTES: usize = 64 * 1024;
const TCP_UNSENT_BYTES: u32 = 32 * 1024;
const QUEUE_CHUNKS: usize = 4096;
/// Frames that may wait for one TCP receiver; then frames are left out for it, and counted.
const WAITING_FRAMES: usize = 64;
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Requests and responses of a usual dialogue before media flows.
const DIALOGUE_ROUNDS: usize = 4;

/// What the sending loop counts.
#[derive(Debug, Default)]
pub struct Sent {
    /// Calls of `sendmsg` or `write`.
    pub calls: AtomicU64,
    /// Frames that one receiver was sent.
    pub frames: AtomicU64,
    /// Sends that failed, or frames left out for a receiver who does not read.
    pub failed: AtomicU64,
}

impl Sent {
    fn add(counter: &AtomicU64, count: u64) {
        counter.store(counter.load(Ordering::Relaxed) + count, Ordering::Relaxed);
    }
}

/// A running sending loop.
pub struct Sender {
    /// Takes the chunks; their stream's program is the channel.
    pub feeds: Feeds,
    /// What it counts.
    pub sent: Arc<Sent>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<()>>,
}

impl Sender {
    /// Connects `receivers` for each of `channels` and starts the loop on `core`.
    ///
    /// Returns the receivers' sockets too.
    ///
    /// # Errors
    /// Sockets run out, or the core is not there.
    pub fn start(
        transport: Transport,
        channels: usize,
        receivers: usize,
        core: usize,
    ) -> io::Result<(Self, Vec<Socket>)> {
        let (outlet, sockets) = match transport {
            Transport::Udp => connect_udp(channels, receivers)?,
            Transport::Tcp => connect_tcp(channels, receivers)?,
        };
        let poll = Poll::new()?;
        let feeds = Feeds::default();
        let feed = feeds.subscribe(QUEUE_CHUNKS, {
            let waker = Waker::new(poll.registry(), Token(0))?;
            // Fails only when the loop has ended.
            move || _ = waker.wake()
        });
        let (sent, stop): (Arc<Sent>, Arc<AtomicBool>) = Default::default();
        let mut turns = Loop { poll, feed, outlet, sent: Arc::clone(&sent), stop: Arc::clone(&stop) };
        let thread = std::thread::Builder::new().name(THREAD.to_owned()).spawn(move || {
            slotcast_net::process::pin(core)?;
            turns.run()
        })?;
        Ok((Self { feeds, sent, stop, thread }, sockets))
    }

    /// Ends the loop.
    ///
    /// # Errors
    /// It could not run on its core, or its poll failed.
    pub fn finish(self) -> io::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| io::Error::other("the sending thread ended in a defect"))?
    }
}

struct Loop {
    poll: Poll,
    feed: FeedReceiver,
    outlet: Outlet,
    sent: Arc<Sent>,
    stop: Arc<AtomicBool>,
}

/// Who is sent to, by channel.
enum Outlet {
    Udp { socket: UdpSocket, channels: Vec<Vec<Destination>> },
    Tcp { channels: Vec<Vec<Peer>> },
}

struct Peer {
    stream: TcpStream,
    waiting: VecDeque<Bytes>,
}

impl Loop {
    fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(8);
        while !self.stop.load(Ordering::Relaxed) {
            match self.poll.poll(&mut events, Some(LOOK_EVERY)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            self.feed.begin_drain();
            while let Some(chunk) = self.feed.pop() {
                self.send(&chunk);
            }
        }
        Ok(())
    }

    fn send(&mut self, chunk: &Chunk) {
        let channel = chunk.stream().program.0 as usize;
        match &mut self.outlet {
            Outlet::Udp { socket, channels } => {
                let Some(receivers) = channels.get(channel) else { return };
                send_runs(socket, receivers, chunk, &self.sent);
            }
            Outlet::Tcp { channels } => {
                let Some(peers) = channels.get_mut(channel) else { return };
                Sent::add(&self.sent.frames, peers.len() as u64);
                for peer in peers {
                    peer.write(chunk.bytes(), &self.sent);
                }
            }
        }
    }
}

fn send_runs(socket: &UdpSocket, receivers: &[Destination], chunk: &Chunk, sent: &Sent) {
    for run in chunk.runs().all() {
        let mut parts = [IoSlice::new(&[]); SEGMENTS_MAX];
        let places = chunk.runs().packets(run);
        for (part, &place) in parts.iter_mut().zip(places) {
            *part = IoSlice::new(chunk.packet(&chunk.packets()[usize::from(place)]));
        }
        let parts = &parts[..places.len()];
        let segment = (parts.len() > 1).then_some(run.segment_bytes);
        let failed =
            receivers.iter().filter(|to| send_datagrams(socket.as_fd(), to, parts, segment).is_err()).count();
        Sent::add(&sent.calls, receivers.len() as u64);
        Sent::add(&sent.failed, failed as u64);
    }
    Sent::add(&sent.frames, receivers.len() as u64);
}

impl Peer {
    /// Writes a frame, or lets it wait behind what the socket did not take before.
    fn write(&mut self, frame: &Bytes, sent: &Sent) {
        if !self.waiting.is_empty() {
            if self.waiting.len() < WAITING_FRAMES {
                self.waiting.push_back(frame.clone());
            } else {
                Sent::add(&sent.failed, 1);
            }
            self.flush(sent);
            return;
        }
        Sent::add(&sent.calls, 1);
        match self.stream.write(frame) {
            Ok(count) if count == frame.len() => {}
            Ok(count) => self.waiting.push_back(frame.slice(count..)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.waiting.push_back(frame.clone()),
            Err(_) => Sent::add(&sent.failed, 1),
        }
    }

    fn flush(&mut self, sent: &Sent) {
        while let Some(first) = self.waiting.front_mut() {
            Sent::add(&sent.calls, 1);
            match self.stream.write(first) {
                Ok(count) if count == first.len() => drop(self.waiting.pop_front()),
                Ok(count) => first.advance(count),
                Err(_) => return,
            }
        }
    }
}

fn connect_udp(channels: usize, receivers: usize) -> io::Result<(Outlet, Vec<Socket>)> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_nonblocking(true)?;
    // The kernel gives what it allows; less is no error.
    let _ = SockRef::from(&socket).set_send_buffer_size(UDP_BUFFER_BYTES);
    let mut sockets = Vec::with_capacity(channels * receivers);
    let mut outlets = Vec::with_capacity(channels);
    for _ in 0..channels {
        let mut destinations = Vec::with_capacity(receivers);
        for _ in 0..receivers {
            let rtp = udp_socket()?;
            destinations.push(rtp.local_addr()?.into());
            sockets.push(Socket::Udp { rtp, kept: None });
        }
        outlets.push(destinations);
    }
    Ok((Outlet::Udp { socket, channels: outlets }, sockets))
}

fn connect_tcp(channels: usize, receivers: usize) -> io::Result<(Outlet, Vec<Socket>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut sockets = Vec::with_capacity(channels * receivers);
    let mut outlets = Vec::with_capacity(channels);
    for _ in 0..channels {
        let mut peers = Vec::with_capacity(receivers);
        for _ in 0..receivers {
            let (ours, theirs) = tcp_pair(&listener)?;
            ours.set_nonblocking(true)?;
            let _ = SockRef::from(&ours).set_send_buffer_size(TCP_BUFFER_BYTES);
            SockRef::from(&ours).set_tcp_notsent_lowat(TCP_UNSENT_BYTES)?;
            peers.push(Peer { stream: ours, waiting: VecDeque::new() });
            sockets.push(Socket::Tcp { stream: theirs, begun: Vec::new() });
        }
        outlets.push(peers);
    }
    Ok((Outlet::Tcp { channels: outlets }, sockets))
}

/// The sending and the receiving end of a connection whose ends have talked as RTSP peers do.
///
/// Without that, the receiving end would take part in no dialogue and acknowledge each segment at once.
fn tcp_pair(listener: &TcpListener) -> io::Result<(TcpStream, TcpStream)> {
    let mut theirs = TcpStream::connect(listener.local_addr()?)?;
    let (mut ours, peer): (TcpStream, SocketAddr) = listener.accept()?;
    if peer != theirs.local_addr()? {
        return Err(io::Error::other("somebody else connected to the measuring port"));
    }
    for stream in [&ours, &theirs] {
        stream.set_nodelay(true)?;
    }
    for _ in 0..DIALOGUE_ROUNDS {
        let mut bytes = [b'.'; 200];
        theirs.write_all(&bytes)?;
        ours.read_exact(&mut bytes)?;
        ours.write_all(&bytes)?;
        theirs.read_exact(&mut bytes)?;
    }
    Ok((ours, theirs))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::receivers::Receivers;
    use slotcast_net::clock::monotonic_nanos;
    use slotcast_tools::shape::{Part, Shape, Synthesizer};

    #[track_caller]
    fn check(transport: Transport, calls: u64) {
        let (sender, sockets) = Sender::start(transport, 2, 3, 0).unwrap();
        let receivers = Receivers::start(sockets, 0).unwrap();
        receivers.begin();
        let mut channels = [0, 1].map(|channel| Synthesizer::new(Shape::default(), channel));
        for frame in 0..2 {
            channels
                .iter_mut()
                .for_each(|c| sender.feeds.publish(&c.make(Part::Video(frame), monotonic_nanos()).unwrap()));
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        while receivers.packets() < 6 * 33 {
            assert!(Instant::now() < deadline, "{} packets came", receivers.packets());
            std::thread::yield_now();
        }
        let received = receivers.finish().unwrap();
        assert_eq!((received.packets, received.least, received.most), (6 * 33, 33, 33));
        let sent = Arc::clone(&sender.sent);
        sender.finish().unwrap();
        assert_eq!(sent.failed.load(Ordering::Relaxed), 0);
        assert_eq!(sent.frames.load(Ordering::Relaxed), 12);
        assert!(sent.calls.load(Ordering::Relaxed) >= calls);
    }

    #[test]
    fn every_receiver_of_a_channel_gets_its_frames_over_udp() {
        check(Transport::Udp, 12);
    }

    #[test]
    fn every_receiver_of_a_channel_gets_its_frames_over_tcp() {
        check(Transport::Tcp, 12);
    }
}
