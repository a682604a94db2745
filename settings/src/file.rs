//! The settings file's format, version 1: JSON, written and read strictly.
//!
//! Owns: [`SettingsFile`], its limits, [`SettingsFile::parse`] and [`SettingsFile::write`].
//! Refuses: another format or version, unknown and missing fields, texts and counts beyond their limits.
//! Invariant: an error tells no value of the file, for it holds secrets; what `write` gives, `parse` reads back the same.

use std::{fmt, net::Ipv6Addr, num::NonZeroU16, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use slotcast_core::{
    time::WallTime,
    words::{BitRate, ChannelName, OpenLevel, Seats, Window},
};
use subtle::ConstantTimeEq;

use super::commands::Commands;

/// The version that is written here, and the only one that is read.
pub const VERSION: u64 = 1;
/// Longest file that is read.
pub const FILE_BYTES_MAX: usize = 256 * 1024;
/// Most access ports.
pub const ACCESS_MAX: usize = 8;
/// Most characters of the ingest server's name, and of an access port's.
pub const NAME_CHARS_MAX: usize = 100;
/// Most mail addresses in the friend list.
pub const FRIENDS_MAX: usize = 50;
/// Most lines of one kind.
pub const LINES_MAX: usize = 128;
/// Largest number of a reservation: what JSON carries exactly.
pub const NUMBER_MAX: i64 = (1 << 53) - 1;
/// Longest line, in bytes.
pub const LINE_BYTES_MAX: usize = 4_096;

/// A text that is not shown by `Debug` and compared in constant time.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Hides `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// How media travels over a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// Interleaved in the RTSP connection.
    Tcp,
    /// RTP over UDP.
    Udp,
}

impl Transport {
    /// As ffmpeg and GStreamer call it, too.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// A host's name or address, as it stands in an `rtsp://` address but without brackets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Host(String);

impl Host {
    /// The name or address.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same; an IPv6 address in brackets.
    pub fn in_url(&self) -> String {
        if self.0.contains(':') { format!("[{}]", self.0) } else { self.0.clone() }
    }
}

/// Why a text is not what it should be; without the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected(pub &'static str);

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {}", self.0)
    }
}

impl std::error::Error for Expected {}

impl FromStr for Host {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        let is_name = (1..=253).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'));
        if is_name || text.parse::<Ipv6Addr>().is_ok() {
            Ok(Self(text.to_owned()))
        } else {
            Err(Expected("a host's name or address"))
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Viewers' address: `rtsp://host:port/channel`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WatchUrl(String);

impl WatchUrl {
    /// Of its parts.
    pub fn new(host: &Host, port: NonZeroU16, path: &ChannelName) -> Self {
        Self(format!("rtsp://{}:{port}/{path}", host.in_url()))
    }

    /// The address.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for WatchUrl {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        let parts = || {
            let (place, path) = text.strip_prefix("rtsp://")?.split_once('/')?;
            let (host, port) = place.rsplit_once(':')?;
            let host = match host.strip_prefix('[') {
                Some(address) => {
                    let address = address.strip_suffix(']')?;
                    address.parse::<Ipv6Addr>().ok()?;
                    address
                }
                None => host,
            };
            Some(Self::new(&host.parse().ok()?, port.parse().ok()?, &path.parse().ok()?))
        };
        parts().filter(|url| url.0 == text).ok_or(Expected("an address like rtsp://host:554/channel1"))
    }
}

impl fmt::Display for WatchUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a settings file calls itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Format {
    /// The only one.
    #[serde(rename = "slotcast-settings")]
    Settings,
}

/// Kind of ingest server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServerKind {
    /// RTSP with ANNOUNCE and RECORD (RFC 2326).
    Rtsp,
}

/// Where the link side listens: one per carrier or network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessPort {
    /// For people, 1 to 100 characters; each once.
    pub name: String,
    /// Where.
    #[serde(with = "as_text")]
    pub host: Host,
    /// Where.
    pub port: NonZeroU16,
    /// How media may travel there, the preferred first.
    pub transports: Vec<Transport>,
}

/// What was reserved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReservationPart {
    /// Names it: 1 to [`NUMBER_MAX`].
    pub number: i64,
    /// The reservation ID: opens the link.
    pub id: Secret,
    /// When the program is on air.
    #[serde(with = "as_window")]
    pub window: Window,
    /// When the link is accepted.
    #[serde(with = "as_window")]
    pub connect: Window,
}

/// Where to send.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IngestPart {
    /// Which protocol.
    pub kind: ServerKind,
    /// The server's name, for people, 1 to 100 characters.
    pub name: String,
    /// The stream path.
    #[serde(with = "as_text")]
    pub path: ChannelName,
    /// At least one, at most [`ACCESS_MAX`].
    pub access: Vec<AccessPort>,
}

/// What the channel gives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelPart {
    /// The bandwidth class, in bits per second.
    #[serde(with = "as_bits")]
    pub class: BitRate,
    /// How many viewers at once.
    #[serde(with = "as_count")]
    pub seats: Seats,
    /// Where viewers watch.
    #[serde(with = "as_text")]
    pub watch_url: WatchUrl,
}

/// What is broadcast.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProgramPart {
    /// 1 to 80 characters.
    pub title: String,
    /// 0 to 20 characters.
    pub outline: String,
    /// 0 to 40 characters.
    pub genre: String,
    /// Who may watch.
    #[serde(with = "as_level")]
    pub open_level: OpenLevel,
    /// The viewers' password; absent where the program is public.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// The friend list; at most [`FRIENDS_MAX`].
    pub friends: Vec<Secret>,
}

/// A settings file.
///
/// ```
/// use slotcast_settings::file::{SettingsError, SettingsFile};
///
/// let newer = br#"{ "format": "slotcast-settings", "version": 99 }"#;
/// assert_eq!(SettingsFile::parse(newer), Err(SettingsError::UnknownVersion { got: 99 }));
/// assert_eq!(SettingsFile::parse(b"{}"), Err(SettingsError::NotSettings));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SettingsFile {
    /// Tells it from other files.
    pub format: Format,
    /// [`VERSION`].
    pub version: u64,
    /// The provider's time when it was made.
    #[serde(with = "as_time")]
    pub made_at: WallTime,
    /// What was reserved.
    pub reservation: ReservationPart,
    /// Where to send.
    pub ingest: IngestPart,
    /// What the channel gives.
    pub channel: ChannelPart,
    /// What is broadcast.
    pub program: ProgramPart,
    /// Ready-made lines.
    pub commands: Commands,
}

/// Why a settings file cannot be read or written. Tells no value of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SettingsError {
    /// Longer than [`FILE_BYTES_MAX`].
    TooLong {
        /// In bytes.
        got: usize,
    },
    /// Not JSON, or not a settings file.
    NotSettings,
    /// Of a version that is not known here.
    UnknownVersion {
        /// Which.
        got: u64,
    },
    /// A field is missing, unknown, twice there, or not what it should be.
    Malformed {
        /// From 1; 0: unknown.
        line: usize,
        /// From 1; 0: unknown.
        column: usize,
        /// What would have been right.
        why: String,
    },
    /// A text or a list is beyond its limit.
    OutOfRange {
        /// Which, as a path like `.program.title`.
        field: &'static str,
        /// What would have been right.
        expected: &'static str,
    },
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { got } => {
                write!(f, "{got} bytes are too long for a settings file: at most {FILE_BYTES_MAX}")
            }
            Self::NotSettings => {
                f.write_str("not a settings file: expected JSON with \"format\": \"slotcast-settings\"; if it is sealed, open it with age first")
            }
            Self::UnknownVersion { got } => {
                write!(f, "a settings file of version {got}, and only version {VERSION} is known: take a newer program")
            }
            Self::Malformed { line, column, why } => write!(f, "line {line}, column {column}: {why}"),
            Self::OutOfRange { field, expected } => write!(f, "{field}: expected {expected}"),
        }
    }
}

impl std::error::Error for SettingsError {}

impl SettingsFile {
    /// Reads a file that is not sealed.
    ///
    /// - `bytes`: from outside; anything.
    /// - Errors: what is wrong, and where; never a panic, never a value of the file.
    pub fn parse(bytes: &[u8]) -> Result<Self, SettingsError> {
        if bytes.len() > FILE_BYTES_MAX {
            return Err(SettingsError::TooLong { got: bytes.len() });
        }
        let head: Head = serde_json::from_slice(bytes).map_err(|_| SettingsError::NotSettings)?;
        if head.format != Some("slotcast-settings".into()) {
            return Err(SettingsError::NotSettings);
        }
        if let Some(got) = head.version.as_ref().and_then(serde_json::Value::as_u64)
            && got != VERSION
        {
            return Err(SettingsError::UnknownVersion { got });
        }
        let file: Self = serde_json::from_slice(bytes).map_err(|error| malformed(&error))?;
        file.check()?;
        Ok(file)
    }

    /// Writes it as JSON, indented, with a line end.
    ///
    /// Errors: something in it is beyond its limit, so that nobody could read it.
    pub fn write(&self) -> Result<String, SettingsError> {
        self.check()?;
        let mut text = serde_json::to_string_pretty(self).map_err(|error| malformed(&error))?;
        text.push('\n');
        if text.len() > FILE_BYTES_MAX {
            return Err(SettingsError::TooLong { got: text.len() });
        }
        Ok(text)
    }

    /// Whether every text and list is within its limit.
    pub(super) fn check(&self) -> Result<(), SettingsError> {
        if self.version != VERSION {
            return Err(SettingsError::UnknownVersion { got: self.version });
        }
        check_times(self)?;
        check_reservation(&self.reservation)?;
        check_access(&self.ingest.name, &self.ingest.access)?;
        check_program(&self.program)?;
        check_commands(&self.commands)
    }
}

/// As much as tells which format and version it is.
#[derive(Deserialize)]
struct Head {
    format: Option<serde_json::Value>,
    version: Option<serde_json::Value>,
}

/// Keeps of serde_json's text only what is made of names in this room: the rest quotes the file.
fn malformed(error: &serde_json::Error) -> SettingsError {
    let text = error.to_string();
    let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text);
    let why = if text.starts_with("missing field `") || text.starts_with("duplicate field `") {
        text.to_owned()
    } else if let Some((said, expected)) = text.rsplit_once("expected ") {
        let what = if said.starts_with("unknown field") { "an unknown field: " } else { "" };
        format!("{what}expected {expected}")
    } else {
        "not JSON".to_owned()
    };
    SettingsError::Malformed { line: error.line(), column: error.column(), why }
}

fn require(holds: bool, field: &'static str, expected: &'static str) -> Result<(), SettingsError> {
    if holds { Ok(()) } else { Err(SettingsError::OutOfRange { field, expected }) }
}

/// Whether `text` has so many characters, and none that controls a terminal.
fn is_text(text: &str, range: std::ops::RangeInclusive<usize>) -> bool {
    // Cheap first: no character has more than four bytes.
    text.len() <= 4 * range.end()
        && range.contains(&text.chars().count())
        && !text.chars().any(char::is_control)
}

/// Whether `text` may be an e-mail address: visible ASCII around one `@`, at most 254 bytes. The server's rule is narrower.
fn is_address(text: &str) -> bool {
    let has_parts =
        text.split_once('@').is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty());
    has_parts && text.len() <= 254 && text.bytes().all(|b| b.is_ascii_graphic())
}

fn check_times(file: &SettingsFile) -> Result<(), SettingsError> {
    let (window, connect) = (file.reservation.window, file.reservation.connect);
    let times = [file.made_at, window.start(), window.end(), connect.start(), connect.end()];
    let is_time = |time: WallTime| jiff::Timestamp::from_microsecond(time.as_micros()).is_ok();
    require(
        times.into_iter().all(is_time),
        ".made_at, .reservation",
        "times between the years -9999 and 9999",
    )?;
    require(
        connect.start() <= window.start() && window.end() <= connect.end(),
        ".reservation.connect",
        "a connect window that holds the window",
    )
}

fn check_reservation(part: &ReservationPart) -> Result<(), SettingsError> {
    require((1..=NUMBER_MAX).contains(&part.number), ".reservation.number", "1 to 2^53 - 1")?;
    let id = part.id.expose();
    let is_id = (1..=128).contains(&id.len())
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~'));
    require(is_id, ".reservation.id", "1 to 128 letters, digits, '-', '.', '_' or '~'")
}

/// Whether these can be the ingest server's name and its access ports.
pub(super) fn check_access(name: &str, ports: &[AccessPort]) -> Result<(), SettingsError> {
    require(is_text(name, 1..=NAME_CHARS_MAX), ".ingest.name", "1 to 100 characters")?;
    require((1..=ACCESS_MAX).contains(&ports.len()), ".ingest.access", "1 to 8 access ports")?;
    for (at, access) in ports.iter().enumerate() {
        require(is_text(&access.name, 1..=NAME_CHARS_MAX), ".ingest.access[].name", "1 to 100 characters")?;
        let is_first = ports[..at].iter().all(|other| other.name != access.name);
        require(is_first, ".ingest.access[].name", "each name once")?;
        let right = match access.transports[..] {
            [_] => true,
            [first, second] => first != second,
            _ => false,
        };
        require(right, ".ingest.access[].transports", "tcp, udp or both, each once")?;
    }
    Ok(())
}

fn check_program(part: &ProgramPart) -> Result<(), SettingsError> {
    require(is_text(&part.title, 1..=80), ".program.title", "1 to 80 characters")?;
    require(is_text(&part.outline, 0..=20), ".program.outline", "0 to 20 characters")?;
    require(is_text(&part.genre, 0..=40), ".program.genre", "0 to 40 characters")?;
    require(part.friends.len() <= FRIENDS_MAX, ".program.friends", "at most 50 addresses")?;
    let are_addresses = part.friends.iter().all(|friend| is_address(friend.expose()));
    require(are_addresses, ".program.friends", "e-mail addresses like name@example.com")?;
    let right = match &part.password {
        None => part.open_level == OpenLevel::Public,
        Some(password) => {
            let password = password.expose();
            part.open_level != OpenLevel::Public
                && (1..=64).contains(&password.len())
                && password.bytes().all(|b| b.is_ascii_graphic())
        }
    };
    let expected =
        "1 to 64 printable ASCII characters without space, unless the program is public: then none";
    require(right, ".program.password", expected)
}

fn check_commands(commands: &Commands) -> Result<(), SettingsError> {
    let is_line =
        |line: &Secret| is_text(line.expose(), 1..=LINE_BYTES_MAX) && line.expose().len() <= LINE_BYTES_MAX;
    for (field, lines) in [(".commands.broadcast", &commands.broadcast), (".commands.watch", &commands.watch)]
    {
        require(lines.len() <= LINES_MAX, field, "at most 128 lines")?;
        for line in lines {
            require(is_line(&line.line), field, "lines of 1 to 4096 bytes")?;
            let names = is_text(&line.program, 1..=40)
                && line.access.as_deref().is_none_or(|access| is_text(access, 1..=100));
            require(names, field, "a program of 1 to 40, an access port's name of 1 to 100 characters")?;
        }
    }
    require(commands.obs.len() <= 2 * ACCESS_MAX, ".commands.obs", "at most 16 forms")?;
    for form in &commands.obs {
        require(
            is_text(&form.access, 1..=100),
            ".commands.obs",
            "an access port's name of 1 to 100 characters",
        )?;
        require(form.fields.len() <= 40, ".commands.obs", "at most 40 fields")?;
        let right = |field: &super::commands::Field| is_text(&field.name, 1..=100) && is_line(&field.value);
        require(
            form.fields.iter().all(right),
            ".commands.obs",
            "fields of 1 to 100, values of 1 to 4096 bytes",
        )?;
    }
    Ok(())
}

/// Written with `Display`, read with `FromStr`; the error names what was expected.
mod as_text {
    use super::*;

    pub(super) trait Text: fmt::Display + FromStr {
        const EXPECTED: &'static str;
    }
    impl Text for Host {
        const EXPECTED: &'static str = "a host's name or address";
    }
    impl Text for WatchUrl {
        const EXPECTED: &'static str = "an address like rtsp://host:554/channel1";
    }
    impl Text for ChannelName {
        const EXPECTED: &'static str = "a name of 1 to 64 letters, digits, '.', '_' or '-'";
    }

    pub(super) fn serialize<T: Text, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    pub(super) fn deserialize<'de, T: Text, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(|_| D::Error::custom(Expected(T::EXPECTED)))
    }
}

/// RFC 3339 in UTC, with `Z`.
mod as_time {
    use super::*;

    pub(super) fn serialize<S: Serializer>(time: &WallTime, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(time)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<WallTime, D::Error> {
        let text = String::deserialize(from)?;
        let time = text.parse().ok().filter(|_| text.ends_with('Z') && text.len() <= 40);
        time.ok_or_else(|| D::Error::custom(Expected("a time like 2026-11-22T10:00:00Z, in UTC")))
    }
}

/// `start` and `end`.
mod as_window {
    use super::*;

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Span {
        #[serde(with = "as_time")]
        start: WallTime,
        #[serde(with = "as_time")]
        end: WallTime,
    }

    pub(super) fn serialize<S: Serializer>(window: &Window, to: S) -> Result<S::Ok, S::Error> {
        Span { start: window.start(), end: window.end() }.serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Window, D::Error> {
        let Span { start, end } = Span::deserialize(from)?;
        Window::new(start, end).map_err(|_| D::Error::custom(Expected("a window that ends after its start")))
    }
}

mod as_bits {
    use super::*;

    pub(super) fn serialize<S: Serializer>(rate: &BitRate, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(rate.bits_per_second())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<BitRate, D::Error> {
        BitRate::new(u64::deserialize(from)?)
            .map_err(|_| D::Error::custom(Expected("1 to 10^12 bits per second")))
    }
}

mod as_count {
    use super::*;

    pub(super) fn serialize<S: Serializer>(seats: &Seats, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u32(seats.count())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Seats, D::Error> {
        Seats::new(u32::deserialize(from)?).map_err(|_| D::Error::custom(Expected("1 to 1048575 seats")))
    }
}

mod as_level {
    use super::*;

    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Level {
        Public,
        Password,
        Secret,
    }

    pub(super) fn serialize<S: Serializer>(level: &OpenLevel, to: S) -> Result<S::Ok, S::Error> {
        let level = match level {
            OpenLevel::Public => Level::Public,
            OpenLevel::Password => Level::Password,
            OpenLevel::Secret => Level::Secret,
        };
        level.serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<OpenLevel, D::Error> {
        Ok(match Level::deserialize(from)? {
            Level::Public => OpenLevel::Public,
            Level::Password => OpenLevel::Password,
            Level::Secret => OpenLevel::Secret,
        })
    }
}
