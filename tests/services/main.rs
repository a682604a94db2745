//! Tests that need PostgreSQL, chrony, curl or jq, and no player.

mod chrony;
mod ownership;
mod pages;
