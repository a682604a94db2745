//! How one value is written in the file or in the environment.
//!
//! Owns: [`Raw`] and a reader per kind of value; each says what it expected and what came.
//! Invariant: readers of secrets never repeat what came.

use std::{net::SocketAddr, num::NonZeroUsize, time::Duration};

use slotcast_core::{
    time::WallTime,
    words::{BitRate, ChannelName, OpenLevel, Seats},
};
use slotcast_reservation::limits::GATHER_MAX;
use toml::de::DeValue;

use super::{GsoPolicy, LogFormat, Workers};

/// A value as it was written.
#[derive(Clone, Copy)]
pub(super) enum Raw<'a> {
    /// In the file.
    Toml(&'a DeValue<'a>),
    /// In the environment: text without quotes; lists are separated by commas.
    Variable(&'a str),
}

/// What came of reading: the value, or what was expected and what came.
pub(super) type Reading<T> = Result<T, String>;

impl<'a> Raw<'a> {
    fn kind(self) -> &'static str {
        match self {
            Self::Variable(_) | Self::Toml(DeValue::String(_)) => "a text",
            Self::Toml(DeValue::Integer(_) | DeValue::Float(_)) => "a number",
            Self::Toml(DeValue::Boolean(_)) => "true or false",
            Self::Toml(DeValue::Datetime(_)) => "a time",
            Self::Toml(DeValue::Array(_)) => "a list",
            Self::Toml(DeValue::Table(_)) => "a table",
        }
    }

    fn shown(self) -> String {
        match self {
            Self::Variable(text) => format!("{text:?}"),
            Self::Toml(DeValue::String(text)) => format!("{text:?}"),
            Self::Toml(DeValue::Integer(number)) => number.to_string(),
            Self::Toml(DeValue::Float(number)) => number.to_string(),
            Self::Toml(DeValue::Boolean(yes)) => yes.to_string(),
            Self::Toml(DeValue::Datetime(time)) => time.to_string(),
            Self::Toml(DeValue::Array(_) | DeValue::Table(_)) => self.kind().to_owned(),
        }
    }

    pub(super) fn as_text(self) -> Option<&'a str> {
        match self {
            Self::Variable(text) => Some(text),
            Self::Toml(value) => value.as_str(),
        }
    }

    pub(super) fn items(self) -> Option<Vec<Self>> {
        match self {
            Self::Variable("") => Some(Vec::new()),
            Self::Variable(text) => Some(text.split(',').map(|item| Self::Variable(item.trim())).collect()),
            Self::Toml(value) => {
                value.as_array().map(|array| array.iter().map(|item| Self::Toml(item.get_ref())).collect())
            }
        }
    }

    pub(super) fn expected(self, what: &str) -> String {
        format!("expected {what}, got {}", self.shown())
    }
}

/// Any text.
pub(super) fn text(raw: Raw<'_>) -> Reading<String> {
    raw.as_text().map(str::to_owned).ok_or_else(|| raw.expected("a text in quotes"))
}

/// A text that no message may repeat.
pub(super) fn secret(raw: Raw<'_>) -> Reading<String> {
    match raw.as_text() {
        Some("") => Err("expected a text that is not empty".to_owned()),
        Some(text) if text.len() > slotcast_auth::limits::SECRET_BYTES_MAX => Err(format!(
            "expected at most {} bytes, got {}",
            slotcast_auth::limits::SECRET_BYTES_MAX,
            text.len()
        )),
        Some(text) if text.chars().any(char::is_control) => {
            Err("expected one line without control characters".to_owned())
        }
        Some(text) => Ok(text.to_owned()),
        None => Err(format!("expected a text in quotes, got {}", raw.kind())),
    }
}

/// `true` or `false`.
pub(super) fn yes_or_no(raw: Raw<'_>) -> Reading<bool> {
    match raw {
        Raw::Toml(DeValue::Boolean(yes)) => Ok(*yes),
        Raw::Variable("true") => Ok(true),
        Raw::Variable("false") => Ok(false),
        _ => Err(raw.expected("true or false, without quotes")),
    }
}

/// A whole number from 0.
pub(super) fn number(raw: Raw<'_>) -> Reading<u64> {
    let parsed = match raw {
        Raw::Toml(DeValue::Integer(integer)) => u64::from_str_radix(integer.as_str(), integer.radix()).ok(),
        Raw::Variable(text) => text.parse().ok(),
        Raw::Toml(_) => None,
    };
    parsed.ok_or_else(|| raw.expected("a whole number from 0, without quotes"))
}

/// A whole number from 1 to a million.
pub(super) fn count(raw: Raw<'_>) -> Reading<usize> {
    match number(raw) {
        Ok(number @ 1..=1_000_000) => Ok(number as usize),
        _ => Err(raw.expected("a whole number from 1 to 1000000, without quotes")),
    }
}

/// Wrong passwords: fewer than 3 would punish a typing error.
pub(super) fn guesses(raw: Raw<'_>) -> Reading<u32> {
    match number(raw) {
        Ok(number @ 3..=1_000_000) => Ok(number as u32),
        _ => Err(raw.expected("a whole number from 3 to 1000000, without quotes")),
    }
}

/// A shorter window than a second would limit nothing.
pub(super) fn guess_window(raw: Raw<'_>) -> Reading<Duration> {
    let window = duration(raw)?;
    if window >= Duration::from_secs(1) { Ok(window) } else { Err(raw.expected("a duration of 1 s or more")) }
}

/// A channel's number.
pub(super) fn channel_number(raw: Raw<'_>) -> Reading<u16> {
    number(raw)
        .ok()
        .and_then(|number| u16::try_from(number).ok())
        .ok_or_else(|| raw.expected("a channel number from 0 to 65535, without quotes"))
}

/// A channel's name.
pub(super) fn channel_name(raw: Raw<'_>) -> Reading<ChannelName> {
    text(raw)?.parse().map_err(|error: slotcast_core::words::WordError| error.to_string())
}

/// Seats.
pub(super) fn seats(raw: Raw<'_>) -> Reading<Seats> {
    let count = number(raw)?;
    Seats::new(u32::try_from(count).unwrap_or(u32::MAX)).map_err(|_| raw.expected("1 to 1048575 seats"))
}

/// A bit rate.
pub(super) fn rate(raw: Raw<'_>) -> Reading<BitRate> {
    match raw.as_text() {
        Some(text) => text.parse().map_err(|error: slotcast_core::words::WordError| error.to_string()),
        None => Err(raw.expected("a rate like \"64kbit/s\" or \"2Mbit/s\"")),
    }
}

/// `500ms`, `10s`, `5m`, `6h`, `2d`: at most 366 days.
pub(super) fn duration(raw: Raw<'_>) -> Reading<Duration> {
    const MAX: Duration = Duration::from_secs(366 * 86_400);
    let read = |text: &str| {
        let unit_at = text.find(|c: char| !c.is_ascii_digit())?;
        let (number, unit) = text.split_at(unit_at);
        let number: u64 = number.parse().ok()?;
        let millis_per_unit = match unit.trim_start() {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        Some(Duration::from_millis(number.checked_mul(millis_per_unit)?)).filter(|time| *time <= MAX)
    };
    raw.as_text()
        .and_then(read)
        .ok_or_else(|| raw.expected("a duration like \"500ms\", \"10s\", \"5m\" or \"6h\""))
}

/// A duration that is not zero.
pub(super) fn span(raw: Raw<'_>) -> Reading<Duration> {
    match duration(raw)? {
        Duration::ZERO => Err(raw.expected("a duration above zero")),
        time => Ok(time),
    }
}

/// RTSP says it in whole seconds, and players ask for less than a minute's patience.
pub(super) fn session_timeout(raw: Raw<'_>) -> Reading<Duration> {
    match duration(raw)? {
        time if time.subsec_nanos() == 0 && (10..=3_600).contains(&time.as_secs()) => Ok(time),
        _ => Err(raw.expected("whole seconds from \"10s\" to \"1h\"")),
    }
}

/// Less would make viewers jump for a hiccup of the network; the log holds no more.
pub(super) fn slow_viewer(raw: Raw<'_>) -> Reading<Duration> {
    match duration(raw)? {
        time if (200..=10_000).contains(&time.as_millis()) => Ok(time),
        _ => Err(raw.expected("a duration from \"200ms\" to \"10s\"")),
    }
}

/// Less would cut viewers whom a radio link leaves alone for a moment.
pub(super) fn stalled_viewer(raw: Raw<'_>) -> Reading<Duration> {
    match duration(raw)? {
        time if (1_000..=600_000).contains(&time.as_millis()) => Ok(time),
        _ => Err(raw.expected("a duration from \"1s\" to \"10m\"")),
    }
}

/// How long sound may wait for a picture.
pub(super) fn gather(raw: Raw<'_>) -> Reading<Duration> {
    match duration(raw)? {
        time if time <= GATHER_MAX => Ok(time),
        _ => Err(raw.expected(&format!("a duration from \"0ms\" to \"{}ms\"", GATHER_MAX.as_millis()))),
    }
}

/// RFC 3339, in quotes or as a TOML time with an offset.
pub(super) fn time(raw: Raw<'_>) -> Reading<WallTime> {
    let text = match raw {
        Raw::Toml(DeValue::Datetime(time)) => time.to_string(),
        _ => raw.as_text().unwrap_or_default().to_owned(),
    };
    text.parse().map_err(|_| raw.expected("a time with its offset like \"2026-11-22T10:00:00Z\""))
}

/// One address to listen on.
pub(super) fn address(raw: Raw<'_>) -> Reading<SocketAddr> {
    raw.as_text()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| raw.expected("an address and a port like \"127.0.0.1:8554\" or \"[::]:8554\""))
}

/// One address to listen on, or `"off"`.
pub(super) fn address_or_off(raw: Raw<'_>) -> Reading<Option<SocketAddr>> {
    match raw.as_text() {
        Some("off") => Ok(None),
        _ => address(raw).map(Some).map_err(|text| format!("{text}; \"off\" for none")),
    }
}

/// One address or more.
pub(super) fn addresses(raw: Raw<'_>) -> Reading<Vec<SocketAddr>> {
    let items = raw.items().ok_or_else(|| raw.expected("a list like [\"127.0.0.1:8555\"]"))?;
    if items.is_empty() {
        return Err("expected at least one address to listen on, got none".to_owned());
    }
    items.into_iter().map(address).collect()
}

/// A pair of UDP ports.
pub(super) fn port_pair(raw: Raw<'_>) -> Reading<[u16; 2]> {
    let expected = || raw.expected("two ports like [8000, 8001]");
    let items = raw.items().ok_or_else(expected)?;
    let [rtp, rtcp] = items.as_slice() else { return Err(expected()) };
    let port = |raw: Raw<'_>| number(raw).ok().and_then(|port| u16::try_from(port).ok());
    match (port(*rtp), port(*rtcp)) {
        (Some(rtp), Some(rtcp)) if (rtp == 0) != (rtcp == 0) => {
            Err("expected two ports, or 0 for both to take any free ones".to_owned())
        }
        (Some(rtp), Some(rtcp)) => Ok([rtp, rtcp]),
        _ => Err("expected two ports from 0 to 65535, like [8000, 8001]".to_owned()),
    }
}

/// A pair of UDP ports, or an empty list for none.
pub(super) fn port_pair_or_none(raw: Raw<'_>) -> Reading<Option<[u16; 2]>> {
    match raw.items() {
        Some(items) if items.is_empty() => Ok(None),
        _ => port_pair(raw).map(Some).map_err(|text| format!("{text}; [] for none")),
    }
}

/// `"auto"` or a number of threads.
pub(super) fn workers(raw: Raw<'_>) -> Reading<Workers> {
    if raw.as_text() == Some("auto") {
        return Ok(Workers::OnePerCore);
    }
    match number(raw) {
        Ok(number @ 1..=1024) => {
            Ok(NonZeroUsize::new(number as usize).map_or(Workers::OnePerCore, Workers::Fixed))
        }
        _ => Err(raw.expected("\"auto\" or a number from 1 to 1024")),
    }
}

/// `"auto"` or `"off"`.
pub(super) fn gso(raw: Raw<'_>) -> Reading<GsoPolicy> {
    match raw.as_text() {
        Some("auto") => Ok(GsoPolicy::Auto),
        Some("off") => Ok(GsoPolicy::Off),
        _ => Err(raw.expected("\"auto\" or \"off\"")),
    }
}

/// `"public"`, `"password"` or `"secret"`.
pub(super) fn open_level(raw: Raw<'_>) -> Reading<OpenLevel> {
    match raw.as_text() {
        Some("public") => Ok(OpenLevel::Public),
        Some("password") => Ok(OpenLevel::Password),
        Some("secret") => Ok(OpenLevel::Secret),
        _ => Err(raw.expected("\"public\", \"password\" or \"secret\"")),
    }
}

/// `"text"` or `"json"`.
pub(super) fn log_format(raw: Raw<'_>) -> Reading<LogFormat> {
    match raw.as_text() {
        Some("text") => Ok(LogFormat::Text),
        Some("json") => Ok(LogFormat::Json),
        _ => Err(raw.expected("\"text\" or \"json\"")),
    }
}

/// A level, or directives as `tracing` reads them, each a level or `MODULE=LEVEL`.
pub(super) fn log_filter(raw: Raw<'_>) -> Reading<String> {
    let filter = text(raw)?;
    let is_level = |word: &str| word.parse::<tracing::level_filters::LevelFilter>().is_ok();
    // A lone word that is no level would be taken for a module's name, and nothing would be logged.
    let meant = filter.split(',').all(|part| part.contains('=') || is_level(part.trim()));
    match tracing_subscriber::EnvFilter::try_new(&filter) {
        Ok(_) if meant => Ok(filter),
        _ => Err(raw.expected("a level (error, warn, info, debug, trace) or \"info,slotcast_ingest=debug\"")),
    }
}

/// An ISO 4217 code.
pub(super) fn currency(raw: Raw<'_>) -> Reading<String> {
    match raw.as_text() {
        Some(code) if code.len() == 3 && code.bytes().all(|b| b.is_ascii_uppercase()) => Ok(code.to_owned()),
        _ => Err(raw.expected("a currency's three letters like \"JPY\"")),
    }
}
