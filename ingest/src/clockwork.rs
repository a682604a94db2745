//! What is due by time: deadlines of links, and what the desk has to do and to tell.

use std::time::Instant;

use slotcast_admission::Reason;
use slotcast_core::time::Now;
use slotcast_desk::{ToLink, limits::TICK};

use crate::{
    closing::Closing,
    limits,
    rtsp::{Link, LinkId, Stage},
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
        Self::check_media(link, now);
        if link.connection.deadline().is_some_and(|deadline| deadline <= now.mono) {
            link.connection.handle_timeout(now.mono);
            self.drain(id, link, now)?;
        }
        Ok(())
    }

    /// Datagrams keep a session alive as requests do. Where none come but from a port that was not announced, it is said once
    /// per link what to do.
    fn check_media(link: &mut Link, now: Now) {
        let (peer, since) = (link.peer.ip(), |at| now.mono.saturating_duration_since(at));
        let Stage::Admitted { admitted, .. } = &mut link.stage else { return };
        let Some(recording) = &mut admitted.recording else { return };
        match (recording.arrival, recording.wrong_port) {
            (Some(at), _) if since(at) <= limits::ALIVE => link.connection.handle_alive(now.mono),
            (None, Some(port))
                if !recording.port_said && since(recording.since) >= limits::WRONG_PORT_PATIENCE =>
            {
                recording.port_said = true;
                tracing::warn!(
                    channel = %admitted.pass.channel(),
                    %peer,
                    port,
                    fault = "network",
                    "media comes from another UDP port than was announced, as behind an address translator, and is not taken: \
                     push over TCP (ffmpeg -rtsp_transport tcp, rtspclientsink protocols=tcp)"
                );
            }
            _ => {}
        }
    }
}
