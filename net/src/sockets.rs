//! What both sides ask of their sockets.
//!
//! Owns: listening and binding, the descriptor in reserve, what an error of accept means, the text of an address that cannot be
//! bound.

use std::{
    fs::File,
    io,
    net::{SocketAddr, TcpListener, UdpSocket},
    time::{Duration, Instant},
};

use socket2::{Domain, Socket, Type};

/// That descriptors have run out is said at most this often.
const EXHAUSTED_SAID_EVERY: Duration = Duration::from_secs(10);
/// Connections that the kernel keeps for a listener until they are accepted.
const BACKLOG: i32 = 1024;

/// Listens on `address` without blocking; port 0 takes any free one.
///
/// - `prepare`: sets what else is to be set before the socket is bound.
pub fn listen(
    address: SocketAddr,
    prepare: impl FnOnce(&Socket) -> io::Result<()>,
) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    let socket = bind(socket, address, prepare)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A UDP socket on `address` that does not block; the arguments are those of [`listen`].
pub fn bind_udp(
    address: SocketAddr,
    prepare: impl FnOnce(&Socket) -> io::Result<()>,
) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None)?;
    bind(socket, address, prepare).map(UdpSocket::from)
}

fn bind(
    socket: Socket,
    address: SocketAddr,
    prepare: impl FnOnce(&Socket) -> io::Result<()>,
) -> io::Result<Socket> {
    socket.set_nonblocking(true)?;
    prepare(&socket)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// A spare descriptor.
///
/// When the process runs out of descriptors, [`Reserve::turn_one_away`] closes it, accepts one connection, closes that one,
/// and opens the spare again. So a peer is told at once and does not wait in the kernel's queue.
#[derive(Debug)]
pub struct Reserve {
    spare: Option<File>,
    said_at: Option<Instant>,
}

impl Reserve {
    /// Takes one descriptor aside; where there is none it goes on without.
    pub fn open() -> Self {
        Self { spare: File::open("/dev/null").ok(), said_at: None }
    }

    /// Calls `accept` with one descriptor more and closes what it accepted. Whether an operator is to be told: not lately.
    pub fn turn_one_away<T>(&mut self, now: Instant, accept: impl FnOnce() -> io::Result<T>) -> bool {
        if self.spare.take().is_some() {
            drop(accept());
        }
        self.spare = Self::open().spare;
        let is_due = self.said_at.is_none_or(|at| now.saturating_duration_since(at) >= EXHAUSTED_SAID_EVERY);
        if is_due {
            self.said_at = Some(now);
        }
        is_due
    }
}

/// Whether accept(2) failed because the process or the machine has no descriptor or memory left: pause, do not repeat.
pub fn is_exhausted(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOMEM | libc::ENFILE | libc::EMFILE | libc::ENOBUFS))
}

/// The error that an operator reads when `address`, from the settings' key `setting`, cannot be bound.
pub fn cannot_bind(error: &io::Error, setting: &str, address: SocketAddr) -> io::Error {
    io::Error::new(error.kind(), format!("{setting}: cannot bind {address}: {error}"))
}
