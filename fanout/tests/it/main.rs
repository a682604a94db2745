//! The viewers' side over real sockets on loopback, with time in the test's hand.

mod addresses;
mod hardship;
mod rig;
mod viewers;
