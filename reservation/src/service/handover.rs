//! The settings file: what the member's terminal needs, sealed for it.

use std::fmt;

use slotcast_core::words::ChannelName;
use slotcast_settings::{
    Reserved, SettingsFile,
    file::{ProgramPart, Secret},
    file_name,
    seal::{SealError, seal_for, seal_with_passphrase},
};
use tokio::{task::spawn_blocking, time::timeout};

use super::{Actor, Answer, Scope, Service, ServiceError, money::is_right_id};
use crate::{
    domain::{
        refusal::{Command, FieldProblem, Refusal, Thing},
        reservation::Reservation,
        words::ReservationNumber,
    },
    limits::SEAL_WAIT_MAX,
    vault::ReservationId,
};

/// For whom a settings file is sealed.
#[derive(Clone)]
pub enum Seal {
    /// For an age recipient (`age1…`); `None`: the one that the member registered.
    Recipient(Option<String>),
    /// For whoever knows this, 12 characters or more.
    Passphrase(String),
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Recipient(_) => "Recipient",
            Self::Passphrase(_) => "Passphrase",
        })
    }
}

/// A sealed settings file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedFile {
    /// A name for it: letters, digits, `-` and `.`.
    pub name: String,
    /// Armored age.
    pub bytes: Vec<u8>,
}

impl Service {
    /// The settings file, sealed. Confirmed reservations have one, until their connect window is over.
    ///
    /// Refused: `WrongReservationId`, `WrongState`, `Invalid` (no such key, too short a passphrase), `TooMany` (wrong
    /// IDs).
    pub async fn settings_file(
        &self,
        actor: &Actor,
        number: ReservationNumber,
        typed_id: &str,
        seal: Seal,
    ) -> Answer<SealedFile> {
        let (file, registered) = self.settings_of(actor, number, typed_id).await?;
        let text = file.write().map_err(|error| ServiceError::Internal(format!("settings file: {error}")))?;
        let turn = timeout(SEAL_WAIT_MAX, self.0.sealing.acquire()).await;
        let Ok(Ok(_turn)) = turn else {
            return Err(Refusal::TooMany { retry_after: SEAL_WAIT_MAX.as_secs() }.into());
        };
        // Sealing with a passphrase is made to be slow.
        let work = spawn_blocking(move || match seal {
            Seal::Recipient(key) => match key.or(registered) {
                Some(key) => seal_for(&key, &text).map_err(|error| problem("recipient", &error)),
                None => Err(FieldProblem::new(
                    "recipient",
                    "a terminal's key (age1…), since you registered none; or a passphrase",
                    "端末の鍵 (age1…)。登録されていません。またはパスフレーズ",
                )),
            },
            Seal::Passphrase(passphrase) => {
                seal_with_passphrase(&passphrase, &text).map_err(|error| problem("passphrase", &error))
            }
        });
        let sealed = work.await.map_err(|error| ServiceError::Internal(format!("sealing ended: {error}")))?;
        let sealed = sealed.map_err(|problem| Refusal::Invalid(vec![problem]))?;
        Ok(SealedFile { name: file_name(number.0), bytes: sealed.into_bytes() })
    }

    /// The same as values, for a page or a program that asked over TLS.
    pub async fn settings_plain(
        &self,
        actor: &Actor,
        number: ReservationNumber,
        typed_id: &str,
    ) -> Answer<SettingsFile> {
        Ok(self.settings_of(actor, number, typed_id).await?.0)
    }

    /// With the key of the member's terminal, where one is registered.
    async fn settings_of(
        &self,
        actor: &Actor,
        number: ReservationNumber,
        typed_id: &str,
    ) -> Answer<(SettingsFile, Option<String>)> {
        actor.need(Scope::Broadcast)?;
        self.0.tries.wrong_id.check(&actor.member, (self.0.clock)().mono)?;
        let (now, typed) = (self.now(), ReservationId::from_typed(typed_id));
        let mut reads = self.0.store.read().await?;
        let reservation = actor.own(reads.reservation(number).await?)?;
        let Some(id) = typed.filter(|typed| is_right_id(&reservation, Some(typed))) else {
            let refused = Err(Refusal::WrongReservationId.into());
            self.spend_wrong_id(actor, &refused);
            return refused;
        };
        let connect = reservation.window.widened(self.rules().margins);
        if !reservation.state.is_accounted() || connect.end() <= now {
            let (command, state) = (Command::Settings, reservation.state);
            return Err(Refusal::WrongState { command, state }.into());
        }
        let channels = reads.channels().await?;
        let channel = channels.into_iter().find(|channel| channel.number == reservation.channel);
        let channel = channel.ok_or(Refusal::NotFound(Thing::Channel))?;
        let terminal_key = reads.member(reservation.member).await?.and_then(|member| member.terminal_key);
        let places = &self.0.settings.places;
        let file = SettingsFile::for_reservation(reserved(reservation, &id, channel.name), places, now)
            .map_err(|error| ServiceError::Internal(format!("settings file: {error}")))?;
        Ok((file, terminal_key))
    }
}

/// What the settings file says of `reservation`.
fn reserved(reservation: Reservation, id: &ReservationId, channel: ChannelName) -> Reserved {
    let program = reservation.program;
    Reserved {
        number: reservation.number.0,
        id: Secret::new(id.expose()),
        window: reservation.window,
        channel,
        class: reservation.class,
        seats: reservation.seats,
        program: ProgramPart {
            title: program.title,
            outline: program.outline,
            genre: program.genre,
            open_level: program.open_level,
            password: program.password.map(|password| Secret::new(password.0)),
            friends: program.friends.iter().map(|friend| Secret::new(friend.as_str())).collect(),
        },
    }
}

fn problem(field: &'static str, error: &SealError) -> FieldProblem {
    FieldProblem::new(field, error.to_string(), error.to_string())
}
