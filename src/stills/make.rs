//! One key picture becomes a JPEG, by a process of the operator's `ffmpeg`.
//!
//! Owns: its arguments, its bounds (time, processor, memory, no files, bytes of output), its end.
//! Refuses: output that is no JPEG, or too large.
//! Invariant: when [`jpeg`] returns, the process has ended.

use std::{
    fs,
    io::{self, Read, Write},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use bytes::Bytes;
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process_group, prlimit};
use slotcast_core::media::Codec;

use super::Picture;

/// Largest still.
const JPEG_BYTES_MAX: usize = 256 * 1024;
/// Address space of the process: its libraries alone map some 400 MB.
const MEMORY_MAX: u64 = 1 << 30;
/// Processor time of the process, in seconds.
const CPU_SECONDS_MAX: u64 = 5;
/// Pictures with more pixels are not decoded: twice 4K.
const PIXELS_MAX: &str = "16777216";
/// A JPEG begins and ends so (ISO/IEC 10918-1 B.1.1.3).
const JPEG_START: [u8; 3] = [0xff, 0xd8, 0xff];
const JPEG_END: [u8; 2] = [0xff, 0xd9];

/// Errors: `ffmpeg` is no program that can be run, with the next step.
pub(super) fn check(ffmpeg: &Path) -> io::Result<()> {
    let wrong = |why: String| {
        let text = format!(
            "stills.ffmpeg: {}: {why}: install ffmpeg, name where it is, or leave the line out",
            ffmpeg.display()
        );
        Err(io::Error::new(io::ErrorKind::NotFound, text))
    };
    match fs::metadata(ffmpeg) {
        Err(error) => wrong(error.to_string()),
        Ok(found) if !found.is_file() || found.permissions().mode() & 0o111 == 0 => {
            wrong("is no program".to_owned())
        }
        Ok(_) => Ok(()),
    }
}

/// Runs `ffmpeg` on `picture`, for at most `within`.
///
/// Errors: why there is no JPEG.
pub(super) fn jpeg(ffmpeg: &Path, picture: Picture, within: Duration) -> io::Result<Bytes> {
    let mut process = Running(command(ffmpeg, picture.codec).spawn()?);
    limit(&process.0)?;
    let (Some(mut input), Some(output)) = (process.0.stdin.take(), process.0.stdout.take()) else {
        return Err(io::Error::other("the process has no pipes"));
    };
    // Both end with the process at the latest: it ends when this function does.
    let feeding = move || {
        // A process that does not read to the end may still have made its JPEG.
        let _ = input.write_all(&picture.stream);
    };
    std::thread::Builder::new().name("slotcast-still-in".to_owned()).spawn(feeding)?;
    let (made, finished) = mpsc::channel();
    let reading = move || {
        let mut jpeg = Vec::new();
        let read = output.take(JPEG_BYTES_MAX as u64 + 1).read_to_end(&mut jpeg);
        // Nobody waits any more: it took too long.
        let _ = made.send(read.map(|_| jpeg));
    };
    std::thread::Builder::new().name("slotcast-still-out".to_owned()).spawn(reading)?;
    let jpeg = finished
        .recv_timeout(within)
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, format!("it took more than {within:?}")))??;
    if jpeg.len() > JPEG_BYTES_MAX {
        return Err(io::Error::other(format!("it wrote more than {JPEG_BYTES_MAX} bytes")));
    }
    if !jpeg.starts_with(&JPEG_START) || !jpeg.ends_with(&JPEG_END) {
        return Err(io::Error::other(format!("it wrote {} bytes that are no JPEG", jpeg.len())));
    }
    Ok(jpeg.into())
}

/// One frame from the standard input, at most 640 pixels wide, to the standard output.
fn command(ffmpeg: &Path, codec: Codec) -> Command {
    let format = if codec == Codec::H265 { "hevc" } else { "h264" };
    let mut command = Command::new(ffmpeg);
    command
        .args(["-hide_banner", "-loglevel", "quiet", "-nostats", "-protocol_whitelist", "pipe"])
        .args(["-threads", "1", "-max_pixels", PIXELS_MAX, "-f", format, "-i", "pipe:0"])
        .args(["-frames:v", "1", "-filter_threads", "1", "-vf", "scale=w='min(640,iw)':h=-2"])
        .args([
            "-threads", "1", "-c:v", "mjpeg", "-pix_fmt", "yuvj420p", "-q:v", "6", "-f", "mjpeg", "pipe:1",
        ])
        .env_clear()
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command
}

/// Bounds what the process may take. It waits for its input until then.
fn limit(process: &Child) -> io::Result<()> {
    let pid = Pid::from_child(process);
    let limits = [
        (Resource::As, MEMORY_MAX),
        (Resource::Cpu, CPU_SECONDS_MAX),
        (Resource::Fsize, 0),
        (Resource::Core, 0),
    ];
    for (resource, most) in limits {
        prlimit(Some(pid), resource, Rlimit { current: Some(most), maximum: Some(most) })?;
    }
    Ok(())
}

/// A process that ends when it is dropped, with all that it has started.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself: its group is there until it is waited for.
        let _ = kill_process_group(Pid::from_child(&self.0), Signal::KILL);
        if let Err(error) = self.0.wait() {
            tracing::debug!(%error, "the end of a process for a still could not be waited for");
        }
    }
}

#[cfg(test)]
mod tests {
    use slotcast_core::words::ProgramId;

    use super::*;

    /// What comes of a program of our own: a script that has this in its middle.
    fn made_by(script: &str, within: Duration) -> io::Result<Bytes> {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("ffmpeg");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        check(&program).unwrap();
        let picture = Picture { program: ProgramId(1), codec: Codec::H264, stream: vec![7; 300_000] };
        jpeg(&program, picture, within)
    }

    const PATIENCE: Duration = Duration::from_secs(60);
    const START: &str = "printf '\\377\\330\\377'";
    const END: &str = "printf '\\377\\331'";

    #[test]
    fn a_jpeg_is_taken_whether_or_not_all_was_read() {
        let read = made_by(&format!("{START}; wc -c; {END}"), PATIENCE).unwrap();
        assert_eq!(&read[3..read.len() - 2], b"300000\n");
        assert_eq!(made_by(&format!("{START}; {END}"), PATIENCE).unwrap().len(), 5);
    }

    #[test]
    fn it_is_bound_in_memory_time_and_files() {
        // It reads first: its limits are set before it is given anything.
        let script = format!("{START}; cat > /dev/null; ulimit -v; ulimit -t; ulimit -f; {END}");
        let limits = made_by(&script, PATIENCE).unwrap();
        assert_eq!(&limits[3..limits.len() - 2], b"1048576\n5\n0\n");
    }

    #[test]
    fn what_hangs_is_ended_and_what_is_no_jpeg_is_refused() {
        let hangs = made_by("sleep 600 & wait", Duration::from_millis(200)).unwrap_err();
        assert_eq!(hangs.kind(), io::ErrorKind::TimedOut);
        for (script, why) in [
            ("cat > /dev/null", "0 bytes that are no JPEG"),
            ("printf '<script>'", "8 bytes that are no JPEG"),
            (START, "3 bytes that are no JPEG"),
            (&format!("{START}; head -c 300000 /dev/zero; {END}"), "more than 262144 bytes"),
        ] {
            let error = made_by(script, PATIENCE).unwrap_err().to_string();
            assert!(error.contains(why), "{script}: {error}");
        }
    }

    #[test]
    fn what_is_no_program_is_said_with_the_next_step() {
        let text = tempfile::NamedTempFile::new().unwrap();
        for path in [Path::new("/nowhere/ffmpeg"), text.path(), Path::new("/")] {
            let error = check(path).unwrap_err().to_string();
            assert!(error.contains(&*path.to_string_lossy()) && error.contains("install ffmpeg"), "{error}");
        }
    }
}
