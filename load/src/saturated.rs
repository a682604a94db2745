//! As fast as the kernel takes it: what one core can send by each kind of call.
//!
//! Owns: the loops over UDP (`sendto`, `sendmmsg`, `sendmsg` with segmentation) and TCP (`write`).
//! Not here: the server's pace (`paced`). A core that is never idle sends cheaper than one that wakes for each frame,
//! so these loops tell what a call costs at best, not what a server at a pace could reach.

use std::{
    fmt,
    io::{self, IoSlice, Write},
    net::{TcpListener, TcpStream, UdpSocket},
    os::fd::AsFd,
    time::{Duration, Instant},
};

use slotcast_net::sys::{Destination, MESSAGES_MAX, send_datagrams, send_messages};
use socket2::SockRef;

use super::{
    paced::{THREAD, tcp_pair},
    receivers::{Socket, udp_socket},
};
use slotcast_net::clock::monotonic_nanos;
use slotcast_tools::shape::stamp_video;

const PACKET_BYTES: usize = 1200;
const FRAMED_BYTES: usize = PACKET_BYTES + 4;
const PACKETS_MAX: usize = 16;
const SEND_BUFFER_BYTES: usize = 4 << 20;
/// How long one write may wait for a receiver.
const WRITE_PATIENCE: Duration = Duration::from_secs(2);

/// A kind of call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// One packet.
    SendTo,
    /// One packet to each of up to 64 receivers.
    SendMany,
    /// So many packets to one receiver, cut apart by the kernel.
    Segments(usize),
    /// So many framed packets to one receiver.
    Write(usize),
}

/// All that are measured.
pub const CALLS: [Call; 9] = [
    Call::SendTo,
    Call::SendMany,
    Call::Segments(1),
    Call::Segments(4),
    Call::Segments(8),
    Call::Segments(16),
    Call::Write(1),
    Call::Write(8),
    Call::Write(16),
];

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SendTo => f.write_str("udp sendto"),
            Self::SendMany => f.write_str("udp sendmmsg"),
            Self::Segments(count) => write!(f, "udp gso {count}"),
            Self::Write(count) => write!(f, "tcp write {count}"),
        }
    }
}

/// What a loop did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Done {
    /// Packets that the kernel took.
    pub packets: u64,
    /// Calls.
    pub calls: u64,
    /// Packets that it refused.
    pub refused: u64,
    /// How long the loop ran.
    pub time: Duration,
}

/// A loop that is ready to run.
pub struct Saturated {
    call: Call,
    outlet: Outlet,
    /// Framed packets, one after the other.
    bytes: Vec<u8>,
}

enum Outlet {
    Udp(UdpSocket, Vec<Destination>),
    Tcp(Vec<TcpStream>),
}

impl Saturated {
    /// Connects `receivers`; returns their sockets too.
    ///
    /// # Errors
    /// Sockets run out.
    pub fn new(call: Call, receivers: usize) -> io::Result<(Self, Vec<Socket>)> {
        let (outlet, sockets) = match call {
            Call::Write(_) => tcp(receivers)?,
            Call::SendTo | Call::SendMany | Call::Segments(_) => udp(receivers)?,
        };
        let header = [b'$', 0, (PACKET_BYTES >> 8) as u8, PACKET_BYTES as u8, 0x80, 96];
        let mut packet = vec![0x55; FRAMED_BYTES];
        packet[..header.len()].copy_from_slice(&header);
        Ok((Self { call, outlet, bytes: packet.repeat(PACKETS_MAX) }, sockets))
    }

    /// Sends to one receiver after the other for `time`, on the calling thread.
    ///
    /// # Errors
    /// A TCP receiver is gone, or does not read.
    pub fn run(&mut self, time: Duration) -> io::Result<Done> {
        let start = Instant::now();
        let mut done = Done::default();
        while start.elapsed() < time {
            let now = monotonic_nanos();
            self.bytes.chunks_mut(FRAMED_BYTES).for_each(|framed| stamp_video(&mut framed[4..], now, 0));
            self.pass(&mut done)?;
        }
        done.time = start.elapsed();
        Ok(done)
    }

    /// One call for each receiver.
    fn pass(&mut self, done: &mut Done) -> io::Result<()> {
        let mut parts = [IoSlice::new(&[]); PACKETS_MAX];
        for (part, framed) in parts.iter_mut().zip(self.bytes.chunks(FRAMED_BYTES)) {
            *part = IoSlice::new(&framed[4..]);
        }
        match (&mut self.outlet, self.call) {
            (Outlet::Udp(socket, receivers), Call::SendMany) => {
                let messages: Vec<_> = receivers.iter().map(|to| (*to, parts[0])).collect();
                for some in messages.chunks(MESSAGES_MAX) {
                    let taken = send_messages(socket.as_fd(), some).unwrap_or(0);
                    count(done, taken, some.len() - taken);
                }
            }
            (Outlet::Udp(socket, receivers), call) => {
                let (packets, segment) = match call {
                    Call::Segments(packets) => (packets.min(PACKETS_MAX), Some(PACKET_BYTES as u16)),
                    _ => (1, None),
                };
                for to in receivers.iter() {
                    let taken = send_datagrams(socket.as_fd(), to, &parts[..packets], segment).is_ok();
                    count(done, if taken { packets } else { 0 }, if taken { 0 } else { packets });
                }
            }
            (Outlet::Tcp(streams), call) => {
                let packets = if let Call::Write(packets) = call { packets.min(PACKETS_MAX) } else { 1 };
                for stream in streams {
                    stream.write_all(&self.bytes[..packets * FRAMED_BYTES])?;
                    count(done, packets, 0);
                }
            }
        }
        Ok(())
    }
}

const fn count(done: &mut Done, taken: usize, refused: usize) {
    done.calls += 1;
    done.packets += taken as u64;
    done.refused += refused as u64;
}

fn udp(receivers: usize) -> io::Result<(Outlet, Vec<Socket>)> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    // The kernel gives what it allows; less is no error.
    let _ = SockRef::from(&socket).set_send_buffer_size(SEND_BUFFER_BYTES);
    let (mut destinations, mut sockets) = (Vec::new(), Vec::new());
    for _ in 0..receivers {
        let rtp = udp_socket()?;
        destinations.push(rtp.local_addr()?.into());
        sockets.push(Socket::Udp { rtp, kept: None });
    }
    Ok((Outlet::Udp(socket, destinations), sockets))
}

fn tcp(receivers: usize) -> io::Result<(Outlet, Vec<Socket>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let (mut streams, mut sockets) = (Vec::new(), Vec::new());
    for _ in 0..receivers {
        let (ours, theirs) = tcp_pair(&listener)?;
        ours.set_write_timeout(Some(WRITE_PATIENCE))?;
        streams.push(ours);
        sockets.push(Socket::Tcp { stream: theirs, begun: Vec::new() });
    }
    Ok((Outlet::Tcp(streams), sockets))
}

/// Runs `work` on a thread of its own, named as the paced loop's, on `core`.
///
/// # Errors
/// Those of `work`; the core is not there.
pub(super) fn on_core<T: Send + 'static>(
    core: usize,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let thread = std::thread::Builder::new().name(THREAD.to_owned()).spawn(move || {
        slotcast_net::process::pin(core)?;
        work()
    })?;
    thread.join().map_err(|_| io::Error::other("the sending thread ended in a defect"))?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receivers::Receivers;

    #[test]
    fn every_kind_of_call_sends_packets_that_are_understood() {
        for call in CALLS {
            let (mut saturated, sockets) = Saturated::new(call, 3).unwrap();
            let receivers = Receivers::start(sockets, 0).unwrap();
            receivers.begin();
            let mut done = Done::default();
            let now = monotonic_nanos();
            saturated.bytes.chunks_mut(FRAMED_BYTES).for_each(|f| stamp_video(&mut f[4..], now, 0));
            saturated.pass(&mut done).unwrap();
            let deadline = Instant::now() + Duration::from_secs(10);
            while receivers.packets() < done.packets {
                assert!(Instant::now() < deadline, "{call}: {} of {}", receivers.packets(), done.packets);
                std::thread::yield_now();
            }
            let packets = match call {
                Call::SendTo | Call::SendMany => 3,
                Call::Segments(count) | Call::Write(count) => 3 * count as u64,
            };
            assert_eq!((done.packets, done.refused), (packets, 0), "{call}");
            assert_eq!(done.calls, if call == Call::SendMany { 1 } else { 3 }, "{call}");
        }
    }
}
