//! What broadcasts and watches over RTSP without a player: for the demo, the tests and load.
//!
//! Owns: clips as timed access units, RTP packets made of them, a publisher, viewers by the hundred.
//! Not here: the RTSP dialogue (`slotcast_rtsp::client`), what is concluded from the counts (`demo`).
//! Holds: every tool takes any address, ends by itself within a time that its caller names, and hands back a report.

pub mod clip;
mod mp4;
pub mod packetize;
pub mod publish;
pub mod target;
pub mod watch;
