//! Whole programs in memory with virtual time: what links hand to the desk, and what viewers get of it.

mod studio;

mod clip;
mod explorer;
mod media;
mod sound;
mod takeover;
mod windows;
