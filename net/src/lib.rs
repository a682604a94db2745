//! slotcast-net: what this project asks of the machine beyond the standard library.
//!
//! Owns: system calls without a safe wrapper ([`sys`], the only `unsafe`), the clocks ([`clock`]), what a process is
//! allowed to take ([`process`]), what both sides ask of their sockets ([`sockets`]).
//! Not here: sockets that belong to a protocol, and anything that decides.

pub mod clock;
pub mod process;
pub mod sockets;
pub mod sys;
