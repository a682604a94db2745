//! One connection that asks without end: SETUP with other channel numbers, PLAY, PAUSE, and again.
//!
//! Owns: the requests, written as fast as they are answered. Of the responses only the last number is looked at.
//! Invariant: so many are under way that the server always has the next one, and fewer than it would close the connection
//! for. A connection that it closes is opened again, at most one for each nap. It ends when the value is dropped.

use std::{
    io::{self, Read, Write},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use mio::net::TcpStream;
use rustix::process::setpriority_process;

use super::bulk::{NICE, response};

const NAP: Duration = Duration::from_millis(1);
/// How long the first response may take.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Requests that may be under way: some 45 KB, of which slotcast takes 128 KiB before it closes the connection.
const UNDER_WAY_MAX: u32 = 300;
/// What stands before the number of a response.
const NUMBER: &[u8] = b"CSeq: ";
/// Pairs of channel numbers that there are (RFC 2326 §12.39).
const PAIRS: u32 = 128;
const READ_BYTES: usize = 64 * 1024;

#[derive(Debug, Default)]
struct Shared {
    /// Rounds that were answered.
    rounds: AtomicU64,
    connections: AtomicU64,
    stop: AtomicBool,
}

/// The connection at work.
pub(super) struct Pipeline {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Pipeline {
    /// - `url`: what is set up, without credentials.
    ///
    /// # Errors
    /// There is no thread.
    pub(super) fn start(server: SocketAddr, url: String) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let own = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("load-pipeline".to_owned()).spawn(move || {
            // Of this thread alone, as Linux has it. Where it is refused, those who measure wait longer for it.
            let _ = setpriority_process(None, NICE);
            while !own.stop.load(Ordering::Relaxed) {
                // Whatever ended it, the next connection goes on.
                drop(ask(server, &url, &own));
                std::thread::sleep(NAP);
            }
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Rounds that were answered, and connections that it took.
    pub(super) fn asked(&self) -> (u64, u64) {
        (self.shared.rounds.load(Ordering::Relaxed), self.shared.connections.load(Ordering::Relaxed))
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A defect there shows in the rounds that are missing.
            drop(thread.join());
        }
    }
}

/// Asks on one connection until the end, or until the server closes it.
fn ask(server: SocketAddr, url: &str, shared: &Shared) -> io::Result<()> {
    let mut stream = std::net::TcpStream::connect_timeout(&server, ANSWER_MAX)?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    shared.connections.fetch_add(1, Ordering::Relaxed);
    write!(stream, "{}", setup(url, 1, 0, ""))?;
    let (mut begun, mut bytes) = (Vec::new(), vec![0; READ_BYTES]);
    let session = loop {
        match stream.read(&mut bytes)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            got => begun.extend_from_slice(&bytes[..got]),
        }
        if let Some(session) = response(&begun)? {
            break session.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
        }
    };
    stream.set_nonblocking(true)?;
    let mut stream = TcpStream::from_std(stream);
    let (mut next, mut answered, mut unsent) = (2_u32, 1_u32, Vec::new());
    while !shared.stop.load(Ordering::Relaxed) {
        while next.saturating_sub(answered) < UNDER_WAY_MAX {
            unsent.extend_from_slice(round(url, next, &session).as_bytes());
            next += 3;
        }
        let wrote = unless_blocked(stream.write(&unsent))?.map(|count| drop(unsent.drain(..count)));
        let read = unless_blocked(stream.read(&mut bytes))?;
        match read {
            Some(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Some(got) => {
                let last = last_number(&bytes[..got]).unwrap_or(answered);
                shared
                    .rounds
                    .fetch_add(u64::from((last / 3).saturating_sub(answered / 3)), Ordering::Relaxed);
                answered = last;
            }
            None if wrote.is_none() || unsent.is_empty() => std::thread::sleep(NAP),
            None => {}
        }
    }
    Ok(())
}

/// `None`: not now.
fn unless_blocked(done: io::Result<usize>) -> io::Result<Option<usize>> {
    match done {
        Ok(count) => Ok(Some(count)),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The number of the last response whose number is whole in `bytes`. One that two reads part between them is left out:
/// the next one tells as much.
fn last_number(bytes: &[u8]) -> Option<u32> {
    let whole = &bytes[..bytes.iter().rposition(|&byte| byte == b'\r')?];
    let at = whole.windows(NUMBER.len()).rposition(|six| six == NUMBER)? + NUMBER.len();
    let digits = whole[at..].split(|byte| !byte.is_ascii_digit()).next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn setup(url: &str, cseq: u32, pair: u32, session: &str) -> String {
    let (rtp, rtcp) = (2 * (pair % PAIRS), 2 * (pair % PAIRS) + 1);
    let transport = format!("Transport: RTP/AVP/TCP;unicast;interleaved={rtp}-{rtcp}");
    format!("SETUP {url}/trackID=0 RTSP/1.0\r\nCSeq: {cseq}\r\n{session}{transport}\r\n\r\n")
}

/// SETUP with the next channel numbers, PLAY, PAUSE.
///
/// - `cseq`: of the first of the three.
fn round(url: &str, cseq: u32, session: &str) -> String {
    let session = format!("Session: {session}\r\n");
    let [play, pause] = [("PLAY", cseq + 1), ("PAUSE", cseq + 2)]
        .map(|(method, cseq)| format!("{method} {url} RTSP/1.0\r\nCSeq: {cseq}\r\n{session}\r\n"));
    [setup(url, cseq, cseq / 3, &session), play, pause].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_round_names_other_channel_numbers_as_long_as_there_are_any() {
        let pair = |cseq| {
            let text = round("rtsp://127.0.0.1/channel1", cseq, "abc");
            assert_eq!(text.matches("Session: abc\r\n").count(), 3, "{text}");
            assert!(
                text.contains(&format!("PAUSE rtsp://127.0.0.1/channel1 RTSP/1.0\r\nCSeq: {}\r\n", cseq + 2))
            );
            let (_, rest) = text.split_once("interleaved=").unwrap();
            rest.split_once("\r\n").unwrap().0.to_owned()
        };
        let pairs: Vec<String> = (0..PAIRS).map(|number| pair(2 + 3 * number)).collect();
        assert_eq!((pairs[0].as_str(), pairs[127].as_str()), ("0-1", "254-255"));
        let mut different = pairs.clone();
        different.sort_unstable();
        different.dedup();
        assert_eq!(different.len(), PAIRS as usize);
        assert_eq!(pair(2 + 3 * PAIRS), pairs[0]);
    }

    #[test]
    fn the_last_whole_number_counts_wherever_a_read_ends() {
        let bytes =
            b"$\0\0\x01xRTSP/1.0 200 OK\r\nCSeq: 41\r\n\r\nRTSP/1.0 200 OK\r\nCSeq: 1042\r\nSession: a\r\n";
        assert_eq!(last_number(bytes), Some(1042));
        let second = bytes.len() - b"\r\nSession: a\r\n".len();
        for end in 0..second {
            let expected = (end > 30).then_some(41);
            assert_eq!(last_number(&bytes[..end]), expected, "{}", String::from_utf8_lossy(&bytes[..end]));
        }
    }
}
