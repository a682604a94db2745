//! Letters of every kind, and Python's own mail and calendar readers as processes.

#![allow(dead_code, reason = "each test binary uses its part, so one of them has nothing to expect")]

use std::{
    env,
    ffi::OsStr,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use jiff::tz::TimeZone;
use serde_json::Value;
use slotcast_core::{
    time::WallTime,
    words::{ChannelNumber, OpenLevel, Seats, Window},
};
use slotcast_reservation::{
    domain::{
        effects::{MailKind, MailRequest},
        reservation::{CancelledBy, ProgramPassword, Settlement, State},
        words::{Amount, Language, MemberNumber, ReservationNumber},
    },
    mail::{GivenBack, Letter, MailSettings, Program},
    vault::Vault,
};

pub(crate) const PASSWORD: &str = "open-sesame-42";

pub(crate) fn now() -> WallTime {
    "2026-11-20T03:04:05Z".parse().unwrap()
}

pub(crate) fn settings() -> MailSettings {
    MailSettings {
        from: "slots@live.example.com".parse().unwrap(),
        provider: "Example Live, \"Tokyo\"".to_owned(),
        public_url: "https://live.example.com/".to_owned(),
        zone: TimeZone::get("Asia/Tokyo").unwrap(),
    }
}

pub(crate) fn program(kind: MailKind) -> Program {
    let number = ReservationNumber(4_711);
    Program {
        number,
        channel: ChannelNumber(1),
        channel_name: "channel1".parse().unwrap(),
        window: Window::new("2026-11-22T10:00:00Z".parse().unwrap(), "2026-11-22T15:30:00Z".parse().unwrap())
            .unwrap(),
        title: "Piano recital, part 2; the \\ 2nd".to_owned(),
        genre: "Music".to_owned(),
        outline: "ピアノの夕べ".to_owned(),
        details: "First line, with comma; and more\nSecond line".to_owned(),
        open_level: OpenLevel::Password,
        seats: Seats::new(1_000).unwrap(),
        password: Some(ProgramPassword(PASSWORD.to_owned())),
        state: match kind {
            MailKind::ReservationId | MailKind::ReconfirmReminder => State::Registered,
            MailKind::Cancelled => State::Cancelled(CancelledBy::Member),
            MailKind::Settled | MailKind::Refunded => State::Finished(Settlement::Charged),
            _ => State::Confirmed,
        },
        was_confirmed: !matches!(kind, MailKind::ReservationId | MailKind::ReconfirmReminder),
        reconfirm_until: "2026-11-22T04:00:00Z".parse().unwrap(),
        reservation_id: (kind == MailKind::ReservationId)
            .then(|| Vault::new(&[7; 32]).reservation_id(number, 1)),
        total: Amount::new(12_000).unwrap(),
        currency: "JPY".parse().unwrap(),
        viewers_peak: Some(1_234),
        given_back: (kind == MailKind::Refunded)
            .then(|| GivenBack { amount: Amount::new(3_000).unwrap(), is_to_card: true }),
        watch_url: "rtsp://live.example.com:554/channel1".to_owned(),
    }
}

/// A letter of `kind` to the member, or to a friend where that kind goes to friends only.
pub(crate) fn letter(kind: MailKind, language: Language) -> Letter {
    let is_to_member = !matches!(kind, MailKind::Invitation | MailKind::Changed);
    let to = if is_to_member { "taro@example.com" } else { "friend+tag@example.net" };
    let name = kind.name().replace('_', "-");
    let key = match kind {
        MailKind::Welcome => "welcome-99".to_owned(),
        _ => format!("{name}-4711-3"),
    };
    Letter {
        request: MailRequest {
            key,
            kind,
            to: to.parse().unwrap(),
            member: MemberNumber(99),
            reservation: (kind != MailKind::Welcome).then_some(ReservationNumber(4_711)),
            calendar_sequence: 5,
            changes: match kind {
                MailKind::Changed => vec!["Title: A → B".to_owned(), "Genre: C → D".to_owned()],
                _ => Vec::new(),
            },
        },
        name: "山田 太郎".to_owned(),
        language,
        is_to_member,
        program: (kind != MailKind::Welcome).then(|| program(kind)),
    }
}

/// Python with aiosmtpd and icalendar. `None`, and said so: they are not there, which in CI is a failure.
pub(crate) fn python() -> Option<PathBuf> {
    let places = env::var_os("SLOTCAST_TEST_TOOLS").into_iter().chain(env::var_os("PATH"));
    let folders: Vec<_> = places.flat_map(|place| env::split_paths(&place).collect::<Vec<_>>()).collect();
    let is_fit = |python: &PathBuf| {
        let mut command = Command::new(python);
        command.args(["-c", "import aiosmtpd, icalendar"]).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let found =
        folders.into_iter().map(|folder| folder.join("python3")).filter(|path| path.exists()).find(is_fit);
    if found.is_none() {
        assert!(env::var_os("CI").is_none_or(|ci| ci != "true"), "no Python with aiosmtpd and icalendar");
        println!("skipped: no Python with aiosmtpd and icalendar; set SLOTCAST_TEST_TOOLS");
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
