//! Tests that need PostgreSQL, and no player.

mod ownership;
