//! Walks every order of what links and the operator may do at the desk, up to a depth, and looks at the rules after each.
//!
//! The desk cannot be copied, so each order is played from the start: short orders, each with a desk of its own.

use slotcast_admission::{Cut, Programs as _, Reason};
use slotcast_core::words::ProgramId;
use slotcast_desk::{Fate, Pass, ToLink};

use crate::studio::{ID, NEXT_ID, Studio, ip, ms, picture, program, secs, this_hour, video};

/// Links, each with an address of its own; the last is the other program's.
const LINKS: usize = 3;
const LINES: u32 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Admit(usize),
    Begin(usize),
    Send(usize),
    Pause(usize),
    Drop(usize),
    /// The operator's: program 1 leaves the timetable, or comes back.
    Withdraw,
    Return,
    /// Longer than any protection of a link that took over.
    Wait,
}

const ACTS: [Act; 3 * LINKS + 3 + 4] = [
    Act::Admit(0),
    Act::Admit(1),
    Act::Admit(2),
    Act::Begin(0),
    Act::Begin(1),
    Act::Begin(2),
    Act::Send(0),
    Act::Send(1),
    Act::Send(2),
    Act::Drop(0),
    Act::Drop(1),
    Act::Drop(2),
    Act::Pause(0),
    Act::Withdraw,
    Act::Return,
    Act::Wait,
];

/// What the rules say, in a form that is easily right.
#[derive(Clone, Debug, Default)]
struct Model {
    /// By program: the link that holds it.
    holders: [Option<usize>; 2],
    /// By link: whether its media is taken.
    begun: [bool; LINKS],
    is_withdrawn: bool,
}

struct Walk {
    studio: Studio,
    passes: [Option<Pass>; LINKS],
    model: Model,
    number: u16,
}

fn program_of(link: usize) -> usize {
    usize::from(link == LINKS - 1)
}

impl Walk {
    fn new() -> Self {
        let mut studio = Studio::with(vec![this_hour(), the_next()], ms(0), |config| config.lines = LINES);
        studio.set_wall("10:56:00");
        Self { studio, passes: [const { None }; LINKS], model: Model::default(), number: 0 }
    }

    fn can(&self, act: Act) -> bool {
        match act {
            Act::Admit(link) => self.passes[link].is_none(),
            Act::Begin(link) | Act::Send(link) | Act::Pause(link) | Act::Drop(link) => {
                self.passes[link].is_some()
            }
            Act::Withdraw => !self.model.is_withdrawn,
            Act::Return => self.model.is_withdrawn,
            Act::Wait => true,
        }
    }

    /// Does `act` and compares what came of it.
    fn step(&mut self, act: Act) {
        match act {
            Act::Admit(link) => self.admit(link),
            Act::Begin(link) => {
                let Some(pass) = &self.passes[link] else { return };
                self.studio.begin(pass, video());
                self.model.begun[link] = self.model.holders[program_of(link)] == Some(link);
            }
            Act::Send(link) => self.send(link),
            Act::Pause(link) => {
                let Some(pass) = &self.passes[link] else { return };
                self.studio.pause(pass);
                self.model.begun[link] = false;
            }
            Act::Drop(link) => {
                self.passes[link] = None;
                self.leave(link);
            }
            Act::Withdraw | Act::Return => {
                self.model.is_withdrawn = act == Act::Withdraw;
                let all = [this_hour(), the_next()];
                let rest = usize::from(self.model.is_withdrawn);
                self.studio.publish(all[rest..].to_vec());
                if let Some(link) = self.model.holders[0].filter(|_| self.model.is_withdrawn) {
                    self.leave(link);
                }
            }
            Act::Wait => self.studio.pass(secs(1)),
        }
        self.studio.pass(ms(100));
    }

    fn admit(&mut self, link: usize) {
        let program = program_of(link);
        let id = [ID, NEXT_ID][program];
        let held = self.model.holders.iter().flatten().count();
        let decision = self.studio.admit(id, ip(link as u8), &video());
        let is_known = program == 1 || !self.model.is_withdrawn;
        let has_line = held < LINES as usize || self.model.holders[program].is_some();
        match decision {
            Ok(pass) => {
                assert!(is_known && has_line, "let in against the rules");
                if let Some(older) = self.model.holders[program] {
                    self.leave(older);
                }
                self.model.holders[program] = Some(link);
                self.passes[link] = Some(pass);
            }
            Err(refusal) => match refusal.reason {
                Reason::IdWrong => assert!(!is_known),
                Reason::LinesTaken => assert!(is_known && !has_line),
                Reason::LinkContested => assert!(self.model.holders[program].is_some()),
                other => panic!("{other:?}"),
            },
        }
    }

    fn send(&mut self, link: usize) {
        let Some(pass) = &self.passes[link] else { return };
        self.number += 1;
        let fate = self.studio.rtp(pass, 0, &picture(link as u32, self.number));
        assert_eq!(fate == Fate::Taken, self.model.begun[link], "link {link}: {fate:?}");
        self.studio.pass(ms(1));
        let is_on_air = program_of(link) == 0;
        let published = self.studio.chunks().iter().filter(|chunk| chunk.packets()[0].is_rtp()).count();
        // A packet of another SSRC waits for the one before to fall silent.
        assert!(published <= usize::from(self.model.begun[link] && is_on_air), "link {link}");
    }

    fn leave(&mut self, link: usize) {
        self.model.begun[link] = false;
        let program = program_of(link);
        if self.model.holders[program] == Some(link) {
            self.model.holders[program] = None;
        }
    }

    fn check(&self) {
        let held = self.model.holders.iter().flatten().count();
        assert_eq!(self.studio.lines(), held as u64, "lines");
        assert!(held <= LINES as usize);
        for (link, pass) in self.passes.iter().enumerate() {
            let Some(pass) = pass else { continue };
            let ends = self
                .studio
                .told
                .iter()
                .filter(|word| matches!(word, ToLink::End { pass: of, .. } if *of == pass.id()));
            let holds = self.model.holders[program_of(link)] == Some(link);
            assert_eq!(
                ends.count(),
                usize::from(!holds),
                "link {link} is told once that its pass is worth nothing"
            );
        }
    }
}

fn the_next() -> slotcast_admission::ProgramSpec {
    program(2, "11:00:00", "12:00:00", NEXT_ID)
}

/// Plays `order`, and all that can follow in up to `depth` more acts; returns how many orders there were.
fn walk(order: &mut Vec<Act>, depth: usize) -> usize {
    let mut last = Walk::new();
    for act in &*order {
        last.step(*act);
        last.check();
    }
    let mut walked = 1;
    for act in ACTS.into_iter().filter(|act| depth > 0 && last.can(*act)) {
        order.push(act);
        walked += walk(order, depth - 1);
        order.pop();
    }
    walked
}

#[test]
fn no_order_of_links_and_operator_breaks_the_rules() {
    let walked = walk(&mut Vec::new(), 4);
    assert!(walked > 1_000, "only {walked} orders");
}

#[test]
fn a_program_that_is_stopped_takes_no_link_until_it_is_another() {
    let mut studio = Studio::new();
    studio.timetable.program(ProgramId(1)).unwrap().gate.close_as(Cut::Stopped);
    assert_eq!(studio.refused(ID, ip(1)), Reason::LinkStopped);
    assert_eq!(studio.lines(), 0);
}
