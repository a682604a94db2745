//! `slotcast serve` with its reservation side on, killed and started again on the same data.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};

use rustix::process::Signal;
use tempfile::TempDir;

use super::client::Client;
use crate::{
    process::{Finished, Process},
    program, wait_for,
};

const OPERATOR: (&str, &str) = ("operator", "an operator's password");
const START_MAX: Duration = Duration::from_secs(30);

/// How one server differs from another.
pub struct Wishes {
    /// A URL; `None`: SQLite.
    pub database: Option<String>,
    pub slot: &'static str,
    pub channels: u16,
    pub seats: u32,
    pub rate: &'static str,
    /// Lines of `[reservations]`.
    pub reservations: String,
    /// Further tables.
    pub tables: String,
}

/// A place for one server at a time.
pub struct Site {
    directory: Option<TempDir>,
    process: Option<Process>,
    pub http: SocketAddr,
    pub viewers: SocketAddr,
    pub links: SocketAddr,
}

impl Site {
    /// Makes data directory, configuration and operator; starts nothing.
    #[track_caller]
    pub fn make(wishes: &Wishes) -> Self {
        static COUNT: AtomicU16 = AtomicU16::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let process = std::process::id();
        let directory = Some(tempfile::Builder::new().prefix("slotcast-bookings-").tempdir().unwrap());
        let [_, high, middle, low] = process.to_be_bytes();
        let ip = IpAddr::V4(Ipv4Addr::new(127, 192 | (high & 0x1f), middle, low));
        let base = 1_200 + count % 300 * 10;
        let [viewers, links, http] = [0, 1, 2].map(|offset| SocketAddr::new(ip, base + offset));
        let site = Self { directory, process: None, http, viewers, links };
        fs::write(site.config(), site.text(wishes)).unwrap();
        site.make_operator();
        site
    }

    fn text(&self, wishes: &Wishes) -> String {
        let Self { http, viewers, links, .. } = self;
        let database =
            wishes.database.as_ref().map(|url| format!("database = \"{url}\"\n")).unwrap_or_default();
        let mut text = format!(
            "[server]\nslot = \"{}\"\ndrain = \"100ms\"\noversell = true\n\
             [viewers]\nlisten = \"{viewers}\"\nrtp_ports = [0, 0]\nper_address = 1000\n\
             [links]\nlisten = [\"{links}\"]\nrtp_ports = []\n[http]\nlisten = \"{http}\"\n\
             [log]\nlevel = \"warn\"\n\
             [reservations]\nenabled = true\ndata = \"{}\"\n{database}public_url = \"http://{http}\"\n\
             viewers_host = \"{}\"\n{}\n{}\n",
            wishes.slot,
            self.data().display(),
            viewers.ip(),
            wishes.reservations,
            wishes.tables,
        );
        for number in 1..=wishes.channels {
            text.push_str(&format!(
                "[[channels]]\nnumber = {number}\nname = \"channel{number}\"\nseats = {}\nrate = \"{}\"\ntoll = 1000\n",
                wishes.seats, wishes.rate
            ));
        }
        text
    }

    fn make_operator(&self) {
        let password = self.directory().join("password");
        fs::write(&password, OPERATOR.1).unwrap();
        let output = Command::new(program())
            .arg("admin")
            .arg("--config")
            .arg(self.config())
            .args(["create-operator", "--name", "Operator", "--email", "operator@example.com"])
            .args(["--user-id", OPERATOR.0, "--password-file"])
            .arg(&password)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn directory(&self) -> &Path {
        self.directory.as_ref().expect("it is taken when the site is dropped").path()
    }

    fn config(&self) -> PathBuf {
        self.directory().join("slotcast.toml")
    }

    /// Its data directory.
    pub fn data(&self) -> PathBuf {
        self.directory().join("data")
    }

    /// Starts the server; it may not listen yet.
    #[track_caller]
    pub fn launch(&mut self) {
        let mut command = Command::new(program());
        command.arg("serve").arg("--config").arg(self.config()).env_remove("RUST_LOG");
        self.process = Some(Process::spawn("slotcast", &mut command));
    }

    /// Starts the server and waits until it answers.
    #[track_caller]
    pub fn start(&mut self) {
        self.launch();
        let process = self.process.as_mut().unwrap();
        // Its listener is there before it can answer.
        let mut client = Client::new(self.http, 1);
        let up = wait_for(START_MAX, || {
            let answered = client.get("/time").is_ok_and(|reply| reply.status == 200);
            (answered || !process.is_running()).then_some(())
        });
        assert!(up.is_some() && process.is_running(), "the server does not answer on {}", self.http);
    }

    /// Changes the configuration's text for the next start.
    #[track_caller]
    pub fn change(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.config()).unwrap();
        fs::write(self.config(), text.replacen(from, to, 1)).unwrap();
    }

    /// Waits until a server that was launched has ended by itself.
    #[track_caller]
    pub fn wait(&mut self, limit: Duration) -> Finished {
        self.process.take().unwrap().wait(limit)
    }

    /// Ends the server as an operator does, with all that it wrote.
    #[track_caller]
    pub fn end(&mut self) -> Finished {
        self.process.take().unwrap().interrupt(START_MAX)
    }

    /// Kills the server, and waits until it is gone.
    #[track_caller]
    pub fn kill(&mut self) {
        let process = self.process.take().unwrap();
        process.signal(Signal::KILL);
        drop(process);
    }

    /// What the server wrote so far that begins as a panic does.
    pub fn panics(&mut self) -> Vec<String> {
        let lines = self.process.as_mut().map(|process| process.lines().to_vec()).unwrap_or_default();
        lines.into_iter().map(|line| line.text).filter(|text| text.contains("panicked")).collect()
    }

    /// A client with an address of its own.
    pub fn client(&self, index: usize) -> Client {
        Client::new(self.http, index)
    }

    /// The operator, logged in.
    #[track_caller]
    pub fn operator(&self) -> Client {
        let mut client = self.client(0);
        client.log_in(OPERATOR.0, OPERATOR.1, &["read", "book", "sell", "moderate", "ledger"]);
        client
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        drop(self.process.take());
        if std::thread::panicking()
            && let Some(directory) = self.directory.take()
        {
            eprintln!("what is left: {}", directory.keep().display());
        }
    }
}
