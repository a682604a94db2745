//! The reservation side of slotcast: who may broadcast when, and what is owed for it.
//!
//! `domain` decides, as pure functions; `store` carries decisions out in one transaction; `service` is what can be
//! asked, `http` how it is asked; `mail`, `payments` and `settings` speak to the world; `streaming` is the border to
//! the media side, which knows nothing of this crate.

pub mod clock;
pub mod domain;
pub mod http;
pub mod limits;
pub mod mail;
pub mod payments;
pub mod service;
pub mod settings;
pub mod store;
pub mod streaming;
pub mod vault;
