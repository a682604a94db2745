//! Every bound of the reservation side's use cases in one place. Bounds of HTTP, mail and the store are in their rooms.

use std::time::Duration;

/// A transaction that the store could not carry out is tried so often in all.
pub const STORE_TRIES_MAX: u32 = 6;
/// Wait after the first failed try; doubled after each further one.
pub const STORE_RETRY_FIRST: Duration = Duration::from_millis(5);

/// How long the sound of a channel may wait for the next picture, where nobody says otherwise.
pub const GATHER_USUAL: Duration = Duration::from_millis(20);
/// Longest such wait.
pub const GATHER_MAX: Duration = Duration::from_millis(100);

/// Fewest characters of a password.
pub const PASSWORD_CHARS_MIN: usize = 10;
/// Most characters of a password.
pub const PASSWORD_CHARS_MAX: usize = 128;
/// Passwords that are hashed at once: each takes 19 MiB and a core.
pub const PASSWORDS_AT_ONCE: usize = 2;
/// A password that could not be hashed within this is refused with "too many".
pub const PASSWORD_WAIT_MAX: Duration = Duration::from_secs(8);

/// Settings files that are sealed at once: a passphrase takes 64 MiB each.
pub const SEALS_AT_ONCE: usize = 2;
/// A settings file that could not be sealed within this is refused with "too many".
pub const SEAL_WAIT_MAX: Duration = Duration::from_secs(5);

/// Tokens of one member.
pub const TOKENS_MAX: usize = 50;
/// A token lives at most this long.
pub const TOKEN_LIFE_MAX: Duration = Duration::from_secs(366 * 24 * 3600);
/// Names whose budgets are kept, in each of the tables.
pub const BUDGETS_MAX: usize = 20_000;

/// The payment provider is waited for this long inside a request.
pub const PAYMENT_WAIT_MAX: Duration = Duration::from_secs(20);
/// An authorisation without an answer is looked after by the outbox from then on.
pub const AUTHORISE_ORPHANED_AFTER: Duration = Duration::from_secs(180);
/// A hold that the provider let go is asked for again so long before the start …
pub const HOLD_AGAIN_BEFORE: Duration = Duration::from_secs(24 * 3600);
/// … and a member whose card was declined may give another one until so long before it.
pub const CARD_UNTIL_BEFORE: Duration = Duration::from_secs(6 * 3600);
/// A member has this long to answer what the card's company asks at a payment; then it is called off.
pub const QUESTION_WAIT_MAX: Duration = Duration::from_secs(900);
/// An authorisation that could not be resolved for so long is given up: the provider's hold lapses by itself.
pub const AUTHORISE_GIVEN_UP_AFTER: Duration = Duration::from_secs(8 * 24 * 3600);
/// Nobody else takes a job for this long; longer than one may take. After a crash, it is tried again this late.
pub const JOB_LEASE: Duration = Duration::from_secs(45);
/// Wait after the first failed try of a payment; doubled after each further one.
pub const OUTBOX_RETRY_FIRST: Duration = Duration::from_secs(5);
/// Longest such wait.
pub const OUTBOX_RETRY_MAX: Duration = Duration::from_secs(3600);
/// Budgets of mails count over this.
pub const DAY: Duration = Duration::from_secs(24 * 3600);
/// Whoever has used up such a budget is told to wait this long.
pub const DAY_BUDGET_WAIT: Duration = Duration::from_secs(3600);
/// What changes is gathered for so long into one mail to each friend.
pub const CHANGES_GATHERED_FOR: Duration = Duration::from_secs(180);
/// Lines of changes in one mail.
pub const CHANGES_MAX: usize = 20;
/// Mails to friends that the changes of one member may cause within a day.
pub const FRIEND_MAILS_PER_DAY: u32 = 200;
/// Mails with reservation IDs of one member within a day, beyond which none is issued anew.
pub const ID_MAILS_PER_DAY: u32 = 40;
/// Mails that one address gets within a day as somebody's friend; further ones are not sent.
pub const MAILS_TO_FRIEND_PER_DAY: u32 = 20;
/// One mail may take this long.
pub const MAIL_WAIT_MAX: Duration = Duration::from_secs(30);
/// The text of an error that is kept.
pub const ERROR_CHARS_MAX: usize = 300;

/// What is done by itself looks at least so often.
pub const ROUND_EVERY: Duration = Duration::from_secs(1);
/// The same failure of it is logged at most this often.
pub const SAME_ERROR_EVERY: Duration = Duration::from_secs(30);
/// Outboxes are counted for metrics this often.
pub const DEPTH_EVERY: Duration = Duration::from_secs(5);
/// What an idempotency key stands for is kept so long.
pub const ANSWERS_KEPT_FOR: Duration = DAY;
/// Webhooks' events are known so long: longer than any provider repeats one.
pub const EVENTS_KEPT_FOR: Duration = Duration::from_secs(30 * 24 * 3600);
/// Rows of one kind that are taken away in one transaction, once they were kept long enough.
pub const STALE_BATCH: u32 = 500;
/// Others write between two such transactions at least so long.
pub const STALE_PAUSE: Duration = Duration::from_millis(100);
/// What was kept long enough is looked for this often.
pub const STALE_EVERY: Duration = Duration::from_secs(600);
/// Reservations that are looked after in one round of one kind.
pub const DUE_BATCH: u32 = 100;
/// This server's name among those that work on one database.
pub const NODE: &str = "main";
/// The server notes in the store so often that it is there.
pub const PRESENT_EVERY: Duration = Duration::from_secs(20);
/// Where it was not there for so long, deadlines that passed meanwhile move on.
pub const AWAY_MIN: Duration = Duration::from_secs(60);
/// Money is decided so long after the end, when the last reports of the program have come in.
pub const SETTLE_AFTER: Duration = Duration::from_secs(5);

/// Programs that begin within this are on the schedule of the streaming side: with the database away, they begin.
pub const HORIZON: Duration = Duration::from_secs(24 * 3600);
/// The horizon is moved on at least so often.
pub const PUBLISH_EVERY: Duration = Duration::from_secs(60);
/// So much of the schedule is read at once.
pub const PUBLISH_STEP: Duration = Duration::from_secs(3600);
/// A wall clock that moved this much more or less than the monotonic one has stepped.
pub const CLOCK_STEP_MIN: Duration = Duration::from_millis(500);

/// Samples of numbers of viewers that are kept in memory while the store is down; more replace the oldest.
pub const SAMPLES_MAX: usize = 50_000;
/// A round of the observer that comes later than this after the last one counts as this long at most: nobody saw what
/// was in between.
pub const OBSERVED_GAP_MAX: Duration = Duration::from_secs(3);

/// Pages of days whose taken slots are remembered …
pub const DAYS_KEPT_MAX: usize = 64;
/// … and for how long, where nothing changes here: another process may write too.
pub const DAY_KEPT_FOR: Duration = Duration::from_secs(1);
/// Programs are announced so long before their start, and again before their end.
pub const ANNOUNCED_BEFORE: Duration = Duration::from_secs(300);
/// Events that are kept for those who listen and fall behind, or come back.
pub const EVENTS_KEPT: usize = 4096;
/// Webhooks of one server.
pub const WEBHOOKS_MAX: u32 = 16;
/// Events that are on their way to one webhook at once, each of another program.
pub const DELIVERIES_AT_ONCE: u32 = 2;
/// Whoever receives an event has this long to take it.
pub const DELIVERY_WAIT_MAX: Duration = Duration::from_secs(15);
/// An event that nobody took is given up so long after it was asked for.
pub const DELIVERY_GIVEN_UP_AFTER: Duration = Duration::from_secs(3 * 24 * 3600);
/// A secret that was replaced signs beside the new one for so long.
pub const OLD_SECRET_SIGNS_FOR: Duration = Duration::from_secs(24 * 3600);
/// Who listens at once.
pub const LISTENERS_MAX: u32 = 3_072;
/// Who listens at once from one address (a /64 of IPv6).
pub const LISTENERS_PER_ADDRESS_MAX: u32 = 64;
/// Whom there is no place for is told to wait this long.
pub const LISTENERS_WAIT: Duration = Duration::from_secs(30);
/// Who listens to events and hears nothing for so long is sent a comment, so that nothing in between ends the connection.
pub const COMMENT_EVERY: Duration = Duration::from_secs(30);
/// Events of links and starts that are kept in memory while the store is down; more replace the oldest.
pub const EVENTS_WAITING_MAX: usize = 10_000;

/// Programs that one answer of the guide holds at most.
pub const GUIDE_ITEMS_MAX: u32 = 5_000;
/// Rows that are read at once.
pub const ROWS_AT_ONCE: u32 = 500;
/// Reservations in one member's export of the own data.
pub const EXPORT_RESERVATIONS_MAX: usize = 10_000;
/// Open reservations on a member's page.
pub const MY_OPEN_MAX: u32 = 100;
/// Past and cancelled ones on it.
pub const MY_PAST_MAX: u32 = 50;

/// Lines of the log about refused log-ins: so many at once, and again one after each of the spans. Those that are left
/// out are counted in the next line.
pub const REFUSED_LINES: Budget = Budget { burst: 20, every: Duration::from_secs(2) };

/// How often something may be tried: `burst` times at once, and again once every `every`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// At once.
    pub burst: u32,
    /// One more after each of these.
    pub every: Duration,
}

/// How often things may be tried that can be abused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budgets {
    /// Registrations, and members' changes to another e-mail address, from one address (a /64 of IPv6).
    pub register: Budget,
    /// Log-ins from one address.
    pub log_in_address: Budget,
    /// Requests for another password from one address.
    pub forgotten_address: Budget,
    /// Mails with a code for another password, to one member.
    pub forgotten_member: Budget,
    /// Mails with a code that verifies an address, at the wish of one member.
    pub verification: Budget,
    /// Wrong passwords that a member who is logged in shows, to change password or address.
    pub own_password: Budget,
    /// Log-ins with a wrong password for one user ID.
    pub log_in_user: Budget,
    /// Bookings from one address.
    pub book_address: Budget,
    /// Bookings of one member.
    pub book_member: Budget,
    /// Wrong reservation IDs typed by one member.
    pub wrong_id: Budget,
    /// Cards that one member has checked, lest stolen ones are tried out here.
    pub card: Budget,
}

impl Default for Budgets {
    fn default() -> Self {
        let budget = |burst, seconds| Budget { burst, every: Duration::from_secs(seconds) };
        Self {
            register: budget(20, 60),
            log_in_address: budget(30, 4),
            forgotten_address: budget(10, 60),
            forgotten_member: budget(3, 600),
            verification: budget(3, 600),
            own_password: budget(10, 30),
            log_in_user: budget(10, 30),
            book_address: budget(120, 1),
            book_member: budget(60, 2),
            wrong_id: budget(10, 30),
            card: budget(10, 300),
        }
    }
}
