//! RTSP as bytes: the same items whatever the splits, and what is written is read back.

use slotcast_rtsp::message::{Decoder, Item};

/// What a decoder made of its input: items as text, and the error that ended it.
#[derive(Debug, PartialEq, Eq)]
struct Decoded {
    items: Vec<String>,
    error: Option<String>,
}

/// The whole input at once, in two pieces, and byte by byte: always the same.
pub(crate) fn decoder(data: &[u8]) {
    let whole = decode([data]);
    let middle = data.len() / 2;
    assert_eq!(whole, decode([&data[..middle], &data[middle..]]), "another result in two pieces");
    if data.len() <= 4096 {
        assert_eq!(whole, decode(data.chunks(1)), "another result byte by byte");
        assert_eq!(whole, decode(data.chunks(7)), "another result in sevens");
    }
    read_back(data);
}

/// `$` frames: their lengths are those of the input, and nothing is kept of what was handed out.
pub(crate) fn frames(data: &[u8]) {
    let mut decoder = Decoder::default();
    decoder.feed(data);
    let mut used = 0;
    while let Ok(Some(item)) = decoder.poll_item() {
        if let Item::Frame { payload, .. } = item {
            used += 4 + payload.len();
        }
        assert!(decoder.buffered() + used <= data.len());
    }
    self::decoder(data);
}

fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Decoded {
    let mut decoder = Decoder::default();
    let mut decoded = Decoded { items: Vec::new(), error: None };
    for piece in pieces {
        decoder.feed(piece);
        // Every item takes at least one byte.
        for _ in 0..=decoder.buffered() {
            match decoder.poll_item() {
                Ok(Some(item)) => decoded.items.push(format!("{item:?}")),
                Ok(None) => break,
                Err(error) if error.closes() => {
                    decoded.error = Some(format!("{error:?}"));
                    return decoded;
                }
                Err(error) => decoded.items.push(format!("{error:?}")),
            }
        }
    }
    decoded
}

/// A message that was read and written again reads as itself from then on.
fn read_back(data: &[u8]) {
    let mut decoder = Decoder::default();
    decoder.feed(data);
    while let Ok(Some(item)) = decoder.poll_item() {
        let Some(written) = write(&item) else { continue };
        // Writing may lengthen a header by a space: near the limits what is written may be too long to be read.
        if written.len() > 1_500 {
            continue;
        }
        let mut again = Decoder::default();
        again.feed(&written);
        let read =
            again.poll_item().expect("what was written is well-formed").expect("what was written is whole");
        assert_eq!(write(&read).as_ref(), Some(&written));
        assert_eq!(again.buffered(), 0);
    }
}

fn write(item: &Item) -> Option<Vec<u8>> {
    match item {
        Item::Request(request) => Some(request.to_bytes().to_vec()),
        Item::Response(response) => Some(response.to_bytes().to_vec()),
        Item::Frame { .. } => None,
    }
}
