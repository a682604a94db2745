//! What is due by time: deadlines of links, and what the desk has to do and to tell.

use std::time::Instant;

use slotcast_core::time::Now;
use slotcast_desk::{ToLink, limits::TICK};

use crate::side::{LinkSide, Work};

impl LinkSide {
    /// When something is due next; `None` when nothing is.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let tick = (!self.links.is_empty()).then_some(self.next_tick);
        let accepts = self.ports.iter().filter_map(|port| port.retry_at);
        accepts.chain(self.desk.deadline()).chain(tick).min()
    }

    /// Does what is due at `now`.
    pub(crate) fn on_time(&mut self, now: Now) {
        for (at, port) in self.ports.iter().enumerate() {
            if port.retry_at.is_some_and(|retry_at| retry_at <= now.mono) {
                self.work.push(Work::Accept(at));
            }
        }
        let mut to_links = std::mem::take(&mut self.to_links);
        self.desk.on_time(now, &mut to_links);
        to_links.drain(..).for_each(|word| self.tell(word, now));
        self.to_links = to_links;
        if now.mono >= self.next_tick {
            self.next_tick = now.mono + TICK;
            for id in self.links.keys() {
                if let Some(mut link) = self.take(id) {
                    let outcome = self.check_deadlines(id, &mut link, now);
                    self.put_back(id, link, outcome, now);
                }
            }
        }
    }

    fn tell(&mut self, word: ToLink, now: Now) {
        let (ToLink::Reports { pass, .. } | ToLink::End { pass, .. }) = &word;
        let Some(id) = self.passes.get(pass).copied() else { return };
        match word {
            ToLink::Reports { reports, .. } => {
                if let Some(mut link) = self.take(id) {
                    self.send_reports(&mut link, reports);
                    self.put_back(id, link, Ok(()), now);
                }
            }
            ToLink::End { reason, .. } => self.end_link(id, reason, now),
        }
    }
}
