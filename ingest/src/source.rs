//! What one program's broadcaster sends, over all the links that it sends it by.
//!
//! Owns: the stream, its continuity (`splice`), its clock, key frames, reception, class and the chunk in the making.
//! Not here: sockets, who may send (`decide`), when the links are closed (`clockwork`).
//! Invariant: outside the window nothing is published; viewers see one SSRC per track, whose sequence numbers and
//! timestamps go on when the broadcaster returns; chunk indices have no gaps.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use slotcast_admission::{ClassMeter, MeterVerdict, Program, Reason};
use slotcast_core::{
    chunk::ChunkBuilder,
    counter::Counter,
    feed::Feeds,
    keyframe::ParameterSets,
    media::{Description, MediaKind, Stream, StreamId, TRACKS_MAX},
    packet::PacketFlags,
    rtp::{self, RtpPacket},
    time::Now,
};
use slotcast_media::decoders;
use slotcast_rtsp::sdp::Announced;

use crate::{
    choice::Chosen,
    limits,
    link::LinkId,
    stats::{IngestStats, LinkState, ProgramStats, Traffic},
    tracks::Tracks,
};

/// Where a packet stands with the link that brought it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The link goes on.
    Fine,
    /// The link is to be closed for this.
    Close(Reason),
}

/// How much of the class an encoder may send, for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClassRules {
    /// At once, as time of the class's rate.
    pub(crate) burst: Duration,
    /// Above the class, until the link is closed.
    pub(crate) exceeded_max: Duration,
}

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

/// What came to a link over UDP from its address, but not from a port that it announced.
#[derive(Clone, Copy, Debug)]
enum WrongPort {
    None,
    /// From here, among others.
    Seen(SocketAddr),
    /// And its operator was told.
    Said,
}

/// The state of one program's source; it outlives its links until the connect window closes.
pub(crate) struct Source {
    program: Arc<Program>,
    stream: Arc<Stream>,
    /// As the present link or the last one announced it.
    announced: Description,
    /// The same with the parameter sets that came in band. Viewers are told of it what they can get.
    description: Description,
    /// By track: whether viewers are told of it.
    told: [bool; TRACKS_MAX],
    /// By track: when the present link has last sent on it.
    heard: [Option<Instant>; TRACKS_MAX],
    tracks: Tracks,
    meter: ClassMeter,
    builder: ChunkBuilder,
    /// Whether the last video packet was not the last of its picture.
    picture_is_open: bool,
    /// Shortly before the end an unfinished picture waits for its last packet rather than for the builder's deadline.
    waits_for_marker: bool,
    next_index: u64,
    link: Option<LinkId>,
    last_arrival: Option<Instant>,
    /// When the present link began to record.
    attached_at: Instant,
    wrong_port: WrongPort,
    receiver_reports_at: Option<Instant>,
    sender_reports_at: Option<Instant>,
    counts: Counts,
    bytes_measured: u64,
    measured_at: Instant,
}

impl Source {
    /// A source of `announced`; no link brings it yet.
    pub(crate) fn new(
        now: Now,
        program: Arc<Program>,
        announced: Announced,
        id: StreamId,
        rules: ClassRules,
        stats: &IngestStats,
    ) -> Self {
        let (program_stats, channel) = stats.add_program(program.id, &program.channel.name);
        let meter = ClassMeter::new(program.class, rules.burst, rules.exceeded_max, now.mono);
        let stream = stream_of(id, &program, announced);
        program_stats.set_picture(decoders::described_picture(&stream));
        Self {
            tracks: Tracks::new(&stream.tracks),
            meter,
            program,
            announced: stream.description.clone(),
            description: stream.description.clone(),
            told: [true; TRACKS_MAX],
            heard: [None; TRACKS_MAX],
            stream,
            builder: ChunkBuilder::new(),
            picture_is_open: false,
            waits_for_marker: false,
            next_index: 0,
            link: None,
            last_arrival: None,
            attached_at: now.mono,
            wrong_port: WrongPort::None,
            receiver_reports_at: None,
            sender_reports_at: None,
            counts: Counts { program: program_stats, channel },
            bytes_measured: 0,
            measured_at: now.mono,
        }
    }

    /// A link begins to bring the source; what it announces may differ from before.
    ///
    /// - `id`: taken for the stream if viewers of the old one cannot go on with it.
    /// - `set_up`: the tracks that it may send on.
    pub(crate) fn attach(
        &mut self,
        now: Now,
        link: LinkId,
        announced: Option<Announced>,
        set_up: &[u8],
        id: StreamId,
        feeds: &Feeds,
    ) {
        self.flush(feeds);
        if let Some(announced) = announced {
            self.change_stream(announced, id);
        }
        self.told = std::array::from_fn(|track| set_up.iter().any(|of| usize::from(*of) == track));
        self.heard = [None; TRACKS_MAX];
        self.show_description();
        self.tracks.begin_link();
        self.link = Some(link);
        self.last_arrival = None;
        self.attached_at = now.mono;
        self.wrong_port = WrongPort::None;
        self.receiver_reports_at = Some(now.mono + limits::RECEIVER_REPORT_EVERY);
        self.counts.add(|traffic| &traffic.links, 1);
        self.counts.program.set_since(now.wall);
        self.show_state(now);
    }

    /// Viewers go on if the tracks are the same and what they decode with is: as announced before, or as it came in band.
    fn change_stream(&mut self, announced: Announced, id: StreamId) {
        let decodes_alike = |before| decoders::decodes_alike(before, &announced.description);
        let goes_on = self.stream.continues_with(&announced.tracks)
            && (decodes_alike(&self.announced) || decodes_alike(&self.description));
        let id = if goes_on { self.stream.id } else { id };
        self.stream = stream_of(id, &self.program, announced);
        self.announced = self.stream.description.clone();
        self.description = self.announced.clone();
        if goes_on {
            // What came in band comes again, perhaps much later than the next viewer.
            for track in 0..self.tracks.count() {
                if let Some(sets) = self.tracks.parameter_sets(track) {
                    self.complete_description(track, &sets);
                }
            }
        } else {
            self.tracks = Tracks::new(&self.stream.tracks);
        }
    }

    /// The link is gone; viewers wait for the next one.
    pub(crate) fn detach(&mut self, link: LinkId, feeds: &Feeds) {
        if self.link == Some(link) {
            self.flush(feeds);
            self.link = None;
            self.receiver_reports_at = None;
            self.counts.program.set_state(LinkState::Absent);
            self.counts.program.set_bit_rate(0);
        }
    }

    /// The link that brings it; `None` while one is waited for.
    pub(crate) const fn link(&self) -> Option<LinkId> {
        self.link
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

    /// When the last usable packet of the present link came.
    pub(crate) const fn last_arrival(&self) -> Option<Instant> {
        self.last_arrival
    }

    /// Something came that belongs to no track.
    pub(crate) fn on_unusable(&self) {
        self.counts.add(|traffic| &traffic.unusable, 1);
    }

    /// Something came from an address of the link, but not from a port that it announced. As long as nothing comes from
    /// those, that may be its media, with the ports changed by an address translator. Not taken all the same: anybody
    /// behind the same translator could send it.
    pub(crate) fn on_wrong_port(&mut self, from: SocketAddr) {
        if self.link.is_none() || self.last_arrival.is_some() {
            return;
        }
        self.counts.add(|traffic| &traffic.wrong_port, 1);
        if matches!(self.wrong_port, WrongPort::None) {
            self.wrong_port = WrongPort::Seen(from);
        }
    }

    /// Says once per link what to do about ports that were changed on the way.
    fn tell_of_wrong_port(&mut self, now: Now) {
        let WrongPort::Seen(from) = self.wrong_port else { return };
        let waited = now.mono.saturating_duration_since(self.attached_at) >= limits::WRONG_PORT_PATIENCE;
        if self.link.is_some() && self.last_arrival.is_none() && waited {
            self.wrong_port = WrongPort::Said;
            tracing::warn!(
                channel = %self.program.channel.name,
                peer = %from.ip(),
                port = from.port(),
                fault = "network",
                "media comes from another UDP port than was announced, as behind an address translator, and is not taken: push \
                 over TCP (ffmpeg -rtsp_transport tcp, rtspclientsink protocols=tcp)"
            );
        }
    }

    /// Takes one RTP packet of `track`. On the packet path: one copy, no allocation but the chunk's.
    pub(crate) fn on_rtp(&mut self, now: Now, track: u8, packet: &[u8], feeds: &Feeds) -> Fate {
        self.counts.add(|traffic| &traffic.packets, 1);
        self.counts.add(|traffic| &traffic.bytes, packet.len() as u64);
        match self.meter.take(now.mono, packet.len()) {
            MeterVerdict::Pass => {}
            MeterVerdict::Drop => {
                self.counts.add(|traffic| &traffic.over_class, 1);
                return Fate::Fine;
            }
            MeterVerdict::Close => {
                self.counts.add(|traffic| &traffic.over_class, 1);
                return Fate::Close(self.meter.reason());
            }
        }
        let known = self.stream.tracks.get(usize::from(track));
        let parsed = RtpPacket::parse(packet).ok().zip(known);
        let Some((rtp, _)) = parsed.filter(|(rtp, t)| t.payload_types.contains(&rtp.payload_type().0)) else {
            self.on_unusable();
            return Fate::Fine;
        };
        self.last_arrival = Some(now.mono);
        match self.tracks.judge(now, track, &rtp, packet) {
            Chosen::Current => self.take(now, now, track, &rtp, packet, feeds),
            Chosen::Other => self.release(now, track, feeds),
        }
        Fate::Fine
    }

    /// Takes the packets that were held until it was clear whose they are.
    fn release(&mut self, now: Now, track: u8, feeds: &Feeds) {
        while let Some(held) = self.tracks.release(now, track) {
            if let Ok(rtp) = RtpPacket::parse(&held.packet) {
                self.take(now, held.at, track, &rtp, &held.packet, feeds);
            }
        }
    }

    /// Takes one packet of the SSRC that counts, which arrived at `at`.
    fn take(&mut self, now: Now, at: Now, track: u8, rtp: &RtpPacket<'_>, packet: &[u8], feeds: &Feeds) {
        self.note_heard(now, track);
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

    /// Whether `datagram`, read as RTP, has a payload type of `track`.
    pub(crate) fn has_payload_type_of(&self, track: u8, datagram: &[u8]) -> bool {
        let payload_type = datagram.get(1).map(|byte| byte & 0x7f);
        let track = self.stream.tracks.get(usize::from(track));
        track.zip(payload_type).is_some_and(|(track, of)| track.payload_types.contains(&of))
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
            self.flush(feeds);
        }
        let Some((mapped, report_due)) = self.tracks.map(at, track, rtp) else { return };
        let Some(copy) = self.builder.push(now.mono, track, flags, packet) else {
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
        if flags.contains(PacketFlags::MARKER) && self.marker_ends_chunk(track) {
            self.flush(feeds);
        }
    }

    fn is_video(&self, track: u8) -> bool {
        self.stream.tracks.get(usize::from(track)).is_some_and(|track| track.kind == MediaKind::Video)
    }

    /// The marker of a sound packet does not break up the picture that comes beside it.
    fn marker_ends_chunk(&self, track: u8) -> bool {
        self.is_video(track) || !self.stream.tracks.iter().any(|track| track.kind == MediaKind::Video)
    }

    /// Puts parameter sets that came in band into the description that viewers get, if they are new.
    fn on_parameter_sets(&mut self, track: u8) {
        if let Some(sets) = self.tracks.newer_parameter_sets(track) {
            self.complete_description(track, &sets);
        }
    }

    fn complete_description(&mut self, track: u8, sets: &ParameterSets) {
        if let Some(description) = decoders::with_parameter_sets(&self.description, usize::from(track), sets)
        {
            self.description = description;
            self.show_description();
        }
    }

    /// Tells viewers who come from now on of the tracks that they can get; of all, if that is none.
    fn show_description(&mut self) {
        let mut description = self.description.clone();
        if self.told.contains(&true) {
            let untold = description.media.iter_mut().zip(self.told).filter(|(_, is_told)| !is_told);
            untold.for_each(|(media, _)| media.clear());
        }
        if description != self.stream.description {
            self.stream = Arc::new(Stream { description, ..Stream::clone(&self.stream) });
        }
        self.counts.program.set_picture(decoders::described_picture(&self.stream));
    }

    /// A track is told of as soon as something comes on it. On the packet path.
    fn note_heard(&mut self, now: Now, track: u8) {
        let at = usize::from(track);
        if let (Some(heard), Some(told)) = (self.heard.get_mut(at), self.told.get_mut(at)) {
            *heard = Some(now.mono);
            if !std::mem::replace(told, true) {
                self.show_description();
            }
        }
    }

    /// A track is told of no more when nothing has come on it for long, while something came on another.
    fn forget_silent_tracks(&mut self, now: Now) {
        let since = |at: Instant| now.mono.saturating_duration_since(at);
        let waited = since(self.attached_at) >= limits::SILENT_TRACK_TOLD_MAX;
        let is_heard = |at: Option<Instant>| at.is_some_and(|at| since(at) < limits::STOPPED_TRACK_TOLD_MAX);
        let heard = self.heard.map(is_heard);
        if self.link.is_some() && waited && heard.contains(&true) && self.told != heard {
            self.told = heard;
            self.show_description();
        }
    }

    fn report_to_viewers(&mut self, now: Now, track: u8) {
        if let Some(report) = self.tracks.sender_report(now, track) {
            self.builder.push_rtcp(now.mono, track, &report);
        }
    }

    fn flush(&mut self, feeds: &Feeds) {
        self.waits_for_marker = false;
        if let Some(chunk) = self.builder.flush(&self.stream, self.next_index) {
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
                self.flush(feeds);
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

    /// A goodbye with its reason for each track, for the broadcaster.
    pub(crate) fn goodbyes(&self, reason: &str) -> Vec<(u8, Vec<u8>)> {
        (0..self.tracks.count()).map(|track| (track, self.tracks.goodbye(reason))).collect()
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
            self.counts.program.set_bit_rate(u64::try_from(rate).unwrap_or(u64::MAX));
            self.bytes_measured = bytes;
            self.measured_at = now.mono;
        }
        self.forget_silent_tracks(now);
        self.tell_of_wrong_port(now);
        self.show_state(now);
    }

    fn show_state(&self, now: Now) {
        self.counts.program.set_state(match self.link {
            None => LinkState::Absent,
            Some(_) if self.program.is_on_air(now.wall) => LinkState::OnAir,
            Some(_) => LinkState::Held,
        });
    }
}

fn stream_of(id: StreamId, program: &Program, announced: Announced) -> Arc<Stream> {
    let Announced { tracks, description, .. } = announced;
    let description = Description { title: program.title.clone(), ..description };
    Arc::new(Stream { id, program: program.id, tracks, description })
}
