//! The other load tools as child processes: started on the tools' core, waited for, ended.
//!
//! Invariant: each child has a deadline and is gone when its value is dropped; an interrupt ends the wait at once.

use std::{
    fs::{self, File, Permissions},
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde::de::DeserializeOwned;
use tempfile::TempDir;

use crate::{limit, push::PushReport, storm::StormReport, view::ViewReport};

/// How often a child is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// How much of what a child said last is passed on.
const WORDS_CHARS_MAX: usize = 300;

/// A report of a tool.
pub(super) trait ToolReport: DeserializeOwned {
    /// What the tool calls wrong. Then, and only then, it reports and its exit code is 1 all the same.
    fn wrong(&self) -> Vec<String>;
}

impl ToolReport for limit::Report {
    fn wrong(&self) -> Vec<String> {
        self.wrong.clone()
    }
}

impl ToolReport for Vec<StormReport> {
    fn wrong(&self) -> Vec<String> {
        self.iter().flat_map(|report| report.wrong.clone()).collect()
    }
}

impl ToolReport for PushReport {
    fn wrong(&self) -> Vec<String> {
        self.failed.clone()
    }
}

impl ToolReport for ViewReport {
    fn wrong(&self) -> Vec<String> {
        self.wrong.clone()
    }
}

/// 128 bits as text.
///
/// # Errors
/// The kernel has none.
pub(super) fn random() -> io::Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| io::Error::other(format!("no random numbers from the kernel: {error}")))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn directory() -> io::Result<TempDir> {
    tempfile::Builder::new().prefix("slotcast-suite-").permissions(Permissions::from_mode(0o700)).tempdir()
}

/// Starts tools.
pub(super) struct Tools {
    pub(super) program: PathBuf,
    /// What is started as the server: this program, or another version of it.
    pub(super) server: PathBuf,
    /// Only this user can read it; it is gone with this value.
    pub(super) directory: TempDir,
    pub(super) interrupted: Arc<AtomicBool>,
    pub(super) allow_remote: bool,
    started: AtomicU32,
}

impl Tools {
    /// - `server`: another version to start as the server; `None`: this program.
    ///
    /// # Errors
    /// This program's file is gone, or there is no temporary directory.
    pub(super) fn new(
        interrupted: Arc<AtomicBool>,
        server: Option<PathBuf>,
        allow_remote: bool,
    ) -> io::Result<Self> {
        let program = std::env::current_exe()?;
        Ok(Self {
            server: server.unwrap_or_else(|| program.clone()),
            program,
            directory: directory()?,
            interrupted,
            allow_remote,
            started: AtomicU32::new(0),
        })
    }

    /// A name for a file that nobody has yet.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        self.directory.path().join(format!("{number}-{name}"))
    }

    /// # Errors
    /// The user has ended the suite.
    pub(super) fn go_on(&self) -> io::Result<()> {
        match self.interrupted.load(Ordering::Relaxed) {
            // Not `Interrupted`, after which others would try again.
            true => Err(io::Error::new(io::ErrorKind::ConnectionAborted, "interrupted")),
            false => Ok(()),
        }
    }

    /// Whether the user has ended the suite.
    pub(super) fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    /// Starts `slotcast load NAME ARGUMENTS --json FILE`.
    ///
    /// # Errors
    /// It does not start.
    pub(super) fn start(
        &self,
        name: &'static str,
        arguments: &[String],
        at_most: Duration,
    ) -> io::Result<Tool> {
        self.go_on()?;
        let [json, words] = ["json", "words"].map(|kind| self.file(&format!("{name}.{kind}")));
        let mut command = Command::new(&self.program);
        command.args(["load", name]).args(arguments).arg("--json").arg(&json);
        if self.allow_remote && name != "limit" {
            command.arg("--allow-remote");
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&words)?);
        let child = command.spawn()?;
        Ok(Tool { name, child, json, words, deadline: Instant::now() + at_most })
    }
}

/// A tool at work; it is ended when this is dropped.
pub(super) struct Tool {
    name: &'static str,
    child: Child,
    json: PathBuf,
    words: PathBuf,
    deadline: Instant,
}

impl Tool {
    /// Waits until it has ended, and reads what it reports, also where it reports what must not be.
    ///
    /// - `look`: called again and again meanwhile.
    ///
    /// # Errors
    /// It broke down, it was ended, it took too long, or the user has ended the suite.
    pub(super) fn report<T: ToolReport>(
        mut self,
        tools: &Tools,
        look: &mut dyn FnMut() -> io::Result<()>,
    ) -> io::Result<T> {
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            tools.go_on()?;
            if Instant::now() > self.deadline {
                let late = format!("load {} did not end in time", self.name);
                return Err(io::Error::new(io::ErrorKind::TimedOut, late));
            }
            look()?;
            thread::sleep(LOOK);
        };
        let failed = || last_words(&self.words, &format!("load {} ended with {status}", self.name));
        let report = fs::read(&self.json).map_err(|_| io::Error::other(failed()))?;
        let report: T = serde_json::from_slice(&report)
            .map_err(|error| io::Error::other(format!("load {}: {error}", self.name)))?;
        match status.success() || (status.code() == Some(1) && !report.wrong().is_empty()) {
            true => Ok(report),
            false => Err(io::Error::other(failed())),
        }
    }

    /// Tells a tool that reports when it is told to end, such as `push`, to do so, and reads what it reports.
    ///
    /// # Errors
    /// As for [`report`](Self::report).
    pub(super) fn stop<T: ToolReport>(self, tools: &Tools) -> io::Result<T> {
        // Fails only where it has ended by itself.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        self.report(tools, &mut || Ok(()))
    }

    /// # Errors
    /// It has broken down already: what others saw meanwhile is not the server's doing alone.
    pub(super) fn expect_at_work(&mut self) -> io::Result<()> {
        self.has_failed().map_or(Ok(()), |why| Err(io::Error::other(why)))
    }

    /// What it complained of, if it has ended already.
    pub(super) fn has_failed(&mut self) -> Option<String> {
        let ended = self.child.try_wait().ok().flatten()?;
        (!ended.success()).then(|| last_words(&self.words, &format!("load {} failed", self.name)))
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// Kills a child of ours that still runs, and waits for it.
pub(super) fn end(child: &mut Child) {
    // Fails only for one that has been waited for.
    let _ = child.kill();
    let _ = child.wait();
}

/// The last line of a file, on one line; `otherwise` where there is none.
pub(super) fn last_words(file: &Path, otherwise: &str) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    let last = text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or(otherwise);
    let last = last.strip_prefix("slotcast load: ").unwrap_or(last);
    last.chars().filter(|c| !c.is_control()).take(WORDS_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_private_and_goes() {
        let directory = directory().unwrap();
        let path = directory.path().to_owned();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        fs::write(path.join("x"), "first\n\n  slotcast load: the last one\n\n").unwrap();
        assert_eq!(last_words(&path.join("x"), "-"), "the last one");
        assert_eq!(last_words(&path.join("y"), "-"), "-");
        drop(directory);
        assert!(!path.exists());
    }

    /// A tool that is a shell: it writes `json`, says `words` and ends as `end` says.
    fn ended(json: Option<&str>, end: &str) -> io::Result<limit::Report> {
        let tools = Tools::new(Arc::default(), None, false).unwrap();
        let [file, words] = ["json", "words"].map(|name| tools.file(name));
        if let Some(json) = json {
            fs::write(&file, json).unwrap();
        }
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(format!("echo no sockets are left >&2; {end}"));
        let child = shell.stderr(File::create(&words).unwrap()).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        let tool = Tool { name: "limit", child, json: file, words, deadline };
        tool.report(&tools, &mut || Ok(()))
    }

    #[test]
    fn a_tool_that_breaks_down_is_an_error_and_one_that_calls_something_wrong_is_a_report() {
        let json = |wrong: &[&str]| {
            let wrong = wrong.iter().map(|what| (*what).to_owned()).collect();
            serde_json::to_string(&limit::Report { wrong, ..limit::Report::default() }).unwrap()
        };
        let (well, bad) = (json(&[]), json(&["the server refused"]));
        assert!(ended(Some(&well), "exit 0").unwrap().wrong.is_empty());
        assert_eq!(ended(Some(&bad), "exit 1").unwrap().wrong, ["the server refused"]);
        for (json, end) in
            [(None, "exit 1"), (Some(&well), "exit 1"), (Some(&well), "exit 101"), (Some(&bad), "kill -9 $$")]
        {
            let error = ended(json.map(String::as_str), end).unwrap_err().to_string();
            assert!(error.contains("no sockets are left"), "{end}: {error}");
        }
        let error = ended(Some(r#"{"kernel": "x"}"#), "exit 0").unwrap_err().to_string();
        assert!(error.contains("missing field"), "{error}");
    }
}
