//! What the test programs of the reservation side share: a clock that is set by hand, small values, the service in a world
//! of memory, the API behind a real listener, letters of every kind, and the cases and stories that hold for every store.
//!
//! Not here: PostgreSQL and what else is to be installed (`slotcast-testing`). A database comes in by its address.
#![expect(missing_docs, reason = "names and types of these helpers say it")]

pub mod books;
pub mod clock;
pub mod http;
pub mod letters;
pub mod log_ins;
pub mod race;
pub mod service;
pub mod stock;
pub mod stores;
pub mod values;
pub mod whole_life;
