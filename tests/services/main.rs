//! Tests that need PostgreSQL, curl or jq, and no player.

mod ownership;
mod pages;
