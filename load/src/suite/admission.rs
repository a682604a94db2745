//! Seats alone: how fast they are taken and given back, and that there are never more than there are.

use std::{
    io,
    sync::{
        Arc, Barrier,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    thread,
    time::Instant,
};

use slotcast_admission::{Gate, Seat};
use slotcast_core::{time::WallTime, words::Seats};

use super::{
    bench::Bench,
    report::{Goal, Row},
};
use slotcast_net::process::pin;

const PER_SECOND: Goal = Goal::AtLeast(1e6);
/// Seats, and how many of them each of the two threads tries to hold: together more than there are.
const SEATS: u32 = 64;
const HELD_MAX: usize = 48;

/// What both threads did.
#[derive(Debug, Default)]
struct Done {
    enters: u64,
    refused: u64,
    over: u64,
    seconds: f64,
}

/// Two threads press on one gate.
pub(super) fn admission(bench: &mut Bench) -> io::Result<()> {
    let enters = bench.counts.enters;
    bench.progress.begin("seats taken and given back", 5.0);
    let cores = [bench.server_core, bench.tool_core];
    let mut done = Vec::new();
    for _ in 0..bench.rounds {
        bench.tools.go_on()?;
        done.push(press(enters, cores)?);
    }
    bench.progress.end();
    let used = if cores[0] == cores[1] { 1.0 } else { 2.0 };
    let row =
        Row::new("admission-rate", "seats taken and given back per second and core", Some(PER_SECOND), "");
    let rate = done.iter().map(|done| done.enters as f64 / done.seconds / used);
    bench.add(row.values(rate).note(format!("two threads on one gate of {SEATS} seats, on {used:.0} cores")));
    let (all, refused) = done.iter().fold((0, 0), |sum, done| (sum.0 + done.enters, sum.1 + done.refused));
    let row = Row::new(
        "admission-over",
        format!("seats above the seats, of {enters} enters"),
        Some(Goal::Never),
        "",
    );
    let row = row.values(done.iter().map(|done| done.over as f64));
    bench.add(row.note(format!("{refused} of {} were refused", all + refused)));
    Ok(())
}

/// - `enters`: seats taken in all.
fn press(enters: u64, cores: [usize; 2]) -> io::Result<Done> {
    let wrong = |error: &dyn std::fmt::Display| io::Error::other(error.to_string());
    let seats = Seats::new(SEATS).map_err(|error| wrong(&error))?;
    let gate = Arc::new(Gate::new(seats, WallTime::from_micros(i64::MAX)));
    let (held, over, refused) = (AtomicU32::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let start = Barrier::new(2);
    let half = enters.div_ceil(2);
    let seconds: io::Result<Vec<f64>> = thread::scope(|scope| {
        let threads = cores.map(|core| {
            let (gate, start, held, over, refused) = (&gate, &start, &held, &over, &refused);
            scope.spawn(move || {
                let pinned = pin(core);
                start.wait();
                pinned?;
                let begun = Instant::now();
                let (own_over, own_refused) = come_and_go(gate, half, held);
                over.fetch_add(own_over, Ordering::Relaxed);
                refused.fetch_add(own_refused, Ordering::Relaxed);
                Ok(begun.elapsed().as_secs_f64())
            })
        });
        let join = |thread: thread::ScopedJoinHandle<'_, io::Result<f64>>| {
            thread.join().map_err(|_| io::Error::other("a thread ended in a defect"))?
        };
        threads.into_iter().map(join).collect()
    });
    Ok(Done {
        enters: 2 * half,
        refused: refused.into_inner(),
        over: over.into_inner(),
        seconds: seconds?.into_iter().fold(0.0, f64::max),
    })
}

/// Takes `enters` seats, and gives the oldest back where more would be too many. Returns how often more were held than
/// there are, and how often the gate refused.
fn come_and_go(gate: &Arc<Gate>, enters: u64, held: &AtomicU32) -> (u64, u64) {
    let mut seats: [Option<Seat>; HELD_MAX] = [const { None }; HELD_MAX];
    let (mut next, mut taken, mut over, mut refused) = (0, 0, 0, 0);
    while taken < enters {
        // Counted out before it is free and in after it is taken: the count is never more than the seats taken.
        if let Some(seat) = seats[next].take() {
            held.fetch_sub(1, Ordering::SeqCst);
            drop(seat);
        }
        match gate.enter() {
            Ok(seat) => {
                over += u64::from(held.fetch_add(1, Ordering::SeqCst) >= SEATS);
                seats[next] = Some(seat);
                taken += 1;
            }
            Err(_) => refused += 1,
        }
        next = (next + 1) % HELD_MAX;
    }
    let left = seats.iter().flatten().count() as u32;
    held.fetch_sub(left, Ordering::SeqCst);
    (over, refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_under_pressure_never_gives_more_than_it_has() {
        let done = press(20_000, [0, 0]).unwrap();
        assert_eq!((done.enters, done.over), (20_000, 0));
        assert!(done.seconds > 0.0);
    }

    #[test]
    fn one_thread_alone_is_never_refused() {
        let gate = Arc::new(Gate::new(Seats::new(SEATS).unwrap(), WallTime::from_micros(i64::MAX)));
        let held = AtomicU32::new(0);
        assert_eq!(come_and_go(&gate, 1000, &held), (0, 0));
        assert_eq!((held.load(Ordering::Relaxed), gate.viewers()), (0, 0));
    }
}
