//! What can be typed after `slotcast`, and how it ends.
//!
//! Owns: the commands, their help, the exit codes: 0 well, 1 failed while running, 2 wrong usage or configuration.
//! Not here: what the commands do.

use std::{
    fmt::Display,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, Subcommand};

use crate::{
    admin::{self, AdminArgs},
    config::{COMMENTED_DEFAULT, Checked, Config, Environment, Problems},
    demo::{self, DemoArgs},
    logging, run,
};

/// Failed while running.
const RUN_TIME: u8 = 1;
/// Wrong usage or configuration; clap's own code for usage as well.
const USAGE: u8 = 2;

/// Largest configuration that is read from standard input.
const INPUT_BYTES_MAX: u64 = 16 * 1024 * 1024;

const EXAMPLES: &str = "\
Examples:
  slotcast demo                              run a complete broadcast on this machine
  slotcast print-config > slotcast.toml      start from the commented default
  slotcast check-config slotcast.toml        list every problem with its line number
  slotcast serve --config slotcast.toml      run it; SIGHUP reads the file again, SIGTERM drains

Watch:      rtsp://HOST:8554/channel4
Broadcast:  rtsp://live:RESERVATION-ID@HOST:8555/channel4";

/// A live streaming server whose channels are booked and billed by the time slot.
#[derive(Debug, Parser)]
#[command(name = "slotcast", version, about, after_help = EXAMPLES, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server until it is told to stop
    #[command(after_help = "\
Signals:
  SIGHUP            read the file again: channels and programs change, nobody is cut off; a wrong file changes nothing
  SIGTERM, SIGINT   drain: refuse new clients, let programs run until the drain deadline; a second one stops at once

Every key can be set from the environment too: SLOTCAST_VIEWERS__LISTEN=0.0.0.0:8554 slotcast serve --config FILE")]
    Serve {
        /// The configuration, as `slotcast print-config` shows it
        #[arg(long, short, value_name = "FILE")]
        config: PathBuf,
    },
    /// Run a complete demo on this machine: a server, a broadcaster and, if you like, viewers
    #[command(after_help = "\
Examples:
  slotcast demo                            ten minutes on air; paste one of the printed commands to watch
  slotcast demo --seconds 20 --viewers 60  start more viewers than there are seats, and check every promise

With --viewers the exit code is 0 if every promise held, 1 if one did not, and 130 if Ctrl-C came first.")]
    Demo(DemoArgs),
    /// Check a configuration and list every problem with its line number
    CheckConfig {
        /// The file, or `-` for standard input
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Print the commented default configuration
    PrintConfig,
    /// Local administration: first operator, members, channels, backups
    #[command(after_help = "\
Examples:
  slotcast admin -c slotcast.toml create-operator --user-id ops --name Operator --email ops@example.com
  slotcast admin -c slotcast.toml channel list
  slotcast admin -c slotcast.toml backup /var/backups/slotcast-2026-11-22

Operators do everything else over the API: see docs/operating.md.")]
    Admin(AdminArgs),
    /// Measure this machine, and servers on it
    #[command(subcommand)]
    Load(slotcast_load::Command),
}

/// Runs what the command line says.
pub fn run() -> ExitCode {
    match Cli::parse().command {
        Command::Serve { config } => serve(&config),
        Command::Demo(args) => demo(&args),
        Command::CheckConfig { file } => check_config(&file),
        Command::PrintConfig => print(COMMENTED_DEFAULT),
        Command::Admin(args) => match admin::run(args) {
            Ok(code) => code,
            Err(error) => failed(&error),
        },
        Command::Load(command) => slotcast_load::run(&command),
    }
}

fn serve(file: &Path) -> ExitCode {
    let checked = match Config::load(file, &Environment::of_process()) {
        Ok(checked) => checked,
        Err(problems) => return wrong_config(&problems),
    };
    let _written_out = match logging::start(&checked.config.log) {
        Ok(guard) => guard,
        Err(error) => return failed(&format_args!("logging cannot start: {error}")),
    };
    run::log_problems(&checked.warnings);
    match run::run(checked.config, file) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_about_address(&error) => {
            failed(&format_args!("{error}; free the address or choose another in {}", file.display()))
        }
        Err(error) => failed(&error),
    }
}

fn is_about_address(error: &io::Error) -> bool {
    use io::ErrorKind::{AddrInUse, AddrNotAvailable, PermissionDenied};
    matches!(error.kind(), AddrInUse | AddrNotAvailable | PermissionDenied)
}

fn demo(args: &DemoArgs) -> ExitCode {
    match demo::run(args) {
        Ok(code) => code,
        Err(error) => failed(&error),
    }
}

/// Says what went wrong while running.
fn failed(what: &impl Display) -> ExitCode {
    complain(&format_args!("slotcast: {what}"));
    ExitCode::from(RUN_TIME)
}

fn check_config(file: &Path) -> ExitCode {
    let checked = match load(file) {
        Ok(checked) => checked,
        Err(problems) => return wrong_config(&problems),
    };
    if !checked.warnings.is_empty() {
        complain(&checked.warnings);
    }
    let config = &checked.config;
    print(&format!(
        "{}: ok: {} channels, {} programs, {} lines; all seats at full rate take {:.1} Mbit/s of {}\n",
        file.display(),
        config.channels.len(),
        config.programs.len(),
        config.links.lines,
        config.egress() as f64 / 1e6,
        config.server.uplink,
    ))
}

/// Reads and checks `file`, or standard input for `-`.
fn load(file: &Path) -> Result<Checked, Problems> {
    let environment = Environment::of_process();
    if file.as_os_str() != "-" {
        return Config::load(file, &environment);
    }
    let mut text = String::new();
    // What cannot be read is not a configuration: it is reported as such.
    match io::stdin().lock().take(INPUT_BYTES_MAX).read_to_string(&mut text) {
        Ok(_) => Config::read("standard input", &text, Path::new(""), &environment),
        Err(error) => Config::read("standard input", &format!("# {error}\n="), Path::new(""), &environment),
    }
}

/// Says what is wrong with the configuration, and what to do next.
fn wrong_config(problems: &Problems) -> ExitCode {
    complain(problems);
    complain(
        &"slotcast: the configuration is wrong: fix the lines above; `slotcast print-config` shows every key",
    );
    ExitCode::from(USAGE)
}

/// Writes to standard error. A closed standard error is no reason to fail.
fn complain(what: &impl Display) {
    drop(writeln!(io::stderr().lock(), "{what}"));
}

/// Writes to standard output. A reader that closes its end early is no failure.
fn print(text: &str) -> ExitCode {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            failed(&format_args!("cannot write to standard output: {error}"))
        }
        _ => ExitCode::SUCCESS,
    }
}
