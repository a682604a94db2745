//! libFuzzer target of the entry point `settings_file`; see `slotcast_fuzz`.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| slotcast_fuzz::run("settings_file", data));

#[cfg(not(fuzzing))]
fn main() {}
