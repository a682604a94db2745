//! ffmpeg, ffprobe and GStreamer as publishers and viewers, live555 as a viewer, and what their output says about the
//! frames.

use std::cell::Cell;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::process::{Finished, Process};
use super::server::{Channel, Program, Server};
use super::wait_for;

/// Frames a second of all test pictures; a key frame comes each second.
pub const FRAME_RATE: u32 = 25;
/// How long a player may take for some seconds of media: no claim, but the end of a test that hangs.
const PLAYS_WITHIN: Duration = Duration::from_secs(60);

/// How media travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lower {
    Udp,
    Tcp,
}

impl Lower {
    fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        }
    }
}

/// What a viewer saw before it ended by itself.
#[derive(Debug)]
pub struct Seen {
    /// Decoded pictures.
    pub frames: u64,
    /// Lines of output that tell of a damaged or missing picture or packet.
    pub broken: Vec<String>,
    /// True when the player ended with success.
    pub success: bool,
    /// All that it wrote.
    pub text: String,
}

impl Seen {
    /// Panics unless the player ended well, with at least so many frames and none of them broken.
    #[track_caller]
    pub fn expect_frames(&self, least: u64) {
        assert!(self.success, "the player failed:\n{}", self.text);
        assert!(self.broken.is_empty(), "broken frames: {:#?}\n{}", self.broken, self.text);
        assert!(self.frames >= least, "{} frames instead of {least}:\n{}", self.frames, self.text);
    }
}

/// ffmpeg pushes a moving picture (H.264, one key frame a second) and a tone (AAC).
#[track_caller]
pub fn ffmpeg_publisher(url: &str, lower: Lower) -> Process {
    let mut command = Command::new("ffmpeg");
    command.args(["-hide_banner", "-nostdin", "-loglevel", "info", "-nostats"]);
    command.args(["-re", "-f", "lavfi", "-i", "testsrc2=size=320x240:rate=25"]);
    command.args(["-re", "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=44100"]);
    command.args(["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-threads", "1"]);
    command.args(["-pix_fmt", "yuv420p", "-g", "25", "-keyint_min", "25", "-b:v", "300k"]);
    command.args(["-maxrate", "400k", "-bufsize", "200k", "-c:a", "aac", "-b:a", "64k"]);
    command.args(["-f", "rtsp", "-rtsp_transport", lower.name(), url]);
    Process::spawn("ffmpeg publisher", &mut command)
}

/// A server with that channel, on air: [`ffmpeg_publisher`] pushes over TCP.
#[track_caller]
pub fn on_air(channel: Channel) -> (Server, Process) {
    let (server, mut publishers) = all_on_air(&[channel]);
    (server, publishers.pop().expect("one for the channel"))
}

/// A server with these channels, all on air: an [`ffmpeg_publisher`] each.
#[track_caller]
pub fn all_on_air(channels: &[Channel]) -> (Server, Vec<Process>) {
    let server = Server::start(channels);
    let programs = channels.iter().map(|channel| (channel.name, channel.program.as_ref().unwrap()));
    let publish = |(name, program): (&str, &Program)| {
        ffmpeg_publisher(&server.link_url(program.reservation_id, name), Lower::Tcp)
    };
    let publishers = programs.clone().map(publish).collect();
    for (name, program) in programs {
        let query = program.password.map(|password| format!("?token={password}")).unwrap_or_default();
        server.wait_on_air(name, &query);
    }
    (server, publishers)
}

/// The highest count of pictures that [`ffmpeg_viewer`] has told so far.
pub fn frames_so_far(viewer: &mut Process) -> u64 {
    let counts =
        viewer.lines().iter().filter_map(|line| line.text.strip_prefix("frame=")?.trim().parse().ok());
    counts.max().unwrap_or(0)
}

/// Waits until [`ffmpeg_viewer`] has decoded so many pictures.
#[track_caller]
pub fn wait_for_frames(viewer: &mut Process, count: u64) {
    let mut last = 0;
    let reached = wait_for(Duration::from_secs(40), || {
        last = frames_so_far(viewer);
        (last >= count).then_some(())
    });
    assert!(reached.is_some(), "{last} frames instead of {count}: {:#?}", viewer.lines());
}

/// A viewer, what it is to show, and how many pictures of it.
pub struct Watcher {
    what: &'static str,
    viewer: Process,
    see: fn(Process, u32, Duration) -> Seen,
    frames: u32,
}

impl Watcher {
    /// ffmpeg for `seconds` of media, of which the first pictures may be missing.
    #[track_caller]
    pub fn ffmpeg(what: &'static str, url: &str, lower: Option<Lower>, seconds: u32) -> Self {
        let viewer = ffmpeg_viewer(url, lower, Some(seconds), &[]);
        let see = |viewer, _: u32, limit| ffmpeg_seen(viewer, limit);
        Self { what, viewer, see, frames: seconds * FRAME_RATE - 10 }
    }

    /// GStreamer until it has shown so many pictures.
    #[track_caller]
    pub fn gst(what: &'static str, url: &str, lower: &str, properties: &[&str], frames: u32) -> Self {
        Self { what, viewer: gst_viewer(url, lower, properties), see: gst_seen, frames }
    }
}

/// All of these viewers, who watch at the same time, see what they must.
#[track_caller]
pub fn expect_all(watchers: impl IntoIterator<Item = Watcher>) {
    for Watcher { what, viewer, see, frames } in watchers {
        eprintln!("step: {what}");
        see(viewer, frames, PLAYS_WITHIN).expect_frames(u64::from(frames));
    }
}

/// GStreamer's rtspclientsink pushes the same kind of picture and tone.
#[track_caller]
pub fn gst_publisher(url: &str, lower: Lower) -> Process {
    let mut command = Command::new("gst-launch-1.0");
    command.args(["-e", "videotestsrc", "is-live=true", "pattern=ball", "!"]);
    command.args(["video/x-raw,width=320,height=240,framerate=25/1", "!"]);
    command.args([
        "x264enc",
        "tune=zerolatency",
        "speed-preset=ultrafast",
        "key-int-max=25",
        "bitrate=300",
        "!",
    ]);
    command.args(["h264parse", "!", "sink.", "audiotestsrc", "is-live=true", "!", "audioconvert", "!"]);
    command.args(["avenc_aac", "bitrate=64000", "!", "aacparse", "!", "sink."]);
    command.args(["rtspclientsink", "name=sink", &format!("location={url}")]);
    command.arg(format!("protocols={}", lower.name()));
    Process::spawn("GStreamer publisher", &mut command)
}

/// ffmpeg as a viewer, which decodes picture and sound. `seconds`: of media, after which it ends; `None`: it ends
/// when the server ends it. `options` stand before the input.
#[track_caller]
pub fn ffmpeg_viewer(url: &str, lower: Option<Lower>, seconds: Option<u32>, options: &[&str]) -> Process {
    let mut command = Command::new("ffmpeg");
    command.args(["-hide_banner", "-nostdin", "-loglevel", "warning", "-nostats", "-progress", "pipe:1"]);
    if let Some(lower) = lower {
        command.args(["-rtsp_transport", lower.name()]);
    }
    command.args(options).args(["-i", url]);
    if let Some(seconds) = seconds {
        command.args(["-t", &seconds.to_string()]);
    }
    command.args(["-map", "0:v", "-map", "0:a", "-fps_mode", "passthrough"]);
    // In ticks of the stream's clock: in those of its frame rate two live pictures may fall on one, which is a complaint.
    command.args(["-enc_time_base:v", "1:90000", "-f", "null", "-"]);
    Process::spawn("ffmpeg viewer", &mut command)
}

/// What [`ffmpeg_viewer`] saw.
#[track_caller]
pub fn ffmpeg_seen(viewer: Process, limit: Duration) -> Seen {
    seen_by_ffmpeg(&viewer.wait(limit))
}

/// Whether this line of ffmpeg's tells of a damaged or missing picture or packet.
pub fn tells_of_damage(line: &str) -> bool {
    let signs = [
        "error while decoding",
        "concealing",
        "corrupt",
        "missed",
        "max delay reached",
        "Invalid data",
        "non-existing",
        "no frame",
        "decode_slice",
        "invalid",
        "Missing reference",
    ];
    signs.iter().any(|sign| line.contains(sign))
}

/// The same, from a viewer that has ended already.
pub fn seen_by_ffmpeg(finished: &Finished) -> Seen {
    let counts =
        finished.lines.iter().filter_map(|line| line.text.strip_prefix("frame=")?.trim().parse().ok());
    let broken = finished.lines.iter().filter(|line| tells_of_damage(&line.text));
    Seen {
        frames: counts.max().unwrap_or(0),
        broken: broken.map(|line| line.text.clone()).collect(),
        success: finished.status.success(),
        text: finished.text(),
    }
}

/// ffprobe reads `seconds` of the stream and lists each decoded picture.
#[track_caller]
pub fn ffprobe_seen(url: &str, lower: Lower, seconds: u32) -> Seen {
    let mut command = Command::new("ffprobe");
    command.args(["-hide_banner", "-loglevel", "warning", "-rtsp_transport", lower.name()]);
    command.args(["-read_intervals", &format!("%+{seconds}"), "-select_streams", "v"]);
    command.args(["-show_entries", "frame=key_frame,pict_type", "-of", "csv", url]);
    let limit = Duration::from_secs(u64::from(seconds) + 25);
    let finished = Process::spawn("ffprobe", &mut command).wait(limit);
    let mut seen = seen_by_ffmpeg(&finished);
    let frames: Vec<_> = finished.lines.iter().filter(|line| line.text.starts_with("frame,")).collect();
    seen.frames = frames.len() as u64;
    if let Some(first) = frames.first().filter(|first| !first.text.starts_with("frame,1,I")) {
        seen.broken.push(format!("the first picture is no key frame: {}", first.text));
    }
    seen
}

/// What ffprobe finds in the stream, a line a track: `h264,640,360`, `aac`.
#[track_caller]
pub fn ffprobe_tracks(url: &str, limit: Duration) -> Vec<String> {
    let mut command = Command::new("ffprobe");
    command.args(["-hide_banner", "-loglevel", "error", "-rtsp_transport", "tcp"]);
    command.args(["-show_entries", "stream=codec_name,width,height", "-of", "csv=p=0", url]);
    let finished = Process::spawn("ffprobe", &mut command).wait(limit);
    assert!(finished.status.success(), "{}", finished.text());
    finished.lines.iter().map(|line| line.text.trim_end_matches(',').to_owned()).collect()
}

/// GStreamer's rtspsrc plays until it is interrupted or the server ends it. `properties` are those of rtspsrc, such as
/// `user-id=…`.
#[track_caller]
pub fn gst_viewer(url: &str, lower: &str, properties: &[&str]) -> Process {
    let mut command = Command::new("gst-launch-1.0");
    command.args(["-v", "rtspsrc", "name=source", &format!("location={url}"), "latency=500"]);
    command.arg(format!("protocols={lower}")).args(properties);
    command.args([
        "source.",
        "!",
        "application/x-rtp,media=video",
        "!",
        "rtph264depay",
        "!",
        "h264parse",
        "!",
    ]);
    command.args(["avdec_h264", "!", "fakesink", "name=pictures", "silent=false", "sync=false"]);
    command.args([
        "source.",
        "!",
        "application/x-rtp,media=audio",
        "!",
        "rtpmp4gdepay",
        "!",
        "aacparse",
        "!",
    ]);
    command.args(["avdec_aac", "!", "fakesink", "name=sounds", "silent=false", "sync=false"]);
    Process::spawn("GStreamer viewer", &mut command)
}

/// Waits until [`gst_viewer`] has decoded so many pictures, and some sound, and ends it; says what it saw.
#[track_caller]
pub fn gst_seen(mut viewer: Process, frames: u32, limit: Duration) -> Seen {
    let (pictures, sounds) = (Cell::new(0), Cell::new(0));
    viewer.wait_for_line(limit, |line| {
        pictures.set(pictures.get() + u32::from(is_picture(line)));
        sounds.set(sounds.get() + u32::from(line.contains("chain ") && line.contains("(sounds:sink)")));
        (pictures.get() >= frames && sounds.get() > frames / 2) || line.starts_with("ERROR")
    });
    let had_error = viewer.lines().iter().any(|line| line.text.starts_with("ERROR"));
    let mut seen = seen_by_gst(&viewer.interrupt(Duration::from_secs(10)));
    if !had_error {
        // All was seen before it was interrupted. On its way out rtspsrc may trip over its own connection, which it has
        // closed before it asks for PAUSE; that is told as an error and in the exit code.
        // Any other failure stays one.
        let tripped = |line: &String| line.contains("Could not write to resource");
        seen.success |= seen.broken.iter().any(tripped);
        seen.broken.retain(|line| !tripped(line));
    }
    seen
}

/// The viewer of `tests/live555`, which writes the picture into a file.
pub struct Live555 {
    process: Process,
    folder: tempfile::TempDir,
}

/// What [`Live555`] left.
pub struct Live555Finished {
    pub process: Finished,
    folder: tempfile::TempDir,
}

const PICTURES: &str = "pictures.h264";

impl Live555 {
    /// Watches for so many seconds. `login`: user and password.
    #[track_caller]
    pub fn start(program: &Path, url: &str, lower: Lower, seconds: u32, login: Option<(&str, &str)>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(program);
        command.arg(url).arg(folder.path().join(PICTURES)).args([&seconds.to_string(), lower.name()]);
        command.args(login.into_iter().flat_map(|(user, password)| [user, password]));
        Self { process: Process::spawn("live555 viewer", &mut command), folder }
    }

    #[track_caller]
    pub fn wait(self, limit: Duration) -> Live555Finished {
        Live555Finished { process: self.process.wait(limit), folder: self.folder }
    }
}

impl Live555Finished {
    /// A count of its last line: `video`, `audio` (frames), `goodbyes` (tracks), `timeout` (of the session, seconds).
    #[track_caller]
    pub fn said(&self, name: &str) -> u64 {
        let words = self.process.lines.iter().flat_map(|line| line.text.split(' '));
        let mut counts = words.filter_map(|word| word.strip_prefix(name)?.strip_prefix('=')?.parse().ok());
        counts.next().unwrap_or_else(|| panic!("no {name}:\n{}", self.process.text()))
    }

    /// What ffmpeg decodes of the picture.
    #[track_caller]
    pub fn pictures(&self) -> Seen {
        let mut command = Command::new("ffmpeg");
        command.args(["-hide_banner", "-nostdin", "-loglevel", "warning", "-nostats", "-progress", "pipe:1"]);
        command.args(["-f", "h264", "-i"]).arg(self.folder.path().join(PICTURES));
        command.args(["-fps_mode", "passthrough", "-f", "null", "-"]);
        let decoded = Process::spawn("ffmpeg decoder", &mut command).wait(Duration::from_secs(20));
        let mut seen = seen_by_ffmpeg(&decoded);
        seen.success &= self.process.status.success();
        seen.text.push_str(&self.process.text());
        seen
    }
}

fn is_picture(line: &str) -> bool {
    line.contains("chain ") && line.contains("(pictures:sink)")
}

/// The same, from a viewer that has ended already.
pub fn seen_by_gst(finished: &Finished) -> Seen {
    let pictures: Vec<_> = finished.lines.iter().filter(|line| is_picture(&line.text)).collect();
    let damaged = pictures.iter().copied().filter(|line| line.text.contains("corrupted"));
    let errors = finished.lines.iter().filter(|line| line.text.starts_with("ERROR"));
    let said = finished.lines.iter().filter(|line| !line.text.contains("chain "));
    Seen {
        frames: pictures.len() as u64,
        broken: damaged.chain(errors).map(|line| line.text.clone()).collect(),
        success: finished.status.success(),
        text: said.map(|line| format!("{}\n", line.text)).collect(),
    }
}
