//! The `name="value", …` list of an Authorization or WWW-Authenticate header, and texts with quotes in general.

use crate::limits;

/// Names in lower case, values without quotes.
pub(crate) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Reads at most [`limits::PARAMETERS_MAX`]; parts without `=` are left out.
    pub(crate) fn read(text: &str) -> Self {
        let parts = split_unquoted(text, ',').take(limits::PARAMETERS_MAX);
        let pairs = parts.filter_map(|part| part.split_once('='));
        Self(pairs.map(|(name, value)| (name.trim().to_ascii_lowercase(), unquoted(value))).collect())
    }

    /// The first of that name, which is in lower case.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

/// Splits at `separator` outside quotes. A quote that is never closed is an ordinary character.
pub fn split_unquoted(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let current = rest?;
        let (part, behind) = match unquoted_position(current, separator) {
            Some(at) => (current.get(..at)?, current.get(at + separator.len_utf8()..)),
            None => (current, None),
        };
        rest = behind;
        Some(part.trim())
    })
}

fn unquoted_position(text: &str, separator: char) -> Option<usize> {
    let last_quote = text.rfind('"');
    let mut quoted = false;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' if quoted => quoted = false,
            '"' => quoted = last_quote.is_some_and(|last| last > at),
            c if c == separator && !quoted => return Some(at),
            _ => {}
        }
    }
    None
}

/// `text` without the quotes around it, if it has any, and with `\x` read as `x` between them.
pub fn unquoted(text: &str) -> String {
    let text = text.trim();
    let Some(inner) = text.strip_prefix('"') else { return text.to_owned() };
    let mut out = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => break,
            '\\' => out.extend(chars.next()),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, parts: &[&str]) {
        assert_eq!(split_unquoted(text, ',').collect::<Vec<_>>(), parts);
    }

    #[test]
    fn separators_between_quotes_do_not_split() {
        check("a, b", &["a", "b"]);
        check("", &[""]);
        check(",", &["", ""]);
        check(r#"mode="PLAY,RECORD",b"#, &[r#"mode="PLAY,RECORD""#, "b"]);
        check(r#"mode=",b"#, &[r#"mode=""#, "b"]);
        check(r#"a="x\",y",b"#, &[r#"a="x\",y""#, "b"]);
    }

    #[test]
    fn quotes_are_taken_off() {
        for (text, bare) in [("a", "a"), (r#""a""#, "a"), (r#"""#, ""), (r#""a\"b""#, "a\"b"), (r#""a"#, "a")]
        {
            assert_eq!(unquoted(text), bare);
        }
    }
}
