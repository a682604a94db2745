//! Fills in the settings file of one reservation.
//!
//! Owns: [`Provider`], [`Reserved`], [`SettingsFile::for_reservation`].
//! Invariant: the same arguments give the same file. A [`Provider`] that [`check`](Provider::check) accepts never keeps a
//! member from a settings file.

use std::num::NonZeroU16;

use slotcast_core::{
    time::WallTime,
    words::{BitRate, ChannelName, ConnectMargins, Seats, Window},
};

use super::{
    commands::{Commands, Ingredients},
    file::{
        AccessPort, ChannelPart, Format, Host, IngestPart, ProgramPart, ReservationPart, Secret, ServerKind,
        SettingsError, SettingsFile, VERSION, WatchUrl, check_access,
    },
    plan::EncoderPlan,
};

/// What is the same in all settings files of one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provider {
    /// The ingest server's name, for people: 1 to 100 characters.
    pub name: String,
    /// Where the link side listens: 1 to [`ACCESS_MAX`](super::file::ACCESS_MAX).
    pub access: Vec<AccessPort>,
    /// Where viewers connect.
    pub viewers_host: Host,
    /// Where viewers connect.
    pub viewers_port: NonZeroU16,
    /// How much wider than the window the connect window is.
    pub margins: ConnectMargins,
}

impl Provider {
    /// Whether settings files can be made of it.
    ///
    /// Errors: which name or list is beyond its limit, for the operator.
    pub fn check(&self) -> Result<(), SettingsError> {
        check_access(&self.name, &self.access)
    }
}

/// What is different from one settings file to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reserved {
    /// Names the reservation: 1 to 2^53 - 1.
    pub number: i64,
    /// The reservation ID.
    pub id: Secret,
    /// When the program is on air.
    pub window: Window,
    /// The channel's name, which is the stream path.
    pub channel: ChannelName,
    /// The channel's bandwidth class.
    pub class: BitRate,
    /// How many viewers at once.
    pub seats: Seats,
    /// What is broadcast.
    pub program: ProgramPart,
}

impl SettingsFile {
    /// The settings file of `reserved`, made at `now`.
    ///
    /// Errors: the reservation or the provider holds what no settings file can; for the operator's log.
    pub fn for_reservation(
        reserved: Reserved,
        provider: &Provider,
        now: WallTime,
    ) -> Result<Self, SettingsError> {
        let Reserved { number, id, window, channel, class, seats, program } = reserved;
        let watch_url = WatchUrl::new(&provider.viewers_host, provider.viewers_port, &channel);
        let commands = Commands::write(&Ingredients {
            id: &id,
            path: channel.as_str(),
            access: &provider.access,
            plan: EncoderPlan::for_class(class),
            title: &program.title,
            watch_url: watch_url.as_str(),
            password: program.password.as_ref(),
        });
        let connect = window.widened(provider.margins);
        let file = Self {
            format: Format::Settings,
            version: VERSION,
            made_at: now,
            reservation: ReservationPart { number, id, window, connect },
            ingest: IngestPart {
                kind: ServerKind::Rtsp,
                name: provider.name.clone(),
                path: channel,
                access: provider.access.clone(),
            },
            channel: ChannelPart { class, seats, watch_url },
            program,
            commands,
        };
        file.check()?;
        Ok(file)
    }
}
