//! What anybody may see: today's live, the program guide, a program's page, the pickup, the provider's time.
//!
//! Holds: secret programs appear in none of it.

use jiff::{civil::Date, tz::TimeZone};
use slotcast_core::{
    time::WallTime,
    words::{ChannelName, ChannelNumber, OpenLevel, Seats, Window},
};

use super::{Actor, Answer, Service, error::unready};
use crate::{
    domain::{
        reservation::{ProgramKind, State},
        words::{Email, ReservationNumber},
    },
    store::Pickup,
};

/// A program as anybody may see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Which.
    pub number: ReservationNumber,
    /// Whose kind.
    pub kind: ProgramKind,
    /// Confirmed or not, on air, over.
    pub state: State,
    /// On which channel.
    pub channel: ChannelNumber,
    /// Its name.
    pub channel_name: ChannelName,
    /// When.
    pub window: Window,
    /// The title.
    pub title: String,
    /// May be empty.
    pub genre: String,
    /// May be empty.
    pub outline: String,
    /// May be empty.
    pub details: String,
    /// Who may watch.
    pub open_level: OpenLevel,
    /// Whether `public` programs are for members alone.
    pub is_for_members: bool,
    /// Who broadcasts.
    pub broadcaster: String,
    /// Where the program shows it.
    pub email: Option<Email>,
    /// Where the program shows it.
    pub web: Option<String>,
    /// OPEN as of now: on air, and a seat is free.
    pub is_open: bool,
    /// Whether media goes to viewers now.
    pub is_on_air: bool,
    /// How many may watch at once.
    pub seats: Seats,
    /// How many watch now.
    pub viewers: u32,
    /// Stored programs, once there are any.
    pub is_on_demand: bool,
    /// Where a player finds it.
    pub watch_url: String,
    /// Counts edits.
    pub version: i64,
}

/// One day of the guide's month.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuideDay {
    /// Which.
    pub date: Date,
    /// Programs that begin on it, by start.
    pub programs: Vec<Listing>,
}

/// The provider's time beside the asker's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProviderTime {
    /// The provider's.
    pub now: WallTime,
    /// The asker's minus the provider's, where the asker sent one.
    pub offset_ms: Option<i64>,
}

impl Service {
    /// Today's live, in the provider's zone: special programs first, then private ones, each by start. `viewer` sees
    /// no more than others yet.
    pub async fn today(&self, viewer: Option<&Actor>) -> Answer<Vec<Listing>> {
        let _ = viewer;
        unready()
    }

    /// Programs whose window shares a moment with the day, by start. `zone`: whose day; `None`: the provider's.
    pub async fn guide_day(&self, date: Date, zone: Option<TimeZone>) -> Answer<Vec<Listing>> {
        let _ = (date, zone);
        unready()
    }

    /// A month's programs by day.
    pub async fn guide_month(&self, year: i16, month: i8, zone: Option<TimeZone>) -> Answer<Vec<GuideDay>> {
        let _ = (year, month, zone);
        unready()
    }

    /// A month's programs as iCalendar (RFC 5545).
    pub async fn guide_calendar(&self, year: i16, month: i8) -> Answer<String> {
        let _ = (year, month);
        unready()
    }

    /// A program's page. Secret ones: `NotFound` but for their owner and operators.
    pub async fn program(&self, viewer: Option<&Actor>, number: ReservationNumber) -> Answer<Listing> {
        let _ = (viewer, number);
        unready()
    }

    /// What the operator recommends, by position; programs that are over or cancelled are left out.
    pub async fn pickups(&self) -> Answer<Vec<(Pickup, Listing)>> {
        unready()
    }

    /// The provider's time. `theirs`: what the asker's clock says.
    pub fn time(&self, theirs: Option<WallTime>) -> ProviderTime {
        let now = self.now();
        let offset = |theirs: WallTime| theirs.as_micros().saturating_sub(now.as_micros()) / 1000;
        ProviderTime { now, offset_ms: theirs.map(offset) }
    }
}
