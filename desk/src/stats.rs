//! What is counted on the way in, by the desk and by those who call it, readable from any thread.
//!
//! Owns: the counters, by process, by channel and by program.
//! Invariant: the thread that drives the desk is the only writer, so counting is a load and a store, no locked
//! instruction;
//! counters of a channel never go back, those of a program are gone with its source.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use parking_lot::Mutex;
use slotcast_admission::Reason;
use slotcast_core::{
    counter::Counter,
    media::MediaKind,
    time::WallTime,
    words::{ChannelName, ProgramId},
};
use slotcast_media::picture::PictureSize;

use crate::health::Health;

/// What came from broadcasters, of one channel or one program.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Bytes of RTP packets, headers included, whatever became of them.
    pub bytes: Counter,
    /// RTP packets, whatever became of them.
    pub packets: Counter,
    /// Of these, packets that went on to the workers.
    pub published: Counter,
    /// Packets missing in the sequence as it arrived (RFC 3550 §6.4.1).
    pub lost: Counter,
    /// Packets dropped because the program is not on air at that moment.
    pub held: Counter,
    /// Packets dropped above the bandwidth class.
    pub over_class: Counter,
    /// Packets that are not RTP or RTCP as announced: malformed, of an unknown payload type or channel.
    pub unusable: Counter,
    /// Packets of another SSRC than that of the track's source, which came to nothing.
    pub strange_ssrc: Counter,
    /// Datagrams from the address of a link that has brought nothing yet, but not from a port that it announced.
    pub wrong_port: Counter,
    /// Links that carried this, one after the other.
    pub links: Counter,
}

/// Where a broadcaster's link stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// Nobody sends: not yet, or the link was lost and is waited for.
    Absent,
    /// Connected outside the window: media is held back.
    Held,
    /// Media goes to the viewers.
    OnAir,
}

/// What comes on one track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrackState {
    /// It was offered and never set up: nothing can come on it, and viewers are not told of it.
    NotSetUp,
    /// Nothing has come on it for long, while something came on another: viewers are not told of it.
    Silent,
    /// Viewers are told of it.
    Sent,
}

/// One track of a broadcaster's link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrackStatus {
    /// Video, audio or other.
    pub kind: MediaKind,
    /// What comes on it.
    pub state: TrackState,
}

/// Why a program's link ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkEnd {
    /// When it did.
    pub at: WallTime,
    /// Its text is for the person at the encoder.
    pub reason: Reason,
}

/// One program's counters, and the state of its link.
#[derive(Debug)]
pub struct ProgramStats {
    /// What came for this program.
    pub traffic: Traffic,
    status: Mutex<LinkStatus>,
}

impl ProgramStats {
    fn new(program: ProgramId, channel: ChannelName) -> Self {
        let status = LinkStatus {
            program,
            channel,
            state: LinkState::Absent,
            since: WallTime::from_micros(0),
            bit_rate: 0,
            picture: None,
            tracks: Vec::new(),
            left_out: 0,
            health: None,
            last_end: None,
        };
        Self { traffic: Traffic::default(), status: Mutex::new(status) }
    }

    /// Keeps for the broadcaster's display why a link ended.
    pub fn note_end(&self, end: LinkEnd) {
        self.show(|status| status.last_end = Some(end));
    }

    /// Changes what people see. Never for each packet.
    pub(crate) fn show(&self, change: impl FnOnce(&mut LinkStatus)) {
        change(&mut self.status.lock());
    }
}

/// One program's link as a broadcaster's display shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkStatus {
    /// The program.
    pub program: ProgramId,
    /// Its channel.
    pub channel: ChannelName,
    /// Held back, on air, or waited for.
    pub state: LinkState,
    /// When the present link began to record, or the last one did.
    pub since: WallTime,
    /// What came in during the last second, in bits per second.
    pub bit_rate: u64,
    /// How large the picture is, where the source has told it: H.264 and H.265.
    pub picture: Option<PictureSize>,
    /// What comes on each of its tracks, in the order in which they were offered.
    pub tracks: Vec<TrackStatus>,
    /// Tracks that were offered beside these and cannot be taken.
    pub left_out: u8,
    /// What the stream is like, as of the last measure; nothing is known before that.
    pub health: Option<Health>,
    /// Why the last link ended; `None`: none has.
    pub last_end: Option<LinkEnd>,
}

/// Everything that is counted on the way in.
#[derive(Debug, Default)]
pub struct IngestStats {
    /// Connections accepted.
    pub accepted: Counter,
    /// Times that accepting paused because descriptors ran out.
    pub accept_pauses: Counter,
    /// Connections now that have not shown a valid reservation ID.
    pub unproven: Counter,
    /// Lines that there are.
    pub lines: Counter,
    /// Lines in use now.
    pub lines_in_use: Counter,
    /// Datagrams from addresses that no link announced.
    pub foreign_datagrams: Counter,
    decisions: Mutex<BTreeMap<&'static str, u64>>,
    channels: Mutex<BTreeMap<ChannelName, Arc<Traffic>>>,
    programs: Mutex<HashMap<ProgramId, Arc<ProgramStats>>>,
}

impl IngestStats {
    /// How often each decision was taken, by the label of its reason, in the labels' order.
    pub fn decisions(&self) -> Vec<(&'static str, u64)> {
        self.decisions.lock().iter().map(|(label, count)| (*label, *count)).collect()
    }

    /// What came for each channel since the start, in the names' order.
    pub fn channels(&self) -> Vec<(ChannelName, Arc<Traffic>)> {
        self.channels.lock().iter().map(|(name, traffic)| (name.clone(), Arc::clone(traffic))).collect()
    }

    /// The counters of a program that has or had a link within its connect window; `None` for any other.
    pub fn program(&self, id: ProgramId) -> Option<Arc<ProgramStats>> {
        self.programs.lock().get(&id).cloned()
    }

    /// The links of all programs that have or had one within their connect window, by channel.
    pub fn links(&self) -> Vec<LinkStatus> {
        let mut all: Vec<_> =
            self.programs.lock().values().map(|stats| stats.status.lock().clone()).collect();
        all.sort_unstable_by(|a, b| (&a.channel, a.program).cmp(&(&b.channel, b.program)));
        all
    }

    /// Counts a datagram from an address of `program`'s link, but not from a port that it announced.
    pub fn count_wrong_port(&self, program: ProgramId) {
        let Some(stats) = self.program(program) else { return };
        stats.traffic.wrong_port.add(1);
        if let Some(channel) = self.channels.lock().get(&stats.status.lock().channel) {
            channel.wrong_port.add(1);
        }
    }

    /// Counts one decision that a peer was told, or the end of a connection, by its label. Once per connection and reason.
    pub fn decided(&self, label: &'static str) {
        *self.decisions.lock().entry(label).or_insert(0) += 1;
    }

    pub(crate) fn add_program(
        &self,
        id: ProgramId,
        channel: &ChannelName,
    ) -> (Arc<ProgramStats>, Arc<Traffic>) {
        let traffic = Arc::clone(self.channels.lock().entry(channel.clone()).or_default());
        let mut programs = self.programs.lock();
        let stats = programs.entry(id).or_insert_with(|| Arc::new(ProgramStats::new(id, channel.clone())));
        (Arc::clone(stats), traffic)
    }

    pub(crate) fn remove_program(&self, id: ProgramId) {
        self.programs.lock().remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_keeps_its_counters_when_the_program_is_gone() {
        let stats = IngestStats::default();
        let channel: ChannelName = "channel4".parse().unwrap();
        let (program, traffic) = stats.add_program(ProgramId(7), &channel);
        traffic.packets.add(3);
        program.show(|status| status.state = LinkState::OnAir);
        let links = stats.links();
        assert_eq!((links.len(), links[0].state, links[0].program), (1, LinkState::OnAir, ProgramId(7)));
        stats.remove_program(ProgramId(7));
        assert!(stats.links().is_empty() && stats.program(ProgramId(7)).is_none());
        assert_eq!(stats.channels()[0].1.packets.value(), 3);
    }

    #[test]
    fn decisions_are_counted_by_label() {
        let stats = IngestStats::default();
        stats.decided("wrong_id");
        stats.decided("accepted");
        stats.decided("wrong_id");
        assert_eq!(stats.decisions(), [("accepted", 1), ("wrong_id", 2)]);
    }
}
