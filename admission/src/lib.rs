//! slotcast-admission
