//! What one program's broadcaster sends, over all the links that it sends it by.
//!
//! Owns: the stream, its continuity (`splice`), its clock, key frames, reception, class and the chunk in the making.
//! Not here: who may send (`desk`), when links and programs are over (`windows`), what viewers are told of the tracks (`told`).
//! Invariant: outside the window nothing is published; viewers see one SSRC per track, whose sequence numbers and
//! timestamps go on when the broadcaster returns; chunk indices have no gaps.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use slotcast_admission::{ClassMeter, MeterVerdict, Program};
use slotcast_core::{
    chunk::ChunkBuilder,
    counter::Counter,
    feed::Feeds,
    media::{Description, MediaKind, Offer, Stream, StreamId},
    packet::PacketFlags,
    rtp::{self, RtpPacket, Ssrc},
    time::Now,
};
use slotcast_media::{decoders, keyframe::ParameterSets};

use crate::{
    choice::Chosen,
    health::Health,
    limits,
    pass::{Fate, PassId},
    stats::{IngestStats, LinkState, ProgramStats, Traffic},
    told::Told,
    tracks::Tracks,
};

/// Counts the same twice: for the program and for its channel.
struct Counts {
    program: Arc<ProgramStats>,
    channel: Arc<Traffic>,
}

impl Counts {
    fn add(&self, which: impl Fn(&Traffic) -> &Counter, more: u64) {
        which(&self.program.traffic).add(more);
        which(&self.channel).add(more);
    }
}

/// The state of one program's source; it outlives its links until the connect window closes.
pub(crate) struct Source {
    program: Arc<Program>,
    stream: Arc<Stream>,
    /// What viewers are told of it.
    told: Told,
    /// Whether viewers are told of a video track: sound goes with its pictures.
    has_picture: bool,
    tracks: Tracks,
    /// Ours, in receiver reports.
    receiver: Ssrc,
    meter: ClassMeter,
    builder: ChunkBuilder,
    /// Whether the last video packet was not the last of its picture.
    picture_is_open: bool,
    /// Shortly before the end an unfinished picture waits for its last packet rather than for the builder's deadline.
    waits_for_marker: bool,
    next_index: u64,
    link: Option<PassId>,
    last_arrival: Option<Instant>,
    /// Until when the link that took over is not taken over itself, and for how long that was said.
    kept: Option<(Instant, Duration)>,
    receiver_reports_at: Option<Instant>,
    sender_reports_at: Option<Instant>,
    counts: Counts,
    bytes_measured: u64,
    measured_at: Instant,
    /// Packets that had come, been lost and been above the class when the health was measured last, and when that was.
    health_counted: [u64; 3],
    health_at: Instant,
}

impl Source {
    /// A source of what is offered; no link brings it yet.
    ///
    /// - `burst`: how much of its class an encoder may send at once; `receiver`: ours, in receiver reports.
    pub(crate) fn new(
        now: Now,
        program: Arc<Program>,
        offer: Offer,
        id: StreamId,
        (burst, receiver): (Duration, Ssrc),
        stats: &IngestStats,
    ) -> Self {
        let (program_stats, channel) = stats.add_program(program.id, &program.channel.name);
        let stream = stream_of(id, &program, offer);
        Self {
            tracks: Tracks::new(&stream.tracks, receiver),
            receiver,
            meter: ClassMeter::new(program.class, burst, now.mono),
            program,
            told: Told::new(now.mono, stream.description.clone()),
            has_picture: false,
            stream,
            builder: ChunkBuilder::default(),
            picture_is_open: false,
            waits_for_marker: false,
            next_index: 0,
            link: None,
            last_arrival: None,
            kept: None,
            receiver_reports_at: None,
            sender_reports_at: None,
            counts: Counts { program: program_stats, channel },
            bytes_measured: 0,
            measured_at: now.mono,
            health_counted: [0; 3],
            health_at: now.mono,
        }
    }

    /// A link begins to bring the source; what it offers may differ from before.
    ///
    /// - `id`: taken for the stream if viewers of the old one cannot go on with it.
    pub(crate) fn attach(&mut self, now: Now, link: PassId, offer: Offer, id: StreamId, feeds: &Feeds) {
        if let Some(before) = self.link {
            self.detach(now, before, feeds);
        }
        let (is_sent, left_out) = (offer.is_sent, offer.left_out);
        self.counts.program.show(|status| (status.since, status.left_out) = (now.wall, left_out));
        self.change_stream(offer, id);
        self.told.begin(now.mono, is_sent);
        self.show_description();
        self.link = Some(link);
        self.last_arrival = None;
        self.forget_health(now);
        self.receiver_reports_at = Some(now.mono + limits::RECEIVER_REPORT_EVERY);
        self.counts.add(|traffic| &traffic.links, 1);
        self.show_state(now);
    }

    /// Viewers go on if the tracks are the same and what they decode with is.
    fn change_stream(&mut self, offer: Offer, id: StreamId) {
        let goes_on = self.stream.tracks == offer.tracks && self.told.goes_on_with(&offer.description);
        let id = if goes_on { self.stream.id } else { id };
        self.stream = stream_of(id, &self.program, offer);
        self.told.offer(self.stream.description.clone());
        if goes_on {
            // What came in band comes again, perhaps much later than the next viewer.
            for track in 0..self.tracks.count() {
                if let Some(sets) = self.tracks.parameter_sets(track) {
                    self.complete_description(track, &sets);
                }
            }
        } else {
            self.tracks = Tracks::new(&self.stream.tracks, self.receiver);
        }
    }

    /// The link is gone, or brings nothing for now; viewers wait for the next one.
    pub(crate) fn detach(&mut self, now: Now, link: PassId, feeds: &Feeds) {
        if self.link == Some(link) {
            self.flush(now, feeds);
            self.tracks.end_link();
            self.picture_is_open = false;
            self.link = None;
            self.receiver_reports_at = None;
            self.counts.program.show(|status| (status.state, status.bit_rate) = (LinkState::Absent, 0));
        }
    }

    /// The link that brings it; `None` while one is waited for.
    pub(crate) const fn link(&self) -> Option<PassId> {
        self.link
    }

    /// Whether another link may take over now. Two encoders with one ID would take over from each other without end: one that
    /// took over while the other was sending keeps the program for a while, and for longer each time.
    pub(crate) fn gives_way(&mut self, now: Instant) -> bool {
        let since = |at: Instant| now.saturating_duration_since(at);
        if self.link.is_none() || self.last_arrival.is_none_or(|at| since(at) >= limits::RUNNING) {
            return true;
        }
        let time = match self.kept {
            Some((until, _)) if now < until => return false,
            Some((until, time)) if since(until) < limits::KEPT_MAX => (2 * time).min(limits::KEPT_MAX),
            _ => limits::KEPT_FIRST,
        };
        self.kept = Some((now + time, time));
        true
    }

    /// The program as of the last look at the timetable.
    pub(crate) const fn program(&self) -> &Arc<Program> {
        &self.program
    }

    /// Takes over what a reload has changed.
    pub(crate) fn set_program(&mut self, now: Now, program: Arc<Program>) {
        self.meter.set_class(program.class, now.mono);
        self.program = program;
    }

    /// Something came that belongs to no track.
    pub(crate) fn on_unusable(&self) {
        self.counts.add(|traffic| &traffic.unusable, 1);
    }

    /// Takes one RTP packet of `track`. On the packet path.
    pub(crate) fn on_rtp(&mut self, now: Now, track: u8, packet: &[u8], feeds: &Feeds) -> Fate {
        self.counts.add(|traffic| &traffic.packets, 1);
        self.counts.add(|traffic| &traffic.bytes, packet.len() as u64);
        match self.meter.take(now.mono, packet.len()) {
            MeterVerdict::Pass => {}
            MeterVerdict::Drop => {
                self.counts.add(|traffic| &traffic.over_class, 1);
                return Fate::Dropped;
            }
            MeterVerdict::Close => {
                self.counts.add(|traffic| &traffic.over_class, 1);
                return Fate::Close(self.meter.reason());
            }
        }
        let known = self.stream.tracks.get(usize::from(track));
        let parsed = RtpPacket::parse(packet).zip(known);
        let Some((rtp, _)) = parsed.filter(|(rtp, t)| t.payload_types.contains(&rtp.payload_type().0)) else {
            self.on_unusable();
            return Fate::Dropped;
        };
        self.last_arrival = Some(now.mono);
        match self.tracks.judge(now, track, &rtp, packet) {
            Chosen::Current => self.take(now, now, track, &rtp, packet, feeds),
            Chosen::Other => self.release(now, track, feeds),
        }
        Fate::Taken
    }

    /// Takes the packets that were held until it was clear whose they are.
    fn release(&mut self, now: Now, track: u8, feeds: &Feeds) {
        while let Some(held) = self.tracks.release(now, track) {
            if let Some(rtp) = RtpPacket::parse(&held.packet) {
                self.take(now, held.at, track, &rtp, &held.packet, feeds);
            }
        }
    }

    /// Takes one packet of the SSRC that counts, which arrived at `at`.
    fn take(&mut self, now: Now, at: Now, track: u8, rtp: &RtpPacket<'_>, packet: &[u8], feeds: &Feeds) {
        if self.told.hear(now.mono, track) {
            self.show_description();
        }
        let flags = self.tracks.on_arrival(at.mono, track, rtp);
        if flags.contains(PacketFlags::PARAMETER_SETS) {
            self.on_parameter_sets(track);
        }
        if self.program.is_on_air(now.wall) {
            self.publish(now, at, track, rtp, flags, packet, feeds);
        } else {
            self.counts.add(|traffic| &traffic.held, 1);
        }
    }

    /// Takes one RTCP datagram or frame of `track`: sender reports and goodbyes count, the rest is for nobody here.
    pub(crate) fn on_rtcp(&mut self, now: Now, track: u8, bytes: &[u8]) {
        if usize::from(track) >= self.stream.tracks.len() || !self.tracks.on_rtcp(now, track, bytes) {
            self.on_unusable();
        }
    }

    #[expect(clippy::too_many_arguments, reason = "all of one packet, on its only way")]
    fn publish(
        &mut self,
        now: Now,
        at: Now,
        track: u8,
        rtp: &RtpPacket<'_>,
        flags: PacketFlags,
        packet: &[u8],
        feeds: &Feeds,
    ) {
        if !self.builder.fits(packet.len()) {
            self.flush(now, feeds);
        }
        let Some((mapped, report_due)) = self.tracks.map(at, track, rtp) else { return };
        let copy = if self.is_urgent(track) {
            self.builder.push(now.mono, track, flags, packet)
        } else {
            self.builder.push_beside(now.mono, self.gather(now), track, flags, packet)
        };
        let Some(copy) = copy else {
            self.on_unusable();
            return;
        };
        rtp::rewrite(copy, mapped.ssrc, mapped.sequence_number, mapped.timestamp);
        self.counts.add(|traffic| &traffic.published, 1);
        if self.is_video(track) {
            self.picture_is_open = !flags.contains(PacketFlags::MARKER);
        }
        if report_due {
            self.report_to_viewers(now, track);
            self.sender_reports_at.get_or_insert(now.mono + limits::SENDER_REPORT_EVERY);
        }
        // The marker of a sound packet does not break up the picture that comes beside it.
        if flags.contains(PacketFlags::MARKER) && self.is_urgent(track) {
            self.flush(now, feeds);
        }
    }

    fn is_video(&self, track: u8) -> bool {
        self.stream.tracks.get(usize::from(track)).is_some_and(|track| track.kind == MediaKind::Video)
    }

    /// Whether packets of `track` wait for nothing but their marker: pictures, and everything where there are none.
    fn is_urgent(&self, track: u8) -> bool {
        !self.has_picture || self.is_video(track)
    }

    /// How long sound and reports may wait for the next picture. Near the end nothing waits that long.
    fn gather(&self, now: Now) -> Duration {
        let to_end = self.program.gate.end().since(now.wall);
        self.program.channel.gather.min(to_end.saturating_sub(limits::WHOLE_PICTURES_BEFORE_END))
    }

    /// Puts parameter sets that came in band into the description that viewers get, if they are new.
    fn on_parameter_sets(&mut self, track: u8) {
        if let Some(sets) = self.tracks.newer_parameter_sets(track) {
            self.complete_description(track, &sets);
        }
    }

    fn complete_description(&mut self, track: u8, sets: &ParameterSets) {
        if self.told.complete(track, sets) {
            self.show_description();
        }
    }

    /// Tells viewers who come from now on, and the broadcaster.
    fn show_description(&mut self) {
        let description = self.told.description();
        if description != self.stream.description {
            self.stream = Arc::new(Stream { description, ..Stream::clone(&self.stream) });
        }
        let mut tracks = self.stream.tracks.iter().enumerate();
        self.has_picture = tracks.any(|(at, track)| track.kind == MediaKind::Video && self.told.is_told(at));
        self.counts.program.show(|status| {
            status.picture = decoders::described_picture(&self.stream);
            status.tracks = self.told.status(&self.stream.tracks);
        });
    }

    fn report_to_viewers(&mut self, now: Now, track: u8) {
        if let Some(report) = self.tracks.sender_report(now, track) {
            let wait = if self.has_picture { self.gather(now) } else { Duration::ZERO };
            self.builder.push_beside(now.mono, wait, track, PacketFlags::RTCP, &report);
        }
    }

    /// Publishes what is gathered. What waited for the rest of its picture when the end came goes to nobody.
    fn flush(&mut self, now: Now, feeds: &Feeds) {
        self.waits_for_marker = false;
        let chunk = self.builder.flush(&self.stream, self.next_index);
        if let Some(chunk) = chunk.filter(|_| self.program.is_on_air(now.wall)) {
            self.next_index += 1;
            feeds.publish(&chunk);
        }
    }

    /// What has to be done next by itself; `None` while nothing comes.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let reports = [self.receiver_reports_at, self.sender_reports_at, self.tracks.deadline()];
        let flush_at = self.builder.deadline().filter(|_| !self.waits_for_marker);
        reports.into_iter().chain([flush_at]).flatten().min()
    }

    /// Does what is due: flushes a chunk that has waited, and the viewers' sender reports.
    pub(crate) fn on_time(&mut self, now: Now, feeds: &Feeds) {
        (0..self.tracks.count()).for_each(|track| self.release(now, track, feeds));
        if self.sender_reports_at.is_some_and(|at| at <= now.mono) {
            self.sender_reports_at = None;
            // No link, or nothing since the last report: viewers wait for the broadcaster, and so do the reports.
            let is_sent = self.link.is_some() && self.program.is_on_air(now.wall);
            if self.tracks.take_published() && is_sent {
                (0..self.tracks.count()).for_each(|track| self.report_to_viewers(now, track));
                self.sender_reports_at = Some(now.mono + limits::SENDER_REPORT_EVERY);
            } else {
                self.tracks.report_with_next_packet();
            }
        }
        if self.builder.deadline().is_some_and(|at| at <= now.mono) && !self.waits_for_marker {
            // What the end cuts off is a whole picture, not the second half of one.
            let end_is_near = self.program.gate.end().since(now.wall) < limits::WHOLE_PICTURES_BEFORE_END;
            if end_is_near && self.picture_is_open {
                self.waits_for_marker = true;
            } else {
                self.flush(now, feeds);
            }
        }
    }

    /// The receiver reports by track, when they are due.
    pub(crate) fn take_receiver_reports(&mut self, now: Now) -> Option<Vec<(u8, Vec<u8>)>> {
        self.receiver_reports_at.filter(|at| *at <= now.mono)?;
        self.receiver_reports_at = Some(now.mono + limits::RECEIVER_REPORT_EVERY);
        let reports = (0..self.tracks.count())
            .filter_map(|track| Some((track, self.tracks.receiver_report(now, track)?)));
        Some(reports.collect())
    }

    /// Brings the counters for people up to date; called every tick.
    pub(crate) fn measure(&mut self, now: Now) {
        let lost = self.tracks.take_lost();
        self.counts.add(|traffic| &traffic.lost, lost);
        let strange = self.tracks.take_dropped(now.mono);
        self.counts.add(|traffic| &traffic.strange_ssrc, strange);
        let time = now.mono.saturating_duration_since(self.measured_at);
        if time >= limits::RATE_WINDOW {
            let bytes = self.counts.program.traffic.bytes.value();
            let bits = u128::from(bytes.wrapping_sub(self.bytes_measured)) * 8_000;
            let rate = if self.link.is_some() { bits / time.as_millis().max(1) } else { 0 };
            let rate = u64::try_from(rate).unwrap_or(u64::MAX);
            self.counts.program.show(|status| status.bit_rate = rate);
            self.bytes_measured = bytes;
            self.measured_at = now.mono;
        }
        if self.link.is_some() && now.mono.saturating_duration_since(self.health_at) >= limits::HEALTH_WINDOW
        {
            self.measure_health(now);
        }
        if self.link.is_some() && self.told.forget_silent(now.mono) {
            self.show_description();
        }
        self.show_state(now);
    }

    fn measure_health(&mut self, now: Now) {
        let traffic = &self.counts.program.traffic;
        let counted = [&traffic.packets, &traffic.lost, &traffic.over_class].map(Counter::value);
        let before = std::mem::replace(&mut self.health_counted, counted);
        let [packets, lost, over_class] = std::array::from_fn(|at| counted[at].wrapping_sub(before[at]));
        let mut sound =
            self.stream.tracks.iter().enumerate().filter(|(_, track)| track.kind == MediaKind::Audio);
        let has_sound = sound.any(|(at, _)| self.told.is_heard_since(at, self.health_at));
        let encodings =
            self.stream.description.media.iter().map(|media| decoders::encoding(media).to_owned()).collect();
        let mut health = Health { encodings, has_sound, packets, lost, over_class, ..Health::default() };
        self.tracks.measure(now.mono, &mut health);
        self.health_at = now.mono;
        self.counts.program.show(|status| status.health = Some(health));
    }

    /// A link begins: what was measured of the one before says nothing of it.
    fn forget_health(&mut self, now: Now) {
        let traffic = &self.counts.program.traffic;
        self.health_counted = [&traffic.packets, &traffic.lost, &traffic.over_class].map(Counter::value);
        self.health_at = now.mono;
        self.counts.program.show(|status| status.health = None);
    }

    fn show_state(&self, now: Now) {
        let state = match self.link {
            None => LinkState::Absent,
            Some(_) if self.program.is_on_air(now.wall) => LinkState::OnAir,
            Some(_) => LinkState::Held,
        };
        self.counts.program.show(|status| status.state = state);
    }
}

fn stream_of(id: StreamId, program: &Program, offer: Offer) -> Arc<Stream> {
    let Offer { tracks, description, .. } = offer;
    let description = Description { title: program.title.clone(), ..description };
    Arc::new(Stream { id, program: program.id, tracks, description })
}
