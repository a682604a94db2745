//! What an answer of the edge makes of the request that waits for it.
//!
//! Invariant: a yes to a SETUP that cannot be carried out is given back at once; an answer that fits no question ends
//! the connection, never the process.

use std::time::Instant;

use slotcast_auth::challenges;
use slotcast_core::media::Stream;

use crate::{
    headers::rtp_info::{self, RtpInfo},
    sdp,
    status::Status,
    url::Target,
};

use super::{
    border::{AfterRefusal, Answer, CloseReason, Event, Output, RtpInfoEntry, SessionEnd},
    connection::{ServerConnection, Timer},
    parked::Question,
    reply::Reply,
    session::Session,
    table::State,
};

impl ServerConnection {
    /// Takes the edge's word on the open question; ignored when there is none (any more).
    pub fn handle_answer(&mut self, now: Instant, answer: Answer) {
        let Some(parked) = self.parked.take() else { return };
        let reply = Reply::new(Status::OK).cseq(&parked.cseq);
        match (parked.question, answer) {
            (question, Answer::Challenge { stale }) => {
                self.on_challenge(now, reply, parked.has_proof, stale);
                self.after_no(&question);
            }
            (question, Answer::Refuse { status, reason, then }) => {
                self.on_refusal(reply.status(status).reason(reason), then);
                self.after_no(&question);
            }
            (Question::Describe(target), Answer::Describe(stream)) => {
                self.on_described(reply, &target, &stream)
            }
            (Question::Announce(announcement), Answer::Announce { headers }) => {
                self.announcement = Some(announcement);
                self.send(reply.headers(headers));
            }
            (Question::Setup(plan), Answer::Setup { tracks }) => {
                self.on_seated(now, &parked.cseq, plan, tracks)
            }
            (Question::Play, Answer::Play { rtp_info }) => self.on_play(reply, &rtp_info),
            (Question::Record, Answer::Record { headers }) => self.on_record(reply.headers(headers)),
            (question, _) => {
                self.send(reply.status(Status::INTERNAL_SERVER_ERROR).closing());
                if matches!(question, Question::Setup(_)) {
                    self.push(Output::Event(Event::SessionEnded(SessionEnd::SetupRefused)));
                }
                self.close(CloseReason::Misuse);
            }
        }
        self.watch_idle(now);
        self.pump(now);
    }

    /// 401 with fresh challenges; after too many wrong proofs, without, and closed.
    fn on_challenge(&mut self, now: Instant, reply: Reply, has_proof: bool, stale: bool) {
        let mut reply = reply.status(Status::UNAUTHORIZED);
        if has_proof && !stale {
            self.wrong_proofs = self.wrong_proofs.saturating_add(1);
        }
        if self.wrong_proofs >= self.config.wrong_proofs_max {
            self.send(reply.closing());
            return self.close(CloseReason::WrongProofs);
        }
        let nonce = self.nonces.issue(now, self.random.bits128());
        for challenge in challenges(&nonce, stale, self.config.basic) {
            reply = reply.header("WWW-Authenticate", &challenge);
        }
        self.send(reply);
    }

    fn on_refusal(&mut self, reply: Reply, then: AfterRefusal) {
        match then {
            AfterRefusal::KeepOpen => self.send(reply),
            AfterRefusal::Close => {
                self.send(reply.closing());
                self.close(CloseReason::Refused);
            }
        }
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
    fn on_described(&mut self, reply: Reply, target: &Target, stream: &Stream) {
        let content_base = target.content_base();
        let mut description = sdp::render(&stream.description, target.control_base());
        if self.peer_is_ipv6 {
            description = sdp::over_ipv6(&description);
        }
        self.send(reply.header("Content-Base", &content_base).body("application/sdp", description));
    }

    fn on_play(&mut self, reply: Reply, entries: &[RtpInfoEntry]) {
        let Some(session) = self.session.as_mut() else { return };
        let begins = std::mem::replace(&mut session.state, State::Playing) != State::Playing;
        session.start_by = None;
        let reply = reply.playing(session, &rtp_info_of(session, entries), &self.config);
        self.timers.clear(Timer::Start);
        self.send(reply);
        if begins {
            self.push(Output::Event(Event::Playing));
        }
    }

    fn on_record(&mut self, reply: Reply) {
        let Some(session) = self.session.as_mut() else { return };
        session.state = State::Recording;
        session.start_by = None;
        let reply = reply.session(session, &self.config);
        self.timers.clear(Timer::Start);
        self.send(reply);
        self.push(Output::Event(Event::Recording));
    }
}

/// In the order of SETUP; a track that the edge says nothing of is left out.
fn rtp_info_of(session: &Session, entries: &[RtpInfoEntry]) -> String {
    let infos = session.tracks.iter().filter_map(|setup| {
        let entry = entries.iter().find(|entry| entry.track == setup.track)?;
        Some(RtpInfo { url: setup.url.clone(), seq: entry.seq, rtptime: entry.rtptime })
    });
    rtp_info::write(&infos.collect::<Vec<_>>())
}
