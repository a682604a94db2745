//! slotcast-rtsp: RTSP 1.0 (RFC 2326) without I/O.
//!
//! Owns: messages as bytes, the headers that decide something, request addresses and SDP;
//! on top of them the session machines of both sides.
//! Not here: sockets, clocks, random numbers, secrets (`slotcast-auth`), and who may watch (`slotcast-admission`).
//! Invariant: no input makes a public entry panic, and nothing is kept beyond [`limits`].

pub mod client;
pub mod headers;
pub mod limits;
pub mod message;
pub mod sdp;
pub mod server;
pub mod status;
pub mod url;
