//! A large stock of bookings, put into a database by SQL: every slot of every channel, for days.
//!
//! Each program takes one slot; all are confirmed, and those of the first two days have the reservation IDs of the key.

use slotcast_core::time::WallTime;
use slotcast_reservation::{
    domain::{
        effects::Effects,
        reservation::{ProgramDetails, Reservation},
        words::ReservationNumber,
    },
    store::Store,
    vault::Vault,
};
use sqlx::{AssertSqlSafe, Executor as _};

use crate::{
    service::{MINUTE, World, rules, wall},
    values,
};

/// How much is booked.
#[derive(Clone, Copy, Debug)]
pub struct Stock {
    /// Channels, from 1 on.
    pub channels: u16,
    /// Members who have the programs in turn, from [`FIRST_MEMBER`] on.
    pub members: i64,
    /// Slots of ten minutes in a day that are booked, from its first on.
    pub slots: i64,
    /// Days.
    pub days: i64,
    /// The first slot's start; a whole slot.
    pub from: WallTime,
}

/// The number of the first member.
pub const FIRST_MEMBER: i64 = 1000;
/// The number of the first reservation.
pub const FIRST: i64 = 1_000_000_000;

impl Stock {
    /// All bookings.
    pub fn count(&self) -> i64 {
        i64::from(self.channels) * self.slots * self.days
    }

    /// The number of a reservation by channel, day and slot, each from 0.
    pub fn number(&self, channel: i64, day: i64, slot: i64) -> ReservationNumber {
        ReservationNumber(FIRST + (day * self.slots + slot) * i64::from(self.channels) + channel)
    }

    /// Puts it into the database at `place`, which `store` has open and which holds no bookings.
    pub async fn put(&self, place: &str, store: &dyn Store, vault: &Vault) {
        let mut tx = store.begin().await.unwrap();
        for number in FIRST_MEMBER..FIRST_MEMBER + self.members {
            tx.add_member(&values::member(number)).await.unwrap();
        }
        let known = tx.channels().await.unwrap();
        for number in 1..=self.channels {
            if known.iter().all(|channel| channel.number.0 != number) {
                tx.put_channel(&values::channel(number)).await.unwrap();
            }
        }
        tx.commit().await.unwrap();
        let ids = self.ids(vault);
        if place.starts_with("postgres") {
            let pool = sqlx::PgPool::connect(place).await.unwrap();
            let mut transaction = pool.begin().await.unwrap();
            for sql in self.statements("generate_series(0::BIGINT, {LAST}) AS all_of(i)") {
                sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *transaction).await.unwrap();
            }
            let sql = "UPDATE reservations SET id_hash = its.hash FROM unnest($1::BIGINT[], $2::BYTEA[])
                AS its(number, hash) WHERE reservations.number = its.number";
            let (numbers, hashes): (Vec<_>, Vec<_>) = ids.into_iter().unzip();
            sqlx::query(sql).bind(numbers).bind(hashes).execute(&mut *transaction).await.unwrap();
            transaction.commit().await.unwrap();
            pool.execute("ANALYZE").await.unwrap();
            pool.close().await;
            return;
        }
        let path = place.strip_prefix("sqlite:").unwrap_or(place);
        let pool = sqlx::SqlitePool::connect(path).await.unwrap();
        let mut transaction = pool.begin().await.unwrap();
        let counted =
            "(WITH RECURSIVE all_of(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM all_of WHERE i < {LAST})
            SELECT i FROM all_of)";
        for sql in self.statements(counted) {
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *transaction).await.unwrap();
        }
        for (number, hash) in ids {
            let query = sqlx::query("UPDATE reservations SET id_hash = $2 WHERE number = $1");
            query.bind(number).bind(hash).execute(&mut *transaction).await.unwrap();
        }
        transaction.commit().await.unwrap();
        pool.execute("ANALYZE").await.unwrap();
        pool.close().await;
    }

    /// What fills reservations and slots. `counted`: rows with `i` from 0 to `{LAST}`.
    fn statements(&self, counted: &str) -> [String; 2] {
        let start = "{BEGIN} + (i / {CHANNELS} / {SLOTS} * 144 + i / {CHANNELS} % {SLOTS}) * {SLOT}";
        let sample = values::reservation(1, 0, 1);
        let (seats, class) = (sample.seats.count(), sample.class.bits_per_second());
        let reservations = "INSERT INTO reservations (number, member, kind, channel, window_start, window_end, seats,
                class, toll, state, title, genre, outline, details, open_level, show_email, show_web, friends,
                booked_at, hold_until, reconfirm_until, terms_accepted_at, confirmed_at, id_issue, is_reminded,
                calendar_sequence, version)
            SELECT {FIRST} + i, i % {MEMBERS} + {FIRST_MEMBER}, 'private', i % {CHANNELS} + 1, {START}, {START} + {SLOT}, {SEATS},
                {CLASS}, 500, 'confirmed', 'Program ' || i, 'Genre', 'Outline', 'Details', 'public', TRUE, FALSE, '[]',
                {BEGIN} - {SLOT}, {BEGIN} - {SLOT}, {START}, {BEGIN} - {SLOT}, {BEGIN} - {SLOT}, 1, FALSE, 0, 3
            FROM {COUNTED}";
        let slots = "INSERT INTO slots (channel, start, reservation)
            SELECT i % {CHANNELS} + 1, {START}, {FIRST} + i FROM {COUNTED}";
        [reservations, slots].map(|sql| {
            sql.replace("{START}", start)
                .replace("{SEATS}", &seats.to_string())
                .replace("{CLASS}", &class.to_string())
                .replace("{COUNTED}", counted)
                .replace("{BEGIN}", &self.from.as_micros().to_string())
                .replace("{LAST}", &(self.count() - 1).to_string())
                .replace("{FIRST}", &FIRST.to_string())
                .replace("{CHANNELS}", &self.channels.to_string())
                .replace("{FIRST_MEMBER}", &FIRST_MEMBER.to_string())
                .replace("{MEMBERS}", &self.members.to_string())
                .replace("{SLOTS}", &self.slots.to_string())
                .replace("{SLOT}", &values::SLOT.to_string())
        })
    }

    /// Numbers and hashes of reservation IDs of the first two days.
    fn ids(&self, vault: &Vault) -> Vec<(i64, Vec<u8>)> {
        let last = (2 * self.slots * i64::from(self.channels)).min(self.count());
        let id = |number| vault.reservation_id(ReservationNumber(number), 1).hash().0.to_vec();
        (FIRST..FIRST + last).map(|number| (number, id(number))).collect()
    }
}

/// A world with a fiftieth of 500 channels, booked for 62 days: only the next day of them is read and handed over, and
/// then what changes.
pub async fn only_the_next_day_of_a_large_stock_is_read(place: &str) {
    let world = World::at(place, rules(), wall("2026-12-01T12:00:00Z")).await;
    let begin = wall("2026-12-01T00:00:00Z");
    // The last slot of each day stays free.
    let stock = Stock { channels: 10, members: 50, slots: 143, days: 62, from: begin };
    stock.put(place, world.store.as_ref(), &world.vault).await;
    let told = || std::mem::take(&mut *world.streaming.told.lock());
    world.service.publish().await.unwrap();
    // From the one whose connect window is open still, to the one that begins a minute after a day from now.
    let next_day = told().pop().unwrap();
    assert!(next_day.0 && (1400..=1460).contains(&next_day.1), "{next_day:?}");
    for minute in 1..=30 {
        world.clock.pass(MINUTE);
        world.service.publish().await.unwrap();
        let (is_whole, put, gone) = told().pop().unwrap();
        assert!(!is_whole && put <= 10 && gone <= 10, "minute {minute}: {put} put, {gone} gone");
    }
    // One program is changed; one ten days ahead as well, which is none of the streaming side's business yet.
    for (day, expected) in [(1, 1), (10, 0)] {
        let number = stock.number(3, day, 3);
        let found = world.found(number).await;
        let program = ProgramDetails { title: "The lake".to_owned(), ..found.program.clone() };
        let after = Reservation { program, version: found.version + 1, ..found };
        let mut tx = world.store.begin().await.unwrap();
        tx.write(&Effects::of(after)).await.unwrap();
        tx.commit().await.unwrap();
        world.service.publish().await.unwrap();
        assert_eq!(told().pop(), Some((false, expected, 0)));
    }
    let date = jiff::civil::date(2026, 12, 5);
    let guide = world.service.guide_day(None, date, Some(jiff::tz::TimeZone::UTC)).await.unwrap();
    assert_eq!(guide.len(), 1430);
    let day = world.service.day(date, Some(jiff::tz::TimeZone::UTC), None).await.unwrap();
    assert!(day.channels.iter().all(|channel| channel.taken.len() == 1 && channel.free.len() == 1));
    let month = world.service.month(2026, 12, Some(jiff::tz::TimeZone::UTC)).await.unwrap();
    let full = &month.days[4].channels;
    assert!(full.len() == 10 && full.iter().all(|channel| (channel.free, channel.taken) == (1, 143)));
    let booked = world.book_as(1, 2, "2026-12-05T23:50:00Z", 1).await.unwrap();
    assert!(world.book_as(2, 2, "2026-12-05T23:50:00Z", 1).await.is_err());
    let day = world.service.day(date, Some(jiff::tz::TimeZone::UTC), Some(booked.channel)).await.unwrap();
    assert_eq!(day.channels[0].free, [], "seen at once, although the page was remembered");
}
