//! What an answer of the edge makes of the request that waits for it.
//!
//! Invariant: a yes to a SETUP that cannot be carried out is given back at once; an answer that fits no question ends
//! the connection, never the process.

use std::time::Instant;

use rand::RngExt as _;
use slotcast_auth::challenges;
use slotcast_core::media::Stream;

use crate::{
    headers::{
        range,
        rtp_info::{self, RtpInfo},
    },
    message::Response,
    sdp,
    status::Status,
    url::Target,
};

use super::{
    border::{AfterRefusal, Answer, CloseReason, Event, Output, RtpInfoEntry, SessionEnd},
    connection::{ServerConnection, Timer},
    parked::{Parked, Question},
    session::Session,
    table::State,
};

impl ServerConnection {
    /// Takes the edge's word on the open question; ignored when there is none (any more).
    pub fn handle_answer(&mut self, now: Instant, answer: Answer) {
        let Some(Parked { cseq, has_proof, question }) = self.parked.take() else { return };
        match (question, answer) {
            (question, Answer::Challenge { stale }) => {
                self.on_challenge(now, &cseq, has_proof, stale);
                self.after_no(&question);
            }
            (question, Answer::Refuse { status, reason, then }) => {
                let response = Response::new(status).because(reason);
                match then {
                    AfterRefusal::KeepOpen => self.send(Some(&cseq), response),
                    AfterRefusal::Close => self.send_last(Some(&cseq), response, CloseReason::Refused),
                }
                self.after_no(&question);
            }
            (Question::Describe(target), Answer::Describe(stream)) => {
                self.on_described(&cseq, &target, &stream)
            }
            (Question::Announce(announcement), Answer::Announce { headers }) => {
                self.announcement = Some(announcement);
                self.send(Some(&cseq), with_all(Response::new(Status::OK), headers));
            }
            (Question::Setup(plan), Answer::Setup { tracks }) => self.on_seated(now, &cseq, plan, tracks),
            (Question::Play, Answer::Play { rtp_info }) => self.on_play(&cseq, &rtp_info),
            (Question::Record, Answer::Record { headers }) => {
                let response = with_all(Response::new(Status::OK), headers);
                self.begin(&cseq, response, State::Recording, Event::Recording);
            }
            (question, _) => {
                if matches!(question, Question::Setup(_)) {
                    self.push(Output::Event(Event::SessionEnded(SessionEnd::SetupRefused)));
                }
                let response = Response::new(Status::INTERNAL_SERVER_ERROR);
                self.send_last(Some(&cseq), response, CloseReason::Misuse);
            }
        }
        self.watch_idle(now);
        self.pump(now);
    }

    /// 401 with fresh challenges; after too many wrong proofs, without, and closed.
    fn on_challenge(&mut self, now: Instant, cseq: &str, has_proof: bool, stale: bool) {
        let mut response = Response::new(Status::UNAUTHORIZED);
        if has_proof && !stale {
            self.wrong_proofs = self.wrong_proofs.saturating_add(1);
        }
        if self.wrong_proofs >= self.config.wrong_proofs_max {
            return self.send_last(Some(cseq), response, CloseReason::WrongProofs);
        }
        let nonce = self.nonces.issue(now, self.random.random());
        for challenge in challenges(&nonce, stale, self.config.basic) {
            response = response.header("WWW-Authenticate", &challenge);
        }
        self.send(Some(cseq), response);
    }

    /// A session that was not let start has no more time for it than before.
    fn after_no(&mut self, question: &Question) {
        if matches!(question, Question::Play | Question::Record)
            && let Some(start_by) = self.session.as_ref().and_then(|session| session.start_by)
        {
            self.timers.set(Timer::Start, start_by);
        }
    }

    /// With the address as the base, and in its own words where a query would get lost on the way.
    fn on_described(&mut self, cseq: &str, target: &Target, stream: &Stream) {
        let is_ipv6 = self.peer.is_some_and(|peer| peer.ip().to_canonical().is_ipv6());
        let description = sdp::render(&stream.description, target.control_base(), is_ipv6);
        let headers = Response::new(Status::OK)
            .header("Content-Base", &target.content_base())
            .header("Content-Type", "application/sdp");
        self.send(Some(cseq), Response { body: description.into(), ..headers });
    }

    /// From now on, and where each track starts.
    fn on_play(&mut self, cseq: &str, entries: &[RtpInfoEntry]) {
        let Some(session) = &self.session else { return };
        let rtp_info = rtp_info_of(session, entries);
        let mut response = Response::new(Status::OK).header("Range", range::LIVE);
        if !rtp_info.is_empty() {
            response = response.header("RTP-Info", &rtp_info);
        }
        self.begin(cseq, response, State::Playing, Event::Playing);
    }

    /// The session is in `state` from now on; `event` says so unless it was before.
    fn begin(&mut self, cseq: &str, response: Response, state: State, event: Event) {
        let Some(session) = self.session.as_mut() else { return };
        let begins = std::mem::replace(&mut session.state, state) != state;
        session.start_by = None;
        let response = response.session(session, &self.config);
        self.timers.clear(Timer::Start);
        self.send(Some(cseq), response);
        if begins {
            self.push(Output::Event(event));
        }
    }
}

fn with_all(response: Response, headers: Vec<(String, String)>) -> Response {
    headers.iter().fold(response, |response, (name, value)| response.header(name, value))
}

/// In the order of SETUP; a track that the edge says nothing of is left out.
fn rtp_info_of(session: &Session, entries: &[RtpInfoEntry]) -> String {
    let infos = session.tracks.iter().filter_map(|setup| {
        let entry = entries.iter().find(|entry| entry.track == setup.track)?;
        Some(RtpInfo { url: setup.url.clone(), seq: entry.seq, rtptime: entry.rtptime })
    });
    rtp_info::write(&infos.collect::<Vec<_>>())
}
