//! Log lines on standard error, for people or for machines.
//!
//! Owns: the format, the escaping, and the thread that writes.
//! Invariant: one event is one line, whatever a peer put into it; who logs never waits for who reads: when the reader
//! is too slow, lines are dropped and counted.

use std::{
    io::{self, Write},
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, SyncSender, TrySendError},
    },
    thread,
    time::Duration,
};

use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

use crate::config::{Log, LogFormat};

/// Lines that may wait for the reader.
const LINES_MAX: usize = 8_192;

/// How long the end of the process waits for the last lines.
const FLUSH_MAX: Duration = Duration::from_secs(1);

static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Lines that were dropped because the reader of standard error was too slow.
pub fn lines_dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

enum Message {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

/// Writes out what waits when it is dropped. Keep it until the end of `main`.
#[derive(Debug)]
#[must_use = "the last lines are lost without it"]
pub struct Guard {
    lines: SyncSender<Message>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let (done, wait) = mpsc::sync_channel(1);
        if self.lines.try_send(Message::Flush(done)).is_ok() {
            // A reader that hangs must not keep the process.
            let _in_time = wait.recv_timeout(FLUSH_MAX);
        }
    }
}

/// Starts logging for the whole process. `None`: somebody else did already, and that stays.
pub fn start(log: &Log) -> io::Result<Option<Guard>> {
    let filter = EnvFilter::try_new(&log.level).map_err(io::Error::other)?;
    let (lines, receiver) = mpsc::sync_channel(LINES_MAX);
    thread::Builder::new().name("log".to_owned()).spawn(move || write_lines(&receiver, io::stderr()))?;
    let writer = Lines { lines: lines.clone() };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(writer);
    let started = match log.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    Ok(started.ok().map(|()| Guard { lines }))
}

fn write_lines(receiver: &Receiver<Message>, mut out: impl Write) {
    while let Ok(message) = receiver.recv() {
        match message {
            // Nothing can be done about a standard error that is gone.
            Message::Line(line) => drop(out.write_all(&line)),
            Message::Flush(done) => {
                drop(out.flush());
                let _nobody_waits_any_more = done.try_send(());
            }
        }
    }
}

/// Hands each event's line to the thread that writes.
struct Lines {
    lines: SyncSender<Message>,
}

impl MakeWriter<'_> for Lines {
    type Writer = Line;

    fn make_writer(&self) -> Line {
        Line { lines: self.lines.clone() }
    }
}

/// One event. The formatter writes it whole.
struct Line {
    lines: SyncSender<Message>,
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.lines.try_send(Message::Line(escape(bytes))) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                DROPPED.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Everything but the line's own end that a terminal could take for a command, as `\u001b`, which is right in JSON
/// as well.
fn escape(bytes: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(bytes);
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let mut out = String::with_capacity(bytes.len() + 1);
    for c in line.chars() {
        if c.is_control() {
            out.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            out.push(c);
        }
    }
    out.push('\n');
    out.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_and_the_line_stays_one() {
        let escaped = escape("a\u{1b}[31m\r\nb\u{9b}\u{7f}\tä\n".as_bytes());
        assert_eq!(
            String::from_utf8(escaped).unwrap(),
            "a\\u001b[31m\\u000d\\u000ab\\u009b\\u007f\\u0009ä\n"
        );
    }

    #[test]
    fn a_reader_that_hangs_costs_lines_and_no_time() {
        let (lines, _receiver) = mpsc::sync_channel(1);
        let before = lines_dropped();
        let mut line = Line { lines };
        for _ in 0..3 {
            assert_eq!(line.write(b"x\n").unwrap(), 2);
        }
        assert_eq!(lines_dropped() - before, 2);
    }

    #[test]
    fn lines_come_out_before_the_flush_is_done() {
        let (lines, receiver) = mpsc::sync_channel(4);
        let (done, wait) = mpsc::sync_channel(1);
        Line { lines: lines.clone() }.write_all(b"one\n").unwrap();
        lines.send(Message::Flush(done)).unwrap();
        drop(lines);
        let mut out = Vec::new();
        write_lines(&receiver, &mut out);
        assert_eq!(out, b"one\n");
        assert!(wait.try_recv().is_ok());
    }
}
