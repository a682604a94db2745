//! What is told to those who listen in this process: events once each, and of what changes all the time the newest.
//!
//! Owns: [`Hub`], [`Subscription`], who may see what, the bytes that all subscribers share.
//! Not here: events in the database (`store`), what subscribers are asked for (`service`, `http`).
//! Invariant: a subscriber holds a place in the ring and nothing else, so a slow one costs nobody anything; the number of
//! a secret program reaches its member and operators alone.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fmt,
    net::IpAddr,
    sync::Arc,
};

use hyper::body::Bytes;
use parking_lot::{Mutex, RwLock};
use serde::Serialize;
use slotcast_core::{
    time::WallTime,
    words::{OpenLevel, Window},
};
use tokio::{select, sync::watch, time::sleep};

use crate::{
    domain::{
        event::Event,
        words::{MemberNumber, ReservationNumber},
    },
    limits::{COMMENT_EVERY, EVENTS_KEPT, LISTENERS_MAX, LISTENERS_PER_ADDRESS_MAX},
};

/// Who listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// Nobody in particular; `sees_public`: whether public programs are for more than members.
    Anybody {
        /// See [`OpenLevel::Public`].
        sees_public: bool,
    },
    /// A member: what is public, and everything of the own programs.
    Member(MemberNumber),
    /// An operator: everything.
    Operator,
}

/// What somebody wants to hear of; empty: of everything that is for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Only of this program.
    pub program: Option<ReservationNumber>,
    /// Only of this member's programs.
    pub member: Option<MemberNumber>,
    /// Only of programs whose window shares a moment with this one.
    pub during: Option<Window>,
}

/// Of a program: whose it is, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Of {
    /// Which.
    pub number: ReservationNumber,
    /// Whose.
    pub member: MemberNumber,
    /// When.
    pub window: Window,
    /// Who may watch, and so may know of it.
    pub level: OpenLevel,
}

/// How much of something a listener may see.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sight {
    Public,
    Full,
}

impl Listener {
    fn sight(self, of: &Of) -> Option<Sight> {
        match (self, of.level) {
            (Self::Operator, _) => Some(Sight::Full),
            (Self::Member(member), _) if member == of.member => Some(Sight::Full),
            (_, OpenLevel::Secret) => None,
            (Self::Anybody { sees_public: false }, OpenLevel::Public) => None,
            _ => Some(Sight::Public),
        }
    }
}

impl Wanted {
    fn has(&self, of: &Of) -> bool {
        self.program.is_none_or(|number| number == of.number)
            && self.member.is_none_or(|member| member == of.member)
            && self.during.is_none_or(|window| window.overlaps(of.window))
    }
}

/// The same for the public and for those who may see all of it; `None`: the public sees nothing.
struct Told {
    of: Of,
    public: Option<Bytes>,
    full: Bytes,
}

impl Told {
    fn bytes(&self, listener: Listener, wanted: &Wanted) -> Option<&Bytes> {
        match wanted.has(&self.of).then(|| listener.sight(&self.of))?? {
            Sight::Public => self.public.as_ref(),
            Sight::Full => Some(&self.full),
        }
    }
}

/// The newest of what changes all the time, and the revisions in which it changed last.
struct Figures {
    told: Told,
    public_revision: u64,
    full_revision: u64,
}

/// What is told, and the newest figures.
struct News {
    /// The number of the event that comes next, from 1.
    next: u64,
    /// The last ones; `next` follows them without a gap.
    events: VecDeque<Told>,
    revision: u64,
    figures: BTreeMap<ReservationNumber, Figures>,
}

impl News {
    /// The number of the oldest event that is kept.
    fn first(&self) -> u64 {
        self.next - self.events.len() as u64
    }
}

/// What is told in one process. Its events are numbered from its start on.
pub struct Hub {
    /// Tells this start from others.
    boot: u64,
    news: RwLock<News>,
    changed: watch::Sender<()>,
    /// Who listens, by address.
    listeners: Mutex<HashMap<IpAddr, u32>>,
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("subscribers", &self.changed.receiver_count()).finish_non_exhaustive()
    }
}

impl Hub {
    /// - `now`: tells this start of the process from others.
    pub(crate) fn new(now: WallTime) -> Arc<Self> {
        let boot = now.as_micros().unsigned_abs();
        let news = News { next: 1, events: VecDeque::new(), revision: 0, figures: BTreeMap::new() };
        Arc::new(Self {
            boot,
            news: RwLock::new(news),
            changed: watch::Sender::new(()),
            listeners: Mutex::default(),
        })
    }

    /// Tells of events whose transaction stands, in their order.
    pub(crate) fn tell(&self, events: &[Event]) {
        if events.is_empty() {
            return;
        }
        {
            let mut news = self.news.write();
            for event in events {
                let id = self.id(news.next);
                let public = event.is_public.then(|| frame(Some(&id), &event.kind, &event.for_public()));
                let told = Told { of: of(event), public, full: frame(Some(&id), &event.kind, event) };
                news.events.push_back(told);
                news.next += 1;
                if news.events.len() > EVENTS_KEPT {
                    news.events.pop_front();
                }
            }
        }
        self.changed.send_replace(());
    }

    /// Events were written, and whether they stand is not known: those who listen must look for themselves.
    pub(crate) fn lose(&self) {
        {
            let mut news = self.news.write();
            news.next += 1;
            news.events.clear();
        }
        self.changed.send_replace(());
    }

    /// Shows how programs run now; those that are left out run no more. Of what is as it was, nobody is told.
    ///
    /// - `now`: for the public, and for those who may see all.
    pub(crate) fn show<P: Serialize, F: Serialize>(&self, now: &[(Of, P, F)]) {
        let framed = now.iter().map(|(of, public, full)| {
            let (public, full) = (frame(None, &"live", public), frame(None, &"live", full));
            Told { of: *of, public: Some(public), full }
        });
        let framed: Vec<_> = framed.collect();
        let mut has_changed = false;
        {
            let mut news = self.news.write();
            let revision = news.revision + 1;
            let mut before = std::mem::take(&mut news.figures);
            for told in framed {
                let mut now = Figures { told, public_revision: revision, full_revision: revision };
                let old = before.remove(&now.told.of.number).filter(|old| old.told.of == now.told.of);
                if let Some(old) = old {
                    if old.told.public == now.told.public {
                        now.public_revision = old.public_revision;
                    }
                    if old.told.full == now.told.full {
                        now.full_revision = old.full_revision;
                    }
                }
                has_changed |= now.full_revision == revision;
                news.figures.insert(now.told.of.number, now);
            }
            news.revision = revision;
        }
        if has_changed {
            self.changed.send_replace(());
        }
    }

    /// Listens from now on; and to what came since, where `after` is the ID of the event that was heard last. `None`: as
    /// many listen as may, or as many from that address.
    pub fn subscribe(
        self: &Arc<Self>,
        listener: Listener,
        wanted: Wanted,
        after: Option<&str>,
        address: IpAddr,
    ) -> Option<Subscription> {
        let place = self.place(address)?;
        let changed = self.changed.subscribe();
        let now = self.news.read().next;
        let heard = after.and_then(|id| self.number(id)).filter(|heard| *heard < now);
        let next = match (after, heard) {
            (_, Some(heard)) => heard + 1,
            // The ID is of another start: what was told since is not known.
            (Some(_), None) => 0,
            (None, None) => now,
        };
        let opening = match heard.or_else(|| after.is_none().then(|| now - 1)) {
            Some(heard) => format!("retry: {RETRY_MS}\nid: {}\n\n", self.id(heard)),
            None => format!("retry: {RETRY_MS}\n\n"),
        };
        let waiting = VecDeque::from([Bytes::from(opening)]);
        Some(Subscription { place, changed, listener, wanted, next, seen: 0, waiting })
    }

    fn place(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let mut listeners = self.listeners.lock();
        let (all, here) =
            (listeners.values().sum::<u32>(), listeners.get(&address).copied().unwrap_or_default());
        if all >= LISTENERS_MAX || here >= LISTENERS_PER_ADDRESS_MAX {
            return None;
        }
        listeners.insert(address, here + 1);
        Some(Place { hub: Arc::clone(self), address })
    }

    /// What names the event of that number to subscribers.
    fn id(&self, number: u64) -> String {
        format!("{:x}-{number}", self.boot)
    }

    fn number(&self, id: &str) -> Option<u64> {
        let (boot, number) = id.split_once('-')?;
        number.parse().ok().filter(|_| u64::from_str_radix(boot, 16) == Ok(self.boot))
    }
}

/// A browser waits so long before it connects again.
const RETRY_MS: u32 = 3000;

fn of(event: &Event) -> Of {
    Of {
        number: event.data.number,
        member: event.data.member.unwrap_or(MemberNumber(0)),
        window: event.data.window,
        level: event.data.open_level,
    }
}

/// One message of a `text/event-stream` (WHATWG HTML, 9.2.6).
fn frame(id: Option<&str>, name: &dyn fmt::Display, data: &impl Serialize) -> Bytes {
    let id = id.map_or_else(String::new, |id| format!("id: {id}\n"));
    // Nothing that is told has a key that is no text; and JSON has no line breaks of its own.
    let data = serde_json::to_string(data).unwrap_or_else(|_| "{}".to_owned());
    Bytes::from(format!("{id}event: {name}\ndata: {data}\n\n"))
}

/// One who listens from an address; dropping it gives the place back.
struct Place {
    hub: Arc<Hub>,
    address: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut listeners = self.hub.listeners.lock();
        let here = listeners.remove(&self.address).unwrap_or_default();
        if here > 1 {
            listeners.insert(self.address, here - 1);
        }
    }
}

/// What one listener hears.
pub struct Subscription {
    place: Place,
    changed: watch::Receiver<()>,
    listener: Listener,
    wanted: Wanted,
    /// The number of the event that comes next.
    next: u64,
    /// The revision of the figures that were handed out.
    seen: u64,
    /// References to what all share; at most one round of figures.
    waiting: VecDeque<Bytes>,
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("listener", &self.listener).finish_non_exhaustive()
    }
}

impl Subscription {
    /// What comes next, as bytes of a `text/event-stream`: the ID to resume from, events one by one, then the newest
    /// figures that were not handed out; a comment where nothing comes for 30 s. Dropped, nothing is lost.
    pub async fn next(&mut self) -> Bytes {
        loop {
            self.changed.mark_unchanged();
            if let Some(bytes) = self.take() {
                return bytes;
            }
            select! {
                // The hub, which this holds, has the sender.
                _ = self.changed.changed() => {}
                () = sleep(COMMENT_EVERY) => return Bytes::from_static(b":\n\n"),
            }
        }
    }

    /// As [`next`](Self::next), without waiting.
    pub fn take(&mut self) -> Option<Bytes> {
        if let Some(bytes) = self.waiting.pop_front() {
            return Some(bytes);
        }
        let hub = Arc::clone(&self.place.hub);
        let news = hub.news.read();
        let first = news.first();
        if self.next < first {
            self.next = news.next;
            let id = hub.id(news.next - 1);
            return Some(Bytes::from(format!("id: {id}\nevent: reset\ndata: {{}}\n\n")));
        }
        while let Some(told) = news.events.get((self.next - first) as usize) {
            self.next += 1;
            if let Some(bytes) = told.bytes(self.listener, &self.wanted) {
                return Some(bytes.clone());
            }
        }
        if self.seen < news.revision {
            let seen = std::mem::replace(&mut self.seen, news.revision);
            let (listener, wanted) = (self.listener, self.wanted);
            let changed = |figures: &Figures| {
                let sight = wanted.has(&figures.told.of).then(|| listener.sight(&figures.told.of))??;
                let revision = match sight {
                    Sight::Public => figures.public_revision,
                    Sight::Full => figures.full_revision,
                };
                figures.told.bytes(listener, &wanted).filter(|_| revision > seen).cloned()
            };
            match wanted.program {
                Some(number) => self.waiting.extend(news.figures.get(&number).and_then(changed)),
                None => self.waiting.extend(news.figures.values().filter_map(changed)),
            }
        }
        drop(news);
        self.waiting.pop_front()
    }
}
