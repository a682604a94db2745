//! The link side as broadcasters and attackers meet it, over real sockets on loopback.

mod client;
mod gate;
mod house;
mod media;
mod windows;
