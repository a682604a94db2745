//! Real threads on one gate: never one viewer too many, and no seat lost.

use std::{
    sync::{
        Arc, Barrier,
        atomic::{AtomicU32, Ordering},
    },
    thread,
};

use slotcast_admission::{Cut, Gate, Reason, Seat};
use slotcast_core::{time::WallTime, words::Seats};

const VIEWERS: usize = 1_000;
const SEATS: u32 = 100;

fn gate() -> Arc<Gate> {
    Arc::new(Gate::new(Seats::new(SEATS).unwrap(), WallTime::from_micros(1_000)))
}

/// Lets every viewer knock at the same moment, each on a thread of its own.
fn knock_all_at_once(gate: &Arc<Gate>) -> Vec<Result<Seat, Reason>> {
    let barrier = Arc::new(Barrier::new(VIEWERS));
    let viewers: Vec<_> = (0..VIEWERS)
        .map(|_| {
            let (gate, barrier) = (Arc::clone(gate), Arc::clone(&barrier));
            let knock = move || {
                barrier.wait();
                gate.enter()
            };
            thread::Builder::new().stack_size(64 * 1024).spawn(knock).unwrap()
        })
        .collect();
    viewers.into_iter().map(|viewer| viewer.join().unwrap()).collect()
}

#[test]
fn a_thousand_viewers_on_a_hundred_seats() {
    let gate = gate();
    for round in 0..5 {
        let answers = knock_all_at_once(&gate);
        let seated = answers.iter().filter(|answer| answer.is_ok()).count();
        assert_eq!(seated, SEATS as usize, "round {round}");
        assert_eq!(gate.viewers(), SEATS);
        for refused in answers.iter().filter_map(|answer| answer.as_ref().err()) {
            assert_eq!(*refused, Reason::SeatsTaken { seats: SEATS });
        }
        drop(answers);
        assert_eq!(gate.viewers(), 0, "a seat was lost in round {round}");
    }
}

#[test]
fn churn_never_seats_one_too_many_and_loses_no_seat() {
    let (gate, inside, most) = (gate(), Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let workers: Vec<_> = (0..8)
        .map(|worker| {
            let (gate, inside, most) = (Arc::clone(&gate), Arc::clone(&inside), Arc::clone(&most));
            thread::spawn(move || {
                let mut held = Vec::new();
                for turn in 0..20_000_usize {
                    if turn.wrapping_mul(31).wrapping_add(worker * 7) % 5 == 0 && !held.is_empty() {
                        inside.fetch_sub(1, Ordering::SeqCst);
                        held.pop();
                    } else if let Ok(seat) = gate.enter() {
                        let now = inside.fetch_add(1, Ordering::SeqCst) + 1;
                        most.fetch_max(now, Ordering::SeqCst);
                        held.push(seat);
                    }
                }
                inside.fetch_sub(held.len() as u32, Ordering::SeqCst);
            })
        })
        .collect();
    for worker in workers {
        worker.join().unwrap();
    }
    assert!(most.load(Ordering::SeqCst) <= SEATS);
    assert_eq!(gate.viewers(), 0);
    let again = knock_all_at_once(&gate);
    assert_eq!(again.iter().filter(|answer| answer.is_ok()).count(), SEATS as usize);
}

#[test]
fn a_seat_of_before_is_worth_nothing_after_a_reopening() {
    let gate = gate();
    let old = gate.enter().unwrap();
    assert!(old.holds());
    assert!(gate.close_as(Cut::Ended));
    assert!(!old.holds());
    gate.set_end(WallTime::from_micros(2_000));
    assert!(gate.is_open() && gate.cut().is_none());
    assert!(!old.holds() && gate.viewers() == 0);
    let new = gate.enter().unwrap();
    drop(old);
    assert_eq!(gate.viewers(), 1, "the old seat gave back the new one's place");
    assert!(new.holds());
}

#[test]
fn a_closed_gate_says_why_and_the_first_reason_stands() {
    let gate = gate();
    assert_eq!(gate.cut(), None);
    assert!(gate.close_as(Cut::Stopped));
    assert!(!gate.close_as(Cut::Withdrawn));
    assert_eq!(gate.cut(), Some(Cut::Stopped));
    assert_eq!(gate.enter().unwrap_err(), Reason::ProgramStopped);
}

#[test]
fn an_end_that_was_moved_is_not_cut_at_the_old_one() {
    let gate = gate();
    gate.set_end(WallTime::from_micros(2_000));
    assert!(!gate.close_if_over(WallTime::from_micros(1_000)) && gate.is_open());
    assert!(gate.close_if_over(WallTime::from_micros(2_000)));
    assert!(!gate.close_if_over(WallTime::from_micros(2_000)), "only one caller reports the cut-off");
    assert_eq!(gate.cut(), Some(Cut::Ended));
}

#[test]
fn only_a_gate_that_ended_opens_for_a_later_end() {
    for cut in [Cut::Stopped, Cut::Withdrawn] {
        let gate = gate();
        gate.close_as(cut);
        gate.set_end(WallTime::from_micros(2_000));
        assert_eq!((gate.is_open(), gate.cut()), (false, Some(cut)));
    }
    let gate = gate();
    gate.close_as(Cut::Ended);
    gate.set_end(WallTime::from_micros(500));
    assert!(!gate.is_open());
}

#[test]
fn media_passes_until_the_end_and_not_at_it() {
    let gate = gate();
    assert!(gate.lets_through(WallTime::from_micros(999)));
    assert!(!gate.lets_through(WallTime::from_micros(1_000)));
    gate.set_end(WallTime::from_micros(1_500));
    assert!(gate.lets_through(WallTime::from_micros(1_000)));
    gate.close_as(Cut::Ended);
    assert!(!gate.lets_through(WallTime::from_micros(1_000)));
}

#[test]
fn fewer_seats_send_nobody_away() {
    let gate = gate();
    let mut held: Vec<_> = (0..10).map(|_| gate.enter().unwrap()).collect();
    gate.resize(Seats::new(8).unwrap());
    assert!(held.iter().all(Seat::holds));
    held.truncate(8);
    assert_eq!(gate.enter().unwrap_err(), Reason::SeatsTaken { seats: 8 });
    held.truncate(7);
    assert!(gate.enter().is_ok());
}
