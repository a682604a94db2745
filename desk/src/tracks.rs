//! The tracks of one stream: which SSRC counts, what was lost, where key frames are, and what viewers know of each.
//!
//! Owns: reception, continuity and sender clocks of all tracks, and the reports made of them.
//! Not here: when reports are due and where packets go (`source`).
//! Invariant: viewers see one SSRC per track as long as the stream lives, whatever the broadcaster restarts.

use std::{num::NonZeroU32, time::Instant};

use slotcast_core::{
    media::{MediaKind, Track},
    packet::PacketFlags,
    reception::Reception,
    rtcp::{self, RtcpPacket, SenderInfo},
    rtp::{RtpPacket, Ssrc},
    sender_clock::SenderClock,
    splice::{Mapped, Splice},
    time::Now,
};
use slotcast_media::keyframe::{KeyFrameScanner, ParameterSets};

use crate::{
    choice::{Chosen, Held, SourceChoice},
    health::{Health, PictureMeter},
    limits,
};

/// The state of one track; lives as long as the stream does.
struct TrackState {
    clock_rate: NonZeroU32,
    choice: SourceChoice,
    /// A sender report that came ahead of the first packet of its source that counts.
    early_report: Option<SenderInfo>,
    scanner: KeyFrameScanner,
    /// Of a video track.
    pictures: Option<PictureMeter>,
    /// When the newest key frame came, or the first packet.
    key_at: Option<Instant>,
    /// Of the present SSRC.
    reception: Option<Reception>,
    /// Packets lost that have been counted already.
    lost_counted: u64,
    /// Whether the next published packet brings a sender report with it.
    report_due: bool,
    /// Of the parameter sets that the description holds.
    sets_revision: Option<u64>,
}

/// All tracks of one stream, in the description's order.
pub(crate) struct Tracks {
    tracks: Vec<TrackState>,
    splice: Splice,
    clock: SenderClock,
    /// Ours, in receiver reports.
    receiver: Ssrc,
    published: bool,
}

impl Tracks {
    /// Nothing has come yet.
    ///
    /// - `receiver`: ours, in receiver reports.
    pub(crate) fn new(tracks: &[Track], receiver: Ssrc) -> Self {
        Self {
            clock: SenderClock::new(tracks.iter().map(|track| track.clock_rate)),
            tracks: tracks.iter().map(TrackState::new).collect(),
            splice: Splice::default(),
            receiver,
            published: false,
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u8 {
        u8::try_from(self.tracks.len()).unwrap_or(u8::MAX)
    }

    /// The link is over: what was held of it goes to nobody, and of the next one the first SSRC counts, whatever it is.
    pub(crate) fn end_link(&mut self) {
        self.splice.restart();
        for track in &mut self.tracks {
            track.choice.clear();
            track.early_report = None;
            track.report_due = true;
            track.pictures = track.pictures.map(|_| PictureMeter::default());
        }
    }

    /// Whether a packet's SSRC is the one that counts; if not, the packet is held until it does. On the packet path.
    ///
    /// - `packet`: the same as bytes.
    pub(crate) fn judge(&mut self, now: Now, track: u8, rtp: &RtpPacket<'_>, packet: &[u8]) -> Chosen {
        let Some(track) = self.tracks.get_mut(usize::from(track)) else { return Chosen::Other };
        let chosen = track.choice.judge(now.mono, rtp.ssrc());
        if chosen == Chosen::Other {
            track.choice.hold(now, rtp.ssrc(), packet);
        }
        chosen
    }

    /// The next packet of `track` that was held and has come to count.
    pub(crate) fn release(&mut self, now: Now, track: u8) -> Option<Held> {
        self.tracks.get_mut(usize::from(track))?.choice.release(now.mono)
    }

    /// When packets that are held may come to count.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.tracks.iter().filter_map(|track| track.choice.deadline()).min()
    }

    /// Packets of other SSRCs that were dropped since the last call.
    pub(crate) fn take_dropped(&mut self, now: Instant) -> u64 {
        self.tracks.iter_mut().map(|track| track.choice.take_dropped(now)).sum()
    }

    /// Looks at a packet of the SSRC that counts; on the packet path.
    ///
    /// - `at`: when it arrived.
    pub(crate) fn on_arrival(&mut self, at: Instant, track: u8, rtp: &RtpPacket<'_>) -> PacketFlags {
        let Some(track) = self.tracks.get_mut(usize::from(track)) else { return PacketFlags::EMPTY };
        let known = track.reception.take().filter(|reception| reception.ssrc() == rtp.ssrc());
        let reception = track.reception.insert(known.unwrap_or_else(|| {
            track.lost_counted = 0;
            Reception::new(rtp.ssrc(), track.clock_rate)
        }));
        reception.on_packet(at, rtp.sequence_number(), rtp.timestamp());
        let flags = track.scanner.scan(rtp.payload());
        if let Some(pictures) = &mut track.pictures {
            pictures.on_packet(at, rtp, flags.contains(PacketFlags::KEY));
        }
        let key_at = track.key_at.get_or_insert(at);
        if flags.contains(PacketFlags::KEY) {
            *key_at = at;
        } else if at.saturating_duration_since(*key_at) >= limits::KEY_FRAME_PATIENCE {
            track.scanner.accept_intra_pictures();
        }
        if rtp.marker() { flags.union(PacketFlags::MARKER) } else { flags }
    }

    /// Where a packet that is published stands for the viewers, and whether it brings a sender report.
    /// `None`: there is no such track.
    ///
    /// - `now`: when it arrived.
    pub(crate) fn map(&mut self, now: Now, track: u8, rtp: &RtpPacket<'_>) -> Option<(Mapped, bool)> {
        let at = usize::from(track);
        let state = self.tracks.get_mut(at)?;
        let (ssrc, number, timestamp) = (rtp.ssrc(), rtp.sequence_number(), rtp.timestamp());
        let mapped = self.splice.map(now.mono, at, state.clock_rate, ssrc, number, timestamp)?;
        self.clock.on_packet(now, at, mapped.ssrc, mapped.timestamp, rtp.payload().len());
        self.published = true;
        let report_due = std::mem::take(&mut state.report_due);
        if let Some(report) = state.early_report.take_if(|report| report.ssrc == ssrc) {
            self.on_sender_report(now, track, report);
        }
        Some((mapped, report_due))
    }

    /// Takes a compound of `track`; `false` when it is not RTCP.
    pub(crate) fn on_rtcp(&mut self, now: Now, track: u8, bytes: &[u8]) -> bool {
        let mut is_rtcp = false;
        for packet in rtcp::packets(bytes).flatten() {
            is_rtcp = true;
            match packet {
                RtcpPacket::SenderReport(info) => self.on_sender_report(now, track, info),
                RtcpPacket::Bye(bye) => {
                    if let Some(state) = self.tracks.get_mut(usize::from(track)) {
                        bye.sources().for_each(|ssrc| state.choice.on_goodbye(now.mono, ssrc));
                    }
                }
                _ => {}
            }
        }
        is_rtcp
    }

    fn on_sender_report(&mut self, now: Now, track: u8, info: SenderInfo) {
        let at = usize::from(track);
        let Some(state) = self.tracks.get_mut(at) else { return };
        if state.choice.current().is_some_and(|current| current != info.ssrc) {
            // It may be of the source that comes to count next.
            if state.choice.may_come_next(info.ssrc) {
                state.early_report = Some(info);
            }
            return;
        }
        if let Some(reception) = &mut state.reception {
            reception.on_sender_report(now.mono, info.ntp);
        }
        match self.splice.map_sender_report(at, info.ssrc, info.rtp) {
            Some(rtp) => self.clock.on_sender_report(now, at, info.ntp, rtp),
            None => state.early_report = Some(info),
        }
    }

    /// The newest parameter sets that came in band.
    pub(crate) fn parameter_sets(&self, track: u8) -> Option<ParameterSets> {
        self.tracks.get(usize::from(track))?.scanner.parameter_sets()
    }

    /// The same, if they are new since the last call.
    pub(crate) fn newer_parameter_sets(&mut self, track: u8) -> Option<ParameterSets> {
        let sets = self.parameter_sets(track)?;
        let known = &mut self.tracks.get_mut(usize::from(track))?.sets_revision;
        (known.replace(sets.revision) != Some(sets.revision)).then_some(sets)
    }

    /// Whether anything was published since the last call.
    pub(crate) fn take_published(&mut self) -> bool {
        std::mem::take(&mut self.published)
    }

    /// Lets the next published packet of each track bring a sender report.
    pub(crate) fn report_with_next_packet(&mut self) {
        self.tracks.iter_mut().for_each(|track| track.report_due = true);
    }

    /// Packets lost since the last call.
    pub(crate) fn take_lost(&mut self) -> u64 {
        self.tracks.iter_mut().map(TrackState::take_lost).sum()
    }

    /// Puts what was measured of the first video track into `health`, and begins a new window.
    pub(crate) fn measure(&mut self, now: Instant, health: &mut Health) {
        if let Some(pictures) = self.tracks.iter_mut().find_map(|track| track.pictures.as_mut()) {
            pictures.end_window(now);
            pictures.show(now, health);
        }
    }

    /// The sender report that viewers get; `None` before the track's first packet.
    pub(crate) fn sender_report(&mut self, now: Now, track: u8) -> Option<Vec<u8>> {
        self.clock.next_report(now, usize::from(track)).map(|info| rtcp::sender_report(&info))
    }

    /// The receiver report that the broadcaster gets; `None` while its source is not believed.
    pub(crate) fn receiver_report(&mut self, now: Now, track: u8) -> Option<Vec<u8>> {
        let reception = self.tracks.get_mut(usize::from(track))?.reception.as_mut()?;
        reception.is_valid().then(|| rtcp::receiver_report(self.receiver, &reception.report_block(now.mono)))
    }
}

impl TrackState {
    fn new(track: &Track) -> Self {
        Self {
            clock_rate: track.clock_rate,
            choice: SourceChoice::default(),
            early_report: None,
            scanner: KeyFrameScanner::new(track.codec),
            pictures: (track.kind == MediaKind::Video).then(PictureMeter::default),
            key_at: None,
            reception: None,
            lost_counted: 0,
            report_due: true,
            sets_revision: None,
        }
    }

    fn take_lost(&mut self) -> u64 {
        let lost = self.reception.as_ref().map_or(0, |reception| reception.lost().max(0).cast_unsigned());
        // A late packet takes a loss back; what was counted stays counted.
        let more = lost.saturating_sub(self.lost_counted);
        self.lost_counted = self.lost_counted.max(lost);
        more
    }
}
