//! What a broadcaster asks, and what it is answered: ANNOUNCE at the gate, SETUP, RECORD.
//!
//! Not here: whether a reservation ID is right (`slotcast-admission`), what RTSP makes of the answer (`slotcast-rtsp`).
//! Invariant: only an accepted ANNOUNCE gives a pass.

use slotcast_admission::{LinkRequest, Reason, Refusal, Then};
use slotcast_auth::Credentials;
use slotcast_core::{
    media::{Offer, TRACKS_MAX},
    time::Now,
};
use slotcast_desk::Pass;
use slotcast_rtsp::{
    sdp::Announced,
    server::{AfterRefusal, Answer, Ask, TrackTransport},
    status::Status,
    url::Target,
};

use crate::{
    antechamber::{LinkId, Shown},
    rtsp::{
        link::{Admitted, Link, Stage},
        udp::Route,
    },
    side::LinkSide,
};

/// The header that tells an early broadcaster when the program goes on air.
const ON_AIR_HEADER: &str = "Slotcast-On-Air";

/// The header that tells a broadcaster which of its tracks is not taken, and why.
const LEFT_OUT_HEADER: &str = "Slotcast-Left-Out";

impl LinkSide {
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
        // Announced before, perhaps for the next program of the two that one encoder feeds: that one is given up.
        if link.admitted().is_some() {
            self.stop_recording(id, link, now);
            self.forget(id);
            if let Some(leaves) = self.antechamber.enter(id, link.peer.ip()) {
                self.ending.push((leaves, Reason::LinkDisplaced));
            }
            self.show_counts();
            link.stage = Stage::Unproven { deadline: now.mono + self.config.gate_deadline };
        }
        let offer = offer_of(&announced);
        let request = LinkRequest {
            channel: Some(&target.path),
            credentials,
            declared_kbps: offer.declared_kbps,
            address: link.peer.ip().to_canonical(),
            now,
        };
        match self.desk.admit(&request) {
            Ok(pass) => Some(self.admit(id, link, pass, (&announced, offer), now)),
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
        self.antechamber.note(id, Shown::WrongId);
        link.delayed = Some((now.mono + refusal.delay, answer));
        None
    }

    fn admit(
        &mut self,
        id: LinkId,
        link: &mut Link,
        pass: Pass,
        (announced, offer): (&Announced, Offer),
        now: Now,
    ) -> Answer {
        self.antechamber.leave(id);
        self.passes.insert(pass.id(), id);
        self.stats.decided("admitted");
        self.show_counts();
        let mut headers = Vec::new();
        if let Some(start) = pass.on_air_at() {
            headers.push((ON_AIR_HEADER.to_owned(), format!("{start}; held-until-then")));
        }
        for section in &announced.left_out {
            let reason = section.reason.to_string();
            tracing::warn!(channel = %pass.channel(), peer = %link.peer.ip(), %reason, "track left out");
            headers.push((LEFT_OUT_HEADER.to_owned(), reason));
        }
        let sections = u8::try_from(announced.controls.len() + announced.left_out.len()).unwrap_or(u8::MAX);
        let admitted = Admitted { pass, offer, sections, headers: headers.clone(), recording: None };
        let record_by = Some(now.mono + self.config.gate_deadline);
        link.stage = Stage::Admitted { admitted: Box::new(admitted), record_by };
        Answer::Announce { headers }
    }

    fn on_setup(link: &Link) -> Answer {
        link.admitted().map_or_else(refused_state, |admitted| Answer::Setup { tracks: admitted.sections })
    }

    fn on_record(&mut self, id: LinkId, link: &mut Link, now: Now) -> Answer {
        if let Some(admitted) = link.admitted().filter(|admitted| admitted.recording.is_some()) {
            // RECORD while recording is allowed, and changes nothing.
            return Answer::Record { headers: admitted.headers.clone() };
        }
        self.take_from_ports(id, link);
        let set_up = link.connection.session().map_or(&[][..], |session| session.tracks());
        let is_sent =
            std::array::from_fn(|track| set_up.iter().any(|setup| usize::from(setup.track) == track));
        let Some(admitted) = link.admitted_mut() else { return refused_state() };
        admitted.offer.is_sent = is_sent;
        self.desk.begin(now, &admitted.pass, admitted.offer.clone());
        Answer::Record { headers: admitted.headers.clone() }
    }

    /// From here on, datagrams from the ports that `link` has announced are its tracks'.
    fn take_from_ports(&mut self, id: LinkId, link: &Link) {
        let Some(pair) = link.pair.and_then(|pair| self.pairs.get_mut(pair)) else { return };
        let at = |port| {
            let mut at = link.peer;
            at.set_port(port);
            at
        };
        for setup in link.connection.session().map_or(&[][..], |session| session.tracks()) {
            if let TrackTransport::Udp { client_rtp, client_rtcp } = setup.transport {
                pair.take_from(at(client_rtp), at(client_rtcp), Route { link: id, track: setup.track });
            }
        }
    }
}

fn refusal_answer(link: &mut Link, refusal: Refusal) -> Answer {
    link.refused = Some(refusal.reason);
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

fn offer_of(announced: &Announced) -> Offer {
    Offer {
        tracks: announced.tracks.clone(),
        is_sent: [false; TRACKS_MAX],
        description: announced.description.clone(),
        declared_kbps: announced.bandwidth_kbps,
        left_out: u8::try_from(announced.left_out.len()).unwrap_or(u8::MAX),
    }
}
