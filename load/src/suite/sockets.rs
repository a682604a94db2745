//! What the kernel holds for the connections of one port.
//!
//! Owns: one question to the kernel's socket diagnosis (`sock_diag(7)`, netlink).
//! Holds: it is read only, bounded in replies and time.

use std::{
    io::{self, Read, Write},
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};

const AF_NETLINK: i32 = 16;
const NETLINK_SOCK_DIAG: i32 = 4;
const AF_INET: u8 = 2;
const IPPROTO_TCP: u8 = 6;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// `NLM_F_REQUEST | NLM_F_DUMP`.
const REQUEST_DUMP: u16 = 0x301;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const INET_DIAG_SKMEMINFO: u16 = 7;
const TCP_ESTABLISHED: u32 = 1;
const HEADER_BYTES: usize = 16;
const REQUEST_BYTES: usize = 72;
/// Of `struct inet_diag_msg`.
const ANSWER_BYTES: usize = 72;
/// Of the numbers of `SK_MEMINFO`: what arrived, what is reserved, what waits to leave, options, the backlog.
const HELD: [usize; 5] = [0, 4, 5, 6, 7];
const REPLIES_MAX: usize = 100_000;
const PATIENCE: Duration = Duration::from_secs(2);

/// Connections, and what the kernel holds for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct KernelUse {
    pub(super) connections: u64,
    /// Of buffered data with its bookkeeping; the sockets themselves, some kilobytes each, are not in it.
    pub(super) bytes: u64,
}

/// Established TCP connections over IPv4 whose own port is `port`.
///
/// # Errors
/// The kernel does not tell.
pub(super) fn of_port(port: u16) -> io::Result<KernelUse> {
    let socket = Socket::new(Domain::from(AF_NETLINK), Type::DGRAM, Some(Protocol::from(NETLINK_SOCK_DIAG)))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    (&socket).write_all(&request(port))?;
    let mut used = KernelUse::default();
    let mut bytes = vec![0; 64 * 1024];
    for _ in 0..REPLIES_MAX {
        let length = (&socket).read(&mut bytes)?;
        if take(&bytes[..length], port, &mut used)? {
            return Ok(used);
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

fn request(port: u16) -> [u8; REQUEST_BYTES] {
    let mut request = [0; REQUEST_BYTES];
    request[..4].copy_from_slice(&(REQUEST_BYTES as u32).to_ne_bytes());
    request[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    request[6..8].copy_from_slice(&REQUEST_DUMP.to_ne_bytes());
    request[16..19].copy_from_slice(&[AF_INET, IPPROTO_TCP, 1 << (INET_DIAG_SKMEMINFO - 1)]);
    request[20..24].copy_from_slice(&(1u32 << TCP_ESTABLISHED).to_ne_bytes());
    request[24..26].copy_from_slice(&port.to_be_bytes());
    request
}

/// Counts what one datagram of answers says. Returns whether it was the last.
fn take(mut answers: &[u8], port: u16, used: &mut KernelUse) -> io::Result<bool> {
    while let (Some(length), Some(kind)) = (u32_at(answers, 0), u16_at(answers, 4)) {
        let length = (length as usize).max(HEADER_BYTES);
        let Some(answer) = answers.get(HEADER_BYTES..length) else { break };
        match kind {
            NLMSG_DONE => return Ok(true),
            NLMSG_ERROR => {
                let code = u32_at(answer, 0).unwrap_or(0) as i32;
                return Err(io::Error::from_raw_os_error(-code));
            }
            // The kernel may leave out the condition on the port.
            _ if answer.get(4..6) == Some(&port.to_be_bytes()) => {
                used.connections += 1;
                used.bytes += held(answer.get(ANSWER_BYTES..).unwrap_or_default());
            }
            _ => {}
        }
        answers = answers.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

/// The memory that an answer's attributes name.
fn held(mut attributes: &[u8]) -> u64 {
    while let (Some(length), Some(kind)) = (u16_at(attributes, 0), u16_at(attributes, 2)) {
        let length = usize::from(length).max(4);
        if kind == INET_DIAG_SKMEMINFO {
            let numbers = attributes.get(4..length).unwrap_or_default();
            return HELD.iter().filter_map(|place| u32_at(numbers, place * 4)).map(u64::from).sum();
        }
        attributes = attributes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    0
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|four| u32::from_ne_bytes(*four))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|two| u16::from_ne_bytes(*two))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn what_nobody_reads_is_seen_in_the_kernel() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connect = || {
            let theirs = TcpStream::connect(address).unwrap();
            (listener.accept().unwrap().0, theirs)
        };
        let pairs = [connect(), connect()];
        let idle = of_port(address.port()).unwrap();
        assert_eq!(idle.connections, 2);
        pairs[0].0.set_nonblocking(true).unwrap();
        let mut filled = 0;
        while let Ok(count @ 1..) = (&pairs[0].0).write(&[0; 4096]) {
            filled += count;
            assert!(filled < 1 << 30);
        }
        let full = of_port(address.port()).unwrap();
        assert_eq!(full.connections, 2);
        assert!(full.bytes > idle.bytes + 4096, "{idle:?}, {full:?}");
    }

    #[test]
    fn answers_that_are_cut_short_are_no_danger() {
        let mut message = request(1).to_vec();
        message[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        for length in 0..message.len() {
            let mut used = KernelUse::default();
            assert!(!take(&message[..length], 1, &mut used).unwrap());
            assert_eq!(held(&message[..length]), 0);
        }
        let mut error = [0; 20];
        error[..4].copy_from_slice(&20u32.to_ne_bytes());
        error[4..6].copy_from_slice(&NLMSG_ERROR.to_ne_bytes());
        error[16..].copy_from_slice(&(-1i32).to_ne_bytes());
        assert_eq!(
            take(&error, 1, &mut KernelUse::default()).unwrap_err().kind(),
            io::ErrorKind::PermissionDenied
        );
    }
}
