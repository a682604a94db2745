//! A service over a database in a file, with a clock that is stepped by hand and a world made of memory around it.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
        mpsc,
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use slotcast_core::{
    time::{Clock, Now, WallTime},
    words::{ChannelNumber, ConnectMargins, OpenLevel, Seats, Toll, Window},
};
use slotcast_reservation::{
    courier::{Courier, Parcel},
    domain::{
        effects::PaymentKind,
        member::{Card, CardQuestion, Contact, Member, MemberKind, PasswordHash},
        refusal::Refusal,
        reservation::{ProgramDetails, Reservation, SoldChannel},
        rules::{Draft, Rules},
        words::{Amount, Currency, Email, Language, MemberNumber, ReservationNumber},
    },
    hub::Hub,
    limits::{Budget, Budgets, GATHER_USUAL},
    mail::{Post, PostError},
    payments::{CardCheck, Charge, Moved, NewCard, Notice, PaymentError, Payments, invoice::BRAND},
    service::{Actor, Answer, Provider, Retention, Service, ServiceError, Settings},
    store::{self, Page, Reads, Session, Store, StoreError, Stored, Tx},
    streaming::{Link, Live, Schedule, StoppedBy, Streaming, Track, TrackState, Viewer},
    vault::Vault,
};
use tempfile::TempDir;
use tokio::sync::Notify;

/// More than any list of these tests.
pub const ALL: Page = Page { offset: 0, limit: 10_000 };
pub const MINUTE: Duration = Duration::from_secs(60);
pub const HOUR: Duration = Duration::from_secs(3600);
pub const SECOND: Duration = Duration::from_secs(1);
pub const MICRO: Duration = Duration::from_micros(1);

pub fn wall(text: &str) -> WallTime {
    text.parse().unwrap()
}

/// Both halves of time by hand.
#[derive(Clone)]
pub struct HandClock(Arc<Mutex<Now>>);

impl HandClock {
    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
    fn at(wall: WallTime) -> Self {
        Self(Arc::new(Mutex::new(Now { mono: Instant::now(), wall })))
    }

    pub fn now(&self) -> WallTime {
        self.0.lock().wall
    }

    /// Time passes up to that moment.
    pub fn set(&self, to: WallTime) {
        let mut now = self.0.lock();
        let passed = to.since(now.wall);
        now.mono += passed;
        now.wall = to;
    }

    pub fn pass(&self, span: Duration) {
        self.set(self.now().saturating_add(span));
    }

    /// The wall clock alone is set.
    pub fn step(&self, seconds: i64) {
        let mut now = self.0.lock();
        now.wall = WallTime::from_micros(now.wall.as_micros() + seconds * 1_000_000);
    }

    fn clock(&self) -> Clock {
        let now = Arc::clone(&self.0);
        Arc::new(move || *now.lock())
    }
}

/// Keeps what was handed on.
#[derive(Default)]
pub struct FakePost {
    /// Keys and texts, in order.
    pub sent: Mutex<Vec<(String, String)>>,
    pub failures_left: Mutex<u32>,
    /// Mails whose keys begin so never come to an end.
    pub hangs: Mutex<Option<String>>,
}

impl FakePost {
    pub fn keys(&self, begin: &str) -> Vec<String> {
        let sent = self.sent.lock();
        sent.iter().map(|(key, _)| key.clone()).filter(|key| key.starts_with(begin)).collect()
    }

    pub fn text(&self, begin: &str) -> String {
        let sent = self.sent.lock();
        sent.iter().rev().find(|(key, _)| key.starts_with(begin)).expect(begin).1.clone()
    }
}

#[async_trait]
impl Post for FakePost {
    async fn send(&self, message: &lettre::Message, key: &str) -> Result<(), PostError> {
        {
            let mut left = self.failures_left.lock();
            if *left > 0 {
                *left -= 1;
                return Err(PostError::Temporary("451 later".to_owned()));
            }
        }
        if self.hangs.lock().as_ref().is_some_and(|begin| key.starts_with(begin)) {
            std::future::pending::<()>().await;
        }
        // Others get their turn in the middle of it.
        tokio::task::yield_now().await;
        let text = String::from_utf8(message.formatted()).unwrap();
        self.sent.lock().push((key.to_owned(), text));
        Ok(())
    }
}

/// Receivers of events, made of memory.
#[derive(Default)]
pub struct FakeCourier {
    /// What came, in order.
    pub came: Mutex<Vec<Parcel>>,
    /// What is answered at each address: 200 where nothing is said; 0: nothing, and it hangs.
    pub answers: Mutex<BTreeMap<String, u16>>,
}

impl FakeCourier {
    pub fn answer(&self, url: &str, status: u16) {
        self.answers.lock().insert(url.to_owned(), status);
    }

    /// The IDs of the events that came to an address, in order.
    pub fn ids(&self, url: &str) -> Vec<String> {
        self.came.lock().iter().filter(|parcel| parcel.url == url).map(|parcel| parcel.id.clone()).collect()
    }
}

#[async_trait]
impl Courier for FakeCourier {
    fn check(&self, url: &str) -> Result<(), &'static str> {
        if url.starts_with("http") { Ok(()) } else { Err("is neither HTTPS nor HTTP") }
    }

    async fn deliver(&self, parcel: &Parcel) -> Result<u16, String> {
        let status = self.answers.lock().get(&parcel.url).copied().unwrap_or(200);
        if status == 0 {
            std::future::pending::<()>().await;
        }
        tokio::task::yield_now().await;
        self.came.lock().push(parcel.clone());
        Ok(status)
    }
}

/// How the next movements go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    Well,
    /// Nothing is done, and it is said that nobody knows.
    FailsBefore,
    /// It is done, and it is said that nobody knows.
    FailsAfter,
    Declines,
    /// The card's company asks the member first.
    Asks,
}

/// A payment company in memory: what one key did is done once.
pub struct FakePayments {
    pub mood: Mutex<Mood>,
    /// Of all movements that had an effect: key, kind, amount.
    pub done: Mutex<Vec<(String, PaymentKind, i64)>>,
    pub asked: Mutex<u32>,
    /// The least that can be charged.
    pub least: Mutex<i64>,
    /// Of all charges that were asked for: the question that they led to before.
    pub begun: Mutex<Vec<Option<String>>>,
    /// Movements wait here until told to go on.
    pub gate: Mutex<Option<Arc<Gate>>>,
    pub notice: Mutex<Option<Notice>>,
    /// Keys of refunds that fail after they were taken on.
    pub came_back: Mutex<Vec<String>>,
    /// Nothing is collected: the operator bills.
    pub is_billing: Mutex<bool>,
}

/// Where one waits until the test lets it go on.
#[derive(Debug, Default)]
pub struct Gate {
    pub entered: Notify,
    pub go: Notify,
}

impl FakePayments {
    pub fn close(&self) -> Arc<Gate> {
        let gate = Arc::new(Gate::default());
        *self.gate.lock() = Some(Arc::clone(&gate));
        gate
    }

    pub fn be(&self, mood: Mood) {
        *self.mood.lock() = mood;
    }

    pub fn count(&self, kind: PaymentKind) -> usize {
        self.done.lock().iter().filter(|(_, done, _)| *done == kind).count()
    }

    pub fn sum(&self, kind: PaymentKind) -> i64 {
        self.done.lock().iter().filter(|(_, done, _)| *done == kind).map(|(.., minor)| minor).sum()
    }

    /// What one key asks for has its effect once, and is answered as the mood is.
    async fn do_once(
        &self,
        key: &str,
        kind: PaymentKind,
        amount: Amount,
        charge: Option<&Charge>,
    ) -> Result<(), PaymentError> {
        *self.asked.lock() += 1;
        self.begun.lock().extend(charge.map(|charge| charge.begun.clone()));
        let gate = self.gate.lock().clone();
        if let Some(gate) = gate {
            gate.entered.notify_one();
            gate.go.notified().await;
        }
        let mood = *self.mood.lock();
        // The answer to a key that was answered stays what it was.
        let is_done = self.done.lock().iter().any(|(other, ..)| other == key);
        let mood = if is_done && mood == Mood::Declines { Mood::Well } else { mood };
        match mood {
            Mood::FailsBefore => return Err(PaymentError::Unavailable("no route".to_owned())),
            Mood::Declines => return Err(PaymentError::Declined("insufficient funds".to_owned())),
            Mood::Asks if !is_done && charge.is_some() => {
                return Err(asks(key, charge.is_some_and(|it| it.is_present)));
            }
            Mood::Well | Mood::FailsAfter | Mood::Asks => {}
        }
        let mut done = self.done.lock();
        if !done.iter().any(|(other, ..)| other == key) {
            done.push((key.to_owned(), kind, amount.minor()));
        }
        match mood {
            Mood::FailsAfter => Err(PaymentError::Unavailable("the answer was lost".to_owned())),
            Mood::Well | Mood::FailsBefore | Mood::Declines | Mood::Asks => Ok(()),
        }
    }
}

/// What the card's company wants to know of a member who is there; nobody else is asked.
fn asks(key: &str, is_present: bool) -> PaymentError {
    match is_present {
        true => PaymentError::Asks(CardQuestion {
            reference: format!("pi_{key}"),
            client_secret: format!("pi_{key}_secret_of_the_member"),
        }),
        false => PaymentError::Declined("the member must be asked".to_owned()),
    }
}

#[async_trait]
impl Payments for FakePayments {
    async fn check_card(&self, card: &NewCard) -> Result<CardCheck, PaymentError> {
        match card.token.as_str() {
            "pm_declined" => Err(PaymentError::Declined("the card was declined".to_owned())),
            "pm_down" => Err(PaymentError::Unavailable("down".to_owned())),
            token => Ok(CardCheck::Kept(Card {
                token: token.to_owned(),
                brand: "visa".to_owned(),
                last_four: "4242".to_owned(),
                expires: Some((2030, 12)),
            })),
        }
    }

    fn knows(&self, card: &Card) -> bool {
        *self.is_billing.lock() || card.brand != BRAND
    }

    fn check_amount(&self, amount: Amount, _: Currency) -> Result<(), String> {
        let least = *self.least.lock();
        if amount.minor() >= least { Ok(()) } else { Err(format!("set {least} or more")) }
    }

    async fn authorise(&self, charge: &Charge) -> Result<Moved, PaymentError> {
        self.do_once(&charge.key, PaymentKind::Authorise, charge.amount, Some(charge)).await?;
        Ok(Moved { reference: format!("pi_{}", charge.key), is_collected: false })
    }

    async fn capture(&self, charge: &Charge, hold: &str) -> Result<Moved, PaymentError> {
        assert!(hold.starts_with("pi_"), "{hold}");
        self.do_once(&charge.key, PaymentKind::Capture, charge.amount, Some(charge)).await?;
        Ok(Moved { reference: hold.to_owned(), is_collected: !*self.is_billing.lock() })
    }

    async fn release(&self, key: &str, hold: &str) -> Result<Moved, PaymentError> {
        let held = hold.strip_prefix("pi_").expect(hold);
        let held = self.done.lock().iter().find(|(key, ..)| key == held).map(|(.., minor)| *minor);
        let amount = held.and_then(|minor| Amount::new(minor).ok()).expect("what is let go was held");
        self.do_once(key, PaymentKind::Release, amount, None).await?;
        Ok(Moved { reference: hold.to_owned(), is_collected: false })
    }

    async fn refund(&self, key: &str, reference: &str, amount: Amount) -> Result<Moved, PaymentError> {
        assert!(reference.starts_with("pi_"), "{reference}");
        self.do_once(key, PaymentKind::Refund, amount, None).await?;
        if self.came_back.lock().iter().any(|other| other == key) {
            return Err(PaymentError::CameBack("no such card any more".to_owned()));
        }
        Ok(Moved { reference: format!("re_{key}"), is_collected: false })
    }

    fn read_notice(&self, signature: &str, _: &[u8], _: i64) -> Result<Option<Notice>, PaymentError> {
        match signature {
            "right" => Ok(self.notice.lock().clone()),
            _ => Err(PaymentError::Misconfigured("wrong signature".to_owned())),
        }
    }
}

impl std::fmt::Debug for FakePayments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FakePayments")
    }
}

/// A streaming side that does what the test says.
#[derive(Default)]
pub struct FakeStreaming {
    pub schedule: Mutex<Schedule>,
    /// Each time that it was told: whether as a whole, how many programs, and how many that are gone.
    pub told: Mutex<Vec<(bool, usize, usize)>>,
    pub is_broken: Mutex<bool>,
    /// Every schedule is refused.
    pub refuses: Mutex<bool>,
    pub live: Mutex<BTreeMap<ReservationNumber, Live>>,
    /// The next question about viewers waits for a word from there.
    pub slow: Mutex<Option<mpsc::Receiver<()>>>,
}

impl FakeStreaming {
    fn wait_if_slow(&self) {
        if let Some(word) = self.slow.lock().take() {
            word.recv_timeout(10 * SECOND).expect("others go on while this question waits");
        }
    }

    pub fn send(&self, number: ReservationNumber, viewers: u32) {
        let mut live = self.live.lock();
        let packets = live.get(&number).map_or(0, |live| live.packets) + 100;
        let live_now = Live {
            link: Link::OnAir,
            since: WallTime::from_micros(0),
            bit_rate: 64_000,
            viewers,
            packets,
            picture: Some((176, 144)),
            tracks: vec![Track { kind: "video", state: TrackState::Sent }],
            left_out: 0,
            health: None,
            last_end: None,
        };
        live.insert(number, live_now);
    }

    /// What may be on air, or was until its window ended.
    pub fn scheduled(&self) -> Vec<ReservationNumber> {
        let schedule = self.schedule.lock();
        let all = schedule.programs.iter().filter(|program| program.stopped.is_none());
        all.map(|program| program.number).collect()
    }

    /// What was ended before its time: by whom, and when.
    pub fn stopped(&self) -> Vec<(ReservationNumber, StoppedBy, WallTime)> {
        let schedule = self.schedule.lock();
        let stopped = schedule
            .programs
            .iter()
            .filter_map(|program| Some((program.number, program.stopped?, program.window.end())));
        stopped.collect()
    }
}

impl Streaming for FakeStreaming {
    fn publish(&self, news: &Schedule) -> Result<(), String> {
        if *self.refuses.lock() {
            return Err("it does not fit together".to_owned());
        }
        let mut schedule = self.schedule.lock();
        let is_named =
            |number| news.gone.contains(&number) || news.programs.iter().any(|put| put.number == number);
        schedule.programs.retain(|program| !news.is_whole && !is_named(program.number));
        schedule.programs.extend(news.programs.iter().cloned());
        schedule.programs.sort_by_key(|program| (program.window.start(), program.number));
        schedule.channels.clone_from(&news.channels);
        self.told.lock().push((news.is_whole, news.programs.len(), news.gone.len()));
        Ok(())
    }

    fn is_normal(&self) -> bool {
        !*self.is_broken.lock()
    }

    fn live(&self) -> BTreeMap<ReservationNumber, Live> {
        self.live.lock().clone()
    }

    fn viewers(&self, _: ReservationNumber) -> Vec<Viewer> {
        self.wait_if_slow();
        Vec::new()
    }

    fn kick_viewer(&self, _: ReservationNumber, viewer: u64, _: &str) -> bool {
        self.wait_if_slow();
        viewer == 1
    }

    fn kick_link(&self, program: ReservationNumber, _: &str) -> bool {
        self.live.lock().remove(&program).is_some()
    }
}

/// A store that can be taken down.
#[derive(Debug)]
struct Unsteady {
    store: Arc<dyn Store>,
    is_down: Arc<AtomicBool>,
    before_write: Arc<Mutex<Option<Arc<Gate>>>>,
}

impl Unsteady {
    fn check(&self) -> Stored<()> {
        match self.is_down.load(SeqCst) {
            true => Err(StoreError::Retry("taken down".to_owned())),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl Store for Unsteady {
    async fn read(&self) -> Stored<Box<dyn Reads + '_>> {
        self.check()?;
        self.store.read().await
    }

    async fn begin(&self) -> Stored<Box<dyn Tx + '_>> {
        self.check()?;
        let gate = self.before_write.lock().take();
        if let Some(gate) = gate {
            gate.entered.notify_one();
            gate.go.notified().await;
        }
        self.store.begin().await
    }

    async fn back_up(&self, to: &Path) -> Stored<()> {
        self.store.back_up(to).await
    }

    fn changes(&self) -> u64 {
        self.store.changes()
    }

    fn hub(&self) -> &Arc<Hub> {
        self.store.hub()
    }

    async fn close(&self) {
        self.store.close().await;
    }
}

pub struct World {
    pub clock: HandClock,
    pub store: Arc<dyn Store>,
    pub is_down: Arc<AtomicBool>,
    /// The next transaction that writes waits here before it begins.
    pub before_write: Arc<Mutex<Option<Arc<Gate>>>>,
    pub post: Arc<FakePost>,
    pub payments: Arc<FakePayments>,
    pub courier: Arc<FakeCourier>,
    pub streaming: Arc<FakeStreaming>,
    pub vault: Vault,
    pub service: Service,
    settings: Settings,
    directory: Option<TempDir>,
}

pub fn rules() -> Rules {
    Rules {
        slot: 10 * MINUTE,
        currency: "JPY".parse().unwrap(),
        reconfirm_before: 6 * HOUR,
        reconfirm_grace: 10 * MINUTE,
        remind_before: 24 * HOUR,
        hold: 15 * MINUTE,
        month_slots_max: 36,
        slots_max: 18,
        ahead_max: 90 * 24 * HOUR,
        extend_from: 10 * MINUTE,
        zone: jiff::tz::TimeZone::get("Asia/Tokyo").unwrap(),
        margins: ConnectMargins::default(),
        public_to_members_only: false,
        list_unconfirmed: true,
        normal_share_min: 990,
        verify_email: false,
        friends_max: 50,
        uplink: "1Gbit/s".parse().ok(),
    }
}

fn settings(rules: Rules) -> Settings {
    let plenty = Budget { burst: 1000, every: Duration::from_millis(1) };
    Settings {
        provider: Provider {
            name: "Example Live".to_owned(),
            from: "live@example.com".parse().unwrap(),
            base_url: "https://live.example.com".to_owned(),
        },
        places: slotcast_settings::Provider {
            name: "ingest-1".to_owned(),
            access: vec![slotcast_settings::file::AccessPort {
                name: "east".to_owned(),
                host: "live.example.com".parse().unwrap(),
                port: 8555.try_into().unwrap(),
                transports: vec![slotcast_settings::file::Transport::Tcp],
            }],
            viewers_host: "live.example.com".parse().unwrap(),
            viewers_port: 554.try_into().unwrap(),
            margins: rules.margins,
        },
        rules,
        terms: "Be kind.".to_owned(),
        retention: Retention::default(),
        session_life: 24 * HOUR,
        budgets: Budgets {
            register: Budgets::default().register,
            log_in_address: plenty,
            log_in_user: Budget { burst: 3, every: 30 * SECOND },
            forgotten_address: plenty,
            forgotten_member: Budgets::default().forgotten_member,
            verification: Budgets::default().verification,
            own_password: Budget { burst: 3, every: 30 * SECOND },
            book_address: plenty,
            book_member: plenty,
            wrong_id: Budget { burst: 3, every: 30 * SECOND },
            card: Budget { burst: 3, every: 300 * SECOND },
        },
    }
}

impl World {
    /// At noon UTC on 1 December 2026, with channels 1 to 3 (2,000 a slot; channel 3 costs nothing) and members 1 to 4,
    /// of whom 4 operates.
    pub async fn new() -> Self {
        Self::with(rules(), wall("2026-12-01T12:00:00Z")).await
    }

    pub async fn with(rules: Rules, now: WallTime) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("slotcast.db").display().to_string();
        Self { directory: Some(directory), ..Self::at(&place, rules, now).await }
    }

    /// Over the database that `place` names, which is empty.
    pub async fn at(place: &str, rules: Rules, now: WallTime) -> Self {
        let clock = HandClock::at(now);
        let vault = Vault::new(&[7; 32]);
        let store = store::open(place, vault.clone(), clock.clock()).await.unwrap();
        let is_down = Arc::new(AtomicBool::new(false));
        let before_write = Arc::new(Mutex::new(None));
        let (down, gate) = (Arc::clone(&is_down), Arc::clone(&before_write));
        let store: Arc<dyn Store> = Arc::new(Unsteady { store, is_down: down, before_write: gate });
        let post = Arc::new(FakePost::default());
        let payments = Arc::new(FakePayments {
            mood: Mutex::new(Mood::Well),
            done: Mutex::default(),
            asked: Mutex::default(),
            least: Mutex::default(),
            begun: Mutex::default(),
            gate: Mutex::default(),
            notice: Mutex::default(),
            came_back: Mutex::default(),
            is_billing: Mutex::default(),
        });
        let streaming = Arc::new(FakeStreaming::default());
        let courier = Arc::new(FakeCourier::default());
        let settings = settings(rules);
        let service = Service::new(
            Arc::clone(&store),
            vault.clone(),
            payments.clone(),
            post.clone(),
            courier.clone(),
            streaming.clone(),
            clock.clock(),
            settings.clone(),
        );
        let world = Self {
            clock,
            store,
            is_down,
            before_write,
            post,
            payments,
            courier,
            streaming,
            vault,
            service,
            settings,
            directory: None,
        };
        world.fill().await;
        world
    }

    /// The same world, whose service takes money over `payments`.
    pub fn paid_over(mut self, payments: Arc<dyn Payments>) -> Self {
        self.service = Service::new(
            Arc::clone(&self.store),
            self.vault.clone(),
            payments,
            self.post.clone(),
            self.courier.clone(),
            self.streaming.clone(),
            self.clock.clock(),
            self.settings.clone(),
        );
        self
    }

    /// Another service on the same store, as of another process.
    pub fn another_service(&self) -> Service {
        self.service_with(self.vault.clone())
    }

    /// The same with that key.
    pub fn service_with(&self, vault: Vault) -> Service {
        self.service_of(vault, self.settings.clone())
    }

    /// The same as started again by an operator who has changed the rules.
    pub fn service_by(&self, change: impl FnOnce(&mut Rules)) -> Service {
        let mut settings = self.settings.clone();
        change(&mut settings.rules);
        self.service_of(self.vault.clone(), settings)
    }

    /// The same with other terms.
    pub fn service_with_terms(&self, terms: &str) -> Service {
        let settings = Settings { terms: terms.to_owned(), ..self.settings.clone() };
        self.service_of(self.vault.clone(), settings)
    }

    /// The same with other budgets.
    pub fn service_with_budgets(&self, change: impl FnOnce(&mut Budgets)) -> Service {
        let mut settings = self.settings.clone();
        change(&mut settings.budgets);
        self.service_of(self.vault.clone(), settings)
    }

    fn service_of(&self, vault: Vault, settings: Settings) -> Service {
        Service::new(
            Arc::clone(&self.store),
            vault,
            self.payments.clone(),
            self.post.clone(),
            self.courier.clone(),
            self.streaming.clone(),
            self.clock.clock(),
            settings,
        )
    }

    async fn fill(&self) {
        let mut tx = self.store.begin().await.unwrap();
        for number in 1..=4 {
            tx.add_member(&member(number, self.clock.now())).await.unwrap();
            let expires_at = self.clock.now().saturating_add(365 * 24 * HOUR);
            let session = Session {
                token_hash: hash(&format!("session {number}")),
                member: MemberNumber(number),
                csrf_hash: hash("csrf"),
                created_at: self.clock.now(),
                expires_at,
            };
            tx.add_session(&session).await.unwrap();
        }
        for number in 1..=3 {
            let channel = SoldChannel {
                number: ChannelNumber(number),
                name: format!("channel{number}").parse().unwrap(),
                seats: Seats::new(5).unwrap(),
                class: "64kbit/s".parse().unwrap(),
                toll: Toll(if number == 3 { 0 } else { 2000 }),
                gather: GATHER_USUAL,
                is_retired: false,
                version: 1,
            };
            tx.put_channel(&channel).await.unwrap();
        }
        tx.commit().await.unwrap();
    }

    /// Who member `number` is, logged in.
    pub async fn actor(&self, number: i64) -> Actor {
        self.service.actor_of_session(&format!("session {number}")).await.unwrap()
    }

    /// Books for member 1 on channel 1.
    pub async fn book(&self, start: &str, slots: u32) -> Answer<Reservation> {
        self.book_as(1, 1, start, slots).await
    }

    pub async fn book_as(&self, member: i64, channel: u16, start: &str, slots: u32) -> Answer<Reservation> {
        let actor = self.actor(member).await;
        self.service.book(&actor, draft(channel, start, slots), None, "192.0.2.1".parse().unwrap()).await
    }

    /// Booked, and the terms accepted.
    pub async fn registered(&self, start: &str, slots: u32) -> Reservation {
        let held = self.book(start, slots).await.unwrap();
        self.service.accept_terms(&self.actor(1).await, held.number).await.unwrap()
    }

    /// Booked, accepted and reconfirmed.
    pub async fn confirmed(&self, start: &str, slots: u32) -> Reservation {
        let registered = self.registered(start, slots).await;
        self.reconfirm(&registered).await.unwrap()
    }

    pub fn id(&self, reservation: &Reservation) -> String {
        self.vault.reservation_id(reservation.number, reservation.id_issue).expose().to_owned()
    }

    pub async fn reconfirm(&self, registered: &Reservation) -> Answer<Reservation> {
        let actor = self.actor(registered.member.0).await;
        self.service.reconfirm(&actor, registered.number, &self.id(registered), None).await
    }

    pub async fn found(&self, number: ReservationNumber) -> Reservation {
        self.reads().await.reservation(number).await.unwrap().unwrap()
    }

    /// Runs a statement past the store; in a file alone.
    pub async fn raw(&self, sql: &'static str) {
        let path = self.directory.as_ref().unwrap().path().join("slotcast.db");
        let pool = sqlx::SqlitePool::connect(&path.display().to_string()).await.unwrap();
        sqlx::query(sql).execute(&pool).await.unwrap();
        pool.close().await;
    }

    pub async fn reads(&self) -> Box<dyn Reads + '_> {
        self.store.read().await.unwrap()
    }

    /// The program runs until `to`: media and `viewers` every 2 s, which the observer takes for a whole broadcast.
    pub async fn broadcast(&self, number: ReservationNumber, to: WallTime, viewers: u32) {
        while self.clock.now() < to {
            self.clock.pass(2 * SECOND);
            self.streaming.send(number, viewers);
            self.service.observe().await.unwrap();
        }
    }

    /// Whatever waits in the outboxes is worked, until nothing is due.
    pub async fn work(&self) {
        for _ in 0..100 {
            let mails = self.service.send_mails().await.unwrap();
            let moved = self.service.move_due_money().await.unwrap();
            if mails + moved == 0 {
                return;
            }
        }
        panic!("the outboxes never come to an end");
    }

    /// What is due is done, and what comes of it.
    pub async fn turn(&self) {
        self.service.observe().await.unwrap();
        self.service.do_due().await.unwrap();
        self.service.publish().await.unwrap();
        self.work().await;
    }

    /// Each transaction of the ledger has two sides, so what must be nought in the end is looked at by account.
    pub async fn balance(&self, account: slotcast_reservation::domain::effects::Account) -> i64 {
        self.reads().await.balance(account).await.unwrap()
    }
}

pub fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

pub fn member(number: i64, now: WallTime) -> Member {
    Member {
        number: MemberNumber(number),
        user_id: format!("member{number}").parse().unwrap(),
        name: format!("Member {number}"),
        reading: format!("member {number}"),
        email: format!("member{number}@example.com").parse().unwrap(),
        is_email_verified: false,
        new_email: None,
        email_public: false,
        web: Some("https://example.com/".to_owned()),
        language: Language::English,
        kind: MemberKind::Premium,
        is_operator: number == 4,
        is_blocked: false,
        password_hash: PasswordHash("$argon2id$none".to_owned()),
        contact: Some(Contact {
            address: "1 Example Street".to_owned(),
            phone: "+81 3 1234 5678".to_owned(),
            mobile: None,
            fax: None,
        }),
        card: Some(Card {
            token: "pm_card".to_owned(),
            brand: "visa".to_owned(),
            last_four: "4242".to_owned(),
            expires: Some((2030, 12)),
        }),
        terminal_key: None,
        registered_at: now,
        version: 1,
    }
}

pub fn draft(channel: u16, start: &str, slots: u32) -> Draft {
    let start = wall(start);
    let end = start.saturating_add(10 * MINUTE * slots);
    Draft {
        channel: ChannelNumber(channel),
        window: Window::new(start, end).unwrap(),
        program: ProgramDetails {
            title: "The sea".to_owned(),
            genre: "Nature".to_owned(),
            outline: "Waves".to_owned(),
            details: "An hour of waves.".to_owned(),
            open_level: OpenLevel::Public,
            password: None,
            show_email: false,
            show_web: true,
            friends: vec![friend()],
        },
    }
}

pub fn friend() -> Email {
    "friend@example.org".parse().unwrap()
}

/// Why it was refused.
#[track_caller]
pub fn refusal<T: std::fmt::Debug>(answer: Answer<T>) -> Refusal {
    match answer {
        Err(ServiceError::Refused(refusal)) => refusal,
        other => panic!("expected a refusal, got {other:?}"),
    }
}
