//! Cuts what comes over a viewer's connection into `$` frames and RTSP messages, without a copy.
//!
//! Not here: what the messages say (`slotcast_rtsp::client`).
//! Invariant: what has no end within [`MESSAGE_BYTES_MAX`] is handed on as it is, so that nothing waits for ever.

/// Longest message that is waited for: headers and body at their limits.
const MESSAGE_BYTES_MAX: usize = 128 * 1024;

/// What came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// A `$` frame.
    Frame {
        /// As on the wire.
        channel: u8,
        /// What it held.
        payload: &'a [u8],
    },
    /// A response or request, whole; or what is neither.
    Message(&'a [u8]),
}

/// The first whole piece of `bytes` and what follows it; `None`: it takes more bytes.
pub(crate) fn split(bytes: &[u8]) -> Option<(Piece<'_>, &[u8])> {
    match bytes {
        [b'$', channel, high, low, rest @ ..] => {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            let (payload, rest) = rest.split_at_checked(length)?;
            Some((Piece::Frame { channel: *channel, payload }, rest))
        }
        [] | [b'$', ..] => None,
        // A stray line end.
        [b'\r' | b'\n', rest @ ..] => Some((Piece::Message(&bytes[..1]), rest)),
        _ => {
            let head = bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4);
            let whole = head.and_then(|head| head.checked_add(body_bytes(&bytes[..head])));
            match whole.and_then(|whole| bytes.split_at_checked(whole)) {
                Some((message, rest)) => Some((Piece::Message(message), rest)),
                None if bytes.len() > MESSAGE_BYTES_MAX => Some((Piece::Message(bytes), &[])),
                None => None,
            }
        }
    }
}

/// What `Content-Length` says; 0 where there is none that can be read.
fn body_bytes(head: &[u8]) -> usize {
    let lines = head.split(|&byte| byte == b'\n');
    let mut values = lines.filter_map(|line| {
        let (name, value) = line.split_at_checked(line.iter().position(|&byte| byte == b':')?)?;
        name.eq_ignore_ascii_case(b"content-length").then_some(&value[1..])
    });
    let text = values.next_back().and_then(|value| std::str::from_utf8(value).ok());
    text.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_and_messages_are_cut_apart() {
        let message = b"RTSP/1.0 200 OK\r\ncontent-LENGTH : x\r\nContent-Length: 3\r\n\r\nabc";
        let bytes = [&b"$\x02\0\x02hi"[..], b"\r\n", message, b"$\0\0\0", b"$\0\0"].concat();
        let (mut rest, mut pieces) = (bytes.as_slice(), Vec::new());
        while let Some((piece, next)) = split(rest) {
            pieces.push(piece);
            rest = next;
        }
        let expected = [
            Piece::Frame { channel: 2, payload: b"hi" },
            Piece::Message(b"\r"),
            Piece::Message(b"\n"),
            Piece::Message(message),
            Piece::Frame { channel: 0, payload: b"" },
        ];
        assert_eq!((pieces.as_slice(), rest), (expected.as_slice(), b"$\0\0".as_slice()));
    }

    #[test]
    fn what_is_not_whole_waits_but_not_for_ever() {
        for bytes in [&b""[..], b"$", b"$\0\0\x01", b"RTSP/1.0 200", b"A\r\nContent-Length: 2\r\n\r\nx"] {
            assert_eq!(split(bytes), None);
        }
        let junk = vec![b'x'; MESSAGE_BYTES_MAX + 1];
        assert_eq!(split(&junk), Some((Piece::Message(&junk), &[][..])));
        let huge = format!("A\r\nContent-Length: {}\r\n\r\n", usize::MAX);
        assert_eq!(split(huge.as_bytes()), None);
    }
}
