//! Lives of people who click: the scripts `browser/life-*.mjs`, each on a server of its own.
//!
//! Owns: the server, and the programs that the API made before. Invariant: a life goes the same way in English with a mouse, in
//! Japanese on a phone, by keyboard alone, and without script.

use std::{
    env,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{self, Command},
    time::Duration,
};

use serde_json::{Value, json};
use slotcast_reservation::{domain::words::ReservationNumber, vault::Vault};
use slotcast_testing::{
    bookings::{
        client::Client,
        now_seconds,
        site::{Site, Wishes},
        time_text,
    },
    feeder::Feeder,
    players::Lower,
    postgres,
    process::Process,
    skip, wait_for,
};

use crate::stage;

const SLOT_SECONDS: i64 = 60;

/// A server with three channels and slots of a minute.
pub(crate) fn site(database: Option<String>, verify_email: bool, tables: &str) -> Site {
    let mut site = Site::make(&Wishes {
        database,
        slot: "1m",
        channels: 3,
        seats: 5,
        rate: "2Mbit/s",
        reservations: format!(
            "slots_per_month = 1000000\nverify_email = {verify_email}\ntrusted_proxies = [\"127.0.0.1\"]"
        ),
        tables: tables.to_owned(),
    });
    site.start();
    site
}

/// How people come: each of the four is a visitor of its own.
fn looks() -> Value {
    json!([
        { "lang": "en", "width": 1280, "hand": "mouse", "script": true },
        { "lang": "ja", "width": 360, "hand": "mouse", "script": true },
        { "lang": "en", "width": 1280, "hand": "keys", "script": true },
        { "lang": "en", "width": 1280, "hand": "mouse", "script": false },
    ])
}

/// Books and confirms: the program's number and reservation ID.
#[track_caller]
fn confirmed(site: &Site, member: &mut Client, channel: u16, start: i64, program: &Value) -> (i64, String) {
    let end = start + 20 * SLOT_SECONDS;
    let window = json!({ "start": time_text(start), "end": time_text(end) });
    let wish = json!({ "channel": channel, "window": window, "program": program });
    let key = format!("channel-{channel}");
    let booked = member.ask("POST", "/reservations", Some(&wish), &[("Idempotency-Key", &key)]).unwrap();
    let number = booked.number().unwrap_or_else(|| panic!("{booked:?}"));
    let vault = Vault::open_or_create(&site.data().join("secret.key")).unwrap();
    let id = vault.reservation_id(ReservationNumber(number), 1).expose().to_owned();
    for (step, body) in [("accept-terms", json!({})), ("reconfirm", json!({ "reservation_id": id }))] {
        let reply = member.post(&format!("/reservations/{number}/{step}"), &body).unwrap();
        assert_eq!(reply.status, 200, "{step}: {reply:?}");
    }
    (number, id)
}

#[track_caller]
fn run(tools: &PathBuf, name: &str, scene: &Value) {
    let (succeeded, said) = stage::run(tools, name, scene);
    assert!(succeeded, "{said}");
}

#[test]
fn a_visitor_finds_what_is_on_air_what_comes_and_what_it_costs() {
    let Some(tools) = stage::tools() else { return };
    let site = site(None, false, "");
    let mut member = site.client(1);
    member.register("broadcaster", "invoice");
    let now = now_seconds() / SLOT_SECONDS * SLOT_SECONDS;
    let tell = |title: &str, channel: u16, number: i64, genre: &str| {
        let url = format!("rtsp://{}/channel{channel}", site.viewers);
        json!({ "title": title, "number": number.to_string(), "url": url, "genre": genre })
    };
    let evening =
        json!({ "title": "Evening concert", "genre": "Music", "outline": "Strings", "open_level": "public" });
    let (on_air, id) = confirmed(&site, &mut member, 1, now, &evening);
    let harbour = json!({ "title": "Harbour walk", "genre": "Travel", "open_level": "public" });
    let (silent, _) = confirmed(&site, &mut member, 2, now, &harbour);
    let reunion =
        json!({ "title": "Family reunion", "open_level": "password", "password": "sesame-and-more" });
    let (later, _) = confirmed(&site, &mut member, 3, now + 7_200, &reunion);
    let _feeder = Feeder::start_at(site.links, "channel1", &id, Lower::Tcp);
    let scene = json!({
        "base": format!("http://{}", site.http),
        "looks": looks(),
        "onAir": tell("Evening concert", 1, on_air, "Music"),
        "silent": tell("Harbour walk", 2, silent, "Travel"),
        "later": tell("Family reunion", 3, later, ""),
    });
    run(&tools, "life-visitor", &scene);
}

#[test]
fn a_member_registers_verifies_logs_in_and_sets_a_forgotten_password() {
    let Some(tools) = stage::tools() else { return };
    let site = site(None, true, "");
    run(&tools, "life-member", &members_scene(&site, &looks(), &site.data().join("mail")));
}

#[test]
fn a_member_does_so_on_postgresql_with_a_mail_server_too() {
    let Some(tools) = stage::tools() else { return };
    let Some(postgres) = postgres::shared() else { return };
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("mails");
    let Some((_server, address)) = mail_server(&folder) else { return };
    let mail = format!("[mail]\nserver = \"smtp://{address}\"\nfrom = \"tv@example.com\"\n");
    let site = site(Some(postgres.new_database()), true, &mail);
    let looks = json!([{ "lang": "ja", "width": 1280, "hand": "mouse", "script": true }]);
    run(&tools, "life-member", &members_scene(&site, &looks, &folder));
}

fn members_scene(site: &Site, looks: &Value, mail: &Path) -> Value {
    json!({ "base": format!("http://{}", site.http), "looks": looks, "mail": mail })
}

/// aiosmtpd, which keeps what it is given as a Maildir in `folder`, and its address; `None`: it was said that it is missing.
fn mail_server(folder: &Path) -> Option<(Process, SocketAddr)> {
    let program = env::var_os("SLOTCAST_TEST_TOOLS").map(|tools| Path::new(&tools).join("aiosmtpd"));
    let Some(program) = program.filter(|program| program.exists()) else {
        skip("SLOTCAST_TEST_TOOLS has no aiosmtpd");
        return None;
    };
    // Free a moment ago, on an address that no other test uses.
    let [_, high, middle, low] = process::id().to_be_bytes();
    let ip = Ipv4Addr::new(127, 160 | (high & 0x1f), middle, low);
    let address = TcpListener::bind((ip, 0)).unwrap().local_addr().unwrap();
    let mut command = Command::new(program);
    command.args(["-n", "-l", &address.to_string(), "-c", "aiosmtpd.handlers.Mailbox"]).arg(folder);
    let server = Process::spawn("aiosmtpd", &mut command);
    let answers = wait_for(Duration::from_secs(30), || TcpStream::connect(address).ok());
    assert!(answers.is_some(), "aiosmtpd does not answer on {address}");
    Some((server, address))
}
