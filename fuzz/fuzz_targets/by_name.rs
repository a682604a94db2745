//! The libFuzzer program: feeds the target that `SLOTCAST_FUZZ_TARGET` names; see `slotcast_fuzz`.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
static TARGET: std::sync::LazyLock<&slotcast_fuzz::Target> = std::sync::LazyLock::new(|| {
    let name = std::env::var(slotcast_fuzz::TARGET_VARIABLE).unwrap_or_default();
    slotcast_fuzz::find(&name).unwrap_or_else(|refusal| {
        eprintln!("{refusal}");
        std::process::exit(2)
    })
});

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(init: { std::sync::LazyLock::force(&TARGET); }, |data: &[u8]| (TARGET.run)(data));

#[cfg(not(fuzzing))]
fn main() {}
