//! What must stay secret is neither in the most talkative log nor in the database of a server that was used.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpStream},
    process::Command,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;
use slotcast_reservation::{domain::words::ReservationNumber, vault::Vault};
use slotcast_testing::{
    bookings::{
        client::{Client, draft},
        now_seconds,
        site::{Site, Wishes},
    },
    process::Process,
    program, wait_for,
};

const MEMBERS_PASSWORD: &str = "a long pass phrase";
const WRONG_PASSWORD: &str = "never-the-right-password";
const VIEWERS_PASSWORD: &str = "sesame-for-viewers";
const WRONG_ID: &str = "00000-00000-00000-00000-000000";
const PASSPHRASE: &str = "a passphrase of the terminal";
const TITLE: &str = "A title that may be seen";

/// Sends one RTSP request; returns the status of its answer.
fn rtsp(address: SocketAddr, request: &str) -> u16 {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    (&stream).write_all(request.as_bytes()).unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    line.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{line}"))
}

/// A broadcaster with that reservation ID.
fn push(site: &Site, id: &str) -> Process {
    let mut command = Command::new(program());
    command.args(["load", "push", "--bit-rate", "40kbit/s", "--seconds", "30"]);
    command.arg(format!("rtsp://live:{id}@{}/channel1", site.links));
    Process::spawn("push", &mut command)
}

/// Logs in, books with a password, reconfirms, takes the settings; with the right secrets and with wrong ones. Returns
/// all that is secret.
fn use_it(site: &Site) -> Vec<String> {
    let mut member = site.client(1);
    let token = member.register("taro", "pm_of_taro");
    let guess = json!({ "user_id": "taro", "password": WRONG_PASSWORD });
    assert_eq!(site.client(2).post("/session", &guess).unwrap().status, 401);
    let mut stranger = Client::new(site.http, 3);
    stranger.show("a-token-that-nobody-has");
    assert_eq!(stranger.get("/me").unwrap().status, 401);

    let start = now_seconds() + 4;
    let mut wish = draft(1, start, start + 30, TITLE);
    wish["program"]["open_level"] = "password".into();
    wish["program"]["password"] = VIEWERS_PASSWORD.into();
    let booked = member.post("/reservations", &wish).unwrap();
    let number = booked.number().unwrap_or_else(|| panic!("{booked:?}"));
    let vault = Vault::open_or_create(&site.data().join("secret.key")).unwrap();
    let id = vault.reservation_id(ReservationNumber(number), 1).expose().to_owned();
    let place = format!("/reservations/{number}");
    assert_eq!(member.ask("POST", &format!("{place}/accept-terms"), None, &[]).unwrap().status, 200);
    for (typed, status) in [(WRONG_ID, 403), (&*id, 200)] {
        let reply = member.post(&format!("{place}/reconfirm"), &json!({ "reservation_id": typed })).unwrap();
        assert_eq!(reply.status, status, "{reply:?}");
    }
    let wish = json!({ "reservation_id": id, "seal": "passphrase", "passphrase": PASSPHRASE });
    let settings = member.post(&format!("{place}/settings"), &wish).unwrap();
    assert_eq!(settings.status, 200, "{settings:?}");

    let _broadcaster = push(site, &id);
    let is_on_air = wait_for(Duration::from_secs(60), || {
        let seen = member.get(&format!("{place}/status")).ok()?;
        (seen.body["is_on_air"] == true).then_some(())
    });
    assert!(is_on_air.is_some(), "the program does not begin");
    let refused = push(site, WRONG_ID).wait(Duration::from_secs(30));
    assert!(!refused.status.success(), "{}", refused.text());
    let viewers = site.viewers;
    for (password, status) in [(VIEWERS_PASSWORD, 200), (WRONG_PASSWORD, 401)] {
        let url = format!("rtsp://{viewers}/channel1?token={password}");
        assert_eq!(rtsp(viewers, &format!("DESCRIBE {url} RTSP/1.0\r\nCSeq: 1\r\n\r\n")), status);
        let basic = STANDARD.encode(format!("viewer:{password}"));
        let header = format!("Authorization: Basic {basic}\r\n");
        rtsp(viewers, &format!("DESCRIBE rtsp://{viewers}/channel1 RTSP/1.0\r\nCSeq: 1\r\n{header}\r\n"));
    }
    let all = [MEMBERS_PASSWORD, WRONG_PASSWORD, VIEWERS_PASSWORD, WRONG_ID, PASSPHRASE, &id, &token];
    all.into_iter().chain(["a-token-that-nobody-has"]).map(str::to_owned).collect()
}

/// The secrets of `all` that stand in `bytes`, also in base64 beside a name.
fn found<'s>(all: &'s [String], bytes: &[u8]) -> Vec<&'s str> {
    let has = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    let is_there = |secret: &&str| {
        let names = ["live", "viewer"].map(|name| STANDARD.encode(format!("{name}:{secret}")));
        has(secret) || names.iter().any(|basic| has(basic))
    };
    all.iter().map(String::as_str).filter(is_there).collect()
}

#[test]
fn secrets_are_neither_in_the_log_nor_in_the_database() {
    let mut site = Site::make(&Wishes {
        database: None,
        slot: "1s",
        channels: 1,
        seats: 5,
        rate: "64kbit/s",
        reservations: String::new(),
        tables: String::new(),
    });
    site.change("level = \"warn\"", "level = \"trace\"");
    site.start();
    let secrets = use_it(&site);
    let log = site.end().text();
    for line in ["DEBUG", "slotcast runs", "id_wrong"] {
        assert!(log.contains(line), "{line} is not in the log:\n{log}");
    }
    assert_eq!(found(&secrets, log.as_bytes()), Vec::<&str>::new(), "{log}");

    let files = fs::read_dir(site.data()).unwrap().map(|file| file.unwrap().path());
    let database: Vec<_> = files.filter(|path| path.to_string_lossy().contains(".db")).collect();
    let bytes: Vec<u8> = database.iter().flat_map(|path| fs::read(path).unwrap()).collect();
    assert_eq!(found(&[TITLE.to_owned()], &bytes), [TITLE], "this is not where it is kept: {database:?}");
    assert_eq!(found(&secrets, &bytes), Vec::<&str>::new());
}
