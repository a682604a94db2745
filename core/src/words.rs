//! The product's words as types: channel, seats, bandwidth class, toll, window, program.
//!
//! Owns: their ranges and how they are written in config, API and pages.
//! Refuses: what is out of range, with what was expected and what came.

use std::{fmt, str::FromStr, time::Duration};

use crate::time::WallTime;

/// Why a text or a number is not one of the product's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, got {got:?}")]
pub struct WordError {
    expected: &'static str,
    got: String,
}

impl WordError {
    fn new(expected: &'static str, got: impl fmt::Display) -> Self {
        Self { expected, got: got.to_string() }
    }
}

/// The number under which a channel is sold.
#[cfg_attr(feature = "schema", derive(serde::Serialize, utoipa::ToSchema))]
#[cfg_attr(feature = "schema", serde(transparent), schema(example = 1))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelNumber(pub u16);

impl fmt::Display for ChannelNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The channel's name in addresses: 1 to 64 of `A-Z a-z 0-9 . _ -`. Never a file path.
#[cfg_attr(feature = "schema", derive(serde::Serialize, utoipa::ToSchema))]
#[cfg_attr(feature = "schema", serde(transparent), schema(value_type = String, pattern = "^[A-Za-z0-9_-][A-Za-z0-9._-]*$", min_length = 1, max_length = 64))]
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelName(Box<str>);

impl ChannelName {
    /// The name as it stands in an address.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `text` could be a name at all.
    pub fn is_valid(text: &str) -> bool {
        (1..=64).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
            && !matches!(text, "." | "..")
    }
}

impl FromStr for ChannelName {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, WordError> {
        if Self::is_valid(text) {
            Ok(Self(text.into()))
        } else {
            Err(WordError::new("a name of 1 to 64 letters, digits, '.', '_' or '-'", text))
        }
    }
}

impl fmt::Display for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How many viewers a channel may serve at once: 1 to 1,048,575.
#[cfg_attr(feature = "schema", derive(serde::Serialize, utoipa::ToSchema))]
#[cfg_attr(feature = "schema", serde(transparent), schema(minimum = 1, maximum = 1_048_575))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seats(u32);

impl Seats {
    /// 2^20 - 1: what the seat word has room for.
    pub const MAX: u32 = (1 << 20) - 1;

    /// `count` seats, 1 to [`Seats::MAX`].
    pub fn new(count: u32) -> Result<Self, WordError> {
        if (1..=Self::MAX).contains(&count) {
            Ok(Self(count))
        } else {
            Err(WordError::new("1 to 1048575 seats", count))
        }
    }

    /// The number.
    pub const fn count(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Seats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A bandwidth class or any other bit rate, in bits per second; never zero.
#[cfg_attr(feature = "schema", derive(serde::Serialize, utoipa::ToSchema))]
#[cfg_attr(feature = "schema", serde(transparent), schema(minimum = 1, maximum = 1_000_000_000_000_i64))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BitRate(u64);

impl BitRate {
    /// The smallest.
    pub const MIN: Self = Self(1);

    /// `bits_per_second`, 1 to 10^12.
    pub fn new(bits_per_second: u64) -> Result<Self, WordError> {
        if (1..=1_000_000_000_000).contains(&bits_per_second) {
            Ok(Self(bits_per_second))
        } else {
            Err(WordError::new("1 bit/s to 1000 Gbit/s", bits_per_second))
        }
    }

    /// Bits per second.
    pub const fn bits_per_second(self) -> u64 {
        self.0
    }

    /// Whole bytes that this rate carries in `time`.
    pub fn bytes_in(self, time: Duration) -> u64 {
        let bytes = u128::from(self.0) * time.as_micros() / 8_000_000;
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }
}

/// `2Mbit/s`, `28.8kbit/s`, `500bit/s`: a decimal number with a unit of bit/s, kbit/s, Mbit/s or Gbit/s.
impl FromStr for BitRate {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, WordError> {
        let error = || WordError::new("a rate like 64kbit/s or 2Mbit/s", text);
        let unit_at = text.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(error)?;
        let (number, unit) = text.split_at(unit_at);
        let scale: u64 = match unit {
            "bit/s" => 1,
            "kbit/s" => 1_000,
            "Mbit/s" => 1_000_000,
            "Gbit/s" => 1_000_000_000,
            _ => return Err(error()),
        };
        let (whole, fraction) = match number.trim().split_once('.') {
            Some((whole, fraction)) => (whole, fraction),
            None => (number.trim(), ""),
        };
        if whole.is_empty() || fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
            return Err(error());
        }
        let mut bits = whole.parse::<u64>().ok().and_then(|w| w.checked_mul(scale)).ok_or_else(error)?;
        let mut place = scale;
        for digit in fraction.bytes() {
            place /= 10;
            bits = bits.saturating_add(u64::from(digit - b'0') * place);
        }
        Self::new(bits)
    }
}

/// In the largest unit that leaves at most one decimal, e.g. `28.8kbit/s`.
impl fmt::Display for BitRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (scale, unit) in [(1_000_000_000, "Gbit/s"), (1_000_000, "Mbit/s"), (1_000, "kbit/s")] {
            if self.0 >= scale && self.0.is_multiple_of(scale / 10) {
                let tenths = self.0 / (scale / 10);
                return match tenths % 10 {
                    0 => write!(f, "{}{unit}", tenths / 10),
                    tenth => write!(f, "{}.{tenth}{unit}", tenths / 10),
                };
            }
        }
        write!(f, "{}bit/s", self.0)
    }
}

/// The price of one slot, in minor units of the server's one currency.
#[cfg_attr(feature = "schema", derive(serde::Serialize, utoipa::ToSchema))]
#[cfg_attr(feature = "schema", serde(transparent), schema(minimum = 0, maximum = 1_000_000_000_000_000_i64))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Toll(pub u64);

/// A reserved span of time, `[start, end)`.
#[cfg_attr(feature = "schema", derive(serde::Serialize, utoipa::ToSchema))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    start: WallTime,
    end: WallTime,
}

impl Window {
    /// From `start` up to, not including, `end`; `end` must be later.
    pub fn new(start: WallTime, end: WallTime) -> Result<Self, WordError> {
        if start < end {
            Ok(Self { start, end })
        } else {
            Err(WordError::new("a window that ends after its start", format!("{start} to {end}")))
        }
    }

    /// The first moment inside.
    pub const fn start(self) -> WallTime {
        self.start
    }

    /// The first moment after.
    pub const fn end(self) -> WallTime {
        self.end
    }

    /// Whether `at` lies inside.
    pub fn contains(self, at: WallTime) -> bool {
        self.start <= at && at < self.end
    }

    /// Whether the two share a moment.
    pub fn overlaps(self, other: Self) -> bool {
        self.start < other.end && other.start < self.end
    }

    /// The connect window: from `margins.before` the start to `margins.after` the end.
    pub fn widened(self, margins: ConnectMargins) -> Self {
        Self { start: self.start.saturating_sub(margins.before), end: self.end.saturating_add(margins.after) }
    }
}

/// How much earlier than its window a link is accepted, and how much later it is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectMargins {
    /// Before the start.
    pub before: Duration,
    /// After the end.
    pub after: Duration,
}

impl Default for ConnectMargins {
    /// 5 minutes either side.
    fn default() -> Self {
        Self { before: Duration::from_secs(300), after: Duration::from_secs(300) }
    }
}

/// Who may watch a program.
#[cfg_attr(feature = "schema", derive(serde::Serialize, serde::Deserialize, utoipa::ToSchema))]
#[cfg_attr(feature = "schema", serde(rename_all = "lowercase"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OpenLevel {
    /// Anyone.
    Public,
    /// Listed, but needs the program's password.
    Password,
    /// Not listed anywhere, needs the password.
    Secret,
}

/// What names one program between the rooms; stable over reloads, never shown to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProgramId(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn rate(text: &str, bits: u64, shown: &str) {
        let rate: BitRate = text.parse().unwrap();
        assert_eq!(rate.bits_per_second(), bits);
        assert_eq!(rate.to_string(), shown);
    }

    #[test]
    fn rates_in_every_unit() {
        rate("28.8kbit/s", 28_800, "28.8kbit/s");
        rate("64kbit/s", 64_000, "64kbit/s");
        rate("2Mbit/s", 2_000_000, "2Mbit/s");
        rate("2 Mbit/s", 2_000_000, "2Mbit/s");
        rate("1.5Gbit/s", 1_500_000_000, "1.5Gbit/s");
        rate("1234bit/s", 1_234, "1234bit/s");
    }

    #[test]
    fn bad_rates_are_refused() {
        for text in ["", "2", "Mbit/s", "2mbit/s", "0kbit/s", "-1kbit/s", "1.kbits", "99999999999999Gbit/s"] {
            assert!(text.parse::<BitRate>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_window_holds_its_start_and_not_its_end() {
        let t = WallTime::from_micros;
        let window = Window::new(t(10), t(20)).unwrap();
        assert!(window.contains(t(10)) && window.contains(t(19)) && !window.contains(t(20)));
        assert!(Window::new(t(10), t(10)).is_err());
        assert!(!window.overlaps(Window::new(t(20), t(30)).unwrap()));
    }

    #[test]
    fn names_are_never_paths() {
        for bad in ["", "..", ".", "a/b", "a b", "ä", &"x".repeat(65)] {
            assert!(!ChannelName::is_valid(bad), "{bad}");
        }
        assert!(ChannelName::is_valid("channel4"));
    }
}
