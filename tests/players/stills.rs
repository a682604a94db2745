//! Stills by the real ffmpeg, of what the real ffmpeg broadcasts in H.264 and H.265.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    process::Command,
    time::{Duration, UNIX_EPOCH},
};

use slotcast::config;
use slotcast_core::{time::WallTime, words::ChannelNumber};
use slotcast_testing::{
    players::{self, Lower},
    process::Process,
    server::{Channel, Server, channel},
    wait_for,
};

/// Ends a test that hangs.
const WITHIN: Duration = Duration::from_secs(60);
/// Names of channels and their programs' reservation IDs.
const PLACES: [(&str, &str); 2] = [("stage", "r7Kq2mXw9TzB4nVc"), ("cellar", "uN5sYb8Qe3LkWp6D")];

/// The program of the channel with this index, as its address names it.
fn number(server: &Server, channels: &[Channel], index: usize) -> u64 {
    let program = channels[index].program.as_ref().unwrap();
    let epoch = server.epoch.1.duration_since(UNIX_EPOCH).unwrap().as_secs();
    let start = WallTime::from_micros((i64::try_from(epoch).unwrap() + program.start) * 1_000_000);
    let channel = ChannelNumber(u16::try_from(index + 1).unwrap());
    config::program_id(channel, start, program.reservation_id).0
}

/// The body, where there is a still.
fn still(http: SocketAddr, number: u64) -> Option<Vec<u8>> {
    let mut stream = TcpStream::connect(http).ok()?;
    let request =
        format!("GET /programs/{number}/still.jpg HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
    answer.starts_with(b"HTTP/1.1 200").then(|| answer[end + 4..].to_vec())
}

/// Codec, width and height, as ffprobe decodes them; and how much the picture's parts differ.
fn decoded(jpeg: &[u8]) -> String {
    let mut file = tempfile::Builder::new().suffix(".jpg").tempfile().unwrap();
    file.write_all(jpeg).unwrap();
    let mut command = Command::new("ffprobe");
    command.args([
        "-v",
        "error",
        "-count_frames",
        "-show_entries",
        "stream=codec_name,width,height,nb_read_frames",
    ]);
    command.args(["-of", "csv=p=0"]).arg(file.path());
    let finished = Process::spawn("ffprobe", &mut command).wait(WITHIN);
    finished.text().trim().to_owned()
}

fn h265_publisher(url: &str) -> Process {
    let mut command = Command::new("ffmpeg");
    command.args(["-hide_banner", "-nostdin", "-loglevel", "info", "-nostats"]);
    command.args(["-re", "-f", "lavfi", "-i", "testsrc2=size=1280x720:rate=5", "-an"]);
    command.args(["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error:pools=1"]);
    command.args(["-pix_fmt", "yuv420p", "-g", "5", "-b:v", "800k", "-maxrate", "1000k", "-bufsize", "500k"]);
    command.args(["-f", "rtsp", "-rtsp_transport", "tcp", url]);
    Process::spawn("ffmpeg publisher of H.265", &mut command)
}

#[test]
fn ffmpeg_makes_stills_of_h264_and_h265() {
    let channels = PLACES.map(|(name, id)| channel(name, 4).reservation_id(id));
    let server = Server::start_with(&channels, "[stills]\nffmpeg = \"/usr/bin/ffmpeg\"\n");
    let url = |index: usize| server.link_url(PLACES[index].1, PLACES[index].0);
    let _h264 = players::ffmpeg_publisher(&url(0), Lower::Udp);
    let _h265 = h265_publisher(&url(1));
    for (index, expected) in ["mjpeg,320,240,1", "mjpeg,640,360,1"].into_iter().enumerate() {
        let number = number(&server, &channels, index);
        let jpeg = wait_for(WITHIN, || still(server.http, number));
        let jpeg = jpeg.unwrap_or_else(|| panic!("no still of {}", PLACES[index].0));
        assert_eq!(decoded(&jpeg), expected);
        // The test picture has many colours and edges: one that did not decode is grey, and much smaller.
        assert!(jpeg.len() > 5_000, "{} bytes", jpeg.len());
    }
}
