//! slotcast-core: the words of the product and the mathematics of the data plane.
//!
//! Nothing here does I/O, reads a clock or waits: `now` is always an argument.

pub mod media;
pub mod time;
pub mod words;
