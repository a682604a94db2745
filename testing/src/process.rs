//! A child process whose output is read line by line while it runs, and which dies with the test.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

/// One line of output, and when it was read.
#[derive(Clone, Debug)]
pub struct Line {
    pub at: Instant,
    pub text: String,
}

/// A running child. Dropping it kills it; when a test fails, its output is printed.
pub struct Process {
    name: String,
    child: Child,
    incoming: Receiver<Line>,
    lines: Vec<Line>,
}

/// How a child ended, with all that it wrote.
pub struct Finished {
    pub status: ExitStatus,
    pub at: Instant,
    pub lines: Vec<Line>,
}

impl Finished {
    /// The output as one text.
    pub fn text(&self) -> String {
        self.lines.iter().map(|line| format!("{}\n", line.text)).collect()
    }
}

impl Process {
    /// Starts the command without input; `name` stands before each line that is printed on failure.
    #[track_caller]
    pub fn spawn(name: &str, command: &mut Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| {
            panic!(
                "{name}: {:?} does not start: {error} (./test installs what is needed)",
                command.get_program()
            )
        });
        let (outgoing, incoming) = mpsc::channel();
        read_lines(child.stdout.take().unwrap(), outgoing.clone());
        read_lines(child.stderr.take().unwrap(), outgoing);
        Self { name: name.to_owned(), child, incoming, lines: Vec::new() }
    }

    /// The next line for which `wanted` holds; panics when there is none within `limit`.
    #[track_caller]
    pub fn wait_for_line(&mut self, limit: Duration, wanted: impl Fn(&str) -> bool) -> Line {
        let deadline = Instant::now() + limit;
        loop {
            match self.incoming.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.lines.push(line.clone());
                    if wanted(&line.text) {
                        return line;
                    }
                }
                Err(error) => {
                    panic!("{}: the awaited line did not come within {limit:?}: {error}", self.name)
                }
            }
        }
    }

    /// Waits until the process has closed its output and ended; panics after `limit`.
    #[track_caller]
    pub fn wait(mut self, limit: Duration) -> Finished {
        let deadline = Instant::now() + limit;
        loop {
            match self.incoming.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => self.lines.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("{}: still running after {limit:?}", self.name),
            }
        }
        let at = Instant::now();
        let ended = super::wait_for(Duration::from_secs(2), || self.child.try_wait().unwrap());
        let status = ended.unwrap_or_else(|| panic!("{}: closed its output and did not end", self.name));
        Finished { status, at, lines: self.lines.clone() }
    }

    /// True until the process has ended.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// What was read so far, with what has come meanwhile.
    pub fn lines(&mut self) -> &[Line] {
        self.lines.extend(self.incoming.try_iter());
        &self.lines
    }

    /// Sends a signal to this child only.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Asks the process to end as Ctrl-C does, and waits for it.
    #[track_caller]
    pub fn interrupt(self, limit: Duration) -> Finished {
        self.signal(Signal::INT);
        self.wait(limit)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            self.lines.extend(self.incoming.try_iter());
            eprintln!("---- {}: the last of {} lines", self.name, self.lines.len());
            for line in &self.lines[self.lines.len().saturating_sub(60)..] {
                eprintln!("{}: {}", self.name, line.text);
            }
        }
    }
}

/// Reads to the end on a thread of its own. A carriage return ends a line as well: progress displays use it.
fn read_lines(output: impl Read + Send + 'static, lines: Sender<Line>) {
    std::thread::spawn(move || {
        let mut output = BufReader::new(output);
        let mut bytes = Vec::new();
        while let Ok(1..) = output.read_until(b'\n', &mut bytes) {
            for text in String::from_utf8_lossy(&bytes).split(['\r', '\n']).filter(|text| !text.is_empty()) {
                let _ = lines.send(Line { at: Instant::now(), text: text.to_owned() });
            }
            bytes.clear();
        }
    });
}
