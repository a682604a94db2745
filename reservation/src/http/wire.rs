//! Words that several addresses share: windows, money, lists, parts of paths and queries.
//!
//! Invariant: times are RFC 3339 in UTC, money is in minor units beside its currency.

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use serde::Deserialize;
use slotcast_core::time::WallTime;
use utoipa::IntoParams;

use super::problem::Answer;
use crate::{
    domain::refusal::{FieldProblem, Refusal},
    service::inputs,
    store::Page,
};

/// Reads RFC 3339.
pub(super) fn time_of(field: &'static str, text: &str) -> Answer<WallTime> {
    let mut wrong = Vec::new();
    inputs::time(&mut wrong, field, text).ok_or_else(|| Refusal::Invalid(wrong).into())
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
