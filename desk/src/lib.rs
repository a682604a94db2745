//! slotcast-desk: how media gets in, whatever protocol brings it.
//!
//! Owns: [`Desk`]: who may send and on which line, the source of each program, which outlives its links, and what is counted
//! of both. It is driven by whoever owns the sockets: every call is told the time.
//! Not here: sockets, protocols, connections that have shown no reservation ID (`slotcast-ingest`), the decision about an ID
//! (`slotcast-admission`), viewers (`slotcast-fanout`).
//! Invariant: at most one pass brings a program; outside the program's window nothing is published; a dropped [`Pass`] gives
//! back its line and its program.

mod choice;
mod desk;
mod health;
pub mod limits;
mod pass;
mod source;
mod stats;
mod told;
mod tracks;
mod windows;

pub use desk::{Desk, DeskConfig};
pub use health::Health;
pub use pass::{Fate, Pass, PassId, ToLink};
pub use stats::{
    IngestStats, LinkEnd, LinkState, LinkStatus, ProgramStats, TrackState, TrackStatus, Traffic,
};
