//! What viewers ask, and what admission and the halls say to it.

use std::sync::{Arc, atomic::Ordering};

use slotcast_admission::{
    Decision, Reason, Refusal, Then,
    viewer::{self, ViewerRequest},
};
use slotcast_auth::Credentials;
use slotcast_core::{table::Key as Id, time::Now};
use slotcast_rtsp::{
    headers::transport::LowerTransport,
    server::{AfterRefusal, Answer, Ask},
    url::Target,
};

use super::{House, RtspDoor, connection::Connection};
use crate::{
    budget::Budget,
    stats::Protocol,
    viewer::{Key, Viewer, join_pace},
};

impl RtspDoor {
    /// Gives the answers that were held back for long enough.
    pub(crate) fn answer_delayed(&mut self, house: &mut House, now: Now, budget: &mut Budget) {
        while self.delayed.first_key_value().is_some_and(|((at, _), _)| *at <= now.mono) {
            let Some(((_, id), answer)) = self.delayed.pop_first() else { return };
            self.guarded(house, id, |door, house| door.answer(house, id, answer, now));
            if !budget.goes_on() {
                return;
            }
        }
    }

    /// Answers the questions of this turn, one a connection; those of requests that were pipelined behind them come up
    /// in the next.
    pub(crate) fn answer_asks(&mut self, house: &mut House, now: Now, budget: &mut Budget) {
        for _ in 0..self.asks.len() {
            let Some((id, ask)) = self.asks.pop_front() else { return };
            if self.connections.get(id).is_none_or(|c| c.closing.is_some() || c.is_dead) {
                continue;
            }
            self.guarded(house, id, |door, house| {
                if let Some(answer) = door.decide(house, id, ask, now) {
                    door.answer(house, id, answer, now);
                }
            });
            if !budget.goes_on() {
                return;
            }
        }
    }

    pub(super) fn answer(&mut self, house: &mut House, id: Id, answer: Answer, now: Now) {
        if let Some(connection) = self.connections.get_mut(id) {
            connection.rtsp.handle_answer(now.mono, answer);
            self.drain(house, id, now);
        }
    }

    /// The answer to a question; `None` when it comes later.
    fn decide(&mut self, house: &mut House, id: Id, ask: Ask, now: Now) -> Option<Answer> {
        match ask {
            Ask::Describe { target, credentials } => self.describe(house, id, &target, &credentials, now),
            Ask::Setup { target, credentials, lower } => {
                self.setup(house, id, &target, &credentials, lower, now)
            }
            Ask::Play => self.play(house, id, now),
            Ask::Announce { .. } | Ask::Record => Some(refusal(&Refusal::close(Reason::UnknownChannel))),
        }
    }

    fn describe(
        &mut self,
        house: &mut House,
        id: Id,
        target: &Target,
        credentials: &Credentials,
        now: Now,
    ) -> Option<Answer> {
        let request = self.request(id, target, credentials, now)?;
        let decision = viewer::decide_description(&*self.shared.programs, &self.shared.guesses, &request);
        let program = match self.admitted(house, id, decision, now) {
            Ok(program) => program,
            Err(answer) => return answer,
        };
        self.connections.get_mut(id)?.admitted = Some(program.id);
        match house.hall(program.id).filter(|hall| hall.is_fresh(now.mono)) {
            Some(hall) => hall.log.stream().map(|stream| Answer::Describe(Arc::clone(stream))),
            None => Some(self.refuse(house, id, &Refusal::keep_open(Reason::BroadcasterAbsent))),
        }
    }

    fn setup(
        &mut self,
        house: &mut House,
        id: Id,
        target: &Target,
        credentials: &Credentials,
        lower: LowerTransport,
        now: Now,
    ) -> Option<Answer> {
        let request = self.request(id, target, credentials, now)?;
        let decision = viewer::decide_seat(&*self.shared.programs, &self.shared.guesses, &request);
        let (program, seat) = match self.admitted(house, id, decision, now) {
            Ok(seated) => seated,
            Err(answer) => return answer,
        };
        let stream = house.hall(program.id).filter(|hall| hall.is_fresh(now.mono));
        let Some(tracks) = stream.and_then(|hall| hall.log.stream()).map(|stream| stream.tracks.len()) else {
            return Some(self.refuse(house, id, &Refusal::keep_open(Reason::BroadcasterAbsent)));
        };
        let protocol = match lower {
            LowerTransport::Udp => Protocol::Udp,
            LowerTransport::Tcp => Protocol::Tcp,
        };
        let over_udp = house.sockets.beside(id.place()).filter(|_| protocol == Protocol::Udp);
        let leaves_from = over_udp.and_then(|(control, ports)| ports.leaves_from(control));
        house.shared.stats.decided("admitted", "seat");
        let connection = self.connections.get_mut(id)?;
        let key = Key(1 + self.shared.seated.fetch_add(1, Ordering::Relaxed));
        tracing::info!(
            viewer = key.0,
            peer = %connection.peer.ip(),
            channel = %program.channel.name,
            protocol = protocol.label(),
            "viewer admitted"
        );
        (connection.viewer, connection.admitted) = (Some(key), Some(program.id));
        connection.leaves_from = leaves_from;
        let viewer = Viewer {
            program: program.id,
            seat,
            protocol,
            peer: connection.peer,
            connection: id,
            pace: join_pace(program.class, now.mono),
            slowness: Default::default(),
            farewell: None,
            is_broken: false,
        };
        house.seat(key, viewer);
        Some(Answer::Setup { tracks: tracks as u8 })
    }

    fn request<'a>(
        &self,
        id: Id,
        target: &'a Target,
        credentials: &'a Credentials,
        now: Now,
    ) -> Option<ViewerRequest<'a>> {
        let Connection { peer, admitted, .. } = self.connections.get(id)?;
        Some(ViewerRequest {
            channel: &target.path,
            credentials,
            address: peer.ip(),
            admitted: *admitted,
            now,
        })
    }

    /// What admission let in; else the answer for the peer, `None` when it is held back.
    fn admitted<T>(
        &mut self,
        house: &House,
        id: Id,
        decision: Decision<T>,
        now: Now,
    ) -> Result<T, Option<Answer>> {
        decision.map_err(|refused| {
            let answer = if refused.then == Then::Challenge {
                house.shared.stats.decided("challenged", refused.reason.label());
                refusal(&refused)
            } else {
                self.refuse(house, id, &refused)
            };
            if refused.delay.is_zero() {
                return Some(answer);
            }
            self.delayed.insert((now.mono + refused.delay, id), answer);
            None
        })
    }

    /// Counts and logs a refusal.
    fn refuse(&self, house: &House, id: Id, refused: &Refusal) -> Answer {
        let reason = refused.reason;
        house.shared.stats.decided("refused", reason.label());
        let peer = self.connections.get(id).map(|connection| connection.peer.ip());
        tracing::info!(?peer, reason = reason.label(), fault = reason.fault().label(), "viewer refused");
        refusal(refused)
    }
}

pub(super) fn refusal(refusal: &Refusal) -> Answer {
    let then = match refusal.then {
        Then::Challenge => return Answer::Challenge { stale: refusal.is_stale() },
        Then::KeepOpen => AfterRefusal::KeepOpen,
        Then::Close => AfterRefusal::Close,
    };
    Answer::Refuse {
        status: refusal.reason.denial().into(),
        reason: refusal.reason.text().into_owned(),
        then,
    }
}
