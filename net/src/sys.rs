//! The system calls that no safe wrapper offers: the only `unsafe` of the project.
//!
//! Owns: one datagram send with scattered buffers, UDP segmentation and a chosen source address, the socket's error
//! queue, socket options, the length of a thread's turns.
//! Invariant: every pointer given to the kernel points into a value borrowed for the length of the call.
#![expect(
    unsafe_code,
    reason = "sendmsg with UDP_SEGMENT, recvmsg with MSG_ERRQUEUE and sendmmsg have no safe wrapper that does not \
              allocate, and sched_setattr has none"
)]

use std::{
    io::{self, IoSlice},
    mem,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::fd::{AsRawFd, BorrowedFd},
    ptr,
    time::Duration,
};

use socket2::SockAddr;

/// Where a datagram goes, and which of the machine's addresses it leaves from.
#[derive(Clone, Copy)]
pub struct Destination {
    address: SocketAddr,
    /// `None`: as the socket is bound, or as the kernel's routing says.
    source: Option<IpAddr>,
}

impl From<SocketAddr> for Destination {
    fn from(address: SocketAddr) -> Self {
        Self { address, source: None }
    }
}

impl Destination {
    /// The same, for datagrams that leave from `source`, an address of this machine and of the same family; `None`: as the
    /// kernel's routing says. [`send_datagrams`] heeds it.
    #[must_use]
    pub const fn leaving_from(self, source: Option<IpAddr>) -> Self {
        Self { source, ..self }
    }

    /// The same address at another port, in host order.
    #[must_use]
    pub fn at_port(mut self, port: u16) -> Self {
        self.address.set_port(port);
        self
    }

    /// Where it goes, to look at.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

/// What goes with a message, as `CMSG_FIRSTHDR` and `CMSG_NXTHDR` lay it out: the segments' size (`UDP_SEGMENT`), and the
/// address that it leaves from (`IP_PKTINFO`, `IPV6_PKTINFO`).
#[repr(C)]
struct Control {
    segment_header: libc::cmsghdr,
    segment_bytes: u16,
    padding: [u8; 6],
    source_header: libc::cmsghdr,
    /// An `in_pktinfo` (index, source, address) or an `in6_pktinfo` (address, index).
    source: [u32; 6],
}

const _: () = {
    // SAFETY: all only compute from their arguments.
    let [segment, v4, v6] = unsafe { [libc::CMSG_SPACE(2), libc::CMSG_SPACE(12), libc::CMSG_SPACE(20)] };
    assert!(size_of::<libc::in_pktinfo>() == 12 && size_of::<libc::in6_pktinfo>() == 20);
    assert!(mem::offset_of!(Control, source_header) == segment as usize, "the layout is the kernel's");
    assert!(
        size_of::<Control>() >= (segment + v4) as usize && size_of::<Control>() == (segment + v6) as usize
    );
};

impl Control {
    /// The messages, with where they begin in `self` and how long they are.
    fn new(segment_bytes: Option<u16>, source: Option<IpAddr>) -> (Self, usize, usize) {
        let (level, name, source, bytes) = match source {
            None => (0, 0, [0; 6], 0),
            Some(IpAddr::V4(ip)) => {
                let ip = u32::from_ne_bytes(ip.octets());
                (libc::SOL_IP, libc::IP_PKTINFO, [0, ip, 0, 0, 0, 0], 12)
            }
            Some(IpAddr::V6(ip)) => {
                let mut words = [0; 6];
                for (word, four) in words.iter_mut().zip(ip.octets().as_chunks().0) {
                    *word = u32::from_ne_bytes(*four);
                }
                (libc::SOL_IPV6, libc::IPV6_PKTINFO, words, 20)
            }
        };
        let header = |cmsg_level, cmsg_type, bytes| {
            // SAFETY: only computes from its argument.
            let cmsg_len = unsafe { libc::CMSG_LEN(bytes) } as _;
            libc::cmsghdr { cmsg_len, cmsg_level, cmsg_type }
        };
        let control = Self {
            segment_header: header(libc::SOL_UDP, libc::UDP_SEGMENT, 2),
            segment_bytes: segment_bytes.unwrap_or(0),
            padding: [0; 6],
            source_header: header(level, name, bytes),
            source,
        };
        let of_segment = mem::offset_of!(Self, source_header);
        let begins = if segment_bytes.is_some() { 0 } else { of_segment };
        // SAFETY: only computes from its argument.
        let ends = of_segment + if bytes > 0 { unsafe { libc::CMSG_SPACE(bytes) as usize } } else { 0 };
        (control, begins, ends - begins)
    }
}

/// What a system call counted; below zero it is an error.
fn checked(got: impl TryInto<usize>) -> io::Result<usize> {
    got.try_into().map_err(|_| io::Error::last_os_error())
}

/// Sends the bytes of `parts`, in order, to `to` with one call.
///
/// - `segment_bytes`: cut them into datagrams of this size, the last may be shorter; `None`: one datagram.
///
/// # Errors
/// As sendmsg(2). `WouldBlock`: nothing was sent, wait for the socket. `EINVAL`, `EMSGSIZE`: this size is not to be
/// segmented here. `EIO`, `EOPNOTSUPP`: the route's device cannot segment.
pub fn send_datagrams(
    socket: BorrowedFd<'_>,
    to: &Destination,
    parts: &[IoSlice<'_>],
    segment_bytes: Option<u16>,
) -> io::Result<()> {
    // SAFETY: an all-zero msghdr is a valid one: null pointers with zero lengths.
    let (mut envelope, mut message) = (None, unsafe { mem::zeroed() });
    Outgoing { to: *to, parts, segment_bytes }.fill_in(&mut message, &mut envelope);
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: `message` points to `parts` and `envelope`, which outlive the call; the descriptor is borrowed, and nothing is
    // written through the pointers.
    checked(unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, flags) }).map(drop)
}

/// One message of [`send_runs`]: as the arguments of [`send_datagrams`].
#[derive(Clone, Copy)]
pub struct Outgoing<'a> {
    /// Where it goes.
    pub to: Destination,
    /// What it is made of.
    pub parts: &'a [IoSlice<'a>],
    /// Into datagrams of which size the kernel cuts it.
    pub segment_bytes: Option<u16>,
}

/// What a message points to beside its parts.
type Envelope = Option<(SockAddr, Control)>;

impl Outgoing<'_> {
    /// Lets `message`, all zeros before, point to the parts and to what is put into `envelope`.
    fn fill_in(&self, message: &mut libc::msghdr, envelope: &mut Envelope) {
        let (control, begins, length) = Control::new(self.segment_bytes, self.to.source);
        let (name, control) = envelope.insert((self.to.address.into(), control));
        message.msg_name = name.as_ptr().cast_mut().cast();
        message.msg_namelen = name.len();
        // `IoSlice` is an iovec by its documentation; the kernel does not write through it.
        message.msg_iov = self.parts.as_ptr().cast_mut().cast();
        message.msg_iovlen = self.parts.len() as _;
        if length > 0 {
            message.msg_control = ptr::from_mut(control).wrapping_byte_add(begins).cast();
            message.msg_controllen = length as _;
        }
    }
}

/// Most messages of one [`send_runs`].
pub const RUNS_MAX: usize = 8;

/// Sends the messages one after the other with one call (sendmmsg); at most [`RUNS_MAX`], the rest is left.
///
/// Returns how many were sent, at least one.
///
/// # Errors
/// As [`send_datagrams`], for the first.
pub fn send_runs(socket: BorrowedFd<'_>, runs: &[Outgoing<'_>]) -> io::Result<usize> {
    // SAFETY: all-zero is a valid mmsghdr: null pointers with zero lengths.
    let mut messages: [libc::mmsghdr; RUNS_MAX] = unsafe { mem::zeroed() };
    let mut envelopes: [Envelope; RUNS_MAX] = [const { None }; RUNS_MAX];
    for ((message, envelope), run) in messages.iter_mut().zip(&mut envelopes).zip(runs) {
        run.fill_in(&mut message.msg_hdr, envelope);
    }
    let (count, flags) = (runs.len().min(RUNS_MAX) as u32, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL);
    // SAFETY: the first `count` messages point into `runs` and `envelopes`, which outlive the call and do not move; the
    // descriptor is borrowed. The kernel writes each message's length only.
    checked(unsafe { libc::sendmmsg(socket.as_raw_fd(), messages.as_mut_ptr(), count, flags) })
}

/// A datagram that came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Undelivered {
    /// Where it went; `0.0.0.0:0` when that cannot be read.
    pub to: SocketAddr,
    /// Why, as an errno: `ECONNREFUSED`, `EHOSTUNREACH`, `EMSGSIZE` (smaller path MTU) …; 0 when that cannot be read.
    pub errno: i32,
}

/// Takes one entry of the socket's error queue; `None` when it is empty.
pub fn pop_undelivered(socket: BorrowedFd<'_>) -> Option<Undelivered> {
    // SAFETY: an all-zero msghdr is a valid one: null pointers with zero lengths.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    let mut control = [0u64; 64];
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control) as _;
    let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
    // SAFETY: `message` points to the name and `control`, writable and alive for the call, with their true lengths. The name
    // is all zeros before, and holds what its family says afterwards.
    let read = unsafe {
        SockAddr::try_init(|name, length| {
            message.msg_name = name.cast();
            message.msg_namelen = *length;
            checked(libc::recvmsg(socket.as_raw_fd(), &raw mut message, flags))
        })
    };
    let (_, name) = read.ok()?;
    let to = name.as_socket().unwrap_or(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0));
    Some(Undelivered { to, errno: read_errno(&message) })
}

/// The errno of a message from the error queue (`sock_extended_err`, ip(7)).
fn read_errno(message: &libc::msghdr) -> i32 {
    // SAFETY: the kernel has filled in the control messages of `message`, whose buffer is alive; CMSG_FIRSTHDR gives
    // null or a header that lies inside it.
    let header = unsafe { libc::CMSG_FIRSTHDR(message).as_ref() };
    let Some(header) = header else { return 0 };
    let is_error = matches!(
        (header.cmsg_level, header.cmsg_type),
        (libc::SOL_IP, libc::IP_RECVERR) | (libc::SOL_IPV6, libc::IPV6_RECVERR)
    );
    // SAFETY: only computes from its argument.
    let least = unsafe { libc::CMSG_LEN(size_of::<libc::sock_extended_err>() as u32) } as usize;
    if !is_error || header.cmsg_len < least {
        return 0;
    }
    // SAFETY: the length says that the message holds a sock_extended_err; it is read without asking for alignment.
    let error = unsafe { libc::CMSG_DATA(header).cast::<libc::sock_extended_err>().read_unaligned() };
    error.ee_errno.cast_signed()
}

/// Datagrams that the kernel dropped because the socket was full (`SO_MEMINFO`, Linux 4.12 and later).
///
/// # Errors
/// Of the kernel.
pub fn receive_drops(socket: BorrowedFd<'_>) -> io::Result<u32> {
    // Nine numbers of the socket's memory; the last is the drops (linux/sock_diag.h).
    let mut numbers = [0u32; 9];
    let mut bytes = size_of_val(&numbers) as libc::socklen_t;
    // SAFETY: the kernel writes `bytes` bytes at most into `numbers`, and what it wrote into `bytes`; both outlive the
    // call.
    let (level, name, to) = (libc::SOL_SOCKET, libc::SO_MEMINFO, numbers.as_mut_ptr().cast());
    checked(unsafe { libc::getsockopt(socket.as_raw_fd(), level, name, to, &raw mut bytes) })?;
    Ok(numbers[8])
}

fn set_option(socket: BorrowedFd<'_>, level: i32, name: i32, value: i32) -> io::Result<()> {
    let bytes = size_of_val(&value) as libc::socklen_t;
    // SAFETY: the pointer and the length are those of `value`, which outlives the call.
    let done =
        unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, ptr::from_ref(&value).cast(), bytes) };
    checked(done).map(drop)
}

/// Whether this kernel segments datagrams (UDP_SEGMENT, Linux 4.18 and later); leaves the socket as it was.
pub fn can_segment(socket: BorrowedFd<'_>) -> bool {
    set_option(socket, libc::SOL_UDP, libc::UDP_SEGMENT, 1200).is_ok()
        && set_option(socket, libc::SOL_UDP, libc::UDP_SEGMENT, 0).is_ok()
}

/// Lets the socket queue the ICMP errors that come back (`IP_RECVERR`, `IPV6_RECVERR`).
pub fn queue_errors(socket: BorrowedFd<'_>, v6: bool) -> io::Result<()> {
    if v6 {
        set_option(socket, libc::SOL_IPV6, libc::IPV6_RECVERR, 1)?;
    }
    // Also on an IPv6 socket: it may serve IPv4 viewers too.
    set_option(socket, libc::SOL_IP, libc::IP_RECVERR, 1)
}

/// Asks the scheduler for turns of `length` for this thread and those that it starts from now on; zero: of the usual
/// length. A thread with short turns that wakes runs at once, also while another is in the middle of a longer one.
///
/// Nothing else of its scheduling changes. Linux takes it from 6.12 on; before, nothing happens.
///
/// # Errors
/// Of the kernel.
pub fn set_turn(length: Duration) -> io::Result<()> {
    let size = size_of::<libc::sched_attr>() as u32;
    // SAFETY: plain numbers, for which zero is a value.
    let mut attributes: libc::sched_attr = unsafe { mem::zeroed() };
    // SAFETY: the kernel writes `size` bytes at most into a value of that size.
    checked(unsafe { libc::syscall(libc::SYS_sched_getattr, 0, ptr::from_mut(&mut attributes), size, 0) })?;
    // Under another policy the number means something else.
    if attributes.sched_policy != libc::SCHED_OTHER as u32 {
        return Ok(());
    }
    attributes.size = size;
    attributes.sched_runtime = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
    // SAFETY: the kernel reads `size` bytes of a value of that size.
    checked(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, ptr::from_ref(&attributes), 0) }).map(drop)
}

#[cfg(test)]
mod tests {
    use std::{net::UdpSocket, os::fd::AsFd, time::Duration};

    use super::*;

    fn pair() -> (UdpSocket, UdpSocket, Destination) {
        let (from, to) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        to.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let destination = to.local_addr().unwrap().into();
        (from, to, destination)
    }

    #[test]
    fn one_call_sends_many_datagrams() {
        let (from, to, destination) = pair();
        assert!(can_segment(from.as_fd()));
        let parts = [IoSlice::new(&[1; 100]), IoSlice::new(&[2; 100]), IoSlice::new(&[3; 40])];
        send_datagrams(from.as_fd(), &destination, &parts, Some(100)).unwrap();
        let mut buffer = [0; 1500];
        for (value, length) in [(1, 100), (2, 100), (3, 40)] {
            assert_eq!(to.recv(&mut buffer).unwrap(), length);
            assert!(buffer[..length].iter().all(|&b| b == value));
        }
    }

    #[test]
    fn without_a_segment_size_the_parts_are_one_datagram() {
        let (from, to, destination) = pair();
        send_datagrams(from.as_fd(), &destination, &[IoSlice::new(b"ab"), IoSlice::new(b"c")], None).unwrap();
        let mut buffer = [0; 16];
        assert_eq!(to.recv(&mut buffer).unwrap(), 3);
    }

    #[test]
    fn one_call_sends_to_many() {
        let (from, to, destination) = pair();
        let (_, other, elsewhere) = pair();
        let parts = [IoSlice::new(b"a"), IoSlice::new(b"bb"), IoSlice::new(b"ccc")];
        let messages = [(destination, 0), (elsewhere, 1), (destination, 2)].map(|(to, part): (_, usize)| {
            Outgoing { to, parts: std::slice::from_ref(&parts[part]), segment_bytes: None }
        });
        assert_eq!(send_runs(from.as_fd(), &messages).unwrap(), 3);
        let mut buffer = [0; 16];
        for (socket, sent) in [(&to, &b"a"[..]), (&to, b"ccc"), (&other, b"bb")] {
            let length = socket.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], sent);
        }
    }

    #[test]
    fn what_nobody_listens_for_comes_back() {
        let (from, to, destination) = pair();
        queue_errors(from.as_fd(), false).unwrap();
        let gone = to.local_addr().unwrap();
        drop(to);
        send_datagrams(from.as_fd(), &destination, &[IoSlice::new(b"x")], None).unwrap();
        let undelivered = (0..1000).find_map(|_| {
            std::thread::yield_now();
            pop_undelivered(from.as_fd())
        });
        assert_eq!(undelivered, Some(Undelivered { to: gone, errno: libc::ECONNREFUSED }));
        assert_eq!(pop_undelivered(from.as_fd()), None);
    }
}
