//! Time as the streaming side uses it: wall time decides, the monotonic clock waits.
//!
//! Owns: [`WallTime`] (UTC, microseconds) and [`Now`], the pair that the edge reads once per turn.
//! Not here: reading a clock. The edge does that and passes [`Now`] down.

use std::{
    fmt,
    str::FromStr,
    sync::Arc,
    time::{Duration, Instant},
};

/// UTC in microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(as = Time, value_type = String, format = DateTime, max_length = 64,
    description = "RFC 3339.", example = "2026-11-22T10:00:00Z"))]
pub struct WallTime(i64);

/// As RFC 3339.
#[cfg(feature = "schema")]
impl serde::Serialize for WallTime {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl WallTime {
    /// The time that lies `micros` microseconds after 1970-01-01T00:00:00Z.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since 1970-01-01T00:00:00Z.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Time from `earlier` to `self`; zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// `self + duration`, held at the type's end.
    pub fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
    }

    /// `self - duration`, held at the type's end.
    pub fn saturating_sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
    }
}

/// RFC 3339 in UTC, e.g. `2026-11-22T10:00:00Z`.
impl fmt::Display for WallTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(timestamp) => timestamp.fmt(f),
            Err(_) => write!(f, "{} µs", self.0),
        }
    }
}

/// Why a text is not a time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a time like 2026-11-22T10:00:00Z, got {got:?}")]
pub struct WallTimeError {
    got: String,
}

/// Reads RFC 3339 with any offset.
impl FromStr for WallTime {
    type Err = WallTimeError;

    fn from_str(text: &str) -> Result<Self, WallTimeError> {
        let timestamp: jiff::Timestamp = text.parse().map_err(|_| WallTimeError { got: text.to_owned() })?;
        Ok(Self(timestamp.as_microsecond()))
    }
}

/// Both clocks, read together by the edge once per turn.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Never steps; timers and rates use it.
    pub mono: Instant,
    /// May step; windows use it.
    pub wall: WallTime,
}

impl Now {
    /// The monotonic instant at which wall time reaches `wall`, if the clock does not step until then.
    /// Already past: `self.mono`.
    pub fn instant_of(&self, wall: WallTime) -> Instant {
        let ahead = wall.since(self.wall);
        // A window years ahead must not overflow the clock's own range.
        self.mono.checked_add(ahead).unwrap_or(self.mono + Duration::from_secs(86_400))
    }
}

/// Reads both clocks. Made at the edge and handed down, so that a test can step either.
pub type Clock = Arc<dyn Fn() -> Now + Send + Sync>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_rfc_3339() {
        let time: WallTime = "2026-11-22T10:00:00Z".parse().unwrap();
        assert_eq!(time.to_string(), "2026-11-22T10:00:00Z");
        assert_eq!("2026-11-22T19:00:00+09:00".parse(), Ok(time));
        assert!("2026-11-22 10:00".parse::<WallTime>().is_err());
    }

    #[test]
    fn since_never_goes_below_zero() {
        let (a, b) = (WallTime::from_micros(5), WallTime::from_micros(9));
        assert_eq!(b.since(a), Duration::from_micros(4));
        assert_eq!(a.since(b), Duration::ZERO);
    }
}
