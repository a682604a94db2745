//! The client's side of one RTSP 1.0 connection, without I/O: for our own publisher, viewers and load tool.
//!
//! Owns: the order of steps, the transport, the credentials, the keep-alive.
//! Not here: sockets, RTP, what is done with the media.
//! Invariant: one request at a time is unanswered, beside a keep-alive; each session ends in exactly one
//! [`ClientOutput::Closed`], after at most one [`ClientOutput::Failed`]. A frame costs no allocation of its own.

mod border;
mod responses;
mod session;

pub use border::{ClientConfig, ClientCredentials, ClientEvent, ClientOutput, ClientRole, Failure};
pub use session::ClientSession;
