//! Who watches, for an operator: asked of the workers by name of a program, and the way to send one away.
//!
//! Owns: [`Roll`], the handle.
//! Invariant: workers answer between two turns and never wait for whoever asks; whoever asks waits at most a second.

use std::{
    sync::mpsc::{SyncSender, sync_channel},
    time::Instant,
};

use slotcast_core::words::ProgramId;

use crate::{
    limits::ROLL_WAIT_MAX,
    mailbox::{Mailbox, Message, ViewerInfo},
};

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
