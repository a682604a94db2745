//! Booking, the terms, changes and cancellation.

use std::net::IpAddr;

use slotcast_core::words::OpenLevel;

use super::{Actor, Answer, Service, error::unready};
use crate::domain::{
    reservation::{ProgramPassword, Reservation},
    rules::Draft,
    words::{Email, ReservationNumber},
};

/// A request that may come again must not book twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// What `Idempotency-Key` said: 1 to 200 printable ASCII characters.
    pub key: String,
    /// SHA-256 of the request's method, path and body.
    pub request_hash: [u8; 32],
}

/// What a member changes of a program; `None`: stays. A program that becomes public loses its password by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProgramEdit {
    /// 1 to 80 characters.
    pub title: Option<String>,
    /// 0 to 40 characters.
    pub genre: Option<String>,
    /// 0 to 20 characters.
    pub outline: Option<String>,
    /// 0 to 200 characters.
    pub details: Option<String>,
    /// Who may watch.
    pub open_level: Option<OpenLevel>,
    /// The viewers' password.
    pub password: Option<ProgramPassword>,
    /// Whether the program's page shows the member's e-mail address.
    pub show_email: Option<bool>,
    /// Whether it shows the member's web address.
    pub show_web: Option<bool>,
    /// All friends.
    pub friends: Option<Vec<Email>>,
}

impl Service {
    /// Takes the window's slots until the terms are accepted.
    ///
    /// Refused: `NotPremium`, `NoPaymentMethod`, `Invalid`, `NotOnSlots`, `TooLong`, `InThePast`, `TooFarAhead`,
    /// `SlotTaken`, `MonthLimit`, `ChannelRetired`, `NotFound("channel")`, `KeyReused`, `TooMany`.
    pub async fn book(
        &self,
        actor: &Actor,
        draft: Draft,
        idempotency: Option<Idempotency>,
        client: IpAddr,
    ) -> Answer<Reservation> {
        let _ = (actor, draft, idempotency, client);
        unready()
    }

    /// The member accepts the terms; the reservation ID goes out by mail. Done already: the reservation as it is.
    pub async fn accept_terms(&self, actor: &Actor, number: ReservationNumber) -> Answer<Reservation> {
        let _ = (actor, number);
        unready()
    }

    /// A lost reservation ID is replaced by a new one, which is mailed.
    pub async fn reissue_id(&self, actor: &Actor, number: ReservationNumber) -> Answer<Reservation> {
        let _ = (actor, number);
        unready()
    }

    /// Changes the program. `version`: what was read (`If-Match`), else `Stale`.
    pub async fn change(
        &self,
        actor: &Actor,
        number: ReservationNumber,
        version: Option<i64>,
        edit: ProgramEdit,
    ) -> Answer<Reservation> {
        let _ = (actor, number, version, edit);
        unready()
    }

    /// Cancels: free before the reconfirmation, charged after it.
    pub async fn cancel(
        &self,
        actor: &Actor,
        number: ReservationNumber,
        version: Option<i64>,
    ) -> Answer<Reservation> {
        let _ = (actor, number, version);
        unready()
    }

    /// Ends the program now; it is charged in full.
    pub async fn end_early(&self, actor: &Actor, number: ReservationNumber) -> Answer<Reservation> {
        let _ = (actor, number);
        unready()
    }
}
