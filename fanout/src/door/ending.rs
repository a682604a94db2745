//! How sessions and connections end: goodbyes, closes, deadlines, and taking out what is gone.

use std::{sync::Arc, time::Duration};

use slotcast_admission::{Fault, Reason};
use slotcast_core::{table::Key as Id, time::Now};
use slotcast_rtsp::server::{CloseReason, SessionEnd};

use super::{House, RtspDoor, connection::Connection};
use crate::{
    budget::Budget,
    limits,
    viewer::{Farewell, Key},
};

impl RtspDoor {
    /// Tells viewers who are to leave, one after the other.
    pub(crate) fn say_goodbyes(&mut self, house: &mut House, now: Now, budget: &mut Budget) {
        while let Some(key) = house.next_to_leave() {
            self.say_goodbye(house, key, now);
            if !budget.goes_on() {
                return;
            }
        }
    }

    /// Tells one viewer: BYE on each track, then the session machine closes the connection.
    pub(crate) fn say_goodbye(&mut self, house: &mut House, key: Key, now: Now) {
        let Some(viewer) = house.viewer(key) else { return };
        let (id, farewell) = (viewer.connection, viewer.farewell.clone());
        if viewer.is_broken {
            return self.lose(house, id, "broken");
        }
        let Some(farewell) = farewell else { return };
        self.guarded(house, id, |door, house| door.end_session(house, id, &farewell, now));
        // Also where its connection is gone, which should not be: the seat must not stay.
        house.unseat(key);
    }

    fn end_session(&mut self, house: &mut House, id: Id, farewell: &Arc<Farewell>, now: Now) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.farewell = Some(Arc::clone(farewell));
        if connection.plays {
            for (setup, transport) in connection.tracks() {
                if let Some(Some(packet)) = farewell.goodbyes.get(usize::from(setup)) {
                    connection.send_rtcp(house, id, transport, packet);
                }
            }
        }
        let reason = farewell.reason;
        connection.rtsp.handle_end(reason.denial().into(), &reason.text());
        self.drain(house, id, now);
    }

    /// No media any more: paused, or the session is over.
    pub(super) fn stop_media(&mut self, house: &mut House, id: Id) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.plays = false;
        if let Some(key) = connection.viewer {
            house.leave(key);
        }
        for address in std::mem::take(&mut connection.ports) {
            self.ports.remove(&address);
        }
        self.parked.retain(|parked| parked.connection != id);
    }

    /// The session is over: its seat is given back at once.
    ///
    /// - `reason`, `fault`: for the log, unless the server ended it.
    pub(super) fn release(&mut self, house: &mut House, id: Id, reason: &'static str, fault: Fault) {
        self.stop_media(house, id);
        let Some(connection) = self.connections.get_mut(id) else { return };
        let Some(key) = connection.viewer.take() else { return };
        if let Some(viewer) = house.unseat(key) {
            let by_server = viewer.farewell.map(|told| (told.reason.label(), told.reason.fault()));
            let (reason, fault) = by_server.unwrap_or((reason, fault));
            let peer = connection.peer.ip();
            tracing::info!(viewer = key.0, %peer, reason, fault = fault.label(), "viewer closed");
        }
    }

    /// The connection is gone: the seat is given back now, the rest is taken out when its turn comes.
    pub(super) fn lose(&mut self, house: &mut House, id: Id, reason: &'static str) {
        self.release(house, id, reason, Fault::Viewer);
        if house.outbox(id.place()).is_some_and(|outbox| !outbox.forget_tail()) {
            self.reset(house, id);
        }
        self.bury_later(id);
    }

    pub(super) fn begin_close(&mut self, id: Id, reason: CloseReason, now: Now) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let patience = match reason {
            CloseReason::SessionEnded(SessionEnd::Teardown) => limits::DRAIN_BEFORE_CLOSE,
            CloseReason::SessionEnded(_) => limits::DRAIN_AFTER_END,
            _ => limits::DRAIN_BEFORE_CLOSE,
        };
        tracing::debug!(connection = id.place(), ?reason, "connection closing");
        connection.closing = Some(now.mono + patience);
        self.closing.insert((now.mono + patience, id));
    }

    /// Closes all connections that no viewer holds: the server goes down.
    pub(crate) fn close_everything(&mut self, now: Now) {
        for id in self.connections.keys() {
            if self.connections.get(id).is_some_and(|c| c.closing.is_none() && c.viewer.is_none()) {
                self.begin_close(id, CloseReason::SessionEnded(SessionEnd::ByEdge), now);
            }
        }
    }

    /// Resets connections that did not take what waits for them, rather than leave them hanging.
    pub(crate) fn close_late(&mut self, house: &mut House, now: Now, budget: &mut Budget) {
        while self.closing.first().is_some_and(|(at, _)| *at <= now.mono) {
            let Some((_, id)) = self.closing.pop_first() else { return };
            self.reset(house, id);
            self.bury_later(id);
            if !budget.goes_on() {
                return;
            }
        }
    }

    /// Lets the close of a connection be a reset: what waits in the kernel is forgotten.
    fn reset(&self, house: &mut House, id: Id) {
        if let Some(wire) = house.sockets.wire(id.place()).filter(|_| self.connections.get(id).is_some()) {
            let _ = socket2::SockRef::from(&wire.stream).set_linger(Some(Duration::ZERO));
        }
    }

    pub(super) fn bury_later(&mut self, id: Id) {
        if let Some(connection) = self.connections.get_mut(id).filter(|connection| !connection.is_dead) {
            connection.is_dead = true;
            self.dead.push_back(id);
        }
    }

    /// Takes out connections that are gone, one after the other.
    pub(crate) fn bury(&mut self, house: &mut House, budget: &mut Budget) {
        while let Some(id) = self.dead.pop_front() {
            self.stop_media(house, id);
            if let Some(key) = self.connections.remove(id).and_then(|connection| connection.viewer) {
                house.unseat(key);
            }
            if let Some(mut stream) = house.sockets.remove(id.place()) {
                let _ = self.registry.deregister(&mut stream);
            }
            if !budget.goes_on() {
                return;
            }
        }
    }

    /// Looks at a part of the connections each tick, so that each is looked at within a second, or as soon as there is time.
    pub(crate) fn sweep(&mut self, house: &mut House, now: Now, budget: &mut Budget) {
        let places = self.connections.places();
        let count = places.div_ceil(limits::SWEEP_TICKS as usize).max(limits::SWEEP_MIN).min(places);
        let from = if self.sweep_from < places { self.sweep_from } else { 0 };
        for place in from..from + count {
            self.sweep_from = place + 1;
            if !budget.goes_on() {
                return;
            }
            let Some(id) = self.connections.key_at(place) else { continue };
            let Some(connection) = self.connections.get_mut(id).filter(|c| c.closing.is_none()) else {
                continue;
            };
            if let Some(key) = connection.viewer {
                note_progress(house, connection, key, now);
            }
            if connection.rtsp.deadline().is_some_and(|at| at <= now.mono) {
                connection.rtsp.handle_timeout(now.mono);
                self.drain(house, id, now);
            }
        }
    }
}

/// Media that a TCP viewer takes is a sign of life. And while a broadcaster is away nobody can be expected to give one:
/// players keep their sessions alive only while packets come.
///
/// A gate that was closed and opened again between two looks left a seat behind that counts no more: its viewer goes.
fn note_progress(house: &mut House, connection: &mut Connection, key: Key, now: Now) {
    let Some(viewer) = house.viewer(key) else { return };
    if !viewer.seat.holds() && viewer.farewell.is_none() {
        let reason = viewer.seat.gate().cut().map_or(Reason::ProgramEnded, Reason::from);
        return house.end(key, reason);
    }
    let between = limits::TICK * limits::SWEEP_TICKS;
    let hall = house.hall(viewer.program);
    let is_silent = hall.is_none_or(|hall| hall.silence(now.mono) > limits::SILENCE_EXCUSES);
    let takes = house.took_at(key).is_some_and(|at| now.mono.saturating_duration_since(at) <= between);
    if connection.plays && (is_silent || takes) {
        connection.rtsp.handle_alive(now.mono);
    }
}

/// Why the session machine ended a session by itself, for the log: the reason, and the side at fault.
pub(super) fn ended_by(end: SessionEnd) -> (&'static str, Fault) {
    let reason = match end {
        SessionEnd::Teardown => return ("teardown", Fault::Nobody),
        SessionEnd::Replaced => return ("replaced", Fault::Nobody),
        SessionEnd::SetupRefused => return ("setup_refused", Fault::Viewer),
        SessionEnd::NotStarted => Reason::SeatUnused,
        SessionEnd::Silent => Reason::ViewerSilent,
        _ => return ("connection_closed", Fault::Viewer),
    };
    (reason.label(), reason.fault())
}
