//! The headers that decide something, each in a room of its own: text in, value out, and back.
//!
//! Not here: `Authorization` and `WWW-Authenticate` (`slotcast-auth`), framing headers (`message`).

pub mod range;
pub mod rtp_info;
pub mod session;
pub mod transport;
