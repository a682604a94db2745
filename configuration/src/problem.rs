//! What is wrong with a configuration, and where.
//!
//! Owns: [`Problem`], [`Place`] and the list of them, [`Problems`].
//! Invariant: a problem never shows a secret; each says what was expected and what came, or what to do next.

use std::fmt;

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A line of the file, from 1.
    Line(usize),
    /// An environment variable.
    Variable(String),
    /// Nowhere: it is missing, or a default.
    Absent,
}

/// Whether the server can start in spite of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// It cannot.
    Error,
    /// It can, but the operator may have meant something else.
    Warning,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// How bad.
    pub severity: Severity,
    /// What, and what to do next; one line.
    pub text: String,
}

impl Problem {
    /// What keeps the server from starting.
    pub(super) fn error(place: Place, text: impl Into<String>) -> Self {
        Self { place, severity: Severity::Error, text: text.into() }
    }

    /// What the operator should know.
    pub(super) fn warning(place: Place, text: impl Into<String>) -> Self {
        Self { place, severity: Severity::Warning, text: text.into() }
    }
}

/// Everything that was found in one configuration, in the order of its lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems {
    /// The file's name, for people.
    file: String,
    found: Vec<Problem>,
}

impl Problems {
    /// `found` in `file`; sorted by place.
    pub(super) fn new(file: &str, mut found: Vec<Problem>) -> Self {
        found.sort_by(|a, b| a.place.cmp(&b.place));
        Self { file: file.to_owned(), found }
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.found.iter()
    }

    /// Whether the server cannot start.
    pub fn has_errors(&self) -> bool {
        self.found.iter().any(|problem| problem.severity == Severity::Error)
    }

    /// One line each, as in a compiler's output: `FILE:LINE: error: …`.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.found.iter().map(|problem| {
            let place = match &problem.place {
                Place::Line(line) => format!("{}:{line}", self.file),
                Place::Variable(name) => name.clone(),
                Place::Absent => self.file.clone(),
            };
            let severity = match problem.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
            };
            format!("{place}: {severity}: {}", problem.text)
        })
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, line) in self.lines().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            f.write_str(&line)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
