//! What links send: bytes in, the RTSP connection's outputs out, frames to the desk; and how a link ends.

use std::io::ErrorKind;

use slotcast_admission::Reason;
use slotcast_core::time::Now;
use slotcast_desk::LinkEnd;
use slotcast_rtsp::server::{CloseReason, Event, Output, SessionEnd, TrackTransport};

use crate::{
    antechamber::{LinkId, Shown},
    closing::{for_log, is_unheard, peer_went_away, reason_of},
    limits,
    rtsp::link::{Link, Recording, Stage},
    side::{LinkSide, Work},
};

/// Outputs taken from a connection that ends; it has said goodbye long before.
const LAST_OUTPUTS_MAX: usize = 32;

impl LinkSide {
    /// The connection at `place` can be read or written.
    pub(crate) fn on_link(&mut self, place: usize, now: Now) {
        let Some(id) = self.links.key_at(place) else { return };
        let Some(mut link) = self.take(id) else { return };
        let outcome = self.read(id, &mut link, now);
        self.put_back(id, link, outcome, now);
    }

    /// Reads within the turn's budget and does what the bytes say.
    fn read(&mut self, id: LinkId, link: &mut Link, now: Now) -> Result<(), Reason> {
        // Who has shown no reservation ID yet is heard in small portions: media of others waits meanwhile.
        let (reads, bytes) = match link.admitted() {
            Some(_) => (limits::READS_PER_TURN, limits::READ_BYTES),
            None => (1, limits::UNPROVEN_READ_BYTES),
        };
        for _ in 0..reads {
            match link.read(&mut self.buffer[..bytes]) {
                Ok(0) => {
                    link.peer_is_done = true;
                    link.connection.handle_eof(now.mono);
                    return self.drain(id, link, now);
                }
                Ok(_) if link.is_leaving() => {}
                Ok(length) => {
                    link.connection.handle_bytes(now.mono, &self.buffer[..length]);
                    self.drain(id, link, now)?;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(Reason::LinkBroken),
            }
        }
        self.work.push(Work::Link(id.place()));
        Ok(())
    }

    /// Takes all outputs of the RTSP connection.
    pub(crate) fn drain(&mut self, id: LinkId, link: &mut Link, now: Now) -> Result<(), Reason> {
        while let Some(output) = link.connection.poll_output() {
            match output {
                Output::Send(bytes) => {
                    if matches!(link.stage, Stage::Unproven { .. }) {
                        self.antechamber.note(id, Shown::Request);
                    }
                    link.send(&bytes)?;
                }
                Output::Ask(ask) => {
                    if let Some(answer) = self.answer(id, link, ask, now) {
                        link.connection.handle_answer(now.mono, answer);
                    }
                }
                Output::Event(event) => self.on_event(id, link, event, now)?,
                Output::Frame { channel, payload } => {
                    if let Some(admitted) = link.admitted_mut() {
                        let of = (channel / 2, !channel.is_multiple_of(2));
                        admitted.take(&mut self.desk, now, of, &payload)?;
                    }
                }
                Output::Close(reason) => {
                    return Err(link.refused.take().unwrap_or_else(|| reason_of(reason)));
                }
            }
        }
        Ok(())
    }

    fn on_event(&mut self, id: LinkId, link: &mut Link, event: Event, now: Now) -> Result<(), Reason> {
        match event {
            Event::Recording => {
                if let Stage::Admitted { admitted, record_by } = &mut link.stage
                    && admitted.recording.is_none()
                {
                    admitted.recording = Some(Recording {
                        since: now.mono,
                        arrival: None,
                        wrong_port: None,
                        port_said: false,
                    });
                    *record_by = None;
                    tracing::info!(channel = %admitted.pass.channel(), peer = %link.peer.ip(), "link opened");
                }
            }
            Event::Playing => {}
            // Another SETUP follows, or another try of the same, and the line stays; or the reason follows.
            Event::Paused
            | Event::SessionEnded(
                SessionEnd::Replaced | SessionEnd::SetupRefused | SessionEnd::ConnectionClosed,
            ) => self.stop_recording(id, link, now),
            Event::SessionEnded(end) => return Err(reason_of(CloseReason::SessionEnded(end))),
        }
        Ok(())
    }

    /// Takes no more media of `link`, which stays admitted; it may record again.
    pub(crate) fn stop_recording(&mut self, id: LinkId, link: &mut Link, now: Now) {
        if let Some(admitted) = link.admitted_mut() {
            admitted.recording = None;
            self.desk.pause(now, &admitted.pass);
        }
        self.pairs.iter_mut().for_each(|pair| pair.release(id));
    }

    /// Takes back all that is known of `id` beside the link itself.
    pub(crate) fn forget(&mut self, id: LinkId) {
        self.pairs.iter_mut().for_each(|pair| pair.release(id));
        self.antechamber.leave(id);
        self.passes.retain(|_, link| *link != id);
    }

    fn leaving(&self) -> usize {
        self.links.iter().filter_map(|(_, link)| link.as_ref()).filter(|link| link.is_leaving()).count()
    }

    /// Ends `id`, which is not in hand, for `reason`; one that is leaving already leaves for its own reason.
    pub(crate) fn end_link(&mut self, id: LinkId, reason: Reason, now: Now) {
        if let Some(link) = self.take(id) {
            let outcome = if link.is_leaving() { Ok(()) } else { Err(reason) };
            self.put_back(id, link, outcome, now);
        }
    }

    /// Ends what this turn has marked.
    pub(crate) fn end_links(&mut self, now: Now) {
        for (id, reason) in std::mem::take(&mut self.ending) {
            self.end_link(id, reason, now);
        }
    }

    /// Brings back a link that was in hand: ends it if it has to be, writes what waits, drops it when all is said.
    pub(crate) fn put_back(
        &mut self,
        id: LinkId,
        mut link: Box<Link>,
        outcome: Result<(), Reason>,
        now: Now,
    ) {
        let was_leaving = link.is_leaving();
        let mut is_gone = outcome.is_err_and(|reason| {
            self.begin_leaving(id, &mut link, reason, now);
            was_leaving || is_unheard(reason) || self.leaving() >= limits::LEAVING_MAX
        });
        if link.flush().is_err() {
            self.begin_leaving(id, &mut link, Reason::LinkBroken, now);
            is_gone = true;
        }
        if is_gone || link.is_done() {
            // Closing the socket takes it out of the poll as well.
            drop(link);
            self.links.remove(id);
        } else {
            self.put(id, link);
        }
    }

    /// Tells `link` why, gives back all that it holds, and lets it go as soon as that is flushed.
    fn begin_leaving(&mut self, id: LinkId, link: &mut Link, reason: Reason, now: Now) {
        if link.is_leaving() {
            return;
        }
        self.log_end(link, reason);
        self.note_end(link, reason, now);
        self.stats.decided(reason.label());
        if !peer_went_away(reason) {
            self.say_goodbye(link, &reason.text());
        }
        link.connection.handle_end(reason.denial().into(), &reason.text());
        for _ in 0..LAST_OUTPUTS_MAX {
            match link.connection.poll_output() {
                // With too much waiting already, the last words are lost, too.
                Some(Output::Send(bytes)) => drop(link.send(&bytes)),
                Some(_) => {}
                None => break,
            }
        }
        self.forget(id);
        link.stage = Stage::Leaving { deadline: now.mono + limits::LEAVING_TIME };
        self.show_counts();
    }

    /// Brings the number of the antechamber up to date.
    pub(crate) fn show_counts(&self) {
        self.stats.unproven.set(self.antechamber.len() as u64);
    }

    /// One line for each link that was opened, and for each that asked for a channel and did not get it. Who has not
    /// even asked gets a line at debug level only, so that a flood of connections is none of log lines.
    fn log_end(&self, link: &Link, reason: Reason) {
        let peer = link.peer.ip();
        if let Some(admitted) = link.admitted() {
            let (reason, fault) = (reason.label(), reason.fault().label());
            tracing::info!(channel = %admitted.pass.channel(), %peer, reason, fault, "link closed");
        } else if let Some(wanted) = &link.wanted {
            // Who was asked for an ID and went away has not shown one.
            let why = link.challenged.filter(|_| peer_went_away(reason)).unwrap_or(reason);
            let (channel, reason, fault) = (for_log(wanted), why.label(), why.fault().label());
            tracing::info!(%channel, %peer, reason, fault, "link refused");
        } else {
            let (reason, fault) = (reason.label(), reason.fault().label());
            tracing::debug!(%peer, reason, fault, "connection closed");
        }
    }

    /// Keeps for the broadcaster's display why a link ended.
    fn note_end(&self, link: &Link, reason: Reason, now: Now) {
        if let Some(stats) = link.program().and_then(|program| self.stats.program(program)) {
            stats.note_end(LinkEnd { at: now.wall, reason });
        }
    }

    /// Tells a broadcaster by RTCP why its link ends; encoders that look at nothing else still stop.
    fn say_goodbye(&mut self, link: &mut Link, reason: &str) {
        let Some(admitted) = link.admitted().filter(|admitted| admitted.recording.is_some()) else { return };
        let goodbye = admitted.pass.goodbye(reason);
        let tracks = u8::try_from(admitted.offer.tracks.len()).unwrap_or(u8::MAX);
        self.send_reports(link, (0..tracks).map(|track| (track, goodbye.clone())).collect());
    }

    /// Sends RTCP to a broadcaster, each on the way of its track.
    pub(crate) fn send_reports(&self, link: &mut Link, reports: Vec<(u8, Vec<u8>)>) {
        let Some(session) = link.connection.session() else { return };
        let ways: Vec<_> = session.tracks().iter().map(|setup| (setup.track, setup.transport)).collect();
        for (track, report) in reports {
            match ways.iter().find(|(of, _)| *of == track) {
                Some((_, TrackTransport::Tcp { rtcp, .. })) => link.send_report(*rtcp, &report),
                Some((_, TrackTransport::Udp { client_rtcp, .. })) => {
                    let pair = link.pair.and_then(|pair| self.pairs.get(pair));
                    if let Some((pair, source)) = pair.zip(link.spoken_to()) {
                        let mut to = link.peer;
                        to.set_port(*client_rtcp);
                        pair.send_reports(source, to, &report);
                    }
                }
                None => {}
            }
        }
    }
}
