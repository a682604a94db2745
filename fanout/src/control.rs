//! RTSP on the worker: outputs of the session machines, questions to admission, and what PLAY starts.
//!
//! Owns: when questions are answered (after everything of the turn was read, so that a TEARDOWN or a close gives its
//! seat back first), seats in and out, and how connections are closed.

use std::{
    net::{Shutdown, SocketAddr},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use slotcast_admission::{
    Decision, Fault, Reason, Refusal, Then,
    viewer::{self, Seated, ViewerRequest},
};
use slotcast_auth::Credentials;
use slotcast_core::{media::TRACKS_MAX, rtcp, time::Now};
use slotcast_net::sys::Destination;
use slotcast_rtsp::{
    headers::transport::LowerTransport,
    server::{AfterRefusal, Answer, Ask, CloseReason, Event, Output, SessionEnd, TrackTransport},
    status::Status,
    url::Target,
};

use crate::{
    connection::{CatchUp, Cause, Connection, Media, TcpViewer, UdpViewer, Viewer, join_pace},
    limits,
    media::{Patience, next_of, start_of},
    on_air::interleaved,
    shape::Shape,
    stats::Protocol,
    tcp::Written,
    udp::{PortIndex, ViewerPorts, port_index},
    worker::Worker,
};

impl Worker {
    /// Carries out what a session machine wants, then writes what it said.
    pub(crate) fn drain(&mut self, key: usize, now: Now) {
        while let Some(output) = self.connections.get_mut(key).and_then(|c| c.rtsp.poll_output()) {
            match output {
                Output::Send(bytes) => self.say(key, &bytes, now),
                Output::Ask(ask) => self.asks.push_back((key, ask)),
                Output::Event(Event::Playing) => {
                    self.flush(key, now);
                    self.report_times(key);
                    self.start_media(key, now);
                }
                Output::Event(Event::Paused) => self.stop_media(key),
                Output::Event(Event::SessionEnded(end)) => self.release(key, end),
                // A viewer's RTCP: the session machine took it as a sign of life.
                Output::Event(Event::Recording) | Output::Frame { .. } => {}
                Output::Close(reason) => {
                    self.begin_close(key, reason, now);
                    break;
                }
            }
        }
        self.flush(key, now);
    }

    fn say(&mut self, key: usize, bytes: &[u8], now: Now) {
        let fits = self.connections.get_mut(key).is_none_or(|c| c.outbox.push_control(bytes));
        if !fits {
            self.lose(key, "unread_responses", now);
        }
    }

    /// Writes RTSP bytes that wait, if the connection's media does not carry them.
    pub(crate) fn flush(&mut self, key: usize, now: Now) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Some(stream) = self.streams.get_mut(key) else { return };
        match connection.outbox.flush(stream) {
            Ok(Written::All) if connection.closing.is_some() && connection.peer_is_done => {
                self.dead.push(key);
            }
            Ok(Written::All) if connection.closing.is_some() => {
                // All is said: the peer sees the end of the stream, its close ends ours.
                let _ = stream.shutdown(Shutdown::Write);
            }
            Ok(Written::All) => {}
            Ok(Written::Full(_)) => self.leave_live(key, now),
            Err(_) => self.lose(key, "broken", now),
        }
    }

    /// Does one connection's business; if it breaks an invariant, that connection is closed and the worker goes on.
    pub(crate) fn guarded(&mut self, key: usize, now: Now, business: impl FnOnce(&mut Self)) {
        if catch_unwind(AssertUnwindSafe(|| business(self))).is_err() {
            tracing::error!(viewer = key, fault = "server", "a broken invariant: this connection is closed");
            self.lose(key, "broken_invariant", now);
        }
    }

    /// Answers the questions of this turn, one a connection; those of requests that were pipelined behind them come up
    /// in the next.
    pub(crate) fn answer_asks(&mut self, now: Now) {
        for _ in 0..self.asks.len() {
            let Some((key, ask)) = self.asks.pop_front() else { return };
            let gone =
                self.connections.get(key).is_none_or(|c| c.closing.is_some()) || self.dead.contains(&key);
            if gone {
                continue;
            }
            self.guarded(key, now, |worker| {
                if let Some(answer) = worker.decide(key, ask, now) {
                    worker.answer(key, answer, now);
                }
            });
            self.breathe();
        }
    }

    pub(crate) fn answer(&mut self, key: usize, answer: Answer, now: Now) {
        if let Some(connection) = self.connections.get_mut(key) {
            connection.rtsp.handle_answer(now.mono, answer);
            self.drain(key, now);
        }
    }

    pub(crate) fn deliver_delayed_answers(&mut self, now: Now) {
        let (due, later) =
            std::mem::take(&mut self.delayed).into_iter().partition(|(at, ..)| *at <= now.mono);
        self.delayed = later;
        let due: Vec<(Instant, usize, Answer)> = due;
        for (_, key, answer) in due {
            self.answer(key, answer, now);
        }
    }

    /// The answer to a question; `None` when it comes later.
    fn decide(&mut self, key: usize, ask: Ask, now: Now) -> Option<Answer> {
        match ask {
            Ask::Describe { target, credentials } => self.describe(key, &target, &credentials, now),
            Ask::Setup { target, credentials, lower } => self.setup(key, &target, &credentials, lower, now),
            Ask::Play => self.play(key, now),
            Ask::Announce { .. } | Ask::Record => Some(refusal(&Refusal::close(Reason::UnknownChannel))),
        }
    }

    fn describe(
        &mut self,
        key: usize,
        target: &Target,
        credentials: &Credentials,
        now: Now,
    ) -> Option<Answer> {
        let request = self.request(key, target, credentials, now)?;
        let decision = viewer::decide_description(&*self.shared.programs, &self.shared.guesses, &request);
        let program = match self.admitted(key, decision, now) {
            Ok(program) => program,
            Err(answer) => return answer,
        };
        self.connections.get_mut(key)?.admitted = Some(program.id);
        match self.on_air.get(&program.id).filter(|on_air| on_air.is_fresh(now.mono)) {
            Some(on_air) => on_air.log.stream().map(|stream| Answer::Describe(Arc::clone(stream))),
            None => Some(self.refuse(key, &Refusal::keep_open(Reason::BroadcasterAbsent))),
        }
    }

    fn setup(
        &mut self,
        key: usize,
        target: &Target,
        credentials: &Credentials,
        lower: LowerTransport,
        now: Now,
    ) -> Option<Answer> {
        let request = self.request(key, target, credentials, now)?;
        let decision = viewer::decide_seat(&*self.shared.programs, &self.shared.guesses, &request);
        let Seated { program, seat } = match self.admitted(key, decision, now) {
            Ok(seated) => seated,
            Err(answer) => return answer,
        };
        let stream = self.on_air.get(&program.id).filter(|on_air| on_air.is_fresh(now.mono));
        let Some(tracks) = stream.and_then(|on_air| on_air.log.stream()).map(|stream| stream.tracks.len())
        else {
            return Some(self.refuse(key, &Refusal::keep_open(Reason::BroadcasterAbsent)));
        };
        let protocol = match lower {
            LowerTransport::Udp => Protocol::Udp,
            LowerTransport::Tcp => Protocol::Tcp,
        };
        let over_udp = self.udp.as_ref().filter(|_| protocol == Protocol::Udp);
        let source =
            over_udp.zip(self.streams.get(key)).and_then(|(ports, control)| ports.source_for(control));
        self.shared.stats.decided("admitted", "seat");
        let connection = self.connections.get_mut(key)?;
        connection.admitted = Some(program.id);
        tracing::info!(
            viewer = key,
            peer = %connection.peer.ip(),
            channel = %program.channel.name,
            protocol = protocol.label(),
            "viewer admitted"
        );
        connection.viewer = Some(Box::new(Viewer {
            id: 1 + self.shared.admitted.fetch_add(1, Ordering::Relaxed),
            program: program.id,
            seat,
            protocol,
            source,
            start: slotcast_core::log::Position::at_chunk(0),
            media: None,
            pace: join_pace(program.class, now.mono),
            cause: None,
            slowness: Default::default(),
        }));
        Some(Answer::Setup { tracks: tracks as u8 })
    }

    fn play(&mut self, key: usize, now: Now) -> Option<Answer> {
        let connection = self.connections.get_mut(key)?;
        let program = connection.viewer.as_ref()?.program;
        let Some(on_air) = self.on_air.get_mut(&program).filter(|on_air| on_air.ending.is_none()) else {
            return Some(refusal(&Refusal::close(Reason::ProgramEnded)));
        };
        if let Some(media) = connection.viewer.as_ref()?.media.as_ref() {
            return next_of(on_air, key, connection, media, now.mono)
                .map(|rtp_info| Answer::Play { rtp_info });
        }
        let taken = udp_addresses(connection)
            .any(|(address, _)| self.ports.get(&address).is_some_and(|(owner, _)| *owner != key));
        if taken {
            return Some(Answer::Refuse {
                status: Status::UNSUPPORTED_TRANSPORT,
                reason: "Another session at your address has these client ports; choose others".to_owned(),
                then: AfterRefusal::KeepOpen,
            });
        }
        let patience =
            if on_air.is_settled(now.mono) { Patience::ForKeyFrame } else { Patience::ForAllTracks };
        match start_of(&on_air.log, connection, now.mono, patience) {
            Some((start, rtp_info)) => {
                connection.viewer.as_mut()?.start = start;
                Some(Answer::Play { rtp_info })
            }
            None => {
                on_air.parked.push((key, now.mono + limits::PARK_TIME_MAX));
                None
            }
        }
    }

    fn request<'a>(
        &self,
        key: usize,
        target: &'a Target,
        credentials: &'a Credentials,
        now: Now,
    ) -> Option<ViewerRequest<'a>> {
        let Connection { peer, admitted, .. } = self.connections.get(key)?;
        Some(ViewerRequest {
            channel: &target.path,
            credentials,
            address: peer.ip(),
            admitted: *admitted,
            now,
        })
    }

    /// What admission let in; else the answer for the peer, `None` when it is held back.
    fn admitted<T>(&mut self, key: usize, decision: Decision<T>, now: Now) -> Result<T, Option<Answer>> {
        decision.map_err(|refusal| {
            let answer = if refusal.then == Then::Challenge {
                self.shared.stats.decided("challenged", refusal.reason.label());
                self::refusal(&refusal)
            } else {
                self.refuse(key, &refusal)
            };
            if refusal.delay.is_zero() {
                return Some(answer);
            }
            self.delayed.push((now.mono + refusal.delay, key, answer));
            None
        })
    }

    /// Counts and logs a refusal.
    fn refuse(&self, key: usize, refused: &Refusal) -> Answer {
        let reason = refused.reason;
        self.shared.stats.decided("refused", reason.label());
        let peer = self.connections.get(key).map(|connection| connection.peer.ip());
        tracing::info!(
            viewer = key,
            ?peer,
            reason = reason.label(),
            fault = reason.fault().label(),
            "viewer refused"
        );
        refusal(refused)
    }

    /// Tells a viewer who is about to get its first packets what time they stand for: with the reports at hand, players
    /// lay the tracks on one time at once, and have not to move them when the next reports come.
    fn report_times(&mut self, key: usize) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let (Some(viewer), Some(session)) = (&connection.viewer, connection.rtsp.session()) else { return };
        let Some(on_air) = self.on_air.get(&viewer.program).filter(|on_air| on_air.ending.is_none()) else {
            return;
        };
        for setup in session.tracks() {
            let Some(info) = on_air.log.last_report(setup.track) else { continue };
            let mut report = Vec::new();
            rtcp::write_sender_report(&mut report, info, rtcp::CNAME);
            match (setup.transport, &self.udp) {
                (TrackTransport::Udp { client_rtcp, .. }, Some(udp)) => {
                    let to = Destination::from(connection.at(client_rtcp)).leaving_from(viewer.source);
                    udp.send_rtcp(&to, &report, &self.stats);
                }
                (TrackTransport::Udp { .. }, None) => {}
                (TrackTransport::Tcp { rtcp, .. }, _) => {
                    connection.outbox.push_control(&interleaved(rtcp, &report));
                }
            }
        }
    }

    /// The PLAY response is out: media may follow.
    fn start_media(&mut self, key: usize, now: Now) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let addresses: Vec<(SocketAddr, PortIndex)> = udp_addresses(connection).collect();
        let Some(session) = connection.rtsp.session() else { return };
        let Some(viewer) = connection.viewer.as_mut() else { return };
        let Some(on_air) = self.on_air.get_mut(&viewer.program).filter(|on_air| on_air.ending.is_none())
        else {
            return;
        };
        let catch_up = CatchUp::new(viewer.start, now.mono);
        let mut ports: Box<ViewerPorts> = Box::new([None; 2 * TRACKS_MAX]);
        for &(address, port) in &addresses {
            if self.ports.insert(address, (key, port.is_multiple_of(2))).is_none() {
                self.mailbox.add_port(&address);
            }
            ports[port] = Some(Destination::from(address).leaving_from(viewer.source));
        }
        let mut shape = Shape([None; TRACKS_MAX]);
        for setup in session.tracks() {
            if let (TrackTransport::Tcp { rtp, rtcp }, Some(channels)) =
                (setup.transport, shape.0.get_mut(usize::from(setup.track)))
            {
                *channels = Some((rtp, rtcp));
            }
        }
        viewer.media = Some(match viewer.protocol {
            Protocol::Udp => Media::Udp(UdpViewer {
                ports,
                addresses: addresses.into_iter().map(|(address, _)| address).collect(),
                catch_up: Some(catch_up),
                unreachable: 0,
                unreachable_at: None,
            }),
            Protocol::Tcp => {
                let tracks = on_air.log.stream().map_or(0, |stream| stream.tracks.len());
                let Some(shape) = on_air.shapes.enter(shape, tracks, &on_air.log) else {
                    let cause = Cause { reason: "too_many_channel_numberings", fault: Fault::Viewer };
                    return self.end_session(key, SessionEnd::Kicked, cause, now);
                };
                Media::Tcp(TcpViewer {
                    shape,
                    cursor: on_air.shapes.translate(shape, viewer.start),
                    live: false,
                    blocked: false,
                    catch_up: Some(catch_up),
                    awaits_key: false,
                    progress_at: now.mono,
                    jumped_at: None,
                })
            }
        });
        on_air.behind.push(key);
        self.any_behind = true;
    }

    /// No media any more: paused, or the session is over.
    fn stop_media(&mut self, key: usize) {
        let Some(viewer) = self.connections.get_mut(key).and_then(|c| c.viewer.as_mut()) else { return };
        let on_air = self.on_air.get_mut(&viewer.program);
        match (viewer.media.take(), on_air) {
            (Some(Media::Tcp(tcp)), Some(on_air)) => {
                on_air.remove(key);
                on_air.shapes.leave(tcp.shape);
            }
            (Some(Media::Udp(udp)), on_air) => {
                if let Some(on_air) = on_air {
                    on_air.remove(key);
                }
                for address in &udp.addresses {
                    if self.ports.get(address).is_some_and(|(owner, _)| *owner == key) {
                        self.ports.remove(address);
                        self.mailbox.remove_port(address);
                    }
                }
            }
            (None, Some(on_air)) => on_air.parked.retain(|&(parked, _)| parked != key),
            (_, None) => {}
        }
    }

    /// The session is over: its seat is given back at once.
    fn release(&mut self, key: usize, end: SessionEnd) {
        self.stop_media(key);
        let Some(connection) = self.connections.get_mut(key) else { return };
        if let Some(viewer) = connection.viewer.take() {
            let Cause { reason, fault } = viewer.cause.unwrap_or_else(|| end.into());
            tracing::info!(viewer = key, peer = %connection.peer.ip(), reason, fault = fault.label(), "viewer closed");
        }
    }

    /// The connection is gone: the seat is given back now, the rest is buried at the end of the turn.
    pub(crate) fn lose(&mut self, key: usize, reason: &'static str, _now: Now) {
        self.stop_media(key);
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.viewer.take().is_some() {
            tracing::info!(viewer = key, peer = %connection.peer.ip(), reason, fault = "viewer", "viewer closed");
        }
        self.dead.push(key);
    }

    fn begin_close(&mut self, key: usize, reason: CloseReason, now: Now) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let patience = match reason {
            CloseReason::SessionEnded(SessionEnd::Teardown) => limits::DRAIN_BEFORE_CLOSE,
            CloseReason::SessionEnded(_) => limits::DRAIN_AFTER_END,
            _ => limits::DRAIN_BEFORE_CLOSE,
        };
        tracing::debug!(viewer = key, ?reason, "connection closing");
        connection.closing = Some(now.mono + patience);
        self.closing.push((now.mono + patience, key));
    }

    /// Takes out the connections that are gone.
    pub(crate) fn bury(&mut self, now: Now) {
        let mut dead = std::mem::take(&mut self.dead);
        dead.sort_unstable();
        dead.dedup();
        for key in dead {
            self.stop_media(key);
            drop(self.connections.try_remove(key));
            if let Some(mut stream) = self.streams.remove(key) {
                let _ = self.poll.registry().deregister(&mut stream);
            }
            self.delayed.retain(|(_, owner, _)| *owner != key);
            self.asks.retain(|(owner, _)| *owner != key);
            self.note_closed(key, now);
        }
    }
}

/// Where a session's media goes over UDP, each with its [`port_index`].
fn udp_addresses(connection: &Connection) -> impl Iterator<Item = (SocketAddr, PortIndex)> {
    let tracks = connection.rtsp.session().map_or(&[][..], |session| session.tracks());
    tracks.iter().filter(|setup| usize::from(setup.track) < TRACKS_MAX).flat_map(|setup| {
        let ports = match setup.transport {
            TrackTransport::Udp { client_rtp, client_rtcp } => {
                Some([(client_rtp, false), (client_rtcp, true)])
            }
            TrackTransport::Tcp { .. } => None,
        };
        ports.into_iter().flatten().map(|(port, rtcp)| (connection.at(port), port_index(setup.track, rtcp)))
    })
}

fn refusal(refusal: &Refusal) -> Answer {
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
