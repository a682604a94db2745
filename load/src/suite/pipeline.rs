//! One connection that asks without end: SETUP with other channel numbers, PLAY, PAUSE, and again.
//!
//! Owns: the requests, written as fast as the server takes them. The responses are thrown away unread.
//! Invariant: it ends when the value is dropped; a connection that the server closes is opened again, at most one for each
//! nap.

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

use super::bulk::{NICE, drain, response};

const NAP: Duration = Duration::from_millis(1);
/// How long the first response may take.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Rounds of SETUP, PLAY and PAUSE that are written together.
const TOGETHER: u32 = 16;
/// Pairs of channel numbers that there are (RFC 2326 §12.39).
const PAIRS: u32 = 128;
const READ_BYTES: usize = 1 << 20;

#[derive(Debug, Default)]
struct Shared {
    /// Rounds that the kernel took.
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

    /// Rounds that were written, and connections that it took.
    pub(super) fn asked(&self) -> (u64, u64) {
        (self.shared.rounds.load(Ordering::Relaxed), self.shared.connections.load(Ordering::Relaxed))
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A defect there shows in the rounds that it did not write.
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
    let (mut cseq, mut unsent) = (2, Vec::new());
    while !shared.stop.load(Ordering::Relaxed) {
        if unsent.is_empty() {
            for _ in 0..TOGETHER {
                unsent.extend_from_slice(round(url, cseq, &session).as_bytes());
                cseq += 3;
            }
        }
        match stream.write(&unsent) {
            Ok(count) => drop(unsent.drain(..count)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::sleep(NAP),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if unsent.is_empty() {
            shared.rounds.fetch_add(u64::from(TOGETHER), Ordering::Relaxed);
        }
        drain(&stream, &mut bytes)?;
    }
    Ok(())
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
}
