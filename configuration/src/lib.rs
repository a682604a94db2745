//! The configuration: one TOML file, the environment over it, the defaults under it.
//!
//! Owns: [`Config`], what an operator can set, read and checked as a whole.
//! Not here: what the settings do.
//! Invariant: the defaults stand in `default.toml` and nowhere else; everything that is wrong is reported at once, each
//! with its line; unknown keys are refused; no message and no `Debug` shows a secret.

mod check;
mod document;
mod problem;
mod reservations;
mod sections;
mod values;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    time::Duration,
};

use sha2::{Digest, Sha256};
use slotcast_admission::{Channel, GuessLimits, ProgramSpec};
use slotcast_core::{
    time::WallTime,
    words::{BitRate, ChannelNumber, ProgramId},
};
use toml::de::DeTable;

pub use problem::{Place, Problem, Problems, Severity};
pub use reservations::{AccessPort, Mail, Payments, Reservations, Retention};

/// The commented configuration with every default; what `slotcast print-config` prints.
pub const COMMENTED_DEFAULT: &str = include_str!("default.toml");

/// Largest configuration file that is read.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Everything that an operator sets.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The provider's own words: slot, currency, uplink.
    pub server: Server,
    /// The viewers' side.
    pub viewers: Viewers,
    /// The broadcasters' side.
    pub links: Links,
    /// Health, the API, and metrics for this machine.
    pub http: Http,
    /// Metrics for others.
    pub metrics: Metrics,
    /// Pictures of what is on air.
    pub stills: Stills,
    /// What is logged, and how.
    pub log: Log,
    /// What is sold.
    pub channels: Vec<Channel>,
    /// What is known to be broadcast.
    pub programs: Vec<ProgramSpec>,
    /// How the channels are sold; `None`: they are not, and `programs` is all there is.
    pub reservations: Option<Reservations>,
}

/// `[server]`
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// The unit of booking and pricing.
    pub slot: Duration,
    /// ISO 4217.
    pub currency: String,
    /// What the machine can send.
    pub uplink: BitRate,
    /// Whether more than the uplink may be sold.
    pub oversell: bool,
    /// How long running programs may go on after SIGTERM.
    pub drain: Duration,
    /// NTP servers with which the clock is compared, `HOST:PORT` each.
    pub ntp: Vec<String>,
}

/// How many threads send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workers {
    /// As many as there are cores.
    OnePerCore,
    /// So many.
    Fixed(NonZeroUsize),
}

impl Workers {
    /// How many that is on this machine, 1 or more.
    pub fn count(self) -> usize {
        match self {
            Self::OnePerCore => std::thread::available_parallelism().map_or(1, usize::from),
            Self::Fixed(count) => count.get(),
        }
    }
}

/// Whether the kernel cuts one large UDP send into packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GsoPolicy {
    /// Where kernel and device can.
    Auto,
    /// Never.
    Off,
}

/// `[viewers]`
#[derive(Clone, Debug, PartialEq)]
pub struct Viewers {
    /// RTSP for viewers.
    pub listen: SocketAddr,
    /// Whether UDP is offered.
    pub udp: bool,
    /// UDP ports from which RTP and RTCP of the first worker leave; worker `i` has the pair that lies `2 * i` higher.
    pub rtp_ports: [u16; 2],
    /// Threads that send.
    pub workers: Workers,
    /// Whether each keeps to a core of its own.
    pub pin: bool,
    /// Whether the kernel cuts one send into packets.
    pub gso: GsoPolicy,
    /// RTSP connections in all.
    pub connections: usize,
    /// RTSP connections from one address.
    pub per_address: usize,
    /// Until an RTSP session without a sign of life counts as gone; whole seconds.
    pub session_timeout: Duration,
    /// How far a viewer may be behind before it jumps to the newest key frame.
    pub slow_viewer: Duration,
    /// How long a viewer may take no byte before it is cut.
    pub stalled_viewer: Duration,
    /// Wrong passwords that are looked at.
    pub guesses: GuessLimits,
}

/// `[links]`
#[derive(Clone, Debug, PartialEq)]
pub struct Links {
    /// One per access port.
    pub listen: Vec<SocketAddr>,
    /// UDP ports on which media arrives; `None`: over TCP only.
    pub rtp_ports: Option<[u16; 2]>,
    /// Links at once.
    pub lines: usize,
    /// Links at once from one address.
    pub per_address: usize,
    /// How much earlier than its window a link is accepted.
    pub before: Duration,
    /// How much later it is closed.
    pub after: Duration,
    /// How long a connection may stay without a valid reservation ID.
    pub gate_deadline: Duration,
    /// Connections without one, in all.
    pub waiting: usize,
    /// Connections without one, from one address.
    pub waiting_per_address: usize,
    /// How much of its channel's rate an encoder may send at once, as time.
    pub burst: Duration,
}

/// `[http]`
#[derive(Clone, Debug, PartialEq)]
pub struct Http {
    /// `None`: no HTTP.
    pub listen: Option<SocketAddr>,
}

/// `[metrics]`
#[derive(Clone, Debug, PartialEq)]
pub struct Metrics {
    /// `None`: metrics are on the address of `[http]`, for this machine alone.
    pub listen: Option<SocketAddr>,
}

/// `[stills]`
#[derive(Clone, Debug, PartialEq)]
pub struct Stills {
    /// The program that turns key frames into JPEGs; `None`: there are no stills.
    pub ffmpeg: Option<PathBuf>,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `[log]`
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// A level, or directives by module.
    pub level: String,
    /// For people or for machines.
    pub format: LogFormat,
}

/// The environment variables that may override the file.
#[derive(Clone, Debug, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Those of this process. Text that is not UTF-8 is not ours.
    pub fn of_process() -> Self {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        Self(variables.into_iter().collect())
    }
}

/// A configuration that can run, and what the operator may not have meant.
#[derive(Clone, Debug)]
pub struct Checked {
    /// What to run.
    pub config: Config,
    /// Only warnings.
    pub warnings: Problems,
}

impl Config {
    /// Reads and checks the file at `path`. The error holds everything that was found, warnings too.
    pub fn load(path: &Path, environment: &Environment) -> Result<Checked, Problems> {
        let name = path.display().to_string();
        let text = read_file(path)
            .map_err(|text| Problems::new(&name, vec![Problem::error(Place::Absent, text)]))?;
        let directory = path.parent().unwrap_or_else(|| Path::new(""));
        Self::read(&name, &text, directory, environment)
    }

    /// Reads and checks `text` as a file of the working directory, without any environment.
    ///
    /// ```
    /// use slotcast_configuration::{Config, Problems};
    ///
    /// let channel = "[[channels]]\nnumber = 4\nname = \"channel4\"\nseats = 50\nrate = \"2Mbit/s\"\n";
    /// let checked = Config::parse(channel)?;
    /// assert_eq!(checked.config.egress(), 100_000_000);
    ///
    /// let wrong = Config::parse("[viewers]\nlisen = \"0.0.0.0:8554\"\n").unwrap_err();
    /// assert!(wrong.to_string().starts_with("config:2: error: viewers: unknown key \"lisen\"; did you mean \"listen\"?"));
    /// # Ok::<(), Problems>(())
    /// ```
    ///
    /// Errors: everything that was found, warnings too.
    pub fn parse(text: &str) -> Result<Checked, Problems> {
        Self::read("config", text, Path::new(""), &Environment::default())
    }

    /// Reads and checks `text`.
    ///
    /// - `name`: what messages call the file.
    /// - `directory`: where relative names of secret files start.
    pub fn read(
        name: &str,
        text: &str,
        directory: &Path,
        environment: &Environment,
    ) -> Result<Checked, Problems> {
        let defaults = tables(COMMENTED_DEFAULT).map_err(|found| Problems::new("the defaults", found))?;
        let file = tables(text).map_err(|found| Problems::new(name, found))?;
        let mut reader = document::Reader::new(text, &file, &defaults, environment, directory);
        let draft = sections::Draft::read(&mut reader);
        let (places, mut problems) = reader.finish();
        check::check(&draft, &places, &mut problems);
        let problems = Problems::new(name, problems);
        match draft.into_config() {
            Some(config) if !problems.has_errors() => Ok(Checked { config, warnings: problems }),
            _ => Err(problems),
        }
    }

    /// What all channels send when every seat is taken, in bits per second.
    pub fn egress(&self) -> u64 {
        self.channels
            .iter()
            .map(|channel| check::egress(channel.seats, channel.class))
            .fold(0, u64::saturating_add)
    }
}

/// What names a program of the file between reloads: its channel, its start and its reservation ID. Changing one of
/// them makes another program; changing anything else changes the running one.
pub fn program_id(channel: ChannelNumber, start: WallTime, reservation_id: &str) -> ProgramId {
    let mut hash = Sha256::new();
    hash.update(channel.0.to_be_bytes());
    hash.update(start.as_micros().to_be_bytes());
    hash.update(reservation_id.as_bytes());
    let digest = hash.finalize();
    ProgramId(digest.iter().take(8).fold(0, |id, byte| id << 8 | u64::from(*byte)))
}

/// The TOML of `text`, or where its syntax is wrong.
fn tables(text: &str) -> Result<DeTable<'_>, Vec<Problem>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return Ok(table.into_inner());
    }
    let problem = |error: toml::de::Error| {
        let place =
            error.span().map_or(Place::Absent, |span| Place::Line(document::line_of(text, span.start)));
        Problem::error(place, format!("not TOML: {}", error.message().replace('\n', " ")))
    };
    Err(errors.into_iter().map(problem).collect())
}

fn read_file(path: &Path) -> Result<String, String> {
    let size = std::fs::metadata(path)
        .map_err(|error| format!("cannot read it: {error}; give a file that exists"))?;
    if !size.is_file() || size.len() > FILE_BYTES_MAX {
        return Err(format!("expected a file of at most {FILE_BYTES_MAX} bytes"));
    }
    std::fs::read_to_string(path).map_err(|error| format!("cannot read it: {error}"))
}
