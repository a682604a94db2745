//! The server is killed again and again while clients book, accept, reconfirm, cancel and are charged: what was
//! answered stands, and nobody is sold, charged or written to twice, as those see it who receive.
//!
//! `SLOTCAST_KILLS`: how often, at most; `SLOTCAST_KILL_SECONDS`: for how long, at most; `SLOTCAST_SEED` repeats the
//! moments.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use slotcast_reservation::{domain::words::ReservationNumber, vault::Vault};
use slotcast_testing::{
    bookings::{
        Random,
        client::{Client, Reply, draft},
        count_of, now_seconds, pass,
        site::{Site, Wishes},
        smtp::MailServer,
        stripe::FakeStripe,
    },
    postgres::{self, Postgres},
};

const CLIENTS: usize = 8;
const MEMBERS: usize = 4;
const CHANNELS: u16 = 20;
/// Of a hundred questions, those that are asked once, and whose answer nobody waits for again.
const ABANDONED: u64 = 6;
/// One question is repeated for so long.
const INSIST_MAX: Duration = Duration::from_secs(90);
/// What is left to be done at the last kill takes as long as it takes, while there is less and less of it. It may stand
/// still for so long: a lease of the outbox after a crash, then a mail's wait after its first failure.
const STILL_MAX: Duration = Duration::from_secs(150);
/// A hold for which nobody came back is let go after three minutes: then so long.
const STILL_MAX_RELEASE: Duration = Duration::from_secs(330);
const SETTLED_WITHIN: Duration = Duration::from_secs(1_200);
/// From here on the test also waits for those holds.
const LONG_RUN: u64 = 1_000;

/// What one client was told of one reservation.
#[derive(Clone, Debug, Default)]
struct Told {
    title: String,
    number: Option<i64>,
    /// The booking was refused.
    is_refused: bool,
    is_accepted: bool,
    may_be_confirmed: bool,
    is_confirmed: bool,
    may_be_cancelled: bool,
    /// The state that the answer showed: where its time was over at that moment, not that of a cancellation by the
    /// member.
    cancelled: Option<String>,
}

/// What all clients note beside it.
#[derive(Default)]
struct Notes {
    faults: Mutex<Vec<String>>,
    unavailable: Mutex<BTreeMap<String, u64>>,
    is_over: AtomicBool,
}

struct Person<'s> {
    index: usize,
    client: Client,
    random: Random,
    site_id: &'s (dyn Fn(i64) -> String + Sync),
    notes: &'s Notes,
    told: Vec<Told>,
}

impl Person<'_> {
    fn act(mut self) -> Vec<Told> {
        while !self.notes.is_over.load(Ordering::Relaxed) {
            let title = format!("{}-{}", self.index, self.told.len());
            let mut told = Told { title, ..Told::default() };
            self.one_life(&mut told);
            self.told.push(told);
            pass(Duration::from_millis(self.random.below(30)));
        }
        self.told
    }

    /// `None`: the client leaves here.
    fn one_life(&mut self, told: &mut Told) -> Option<()> {
        let reply = self.book(&told.title)?;
        told.number = reply.number().filter(|_| reply.status == 201);
        told.is_refused = told.number.is_none();
        let number = told.number?;
        if self.random.per_cent(10) {
            self.cancel(told, number)?;
            return None;
        }
        let accepted = self.ask(&format!("/reservations/{number}/accept-terms"), None, &[])?;
        told.is_accepted = accepted.status == 200;
        if !told.is_accepted || self.random.per_cent(5) {
            return None;
        }
        let id = json!({ "reservation_id": (self.site_id)(number) });
        told.may_be_confirmed = true;
        let confirmed = self.ask(&format!("/reservations/{number}/reconfirm"), Some(&id), &[])?;
        told.is_confirmed = confirmed.status == 200;
        if told.is_confirmed && self.random.per_cent(20) {
            self.cancel(told, number)?;
        }
        Some(())
    }

    /// Most programs are over soon, and charged; some lie far ahead, and stay confirmed.
    fn book(&mut self, title: &str) -> Option<Reply> {
        let ahead = match self.random.per_cent(25) {
            true => 3_600 + self.random.below(50_000) as i64,
            false => 3 + self.random.below(5) as i64,
        };
        let start = now_seconds() + ahead;
        let end = start + 1 + self.random.below(3) as i64;
        let channel = 1 + self.random.below(u64::from(CHANNELS)) as u16;
        let body = draft(channel, start, end, title);
        self.ask("/reservations", Some(&body), &[("Idempotency-Key", title)])
    }

    fn cancel(&mut self, told: &mut Told, number: i64) -> Option<()> {
        told.may_be_cancelled = true;
        let reply = self.ask(&format!("/reservations/{number}/cancel"), None, &[])?;
        told.cancelled = (reply.status == 200).then(|| reply.state().to_owned());
        Some(())
    }

    /// Asks until there is an answer; sometimes only once.
    fn ask(&mut self, path: &str, body: Option<&Value>, headers: &[(&str, &str)]) -> Option<Reply> {
        let is_patient = !self.random.per_cent(ABANDONED);
        let deadline = Instant::now() + INSIST_MAX;
        while Instant::now() < deadline {
            match self.client.ask("POST", path, body, headers) {
                Ok(reply) if reply.status < 500 && reply.status != 429 => return Some(reply),
                Ok(reply) if reply.status == 500 => self.fault(format!("{path}: {reply:?}")),
                Ok(reply) => {
                    *self.notes.unavailable.lock().unwrap().entry(reply.code().to_owned()).or_default() += 1;
                    pass(Duration::from_millis(100));
                }
                Err(_) => pass(Duration::from_millis(5 + self.random.below(40))),
            }
            if !is_patient {
                return None;
            }
        }
        self.fault(format!("{path}: no answer for {INSIST_MAX:?}"));
        None
    }

    fn fault(&self, text: String) {
        self.notes.faults.lock().unwrap().push(text);
    }
}

/// Where the server's mails arrive.
enum Mailbox {
    /// The folder of the data directory.
    Folder,
    Server(MailServer),
}

impl Mailbox {
    /// How often each key arrived.
    fn keys(&self, site: &Site) -> BTreeMap<String, usize> {
        match self {
            Self::Server(server) => server.keys(),
            Self::Folder => {
                let files = fs::read_dir(site.data().join("mail")).unwrap();
                let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
                names.filter_map(|name| Some((name.strip_suffix(".eml")?.to_owned(), 1))).collect()
            }
        }
    }

    fn config(&self) -> String {
        match self {
            Self::Folder => String::new(),
            Self::Server(server) => format!("[mail]\nserver = \"smtp://{}\"\n", server.address),
        }
    }
}

/// All that can be seen from outside at one moment.
struct Seen {
    reservations: BTreeMap<i64, Value>,
    ledger: Vec<Value>,
    mails: BTreeMap<String, usize>,
    /// Keys of mails about each reservation, by the kind.
    letters: BTreeMap<(i64, String), usize>,
}

impl Seen {
    #[track_caller]
    fn of(operator: &mut Client, members: &mut [Client], site: &Site, mailbox: &Mailbox) -> Self {
        let mut reservations = BTreeMap::new();
        for member in members {
            for item in member.list("/reservations") {
                reservations.insert(item["number"].as_i64().unwrap(), item);
            }
        }
        let mails = mailbox.keys(site);
        let mut letters = BTreeMap::new();
        for key in mails.keys() {
            if let Some((kind, number)) = letter(key) {
                *letters.entry((number, kind)).or_default() += 1;
            }
        }
        Self { reservations, ledger: operator.list("/operator/ledger"), mails, letters }
    }

    fn letters(&self, number: i64, kind: &str) -> usize {
        self.letters.get(&(number, kind.to_owned())).copied().unwrap_or_default()
    }

    fn entries(&self, number: i64, kind: &str) -> Vec<i64> {
        let own = self.ledger.iter().filter(|entry| entry["reservation"] == number && entry["kind"] == kind);
        own.filter_map(|entry| entry["amount"].as_i64()).collect()
    }
}

/// Kind and reservation of a mail's key: `kind-of-mail-NUMBER-VERSION`, perhaps with a friend's mark.
fn letter(key: &str) -> Option<(String, i64)> {
    let at = key.find(|c: char| c.is_ascii_digit())?;
    let (kind, rest) = key.split_at(at);
    Some((kind.trim_end_matches('-').to_owned(), rest.split('-').next()?.parse().ok()?))
}

/// What is wrong, or not done yet.
fn audit(seen: &Seen, told: &[Told], stripe: &FakeStripe, waits_for_release: bool) -> Vec<String> {
    let mut wrong = stripe.faults();
    audit_told(seen, told, &mut wrong);
    audit_slots(seen, &mut wrong);
    audit_accounts(seen, &mut wrong);
    let told: BTreeMap<_, _> = told.iter().map(|told| (told.title.as_str(), told)).collect();
    let mut held: BTreeMap<i64, Vec<_>> = BTreeMap::new();
    for intent in stripe.intents() {
        held.entry(intent.reservation).or_default().push(intent);
    }
    let mut keys = BTreeSet::new();
    for intent in held.values().flatten() {
        if !keys.insert(intent.key.clone()) || intent.captures.len() > 1 {
            wrong.push(format!("money moved twice: {intent:?}"));
        }
    }
    for (number, item) in &seen.reservations {
        let title = item["program"]["title"].as_str().unwrap_or_default();
        let unclear = told.get(title).is_some_and(|told| told.may_be_confirmed && !told.is_confirmed);
        let own = held.remove(number).unwrap_or_default();
        let standing = own.iter().filter(|intent| intent.status == "requires_capture").count();
        let taken: Vec<_> = own.iter().flat_map(|intent| intent.captures.clone()).collect();
        audit_money(seen, *number, item, &taken, &mut wrong);
        let is_ahead = matches!(item["state"].as_str(), Some("confirmed" | "on_air" | "finished"));
        let may_stand = if is_ahead { 1..=1 } else { 0..=usize::from(unclear && !waits_for_release) };
        if !may_stand.contains(&standing) {
            wrong.push(format!("{standing} holds stand: {item} {own:?}"));
        }
        audit_letters(seen, *number, item, &mut wrong);
    }
    for own in held.into_values() {
        wrong.push(format!("money of no reservation: {own:?}"));
    }
    wrong
}

/// What was answered is so.
fn audit_told(seen: &Seen, told: &[Told], wrong: &mut Vec<String>) {
    let mut titles: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for item in seen.reservations.values() {
        titles.entry(item["program"]["title"].as_str().unwrap_or_default()).or_default().push(item);
    }
    for told in told {
        let found = titles.remove(told.title.as_str()).unwrap_or_default();
        let item = match (found.as_slice(), told.number) {
            ([], None) => continue,
            ([_], None) if !told.is_refused => continue,
            ([item], Some(number)) if item["number"] == number => item,
            _ => {
                wrong.push(format!("one question, and: {found:?} {told:?}"));
                continue;
            }
        };
        let state = item["state"].as_str().unwrap_or_default();
        let stands = item["is_accounted"] == true || told.may_be_cancelled && state == "cancelled_member";
        let is_right = (!told.is_accepted || !item["terms_accepted_at"].is_null())
            && (!told.is_confirmed || !item["confirmed_at"].is_null() && stands)
            && (told.may_be_confirmed || item["confirmed_at"].is_null())
            && told.cancelled.as_deref().is_none_or(|answered| {
                let ran_out =
                    ["cancelled_terms_not_accepted", "cancelled_not_reconfirmed"].contains(&answered);
                answered == state && (answered == "cancelled_member" || ran_out && !told.is_confirmed)
            })
            && (told.may_be_cancelled || state != "cancelled_member");
        if !is_right {
            wrong.push(format!("not as it was answered: {told:?} {item}"));
        }
    }
    for (title, found) in titles {
        wrong.push(format!("nobody asked for {title}: {found:?}"));
    }
}

/// No slot was sold twice.
fn audit_slots(seen: &Seen, wrong: &mut Vec<String>) {
    let mut sold = BTreeMap::new();
    for (number, item) in &seen.reservations {
        if item["state"].as_str().is_none_or(|state| state.starts_with("cancelled")) {
            continue;
        }
        let second = |name: &str| {
            item["window"][name].as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_second()
        };
        for slot in second("start")..second("end") {
            if let Some(other) = sold.insert((item["channel"].as_u64(), slot), number) {
                wrong.push(format!("a slot twice: {other} and {item}"));
            }
        }
    }
}

/// Double entry: the accounts' sum is nothing, and nobody's holds are below nothing.
fn audit_accounts(seen: &Seen, wrong: &mut Vec<String>) {
    let mut accounts: BTreeMap<&str, i64> = BTreeMap::new();
    for entry in &seen.ledger {
        let amount = entry["amount"].as_i64().unwrap();
        *accounts.entry(entry["debit"].as_str().unwrap()).or_default() += amount;
        *accounts.entry(entry["credit"].as_str().unwrap()).or_default() -= amount;
    }
    let keys: BTreeSet<_> = seen.ledger.iter().map(|entry| entry["key"].as_str()).collect();
    let is_right = accounts.values().sum::<i64>() == 0
        && keys.len() == seen.ledger.len()
        && accounts.iter().all(|(name, sum)| !name.starts_with("member_holds") || *sum >= 0);
    if !is_right {
        wrong.push(format!("the accounts: {accounts:?}"));
    }
}

/// The ledger of one reservation, and what was really taken for it.
fn audit_money(seen: &Seen, number: i64, item: &Value, taken: &[i64], wrong: &mut Vec<String>) {
    let total = item["total"].as_i64().unwrap_or(-1);
    let state = item["state"].as_str().unwrap_or_default();
    let was_confirmed = !item["confirmed_at"].is_null();
    let is_ended = !matches!(state, "confirmed" | "on_air" | "finished");
    let is_charged = state == "finished_charged" || was_confirmed && state == "cancelled_member";
    let once = |is: bool| if is { vec![total] } else { Vec::new() };
    let wanted = [
        ("authorised", once(was_confirmed)),
        ("released", once(was_confirmed && is_ended)),
        ("charged", once(is_charged)),
        ("collected", once(is_charged)),
    ];
    for (kind, amounts) in wanted {
        let found = seen.entries(number, kind);
        if found != amounts {
            wrong.push(format!("{kind}: {found:?} instead of {amounts:?}: {item}"));
        }
    }
    if taken != once(is_charged) {
        wrong.push(format!("taken from the card: {taken:?}: {item}"));
    }
    if matches!(state, "held" | "on_air" | "finished") {
        wrong.push(format!("not at its end: {item}"));
    }
}

/// Exactly one mail of each kind that must come, at most one of each other.
fn audit_letters(seen: &Seen, number: i64, item: &Value, wrong: &mut Vec<String>) {
    let state = item["state"].as_str().unwrap_or_default();
    let is_accepted = !item["terms_accepted_at"].is_null();
    let is_confirmed = !item["confirmed_at"].is_null();
    let is_settled = matches!(state, "finished_charged" | "finished_waived");
    let is_cancelled = is_accepted && state.starts_with("cancelled");
    // Where the program was over before its mail could go, its ID is of no use to anybody.
    let id = match (is_accepted, state) {
        (true, "registered" | "confirmed") => 1..=1,
        (true, _) => 0..=1,
        (false, _) => 0..=0,
    };
    // Nor does anybody need to know that it was confirmed when it is over or cancelled.
    let confirmed = match (is_confirmed, state) {
        (true, "confirmed") => 1..=1,
        (true, _) => 0..=1,
        (false, _) => 0..=0,
    };
    let once = |is: bool| usize::from(is)..=usize::from(is);
    // To the member; to the friend as well where there was somebody to come.
    let cancelled =
        usize::from(is_cancelled)..=usize::from(is_cancelled) + usize::from(is_cancelled && is_confirmed);
    for (kind, wanted) in [
        ("reservation-id", id),
        ("confirmed", confirmed.clone()),
        ("invitation", confirmed),
        ("settled", once(is_settled)),
        ("cancelled", cancelled),
    ] {
        let found = seen.letters(number, kind);
        if !wanted.contains(&found) {
            wrong.push(format!("{found} mails {kind}, expected {wanted:?}: {item}"));
        }
    }
}

/// Kills until it was done often enough or long enough; returns how often.
fn kill(
    site: &mut Site,
    random: &mut Random,
    mut postgres: Option<&mut Postgres>,
) -> (u64, u64, Vec<String>) {
    let kills = count_of("SLOTCAST_KILLS", 25);
    let deadline = Instant::now() + Duration::from_secs(count_of("SLOTCAST_KILL_SECONDS", 20));
    let (mut done, mut crashes, mut panics) = (0, 0, Vec::new());
    while done < kills && Instant::now() < deadline {
        if random.per_cent(15) {
            // While it starts.
            site.launch();
            pass(Duration::from_millis(random.below(200)));
        } else {
            site.start();
            let life = if random.per_cent(50) { 300 } else { 2_000 };
            pass(Duration::from_millis(random.below(life)));
            if let Some(postgres) = postgres.as_deref_mut()
                && random.per_cent(15)
            {
                postgres.crash();
                crashes += 1;
                pass(Duration::from_millis(random.below(300)));
            }
        }
        panics.extend(site.panics());
        site.kill();
        done += 1;
    }
    (done, crashes, panics)
}

/// Tells the reservation ID that the first mail of a reservation brings.
#[track_caller]
fn reservation_ids(site: &Site) -> impl Fn(i64) -> String + Sync + use<> {
    let vault = Vault::open_or_create(&site.data().join("secret.key")).unwrap();
    move |number| vault.reservation_id(ReservationNumber(number), 1).expose().to_owned()
}

fn nothing_is_lost_or_done_twice(
    mut random: Random,
    database: Option<String>,
    mailbox: &Mailbox,
    postgres: Option<&mut Postgres>,
) {
    let stripe = FakeStripe::start(random.fork());
    let mut site = Site::make(&Wishes {
        database,
        slot: "1s",
        channels: CHANNELS,
        seats: 5,
        rate: "64kbit/s",
        reservations: "hold = \"5s\"\nslots_per_month = 1000000\nnormal_share = 1\nverify_email = false"
            .to_owned(),
        tables: format!("{}{}", stripe.config(), mailbox.config()),
    });
    site.start();
    let tokens: Vec<_> = (0..MEMBERS)
        .map(|index| site.client(100 + index).register(&format!("member{index}"), &format!("pm_{index}")))
        .collect();
    let operator = site.operator();
    let id = reservation_ids(&site);
    let notes = Notes::default();
    let people: Vec<_> = (0..CLIENTS)
        .map(|index| {
            let mut client = site.client(200 + index);
            client.show(&tokens[index % MEMBERS]);
            let (random, notes) = (random.fork(), &notes);
            Person { index, client, random, site_id: &id, notes, told: Vec::new() }
        })
        .collect();
    let (told, (kills, crashes, panics)) = thread::scope(|scope| {
        let people: Vec<_> = people.into_iter().map(|person| scope.spawn(|| person.act())).collect();
        site.kill();
        let killed = kill(&mut site, &mut random, postgres);
        site.start();
        notes.is_over.store(true, Ordering::Relaxed);
        let told: Vec<_> = people.into_iter().flat_map(|person| person.join().unwrap()).collect();
        (told, killed)
    });
    let refused = notes.unavailable.lock().unwrap().clone();
    println!("{kills} kills, {crashes} crashes of the database; refused for now: {refused:?}");
    assert!(kills >= 3, "too few kills to say anything");
    let mut members: Vec<_> = tokens
        .iter()
        .enumerate()
        .map(|(index, token)| {
            let mut client = site.client(300 + index);
            client.show(token);
            client
        })
        .collect();
    // On a connection of its own: the one before the kills is dead.
    let mut operator = operator.twin();
    let began = Instant::now();
    let is_long = kills >= LONG_RUN;
    let (seen, wrong) = settle(is_long, || {
        let seen = Seen::of(&mut operator, &mut members, &site, mailbox);
        let wrong = audit(&seen, &told, &stripe, is_long);
        (seen, wrong)
    });
    assert!(wrong.is_empty(), "{} faults:\n{}", wrong.len(), wrong[..wrong.len().min(8)].join("\n"));
    assert_eq!(notes.faults.into_inner().unwrap(), Vec::<String>::new());
    assert_eq!(panics, Vec::<String>::new());
    summary(&seen, &told, &stripe);
    println!("all was settled {:.0?} after the last kill", began.elapsed());
}

/// Looks again and again until nothing is wrong any more, as long as there is less and less of it.
fn settle(is_long: bool, mut look: impl FnMut() -> (Seen, Vec<String>)) -> (Seen, Vec<String>) {
    let still_max = if is_long { STILL_MAX_RELEASE } else { STILL_MAX };
    let began = Instant::now();
    let (mut least, mut least_at) = (usize::MAX, began);
    loop {
        let (seen, wrong) = look();
        if wrong.len() < least {
            (least, least_at) = (wrong.len(), Instant::now());
        }
        if wrong.is_empty() || least_at.elapsed() >= still_max || began.elapsed() >= SETTLED_WITHIN {
            return (seen, wrong);
        }
        pass(Duration::from_secs(1));
    }
}

/// Says what happened, and that it was enough to show something.
#[track_caller]
fn summary(seen: &Seen, told: &[Told], stripe: &FakeStripe) {
    let mut states: BTreeMap<&str, usize> = BTreeMap::new();
    for item in seen.reservations.values() {
        *states.entry(item["state"].as_str().unwrap()).or_default() += 1;
    }
    let unclear = told.iter().filter(|told| told.number.is_none() && !told.is_refused).count();
    let repeats: usize = seen.mails.values().map(|count| count - 1).sum();
    println!(
        "{} bookings asked for ({unclear} never answered), {} reservations {states:?}, {} ledger entries, {} mails \
         and {repeats} repeats of them, {} payments",
        told.len(),
        seen.reservations.len(),
        seen.ledger.len(),
        seen.mails.len(),
        stripe.intents().len()
    );
    for state in ["finished_charged", "confirmed", "cancelled_member"] {
        assert!(states.get(state).is_some_and(|count| *count > 0), "nothing became {state}");
    }
}

#[test]
fn kills_lose_nothing_and_repeat_nothing_on_sqlite_with_mails_as_files() {
    nothing_is_lost_or_done_twice(Random::of_environment(), None, &Mailbox::Folder, None);
}

#[test]
fn kills_of_server_and_database_lose_nothing_and_repeat_nothing_on_postgresql_with_smtp() {
    let Some(mut server) = postgres::start() else { return };
    let mut random = Random::of_environment();
    let mailbox = Mailbox::Server(MailServer::start(random.fork()));
    let database = server.new_database();
    nothing_is_lost_or_done_twice(random, Some(database), &mailbox, Some(&mut server));
}
