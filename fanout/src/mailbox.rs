//! How workers are reached from other threads: rare messages, with a wake-up; and who watches, for an operator.
//!
//! Invariant: a message is taken between two turns, and workers never wait for whoever asks; whoever asks waits at most a
//! second, and not at all for a worker that has ended.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        mpsc::{Sender, SyncSender, sync_channel},
    },
    time::Instant,
};

use slotcast_core::words::ProgramId;

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

/// A worker's mailbox; clones reach the same worker. What waits when the worker ends is dropped, so that whoever asked hears
/// at once that nobody answers.
#[derive(Clone)]
pub(crate) struct Mailbox {
    pub(crate) messages: Sender<Message>,
    pub(crate) waker: Arc<mio::Waker>,
}

impl Mailbox {
    /// Leaves a message; nothing happens where the worker has ended.
    pub(crate) fn send(&self, message: Message) {
        if self.messages.send(message).is_ok() {
            wake(&self.waker);
        }
    }
}

/// Wakes a worker's poll by its eventfd.
pub(crate) fn wake(waker: &mio::Waker) {
    // It fails only when the poll is gone, and then nobody is left to wake.
    let _ = waker.wake();
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
