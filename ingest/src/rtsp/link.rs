//! One connection of the link side: its socket, what waits to be sent, and how far it has come.
//!
//! Owns: reading, writing, and leaving in good order. Not here: what requests mean (`requests`), media (`slotcast-desk`).
//! Invariant: what waits for the socket is bounded; a leaving connection is read to its end, so that the last answer is
//! not destroyed by a reset, for a bounded time.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Shutdown, SocketAddr},
    time::Instant,
};

use bytes::{Buf, BytesMut};
use mio::net::TcpStream;
use slotcast_admission::Reason;
use slotcast_core::{media::Offer, time::Now, words::ProgramId};
use slotcast_desk::{Desk, Fate, Pass};
use slotcast_rtsp::{
    message::frame_header,
    server::{Answer, ServerConnection},
};

use crate::limits;

/// What a link is to a program, from the accepted ANNOUNCE on.
pub(crate) struct Admitted {
    /// Given back on drop.
    pub(crate) pass: Pass,
    /// What it is going to send.
    pub(crate) offer: Offer,
    /// Media sections that may be set up, those included that are left out.
    pub(crate) sections: u8,
    /// For the answer to RECORD: when it goes on air.
    pub(crate) headers: Vec<(String, String)>,
    /// Since when its media is taken.
    pub(crate) recording: Option<Recording>,
}

impl Admitted {
    /// Hands the desk what has come on `track`, if it is recorded. An error: the link is to be closed for it.
    pub(crate) fn take(
        &mut self,
        desk: &mut Desk,
        now: Now,
        (track, is_rtcp): (u8, bool),
        packet: &[u8],
    ) -> Result<(), Reason> {
        let Some(recording) = &mut self.recording else { return Ok(()) };
        if is_rtcp {
            desk.rtcp(now, &self.pass, track, packet);
            return Ok(());
        }
        match desk.rtp(now, &self.pass, track, packet) {
            Fate::Taken => recording.arrival = Some(now.mono),
            Fate::Dropped => {}
            Fate::Close(reason) => return Err(reason),
        }
        Ok(())
    }
}

/// One recording of a link, up to its pause or end.
pub(crate) struct Recording {
    /// When it began.
    pub(crate) since: Instant,
    /// When something that counts has last come.
    pub(crate) arrival: Option<Instant>,
    /// Another UDP port of its address than it announced, from which something has come first.
    pub(crate) wrong_port: Option<u16>,
    /// Whether that was said.
    pub(crate) port_said: bool,
}

/// How far a connection has come.
pub(crate) enum Stage {
    /// In the antechamber, until this deadline.
    Unproven {
        /// When it is closed.
        deadline: Instant,
    },
    /// It has shown a valid reservation ID and keeps a line.
    Admitted {
        /// Which program's.
        admitted: Box<Admitted>,
        /// When it is closed unless it records; `None` once it does.
        record_by: Option<Instant>,
    },
    /// It was told why; what waits is flushed, and its own close awaited, until this deadline.
    Leaving {
        /// When it is dropped.
        deadline: Instant,
    },
}

/// One connection.
pub(crate) struct Link {
    stream: TcpStream,
    pub(crate) peer: SocketAddr,
    /// Index of the UDP pair of its listener.
    pub(crate) pair: Option<usize>,
    pub(crate) connection: ServerConnection,
    pub(crate) stage: Stage,
    /// The channel that it asked for, as it came.
    pub(crate) wanted: Option<Box<str>>,
    /// Why it was asked for a reservation ID, if it was.
    pub(crate) challenged: Option<Reason>,
    /// Why it was refused, if the connection is to be closed for it.
    pub(crate) refused: Option<Reason>,
    /// An answer that must not come sooner than this.
    pub(crate) delayed: Option<(Instant, Answer)>,
    /// Whether the peer has ended its side: it is dropped as soon as all is said.
    pub(crate) peer_is_done: bool,
    /// What waits for the socket.
    out: BytesMut,
    shut: bool,
}

impl Link {
    /// An unproven connection from `peer`.
    pub(crate) fn new(
        stream: TcpStream,
        peer: SocketAddr,
        pair: Option<usize>,
        connection: ServerConnection,
        deadline: Instant,
    ) -> Self {
        let stage = Stage::Unproven { deadline };
        Self {
            stream,
            peer,
            pair,
            connection,
            stage,
            wanted: None,
            challenged: None,
            refused: None,
            delayed: None,
            peer_is_done: false,
            out: BytesMut::new(),
            shut: false,
        }
    }

    /// For registering with the poll.
    pub(crate) const fn socket(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// The address of ours that the peer speaks to; `None` when the connection is broken.
    pub(crate) fn spoken_to(&self) -> Option<IpAddr> {
        self.stream.local_addr().ok().map(|address| address.ip())
    }

    /// What it is to a program; `None` before that and when it is leaving.
    pub(crate) const fn admitted(&self) -> Option<&Admitted> {
        match &self.stage {
            Stage::Admitted { admitted, .. } => Some(admitted),
            Stage::Unproven { .. } | Stage::Leaving { .. } => None,
        }
    }

    /// As [`admitted`](Self::admitted), to change.
    pub(crate) const fn admitted_mut(&mut self) -> Option<&mut Admitted> {
        match &mut self.stage {
            Stage::Admitted { admitted, .. } => Some(admitted),
            Stage::Unproven { .. } | Stage::Leaving { .. } => None,
        }
    }

    /// Whether it was told to go.
    pub(crate) const fn is_leaving(&self) -> bool {
        matches!(self.stage, Stage::Leaving { .. })
    }

    /// The program that it is for; `None` as for [`admitted`](Self::admitted).
    pub(crate) fn program(&self) -> Option<ProgramId> {
        self.admitted().map(|admitted| admitted.pass.program())
    }

    /// Reads once, as [`Read::read`] does.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buffer)
    }

    /// Queues bytes for the peer; an error where too much waits already.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<(), Reason> {
        if self.out.len() + bytes.len() > limits::OUT_BYTES_MAX {
            return Err(Reason::LinkUnread);
        }
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    /// Queues a report in a `$` frame; left out while much is waiting.
    pub(crate) fn send_report(&mut self, channel: u8, report: &[u8]) {
        let Ok(length) = u16::try_from(report.len()) else { return };
        if self.out.len() < limits::OUT_BYTES_FOR_REPORTS {
            self.out.extend_from_slice(&frame_header(channel, length));
            self.out.extend_from_slice(report);
        }
    }

    /// Whether it was told to go, has heard all, and says nothing more itself.
    pub(crate) fn is_done(&self) -> bool {
        self.is_leaving() && self.peer_is_done && self.out.is_empty()
    }

    /// Writes what waits, as far as the socket takes it. An error: the connection is broken.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        while !self.out.is_empty() {
            match self.stream.write(&self.out) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => self.out.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.out = BytesMut::new();
        if self.is_leaving() && !self.shut {
            self.shut = true;
            self.stream.shutdown(Shutdown::Write)?;
        }
        Ok(())
    }
}
