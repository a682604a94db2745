//! What an operator may write, what is refused, and with which words at which line.

use std::{fs, path::Path, time::Duration};

use slotcast::config::{COMMENTED_DEFAULT, Checked, Config, Environment, Place, Problems, Severity, Workers};
use slotcast_core::words::OpenLevel;

/// One channel and nothing else; the next line is the 6th.
const CHANNEL: &str = "[[channels]]\nnumber = 4\nname = \"channel4\"\nseats = 50\nrate = \"2Mbit/s\"\n";

/// A program on it that is right; the next line is the 11th.
const PROGRAM: &str = "[[programs]]\nchannel = 4\nstart = \"2026-11-22T10:00:00Z\"\nend = \"2026-11-22T10:30:00Z\"\n\
                       reservation_id = \"0123456789abcdef\"\n";

#[track_caller]
fn good(text: &str) -> Checked {
    match Config::parse(text) {
        Ok(checked) => checked,
        Err(problems) => panic!("refused:\n{problems}\nin:\n{text}"),
    }
}

#[track_caller]
fn bad(text: &str) -> Problems {
    match Config::parse(text) {
        Ok(_) => panic!("accepted:\n{text}"),
        Err(problems) => problems,
    }
}

/// `text` is refused with exactly one error, at `line`, whose words hold `words`.
#[track_caller]
fn refused(text: &str, line: usize, words: &str) {
    let problems = bad(text);
    let errors: Vec<_> = problems.iter().filter(|problem| problem.severity == Severity::Error).collect();
    assert_eq!(errors.len(), 1, "expected one error:\n{problems}");
    assert_eq!(errors[0].place, Place::Line(line), "{problems}");
    assert!(errors[0].text.contains(words), "expected {words:?} in:\n{problems}");
}

/// `text` is accepted with exactly one warning, at `line`, whose words hold `words`.
#[track_caller]
fn warned(text: &str, line: usize, words: &str) {
    let warnings = good(text).warnings;
    let all: Vec<_> = warnings.iter().collect();
    assert_eq!(all.len(), 1, "expected one warning:\n{warnings}");
    assert_eq!((all[0].severity, &all[0].place), (Severity::Warning, &Place::Line(line)), "{warnings}");
    assert!(all[0].text.contains(words), "expected {words:?} in:\n{warnings}");
}

#[track_caller]
fn with_environment(text: &str, variables: &[(&str, &str)]) -> Result<Checked, Problems> {
    let environment: Environment =
        variables.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    Config::read("file", text, Path::new(""), &environment)
}

#[test]
fn the_commented_default_is_right_and_is_what_an_empty_file_means() {
    let printed = good(COMMENTED_DEFAULT);
    assert!(printed.warnings.is_empty(), "{}", printed.warnings);
    let empty = good(CHANNEL);
    let mut printed = printed.config;
    printed.channels[0].toll = empty.config.channels[0].toll;
    assert_eq!(format!("{printed:?}"), format!("{:?}", empty.config));
}

#[test]
fn every_key_of_the_commented_default_is_explained() {
    let unexplained: Vec<_> = COMMENTED_DEFAULT
        .lines()
        .filter(|line| line.contains(" = ") && !line.starts_with('#') && !line.contains(" # "))
        .collect();
    assert!(unexplained.is_empty(), "{unexplained:?}");
}

#[test]
fn the_shipped_tables_are_right() {
    for name in ["classic.toml", "video.toml"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name);
        let checked =
            Config::load(&path, &Environment::default()).unwrap_or_else(|problems| panic!("{problems}"));
        assert!(checked.warnings.is_empty(), "{}", checked.warnings);
        assert_eq!(checked.config.channels.len(), 7);
        assert_eq!(checked.config.links.lines, 14);
    }
}

#[test]
fn relative_names_stand_beside_the_file() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("beside-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join("slotcast.toml");
    let sold = |keys: &str| {
        fs::write(&path, format!("[reservations]\nenabled = true\n{keys}")).unwrap();
        Config::load(&path, &Environment::default()).unwrap().config.reservations.unwrap()
    };
    assert_eq!(sold("").data, folder.join("slotcast-data"));
    let named = sold("data = \"/var/lib/slotcast\"\nterms_file = \"terms.txt\"\n");
    assert_eq!(
        (named.data.as_path(), named.terms_file),
        (Path::new("/var/lib/slotcast"), Some(folder.join("terms.txt")))
    );
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn every_key_reaches_the_config() {
    let text = format!(
        "[server]\nslot = \"15m\"\ncurrency = \"EUR\"\nuplink = \"10Gbit/s\"\noversell = true\ndrain = \"3s\"\n\
         [viewers]\nlisten = \"[::1]:0\"\nudp = false\nrtp_ports = [0, 0]\nworkers = 3\npin = false\ngso = \"off\"\n\
         connections = 99\nper_address = 7\nguesses_per_address = 3\nguesses_per_program = 4\nguess_window = \"5s\"\n[links]\nlisten = [\"127.0.0.1:0\", \"[::1]:0\"]\nrtp_ports = []\n\
         lines = 5\nper_address = 2\nbefore = \"1m\"\nafter = \"0s\"\ngate_deadline = \"500ms\"\nwaiting = 4\n\
         waiting_per_address = 3\nburst = \"4s\"\n[http]\nlisten = \"off\"\n[log]\nlevel = \"debug\"\n\
         format = \"json\"\n{CHANNEL}toll = 7\n{PROGRAM}open_level = \"secret\"\npassword = \"p\"\ntitle = \"T\"\n"
    );
    let config = good(&text).config;
    assert_eq!(config.server.slot, Duration::from_secs(900));
    assert_eq!((config.server.currency.as_str(), config.server.oversell), ("EUR", true));
    assert_eq!(config.server.drain, Duration::from_secs(3));
    assert!(config.viewers.listen.is_ipv6() && !config.viewers.udp && !config.viewers.pin);
    assert!(matches!(config.viewers.workers, Workers::Fixed(count) if count.get() == 3));
    assert_eq!((config.viewers.connections, config.viewers.per_address), (99, 7));
    let guesses = config.viewers.guesses;
    assert_eq!((guesses.per_address, guesses.per_target, guesses.window), (3, 4, Duration::from_secs(5)));
    assert_eq!((config.links.listen.len(), config.links.rtp_ports, config.links.lines), (2, None, 5));
    assert_eq!(config.links.gate_deadline, Duration::from_millis(500));
    assert_eq!((config.links.waiting, config.links.waiting_per_address), (4, 3));
    assert_eq!((config.http.listen, config.log.level.as_str()), (None, "debug"));
    let (channel, program) = (&config.channels[0], &config.programs[0]);
    assert_eq!((channel.number.0, channel.seats.count(), channel.toll.0), (4, 50, 7));
    assert_eq!((program.title.as_str(), program.open_level), ("T", OpenLevel::Secret));
    assert_eq!(program.connect.start().to_string(), "2026-11-22T09:59:00Z");
    assert_eq!(program.connect.end(), program.window.end());
    assert!(program.password.as_ref().is_some_and(|password| password.matches("p")));
    assert!(program.link_key.matches_token("0123456789abcdef"));
}

#[test]
fn times_may_stand_without_quotes() {
    let config = good(&format!(
        "{CHANNEL}{}",
        PROGRAM.replace("\"2026-11-22T10:00:00Z\"", "2026-11-22T19:00:00+09:00")
    ));
    assert_eq!(config.config.programs[0].window.start().to_string(), "2026-11-22T10:00:00Z");
}

#[test]
fn wrong_values_are_refused_at_their_line() {
    refused("[viewers]\nlisten = \"localhost\"\n", 2, "an address and a port");
    refused("[viewers]\nlisten = 8554\n", 2, "got 8554");
    refused("[viewers]\nrtp_ports = [8000]\n", 2, "two ports");
    refused("[viewers]\nrtp_ports = [8000, 70000]\n", 2, "from 0 to 65535");
    refused("[viewers]\nrtp_ports = [8000, 0]\n", 2, "0 for both");
    refused("[viewers]\nworkers = 0\n", 2, "\"auto\" or a number");
    refused("[viewers]\nworkers = \"many\"\n", 2, "\"auto\" or a number");
    refused("[viewers]\npin = \"yes\"\n", 2, "true or false");
    refused("[viewers]\ngso = true\n", 2, "\"auto\" or \"off\"");
    refused("[viewers]\nconnections = 0\n", 2, "from 1 to");
    refused("[viewers]\nguesses_per_address = 2\n", 2, "from 3 to");
    refused("[viewers]\nsession_timeout = \"9s\"\n", 2, "from \"10s\" to \"1h\"");
    refused("[viewers]\nsession_timeout = \"60500ms\"\n", 2, "whole seconds");
    refused("[viewers]\nslow_viewer = \"100ms\"\n", 2, "from \"200ms\" to \"10s\"");
    refused("[viewers]\nstalled_viewer = \"11m\"\n", 2, "from \"1s\" to \"10m\"");
    refused("[viewers]\nguess_window = \"1ms\"\n", 2, "1 s or more");
    refused("[links]\nlisten = []\n", 2, "at least one address");
    refused("[links]\nlisten = \"127.0.0.1:8555\"\n", 2, "a list like");
    refused("[links]\nbefore = 300\n", 2, "a duration like");
    refused("[links]\nbefore = \"5 minutes\"\n", 2, "got \"5 minutes\"");
    refused("[links]\nburst = \"0s\"\n", 2, "above zero");
    refused("[links]\nafter = \"9999999999999d\"\n", 2, "a duration like");
    refused("[server]\nuplink = \"1Gb\"\n", 2, "a rate like");
    refused("[server]\nuplink = 1000000\n", 2, "a rate like");
    refused("[server]\ncurrency = \"yen\"\n", 2, "three letters");
    refused("[server]\nslot = \"0s\"\n", 2, "above zero");
    refused("[log]\nlevel = \"loud\"\n", 2, "a level (error,");
    refused("[log]\nlevel = \"info,slotcast=loud\"\n", 2, "a level (error,");
    refused("[log]\nformat = \"xml\"\n", 2, "\"text\" or \"json\"");
    refused("[http]\nlisten = \"none\"\n", 2, "\"off\" for none");
}

#[test]
fn wrong_channels_are_refused_at_their_line() {
    refused(&CHANNEL.replace("50", "0"), 4, "1 to 1048575 seats");
    refused(&CHANNEL.replace("50", "-1"), 4, "got -1");
    refused(&CHANNEL.replace("channel4", "../etc"), 3, "1 to 64 letters");
    refused(&CHANNEL.replace("= 4", "= 65536"), 2, "0 to 65535");
    refused(&CHANNEL.replace("seats = 50\n", ""), 1, "seats is missing");
    refused(&format!("{CHANNEL}toll = -5\n"), 6, "from 0");
    refused(&format!("{CHANNEL}gather = \"101ms\"\n"), 6, "from \"0ms\" to \"100ms\"");
    refused(&format!("{CHANNEL}gather = 20\n"), 6, "a duration like");
    assert_eq!(good(CHANNEL).config.channels[0].gather, Duration::from_millis(20));
    assert_eq!(good(&format!("{CHANNEL}gather = \"0ms\"\n")).config.channels[0].gather, Duration::ZERO);
    let second = CHANNEL.replace("channel4", "other");
    refused(&format!("{CHANNEL}{second}"), 7, "4 is taken by channels[0]");
    let second = CHANNEL.replace("= 4", "= 5");
    refused(&format!("{CHANNEL}{second}"), 8, "channel4 is taken by channels[0]");
}

#[test]
fn wrong_programs_are_refused_at_their_line() {
    let program = |from: &str, to: &str| format!("{CHANNEL}{}", PROGRAM.replace(from, to));
    refused(&program("channel = 4", "channel = 5"), 7, "there is no channel 5");
    refused(&program("T10:30", "T10:00"), 9, "is not after the start");
    refused(&program("T10:30", "T09:00"), 9, "is not after the start");
    refused(&program("\"2026-11-22T10:00:00Z\"", "\"22.11.2026\""), 8, "got \"22.11.2026\"");
    refused(&program("\"2026-11-22T10:00:00Z\"", "2026-11-22T10:00:00"), 8, "with its offset");
    refused(&program("reservation_id = \"0123456789abcdef\"\n", ""), 6, "reservation_id is missing");
    refused(
        &format!("{CHANNEL}{PROGRAM}open_level = \"private\"\n"),
        11,
        "\"public\", \"password\" or \"secret\"",
    );
    refused(&format!("{CHANNEL}{PROGRAM}open_level = \"secret\"\n"), 11, "needs a password");
    refused(&format!("{CHANNEL}{PROGRAM}open_level = \"password\"\n"), 11, "needs a password");
    refused(&format!("{CHANNEL}{PROGRAM}password = \"\"\nopen_level = \"password\"\n"), 11, "not empty");
    let second = PROGRAM.replace("T10:00", "T10:20").replace("T10:30", "T10:50").replace("abcdef", "zyxwvu");
    refused(&format!("{CHANNEL}{PROGRAM}{second}"), 13, "before the end of programs[0]");
}

#[test]
fn programs_back_to_back_do_not_overlap() {
    let second = PROGRAM.replace("T10:30", "T10:50").replace("T10:00", "T10:30").replace("abcdef", "zyxwvu");
    assert!(good(&format!("{CHANNEL}{PROGRAM}{second}")).warnings.is_empty());
}

#[test]
fn unknown_names_are_refused_with_the_nearest_known() {
    refused("[viewers]\nlisten = \"127.0.0.1:1\"\nlisen = \"x\"\n", 3, "did you mean \"listen\"?");
    refused("[viewer]\nlisten = \"x\"\n", 1, "did you mean \"viewers\"?");
    refused(&format!("{CHANNEL}seat = 4\n"), 6, "did you mean \"seats\"?");
    refused("[http]\ncolour = 1\n", 2, "known are listen");
    refused("listen = \"127.0.0.1:1\"\n", 1, "unknown table");
    refused("viewers = 4\n", 1, "write [viewers]");
    refused("channels = 4\n", 1, "write [[channels]]");
    refused("channels = [4]\n[server]\n", 1, "write [[channels]]");
}

#[test]
fn broken_toml_is_refused_at_its_line() {
    refused("[viewers]\nlisten = \n", 2, "not TOML");
    refused("[http]\nlisten = \"off\"\nlisten = \"off\"\n", 3, "not TOML");
}

#[test]
fn settings_that_do_not_fit_together_are_refused() {
    let second = CHANNEL.replace("= 4", "= 5").replace("channel4", "channel5");
    refused(&format!("[links]\nlines = 3\n{CHANNEL}{second}"), 2, "set at least 4");
    refused(&format!("[server]\nuplink = \"99Mbit/s\"\n{CHANNEL}"), 2, "the channels sell 100Mbit/s");
    good(&format!("[server]\nuplink = \"99Mbit/s\"\noversell = true\n{CHANNEL}"));
    refused("[http]\nlisten = \"127.0.0.1:8554\"\n", 2, "taken by viewers.listen");
    refused("[http]\nlisten = \"0.0.0.0:8555\"\n", 2, "taken by links.listen");
    refused("[metrics]\nlisten = \"0.0.0.0:8080\"\n", 2, "taken by http.listen");
    refused("[metrics]\nlisten = \"off\"\n", 2, "an address and a port");
    refused("[links]\nlisten = [\"127.0.0.1:9\", \"127.0.0.1:9\"]\n", 2, "taken by links.listen");
    refused("[viewers]\nrtp_ports = [8000, 8000]\n", 2, "both on 8000");
    refused("[viewers]\nslow_viewer = \"5s\"\nstalled_viewer = \"4s\"\n", 3, "shorter than slow_viewer");
    good("[links]\nrtp_ports = [0, 0]\n[viewers]\nrtp_ports = [0, 0]\n");
}

#[test]
fn each_worker_has_a_port_pair_of_its_own() {
    let ports = |workers: u32, viewers: &str, links: &str| {
        format!(
            "[viewers]\nworkers = {workers}\nrtp_ports = {viewers}\n[links]\nrtp_ports = {links}\n{CHANNEL}"
        )
    };
    // 4 workers: 8000 to 8007.
    for links in ["[7998, 7999]", "[8008, 8009]", "[]", "[0, 0]"] {
        assert!(good(&ports(4, "[8000, 8001]", links)).warnings.is_empty(), "{links}");
    }
    for links in ["[8000, 8001]", "[8002, 8003]", "[8006, 8007]"] {
        refused(
            &ports(4, "[8000, 8001]", links),
            3,
            "taken by links.rtp_ports (4 workers need the ports from 8000 to 8007)",
        );
    }
    refused(
        &ports(1, "[8000, 8001]", "[8000, 8001]"),
        3,
        "8000 is taken by links.rtp_ports: choose another pair",
    );
    good(&ports(4, "[65528, 65529]", "[]"));
    refused(&ports(4, "[65530, 65531]", "[]"), 3, "4 workers need 8 UDP ports from here on, up to 65537");
    // The third worker's RTP would be on the first one's RTCP.
    refused(&ports(3, "[8000, 8004]", "[]"), 3, "8004 is taken by another of the workers");
    good(&ports(2, "[8000, 8004]", "[]"));
    good(&ports(4, "[0, 0]", "[8002, 8003]"));
    good(&ports(4, "[8000, 8001]", "[8002, 8003]").replace("[viewers]", "[viewers]\nudp = false"));
}

#[test]
fn what_may_be_a_mistake_is_a_warning() {
    let program = |from: &str, to: &str| format!("{CHANNEL}{}", PROGRAM.replace(from, to));
    warned(&program("T10:00:00", "T10:05:00"), 8, "is not on a slot");
    warned(&program("0123456789abcdef", "short"), 10, "guessable");
    warned(&program("0123456789abcdef", "0123456789abcdef/"), 10, "only letters, digits");
    warned(&format!("{CHANNEL}{PROGRAM}password = \"p\"\n"), 11, "open_level is public");
    warned(&format!("[viewers]\nrtp_ports = [8001, 8005]\n{CHANNEL}"), 2, "an even port");
    warned(&format!("[viewers]\nconnections = 10\n{CHANNEL}"), 2, "for 50 seats");
    let text = good("").warnings.to_string();
    assert!(text.contains("no channels"), "{text}");
}

#[test]
fn everything_is_reported_at_once_in_the_order_of_the_lines() {
    let text = format!("[viewers]\nlisten = 1\nlinsten = 2\n[links]\nlines = 1\n{CHANNEL}{PROGRAM}")
        .replace("seats = 50", "seats = 0")
        .replace("T10:30", "T09:30");
    let problems = bad(&text);
    let lines: Vec<_> = problems.iter().map(|problem| problem.place.clone()).collect();
    assert_eq!(lines, [2, 3, 5, 9, 14].map(Place::Line), "{problems}");
    assert!(problems.lines().all(|line| line.starts_with("config:") && !line.contains('\n')));
}

#[test]
fn the_environment_wins_over_the_file() {
    let text = format!("[viewers]\nlisten = \"127.0.0.1:1\"\n{CHANNEL}{PROGRAM}");
    let variables = [
        ("SLOTCAST_VIEWERS__LISTEN", "0.0.0.0:9554"),
        ("SLOTCAST_VIEWERS__RTP_PORTS", "9000, 9001"),
        ("SLOTCAST_VIEWERS__PIN", "false"),
        ("SLOTCAST_LINKS__LISTEN", "127.0.0.1:1555,[::1]:1555"),
        ("SLOTCAST_LINKS__LINES", "8"),
        ("SLOTCAST_CHANNELS__0__SEATS", "51"),
        ("SLOTCAST_PROGRAMS__0__OPEN_LEVEL", "password"),
        ("SLOTCAST_PROGRAMS__0__PASSWORD", "12345"),
        ("SLOTCAST_UNRELATED", "x"),
        ("PATH", "/bin"),
    ];
    let checked = with_environment(&text, &variables).unwrap_or_else(|problems| panic!("{problems}"));
    let config = checked.config;
    assert_eq!(config.viewers.listen.to_string(), "0.0.0.0:9554");
    assert_eq!((config.viewers.rtp_ports, config.viewers.pin), ([9000, 9001], false));
    assert_eq!((config.links.listen.len(), config.links.lines), (2, 8));
    assert_eq!(config.channels[0].seats.count(), 51);
    assert!(config.programs[0].password.as_ref().is_some_and(|password| password.matches("12345")));
}

#[test]
fn a_wrong_variable_is_named() {
    let problems = with_environment(CHANNEL, &[("SLOTCAST_VIEWERS__LISTEM", "x")]).unwrap_err().to_string();
    assert_eq!(
        problems,
        "SLOTCAST_VIEWERS__LISTEM: error: unknown setting; did you mean \"SLOTCAST_VIEWERS__LISTEN\"?"
    );
    let problems = with_environment(CHANNEL, &[("SLOTCAST_SERVER__DRAIN", "soon")]).unwrap_err().to_string();
    assert!(
        problems.starts_with("SLOTCAST_SERVER__DRAIN: error: server.drain: expected a duration"),
        "{problems}"
    );
}

#[test]
fn secrets_come_from_files_too() {
    let directory = std::env::temp_dir().join(format!("slotcast-config-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("id"), "0123456789abcdef-from-file\n").unwrap();
    fs::write(directory.join("two-lines"), "one\ntwo\n").unwrap();
    let program = |name: &str| {
        let line = format!("reservation_id_file = {name:?}");
        format!("{CHANNEL}{}", PROGRAM.replace("reservation_id = \"0123456789abcdef\"", &line))
    };
    let read = |text: &str| Config::read("file", text, &directory, &Environment::default());
    let config = read(&program("id")).unwrap().config;
    assert!(config.programs[0].link_key.matches_token("0123456789abcdef-from-file"));
    let missing = read(&program("nowhere")).unwrap_err().to_string();
    assert!(missing.starts_with("file:10: error: programs[0].reservation_id_file: cannot read"), "{missing}");
    let two = read(&program("two-lines")).unwrap_err().to_string();
    assert!(two.contains("one line") && !two.contains("two"), "{two}");
    let both =
        read(&format!("{}reservation_id = \"0123456789abcdef\"\n", program("id"))).unwrap_err().to_string();
    assert!(both.contains("leave one out"), "{both}");
    fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn no_message_and_no_debug_shows_a_secret() {
    let secret = "hunter2-hunter2-hunter2";
    let text = format!(
        "{CHANNEL}{}password = \"{secret}\"\nopen_level = \"password\"\n",
        PROGRAM.replace("0123456789abcdef", secret)
    );
    assert!(!format!("{:?}", good(&text)).contains("hunter"));
    let not_ended = format!("reservation_id = \"{secret}");
    for broken in [
        text.replace("2026", "hello"),
        text.replace(secret, &format!("{secret}\\n")),
        text.replace("channel = 4", "channel = 9"),
        text.replace(&format!("{not_ended}\""), &not_ended),
        text.replace(&format!("\"{secret}\""), secret),
    ] {
        let problems = bad(&broken);
        assert!(!format!("{problems}{problems:?}").contains("hunter"), "{problems}");
    }
}

#[test]
fn a_program_is_the_same_as_long_as_channel_start_and_reservation_are() {
    let id =
        |from: &str, to: &str| good(&format!("{CHANNEL}{}", PROGRAM.replace(from, to))).config.programs[0].id;
    let first = id("", "");
    assert_eq!(first, id("T10:30", "T10:40"));
    assert_ne!(first, id("T10:00", "T10:10"));
    assert_ne!(first, id("abcdef", "fedcba"));
}

#[test]
fn sold_channels_have_no_written_programs_and_need_http() {
    let sold = "[reservations]\nenabled = true\n";
    assert!(good("").config.reservations.is_none());
    assert!(good(sold).config.reservations.is_some());
    let problems = bad(&format!("{CHANNEL}{PROGRAM}{sold}"));
    assert!(problems.to_string().contains("booked, not written"), "{problems}");
    refused(&format!("{sold}[http]\nlisten = \"off\"\n"), 4, "give it an address");
}

#[test]
fn wrong_reservation_settings_are_named() {
    let sold = "[reservations]\nenabled = true\n";
    for (line, words) in [
        ("public_url = \"tv.example.com\"", "an address like"),
        ("viewers_host = \"a b\"", "a host like"),
        ("access_ports = [\"east\"]", "an access port like"),
        ("viewers_host = \"a_b.example.com\"", "a host like"),
        ("access_ports = [\"a=h:1\", \"a=h:2\"]", "each name once"),
        ("friends = 51", "0 to 50 addresses"),
        ("zone = \"Mars/Olympus\"", "a time zone like"),
        ("normal_share = 101", "per cent"),
        ("slots_per_month = 0", "whole number"),
        ("trusted_proxies = [\"proxy\"]", "an address like"),
        ("provider = \"\"", "1 to 100 characters"),
    ] {
        refused(&format!("{sold}{line}\n"), 3, words);
    }
    refused(&format!("{sold}access_ports = [\"{}=h:1\"]\n", "x".repeat(101)), 3, "at most 100 characters");
    let ports: Vec<_> = (1..=9).map(|at| format!("\"{at}=h:{at}\"")).collect();
    refused(&format!("{sold}access_ports = [{}]\n", ports.join(", ")), 3, "at most 8 access ports, got 9");
    let listen: Vec<_> = (1..=9).map(|at| format!("\"127.0.0.1:{at}\"")).collect();
    let links = format!("[links]\nlisten = [{}]\n", listen.join(", "));
    assert!(Config::parse(&format!("{CHANNEL}{links}")).is_ok());
    refused(&format!("{sold}{links}"), 4, "a settings file names at most 8");
    good(&format!("{sold}access_ports = [\"east=[2001:db8::1]:8555\"]\n{links}"));
    refused(&format!("{sold}[mail]\nfrom = \"nobody\"\n"), 4, "an e-mail address like");
    refused(&format!("{sold}[mail]\nserver = \"mail.example.com\"\n"), 4, "smtp://");
    refused(&format!("{sold}[payments]\nway = \"stripe\"\n"), 3, "stripe_webhook_secret");
}

#[test]
fn what_stripe_cannot_charge_is_refused_with_what_to_set() {
    let begin = "[reservations]\nenabled = true\n[payments]\nway = \"stripe\"\nstripe_key = \"sk_1\"\n\
                 stripe_webhook_secret = \"whsec_1\"\n";
    let sold = |currency: &str, toll: u32| {
        format!(
            "{begin}[server]\ncurrency = \"{currency}\"\n[[channels]]\nnumber = 1\nname = \"one\"\nseats = 1\n\
             rate = \"64kbit/s\"\ntoll = {toll}\n"
        )
    };
    refused(&sold("LYD", 1000), 8, "set another currency");
    refused(&sold("JPY", 49), 14, "set 0, or 50 or more");
    refused(&sold("KWD", 1005), 14, "set a multiple of 10");
    good(&sold("JPY", 50));
    good(&sold("JPY", 0));
    good(&sold("LYD", 1000).replace("way = \"stripe\"", "way = \"invoice\""));
}

#[test]
fn ntp_servers_strict_and_bad() {
    let servers = |list: &str| good(&format!("{CHANNEL}[server]\nntp = [{list}]\n")).config.server.ntp;
    assert_eq!(servers("'time.example.com', '192.0.2.1:1123'"), ["time.example.com:123", "192.0.2.1:1123"]);
    assert_eq!(servers("'[2001:db8::1]', '[2001:db8::1]:1123'"), ["[2001:db8::1]:123", "[2001:db8::1]:1123"]);
    for bad in ["", ":123", "host:", "host:0", "host:65536", "2001:db8::1", "[host]:1", "[::1]x", "a b", "-a"]
    {
        refused(&format!("{CHANNEL}[server]\nntp = ['{bad}']\n"), 7, "an NTP server like");
    }
    refused(&format!("{CHANNEL}[server]\nntp = [{}]\n", "'a', ".repeat(9)), 7, "at most 8");
}

#[test]
fn secrets_of_the_reservation_side_are_not_shown() {
    let text = "[reservations]\nenabled = true\ndatabase = \"postgres://u:hidden1@h/d\"\n[mail]\n\
                server = \"smtp://h\"\npassword = \"hidden2\"\n[payments]\nway = \"stripe\"\n\
                stripe_key = \"hidden3\"\nstripe_webhook_secret = \"hidden4\"\n";
    assert!(!format!("{:?}", good(text).config).contains("hidden"));
}
