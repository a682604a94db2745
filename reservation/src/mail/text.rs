//! What people wrote, made fit for mails; times and money as people read them.
//!
//! Invariant: [`one_line`] has no control character and nothing that turns the direction of writing; [`lines`] has no
//! other control character than `\n`.

use std::fmt::Write;

use jiff::{Timestamp, Zoned, civil::Weekday, tz::TimeZone};
use slotcast_core::time::WallTime;

use super::MailError;
use crate::domain::words::{Amount, Currency, Language};

/// The longest text of one field, in characters. What members may write is shorter.
///
/// A word without a space is not folded, and a line of a mail has at most 998 bytes (RFC 5322 §2.1.1).
const FIELD_CHARS_MAX: usize = 600;

/// `text` on one line: control characters and line separators become spaces, direction marks go; trimmed.
pub(super) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for letter in text.chars().take(FIELD_CHARS_MAX).filter(|&letter| !is_direction_mark(letter)) {
        let is_space = letter.is_control() || matches!(letter, '\u{2028}' | '\u{2029}' | ' ');
        if !is_space {
            line.push(letter);
        } else if !line.ends_with(' ') {
            line.push(' ');
        }
    }
    line.trim().to_owned()
}

/// `text` on one line of a header. What looks like an encoded word (RFC 2047) is broken up: readers would decode it.
pub(super) fn header_line(text: &str) -> String {
    one_line(text).replace("=?", "= ?")
}

/// `text` with its lines, each made fit; empty ones go.
pub(super) fn lines(text: &str) -> String {
    let lines: Vec<_> = text.split(['\n', '\r']).map(one_line).filter(|line| !line.is_empty()).collect();
    lines.join("\n")
}

/// Marks that turn or isolate the direction of writing, by which a text can be made to look like another; and marks
/// that mean nothing within a text.
const fn is_direction_mark(letter: char) -> bool {
    matches!(
        letter,
        '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}'
    )
}

/// `text` as it may stand in a calendar's or a page's address: visible ASCII.
pub(super) fn address(text: &str) -> String {
    text.chars().filter(char::is_ascii_graphic).take(FIELD_CHARS_MAX).collect()
}

/// `time` as jiff knows it, in the years 2 to 9998: in any zone it stays within 1 to 9999.
pub(super) fn timestamp(time: WallTime) -> Result<Timestamp, MailError> {
    let timestamp = Timestamp::from_microsecond(time.as_micros()).map_err(|_| MailError::Time)?;
    let year = timestamp.to_zoned(TimeZone::UTC).year();
    if (2..=9998).contains(&year) { Ok(timestamp) } else { Err(MailError::Time) }
}

/// `time` in `zone`, with its offset from UTC.
pub(super) fn moment(time: WallTime, zone: &TimeZone, language: Language) -> Result<String, MailError> {
    let at = timestamp(time)?.to_zoned(zone.clone());
    let (weekday, month) = (weekday(at.weekday(), language), at.month());
    let (year, day, hour, minute) = (at.year(), at.day(), at.hour(), at.minute());
    let offset = offset(&at);
    Ok(match language {
        Language::English => {
            let month = MONTHS.get(usize::from(month.unsigned_abs()).saturating_sub(1)).unwrap_or(&"");
            format!("{weekday}, {day} {month} {year}, {hour:02}:{minute:02} (UTC{offset})")
        }
        Language::Japanese => {
            format!("{year}年{month}月{day}日({weekday}) {hour:02}:{minute:02} (UTC{offset})")
        }
    })
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

const fn weekday(day: Weekday, language: Language) -> &'static str {
    let (english, japanese) = match day {
        Weekday::Monday => ("Monday", "月"),
        Weekday::Tuesday => ("Tuesday", "火"),
        Weekday::Wednesday => ("Wednesday", "水"),
        Weekday::Thursday => ("Thursday", "木"),
        Weekday::Friday => ("Friday", "金"),
        Weekday::Saturday => ("Saturday", "土"),
        Weekday::Sunday => ("Sunday", "日"),
    };
    match language {
        Language::English => english,
        Language::Japanese => japanese,
    }
}

/// `+09:00`; `±00:00` is written with a plus.
fn offset(at: &Zoned) -> String {
    let minutes = at.offset().seconds() / 60;
    let sign = if minutes < 0 { '-' } else { '+' };
    format!("{sign}{:02}:{:02}", minutes.abs() / 60, minutes.abs() % 60)
}

/// `12,000円`, `USD 1,234.50`. Nothing for nothing.
pub(super) fn money(amount: Amount, currency: Currency, language: Language) -> String {
    if amount == Amount::ZERO {
        return String::new();
    }
    let scale = 10_i64.pow(currency.minor_digits());
    let mut number = thousands(amount.minor() / scale);
    if scale > 1 {
        let digits = currency.minor_digits() as usize;
        // Writing to a String cannot fail.
        let _ = write!(number, ".{:0digits$}", amount.minor() % scale);
    }
    match (language, currency.as_str()) {
        (Language::Japanese, "JPY") => format!("{number}円"),
        (_, code) => format!("{code} {number}"),
    }
}

/// A number with commas between thousands.
pub(super) fn thousands(number: i64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_breaks_out_of_a_line() {
        assert_eq!(one_line("A\r\nBcc: x@y.z\0\u{85}\u{2028}B"), "A Bcc: x@y.z B");
        assert_eq!(one_line(" \u{202e}gpj.exe\u{2066} "), "gpj.exe");
        assert_eq!(one_line("日本語 👩\u{200d}🚀"), "日本語 👩\u{200d}🚀");
        assert_eq!(lines("a\r\n\r\nb\u{7}\n c"), "a\nb\nc");
        assert_eq!(address("rtsp://h/a b\r\nX:日"), "rtsp://h/abX:");
        assert_eq!(one_line(&"x".repeat(9_000)).len(), FIELD_CHARS_MAX);
    }

    #[test]
    fn times_are_shown_in_the_provider_s_zone() {
        let time: WallTime = "2026-11-22T10:05:00Z".parse().unwrap();
        let show = |zone: &str, language| moment(time, &TimeZone::get(zone).unwrap(), language).unwrap();
        assert_eq!(show("Asia/Tokyo", Language::English), "Sunday, 22 November 2026, 19:05 (UTC+09:00)");
        assert_eq!(show("Asia/Tokyo", Language::Japanese), "2026年11月22日(日) 19:05 (UTC+09:00)");
        assert_eq!(
            show("America/St_Johns", Language::English),
            "Sunday, 22 November 2026, 06:35 (UTC-03:30)"
        );
        assert_eq!(show("UTC", Language::English), "Sunday, 22 November 2026, 10:05 (UTC+00:00)");
        for far in [i64::MIN, i64::MAX] {
            let far = WallTime::from_micros(far);
            assert_eq!(moment(far, &TimeZone::UTC, Language::English), Err(MailError::Time));
        }
    }

    #[test]
    fn money_is_written_with_its_minor_digits() {
        let show = |minor, currency: &str, language| {
            money(Amount::new(minor).unwrap(), currency.parse().unwrap(), language)
        };
        assert_eq!(show(12_000, "JPY", Language::Japanese), "12,000円");
        assert_eq!(show(12_000, "JPY", Language::English), "JPY 12,000");
        assert_eq!(show(123_405, "USD", Language::Japanese), "USD 1,234.05");
        assert_eq!(show(7, "BHD", Language::English), "BHD 0.007");
        assert_eq!(show(100_000_000, "EUR", Language::English), "EUR 1,000,000.00");
        assert_eq!(show(0, "EUR", Language::English), "");
    }
}
