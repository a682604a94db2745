//! slotcast-media: what codecs need, without I/O.
//!
//! Owns: clips as timed access units ([`clip`]), RTP packets made of them ([`packetize`]), what a description tells decoders
//! ([`decoders`]).
//! Not here: when a packet is sent, how it is framed.

pub mod clip;
pub mod decoders;
mod mp4;
pub mod packetize;
