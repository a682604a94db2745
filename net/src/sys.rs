//! The system calls that no safe wrapper offers: the only `unsafe` of the project.
//!
//! Owns: one datagram send with scattered buffers, UDP segmentation and a chosen source address, the socket's error
//! queue, socket options, the length of a thread's turns; and for the load tools: one call that receives several
//! datagrams.
//! Invariant: every pointer given to the kernel points into a value borrowed for the length of the call.
#![expect(
    unsafe_code,
    reason = "sendmsg with UDP_SEGMENT, recvmsg with MSG_ERRQUEUE, sendmmsg and recvmmsg have no safe wrapper that does not \
              allocate, and sched_setattr has none"
)]

use std::{
    io::{self, IoSlice},
    mem,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6},
    os::fd::{AsRawFd, BorrowedFd},
    ptr,
    time::Duration,
};

/// Where a datagram goes, in the kernel's own form, and which of the machine's addresses it leaves from.
#[derive(Clone, Copy)]
pub struct Destination {
    name: Name,
    /// `None`: as the socket is bound, or as the kernel's routing says.
    source: Option<IpAddr>,
}

#[derive(Clone, Copy)]
enum Name {
    V4(libc::sockaddr_in),
    V6(libc::sockaddr_in6),
}

impl From<SocketAddr> for Destination {
    fn from(address: SocketAddr) -> Self {
        let name = match address {
            SocketAddr::V4(v4) => Name::V4(libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                sin_zero: [0; 8],
            }),
            SocketAddr::V6(v6) => Name::V6(libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                sin6_scope_id: v6.scope_id(),
            }),
        };
        Self { name, source: None }
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
    pub const fn at_port(mut self, port: u16) -> Self {
        match &mut self.name {
            Name::V4(v4) => v4.sin_port = port.to_be(),
            Name::V6(v6) => v6.sin6_port = port.to_be(),
        }
        self
    }

    /// Where it goes, to look at.
    pub fn address(&self) -> SocketAddr {
        match &self.name {
            Name::V4(v4) => v4_address(v4),
            Name::V6(v6) => v6_address(v6),
        }
    }

    const fn as_name(&self) -> (*const libc::c_void, libc::socklen_t) {
        match &self.name {
            Name::V4(v4) => (ptr::from_ref(v4).cast(), size_of_val(v4) as libc::socklen_t),
            Name::V6(v6) => (ptr::from_ref(v6).cast(), size_of_val(v6) as libc::socklen_t),
        }
    }
}

/// A `UDP_SEGMENT` control message as `CMSG_FIRSTHDR` lays it out: header, the size, padding.
#[repr(C)]
struct SegmentControl {
    header: libc::cmsghdr,
    segment_bytes: u16,
    padding: [u8; 6],
}

const _: () = {
    // SAFETY: both only compute from their argument.
    let space = unsafe { libc::CMSG_SPACE(2) } as usize;
    assert!(size_of::<SegmentControl>() == space, "the layout is the kernel's");
};

impl SegmentControl {
    const fn new(segment_bytes: u16) -> Self {
        // SAFETY: only computes from its argument.
        let cmsg_len = unsafe { libc::CMSG_LEN(2) } as _;
        let header = libc::cmsghdr { cmsg_len, cmsg_level: libc::SOL_UDP, cmsg_type: libc::UDP_SEGMENT };
        Self { header, segment_bytes, padding: [0; 6] }
    }
}

/// What goes with a message: the segments' size, and the address that it leaves from (`IP_PKTINFO`, `IPV6_PKTINFO`).
#[repr(C)]
struct Control {
    segment: SegmentControl,
    header: libc::cmsghdr,
    /// An `in_pktinfo` (index, source, address) or an `in6_pktinfo` (address, index).
    source: [u32; 6],
}

const _: () = {
    // SAFETY: all only compute from their arguments.
    let [segment, v4, v6] = unsafe { [libc::CMSG_SPACE(2), libc::CMSG_SPACE(12), libc::CMSG_SPACE(20)] };
    assert!(size_of::<libc::in_pktinfo>() == 12 && size_of::<libc::in6_pktinfo>() == 20);
    assert!(mem::offset_of!(Control, header) == segment as usize);
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
        // SAFETY: both only compute from their argument.
        let (cmsg_len, space) = unsafe { (libc::CMSG_LEN(bytes), libc::CMSG_SPACE(bytes)) };
        let header = libc::cmsghdr { cmsg_len: cmsg_len as _, cmsg_level: level, cmsg_type: name };
        let control = Self { segment: SegmentControl::new(segment_bytes.unwrap_or(0)), header, source };
        let of_segment = mem::offset_of!(Self, header);
        let begins = if segment_bytes.is_some() { 0 } else { of_segment };
        let ends = if bytes > 0 { of_segment + space as usize } else { of_segment };
        (control, begins, ends - begins)
    }
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
    let (mut control, begins, length) = Control::new(segment_bytes, to.source);
    let mut message = message_of(to, parts);
    if length > 0 {
        message.msg_control = ptr::from_mut(&mut control).wrapping_byte_add(begins).cast();
        message.msg_controllen = length as _;
    }
    // SAFETY: `message` points to `to`, `parts` and `control`, which outlive the call; the descriptor is borrowed, and
    // nothing is written through the pointers.
    let sent = unsafe {
        libc::sendmsg(socket.as_raw_fd(), &raw const message, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A message without control messages.
fn message_of(to: &Destination, parts: &[IoSlice<'_>]) -> libc::msghdr {
    // SAFETY: an all-zero msghdr is a valid one: null pointers with zero lengths.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    let (name, name_bytes) = to.as_name();
    message.msg_name = name.cast_mut();
    message.msg_namelen = name_bytes;
    // `IoSlice` is an iovec by its documentation; the kernel does not write through it.
    message.msg_iov = parts.as_ptr().cast_mut().cast();
    message.msg_iovlen = parts.len() as _;
    message
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
    let mut controls: [Option<Control>; RUNS_MAX] = [const { None }; RUNS_MAX];
    let count = runs.len().min(RUNS_MAX);
    for ((message, control), run) in messages.iter_mut().zip(&mut controls).zip(runs) {
        message.msg_hdr = message_of(&run.to, run.parts);
        let (made, begins, length) = Control::new(run.segment_bytes, run.to.source);
        if length > 0 {
            message.msg_hdr.msg_control =
                ptr::from_mut(control.insert(made)).wrapping_byte_add(begins).cast();
            message.msg_hdr.msg_controllen = length as _;
        }
    }
    // SAFETY: the first `count` messages point into `runs` and `controls`, which outlive the call and do not move; the
    // descriptor is borrowed. The kernel writes each message's length only.
    let sent = unsafe {
        libc::sendmmsg(
            socket.as_raw_fd(),
            messages.as_mut_ptr(),
            count as libc::c_uint,
            libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
        )
    };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
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
    // SAFETY: all-zero is a valid sockaddr_storage and a valid msghdr.
    let (mut name, mut message): (libc::sockaddr_storage, libc::msghdr) =
        unsafe { (mem::zeroed(), mem::zeroed()) };
    let mut control = [0u64; 64];
    message.msg_name = ptr::from_mut(&mut name).cast();
    message.msg_namelen = size_of_val(&name) as libc::socklen_t;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control) as _;
    // SAFETY: `message` points to `name` and `control`, writable and alive for the call, with their true lengths.
    let got =
        unsafe { libc::recvmsg(socket.as_raw_fd(), &mut message, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT) };
    (got >= 0).then(|| Undelivered { to: read_name(&name), errno: read_errno(&message) })
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

const fn v4_address(v4: &libc::sockaddr_in) -> SocketAddr {
    let ip = Ipv4Addr::from_octets(v4.sin_addr.s_addr.to_ne_bytes());
    SocketAddr::new(IpAddr::V4(ip), u16::from_be(v4.sin_port))
}

const fn v6_address(v6: &libc::sockaddr_in6) -> SocketAddr {
    let ip = Ipv6Addr::from_octets(v6.sin6_addr.s6_addr);
    SocketAddr::V6(SocketAddrV6::new(ip, u16::from_be(v6.sin6_port), 0, v6.sin6_scope_id))
}

fn read_name(name: &libc::sockaddr_storage) -> SocketAddr {
    match i32::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says what is stored; sockaddr_storage is large and aligned enough for it.
            v4_address(unsafe { &*ptr::from_ref(name).cast::<libc::sockaddr_in>() })
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            v6_address(unsafe { &*ptr::from_ref(name).cast::<libc::sockaddr_in6>() })
        }
        _ => SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
    }
}

/// Most messages of one [`receive_datagrams`].
pub const MESSAGES_MAX: usize = 64;

/// Where [`receive_datagrams`] puts what came.
pub struct ReceiveBuffers {
    bytes: Box<[u8]>,
    /// Length of each message that came, and of the datagrams it holds.
    messages: [(usize, usize); MESSAGES_MAX],
    capacity: usize,
    count: usize,
}

/// Room for each message: the largest UDP datagram, or as many datagrams as the kernel puts together.
const MESSAGE_BYTES: usize = 65_536;

impl ReceiveBuffers {
    /// Room for `messages` in one call, 1 to [`MESSAGES_MAX`].
    pub fn new(messages: usize) -> Self {
        let capacity = messages.clamp(1, MESSAGES_MAX);
        let bytes = vec![0; capacity * MESSAGE_BYTES].into();
        Self { bytes, messages: [(0, 0); MESSAGES_MAX], capacity, count: 0 }
    }

    /// The datagrams of the last call, in their order; those that the kernel had put together are cut apart again.
    pub fn datagrams(&self) -> impl Iterator<Item = &[u8]> {
        let messages = self.messages.iter().take(self.count);
        messages.zip(self.bytes.chunks(MESSAGE_BYTES)).flat_map(|(&(length, datagram_bytes), bytes)| {
            bytes[..length.min(MESSAGE_BYTES)].chunks(datagram_bytes.max(1))
        })
    }
}

/// A `UDP_GRO` control message as the kernel writes it.
#[repr(C)]
#[derive(Clone, Copy)]
struct GroControl {
    header: libc::cmsghdr,
    datagram_bytes: i32,
    padding: [u8; 4],
}

const _: () = {
    // SAFETY: both only compute from their argument.
    let space = unsafe { libc::CMSG_SPACE(4) } as usize;
    assert!(size_of::<GroControl>() == space, "the layout is the kernel's");
};

/// Takes what waits in the socket, as many messages as `buffers` has room for, with one call (recvmmsg). Does not wait.
///
/// Returns how many messages came; fewer than there is room for: the socket is empty.
///
/// # Errors
/// As recvmmsg(2); `WouldBlock`: nothing waits. `buffers` then holds nothing.
pub fn receive_datagrams(socket: BorrowedFd<'_>, buffers: &mut ReceiveBuffers) -> io::Result<usize> {
    // SAFETY: all-zero is a valid value of each: null pointers, zero lengths, plain numbers.
    let (mut headers, mut controls, mut parts): (
        [libc::mmsghdr; MESSAGES_MAX],
        [GroControl; MESSAGES_MAX],
        [libc::iovec; MESSAGES_MAX],
    ) = unsafe { (mem::zeroed(), mem::zeroed(), mem::zeroed()) };
    buffers.count = 0;
    for (place, bytes) in buffers.bytes.chunks_mut(MESSAGE_BYTES).enumerate() {
        parts[place] = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
        let header = &mut headers[place].msg_hdr;
        header.msg_iov = ptr::from_mut(&mut parts[place]);
        header.msg_iovlen = 1;
        header.msg_control = ptr::from_mut(&mut controls[place]).cast();
        header.msg_controllen = size_of::<GroControl>() as _;
    }
    // SAFETY: the first `capacity` headers point to as many parts, controls and stretches of `buffers.bytes`, all
    // writable with their true lengths and alive for the call; no time limit is given; the descriptor is borrowed.
    let got = unsafe {
        libc::recvmmsg(
            socket.as_raw_fd(),
            headers.as_mut_ptr(),
            buffers.capacity as libc::c_uint,
            libc::MSG_DONTWAIT,
            ptr::null_mut(),
        )
    };
    let got = usize::try_from(got).map_err(|_| io::Error::last_os_error())?;
    for ((message, header), control) in buffers.messages.iter_mut().zip(&headers).zip(&controls).take(got) {
        let length = header.msg_len as usize;
        let joined = header.msg_hdr.msg_controllen >= size_of::<libc::cmsghdr>() + size_of::<i32>()
            && (control.header.cmsg_level, control.header.cmsg_type) == (libc::SOL_UDP, libc::UDP_GRO);
        *message = (length, if joined { control.datagram_bytes.max(1) as usize } else { length });
    }
    buffers.count = got;
    Ok(got)
}

/// Lets the kernel hand over datagrams of one sender put together (UDP_GRO, Linux 5.0 and later).
pub fn join_datagrams(socket: BorrowedFd<'_>) -> io::Result<()> {
    set_option(socket, libc::SOL_UDP, libc::UDP_GRO, 1)
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
    let got = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            numbers.as_mut_ptr().cast(),
            &raw mut bytes,
        )
    };
    if got < 0 { Err(io::Error::last_os_error()) } else { Ok(numbers[8]) }
}

fn set_option(socket: BorrowedFd<'_>, level: i32, name: i32, value: i32) -> io::Result<()> {
    let bytes = size_of_val(&value) as libc::socklen_t;
    // SAFETY: the pointer and the length are those of `value`, which outlives the call.
    let done =
        unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, ptr::from_ref(&value).cast(), bytes) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
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

/// Lets writes fail with `WouldBlock` while `bytes` wait unsent in the kernel (`TCP_NOTSENT_LOWAT`).
pub fn set_unsent_limit(socket: BorrowedFd<'_>, bytes: i32) -> io::Result<()> {
    set_option(socket, libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT, bytes)
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
    let got = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, ptr::from_mut(&mut attributes), size, 0) };
    if got != 0 {
        return Err(io::Error::last_os_error());
    }
    // Under another policy the number means something else.
    if attributes.sched_policy != libc::SCHED_OTHER as u32 {
        return Ok(());
    }
    attributes.size = size;
    attributes.sched_runtime = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
    // SAFETY: the kernel reads `size` bytes of a value of that size.
    let set = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, ptr::from_ref(&attributes), 0) };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
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

    /// Receives until `count` datagrams are there.
    fn receive(socket: &UdpSocket, count: usize) -> Vec<Vec<u8>> {
        let mut buffers = ReceiveBuffers::new(4);
        let mut got: Vec<Vec<u8>> = Vec::new();
        let deadline = std::time::Instant::now() + Duration::from_secs(5);
        while got.len() < count {
            assert!(std::time::Instant::now() < deadline, "{} of {count} came", got.len());
            if receive_datagrams(socket.as_fd(), &mut buffers).is_ok() {
                got.extend(buffers.datagrams().map(<[u8]>::to_vec));
            }
        }
        got
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
        assert_eq!(receive(&to, 2), [b"a".to_vec(), b"ccc".to_vec()]);
        assert_eq!(receive(&other, 1), [b"bb".to_vec()]);
        assert!(receive_datagrams(to.as_fd(), &mut ReceiveBuffers::new(1)).is_err(), "nothing waits");
    }

    #[test]
    fn datagrams_that_the_kernel_joined_are_cut_apart() {
        for joining in [false, true] {
            let (from, to, destination) = pair();
            if joining {
                join_datagrams(to.as_fd()).unwrap();
            }
            let parts = [IoSlice::new(&[1; 100]), IoSlice::new(&[2; 100]), IoSlice::new(&[3; 40])];
            send_datagrams(from.as_fd(), &destination, &parts, Some(100)).unwrap();
            send_datagrams(from.as_fd(), &destination, &[IoSlice::new(&[4; 7])], None).unwrap();
            assert_eq!(receive(&to, 4), [vec![1; 100], vec![2; 100], vec![3; 40], vec![4; 7]]);
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
