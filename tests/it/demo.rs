//! `slotcast demo`, the README's first command: it keeps its promises, cleans up, and tells the truth when interrupted.

use std::{fs, process::Command, time::Duration};

use rustix::process::Signal;
use slotcast_testing::{
    process::{Finished, Process},
    program,
};

/// Nothing here takes longer, but on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// A demo of `seconds` with 60 viewers on 50 seats, in an empty directory for its data.
struct Demo {
    process: Process,
    place: tempfile::TempDir,
}

impl Demo {
    fn start(seconds: &str) -> Self {
        let place = tempfile::tempdir().unwrap();
        let mut command = Command::new(program());
        command.args(["demo", "--seconds", seconds, "--viewers", "60"]).env("TMPDIR", place.path());
        Self { process: Process::spawn("demo", &mut command), place }
    }

    /// How it ended; its data must be gone.
    #[track_caller]
    fn end(self) -> Finished {
        let finished = self.process.wait(PATIENCE);
        let left: Vec<_> = fs::read_dir(self.place.path()).unwrap().collect();
        assert!(left.is_empty(), "{left:?} was left behind:\n{}", finished.text());
        finished
    }
}

/// The README's picture of the demo's last lines.
fn summary_of_the_readme() -> String {
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let from = readme.find("\nSummary\n").expect("the README shows the summary") + 1;
    readme[from..].split("```").next().unwrap().to_owned()
}

/// Each number as `N`, and media that is read after the end as before it: both differ from run to run.
fn without_numbers(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        out.push_str(&rest[..at]);
        out.push('N');
        let number = &rest[at..];
        let is_inside = |c: char| c.is_ascii_digit() || c == '.';
        rest = &number[number.find(|c| !is_inside(c)).unwrap_or(number.len())..];
    }
    out.push_str(rest);
    out.replace("read N ms after it", "read N ms before it")
}

#[test]
fn the_demo_keeps_every_promise_and_prints_what_the_readme_shows() {
    let finished = Demo::start("3").end();
    let text = finished.text();
    assert_eq!(finished.status.code(), Some(0), "{text}");
    let summary =
        text.find("Summary\n").map(|at| &text[at..]).unwrap_or_else(|| panic!("no summary:\n{text}"));
    assert_eq!(without_numbers(summary.trim_end()), without_numbers(summary_of_the_readme().trim_end()));
    assert!(summary.contains("50 of 60 viewers on 50 seats") && summary.contains("10 got 453"), "{summary}");
    assert!(summary.ends_with("8 of 8 promises held\n"), "{summary}");
}

#[test]
fn ctrl_c_ends_the_demo_with_a_summary_of_what_could_be_checked() {
    // 61 is a prime: the slots are of one second, and the window begins soon.
    let mut demo = Demo::start("61");
    demo.process.wait_for_line(PATIENCE, |line| line.contains("viewers 50") && line.contains("refused 10"));
    demo.process.signal(Signal::INT);
    let finished = demo.end();
    let text = finished.text();
    assert_eq!(finished.status.code(), Some(130), "{text}");
    assert!(text.contains("held         never more viewers than 50 seats: "), "{text}");
    assert!(text.contains("not checked  interrupted before the end: no media after the end"), "{text}");
    assert!(!text.contains("NOT HELD") && text.ends_with(" promises held\n"), "{text}");
}

#[test]
fn only_the_numbers_may_differ() {
    assert_eq!(
        without_numbers("at most 50 (25 UDP, 3.5 ms) in 1.5 s: 4"),
        "at most N (N UDP, N ms) in N s: N"
    );
    assert_ne!(without_numbers("2 lost"), without_numbers("2 sent"));
}
