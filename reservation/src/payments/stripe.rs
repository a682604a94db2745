//! Stripe: what it is asked, and what it tells by itself.
//!
//! [`Stripe`] asks (`client`): `cards` registers cards, `moving` moves money; `answers` and `money` read what comes back,
//! [`webhook`] what comes unasked.

mod answers;
#[cfg(feature = "server")]
mod cards;
#[cfg(feature = "server")]
mod client;
mod money;
#[cfg(feature = "server")]
mod moving;
mod token;
pub mod webhook;

#[cfg(feature = "server")]
pub use client::{DEFAULT_BASE_URL, DEFAULT_TIMEOUT, Stripe, StripeSettings};
pub use money::check as check_amount;

/// Under which a movement is found again.
const META_KEY: &str = "slotcast_key";
const META_RESERVATION: &str = "slotcast_reservation";
const META_MEMBER: &str = "slotcast_member";

/// The name of a metadata's value in a form.
fn metadata(name: &str) -> String {
    format!("metadata[{name}]")
}
