//! One line on a terminal that says how far a tool is.
//!
//! Invariant: where standard error is no terminal, nothing is drawn; a terminal that is closed is no error.

use std::{borrow::Cow, time::Duration};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Draws per second, at most.
const DRAWS_PER_SECOND: u8 = 5;
/// How often the sign that the tool is alive moves, also while nothing is said.
const TICK: Duration = Duration::from_millis(200);

/// A line on standard error that is rewritten, and is gone once this is dropped.
#[derive(Debug)]
pub struct Progress(ProgressBar);

impl Default for Progress {
    fn default() -> Self {
        Self::new(true)
    }
}

impl Progress {
    /// An empty line.
    ///
    /// - `wanted`: whether it is shown where standard error is a terminal.
    pub fn new(wanted: bool) -> Self {
        let target = match wanted {
            true => ProgressDrawTarget::stderr_with_hz(DRAWS_PER_SECOND),
            false => ProgressDrawTarget::hidden(),
        };
        let style = ProgressStyle::with_template("{spinner} {wide_msg}").expect("the template is a constant");
        let bar = ProgressBar::with_draw_target(None, target).with_style(style);
        if !bar.is_hidden() {
            bar.enable_steady_tick(TICK);
        }
        Self(bar)
    }

    /// Whether anybody can see it.
    pub fn is_shown(&self) -> bool {
        !self.0.is_hidden()
    }

    /// What the line says from now on.
    pub fn set(&self, text: impl Into<Cow<'static, str>>) {
        if self.is_shown() {
            self.0.set_message(text);
        }
    }

    /// Runs `print` with the line out of its way.
    pub fn beside<T>(&self, print: impl FnOnce() -> T) -> T {
        self.0.suspend(print)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_drawn_where_nobody_looks() {
        let progress = Progress::new(false);
        progress.set("half way");
        assert!(!progress.is_shown());
        assert_eq!((progress.0.message(), progress.beside(|| 7)), (String::new(), 7));
    }
}
