//! What costs money inside a request: reconfirmation and extension.

use super::{Actor, Answer, Idempotency, Service, error::unready};
use crate::domain::{reservation::Reservation, words::ReservationNumber};

impl Service {
    /// The member's second yes: the amount is authorised, the program will be. Repeated after it was done, with the
    /// right ID: the reservation as it is.
    ///
    /// - `typed_id`: the reservation ID as it was typed.
    /// - `terminal_key`: an age recipient to which settings files are encrypted from now on.
    ///
    /// Refused: `WrongReservationId`, `ReconfirmationLate`, `PaymentDeclined`, `PaymentUnavailable` (nothing was
    /// charged; ask again), `NoPaymentMethod`, `WrongState`, `TooMany` (wrong IDs).
    pub async fn reconfirm(
        &self,
        actor: &Actor,
        number: ReservationNumber,
        typed_id: &str,
        terminal_key: Option<String>,
    ) -> Answer<Reservation> {
        let _ = (actor, number, typed_id, terminal_key);
        unready()
    }

    /// Makes the window longer by `slots`.
    ///
    /// Refused: `ExtensionEarly`, `SlotTaken`, `TooLong`, `PaymentDeclined`, `PaymentUnavailable`, `WrongState`.
    pub async fn extend(
        &self,
        actor: &Actor,
        number: ReservationNumber,
        slots: u32,
        idempotency: Option<Idempotency>,
    ) -> Answer<Reservation> {
        let _ = (actor, number, slots, idempotency);
        unready()
    }
}
