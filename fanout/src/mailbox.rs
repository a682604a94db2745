//! How a worker is reached from other threads: rare messages, bounded, with a wake-up.
//!
//! Holds: hearsay about a datagram is left only where it may mean somebody, so that strangers' datagrams, which anybody can
//! send, do not take the room of viewers'; to know that takes no lock.

use std::{
    collections::{VecDeque, hash_map::RandomState},
    hash::BuildHasher,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
        mpsc::SyncSender,
    },
};

use parking_lot::Mutex;
use slotcast_core::{feed::Wake, words::ProgramId};

use crate::{limits, roll::ViewerInfo};

/// What a worker can be told.
#[derive(Debug)]
pub(crate) enum Message {
    /// A datagram from this address came to a sibling's socket: if it is one of this worker's viewers, it lives.
    Alive(SocketAddr),
    /// A datagram to this address could not be delivered.
    Undelivered(SocketAddr),
    /// Take no new connections.
    Drain,
    /// End all sessions, then stop.
    Stop,
    /// Say who watches this program.
    List(ProgramId, SyncSender<Vec<ViewerInfo>>),
    /// End the session of one of its viewers, and say whether it was there.
    Kick(ProgramId, u64, SyncSender<bool>),
}

impl Message {
    /// The address that it is hearsay about; `None` for orders and questions.
    const fn hearsay(&self) -> Option<&SocketAddr> {
        match self {
            Self::Alive(address) | Self::Undelivered(address) => Some(address),
            Self::Drain | Self::Stop | Self::List(..) | Self::Kick(..) => None,
        }
    }
}

/// The ports of a worker's viewers as its siblings see them: how many there are by a hash of their address. It may say yes
/// of a stranger's, never no of a viewer's. Nobody outside knows the hash, so strangers cannot choose to be taken for some.
struct KnownPorts {
    counts: Box<[AtomicU16]>,
    hasher: RandomState,
}

impl KnownPorts {
    fn new() -> Self {
        let counts = (0..limits::KNOWN_PORTS_SLOTS).map(|_| AtomicU16::new(0)).collect();
        Self { counts, hasher: RandomState::new() }
    }

    fn slot(&self, address: &SocketAddr) -> &AtomicU16 {
        &self.counts[self.hasher.hash_one(address) as usize % self.counts.len()]
    }
}

struct Shared {
    messages: Mutex<VecDeque<Message>>,
    ports: KnownPorts,
    waker: Arc<mio::Waker>,
}

/// A worker's mailbox; clones reach the same worker.
#[derive(Clone)]
pub(crate) struct Mailbox(Arc<Shared>);

impl Mailbox {
    pub(crate) fn new(waker: Arc<mio::Waker>) -> Self {
        Self(Arc::new(Shared { messages: Mutex::default(), ports: KnownPorts::new(), waker }))
    }

    /// A viewer of this worker is sent to `address` from now on.
    pub(crate) fn add_port(&self, address: &SocketAddr) {
        self.0.ports.slot(address).fetch_add(1, Ordering::Relaxed);
    }

    /// No more: once for each [`add_port`](Self::add_port).
    pub(crate) fn remove_port(&self, address: &SocketAddr) {
        self.0.ports.slot(address).fetch_sub(1, Ordering::Relaxed);
    }

    /// Leaves a message; orders and questions always find room, hearsay about datagrams only below the limit, and only
    /// where the address may be one of this worker's viewers. Returns whether it was left.
    pub(crate) fn send(&self, message: Message) -> bool {
        let hearsay = message.hearsay();
        if hearsay.is_some_and(|address| self.0.ports.slot(address).load(Ordering::Relaxed) == 0) {
            return false;
        }
        {
            let mut messages = self.0.messages.lock();
            if messages.len() >= limits::MAILBOX_MAX && hearsay.is_some() {
                return false;
            }
            messages.push_back(message);
        }
        self.wake();
        true
    }

    /// Makes the worker's next wait return at once.
    pub(crate) fn wake(&self) {
        WakeWorker(Arc::clone(&self.0.waker)).wake();
    }

    /// The oldest message.
    pub(crate) fn take(&self) -> Option<Message> {
        self.0.messages.lock().pop_front()
    }
}

/// Wakes a worker's poll by its eventfd.
pub(crate) struct WakeWorker(pub(crate) Arc<mio::Waker>);

impl Wake for WakeWorker {
    fn wake(&self) {
        // It fails only when the poll is gone, and then nobody is left to wake.
        let _ = self.0.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    #[test]
    fn strangers_take_no_room_from_viewers() {
        let poll = mio::Poll::new().unwrap();
        let mailbox = Mailbox::new(Arc::new(mio::Waker::new(poll.registry(), mio::Token(0)).unwrap()));
        mailbox.add_port(&address(5000));
        let hearsay = |port: u16| match port % 2 {
            0 => Message::Alive(address(port)),
            _ => Message::Undelivered(address(port)),
        };
        let left = (6000..12_000).filter(|&port| mailbox.send(hearsay(port))).count();
        assert!(left <= 5, "{left} of 6,000 have the hash of the one viewer");
        assert!(mailbox.send(hearsay(5000)));
        mailbox.remove_port(&address(5000));
        assert!(!mailbox.send(hearsay(5000)));
        assert!(mailbox.send(Message::Drain));
        let count = std::iter::from_fn(|| mailbox.take()).count();
        assert_eq!(count, left + 2);
    }
}
