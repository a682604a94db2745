//! The access ports: listening, accepting, and what happens when descriptors run out.
//!
//! Invariant: where descriptors run out, a connection is closed rather than left in the kernel's queue, and accepting pauses.

use std::{io, net::SocketAddr, time::Instant};

use mio::net::{TcpListener, TcpStream};
use slotcast_net::sockets::{Reserve, is_exhausted};
use socket2::{Domain, Protocol, Socket, Type};

use crate::limits;

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
            Err(error) if is_exhausted(&error) => {
                reserve.turn_one_away(|| self.socket.accept());
                self.retry_at = Some(now + limits::ACCEPT_PAUSE);
                Accepted::Exhausted
            }
            Err(_) => Accepted::Lost,
        }
    }
}
