//! What is due by time: deadlines of links, and what the desk has to do and to tell.

use std::time::Instant;

use slotcast_admission::Reason;
use slotcast_core::time::Now;
use slotcast_desk::{ToLink, limits::TICK};

use crate::{
    closing::Closing,
    limits,
    rtsp::{Link, LinkId, Stage, WrongPort},
    side::{LinkSide, Work},
};

impl LinkSide {
    /// When something is due next; `None` when nothing is.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let tick = (!self.links.is_empty()).then_some(self.next_tick);
        let accepts = self.ports.iter().filter_map(|port| port.retry_at);
        accepts.chain(self.desk.deadline()).chain(tick).min()
    }

    /// Does what is due at `now`.
    pub(crate) fn on_time(&mut self, now: Now) {
        for (at, port) in self.ports.iter().enumerate() {
            if port.retry_at.is_some_and(|retry_at| retry_at <= now.mono) {
                self.work.push(Work::Accept(at));
            }
        }
        let mut to_links = std::mem::take(&mut self.to_links);
        self.desk.on_time(now, &mut to_links);
        to_links.drain(..).for_each(|word| self.tell(word, now));
        self.to_links = to_links;
        if now.mono >= self.next_tick {
            self.next_tick = now.mono + TICK;
            for id in self.links.keys() {
                if let Some(mut link) = self.links.take(id) {
                    let outcome = self.check_deadlines(id, &mut link, now);
                    self.put_back(id, link, outcome, now);
                }
            }
        }
    }

    fn tell(&mut self, word: ToLink, now: Now) {
        let (ToLink::Reports { pass, .. } | ToLink::End { pass, .. }) = &word;
        let Some(id) = self.passes.get(pass).copied() else { return };
        match word {
            ToLink::Reports { reports, .. } => {
                if let Some(mut link) = self.links.take(id) {
                    self.send_reports(&mut link, reports);
                    self.put_back(id, link, Ok(()), now);
                }
            }
            ToLink::End { reason, .. } => self.end_link(id, Closing::Because(reason), now),
        }
    }

    fn check_deadlines(&mut self, id: LinkId, link: &mut Link, now: Now) -> Result<(), Closing> {
        match &link.stage {
            Stage::Leaving { deadline } if *deadline <= now.mono => return Err(Closing::PeerClosed),
            Stage::Leaving { .. } => return Ok(()),
            Stage::Unproven { deadline } if *deadline <= now.mono => {
                return Err(Closing::Because(Reason::GateDeadline));
            }
            Stage::Admitted { record_by: Some(deadline), .. } if *deadline <= now.mono => {
                return Err(Closing::NotRecorded);
            }
            Stage::Unproven { .. } | Stage::Admitted { .. } => {}
        }
        if let Some((_, answer)) = link.delayed.take_if(|(at, _)| *at <= now.mono) {
            link.connection.handle_answer(now.mono, answer);
            self.drain(id, link, now)?;
        }
        Self::note_alive(link, now);
        Self::tell_of_wrong_port(link, now);
        if link.connection.deadline().is_some_and(|deadline| deadline <= now.mono) {
            link.connection.handle_timeout(now.mono);
            self.drain(id, link, now)?;
        }
        Ok(())
    }

    /// Datagrams keep a session alive as requests do.
    fn note_alive(link: &mut Link, now: Now) {
        let arrival = link.recording_mut().and_then(|recording| recording.arrival);
        if arrival.is_some() && arrival > link.alive_at {
            link.alive_at = arrival;
            link.connection.handle_alive(now.mono);
        }
    }

    /// Says once per link what to do about ports that were changed on the way.
    fn tell_of_wrong_port(link: &mut Link, now: Now) {
        let peer = link.peer.ip();
        let Some(admitted) = link.admitted_mut() else { return };
        let Some(recording) = admitted.recording.as_mut().filter(|recording| recording.arrival.is_none())
        else {
            return;
        };
        let waited = now.mono.saturating_duration_since(recording.since) >= limits::WRONG_PORT_PATIENCE;
        if let WrongPort::Seen(from) = recording.wrong_port
            && waited
        {
            recording.wrong_port = WrongPort::Said;
            tracing::warn!(
                channel = %admitted.pass.channel(),
                %peer,
                port = from.port(),
                fault = "network",
                "media comes from another UDP port than was announced, as behind an address translator, and is not taken: push \
                 over TCP (ffmpeg -rtsp_transport tcp, rtspclientsink protocols=tcp)"
            );
        }
    }
}
