//! The end: of a program, of one viewer's session, of the worker.
//!
//! Owns: closing gates on time, telling viewers in bounded turns, and closing their connections.
//! Holds: when a gate is closed no media leaves any more, not even the rest of a packet that was begun; BYE and close
//! follow. Wall time decides.

use std::time::Duration;

use slotcast_admission::{Cut, Reason};
use slotcast_core::{time::Now, words::ProgramId};
use slotcast_rtsp::server::{SessionEnd, TrackTransport};

use crate::{
    connection::{Cause, Connection, Media},
    limits,
    on_air::{Ending, OnAir, interleaved, until_end},
    worker::Worker,
};

impl Worker {
    /// Looks at the gates when it is time to.
    pub(crate) fn close_gates(&mut self, now: Now) {
        if now.mono < self.gates_at {
            return;
        }
        self.close_gates_now(now);
        let running = self.on_air.values().filter(|on_air| on_air.ending.is_none());
        let until = running.map(|on_air| until_end(&on_air.program, now)).min();
        self.ends_at = until.map(|until| now.mono + until);
        self.gates_at = now.mono + until.map_or(limits::GATES_EVERY, |until| until.min(limits::GATES_EVERY));
    }

    /// Closes the gate of every program whose time is over, and lists whom to tell.
    fn close_gates_now(&mut self, now: Now) {
        for (id, on_air) in &mut self.on_air {
            if on_air.ending.is_some() || !on_air.is_over(now) {
                continue;
            }
            let gate = &on_air.program.gate;
            // An extension that is published at this very moment wins; somebody else's close stands.
            let ended = gate.close_if_over(now.wall);
            if !ended && gate.is_open() && on_air.is_same_opening() {
                continue;
            }
            let delay =
                if gate.cut() == Some(Cut::Ended) { now.wall.since(gate.end()) } else { Duration::ZERO };
            self.shared.stats.gate_closed(delay);
            let untold: Vec<usize> = self
                .connections
                .iter()
                .filter(|(_, c)| c.viewer.as_ref().is_some_and(|viewer| viewer.program == *id))
                .map(|(key, _)| key)
                .collect();
            tracing::info!(
                channel = %on_air.program.channel.name,
                viewers = untold.len(),
                delay_us = delay.as_micros() as u64,
                "program over: its gate is closed"
            );
            on_air.udp = Default::default();
            on_air.tcp.clear();
            on_air.behind.clear();
            let at = now.mono.checked_sub(delay).unwrap_or(now.mono);
            on_air.ending = Some(Ending { at, untold, unclosed: Vec::new() });
            self.any_ending = true;
        }
    }

    /// Tells viewers of ended programs, a bounded number per turn.
    pub(crate) fn say_goodbyes(&mut self, now: Now) {
        if !self.any_ending {
            return;
        }
        let mut left = limits::GOODBYES_PER_TURN_MAX;
        let ending: Vec<ProgramId> =
            self.on_air.iter().filter(|(_, o)| o.ending.is_some()).map(|(id, _)| *id).collect();
        self.any_ending = !ending.is_empty();
        for id in ending {
            while left > 0 {
                let Some(on_air) = self.on_air.get_mut(&id) else { break };
                let Some(ending) = &mut on_air.ending else { break };
                let Some(key) = ending.untold.pop() else { break };
                // Meanwhile it may have left, or taken a seat in the next program.
                let is_of_this = self
                    .connections
                    .get(key)
                    .and_then(|c| c.viewer.as_ref())
                    .is_some_and(|viewer| viewer.program == id && !viewer.seat.holds());
                if !is_of_this {
                    continue;
                }
                ending.unclosed.push(key);
                left -= 1;
                let reason = match on_air.program.gate.cut() {
                    Some(Cut::Stopped) => Reason::ProgramStopped,
                    Some(Cut::Withdrawn) => Reason::ProgramWithdrawn,
                    _ => Reason::ProgramEnded,
                };
                self.end_session(key, SessionEnd::ProgramOver, reason.into(), now);
            }
        }
    }

    /// Ends one viewer's session: BYE on each track, then the session machine closes the connection.
    pub(crate) fn end_session(&mut self, key: usize, end: SessionEnd, cause: Cause, now: Now) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Some(viewer) = connection.viewer.as_mut() else { return };
        viewer.cause = Some(cause);
        let program = viewer.program;
        if let Some(on_air) = self.on_air.get_mut(&program) {
            on_air.remove(key);
            say_goodbye(on_air, connection, self.udp.as_ref(), &self.stats);
        }
        connection.rtsp.handle_end(now.mono, end);
        self.drain(key, now);
    }

    /// Ends the sessions of all viewers of one program, whose gate stays open.
    pub(crate) fn end_sessions_of(&mut self, id: ProgramId, end: SessionEnd, now: Now) {
        let viewers: Vec<usize> = self
            .connections
            .iter()
            .filter(|(_, c)| c.viewer.as_ref().is_some_and(|viewer| viewer.program == id))
            .map(|(key, _)| key)
            .collect();
        for key in viewers {
            self.end_session(key, end, Reason::StreamChanged.into(), now);
        }
    }

    /// Ends all sessions and closes all connections: the server goes down.
    pub(crate) fn end_everything(&mut self, now: Now) {
        let keys: Vec<usize> = self.connections.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.end_session(key, SessionEnd::ShuttingDown, Reason::Draining.into(), now);
            if let Some(connection) = self.connections.get_mut(key)
                && connection.closing.is_none()
            {
                connection.closing = Some(now.mono + limits::DRAIN_AFTER_END);
                self.closing.push((now.mono + limits::DRAIN_AFTER_END, key));
            }
        }
    }

    /// Notes that a connection is gone; the last one of an ended program closes its account.
    pub(crate) fn note_closed(&mut self, key: usize, now: Now) {
        for on_air in self.on_air.values_mut() {
            let Some(ending) = &mut on_air.ending else { continue };
            let before = ending.unclosed.len();
            ending.untold.retain(|&other| other != key);
            ending.unclosed.retain(|&other| other != key);
            if before > 0 && ending.unclosed.is_empty() && ending.untold.is_empty() {
                let delay = now.mono.saturating_duration_since(ending.at);
                self.shared.stats.all_closed(delay);
                tracing::info!(
                    channel = %on_air.program.channel.name,
                    delay_ms = delay.as_millis() as u64,
                    "all viewers are told and closed"
                );
            }
        }
    }
}

/// Sends the compound SR + SDES + BYE of each track that the viewer set up (RFC 3550 §6.1).
fn say_goodbye(
    on_air: &OnAir,
    connection: &mut Connection,
    udp: Option<&crate::udp::UdpPorts>,
    stats: &crate::stats::WorkerStats,
) {
    const TEXT: &str = "end of program";
    let Some(viewer) = connection.viewer.as_mut() else { return };
    let Some(session) = connection.rtsp.session() else { return };
    match &viewer.media {
        Some(Media::Udp(media)) => {
            let Some(udp) = udp else { return };
            for setup in session.tracks() {
                let to = &media.ports[crate::udp::port_index(setup.track, true)];
                if let (Some(to), Some(packet)) = (to, on_air.goodbye(setup.track, TEXT)) {
                    udp.send_rtcp(to, &packet, stats);
                }
            }
        }
        Some(Media::Tcp(_)) => {
            // A packet that was begun is not finished: its rest is media.
            if !connection.outbox.forget_tail() {
                return;
            }
            for setup in session.tracks() {
                if let (TrackTransport::Tcp { rtcp, .. }, Some(packet)) =
                    (setup.transport, on_air.goodbye(setup.track, TEXT))
                {
                    connection.outbox.push_control(&interleaved(rtcp, &packet));
                }
            }
        }
        None => {}
    }
}
