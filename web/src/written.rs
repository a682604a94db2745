//! Dates, times, money and numbers, the way each language writes them.
//!
//! Owns: [`Written`]: one language in the provider's zone. Each moment is a `<time>` that tells the exact moment to programs and to
//! the page's script, which shows it in the visitor's zone.
//! Not here: words (`words`).

use jiff::{
    Timestamp, Zoned,
    civil::{Date, Weekday},
    tz::TimeZone,
};
use slotcast_core::{
    time::WallTime,
    words::{BitRate, Window},
};
use slotcast_reservation::domain::words::{Currency, Language};

use crate::markup::Markup;

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
const WEEKDAYS: [[&str; 2]; 7] =
    [["Mon", "月"], ["Tue", "火"], ["Wed", "水"], ["Thu", "木"], ["Fri", "金"], ["Sat", "土"], ["Sun", "日"]];

/// How one language writes, in one zone.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    language: Language,
    zone: TimeZone,
    currency: Currency,
}

impl Written {
    pub(crate) const fn new(language: Language, zone: TimeZone, currency: Currency) -> Self {
        Self { language, zone, currency }
    }

    /// A moment in the provider's zone.
    pub(crate) fn zoned(&self, at: WallTime) -> Zoned {
        Timestamp::from_microsecond(at.as_micros()).unwrap_or_default().to_zoned(self.zone.clone())
    }

    /// The provider's date at a moment.
    pub(crate) fn date_at(&self, at: WallTime) -> Date {
        self.zoned(at).date()
    }

    /// `15:00`.
    pub(crate) fn time(&self, at: WallTime) -> Markup {
        let zoned = self.zoned(at);
        self.element(at, "time", &format!("{:02}:{:02}", zoned.hour(), zoned.minute()))
    }

    /// `Fri 27 November, 15:00`, `11月27日(金) 15:00`.
    pub(crate) fn moment(&self, at: WallTime) -> Markup {
        let zoned = self.zoned(at);
        let time = format!("{:02}:{:02}", zoned.hour(), zoned.minute());
        let text = match self.language {
            Language::English => format!("{}, {time}", self.day(zoned.date())),
            Language::Japanese => format!("{} {time}", self.day(zoned.date())),
        };
        self.element(at, "moment", &text)
    }

    /// `15:00 – 16:00`; the end's day where it is another one.
    pub(crate) fn span(&self, window: Window) -> Markup {
        let (start, end) = (window.start(), window.end());
        let until = self.until(window);
        let end = if until { self.moment(end) } else { self.time(end) };
        Markup(format!("<span class=\"span\">{} – {end}</span>", self.time(start)).into())
    }

    /// `Fri 27 November, 15:00 – 16:00`.
    pub(crate) fn window(&self, window: Window) -> Markup {
        let (start, end) = (window.start(), window.end());
        let end = if self.until(window) { self.moment(end) } else { self.time(end) };
        Markup(format!("<span class=\"span\">{} – {end}</span>", self.moment(start)).into())
    }

    /// Whether the end is to be written with its day: it is another one than the start's, and not its very end.
    fn until(&self, window: Window) -> bool {
        let start = self.zoned(window.start()).date();
        let end = self.zoned(window.end());
        let is_midnight =
            (end.hour(), end.minute()) == (0, 0) && end.date() == start.tomorrow().unwrap_or(start);
        end.date() != start && !is_midnight
    }

    fn element(&self, at: WallTime, kind: &str, text: &str) -> Markup {
        Markup(format!("<time datetime=\"{at}\" data-at=\"{kind}\">{text}</time>").into())
    }

    /// `Fri 27 November`, `11月27日(金)`.
    pub(crate) fn day(&self, date: Date) -> String {
        let weekday = self.weekday(date.weekday());
        match self.language {
            Language::English => format!("{weekday} {} {}", date.day(), month(date)),
            Language::Japanese => format!("{}月{}日({weekday})", date.month(), date.day()),
        }
    }

    /// `November 2026`, `2026年11月`.
    pub(crate) fn month(&self, date: Date) -> String {
        match self.language {
            Language::English => format!("{} {}", month(date), date.year()),
            Language::Japanese => format!("{}年{}月", date.year(), date.month()),
        }
    }

    /// `Fri`, `金`.
    pub(crate) fn weekday(&self, weekday: Weekday) -> &'static str {
        WEEKDAYS[weekday.to_monday_zero_offset() as usize % 7][self.language as usize]
    }

    /// The zone's short name at a moment: `JST`.
    pub(crate) fn zone_at(&self, at: WallTime) -> String {
        self.zoned(at).strftime("%Z").to_string()
    }

    /// The zone's own name: `Asia/Tokyo`; its offset where it has none.
    pub(crate) fn zone_name(&self, at: WallTime) -> String {
        self.zone.iana_name().map_or_else(|| self.zone_at(at), str::to_owned)
    }

    /// A day's first moment and that of the next; `None` at the ends of the calendar.
    pub(crate) fn span_of(&self, date: Date) -> Option<Window> {
        let start = date.to_zoned(self.zone.clone()).ok()?.timestamp();
        let end = date.tomorrow().ok()?.to_zoned(self.zone.clone()).ok()?.timestamp();
        let wall = |at: Timestamp| WallTime::from_micros(at.as_microsecond());
        Window::new(wall(start), wall(end)).ok()
    }

    /// `¥10,000`, `€25.00`, `25.00 CHF`; in Japanese yen as `10,000円`.
    pub(crate) fn money(&self, minor: u64) -> String {
        let digits = self.currency.minor_digits();
        let unit = 10_u64.pow(digits);
        let whole = grouped((minor / unit) as i64);
        let amount = match digits {
            0 => whole,
            digits => format!("{whole}.{:0width$}", minor % unit, width = digits as usize),
        };
        match (self.currency.as_str(), self.language) {
            ("JPY", Language::Japanese) => format!("{amount}円"),
            ("JPY", Language::English) => format!("¥{amount}"),
            ("EUR", _) => format!("€{amount}"),
            ("USD", _) => format!("${amount}"),
            ("GBP", _) => format!("£{amount}"),
            (code, _) => format!("{amount} {code}"),
        }
    }

    /// `2 Mbit/s`, `28.8 kbit/s`.
    pub(crate) fn rate(&self, rate: BitRate) -> String {
        let bits = rate.bits_per_second();
        let (unit, name) = if bits >= 1_000_000 { (1_000_000, "Mbit/s") } else { (1000, "kbit/s") };
        let (whole, tenths) = (bits / unit, bits % unit * 10 / unit);
        if tenths == 0 { format!("{whole} {name}") } else { format!("{whole}.{tenths} {name}") }
    }
}

fn month(date: Date) -> &'static str {
    MONTHS[usize::from(date.month().unsigned_abs()).saturating_sub(1) % 12]
}

/// `12,345`.
pub(crate) fn grouped(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3 + 1);
    if number < 0 {
        text.push('-');
    }
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of a program as people read it: `1234 5678 9012 3456`.
pub(crate) fn in_fours(number: i64) -> String {
    let digits = format!("{number:016}");
    let fours: Vec<_> = digits.as_bytes().chunks(4).filter_map(|four| str::from_utf8(four).ok()).collect();
    fours.join(" ")
}

/// A program's number as people type it: digits, with spaces or dashes between them.
pub(crate) fn number_of(text: &str) -> Option<i64> {
    let digits: String =
        text.chars().filter(|letter| !matches!(letter, ' ' | '-' | '\u{2010}' | '\u{2011}')).collect();
    let right = (1..=16).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    right.then(|| digits.parse().ok()).flatten().filter(|number| *number > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(language: Language, currency: &str) -> Written {
        Written::new(language, TimeZone::get("Asia/Tokyo").unwrap(), currency.parse().unwrap())
    }

    fn window(start: &str, end: &str) -> Window {
        Window::new(start.parse().unwrap(), end.parse().unwrap()).unwrap()
    }

    #[test]
    fn each_language_writes_days_in_its_own_way() {
        let date = Date::constant(2026, 11, 27);
        assert_eq!(written(Language::English, "JPY").day(date), "Fri 27 November");
        assert_eq!(written(Language::Japanese, "JPY").day(date), "11月27日(金)");
        assert_eq!(written(Language::English, "JPY").month(date), "November 2026");
        assert_eq!(written(Language::Japanese, "JPY").month(date), "2026年11月");
    }

    #[test]
    fn money_has_the_digits_of_its_currency() {
        for (currency, minor, english, japanese) in [
            ("JPY", 10_000, "¥10,000", "10,000円"),
            ("EUR", 2505, "€25.05", "€25.05"),
            ("KWD", 1_234_567, "1,234.567 KWD", "1,234.567 KWD"),
        ] {
            assert_eq!(written(Language::English, currency).money(minor), english);
            assert_eq!(written(Language::Japanese, currency).money(minor), japanese);
        }
    }

    #[test]
    fn windows_name_a_second_day_only_where_there_is_one() {
        let written = written(Language::English, "JPY");
        let text = |start, end| {
            let markup = written.span(window(start, end)).to_string();
            let mut text = String::new();
            let mut is_tag = false;
            for letter in markup.chars() {
                match letter {
                    '<' => is_tag = true,
                    '>' => is_tag = false,
                    letter if !is_tag => text.push(letter),
                    _ => {}
                }
            }
            text
        };
        assert_eq!(text("2026-11-27T06:00:00Z", "2026-11-27T07:00:00Z"), "15:00 – 16:00");
        assert_eq!(text("2026-11-27T06:00:00Z", "2026-11-27T15:00:00Z"), "15:00 – 00:00");
        assert_eq!(text("2026-11-27T06:00:00Z", "2026-11-27T16:00:00Z"), "15:00 – Sat 28 November, 01:00");
    }

    #[test]
    fn numbers_are_shown_in_fours_and_taken_both_ways() {
        assert_eq!(in_fours(1_234_567_890_123_456), "1234 5678 9012 3456");
        assert_eq!(in_fours(42), "0000 0000 0000 0042");
        for text in ["1234567890123456", "1234 5678 9012 3456", "1234-5678-9012-3456"] {
            assert_eq!(number_of(text), Some(1_234_567_890_123_456));
        }
        for text in ["", "x", "0", "12345678901234567", "1.5", "+1"] {
            assert_eq!(number_of(text), None, "{text}");
        }
        assert_eq!(grouped(-1_234_567), "-1,234,567");
    }
}
