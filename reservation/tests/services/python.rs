//! Python's own mail and calendar readers, and a mail server (aiosmtpd), as processes.

use std::{
    env,
    ffi::OsStr,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use serde_json::Value;
use slotcast_testing::skip;

/// Python with aiosmtpd and icalendar. `None`: they are not there, and the test is skipped.
pub(crate) fn python() -> Option<PathBuf> {
    python_with("aiosmtpd, icalendar")
}

/// Python with these modules; as above.
pub(crate) fn python_with(modules: &str) -> Option<PathBuf> {
    let places = env::var_os("SLOTCAST_TEST_TOOLS").into_iter().chain(env::var_os("PATH"));
    let folders: Vec<_> = places.flat_map(|place| env::split_paths(&place).collect::<Vec<_>>()).collect();
    let is_fit = |python: &PathBuf| {
        let mut command = Command::new(python);
        command.args(["-c", &format!("import {modules}")]).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let found =
        folders.into_iter().map(|folder| folder.join("python3")).filter(|path| path.exists()).find(is_fit);
    if found.is_none() {
        skip(&format!("no Python with {modules}; set SLOTCAST_TEST_TOOLS"));
    }
    found
}

/// What Python's `email` and `icalendar` read in these files.
pub(crate) fn read_back<P: AsRef<OsStr>>(python: &Path, files: &[P]) -> Vec<Value> {
    let output = Command::new(python).args(["-c", include_str!("read.py")]).args(files).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// aiosmtpd as a process; ended when dropped.
pub(crate) struct MailServer {
    process: Child,
    lines: mpsc::Receiver<String>,
    pub(crate) port: u16,
}

impl MailServer {
    /// Keeps what it receives in `folder`. `arguments`: see `smtp.py`.
    pub(crate) fn start(python: &Path, folder: &Path, arguments: &[&str]) -> Self {
        let mut process = Command::new(python)
            .args(["-u", "-W", "ignore", "-c", include_str!("smtp.py")])
            .arg(folder)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut server = Self { process, lines, port: 0 };
        let first = server.line();
        server.port = first
            .strip_prefix("port ")
            .and_then(|port| port.parse().ok())
            .unwrap_or_else(|| panic!("{first}"));
        server
    }

    /// What it says next, within 20 seconds.
    pub(crate) fn line(&self) -> String {
        self.lines.recv_timeout(Duration::from_secs(20)).expect("the mail server said nothing")
    }

    /// The file of the next mail.
    pub(crate) fn mail(&self) -> PathBuf {
        let line = self.line();
        line.strip_prefix("mail ").unwrap_or_else(|| panic!("{line}")).into()
    }

    /// What it has said until now and nobody has read.
    pub(crate) fn said(&self) -> Vec<String> {
        self.lines.try_iter().collect()
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        if let Some(mut input) = self.process.stdin.take() {
            let _ = input.flush();
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
