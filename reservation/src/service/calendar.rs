//! Channels, what of them is free, and what a window would cost.

use jiff::{civil::Date, tz::TimeZone};
use slotcast_core::{
    time::WallTime,
    words::{ChannelNumber, Window},
};

use super::{Actor, Answer, Service, error::unready};
use crate::domain::{refusal::Refusal, reservation::SoldChannel, rules::Quote};

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
        unready()
    }

    /// One channel, sold or retired.
    pub async fn channel(&self, number: ChannelNumber) -> Answer<SoldChannel> {
        let _ = number;
        unready()
    }

    /// What is free and taken on a day. `zone`: whose day; `None`: the provider's.
    pub async fn day(&self, date: Date, zone: Option<TimeZone>) -> Answer<Day> {
        let _ = (date, zone);
        unready()
    }

    /// How much is free and taken on each day of a month. `zone`: whose days; `None`: the provider's.
    pub async fn month(&self, year: i16, month: i8, zone: Option<TimeZone>) -> Answer<Month> {
        let _ = (year, month, zone);
        unready()
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
        let _ = (actor, channel, window);
        unready()
    }
}
