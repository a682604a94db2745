//! slotcast-auth: secrets, and how a request shows that it knows one.
//!
//! Owns: passwords and reservation IDs as they are kept, digest (RFC 7616, and RFC 2069 for what RTSP clients speak), Basic
//! (RFC 7617) and tokens, for the server and for the client.
//! Not here: where a protocol puts them (`slotcast-rtsp`), who may do what and how often one may guess
//! (`slotcast-admission`).
//! Invariant: secrets are compared in constant time, all in [`hash`], and appear in no `Debug`.

mod client;
mod credentials;
pub mod hash;
pub mod limits;
mod link_key;
mod nonces;
pub mod parameters;
mod secret;

pub use client::Challenge;
pub use credentials::{Credential, Credentials, Proof, Request, Verdict};
pub use link_key::{LINK_USER, LinkKey};
pub use nonces::{NONCE_LIFETIME, Nonces, REALM, challenges};
pub use secret::Secret;
