//! A viewer's TCP connection as bytes: what waits to be written, and which of it is media.
//!
//! Owns: partial writes. The rest of a packet that was begun is kept and always goes first, so that a viewer may jump
//! in the log at any time and its peer still sees whole frames.
//! Invariant: the rest of a packet leaves with a [`Guard`]'s leave only; protocol bytes go out between frames, never
//! inside one.

use std::io::{self, IoSlice, Write};

use bytes::{Buf, Bytes, BytesMut};

use crate::{guard::Guard, limits};

/// A connection's socket, and what waits for it.
pub(crate) struct Wire<S> {
    pub(crate) stream: S,
    pub(crate) outbox: Outbox,
}

/// Protocol bytes and the rest of a media packet that wait for one connection.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// Rest of a packet whose beginning is sent.
    tail: Bytes,
    /// Responses, and RTCP that is no part of the stream.
    control: BytesMut,
    /// Set when a packet was left unfinished: nothing more can be said on this connection.
    broken: bool,
}

impl Outbox {
    /// Lets `bytes` follow what waits; `false` when more would wait than one peer is granted.
    pub(crate) fn push_control(&mut self, bytes: &[u8]) -> bool {
        let fits = self.control.len() + bytes.len() <= limits::CONTROL_BYTES_MAX;
        if fits && !self.broken {
            self.control.extend_from_slice(bytes);
        }
        fits
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.tail.is_empty() && self.control.is_empty()
    }

    /// Keeps the rest of a packet that was begun; nothing else may wait.
    pub(crate) fn keep_tail(&mut self, rest: Bytes) {
        self.tail = rest;
    }

    /// Forgets the rest of a packet that was begun, and with it all that was to follow: the peer's framing is lost.
    /// Returns whether there was none, so that more may be said.
    pub(crate) fn forget_tail(&mut self) -> bool {
        if !self.tail.is_empty() {
            *self = Self { broken: true, ..Self::default() };
        }
        !self.broken
    }

    /// What waits, for one write that goes on with media.
    pub(crate) fn parts(&self) -> [IoSlice<'_>; 2] {
        [IoSlice::new(&self.tail), IoSlice::new(&self.control)]
    }

    /// How many bytes wait.
    pub(crate) fn len(&self) -> usize {
        self.tail.len() + self.control.len()
    }

    /// Takes `count` written bytes off the front; returns how many of them were beyond this outbox.
    pub(crate) fn consume(&mut self, count: usize) -> usize {
        let tail = count.min(self.tail.len());
        self.tail.advance(tail);
        let control = (count - tail).min(self.control.len());
        self.control.advance(control);
        if self.control.is_empty() {
            self.control = BytesMut::new();
        }
        count - tail - control
    }
}

impl<S: Write> Wire<S> {
    /// Writes what waits. Whether all of it left.
    ///
    /// - `guard`: of the program whose media the connection carries; without one the rest of a packet stays.
    pub(crate) fn flush(&mut self, guard: Option<&Guard<'_>>) -> io::Result<bool> {
        while !self.outbox.is_empty() {
            if !self.outbox.tail.is_empty() && !guard.is_some_and(Guard::may_send) {
                return Ok(false);
            }
            match write_some(|| self.stream.write_vectored(&self.outbox.parts()))? {
                Some(count) => _ = self.outbox.consume(count),
                None => return Ok(false),
            }
        }
        Ok(true)
    }
}

/// One write that took at least a byte; `None` when the socket is full.
pub(crate) fn write_some(mut write: impl FnMut() -> io::Result<usize>) -> io::Result<Option<usize>> {
    loop {
        match write() {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => return Ok(Some(count)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
