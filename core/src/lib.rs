//! slotcast-core: the words of the product and the mathematics of the data plane.
//!
//! Nothing here does I/O, reads a clock or waits: `now` is always an argument.

pub mod address;
pub mod bucket;
pub mod chunk;
pub mod counter;
pub mod denial;
pub mod feed;
pub mod log;
pub mod media;
pub mod packet;
pub mod reception;
pub mod rtcp;
pub mod rtp;
pub mod runs;
pub mod sender_clock;
pub mod splice;
pub mod table;
pub mod time;
pub mod timers;
pub mod words;
