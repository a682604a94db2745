//! The encoders' lines of README.md and `docs/broadcast.md`, and the copy of `docs/watch.md`, as printed but for the
//! address and the reservation ID.

use std::{fs, time::Duration};

use rustix::process::Signal;
use slotcast_testing::{
    api::Client,
    pages::{PATIENCE, Shell, block, root},
    process::Process,
    server::ID,
    wait_for,
};

/// Packets in which there is some picture and sound: four seconds of the small clip.
const PACKETS: f64 = 100.0;

/// The README's server takes what `block` of `page` sends, and the line of `docs/watch.md` keeps a copy of it.
#[track_caller]
fn check(page: &str, begins: &str) {
    let shell = Shell::default();
    fs::copy(root().join("media/src/clip.mp4"), shell.place.path().join("clip.mp4")).unwrap();
    let server = shell.serve(&block("README.md", "NOW=$(( $(date +%s)"));
    let exec = |name: &str, page: &str, begins: &str| {
        let script = shell.here(&block(page, begins)).replace("RESERVATION-ID", ID);
        Process::spawn(name, &mut shell.command(&format!("exec {script}")))
    };
    let encoder = exec("encoder", page, begins);
    let copy = shell.place.path().join("program.mp4");
    let mut kept = None;
    let began = wait_for(PATIENCE, || {
        // Until the broadcaster is there the answer is 404, and ffmpeg ends.
        let copying: &mut Process =
            kept.get_or_insert_with(|| exec("copy", "docs/watch.md", "ffmpeg -rtsp_transport tcp -i"));
        if !copying.is_running() {
            kept = None;
        }
        // ffmpeg makes the file once it knows the streams.
        copy.exists().then(|| sent(&shell))
    });
    let began = began.expect("no copy of the program");
    let is_enough = wait_for(PATIENCE, || (sent(&shell) >= began + PACKETS).then_some(()));
    assert!(is_enough.is_some(), "the copy's packets do not come");
    let copied = kept.unwrap().interrupt(PATIENCE);
    let probe = "ffprobe -v error -count_frames -show_entries stream=codec_type,nb_read_frames -of csv=p=0 program.mp4";
    let streams = shell.run(probe).text();
    for kind in ["video,", "audio,"] {
        let frames = streams.lines().find_map(|line| line.strip_prefix(kind)?.parse().ok());
        assert!(frames.is_some_and(|frames: u32| frames >= 10), "{streams}\n{}", copied.text());
    }
    encoder.signal(Signal::TERM);
    encoder.wait(Duration::from_secs(20));
    shell.stop(server);
}

/// Packets that the server has sent to viewers.
fn sent(shell: &Shell) -> f64 {
    let page = Client::new(shell.address(8080)).page("/metrics").text;
    let samples = page.lines().filter(|line| line.starts_with("slotcast_sent_packets_total"));
    samples.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

#[test]
fn the_readmes_clip_is_broadcast_and_copied() {
    check("README.md", "ffmpeg -re -stream_loop -1");
}

#[test]
fn the_broadcast_page_sends_the_clip_as_the_readme_does() {
    let shell = Shell::default();
    let [page, readme] =
        ["docs/broadcast.md", "README.md"].map(|page| block(page, "ffmpeg -re -stream_loop -1"));
    assert_eq!(shell.here(&page).replace("RESERVATION-ID", ID), shell.here(&readme));
}

#[test]
fn the_broadcast_pages_test_picture_is_broadcast_and_copied() {
    check("docs/broadcast.md", "ffmpeg -re -f lavfi");
}

#[test]
fn the_broadcast_pages_gstreamer_line_is_broadcast_and_copied() {
    check("docs/broadcast.md", "gst-launch-1.0 -e videotestsrc");
}
