//! How a server with a large stock of bookings starts, publishes a change, answers pages and books.
//!
//! The stock is put into the database by SQL, the figures are those of a real `slotcast serve`, on SQLite and on
//! PostgreSQL; they are printed as a page.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use serde_json::json;
use slotcast_core::time::{Clock, Now, WallTime};
use slotcast_reservation::{store, vault::Vault};
use slotcast_reservation_testing::stock::Stock;
use slotcast_testing::{
    bookings::{
        client::{Client, draft},
        now_seconds,
        site::{Site, Wishes},
        time_text,
    },
    postgres, wait_for,
};

const HELP: &str = "\
Measures a server with a large stock of bookings, and prints it as a page.

Usage: cargo bench --bench stock -- [OPTIONS]

Options:
  --database sqlite|postgresql  Only on that one
  --channels N                  Channels, every slot of which is booked [500]
  --days N                      Days, from today on [62]
  --rounds N                    Times that each thing is done [20]
  --help                        This

Slots take ten minutes. PostgreSQL is the newest of Debian's packages, on the same machine, with fsync on.
SLOTCAST_PROGRAM names another slotcast than the one that was built with this.";

const DAY_SECONDS: i64 = 86_400;
const SLOT_SECONDS: i64 = 600;
const SLOTS: i64 = DAY_SECONDS / SLOT_SECONDS;
/// Channels beside those of the stock, for what is booked here.
const FREE_CHANNELS: u16 = 10;
const START_MAX: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(2);

struct Plan {
    database: Option<String>,
    channels: u16,
    days: i64,
    rounds: usize,
}

impl Plan {
    /// `None`: help is wanted.
    fn of_arguments() -> Option<Self> {
        let mut plan = Self { database: None, channels: 500, days: 62, rounds: 20 };
        let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
        while let Some(argument) = arguments.next() {
            let value = if argument == "--help" { None } else { arguments.next() };
            let value = value?;
            match argument.as_str() {
                "--database" => plan.database = Some(value),
                "--channels" => plan.channels = value.parse().unwrap(),
                "--days" => plan.days = value.parse().unwrap(),
                "--rounds" => plan.rounds = value.parse().unwrap(),
                other => panic!("{other} is not known: --help says what is"),
            }
        }
        Some(plan)
    }
}

fn main() {
    let Some(plan) = Plan::of_arguments() else {
        println!("{HELP}");
        return;
    };
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!(
        "{} cores, load before: {}",
        thread::available_parallelism().map_or(0, usize::from),
        load.trim()
    );
    println!();
    let wants = |database: &str| plan.database.as_ref().is_none_or(|wanted| wanted == database);
    if wants("sqlite") {
        measure(&plan, "SQLite", None);
    }
    if wants("postgresql")
        && let Some(server) = postgres::shared()
    {
        measure(&plan, "PostgreSQL", Some(server.new_database()));
    }
}

fn measure(plan: &Plan, name: &str, database: Option<String>) {
    let mut site = Site::make(&Wishes {
        database: database.clone(),
        slot: "10m",
        channels: plan.channels + FREE_CHANNELS,
        seats: 100,
        rate: "2Mbit/s",
        reservations: "slots_per_month = 1000000".to_owned(),
        tables: String::new(),
    });
    site.start();
    let token = site.client(1).register("member0001", "pm_test");
    site.end();
    let stock = Stock {
        channels: plan.channels,
        members: 1_000,
        slots: SLOTS,
        days: plan.days,
        from: WallTime::from_micros(now_seconds() / DAY_SECONDS * DAY_SECONDS * 1_000_000),
    };
    let begun = Instant::now();
    fill(&stock, &site, database.as_deref());
    println!(
        "| {name}, {} bookings (put there in {:.0} s) | p50 | most |",
        stock.count(),
        begun.elapsed().as_secs_f64()
    );
    println!("|---|---|---|");

    let begun = Instant::now();
    site.start();
    let answers = begun.elapsed();
    let next_day = f64::from(plan.channels) * SLOTS as f64 * 0.99;
    wait_for(START_MAX, || {
        thread::sleep(LOOK_EVERY);
        (metric(site.http, "slotcast_programs{") >= next_day).then_some(())
    })
    .expect("the programs of the next day are published");
    row("start, until it answers", &[answers]);
    row("start, until a day of programs is published", &[begun.elapsed()]);

    let mut operator = site.operator();
    let changes: Vec<_> =
        (0..plan.rounds).map(|round| change(&stock, &mut operator, site.http, round)).collect();
    row("a change, until it is published", &changes);
    let mut member = site.client(5_000);
    member.show(&token);
    let today = time_text(now_seconds())[..10].to_owned();
    let later = time_text(now_seconds() + 9 * DAY_SECONDS)[..10].to_owned();
    for (what, path) in [
        ("today's live", "/today".to_owned()),
        ("the guide of a day", format!("/guide?day={later}")),
        ("the day's page of one channel", format!("/channels/2/days/{later}")),
        ("the day's page of all channels", format!("/days/{later}")),
        ("the month's page", format!("/months/{}", &today[..7])),
    ] {
        let reads: Vec<_> = (0..plan.rounds).map(|_| read(&mut member, &path)).collect();
        row(what, &reads);
    }
    let bookings: Vec<_> = (0..plan.rounds).map(|round| book(&stock, &mut member, round)).collect();
    row("a booking", &bookings);
    println!();
    site.end();
}

/// Puts the stock into the database of a server that has ended.
fn fill(stock: &Stock, site: &Site, database: Option<&str>) {
    let vault = Vault::open_or_create(&site.data().join("secret.key")).unwrap();
    let place = database.map_or_else(|| site.data().join("slotcast.db").display().to_string(), str::to_owned);
    let clock: Clock =
        Arc::new(|| Now { mono: Instant::now(), wall: WallTime::from_micros(now_seconds() * 1_000_000) });
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let store = store::open(&place, vault.clone(), clock).await.unwrap();
        stock.put(&place, store.as_ref(), &vault).await;
        store.close().await;
    });
}

/// Changes a program of the coming hours, and waits until the schedule with it was taken over.
fn change(stock: &Stock, operator: &mut Client, http: SocketAddr, round: usize) -> Duration {
    let slot = (now_seconds() % DAY_SECONDS / SLOT_SECONDS + 2).min(SLOTS - 1);
    let path = format!("/reservations/{}", stock.number(7 + round as i64, 0, slot));
    let applied = || metric(http, "slotcast_schedule_publishes_total{result=\"applied\"}");
    let before = applied();
    let begun = Instant::now();
    let reply =
        operator.ask("PATCH", &path, Some(&json!({ "title": "The lake" })), &[("If-Match", "*")]).unwrap();
    assert_eq!(reply.status, 200, "{reply:?}");
    wait_for(START_MAX, || {
        thread::sleep(LOOK_EVERY);
        (applied() > before).then_some(())
    })
    .expect("it is published");
    begun.elapsed()
}

fn read(client: &mut Client, path: &str) -> Duration {
    let begun = Instant::now();
    let reply = client.get(path).unwrap();
    assert_eq!(reply.status, 200, "{reply:?}");
    begun.elapsed()
}

fn book(stock: &Stock, member: &mut Client, round: usize) -> Duration {
    let channel = stock.channels + 1 + round as u16 % FREE_CHANNELS;
    let first = now_seconds() / DAY_SECONDS * DAY_SECONDS + 2 * DAY_SECONDS;
    let start = first + (round as i64 / i64::from(FREE_CHANNELS)) * SLOT_SECONDS;
    let begun = Instant::now();
    let reply =
        member.post("/reservations", &draft(channel, start, start + SLOT_SECONDS, "A booking")).unwrap();
    assert_eq!(reply.status, 201, "{reply:?}");
    begun.elapsed()
}

/// The sum of the figures whose names begin so.
fn metric(http: SocketAddr, begin: &str) -> f64 {
    let mut stream = TcpStream::connect(http).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let figures = text.lines().filter(|line| line.starts_with(begin));
    figures.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

fn row(what: &str, times: &[Duration]) {
    let mut times = times.to_vec();
    times.sort_unstable();
    let shown = |time: Option<&Duration>| time.map_or(0.0, |time| time.as_secs_f64() * 1e3);
    println!("| {what} | {:.1} ms | {:.1} ms |", shown(times.get(times.len() / 2)), shown(times.last()));
}
