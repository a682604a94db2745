//! The settings file as a document: what is written is read back the same, and what comes from outside is refused
//! with a reason, never with a panic, never with a secret.

use proptest::prelude::*;
use slotcast_core::{
    time::WallTime,
    words::{ConnectMargins, OpenLevel, Seats, Window},
};
use slotcast_settings::{
    Provider, Reserved, SettingsError, SettingsFile,
    file::{ACCESS_MAX, AccessPort, FILE_BYTES_MAX, ProgramPart, Secret, Transport},
    file_name,
};

fn access(name: &str, host: &str, transports: &[Transport]) -> AccessPort {
    AccessPort {
        name: name.to_owned(),
        host: host.parse().unwrap(),
        port: 8555.try_into().unwrap(),
        transports: transports.to_vec(),
    }
}

fn provider() -> Provider {
    Provider {
        name: "Example live".to_owned(),
        access: vec![
            access("carrier A", "a.example.com", &[Transport::Tcp, Transport::Udp]),
            access("carrier B", "2001:db8::1", &[Transport::Tcp]),
        ],
        viewers_host: "live.example.com".parse().unwrap(),
        viewers_port: 554.try_into().unwrap(),
        margins: ConnectMargins::default(),
    }
}

fn time(text: &str) -> WallTime {
    text.parse().unwrap()
}

fn reserved(title: &str, class: &str, password: Option<&str>) -> Reserved {
    Reserved {
        number: 4_711,
        id: Secret::new("7r9kq-01234-56789-abcde-fghjk-mnpqr"),
        window: Window::new(time("2026-11-22T10:00:00Z"), time("2026-11-22T11:00:00Z")).unwrap(),
        channel: "channel1".parse().unwrap(),
        seats: Seats::new(100).unwrap(),
        class: class.parse().unwrap(),
        program: ProgramPart {
            title: title.to_owned(),
            genre: "music".to_owned(),
            outline: "a concert".to_owned(),
            open_level: if password.is_some() { OpenLevel::Password } else { OpenLevel::Public },
            password: password.map(Secret::new),
            friends: ["taro@example.com", "hanako@example.com"].map(Secret::new).to_vec(),
        },
    }
}

fn make(reserved: Reserved) -> Result<SettingsFile, SettingsError> {
    SettingsFile::for_reservation(reserved, &provider(), time("2026-11-21T10:00:00.000001Z"))
}

fn settings() -> SettingsFile {
    make(reserved("The concert", "2Mbit/s", Some("p@ss:w/rd%#'"))).unwrap()
}

#[test]
fn what_is_written_is_read_back_the_same() {
    let file = settings();
    let text = file.write().unwrap();
    assert_eq!(SettingsFile::parse(text.as_bytes()), Ok(file));
}

#[test]
fn it_holds_all_that_a_terminal_needs() {
    let json: serde_json::Value = serde_json::from_str(&settings().write().unwrap()).unwrap();
    let check = |path: &str, expected: serde_json::Value| {
        assert_eq!(json.pointer(path), Some(&expected), "{path}");
    };
    check("/format", "slotcast-settings".into());
    check("/version", 1.into());
    check("/made_at", "2026-11-21T10:00:00.000001Z".into());
    check("/reservation/number", 4_711.into());
    check("/reservation/window/start", "2026-11-22T10:00:00Z".into());
    check("/reservation/connect/end", "2026-11-22T11:05:00Z".into());
    check("/ingest/kind", "rtsp".into());
    check("/ingest/path", "channel1".into());
    check("/ingest/access/1/host", "2001:db8::1".into());
    check("/ingest/access/0/transports", serde_json::json!(["tcp", "udp"]));
    check("/channel/class", 2_000_000.into());
    check("/channel/seats", 100.into());
    check("/channel/watch_url", "rtsp://live.example.com:554/channel1".into());
    check("/program/open_level", "password".into());
    check("/program/password", "p@ss:w/rd%#'".into());
    check("/program/friends/1", "hanako@example.com".into());
    // Four lines for each of the three ways in.
    assert_eq!(json["commands"]["broadcast"].as_array().unwrap().len(), 12);
    let line = json["commands"]["broadcast"][11]["line"].as_str().unwrap();
    assert!(line.contains("@[2001:db8::1]:8555/channel1"), "{line}");
    let watch = json["commands"]["watch"][0]["line"].as_str().unwrap();
    assert!(watch.contains("viewer:p%40ss%3Aw%2Frd%25%23%27@live.example.com:554"), "{watch}");
}

#[test]
fn a_class_too_small_for_any_encoder_gets_no_encoding_lines() {
    let file = make(reserved("Morse", "500bit/s", None)).unwrap();
    assert!(file.commands.obs.is_empty());
    assert!(file.commands.broadcast.iter().all(|line| line.line.expose().contains("-c copy")));
}

#[test]
fn a_class_without_room_for_a_picture_gets_no_fields_for_obs() {
    let file = make(reserved("Radio", "20kbit/s", None)).unwrap();
    assert!(file.commands.obs.is_empty());
    assert!(file.commands.broadcast.iter().any(|line| line.line.expose().contains("libopus")));
}

#[test]
fn the_files_name_is_the_reservations() {
    assert_eq!(file_name(42), "slotcast-42.json.age");
}

#[test]
fn debug_shows_no_secret() {
    let file = settings();
    let (id, password) = (file.reservation.id.expose(), "p@ss");
    let shown = format!("{file:?}");
    assert!(!shown.contains(id) && !shown.contains(password) && !shown.contains("p%40ss"), "{shown}");
    assert!(!shown.contains("taro@"), "{shown}");
}

/// The settings with one place replaced, read again.
#[track_caller]
fn refused(pointer: &str, value: serde_json::Value) -> String {
    let mut json: serde_json::Value = serde_json::from_str(&settings().write().unwrap()).unwrap();
    match json.pointer_mut(pointer) {
        Some(place) => *place = value,
        None => {
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            json.pointer_mut(parent).unwrap()[key] = value;
        }
    }
    let error = SettingsFile::parse(json.to_string().as_bytes()).unwrap_err().to_string();
    assert!(!error.contains("hunter2"), "{error}");
    error
}

#[track_caller]
fn check_refused(pointer: &str, value: impl Into<serde_json::Value>, sign: &str) {
    let error = refused(pointer, value.into());
    assert!(error.contains(sign), "{pointer}: {error}");
}

#[test]
fn an_unknown_version_is_named() {
    check_refused("/version", 2, "version 2");
    check_refused("/version", u64::MAX, "version 18446744073709551615");
    check_refused("/version", "hunter2", "expected u64");
}

#[test]
fn what_is_no_settings_file_is_told_so() {
    let texts: [&[u8]; 7] =
        [b"", b"{}", b"[]", b"null", b"age-encryption.org/v1\n", b"\xff\xfe", b"{\"format\":1}"];
    for text in texts {
        assert_eq!(SettingsFile::parse(text), Err(SettingsError::NotSettings));
    }
    check_refused("/format", "hunter2", "not a settings file");
    let deep = "[".repeat(100_000);
    assert_eq!(SettingsFile::parse(deep.as_bytes()), Err(SettingsError::NotSettings));
    let long = vec![b' '; FILE_BYTES_MAX + 1];
    assert_eq!(SettingsFile::parse(&long), Err(SettingsError::TooLong { got: FILE_BYTES_MAX + 1 }));
}

#[test]
fn bad_fields_are_refused_with_what_was_expected_and_without_their_value() {
    check_refused("/reservation/id", "hunter2 ", ".reservation.id: expected 1 to 128 letters");
    check_refused("/reservation/id", 5, "expected a string");
    check_refused("/reservation/number", 0, "1 to 2^53 - 1");
    check_refused("/reservation/number", "hunter2", "expected i64");
    check_refused("/reservation/window/start", "2026-11-22T19:00:00+09:00", "in UTC");
    check_refused("/reservation/window/end", "2026-11-22T10:00:00Z", "ends after its start");
    check_refused("/reservation/connect/start", "2026-11-22T10:30:00Z", "holds the window");
    check_refused("/ingest/kind", "hunter2", "expected `rtsp`");
    check_refused("/ingest/access", serde_json::json!([]), "1 to 8 access ports");
    check_refused("/ingest/access/1/name", "carrier A", "each name once");
    check_refused("/ingest/access/0/host", "hunter2; reboot", "expected a host's name");
    check_refused("/ingest/access/0/host", "-hunter2", "expected a host's name");
    check_refused("/ingest/access/0/port", 0, "expected a nonzero u16");
    check_refused("/ingest/access/0/transports", serde_json::json!(["tcp", "tcp"]), "each once");
    check_refused("/ingest/path", "../hunter2", "expected a name of");
    check_refused("/channel/class", 0, "bits per second");
    check_refused("/channel/seats", 0, "seats");
    for url in [
        "http://h:1/c",
        "rtsp://h/c",
        "rtsp://h:0/c",
        "rtsp://a@h:1/c",
        "rtsp://2001:db8::1:1/c",
        "rtsp://h:1/",
    ] {
        check_refused("/channel/watch_url", url, "expected an address");
    }
    check_refused("/program/title", "", "1 to 80 characters");
    check_refused("/program/title", "hunter2\n", "1 to 80 characters");
    check_refused("/program/password", "hunter2 ", "printable ASCII");
    check_refused("/program/password", serde_json::Value::Null, "unless the program is public");
    check_refused("/program/friends/0", "hunter2", "e-mail addresses");
    check_refused("/program/friends", vec!["a@example.com"; 51], "at most 50");
    check_refused("/program/hunter2", 1, "an unknown field: expected ");
    check_refused("/commands/watch/0/line", "hunter2".repeat(1_000), "1 to 4096 bytes");
    check_refused("/commands/watch/0/line", "hunter2\u{1b}[2J", "1 to 4096 bytes");
}

#[test]
fn a_public_program_with_a_password_is_refused() {
    let mut reserved = reserved("t", "64kbit/s", Some("hunter2"));
    reserved.program.open_level = OpenLevel::Public;
    let error = make(reserved).unwrap_err();
    assert!(error.to_string().contains(".program.password"), "{error}");
}

#[test]
fn a_provider_that_passes_its_check_never_keeps_a_member_from_a_file() {
    let longest = "x".repeat(250);
    let port = |at: usize| access(&format!("{at:0100}"), &longest, &[Transport::Tcp, Transport::Udp]);
    let provider = |count: usize| Provider {
        name: "生".repeat(100),
        access: (0..count).map(port).collect(),
        viewers_host: longest.parse().unwrap(),
        ..provider()
    };
    let mut largest = reserved(&"'".repeat(80), "2Mbit/s", Some(&"'".repeat(64)));
    largest.program.friends = (0..50).map(|at| Secret::new(format!("{at:0241}@example.com"))).collect();
    assert_eq!(provider(ACCESS_MAX).check(), Ok(()));
    let file =
        SettingsFile::for_reservation(largest, &provider(ACCESS_MAX), time("2026-11-21T10:00:00Z")).unwrap();
    let text = file.write().unwrap();
    assert_eq!(SettingsFile::parse(text.as_bytes()), Ok(file));

    let refused = |provider: Provider| provider.check().unwrap_err().to_string();
    assert!(refused(provider(ACCESS_MAX + 1)).contains("1 to 8 access ports"));
    assert!(refused(provider(0)).contains("1 to 8 access ports"));
    let twice = Provider { access: vec![port(1), port(1)], ..provider(1) };
    assert!(refused(twice).contains("each name once"));
    assert!(refused(Provider { name: "x".repeat(101), ..provider(1) }).contains("1 to 100 characters"));
}

proptest! {
    #[test]
    fn any_title_and_password_survive_the_way(
        title in "[^\\p{Cc}]{1,80}",
        password in proptest::option::of("[!-~]{1,64}"),
        class in 1_u64..1_000_000_000_000,
    ) {
        let file = make(reserved(&title, &format!("{class}bit/s"), password.as_deref())).unwrap();
        let text = file.write().unwrap();
        prop_assert_eq!(SettingsFile::parse(text.as_bytes()), Ok(file));
    }

    #[test]
    fn bytes_from_outside_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(SettingsFile::parse(&bytes).is_err());
    }

    #[test]
    fn a_damaged_file_never_panics_and_what_is_accepted_can_be_written(
        at in any::<proptest::sample::Index>(), byte in any::<u8>(), cut in any::<proptest::sample::Index>(),
    ) {
        let mut text = settings().write().unwrap().into_bytes();
        let place = at.index(text.len());
        text[place] = byte;
        if let Ok(file) = SettingsFile::parse(&text) {
            prop_assert_eq!(SettingsFile::parse(file.write().unwrap().as_bytes()), Ok(file));
        }
        text.truncate(cut.index(text.len()));
        let _ = SettingsFile::parse(&text);
    }
}
