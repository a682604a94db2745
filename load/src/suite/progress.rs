//! How far the suite is: one line on a terminal, or a line for each step elsewhere; on standard error.

use std::{
    cell::{Cell, RefCell},
    io::{self, Write},
    time::Instant,
};

use slotcast_tools::progress::Progress as Line;

/// Of steps whose lengths were guessed beforehand.
#[derive(Default)]
pub(super) struct Progress {
    line: Line,
    /// All seconds, and those of the steps that are over.
    total: f64,
    done: Cell<f64>,
    /// The step at work: what, since when, guessed seconds.
    step: RefCell<Option<(String, Instant, f64)>>,
}

impl Progress {
    pub(super) fn new(total: f64) -> Self {
        Self { total, ..Self::default() }
    }

    /// The next step begins.
    pub(super) fn begin(&self, what: &str, seconds: f64) {
        self.end();
        if !self.line.is_shown() {
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
        self.line.set("");
    }

    /// Shows where it stands.
    pub(super) fn show(&self) {
        if let Some((what, since, seconds)) = &*self.step.borrow() {
            let passed = since.elapsed().as_secs_f64();
            let left = left(self.total - self.done.get() - passed.min(*seconds));
            self.line.set(format!("{what}: {passed:.0} of about {seconds:.0} s; {left}"));
        }
    }

    /// Prints lines of the table above the line.
    pub(super) fn print(&self, lines: &str) {
        // A closed standard output is no reason to end.
        self.line.beside(|| drop(writeln!(io::stdout().lock(), "{lines}")));
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
