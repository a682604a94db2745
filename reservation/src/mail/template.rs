//! The texts, one file for each mail and language, and how their `{placeholders}` are filled.
//!
//! A file begins with `Subject: …`, then an empty line, then the text. A line that holds a placeholder with nothing
//! to say is left out; of several empty lines one stays. A value of several lines keeps the indent of its place.
//! Invariant: values are not read again, so a title `{password}` stays that.

use crate::domain::words::Language;

/// One text in its languages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Template {
    english: &'static str,
    japanese: &'static str,
}

macro_rules! template {
    ($name:literal) => {
        Template {
            english: include_str!(concat!("templates/en/", $name, ".txt")),
            japanese: include_str!(concat!("templates/ja/", $name, ".txt")),
        }
    };
}

pub(super) const WELCOME: Template = template!("welcome");
pub(super) const RESERVATION_ID: Template = template!("reservation_id");
pub(super) const RECONFIRM_REMINDER: Template = template!("reconfirm_reminder");
pub(super) const CONFIRMED: Template = template!("confirmed");
pub(super) const INVITATION: Template = template!("invitation");
pub(super) const CHANGED: Template = template!("changed");
pub(super) const CANCELLED: Template = template!("cancelled");
pub(super) const CANCELLED_FRIEND: Template = template!("cancelled_friend");
pub(super) const WITHDRAWN: Template = template!("withdrawn");
pub(super) const EXTENDED: Template = template!("extended");
pub(super) const EXTENDED_FRIEND: Template = template!("extended_friend");
pub(super) const CHARGED: Template = template!("charged");
pub(super) const WAIVED: Template = template!("waived");
pub(super) const REFUNDED: Template = template!("refunded");
/// Not a mail: a line for each phrase, `name: text`.
const PHRASES: Template = template!("phrases");

impl Template {
    const fn text(self, language: Language) -> &'static str {
        match language {
            Language::English => self.english,
            Language::Japanese => self.japanese,
        }
    }

    /// Subject and text, filled. `None`: the file has no subject, or a placeholder is not among `values`.
    pub(super) fn fill(self, language: Language, values: &Values) -> Option<(String, String)> {
        let (subject, body) = self.text(language).split_once('\n')?;
        let subject = fill_line(subject.strip_prefix("Subject: ")?, values)?.unwrap_or_default();
        let mut text = String::with_capacity(body.len() * 2);
        for line in body.trim().lines() {
            let Some(line) = fill_line(line, values)? else { continue };
            let is_empty = line.trim().is_empty();
            if !is_empty || !(text.is_empty() || text.ends_with("\n\n")) {
                text.push_str(line.trim_end());
                text.push('\n');
            }
        }
        Some((subject, format!("{}\n", text.trim_end())))
    }
}

/// The phrase of that name; empty where there is none, which a test excludes for those that are used.
pub(super) fn phrase(language: Language, name: &str) -> &'static str {
    let lines = PHRASES.text(language).lines();
    lines.filter_map(|line| line.split_once(": ")).find(|(key, _)| *key == name).map_or("", |(_, text)| text)
}

/// What placeholders stand for.
#[derive(Default)]
pub(super) struct Values(Vec<(&'static str, String)>);

impl Values {
    /// `{name}` stands for `value`, from which nothing is taken away: it must be fit already.
    pub(super) fn set(&mut self, name: &'static str, value: impl Into<String>) {
        self.0.push((name, value.into()));
    }

    fn of(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_str())
    }
}

/// The line with its values; `Some(None)`: one has nothing to say; `None`: one is not known.
fn fill_line(line: &str, values: &Values) -> Option<Option<String>> {
    let indent: String = line.chars().take_while(|c| *c == ' ').collect();
    let mut filled = String::with_capacity(line.len() * 2);
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}')?;
        let value = values.of(name)?;
        if value.is_empty() {
            return Some(None);
        }
        filled.push_str(before);
        filled.push_str(&value.replace('\n', &format!("\n{indent}")));
        rest = after;
    }
    filled.push_str(rest);
    Some(Some(filled))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: [Language; 2] = [Language::English, Language::Japanese];

    fn values(pairs: &[(&'static str, &str)]) -> Values {
        Values(pairs.iter().map(|(name, value)| (*name, (*value).to_owned())).collect())
    }

    #[test]
    fn a_line_with_nothing_to_say_is_left_out() {
        let text = "Subject: Hi {a}\n\nx\n\n  a: {a}\n  b: {b}\n\nPassword: {b}\n\nend\n";
        let template = Template { english: text, japanese: text };
        let filled = template.fill(Language::English, &values(&[("a", "1\n2"), ("b", "")]));
        assert_eq!(filled, Some(("Hi 1\n2".to_owned(), "x\n\n  a: 1\n  2\n\nend\n".to_owned())));
        assert_eq!(template.fill(Language::English, &values(&[("a", "1")])), None);
    }

    #[test]
    fn values_are_not_read_again() {
        let filled = fill_line("{a}", &values(&[("a", "{b}"), ("b", "secret")]));
        assert_eq!(filled, Some(Some("{b}".to_owned())));
    }

    #[test]
    fn both_languages_say_the_same_things() {
        let said = |template: Template, language| {
            let text = template.text(language);
            assert!(
                text.starts_with("Subject: ") && text.split_once('\n').unwrap().1.starts_with('\n'),
                "{text}"
            );
            let names = text.split('{').skip(1).map(|rest| rest.split_once('}').unwrap().0);
            names.collect::<std::collections::BTreeSet<_>>()
        };
        for template in [
            WELCOME,
            RESERVATION_ID,
            RECONFIRM_REMINDER,
            CONFIRMED,
            INVITATION,
            CHANGED,
            CANCELLED,
            CANCELLED_FRIEND,
            WITHDRAWN,
            EXTENDED,
            EXTENDED_FRIEND,
            CHARGED,
            WAIVED,
            REFUNDED,
        ] {
            assert_eq!(said(template, BOTH[0]), said(template, BOTH[1]));
        }
    }

    #[test]
    fn both_languages_have_the_same_phrases() {
        let names = |language| -> Vec<&str> {
            PHRASES.text(language).lines().filter_map(|line| Some(line.split_once(": ")?.0)).collect()
        };
        assert_eq!(names(BOTH[0]), names(BOTH[1]));
        assert!(
            BOTH.iter()
                .all(|&language| names(language).iter().all(|name| !phrase(language, name).is_empty()))
        );
    }
}
