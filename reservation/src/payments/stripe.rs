//! Stripe: what it is asked, and what it tells by itself.
//!
//! [`Stripe`] asks (`client`; `cards` registers cards, `transport` speaks HTTP, `form` writes the questions); `answers` and
//! `money` read what comes back, [`webhook`] what comes unasked.

mod answers;
#[cfg(feature = "server")]
mod cards;
#[cfg(feature = "server")]
mod client;
mod form;
mod money;
mod token;
#[cfg(feature = "server")]
mod transport;
pub mod webhook;

#[cfg(feature = "server")]
pub use client::{DEFAULT_BASE_URL, DEFAULT_TIMEOUT, Stripe, StripeSettings};

/// Under which a movement is found again.
const META_KEY: &str = "slotcast_key";
const META_RESERVATION: &str = "slotcast_reservation";
const META_MEMBER: &str = "slotcast_member";
