//! What is due by time: deadlines of links, reports, and the windows, by wall time.
//!
//! Holds: wall time is looked at every tick and at each exact edge, so that a stepped clock is noticed; a link does
//! not outlive its program's connect window, nor a source its program.

use std::{sync::Arc, time::Instant};

use slotcast_admission::{Cut, Program, Reason};
use slotcast_core::{time::Now, words::ProgramId};

use crate::{
    closing::Closing,
    limits,
    link::{Link, LinkId, Stage},
    source::Source,
    thread::{Thread, Work},
};

impl Thread {
    /// When something is due next; `None` when nothing is.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let is_idle = self.links.is_empty() && self.sources.is_empty();
        let tick = (!is_idle).then_some(self.next_tick);
        let accepts = self.ports.iter().filter_map(|port| port.listener.retry_at);
        accepts.chain(self.due_at).chain(tick).min()
    }

    /// Does what is due at `now`.
    pub(crate) fn on_time(&mut self, now: Now) {
        for (at, port) in self.ports.iter().enumerate() {
            if port.listener.retry_at.is_some_and(|retry_at| retry_at <= now.mono) {
                self.work.push(Work::Accept(at));
            }
        }
        let touched = self.touched.drain(..).filter_map(|id| self.sources.get(&id)?.deadline());
        self.due_at = touched.chain(self.due_at).min();
        if self.due_at.is_some_and(|at| at <= now.mono) {
            for source in self.sources.values_mut() {
                source.on_time(now, &self.feeds);
            }
            self.report_to_broadcasters(now);
            self.due_at = self.sources.values().filter_map(Source::deadline).min();
        }
        if now.mono >= self.next_tick {
            self.tick(now);
        }
    }

    fn report_to_broadcasters(&mut self, now: Now) {
        let mut due = Vec::new();
        for source in self.sources.values_mut() {
            if let Some(link) = source.link() {
                due.extend(source.take_receiver_reports(now).map(|reports| (link, reports)));
            }
        }
        for (id, reports) in due {
            if let Some(mut link) = self.links.take(id) {
                self.send_reports(&mut link, reports);
                self.put_back(id, link, Ok(()), now);
            }
        }
    }

    fn tick(&mut self, now: Now) {
        self.check_programs(now);
        for source in self.sources.values_mut() {
            source.measure(now);
        }
        for id in self.links.keys() {
            if let Some(mut link) = self.links.take(id) {
                let outcome = self.check_deadlines(id, &mut link, now);
                self.put_back(id, link, outcome, now);
            }
        }
        let edges = self.sources.values().map(|source| source.program().connect.end());
        let edge = edges.filter(|edge| *edge > now.wall).min().map(|edge| now.instant_of(edge));
        let tick = now.mono + limits::TICK;
        self.next_tick = edge.map_or(tick, |edge| edge.min(tick));
    }

    /// Looks up every program again: what a reload took away, or whose connect window has closed, ends its link.
    fn check_programs(&mut self, now: Now) {
        let mut over = Vec::new();
        for (id, link) in &self.holders {
            let known = self.sources.get(id).map(Source::program);
            if let Some(reason) = why_over(self.programs.program(*id).as_ref(), known, now) {
                over.push((*link, reason));
            }
        }
        for (link, reason) in over {
            self.end_link(link, Closing::Because(reason), now);
        }
        let ids: Vec<ProgramId> = self.sources.keys().copied().collect();
        for id in ids {
            let program = self.programs.program(id);
            let Some(source) = self.sources.get_mut(&id) else { continue };
            match (program, why_over(self.programs.program(id).as_ref(), Some(source.program()), now)) {
                (Some(program), None) => {
                    if program.gate.reopen_if_early(now.wall) {
                        tracing::warn!(
                            channel = %program.channel.name,
                            end = %program.gate.end(),
                            fault = "operator",
                            "the clock was set back before the program's end, which had come: it is on air again"
                        );
                    }
                    source.set_program(now, program);
                }
                _ => {
                    self.sources.remove(&id);
                    self.stats.remove_program(id);
                }
            }
        }
    }

    fn check_deadlines(&mut self, id: LinkId, link: &mut Link, now: Now) -> Result<(), Closing> {
        match &link.stage {
            Stage::Leaving { deadline } if *deadline <= now.mono => return Err(Closing::PeerClosed),
            Stage::Leaving { .. } => return Ok(()),
            Stage::Unproven { deadline } if *deadline <= now.mono => {
                return Err(Closing::Because(Reason::GateDeadline));
            }
            Stage::Admitted { record_by: Some(deadline), .. } if *deadline <= now.mono => {
                return Err(Closing::NotRecorded);
            }
            Stage::Unproven { .. } | Stage::Admitted { .. } => {}
        }
        if let Some((_, answer)) = link.delayed.take_if(|(at, _)| *at <= now.mono) {
            link.connection.handle_answer(now.mono, answer);
            self.drain(id, link, now)?;
        }
        self.note_alive(link, now);
        if link.connection.deadline().is_some_and(|deadline| deadline <= now.mono) {
            link.connection.handle_timeout(now.mono);
            self.drain(id, link, now)?;
        }
        Ok(())
    }

    /// Datagrams keep a session alive as requests do.
    fn note_alive(&self, link: &mut Link, now: Now) {
        let Some(admitted) = link.admitted().filter(|admitted| admitted.recording) else { return };
        let arrival = self.sources.get(&admitted.program).and_then(Source::last_arrival);
        if arrival.is_some() && arrival > link.alive_at {
            link.alive_at = arrival;
            link.connection.handle_alive(now.mono);
        }
    }
}

/// Why the link of a program has to be closed; `None`: it goes on.
///
/// - `published`: the program as it stands in the timetable now.
/// - `known`: the program as it stood when the source was last looked at.
fn why_over(published: Option<&Arc<Program>>, known: Option<&Arc<Program>>, now: Now) -> Option<Reason> {
    let Some(published) = published else { return Some(Reason::ProgramWithdrawn) };
    // The same id with another gate: moved to another channel or a later start.
    if known.is_some_and(|known| !Arc::ptr_eq(&known.gate, &published.gate)) {
        return Some(Reason::ProgramWithdrawn);
    }
    // One that ran to its end keeps its link for a while.
    if let Some(cut @ (Cut::Stopped | Cut::Withdrawn)) = published.gate.cut() {
        return Some(Reason::from(cut));
    }
    (published.connect.end() <= now.wall).then_some(Reason::LinkWindowClosed)
}
