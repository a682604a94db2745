//! The Range header (RFC 2326 §12.29): every form is understood, and live media begins now.
//!
//! Not here: seeking. What a client asks for is kept for the log only; the answer is always [`LIVE`].

/// The answer to any range.
pub const LIVE: &str = "npt=now-";

/// A range as asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Range {
    /// Normal play time (§3.6); `None` at an open end.
    Npt(Option<NptTime>, Option<NptTime>),
    /// SMPTE time codes (§3.5), as text.
    Smpte(String),
    /// UTC (§3.7), as text.
    Clock(String),
}

/// A time in [`Range::Npt`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NptTime {
    /// `now`.
    Now,
    /// From the beginning, in milliseconds; finer fractions are dropped.
    Milliseconds(u64),
}

impl Range {
    /// Reads a range; `;time=` behind it is ignored. `None` for what has none of the forms: a server of live media
    /// plays on all the same.
    pub fn parse(text: &str) -> Option<Self> {
        let (unit, range) = text.split(';').next()?.split_once('=')?;
        let (unit, range) = (unit.trim().to_ascii_lowercase(), range.trim());
        match unit.as_str() {
            "npt" => {
                let (start, end) = range.split_once('-')?;
                let range = Self::Npt(parse_npt(start.trim())?, parse_npt(end.trim())?);
                (range != Self::Npt(None, None)).then_some(range)
            }
            "clock" if range.contains('-') => Some(Self::Clock(range.to_owned())),
            _ if unit.starts_with("smpte") && range.contains('-') => Some(Self::Smpte(range.to_owned())),
            _ => None,
        }
    }
}

/// `Some(None)` for nothing, `None` for what is no time: `now`, `12.5`, `1:02:03.5`.
fn parse_npt(text: &str) -> Option<Option<NptTime>> {
    if text.is_empty() {
        return Some(None);
    }
    if text.eq_ignore_ascii_case("now") {
        return Some(Some(NptTime::Now));
    }
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if !digits(fraction) {
        return None;
    }
    let mut seconds: u64 = 0;
    for (count, part) in whole.split(':').enumerate() {
        if count > 2 || part.is_empty() || !digits(part) {
            return None;
        }
        seconds = seconds.checked_mul(60)?.checked_add(part.parse().ok()?)?;
    }
    let thousandths =
        fraction.bytes().chain(*b"000").take(3).fold(0, |ms, digit| ms * 10 + u64::from(digit - b'0'));
    Some(Some(NptTime::Milliseconds(seconds.checked_mul(1000)?.checked_add(thousandths)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Play time as `now` or seconds with three decimals, the other forms as they came.
    fn written(range: &Range) -> String {
        let npt = |time: &Option<NptTime>| match time {
            Some(NptTime::Now) => "now".to_owned(),
            Some(NptTime::Milliseconds(ms)) => format!("{}.{:03}", ms / 1000, ms % 1000),
            None => String::new(),
        };
        match range {
            Range::Npt(start, end) => format!("npt={}-{}", npt(start), npt(end)),
            Range::Smpte(range) => format!("smpte={range}"),
            Range::Clock(range) => format!("clock={range}"),
        }
    }

    #[track_caller]
    fn check(text: &str, canonical: &str) {
        assert_eq!(Range::parse(text).as_ref().map(written).as_deref(), Some(canonical), "{text}");
    }

    #[test]
    fn strict() {
        check("npt=now-", "npt=now-");
        check("npt=0.000-", "npt=0.000-");
        check("npt=10-15.5", "npt=10.000-15.500");
        check("npt=-20", "npt=-20.000");
        check("npt=1:02:03.25-", "npt=3723.250-");
        check("smpte=10:12:33:20-", "smpte=10:12:33:20-");
        check("smpte-30-drop=0:1:2-3:4:5", "smpte=0:1:2-3:4:5");
        check("clock=19961108T143720.25Z-", "clock=19961108T143720.25Z-");
    }

    #[test]
    fn tolerated() {
        check("NPT = NOW - ", "npt=now-");
        check("npt=0-;time=19970123T143720Z", "npt=0.000-");
        check("npt=0.123456789-", "npt=0.123-");
    }

    #[test]
    fn bad() {
        for text in [
            "",
            "npt",
            "npt=",
            "npt=-",
            "npt=a-",
            "npt=1:2:3:4-",
            "npt=--1",
            "npt=99999999999999999999-",
            "bytes=0-1",
        ] {
            assert_eq!(Range::parse(text), None, "{text}");
        }
    }
}
