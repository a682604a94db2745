//! Who watches, for an operator: asked of the workers by name of a program, and the way to send one away.
//!
//! Owns: [`ViewerInfo`] and [`Roll`], the handle. Holds: workers answer between two turns and never wait for whoever
//! asks; whoever asks waits at most a second.

use std::{
    net::SocketAddr,
    sync::mpsc::{SyncSender, sync_channel},
    time::Instant,
};

use slotcast_admission::Fault;
use slotcast_core::{time::Now, words::ProgramId};
use slotcast_rtsp::server::SessionEnd;

use crate::{
    connection::Cause,
    limits::{ROLL_VIEWERS_MAX, ROLL_WAIT_MAX},
    mailbox::{Mailbox, Message},
    stats::Protocol,
    worker::Worker,
};

/// One viewer who holds a seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ViewerInfo {
    /// Never given twice while the server runs.
    pub id: u64,
    /// From where its RTSP connection comes.
    pub address: SocketAddr,
    /// How media reaches it.
    pub protocol: Protocol,
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

impl Worker {
    /// Who of this worker's viewers holds a seat of `program`.
    pub(crate) fn list_viewers(&self, program: ProgramId) -> Vec<ViewerInfo> {
        let of_program = self.connections.iter().filter_map(|(key, connection)| {
            let viewer = connection.viewer.as_ref().filter(|viewer| viewer.program == program)?;
            // A connection that broke at this moment is about to be closed.
            let address = self.streams.get(key)?.peer_addr().ok()?;
            Some(ViewerInfo { id: viewer.id, address, protocol: viewer.protocol })
        });
        of_program.take(ROLL_VIEWERS_MAX).collect()
    }

    /// Ends the session of that viewer, if it is this worker's.
    pub(crate) fn kick_viewer(&mut self, program: ProgramId, id: u64, now: Now) -> bool {
        let found = self.connections.iter().find(|(_, connection)| {
            connection.viewer.as_ref().is_some_and(|viewer| viewer.program == program && viewer.id == id)
        });
        let Some(key) = found.map(|(key, _)| key) else { return false };
        let cause = Cause { reason: "kicked", fault: Fault::Operator };
        self.end_session(key, SessionEnd::Kicked, cause, now);
        true
    }
}
