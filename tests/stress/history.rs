//! 256 clients book overlapping windows at once, cancel, and repeat themselves: whatever they were answered, one
//! seller who does one thing after another could have answered the same.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::Barrier,
    thread,
    time::Instant,
};

use slotcast_testing::{
    bookings::{
        Random,
        client::{Client, Reply, draft},
        history::{Call, Checker, Entry, Outcome},
        now_seconds,
        site::{Site, Wishes},
    },
    postgres,
};

const CLIENTS: usize = 256;
const MEMBERS: usize = 32;
/// Questions to book by one client: those of a member's clients together stay below what one member may ask at once.
const BOOKINGS_OF_CLIENT: u32 = 7;
const CHANNELS: u16 = 3;
/// Slots that everybody wants, in one month whatever day it is.
const SLOTS: i64 = 48;
const SLOT_SECONDS: i64 = 600;
const MONTH_SLOTS_MAX: i64 = 4;

/// One client with its log.
struct Person {
    member: usize,
    client: Client,
    other: Client,
    first_slot: i64,
    random: Random,
    /// Reservations that stand.
    own: Vec<i64>,
    log: Vec<Entry>,
}

impl Person {
    fn act(&mut self, index: usize) {
        let mut left = BOOKINGS_OF_CLIENT;
        while left > 0 {
            let choice = self.random.below(100);
            if choice < 30 && !self.own.is_empty() {
                let at = self.random.below(self.own.len() as u64) as usize;
                self.cancel(self.own[at]);
                self.own.swap_remove(at);
            } else if choice < 50 && left >= 3 {
                self.book_twice_at_once(&format!("client-{index}-{left}"));
                left -= 3;
            } else {
                let (channel, slots) = self.choose();
                let entry = book(&mut self.client, self.member, self.first_slot, channel, slots, None);
                self.keep(entry);
                left -= 1;
            }
        }
    }

    fn choose(&mut self) -> (u16, Range<i64>) {
        let channel = 1 + self.random.below(u64::from(CHANNELS)) as u16;
        let count = 1 + self.random.below(4) as i64;
        let start = self.random.below((SLOTS - count + 1) as u64) as i64;
        (channel, start..start + count)
    }

    /// The same question under the same key on two connections at once, and once more.
    fn book_twice_at_once(&mut self, key: &str) {
        let (channel, slots) = self.choose();
        let (member, first) = (self.member, self.first_slot);
        let [one, two] = [&mut self.client, &mut self.other];
        let (here, there) = thread::scope(|scope| {
            let there = scope.spawn(|| book(two, member, first, channel, slots.clone(), Some(key)));
            let here = book(one, member, first, channel, slots.clone(), Some(key));
            (here, there.join().unwrap())
        });
        let again = book(&mut self.client, member, first, channel, slots, Some(key));
        for entry in [here, there, again] {
            self.keep(entry);
        }
    }

    fn cancel(&mut self, number: i64) {
        let asked_at = Instant::now();
        let reply = self.client.ask("POST", &format!("/reservations/{number}/cancel"), None, &[]);
        let outcome = match reply {
            Ok(reply) if reply.status == 200 && reply.state() == "cancelled_member" => Outcome::Cancelled,
            Ok(reply) => Outcome::Other(format!("{} {}", reply.status, reply.body)),
            Err(_) => Outcome::Unanswered,
        };
        let call = Call::Cancel { number };
        self.log.push(Entry { member: self.member, asked_at, answered_at: Instant::now(), call, outcome });
    }

    fn keep(&mut self, entry: Entry) {
        if let Outcome::Booked { number } = entry.outcome
            && !self.own.contains(&number)
        {
            self.own.push(number);
        }
        self.log.push(entry);
    }
}

fn book(
    client: &mut Client,
    member: usize,
    first_slot: i64,
    channel: u16,
    slots: Range<i64>,
    key: Option<&str>,
) -> Entry {
    let second = |slot: i64| (first_slot + slot) * SLOT_SECONDS;
    let body = draft(channel, second(slots.start), second(slots.end), key.unwrap_or("no key"));
    let headers: Vec<_> = key.iter().map(|key| ("Idempotency-Key", *key)).collect();
    let asked_at = Instant::now();
    let reply = client.ask("POST", "/reservations", Some(&body), &headers);
    let answered_at = Instant::now();
    let outcome = reply.map_or(Outcome::Unanswered, |reply| outcome_of(&reply, first_slot));
    let call = Call::Book { channel, slots, key: key.map(|key| format!("{member}: {key}")) };
    Entry { member, asked_at, answered_at, call, outcome }
}

fn outcome_of(reply: &Reply, first_slot: i64) -> Outcome {
    let slot = |text: &str| {
        let second = text.parse::<jiff::Timestamp>().unwrap().as_second();
        second / SLOT_SECONDS - first_slot
    };
    match (reply.status, reply.code(), reply.number()) {
        (201, _, Some(number)) => Outcome::Booked { number },
        (409, "slot-taken", _) => {
            let taken = reply.body["taken"].as_array().into_iter().flatten();
            Outcome::SlotTaken { slots: taken.filter_map(|text| text.as_str()).map(slot).collect() }
        }
        (409, "month-limit", _) => {
            let count = |name: &str| reply.body[name].as_i64().unwrap_or(-1);
            Outcome::MonthLimit { slots_max: count("slots_max"), used: count("used"), asked: count("asked") }
        }
        // The database's queue was full for ten seconds: nothing is said about whether it was done.
        (503, "unavailable", _) => Outcome::Unanswered,
        _ => Outcome::Other(format!("{} {}", reply.status, reply.body)),
    }
}

/// The first slot that everybody wants: tomorrow's first, or the day after's where a month ends in between.
fn first_slot() -> i64 {
    let day = |days: i64| (now_seconds() / 86_400 + days) * 86_400;
    let month = |second: i64| jiff::Timestamp::from_second(second).unwrap().strftime("%m").to_string();
    let start = if month(day(1)) == month(day(2) - 1) { day(1) } else { day(2) };
    start / SLOT_SECONDS
}

fn one_history_is_possible(database: Option<String>) {
    let mut random = Random::of_environment();
    let mut site = Site::make(&Wishes {
        database,
        slot: "10m",
        channels: CHANNELS,
        seats: 5,
        rate: "64kbit/s",
        reservations: format!("slots_per_month = {MONTH_SLOTS_MAX}"),
        tables: String::new(),
    });
    site.start();
    let members = register(&site);
    let first_slot = first_slot();
    let mut people: Vec<_> = (0..CLIENTS)
        .map(|index| {
            let member = index % MEMBERS;
            let mut client = site.client(1_000 + index);
            client.show(&members[member]);
            let other = client.twin();
            Person {
                member,
                client,
                other,
                first_slot,
                random: random.fork(),
                own: Vec::new(),
                log: Vec::new(),
            }
        })
        .collect();
    let start = Barrier::new(CLIENTS);
    thread::scope(|scope| {
        for (index, person) in people.iter_mut().enumerate() {
            let start = &start;
            scope.spawn(move || {
                start.wait();
                person.act(index);
            });
        }
    });
    let history: Vec<_> = people.iter_mut().flat_map(|person| person.log.drain(..)).collect();
    let checker = Checker::new(&history, MONTH_SLOTS_MAX);
    let unanswered = history.iter().filter(|entry| matches!(entry.outcome, Outcome::Unanswered)).count();
    check_server(&site, &members, &checker.reservations(), unanswered);
    let wrong = checker.check();
    assert!(wrong.is_empty(), "{} faults:\n{}", wrong.len(), wrong[..wrong.len().min(20)].join("\n"));
    check_coverage(&history);
    assert_eq!(site.panics(), Vec::<String>::new());
}

fn register(site: &Site) -> Vec<String> {
    let tokens = (0..MEMBERS).map(|index| {
        let mut client = site.client(2_000 + index);
        client.register(&format!("member{index}"), "pm_test")
    });
    tokens.collect()
}

/// What was answered is there, in the state that was answered, and nothing else is there.
#[track_caller]
fn check_server(site: &Site, members: &[String], answered: &BTreeMap<i64, (usize, bool)>, unanswered: usize) {
    let mut client = site.client(3_000);
    for (number, (member, is_cancelled)) in answered {
        client.show(&members[*member]);
        let reply = client.get(&format!("/reservations/{number}")).unwrap();
        let is_right = match reply.state() {
            "cancelled_member" => *is_cancelled || unanswered > 0,
            "held" => !is_cancelled,
            _ => false,
        };
        assert!(reply.status == 200 && is_right, "{reply:?}");
    }
    let mut there = BTreeSet::new();
    for token in members {
        client.show(token);
        there.extend(client.list("/reservations").iter().map(|item| item["number"].as_i64().unwrap()));
    }
    let known: BTreeSet<_> = answered.keys().copied().collect();
    assert_eq!(known.difference(&there).count(), 0, "reservations that are lost");
    let untold = there.difference(&known).count();
    assert!(untold <= unanswered, "{untold} reservations that nobody was told of");
}

/// A history without conflicts shows nothing.
#[track_caller]
fn check_coverage(history: &[Entry]) {
    let count = |is: fn(&Entry) -> bool| history.iter().filter(|entry| is(entry)).count();
    let booked = count(|entry| matches!(entry.outcome, Outcome::Booked { .. }));
    let taken = count(|entry| matches!(entry.outcome, Outcome::SlotTaken { .. }));
    let limited = count(|entry| matches!(entry.outcome, Outcome::MonthLimit { .. }));
    let cancelled = count(|entry| matches!(entry.outcome, Outcome::Cancelled));
    let unanswered = count(|entry| matches!(entry.outcome, Outcome::Unanswered));
    let from = history.iter().map(|entry| entry.asked_at).min().unwrap();
    let span = history.iter().map(|entry| entry.answered_at).max().unwrap() - from;
    println!(
        "{} questions of {CLIENTS} clients in {span:.1?}: {booked} booked, {taken} slots taken, {limited} at the \
         month's limit, {cancelled} cancelled, {unanswered} not answered in time",
        history.len()
    );
    assert!(booked > 20 && taken > 100 && limited > 10 && cancelled > 5, "too little happened");
    // On a machine that is busy with other things a few may wait too long.
    assert!(unanswered * 50 <= history.len(), "{unanswered} questions without an answer");
}

#[test]
fn answers_to_256_clients_at_once_fit_together_on_sqlite() {
    one_history_is_possible(None);
}

#[test]
fn answers_to_256_clients_at_once_fit_together_on_postgresql() {
    if let Some(server) = postgres::shared() {
        one_history_is_possible(Some(server.new_database()));
    }
}
