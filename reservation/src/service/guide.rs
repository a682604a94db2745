//! What anybody may see: today's live, the program guide, a program's page, the pickup, the provider's time.
//!
//! Invariant: secret programs appear in none of it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use icalendar::{Calendar, Component, Event};
use jiff::{civil::Date, tz::TimeZone};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use slotcast_core::{
    time::WallTime,
    words::{ChannelName, ChannelNumber, OpenLevel, Seats, Window},
};
use subtle::ConstantTimeEq;
use utoipa::ToSchema;

use super::{
    Actor, Answer, Scope, Service, ServiceError,
    calendar::{dates_of, day_of},
    views::text,
};
use crate::{
    domain::{
        member::Member,
        refusal::{Refusal, Thing},
        reservation::{ProgramKind, Reservation, State},
        rules,
        words::{Email, MemberNumber, ReservationNumber},
    },
    mail::event_uid,
    store::{Pickup, Reads},
    streaming::{ClockCheck, Link, Live},
};

/// Whether a program may be entered as of now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Door {
    /// On air, and a seat is free.
    Open,
    /// Not on air, or every seat is taken.
    Close,
}

/// A program as anybody may see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Listing {
    /// Which.
    pub number: ReservationNumber,
    /// Whose kind.
    pub kind: ProgramKind,
    /// Confirmed or not, on air, over.
    pub state: State,
    /// The channel's number.
    pub channel: ChannelNumber,
    /// Its name in addresses.
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
    /// Whether one may come in now.
    pub door: Door,
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct GuideDay {
    /// Which.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String, format = Date)]
    pub date: Date,
    /// Programs that begin on it, by start.
    pub programs: Vec<Listing>,
}

/// Which part of the guide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuidePart {
    /// One day.
    Day(Date),
    /// One month: year and month.
    Month((i16, i8)),
}

/// The provider's time beside the asker's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ProviderTime {
    /// The provider's.
    pub now: WallTime,
    /// IANA name of the provider's time zone.
    pub zone: Option<String>,
    /// The asker's minus the provider's, in milliseconds, where the asker sent one.
    pub offset_ms: Option<i64>,
    /// What NTP servers say of the provider's clock; `null`: none are configured.
    pub clock: Option<ClockCheck>,
}

/// What the operator recommends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct PickedProgram {
    /// Why, in the operator's words.
    pub note: String,
    /// Lower ones come first.
    pub position: i32,
    /// Which.
    pub program: Listing,
}

/// What a list of programs is made with.
struct Lister<'a> {
    service: &'a Service,
    channels: HashMap<ChannelNumber, ChannelName>,
    members: HashMap<MemberNumber, Member>,
    live: BTreeMap<ReservationNumber, Live>,
    now: WallTime,
}

impl<'a> Lister<'a> {
    /// - `listed`: what the list will be of.
    async fn new(service: &'a Service, reads: &mut (dyn Reads + '_), listed: &[Reservation]) -> Answer<Self> {
        let channels = reads.channels().await?;
        let members: BTreeSet<_> = listed.iter().map(|reservation| reservation.member).collect();
        let members = reads.members_in(&members.into_iter().collect::<Vec<_>>()).await?;
        Ok(Self {
            service,
            channels: channels.into_iter().map(|channel| (channel.number, channel.name)).collect(),
            members: members.into_iter().map(|member| (member.number, member)).collect(),
            live: service.0.streaming.live(),
            now: service.now(),
        })
    }

    /// `None`: its channel or member is gone.
    fn listing(&self, reservation: Reservation) -> Option<Listing> {
        let member = self.members.get(&reservation.member)?;
        let name = self.channels.get(&reservation.channel)?;
        let live = self.live.get(&reservation.number);
        let viewers = live.map_or(0, |live| live.viewers);
        let is_on_air = live.is_some_and(|live| live.link == Link::OnAir)
            && matches!(reservation.state, State::Confirmed | State::OnAir)
            && reservation.window.contains(self.now);
        let program = reservation.program;
        Some(Listing {
            number: reservation.number,
            kind: reservation.kind,
            state: reservation.state,
            channel: reservation.channel,
            channel_name: name.clone(),
            window: reservation.window,
            title: program.title,
            genre: program.genre,
            outline: program.outline,
            details: program.details,
            open_level: program.open_level,
            is_for_members: self.service.rules().public_to_members_only,
            broadcaster: member.name.clone(),
            email: (program.show_email && member.email_public).then(|| member.email.clone()),
            web: if program.show_web { member.web.clone() } else { None },
            door: if is_on_air && viewers < reservation.seats.count() { Door::Open } else { Door::Close },
            is_on_air,
            seats: reservation.seats,
            viewers,
            is_on_demand: false,
            watch_url: self.service.watch_url(name),
            version: reservation.version,
        })
    }
}

impl Service {
    /// Today's live, in the provider's zone: special programs first, then private ones, each by start.
    pub async fn today(&self, viewer: Option<&Actor>) -> Answer<Vec<Listing>> {
        let zone = &self.rules().zone;
        let today = rules::zoned(self.now(), zone);
        let today =
            today.ok_or_else(|| ServiceError::Internal("the clock is beyond any calendar".to_owned()))?;
        let (from, to) = day_of(today.date(), zone)?;
        let mut listings = self.listings(viewer.is_some(), from, to).await?;
        listings.sort_by_key(|listing| listing.kind == ProgramKind::Private);
        Ok(listings)
    }

    /// Programs whose window shares a moment with the day, by start. `zone`: whose day; `None`: the provider's.
    pub async fn guide_day(
        &self,
        viewer: Option<&Actor>,
        date: Date,
        zone: Option<TimeZone>,
    ) -> Answer<Vec<Listing>> {
        let zone = zone.unwrap_or_else(|| self.rules().zone.clone());
        let (from, to) = day_of(date, &zone)?;
        self.listings(viewer.is_some(), from, to).await
    }

    /// A month's programs by the day on which they begin.
    pub async fn guide_month(
        &self,
        viewer: Option<&Actor>,
        (year, month): (i16, i8),
        zone: Option<TimeZone>,
    ) -> Answer<Vec<GuideDay>> {
        let zone = zone.unwrap_or_else(|| self.rules().zone.clone());
        let (from, to) = month_span(year, month, &zone)?;
        let listings = self.listings(viewer.is_some(), from, to).await?;
        let mut days = Vec::new();
        for date in dates_of(year, month)? {
            let (from, to) = day_of(date, &zone)?;
            let is_its = |listing: &&Listing| {
                let start = listing.window.start();
                from <= start && start < to
            };
            days.push(GuideDay { date, programs: listings.iter().filter(is_its).cloned().collect() });
        }
        Ok(days)
    }

    /// What opens the guide's calendar as that member sees it, for a calendar program that cannot log in. Another one
    /// once the password is changed.
    pub async fn calendar_feed(&self, actor: &Actor) -> Answer<String> {
        let member = self.me(actor).await?;
        Ok(self.feed_of(&member))
    }

    fn feed_of(&self, member: &Member) -> String {
        let secret = self.0.vault.calendar_feed(member.number, &member.password_hash.0);
        format!("{}-{secret}", member.number)
    }

    /// Whether that opens the calendar of a member who is not blocked.
    async fn is_feed(&self, feed: &str) -> Answer<bool> {
        let number = feed.split_once('-').and_then(|(number, _)| number.parse().ok());
        let Some(number) = number.map(MemberNumber) else { return Ok(false) };
        let member = self.0.store.read().await?.member(number).await?;
        Ok(member.is_some_and(|member| {
            let is_right: bool = self.feed_of(&member).as_bytes().ct_eq(feed.as_bytes()).into();
            is_right && !member.is_blocked
        }))
    }

    /// A month's programs as iCalendar (RFC 5545). `feed`: what opens it as a member sees it.
    ///
    /// Refused: `NotFound("member")` where that is not valid any more.
    pub async fn guide_calendar(&self, feed: Option<&str>, year: i16, month: i8) -> Answer<String> {
        let (from, to) = month_span(year, month, &self.rules().zone)?;
        let is_member = match feed {
            Some(feed) if self.is_feed(feed).await? => true,
            Some(_) => return Err(Refusal::NotFound(Thing::Member).into()),
            None => false,
        };
        let listings = self.listings(is_member, from, to).await?;
        let provider = &self.0.settings.provider;
        let mut calendar = Calendar::new().name(&provider.name).done();
        let made_at = stamp(self.now());
        for listing in listings {
            let mut event = Event::new();
            event
                .uid(&event_uid(listing.number, &provider.from))
                .summary(&listing.title)
                .description(&[listing.outline.as_str(), listing.details.as_str()].join("\n"))
                .url(&format!("{}/programs/{}", provider.base_url, listing.number))
                .add_property("DTSTAMP", &made_at)
                .add_property("DTSTART", stamp(listing.window.start()))
                .add_property("DTEND", stamp(listing.window.end()));
            calendar.push(event.done());
        }
        Ok(calendar.done().to_string())
    }

    /// A program's page. Secret ones, and those that are not announced or were cancelled: `NotFound` but for their
    /// owner and operators.
    pub async fn program(&self, viewer: Option<&Actor>, number: ReservationNumber) -> Answer<Listing> {
        let mut reads = self.0.store.read().await?;
        let reservation = reads.reservation(number).await?.ok_or(Refusal::NotFound(Thing::Program))?;
        let is_listed =
            reservation.program.open_level != OpenLevel::Secret && self.is_announced(reservation.state);
        let is_theirs = viewer.is_some_and(|viewer| {
            viewer.need(Scope::Read).is_ok() && viewer.own(Some(reservation.clone())).is_ok()
        });
        if !is_listed && !is_theirs {
            return Err(Refusal::NotFound(Thing::Program).into());
        }
        if viewer.is_none() && self.is_hidden(reservation.program.open_level) {
            return Err(Refusal::NotLoggedIn.into());
        }
        let lister = Lister::new(self, reads.as_mut(), std::slice::from_ref(&reservation)).await?;
        Ok(lister.listing(reservation).ok_or(Refusal::NotFound(Thing::Program))?)
    }

    /// What the operator recommends, by position; programs that are over, cancelled or secret are left out.
    pub async fn pickups(&self, viewer: Option<&Actor>) -> Answer<Vec<PickedProgram>> {
        let mut reads = self.0.store.read().await?;
        let (now, mut picked) = (self.now(), Vec::new());
        for pickup in reads.pickups().await? {
            let Some(reservation) = reads.reservation(pickup.reservation).await? else { continue };
            let is_to_come = self.is_announced(reservation.state)
                && now < reservation.window.end()
                && reservation.program.open_level != OpenLevel::Secret
                && (viewer.is_some() || !self.is_hidden(reservation.program.open_level));
            if is_to_come {
                picked.push((pickup, reservation));
            }
        }
        let reservations: Vec<_> = picked.iter().map(|(_, reservation)| reservation.clone()).collect();
        let lister = Lister::new(self, reads.as_mut(), &reservations).await?;
        let listed = |(pickup, reservation): (Pickup, _)| {
            let program = lister.listing(reservation)?;
            Some(PickedProgram { note: pickup.note, position: pickup.position, program })
        };
        Ok(picked.into_iter().filter_map(listed).collect())
    }

    /// Differs where what the guide says of a span does: of a day, or of a month.
    pub async fn guide_tag(
        &self,
        viewer: Option<&Actor>,
        part: GuidePart,
        zone: Option<TimeZone>,
    ) -> Answer<String> {
        let zone = zone.unwrap_or_else(|| self.rules().zone.clone());
        let (from, to) = match part {
            GuidePart::Day(date) => day_of(date, &zone)?,
            GuidePart::Month((year, month)) => month_span(year, month, &zone)?,
        };
        let with_public = !self.is_hidden(OpenLevel::Public) || viewer.is_some();
        let tag = self.0.store.read().await?.announced_tag(from, to, with_public).await?;
        let mut hash = Sha256::new();
        for part in tag.into_iter().chain([from.as_micros(), to.as_micros(), with_public.into()]) {
            hash.update(part.to_be_bytes());
        }
        // The rules and the program may be others after a start.
        hash.update(self.0.boot.to_be_bytes());
        for (number, live) in &self.0.streaming.live() {
            let is_on_air = live.link == Link::OnAir;
            hash.update(format!("{number} {} {is_on_air}\n", live.viewers));
        }
        Ok(hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect())
    }

    /// Whether such programs are shown to members alone.
    fn is_hidden(&self, level: OpenLevel) -> bool {
        self.rules().public_to_members_only && level == OpenLevel::Public
    }

    /// Whether programs in that state are listed.
    pub(super) fn is_announced(&self, state: State) -> bool {
        match state {
            State::Held | State::Cancelled(_) => false,
            State::Registered => self.rules().list_unconfirmed,
            State::Confirmed | State::OnAir | State::Finished(_) => true,
        }
    }

    /// Announced programs that share a moment with `[from, to)`, by start.
    /// `is_member`: whether a member asks.
    async fn listings(&self, is_member: bool, from: WallTime, to: WallTime) -> Answer<Vec<Listing>> {
        let mut reads = self.0.store.read().await?;
        let mut found = reads.announced(from, to, !self.is_hidden(OpenLevel::Public) || is_member).await?;
        found.retain(|reservation| self.is_announced(reservation.state));
        let lister = Lister::new(self, reads.as_mut(), &found).await?;
        Ok(found.into_iter().filter_map(|reservation| lister.listing(reservation)).collect())
    }

    /// The provider's time. `theirs`: what the asker's clock says.
    pub fn time(&self, theirs: Option<WallTime>) -> ProviderTime {
        let now = self.now();
        let offset = |theirs: WallTime| theirs.as_micros().saturating_sub(now.as_micros()) / 1000;
        let zone = self.rules().zone.iana_name().map(str::to_owned);
        ProviderTime { now, zone, offset_ms: theirs.map(offset), clock: self.0.streaming.clock() }
    }
}

fn month_span(year: i16, month: i8, zone: &TimeZone) -> Result<(WallTime, WallTime), Refusal> {
    let dates = dates_of(year, month)?;
    let (first, last) = (dates.first().copied(), dates.last().copied());
    let (from, _) = day_of(first.unwrap_or_default(), zone)?;
    let (_, to) = day_of(last.unwrap_or_default(), zone)?;
    Ok((from, to))
}

/// RFC 5545 §3.3.5, form 2 (UTC).
fn stamp(at: WallTime) -> String {
    rules::zoned(at, &TimeZone::UTC)
        .map(|zoned| zoned.strftime("%Y%m%dT%H%M%SZ").to_string())
        .unwrap_or_default()
}
