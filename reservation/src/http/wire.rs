//! Words that several addresses share: windows, money, lists, parts of paths and queries.
//!
//! Invariant: times are RFC 3339 in UTC, money is in minor units beside its currency.

use jiff::{
    Timestamp,
    civil::{Date, DateTime},
    tz::TimeZone,
};
use serde::Deserialize;
use slotcast_core::{time::WallTime, words};
use utoipa::{IntoParams, ToSchema};

use super::problem::Answer;
use crate::{
    domain::refusal::{FieldProblem, Refusal},
    store::Page,
};

/// A span of time, its end not included.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = WindowRequest, example = json!({ "start": "2026-11-25T10:00:00Z", "end": "2026-11-25T10:30:00Z" }))]
pub(super) struct WindowBody {
    /// First moment inside; a whole slot.
    #[schema(format = DateTime, max_length = 64)]
    pub(super) start: String,
    /// First moment after.
    #[schema(format = DateTime, max_length = 64)]
    pub(super) end: String,
}

impl WindowBody {
    /// As the domain's word; `slot_seconds`: for the text where it ends before it begins.
    pub(super) fn window(&self, name: &str, slot_seconds: u64) -> Answer<words::Window> {
        let start = time_of(&format!("{name}.start"), &self.start)?;
        let end = time_of(&format!("{name}.end"), &self.end)?;
        window_of(start, end, slot_seconds)
    }
}

/// The window between two times.
pub(super) fn window_of(start: WallTime, end: WallTime, slot_seconds: u64) -> Answer<words::Window> {
    words::Window::new(start, end).map_err(|_| Refusal::NotOnSlots { slot_seconds }.into())
}

/// Reads RFC 3339. What no clock of ours can show is brought to the nearest time that it can.
pub(super) fn time_of(name: &str, text: &str) -> Answer<WallTime> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    // Only the offset can have moved it out of range: the civil part is then right by itself.
    let civil = text.get(..19).and_then(|civil| civil.parse::<DateTime>().ok());
    let nearest = civil.map(|civil| if civil.year() > 0 { Timestamp::MAX } else { Timestamp::MIN });
    nearest
        .filter(|_| text.get(..4).is_some_and(|year| matches!(year, "9999" | "0000")))
        .map(|time| WallTime::from_micros(time.as_microsecond()))
        .ok_or_else(|| {
            Refusal::from(FieldProblem::new(
                name.to_owned(),
                "a time like 2026-11-22T10:00:00Z",
                "2026-11-22T10:00:00Z のような時刻",
            ))
            .into()
        })
}

/// The first and the last moment that a clock of ours can show.
pub(super) fn time_ends() -> (WallTime, WallTime) {
    let time = |time: Timestamp| WallTime::from_micros(time.as_microsecond());
    (time(Timestamp::MIN), time(Timestamp::MAX))
}

/// Which page of a list.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct PageQuery {
    /// From 1.
    #[param(minimum = 1, maximum = 1_000_000, default = 1, example = 1)]
    page: Option<u32>,
    /// Items of a page.
    #[param(minimum = 1, maximum = 200, default = 50, example = 50)]
    per_page: Option<u32>,
}

impl PageQuery {
    /// Of two numbers of another query.
    pub(super) const fn new(page: Option<u32>, per_page: Option<u32>) -> Self {
        Self { page, per_page }
    }

    fn limit(&self) -> u32 {
        self.per_page.unwrap_or(50).clamp(1, 200)
    }

    /// As the store counts.
    pub(super) fn page(&self) -> Page {
        let before = self.page.unwrap_or(1).saturating_sub(1);
        Page { offset: before.saturating_mul(self.limit()), limit: self.limit() }
    }
}

/// A reservation, or a member, by its number.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct NumberPath {
    /// The number.
    #[param(minimum = 1, maximum = 9_007_199_254_740_991_i64)]
    pub(super) number: i64,
}

/// A channel by its number.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct ChannelPath {
    /// The channel's number.
    #[param(minimum = 0, maximum = 65535, example = 1)]
    pub(super) number: u16,
}

/// A day.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct DatePath {
    /// The day.
    #[param(format = Date, example = "2026-11-25", max_length = 10)]
    pub(super) date: String,
}

/// A day of a channel.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct ChannelDatePath {
    /// The channel's number.
    #[param(minimum = 0, maximum = 65535, example = 1)]
    pub(super) number: u16,
    /// The day.
    #[param(format = Date, example = "2026-11-25", max_length = 10)]
    pub(super) date: String,
}

/// A month.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct MonthPath {
    /// The month.
    #[param(pattern = "@month", min_length = 7, max_length = 7, example = "2026-11")]
    pub(super) month: String,
}

/// Whose days.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ZoneQuery {
    /// IANA time zone whose days and months are meant; the provider's where it is left out.
    #[param(example = "Europe/Berlin")]
    pub(super) zone: Option<String>,
}

/// Years that a calendar question may be about: whatever lies outside is empty for a server of our time.
const YEARS: std::ops::RangeInclusive<i16> = 1970..=2999;

/// Reads a date of a path or query.
pub(super) fn date_of(text: &str) -> Answer<Date> {
    text.parse().ok().filter(|date: &Date| text.len() == 10 && YEARS.contains(&date.year())).ok_or_else(
        || {
            Refusal::NoSuchAddress(vec![FieldProblem::new(
                "date",
                "a date like 2026-11-25",
                "2026-11-25 のような日付",
            )])
            .into()
        },
    )
}

/// Reads a month of a path or query.
pub(super) fn month_of(text: &str) -> Answer<(i16, i8)> {
    let first = date_of(&format!("{text}-01")).map_err(|_| {
        Refusal::NoSuchAddress(vec![FieldProblem::new("month", "a month like 2026-11", "2026-11 のような月")])
    })?;
    Ok((first.year(), first.month()))
}

/// Reads the name of a time zone.
pub(super) fn zone_of(name: Option<&str>) -> Answer<Option<TimeZone>> {
    let Some(name) = name else { return Ok(None) };
    let known = TimeZone::get(name).ok().filter(|zone| zone.iana_name() == Some(name));
    known.map(Some).ok_or_else(|| {
        Refusal::from(FieldProblem::new(
            "zone",
            "the name of an IANA time zone like Europe/Berlin",
            "Asia/Tokyo のようなIANAタイムゾーン名",
        ))
        .into()
    })
}

/// Names of all time zones that [`zone_of`] knows.
pub(super) fn zone_names() -> Vec<String> {
    let names = jiff::tz::db().available().map(|name| name.as_str().to_owned());
    names.filter(|name| zone_of(Some(name)).is_ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_at_the_ends_of_time_are_read() {
        let micros = |text: &str| time_of("at", text).map(WallTime::as_micros).ok();
        assert_eq!(micros("1970-01-01T00:00:01Z"), Some(1_000_000));
        assert!(micros("9999-12-31T23:59:59-23:59").is_some());
        assert!(micros("0000-01-01T00:00:00+23:59").is_some());
        for bad in ["", "2026-11-22", "2026-13-01T00:00:00Z", "9999", "9999-99-99T00:00:00Z"] {
            assert_eq!(micros(bad), None, "{bad}");
        }
    }

    #[test]
    fn zones_go_by_their_exact_names() {
        assert!(zone_of(Some("Europe/Berlin")).is_ok() && zone_of(Some("Asia/Tokyo")).is_ok());
        for bad in ["", "europe/berlin", "Mars/Olympus", "../etc/passwd", "+09:00"] {
            assert!(zone_of(Some(bad)).is_err(), "{bad}");
        }
        assert!(zone_names().len() > 400);
    }

    #[test]
    fn pages_start_at_one() {
        let page = |page, per_page| PageQuery::new(page, per_page).page();
        assert_eq!(page(None, None), Page { offset: 0, limit: 50 });
        assert_eq!(page(Some(3), Some(20)), Page { offset: 40, limit: 20 });
    }
}
