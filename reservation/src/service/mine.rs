//! What is the member's own: reservations, their state on air, their history.

use std::time::Duration;

use serde::Serialize;
use slotcast_core::{
    time::WallTime,
    words::{Seats, Window},
};
use utoipa::ToSchema;

use super::{
    Actor, Answer, Scope, Service,
    facts::used_in,
    views::{ChannelView, LedgerView, List, ReservationView, seconds},
};
use crate::{
    domain::{
        member::Member,
        refusal::{Refusal, Text, Thing},
        reservation::{ProgramKind, Reservation, Settlement, State},
        rules,
        words::{Amount, Language, ReservationNumber},
    },
    limits::{MY_OPEN_MAX, MY_PAST_MAX},
    store::{Page, Reads, ReservationFilter, Run, ViewerSample},
    stream_health::{Finding, StreamHealth},
    streaming::{Link, LinkEnd, Track},
};

/// Width and height.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Picture {
    /// In pixels.
    pub width: u16,
    /// In pixels.
    pub height: u16,
}

/// What a stream is like, and what can be made better.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct HealthView {
    /// As measured.
    #[serde(flatten)]
    pub measured: StreamHealth,
    /// What can be made better, the weightiest first.
    pub findings: Vec<FindingView>,
}

/// Something that the broadcaster can make better.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Finding)]
pub struct FindingView {
    /// A fixed word: `above-class`, `packets-lost`, `codec-not-everywhere`, `key-frames-rare`, `b-frames`, `frame-rate-low`,
    /// `no-sound`.
    pub code: &'static str,
    /// What it is.
    pub title: String,
    /// What to set in the encoder.
    pub fix: String,
}

impl From<StreamHealth> for HealthView {
    fn from(measured: StreamHealth) -> Self {
        let english = |text: &Text| text.of(Language::English).to_owned();
        let view = |finding: Finding| FindingView {
            code: finding.code,
            title: english(&finding.title),
            fix: english(&finding.fix),
        };
        Self { findings: measured.findings().into_iter().map(view).collect(), measured }
    }
}

/// What the broadcaster sees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct BroadcastStatus {
    /// Which program.
    pub number: ReservationNumber,
    /// How far the reservation has come.
    pub state: State,
    /// What the broadcaster's link does.
    pub link: Link,
    /// Whether media goes to viewers.
    pub is_on_air: bool,
    /// The provider's time.
    pub now: WallTime,
    /// Of the window, how much is over.
    #[serde(rename = "elapsed_seconds", serialize_with = "seconds")]
    #[schema(value_type = u64)]
    pub elapsed: Duration,
    /// Of the window, how much is left.
    #[serde(rename = "remaining_seconds", serialize_with = "seconds")]
    #[schema(value_type = u64)]
    pub remaining: Duration,
    /// When it is on air.
    pub window: Window,
    /// When the link is accepted.
    pub connect: Window,
    /// Why the last link ended; `null` where none has.
    pub last_end: Option<LinkEnd>,
    /// What the stream told last; `null` where it did not, and for other codecs than H.264 and H.265.
    pub picture: Option<Picture>,
    /// Of the link, in the order in which the encoder offered them; empty before the first link.
    pub tracks: Vec<Track>,
    /// Tracks that were offered beside these and cannot be taken.
    pub left_out: u8,
    /// What the stream is like; `null` while there is no link, and in its first 5 seconds.
    pub health: Option<HealthView>,
    /// What came in during the last second, in bits per second.
    pub bit_rate: u64,
    /// Of the program.
    pub title: String,
    /// Where viewers find it.
    pub watch_url: String,
    /// The ingest server.
    pub server: String,
    /// On which channel.
    pub channel: ChannelView,
    /// Viewers now.
    pub viewers: u32,
    /// How many there may be.
    pub seats: Seats,
    /// Whether the window can be made longer.
    pub extension: ExtensionOffer,
}

/// Whether the window can be made longer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct ExtensionOffer {
    /// Whether it can be had now.
    pub is_offered: bool,
    /// Slots at most, while it is offered.
    pub slots_max: Option<u32>,
    /// For one slot, in minor units.
    pub toll: Option<Amount>,
    /// It is offered from then on, if the next slot is still free.
    pub from: Option<WallTime>,
    /// It is offered until then.
    pub until: Option<WallTime>,
}

/// How a program ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct History {
    /// Which.
    pub reservation: ReservationView,
    /// In sums.
    pub run: Run,
    /// Viewers on average over the window, in thousandths.
    pub viewers_average_milli: u64,
    /// The numbers of viewers, oldest first.
    pub samples: List<ViewerSample>,
    /// What was posted for it.
    pub ledger: Vec<LedgerView>,
}

/// A program that is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct PastProgram {
    /// Which.
    pub reservation: ReservationView,
    /// How it ran.
    pub run: Run,
}

/// A member's page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct MyChannel {
    /// The own data.
    pub member: Member,
    /// Held, registered, confirmed and on air: by start, at most 100.
    pub open: Vec<ReservationView>,
    /// Finished, newest first, at most 50.
    pub past: Vec<PastProgram>,
    /// Cancelled, newest first, at most 50.
    pub cancelled: Vec<ReservationView>,
    /// Slots of this month that are used.
    pub slots_used: u32,
    /// Slots of one month at most.
    pub slots_max: u32,
}

impl Service {
    /// One reservation of the actor's (of anybody's, for an operator).
    pub async fn reservation(&self, actor: &Actor, number: ReservationNumber) -> Answer<Reservation> {
        actor.need(Scope::Read)?;
        Ok(actor.own(self.0.store.read().await?.reservation(number).await?)?)
    }

    /// The actor's own reservations.
    pub async fn reservations(
        &self,
        actor: &Actor,
        filter: ReservationFilter,
        page: Page,
    ) -> Answer<List<ReservationView>> {
        actor.need(Scope::Read)?;
        self.listed(ReservationFilter { member: Some(actor.member), ..filter }, page).await
    }

    /// Reservations of all members, for operators.
    pub async fn all_reservations(
        &self,
        actor: &Actor,
        filter: ReservationFilter,
        page: Page,
    ) -> Answer<List<ReservationView>> {
        actor.operates()?;
        self.listed(filter, page).await
    }

    async fn listed(&self, filter: ReservationFilter, page: Page) -> Answer<List<ReservationView>> {
        let found = self.0.store.read().await?.reservations(&filter, page).await?;
        Ok(List::page(found, page, |found| self.reservation_view(found)))
    }

    /// What the broadcaster sees while on air, and before.
    pub async fn status(&self, actor: &Actor, number: ReservationNumber) -> Answer<BroadcastStatus> {
        if !actor.scopes.has(Scope::Read) {
            actor.need(Scope::Broadcast)?;
        }
        let now = self.now();
        let mut reads = self.0.store.read().await?;
        let found = actor.own(reads.reservation(number).await?)?;
        let channels = reads.channels().await?;
        let channel = channels.into_iter().find(|channel| channel.number == found.channel);
        let channel = channel.ok_or(Refusal::NotFound(Thing::Channel))?;
        let extension = self.extension_offer(reads.as_mut(), &found, now).await?;
        drop(reads);
        let live = self.0.streaming.live().remove(&number);
        let window = found.window;
        let over = found.over_at.unwrap_or_else(|| window.end()).min(window.end());
        let until = now.clamp(window.start(), over.max(window.start()));
        let link = live.as_ref().map_or(Link::Absent, |live| live.link);
        let is_open = matches!(found.state, State::Confirmed | State::OnAir);
        Ok(BroadcastStatus {
            number,
            state: found.state,
            link,
            is_on_air: link == Link::OnAir && is_open && window.contains(now),
            now,
            elapsed: until.since(window.start()),
            remaining: over.since(until),
            window,
            connect: window.widened(self.rules().margins),
            picture: live
                .as_ref()
                .and_then(|live| live.picture)
                .map(|(width, height)| Picture { width, height }),
            last_end: live.as_ref().and_then(|live| live.last_end.clone()),
            tracks: live.as_ref().map(|live| live.tracks.clone()).unwrap_or_default(),
            left_out: live.as_ref().map_or(0, |live| live.left_out),
            health: live.as_ref().and_then(|live| live.health.clone()).map(HealthView::from),
            bit_rate: live.as_ref().map_or(0, |live| live.bit_rate),
            title: found.program.title,
            watch_url: self.watch_url(&channel.name),
            server: self.0.settings.places.name.clone(),
            channel: self.channel_view(&channel),
            viewers: live.as_ref().map_or(0, |live| live.viewers),
            seats: found.seats,
            extension,
        })
    }

    async fn extension_offer(
        &self,
        reads: &mut (dyn Reads + '_),
        found: &Reservation,
        now: WallTime,
    ) -> Answer<ExtensionOffer> {
        let (rules, end) = (self.rules(), found.window.end());
        let is_open = matches!(found.state, State::Confirmed | State::OnAir) && now < end;
        let length = rules.length(found.window);
        let most = rules.slots_max.saturating_sub(length);
        if !is_open || most == 0 {
            return Ok(ExtensionOffer::default());
        }
        let limit = end.saturating_add(rules.slot.saturating_mul(most));
        let taken = reads.taken_slots(found.channel, end, limit).await?;
        let next = taken.iter().map(|slot| slot.start).min().unwrap_or(limit);
        let slots_max = u32::try_from(next.since(end).as_micros() / rules.slot.as_micros().max(1));
        let slots_max = slots_max.unwrap_or(0).min(most);
        let slots_max = slots_max.min(self.month_room(reads, found, slots_max).await?);
        let from = end.saturating_sub(rules.extend_from);
        if slots_max == 0 {
            return Ok(ExtensionOffer::default());
        }
        if now < from {
            return Ok(ExtensionOffer { from: Some(from), ..ExtensionOffer::default() });
        }
        let toll = rules::Rules::quote(1, found.toll)?.total;
        Ok(ExtensionOffer {
            is_offered: true,
            slots_max: Some(slots_max),
            toll: Some(toll),
            from: None,
            until: Some(end),
        })
    }

    /// Of so many slots after the end, how many the member's limit leaves room for.
    async fn month_room(&self, reads: &mut (dyn Reads + '_), found: &Reservation, slots: u32) -> Answer<u32> {
        if found.kind == ProgramKind::Special {
            return Ok(slots);
        }
        let (rules, mut start) = (self.rules(), found.window.end());
        let mut starts = Vec::new();
        for _ in 0..slots {
            starts.push(start);
            start = start.saturating_add(rules.slot);
        }
        let used = used_in(reads, found.member, &starts, rules).await?;
        let fits = |count: &usize| rules::check_month(&used, &starts[..*count], rules).is_ok();
        let room = (1..=starts.len()).take_while(fits).last().unwrap_or(0);
        Ok(u32::try_from(room).unwrap_or(0))
    }

    /// How a program ran; `page`: of the samples.
    pub async fn history(&self, actor: &Actor, number: ReservationNumber, page: Page) -> Answer<History> {
        actor.need(Scope::Read)?;
        let mut reads = self.0.store.read().await?;
        let reservation = actor.own(reads.reservation(number).await?)?;
        let run = reads.run(number).await?;
        let samples = List::page(reads.samples(number, page).await?, page, |sample| sample);
        let ledger =
            reads.ledger_of(number).await?.into_iter().map(|entry| self.ledger_view(entry)).collect();
        let window = reservation.window;
        let over = reservation.over_at.unwrap_or_else(|| window.end()).min(window.end());
        let length_ms = u64::try_from(over.since(window.start()).as_millis()).unwrap_or(u64::MAX).max(1);
        let viewers_average_milli = run.viewer_ms.saturating_mul(1000) / length_ms;
        let reservation = self.reservation_view(reservation);
        Ok(History { reservation, run, viewers_average_milli, samples, ledger })
    }

    /// The actor's page.
    pub async fn my_channel(&self, actor: &Actor) -> Answer<MyChannel> {
        actor.need(Scope::Read)?;
        let now = self.now();
        let mut reads = self.0.store.read().await?;
        let member = reads.member(actor.member).await?.ok_or(Refusal::NotLoggedIn)?;
        let filter = |states: &[State], newest_first| ReservationFilter {
            member: Some(member.number),
            states: states.to_vec(),
            newest_first,
            ..ReservationFilter::default()
        };
        let page = |limit| Page { offset: 0, limit };
        let open = [State::Held, State::Registered, State::Confirmed, State::OnAir];
        let open = reads.reservations(&filter(&open, false), page(MY_OPEN_MAX)).await?.items;
        let over = [Settlement::Open, Settlement::Charged, Settlement::Waived].map(State::Finished);
        let over = reads.reservations(&filter(&over, true), page(MY_PAST_MAX)).await?.items;
        let gone: Vec<_> =
            State::ALL.into_iter().filter(|state| matches!(state, State::Cancelled(_))).collect();
        let cancelled = reads.reservations(&filter(&gone, true), page(MY_PAST_MAX)).await?.items;
        let mut past = Vec::with_capacity(over.len());
        for reservation in over {
            let run = reads.run(reservation.number).await?;
            past.push(PastProgram { reservation: self.reservation_view(reservation), run });
        }
        let shown = |found: Vec<_>| found.into_iter().map(|found| self.reservation_view(found)).collect();
        let (open, cancelled) = (shown(open), shown(cancelled));
        let (from, to) = rules::month_of(now, &self.rules().zone);
        let slots_used = reads.slots_of(member.number, from, to).await?;
        let slots_max = self.rules().month_slots_max;
        Ok(MyChannel { member, open, past, cancelled, slots_used, slots_max })
    }
}
