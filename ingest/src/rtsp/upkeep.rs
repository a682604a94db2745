//! What is due of an RTSP connection by time.

use slotcast_admission::Reason;
use slotcast_core::time::Now;

use crate::{
    antechamber::LinkId,
    limits,
    rtsp::link::{Link, Stage},
    side::LinkSide,
};

impl LinkSide {
    pub(crate) fn check_deadlines(&mut self, id: LinkId, link: &mut Link, now: Now) -> Result<(), Reason> {
        match &link.stage {
            Stage::Leaving { deadline } if *deadline <= now.mono => return Err(Reason::LinkClosed),
            Stage::Leaving { .. } => return Ok(()),
            Stage::Unproven { deadline } if *deadline <= now.mono => {
                return Err(Reason::GateDeadline);
            }
            Stage::Admitted { record_by: Some(deadline), .. } if *deadline <= now.mono => {
                return Err(Reason::LinkIdle);
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
