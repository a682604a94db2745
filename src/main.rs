//! The slotcast binary.

fn main() -> std::process::ExitCode {
    slotcast::cli::run()
}
