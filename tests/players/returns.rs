//! A broadcaster who returns, by ffmpeg's `-c copy`: with the same stream viewers go on, with another one they are told, and
//! come again to a description that is right.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use slotcast_testing::{
    players::{self, Lower, wait_for_frames},
    process::Process,
    server::{Channel, ID, Server, channel},
};

/// Ends a test that hangs.
const WITHIN: Duration = Duration::from_secs(60);
/// The picture of the first clip, and its sound.
const PICTURE: &[&str] = &["-s", "320x240"];
const SOUND: &[&str] = &["-ar", "44100", "-ac", "1"];

/// Four seconds of picture and sound, encoded once: as files that people broadcast are.
fn clip(folder: &Path, name: &str, video: &[&str], audio: &[&str]) -> PathBuf {
    let file = folder.join(name).with_extension("mp4");
    let mut command = Command::new("ffmpeg");
    command.args(["-hide_banner", "-nostdin", "-loglevel", "error", "-y"]);
    command.args([
        "-f",
        "lavfi",
        "-i",
        "testsrc2=size=640x480:rate=25",
        "-f",
        "lavfi",
        "-i",
        "sine=frequency=440",
    ]);
    command.args(["-t", "4", "-preset", "ultrafast", "-tune", "zerolatency", "-g", "25", "-b:v", "300k"]);
    command.args(video).args(["-c:a", "aac", "-b:a", "64k"]).args(audio).arg(&file);
    let finished = Process::spawn("ffmpeg", &mut command).wait(WITHIN);
    assert!(finished.status.success(), "{}", finished.text());
    file
}

/// Pushes the file again and again without encoding it anew.
fn push(server: &Server, file: &Path) -> Process {
    let mut command = Command::new("ffmpeg");
    command.args(["-hide_banner", "-nostdin", "-loglevel", "warning", "-re", "-stream_loop", "-1", "-i"]);
    command.arg(file).args(["-c", "copy", "-f", "rtsp", "-rtsp_transport", "tcp"]);
    Process::spawn("ffmpeg -c copy", command.arg(server.link_url(ID, "stage")))
}

/// What a player finds out of the description and the first packets: codec, profile, size and sample rate.
fn found(server: &Server) -> String {
    let mut command = Command::new("ffprobe");
    command.args(["-hide_banner", "-loglevel", "error", "-rtsp_transport", "tcp", "-of", "csv=p=0"]);
    command.args(["-show_entries", "stream=codec_name,profile,width,height,sample_rate"]);
    let finished = Process::spawn("ffprobe", command.arg(server.watch_url("stage"))).wait(WITHIN);
    finished.text()
}

/// - `coded`: the encoder's options.
/// - `other`: the same for another profile, and what a player says of it.
#[track_caller]
fn check(coded: &[&str], other: (&[&str], &str)) {
    let folder = tempfile::tempdir().unwrap();
    let with = |more: &[&'static str]| [coded, more].concat();
    let first = clip(folder.path(), "first", &with(PICTURE), SOUND);
    let others = [
        ("another resolution", clip(folder.path(), "size", &with(&["-s", "480x360"]), SOUND), "480,360"),
        (
            "another sound",
            clip(folder.path(), "sound", &with(PICTURE), &["-ar", "48000", "-ac", "2"]),
            "48000",
        ),
        ("another profile", clip(folder.path(), "profile", &[other.0, PICTURE].concat(), SOUND), other.1),
    ];
    let server = Server::start(&[Channel { rate: "2Mbit/s", ..channel("stage", 4) }]);
    let url = server.watch_url("stage");
    let watch = || {
        server.wait_on_air("stage", "");
        let mut viewer = players::ffmpeg_viewer(&url, Some(Lower::Tcp), None, &[]);
        wait_for_frames(&mut viewer, 25);
        viewer
    };
    let mut publisher = push(&server, &first);
    let mut viewer = watch();
    eprintln!("step: the same stream");
    drop(publisher);
    publisher = push(&server, &first);
    let before = players::frames_so_far(&mut viewer);
    wait_for_frames(&mut viewer, before + 75);
    players::ffprobe_seen(&url, Lower::Tcp, 2).expect_frames(25);
    for (what, file, sign) in others {
        eprintln!("step: {what}");
        drop(publisher);
        publisher = push(&server, &file);
        let seen = players::ffmpeg_seen(viewer, WITHIN);
        assert!(seen.broken.is_empty(), "{:#?}\n{}", seen.broken, seen.text);
        viewer = watch();
        let found = found(&server);
        assert!(found.contains(sign), "no {sign} in:\n{found}");
        players::ffprobe_seen(&url, Lower::Tcp, 2).expect_frames(25);
    }
}

#[test]
fn viewers_of_h264_go_on_or_start_again() {
    let high =
        ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-profile:v", "high", "-x264-params", "8x8dct=1:cabac=1"];
    check(&["-c:v", "libx264", "-pix_fmt", "yuv420p", "-profile:v", "baseline"], (&high, "High"));
}

#[test]
fn viewers_of_h265_go_on_or_start_again() {
    let coded = |format| ["-c:v", "libx265", "-x265-params", "log-level=error", "-pix_fmt", format];
    check(&coded("yuv420p"), (&coded("yuv420p10le"), "Main 10"));
}
