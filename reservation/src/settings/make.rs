//! Fills in the settings file of one reservation.
//!
//! Owns: [`Provider`], [`SettingsFile::for_reservation`].
//! Invariant: the same arguments give the same file.

use std::num::NonZeroU16;

use slotcast_core::{
    time::WallTime,
    words::{ChannelName, ConnectMargins},
};

use super::{
    commands::{Commands, Ingredients},
    file::{
        AccessPort, ChannelPart, Format, Host, IngestPart, ProgramPart, ReservationPart, Secret, ServerKind,
        SettingsError, SettingsFile, VERSION, WatchUrl,
    },
    plan::EncoderPlan,
};
use crate::{domain::reservation::Reservation, vault::ReservationId};

/// What is the same in all settings files of one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provider {
    /// The ingest server's name, for people.
    pub name: String,
    /// Where the link side listens; at least one.
    pub access: Vec<AccessPort>,
    /// Where viewers connect.
    pub viewers_host: Host,
    /// Where viewers connect.
    pub viewers_port: NonZeroU16,
    /// How much wider than the window the connect window is.
    pub margins: ConnectMargins,
}

impl SettingsFile {
    /// The settings file of `reservation` on the channel of that name, made at `now`.
    ///
    /// Errors: the reservation or the provider holds what no settings file can; for the operator's log.
    pub fn for_reservation(
        reservation: &Reservation,
        id: &ReservationId,
        channel: &ChannelName,
        provider: &Provider,
        now: WallTime,
    ) -> Result<Self, SettingsError> {
        let program = &reservation.program;
        let id = Secret::new(id.expose());
        let password = program.password.as_ref().map(|password| Secret::new(password.0.as_str()));
        let watch_url = WatchUrl::new(&provider.viewers_host, provider.viewers_port, channel);
        let commands = Commands::write(&Ingredients {
            id: &id,
            path: channel.as_str(),
            access: &provider.access,
            plan: EncoderPlan::for_class(reservation.class),
            title: &program.title,
            watch_url: watch_url.as_str(),
            password: password.as_ref(),
        });
        let file = Self {
            format: Format::Settings,
            version: VERSION,
            made_at: now,
            reservation: ReservationPart {
                number: reservation.number,
                id,
                window: reservation.window,
                connect: reservation.window.widened(provider.margins),
            },
            ingest: IngestPart {
                kind: ServerKind::Rtsp,
                name: provider.name.clone(),
                path: channel.clone(),
                access: provider.access.clone(),
            },
            channel: ChannelPart { class: reservation.class, seats: reservation.seats, watch_url },
            program: ProgramPart {
                title: program.title.clone(),
                outline: program.outline.clone(),
                genre: program.genre.clone(),
                open_level: program.open_level,
                password,
                friends: program.friends.clone(),
            },
            commands,
        };
        file.check()?;
        Ok(file)
    }
}
