//! slotcast-tools: what broadcasts and watches over RTSP without a player, for the demo, the tests and load.
//!
//! Owns: a publisher, viewers by the hundred, the streams that are sent for measuring.
//! Not here: the RTSP dialogue (`slotcast_rtsp::client`), clips and packets (`slotcast_media`), what is concluded from
//! the counts.
//! Invariant: every tool takes any address, ends by itself within a time that its caller names, and hands back a report.

pub mod datagrams;
pub mod drops;
pub mod histogram;
pub mod progress;
pub mod publish;
pub mod relay;
pub mod shape;
pub mod target;
pub mod transport;
pub mod watch;
