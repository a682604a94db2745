//! The link side as broadcasters and attackers meet it, over real sockets on loopback.
//!
//! `descriptors` and `logs` need a process for each test, as nextest gives them.

mod client;
mod descriptors;
mod gate;
mod house;
mod logs;
mod media;
mod windows;
