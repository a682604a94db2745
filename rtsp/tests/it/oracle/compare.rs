//! One message before our decoder and before rtsp-types, another project's parser: what both take means the same to both.
//!
//! Used by: the tests beside this file, which ask for more, and the fuzz target `rtsp_oracle`, which includes it by its path.
//! Not here: `$` frames, which are split off before; inputs beyond [`INPUT_BYTES_MAX`], since rtsp-types has no bounds.

use std::collections::BTreeMap;

use rtsp_types::{Message, Url};
use slotcast_rtsp::{
    limits,
    message::{Decoder, Item},
};

/// Longest input that is compared.
const INPUT_BYTES_MAX: usize = limits::BODY_BYTES_MAX;

/// What a message says, in words that both parsers have: white space inside a value counts as one space.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    /// Method and address of a request, or code and reason of a response.
    start: (String, Option<String>),
    /// Several headers of one name are one list.
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

fn words(text: &str) -> String {
    text.split([' ', '\t']).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

fn headers<'a>(all: impl Iterator<Item = (&'a str, &'a str)>) -> BTreeMap<String, String> {
    let mut lists: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    all.for_each(|(name, value)| lists.entry(name.to_ascii_lowercase()).or_default().push(value));
    lists.into_iter().map(|(name, values)| (name, words(&values.join(", ")))).collect()
}

fn ours(item: &Item) -> Said {
    match item {
        Item::Request(request) => Said {
            start: (request.method.clone(), Url::parse(&request.url).ok().map(String::from)),
            headers: headers(request.headers.iter()),
            body: request.body.to_vec(),
        },
        Item::Response(response) => Said {
            start: (response.status.code().to_string(), Some(words(&response.reason))),
            headers: headers(response.headers.iter()),
            body: response.body.to_vec(),
        },
        Item::Frame { .. } => panic!("a frame is no message"),
    }
}

fn theirs(message: &Message<Vec<u8>>) -> Said {
    match message {
        Message::Request(request) => Said {
            start: (
                <&str>::from(request.method()).to_owned(),
                request.request_uri().cloned().map(String::from),
            ),
            headers: headers(request.headers().map(|(name, value)| (name.as_str(), value.as_str()))),
            body: request.body().clone(),
        },
        Message::Response(response) => Said {
            start: (u16::from(response.status()).to_string(), Some(words(response.reason_phrase()))),
            headers: headers(response.headers().map(|(name, value)| (name.as_str(), value.as_str()))),
            body: response.body().clone(),
        },
        Message::Data(_) => panic!("data is no message"),
    }
}

/// Whether rtsp-types 0.1.3 takes some of these names for each other: it compares them up to the shorter one's end.
fn mixes_up(headers: &BTreeMap<String, String>) -> bool {
    let names = || headers.keys();
    names().any(|one| names().any(|other| one != other && other.starts_with(one.as_str())))
}

/// Whether the front of `bytes` is something that both parsers are made for.
pub(crate) fn is_comparable(bytes: &[u8]) -> bool {
    let begun = bytes.iter().find(|byte| !matches!(byte, b'\r' | b'\n'));
    begun != Some(&b'$') && bytes.len() <= INPUT_BYTES_MAX
}

/// Whether some line ends without a carriage return, or goes on behind one: a line's end to us, and part of a reason to rtsp-types.
fn has_lone_line_end(head: &[u8]) -> bool {
    let text = String::from_utf8_lossy(head);
    text.replace("\r\n", "").contains(['\r', '\n'])
}

/// Puts the message at the front of `bytes` before both; returns its length where both take it, and all its lines end as RFC 2326
/// wants it.
///
/// Panics where both take it and read different things.
#[track_caller]
pub(crate) fn same(bytes: &[u8]) -> Option<usize> {
    if !is_comparable(bytes) {
        return None;
    }
    let mut decoder = Decoder::default();
    decoder.feed(bytes);
    let item = decoder.poll_item().ok()??;
    let (message, count) = Message::<Vec<u8>>::parse(bytes).ok()?;
    let (ours, mut theirs) = (ours(&item), theirs(&message));
    let head = &bytes[..bytes.len() - decoder.buffered() - ours.body.len()];
    if has_lone_line_end(head) {
        return None;
    }
    if mixes_up(&ours.headers) {
        theirs.headers.clone_from(&ours.headers);
    }
    let shown = String::from_utf8_lossy(bytes);
    assert_eq!(ours, theirs, "{shown:?}");
    assert_eq!(bytes.len() - decoder.buffered(), count, "{shown:?}");
    Some(count)
}
