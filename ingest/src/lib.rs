//! slotcast-ingest
