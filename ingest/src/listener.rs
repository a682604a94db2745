//! The access ports: listening, accepting, and what happens when descriptors run out.
//!
//! Holds: one descriptor is kept in reserve, so that a connection which cannot be served is closed and not left in
//! the kernel's queue, and accepting pauses instead of spinning.

use std::{fs::File, io, net::SocketAddr, time::Instant};

use mio::net::{TcpListener, TcpStream};
use socket2::{Domain, Protocol, Socket, Type};

use crate::limits;

/// Linux numbers of the errors that mean "no descriptors or memory left": ENOMEM, ENFILE, EMFILE, ENOBUFS.
const EXHAUSTED: [i32; 4] = [12, 23, 24, 105];

/// What one accept gave.
pub(crate) enum Accepted {
    /// A connection from this address.
    Stream(TcpStream, SocketAddr),
    /// That one is gone already; there may be more.
    Lost,
    /// No more for now.
    Drained,
    /// Descriptors have run out; the connection was closed, accepting pauses.
    Exhausted,
}

/// One access port.
pub(crate) struct Listener {
    socket: TcpListener,
    local: SocketAddr,
    /// When to try again after descriptors ran out.
    pub(crate) retry_at: Option<Instant>,
}

impl Listener {
    /// Listens on `address`; port 0 takes any free one.
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(limits::BACKLOG)?;
        let socket = TcpListener::from_std(socket.into());
        let local = socket.local_addr()?;
        Ok(Self { socket, local, retry_at: None })
    }

    /// The address that it listens on.
    pub(crate) const fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// For registering with the poll.
    pub(crate) const fn source(&mut self) -> &mut TcpListener {
        &mut self.socket
    }

    /// Accepts one connection. `reserve` is given up for a moment where descriptors have run out.
    pub(crate) fn accept(&mut self, now: Instant, reserve: &mut Reserve) -> Accepted {
        match self.socket.accept() {
            Ok((stream, peer)) => Accepted::Stream(stream, peer),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Accepted::Drained,
            Err(error) if error.raw_os_error().is_some_and(|code| EXHAUSTED.contains(&code)) => {
                reserve.spend(|| drop(self.socket.accept()));
                self.retry_at = Some(now + limits::ACCEPT_PAUSE);
                Accepted::Exhausted
            }
            Err(_) => Accepted::Lost,
        }
    }
}

/// The descriptor kept for the moment when there is none left.
pub(crate) struct Reserve(Option<File>);

impl Reserve {
    /// Takes one descriptor aside; without one it goes on without.
    pub(crate) fn new() -> Self {
        Self(open())
    }

    /// Runs `action` with one descriptor more, then takes one aside again.
    fn spend(&mut self, action: impl FnOnce()) {
        let had = self.0.take().is_some();
        if had {
            action();
        }
        self.0 = open();
    }
}

fn open() -> Option<File> {
    File::open("/dev/null").ok()
}
