//! The ready-made lines: ffmpeg, GStreamer and OBS to broadcast, ffplay and VLC to watch.
//!
//! Owns: their words. Not here: quoting (`shell`), bit rates (`plan`).
//! Invariant: each line works as printed in a POSIX shell, with a file `clip.mp4` beside it where it reads one.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::{
    file::{AccessPort, Secret, Transport},
    plan::{AudioCodec, AudioPlan, EncoderPlan, VideoPlan},
    shell,
};

/// The user's name in link addresses; it has no meaning, the reservation ID decides.
const LINK_USER: &str = "live";
/// The user's name in viewers' addresses; it has no meaning, the password decides.
const VIEWER: &str = "viewer";
/// The file that the lines read.
const CLIP: &str = "clip.mp4";

/// What a line sends, or that it watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// A file again and again, as it is encoded; it must fit the class already.
    FileCopy,
    /// A file again and again, encoded to fit the class.
    FileEncode,
    /// A test picture and a tone, encoded to fit the class.
    TestSource,
    /// Plays the program.
    Watch,
}

/// One line to type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandLine {
    /// E.g. `ffmpeg`.
    pub program: String,
    /// What it does.
    pub task: Task,
    /// Through which access port, by its name; absent for watching.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<String>,
    /// How media travels; absent where the program chooses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transport: Option<Transport>,
    /// For a POSIX shell. Holds the reservation ID or the viewers' password.
    pub line: Secret,
}

/// One field of a form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// As OBS labels it.
    pub name: String,
    /// What to put there.
    pub value: Secret,
}

/// What to fill in for OBS, for one access port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObsForm {
    /// Through which access port, by its name.
    pub access: String,
    /// How media travels.
    pub transport: Transport,
    /// In the order in which OBS shows them.
    pub fields: Vec<Field>,
}

/// All ready-made lines of a settings file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Commands {
    /// To broadcast; without encoding lines where the class is too small for any.
    pub broadcast: Vec<CommandLine>,
    /// To fill in.
    pub obs: Vec<ObsForm>,
    /// To watch.
    pub watch: Vec<CommandLine>,
}

/// What the lines are made of.
#[derive(Clone, Copy, Debug)]
pub struct Ingredients<'a> {
    /// The reservation ID.
    pub id: &'a Secret,
    /// The stream path.
    pub path: &'a str,
    /// Where the link side listens.
    pub access: &'a [AccessPort],
    /// What fits the class; `None`: nothing does.
    pub plan: Option<EncoderPlan>,
    /// Of the program.
    pub title: &'a str,
    /// The viewers' address, `rtsp://host:port/path`.
    pub watch_url: &'a str,
    /// The viewers' password.
    pub password: Option<&'a Secret>,
}

impl Commands {
    /// Writes all lines: for each access port and each transport of it.
    pub fn write(of: &Ingredients<'_>) -> Self {
        let mut broadcast = Vec::new();
        let mut obs = Vec::new();
        for access in of.access {
            let url = format!(
                "rtsp://{LINK_USER}:{}@{}:{}/{}",
                of.id.expose(),
                access.host.in_url(),
                access.port,
                of.path
            );
            for &transport in &access.transports {
                let line = |program: &str, task, words: Words| CommandLine {
                    program: program.to_owned(),
                    task,
                    access: Some(access.name.clone()),
                    transport: Some(transport),
                    line: Secret::new(shell::join(words.0.iter().map(String::as_str))),
                };
                broadcast.push(line("ffmpeg", Task::FileCopy, ffmpeg_copy(of.title, transport, &url)));
                if let Some(plan) = of.plan {
                    let encode = ffmpeg_encode(plan, of.title, transport, &url);
                    broadcast.push(line("ffmpeg", Task::FileEncode, encode));
                    let source = ffmpeg_source(plan, of.title, transport, &url);
                    broadcast.push(line("ffmpeg", Task::TestSource, source));
                    broadcast.push(line("gstreamer", Task::TestSource, gstreamer(plan, transport, &url)));
                }
                // OBS sends no sound without a picture.
                if let Some(EncoderPlan { video: Some(video), audio }) = of.plan {
                    let fields = obs_fields(video, audio, transport, &url);
                    obs.push(ObsForm { access: access.name.clone(), transport, fields });
                }
            }
        }
        Self { broadcast, obs, watch: watch_lines(of.watch_url, of.password) }
    }
}

/// The words of one line, each unquoted.
struct Words(Vec<String>);

impl Words {
    /// Words without a space in them.
    fn of(text: &str) -> Self {
        Self(text.split_ascii_whitespace().map(str::to_owned).collect())
    }

    /// More of them.
    fn and(mut self, text: &str) -> Self {
        self.0.extend(text.split_ascii_whitespace().map(str::to_owned));
        self
    }

    /// One word, whatever is in it.
    fn word(mut self, word: impl Into<String>) -> Self {
        self.0.push(word.into());
        self
    }
}

fn ffmpeg_copy(title: &str, transport: Transport, url: &str) -> Words {
    // A picture or a sound that is not there is no error; subtitles and covers do not travel by RTP.
    let input = Words::of("ffmpeg -re -stream_loop -1 -i").word(CLIP);
    ffmpeg_output(input.and("-map 0:v:0? -map 0:a:0? -c copy"), title, transport, url)
}

fn ffmpeg_encode(plan: EncoderPlan, title: &str, transport: Transport, url: &str) -> Words {
    let mut words = Words::of("ffmpeg -re -stream_loop -1 -i").word(CLIP);
    if let Some(video) = plan.video {
        let VideoPlan { width, height, frame_rate, .. } = video;
        words = words.and("-map 0:v:0?").word("-vf").word(format!(
            "scale={width}:{height}:force_original_aspect_ratio=decrease:force_divisible_by=2,fps={frame_rate}"
        ));
        words = words.and(&x264(video));
    }
    ffmpeg_output(words.and("-map 0:a:0?").and(&ffmpeg_audio(plan.audio)), title, transport, url)
}

fn ffmpeg_source(plan: EncoderPlan, title: &str, transport: Transport, url: &str) -> Words {
    let mut words = Words::of("ffmpeg");
    if let Some(VideoPlan { width, height, frame_rate, .. }) = plan.video {
        words = words.and(&format!("-re -f lavfi -i testsrc2=size={width}x{height}:rate={frame_rate}"));
    }
    words = words.and("-re -f lavfi -i sine=frequency=440:sample_rate=48000");
    if let Some(video) = plan.video {
        words = words.and(&x264(video));
    }
    ffmpeg_output(words.and(&ffmpeg_audio(plan.audio)), title, transport, url)
}

fn ffmpeg_output(words: Words, title: &str, transport: Transport, url: &str) -> Words {
    let words = words.word("-metadata").word(format!("title={title}"));
    words.and(&format!("-f rtsp -rtsp_transport {}", transport.name())).word(url)
}

fn x264(video: VideoPlan) -> String {
    let (rate, interval) = (video.bits_per_second, video.key_frame_interval());
    format!(
        "-c:v libx264 -preset veryfast -tune zerolatency -pix_fmt yuv420p -g {interval} \
         -b:v {rate} -maxrate {rate} -bufsize {rate}"
    )
}

/// Opus at a constrained, not at a constant rate: ffmpeg 5.1 as a player trips over the padding of the latter.
fn ffmpeg_audio(AudioPlan { codec, bits_per_second, channels }: AudioPlan) -> String {
    let encoder = match codec {
        AudioCodec::Opus => "libopus -application voip -vbr constrained -frame_duration 60",
        AudioCodec::Aac => "aac",
    };
    format!("-c:a {encoder} -b:a {bits_per_second} -ar 48000 -ac {channels}")
}

fn gstreamer(plan: EncoderPlan, transport: Transport, url: &str) -> Words {
    let mut words = Words::of("gst-launch-1.0 -e");
    if let Some(video) = plan.video {
        let VideoPlan { bits_per_second, width, height, frame_rate } = video;
        words = words.and(&format!(
            "videotestsrc is-live=true pattern=ball ! video/x-raw,width={width},height={height},framerate={frame_rate}/1 ! \
             x264enc tune=zerolatency speed-preset=veryfast bitrate={} vbv-buf-capacity=1000 key-int-max={} ! \
             h264parse ! queue ! out.",
            bits_per_second / 1_000,
            video.key_frame_interval()
        ));
    }
    let AudioPlan { codec, bits_per_second, channels } = plan.audio;
    let encoder = match codec {
        AudioCodec::Opus => format!(
            "opusenc bitrate={bits_per_second} bitrate-type=constrained-vbr bandwidth={} frame-size=60 \
             audio-type=voice ! opusparse",
            // A pure tone at 8 kbit/s takes twice that where the encoder may use the full band.
            if bits_per_second < 12_000 { "narrowband" } else { "fullband" }
        ),
        AudioCodec::Aac => format!("avenc_aac bitrate={bits_per_second} ! aacparse"),
    };
    let words = words.and(&format!(
        "audiotestsrc is-live=true ! audioconvert ! audio/x-raw,rate=48000,channels={channels} ! {encoder} ! \
         queue ! out."
    ));
    words
        .and(&format!("rtspclientsink name=out protocols={}", transport.name()))
        .word(format!("location={url}"))
}

/// The least that OBS takes as *Audio Bitrate*, in bits per second; less is said in the encoder's own settings.
const OBS_AUDIO_MIN: u64 = 32_000;

/// The labels of OBS 29, Settings → Output, Output Mode Advanced, tab Recording; the last one is under Video.
fn obs_fields(video: VideoPlan, audio: AudioPlan, transport: Transport, url: &str) -> Vec<Field> {
    let field = |name: &str, value: String| Field { name: name.to_owned(), value: Secret::new(value) };
    let kbits = video.bits_per_second / 1_000;
    let mut fields = vec![
        field("Type", "Custom Output (FFmpeg)".into()),
        field("FFmpeg Output Type", "Output to URL".into()),
        field("File path or URL", url.to_owned()),
        field("Container Format", "rtsp".into()),
        field("Muxer Settings (if any)", format!("rtsp_transport={}", transport.name())),
        field("Video Bitrate", format!("{kbits} Kbps")),
        field("Keyframe interval (frames)", video.key_frame_interval().to_string()),
        field("Rescale Output", format!("{}x{}", video.width, video.height)),
        // Without it OBS offers MPEG-4 and AAC alone with this container.
        field("Show all codecs (even if potentially incompatible)", "yes".into()),
        field("Video Encoder", "libx264".into()),
        field(
            "Video Encoder Settings (if any)",
            format!("preset=veryfast tune=zerolatency maxrate={kbits}k bufsize={kbits}k"),
        ),
        field("Audio Bitrate", format!("{} Kbps", audio.bits_per_second.max(OBS_AUDIO_MIN) / 1_000)),
    ];
    match audio.codec {
        AudioCodec::Opus => fields.extend([
            field("Audio Encoder", "libopus".into()),
            field(
                "Audio Encoder Settings (if any)",
                format!("b={} application=voip vbr=constrained frame_duration=60", audio.bits_per_second),
            ),
        ]),
        AudioCodec::Aac => fields.push(field("Audio Encoder", "aac".into())),
    }
    fields.push(field("Integer FPS Value", video.frame_rate.to_string()));
    fields
}

fn watch_lines(url: &str, password: Option<&Secret>) -> Vec<CommandLine> {
    let address = with_password(url, password);
    let line = |program: &str, transport, words: Words| CommandLine {
        program: program.to_owned(),
        task: Task::Watch,
        access: None,
        transport,
        line: Secret::new(shell::join(words.0.iter().map(String::as_str))),
    };
    let over = |transport: Transport| {
        Words::of("ffplay -rtsp_transport").word(transport.name()).word(address.clone())
    };
    let mut vlc = Words::of("vlc");
    if let Some(password) = password {
        vlc = vlc.word(format!("--rtsp-user={VIEWER}")).word(format!("--rtsp-pwd={}", password.expose()));
    }
    vec![
        line("ffplay", Some(Transport::Tcp), over(Transport::Tcp)),
        line("ffplay", Some(Transport::Udp), over(Transport::Udp)),
        line("vlc", None, vlc.word(url)),
    ]
}

/// The address with the password in it, each byte with a meaning in addresses as its number (RFC 3986 §2.1).
fn with_password(url: &str, password: Option<&Secret>) -> String {
    let (Some(password), Some(rest)) = (password, url.strip_prefix("rtsp://")) else {
        return url.to_owned();
    };
    let mut address = format!("rtsp://{VIEWER}:");
    for byte in password.expose().bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            address.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(address, "%{byte:02X}");
        }
    }
    address.push('@');
    address.push_str(rest);
    address
}
