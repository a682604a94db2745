//! Words of a POSIX shell's command line.
//!
//! Owns: quoting. Invariant: a quoted word is read by the shell as exactly that word, whatever it is made of; only NUL
//! cannot be part of one.

use std::borrow::Cow;

/// `word` as it must be typed: as it is where that is safe, else in single quotes (POSIX.1-2017, 2.2.2).
pub fn quote(word: &str) -> Cow<'_, str> {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"_@%+=:,./-".contains(&b);
    // A lone `!` is a reserved word only where a command begins.
    if word == "!" || (!word.is_empty() && word.bytes().all(is_plain)) {
        return Cow::Borrowed(word);
    }
    Cow::Owned(format!("'{}'", word.replace('\'', r"'\''")))
}

/// One command line of these words; the first is the program.
pub fn join<'w>(words: impl IntoIterator<Item = &'w str>) -> String {
    let mut line = String::new();
    for word in words {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&quote(word));
    }
    line
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(word: &str, typed: &str) {
        assert_eq!(quote(word), typed);
    }

    #[test]
    fn words_are_quoted_only_where_they_must() {
        check("rtsp://live:7r9kq@host:8555/channel4", "rtsp://live:7r9kq@host:8555/channel4");
        check("0:a:0?", "'0:a:0?'");
        check("", "''");
        check("it's", r"'it'\''s'");
        check("$(reboot)", "'$(reboot)'");
        check("!", "!");
        check("生放送", "'生放送'");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn the_shell_reads_the_word_that_was_quoted(words in proptest::collection::vec("[^\0]{0,40}", 1..5)) {
            let line = join(["printf", r"%s\0"].into_iter().chain(words.iter().map(String::as_str)));
            let output = Command::new("sh").arg("-c").arg(line).output().unwrap();
            let expected: String = words.iter().map(|word| format!("{word}\0")).collect();
            prop_assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
        }
    }
}
