//! What the binary says, and with which exit code: 0 well, 1 failed while running, 2 wrong usage or configuration.

use std::{
    fs::{self, File},
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::fs::OpenOptionsExt,
    process::{Command, Output, Stdio},
    time::Duration,
};

use rustix::{
    fs::OFlags,
    process::Signal,
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, tcgetattr},
};
use slotcast_testing::{process::Process, program, wait_for};
use tempfile::NamedTempFile;

/// Nothing here takes longer, but on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(20);

const CONFIG: &str = "[viewers]\nlisten = \"127.0.0.1:0\"\nrtp_ports = [0, 0]\nworkers = 1\n[links]\n\
                      listen = [\"127.0.0.1:0\"]\nrtp_ports = [0, 0]\nlines = 8\n[http]\nlisten = \"127.0.0.1:0\"\n\
                      [server]\ndrain = \"1s\"\n[[channels]]\nnumber = 4\nname = \"channel4\"\nseats = 50\n\
                      rate = \"2Mbit/s\"\n";

fn slotcast(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(program())
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The command may be done before it has read anything.
    drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
    child.wait_with_output().unwrap()
}

#[track_caller]
fn check(arguments: &[&str], input: &str, code: i32, out: &str, err: &str) {
    let output = slotcast(arguments, input);
    let [stdout, stderr] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    let all = format!("{arguments:?}\nstdout:\n{stdout}\nstderr:\n{stderr}");
    assert_eq!(output.status.code(), Some(code), "{all}");
    assert!(stdout.contains(out), "no {out:?} in {all}");
    assert!(stderr.contains(err), "no {err:?} in {all}");
}

#[test]
fn help_teaches_by_examples() {
    check(&["--help"], "", 0, "slotcast print-config > slotcast.toml", "");
    check(&["--help"], "", 0, "rtsp://live:RESERVATION-ID@HOST:8555/channel4", "");
    check(&["serve", "--help"], "", 0, "SIGHUP", "");
    check(&["--version"], "", 0, env!("CARGO_PKG_VERSION"), "");
}

#[test]
fn wrong_usage_ends_with_2() {
    check(&[], "", 2, "", "Usage");
    check(&["broadcast"], "", 2, "", "unrecognized subcommand");
    check(&["serve"], "", 2, "", "--config <FILE>");
    check(&["check-config"], "", 2, "", "<FILE>");
}

#[test]
fn the_printed_config_passes_its_own_check() {
    let printed = slotcast(&["print-config"], "");
    assert!(printed.status.success());
    let printed = String::from_utf8(printed.stdout).unwrap();
    check(&["check-config", "-"], &printed, 0, "-: ok: 1 channels, 0 programs, 2 lines", "");
}

#[test]
fn a_wrong_config_ends_with_2_and_all_that_is_wrong_with_it() {
    let file = written("[viewers]\nlisen = 1\n[links]\nlines = \"many\"\n");
    let name = file.path().display().to_string();
    check(&["check-config", &name], "", 2, "", &format!("{name}:2: error: viewers: unknown key \"lisen\""));
    check(
        &["check-config", &name],
        "",
        2,
        "",
        &format!("{name}:4: error: links.lines: expected a whole number"),
    );
    check(&["serve", "--config", &name], "", 2, "", "did you mean \"listen\"?");
    check(&["serve", "--config", &name], "", 2, "", "fix the lines above");
    check(&["serve", "--config", "/nowhere/at/all"], "", 2, "", "/nowhere/at/all: error: cannot read it");
    check(&["check-config", "-"], "[viewers", 2, "", "standard input:1: error: not TOML");
}

#[test]
fn a_warning_is_no_failure() {
    check(&["check-config", "-"], "", 0, "ok: 0 channels", "warning: no channels");
}

#[test]
fn an_address_that_is_taken_ends_with_1_and_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    for (table, from) in
        [("viewers", "\"127.0.0.1:0\"\nrtp"), ("links", "[\"127.0.0.1:0\"]"), ("http", "\"127.0.0.1:0\"\n[")]
    {
        let config = CONFIG.replace(from, &from.replace("127.0.0.1:0", &address.to_string()));
        assert_ne!(config, CONFIG, "{table}");
        let file = written(&config);
        check(&["serve", "--config", &file.path().display().to_string()], "", 1, "", &address.to_string());
    }
}

#[test]
fn serve_answers_reloads_and_drains() {
    let file = written(CONFIG);
    let mut server = Serving::start(&file);
    let http = server.address("http");
    assert!(get(http, "/healthz").starts_with("HTTP/1.1 200"));
    assert!(get(http, "/readyz").starts_with("HTTP/1.1 200"));
    assert!(get(http, "/nothing").starts_with("HTTP/1.1 404"));
    let metrics = get(http, "/metrics");
    for line in [
        "slotcast_seats{channel=\"channel4\"} 50",
        "slotcast_viewers{channel=\"channel4\",protocol=\"udp\"} 0",
        "slotcast_workers 1.0",
        "# EOF",
    ] {
        assert!(metrics.contains(line), "no {line:?} in\n{metrics}");
    }

    fs::write(&file, CONFIG.replace("seats = 50", "seats = 0")).unwrap();
    server.0.signal(Signal::HUP);
    server.wait_for_line("the old one stays");
    let seen = server.seen();
    assert!(seen.contains(&format!("{}:16: error: channels[0].seats", file.path().display())), "{seen}");
    assert!(get(http, "/metrics").contains("slotcast_reloads_total{result=\"refused\"} 1"));

    fs::write(&file, CONFIG.replace("seats = 50", "seats = 60")).unwrap();
    server.0.signal(Signal::HUP);
    server.wait_for_line("was read again");
    assert!(get(http, "/metrics").contains("slotcast_seats{channel=\"channel4\"} 60"));

    server.0.signal(Signal::TERM);
    server.wait_for_line("draining");
    server.end();
}

#[test]
fn the_log_can_be_json_and_the_start_line_says_what_the_machine_can_do() {
    let file = written(&format!("[log]\nformat = \"json\"\n{CONFIG}"));
    let mut server = Serving::start(&file);
    let seen = server.seen();
    for key in
        ["\"kernel\":\"", "\"gso\":", "\"workers\":1", "\"pinned\":true", "\"send_buffer_bytes_max\":\""]
    {
        assert!(seen.contains(key), "no {key} in {seen}");
    }
    assert!(seen.lines().all(|line| line.starts_with('{') && line.ends_with('}')), "{seen}");
    server.0.signal(Signal::INT);
    server.end();
}

#[test]
fn the_operators_password_is_not_shown_as_it_is_typed() {
    let place = tempfile::tempdir().unwrap();
    let config = place.path().join("slotcast.toml");
    fs::write(&config, "[reservations]\nenabled = true\n").unwrap();
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap().into_string().unwrap();
    let side = || {
        File::options().read(true).write(true).custom_flags(OFlags::NOCTTY.bits() as i32).open(&name).unwrap()
    };
    let echoes = || tcgetattr(&terminal).unwrap().local_modes.contains(LocalModes::ECHO);
    assert!(echoes(), "a terminal shows what is typed");
    // The program asks its controlling terminal.
    let mut command = Command::new("setsid");
    command.args(["--ctty", "--wait"]).arg(program()).arg("admin").arg("-c").arg(&config);
    command.args(["create-operator", "--user-id", "ops", "--name", "O", "--email", "ops@example.com"]);
    let mut child = command.stdin(side()).stdout(side()).stderr(side()).spawn().unwrap();
    drop(command);
    let hidden = wait_for(PATIENCE, || (!echoes()).then_some(()));
    let mut terminal = File::from(terminal);
    terminal.write_all(b"never to be seen\n").unwrap();
    let mut shown = Vec::new();
    // The terminal's end is an error: nobody is left on its other side.
    drop(terminal.read_to_end(&mut shown));
    let shown = String::from_utf8_lossy(&shown);
    assert!(child.wait().unwrap().success() && hidden.is_some(), "{shown}");
    assert!(shown.contains("Password (10 to 128") && shown.contains("runs this server"), "{shown}");
    assert!(!shown.contains("never"), "{shown}");
}

/// A configuration of this test.
fn written(text: &str) -> NamedTempFile {
    let file = NamedTempFile::new().unwrap();
    fs::write(&file, text).unwrap();
    file
}

fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// A running `slotcast serve`.
struct Serving(Process);

impl Serving {
    #[track_caller]
    fn start(file: &NamedTempFile) -> Self {
        let mut command = Command::new(program());
        let mut process = Process::spawn("slotcast", command.arg("serve").arg("--config").arg(file.path()));
        process.wait_for_line(PATIENCE, |line| line.contains("slotcast runs"));
        Self(process)
    }

    #[track_caller]
    fn wait_for_line(&mut self, text: &str) {
        self.0.wait_for_line(PATIENCE, |line| line.contains(text));
    }

    /// All of the log so far.
    fn seen(&mut self) -> String {
        self.0.lines().iter().map(|line| format!("{}\n", line.text)).collect()
    }

    /// The address that the start line names.
    fn address(&mut self, name: &str) -> SocketAddr {
        let seen = self.seen();
        let (_, rest) = seen.split_once(&format!(" {name}=")).unwrap();
        rest.split(' ').next().unwrap().trim().parse().unwrap()
    }

    /// Waits for the end, which must be a good one.
    #[track_caller]
    fn end(self) {
        let finished = self.0.wait(PATIENCE);
        assert_eq!(finished.status.code(), Some(0), "{}", finished.text());
    }
}
