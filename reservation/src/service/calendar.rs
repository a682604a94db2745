//! Channels, what of them is free, and what a window would cost.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::{Span, civil::Date, tz::TimeZone};
use serde::Serialize;
use slotcast_core::{
    time::WallTime,
    words::{ChannelNumber, Toll, Window},
};
use utoipa::ToSchema;

use super::{
    Actor, Answer, Service,
    views::{ChannelView, Reason, reasons, text},
};
use crate::{
    domain::{
        refusal::{FieldProblem, Refusal, Thing},
        reservation::SoldChannel,
        rules::{self, Quote, Rules},
        words::{Amount, Currency},
    },
    limits::{DAY_KEPT_FOR, DAYS_KEPT_MAX},
    store::Reads,
};

/// One day of all channels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Day {
    /// Which.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String, format = Date)]
    pub date: Date,
    /// Its first moment, in the zone that was asked for.
    pub from: WallTime,
    /// The next day's first moment: 23, 24 or 25 hours later.
    pub to: WallTime,
    /// Each channel that is sold, by number.
    pub channels: Vec<ChannelDay>,
}

/// One day of one channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ChannelDay {
    /// Which.
    pub channel: ChannelView,
    /// Slots that may be booked now, joined where they touch.
    pub free: Vec<Window>,
    /// Slots that somebody has, joined where they touch.
    pub taken: Vec<Window>,
}

/// One month of all channels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Month {
    /// The first moment, in the zone that was asked for.
    pub from: WallTime,
    /// The next month's first moment.
    pub to: WallTime,
    /// Its days.
    pub days: Vec<MonthDay>,
}

/// One day of a month.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct MonthDay {
    /// Which.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String, format = Date)]
    pub date: Date,
    /// Each channel that is sold, by number.
    pub channels: Vec<ChannelMonthDay>,
}

/// How full a channel is on one day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ChannelMonthDay {
    /// Which channel.
    pub channel: ChannelNumber,
    /// Slots that may be booked now.
    pub free: u32,
    /// Slots that somebody has.
    pub taken: u32,
}

/// What a window would cost, and whether it could be booked now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Quote)]
pub struct QuoteAnswer {
    /// The channel as it is sold now.
    pub channel: ChannelView,
    /// What was asked about.
    pub window: Window,
    /// Slots of the window.
    pub slots: u32,
    /// For one, in minor units.
    pub toll: Toll,
    /// For all, in minor units.
    pub total: Amount,
    /// ISO 4217.
    pub currency: Currency,
    /// Whether whoever asks could book it now.
    pub is_bookable: bool,
    /// Why not, all at once.
    #[serde(serialize_with = "reasons")]
    #[schema(value_type = Vec<Reason>)]
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
        let sold = self.sold_and_taken(&slots, channel).await?;
        let channels = sold
            .iter()
            .map(|(channel, taken)| {
                let is_taken = |slot| taken.binary_search(&slot).is_ok();
                let free = slots.joined(|slot| slots.may_be_sold(slot) && !is_taken(slot));
                ChannelDay { free, taken: slots.joined(is_taken), channel: self.channel_view(channel) }
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
        let mut month = Month { from: *from, to: *to, days: Vec::with_capacity(days.len()) };
        let mut reads = self.0.store.read().await?;
        let mut channels = reads.channels().await?;
        channels.retain(|channel| !channel.is_retired);
        for (date, (from, to)) in days {
            let slots = Slots::of(self.rules(), from, to, self.now());
            let may_be_sold: Vec<_> =
                slots.starts.iter().copied().filter(|start| slots.may_be_sold(*start)).collect();
            let taken = counts(reads.as_mut(), &slots.starts, slots.length).await?;
            let lost = match may_be_sold.len() == slots.starts.len() {
                true => taken.clone(),
                false => counts(reads.as_mut(), &may_be_sold, slots.length).await?,
            };
            let of = |counts: &HashMap<_, _>, channel| counts.get(&channel).copied().unwrap_or(0);
            let count = |channel: &SoldChannel| ChannelMonthDay {
                channel: channel.number,
                free: (may_be_sold.len() as u32).saturating_sub(of(&lost, channel.number)),
                taken: of(&taken, channel.number),
            };
            month.days.push(MonthDay { date, channels: channels.iter().map(count).collect() });
        }
        Ok(month)
    }

    /// Channels that are sold, each with those of the slots that somebody has, by start.
    async fn sold_and_taken(&self, slots: &Slots, only: Option<ChannelNumber>) -> Answer<Arc<Sold>> {
        let (Some(first), Some(last)) = (slots.starts.first(), slots.starts.last()) else {
            return Ok(Arc::default());
        };
        let (key, mono) = ((*first, *last, only), (self.0.clock)().mono);
        // Asked before anything is read: what is committed meanwhile counts as a change.
        let changes = self.0.store.changes();
        if let Some(kept) = self.0.days.lock().get(&key, changes, mono) {
            return Ok(kept);
        }
        let mut reads = self.0.store.read().await?;
        let mut channels = reads.channels().await?;
        if only.is_some_and(|only| channels.iter().all(|channel| channel.number != only)) {
            return Err(Refusal::NotFound(Thing::Channel).into());
        }
        channels.retain(|channel| !channel.is_retired && only.is_none_or(|only| channel.number == only));
        let mut taken: HashMap<ChannelNumber, Vec<WallTime>> = HashMap::new();
        for (channel, start) in reads.taken_starts(only, *first, last.saturating_add(slots.length)).await? {
            taken.entry(channel).or_default().push(start);
        }
        taken.values_mut().for_each(|starts| starts.sort_unstable());
        let sold: Sold = channels
            .into_iter()
            .map(|channel| {
                let taken = taken.remove(&channel.number).unwrap_or_default();
                (channel, taken)
            })
            .collect();
        let sold = Arc::new(sold);
        self.0.days.lock().keep(key, changes, mono, Arc::clone(&sold));
        Ok(sold)
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
        let Quote { slots, toll, total } = quote;
        Ok(QuoteAnswer {
            channel: self.channel_view(&sold),
            window,
            slots,
            toll,
            total,
            currency: rules.currency,
            is_bookable: reasons.is_empty(),
            reasons,
        })
    }
}

/// Channels that are sold, each with the starts of slots that somebody has, in order.
type Sold = Vec<(SoldChannel, Vec<WallTime>)>;

/// The first slot and the last, and of which channel alone.
type DayKey = (WallTime, WallTime, Option<ChannelNumber>);

/// What was read for pages of days, as long as nothing changes.
#[derive(Default)]
pub(super) struct DaysKept(HashMap<DayKey, (u64, Instant, Arc<Sold>)>);

impl DaysKept {
    fn get(&self, key: &DayKey, changes: u64, mono: Instant) -> Option<Arc<Sold>> {
        let (then, at, sold) = self.0.get(key)?;
        let is_young = mono.saturating_duration_since(*at) < DAY_KEPT_FOR;
        (*then == changes && is_young).then(|| Arc::clone(sold))
    }

    fn keep(&mut self, key: DayKey, changes: u64, mono: Instant, sold: Arc<Sold>) {
        if self.0.len() >= DAYS_KEPT_MAX {
            self.0.clear();
        }
        self.0.insert(key, (changes, mono, sold));
    }
}

/// How many of these slots, which follow one another, are taken on each channel.
async fn counts(
    reads: &mut (dyn Reads + '_),
    starts: &[WallTime],
    length: Duration,
) -> Answer<HashMap<ChannelNumber, u32>> {
    let (Some(first), Some(last)) = (starts.first(), starts.last()) else { return Ok(HashMap::new()) };
    Ok(reads.taken_counts(*first, last.saturating_add(length)).await?.into_iter().collect())
}

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

pub(super) fn no_such_date() -> Refusal {
    FieldProblem::new("date", "a date of a calendar", "暦にある日付").into()
}
