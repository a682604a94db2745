//! The timetable: the newest published snapshot of channels and programs, read without waiting.
//!
//! Owns: [`Timetable`], the rules of a publish and what it does to the gates of running programs.
//! Refuses: as a whole, with nothing changed, what does not fit together ([`TimetableError`]).
//! Invariant: a program that stays keeps its gate, so its viewers keep their seats; one that goes has its gate closed;
//! no two programs of a channel share a moment.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use slotcast_core::{
    time::WallTime,
    words::{BitRate, ChannelName, ChannelNumber, OpenLevel, ProgramId, Seats, Window},
};

use crate::{
    gate::{Cut, Gate},
    limits::{CHANNELS_MAX, PROGRAMS_MAX},
    program::{Channel, Program, ProgramSpec, Programs, nearest},
};

/// Why a publish was refused. Nothing was changed. Programs are named for people: by title and window.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TimetableError {
    /// Two channels have this number.
    #[error("two channels have the number {0}; renumber one")]
    ChannelNumberTwice(ChannelNumber),
    /// Two channels have this name.
    #[error("two channels have the name {0:?}; rename one")]
    ChannelNameTwice(ChannelName),
    /// Two programs have this id.
    #[error("two programs have the id {}; give each its own", .0.0)]
    ProgramTwice(ProgramId),
    /// The program runs on a channel that was not published.
    #[error("{0} runs on channel {1}, which is not in the list of channels; add it")]
    UnknownChannel(String, ChannelNumber),
    /// Two programs share a moment on one channel.
    #[error("on channel {0}, {2} starts before {1} is over; move one of them")]
    Overlap(ChannelNumber, String, String),
    /// The connect window leaves out a part of the window.
    #[error("the connect window of {0} must cover its whole window; widen it")]
    ConnectWindow(String),
    /// The open level needs a password, and there is none.
    #[error("{0} is not public and has no password; set one")]
    PasswordMissing(String),
    /// More of something than the table holds: how many it holds, and how many came.
    #[error("expected at most {1} {0}, got {2}")]
    TooMany(&'static str, usize, usize),
}

/// What a publish changed, for the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// New, or moved to another channel or a later start: their gates are fresh.
    pub added: Vec<ProgramId>,
    /// Gone, or moved: their gates are closed.
    pub removed: Vec<ProgramId>,
    /// Stayed, with something changed; their viewers stay.
    pub changed: Vec<ProgramId>,
}

/// A program with the seats and class that were published of it, which its channel may bound.
#[derive(Clone)]
struct Entry {
    program: Arc<Program>,
    seats: Option<Seats>,
    class: Option<BitRate>,
}

/// Programs by start. Shared, so that a snapshot takes over those of the one before that did not change.
type List = Arc<[Arc<Program>]>;

#[derive(Clone, Default)]
struct Snapshot {
    /// By number.
    channels: Vec<Arc<Channel>>,
    /// By start, then by the channel's number.
    programs: Vec<Arc<Program>>,
    by_id: HashMap<ProgramId, Entry>,
    by_name: HashMap<ChannelName, (Arc<Channel>, List)>,
    by_link: HashMap<[u8; 32], List>,
}

/// The newest snapshot. Reading is one atomic load and a look-up; publishing replaces it.
#[derive(Default)]
pub struct Timetable {
    now: ArcSwap<Snapshot>,
    /// One at a time. Holds the snapshot before the newest, so that the one who publishes frees it: readers, who have
    /// let go of it by then, never have to.
    publishing: Mutex<Arc<Snapshot>>,
}

impl Timetable {
    /// Nothing published yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces channels and programs as a whole, or refuses and changes nothing.
    ///
    /// A program that stays (same id, same channel, start not later) keeps its gate: changed seats and a changed end
    /// count at once, a shorter list of seats sends nobody away, a changed password counts for who comes from now
    /// on. If its gate was closed because its end had come, a later end opens it again. One that is not in the list
    /// any more, or moved, has its gate closed ([`Cut::Withdrawn`]).
    pub fn publish(
        &self,
        channels: Vec<Channel>,
        programs: Vec<ProgramSpec>,
    ) -> Result<Changes, TimetableError> {
        let mut last = self.publishing.lock();
        let before = self.now.load_full();
        let listed: HashSet<ProgramId> = programs.iter().map(|spec| spec.id).collect();
        let gone = before.by_id.keys().filter(|id| !listed.contains(id)).copied().collect();
        self.change(&mut last, before, channels, programs, gone)
    }

    /// Replaces the channels, adds or replaces the programs `put`, and removes those of `gone` that are there; all other
    /// programs stay as they are. Each is dealt with as by [`publish`](Self::publish). The cost is that of what changes,
    /// and of a copy of references to the rest.
    pub fn update(
        &self,
        channels: Vec<Channel>,
        put: Vec<ProgramSpec>,
        gone: &[ProgramId],
    ) -> Result<Changes, TimetableError> {
        let mut last = self.publishing.lock();
        let before = self.now.load_full();
        let put_ids: HashSet<ProgramId> = put.iter().map(|spec| spec.id).collect();
        let is_gone = |id: &&ProgramId| before.by_id.contains_key(id) && !put_ids.contains(id);
        let gone = gone.iter().filter(is_gone).copied().collect();
        self.change(&mut last, before, channels, put, gone)
    }

    fn change(
        &self,
        last: &mut Arc<Snapshot>,
        before: Arc<Snapshot>,
        channels: Vec<Channel>,
        mut put: Vec<ProgramSpec>,
        gone: HashSet<ProgramId>,
    ) -> Result<Changes, TimetableError> {
        let channels = index_channels(channels, &before)?;
        check_programs(&put)?;
        put_anew_where_channels_changed(&mut put, &gone, &before, &channels);
        let mut built = Vec::with_capacity(put.len());
        for spec in put {
            let Some(channel) = channels.get(&spec.channel) else {
                return Err(TimetableError::UnknownChannel(
                    for_people(&spec.title, spec.window),
                    spec.channel,
                ));
            };
            let old = before.by_id.get(&spec.id).map(|entry| &entry.program);
            let (seats, class) = (spec.seats, spec.class);
            let kept = old.filter(|old| stays(old, &spec));
            let program = build(spec, Arc::clone(channel), kept);
            built.push((Entry { program, seats, class }, old.cloned()));
        }
        let after = Snapshot::after(&before, &channels, &built, &gone)?;
        let mut changes = Changes { removed: gone.iter().copied().collect(), ..Changes::default() };
        let mut closed: Vec<&Arc<Program>> =
            gone.iter().filter_map(|id| before.by_id.get(id)).map(|entry| &entry.program).collect();
        // All is checked; from here on nothing fails. Gates follow before the snapshot is seen, and those that go
        // are closed after it, so that at no moment a program is to be found whose gate belongs to another.
        for (Entry { program: new, .. }, old) in &built {
            match old {
                Some(old) if Arc::ptr_eq(&old.gate, &new.gate) => {
                    carry_over(old, new);
                    if differs(old, new) {
                        changes.changed.push(new.id);
                    }
                }
                old => {
                    changes.added.push(new.id);
                    changes.removed.extend(old.as_ref().map(|old| old.id));
                    closed.extend(old);
                }
            }
        }
        self.now.store(Arc::new(after));
        for program in closed {
            program.gate.close_as(Cut::Withdrawn);
        }
        *last = before;
        Ok(changes)
    }

    /// The programs whose windows have begun at `at`, by start: those that can have viewers.
    pub fn begun(&self, at: WallTime) -> Vec<Arc<Program>> {
        let now = self.now.load();
        let begun = now.programs.partition_point(|program| program.window.start() <= at);
        now.programs.get(..begun).unwrap_or_default().to_vec()
    }
}

impl Programs for Timetable {
    fn channel(&self, name: &str) -> Option<Arc<Channel>> {
        let name = name.parse::<ChannelName>().ok()?;
        self.now.load().by_name.get(&name).map(|(channel, _)| Arc::clone(channel))
    }

    fn on_air(&self, name: &str, at: WallTime) -> Option<Arc<Program>> {
        let name = name.parse::<ChannelName>().ok()?;
        let now = self.now.load();
        let (_, programs) = now.by_name.get(&name)?;
        let started = programs.partition_point(|program| program.window.start() <= at);
        let newest = programs.get(started.checked_sub(1)?)?;
        newest.is_on_air(at).then(|| Arc::clone(newest))
    }

    fn connectable(&self, name: &str, at: WallTime) -> Vec<Arc<Program>> {
        let Ok(name) = name.parse::<ChannelName>() else { return Vec::new() };
        let now = self.now.load();
        let programs = now.by_name.get(&name).map_or(&[][..], |(_, programs)| &programs[..]);
        programs.iter().filter(|program| program.connect.contains(at)).cloned().collect()
    }

    fn of_link(&self, hash: &[u8; 32]) -> Vec<Arc<Program>> {
        self.now.load().by_link.get(hash).map(|list| list.to_vec()).unwrap_or_default()
    }

    fn program(&self, id: ProgramId) -> Option<Arc<Program>> {
        self.now.load().by_id.get(&id).map(|entry| Arc::clone(&entry.program))
    }

    fn channels(&self) -> Vec<Arc<Channel>> {
        self.now.load().channels.clone()
    }

    fn programs(&self) -> Vec<Arc<Program>> {
        self.now.load().programs.clone()
    }

    fn nearest(&self, at: WallTime, count: usize) -> Vec<Arc<Program>> {
        nearest(&self.now.load().programs, at, count)
    }
}

type ByNumber = HashMap<ChannelNumber, Arc<Channel>>;

/// Those that are as they were `before` are the same value.
fn index_channels(channels: Vec<Channel>, before: &Snapshot) -> Result<ByNumber, TimetableError> {
    if channels.len() > CHANNELS_MAX {
        return Err(TimetableError::TooMany("channels", CHANNELS_MAX, channels.len()));
    }
    let mut by_number = HashMap::with_capacity(channels.len());
    let mut names = HashSet::with_capacity(channels.len());
    for channel in channels {
        if !names.insert(channel.name.clone()) {
            return Err(TimetableError::ChannelNameTwice(channel.name));
        }
        let number = channel.number;
        let same = before.by_name.get(&channel.name).map(|(same, _)| same).filter(|same| ***same == channel);
        let channel = same.map_or_else(|| Arc::new(channel.clone()), Arc::clone);
        if by_number.insert(number, channel).is_some() {
            return Err(TimetableError::ChannelNumberTwice(number));
        }
    }
    Ok(by_number)
}

/// Adds to `put` the programs that stay on channels which changed: a program has its channel's facts.
fn put_anew_where_channels_changed(
    put: &mut Vec<ProgramSpec>,
    gone: &HashSet<ProgramId>,
    before: &Snapshot,
    channels: &ByNumber,
) {
    let is_same = |channel: &Channel| channels.get(&channel.number).is_some_and(|now| **now == *channel);
    let of_changed = before.by_name.values().filter(|(channel, _)| !is_same(channel));
    let listed: HashSet<ProgramId> = put.iter().map(|spec| spec.id).collect();
    let stay = of_changed
        .flat_map(|(_, programs)| programs.iter())
        .filter(|program| !gone.contains(&program.id) && !listed.contains(&program.id));
    put.extend(stay.filter_map(|program| before.by_id.get(&program.id)).map(Entry::spec));
}

fn check_programs(programs: &[ProgramSpec]) -> Result<(), TimetableError> {
    if programs.len() > PROGRAMS_MAX {
        return Err(TimetableError::TooMany("programs", PROGRAMS_MAX, programs.len()));
    }
    let mut ids = HashSet::with_capacity(programs.len());
    for spec in programs {
        if !ids.insert(spec.id) {
            return Err(TimetableError::ProgramTwice(spec.id));
        }
        if spec.connect.start() > spec.window.start() || spec.connect.end() < spec.window.end() {
            return Err(TimetableError::ConnectWindow(for_people(&spec.title, spec.window)));
        }
        if spec.open_level != OpenLevel::Public && spec.password.is_none() {
            return Err(TimetableError::PasswordMissing(for_people(&spec.title, spec.window)));
        }
    }
    Ok(())
}

/// - `programs`: of one channel, by start.
fn check_overlaps(programs: &[Arc<Program>]) -> Result<(), TimetableError> {
    for pair in programs.windows(2) {
        if let [first, second] = pair
            && first.window.overlaps(second.window)
        {
            let named = |program: &Program| for_people(&program.title, program.window);
            return Err(TimetableError::Overlap(first.channel.number, named(first), named(second)));
        }
    }
    Ok(())
}

/// Title and window; never the ID or the password.
fn for_people(title: &str, window: Window) -> String {
    let (start, end) = (window.start(), window.end());
    match title {
        "" => format!("the program from {start} to {end}"),
        title => format!("{title:?} ({start} to {end})"),
    }
}

/// Whether viewers of `old` may go on watching what `spec` says.
fn stays(old: &Program, spec: &ProgramSpec) -> bool {
    old.channel.number == spec.channel && spec.window.start() <= old.window.start()
}

fn build(spec: ProgramSpec, channel: Arc<Channel>, kept: Option<&Arc<Program>>) -> Arc<Program> {
    let seats = spec.seats.map_or(channel.seats, |seats| seats.min(channel.seats));
    let class = spec.class.map_or(channel.class, |class| class.min(channel.class));
    let gate = match kept {
        Some(old) => Arc::clone(&old.gate),
        None => Arc::new(Gate::new(seats, spec.window.end())),
    };
    Arc::new(Program {
        id: spec.id,
        channel,
        window: spec.window,
        connect: spec.connect,
        seats,
        class,
        title: spec.title,
        open_level: spec.open_level,
        password: spec.password,
        link_key: spec.link_key,
        gate,
    })
}

fn differs(old: &Program, new: &Program) -> bool {
    let facts = |p: &Program| (p.window, p.connect, p.seats, p.class, p.open_level);
    facts(old) != facts(new)
        || old.title != new.title
        || old.password != new.password
        || old.link_key != new.link_key
        || old.channel != new.channel
}

/// What a publish means for the gate that `old` and `new` share.
fn carry_over(old: &Program, new: &Program) {
    new.gate.resize(new.seats);
    if new.window.end() != old.window.end() {
        new.gate.set_end(new.window.end());
    }
}

impl Entry {
    /// What was published of it.
    fn spec(&self) -> ProgramSpec {
        let Program { id, channel, window, connect, title, open_level, password, link_key, .. } =
            &*self.program;
        ProgramSpec {
            id: *id,
            channel: channel.number,
            window: *window,
            connect: *connect,
            seats: self.seats,
            class: self.class,
            title: title.clone(),
            open_level: *open_level,
            password: password.clone(),
            link_key: link_key.clone(),
        }
    }
}

impl Snapshot {
    /// - `put`: each with the program that had its id before.
    ///
    /// Refuses programs of one channel that share a moment, and more programs than there may be.
    fn after(
        before: &Self,
        channels: &ByNumber,
        put: &[(Entry, Option<Arc<Program>>)],
        gone: &HashSet<ProgramId>,
    ) -> Result<Self, TimetableError> {
        let leaving: Vec<&Arc<Program>> = put
            .iter()
            .filter_map(|(_, old)| old.as_ref())
            .chain(gone.iter().filter_map(|id| before.by_id.get(id)).map(|entry| &entry.program))
            .collect();
        let coming = || put.iter().map(|(entry, _)| &entry.program);
        let count = before.programs.len() - leaving.len() + put.len();
        if count > PROGRAMS_MAX {
            return Err(TimetableError::TooMany("programs", PROGRAMS_MAX, count));
        }
        let by_number = |programs: &mut dyn Iterator<Item = &Arc<Program>>| {
            let mut lists: HashMap<ChannelNumber, Vec<Arc<Program>>> = HashMap::new();
            for program in programs {
                lists.entry(program.channel.number).or_default().push(Arc::clone(program));
            }
            lists
        };
        let (mut come, leave) = (by_number(&mut coming()), by_number(&mut leaving.iter().copied()));
        let left: HashSet<ProgramId> = leaving.iter().map(|program| program.id).collect();
        let lists: HashMap<ChannelNumber, &List> =
            before.by_name.values().map(|(channel, list)| (channel.number, list)).collect();
        let mut by_name = HashMap::with_capacity(channels.len());
        for (number, channel) in channels {
            let list = lists.get(number).copied();
            let list = match (come.remove(number), list) {
                (None, Some(list)) if !leave.contains_key(number) => Arc::clone(list),
                (come, list) => {
                    let list = changed(list, &left, come.unwrap_or_default());
                    check_overlaps(&list)?;
                    list
                }
            };
            by_name.insert(channel.name.clone(), (Arc::clone(channel), list));
        }
        let (mut by_id, mut by_link) = (before.by_id.clone(), before.by_link.clone());
        let links: HashSet<[u8; 32]> =
            leaving.iter().copied().chain(coming()).map(|program| *program.link_key.hash()).collect();
        let mut come: HashMap<[u8; 32], Vec<Arc<Program>>> = HashMap::new();
        for program in coming() {
            come.entry(*program.link_key.hash()).or_default().push(Arc::clone(program));
        }
        for hash in links {
            let list = changed(by_link.get(&hash), &left, come.remove(&hash).unwrap_or_default());
            if list.is_empty() {
                by_link.remove(&hash);
            } else {
                by_link.insert(hash, list);
            }
        }
        for id in &left {
            by_id.remove(id);
        }
        by_id.extend(put.iter().map(|(entry, _)| (entry.program.id, entry.clone())));
        let stay = before.programs.iter().filter(|program| !left.contains(&program.id));
        let mut programs: Vec<_> = stay.chain(coming()).cloned().collect();
        programs.sort_by_key(|program| (program.window.start(), program.channel.number));
        let mut channels: Vec<_> = channels.values().cloned().collect();
        channels.sort_by_key(|channel| channel.number);
        Ok(Self { channels, programs, by_id, by_name, by_link })
    }
}

/// A list without those that have `left`, and with those that `come`.
fn changed(list: Option<&List>, left: &HashSet<ProgramId>, come: Vec<Arc<Program>>) -> List {
    let stay = list.map_or(&[][..], |list| &list[..]).iter().filter(|program| !left.contains(&program.id));
    let mut all: Vec<_> = stay.cloned().chain(come).collect();
    all.sort_by_key(|program| (program.window.start(), program.channel.number));
    all.into()
}
