//! What wall time and the timetable decide: which links and programs are over.
//!
//! Invariant: wall time is looked at every tick and at each exact edge, so that a stepped clock is noticed; a link does not
//! outlive its program's connect window, nor a source its program.

use std::sync::Arc;

use slotcast_admission::{Cut, Program, Reason};
use slotcast_core::{time::Now, words::ProgramId};

use crate::{
    desk::{Desk, Holder},
    limits,
};

impl Desk {
    pub(crate) fn tick(&mut self, now: Now) {
        self.check_links(now);
        self.check_sources(now);
        for source in self.sources.values_mut() {
            source.measure(now);
        }
        let edges = self.sources.values().map(|source| source.program().connect.end());
        let edge = edges.filter(|edge| *edge > now.wall).min().map(|edge| now.instant_of(edge));
        let tick = now.mono + limits::TICK;
        self.next_tick = edge.map_or(tick, |edge| edge.min(tick));
    }

    /// Looks up every program again: what a reload took away, or whose connect window has closed, ends its link.
    fn check_links(&mut self, now: Now) {
        let why = |(id, holder): (&ProgramId, &Holder)| {
            Some((*id, why_over(self.programs.program(*id).as_ref(), &holder.program, now)?))
        };
        let over: Vec<_> = self.holders.iter().filter_map(why).collect();
        for (id, reason) in over {
            if let Some(holder) = self.holders.remove(&id) {
                self.end(now, &holder, reason);
            }
            self.show_lines();
        }
    }

    fn check_sources(&mut self, now: Now) {
        let (programs, stats) = (&self.programs, &self.stats);
        self.sources.retain(|id, source| {
            let published = programs.program(*id);
            let is_over = why_over(published.as_ref(), source.program(), now).is_some();
            let Some(program) = published.filter(|_| !is_over) else {
                stats.remove_program(*id);
                return false;
            };
            if program.gate.reopen_if_early(now.wall) {
                tracing::warn!(
                    channel = %program.channel.name,
                    end = %program.gate.end(),
                    fault = "operator",
                    "the clock was set back before the program's end, which had come: it is on air again"
                );
            }
            source.set_program(now, program);
            true
        });
    }
}

/// Why the link of a program has to be closed; `None`: it goes on.
///
/// - `published`: the program as it stands in the timetable now.
/// - `known`: the program as it stood before.
fn why_over(published: Option<&Arc<Program>>, known: &Program, now: Now) -> Option<Reason> {
    // The same ID with another gate: moved to another channel or a later start.
    let Some(published) = published.filter(|published| Arc::ptr_eq(&published.gate, &known.gate)) else {
        return Some(match known.gate.cut() {
            Some(cut @ (Cut::Stopped | Cut::Withdrawn)) => Reason::from(cut),
            Some(Cut::Ended) => Reason::LinkWindowClosed,
            None => Reason::ProgramWithdrawn,
        });
    };
    // One that ran to its end keeps its link for a while.
    if let Some(cut @ (Cut::Stopped | Cut::Withdrawn)) = published.gate.cut() {
        return Some(Reason::from(cut));
    }
    (published.connect.end() <= now.wall).then_some(Reason::LinkWindowClosed)
}
