//! Tests that need nothing but Rust and Linux. They share the machine, so none judges how fast something
//! was, but for what the server itself promises within a second (the window's end, the demo), by its own measure.

mod backup;
mod cli;
mod config;
mod config_keys;
mod cutoff;
mod database;
mod demo;
mod dependency_floors;
mod full_disk;
mod fuzz_replay;
mod help;
mod hostile;
mod kinds;
mod load_faults;
mod load_refusals;
mod load_view;
mod ntp;
mod player_dialogue;
mod publish;
mod readme;
mod retina;
mod secrets;
mod serve;
mod stage;
mod stills;
mod stopped;
