//! The commands of README.md and of the pages of `docs/`: run here, run by another test, or named with the reason why
//! no test runs them.
//!
//! Owns: [`BLOCKS`], what becomes of each block of shell commands. A block that is not in it fails the tests.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpStream},
};

use clap::Parser;
use slotcast::cli::Cli;
use slotcast_testing::{
    pages::{PATIENCE, Shell, block, blocks, root},
    process::Process,
    wait_for,
};

/// What becomes of a block.
#[derive(Clone, Copy)]
enum Fate {
    /// A test of this file runs it.
    Here,
    /// The tests in this file, which names the page, run it, or the same line against a server of their own.
    Test(&'static str),
    /// No test runs it, for this reason.
    Not(&'static str),
}
use Fate::{Here, Not, Test};

const SCREEN: Fate = Not("the players open a window; tests/players watch in these ways without one");
const SIGNALS: Fate =
    Not("it would signal every slotcast of this machine; the tests of the command line signal their own");
const WALK: Fate = Test("tests/services/pages.rs");
const PLAYERS: Fate = Test("tests/players/pages.rs");

/// Page, how its block begins, and what becomes of it.
const BLOCKS: &[(&str, &str, Fate)] = &[
    ("README.md", "cargo run --release -- demo", Test("tests/it/demo.rs")),
    ("README.md", "cargo build --release", Not("it writes to /usr/local/bin")),
    ("README.md", "NOW=$(( $(date +%s)", Here),
    ("README.md", "ffmpeg -re -stream_loop -1", PLAYERS),
    ("README.md", "vlc rtsp://", SCREEN),
    ("docs/broadcast.md", "ffmpeg -re -stream_loop -1", PLAYERS),
    ("docs/broadcast.md", "ffmpeg -re -f lavfi", PLAYERS),
    ("docs/broadcast.md", "gst-launch-1.0 -e videotestsrc", PLAYERS),
    ("docs/clip.md", "ffmpeg -y", Not("the clip is in the repository; another encoder makes other bytes")),
    ("docs/operating.md", "slotcast print-config", Here),
    ("docs/operating.md", "nft add rule", Not("it changes the machine's firewall")),
    ("docs/operating.md", "kill -HUP", SIGNALS),
    ("docs/operating.md", "cat > slotcast.toml", Here),
    ("docs/operating.md", "API=http", WALK),
    ("docs/operating.md", "curl -s -H \"Authorization: Bearer $OPS\" $API/operator/programs/", WALK),
    ("docs/operating.md", "curl -s -H \"Authorization: Bearer $OPS\" -H 'Content-Type", WALK),
    ("docs/operating.md", "curl -s -H \"Authorization: Bearer $OPS\" $API/operator/reservations/", WALK),
    ("docs/operating.md", "curl -s -H \"Authorization: Bearer $OPS\" \"$API/operator/payments", WALK),
    (
        "docs/operating.md",
        "curl -s $API/operator/webhooks",
        Not("its receiver is not ours; reservation/tests/services/webhooks.rs has one of its own"),
    ),
    ("docs/operating.md", "slotcast admin -c slotcast.toml backup", Here),
    (
        "docs/operating.md",
        "runuser -u postgres",
        Not("it changes the machine's own PostgreSQL; tests start their own"),
    ),
    ("docs/operating.md", "kill -TERM", SIGNALS),
    ("docs/operating.md", "curl -s http://127.0.0.1:8080/metrics", WALK),
    ("docs/operating.md", "sysctl -w", Not("it changes the kernel's limits")),
    ("docs/reserving.md", "API=http", WALK),
    ("docs/reserving.md", "cat > me.json", WALK),
    ("docs/reserving.md", "CSRF=$(curl", WALK),
    ("docs/reserving.md", "curl -s $API/channels/4/days", WALK),
    ("docs/reserving.md", "cat > wish.json", WALK),
    ("docs/reserving.md", "read -r -p", WALK),
    ("docs/reserving.md", "curl -s -H \"$AUTH\" -H 'Content-Type: application/json' -d", WALK),
    ("docs/reserving.md", "curl -s -H \"$AUTH\" -X POST $API/reservations/$N/pay", WALK),
    ("docs/reserving.md", "jq -r '.commands.broadcast[]", WALK),
    ("docs/reserving.md", "curl -s -H \"$AUTH\" $API/reservations/$N/status", WALK),
    ("docs/reserving.md", "curl -s -H \"$AUTH\" $API/reservations/$N/history", WALK),
    ("docs/settings-file.md", "age-keygen -o", WALK),
    ("docs/settings-file.md", "curl -s -b cookies", WALK),
    ("docs/settings-file.md", "age -d -i slotcast.key slotcast-4711.json.age > ", WALK),
    ("docs/settings-file.md", "jq -r '.reservation.connect", WALK),
    ("docs/settings-file.md", "jq -r '.commands.broadcast[] | select", WALK),
    ("docs/settings-file.md", "jq -r '.commands.broadcast[] | \"", WALK),
    ("docs/settings-file.md", "jq -r '.commands.obs", WALK),
    ("docs/settings-file.md", "age -d -i slotcast.key slotcast-4711.json.age |", WALK),
    ("docs/watch.md", "vlc rtsp://", SCREEN),
    ("docs/watch.md", "ffplay rtsp://me:PASSWORD", SCREEN),
    ("docs/watch.md", "ffmpeg -rtsp_transport tcp -i", PLAYERS),
];

/// Pages whose commands are for people who measure or change the server, beside `docs/api.md`, which has a test of its own.
const OTHER_PAGES: [&str; 4] =
    ["docs/api.md", "docs/development.md", "docs/load-testing.md", "docs/performance.md"];

/// README.md and every page of `docs/`.
fn pages() -> Vec<String> {
    let files = fs::read_dir(root().join("docs")).unwrap().map(|file| file.unwrap().file_name());
    let pages =
        files.map(|name| format!("docs/{}", name.to_string_lossy())).filter(|name| name.ends_with(".md"));
    pages.chain(["README.md".to_owned()]).collect()
}

#[test]
fn it_is_known_of_every_block_what_becomes_of_it() {
    let mut known = 0;
    for page in pages().iter().filter(|page| !OTHER_PAGES.contains(&page.as_str())) {
        for block in blocks(page) {
            let rows = BLOCKS.iter().filter(|row| row.0 == page && block.starts_with(row.1));
            let rows: Vec<_> = rows.collect();
            assert_eq!(rows.len(), 1, "{page}: {} rows are for the block\n{block}", rows.len());
            known += 1;
            match rows[0].2 {
                Here => println!("{page}: {}… is run here", rows[0].1),
                Test(file) => {
                    let test =
                        fs::read_to_string(root().join(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
                    assert!(
                        test.contains(page.as_str()),
                        "{file} names no {page}, of which it runs\n{block}"
                    );
                    println!("{page}: {}… is run by {file}", rows[0].1);
                }
                Not(reason) => println!("{page}: {}… is not run: {reason}", rows[0].1),
            }
        }
    }
    assert_eq!(known, BLOCKS.len(), "a row is for no block");
}

/// The words of every command of `block` that starts slotcast, as a shell would hand them over.
fn slotcast_commands(block: &str) -> Vec<Vec<String>> {
    let lines = block.replace("\\\n", " ");
    let mut commands = Vec::new();
    for line in lines.lines() {
        // What the shell puts in is a number or a name; either will do.
        let mut plain = String::new();
        let mut rest = line;
        while let Some((before, inside)) = rest.split_once("$(") {
            plain.push_str(before);
            plain.push('1');
            rest = inside.split_once(')').map_or("", |(_, after)| after);
        }
        plain.push_str(rest);
        let Some(words) = shlex::split(&plain) else { continue };
        let operator =
            |word: &String| matches!(word.as_str(), "&" | "|" | "&&" | ";" | ">" | ">>" | "2>&1" | "<");
        for command in words.split(operator) {
            let is_slotcast = |word: &String| word == "slotcast" || word.ends_with("/release/slotcast");
            let start = match command {
                [taskset, _, _, word, ..] if taskset == "taskset" && is_slotcast(word) => 3,
                [cargo, run, release, dashes, ..]
                    if [cargo, run, release, dashes] == ["cargo", "run", "--release", "--"] =>
                {
                    3
                }
                _ => command.iter().take_while(|word| word.starts_with("SLOTCAST_")).count(),
            };
            if command.get(start).is_some_and(|word| is_slotcast(word) || word == "--") {
                let value = |word: &String| {
                    if word.starts_with('$') || word == "PID" { "1".into() } else { word.clone() }
                };
                commands.push(
                    ["slotcast".to_owned()]
                        .into_iter()
                        .chain(command[start + 1..].iter().map(value))
                        .collect(),
                );
            }
        }
    }
    commands
}

#[test]
fn every_slotcast_command_of_every_page_is_taken_by_the_parser() {
    let mut count = 0;
    for page in pages() {
        for words in blocks(&page).iter().flat_map(|block| slotcast_commands(block)) {
            count += 1;
            if let Err(error) = Cli::try_parse_from(&words) {
                panic!("{page}: {}\n{error}", words.join(" "));
            }
        }
    }
    assert!(count >= 25, "only {count} commands were found");
}

#[test]
fn commands_are_found_among_others() {
    let block = "cd x\nslotcast load push 'rtsp://a/{n}' --pid $SERVER \\\n  --core 1 & PUSH=$!\n\
                 taskset -c 1 slotcast demo > out 2>&1   # look\nkill $(pidof slotcast)\ncargo run --release -- demo\n";
    let expected = [
        ["slotcast", "load", "push", "rtsp://a/{n}", "--pid", "1", "--core", "1"].as_slice(),
        &["slotcast", "demo"],
        &["slotcast", "demo"],
    ];
    assert_eq!(slotcast_commands(block), expected);
}

/// The status of the answer to a DESCRIBE.
fn describe(viewers: SocketAddr, channel: &str) -> u16 {
    let stream = TcpStream::connect(viewers).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("DESCRIBE rtsp://{viewers}/{channel} RTSP/1.0\r\nCSeq: 1\r\n\r\n");
    (&stream).write_all(request.as_bytes()).unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    line.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{line:?}"))
}

#[test]
fn the_readmes_server_takes_the_readmes_broadcast() {
    let shell = Shell::default();
    let server = shell.serve(&block("README.md", "NOW=$(( $(date +%s)"));
    let viewers = shell.address(8554);
    assert_eq!(describe(viewers, "channel4"), 404, "nobody broadcasts yet");
    // ffmpeg's line, by the broadcaster that is part of slotcast.
    let line = shell.here(&block("README.md", "ffmpeg -re"));
    let url = line.split_whitespace().find(|word| word.starts_with("rtsp://live:")).unwrap();
    let push = format!("exec slotcast load push {url} --bit-rate 500kbit/s --seconds 30");
    let push = Process::spawn("push", &mut shell.command(&push));
    let is_on_air = wait_for(PATIENCE, || (describe(viewers, "channel4") == 200).then_some(()));
    assert!(is_on_air.is_some(), "{:?} does not come on air", url);
    drop(push);
    shell.stop(server);
}

#[test]
fn the_operators_first_commands_run_as_printed() {
    let shell = Shell::default();
    let etc = format!("{}/", shell.place.path().display());
    let server = shell.serve(&block("docs/operating.md", "slotcast print-config").replace("/etc/", &etc));
    assert_eq!(describe(shell.address(8554), "channel4"), 404);
    shell.stop(server);
}

#[test]
fn the_operators_sale_and_backup_run_as_printed() {
    let shell = Shell::default();
    let sale = block("docs/operating.md", "cat > slotcast.toml");
    let (setup, admin) =
        sale.split_once("slotcast serve --config slotcast.toml &\n").expect("the server's line");
    let server = shell.serve(&format!("{setup}slotcast serve --config slotcast.toml\n"));
    let (admin, curl) = admin.split_once("curl ").expect("the last line asks the API");
    assert_eq!(curl.trim(), "-s http://127.0.0.1:8080/api/v1/channels");
    let password = shell.place.path().join("password");
    fs::write(&password, "a password of the test\n").unwrap();
    let admin = admin.replace("# asks for a password", "< password");
    let found = shell.run(&admin).text();
    assert!(
        found.contains("ops (member ") && found.contains("runs this server") && found.contains("channel4"),
        "{found}"
    );
    let backups = format!("{}/", shell.place.path().display());
    let lines = block("docs/operating.md", "slotcast admin -c slotcast.toml backup")
        .replace("/var/backups/", &backups);
    let (backup, restore) = lines.split_once('\n').unwrap();
    assert!(shell.run(backup).text().contains("database and key are saved"));
    shell.stop(server);
    assert!(shell.run(restore).text().contains("restored; what was there ends in .before-restore"));
}
