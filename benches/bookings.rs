//! How many bookings a second are sold durably, how many pages are read, and whether a running broadcast notices.
//!
//! Each figure is of a real `slotcast serve` with many HTTP clients, on SQLite and on PostgreSQL; it is printed as a
//! page. Rounds with and without booking take turns, so that noise of the machine hits both.

use std::{
    fs,
    net::SocketAddr,
    process::Command,
    sync::{
        Barrier,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use slotcast_reservation::{domain::words::ReservationNumber, vault::Vault};
use slotcast_testing::{
    bookings::{
        self,
        client::{Client, draft},
        now_seconds,
        site::{Site, Wishes},
        time_text,
    },
    postgres,
    process::Process,
    program, wait_for,
};

const HELP: &str = "\
Measures what the selling side does in a second, and prints it as a page.

Usage: cargo bench --bench bookings -- [OPTIONS]

Options:
  --database sqlite|postgresql  Only on that one
  --clients N                   Clients at once [64]
  --bookings N                  Bookings in all [6400]
  --seconds N                   Seconds of each kind of reading, and of each round with viewers [6]
  --viewers N                   Viewers of the broadcast beside it; 0: none [300]
  --rounds N                    Rounds with and without booking, in turn [3]
  --help                        This

Every booking is a POST of its own that is answered 201 after the database has it on the disk. PostgreSQL is the newest
of Debian's packages, on the same machine, with fsync on. SLOTCAST_PROGRAM names another slotcast than the one that was
built with this.";

const CHANNELS: u16 = 20;
const SLOT_SECONDS: i64 = 600;
const DAY_SECONDS: i64 = 86_400;
/// What one member may book at once, less a few.
const BOOKINGS_OF_MEMBER: usize = 50;
/// The one that is on air.
const STAGE: u16 = 1;
const BIT_RATE: &str = "500kbit/s";

/// Tells the reservation ID that the first mail of a reservation brings.
fn reservation_ids(site: &Site) -> impl Fn(i64) -> String + Sync + use<> {
    let vault = Vault::open_or_create(&site.data().join("secret.key")).unwrap();
    move |number| vault.reservation_id(ReservationNumber(number), 1).expose().to_owned()
}

/// What was asked for.
struct Plan {
    database: Option<String>,
    clients: usize,
    bookings: usize,
    seconds: u64,
    viewers: usize,
    rounds: usize,
}

impl Plan {
    /// `None`: help is wanted.
    fn of_arguments() -> Option<Self> {
        let mut plan =
            Self { database: None, clients: 64, bookings: 6_400, seconds: 6, viewers: 300, rounds: 3 };
        let mut arguments = std::env::args().skip(1);
        while let Some(name) = arguments.next() {
            let mut count = || arguments.next().and_then(|text| text.parse::<usize>().ok());
            match name.as_str() {
                // Cargo's own.
                "--bench" => {}
                "--clients" => plan.clients = count().filter(|count| *count > 0)?,
                "--bookings" => plan.bookings = count()?,
                "--seconds" => plan.seconds = count().filter(|count| *count > 0)? as u64,
                "--viewers" => plan.viewers = count()?,
                "--rounds" => plan.rounds = count().filter(|count| *count > 0)?,
                "--database" => plan.database = Some(arguments.next()?),
                _ => return None,
            }
        }
        Some(plan)
    }

    fn wants(&self, database: &str) -> bool {
        self.database.as_ref().is_none_or(|wanted| wanted == database)
    }
}

fn main() {
    let Some(plan) = Plan::of_arguments() else {
        println!("{HELP}");
        return;
    };
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let cores = thread::available_parallelism().map_or(0, usize::from);
    println!("{cores} cores, load before: {}", load.trim());
    println!();
    if plan.wants("sqlite") {
        measure(&plan, "SQLite", None);
    }
    if plan.wants("postgresql")
        && let Some(server) = postgres::shared()
    {
        measure(&plan, "PostgreSQL", Some(server.new_database()));
    }
}

/// A server that sells, with its members' tokens and the next window that nobody has.
struct Shop {
    address: SocketAddr,
    viewers: SocketAddr,
    links: SocketAddr,
    /// Reservation IDs, as they are mailed.
    id_of: Box<dyn Fn(i64) -> String + Sync>,
    tokens: Vec<String>,
    next: AtomicI64,
    /// Of a whole day: from 2,736 bookings on (19 channels, 144 slots), the day that is read is full.
    first_slot: i64,
}

fn measure(plan: &Plan, name: &str, database: Option<String>) {
    let mut site = Site::make(&Wishes {
        database,
        slot: "10m",
        channels: CHANNELS,
        seats: 500,
        rate: "4Mbit/s",
        reservations: "slots_per_month = 1000000".to_owned(),
        tables: String::new(),
    });
    site.start();
    let shop = Shop::open(plan, &site);
    println!("| {name}, {} clients | a second | p50 | p99 |", plan.clients);
    println!("|---|---|---|---|");
    let bookings = shop.book_all(plan);
    row("durable bookings", &bookings);
    let day = time_text(shop.first_slot * SLOT_SECONDS)[..10].to_owned();
    for (what, path) in [
        ("the day's page of one channel", format!("/channels/2/days/{day}")),
        ("the day's page of all channels", format!("/days/{day}")),
        ("the program guide of a day", format!("/guide?day={day}")),
    ] {
        let bytes = shop.anybody(9).get(&path).map_or(0, |reply| reply.body.to_string().len());
        row(&format!("reads: {what} ({bytes} bytes)"), &shop.read(plan, &path));
    }
    println!();
    if plan.viewers > 0 {
        shop.watch(plan, name);
    }
}

impl Shop {
    fn open(plan: &Plan, site: &Site) -> Self {
        let members = plan.clients * (plan.bookings / plan.clients).div_ceil(BOOKINGS_OF_MEMBER).max(1);
        let register = |index| site.client(1_000 + index).register(&format!("member{index}"), "pm_test");
        Self {
            address: site.http,
            viewers: site.viewers,
            links: site.links,
            id_of: Box::new(reservation_ids(site)),
            tokens: (0..members).map(register).collect(),
            next: AtomicI64::new(0),
            first_slot: (now_seconds() / DAY_SECONDS + 2) * (DAY_SECONDS / SLOT_SECONDS),
        }
    }

    fn anybody(&self, index: usize) -> Client {
        Client::new(self.address, index)
    }

    fn client(&self, index: usize, token: usize) -> Client {
        let mut client = self.anybody(5_000 + index * 10 + token % 10);
        client.show(&self.tokens[token % self.tokens.len()]);
        client
    }

    /// The next window of one slot that nobody has.
    fn window(&self) -> (u16, i64) {
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        let channel = 2 + (index % i64::from(CHANNELS - 1)) as u16;
        (channel, (self.first_slot + index / i64::from(CHANNELS - 1)) * SLOT_SECONDS)
    }

    /// Everybody's share of the bookings; each member as many as may be at once.
    fn book_all(&self, plan: &Plan) -> Timing {
        let share = plan.bookings / plan.clients;
        let each = share.div_ceil(BOOKINGS_OF_MEMBER).max(1);
        together(plan.clients, |index, times| {
            let mut client = self.client(index, index * each);
            for turn in 0..share {
                if turn > 0 && turn % BOOKINGS_OF_MEMBER == 0 {
                    client = self.client(index, index * each + turn / BOOKINGS_OF_MEMBER);
                }
                let (channel, start) = self.window();
                let body = draft(channel, start, start + SLOT_SECONDS, "A booking");
                let asked = Instant::now();
                let reply = client.post("/reservations", &body).unwrap();
                times.push(asked.elapsed());
                assert_eq!(reply.status, 201, "{reply:?}");
            }
        })
    }

    fn read(&self, plan: &Plan, path: &str) -> Timing {
        together(plan.clients, |index, times| {
            let mut client = self.anybody(5_000 + index);
            let end = Instant::now() + Duration::from_secs(plan.seconds);
            while Instant::now() < end {
                let asked = Instant::now();
                let reply = client.get(path).unwrap();
                times.push(asked.elapsed());
                assert_eq!(reply.status, 200, "{reply:?}");
            }
        })
    }

    /// Viewers of a running program, while others book and while nobody does.
    fn watch(&self, plan: &Plan, name: &str) {
        let id = self.go_on_air();
        let seconds = plan.rounds as u64 * 2 * (plan.seconds + 20);
        let mut push = Command::new(program());
        push.args(["load", "push", "--bit-rate", BIT_RATE, "--seconds", &seconds.to_string()]);
        push.arg(format!("rtsp://live:{id}@{}/channel{STAGE}", self.links));
        // The streaming side hears of the reservation within a second.
        let push = wait_for(Duration::from_secs(20), || {
            let mut push = Process::spawn("push", &mut push);
            bookings::pass(Duration::from_secs(1));
            push.is_running().then_some(push)
        });
        let _push = push.expect("the broadcast is refused");
        println!(
            "| {name}: {} viewers of {BIT_RATE} | lost | p50 | p99 | longest | booked and cancelled a second |",
            plan.viewers
        );
        println!("|---|---|---|---|---|---|");
        for _ in 0..plan.rounds {
            for books in [false, true] {
                let is_over = AtomicBool::new(false);
                let (report, count, span) = thread::scope(|scope| {
                    let began = Instant::now();
                    let load = books.then(|| scope.spawn(|| self.book_and_cancel(plan, &is_over)));
                    let report = self.view(plan);
                    is_over.store(true, Ordering::Relaxed);
                    let count = load.map_or(0, |load| load.join().unwrap());
                    (report, count, began.elapsed())
                });
                let what = if books { "while 64 clients book" } else { "nobody books" };
                let what = what.replace("64", &plan.clients.to_string());
                let all = &report["all"];
                let ms =
                    |name: &str| format!("{:.2} ms", all["latency_ms"][name].as_f64().unwrap_or(f64::NAN));
                let rate = count as f64 / span.as_secs_f64();
                let [p50, p99, max] = ["p50", "p99", "max"].map(ms);
                println!("| {what} | {} | {p50} | {p99} | {max} | {rate:.0} |", all["lost"]);
            }
        }
        println!();
    }

    /// A member's program that is on air now; returns its reservation ID.
    fn go_on_air(&self) -> String {
        let start = now_seconds() / SLOT_SECONDS * SLOT_SECONDS;
        let mut client = self.client(0, 0);
        let body = draft(STAGE, start, start + 6 * SLOT_SECONDS, "On air");
        let number = loop {
            let reply = client.post("/reservations", &body).unwrap();
            match reply.number() {
                Some(number) => break number,
                // This member booked a lot a moment ago.
                None if reply.status == 429 => bookings::pass(Duration::from_secs(1)),
                None => panic!("{reply:?}"),
            }
        };
        let id = (self.id_of)(number);
        let accepted =
            client.ask("POST", &format!("/reservations/{number}/accept-terms"), None, &[]).unwrap();
        assert_eq!(accepted.status, 200, "{accepted:?}");
        let typed = json!({ "reservation_id": id });
        let confirmed = client.post(&format!("/reservations/{number}/reconfirm"), &typed).unwrap();
        assert_eq!(confirmed.status, 200, "{confirmed:?}");
        id
    }

    fn view(&self, plan: &Plan) -> Value {
        let output = Command::new(program())
            .args(["load", "view", "--json", "-", "--udp-percent", "50"])
            .args(["--viewers", &plan.viewers.to_string(), "--seconds", &plan.seconds.to_string()])
            .arg(format!("rtsp://{}/channel{STAGE}", self.viewers))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Books, reads the day and cancels, until it is over; returns how often.
    ///
    /// Who books sits elsewhere: the clients give way to everything that is measured.
    fn book_and_cancel(&self, plan: &Plan, is_over: &AtomicBool) -> usize {
        let timing = together(plan.clients, |index, times| {
            rustix::process::setpriority_process(None, 19).unwrap();
            let mut token = index;
            let mut client = self.client(index, token);
            while !is_over.load(Ordering::Relaxed) {
                let (channel, start) = self.window();
                let body = draft(channel, start, start + SLOT_SECONDS, "A booking");
                let asked = Instant::now();
                let reply = client.post("/reservations", &body).unwrap();
                let Some(number) = reply.number() else {
                    assert_eq!(reply.status, 429, "{reply:?}");
                    token += plan.clients;
                    client = self.client(index, token);
                    bookings::pass(Duration::from_millis(20));
                    continue;
                };
                let day = &time_text(start)[..10];
                let read = client.get(&format!("/channels/{channel}/days/{day}")).unwrap();
                let path = format!("/reservations/{number}/cancel");
                let cancelled = client.ask("POST", &path, None, &[]).unwrap();
                assert_eq!((read.status, cancelled.status), (200, 200), "{cancelled:?}");
                times.push(asked.elapsed());
            }
        });
        timing.times.len()
    }
}

/// What many did at once.
struct Timing {
    /// Sorted.
    times: Vec<Duration>,
    span: Duration,
}

/// Lets so many clients work, who begin at one moment.
fn together(clients: usize, work: impl Fn(usize, &mut Vec<Duration>) + Sync) -> Timing {
    let start = Barrier::new(clients + 1);
    thread::scope(|scope| {
        let all: Vec<_> = (0..clients)
            .map(|index| {
                let (work, start) = (&work, &start);
                scope.spawn(move || {
                    let mut times = Vec::new();
                    start.wait();
                    work(index, &mut times);
                    times
                })
            })
            .collect();
        start.wait();
        let began = Instant::now();
        let mut times: Vec<_> = all.into_iter().flat_map(|client| client.join().unwrap()).collect();
        let span = began.elapsed();
        times.sort_unstable();
        Timing { times, span }
    })
}

fn row(what: &str, timing: &Timing) {
    let at = |share: f64| {
        let index = ((timing.times.len() as f64 * share) as usize).min(timing.times.len().saturating_sub(1));
        timing.times.get(index).map_or(0.0, |time| time.as_secs_f64() * 1e3)
    };
    let rate = timing.times.len() as f64 / timing.span.as_secs_f64();
    println!("| {what} | {rate:.0} | {:.1} ms | {:.1} ms |", at(0.5), at(0.99));
}
