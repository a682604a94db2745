//! What is kept, and how it changes: one border in the product's words, over SQLite or PostgreSQL.
//!
//! Owns: [`Store`], [`Tx`], the rows that are not the domain's own.
//! Not here: deciding anything. A service begins a transaction, reads what it needs, decides by `domain`, writes the
//! effects and commits; until the commit returned, nothing has happened.
//! Invariant: one row for each (channel, slot), so nobody's slot is ever sold twice; what `commit` confirmed survives
//! kill -9 and power loss as far as the disk's fsync goes; mails and payments are written with what causes them.

mod names;
pub mod postgres;
pub mod sqlite;

use std::{fmt, path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use serde::Serialize;
use slotcast_core::{
    time::{Clock, WallTime},
    words::{BitRate, ChannelNumber, Seats},
};
use utoipa::ToSchema;

pub use crate::domain::effects::PaymentState;
use crate::{
    domain::{
        effects::{
            AcceptedTerms, Account, Effects, LedgerTransaction, MailKind, MailRequest, PaymentRequest,
        },
        event::{Event, EventKind},
        member::Member,
        proof::{Proof, ProofKind},
        reservation::{Reservation, SoldChannel, State},
        words::{Currency, Email, MemberNumber, ReservationNumber, UserId},
    },
    hub::Hub,
    vault::Vault,
};

/// Why the store did not do it.
#[derive(Debug)]
#[non_exhaustive]
pub enum StoreError {
    /// Lost connection, busy, serialisation failure: the whole transaction may be tried again.
    Retry(String),
    /// A uniqueness that the domain speaks of was broken.
    Conflict(Conflict),
    /// Full disk, broken file, wrong password: an operator must look.
    Broken(String),
}

/// What was there already.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Conflict {
    /// Another reservation has slots: these starts, at least one, at most as many as the store names.
    Slots(Vec<WallTime>),
    /// The user ID.
    UserId,
    /// The e-mail address.
    Email,
    /// A channel's number or name.
    Channel,
    /// Changed since it was read: the version there is now; 0: it is not there.
    Version(i64),
    /// An idempotency key, a mail's, payment's or ledger's key; a random number or a token's name that is taken.
    Key,
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Retry(why) => write!(f, "the database cannot answer now: {why}"),
            Self::Conflict(what) => write!(f, "already there: {what:?}"),
            Self::Broken(why) => write!(f, "the database is broken: {why}"),
        }
    }
}

impl std::error::Error for StoreError {}

/// What the store's answers come as.
pub type Stored<T> = Result<T, StoreError>;

/// A slice of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Rows to leave out.
    pub offset: u32,
    /// Rows at most.
    pub limit: u32,
}

/// A part of a list, and how long the whole is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed<T> {
    /// The part.
    pub items: Vec<T>,
    /// Of the whole.
    pub count: u32,
}

/// A slot that is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TakenSlot {
    /// On which channel.
    pub channel: ChannelNumber,
    /// When it begins.
    pub start: WallTime,
    /// By which reservation.
    pub reservation: ReservationNumber,
}

/// A log-in by a browser. The token itself is known to the browser alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// SHA-256 of the cookie's token.
    pub token_hash: [u8; 32],
    /// Whose.
    pub member: MemberNumber,
    /// SHA-256 of the token that requests which change something must show.
    pub csrf_hash: [u8; 32],
    /// When it began.
    pub created_at: WallTime,
    /// Not valid from then on.
    pub expires_at: WallTime,
}

/// A bearer token of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiToken {
    /// SHA-256 of the token.
    pub token_hash: [u8; 32],
    /// Whose.
    pub member: MemberNumber,
    /// What the member calls it.
    pub name: String,
    /// What it may do: `read`, `book`, `broadcast`, `operate`, separated by spaces.
    pub scopes: String,
    /// When it was made.
    pub created_at: WallTime,
    /// Not valid from then on.
    pub expires_at: WallTime,
}

/// What a job of the outbox is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum JobKind {
    /// A mail to the member.
    MemberMail,
    /// A mail to somebody whom a member invited.
    FriendMail,
    /// Money to move: the row of `payments` under the same key says what.
    Payment,
    /// An event to send to where an operator wants it.
    Webhook,
}

impl JobKind {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::MemberMail, Self::FriendMail, Self::Payment, Self::Webhook];
    /// All mails.
    pub const MAILS: [Self; 2] = [Self::MemberMail, Self::FriendMail];

    /// The name in the database.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MemberMail => "member_mail",
            Self::FriendMail => "friend_mail",
            Self::Payment => "payment",
            Self::Webhook => "webhook",
        }
    }
}

/// What is to be done outside the database, once what asked for it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Unique: the same key is never written twice.
    pub key: String,
    /// What to do.
    pub task: Task,
    /// How often it was tried before.
    pub tries: u32,
    /// When it was asked for.
    pub created_at: WallTime,
}

/// What one job is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// Send this.
    Mail(MailRequest),
    /// Move the money of the payment with the job's key.
    Payment,
    /// Send an event.
    Webhook {
        /// To which webhook.
        webhook: i64,
        /// The event's ID.
        event: String,
        /// The event as JSON.
        body: String,
    },
}

/// Where an operator has events sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// Names it, drawn at random.
    pub id: i64,
    /// Where.
    pub url: String,
    /// What the operator calls it; 0 to 200 characters on one line.
    pub note: String,
    /// Only these events; empty: all.
    pub kinds: Vec<EventKind>,
    /// Whether anything is sent there.
    pub is_on: bool,
    /// Why it was switched off, where the server did it.
    pub off_reason: Option<String>,
    /// Which secret signs, from 1.
    pub issue: u32,
    /// The secret before it signs as well until then.
    pub old_until: Option<WallTime>,
    /// When it was made.
    pub created_at: WallTime,
}

/// An event that was sent to a webhook, or is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The event's ID.
    pub event: String,
    /// What happened.
    pub kind: String,
    /// When it was asked for.
    pub created_at: WallTime,
    /// How often it was tried.
    pub tries: u32,
    /// It is tried then at the earliest; `None`: it is done, or given up.
    pub next_at: Option<WallTime>,
    /// When the receiver took it.
    pub done_at: Option<WallTime>,
    /// What went wrong last.
    pub error: Option<String>,
}

/// How one try of a job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobEnd {
    /// It is done.
    Done,
    /// Nobody tries it again.
    GivenUp(String),
    /// It failed, and is tried again from then on.
    Again(String, WallTime),
}

/// Which mails are counted.
#[derive(Clone, Copy, Debug)]
pub enum MailCount<'a> {
    /// To friends of one member's programs, asked for.
    ToFriendsOf(MemberNumber),
    /// With reservation IDs of one member, asked for.
    IdsOf(MemberNumber),
    /// To one address as somebody's friend, sent.
    ToFriend(&'a Email),
}

/// A row of the payments outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    /// What was asked.
    pub request: PaymentRequest,
    /// How it stands.
    pub state: PaymentState,
    /// The provider's name for it, once done; before, of the question that it led to.
    pub reference: Option<String>,
    /// Why it was declined, or why the last try failed.
    pub error: Option<String>,
    /// Which one this is, from 1: once more after it was declined, under another key of the provider's.
    pub attempt: u32,
    /// How often it was tried.
    pub tries: u32,
    /// Not to be tried before.
    pub next_at: WallTime,
    /// When it was asked for.
    pub created_at: WallTime,
}

impl Payment {
    /// What the provider knows it by: a declined one is asked for under another key the next time.
    pub fn provider_key(&self) -> String {
        let key = &self.request.key;
        if self.attempt == 1 { key.clone() } else { format!("{key}.{}", self.attempt) }
    }
}

/// How one program ran, as the streaming side reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Run {
    /// Of the window, the milliseconds in which the server was seen to run normally.
    pub normal_ms: u64,
    /// Of the window, the milliseconds in which media was forwarded.
    pub media_ms: u64,
    /// Most viewers at once.
    pub viewers_peak: u32,
    /// Viewers times milliseconds: over the window's length it is the average.
    pub viewer_ms: u64,
}

/// The number of viewers at a moment; holds until the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ViewerSample {
    /// From when.
    pub at: WallTime,
    /// How many.
    pub viewers: u32,
}

/// What the operator recommends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pickup {
    /// Which program.
    pub reservation: ReservationNumber,
    /// Why, in the operator's words; 0 to 200 characters.
    pub note: String,
    /// Lower ones come first.
    pub position: i32,
}

/// Which reservations a list is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReservationFilter {
    /// Only this member's.
    pub member: Option<MemberNumber>,
    /// Only on this channel.
    pub channel: Option<ChannelNumber>,
    /// Only those whose window shares a moment with `[from, to)`.
    pub between: Option<(WallTime, WallTime)>,
    /// Only in these states; empty: all.
    pub states: Vec<State>,
    /// Leave out secret programs.
    pub listed_only: bool,
    /// Newest start first; else oldest first.
    pub newest_first: bool,
}

/// What is due to happen by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Held, and the hold is over.
    HoldExpired,
    /// Registered, and the reconfirmation is overdue.
    ReconfirmationOverdue,
    /// Registered, not reminded, and due within the given span.
    ReminderDue,
    /// Confirmed, and the window has begun.
    Started,
    /// On air (or confirmed), and the window is over.
    Ended,
    /// Finished, and the charge is not decided.
    Unsettled,
}

/// When it became due, and what.
pub type DueAt = (WallTime, ReservationNumber);

/// What an idempotency key stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptAnswer {
    /// SHA-256 of the request's method, path and body.
    pub request_hash: [u8; 32],
    /// What was made: a number in decimal.
    pub made: String,
}

/// Reading. All reads of one value see one state of the database.
#[async_trait]
pub trait Reads: Send {
    /// A member.
    async fn member(&mut self, number: MemberNumber) -> Stored<Option<Member>>;
    /// The member of that user ID.
    async fn member_by_user_id(&mut self, user_id: &UserId) -> Stored<Option<Member>>;
    /// The member of that address (case does not count).
    async fn member_by_email(&mut self, email: &Email) -> Stored<Option<Member>>;
    /// Members by user ID.
    async fn members(&mut self, page: Page) -> Stored<Listed<Member>>;
    /// The session of that token, if it has not expired.
    async fn session(&mut self, token_hash: &[u8; 32], now: WallTime) -> Stored<Option<Session>>;
    /// The token, if it has not expired.
    async fn api_token(&mut self, token_hash: &[u8; 32], now: WallTime) -> Stored<Option<ApiToken>>;
    /// A member's tokens, oldest first.
    async fn api_tokens(&mut self, member: MemberNumber) -> Stored<Vec<ApiToken>>;
    /// The proof of that code, valid or not.
    async fn proof(&mut self, code_hash: &[u8; 32]) -> Stored<Option<Proof>>;
    /// The member's proof of that kind, valid or not.
    async fn proof_of(&mut self, member: MemberNumber, kind: ProofKind) -> Stored<Option<Proof>>;
    /// Whether the member has logged in from that network, which is a keyed hash.
    async fn is_home(&mut self, member: MemberNumber, network: &[u8; 32]) -> Stored<bool>;
    /// Every channel, by number.
    async fn channels(&mut self) -> Stored<Vec<SoldChannel>>;
    /// A reservation.
    async fn reservation(&mut self, number: ReservationNumber) -> Stored<Option<Reservation>>;
    /// All webhooks, oldest first.
    async fn webhooks(&mut self) -> Stored<Vec<Webhook>>;
    /// What was sent to a webhook, newest first.
    async fn deliveries(&mut self, webhook: i64, page: Page) -> Stored<Listed<Delivery>>;
    /// Reservations by start (then number).
    async fn reservations(&mut self, filter: &ReservationFilter, page: Page) -> Stored<Listed<Reservation>>;
    /// A channel's taken slots that start in `[from, to)`, by start.
    async fn taken_slots(
        &mut self,
        channel: ChannelNumber,
        from: WallTime,
        to: WallTime,
    ) -> Stored<Vec<TakenSlot>>;
    /// When slots that are taken and start in `[from, to)` start, in no order; `channel`: only that one's. For pages of
    /// days and months, which have thousands.
    async fn taken_starts(
        &mut self,
        channel: Option<ChannelNumber>,
        from: WallTime,
        to: WallTime,
    ) -> Stored<Vec<(ChannelNumber, WallTime)>>;
    /// How many slots that are taken start in `[from, to)` on each channel; channels with none are left out.
    async fn taken_counts(&mut self, from: WallTime, to: WallTime) -> Stored<Vec<(ChannelNumber, u32)>>;
    /// Programs that are announced to everybody and share a moment with `[from, to)`, by start;
    /// those that everybody may watch `with_public` only. As many as a guide holds.
    async fn announced(
        &mut self,
        from: WallTime,
        to: WallTime,
        with_public: bool,
    ) -> Stored<Vec<Reservation>>;
    /// Differs where a change of theirs, of their members or of a channel lies between; costs less than to read them.
    async fn announced_tag(&mut self, from: WallTime, to: WallTime, with_public: bool) -> Stored<[i64; 5]>;
    /// Members of these numbers, in no order.
    async fn members_in(&mut self, numbers: &[MemberNumber]) -> Stored<Vec<Member>>;
    /// How many slots that start in `[from, to)` the member's private reservations hold.
    async fn slots_of(&mut self, member: MemberNumber, from: WallTime, to: WallTime) -> Stored<u32>;
    /// Reservations to which something is due at `now`, oldest first, at most `limit`.
    ///
    /// - `span`: for `ReminderDue`.
    /// - `after`: only those after that one, for the next part of the list.
    async fn due(
        &mut self,
        what: Due,
        now: WallTime,
        span: WallSpan,
        after: Option<DueAt>,
        limit: u32,
    ) -> Stored<Vec<DueAt>>;
    /// Reservations that the streaming side must know, by start: their windows end after `after` and begin before
    /// `before`; confirmed and on air, but for those of blocked members, or over and once confirmed.
    async fn scheduled(
        &mut self,
        which: Scheduled<'_>,
        after: WallTime,
        before: WallTime,
    ) -> Stored<Vec<Reservation>>;
    /// The reservations of one member whose windows end after `after` and begin before `before`.
    async fn programs_of(
        &mut self,
        member: MemberNumber,
        after: WallTime,
        before: WallTime,
    ) -> Stored<Vec<ReservationNumber>>;
    /// What was changed after the revision `since` of the schedule; `None`: that is longer ago than what is kept.
    async fn schedule_changes(&mut self, since: i64) -> Stored<Option<Vec<ScheduleChange>>>;
    /// What bookings that end after `after` were promised on channels that became smaller or were retired since: each seats
    /// and class on a channel once.
    async fn promised(&mut self, after: WallTime) -> Stored<Vec<(ChannelNumber, Seats, BitRate)>>;
    /// Payments of one reservation, oldest first.
    async fn payments_of(&mut self, reservation: ReservationNumber) -> Stored<Vec<Payment>>;
    /// Payments in one state, oldest first.
    async fn payments(&mut self, state: PaymentState, page: Page) -> Stored<Listed<Payment>>;
    /// The payments that were ever asked for as that, oldest first.
    async fn payments_asked_as(&mut self, asked_as: &str) -> Stored<Vec<Payment>>;
    /// The payment of that key.
    async fn payment(&mut self, key: &str) -> Stored<Option<Payment>>;
    /// The payment whose provider's reference that is; where several bear it (a hold and its capture), the first.
    async fn payment_by_reference(&mut self, reference: &str) -> Stored<Option<Payment>>;
    /// Ledger transactions with `from <= at < to`, in the order of posting.
    async fn ledger(&mut self, from: WallTime, to: WallTime, page: Page)
    -> Stored<Listed<LedgerTransaction>>;
    /// The first `limit` of those that were posted after that position, each with its own.
    async fn ledger_after(
        &mut self,
        from: WallTime,
        to: WallTime,
        after: i64,
        limit: u32,
    ) -> Stored<Vec<(i64, LedgerTransaction)>>;
    /// Ledger transactions of one reservation, in the order of posting.
    async fn ledger_of(&mut self, reservation: ReservationNumber) -> Stored<Vec<LedgerTransaction>>;
    /// Debits minus credits of an account.
    async fn balance(&mut self, account: Account) -> Stored<i64>;
    /// How the program ran.
    async fn run(&mut self, reservation: ReservationNumber) -> Stored<Run>;
    /// Its numbers of viewers, oldest first.
    async fn samples(&mut self, reservation: ReservationNumber, page: Page) -> Stored<Listed<ViewerSample>>;
    /// The terms that were accepted with a reservation.
    async fn accepted_terms(&mut self, reservation: ReservationNumber) -> Stored<Option<AcceptedTerms>>;
    /// What the operator recommends, by position.
    async fn pickups(&mut self) -> Stored<Vec<Pickup>>;
    /// What the key stands for in that scope (a member, or an address for those who have not logged in).
    async fn kept_answer(&mut self, scope: &str, key: &str) -> Stored<Option<KeptAnswer>>;
    /// What a friend was last told of a program, if anything was sent.
    async fn told_last(&mut self, program: ReservationNumber, friend: &Email) -> Stored<Option<MailKind>>;
    /// How many mails of a kind there were after `since`.
    async fn mails_since(&mut self, count: MailCount<'_>, since: WallTime) -> Stored<u32>;
    /// Whether the address of that hash wants no mails as somebody's friend.
    async fn is_stopped(&mut self, address_hash: &[u8; 32]) -> Stored<bool>;
    /// Mails that wait or were given up: how many wait, and the age of the oldest; for metrics.
    async fn outbox_depth(&mut self) -> Stored<OutboxDepth>;
    /// Grows with every committed change of channels or of confirmed reservations: what a schedule is made anew for.
    async fn schedule_revision(&mut self) -> Stored<i64>;
}

/// Which of those that the streaming side must know.
#[derive(Clone, Copy, Debug)]
pub enum Scheduled<'a> {
    /// All of them.
    All,
    /// Those whose windows begin no earlier.
    From(WallTime),
    /// These.
    Programs(&'a [ReservationNumber]),
}

/// What one revision of the schedule changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ScheduleChange {
    /// Channels.
    Channels,
    /// One program.
    Program(ReservationNumber),
    /// Whether one member's programs are on the schedule, or what they say.
    ProgramsOf(MemberNumber),
}

/// What is kept for a while only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stale {
    /// Jobs that are over: mails, with texts and addresses.
    Mails,
    /// Numbers of viewers.
    Samples,
    /// Slots that were taken.
    Slots,
    /// Log-ins.
    Sessions,
    /// Tokens of programs.
    Tokens,
    /// Codes that were mailed.
    Proofs,
    /// What idempotency keys stand for.
    Answers,
    /// Webhooks' events that were seen.
    Events,
}

impl Stale {
    /// All there is.
    pub const ALL: [Self; 8] = [
        Self::Mails,
        Self::Samples,
        Self::Slots,
        Self::Sessions,
        Self::Tokens,
        Self::Proofs,
        Self::Answers,
        Self::Events,
    ];
}

/// A span in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WallSpan(pub i64);

/// In what a database's reservations are booked and paid. One that holds any cannot be read in others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Units {
    /// One slot, in whole microseconds.
    pub slot: Duration,
    /// Of all its money.
    pub currency: Currency,
}

/// How full the outboxes are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutboxDepth {
    /// Mails that wait.
    pub mails: u32,
    /// Payments that wait.
    pub payments: u32,
    /// Events that wait to be sent to webhooks.
    pub webhooks: u32,
    /// When the oldest mail or payment of these was asked for.
    pub oldest: Option<WallTime>,
}

/// One transaction that writes. Dropped without [`commit`](Self::commit), nothing has happened. After an error, or
/// where a method's future was dropped before its end, it does nothing more and cannot be committed.
#[async_trait]
pub trait Tx: Reads {
    /// Reads a member and keeps it from changing until the end of the transaction: bookings of one member follow one
    /// another, so that its month's limit holds.
    async fn lock_member(&mut self, number: MemberNumber) -> Stored<Option<Member>>;
    /// Reads a reservation and keeps it from changing until the end of the transaction.
    async fn lock_reservation(&mut self, number: ReservationNumber) -> Stored<Option<Reservation>>;
    /// Reads all channels, and keeps them from changing and others from being added until the end of the transaction; who
    /// holds one is waited for. For what is decided about one channel by all of them, or by what is booked on it.
    async fn lock_channels(&mut self) -> Stored<Vec<SoldChannel>>;
    /// Reads a channel and keeps it from changing until the end of the transaction; others may hold it as well.
    async fn hold_channel(&mut self, number: ChannelNumber) -> Stored<Option<SoldChannel>>;
    /// Adds a member. Conflict: user ID, address.
    async fn add_member(&mut self, member: &Member) -> Stored<()>;
    /// Replaces a member whose version is `member.version - 1`; whether it is blocked is a matter of the schedule.
    /// Conflict: version, user ID, address.
    async fn put_member(&mut self, member: &Member) -> Stored<()>;
    /// Replaces a member as [`put_member`](Self::put_member), at `now` by nobody: sessions, tokens, codes, mails, kept
    /// answers and what programs say go; reservations, payments and ledger stay.
    async fn erase_member(&mut self, nobody: &Member, now: WallTime) -> Stored<()>;
    /// Adds a session; forgets those that have expired.
    async fn add_session(&mut self, session: &Session) -> Stored<()>;
    /// Ends a session.
    async fn end_session(&mut self, token_hash: &[u8; 32]) -> Stored<()>;
    /// Ends all sessions of a member but `keep`, and with `tokens` its tokens.
    async fn end_sessions(
        &mut self,
        member: MemberNumber,
        keep: Option<&[u8; 32]>,
        tokens: bool,
    ) -> Stored<()>;
    /// Adds or replaces the member's proof of its kind; forgets those that were over at `now`.
    async fn put_proof(&mut self, proof: &Proof, now: WallTime) -> Stored<()>;
    /// Takes the member's proof of that kind away, if there is one.
    async fn end_proof(&mut self, member: MemberNumber, kind: ProofKind) -> Stored<()>;
    /// Notes that the member has logged in from that network, and forgets the member's others beyond the newest.
    async fn put_home(&mut self, member: MemberNumber, network: &[u8; 32], now: WallTime) -> Stored<()>;
    /// Adds a token. Conflict: key, where the member has one of that name.
    async fn add_api_token(&mut self, token: &ApiToken) -> Stored<()>;
    /// Takes a member's token of that name away. `false`: there was none.
    async fn end_api_token(&mut self, member: MemberNumber, name: &str) -> Stored<bool>;
    /// Adds a channel (version 1), or replaces the one whose version is `channel.version - 1`. Conflict: channel,
    /// version.
    async fn put_channel(&mut self, channel: &SoldChannel) -> Stored<()>;
    /// Adds (version 1) or replaces the reservation and does everything else that the effects say. Conflict: slots,
    /// version, key.
    async fn write(&mut self, effects: &Effects) -> Stored<()>;
    /// Notes that an address wants no mails as somebody's friend; `address_hash`: SHA-256 of it in lower case.
    async fn stop_mails(&mut self, address_hash: &[u8; 32], now: WallTime) -> Stored<()>;
    /// Tells of what happened to programs and changed no reservation, once the transaction stands.
    async fn add_events(&mut self, events: &[Event]) -> Stored<()>;
    /// Adds a webhook, or replaces the one of its ID.
    async fn put_webhook(&mut self, webhook: &Webhook) -> Stored<()>;
    /// Takes a webhook away, and what waits to be sent there. `false`: there was none.
    async fn end_webhook(&mut self, id: i64) -> Stored<bool>;
    /// Sends an event to one webhook alone, and tells nobody else.
    async fn add_delivery(&mut self, webhook: i64, event: &Event, now: WallTime) -> Stored<()>;
    /// Sends an event that was sent to a webhook there once more, as if it had happened `now`. `false`: it never was.
    async fn replay(&mut self, webhook: i64, event: &str, now: WallTime) -> Stored<bool>;
    /// Adds mails that belong to no reservation. Conflict: key.
    async fn add_mails(&mut self, mails: &[MailRequest], now: WallTime) -> Stored<()>;
    /// Adds a payment that was just asked for; one of that key that is there already stays as it is.
    async fn add_payment(&mut self, request: &PaymentRequest, now: WallTime, next_at: WallTime)
    -> Stored<()>;
    /// Writes how a payment went, and what the ledger says of it; it waits for another try at `next_at` where its state
    /// says so, else its job is over.
    async fn settle_payment(&mut self, payment: &Payment, ledger: &[LedgerTransaction]) -> Stored<()>;
    /// Takes jobs of one kind that are due: at most `limit`, none of which is given to anybody else until
    /// `leased_until`. Each counts one try more from now on; `tries` in the answer are those before. Those that were
    /// tried least come first, and of these one of each member, then the second of each.
    ///
    /// A job that this program cannot read is given up.
    async fn take_jobs(
        &mut self,
        kind: JobKind,
        now: WallTime,
        leased_until: WallTime,
        limit: u32,
    ) -> Stored<Vec<Job>>;
    /// Notes how a try of a job ended; one that was done meanwhile stays so.
    async fn end_job(&mut self, key: &str, end: &JobEnd, now: WallTime) -> Stored<()>;
    /// Writes how programs ran on a node since a start of its process, in all: what is less than was written changes
    /// nothing. A program's run is the sum over nodes and starts.
    async fn put_runs(&mut self, node: &str, boot: i64, runs: &[(ReservationNumber, Run)]) -> Stored<()>;
    /// Appends samples; one of the same moment replaces it.
    async fn add_samples(&mut self, samples: &[(ReservationNumber, ViewerSample)]) -> Stored<()>;
    /// Adds or replaces a recommendation.
    async fn put_pickup(&mut self, pickup: &Pickup) -> Stored<()>;
    /// Takes it away. `false`: there was none.
    async fn end_pickup(&mut self, reservation: ReservationNumber) -> Stored<bool>;
    /// Keeps what a key stands for. Conflict: key. Forgets those older than a day.
    async fn keep_answer(&mut self, scope: &str, key: &str, answer: &KeptAnswer, now: WallTime)
    -> Stored<()>;
    /// Notes in what is booked from now on, unless anything was booked in others; returns in what it is then.
    async fn sell_in(&mut self, units: Units) -> Stored<Units>;
    /// Notes that a node's server is there; returns when one was noted last, of whichever node. Several that do so at
    /// once follow one another.
    async fn note_presence(&mut self, node: &str, now: WallTime) -> Stored<Option<WallTime>>;
    /// Notes a webhook's event. `false`: it was seen before.
    async fn first_seen(&mut self, event: &str, now: WallTime) -> Stored<bool>;
    /// Takes away what is that old, the oldest first, at most `limit` rows; returns how many. What expires is as old as its
    /// end, a slot as its start.
    async fn remove_stale(&mut self, what: Stale, before: WallTime, limit: u32) -> Stored<u64>;
    /// Makes everything stand. [`StoreError::Retry`] from here leaves open whether it does: the connection was lost
    /// before the answer; whoever tries again finds its own key or version.
    async fn commit(self: Box<Self>) -> Stored<()>;
}

/// A database.
#[async_trait]
pub trait Store: Send + Sync + fmt::Debug {
    /// Begins to read.
    async fn read(&self) -> Stored<Box<dyn Reads + '_>>;
    /// Begins to write.
    async fn begin(&self) -> Stored<Box<dyn Tx + '_>>;
    /// Grows with each commit through this value that took or freed slots or changed channels: what was read of them after
    /// it was asked is so as long as it stays, but for what other processes write.
    fn changes(&self) -> u64;
    /// Copies the whole into the file `to`, which must not exist, while others read and write. SQLite only.
    async fn back_up(&self, to: &Path) -> Stored<()>;
    /// Tells those who listen in this process of what was committed in it.
    fn hub(&self) -> &Arc<Hub>;
    /// Closes it, after what is under way.
    async fn close(&self);
}

/// Opens the database that `place` names and brings it to the newest schema.
///
/// - `place`: `postgres://user:password@host:5432/name`, `sqlite:PATH`, or a path.
/// - `clock`: when mails and payments were asked for.
/// - Errors name the place without its password.
pub async fn open(place: &str, vault: Vault, clock: Clock) -> Stored<Arc<dyn Store>> {
    match place.split_once("://") {
        Some(("postgres" | "postgresql", _)) => {
            Ok(Arc::new(postgres::PostgresStore::connect(place, vault, clock).await?))
        }
        // What comes before may hold anything, a password too.
        Some(_) => {
            let text = "expected postgres://user:password@host:5432/name, sqlite:PATH or a path";
            Err(StoreError::Broken(text.to_owned()))
        }
        None => {
            let path = Path::new(place.strip_prefix("sqlite:").unwrap_or(place));
            Ok(Arc::new(sqlite::SqliteStore::open(path, vault, clock).await?))
        }
    }
}
