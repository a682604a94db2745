//! Slots and months: what a window is made of, and what it costs.

use std::time::Duration;

use jiff::{Timestamp, Zoned, tz::TimeZone};
use slotcast_core::{
    time::WallTime,
    words::{Toll, Window},
};

use super::Rules;
use crate::domain::{
    refusal::Refusal,
    words::{Amount, WordError},
};

/// What a window costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote {
    /// Slots of the window.
    pub slots: u32,
    /// For one.
    pub toll: Toll,
    /// For all.
    pub total: Amount,
}

/// The part of a window that lies in one month of the provider's zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MonthShare {
    /// The month's first moment.
    pub from: WallTime,
    /// The next month's first moment.
    pub to: WallTime,
    /// Slots of the window that start in it.
    pub asked: u32,
}

impl Rules {
    /// The starts of the window's slots, ascending.
    ///
    /// Errors: the window does not begin and end on slots, or has more than are sold at once.
    pub fn slots(&self, window: Window) -> Result<Vec<WallTime>, Refusal> {
        let slot = micros(self.slot);
        let (start, end) = (window.start().as_micros(), window.end().as_micros());
        if start.rem_euclid(slot) != 0 || end.rem_euclid(slot) != 0 {
            return Err(Refusal::NotOnSlots { slot_seconds: self.slot.as_secs() });
        }
        let count = end.saturating_sub(start) / slot;
        if count > i64::from(self.slots_max) {
            return Err(Refusal::TooLong { slots_max: self.slots_max });
        }
        Ok((0..count).map(|at| WallTime::from_micros(start + at * slot)).collect())
    }

    /// How many slots a window that is booked has. How many are sold at once, now, is nothing to it.
    pub fn length(&self, window: Window) -> u32 {
        let span = window.end().as_micros().saturating_sub(window.start().as_micros());
        u32::try_from(span / micros(self.slot)).unwrap_or(u32::MAX)
    }

    /// The start of the slot that holds `at`.
    pub fn slot_of(&self, at: WallTime) -> WallTime {
        let slot = micros(self.slot);
        WallTime::from_micros(at.as_micros() - at.as_micros().rem_euclid(slot))
    }

    /// What `slots` cost at `toll`.
    pub fn quote(slots: u32, toll: Toll) -> Result<Quote, Refusal> {
        let too_large = |_: WordError| Refusal::AmountTooLarge { max: largest() };
        let one = i64::try_from(toll.0).unwrap_or(i64::MAX);
        let total = Amount::new(one).map_err(too_large)?.checked_mul(slots);
        Ok(Quote { slots, toll, total: total.ok_or_else(|| Refusal::AmountTooLarge { max: largest() })? })
    }

    /// The months that the slots start in, each with how many.
    pub fn months(&self, slots: &[WallTime]) -> Vec<MonthShare> {
        let mut months: Vec<MonthShare> = Vec::new();
        for &slot in slots {
            match months.last_mut().filter(|month| slot < month.to) {
                Some(month) => month.asked += 1,
                None => {
                    let (from, to) = month_of(slot, &self.zone);
                    months.push(MonthShare { from, to, asked: 1 });
                }
            }
        }
        months
    }
}

/// The first moments of the month that holds `at` and of the next one, in `zone`.
pub fn month_of(at: WallTime, zone: &TimeZone) -> (WallTime, WallTime) {
    let bounds = |zoned: Zoned| {
        let first = zoned.date().first_of_month();
        let next = first.checked_add(jiff::Span::new().months(1)).ok()?;
        Some((start_of(first, zone)?, start_of(next, zone)?))
    };
    zoned(at, zone)
        .and_then(bounds)
        .unwrap_or((WallTime::from_micros(i64::MIN), WallTime::from_micros(i64::MAX)))
}

/// The first moment of a day in `zone`: midnight, or where a time zone skips it, what comes after. `None`: beyond what
/// a calendar holds.
pub fn start_of(date: jiff::civil::Date, zone: &TimeZone) -> Option<WallTime> {
    let zoned = date.to_zoned(zone.clone()).ok()?.start_of_day().ok()?;
    Some(WallTime::from_micros(zoned.timestamp().as_microsecond()))
}

/// `at` as a calendar in `zone` shows it. `None`: beyond what a calendar holds.
pub fn zoned(at: WallTime, zone: &TimeZone) -> Option<Zoned> {
    Some(Timestamp::from_microsecond(at.as_micros()).ok()?.to_zoned(zone.clone()))
}

fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX).max(1)
}

/// The largest that can be written.
pub(super) fn largest() -> Amount {
    Amount::new(Amount::MAX).unwrap_or(Amount::ZERO)
}
