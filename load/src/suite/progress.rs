//! How far the suite is: one line on a terminal, or a line for each step elsewhere; on standard error.

use std::{
    cell::{Cell, RefCell},
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

const SHOW_EVERY: Duration = Duration::from_millis(250);

/// Of steps whose lengths were guessed beforehand.
pub(super) struct Progress {
    terminal: bool,
    /// All seconds, and those of the steps that are over.
    total: f64,
    done: Cell<f64>,
    /// The step at work: what, since when, guessed seconds.
    step: RefCell<Option<(String, Instant, f64)>>,
    shown: Cell<Option<Instant>>,
}

impl Progress {
    pub(super) fn new(total: f64) -> Self {
        let terminal = io::stderr().is_terminal();
        Self { terminal, total, done: Cell::new(0.0), step: RefCell::default(), shown: Cell::new(None) }
    }

    /// The next step begins.
    pub(super) fn begin(&self, what: &str, seconds: f64) {
        self.end();
        if !self.terminal {
            // A closed standard error is no reason to end.
            drop(writeln!(io::stderr().lock(), "{what} ... {}", left(self.total - self.done.get())));
        }
        *self.step.borrow_mut() = Some((what.to_owned(), Instant::now(), seconds));
        self.show();
    }

    /// The step at work is over.
    pub(super) fn end(&self) {
        if let Some((_, _, seconds)) = self.step.borrow_mut().take() {
            self.done.set(self.done.get() + seconds);
        }
        self.clear();
    }

    /// Makes room for a line of the table.
    pub(super) fn clear(&self) {
        if self.terminal && self.shown.take().is_some() {
            drop(write!(io::stderr().lock(), "\r\x1b[K"));
        }
    }

    /// Shows where it stands, now and then.
    pub(super) fn show(&self) {
        if !self.terminal || self.shown.get().is_some_and(|at| at.elapsed() < SHOW_EVERY) {
            return;
        }
        if let Some((what, since, seconds)) = &*self.step.borrow() {
            let passed = since.elapsed().as_secs_f64();
            let left = left(self.total - self.done.get() - passed.min(*seconds));
            drop(write!(io::stderr().lock(), "\r\x1b[K{what}: {passed:.0} of about {seconds:.0} s; {left}"));
        }
        self.shown.set(Some(Instant::now()));
    }
}

/// Time left, roughly.
pub(super) fn left(seconds: f64) -> String {
    match seconds.max(0.0) {
        seconds if seconds < 90.0 => format!("about {seconds:.0} s left"),
        seconds => format!("about {:.0} min left", seconds / 60.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_is_told_in_seconds_or_minutes() {
        assert_eq!(
            [left(-3.0), left(20.4), left(89.0)],
            ["about 0 s left", "about 20 s left", "about 89 s left"]
        );
        assert_eq!(left(1800.0), "about 30 min left");
    }

    #[test]
    fn steps_that_are_over_count() {
        let progress = Progress::new(30.0);
        progress.begin("one", 10.0);
        progress.begin("two", 5.0);
        assert!((progress.done.get() - 10.0).abs() < f64::EPSILON);
        progress.end();
        progress.end();
        assert!((progress.done.get() - 15.0).abs() < f64::EPSILON);
    }
}
