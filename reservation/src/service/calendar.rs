//! Channels, what of them is free, and what a window would cost.

use std::{collections::HashSet, time::Duration};

use jiff::{Span, civil::Date, tz::TimeZone};
use slotcast_core::{
    time::WallTime,
    words::{ChannelNumber, Window},
};

use super::{Actor, Answer, Service};
use crate::domain::{
    refusal::{FieldProblem, Refusal, Thing},
    reservation::SoldChannel,
    rules::{self, Quote, Rules},
};

/// One day of all channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Day {
    /// Which.
    pub date: Date,
    /// Its first moment, in the zone that was asked for.
    pub from: WallTime,
    /// The next day's first moment.
    pub to: WallTime,
    /// Each channel that is sold, by number.
    pub channels: Vec<ChannelDay>,
}

/// One day of one channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelDay {
    /// Which.
    pub channel: SoldChannel,
    /// Slots that may be booked now, joined where they touch.
    pub free: Vec<Window>,
    /// Slots that somebody has, joined where they touch.
    pub taken: Vec<Window>,
}

/// One month of all channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Month {
    /// The first moment, in the zone that was asked for.
    pub from: WallTime,
    /// The next month's first moment.
    pub to: WallTime,
    /// Its days.
    pub days: Vec<MonthDay>,
}

/// One day of a month.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MonthDay {
    /// Which.
    pub date: Date,
    /// Each channel that is sold, by number.
    pub channels: Vec<ChannelMonthDay>,
}

/// How full a channel is on one day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelMonthDay {
    /// Which channel.
    pub channel: ChannelNumber,
    /// Slots that may be booked now.
    pub free: u32,
    /// Slots that somebody has.
    pub taken: u32,
}

/// What a window would cost, and whether it could be booked now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuoteAnswer {
    /// The channel as it is sold now.
    pub channel: SoldChannel,
    /// What was asked about.
    pub window: Window,
    /// What it costs.
    pub quote: Quote,
    /// Why it cannot be booked now by whoever asks; empty: it can.
    pub reasons: Vec<Refusal>,
}

impl Service {
    /// Every channel that is sold, by number.
    pub async fn channels(&self) -> Answer<Vec<SoldChannel>> {
        let mut channels = self.0.store.read().await?.channels().await?;
        channels.retain(|channel| !channel.is_retired);
        Ok(channels)
    }

    /// One channel, sold or retired.
    pub async fn channel(&self, number: ChannelNumber) -> Answer<SoldChannel> {
        let channels = self.0.store.read().await?.channels().await?;
        let found = channels.into_iter().find(|channel| channel.number == number);
        Ok(found.ok_or(Refusal::NotFound(Thing::Channel))?)
    }

    /// What is free and taken on a day. `zone`: whose day; `None`: the provider's. `channel`: of that one alone, or of none
    /// where it is retired.
    ///
    /// Refused: `Invalid("date")`, `NotFound("channel")`.
    pub async fn day(
        &self,
        date: Date,
        zone: Option<TimeZone>,
        channel: Option<ChannelNumber>,
    ) -> Answer<Day> {
        let zone = zone.unwrap_or_else(|| self.rules().zone.clone());
        let (from, to) = day_of(date, &zone)?;
        let slots = Slots::of(self.rules(), from, to, self.now());
        let (channels, taken) = self.sold_and_taken(&slots, channel).await?;
        let channels = channels
            .into_iter()
            .map(|channel| {
                let is_taken = |slot| taken.contains(&(channel.number, slot));
                let free = slots.joined(|slot| slots.may_be_sold(slot) && !is_taken(slot));
                ChannelDay { free, taken: slots.joined(is_taken), channel }
            })
            .collect();
        Ok(Day { date, from, to, channels })
    }

    /// How much is free and taken on each day of a month. `zone`: whose days; `None`: the provider's.
    pub async fn month(&self, year: i16, month: i8, zone: Option<TimeZone>) -> Answer<Month> {
        let zone = zone.unwrap_or_else(|| self.rules().zone.clone());
        let dates = dates_of(year, month)?;
        let days: Vec<_> =
            dates.iter().map(|date| Ok((*date, day_of(*date, &zone)?))).collect::<Result<_, Refusal>>()?;
        let (Some((_, (from, _))), Some((_, (_, to)))) = (days.first(), days.last()) else {
            return Err(no_such_date().into());
        };
        let (from, to) = (*from, *to);
        let (channels, taken) =
            self.sold_and_taken(&Slots::of(self.rules(), from, to, self.now()), None).await?;
        let mut month = Month { from, to, days: Vec::with_capacity(days.len()) };
        for (date, (from, to)) in days {
            let slots = Slots::of(self.rules(), from, to, self.now());
            let count = |channel: &SoldChannel| {
                let is_taken = |slot: &WallTime| taken.contains(&(channel.number, *slot));
                let taken = slots.starts.iter().filter(|slot| is_taken(slot)).count();
                let free =
                    slots.starts.iter().filter(|slot| slots.may_be_sold(**slot) && !is_taken(slot)).count();
                ChannelMonthDay { channel: channel.number, free: free as u32, taken: taken as u32 }
            };
            month.days.push(MonthDay { date, channels: channels.iter().map(count).collect() });
        }
        Ok(month)
    }

    /// Channels that are sold, and which of the slots somebody has.
    async fn sold_and_taken(
        &self,
        slots: &Slots,
        only: Option<ChannelNumber>,
    ) -> Answer<(Vec<SoldChannel>, TakenSet)> {
        let mut reads = self.0.store.read().await?;
        let mut channels = reads.channels().await?;
        if only.is_some_and(|only| channels.iter().all(|channel| channel.number != only)) {
            return Err(Refusal::NotFound(Thing::Channel).into());
        }
        channels.retain(|channel| !channel.is_retired && only.is_none_or(|only| channel.number == only));
        let taken = match (slots.starts.first(), slots.starts.last()) {
            (Some(first), Some(last)) => {
                reads.taken_starts(only, *first, last.saturating_add(slots.length)).await?
            }
            _ => Vec::new(),
        };
        Ok((channels, taken.into_iter().collect()))
    }

    /// What a window would cost. `actor`: its month's limit and kind are looked at too.
    ///
    /// Refused: `NotFound("channel")`, `NotOnSlots`, `TooLong`, `AmountTooLarge`; all else is in
    /// [`QuoteAnswer::reasons`].
    pub async fn quote(
        &self,
        actor: Option<&Actor>,
        channel: ChannelNumber,
        window: Window,
    ) -> Answer<QuoteAnswer> {
        let (now, rules) = (self.now(), self.rules());
        let slots = rules.slots(window)?;
        let mut reads = self.0.store.read().await?;
        let channels = reads.channels().await?;
        let found = channels.into_iter().find(|sold| sold.number == channel);
        let sold = found.ok_or(Refusal::NotFound(Thing::Channel))?;
        let quote = Rules::quote(slots.len() as u32, sold.toll)?;
        let mut reasons = Vec::new();
        if sold.is_retired {
            reasons.push(Refusal::ChannelRetired(channel));
        }
        reasons.extend(rules::check_times(window, rules, now).err());
        let taken: Vec<_> = reads
            .taken_slots(channel, window.start(), window.end())
            .await?
            .into_iter()
            .map(|slot| slot.start)
            .collect();
        if !taken.is_empty() {
            reasons.push(Refusal::SlotTaken { channel, taken });
        }
        if let Some(actor) = actor {
            let member = reads.member(actor.member).await?.ok_or(Refusal::NotLoggedIn)?;
            reasons.extend(rules::may_book(&member, rules).err());
            for month in rules.months(&slots) {
                let used = reads.slots_of(member.number, month.from, month.to).await?;
                if used.saturating_add(month.asked) > rules.month_slots_max {
                    let (slots_max, asked) = (rules.month_slots_max, month.asked);
                    reasons.push(Refusal::MonthLimit { slots_max, used, asked });
                }
            }
        }
        Ok(QuoteAnswer { channel: sold, window, quote, reasons })
    }
}

type TakenSet = HashSet<(ChannelNumber, WallTime)>;

/// The slots that begin in a span of time.
struct Slots {
    starts: Vec<WallTime>,
    length: Duration,
    /// A slot that is over by then is not sold any more.
    now: WallTime,
    /// A slot must end by then to be sold.
    until: WallTime,
}

impl Slots {
    fn of(rules: &Rules, from: WallTime, to: WallTime, now: WallTime) -> Self {
        let mut start = rules.slot_of(from);
        if start < from {
            start = start.saturating_add(rules.slot);
        }
        let mut starts = Vec::new();
        while start < to {
            starts.push(start);
            start = start.saturating_add(rules.slot);
        }
        Self { starts, length: rules.slot, now, until: now.saturating_add(rules.ahead_max) }
    }

    fn may_be_sold(&self, start: WallTime) -> bool {
        let end = start.saturating_add(self.length);
        self.now < end && end <= self.until
    }

    /// The slots that are so, joined where they touch.
    fn joined(&self, is_so: impl Fn(WallTime) -> bool) -> Vec<Window> {
        let mut joined: Vec<Window> = Vec::new();
        for start in self.starts.iter().copied().filter(|start| is_so(*start)) {
            let end = start.saturating_add(self.length);
            let from = match joined.last() {
                Some(last) if last.end() == start => last.start(),
                _ => start,
            };
            if from < start {
                joined.pop();
            }
            joined.extend(Window::new(from, end).ok());
        }
        joined
    }
}

/// The first moments of a day and of the next one.
pub(super) fn day_of(date: Date, zone: &TimeZone) -> Result<(WallTime, WallTime), Refusal> {
    let next = date.tomorrow().map_err(|_| no_such_date())?;
    let from = rules::start_of(date, zone).ok_or_else(no_such_date)?;
    let to = rules::start_of(next, zone).ok_or_else(no_such_date)?;
    Ok((from, to))
}

/// The days of a month.
pub(super) fn dates_of(year: i16, month: i8) -> Result<Vec<Date>, Refusal> {
    let first = Date::new(year, month, 1).map_err(|_| no_such_date())?;
    Ok(first.series(Span::new().days(1)).take(first.days_in_month() as usize).collect())
}

fn no_such_date() -> Refusal {
    FieldProblem::new("date", "a date of a calendar", "暦にある日付").into()
}
