//! Tests of the pages in a real browser: Debian's Chromium, driven by playwright-core, judged by axe-core.
//!
//! Owns: servers, members and programs for the scripts in `browser/`, which do all that a person does.

mod judge;
mod lives;
mod stage;
mod sweep;
