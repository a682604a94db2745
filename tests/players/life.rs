//! A program's whole life by HTTP alone: the real binary as a process, real encoders by the printed lines, real players
//! by the printed addresses; on SQLite and on PostgreSQL, cancelled while on air, and with a database that stands still.

use std::{
    collections::BTreeMap,
    path::Path,
    process::Command,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use rustix::process::{Pid, Signal};
use serde_json::{Value, json};
use slotcast_settings::{
    SettingsFile,
    commands::{CommandLine, Task},
    file::Transport,
};
use slotcast_testing::{
    api::Client,
    dialogue::Dialogue,
    players::{self, Lower, Seen},
    postgres,
    process::{Finished, Process},
    provider::{LINK_AFTER, Provider, SEATS, SLOT, TOLL},
    wait_for,
};

/// Ends a test that hangs.
const PLAYS_WITHIN: Duration = Duration::from_secs(60);
/// A player needs a moment of its own to drain its buffers and to end: this ends a test that hangs.
const PLAYER_ENDS_WITHIN: Duration = Duration::from_secs(30);
/// A member sees a change within a second; on a busy machine a test may see it later.
const SOON: Duration = Duration::from_secs(15);
/// Pictures that a viewer of a whole program must have seen: ten seconds of some thirty.
const FRAMES_MIN: u64 = 250;
/// Of most programs here.
const SLOTS: i64 = 5;
const FRIEND: &str = "hanako@example.com";
const FIRST_PASSWORD: &str = "sesame-one";
const SECOND_PASSWORD: &str = "sesame-two";

/// A confirmed reservation, and what its member was given.
struct Life {
    member: Client,
    number: i64,
    place: String,
    id: String,
    settings: SettingsFile,
}

impl Life {
    /// Registers, logs in, asks the price, books the next slots, accepts the terms, reads the mail, reconfirms and
    /// fetches the settings file.
    #[track_caller]
    fn confirm(provider: &mut Provider, start: i64) -> Self {
        let member = provider.premium("taro");
        let (start, end) = (time(start), time(start + SLOTS * SLOT));
        let quote = member.get(&format!("/quote?channel=4&start={start}&end={end}")).expect(200);
        assert_eq!(quote.body["total"], SLOTS * TOLL, "{quote:?}");
        let wish = json!({
            "channel": 4,
            "window": { "start": start, "end": end },
            "program": {
                "title": "Evening concert", "open_level": "password", "password": FIRST_PASSWORD,
                "friends": [FRIEND],
            },
        });
        let booked = member.post("/reservations", &wish).expect(201);
        assert_eq!(booked.body["state"], "held", "{booked:?}");
        let number = booked.body["number"].as_i64().unwrap();
        let place = format!("/reservations/{number}");
        let accepted = member.post(&format!("{place}/accept-terms"), &json!({})).expect(200);
        assert_eq!(accepted.body["state"], "registered", "{accepted:?}");
        let id = provider.mailed_id();
        for secret in [&id, FIRST_PASSWORD, SECOND_PASSWORD] {
            provider.keep_secret(secret);
        }
        let typed = json!({ "reservation_id": id });
        let confirmed = member.post(&format!("{place}/reconfirm"), &typed).expect(200);
        assert_eq!(confirmed.body["is_accounted"], true, "{confirmed:?}");
        let settings = settings(&member, &place, &id);
        assert_eq!(settings.channel.watch_url.to_string(), format!("rtsp://{}/channel4", provider.viewers));
        assert_eq!(settings.ingest.access[0].port.get(), provider.links.port());
        Self { member, number, place, id, settings }
    }

    /// Types the printed line into a shell; `exec`, so that the shell's process is the program's.
    #[track_caller]
    fn type_in(&self, program: &str, task: Task, directory: &Path) -> Process {
        let is_it = |line: &&CommandLine| {
            (line.program.as_str(), line.task, line.transport) == (program, task, Some(Transport::Tcp))
        };
        let line = self.settings.commands.broadcast.iter().find(is_it).expect("such a line");
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("exec {}", line.line.expose())).current_dir(directory);
        Process::spawn(program, &mut command)
    }

    /// The address in the line to watch, as it is printed for a shell.
    fn watch_url(&self) -> String {
        let line = self.settings.commands.watch.iter().find(|line| line.program == "ffplay").unwrap();
        let word = line.line.expose().rsplit(' ').next().unwrap();
        word.trim_matches('\'').to_owned()
    }

    #[track_caller]
    fn status(&self) -> Value {
        self.member.get(&format!("{}/status", self.place)).expect(200).body
    }

    /// Waits until the status is as `wanted`.
    #[track_caller]
    fn wait_for_status(&self, limit: Duration, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let found = wait_for(limit, || {
            last = self.status();
            wanted(&last).then(|| last.clone())
        });
        found.unwrap_or_else(|| panic!("the status stays {last:#}"))
    }

    /// Waits until media goes to viewers; its program must have begun or begin soon.
    #[track_caller]
    fn wait_until_on_air(&self) {
        let is_on_air = |status: &Value| status["is_on_air"] == true && status["state"] == "on_air";
        self.wait_for_status(Duration::from_secs(25), is_on_air);
    }

    /// Waits until so many viewers have joined, and sees them in the status within a second.
    #[track_caller]
    fn wait_for_viewers(&self, provider: &Provider, count: u32) {
        let mut last = 0;
        let joined = wait_for(Duration::from_secs(12), || {
            last = provider.viewers_counted();
            (last == count).then_some(())
        });
        assert!(joined.is_some(), "{last} viewers instead of {count}: {:#}", self.status());
        self.wait_for_status(SOON, |status| status["viewers"] == count);
    }

    /// The status of a DESCRIBE with that password.
    #[track_caller]
    fn describe(&self, provider: &Provider, password: &str) -> u16 {
        let url = format!("{}?token={password}", self.settings.channel.watch_url);
        let mut dialogue = Dialogue::connect(provider.viewers);
        dialogue.request("DESCRIBE", &url, &[("Accept", "application/sdp")]).status
    }

    /// Waits until the money is decided; gives the program's history.
    #[track_caller]
    fn settled(&self) -> Value {
        let mut last = Value::Null;
        let found = wait_for(Duration::from_secs(20), || {
            last = self.member.get(&format!("{}/history", self.place)).expect(200).body;
            let state = last["reservation"]["state"].as_str().unwrap();
            matches!(state, "finished_charged" | "finished_waived").then(|| last.clone())
        });
        found.unwrap_or_else(|| panic!("the money is not decided: {last:#}"))
    }

    /// These mails went out, by whom they are to and how their subjects go on, each exactly once and no others.
    #[track_caller]
    fn check_letters(&self, provider: &Provider, expected: &[(&str, &str)]) {
        let mut expected: Vec<_> = expected.iter().map(|(to, subject)| (*to, *subject)).collect();
        expected.sort_unstable();
        let mut found = Vec::new();
        let complete = wait_for(Duration::from_secs(10), || {
            found = provider.letters();
            found.retain(|letter| !letter.to.contains("operator@"));
            (found.len() >= expected.len()).then_some(())
        });
        assert!(complete.is_some() && found.len() == expected.len(), "{found:#?}");
        for (to, subject) in expected {
            let is_it = |letter: &&slotcast_testing::provider::Letter| {
                letter.to.contains(to) && letter.subject.starts_with(&format!("[Test provider] {subject}"))
            };
            assert_eq!(found.iter().filter(is_it).count(), 1, "{to}: {subject}: {found:#?}");
        }
    }
}

#[track_caller]
fn settings(member: &Client, place: &str, id: &str) -> SettingsFile {
    let answer = member.post(&format!("{place}/settings"), &json!({ "reservation_id": id })).expect(200);
    SettingsFile::parse(answer.text.as_bytes()).unwrap()
}

/// Seconds since 1970.
fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

/// The first start of a slot that leaves `seconds` for what comes before.
fn next_slot(seconds: i64) -> i64 {
    (now() + seconds) / SLOT * SLOT + SLOT
}

fn time(second: i64) -> String {
    jiff::Timestamp::from_second(second).unwrap().to_string()
}

/// That second, on the clock of the processes' lines.
fn instant(second: i64) -> Instant {
    let at = UNIX_EPOCH + Duration::from_secs(u64::try_from(second).unwrap());
    match at.duration_since(SystemTime::now()) {
        Ok(left) => Instant::now() + left,
        Err(past) => Instant::now() - past.duration(),
    }
}

/// A `clip.mp4` of picture and sound that fits the class.
#[track_caller]
fn make_clip(directory: &Path) {
    let mut command = Command::new("ffmpeg");
    command.args(["-hide_banner", "-nostdin", "-loglevel", "error", "-y", "-f", "lavfi"]);
    command.args(["-i", "testsrc2=size=320x180:rate=25", "-f", "lavfi", "-i", "sine=frequency=440"]);
    command.args(["-t", "60", "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "25"]);
    command.args(["-b:v", "300k", "-maxrate", "400k", "-bufsize", "200k", "-c:a", "aac", "-b:a", "64k"]);
    command.arg(directory.join("clip.mp4"));
    let finished = Process::spawn("ffmpeg", &mut command).wait(PLAYS_WITHIN);
    assert!(finished.status.success(), "{}", finished.text());
}

/// The viewer played to `end`, whole, and was not cut before.
#[track_caller]
fn check_end(finished: &Finished, mut seen: Seen, end: Instant) {
    // rtspsrc may tell the end of the connection as an error.
    seen.broken.retain(|line| !line.starts_with("ERROR"));
    assert!(seen.broken.is_empty(), "{:#?}\n{}", seen.broken, seen.text);
    assert!(finished.at >= end, "ended {:?} early:\n{}", end - finished.at, seen.text);
    assert!(seen.frames >= FRAMES_MIN, "{} frames:\n{}", seen.frames, seen.text);
}

/// By the server's own stamps no program was closed later than a second after its end.
#[track_caller]
fn check_closed_in_time(provider: &Provider) {
    let page = provider.anybody().page("/metrics").expect(200).text;
    let is_it =
        |line: &&str| line.starts_with("slotcast_cutoff_delay_max_seconds") && line.contains("closed");
    let line = page.lines().find(is_it).unwrap_or_else(|| panic!("no such delay in {page}"));
    let delay: f64 = line.rsplit(' ').next().and_then(|text| text.parse().ok()).unwrap();
    assert!(delay < 1.0, "closed after {delay} s");
}

/// What the ledger says of a reservation: the balance of each account by its name without the member's number, and the
/// amounts that were charged.
#[track_caller]
fn balances(provider: &Provider, number: i64) -> (BTreeMap<String, i64>, Vec<i64>) {
    let csv = provider.operator().get("/operator/ledger.csv").expect(200).text;
    let (mut accounts, mut charged, mut keys) = (BTreeMap::new(), Vec::new(), Vec::new());
    for row in csv.lines().skip(1) {
        let fields: Vec<_> = row.split(',').collect();
        let [_, key, kind, reservation, debit, credit, amount, currency] = fields[..] else {
            panic!("{row}")
        };
        assert_eq!((reservation, currency), (number.to_string().as_str(), "JPY"), "{csv}");
        let amount: i64 = amount.parse().unwrap();
        for (account, sign) in [(debit, 1), (credit, -1)] {
            let account = account.split(':').next().unwrap().to_owned();
            *accounts.entry(account).or_default() += sign * amount;
        }
        if kind == "charged" {
            charged.push(amount);
        }
        keys.push(key);
    }
    let rows = keys.len();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), rows, "a posting stands twice:\n{csv}");
    assert_eq!(accounts.values().sum::<i64>(), 0, "{csv}");
    (accounts, charged)
}

/// All that was authorised is charged, and nothing else stands.
#[track_caller]
fn check_charged(provider: &Provider, number: i64, amounts: &[i64]) {
    let (accounts, mut charged) = balances(provider, number);
    charged.sort_unstable();
    assert_eq!(charged, amounts, "{accounts:?}");
    let total: i64 = amounts.iter().sum();
    let standing: Vec<_> = accounts.iter().filter(|(_, balance)| **balance != 0).collect();
    let expected = [(&"receivable".to_owned(), &total), (&"revenue".to_owned(), &-total)];
    assert_eq!(standing, expected);
}

fn whole_life(database: Option<&str>) {
    let room = tempfile::tempdir().unwrap();
    make_clip(room.path());
    let mut provider = Provider::start(&room, "data", database);
    let start = next_slot(4);
    let mut life = Life::confirm(&mut provider, start);
    let publisher = life.type_in("ffmpeg", Task::FileCopy, room.path());
    life.wait_until_on_air();
    let picture = json!({ "width": 320, "height": 180 });
    life.wait_for_status(SOON, |status| status["picture"] == picture);
    let early = life.member.post(&format!("{}/extend", life.place), &json!({ "slots": 1 })).expect(409);
    assert_eq!(early.problem(), "extension-early", "{early:?}");

    let mut ffmpeg = players::ffmpeg_viewer(&life.watch_url(), Some(Lower::Tcp), None, &[]);
    let gstreamer = players::gst_viewer(&life.watch_url(), "tcp", &[]);
    fill_the_seats(&life, &provider);
    change_the_password(&mut life, &provider);
    let end = start + SLOTS * SLOT;
    extend(&life, &provider, &mut ffmpeg, end);

    let end = end + SLOT;
    let left = instant(end).saturating_duration_since(Instant::now());
    let finished = ffmpeg.wait(left + PLAYER_ENDS_WITHIN);
    check_end(&finished, players::seen_by_ffmpeg(&finished), instant(end));
    let finished = gstreamer.wait(PLAYER_ENDS_WITHIN);
    check_end(&finished, players::seen_by_gst(&finished), instant(end));
    let finished = publisher.wait(Duration::from_secs(LINK_AFTER.unsigned_abs()) + PLAYER_ENDS_WITHIN);
    assert!(finished.at >= instant(end + LINK_AFTER), "the link was cut early:\n{}", finished.text());

    check_closed_in_time(&provider);

    let history = life.settled();
    assert_eq!(history["reservation"]["state"], "finished_charged", "{history:#}");
    assert_eq!(history["run"]["viewers_peak"], SEATS, "{history:#}");
    let mine = life.member.get("/me/channel").expect(200).body;
    assert_eq!(mine["past"][0]["reservation"]["number"], life.number, "{mine:#}");
    assert_eq!(mine["past"][0]["run"]["viewers_peak"], SEATS, "{mine:#}");
    check_charged(&provider, life.number, &[TOLL, SLOTS * TOLL]);
    life.check_letters(
        &provider,
        &[
            ("taro@", "Welcome"),
            ("taro@", "Your reservation ID for: Evening concert"),
            ("taro@", "Confirmed: Evening concert"),
            ("taro@", "Extended: Evening concert"),
            ("taro@", "Charged: Evening concert"),
            (FRIEND, "Name of taro invites you to watch: Evening concert"),
            (FRIEND, "Changed: Evening concert"),
            (FRIEND, "Extended: Evening concert"),
        ],
    );
}

/// One viewer more than there are seats is told so; the others see the program undisturbed.
#[track_caller]
fn fill_the_seats(life: &Life, provider: &Provider) {
    life.wait_for_viewers(provider, SEATS - 1);
    let last = players::ffmpeg_viewer(&life.watch_url(), Some(Lower::Tcp), Some(5), &[]);
    life.wait_for_viewers(provider, SEATS);
    let refused = players::ffmpeg_viewer(&life.watch_url(), Some(Lower::Tcp), Some(2), &[]);
    let refused = players::ffmpeg_seen(refused, PLAYS_WITHIN);
    assert!(!refused.success && refused.text.contains("453"), "{}", refused.text);
    players::ffmpeg_seen(last, PLAYS_WITHIN).expect_frames(110);
    life.wait_for_viewers(provider, SEATS - 1);
}

/// A new viewer needs the new password within a second; who watches already goes on.
#[track_caller]
fn change_the_password(life: &mut Life, provider: &Provider) {
    assert_eq!(life.describe(provider, FIRST_PASSWORD), 200);
    let before = life.member.get(&life.place).expect(200);
    let etag = before.header("etag").unwrap();
    life.member.patch(&life.place, etag, &json!({ "password": SECOND_PASSWORD })).expect(200);
    let refused = wait_for(SOON, || (life.describe(provider, FIRST_PASSWORD) == 401).then_some(()));
    assert!(refused.is_some(), "the old password still opens the program");
    let old = players::ffmpeg_viewer(&life.watch_url(), Some(Lower::Tcp), Some(2), &[]);
    life.settings = settings(&life.member, &life.place, &life.id);
    players::ffprobe_seen(&life.watch_url(), Lower::Tcp, 2).expect_frames(40);
    let old = players::ffmpeg_seen(old, PLAYS_WITHIN);
    assert!(!old.success && old.text.contains("401"), "{}", old.text);
    life.wait_for_viewers(provider, SEATS - 1);
}

/// Makes the window a slot longer as soon as that is offered, and sees the program go on after its old end.
#[track_caller]
fn extend(life: &Life, provider: &Provider, viewer: &mut Process, end: i64) {
    let left = instant(end).saturating_duration_since(Instant::now());
    life.wait_for_status(left, |status| status["extension"]["is_offered"] == true);
    let longer = life.member.post(&format!("{}/extend", life.place), &json!({ "slots": 1 })).expect(200);
    assert_eq!(longer.body["window"]["end"], time(end + SLOT), "{longer:?}");
    let passed = wait_for(left + SOON, || (Instant::now() >= instant(end)).then_some(()));
    assert!(passed.is_some());
    let status = life.status();
    assert_eq!((&status["state"], &status["is_on_air"]), (&"on_air".into(), &true.into()), "{status:#}");
    let frames = players::frames_so_far(viewer);
    let more = wait_for(PLAYER_ENDS_WITHIN, || (players::frames_so_far(viewer) > frames + 25).then_some(()));
    assert!(more.is_some(), "nothing more than {frames} frames after the old end");
    assert_eq!(provider.viewers_counted(), SEATS - 1);
}

#[test]
fn a_program_lives_by_http_alone_on_sqlite() {
    whole_life(None);
}

#[test]
fn a_program_lives_by_http_alone_on_postgresql() {
    let Some(server) = postgres::start() else { return };
    whole_life(Some(&server.new_database()));
}

#[test]
fn a_program_that_is_cancelled_on_air_is_cut_at_once_and_charged() {
    let room = tempfile::tempdir().unwrap();
    let mut provider = Provider::start(&room, "data", None);
    let life = Life::confirm(&mut provider, next_slot(3));
    let mut publisher = life.type_in("gstreamer", Task::TestSource, room.path());
    life.wait_until_on_air();
    let viewer = players::ffmpeg_viewer(&life.watch_url(), Some(Lower::Tcp), None, &[]);
    let over_udp = players::ffmpeg_viewer(&life.watch_url(), Some(Lower::Udp), None, &[]);
    let mut viewers = [viewer, over_udp];
    for viewer in &mut viewers {
        players::wait_for_frames(viewer, 20);
    }
    life.wait_for_viewers(&provider, 2);

    let cancelled = life.member.post(&format!("{}/cancel", life.place), &json!({})).expect(200);
    assert_eq!(cancelled.body["state"], "cancelled_member", "{cancelled:?}");
    let cut = wait_for(SOON, || {
        (provider.viewers_counted() == 0 && life.describe(&provider, FIRST_PASSWORD) == 404).then_some(())
    });
    assert!(cut.is_some(), "{} viewers are still there", provider.viewers_counted());
    for viewer in viewers {
        viewer.wait(PLAYER_ENDS_WITHIN);
    }
    // rtspclientsink goes on without its connection.
    publisher.wait_for_line(PLAYER_ENDS_WITHIN, |line| line.contains("The server closed the connection"));

    check_charged(&provider, life.number, &[SLOTS * TOLL]);
    life.check_letters(
        &provider,
        &[
            ("taro@", "Welcome"),
            ("taro@", "Your reservation ID for: Evening concert"),
            ("taro@", "Confirmed: Evening concert"),
            ("taro@", "Cancelled: Evening concert"),
            (FRIEND, "Name of taro invites you to watch: Evening concert"),
            (FRIEND, "Cancelled: Evening concert"),
        ],
    );
}

/// Every process of a PostgreSQL server, standing still until this is dropped.
struct StandingStill(Vec<Pid>);

impl StandingStill {
    #[track_caller]
    fn stop(server: &postgres::Postgres) -> Self {
        // The first line of its file is the number of the process that starts all others.
        let first = "SELECT split_part(pg_read_file('postmaster.pid'), E'\\n', 1)::int";
        let pids = server.ask("postgres", &format!("{first} UNION SELECT pid FROM pg_stat_activity"));
        let pids: Vec<_> =
            pids.lines().map(|pid| Pid::from_raw(pid.trim().parse().unwrap()).unwrap()).collect();
        assert!(pids.len() > 5, "{pids:?}");
        let this = Self(pids);
        this.signal(Signal::STOP);
        this
    }

    /// One of them, the asker's own, has ended since it was counted.
    fn signal(&self, signal: Signal) {
        for pid in &self.0 {
            let _ = rustix::process::kill_process(*pid, signal);
        }
    }
}

impl Drop for StandingStill {
    fn drop(&mut self) {
        self.signal(Signal::CONT);
    }
}

#[test]
fn a_database_that_stands_still_touches_neither_the_broadcast_nor_its_end() {
    let Some(server) = postgres::start() else { return };
    let room = tempfile::tempdir().unwrap();
    make_clip(room.path());
    let mut provider = Provider::start(&room, "data", Some(&server.new_database()));
    let start = next_slot(4);
    let end = start + SLOTS * SLOT;
    let life = Life::confirm(&mut provider, start);
    let publisher = life.type_in("ffmpeg", Task::FileCopy, room.path());
    life.wait_until_on_air();
    let viewer = players::ffmpeg_viewer(&life.watch_url(), Some(Lower::Tcp), None, &[]);
    let over_udp = players::ffmpeg_viewer(&life.watch_url(), Some(Lower::Udp), None, &[]);
    life.wait_for_viewers(&provider, 2);

    let still = StandingStill::stop(&server);
    // Who comes now is let in as well: passwords and seats are the media side's own.
    let late = players::ffmpeg_viewer(&life.watch_url(), Some(Lower::Tcp), Some(3), &[]);
    players::ffmpeg_seen(late, PLAYS_WITHIN).expect_frames(60);
    // Who asks the API is told so, and is not left waiting.
    let told = life.member.get(&format!("{}/status", life.place)).expect(503);
    assert_eq!(told.problem(), "unavailable", "{told:?}");
    assert!(told.header("retry-after").is_some(), "{told:?}");
    let left = instant(end).saturating_duration_since(Instant::now());
    for viewer in [viewer, over_udp] {
        let finished = viewer.wait(left + PLAYER_ENDS_WITHIN);
        check_end(&finished, players::seen_by_ffmpeg(&finished), instant(end));
    }
    let finished = publisher.wait(Duration::from_secs(LINK_AFTER.unsigned_abs()) + PLAYER_ENDS_WITHIN);
    assert!(finished.at >= instant(end + LINK_AFTER), "the link was cut early:\n{}", finished.text());
    assert_eq!(provider.viewers_counted(), 0);
    check_closed_in_time(&provider);

    drop(still);
    let history = life.settled();
    assert_eq!(history["reservation"]["state"], "finished_charged", "{history:#}");
    assert_eq!(history["run"]["viewers_peak"], 3, "{history:#}");
    check_charged(&provider, life.number, &[SLOTS * TOLL]);

    let _still = StandingStill::stop(&server);
    provider.stop();
}
