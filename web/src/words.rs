//! The pages' words in each language, and which language a visitor reads.
//!
//! Owns: [`Words`], made once from `words/*.ftl`; [`Words::language`].
//! Not here: what refusals say (`domain::refusal`), dates and money (`written`).
//! Invariant: every key is there in every language; a test compares them, and looks for the keys that templates use.

use std::collections::HashMap;

use axum::http::{HeaderMap, header};
use fluent_bundle::{FluentArgs, FluentError, FluentResource, FluentValue, concurrent::FluentBundle};
use fluent_langneg::{
    NegotiationStrategy, convert_vec_str_to_langids_lossy, negotiate_languages, parse_accepted_languages,
};
use slotcast_reservation::domain::words::Language;

const ENGLISH: &str = include_str!("../words/en.ftl");
const JAPANESE: &str = include_str!("../words/ja.ftl");

/// Bytes of `Accept-Language` that are looked at.
const ACCEPT_BYTES_MAX: usize = 200;

/// All words of one language.
pub(crate) struct Words {
    language: Language,
    /// Those that take nothing in, written out once.
    plain: HashMap<String, String>,
    bundle: FluentBundle<FluentResource>,
}

impl Words {
    /// Of that language.
    ///
    /// Panics where the built-in file cannot be read, which a test shows first.
    pub(crate) fn of(language: Language) -> Self {
        let text = match language {
            Language::English => ENGLISH,
            Language::Japanese => JAPANESE,
        };
        let resource = FluentResource::try_new(text.to_owned()).expect("a test reads the built-in words");
        let tag = tag(language).parse().expect("a test reads the built-in words");
        let keys: Vec<_> = keys(text).map(str::to_owned).collect();
        let mut bundle = FluentBundle::new_concurrent(vec![tag]);
        // What goes into a sentence stands in an element of its own where it may read the other way.
        bundle.set_use_isolating(false);
        bundle.set_formatter(Some(grouped));
        bundle.add_resource(resource).expect("a test reads the built-in words");
        let mut words = Self { language, plain: HashMap::new(), bundle };
        for key in keys {
            if let Ok(text) = words.formatted(&key, None) {
                words.plain.insert(key, text);
            }
        }
        words
    }

    /// Which language they are of.
    pub(crate) const fn language(&self) -> Language {
        self.language
    }

    /// For `lang`.
    pub(crate) const fn tag(&self) -> &'static str {
        tag(self.language)
    }

    /// The words of `key`. A key that is not there is shown as it is: a test keeps that from happening.
    pub(crate) fn t<'a>(&'a self, key: &'a str) -> &'a str {
        self.plain.get(key).map_or(key, String::as_str)
    }

    /// The words of `key` with one thing in them.
    pub(crate) fn with(&self, key: &str, name: &str, value: impl Argument) -> String {
        let mut args = FluentArgs::new();
        args.set(name, value.argument());
        self.formatted(key, Some(&args)).unwrap_or_else(|_| key.to_owned())
    }

    /// The words of `key` with two things in them.
    pub(crate) fn with_two(
        &self,
        key: &str,
        name: &str,
        value: impl Argument,
        other: &str,
        second: impl Argument,
    ) -> String {
        let mut args = FluentArgs::new();
        args.set(name, value.argument());
        args.set(other, second.argument());
        self.formatted(key, Some(&args)).unwrap_or_else(|_| key.to_owned())
    }

    fn formatted(&self, key: &str, args: Option<&FluentArgs<'_>>) -> Result<String, Vec<FluentError>> {
        let pattern =
            self.bundle.get_message(key).and_then(|message| message.value()).ok_or_else(Vec::new)?;
        let mut errors = Vec::new();
        let text = self.bundle.format_pattern(pattern, args, &mut errors).into_owned();
        if errors.is_empty() { Ok(text) } else { Err(errors) }
    }
}

/// What may stand in a sentence.
pub(crate) trait Argument {
    /// As Fluent takes it.
    fn argument(&self) -> FluentValue<'_>;
}

impl Argument for str {
    fn argument(&self) -> FluentValue<'_> {
        FluentValue::from(self)
    }
}

impl Argument for String {
    fn argument(&self) -> FluentValue<'_> {
        FluentValue::from(self.as_str())
    }
}

impl<T: Argument + ?Sized> Argument for &T {
    fn argument(&self) -> FluentValue<'_> {
        (**self).argument()
    }
}

macro_rules! numbers {
    ($($number:ty),*) => { $(
        impl Argument for $number {
            fn argument(&self) -> FluentValue<'_> {
                FluentValue::from(*self)
            }
        }
    )* };
}

numbers!(u16, u32, u64, i64, usize);

/// Numbers with a comma before each three digits, as both languages write them.
fn grouped<M>(value: &FluentValue<'_>, _: &M) -> Option<String> {
    let FluentValue::Number(number) = value else { return None };
    (number.value.fract() == 0.0).then(|| crate::written::grouped(number.value as i64))
}

/// The language's tag (BCP 47).
pub(crate) const fn tag(language: Language) -> &'static str {
    match language {
        Language::English => "en",
        Language::Japanese => "ja",
    }
}

/// The language of that tag.
pub(crate) fn of_tag(tag: &str) -> Option<Language> {
    [Language::English, Language::Japanese].into_iter().find(|language| self::tag(*language) == tag)
}

/// What a browser asks for (`Accept-Language`, RFC 9110 §12.5.4); English where we have none of it.
pub(crate) fn accepted(headers: &HeaderMap) -> Language {
    let asked = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let asked = asked.get(..ACCEPT_BYTES_MAX.min(asked.len())).unwrap_or("");
    let asked = parse_accepted_languages(asked);
    let ours = convert_vec_str_to_langids_lossy(["en", "ja"]);
    let found = negotiate_languages(&asked, &ours, None, NegotiationStrategy::Filtering);
    found.first().and_then(|found| of_tag(&found.to_string())).unwrap_or(Language::English)
}

/// The keys of a Fluent file, in order.
fn keys(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| {
        let (key, _) = line.split_once('=')?;
        let key = key.trim_end();
        let begins = key.starts_with(|letter: char| letter.is_ascii_lowercase());
        (begins && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')).then_some(key)
    })
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    #[test]
    fn both_languages_have_the_same_keys_each_once_and_with_the_same_things_in_them() {
        let (english, japanese): (Vec<_>, Vec<_>) = (keys(ENGLISH).collect(), keys(JAPANESE).collect());
        let set = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect::<BTreeSet<_>>();
        assert_eq!(set(&english), set(&japanese));
        assert_eq!(set(&english).len(), english.len(), "a key of en.ftl stands twice");
        assert_eq!(set(&japanese).len(), japanese.len(), "a key of ja.ftl stands twice");
        for key in &english {
            assert_eq!(variables(ENGLISH, key), variables(JAPANESE, key), "{key}");
        }
    }

    /// The names after `$` in the message of `key`.
    fn variables<'a>(text: &'a str, key: &str) -> BTreeSet<&'a str> {
        let begin = text.find(&format!("\n{key} =")).map_or(0, |at| at + 1);
        let rest = &text[begin..];
        let end = rest.find("\n\n").unwrap_or(rest.len());
        let mut lines = rest[..end].lines();
        let first = lines.next().into_iter();
        first
            .chain(lines.take_while(|line| line.starts_with(' ') || line.starts_with('}')))
            .flat_map(|line| line.split('$').skip(1))
            .filter_map(|rest| rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next())
            .collect()
    }

    #[test]
    fn every_key_that_is_used_is_there_and_every_key_is_used() {
        let known: BTreeSet<_> = keys(ENGLISH).collect();
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut texts = Vec::new();
        gather(&root.join("templates"), &mut texts);
        gather(&root.join("src"), &mut texts);
        let all = texts.join("\n");
        for call in [".t(\"", ".with(\"", ".with_two(\""] {
            for used in all.split(call).skip(1) {
                let key = used.split('"').next().unwrap();
                assert!(known.contains(key), "{key} is used and stands in no file of words");
            }
        }
        for key in known {
            assert!(all.contains(&format!("\"{key}\"")), "{key} is used nowhere");
        }
    }

    fn gather(directory: &Path, texts: &mut Vec<String>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                gather(&path, texts);
            } else {
                texts.push(fs::read_to_string(&path).unwrap());
            }
        }
    }

    #[test]
    fn browsers_get_the_language_that_they_ask_for() {
        for (asked, language) in [
            ("ja", Language::Japanese),
            ("ja-JP,ja;q=0.9,en;q=0.8", Language::Japanese),
            ("en-GB,en;q=0.9,ja;q=0.1", Language::English),
            ("de-DE,de;q=0.9", Language::English),
            ("de,ja;q=0.5", Language::Japanese),
            ("", Language::English),
            (";;;q=x,,-", Language::English),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_LANGUAGE, asked.parse().unwrap());
            assert_eq!(accepted(&headers), language, "{asked}");
        }
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_LANGUAGE, "ja,".repeat(10_000).parse().unwrap());
        assert_eq!(accepted(&headers), Language::Japanese);
    }

    #[test]
    fn numbers_stand_in_sentences_in_groups() {
        let words = Words::of(Language::English);
        assert_eq!(words.with("seats", "n", 1_u32), "1 seat");
        assert_eq!(words.with("seats", "n", 12_345_u32), "12,345 seats");
    }
}
