//! slotcast-media: what codecs need, without I/O.
//!
//! Owns: clips as timed access units ([`clip`]), RTP packets made of them ([`packetize`]); key frames and parameter sets found in
//! RTP payloads ([`keyframe`]), what those tell ([`picture`]), what a description tells decoders ([`decoders`]),
//! whole key pictures ([`still`]).
//! Not here: when a packet is sent, how it is framed.

pub mod clip;
pub mod decoders;
mod format;
pub mod keyframe;
mod mp4;
pub mod packetize;
pub mod picture;
pub mod still;
