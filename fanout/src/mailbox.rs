//! How a worker is reached from other threads: rare messages, bounded, with a wake-up.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, mpsc::SyncSender},
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

struct Shared {
    messages: Mutex<VecDeque<Message>>,
    waker: Arc<mio::Waker>,
}

/// A worker's mailbox; clones reach the same worker.
#[derive(Clone)]
pub(crate) struct Mailbox(Arc<Shared>);

impl Mailbox {
    pub(crate) fn new(waker: Arc<mio::Waker>) -> Self {
        Self(Arc::new(Shared { messages: Mutex::default(), waker }))
    }

    /// Leaves a message; orders and questions always find room, hearsay about datagrams only below the limit.
    pub(crate) fn send(&self, message: Message) {
        let is_order = !matches!(message, Message::Alive(_) | Message::Undelivered(_));
        {
            let mut messages = self.0.messages.lock();
            if messages.len() >= limits::MAILBOX_MAX && !is_order {
                return;
            }
            messages.push_back(message);
        }
        self.wake();
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
