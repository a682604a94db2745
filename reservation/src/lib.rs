//! The reservation side of slotcast: who may broadcast when, and what is owed for it.
//!
//! `domain` decides, as pure functions; `store` carries decisions out in one transaction; `service` is what can be
//! asked, `edge` who asks over HTTP, `http` how; `mail`, `payments` and `courier` speak to the world; `hub` tells those who
//! listen what happens; `streaming` is the border to the media side, which knows nothing of this crate.
//!
//! The feature `server` (on by default) adds everything that needs a database, a socket or TLS. Without it the crate is
//! its pure part: rules, words, reservation IDs and Stripe's webhooks, for `configuration/` and `fuzz/`.
#![cfg_attr(not(feature = "server"), expect(dead_code, reason = "some private parts serve the server only"))]

#[cfg(feature = "server")]
pub mod courier;
pub mod domain;
#[cfg(feature = "server")]
pub mod edge;
#[cfg(feature = "server")]
pub mod http;
#[cfg(feature = "server")]
mod https;
#[cfg(feature = "server")]
pub mod hub;
pub mod limits;
#[cfg(feature = "server")]
pub mod mail;
pub mod payments;
#[cfg(feature = "server")]
pub mod service;
#[cfg(feature = "server")]
pub mod store;
pub mod stream_health;
pub mod streaming;
pub mod vault;
