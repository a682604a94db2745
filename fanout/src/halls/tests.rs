//! Halls in memory: who gets what, whatever the sockets and the clock do.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use proptest::prelude::*;
use slotcast_core::{log::ChannelLog, media::TRACKS_MAX, table::Table};
use slotcast_net::sys::Destination;

use super::*;
use crate::{
    audience::{Way, Ways, tcp::Numbering, udp::Udp},
    stats::Protocol,
    test_media::{Memory, PROGRAM, Pipe, Post, SECONDS, TestClock, TestPrograms, chunk_of, stream},
    viewer::join_pace,
};

const OTHER: ProgramId = ProgramId(2);

/// Halls of two programs with sockets of memory.
struct Rig<A> {
    halls: Halls<A, Memory>,
    clock: TestClock,
    began: Instant,
    post: Post,
    pipes: BTreeMap<Key, Pipe>,
    indices: BTreeMap<ProgramId, u64>,
    streams: BTreeMap<ProgramId, u64>,
    connections: Table<()>,
    seated: u64,
}

impl<A: Audience<Memory> + Default> Rig<A> {
    fn new(seats: u32) -> Self {
        let clock = TestClock::new();
        let post = Post::new(&clock, usize::MAX);
        let shared = Shared {
            programs: Arc::new(TestPrograms::new(clock.now(), &[PROGRAM, OTHER], seats)),
            clock: clock.clock(),
            stats: Arc::new(FanoutStats::new(Vec::new(), true)),
            patience: Patience { behind: Duration::from_secs(1), stalled: Duration::from_secs(10) },
            guesses: Arc::new(Guesses::new(Default::default())),
            lines: Lines::new(1, 1),
            seated: AtomicU64::new(0),
        };
        let udp = Udp { ports: post.share(), segments: true, awaits_room: false };
        Self {
            halls: Halls::new(Arc::new(shared), Arc::default(), Sockets::new(Some(udp))),
            began: clock.now().mono,
            clock,
            post,
            pipes: BTreeMap::new(),
            indices: BTreeMap::new(),
            streams: BTreeMap::new(),
            connections: Table::default(),
            seated: 0,
        }
    }

    fn now(&self) -> Now {
        self.clock.now()
    }

    fn publish(&mut self, program: ProgramId, is_key: bool, packets: &[(u8, usize)]) {
        let index = self.indices.entry(program).or_insert(0);
        let stream = stream(*self.streams.entry(program).or_insert(1), program);
        let chunk = chunk_of(&stream, *index, self.clock.now().mono, is_key, packets);
        *index += 1;
        self.halls.take(self.clock.now(), chunk);
    }

    /// A viewer with a seat, where there is one.
    fn seat(&mut self, program: ProgramId, protocol: Protocol) -> Option<(Key, usize)> {
        let of = self.halls.shared.programs.program(program)?;
        let seat = of.gate.enter().ok()?;
        self.seated += 1;
        let (key, connection) = (Key(self.seated), self.connections.insert(()));
        let viewer = Viewer {
            program,
            seat,
            protocol,
            peer: address(key),
            connection,
            pace: join_pace(of.class, self.now().mono),
            slowness: Default::default(),
            farewell: None,
            is_broken: false,
        };
        self.halls.seat(key, viewer);
        Some((key, connection.place()))
    }

    fn live(&mut self, time: Duration) -> bool {
        let mut budget = Budget::new(&self.halls.shared.clock, self.now().mono, time);
        self.halls.live(self.now(), &mut budget)
    }

    fn behind(&mut self, time: Duration) {
        let budget = Budget::new(&self.halls.shared.clock, self.now().mono, time);
        self.halls.behind(self.now(), &budget);
    }
}

fn address(key: Key) -> SocketAddr {
    SocketAddr::from(([127, 0, (key.0 >> 8) as u8, key.0 as u8], 5000))
}

const OWN: Numbering = Numbering([Some((8, 9)), Some((4, 5)), None, None]);
const SOUND_ONLY: Numbering = Numbering([None, Some((0, 1)), None, None]);

impl Rig<Ways> {
    /// A viewer over TCP who plays from the newest key frame on.
    fn tcp(&mut self, program: ProgramId, numbering: Option<Numbering>, room: usize) -> Option<Key> {
        let (key, place) = self.seat(program, Protocol::Tcp)?;
        let pipe = Pipe::new(&self.clock, room);
        self.halls.sockets.insert(place, pipe.clone());
        self.pipes.insert(key, pipe);
        let start = self.halls.hall(program).and_then(|hall| hall.log.join_point());
        let start = start.unwrap_or(Position::at_chunk(0));
        self.halls.enter(key, Way::Tcp(place, numbering), start, self.now().mono);
        Some(key)
    }

    fn udp(&mut self, program: ProgramId) -> Option<Key> {
        let (key, _) = self.seat(program, Protocol::Udp)?;
        let start = self.halls.hall(program).and_then(|hall| hall.log.join_point());
        let start = start.unwrap_or(Position::at_chunk(0));
        let mut ports = [0; 2 * TRACKS_MAX];
        // All on one port: a test looks at what comes there.
        ports[..4].copy_from_slice(&[5000; 4]);
        self.halls.enter(key, Way::Udp(Destination::from(address(key)), ports), start, self.now().mono);
        Some(key)
    }

    fn settle(&mut self) {
        for _ in 0..200 {
            let more = self.live(Duration::from_secs(1));
            self.behind(Duration::from_secs(1));
            self.clock.pass(Duration::from_millis(2));
            if !more && self.halls.behind_at().is_none() {
                return;
            }
        }
        panic!("the halls come to no rest");
    }

    /// Sequence numbers and channels of the whole frames that a TCP viewer got, and whether its last one is cut.
    fn frames(&self, key: Key) -> (Vec<(u8, u16)>, bool) {
        let bytes = self.pipes[&key].bytes();
        let (mut frames, mut rest) = (Vec::new(), &bytes[..]);
        loop {
            // What a door said.
            rest = rest.strip_prefix(b"said").unwrap_or(rest);
            let [b'$', channel, high, low, payload @ ..] = rest else { break };
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            let Some(packet) = payload.get(..length) else { break };
            frames.push((*channel, u16::from_be_bytes([packet[2], packet[3]])));
            rest = &payload[length..];
        }
        (frames, !rest.is_empty())
    }
}

const PICTURE: [(u8, usize); 4] = [(0, 1200), (0, 1200), (0, 300), (1, 90)];

#[test]
fn a_viewer_of_each_kind_gets_what_it_chose() {
    let mut rig = Rig::<Ways>::new(10);
    rig.publish(PROGRAM, true, &PICTURE);
    let all = rig.tcp(PROGRAM, None, usize::MAX).unwrap();
    let own = rig.tcp(PROGRAM, Some(OWN), usize::MAX).unwrap();
    let sound = rig.tcp(PROGRAM, Some(SOUND_ONLY), usize::MAX).unwrap();
    let udp = rig.udp(PROGRAM).unwrap();
    rig.settle();
    rig.publish(PROGRAM, false, &PICTURE);
    rig.settle();
    let numbers = [0, 1, 2, 3, 100, 101, 102, 103];
    let channels = |by: [u8; 2]| numbers.map(|n| (by[usize::from(n % 100 == 3)], n)).to_vec();
    assert_eq!(rig.frames(all), (channels([0, 2]), false));
    assert_eq!(rig.frames(own), (channels([8, 4]), false));
    assert_eq!(rig.frames(sound), (vec![(0, 3), (0, 103)], false));
    let lengths = [1200, 1200, 300, 90];
    assert_eq!(rig.post.lengths(address(udp)), [lengths, lengths].concat());
    assert_eq!(rig.halls.stats.viewer_frames.value(), 8);
}

#[test]
fn a_frame_at_the_head_is_one_call_for_each_viewer_whatever_its_runs() {
    let mut rig = Rig::<Ways>::new(30);
    rig.publish(PROGRAM, true, &PICTURE);
    for _ in 0..10 {
        rig.tcp(PROGRAM, None, usize::MAX).unwrap();
        rig.tcp(PROGRAM, Some(OWN), usize::MAX).unwrap();
        rig.udp(PROGRAM).unwrap();
    }
    rig.settle();
    let (calls, datagram_calls) = (rig.halls.stats.send_calls.value(), rig.post.calls.get());
    rig.publish(PROGRAM, false, &PICTURE);
    assert!(!rig.live(Duration::from_secs(1)));
    assert_eq!(rig.halls.stats.send_calls.value() - calls, 30);
    assert_eq!(rig.post.calls.get() - datagram_calls, 10);
}

#[test]
fn serving_those_at_the_head_allocates_nothing() {
    let mut rig = Rig::<Ways>::new(100);
    rig.publish(PROGRAM, true, &PICTURE);
    for _ in 0..30 {
        rig.tcp(PROGRAM, None, usize::MAX).unwrap();
        rig.udp(PROGRAM).unwrap();
    }
    rig.settle();
    // The sockets of memory allocate: they are full, and those who wait stay where they are.
    rig.post.room.set(0);
    rig.publish(PROGRAM, false, &[(0, 1200), (0, 600)]);
    let hall = rig.halls.by_program.get_mut(&PROGRAM).unwrap();
    let (guard, log, audience) = hall.parts(&rig.halls.shared.clock, rig.clock.now());
    let mut budget = Budget::new(&rig.halls.shared.clock, rig.clock.now().mono, Duration::from_secs(1));
    let mut turn = Turn {
        now: rig.clock.now(),
        guard,
        log,
        viewers: &mut rig.halls.viewers,
        sockets: &mut rig.halls.sockets,
        stats: &rig.halls.stats,
        budget: &mut budget,
        patience: rig.halls.shared.patience,
        lost: &mut rig.halls.lost,
    };
    let allocations = allocation_counter::measure(|| {
        let first = audience.udp.live(&mut turn);
        assert_eq!(first, Progress::Full);
    });
    assert_eq!(allocations.count_total, 0);
}

/// A large audience gives way to another program's, and a turn has a bound.
#[test]
fn a_large_audience_does_not_make_another_wait_for_all_of_it() {
    let mut rig = Rig::<Ways>::new(1000);
    for program in [PROGRAM, OTHER] {
        rig.publish(program, true, &PICTURE);
    }
    for _ in 0..400 {
        rig.tcp(PROGRAM, None, usize::MAX).unwrap();
        rig.udp(PROGRAM).unwrap();
    }
    let watched = [rig.tcp(OTHER, None, usize::MAX).unwrap(), rig.udp(OTHER).unwrap()];
    rig.settle();
    rig.publish(PROGRAM, false, &PICTURE);
    rig.publish(OTHER, false, &PICTURE);
    let before = rig.halls.stats.send_calls.value();
    // Each look at the clock takes 50 µs: with one every 8 sends, a slice of 500 µs is at most some 90 sends.
    rig.clock.step(50);
    assert!(rig.live(Duration::from_millis(2)), "800 viewers are too many for 2 ms");
    let sends = rig.halls.stats.send_calls.value() - before;
    assert!((20..400).contains(&sends), "{sends} sends in one turn");
    assert_eq!(rig.frames(watched[0]).0.len(), 8, "the small audience has its frame in the first turn");
    assert_eq!(rig.post.lengths(address(watched[1])).len(), 8);
    let mut turns = 1;
    while rig.live(Duration::from_millis(2)) {
        turns += 1;
        assert!(turns < 100, "it comes to no end");
    }
    assert_eq!(rig.halls.stats.send_calls.value() - before, 802, "and nobody is left out");
}

/// Neither transport waits until all of the other are served.
#[test]
fn the_viewers_of_one_transport_do_not_wait_for_all_of_the_other() {
    for (crowd, few) in [(Protocol::Udp, Protocol::Tcp), (Protocol::Tcp, Protocol::Udp)] {
        let mut rig = Rig::<Ways>::new(1000);
        rig.publish(PROGRAM, true, &PICTURE);
        let enter = |rig: &mut Rig<Ways>, protocol| match protocol {
            Protocol::Tcp => rig.tcp(PROGRAM, None, usize::MAX).unwrap(),
            Protocol::Udp => rig.udp(PROGRAM).unwrap(),
        };
        (0..800).for_each(|_| _ = enter(&mut rig, crowd));
        let watched = enter(&mut rig, few);
        rig.settle();
        rig.publish(PROGRAM, false, &PICTURE);
        rig.clock.step(50);
        assert!(rig.live(Duration::from_millis(2)));
        let got = match few {
            Protocol::Tcp => rig.frames(watched).0.len(),
            Protocol::Udp => rig.post.lengths(address(watched)).len(),
        };
        assert_eq!(got, 8, "{few:?} beside 800 of {crowd:?}");
    }
}

/// Joiners are served in turn as far as the budget goes.
#[test]
fn a_crowd_that_catches_up_keeps_to_the_budget() {
    let mut rig = Rig::<Ways>::new(1000);
    (0..20).for_each(|index| rig.publish(PROGRAM, index == 0, &PICTURE));
    for _ in 0..300 {
        rig.tcp(PROGRAM, None, usize::MAX).unwrap();
        rig.udp(PROGRAM).unwrap();
    }
    rig.clock.step(50);
    let before = rig.halls.stats.send_calls.value();
    rig.behind(Duration::from_millis(1));
    let calls = rig.halls.stats.send_calls.value() - before;
    assert!((1..200).contains(&calls), "{calls} calls in 1 ms with a look of 50 µs after each viewer");
    assert!(rig.halls.behind_at().is_some_and(|at| at <= rig.now().mono), "the others come next, at once");
    rig.clock.step(0);
    rig.settle();
    assert!(rig.pipes.keys().all(|key| rig.frames(*key).0.len() == 80));
}

/// A turn that has no time left serves one of them all the same: a flood of requests must not keep everybody from catching up.
#[test]
fn somebody_catches_up_in_a_turn_without_time() {
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let mut rig = Rig::<Ways>::new(10);
        rig.publish(PROGRAM, true, &PICTURE);
        let viewer = match protocol {
            Protocol::Tcp => rig.tcp(PROGRAM, None, usize::MAX).unwrap(),
            Protocol::Udp => rig.udp(PROGRAM).unwrap(),
        };
        rig.behind(Duration::ZERO);
        let got = rig
            .pipes
            .get(&viewer)
            .map_or_else(|| rig.post.lengths(address(viewer)).len(), |pipe| pipe.bytes().len());
        assert!(got > 0, "{protocol:?}");
    }
}

#[test]
fn a_route_without_segmentation_costs_nobody_else_theirs() {
    let mut rig = Rig::<Ways>::new(10);
    rig.publish(PROGRAM, true, &[(0, 1200), (0, 1200)]);
    let viewers = [0; 3].map(|_| rig.udp(PROGRAM).unwrap());
    rig.settle();
    let calls = rig.post.calls.get();
    // The first viewer's route refuses a train, for good.
    rig.post.failing.set((libc::EIO, 1));
    rig.publish(PROGRAM, false, &[(0, 1200), (0, 1200)]);
    rig.live(Duration::from_secs(1));
    assert_eq!(rig.post.calls.get() - calls, 1 + 2 + 1 + 1, "a refused train, two packets, two trains");
    let calls = rig.post.calls.get();
    rig.publish(PROGRAM, false, &[(0, 1200), (0, 1200)]);
    rig.live(Duration::from_secs(1));
    assert_eq!(rig.post.calls.get() - calls, 2 + 1 + 1);
    assert!(viewers.iter().all(|viewer| rig.post.lengths(address(*viewer)).len() == 6));
    assert_eq!(rig.halls.stats.unsegmented_routes.value(), 1);
}

/// Only what an ICMP answer leaves behind is tried again: a full queue would be filled threefold.
#[test]
fn a_send_that_fails_for_its_own_sake_is_not_repeated() {
    let mut rig = Rig::<Ways>::new(10);
    rig.publish(PROGRAM, true, &[(0, 1200)]);
    let viewer = rig.udp(PROGRAM).unwrap();
    rig.settle();
    for (errno, calls) in [(libc::ENOBUFS, 1), (libc::EPERM, 1), (libc::ECONNREFUSED, 2)] {
        rig.post.failing.set((errno, 1));
        let before = rig.post.calls.get();
        rig.publish(PROGRAM, false, &[(0, 1200)]);
        rig.live(Duration::from_secs(1));
        assert_eq!(rig.post.calls.get() - before, calls, "errno {errno}");
    }
    assert_eq!(rig.post.lengths(address(viewer)).len(), 2, "two were lost, one came at the second try");
}

#[test]
fn the_rest_of_a_packet_does_not_leave_after_the_end_by_any_path() {
    let mut rig = Rig::<Ways>::new(10);
    rig.publish(PROGRAM, true, &PICTURE);
    let stays = rig.tcp(PROGRAM, None, 700).unwrap();
    let paused = rig.tcp(PROGRAM, None, 700).unwrap();
    rig.settle();
    let opening = rig.halls.hall(PROGRAM).unwrap().opening();
    // One pauses in the middle of a packet: its door finishes the packet before it answers.
    rig.halls.leave(paused);
    let place = |rig: &Rig<Ways>, key| rig.halls.viewer(key).unwrap().connection.place();
    let (of_stays, of_paused) = (place(&rig, stays), place(&rig, paused));
    rig.halls.outbox(of_paused).unwrap().push_control(b"said");
    rig.clock.pass(Duration::from_secs(SECONDS));
    for key in [stays, paused] {
        rig.pipes[&key].room.set(usize::MAX);
    }
    // Every path by which bytes leave, before anybody has looked at the gates, and after it.
    for _ in 0..2 {
        let now = rig.now();
        for place in [of_stays, of_paused] {
            assert!(rig.halls.flush(place, Some(opening), now).is_err(), "its framing is lost");
        }
        rig.halls.writable(stays, now.mono);
        rig.behind(Duration::from_secs(1));
        rig.live(Duration::from_secs(1));
        rig.halls.close_gates(now);
    }
    for key in [stays, paused] {
        assert_eq!(rig.pipes[&key].bytes().len(), 700);
    }
    let leaving = [(); 3].map(|()| rig.halls.next_to_leave());
    assert!(leaving.contains(&Some(stays)) && leaving.contains(&Some(paused)), "{leaving:?}");
}

/// The end comes while a frame is on its way to many: those who come after it get nothing.
#[test]
fn the_end_stops_a_pass_between_two_viewers() {
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let mut rig = Rig::<Ways>::new(100);
        rig.publish(PROGRAM, true, &[(0, 500)]);
        let enter = |rig: &mut Rig<Ways>| match protocol {
            Protocol::Tcp => rig.tcp(PROGRAM, None, usize::MAX).unwrap(),
            Protocol::Udp => rig.udp(PROGRAM).unwrap(),
        };
        let viewers: Vec<Key> = (0..100).map(|_| enter(&mut rig)).collect();
        rig.settle();
        let passed = rig.now().mono.saturating_duration_since(rig.began);
        rig.clock.pass(Duration::from_secs(SECONDS) - passed - Duration::from_micros(1000));
        rig.publish(PROGRAM, false, &[(0, 500)]);
        rig.clock.step(20);
        rig.live(Duration::from_secs(1));
        let got = |viewer: &&Key| match protocol {
            Protocol::Tcp => rig.frames(**viewer).0.len() == 2,
            Protocol::Udp => rig.post.lengths(address(**viewer)).len() == 2,
        };
        let served = viewers.iter().filter(got).count();
        assert!((5..60).contains(&served), "{served} of 100 {protocol:?} viewers in the last millisecond");
        assert_eq!(rig.halls.stats.late_sends.value(), 0);
    }
}

/// An audience without sockets or protocol: it notes what it is given.
#[derive(Default)]
struct Tally {
    chunks: BTreeMap<Key, (u64, u64)>,
    came: u64,
    cut: u64,
}

impl Audience<Memory> for Tally {
    type Way = ();

    fn enter(&mut self, viewer: Key, (): (), start: Position, _now: Instant) {
        self.chunks.insert(viewer, (start.chunk, 0));
    }

    fn leave(&mut self, viewer: Key) {
        self.chunks.remove(&viewer);
    }

    fn chunk_came(&mut self) {
        self.came += 1;
    }

    fn live(&mut self, turn: &mut Turn<'_, Memory>) -> Progress {
        for (next, had) in self.chunks.values_mut() {
            while let Some(chunk) = turn.log.chunk(*next).filter(|_| turn.guard.may_send()) {
                (*next, *had) = (chunk.index() + 1, *had + 1);
                if !turn.budget.goes_on() {
                    return Progress::More;
                }
            }
        }
        Progress::Done
    }

    fn behind(&mut self, _turn: &mut Turn<'_, Memory>) -> Option<Instant> {
        None
    }

    fn look_at_slow(&mut self, _turn: &mut Turn<'_, Memory>) {}

    fn cut(&mut self, _sockets: &mut Sockets<Memory>) {
        self.chunks.clear();
        self.cut += 1;
    }

    fn writable(&mut self, _viewer: Key) {}

    fn full(&mut self, _viewer: Key, _now: Instant) {}

    fn next_of(&self, viewer: Key, _track: u8, _log: &ChannelLog) -> Option<Position> {
        self.chunks.get(&viewer).map(|(next, _)| Position::at_chunk(*next))
    }

    fn took_at(&self, _viewer: Key) -> Option<Instant> {
        None
    }
}

/// Seats, budget, the end and goodbyes are the hall's, whatever stands in it.
#[test]
fn a_hall_keeps_its_promises_for_any_audience() {
    let mut rig = Rig::<Tally>::new(2);
    rig.publish(PROGRAM, true, &PICTURE);
    let keys = [0; 2].map(|_| rig.seat(PROGRAM, Protocol::Tcp).unwrap().0);
    assert!(rig.seat(PROGRAM, Protocol::Tcp).is_none(), "a third of two seats");
    for key in keys {
        assert!(rig.halls.enter(key, (), Position::at_chunk(0), rig.now().mono).is_some());
    }
    rig.publish(PROGRAM, false, &PICTURE);
    rig.clock.step(1000);
    assert!(rig.live(Duration::from_micros(1)), "one step, and the budget is over");
    rig.clock.step(0);
    assert!(!rig.live(Duration::from_secs(1)));
    let tally = |rig: &Rig<Tally>| rig.halls.hall(PROGRAM).unwrap().audience.chunks.clone();
    assert_eq!(tally(&rig).values().map(|(_, had)| *had).collect::<Vec<_>>(), [2, 2]);
    assert_eq!(rig.halls.census().values().copied().collect::<Vec<_>>(), [2]);
    assert!(rig.halls.kick(PROGRAM, keys[0]));
    rig.halls.unseat(keys[0]).unwrap();
    let again = rig.seat(PROGRAM, Protocol::Tcp).unwrap().0;
    rig.clock.pass(Duration::from_secs(SECONDS));
    rig.halls.close_gates(rig.now());
    rig.publish(PROGRAM, false, &PICTURE);
    assert!(rig.halls.hall(PROGRAM).is_none(), "the program is over");
    let left: Vec<Key> = std::iter::from_fn(|| {
        let key = rig.halls.next_to_leave()?;
        let viewer = rig.halls.unseat(key)?;
        assert_eq!(viewer.farewell.unwrap().reason, Reason::ProgramEnded);
        Some(key)
    })
    .collect();
    assert_eq!(left.into_iter().collect::<std::collections::BTreeSet<_>>(), [keys[1], again].into());
    assert_eq!(rig.halls.shared.programs.program(PROGRAM).unwrap().gate.viewers(), 0);
    assert_eq!(rig.halls.newly_watched(), Some(HashSet::new()));
}

/// What a random schedule does.
#[derive(Clone, Debug)]
enum Step {
    Publish {
        other: bool,
        key: bool,
        packets: Vec<(u8, usize)>,
    },
    EnterTcp {
        other: bool,
        numbering: u8,
        room: usize,
    },
    EnterUdp {
        other: bool,
    },
    Leave(usize),
    Room {
        viewer: usize,
        bytes: usize,
    },
    DatagramRoom(usize),
    Say(usize),
    Live(u64),
    Behind(u64),
    Tick,
    Goodbyes(usize),
    Kick(usize),
    Change {
        other: bool,
    },
    Withdraw {
        other: bool,
    },
    Gates,
    Pass(u64),
    /// To so many microseconds before the programs' end.
    PassToEnd(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let packets = proptest::collection::vec((0u8..2, 12usize..1400), 1..12);
    let step = prop_oneof![
        6 => (any::<bool>(), any::<bool>(), packets)
            .prop_map(|(other, key, packets)| Step::Publish { other, key, packets }),
        3 => (any::<bool>(), 0u8..3, 0usize..6000)
            .prop_map(|(other, numbering, room)| Step::EnterTcp { other, numbering, room }),
        2 => any::<bool>().prop_map(|other| Step::EnterUdp { other }),
        1 => any::<usize>().prop_map(Step::Leave),
        5 => (any::<usize>(), 0usize..9000).prop_map(|(viewer, bytes)| Step::Room { viewer, bytes }),
        2 => (0usize..30).prop_map(Step::DatagramRoom),
        2 => any::<usize>().prop_map(Step::Say),
        5 => (0u64..3000).prop_map(Step::Live),
        5 => (0u64..3000).prop_map(Step::Behind),
        1 => Just(Step::Tick),
        2 => (0usize..4).prop_map(Step::Goodbyes),
        1 => any::<usize>().prop_map(Step::Kick),
        1 => any::<bool>().prop_map(|other| Step::Change { other }),
        1 => any::<bool>().prop_map(|other| Step::Withdraw { other }),
        2 => Just(Step::Gates),
        3 => (0u64..4000).prop_map(Step::Pass),
        1 => (0u64..600).prop_map(Step::PassToEnd),
    ];
    proptest::collection::vec(step, 1..150)
}

/// The doors' part of a schedule, and when each program ended by its gate.
struct Schedule {
    rig: Rig<Ways>,
    /// Connections by viewer: place, opening, program.
    known: Vec<(Key, usize, Option<Opening>, ProgramId)>,
    /// When a program's gate closed for another reason than its time.
    closed: BTreeMap<ProgramId, Now>,
}

impl Schedule {
    fn program(other: bool) -> ProgramId {
        if other { OTHER } else { PROGRAM }
    }

    fn viewer(&self, which: usize) -> Option<(Key, usize, Option<Opening>)> {
        let count = self.known.len();
        (count > 0).then(|| self.known[which % count]).map(|(key, place, opening, _)| (key, place, opening))
    }

    fn enter(&mut self, key: Option<Key>, program: ProgramId) {
        let Some(key) = key else { return };
        let place = self.rig.halls.viewer(key).unwrap().connection.place();
        let opening = self.rig.halls.hall(program).map(Hall::opening);
        self.known.push((key, place, opening, program));
    }

    fn step(&mut self, step: &Step) {
        let now = self.rig.now();
        match step {
            Step::Publish { other, key, packets } => {
                self.rig.publish(Self::program(*other), *key, packets);
            }
            Step::EnterTcp { other, numbering, room } => {
                let program = Self::program(*other);
                if self.rig.halls.hall(program).is_none() {
                    // A door lets nobody in whose program sends nothing.
                    return;
                }
                let numbering = [None, Some(OWN), Some(SOUND_ONLY)][usize::from(*numbering)];
                let key = self.rig.tcp(program, numbering, *room);
                self.enter(key, program);
            }
            Step::EnterUdp { other } => {
                let program = Self::program(*other);
                if self.rig.halls.hall(program).is_some() {
                    let key = self.rig.udp(program);
                    self.enter(key, program);
                }
            }
            Step::Leave(which) => {
                if let Some((key, ..)) = self.viewer(*which) {
                    self.rig.halls.unseat(key);
                }
            }
            Step::Room { viewer, bytes } => {
                let Some((key, ..)) = self.viewer(*viewer) else { return };
                if let Some(pipe) = self.rig.pipes.get(&key) {
                    pipe.room.set(*bytes);
                    self.rig.halls.writable(key, now.mono);
                }
            }
            Step::DatagramRoom(room) => {
                self.rig.post.room.set(*room);
                self.rig.halls.room_again();
            }
            Step::Say(which) => {
                let Some((key, place, opening)) = self.viewer(*which) else { return };
                if let Some(outbox) = self.rig.halls.outbox(place) {
                    outbox.push_control(b"said");
                }
                if matches!(self.rig.halls.flush(place, opening, now), Ok(false)) {
                    self.rig.halls.full(key, now.mono);
                }
            }
            Step::Live(micros) => _ = self.rig.live(Duration::from_micros(*micros)),
            Step::Behind(micros) => self.rig.behind(Duration::from_micros(*micros)),
            Step::Tick => self.rig.halls.tick(now),
            Step::Goodbyes(count) => {
                for _ in 0..*count {
                    let Some(key) = self.rig.halls.next_to_leave() else { return };
                    self.rig.halls.unseat(key);
                }
            }
            Step::Kick(which) => {
                if let Some((key, ..)) = self.viewer(*which) {
                    let program = self.rig.halls.viewer(key).map(|viewer| viewer.program);
                    program.map(|program| self.rig.halls.kick(program, key));
                }
            }
            Step::Change { other } => {
                *self.rig.streams.entry(Self::program(*other)).or_insert(1) += 1;
            }
            Step::Withdraw { other } => {
                let program = Self::program(*other);
                let gate = &self.rig.halls.shared.programs.program(program).unwrap().gate;
                if gate.close_as(Cut::Withdrawn) {
                    self.closed.insert(program, now);
                }
            }
            Step::Gates => self.rig.halls.close_gates(now),
            Step::PassToEnd(micros) => {
                let end = self.rig.began + Duration::from_secs(SECONDS);
                let left = end.saturating_duration_since(now.mono);
                self.rig.clock.pass(left.saturating_sub(Duration::from_micros(*micros)));
            }
            Step::Pass(millis) => self.rig.clock.pass(Duration::from_millis(*millis)),
        }
    }

    /// Whether media of `program` may have left at `at`: the clock may have moved by a step between look and send.
    fn may_leave(&self, program: ProgramId, at: Now) -> bool {
        let gate = &self.rig.halls.shared.programs.program(program).unwrap().gate;
        let by =
            |end: slotcast_core::time::WallTime| at.wall <= end.saturating_add(Duration::from_micros(STEP));
        by(gate.end()) && self.closed.get(&program).is_none_or(|closed| by(closed.wall))
    }

    fn check(&self) -> Result<(), TestCaseError> {
        prop_assert_eq!(self.rig.halls.stats.late_sends.value(), 0);
        for (key, _, _, program) in &self.known {
            if let Some(pipe) = self.rig.pipes.get(key) {
                for (at, bytes) in pipe.taken.borrow().iter() {
                    let is_media = !bytes.iter().all(|byte| b"said".contains(byte));
                    prop_assert!(!is_media || self.may_leave(*program, *at), "media at {:?}", at.wall);
                }
                let (frames, _) = self.rig.frames(*key);
                for channel in 0..10 {
                    let numbers: Vec<u16> =
                        frames.iter().filter(|(c, _)| *c == channel).map(|(_, n)| *n).collect();
                    prop_assert!(numbers.is_sorted_by(|a, b| a < b), "channel {channel}: {numbers:?}");
                }
            }
            for (at, _) in self.rig.post.taken.borrow().get(&address(*key)).into_iter().flatten() {
                prop_assert!(self.may_leave(*program, *at), "a datagram at {:?}", at.wall);
            }
        }
        Ok(())
    }
}

/// How far the clock moves with each look, in microseconds.
const STEP: u64 = 20;

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Over random schedules, with sockets that take bytes when they like: no media leaves after the gate closed, not even the
    /// rest of a packet that was begun; a TCP viewer gets whole frames in order; no send is late; nobody's seat is lost.
    #[test]
    fn no_media_leaves_after_the_gate_closed(steps in steps()) {
        let rig = Rig::<Ways>::new(20);
        rig.clock.step(STEP as i64);
        let mut schedule = Schedule { rig, known: Vec::new(), closed: BTreeMap::new() };
        for step in &steps {
            schedule.step(step);
        }
        schedule.check()?;
        schedule.rig.clock.pass(Duration::from_secs(SECONDS));
        for pipe in schedule.rig.pipes.values() {
            pipe.room.set(usize::MAX);
        }
        schedule.rig.post.room.set(usize::MAX);
        let late: Vec<Step> = (0..schedule.known.len())
            .flat_map(|which| [Step::Say(which), Step::Room { viewer: which, bytes: usize::MAX }])
            .chain([Step::DatagramRoom(usize::MAX), Step::Live(5000), Step::Behind(5000), Step::Gates])
            .chain((0..schedule.known.len()).map(Step::Say))
            .chain([Step::Live(5000), Step::Behind(5000), Step::Tick, Step::Goodbyes(usize::MAX)])
            .collect();
        for step in &late {
            schedule.step(step);
        }
        schedule.check()?;
        prop_assert!(schedule.rig.halls.viewers().is_empty(), "everybody is told");
        for program in [PROGRAM, OTHER] {
            prop_assert_eq!(schedule.rig.halls.shared.programs.program(program).unwrap().gate.viewers(), 0);
        }
    }
}
