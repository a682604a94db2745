//! What can be asked of the reservation side, and what happens there by itself.
//!
//! Owns: [`Service`], who asks ([`Actor`]), and the shape of every use case: begin a transaction, lock, read the
//! facts, decide by `domain::rules`, write, commit.
//! Not here: deciding (`domain::rules`), keeping (`store`), how it is asked (`http`).
//! Holds: nothing is answered as done before its transaction stands; a store that is down touches no running program.

mod actor;
mod booking;
mod calendar;
mod error;
mod guide;
mod handover;
mod log_in;
mod members;
mod mine;
mod money;
mod operate;

use std::{sync::Arc, time::Duration};

use slotcast_core::time::{Clock, WallTime};
use tokio::sync::watch;

pub use actor::{Actor, Scope, Scopes};
pub use booking::{Idempotency, ProgramEdit};
pub use calendar::{ChannelDay, ChannelMonthDay, Day, Month, MonthDay, QuoteAnswer};
pub use error::{Answer, ServiceError};
pub use guide::{GuideDay, Listing, ProviderTime};
pub use handover::{Seal, SealedFile};
pub use log_in::{LoggedIn, NewToken};
pub use members::{MemberEdit, Premium, Registration};
pub use mine::{BroadcastStatus, ExtensionOffer, History, MyChannel, PastProgram};
pub use operate::{ChannelEdit, NewOperator, OperatorEdit, ServiceStats};

use crate::{
    domain::{
        refusal::Refusal,
        reservation::Reservation,
        rules::{self, Rules},
        words::{Amount, Email},
    },
    payments::Payments,
    settings,
    store::Store,
    streaming::Streaming,
    vault::Vault,
};

/// Who sells.
#[derive(Clone, Debug)]
pub struct Provider {
    /// As mails and pages call it.
    pub name: String,
    /// Whose mails they are.
    pub from: Email,
    /// Where browsers and programs find the API, without a slash at the end.
    pub base_url: String,
}

/// What the operator sets of the whole reservation side.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What is sold how.
    pub rules: Rules,
    /// Who sells.
    pub provider: Provider,
    /// Where broadcasters and viewers connect; its margins are those of the rules.
    pub places: settings::Provider,
    /// What a member agrees to.
    pub terms: String,
    /// How long a log-in lasts.
    pub session_life: Duration,
}

/// The reservation side; a handle that is cheap to clone.
#[derive(Clone)]
pub struct Service(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    vault: Vault,
    payments: Arc<dyn Payments>,
    streaming: Arc<dyn Streaming>,
    clock: Clock,
    settings: Settings,
}

impl Service {
    /// Over these; nothing runs by itself until [`run`](Self::run).
    pub fn new(
        store: Arc<dyn Store>,
        vault: Vault,
        payments: Arc<dyn Payments>,
        streaming: Arc<dyn Streaming>,
        clock: Clock,
        settings: Settings,
    ) -> Self {
        Self(Arc::new(Inner { store, vault, payments, streaming, clock, settings }))
    }

    /// Does what comes by itself, until `stop` says `true` or its sender is gone: what is due, mails, money, the
    /// schedule, the numbers of viewers.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let _ = stop.wait_for(|stop| *stop).await;
    }

    /// What the operator set.
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// What is sold how.
    pub fn rules(&self) -> &Rules {
        &self.0.settings.rules
    }

    /// Where everything is kept.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.0.store
    }

    /// The provider's time.
    pub fn now(&self) -> WallTime {
        (self.0.clock)().wall
    }

    /// What the whole reservation costs.
    pub fn total(&self, reservation: &Reservation) -> Result<Amount, Refusal> {
        rules::total(reservation, self.rules())
    }
}
