//! slotcast-ingest: the link side, where broadcasters connect.
//!
//! Owns: the access ports, the gate before the lines, RTSP RECORD over TCP and UDP, and the source of each program,
//! which outlives its links. One thread does all of it; what it publishes goes to the workers by `core`'s feeds.
//! Not here: viewers (`slotcast-fanout`), who may send (`slotcast-admission`), RTSP itself (`slotcast-rtsp`).
//! Holds: nobody keeps a line who has not shown a valid reservation ID; outside a program's window nothing is
//! published; a link that is bad, slow or hostile costs the others nothing.

mod accept;
mod antechamber;
mod choice;
mod clockwork;
mod closing;
mod config;
mod datagrams;
mod decide;
mod drive;
mod handle;
pub mod limits;
mod link;
mod listener;
mod source;
mod stats;
mod thread;
mod tracks;
mod udp;

pub use config::{ConfigError, IngestConfig};
pub use handle::Ingest;
pub use stats::{IngestStats, LinkState, LinkStatus, ProgramStats, Traffic};
