//! A real OBS on a screen of its own, filled in as a settings file says.
//!
//! Invariant: what OBS is given is what the settings file prints and nothing else; each label is one that OBS shows.

use std::{
    fmt::Write as _,
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use super::process::Process;

/// Where Debian's package puts what OBS shows in English.
const LABELS: &str = "/usr/share/obs/obs-studio/locale/en-US.ini";
const SCREEN_WITHIN: Duration = Duration::from_secs(20);

/// OBS and its screen; dropping it ends both.
pub struct Obs {
    pub program: Process,
    _screen: Process,
}

impl Obs {
    /// Fills in the fields (label and value) in a profile below `home`, and presses *Start Recording*. It shows `clip` again and again.
    #[track_caller]
    pub fn start(fields: &[(String, String)], home: &Path, clip: &Path) -> Self {
        expect_labels(fields);
        let config = home.join("obs-studio");
        let profile = config.join("basic/profiles/test");
        fs::create_dir_all(&profile).unwrap();
        fs::create_dir_all(config.join("basic/scenes")).unwrap();
        fs::write(config.join("global.ini"), global()).unwrap();
        fs::write(profile.join("basic.ini"), ini(fields)).unwrap();
        fs::write(config.join("basic/scenes/test.json"), scene(clip)).unwrap();
        let mut xvfb = Command::new("Xvfb");
        // It takes a number that is free, and says which.
        xvfb.args(["-displayfd", "1", "-screen", "0", "1280x800x24", "-nolisten", "tcp"]);
        let mut screen = Process::spawn("Xvfb", &mut xvfb);
        let number = screen.wait_for_line(SCREEN_WITHIN, |line| line.trim().parse::<u32>().is_ok());
        let mut obs = Command::new("obs");
        obs.args(["--multi", "--startrecording", "--disable-updater", "--disable-missing-files-check"]);
        obs.args(["--profile", "test", "--collection", "test"]).stdin(Stdio::null());
        obs.env("DISPLAY", format!(":{}", number.text.trim())).env("LIBGL_ALWAYS_SOFTWARE", "1");
        obs.env("QT_QPA_PLATFORM", "xcb").env("HOME", home);
        obs.env("XDG_CONFIG_HOME", home).env("XDG_RUNTIME_DIR", home);
        // Its list of streaming services comes from the web: not here.
        obs.env("http_proxy", "http://127.0.0.1:9").env("https_proxy", "http://127.0.0.1:9");
        Self { program: Process::spawn("obs", &mut obs), _screen: screen }
    }
}

/// What the settings file names must be what OBS shows.
#[track_caller]
fn expect_labels(fields: &[(String, String)]) {
    let shown = fs::read_to_string(LABELS).unwrap();
    for (name, _) in fields {
        let is_shown = shown.lines().any(|line| line.ends_with(&format!("=\"{name}\"")));
        assert!(is_shown, "OBS shows no {name:?}");
    }
}

/// No wizard, no questions at the start, no remote control.
fn global() -> &'static str {
    "[General]\nFirstRun=true\nLastVersion=486539266\nEnableAutoUpdates=false\nInfoIncrement=99\n\
     [Basic]\nConfigOnNewProfile=false\n[BasicWindow]\nSysTrayEnabled=false\n\
     [OBSWebSocket]\nFirstLoad=false\nServerEnabled=false\n"
}

/// The clip, as large as the canvas.
fn scene(clip: &Path) -> String {
    serde_json::json!({
        "name": "test", "current_scene": "Scene", "current_program_scene": "Scene",
        "scene_order": [{ "name": "Scene" }],
        "sources": [
            { "id": "scene", "name": "Scene", "settings": { "id_counter": 1, "items": [
                { "name": "Clip", "id": 1, "visible": true, "scale": { "x": 1.0, "y": 1.0 }, "align": 5 },
            ] } },
            { "id": "ffmpeg_source", "name": "Clip", "mixers": 255, "volume": 1.0,
              "settings": { "local_file": clip, "looping": true, "restart_on_activate": false } },
        ],
    })
    .to_string()
}

/// The profile as OBS writes it once the fields are filled in and *OK* is pressed.
#[track_caller]
fn ini(fields: &[(String, String)]) -> String {
    let mut video = String::from("[Video]\nBaseCX=320\nBaseCY=180\nOutputCX=320\nOutputCY=180\n");
    let mut output = String::from("[Output]\nMode=Advanced\n[AdvOut]\nFFAudioMixes=1\n");
    for (name, value) in fields {
        let number = value.strip_suffix(" Kbps").unwrap_or(value);
        let line = match name.as_str() {
            "Type" if value == "Custom Output (FFmpeg)" => "RecType=FFmpeg".to_owned(),
            "FFmpeg Output Type" if value == "Output to URL" => "FFOutputToFile=false".to_owned(),
            "File path or URL" => format!("FFURL={value}"),
            "Container Format" => format!("FFFormat={value}"),
            "Muxer Settings (if any)" => format!("FFMCustom={value}"),
            "Video Bitrate" => format!("FFVBitrate={number}"),
            "Keyframe interval (frames)" => format!("FFVGOPSize={value}"),
            "Rescale Output" => format!("FFRescale=true\nFFRescaleRes={value}"),
            "Show all codecs (even if potentially incompatible)" if value == "yes" => {
                "FFIgnoreCompat=true".to_owned()
            }
            // The numbers are those of FFmpeg's codecs.
            "Video Encoder" if value == "libx264" => "FFVEncoder=libx264\nFFVEncoderId=27".to_owned(),
            "Video Encoder Settings (if any)" => format!("FFVCustom={value}"),
            "Audio Bitrate" => {
                assert!(number.parse::<u32>().unwrap() >= 32, "OBS takes no less than 32 Kbps: {value}");
                format!("FFABitrate={number}")
            }
            "Audio Encoder" if value == "libopus" => "FFAEncoder=libopus\nFFAEncoderId=86076".to_owned(),
            "Audio Encoder" if value == "aac" => "FFAEncoder=aac\nFFAEncoderId=86018".to_owned(),
            "Audio Encoder Settings (if any)" => format!("FFACustom={value}"),
            "Integer FPS Value" => {
                writeln!(video, "FPSType=1\nFPSInt={value}").unwrap();
                continue;
            }
            _ => panic!("what to do with {name:?} = {value:?}?"),
        };
        output.push_str(&line);
        output.push('\n');
    }
    format!("[General]\nName=test\n{video}[Audio]\nSampleRate=48000\nChannelSetup=Stereo\n{output}")
}
