//! `slotcast admin channel`: what is sold.

use std::path::PathBuf;

use clap::Subcommand;
use slotcast_admission::Channel;
use slotcast_reservation::service::{ChannelEdit, Service};

use super::Outcome;
use crate::config::Config;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Every channel with seats, rate, how long sound may wait, and toll
    List,
    /// Add the channels that are not sold yet; the others stay as they are
    #[command(after_help = "\
The file has [[channels]] tables like the configuration. Without FILE the configuration's own channels are imported, as
`slotcast serve` does at each start. To change a channel that is sold, use the API: PUT /api/v1/operator/channels/N.")]
    Import {
        /// TOML with [[channels]]
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
}

pub(super) async fn run(service: &Service, config: &Config, command: Command) -> Outcome {
    match command {
        Command::List => list(service, config).await,
        Command::Import { file: None } => import(service, &config.channels).await,
        Command::Import { file: Some(file) } => {
            let text =
                std::fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
            let checked = Config::parse(&text).map_err(|problems| problems.to_string())?;
            import(service, &checked.config.channels).await
        }
    }
}

async fn list(service: &Service, config: &Config) -> Outcome {
    println!(
        "{:>6}  {:<20} {:>7}  {:>12}  {:>6}  toll per slot",
        "number", "name", "seats", "rate", "gather"
    );
    for channel in service.store().read().await?.channels().await? {
        let retired = if channel.is_retired { "  (not sold any more)" } else { "" };
        println!(
            "{:>6}  {:<20} {:>7}  {:>12}  {:>4}ms  {} {}{retired}",
            channel.number,
            channel.name,
            channel.seats,
            channel.class.to_string(),
            channel.gather.as_millis(),
            channel.toll.0,
            config.server.currency,
        );
    }
    Ok(())
}

async fn import(service: &Service, channels: &[Channel]) -> Outcome {
    let added = service.add_channels(channels.iter().map(edit).collect()).await?;
    println!("{added} of {} channels are new and sold from now on", channels.len());
    Ok(())
}

/// A channel of the configuration, for the reservation side.
pub(crate) fn edit(channel: &Channel) -> ChannelEdit {
    ChannelEdit {
        number: channel.number,
        name: channel.name.clone(),
        seats: channel.seats,
        class: channel.class,
        toll: channel.toll,
        gather: Some(channel.gather),
    }
}
