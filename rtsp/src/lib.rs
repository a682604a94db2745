//! slotcast-rtsp
