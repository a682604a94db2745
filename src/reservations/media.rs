//! The streaming side as the reservation side sees it.
//!
//! Owns: [`Media`], which turns schedules into timetables and counters into answers.
//! Invariant: media never waits for anything here; a schedule that does not fit together changes nothing.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak, atomic::Ordering},
};

use slotcast_admission::{Channel, Cut, LinkKey, ProgramSpec, Programs, Secret, Timetable};
use slotcast_core::{media::MediaKind, time::Clock, words::ProgramId};
use slotcast_fanout::{FanoutStats, Roll, ViewerInfo};
use slotcast_ingest::{Health, Ingest, IngestStats, LinkEnd, LinkState, TrackState, TrackStatus};
use slotcast_reservation::{
    domain::{reservation::SoldChannel, words::ReservationNumber},
    stream_health::StreamHealth,
    streaming::{self, ClockCheck, Link, Live, Schedule, Scheduled, StoppedBy, Streaming, Viewer},
};

use crate::{metrics::Counts, ntp::ClockWatch, stills::Shelf};

/// The rooms of a running server, for the reservation side.
pub(crate) struct Media {
    pub(crate) timetable: Arc<Timetable>,
    pub(crate) fanout: Arc<FanoutStats>,
    pub(crate) roll: Roll,
    pub(crate) counts: Arc<Counts>,
    pub(crate) ingest_stats: Arc<IngestStats>,
    /// Weak: who asks here must not keep the link side from ending.
    pub(crate) ingest: Weak<Ingest>,
    pub(crate) clock_watch: Arc<ClockWatch>,
    pub(crate) stills: Option<Arc<Shelf>>,
    pub(crate) clock: Clock,
}

impl Streaming for Media {
    fn publish(&self, schedule: &Schedule) -> Result<(), String> {
        let channels = schedule.channels.iter().map(channel).collect();
        let programs = schedule.programs.iter().map(program).collect();
        // Before their windows end in the timetable, which would be the reason otherwise.
        self.stop(schedule);
        let changes = if schedule.is_whole {
            self.timetable.publish(channels, programs)
        } else {
            let gone: Vec<_> = schedule.gone.iter().copied().map(program_id).collect();
            self.timetable.update(channels, programs, &gone)
        };
        let changes = changes.map_err(|error| error.to_string())?;
        let [added, changed, removed] = [changes.added.len(), changes.changed.len(), changes.removed.len()];
        if added + changed + removed > 0 {
            tracing::info!(added, changed, removed, "the schedule of programs changed");
        }
        // Those that this server has not known until now, as after a start.
        self.stop(schedule);
        if let Some(ingest) = self.ingest.upgrade() {
            ingest.serve_channels(schedule.channels.len());
        }
        Ok(())
    }

    fn is_normal(&self) -> bool {
        self.fanout.is_running()
            && self.ingest.upgrade().is_some_and(|ingest| ingest.is_running())
            && !self.counts.draining.load(Ordering::Relaxed)
    }

    fn clock(&self) -> Option<ClockCheck> {
        self.clock_watch.check()
    }

    fn live(&self) -> BTreeMap<ReservationNumber, Live> {
        let mut all = BTreeMap::new();
        for program in self.timetable.begun((self.clock)().wall) {
            let Some(number) = number(program.id) else { continue };
            let viewers = program.gate.viewers();
            if viewers > 0 {
                all.insert(number, Live { viewers, ..Live::absent(program.window.start()) });
            }
        }
        for status in self.ingest_stats.links() {
            let Some(number) = number(status.program) else { continue };
            let live = all.entry(number).or_insert_with(|| Live::absent(status.since));
            live.since = status.since;
            live.bit_rate = status.bit_rate;
            live.picture = status.picture.map(|size| (size.width, size.height));
            live.left_out = status.left_out;
            live.health = status.health.filter(|_| status.state != LinkState::Absent).map(health);
            live.tracks = status.tracks.iter().map(track).collect();
            live.last_end = status.last_end.map(|LinkEnd { at, reason }| streaming::LinkEnd {
                at,
                reason: reason.label(),
                fault: reason.fault().label(),
                text: reason.text().into_owned(),
            });
            live.link = match status.state {
                LinkState::Absent => Link::Absent,
                LinkState::Held => Link::Held,
                LinkState::OnAir => Link::OnAir,
            };
            let program = self.ingest_stats.program(status.program);
            live.packets = program.map_or(0, |program| program.traffic.published.value());
        }
        all
    }

    fn has_still(&self, program: ReservationNumber) -> bool {
        self.stills.as_ref().is_some_and(|stills| stills.has_still(program_id(program)))
    }

    fn viewers(&self, program: ReservationNumber) -> Vec<Viewer> {
        let viewer =
            |info: ViewerInfo| Viewer { id: info.id, address: info.address, protocol: info.protocol.label() };
        self.roll.viewers(program_id(program)).into_iter().map(viewer).collect()
    }

    fn kick_viewer(&self, program: ReservationNumber, viewer: u64, reason: &str) -> bool {
        let was_there = self.roll.kick(program_id(program), viewer);
        tracing::info!(program = program.0, viewer, reason, was_there, "the operator sends a viewer away");
        was_there
    }

    fn kick_link(&self, program: ReservationNumber, reason: &str) -> bool {
        let id = program_id(program);
        let has_link = self
            .ingest_stats
            .links()
            .iter()
            .any(|link| link.program == id && matches!(link.state, LinkState::Held | LinkState::OnAir));
        match self.ingest.upgrade() {
            Some(ingest) if has_link => {
                tracing::info!(program = program.0, reason, "the operator closes a link");
                ingest.kick(id);
                true
            }
            _ => false,
        }
    }
}

impl Media {
    /// Closes the gates of programs that were ended before their time, with the reason.
    fn stop(&self, schedule: &Schedule) {
        for scheduled in &schedule.programs {
            let cut = match scheduled.stopped {
                Some(StoppedBy::Member) => Cut::Stopped,
                Some(StoppedBy::Operator) => Cut::Withdrawn,
                None => continue,
            };
            if let Some(program) = self.timetable.program(program_id(scheduled.number)) {
                program.gate.close_as(cut);
            }
        }
    }
}

/// What the streaming side calls a reservation's program.
pub(crate) const fn program_id(number: ReservationNumber) -> ProgramId {
    ProgramId(number.0 as u64)
}

fn number(id: ProgramId) -> Option<ReservationNumber> {
    i64::try_from(id.0).ok().map(ReservationNumber)
}

fn health(measured: Health) -> StreamHealth {
    let Health { encodings, frame_rate_milli, key_frame_distance, .. } = measured;
    let Health { has_b_frames, has_sound, packets, lost, over_class, .. } = measured;
    StreamHealth {
        encodings,
        frame_rate_milli,
        key_frame_distance,
        has_b_frames,
        has_sound,
        packets,
        lost,
        over_class,
    }
}

fn track(status: &TrackStatus) -> streaming::Track {
    let state = match status.state {
        TrackState::NotSetUp => streaming::TrackState::NotSetUp,
        TrackState::Silent => streaming::TrackState::Silent,
        TrackState::Sent => streaming::TrackState::Sent,
    };
    let kind = match status.kind {
        MediaKind::Video => "video",
        MediaKind::Audio => "audio",
        MediaKind::Application => "application",
    };
    streaming::Track { kind, state }
}

fn channel(sold: &SoldChannel) -> Channel {
    Channel {
        number: sold.number,
        name: sold.name.clone(),
        seats: sold.seats,
        class: sold.class,
        toll: sold.toll,
        gather: sold.gather,
    }
}

fn program(scheduled: &Scheduled) -> ProgramSpec {
    ProgramSpec {
        id: program_id(scheduled.number),
        channel: scheduled.channel,
        window: scheduled.window,
        connect: scheduled.connect,
        seats: Some(scheduled.seats),
        class: Some(scheduled.class),
        title: scheduled.title.clone(),
        open_level: scheduled.open_level,
        password: scheduled.password.as_ref().map(|password| Secret::new(password.0.clone())),
        link_key: LinkKey::from_reservation_id(scheduled.reservation_id.expose()),
    }
}
