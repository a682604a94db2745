//! slotcast-load: what this machine's kernel can carry, and what a server makes of it.
//!
//! Owns: `slotcast load`. Not here: the server, which is measured like any other from outside.
//! Invariant: everything is bounded in time and count, and stays on loopback.

use std::{io::Write, process::ExitCode};

pub mod cpu;
pub mod feeder;
mod interrupt;
pub mod limit;
pub mod paced;
pub mod peer;
pub mod push;
pub mod receivers;
pub mod round;
pub mod storm;
pub mod suite;
pub mod view;

/// What can be typed after `slotcast load`.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// Measure a raw sending loop on this machine, without RTSP, and a server beside it
    #[command(after_help = limit::EXAMPLES)]
    Limit(limit::Args),
    /// Broadcast synthetic streams whose packets say when they were to be sent, or a clip
    #[command(after_help = push::EXAMPLES)]
    Push(push::Args),
    /// Watch with many viewers, and report what each got: loss, latency, joins, refusals
    #[command(after_help = view::EXAMPLES)]
    View(view::Args),
    /// Stress-test a server's admission with crowds, and see what a viewer beside them notices
    Storm(storm::Args),
    /// Measure the standard set of figures, of a server of its own or any other, and write them as a page
    #[command(after_help = suite::EXAMPLES)]
    Suite(suite::Args),
}

/// Runs a load tool.
pub fn run(command: &Command) -> ExitCode {
    let done = match command {
        Command::Limit(args) => limit::run(args),
        Command::Push(args) => push::run(args),
        Command::View(args) => view::run(args),
        Command::Storm(args) => storm::run(args),
        Command::Suite(args) => suite::run(args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A standard error that is closed is no reason to fail otherwise.
            drop(writeln!(std::io::stderr().lock(), "slotcast load: {error}"));
            ExitCode::FAILURE
        }
    }
}
