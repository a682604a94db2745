//! What the binary says, and with which exit code: 0 well, 1 failed while running, 2 wrong usage or configuration.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, ChildStderr, Command, Output, Stdio},
    sync::mpsc::{self, Receiver},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

/// Nothing here takes longer, but on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(20);

const CONFIG: &str = "[viewers]\nlisten = \"127.0.0.1:0\"\nrtp_ports = [0, 0]\nworkers = 1\n[links]\n\
                      listen = [\"127.0.0.1:0\"]\nrtp_ports = [0, 0]\nlines = 8\n[http]\nlisten = \"127.0.0.1:0\"\n\
                      [server]\ndrain = \"1s\"\n[[channels]]\nnumber = 4\nname = \"channel4\"\nseats = 50\n\
                      rate = \"2Mbit/s\"\n";

fn slotcast(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_slotcast"))
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
    let file = temporary("wrong", "[viewers]\nlisen = 1\n[links]\nlines = \"many\"\n");
    let name = file.display().to_string();
    check(&["check-config", &name], "", 2, "", &format!("{name}:2: error: viewers: unknown key \"lisen\""));
    check(
        &["check-config", &name],
        "",
        2,
        "",
        &format!("{name}:4: error: links.lines: expected a whole number"),
    );
    check(&["serve", "--config", &name], "", 2, "", "did you mean \"listen\"?");
    check(&["serve", "--config", &name], "", 2, "", "mend the lines above");
    fs::remove_file(file).unwrap();
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
        let file = temporary(&format!("taken-{table}"), &config);
        check(&["serve", "--config", &file.display().to_string()], "", 1, "", &address.to_string());
        fs::remove_file(file).unwrap();
    }
}

#[test]
fn serve_answers_reloads_and_drains() {
    let file = temporary("serve", CONFIG);
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
    server.signal(Signal::HUP);
    server.wait_for_line("the old one stays");
    assert!(
        server.seen.contains(&format!("{}:16: error: channels[0].seats", file.display())),
        "{}",
        server.seen
    );
    assert!(get(http, "/metrics").contains("slotcast_reloads_total{result=\"refused\"} 1"));

    fs::write(&file, CONFIG.replace("seats = 50", "seats = 60")).unwrap();
    server.signal(Signal::HUP);
    server.wait_for_line("was read again");
    assert!(get(http, "/metrics").contains("slotcast_seats{channel=\"channel4\"} 60"));

    server.signal(Signal::TERM);
    server.wait_for_line("draining");
    assert_eq!(server.end(), Some(0), "{}", server.seen);
    fs::remove_file(file).unwrap();
}

#[test]
fn the_log_can_be_json_and_the_start_line_says_what_the_machine_can_do() {
    let file = temporary("json", &format!("[log]\nformat = \"json\"\n{CONFIG}"));
    let mut server = Serving::start(&file);
    for key in
        ["\"kernel\":\"", "\"gso\":", "\"workers\":1", "\"pinned\":true", "\"send_buffer_bytes_max\":\""]
    {
        assert!(server.seen.contains(key), "no {key} in {}", server.seen);
    }
    assert!(server.seen.lines().all(|line| line.starts_with('{') && line.ends_with('}')), "{}", server.seen);
    server.signal(Signal::INT);
    assert_eq!(server.end(), Some(0), "{}", server.seen);
    fs::remove_file(file).unwrap();
}

/// A file of this test and this process.
fn temporary(name: &str, text: &str) -> PathBuf {
    let path =
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("cli-{}-{name}.toml", std::process::id()));
    fs::write(&path, text).unwrap();
    path
}

fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// A running `slotcast serve`; killed when the test fails.
struct Serving {
    child: Child,
    lines: Receiver<String>,
    seen: String,
}

impl Serving {
    #[track_caller]
    fn start(file: &std::path::Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_slotcast"))
            .arg("serve")
            .arg("--config")
            .arg(file)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = lines_of(child.stderr.take().unwrap());
        let mut server = Self { child, lines, seen: String::new() };
        server.wait_for_line("slotcast runs");
        server
    }

    /// Takes lines of the log until one holds `text`.
    #[track_caller]
    fn wait_for_line(&mut self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while let Ok(line) = self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            let found = line.contains(text);
            self.seen.push_str(&line);
            self.seen.push('\n');
            if found {
                return;
            }
        }
        panic!("no {text:?} in\n{}", self.seen);
    }

    /// The address that the start line names.
    fn address(&self, name: &str) -> SocketAddr {
        let (_, rest) = self.seen.split_once(&format!(" {name}=")).unwrap();
        rest.split(' ').next().unwrap().parse().unwrap()
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap();
    }

    /// The exit code; `None` when it does not end.
    fn end(&mut self) -> Option<i32> {
        // The log's end is the process's end.
        let deadline = Instant::now() + PATIENCE;
        while let Ok(line) = self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            self.seen.push_str(&line);
            self.seen.push('\n');
        }
        if Instant::now() >= deadline {
            return None;
        }
        self.child.wait().unwrap().code()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn lines_of(stderr: ChildStderr) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}
