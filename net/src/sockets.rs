//! What both sides ask of their sockets.
//!
//! Owns: the descriptor in reserve, what an error of accept means, the text of an address that cannot be bound.

use std::{fs::File, io, net::SocketAddr};

/// A spare descriptor.
///
/// When the process runs out of descriptors, [`Reserve::turn_one_away`] closes it, accepts one connection, closes that one,
/// and opens the spare again. So a peer is told at once and does not wait in the kernel's queue.
#[derive(Debug)]
pub struct Reserve(Option<File>);

impl Reserve {
    /// Takes one descriptor aside; where there is none it goes on without.
    pub fn open() -> Self {
        Self(File::open("/dev/null").ok())
    }

    /// Calls `accept` with one descriptor more and closes what it accepted.
    pub fn turn_one_away<T>(&mut self, accept: impl FnOnce() -> io::Result<T>) {
        if self.0.take().is_some() {
            drop(accept());
        }
        *self = Self::open();
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
