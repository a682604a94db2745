//! What the suite found: rows with their goals, the points of the plots, the table, the JSON.
//!
//! Invariant: a row of which something is wrong is never held, whatever its value; a row without a value says why.

use std::fmt;

use serde::Serialize;

use crate::{limit::Spread, paced::Transport};

/// What a figure should reach.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Goal {
    /// The median of all rounds.
    AtMost(f64),
    /// The median of all rounds.
    AtLeast(f64),
    /// The worst round.
    EachAtMost(f64),
    /// Not once, in no round.
    Never,
}

impl Goal {
    const fn is_held(self, value: Spread) -> bool {
        match self {
            Self::AtMost(bound) => value.median <= bound,
            Self::AtLeast(bound) => value.median >= bound,
            Self::EachAtMost(bound) => value.most <= bound,
            Self::Never => value.most <= 0.0,
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(bound) => write!(f, "at most {}", number(*bound)),
            Self::AtLeast(bound) => write!(f, "at least {}", number(*bound)),
            Self::EachAtMost(bound) => write!(f, "each at most {}", number(*bound)),
            Self::Never => f.write_str("never"),
        }
    }
}

/// How a row came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Standing {
    Held,
    /// The goal is missed, or something is wrong with what was measured.
    Missed,
    /// It has no goal.
    Reported,
    /// Not on this machine, or not of this server.
    NotMeasured,
    /// The measurement itself broke down.
    Failed,
}

impl Standing {
    const ALL: [Self; 5] = [Self::Held, Self::Missed, Self::Reported, Self::NotMeasured, Self::Failed];

    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Missed => "missed",
            Self::Reported => "reported",
            Self::NotMeasured => "not measured",
            Self::Failed => "failed",
        }
    }
}

/// Below this share of the viewers or clients that a figure speaks of, the figure is not about them.
const VIEWERS_SHARE: f64 = 0.99;

/// One figure.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) what: String,
    pub(super) goal: Option<Goal>,
    /// Of the goal and of the value.
    pub(super) unit: &'static str,
    pub(super) value: Option<Spread>,
    pub(super) standing: Standing,
    /// What must not be.
    pub(super) wrong: Vec<String>,
    /// What is worth knowing.
    pub(super) notes: Vec<String>,
}

impl Row {
    /// A row without a value yet.
    pub(super) fn new(
        name: impl Into<String>,
        what: impl Into<String>,
        goal: Option<Goal>,
        unit: &'static str,
    ) -> Self {
        Self {
            name: name.into(),
            what: what.into(),
            goal,
            unit,
            value: None,
            standing: Standing::NotMeasured,
            wrong: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// With what was measured. `None`: nothing was.
    pub(super) fn value(mut self, value: Option<Spread>) -> Self {
        self.value = value;
        self.judged()
    }

    /// The same, of all rounds.
    pub(super) fn values(self, values: impl IntoIterator<Item = f64>) -> Self {
        self.value(spread(values))
    }

    /// With what must not be.
    pub(super) fn wrong(mut self, wrong: impl IntoIterator<Item = String>) -> Self {
        self.wrong.extend(wrong);
        self.judged()
    }

    /// With how many of those that it speaks of were there, in one round.
    ///
    /// - `who`: such as `viewers were there`.
    pub(super) fn there(self, there: u64, asked: u64, who: &str) -> Self {
        let few = (there as f64) < VIEWERS_SHARE * asked as f64;
        self.wrong(few.then(|| format!("only {there} of {asked} {who}")))
    }

    /// With something to know about it.
    pub(super) fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// The same, where there is something.
    pub(super) fn notes(mut self, notes: impl IntoIterator<Item = String>) -> Self {
        self.notes.extend(notes);
        self
    }

    /// The measurement broke down.
    pub(super) fn failed(mut self, why: impl Into<String>) -> Self {
        self.standing = Standing::Failed;
        self.note(why)
    }

    fn judged(mut self) -> Self {
        self.standing = match (self.value, self.goal) {
            _ if self.standing == Standing::Failed => Standing::Failed,
            _ if !self.wrong.is_empty() => Standing::Missed,
            (None, _) => Standing::NotMeasured,
            (Some(_), None) => Standing::Reported,
            (Some(value), Some(goal)) if goal.is_held(value) => Standing::Held,
            (Some(_), Some(_)) => Standing::Missed,
        };
        self
    }

    /// Median, least and most with their unit; a dash without them.
    pub(super) fn measured(&self) -> String {
        let Some(value) = self.value else { return "-".to_owned() };
        let unit = if self.unit.is_empty() { String::new() } else { format!(" {}", self.unit) };
        if value.least == value.most {
            return format!("{}{unit}", number(value.median));
        }
        format!("{} ({} to {}){unit}", number(value.median), number(value.least), number(value.most))
    }

    /// The goal with its unit; a dash without one.
    pub(super) fn asked(&self) -> String {
        match self.goal {
            Some(goal) if self.unit.is_empty() => goal.to_string(),
            Some(goal) => format!("{goal} {}", self.unit),
            None => "-".to_owned(),
        }
    }
}

/// Of all rounds; `None` when no value is a number.
pub(super) fn spread(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
    let values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
    (!values.is_empty()).then(|| Spread::of(values))
}

/// A number with as many digits as are of use.
pub(super) fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 1e6 => format!("{:.1} M", value / 1e6),
        size if size >= 100.0 || value == value.round() => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// What the table begins with.
pub(super) const HEADER: &str = "standing      what                                                      goal                  \
                                 median (least to most)";

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (standing, what) = (self.standing.word(), &self.what);
        write!(f, "{standing:<12}  {what:<56}  {:<20}  {}", self.asked(), self.measured())?;
        self.wrong.iter().try_for_each(|wrong| write!(f, "\n              ! WRONG: {wrong}"))?;
        self.notes.iter().try_for_each(|note| write!(f, "\n              . {note}"))
    }
}

/// Latency in milliseconds at each of [`QUANTILES`].
pub(super) type Quantiles = [f64; 5];
/// Of the values of [`Quantiles`].
pub(super) const QUANTILES: [&str; 5] = ["p50", "p90", "p99", "p99.9", "max"];

/// One side of one paced run, for the plots.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Point {
    pub(super) transport: Transport,
    /// Whether the raw loop, or the server.
    pub(super) raw: bool,
    pub(super) viewers: u32,
    /// `None`: nobody said which process the server is.
    pub(super) cpu_us_per_packet: Option<Spread>,
    /// See above.
    pub(super) process_cpu_us_per_packet: Option<Spread>,
    /// Medians over the rounds.
    pub(super) latency_ms: Quantiles,
    /// CPU time over the raw loop's; the raw loop has none.
    pub(super) ratio: Option<Spread>,
}

/// A load average above this says that the machine is not quiet.
const LOAD_MAX: f64 = 1.0;

/// All of it.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Report {
    pub(super) version: &'static str,
    /// When it began.
    pub(super) date: String,
    pub(super) kernel: String,
    pub(super) processor: String,
    pub(super) cores: usize,
    /// Threads that ran or wanted to in the minute before, on average.
    pub(super) load_before: f64,
    /// What was measured; without credentials.
    pub(super) server: String,
    pub(super) rounds: u32,
    pub(super) seconds: u64,
    /// Small counts: the figures say nothing about speed.
    pub(super) quick: bool,
    /// It was ended before its end.
    pub(super) interrupted: bool,
    pub(super) took_seconds: f64,
    pub(super) rows: Vec<Row>,
    pub(super) points: Vec<Point>,
}

impl Report {
    /// Whether other things ran on the machine when it began.
    pub(super) fn is_busy(&self) -> bool {
        self.load_before > LOAD_MAX
    }

    /// How many rows came out like this.
    pub(super) fn count(&self, standing: Standing) -> usize {
        self.rows.iter().filter(|row| row.standing == standing).count()
    }

    /// How many rows came out how, as a sentence's end.
    pub(super) fn summary(&self) -> String {
        let counts = Standing::ALL.map(|standing| (self.count(standing), standing.word()));
        let shown = counts.iter().filter(|(count, _)| *count > 0);
        shown.map(|(count, word)| format!("{count} {word}")).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(goal: Option<Goal>, values: &[f64], standing: Standing, measured: &str) {
        let row = Row::new("x", "X", goal, "ms").values(values.iter().copied());
        assert_eq!((row.standing, row.measured().as_str()), (standing, measured));
    }

    #[test]
    fn a_ratio_is_judged_by_its_median() {
        check(Some(Goal::AtMost(1.2)), &[1.5, 1.2, 1.0], Standing::Held, "1.20 (1 to 1.50) ms");
        check(Some(Goal::AtMost(1.2)), &[1.21], Standing::Missed, "1.21 ms");
        check(Some(Goal::AtLeast(85.0)), &[85.0], Standing::Held, "85 ms");
        check(Some(Goal::AtLeast(85.0)), &[84.9], Standing::Missed, "84.9 ms");
        check(None, &[0.0], Standing::Reported, "0 ms");
        check(Some(Goal::AtMost(1.0)), &[f64::NAN], Standing::NotMeasured, "-");
        check(Some(Goal::AtMost(1.0)), &[], Standing::NotMeasured, "-");
    }

    #[test]
    fn never_and_each_are_judged_by_the_worst_round() {
        check(Some(Goal::Never), &[0.0, 0.0, 0.0], Standing::Held, "0 ms");
        check(Some(Goal::Never), &[0.0, 0.0, 5.0], Standing::Missed, "0 (0 to 5) ms");
        check(Some(Goal::EachAtMost(1000.0)), &[45.0, 50.0, 999.0], Standing::Held, "50 (45 to 999) ms");
        check(Some(Goal::EachAtMost(1000.0)), &[45.0, 50.0, 1001.0], Standing::Missed, "50 (45 to 1001) ms");
    }

    #[test]
    fn what_is_wrong_overrules_the_value_whichever_is_said_first() {
        let row = || Row::new("x", "X", Some(Goal::AtMost(1.0)), "");
        let wrong = || ["two were not closed".to_owned()];
        for row in [row().values([0.5]).wrong(wrong()), row().wrong(wrong()).values([0.5])] {
            assert_eq!(row.standing, Standing::Missed);
            assert!(row.to_string().contains("WRONG: two were not closed"), "{row}");
            assert_eq!(serde_json::to_value(&row).unwrap()["wrong"][0], "two were not closed");
        }
        assert_eq!(Row::new("x", "X", None, "").values([1.0]).wrong(wrong()).standing, Standing::Missed);
        let failed = Row::new("x", "X", None, "").failed("no server").wrong(wrong());
        assert_eq!((failed.standing, failed.measured().as_str()), (Standing::Failed, "-"));
    }

    #[test]
    fn the_number_of_viewers_is_part_of_the_claim() {
        let row = |there| {
            Row::new("x", "X", Some(Goal::Never), "").values([0.0]).there(there, 1000, "viewers were there")
        };
        assert_eq!([row(1000), row(990)].map(|row| row.standing), [Standing::Held; 2]);
        let few = row(989);
        assert_eq!(
            (few.standing, few.wrong[0].as_str()),
            (Standing::Missed, "only 989 of 1000 viewers were there")
        );
    }

    #[test]
    fn numbers_are_short() {
        let of = |value: f64| number(value);
        assert_eq!(
            [of(0.0), of(0.0421), of(0.5), of(12.34), of(1234.5)],
            ["0", "0.042", "0.50", "12.3", "1234"]
        );
        assert_eq!([of(-0.25), of(25e6), of(1.2)], ["-0.25", "25.0 M", "1.20"]);
    }

    #[test]
    fn the_summary_counts_and_the_json_names() {
        let rows = vec![
            Row::new("a", "A", Some(Goal::AtMost(1.0)), "").values([0.5]),
            Row::new("b", "B", None, "").values([0.5]),
        ];
        let report = Report { rows, ..Report::default() };
        assert_eq!(report.summary(), "1 held, 1 reported");
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["rows"][0]["standing"], "held");
        assert_eq!(json["rows"][0]["goal"]["at_most"], 1.0);
        assert_eq!(json["rows"][1]["value"]["median"], 0.5);
    }
}
