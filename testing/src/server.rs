//! `slotcast serve` as a process, with a config file written for one test.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::Signal;
use tempfile::NamedTempFile;

use super::dialogue::Dialogue;
use super::process::{Line, Process};
use super::{program, wait_for};

/// One channel with at most one program, as a test wants it.
#[derive(Clone, Debug)]
pub struct Channel {
    pub name: &'static str,
    pub seats: u32,
    pub rate: &'static str,
    pub program: Option<Program>,
}

/// A program, in seconds from the moment at which the config is written.
#[derive(Clone, Debug)]
pub struct Program {
    pub reservation_id: &'static str,
    pub start: i64,
    pub end: i64,
    pub password: Option<&'static str>,
}

/// The reservation ID that [`channel`] gives to its program.
pub const ID: &str = "r7Kq2mXw9TzB4nVc";

/// A channel with a program that began a minute ago and goes on for an hour.
pub fn channel(name: &'static str, seats: u32) -> Channel {
    let program = Program { reservation_id: ID, start: -60, end: 3600, password: None };
    Channel { name, seats, rate: "2Mbit/s", program: Some(program) }
}

impl Channel {
    /// Its program can be watched with this password only.
    pub fn password(mut self, password: &'static str) -> Self {
        self.program.as_mut().unwrap().password = Some(password);
        self
    }

    /// Its program's window, in seconds from now.
    pub fn window(mut self, start: i64, end: i64) -> Self {
        let program = self.program.as_mut().unwrap();
        (program.start, program.end) = (start, end);
        self
    }

    /// Its program's reservation ID.
    pub fn reservation_id(mut self, id: &'static str) -> Self {
        self.program.as_mut().unwrap().reservation_id = id;
        self
    }
}

/// A running server. Dropping it ends it, and fails the test if it panicked or wrote a secret to its log.
pub struct Server {
    process: Option<Process>,
    _config: NamedTempFile,
    secrets: Vec<String>,
    /// Where viewers connect.
    pub viewers: SocketAddr,
    /// Where broadcasters connect.
    pub links: SocketAddr,
    /// Where `/metrics` is.
    pub http: SocketAddr,
    /// When the config was written: the zero of all windows, on both clocks.
    pub epoch: (Instant, SystemTime),
}

impl Server {
    /// Starts the server with these channels and waits until all its listeners answer.
    #[track_caller]
    pub fn start(channels: &[Channel]) -> Self {
        Self::start_with(channels, "")
    }

    /// The same, with lines of config put before everything else (tables of their own, or keys of `[viewers]`).
    #[track_caller]
    pub fn start_with(channels: &[Channel], viewers_keys: &str) -> Self {
        let (ip, base) = place();
        let [viewers, links, http] = [0, 1, 2].map(|offset| SocketAddr::new(ip, base + offset));
        let wall = SystemTime::now();
        // Windows are written in whole seconds, so the zero is the whole second that was last.
        let second = wall.duration_since(UNIX_EPOCH).unwrap().as_secs();
        let into_second = wall.duration_since(UNIX_EPOCH + Duration::from_secs(second)).unwrap();
        let epoch = (Instant::now() - into_second, wall - into_second);

        let mut config = format!(
            "[server]\ndrain = \"100ms\"\n\n[viewers]\nlisten = \"{viewers}\"\nrtp_ports = [{}, {}]\n{viewers_keys}\n\
             [links]\nlisten = [\"{links}\"]\nrtp_ports = [{}, {}]\nlines = 300\n\n[http]\nlisten = \"{http}\"\n",
            base + 6,
            base + 7,
            base + 4,
            base + 5
        );
        for (index, channel) in channels.iter().enumerate() {
            config.push_str(&channel_toml(index + 1, channel, second));
        }
        let mut file = tempfile::Builder::new().prefix("slotcast-").suffix(".toml").tempfile().unwrap();
        file.write_all(config.as_bytes()).unwrap();

        let mut command = Command::new(program());
        command.arg("serve").arg("--config").arg(file.path()).env_remove("RUST_LOG");
        let mut process = Process::spawn("slotcast", &mut command);
        for address in [viewers, links, http] {
            let up = wait_for(Duration::from_secs(15), || {
                TcpStream::connect(address).ok().map(drop).or_else(|| (!process.is_running()).then_some(()))
            });
            assert!(up.is_some() && process.is_running(), "the server does not listen on {address}");
        }
        let secrets = channels.iter().filter_map(|channel| channel.program.as_ref());
        let secrets = secrets.flat_map(|program| [Some(program.reservation_id), program.password]);
        let secrets = secrets.flatten().map(str::to_owned).collect();
        Self { process: Some(process), _config: file, secrets, viewers, links, http, epoch }
    }

    /// What a viewer opens.
    pub fn watch_url(&self, channel: &str) -> String {
        format!("rtsp://{}/{channel}", self.viewers)
    }

    /// What a viewer opens who gives name and password in the address.
    pub fn watch_url_as(&self, user: &str, password: &str, channel: &str) -> String {
        format!("rtsp://{user}:{password}@{}/{channel}", self.viewers)
    }

    /// What a broadcaster opens.
    pub fn link_url(&self, reservation_id: &str, channel: &str) -> String {
        format!("rtsp://live:{reservation_id}@{}/{channel}", self.links)
    }

    /// Waits until a DESCRIBE of this channel (with `query`, such as `?token=…`) is answered 200.
    #[track_caller]
    pub fn wait_on_air(&self, channel: &str, query: &str) {
        let url = format!("{}{query}", self.watch_url(channel));
        let mut last = None;
        let on_air = wait_for(Duration::from_secs(25), || {
            let reply =
                Dialogue::connect(self.viewers).request("DESCRIBE", &url, &[("Accept", "application/sdp")]);
            let status = reply.status;
            last = Some(reply);
            (status == 200).then_some(())
        });
        assert!(on_air.is_some(), "{channel} does not come on air: {last:?}");
    }

    /// The page of `/metrics`.
    #[track_caller]
    pub fn metrics(&self) -> String {
        let mut stream = TcpStream::connect(self.http).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.http).unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).unwrap();
        page
    }

    /// Sum of the samples whose name and labels contain all of `parts`; the first is a metric's name.
    ///
    /// Panics if there is no such metric: its sum would be 0 for ever.
    #[track_caller]
    pub fn metric(&self, parts: &[&str]) -> f64 {
        let page = self.metrics();
        let name = parts[0].trim_end_matches('{');
        let family = name.strip_suffix("_total").unwrap_or(name);
        let is_known = page.lines().any(|line| line.starts_with(&format!("# TYPE {family} ")));
        assert!(is_known, "there is no metric {name}:\n{page}");
        let lines = page.lines().filter(|line| !line.starts_with('#'));
        let wanted = lines.filter(|line| parts.iter().all(|part| line.contains(part)));
        wanted.filter_map(|line| line.rsplit(' ').next()?.trim().parse::<f64>().ok()).sum()
    }

    /// Viewers of this channel, over all protocols, as the metrics say.
    #[track_caller]
    pub fn viewers_of(&self, channel: &str) -> u32 {
        self.metric(&["slotcast_viewers{", &format!("\"{channel}\"")]) as u32
    }

    /// Waits until the metrics say so many viewers.
    #[track_caller]
    pub fn wait_for_viewers(&self, channel: &str, count: u32) {
        let mut last = 0;
        let reached = wait_for(Duration::from_secs(12), || {
            last = self.viewers_of(channel);
            (last == count).then_some(())
        });
        assert!(reached.is_some(), "{channel} has {last} viewers instead of {count}:\n{}", self.metrics());
    }

    /// The instant that lies `seconds` after the zero of the windows.
    pub fn instant(&self, seconds: i64) -> Instant {
        self.epoch.0 + Duration::from_secs(seconds.unsigned_abs())
    }

    /// The log so far.
    pub fn log(&mut self) -> Vec<Line> {
        self.process.as_mut().map(|process| process.lines().to_vec()).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let Some(process) = self.process.take() else { return };
        if std::thread::panicking() {
            return; // dropping the process prints its log
        }
        process.signal(Signal::TERM);
        let finished = process.wait(Duration::from_secs(20));
        let log = finished.text();
        assert!(finished.status.success(), "the server ended with {}:\n{log}", finished.status);
        assert!(!log.contains("panicked"), "the server panicked:\n{log}");
        for secret in &self.secrets {
            assert!(!log.contains(secret.as_str()), "the server wrote a secret to its log:\n{log}");
        }
    }
}

/// An address and a hundred ports for one server (its workers have two each), which no other test that runs now has: the number of the process makes
/// the loopback address, the number of the server within the process makes the ports. They lie below 5000, where ffmpeg
/// begins to look for its own on every address.
fn place() -> (IpAddr, u16) {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let process = std::process::id();
    let [_, high, middle, low] = process.to_be_bytes();
    let ip = Ipv4Addr::new(127, 64 | (high & 0x3f), middle, low);
    (IpAddr::V4(ip), 1_200 + NEXT.fetch_add(1, Ordering::Relaxed) % 38 * 100)
}

fn channel_toml(number: usize, channel: &Channel, epoch: u64) -> String {
    let Channel { name, seats, rate, program } = channel;
    let mut text = format!(
        "\n[[channels]]\nnumber = {number}\nname = \"{name}\"\nseats = {seats}\nrate = \"{rate}\"\ntoll = 1000\n"
    );
    if let Some(program) = program {
        let [start, end] = [program.start, program.end].map(|seconds| timestamp(epoch, seconds));
        let level = if program.password.is_some() { "password" } else { "public" };
        text.push_str(&format!(
            "\n[[programs]]\nchannel = {number}\nstart = \"{start}\"\nend = \"{end}\"\nreservation_id = \"{}\"\n\
             open_level = \"{level}\"\ntitle = \"A test of {name}\"\n",
            program.reservation_id
        ));
        if let Some(password) = program.password {
            text.push_str(&format!("password = \"{password}\"\n"));
        }
    }
    text
}

fn timestamp(epoch: u64, offset: i64) -> String {
    let second = i64::try_from(epoch).unwrap() + offset;
    jiff::Timestamp::from_second(second).unwrap().to_string()
}
