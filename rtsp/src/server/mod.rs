//! The server's side of one RTSP 1.0 connection, without I/O: bytes, answers and time go in, outputs come out.
//!
//! Owns: the order of requests, the session's states, the transports, the deadlines; for viewers and broadcasters
//! alike. The method × state table is [`table`].
//! Refuses: more than one session per connection, methods of another connection's session, whatever the limits forbid.
//! Not here: who may (the edge answers each [`Ask`]), sockets, seats, media.
//! Invariant: no [`Event::Playing`] before the PLAY response; one [`Event::SessionEnded`] for each [`Answer::Setup`];
//! nothing after [`Output::Close`].

mod answers;
mod border;
mod config;
mod connection;
mod parked;
mod ports;
mod reply;
mod requests;
mod session;
mod setup;
pub mod table;

pub use crate::headers::transport::{TrackTransport, UdpPorts};
pub use border::{AfterRefusal, Answer, Ask, CloseReason, Event, Output, RtpInfoEntry, SessionEnd};
pub use config::{Role, ServerConfig};
pub use connection::ServerConnection;
pub use ports::ClaimedPorts;
pub use session::{Session, TrackSetup};
