//! slotcast-fanout
