//! `slotcast serve` with its reservation side on, killed and started again on the same data.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::Command,
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};

use rustix::process::Signal;
use slotcast_reservation::{domain::words::ReservationNumber, vault::Vault};

use super::client::Client;
use crate::support::{
    process::{Finished, Process},
    wait_for,
};

const OPERATOR: (&str, &str) = ("operator", "an operator's password");
const START_MAX: Duration = Duration::from_secs(30);

/// How one server differs from another.
pub(crate) struct Wishes {
    /// A URL; `None`: SQLite.
    pub(crate) database: Option<String>,
    pub(crate) slot: &'static str,
    pub(crate) channels: u16,
    pub(crate) seats: u32,
    pub(crate) rate: &'static str,
    /// Lines of `[reservations]`.
    pub(crate) reservations: String,
    /// Further tables.
    pub(crate) tables: String,
}

/// A place for one server at a time.
pub(crate) struct Site {
    directory: PathBuf,
    process: Option<Process>,
    pub(crate) http: SocketAddr,
    pub(crate) viewers: SocketAddr,
    pub(crate) links: SocketAddr,
}

impl Site {
    /// Makes data directory, configuration and operator; starts nothing.
    #[track_caller]
    pub(crate) fn make(wishes: &Wishes) -> Self {
        static COUNT: AtomicU16 = AtomicU16::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let process = std::process::id();
        let directory =
            PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("bookings-{process}-{count}"));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).unwrap();
        let [_, high, middle, low] = process.to_be_bytes();
        let ip = IpAddr::V4(Ipv4Addr::new(127, 192 | (high & 0x1f), middle, low.clamp(1, 254)));
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
        let password = self.directory.join("password");
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

    fn config(&self) -> PathBuf {
        self.directory.join("slotcast.toml")
    }

    /// Its data directory.
    pub(crate) fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// Starts the server; it may not listen yet.
    #[track_caller]
    pub(crate) fn launch(&mut self) {
        let mut command = Command::new(program());
        command.arg("serve").arg("--config").arg(self.config()).env_remove("RUST_LOG");
        self.process = Some(Process::spawn("slotcast", &mut command));
    }

    /// Starts the server and waits until it answers.
    #[track_caller]
    pub(crate) fn start(&mut self) {
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
    pub(crate) fn change(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.config()).unwrap();
        fs::write(self.config(), text.replacen(from, to, 1)).unwrap();
    }

    /// Waits until a server that was launched has ended by itself.
    #[track_caller]
    pub(crate) fn wait(&mut self, limit: Duration) -> Finished {
        self.process.take().unwrap().wait(limit)
    }

    /// Ends the server as an operator does, with all that it wrote.
    #[track_caller]
    pub(crate) fn end(&mut self) -> Finished {
        self.process.take().unwrap().interrupt(START_MAX)
    }

    /// Kills the server, and waits until it is gone.
    #[track_caller]
    pub(crate) fn kill(&mut self) {
        let process = self.process.take().unwrap();
        process.signal(Signal::KILL);
        drop(process);
    }

    /// What the server wrote so far that begins as a panic does.
    pub(crate) fn panics(&mut self) -> Vec<String> {
        let lines = self.process.as_mut().map(|process| process.lines().to_vec()).unwrap_or_default();
        lines.into_iter().map(|line| line.text).filter(|text| text.contains("panicked")).collect()
    }

    /// A client with an address of its own.
    pub(crate) fn client(&self, index: usize) -> Client {
        Client::new(self.http, index)
    }

    /// The operator, logged in.
    #[track_caller]
    pub(crate) fn operator(&self) -> Client {
        let mut client = self.client(0);
        client.log_in(OPERATOR.0, OPERATOR.1, &["read", "operate"]);
        client
    }

    /// Tells the reservation ID that the first mail of a reservation brings.
    #[track_caller]
    pub(crate) fn reservation_ids(&self) -> impl Fn(i64) -> String + Sync + use<> {
        let vault = Vault::open_or_create(&self.data().join("secret.key")).unwrap();
        move |number| vault.reservation_id(ReservationNumber(number), 1).expose().to_owned()
    }
}

/// What is started: `SLOTCAST_PROGRAM`, such as one of a release build, else the one that was built with the test.
pub(crate) fn program() -> PathBuf {
    std::env::var_os("SLOTCAST_PROGRAM").map_or_else(|| env!("CARGO_BIN_EXE_slotcast").into(), PathBuf::from)
}

impl Drop for Site {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("what is left: {}", self.directory.display());
        } else {
            drop(self.process.take());
            let _ = fs::remove_dir_all(&self.directory);
        }
    }
}
