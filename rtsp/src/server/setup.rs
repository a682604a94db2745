//! SETUP: which transport, which track, which session.
//!
//! Owns: rules 1 to 3 of what clients do: the first transport that is supported, one lower transport per session, and
//! a SETUP without `Session` replaces a session that does not play.
//! Invariant: the track, its ports and its channels are checked before anything changes hands; the one thing that is
//! known only after the seat was taken, how many tracks there are, gives the seat back where it does not fit.

use std::{net::SocketAddr, time::Instant};

use rand::RngExt as _;

use crate::{
    headers::transport::{self, LowerTransport, Offer, TrackTransport},
    message::{Request, Response},
    status::Status,
    url::{Target, decode, track_index},
};

use super::{
    border::{Ask, Event, Output, SessionEnd},
    config::ServerConfig,
    connection::{ServerConnection, Timer},
    parked::{Announcement, Plan, Question},
    ports::Claim,
    requests::{Outcome, not_found, target},
    session::{Session, TrackSetup},
    table::State,
};

impl ServerConnection {
    pub(super) fn on_setup(&mut self, now: Instant, request: &Request, cseq: &str) -> Outcome {
        if self.session.is_some() && request.headers.get("Session").is_some() {
            return self.set_up_another(request).map(Some);
        }
        let mut target = target(request)?;
        let offer = choose(request, &self.config, None)?;
        if let Some(announcement) = &self.announcement {
            target = announcement.target(target, &request.url)?;
            resolve(&target, &request.url, Some(announcement), announcement.controls.len(), &[])?;
        }
        // All is judged that can be without the edge.
        self.end_session(now, SessionEnd::Replaced);
        let credentials = self.credentials(request, &target);
        let has_proof = credentials.is_present();
        let plan = Plan { target: target.clone(), url: request.url.clone(), offer };
        let ask = Ask::Setup { target, credentials, lower: offer.lower() };
        self.park(cseq, has_proof, Question::Setup(plan), ask)
    }

    /// The seat is taken: the session begins, or the seat goes back at once.
    pub(super) fn on_seated(&mut self, now: Instant, cseq: &str, plan: Plan, stream_tracks: u8) {
        let track = resolve(&plan.target, &plan.url, self.announcement.as_ref(), stream_tracks.into(), &[]);
        let set_up = track.and_then(|track| {
            let transport = allocate(&[], track, plan.offer)?;
            let claim = claim(&self.config, self.peer, transport)?;
            Ok(TrackSetup { track, transport, url: plan.url, _claim: claim })
        });
        let setup = match set_up {
            Ok(setup) => setup,
            Err(refusal) => {
                self.send(Some(cseq), refusal);
                return self.push(Output::Event(Event::SessionEnded(SessionEnd::SetupRefused)));
            }
        };
        let transport = setup.transport;
        let start_by = now + self.config.start;
        let session = Session {
            id: format!("{:032x}", self.random.random::<u128>()),
            state: State::Ready,
            path: plan.target.path,
            lower: plan.offer.lower(),
            stream_tracks,
            tracks: vec![setup],
            start_by: Some(start_by),
        };
        self.send(Some(cseq), Response::new(Status::OK).set_up(transport, &session, &self.config));
        self.session = Some(session);
        self.timers.set(Timer::Start, start_by);
        self.timers.set(Timer::Liveness, now + self.config.liveness);
    }

    /// A SETUP within the session: another track, or the same one anew.
    fn set_up_another(&mut self, request: &Request) -> Result<Response, Response> {
        let session = self.session.as_mut().ok_or_else(|| Response::new(Status::SESSION_NOT_FOUND))?;
        let mut target = target(request)?;
        let offer = choose(request, &self.config, Some(session.lower))?;
        let announced = self.announcement.as_ref();
        let elsewhere = || Response::new(Status::AGGREGATE_OPERATION_NOT_ALLOWED);
        if let Some(announced) = announced {
            target = announced.target(target, &request.url).map_err(|_| elsewhere())?;
        }
        if target.path != session.path {
            return Err(elsewhere());
        }
        let track = resolve(&target, &request.url, announced, session.stream_tracks.into(), &session.tracks)?;
        let transport = allocate(&session.tracks, track, offer)?;
        let url = request.url.clone();
        match session.tracks.iter_mut().find(|before| before.track == track) {
            Some(before) if before.transport == transport => before.url = url,
            before => {
                let claim = claim(&self.config, self.peer, transport)?;
                let setup = TrackSetup { track, transport, url, _claim: claim };
                match before {
                    Some(before) => *before = setup,
                    None => session.tracks.push(setup),
                }
            }
        }
        Ok(Response::new(Status::OK).set_up(transport, session, &self.config))
    }
}

/// The first of the client's alternatives that is supported; within a session, of its lower transport. What an
/// alternative says of `mode` is not looked at: the methods decide, and some clients leave it out.
fn choose(
    request: &Request,
    config: &ServerConfig,
    fixed: Option<LowerTransport>,
) -> Result<Offer, Response> {
    let header = request.headers.joined("Transport");
    let header = header.ok_or_else(|| bad_request("Transport is missing"))?;
    let accepts = |lower| {
        let is_on = lower == LowerTransport::Tcp || config.udp.is_some();
        is_on && fixed.is_none_or(|fixed| fixed == lower)
    };
    Ok(transport::choose(&header, accepts)?)
}

/// Which of the stream's tracks is meant: by an announced control, else by number; none where there is but one.
///
/// - `url`: the request's. Clients put a control behind the path or behind the query, and escape it or do not.
/// - `set_up`: of tracks with the same control, or with none, the first that is not among these is meant.
fn resolve(
    target: &Target,
    url: &str,
    announced: Option<&Announcement>,
    tracks: usize,
    set_up: &[TrackSetup],
) -> Result<u8, Response> {
    let text = target.track.as_deref();
    let is_set_up = |at: usize| set_up.iter().any(|setup| usize::from(setup.track) == at);
    let controls = announced.map_or(&[][..], |announced| &announced.controls[..]);
    let named = controls.iter().enumerate().filter(|(_, control)| names(control, text, url));
    let by_control = named.map(|(at, control)| (text != Some(control.as_str()), is_set_up(at), at)).min();
    let by_number = || match text {
        Some(name) => track_index(name).map(usize::from),
        None => (tracks == 1).then_some(0),
    };
    let track = by_control.map(|(.., at)| at).or_else(by_number).filter(|track| *track < tracks);
    track.and_then(|track| u8::try_from(track).ok()).ok_or_else(|| match text {
        Some(_) => not_found(),
        None => Response::new(Status::AGGREGATE_OPERATION_NOT_ALLOWED),
    })
}

/// Whether a SETUP of `url`, whose track reads `text`, means the track that was announced with `control`.
fn names(control: &str, text: Option<&str>, url: &str) -> bool {
    let control = control.trim_matches('/');
    if control.is_empty() || control == "*" {
        return text.is_none();
    }
    let is_end_of_control =
        |text: &str| control.strip_suffix(text).is_some_and(|base| base.is_empty() || base.ends_with('/'));
    let ends_with = |url: &str, control: &str| {
        let before = url.trim_end_matches('/').strip_suffix(control);
        before.is_some_and(|before| {
            before.is_empty() || before.ends_with(['/', '?', '&']) || control.starts_with(['?', '#'])
        })
    };
    let decoded = || decode(url).zip(decode(control));
    text.is_some_and(is_end_of_control)
        || ends_with(url, control)
        || decoded().is_some_and(|(url, control)| ends_with(&url, &control))
}

/// What the track gets, beside what the session's other tracks have. 400 when it asks for one of theirs.
fn allocate(setups: &[TrackSetup], track: u8, offer: Offer) -> Result<TrackTransport, Response> {
    let others = || setups.iter().filter(|other| other.track != track);
    let is_free = |wanted: &TrackTransport| !others().any(|other| other.transport.overlaps(*wanted));
    match offer {
        Offer::Of(wanted) if is_free(&wanted) => Ok(wanted),
        Offer::Of(TrackTransport::Udp { .. }) => Err(bad_request("client_port is taken by another track")),
        Offer::Of(TrackTransport::Tcp { .. }) => Err(bad_request("interleaved is taken by another track")),
        Offer::AnyChannels => {
            // The track's own numbers first, else the lowest that are free.
            let all = std::iter::once(track).chain(0..128).filter_map(TrackTransport::channels_of);
            all.into_iter().find(is_free).ok_or_else(|| bad_request("all channel numbers are taken"))
        }
    }
}

/// The ports of `transport` for this session alone. 461 when another one at the client's address has them.
fn claim(
    config: &ServerConfig,
    peer: Option<SocketAddr>,
    transport: TrackTransport,
) -> Result<Option<Claim>, Response> {
    let (Some(mut peer), TrackTransport::Udp { client_rtp, client_rtcp }) = (peer, transport) else {
        return Ok(None);
    };
    let pair = [client_rtp, client_rtcp].map(|port| {
        peer.set_port(port);
        peer
    });
    let reason = "Another session at your address has these client ports; choose others";
    let taken = || Response::new(Status::UNSUPPORTED_TRANSPORT).because(reason);
    config.claimed_ports.claim(pair).map(Some).ok_or_else(taken)
}

fn bad_request(reason: &str) -> Response {
    Response::new(Status::BAD_REQUEST).because(reason)
}
