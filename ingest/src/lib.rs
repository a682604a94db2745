//! slotcast-ingest: the link side, where broadcasters connect.
//!
//! Owns: the access ports, the gate before the lines, the one thread that reads and drives the desk, and a room for each
//! protocol: `rtsp`, which takes RTSP RECORD over TCP and UDP.
//! Not here: what becomes of media (`slotcast-desk`), viewers (`slotcast-fanout`), who may send (`slotcast-admission`), RTSP
//! itself (`slotcast-rtsp`).
//! Invariant: nobody keeps a line who has not shown a valid reservation ID; a link that is bad, slow or hostile costs the
//! others nothing.

mod accept;
mod antechamber;
mod clockwork;
mod closing;
mod config;
mod handle;
pub mod limits;
mod rtsp;
mod side;

pub use config::IngestConfig;
pub use handle::Ingest;
pub use slotcast_desk::{
    Health, IngestStats, LinkEnd, LinkState, LinkStatus, ProgramStats, TrackState, TrackStatus, Traffic,
};
