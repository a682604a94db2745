//! Every bound on what a peer may show, by name.

/// Parameters of one Authorization or WWW-Authenticate header.
pub const PARAMETERS_MAX: usize = 16;

/// Authorization or WWW-Authenticate headers that are looked at.
pub const HEADERS_MAX: usize = 4;

/// Nonces that one connection may have open; issuing another forgets the oldest.
pub const NONCES_MAX: usize = 4;

/// Longest password or reservation ID that is looked at, in bytes; a longer one is wrong.
pub const SECRET_BYTES_MAX: usize = 1_024;
