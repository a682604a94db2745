//! Header fields that hold what people wrote, encoded by RFC 2047.
//!
//! Invariant: a field has only visible ASCII, spaces and its own folds; no line is longer than 78; reading it gives back
//! [`one_line`] of what was written, also where that looks like an encoded word itself.

use lettre::message::header::{HeaderName, HeaderValue};

use super::text::one_line;
use crate::domain::words::Email;

/// Of one encoded word: 39 bytes make 52 letters of base 64, and with the frame 64.
const WORD_BYTES_MAX: usize = 39;
/// As plain text at most so long, so that it needs no fold.
const PLAIN_BYTES_MAX: usize = 60;

/// `Subject` and its like.
pub(super) fn text_field(name: &'static str, text: &str) -> HeaderValue {
    let text = one_line(text);
    let encoded = if is_plain(&text) { text.clone() } else { encoded_words(&text) };
    HeaderValue::dangerous_new_pre_encoded(HeaderName::new_from_ascii_str(name), text, encoded)
}

/// `From` and `To`: an address, with a name in front where there is one.
pub(super) fn mailbox_field(name: &'static str, shown: &str, address: &Email) -> HeaderValue {
    let shown = one_line(shown);
    let is_atoms = is_plain(&shown) && shown.bytes().all(|b| b.is_ascii_alphanumeric() || b == b' ');
    let encoded = match shown.as_str() {
        "" => address.to_string(),
        // On a line of its own: an address may have 254 bytes.
        atoms if is_atoms => format!("{atoms}\r\n <{address}>"),
        other => format!("{}\r\n <{address}>", encoded_words(other)),
    };
    HeaderValue::dangerous_new_pre_encoded(HeaderName::new_from_ascii_str(name), address.to_string(), encoded)
}

/// Whether it can stand as it is: short, visible ASCII, nothing that a reader would decode.
fn is_plain(text: &str) -> bool {
    text.len() <= PLAIN_BYTES_MAX
        && text.bytes().all(|b| b == b' ' || b.is_ascii_graphic())
        && !text.contains("=?")
}

/// Encoded words, one on each line; the folds between them are not part of the text (RFC 2047 §6.2).
fn encoded_words(text: &str) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let mut words: Vec<String> = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let mut end = rest.len().min(WORD_BYTES_MAX);
        // A letter has at most 4 bytes: this ends, above 0.
        while !rest.is_char_boundary(end) {
            end -= 1;
        }
        let (word, after) = rest.split_at(end);
        words.push(format!("=?utf-8?B?{}?=", STANDARD.encode(word)));
        rest = after;
    }
    words.join("\r\n ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> String {
        let mut headers = lettre::message::header::Headers::new();
        headers.insert_raw(text_field("Subject", text));
        headers.to_string()
    }

    #[test]
    fn plain_text_stays_readable() {
        assert_eq!(written("Reservation 7: confirmed"), "Subject: Reservation 7: confirmed\r\n");
        assert_eq!(written("日本"), "Subject: =?utf-8?B?5pel5pys?=\r\n");
    }

    #[test]
    fn what_looks_encoded_is_encoded_again() {
        assert!(!written("=?utf-8?Q?evil=0D=0ABcc?=").contains("evil"));
        assert_eq!(written("a\r\nBcc: b@c.d"), "Subject: a Bcc: b@c.d\r\n");
    }

    #[test]
    fn long_text_is_folded() {
        for text in ["x".repeat(1_500), "漢".repeat(500), "👩‍🚀".repeat(300)] {
            let field = written(&text);
            assert!(field.lines().all(|line| line.len() <= 78), "{field}");
            assert!(field.lines().skip(1).all(|line| line.starts_with(" =?")), "{field}");
        }
    }
}
