//! The texts, one file for each mail and language, filled by minijinja.
//!
//! A file begins with `Subject: …`, then an empty line, then the text. Of several empty lines one stays.
//! Invariant: values are not read again, so a title `{{ password }}` stays that. A file that asks for a value that there
//! is not makes no mail.

use std::{collections::BTreeMap, sync::OnceLock};

use minijinja::{Environment, UndefinedBehavior, Value, syntax::SyntaxConfig};

use crate::domain::words::Language;

/// What placeholders stand for. Each value must be fit for a mail already.
pub(super) type Values = BTreeMap<&'static str, Value>;

macro_rules! texts {
    ($($name:literal),* $(,)?) => {
        &[$(
            (concat!("en/", $name), include_str!(concat!("templates/en/", $name, ".txt"))),
            (concat!("ja/", $name), include_str!(concat!("templates/ja/", $name, ".txt"))),
        )*]
    };
}

/// Each text's name and what it says.
const TEXTS: &[(&str, &str)] = texts![
    "welcome",
    "verify_email",
    "new_password",
    "password_changed",
    "email_changed",
    "reservation_id",
    "reconfirm_reminder",
    "confirmed",
    "invitation",
    "changed",
    "cancelled",
    "cancelled_friend",
    "withdrawn",
    "extended",
    "extended_friend",
    "charged",
    "waived",
    "refunded",
    "card_needed",
];

fn environment() -> &'static Environment<'static> {
    static ENVIRONMENT: OnceLock<Environment<'static>> = OnceLock::new();
    ENVIRONMENT.get_or_init(|| {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.expect("the delimiters are the usual ones"));
        for (name, text) in TEXTS {
            environment.add_template(name, text).expect("the texts are ours, and a test fills all of them");
        }
        environment
    })
}

/// Subject and text of the mail `name`, filled. `None`: there is none, it has no subject, or it asks for what is not
/// among `values`.
pub(super) fn fill(name: &str, language: Language, values: &Values) -> Option<(String, String)> {
    let text = environment().get_template(&format!("{}/{name}", language.tag())).ok()?;
    let filled = text.render(Value::from_pairs(values.clone())).ok()?;
    let (subject, body) = filled.split_once('\n')?;
    let mut text = String::with_capacity(body.len());
    for line in body.trim().lines() {
        if !line.trim().is_empty() || !text.ends_with("\n\n") {
            text.push_str(line.trim_end());
            text.push('\n');
        }
    }
    Some((subject.strip_prefix("Subject: ")?.to_owned(), text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_languages_ask_for_the_same_values() {
        let asked = |name: String| environment().get_template(&name).unwrap().undeclared_variables(false);
        for (name, text) in TEXTS {
            assert!(
                text.starts_with("Subject: ") && text.split_once('\n').unwrap().1.starts_with('\n'),
                "{name}"
            );
            if let Some(name) = name.strip_prefix("en/") {
                assert_eq!(asked(format!("en/{name}")), asked(format!("ja/{name}")), "{name}");
            }
        }
    }

    #[test]
    fn values_are_not_read_again() {
        let said = |name: &str| {
            let values = ["name", "provider", "pages"].map(|key| (key, Value::from("{{ number }}")));
            fill(name, Language::English, &Values::from(values))
        };
        let (subject, text) = said("welcome").unwrap();
        assert_eq!(subject, "[{{ number }}] Welcome");
        assert!(text.contains("Dear {{ number }},") && !text.contains("\n\n\n"), "{text}");
        assert_eq!(said("charged"), None, "it asks for what there is not");
    }
}
