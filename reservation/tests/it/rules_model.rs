//! The booking rules against a small reference model: random commands, and after each what must always hold.
//!
//! The model knows six phases, a set of taken slots and what each member owes; it is written from the product's
//! description, not from the rules.

use std::{collections::BTreeMap, time::Duration};

use proptest::prelude::*;
use slotcast_core::{
    time::WallTime,
    words::{BitRate, ChannelNumber, ConnectMargins, OpenLevel, Seats, Toll, Window},
};
use slotcast_reservation::domain::{
    effects::{Account, Effects, PaymentKind, PaymentRequest, SlotChange},
    member::{Card, Member, MemberKind, PasswordHash},
    refusal::Refusal,
    reservation::{
        CancelledBy, ProgramDetails, Reservation, ReservationIdHash, Settlement, SoldChannel, State,
    },
    rules::{self, AfterDecline, BookingFacts, Draft, Rules},
    words::{Language, MemberNumber, ReservationNumber},
};
use slotcast_reservation::limits::GATHER_USUAL;

const SLOT: i64 = 600;
const TOLL: u64 = 1_000;
const MONTH_MAX: u32 = 12;
const MEMBERS: usize = 3;
const CHANNELS: u16 = 2;
/// 2026-11-22T12:00:00Z
const BEGIN: i64 = 1_795_348_800;

fn at(seconds: i64) -> WallTime {
    WallTime::from_micros(seconds * 1_000_000)
}

fn the_rules() -> Rules {
    let hours = |hours: u64| Duration::from_secs(hours * 3600);
    Rules {
        slot: Duration::from_secs(SLOT as u64),
        currency: "JPY".parse().unwrap(),
        reconfirm_before: hours(6),
        reconfirm_grace: Duration::from_secs(600),
        remind_before: hours(18),
        hold: Duration::from_secs(900),
        month_slots_max: MONTH_MAX,
        slots_max: 6,
        ahead_max: hours(24 * 5),
        extend_from: Duration::from_secs(600),
        zone: jiff::tz::TimeZone::UTC,
        margins: ConnectMargins::default(),
        public_to_members_only: false,
        list_unconfirmed: true,
        normal_share_min: 950,
        verify_email: false,
        friends_max: 50,
        uplink: None,
    }
}

fn member(index: usize) -> Member {
    Member {
        number: MemberNumber(index as i64 + 1),
        user_id: format!("member{index}").parse().unwrap(),
        name: "Name".into(),
        reading: "Reading".into(),
        email: format!("member{index}@example.com").parse().unwrap(),
        is_email_verified: false,
        new_email: None,
        email_public: false,
        web: None,
        language: Language::English,
        kind: MemberKind::Premium,
        is_operator: false,
        is_blocked: false,
        password_hash: PasswordHash("x".into()),
        contact: None,
        card: Some(Card {
            token: "t".into(),
            brand: "invoice".into(),
            last_four: String::new(),
            expires: None,
        }),
        terminal_key: None,
        registered_at: at(BEGIN),
        version: 1,
    }
}

fn channel(number: u16) -> SoldChannel {
    SoldChannel {
        number: ChannelNumber(number),
        name: format!("channel{number}").parse().unwrap(),
        seats: Seats::new(5).unwrap(),
        class: BitRate::new(64_000).unwrap(),
        toll: Toll(TOLL),
        gather: GATHER_USUAL,
        is_retired: false,
        version: 1,
    }
}

fn program() -> ProgramDetails {
    ProgramDetails {
        title: "Title".into(),
        genre: String::new(),
        outline: String::new(),
        details: String::new(),
        open_level: OpenLevel::Public,
        password: None,
        show_email: false,
        show_web: false,
        friends: vec!["friend@example.com".parse().unwrap()],
    }
}

#[derive(Clone, Debug)]
enum Command {
    Book {
        member: usize,
        channel: u16,
        first: i64,
        count: i64,
        shift: i64,
    },
    Accept(usize),
    Reconfirm {
        which: usize,
        right: bool,
    },
    Change(usize),
    Cancel {
        which: usize,
        by_operator: bool,
        /// How the server ran since the program began, in thousandths.
        normal: u64,
    },
    Extend {
        which: usize,
        count: u32,
    },
    EndEarly(usize),
    /// The payment company lets the hold of the reconfirmation go.
    LetGo(usize),
    /// Time goes on, and nobody has looked yet at what is due: late attempts must be refused all the same.
    Sleep(i64),
    /// Time goes on by so many seconds, then what is due happens; `normal`: how the server ran, in thousandths.
    /// `card`: what the members' cards say.
    Wait {
        seconds: i64,
        normal: u64,
        card: bool,
    },
}

fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        4 => (0..MEMBERS, 1..=CHANNELS, -2..60i64, 1..8i64, prop_oneof![9 => Just(0i64), 1 => Just(1i64)])
            .prop_map(|(member, channel, first, count, shift)| Command::Book { member, channel, first, count, shift }),
        4 => (0..8usize).prop_map(Command::Accept),
        4 => (0..8usize, prop::bool::weighted(0.9)).prop_map(|(which, right)| Command::Reconfirm { which, right }),
        1 => (0..8usize).prop_map(Command::Change),
        1 => (0..8usize, any::<bool>(), 900..=1000u64)
            .prop_map(|(which, by_operator, normal)| Command::Cancel { which, by_operator, normal }),
        2 => (0..8usize, 0..4u32).prop_map(|(which, count)| Command::Extend { which, count }),
        1 => (0..8usize).prop_map(Command::EndEarly),
        2 => (0..8usize).prop_map(Command::LetGo),
        2 => prop_oneof![Just(599i64), Just(600), Just(899), Just(900), 1..5_000i64].prop_map(Command::Sleep),
        4 => (prop_oneof![Just(0i64), 1..700i64, 700..20_000i64], 940..=1000u64, any::<bool>())
            .prop_map(|(seconds, normal, card)| Command::Wait { seconds, normal, card }),
    ]
}

/// What the product's description says of one reservation, in the simplest words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Held { until: i64 },
    Registered { until: i64 },
    Confirmed,
    OnAir,
    Over { charged: bool },
    Cancelled,
}

#[derive(Clone, Debug)]
struct Modelled {
    member: usize,
    channel: u16,
    start: i64,
    end: i64,
    phase: Phase,
    held_money: i64,
    owed: i64,
    /// The hold was let go: when it is asked for again, and how often the card said no already.
    asked_again: Option<(i64, u32)>,
}

struct World {
    rules: Rules,
    now: i64,
    real: Vec<Reservation>,
    slots: BTreeMap<(u16, i64), ReservationNumber>,
    model: Vec<Modelled>,
    accounts: BTreeMap<Account, i64>,
    keys: Vec<String>,
    holds: BTreeMap<ReservationNumber, Vec<PaymentRequest>>,
    collected: i64,
}

impl World {
    fn new() -> Self {
        Self {
            rules: the_rules(),
            now: BEGIN,
            real: Vec::new(),
            slots: BTreeMap::new(),
            model: Vec::new(),
            accounts: BTreeMap::new(),
            keys: Vec::new(),
            holds: BTreeMap::new(),
            collected: 0,
        }
    }

    fn wall(&self) -> WallTime {
        at(self.now)
    }

    /// Does what a store does with effects.
    fn write(&mut self, effects: Effects) {
        let reservation = effects.reservation;
        match effects.slots {
            SlotChange::Keep => {}
            SlotChange::Take(starts) => {
                for start in starts {
                    let place = (reservation.channel.0, start.as_micros() / 1_000_000);
                    assert_eq!(self.slots.insert(place, reservation.number), None, "a slot was sold twice");
                }
            }
            SlotChange::FreeFrom(from) => {
                let from = from.as_micros() / 1_000_000;
                self.slots.retain(|(_, start), holder| *holder != reservation.number || *start < from);
            }
        }
        for entry in effects.ledger {
            self.keys.push(entry.key);
            *self.accounts.entry(entry.debit).or_default() += entry.amount.minor();
            *self.accounts.entry(entry.credit).or_default() -= entry.amount.minor();
        }
        for payment in effects.payments {
            if payment.kind == PaymentKind::Capture {
                self.collected += payment.amount.minor();
            }
            self.keys.push(payment.key);
        }
        self.keys.extend(effects.mails.into_iter().map(|mail| mail.key));
        match self.real.iter_mut().find(|old| old.number == reservation.number) {
            Some(old) => {
                assert_eq!(reservation.version, old.version + 1, "each write is one version on");
                *old = reservation;
            }
            None => self.real.push(reservation),
        }
    }

    fn hold(&mut self, request: Option<PaymentRequest>) {
        if let Some(request) = request {
            self.holds.entry(request.reservation).or_default().push(request);
        }
    }

    fn holds_of(&self, number: ReservationNumber) -> Vec<PaymentRequest> {
        self.holds.get(&number).cloned().unwrap_or_default()
    }
}

// ---------------------------------------------------------------- the commands, on both

impl World {
    fn step(&mut self, command: &Command) {
        match *command {
            Command::Book { member, channel, first, count, shift } => {
                self.book(member, channel, first, count, shift);
            }
            Command::Accept(which) => self.accept(which),
            Command::Reconfirm { which, right } => self.reconfirm(which, right),
            Command::Change(which) => self.change(which),
            Command::Cancel { which, by_operator, normal } => self.cancel(which, by_operator, normal),
            Command::Extend { which, count } => self.extend(which, count),
            Command::EndEarly(which) => self.end_early(which),
            Command::Sleep(seconds) => self.now += seconds,
            Command::LetGo(which) => self.let_go(which),
            Command::Wait { seconds, normal, card } => self.wait(seconds, normal, card),
        }
    }

    fn book(&mut self, who: usize, number: u16, first: i64, count: i64, shift: i64) {
        let start = self.now - self.now.rem_euclid(SLOT) + first * SLOT + shift;
        let end = start + count * SLOT;
        let wanted: Vec<i64> = (0..count).map(|slot| start + slot * SLOT).collect();
        let free = wanted.iter().all(|slot| !self.slots.contains_key(&(number, *slot)));
        // All of it lies in November 2026 or early December; the model counts by the calendar of UTC.
        let december = 1_796_083_200;
        let used = |december_wanted: bool| {
            let of_member = |holder: &ReservationNumber| {
                self.real.iter().any(|r| r.number == *holder && r.member.0 == who as i64 + 1)
            };
            self.slots
                .iter()
                .filter(|((_, slot), holder)| (*slot >= december) == december_wanted && of_member(holder))
                .count()
        };
        let within = |december_wanted: bool| {
            let asked = wanted.iter().filter(|slot| (**slot >= december) == december_wanted).count();
            asked == 0 || used(december_wanted) + asked <= MONTH_MAX as usize
        };
        let expected = shift == 0
            && count <= 6
            && start + SLOT > self.now
            && end <= self.now + 5 * 24 * 3600
            && free
            && within(false)
            && within(true);

        let window = Window::new(at(start), at(end)).unwrap();
        let member = member(who);
        let channel = channel(number);
        let slots = self.rules.slots(window).unwrap_or_default();
        let used: Vec<u32> = self
            .rules
            .months(&slots)
            .iter()
            .map(|month| {
                let holds = |holder: &ReservationNumber| {
                    self.real.iter().any(|r| r.number == *holder && r.member == member.number)
                };
                let inside = |slot: i64| month.from <= at(slot) && at(slot) < month.to;
                self.slots.iter().filter(|((_, slot), holder)| inside(*slot) && holds(holder)).count() as u32
            })
            .collect();
        let taken: Vec<WallTime> = slots
            .iter()
            .copied()
            .filter(|slot| self.slots.contains_key(&(number, slot.as_micros() / 1_000_000)))
            .collect();
        let facts = BookingFacts { member: &member, channel: &channel, used: &used, taken: &taken };
        let draft = Draft { channel: channel.number, window, program: program() };
        let fresh = ReservationNumber(self.real.len() as i64 + 1);
        let answer = rules::book(facts, draft, fresh, &self.rules, self.wall());
        assert_eq!(answer.is_ok(), expected, "{answer:?} at {} for {start}..{end}", self.now);
        if let Ok(effects) = answer {
            let until = (self.now + 900).min(end);
            let phase = Phase::Held { until };
            self.model.push(Modelled {
                member: who,
                channel: number,
                start,
                end,
                phase,
                held_money: 0,
                owed: 0,
                asked_again: None,
            });
            self.write(effects);
        }
    }

    fn accept(&mut self, which: usize) {
        let Some(real) = self.real.get(which).cloned() else { return };
        let (now, model) = (self.now, &mut self.model[which]);
        let expected = matches!(model.phase, Phase::Held { until } if now < until);
        let hash = ReservationIdHash([which as u8; 32]);
        let answer = rules::accept_terms(&member(model.member), &real, hash, &self.rules, at(now));
        assert_eq!(answer.is_ok(), expected, "{answer:?} in {:?} at {now}", model.phase);
        let Ok(effects) = answer else { return };
        let until = (model.start - 6 * 3600).max(now + 600).min(model.end);
        model.phase = Phase::Registered { until };
        self.write(effects);
    }

    fn reconfirm(&mut self, which: usize, right: bool) {
        let Some(real) = self.real.get(which).cloned() else { return };
        let now = self.now;
        let model = &mut self.model[which];
        let expected = right && matches!(model.phase, Phase::Registered { until } if now < until);
        let who = member(model.member);
        let answer = rules::may_reconfirm(&who, &real, right, 1, &self.rules, at(now));
        assert_eq!(answer.is_ok(), expected, "{answer:?} in {:?} at {now}", model.phase);
        if let Phase::Registered { until } = model.phase
            && until <= now
        {
            assert_eq!(answer, Err(Refusal::ReconfirmationLate { until: at(until) }), "the late are told");
        }
        let Ok(request) = answer else { return };
        model.phase = Phase::Confirmed;
        model.held_money = (model.end - model.start) / SLOT * TOLL as i64;
        self.write(rules::reconfirm(&who, &real, request.as_ref(), at(now)));
        self.hold(request);
    }

    fn change(&mut self, which: usize) {
        let Some(real) = self.real.get(which).cloned() else { return };
        let model = &self.model[which];
        let open = !matches!(model.phase, Phase::Over { .. } | Phase::Cancelled);
        let expected = open && self.now < model.end;
        let details = ProgramDetails { title: format!("Title {}", real.version), ..program() };
        let answer = rules::change(&member(model.member), &real, details, &self.rules, self.wall());
        assert_eq!(answer.is_ok(), expected, "{answer:?} in {:?}", model.phase);
        if let Ok(effects) = answer {
            let told = usize::from(matches!(model.phase, Phase::Confirmed | Phase::OnAir));
            assert_eq!(effects.mails.len(), told, "friends hear of changes once they were invited");
            self.write(effects);
        }
    }

    fn cancel(&mut self, which: usize, by_operator: bool, normal: u64) {
        let Some(real) = self.real.get(which).cloned() else { return };
        let holds = self.holds_of(real.number);
        let now = self.now;
        let model = &mut self.model[which];
        let open = !matches!(model.phase, Phase::Over { .. } | Phase::Cancelled);
        let expected = open && now < model.end;
        // Of the time that it could be on air until now.
        let confirmed_at = real.confirmed_at.map_or(now, |at| at.as_micros() / 1_000_000);
        let span_ms = (now - model.start.max(confirmed_at)).max(0) as u64 * 1000;
        let normal_ms = span_ms * normal / 1000;
        let charged = !by_operator && (normal_ms + 2_000) * 1000 >= span_ms * 950;
        let who = member(model.member);
        let answer = rules::cancel(&who, &real, by_operator, &holds, normal_ms, &self.rules, at(now));
        assert_eq!(answer.is_ok(), expected, "{answer:?} in {:?}", model.phase);
        let Ok(effects) = answer else { return };
        if charged {
            model.owed += model.held_money;
        }
        model.held_money = 0;
        model.phase = Phase::Cancelled;
        self.write(effects);
    }

    fn extend(&mut self, which: usize, count: u32) {
        let Some(real) = self.real.get(which).cloned() else { return };
        let (now, model) = (self.now, &self.model[which]);
        let added: Vec<i64> = (0..i64::from(count)).map(|slot| model.end + slot * SLOT).collect();
        let free = added.iter().all(|slot| !self.slots.contains_key(&(model.channel, *slot)));
        let expected = matches!(model.phase, Phase::Confirmed | Phase::OnAir)
            && model.end - 600 <= now
            && now < model.end
            && count > 0
            && (model.end - model.start) / SLOT + i64::from(count) <= 6
            && free;
        let taken: Vec<WallTime> = self.slots.keys().map(|(_, slot)| at(*slot)).collect();
        // Only this channel's slots count.
        let taken: Vec<WallTime> = taken
            .into_iter()
            .filter(|slot| self.slots.contains_key(&(model.channel, slot.as_micros() / 1_000_000)))
            .collect();
        let who = member(model.member);
        let answer = rules::may_extend(&who, &real, count, &taken, 1, &self.rules, at(now));
        assert_eq!(answer.is_ok(), expected, "{answer:?} in {:?} at {now}", model.phase);
        let Ok(extension) = answer else { return };
        let request = extension.authorisation.clone();
        let effects = rules::extend(&who, &real, extension, at(now));
        let model = &mut self.model[which];
        model.end += i64::from(count) * SLOT;
        model.held_money += i64::from(count) * TOLL as i64;
        self.write(effects);
        self.hold(request);
    }

    fn end_early(&mut self, which: usize) {
        let Some(real) = self.real.get(which).cloned() else { return };
        let (now, model) = (self.now, &mut self.model[which]);
        let expected =
            matches!(model.phase, Phase::Confirmed | Phase::OnAir) && model.start <= now && now < model.end;
        let answer = rules::end_early(&real, at(now));
        assert_eq!(answer.is_ok(), expected, "{answer:?} in {:?}", model.phase);
        if let Ok(effects) = answer {
            self.write(effects);
            self.settle(which, 1000);
        }
    }

    fn wait(&mut self, seconds: i64, normal: u64, card: bool) {
        self.now += seconds;
        for which in 0..self.real.len() {
            self.ask_again(which, card);
            self.due(which, normal);
        }
    }

    fn let_go(&mut self, which: usize) {
        let Some(real) = self.real.get(which).cloned() else { return };
        let Some(hold) = self.holds_of(real.number).first().cloned() else { return };
        let (now, model) = (self.now, &mut self.model[which]);
        let expected = model.phase == Phase::Confirmed && now < model.start;
        let answer = rules::renewal(&real, &hold, 0, at(now));
        assert_eq!(answer.is_some(), expected, "{answer:?} in {:?} at {now}", model.phase);
        let Some((request, when)) = answer else { return };
        assert_eq!((request.of.as_ref(), request.amount), (Some(&hold.key), hold.amount));
        let due = now.max(model.start - 24 * 3600);
        assert_eq!(when, at(due), "a day before {}", model.start);
        model.asked_again.get_or_insert((due, 0));
    }

    /// The payment company is asked for the hold again, where that is due, and the card says yes or no.
    fn ask_again(&mut self, which: usize, card: bool) {
        let (now, model) = (self.now, &self.model[which]);
        let Some((due, declined)) = model.asked_again.filter(|(due, _)| *due <= now) else { return };
        assert!(due < model.start, "asked for after its start");
        self.model[which].asked_again = None;
        if card {
            return;
        }
        let (real, who) = (self.real[which].clone(), member(self.model[which].member));
        let holds = self.holds_of(real.number);
        let answer = rules::after_decline(&who, &real, declined + 1, &holds, at(now));
        let model = &mut self.model[which];
        let until = model.start - 6 * 3600;
        if model.phase != Phase::Confirmed || model.start <= now {
            assert_eq!(answer, AfterDecline::GoOn, "{:?} at {now}", model.phase);
        } else if now < until {
            assert_eq!(answer, AfterDecline::AskAgain(at(until)));
            model.asked_again = Some((until, declined + 1));
        } else if declined == 0 {
            assert_eq!(answer, AfterDecline::GoOn, "nobody had told the member");
        } else {
            let AfterDecline::Cancel(effects) = answer else { panic!("{answer:?} at {now}") };
            model.phase = Phase::Cancelled;
            model.held_money = 0;
            assert!(
                effects.payments.iter().all(|payment| payment.kind == PaymentKind::Release),
                "free of charge"
            );
            assert_eq!(effects.mails.len(), 2, "the member and the friend are told");
            self.write(*effects);
        }
    }

    fn due(&mut self, which: usize, normal: u64) {
        let (now, who) = (self.now, member(self.model[which].member));
        let real = self.real[which].clone();
        let wall = at(now);
        for effects in [rules::expire_hold(&real, wall), rules::expire_reconfirmation(&who, &real, wall)] {
            let model = &mut self.model[which];
            let due =
                matches!(model.phase, Phase::Held { until } | Phase::Registered { until } if until <= now);
            if let Some(effects) = effects {
                assert!(due, "cancelled too early: {:?} at {now}", model.phase);
                model.phase = Phase::Cancelled;
                self.write(effects);
            }
        }
        let phase = self.model[which].phase;
        let late = matches!(phase, Phase::Held { until } | Phase::Registered { until } if until <= now);
        assert!(!late, "not cancelled in time: {phase:?} at {now}");
        if let Some(effects) = rules::remind(&who, &self.real[which].clone(), &self.rules, wall) {
            assert_eq!(effects.mails.len(), 1);
            self.write(effects);
        }
        if let Some(effects) = rules::start(&self.real[which].clone(), wall) {
            assert_eq!(self.model[which].phase, Phase::Confirmed);
            self.model[which].phase = Phase::OnAir;
            self.write(effects);
        }
        if let Some(effects) = rules::end(&self.real[which].clone(), wall) {
            assert!(self.model[which].end <= now, "ended too early");
            self.write(effects);
            self.settle(which, normal);
        }
        let left_on = matches!(self.model[which].phase, Phase::Confirmed | Phase::OnAir);
        assert!(!left_on || now < self.model[which].end, "not ended in time");
    }

    fn settle(&mut self, which: usize, normal: u64) {
        let real = self.real[which].clone();
        let from = real.confirmed_at.unwrap().max(real.window.start());
        let span_ms = real.over_at.unwrap().since(from).as_millis() as u64;
        let normal_ms = span_ms * normal / 1000;
        let charged = (normal_ms + 2_000) * 1000 >= span_ms * 950;
        let holds = self.holds_of(real.number);
        let who = member(self.model[which].member);
        let effects = rules::settle(&who, &real, normal_ms, &holds, &self.rules, self.wall()).unwrap();
        self.write(effects);
        let model = &mut self.model[which];
        if charged {
            model.owed += model.held_money;
        }
        model.held_money = 0;
        model.phase = Phase::Over { charged };
    }
}

// ---------------------------------------------------------------- what always holds

impl World {
    fn check(&self) {
        for (real, model) in self.real.iter().zip(&self.model) {
            let expected = match model.phase {
                Phase::Held { until } => real.state == State::Held && real.hold_until == at(until),
                Phase::Registered { until } => {
                    real.state == State::Registered && real.reconfirm_until == at(until)
                }
                Phase::Confirmed => real.state == State::Confirmed,
                Phase::OnAir => real.state == State::OnAir,
                Phase::Over { charged: true } => real.state == State::Finished(Settlement::Charged),
                Phase::Over { charged: false } => real.state == State::Finished(Settlement::Waived),
                Phase::Cancelled => matches!(real.state, State::Cancelled(_)),
            };
            assert!(expected, "{:?} but {:?}", model.phase, real.state);
            assert_eq!((real.window.start(), real.window.end()), (at(model.start), at(model.end)));
            let own = self.slots.values().filter(|holder| **holder == real.number).count() as i64;
            if real.state.holds_slots() {
                assert_eq!(own, (model.end - model.start) / SLOT, "holds all of its slots");
            } else if real.state == State::Cancelled(CancelledBy::NotReconfirmed) && own > 0 {
                assert!(self.now > model.start, "only slots that had begun stay used");
            }
        }
        assert_eq!(self.accounts.values().sum::<i64>(), 0, "double entry");
        let account = |account| self.accounts.get(&account).copied().unwrap_or(0);
        for index in 0..MEMBERS {
            let number = MemberNumber(index as i64 + 1);
            let own = self.model.iter().filter(|model| model.member == index);
            let (held, owed) =
                own.fold((0, 0), |(held, owed), model| (held + model.held_money, owed + model.owed));
            assert_eq!(account(Account::MemberHolds(number)), held, "what is authorised of {index}");
            assert_eq!(account(Account::Receivable(number)), owed, "what {index} owes");
        }
        assert_eq!(-account(Account::Revenue), self.collected, "what is earned is what is captured");
        let mut keys = self.keys.clone();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), self.keys.len(), "no key is used twice");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_rules_agree_with_the_model(commands in prop::collection::vec(command(), 1..60)) {
        let mut world = World::new();
        for command in &commands {
            world.step(command);
            world.check();
        }
    }
}

/// What happens to one confirmed program and its hold.
fn hold_command() -> impl Strategy<Value = Command> {
    let seconds = prop_oneof![Just(0i64), Just(600), 1..7_200i64, 7_200..86_400i64];
    prop_oneof![
        2 => Just(Command::LetGo(0)),
        6 => (seconds, 940..=1000u64, prop::bool::weighted(0.3))
            .prop_map(|(seconds, normal, card)| Command::Wait { seconds, normal, card }),
        1 => (0..20_000i64).prop_map(Command::Sleep),
        1 => Just(Command::Extend { which: 0, count: 1 }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn holds_that_are_let_go_agree_with_the_model(
        first in 10..300i64,
        commands in prop::collection::vec(hold_command(), 1..20),
    ) {
        let mut world = World::new();
        world.book(0, 1, first, 2, 0);
        world.accept(0);
        world.reconfirm(0, true);
        for command in &commands {
            world.step(command);
            world.check();
        }
    }
}

#[test]
fn the_reconfirmation_is_due_to_the_microsecond() {
    let mut world = World::new();
    world.book(0, 1, 50, 2, 0);
    world.accept(0);
    let real = world.real[0].clone();
    assert_eq!(real.reconfirm_until, at(BEGIN + 50 * SLOT - 6 * 3600));
    let ask = |moment: WallTime| rules::may_reconfirm(&member(0), &real, true, 1, &world.rules, moment);
    let due = real.reconfirm_until.as_micros();
    assert!(ask(WallTime::from_micros(due - 1)).is_ok());
    let late = Err(Refusal::ReconfirmationLate { until: real.reconfirm_until });
    assert_eq!(ask(WallTime::from_micros(due)), late);
    assert_eq!(rules::expire_reconfirmation(&member(0), &real, WallTime::from_micros(due - 1)), None);
    assert!(rules::expire_reconfirmation(&member(0), &real, WallTime::from_micros(due)).is_some());
}

#[test]
fn months_follow_the_providers_zone_through_daylight_saving() {
    let zone = jiff::tz::TimeZone::get("Europe/Berlin").unwrap();
    let text = |text: &str| text.parse::<WallTime>().unwrap();
    // October 2026 begins in summer time and ends in winter time.
    let (from, to) = rules::month_of(text("2026-10-25T12:00:00Z"), &zone);
    assert_eq!((from, to), (text("2026-09-30T22:00:00Z"), text("2026-10-31T23:00:00Z")));
    let rules = Rules { zone, ..the_rules() };
    let slots = [text("2026-10-31T22:50:00Z"), text("2026-10-31T23:00:00Z"), text("2026-10-31T23:10:00Z")];
    let asked: Vec<u32> = rules.months(&slots).iter().map(|month| month.asked).collect();
    assert_eq!(asked, [1, 2]);
    // The day on which the clocks go back has 25 hours.
    let day = |date: &str| rules::start_of(date.parse().unwrap(), &rules.zone).unwrap();
    assert_eq!(day("2026-10-26").since(day("2026-10-25")), Duration::from_secs(25 * 3600));
}
