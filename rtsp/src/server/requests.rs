//! What each request means: the checks that all share, in their order, and the methods but SETUP.
//!
//! Invariant: nothing happens to the session before all checks have passed. A method that answers later parks the request.

use std::time::Instant;

use slotcast_auth::Credentials;

use crate::{
    message::{Request, Response},
    sdp,
    status::Status,
    url::Target,
};

use super::{
    border::{Ask, CloseReason, Event, Output, SessionEnd},
    connection::{ServerConnection, Timer},
    parked::{Announcement, Parked, Question, is_at},
    session::Session,
    table::{self, Method, State},
};

/// What a method comes to: a response now, `None` when the answer of the edge will bring it, or the refusal.
pub(super) type Outcome = Result<Option<Response>, Response>;

impl ServerConnection {
    pub(super) fn on_request(&mut self, now: Instant, request: &Request) {
        let Some(cseq) = request.cseq().map(str::to_owned) else {
            let response = Response::new(Status::BAD_REQUEST).because("CSeq is missing");
            return self.send_last(None, response, CloseReason::CseqMissing);
        };
        let outcome = self.check(request).and_then(|method| self.carry_out(now, method, request, &cseq));
        if let Some(response) = outcome.unwrap_or_else(Some) {
            self.send(Some(&cseq), response);
        }
        self.watch_idle(now);
    }

    /// What every request must pass before anything happens. Gives the method, or the refusal.
    fn check(&self, request: &Request) -> Result<Method, Response> {
        let method = Method::parse(&request.method).ok_or_else(|| Response::new(Status::NOT_IMPLEMENTED))?;
        let required = request.headers.all("Require").chain(request.headers.all("Proxy-Require"));
        let required: Vec<&str> = required.filter(|tags| !tags.is_empty()).collect();
        if !required.is_empty() {
            return Err(
                Response::new(Status::OPTION_NOT_SUPPORTED).header("Unsupported", &required.join(", "))
            );
        }
        let status = table::expected(self.config.role, self.state(), method);
        if status == Status::METHOD_NOT_ALLOWED.code() {
            let allowed = table::public(self.config.role);
            return Err(Response::new(Status::METHOD_NOT_ALLOWED).header("Allow", &allowed));
        }
        self.check_session(request, method)?;
        if status == Status::METHOD_NOT_VALID_IN_THIS_STATE.code() {
            return Err(Response::new(Status::METHOD_NOT_VALID_IN_THIS_STATE));
        }
        Ok(method)
    }

    /// A session that is named must be this connection's; methods that act on one must name it.
    fn check_session(&self, request: &Request, method: Method) -> Result<(), Response> {
        let refused = Err(Response::new(Status::SESSION_NOT_FOUND));
        match (request.headers.get("Session"), &self.session) {
            _ if method == Method::Options => Ok(()),
            (Some(named), Some(own)) if own.is_named_by(named) => Ok(()),
            (Some(_), _) => refused,
            (None, Some(_)) if method.acts_on_session() => refused,
            (None, _) => Ok(()),
        }
    }

    fn carry_out(&mut self, now: Instant, method: Method, request: &Request, cseq: &str) -> Outcome {
        let named = request.headers.get("Session");
        if self.session.as_ref().is_some_and(|own| named.is_some_and(|named| own.is_named_by(named))) {
            self.handle_alive(now);
        }
        match method {
            Method::Options => {
                Ok(Some(Response::new(Status::OK).header("Public", &table::public(self.config.role))))
            }
            Method::Describe => self.on_describe(request, cseq),
            Method::Announce => self.on_announce(request, cseq),
            Method::Setup => self.on_setup(now, request, cseq),
            Method::Play | Method::Record => self.on_start(method, request, cseq),
            Method::Pause => self.on_pause(request).map(Some),
            Method::Teardown => self.on_teardown(now, request).map(Some),
            Method::GetParameter | Method::SetParameter => self.on_parameter(request).map(Some),
        }
    }

    /// Leaves the request waiting for the edge's word.
    ///
    /// - `has_proof`: whether the request brought one, so that a challenge in answer to it means that it was wrong.
    pub(super) fn park(&mut self, cseq: &str, has_proof: bool, question: Question, ask: Ask) -> Outcome {
        self.parked = Some(Parked { cseq: cseq.to_owned(), has_proof, question });
        self.push(Output::Ask(ask));
        Ok(None)
    }

    /// What the request brought to prove itself with.
    pub(super) fn credentials(&self, request: &Request, target: &Target) -> Credentials {
        let asked = slotcast_auth::Request {
            method: &request.method,
            path: &target.path,
            path_of: |uri| Target::parse(uri).ok().map(|target| target.path),
            nonces: &self.nonces,
            basic: self.config.basic,
        };
        Credentials::of_request(target.token(), request.headers.all("Authorization"), &asked)
    }

    fn on_describe(&mut self, request: &Request, cseq: &str) -> Outcome {
        let target = program(request)?;
        let credentials = self.credentials(request, &target);
        let question = Question::Describe(target.clone());
        self.park(cseq, credentials.is_present(), question, Ask::Describe { target, credentials })
    }

    fn on_announce(&mut self, request: &Request, cseq: &str) -> Outcome {
        let target = program(request)?;
        let content_type = request.headers.get("Content-Type").unwrap_or("application/sdp");
        if !content_type.trim().to_ascii_lowercase().starts_with("application/sdp") {
            return Err(Response::new(Status::UNSUPPORTED_MEDIA_TYPE).header("Accept", "application/sdp"));
        }
        let announced = sdp::parse(&request.body)
            .map_err(|error| Response::new(Status::BAD_REQUEST).because(error.to_string()))?;
        let credentials = self.credentials(request, &target);
        let left_out = announced.left_out.iter().map(|section| &section.control);
        let controls = announced.controls.iter().chain(left_out).cloned().collect();
        let session_control = announced.session_control.clone().unwrap_or_default();
        let announcement = Announcement { path: target.path.clone(), session_control, controls };
        let has_proof = credentials.is_present();
        let ask = Ask::Announce { target, credentials, announced };
        self.park(cseq, has_proof, Question::Announce(announcement), ask)
    }

    /// PLAY and RECORD.
    fn on_start(&mut self, method: Method, request: &Request, cseq: &str) -> Outcome {
        let session = self.session.as_ref().ok_or_else(not_found)?;
        aggregate(session, self.announcement.as_ref(), request)?;
        if session.state == State::Recording {
            return Ok(Some(Response::new(Status::OK).session(session, &self.config)));
        }
        self.timers.clear(Timer::Start);
        match method {
            Method::Play => self.park(cseq, false, Question::Play, Ask::Play),
            _ => self.park(cseq, false, Question::Record, Ask::Record),
        }
    }

    fn on_pause(&mut self, request: &Request) -> Result<Response, Response> {
        let session = self.session.as_mut().ok_or_else(not_found)?;
        aggregate(session, self.announcement.as_ref(), request)?;
        let response = Response::new(Status::OK).session(session, &self.config);
        if session.state != State::Ready {
            session.state = State::Ready;
            self.push(Output::Event(Event::Paused));
        }
        Ok(response)
    }

    /// The URL is not looked at but for its track: who gives a seat back is not asked for the right words.
    fn on_teardown(&mut self, now: Instant, request: &Request) -> Result<Response, Response> {
        let session = self.session.as_ref().ok_or_else(not_found)?;
        let names_track = Target::parse(&request.url).is_ok_and(|target| target.track.is_some());
        if names_track && session.tracks.len() > 1 {
            return Err(Response::new(Status::ONLY_AGGREGATE_OPERATION_ALLOWED));
        }
        let response = Response::new(Status::OK).session(session, &self.config);
        self.end_session(now, SessionEnd::Teardown);
        self.announcement = None;
        Ok(response)
    }

    fn on_parameter(&self, request: &Request) -> Result<Response, Response> {
        if !request.body.is_empty() {
            return Err(Response::new(Status::PARAMETER_NOT_UNDERSTOOD));
        }
        let session = self.session.iter();
        Ok(session
            .fold(Response::new(Status::OK), |response, session| response.session(session, &self.config)))
    }
}

/// The session's own address as a whole, or the one track that it has.
fn aggregate(session: &Session, announced: Option<&Announcement>, request: &Request) -> Result<(), Response> {
    if announced.is_some_and(|announced| is_at(&announced.session_control, &request.url)) {
        return Ok(());
    }
    let target = target(request)?;
    if target.path != session.path {
        return Err(not_found());
    }
    if target.track.is_some() && session.tracks.len() > 1 {
        return Err(Response::new(Status::ONLY_AGGREGATE_OPERATION_ALLOWED));
    }
    Ok(())
}

/// What the request is about.
pub(super) fn target(request: &Request) -> Result<Target, Response> {
    Ok(Target::parse(&request.url)?)
}

/// The same of a request about a whole program: an address with several segments behind the channel names none.
fn program(request: &Request) -> Result<Target, Response> {
    let mut target = target(request)?;
    if target.track.as_ref().is_some_and(|track| track.contains('/')) {
        target.path.clear();
    }
    Ok(target)
}

/// 404 for addresses that name nothing here.
pub(super) fn not_found() -> Response {
    Response::new(Status::NOT_FOUND)
}
