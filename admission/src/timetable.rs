//! The timetable: the newest published snapshot of channels and programs, read without waiting.
//!
//! Owns: [`Timetable`], the rules of a publish and what it does to the gates of running programs.
//! Refuses: as a whole, with nothing changed, what does not fit together ([`TimetableError`]).
//! Invariant: a program that stays keeps its gate, so its viewers keep their seats; one that goes has its gate closed;
//! no two programs of a channel share a moment.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::Arc,
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use slotcast_core::{
    time::WallTime,
    words::{ChannelName, ChannelNumber, OpenLevel, ProgramId},
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

#[derive(Default)]
struct Snapshot {
    channels: Vec<Arc<Channel>>,
    programs: Vec<Arc<Program>>,
    by_id: HashMap<ProgramId, Arc<Program>>,
    /// By name: the channel, and its programs by start.
    by_name: HashMap<ChannelName, (Arc<Channel>, Vec<Arc<Program>>)>,
    by_link: HashMap<[u8; 32], Vec<Arc<Program>>>,
}

/// The newest snapshot. Reading is one atomic load and a look-up; publishing replaces the whole.
#[derive(Default)]
pub struct Timetable {
    now: ArcSwap<Snapshot>,
    publishing: Mutex<()>,
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
        let _one_at_a_time = self.publishing.lock();
        let channels = index_channels(channels)?;
        check_programs(&programs)?;
        let before = self.now.load_full();
        let mut changes = Changes::default();
        let mut after = Vec::with_capacity(programs.len());
        for spec in programs {
            let Some(channel) = channels.get(&spec.channel) else {
                return Err(TimetableError::UnknownChannel(for_people(&spec), spec.channel));
            };
            let old = before.by_id.get(&spec.id);
            let kept = old.filter(|old| stays(old, &spec));
            let program = build(spec, Arc::clone(channel), kept);
            match (kept, old) {
                (Some(old), _) if differs(old, &program) => changes.changed.push(program.id),
                (Some(_), _) => {}
                (None, _) => changes.added.push(program.id),
            }
            after.push((program, kept.cloned()));
        }
        let kept: HashSet<ProgramId> =
            after.iter().filter(|(_, old)| old.is_some()).map(|(program, _)| program.id).collect();
        let gone: Vec<_> = before.programs.iter().filter(|old| !kept.contains(&old.id)).collect();
        changes.removed = gone.iter().map(|program| program.id).collect();
        // All is checked; from here on nothing fails. Gates follow before the snapshot is seen, and those that go
        // are closed after it, so that at no moment a program is to be found whose gate belongs to another.
        for (program, old) in &after {
            if let Some(old) = old {
                carry_over(old, program);
            }
        }
        self.now.store(Arc::new(snapshot(channels, after.into_iter().map(|(program, _)| program))));
        for program in gone {
            program.gate.close_as(Cut::Withdrawn);
        }
        Ok(changes)
    }
}

impl fmt::Debug for Timetable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let now = self.now.load();
        write!(f, "Timetable({} channels, {} programs)", now.channels.len(), now.programs.len())
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
        let programs = now.by_name.get(&name).map_or(&[][..], |(_, programs)| programs);
        programs.iter().filter(|program| program.connect.contains(at)).cloned().collect()
    }

    fn of_link(&self, hash: &[u8; 32]) -> Vec<Arc<Program>> {
        self.now.load().by_link.get(hash).cloned().unwrap_or_default()
    }

    fn program(&self, id: ProgramId) -> Option<Arc<Program>> {
        self.now.load().by_id.get(&id).cloned()
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

fn index_channels(channels: Vec<Channel>) -> Result<ByNumber, TimetableError> {
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
        if by_number.insert(number, Arc::new(channel)).is_some() {
            return Err(TimetableError::ChannelNumberTwice(number));
        }
    }
    Ok(by_number)
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
            return Err(TimetableError::ConnectWindow(for_people(spec)));
        }
        if spec.open_level != OpenLevel::Public && spec.password.is_none() {
            return Err(TimetableError::PasswordMissing(for_people(spec)));
        }
    }
    check_overlaps(programs)
}

fn check_overlaps(programs: &[ProgramSpec]) -> Result<(), TimetableError> {
    let mut by_start: Vec<&ProgramSpec> = programs.iter().collect();
    by_start.sort_by_key(|spec| (spec.channel, spec.window.start()));
    for pair in by_start.windows(2) {
        if let [first, second] = pair
            && first.channel == second.channel
            && first.window.overlaps(second.window)
        {
            return Err(TimetableError::Overlap(first.channel, for_people(first), for_people(second)));
        }
    }
    Ok(())
}

/// Title and window; never the ID or the password.
fn for_people(spec: &ProgramSpec) -> String {
    let (start, end) = (spec.window.start(), spec.window.end());
    match spec.title.as_str() {
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

fn snapshot(channels: ByNumber, programs: impl Iterator<Item = Arc<Program>>) -> Snapshot {
    let mut programs: Vec<_> = programs.collect();
    programs.sort_by_key(|program| (program.window.start(), program.channel.number));
    let mut channels: Vec<_> = channels.into_values().collect();
    channels.sort_by_key(|channel| channel.number);
    let mut by_name: HashMap<_, _> =
        channels.iter().map(|channel| (channel.name.clone(), (Arc::clone(channel), Vec::new()))).collect();
    let mut by_link: HashMap<_, Vec<_>> = HashMap::with_capacity(programs.len());
    for program in &programs {
        by_link.entry(*program.link_key.hash()).or_default().push(Arc::clone(program));
        if let Some((_, of_channel)) = by_name.get_mut(&program.channel.name) {
            of_channel.push(Arc::clone(program));
        }
    }
    let by_id = programs.iter().map(|program| (program.id, Arc::clone(program))).collect();
    Snapshot { channels, programs, by_id, by_name, by_link }
}
