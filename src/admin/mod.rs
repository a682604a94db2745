//! `slotcast admin`: what an operator does at the machine itself.
//!
//! Owns: the first operator, channels, members, backups. Every command reads the configuration that `serve` runs with.
//! Not here: the reservation side itself; what can be done over HTTP is in its operator's endpoints.
//! Invariant: passwords are asked for or read from a file, never taken from the command line.

mod backup;
mod channels;
mod members;

use std::{error::Error, path::PathBuf, process::ExitCode};

use clap::{Args, Subcommand};
use slotcast_reservation::{domain::words::Language, service::ServiceError};

use crate::{
    config::{Config, Environment},
    reservations,
};

pub(crate) use channels::edit as channel_edit;

pub(crate) type Outcome = Result<(), Box<dyn Error>>;

/// What can be typed after `slotcast admin`.
#[derive(Debug, Args)]
pub(crate) struct AdminArgs {
    /// The configuration that `slotcast serve` runs with
    #[arg(long, short, value_name = "FILE")]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Register an operator; this is the only way to make the first one
    CreateOperator(members::NewOperatorArgs),
    /// List members, or change what one may do
    #[command(subcommand)]
    Member(members::Command),
    /// List channels, or import new ones from the configuration or a file
    #[command(subcommand)]
    Channel(channels::Command),
    /// Copy database and key into a new directory, while the server runs or not (SQLite only)
    Backup {
        /// Must not exist yet. Keep it as safe as the server: the key in it opens every link
        #[arg(value_name = "DIRECTORY")]
        to: PathBuf,
    },
    /// Put a backup in place while the server does not run; the old files are kept beside it
    Restore {
        /// A directory that `backup` made
        #[arg(value_name = "DIRECTORY")]
        from: PathBuf,
    },
}

/// Runs one command.
///
/// Errors: what went wrong, with the next step.
pub(crate) fn run(args: AdminArgs) -> Result<ExitCode, Box<dyn Error>> {
    let config = match Config::load(&args.config, &Environment::of_process()) {
        Ok(checked) => checked.config,
        Err(problems) => {
            eprintln!("{problems}");
            return Ok(ExitCode::from(2));
        }
    };
    if config.reservations.is_none() {
        return Err(format!(
            "{}: reservations are off: add [reservations] with enabled = true",
            args.config.display()
        )
        .into());
    }
    if let Command::Restore { from } = &args.command {
        backup::restore(&config, from)?;
        return Ok(ExitCode::SUCCESS);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let service = reservations::open_aside(&config).await?;
        let done = match args.command {
            Command::CreateOperator(args) => members::create_operator(&service, args).await,
            Command::Member(command) => members::run(&service, command).await,
            Command::Channel(command) => channels::run(&service, &config, command).await,
            Command::Backup { to } => backup::back_up(&service, &config, &to).await,
            Command::Restore { .. } => Ok(()),
        };
        service.store().close().await;
        done.map_err(in_words)
    })?;
    Ok(ExitCode::SUCCESS)
}

/// A refusal as the API words it; anything else as it is.
fn in_words(error: Box<dyn Error>) -> Box<dyn Error> {
    match error.downcast::<ServiceError>() {
        Ok(error) => match *error {
            ServiceError::Refused(refusal) => refusal.in_words(Language::English).into(),
            other => other.into(),
        },
        Err(error) => error,
    }
}
