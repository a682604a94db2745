//! Every key of `print-config`, by table: a value that is not its default changes its own field and no other.
//!
//! Owns: [`KEYS`], the table, and [`fields`], what the configuration has. A key or a field that is missing in the table
//! fails the tests, and so do two keys that are read into each other's fields.

use std::{collections::BTreeMap, fs, path::Path};

use slotcast::config::{
    AccessPort, COMMENTED_DEFAULT, Config, Environment, Http, Links, Log, Mail, Payments, Reservations,
    Retention, Server, Viewers,
};
use slotcast_admission::{Channel, GuessLimits, ProgramSpec, Secret};
use toml::{Table, Value};

/// Key, another value as TOML, the field that it changes, and that field afterwards.
type Row = (&'static str, &'static str, &'static str, &'static str);

/// A key that has the name of its field.
const fn key(key: &'static str, value: &'static str, becomes: &'static str) -> Row {
    (key, value, key, becomes)
}

/// All keys. A value of `@` is the name of a file that holds `from a file`.
const KEYS: &[Row] = &[
    key("server.slot", "'15m'", "900s"),
    key("server.currency", "'EUR'", "EUR"),
    key("server.uplink", "'2Gbit/s'", "2Gbit/s"),
    key("server.oversell", "true", "true"),
    key("server.drain", "'3s'", "3s"),
    key("server.ntp", "['ntp.example.com', '[::1]:1123']", "[ntp.example.com:123, [::1]:1123]"),
    key("viewers.listen", "'127.0.0.2:9554'", "127.0.0.2:9554"),
    key("viewers.udp", "false", "false"),
    key("viewers.rtp_ports", "[9000, 9001]", "[9000, 9001]"),
    key("viewers.workers", "3", "Fixed(3)"),
    key("viewers.pin", "false", "false"),
    key("viewers.gso", "'off'", "Off"),
    key("viewers.connections", "99", "99"),
    key("viewers.per_address", "98", "98"),
    key("viewers.session_timeout", "'61s'", "61s"),
    key("viewers.slow_viewer", "'2s'", "2s"),
    key("viewers.stalled_viewer", "'11s'", "11s"),
    key("viewers.guesses_per_address", "97", "97"),
    key("viewers.guesses_per_program", "96", "96"),
    key("viewers.guess_window", "'95s'", "95s"),
    key("links.listen", "['127.0.0.2:9555', '[::1]:9556']", "[127.0.0.2:9555, [::1]:9556]"),
    key("links.rtp_ports", "[]", "None"),
    key("links.lines", "94", "94"),
    key("links.per_address", "93", "93"),
    key("links.before", "'92s'", "92s"),
    key("links.after", "'91s'", "91s"),
    key("links.gate_deadline", "'90s'", "90s"),
    key("links.waiting", "89", "89"),
    key("links.waiting_per_address", "88", "88"),
    key("links.burst", "'87s'", "87s"),
    key("http.listen", "'127.0.0.2:9080'", "Some(127.0.0.2:9080)"),
    key("metrics.listen", "'127.0.0.2:9100'", "Some(127.0.0.2:9100)"),
    key("stills.ffmpeg", "'/usr/bin/ffmpeg'", "Some(/usr/bin/ffmpeg)"),
    key("reservations.enabled", "false", "false"),
    key("reservations.data", "'elsewhere'", "FOLDER/elsewhere"),
    key("reservations.database", "'postgres://u:p@h/other'", "Some(postgres://u:p@h/other)"),
    ("reservations.database_file", "'@'", "reservations.database", "Some(from a file)"),
    key("reservations.provider", "'Evening TV'", "Evening TV"),
    key("reservations.public_url", "'https://tv.example.com'", "https://tv.example.com"),
    key("reservations.viewers_host", "'watch.example.com'", "watch.example.com"),
    key("reservations.access_ports", "['east=east.example.com:8555']", "[east=east.example.com:8555]"),
    key("reservations.zone", "'Asia/Tokyo'", "Some(Asia/Tokyo)"),
    key("reservations.slots_per_month", "86", "86"),
    key("reservations.slots_per_reservation", "85", "85"),
    key("reservations.ahead", "'84h'", "302400s"),
    key("reservations.hold", "'83s'", "83s"),
    key("reservations.reconfirm_before", "'82s'", "82s"),
    key("reservations.reconfirm_grace", "'81s'", "81s"),
    key("reservations.remind_before", "'80s'", "80s"),
    key("reservations.extend_from", "'79s'", "79s"),
    key("reservations.members_only", "true", "true"),
    key("reservations.list_unconfirmed", "true", "true"),
    key("reservations.verify_email", "true", "Some(true)"),
    key("reservations.friends", "48", "48"),
    key("reservations.normal_share", "77", "77"),
    key("reservations.terms_file", "'terms.txt'", "Some(FOLDER/terms.txt)"),
    key("reservations.trusted_proxies", "['192.0.2.1', '192.0.2.2']", "[192.0.2.1/32, 192.0.2.2/32]"),
    key("mail.from", "'tv@example.com'", "tv@example.com"),
    key("mail.server", "'smtps://mail.example.com'", "Some(smtps://mail.example.com)"),
    key("mail.user", "'tv'", "Some(tv)"),
    key("mail.password", "'mail-secret'", "Some(mail-secret)"),
    ("mail.password_file", "'@'", "mail.password", "Some(from a file)"),
    key("retention.mails", "'71d'", "6134400s"),
    key("retention.samples", "'72d'", "6220800s"),
    key("retention.slots", "'73d'", "6307200s"),
    key("retention.expired", "'74d'", "6393600s"),
    key("payments.way", "'invoice'", "invoice"),
    key("payments.stripe_key", "'sk_other'", "sk_other"),
    ("payments.stripe_key_file", "'@'", "payments.stripe_key", "from a file"),
    key("payments.stripe_webhook_secret", "'whsec_other'", "whsec_other"),
    ("payments.stripe_webhook_secret_file", "'@'", "payments.stripe_webhook_secret", "from a file"),
    key("payments.stripe_url", "'https://stripe.example.com'", "https://stripe.example.com"),
    key("webhooks.allow", "['10.0.0.0/8']", "[10.0.0.0/8]"),
    key("log.level", "'debug'", "debug"),
    key("log.format", "'json'", "Json"),
    key("channels.number", "5", "5"),
    key("channels.name", "'other'", "other"),
    key("channels.seats", "51", "51"),
    key("channels.rate", "'3Mbit/s'", "3Mbit/s"),
    key("channels.toll", "76", "76"),
    key("channels.gather", "'5ms'", "5ms"),
    key("programs.channel", "7", "7"),
    key("programs.start", "'2026-11-22T09:50:00Z'", "2026-11-22T09:50:00Z"),
    key("programs.end", "'2026-11-22T10:40:00Z'", "2026-11-22T10:40:00Z"),
    key("programs.reservation_id", "'another-reservation'", "another-reservation"),
    ("programs.reservation_id_file", "'@'", "programs.reservation_id", "from a file"),
    key("programs.open_level", "'secret'", "Secret"),
    key("programs.password", "'other'", "Some(other)"),
    ("programs.password_file", "'@'", "programs.password", "Some(from a file)"),
    key("programs.title", "'Morning concert'", "Morning concert"),
];

/// All reservation IDs of these tests: a link key does not give its own away.
const RESERVATION_IDS: [&str; 3] = ["0123456789abcdef", "another-reservation", "from a file"];

/// What the rows start from: the printed default, with what only works together.
fn base(row: &Row) -> Table {
    let mut base: Table = toml::from_str(COMMENTED_DEFAULT).unwrap();
    let more = if row.0.starts_with("programs.") {
        "[[channels]]\nnumber = 4\nname = 'channel4'\nseats = 50\nrate = '2Mbit/s'\ntoll = 10000\n\
         [[channels]]\nnumber = 7\nname = 'channel7'\nseats = 50\nrate = '2Mbit/s'\ntoll = 10000\n\
         [[programs]]\nchannel = 4\nstart = '2026-11-22T10:00:00Z'\nend = '2026-11-22T10:30:00Z'\n\
         reservation_id = '0123456789abcdef'\nopen_level = 'password'\npassword = 'p'\ntitle = 'Evening concert'\n"
    } else {
        "[reservations]\nenabled = true\n\
         [payments]\nway = 'stripe'\nstripe_key = 'sk_1'\nstripe_webhook_secret = 'whsec_1'\n"
    };
    let more: Table = toml::from_str(more).unwrap();
    for (name, value) in more {
        match (base.get_mut(&name), value) {
            (Some(Value::Table(there)), Value::Table(table)) => there.extend(table),
            (_, value) => drop(base.insert(name, value)),
        }
    }
    base
}

/// The table that has the key; the first of `[[channels]]` and `[[programs]]`.
fn table_of<'t>(file: &'t mut Table, name: &str) -> &'t mut Table {
    match file.get_mut(name).unwrap() {
        Value::Array(tables) => tables[0].as_table_mut().unwrap(),
        table => table.as_table_mut().unwrap(),
    }
}

fn read(file: &Table, folder: &Path, environment: &Environment) -> BTreeMap<&'static str, String> {
    let text = toml::to_string(file).unwrap();
    match Config::read("file", &text, folder, environment) {
        Ok(checked) => fields(checked.config, folder),
        Err(problems) => panic!("{problems}\nin:\n{text}"),
    }
}

/// As an environment variable has it.
fn as_variable(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(as_variable).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

#[test]
fn each_key_changes_its_own_field_from_the_file_and_from_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("secret"), "from a file\n").unwrap();
    let [sold, written] = ["server.", "programs."]
        .map(|row| read(&base(&(row, "", "", "")), folder.path(), &Environment::default()));
    for row in KEYS {
        let (path, value, field, becomes) = row;
        let before = if path.starts_with("programs.") { &written } else { &sold };
        let (table, key) = path.split_once('.').unwrap();
        let value = format!("x = {}", if *value == "'@'" { "'secret'" } else { value });
        let value = toml::from_str::<Table>(&value).unwrap().remove("x").unwrap();
        let mut file = base(row);
        if let Some(plain) = key.strip_suffix("_file").filter(|_| *field != *path) {
            table_of(&mut file, table).remove(plain);
        }
        let index = if table == "channels" || table == "programs" { "0__" } else { "" };
        let name = format!("SLOTCAST_{table}__{index}{key}").to_uppercase();
        let environment = [(name, as_variable(&value))].into_iter().collect();
        let from_environment = read(&file, folder.path(), &environment);
        table_of(&mut file, table).insert(key.to_owned(), value);
        let from_file = read(&file, folder.path(), &Environment::default());
        for (after, source) in [(from_file, "file"), (from_environment, "environment")] {
            let is_other = |name: &&&str| after.get(**name).is_some_and(|value| *value != before[**name]);
            let changed: Vec<_> = before.keys().filter(is_other).collect();
            assert_eq!(changed, [field], "{path} from the {source}");
            let becomes = becomes.replace("FOLDER", &folder.path().display().to_string());
            assert_eq!(after[field], becomes, "{path} from the {source}");
        }
    }
}

#[test]
fn the_table_has_every_key_that_is_printed_and_no_other() {
    let mut printed = Vec::new();
    let mut table = "";
    for line in COMMENTED_DEFAULT.lines() {
        let line = line.strip_prefix("# ").unwrap_or(line);
        if let Some(name) = line.strip_prefix('[') {
            table = name.trim_start_matches('[').split(']').next().unwrap();
            continue;
        }
        let is_key =
            |name: &&str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        let alternative = line.split_once("# or: ").map(|(_, rest)| rest);
        for text in [Some(line), alternative].into_iter().flatten() {
            if let Some(name) = text.split_once(" = ").map(|(name, _)| name).filter(is_key) {
                printed.push(format!("{table}.{name}"));
            }
        }
    }
    printed.sort_unstable();
    let mut known: Vec<_> = KEYS.iter().map(|row| row.0).collect();
    known.sort_unstable();
    assert_eq!(printed, known);
}

#[test]
fn the_table_has_every_field() {
    let folder = Path::new("");
    let mut all = BTreeMap::new();
    for row in ["server.", "programs."] {
        all.extend(read(&base(&(row, "", "", "")), folder, &Environment::default()));
    }
    let mut known: Vec<_> = KEYS.iter().map(|row| row.2).collect();
    known.sort_unstable();
    known.dedup();
    assert_eq!(all.into_keys().collect::<Vec<_>>(), known);
}

fn debug(value: impl std::fmt::Debug) -> String {
    format!("{value:?}")
}

fn some(secret: Option<Secret>) -> String {
    secret.map_or_else(|| "None".to_owned(), |secret| format!("Some({})", secret.expose()))
}

/// Every field of `config` by the name of its key, secrets in the open. It names all fields, so that a new one does
/// not compile until it stands here.
fn fields(config: Config, folder: &Path) -> BTreeMap<&'static str, String> {
    let Config { server, viewers, links, http, metrics, stills, log, channels, programs, reservations } =
        config;
    let mut fields = BTreeMap::new();
    let Server { slot, currency, uplink, oversell, drain, ntp } = server;
    fields.extend([
        ("server.slot", debug(slot)),
        ("server.currency", currency),
        ("server.uplink", uplink.to_string()),
        ("server.oversell", debug(oversell)),
        ("server.drain", debug(drain)),
        ("server.ntp", format!("[{}]", ntp.join(", "))),
    ]);
    let Viewers {
        listen,
        udp,
        rtp_ports,
        workers,
        pin,
        gso,
        connections,
        per_address,
        session_timeout,
        slow_viewer,
        stalled_viewer,
        guesses,
    } = viewers;
    let GuessLimits { per_address: guesses_per_address, per_target, window } = guesses;
    fields.extend([
        ("viewers.listen", debug(listen)),
        ("viewers.udp", debug(udp)),
        ("viewers.rtp_ports", debug(rtp_ports)),
        ("viewers.workers", debug(workers)),
        ("viewers.pin", debug(pin)),
        ("viewers.gso", debug(gso)),
        ("viewers.connections", debug(connections)),
        ("viewers.per_address", debug(per_address)),
        ("viewers.session_timeout", debug(session_timeout)),
        ("viewers.slow_viewer", debug(slow_viewer)),
        ("viewers.stalled_viewer", debug(stalled_viewer)),
        ("viewers.guesses_per_address", debug(guesses_per_address)),
        ("viewers.guesses_per_program", debug(per_target)),
        ("viewers.guess_window", debug(window)),
    ]);
    fields.extend(link_fields(links));
    let Http { listen } = http;
    let Log { level, format } = log;
    fields.extend([
        ("http.listen", debug(listen)),
        ("metrics.listen", debug(metrics.listen)),
        ("stills.ffmpeg", format!("{:?}", stills.ffmpeg).replace('"', "")),
        ("log.level", level),
        ("log.format", debug(format)),
    ]);
    if let Some(Channel { number, name, seats, class, toll, gather }) = channels.into_iter().next() {
        fields.extend([
            ("channels.number", number.to_string()),
            ("channels.name", name.to_string()),
            ("channels.seats", seats.to_string()),
            ("channels.rate", class.to_string()),
            ("channels.toll", toll.0.to_string()),
            ("channels.gather", debug(gather)),
        ]);
    }
    fields.extend(programs.into_iter().next().into_iter().flat_map(program_fields));
    fields.insert("reservations.enabled", debug(reservations.is_some()));
    if let Some(reservations) = reservations {
        fields.extend(reservation_fields(reservations, folder));
    }
    fields
}

fn link_fields(links: Links) -> [(&'static str, String); 10] {
    let Links {
        listen,
        rtp_ports,
        lines,
        per_address,
        before,
        after,
        gate_deadline,
        waiting,
        waiting_per_address,
        burst,
    } = links;
    [
        ("links.listen", debug(listen)),
        ("links.rtp_ports", debug(rtp_ports)),
        ("links.lines", debug(lines)),
        ("links.per_address", debug(per_address)),
        ("links.before", debug(before)),
        ("links.after", debug(after)),
        ("links.gate_deadline", debug(gate_deadline)),
        ("links.waiting", debug(waiting)),
        ("links.waiting_per_address", debug(waiting_per_address)),
        ("links.burst", debug(burst)),
    ]
}

fn program_fields(program: ProgramSpec) -> [(&'static str, String); 7] {
    let ProgramSpec {
        // Made of channel, start and reservation ID, and of the window and `[links]`: `config.rs` tests them.
        id: _,
        connect: _,
        // A program of the file has those of its channel.
        seats: None,
        class: None,
        channel,
        window,
        title,
        open_level,
        password,
        link_key,
    } = program
    else {
        panic!("a program of the file has seats or a class of its own");
    };
    let id = RESERVATION_IDS.into_iter().find(|id| link_key.matches_token(id));
    [
        ("programs.channel", channel.to_string()),
        ("programs.start", window.start().to_string()),
        ("programs.end", window.end().to_string()),
        ("programs.reservation_id", id.unwrap_or("another one").to_owned()),
        ("programs.open_level", debug(open_level)),
        ("programs.password", some(password)),
        ("programs.title", title),
    ]
}

fn reservation_fields(reservations: Reservations, folder: &Path) -> Vec<(&'static str, String)> {
    let Reservations {
        data,
        database,
        provider,
        public_url,
        viewers_host,
        access_ports,
        zone,
        slots_per_month,
        slots_per_reservation,
        ahead,
        hold,
        reconfirm_before,
        reconfirm_grace,
        remind_before,
        extend_from,
        members_only,
        list_unconfirmed,
        verify_email,
        friends,
        normal_share,
        terms_file,
        trusted_proxies,
        mail,
        payments,
        retention,
        webhook_networks,
    } = reservations;
    assert!(data.starts_with(folder));
    let port = |port: &AccessPort| format!("{}={}:{}", port.name, port.host, port.port);
    let ports: Vec<_> = access_ports.iter().map(port).collect();
    let terms = terms_file.map_or_else(|| "None".to_owned(), |path| format!("Some({})", path.display()));
    let mut fields = vec![
        ("reservations.data", data.display().to_string()),
        ("reservations.database", some(database)),
        ("reservations.provider", provider),
        ("reservations.public_url", public_url),
        ("reservations.viewers_host", viewers_host),
        ("reservations.access_ports", format!("[{}]", ports.join(", "))),
        ("reservations.zone", format!("Some({})", zone.iana_name().unwrap_or("?"))),
        ("reservations.slots_per_month", debug(slots_per_month)),
        ("reservations.slots_per_reservation", debug(slots_per_reservation)),
        ("reservations.ahead", debug(ahead)),
        ("reservations.hold", debug(hold)),
        ("reservations.reconfirm_before", debug(reconfirm_before)),
        ("reservations.reconfirm_grace", debug(reconfirm_grace)),
        ("reservations.remind_before", debug(remind_before)),
        ("reservations.extend_from", debug(extend_from)),
        ("reservations.members_only", debug(members_only)),
        ("reservations.list_unconfirmed", debug(list_unconfirmed)),
        ("reservations.verify_email", debug(verify_email)),
        ("reservations.friends", debug(friends)),
        ("reservations.normal_share", debug(normal_share)),
        ("reservations.terms_file", terms),
        ("reservations.trusted_proxies", debug(trusted_proxies)),
        ("webhooks.allow", debug(webhook_networks)),
    ];
    let Mail { from, server, user, password } = mail;
    fields.extend([
        ("mail.from", from.to_string()),
        ("mail.server", some(server.map(Secret::new))),
        ("mail.user", some(user.map(Secret::new))),
        ("mail.password", some(password)),
    ]);
    let Retention { mails, samples, slots, expired } = retention;
    fields.extend([
        ("retention.mails", debug(mails)),
        ("retention.samples", debug(samples)),
        ("retention.slots", debug(slots)),
        ("retention.expired", debug(expired)),
    ]);
    match payments {
        Payments::Invoice => fields.push(("payments.way", "invoice".to_owned())),
        Payments::Stripe { key, webhook, url } => fields.extend([
            ("payments.way", "stripe".to_owned()),
            ("payments.stripe_key", key.expose().to_owned()),
            ("payments.stripe_webhook_secret", webhook.expose().to_owned()),
            ("payments.stripe_url", url),
        ]),
    }
    fields
}
