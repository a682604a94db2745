//! The ready-made lines of a settings file, typed into a shell as they are printed: each brings its program on air,
//! within its class, and each line to watch finds it.

use std::{path::Path, process::Command, sync::OnceLock, time::Duration};

use slotcast_core::{
    time::WallTime,
    words::{BitRate, ConnectMargins, OpenLevel, Seats, Window},
};
use slotcast_reservation::{
    domain::words::ReservationNumber,
    vault::{ReservationId, Vault},
};
use slotcast_settings::{
    Provider, Reserved, SettingsFile,
    commands::{CommandLine, Task},
    file::{AccessPort, ProgramPart, Secret, Transport},
};
use slotcast_testing::{
    obs::Obs,
    players,
    process::Process,
    server::{Channel, Program, Server},
    wait_for,
};
use tempfile::TempDir;

/// Ends a test that hangs.
const PLAYS_WITHIN: Duration = Duration::from_secs(60);
/// A title that a shell would mangle, were it not quoted.
const TITLE: &str = "It's $(reboot) `now` \"生放送\" & more; rm * \\ #1";
/// Characters with a meaning in addresses and in shells.
const PASSWORD: &str = "p@ss:w/r?d%#'$&";

fn number() -> ReservationNumber {
    ReservationNumber(4_711)
}

fn id() -> &'static ReservationId {
    static ID: OnceLock<ReservationId> = OnceLock::new();
    ID.get_or_init(|| Vault::new(&[7; 32]).reservation_id(number(), 1))
}

/// A server with one channel, as the settings file's reservation has it.
fn server(rate: &'static str, password: Option<&'static str>) -> Server {
    let program = Program { reservation_id: id().expose(), start: -60, end: 3_600, password };
    Server::start(&[Channel { name: "stage", seats: 4, rate, program: Some(program) }])
}

/// The settings file for that server, written and read as it would be on its way to the broadcaster.
fn settings(server: &Server, class: &str, password: Option<&str>) -> SettingsFile {
    let time = |text: &str| text.parse::<WallTime>().unwrap();
    let class: BitRate = class.parse().unwrap();
    let reserved = Reserved {
        number: number().0,
        id: Secret::new(id().expose()),
        window: Window::new(time("2026-11-22T10:00:00Z"), time("2026-11-22T11:00:00Z")).unwrap(),
        channel: "stage".parse().unwrap(),
        class,
        seats: Seats::new(4).unwrap(),
        program: ProgramPart {
            title: TITLE.to_owned(),
            outline: String::new(),
            genre: String::new(),
            open_level: if password.is_some() { OpenLevel::Password } else { OpenLevel::Public },
            password: password.map(Secret::new),
            friends: Vec::new(),
        },
    };
    let provider = Provider {
        name: "Test".to_owned(),
        access: vec![AccessPort {
            name: "loopback".to_owned(),
            host: server.links.ip().to_string().parse().unwrap(),
            port: server.links.port().try_into().unwrap(),
            transports: vec![Transport::Tcp, Transport::Udp],
        }],
        viewers_host: server.viewers.ip().to_string().parse().unwrap(),
        viewers_port: server.viewers.port().try_into().unwrap(),
        margins: ConnectMargins::default(),
    };
    let file = SettingsFile::for_reservation(reserved, &provider, time("2026-11-20T10:00:00Z"));
    SettingsFile::parse(file.unwrap().write().unwrap().as_bytes()).unwrap()
}

/// A directory with a `clip.mp4` of 6 seconds of picture and sound, which fits the class.
fn directory_with_clip(class: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let class: BitRate = class.parse().unwrap();
    let rate = (class.bits_per_second() * 6 / 10).to_string();
    let mut command = Command::new("ffmpeg");
    command.args(["-hide_banner", "-nostdin", "-loglevel", "error", "-y"]);
    command.args(["-f", "lavfi", "-i", "testsrc2=size=320x180:rate=10"]);
    command.args(["-f", "lavfi", "-i", "sine=frequency=440"]);
    command.args(["-t", "6", "-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", "-g", "20"]);
    command.args(["-b:v", &rate, "-maxrate", &rate, "-bufsize", &rate]);
    command.args(["-c:a", "aac", "-b:a", "12k", "-ar", "16000", "-ac", "1"]);
    command.arg(directory.path().join("clip.mp4"));
    let finished = Process::spawn("ffmpeg", &mut command).wait(PLAYS_WITHIN);
    assert!(finished.status.success(), "{}", finished.text());
    directory
}

/// The line in a shell, in that directory; `exec`, so that the shell's process is the program's.
fn type_in(line: &CommandLine, directory: &Path) -> Process {
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("exec {}", line.line.expose())).current_dir(directory);
    // Players open a window and a sound card: not here.
    command.env("SDL_VIDEODRIVER", "dummy").env("SDL_AUDIODRIVER", "dummy");
    Process::spawn(&line.program, &mut command)
}

/// Types the line, watches four seconds, and looks whether all that came in went on.
///
/// - `frames`: so many pictures must be there at least; a live encoder on a busy machine leaves some out.
#[track_caller]
fn check(class: &'static str, program: &str, task: Task, transport: Transport, frames: u64) {
    let server = server(class, None);
    let settings = settings(&server, class, None);
    let is_of_file = matches!(task, Task::FileCopy | Task::FileEncode);
    let directory = if is_of_file { directory_with_clip(class) } else { tempfile::tempdir().unwrap() };
    let is_it = |line: &&CommandLine| {
        (line.program.as_str(), line.task, line.transport) == (program, task, Some(transport))
    };
    let line = settings.commands.broadcast.iter().find(is_it).expect("such a line");
    let mut publisher = type_in(line, directory.path());
    server.wait_on_air("stage", "");
    let viewer = players::ffmpeg_viewer(
        &server.watch_url("stage"),
        Some(players::Lower::Tcp),
        Some(4),
        &["-analyzeduration", "2000000"],
    );
    players::ffmpeg_seen(viewer, PLAYS_WITHIN).expect_frames(frames);
    assert!(publisher.is_running(), "the publisher ended: {:#?}", publisher.lines());
    let dropped = server.metric(&["slotcast_ingest_packets_dropped"]);
    assert_eq!(dropped, 0.0, "over the class:\n{}", server.metrics());
}

/// The line over both transports, at the same time.
#[track_caller]
fn check_both(class: &'static str, program: &str, task: Task, frames: u64) {
    std::thread::scope(|scope| {
        for transport in [Transport::Tcp, Transport::Udp] {
            scope.spawn(move || check(class, program, task, transport, frames));
        }
    });
}

#[test]
fn ffmpeg_copies_a_file_within_64_kbits() {
    check_both("64kbit/s", "ffmpeg", Task::FileCopy, 30);
}

#[test]
fn ffmpeg_encodes_a_file_within_64_kbits() {
    check_both("64kbit/s", "ffmpeg", Task::FileEncode, 30);
}

#[test]
fn ffmpeg_sends_a_test_picture_within_64_kbits() {
    check_both("64kbit/s", "ffmpeg", Task::TestSource, 30);
}

#[test]
fn gstreamer_sends_a_test_picture_within_64_kbits() {
    check_both("64kbit/s", "gstreamer", Task::TestSource, 30);
}

#[test]
fn ffmpeg_copies_a_file_within_2_mbits() {
    check_both("2Mbit/s", "ffmpeg", Task::FileCopy, 30);
}

#[test]
fn ffmpeg_encodes_a_file_within_2_mbits() {
    check_both("2Mbit/s", "ffmpeg", Task::FileEncode, 50);
}

#[test]
fn ffmpeg_sends_a_test_picture_within_2_mbits() {
    check_both("2Mbit/s", "ffmpeg", Task::TestSource, 50);
}

#[test]
fn gstreamer_sends_a_test_picture_within_2_mbits() {
    check_both("2Mbit/s", "gstreamer", Task::TestSource, 50);
}

#[test]
fn even_a_modems_class_carries_a_picture_and_speech() {
    check("28.8kbit/s", "ffmpeg", Task::FileEncode, Transport::Tcp, 15);
    check_both("28.8kbit/s", "ffmpeg", Task::TestSource, 15);
    check_both("28.8kbit/s", "gstreamer", Task::TestSource, 15);
}

/// OBS with the fields filled in: what it sends is watched for four seconds, and all of it must have gone on.
#[track_caller]
fn check_obs(class: &'static str, transport: Transport, tracks: [&str; 2], frames: u64) {
    let server = server(class, None);
    let settings = settings(&server, class, None);
    let home = directory_with_clip(class);
    let form = settings.commands.obs.iter().find(|form| form.transport == transport).expect("such a form");
    let fields: Vec<_> =
        form.fields.iter().map(|field| (field.name.clone(), field.value.expose().to_owned())).collect();
    let mut obs = Obs::start(&fields, home.path(), &home.path().join("clip.mp4"));
    server.wait_on_air("stage", "");
    let url = server.watch_url("stage");
    assert_eq!(players::ffprobe_tracks(&url, PLAYS_WITHIN), tracks);
    let options = ["-analyzeduration", "2000000"];
    let viewer = players::ffmpeg_viewer(&url, Some(players::Lower::Tcp), Some(4), &options);
    players::ffmpeg_seen(viewer, PLAYS_WITHIN).expect_frames(frames);
    assert!(obs.program.is_running(), "OBS ended: {:#?}", obs.program.lines());
    let dropped = server.metric(&["slotcast_ingest_packets_dropped"]);
    assert_eq!(dropped, 0.0, "over the class:\n{}", server.metrics());
}

#[test]
fn obs_sends_its_picture_within_2_mbits() {
    check_obs("2Mbit/s", Transport::Tcp, ["h264,960,540", "aac"], 50);
    check_obs("2Mbit/s", Transport::Udp, ["h264,960,540", "aac"], 50);
}

#[test]
fn obs_sends_its_picture_within_a_modems_class() {
    check_obs("64kbit/s", Transport::Tcp, ["h264,160,90", "opus"], 30);
    check_obs("28.8kbit/s", Transport::Tcp, ["h264,128,72", "opus"], 15);
}

#[test]
fn the_lines_to_watch_find_a_program_with_a_password() {
    let server = server("64kbit/s", Some(PASSWORD));
    let settings = settings(&server, "64kbit/s", Some(PASSWORD));
    let directory = directory_with_clip("64kbit/s");
    let line = settings.commands.broadcast.iter().find(|line| line.task == Task::FileCopy).unwrap();
    let _publisher = type_in(line, directory.path());
    let on_air = wait_for(Duration::from_secs(25), || {
        (server.metric(&["slotcast_ingest_packets", "stage"]) > 0.0).then_some(())
    });
    assert!(on_air.is_some(), "not on air:\n{}", server.metrics());
    for line in settings.commands.watch.iter().filter(|line| line.program == "ffplay") {
        let player = type_in(line, directory.path());
        server.wait_for_viewers("stage", 1);
        drop(player);
        server.wait_for_viewers("stage", 0);
    }
}
