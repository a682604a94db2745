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

use serde::de::DeserializeOwned;
use tempfile::TempDir;

/// How often a child is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// How much of what a child said last is passed on.
const WORDS_CHARS_MAX: usize = 300;

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
    /// Only this user can read it; it is gone with this value.
    pub(super) directory: TempDir,
    pub(super) interrupted: Arc<AtomicBool>,
    pub(super) allow_remote: bool,
    started: AtomicU32,
}

impl Tools {
    /// # Errors
    /// This program's file is gone, or there is no temporary directory.
    pub(super) fn new(interrupted: Arc<AtomicBool>, allow_remote: bool) -> io::Result<Self> {
        Ok(Self {
            program: std::env::current_exe()?,
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
    /// It broke down, it took too long, or the user has ended the suite.
    pub(super) fn report<T: DeserializeOwned>(
        mut self,
        tools: &Tools,
        look: &mut dyn FnMut() -> io::Result<()>,
    ) -> io::Result<T> {
        while self.child.try_wait()?.is_none() {
            tools.go_on()?;
            if Instant::now() > self.deadline {
                let late = format!("load {} did not end in time", self.name);
                return Err(io::Error::new(io::ErrorKind::TimedOut, late));
            }
            look()?;
            thread::sleep(LOOK);
        }
        match fs::read(&self.json) {
            Ok(json) => serde_json::from_slice(&json)
                .map_err(|error| io::Error::other(format!("load {}: {error}", self.name))),
            Err(_) => Err(io::Error::other(last_words(&self.words, &format!("load {} failed", self.name)))),
        }
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
}
