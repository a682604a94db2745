//! How workers are reached from other threads: rare messages, with a wake-up; and who watches, for an operator.
//!
//! Invariant: a message is taken between two turns, and workers never wait for whoever asks; whoever asks waits at most a
//! second, and not at all for a worker that has ended.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{SyncSender, sync_channel},
    },
    time::Instant,
};

use parking_lot::Mutex;
use slotcast_core::{feed::Wake, words::ProgramId};

use crate::{limits::ROLL_WAIT_MAX, stats::Protocol};

/// One viewer who holds a seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ViewerInfo {
    /// Never given twice while the server runs.
    pub id: u64,
    /// From where its connection comes.
    pub address: SocketAddr,
    /// How media reaches it.
    pub protocol: Protocol,
}

/// What a worker can be told.
#[derive(Debug)]
pub(crate) enum Message {
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
    is_closed: AtomicBool,
    waker: Arc<mio::Waker>,
}

/// A worker's mailbox; clones reach the same worker.
#[derive(Clone)]
pub(crate) struct Mailbox(Arc<Shared>);

impl Mailbox {
    pub(crate) fn new(waker: Arc<mio::Waker>) -> Self {
        Self(Arc::new(Shared { messages: Mutex::default(), is_closed: AtomicBool::new(false), waker }))
    }

    /// Leaves a message; `false`: the worker has ended.
    pub(crate) fn send(&self, message: Message) -> bool {
        {
            let mut messages = self.0.messages.lock();
            if self.0.is_closed.load(Ordering::Relaxed) {
                return false;
            }
            messages.push_back(message);
        }
        WakeWorker(Arc::clone(&self.0.waker)).wake();
        true
    }

    /// The oldest message.
    pub(crate) fn take(&self) -> Option<Message> {
        self.0.messages.lock().pop_front()
    }

    /// The worker has ended: drops what waits, so that whoever asked hears at once that nobody answers.
    pub(crate) fn close(&self) {
        let mut messages = self.0.messages.lock();
        self.0.is_closed.store(true, Ordering::Relaxed);
        messages.clear();
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

/// Asks the workers who watches; clones ask the same.
#[derive(Clone)]
pub struct Roll(pub(crate) Vec<Mailbox>);

impl Roll {
    /// Who holds a seat of `program`, by [`ViewerInfo::id`]; of each worker the first 10,000. A worker that does not
    /// answer within a second is left out.
    pub fn viewers(&self, program: ProgramId) -> Vec<ViewerInfo> {
        let mut viewers: Vec<ViewerInfo> =
            self.ask(|answer| Message::List(program, answer)).into_iter().flatten().collect();
        viewers.sort_unstable_by_key(|viewer| viewer.id);
        viewers
    }

    /// Ends the session of one viewer of `program`; its seat is free at once. `false`: it is not there any more.
    pub fn kick(&self, program: ProgramId, viewer: u64) -> bool {
        self.ask(|answer| Message::Kick(program, viewer, answer)).contains(&true)
    }

    /// The answers of those workers that answer in time.
    fn ask<T>(&self, question: impl Fn(SyncSender<T>) -> Message) -> Vec<T> {
        let (answer, answers) = sync_channel(self.0.len());
        for mailbox in &self.0 {
            mailbox.send(question(answer.clone()));
        }
        drop(answer);
        let deadline = Instant::now() + ROLL_WAIT_MAX;
        let left = || deadline.saturating_duration_since(Instant::now());
        self.0.iter().map_while(|_| answers.recv_timeout(left()).ok()).collect()
    }
}
