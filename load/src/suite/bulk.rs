//! Viewers by the thousand whose media nobody looks at: they load a server and cost the machine little.
//!
//! Owns: their dialogue (SETUP, PLAY) in one thread for all of them; who was let in, and who was ended.
//! Not here: viewers who measure (`slotcast_tools::watch`).
//! Invariant: the datagrams of all go to two sockets that are never read, where the kernel drops them; what comes over TCP
//! is thrown away in the kernel. The thread has turns after everybody else's, and never waits for a socket: the server's
//! own calls would wake it, on the server's time. It ends when the value is dropped.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token, net::TcpStream};
use rustix::{net::RecvFlags, process::setpriority_process};
use socket2::{Domain, SockRef, Socket, Type};

use crate::paced::Transport;

/// Name of the thread.
pub(super) const THREAD: &str = "load-bulk";
/// The most who are let loose at once.
pub(super) const VIEWERS_MAX: u32 = 20_000;
/// How often the thread looks at its sockets and at its clock.
const NAP: Duration = Duration::from_millis(1);
/// Behind those who measure.
pub(super) const NICE: i32 = 10;
/// No server says more in a response.
const RESPONSE_BYTES_MAX: usize = 16 * 1024;
/// Thrown away with one call.
const DRAIN_BYTES: usize = 1 << 20;
/// Of the two sockets that nobody reads: the kernel makes of it the least that it allows.
const SINK_BUFFER_BYTES: usize = 1024;
/// Tried for two ports next to each other.
const PORT_TRIES: u32 = 100;
/// Viewers with one third byte of their address.
const EACH: u32 = 250;

/// Who comes.
#[derive(Clone, Debug)]
pub(super) struct Crowd {
    /// Where RTSP is.
    pub(super) server: SocketAddr,
    /// What is watched, without credentials.
    pub(super) url: String,
    pub(super) transport: Transport,
    /// At most [`VIEWERS_MAX`].
    pub(super) viewers: u32,
    pub(super) per_second: u32,
}

#[derive(Debug, Default)]
struct Shared {
    playing: AtomicU64,
    /// Refused, or closed before they played.
    failed: AtomicU64,
    /// Closed by the server while they played.
    ended: AtomicU64,
    stop: AtomicBool,
}

/// A crowd at work.
pub(super) struct Bulk {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<io::Result<()>>>,
    viewers: u64,
}

impl Bulk {
    /// Lets them come.
    ///
    /// # Errors
    /// There are no ports, no poll or no thread.
    pub(super) fn start(crowd: Crowd) -> io::Result<Self> {
        let viewers = u64::from(crowd.viewers.min(VIEWERS_MAX));
        let shared = Arc::new(Shared::default());
        let work = Work::new(crowd, Arc::clone(&shared))?;
        let thread = std::thread::Builder::new().name(THREAD.to_owned()).spawn(move || work.run())?;
        Ok(Self { shared, thread: Some(thread), viewers })
    }

    /// How many come.
    pub(super) const fn viewers(&self) -> u64 {
        self.viewers
    }

    /// How many play now, or played until the server ended them.
    pub(super) fn played(&self) -> u64 {
        self.shared.playing.load(Ordering::Relaxed)
    }

    /// How many of those the server has ended.
    pub(super) fn ended(&self) -> u64 {
        self.shared.ended.load(Ordering::Relaxed)
    }

    /// Whether each was answered: it plays, or never will.
    pub(super) fn is_answered(&self) -> bool {
        self.played() + self.shared.failed.load(Ordering::Relaxed) >= self.viewers
    }

    /// Lets them leave: all connections are closed.
    ///
    /// # Errors
    /// The thread's poll failed.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let done = self.thread.take().map(JoinHandle::join);
        done.map_or(Ok(()), |done| {
            done.map_err(|_| io::Error::other("the crowd's thread ended in a defect"))?
        })
    }
}

impl Drop for Bulk {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Whoever wants to know how it ended has asked `finish`.
            drop(thread.join());
        }
    }
}

/// How far a member's dialogue is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Connecting,
    /// SETUP was sent.
    SettingUp,
    /// PLAY was sent.
    Asking,
    Playing,
}

struct Member {
    stream: TcpStream,
    step: Step,
    /// The beginning of a response.
    begun: Vec<u8>,
}

struct Work {
    crowd: Crowd,
    shared: Arc<Shared>,
    poll: Poll,
    /// `None`: gone.
    members: Vec<Option<Member>>,
    /// Where the datagrams of all go. Never read.
    sinks: Option<[UdpSocket; 2]>,
    bytes: Vec<u8>,
}

impl Work {
    fn new(crowd: Crowd, shared: Arc<Shared>) -> io::Result<Self> {
        let sinks = (crowd.transport == Transport::Udp).then(sinks).transpose()?;
        Ok(Self {
            crowd,
            shared,
            poll: Poll::new()?,
            members: Vec::new(),
            sinks,
            bytes: vec![0; DRAIN_BYTES],
        })
    }

    fn run(mut self) -> io::Result<()> {
        // Of this thread alone, as Linux has it. Where it is refused, those who measure wait longer for it.
        let _ = setpriority_process(None, NICE);
        let mut events = Events::with_capacity(1024);
        let started = Instant::now();
        while !self.shared.stop.load(Ordering::Relaxed) {
            let due = started.elapsed().as_secs_f64() * f64::from(self.crowd.per_second);
            while (self.members.len() as f64) < due.min(f64::from(self.crowd.viewers.min(VIEWERS_MAX))) {
                self.welcome()?;
            }
            match self.poll.poll(&mut events, Some(Duration::ZERO)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            for event in &events {
                self.attend(event.token().0);
            }
            std::thread::sleep(NAP);
        }
        Ok(())
    }

    /// The next one connects.
    fn welcome(&mut self) -> io::Result<()> {
        let place = self.members.len();
        let member = self.connect(place as u32).ok();
        self.members.push(member);
        match self.members.last_mut() {
            Some(Some(member)) => {
                let both = Interest::READABLE | Interest::WRITABLE;
                self.poll.registry().register(&mut member.stream, Token(place), both)
            }
            _ => {
                self.shared.failed.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
        }
    }

    /// A UDP viewer comes from an address of its own, since all of them name the same ports.
    fn connect(&self, number: u32) -> io::Result<Member> {
        let socket = Socket::new(Domain::for_address(self.crowd.server), Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        if self.sinks.is_some() {
            socket.bind(&SocketAddr::from((own_address(number), 0)).into())?;
        }
        let in_progress = Some(rustix::io::Errno::INPROGRESS.raw_os_error());
        match socket.connect(&self.crowd.server.into()) {
            Err(error) if error.raw_os_error() != in_progress => Err(error),
            _ => Ok(Member {
                stream: TcpStream::from_std(socket.into()),
                step: Step::Connecting,
                begun: Vec::new(),
            }),
        }
    }

    /// Does what a member's socket is ready for, until there is nothing more.
    fn attend(&mut self, place: usize) {
        let Some(Some(member)) = self.members.get_mut(place) else { return };
        let done = match member.step {
            Step::Playing => drain(&member.stream, &mut self.bytes),
            _ => talk(member, &self.crowd, self.sinks.as_ref(), &mut self.bytes),
        };
        match done {
            Ok(true) => {
                self.shared.playing.fetch_add(1, Ordering::Relaxed);
                // What came behind the response.
                self.attend(place);
            }
            Ok(false) => {}
            Err(_) => {
                let count =
                    if member.step == Step::Playing { &self.shared.ended } else { &self.shared.failed };
                count.fetch_add(1, Ordering::Relaxed);
                self.members[place] = None;
            }
        }
    }
}

/// Goes on with a dialogue. Returns whether the member plays from now on.
///
/// # Errors
/// The server closed the connection or refused.
fn talk(
    member: &mut Member,
    crowd: &Crowd,
    sinks: Option<&[UdpSocket; 2]>,
    bytes: &mut [u8],
) -> io::Result<bool> {
    if member.step == Step::Connecting {
        let url = &crowd.url;
        let transport = match sinks {
            Some([rtp, rtcp]) => {
                let [rtp, rtcp] = [rtp.local_addr()?.port(), rtcp.local_addr()?.port()];
                format!("RTP/AVP;unicast;client_port={rtp}-{rtcp}")
            }
            None => "RTP/AVP/TCP;unicast;interleaved=0-1".to_owned(),
        };
        let setup = format!("SETUP {url}/trackID=0 RTSP/1.0\r\nCSeq: 1\r\nTransport: {transport}\r\n\r\n");
        match member.stream.write(setup.as_bytes()) {
            Err(error) if is_early(&error) => return Ok(false),
            written => whole(written?, setup.len())?,
        }
        member.step = Step::SettingUp;
    }
    loop {
        // One byte at a time would be exact; what comes behind PLAY's response is media, and may go with it.
        match member.stream.read(&mut bytes[..RESPONSE_BYTES_MAX]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            got => member.begun.extend_from_slice(&bytes[..got?]),
        }
        let Some(session) = response(&member.begun)? else { continue };
        member.begun.clear();
        if member.step == Step::Asking {
            member.step = Step::Playing;
            return Ok(true);
        }
        let session = session.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
        let play = format!("PLAY {} RTSP/1.0\r\nCSeq: 2\r\nSession: {session}\r\n\r\n", crowd.url);
        whole(member.stream.write(play.as_bytes())?, play.len())?;
        member.step = Step::Asking;
    }
}

/// The connection is not there yet.
fn is_early(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected)
}

/// A request is far smaller than an empty send buffer.
fn whole(written: usize, length: usize) -> io::Result<()> {
    if written == length { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// The session of a response that is there to its end; `None`: it takes more bytes.
///
/// # Errors
/// It is longer than any, or not a 200.
pub(super) fn response(bytes: &[u8]) -> io::Result<Option<Option<String>>> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return match bytes.len() {
            ..RESPONSE_BYTES_MAX => Ok(None),
            _ => Err(io::ErrorKind::InvalidData.into()),
        };
    };
    let text = String::from_utf8_lossy(&bytes[..end]);
    if !text.starts_with("RTSP/1.0 200 ") {
        let status = text.lines().next().unwrap_or_default();
        return Err(io::Error::other(format!("the server answered {status}")));
    }
    let sessions = text.lines().filter_map(|line| line.strip_prefix("Session:"));
    let session = sessions.map(|value| value.split(';').next().unwrap_or_default().trim().to_owned()).next();
    Ok(Some(session))
}

/// Throws away what has come. Returns `false`: there is nothing more to do.
///
/// # Errors
/// The server closed the connection.
pub(super) fn drain(stream: &TcpStream, bytes: &mut [u8]) -> io::Result<bool> {
    loop {
        // TCP takes `TRUNC` for an order to throw away: nothing is copied.
        match rustix::net::recv(stream, &mut *bytes, RecvFlags::TRUNC) {
            Ok((_, 0)) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Two sockets on ports next to each other, the lower one even, that take what is sent to any address of this machine.
fn sinks() -> io::Result<[UdpSocket; 2]> {
    let bind = |port| -> io::Result<UdpSocket> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))?;
        SockRef::from(&socket).set_recv_buffer_size(SINK_BUFFER_BYTES)?;
        Ok(socket)
    };
    let mut last = None;
    for _ in 0..PORT_TRIES {
        let rtp = bind(0)?;
        match rtp.local_addr()?.port() {
            port if port.is_multiple_of(2) => match bind(port + 1) {
                Ok(rtcp) => return Ok([rtp, rtcp]),
                Err(error) => last = Some(error),
            },
            _ => {}
        }
    }
    Err(last.unwrap_or_else(|| io::Error::other("no two UDP ports next to each other are free")))
}

/// An address of this machine for the viewer of this number.
fn own_address(number: u32) -> IpAddr {
    let [third, fourth] = [number / EACH, 1 + number % EACH].map(|part| part as u8);
    IpAddr::from([127, 3, third, fourth])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_viewer_has_an_address_of_its_own() {
        let mut all: Vec<IpAddr> = (0..VIEWERS_MAX).map(own_address).collect();
        assert_eq!((all[0], all[250]), (IpAddr::from([127, 3, 0, 1]), IpAddr::from([127, 3, 1, 1])));
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), VIEWERS_MAX as usize);
    }

    #[test]
    fn a_response_is_read_to_its_end_and_no_other_than_200_is_taken() {
        let whole = b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nSession: abc;timeout=60\r\n\r\n$\0\0\x01x";
        for end in 0..whole.len() - 5 {
            assert!(response(&whole[..end]).unwrap().is_none(), "{end}");
        }
        assert_eq!(response(whole).unwrap(), Some(Some("abc".to_owned())));
        assert_eq!(response(b"RTSP/1.0 200 OK\r\nCSeq: 2\r\n\r\n").unwrap(), Some(None));
        let refused = response(b"RTSP/1.0 453 Not Enough Bandwidth\r\nCSeq: 2\r\n\r\n").unwrap_err();
        assert!(refused.to_string().contains("453"), "{refused}");
        assert!(response(&[b'x'; RESPONSE_BYTES_MAX]).is_err());
    }

    #[test]
    fn what_comes_over_tcp_is_thrown_away_to_its_end() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let theirs = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        theirs.set_nonblocking(true).unwrap();
        let theirs = TcpStream::from_std(theirs);
        let (mut ours, _) = listener.accept().unwrap();
        let mut bytes = vec![0; 4096];
        assert!(!drain(&theirs, &mut bytes).unwrap());
        // More than both buffers hold: it comes to its end only where the other end takes it.
        let writer = std::thread::spawn(move || ours.write_all(&vec![7; 32 << 20]));
        let deadline = Instant::now() + Duration::from_secs(30);
        let end = loop {
            match drain(&theirs, &mut bytes) {
                Ok(_) => assert!(Instant::now() < deadline, "the end did not come"),
                Err(error) => break error,
            }
            std::thread::yield_now();
        };
        assert_eq!(end.kind(), io::ErrorKind::UnexpectedEof);
        writer.join().unwrap().unwrap();
    }
}
