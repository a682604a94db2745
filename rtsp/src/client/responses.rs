//! What each response brings, and what is asked next.

use std::time::{Duration, Instant};

use slotcast_auth::Challenge;

use crate::{
    headers::{rtp_info, session::SessionHeader, transport},
    message::Response,
    sdp,
    server::RtpInfoEntry,
    status::Status,
    url,
};

use super::{
    border::{ClientEvent, ClientRole, Failure},
    session::{ClientSession, Step},
};

/// Servers that say less are not asked more often.
const TIMEOUT_MIN: Duration = Duration::from_secs(2);

impl ClientSession {
    pub(super) fn on_response(&mut self, now: Instant, response: &Response) {
        let step = self.step;
        if step == Step::Teardown {
            return self.close();
        }
        if response.status == Status::UNAUTHORIZED && self.take_challenge(response) {
            return self.ask(now, step);
        }
        if !response.status.is_success() {
            return self.refused(step.method().unwrap_or_default(), response);
        }
        match step {
            Step::Options => self.on_options(now, response),
            Step::Describe => self.on_describe(now, response),
            Step::Announce => self.ask(now, Step::Setup(0)),
            Step::Setup(track) => self.on_setup(now, track, response),
            Step::Play => {
                self.step = Step::Streaming;
                let rtp_info = self.rtp_info(response);
                self.event(ClientEvent::Playing { rtp_info });
            }
            Step::Record => {
                self.step = Step::Streaming;
                self.event(ClientEvent::Recording);
            }
            Step::Streaming | Step::Teardown | Step::Closed => {}
        }
    }

    /// Whether there is a new challenge that we can meet: the first one, or one that only says that the last was old.
    fn take_challenge(&mut self, response: &Response) -> bool {
        if self.config.credentials.is_none() {
            return false;
        }
        let challenge = Challenge::strongest(response.headers.all("WWW-Authenticate"));
        let Some(challenge) = challenge else { return false };
        if self.challenge.is_some() && !challenge.stale {
            return false;
        }
        self.challenge = Some(challenge);
        true
    }

    fn by_role(&self, watch: Step, publish: Step) -> Step {
        match self.config.role {
            ClientRole::Watch => watch,
            ClientRole::Publish { .. } => publish,
        }
    }

    fn on_options(&mut self, now: Instant, response: &Response) {
        let public = response.headers.joined("Public").unwrap_or_default();
        self.has_get_parameter = public.split(',').any(|method| method.trim() == "GET_PARAMETER");
        self.ask(now, self.by_role(Step::Describe, Step::Announce));
    }

    fn on_describe(&mut self, now: Instant, response: &Response) {
        let base = response.headers.get("Content-Base").or_else(|| response.headers.get("Content-Location"));
        if let Some(base) = base.filter(|base| base.contains("://")) {
            self.base = base.to_owned();
        }
        match sdp::parse(&response.body) {
            Ok(announced) => {
                self.controls.clone_from(&announced.controls);
                self.event(ClientEvent::Described(announced));
                self.ask(now, Step::Setup(0));
            }
            Err(error) => self.fail(Failure::Description(error)),
        }
    }

    fn on_setup(&mut self, now: Instant, track: u8, response: &Response) {
        let session = response.headers.get("Session").and_then(SessionHeader::parse);
        let Some(session) = session else { return self.unexpected("SETUP", "a Session") };
        let headers: Vec<&str> = response.headers.all("Transport").collect();
        let chosen = match (headers.as_slice(), self.offer(track)) {
            ([text], Some(offer)) => transport::parse_answer(text, offer),
            _ => None,
        };
        let Some(chosen) = chosen else {
            return self.unexpected("SETUP", "exactly one Transport, of the kind that was asked for");
        };
        self.timeout = session.timeout.unwrap_or(self.timeout).max(TIMEOUT_MIN);
        self.session = Some(session.id);
        self.tracks.push(chosen);
        match track.checked_add(1).filter(|next| usize::from(*next) < self.controls.len()) {
            Some(next) => self.ask(now, Step::Setup(next)),
            None => {
                self.event(ClientEvent::Ready { tracks: self.tracks.clone() });
                self.ask(now, self.by_role(Step::Play, Step::Record));
            }
        }
    }

    /// Entries are told apart by their addresses; where those fit no track, by their order.
    fn rtp_info(&self, response: &Response) -> Vec<RtpInfoEntry> {
        let infos = rtp_info::parse(&response.headers.joined("RTP-Info").unwrap_or_default());
        let tracks = || (0..).zip(&self.tracks).map(|(track, _): (u8, _)| track);
        let by_order = tracks().zip(&infos);
        by_order
            .map(|(place, info)| {
                let absolute = url::resolve(&self.base, &info.url);
                let track = tracks().find(|track| self.track_url(*track) == absolute).unwrap_or(place);
                RtpInfoEntry { track, seq: info.seq, rtptime: info.rtptime }
            })
            .collect()
    }

    fn unexpected(&mut self, method: &'static str, expected: &'static str) {
        self.fail(Failure::Unexpected { method, expected });
    }
}
