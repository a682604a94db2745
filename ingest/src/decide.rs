//! What a broadcaster asks, and what it is answered: ANNOUNCE at the gate, SETUP, RECORD.
//!
//! Not here: whether a reservation ID is right (`slotcast-admission`), what RTSP makes of the answer (`slotcast-rtsp`).
//! Invariant: only an accepted ANNOUNCE gives a line; of a program one link at most has one; a link is taken over only
//! by one that has a line.

use std::sync::Arc;

use slotcast_admission::{
    Line, LineRefusal, Program, Reason, Refusal, Then,
    link::{LinkGrant, LinkRequest, decide_link},
};
use slotcast_auth::Credentials;
use slotcast_core::{time::Now, words::ProgramId};
use slotcast_rtsp::{
    sdp::Announced,
    server::{AfterRefusal, Answer, Ask, TrackTransport},
    status::Status,
    url::Target,
};

use crate::{
    antechamber::Shown,
    closing::Closing,
    link::{Admitted, Link, LinkId, Stage},
    source::{ClassRules, Source},
    thread::Thread,
    udp::Route,
};

/// The header that tells an early broadcaster when the program goes on air.
const ON_AIR_HEADER: &str = "Slotcast-On-Air";

/// The header that tells a broadcaster which of its tracks is not taken, and why.
const LEFT_OUT_HEADER: &str = "Slotcast-Left-Out";

impl Thread {
    /// Answers a question of `link`'s RTSP connection; `None`: the answer waits in the link until its time.
    pub(crate) fn answer(&mut self, id: LinkId, link: &mut Link, ask: Ask, now: Now) -> Option<Answer> {
        match ask {
            Ask::Announce { target, credentials, announced } => {
                self.on_announce(id, link, &target, &credentials, announced, now)
            }
            Ask::Setup { .. } => Some(Self::on_setup(link)),
            Ask::Record => Some(self.on_record(id, link, now)),
            // A connection in the role of a broadcaster does not ask these.
            Ask::Describe { .. } | Ask::Play => Some(refused_state()),
        }
    }

    fn on_announce(
        &mut self,
        id: LinkId,
        link: &mut Link,
        target: &Target,
        credentials: &Credentials,
        announced: Announced,
        now: Now,
    ) -> Option<Answer> {
        link.wanted = Some(target.path.clone().into());
        let request = LinkRequest {
            channel: Some(&target.path),
            credentials,
            declared_kbps: announced.bandwidth_kbps,
            address: link.peer.ip().to_canonical(),
            now,
        };
        match decide_link(&*self.programs, &self.guesses, &request) {
            Ok(grant) => Some(self.admit(id, link, grant, announced, now)),
            Err(refusal) if refusal.then == Then::Challenge => {
                self.stats.decided(refusal.reason.label());
                self.antechamber.note(id, Shown::Announce);
                link.challenged = Some(refusal.reason);
                Some(Answer::Challenge { stale: refusal.is_stale() })
            }
            Err(refusal) => self.refuse(id, link, refusal, now),
        }
    }

    /// The answer to a refusal, at once or when its delay is over.
    fn refuse(&mut self, id: LinkId, link: &mut Link, refusal: Refusal, now: Now) -> Option<Answer> {
        let answer = refusal_answer(link, refusal);
        if refusal.delay.is_zero() {
            return Some(answer);
        }
        self.antechamber.condemn(id);
        link.delayed = Some((now.mono + refusal.delay, answer));
        None
    }

    fn admit(
        &mut self,
        id: LinkId,
        link: &mut Link,
        grant: LinkGrant,
        announced: Announced,
        now: Now,
    ) -> Answer {
        let program = &grant.program;
        let line = match self.line_for(id, link, program.id, now) {
            Ok(line) => line,
            Err(refusal) => return refusal_answer(link, Refusal::close(refusal.reason())),
        };
        self.antechamber.leave(id);
        self.holders.insert(program.id, id);
        self.stats.decided("admitted");
        self.show_counts();
        let mut headers = Vec::new();
        if let Some(start) = grant.on_air_at {
            headers.push((ON_AIR_HEADER.to_owned(), format!("{start}; held-until-then")));
        }
        for section in &announced.left_out {
            let reason = section.reason.to_string();
            tracing::warn!(channel = %program.channel.name, peer = %link.peer.ip(), %reason, "track left out");
            headers.push((LEFT_OUT_HEADER.to_owned(), reason));
        }
        let admitted = Admitted {
            program: program.id,
            channel: program.channel.name.clone(),
            line,
            sections: u8::try_from(announced.controls.len() + announced.left_out.len()).unwrap_or(u8::MAX),
            announced: Some(announced),
            headers: headers.clone(),
            recording: false,
        };
        let record_by = Some(now.mono + self.config.gate_deadline);
        link.stage = Stage::Admitted { admitted: Box::new(admitted), record_by };
        Answer::Announce { headers }
    }

    /// The line that `link` has already, or a free one, or the one of the link whose place it takes.
    fn line_for(
        &mut self,
        id: LinkId,
        link: &mut Link,
        program: ProgramId,
        now: Now,
    ) -> Result<Line, LineRefusal> {
        let older = self.holders.get(&program).copied().filter(|older| *older != id);
        let opened = match &link.stage {
            Stage::Admitted { .. } => None,
            _ => {
                let of_older = older.and_then(|older| Some(&self.links.get(older)?.admitted()?.line));
                Some(self.lines.open_in_place_of(link.peer.ip().to_canonical(), of_older)?)
            }
        };
        // The newer link takes over: the older one of the same program is told, and gives its line back.
        if let Some(older) = older {
            self.holders.remove(&program);
            self.end_link(older, Closing::Because(Reason::TakenOver), now);
        }
        self.stop_recording(id, link);
        match (opened, std::mem::replace(&mut link.stage, Stage::Unproven { deadline: now.mono })) {
            (Some(line), _) => Ok(line),
            (None, Stage::Admitted { admitted, .. }) => {
                // Announced before, perhaps for the next program of the two that one encoder feeds.
                self.holders.retain(|_, holder| *holder != id);
                Ok(admitted.line)
            }
            (None, _) => Err(LineRefusal::Full),
        }
    }

    fn on_setup(link: &Link) -> Answer {
        link.admitted().map_or_else(refused_state, |admitted| Answer::Setup { tracks: admitted.sections })
    }

    fn on_record(&mut self, id: LinkId, link: &mut Link, now: Now) -> Answer {
        let Some(program) = link.admitted().and_then(|admitted| self.programs.program(admitted.program))
        else {
            return refused_state();
        };
        if let Some(admitted) = link.admitted().filter(|admitted| admitted.recording) {
            // RECORD while recording is allowed, and changes nothing.
            return Answer::Record { headers: admitted.headers.clone() };
        }
        if !self.claim_ports(id, link, program.id) {
            link.refused = Some(Closing::PortsTaken);
            return Answer::Refuse {
                status: Status::UNSUPPORTED_TRANSPORT,
                reason: Closing::PortsTaken.text(),
                then: AfterRefusal::Close,
            };
        }
        let Some(admitted) = link.admitted_mut() else { return refused_state() };
        let headers = admitted.headers.clone();
        let announced = admitted.announced.take();
        let session = link.connection.session();
        let set_up: Vec<u8> =
            session.into_iter().flat_map(|session| session.tracks()).map(|setup| setup.track).collect();
        self.attach(id, program, announced, &set_up, now);
        Answer::Record { headers }
    }

    /// From here on, datagrams from the ports that `link` has announced are its tracks'.
    fn claim_ports(&mut self, id: LinkId, link: &Link, program: ProgramId) -> bool {
        let Some(session) = link.connection.session() else { return false };
        session.tracks().iter().all(|setup| match setup.transport {
            TrackTransport::Tcp { .. } => true,
            TrackTransport::Udp { client_rtp, client_rtcp } => {
                let route = Route { link: id, program, track: setup.track };
                let at = |port| {
                    let mut at = link.peer;
                    at.set_port(port);
                    at
                };
                let pair = link.pair.and_then(|pair| self.pairs.get_mut(pair));
                pair.is_some_and(|pair| pair.claim(at(client_rtp), at(client_rtcp), route))
            }
        })
    }

    fn attach(
        &mut self,
        id: LinkId,
        program: Arc<Program>,
        announced: Option<Announced>,
        set_up: &[u8],
        now: Now,
    ) {
        let stream = self.new_stream_id();
        self.touch(program.id);
        match self.sources.get_mut(&program.id) {
            Some(source) => {
                source.set_program(now, program);
                source.attach(now, id, announced, set_up, stream, &self.feeds);
            }
            None => {
                let Some(announced) = announced else { return };
                let rules =
                    ClassRules { burst: self.config.burst, exceeded_max: self.config.class_exceeded_max };
                let mut source =
                    Source::new(now, Arc::clone(&program), announced, stream, rules, &self.stats);
                source.attach(now, id, None, set_up, stream, &self.feeds);
                self.sources.insert(program.id, source);
            }
        }
        // Its deadlines count from now on, not from the next tick.
        self.next_tick = now.mono;
    }
}

fn refusal_answer(link: &mut Link, refusal: Refusal) -> Answer {
    link.refused = Some(Closing::Because(refusal.reason));
    Answer::Refuse {
        status: refusal.reason.denial().into(),
        reason: refusal.reason.text().into_owned(),
        then: match refusal.then {
            Then::Challenge | Then::KeepOpen => AfterRefusal::KeepOpen,
            Then::Close => AfterRefusal::Close,
        },
    }
}

fn refused_state() -> Answer {
    Answer::Refuse {
        status: Status::METHOD_NOT_VALID_IN_THIS_STATE,
        reason: "Announce first; then set up and record".to_owned(),
        then: AfterRefusal::KeepOpen,
    }
}
