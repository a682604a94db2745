//! Markup that is ours and goes into pages as it is.
//!
//! Invariant: it is made here, in `art` and in `written` only, of constants, numbers and times; no text that somebody typed is in it.

use std::{borrow::Cow, fmt};

use askama::filters::HtmlSafe;

/// Ready markup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Markup(pub(super) Cow<'static, str>);

impl fmt::Display for Markup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl askama::FastWritable for Markup {
    fn write_into(&self, into: &mut dyn fmt::Write, _: &dyn askama::Values) -> askama::Result<()> {
        Ok(into.write_str(&self.0)?)
    }
}

impl HtmlSafe for Markup {}

/// What somebody typed, without what would turn or hide the text beside it. The templates escape it as any other text.
pub(crate) fn typed(text: &str) -> String {
    let turns = |letter: char| {
        (letter.is_control() && letter != '\n')
            || matches!(letter, '\u{200e}' | '\u{200f}' | '\u{61c}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().filter(|letter| !turns(*letter)).collect()
}
