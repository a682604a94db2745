//! What several tests of the reservation side share: a real PostgreSQL server, a clock that is set by hand, values.
//!
//! Holds: what a test starts ends with the test's process, however that ends.
#![allow(dead_code, reason = "every test binary compiles this module and uses its own part of it")]

pub(crate) mod clock;
pub(crate) mod postgres;
pub(crate) mod values;
