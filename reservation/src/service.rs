//! What can be asked of the reservation side, and what happens there by itself.
//!
//! Owns: [`Service`], who asks ([`Actor`]), and the shape of every use case: begin a transaction, lock, read the
//! facts, decide by `domain::rules`, write, commit.
//! Not here: deciding (`domain::rules`), keeping (`store`), how it is asked (`http`).
//! Invariant: nothing is answered as done before its transaction stands; a store that is down touches no running program.

mod actor;
mod booking;
mod budget;
mod calendar;
mod collecting;
mod counts;
mod erasure;
mod error;
mod events;
mod facts;
mod guide;
mod handover;
pub(crate) mod inputs;
mod jobs;
mod log_in;
mod mails;
mod members;
mod mine;
mod money;
mod observer;
mod operate;
mod password;
mod paying;
mod proofs;
mod publisher;
mod random;
mod refunding;
mod retention;
mod retry;
mod running;
mod timekeeper;
mod views;
mod webhooks;

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, atomic::AtomicU64},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use slotcast_core::time::{Clock, WallTime};
use tokio::sync::{Notify, Semaphore};

pub use crate::domain::member::Scope;
pub use actor::{Actor, Scopes};
pub use booking::ProgramEdit;
pub use calendar::{ChannelDay, ChannelMonthDay, Day, Month, MonthDay, QuoteAnswer};
pub use counts::ServiceStats;
pub use erasure::{OwnData, OwnReservation};
pub use error::{Answer, ServiceError};
pub use events::{EventFilter, Health, LiveFigures};
pub use facts::Idempotency;
pub use guide::{Door, GuideDay, GuidePart, Listing, PickedProgram, ProviderTime};
pub use handover::{Seal, SealedFile};
pub use inputs::{DraftInput, FriendInput, ProgramEditInput, ProgramInput, WindowInput};
pub use log_in::{LoggedIn, NewToken};
pub use members::{MemberEdit, Premium, Registration};
pub use mine::{
    BroadcastStatus, ExtensionOffer, FindingView, HealthView, History, MyChannel, PastProgram, Picture,
};
pub use operate::{ChannelEdit, MadeOperator, NewOperator, OperatorEdit};
pub use refunding::Refunds;
pub use retention::Retention;
pub(crate) use views::hex;
pub use views::{
    ChannelView, LedgerView, List, NextStep, PaymentView, Reason, ReservationView, TermsView, TokenView,
};
pub use webhooks::{MadeWebhook, WebhookEdit};

use budget::{Buckets, Guesses};
use calendar::DaysKept;
use counts::Counts;
use events::Watched;
use observer::Observed;
use password::Passwords;
use publisher::Published;

use crate::{
    courier::Courier,
    domain::{
        member::Card,
        reservation::Reservation,
        rules::{self, Rules},
        words::{Amount, Email, MemberNumber, ReservationNumber},
    },
    limits::{Budgets, REFUSED_LINES, SEALS_AT_ONCE},
    mail::Post,
    payments::{Payments, invoice::BRAND},
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
    pub places: slotcast_settings::Provider,
    /// What a member agrees to.
    pub terms: String,
    /// How long a log-in lasts.
    pub session_life: Duration,
    /// How often things may be tried that can be abused.
    pub budgets: Budgets,
    /// For how long is kept what need not stay.
    pub retention: Retention,
}

/// The reservation side; a handle that is cheap to clone.
#[derive(Clone)]
pub struct Service(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    vault: Vault,
    payments: Arc<dyn Payments>,
    post: Arc<dyn Post>,
    courier: Arc<dyn Courier>,
    streaming: Arc<dyn Streaming>,
    clock: Clock,
    settings: Settings,
    passwords: Passwords,
    sealing: Semaphore,
    tries: Tries,
    counts: Counts,
    /// Something was committed that the streaming side, the mail or the money waits for.
    changed: Changed,
    published: Mutex<Published>,
    days: Mutex<DaysKept>,
    observed: Mutex<Observed>,
    watched: Mutex<Watched>,
    telling: tokio::sync::Mutex<()>,
    flushing: tokio::sync::Mutex<()>,
    /// Tells this start of the process from others.
    boot: i64,
    /// When a failure of what is done by itself was logged last.
    said: Mutex<BTreeMap<&'static str, Instant>>,
    /// Refused log-ins that no line of the log was written for since the last one.
    refused_unsaid: AtomicU64,
}

/// Who is woken by a commit, before the second is over.
#[derive(Default)]
struct Changed {
    schedule: Notify,
    jobs: Notify,
    observed: Notify,
}

/// What may be tried how often, by whom.
struct Tries {
    register: Buckets<IpAddr>,
    log_in_address: Buckets<IpAddr>,
    log_in_user: Guesses,
    forgotten_address: Buckets<IpAddr>,
    forgotten_member: Buckets<MemberNumber>,
    verification: Buckets<MemberNumber>,
    own_password: Buckets<MemberNumber>,
    refused_lines: Buckets<()>,
    book_address: Buckets<IpAddr>,
    book_member: Buckets<MemberNumber>,
    wrong_id: Buckets<MemberNumber>,
    card: Buckets<MemberNumber>,
}

impl Tries {
    fn new(budgets: &Budgets) -> Self {
        Self {
            register: Buckets::new(budgets.register),
            log_in_address: Buckets::new(budgets.log_in_address),
            log_in_user: Guesses::new(budgets.log_in_user),
            forgotten_address: Buckets::new(budgets.forgotten_address),
            forgotten_member: Buckets::new(budgets.forgotten_member),
            verification: Buckets::new(budgets.verification),
            own_password: Buckets::new(budgets.own_password),
            refused_lines: Buckets::new(REFUSED_LINES),
            book_address: Buckets::new(budgets.book_address),
            book_member: Buckets::new(budgets.book_member),
            wrong_id: Buckets::new(budgets.wrong_id),
            card: Buckets::new(budgets.card),
        }
    }
}

impl Service {
    /// Over these; nothing runs by itself until [`run`](Self::run).
    #[expect(clippy::too_many_arguments, reason = "each is a border of its own, named by its type")]
    pub fn new(
        store: Arc<dyn Store>,
        vault: Vault,
        payments: Arc<dyn Payments>,
        post: Arc<dyn Post>,
        courier: Arc<dyn Courier>,
        streaming: Arc<dyn Streaming>,
        clock: Clock,
        settings: Settings,
    ) -> Self {
        let tries = Tries::new(&settings.budgets);
        // Without random bits, the time of the start.
        let boot = random::bits().map_or_else(|_| clock().wall.as_micros(), |bits| (bits >> 1) as i64);
        let (passwords, counts, changed) = (Passwords::new(), Counts::default(), Changed::default());
        Self(Arc::new(Inner {
            store,
            vault,
            payments,
            post,
            courier,
            streaming,
            clock,
            settings,
            passwords,
            sealing: Semaphore::new(SEALS_AT_ONCE),
            tries,
            counts,
            changed,
            published: Mutex::default(),
            days: Mutex::default(),
            observed: Mutex::default(),
            watched: Mutex::default(),
            telling: tokio::sync::Mutex::default(),
            flushing: tokio::sync::Mutex::default(),
            boot,
            said: Mutex::default(),
            refused_unsaid: AtomicU64::new(0),
        }))
    }

    /// What the operator set.
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// SHA-256 of what a member agrees to.
    pub fn terms_hash(&self) -> [u8; 32] {
        random::hash(&self.0.settings.terms)
    }

    /// What is sold how.
    pub fn rules(&self) -> &Rules {
        &self.0.settings.rules
    }

    /// Where everything is kept.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.0.store
    }

    /// Whether the operator bills: then a premium member needs no card.
    pub fn is_billing(&self) -> bool {
        let (token, last_four) = (String::new(), String::new());
        self.0.payments.knows(&Card { token, brand: BRAND.to_owned(), last_four, expires: None })
    }

    /// Whether there is a picture of what is on air in the program, at `/programs/NUMBER/still.jpg`.
    pub fn has_still(&self, number: ReservationNumber) -> bool {
        self.0.streaming.has_still(number)
    }

    /// The provider's time.
    pub fn now(&self) -> WallTime {
        (self.0.clock)().wall
    }

    /// Wakes what waits for a commit.
    fn committed(&self) {
        self.0.changed.schedule.notify_one();
        self.0.changed.jobs.notify_one();
    }

    /// What the whole reservation costs.
    pub fn total(&self, reservation: &Reservation) -> Amount {
        rules::total(reservation, self.rules())
    }
}
