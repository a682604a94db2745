//! What is the member's own: reservations, their state on air, their history.

use std::time::Duration;

use slotcast_core::{
    time::WallTime,
    words::{Seats, Window},
};

use super::{Actor, Answer, Service, error::unready};
use crate::{
    domain::{
        effects::LedgerTransaction,
        member::Member,
        reservation::{Reservation, SoldChannel, State},
        words::{Amount, ReservationNumber},
    },
    store::{Listed, Page, ReservationFilter, Run, ViewerSample},
    streaming::Link,
};

/// What the broadcaster sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BroadcastStatus {
    /// Which program.
    pub number: ReservationNumber,
    /// How far the reservation has come.
    pub state: State,
    /// What the broadcaster's link does.
    pub link: Link,
    /// Whether media goes to viewers.
    pub is_on_air: bool,
    /// The provider's time.
    pub now: WallTime,
    /// Of the window, how much is over.
    pub elapsed: Duration,
    /// Of the window, how much is left.
    pub remaining: Duration,
    /// When it is on air.
    pub window: Window,
    /// When the link is accepted.
    pub connect: Window,
    /// Width and height, where the stream told them.
    pub picture: Option<(u16, u16)>,
    /// What came in during the last second, in bits per second.
    pub bit_rate: u64,
    /// Of the program.
    pub title: String,
    /// Where viewers find it.
    pub watch_url: String,
    /// The ingest server.
    pub server: String,
    /// On which channel.
    pub channel: SoldChannel,
    /// Viewers now.
    pub viewers: u32,
    /// How many there may be.
    pub seats: Seats,
    /// Whether the window can be made longer.
    pub extension: ExtensionOffer,
}

/// Whether the window can be made longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtensionOffer {
    /// It can.
    Offered {
        /// Slots at most.
        slots_max: u32,
        /// For one.
        toll: Amount,
        /// Until when it may be taken.
        until: WallTime,
    },
    /// Later, if the next slot is still free.
    Later {
        /// From then.
        from: WallTime,
    },
    /// The next slot is taken, or the window is as long as may be.
    NotPossible,
}

/// How a program ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// Which.
    pub reservation: Reservation,
    /// In sums.
    pub run: Run,
    /// Viewers on average over the window, in thousandths.
    pub viewers_average_milli: u64,
    /// The numbers of viewers, oldest first.
    pub samples: Listed<ViewerSample>,
    /// What was posted for it.
    pub ledger: Vec<LedgerTransaction>,
}

/// A program that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastProgram {
    /// Which.
    pub reservation: Reservation,
    /// How it ran.
    pub run: Run,
}

/// A member's page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MyChannel {
    /// The own data.
    pub member: Member,
    /// Held, registered, confirmed and on air: by start, at most 100.
    pub open: Vec<Reservation>,
    /// Finished, newest first, at most 50.
    pub past: Vec<PastProgram>,
    /// Cancelled, newest first, at most 50.
    pub cancelled: Vec<Reservation>,
    /// Slots of this month that are used.
    pub slots_used: u32,
    /// Slots of one month at most.
    pub slots_max: u32,
}

impl Service {
    /// One reservation of the actor's (of anybody's, for an operator).
    pub async fn reservation(&self, actor: &Actor, number: ReservationNumber) -> Answer<Reservation> {
        let _ = (actor, number);
        unready()
    }

    /// The actor's reservations. `filter.member` counts for operators alone.
    pub async fn reservations(
        &self,
        actor: &Actor,
        filter: ReservationFilter,
        page: Page,
    ) -> Answer<Listed<Reservation>> {
        let _ = (actor, filter, page);
        unready()
    }

    /// What the broadcaster sees while on air, and before.
    pub async fn status(&self, actor: &Actor, number: ReservationNumber) -> Answer<BroadcastStatus> {
        let _ = (actor, number);
        unready()
    }

    /// How a program ran; `page`: of the samples.
    pub async fn history(&self, actor: &Actor, number: ReservationNumber, page: Page) -> Answer<History> {
        let _ = (actor, number, page);
        unready()
    }

    /// The actor's page.
    pub async fn my_channel(&self, actor: &Actor) -> Answer<MyChannel> {
        let _ = actor;
        unready()
    }
}
