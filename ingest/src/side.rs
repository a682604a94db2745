//! The one thread of the link side: waits for the kernel or the next deadline, and hands out the work.
//!
//! Owns: the poll, the tokens and the order of a turn. What is done stands in `accept` (new connections),
//! `clockwork` (what is due by time, and what the desk says) and the protocols' rooms (what links send and ask).
//! Invariant: every piece of work has a budget per turn; what is left over is taken up in the next turn, after everybody
//! else's.

use std::{
    collections::HashMap,
    io,
    panic::{self, AssertUnwindSafe},
    sync::{
        Arc,
        mpsc::{Receiver, TryRecvError},
    },
    time::{Duration, Instant},
};

use mio::{Events, Poll, Token, net::TcpListener};
use slotcast_admission::Reason;
use slotcast_core::{
    table::Table,
    time::{Clock, Now},
    words::ProgramId,
};
use slotcast_desk::{Desk, IngestStats, PassId, ToLink, limits::TICK};
use slotcast_net::sockets::Reserve;
use slotcast_rtsp::server::ServerConfig;

use crate::{
    antechamber::{Antechamber, LinkId},
    config::IngestConfig,
    limits,
    rtsp::{Half, Link, UdpPair},
};

/// The waker.
pub(crate) const WAKER: Token = Token(0);
const LISTENERS_FROM: usize = 1;
const DATAGRAMS_FROM: usize = 1 << 16;
const LINKS_FROM: usize = 1 << 20;

/// What the handle asks of the thread.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Command {
    /// Close the link of a program.
    Kick(ProgramId),
    /// Close everything and end, at the latest at this moment.
    Shutdown(Instant),
}

/// A piece of work of one turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Work {
    /// The handle has something to say.
    Commands,
    /// A listener has connections.
    Accept(usize),
    /// A UDP socket has datagrams.
    Datagrams(usize, Half),
    /// The connection at this place can be read or written.
    Link(usize),
}

impl Work {
    pub(crate) fn token(self) -> Token {
        Token(match self {
            Self::Commands => WAKER.0,
            Self::Accept(listener) => LISTENERS_FROM + listener,
            Self::Datagrams(pair, Half::Rtp) => DATAGRAMS_FROM + 2 * pair,
            Self::Datagrams(pair, Half::Rtcp) => DATAGRAMS_FROM + 2 * pair + 1,
            Self::Link(place) => LINKS_FROM + place,
        })
    }

    const fn of(token: Token) -> Self {
        match token.0 {
            0 => Self::Commands,
            LISTENERS_FROM..DATAGRAMS_FROM => Self::Accept(token.0 - LISTENERS_FROM),
            DATAGRAMS_FROM..LINKS_FROM => {
                let half = if token.0.is_multiple_of(2) { Half::Rtp } else { Half::Rtcp };
                Self::Datagrams((token.0 - DATAGRAMS_FROM) / 2, half)
            }
            _ => Self::Link(token.0 - LINKS_FROM),
        }
    }
}

/// One access port with what its connections share.
pub(crate) struct Port {
    pub(crate) listener: TcpListener,
    /// When to try again after descriptors ran out.
    pub(crate) retry_at: Option<Instant>,
    /// Index of the UDP pair on the same address.
    pub(crate) pair: Option<usize>,
    pub(crate) rtsp: Arc<ServerConfig>,
}

/// All that the thread owns.
pub(crate) struct LinkSide {
    pub(crate) poll: Poll,
    pub(crate) config: IngestConfig,
    pub(crate) clock: Clock,
    pub(crate) desk: Desk,
    pub(crate) stats: Arc<IngestStats>,
    pub(crate) ports: Vec<Port>,
    pub(crate) pairs: Vec<UdpPair>,
    pub(crate) reserve: Reserve,
    /// `None` where the link is in hand.
    pub(crate) links: Table<Option<Box<Link>>>,
    pub(crate) antechamber: Antechamber,
    /// The link of each pass, from its accepted ANNOUNCE on.
    pub(crate) passes: HashMap<PassId, LinkId>,
    /// What the desk has to tell links, while it is taken up.
    pub(crate) to_links: Vec<ToLink>,
    /// What this turn left for the next.
    pub(crate) work: Vec<Work>,
    /// Links to be closed for their datagrams, at the end of the turn.
    pub(crate) ending: Vec<(LinkId, Reason)>,
    pub(crate) buffer: Vec<u8>,
    pub(crate) next_tick: Instant,
    commands: Receiver<Command>,
    ends_at: Option<Instant>,
}

/// A count of the configuration as lines are counted.
pub(crate) fn bounded(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

impl LinkSide {
    pub(crate) fn new(
        poll: Poll,
        config: IngestConfig,
        sockets: (Vec<Port>, Vec<UdpPair>),
        desk: Desk,
        clock: Clock,
        commands: Receiver<Command>,
    ) -> Self {
        let now = clock();
        Self {
            poll,
            reserve: Reserve::open(),
            links: Table::default(),
            antechamber: Antechamber::new(config.antechamber, config.antechamber_per_address),
            stats: Arc::clone(desk.stats()),
            desk,
            passes: HashMap::new(),
            to_links: Vec::new(),
            work: Vec::new(),
            ending: Vec::new(),
            buffer: vec![0; limits::READ_BYTES],
            next_tick: now.mono,
            ports: sockets.0,
            pairs: sockets.1,
            config,
            clock,
            commands,
            ends_at: None,
        }
    }

    /// Works until it is told to end.
    pub(crate) fn run(mut self) {
        let mut events = Events::with_capacity(limits::EVENTS_PER_TURN);
        loop {
            let timeout = self.timeout();
            if !events.is_empty() {
                self.gather(timeout);
            }
            match self.poll.poll(&mut events, timeout) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    tracing::error!(%error, "the link side cannot wait for its sockets and ends");
                    return;
                }
            }
            let now = (self.clock)();
            let mut work = std::mem::take(&mut self.work);
            work.extend(events.iter().map(|event| Work::of(event.token())));
            work.sort_unstable();
            work.dedup();
            for work in work.drain(..) {
                self.guarded(|thread| thread.carry_out(work, now));
            }
            self.guarded(|thread| thread.on_time(now));
            self.guarded(|thread| thread.end_links(now));
            if self.is_done() {
                return;
            }
        }
    }

    /// With many links: lets some more frames come in, so that this thread and the workers are woken once for all of
    /// them. What is due by time is not put off.
    fn gather(&self, timeout: Option<Duration>) {
        if self.passes.len() >= limits::GATHER_FROM {
            std::thread::sleep(timeout.map_or(limits::GATHER_TIME, |wait| wait.min(limits::GATHER_TIME)));
        }
    }

    /// Does a piece of work. A broken invariant in it costs the connection that was in hand, not the link side.
    fn guarded(&mut self, work: impl FnOnce(&mut Self)) {
        // What a panic may leave half done is what `recover` puts right: links in hand and the buffer.
        if panic::catch_unwind(AssertUnwindSafe(|| work(self))).is_err() {
            self.recover();
        }
    }

    fn recover(&mut self) {
        self.buffer.resize(limits::READ_BYTES, 0);
        let in_hand = self.links.iter().filter(|(_, link)| link.is_none());
        let lost: Vec<LinkId> = in_hand.map(|(id, _)| id).collect();
        tracing::error!(
            connections = lost.len(),
            fault = "operator",
            "an error in the server cost connections"
        );
        for id in lost {
            self.stats.decided("internal_error");
            self.forget(id);
            self.links.remove(id);
        }
        self.show_counts();
    }

    /// Takes a link in hand; `None` where it is gone, or in hand already.
    pub(crate) fn take(&mut self, id: LinkId) -> Option<Box<Link>> {
        self.links.get_mut(id)?.take()
    }

    /// Brings back a link that was in hand.
    pub(crate) fn put(&mut self, id: LinkId, link: Box<Link>) {
        if let Some(place) = self.links.get_mut(id) {
            *place = Some(link);
        }
    }

    fn carry_out(&mut self, work: Work, now: Now) {
        match work {
            Work::Commands => self.on_commands(now),
            Work::Accept(port) => self.on_accept(port, now),
            Work::Datagrams(pair, half) => self.on_datagrams(pair, half, now),
            Work::Link(place) => self.on_link(place, now),
        }
    }

    /// How long the poll may wait; `None` when nothing is due by time.
    fn timeout(&self) -> Option<Duration> {
        if !self.work.is_empty() {
            return Some(Duration::ZERO);
        }
        let deadline = self.next_deadline()?;
        let wait = deadline.saturating_duration_since((self.clock)().mono);
        // The kernel counts in milliseconds: mio rounds up, so that it never wakes too early and spins.
        Some(wait.min(TICK))
    }

    fn on_commands(&mut self, now: Now) {
        loop {
            match self.commands.try_recv() {
                Ok(Command::Kick(program)) => {
                    let links = self.links.iter().filter_map(|(id, link)| Some((id, link.as_ref()?)));
                    let of_program = links.filter(|(_, link)| link.program() == Some(program));
                    self.ending.extend(of_program.map(|(id, _)| (id, Reason::Kicked)));
                }
                Ok(Command::Shutdown(by)) => self.shut_down(by),
                Err(TryRecvError::Empty) => return,
                // The handle was dropped without a word: the process ends.
                Err(TryRecvError::Disconnected) => {
                    if self.ends_at.is_none() {
                        self.shut_down(now.mono);
                    }
                    return;
                }
            }
        }
    }

    fn shut_down(&mut self, by: Instant) {
        self.ports.clear();
        self.ends_at = Some(by);
        let all = self.links.keys();
        self.ending.extend(all.into_iter().map(|id| (id, Reason::Draining)));
    }

    fn is_done(&self) -> bool {
        let over = |by: Instant| self.links.is_empty() || self.now_mono() >= by;
        self.ends_at.is_some_and(over)
    }

    fn now_mono(&self) -> Instant {
        (self.clock)().mono
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_its_work() {
        for work in [
            Work::Commands,
            Work::Accept(0),
            Work::Accept(7),
            Work::Datagrams(0, Half::Rtp),
            Work::Datagrams(3, Half::Rtcp),
            Work::Link(0),
            Work::Link(999),
        ] {
            assert_eq!(Work::of(work.token()), work);
        }
    }
}
