//! slotcast: the rooms wired to one server.
//!
//! Owns: wiring, health, metrics and logs. What each room does stands in its own crate.

mod admin;
pub mod cli;
mod control;
pub mod demo;
mod http;
pub mod logging;
mod metrics;
pub mod ntp;
mod reservations;
mod run;
pub mod serve;
mod stills;

pub use slotcast_configuration as config;
