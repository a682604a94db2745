//! `slotcast serve` as a process that sells its channels: a config, a data directory, an operator, and the mails that it
//! wrote.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;

use super::api::Client;
use super::process::{Finished, Process};
use super::{program, wait_for};

/// The operator's user ID and password.
pub const OPERATOR: (&str, &str) = ("operator", "an operator's password");
/// Of members that tests register.
pub const PASSWORD: &str = "a long pass phrase";
/// The length of a slot, in seconds.
pub const SLOT: i64 = 6;
/// What a slot costs.
pub const TOLL: i64 = 1000;
/// Viewers of the channel at once.
pub const SEATS: u32 = 3;
/// How long a link may stay after the window, in seconds.
pub const LINK_AFTER: i64 = 2;
/// What a command at the machine takes at most.
const COMMAND_WITHIN: Duration = Duration::from_secs(20);

/// A letter as it was put into the mail folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Letter {
    pub to: String,
    pub subject: String,
    pub text: String,
}

/// A running server. Dropping it ends it, and fails the test if it panicked or wrote a secret to its log.
pub struct Provider {
    process: Option<Process>,
    config: PathBuf,
    data: PathBuf,
    secrets: Vec<String>,
    http: SocketAddr,
    /// As the log tells them.
    pub viewers: SocketAddr,
    /// As the log tells them.
    pub links: SocketAddr,
}

impl Provider {
    /// Writes a config into the room, makes the operator, and starts the server on the data directory `data` of the
    /// room.
    ///
    /// - `database`: an URL; `None`: SQLite in the data directory.
    #[track_caller]
    pub fn start(room: &TempDir, data: &str, database: Option<&str>) -> Self {
        Self::start_with_slots(room, data, database, SLOT)
    }

    /// The same with slots of so many seconds.
    #[track_caller]
    pub fn start_with_slots(room: &TempDir, data: &str, database: Option<&str>, slot: i64) -> Self {
        let this = Self::write(room, data, database, slot);
        let password = room.path().join("operator-password");
        fs::write(&password, format!("{}\n", OPERATOR.1)).unwrap();
        let made = this.admin(&[
            "create-operator",
            "--user-id",
            OPERATOR.0,
            "--name",
            "The operator",
            "--email",
            "operator@example.com",
            "--password-file",
            &password.display().to_string(),
        ]);
        assert!(made.status.success(), "{}", made.text());
        this.serve()
    }

    /// Only the config; nothing runs.
    pub fn prepare(room: &TempDir, data: &str, database: Option<&str>) -> Self {
        Self::write(room, data, database, SLOT)
    }

    fn write(room: &TempDir, data: &str, database: Option<&str>, slot: i64) -> Self {
        let http = place();
        let config = room.path().join(format!("{data}.toml"));
        let data = room.path().join(data);
        fs::write(&config, config_text(http, &data, database, slot)).unwrap();
        let nowhere = SocketAddr::from((http.ip().to_string().parse::<Ipv4Addr>().unwrap(), 0));
        Self { process: None, config, data, secrets: Vec::new(), http, viewers: nowhere, links: nowhere }
    }

    /// Starts the server, and reads from its log where it listens.
    #[track_caller]
    pub fn serve(mut self) -> Self {
        let mut command = self.slotcast();
        command.arg("serve").arg("--config").arg(&self.config);
        let mut process = Process::spawn("slotcast", &mut command);
        let line = process.wait_for_line(COMMAND_WITHIN, |line| line.contains("slotcast runs"));
        let address = |name: &str| {
            let (_, rest) = line.text.split_once(&format!(" {name}=")).unwrap();
            rest.split(' ').next().unwrap().trim_matches('"').parse::<SocketAddr>().unwrap()
        };
        (self.viewers, self.links) = (address("viewers"), address("links"));
        assert!(self.viewers.port() != 0 && self.links.port() != 0, "{}", line.text);
        self.process = Some(process);
        self
    }

    fn slotcast(&self) -> Command {
        let mut command = Command::new(program());
        command.env_remove("RUST_LOG");
        command
    }

    /// `slotcast admin` with this server's config.
    #[track_caller]
    pub fn admin(&self, arguments: &[&str]) -> Finished {
        let mut command = self.slotcast();
        command.arg("admin").arg("--config").arg(&self.config).args(arguments);
        Process::spawn("slotcast admin", &mut command).wait(COMMAND_WITHIN)
    }

    /// The data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Tries to start the server with one more setting from the environment.
    pub fn try_with(&self, variable: &str, value: &str) -> Finished {
        let mut command = self.slotcast();
        command.arg("serve").arg("--config").arg(&self.config).env(variable, value);
        Process::spawn("slotcast", &mut command).wait(COMMAND_WITHIN)
    }

    /// Where API and pages are.
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// Somebody who has not logged in.
    pub fn anybody(&self) -> Client {
        Client::new(self.http)
    }

    /// The operator, logged in.
    #[track_caller]
    pub fn operator(&self) -> Client {
        self.anybody().log_in(OPERATOR.0, OPERATOR.1)
    }

    /// A member who may reserve and pays by invoice, logged in.
    #[track_caller]
    pub fn premium(&self, user_id: &str) -> Client {
        let registration = json!({
            "user_id": user_id,
            "name": format!("Name of {user_id}"),
            "reading": "Reading",
            "email": format!("{user_id}@example.com"),
            "password": PASSWORD,
            "premium": { "address": "1-1 Chiyoda, Tokyo", "phone": "+81 3 0000 0000" },
        });
        self.anybody().post("/members", &registration).expect(201);
        self.anybody().log_in(user_id, PASSWORD)
    }

    /// What must never stand in the log.
    pub fn keep_secret(&mut self, secret: &str) {
        self.secrets.push(secret.to_owned());
    }

    /// The letters so far.
    pub fn letters(&self) -> Vec<Letter> {
        let files = fs::read_dir(self.data.join("mail")).into_iter().flatten().flatten();
        let whole = files.filter(|file| file.file_name().to_string_lossy().ends_with(".eml"));
        let mut letters: Vec<_> =
            whole.map(|file| letter(&fs::read_to_string(file.path()).unwrap())).collect();
        letters.sort();
        letters
    }

    /// The reservation ID from the one letter that brought it.
    #[track_caller]
    pub fn mailed_id(&self) -> String {
        let looks_right = |word: &&str| word.len() == 30 && word.matches('-').count() == 4;
        let found = wait_for(Duration::from_secs(10), || {
            let letters = self.letters();
            let letter = letters.iter().find(|letter| letter.subject.contains("Your reservation ID"))?;
            letter.text.split_whitespace().find(looks_right).map(str::to_owned)
        });
        found.unwrap_or_else(|| panic!("no reservation ID in {:#?}", self.letters()))
    }

    /// The page of `/metrics`, and from it the viewers of the channel as the media side counts them.
    #[track_caller]
    pub fn viewers_counted(&self) -> u32 {
        let page = self.anybody().page("/metrics").expect(200).text;
        let lines = page.lines().filter(|line| line.starts_with("slotcast_viewers{"));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>() as u32
    }

    /// What the server has written so far.
    pub fn log(&mut self) -> Vec<String> {
        let process = self.process.as_mut().expect("a server that runs");
        process.lines().iter().map(|line| line.text.clone()).collect()
    }

    /// Ends the server as an operator would, and looks at what it wrote.
    #[track_caller]
    pub fn stop(&mut self) {
        let Some(process) = self.process.take() else { return };
        process.signal(Signal::TERM);
        let finished = process.wait(Duration::from_secs(25));
        let log = finished.text();
        assert!(finished.status.success(), "the server ended with {}:\n{log}", finished.status);
        assert!(!log.contains("panicked"), "the server panicked:\n{log}");
        for secret in &self.secrets {
            assert!(!log.contains(secret.as_str()), "the server wrote a secret to its log:\n{log}");
        }
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.stop();
        }
        // Otherwise dropping the process prints its log.
    }
}

/// An address that no other test has which runs now: the number of the process makes it, the number of the server within
/// the process makes the port.
fn place() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    let ip = Ipv4Addr::new(127, 128 | (high & 0x3f), middle, low);
    SocketAddr::from((ip, 1_200 + NEXT.fetch_add(1, Ordering::Relaxed)))
}

/// Everything short, so that a whole life takes less than a minute; ports that the system chooses for media.
fn config_text(http: SocketAddr, data: &Path, database: Option<&str>, slot: i64) -> String {
    let ip = http.ip();
    let database = database.map_or_else(String::new, |url| format!("database = \"{url}\"\n"));
    format!(
        "[server]\nslot = \"{slot}s\"\ndrain = \"100ms\"\n\n\
         [viewers]\nlisten = \"{ip}:0\"\nrtp_ports = [0, 0]\nworkers = 1\n\n\
         [links]\nlisten = [\"{ip}:0\"]\nrtp_ports = [0, 0]\nbefore = \"10s\"\nafter = \"{LINK_AFTER}s\"\n\n\
         [http]\nlisten = \"{http}\"\n\n\
         [reservations]\nenabled = true\ndata = \"{}\"\n{database}provider = \"Test provider\"\n\
         public_url = \"http://{http}\"\nviewers_host = \"{ip}\"\nremind_before = \"0s\"\nextend_from = \"{}s\"\n\n\
         [[channels]]\nnumber = 4\nname = \"channel4\"\nseats = {SEATS}\nrate = \"2Mbit/s\"\ntoll = {TOLL}\n",
        data.display(),
        2 * slot,
    )
}

/// Reads the headers that tests ask for; lines that were folded are put together.
fn letter(text: &str) -> Letter {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
    let head = head.replace("\r\n ", " ").replace("\r\n\t", " ");
    let field = |name: &str| {
        let lines = head.split("\r\n").filter_map(|line| line.split_once(": "));
        let found =
            lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned());
        found.collect::<Vec<_>>().join(" and ")
    };
    Letter { to: field("To"), subject: words(&field("Subject")), text: body.to_owned() }
}

/// A header's text: as it stands, or of encoded words in base 64 (RFC 2047), between which spaces do not count.
fn words(field: &str) -> String {
    let encoded = |word: &str| {
        let code = word.strip_prefix("=?utf-8?B?")?.strip_suffix("?=")?;
        BASE64.decode(code).ok()
    };
    let bytes: Option<Vec<_>> = field.split(' ').map(encoded).collect();
    bytes.map_or_else(|| field.to_owned(), |bytes| String::from_utf8(bytes.concat()).unwrap())
}
